/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file ops/world.h
 * @ingroup replay
 * @brief A world that a replay can put a controller into: it takes true demand, shares capacity out, and is
 * measured from outside. Its state is also the config of the source, driver and router tables beside it.
 */
#ifndef SHARDPREDICT_OPS_WORLD_H
#define SHARDPREDICT_OPS_WORLD_H

#include <shardpredict/fleet.h>

#ifdef __cplusplus
extern "C" {
#endif

/** How a world is made. */
struct spr_world_config {
    size_t size;               /**< sizeof this struct */
    const spr_fleet *fleet;    /**< hosts and VMs */
    double substep_s;          /**< physics advance in steps of this, s */
    double allocate_s[2];      /**< time an allocation takes: median and 95th percentile, s */
    double warm_s[2];          /**< time warming takes: median and 95th percentile, s */
    uint64_t seed;             /**< for durations and failures */
    int64_t fail_every;        /**< every n-th driver call fails once; 0 = none */
    int32_t stall_hidden;      /**< 1: the source does not measure what a throttled VM misses, only marks it */
    int32_t reserved;          /**< must be 0 */
};
/** Means since the last call of `measure`, [vm][resource of the fleet] each, resource's unit. */
struct spr_world_measure {
    size_t size;           /**< sizeof this struct */
    double *demand;        /**< what was wanted */
    double *got;           /**< what was served, primary and shards */
    double *held;          /**< what the VM's shards held anywhere */
    double *served;        /**< what its shards served */
    double *violated_s;    /**< [vm]: seconds in which the VM got less than 99 % of its demand of any resource */
    double *host_load;     /**< [host]: mean CPU load served there, CPU's unit */
};
/** The table. */
struct spr_world_ops {
    size_t size;         /**< sizeof this struct */
    const char *name;    /**< "sim"; required */
    const char *license; /**< SPDX expression; required */
    uint64_t caps;       /**< SPR_CAP_* */
    int (*open)(const struct spr_env *env, const struct spr_world_config *config, void **state); /**< required */
    void (*close)(void *state);                                                                  /**< required */
    int (*demand)(void *state, const double *demand);              /**< required; true demand from now on, [vm][resource] */
    int (*advance)(void *state, struct spr_time to);               /**< required; let time pass, whole sub-steps */
    int (*measure)(void *state, struct spr_world_measure *out);    /**< required; means since the last call, then forget */
};

#ifdef __cplusplus
}
#endif
#endif
