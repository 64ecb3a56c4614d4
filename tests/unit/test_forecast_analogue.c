/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Analogues: they find any period, sliding distances equal summed ones, and nothing after a step changes it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "failing_alloc.h"
#include "forecast/analogue.h"

enum { STEPS = 8 };
static const double pi = 3.14159265358979323846;

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

/* Busy for a third of a period that is no whole number of steps. */
static double pulse(int64_t t, double period) { return fmod((double)t, period) < period / 3 ? 3.0 : 0.5; }
static double wave(int64_t t, double period) { return 2 + sin(2 * pi * (double)t / period); }

static struct spr__analogues *open_rows(int64_t rows, int64_t history) {
    struct spr__analogues *a = NULL;
    assert_int_equal(spr__analogues_create(ctx, rows, STEPS, history, &a), SPR_OK);
    return a;
}

static void a_period_of_no_whole_steps_is_found(void **state) {
    (void)state;
    struct spr__analogues *a = open_rows(1, 1000);
    const double *mean, *variance;
    double wrong = 0;
    int64_t asked = 0;
    for (int64_t t = 0; t < 1200; t++) {
        double now = wave(t, 12.75);
        spr__analogues_say(a, &now, 1, &mean, &variance);
        assert_true(fabs(mean[0] - (now)) <= 0);
        for (int32_t j = 1; j < STEPS && t > 400; j++, asked++)
            wrong += fabs(mean[j] - wave(t + j, 12.75));
        spr__analogues_push(a, &now, 1, true);
    }
    assert_true(asked > 5000);
    assert_true(wrong / (double)asked < 0.03); /* the wave itself moves by 0.3 a step */
    spr__analogues_destroy(a);
}

static void pulses_are_told_before_they_come(void **state) {
    (void)state;
    struct spr__analogues *a = open_rows(1, 2000);
    const double *mean, *variance;
    int64_t told = 0, onsets = 0;
    for (int64_t t = 0; t < 1500; t++) {
        double now = pulse(t, 30);
        spr__analogues_say(a, &now, 1, &mean, &variance);
        if (t > 300 && now < 1 && pulse(t + 1, 30) > 1)
            onsets++, told += mean[1] > 2;
        spr__analogues_push(a, &now, 1, true);
    }
    assert_true(onsets > 20);
    assert_int_equal(told, onsets);
    spr__analogues_destroy(a);
}

static double walk(int64_t row, int64_t t) {
    double y = 5;
    for (int64_t k = t > 40 ? t - 40 : 0; k <= t; k++)
        y += spr__rand(3, (uint64_t)row, (uint64_t)k) - 0.5;
    return y * (row ? 1e9 : 1);
}

/* 700 steps through a history of 300: it slides through its buffer, and distances are summed afresh on the way. */
static void a_sliding_history_answers_like_one_that_only_holds_what_is_left(void **state) {
    (void)state;
    struct spr__analogues *a = open_rows(2, 300), *b = open_rows(2, 300);
    const double *ma, *va, *mb, *vb;
    double y[2];
    for (int64_t t = 0; t < 700; t++) {
        y[0] = walk(0, t), y[1] = walk(1, t);
        spr__analogues_push(a, y, 1, false);
        if (t >= 400)
            spr__analogues_push(b, y, 1, false);
    }
    spr__analogues_say(a, y, 1, &ma, &va);
    spr__analogues_say(b, y, 1, &mb, &vb);
    for (int i = 0; i < 2 * STEPS; i++) {
        assert_true(fabs(ma[i] - (mb[i])) <= 1e-9 * fabs(mb[i]));
        assert_true(fabs(va[i] - (vb[i])) <= 1e-6 * fabs(vb[i]) + 1e-12);
    }
    spr__analogues_destroy(a);
    spr__analogues_destroy(b);
}

static void a_guess_within_a_step_leaves_no_trace(void **state) {
    (void)state;
    struct spr__analogues *a = open_rows(1, 500), *b = open_rows(1, 500);
    const double *ma, *va, *mb, *vb;
    for (int64_t t = 0; t < 400; t++) {
        double y = walk(0, t), other = y + 3;
        spr__analogues_say(a, &other, 1, &ma, &va); /* the step looked different while it ran */
        spr__analogues_push(a, &y, 1, true);
        spr__analogues_push(b, &y, 1, true);
        spr__analogues_say(a, &y, 1, &ma, &va);
        spr__analogues_say(b, &y, 1, &mb, &vb);
        assert_memory_equal(ma, mb, STEPS * sizeof *ma);
        assert_memory_equal(va, vb, STEPS * sizeof *va);
    }
    spr__analogues_destroy(a);
    spr__analogues_destroy(b);
}

static void odd_series_give_finite_answers(void **state) {
    (void)state;
    enum { ROWS = 5 };
    struct spr__analogues *a = open_rows(ROWS, 200);
    const double *mean, *variance;
    for (int64_t t = 0; t < 500; t++) {
        double y[ROWS] = {0, 7, t % 97 ? 1 : 1e12, t % 50 == 3 ? 1e150 : -1, (double)(t * t)};
        spr__analogues_say(a, y, 1, &mean, &variance);
        for (int i = 0; i < ROWS * STEPS; i++)
            assert_true(isfinite(mean[i]) && variance[i] >= 0);
        for (int32_t j = 0; j < STEPS; j++) {
            assert_true(fabs(mean[j] - (0)) <= 0);
            assert_true(fabs(mean[STEPS + j] - (7)) <= 1e-12);
        }
        spr__analogues_push(a, y, 1, true);
    }
    spr__analogues_destroy(a);
}

static int make_and_drop(spr_context *c, void *arg) {
    (void)arg;
    struct spr__analogues *a = NULL;
    int rc = spr__analogues_create(c, 3, STEPS, 100, &a);
    spr__analogues_destroy(a);
    return rc;
}
static void no_memory_is_said(void **state) {
    (void)state;
    assert_true(failing_sweep(make_and_drop, NULL) >= 9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_period_of_no_whole_steps_is_found),
        cmocka_unit_test(pulses_are_told_before_they_come),
        cmocka_unit_test(a_sliding_history_answers_like_one_that_only_holds_what_is_left),
        cmocka_unit_test(a_guess_within_a_step_leaves_no_trace),
        cmocka_unit_test(odd_series_give_finite_answers),
        cmocka_unit_test(no_memory_is_said),
    };
    return cmocka_run_group_tests(tests, make_context, drop_context);
}
