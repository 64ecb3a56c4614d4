/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Features D of each step ahead: what the same phase showed in past days. Sixteen steps are made side by side, one in
 * each lane, so that the many small sorts become one sorting network over rows of sixteen numbers.
 */
#include "forecast/event_track.h"

enum {
    LANES = SPR__WINDOW_LANES,
    DAYS = 14,
    WEEK = 7,
    MOST = DAYS * SPR__WINDOW_SHIFTS_MAX,
    ROWS = 80,
    SHORT_SPANS = 6
};
static const float many_levels[] = {.1f, .5f, .75f, .9f, .95f, .99f};
static const float few_levels[] = {.5f, .9f};
static const int32_t short_spans[SHORT_SPANS] = {3, 6, 12, 24, 72, SPR__WINDOW_CONTEXT_MAX};

typedef float lanes[LANES];

/* ---- sizes ---- */

static int32_t weeks_of(const struct spr__window_spec *s) { return SPR_MIN(s->context / (WEEK * s->day), 8); }
/* Neighbours of past weeks are averaged too, except for series whose weeks repeat closely (M4). */
static bool wide_weeks(const struct spr__window_spec *s) { return !(s->flags & SPR__WINDOW_SINGLE); }

static int32_t rounded(const struct spr__window_spec *s) { /* features that go through asinh */
    int32_t smooth = s->flags & SPR__WINDOW_HYBRID ? 3 : 0;
    if (!s->day)
        return 1 + SHORT_SPANS + 2 + 2 + smooth;
    int32_t n = 10 + weeks_of(s) * (wide_weeks(s) ? 2 : 1) + 6 + 2 + 2 + 1 + 2 + smooth;
    n += s->context >= 28 * s->day;
    return n + (s->flags & SPR__WINDOW_SINGLE ? 10 : 0);
}

int32_t spr__window_features(const struct spr__window_spec *s) {
    return rounded(s) + 2 + (s->flags & SPR__WINDOW_CALENDAR ? 4 : 0) +
           (s->flags & SPR__WINDOW_EVENTS ? SPR__EVENT_FEATURES : 0);
}

/* ---- sorting side by side ---- */

static inline void order(float *restrict a, float *restrict b) {
    for (int32_t i = 0; i < LANES; i++) {
        float lo = a[i] < b[i] ? a[i] : b[i], hi = a[i] < b[i] ? b[i] : a[i];
        a[i] = lo, b[i] = hi;
    }
}

/* Batcher's merge exchange (Knuth 5.2.2, algorithm M): any n, comparisons that do not depend on the values. */
void spr__sort_lanes(float (*v)[LANES], int32_t n) {
    int32_t top = 1;
    while (top * 2 < n)
        top *= 2;
    for (int32_t p = top; p > 0 && n > 1; p /= 2) {
        int32_t q = top, r = 0, d = p;
        for (;;) {
            for (int32_t i = 0; i < n - d; i++)
                if ((i & p) == r)
                    order(v[i], v[i + d]);
            if (q == p)
                break;
            d = q - p, q /= 2, r = p;
        }
    }
}

static void quantiles(float (*sorted)[LANES], int32_t n, const float *levels, int32_t count, lanes *out) {
    for (int32_t k = 0; k < count; k++) {
        float at = levels[k] * (float)(n - 1);
        int32_t i = SPR_MIN((int32_t)at, n - 1), next = SPR_MIN(i + 1, n - 1);
        float share = at - (float)i;
        for (int32_t j = 0; j < LANES; j++)
            out[k][j] = sorted[i][j] + share * (sorted[next][j] - sorted[i][j]);
    }
}

/* ---- one group of lanes ---- */

struct group {
    const struct spr__window *w;
    const int32_t *h; /* [LANES] steps ahead */
    lanes rows[MOST]; /* z at the same phase, [day][shift] */
    lanes sorted[MOST];
    lanes f[ROWS];
    int32_t used;
    float (*base)[LANES];
};

/* An index after the origin moves back by seasons, one before the context forward. */
static int32_t inside(const struct spr__window_spec *s, int32_t at, int32_t period) {
    while (at >= s->context)
        at -= period;
    while (at < 0)
        at += s->day;
    return at;
}

static void gather(struct group *g, int32_t days) {
    const struct spr__window_spec *s = g->w->spec;
    int32_t half = s->shifts / 2;
    for (int32_t j = 0; j < LANES; j++) {
        int32_t phase = s->context + g->h[j] % s->day;
        for (int32_t d = 0; d < days; d++)
            for (int32_t k = 0; k < s->shifts; k++)
                g->rows[d * s->shifts + k][j] =
                    g->w->z[inside(s, phase - (d + 1) * s->day + (k - half) * s->stride, s->day)];
    }
}

static float *next(struct group *g) { return g->f[g->used++]; }

static void mean_rows(lanes *rows, int32_t count, int32_t stride, float *out) {
    lanes sum = {0};
    for (int32_t i = 0; i < count; i++)
        for (int32_t j = 0; j < LANES; j++)
            sum[j] += rows[i * stride][j];
    for (int32_t j = 0; j < LANES; j++)
        out[j] = sum[j] / (float)count;
}

static void extreme_rows(lanes *rows, int32_t count, bool high, float *out) {
    memcpy(out, rows[0], sizeof(lanes));
    for (int32_t i = 1; i < count; i++)
        for (int32_t j = 0; j < LANES; j++)
            out[j] = (rows[i][j] > out[j]) == high ? rows[i][j] : out[j];
}

static void spread_rows(lanes *rows, int32_t count, int32_t stride, const float *mean, float *out) {
    lanes sum = {0};
    for (int32_t i = 0; i < count; i++)
        for (int32_t j = 0; j < LANES; j++)
            sum[j] += (rows[i * stride][j] - mean[j]) * (rows[i * stride][j] - mean[j]);
    for (int32_t j = 0; j < LANES; j++)
        out[j] = sqrtf(sum[j] / (float)count);
}

static void past_days(struct group *g, int32_t days7) {
    int32_t n = g->w->spec->shifts, half = n / 2;
    memcpy(next(g), g->rows[half], sizeof(lanes));
    mean_rows(g->rows, n, 1, next(g));
    extreme_rows(g->rows, n, true, next(g));
    lanes *second = days7 > 1 ? g->rows + n : g->rows;
    memcpy(next(g), second[half], sizeof(lanes));
    mean_rows(second, n, 1, next(g));
    float *mean = next(g);
    mean_rows(g->rows + half, days7, n, mean);
    memcpy(*g->base, mean, sizeof(lanes));
    spread_rows(g->rows + half, days7, n, mean, next(g));
    mean_rows(g->rows, days7 * n, 1, next(g));
    extreme_rows(g->rows, days7 * n, true, next(g));
    extreme_rows(g->rows, days7 * n, false, next(g));
}

static void past_weeks(struct group *g) {
    const struct spr__window_spec *s = g->w->spec;
    int32_t week = WEEK * s->day, half = s->shifts / 2;
    for (int32_t k = 1; k <= weeks_of(s); k++) {
        float *one = next(g), *around = wide_weeks(s) ? next(g) : NULL;
        for (int32_t j = 0; j < LANES; j++) {
            int32_t at = inside(s, s->context + g->h[j] - k * week, week);
            one[j] = g->w->z[at];
            float sum = 0;
            for (int32_t i = -half; around && i <= half; i++)
                sum += g->w->z[inside(s, at + i * s->stride, s->day)];
            if (around)
                around[j] = sum / (float)s->shifts;
        }
    }
}

static void same_phase_quantiles(struct group *g, int32_t days7, int32_t days14) {
    int32_t n = g->w->spec->shifts;
    memcpy(g->sorted, g->rows, (size_t)(days14 * n) * sizeof(lanes));
    spr__sort_lanes(g->sorted, days14 * n);
    quantiles(g->sorted, days14 * n, many_levels, 6, g->f + g->used);
    if (days7 != days14) {
        memcpy(g->sorted, g->rows, (size_t)(days7 * n) * sizeof(lanes));
        spr__sort_lanes(g->sorted, days7 * n);
    }
    quantiles(g->sorted, days7 * n, few_levels, 2, g->f + g->used + 6);
    g->used += 8;
}

static float mean_last(const struct spr__window *w, int32_t n, int32_t back) {
    const float *end = w->z + w->spec->context - back;
    float sum = 0;
    for (int32_t i = 1; i <= n; i++)
        sum += end[-i];
    return sum / (float)n;
}

static void all_lanes(float *row, float v) {
    for (int32_t j = 0; j < LANES; j++)
        row[j] = v;
}

/* The last value, forgotten over a time. */
static void fading(struct group *g, float over) {
    float *row = next(g), last = g->w->z[g->w->spec->context - 1];
    for (int32_t j = 0; j < LANES; j++)
        row[j] = last * expf(-(float)(g->h[j] + 1) / over);
}

static void singles(struct group *g, int32_t days7) {
    const struct spr__window_spec *s = g->w->spec;
    int32_t n = s->shifts, half = n / 2, week = WEEK * s->day;
    for (int32_t d = 2; d < WEEK; d++)
        memcpy(next(g), g->rows[SPR_MIN(d, days7 - 1) * n + half], sizeof(lanes));
    for (int32_t d = 0; d < WEEK; d += WEEK - 1)
        for (int32_t k = -1; k <= 1; k += 2)
            memcpy(next(g), g->rows[SPR_MIN(d, days7 - 1) * n + half + (half ? k : 0)], sizeof(lanes));
    float drift = mean_last(g->w, s->day, 0) - mean_last(g->w, s->day, week), *row = next(g);
    for (int32_t j = 0; j < LANES; j++)
        row[j] = g->w->z[inside(s, s->context + g->h[j] - week, week)] + drift;
}

static void seasonal_set(struct group *g) {
    const struct spr__window_spec *s = g->w->spec;
    int32_t held = SPR_MIN(s->context / s->day, DAYS), days7 = SPR_MIN(held, WEEK);
    gather(g, held);
    past_days(g, days7);
    past_weeks(g);
    same_phase_quantiles(g, days7, held);
    fading(g, (float)s->day / 24), fading(g, (float)s->day / 4);
    all_lanes(next(g), g->w->z[s->context - 1]);
    all_lanes(next(g), mean_last(g->w, SPR_MIN(SPR_MAX(3, s->day / 24), s->context), 0));
    all_lanes(next(g), mean_last(g->w, s->day, 0));
    if (s->context >= 28 * s->day) {
        float *row = next(g);
        for (int32_t j = 0; j < LANES; j++) {
            float sum = 0;
            for (int32_t d = 1; d <= 28; d++)
                sum += g->w->z[inside(s, s->context + g->h[j] % s->day - d * s->day, s->day)];
            row[j] = sum / 28;
        }
    }
    if (s->flags & SPR__WINDOW_SINGLE)
        singles(g, days7);
}

static void short_set(struct group *g) {
    const struct spr__window_spec *s = g->w->spec;
    const float *end = g->w->z + s->context;
    all_lanes(next(g), end[-1]);
    for (int32_t i = 0; i < SHORT_SPANS; i++)
        all_lanes(next(g), mean_last(g->w, SPR_MIN(short_spans[i], s->context), 0));
    memcpy(*g->base, g->f[3], sizeof(lanes)); /* the mean of the last 12 */
    int32_t n = SPR_MIN(72, s->context), few = SPR_MIN(24, s->context);
    float high = end[-1], mean = mean_last(g->w, few, 0), sum = 0;
    for (int32_t i = 1; i <= n; i++)
        high = SPR_MAX(high, end[-i]);
    for (int32_t i = 1; i <= few; i++)
        sum += (end[-i] - mean) * (end[-i] - mean);
    all_lanes(next(g), high), all_lanes(next(g), sqrtf(sum / (float)few));
    fading(g, 3), fading(g, 12);
}

/* What Holt-Winters forecasts, of that the season, and how far it usually was off. */
static void smoothed_set(struct group *g) {
    const struct spr__window *w = g->w;
    float *forecast = next(g), *season = next(g);
    for (int32_t j = 0; j < LANES; j++)
        season[j] = w->wave[g->h[j] % SPR_MAX(w->spec->day, 1)], forecast[j] = w->smooth + season[j];
    all_lanes(next(g), w->error);
    memcpy(*g->base, forecast, sizeof(lanes));
}

/* What the calendar says of the steps, and the lift that was learnt from the window. */
static void event_set(struct group *g) {
    const struct spr__window *w = g->w;
    float *row[SPR__EVENT_FEATURES];
    for (int32_t k = 0; k < SPR__EVENT_FEATURES; k++)
        row[k] = next(g);
    for (int32_t j = 0; j < LANES; j++) {
        float number[SPR__EVENT_NUMBERS];
        spr__event_numbers(w->events, w->origin + g->h[j], 1, number);
        for (int32_t k = 0; k < SPR__EVENT_NUMBERS; k++)
            row[k][j] = number[k];
        row[4][j] = spr__event_progress(w->events, w->origin + g->h[j]);
        row[5][j] = w->lift ? w->lift[w->spec->context + g->h[j]] : 0;
        row[6][j] = w->lift ? w->learnt : 0;
    }
}

static void times(struct group *g) {
    const struct spr__window_spec *s = g->w->spec;
    float *share = next(g), *logs = next(g), per = s->horizon > 1 ? 1 / logf((float)s->horizon) : 0;
    for (int32_t j = 0; j < LANES; j++)
        share[j] = (float)(g->h[j] + 1) / (float)s->horizon, logs[j] = logf((float)(1 + g->h[j])) * per;
    if (!(s->flags & SPR__WINDOW_CALENDAR))
        return;
    float *f[4] = {next(g), next(g), next(g), next(g)};
    for (int32_t j = 0; j < LANES; j++)
        for (int32_t k = 0; k < 2; k++) {
            int64_t period = k ? (int64_t)WEEK * s->day : s->day, at = (g->w->origin + g->h[j]) % period;
            float angle = 6.2831853f * (float)(at < 0 ? at + period : at) / (float)period;
            f[2 * k][j] = sinf(angle), f[2 * k + 1][j] = cosf(angle);
        }
}

void spr__window_steps(const struct spr__window *w, const int32_t *h, int32_t count, float *out, float *base) {
    int32_t width = spr__window_features(w->spec), smooth = rounded(w->spec);
    struct group g;
    lanes first;
    for (int32_t i = 0; i < count; i += LANES) {
        int32_t at[LANES], n = SPR_MIN(LANES, count - i);
        for (int32_t j = 0; j < LANES; j++)
            at[j] = h[i + SPR_MIN(j, n - 1)];
        g.w = w, g.h = at, g.used = 0, g.base = &first;
        if (w->spec->day)
            seasonal_set(&g);
        else
            short_set(&g);
        if (w->spec->flags & SPR__WINDOW_HYBRID)
            smoothed_set(&g);
        w->kernels->vasinh((int64_t)smooth * LANES, g.f[0], g.f[0]);
        times(&g);
        if (w->spec->flags & SPR__WINDOW_EVENTS)
            event_set(&g);
        for (int32_t j = 0; j < n; j++) {
            base[i + j] = w->spec->flags & SPR__WINDOW_STAY ? 0 : first[j];
            for (int32_t k = 0; k < width; k++)
                out[(int64_t)(i + j) * width + k] = g.f[k][j];
        }
    }
}
