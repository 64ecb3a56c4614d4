/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Whatever the series: lengths from 1 to a few thousand, gaps, ties, steps, spikes, huge and tiny numbers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "profile/profile.h"

enum { LONGEST = 2600, KINDS = 9 };

static double draw(uint64_t run, uint64_t what, int64_t i) { return spr__rand(run, what, (uint64_t)i); }

/* One value of a series of a kind; each kind is awkward in its own way. */
static double value(int kind, uint64_t run, int64_t i, double period) {
    double noise = draw(run, 1, i) - 0.5, phase = fmod((double)i, period) / period;
    switch (kind) {
    case 0: /* two levels in turn */
        return phase < 0.5 ? 0 : 1;
    case 1: /* a few distinct values */
        return floor(4 * draw(run, 2, i / 3));
    case 2: /* zeros and rare spikes */
        return draw(run, 2, i) < 0.01 ? 100 * draw(run, 3, i) : 0;
    case 3: /* wave under noise */
        return cos(2 * M_PI * phase) + 2 * noise;
    case 4: /* sawtooth without noise */
        return phase;
    case 5: /* a step in the middle */
        return (double)(i > 700) * 5 + 0.1 * noise;
    case 6: /* nearly constant: only rounding differs */
        return 1e9 + (i % 2 ? 1e-7 : 0);
    case 7: /* alternating */
        return i % 2 ? 1 : -1;
    default: /* growing like a power */
        return pow((double)i, 1.7) * (1 + 0.1 * noise);
    }
}

static void check(const double *x, int64_t n, double step_s, uint64_t seed) {
    spr_context *ctx = NULL;
    struct spr_profile_opts o = {.size = sizeof o, .significance = 0.01, .permutations = 49, .max_periods = 3};
    double *sorted = malloc((size_t)n * sizeof *sorted), member[4];
    struct spr_profile_row row = {.size = sizeof row};
    struct spr__periods p;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    struct spr__trait t = {ctx, x, n, step_s, -12345, seed, &o};
    assert_int_equal(spr__periods_find(&t, &p), SPR_OK);
    assert_true(p.count >= 0 && p.count <= 3);
    for (int i = 0; i < p.count; i++) {
        assert_true(p.steps[i] > 1 && p.steps[i] < (double)n / 2.5);
        for (int k = 0; k < i; k++)
            assert_true(fabs(p.steps[i] / p.steps[k] - 1) > 0.03);
    }
    spr__features(&t, &p, sorted, &row);
    spr__classify(&t, &row, member);
    double sum = 0;
    for (int k = 0; k < 4; k++) {
        assert_true(member[k] >= 0 && member[k] <= 1);
        sum += member[k];
    }
    assert_true(fabs(sum - 1) < 1e-9);
    assert_true(row.season_strength >= 0 && row.season_strength <= 1);
    assert_true(row.forecastability >= 0 && row.forecastability <= 1);
    assert_true(row.burst_rate_per_day >= 0 && row.burst_size >= 0 && row.burst_length_s >= 0);
    assert_true(isfinite(row.trend_per_day) && isfinite(row.burst_size));
    for (int i = 0; i < row.peak_window_count; i++) {
        const struct spr_peak_window *w = &row.peak_windows[i];
        assert_true(w->days && w->days < 128 && w->from_s >= 0 && w->from_s < 86400 && w->to_s > 0 && w->to_s <= 86400);
        assert_true(w->probability > 0.1 && w->probability <= 1);
        assert_true(i == 0 || w->probability <= row.peak_windows[i - 1].probability);
    }
    spr_context_unref(ctx);
    free(sorted);
}

static void every_answer_is_in_its_range(void **state) {
    static const double scales[] = {1, -1, 1e12, 1e-12, 1e150}, steps_s[] = {300, 60, 3600, 86400, 1};
    double *x = malloc(LONGEST * sizeof *x);
    (void)state;
    for (uint64_t run = 0; run < 270; run++) {
        int kind = (int)(run % KINDS);
        int64_t n = 1 + (int64_t)pow(LONGEST - 1.0, draw(run, 9, 0));
        double period = 2 + (double)n / 3 * draw(run, 9, 1), holes = draw(run, 9, 2) < 0.5 ? 0 : draw(run, 9, 3);
        double scale = scales[run / KINDS % SPR_ARRAY_LEN(scales)];
        for (int64_t i = 0; i < n; i++)
            x[i] = draw(run, 4, i) < holes ? NAN : scale * value(kind, run, i, period);
        check(x, n, steps_s[run / 7 % SPR_ARRAY_LEN(steps_s)], run);
    }
    free(x);
}

static void pure_waves_of_any_length_are_found(void **state) {
    double *x = malloc(LONGEST * sizeof *x);
    spr_context *ctx = NULL;
    struct spr_profile_opts o = {.size = sizeof o, .significance = 0.01, .permutations = 199, .max_periods = 3};
    int found = 0, all = 0;
    (void)state;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    for (double period = 3.3; period < 280; period *= 1.17, all++) { /* 2000 steps, half of the variance is noise */
        struct spr__periods p;
        for (int64_t i = 0; i < 2000; i++)
            x[i] = cos(2 * M_PI * (double)i / period + period) + 2.45 * (draw(17, (uint64_t)period, i) - 0.5);
        struct spr__trait t = {ctx, x, 2000, 300, 0, 1, &o};
        assert_int_equal(spr__periods_find(&t, &p), SPR_OK);
        found += p.count && fabs(p.steps[0] / period - 1) < 0.02;
    }
    assert_true(found >= all - 1);
    spr_context_unref(ctx);
    free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_answer_is_in_its_range),
        cmocka_unit_test(pure_waves_of_any_length_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
