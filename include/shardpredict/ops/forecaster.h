/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file ops/forecaster.h
 * @ingroup forecast
 * @brief What a forecasting method implements.
 */
#ifndef SHARDPREDICT_OPS_FORECASTER_H
#define SHARDPREDICT_OPS_FORECASTER_H

#include <shardpredict/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The slots may be called from any thread (one at a time a state). Without it: on the thread that called the library. */
#define SPR_CAP_ANY_THREAD (UINT64_C(1) << 0)

/** `update` keeps the parameters fresh by itself; without it the controller fits anew once a day. */
#define SPR_CAP_REFITS_ITSELF (UINT64_C(1) << 1)

/** What `open` is told. */
struct spr_forecaster_env {
    size_t size;              /**< sizeof this struct as the library knows it */
    const struct spr_env *env;/**< context, seed */
    int64_t step_ns;          /**< length of a step */
    int32_t horizon;          /**< steps ahead */
    int32_t level_count;      /**< number of levels */
    const double *levels;     /**< rising, live as long as the state */
    const void *config;       /**< the method's own options (size first), or NULL */
};

/** What `predict` fills: contiguous arrays, all of them, NaN nowhere. */
struct spr_forecaster_output {
    size_t size;       /**< sizeof this struct as the library knows it */
    int64_t series;    /**< rows */
    double *points;    /**< [series][horizon] */
    double *quantiles; /**< [series][horizon][level]; crossing ones are sorted by the library */
};

/** The table. Slots marked required must not be NULL. */
struct spr_forecaster_ops {
    size_t size;         /**< sizeof this struct */
    const char *name;    /**< "holt-winters"; required */
    const char *license; /**< SPDX expression; required */
    uint64_t caps;       /**< SPR_CAP_* */
    int (*open)(const struct spr_forecaster_env *env, void **state);                       /**< required */
    void (*close)(void *state);                                                            /**< required */
    /** required; learn from the panel, whose column 0 is step `first_step` of the grid; may return SPR_AGAIN */
    int (*fit)(void *state, const struct spr_panel *history, int64_t first_step, int64_t budget);
    int (*update)(void *state, const struct spr_panel *steps); /**< optional; NULL = the library keeps the history and refits */
    int (*predict)(void *state, const double *now, struct spr_forecaster_output *out);     /**< required */
};

#ifdef __cplusplus
}
#endif
#endif
