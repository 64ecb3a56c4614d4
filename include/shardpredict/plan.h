/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file plan.h
 * @defgroup plan Planning
 * @brief Fleet and forecasts in, ordered actions on shards out, each with its because and its inverse.
 *
 * Ownership: a spr_planner belongs to its creator; a spr_plan is immutable and reference counted.
 * Threads: a planner one thread at a time; a plan any thread.
 * @{
 */
#ifndef SHARDPREDICT_PLAN_H
#define SHARDPREDICT_PLAN_H

#include <shardpredict/fleet.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A planning method and its state. Opaque; belongs to its creator. */
typedef struct spr_planner spr_planner;
/** Actions and unmet wishes of one fleet. Opaque, immutable, reference counted. */
typedef struct spr_plan spr_plan;
struct spr_planner_ops;

/** X-macro of the reasons an action, a refusal or a ledger row can have: name, number, code, text. */
#define SPR_BECAUSES(X)                                                                                                \
    X(NONE, 0, "none", "no reason given")                                                                              \
    X(EXPECTED_WORTH, 1, "expected-worth", "holding it is expected to save more than it costs, and starting later saves less") \
    X(THRESHOLD, 2, "threshold", "the host's load passed the threshold of a reactive rule")                            \
    X(STATIC_HOLD, 3, "static-hold", "a fixed reserve, held always")                                                   \
    X(TRUE_FUTURE, 4, "true-future", "the true future load says so (oracle, replay only)")                             \
    X(NOT_WORTH, 5, "not-worth", "the best later start is worth more than keeping it")                                 \
    X(SURPLUS, 6, "surplus", "more is held than the need")                                                             \
    X(NO_NEED, 7, "no-need", "the host needs nothing any more")                                                        \
    X(CASCADE, 8, "cascade", "the host is short because of a shard it serves: that one goes back or moves")            \
    X(DECLARED, 9, "declared", "declared demand")                                                                      \
    X(NO_ROOM, 10, "no-room", "no allowed host has room over the whole window")                                        \
    X(NOT_REPLICABLE, 11, "not-replicable", "no VM on the host may be replicated or has spillable demand left")        \
    X(STALE_METRICS, 12, "stale-metrics", "metrics are missing or old: capacity is held, nothing is asked")            \
    X(ACTION_LIMIT, 13, "action-limit", "the limit of actions per VM, host or day is reached")                         \
    X(ALLOCATED, 14, "allocated", "the driver finished allocating")                                                    \
    X(WARMED, 15, "warmed", "the shard reached the warmness that traffic needs")                                       \
    X(DRAINED, 16, "drained", "the last flows are gone")                                                               \
    X(DRIVER_FAILED, 17, "driver-failed", "the driver reported a failure")                                             \
    X(DEADLINE, 18, "deadline", "the deadline of the call passed")                                                     \
    X(HOST_LOST, 19, "host-lost", "the host cannot be reached")                                                        \
    X(VM_GONE, 20, "vm-gone", "the inventory says the VM was deleted")                                                 \
    X(OWNER_GONE, 21, "owner-gone", "an uncommitted reservation outlived its time to live")                            \
    X(RECOVERED, 22, "recovered", "found on a host or in the journal after a restart")                                 \
    X(HOLD_VIOLATED, 23, "hold-violated", "something foreign uses the capacity that was held")                         \
    X(CONSOLIDATION, 24, "consolidation", "two shards fit into one and no new split is forecast")                      \
    X(OPERATOR, 25, "operator", "a person asked for it")                                                               \
    X(PRIMARY_MOVED, 26, "primary-moved", "the VM's primary is on another host now")                                   \
    X(PRIMARY_DEAD, 27, "primary-dead", "the primary's host is dead: the shard becomes the primary")                   \
    X(UNDER_COVERED, 28, "under-covered", "the host's quantiles cover too little: new requests are advice until they cover again") \
    X(NOT_KEPT, 29, "not-kept", "nothing there could hold a shard to its share of this resource")

/** Reasons; the same codes stand in plans, ledger, journal, JSON and API. */
enum spr_because {
#define SPR_X(name, number, code, text) SPR_BECAUSE_##name = number,
    SPR_BECAUSES(SPR_X)
#undef SPR_X
    SPR_BECAUSE_COUNT_ = 30 /**< not a reason */
};
/** Code of a reason ("expected-worth"), "unknown" for any other number. */
SPR_API const char *spr_because_code(int because);
/** One sentence for a reason. */
SPR_API const char *spr_because_text(int because);

/** X-macro of the kinds of action: name, number, text. */
#define SPR_ACTION_KINDS(X)                                                                                            \
    X(ALLOCATE, 1, "allocate")                                                                                         \
    X(GROW, 2, "grow")                                                                                                 \
    X(SHRINK, 3, "shrink")                                                                                             \
    X(RELEASE, 4, "release")                                                                                           \
    X(MOVE, 5, "move")                                                                                                 \
    X(MERGE, 6, "merge")                                                                                               \
    X(PROMOTE, 7, "promote")                                                                                           \
    X(WAIT, 8, "wait")
/** Kinds of action. */
enum spr_action_kind {
#define SPR_X(name, number, text) SPR_ACTION_##name = number,
    SPR_ACTION_KINDS(SPR_X)
#undef SPR_X
    SPR_ACTION_KIND_END_ = 9 /**< not a kind */
};
/** Name of a kind, "invalid" for any other number. */
SPR_API const char *spr_action_kind_name(int kind);

/** One action. */
struct spr_action {
    size_t size;                /**< sizeof this struct */
    uint64_t id;                /**< unique in the plan, from 1, in the order of doing */
    int32_t kind;               /**< ::spr_action_kind */
    int32_t inverse;            /**< ::spr_action_kind that undoes it, 0 = none */
    int32_t vm;                 /**< index in the fleet it was made from */
    int32_t host;               /**< host of the shard (MOVE, MERGE: where it goes) */
    uint64_t shard;             /**< shard it is about; 0 = a new one (ALLOCATE) */
    uint64_t into;              /**< MERGE: the shard that takes it over; else 0 */
    struct spr_amounts amounts; /**< how much more (ALLOCATE, GROW) or less (SHRINK, RELEASE: all) */
    int64_t due_mono_ns;        /**< when to start */
    int64_t deadline_mono_ns;   /**< when it is too late to be useful */
    double quantile;            /**< quantile of demand it is sized for; 0 = no forecast behind it */
    double worth;               /**< expected saving less cost, priced share-hours of a host */
    double cost;                /**< expected cost of holding, priced share-hours of a host */
    int32_t because;            /**< ::spr_because */
    int32_t resource;           /**< ::spr_resource whose limit decided */
    int32_t constraint_host;    /**< host whose capacity would break, -1 = none */
    int32_t precondition;       /**< ::spr_shard_state the shard must be in, -1 = must not exist */
    double threshold;           /**< the limit that would break, in the resource's unit */
    double forecast;            /**< what is expected there at that quantile, same unit */
    int32_t held_back;          /**< ::spr_because why it is advice only and nobody acts on it unasked, 0 = it is not; set by the library */
    int32_t warm;               /**< ALLOCATE, MOVE, WAIT: ::spr_warm_state in which it waits warm until `wake`; ANY = it serves as soon as it can */
    int64_t wake_mono_ns;       /**< until when it waits; it serves from then on by itself */
    int64_t need_mono_ns;       /**< when it is expected to be needed; of no account while warm is ANY */
    double resume_s;            /**< what it takes to be there from that state, s; 0 = not known */
};

/** A wish that could not be met. */
struct spr_infeasible {
    size_t size;              /**< sizeof this struct */
    int32_t vm;               /**< index, -1 = the host as a whole */
    int32_t host;             /**< host that stays short */
    int32_t resource;         /**< ::spr_resource */
    int32_t because;          /**< ::spr_because: what stands in the way */
    int64_t from_mono_ns;     /**< window begins */
    int64_t to_mono_ns;       /**< window ends */
    double amount;            /**< how much is missing, resource's unit */
    const char *text;         /**< what exactly, where more is known than `because` says, or NULL; set by the library, lives as long as the plan */
};

/** How warm shards can wait on one host, and what that costs there. */
struct spr_warm_host {
    size_t size;      /**< sizeof this struct; of the first one: the stride */
    uint32_t states;  /**< bit s: ::spr_warm_state s works there; 0 = shards there do not wait */
    int32_t reserved; /**< must be 0 */
    struct spr_warm_cost of[SPR_WARM_STATES_MAX]; /**< by ::spr_warm_state */
    double ready_s;   /**< what allocate and warm usually take there, so that a shard may be ready before its lead is over; 0 = lead_s */
};

/** Price of one resource, per share of the reference host and hour. */
struct spr_price {
    double unserved; /**< 0 = 10 (memory: 50) */
    double held;     /**< 0 = 1 */
};

/** Options of a plan; the defaults are the recipe of doc/algorithms/plan.md. */
struct spr_plan_opts {
    size_t size;                               /**< sizeof this struct */
    struct spr_price price[SPR_RESOURCES_MAX]; /**< per resource */
    double lead_s;                             /**< allocate + warm, s; 0 = 300, SPR_NONE = at once */
    double pre_s;                              /**< flows need time to move: aim this much earlier, best min(flow lifetime, 600); 0 = 60 */
    double control_s;                          /**< control interval; 0 = 60 */
    double step_s;                             /**< length of a forecast step; 0 = 300 */
    double room;                               /**< share of a target host that may be used in all; 0 = 0.9 */
    double change_at_least;                    /**< smallest change, share of the host; 0 = 0.02, SPR_NONE = any */
    double stale_s;                            /**< metrics older than this hold capacity; 0 = 5 control intervals */
    int32_t actions_per_vm_day;                /**< 0 = no limit */
    int32_t actions_per_host_day;              /**< 0 = no limit */
    int32_t actions_per_day;                   /**< 0 = no limit */
    int32_t reserved;                          /**< must be 0 */
    /**
     * what a shard costs beside its amounts as long as it stands (image, guest system, agent), as a share of a host
     * held; 0 = none. Above 0 the value rule opens a shard only where it carries more than that is worth, and merges
     * two shards of a VM into one in low demand
     */
    double shard_cost;
    /**
     * [host][resource of the fleet] not 0: the quantiles of that total cover too little (promise 5); what is newly
     * asked because of it is planned last and held back. NULL = all are trusted; read during the call
     */
    const uint8_t *under_covered;
    int64_t under_covered_count; /**< numbers in it: hosts times resources, or 0 */
    const int32_t *classes;      /**< [VM] ::spr_class, -1 = unknown, where the fleet does not say; NULL = unknown; read during the call */
    int64_t class_count;         /**< numbers in it: VMs, or 0 */
    /**
     * [host] bit r: a shard there could not be held to its share of resource r (spr_driver_capabilities.unkept). No
     * shard that is to have some of it goes there, and where that leaves a host out the plan says so
     * (SPR_BECAUSE_NOT_KEPT). NULL = all can; read during the call
     */
    const uint32_t *unkept;
    const char *const *unkept_why; /**< [host] what is missing there, elements may be NULL; NULL = nobody says; read during the call */
    int64_t unkept_count;          /**< numbers in each: hosts, or 0 */
    const struct spr_warm_host *warm; /**< [host] how shards can wait warm; NULL = nowhere, they serve as soon as they can; read during the call */
    int64_t warm_count;               /**< elements in it: hosts, or 0 */
};

/** The built-in planner: value rule over the forecast of each host's total. Config: struct spr_planner_config. */
SPR_API const struct spr_planner_ops *spr_planner_builtin(void);

/** Rules of need that the built-in planner knows. */
enum spr_need_rule {
    SPR_NEED_VALUE = 0,    /**< expected worth over the forecast (the default) */
    SPR_NEED_NONE = 1,     /**< never anything */
    SPR_NEED_STATIC = 2,   /**< a fixed reserve per host */
    SPR_NEED_REACTIVE = 3, /**< threshold and hold time */
    SPR_NEED_GIVEN = 4     /**< amounts come from a callback (oracle) */
};
/** Config of the built-in planner. */
struct spr_planner_config {
    size_t size;             /**< sizeof this struct */
    int32_t rule;            /**< ::spr_need_rule */
    int32_t reserved;        /**< must be 0 */
    double threshold;        /**< REACTIVE: share of the capacity left; 0 = 0.9 */
    double hold_s;           /**< REACTIVE: keep the largest need of the last so many s; 0 = 900, SPR_NONE = 0 */
    const double *reserve;   /**< STATIC: [host][resource of the fleet] amounts, copied */
    int64_t reserve_count;   /**< numbers in reserve */
    /**
     * GIVEN: fill, for one resource, need[host] (the load to plan for), vm_demand[vm] (what to size
     * shards for) and host_peak[host] (what a target must keep for itself); called on the planner's thread
     */
    int (*given)(void *user, const spr_fleet *fleet, int resource, double *need, double *vm_demand, double *host_peak);
    void *user;              /**< given to it */
};

/** Make a planner. @return 0, SPR_E_ARG, SPR_E_NOMEM, SPR_E_TOO_NEW, or what `open` says */
SPR_API int spr_planner_create(spr_context *ctx, const struct spr_planner_ops *ops, const void *config,
                               spr_planner **out);
/** Close and forget it. NULL is fine. */
SPR_API void spr_planner_destroy(spr_planner *p);
/**
 * Make a plan. `hosts` forecasts the total of each host: row host * R + i for the i-th resource of the
 * fleet (R of them, rising); NULL when the planner's rule needs none. Its steps are counted from
 * 1970-01-01T00:00:00Z by the wall clock, opts->step_s each: first_step = wall time / step for a forecast that begins now.
 * The result is checked independently of whoever made it: no host over its room, no VM served that may not be.
 * @return 0, SPR_E_ARG, SPR_E_NOMEM, SPR_E_STATE (the planner's answer broke a rule)
 */
SPR_API int spr_planner_run(spr_planner *p, const spr_fleet *fleet, const spr_forecast *hosts,
                            const struct spr_plan_opts *opts, spr_plan **out);

/** One more reference. */
SPR_API spr_plan *spr_plan_ref(spr_plan *p);
/** One reference less. NULL is fine. */
SPR_API void spr_plan_unref(spr_plan *p);
/** The fleet it was made from; lives as long as the plan. */
SPR_API const spr_fleet *spr_plan_fleet(const spr_plan *p);
/** Number of actions. */
SPR_API int32_t spr_plan_action_count(const spr_plan *p);
/** Copy of an action. @return 0 or SPR_E_ARG */
SPR_API int spr_plan_action(const spr_plan *p, int32_t index, struct spr_action *out);
/**
 * How the shard of an action is to wait warm, in one clause: "kept saved to disk: restores in 0.8 s, needed in 40 min".
 * @param text gets it, ended by 0 and cut to `room` bytes; "" where the action says nothing of it
 * @return 0 or SPR_E_ARG (no such action, no text)
 */
SPR_API int spr_plan_wait_text(const spr_plan *p, int32_t index, char *text, size_t room);
/** Number of wishes that could not be met. */
SPR_API int32_t spr_plan_infeasible_count(const spr_plan *p);
/** Copy of one of them. @return 0 or SPR_E_ARG */
SPR_API int spr_plan_infeasible(const spr_plan *p, int32_t index, struct spr_infeasible *out);

#ifdef __cplusplus
}
#endif
/** @} */
#endif
