/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Conformal correction of any forecaster, per series and distance. Each quantile is moved by an offset, in units of
 * what the median misses on average: split conformal takes the offset from the last scores, the adaptive tracker moves
 * it a little up at every miss and a little down at every hit. doc/algorithms/calibration.md tells when it pays.
 */
#include "forecast/forecast.h"

enum { SCORES = 200, SCORES_LEAST = 40 };
#define SCALE_MEMORY 100.0 /* outcomes over which the scale is forgotten */
#define RATE         0.05  /* step of the tracker, in units of the scale */

struct conformal {
    spr_context *ctx;
    spr_forecaster *inner;
    bool split, refits, torn;
    double rate;
    int32_t horizon, levels, median;
    const double *level;
    int32_t rungs[SPR__RUNGS_MAX], from[SPR__RUNGS_MAX], rung_count, ring; /* ring: sum of the rungs */
    int64_t series, seen;
    double *said;   /* [series][ring][level]: the last rungs[r] answers at distance rungs[r] */
    double *offset; /* [series][rung][level] in units of the scale */
    double *scale;  /* [series][rung] mean absolute miss of the median */
    double *weight; /* [series][rung] of it */
    float *scores;  /* split: [series][rung][level][SCORES] */
    double *column; /* [series] one step */
    uint8_t *bounds;
};

static size_t cells(const struct conformal *c) { return (size_t)c->rung_count * (size_t)c->levels; }

static void drop_rows(struct conformal *c) {
    size_t n = (size_t)c->series, K = (size_t)c->levels, r = (size_t)c->rung_count, d = sizeof(double);
    spr__free(c->ctx, c->said, n * (size_t)c->ring * K, d);
    spr__free(c->ctx, c->offset, n * cells(c), d);
    spr__free(c->ctx, c->scale, n * r, d);
    spr__free(c->ctx, c->weight, n * r, d);
    spr__free(c->ctx, c->scores, c->split ? n * cells(c) * SCORES : 0, sizeof(float));
    spr__free(c->ctx, c->column, n, d);
    spr__free(c->ctx, c->bounds, n, 1);
    c->bounds = NULL;
    c->said = c->offset = c->scale = c->weight = c->column = NULL, c->scores = NULL, c->series = 0;
}

static int make_rows(struct conformal *c, int64_t series) {
    drop_rows(c);
    c->series = series, c->seen = 0, c->torn = false;
    size_t n = (size_t)series, K = (size_t)c->levels, r = (size_t)c->rung_count, d = sizeof(double);
    if (!(c->said = spr__alloc(c->ctx, n * (size_t)c->ring * K, d)) ||
        !(c->offset = spr__alloc(c->ctx, n * cells(c), d)) || !(c->scale = spr__alloc(c->ctx, n * r, d)) ||
        !(c->weight = spr__alloc(c->ctx, n * r, d)) ||
        (c->split && !(c->scores = spr__alloc(c->ctx, n * cells(c) * SCORES, sizeof(float)))) ||
        !(c->column = spr__alloc(c->ctx, n, d)) || !(c->bounds = spr__alloc(c->ctx, n, 1))) {
        drop_rows(c);
        return spr__nomem(c->ctx);
    }
    return SPR_OK;
}

/* ---- one step ---- */

struct come_job {
    struct conformal *c;
    const struct spr_panel *panel;
    int64_t step;
};

static double split_offset(const float *ring, int64_t count, double level) {
    double sorted[SCORES];
    int64_t n = SPR_MIN(count, SCORES);
    if (n < SCORES_LEAST)
        return 0;
    for (int64_t i = 0; i < n; i++)
        sorted[i] = (double)ring[i];
    spr__sort(sorted, n);
    /* The (n + 1) of exchangeability, away from the middle on either side. */
    double p = level + (level - 0.5) * 2 / (double)(n + 1) * 0.5;
    return spr__quantile_sorted(sorted, n, fmin(1, fmax(0, p)));
}

/* Outcome y at a distance: the scale, then the offsets of all levels. */
static void learn(struct conformal *c, size_t row, int32_t r, const double *q, double y, bool bound) {
    size_t K = (size_t)c->levels, at = row * (size_t)c->rung_count + (size_t)r;
    int64_t count = c->seen + 1 - c->rungs[r];
    double miss = fabs(y - q[c->median]), keep = 1 - 1 / SCALE_MEMORY;
    if (bound && y <= q[c->median])
        return; /* as far as is known it was right */
    c->weight[at] = c->weight[at] * keep + 1;
    c->scale[at] += (miss - c->scale[at]) / c->weight[at];
    double unit = c->scale[at];
    for (size_t k = 0; k < K && unit > 0; k++) {
        double *offset = &c->offset[at * K + k];
        if (c->split) {
            c->scores[(at * K + k) * SCORES + (size_t)(count % SCORES)] = (float)((y - q[k]) / unit);
        } else {
            bool above = y > q[k] + *offset * unit;
            if (!bound || above)
                *offset += c->rate * ((above ? 1 : 0) - (1 - c->level[k]));
        }
    }
}

static void come_row(void *arg, size_t row) {
    const struct come_job *j = arg;
    struct conformal *c = j->c;
    double y = spr__panel_value(j->panel, (int64_t)row, j->step);
    for (int32_t r = 0; r < c->rung_count && !isnan(y); r++)
        if (c->seen + 1 >= c->rungs[r])
            learn(c, row, r,
                  c->said + (row * (size_t)c->ring + (size_t)c->from[r] + (size_t)((c->seen + 1) % c->rungs[r])) *
                                (size_t)c->levels,
                  y, spr__panel_censored(j->panel, (int64_t)row, j->step));
}

static int remember(struct conformal *c) {
    spr_forecast *f = NULL;
    size_t K = (size_t)c->levels;
    int rc = spr_forecaster_predict(c->inner, NULL, &f);
    for (size_t row = 0; rc == SPR_OK && row < (size_t)c->series; row++)
        for (int32_t r = 0; r < c->rung_count; r++)
            memcpy(c->said + (row * (size_t)c->ring + (size_t)c->from[r] + (size_t)(c->seen % c->rungs[r])) * K,
                   spr_forecast_quantiles(f) + (row * (size_t)c->horizon + (size_t)c->rungs[r] - 1) * K,
                   K * sizeof(double));
    spr_forecast_unref(f);
    return rc;
}

static int take_step(struct conformal *c, const struct spr_panel *p, int64_t t) {
    struct come_job j = {c, p, t};
    int rc = remember(c);
    if (rc < 0)
        return rc;
    spr__parallel(c->ctx, (size_t)c->series, come_row, &j);
    for (int64_t s = 0; s < c->series; s++) {
        c->column[s] = spr__panel_value(p, s, t);
        c->bounds[s] = spr__panel_censored(p, s, t);
    }
    struct spr_panel one = {.size = sizeof one,
                            .data = c->column,
                            .dtype = SPR_F64,
                            .series = c->series,
                            .steps = 1,
                            .series_stride = sizeof *c->column,
                            .step_stride = sizeof *c->column,
                            .censored = c->bounds,
                            .censored_stride = 1};
    rc = spr_forecaster_update(c->inner, &one);
    c->seen++;
    return rc;
}

/* ---- the slots ---- */

static int conformal_fit(void *state, const struct spr_panel *history, int64_t first_step, int64_t budget) {
    struct conformal *c = state;
    int64_t walk = SPR_MIN(history->steps / 4, SCORES + c->horizon), from = history->steps - walk;
    struct spr_panel head = *history;
    (void)budget; /* counted by the inner method alone, which is fitted whole */
    int rc = make_rows(c, history->series);
    head.steps = from;
    if (rc == SPR_OK && from > 0 && walk > 0) {
        rc = spr_forecaster_fit(c->inner, &head, first_step, 0);
        for (int64_t t = from; t < history->steps && rc == SPR_OK; t++)
            rc = take_step(c, history, t);
        if (rc == SPR_E_HISTORY) /* a row that begins later: nothing is corrected yet */
            rc = make_rows(c, history->series);
    }
    if (rc == SPR_OK && (c->seen == 0 || !c->refits))
        rc = spr_forecaster_fit(c->inner, history, first_step, 0);
    return rc;
}

static int conformal_update(void *state, const struct spr_panel *steps) {
    struct conformal *c = state;
    int rc = SPR_OK;
    if (c->torn)
        return spr__fail(c->ctx, SPR_E_STATE, "calibrated: an update failed half way: fit again");
    for (int64_t t = 0; t < steps->steps && rc == SPR_OK; t++)
        rc = take_step(c, steps, t);
    c->torn = rc < 0;
    return rc;
}

struct move_job {
    const struct conformal *c;
    struct spr_forecaster_output *out;
};

static double offset_at(const struct conformal *c, size_t row, int32_t r, size_t k) {
    size_t at = row * (size_t)c->rung_count + (size_t)r;
    double o = c->split ? split_offset(&c->scores[(at * (size_t)c->levels + k) * SCORES], c->seen + 1 - c->rungs[r],
                                       c->level[k])
                        : c->offset[at * (size_t)c->levels + k];
    return o * c->scale[at];
}

static void move_row(void *arg, size_t row) {
    const struct move_job *j = arg;
    const struct conformal *c = j->c;
    size_t H = (size_t)c->horizon, K = (size_t)c->levels;
    double share;
    for (size_t k = 0; k < K; k++) {
        double at_rung[SPR__RUNGS_MAX];
        for (int32_t r = 0; r < c->rung_count; r++)
            at_rung[r] = offset_at(c, row, r, k);
        for (size_t h = 0; h < H; h++) {
            int32_t r = spr__rung_at(c->rungs, c->rung_count, (int32_t)h + 1, &share);
            double o = at_rung[r] + (r + 1 < c->rung_count ? share * (at_rung[r + 1] - at_rung[r]) : 0);
            j->out->quantiles[(row * H + h) * K + k] += o;
            if ((int32_t)k == c->median)
                j->out->points[row * H + h] += o;
        }
    }
}

static int conformal_predict(void *state, const double *now, struct spr_forecaster_output *out) {
    struct conformal *c = state;
    spr_forecast *f = NULL;
    if (c->torn)
        return spr__fail(c->ctx, SPR_E_STATE, "calibrated: an update failed half way: fit again");
    int rc = spr_forecaster_predict(c->inner, now, &f);
    if (rc < 0)
        return rc;
    size_t points = (size_t)c->series * (size_t)c->horizon;
    memcpy(out->points, spr_forecast_points(f), points * sizeof(double));
    memcpy(out->quantiles, spr_forecast_quantiles(f), points * (size_t)c->levels * sizeof(double));
    spr_forecast_unref(f);
    struct move_job j = {c, out};
    spr__parallel(c->ctx, (size_t)c->series, move_row, &j);
    return SPR_OK;
}

static void conformal_close(void *state) {
    struct conformal *c = state;
    spr_forecaster_destroy(c->inner);
    drop_rows(c);
    spr__free(c->ctx, c, 1, sizeof *c);
}

static int conformal_open(const struct spr_forecaster_env *env, void **state) {
    struct spr_calibrated_opts o;
    spr_context *ctx = env->env->context;
    int rc = spr__opts_copy(ctx, "spr_calibrated_opts", env->config, &o, sizeof o);
    if (rc < 0)
        return rc;
    if (o.method < SPR_CALIBRATED_ADAPTIVE || o.method > SPR_CALIBRATED_SPLIT || !(o.rate >= 0 && o.rate <= 1))
        return spr__fail(ctx, SPR_E_ARG, "spr_calibrated_opts: method or rate is out of range");
    struct conformal *c = spr__alloc(ctx, 1, sizeof *c);
    if (!c)
        return spr__nomem(ctx);
    const struct spr_forecaster_ops *inner = o.inner ? o.inner : spr_forecaster_combination();
    c->ctx = ctx;
    c->split = o.method == SPR_CALIBRATED_SPLIT;
    c->rate = o.rate > 0 ? o.rate : RATE;
    c->horizon = env->horizon, c->levels = env->level_count, c->level = env->levels;
    for (int32_t k = 1; k < c->levels; k++)
        if (fabs(c->level[k] - 0.5) < fabs(c->level[c->median] - 0.5))
            c->median = k;
    c->rung_count = spr__rungs(c->horizon, c->rungs);
    for (int32_t r = 0; r < c->rung_count; r++)
        c->from[r] = c->ring, c->ring += c->rungs[r];
    struct spr_forecaster_opts fo = {.size = sizeof fo,
                                     .step_ns = env->step_ns,
                                     .horizon = env->horizon,
                                     .level_count = env->level_count,
                                     .levels = env->levels,
                                     .config = o.inner_config};
    if ((rc = spr_forecaster_create(ctx, inner, &fo, &c->inner)) < 0) {
        conformal_close(c);
        return rc;
    }
    c->refits = inner->caps & SPR_CAP_REFITS_ITSELF;
    *state = c;
    return SPR_OK;
}

const struct spr_forecaster_ops *spr_forecaster_calibrated(void) {
    static const struct spr_forecaster_ops ops = {.size = sizeof ops,
                                                  .name = "calibrated",
                                                  .license = "MIT OR Apache-2.0",
                                                  .open = conformal_open,
                                                  .close = conformal_close,
                                                  .fit = conformal_fit,
                                                  .update = conformal_update,
                                                  .predict = conformal_predict};
    return &ops;
}
