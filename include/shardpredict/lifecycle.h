/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file lifecycle.h
 * @defgroup lifecycle Lifecycle
 * @brief Plans in, shards that really exist out: a state machine per shard, a write-ahead journal, recovery.
 *
 * Every change of state is journalled before the driver hears of it. After a crash the journal is read
 * back and compared with what the driver observes: what is there is adopted or released, what is not there
 * is forgotten; nothing leaks and nothing is doubled. The transition tables stand in doc/lifecycle.md.
 *
 * Ownership: a spr_lifecycle belongs to its creator. Threads: one at a time. It never blocks: it moves when
 * spr_lifecycle_step is called.
 * @{
 */
#ifndef SHARDPREDICT_LIFECYCLE_H
#define SHARDPREDICT_LIFECYCLE_H

#include <shardpredict/plan.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The state machines of all shards and their journal. Opaque; belongs to its creator. */
typedef struct spr_lifecycle spr_lifecycle;
struct spr_driver_ops;
struct spr_store_ops;

/** Journal in memory: survives nothing, needs nothing. No config. */
SPR_API const struct spr_store_ops *spr_store_memory(void);
/** Journal in one append-only file with a checksum per record. Config: struct spr_store_file_opts. */
SPR_API const struct spr_store_ops *spr_store_file(void);
/** Config of the file store. */
struct spr_store_file_opts {
    size_t size;      /**< sizeof this struct */
    const char *path; /**< file; made when it is not there */
    int32_t sync;     /**< 1: fdatasync after every record (survives a power cut, waits for the disk) */
    int32_t reserved; /**< must be 0 */
};

/** One change, as the ledger prints it. */
struct spr_lifecycle_event {
    size_t size;                /**< sizeof this struct as the library knows it */
    struct spr_time time;       /**< when */
    uint64_t shard;             /**< shard id */
    int32_t vm;                 /**< index in the fleet */
    int32_t host;               /**< index in the fleet */
    int32_t from;               /**< ::spr_shard_state before */
    int32_t to;                 /**< ::spr_shard_state after */
    struct spr_amounts ready;   /**< what the shard holds after it */
    struct spr_amounts pending; /**< the same, on its way */
    struct spr_amounts draining;/**< the same, until the last flows are gone */
    int32_t because;            /**< ::spr_because */
    int32_t reserved;           /**< 0 */
    const char *text;           /**< what the driver said where it does not know how a call ended, or NULL; lives inside the callback */
};

/** Options of spr_lifecycle_create. */
struct spr_lifecycle_opts {
    size_t size;                          /**< sizeof this struct */
    const struct spr_driver_ops *driver;  /**< required */
    const void *driver_config;            /**< for its open */
    const struct spr_store_ops *store;    /**< journal; NULL = memory */
    const void *store_config;             /**< for its open */
    spr_notifier *notifier;               /**< given to both; NULL = none */
    uint64_t fence;                       /**< fencing number of this controller; 0 = one above the journal's */
    double call_deadline_s;               /**< deadline of a driver call beyond its usual time; 0 = 600 */
    double reserve_ttl_s;                 /**< life of an uncommitted reservation; 0 = 900 */
    double warm_at_least;                 /**< warmness that traffic needs; 0 = 0.99, SPR_NONE = any */
    int32_t retries;                      /**< of a failed call, with doubling pauses; 0 = 2, SPR_NONE = none */
    int32_t reserved;                     /**< must be 0 */
    void (*event)(void *user, const struct spr_lifecycle_event *event); /**< called inside step and apply; NULL = nobody */
    void *user;                           /**< given to it */
    int32_t reserve_first;                /**< 1: replicas are reserved on their host before they are allocated, as headroom always is; 0: ALLOCATE holds at once */
    int32_t reserved2;                    /**< must be 0 */
};

/** Make one and open driver and store; recovery runs in the first steps. */
SPR_API int spr_lifecycle_create(spr_context *ctx, const struct spr_lifecycle_opts *opts, spr_lifecycle **out);
/** Cancel what is under way and forget it; shards stay where they are. NULL is fine. */
SPR_API void spr_lifecycle_destroy(spr_lifecycle *l);
/** 1 once the journal is compared with the hosts; before that apply says SPR_E_BUSY. */
SPR_API int spr_lifecycle_ready(const spr_lifecycle *l);
/**
 * Take the actions of a plan that are due. Those that are advice only (spr_action.held_back) or whose precondition no
 * longer holds are skipped.
 * @param taken number of actions taken, or NULL
 */
SPR_API int spr_lifecycle_apply(spr_lifecycle *l, const spr_plan *plan, struct spr_time now, int32_t *taken);
/** Collect completions, retry, time out, go on. `fleet` names VMs and hosts (may be newer than the plan's). */
SPR_API int spr_lifecycle_step(spr_lifecycle *l, const spr_fleet *fleet, struct spr_time now);
/** Put all shards into a snapshot under construction. */
SPR_API int spr_lifecycle_fill(const spr_lifecycle *l, spr_fleet_builder *b);
/**
 * 1: look and remember, but ask the driver for nothing: no adoption, no release, no plan is taken (SPR_E_STATE). For
 * controllers that only advise, and may stand beside one that acts. 0: go on with what was left undone.
 */
SPR_API void spr_lifecycle_hands_off(spr_lifecycle *l, int on);
/** Ask the driver what is really there; the answer arrives in a later step. */
SPR_API int spr_lifecycle_observe(spr_lifecycle *l, struct spr_time now);
/** When step should be called anyway, monotonic ns; INT64_MAX = when an fd is readable. */
SPR_API int64_t spr_lifecycle_next_deadline(const spr_lifecycle *l);
/** The fds to poll for reading. `count`: room in, number out. */
SPR_API int spr_lifecycle_fds(const spr_lifecycle *l, int *fds, size_t *count);
/** Measured durations of allocate + warm so far: quantile p in s; 0 while fewer than 8 are known. */
SPR_API double spr_lifecycle_lead_s(const spr_lifecycle *l, double p);

#ifdef __cplusplus
}
#endif
/** @} */
#endif
