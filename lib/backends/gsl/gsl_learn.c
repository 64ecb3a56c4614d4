/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Learning one series: which wavelet and how many scales foresee its newer part best when they were fitted on the older
 * one, how wrong that was for each step ahead, and the final fit on everything.
 */
#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics_double.h>

#include "gsl.h"

enum {
    LEAST_KNOWN = 24,    /* values below which a series is young */
    CHOICE_ORIGINS = 24, /* forecasts that judge a candidate */
    ERROR_ORIGINS = 192, /* forecasts whose errors become quantiles */
    LEAST_ERRORS = 20    /* errors below which a bin borrows from the one before */
};
#define FIT_SHARE 0.65 /* of the history that candidates are fitted on */
#define CENTRED   0.5  /* share of the errors' median that is taken for a drift of the past, not for one to come */

/* ---- bins of horizons: 1, 2, 3, 4-5, 6-7, 8-11, 12-15, 16-23 ... ---- */

int32_t gsl__bin_begin(int32_t bin) {
    if (bin < 3)
        return bin + 1;
    int32_t power = 2 + (bin - 3) / 2;
    return power > 29 ? INT32_MAX : (bin - 3) % 2 ? 3 << (power - 1) : 1 << power;
}

int32_t gsl__bin(int32_t h) {
    int32_t bin = 0;
    while (bin + 1 < GSL_BINS && gsl__bin_begin(bin + 1) <= h)
        bin++;
    return bin;
}

/* ---- room ---- */

static void *take(char **at, size_t n, size_t each) {
    void *block = *at;
    *at += (n * each + 15) / 16 * 16;
    return block;
}

int gsl__room(spr_context *ctx, int64_t n, int32_t horizon, struct gsl_room *out) {
    const size_t h = (size_t)horizon, errors = (size_t)ERROR_ORIGINS * h;
    size_t bytes = ((size_t)n * (GSL_PARTS + 2) + errors + 2 * h) * sizeof(double) + 16 * 8;
    char *at;
    out->block = at = spr_context_alloc(ctx, bytes);
    if (!out->block) {
        struct spr_error e = {.size = sizeof e, .code = SPR_E_NOMEM, .text = "gsl-wavelet: out of memory"};
        return spr_context_fail(ctx, &e);
    }
    out->n = n, out->bytes = (int64_t)bytes, out->error_room = (int64_t)errors;
    out->x = take(&at, (size_t)n, sizeof *out->x);
    out->parts = take(&at, (size_t)n * GSL_PARTS, sizeof *out->parts);
    out->errors = take(&at, errors, sizeof *out->errors);
    out->ahead = take(&at, h, sizeof *out->ahead);
    out->sum = take(&at, h, sizeof *out->sum);
    out->mask = take(&at, (size_t)n, 1);
    return SPR_OK;
}

void gsl__room_drop(spr_context *ctx, struct gsl_room *room) {
    spr_context_free(ctx, room->block, (size_t)room->bytes);
    memset(room, 0, sizeof *room);
}

/* ---- history ---- */

double gsl__filled(const double *x, int64_t t, int64_t period, uint8_t what, double v) {
    double before = t == 0 ? NAN : period && t >= period ? x[t - period] : x[t - 1];
    if (what == GSL_KNOWN || isnan(before))
        return v;
    /* A bound is raised to what the season before shows; the step before may itself be the height of a throttled spell
     * and says nothing. */
    return what == GSL_GAP ? before : period && t >= period ? fmax(v, before) : v;
}

/* Fill the history in place; number of known values and bounds. */
static int64_t fill(const struct gsl_job *job, struct gsl_room *room, double last) {
    int64_t first = 0, count = 0;
    while (first < room->n && room->mask[first] == GSL_GAP)
        first++;
    double leading = first < room->n ? room->x[first] : last; /* everything in the window is missing */
    for (int64_t t = 0; t < room->n; t++) {
        count += room->mask[t] != GSL_GAP;
        room->x[t] = t < first ? leading : gsl__filled(room->x, t, job->shape.period, room->mask[t], room->x[t]);
    }
    return count;
}

static void normalise(struct gsl_room *room, struct gsl_row *row) {
    double low = INFINITY, high = -INFINITY;
    for (int64_t t = 0; t < room->n; t++)
        low = fmin(low, room->x[t]), high = fmax(high, room->x[t]);
    row->middle = low / 2 + high / 2;
    row->unit = high / 2 - low / 2;
    if (!(row->unit > 0))
        row->unit = 1; /* a constant: nothing is left of it */
    for (int64_t t = 0; t < room->n; t++)
        room->x[t] = (room->x[t] - row->middle) / row->unit;
}

/* A series too short to learn from is a random walk with the steps seen, no wider than its values are. */
static void learn_young(const struct gsl_room *room, struct gsl_row *row) {
    double sum = 0, sum2 = 0, walk2 = 0, before = NAN;
    int64_t count = 0;
    for (int64_t t = 0; t < room->n; t++)
        if (room->mask[t] != GSL_GAP) {
            double v = room->x[t];
            walk2 += isnan(before) ? 0 : (v - before) * (v - before);
            sum += v, sum2 += v * v, count++;
            before = v;
        }
    row->young = true;
    if (count < 2) {
        row->walk2 = row->all2 = row->middle / row->unit * (row->middle / row->unit) / 16;
        return;
    }
    row->walk2 = walk2 / (double)(count - 1);
    row->all2 = 2 * fmax(0, (sum2 - sum * sum / (double)count) / (double)(count - 1));
}

/* ---- fitting and judging ---- */

static void fit(struct gsl_room *room, struct gsl_model *m, int64_t end) {
    struct gsl_filter f = {0};
    gsl__filter(m->wavelet, &f);
    int64_t support = gsl__support(&f, m->scales);
    for (int32_t j = 0; j <= m->scales; j++) {
        int64_t begin = support < end / 5 ? support : end / 5; /* behind the start-up of the filters */
        for (int32_t i = 0; i < m->part[j].lag_count; i++)
            begin = m->part[j].lag[i] + 1 > begin ? m->part[j].lag[i] + 1 : begin;
        gsl__fit_part(room->parts + j * room->n, room->mask, begin, end, &m->part[j]);
    }
}

static void split(struct gsl_room *room, const struct gsl_model *m) {
    struct gsl_filter f = {0};
    gsl__filter(m->wavelet, &f);
    gsl__split(&f, m->scales, room->x, room->n, room->parts, room->n);
}

static void run(struct gsl_room *room, const struct gsl_model *m, int64_t n, int64_t origin, int32_t count) {
    memset(room->sum, 0, (size_t)count * sizeof *room->sum);
    for (int32_t j = 0; j <= m->scales; j++)
        gsl__run_part(&m->part[j], room->parts + j * n, origin, count, room->ahead, room->sum);
}

/* The i-th of `count` origins in begin..end-1. */
static int64_t origin_of(int64_t begin, int64_t end, int64_t count, int64_t i) {
    return count < 2 ? end - 1 : begin + i * (end - 1 - begin) / (count - 1);
}
static int64_t origins(int64_t begin, int64_t end, int64_t most) { return end - begin < most ? end - begin : most; }

/* Does the step say how wrong a forecast was? What is filled says nothing, a bound only when it lies above. */
static bool tells(const struct gsl_room *room, int64_t t, double error) {
    return room->mask[t] == GSL_KNOWN || (room->mask[t] == GSL_BOUND && error > 0);
}

static double loss_of(const struct gsl_job *job, struct gsl_room *room, const struct gsl_model *m, int64_t begin) {
    int64_t count = origins(begin, room->n, CHOICE_ORIGINS);
    double loss = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t origin = origin_of(begin, room->n, count, i), rest = room->n - origin;
        int32_t steps = rest < job->horizon ? (int32_t)rest : job->horizon;
        run(room, m, room->n, origin, steps);
        for (int32_t h = 0; h < steps; h++) {
            double error = room->x[origin + h] - room->sum[h];
            loss += tells(room, origin + h, error) ? fabs(error) : 0;
        }
    }
    return loss;
}

/* Fit and judge a split with its coarsest part as a level or as steps. */
static void judge(const struct gsl_job *job, struct gsl_room *room, struct gsl_model *m, int64_t begin, double *least,
                  struct gsl_model *best) {
    split(room, m);
    gsl__lags(&job->shape, m->scales, begin, m);
    for (int steps = 0; steps < 2; steps++) {
        for (int32_t j = 0; j < GSL_PARTS; j++)
            m->part[j].steps = steps && j == m->scales;
        fit(room, m, begin);
        double loss = loss_of(job, room, m, begin);
        if (loss < *least || !isfinite(*least))
            *least = loss, *best = *m;
    }
}

/* Candidates in the order of preference: of equals the first. */
static void choose(const struct gsl_job *job, struct gsl_room *room, struct gsl_model *best, int64_t begin) {
    static const int32_t wavelets[] = {SPR_GSL_WAVELET_HAAR, SPR_GSL_WAVELET_DAUBECHIES4, SPR_GSL_WAVELET_BSPLINE3};
    static const int32_t scales[] = {5, 3, 1, 7, 0};
    double least = INFINITY;
    for (size_t w = 0; w < sizeof wavelets / sizeof *wavelets; w++)
        for (size_t s = 0; s < sizeof scales / sizeof *scales; s++) {
            struct gsl_model m = {.wavelet = job->wavelet ? job->wavelet : wavelets[w],
                                  .scales = job->scales == SPR_NONE ? 0
                                            : job->scales           ? job->scales
                                                                    : scales[s]};
            bool repeated = (job->wavelet && w) || (job->scales && s) || (m.scales == 0 && w);
            if (!repeated && (job->scales || (INT64_C(8) << m.scales) <= begin))
                judge(job, room, &m, begin, &least, best);
        }
}

/* ---- errors become quantiles ---- */

/* How many origins for a horizon: the table of errors stays small for very long ones. */
static int64_t error_origins(int32_t horizon) {
    int64_t most = 200000 / horizon;
    return most > ERROR_ORIGINS ? ERROR_ORIGINS : most < 8 ? 8 : most;
}

/* errors[h * count + i]: what the forecast of origin i missed h + 1 steps ahead; NaN where nothing tells. */
static void measure(const struct gsl_job *job, struct gsl_room *room, const struct gsl_model *m, int64_t begin,
                    int64_t count) {
    for (int64_t i = 0; i < count * job->horizon; i++)
        room->errors[i] = NAN;
    for (int64_t i = 0; i < count; i++) {
        int64_t origin = origin_of(begin, room->n, count, i), rest = room->n - origin;
        int32_t steps = rest < job->horizon ? (int32_t)rest : job->horizon;
        run(room, m, room->n, origin, steps);
        for (int32_t h = 0; h < steps; h++) {
            double error = room->x[origin + h] - room->sum[h];
            if (tells(room, origin + h, error))
                room->errors[h * count + i] = error;
        }
    }
}

/* A bin with few errors borrows from the nearer one, wider by the root of the horizon. */
static void borrow(int32_t bin, int32_t levels, double *offsets) {
    double wider = sqrt((double)gsl__bin_begin(bin) / (double)gsl__bin_begin(bin - 1));
    for (int32_t k = 0; k < levels; k++)
        offsets[bin * levels + k] = offsets[(bin - 1) * levels + k] * wider;
}

static void spread(const struct gsl_job *job, struct gsl_room *room, const struct gsl_row *row, int64_t count,
                   double *offsets) {
    int32_t last = gsl__bin(job->horizon), levels = job->level_count;
    for (int32_t bin = 0; bin <= last; bin++) {
        int32_t from = gsl__bin_begin(bin) - 1, to = gsl__bin_begin(bin + 1) - 1;
        double *errors = room->errors + from * count;
        int64_t n = 0, all = ((to < job->horizon ? to : job->horizon) - from) * count;
        for (int64_t i = 0; i < all; i++)
            if (!isnan(errors[i]))
                errors[n++] = errors[i];
        if (n < LEAST_ERRORS && bin) {
            borrow(bin, levels, offsets);
            continue;
        }
        gsl_sort(errors, 1, (size_t)n);
        double centre = n ? CENTRED * gsl_stats_quantile_from_sorted_data(errors, 1, (size_t)n, 0.5) : 0;
        for (int32_t k = 0; k < levels; k++) {
            double error = n ? gsl_stats_quantile_from_sorted_data(errors, 1, (size_t)n, job->levels[k]) : 0;
            offsets[bin * levels + k] = row->unit * (error - centre);
        }
    }
}

/* ---- lower bounds ---- */

/* A throttled step is raised to what the model expected of it, in the order of time. True when any was. */
static bool raise_bounds(struct gsl_room *room, const struct gsl_model *m) {
    bool raised = false;
    for (int64_t t = room->n / 5; t < room->n; t++) {
        if (room->mask[t] != GSL_BOUND)
            continue;
        run(room, m, room->n, t, 1);
        if (room->sum[0] > room->x[t])
            room->x[t] = room->sum[0], raised = true;
    }
    return raised;
}

/* ---- all ---- */

void gsl__learn(const struct gsl_job *job, struct gsl_room *room, struct gsl_row *row, double *offsets) {
    int64_t known = fill(job, room, row->last), begin = (int64_t)(FIT_SHARE * (double)room->n);
    normalise(room, row);
    if (known < LEAST_KNOWN) {
        learn_young(room, row);
        return;
    }
    row->young = false;
    choose(job, room, &row->model, begin);
    split(room, &row->model);
    if (raise_bounds(room, &row->model)) {
        split(room, &row->model);
        fit(room, &row->model, begin);
    }
    int64_t count = origins(begin, room->n, error_origins(job->horizon));
    measure(job, room, &row->model, begin, count);
    spread(job, room, row, count, offsets);
    fit(room, &row->model, room->n);
}

void gsl__ahead(const struct gsl_job *job, const struct gsl_row *row, const double *x, int64_t n, struct gsl_room *room,
                double *out) {
    struct gsl_filter f = {0};
    gsl__filter(row->model.wavelet, &f);
    gsl__split(&f, row->model.scales, x, n, room->parts, n);
    run(room, &row->model, n, n, job->horizon);
    for (int32_t h = 0; h < job->horizon; h++)
        out[h] = row->middle + row->unit * room->sum[h];
}
