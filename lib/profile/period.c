/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Periods: hills of the autocorrelation that the spectrum supports and the permutation test confirms. */
#include "profile/profile.h"

enum { HILLS_MAX = 64, ATTEMPTS = 8, FOLD_BINS_MAX = 288 };

struct hill {
    int64_t lag;
    double r, height; /* correlation; height above the higher of the two valleys beside it */
    double period;    /* refined, steps */
};

struct search {
    const struct spr__trait *t;
    int64_t n, lags, size; /* values, largest lag, length of the transform */
    double *y, *flat;      /* working copy (NaN = missing); without what is slower than a candidate */
    double *z, *roots, *power, *r, *pairs, *room;
    bool gaps;
    struct hill hills[HILLS_MAX];
    int hill_count;
};

/* ---- the working copy ---- */

/* Mean 0, no line through it, the outermost thousandth clipped so that one freak does not own the spectrum. */
static bool prepare(struct search *s, const double *x, double *scratch) {
    int64_t m = 0;
    double sx = 0, sy = 0, sxx = 0, sxy = 0, var = 0;
    for (int64_t i = 0; i < s->n; i++)
        if (isfinite(x[i]))
            scratch[m++] = x[i];
    if (m < 12 || m * 10 < s->n * 3)
        return false;
    spr__sort(scratch, m);
    double low = spr__quantile_sorted(scratch, m, 0.001), high = spr__quantile_sorted(scratch, m, 0.999);
    double unit = SPR_MAX(fabs(low), fabs(high));
    if (!(high - low > 1e-9 * unit))
        return false;
    for (int64_t i = 0; i < s->n; i++) {
        s->y[i] = isfinite(x[i]) ? SPR_MIN(SPR_MAX(x[i], low), high) / unit : NAN;
        if (isfinite(s->y[i])) {
            double a = (double)i / (double)s->n;
            sx += a, sy += s->y[i], sxx += a * a, sxy += a * s->y[i];
        } else {
            s->gaps = true;
        }
    }
    double dm = (double)m, slope = (sxy - sx * sy / dm) / (sxx - sx * sx / dm), mean = sy / dm;
    for (int64_t i = 0; i < s->n; i++) {
        s->y[i] -= mean + slope * ((double)i / (double)s->n - sx / dm);
        if (isfinite(s->y[i]))
            var += s->y[i] * s->y[i];
    }
    double sd = sqrt(var / dm);
    if (!(sd > 1e-12))
        return false;
    for (int64_t i = 0; i < s->n; i++)
        s->y[i] /= sd;
    return true;
}

/* Subtract the centred mean over one period: a trend or a slow wave looks the same in every cycle otherwise. */
static void flatten(struct search *s, double period) {
    int64_t half = (int64_t)(period / 2), count = 0;
    double sum = 0;
    for (int64_t i = 0; i < SPR_MIN(half, s->n); i++)
        if (isfinite(s->y[i]))
            sum += s->y[i], count++;
    for (int64_t i = 0; i < s->n; i++) {
        int64_t in = i + half, out = i - half - 1;
        if (in < s->n && isfinite(s->y[in]))
            sum += s->y[in], count++;
        if (out >= 0 && isfinite(s->y[out]))
            sum -= s->y[out], count--;
        s->flat[i] = s->y[i] - (count ? sum / (double)count : 0);
    }
}

/* ---- spectrum and autocorrelation ---- */

static void correlate(struct search *s) {
    int64_t n = s->size;
    memset(s->z, 0, 2 * (size_t)n * sizeof *s->z);
    /* With gaps the mask goes into the imaginary part's place in a transform of its own. */
    for (int64_t i = 0; i < s->n; i++)
        s->z[2 * i] = isfinite(s->y[i]) ? s->y[i] : 0;
    spr__fft(s->z, n, s->roots, false);
    for (int64_t i = 0; i < n; i++) {
        double p = s->z[2 * i] * s->z[2 * i] + s->z[2 * i + 1] * s->z[2 * i + 1];
        if (i <= n / 2)
            s->power[i] = p;
        s->z[2 * i] = p, s->z[2 * i + 1] = 0;
    }
    spr__fft(s->z, n, s->roots, true);
    double zero = s->z[0] / s->pairs[0];
    for (int64_t k = 0; k <= s->lags; k++)
        s->r[k] = s->pairs[k] > 2 && zero > 0 ? s->z[2 * k] / s->pairs[k] / zero : 0;
}

/* How many pairs of values are k steps apart. */
static void count_pairs(struct search *s) {
    if (!s->gaps) {
        for (int64_t k = 0; k <= s->lags; k++)
            s->pairs[k] = (double)(s->n - k) * (double)s->size;
        return;
    }
    memset(s->z, 0, 2 * (size_t)s->size * sizeof *s->z);
    for (int64_t i = 0; i < s->n; i++)
        s->z[2 * i] = isfinite(s->y[i]);
    spr__fft(s->z, s->size, s->roots, false);
    for (int64_t i = 0; i < s->size; i++) {
        s->z[2 * i] = s->z[2 * i] * s->z[2 * i] + s->z[2 * i + 1] * s->z[2 * i + 1];
        s->z[2 * i + 1] = 0;
    }
    spr__fft(s->z, s->size, s->roots, true);
    for (int64_t k = 0; k <= s->lags; k++)
        s->pairs[k] = floor(s->z[2 * k] / (double)s->size + 0.5) * (double)s->size;
}

/* Does the spectrum rise at the period or, for short pulses, at one of its first harmonics? */
static bool supported(const struct search *s, double period) {
    for (int h = 1; h <= 3; h++) {
        double f = h * (double)s->size / period, width = SPR_MAX(0.08 * f, 1.5 * (double)s->size / (double)s->n);
        int64_t from = (int64_t)(0.55 * f), to = SPR_MIN((int64_t)(1.45 * f) + 1, s->size / 2);
        double peak = 0, rest = 0, count = 0;
        for (int64_t i = SPR_MAX(from, 1); i <= to; i++) {
            if (fabs((double)i - f) <= width)
                peak = SPR_MAX(peak, s->power[i]);
            else
                rest += s->power[i], count += 1;
        }
        if (count < 1 ? peak > 0 : peak > 3 * rest / count)
            return true;
    }
    return false;
}

/* ---- hills ---- */

static bool tops_its_neighbourhood(const double *r, int64_t k, int64_t lags) {
    int64_t reach = SPR_MAX(k / 4, 1), far = SPR_MIN(k + reach, lags);
    for (int64_t j = 1; j <= reach; j++)
        if (r[k - j] > r[k] || (k + j <= far && r[k + j] > r[k]))
            return false;
    return true;
}

static double lowest(const double *r, int64_t from, int64_t to) {
    double low = r[from];
    for (int64_t i = from + 1; i <= to; i++)
        low = SPR_MIN(low, r[i]);
    return low;
}

static void parabola(const double *r, int64_t k, double *at) {
    double a = r[k - 1], b = r[k], c = r[k + 1], bend = a - 2 * b + c;
    *at = (double)k + (bend < 0 ? 0.5 * (a - c) / bend : 0);
}

/* Mean distance from the top of a hill to where it has lost half its height, at least one lag. */
static double width_of(const struct search *s, int64_t lag, double height) {
    double half = s->r[lag] - height / 2;
    int64_t left = 1, right = 1;
    while (left < lag && s->r[lag - left] > half)
        left++;
    while (lag + right < s->lags && s->r[lag + right] > half)
        right++;
    return (double)(left + right) / 2;
}

/* The hill's multiples say where it stands more exactly than it does itself, as long as they are there. */
static double refine(const struct search *s, int64_t lag, double height) {
    double period, at;
    parabola(s->r, lag, &period);
    /* Noise moves the top about its hill, which may be broad; the next multiple must stay outside. */
    int64_t reach = (int64_t)SPR_MAX(1.0, SPR_MIN(0.3 * period, SPR_MAX(width_of(s, lag, height), 2.0)));
    for (int64_t j = 2;; j *= 2) {
        double aim = (double)j * period;
        int64_t from = (int64_t)(aim + 0.5) - reach, best = from;
        if (from + 2 * reach >= s->lags)
            break;
        for (int64_t k = from; k <= from + 2 * reach; k++)
            if (s->r[k] > s->r[best])
                best = k;
        if (best == from || best == from + 2 * reach || s->r[best] < 0.5 * s->r[lag])
            break;
        parabola(s->r, best, &at);
        period = at / (double)j;
    }
    return period;
}

/* A period of a few steps is seen better by the spectrum than by a parabola through three coarse lags. */
static double sharpen(const struct search *s, double period) {
    double f = (double)s->size / period, at;
    int64_t from = (int64_t)(0.9 * f), to = SPR_MIN((int64_t)(1.1 * f) + 1, s->size / 2 - 1), best = from;
    for (int64_t i = from; i <= to; i++)
        if (s->power[i] > s->power[best])
            best = i;
    if (best <= from || best >= to)
        return period;
    parabola(s->power, best, &at);
    return (double)s->size / at;
}

static void find_hills(struct search *s) {
    int64_t last = s->n / 3;
    s->hill_count = 0;
    for (int64_t k = 2; k <= last && k < s->lags && s->hill_count < HILLS_MAX; k++) {
        const double *r = s->r;
        if (r[k] < 0.1 || !(r[k] > r[k - 1] && r[k] >= r[k + 1]) || !tops_its_neighbourhood(r, k, s->lags))
            continue;
        double left = lowest(r, k / 2, k), right = lowest(r, k, SPR_MIN(k + k / 2, s->lags));
        double height = r[k] - SPR_MAX(left, right);
        if (height < 0.03)
            continue;
        double period = refine(s, k, height);
        s->hills[s->hill_count++] = (struct hill){k, r[k], height, period < 8 ? sharpen(s, period) : period};
    }
}

/* ---- choice ---- */

/* Is `longer` a whole number of `shorter`s, counted exactly enough to say so? */
static bool is_whole(double longer, double shorter, double least) {
    double ratio = longer / shorter, near = floor(ratio + 0.5);
    return near >= least && fabs(ratio - near) < SPR_MIN(0.15, 0.04 * near);
}

/*
 * A period that drifts is not gone after its mean cycle was taken out, and then its multiples stand there too.
 * A true longer one (the week over the day) is higher than what is left of the shorter.
 */
static bool is_echo(const struct search *s, const struct hill *h, double known) {
    double left = 0;
    if (!is_whole(h->period, known, 2))
        return false;
    for (int64_t k = (int64_t)(0.96 * known); k <= (int64_t)(1.04 * known) + 1 && k < s->lags; k++)
        left = SPR_MAX(left, s->r[k]);
    return h->r < 1.5 * left;
}

static bool is_calendar(const struct search *s, double period) {
    double p = period * s->t->step_s;
    return fabs(p / 86400 - 1) < 0.01 || fabs(p / 604800 - 1) < 0.01;
}

/* How many lags were looked at: neighbours on the same hillside are one try. */
static double independent_lags(const struct search *s, const struct hill *h) {
    return SPR_MAX(1.0, (double)(s->n / 3) / width_of(s, h->lag, h->height));
}

static bool passes(struct search *s, const struct hill *h, int round) {
    const struct spr_profile_opts *o = s->t->opts;
    double cycles = (double)s->n / h->period;
    if (cycles < 5 && !is_calendar(s, h->period))
        return false; /* a handful of bursts finds some distance that fits */
    if (!supported(s, h->period))
        return false;
    flatten(s, h->period);
    struct spr__alignment a = spr__align_test(s->flat, s->n, h->period, o->permutations,
                                              s->t->seed + (uint64_t)h->lag * 8 + (uint64_t)round, s->room);
    /* The hill was picked among many lags; the clock's own periods were there before the data. */
    double tries = is_calendar(s, h->period) ? 1 : independent_lags(s, h);
    double exceptions = cycles < 6 ? 0 : cycles < 9 ? 1.01 / floor(cycles) : 0.35;
    return a.share <= o->significance && a.tail * tries <= o->significance && a.alike >= 1 - exceptions;
}

static int fold_bins(double period) { return (int)SPR_MIN((double)FOLD_BINS_MAX, SPR_MAX(2.0, floor(period))); }

/*
 * The multiples of a period are hills as high as its own, and a slower wave may lift one of them above it. Is
 * `h` such a multiple of the shorter `base`? Then a fold at the base explains most of what one at `h` does,
 * once everything slower than the base is gone.
 */
static bool is_multiple_of(struct search *s, const struct hill *h, const struct hill *base) {
    double ratio = h->period / base->period;
    if (base->height < 0.4 * h->height || !is_whole(h->period, base->period, 2))
        return false;
    flatten(s, base->period);
    int bins = SPR_MIN(fold_bins(base->period), 48), more = (int)SPR_MIN(96.0, bins * floor(ratio + 0.5));
    return spr__fold_strength(s->flat, s->n, base->period, s->room, bins) >
           0.55 * spr__fold_strength(s->flat, s->n, h->period, s->room, more);
}

/* The highest hill that passes, or the shortest one that it is but a multiple of. */
static int pick(struct search *s, const struct spr__periods *known, int round) {
    bool tried[HILLS_MAX] = {false};
    for (int i = 0; i < s->hill_count; i++)
        for (int k = 0; k < known->count; k++)
            tried[i] = tried[i] || is_whole(known->steps[k], s->hills[i].period, 1) ||
                       is_echo(s, &s->hills[i], known->steps[k]);
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        int best = -1;
        for (int i = 0; i < s->hill_count; i++)
            if (!tried[i] && (best < 0 || s->hills[i].height > s->hills[best].height))
                best = i;
        if (best < 0)
            return -1;
        for (int i = 0; i < best; i++)
            if (!tried[i] && is_multiple_of(s, &s->hills[best], &s->hills[i]) && passes(s, &s->hills[i], round))
                return i;
        tried[best] = true;
        if (passes(s, &s->hills[best], round))
            return best;
    }
    return -1;
}

/* Take the mean cycle out. */
static void remove_fold(struct search *s, double period) {
    int bins = fold_bins(period);
    double *sum = s->room, *count = s->room + bins, per_step = bins / period;
    memset(sum, 0, 2 * (size_t)bins * sizeof *sum);
    for (int pass = 0; pass < 2; pass++) {
        double at = 0;
        for (int64_t i = 0; i < s->n; i++) {
            int b = SPR_MIN((int)at, bins - 1);
            if (pass == 0 && isfinite(s->y[i]))
                sum[b] += s->y[i], count[b] += 1;
            else if (pass == 1)
                s->y[i] -= sum[b];
            at += per_step;
            at -= at >= bins ? bins : 0;
        }
        for (int b = 0; pass == 0 && b < bins; b++)
            sum[b] = count[b] > 0 ? sum[b] / count[b] : 0;
    }
}

static void search_periods(struct search *s, struct spr__periods *out) {
    int want = s->t->opts->max_periods;
    for (int round = 0; out->count < want && round < want; round++) {
        correlate(s);
        find_hills(s);
        int i = pick(s, out, round);
        if (i < 0)
            break;
        double period = s->hills[i].period;
        double strength = spr__fold_strength(s->y, s->n, period, s->room, SPR_MIN(fold_bins(period), 96));
        if (round == 0)
            out->strength = strength;
        else if (strength < 0.05)
            break;
        out->steps[out->count++] = period;
        remove_fold(s, period);
    }
}

int spr__periods_find(const struct spr__trait *t, struct spr__periods *out) {
    int64_t first = 0, last = t->n;
    memset(out, 0, sizeof *out);
    while (first < last && !isfinite(t->x[first]))
        first++;
    while (last > first && !isfinite(t->x[last - 1]))
        last--;
    struct search s = {.t = t, .n = last - first};
    if (s.n < 16)
        return SPR_OK;
    s.lags = s.n / 2;
    for (s.size = 32; s.size < s.n + s.lags + 1;)
        s.size *= 2;
    size_t room = (size_t)spr__align_room(s.n) + 2 * FOLD_BINS_MAX;
    size_t all = (size_t)s.n * 2 + (size_t)s.size * 3 + (size_t)(s.size / 2 + 1) + 2 * (size_t)(s.lags + 1) + room;
    double *block = spr__alloc(t->ctx, all, sizeof *block), *at = block;
    if (!block)
        return SPR_E_NOMEM;
    s.y = at, at += s.n;
    s.flat = at, at += s.n;
    s.z = at, at += 2 * s.size;
    s.roots = at, at += s.size;
    s.power = at, at += s.size / 2 + 1;
    s.r = at, at += s.lags + 1;
    s.pairs = at, at += s.lags + 1;
    s.room = at;
    if (prepare(&s, t->x + first, s.flat)) {
        spr__fft_roots(s.roots, s.size);
        count_pairs(&s);
        search_periods(&s, out);
    }
    spr__free(t->ctx, block, all, sizeof *block);
    return SPR_OK;
}
