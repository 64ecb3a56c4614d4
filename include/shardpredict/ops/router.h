/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file ops/router.h
 * @ingroup route
 * @brief What steers traffic: it takes whole route snapshots and reports counters.
 */
#ifndef SHARDPREDICT_OPS_ROUTER_H
#define SHARDPREDICT_OPS_ROUTER_H

#include <shardpredict/route.h>
#include <shardpredict/ops/async.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The end of a publish. */
struct spr_router_completion {
    size_t size;       /**< sizeof this struct as the library knows it */
    spr_ticket ticket; /**< which one */
    int32_t outcome;   /**< ::spr_outcome */
    int32_t code;      /**< ::spr_error_code when it failed */
    uint64_t routes;   /**< id of the snapshot in force now */
    const char *text;  /**< why it failed, or NULL; lives until the next collect */
};
/** The table. */
struct spr_router_ops {
    size_t size;                       /**< sizeof this struct */
    const char *name;                  /**< "sim"; required */
    const char *license;               /**< SPDX expression; required */
    uint64_t caps;                     /**< SPR_CAP_* */
    const struct spr_async_ops *async; /**< required */
    int (*open)(const struct spr_env *env, const void *config, void **state); /**< required */
    void (*close)(void *state);                                               /**< required */
    /** required; put a snapshot in force; the router takes a reference of its own for as long as it needs it */
    int (*publish)(void *state, spr_routes *routes, struct spr_time now, int64_t deadline_mono_ns, spr_ticket *out);
    int (*collect)(void *state, struct spr_time now, struct spr_router_completion *out, size_t room, size_t *count); /**< required */
    /**
     * optional; what was counted so far, by rising vm: an array of `room` elements, zeroed, each with its own size in
     * `size`, which is the stride. `count`: how many services there are, which may be more than the room. Never waits.
     */
    int (*counters)(void *state, struct spr_time now, struct spr_route_counters *out, size_t room, size_t *count);
};

#ifdef __cplusplus
}
#endif
#endif
