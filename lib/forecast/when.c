/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * When a threshold is passed. The chance to stay below it is carried from step to step as a density over the latent
 * normal score (an autoregression of first order), cut off at each step's own limit and integrated by Gauss-Legendre
 * quadrature (Genz & Bretz 2009, section 3, know this recursion for Markov processes). doc/algorithms/when.md.
 */
#include "forecast/forecast.h"

#define PI       3.14159265358979323846
#define FAR      7.0  /* beyond so many deviations nothing lies */
#define STEEPEST 0.99 /* more correlation than this is interpolated towards 1 */
enum { NODES_MAX = 128, NODES_MIN = 24 };

/* ---- quadrature ---- */

struct rule {
    int n;
    double at[NODES_MAX], weight[NODES_MAX]; /* on [-1, 1] */
};

/* Roots of the Legendre polynomial by Newton's method from the usual first guess. */
static void legendre(struct rule *r, int n) {
    r->n = n;
    for (int i = 0; i < n; i++) {
        double x = cos(PI * (i + 0.75) / (n + 0.5)), slope = 1;
        for (int turn = 0; turn < 8; turn++) {
            double before = 1, p = x;
            for (int k = 2; k <= n; k++) {
                double next = ((2 * k - 1) * x * p - (k - 1) * before) / k;
                before = p, p = next;
            }
            slope = n * (x * p - before) / (x * x - 1);
            x -= p / slope;
        }
        r->at[i] = x;
        r->weight[i] = 2 / ((1 - x * x) * slope * slope);
    }
}

static double density(double z) { return exp(-0.5 * z * z) / sqrt(2 * PI); }

/* ---- first passage ---- */

/* A run of steps: the chance to pass at each, in the order in which they are walked. */
struct walk {
    const double *chance;
    int32_t steps;
    int32_t stride; /* 1 or -1: chance[i * stride] */
};

static double limit_of(double chance) {
    if (chance < 1e-9)
        return FAR;
    return chance > 1 - 1e-9 ? -FAR : fmax(-FAR, fmin(FAR, -spr__normal_quantile(chance)));
}

/* Chance to stay below in all steps; first[i] (unless NULL): to pass first at the i-th. */
static double independent(const struct walk *w, double *first) {
    double below = 1;
    for (int32_t i = 0; i < w->steps; i++) {
        double p = w->chance[i * w->stride];
        if (first)
            first[i] = below * p;
        below *= 1 - p;
    }
    return below;
}

/* One draw decides for all steps. */
static double one_draw(const struct walk *w, double *first) {
    double most = 0;
    for (int32_t i = 0; i < w->steps; i++) {
        double p = fmax(most, w->chance[i * w->stride]);
        if (first)
            first[i] = p - most;
        most = p;
    }
    return 1 - most;
}

static double carried(const struct walk *w, double rho, const struct rule *r, double *first) {
    double x[NODES_MAX], mass[NODES_MAX], next_x[NODES_MAX], next_mass[NODES_MAX];
    double below = 1, spread = sqrt(1 - rho * rho);
    bool begun = false;
    for (int32_t i = 0; i < w->steps; i++) {
        double limit = limit_of(w->chance[i * w->stride]), stay = 0, half = 0.5 * (limit + FAR);
        if (first)
            first[i] = 0;
        if (!begun && limit >= FAR) /* the density is still the whole normal one */
            continue;
        for (int k = 0; k < r->n && half > 0; k++) {
            double z = next_x[k] = -FAR + half * (1 + r->at[k]), sum = 0;
            if (!begun)
                sum = density(z);
            for (int j = 0; begun && j < r->n; j++) {
                double off = (z - rho * x[j]) / spread;
                if (fabs(off) < FAR)
                    sum += mass[j] * density(off) / spread;
            }
            stay += next_mass[k] = half * r->weight[k] * sum;
        }
        stay = fmin(below, stay); /* rounding must not bring anybody back */
        if (!(half > 0))
            stay = 0;
        if (first)
            first[i] = below - stay;
        below = stay, begun = true;
        if (!(half > 0))
            for (int k = 0; k < r->n; k++)
                next_x[k] = next_mass[k] = 0;
        memcpy(x, next_x, sizeof x);
        memcpy(mass, next_mass, sizeof mass);
    }
    return below;
}

static double stay_below(const struct walk *w, double rho, const struct rule *r, double *first) {
    if (!(rho > 0))
        return independent(w, first);
    if (rho >= 1)
        return one_draw(w, first);
    double below = carried(w, fmin(rho, STEEPEST), r, first);
    if (rho <= STEEPEST)
        return below;
    double share = sqrt(1 - rho * rho) / sqrt(1 - STEEPEST * STEEPEST), most = 0;
    for (int32_t i = 0; i < w->steps; i++) {
        double p = fmax(most, w->chance[i * w->stride]);
        if (first)
            first[i] = share * first[i] + (1 - share) * (p - most);
        most = p;
    }
    return share * below + (1 - share) * (1 - most);
}

static void rule_for(struct rule *r, double rho, int most) {
    double spread = sqrt(1 - fmin(rho, STEEPEST) * fmin(rho, STEEPEST));
    if (rho > 0 && rho < 1)
        legendre(r, (int)fmax(NODES_MIN, fmin(most, ceil(16 / spread))));
}

/* ---- asking ---- */

static int open_when(const spr_forecast *f, const char *what, int64_t series, const struct spr_when_opts *opts,
                     struct spr_when_opts *o) {
    int rc = spr__opts_copy(f->ctx, "spr_when_opts", opts, o, sizeof *o);
    if (rc < 0)
        return rc;
    o->correlation = o->correlation == SPR_NONE ? 0 : o->correlation == 0 ? 0.9 : o->correlation;
    o->probability = o->probability == 0 ? 0.5 : o->probability;
    o->step_probability = o->step_probability == 0 ? 0.05 : o->step_probability;
    o->level = o->level == 0 ? 0.9 : o->level;
    if (!opts || series < 0 || series >= f->series || !isfinite(o->threshold) ||
        !(o->correlation >= 0 && o->correlation <= 1) || !(o->probability > 0 && o->probability <= 1) ||
        !(o->step_probability > 0 && o->step_probability <= 1) || !(o->level > 0 && o->level < 1))
        return spr__fail(f->ctx, SPR_E_ARG, "%s: series %lld, or an option, is out of range", what, (long long)series);
    return SPR_OK;
}

int spr_forecast_first_passage(const spr_forecast *f, int64_t series, const struct spr_when_opts *opts, double *out) {
    struct spr_when_opts o;
    struct rule r;
    if (!f)
        return SPR_E_ARG;
    int rc = open_when(f, "spr_forecast_first_passage", series, opts, &o);
    if (rc < 0 || !out)
        return rc < 0 ? rc : spr__fail(f->ctx, SPR_E_ARG, "spr_forecast_first_passage: no place for the result");
    double *chance = spr__alloc(f->ctx, (size_t)f->horizon, sizeof *chance);
    if (!chance)
        return spr__nomem(f->ctx);
    for (int32_t h = 0; h < f->horizon; h++)
        chance[h] = spr_forecast_exceeds(f, series, h, o.threshold);
    rule_for(&r, o.correlation, NODES_MAX);
    stay_below(&(struct walk){chance, f->horizon, 1}, o.correlation, &r, out);
    spr__free(f->ctx, chance, (size_t)f->horizon, sizeof *chance);
    return SPR_OK;
}

/* ---- windows ---- */

struct look {
    const spr_forecast *f;
    int64_t series;
    struct spr_when_opts o;
    struct rule rule, coarse;
    double *chance, *first, *other; /* [horizon] */
};

/* Chance that nothing in [from, to) passes x. */
static double peak_below(const struct look *k, int32_t from, int32_t to, double x) {
    for (int32_t h = from; h < to; h++)
        k->other[h] = spr_forecast_exceeds(k->f, k->series, h, x);
    return stay_below(&(struct walk){k->other + from, to - from, 1}, k->o.correlation, &k->coarse, NULL);
}

/* Quantile of the largest value: at least the largest of the quantiles of single steps. */
static double peak_of(const struct look *k, int32_t from, int32_t to) {
    const spr_forecast *f = k->f;
    double low = -INFINITY, high = -INFINITY, least = INFINITY;
    for (int32_t h = from; h < to; h++) {
        const double *q = f->quantiles + ((size_t)k->series * (size_t)f->horizon + (size_t)h) * (size_t)f->level_count;
        low = fmax(low, q[0]), high = fmax(high, q[f->level_count - 1]), least = fmin(least, q[0]);
    }
    double width = fmax(high - least, 0);
    for (int i = 0; i < 40 && width > 0 && peak_below(k, from, to, high) < k->o.level; i++)
        high += width, width *= 2;
    for (int i = 0; i < 40 && width > 0 && peak_below(k, from, to, low) > k->o.level; i++)
        low -= width;
    for (int i = 0; i < 40 && high - low > 1e-4 * fmax(fabs(high), width); i++) {
        double middle = 0.5 * (low + high);
        if (peak_below(k, from, to, middle) < k->o.level)
            low = middle;
        else
            high = middle;
    }
    return high;
}

/* The step at which a distribution over steps has gathered `share` of its whole. */
static int32_t gathered(const double *first, int32_t n, double whole, double share) {
    double sum = 0;
    for (int32_t i = 0; i < n; i++)
        if ((sum += first[i]) >= share * whole)
            return i;
    return n - 1;
}

static void describe(const struct look *k, struct spr_when *w) {
    int32_t n = w->to - w->from;
    double whole = w->probability;
    w->onset_low = w->from + gathered(k->first, n, whole, 0.1);
    w->onset = w->from + gathered(k->first, n, whole, 0.5);
    w->onset_high = w->from + gathered(k->first, n, whole, 0.9);
    /* Backwards the same process: the first one met from the end is the last. */
    stay_below(&(struct walk){k->chance + w->to - 1, n, -1}, k->o.correlation, &k->rule, k->first);
    w->end = w->to - gathered(k->first, n, whole, 0.5);
    w->peak = peak_of(k, w->from, w->to);
}

static size_t find_windows(struct look *k, struct spr_when *out, size_t stride, size_t room) {
    size_t found = 0;
    for (int32_t h = 0; h < k->f->horizon;) {
        struct spr_when w = {.series = k->series, .from = h};
        while (h < k->f->horizon && k->chance[h] >= k->o.step_probability)
            h++;
        w.to = h;
        if (w.to == w.from) {
            h++;
            continue;
        }
        w.probability =
            1 - stay_below(&(struct walk){k->chance + w.from, w.to - w.from, 1}, k->o.correlation, &k->rule, k->first);
        if (w.probability < k->o.probability || found++ >= room)
            continue;
        describe(k, &w);
        memcpy((char *)out + (found - 1) * stride, &w, sizeof w);
    }
    return found;
}

int spr_forecast_when(const spr_forecast *f, int64_t series, const struct spr_when_opts *opts, struct spr_when *out,
                      size_t stride, size_t *count) {
    struct look k = {.f = f, .series = series};
    if (!f)
        return SPR_E_ARG;
    int rc = open_when(f, "spr_forecast_when", series, opts, &k.o);
    if (rc < 0)
        return rc;
    if (!count || (*count && (!out || stride < sizeof *out)))
        return spr__fail(f->ctx, SPR_E_ARG, "spr_forecast_when: array, stride or count is wrong");
    size_t n = (size_t)f->horizon;
    k.chance = spr__alloc(f->ctx, 3 * n, sizeof *k.chance);
    if (!k.chance)
        return spr__nomem(f->ctx);
    k.first = k.chance + n, k.other = k.first + n;
    rule_for(&k.rule, k.o.correlation, NODES_MAX);
    rule_for(&k.coarse, k.o.correlation, NODES_MAX / 2); /* a peak needs fewer digits than a chance */
    for (int32_t h = 0; h < f->horizon; h++)
        k.chance[h] = spr_forecast_exceeds(f, series, h, k.o.threshold);
    *count = find_windows(&k, out, stride, *count);
    spr__free(f->ctx, k.chance, 3 * n, sizeof *k.chance);
    return SPR_OK;
}

/* ---- dependence ---- */

/* Normal score of what came; in the middle of tied levels. */
static double score(const spr_forecast *f, int64_t series, int32_t h, double y) {
    double above = spr_forecast_exceeds(f, series, h, y);
    double at_least = spr_forecast_exceeds(f, series, h, nextafter(y, -INFINITY));
    double below = 1 - 0.5 * (above + at_least);
    return spr__normal_quantile(fmax(0.005, fmin(0.995, below)));
}

static double ratio(double product, double square) { return square > 0 ? fmax(0, fmin(1, product / square)) : 0; }

/* Noise upon an error that lasts hides it from neighbours, not from steps far apart: the larger of both answers. */
double spr_forecast_dependence(const spr_forecast *f, int64_t series, const double *truth,
                               struct spr_dependence *sums) {
    if (!f || !truth || !sums || sums->size < sizeof *sums || series < 0 || series >= f->series)
        return NAN;
    double *z = spr__alloc(f->ctx, (size_t)f->horizon, sizeof *z);
    int32_t far = SPR_MAX(1, f->horizon / 4);
    if (!z)
        return NAN;
    for (int32_t h = 0; h < f->horizon; h++) {
        z[h] = isfinite(truth[h]) ? score(f, series, h, truth[h]) : NAN;
        if (h >= 1 && !isnan(z[h] * z[h - 1])) {
            sums->pairs++;
            sums->product += z[h] * z[h - 1];
            sums->square += 0.5 * (z[h] * z[h] + z[h - 1] * z[h - 1]);
        }
        if (h >= far && !isnan(z[h] * z[h - far])) {
            sums->far_product += z[h] * z[h - far];
            sums->far_square += 0.5 * (z[h] * z[h] + z[h - far] * z[h - far]);
        }
    }
    spr__free(f->ctx, z, (size_t)f->horizon, sizeof *z);
    /* A root makes much of little: what chance alone may show, three standard errors, is taken off before it. */
    double doubt = sums->pairs ? 3 / sqrt((double)sums->pairs) : 1;
    double near_by = ratio(sums->product, sums->square), apart = ratio(sums->far_product, sums->far_square) - doubt;
    return sums->square > 0 ? fmax(near_by, pow(fmax(0, apart), 1.0 / far)) : NAN;
}
