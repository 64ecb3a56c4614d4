/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file forecast-when.h
 * @ingroup forecast
 * @brief *When*: chance that a threshold is first passed at each step, windows, onset, end and peak.
 *
 * A forecast holds one distribution a step and says nothing of how steps hang together. Here the errors of
 * neighbouring steps, as normal scores, are taken for a first-order autoregression with one correlation (a Gaussian
 * copula): 0 = every step draws anew, 1 = one draw decides for all steps. spr_forecast_dependence measures it
 * on past forecasts. What follows from it is integrated, not sampled: same input, same bits.
 * @{
 */
#ifndef SHARDPREDICT_FORECAST_WHEN_H
#define SHARDPREDICT_FORECAST_WHEN_H

#include <shardpredict/forecast.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What is asked. */
struct spr_when_opts {
    size_t size;              /**< sizeof this struct */
    double threshold;         /**< in the panel's unit */
    double correlation;       /**< of neighbouring steps' errors, up to 1; 0 = 0.9, SPR_NONE = none */
    double probability;       /**< least chance that a window is told at all; 0 = 0.5 */
    double step_probability;  /**< steps with at least this chance make up a window; 0 = 0.05 */
    double level;             /**< level of the peak; 0 = 0.9 */
};

/** A span of steps in which the threshold may be passed. */
struct spr_when {
    int64_t series;      /**< row */
    int32_t from;        /**< first step of the window, from 0 */
    int32_t to;          /**< first step after it */
    double probability;  /**< chance that it is passed in any step of the window */
    int32_t onset_low;   /**< if so: 0.1 quantile of the first step that passes, */
    int32_t onset;       /**< its median, */
    int32_t onset_high;  /**< its 0.9 quantile */
    int32_t end;         /**< median of the first step after the last one that passes */
    double peak;         /**< quantile of the largest value inside the window, at the level asked for */
};

/**
 * Chance that `threshold` is first passed at step h, for every step: out[horizon]. Their sum is the chance that it is
 * passed at all.
 * @return 0 or SPR_E_ARG
 */
SPR_API int spr_forecast_first_passage(const spr_forecast *f, int64_t series, const struct spr_when_opts *opts,
                                       double *out);
/**
 * Windows, by their first step.
 * @param stride bytes from one element of `out` to the next
 * @param count  in: room in out, out: number found (may be larger than the room: the rest is left out)
 * @return 0, SPR_E_ARG, SPR_E_NOMEM
 */
SPR_API int spr_forecast_when(const spr_forecast *f, int64_t series, const struct spr_when_opts *opts,
                              struct spr_when *out, size_t stride, size_t *count);

/** Sums over past forecasts; begin with all zeros and the size set. */
struct spr_dependence {
    size_t size;     /**< sizeof this struct */
    int64_t pairs;   /**< neighbouring steps seen */
    double product;  /**< sum of products of neighbours' normal scores */
    double square;   /**< sum of their mean squares */
    double far_product; /**< the same of steps a quarter of the horizon apart */
    double far_square;  /**< their mean squares */
};
/**
 * Compare a forecast with what came: truth[horizon], NaN = unknown. Measured on neighbours and on steps a quarter of
 * the horizon apart; the larger of what both say of neighbours counts.
 * @return the correlation so far, 0..1 (NaN before the first pair), or NaN for bad arguments
 */
SPR_API double spr_forecast_dependence(const spr_forecast *f, int64_t series, const double *truth,
                                       struct spr_dependence *sums);

#ifdef __cplusplus
}
#endif
/** @} */
#endif
