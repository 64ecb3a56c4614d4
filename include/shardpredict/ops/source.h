/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file ops/source.h
 * @ingroup metrics
 * @brief Where inventory and samples come from. Inventory is authoritative, samples are not.
 */
#ifndef SHARDPREDICT_OPS_SOURCE_H
#define SHARDPREDICT_OPS_SOURCE_H

#include <shardpredict/fleet.h>
#include <shardpredict/ops/async.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What is asked. */
enum spr_source_verb {
    SPR_SOURCE_INVENTORY = 1, /**< all hosts and VMs as a snapshot without shards */
    SPR_SOURCE_SAMPLES = 2    /**< what every VM used since the last answered SAMPLES */
};
/** Marks of a measured VM. */
enum spr_usage_flag {
    SPR_USAGE_THROTTLED = 1, /**< it was held back: demand is at least used */
    SPR_USAGE_STALL_KNOWN = 2/**< `stalled` is measured (steal, ready time, backlog): demand = used + stalled */
};
/** What one VM used of one resource over an interval, primary and serving shards together. */
struct spr_usage {
    int32_t vm;         /**< index in the inventory */
    int32_t resource;   /**< ::spr_resource */
    double used;        /**< mean use at the primary, resource's unit */
    double served;      /**< mean use at its shards */
    double stalled;     /**< mean of what it would have used as well, where the flag says it is known */
    uint32_t flags;     /**< ::spr_usage_flag */
    uint32_t reserved;  /**< 0 */
};
/** One answer. */
struct spr_source_completion {
    size_t size;                   /**< sizeof this struct as the library knows it */
    spr_ticket ticket;             /**< which one */
    int32_t outcome;               /**< ::spr_outcome */
    int32_t code;                  /**< ::spr_error_code when it failed */
    struct spr_time from;          /**< SAMPLES: interval begins */
    struct spr_time to;            /**< SAMPLES: interval ends */
    const struct spr_usage *usage; /**< SAMPLES: what was used; lives until the next collect; VMs left out are unknown */
    size_t usage_count;            /**< how many */
    spr_fleet *inventory;          /**< INVENTORY: the snapshot; who collects it owns this reference, until then the source, also in `close` */
    const char *text;              /**< why it failed, or NULL */
};
/** The table. */
struct spr_source_ops {
    size_t size;                       /**< sizeof this struct */
    const char *name;                  /**< "sim"; required */
    const char *license;               /**< SPDX expression; required */
    uint64_t caps;                     /**< SPR_CAP_* */
    const struct spr_async_ops *async; /**< required */
    int (*open)(const struct spr_env *env, const void *config, void **state);                              /**< required */
    void (*close)(void *state);                                                                            /**< required */
    int (*submit)(void *state, int verb, struct spr_time now, int64_t deadline_mono_ns, spr_ticket *out); /**< required */
    int (*collect)(void *state, struct spr_time now, struct spr_source_completion *out, size_t room,
                   size_t *count);                                                                         /**< required */
};

#ifdef __cplusplus
}
#endif
#endif
