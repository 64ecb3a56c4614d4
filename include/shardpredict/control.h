/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file control.h
 * @defgroup control Control
 * @brief The loop: samples in, forecasts updated, plan made, shards moved, routes published. One step at a time.
 *
 * The host program calls spr_controller_step when one of the fds is readable or the next deadline has come.
 * A step never blocks. This is the only place where feedback enters: demand is rebuilt from the primary and
 * the serving shards (and from what the hypervisor measured as stalled), censored where a VM was throttled.
 *
 * Promises kept here: nothing is touched unless automation allows it; metrics that stop arriving release
 * nothing; a paused controller starts nothing new; a host whose quantiles cover too little gets advice only
 * for new requests until they cover again (spr_controller_calibration), and gives nothing back because of it.
 *
 * Ownership: a spr_controller belongs to its creator. Threads: one at a time.
 * @{
 */
#ifndef SHARDPREDICT_CONTROL_H
#define SHARDPREDICT_CONTROL_H

#include <shardpredict/route.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The loop and everything it opened. Opaque; belongs to its creator. */
typedef struct spr_controller spr_controller;
struct spr_source_ops;

/** How much it may do by itself. */
enum spr_automation {
    SPR_ADVISE = 0,  /**< plans only (default) */
    SPR_CONFIRM = 1, /**< acts on plans that spr_controller_approve named */
    SPR_AUTO = 2     /**< acts */
};

/** Options of spr_controller_create. Tables are copied; configs are read inside the call, but for the forecaster's. */
struct spr_controller_opts {
    size_t size;                                /**< sizeof this struct */
    const struct spr_source_ops *source;        /**< required */
    const void *source_config;                  /**< for its open */
    const struct spr_forecaster_ops *forecaster;/**< totals of hosts; NULL = spr_forecaster_mix() */
    const void *forecaster_config;              /**< for its open, which comes after the inventory: must outlive the controller */
    const struct spr_planner_ops *planner;      /**< NULL = spr_planner_builtin() */
    const void *planner_config;                 /**< for its open */
    const struct spr_driver_ops *driver;        /**< required unless automation is ADVISE for ever */
    const void *driver_config;                  /**< for its open */
    const struct spr_router_ops *router;        /**< NULL = routes are made but nobody is told */
    const void *router_config;                  /**< for its open */
    const struct spr_store_ops *store;          /**< journal; NULL = memory */
    const void *store_config;                   /**< for its open */
    const struct spr_plan_opts *plan;           /**< NULL = all defaults; control_s and step_s rule the loop; copied */
    int32_t automation;                         /**< ::spr_automation */
    int32_t horizon;                            /**< steps ahead; 0 = as far as the lead needs; SPR_NONE = no forecasts are made */
    int64_t history_steps;                      /**< steps of history kept; 0 = 14 days */
    double refit_s;                             /**< a full fit this often; 0 = one day */
    uint64_t fence;                             /**< fencing number; 0 = one above the journal's */
    void (*event)(void *user, const struct spr_lifecycle_event *event); /**< every change of a shard; NULL = nobody */
    void *user;                                 /**< given to it */
    int32_t joint;                              /**< 0 = the VMs' own pasts are asked as well (joint sum); SPR_NONE = totals of hosts only */
    int32_t reserved;                           /**< must be 0 */
    const spr_calendar *calendar;               /**< events known to come: what they do to the hosts' totals is learnt and foreseen; referenced. NULL = none */
    int32_t reserve_first;                      /**< 1: replicas are reserved on their host before they are allocated (spr_lifecycle_opts.reserve_first) */
    int32_t reserved2;                          /**< must be 0 */
    const struct spr_steer_opts *steer;         /**< how much of the flows spills; its services are the VMs, whatever it says; copied. NULL = all defaults */
};

/** Make a controller and open its backends. @return 0, SPR_E_ARG, SPR_E_NOMEM, SPR_E_TOO_NEW, or what an open says */
SPR_API int spr_controller_create(spr_context *ctx, const struct spr_controller_opts *opts, spr_controller **out);
/** Cancel what waits and close the backends; shards stay where they are. No callback follows. NULL is fine. */
SPR_API void spr_controller_destroy(spr_controller *c);
/**
 * Teach it the past: rows of VMs (by id) over steps [first, last) of a series whose step is the controller's.
 * Needs the inventory, so call it after the first steps; it may be called once.
 */
SPR_API int spr_controller_history(spr_controller *c, const spr_series *series, int64_t first, int64_t last);
/** Do what can be done at `now` without waiting. @return 0 or the first error met (it goes on all the same) */
SPR_API int spr_controller_step(spr_controller *c, struct spr_time now);
/** When to step anyway, monotonic ns. */
SPR_API int64_t spr_controller_next_deadline(const spr_controller *c);
/** The fds to poll for reading. `count`: room in, number out (may be larger than the room). */
SPR_API int spr_controller_fds(const spr_controller *c, int *fds, size_t *count);
/** What a backend's own thread may call to have it stepped. Lives as long as the controller. */
SPR_API spr_notifier *spr_controller_notifier(spr_controller *c);
/** The switch that stops everything new: 1 on, 0 off. What is under way ends. */
SPR_API void spr_controller_pause(spr_controller *c, int on);
/** Change how much it may do. @return 0, SPR_E_ARG, SPR_E_STATE (no driver) */
SPR_API int spr_controller_automation(spr_controller *c, int automation);
/** CONFIRM: do this plan's actions, also those that are held back as advice: a person has looked. @return 0, SPR_E_STATE when it is no longer the newest plan */
SPR_API int spr_controller_approve(spr_controller *c, const spr_plan *plan);
/** Newest snapshot, or NULL; the caller gets a reference of its own. */
SPR_API spr_fleet *spr_controller_fleet(const spr_controller *c);
/** Newest plan, or NULL; the caller gets a reference of its own. */
SPR_API spr_plan *spr_controller_plan(const spr_controller *c);
/** Newest routes, or NULL; the caller gets a reference of its own. */
SPR_API spr_routes *spr_controller_routes(const spr_controller *c);
/** Newest forecast of the hosts' totals, or NULL; the caller gets a reference of its own. */
SPR_API spr_forecast *spr_controller_forecast(const spr_controller *c);

/** How well the forecast that rules a VM's shards (its host's total) keeps its quantiles, and whether that gates automation. */
struct spr_calibration {
    size_t size;           /**< sizeof this struct, set by the caller */
    int32_t vm;            /**< index in the fleet */
    int32_t host;          /**< its host, whose total is forecast */
    int32_t resource;      /**< ::spr_resource */
    int32_t gated;         /**< 1 = the quantiles cover too little by the sequential test: new requests are advice only */
    double level;          /**< level that the shares are of: the nearest to the one asked for */
    double covered;        /**< share of outcomes at or below the quantile, forgotten over a day of steps, randomised at ties; NaN before the first */
    double recent;         /**< the same over the last 288 outcomes, each counting alike */
    double at_or_below;    /**< share at or below the quantile, ties all counted */
    double evidence;       /**< of the test; gated at 100 and more */
    int64_t outcomes;      /**< so many were compared */
    int64_t since_wall_ns; /**< end of the step in which the gate last closed or opened; -1 = never */
};
/**
 * Calibration of what a VM's shards are decided by, at the step in which one asked for would be ready.
 * @param level quantile level of the shares, 0..1
 * @return 0, SPR_E_ARG, SPR_E_STATE (nothing is forecast)
 */
SPR_API int spr_controller_calibration(const spr_controller *c, int32_t vm, int resource, double level,
                                       struct spr_calibration *out);

/**
 * A probe of a VM's shard (0 = its primary) came back, or did not; made by the host program. Routes follow in the next step.
 * @return 1 when it is alive or dead otherwise than before, 0, SPR_E_ARG, SPR_E_NOMEM
 */
SPR_API int spr_controller_health(spr_controller *c, int32_t vm, uint64_t shard, int ok, struct spr_time now);

#ifdef __cplusplus
}
#endif
/** @} */
#endif
