/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Starting states as stats::HoltWinters of R has them: with a season, the first two periods are decomposed by a centred
 * moving average, level and trend are the regression line through that average, the figures are the mean distances from
 * it (of the whole history, where that is asked for); without a season, the first one or two values. Fractional periods
 * and gaps are ours: the window of the average takes a share of its outermost points, and a gap is filled before the
 * decomposition.
 */
#include "forecast/hw.h"

struct hw_tick spr__hw_tick(const struct hw_cycle *cycle, int64_t step) {
    struct hw_tick k = {.here = 1, .gain_here = 1};
    double period = cycle->period, whole = rint(period);
    if (fabs(period - whole) < 1e-9) {
        k.at = k.next = (int32_t)(step % (int64_t)whole);
        return k;
    }
    /* Fewer slots than steps in a period, so that every slot is visited in every season. */
    double turn = (double)step / period, at = (turn - floor(turn)) * (double)cycle->slots;
    k.at = SPR_MIN((int32_t)at, cycle->slots - 1);
    k.next = (k.at + 1) % cycle->slots;
    k.there = at - (double)k.at;
    k.here = 1.0 - k.there;
    double norm = k.here * k.here + k.there * k.there;
    k.gain_here = k.here / norm, k.gain_there = k.there / norm;
    return k;
}

/* Window [0, n) of x into w, gaps from the neighbouring season, else along a line between known values. */
static void fill(const double *x, size_t stride, int64_t n, double period, double *w) {
    int64_t season = (int64_t)rint(period);
    for (int64_t t = 0; t < n; t++) {
        w[t] = x[(size_t)t * stride];
        if (isnan(w[t]) && t + season < n)
            w[t] = x[(size_t)(t + season) * stride];
        if (isnan(w[t]) && t >= season)
            w[t] = w[t - season];
    }
    for (int64_t t = 1, known = 0; t < n; t++) { /* w[0] is known: a lane begins at its first value */
        if (isnan(w[t]) && t + 1 < n)
            continue;
        double end = isnan(w[t]) ? w[known] : w[t];
        for (int64_t i = known + 1; i <= t; i++)
            w[i] = i == t ? end : w[known] + (end - w[known]) * (double)(i - known) / (double)(t - known);
        known = t;
    }
}

/* Centred moving average over one period; NaN within half a period of the ends. Returns its half width. */
static int64_t average(const double *w, int64_t n, double period, double *out) {
    int64_t half = (int64_t)ceil(period / 2 - 0.5 - 1e-9);
    double edge = period / 2 + 0.5 - (double)half,
           inner = 0; /* what the outermost points count; the sum between them */
    for (int64_t t = 1; t < 2 * half; t++)
        inner += w[t];
    for (int64_t t = 0; t < n; t++)
        out[t] = NAN;
    for (int64_t t = half; t < n - half; t++) {
        out[t] = (inner + edge * (w[t - half] + w[t + half])) / period;
        inner += w[t + half] - w[t - half + 1];
    }
    return half;
}

/* Least squares line through v[0..n-1] at 1..n. */
static void line(const double *v, int64_t n, double *intercept, double *slope) {
    double mean_i = (double)(n + 1) / 2, mean_v = 0, num = 0, den = 0;
    for (int64_t i = 0; i < n; i++)
        mean_v += v[i];
    mean_v /= (double)n;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)(i + 1) - mean_i;
        num += d * (v[i] - mean_v), den += d * d;
    }
    *slope = den > 0 ? num / den : 0;
    *intercept = mean_v - *slope * mean_i;
}

/* Mean of d by slot, centred on zero (or one, where seasons multiply), taken out of d. NaN in d are left out. */
static void figures(double *d, int64_t n, const struct hw_tick *ticks, int32_t slots, bool mult, double *season,
                    size_t stride, double *weight) {
    double mean = 0, neutral = mult ? 1 : 0;
    for (int32_t i = 0; i < slots; i++)
        season[(size_t)i * stride] = weight[i] = 0;
    for (int64_t t = 0; t < n; t++)
        if (!isnan(d[t])) {
            season[(size_t)ticks[t].at * stride] += d[t] * ticks[t].here, weight[ticks[t].at] += ticks[t].here;
            if (ticks[t].there > 0)
                season[(size_t)ticks[t].next * stride] += d[t] * ticks[t].there,
                    weight[ticks[t].next] += ticks[t].there;
        }
    for (int32_t i = 0; i < slots; i++) {
        double *at = &season[(size_t)i * stride];
        *at = weight[i] > 0 ? *at / weight[i] : neutral;
        mean += *at / (double)slots;
    }
    for (int32_t i = 0; i < slots; i++) {
        double *at = &season[(size_t)i * stride];
        *at = mult ? SPR_MIN(SPR_MAX(*at / mean, HW_FIGURE_MIN), HW_FIGURE_MAX) : *at - mean;
    }
    for (int64_t t = 0; t < n; t++) {
        double taken = spr__hw_season(season, stride, ticks[t]);
        d[t] = mult ? d[t] / taken : d[t] - taken;
    }
}

static struct hw_start with_season(const struct hw_shape *shape, const double *x, size_t stride, int64_t begin,
                                   int32_t seasons, bool mult, int64_t until, const struct hw_tick *const *ticks,
                                   double *const *season, double *work) {
    double period = shape->cycle[0].period;
    for (int32_t c = 1; c < seasons; c++)
        period = SPR_MAX(period, shape->cycle[c].period);
    int64_t two = (int64_t)ceil(2 * period - 1e-9), n = SPR_MAX(two, until - begin);
    double *w = work, *smooth = work + n;
    struct hw_start s = {.seasons = seasons};
    fill(x + (size_t)begin * stride, stride, n, period, w);
    int64_t half = average(w, n, period, smooth);
    line(smooth + half, two - 2 * half, &s.level, &s.trend);
    for (int64_t t = 0; t < n; t++)
        w[t] = mult ? w[t] / smooth[t] : w[t] - smooth[t];
    for (int32_t c = 0; c < seasons; c++) /* the average has served: its room takes the weights */
        figures(w, n, ticks[c] + begin, shape->cycle[c].slots, mult, season[c], stride, smooth);
    s.from = begin + (int64_t)ceil(period - 1e-9);
    return s;
}

static struct hw_start without_season(const double *x, size_t stride, int64_t begin, int64_t steps, bool trend) {
    struct hw_start s = {.from = begin + 1, .level = x[(size_t)begin * stride]};
    if (!trend)
        return s;
    int64_t second = begin + 1;
    while (second < steps && isnan(x[(size_t)second * stride]))
        second++;
    if (second == steps)
        return s;
    s.trend = (x[(size_t)second * stride] - s.level) / (double)(second - begin);
    s.level = x[(size_t)second * stride];
    s.from = second + 1;
    return s;
}

struct hw_start spr__hw_begin(const struct hw_shape *shape, const double *x, size_t stride, int64_t steps, bool trend,
                              bool mult, int64_t until, const struct hw_tick *const *ticks, double *const *seasons,
                              double *work) {
    int64_t begin = 0;
    int32_t can = 0;
    while (begin < steps && isnan(x[(size_t)begin * stride]))
        begin++;
    if (begin == steps)
        return (struct hw_start){.from = steps};
    while (can < HW_CYCLES && shape->cycle[can].slots && (double)(steps - begin) >= 2 * shape->cycle[can].period)
        can++;
    for (int32_t c = 0; c < HW_CYCLES; c++)
        for (int32_t i = 0; i < shape->cycle[c].slots; i++)
            seasons[c][(size_t)i * stride] = mult ? 1 : 0;
    return can ? with_season(shape, x, stride, begin, can, mult, until, ticks, seasons, work)
               : without_season(x, stride, begin, steps, trend);
}
