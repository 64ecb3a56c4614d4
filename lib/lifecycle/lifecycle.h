/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The inside of the lifecycle. Files, in the order in which things happen:
 *   table.c    which change of state is allowed (the tables of doc/lifecycle.md)
 *   journal.c  a shard as a record and back
 *   calls.c    requests to the driver: tickets, retries, deadlines
 *   machine.c  what a shard does next, and what an answer means for it
 *   observe.c  what the driver says is there, against what we believe
 *   apply.c    a plan's actions as changes of shards
 *   lifecycle.c the public calls
 *
 * One rule carries all of it: what a shard should be is written into the shard (and the journal) first, and
 * spr__shard_drive then asks the driver for whatever is still missing. A retry, a crash, a lost answer or a
 * full disk therefore need nothing of their own: drive again.
 */
#ifndef SPR_LIB_LIFECYCLE_H
#define SPR_LIB_LIFECYCLE_H

#include <shardpredict/lifecycle.h>
#include <shardpredict/ops/driver.h>
#include <shardpredict/ops/store.h>

#include "fleet/fleet.h"

/* What can happen to a shard; columns of the transition tables. */
#define SPR__EVENTS(X)                                                                                                 \
    X(SUBMITTED, "submitted")                                                                                          \
    X(RESERVED, "reserved")                                                                                            \
    X(ALLOCATED, "allocated")                                                                                          \
    X(WARMED, "warmed")                                                                                                \
    X(ACTIVATED, "activated")                                                                                          \
    X(COOLED, "cooled")                                                                                                \
    X(GROWN, "grown")                                                                                                  \
    X(SHRUNK, "shrunk")                                                                                                \
    X(DRAINED, "drained")                                                                                              \
    X(GONE, "gone")                                                                                                    \
    X(FAILED, "failed")                                                                                                \
    X(LOST, "lost")                                                                                                    \
    X(OBSERVED, "observed")                                                                                            \
    X(FOUND, "found")                                                                                                  \
    X(FORGOTTEN, "forgotten")                                                                                          \
    X(ADOPTED, "adopted")                                                                                              \
    X(PROMOTED, "promoted")
enum spr__event {
#define SPR_X(name, text) SPR__EVENT_##name,
    SPR__EVENTS(SPR_X)
#undef SPR_X
        SPR__EVENT_COUNT
};

/* One row of the table; `kinds` is a bit per spr_shard_kind, `to` a bit per spr_shard_state. */
struct spr__transition {
    uint8_t kinds, from, event;
    uint16_t to;
};
extern const struct spr__transition spr__transitions[];
extern const size_t spr__transition_count;
const char *spr__event_name(int event);
bool spr__transition_allowed(int kind, int from, int event, int to);

/* ---- amounts ---- */

static inline bool spr__amounts_any(const struct spr_amounts *a) {
    for (int r = 0; r < SPR_RESOURCES_MAX; r++)
        if (a->of[r] > 0)
            return true;
    return false;
}
static inline void spr__amounts_add(struct spr_amounts *a, const struct spr_amounts *b) {
    for (int r = 0; r < SPR_RESOURCES_MAX; r++)
        a->of[r] += b->of[r];
}
/* Take min(*want, *from) out of both; what is left of `from` is never dust. Returns what was taken. */
struct spr_amounts spr__amounts_take(struct spr_amounts *from, struct spr_amounts *want);
/* a - b where that is more than rounding, else 0 */
struct spr_amounts spr__amounts_over(const struct spr_amounts *a, const struct spr_amounts *b);

/* ---- shards ---- */

/* How far a growth is. */
enum spr__phase { SPR__PHASE_RESERVE = 0, SPR__PHASE_ALLOCATE = 1, SPR__PHASE_WARM = 2 };

/* One growth on its way. */
struct spr__piece {
    uint64_t number, replaces; /* replaces: shard that is given back once this is ready, 0 = none */
    int32_t phase, because, tries;
    bool doomed; /* to be given back */
    bool heard;  /* the driver may know it */
    bool begun;  /* the driver has accepted the verb of this phase */
    bool trim;   /* the driver has yet to hear that it became smaller */
    struct spr_amounts amounts;
    struct spr_time asked;
};

struct spr__call;

struct spr__shard {
    uint64_t id;
    char *vm_name, *host_name;
    int32_t vm, host; /* in l->fleet; -1 = not there */
    int32_t kind, state, because;
    struct spr_amounts ready, draining, used;
    struct spr_amounts to_drain; /* part of `draining` that the driver has yet to hear of */
    struct spr__piece *pieces;   /* oldest first */
    size_t piece_count, piece_cap;
    uint64_t next_piece;
    uint64_t first; /* the growth that makes the shard at the driver */
    double warmness;
    int32_t tries;      /* failed ACTIVATE or PROMOTE calls in a row */
    bool serving;       /* ACTIVATE was done (headroom: in use) */
    bool promote;       /* to become the primary */
    bool adopt;         /* found after a restart, not yet told that we own it */
    bool needs_observe; /* only the driver's truth helps */
    bool broken;        /* gave up: only a release is left */
    bool verify;        /* a growth may have arrived while it was given back: compare amounts */
    bool dirty;         /* the journal lacks the last change */
    spr_ticket journal; /* record that is not yet durable, 0 = none */
    struct spr__call *calls;
    uint64_t touched;      /* l->seq of its last change */
    int64_t drain_s;       /* how long established flows may take */
    int32_t warm;          /* spr_warm_state in which it waits until `wake`, ANY = it serves as soon as it can */
    int32_t waits;         /* what the driver was last known to have brought it to, -1 = nobody knows */
    struct spr_time wake;  /* mono_ns 0: to be worked out from wall_ns (after a restart) */
    uint64_t drain_number; /* of the drain to be asked for, of `to_drain` or of nothing more; 0 = none */
    int32_t strays;        /* times that growths nobody remembers were given back */
    uint64_t seen;         /* last observation that had it */
};

/* One request to the driver, under way (ticket) or waiting for its next try (ticket 0). */
struct spr__call {
    struct spr__call *next;   /* of the same shard */
    struct spr__shard *shard; /* NULL: OBSERVE */
    spr_ticket ticket;
    int32_t verb;
    int32_t tries;
    int32_t warm; /* WARM: spr_warm_state that was asked for */
    bool trim;
    uint64_t piece;
    struct spr_amounts amounts;
    int64_t at_mono_ns; /* next try, or when to give up waiting */
    size_t index;       /* in l->calls */
};

struct spr__ticket_slot {
    spr_ticket ticket;
    struct spr__call *call;
};

#define SPR__LEADS 256

struct spr_lifecycle {
    spr_context *ctx;
    struct spr_lifecycle_opts opts; /* defaults filled in */
    struct spr_driver_ops driver;
    struct spr_async_ops driver_async, store_async;
    struct spr_store_ops store;
    void *driver_state, *store_state;
    bool has_store;
    uint64_t fence;
    bool fenced;
    int recovery; /* 0 to begin, 1 hosts are being observed, 2 over */
    spr_fleet *fleet;
    spr_plan *plan; /* the one applied last, and which of its actions were taken */
    uint8_t *taken;
    size_t taken_bytes;

    struct spr__shard **shards; /* rising id */
    size_t shard_count, shard_cap;
    uint64_t next_id;
    uint64_t seq;          /* counts changes, so that an old observation is known as old */
    uint64_t released_seq; /* seq of the last release */

    struct spr__call **calls;
    size_t call_count, call_cap;
    struct spr__call *free_calls;
    struct spr__ticket_slot *tickets;
    size_t ticket_count, ticket_cap;
    int64_t next_ns; /* no call, poll or kick is due before */
    bool hands_off;  /* look, but ask the driver for nothing */
    bool kick;       /* some shard could not be driven: try all again */
    int64_t kick_ns;
    int64_t wake_ns;      /* when the first shard that waits warm is to serve; INT64_MAX = none */
    size_t journal_waits; /* appended, not yet durable */

    const char *said; /* the driver's words about the change that is being told, or NULL */
    struct spr__call *observing;
    uint64_t observe_seq, observe_count;
    bool observe_again;
    int64_t poll_ns;
    int poll_tries;

    uint8_t *record; /* scratch of the journal */
    size_t record_cap;
    struct spr__piece *undo;
    size_t undo_cap;

    double leads[SPR__LEADS], sorted[SPR__LEADS]; /* s; ring, and the same in order */
    int lead_count, lead_at;
    int64_t illegal; /* transitions that the table does not know; a defect, looked at by tests */
};

/* journal.c */
int spr__journal_append(struct spr_lifecycle *l, struct spr__shard *s, struct spr_time now);
int spr__journal_fence(struct spr_lifecycle *l);
int spr__journal_read(struct spr_lifecycle *l, uint64_t *fence);
int spr__journal_decode(struct spr_lifecycle *l, const uint8_t *data, size_t bytes, uint64_t *fence);
/* Take what the store reports. Returns how many records became durable (or failed). */
int spr__journal_collect(struct spr_lifecycle *l, struct spr_time now);

/* calls.c */
int spr__call_start(struct spr_lifecycle *l, struct spr__shard *s, int verb, uint64_t piece,
                    const struct spr_amounts *amounts, bool trim, struct spr_time now);
struct spr__call *spr__call_find(struct spr__shard *s, int verb, uint64_t piece, bool trim);
/* The same request once more, after a pause. */
int spr__call_again(struct spr_lifecycle *l, const struct spr__call *ended, int tries, struct spr_time now);
/* Forget a call: cancel it where it is under way. */
void spr__call_drop(struct spr_lifecycle *l, struct spr__call *c);
void spr__call_drop_all(struct spr_lifecycle *l, struct spr__shard *s);
/* Collect once from the driver. Returns how many completions were handled, or an error. */
int spr__calls_collect(struct spr_lifecycle *l, struct spr_time now);
/* Whatever is due: next tries, deadlines that passed, polls. Returns whether something was due. */
bool spr__calls_timers(struct spr_lifecycle *l, struct spr_time now);
void spr__calls_finish(struct spr_lifecycle *l);
/* What the driver says of a host; all 0 where it says nothing. */
struct spr_driver_capabilities spr__capabilities(const struct spr_lifecycle *l, const char *host);
void spr__wake_at(struct spr_lifecycle *l, int64_t mono_ns);

/* machine.c */
struct spr__shard *spr__shard_new(struct spr_lifecycle *l, uint64_t id, const char *vm, const char *host, int kind);
struct spr__shard *spr__shard_find(const struct spr_lifecycle *l, uint64_t id);
void spr__shard_free(struct spr_lifecycle *l, struct spr__shard *s);
void spr__shard_remove(struct spr_lifecycle *l, struct spr__shard *s);
struct spr__piece *spr__piece_add(struct spr_lifecycle *l, struct spr__shard *s, const struct spr_amounts *amounts,
                                  int because, struct spr_time now);
struct spr__piece *spr__piece_find(struct spr__shard *s, uint64_t number);
void spr__piece_remove(struct spr__shard *s, struct spr__piece *p);
/* Growths on their way; growths that are being given back count as draining instead. */
struct spr_amounts spr__shard_pending(const struct spr__shard *s);
struct spr_amounts spr__shard_draining(const struct spr__shard *s);
/* Work could not be started now (memory, journal): look at all shards again soon. */
void spr__kick(struct spr_lifecycle *l, struct spr_time now);
/*
 * The shard's parts have changed by `event`: work out its state, check it against the table, journal, tell.
 * `strict`: when the journal refuses, nothing is told and the code comes back (the caller undoes the change).
 */
int spr__shard_change(struct spr_lifecycle *l, struct spr__shard *s, int event, int because, struct spr_time now,
                      bool strict);
/* Ask the driver for whatever the shard still misses. The shard may be gone afterwards. */
void spr__shard_drive(struct spr_lifecycle *l, struct spr__shard *s, struct spr_time now);
/* Is it to wait warm at this moment? Sees to it that somebody looks again when it is not. */
bool spr__shard_waits(struct spr_lifecycle *l, struct spr__shard *s, struct spr_time now);
/* It no longer waits. */
void spr__shard_wakes(struct spr__shard *s);
/* Give back this much, newest pending growth first; no journal, no event. */
void spr__shard_reduce(struct spr__shard *s, struct spr_amounts less);
void spr__shard_reduce_all(struct spr__shard *s);
/* Give back all of it: reduce, journal, tell, drive. */
void spr__shard_give_back(struct spr_lifecycle *l, struct spr__shard *s, int because, struct spr_time now);
/* A reservation that nobody turned into an allocation in time. */
bool spr__shard_expired(const struct spr_lifecycle *l, const struct spr__shard *s, struct spr_time now);
void spr__shard_lost(struct spr_lifecycle *l, struct spr__shard *s, int because, struct spr_time now);
void spr__call_done(struct spr_lifecycle *l, struct spr__call *c, const struct spr_driver_completion *d,
                    struct spr_time now);
/* The driver has accepted the call. */
void spr__call_accepted(struct spr_lifecycle *l, struct spr__call *c, struct spr_time now);
/* The tries are used up. */
void spr__call_gave_up(struct spr_lifecycle *l, struct spr__call *c, struct spr_time now);

/* observe.c */
int spr__observe(struct spr_lifecycle *l, struct spr_time now);
/* Look soon, unless somebody looks earlier. */
void spr__observe_soon(struct spr_lifecycle *l, struct spr_time now);
void spr__observed(struct spr_lifecycle *l, const struct spr_driver_completion *d, struct spr_time now);
void spr__fleet_changed(struct spr_lifecycle *l, const spr_fleet *before, struct spr_time now);

/*
 * What shards on a host could not be held to, bit by resource; *why, which lives until the driver is asked again, is
 * what is missing there, or NULL.
 */
uint32_t spr__lifecycle_unkept(const spr_lifecycle *l, const char *host, const char **why);

/* lifecycle.c: as spr_lifecycle_apply; `asked`: a person said yes, so what is advice only is done as well */
int spr__lifecycle_apply(spr_lifecycle *l, const spr_plan *plan, struct spr_time now, bool asked, int32_t *taken);
/* apply.c */
/* 1 taken, 0 skipped because its precondition does not hold, below 0 an error. Tests call it too. */
int spr__lifecycle_take(struct spr_lifecycle *l, const spr_fleet *fleet, const struct spr_action *a,
                        struct spr_time now);

#endif
