/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The joint sum: a second opinion on a host's total, from its VMs. What each VM may do next is looked up among its own
 * past (lib/forecast/analogue.h); the means are summed per host, and the sum gets the quantiles of what such sums
 * missed before in units of how sure they were, all VMs of the host at the same instant, so their correlation is kept
 * (percentiles are never summed). It is mixed with the forecast of the host's own series per host, step ahead and level
 * by (recent pinball loss)^-6 where it has proved to be better than it.
 */
#include "control/control.h"
#include "forecast/analogue.h"
#include "forecast/event.h"

#define WINDOW  2016 /* residuals kept per host and step ahead */
#define LEAST   24   /* so many before the opinion counts */
#define REFRESH 12   /* steps between looks at the residuals' quantiles */
#define PROOF   0.99 /* the sum counts where it loses at most so much of what the host's own series loses */
#define UNSURE  0.25 /* share of the mean squared miss that is added to what the VMs expect of themselves */
#define NUMBERS (INT64_C(1) << 26) /* most that the VMs' histories may take together */

struct spr__joint {
    struct spr__analogues *vms;
    int64_t rows;          /* hosts * r */
    int32_t steps, levels; /* of the hosts' forecast: step 0 is the running one */
    double level[64], forget;
    double *points,
        *spread;        /* [slot][row][step] what the sum said, and the variance it expected; slot = step % steps */
    double *said[2];    /* [slot][row][step][level] quantiles of the host's series and of the sum */
    int64_t *slot_step; /* [slot] whose step it is, -1 = nobody's */
    float *missed, *expected; /* [row][step][WINDOW] residuals and the variances expected then, rings */
    int64_t seen;             /* residuals per ring so far, of step 1; step j has j - 1 fewer */
    double *quantile;         /* [row][step][level] of residuals in units of their scale */
    double *miss2;            /* [row][step] mean squared miss */
    double *loss[2];          /* [row][step][level] */
    int64_t compared;         /* steps both were scored on */
    double *scratch;          /* WINDOW, then [row][step] twice */
};

static size_t cell(const struct spr__joint *j, int64_t row, int32_t step) {
    return (size_t)row * (size_t)j->steps + (size_t)step;
}
static size_t slot_of(const struct spr__joint *j, int64_t step) { return (size_t)(step % j->steps); }
static size_t row_cells(const struct spr__joint *j) { return (size_t)j->rows * (size_t)j->steps; }

void spr__joint_destroy(spr_controller *c) {
    struct spr__joint *j = c->joint;
    if (!j)
        return;
    size_t cells = row_cells(j), slots = (size_t)j->steps, k = (size_t)j->levels, d = sizeof(double);
    spr__analogues_destroy(j->vms);
    spr__free(c->ctx, j->points, slots * cells, d);
    spr__free(c->ctx, j->spread, slots * cells, d);
    spr__free(c->ctx, j->slot_step, slots, sizeof(int64_t));
    spr__free(c->ctx, j->missed, cells * WINDOW, sizeof(float));
    spr__free(c->ctx, j->expected, cells * WINDOW, sizeof(float));
    spr__free(c->ctx, j->quantile, cells * k, d);
    spr__free(c->ctx, j->miss2, cells, d);
    spr__free(c->ctx, j->scratch, WINDOW + 2 * cells, d);
    for (int s = 0; s < 2; s++) {
        spr__free(c->ctx, j->said[s], slots * cells * k, d);
        spr__free(c->ctx, j->loss[s], cells * k, d);
    }
    spr__free(c->ctx, j, 1, sizeof *j);
    c->joint = NULL;
}

static int make(spr_controller *c, int32_t steps, const double *levels, int32_t level_count) {
    struct spr__joint *j = spr__alloc(c->ctx, 1, sizeof *j);
    if (!j)
        return spr__nomem(c->ctx);
    c->joint = j;
    j->rows = (int64_t)c->hosts * c->r;
    j->steps = steps;
    j->levels = SPR_MIN(level_count, (int32_t)SPR_ARRAY_LEN(j->level));
    memcpy(j->level, levels, (size_t)j->levels * sizeof *levels);
    int64_t day = SPR_MAX(2, INT64_C(86400000000000) / c->step_ns);
    j->forget = 1 - 1 / (double)day;
    size_t cells = row_cells(j), slots = (size_t)steps, k = (size_t)j->levels, d = sizeof(double);
    bool all = (j->points = spr__alloc(c->ctx, slots * cells, d)) &&
               (j->spread = spr__alloc(c->ctx, slots * cells, d)) &&
               (j->slot_step = spr__alloc(c->ctx, slots, sizeof(int64_t))) &&
               (j->missed = spr__alloc(c->ctx, cells * WINDOW, sizeof(float))) &&
               (j->expected = spr__alloc(c->ctx, cells * WINDOW, sizeof(float))) &&
               (j->quantile = spr__alloc(c->ctx, cells * k, d)) && (j->miss2 = spr__alloc(c->ctx, cells, d)) &&
               (j->scratch = spr__alloc(c->ctx, WINDOW + 2 * cells, d));
    for (int s = 0; s < 2 && all; s++)
        all =
            (j->said[s] = spr__alloc(c->ctx, slots * cells * k, d)) && (j->loss[s] = spr__alloc(c->ctx, cells * k, d));
    if (!all)
        return spr__nomem(c->ctx);
    for (size_t s = 0; s < slots; s++)
        j->slot_step[s] = -1;
    int64_t series = (int64_t)c->vms * c->r, history = SPR_MIN(c->opts.history_steps, NUMBERS / SPR_MAX(1, series));
    return spr__analogues_create(c->ctx, series, steps, history, &j->vms);
}

/* ---- saying ---- */

static void sum_vms(spr_controller *c, const double *now, int64_t stride, double *points, double *spread) {
    struct spr__joint *j = c->joint;
    const double *mean, *variance;
    spr__analogues_say(j->vms, now, stride, &mean, &variance);
    memset(points, 0, row_cells(j) * sizeof *points);
    memset(spread, 0, row_cells(j) * sizeof *spread);
    for (int64_t k = 0; k < (int64_t)c->vms * c->r; k++) {
        int64_t row = (int64_t)spr__fleet_vm_host(c->inventory, (int32_t)(k / c->r)) * c->r + k % c->r;
        bool predict = spr__class_predicts(c, (int32_t)(k / c->r)); /* or its present goes on */
        for (int32_t s = 0; s < j->steps; s++) {
            points[cell(j, row, s)] += mean[k * j->steps + (predict ? s : 0)];
            spread[cell(j, row, s)] += variance[k * j->steps + s];
        }
    }
}

static double scale_of(const struct spr__joint *j, size_t at, double expected) {
    double s = sqrt(expected + UNSURE * j->miss2[at]);
    return s > 0 ? s : 1;
}

static void say(struct spr__joint *j, int64_t step, const double *points, const double *spread) {
    size_t slot = slot_of(j, step), cells = row_cells(j), K = (size_t)j->levels;
    j->slot_step[slot] = step;
    memcpy(&j->points[slot * cells], points, cells * sizeof *points);
    memcpy(&j->spread[slot * cells], spread, cells * sizeof *spread);
    for (size_t at = 0; at < cells; at++) {
        double scale = scale_of(j, at, spread[at]);
        for (size_t k = 0; k < K; k++)
            j->said[1][(slot * cells + at) * K + k] = fmax(0, points[at] + scale * j->quantile[at * K + k]);
    }
}

/* ---- learning ---- */

static void refresh_cell(struct spr__joint *j, size_t at, int64_t n) {
    const float *missed = &j->missed[at * WINDOW], *expected = &j->expected[at * WINDOW];
    double *q = &j->quantile[at * (size_t)j->levels], sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)missed[i] * (double)missed[i];
    j->miss2[at] = sum / (double)n;
    for (int64_t i = 0; i < n; i++)
        j->scratch[i] = (double)missed[i] / scale_of(j, at, (double)expected[i]);
    spr__sort(j->scratch, n);
    for (int32_t k = 0; k < j->levels; k++)
        q[k] = spr__quantile_sorted(j->scratch, n, j->level[k]);
}

static void refresh(struct spr__joint *j) {
    for (int64_t row = 0; row < j->rows; row++)
        for (int32_t s = 1; s < j->steps; s++) {
            int64_t n = SPR_MIN(j->seen - (s - 1), WINDOW);
            if (n >= LEAST)
                refresh_cell(j, cell(j, row, s), n);
        }
}

/* Step `step` closed at the hosts' totals y[row * stride]: what was said of it is compared with it. */
static void learn(struct spr__joint *j, int64_t step, const double *y, int64_t stride) {
    size_t cells = row_cells(j), K = (size_t)j->levels;
    for (int32_t s = 1; s < j->steps; s++) {
        size_t slot = slot_of(j, step - s + j->steps);
        bool known = j->slot_step[slot] == step - s;
        for (int64_t row = 0; row < j->rows; row++) {
            size_t at = cell(j, row, s), was = slot * cells + at;
            int64_t n = j->seen - (s - 1);
            if (n >= 0) {
                j->missed[at * WINDOW + (size_t)(n % WINDOW)] = known ? (float)(y[row * stride] - j->points[was]) : 0;
                j->expected[at * WINDOW + (size_t)(n % WINDOW)] = known ? (float)j->spread[was] : 0;
            }
            for (int o = 0; o < 2 && known; o++)
                for (size_t k = 0; k < K; k++) {
                    double *loss = &j->loss[o][at * K + k];
                    *loss = *loss * j->forget + spr__pinball(j->level[k], y[row * stride], j->said[o][was * K + k]);
                }
        }
    }
    j->compared++;
    if (++j->seen % REFRESH == 0 || j->seen == LEAST + j->steps)
        refresh(j);
}

void spr__joint_closed(spr_controller *c, int64_t step, const double *vm_column, const double *host_column) {
    if (!c->joint)
        return;
    learn(c->joint, step, host_column, 1);
    spr__analogues_push(c->joint->vms, vm_column, 1, true);
}

/* ---- starting ---- */

/* What lies more than a window of residuals back is only remembered, the rest teaches what sums miss. */
int spr__joint_start(spr_controller *c, const struct spr_panel *past, const double *host_totals, int64_t stride,
                     int64_t first_step) {
    int64_t n = past->steps, quiet = n > 2 * WINDOW ? n - WINDOW : n / 3;
    if (n < LEAST || c->joint)
        return SPR_OK;
    int rc = make(c, c->forecast_steps, c->forecast_levels, c->forecast_level_count);
    struct spr__joint *j = c->joint;
    if (rc < 0) {
        spr__joint_destroy(c);
        return rc;
    }
    double *points = j->scratch + WINDOW, *spread = points + row_cells(j);
    int64_t row_stride = past->series_stride / (int64_t)sizeof(double);
    for (int64_t t = 0; t < n; t++) {
        const double *column = (const double *)past->data + t;
        if (t >= quiet) { /* as in the loop: the running step is known when it is asked */
            sum_vms(c, column, row_stride, points, spread);
            say(j, first_step + t, points, spread);
            learn(j, first_step + t, host_totals + t, stride);
        }
        spr__analogues_push(j->vms, column, row_stride, t >= quiet);
    }
    refresh(j);
    /* The other opinion was not asked meanwhile: both start alike. */
    for (int o = 0; o < 2; o++)
        memset(j->loss[o], 0, row_cells(j) * (size_t)j->levels * sizeof(double));
    j->compared = 0;
    for (int32_t s = 0; s < j->steps; s++)
        j->slot_step[s] = -1;
    return SPR_OK;
}

/* ---- mixing ---- */

/* The better one's loss as a share of this one's, to the sixth: (loss)^-6 without a scale. */
static double weight(double loss, double best) {
    double w = loss > 0 ? best / loss : 1;
    w = w * w * w;
    return w * w;
}

/* The sum knows of no events: where one lifts the host's own series, that alone is asked. own[cells]. */
static int find_touched(const spr_controller *c, uint8_t *own) {
    const struct spr__joint *j = c->joint;
    struct event_touches t;
    int rc = spr__event_touches(c->effects, c->running, j->steps, false, &t);
    if (rc < 0)
        return rc;
    for (int64_t row = 0; row < j->rows; row++)
        for (int32_t s = 0; s < j->steps; s++)
            own[cell(j, row, s)] =
                spr__event_touched(c->effects, row, t.items + t.first[s], t.items + t.first[s + 1], c->running + s);
    spr__event_touches_free(c->ctx, &t);
    return SPR_OK;
}

int spr__joint_mix(spr_controller *c, spr_forecast **forecast) {
    struct spr__joint *j = c->joint;
    if (!j || spr_forecast_horizon(*forecast) != j->steps || spr_forecast_level_count(*forecast) != j->levels)
        return SPR_OK;
    size_t cells = row_cells(j), K = (size_t)j->levels, slot = slot_of(j, c->running);
    double *points = j->scratch + WINDOW, *spread = points + cells;
    const double *own = spr_forecast_quantiles(*forecast);
    sum_vms(c, c->demand.now, 1, points, spread);
    memcpy(&j->said[0][slot * cells * K], own, cells * K * sizeof *own);
    say(j, c->running, points, spread);
    if (j->seen < LEAST + j->steps || j->compared < LEAST + j->steps) /* it must have shown what it is worth */
        return SPR_OK;
    double *mixed = spr__alloc(c->ctx, cells * K, sizeof *mixed);
    uint8_t *touched = spr__alloc(c->ctx, cells, 1);
    int rc = !mixed || !touched ? spr__nomem(c->ctx) : c->effects ? find_touched(c, touched) : SPR_OK;
    for (size_t k = 0; rc == SPR_OK && k < cells * K; k++) {
        double a = j->loss[0][k], b = j->loss[1][k], best = fmin(a, b), wa = weight(a, best), wb = weight(b, best);
        if (b > PROOF * a) /* an average of the two would only delay what the better one saw */
            wa = 1, wb = 0;
        bool alone = (k / K) % (size_t)j->steps == 0 || touched[k / K];
        mixed[k] = alone ? own[k] : (wa * own[k] + wb * j->said[1][slot * cells * K + k]) / (wa + wb);
    }
    spr_forecast *next = NULL;
    if (rc == SPR_OK)
        rc = spr_forecast_create(c->ctx, j->rows, j->steps, j->levels, j->level, spr_forecast_first_step(*forecast),
                                 spr_forecast_points(*forecast), mixed, &next);
    spr__free(c->ctx, mixed, cells * K, sizeof *mixed);
    spr__free(c->ctx, touched, cells, 1);
    if (rc < 0)
        return rc;
    spr_forecast_unref(*forecast);
    *forecast = next;
    return SPR_OK;
}
