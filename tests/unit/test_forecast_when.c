/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* First passage, windows, onset, end and peak: exact cases, and what sampled paths say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "failing_alloc.h"
#include "forecast/forecast.h"

static spr_context *ctx;
static int make_context(void **state) {
    (void)state;
    return spr_context_create(NULL, &ctx);
}
static int drop_context(void **state) {
    (void)state;
    spr_context_unref(ctx);
    return 0;
}

enum { LEVELS = 99, STEPS = 24 };

/* Normal steps with these means and deviations, as 99 quantiles. */
static spr_forecast *normal(const double *mean, const double *sd, int32_t steps) {
    static double levels[LEVELS], q[STEPS * LEVELS];
    spr_forecast *f = NULL;
    for (int k = 0; k < LEVELS; k++) {
        levels[k] = (k + 1) / 100.0;
        for (int32_t h = 0; h < steps; h++)
            q[h * LEVELS + k] = mean[h] + sd[h] * spr__normal_quantile(levels[k]);
    }
    assert_int_equal(spr_forecast_create(ctx, 1, steps, LEVELS, levels, 0, mean, q, &f), SPR_OK);
    return f;
}

static void hill(double *mean, double *sd) {
    for (int h = 0; h < STEPS; h++)
        mean[h] = 5 + 4 * exp(-0.02 * (h - 14) * (h - 14)), sd[h] = 1 + 0.05 * h;
}

static void independent_steps_multiply(void **state) {
    (void)state;
    double mean[STEPS], sd[STEPS], first[STEPS], below = 1, sum = 0;
    hill(mean, sd);
    spr_forecast *f = normal(mean, sd, STEPS);
    struct spr_when_opts o = {.size = sizeof o, .threshold = 8.5, .correlation = SPR_NONE};
    assert_int_equal(spr_forecast_first_passage(f, 0, &o, first), SPR_OK);
    for (int h = 0; h < STEPS; h++) {
        double p = spr_forecast_exceeds(f, 0, h, 8.5);
        assert_true(fabs(first[h] - below * p) < 1e-14);
        below *= 1 - p, sum += first[h];
    }
    assert_float_equal(sum, 1 - below, 1e-12);
    spr_forecast_unref(f);
}

static void one_draw_passes_where_the_chance_first_peaks(void **state) {
    (void)state;
    double mean[STEPS], sd[STEPS], first[STEPS], most = 0;
    hill(mean, sd);
    spr_forecast *f = normal(mean, sd, STEPS);
    struct spr_when_opts o = {.size = sizeof o, .threshold = 8.5, .correlation = 1};
    assert_int_equal(spr_forecast_first_passage(f, 0, &o, first), SPR_OK);
    for (int h = 0; h < STEPS; h++) {
        double p = fmax(most, spr_forecast_exceeds(f, 0, h, 8.5));
        assert_true(fabs(first[h] - (p - most)) < 1e-14);
        most = p;
    }
    spr_forecast_unref(f);
}

static void a_sure_ramp_passes_at_one_step(void **state) {
    (void)state;
    double mean[STEPS], sd[STEPS], first[STEPS];
    for (int h = 0; h < STEPS; h++)
        mean[h] = h < 12 ? h : 24 - h, sd[h] = 0;
    spr_forecast *f = normal(mean, sd, STEPS);
    static const double rho[] = {SPR_NONE, 0.5, 0.9, 0.995, 1};
    for (int i = 0; i < 5; i++) {
        struct spr_when_opts o = {.size = sizeof o, .threshold = 8.5, .correlation = rho[i]};
        struct spr_when w;
        size_t n = 1;
        assert_int_equal(spr_forecast_first_passage(f, 0, &o, first), SPR_OK);
        for (int h = 0; h < STEPS; h++)
            assert_float_equal(first[h], h == 9, 1e-9);
        assert_int_equal(spr_forecast_when(f, 0, &o, &w, sizeof w, &n), SPR_OK);
        assert_int_equal(n, 1);
        assert_true(w.from == 9 && w.to == 16 && w.onset_low == 9 && w.onset == 9 && w.onset_high == 9 && w.end == 16);
        assert_float_equal(w.probability, 1, 1e-9);
        assert_float_equal(w.peak, 12, 2e-3);
    }
    spr_forecast_unref(f);
}

/* ---- sampled paths ---- */

enum { PATHS = 40000 };

static double gauss(uint64_t stream, uint64_t i) {
    return spr__normal_quantile((spr__rand(11, stream, i) * 0.999999999) + 5e-10);
}

struct sampled {
    double first[STEPS], any;
    double *peaks;
    int last[STEPS];
};

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Paths of the latent process; a path passes where its score lies past the marginal's limit. */
static void sample_paths(const spr_forecast *f, double rho, double threshold, const double *mean, const double *sd,
                         struct sampled *out) {
    double limit[STEPS];
    memset(out->first, 0, sizeof out->first);
    memset(out->last, 0, sizeof out->last);
    out->any = 0;
    for (int h = 0; h < STEPS; h++) {
        double p = spr_forecast_exceeds(f, 0, h, threshold);
        limit[h] = p > 0 ? p < 1 ? -spr__normal_quantile(p) : -99 : 99;
    }
    for (int i = 0; i < PATHS; i++) {
        double z = 0, peak = -INFINITY;
        int first = -1, last = -1;
        for (int h = 0; h < STEPS; h++) {
            double e = gauss((uint64_t)i, (uint64_t)h);
            z = h ? rho * z + sqrt(1 - rho * rho) * e : e;
            peak = fmax(peak, mean[h] + sd[h] * z);
            if (z > limit[h])
                last = h, first = first < 0 ? h : first;
        }
        out->peaks[i] = peak;
        if (first >= 0)
            out->first[first] += 1.0 / PATHS, out->last[last]++, out->any += 1.0 / PATHS;
    }
    qsort(out->peaks, PATHS, sizeof *out->peaks, by_value);
}

static void sampled_paths_agree(void **state) {
    (void)state;
    static double peaks[PATHS];
    struct sampled s = {.peaks = peaks};
    static const double rho[] = {0.3, 0.8, 0.97};
    double mean[STEPS], sd[STEPS], first[STEPS];
    hill(mean, sd);
    spr_forecast *f = normal(mean, sd, STEPS);
    for (int i = 0; i < 3; i++) {
        struct spr_when_opts o = {.size = sizeof o,
                                  .threshold = 9.5,
                                  .correlation = rho[i],
                                  .step_probability = 1e-6,
                                  .level = 0.6,
                                  .probability = 0.01};
        struct spr_when w;
        size_t n = 1;
        double sum = 0;
        sample_paths(f, rho[i], 9.5, mean, sd, &s);
        assert_int_equal(spr_forecast_first_passage(f, 0, &o, first), SPR_OK);
        for (int h = 0; h < STEPS; h++) {
            assert_float_equal(first[h], s.first[h], 0.006);
            sum += first[h];
        }
        assert_float_equal(sum, s.any, 0.01);
        assert_int_equal(spr_forecast_when(f, 0, &o, &w, sizeof w, &n), SPR_OK);
        assert_float_equal(w.probability, s.any, 0.01);
        double gathered = 0;
        int middle = STEPS;
        for (int h = 0; h < STEPS; h++)
            if (gathered < 0.5 * s.any * PATHS && (gathered += s.last[h]) >= 0.5 * s.any * PATHS)
                middle = h;
        assert_true(abs(w.end - (middle + 1)) <= 1);
        /* Past the 0.99 quantile the forecast's tail is a line, the paths' is not: a level that stays inside. */
        assert_float_equal(w.peak, spr__quantile_sorted(peaks, PATHS, 0.6), 0.03);
    }
    spr_forecast_unref(f);
}

static void more_correlation_never_makes_a_passage_likelier(void **state) {
    (void)state;
    double mean[STEPS], sd[STEPS], first[STEPS], before = 2;
    hill(mean, sd);
    spr_forecast *f = normal(mean, sd, STEPS);
    static const double rho[] = {SPR_NONE, 0.2, 0.5, 0.8, 0.9, 0.97, 0.989, 0.992, 0.999, 1};
    for (int i = 0; i < 10; i++) {
        struct spr_when_opts o = {.size = sizeof o, .threshold = 10, .correlation = rho[i]};
        double sum = 0;
        assert_int_equal(spr_forecast_first_passage(f, 0, &o, first), SPR_OK);
        for (int h = 0; h < STEPS; h++)
            sum += first[h];
        assert_true(sum < before + 1e-9);
        before = sum;
    }
    spr_forecast_unref(f);
}

static void an_onset_that_may_come_any_time_is_one_wide_window(void **state) {
    (void)state;
    double mean[STEPS], sd[STEPS];
    for (int h = 0; h < STEPS; h++)
        mean[h] = 5, sd[h] = 1;
    spr_forecast *f = normal(mean, sd, STEPS);
    struct spr_when_opts o = {.size = sizeof o, .threshold = 6.4, .correlation = 0.3};
    struct spr_when w;
    struct spr_exceedance none;
    size_t n = 1, m = 1;
    assert_int_equal(spr_forecast_windows(f, 0, 6.4, 0.5, &none, sizeof none, &m), SPR_OK);
    assert_int_equal(m, 0); /* no single step is likely ... */
    assert_int_equal(spr_forecast_when(f, 0, &o, &w, sizeof w, &n), SPR_OK);
    assert_int_equal(n, 1); /* ... but one of them is */
    assert_true(w.from == 0 && w.to == STEPS && w.probability > 0.8);
    assert_true(w.onset_low < w.onset && w.onset < w.onset_high && w.end > w.onset);
    n = 0;
    assert_int_equal(spr_forecast_when(f, 0, &o, NULL, 0, &n), SPR_OK);
    assert_int_equal(n, 1);
    spr_forecast_unref(f);
}

static void dependence_is_found_in_what_came(void **state) {
    (void)state;
    double mean[STEPS], sd[STEPS], truth[STEPS], found = NAN;
    hill(mean, sd);
    spr_forecast *f = normal(mean, sd, STEPS);
    static const double rho[] = {0, 0.6, 0.95};
    for (int i = 0; i < 3; i++) {
        struct spr_dependence sums = {.size = sizeof sums};
        for (int path = 0; path < 400; path++) {
            double z = 0;
            for (int h = 0; h < STEPS; h++) {
                z = h ? rho[i] * z + sqrt(1 - rho[i] * rho[i]) * gauss((uint64_t)path, (uint64_t)h)
                      : gauss((uint64_t)path, 0);
                truth[h] = mean[h] + sd[h] * z;
            }
            truth[path % STEPS] = NAN;
            found = spr_forecast_dependence(f, 0, truth, &sums);
        }
        assert_float_equal(found, rho[i], 0.03);
        assert_true(sums.pairs > 400 * (STEPS - 4));
    }
    struct spr_dependence sums = {.size = sizeof sums};
    assert_true(isnan(spr_forecast_dependence(f, 1, truth, &sums)));
    assert_true(isnan(spr_forecast_dependence(f, 0, NULL, &sums)));
    spr_forecast_unref(f);
}

/* An origin's error that lasts, and as much noise upon it: neighbours look half as alike as steps far apart are. */
static void noise_does_not_hide_an_error_that_lasts(void **state) {
    (void)state;
    double mean[STEPS], sd[STEPS], truth[STEPS], found = NAN;
    hill(mean, sd);
    spr_forecast *f = normal(mean, sd, STEPS);
    struct spr_dependence sums = {.size = sizeof sums};
    for (int path = 0; path < 400; path++) {
        double lasting = gauss((uint64_t)path, 1000);
        for (int h = 0; h < STEPS; h++)
            truth[h] = mean[h] + sd[h] * sqrt(0.5) * (lasting + gauss((uint64_t)path, (uint64_t)h));
        found = spr_forecast_dependence(f, 0, truth, &sums);
    }
    assert_float_equal(sums.product / sums.square, 0.5, 0.06);
    assert_true(found > 0.85 && found < 1);
    spr_forecast_unref(f);
}

static void bad_questions_are_refused(void **state) {
    (void)state;
    double mean[STEPS], sd[STEPS], first[STEPS];
    hill(mean, sd);
    spr_forecast *f = normal(mean, sd, STEPS);
    struct spr_when_opts good = {.size = sizeof good, .threshold = 8}, o = good;
    struct spr_when w;
    size_t n = 1;
    assert_int_equal(spr_forecast_first_passage(f, 1, &good, first), SPR_E_ARG);
    assert_int_equal(spr_forecast_first_passage(f, 0, NULL, first), SPR_E_ARG);
    assert_int_equal(spr_forecast_first_passage(f, 0, &good, NULL), SPR_E_ARG);
    assert_int_equal(spr_forecast_first_passage(NULL, 0, &good, first), SPR_E_ARG);
    o.correlation = 1.5;
    assert_int_equal(spr_forecast_first_passage(f, 0, &o, first), SPR_E_ARG);
    o = good, o.threshold = NAN;
    assert_int_equal(spr_forecast_when(f, 0, &o, &w, sizeof w, &n), SPR_E_ARG);
    o = good, o.level = 1;
    assert_int_equal(spr_forecast_when(f, 0, &o, &w, sizeof w, &n), SPR_E_ARG);
    assert_int_equal(spr_forecast_when(f, 0, &good, &w, 4, &n), SPR_E_ARG);
    assert_int_equal(spr_forecast_when(f, 0, &good, &w, sizeof w, NULL), SPR_E_ARG);
    spr_forecast_unref(f);
}

static int look(spr_context *failing, void *arg) {
    (void)arg;
    const double levels[] = {0.1, 0.9}, points[] = {1, 2, 3}, q[] = {0, 2, 1, 3, 2, 4};
    spr_forecast *f = NULL;
    struct spr_when_opts o = {.size = sizeof o, .threshold = 2.5};
    struct spr_when w;
    size_t n = 1;
    double first[3];
    int rc = spr_forecast_create(failing, 1, 3, 2, levels, 0, points, q, &f);
    if (rc >= 0)
        rc = spr_forecast_first_passage(f, 0, &o, first);
    if (rc >= 0)
        rc = spr_forecast_when(f, 0, &o, &w, sizeof w, &n);
    spr_forecast_unref(f);
    return rc;
}

static void every_failing_allocation_leaves_nothing_behind(void **state) {
    (void)state;
    assert_true(failing_sweep(look, NULL) >= 6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(independent_steps_multiply),
        cmocka_unit_test(one_draw_passes_where_the_chance_first_peaks),
        cmocka_unit_test(a_sure_ramp_passes_at_one_step),
        cmocka_unit_test(sampled_paths_agree),
        cmocka_unit_test(more_correlation_never_makes_a_passage_likelier),
        cmocka_unit_test(an_onset_that_may_come_any_time_is_one_wide_window),
        cmocka_unit_test(dependence_is_found_in_what_came),
        cmocka_unit_test(noise_does_not_hide_an_error_that_lasts),
        cmocka_unit_test(bad_questions_are_refused),
        cmocka_unit_test(every_failing_allocation_leaves_nothing_behind),
    };
    return cmocka_run_group_tests_name("when", tests, make_context, drop_context);
}
