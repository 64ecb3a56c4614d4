/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file backend-libvirt.h
 * @brief Real hosts through libvirt: what their guests use (source) and shards that a hypervisor really holds (driver).
 *
 * The hosts are opened first (spr_libvirt_open); they are the config of the source and part of the driver's. No call of
 * libvirt is ever made on the caller's thread: every host has a thread for looking and one for acting, made when first
 * needed, so that a slow or dead host delays nobody else.
 *
 * Needs libvirt 7.2 or newer on this side, and any libvirtd that it can talk to on the other. The library must not be
 * unloaded (it is linked `nodelete`): libvirt's event loop cannot be taken back.
 */
#ifndef SHARDPREDICT_BACKEND_LIBVIRT_H
#define SHARDPREDICT_BACKEND_LIBVIRT_H

#include <shardpredict/ops/driver.h>
#include <shardpredict/ops/source.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Connections, threads and queues to some hosts. Opaque; belongs to who opened it. */
typedef struct spr_libvirt spr_libvirt;

/** One host. */
struct spr_libvirt_host {
    size_t size;          /**< sizeof this struct: the stride of the array */
    const char *uri;      /**< libvirt URI, such as qemu+tls://hv1/system; required */
    const char *id;       /**< its name in the fleet; NULL = the URI's host, or the whole URI where it names none */
    const char *rack;     /**< failure domain; NULL = unknown */
    const char *zone;     /**< the tier above; NULL = unknown */
    double net_bps;       /**< network capacity, bit/s each way; 0 = what its physical links say, if they do */
    double cpu_overcommit;/**< cores that may be promised for each core that is there; 0 = 1 */
    double memory_kept;   /**< bytes that the host keeps for itself; 0 = a sixteenth, SPR_NONE = none */
};

/** Options of spr_libvirt_open. */
struct spr_libvirt_opts {
    size_t size;                          /**< sizeof this struct */
    const struct spr_libvirt_host *hosts; /**< required; copied */
    size_t host_count;                    /**< at least 1 */
    int32_t read_only;                    /**< 1: open read-only connections; the driver refuses them */
    int32_t host_uses_libvirt;            /**< 1: the host program runs libvirt's event loop and error handler; 0: we do, once a process */
    double connect_s;                     /**< a first inventory waits so long for hosts that are being connected; 0 = 10. It ends the waiting only: libvirt cannot give up a connect that hangs, the host's thread stays in it and the host is unreachable meanwhile */
    double call_s;                        /**< a host that does not answer a statistics call for so long is not waited for; 0 = 5 */
    double retry_s;                       /**< pause after a failed connection, doubled each time; 0 = 1 */
    double retry_max_s;                   /**< longest pause; 0 = 60 */
    int32_t keepalive_s;                  /**< seconds between keepalives; 0 = 5, SPR_NONE = none */
    int32_t keepalive_count;              /**< unanswered ones until the connection counts as dead; 0 = 3 */
    /**
     * called when an inventory is collected, on the caller's thread, for each VM: what its owner allows. `vm` holds what
     * the domain's own metadata says (element `vm`, urn:libshardpredict:vm:1); below 0 leaves the VM out. NULL = as is
     */
    int (*vm)(void *user, const char *host, const char *domain_xml, struct spr_vm *vm);
    void *user;                           /**< given to it */
};

/**
 * Take note of the hosts; connects to none yet, and so cannot fail for one that is away.
 * @return 0, SPR_E_ARG (a URI that is none, two hosts of one name), SPR_E_NOMEM, SPR_E_TOO_NEW
 */
SPR_API int spr_libvirt_open(spr_context *ctx, const struct spr_libvirt_opts *opts, spr_libvirt **out);
/**
 * Close it, after source and driver. Waits at most `patience_s` for calls under way; a thread that libvirt does not
 * give back by then ends by itself later and touches nothing of the caller's. NULL is fine.
 */
SPR_API void spr_libvirt_close(spr_libvirt *v, double patience_s);

/** How a host is reached at the moment. */
struct spr_libvirt_status {
    size_t size;            /**< sizeof this struct, set by the caller */
    const char *id;         /**< name in the fleet; lives as long as the hosts are open */
    const char *uri;        /**< as given */
    int32_t connected;      /**< 1: there is a connection that is believed alive */
    int32_t tries;          /**< failed connections since the last good one */
    int64_t calls;          /**< calls finished since the beginning, both lanes */
    double busy_s;          /**< how long the call that runs now has been running; 0 = none */
    char text[320];         /**< why the last connection failed or ended, "" = it did not */
};
/** Status of the i-th host; any thread. @return 0, SPR_E_ARG */
SPR_API int spr_libvirt_status(const spr_libvirt *v, size_t host, struct spr_libvirt_status *out);

/** Most NUMA cells that spr_libvirt_facts shows one by one. */
#define SPR_LIBVIRT_CELLS 16
/** What a host said of itself, as of the newest answer. 0 = not known, or none. */
struct spr_libvirt_facts {
    size_t size;              /**< sizeof this struct, set by the caller */
    double cores;             /**< that are there */
    double cores_busy;        /**< mean over the last interval, guests and everything else */
    double cores_promised;    /**< vCPUs of the running guests */
    double memory;            /**< bytes that are there */
    double memory_free;       /**< bytes that nobody uses */
    double memory_promised;   /**< bytes that the running guests' balloons may grow to */
    double link_bps;          /**< sum of the speeds of its physical links that are up, bit/s */
    int32_t guests;           /**< domains, running or not, shards included */
    int32_t guests_running;   /**< of them */
    int32_t shards;           /**< of them those that carry our metadata */
    int32_t guests_mute;      /**< of the running ones those without fresh balloon statistics: their memory is what the host sees
                                   of it (RSS), which seldom falls */
    int32_t reserved;         /**< 0 */
    int32_t cells;            /**< NUMA cells; the first ::SPR_LIBVIRT_CELLS of them below */
    double cell_free[SPR_LIBVIRT_CELLS]; /**< free bytes of each */
    int64_t events;           /**< of guests that came, went or changed since the hosts were opened */
    int64_t jobs_ended;       /**< migrations, saves and backups that ended since then */
};
/** Facts of the i-th host, kept up by the source; any thread. @return 0, SPR_E_ARG, SPR_E_NOT_FOUND (it never answered) */
SPR_API int spr_libvirt_facts(const spr_libvirt *v, size_t host, struct spr_libvirt_facts *out);

/** Inventory and samples of all hosts, read-only connections suffice. Config: the open spr_libvirt. One at a time. */
SPR_API const struct spr_source_ops *spr_libvirt_source(void);

/** How a shard that is warm waits. */
enum spr_libvirt_warm {
    SPR_LIBVIRT_WARM_PAUSED = 0, /**< in memory, stopped: resumes in milliseconds, holds its memory */
    SPR_LIBVIRT_WARM_SAVED = 1,  /**< in a file: resumes in about a second, holds disk only */
    SPR_LIBVIRT_WARM_RUNNING = 2 /**< running idle: nothing to resume, holds memory and a little CPU */
};

/** Who a new replica is: asked for each one, on the caller's thread inside submit. Texts are copied. */
struct spr_libvirt_identity {
    size_t size;                    /**< sizeof this struct as the library knows it */
    const char *const *kernel_args; /**< K=V or K, NULL at the end: each replaces the one of its name in the copied command line; NULL = none */
    const char *seed_url;           /**< cloud-init NoCloud seed, put where cloud-init finds it (SMBIOS serial ds=nocloud;s=URL); NULL = none */
    const char *mac;                /**< of its first interface; NULL = derived from the shard's id */
    const char *probe;              /**< http://, https:// or tcp://host:port that answers when it is ready; "agent" = the guest agent; NULL = that it runs */
    /**
     * path, on the host that it is made on, of a cloud-init NoCloud image (label cidata): a read-only disk of the guest,
     * whose CD-ROM drives are empty then, because the primary's own seed may lie there. The image stays the program's,
     * who removes it after the shard. NULL = none
     */
    const char *seed_image;
};

/** Config of the driver. */
struct spr_libvirt_driver_opts {
    size_t size;              /**< sizeof this struct */
    spr_libvirt *hosts;       /**< open, not read-only; required */
    const char *owner;        /**< name of this controller in locks and metadata; NULL = host name and process id */
    const char *pool;         /**< storage pool for overlays; NULL = "default" */
    const char *template_xml; /**< domain definition that shards of VMs with replica=template are made from; NULL = none */
    int32_t warm;             /**< ::spr_libvirt_warm: how warm shards wait */
    int32_t hold_on_host;     /**< 1: a headroom reservation is held by a small paused placeholder with its memory allocated; 0: by its definition only */
    double probe_s;           /**< between two probes; 0 = 0.25 */
    double boot_s;            /**< a replica that is not ready after so long has failed; 0 = 120 */
    double prefetch_bytes_s;  /**< budget of reading hot disk extents ahead, byte/s; 0 = 50e6, SPR_NONE = do not */
    double drain_idle_s;      /**< a draining replica that moved no packets for so long is empty; 0 = 5 */
    double reserve_ttl_s;     /**< life of a reservation that is not allocated, not below the lifecycle's: OBSERVE gives back what is older by lease_s where this driver acts; 0 = 900 */
    double lease_s;           /**< a controller that did not renew for so long has lost a host's seat; 0 = 30 */
    double migrate_bytes_s;   /**< bandwidth of a live migration, byte/s; 0 = no limit */
    double downtime_s;        /**< pause that a live migration may end with; 0 = 0.3 */
    /** who a new replica is; NULL = nobody says, its guest must find out by its MAC */
    int (*identity)(void *user, uint64_t shard, const char *vm, const char *host, struct spr_libvirt_identity *out);
    void *user;               /**< given to it */
    /**
     * folders, ':' between them, that all hosts see at the same path and that are coherent whatever the cache mode of
     * their disks (a cluster's file system; not plain NFS): live migration needs all disks there. NULL = none
     */
    const char *shared;
    /**
     * SPR_NONE: what shards send and receive is not limited, and hosts that could not are as good as others; 0: it is,
     * where an amount is given, and plans leave hosts out that cannot
     */
    int32_t limit_net;
    /**
     * 1: where no running guest of a host tells what can be limited there, find out with a tiny one of our own
     * (`spr-trial-...`, 16 MiB, started paused, gone at once), once a connection at the first OBSERVE; 0: the first
     * shard that asks for it tells. Not for controllers that only advise: they leave hosts as they are
     */
    int32_t trial;
    /**
     * network of each host with forward mode hostdev, a pool of virtual functions (SR-IOV): what is a virtual
     * function in the primary is one from there in its replicas. `vf-network` in the owner's metadata comes first;
     * NULL = none, then such VMs have no replicas
     */
    const char *vf_network;
    /**
     * resource partition (control group) that shards are put in, such as /machine/shards. libvirt makes none, so it
     * must be there on each host, with the limits that all shards together shall keep; looked for at the first
     * reservation on a host. NULL = the host's usual one
     */
    const char *partition;
};

/** A live migration, under way or ended. */
struct spr_libvirt_migration {
    size_t size;        /**< sizeof this struct, set by the caller */
    uint64_t shard;     /**< headroom shard that it goes into */
    const char *from;   /**< host that the VM leaves; lives as long as the hosts are open */
    const char *to;     /**< host that it comes to */
    int32_t running;    /**< 1: not ended yet */
    int32_t code;       /**< ::spr_error_code it ended with, 0 = the VM runs on the target */
    double share;       /**< of its memory that is there, 0..1; pages that change again take it back */
    double bytes_left;  /**< to be sent; of bytes_all */
    double bytes_all;   /**< its memory */
    double took_s;      /**< since it began, or from begin to end */
    double downtime_s;  /**< pause that the guest will see, or has seen; 0 = not known */
    int32_t measured;   /**< 1: the pause was measured */
    char text[324];     /**< why it failed, "" = it did not */
};
/** The newest migration of a VM; any thread. @return 0, SPR_E_ARG, SPR_E_NOT_FOUND (none since the hosts were opened) */
SPR_API int spr_libvirt_migration(const spr_libvirt *v, const char *vm, struct spr_libvirt_migration *out);

/**
 * Shards as domains of real hosts. Config: struct spr_libvirt_driver_opts. All that is known of a shard stands in its
 * domain's metadata, so a restarted controller finds what it left. MIGRATE moves a running VM into a
 * headroom shard of its own, which is gone then; ABORT of that shard ends it. PROMOTE makes a VM of a warm replica, and
 * is refused while any host shows the primary running; a host that does not answer counts as dead: fence it first.
 */
SPR_API const struct spr_driver_ops *spr_libvirt_driver(void);

#ifdef __cplusplus
}
#endif
#endif
