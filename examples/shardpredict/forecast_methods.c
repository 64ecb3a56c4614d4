/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How cases are answered: cases of one origin become panels, every method sees only what lies before the origin, and
 * `auto` mixes the methods for each series by what they lost when they were asked about its own recent past.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <shardpredict/backend-gsl.h>

#include "forecast.h"

enum { CHUNK = 64, TRIALS = 3, SHARPNESS = 8 };
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

static const struct method *method_of(const char *name) {
    for (int i = 0; i < METHODS; i++)
        if (!strcmp(methods[i].name, name))
            return &methods[i];
    return NULL;
}

bool method_known(const char *name) {
    return !strcmp(name, "auto") || method_of(name) || tool_method_optional(name) ||
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

/* ---- panels ---- */

struct chunk {
    const struct forecast_job *job;
    struct answer **answers; /* of one origin */
    int64_t rows, steps;
    double *y;      /* [rows][steps], NaN = missing */
    double *weight; /* [rows][METHODS]: first losses, then weights */
};

static struct spr_panel panel_of(const struct chunk *c, int64_t steps) {
    return (struct spr_panel){.size = sizeof(struct spr_panel),
                              .data = c->y,
                              .dtype = SPR_F64,
                              .series = c->rows,
                              .steps = steps,
                              .series_stride = c->steps * (int64_t)sizeof *c->y,
                              .step_stride = sizeof *c->y};
}

static double value_at(const struct spr_panel *view, int64_t row, int64_t step) {
    double v;
    memcpy(&v, (const char *)view->data + row * view->series_stride + step * view->step_stride, sizeof v);
    return v;
}

/* A trace may hold maxima only: then they are the series. */
static double sample(const struct forecast_job *job, int64_t row, int64_t step) {
    double v = value_at(&job->mean, row, step);
    return isnan(v) ? value_at(&job->most, row, step) : v;
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
    struct spr_panel p = panel_of(c, origin);
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
    double first[CHUNK];
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

static bool never_negative(const double *y, int64_t n) {
    for (int64_t t = 0; t < n; t++)
        if (y[t] < 0)
            return false;
    return true;
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

static void finish(const struct chunk *c, int64_t r) {
    const struct forecast_job *job = c->job;
    struct answer *a = c->answers[r];
    bool floored = never_negative(c->y + r * c->steps, c->steps); /* a usage cannot fall below zero */
    for (int32_t h = 0; h < job->horizon; h++) {
        double *q = a->quantiles + h * job->level_count;
        for (int32_t k = 0; k < job->level_count; k++)
            q[k] = floored && q[k] < 0 ? 0 : q[k];
        if (!strcmp(job->method, "auto"))
            a->points[h] = median_of(job, q, a->points[h]);
        a->points[h] = floored && a->points[h] < 0 ? 0 : a->points[h];
    }
}

static int answer_with(struct chunk *c, const char *name, const double *weight, size_t stride) {
    struct spr_panel p = panel_of(c, c->steps);
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

static int answer_chunk(struct chunk *c) {
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
        finish(c, r);
    }
    return rc;
}

/* ---- without history ---- */

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool same_metric(const struct forecast_job *job, int64_t a, int64_t b) {
    struct spr_series_info x = {.size = sizeof x}, y = {.size = sizeof y};
    return spr_series_info(job->series, a, &x) >= 0 && spr_series_info(job->series, b, &y) >= 0 &&
           x.resource == y.resource && !strcmp(x.metric ? x.metric : "", y.metric ? y.metric : "");
}

/* Values of the metric before `until`; the asked series itself counts before its origin only. */
static size_t pool(const struct forecast_job *job, const struct answer *a, int64_t until, double *out) {
    size_t n = 0;
    for (int64_t row = 0; row < spr_series_count(job->series); row++) {
        bool pooled = same_metric(job, a->row, row);
        for (int64_t t = 0; pooled && t < (row == a->row ? a->origin : until); t++) {
            double v = sample(job, row, t);
            if (!isnan(v))
                out[n++] = v;
        }
    }
    return n;
}

static int answer_pooled(const struct forecast_job *job, struct answer *a) {
    int64_t steps = spr_series_steps(job->series);
    double *v = malloc((size_t)(spr_series_count(job->series) * steps + 1) * sizeof *v);
    size_t n = v ? pool(job, a, a->origin < steps ? a->origin : steps, v) : 0;
    if (v && !n)
        n = pool(job, a, steps, v); /* nothing at all is older: the other series, whole */
    if (!n) {
        fprintf(stderr, "shardpredict: %s: no history, and the trace has no other value of %s\n", a->series, a->metric);
        free(v);
        return EXIT_FAILED;
    }
    qsort(v, n, sizeof *v, by_value);
    for (int32_t h = 0; h < job->horizon; h++) {
        for (int32_t k = 0; k < job->level_count; k++)
            a->quantiles[h * job->level_count + k] = v[(size_t)(job->levels[k] * (double)(n - 1))];
        a->points[h] = v[(n - 1) / 2];
    }
    a->method = "pooled";
    free(v);
    return 0;
}

/* ---- all ---- */

static bool load(struct chunk *c, struct answer *a) {
    double *y = c->y + c->rows * c->steps;
    int64_t first = a->origin - c->steps, end = spr_series_steps(c->job->series);
    for (int64_t t = 0; t < c->steps; t++)
        y[t] = first + t < end ? sample(c->job, a->row, first + t) : NAN;
    if (!any_value(y, c->steps))
        return false;
    c->answers[c->rows++] = a;
    return true;
}

static int refuse_or_pool(const struct forecast_job *job, struct answer *a, size_t *pooled) {
    if (!job->strict) {
        ++*pooled;
        return answer_pooled(job, a);
    }
    fprintf(stderr,
            "shardpredict: %s: no value before step %lld; without --strict the trace's pooled quantiles answer\n",
            a->series, (long long)a->origin);
    return EXIT_FAILED;
}

static int by_origin(const void *a, const void *b) {
    const struct answer *x = *(struct answer *const *)a, *y = *(struct answer *const *)b;
    if (x->origin != y->origin)
        return x->origin < y->origin ? -1 : 1;
    return x < y ? -1 : x > y; /* items of one array: keep their order */
}

/* Answers [from, to) of one origin, at most CHUNK. */
static int answer_group(const struct forecast_job *job, struct answer **group, size_t count, size_t *pooled) {
    int64_t origin = group[0]->origin;
    struct chunk c = {.job = job, .steps = job->history && job->history < origin ? job->history : origin};
    struct answer *answers[CHUNK];
    double weight[CHUNK * METHODS] = {0};
    int rc = 0;
    c.answers = answers, c.weight = weight;
    c.y = malloc((count * (size_t)c.steps + 1) * sizeof *c.y);
    for (size_t i = 0; c.y && !rc && i < count; i++)
        if (!load(&c, group[i]))
            rc = refuse_or_pool(job, group[i], pooled);
    if (!c.y)
        fprintf(stderr, "shardpredict: out of memory\n"), rc = EXIT_FAILED;
    if (!rc && c.rows)
        rc = answer_chunk(&c);
    free(c.y);
    return rc;
}

int forecast_all(const struct forecast_job *job, struct answers *all) {
    struct answer **order = malloc((all->count + 1) * sizeof *order);
    size_t pooled = 0;
    int rc = order ? 0 : EXIT_FAILED;
    for (size_t i = 0; !rc && i < all->count; i++) {
        struct answer *a = order[i] = &all->items[i];
        a->points = calloc((size_t)job->horizon, sizeof(double));
        a->quantiles = calloc((size_t)job->horizon * (size_t)job->level_count, sizeof(double));
        if (!a->points || !a->quantiles)
            rc = EXIT_FAILED;
    }
    if (rc)
        fprintf(stderr, "shardpredict: out of memory\n");
    else
        qsort(order, all->count, sizeof *order, by_origin);
    for (size_t i = 0, n; !rc && i < all->count; i += n) {
        for (n = 1; i + n < all->count && n < CHUNK && order[i + n]->origin == order[i]->origin; n++)
            ;
        tool_progress(NULL, (double)i / (double)all->count, order[i]->series);
        rc = answer_group(job, order + i, n, &pooled);
    }
    tool_progress_end();
    if (!rc && pooled)
        fprintf(stderr,
                "shardpredict: note: %zu of %zu cases have no history: pooled quantiles of the trace answer them\n",
                pooled, all->count);
    free(order);
    return rc;
}
