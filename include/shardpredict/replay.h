/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file replay.h
 * @defgroup replay Replay
 * @brief The same loop over a recorded trace, policies side by side, scored against perfect knowledge.
 *
 * Physics and scores: doc/algorithms/replay.md. Every policy runs the real controller, lifecycle and routes
 * against a world (the `sim` backend); it sees served load and measured stalls, never the trace.
 * The verdict is the same for any number of threads.
 *
 * Ownership: a spr_verdict is immutable and reference counted. Threads: run on one, read on any.
 * @{
 */
#ifndef SHARDPREDICT_REPLAY_H
#define SHARDPREDICT_REPLAY_H

#include <shardpredict/control.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Scores of the policies of one replay. Opaque, immutable, reference counted. */
typedef struct spr_verdict spr_verdict;
struct spr_world_ops;

/** X-macro of the policies: name, number, text. */
#define SPR_POLICIES(X)                                                                                                \
    X(NONE, 0, "none")                                                                                                 \
    X(STATIC_P95, 1, "static-p95")                                                                                     \
    X(REACTIVE, 2, "reactive")                                                                                         \
    X(REACTIVE_TUNED, 3, "reactive-tuned")                                                                             \
    X(PREDICTIVE, 4, "predictive")                                                                                     \
    X(ORACLE, 5, "oracle")
/** Policies. */
enum spr_policy {
#define SPR_X(name, number, text) SPR_POLICY_##name = number,
    SPR_POLICIES(SPR_X)
#undef SPR_X
    SPR_POLICY_COUNT = 6 /**< how many there are */
};
/** Name of a policy ("static-p95"), "invalid" for any other number. */
SPR_API const char *spr_policy_name(int policy);

/** Everything a verdict depends on besides the trace. */
struct spr_scenario {
    size_t size;                               /**< sizeof this struct */
    const char *name;                          /**< for people */
    const spr_fleet *fleet;                    /**< hosts, VMs with primaries and policies, resources */
    int64_t train_until;                       /**< first step that is not warm-up */
    int64_t score_first;                       /**< first scored step */
    int64_t score_end;                         /**< one past the last scored step */
    double substep_s;                          /**< physics; 0 = 10 */
    double control_s;                          /**< control interval; 0 = 60 */
    double refit_s;                            /**< full fit; 0 = one day */
    double allocate_s[2];                      /**< median and 95th percentile, s; both pairs 0 = 60 % of 300 s; SPR_NONE = no time */
    double warm_s[2];                          /**< the same; both pairs 0 = 40 % of 300 s; SPR_NONE = no time */
    struct spr_price price[SPR_RESOURCES_MAX]; /**< 0 = 10 : 1, memory 50 : 1 */
    double room;                               /**< share of a target that may be used; 0 = 0.9 */
    double change_at_least;                    /**< share of a host; 0 = 0.02 */
    double reactive_threshold;                 /**< published rule; 0 = 0.9 */
    double reactive_hold_s;                    /**< published rule; 0 = 900 */
    const double *tuned_thresholds;            /**< NULL = .8 .9 .95 1 1.1 1.3 */
    int64_t tuned_threshold_count;             /**< how many */
    const double *tuned_holds_s;               /**< NULL = 0 300 900 */
    int64_t tuned_hold_count;                  /**< how many */
    int32_t tuned_never;                       /**< 0 = may also choose never to act; SPR_NONE = must act */
    int32_t actions_per_vm_day;                /**< 0 = no limit */
    int32_t actions_per_host_day;              /**< 0 = no limit */
    int32_t actions_per_day;                   /**< 0 = no limit */
    int64_t blackout_first;                    /**< the source gives no samples in steps [first, end); 0, 0 = never */
    int64_t blackout_end;                      /**< end of it */
    int64_t fail_every;                        /**< every n-th driver call fails once; 0 = none */
    uint64_t seed;                             /**< of durations and whatever else is random */
};

/** One change of a shard in a run, for the ledger. */
struct spr_replay_event {
    size_t size;                              /**< sizeof this struct */
    int32_t policy;                           /**< ::spr_policy */
    int32_t reserved;                         /**< 0 */
    double time_s;                            /**< from the trace's first step */
    const struct spr_lifecycle_event *change; /**< what changed */
};
/** One VM and resource over one scored step, for the steps file; handed out where got < demand or held > 0. */
struct spr_replay_step {
    size_t size;       /**< sizeof this struct */
    int32_t policy;    /**< ::spr_policy */
    int32_t vm;        /**< index in the fleet */
    int32_t resource;  /**< ::spr_resource */
    int32_t reserved;  /**< 0 */
    double time_s;     /**< start of the step, from the trace's first step */
    double demand;     /**< mean, resource's unit */
    double got;        /**< mean */
    double held;       /**< mean */
};

/** Tables and callbacks of a run. */
struct spr_replay_opts {
    size_t size;                          /**< sizeof this struct */
    const struct spr_world_ops *world;    /**< required: physics */
    const struct spr_source_ops *source;  /**< required: opened with the world's state as config */
    const struct spr_driver_ops *driver;  /**< required: the same */
    const struct spr_router_ops *router;  /**< required: the same */
    const struct spr_forecaster_ops *forecaster; /**< of the predictive policy; NULL = spr_forecaster_mix() */
    const void *forecaster_config;        /**< for its open */
    uint32_t policies;                    /**< bit ::spr_policy; 0 = all. What saved and regret need runs as well */
    int32_t threads_reserved;             /**< must be 0: threads come from the context's executor */
    int (*event)(void *user, const struct spr_replay_event *event); /**< ledger rows by policy, then time; NULL = nobody */
    int (*step)(void *user, const struct spr_replay_step *step);    /**< step rows by policy, time, VM; NULL = nobody */
    void (*progress)(void *user, double share, const char *what);   /**< NULL = nobody; from any thread of the executor */
    void *user;                           /**< given to all of them */
    int32_t joint;                        /**< of the predictive policy's controller: SPR_NONE = totals of hosts only; 0 = VMs too */
    int32_t reserved;                     /**< must be 0 */
    const spr_calendar *calendar;         /**< events known to come, for the predictive policy; NULL = none */
};

/** How one policy did. Costs are priced host-hours. */
struct spr_policy_score {
    size_t size;               /**< sizeof this struct, set by the caller */
    int32_t policy;            /**< ::spr_policy */
    int32_t asked;             /**< 1: was asked for, 0: ran because others need it */
    double cost;               /**< unserved and held, priced */
    double cost_unserved;      /**< the first part */
    double cost_held;          /**< the second part */
    double saved;              /**< (none - cost) / (none - oracle); NaN where the denominator is <= 1e-9 none */
    double regret;             /**< (cost - oracle) / (rival - oracle); NaN likewise */
    double unserved_share;     /**< unserved demand / demand, resources weighed by price */
    double violation_minutes;  /**< VM-minutes with less than 99 % of the demand */
    int64_t episodes;          /**< host's demand above its capacity for at least two steps */
    int64_t episodes_covered;  /**< of those: ready shards of its VMs held at least half the excess at onset */
    double lead_median_s;      /**< readiness to onset of the episode it covers; NaN when none */
    double shard_hours_held;   /**< host-hours held */
    double shard_hours_used;   /**< host-hours of them that served */
    int64_t actions;           /**< requests and releases decided */
    int64_t moves;             /**< shards that changed host */
    double energy_kwh;         /**< NaN without power tables */
    int64_t limits_broken;     /**< actions past a limit */
};
/** What is common to all of them. */
struct spr_verdict_summary {
    size_t size;               /**< sizeof this struct, set by the caller */
    int32_t rival;             /**< ::spr_policy: the cheapest of none, static-p95, reactive-tuned */
    int32_t has_room;          /**< rival - oracle is at least 2 % of none - oracle */
    double bound;              /**< no policy can cost less */
    double unspillable_cost;   /**< the part of it that no shard can remove */
    double tuned_threshold;    /**< NaN = never */
    double tuned_hold_s;       /**< of reactive-tuned */
    double hours;              /**< scored hours */
    int64_t forecasts;         /**< forecasts made by the predictive policy */
};

/**
 * Run the policies. Rows of the series are matched with the fleet's VMs by id and resource; gaps hold the
 * last value (before the first one, the first).
 * @return 0, SPR_E_ARG, SPR_E_NOMEM, SPR_E_NOT_FOUND (a VM without a row), SPR_E_CALLBACK
 */
SPR_API int spr_replay_run(spr_context *ctx, const spr_series *series, const struct spr_scenario *scenario,
                           const struct spr_replay_opts *opts, spr_verdict **out);
/** One more reference. */
SPR_API spr_verdict *spr_verdict_ref(spr_verdict *v);
/** One reference less. NULL is fine. */
SPR_API void spr_verdict_unref(spr_verdict *v);
/** What is common. */
SPR_API int spr_verdict_summary(const spr_verdict *v, struct spr_verdict_summary *out);
/** Number of policies that ran. */
SPR_API int32_t spr_verdict_count(const spr_verdict *v);
/** Score of one of them. @return 0 or SPR_E_ARG */
SPR_API int spr_verdict_score(const spr_verdict *v, int32_t index, struct spr_policy_score *out);
/** Cost per scored day of one of them (the last may be a part). `count`: room in, number out. */
SPR_API int spr_verdict_days(const spr_verdict *v, int32_t index, double *cost, size_t *count);
/**
 * 90 % bootstrap interval over days (hours, when there are under four days) of the ratio of two policies'
 * costs, 1000 draws by the scenario's seed.
 */
SPR_API int spr_verdict_ratio(const spr_verdict *v, int32_t a, int32_t b, double *low, double *high);

#ifdef __cplusplus
}
#endif
/** @} */
#endif
