/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Coverage is counted exactly, too little of it is noticed, and noticed by chance no more often than was asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "failing_alloc.h"
#include "forecast/calibration.h"

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

static const double levels[] = {0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99};
enum { K = 7 };

static spr_coverage *make(int64_t series, double alpha, int32_t lag) {
    struct spr_coverage_opts o = {
        .size = sizeof o, .series = series, .levels = levels, .level_count = K, .alpha = alpha, .lag = lag};
    spr_coverage *c = NULL;
    assert_int_equal(spr_coverage_create(ctx, &o, &c), SPR_OK);
    return c;
}

static struct spr_coverage_row row(const spr_coverage *c, int64_t series, int32_t level) {
    struct spr_coverage_row r = {.size = sizeof r};
    assert_int_equal(spr_coverage_get(c, series, level, &r), SPR_OK);
    return r;
}

/* Quantiles of the uniform distribution on (0, width). */
static void uniform(double width, double *q) {
    for (int k = 0; k < K; k++)
        q[k] = width * levels[k];
}

static void a_series_at_zero_covers_exactly(void **state) {
    (void)state;
    spr_coverage *c = make(1, 0, 0);
    double q[K] = {0}, y = 0, mean[K] = {0};
    for (int t = 1; t <= 288 * 24; t++) {
        assert_int_equal(spr_coverage_observe(c, &y, q), SPR_OK);
        for (int k = 0; t % 288 == 0 && k < K; k++)
            mean[k] += row(c, 0, k).recent / 24;
    }
    for (int k = 0; k < K; k++) {
        assert_true(fabs(mean[k] - levels[k]) < 0.02);
        assert_true(row(c, 0, k).at_or_below == 1);
    }
    assert_false(row(c, 0, 0).gated);
    spr_coverage_destroy(c);
}

/* Zero with chance `zero`, else uniform on (0, 1): what is said is true, so every level covers. */
static void ties_count_by_chance(void **state) {
    (void)state;
    for (int z = 1; z < 10; z += 2) {
        double zero = z / 10.0, q[K], most = 0, mean[K] = {0};
        spr_coverage *c = make(1, 0, 0);
        for (int k = 0; k < K; k++)
            q[k] = levels[k] <= zero ? 0 : (levels[k] - zero) / (1 - zero);
        for (uint64_t t = 1; t <= 288 * 24; t++) {
            double u = spr__rand(5, (uint64_t)z, t), y = u <= zero ? 0 : (u - zero) / (1 - zero);
            assert_int_equal(spr_coverage_observe(c, &y, q), SPR_OK);
            for (int k = 0; t % 288 == 0 && k < K; k++)
                mean[k] += row(c, 0, k).recent / 24;
        }
        for (int k = 0; k < K; k++)
            most = fmax(most, fabs(mean[k] - levels[k]));
        print_message("share of zeros %.1f: coverage is off by at most %.3f\n", zero, most);
        assert_true(most < 0.13); /* where the atom ends between two levels it is taken to end half way */
        assert_true(fabs(mean[6] - 0.99) < 0.01 && fabs(mean[5] - 0.95) < 0.02 && fabs(mean[4] - 0.9) < 0.03);
        spr_coverage_destroy(c);
    }
}

static void counts_forget_and_the_window_does_not(void **state) {
    (void)state;
    spr_coverage *c = make(2, 0, 0);
    double q[2 * K], y[2] = {0.99999, NAN};
    uniform(1, q), uniform(1, q + K);
    for (int t = 0; t < 288; t++)
        spr_coverage_observe(c, y, q);
    y[0] = 0.3;
    for (int t = 0; t < 144; t++)
        spr_coverage_observe(c, y, q);
    struct spr_coverage_row r = row(c, 0, 2);
    assert_true(fabs(r.recent - 0.5) < 1e-12); /* the first 144 fell out of it */
    double forgotten = pow(1 - 1.0 / 288, 144), all = 1 - pow(1 - 1.0 / 288, 432);
    assert_true(fabs(r.covered - (1 - forgotten) / all) < 1e-9);
    assert_int_equal(r.outcomes, 432);
    assert_int_equal(row(c, 1, 2).outcomes, 0);
    assert_true(isnan(row(c, 1, 2).covered) && isnan(row(c, 1, 2).recent));
    spr_coverage_destroy(c);
}

/* The promise of the test: whoever covers is gated with chance alpha at most, however long one looks. */
static int alarms(double alpha, int32_t lag, int series, int steps, double width, int *when) {
    spr_coverage *c = make(series, alpha, lag);
    double *q = malloc((size_t)series * K * sizeof *q), *y = malloc((size_t)series * sizeof *y);
    char *gated = calloc((size_t)series, 1);
    int n = 0;
    *when = 0;
    for (int s = 0; s < series; s++)
        uniform(width, q + s * K);
    for (int t = 0; t < steps; t++) {
        for (int s = 0; s < series; s++)
            y[s] = spr__rand(11, (uint64_t)s, (uint64_t)t);
        spr_coverage_observe(c, y, q);
        for (int s = 0; s < series; s++)
            if (!gated[s] && spr__coverage_gated(c, s))
                gated[s] = 1, n++, *when += t + 1;
    }
    *when = n ? *when / n : 0;
    free(gated), free(y), free(q);
    spr_coverage_destroy(c);
    return n;
}

static void false_alarms_keep_to_alpha(void **state) {
    (void)state;
    int when;
    int n = alarms(0.2, 1, 150, 1500, 1, &when);
    print_message("quantiles that cover: %d of 150 gated in 1500 steps at alpha 0.2\n", n);
    assert_true(n <= 2);
    assert_true(alarms(0.2, 3, 100, 1500, 1, &when) <= 2);
}

static void the_edge_of_the_slack_is_still_forgiven(void **state) {
    (void)state;
    static const double one[] = {0.9};
    struct spr_coverage_opts o = {
        .size = sizeof o, .series = 200, .levels = one, .level_count = 1, .alpha = 0.1, .slack = 2};
    spr_coverage *c = NULL;
    assert_int_equal(spr_coverage_create(ctx, &o, &c), SPR_OK);
    double q[200], y[200];
    int n = 0;
    char ever[200] = {0};
    for (int s = 0; s < 200; s++)
        q[s] = 0.8; /* said to be the 0.9 quantile: it misses exactly twice as often, what the slack forgives */
    for (int t = 0; t < 1500; t++) {
        for (int s = 0; s < 200; s++)
            y[s] = spr__rand(13, (uint64_t)s, (uint64_t)t);
        spr_coverage_observe(c, y, q);
        for (int s = 0; s < 200; s++)
            if (!ever[s] && spr__coverage_gated(c, s))
                ever[s] = 1, n++;
    }
    print_message("at the edge of the slack: %d of 200 gated, alpha allows 20\n", n);
    assert_true(n <= 20);
    spr_coverage_destroy(c);
}

static void too_narrow_is_noticed_also_after_a_good_time(void **state) {
    (void)state;
    int when, n = alarms(0, 1, 30, 600, 0.8, &when);
    print_message("a fifth too low: %d of 30 gated, after %d steps in the mean\n", n, when);
    assert_int_equal(n, 30);
    assert_true(when < 200);
    n = alarms(0, 2, 30, 900, 0.8, &when);
    assert_int_equal(n, 30);

    spr_coverage *c = make(1, 0, 0);
    double q[K], y;
    int t = 0, gone;
    uniform(1, q);
    for (; t < 5000; t++)
        y = spr__rand(17, 0, (uint64_t)t), spr_coverage_observe(c, &y, q);
    assert_false(row(c, 0, 0).gated);
    uniform(0.7, q);
    for (; t < 5600 && !row(c, 0, 0).gated; t++)
        y = spr__rand(17, 0, (uint64_t)t), spr_coverage_observe(c, &y, q);
    print_message("after 5000 good steps it takes %d bad ones\n", t - 5000);
    assert_true(row(c, 0, 0).gated && t - 5000 < 250);
    assert_int_equal(row(c, 0, 0).since, t);
    uniform(1, q); /* and it comes back by itself */
    for (gone = t; t < 8000 && row(c, 0, 0).gated; t++)
        y = spr__rand(17, 0, (uint64_t)t), spr_coverage_observe(c, &y, q);
    print_message("let go after %d good ones\n", t - gone);
    assert_false(row(c, 0, 0).gated);
    assert_true(t - gone >= 288 && t - gone < 700);
    spr_coverage_destroy(c);
}

static void covering_too_much_is_no_fault(void **state) {
    (void)state;
    int when;
    assert_int_equal(alarms(0.5, 1, 30, 1000, 3, &when), 0);
}

static void factors_widen_what_is_too_narrow_and_nothing_else(void **state) {
    (void)state;
    enum { N = 4000 };
    double *y = malloc(N * sizeof *y), *q = malloc(N * K * sizeof *q), factor[K], one[K];
    for (int i = 0; i < N; i++) {
        double z = spr__normal_quantile(spr__rand(3, 1, (uint64_t)i) * (1 - 1e-9) + 5e-10);
        y[i] = i % 97 ? 10 + z : NAN;
        for (int k = 0; k < K; k++) /* upper quantiles half as far out as they should be */
            q[i * K + k] = 10 + (levels[k] > 0.5 ? 0.5 : 1.0) * spr__normal_quantile(levels[k]);
    }
    assert_int_equal(spr__calibration_factors(ctx, N, levels, K, y, q, NULL, factor), SPR_OK);
    for (int k = 0; k < K; k++) {
        assert_true(levels[k] > 0.5 ? fabs(factor[k] - 2) < 0.25 : factor[k] < 1.1 && factor[k] >= 1);
        one[k] = q[k];
    }
    spr__calibration_widen(levels, K, factor, one);
    assert_true(fabs(one[5] - 10 - spr__normal_quantile(0.95)) < 0.25 && fabs(one[2] - 10) < 1e-12);
    for (int k = 1; k < K; k++)
        assert_true(one[k] >= one[k - 1]);
    assert_int_equal(spr__calibration_factors(ctx, 50, levels, K, y, q, NULL, factor), SPR_OK);
    assert_true(factor[6] == 1); /* 0.99 cannot be judged from 50 outcomes */
    free(q), free(y);
}

static void senseless_options_are_refused_with_a_record(void **state) {
    (void)state;
    struct spr_coverage_opts good = {.size = sizeof good, .series = 1, .levels = levels, .level_count = K}, o;
    struct spr_coverage_row r = {.size = sizeof r};
    spr_coverage *c = NULL;
    double q[K], y = INFINITY;
    uniform(1, q);
#define REFUSED(change)                                                                                                \
    (o = good, o.change, assert_int_equal(spr_coverage_create(ctx, &o, &c), SPR_E_ARG), assert_null(c))
    REFUSED(series = 0);
    REFUSED(levels = NULL);
    REFUSED(level_count = 256);
    REFUSED(lag = 65);
    REFUSED(window = -1);
    REFUSED(memory = 0.5);
    REFUSED(alpha = 1);
    REFUSED(slack = 0.5);
    assert_int_equal(spr_coverage_create(NULL, &good, &c), SPR_E_ARG);
    assert_int_equal(spr_coverage_create(ctx, &good, NULL), SPR_E_ARG);
    assert_int_equal(spr_coverage_create(ctx, &good, &c), SPR_OK);
    assert_int_equal(spr_coverage_observe(c, &y, q), SPR_E_ARG);
    assert_int_equal(spr_coverage_observe(c, NULL, q), SPR_E_ARG);
    q[3] = 0, y = 1;
    assert_int_equal(spr_coverage_observe(c, &y, q), SPR_E_ARG);
    assert_int_equal(spr_coverage_observe(NULL, &y, q), SPR_E_ARG);
    assert_int_equal(spr_coverage_get(c, 1, 0, &r), SPR_E_ARG);
    assert_int_equal(spr_coverage_get(c, 0, K, &r), SPR_E_ARG);
    assert_int_equal(spr_coverage_get(NULL, 0, 0, &r), SPR_E_ARG);
    assert_int_equal(row(c, 0, 0).outcomes, 0);
    spr_coverage_destroy(c);
    spr_coverage_destroy(NULL);
}

static int all_of_it(spr_context *own, void *arg) {
    struct spr_coverage_opts o = {.size = sizeof o, .series = 2, .levels = levels, .level_count = K};
    spr_coverage *c = NULL;
    double q[2 * K], y[2] = {0.5, 0.7}, factor[K];
    (void)arg;
    uniform(1, q), uniform(1, q + K);
    int rc = spr_coverage_create(own, &o, &c);
    if (rc == SPR_OK)
        rc = spr_coverage_observe(c, y, q);
    if (rc == SPR_OK)
        rc = spr__calibration_factors(own, 2, levels, K, y, q, NULL, factor);
    spr_coverage_destroy(c);
    return rc;
}
static void memory_may_fail_anywhere(void **state) {
    (void)state;
    assert_true(failing_sweep(all_of_it, NULL) > 8);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_series_at_zero_covers_exactly),
        cmocka_unit_test(ties_count_by_chance),
        cmocka_unit_test(counts_forget_and_the_window_does_not),
        cmocka_unit_test(false_alarms_keep_to_alpha),
        cmocka_unit_test(the_edge_of_the_slack_is_still_forgiven),
        cmocka_unit_test(too_narrow_is_noticed_also_after_a_good_time),
        cmocka_unit_test(covering_too_much_is_no_fault),
        cmocka_unit_test(factors_widen_what_is_too_narrow_and_nothing_else),
        cmocka_unit_test(senseless_options_are_refused_with_a_record),
        cmocka_unit_test(memory_may_fail_anywhere),
    };
    return cmocka_run_group_tests(tests, make_context, drop_context);
}
