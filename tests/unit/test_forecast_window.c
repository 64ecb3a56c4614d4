/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a model sees of a series: gaps closed from the past, order statistics, features of the same phase. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "forecast/window.h"

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void gaps_are_closed_by_what_lies_before_them(void **state) {
    (void)state;
    double y[] = {NAN, 1, 2, 3, NAN, NAN, 6, NAN}, want[] = {1, 1, 2, 3, 2, 3, 6, 3};
    uint8_t marks[8] = {0}, made[] = {1, 0, 0, 0, 1, 1, 0, 1};
    assert_true(spr__fill_gaps(y, 8, 2, marks));
    for (int i = 0; i < 8; i++) {
        assert_float_equal(y[i], want[i], 0);
        assert_int_equal(marks[i], made[i]);
    }
    double none[] = {NAN, NAN};
    assert_false(spr__fill_gaps(none, 2, 1, NULL));
}

static void selected_quantiles_are_those_of_a_sort(void **state) {
    static const float levels[] = {.1f, .25f, .5f, .75f, .9f, .95f, .99f};
    float v[300], sorted[300], got[7];
    (void)state;
    for (int32_t n = 1; n <= 300; n += n < 20 ? 1 : 41) {
        for (int32_t i = 0; i < n; i++) /* many equal ones too */
            v[i] = sorted[i] = floorf(20 * (float)spr__rand(3, (uint64_t)n, (uint64_t)i));
        qsort(sorted, (size_t)n, sizeof *sorted, by_value);
        spr__select(v, n, levels, 7, got);
        for (int k = 0; k < 7; k++) {
            double at = (double)levels[k] * (n - 1);
            int32_t i = (int32_t)at, next = i + 1 < n ? i + 1 : i;
            assert_float_equal(got[k], sorted[i] + (at - i) * (double)(sorted[next] - sorted[i]), 1e-5);
        }
    }
}

static void the_sorting_network_sorts_every_lane(void **state) {
    static float v[98][SPR__WINDOW_LANES], one[98];
    (void)state;
    for (int32_t n = 1; n <= 98; n++) {
        for (int32_t i = 0; i < n; i++)
            for (int32_t j = 0; j < SPR__WINDOW_LANES; j++)
                v[i][j] = (float)spr__rand(5, (uint64_t)n, (uint64_t)(i * SPR__WINDOW_LANES + j));
        for (int32_t i = 0; i < n; i++)
            one[i] = v[i][3];
        qsort(one, (size_t)n, sizeof *one, by_value);
        spr__sort_lanes(v, n);
        for (int32_t i = 0; i < n; i++) {
            assert_true(v[i][3] == one[i]);
            for (int32_t j = 0; i && j < SPR__WINDOW_LANES; j++)
                assert_true(v[i - 1][j] <= v[i][j]);
        }
    }
}

/* Ten days of a day of 24 steps; value = day * 100 + phase, so every feature says where it came from. */
static void same_phase_features_come_from_the_same_phase(void **state) {
    enum { DAY = 24, DAYS = 10, STEPS = DAY * DAYS, H = 30 };
    struct spr__window_spec spec = {
        .horizon = H, .context = STEPS, .norm = STEPS, .day = DAY, .shifts = 3, .stride = 1};
    double y[STEPS];
    float memory[2 * STEPS], base[H], *out;
    int32_t h[H], width = spr__window_features(&spec);
    struct spr__window w = {.origin = 0, .resource = -1};
    (void)state;
    assert_true(spr__window_spec_ok(&spec));
    for (int t = 0; t < STEPS; t++)
        y[t] = 100 * (t / DAY) + t % DAY;
    for (int i = 0; i < H; i++)
        h[i] = i;
    out = malloc(sizeof *out * H * (size_t)width);
    spr__window_open(&w, &spec, &spr__net_plain, y, 1, memory);
    spr__window_steps(&w, h, H, out, base);
    for (int i = 0; i < H; i++) {
        double phase = i % DAY, level = w.level, spread = w.spread;
        assert_float_equal(sinh((double)out[i * width]) * spread + level, 900 + phase, .1);     /* one day back */
        assert_float_equal(sinh((double)out[i * width + 3]) * spread + level, 800 + phase, .1); /* two */
        assert_float_equal((double)base[i] * spread + level, 600 + phase, .01);                 /* mean of seven */
    }
    free(out);
}

/* Scaling and shifting a series changes nothing but the level set. */
static void features_are_free_of_units(void **state) {
    enum { STEPS = 240, H = 12 };
    struct spr__window_spec spec = {.horizon = H,
                                    .context = STEPS,
                                    .norm = 120,
                                    .day = 24,
                                    .shifts = 3,
                                    .stride = 1,
                                    .flags = SPR__WINDOW_LAST | SPR__WINDOW_SINGLE | SPR__WINDOW_LEVEL};
    double y[2][STEPS];
    float memory[2 * STEPS], s[2][64], d[2][H * 64], base[2][H];
    int32_t h[H], ns = spr__window_summaries(&spec), nd = spr__window_features(&spec);
    (void)state;
    assert_true(ns <= 64 && nd <= 64);
    for (int t = 0; t < STEPS; t++)
        y[0][t] = 50 + 10 * spr__rand(1, 2, (uint64_t)t), y[1][t] = 1e12 * y[0][t];
    for (int i = 0; i < H; i++)
        h[i] = i;
    for (int k = 0; k < 2; k++) {
        struct spr__window w = {.origin = 7, .resource = 0};
        spr__window_open(&w, &spec, &spr__net_plain, y[k], k ? 1e12 : 1, memory);
        spr__window_summary(&w, s[k]);
        spr__window_steps(&w, h, H, d[k], base[k]);
    }
    for (int i = 0; i < ns; i++)
        assert_float_equal(s[0][i], s[1][i], 1e-4);
    for (int i = 0; i < H * nd; i++)
        assert_float_equal(d[0][i], d[1][i], 1e-4);
}

static void a_spec_that_cannot_be_is_refused(void **state) {
    struct spr__window_spec good = {.horizon = 24, .context = 336, .norm = 336, .day = 24, .shifts = 3, .stride = 1};
    (void)state;
    assert_true(spr__window_spec_ok(&good));
    struct spr__window_spec s = good;
    s.context = 10; /* shorter than its day */
    assert_false(spr__window_spec_ok(&s));
    s = good, s.shifts = 2;
    assert_false(spr__window_spec_ok(&s));
    s = good, s.stride = 24;
    assert_false(spr__window_spec_ok(&s));
    s = good, s.day = 0, s.flags = SPR__WINDOW_CALENDAR;
    assert_false(spr__window_spec_ok(&s));
    s = good, s.context = 335, s.norm = 335, s.flags = SPR__WINDOW_SEQUENCE;
    assert_false(spr__window_spec_ok(&s));
    s = good, s.horizon = INT32_MAX;
    assert_false(spr__window_spec_ok(&s));
}

/* Far from its mean, and calmer lately than before: the answer starts at the last value, in units of a step's change.
 */
static void loads_that_stay_are_seen_from_where_they_are(void **state) {
    enum { STEPS = 240, H = 3 };
    static const int32_t h[H] = {0, 1, 2};
    struct spr__window_spec spec = {
        .horizon = H, .context = STEPS, .norm = STEPS, .day = 24, .shifts = 1, .stride = 1, .flags = SPR__WINDOW_STAY};
    double y[STEPS];
    float memory[2 * STEPS], base[H], *out = malloc(sizeof *out * H * (size_t)spr__window_features(&spec));
    struct spr__window w = {.origin = 0, .resource = -1};
    (void)state;
    assert_non_null(out);
    assert_true(spr__window_spec_ok(&spec));
    for (int t = 0; t < STEPS; t++) /* up and down by 4, the last 48 steps by 1 */
        y[t] = t < STEPS - 48 ? 10 + 4 * (t % 2) : 50 + t % 2;
    spr__window_open(&w, &spec, spr__net_kernels_for(SPR_SIMD_PLAIN), y, 1, memory);
    spr__window_steps(&w, h, H, out, base);
    assert_true(w.level == y[STEPS - 1] && w.z[STEPS - 1] == 0);
    assert_true(w.spread > 1.5 && w.spread < 3); /* half of it is what it did lately */
    for (int i = 0; i < H; i++)
        assert_true(base[i] == 0);
    for (int t = 0; t < STEPS; t++)
        y[t] = 7; /* nothing moves: a unit that is no number would follow */
    spr__window_open(&w, &spec, spr__net_kernels_for(SPR_SIMD_PLAIN), y, 1, memory);
    assert_true(w.spread > 0 && w.z[0] == 0);
    free(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gaps_are_closed_by_what_lies_before_them),
        cmocka_unit_test(selected_quantiles_are_those_of_a_sort),
        cmocka_unit_test(the_sorting_network_sorts_every_lane),
        cmocka_unit_test(same_phase_features_come_from_the_same_phase),
        cmocka_unit_test(features_are_free_of_units),
        cmocka_unit_test(loads_that_stay_are_seen_from_where_they_are),
        cmocka_unit_test(a_spec_that_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
