/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What is written in a domain's XML: our shards' metadata, the owner's wishes, what the source and the driver must know
 * of a VM, and the definitions that we make: a replica from its primary's own, a placeholder for a hold, and the list
 * of what stands in the way of a live migration. Pure text in, text out: no libvirt is called here, any thread may.
 *
 * Every function leaves `out` untouched when it fails and says why in one line of `why`. Texts and structs handed out
 * are the caller's (lv_free, or the clear function beside the struct).
 */
#ifndef SPR_LIBVIRT_DOMAIN_H
#define SPR_LIBVIRT_DOMAIN_H

#include "libvirt.h"

enum { LV_WHY = 640, LV_UUID = 37, LV_MAC = 18, LV_NAME = 201 };

#define LV_SHARD_URN "urn:libshardpredict:shard:1"
#define LV_TRIAL_URN "urn:libshardpredict:trial:1" /* a guest that finds out what can be limited */
#define LV_VM_URN    "urn:libshardpredict:vm:1"

/* One line into `why`, with an ellipsis where it does not fit (xml.c). Returns `code`. */
int lv_why(char why[LV_WHY], int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* ---- names and numbers (domain_names.c, domain_numbers.c) ---- */

/* spr-<16 hex digits>-<vm>; what libvirt does not take in a name becomes '_', a long name of a VM is cut. */
void lv_domain_name(uint64_t shard, const char *vm, char out[LV_NAME]);
/* The id in such a name, 0 when it is none of ours. A name proves nothing: look at the metadata before touching it. */
uint64_t lv_domain_name_id(const char *name);
uint64_t lv_mix(uint64_t z); /* every bit of it counts for every bit */
/* The same UUID for the same shard and VM, whoever asks: a definition made twice is one definition. */
void lv_uuid_derive(uint64_t shard, const char *vm_uuid, char out[LV_UUID]);
bool lv_uuid_valid(const char *text);
/* 52:54:00:..., the same for the same shard, interface and attempt. */
void lv_mac_derive(uint64_t shard, uint32_t interface, uint32_t attempt, char out[LV_MAC]);
/* A unicast address, two hex digits six times. */
bool lv_mac_valid(const char *text);

/* How an amount of CPU is held: vcpus = its ceiling, and what each of them may use of every period. */
struct lv_cpu {
    uint32_t vcpus;
    uint64_t period_us;
    int64_t quota_us; /* at least 1000, the least that the kernel takes */
};
void lv_cpu_split(double cores, struct lv_cpu *out);
/* bit/s as libvirt's bandwidth counts: 1000 bytes/s, rounded up, at least 1. */
uint64_t lv_bandwidth(double bits);
/* Numbers as text and back, whatever the locale; the whole text must be the number. */
void lv_number_text(double value, char out[32]);
bool lv_number_read(const char *text, double *out); /* finite */
bool lv_u64_read(const char *text, int base, uint64_t *out);

/* Numbers of pieces that are over: the highest and 512 behind it, what is older counts as over. */
#define LV_WINDOW 512
struct lv_window {
    uint64_t highest;
    uint64_t bits[LV_WINDOW / 64]; /* of number n: bit n % 512 */
};
bool lv_window_has(const struct lv_window *w, uint64_t n); /* 0 never is */
void lv_window_add(struct lv_window *w, uint64_t n);

/* ---- a shard's metadata (domain_meta.c) ---- */

/* How far a shard has come, as the host knows it. */
#define LV_PHASES(X)                                                                                                   \
    X(RESERVED, 1, "reserved")                                                                                         \
    X(ALLOCATED, 2, "allocated")                                                                                       \
    X(WARMING, 3, "warming")                                                                                           \
    X(WARM, 4, "warm")                                                                                                 \
    X(SERVING, 5, "serving")                                                                                           \
    X(DRAINING, 6, "draining")
/* What waits for its end when the shard is released. */
#define LV_ARTEFACTS(X)                                                                                                \
    X(OVERLAY, 1, "overlay") /* path of a disk overlay */                                                              \
    X(VOLUME, 2, "volume")   /* path of any other disk made for it */                                                  \
    X(SAVED, 3, "saved")     /* path of a saved image */                                                               \
    X(NVRAM, 4, "nvram")     /* path */                                                                                \
    X(LOG, 5, "log")         /* path of a console's file */                                                            \
    X(VF, 6, "vf")           /* network that virtual functions are from */                                             \
    X(RULE, 7, "rule")       /* name of a firewall rule */
#define SPR_X(name, number, text) LV_PHASE_##name = number,
enum lv_phase { LV_PHASES(SPR_X) };
#undef SPR_X
#define SPR_X(name, number, text) LV_ARTEFACT_##name = number,
enum lv_artefact_kind { LV_ARTEFACTS(SPR_X) };
#undef SPR_X

#define LV_PIECES 16 /* growths of one shard under way at once */

struct lv_piece {
    uint64_t number;
    int32_t phase; /* ::lv_phase: reserved, allocated or warming */
    struct spr_amounts amounts;
};
struct lv_artefact {
    int32_t kind; /* ::lv_artefact_kind */
    char *what;
};

/* All that we know of a shard on a host; texts are owned by the struct. Zero-filled is the empty one. */
struct lv_shard_meta {
    uint64_t id, fence, last_drain;
    char *vm;                /* name of the VM it serves */
    char vm_uuid[LV_UUID];   /* that VM's UUID, "" = not known */
    char own_uuid[LV_UUID];  /* of the domain it stands in: a copy of that domain is no shard; "" = not said */
    int32_t kind;            /* ::spr_shard_kind */
    int32_t phase;           /* ::lv_phase */
    int32_t warm;            /* ::spr_libvirt_warm: how it waits */
    int32_t holds_memory;    /* headroom: 1 = its placeholder takes its memory at once, and runs */
    int64_t expires_wall_ns; /* end of a reservation, 0 = none */
    struct spr_amounts ready, draining;
    struct lv_piece piece[LV_PIECES]; /* pending */
    int32_t piece_count;
    struct lv_window ended;                                 /* pieces that became ready or were given back */
    char *probe;                                            /* what answers when it is ready, NULL = none */
    char *owner;                                            /* the controller that wrote it last, NULL = not said */
    double warmness;                                        /* measured, 0..1 */
    double allocate_s, boot_s, save_s, resume_s, restore_s; /* measured, 0 = not yet */
    struct lv_artefact *artefact;
    size_t artefact_count, artefact_cap;
};

const char *lv_phase_name(int32_t phase);
const char *lv_artefact_name(int32_t kind);
void lv_meta_clear(struct lv_shard_meta *m); /* frees what is in it; it is the empty one then */
/* SPR_OK or SPR_E_NOMEM. `out` is overwritten, not cleared. */
int lv_meta_copy(const struct lv_shard_meta *m, struct lv_shard_meta *out);
/* Replace one of its texts (&m->vm, &m->probe, &m->owner); NULL = none. */
int lv_meta_text(char **member, const char *text);
/* Noted once, however often it is said. */
int lv_meta_add_artefact(struct lv_shard_meta *m, int32_t kind, const char *what);
void lv_meta_drop_artefact(struct lv_shard_meta *m, int32_t kind, const char *what);
/* Does it say that it stands in another domain than that of this UUID? */
bool lv_meta_is_copy(const struct lv_shard_meta *m, const char *uuid);
struct lv_piece *lv_meta_piece(struct lv_shard_meta *m, uint64_t number); /* pending, or NULL */
/* The piece is over: out of the pending ones, into the window. */
void lv_meta_end_piece(struct lv_shard_meta *m, uint64_t number);
/* Add (sign 1) or take away (-1), never below 0. */
void lv_amounts_add(struct spr_amounts *a, const struct spr_amounts *b, double sign);

/*
 * As virDomainSetMetadata wants it (key "spr", uri LV_SHARD_URN; libvirt puts the namespace in).
 * @return SPR_OK, SPR_E_ARG (a member that cannot be written; why names it), SPR_E_NOMEM
 */
int lv_meta_format(const struct lv_shard_meta *m, char **out, char why[LV_WHY]);
/*
 * From what virDomainGetMetadata gives, or the element as it stands in a domain. An attribute or element that is not
 * known is refused, and so is a version above ours (SPR_E_TOO_NEW): whoever cannot read all of it must not change it.
 * @return SPR_OK, SPR_E_FORMAT, SPR_E_TOO_NEW, SPR_E_NOMEM
 */
int lv_meta_parse(const char *xml, struct lv_shard_meta *out, char why[LV_WHY]);

/* ---- what the owner of a VM allows (domain_vm.c) ---- */

struct lv_vm_meta {
    int32_t replica; /* ::spr_replica_policy */
    int32_t priority, shards_at_most;
    double spillable, flow_lifetime_s;
    char *group, *affinity, *anti_affinity, *hosts_allowed;
    char *vf_network;    /* that virtual functions are taken from, NULL = the driver's */
    char *template_name; /* domain or template that replicas are made from where replica="template", NULL = the driver's
                          */
    struct spr_amounts min, max;
    /* of a copy of ours, on what is or may become its primary (driver_promote.c) */
    char *name;        /* the VM's, where the domain is still called as the shard was */
    uint64_t promoted; /* the shard that it was, 0 = it was none */
    char was[LV_UUID]; /* UUID of the primary before it, "" = none */
    int32_t autostart; /* 1: that one started with its host */
};
void lv_vm_meta_clear(struct lv_vm_meta *m);
/* Of <vm xmlns="urn:libshardpredict:vm:1" .../>; strict like lv_meta_parse. */
int lv_vm_meta_parse(const char *xml, struct lv_vm_meta *out, char why[LV_WHY]);
/* Into the fields of the fleet's struct; its texts point into `m`. */
void lv_vm_meta_apply(const struct lv_vm_meta *m, struct spr_vm *vm);

/* ---- what a domain is (domain_read.c) ---- */

struct lv_disk {
    const char *target, *bus, *device, *type; /* "vda", "virtio", "disk", "file"; device is never NULL */
    const char *source;                       /* path or name, NULL = empty drive */
    const char *pool, *format, *cache, *serial;
    const char *const *backing; /* paths, from the one right under it; only a live domain says so */
    const char *const *backing_format;
    size_t backing_count;
    bool readonly, shareable, encrypted;
    bool copies; /* what is read is copied into it */
};
struct lv_nic {
    const char *type, *source, *mac, *model, *target; /* target: the host's device, only while it runs */
};
struct lv_hostdev {
    const char *type, *address; /* "pci", "0000:02:00.0"; address "" = named in another way */
};
/* NULL = the domain does not say so. Texts live as long as the struct. */
struct lv_domain {
    const char *name, *uuid, *type, *arch, *machine, *emulator;
    int64_t id; /* -1 = not running when it was asked */
    uint32_t vcpus, vcpus_most;
    double memory, memory_now; /* bytes */
    const char *cpu_mode, *cpu_model;
    const char *kernel, *initrd, *cmdline, *loader, *nvram;
    const char *shard_xml, *vm_xml; /* our element, the owner's: texts for the two parsers */
    bool agent, tpm, hugepages, uefi;
    bool trial; /* one of ours that never runs and is gone at once */
    const struct lv_disk *disk;
    const struct lv_nic *nic;
    const struct lv_hostdev *hostdev; /* interfaces of type hostdev are among the nics */
    size_t disk_count, nic_count, hostdev_count;
    void *bag;
};
/* @return SPR_OK, SPR_E_FORMAT, SPR_E_NOMEM */
int lv_domain_read(const char *xml, struct lv_domain *out, char why[LV_WHY]);
void lv_domain_clear(struct lv_domain *d);

/* ---- a replica from its primary (domain_derive.c, domain_devices.c) ---- */

enum lv_derive_flag {
    LV_KEEP_HUGEPAGES = 1, /* the replica's memory comes from huge pages as the primary's does */
    LV_KEEP_NUMA = 2,      /* numatune and the guest's NUMA cells stay */
    LV_BANDWIDTH = 4       /* interfaces are limited to the amounts of net_rx and net_tx, shared out evenly */
};
/*
 * What stands in the place of one of the primary's disks. CD-ROMs and floppies stay as they are where none is given:
 * mind a cloud-init seed, which holds the primary's identity.
 */
struct lv_derive_disk {
    const char *target; /* "vda" */
    const char *path;   /* the overlay's; NULL = an empty drive (CD-ROM and floppy only) */
    const char *format; /* NULL = "qcow2", "raw" in a drive */
    /* what is under it, NULL = let libvirt look; never what the primary writes to, but what is under that (lv_disk) */
    const char *backing;
    const char *backing_format; /* required with backing */
    bool copies;                /* what is read of it goes into the overlay */
    bool rests;                 /* nobody writes to it (a template's disk): the backing may be the disk itself */
};
struct lv_derive {
    const struct lv_shard_meta *meta; /* whose it is: id and vm name it, it is put in; required */
    const char *name;                 /* NULL = lv_domain_name */
    const char *uuid;                 /* required */
    struct spr_amounts amounts;       /* what it may use now; CPU and memory are required */
    uint32_t vcpus_most;              /* that it can grow to; 0 = no more than now */
    double memory_most;               /* bytes that its balloon can grow to; 0 = no more than now */
    uint32_t flags;                   /* ::lv_derive_flag */
    const char *const *macs;          /* by interface, NULL = derived */
    size_t mac_count;
    const struct lv_derive_disk *disks;
    size_t disk_count;
    const char *const *kernel_args; /* K=V or K: each replaces the one of its name */
    size_t kernel_arg_count;
    const char *seed_url;   /* cloud-init's NoCloud seed, NULL = none */
    const char *nvram;      /* path of its own NVRAM; NULL = libvirt makes one by its name */
    const char *const *vfs; /* PCI addresses "0000:01:10.0" for passed-through devices, in their order */
    size_t vf_count;
    const char *vf_network;       /* instead: the network that interfaces get theirs from */
    const char *const *unlimited; /* networks whose interfaces cannot be limited: pools of virtual functions */
    size_t unlimited_count;
    const char *seed_image; /* path of a NoCloud image: a read-only disk, and no disc in any drive; NULL = none */
    const char *partition;  /* resource partition, NULL = the host's usual one */
};
/*
 * @return SPR_OK, SPR_E_ARG (how), SPR_E_FORMAT (the XML), SPR_E_UNSUPPORTED (this VM cannot be copied so: why lists
 * all the reasons), SPR_E_NOMEM
 */
int lv_domain_derive(const char *xml, const struct lv_derive *how, char **out, char why[LV_WHY]);

/* ---- holds (domain_placeholder.c) ---- */

/* A guest without disk, network and screen that is started paused and never runs: it only holds. */
struct lv_placeholder {
    const struct lv_shard_meta *meta;  /* required */
    const char *uuid;                  /* required */
    const char *type, *arch, *machine; /* of the VM it is held for; machine may be NULL */
    const char *emulator;              /* NULL = the host's usual one */
    struct spr_amounts amounts;        /* CPU and memory are required */
    bool allocated;                    /* its memory is taken from the host at once, not when it is touched */
    const char *partition;             /* NULL = the host's usual one */
};
/* @return SPR_OK, SPR_E_ARG, SPR_E_NOMEM */
int lv_domain_placeholder(const struct lv_placeholder *how, char **out, char why[LV_WHY]);

/* ---- what stands in the way of a live migration (domain_check.c) ---- */

enum lv_cpu_match { LV_CPU_UNASKED = 0, LV_CPU_SAME, LV_CPU_SUPERSET, LV_CPU_LACKS, LV_CPU_FAILED };
/* What is known of the target; what is left zero is not looked at. */
struct lv_headroom_target {
    const char *host;         /* its name, for the texts */
    const char *capabilities; /* virConnectGetCapabilities, NULL = not asked */
    int32_t cpu;              /* ::lv_cpu_match: virConnectCompareHypervisorCPU */
    const char *const *names; /* domains that are there */
    const char *const *uuids;
    size_t domain_count;
    double memory_free, cpu_free; /* bytes, cores; 0 = not known */
    const char *const *links;     /* bridges, and networks that are active */
    size_t link_count;            /* 0 = not known */
    const char *const *shared;    /* folders that both hosts see at the same path */
    size_t shared_count;
    bool copies_disks;  /* writable disks are copied along (NON_SHARED_DISK) */
    bool cache_is_safe; /* the shared storage is coherent whatever the cache mode (UNSAFE may be given) */
};
struct lv_obstacle {
    bool blocks; /* false: it can be done, and this is what one should know */
    char *text;
};
struct lv_obstacles {
    struct lv_obstacle *of;
    size_t count, cap;
};
/* @return SPR_OK (however many there are), SPR_E_FORMAT, SPR_E_NOMEM */
int lv_headroom_check(const char *live_xml, const struct lv_headroom_target *target, struct lv_obstacles *out,
                      char why[LV_WHY]);
void lv_obstacles_clear(struct lv_obstacles *o);

#endif
