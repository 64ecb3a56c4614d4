/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the source's files share. Each host has a *watch*: who lives there and what they used, filled by jobs on the
 * host's `look` lane, emptied by `collect` on the caller's thread. A watch lives as long as its host and the event
 * callbacks that point to it; the source of the moment is only noted in it.
 */
#ifndef SPR_LIBVIRT_SOURCE_H
#define SPR_LIBVIRT_SOURCE_H

#include "domain.h"

enum { LV_RESOURCES = SPR_DISK_WRITE + 1, LV_UUID_BYTES = VIR_UUID_BUFLEN };

/* ---- one guest (source_guest.c) ---- */

/* What its definition says: read once, replaced when an event or a new connection says that it may have changed. */
struct lv_detail {
    atomic_int refs;
    char *name, *xml;                    /* xml only where the host program asks for it */
    double vcpus, memory;                /* what it may use at most */
    bool shard;                          /* carries our element: it is no VM */
    char *shard_vm, shard_uuid[LV_UUID]; /* whose; NULL and "" = it cannot be read */
    struct lv_vm_meta vm;                /* what its owner allows */
    char *complaint;                     /* the owner's element cannot be read, and why; told once */
    bool complained;
};
struct lv_detail *lv_detail_read(const char *name, const char *xml, bool keep_xml); /* NULL: no memory */
struct lv_detail *lv_detail_ref(struct lv_detail *d);
void lv_detail_unref(struct lv_detail *d);

/* Two counts of one thing: time and delay of a vCPU, bytes in and out of an interface, read from and written to a disk.
 */
struct lv_count {
    uint64_t a, b;
};
enum lv_things { LV_VCPUS, LV_NICS, LV_DISKS, LV_THINGS };

/* What was used since the last collect. */
struct lv_tally {
    double sum[LV_RESOURCES], seconds[LV_RESOURCES]; /* amount times seconds */
    double stalled, stalled_seconds;
    uint32_t throttled; /* bit resource */
};

struct lv_guest {
    unsigned char uuid[LV_UUID_BYTES];
    int32_t id;               /* of this run, -1 = not running */
    int32_t state;            /* virDomainState */
    uint64_t round;           /* the answer that had it last */
    bool stale;               /* its definition is to be read (again) */
    struct lv_detail *detail; /* NULL = never read */
    int64_t at_ns;            /* of the counts below; 0 = there are none */
    uint64_t shape[LV_THINGS];
    struct lv_count *count; /* vCPUs, interfaces, disks, one behind the other */
    size_t counts[LV_THINGS], count_cap;
    uint64_t cpu_time; /* of a guest whose vCPUs are not told apart */
    uint64_t balloon_update;
    int64_t balloon_changed_ns;
    bool mute; /* it does not say what memory it uses */
    struct lv_tally tally;
};

/* One record of the bulk statistics, decoded; reused from guest to guest. */
struct lv_record {
    int32_t state;
    bool has_cpu, has_delay, has_wait, has_net, has_disk, has_memory_now;
    uint64_t cpu_time, memory_now, memory_most, unused, usable, rss, balloon_update;
    bool has_memory_most, has_unused, has_usable, has_rss, has_balloon_update;
    uint32_t vcpus;
    uint64_t shape[LV_THINGS];
    struct lv_count *count[LV_THINGS];
    size_t counts[LV_THINGS], cap[LV_THINGS];
};
/* SPR_OK or SPR_E_NOMEM. What a field of a wrong type or an absurd number says is left out. */
int lv_record_decode(const virTypedParameter *params, int count, struct lv_record *out);
void lv_record_clear(struct lv_record *r);
/* The record is the guest's newest answer: rates go into its tally, counts are the next baseline. */
int lv_guest_take(struct lv_guest *g, const struct lv_record *r, int32_t id, int64_t now_ns, int64_t wall_ns);

/* ---- one host (source_watch.c) ---- */

struct lv_source;

struct lv_watch {
    pthread_mutex_t lock;
    atomic_int refs; /* its host's, and one for each event callback and job */
    struct lv_host *host;
    /* under the lock, any thread */
    struct lv_guest **guest; /* all, in no order */
    size_t guest_count, guest_cap;
    uint32_t *slot; /* by UUID: index + 1, 0 = empty */
    size_t slots;
    uint64_t round;      /* answers so far */
    bool listed;         /* an inventory was answered */
    int64_t progress_ns; /* when the host last answered a call of ours */
    struct spr_libvirt_facts facts;
    double busy_s; /* of the host's processors, at busy_at_ns (0 = not known) */
    int64_t busy_at_ns;
    bool pending[3]; /* by verb: a job is queued or under way */
    struct lv_source *owner;
    /* the look lane's thread only */
    uint64_t epoch; /* of the connection that the callbacks are registered with */
    struct lv_record record;
};
struct lv_watch *lv_watch_of(struct lv_host *host); /* made when there is none; NULL: no memory */
struct lv_watch *lv_watch_ref(struct lv_watch *w);
void lv_watch_unref(struct lv_watch *w);
/* Under the lock: the guest of that UUID, made when `make`; NULL: not there, or no memory. */
struct lv_guest *lv_watch_find(struct lv_watch *w, const unsigned char *uuid, bool make);
/* Under the lock: forget guests that the newest answer did not have. */
void lv_watch_sweep(struct lv_watch *w);

/* ---- jobs (source_look.c) ---- */

/* Ask the host for `verb`; SPR_OK or what lv_lane_put says. */
int lv_look(struct lv_source *s, struct lv_watch *w, int verb);

/* ---- the source (source.c) ---- */

enum lv_reply { LV_NOT_ASKED, LV_WAITING, LV_ANSWERED, LV_FAILED };

struct lv_ask {
    struct lv_ask *next;
    spr_ticket ticket;
    int32_t verb;
    bool cancelled, again; /* again: an inventory that looks twice */
    struct spr_time since;
    int64_t deadline_mono_ns, patience_mono_ns;
    size_t waiting;
    unsigned char reply[]; /* ::lv_reply by host */
};

/* By UUID, what the last inventory said. */
struct lv_known {
    unsigned char uuid[LV_UUID_BYTES];
    int32_t vm, host;
};

struct lv_cell {
    double used, served, stalled;
    uint32_t flags; /* ::spr_usage_flag */
    bool known;     /* used is */
};

struct lv_source {
    pthread_mutex_t lock;
    atomic_int refs;
    struct spr_libvirt *v;
    struct lv_watch **watch;
    size_t hosts;
    int fd;
    spr_notifier *notifier;
    bool closed;
    struct lv_ask *first, **last;
    spr_ticket tickets;
    /* why hosts failed, by host, under the lock */
    char (*why)[LV_TEXT];
    int *why_code;
    /* the caller's thread only */
    spr_context *ctx;
    spr_fleet *inventory;   /* the last one, NULL = none yet */
    struct lv_known *known; /* sorted by UUID */
    size_t known_count;
    struct spr_usage *usage;
    size_t usage_cap;
    struct lv_cell *cell; /* [vm][resource], of the round that is collected */
    size_t cell_cap;
    bool sampled;
    struct spr_time sampled_at;
    char text[LV_TEXT * 2];
};
struct lv_source *lv_source_ref(struct lv_source *s);
void lv_source_unref(struct lv_source *s);
/* On a lane: the job of that host is over. */
void lv_source_answered(struct lv_source *s, struct lv_watch *w, int verb, const struct lv_job *job);
const struct lv_known *lv_source_known(const struct lv_source *s, const unsigned char *uuid);

/* ---- what is made of it on the caller's thread ---- */

/*
 * source_inventory.c: the snapshot of an answered INVENTORY. SPR_AGAIN: a VM is gone that was there before; hosts are
 * to be asked once more, because it may have moved behind our back.
 */
int lv_inventory_make(struct lv_source *s, const struct lv_ask *ask, struct spr_time now, spr_fleet **out);
/* source_usage.c: what all guests used since the last time; into s->usage. SPR_OK or SPR_E_NOMEM */
int lv_usage_take(struct lv_source *s, size_t *count);

#endif
