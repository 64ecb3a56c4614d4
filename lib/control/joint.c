/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The joint sum: a second opinion on a host's total, from its VMs. What each VM may do next is looked up among its own
 * past (lib/forecast/analogue.h); the means are summed per host, and the sum gets the quantiles of what such sums
 * missed before in units of how sure they were, all VMs of the host at the same instant, so their correlation is kept
 * (percentiles are never summed). It is mixed with the forecast of the host's own series per host, step ahead and level
 * by (recent pinball loss)^-6 where it has proved to be better than it. Where a trained model has a say in the hosts'
 * own forecast, the answers with it and without it are compared in the end too, and it must lower the final loss.
 */
#include "control/control.h"
#include "forecast/analogue.h"
#include "forecast/event.h"
#include "forecast/forecast.h"

#define WINDOW  2016 /* residuals kept per host and step ahead */
#define LEAST   24   /* so many before the opinion counts */
#define REFRESH 12   /* steps between looks at the residuals' quantiles */
#define PROOF   0.99 /* the sum counts where it loses at most so much of what the host's own series loses */
#define UNSURE  0.25 /* share of the mean squared miss that is added to what the VMs expect of themselves */
#define NUMBERS (INT64_C(1) << 26) /* most that the VMs' histories may take together */

/* Who is compared: the hosts' own forecast and the sum; with a model also the hosts' own without it, and both answers
 * that the sum is mixed into. */
enum { OWN, SUM, PLAIN, ANSWER_PLAIN, ANSWER_OWN, VOICES };

struct spr__joint {
    struct spr__analogues *vms;
    int64_t rows;          /* hosts * r */
    int32_t steps, levels; /* of the hosts' forecast: step 0 is the running one */
    double level[64], forget;
    double *points,
        *spread;          /* [slot][row][step] what the sum said, and the variance it expected; slot = step % steps */
    int voices;           /* SUM + 1, or VOICES */
    double *said[VOICES]; /* [slot][row][step][level] quantiles */
    int64_t *slot_step;   /* [slot] whose step it is, -1 = nobody's */
    float *missed, *expected; /* [row][step][WINDOW] residuals and the variances expected then, rings */
    int64_t seen;             /* residuals per ring so far, of step 1; step j has j - 1 fewer */
    double *quantile;         /* [row][step][level] of residuals in units of their scale */
    double *miss2;            /* [row][step] mean squared miss */
    double *loss[VOICES];     /* [row][step][level] */
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
    for (int s = 0; s < j->voices; s++) {
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
    j->voices = spr__forecaster_without_model(c->forecaster) ? VOICES : SUM + 1;
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
    for (int s = 0; s < j->voices && all; s++)
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
            j->said[SUM][(slot * cells + at) * K + k] = fmax(0, points[at] + scale * j->quantile[at * K + k]);
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
            for (int o = 0; o < j->voices && known; o++)
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
    /* The other voices were not asked meanwhile: all start alike. */
    for (int o = 0; o < j->voices; o++)
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

/* The hosts' own forecast, or that without the model, and the sum where the own is not to stand alone. */
static void blend(const struct spr__joint *j, int host, size_t slot, const uint8_t *alone, double *out) {
    size_t cells = row_cells(j), K = (size_t)j->levels;
    const double *own = &j->said[host][slot * cells * K], *sum = &j->said[SUM][slot * cells * K];
    bool proved = j->seen >= LEAST + j->steps && j->compared >= LEAST + j->steps;
    for (size_t k = 0; k < cells * K; k++) {
        double a = j->loss[host][k], b = j->loss[SUM][k], best = fmin(a, b), wa = weight(a, best), wb = weight(b, best);
        if (b > PROOF * a) /* an average of the two would only delay what the better one saw */
            wa = 1, wb = 0;
        bool running = (k / K) % (size_t)j->steps == 0;
        out[k] = running || !proved || alone[k / K] ? own[k] : (wa * own[k] + wb * sum[k]) / (wa + wb);
    }
}

/* Level by level the answer with the model where it has lost less, all hosts of a resource together. */
static void choose(const struct spr__joint *j, int32_t resources, size_t slot, double *out) {
    size_t cells = row_cells(j), K = (size_t)j->levels, row = (size_t)j->steps * K, r = (size_t)resources;
    const double *with = &j->said[ANSWER_OWN][slot * cells * K];
    memcpy(out, &j->said[ANSWER_PLAIN][slot * cells * K], cells * K * sizeof *out);
    for (size_t x = 0; x < r * row; x++) {
        double plain = 0, own = 0;
        for (size_t k = x; k < cells * K; k += r * row)
            plain += j->loss[ANSWER_PLAIN][k], own += j->loss[ANSWER_OWN][k];
        for (size_t k = x; k < cells * K && plain > 0 && own <= PROOF * plain; k += r * row)
            out[k] = with[k];
    }
    for (size_t k = 1; k < cells * K; k++)
        if (k % K && out[k] < out[k - 1])
            out[k] = out[k - 1];
}

int spr__joint_mix(spr_controller *c, spr_forecast **forecast) {
    struct spr__joint *j = c->joint;
    if (!j || spr_forecast_horizon(*forecast) != j->steps || spr_forecast_level_count(*forecast) != j->levels)
        return SPR_OK;
    size_t cells = row_cells(j), K = (size_t)j->levels, slot = slot_of(j, c->running), at = slot * cells * K;
    double *points = j->scratch + WINDOW, *spread = points + cells;
    const double *plain = spr__forecaster_without_model(c->forecaster);
    sum_vms(c, c->demand.now, 1, points, spread);
    memcpy(&j->said[OWN][at], spr_forecast_quantiles(*forecast), cells * K * sizeof *plain);
    say(j, c->running, points, spread);
    double *mixed = spr__alloc(c->ctx, cells * K, sizeof *mixed);
    uint8_t *touched = spr__alloc(c->ctx, cells, 1);
    int rc = !mixed || !touched ? spr__nomem(c->ctx) : c->effects ? find_touched(c, touched) : SPR_OK;
    if (rc == SPR_OK && plain && j->voices == VOICES) {
        memcpy(&j->said[PLAIN][at], plain, cells * K * sizeof *plain);
        blend(j, PLAIN, slot, touched, &j->said[ANSWER_PLAIN][at]);
        blend(j, OWN, slot, touched, &j->said[ANSWER_OWN][at]);
        choose(j, c->r, slot, mixed);
    } else if (rc == SPR_OK)
        blend(j, OWN, slot, touched, mixed);
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
