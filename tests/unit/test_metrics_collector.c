/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Samples in any order become a regular grid that says what is missing. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <shardpredict/metrics.h>

enum { STEP = 7 }; /* seconds: nothing divides by it by accident */
static const int64_t S = 1000000000;

static spr_context *ctx;
static spr_metrics *m;

static int begin(void **state) {
    (void)state;
    struct spr_metrics_opts o = SPR_METRICS_OPTS_INIT;
    o.origin_ns = 1000 * S;
    o.step_ns = STEP * S;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    assert_int_equal(spr_metrics_create(ctx, &o, &m), SPR_OK);
    return 0;
}
static int end(void **state) {
    (void)state;
    spr_metrics_destroy(m);
    spr_context_unref(ctx);
    return 0;
}
static int64_t add(const char *id, int kind) {
    int64_t row = -1;
    assert_int_equal(spr_metrics_add(m, id, NULL, SPR_CPU, kind, 0, &row), SPR_OK);
    return row;
}
static void push(int64_t row, double at_s, double value) {
    assert_int_equal(spr_metrics_push(m, row, 1000 * S + (int64_t)(at_s * 1e9), value, 0), SPR_OK);
}
static spr_series *finish(void) {
    spr_series *s = NULL;
    assert_int_equal(spr_metrics_finish(m, &s), SPR_OK);
    return s;
}
static double at(const spr_series *s, int field, int64_t row, int64_t step) {
    struct spr_panel p = {.size = sizeof p};
    assert_int_equal(spr_series_view(s, field, &p), SPR_OK);
    assert_true(row < p.series && step < p.steps);
    const char *cell = (const char *)p.data + row * p.series_stride + step * p.step_stride;
    return p.dtype == SPR_F64 ? *(const double *)cell : *(const float *)cell;
}
static struct spr_metrics_notes notes(void) {
    struct spr_metrics_notes n = {.size = sizeof n};
    assert_int_equal(spr_metrics_notes(m, &n), SPR_OK);
    return n;
}

static void regular_samples_are_kept_as_they_are(void **state) {
    (void)state;
    int64_t a = add("a", SPR_GAUGE), b = add("b", SPR_GAUGE);
    for (int i = 0; i < 1000; i++) {
        push(a, i * STEP, 2.385 * i);
        push(b, i * STEP + 3, -0.1 * i);
    }
    spr_series *s = finish();
    assert_int_equal(spr_series_steps(s), 1000);
    assert_int_equal(spr_series_step_ns(s), STEP * S);
    assert_int_equal(spr_series_origin_ns(s), 1000 * S);
    for (int i = 0; i < 1000; i++) {
        assert_true(at(s, SPR_SERIES_MEAN, a, i) == 2.385 * i);
        assert_true(at(s, SPR_SERIES_MAX, b, i) == -0.1 * i);
        assert_true(at(s, SPR_SERIES_COUNT, b, i) == 1);
    }
    spr_series_unref(s);
}

static void what_nobody_measured_is_missing_and_counted_as_a_gap(void **state) {
    (void)state;
    int64_t a = add("a", SPR_GAUGE), late = add("late", SPR_GAUGE);
    push(a, 0, 1.5);
    push(a, STEP * 3, 4.5);
    push(late, STEP * 2, 9);
    push(late, STEP * 3, NAN);
    spr_series *s = finish();
    assert_int_equal(spr_series_steps(s), 4);
    assert_true(isnan(at(s, SPR_SERIES_MEAN, a, 1)) && isnan(at(s, SPR_SERIES_MEAN, a, 2)));
    assert_true(isnan(at(s, SPR_SERIES_MEAN, late, 0)) && isnan(at(s, SPR_SERIES_MEAN, late, 3)));
    assert_true(at(s, SPR_SERIES_COUNT, a, 1) == 0);
    assert_int_equal(notes().gaps, 2); /* a VM that starts late has no gap before it */
    assert_int_equal(notes().missing, 1);
    spr_series_unref(s);
}

static void several_samples_of_a_step_give_mean_maximum_and_count(void **state) {
    (void)state;
    int64_t a = add("a", SPR_GAUGE);
    push(a, 1, 2.25);
    push(a, STEP + 1, 10);
    push(a, STEP + 2.5, 2);
    push(a, STEP + 6, 3.5);
    spr_series *s = finish();
    assert_true(at(s, SPR_SERIES_MEAN, a, 0) == 2.25);
    assert_true(fabs(at(s, SPR_SERIES_MEAN, a, 1) - 15.5 / 3) < 1e-15);
    assert_true(at(s, SPR_SERIES_MAX, a, 1) == 10);
    assert_true(at(s, SPR_SERIES_COUNT, a, 1) == 3);
    spr_series_unref(s);
}

static void of_duplicates_the_last_one_counts(void **state) {
    (void)state;
    int64_t a = add("a", SPR_GAUGE), b = add("b", SPR_GAUGE);
    push(a, 0, 5), push(a, STEP, 6), push(a, 2 * STEP, 7);
    push(a, STEP, 8.125); /* late and a duplicate */
    push(b, 1, 100), push(b, 3, 3.5), push(b, 3, 1.5);
    push(b, STEP + 2, 4), push(b, 3, 0.5);
    spr_series *s = finish();
    assert_true(at(s, SPR_SERIES_MEAN, a, 1) == 8.125);
    assert_true(at(s, SPR_SERIES_MAX, a, 1) == 8.125);
    assert_true(at(s, SPR_SERIES_MEAN, b, 0) == 50.25);
    assert_true(at(s, SPR_SERIES_MAX, b, 0) == 100);
    assert_true(at(s, SPR_SERIES_COUNT, b, 0) == 2);
    assert_int_equal(notes().duplicates, 3);
    assert_int_equal(notes().out_of_order, 2);
    spr_series_unref(s);
}

static void a_missing_value_never_erases_a_measured_one(void **state) {
    (void)state;
    int64_t a = add("a", SPR_GAUGE);
    push(a, 0, 5.5), push(a, 0, NAN);
    spr_series *s = finish();
    assert_true(at(s, SPR_SERIES_MEAN, a, 0) == 5.5);
    spr_series_unref(s);
}

static void a_counter_gives_rates_and_survives_its_reset(void **state) {
    (void)state;
    int64_t a = add("a", SPR_COUNTER);
    push(a, 0, 700), push(a, 7, 707), push(a, 14, 735);
    push(a, 21, 14);  /* restarted from zero */
    push(a, 14, 999); /* old news */
    push(a, 28, 14);
    spr_series *s = finish();
    assert_true(at(s, SPR_SERIES_MEAN, a, 0) == 1);
    assert_true(at(s, SPR_SERIES_MEAN, a, 1) == 4);
    assert_true(at(s, SPR_SERIES_MEAN, a, 2) == 2);
    assert_true(at(s, SPR_SERIES_MEAN, a, 3) == 0);
    assert_int_equal(notes().resets, 1);
    assert_int_equal(notes().out_of_order, 1);
    spr_series_unref(s);
}

static void a_given_maximum_stands_beside_the_mean(void **state) {
    (void)state;
    int64_t a = add("a", SPR_GAUGE);
    for (int i = 0; i < 3; i++) {
        push(a, i * STEP, 1.25 + i);
        assert_int_equal(spr_metrics_push(m, a, (1000 + i * STEP) * S, 40.5 + i, SPR_SAMPLE_IS_MAX), SPR_OK);
    }
    assert_int_equal(spr_metrics_push(m, a, (1000 + 2 * STEP) * S, 30.5, SPR_SAMPLE_IS_MAX), SPR_OK);
    spr_series *s = finish();
    assert_true(at(s, SPR_SERIES_MEAN, a, 1) == 2.25);
    assert_true(at(s, SPR_SERIES_MAX, a, 1) == 41.5);
    assert_true(at(s, SPR_SERIES_MAX, a, 2) == 30.5); /* the same time again replaces */
    spr_series_unref(s);
}

static void a_throttled_sample_marks_its_step_as_a_lower_bound(void **state) {
    (void)state;
    int64_t a = add("a", SPR_GAUGE), b = add("b", SPR_GAUGE);
    for (int i = 0; i < 20; i++)
        push(b, i * STEP, 1);
    assert_int_equal(spr_metrics_push(m, a, (1000 + 11 * STEP) * S, 2, SPR_SAMPLE_CENSORED), SPR_OK);
    spr_series *s = finish();
    struct spr_panel p = {.size = sizeof p};
    assert_int_equal(spr_series_view(s, SPR_SERIES_MEAN, &p), SPR_OK);
    assert_non_null(p.censored);
    assert_int_equal(p.censored[a * p.censored_stride + 1], 1 << 3);
    assert_int_equal(p.censored[b * p.censored_stride + 1], 0);
    spr_series_unref(s);
}

static void a_clock_jump_is_told_and_an_absurd_time_refused(void **state) {
    (void)state;
    int64_t a = add("a", SPR_GAUGE);
    push(a, 0, 1), push(a, 1002.0 * STEP, 2);
    assert_int_equal(notes().clock_jumps, 1);
    assert_int_equal(spr_metrics_push(m, a, 999 * S, 1, 0), SPR_E_FORMAT);
    assert_int_equal(spr_metrics_push(m, a, INT64_MAX, 1, 0), SPR_E_FORMAT);
    assert_int_equal(spr_metrics_push(m, a, INT64_MIN, 1, 0), SPR_E_FORMAT);
    assert_int_equal(spr_metrics_push(m, a, 1000 * S, INFINITY, 0), SPR_E_FORMAT);
    assert_int_equal(spr_metrics_push(m, 77, 1000 * S, 1, 0), SPR_E_ARG);
    struct spr_error e = {.size = sizeof e};
    assert_int_equal(spr_context_error(ctx, &e), SPR_OK);
    assert_non_null(strstr(e.text, "77"));
}

static void series_are_found_by_name_and_metric(void **state) {
    (void)state;
    int64_t cpu, mem, row = -1;
    struct spr_series_info info = {.size = sizeof info};
    assert_int_equal(spr_metrics_add(m, "v", "cpu_pct", SPR_CPU, SPR_GAUGE, 0.0585, &cpu), SPR_OK);
    assert_int_equal(spr_metrics_add(m, "v", "mem_kb", SPR_MEMORY, SPR_GAUGE, 1000, &mem), SPR_OK);
    assert_int_equal(spr_metrics_add(m, "v", "mem_kb", SPR_MEMORY, SPR_GAUGE, 1000, &row), SPR_E_EXISTS);
    assert_int_equal(spr_metrics_add(m, "v", NULL, 9, SPR_GAUGE, 0, &row), SPR_E_ARG);
    assert_int_equal(spr_metrics_find(m, "v", "mem_kb", &row), SPR_OK);
    assert_int_equal(row, mem);
    assert_int_equal(spr_metrics_find(m, "w", "mem_kb", &row), SPR_E_NOT_FOUND);
    push(cpu, 0, 1);
    spr_series *s = finish();
    assert_int_equal(spr_series_find(s, "v", SPR_MEMORY, NULL, &row), SPR_OK);
    assert_int_equal(row, mem);
    assert_int_equal(spr_series_find(s, "v", -1, "cpu_pct", &row), SPR_OK);
    assert_int_equal(row, cpu);
    assert_int_equal(spr_series_find(s, "v", SPR_NET_RX, NULL, &row), SPR_E_NOT_FOUND);
    assert_int_equal(spr_series_info(s, cpu, &info), SPR_OK);
    assert_string_equal(info.metric, "cpu_pct");
    assert_true(info.unit_factor == 0.0585);
    assert_int_equal(spr_series_info(s, 2, &info), SPR_E_ARG);
    spr_series_unref(s);
}

static void an_empty_collector_makes_no_product_and_a_used_one_starts_again(void **state) {
    (void)state;
    spr_series *s = NULL;
    int64_t a = add("a", SPR_GAUGE);
    assert_int_equal(spr_metrics_finish(m, &s), SPR_E_HISTORY);
    assert_null(s);
    push(a, 5 * STEP, 1);
    s = finish();
    assert_int_equal(spr_series_steps(s), 6);
    spr_series_unref(s);
    push(a, 2 * STEP, 3);
    s = finish();
    assert_int_equal(spr_series_steps(s), 3);
    assert_true(at(s, SPR_SERIES_MEAN, a, 2) == 3);
    spr_metrics_destroy(m), m = NULL;
    spr_context_unref(ctx), ctx = NULL; /* a product outlives both */
    assert_true(isnan(at(s, SPR_SERIES_MEAN, a, 0)));
    spr_series_unref(s);
}

/* ---- memory that runs out ---- */

struct budget {
    long left;
    long live;
};
static void *scarce_alloc(void *user, size_t bytes) {
    struct budget *b = user;
    if (b->left-- <= 0)
        return NULL;
    b->live++;
    return malloc(bytes);
}
static void *scarce_realloc(void *user, void *block, size_t old_bytes, size_t bytes) {
    struct budget *b = user;
    (void)old_bytes;
    return b->left-- <= 0 ? NULL : realloc(block, bytes);
}
static void scarce_free(void *user, void *block, size_t bytes) {
    (void)bytes;
    ((struct budget *)user)->live--;
    free(block);
}

static int small_life(spr_context *c, spr_series **out) {
    struct spr_metrics_opts o = SPR_METRICS_OPTS_INIT;
    spr_metrics *x = NULL;
    char id[] = "a";
    int64_t row;
    int rc = spr_metrics_create(c, &o, &x);
    for (int i = 0; rc >= 0 && i < 12; i++) {
        id[0] = (char)('a' + i);
        rc = spr_metrics_add(x, id, NULL, SPR_CPU, SPR_GAUGE, 0, &row);
        for (int k = 0; rc >= 0 && k < 70; k++)
            rc = spr_metrics_push(x, row, k * 200 * S, k, k % 3 == 2 ? SPR_SAMPLE_IS_MAX : k % 2);
    }
    if (rc >= 0)
        rc = spr_metrics_finish(x, out);
    spr_metrics_destroy(x);
    return rc;
}

static void every_allocation_may_fail_without_a_leak(void **state) {
    (void)state;
    for (long n = 1;; n++) {
        struct budget b = {n, 0};
        struct spr_allocator hooks = {sizeof hooks, scarce_alloc, scarce_realloc, scarce_free, &b};
        struct spr_context_opts o = SPR_CONTEXT_OPTS_INIT;
        spr_context *c = NULL;
        spr_series *s = NULL;
        o.allocator = &hooks;
        int rc = spr_context_create(&o, &c);
        if (rc >= 0)
            rc = small_life(c, &s);
        assert_true(rc == SPR_OK || rc == SPR_E_NOMEM);
        spr_series_unref(s);
        spr_context_unref(c);
        assert_int_equal(b.live, 0);
        if (rc == SPR_OK)
            return;
        assert_null(s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(regular_samples_are_kept_as_they_are, begin, end),
        cmocka_unit_test_setup_teardown(what_nobody_measured_is_missing_and_counted_as_a_gap, begin, end),
        cmocka_unit_test_setup_teardown(several_samples_of_a_step_give_mean_maximum_and_count, begin, end),
        cmocka_unit_test_setup_teardown(of_duplicates_the_last_one_counts, begin, end),
        cmocka_unit_test_setup_teardown(a_missing_value_never_erases_a_measured_one, begin, end),
        cmocka_unit_test_setup_teardown(a_counter_gives_rates_and_survives_its_reset, begin, end),
        cmocka_unit_test_setup_teardown(a_given_maximum_stands_beside_the_mean, begin, end),
        cmocka_unit_test_setup_teardown(a_throttled_sample_marks_its_step_as_a_lower_bound, begin, end),
        cmocka_unit_test_setup_teardown(a_clock_jump_is_told_and_an_absurd_time_refused, begin, end),
        cmocka_unit_test_setup_teardown(series_are_found_by_name_and_metric, begin, end),
        cmocka_unit_test_setup_teardown(an_empty_collector_makes_no_product_and_a_used_one_starts_again, begin, end),
        cmocka_unit_test(every_allocation_may_fail_without_a_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
