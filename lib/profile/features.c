/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a series is like besides its periods: level, spread, trend, bursts, forecastability; and its class. */
#include "profile/profile.h"

enum { TREND_PARTS = 48, ENOUGH = 48 };

/* ---- trend: Theil & Sen over the medians of equal parts ---- */

static double trend_per_day(const struct spr__trait *t, double *sorted) {
    double value[TREND_PARTS], when[TREND_PARTS], slopes[TREND_PARTS * (TREND_PARTS - 1) / 2];
    int64_t parts = SPR_MIN((int64_t)TREND_PARTS, t->n / 4), used = 0, n = 0;
    /* Whole days where there are enough of them: a part that ends at noon would lean. */
    double day = 86400 / t->step_s;
    if (day >= 2 && (double)t->n / day >= 4)
        parts = SPR_MIN(parts, (int64_t)((double)t->n / day));
    for (int64_t p = 0; p < parts; p++) {
        int64_t from = t->n * p / parts, to = t->n * (p + 1) / parts, m = 0;
        for (int64_t i = from; i < to; i++)
            if (isfinite(t->x[i]))
                sorted[m++] = t->x[i];
        if (m * 2 >= to - from && m > 0) {
            value[used] = spr__median(sorted, m);
            when[used++] = (double)(from + to) / 2 * t->step_s / 86400;
        }
    }
    for (int64_t i = 0; i < used; i++)
        for (int64_t j = i + 1; j < used; j++)
            slopes[n++] = (value[j] - value[i]) / (when[j] - when[i]);
    return n ? spr__median(slopes, n) : 0;
}

/* ---- bursts: excursions above the calm level ---- */

struct burst_sums {
    int64_t count, steps;
    double height, squares; /* sums above the level over the steps of excursions */
};

static struct burst_sums excursions(const struct spr__trait *t, double level, double threshold) {
    struct burst_sums b = {0};
    bool inside = false;
    for (int64_t i = 0; i < t->n; i++) {
        double x = t->x[i];
        if (!isfinite(x))
            continue; /* a gap neither ends nor begins an excursion */
        bool above = x > threshold;
        b.count += above && !inside;
        inside = above;
        if (above) {
            b.steps++;
            b.height += x - level;
            b.squares += (x - level) * (x - level);
        }
    }
    return b;
}

/* A burst leaves the calm band: five robust sd and half the level, whichever is more. */
static void bursts(const struct spr__trait *t, int64_t valid, double top, struct spr_profile_row *row) {
    double lift = SPR_MAX(5 * row->spread, 0.5 * fabs(row->level));
    if (!(lift > 0))
        lift = 0.05 * SPR_MAX(top - row->level, 0); /* idle but for the bursts: its level is 0 */
    if (!(lift > 0))
        return;
    struct burst_sums b = excursions(t, row->level, row->level + lift);
    if (!b.count)
        return;
    row->burst_rate_per_day = (double)b.count * 86400 / ((double)valid * t->step_s);
    row->burst_size = b.height / (double)b.steps;
    row->burst_length_s = (double)b.steps * t->step_s / (double)b.count;
}

/* ---- forecastability: how much better than the mean the better naive forecast is on the last third ---- */

static double past(const double *x, double at) {
    int64_t i = (int64_t)at;
    double part = at - (double)i;
    if (at < 0)
        return NAN;
    return part < 1e-9 ? x[i] : x[i] + part * (x[i + 1] - x[i]);
}

struct naive_errors {
    double last, season, mean;
    int64_t count;
};

static struct naive_errors errors_over(const struct spr__trait *t, int64_t from, int64_t to, int64_t ahead,
                                       double period, double mean) {
    struct naive_errors e = {0};
    double back = period > 0 ? period * ceil((double)ahead / period) : 0;
    for (int64_t i = from; i < to; i++) {
        double x = t->x[i], last = i >= ahead ? t->x[i - ahead] : NAN,
               season = back > 0 ? past(t->x, (double)i - back) : last;
        if (!isfinite(x) || !isfinite(last) || !isfinite(season))
            continue;
        e.last += fabs(x - last), e.season += fabs(x - season), e.mean += fabs(x - mean);
        e.count++;
    }
    return e;
}

static double forecastability(const struct spr__trait *t, const struct spr__periods *p) {
    int64_t third = t->n / 3, ahead = SPR_MAX(1, (int64_t)(3600 / t->step_s + 0.5)), n = 0;
    double mean = 0, period = p->count ? p->steps[0] : 0;
    if (ahead >= third)
        ahead = 1;
    for (int64_t i = 0; i < 2 * third; i++)
        if (isfinite(t->x[i]))
            mean += t->x[i], n++;
    if (!n || third < 4)
        return 0;
    mean /= (double)n;
    /* Which of the two is better is decided on the second third, how good it is on the last. */
    struct naive_errors choose = errors_over(t, third, 2 * third, ahead, period, mean);
    struct naive_errors judge = errors_over(t, 2 * third, t->n, ahead, period, mean);
    if (!judge.count || !(judge.mean > 0))
        return 0;
    double error = choose.count && choose.season < choose.last ? judge.season : judge.last;
    return SPR_MAX(0.0, 1 - error / judge.mean);
}

/* ---- all of it ---- */

void spr__features(const struct spr__trait *t, const struct spr__periods *p, double *sorted,
                   struct spr_profile_row *row) {
    int64_t n = 0;
    row->trend_per_day = trend_per_day(t, sorted);
    for (int64_t i = 0; i < t->n; i++)
        if (isfinite(t->x[i]))
            sorted[n++] = t->x[i];
    if (!n) {
        row->level = row->spread = NAN;
        row->trend_per_day = 0;
        return;
    }
    spr__sort(sorted, n);
    row->level = spr__quantile_sorted(sorted, n, 0.5);
    double top = sorted[n - 1], decile = spr__quantile_sorted(sorted, n, 0.9);
    for (int64_t i = 0; i < n; i++)
        sorted[i] = fabs(sorted[i] - row->level);
    row->spread = 1.4826 * spr__median(sorted, n);
    bursts(t, n, top, row);
    for (int i = 0; i < p->count; i++)
        row->periods_s[i] = p->steps[i] * t->step_s;
    row->period_count = p->count;
    row->season_strength = p->count ? p->strength : 0;
    row->forecastability = forecastability(t, p);
    if (decile > row->level)
        spr__peak_windows(t, decile, row);
}

/* ---- the class ---- */

/* From 0 to 1 around `middle`, within about `width` of it. */
static double above(double x, double middle, double width) { return 1 / (1 + exp(-4 * (x - middle) / width)); }

void spr__classify(const struct spr__trait *t, const struct spr_profile_row *row, double member[4]) {
    int64_t n = 0;
    double mean = 0, var = 0;
    for (int64_t i = 0; i < t->n; i++)
        if (isfinite(t->x[i])) {
            double d = t->x[i] - mean;
            mean += d / (double)++n;
            var += d * (t->x[i] - mean);
        }
    member[0] = member[1] = member[2] = member[3] = 0.25;
    if (n < 2)
        return;
    double sd = sqrt(var / (double)n), size = SPR_MAX(fabs(mean), fabs(row->level));
    double wide = above(size > 0 ? sd / size : sd > 0, 0.25, 0.06);
    /* Rare bursts hardly move the standard deviation: a tall one now and then is no steady state either. */
    double tall = row->level > 0 ? row->burst_size / row->level : row->burst_size > 0 ? 9 : 0;
    double visited =
        row->burst_rate_per_day > 0 ? above(tall, 0.75, 0.15) * above(row->burst_rate_per_day, 0.1, 0.03) : 0;
    wide = SPR_MAX(wide, visited);
    double lift = SPR_MAX(5 * row->spread, 0.5 * fabs(row->level)); /* as in bursts() */
    struct burst_sums b = excursions(t, row->level, row->level + (lift > 0 ? lift : 0));
    double around_level = var + (double)n * (mean - row->level) * (mean - row->level);
    double bursty = b.count && around_level > 0 ? above(b.squares / around_level, 0.55, 0.15) *
                                                      above(0.35 - (double)b.steps / (double)n, 0, 0.06)
                                                : 0;
    double seasonal = row->period_count ? above(row->season_strength, 0.15, 0.06) : 0;
    member[SPR_CLASS_STEADY] = 1 - wide;
    member[SPR_CLASS_DIURNAL] = wide * seasonal;
    member[SPR_CLASS_BURST] = wide * (1 - seasonal) * bursty;
    member[SPR_CLASS_CHAOTIC] = wide * (1 - seasonal) * (1 - bursty);
    /* A handful of values looks like anything: nobody is sure before there are some dozens of them. */
    double seen = SPR_MIN(1.0, (double)n / ENOUGH);
    for (int k = 0; k < 4; k++)
        member[k] = 0.25 + seen * (member[k] - 0.25);
}
