/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The range of the recent past: at every distance the quantiles of the values themselves, whatever came when. Alone it
 * is poor; where nothing but the range is known of what comes (rare bursts) nothing else is as good, and the
 * combination asks it for that.
 */
#include "forecast/combination.h"

enum { WINDOW_LEAST = 48, WINDOW_MOST = 2016 };

struct range {
    spr_context *ctx;
    int32_t horizon, levels;
    const double *level;
    int64_t window, series, steps;
    double *ring;    /* [series][window]; NaN = unknown */
    double *scratch; /* [series][window] */
};

struct range_job {
    struct range *r;
    const struct spr_panel *panel;
    struct spr_forecaster_output *out;
};

static void drop_rows(struct range *r) {
    size_t n = (size_t)(r->series * r->window);
    spr__free(r->ctx, r->ring, n, sizeof *r->ring);
    spr__free(r->ctx, r->scratch, n, sizeof *r->scratch);
    r->ring = r->scratch = NULL, r->series = 0;
}

static void take_row(void *arg, size_t s) {
    const struct range_job *j = arg;
    struct range *r = j->r;
    for (int64_t t = SPR_MAX(0, j->panel->steps - r->window); t < j->panel->steps; t++) {
        double y = spr__panel_value(j->panel, (int64_t)s, t);
        r->ring[(int64_t)s * r->window + (r->steps + t) % r->window] = y;
    }
}

static int range_update(void *state, const struct spr_panel *steps) {
    struct range *r = state;
    struct range_job j = {r, steps, NULL};
    spr__parallel(r->ctx, (size_t)r->series, take_row, &j);
    r->steps += steps->steps;
    return SPR_OK;
}

static int range_fit(void *state, const struct spr_panel *history, int64_t first_step, int64_t budget) {
    struct range *r = state;
    (void)first_step, (void)budget;
    drop_rows(r);
    r->series = history->series, r->steps = 0;
    size_t n = (size_t)(r->series * r->window);
    r->ring = spr__alloc(r->ctx, n, sizeof *r->ring);
    r->scratch = spr__alloc(r->ctx, n, sizeof *r->scratch);
    if (!r->ring || !r->scratch) {
        drop_rows(r);
        return spr__nomem(r->ctx);
    }
    for (size_t i = 0; i < n; i++)
        r->ring[i] = NAN;
    return range_update(r, history);
}

static void say_row(void *arg, size_t s) {
    const struct range_job *j = arg;
    const struct range *r = j->r;
    const double *ring = r->ring + (int64_t)s * r->window;
    double *y = r->scratch + (int64_t)s * r->window, median = 0.5;
    size_t H = (size_t)r->horizon, K = (size_t)r->levels;
    double *q = j->out->quantiles + s * H * K;
    int64_t n = 0;
    for (int64_t t = 0; t < r->window; t++)
        if (!isnan(ring[t]))
            y[n++] = ring[t];
    if (!n) /* nothing known for so long: the combination hears others then */
        y[n++] = 0;
    spr__quantiles(y, n, r->level, r->levels, q);
    spr__quantiles(y, n, &median, 1, &median);
    for (size_t h = 0; h < H; h++) {
        j->out->points[s * H + h] = median;
        if (h)
            memcpy(q + h * K, q, K * sizeof *q);
    }
}

static int range_predict(void *state, const double *now, struct spr_forecaster_output *out) {
    struct range *r = state;
    struct range_job j = {r, NULL, out};
    (void)now;
    spr__parallel(r->ctx, (size_t)r->series, say_row, &j);
    return SPR_OK;
}

static void range_close(void *state) {
    struct range *r = state;
    drop_rows(r);
    spr__free(r->ctx, r, 1, sizeof *r);
}

static int range_open(const struct spr_forecaster_env *env, void **state) {
    struct range *r = spr__alloc(env->env->context, 1, sizeof *r);
    if (!r)
        return spr__nomem(env->env->context);
    double week = 7 * (double)SPR__DAY_NS / (double)env->step_ns;
    r->ctx = env->env->context;
    r->horizon = env->horizon, r->levels = env->level_count, r->level = env->levels;
    r->window = (int64_t)fmin(fmax(week, WINDOW_LEAST), WINDOW_MOST);
    *state = r;
    return SPR_OK;
}

const struct spr_forecaster_ops *spr__forecaster_range(void) {
    static const struct spr_forecaster_ops ops = {.size = sizeof ops,
                                                  .name = "range",
                                                  .license = "MIT OR Apache-2.0",
                                                  .caps = SPR_CAP_ANY_THREAD,
                                                  .open = range_open,
                                                  .close = range_close,
                                                  .fit = range_fit,
                                                  .update = range_update,
                                                  .predict = range_predict};
    return &ops;
}
