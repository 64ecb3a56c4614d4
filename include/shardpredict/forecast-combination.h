/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file forecast-combination.h
 * @ingroup forecast
 * @brief Several methods asked at once, weighed per series by what they lost lately.
 * @{
 */
#ifndef SHARDPREDICT_FORECAST_COMBINATION_H
#define SHARDPREDICT_FORECAST_COMBINATION_H

#include <shardpredict/forecast.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * A combination: quantiles of seasonal naive, last value, weekly naive, Holt-Winters, exponential smoothing and of last
 * week's values (and of whatever else is given) averaged with weights by recent pinball loss, per series and distance.
 * Where a series does what it never did, the last value takes over at once. Config: struct spr_combination_opts.
 * It fits on the first part of the history, learns the weights on the rest, and fits again on all of it.
 */
SPR_API const struct spr_forecaster_ops *spr_forecaster_combination(void);

/** One more method in a combination. */
struct spr_combination_expert {
    size_t size;                            /**< sizeof this struct */
    const struct spr_forecaster_ops *ops;   /**< required; copied */
    const void *config;                     /**< for its open, read there */
};
/** Config of the combination. */
struct spr_combination_opts {
    size_t size;            /**< sizeof this struct */
    double period;          /**< daily season in steps; 0 = a day of the panel's step */
    int64_t memory;         /**< steps after which losses count 1/e; 0 = 14 days, SPR_NONE = for ever */
    const struct spr_combination_expert *experts; /**< given besides the built-in ones, at most 8 */
    int32_t expert_count;   /**< how many */
    int32_t only_given;     /**< 1 = the built-in ones stay out */
};

#ifdef __cplusplus
}
#endif
/** @} */
#endif
