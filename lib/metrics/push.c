/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The hot path of the collector. Most traces have one sample a step, always at the same offset inside it: such
 * a row keeps a bare array of values. The first sample that breaks the pattern gives the row `cells`, which
 * remember enough of each step to replace its newest sample exactly when the same time comes again.
 */
#include "metrics/metrics.h"

enum { JUMP_STEPS = 1000, FIRST_CAP = 64 };

static void fill_nan(double *a, size_t from, size_t to) {
    for (size_t i = from; i < to; i++)
        a[i] = NAN;
}

/* All arrays of a row have the same room; they are replaced together or not at all. */
static int row_resize(const spr_context *ctx, struct spr__row *r, size_t n) {
    struct spr__row g = {0};
    bool ok = (g.sum = spr__alloc(ctx, n, sizeof *g.sum)) &&
              (!r->cells || (g.cells = spr__alloc(ctx, n, sizeof *g.cells))) &&
              (!r->max || (g.max = spr__alloc(ctx, n, sizeof *g.max))) &&
              (!r->censored || (g.censored = spr__alloc(ctx, (n + 7) / 8, 1)));
    if (!ok) {
        spr__free(ctx, g.sum, n, sizeof *g.sum);
        spr__free(ctx, g.cells, n, sizeof *g.cells);
        spr__free(ctx, g.max, n, sizeof *g.max);
        return spr__nomem(ctx);
    }
    if (r->cap)
        memcpy(g.sum, r->sum, r->cap * sizeof *g.sum);
    fill_nan(g.sum, r->cap, n);
    if (g.cells)
        memcpy(g.cells, r->cells, r->cap * sizeof *g.cells);
    if (g.max) {
        memcpy(g.max, r->max, r->cap * sizeof *g.max);
        fill_nan(g.max, r->cap, n);
    }
    if (g.censored)
        memcpy(g.censored, r->censored, (r->cap + 7) / 8);
    spr__free(ctx, r->sum, r->cap, sizeof *r->sum);
    spr__free(ctx, r->cells, r->cap, sizeof *r->cells);
    spr__free(ctx, r->max, r->cap, sizeof *r->max);
    spr__free(ctx, r->censored, (r->cap + 7) / 8, 1);
    r->sum = g.sum, r->cells = g.cells, r->max = g.max, r->censored = g.censored;
    r->cap = n;
    return SPR_OK;
}

static int row_reserve(const spr_metrics *m, struct spr__row *r, int64_t steps) {
    if ((size_t)steps <= r->cap)
        return SPR_OK;
    size_t n = r->cap ? r->cap : (size_t)SPR_MAX(m->steps, FIRST_CAP);
    while (n < (size_t)steps)
        n *= 2;
    return row_resize(m->ctx, r, n);
}

/* Give a row its cells: every value so far was the only sample of its step, at the row's phase. */
static int make_cells(const spr_metrics *m, struct spr__row *r) {
    if (!(r->cells = spr__alloc(m->ctx, r->cap, sizeof *r->cells)))
        return spr__nomem(m->ctx);
    for (size_t i = 0; i < r->cap; i++)
        if (!isnan(r->sum[i]))
            r->cells[i] =
                (struct spr__cell){m->origin_ns + (int64_t)i * m->step_ns + r->phase_ns, 0, NAN, r->sum[i], 1, 0};
    return SPR_OK;
}

static void cell_put(struct spr_metrics *m, struct spr__row *r, int64_t step, int64_t wall_ns, double value) {
    struct spr__cell *c = &r->cells[step];
    if (c->count && c->newest_ns == wall_ns) {
        m->notes.duplicates++;
    } else {
        c->sum_before = c->count ? r->sum[step] : 0;
        c->max_before = c->count ? c->max : NAN;
        c->newest_ns = wall_ns;
        c->count++;
    }
    r->sum[step] = c->count > 1 ? c->sum_before + value : value;
    c->max = fmax(c->max_before, value);
}

/* A given maximum: the largest of the step's times counts; the newest time again replaces its value. */
static int put_max(struct spr_metrics *m, struct spr__row *r, int64_t step, int64_t wall_ns, double value) {
    if (!r->max) {
        if (!(r->max = spr__alloc(m->ctx, r->cap, sizeof *r->max)))
            return spr__nomem(m->ctx);
        fill_nan(r->max, 0, r->cap);
    }
    if (wall_ns > r->newest_max_ns) {
        r->max_before = r->max[step];
        r->newest_max_ns = wall_ns;
    }
    r->max[step] = fmax(wall_ns == r->newest_max_ns ? r->max_before : r->max[step], value);
    return SPR_OK;
}

static int put_value(struct spr_metrics *m, struct spr__row *r, int64_t step, int64_t wall_ns, double value) {
    int64_t phase = wall_ns - m->origin_ns - step * m->step_ns;
    if (r->last < r->first)
        r->phase_ns = phase;
    if (!r->cells && phase != r->phase_ns) {
        int rc = make_cells(m, r);
        if (rc < 0)
            return rc;
    }
    if (r->cells) {
        cell_put(m, r, step, wall_ns, value);
    } else {
        m->notes.duplicates += !isnan(r->sum[step]);
        r->sum[step] = value;
    }
    r->first = r->last < r->first ? step : SPR_MIN(r->first, step);
    r->last = SPR_MAX(r->last, step);
    return SPR_OK;
}

static int mark_censored(const spr_metrics *m, struct spr__row *r, int64_t step) {
    if (!r->censored && !(r->censored = spr__alloc(m->ctx, (r->cap + 7) / 8, 1)))
        return spr__nomem(m->ctx);
    spr__bit_set(r->censored, step);
    return SPR_OK;
}

static void note_order(struct spr_metrics *m, struct spr__row *r, int64_t wall_ns) {
    if (r->newest_ns != INT64_MIN) {
        int64_t jump = wall_ns - r->newest_ns; /* both lie on the grid: no overflow */
        m->notes.out_of_order += jump < 0;
        m->notes.clock_jumps += jump / m->step_ns > JUMP_STEPS || jump / m->step_ns < -JUMP_STEPS;
    }
    r->newest_ns = SPR_MAX(r->newest_ns, wall_ns);
}

/*
 * A counter's value is the rate between two readings and belongs to the middle of the time between them. A fall
 * is a restart from zero: what was counted since then is the new reading. Returns false when there is no rate yet.
 */
static bool counter_rate(struct spr_metrics *m, struct spr__row *r, int64_t *wall_ns, double *value) {
    double reading = *value;
    if (r->count_ns[0] != INT64_MIN && *wall_ns < r->count_ns[0])
        return false; /* an old reading says nothing that the newer ones did not */
    if (*wall_ns != r->count_ns[0]) {
        r->count_ns[1] = r->count_ns[0], r->count_value[1] = r->count_value[0];
        r->count_ns[0] = *wall_ns;
    }
    r->count_value[0] = reading;
    if (r->count_ns[1] == INT64_MIN)
        return false;
    double counted = reading - r->count_value[1];
    if (counted < 0) {
        m->notes.resets++;
        counted = reading;
    }
    *value = counted / ((double)(r->count_ns[0] - r->count_ns[1]) * 1e-9);
    *wall_ns = r->count_ns[1] + (r->count_ns[0] - r->count_ns[1]) / 2;
    return true;
}

static int check_sample(const spr_metrics *m, int64_t row, int64_t wall_ns, double value) {
    if (row < 0 || row >= m->row_count)
        return spr__fail(m->ctx, SPR_E_ARG, "spr_metrics_push: row %lld does not exist", (long long)row);
    const char *id = m->rows[row].id;
    if (isinf(value))
        return spr__fail_of(m->ctx, SPR_E_FORMAT, id, NULL, "an infinite value");
    if (wall_ns < m->origin_ns)
        return spr__fail_of(m->ctx, SPR_E_FORMAT, id, NULL, "a time before the grid's origin");
    if (((uint64_t)wall_ns - (uint64_t)m->origin_ns) / (uint64_t)m->step_ns >= (uint64_t)m->max_steps)
        return spr__fail_of(m->ctx, SPR_E_FORMAT, id, NULL,
                            "a time %lld steps after the grid's origin is a clock jump, not data",
                            (long long)(((uint64_t)wall_ns - (uint64_t)m->origin_ns) / (uint64_t)m->step_ns));
    return SPR_OK;
}

int spr_metrics_push(spr_metrics *m, int64_t row, int64_t wall_ns, double value, int flags) {
    if (!m)
        return SPR_E_ARG;
    int rc = check_sample(m, row, wall_ns, value);
    if (rc < 0)
        return rc;
    struct spr__row *r = &m->rows[row];
    int64_t newest = (wall_ns - m->origin_ns) / m->step_ns;
    if ((rc = row_reserve(m, r, newest + 1)) < 0)
        return rc;
    m->steps = SPR_MAX(m->steps, newest + 1);
    m->pushes++;
    if (isnan(value)) {
        m->notes.missing++;
        return SPR_OK;
    }
    if (flags & SPR_SAMPLE_IS_MAX) {
        m->notes.samples++;
        return put_max(m, r, newest, wall_ns, value);
    }
    note_order(m, r, wall_ns);
    m->notes.samples++;
    if (r->kind == SPR_COUNTER && !counter_rate(m, r, &wall_ns, &value))
        return SPR_OK;
    int64_t step = (wall_ns - m->origin_ns) / m->step_ns;
    rc = put_value(m, r, step, wall_ns, value);
    return rc >= 0 && flags & SPR_SAMPLE_CENSORED ? mark_censored(m, r, step) : rc;
}

int spr_metrics_notes(const spr_metrics *m, struct spr_metrics_notes *out) {
    if (!m || !out)
        return SPR_E_ARG;
    return spr__out_copy(out, &m->notes, sizeof m->notes);
}
