/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The product: quantiles per series and step, and the questions one asks of them. */
#include "forecast/forecast.h"

static size_t point_count(const spr_forecast *f) { return (size_t)f->series * (size_t)f->horizon; }

int spr__levels_check(const spr_context *ctx, const double *levels, int32_t count) {
    for (int32_t i = 0; i < count; i++)
        if (!(levels[i] > 0.0 && levels[i] < 1.0) || (i && !(levels[i] > levels[i - 1])))
            return spr__fail(ctx, SPR_E_ARG, "quantile level %d (%g): levels must rise inside (0, 1)", (int)i + 1,
                             levels[i]);
    return SPR_OK;
}

int spr__forecast_new(spr_context *ctx, int64_t series, int32_t horizon, int32_t level_count, const double *levels,
                      int64_t first_step, spr_forecast **out) {
    if (series < 1 || horizon < 1 || level_count < 1 || series > (INT64_C(1) << 48) / horizon / level_count)
        return spr__fail(ctx, SPR_E_ARG, "a forecast needs series, horizon and levels (got %lld, %d, %d)",
                         (long long)series, (int)horizon, (int)level_count);
    spr_forecast *f = spr__alloc(ctx, 1, sizeof *f);
    if (!f)
        return spr__nomem(ctx);
    spr__ref_init(&f->refs);
    f->ctx = spr_context_ref(ctx);
    f->series = series, f->horizon = horizon, f->level_count = level_count, f->first_step = first_step;
    f->levels = spr__alloc(ctx, (size_t)level_count, sizeof *f->levels);
    f->points = spr__alloc(ctx, point_count(f), sizeof *f->points);
    f->quantiles = spr__alloc(ctx, point_count(f) * (size_t)level_count, sizeof *f->quantiles);
    if (!f->levels || !f->points || !f->quantiles) {
        spr_forecast_unref(f);
        return spr__nomem(ctx);
    }
    memcpy(f->levels, levels, (size_t)level_count * sizeof *levels);
    *out = f;
    return SPR_OK;
}

void spr__forecast_blank(spr_forecast *f) {
    for (size_t i = 0, n = point_count(f); i < n; i++)
        f->points[i] = NAN;
    for (size_t i = 0, n = point_count(f) * (size_t)f->level_count; i < n; i++)
        f->quantiles[i] = NAN;
}

/* Insertion sort: the rows are short and nearly always in order already. */
static void sort_row(double *q, int32_t n) {
    for (int32_t i = 1; i < n; i++) {
        double v = q[i];
        int32_t k = i;
        for (; k > 0 && q[k - 1] > v; k--)
            q[k] = q[k - 1];
        q[k] = v;
    }
}

int64_t spr__forecast_seal(spr_forecast *f) {
    for (size_t i = 0, n = point_count(f); i < n; i++) {
        double *q = f->quantiles + i * (size_t)f->level_count;
        bool finite = isfinite(f->points[i]);
        for (int32_t k = 0; k < f->level_count; k++)
            finite = finite && isfinite(q[k]);
        if (!finite)
            return (int64_t)(i / (size_t)f->horizon);
        sort_row(q, f->level_count);
    }
    return -1;
}

int spr_forecast_create(spr_context *ctx, int64_t series, int32_t horizon, int32_t level_count, const double *levels,
                        int64_t first_step, const double *points, const double *quantiles, spr_forecast **out) {
    spr_forecast *f = NULL;
    if (!ctx)
        return SPR_E_ARG;
    if (!levels || !points || !quantiles || !out)
        return spr__fail(ctx, SPR_E_ARG, "spr_forecast_create: an array is NULL");
    int rc = spr__levels_check(ctx, levels, level_count);
    if (rc < 0 || (rc = spr__forecast_new(ctx, series, horizon, level_count, levels, first_step, &f)) < 0)
        return rc;
    memcpy(f->points, points, point_count(f) * sizeof *points);
    memcpy(f->quantiles, quantiles, point_count(f) * (size_t)level_count * sizeof *quantiles);
    int64_t bad = spr__forecast_seal(f);
    if (bad >= 0) {
        spr_forecast_unref(f);
        return spr__fail(ctx, SPR_E_ARG, "spr_forecast_create: series %lld holds a number that is not finite",
                         (long long)bad);
    }
    *out = f;
    return SPR_OK;
}

spr_forecast *spr_forecast_ref(spr_forecast *f) {
    if (f)
        spr__ref(&f->refs);
    return f;
}

void spr_forecast_unref(spr_forecast *f) {
    if (!f || !spr__unref(&f->refs))
        return;
    spr_context *ctx = f->ctx;
    spr__free(ctx, f->quantiles, point_count(f) * (size_t)f->level_count, sizeof *f->quantiles);
    spr__free(ctx, f->points, point_count(f), sizeof *f->points);
    spr__free(ctx, f->levels, (size_t)f->level_count, sizeof *f->levels);
    spr__free(ctx, f, 1, sizeof *f);
    spr_context_unref(ctx);
}

int64_t spr_forecast_count(const spr_forecast *f) { return f ? f->series : 0; }
int32_t spr_forecast_horizon(const spr_forecast *f) { return f ? f->horizon : 0; }
int32_t spr_forecast_level_count(const spr_forecast *f) { return f ? f->level_count : 0; }
const double *spr_forecast_levels(const spr_forecast *f) { return f ? f->levels : NULL; }
int64_t spr_forecast_first_step(const spr_forecast *f) { return f ? f->first_step : 0; }
const double *spr_forecast_points(const spr_forecast *f) { return f ? f->points : NULL; }
const double *spr_forecast_quantiles(const spr_forecast *f) { return f ? f->quantiles : NULL; }

/* ---- when ---- */

/* Past the outermost pair the chance goes on along that pair's line until it is certain or impossible. */
static double tail(const double *q, const double *p, int32_t inner, int32_t outer, double threshold) {
    double width = q[outer] - q[inner], above = 1.0 - p[outer];
    if (inner == outer || !(fabs(width) > 0.0))
        return threshold > q[outer] ? 0.0 : 1.0;
    double chance = above - (p[outer] - p[inner]) * ((threshold - q[outer]) / width);
    return chance < 0.0 ? 0.0 : chance > 1.0 ? 1.0 : chance;
}

double spr__forecast_chance(const double *q, const double *p, int32_t n, double threshold) {
    if (isnan(threshold))
        return NAN;
    if (threshold < q[0])
        return tail(q, p, SPR_MIN(1, n - 1), 0, threshold);
    if (threshold > q[n - 1])
        return tail(q, p, SPR_MAX(0, n - 2), n - 1, threshold);
    int32_t i = n - 1; /* the last level at or below the threshold: of tied levels the highest */
    while (q[i] > threshold)
        i--;
    if (i == n - 1 || q[i] >= threshold)
        return 1.0 - p[i];
    return 1.0 - (p[i] + (p[i + 1] - p[i]) * ((threshold - q[i]) / (q[i + 1] - q[i])));
}

double spr_forecast_exceeds(const spr_forecast *f, int64_t series, int32_t h, double threshold) {
    if (!f || series < 0 || series >= f->series || h < 0 || h >= f->horizon)
        return NAN;
    size_t at = (size_t)series * (size_t)f->horizon + (size_t)h;
    return spr__forecast_chance(f->quantiles + at * (size_t)f->level_count, f->levels, f->level_count, threshold);
}

static int32_t level_near(const spr_forecast *f, double wanted) {
    int32_t best = 0;
    for (int32_t k = 1; k < f->level_count; k++)
        if (fabs(f->levels[k] - wanted) < fabs(f->levels[best] - wanted))
            best = k;
    return best;
}

int spr_forecast_windows(const spr_forecast *f, int64_t series, double threshold, double probability,
                         struct spr_exceedance *out, size_t stride, size_t *count) {
    if (!f)
        return SPR_E_ARG;
    if (!count || series < 0 || series >= f->series || isnan(threshold) || !(probability > 0.0 && probability <= 1.0) ||
        (*count && (!out || stride < sizeof *out)))
        return spr__fail(f->ctx, SPR_E_ARG,
                         "spr_forecast_windows: series, probability (0, 1], stride or array is wrong");
    int32_t level = level_near(f, 0.9);
    const double *q = f->quantiles + (size_t)series * (size_t)f->horizon * (size_t)f->level_count + level;
    size_t room = *count, found = 0;
    for (int32_t h = 0; h < f->horizon;) {
        struct spr_exceedance w = {.series = series, .onset = h, .peak = q[(size_t)h * (size_t)f->level_count]};
        double chance;
        for (; h < f->horizon && (chance = spr_forecast_exceeds(f, series, h, threshold)) >= probability; h++) {
            w.probability = SPR_MAX(w.probability, chance);
            w.peak = SPR_MAX(w.peak, q[(size_t)h * (size_t)f->level_count]);
        }
        w.end = h;
        if (w.end == w.onset)
            h++;
        else if (found++ < room)
            memcpy((char *)out + (found - 1) * stride, &w, sizeof w);
    }
    *count = found;
    return SPR_OK;
}
