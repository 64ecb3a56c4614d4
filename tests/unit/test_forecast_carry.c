/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* States of LSTM members that are carried from forecast to forecast, one step per new sample. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "failing_alloc.h"
#include "forecast/train.h"

enum { SERIES = 12, MANY = 150, STEPS = 900, H = 6, FIVE = 7 };
#define HOUR_NS (INT64_C(3600) * INT64_C(1000000000))
static double values[MANY][STEPS];
static spr_context *shared;
static spr_model *hourly, *five_minutes;

static spr_context *context(const struct spr_executor *e) {
    struct spr_context_opts o = {.size = sizeof o, .executor = e, .seed = 5};
    spr_context *ctx = NULL;
    assert_int_equal(spr_context_create(&o, &ctx), 0);
    return ctx;
}

static struct spr_panel columns(int64_t series, int from, int to) {
    return (struct spr_panel){.size = sizeof(struct spr_panel),
                              .data = values[0] + from,
                              .series = series,
                              .steps = to - from,
                              .series_stride = STEPS * (int64_t)sizeof(double),
                              .step_stride = sizeof(double)};
}

static int64_t length_of(const spr_model *m) {
    struct spr_model_info info = {.size = sizeof info};
    assert_int_equal(spr_model_describe(m, &info), 0);
    return info.step_ns;
}

static void wave(int season) {
    for (int s = 0; s < MANY; s++)
        for (int t = 0; t < STEPS; t++)
            values[s][t] = (s + 1) * (10 + 5 * sin(2 * 3.14159265358979 * (t + 3 * s) / season) +
                                      spr__rand(3, (uint64_t)s, (uint64_t)t));
}

static int train(spr_context *ctx, int64_t step_ns, double effort, int members, int steps, spr_model **out) {
    struct spr_trainer_opts o = {.size = sizeof o,
                                 .step_ns = step_ns,
                                 .horizon = H,
                                 .kind = SPR_MODEL_LSTM,
                                 .members = members,
                                 .effort = effort};
    struct spr_panel p = columns(SERIES, 0, steps);
    spr_trainer *t = NULL;
    int rc = spr_trainer_create(ctx, &o, &t);
    if (rc == SPR_OK)
        rc = spr_trainer_add(t, &p, NULL);
    if (rc == SPR_OK)
        rc = spr_trainer_run(t, 0);
    if (rc == SPR_OK)
        rc = spr_trainer_finish(t, out);
    spr_trainer_destroy(t);
    return rc;
}

static int train_both(void **state) {
    (void)state;
    shared = context(NULL);
    wave(288);
    int rc = train(shared, HOUR_NS / 12, .01, 1, STEPS, &five_minutes);
    wave(24);
    return rc == SPR_OK ? train(shared, HOUR_NS, .02, 2, 500, &hourly) : rc;
}

static int forget_both(void **state) {
    (void)state;
    spr_model_unref(hourly), spr_model_unref(five_minutes);
    spr_context_unref(shared);
    return 0;
}

static int make(spr_context *ctx, const spr_model *m, int carry, int64_t series, int until, spr_forecaster **out) {
    struct spr_model_opts config = {.size = sizeof config, .model = m, .carry = carry};
    struct spr_forecaster_opts o = {.size = sizeof o, .step_ns = length_of(m), .horizon = H, .config = &config};
    struct spr_panel p = columns(series, 0, until);
    int rc = spr_forecaster_create(ctx, spr_forecaster_model(), &o, out);
    return rc == SPR_OK ? spr_forecaster_fit(*out, &p, 0, 0) : rc;
}

static spr_forecaster *made(const spr_model *m, int carry, int64_t series, int until) {
    spr_forecaster *f = NULL;
    assert_int_equal(make(shared, m, carry, series, until, &f), SPR_OK);
    return f;
}

static void tell(spr_forecaster *f, int64_t series, int from, int to) {
    struct spr_panel p = columns(series, from, to);
    assert_int_equal(spr_forecaster_update(f, &p), SPR_OK);
}

static spr_forecast *asked(spr_forecaster *f, const double *now) {
    spr_forecast *out = NULL;
    assert_int_equal(spr_forecaster_predict(f, now, &out), SPR_OK);
    return out;
}

/* Largest distance of two answers for one series, in units of its size; both are dropped by who asked. */
static double apart(const spr_forecast *a, const spr_forecast *b, int64_t s) {
    double most = 0;
    for (int64_t i = s * H * FIVE; i < (s + 1) * H * FIVE; i++)
        most = fmax(most, fabs(spr_forecast_quantiles(a)[i] - spr_forecast_quantiles(b)[i]) / (5.0 * (double)(s + 1)));
    return most;
}

static double most_apart(spr_forecaster *a, spr_forecaster *b, const double *now) {
    spr_forecast *x = asked(a, now), *y = asked(b, now);
    double most = 0;
    for (int64_t s = 0; s < SERIES; s++)
        most = fmax(most, apart(x, y, s));
    spr_forecast_unref(x), spr_forecast_unref(y);
    return most;
}

/* A state read in two parts of one scale is the state read at once, to the bit. */
static void two_readings_of_one_scale_are_one(void **state) {
    const struct spr__net_kernels *k = spr__net_kernels_for(spr_context_simd(shared));
    const struct spr__window_spec spec = {
        .horizon = H, .context = 96, .norm = 96, .day = 24, .shifts = 1, .stride = 1, .flags = SPR__WINDOW_CALENDAR};
    static float memory[2 * 96], table[7 * 24 * 4], all[2 * 96], part[2 * 96], cells[2 * 8], whole[8], halves[8];
    (void)state;
    spr__encoder_calendar(&spec, table);
    for (int every = 1; every <= 3; every += 2) {
        const struct spr__encoder e = {8, every == 1 ? 72 : 32, every};
        enum { NEW = 5 };
        const int values_each = spr__encoder_values(&e, &spec), inputs = spr__encoder_inputs(&e, &spec);
        struct spr__window w = {.origin = 1000};
        struct spr__lstm l;
        struct spr__lstm_run run;
        spr__window_open(&w, &spec, k, values[2], 1, memory);
        spr__encoder_sequence(&e, &w, all);
        assert_int_equal(spr__lstm_make(shared, spr_context_simd(shared), inputs, 8, false, &l), 0);
        assert_int_equal(spr__lstm_run_make(shared, &l, 1, e.steps, false, &run), 0);
        float *weights = malloc(sizeof *weights * spr__encoder_weights(&e, &spec));
        spr__lstm_start(inputs, 8, 1, 1, weights);
        spr__lstm_load(&l, weights);
        int64_t origin = 1000, before = 1000 - NEW * every;
        const float *from = all;
        struct spr__encoder_rows rows = {&e, &spec, table, &from, &origin, e.steps, NULL, false};
        spr__encoder_read(&rows, &l, &run, whole, 8);
        rows.steps = e.steps - NEW, rows.origin = &before, rows.carry = cells;
        spr__encoder_read(&rows, &l, &run, halves, 8);
        assert_memory_not_equal(whole, halves, sizeof whole);
        struct spr__carried c = {before, before, w.level, w.spread};
        assert_int_equal(spr__encoder_behind(&e, &w, &c, 96, values[2]), NEW);
        spr__encoder_go_on(&e, &w, &c, NEW, values[2], part);
        assert_memory_equal(part, all + (e.steps - NEW) * values_each, sizeof *part * (size_t)(NEW * values_each));
        from = part, rows.steps = NEW, rows.origin = &origin, rows.carried = true;
        spr__encoder_read(&rows, &l, &run, halves, 8);
        assert_memory_equal(whole, halves, sizeof whole);
        assert_memory_equal(whole, cells, sizeof whole);
        free(weights);
        spr__lstm_run_drop(shared, &l, &run);
        spr__lstm_drop(shared, &l);
    }
}

static int32_t behind(const struct spr__encoder *e, const struct spr__carried *c, int64_t origin, int64_t whole,
                      const double *y) {
    const struct spr__window_spec spec = {.context = 48, .day = 24};
    const struct spr__window w = {.spec = &spec, .origin = origin, .level = 1, .spread = 2};
    return spr__encoder_behind(e, &w, c, whole, y);
}

static void a_state_says_when_it_must_be_read_anew(void **state) {
    const struct spr__encoder single = {8, 20, 1}, threes = {8, 8, 3};
    const double range = SPR__CARRY_RANGE * 2, apart = SPR__CARRY_LEVEL * 2;
    double y[48] = {0};
    struct spr__carried c = {100, 100, 1, 2};
    (void)state;
    assert_int_equal(behind(&single, &c, 100, 0, y), 0);
    assert_int_equal(behind(&single, &c, 104, 4, y), 4);
    assert_int_equal(behind(&single, &c, 104, 3, y), -1); /* a gap */
    assert_int_equal(behind(&single, &c, 99, 9, y), -1);
    assert_int_equal(behind(&single, &c, 121, 48, y), -1); /* more than a window */
    assert_int_equal(behind(&threes, &c, 105, 48, y), 1);  /* two of three wait */
    assert_int_equal(behind(&threes, &c, 106, 48, y), 2);
    c.at = 123;
    assert_int_equal(behind(&single, &c, 123, 48, y), 0);
    assert_int_equal(behind(&single, &c, 124, 48, y), -1); /* a day */
    c.at = 110, y[47] = 1 + range;
    assert_int_equal(behind(&single, &c, 111, 48, y), 1);
    y[47] = 1 - 1.001 * range;
    assert_int_equal(behind(&single, &c, 111, 48, y), -1); /* out of range */
    assert_int_equal(behind(&single, &c, 110, 48, y), 0);  /* not new */
    y[47] = 0, c.level = 1 + .99 * apart;
    assert_int_equal(behind(&single, &c, 111, 48, y), 1);
    c.level = 1 - 1.01 * apart;
    assert_int_equal(behind(&single, &c, 111, 48, y), -1); /* today's level is another */
    c.level = 1, c.spread = 2 * SPR__CARRY_SPREAD * 1.01;
    assert_int_equal(behind(&single, &c, 111, 48, y), -1);
    c.spread = 2 / SPR__CARRY_SPREAD / 1.01;
    assert_int_equal(behind(&single, &c, 111, 48, y), -1);
    c.spread = 0;
    assert_int_equal(behind(&single, &c, 110, 48, y), -1); /* nothing there */
}

static void a_fresh_state_answers_like_a_fresh_reading(void **state) {
    spr_forecaster *anew = made(hourly, 0, SERIES, 400), *carry = made(hourly, 1, SERIES, 400);
    double now[SERIES];
    (void)state;
    for (int s = 0; s < SERIES; s++)
        now[s] = 12.0 * (s + 1);
    for (int again = 0; again < 3; again++)
        assert_true(most_apart(anew, carry, NULL) == 0);
    tell(anew, SERIES, 400, 403), tell(carry, SERIES, 400, 403);
    assert_true(most_apart(anew, carry, now) == 0); /* what goes on now is no sample yet */
    double once = most_apart(anew, carry, NULL);
    assert_true(once > 0);
    assert_true(most_apart(anew, carry, now) == 0);
    assert_true(most_apart(anew, carry, NULL) == once);
    struct spr_panel p = columns(SERIES, 0, 403);
    assert_int_equal(spr_forecaster_fit(carry, &p, 0, 0), SPR_OK);
    assert_true(most_apart(anew, carry, NULL) == 0);
    spr_forecaster_destroy(anew), spr_forecaster_destroy(carry);
}

/* Over a day it stays within a hundredth of a series' swing, and once a day it comes back. */
static void a_carried_state_stays_near_for_a_day(void **state) {
    spr_forecaster *anew = made(hourly, 0, SERIES, 400), *carry = made(hourly, 1, SERIES, 400);
    double worst = 0;
    (void)state;
    for (int t = 400; t < 472; t++) {
        double d = most_apart(anew, carry, NULL);
        worst = fmax(worst, d);
        if ((t - 400) % 24 == 0 ? d != 0 : d == 0 || d > .01)
            fail_msg("step %d: %g apart", t, d);
        tell(anew, SERIES, t, t + 1), tell(carry, SERIES, t, t + 1);
    }
    print_message("# at most %.4f of the swing apart\n", worst);
    spr_forecaster_destroy(anew), spr_forecaster_destroy(carry);
}

static void gaps_and_jumps_have_a_series_read_anew(void **state) {
    spr_forecaster *anew = made(hourly, 0, SERIES, 400), *carry = made(hourly, 1, SERIES, 400);
    (void)state;
    values[1][401] = NAN, values[3][401] = 4000, values[4][401] = NAN, values[4][402] = NAN;
    for (int t = 400; t < 404; t++) {
        spr_forecast *x = asked(anew, NULL), *y = asked(carry, NULL);
        for (int s = 0; s < 6; s++) { /* at step t it has seen up to t - 1 */
            bool fresh = t == 400 || (t == 402 && (s == 1 || s == 3 || s == 4)) || (t == 403 && s == 4);
            if ((apart(x, y, s) == 0) != fresh)
                fail_msg("series %d, step %d: %g apart", s, t, apart(x, y, s));
        }
        spr_forecast_unref(x), spr_forecast_unref(y);
        tell(anew, SERIES, t, t + 1), tell(carry, SERIES, t, t + 1);
    }
    wave(24);
    spr_forecaster_destroy(anew), spr_forecaster_destroy(carry);
}

/* Asked at every step or only now and then: one step per sample all the same. */
static void steps_at_once_are_steps_one_by_one(void **state) {
    spr_forecaster *each = made(hourly, 1, SERIES, 600), *late = made(hourly, 1, SERIES, 600);
    (void)state;
    for (int t = 600; t < 617; t++) {
        if (t == 600 || t == 609)
            assert_true(most_apart(each, late, NULL) == 0);
        else
            spr_forecast_unref(asked(each, NULL));
        tell(each, SERIES, t, t + 1), tell(late, SERIES, t, t + 1);
    }
    assert_true(most_apart(each, late, NULL) == 0);
    spr_forecaster_destroy(each), spr_forecaster_destroy(late);
}

/* Members for steps of 5 min take several samples at a time; their level follows the last hour, so it leaves sooner. */
static void a_state_that_waits_for_samples_stays_near_too(void **state) {
    double worst = 0;
    (void)state;
    wave(288);
    spr_forecaster *anew = made(five_minutes, 0, SERIES, 600), *carry = made(five_minutes, 1, SERIES, 600);
    for (int t = 600; t < 640; t++) {
        double d = most_apart(anew, carry, NULL);
        worst = fmax(worst, d);
        if (t == 600 ? d != 0 : d > .01)
            fail_msg("step %d: %g apart", t, d);
        tell(anew, SERIES, t, t + 1), tell(carry, SERIES, t, t + 1);
    }
    print_message("# at most %.4f of the swing apart\n", worst);
    assert_true(worst > 0);
    wave(24);
    spr_forecaster_destroy(anew), spr_forecaster_destroy(carry);
}

static void backwards(void *user, size_t n, void (*fn)(void *arg, size_t i), void *arg) {
    (void)user;
    while (n--)
        fn(arg, n);
}

static void answers_are_the_same_bits_for_any_order_of_work(void **state) {
    struct spr_executor e = {sizeof e, backwards, 2, 0, NULL};
    spr_context *other = context(&e);
    spr_forecaster *a = made(hourly, 1, MANY, 400), *b = NULL;
    (void)state;
    assert_int_equal(make(other, hourly, 1, MANY, 400, &b), SPR_OK);
    values[70][405] = NAN;
    for (int t = 400; t < 430; t++) {
        spr_forecast *x = asked(a, NULL), *y = asked(b, NULL);
        assert_memory_equal(spr_forecast_quantiles(x), spr_forecast_quantiles(y), sizeof(double) * MANY * H * FIVE);
        spr_forecast_unref(x), spr_forecast_unref(y);
        tell(a, MANY, t, t + 1), tell(b, MANY, t, t + 1);
    }
    wave(24);
    spr_forecaster_destroy(a), spr_forecaster_destroy(b);
    spr_context_unref(other);
}

static void odd_options_are_refused(void **state) {
    spr_forecaster *f = NULL;
    (void)state;
    assert_int_equal(make(shared, hourly, 2, SERIES, 400, &f), SPR_E_ARG);
    assert_int_equal(make(shared, hourly, -1, SERIES, 400, &f), SPR_E_ARG);
    assert_null(f);
}

static int carry_on(spr_context *ctx, void *arg) {
    spr_forecaster *f = NULL;
    spr_forecast *out = NULL;
    (void)arg;
    int rc = make(ctx, hourly, 1, 3, 400, &f);
    for (int t = 400; rc == SPR_OK && t < 402; t++) {
        struct spr_panel p = columns(3, t, t + 1);
        rc = spr_forecaster_predict(f, NULL, &out);
        spr_forecast_unref(out), out = NULL;
        if (rc == SPR_OK)
            rc = spr_forecaster_update(f, &p);
    }
    spr_forecaster_destroy(f);
    return rc;
}
static void every_allocation_may_fail(void **state) {
    (void)state;
    assert_true(failing_sweep(carry_on, NULL) > 15);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_readings_of_one_scale_are_one),
        cmocka_unit_test(a_state_says_when_it_must_be_read_anew),
        cmocka_unit_test(a_fresh_state_answers_like_a_fresh_reading),
        cmocka_unit_test(a_carried_state_stays_near_for_a_day),
        cmocka_unit_test(gaps_and_jumps_have_a_series_read_anew),
        cmocka_unit_test(steps_at_once_are_steps_one_by_one),
        cmocka_unit_test(a_state_that_waits_for_samples_stays_near_too),
        cmocka_unit_test(answers_are_the_same_bits_for_any_order_of_work),
        cmocka_unit_test(odd_options_are_refused),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, train_both, forget_both);
}
