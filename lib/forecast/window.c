/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A window's scale and its summaries S. */
#include "forecast/window.h"

static const int32_t spans[] = {3, 6, 12, 24, 48, 72, 144, 168, 288, 576, 2016};
static const float compact_levels[] = {.5f, .95f};
static const float full_levels[] = {.1f, .25f, .5f, .75f, .9f, .95f, .99f};
enum { SPANS = SPR_ARRAY_LEN(spans), SEQUENCE = 168, RECENT = 12, LATELY = 48 };

/* ---- sizes ---- */

bool spr__window_spec_ok(const struct spr__window_spec *s) {
    int64_t week = (int64_t)s->day * 7; /* the numbers of a file may be anything */
    return s->horizon >= 1 && s->horizon <= SPR__WINDOW_HORIZON_MAX && s->context >= 2 &&
           s->context <= SPR__WINDOW_CONTEXT_MAX && s->norm >= 2 && s->norm <= s->context && s->day >= 0 &&
           s->day <= s->context && s->shifts >= 1 && s->shifts <= SPR__WINDOW_SHIFTS_MAX && s->shifts % 2 == 1 &&
           s->stride >= 1 && (s->day == 0 || (int64_t)(s->shifts / 2) * s->stride < s->day) && s->flags >= 0 &&
           s->flags < 2 * SPR__WINDOW_EVENTS && (!(s->flags & SPR__WINDOW_SEQUENCE) || s->context >= 2 * SEQUENCE) &&
           (!(s->flags & SPR__WINDOW_SINGLE) || (s->day > 0 && s->context >= week + s->day)) &&
           (!(s->flags & SPR__WINDOW_CALENDAR) || s->day > 0) && s->resource >= 0 && s->resource <= SPR_RESOURCES_MAX;
}

/* Windows of the quantiles among the summaries. */
static int32_t quantile_spans(const struct spr__window_spec *s, int32_t *out) {
    int32_t wanted[4] = {24, 144, 288, s->context}, count = 0;
    if (s->day > 0 && s->day <= 96)
        wanted[1] = 7 * s->day, wanted[2] = s->context;
    for (int32_t i = 0; i < 4; i++)
        if (wanted[i] <= s->context && (count == 0 || wanted[i] > out[count - 1]))
            out[count++] = wanted[i];
    return count;
}

static int32_t full_spans(const struct spr__window_spec *s) {
    int32_t n = 0;
    while (n < SPANS && spans[n] <= s->context)
        n++;
    return n;
}

static int32_t rounded(const struct spr__window_spec *s) { /* summaries that go through asinh */
    int32_t q[4], n = quantile_spans(s, q);
    int32_t count = s->flags & SPR__WINDOW_FULL ? 5 + 4 * full_spans(s) + 7 * n : 12 + 2 * n;
    return count + (s->flags & SPR__WINDOW_SEQUENCE ? 2 * SEQUENCE : 0);
}

int32_t spr__window_summaries(const struct spr__window_spec *s) {
    return rounded(s) + (s->day ? 7 : 6) + (s->flags & SPR__WINDOW_LEVEL ? 2 + s->resource : 0);
}

/* ---- gaps ---- */

bool spr__fill_gaps(double *y, int64_t n, int64_t season, uint8_t *marks) {
    int64_t first = 0;
    while (first < n && isnan(y[first]))
        first++;
    if (first == n)
        return false;
    for (int64_t t = 0; t < n; t++) {
        if (!isnan(y[t]))
            continue;
        y[t] = t < first ? y[first] : season > 0 && t - season >= first ? y[t - season] : y[t - 1];
        if (marks)
            marks[t] = 1;
    }
    return true;
}

/* ---- numbers over a window ---- */

static double mean_of(const float *v, int32_t n) {
    double sum[4] = {0, 0, 0, 0};
    int32_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int32_t k = 0; k < 4; k++)
            sum[k] += (double)v[i + k];
    for (; i < n; i++)
        sum[0] += (double)v[i];
    return (sum[0] + sum[1] + sum[2] + sum[3]) / n;
}

static double spread_of(const float *v, int32_t n) {
    double mean = mean_of(v, n), sum = 0;
    for (int32_t i = 0; i < n; i++)
        sum += ((double)v[i] - mean) * ((double)v[i] - mean);
    return sqrt(sum / n);
}

static float least(const float *v, int32_t n) {
    float m = v[0];
    for (int32_t i = 1; i < n; i++)
        m = v[i] < m ? v[i] : m;
    return m;
}

static float most(const float *v, int32_t n) {
    float m = v[0];
    for (int32_t i = 1; i < n; i++)
        m = v[i] > m ? v[i] : m;
    return m;
}

/* Bring the k-th smallest of v[lo..n) to its place, smaller ones before it (Hoare's quickselect, middle pivot). */
static void place(float *v, int32_t lo, int32_t n, int32_t k) {
    int32_t hi = n - 1;
    while (lo < hi) {
        float a = v[lo], b = v[lo + (hi - lo) / 2], c = v[hi];
        float pivot = a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
        int32_t i = lo, j = hi;
        while (i <= j) {
            while (v[i] < pivot)
                i++;
            while (pivot < v[j])
                j--;
            if (i <= j) {
                float swap = v[i];
                v[i++] = v[j], v[j--] = swap;
            }
        }
        if (k <= j)
            hi = j;
        else if (k >= i)
            lo = i;
        else
            return;
    }
}

void spr__select(float *v, int32_t n, const float *levels, int32_t count, float *out) {
    int32_t from = 0;
    for (int32_t i = 0; i < count; i++) {
        double at = (double)levels[i] * (n - 1);
        int32_t k = (int32_t)at;
        place(v, from, n, k);
        from = k;
        float next = k + 1 < n ? least(v + k + 1, n - k - 1) : v[k];
        out[i] = v[k] + (float)(at - k) * (next - v[k]);
    }
}

/* ---- scale ---- */

static double mean_step(const double *y, int32_t n, int32_t lag) {
    double sum[4] = {0, 0, 0, 0};
    int32_t t = lag;
    if (n <= lag)
        return 0;
    for (; t + 4 <= n; t += 4)
        for (int32_t k = 0; k < 4; k++)
            sum[k] += fabs(y[t + k] - y[t + k - lag]);
    for (; t < n; t++)
        sum[0] += fabs(y[t] - y[t - lag]);
    return (sum[0] + sum[1] + sum[2] + sum[3]) / (n - lag);
}

static double mean_apart(const double *y, int32_t n, double from) {
    double sum[4] = {0, 0, 0, 0};
    int32_t t = 0;
    for (; t + 4 <= n; t += 4)
        for (int32_t k = 0; k < 4; k++)
            sum[k] += fabs(y[t + k] - from);
    for (; t < n; t++)
        sum[0] += fabs(y[t] - from);
    return (sum[0] + sum[1] + sum[2] + sum[3]) / n;
}

static double mean_values(const double *y, int32_t n) {
    double sum = 0;
    for (int32_t t = 0; t < n; t++)
        sum += y[t];
    return sum / n;
}

/* Loads that stay where they are: a unit is what a step usually changes, of the whole window and lately. */
static void scale_by_change(struct spr__window *w, const double *context, const double *norm, double mean) {
    int32_t n = w->spec->context, lately = SPR_MIN(LATELY, n);
    double change = (mean_step(norm, w->spec->norm, 1) + mean_step(context + n - lately, lately, 1)) / 2;
    w->level = context[n - 1];
    w->spread = SPR_MAX(change, .001 * fabs(mean) + 1e-7 * w->unit + 1e-300);
}

void spr__window_open(struct spr__window *w, const struct spr__window_spec *spec,
                      const struct spr__net_kernels *kernels, const double *context, double unit, float *memory) {
    int32_t n = spec->context, recent = SPR_MIN(RECENT, n);
    const double *norm = context + n - spec->norm;
    double mean = mean_values(norm, spec->norm);
    w->mean_abs = mean_apart(context, n, 0);
    w->spec = spec, w->kernels = kernels;
    w->unit = unit > 1e-300 ? unit : w->mean_abs > 1e-300 ? w->mean_abs : 1;
    w->z = memory, w->scratch = memory + n, w->wave = memory + 2 * (size_t)n;
    w->level = spec->flags & SPR__WINDOW_LAST ? mean_values(context + n - recent, recent) : mean;
    w->spread = SPR_MAX(mean_apart(norm, spec->norm, mean), .02 * fabs(w->level) + 1e-7 * w->unit + 1e-300);
    if (spec->flags & SPR__WINDOW_STAY)
        scale_by_change(w, context, norm, mean);
    w->change = mean_step(context, n, 1);
    w->season = spec->day && spec->day < n ? mean_step(context, n, spec->day) : w->change;
    double per = 1 / w->spread;
    for (int32_t t = 0; t < n; t++)
        w->z[t] = spr__window_scaled(context[t], w->level, per);
    if (spec->flags & SPR__WINDOW_HYBRID)
        spr__window_smooth(w);
}

/* ---- summaries ---- */

static float *compact_set(const struct spr__window *w, float *out) {
    const float *end = w->z + w->spec->context;
    static const int32_t means[] = {3, 12, 24, 72};
#define LAST(span) (end - SPR_MIN(span, w->spec->context)), SPR_MIN(span, w->spec->context)
    *out++ = end[-1], *out++ = end[-2];
    for (size_t i = 0; i < SPR_ARRAY_LEN(means); i++)
        *out++ = (float)mean_of(LAST(means[i]));
    *out++ = most(LAST(12)), *out++ = least(LAST(12));
    *out++ = most(LAST(24)), *out++ = most(LAST(72));
    *out++ = (float)spread_of(LAST(6)), *out++ = (float)spread_of(LAST(24));
    return out;
}

static float *full_set(const struct spr__window *w, float *out) {
    const float *end = w->z + w->spec->context;
    static const int32_t lags[] = {1, 2, 3, 4, 6};
    for (size_t i = 0; i < SPR_ARRAY_LEN(lags); i++)
        *out++ = end[-SPR_MIN(lags[i], w->spec->context)];
    for (int32_t i = 0; i < full_spans(w->spec); i++) {
        *out++ = (float)mean_of(LAST(spans[i])), *out++ = most(LAST(spans[i]));
        *out++ = (float)spread_of(LAST(spans[i])), *out++ = least(LAST(spans[i]));
    }
    return out;
#undef LAST
}

static float *quantile_set(const struct spr__window *w, float *out) {
    bool full = w->spec->flags & SPR__WINDOW_FULL;
    const float *levels = full ? full_levels : compact_levels;
    int32_t each = full ? 7 : 2, span[4], count = quantile_spans(w->spec, span);
    for (int32_t i = 0; i < count; i++, out += each) {
        memcpy(w->scratch, w->z + w->spec->context - span[i], (size_t)span[i] * sizeof *w->scratch);
        spr__select(w->scratch, span[i], levels, each, out);
    }
    return out;
}

static float *sequence_set(const struct spr__window *w, float *out) {
    const float *last = w->z + w->spec->context - SEQUENCE;
    for (int32_t t = 0; t < SEQUENCE; t++)
        out[t] = last[t], out[SEQUENCE + t] = last[t] - last[t - SEQUENCE];
    return out + 2 * SEQUENCE;
}

static double correlation(const float *z, int32_t n, int32_t lag, double mean) {
    double up = 0, down = 0;
    for (int32_t t = 0; t < n; t++) {
        double d = (double)z[t] - mean;
        down += d * d;
        if (t >= lag)
            up += d * ((double)z[t - lag] - mean);
    }
    return down > 0 ? up / down : 0;
}

static float *shape_set(const struct spr__window *w, float *out) {
    int32_t n = w->spec->context, low = 0, still = 0, recent = SPR_MIN(24, n), lag = w->spec->day;
    float least_z = least(w->z, n), last = w->z[n - 1];
    double mean = mean_of(w->z, n), shape[7];
    for (int32_t t = 0; t < n; t++)
        low += w->z[t] == least_z;
    for (int32_t t = n - recent; t < n; t++)
        still += w->z[t] == last;
    shape[0] = log1p(fabs(w->level) / w->spread);
    shape[1] = log(w->season / w->spread + .001), shape[2] = log(w->change / w->spread + .001);
    shape[3] = (double)low / n, shape[4] = (double)still / recent;
    shape[5] = correlation(w->z, n, 1, mean);
    shape[6] = lag ? correlation(w->z, n, lag, mean) : 0;
    for (int32_t i = 0; i < (lag ? 7 : 6); i++)
        *out++ = (float)SPR_MIN(SPR_MAX(shape[i], -8), 8);
    return out;
}

static void level_set(const struct spr__window *w, float *out) {
    *out++ = (float)(log1p(20 * fabs(w->level) / w->unit) / 5);
    *out++ = (float)(log(w->spread / w->unit + 1e-5) / 5);
    for (int32_t r = 0; r < w->spec->resource; r++)
        *out++ = w->resource == r;
}

void spr__window_summary(const struct spr__window *w, float *out) {
    float *at = w->spec->flags & SPR__WINDOW_FULL ? full_set(w, out) : compact_set(w, out);
    at = quantile_set(w, at);
    if (w->spec->flags & SPR__WINDOW_SEQUENCE)
        at = sequence_set(w, at);
    w->kernels->vasinh(at - out, out, out);
    at = shape_set(w, at);
    if (w->spec->flags & SPR__WINDOW_LEVEL)
        level_set(w, at);
}
