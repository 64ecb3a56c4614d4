/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Forecasts for the page: a fan from one origin, and how good one-step quantiles were along the scored part. */
#include "report.h"

/* The forecaster that the predictive policy uses; Holt-Winters where this build has no mix. */
static const struct spr_forecaster_ops *method(const char **name) {
    static const char *const names[] = {"mix", "holt-winters", "seasonal-naive"};
    for (size_t i = 0; i < SPR_ARRAY_LEN(names); i++) {
        const struct spr_forecaster_ops *ops = spr_forecaster_by_name(names[i]);
        if (ops) {
            *name = names[i];
            return ops;
        }
    }
    *name = "none";
    return NULL;
}

const char *spr__report_method(void) {
    const char *name;
    method(&name);
    return name;
}

static struct spr_panel panel_of(const double *data, int64_t series, int64_t steps, int64_t series_stride) {
    return (struct spr_panel){.size = sizeof(struct spr_panel),
                              .data = data,
                              .dtype = SPR_F64,
                              .series = series,
                              .steps = steps,
                              .series_stride = series_stride * (int64_t)sizeof(double),
                              .step_stride = sizeof(double)};
}

static int fit(spr_context *ctx, const struct spr_forecaster_ops *ops, const struct spr_forecaster_opts *opts,
               const struct spr_panel *history, spr_forecaster **out) {
    spr_forecaster *f = NULL;
    int rc = ops ? spr_forecaster_create(ctx, ops, opts, &f) : SPR_E_NOT_FOUND;
    if (rc >= 0)
        rc = spr_forecaster_fit(f, history, 0, 0);
    if (rc < 0)
        spr_forecaster_destroy(f);
    else
        *out = f;
    return rc;
}

/* ---- the fan ---- */

/* Where the worst overload begins: from the largest demand back to where it was last below capacity. */
static int64_t onset(const struct spr__gather *g, const struct spr__hot *hot) {
    int64_t end = SPR_MIN(g->r->end, g->steps), peak = g->r->first;
    double mean = 0;
    for (int64_t s = g->r->first; s < end; s++) {
        mean += hot->demand[s] / (double)(end - g->r->first);
        if (hot->demand[s] > hot->demand[peak])
            peak = s;
    }
    double limit = 0.5 * (mean + hot->demand[peak]); /* a VM may never reach what it has */
    if (hot->capacity < hot->demand[peak] && hot->vm < 0)
        limit = hot->capacity;
    while (peak > g->r->first && hot->demand[peak - 1] > limit)
        peak--;
    return peak;
}

/* The forecast that a shard needed: one lead time before, and a step to decide. */
int64_t spr__fan_ahead(const spr_report *r) {
    const struct spr_scenario *s = r->sc;
    double lead = s->allocate_s[0] > 0 || s->warm_s[0] > 0 ? s->allocate_s[0] + s->warm_s[0] : 300;
    return SPR_MAX(3, (int64_t)ceil(lead / r->step_s) + 1);
}

int spr__fan_make(const struct spr__gather *g, const struct spr__hot *hot, struct spr__fan *out) {
    static const double levels[] = {.05, .25, .5, .75, .95};
    const char *name;
    int64_t origin = SPR_MAX(SPR_MIN(onset(g, hot) - spr__fan_ahead(g->r), g->steps - 1), 2);
    struct spr_forecaster_opts o = {.size = sizeof o,
                                    .step_ns = spr_series_step_ns(g->series),
                                    .horizon = 24,
                                    .level_count = SPR_ARRAY_LEN(levels),
                                    .levels = levels};
    spr_forecaster *f = NULL;
    struct spr__fan fan = {.origin = origin};
    if (origin >= g->steps)
        return SPR_E_HISTORY;
    struct spr_panel history = panel_of(hot->demand, 1, origin, g->steps);
    int rc = fit(g->r->ctx, method(&name), &o, &history, &f);
    rc = rc < 0 ? rc : spr_forecaster_predict(f, NULL, &fan.product);
    spr_forecaster_destroy(f);
    if (rc < 0)
        return rc;
    fan.horizon = spr_forecast_horizon(fan.product);
    fan.level_count = spr_forecast_level_count(fan.product);
    fan.levels = spr_forecast_levels(fan.product);
    fan.points = spr_forecast_points(fan.product);
    fan.quantiles = spr_forecast_quantiles(fan.product);
    *out = fan;
    return SPR_OK;
}

/* ---- accuracy ---- */

enum { ORIGINS = 400 }; /* about as many origins are looked at */

static double pinball(double level, double quantile, double truth) {
    return truth >= quantile ? level * (truth - quantile) : (1 - level) * (quantile - truth);
}

static void score(const spr_forecast *f, int32_t series, double truth, double *loss, double *below) {
    int32_t n = spr_forecast_level_count(f);
    const double *level = spr_forecast_levels(f);
    const double *q = spr_forecast_quantiles(f) + (int64_t)series * spr_forecast_horizon(f) * n;
    for (int32_t i = 0; i < n; i++) {
        *loss += pinball(level[i], q[i], truth) / n;
        if (below)
            below[i] += truth <= q[i];
    }
}

struct race {
    const struct spr__gather *g;
    double *demand; /* [hot][steps] */
    spr_forecaster *ours, *naive;
    struct spr__accuracy *result;
};

static int look(struct race *x, int64_t step) {
    spr_forecast *a = NULL, *b = NULL;
    int rc = spr_forecaster_predict(x->ours, NULL, &a);
    rc = rc < 0 ? rc : spr_forecaster_predict(x->naive, NULL, &b);
    for (int32_t i = 0; rc >= 0 && i < x->g->hot_count; i++) {
        double truth = x->demand[i * x->g->steps + step];
        score(a, i, truth, &x->result[i].pinball, x->result[i].share);
        score(b, i, truth, &x->result[i].naive, NULL);
        x->result[i].origins++;
    }
    spr_forecast_unref(a);
    spr_forecast_unref(b);
    return rc;
}

/* Forecast, look, learn, step by step; every `stride`-th step is looked at. */
static int run(struct race *x) {
    const spr_report *r = x->g->r;
    int64_t end = SPR_MIN(r->end, x->g->steps), stride = SPR_MAX((end - r->first) / ORIGINS, 1);
    int rc = SPR_OK;
    for (int64_t s = r->first; rc >= 0 && s < end; s++) {
        struct spr_panel news = panel_of(x->demand + s, x->g->hot_count, 1, x->g->steps);
        if ((s - r->first) % stride == 0)
            rc = look(x, s);
        rc = rc < 0 ? rc : spr_forecaster_update(x->ours, &news);
        rc = rc < 0 ? rc : spr_forecaster_update(x->naive, &news);
    }
    return rc;
}

static void finish(const struct race *x, int32_t i) {
    struct spr__accuracy *a = &x->result[i];
    const spr_report *r = x->g->r;
    int64_t end = SPR_MIN(r->end, x->g->steps);
    double mean = 0;
    for (int64_t s = r->first; s < end; s++)
        mean += fabs(x->demand[i * x->g->steps + s]) / (double)(end - r->first);
    double scale = a->origins && mean > 0 ? 1 / (mean * (double)a->origins) : NAN;
    a->pinball *= scale;
    a->naive *= scale;
    for (int32_t k = 0; k < a->level_count; k++)
        a->share[k] /= (double)SPR_MAX(a->origins, 1);
}

int spr__accuracy_make(const struct spr__gather *g, struct spr__accuracy out[SPR__REPORT_SERIES]) {
    static const double levels[] = {.05, .1, .25, .5, .75, .9, .95};
    static const struct spr_seasonal_naive_opts last_value = {sizeof last_value, SPR_NONE};
    const char *name;
    size_t bytes = (size_t)(g->hot_count * g->steps) * sizeof(double);
    struct race x = {.g = g, .demand = spr_context_alloc(g->r->ctx, bytes), .result = out};
    if (!x.demand)
        return spr__io_nomem(g->r->ctx);
    memset(out, 0, SPR__REPORT_SERIES * sizeof *out);
    for (int32_t i = 0; i < g->hot_count; i++) {
        memcpy(x.demand + i * g->steps, g->hot[i].demand, (size_t)g->steps * sizeof(double));
        out[i].level_count = SPR_ARRAY_LEN(levels);
        memcpy(out[i].level, levels, sizeof levels);
    }
    struct spr_forecaster_opts o = {.size = sizeof o,
                                    .step_ns = spr_series_step_ns(g->series),
                                    .horizon = 1,
                                    .level_count = SPR_ARRAY_LEN(levels),
                                    .levels = levels};
    struct spr_panel history = panel_of(x.demand, g->hot_count, SPR_MIN(g->r->first, g->steps), g->steps);
    int rc = history.steps > 0 ? fit(g->r->ctx, method(&name), &o, &history, &x.ours) : SPR_E_HISTORY;
    o.config = &last_value;
    rc = rc < 0 ? rc : fit(g->r->ctx, spr_forecaster_seasonal_naive(), &o, &history, &x.naive);
    rc = rc < 0 ? rc : run(&x);
    for (int32_t i = 0; rc >= 0 && i < g->hot_count; i++)
        finish(&x, i);
    spr_forecaster_destroy(x.ours);
    spr_forecaster_destroy(x.naive);
    spr_context_free(g->r->ctx, x.demand, bytes);
    return rc;
}
