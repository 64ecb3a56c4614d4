/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What events do, learned in one pass: every step in reach of an event is compared with the same time of the last seven
 * days (without their events) and with today's level, and the log of that ratio is regressed on 64 shapes (lead x lag).
 * A fit makes two passes, the second one with what the first has found taken out of the days it compares with.
 * doc/algorithms/events.md.
 */
#include "forecast/event.h"

#define RATIO_MAX 4.6   /* a step says at most "a hundred times as much" */
#define SMALL     0.01  /* share of the mean magnitude added to both sides, so that zeros have a ratio */
#define SLOW      0.125 /* in reach of events the level follows so much slower */

/* ---- making ---- */

static void free_rows(struct spr_event_effects *e) {
    size_t rows = (size_t)e->series, cells = rows * (size_t)e->kinds;
    spr__free(e->ctx, e->ring, rows * (size_t)e->ring_len, sizeof *e->ring);
    spr__free(e->ctx, e->level, rows, sizeof *e->level);
    spr__free(e->ctx, e->scale, rows, sizeof *e->scale);
    spr__free(e->ctx, e->below, rows, sizeof *e->below);
    spr__free(e->ctx, e->sums, cells, sizeof *e->sums);
    spr__free(e->ctx, e->belief, cells, sizeof *e->belief);
    e->ring = NULL, e->level = e->scale = NULL, e->below = NULL, e->sums = NULL, e->belief = NULL;
    e->series = 0, e->fitted = false;
}

static int make_rows(struct spr_event_effects *e, int64_t series) {
    free_rows(e);
    size_t rows = (size_t)series, cells = rows * (size_t)e->kinds;
    e->series = series;
    e->ring = spr__alloc(e->ctx, rows * (size_t)e->ring_len, sizeof *e->ring);
    e->level = spr__alloc(e->ctx, rows, sizeof *e->level);
    e->scale = spr__alloc(e->ctx, rows, sizeof *e->scale);
    e->below = spr__alloc(e->ctx, rows, sizeof *e->below);
    e->sums = spr__alloc(e->ctx, cells, sizeof *e->sums);
    e->belief = spr__alloc(e->ctx, cells, sizeof *e->belief);
    if (e->ring && e->level && e->scale && e->below && (!cells || (e->sums && e->belief)))
        return SPR_OK;
    free_rows(e);
    return spr__nomem(e->ctx);
}

/* Leads and lags to try: 0 1 2 3 4 6 8 12 ... thinned to eight that end at the reach. */
static void make_grid(struct spr_event_effects *e) {
    int64_t all[32], most = (int64_t)e->reach, n = 0;
    for (int64_t v = 0; v <= most && n < 30; v = v < 4 ? v + 1 : (v & (v - 1)) ? v / 3 * 4 : v / 2 * 3)
        all[n++] = v;
    if (all[n - 1] < most)
        all[n++] = most;
    e->grid = (int32_t)SPR_MIN(n, EVENT_GRID);
    for (int32_t i = 0; i < e->grid; i++)
        e->grid_steps[i] = (double)all[e->grid > 1 ? (i * (n - 1) + (e->grid - 1) / 2) / (e->grid - 1) : 0];
}

/* The declared multiplier of a kind is that of its newest event. */
static void read_declared(struct spr_event_effects *e) {
    for (int32_t k = 0; k < e->kinds; k++)
        e->declared[k] = NAN;
    for (int32_t i = 0; i < spr_calendar_event_count(e->calendar); i++) {
        const struct event_row *r = &e->calendar->book.rows[i];
        if (r->event.amount > 0)
            e->declared[r->kind] = log(r->event.amount);
    }
}

int spr_event_effects_create(spr_context *ctx, const struct spr_event_effects_opts *opts, spr_event_effects **out) {
    struct spr_event_effects_opts o;
    if (!ctx)
        return SPR_E_ARG;
    int rc = spr__opts_copy(ctx, "spr_event_effects_opts", opts, &o, sizeof o);
    if (rc < 0)
        return rc;
    if (!o.step_ns)
        o.step_ns = INT64_C(300000000000);
    if (!o.reach_ns)
        o.reach_ns = SPR__DAY_NS / 8;
    if (!o.calendar || !out || o.step_ns < 0 || o.reach_ns < 0 || o.reach_ns > 7 * SPR__DAY_NS)
        return spr__fail(ctx, SPR_E_ARG, "spr_event_effects_opts: a calendar is required, reach is at most a week");
    spr_event_effects *e = spr__alloc(ctx, 1, sizeof *e);
    if (!e)
        return spr__nomem(ctx);
    e->ctx = spr_context_ref(ctx);
    e->calendar = spr_calendar_ref((spr_calendar *)(uintptr_t)o.calendar);
    e->step_ns = o.step_ns, e->origin_ns = o.origin_ns;
    e->reach = floor((double)o.reach_ns / (double)o.step_ns);
    e->kinds = spr_calendar_kind_count(e->calendar);
    e->day = SPR_MAX(1, (int64_t)llround((double)SPR__DAY_NS / (double)o.step_ns));
    e->ring_len = EVENT_DAYS * e->day;
    make_grid(e);
    e->fleet = spr__alloc(ctx, (size_t)e->kinds, sizeof *e->fleet);
    e->declared = spr__alloc(ctx, (size_t)e->kinds, sizeof *e->declared);
    if (e->kinds && (!e->fleet || !e->declared)) {
        spr_event_effects_destroy(e);
        return spr__nomem(ctx);
    }
    read_declared(e);
    spr__event_refresh(e);
    *out = e;
    return SPR_OK;
}

void spr_event_effects_destroy(spr_event_effects *e) {
    if (!e)
        return;
    spr_context *ctx = e->ctx;
    free_rows(e);
    spr__free(ctx, e->fleet, (size_t)e->kinds, sizeof *e->fleet);
    spr__free(ctx, e->declared, (size_t)e->kinds, sizeof *e->declared);
    spr_calendar_unref(e->calendar);
    spr__free(ctx, e, 1, sizeof *e);
    spr_context_unref(ctx);
}

/* ---- one series, one step ---- */

struct job {
    struct spr_event_effects *e;
    const struct spr_panel *panel;
    const struct event_touches *touches;
    int64_t first;
};

/* The same time of the last days, without their events: their median; NaN when none is known. */
static double usual(const struct spr_event_effects *e, const float *ring, int64_t t) {
    double v[EVENT_DAYS];
    int n = 0;
    for (int64_t d = 1; d <= EVENT_DAYS; d++) {
        int64_t at = (t - d * e->day) % e->ring_len;
        double x = (double)ring[at < 0 ? at + e->ring_len : at];
        if (isnan(x))
            continue;
        int i = n++;
        for (; i > 0 && v[i - 1] > x; i--)
            v[i] = v[i - 1];
        v[i] = x;
    }
    return !n ? NAN : n % 2 ? v[n / 2] : 0.5 * (v[n / 2 - 1] + v[n / 2]);
}

/* One step's log ratio goes into a kind's sums. */
static void add(struct event_sums *s, const struct event_belief *b, const struct event_touch *at, int64_t t, double r) {
    double w = at->near->confidence;
    for (int32_t i = 0; i < EVENT_SHAPES; i++) {
        double x = (double)at->x[i];
        s->xx[i] += w * x * x;
        s->xr[i] += w * x * r;
    }
    s->rr += w * r * r;
    if (s->open != at->near->id) {
        spr__event_fold(s);
        s->open = at->near->id, s->open_end = at->near->end;
    }
    double x = spr__event_most(at, t, b->lead, b->lag);
    s->open_xx += x * x;
    s->open_xr += x * r;
}

/* Has anything been learned or declared of what stands at this step? Else its value tells nothing of other days. */
static bool known_here(const struct spr_event_effects *e, int64_t series, const struct event_touch *from,
                       const struct event_touch *to) {
    for (; from < to; from++)
        if (!e->belief[series * e->kinds + from->kind].seen && isnan(e->declared[from->kind]) &&
            !e->fleet[from->kind].seen)
            return false;
    return true;
}

static void learn_step(const struct job *job, int64_t series, int64_t t, double y, bool censored) {
    struct spr_event_effects *e = job->e;
    const struct event_touches *all = job->touches;
    const struct event_touch *from = all->items + all->first[t - job->first];
    const struct event_touch *to = all->items + all->first[t - job->first + 1];
    float *ring = &e->ring[series * e->ring_len], *slot = &ring[((t % e->ring_len) + e->ring_len) % e->ring_len];
    double base = usual(e, ring, t), lift = spr__event_lift(e, series, from, to, t, false);
    *slot = NAN;
    if (!isnan(y))
        e->below[series] |= y < 0;
    if (isnan(y) || e->below[series])
        return;
    e->scale[series] += (y - e->scale[series]) / (double)(e->scale[series] > 0 ? e->day : 1);
    double small = SMALL * e->scale[series];
    bool known = known_here(e, series, from, to);
    if (!(small > 0))
        return;
    if (known)
        *slot = (float)log(y / exp(lift) + small);
    if (isnan(base))
        return;
    double r = fmax(-RATIO_MAX, fmin(RATIO_MAX, log(y + small) - base - e->level[series]));
    if (censored && r < lift) /* a lower bound below what is believed tells nothing */
        return;
    for (const struct event_touch *at = from; at < to; at++) {
        const struct event_belief *b = &e->belief[series * e->kinds + at->kind];
        double others = lift - b->effect * spr__event_most(at, t, b->lead, b->lag);
        add(&e->sums[series * e->kinds + at->kind], b, at, t, r - others);
    }
    if (known)
        e->level[series] += 8.0 / (double)(e->day + 8) * (from < to ? SLOW : 1) * (r - lift);
}

static void learn_row(void *arg, size_t s) {
    const struct job *job = arg;
    for (int64_t t = 0; t < job->panel->steps; t++)
        learn_step(job, (int64_t)s, job->first + t, spr__panel_value(job->panel, (int64_t)s, t),
                   spr__panel_censored(job->panel, (int64_t)s, t));
}

/* ---- a panel ---- */

static void begin_pass(struct spr_event_effects *e) {
    size_t ring = (size_t)(e->series * e->ring_len), cells = (size_t)e->series * (size_t)e->kinds;
    for (size_t i = 0; i < ring; i++)
        e->ring[i] = NAN;
    memset(e->level, 0, (size_t)e->series * sizeof *e->level);
    for (size_t i = 0; i < cells; i++) {
        memset(&e->sums[i], 0, sizeof e->sums[i]);
        e->sums[i].open = -1;
    }
}

static int pass(struct spr_event_effects *e, const struct spr_panel *p, int64_t first) {
    struct event_touches touches;
    int rc = spr__event_touches(e, first, p->steps, true, &touches);
    if (rc < 0)
        return rc;
    struct job job = {e, p, &touches, first};
    spr__parallel(e->ctx, (size_t)p->series, learn_row, &job);
    spr__event_touches_free(e->ctx, &touches);
    return SPR_OK;
}

/* Occurrences whose reach is over are settled; the others stay open. */
static void settle(struct spr_event_effects *e) {
    bool fresh = false;
    for (int64_t i = 0; i < e->series * e->kinds; i++) {
        struct event_sums *s = &e->sums[i];
        if (s->open >= 0 && (double)e->next > s->open_end + e->reach)
            spr__event_fold(s);
        fresh = fresh || s->fresh;
        s->fresh = false;
    }
    if (fresh)
        spr__event_refresh(e);
}

int spr_event_effects_fit(spr_event_effects *e, const struct spr_panel *history, int64_t first_step) {
    struct spr_panel p;
    if (!e)
        return SPR_E_ARG;
    int rc = spr__panel_open(e->ctx, "spr_event_effects_fit", history, &p);
    if (rc < 0 || (rc = make_rows(e, p.series)) < 0)
        return rc;
    e->next = first_step + p.steps;
    for (int i = 0; i < 2 && rc == SPR_OK; i++) {
        begin_pass(e);
        if (!i)
            spr__event_refresh(e);
        rc = pass(e, &p, first_step);
        settle(e);
    }
    e->fitted = rc == SPR_OK;
    return rc;
}

int spr_event_effects_update(spr_event_effects *e, const struct spr_panel *steps) {
    struct spr_panel p;
    if (!e)
        return SPR_E_ARG;
    if (!e->fitted)
        return spr__fail(e->ctx, SPR_E_STATE, "spr_event_effects_update: fit comes first");
    int rc = spr__panel_open(e->ctx, "spr_event_effects_update", steps, &p);
    if (rc < 0)
        return rc;
    if (p.series != e->series)
        return spr__fail(e->ctx, SPR_E_ARG, "spr_event_effects_update: %lld series were fitted, %lld came",
                         (long long)e->series, (long long)p.series);
    if ((rc = pass(e, &p, e->next)) < 0)
        return rc;
    e->next += p.steps;
    settle(e);
    return SPR_OK;
}
