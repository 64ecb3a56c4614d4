/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The table of the wavelet forecaster: options, the rows of a panel, their newest steps. doc/algorithms/gsl-wavelet.md.
 *
 * Of GSL only such functions are called as neither allocate nor can meet an error, so that the process's error handler
 * (which belongs to the host program, and by default ends it) is never reached and never touched.
 */
#include <stdio.h>

#include <gsl/gsl_cdf.h>

#include "gsl.h"

enum { WINDOW = 4096, ORDER = 4, SCALES_TRIED = 7 };
#define DAY_NS 86400e9

struct gsl {
    struct gsl_job job;
    int64_t window;
    int64_t series, reach, seen; /* rows, steps kept of each, steps seen */
    int32_t bins;
    struct gsl_row *rows;
    double *tail;    /* [series][reach]: step t at t % reach, scaled as its row is */
    double *offsets; /* [series][bins][levels]: errors by horizon in the unit of the series */
    int64_t done;    /* rows that a fit in slices has learnt */
    bool fitting;
};

static int fail(const struct gsl *g, int code, const char *text) {
    struct spr_error e = {.size = sizeof e, .code = code, .text = text};
    return spr_context_fail(g->job.ctx, &e);
}

/* ---- panels ---- */

static bool bit(const uint8_t *bits, int64_t i) { return bits[i >> 3] >> (i & 7) & 1; }

static double value_of(const struct spr_panel *p, int64_t s, int64_t t) {
    const char *at = (const char *)p->data + s * p->series_stride + t * p->step_stride;
    double v;
    float narrow;
    if (p->valid && !bit(p->valid + s * p->valid_stride, t))
        return NAN;
    if (p->dtype != SPR_F32) {
        memcpy(&v, at, sizeof v);
        return v;
    }
    memcpy(&narrow, at, sizeof narrow);
    return (double)narrow;
}

static uint8_t kind_of(const struct spr_panel *p, int64_t s, int64_t t, double v) {
    return isnan(v) ? GSL_GAP : p->censored && bit(p->censored + s * p->censored_stride, t) ? GSL_BOUND : GSL_KNOWN;
}

/* ---- rows ---- */

static void drop_rows(struct gsl *g) {
    size_t n = (size_t)g->series, bins = n * (size_t)g->bins;
    spr_context_free(g->job.ctx, g->rows, n * sizeof *g->rows);
    spr_context_free(g->job.ctx, g->tail, n * (size_t)g->reach * sizeof *g->tail);
    spr_context_free(g->job.ctx, g->offsets, bins * (size_t)g->job.level_count * sizeof *g->offsets);
    g->rows = NULL, g->tail = g->offsets = NULL, g->series = 0;
}

static int make_rows(struct gsl *g, int64_t series, int64_t steps) {
    drop_rows(g);
    int64_t longest = g->job.shape.period < steps ? g->job.shape.period + 1 : 1;
    for (int32_t j = 0; j <= GSL_SCALES; j++) {
        int64_t lag = gsl__longest_lag(&g->job.shape, j, steps);
        longest = lag > longest ? lag : longest;
    }
    g->reach = longest + (GSL_TAPS - 1) * ((INT64_C(1) << (g->job.scales > 0 ? g->job.scales : SCALES_TRIED)) - 1) + 1;
    if (series > INT64_MAX / 64 / g->reach / (1 + g->bins * (int64_t)g->job.level_count))
        return fail(g, SPR_E_NOMEM, "gsl-wavelet: out of memory");
    size_t n = (size_t)series, bins = n * (size_t)g->bins;
    g->series = series;
    g->rows = spr_context_alloc(g->job.ctx, n * sizeof *g->rows);
    g->tail = spr_context_alloc(g->job.ctx, n * (size_t)g->reach * sizeof *g->tail);
    g->offsets = spr_context_alloc(g->job.ctx, bins * (size_t)g->job.level_count * sizeof *g->offsets);
    if (g->rows && g->tail && g->offsets)
        return SPR_OK;
    drop_rows(g);
    return fail(g, SPR_E_NOMEM, "gsl-wavelet: out of memory");
}

/* ---- fit ---- */

static int check_rows(const struct gsl *g, const struct spr_panel *p) {
    for (int64_t s = 0; s < p->series; s++) {
        int64_t t = 0;
        while (t < p->steps && isnan(value_of(p, s, t)))
            t++;
        if (t == p->steps) {
            char text[96];
            snprintf(text, sizeof text, "gsl-wavelet: series %lld has no value at all", (long long)s);
            return fail(g, SPR_E_HISTORY, text);
        }
    }
    return SPR_OK;
}

static void fit_row(struct gsl *g, const struct spr_panel *p, int64_t s, struct gsl_room *room) {
    struct gsl_row *row = &g->rows[s];
    int64_t first = p->steps - room->n, begin = p->steps > g->reach ? p->steps - g->reach : 0;
    double *tail = g->tail + s * g->reach;
    for (int64_t t = 0; t < room->n; t++) {
        room->x[t] = value_of(p, s, first + t);
        room->mask[t] = kind_of(p, s, first + t, room->x[t]);
    }
    row->last = NAN;
    for (int64_t t = p->steps - 1; t >= 0 && isnan(row->last); t--)
        row->last = value_of(p, s, t);
    gsl__learn(&g->job, room, row, g->offsets + s * g->bins * g->job.level_count);
    for (int64_t t = begin; t < p->steps; t++)
        tail[t % g->reach] = t < first ? room->x[0] : room->x[t - first];
}

static int gsl_fit(void *state, const struct spr_panel *history, int64_t first_step, int64_t budget) {
    struct gsl *g = state;
    struct gsl_room room;
    (void)first_step;
    int rc = check_rows(g, history);
    if (rc < 0)
        return rc;
    bool resumed = g->fitting && g->seen == history->steps && g->series == history->series;
    if (!resumed && (rc = make_rows(g, history->series, history->steps)) < 0)
        return rc;
    if (!resumed)
        g->done = 0, g->seen = history->steps, g->fitting = true;
    int64_t most = g->window > g->reach ? g->window : g->reach, until = history->series;
    if ((rc = gsl__room(g->job.ctx, history->steps < most ? history->steps : most, g->job.horizon, &room)) < 0) {
        g->fitting = false;
        return rc;
    }
    if (budget && budget < until - g->done) /* one evaluation: one series, all its candidates */
        until = g->done + budget;
    for (; g->done < until; g->done++)
        fit_row(g, history, g->done, &room);
    gsl__room_drop(g->job.ctx, &room);
    g->fitting = g->done < history->series;
    return g->fitting ? SPR_AGAIN : SPR_OK;
}

/* ---- update ---- */

static void push(struct gsl *g, int64_t s, int64_t t, double v, uint8_t kind) {
    struct gsl_row *row = &g->rows[s];
    double *tail = g->tail + s * g->reach, x = (v - row->middle) / row->unit;
    int64_t period = g->job.shape.period, back = period && period < g->reach && t >= period ? period : 1;
    if (kind != GSL_GAP)
        row->last = v;
    double before = tail[(t - back) % g->reach];
    if (kind == GSL_GAP)
        x = before;
    else if (kind == GSL_BOUND && back == period)
        x = fmax(x, before);
    tail[t % g->reach] = x;
}

static int gsl_update(void *state, const struct spr_panel *steps) {
    struct gsl *g = state;
    for (int64_t s = 0; s < g->series; s++)
        for (int64_t t = 0; t < steps->steps; t++) {
            double v = value_of(steps, s, t);
            push(g, s, g->seen + t, v, kind_of(steps, s, t, v));
        }
    g->seen += steps->steps;
    return SPR_OK;
}

/* ---- predict ---- */

static void predict_young(const struct gsl *g, const struct gsl_row *row, double *points, double *quantiles) {
    for (int32_t h = 0; h < g->job.horizon; h++) {
        double sd = row->unit * sqrt(fmin(row->walk2 * (h + 1), row->all2));
        points[h] = row->last;
        for (int32_t k = 0; k < g->job.level_count; k++)
            quantiles[h * g->job.level_count + k] = points[h] + sd * gsl_cdf_ugaussian_Pinv(g->job.levels[k]);
    }
}

static void predict_row(const struct gsl *g, int64_t s, struct gsl_room *room, double *points, double *quantiles) {
    const struct gsl_row *row = &g->rows[s];
    const double *tail = g->tail + s * g->reach;
    const double *offsets = g->offsets + s * g->bins * g->job.level_count;
    if (row->young) {
        predict_young(g, row, points, quantiles);
        return;
    }
    for (int64_t i = 0; i < room->n; i++)
        room->x[i] = tail[(g->seen - room->n + i) % g->reach];
    gsl__ahead(&g->job, row, room->x, room->n, room, points);
    for (int32_t h = 0; h < g->job.horizon; h++) {
        int32_t bin = gsl__bin(h + 1);
        for (int32_t k = 0; k < g->job.level_count; k++)
            quantiles[h * g->job.level_count + k] = points[h] + offsets[bin * g->job.level_count + k];
    }
}

static int gsl_predict(void *state, const double *now, struct spr_forecaster_output *out) {
    struct gsl *g = state;
    struct gsl_room room;
    const int64_t horizon = g->job.horizon, cells = horizon * g->job.level_count;
    int rc = gsl__room(g->job.ctx, g->seen < g->reach ? g->seen : g->reach, g->job.horizon, &room);
    if (rc < 0)
        return rc;
    for (int64_t s = 0; s < g->series; s++) {
        double *points = out->points + s * horizon, *quantiles = out->quantiles + s * cells;
        predict_row(g, s, &room, points, quantiles);
        double shift = now && !isnan(now[s]) ? now[s] - points[0] : 0;
        for (int64_t h = 0; h < horizon; h++)
            points[h] += shift;
        for (int64_t i = 0; i < cells; i++)
            quantiles[i] += shift;
    }
    gsl__room_drop(g->job.ctx, &room);
    return SPR_OK;
}

/* ---- the table ---- */

static void gsl_close(void *state) {
    struct gsl *g = state;
    drop_rows(g);
    spr_context_free(g->job.ctx, g, sizeof *g);
}

/* Options of any age: what an older caller never heard of is zero, what we never heard of must be. */
static int read_opts(const struct gsl *g, const void *config, struct spr_gsl_wavelet_opts *o) {
    size_t size = sizeof *o;
    memset(o, 0, sizeof *o);
    if (config)
        memcpy(&size, config, sizeof size);
    if (size < sizeof size || size > 1u << 16)
        return fail(g, SPR_E_ARG, "spr_gsl_wavelet_opts: its size member is not the size of the struct");
    for (size_t i = sizeof *o; config && i < size; i++)
        if (((const unsigned char *)config)[i])
            return fail(g, SPR_E_TOO_NEW, "spr_gsl_wavelet_opts: uses fields that this library does not know");
    if (config)
        memcpy(o, config, size < sizeof *o ? size : sizeof *o);
    if (isnan(o->period) || (o->period < 0 && o->period != SPR_NONE) || o->period > 1 << 20)
        return fail(g, SPR_E_ARG, "spr_gsl_wavelet_opts: the period is a number of steps");
    if (o->wavelet < 0 || o->wavelet > SPR_GSL_WAVELET_BSPLINE3)
        return fail(g, SPR_E_ARG, "spr_gsl_wavelet_opts: there is no such wavelet");
    if (o->scales < SPR_NONE || o->scales > GSL_SCALES || o->order < 0 || o->order > GSL_ORDER || o->reserved)
        return fail(g, SPR_E_ARG, "spr_gsl_wavelet_opts: 1 to 8 scales, 1 to 8 lags, reserved is 0");
    if (o->window < 0 || o->window > INT64_C(1) << 24)
        return fail(g, SPR_E_ARG, "spr_gsl_wavelet_opts: the window is out of range");
    return SPR_OK;
}

static int gsl_open(const struct spr_forecaster_env *env, void **state) {
    struct gsl made = {
        .job = {
            .ctx = env->env->context, .horizon = env->horizon, .level_count = env->level_count, .levels = env->levels}};
    struct spr_gsl_wavelet_opts o;
    int rc = read_opts(&made, env->config, &o);
    if (rc < 0)
        return rc;
    double period = o.period == 0 ? DAY_NS / (double)env->step_ns : o.period;
    made.job.shape.period = period >= 1.5 && period <= 1 << 20 ? (int64_t)(period + 0.5) : 0;
    made.job.shape.order = o.order ? o.order : ORDER;
    made.job.wavelet = o.wavelet, made.job.scales = o.scales;
    made.window = o.window ? o.window : WINDOW;
    made.bins = gsl__bin(env->horizon) + 1;
    struct gsl *g = spr_context_alloc(made.job.ctx, sizeof *g);
    if (!g)
        return fail(&made, SPR_E_NOMEM, "gsl-wavelet: out of memory");
    *g = made;
    *state = g;
    return SPR_OK;
}

const struct spr_forecaster_ops *spr_forecaster_gsl_wavelet(void) {
    static const struct spr_forecaster_ops ops = {.size = sizeof ops,
                                                  .name = "gsl-wavelet",
                                                  .license = "GPL-3.0-or-later",
                                                  .open = gsl_open,
                                                  .close = gsl_close,
                                                  .fit = gsl_fit,
                                                  .update = gsl_update,
                                                  .predict = gsl_predict};
    return &ops;
}
