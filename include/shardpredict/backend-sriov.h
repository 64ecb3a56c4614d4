/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file backend-sriov.h
 * @brief Virtual functions of network cards (SR-IOV): which there are, giving them to shards, taking them back.
 *
 * A *physical function* (PF) is the card as the host sees it; its *virtual functions* (VFs) are small cards of their own that
 * a guest or a data plane can own. One `spr_sriov` looks after the VFs of this machine, finds out which are free, sets MAC
 * address, VLAN, rates, spoof check and trust through the PF, binds them to vfio-pci or their host driver, and puts all of
 * it back on release.
 *
 * **Nothing that is not ours is touched**: a VF whose host interface is up, has addresses, serves another device or is in
 * another namespace, one that somebody else bound to vfio-pci or reserved (driver_override), and one whose IOMMU group
 * holds somebody else's device is left alone, and ::spr_sriov_vf says why.
 *
 * **Crash-safe**: what is going to be done is in a journal before it is done. After the death of the process at any step
 * the next spr_sriov_open finishes a release that had begun and undoes an allocation that had not ended; an allocation that
 * had ended is found again by its shard.
 *
 * **Blocking**: every call that takes a non-const spr_sriov may wait for the kernel: reading sysfs takes microseconds,
 * a netlink answer milliseconds (5 s at most), binding a driver to a VF up to a second on real cards; writing the number of
 * VFs up to some seconds. Call them from a thread that may wait. One thread at a time.
 */
#ifndef SHARDPREDICT_BACKEND_SRIOV_H
#define SHARDPREDICT_BACKEND_SRIOV_H

#include <shardpredict/base.h>
#include <shardpredict/ops/store.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The virtual functions of one machine. Opaque; belongs to who opened it. */
typedef struct spr_sriov spr_sriov;

/** Room for a PCI address ("0000:01:10.0"), and for the name of an interface or a driver. */
#define SPR_SRIOV_ADDRESS 16
#define SPR_SRIOV_NAME    32 /**< room for a name */
#define SPR_SRIOV_WHY     192 /**< room for a reason */

/** Members of ::spr_sriov_settings. */
enum spr_sriov_setting {
    SPR_SRIOV_MAC = 1,       /**< mac */
    SPR_SRIOV_VLAN = 2,      /**< vlan, vlan_qos, vlan_proto */
    SPR_SRIOV_RATE = 4,      /**< min_mbps, max_mbps */
    SPR_SRIOV_SPOOFCHK = 8,  /**< spoofchk */
    SPR_SRIOV_TRUST = 16,    /**< trust */
    SPR_SRIOV_ALL = 31       /**< all of them */
};
/** What a card enforces for one VF, as its PF's driver knows it. */
struct spr_sriov_settings {
    size_t size;         /**< sizeof this struct */
    uint32_t known;      /**< ::spr_sriov_setting: members that hold something */
    uint8_t mac[6];      /**< all zero = none given by the PF: the VF's driver takes one */
    uint16_t vlan;       /**< tag that the card adds and takes off; 0 = none */
    uint32_t vlan_qos;   /**< priority in the tag, 0..7 */
    uint32_t vlan_proto; /**< 0x8100 or 0x88a8; 0 = 0x8100 */
    uint32_t min_mbps;   /**< Mbit/s that it is promised; 0 = none */
    uint32_t max_mbps;   /**< Mbit/s that it may send; 0 = no limit */
    uint32_t spoofchk;   /**< 1: frames with another source address are dropped */
    uint32_t trust;      /**< 1: the VF may change its address and listen to all */
    uint32_t reserved;   /**< 0 */
};

/**
 * How the kernel is spoken to: netlink and writes to sysfs. NULL in the options = the real one, spr_sriov_kernel().
 * Tests give one of their own. Every slot is required, returns 0 or a negative errno, and may block for as long as the kernel does.
 */
struct spr_sriov_kernel_ops {
    size_t size;         /**< sizeof this struct */
    const char *name;    /**< "linux"; required */
    const char *license; /**< SPDX expression; required */
    uint64_t caps;       /**< 0 */
    int (*open)(const struct spr_env *env, const void *config, void **state); /**< config: NULL for the real one */
    void (*close)(void *state);                                               /**< no call follows */
    /** write `text` to `path`, which is relative to the folder `sysfs` */
    int (*write)(void *state, const char *sysfs, const char *path, const char *text);
    /** settings of one VF of the interface `pf`; `out->known` says which the driver tells */
    int (*vf_get)(void *state, const char *pf, uint32_t vf, struct spr_sriov_settings *out);
    /** set those in `want->known`, one message each, in the order of the enum, until one fails */
    int (*vf_set)(void *state, const char *pf, uint32_t vf, const struct spr_sriov_settings *want);
    /** how many addresses (IPv4, and IPv6 beyond the link's own) the interface has */
    int (*addresses)(void *state, const char *netdev);
    /** 0, or -EBUSY when a process has this VFIO group open */
    int (*group_free)(void *state, int32_t iommu_group);
};
/** The real one: libnl-route-3 and files. */
SPR_API const struct spr_sriov_kernel_ops *spr_sriov_kernel(void);

/** Options of spr_sriov_open. */
struct spr_sriov_opts {
    size_t size;                               /**< sizeof this struct */
    const char *sysfs;                         /**< where sysfs is mounted, or a recorded tree; NULL = "/sys" */
    const char *journal;                       /**< file of the journal; NULL = only look: nothing can be changed */
    int32_t sync;                              /**< 1: also survive a power cut, not only the death of the process */
    int32_t reserved;                          /**< must be 0 */
    const struct spr_sriov_kernel_ops *kernel; /**< NULL = the real one */
    const void *kernel_config;                 /**< for its open */
    const struct spr_store_ops *store;         /**< another store that completes within append, instead of `journal`; NULL = none */
    const void *store_config;                  /**< for its open */
};

/**
 * Look at the machine, read the journal, and put right what a dead process left halfway. A VF that cannot be put right
 * now (a guest still has it, say) is logged, shows up as ::SPR_SRIOV_STUCK, and is tried again by spr_sriov_look.
 * A machine without such cards is no error: it has no PFs.
 * @return 0, SPR_E_ARG, SPR_E_IO, SPR_E_BUSY (another process has the journal), SPR_E_CORRUPT, SPR_E_FORMAT, SPR_E_NOMEM, SPR_E_TOO_NEW
 */
SPR_API int spr_sriov_open(spr_context *ctx, const struct spr_sriov_opts *opts, spr_sriov **out);
/** Close it. Allocated VFs stay allocated. NULL is fine. */
SPR_API void spr_sriov_close(spr_sriov *s);
/** Look again at everything and retry what is stuck. @return 0, SPR_E_IO, SPR_E_NOMEM */
SPR_API int spr_sriov_look(spr_sriov *s);

/** What there is, in numbers. */
struct spr_sriov_facts {
    size_t size;          /**< sizeof this struct, set by the caller */
    int32_t pfs;          /**< cards that can have VFs */
    int32_t vfs;          /**< VFs that there are */
    int32_t vfs_most;     /**< that there could be */
    int32_t vfs_free;     /**< that could be taken now */
    int32_t vfs_ours;     /**< that are allocated */
    int32_t iommu_groups; /**< 0 = the IOMMU is off (or there is none) */
    int32_t vfio_pci;     /**< 1: the driver vfio-pci is there */
    int32_t stuck;        /**< VFs that could not be put right yet */
};
/** Facts as of the last look or change. @return 0, SPR_E_ARG */
SPR_API int spr_sriov_facts(const spr_sriov *s, struct spr_sriov_facts *out);

/** A card. */
struct spr_sriov_pf {
    size_t size;                     /**< sizeof this struct, set by the caller */
    char address[SPR_SRIOV_ADDRESS]; /**< PCI address */
    char netdev[SPR_SRIOV_NAME];     /**< interface, "" = none in this namespace */
    char driver[SPR_SRIOV_NAME];     /**< driver, "" = none */
    int32_t numa_node;               /**< -1 = not known */
    int32_t iommu_group;             /**< -1 = none */
    int32_t up;                      /**< 1: the interface is up */
    int32_t vfs;                     /**< VFs that there are */
    int32_t vfs_most;                /**< VFs that it can have */
    int32_t reserved;                /**< 0 */
};
/** Copy of the i-th card, by PCI address. @return 0, SPR_E_ARG, SPR_E_NOT_FOUND (there are fewer) */
SPR_API int spr_sriov_pf(const spr_sriov *s, int32_t pf, struct spr_sriov_pf *out);

/** Whose a VF is. */
enum spr_sriov_state {
    SPR_SRIOV_FREE = 0,  /**< can be taken */
    SPR_SRIOV_OURS = 1,  /**< allocated to a shard */
    SPR_SRIOV_TAKEN = 2, /**< somebody else's; `why` says whose */
    SPR_SRIOV_STUCK = 3  /**< given back, or half taken by a dead process, and not put right yet; `why` says what is in the way */
};
/** A virtual function. */
struct spr_sriov_vf {
    size_t size;                        /**< sizeof this struct, set by the caller */
    char address[SPR_SRIOV_ADDRESS];    /**< PCI address */
    char pf_address[SPR_SRIOV_ADDRESS]; /**< its card's */
    char pf_netdev[SPR_SRIOV_NAME];     /**< its card's interface */
    char netdev[SPR_SRIOV_NAME];        /**< interface, "" = none (here) */
    char driver[SPR_SRIOV_NAME];        /**< driver, "" = none */
    int32_t index;                      /**< number on its card */
    int32_t numa_node;                  /**< -1 = not known */
    int32_t iommu_group;                /**< -1 = none */
    int32_t state;                      /**< ::spr_sriov_state */
    uint64_t shard;                     /**< whom it is allocated to, 0 = nobody */
    int32_t nic;                        /**< which of the shard's, from 0 */
    int32_t reserved;                   /**< 0 */
    struct spr_sriov_settings settings; /**< as last read */
    char why[SPR_SRIOV_WHY];            /**< why it cannot be taken, or (free) not be bound to vfio-pci; "" = nothing is in the way */
};
/** Copy of the n-th VF of a card. @return 0, SPR_E_ARG, SPR_E_NOT_FOUND (there are fewer) */
SPR_API int spr_sriov_vf(const spr_sriov *s, int32_t pf, int32_t vf, struct spr_sriov_vf *out);
/** The VF that a shard has as its `nic`-th. @return 0, SPR_E_ARG, SPR_E_NOT_FOUND */
SPR_API int spr_sriov_find(const spr_sriov *s, uint64_t shard, int32_t nic, struct spr_sriov_vf *out);

/**
 * Change how many VFs a card has (sriov_numvfs; the old ones go first, so all must be free). The journal knows: a
 * process that dies in between leaves no card without VFs.
 * @return 0, SPR_E_ARG, SPR_E_NOT_FOUND, SPR_E_STATE (only looking), SPR_E_BUSY (one is used), SPR_E_CAPACITY, SPR_E_IO
 */
SPR_API int spr_sriov_set_vfs(spr_sriov *s, int32_t pf, int32_t vfs);

/** Wishes about the choice. */
enum spr_sriov_wish {
    SPR_SRIOV_NUMA_PREFER = 1, /**< a card of `numa_node`, else any */
    SPR_SRIOV_NUMA_ONLY = 2,   /**< a card of `numa_node`, else none */
    SPR_SRIOV_HOST_DRIVER = 4, /**< leave it to its host driver (for a container), not vfio-pci; needs no IOMMU */
    SPR_SRIOV_MANAGED = 8      /**< bind no driver: libvirt does (`managed='yes'`); it is only unbound and set */
};
/** What a shard wants. */
struct spr_sriov_want {
    size_t size;         /**< sizeof this struct */
    uint64_t shard;      /**< whose it will be; not 0 */
    int32_t nic;         /**< which of the shard's, from 0 */
    uint32_t flags;      /**< ::spr_sriov_wish */
    const char *pf;      /**< interface or PCI address of the card; NULL = any */
    int32_t numa_node;   /**< meant by the flags */
    int32_t vlan;        /**< 1..4094; 0 = as it is, SPR_NONE = none */
    int32_t vlan_qos;    /**< 0..7 */
    int32_t vlan_proto;  /**< 0x8100 or 0x88a8; 0 = 0x8100 */
    int32_t min_mbps;    /**< 0 = as it is, SPR_NONE = none */
    int32_t max_mbps;    /**< 0 = as it is, SPR_NONE = no limit */
    int32_t spoofchk;    /**< 0 = as it is, 1 = on, SPR_NONE = off */
    int32_t trust;       /**< 0 = as it is, 1 = on, SPR_NONE = off */
    uint8_t mac[6];      /**< all zero = as it is */
    uint16_t reserved;   /**< must be 0 */
};
/**
 * Take a free VF, set it and bind it. Among those that fit: of the wished NUMA node, of a card that is up, of the card with
 * most free ones, of the lowest number. A failed call has put everything back, or says that the VF is stuck.
 * @return 0, SPR_E_ARG, SPR_E_STATE (only looking), SPR_E_EXISTS (the shard has it already: spr_sriov_find),
 *         SPR_E_CAPACITY (none fits; the text gives the reasons), SPR_E_UNSUPPORTED (the card refuses a setting), SPR_E_IO, SPR_E_NOMEM
 */
SPR_API int spr_sriov_allocate(spr_sriov *s, const struct spr_sriov_want *want, struct spr_sriov_vf *out);
/**
 * Give one back: former settings, driver_override and driver. Refused while a guest or data plane has it open.
 * @return 0, SPR_E_ARG, SPR_E_NOT_FOUND, SPR_E_BUSY, SPR_E_IO
 */
SPR_API int spr_sriov_release(spr_sriov *s, uint64_t shard, int32_t nic);

/**
 * libvirt's interface of type hostdev for a VF, as XML with MAC address and VLAN as in its settings, NUL-terminated.
 * @param managed 1: libvirt binds the driver (for ::SPR_SRIOV_MANAGED), 0: it is bound
 * @param room bytes at `out`
 * @return bytes without the NUL, SPR_E_ARG, SPR_E_CAPACITY (room is too small; nothing is written)
 */
SPR_API int spr_sriov_interface_xml(const struct spr_sriov_vf *vf, int32_t managed, char *out, size_t room);

#ifdef __cplusplus
}
#endif
#endif
