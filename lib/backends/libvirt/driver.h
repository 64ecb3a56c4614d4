/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The driver's inside. Files, in the order in which things happen:
 *   driver.c          the table: requests become jobs, jobs become completions
 *   driver_turn.c     what every turn of a job does first: seat, domain, fence; and what every change goes through
 *   driver_seat.c     the one object per host that says whose turn it is to change anything there
 *   driver_look.c     the primary's definition, from whichever host has it
 *   driver_hold.c     RESERVE, and ALLOCATE of headroom
 *   driver_allocate.c ALLOCATE of a replica; driver_disks.c its overlays
 *   driver_warm.c     WARM and ACTIVATE; driver_prefetch.c reads the base image ahead, driver_hot.c knows what first
 *   driver_nics.c     its interfaces: networks, virtual functions, bandwidth
 *   driver_amounts.c  RESIZE, DRAIN, ADOPT: what a shard may use
 *   driver_release.c  RELEASE and ABORT
 *   driver_headroom.c what stands in the way of a live migration, asked of both hosts
 *   driver_migrate.c  MIGRATE, turn by turn; driver_move.c the call itself, on a thread of its own, and its progress
 *   driver_promote.c  PROMOTE
 *   driver_observe.c  OBSERVE; driver_means.c what a host lacks, before it is asked for
 *
 * A verb is a function that runs on the target's `act` lane, turn by turn: it returns after lv_job_again when it has to
 * wait. Every turn begins with the truth of the host (seat, domain, metadata), so nothing is carried from one turn to
 * the next but what is in struct lv_act, and nothing in memory is needed after a restart.
 */
#ifndef SPR_LIBVIRT_DRIVER_H
#define SPR_LIBVIRT_DRIVER_H

#include <stdio.h>

#include "domain.h"
#include "extents.h"

/* ---- the driver ---- */

/* What is measured on a host, and what it was found to be able to. Under the driver's lock. */
struct lv_facts {
    bool looked; /* at least once */
    bool no_secrets, no_pool, no_migration;
    bool quota_known, bandwidth_known; /* found out under the connection at hand, */
    bool no_quota, no_bandwidth;       /* or by something that failed */
    uint64_t epoch;                    /* of that connection */
    bool partition_there;              /* a domain was started in it */
    char pool_why[LV_TEXT], vf_why[LV_TEXT], quota_why[LV_TEXT], bandwidth_why[LV_TEXT];
    char unsure[LV_TEXT]; /* why it could not be found out, "" = it was, or was not tried */
    double allocate_s, boot_s, save_s, resume_s, restore_s, idle_s; /* smoothed, 0 = not yet; idle: from running idle */
};

/* The seat as this driver has it on a host. Touched on that host's act lane only. */
struct lv_seat {
    bool none;                /* the host has no secrets, */
    uint64_t epoch;           /* as its connection of that number said */
    char uuid[LV_UUID];       /* ours, "" = we have none */
    uint64_t fence, turn;     /* as we wrote them */
    int64_t renewed_ns;       /* when it was last written */
    int64_t quiet_until_ns;   /* taken from somebody who may still be about to act */
    char other_uuid[LV_UUID]; /* another's that we wait for, */
    uint64_t other_turn;      /* as it was when we saw it last, */
    int64_t other_since_ns;   /* and since when it has not changed */
};

/* One domain seen before, for what it used between two looks. Touched on the look lane only. */
struct lv_use {
    uint64_t shard, cpu_ns;
    int64_t at_ns;
};

struct lv_driver_host {
    struct lv_facts facts;
    struct lv_seat seat;
    atomic_bool acts;          /* the seat was ours when we looked last */
    atomic_int expiring;       /* reservations whose time is up: jobs that give them back */
    _Atomic uint64_t lowering; /* headroom shard whose placeholder is taken down to come up again, 0 = none */
    struct lv_use *use;
    size_t use_count, use_cap;
    struct lv_hot *hot; /* what guests read of base images; touched on the act lane only */
    size_t hot_count, hot_cap;
};

struct lv_driver {
    atomic_int refs; /* the opener's and one for each job */
    struct spr_libvirt *v;
    struct spr_libvirt_driver_opts o; /* defaults filled in; its texts are ours */
    struct lv_driver_host *host;      /* by index of v->hosts */
    pthread_mutex_t lock;             /* facts and homes */
    struct lv_home *homes;
    size_t home_count, home_cap;
    struct lv_gone *gone; /* likewise */
    size_t gone_count, gone_cap;
    uint64_t secret_turn; /* makes UUIDs of seats differ */
    uint64_t salt;
};
struct lv_seen;
struct lv_driver *lv_driver_ref(struct lv_driver *d);
void lv_driver_unref(struct lv_driver *d);

/* A primary in whose place a shard was put: it must not be started. */
struct lv_gone {
    char uuid[LV_UUID];
    char *vm;
};

/* Where a VM was found last: where to look first. */
struct lv_home {
    char *vm;
    size_t host;
};

/* ---- one request ---- */

/* How a guest was brought to run. */
enum lv_woke {
    LV_WOKE_NOT, /* it ran, or nobody knows for how long it had been on its way */
    LV_WOKE_RESUMED,
    LV_WOKE_RESTORED, /* from its saved image */
    LV_WOKE_BOOTED,
    LV_WOKE_IDLE /* it ran idle */
};

/* A disk of the primary that the replica writes to. */
struct lv_base {
    char *target, *path, *format; /* what is under the overlay */
    double capacity;              /* bytes of the disk as the guest sees it; 0 = ask the target */
    char *overlay;                /* path on the target, once known */
    bool copies;                  /* what is read goes into the overlay (driver_hot.c) */
    bool rests;                   /* a template's: it is what the disk itself is, and nobody writes to it */
};

/* What ALLOCATE must know of the primary. */
struct lv_primary {
    char *xml; /* definition that the replica is made from; NULL = not looked yet */
    /* of headroom: the VM as it runs, and its host's CPU */
    char *live, *host_cpu;
    /* of a replica: what its owner wrote into its metadata, NULL = nothing; does it start with its host */
    char *wishes;
    char *vf_network;            /* by its owner's wish, else the driver's; NULL = none */
    char *template_name;         /* of what its disks are from, NULL = it is none */
    char template_uuid[LV_UUID]; /* "" = its definition has none */
    bool autostart;
    size_t host; /* that it was found on */
    bool sleeps; /* it is not running there */
    char uuid[LV_UUID];
    char *type, *arch, *machine, *emulator;
    uint32_t vcpus;
    double memory;
    struct lv_base *base;
    size_t base_count;
};

struct lv_act {
    struct lv_job job; /* first */
    struct lv_driver *d;
    int32_t verb, kind;
    uint64_t shard, piece, fence;
    char *vm;
    char name[LV_NAME]; /* of the shard's domain (asking libvirt for it would forget why a call failed) */
    size_t target;      /* host that it is about */
    struct spr_amounts amounts;
    /* who the replica is */
    char **kernel_args;
    size_t kernel_arg_count;
    char *seed_url, *seed_image, *mac, *probe;
    /* networks that its virtual functions are from (driver_nics.c) */
    char **pool;
    size_t pool_count, pool_cap;
    /* looking for the primary */
    struct lv_primary primary;
    uint8_t *asked;     /* by host */
    size_t asleep;      /* host + 1 that has it, but not running; 0 = none */
    bool takes_asleep;  /* nobody has it running */
    char away[LV_TEXT]; /* hosts that could not be asked */
    int32_t lost_code;  /* it was not to be had: told on the way back */
    char lost[LV_TEXT];
    /* this turn */
    virDomainPtr dom;          /* ours by its metadata, or NULL */
    struct lv_shard_meta meta; /* of dom */
    int64_t checked_ns;        /* when seat and fence were last seen to be ours */
    bool expires;              /* a reservation is given back because its time is up, not because anybody asks */
    bool first;                /* nothing was known of the shard when this was asked */
    bool touched;              /* something may have been changed on the host */
    /* between turns */
    int32_t step, tries;
    int64_t began_ns, step_ns, idle_ns;
    uint64_t moved, arrived; /* packets sent and got */
    double booted_s;         /* from the start to the first answer */
    int32_t warm;            /* WARM: enum spr_warm_state that was asked for */
    int32_t woke;            /* enum lv_woke */
    double lowered;          /* share of the shard's CPU that a drain leaves it */
    void *ahead;             /* struct lv_ahead: what is read ahead */
    /* migrating */
    struct lv_move *move;
    virDomainPtr moving; /* the VM, on the host that it leaves */
    virConnectPtr there; /* the host that it comes to */
    bool hold_was_up;    /* the placeholder had its memory */
    bool moved_in;       /* it runs on the target, as the target says */
    /* promoting */
    size_t alive; /* host + 1 that has the primary running */
    /* the answer */
    double warmness;
    struct spr_amounts held;
};

/* Each finds a->dom and a->meta as they are on the host now. */
typedef void lv_verb(struct lv_act *a, virConnectPtr conn);
lv_verb lv_reserve, lv_allocate, lv_warm, lv_activate, lv_drain, lv_resize, lv_release, lv_adopt, lv_migrate,
    lv_promote;
extern lv_verb *const lv_verbs[SPR_DRIVER_VERB_END_];

static inline struct lv_driver_host *lv_here(const struct lv_act *a) { return &a->d->host[a->target]; }
static inline struct lv_host *lv_target(const struct lv_act *a) { return &a->d->v->hosts[a->target]; }

/* ---- turns (driver_turn.c) ---- */

void lv_act_run(struct lv_job *job, virConnectPtr conn); /* lv_job.run on the target's act lane */
/* A job with what every request has; it knows nothing of its identity yet. NULL: no memory. */
struct lv_act *lv_act_new(struct lv_driver *d, int verb, uint64_t shard, const char *vm, size_t host, uint64_t fence);
void lv_act_leave(struct lv_job *job);
void lv_act_destroy(struct lv_job *job);
/*
 * Is it still ours to change? Looked up again when more than a third of the lease has gone by since it was last seen.
 * SPR_OK, or the job has failed.
 */
int lv_check(struct lv_act *a, virConnectPtr conn);
/*
 * Right before every call that changes something: is it still ours to change? Looked up again when more than a third of
 * the lease has gone by since it was last seen. SPR_OK, or the job has failed (or waits).
 */
int lv_guard(struct lv_act *a, virConnectPtr conn);
/* The same, and the domain is still the one with our metadata: before destroying anything. */
int lv_guard_ours(struct lv_act *a, virConnectPtr conn);
/* Write a->meta into the domain. SPR_OK, or the job has failed. */
int lv_meta_save(struct lv_act *a, virConnectPtr conn);
/* The domain of this shard, by its name or (renamed) by its metadata, or NULL with *code SPR_E_NOT_FOUND (nothing),
 * SPR_E_EXISTS (not ours) or an error told. */
virDomainPtr lv_find_ours(virConnectPtr conn, uint64_t shard, const char *vm, struct lv_shard_meta *meta, int *code,
                          char why[LV_WHY]);
/* Metadata of a domain as it is written on the host. SPR_E_NOT_FOUND: it has none of ours, or a copy of another's. */
int lv_meta_read(virDomainPtr dom, struct lv_shard_meta *out, char why[LV_WHY]);
/* Somebody renamed it: before it is defined anew it is called as shards are. SPR_OK or the job has failed. */
int lv_name_back(struct lv_act *a, virConnectPtr conn);
/* As lv_job_fail_libvirt; a full disk is SPR_E_CAPACITY. `act` says what was tried. */
void lv_fail(struct lv_act *a, const char *what, const char *of);
/* Flags for a change that must survive a restart of the guest and count at once. */
unsigned int lv_affect(virDomainPtr dom);
bool lv_runs(virDomainPtr dom);              /* it has a process, paused or not */
int lv_state(virDomainPtr dom, int *reason); /* virDomainState, -1 = cannot be said */
/* Smooth a measured duration of the host: 0.3 of the new one. */
void lv_measured(struct lv_act *a, double *fact, double seconds);
/*
 * In the tests' build only: called before every act on the lane's thread, first before the time since the last check is
 * looked at, then (late) after it, with nothing but the act to come.
 */
extern void (*_Atomic lv_between)(struct lv_act *a, bool late);

/* ---- the seat (driver_seat.c) ---- */

/* SPR_OK: it is ours. SPR_AGAIN: the job waits for it. Else the job has failed. */
int lv_seat_take(struct lv_act *a, virConnectPtr conn);
/* Of libvirt's last error on this thread: there is no driver for secrets at all. One that cannot be reached says
 * something else. */
bool lv_lacks_secrets(void);
/* No shard of anybody's is left there: give it back. */
void lv_seat_leave(struct lv_act *a, virConnectPtr conn);

/* ---- the primary (driver_look.c) ---- */

/* The job goes looking and comes back to the target's act lane with a->primary filled, or a->lost_code set. */
void lv_find_primary(struct lv_act *a);
void lv_primary_clear(struct lv_primary *p);

/* Is the template switched off here? SPR_E_BUSY: it runs, and changes what lies under the overlays. */
int lv_template_rests(const struct lv_primary *p, virConnectPtr conn, char why[LV_WHY]);

/* ---- interfaces (driver_nics.c) ---- */

/*
 * The host's networks that the replica will use: there, active, and with a virtual function for each interface that
 * needs one. Fills a->pool. SPR_OK or the job has failed.
 */
int lv_nets_look(struct lv_act *a, virConnectPtr conn);
void lv_nets_clear(struct lv_act *a);
/* What of the pool is free now; false: why says what is wrong with it. */
bool lv_vfs_free(virConnectPtr conn, const char *network, size_t *all, size_t *left, char why[LV_WHY]);
/* Note a->pool in a->meta. SPR_OK or SPR_E_NOMEM. */
int lv_vfs_note(struct lv_act *a);
/* The guest has ended: none of the pools counts one of its interfaces any more. SPR_OK or the job has failed. */
int lv_vfs_give_back(struct lv_act *a, virConnectPtr conn);
/* Limit its interfaces to `share` of the amounts of network traffic. SPR_OK or the job has failed. */
int lv_limit_net(struct lv_act *a, virConnectPtr conn, const struct spr_amounts *to, double share);

/* ---- parts of verbs ---- */

/* What a replica needs of the target before anything is defined there: its networks, a template that rests. SPR_OK or
 * the job has failed (driver_hold.c). */
int lv_ready_to_copy(struct lv_act *a, virConnectPtr conn);
/* RESERVE's definition: a placeholder by the shard's name, with its metadata (driver_hold.c). a->dom is it then. */
int lv_define_hold(struct lv_act *a, virConnectPtr conn);
lv_verb lv_allocate_hold; /* ALLOCATE of headroom */
/* Its placeholder takes its memory, and has none: it was killed. SPR_OK or the job has failed (driver_hold.c). */
int lv_hold_up(struct lv_act *a, virConnectPtr conn);
/* What is held of a headroom shard has changed: make its placeholder that large, or leave it as it is. */
int lv_hold_resize(struct lv_act *a, virConnectPtr conn);
/* Note the growth a->piece in a->meta, in that phase. SPR_OK or the job has failed. */
int lv_piece_add(struct lv_act *a, int32_t phase);
/* What is not said is as the primary has it: amounts that a definition can be made of. */
struct spr_amounts lv_amounts_whole(const struct lv_act *a, const struct spr_amounts *asked);
bool lv_amounts_any(const struct spr_amounts *m);
/* Could the host ever hold it? SPR_OK or the job has failed. */
int lv_fits_host(struct lv_act *a, virConnectPtr conn, const struct spr_amounts *whole);
/* Started, but not running yet. 0 or -1 with libvirt's error. */
int lv_start_paused(virDomainPtr dom);
/* Sum of what the shard may use now: ready and every pending piece. */
struct spr_amounts lv_allowed(const struct lv_shard_meta *m);
/* Limits of CPU and memory on the domain, live and in its definition. `share` of the CPU, 1 = all (driver_amounts.c).
 */
int lv_limit(struct lv_act *a, virConnectPtr conn, const struct spr_amounts *to, double share);
#define LV_IDLE_SHARE 0.1 /* of its CPU is what a guest gets that is warm and runs idle */
/* All that the shard may use, as it waits or serves. */
int lv_limit_now(struct lv_act *a, virConnectPtr conn);
/* Pending piece a->piece becomes ready (driver_amounts.c). */
void lv_piece_ready(struct lv_act *a);
/* The pool, active; NULL: the job has failed (driver_disks.c). */
virStoragePoolPtr lv_pool(struct lv_act *a, virConnectPtr conn);
/* Note the overlays in a->meta (first), then make them. SPR_OK or the job has failed. */
int lv_disks_note(struct lv_act *a, virConnectPtr conn);
int lv_disks_make(struct lv_act *a, virConnectPtr conn);
/* Delete what the metadata says was made for the shard. SPR_OK or the job has failed. */
int lv_disks_remove(struct lv_act *a, virConnectPtr conn);
/* Reservations on that host whose time is up are given back, if this driver acts there (driver_release.c). */
void lv_expire(struct lv_driver *d, size_t host, const struct lv_seen *seen, size_t count, uint64_t fence);
/* A volume by its path, also one that came into its pool's folder behind the pool's back. NULL: libvirt says why. */
virStorageVolPtr lv_volume(virConnectPtr conn, const char *path);
/* Take the whole shard away: process, disks, definition (driver_release.c). SPR_OK or the job has failed. */
int lv_remove(struct lv_act *a, virConnectPtr conn);
/* Its definition with what libvirt made beside it (NVRAM, saved image). SPR_OK or the job has failed. */
int lv_undefine(struct lv_act *a, virConnectPtr conn);
/* Did the host lack the means, rather than fail at using them? Of libvirt's last error (driver_amounts.c). */
bool lv_unsupported(void);
/* Reads ahead for as long as `seconds` allow by the budget; true when there is nothing left to read
 * (driver_prefetch.c). */
bool lv_ahead_step(struct lv_act *a, virConnectPtr conn, double seconds);
double lv_ahead_share(const struct lv_act *a); /* of what was to be read, 0..1 */
void lv_ahead_free(struct lv_act *a);

/* ---- what guests read of a base image (driver_hot.c) ---- */

const struct lv_extents *lv_hot_of(const struct lv_act *a, const char *path); /* NULL: not known on this host */
/* Shall an overlay on it tell? */
bool lv_hot_wanted(struct lv_act *a, virConnectPtr conn, virStoragePoolPtr pool, const struct lv_base *b);
/* The guest is stopped: what its overlays tell is kept. */
void lv_hot_learn(struct lv_act *a, virConnectPtr conn);
void lv_hot_free(struct lv_driver_host *h);

/* ---- live migration ---- */

/* Can the primary come here (a->primary.live)? All that stands in the way is one text. SPR_OK or the job has failed
 * (driver_headroom.c). */
int lv_headroom_look(struct lv_act *a, virConnectPtr conn);
double lv_memory_free(virConnectPtr conn);                          /* bytes on the host, 0 = not known */
bool lv_disks_are_shared(const char *shared, const char *live_xml); /* all that it writes to */

/* One migration: what anybody may ask about it (driver_move.c). */
struct lv_move {
    atomic_int refs;
    struct lv_move *next; /* in v->moves */
    uint64_t shard;
    char *vm;
    size_t from, to;
    int64_t began_ns;
    atomic_bool stop; /* whoever watches it must end it */
    /* under v->lock */
    bool over;  /* libvirt's call came back */
    bool ended; /* and what follows from it is done */
    int32_t code;
    bool measured; /* the downtime was; else it is what is expected */
    double total, left, downtime_s, took_s;
    char text[LV_TEXT];
};
/* Begin: a->move, from a->moving to a->there, on a thread of its own. SPR_OK or the job has failed. */
int lv_move_begin(struct lv_act *a);
/* One more reference to the migration of this shard that has not ended, or NULL. */
struct lv_move *lv_move_of(struct spr_libvirt *v, uint64_t shard);
void lv_move_look(struct lv_act *a);                                   /* read its progress, from the source */
void lv_move_measure(struct lv_act *a, virDomainPtr dom);              /* read what it came to, from the target */
bool lv_move_runs(struct spr_libvirt *v, uint64_t shard);              /* it has one that has not ended */
bool lv_move_is(struct spr_libvirt *v, struct lv_move *m, bool ended); /* over, or ended */
/* It has ended; code below 0 = it failed. */
void lv_move_end(struct spr_libvirt *v, struct lv_move *m, int code, const char *text);
void lv_move_leave(struct lv_act *a); /* let go of all of it */
/* RELEASE and ABORT: true while the shard's migration has to end first, or (ABORT) when its end was all that was asked.
 */
bool lv_migration_ends(struct lv_act *a);

/* Does it answer? 1 yes, 0 not yet (why says what was heard), below 0: it never can. At most `seconds`
 * (driver_probe.c). */
int lv_probe(const char *probe, virDomainPtr dom, double seconds, const atomic_bool *stop, char why[LV_WHY]);

/* ---- the primary after this one (driver_promote.c) ---- */

/* The owner's metadata onto the replica: should it become the primary, there is nobody to ask. SPR_OK or failed. */
int lv_wishes_keep(struct lv_act *a, virConnectPtr conn);
/* A domain without our shard's metadata: is it a promoted one (1), one that a promoted one stands for (2), or neither
 * (0)? 2: *vm is its name, to be freed. */
int lv_promoted_look(struct lv_driver *d, virDomainPtr dom, char **vm);
void lv_gone_free(struct lv_driver *d);

/* ---- what a host lacks (driver_means.c) ---- */

/* On the look lane, with each observation. */
void lv_means_look(struct lv_driver *d, struct lv_host *host, virConnectPtr conn);
/* Bit by resource: amounts that the host cannot keep; `why` names what is missing and what to do, "" = nothing. */
uint32_t lv_means_lack(const struct lv_driver *d, const struct lv_facts *f, char *why, size_t room);
/* Something was refused: for want of a limit? Then it is noted. True where it can do without (bandwidth). */
bool lv_means_failed(struct lv_act *a);
/* Could a replica of the primary ever answer its probe? SPR_OK or the job has failed. */
int lv_means_probe(struct lv_act *a);

/* ---- looking (driver_observe.c) ---- */

/* One shard as a host shows it, or a host that did not answer. */
struct lv_seen {
    uint64_t id, fence;
    char *vm;
    size_t host;
    int32_t kind, state;
    struct spr_amounts ready, pending, draining, used;
    double warmness;
    int64_t expires_wall_ns; /* a reservation that is not allocated ends then, 0 = it is none */
};
struct lv_gather {
    struct lv_job job; /* first; the desk's: over when all hosts answered, or when it is closed */
    atomic_int refs;   /* the job's, the asker's, and one for each host under way */
    struct lv_driver *d;
    pthread_mutex_t lock;
    struct lv_seen *seen;
    size_t seen_count, seen_cap;
    uint8_t *answered;   /* by host */
    size_t waits;        /* hosts that did not answer yet */
    int64_t due_mono_ns; /* the caller's clock: not waited for any longer */
    bool nomem, ended;
    uint64_t fence;         /* of who asks */
    struct lv_gather *next; /* the asker's */
};
/* Ask all hosts. SPR_OK (*out has a reference for the asker), or nothing was asked. */
int lv_observe(struct lv_driver *d, struct lv_desk *desk, uint64_t fence, struct spr_time now, int64_t deadline_mono_ns,
               struct lv_gather **out);
/* Hosts that did not answer by now are not waited for. */
void lv_gather_close(struct lv_gather *g);
void lv_gather_unref(struct lv_gather *g);

#endif
