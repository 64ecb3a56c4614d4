/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file forecast.h
 * @defgroup forecast Forecast
 * @brief Panels in, quantiles out, and *when*: windows in which demand passes a threshold.
 *
 * A forecaster is an ops table (ops/forecaster.h) plus its state. The built-in methods are reached by one
 * accessor each. The product spr_forecast holds, for every series, step ahead and quantile level, a value
 * in the unit of the panel it was fitted on; quantiles never cross.
 *
 * Ownership: a spr_forecaster belongs to its creator; a spr_forecast is reference counted.
 * Threads: forecaster one thread at a time, forecast any thread.
 * @{
 */
#ifndef SHARDPREDICT_FORECAST_H
#define SHARDPREDICT_FORECAST_H

#include <shardpredict/profile.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A forecasting method and its state. Opaque; belongs to its creator. */
typedef struct spr_forecaster spr_forecaster;
/** Quantiles per series and step ahead. Opaque, immutable, reference counted. */
typedef struct spr_forecast spr_forecast;
struct spr_forecaster_ops;
struct spr_model;

/**
 * Last season repeated; quantiles of its own seasonal differences. Config: struct spr_seasonal_naive_opts.
 * A series younger than a season repeats its last value.
 */
SPR_API const struct spr_forecaster_ops *spr_forecaster_seasonal_naive(void);
/**
 * Holt-Winters, additive or multiplicative, damped, one or two seasons. Config: struct spr_holt_winters_opts.
 * A season whose two first periods are not in the history is left out of a series; gaps carry the state. Quantiles
 * follow the errors of the forecasts that `update` sees come true.
 */
SPR_API const struct spr_forecaster_ops *spr_forecaster_holt_winters(void);
/**
 * A mix of cheap experts weighed by their recent pinball loss, made for totals of hosts that are updated at
 * every control step. Config: struct spr_mix_opts.
 */
SPR_API const struct spr_forecaster_ops *spr_forecaster_mix(void);
/** A built-in table by its name ("seasonal-naive", "holt-winters", "mix", "combination", "calibrated"), or NULL. */
SPR_API const struct spr_forecaster_ops *spr_forecaster_by_name(const char *name);

/** Config of seasonal naive. */
struct spr_seasonal_naive_opts {
    size_t size;     /**< sizeof this struct */
    double period;   /**< steps, may be fractional (interpolated); 0 = a day of the panel's step; SPR_NONE = last value */
};
/** Trend of Holt-Winters. */
enum spr_hw_trend { SPR_HW_TREND_DEFAULT = 0, SPR_HW_TREND_NONE = 1, SPR_HW_TREND_ADDITIVE = 2, SPR_HW_TREND_DAMPED = 3 };
/** How seasons act. Multiplying needs positive values: other series are added to. */
enum spr_hw_season { SPR_HW_SEASON_DEFAULT = 0, SPR_HW_SEASON_ADDITIVE = 1, SPR_HW_SEASON_MULTIPLICATIVE = 2 };
/** Transform before smoothing; quantiles and points (then medians) are transformed back. */
enum spr_hw_transform {
    SPR_HW_TRANSFORM_NONE = 0,    /**< as it is */
    SPR_HW_TRANSFORM_LOG = 1,     /**< logarithm */
    SPR_HW_TRANSFORM_BOX_COX = 2, /**< power `lambda` */
    SPR_HW_TRANSFORM_CHOSEN = 3   /**< power 0, 1/4, 1/2, 3/4 or 1 that evens out the spread (Guerrero 1993) */
};
/** Residuals beyond three robust deviations are cut (Gelper, Fried & Croux 2010); six in a row move the level. */
enum spr_hw_robust { SPR_HW_ROBUST_DEFAULT = 0, SPR_HW_ROBUST_NEVER = 1, SPR_HW_ROBUST_ALWAYS = 2 };
/** What decides between kinds of trend and season, and whether to cut residuals. */
enum spr_hw_selection {
    SPR_HW_SELECTION_DEFAULT = 0, /**< pinball loss over all horizons on a tail that the fit has not seen */
    SPR_HW_SELECTION_FITTED = 1   /**< absolute errors over all horizons of the whole history */
};
/** What a fit after the first begins with. */
enum spr_hw_refit {
    SPR_HW_REFIT_ANEW = 0, /**< nothing: the result depends on its panel only */
    SPR_HW_REFIT_WARM = 1  /**< parameters and kinds of the last fit of as many series: a third of the runs, a tenth where kinds were chosen */
};
/** What the figures that a season starts with come from. */
enum spr_hw_start {
    SPR_HW_START_TWO_PERIODS = 0, /**< the first two periods, as R's HoltWinters has it */
    SPR_HW_START_WHOLE = 1        /**< the whole history: smaller errors in it, most where there are few periods */
};
/** Config of Holt-Winters (Winters 1960; damped: Gardner & McKenzie 1985; two seasons: Taylor 2003). */
struct spr_holt_winters_opts {
    size_t size;        /**< sizeof this struct */
    double period;      /**< first season, steps, may be fractional; 0 = a day; SPR_NONE = no season */
    double period2;     /**< second season, steps; 0 = none. Where `trend` is chosen, it is kept only if it wins */
    int32_t trend;      /**< ::spr_hw_trend; default: chosen, see `selection` */
    int32_t reserved;   /**< must be 0 */
    double alpha;       /**< level smoothing 0..1; 0 = fitted, SPR_NONE = fixed at 0 */
    double beta;        /**< trend smoothing 0..1; 0 = fitted, SPR_NONE = fixed at 0 */
    double gamma;       /**< season smoothing 0..1; 0 = fitted, SPR_NONE = fixed at 0 */
    double gamma2;      /**< second season's smoothing; 0 = fitted */
    double phi;         /**< damping 0.8..1; 0 = fitted when the trend is damped */
    int32_t season;     /**< ::spr_hw_season; default: chosen, see `selection` */
    int32_t transform;  /**< ::spr_hw_transform; values too low for it (negative; zero for the logarithm) stay as they are */
    double lambda;      /**< power of the transform, above 0, at most 2; with SPR_HW_TRANSFORM_BOX_COX only */
    int32_t robust;     /**< ::spr_hw_robust; default: chosen, see `selection` */
    int32_t selection;  /**< ::spr_hw_selection */
    int32_t refit;      /**< ::spr_hw_refit */
    int32_t freeze;     /**< 1 = quantiles stay as fitted between fits */
    int32_t start;      /**< ::spr_hw_start */
    int32_t reserved2;  /**< must be 0 */
};
/** Config of the mix. */
struct spr_mix_opts {
    size_t size;        /**< sizeof this struct */
    double period;      /**< daily season in steps; 0 = a day of the panel's step */
    int64_t window;     /**< steps of history that the empirical quantiles use; 0 = 7 days */
    int64_t memory;     /**< steps over which losses weigh the experts; 0 = one day */
    const struct spr_model *model; /**< a trained model as one more expert (forecast-model.h), which must reach one step less than the horizon; NULL = none; referenced until close */
};

/** Options of spr_forecaster_create. */
struct spr_forecaster_opts {
    size_t size;           /**< sizeof this struct */
    int64_t step_ns;       /**< length of a step of the panels; 0 = 300 s */
    int32_t horizon;       /**< steps ahead; 0 = 12 */
    int32_t level_count;   /**< number of quantile levels; 0 = the default levels .1 .25 .5 .75 .9 .95 .99 */
    const double *levels;  /**< levels in (0, 1), rising; copied */
    const void *config;    /**< the method's own options, or NULL; read inside the call only */
};
/** All defaults. */
#define SPR_FORECASTER_OPTS_INIT                                                                                       \
    { sizeof(struct spr_forecaster_opts), 0, 0, 0, NULL, NULL }

/** Make a forecaster of a method. @return 0, SPR_E_ARG, SPR_E_NOMEM, SPR_E_TOO_NEW, or what `open` says */
SPR_API int spr_forecaster_create(spr_context *ctx, const struct spr_forecaster_ops *ops,
                                  const struct spr_forecaster_opts *opts, spr_forecaster **out);
/** Close and forget it. NULL is fine. */
SPR_API void spr_forecaster_destroy(spr_forecaster *f);
/**
 * Learn from a panel; whatever was learnt before is replaced. The built-in methods take a censored step for a lower
 * bound: it can raise what they expect, never lower it.
 * @param budget most evaluations of the loss before it returns SPR_AGAIN; 0 = no limit
 * @return 0, SPR_AGAIN (call again with the same panel; the slices add up to the fit without a budget), SPR_E_HISTORY
 *         (a series without any value; shorter ones than a method would like are answered as well as they allow),
 *         SPR_E_NOMEM, SPR_E_ARG (infinite or beyond 1e150)
 */
SPR_API int spr_forecaster_fit(spr_forecaster *f, const struct spr_panel *history, int64_t first_step, int64_t budget);
/** Take new steps of all series of the fitted panel, oldest first. O(1) a series and step. */
SPR_API int spr_forecaster_update(spr_forecaster *f, const struct spr_panel *steps);
/**
 * Quantiles of the next `horizon` steps.
 * @param now what each series shows at this moment inside the running step (NaN = unknown), or NULL: the
 *            level is shifted to it; `now` is [series] in the unit of the panel
 */
SPR_API int spr_forecaster_predict(spr_forecaster *f, const double *now, spr_forecast **out);

/** One more reference. */
SPR_API spr_forecast *spr_forecast_ref(spr_forecast *f);
/** One reference less. NULL is fine. */
SPR_API void spr_forecast_unref(spr_forecast *f);
/** Number of series. */
SPR_API int64_t spr_forecast_count(const spr_forecast *f);
/** Steps ahead. */
SPR_API int32_t spr_forecast_horizon(const spr_forecast *f);
/** Number of quantile levels. */
SPR_API int32_t spr_forecast_level_count(const spr_forecast *f);
/** The levels, rising; lives as long as the product. */
SPR_API const double *spr_forecast_levels(const spr_forecast *f);
/** Index of the first forecast step on the panel's grid. */
SPR_API int64_t spr_forecast_first_step(const spr_forecast *f);
/** Points [series][horizon], contiguous; meant to have the least absolute error. */
SPR_API const double *spr_forecast_points(const spr_forecast *f);
/** Quantiles [series][horizon][level], contiguous. */
SPR_API const double *spr_forecast_quantiles(const spr_forecast *f);
/**
 * Chance that series passes `threshold` in step h (from 0): linear between the levels, with tails that fall
 * by the slope of the outermost pair. NaN for a bad index.
 */
SPR_API double spr_forecast_exceeds(const spr_forecast *f, int64_t series, int32_t h, double threshold);

/** A window in which demand is expected above a threshold. */
struct spr_exceedance {
    int64_t series;        /**< row */
    int32_t onset;         /**< first step of it, from 0 */
    int32_t end;           /**< first step after it */
    double probability;    /**< largest chance of a step of it */
    double peak;           /**< largest 0.9 quantile (nearest level) in it, in the panel's unit */
};
/**
 * "When": runs of steps whose chance to pass `threshold` is at least `probability`.
 * @param stride bytes from one element of `out` to the next
 * @param count  in: room in out, out: number found (may be larger than the room: the rest is left out)
 */
SPR_API int spr_forecast_windows(const spr_forecast *f, int64_t series, double threshold, double probability,
                                 struct spr_exceedance *out, size_t stride, size_t *count);

/** Make a forecast product from numbers somebody else computed (ops tables, bindings). Arrays are copied and checked. */
SPR_API int spr_forecast_create(spr_context *ctx, int64_t series, int32_t horizon, int32_t level_count,
                                const double *levels, int64_t first_step, const double *points,
                                const double *quantiles, spr_forecast **out);

#ifdef __cplusplus
}
#endif
/** @} */

#include <shardpredict/forecast-model.h>
#include <shardpredict/forecast-calibration.h>
#include <shardpredict/forecast-event.h>
#include <shardpredict/forecast-combination.h>
#include <shardpredict/forecast-when.h>

#endif
