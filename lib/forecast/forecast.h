/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the files of this room share: reading panels, making products. */
#ifndef SPR_LIB_FORECAST_H
#define SPR_LIB_FORECAST_H

#include "base/base.h"

#include <shardpredict/forecast.h>
#include <shardpredict/ops/forecaster.h>

/* Largest magnitude a forecaster takes: squares and sums of millions of them stay finite. */
#define SPR__VALUE_MAX 1e150
#define SPR__DAY_NS    INT64_C(86400000000000)

/* One number of a panel; NaN where it is missing. */
static inline double spr__panel_value(const struct spr_panel *p, int64_t series, int64_t step) {
    if (p->valid && !spr__bit(p->valid + series * p->valid_stride, step))
        return NAN;
    const char *at = (const char *)p->data + series * p->series_stride + step * p->step_stride;
    if (p->dtype == SPR_F32) {
        float v;
        memcpy(&v, at, sizeof v);
        return (double)v;
    }
    double v;
    memcpy(&v, at, sizeof v);
    return v;
}

/* Is the number only a lower bound? */
static inline bool spr__panel_censored(const struct spr_panel *p, int64_t series, int64_t step) {
    return p->censored && spr__bit(p->censored + series * p->censored_stride, step);
}

/* Copy a caller's panel into the newest layout and refuse what no method can read (shape, type, infinite values). */
int spr__panel_open(const spr_context *ctx, const char *what, const struct spr_panel *given, struct spr_panel *out);

/* An unsealed product: whoever makes it fills points and quantiles, then seals or drops it. */
struct spr_forecast {
    spr_refcount refs;
    spr_context *ctx;
    int64_t series, first_step;
    int32_t horizon, level_count;
    double *levels, *points, *quantiles;
};
int spr__forecast_new(spr_context *ctx, int64_t series, int32_t horizon, int32_t level_count, const double *levels,
                      int64_t first_step, spr_forecast **out);
void spr__forecast_blank(spr_forecast *f); /* NaN everywhere */
/* Sort quantiles that cross; -1, or the first series that holds a number that is not finite. */
int64_t spr__forecast_seal(spr_forecast *f);

/* Chance to pass a threshold, from n rising quantiles q of rising levels p; as spr_forecast_exceeds. */
double spr__forecast_chance(const double *q, const double *p, int32_t n, double threshold);

/* 0, or SPR_E_ARG unless the levels rise inside (0, 1). */
int spr__levels_check(const spr_context *ctx, const double *levels, int32_t count);

/* The horizons (or multiples of a season) at which spread is measured: 1 2 3 4 6 8 12 16 24 ... last; between them it
 * is interpolated. Returns how many, at most SPR__RUNGS_MAX. */
#define SPR__RUNGS_MAX 64
int32_t spr__rungs(int32_t last, int32_t *rungs);
/* The rung at or below h and the share of the next one. */
static inline int32_t spr__rung_at(const int32_t *rungs, int32_t count, int32_t h, double *share) {
    int32_t i = 0;
    while (i + 1 < count && rungs[i + 1] <= h)
        i++;
    *share = i + 1 < count ? (double)(h - rungs[i]) / (double)(rungs[i + 1] - rungs[i]) : 0.0;
    return i;
}

/* Quantiles (as spr__quantile_sorted has them) of values in any order, which are partly sorted on the way; n >= 1. */
void spr__quantiles(double *values, int64_t n, const double *levels, int32_t count, double *out);

/* Brings what is below the pivot (with `equal`: at most the pivot) to the front of v and returns how much it is.
 * `spare` has room for n + 8. All builds choose alike; in which order they leave both parts is their own affair. */
typedef int64_t spr__splitter(double *v, int64_t n, double pivot, bool equal, double *spare);
spr__splitter spr__split_plain, spr__split_avx2, spr__split_avx512;
/* spr__quantiles with another splitter and its spare room. */
void spr__quantiles_by(spr__splitter *split, double *spare, double *values, int64_t n, const double *levels,
                       int32_t count, double *out);

/* Pinball loss (Koenker & Bassett 1978) of saying q for the level when y came. */
static inline double spr__pinball(double level, double y, double q) {
    return y > q ? level * (y - q) : (level - 1) * (y - q);
}

/* Quantile of the standard normal distribution (Acklam's rational approximation, relative error below 1.2e-9). */
double spr__normal_quantile(double p);

/*
 * Of the mix with a model: what the last forecast would have been without it, [row][horizon][level], until the next
 * call on it. NULL where there is no model.
 */
const double *spr__forecaster_without_model(const spr_forecaster *f);
const double *spr__mix_without_model(const void *state);

#endif
