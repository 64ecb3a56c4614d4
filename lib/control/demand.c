/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Demand from measurements: primary + serving shards + what the hypervisor saw stalled. With the primary alone a
 * serving shard would lower the forecast, be given back, and the system would swing.
 */
#include "control/control.h"

static size_t cells(const spr_controller *c) { return (size_t)c->vms * (size_t)c->r; }

static int32_t slots_an_hour(const spr_controller *c) {
    int64_t n = INT64_C(3600000000000) / c->step_ns;
    return n < 1 ? 1 : n > 240 ? 240 : (int32_t)n;
}

int spr__demand_init(spr_controller *c, const spr_fleet *inventory) {
    struct demand *d = &c->demand;
    struct totals *t = &c->totals;
    c->hosts = inventory->inventory->host_count;
    c->vms = inventory->inventory->vm_count;
    c->r = inventory->inventory->R;
    size_t n = cells(c), v = (size_t)c->vms, hr = (size_t)c->hosts * (size_t)c->r;
    d->hour_slots = slots_an_hour(c);
    t->rows = (int64_t)hr;
    t->room = 2 * c->opts.history_steps;
    bool all =
        (d->now = spr__alloc(c->ctx, n, sizeof(double))) && (d->served = spr__alloc(c->ctx, n, sizeof(double))) &&
        (d->sum = spr__alloc(c->ctx, n, sizeof(double))) && (d->weight_s = spr__alloc(c->ctx, n, sizeof(double))) &&
        (d->uncensored = spr__alloc(c->ctx, n, sizeof(double))) &&
        (d->mean_hour = spr__alloc(c->ctx, n, sizeof(double))) &&
        (d->hour = spr__alloc(c->ctx, n * (size_t)d->hour_slots, sizeof(double))) &&
        (d->censored = spr__alloc(c->ctx, v, sizeof(uint32_t))) &&
        (d->seen_mono_ns = spr__alloc(c->ctx, v, sizeof(int64_t))) &&
        (t->data = spr__alloc(c->ctx, hr * (size_t)t->room, sizeof(double))) &&
        (t->resource = spr__alloc(c->ctx, hr, sizeof *t->resource)) &&
        (c->column = spr__alloc(c->ctx, hr, sizeof(double)));
    all = all && spr__classes_start(c) == SPR_OK;
    c->running = -1;
    /* Never seen is older than anything, wherever the monotonic clock has its zero. */
    for (size_t k = 0; all && k < v; k++)
        d->seen_mono_ns[k] = INT64_MIN;
    for (size_t k = 0; all && k < hr; k++)
        t->resource[k] = inventory->inventory->resource[k % (size_t)c->r];
    return all ? SPR_OK : spr__nomem(c->ctx);
}

void spr__demand_finish(spr_controller *c) {
    struct demand *d = &c->demand;
    size_t n = cells(c), v = (size_t)c->vms, hr = (size_t)c->hosts * (size_t)c->r;
    spr__free(c->ctx, d->now, n, sizeof(double));
    spr__free(c->ctx, d->served, n, sizeof(double));
    spr__free(c->ctx, d->sum, n, sizeof(double));
    spr__free(c->ctx, d->weight_s, n, sizeof(double));
    spr__free(c->ctx, d->uncensored, n, sizeof(double));
    spr__free(c->ctx, d->mean_hour, n, sizeof(double));
    spr__free(c->ctx, d->hour, n * (size_t)d->hour_slots, sizeof(double));
    spr__free(c->ctx, d->censored, v, sizeof(uint32_t));
    spr__free(c->ctx, d->seen_mono_ns, v, sizeof(int64_t));
    spr__free(c->ctx, c->totals.data, hr * (size_t)c->totals.room, sizeof(double));
    spr__free(c->ctx, c->totals.resource, hr, sizeof *c->totals.resource);
    spr__free(c->ctx, c->column, hr, sizeof(double));
    spr__classes_finish(c);
    memset(d, 0, sizeof *d);
    memset(&c->totals, 0, sizeof c->totals);
    c->column = NULL;
}

/* ---- totals ---- */

/* One more column; the oldest one goes when history_steps are kept. */
static void totals_push(spr_controller *c, const double *column, int64_t step) {
    struct totals *t = &c->totals;
    if (!t->count)
        t->first_step = step;
    if (t->first + t->count == t->room) { /* slide back to the start of the buffer */
        for (int64_t k = 0; k < t->rows; k++)
            memmove(&t->data[k * t->room], &t->data[k * t->room + t->first], (size_t)t->count * sizeof(double));
        t->first = 0;
    }
    for (int64_t k = 0; k < t->rows; k++)
        t->data[k * t->room + t->first + t->count] = column[k];
    t->count++;
    if (t->count > c->opts.history_steps) {
        t->first++;
        t->first_step++;
        t->count--;
    }
}

/* ---- steps ---- */

static double running_mean(const struct demand *d, size_t i) {
    return d->weight_s[i] > 0 ? d->sum[i] / d->weight_s[i] : d->now[i];
}

/* The running step is over: its means become history. A VM that was not seen in it keeps its last value. */
static int close_step(spr_controller *c) {
    struct demand *d = &c->demand;
    size_t n = cells(c);
    memset(c->column, 0, (size_t)c->totals.rows * sizeof(double));
    double *slot = &d->hour[(size_t)d->hour_next * n];
    for (int32_t v = 0; v < c->vms; v++)
        for (int32_t i = 0; i < c->r; i++) {
            size_t k = (size_t)v * (size_t)c->r + (size_t)i;
            slot[k] = running_mean(d, k);
            if (!(d->weight_s[k] > 0) || (d->censored[v] >> c->inventory->inventory->resource[i] & 1))
                spr__gate_unseen(c, (int64_t)spr__fleet_vm_host(c->inventory, v) * c->r + i);
            c->column[spr__fleet_vm_host(c->inventory, v) * c->r + i] += slot[k];
            d->sum[k] = d->weight_s[k] = 0;
        }
    d->hour_next = (d->hour_next + 1) % d->hour_slots;
    d->hour_count = SPR_MIN(d->hour_count + 1, d->hour_slots);
    totals_push(c, c->column, c->running);
    c->running++;
    return spr__step_closed(c, c->column, slot);
}

/* Mean of the last hour, the running step included. */
static double mean_hour(const spr_controller *c, size_t k) {
    const struct demand *d = &c->demand;
    int32_t n = SPR_MIN(d->hour_count, d->hour_slots - 1);
    double sum = running_mean(d, k);
    for (int32_t j = 1; j <= n; j++)
        sum += d->hour[(size_t)((d->hour_next - j + d->hour_slots) % d->hour_slots) * cells(c) + k];
    return sum / (n + 1);
}

/* ---- samples ---- */

static void take_one(spr_controller *c, const struct spr_usage *u, double seconds, int64_t mono_ns) {
    struct demand *d = &c->demand;
    int32_t i = u->resource >= 0 && u->resource < SPR_RESOURCES_MAX ? c->inventory->inventory->slot[u->resource] : -1;
    if (u->vm < 0 || u->vm >= c->vms || i < 0)
        return;
    double used = u->used + u->served;
    bool known = u->flags & SPR_USAGE_STALL_KNOWN, bound = (u->flags & SPR_USAGE_THROTTLED) && !known;
    if (!(u->used >= 0) || !(u->served >= 0) || isinf(used) || (known && !(u->stalled >= 0 && !isinf(u->stalled))))
        return; /* no measurement: the VM counts as not seen */
    size_t k = (size_t)u->vm * (size_t)c->r + (size_t)i;
    double value = used + (known ? u->stalled : 0);
    if (bound)
        value = fmax(value, d->uncensored[k]); /* it wanted at least what it wanted before it was held back */
    else
        d->uncensored[k] = value;
    d->censored[u->vm] = (d->censored[u->vm] & ~(UINT32_C(1) << u->resource)) | (uint32_t)bound << u->resource;
    d->now[k] = value;
    d->served[k] = u->served;
    d->sum[k] += value * seconds;
    d->weight_s[k] += seconds;
    d->seen_mono_ns[u->vm] = mono_ns;
}

int spr__demand_take(spr_controller *c, const struct spr_source_completion *s) {
    double seconds = (double)(s->to.mono_ns - s->from.mono_ns) * 1e-9;
    if (!(seconds > 0))
        return SPR_OK;
    int64_t middle = s->to.wall_ns - (s->to.mono_ns - s->from.mono_ns) / 2, step = middle / c->step_ns;
    int rc = SPR_OK;
    if (c->running < 0)
        c->running = step;
    int64_t apart = step - c->running;
    if (apart < 0 && apart >= -c->opts.history_steps)
        spr__log(c->ctx, SPR_LOG_WARN, "control", NULL,
                 "the wall clock went back by %lld steps: samples count for the running step", (long long)-apart);
    /* The clock jumped, or nobody looked for weeks: begin anew. What the forecast says is of another time. */
    if (apart > c->opts.history_steps || apart < -c->opts.history_steps) {
        spr__log(c->ctx, SPR_LOG_WARN, "control", NULL, "%lld steps without samples: history begins anew",
                 (long long)apart);
        c->totals.count = 0;
        c->running = step;
        c->forecaster_fresh = false;
        spr_forecast_unref(c->forecast);
        c->forecast = NULL;
    }
    while (c->running < step && rc >= 0)
        rc = close_step(c);
    for (size_t k = 0; k < s->usage_count; k++)
        take_one(c, &s->usage[k], seconds, s->to.mono_ns);
    for (size_t k = 0, n = cells(c); k < n; k++)
        c->demand.mean_hour[k] = mean_hour(c, k);
    return rc;
}

/* ---- history ---- */

struct past {
    spr_controller *c;
    const double *data;
    int64_t stride, first, steps;
    int64_t *row;   /* [vm][r] row of the series, -1 = none */
    double *factor; /* [vm][r] */
    double *panel;  /* [vm][r][step] gaps held */
};

static double past_value(const struct past *p, size_t k, int64_t t, double *last) {
    if (p->row[k] < 0)
        return 0;
    double y = p->data[p->row[k] * p->stride + t] * p->factor[k];
    if (!isnan(y))
        *last = y;
    return *last;
}

/* Before its first value a series counts with that value: gaps hold. */
static double first_value(const struct past *p, size_t k) {
    for (int64_t t = 0; p->row[k] >= 0 && t < p->first + p->steps; t++)
        if (!isnan(p->data[p->row[k] * p->stride + t]))
            return p->data[p->row[k] * p->stride + t] * p->factor[k];
    return 0;
}

static void teach(struct past *p) {
    spr_controller *c = p->c;
    struct demand *d = &c->demand;
    size_t n = cells(c);
    for (size_t k = 0; k < n; k++)
        d->now[k] = first_value(p, k);
    for (int64_t t = p->first; t < p->first + p->steps; t++) {
        memset(c->column, 0, (size_t)c->totals.rows * sizeof(double));
        double *slot = &d->hour[(size_t)d->hour_next * n];
        for (int32_t v = 0; v < c->vms; v++)
            for (int32_t i = 0; i < c->r; i++) {
                size_t k = (size_t)v * (size_t)c->r + (size_t)i;
                slot[k] = past_value(p, k, t, &d->now[k]);
                p->panel[k * (size_t)p->steps + (size_t)(t - p->first)] = slot[k];
                c->column[spr__fleet_vm_host(c->inventory, v) * c->r + i] += slot[k];
            }
        d->hour_next = (d->hour_next + 1) % d->hour_slots;
        d->hour_count = SPR_MIN(d->hour_count + 1, d->hour_slots);
        totals_push(c, c->column, c->running++);
    }
    memcpy(d->uncensored, d->now, n * sizeof(double));
}

/* As many of the taught steps as the totals still hold. */
static int start_joint(spr_controller *c, const struct past *p) {
    int64_t kept = SPR_MIN(c->totals.count, p->steps);
    struct spr_panel panel = {.size = sizeof panel,
                              .data = p->panel + (p->steps - kept),
                              .dtype = SPR_F64,
                              .series = (int64_t)cells(c),
                              .steps = kept,
                              .series_stride = p->steps * (int64_t)sizeof(double),
                              .step_stride = sizeof(double)};
    return spr__joint_start(c, &panel, c->totals.data + c->totals.first + (c->totals.count - kept), c->totals.room,
                            c->running - kept);
}

int spr_controller_history(spr_controller *c, const spr_series *series, int64_t first, int64_t last) {
    if (!c)
        return SPR_E_ARG;
    if (!series || first < 0 || last < first || last > spr_series_steps(series))
        return spr__fail(c->ctx, SPR_E_ARG, "spr_controller_history: steps [%lld, %lld) are not in the series",
                         (long long)first, (long long)last);
    if (!c->inventory || c->history_given || c->running >= 0)
        return spr__fail(c->ctx, SPR_E_STATE, "history is taught once, after the inventory came and before samples do");
    if (spr_series_step_ns(series) != c->step_ns || spr_series_origin_ns(series) % c->step_ns)
        return spr__fail(c->ctx, SPR_E_ARG, "the series' grid is not the controller's: step %lld ns against %lld ns",
                         (long long)spr_series_step_ns(series), (long long)c->step_ns);
    struct spr_panel view = {.size = sizeof view};
    int rc = spr_series_view(series, SPR_SERIES_MEAN, &view);
    if (rc < 0)
        return rc;
    size_t n = cells(c);
    struct past p = {c, view.data, view.series_stride / (int64_t)sizeof(double), first, last - first, NULL, NULL, NULL};
    p.row = spr__alloc(c->ctx, n, sizeof *p.row);
    p.factor = spr__alloc(c->ctx, n, sizeof *p.factor);
    p.panel = spr__alloc(c->ctx, n * (size_t)p.steps, sizeof *p.panel);
    rc = p.row && p.factor && p.panel ? SPR_OK : spr__nomem(c->ctx);
    for (size_t k = 0; k < n && rc == SPR_OK; k++) {
        const struct spr__fleet_inventory *inv = c->inventory->inventory;
        struct spr_series_info info = {.size = sizeof info};
        p.row[k] = -1;
        if (spr_series_find(series, inv->vms[k / (size_t)c->r].id, inv->resource[k % (size_t)c->r], NULL, &p.row[k]) <
            0)
            p.row[k] = -1;
        else if (spr_series_info(series, p.row[k], &info) == SPR_OK)
            p.factor[k] = info.unit_factor;
    }
    if (rc == SPR_OK && last > first) {
        c->running = spr_series_origin_ns(series) / c->step_ns + first;
        teach(&p);
        c->history_given = true;
        rc = spr__classes_learn(c, series, first, last);
        if (rc == SPR_OK)
            rc = spr__forecaster_start(c);
        if (rc == SPR_OK && c->forecaster && c->opts.joint != SPR_NONE)
            rc = start_joint(c, &p);
    }
    spr__free(c->ctx, p.panel, n * (size_t)p.steps, sizeof *p.panel);
    spr__free(c->ctx, p.row, n, sizeof *p.row);
    spr__free(c->ctx, p.factor, n, sizeof *p.factor);
    return rc;
}
