/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file forecast-calibration.h
 * @ingroup forecast
 * @brief Do quantiles keep what they say? Rolling coverage, a sequential test, and quantiles that follow a drift.
 *
 * Ownership: a spr_coverage belongs to its creator. Threads: one at a time.
 * @{
 */
#ifndef SHARDPREDICT_FORECAST_CALIBRATION_H
#define SHARDPREDICT_FORECAST_CALIBRATION_H

#include <shardpredict/forecast.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Rolling coverage of the quantiles of some series, and a test for too little of it. Opaque; belongs to its creator. */
typedef struct spr_coverage spr_coverage;

/** Options of spr_coverage_create. */
struct spr_coverage_opts {
    size_t size;           /**< sizeof this struct */
    int64_t series;        /**< rows; required */
    const double *levels;  /**< levels in (0, 1), rising, at most 255; required, copied */
    int32_t level_count;   /**< how many; required */
    int32_t lag;           /**< outcomes come so many steps after what was said of them (neighbours overlap); 0 = 1, at most 64 */
    int32_t window;        /**< outcomes of the windowed counts and of recovery; 0 = 288 */
    int32_t reserved;      /**< must be 0 */
    double memory;         /**< outcomes over which the rolling counts are forgotten; 0 = 288 */
    double alpha;          /**< chance, per series and for ever, that the test gates one whose quantiles cover; 0 = 0.01 */
    double slack;          /**< misses above a level that are forgiven, as a multiple of 1 - level; 0 = 1.5, SPR_NONE = none above 1 - level */
};
/** What is known of one series and level. */
struct spr_coverage_row {
    size_t size;           /**< sizeof this struct, set by the caller */
    int64_t series;        /**< row */
    double level;          /**< level */
    int64_t outcomes;      /**< so many were seen */
    double covered;        /**< share at or below the quantile, forgotten over `memory`, randomised at ties; NaN before the first */
    double recent;         /**< the same over the last `window` outcomes, each counting alike */
    double at_or_below;    /**< share at or below the quantile, forgotten over `memory`, ties all counted */
    double evidence;       /**< of the test, for the series: at 1 / alpha it is gated; 1 = none, below 1 against it */
    int32_t gated;         /**< 1 = the upper quantiles cover too little */
    int32_t reserved;      /**< 0 */
    int64_t since;         /**< outcome at which it was gated or let go last (0 = never) */
};

/**
 * Make a tracker. The test bets on misses above the levels over 0.5 (promise 5); it may be looked at after every
 * outcome. A gated series is let go by itself when its last `window` outcomes, all since the gate, missed no more
 * than the slack allows; then the test begins anew.
 * @return 0, SPR_E_ARG, SPR_E_NOMEM, SPR_E_TOO_NEW
 */
SPR_API int spr_coverage_create(spr_context *ctx, const struct spr_coverage_opts *opts, spr_coverage **out);
/** Forget it. NULL is fine. */
SPR_API void spr_coverage_destroy(spr_coverage *c);
/**
 * One step of all series came out.
 * @param y         [series] what came; NaN = nothing is known of this one
 * @param quantiles [series][level] what had been said of it, rising
 * @return 0, SPR_E_ARG
 */
SPR_API int spr_coverage_observe(spr_coverage *c, const double *y, const double *quantiles);
/** Series and level by index. @return 0, SPR_E_ARG */
SPR_API int spr_coverage_get(const spr_coverage *c, int64_t series, int32_t level, struct spr_coverage_row *out);

/**
 * Any forecaster with its quantiles corrected by what came, per series and distance, for series that drift. Config: struct
 * spr_calibrated_opts. It predicts at every update to have something to compare; where nothing drifts leave it away.
 */
SPR_API const struct spr_forecaster_ops *spr_forecaster_calibrated(void);
/** How quantiles are corrected. */
enum spr_calibrated_method {
    SPR_CALIBRATED_ADAPTIVE = 0, /**< a tracker that follows a drift: up at a miss, down at a hit */
    SPR_CALIBRATED_SPLIT = 1     /**< quantiles of the last 200 scores: what came is like what comes */
};
/** Config of the correction. */
struct spr_calibrated_opts {
    size_t size;                            /**< sizeof this struct */
    const struct spr_forecaster_ops *inner; /**< method that is corrected; NULL = spr_forecaster_combination() */
    const void *inner_config;               /**< for its open */
    int32_t method;                         /**< ::spr_calibrated_method */
    int32_t reserved;                       /**< must be 0 */
    double rate;                            /**< step of the tracker in units of the median's mean absolute miss, 0..1; 0 = 0.05 */
};

#ifdef __cplusplus
}
#endif
/** @} */
#endif
