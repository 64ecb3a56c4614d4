/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Methods that learn from a series alone. `auto` mixes the methods for each series by what they lost when they were
 * asked about its own recent past.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <shardpredict/backend-gsl.h>

#include "forecast.h"

enum { ROWS_MOST = 256, TRIALS = 3, SHARPNESS = 8 };
#define LEAST_WEIGHT 0.05
#define DAY_NS       86400e9

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
_Static_assert((int)METHODS <= (int)METHODS_MOST, "room of struct chunk");

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

static int run_method(const struct forecast_job *job, const char *name, const struct spr_panel *panel,
                      spr_forecast **out) {
    const struct method *m = method_of(name);
    const struct spr_forecaster_ops *ops = tool_forecaster(m ? m->table : name);
    struct spr_seasonal_naive_opts naive = {.size = sizeof naive};
    struct spr_holt_winters_opts hw = {.size = sizeof hw};
    struct spr_gsl_wavelet_opts wavelet = {.size = sizeof wavelet, .period = job->period};
    struct spr_forecaster_opts opts = {.size = sizeof opts,
                                       .step_ns = spr_series_step_ns(job->series),
                                       .horizon = job->horizon,
                                       .level_count = job->level_count,
                                       .levels = job->levels};
    spr_forecaster *f = NULL;
    if (m)
        naive.period = hw.period = period_of(job, m);
    if (m)
        opts.config = ops == spr_forecaster_seasonal_naive() ? (const void *)&naive : &hw;
    if (!strcmp(name, "gsl-wavelet"))
        opts.config = &wavelet;
    int rc = spr_forecaster_create(job->ctx, ops, &opts, &f);
    if (rc >= 0)
        rc = spr_forecaster_fit(f, panel, 0, 0);
    if (rc >= 0)
        rc = spr_forecaster_predict(f, NULL, out);
    spr_forecaster_destroy(f);
    return rc;
}

/* ---- auto ---- */

static double pinball(double level, double y, double q) { return y >= q ? level * (y - q) : (1 - level) * (q - y); }

static bool any_value(const double *y, int64_t n) {
    for (int64_t t = 0; t < n; t++)
        if (!isnan(y[t]))
            return true;
    return false;
}

static void score(const struct chunk *c, int candidate, int64_t origin, const spr_forecast *f) {
    const struct forecast_job *job = c->job;
    const double *q = spr_forecast_quantiles(f);
    for (int64_t r = 0; r < c->rows; r++)
        for (int32_t h = 0; h < job->horizon; h++) {
            double y = c->y[r * c->steps + origin + h];
            for (int32_t k = 0; !isnan(y) && k < job->level_count; k++)
                c->weight[r * METHODS + candidate] +=
                    pinball(job->levels[k], y, q[(r * job->horizon + h) * job->level_count + k]);
        }
}

/* Rows that begin only after the trial's origin would stop the others: they are lent a value, which the caller takes
 * back. */
static void lend(struct chunk *c, int64_t origin) {
    for (int64_t r = 0; r < c->rows; r++)
        if (!any_value(&c->y[r * c->steps], origin))
            c->y[r * c->steps] = 0;
}

/* A season must fit into the history often enough to be judged. */
static bool worth_trying(const struct chunk *c, const struct method *m) {
    return m->days <= 1 || period_of(c->job, m) * 3 <= (double)c->steps;
}

static int try_all(struct chunk *c, int64_t origin) {
    struct spr_panel p = chunk_panel(c, origin);
    for (int m = 0; m < METHODS; m++) {
        spr_forecast *f = NULL;
        if (!worth_trying(c, &methods[m]))
            continue;
        if (run_method(c->job, methods[m].name, &p, &f) < 0)
            return tool_error(c->job->ctx, "forecast");
        score(c, m, origin, f);
        spr_forecast_unref(f);
    }
    return 0;
}

/*
 * Losses become weights: a method that lost twice as much gets 1/2^SHARPNESS of the weight, and next to nothing becomes
 * nothing. A mean of good forecasts is better than any of them (Bates & Granger 1969), a lucky one is no longer alone.
 */
static void weigh(const struct chunk *c, double *weight) {
    double least = INFINITY, sum = 0, kept = 0;
    for (int m = 0; m < METHODS; m++)
        if (worth_trying(c, &methods[m]))
            least = fmin(least, weight[m]);
    for (int m = 0; m < METHODS; m++) {
        double share = !worth_trying(c, &methods[m]) ? 0 : weight[m] > 0 ? least / weight[m] : 1;
        weight[m] = pow(share, SHARPNESS);
        sum += weight[m];
    }
    for (int m = 0; m < METHODS; m++)
        kept += weight[m] = weight[m] < LEAST_WEIGHT * sum ? 0 : weight[m];
    for (int m = 0; m < METHODS; m++)
        weight[m] /= kept;
}

static int choose(struct chunk *c) {
    double first[ROWS_MOST];
    memset(c->weight, 0, (size_t)c->rows * METHODS * sizeof *c->weight);
    for (int trial = 1; trial <= TRIALS; trial++) {
        int64_t origin = c->steps - (int64_t)trial * c->job->horizon;
        if (origin < c->steps / 2 || origin < 8)
            break;
        for (int64_t r = 0; r < c->rows; r++)
            first[r] = c->y[r * c->steps];
        lend(c, origin);
        int rc = try_all(c, origin);
        for (int64_t r = 0; r < c->rows; r++)
            c->y[r * c->steps] = first[r];
        if (rc)
            return rc;
    }
    for (int64_t r = 0; r < c->rows; r++)
        weigh(c, c->weight + r * METHODS);
    return 0;
}

/* ---- answers ---- */

/* The point is the median where the levels enclose it: it is what has the least absolute error. */
static double median_of(const struct forecast_job *job, const double *q, double point) {
    for (int32_t k = 0; k < job->level_count; k++) {
        if (fabs(job->levels[k] - 0.5) < 1e-12)
            return q[k];
        if (job->levels[k] > 0.5 && k > 0)
            return q[k - 1] + (q[k] - q[k - 1]) * (0.5 - job->levels[k - 1]) / (job->levels[k] - job->levels[k - 1]);
    }
    return point;
}

/* Add one method's share of a row's answer. */
static void take(const struct chunk *c, int64_t r, const spr_forecast *f, double weight) {
    struct answer *a = c->answers[r];
    size_t horizon = (size_t)c->job->horizon, cells = horizon * (size_t)c->job->level_count;
    const double *points = spr_forecast_points(f) + (size_t)r * horizon;
    const double *quantiles = spr_forecast_quantiles(f) + (size_t)r * cells;
    for (size_t h = 0; h < horizon; h++)
        a->points[h] += weight * points[h];
    for (size_t i = 0; i < cells; i++)
        a->quantiles[i] += weight * quantiles[i];
}

static void take_median(const struct chunk *c, int64_t r) {
    struct answer *a = c->answers[r];
    for (int32_t h = 0; h < c->job->horizon; h++)
        a->points[h] = median_of(c->job, a->quantiles + h * c->job->level_count, a->points[h]);
}

static int answer_with(struct chunk *c, const char *name, const double *weight, size_t stride) {
    struct spr_panel p = chunk_panel(c, c->steps);
    spr_forecast *f = NULL;
    bool wanted = false;
    for (int64_t r = 0; r < c->rows; r++)
        wanted = wanted || weight[(size_t)r * stride] > 0;
    if (!wanted)
        return 0;
    if (run_method(c->job, name, &p, &f) < 0)
        return tool_error(c->job->ctx, "forecast");
    for (int64_t r = 0; r < c->rows; r++)
        if (weight[(size_t)r * stride] > 0)
            take(c, r, f, weight[(size_t)r * stride]);
    spr_forecast_unref(f);
    return 0;
}

int methods_answer(struct chunk *c) {
    const double whole = 1;
    bool automatic = !strcmp(c->job->method, "auto");
    int rc = automatic ? choose(c) : answer_with(c, c->job->method, &whole, 0);
    for (int m = 0; automatic && !rc && m < METHODS; m++)
        rc = answer_with(c, methods[m].name, c->weight + m, METHODS);
    for (int64_t r = 0; !rc && r < c->rows; r++) {
        const double *w = c->weight + r * METHODS;
        int heaviest = 0;
        for (int m = 1; m < METHODS; m++)
            heaviest = w[m] > w[heaviest] ? m : heaviest;
        c->answers[r]->method = automatic ? methods[heaviest].name : c->job->method;
        if (automatic)
            take_median(c, r);
    }
    return rc;
}
