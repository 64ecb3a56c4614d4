/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the profiler says of made-up series: periods, classes, awkward input, the same bits again. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "profile/profile.h"

#define DAY 288
enum { STEP_S = 300, STEPS = 21 * DAY };

static double noise(uint64_t stream, int64_t i) {
    double s = 0;
    for (int k = 0; k < 6; k++)
        s += spr__rand(77, stream * 8 + (uint64_t)k, (uint64_t)i) - 0.5;
    return s * M_SQRT2; /* sd 1 */
}

static spr_context *context(void) {
    spr_context *ctx = NULL;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    return ctx;
}

/* A product of one row a series; NaN is not pushed. */
static spr_series *series_of(spr_context *ctx, const double *x, int64_t rows, int64_t n) {
    struct spr_metrics_opts o = SPR_METRICS_OPTS_INIT;
    spr_metrics *m = NULL;
    spr_series *s = NULL;
    assert_int_equal(spr_metrics_create(ctx, &o, &m), SPR_OK);
    for (int64_t r = 0; r < rows; r++) {
        char id[8] = {'v', (char)('a' + r), 0};
        int64_t row;
        assert_int_equal(spr_metrics_add(m, id, NULL, SPR_CPU, SPR_GAUGE, 1, &row), SPR_OK);
        for (int64_t i = 0; i < n; i++)
            assert_int_equal(spr_metrics_push(m, row, i * STEP_S * INT64_C(1000000000), x[r * n + i], 0), SPR_OK);
    }
    assert_int_equal(spr_metrics_finish(m, &s), SPR_OK);
    spr_metrics_destroy(m);
    return s;
}

static struct spr_profile_row profile_of(const double *x, int64_t n) {
    spr_context *ctx = context();
    spr_series *s = series_of(ctx, x, 1, n);
    spr_profiler *p = NULL;
    spr_profile *f = NULL;
    struct spr_profile_row row = {.size = sizeof row};
    assert_int_equal(spr_profiler_create(ctx, NULL, &p), SPR_OK);
    assert_int_equal(spr_profiler_run(p, s, 0, 0, &f), SPR_OK);
    assert_int_equal(spr_profile_count(f), 1);
    assert_int_equal(spr_profile_get(f, 0, &row), SPR_OK);
    assert_string_equal(row.id, "va");
    assert_string_equal(row.metric, "cpu");
    row.id = row.metric = NULL; /* they go with the product */
    spr_profile_unref(f);
    spr_profiler_destroy(p);
    spr_series_unref(s);
    spr_context_unref(ctx);
    return row;
}

static void wave(double *x, int64_t n, double period, double swing, double noisy, uint64_t stream) {
    for (int64_t i = 0; i < n; i++)
        x[i] = 3 + swing * sin(2 * M_PI * (double)i / period) + noisy * noise(stream, i);
}

static void fractional_periods_are_found_within_half_a_per_cent(void **state) {
    static const double periods[] = {7.55, 12.4, 36.85, 62.52, 207.6, 288, 440.4};
    double *x = malloc(STEPS * sizeof *x);
    (void)state;
    for (size_t k = 0; k < SPR_ARRAY_LEN(periods); k++) {
        wave(x, STEPS, periods[k], 1, 0.7, k);
        struct spr_profile_row r = profile_of(x, STEPS);
        assert_true(r.period_count >= 1);
        assert_true(fabs(r.periods_s[0] / STEP_S / periods[k] - 1) < 0.005);
        assert_int_equal(r.klass, SPR_CLASS_DIURNAL);
        assert_true(r.season_strength > 0.4 && r.season_strength < 0.7);
        assert_true(fabs(r.level - 3) < 0.2);
    }
    free(x);
}

static void two_seasons_are_told_apart_and_harmonics_are_not_reported(void **state) {
    double *x = malloc(STEPS * sizeof *x);
    (void)state;
    for (int64_t i = 0; i < STEPS; i++) { /* a sharp pulse every 24 h has many harmonics; a slower wave of 51.3 h */
        double at = fmod((double)i, DAY);
        x[i] = 1 + (at > 40 && at < 60 ? 2.5 : 0) + 0.6 * cos(2 * M_PI * (double)i / 615.6) + 0.2 * noise(9, i);
    }
    struct spr_profile_row r = profile_of(x, STEPS);
    assert_int_equal(r.period_count, 2);
    double day = fabs(r.periods_s[0] / 86400 - 1) < 0.01 ? r.periods_s[0] : r.periods_s[1];
    double slow = day == r.periods_s[0] ? r.periods_s[1] : r.periods_s[0];
    assert_true(fabs(day / 86400 - 1) < 0.01);
    assert_true(fabs(slow / (615.6 * STEP_S) - 1) < 0.02);
    free(x);
}

static void noise_with_a_memory_has_no_period(void **state) {
    double *x = malloc(STEPS * sizeof *x);
    int found = 0;
    (void)state;
    for (uint64_t k = 0; k < 24; k++) { /* AR(1) from white to nearly a random walk */
        double a = (double)k / 24 * 0.995, v = 0;
        for (int64_t i = 0; i < STEPS; i++)
            x[i] = 10 + (v = a * v + sqrt(1 - a * a) * noise(100 + k, i));
        found += profile_of(x, STEPS).period_count > 0;
    }
    assert_true(found <= 1);
    free(x);
}

static void each_class_is_called_by_its_name(void **state) {
    double *x = malloc(STEPS * sizeof *x), aim = 0;
    (void)state;
    for (int64_t i = 0; i < STEPS; i++)
        x[i] = 2 + 0.1 * noise(1, i);
    struct spr_profile_row r = profile_of(x, STEPS);
    assert_int_equal(r.klass, SPR_CLASS_STEADY);
    assert_true(r.confidence > 0.8);
    assert_int_equal(r.period_count, 0);

    for (int64_t i = 0; i < STEPS; i++) { /* 9 bursts at odd times */
        static const int64_t starts[] = {101, 503, 880, 1999, 2471, 3333, 4045, 4700, 5601};
        x[i] = 0.5 + 0.03 * noise(2, i);
        for (size_t k = 0; k < SPR_ARRAY_LEN(starts); k++)
            x[i] += i >= starts[k] && i < starts[k] + 10 ? 4 : 0;
    }
    r = profile_of(x, STEPS);
    assert_int_equal(r.klass, SPR_CLASS_BURST);
    assert_true(fabs(r.burst_rate_per_day - 9.0 / 21) < 1e-9);
    assert_true(fabs(r.burst_length_s - 3000) < 1e-6);
    assert_true(fabs(r.burst_size - 4) < 0.05);

    for (int64_t i = 0; i < STEPS; i++) {
        if (spr__rand(5, 1, (uint64_t)i) < 0.3)
            aim = 6 * spr__rand(5, 2, (uint64_t)i);
        x[i] = aim * (1 + 0.2 * noise(3, i));
    }
    r = profile_of(x, STEPS);
    assert_int_equal(r.klass, SPR_CLASS_CHAOTIC);
    assert_true(r.forecastability < 0.4);
    assert_string_equal(spr_class_name(SPR_CLASS_BURST), "event-driven-burst");
    assert_string_equal(spr_class_name(17), "unknown");
    free(x);
}

static void gaps_and_a_late_start_change_little(void **state) {
    double *x = malloc(STEPS * sizeof *x);
    (void)state;
    wave(x, STEPS, 207.6, 1, 0.5, 4);
    for (int64_t i = 0; i < STEPS; i++)
        if (i < 700 || (i > 3000 && i < 3400) || spr__rand(6, 6, (uint64_t)i) < 0.3)
            x[i] = NAN;
    struct spr_profile_row r = profile_of(x, STEPS);
    assert_true(r.period_count >= 1);
    assert_true(fabs(r.periods_s[0] / STEP_S / 207.6 - 1) < 0.01);
    assert_int_equal(r.klass, SPR_CLASS_DIURNAL);
    free(x);
}

static void the_unit_does_not_matter(void **state) {
    double *x = malloc(STEPS * sizeof *x), *y = malloc(STEPS * sizeof *y);
    (void)state;
    wave(x, STEPS, 288, 1, 0.5, 5);
    struct spr_profile_row a = profile_of(x, STEPS);
    for (int64_t i = 0; i < STEPS; i++)
        y[i] = x[i] * 0x1p40; /* about 1e12, exactly */
    struct spr_profile_row b = profile_of(y, STEPS);
    assert_int_equal(a.klass, b.klass);
    assert_int_equal(a.period_count, b.period_count);
    assert_true(fabs(a.periods_s[0] - b.periods_s[0]) < 1e-6);
    assert_true(fabs(a.level * 0x1p40 / b.level - 1) < 1e-12);
    assert_true(fabs(a.confidence - b.confidence) < 1e-9);
    for (int64_t i = 0; i < STEPS; i++)
        y[i] = -x[i] - 100; /* negative values are numbers like others */
    b = profile_of(y, STEPS);
    assert_true(fabs(a.periods_s[0] / b.periods_s[0] - 1) < 0.01);
    assert_true(fabs(b.level + 103) < 0.3);
    free(x), free(y);
}

static void all_finite(const struct spr_profile_row *r) {
    assert_true(isfinite(r->confidence) && r->confidence >= 0 && r->confidence <= 1);
    assert_true(isfinite(r->trend_per_day) && isfinite(r->burst_rate_per_day) && isfinite(r->burst_size));
    assert_true(isfinite(r->burst_length_s) && r->forecastability >= 0 && r->forecastability <= 1);
    assert_true(r->season_strength >= 0 && r->season_strength <= 1);
    assert_true(r->klass >= 0 && r->klass < 4);
}

static void poor_series_get_a_sober_answer(void **state) {
    double x[600];
    struct spr_profile_row r;
    (void)state;
    for (int i = 0; i < 600; i++)
        x[i] = 41.5;
    for (int64_t n = 1; n <= 600; n = n * 2 + 1) {
        r = profile_of(x, n);
        all_finite(&r);
        assert_int_equal(r.period_count, 0);
        assert_true(r.level == 41.5);
        assert_true(n < 3 || r.klass == SPR_CLASS_STEADY);
    }
    for (int i = 0; i < 600; i++)
        x[i] = 0;
    r = profile_of(x, 600);
    all_finite(&r);
    assert_int_equal(r.klass, SPR_CLASS_STEADY);
    x[17] = 1e12; /* one freak value in nothing */
    r = profile_of(x, 600);
    all_finite(&r);
    assert_int_equal(r.period_count, 0);
    for (int i = 0; i < 600; i++)
        x[i] = i == 3 || i == 599 ? 7.25 : NAN; /* two points */
    r = profile_of(x, 600);
    all_finite(&r);
    assert_true(r.level == 7.25);
    for (int i = 0; i < 600; i++)
        x[i] = i; /* nothing but a trend: one unit a step */
    r = profile_of(x, 600);
    all_finite(&r);
    assert_int_equal(r.period_count, 0);
    assert_true(fabs(r.trend_per_day - 288) < 1e-6);
}

static void nobody_is_sure_after_a_few_values(void **state) {
    double x[96], before = 0;
    (void)state;
    for (int i = 0; i < 96; i++)
        x[i] = 5;
    for (int64_t n = 6; n <= 48; n *= 2) {
        struct spr_profile_row r = profile_of(x, n);
        assert_int_equal(r.klass, SPR_CLASS_STEADY);
        assert_true(r.confidence > before && (n > 12 || r.confidence < 0.5));
        before = r.confidence;
    }
    assert_true(fabs(before - profile_of(x, 96).confidence) < 1e-12); /* 48 are as good as more */
}

static void a_row_without_any_value_is_unknown_but_harmless(void **state) {
    double *x = malloc(2 * 500 * sizeof *x);
    spr_context *ctx = context();
    (void)state;
    for (int i = 0; i < 500; i++)
        x[i] = NAN, x[500 + i] = 2 + 0.1 * noise(1, i);
    spr_series *s = series_of(ctx, x, 2, 500);
    spr_profiler *p = NULL;
    spr_profile *f = NULL;
    struct spr_profile_row r = {.size = sizeof r};
    assert_int_equal(spr_profiler_create(ctx, NULL, &p), SPR_OK);
    assert_int_equal(spr_profiler_run(p, s, 0, 0, &f), SPR_OK);
    assert_int_equal(spr_profile_get(f, 0, &r), SPR_OK);
    assert_int_equal(r.period_count, 0);
    assert_true(isnan(r.level) && r.confidence <= 0.25);
    assert_int_equal(spr_profile_get(f, 1, &r), SPR_OK);
    assert_int_equal(r.klass, SPR_CLASS_STEADY);
    assert_int_equal(spr_profile_get(f, 2, &r), SPR_E_ARG);
    spr_profile_unref(f), spr_profiler_destroy(p), spr_series_unref(s), spr_context_unref(ctx);
    free(x);
}

static void peaks_gather_where_the_week_has_them(void **state) {
    double *x = malloc(4 * 7 * DAY * sizeof *x);
    (void)state;
    for (int64_t i = 0; i < 4 * 7 * DAY; i++) { /* Monday to Friday from 9 to 11; day 0 is a Thursday */
        int64_t weekday = (i / DAY + 3) % 7, hour = i % DAY / 12;
        x[i] = 1 + 0.05 * noise(8, i) + (weekday < 5 && hour >= 9 && hour < 11 ? 3 : 0);
    }
    struct spr_profile_row r = profile_of(x, 4 * 7 * DAY);
    assert_true(r.peak_window_count >= 1);
    assert_int_equal(r.peak_windows[0].days, 0x1f);
    assert_int_equal(r.peak_windows[0].from_s, 9 * 3600);
    assert_int_equal(r.peak_windows[0].to_s, 11 * 3600);
    assert_true(r.peak_windows[0].probability > 0.95);
    free(x);
}

static void a_class_is_not_given_up_for_a_trifle(void **state) {
    double x[3000];
    spr_context *ctx = context();
    spr_profiler *sticky = NULL, *fresh = NULL;
    int first = -1, changes_sticky = 0, changes_fresh = 0, last_sticky = -1, last_fresh = -1;
    (void)state;
    struct spr_profile_opts o = SPR_PROFILE_OPTS_INIT;
    o.hysteresis = 0.6;
    assert_int_equal(spr_profiler_create(ctx, &o, &sticky), SPR_OK);
    o.hysteresis = SPR_NONE;
    assert_int_equal(spr_profiler_create(ctx, &o, &fresh), SPR_OK);
    for (int round = 0; round < 12; round++) { /* around the border between steady and chaotic */
        double sd = round % 2 ? 0.245 : 0.26;
        for (int i = 0; i < 3000; i++)
            x[i] = 1 + sd * noise(40 + (uint64_t)round, i);
        spr_series *s = series_of(ctx, x, 1, 3000);
        spr_profiler *both[] = {sticky, fresh};
        for (int k = 0; k < 2; k++) {
            spr_profile *f = NULL;
            struct spr_profile_row r = {.size = sizeof r};
            assert_int_equal(spr_profiler_run(both[k], s, 0, 0, &f), SPR_OK);
            assert_int_equal(spr_profile_get(f, 0, &r), SPR_OK);
            int *last = k ? &last_fresh : &last_sticky, *changes = k ? &changes_fresh : &changes_sticky;
            *changes += *last >= 0 && *last != r.klass;
            *last = r.klass;
            first = first < 0 ? r.klass : first;
            spr_profile_unref(f);
        }
        spr_series_unref(s);
    }
    assert_int_equal(changes_sticky, 0);
    assert_true(changes_fresh >= 6);
    spr_profiler_destroy(sticky), spr_profiler_destroy(fresh), spr_context_unref(ctx);
}

/* An executor that runs the items backwards: whoever depends on the order shows it. */
static void backwards(void *user, size_t n, void (*fn)(void *arg, size_t i), void *arg) {
    (void)user;
    while (n--)
        fn(arg, n);
}

static void the_order_of_the_work_changes_no_bit(void **state) {
    enum { ROWS = 6, N = 2000 };
    double *x = malloc(ROWS * N * sizeof *x);
    struct spr_profile_row rows[2][ROWS];
    (void)state;
    for (int r = 0; r < ROWS; r++)
        wave(x + r * N, N, 20 + 13.7 * r, 1, 1.5, 60 + (uint64_t)r);
    for (int k = 0; k < 2; k++) {
        struct spr_executor e = {sizeof e, k ? backwards : NULL, 1, 0, NULL};
        struct spr_context_opts o = SPR_CONTEXT_OPTS_INIT;
        spr_context *ctx = NULL;
        o.executor = &e, o.seed = 3;
        assert_int_equal(spr_context_create(&o, &ctx), SPR_OK);
        spr_series *s = series_of(ctx, x, ROWS, N);
        spr_profiler *p = NULL;
        spr_profile *f = NULL;
        assert_int_equal(spr_profiler_create(ctx, NULL, &p), SPR_OK);
        assert_int_equal(spr_profiler_run(p, s, 0, 0, &f), SPR_OK);
        for (int r = 0; r < ROWS; r++) {
            memset(&rows[k][r], 0, sizeof rows[k][r]);
            rows[k][r].size = sizeof rows[k][r];
            assert_int_equal(spr_profile_get(f, r, &rows[k][r]), SPR_OK);
            rows[k][r].id = rows[k][r].metric = NULL;
        }
        spr_profile_unref(f), spr_profiler_destroy(p), spr_series_unref(s), spr_context_unref(ctx);
    }
    assert_memory_equal(rows[0], rows[1], sizeof rows[0]);
    free(x);
}

static void nonsense_is_refused_and_outputs_keep_their_value(void **state) {
    double x[50];
    (void)state;
    for (int i = 0; i < 50; i++)
        x[i] = i % 7;
    spr_context *ctx = context();
    spr_series *s = series_of(ctx, x, 1, 50);
    spr_profiler *p = NULL;
    spr_profile *f = NULL;
    struct spr_profile_opts o = SPR_PROFILE_OPTS_INIT;
    o.max_periods = 4;
    assert_int_equal(spr_profiler_create(ctx, &o, &p), SPR_E_ARG);
    o = (struct spr_profile_opts)SPR_PROFILE_OPTS_INIT, o.significance = NAN;
    assert_int_equal(spr_profiler_create(ctx, &o, &p), SPR_E_ARG);
    assert_null(p);
    assert_int_equal(spr_profiler_create(ctx, NULL, &p), SPR_OK);
    assert_int_equal(spr_profiler_run(p, s, 10, 51, &f), SPR_E_ARG);
    assert_int_equal(spr_profiler_run(p, s, 10, 10, &f), SPR_E_ARG);
    assert_int_equal(spr_profiler_run(p, NULL, 0, 0, &f), SPR_E_ARG);
    assert_null(f);
    assert_int_equal(spr_profiler_run(p, s, 10, 50, &f), SPR_OK);
    spr_profile_unref(f), spr_profiler_destroy(p), spr_series_unref(s), spr_context_unref(ctx);
    spr_profiler_destroy(NULL), spr_profile_unref(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fractional_periods_are_found_within_half_a_per_cent),
        cmocka_unit_test(two_seasons_are_told_apart_and_harmonics_are_not_reported),
        cmocka_unit_test(noise_with_a_memory_has_no_period),
        cmocka_unit_test(each_class_is_called_by_its_name),
        cmocka_unit_test(gaps_and_a_late_start_change_little),
        cmocka_unit_test(the_unit_does_not_matter),
        cmocka_unit_test(poor_series_get_a_sober_answer),
        cmocka_unit_test(nobody_is_sure_after_a_few_values),
        cmocka_unit_test(a_row_without_any_value_is_unknown_but_harmless),
        cmocka_unit_test(peaks_gather_where_the_week_has_them),
        cmocka_unit_test(a_class_is_not_given_up_for_a_trifle),
        cmocka_unit_test(the_order_of_the_work_changes_no_bit),
        cmocka_unit_test(nonsense_is_refused_and_outputs_keep_their_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
