/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Methods that learn from a series alone. */
#include <string.h>

#include <shardpredict/backend-gsl.h>

#include "forecast.h"

#define DAY_NS 86400e9

/* Names of --method; `days` is the season: 0 = the method's default (a day). */
static const struct method {
    const char *name, *table;
    double days;
} methods[] = {
    {"seasonal-naive", "seasonal-naive", 0},
    {"last-value", "seasonal-naive", SPR_NONE},
    {"weekly-naive", "seasonal-naive", 7},
    {"holt-winters", "holt-winters", 0},
    {"exponential-smoothing", "holt-winters", SPR_NONE},
};
enum { METHODS = sizeof methods / sizeof methods[0] };

static const struct method *method_of(const char *name) {
    for (int i = 0; i < METHODS; i++)
        if (!strcmp(methods[i].name, name))
            return &methods[i];
    return NULL;
}

bool method_known(const char *name) {
    return model_kind(name) >= 0 || method_of(name) || tool_method_optional(name) ||
           spr_forecaster_by_name(name) != NULL;
}

/* ---- one method on one panel ---- */

static double period_of(const struct forecast_job *job, const struct method *m) {
    if (m->days == SPR_NONE)
        return SPR_NONE;
    if (m->days > 0)
        return m->days * DAY_NS / (double)spr_series_step_ns(job->series);
    return job->period;
}

/* The first column of a chunk on the trace's grid. */
static int64_t first_step(const struct chunk *c) { return c->answers[0]->origin - c->steps; }

static int run_method(const struct chunk *c, const char *name, const struct spr_panel *panel, spr_forecast **out) {
    const struct forecast_job *job = c->job;
    const struct method *m = method_of(name);
    const struct spr_forecaster_ops *ops = tool_forecaster(m ? m->table : name);
    struct spr_seasonal_naive_opts naive = {.size = sizeof naive};
    struct spr_holt_winters_opts hw = {.size = sizeof hw};
    struct spr_combination_opts combination = {.size = sizeof combination, .period = job->period > 0 ? job->period : 0};
    struct spr_gsl_wavelet_opts wavelet = {.size = sizeof wavelet, .period = job->period};
    struct spr_forecaster_opts opts = {.size = sizeof opts,
                                       .step_ns = spr_series_step_ns(job->series),
                                       .horizon = job->horizon,
                                       .level_count = job->level_count,
                                       .levels = job->levels};
    struct spr_events_opts events = {
        .size = sizeof events, .calendar = job->calendar, .inner = ops, .origin_ns = spr_series_origin_ns(job->series)};
    spr_forecaster *f = NULL;
    if (m)
        naive.period = hw.period = period_of(job, m);
    if (m)
        opts.config = ops == spr_forecaster_seasonal_naive() ? (const void *)&naive : &hw;
    if (!strcmp(name, "combination"))
        opts.config = &combination;
    if (!strcmp(name, "gsl-wavelet"))
        opts.config = &wavelet;
    if (job->calendar) {
        events.inner_config = opts.config;
        opts.config = &events, ops = spr_forecaster_events();
    }
    int rc = spr_forecaster_create(job->ctx, ops, &opts, &f);
    if (rc >= 0)
        rc = spr_forecaster_fit(f, panel, first_step(c), 0);
    if (rc >= 0)
        rc = spr_forecaster_predict(f, NULL, out);
    spr_forecaster_destroy(f);
    return rc;
}

/* ---- answers ---- */

static void take(const struct chunk *c, int64_t r, const spr_forecast *f) {
    struct answer *a = c->answers[r];
    size_t horizon = (size_t)c->job->horizon, cells = horizon * (size_t)c->job->level_count;
    memcpy(a->points, spr_forecast_points(f) + (size_t)r * horizon, horizon * sizeof *a->points);
    memcpy(a->quantiles, spr_forecast_quantiles(f) + (size_t)r * cells, cells * sizeof *a->quantiles);
}

/* `auto` without a model is the library's combination. */
int methods_answer(struct chunk *c) {
    const char *name = strcmp(c->job->method, "auto") ? c->job->method : "combination";
    struct spr_panel p = chunk_panel(c, c->steps);
    spr_forecast *f = NULL;
    if (run_method(c, name, &p, &f) < 0)
        return tool_error(c->job->ctx, "forecast");
    for (int64_t r = 0; r < c->rows; r++) {
        take(c, r, f);
        c->answers[r]->method = name;
    }
    spr_forecast_unref(f);
    return 0;
}
