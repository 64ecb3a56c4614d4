/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Seasonal naive: the same phase of the last season; its quantiles are those of the series' own differences over one
 * season, two seasons, ... (whichever lies between a step and what it repeats). doc/algorithms/seasonal-naive.md.
 *
 * The differences of a sliding window are kept sorted, so that a new step costs two binary searches and a move of
 * memory instead of a sort, and `fit` followed by `update` holds exactly what one longer `fit` would hold.
 */
#include "forecast/forecast.h"

enum { WINDOW_MIN = 2016, WINDOW_MAX = 8192, WINDOW_SEASONS = 14, ENOUGH = 8 };

struct naive {
    spr_context *ctx;
    double period;
    int32_t horizon, level_count;
    const double *levels;
    int32_t rungs[SPR__RUNGS_MAX], rung_count; /* multiples of the season whose differences are kept */
    int64_t window, reach;                     /* steps with differences; steps of history kept */
    int64_t series, steps;                     /* rows; steps seen */
    double *ring;                              /* [series][reach] */
    uint8_t *censored;                         /* [series][reach]: the value is only a lower bound */
    double *sorted;                            /* [series][rung][window] */
    int64_t *counts;                           /* [series][rung] */
    double *last;                              /* [series] newest known value */
};

/* ---- one row ---- */

struct row {
    const struct naive *n;
    double *ring, *sorted, *last;
    uint8_t *censored;
    int64_t *counts;
};

static struct row row_of(const struct naive *n, int64_t s) {
    return (struct row){n,           n->ring + s * n->reach,     n->sorted + s * n->rung_count * n->window,
                        n->last + s, n->censored + s * n->reach, n->counts + s * n->rung_count};
}

static double value_at(const struct row *r, int64_t t, int64_t end) {
    return t < 0 || t >= end || t < end - r->n->reach ? NAN : r->ring[t % r->n->reach];
}

/* The series at a fractional step, linear between its neighbours; one of them is enough. */
static double between(const struct row *r, double at, int64_t end) {
    int64_t t = (int64_t)floor(at + 1e-9);
    double share = at - (double)t, a = value_at(r, t, end);
    if (share < 1e-9)
        return a;
    double b = value_at(r, t + 1, end);
    return isnan(a) ? b : isnan(b) ? a : a + (b - a) * share;
}

/* Does a lower bound take part in the value at a fractional step? */
static bool bounded(const struct row *r, double at, int64_t end) {
    int64_t t = (int64_t)floor(at + 1e-9);
    for (int64_t i = t; i <= t + (at - (double)t >= 1e-9); i++)
        if (!isnan(value_at(r, i, end)) && r->censored[i % r->n->reach])
            return true;
    return false;
}

/* What is known as a bound only has no difference. */
static double difference(const struct row *r, int64_t t, int32_t rung, int64_t end) {
    double before = (double)t - (double)r->n->rungs[rung] * r->n->period;
    if (bounded(r, (double)t, end) || bounded(r, before, end))
        return NAN;
    return value_at(r, t, end) - between(r, before, end);
}

static int64_t lower_bound(const double *sorted, int64_t n, double v) {
    int64_t lo = 0;
    while (n > 0) {
        int64_t half = n / 2;
        if (sorted[lo + half] < v)
            lo += half + 1, n -= half + 1;
        else
            n = half;
    }
    return lo;
}

static void take_out(double *sorted, int64_t *count, double v) {
    int64_t at = lower_bound(sorted, *count, v);
    memmove(sorted + at, sorted + at + 1, (size_t)(*count - at - 1) * sizeof v);
    --*count;
}

static void put_in(double *sorted, int64_t *count, double v) {
    int64_t at = lower_bound(sorted, *count, v);
    memmove(sorted + at + 1, sorted + at, (size_t)(*count - at) * sizeof v);
    sorted[at] = v;
    ++*count;
}

static void push(struct row *r, int64_t t, double y, bool censored) {
    r->ring[t % r->n->reach] = y;
    r->censored[t % r->n->reach] = censored;
    if (!isnan(y))
        *r->last = y;
    for (int32_t k = 0; k < r->n->rung_count; k++) {
        double *sorted = r->sorted + k * r->n->window, d;
        if (!isnan(d = difference(r, t - r->n->window, k, t + 1)))
            take_out(sorted, &r->counts[k], d);
        if (!isnan(d = difference(r, t, k, t + 1)))
            put_in(sorted, &r->counts[k], d);
    }
}

/* ---- learning ---- */

struct learn_job {
    struct naive *n;
    const struct spr_panel *panel;
};

static void learn_row(void *arg, size_t s) {
    struct learn_job *job = arg;
    const struct spr_panel *p = job->panel;
    struct naive *n = job->n;
    struct row r = row_of(n, (int64_t)s);
    for (int64_t t = SPR_MAX(0, p->steps - n->reach); t < p->steps; t++) {
        r.ring[t % n->reach] = spr__panel_value(p, (int64_t)s, t);
        r.censored[t % n->reach] = spr__panel_censored(p, (int64_t)s, t);
    }
    for (int64_t t = p->steps - 1; t >= 0 && isnan(*r.last); t--)
        *r.last = spr__panel_value(p, (int64_t)s, t);
    for (int32_t k = 0; k < n->rung_count; k++) {
        double *sorted = r.sorted + k * n->window;
        for (int64_t t = SPR_MAX(0, p->steps - n->window); t < p->steps; t++) {
            double d = difference(&r, t, k, p->steps);
            if (!isnan(d))
                sorted[r.counts[k]++] = d;
        }
        spr__sort(sorted, r.counts[k]);
    }
}

static void push_row(void *arg, size_t s) {
    struct learn_job *job = arg;
    struct row r = row_of(job->n, (int64_t)s);
    for (int64_t t = 0; t < job->panel->steps; t++)
        push(&r, job->n->steps + t, spr__panel_value(job->panel, (int64_t)s, t),
             spr__panel_censored(job->panel, (int64_t)s, t));
}

static void drop_rows(struct naive *n) {
    size_t rows = (size_t)n->series, rungs = rows * (size_t)n->rung_count;
    spr__free(n->ctx, n->ring, rows * (size_t)n->reach, sizeof *n->ring);
    spr__free(n->ctx, n->censored, rows * (size_t)n->reach, 1);
    spr__free(n->ctx, n->sorted, rungs * (size_t)n->window, sizeof *n->sorted);
    spr__free(n->ctx, n->counts, rungs, sizeof *n->counts);
    spr__free(n->ctx, n->last, rows, sizeof *n->last);
    n->ring = n->sorted = n->last = NULL, n->censored = NULL, n->counts = NULL, n->series = 0;
}

static int make_rows(struct naive *n, int64_t series) {
    drop_rows(n);
    size_t rows = (size_t)series, rungs = rows * (size_t)n->rung_count;
    n->series = series;
    n->ring = spr__alloc(n->ctx, rows * (size_t)n->reach, sizeof *n->ring);
    n->censored = spr__alloc(n->ctx, rows * (size_t)n->reach, 1);
    n->sorted = spr__alloc(n->ctx, rungs * (size_t)n->window, sizeof *n->sorted);
    n->counts = spr__alloc(n->ctx, rungs, sizeof *n->counts);
    n->last = spr__alloc(n->ctx, rows, sizeof *n->last);
    if (!n->ring || !n->censored || !n->sorted || !n->counts || !n->last) {
        drop_rows(n);
        return spr__nomem(n->ctx);
    }
    for (size_t s = 0; s < rows; s++)
        n->last[s] = NAN;
    return SPR_OK;
}

static int naive_fit(void *state, const struct spr_panel *history, int64_t first_step, int64_t budget) {
    struct naive *n = state;
    struct learn_job job = {n, history};
    (void)first_step, (void)budget;
    int rc = make_rows(n, history->series);
    if (rc < 0)
        return rc;
    spr__parallel(n->ctx, (size_t)n->series, learn_row, &job);
    n->steps = history->steps;
    for (int64_t s = 0; s < n->series; s++)
        if (isnan(n->last[s]))
            return spr__fail(n->ctx, SPR_E_HISTORY, "seasonal-naive: series %lld has no value at all", (long long)s);
    return SPR_OK;
}

static int naive_update(void *state, const struct spr_panel *steps) {
    struct naive *n = state;
    struct learn_job job = {n, steps};
    spr__parallel(n->ctx, (size_t)n->series, push_row, &job);
    n->steps += steps->steps;
    return SPR_OK;
}

/* ---- predicting ---- */

struct predict_job {
    const struct naive *n;
    const double *now;
    struct spr_forecaster_output *out;
};

/*
 * Same phase of the newest season that knows it; a bound is raised to what the season before knows, as far back as
 * there are bounds. Without any the newest value.
 */
static double repeat(const struct row *r, int32_t h, int32_t seasons) {
    const struct naive *n = r->n;
    double at = (double)(n->steps + h) - (double)seasons * n->period, most = NAN;
    for (; at >= 0.0 && at >= (double)(n->steps - n->reach); at -= n->period) {
        double v = between(r, at, n->steps);
        if (isnan(v))
            continue;
        most = isnan(most) || v > most ? v : most;
        if (!bounded(r, at, n->steps))
            return most;
    }
    return isnan(most) ? *r->last : most;
}

/*
 * Too few differences over a season (a young series): a random walk with the steps seen so far, no wider than the
 * values themselves are; a quarter of the value when there is only one.
 */
struct young {
    bool is;
    double step2, all2; /* variance of one step, and of anything */
};

static struct young young_of(const struct row *r) {
    double sum = 0, sum2 = 0, walk2 = 0, before = NAN;
    int64_t count = 0, pairs = 0, end = r->n->steps;
    if (r->counts[0] >= ENOUGH)
        return (struct young){false, 0, 0};
    for (int64_t t = SPR_MAX(0, end - r->n->reach); t < end; t++) {
        double v = value_at(r, t, end);
        if (isnan(v))
            continue;
        if (!isnan(before))
            walk2 += (v - before) * (v - before), pairs++;
        sum += v - *r->last, sum2 += (v - *r->last) * (v - *r->last), count++;
        before = v;
    }
    if (!pairs)
        return (struct young){true, *r->last * *r->last / 16, *r->last * *r->last / 16};
    double var = (sum2 - sum * sum / (double)count) / (double)(count - 1);
    return (struct young){true, walk2 / (double)pairs, 2.0 * SPR_MAX(var, 0.0)};
}

/* Quantile of the difference over a rung; a rung with too little data borrows the one below, wider by the root. */
static bool rung_quantile(const struct row *r, int32_t rung, double level, double *out) {
    int32_t k = rung;
    while (k >= 0 && r->counts[k] < ENOUGH)
        k--;
    if (k < 0)
        return false;
    *out = spr__quantile_sorted(r->sorted + k * r->n->window, r->counts[k], level) *
           sqrt((double)r->n->rungs[rung] / (double)r->n->rungs[k]);
    return true;
}

static double spread_at(const struct row *r, const struct young *young, int32_t h, int32_t seasons, double level) {
    double share, low, high;
    if (young->is)
        return spr__normal_quantile(level) * sqrt(SPR_MIN(young->step2 * (double)(h + 1), young->all2));
    int32_t rung = spr__rung_at(r->n->rungs, r->n->rung_count, seasons, &share);
    if (!rung_quantile(r, rung, level, &low))
        return 0;
    if (share <= 0.0 || !rung_quantile(r, rung + 1, level, &high))
        return low;
    return low + (high - low) * share;
}

static void predict_row(void *arg, size_t s) {
    struct predict_job *job = arg;
    const struct naive *n = job->n;
    struct row r = row_of(n, (int64_t)s);
    double *points = job->out->points + s * (size_t)n->horizon, shift = 0;
    double *q = job->out->quantiles + s * (size_t)n->horizon * (size_t)n->level_count;
    struct young young = young_of(&r);
    for (int32_t h = 0; h < n->horizon; h++, q += n->level_count) {
        int32_t seasons = (int32_t)ceil((double)(h + 1) / n->period - 1e-9);
        double v = repeat(&r, h, seasons);
        if (h == 0 && job->now && !isnan(job->now[s]))
            shift = job->now[s] - v;
        points[h] = v + shift;
        for (int32_t k = 0; k < n->level_count; k++)
            q[k] = points[h] + spread_at(&r, &young, h, seasons, n->levels[k]);
    }
}

static int naive_predict(void *state, const double *now, struct spr_forecaster_output *out) {
    struct naive *n = state;
    struct predict_job job = {n, now, out};
    spr__parallel(n->ctx, (size_t)n->series, predict_row, &job);
    return SPR_OK;
}

/* ---- the table ---- */

static void naive_close(void *state) {
    struct naive *n = state;
    spr_context *ctx = n->ctx;
    drop_rows(n);
    spr__free(ctx, n, 1, sizeof *n);
}

static int naive_open(const struct spr_forecaster_env *env, void **state) {
    struct spr_seasonal_naive_opts o;
    spr_context *ctx = env->env->context;
    int rc = spr__opts_copy(ctx, "spr_seasonal_naive_opts", env->config, &o, sizeof o);
    if (rc < 0)
        return rc;
    if (isnan(o.period) || (o.period < 0 && o.period != SPR_NONE) || o.period > 1 << 20)
        return spr__fail(ctx, SPR_E_ARG, "seasonal-naive: a period of %g steps", o.period);
    if (o.period == 0)
        o.period = (double)SPR__DAY_NS / (double)env->step_ns;
    struct naive *n = spr__alloc(ctx, 1, sizeof *n);
    if (!n)
        return spr__nomem(ctx);
    n->ctx = ctx;
    n->period = o.period < 1 ? 1 : o.period; /* the last value is a season of one step */
    n->horizon = env->horizon, n->level_count = env->level_count, n->levels = env->levels;
    int32_t most = (int32_t)ceil((double)n->horizon / n->period - 1e-9);
    n->rung_count = spr__rungs(SPR_MAX(most, 1), n->rungs);
    n->window = (int64_t)SPR_MIN(SPR_MAX(WINDOW_SEASONS * n->period, WINDOW_MIN), WINDOW_MAX);
    n->reach = n->window + (int64_t)ceil(n->period * SPR_MAX(most, 1)) + 2;
    *state = n;
    return SPR_OK;
}

const struct spr_forecaster_ops *spr_forecaster_seasonal_naive(void) {
    static const struct spr_forecaster_ops ops = {.size = sizeof ops,
                                                  .name = "seasonal-naive",
                                                  .license = "MIT OR Apache-2.0",
                                                  .caps = SPR_CAP_ANY_THREAD,
                                                  .open = naive_open,
                                                  .close = naive_close,
                                                  .fit = naive_fit,
                                                  .update = naive_update,
                                                  .predict = naive_predict};
    return &ops;
}
