/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file ops/planner.h
 * @ingroup plan
 * @brief What a planning method implements: whole fleets in, actions out.
 */
#ifndef SHARDPREDICT_OPS_PLANNER_H
#define SHARDPREDICT_OPS_PLANNER_H

#include <shardpredict/plan.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What a planner may look at. */
struct spr_plan_input {
    size_t size;                      /**< sizeof this struct as the library knows it */
    const spr_fleet *fleet;           /**< the snapshot */
    const spr_forecast *hosts;        /**< totals of hosts, or NULL */
    const struct spr_plan_opts *opts; /**< newest layout, defaults filled in */
};
/** Where it puts its answer. */
struct spr_plan_output {
    size_t size; /**< sizeof this struct as the library knows it */
    void *sink;  /**< given to the two functions */
    int (*action)(void *sink, const struct spr_action *action);             /**< append; the id is given by the library */
    int (*infeasible)(void *sink, const struct spr_infeasible *infeasible); /**< append */
};
/** The table. */
struct spr_planner_ops {
    size_t size;         /**< sizeof this struct */
    const char *name;    /**< "builtin"; required */
    const char *license; /**< SPDX expression; required */
    uint64_t caps;       /**< SPR_CAP_* */
    int (*open)(const struct spr_env *env, const void *config, void **state);                          /**< required */
    void (*close)(void *state);                                                                        /**< required */
    int (*plan)(void *state, const struct spr_plan_input *in, const struct spr_plan_output *out);      /**< required */
};

#ifdef __cplusplus
}
#endif
#endif
