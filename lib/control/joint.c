/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The joint sum: a second opinion on a host's total, from its VMs. Each VM has a Holt-Winters forecast of its own; the
 * sum of their points gets the quantiles of what such sums missed before, all VMs of the host at the same instant, so
 * their correlation is kept (percentiles are never summed). It is mixed with the forecast of the host's own series
 * per host, step ahead and level by (recent pinball loss)^-6.
 */
#include "control/control.h"

#define WINDOW  2016 /* residuals kept per host and step ahead */
#define LEAST   24   /* so many before the opinion counts */
#define REFRESH 12   /* steps between looks at the residuals' quantiles */

struct spr__joint {
    spr_forecaster *vms;
    int64_t rows;          /* hosts * r */
    int32_t steps, levels; /* of the hosts' forecast: step 0 is the running one */
    double level[64], forget;
    double *points;     /* [slot][row][step] what the sum said; slot = step index % steps */
    double *said[2];    /* [slot][row][step][level] quantiles of the host's series and of the sum */
    int64_t *slot_step; /* [slot] whose step it is, -1 = nobody's */
    double *missed;     /* [row][step][WINDOW] residuals, a ring */
    int64_t seen;       /* residuals per ring so far, of step 1; step j has j - 1 fewer */
    double *quantile;   /* [row][step][level] of the residuals */
    double *loss[2];    /* [row][step][level] */
    int64_t compared;   /* steps both were scored on */
    int64_t day;        /* steps */
    double *scratch;    /* WINDOW, then [row][step] */
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
    spr_forecaster_destroy(j->vms);
    spr__free(c->ctx, j->points, slots * cells, d);
    spr__free(c->ctx, j->slot_step, slots, sizeof(int64_t));
    spr__free(c->ctx, j->missed, cells * WINDOW, d);
    spr__free(c->ctx, j->quantile, cells * k, d);
    spr__free(c->ctx, j->scratch, WINDOW + cells, d);
    for (int s = 0; s < 2; s++) {
        spr__free(c->ctx, j->said[s], slots * cells * k, d);
        spr__free(c->ctx, j->loss[s], cells * k, d);
    }
    spr__free(c->ctx, j, 1, sizeof *j);
    c->joint = NULL;
}

static int make(spr_controller *c, int32_t steps, const double *levels, int32_t level_count) {
    struct spr__joint *j = spr__alloc(c->ctx, 1, sizeof *j);
    struct spr_forecaster_opts o = SPR_FORECASTER_OPTS_INIT;
    struct spr_holt_winters_opts hw = {.size = sizeof hw,
                                       .trend = SPR_HW_TREND_NONE,
                                       .season = SPR_HW_SEASON_ADDITIVE,
                                       .robust = SPR_HW_ROBUST_NEVER};
    if (!j)
        return spr__nomem(c->ctx);
    c->joint = j;
    j->rows = (int64_t)c->hosts * c->r;
    j->steps = steps;
    j->levels = SPR_MIN(level_count, (int32_t)SPR_ARRAY_LEN(j->level));
    memcpy(j->level, levels, (size_t)j->levels * sizeof *levels);
    j->day = SPR_MAX(1, INT64_C(86400000000000) / c->step_ns);
    j->forget = 1 - 1 / (double)SPR_MAX(j->day, 2);
    size_t cells = row_cells(j), slots = (size_t)steps, k = (size_t)j->levels, d = sizeof(double);
    bool all = (j->points = spr__alloc(c->ctx, slots * cells, d)) &&
               (j->slot_step = spr__alloc(c->ctx, slots, sizeof(int64_t))) &&
               (j->missed = spr__alloc(c->ctx, cells * WINDOW, d)) &&
               (j->quantile = spr__alloc(c->ctx, cells * k, d)) && (j->scratch = spr__alloc(c->ctx, WINDOW + cells, d));
    for (int s = 0; s < 2 && all; s++)
        all =
            (j->said[s] = spr__alloc(c->ctx, slots * cells * k, d)) && (j->loss[s] = spr__alloc(c->ctx, cells * k, d));
    if (!all)
        return spr__nomem(c->ctx);
    for (size_t s = 0; s < slots; s++)
        j->slot_step[s] = -1;
    o.step_ns = c->step_ns;
    o.horizon = steps;
    o.level_count = 1;
    static const double median = 0.5;
    o.levels = &median;
    o.config = &hw;
    return spr_forecaster_create(c->ctx, spr_forecaster_holt_winters(), &o, &j->vms);
}

/* ---- saying ---- */

static int sum_points(spr_controller *c, const double *now, double *out) {
    struct spr__joint *j = c->joint;
    spr_forecast *f = NULL;
    int rc = spr_forecaster_predict(j->vms, now, &f);
    if (rc < 0)
        return rc;
    const double *p = spr_forecast_points(f);
    memset(out, 0, row_cells(j) * sizeof *out);
    for (int64_t k = 0; k < (int64_t)c->vms * c->r; k++) {
        int64_t row = (int64_t)spr__fleet_vm_host(c->inventory, (int32_t)(k / c->r)) * c->r + k % c->r;
        for (int32_t s = 0; s < j->steps; s++)
            out[cell(j, row, s)] += p[k * j->steps + s];
    }
    spr_forecast_unref(f);
    return SPR_OK;
}

static void say(struct spr__joint *j, int64_t step, const double *points) {
    size_t slot = slot_of(j, step), cells = row_cells(j);
    j->slot_step[slot] = step;
    memcpy(&j->points[slot * cells], points, cells * sizeof *points);
    for (size_t k = 0; k < cells * (size_t)j->levels; k++)
        j->said[1][slot * cells * (size_t)j->levels + k] = points[k / (size_t)j->levels] + j->quantile[k];
}

/* ---- learning ---- */

static void refresh(struct spr__joint *j) {
    for (int64_t row = 0; row < j->rows; row++)
        for (int32_t s = 1; s < j->steps; s++) {
            int64_t n = SPR_MIN(j->seen - (s - 1), WINDOW);
            double *q = &j->quantile[cell(j, row, s) * (size_t)j->levels];
            if (n < LEAST)
                continue;
            memcpy(j->scratch, &j->missed[cell(j, row, s) * WINDOW], (size_t)n * sizeof *q);
            spr__sort(j->scratch, n);
            for (int32_t k = 0; k < j->levels; k++)
                q[k] = spr__quantile_sorted(j->scratch, n, j->level[k]);
        }
}

static double pinball(double level, double y, double q) { return y > q ? level * (y - q) : (level - 1) * (y - q); }

/* Step `step` closed at the hosts' totals y: what was said of it is compared with it. */
static void learn(struct spr__joint *j, int64_t step, const double *y) {
    size_t cells = row_cells(j), K = (size_t)j->levels;
    for (int32_t s = 1; s < j->steps; s++) {
        size_t slot = slot_of(j, step - s + j->steps);
        bool known = j->slot_step[slot] == step - s;
        for (int64_t row = 0; row < j->rows; row++) {
            size_t at = cell(j, row, s);
            int64_t n = j->seen - (s - 1);
            double missed = known ? y[row] - j->points[slot * cells + at] : 0;
            if (n >= 0)
                j->missed[at * WINDOW + (size_t)(n % WINDOW)] = missed;
            for (int o = 0; o < 2 && known; o++)
                for (size_t k = 0; k < K; k++) {
                    double *loss = &j->loss[o][at * K + k];
                    *loss = *loss * j->forget + pinball(j->level[k], y[row], j->said[o][(slot * cells + at) * K + k]);
                }
        }
    }
    j->compared++;
    if (++j->seen % REFRESH == 0 || j->seen == LEAST + j->steps)
        refresh(j);
}

int spr__joint_closed(spr_controller *c, int64_t step, const double *vm_column, const double *host_column) {
    struct spr__joint *j = c->joint;
    if (!j)
        return SPR_OK;
    learn(j, step, host_column);
    struct spr_panel p = {.size = sizeof p,
                          .data = vm_column,
                          .dtype = SPR_F64,
                          .series = (int64_t)c->vms * c->r,
                          .steps = 1,
                          .series_stride = sizeof(double),
                          .step_stride = sizeof(double)};
    return spr_forecaster_update(j->vms, &p);
}

/* ---- starting ---- */

/* The first three quarters (all but three days, where there is more) fit, the rest teaches what sums miss. */
int spr__joint_start(spr_controller *c, const struct spr_panel *past, const double *host_totals, int64_t stride,
                     int64_t first_step) {
    int64_t day = INT64_C(86400000000000) / c->step_ns, n = past->steps, fit = n >= 6 * day ? n - 3 * day : n * 3 / 4;
    struct spr_panel head = *past, one = *past;
    int32_t steps = c->forecast_steps;
    if (fit < 8 || c->joint)
        return SPR_OK;
    int rc = make(c, steps, c->forecast_levels, c->forecast_level_count);
    head.steps = fit;
    if (rc == SPR_OK)
        rc = spr_forecaster_fit(c->joint->vms, &head, first_step, 0);
    one.steps = 1;
    for (int64_t t = fit; t < n && rc == SPR_OK; t++) {
        /* As in the loop: the running step is known when it is asked. */
        double *points = c->joint->scratch + WINDOW;
        one.data = (const char *)past->data + t * past->step_stride;
        double *now = spr__alloc(c->ctx, (size_t)past->series, sizeof *now), *y = c->column;
        if (!now)
            return spr__nomem(c->ctx);
        for (int64_t k = 0; k < past->series; k++)
            memcpy(&now[k], (const char *)one.data + k * past->series_stride, sizeof *now);
        for (int64_t row = 0; row < c->joint->rows; row++)
            y[row] = host_totals[row * stride + t];
        if ((rc = sum_points(c, now, points)) == SPR_OK) {
            say(c->joint, first_step + t, points);
            c->joint->slot_step[slot_of(c->joint, first_step + t)] = first_step + t;
            learn(c->joint, first_step + t, y);
            rc = spr_forecaster_update(c->joint->vms, &one);
        }
        spr__free(c->ctx, now, (size_t)past->series, sizeof *now);
    }
    if (rc == SPR_OK) { /* the other opinion was not asked meanwhile: both start alike */
        refresh(c->joint);
        for (int o = 0; o < 2; o++)
            memset(c->joint->loss[o], 0, row_cells(c->joint) * (size_t)c->joint->levels * sizeof(double));
        c->joint->compared = 0;
        for (int32_t s = 0; s < steps; s++)
            c->joint->slot_step[s] = -1;
    }
    if (rc == SPR_E_HISTORY) { /* VMs without any value: no second opinion */
        spr__joint_destroy(c);
        rc = SPR_OK;
    }
    return rc;
}

/* ---- mixing ---- */

int spr__joint_mix(spr_controller *c, spr_forecast **forecast) {
    struct spr__joint *j = c->joint;
    if (!j || spr_forecast_horizon(*forecast) != j->steps || spr_forecast_level_count(*forecast) != j->levels)
        return SPR_OK;
    size_t cells = row_cells(j), K = (size_t)j->levels, slot = slot_of(j, c->running);
    double *points = j->scratch + WINDOW;
    const double *own = spr_forecast_quantiles(*forecast);
    int rc = sum_points(c, c->demand.now, points);
    if (rc < 0)
        return rc;
    memcpy(&j->said[0][slot * cells * K], own, cells * K * sizeof *own);
    say(j, c->running, points);
    if (j->seen < LEAST + j->steps || j->compared < j->day) /* it must have shown for a day what it is worth */
        return SPR_OK;
    double *mixed = spr__alloc(c->ctx, cells * K, sizeof *mixed);
    if (!mixed)
        return spr__nomem(c->ctx);
    for (size_t k = 0; k < cells * K; k++) {
        double a = j->loss[0][k], b = j->loss[1][k], best = fmin(a, b);
        double wa = a > 0 ? best / a : 1, wb = b > 0 ? best / b : 1;
        wa = pow(wa, 6), wb = pow(wb, 6);
        bool running = (k / K) % (size_t)j->steps == 0;
        mixed[k] = running ? own[k] : (wa * own[k] + wb * j->said[1][slot * cells * K + k]) / (wa + wb);
    }
    spr_forecast *next = NULL;
    rc = spr_forecast_create(c->ctx, j->rows, j->steps, j->levels, j->level, spr_forecast_first_step(*forecast),
                             spr_forecast_points(*forecast), mixed, &next);
    spr__free(c->ctx, mixed, cells * K, sizeof *mixed);
    if (rc < 0)
        return rc;
    spr_forecast_unref(*forecast);
    *forecast = next;
    return SPR_OK;
}
