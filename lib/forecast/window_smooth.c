/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Holt-Winters over a window, for hybrid members: eight pairs of gains side by side, one in each lane, in one pass; the
 * pair that looked ahead best stays. doc/algorithms/hybrid.md has the formulas.
 */
#include "forecast/window.h"

enum { LANES = SPR__WINDOW_GAINS, WEEK = 7, FIRST = 12 };
typedef float lanes[LANES];

static const lanes level_gain = {.002f, .002f, .02f, .02f, .1f, .1f, .4f, .4f};
static const lanes season_gain = {.03f, .2f, .03f, .2f, .03f, .2f, .03f, .2f};
static const lanes flat_gain = {.02f, .05f, .1f, .2f, .35f, .5f, .75f, 1}; /* without a season */

/* The middle of the horizon, but within a season: what the gains are judged by. */
static int32_t lead_of(const struct spr__window_spec *s) {
    return SPR_MAX(1, SPR_MIN((s->horizon + 1) / 2, s->day ? s->day : s->context / 4));
}

size_t spr__window_smooth_floats(const struct spr__window_spec *s) {
    return s->flags & SPR__WINDOW_HYBRID ? (size_t)LANES * (size_t)(SPR_MAX(s->day, 1) + lead_of(s)) : 0;
}

/* Phase 0 is that of the first step ahead. */
static int32_t phase_of(const struct spr__window_spec *s, int32_t t) {
    int32_t day = SPR_MAX(s->day, 1), at = (t - s->context) % day;
    return at < 0 ? at + day : at;
}

/* Level and season of the first days (a week, at most half of them); returns the step to go on from. */
static int32_t start(const struct spr__window *w, lanes *wave, float *level) {
    const struct spr__window_spec *s = w->spec;
    int32_t days = s->day ? SPR_MIN(SPR_MAX(s->context / s->day / 2, 1), WEEK) : 0;
    int32_t n = s->day ? days * s->day : SPR_MAX(1, SPR_MIN(FIRST, s->context / 4));
    double sum = 0;
    for (int32_t t = 0; t < n; t++)
        sum += (double)w->z[t];
    *level = (float)(sum / n);
    memset(wave, 0, (size_t)SPR_MAX(s->day, 1) * sizeof *wave);
    for (int32_t t = 0; t < days * s->day; t++)
        for (int32_t i = 0; i < LANES; i++)
            wave[phase_of(s, t)][i] += (w->z[t] - *level) / (float)days;
    return n;
}

/* One of the runs is kept: its season moves to the front of all of them. */
static void keep(struct spr__window *w, lanes *wave, int32_t lane, const float *level, const float *square) {
    float *front = wave[0];
    for (int32_t p = 0; p < SPR_MAX(w->spec->day, 1); p++)
        front[p] = wave[p][lane];
    w->smooth = level[lane], w->error = sqrtf(square[lane]);
}

void spr__window_smooth(struct spr__window *w) {
    const struct spr__window_spec *s = w->spec;
    const int32_t day = SPR_MAX(s->day, 1), lead = lead_of(s);
    const float *up = s->day ? level_gain : flat_gain, last = 2 / (float)(SPR_MAX(s->day, FIRST) + 1);
    lanes *wave = (lanes *)w->wave, *before = wave + day, level, far = {0}, square = {0}, turn = {0};
    int32_t best = 0, t = start(w, wave, &level[0]), slot = 0;
    if (s->day)
        memcpy(turn, season_gain, sizeof turn);
    for (int32_t i = 1; i < LANES; i++)
        level[i] = level[0];
    for (int32_t k = 0; k < lead; k++)
        memcpy(before[k], level, sizeof level);
    for (int32_t p = phase_of(s, t); t < s->context; t++, p = p + 1 == day ? 0 : p + 1) {
        float z = w->z[t], *row = wave[p], *then = before[slot];
        for (int32_t i = 0; i < LANES; i++) {
            float apart = z - then[i] - row[i], e = z - level[i] - row[i];
            far[i] += apart * apart, square[i] += last * (e * e - square[i]);
            level[i] += up[i] * e, row[i] += turn[i] * e, then[i] = level[i];
        }
        slot = slot + 1 == lead ? 0 : slot + 1;
    }
    for (int32_t i = 1; i < LANES; i++)
        best = far[i] < far[best] ? i : best;
    keep(w, wave, best, level, square);
}
