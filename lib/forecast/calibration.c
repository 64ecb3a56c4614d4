/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Rolling coverage and a test for too little of it. doc/algorithms/calibration.md tells why the bets are as they are.
 *
 * Every outcome is a number between 0 and 1: the level at which it came (the randomised probability integral
 * transform), so ties count by chance and a series that sits at zero under quantiles of zero covers exactly. The test
 * counts strict misses instead, which a quantile may exceed with probability 1 - level at most, ties or none.
 */
#include "forecast/calibration.h"

enum { BETS = 3, LAG_MOST = 64, LEVELS_MOST = 255, WINDOW_MOST = 1 << 20 };
/* What a bet wins on one miss. Small bets: misses come in crowds, and a crowd is no lasting fault. */
static const double wins[BETS] = {0.1, 0.25, 0.5};
#define WEALTH_MOST 1e12

struct series {
    int64_t outcomes, since, fresh; /* fresh: outcomes since the gate closed or opened */
    double weight;                  /* sum of the forgotten counts' weights */
    uint64_t drawn;
    bool gated;
};

struct spr_coverage {
    spr_context *ctx;
    struct spr_coverage_opts o;
    double *levels, *allowed; /* allowed: share of misses above that the test forgives */
    int32_t first_tested;     /* levels from here on are tested */
    double keep;              /* what is left of a count after one more outcome */
    int64_t steps;
    struct series *series;
    double *covered, *plain; /* [series][level] */
    uint8_t *window;         /* [series][slot][2] lowest level that covered: by chance at ties, and plainly */
    double *wealth;          /* [series][lag][level][BETS] */
    int64_t *rounds;         /* [series][lag] outcomes of each of the interleaved tests */
};

static size_t levels_of(const spr_coverage *c) { return (size_t)c->o.level_count; }
static size_t wealth_each(const spr_coverage *c) { return (size_t)c->o.lag * levels_of(c) * BETS; }

/* ---- making and ending ---- */

static int check(const spr_context *ctx, struct spr_coverage_opts *o) {
    o->lag = o->lag ? o->lag : 1;
    o->window = o->window ? o->window : 288;
    o->memory = o->memory == 0 ? 288 : o->memory;
    o->alpha = o->alpha == 0 ? 0.01 : o->alpha;
    o->slack = o->slack == SPR_NONE ? 1 : o->slack == 0 ? 1.5 : o->slack;
    if (o->series < 1 || o->series > INT64_C(1) << 40 || !o->levels || o->level_count < 1 ||
        o->level_count > LEVELS_MOST || o->lag < 1 || o->lag > LAG_MOST || o->window < 1 || o->window > WINDOW_MOST)
        return spr__fail(ctx, SPR_E_ARG,
                         "spr_coverage_opts: series, levels, lag or window are missing or out of range");
    if (!(o->memory >= 1) || !(o->alpha > 0 && o->alpha < 1) || !(o->slack >= 1 && o->slack <= 100))
        return spr__fail(ctx, SPR_E_ARG, "spr_coverage_opts: memory, alpha or slack is out of range");
    return spr__levels_check(ctx, o->levels, o->level_count);
}

int spr_coverage_create(spr_context *ctx, const struct spr_coverage_opts *opts, spr_coverage **out) {
    struct spr_coverage_opts o;
    if (!ctx)
        return SPR_E_ARG;
    if (!out)
        return spr__fail(ctx, SPR_E_ARG, "spr_coverage_create: no place for the result");
    int rc = spr__opts_copy(ctx, "spr_coverage_opts", opts, &o, sizeof o);
    if (rc < 0 || (rc = check(ctx, &o)) < 0)
        return rc;
    spr_coverage *c = spr__alloc(ctx, 1, sizeof *c);
    if (!c)
        return spr__nomem(ctx);
    c->ctx = spr_context_ref(ctx);
    c->o = o;
    c->keep = 1 - 1 / o.memory;
    size_t n = (size_t)o.series, k = levels_of(c);
    if (!(c->levels = spr__alloc(ctx, k, sizeof(double))) || !(c->allowed = spr__alloc(ctx, k, sizeof(double))) ||
        !(c->series = spr__alloc(ctx, n, sizeof *c->series)) ||
        !(c->covered = spr__alloc(ctx, n * k, sizeof(double))) ||
        !(c->plain = spr__alloc(ctx, n * k, sizeof(double))) ||
        !(c->window = spr__alloc(ctx, n * (size_t)o.window, 2)) ||
        !(c->wealth = spr__alloc(ctx, n * wealth_each(c), sizeof(double))) ||
        !(c->rounds = spr__alloc(ctx, n * (size_t)o.lag, sizeof(int64_t)))) {
        spr_coverage_destroy(c);
        return spr__nomem(ctx);
    }
    memcpy(c->levels, o.levels, k * sizeof(double));
    c->first_tested = o.level_count;
    for (int32_t l = o.level_count - 1; l >= 0; l--) {
        c->allowed[l] = fmin(o.slack * (1 - c->levels[l]), 0.5);
        if (c->levels[l] > 0.5 + 1e-12)
            c->first_tested = l;
    }
    *out = c;
    return SPR_OK;
}

void spr_coverage_destroy(spr_coverage *c) {
    if (!c)
        return;
    spr_context *ctx = c->ctx;
    size_t n = (size_t)c->o.series, k = levels_of(c);
    spr__free(ctx, c->levels, k, sizeof(double));
    spr__free(ctx, c->allowed, k, sizeof(double));
    spr__free(ctx, c->series, n, sizeof *c->series);
    spr__free(ctx, c->covered, n * k, sizeof(double));
    spr__free(ctx, c->plain, n * k, sizeof(double));
    spr__free(ctx, c->window, n * (size_t)c->o.window, 2);
    spr__free(ctx, c->wealth, n * wealth_each(c), sizeof(double));
    spr__free(ctx, c->rounds, n * (size_t)c->o.lag, sizeof(int64_t));
    spr__free(ctx, c, 1, sizeof *c);
    spr_context_unref(ctx);
}

/* ---- one outcome ---- */

/*
 * The level at which y came: between the highest level whose quantile lies below it and the lowest above it, by chance.
 * Where several quantiles are y itself, that much of the probability sits on it; the atom ends somewhere between the
 * last tied level and the next one: half way. At the ends there is no next one (demand has a floor).
 */
static double level_of(const spr_coverage *c, const double *q, double y, double chance) {
    int32_t K = c->o.level_count, below = 0, at;
    while (below < K && q[below] < y)
        below++;
    for (at = below; at < K && q[at] <= y; at++)
        ;
    double low = below ? c->levels[below - 1] : 0, high = at < K ? c->levels[at] : 1;
    if (at > below && below)
        low = 0.5 * (low + c->levels[below]);
    if (at > below && at < K)
        high = 0.5 * (c->levels[at - 1] + high);
    return low + (high - low) * chance;
}

/* Share of the money that is put on the table in round t, from 1; they add up to 1, and fall as slowly as they can. */
static double reserve(int64_t t) { return log(2.0) / log((double)t + 1.0); } /* what is left before round t */

static double evidence_of(const spr_coverage *c, int64_t s, int32_t lag) {
    const double *w = &c->wealth[(size_t)s * wealth_each(c) + (size_t)lag * levels_of(c) * BETS];
    int32_t K = c->o.level_count, n = (K - c->first_tested) * BETS;
    double sum = 0;
    for (int32_t k = c->first_tested * BETS; k < K * BETS; k++)
        sum += w[k];
    return n ? sum / n + reserve(c->rounds[(size_t)s * (size_t)c->o.lag + (size_t)lag] + 1) : 1;
}

double spr__coverage_evidence(const spr_coverage *c, int64_t series) {
    double most = 0;
    for (int32_t l = 0; l < c->o.lag; l++)
        most = fmax(most, evidence_of(c, series, l));
    return most / c->o.lag; /* by the union bound over the interleaved tests */
}

bool spr__coverage_gated(const spr_coverage *c, int64_t series) { return c->series[series].gated; }

static void begin_anew(spr_coverage *c, int64_t s) {
    memset(&c->wealth[(size_t)s * wealth_each(c)], 0, wealth_each(c) * sizeof(double));
    memset(&c->rounds[(size_t)s * (size_t)c->o.lag], 0, (size_t)c->o.lag * sizeof(int64_t));
    c->series[s].fresh = 0;
    c->series[s].since = c->series[s].outcomes;
}

static void bet(spr_coverage *c, int64_t s, int32_t plainly) {
    size_t lag = (size_t)(c->steps % c->o.lag);
    double *w = &c->wealth[(size_t)s * wealth_each(c) + lag * levels_of(c) * BETS];
    int64_t t = ++c->rounds[(size_t)s * (size_t)c->o.lag + lag];
    double stake = reserve(t) - reserve(t + 1);
    for (int32_t l = c->first_tested; l < c->o.level_count; l++)
        for (int b = 0; b < BETS; b++) {
            double p = c->allowed[l], size = wins[b] / (1 - p);
            double factor = 1 + size * ((plainly > l) - p);
            w[l * BETS + b] = fmin(WEALTH_MOST, (w[l * BETS + b] + stake) * factor);
        }
}

/* Counts of the last `n` outcomes covered at a level; plainly = 1: ties all counted. */
static double recent(const spr_coverage *c, int64_t s, int32_t level, int64_t n, int plainly) {
    const uint8_t *ring = &c->window[(size_t)s * (size_t)c->o.window * 2];
    int64_t covered = 0;
    for (int64_t k = 1; k <= n; k++)
        covered += ring[((c->series[s].outcomes - k) % c->o.window) * 2 + plainly] <= level;
    return n ? (double)covered / (double)n : NAN;
}

static bool fine_again(const spr_coverage *c, int64_t s) {
    if (c->series[s].fresh < c->o.window)
        return false;
    for (int32_t l = c->first_tested; l < c->o.level_count; l++)
        if (1 - recent(c, s, l, c->o.window, 1) > c->allowed[l])
            return false;
    return true;
}

static void count(spr_coverage *c, int64_t s, double y, const double *q) {
    struct series *x = &c->series[s];
    int32_t K = c->o.level_count, by_chance = 0, plainly = 0;
    double level = level_of(c, q, y, spr__rand(spr_context_seed(c->ctx), 0xC0FE + (uint64_t)s, x->drawn++));
    while (by_chance < K && c->levels[by_chance] < level)
        by_chance++;
    while (plainly < K && q[plainly] < y)
        plainly++;
    x->weight = x->weight * c->keep + 1;
    for (int32_t l = 0; l < K; l++) {
        double *a = &c->covered[s * K + l], *b = &c->plain[s * K + l];
        *a = *a * c->keep + (by_chance <= l);
        *b = *b * c->keep + (plainly <= l);
    }
    uint8_t *slot = &c->window[((size_t)s * (size_t)c->o.window + (size_t)(x->outcomes % c->o.window)) * 2];
    slot[0] = (uint8_t)by_chance, slot[1] = (uint8_t)plainly;
    x->outcomes++, x->fresh++;
    bet(c, s, plainly);
    if (!x->gated && spr__coverage_evidence(c, s) >= 1 / c->o.alpha) {
        x->gated = true;
        x->since = x->outcomes, x->fresh = 0;
    } else if (x->gated && fine_again(c, s)) {
        x->gated = false;
        begin_anew(c, s);
    }
}

int spr_coverage_observe(spr_coverage *c, const double *y, const double *quantiles) {
    if (!c)
        return SPR_E_ARG;
    if (!y || !quantiles)
        return spr__fail(c->ctx, SPR_E_ARG, "spr_coverage_observe: an array is NULL");
    for (int64_t s = 0; s < c->o.series; s++)
        for (int32_t l = 0; l < c->o.level_count && !isnan(y[s]); l++) {
            const double *q = quantiles + s * c->o.level_count;
            if (!isfinite(q[l]) || isinf(y[s]) || (l && q[l] < q[l - 1]))
                return spr__fail(c->ctx, SPR_E_ARG,
                                 "spr_coverage_observe: series %lld: a number is not finite or quantiles fall",
                                 (long long)s);
        }
    for (int64_t s = 0; s < c->o.series; s++)
        if (!isnan(y[s]))
            count(c, s, y[s], quantiles + s * c->o.level_count);
    c->steps++;
    return SPR_OK;
}

/* ---- asking ---- */

int spr_coverage_get(const spr_coverage *c, int64_t series, int32_t level, struct spr_coverage_row *out) {
    if (!c)
        return SPR_E_ARG;
    if (!out || series < 0 || series >= c->o.series || level < 0 || level >= c->o.level_count)
        return spr__fail(c->ctx, SPR_E_ARG, "spr_coverage_get: series or level is out of range, or no place");
    const struct series *x = &c->series[series];
    size_t at = (size_t)series * levels_of(c) + (size_t)level;
    struct spr_coverage_row r = {.size = sizeof r,
                                 .series = series,
                                 .level = c->levels[level],
                                 .outcomes = x->outcomes,
                                 .covered = x->weight > 0 ? c->covered[at] / x->weight : NAN,
                                 .recent = recent(c, series, level, SPR_MIN(x->outcomes, c->o.window), 0),
                                 .at_or_below = x->weight > 0 ? c->plain[at] / x->weight : NAN,
                                 .evidence = spr__coverage_evidence(c, series),
                                 .gated = x->gated,
                                 .since = x->since};
    return spr__out_copy(out, &r, sizeof r);
}

void spr__coverage_carry(spr_coverage *to, int64_t row, const spr_coverage *from, int64_t from_row) {
    size_t k = levels_of(to), w = (size_t)to->o.window * 2, e = wealth_each(to), l = (size_t)to->o.lag;
    if (k != levels_of(from) || to->o.window != from->o.window || to->o.lag != from->o.lag)
        return;
    size_t a = (size_t)row, b = (size_t)from_row;
    to->series[a] = from->series[b];
    to->steps = from->steps;
    memcpy(&to->covered[a * k], &from->covered[b * k], k * sizeof(double));
    memcpy(&to->plain[a * k], &from->plain[b * k], k * sizeof(double));
    memcpy(&to->window[a * w], &from->window[b * w], w);
    memcpy(&to->wealth[a * e], &from->wealth[b * e], e * sizeof(double));
    memcpy(&to->rounds[a * l], &from->rounds[b * l], l * sizeof(int64_t));
}
