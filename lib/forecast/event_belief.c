/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * From sums to beliefs: which lead and lag fit best, and how strongly a series' own occurrences count against what the
 * fleet shows (empirical Bayes with moments as DerSimonian & Laird 1986; n occurrences weigh n/noise2, the fleet
 * 1/tau2).
 */
#include "forecast/event.h"

#define UNKNOWN2  1.0    /* variance of the log effect of a kind nobody has seen */
#define DECLARED2 0.0625 /* the same where somebody declared it: a quarter off is usual */
#define NOISE2    0.0625 /* variance between occurrences before any two were seen ... */
#define NOISE_N   2.0    /* ... which counts as so many of them */
#define OWN_SHAPE 4.0    /* the fleet's shape counts as so many series */

/* ---- occurrences ---- */

void spr__event_fold(struct event_sums *s) {
    if (s->open >= 0 && s->open_xx > 0.5) {
        double own = s->open_xr / s->open_xx, before = s->mean;
        s->seen++, s->fresh = true;
        s->mean += (own - before) / (double)s->seen;
        s->m2 += (own - before) * (own - s->mean);
    }
    s->open = -1;
    s->open_xx = s->open_xr = 0;
}

/* ---- shapes ---- */

/* What a shape explains of a series' log ratios. */
static double gain(const struct event_sums *s, int32_t i) { return s->xx[i] > 0 ? s->xr[i] * s->xr[i] / s->xx[i] : 0; }

/* The first of the best: short leads and lags win ties; a longer one must explain a per cent more. */
static int32_t best_shape(const struct spr_event_effects *e, const double *explained) {
    int32_t best = 0;
    for (int32_t i = 0; i < e->grid; i++)
        for (int32_t j = 0; j < e->grid; j++)
            if (explained[i * EVENT_GRID + j] > 1.01 * explained[best])
                best = i * EVENT_GRID + j;
    return best;
}

static double shape_lead(const struct spr_event_effects *e, int32_t shape) { return e->grid_steps[shape / EVENT_GRID]; }
static double shape_lag(const struct spr_event_effects *e, int32_t shape) { return e->grid_steps[shape % EVENT_GRID]; }

/* ---- a kind across the fleet ---- */

struct kind {
    double mean, mean2, tau2; /* the fleet's effect, its variance, the variance between series */
    double noise2, shared[EVENT_SHAPES];
    int64_t seen, series;
};

static double effect_of(const struct event_sums *s, int32_t shape) {
    return s->xx[shape] > 0 ? s->xr[shape] / s->xx[shape] : 0;
}

static void pool(const struct spr_event_effects *e, int32_t kind, struct kind *k) {
    double m2 = 0, dof = 0;
    memset(k, 0, sizeof *k);
    for (int64_t s = 0; s < e->series; s++) {
        const struct event_sums *own = &e->sums[s * e->kinds + kind];
        if (!own->seen)
            continue;
        k->series++;
        k->seen = SPR_MAX(k->seen, own->seen);
        m2 += own->m2, dof += (double)(own->seen - 1);
        for (int32_t i = 0; i < EVENT_SHAPES; i++)
            k->shared[i] += gain(own, i);
    }
    k->noise2 = (m2 + NOISE2 * NOISE_N) / (dof + NOISE_N);
}

/* Mean effect and the spread between series, by moments. */
static void center(const struct spr_event_effects *e, int32_t kind, int32_t shape, struct kind *k) {
    bool declared = !isnan(e->declared[kind]);
    double w = 0, w2 = 0, wx = 0, q = 0, prior = declared ? 1 / DECLARED2 : 1 / UNKNOWN2;
    for (int64_t s = 0; s < e->series; s++) {
        const struct event_sums *own = &e->sums[s * e->kinds + kind];
        double n = (double)own->seen / k->noise2;
        w += n, w2 += n * n, wx += n * effect_of(own, shape);
    }
    for (int64_t s = 0; s < e->series && w > 0; s++) {
        const struct event_sums *own = &e->sums[s * e->kinds + kind];
        double off = effect_of(own, shape) - wx / w;
        q += (double)own->seen / k->noise2 * off * off;
    }
    /* A single series says nothing of how much others differ. */
    k->tau2 = k->series > 1 && w - w2 / w > 0 ? fmax(0.0025, (q - (double)(k->series - 1)) / (w - w2 / w)) : UNKNOWN2;
    w = prior, wx = declared ? prior * e->declared[kind] : 0;
    for (int64_t s = 0; s < e->series; s++) {
        const struct event_sums *own = &e->sums[s * e->kinds + kind];
        double n = own->seen ? 1 / (k->tau2 + k->noise2 / (double)own->seen) : 0;
        w += n, wx += n * effect_of(own, shape);
    }
    k->mean = wx / w, k->mean2 = 1 / w;
}

/* ---- one series ---- */

static void believe(const struct spr_event_effects *e, int32_t kind, const struct kind *k, int64_t series) {
    struct event_belief *b = &e->belief[series * e->kinds + kind];
    const struct event_sums *own = &e->sums[series * e->kinds + kind];
    double explained[EVENT_SHAPES], n = (double)own->seen;
    for (int32_t i = 0; i < EVENT_SHAPES; i++)
        explained[i] = gain(own, i) + (k->series ? OWN_SHAPE / (double)k->series * k->shared[i] : 0);
    int32_t shape = best_shape(e, explained);
    double prior2 = k->tau2 + k->mean2;
    if (k->series < 2) /* the only series is the fleet: its prior is what was known before */
        prior2 = isnan(e->declared[kind]) ? UNKNOWN2 : DECLARED2;
    double prior = k->series < 2 ? (isnan(e->declared[kind]) ? 0 : e->declared[kind]) : k->mean;
    double noise2 = (own->m2 + 4 * k->noise2) / (fmax(n - 1, 0) + 4), weight = n / noise2 + 1 / prior2;
    b->effect = (n / noise2 * effect_of(own, shape) + prior / prior2) / weight;
    b->noise2 = noise2;
    b->sd = sqrt(1 / weight + noise2);
    b->lead = shape_lead(e, shape), b->lag = shape_lag(e, shape);
    b->seen = own->seen;
    b->certain = own->seen >= 2 || k->seen >= 2 || !isnan(e->declared[kind]);
    if (e->below[series]) /* factors mean nothing around zero */
        b->effect = 0, b->sd = 0, b->certain = true;
}

void spr__event_refresh(struct spr_event_effects *e) {
    for (int32_t kind = 0; kind < e->kinds; kind++) {
        struct kind k;
        pool(e, kind, &k);
        int32_t shape = best_shape(e, k.shared);
        center(e, kind, shape, &k);
        e->fleet[kind] = (struct event_belief){.effect = k.mean,
                                               .sd = sqrt(k.mean2 + (k.series > 1 ? k.tau2 : 0) + k.noise2),
                                               .noise2 = k.noise2,
                                               .lead = shape_lead(e, shape),
                                               .lag = shape_lag(e, shape),
                                               .seen = k.seen,
                                               .certain = k.seen >= 2 || !isnan(e->declared[kind])};
        for (int64_t s = 0; s < e->series; s++)
            believe(e, kind, &k, s);
    }
}

/* ---- looking ---- */

int spr_event_effects_get(const spr_event_effects *e, int64_t series, int32_t kind, struct spr_event_effect *out) {
    if (!e)
        return SPR_E_ARG;
    if (!out || kind < 0 || kind >= e->kinds || (series != SPR_NONE && (series < 0 || series >= e->series)))
        return spr__fail(e->ctx, SPR_E_ARG, "spr_event_effects_get: series %lld, kind %d", (long long)series,
                         (int)kind);
    const struct event_belief *b = series == SPR_NONE ? &e->fleet[kind] : &e->belief[series * e->kinds + kind];
    const double step_s = (double)e->step_ns * 1e-9, z = 1.2815515655446004; /* the normal's 0.9 quantile */
    struct spr_event_effect newest = {.multiplier = exp(b->effect),
                                      .low = exp(b->effect - z * b->sd),
                                      .high = exp(b->effect + z * b->sd),
                                      .lead_s = b->lead * step_s,
                                      .lag_s = b->lag * step_s,
                                      .seen = b->seen,
                                      .certain = b->certain};
    if (!b->seen && isnan(e->declared[kind]) && !e->fleet[kind].seen)
        newest.multiplier = newest.low = newest.high = 1; /* nothing is known: not even that it matters */
    return spr__out_copy(out, &newest, sizeof newest);
}
