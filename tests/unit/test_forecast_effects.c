/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What events do: learned, shared, told, and put around a forecaster. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "failing_alloc.h"
#include "forecast/event.h"

#define S INT64_C(1000000000)
enum { STEP_S = 900, DAY = 96, DAYS = 24, STEPS = DAY * DAYS, ROWS = 6, LENGTH = 8, LEAD = 4, LAG = 6 };

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

/* Matches on these days at 18:00; the last ones lie after the history. */
static const int match_days[] = {8, 11, 13, 16, 19, 22, 24, 25};
enum { MATCHES = 8, MATCH_STEP = 72 };

static spr_calendar *matches(spr_context *own, int count, double amount) {
    spr_calendar_builder *b = NULL;
    spr_calendar *c = NULL;
    struct spr_event e = {.size = sizeof e, .kind = "match", .amount = amount};
    if (spr_calendar_builder_create(own, &b) < 0)
        return NULL;
    e.start_ns = ((int64_t)match_days[0] * DAY + MATCH_STEP) * STEP_S * S;
    e.end_ns = e.start_ns + (int64_t)LENGTH * STEP_S * S;
    int rc = spr_calendar_builder_add(b, &e);
    for (int i = 1; i < count && rc >= 0; i++)
        rc = spr_calendar_builder_date(b, 0, ((int64_t)match_days[i] * DAY + MATCH_STEP) * STEP_S * S, 0);
    if (rc < 0 || spr_calendar_builder_finish(b, &c) < 0)
        spr_calendar_builder_destroy(b);
    return c;
}

static double shape(int64_t t) {
    double x = 0;
    for (int i = 0; i < MATCHES; i++) {
        double start = match_days[i] * DAY + MATCH_STEP, middle = (double)t + 0.5, end = start + LENGTH;
        double here = middle < start ? 1 - (start - middle) / LEAD : middle >= end ? 1 - (middle - end) / LAG : 1;
        x = fmax(x, here);
    }
    return fmax(x, 0);
}

/* A daily wave with noise; row r's matches multiply it by lift[r]. */
static void wave(double *y, int64_t rows, int64_t steps, const double *lift, double noise) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t t = 0; t < steps; t++) {
            double base = 10 + 4 * sin(6.283185307179586 * (double)t / DAY), e = spr__rand(7, (uint64_t)r, (uint64_t)t);
            y[r * steps + t] = base * exp(noise * (e - 0.5) + log(lift[r]) * shape(t)) * (double)(r + 1);
        }
}

static struct spr_panel panel_of(const double *y, int64_t rows, int64_t from, int64_t steps, int64_t all) {
    return (struct spr_panel){.size = sizeof(struct spr_panel),
                              .data = y + from,
                              .series = rows,
                              .steps = steps,
                              .series_stride = all * (int64_t)sizeof *y,
                              .step_stride = sizeof *y};
}

static spr_event_effects *effects_of(const spr_calendar *c) {
    struct spr_event_effects_opts o = {.size = sizeof o, .calendar = c, .step_ns = STEP_S * S};
    spr_event_effects *e = NULL;
    assert_int_equal(spr_event_effects_create(ctx, &o, &e), SPR_OK);
    return e;
}

static struct spr_event_effect effect_of(const spr_event_effects *e, int64_t series) {
    struct spr_event_effect out = {.size = sizeof out};
    assert_int_equal(spr_event_effects_get(e, series, 0, &out), SPR_OK);
    return out;
}

static const double lifts[ROWS] = {3, 3.3, 2.7, 3, 2.5, 3.5};

static void multiplier_lead_and_lag_are_found(void **state) {
    (void)state;
    static double y[ROWS * STEPS];
    wave(y, ROWS, STEPS, lifts, 0.2);
    spr_calendar *c = matches(ctx, MATCHES, 0);
    spr_event_effects *e = effects_of(c);
    struct spr_panel p = panel_of(y, ROWS, 0, STEPS, STEPS);
    assert_int_equal(spr_event_effects_fit(e, &p, 0), SPR_OK);
    for (int64_t r = 0; r < ROWS; r++) {
        struct spr_event_effect f = effect_of(e, r);
        assert_int_equal(f.seen, 6);
        assert_int_equal(f.certain, 1);
        assert_true(fabs(log(f.multiplier / lifts[r])) < 0.12);
        assert_true(f.low < f.multiplier && f.multiplier < f.high);
        assert_true(fabs(f.lead_s - LEAD * STEP_S) <= STEP_S && fabs(f.lag_s - LAG * STEP_S) <= 2 * STEP_S);
    }
    struct spr_event_effect fleet = effect_of(e, SPR_NONE);
    assert_true(fabs(log(fleet.multiplier / 3)) < 0.1);
    spr_event_effects_destroy(e);
    spr_calendar_unref(c);
}

static void steps_taken_one_by_one_end_near_a_fit(void **state) {
    (void)state;
    static double y[2 * STEPS];
    wave(y, 2, STEPS, lifts, 0.1);
    spr_calendar *c = matches(ctx, MATCHES, 0);
    spr_event_effects *e = effects_of(c);
    struct spr_panel p = panel_of(y, 2, 0, 9 * DAY, STEPS);
    assert_int_equal(spr_event_effects_update(e, &p), SPR_E_STATE);
    assert_int_equal(spr_event_effects_fit(e, &p, 0), SPR_OK);
    assert_int_equal(effect_of(e, 0).seen, 1);
    assert_int_equal(effect_of(e, 0).certain, 0);
    for (int64_t t = 9 * DAY; t < STEPS; t++) {
        p = panel_of(y, 2, t, 1, STEPS);
        assert_int_equal(spr_event_effects_update(e, &p), SPR_OK);
    }
    struct spr_event_effect f = effect_of(e, 0);
    assert_int_equal(f.seen, 6);
    assert_true(fabs(log(f.multiplier / lifts[0])) < 0.15);
    p = panel_of(y, 1, 0, 1, STEPS);
    assert_int_equal(spr_event_effects_update(e, &p), SPR_E_ARG);
    spr_event_effects_destroy(e);
    spr_calendar_unref(c);
}

static void a_series_that_saw_little_follows_the_fleet(void **state) {
    (void)state;
    static double y[ROWS * STEPS];
    wave(y, ROWS, STEPS, lifts, 0.2);
    for (int64_t t = 0; t < 20 * DAY; t++) /* the last row is young and saw one match, an odd one */
        y[(ROWS - 1) * STEPS + t] = NAN;
    for (int64_t t = 20 * DAY; t < STEPS; t++)
        y[(ROWS - 1) * STEPS + t] = 10 * exp(log(6) * shape(t));
    spr_calendar *c = matches(ctx, MATCHES, 0);
    spr_event_effects *e = effects_of(c);
    struct spr_panel p = panel_of(y, ROWS, 0, STEPS, STEPS);
    assert_int_equal(spr_event_effects_fit(e, &p, 0), SPR_OK);
    struct spr_event_effect f = effect_of(e, ROWS - 1), old = effect_of(e, 0);
    assert_int_equal(f.seen, 1);
    assert_int_equal(f.certain, 1);                      /* others saw it often enough */
    assert_true(f.multiplier > 3 && f.multiplier < 5.8); /* its own six, drawn towards three */
    assert_true(f.high / f.low > old.high / old.low);
    spr_event_effects_destroy(e);
    spr_calendar_unref(c);
}

static void a_history_that_ends_inside_an_event_keeps_what_was_learned(void **state) {
    (void)state;
    static double y[STEPS];
    wave(y, 1, STEPS, lifts, 0.1);
    spr_calendar *c = matches(ctx, MATCHES, 0);
    spr_event_effects *e = effects_of(c);
    struct spr_panel p = panel_of(y, 1, 0, 19 * DAY + MATCH_STEP + 3, STEPS);
    assert_int_equal(spr_event_effects_fit(e, &p, 0), SPR_OK);
    struct spr_event_effect f = effect_of(e, 0);
    assert_int_equal(f.seen, 4); /* the running one is not over */
    assert_true(f.multiplier > 2.5);
    spr_event_effects_destroy(e);
    spr_calendar_unref(c);
}

/* ---- around a forecaster ---- */

enum { HORIZON = DAY, LEVELS = 5, MEDIAN = 2 };
static const double levels[LEVELS] = {0.1, 0.25, 0.5, 0.75, 0.95};

static spr_forecaster *around(spr_context *own, const spr_calendar *c, const struct spr_forecaster_ops *inner,
                              spr_event_effects *effects) {
    struct spr_events_opts o = {.size = sizeof o, .calendar = c, .inner = inner, .effects = effects};
    struct spr_forecaster_opts fo = {sizeof fo, STEP_S * S, HORIZON, LEVELS, levels, &o};
    spr_forecaster *f = NULL;
    return spr_forecaster_create(own, spr_forecaster_events(), &fo, &f) < 0 ? NULL : f;
}

static spr_forecast *ask(const spr_calendar *c, const double *y, int64_t rows, int64_t steps) {
    spr_forecaster *f = around(ctx, c, spr_forecaster_seasonal_naive(), NULL);
    spr_forecast *out = NULL;
    struct spr_panel p = panel_of(y, rows, 0, steps, STEPS);
    assert_non_null(f);
    assert_int_equal(spr_forecaster_fit(f, &p, 0, 0), SPR_OK);
    assert_int_equal(spr_forecaster_predict(f, NULL, &out), SPR_OK);
    spr_forecaster_destroy(f);
    return out;
}

static double quantile(const spr_forecast *f, int h, int level) {
    return spr_forecast_quantiles(f)[h * LEVELS + level];
}

static void the_next_match_is_foreseen_and_the_last_one_is_not_repeated(void **state) {
    (void)state;
    static double y[ROWS * STEPS];
    wave(y, ROWS, STEPS, lifts, 0.1);
    spr_calendar *c = matches(ctx, MATCHES, 0);
    spr_forecast *f = ask(c, y, ROWS, STEPS); /* a match on the next day */
    double base = 10 + 4 * sin(6.283185307179586 * (MATCH_STEP + 2) / DAY);
    assert_true(fabs(quantile(f, MATCH_STEP + 2, MEDIAN) / (3 * base) - 1) < 0.15);
    assert_true(fabs(spr_forecast_points(f)[MATCH_STEP + 2] / (3 * base) - 1) < 0.15);
    assert_true(fabs(quantile(f, 20, MEDIAN) / (10 + 4 * sin(6.283185307179586 * 20 / DAY)) - 1) < 0.1);
    spr_forecast_unref(f);
    f = ask(c, y, ROWS, 23 * DAY); /* the day after a match, without one */
    assert_true(fabs(quantile(f, MATCH_STEP + 2, MEDIAN) / base - 1) < 0.15);
    spr_forecast_unref(f);
    spr_calendar_unref(c);
}

static void seen_once_it_widens_the_upper_quantiles_and_leaves_the_median(void **state) {
    (void)state;
    static double y[ROWS * STEPS];
    wave(y, ROWS, STEPS, lifts, 0.1);
    spr_calendar *c = matches(ctx, MATCHES, 0), *none = matches(ctx, 1, 0);
    spr_forecast *f = ask(c, y, ROWS, 11 * DAY), *bare = ask(none, y, ROWS, 11 * DAY);
    for (int level = 0; level <= MEDIAN; level++)
        assert_float_equal(quantile(f, MATCH_STEP + 2, level), quantile(bare, MATCH_STEP + 2, level), 1e-9);
    assert_true(quantile(f, MATCH_STEP + 2, 4) > 1.8 * quantile(bare, MATCH_STEP + 2, 4));
    assert_float_equal(quantile(f, 20, 4), quantile(bare, 20, 4), 1e-9);
    spr_forecast_unref(f);
    spr_forecast_unref(bare);
    spr_calendar_unref(c);
    spr_calendar_unref(none);
}

static void a_declared_amount_counts_from_the_first_occurrence(void **state) {
    (void)state;
    static double y[STEPS];
    wave(y, 1, STEPS, lifts, 0.1);
    spr_calendar *c = matches(ctx, MATCHES, 2.5);
    spr_forecast *f = ask(c, y, 1, 8 * DAY); /* none was seen yet */
    double base = 10 + 4 * sin(6.283185307179586 * (MATCH_STEP + 2) / DAY);
    assert_true(fabs(quantile(f, MATCH_STEP + 2, MEDIAN) / (2.5 * base) - 1) < 0.1);
    spr_forecast_unref(f);
    spr_calendar_unref(c);
}

static void an_unlikely_event_moves_the_far_quantiles_only(void **state) {
    (void)state;
    static double y[STEPS];
    wave(y, 1, STEPS, lifts, 0.1);
    spr_calendar_builder *b = NULL;
    spr_calendar *c = NULL, *past = matches(ctx, MATCHES, 0);
    struct spr_event e = {.size = sizeof e, .kind = "match", .confidence = 0.1, .amount = 3};
    e.start_ns = ((int64_t)8 * DAY + MATCH_STEP) * STEP_S * S, e.end_ns = e.start_ns + 2 * 3600 * S;
    assert_int_equal(spr_calendar_builder_create(ctx, &b), SPR_OK);
    assert_int_equal(spr_calendar_builder_add(b, &e), 0);
    assert_int_equal(spr_calendar_builder_finish(b, &c), SPR_OK);
    spr_forecast *f = ask(c, y, 1, 8 * DAY);
    double base = 10 + 4 * sin(6.283185307179586 * (MATCH_STEP + 2) / DAY);
    assert_true(fabs(quantile(f, MATCH_STEP + 2, MEDIAN) / base - 1) < 0.1);
    assert_true(quantile(f, MATCH_STEP + 2, 3) < 1.3 * base);
    assert_true(quantile(f, MATCH_STEP + 2, 4) > 2 * base); /* 0.95 lies within the tenth that takes place */
    spr_forecast_unref(f);
    spr_calendar_unref(c);
    spr_calendar_unref(past);
}

static void series_below_zero_without_events_and_of_zeros_pass_through(void **state) {
    (void)state;
    static double y[3 * STEPS];
    const double one[3] = {1, 1, 1};
    wave(y, 3, STEPS, one, 0.1);
    for (int64_t t = 0; t < STEPS; t++)
        y[t] -= 11, y[2 * STEPS + t] = 0;
    spr_calendar *c = matches(ctx, MATCHES, 0);
    spr_forecaster *plain = NULL, *f = around(ctx, c, spr_forecaster_seasonal_naive(), NULL);
    struct spr_forecaster_opts fo = {sizeof fo, STEP_S * S, HORIZON, LEVELS, levels, NULL};
    spr_forecast *a = NULL, *z = NULL;
    struct spr_panel p = panel_of(y, 3, 0, STEPS, STEPS);
    assert_int_equal(spr_forecaster_create(ctx, spr_forecaster_seasonal_naive(), &fo, &plain), SPR_OK);
    assert_int_equal(spr_forecaster_fit(plain, &p, 0, 0), SPR_OK);
    assert_int_equal(spr_forecaster_fit(f, &p, 0, 0), SPR_OK);
    assert_int_equal(spr_forecaster_predict(plain, NULL, &a), SPR_OK);
    assert_int_equal(spr_forecaster_predict(f, NULL, &z), SPR_OK);
    for (int h = 0; h < HORIZON; h++) {
        assert_true(spr_forecast_points(a)[h] == spr_forecast_points(z)[h]);
        assert_true(fabs(spr_forecast_points(z)[HORIZON + h] / spr_forecast_points(a)[HORIZON + h] - 1) < 0.1);
        assert_true(spr_forecast_points(z)[2 * HORIZON + h] == 0);
    }
    spr_forecast_unref(a);
    spr_forecast_unref(z);
    spr_forecaster_destroy(plain);
    spr_forecaster_destroy(f);
    spr_calendar_unref(c);
}

static void what_is_seen_now_inside_a_match_stays_what_it_is(void **state) {
    (void)state;
    static double y[ROWS * STEPS];
    wave(y, ROWS, STEPS, lifts, 0.1);
    spr_calendar *c = matches(ctx, MATCHES, 0);
    spr_event_effects *effects = effects_of(c);
    spr_forecaster *f = around(ctx, c, spr_forecaster_holt_winters(), effects);
    int64_t until = 22 * DAY + MATCH_STEP + 2;
    struct spr_panel p = panel_of(y, ROWS, 0, 20 * DAY, STEPS);
    spr_forecast *out = NULL;
    double now[ROWS];
    assert_int_equal(spr_forecaster_fit(f, &p, 0, 0), SPR_OK);
    p = panel_of(y, ROWS, 20 * DAY, until - 20 * DAY, STEPS);
    assert_int_equal(spr_forecaster_update(f, &p), SPR_OK);
    assert_int_equal(effect_of(effects, 0).seen, 5);
    for (int64_t r = 0; r < ROWS; r++)
        now[r] = y[r * STEPS + until];
    assert_int_equal(spr_forecaster_predict(f, now, &out), SPR_OK);
    assert_true(fabs(spr_forecast_points(out)[0] / now[0] - 1) < 1e-9);
    assert_true(spr_forecast_points(out)[3] > 2 * spr_forecast_points(out)[20]); /* it will be over */
    assert_int_equal(spr_forecast_first_step(out), until);
    spr_forecast_unref(out);
    spr_forecaster_destroy(f);
    spr_event_effects_destroy(effects);
    spr_calendar_unref(c);
}

static void slices_of_a_fit_add_up_and_threads_do_not_matter(void **state) {
    (void)state;
    static double y[ROWS * STEPS];
    wave(y, ROWS, STEPS, lifts, 0.2);
    spr_calendar *c = matches(ctx, MATCHES, 0);
    spr_forecaster *whole = around(ctx, c, spr_forecaster_holt_winters(), NULL);
    spr_forecaster *slices = around(ctx, c, spr_forecaster_holt_winters(), NULL);
    struct spr_panel p = panel_of(y, ROWS, 0, STEPS, STEPS);
    spr_forecast *a = NULL, *b = NULL;
    int rc, calls = 0;
    assert_int_equal(spr_forecaster_fit(whole, &p, 0, 0), SPR_OK);
    while ((rc = spr_forecaster_fit(slices, &p, 0, 200)) == SPR_AGAIN)
        calls++;
    assert_int_equal(rc, SPR_OK);
    assert_true(calls > 1);
    assert_int_equal(spr_forecaster_predict(whole, NULL, &a), SPR_OK);
    assert_int_equal(spr_forecaster_predict(slices, NULL, &b), SPR_OK);
    assert_memory_equal(spr_forecast_quantiles(a), spr_forecast_quantiles(b), sizeof(double) * ROWS * HORIZON * LEVELS);
    spr_forecast_unref(a);
    spr_forecast_unref(b);
    spr_forecaster_destroy(whole);
    spr_forecaster_destroy(slices);
    spr_calendar_unref(c);
}

static void bad_configs_are_refused(void **state) {
    (void)state;
    spr_calendar *c = matches(ctx, 2, 0), *other = matches(ctx, 3, 0);
    spr_event_effects *e = effects_of(other), *none = NULL;
    struct spr_event_effect out = {.size = sizeof out};
    struct spr_event_effects_opts o = {.size = sizeof o};
    assert_int_equal(spr_event_effects_create(ctx, &o, &none), SPR_E_ARG);
    o.calendar = c, o.reach_ns = -5;
    assert_int_equal(spr_event_effects_create(ctx, &o, &none), SPR_E_ARG);
    assert_null(around(ctx, NULL, NULL, NULL));
    assert_null(around(ctx, c, NULL, e));
    assert_int_equal(spr_event_effects_get(e, 0, 0, &out), SPR_E_ARG); /* nothing was fitted */
    assert_int_equal(spr_event_effects_get(e, SPR_NONE, 1, &out), SPR_E_ARG);
    assert_int_equal(spr_event_effects_get(e, SPR_NONE, 0, &out), SPR_OK);
    assert_true(out.multiplier == 1 && out.seen == 0 && !out.certain);
    spr_event_effects_destroy(e);
    spr_event_effects_destroy(NULL);
    spr_calendar_unref(c);
    spr_calendar_unref(other);
}

/* Inner, bare and effects would each know another last step. */
static void an_update_that_failed_half_way_is_answered_after_the_next_fit_only(void **state) {
    (void)state;
    static double y[2 * STEPS];
    int torn = 0;
    wave(y, 2, STEPS, lifts, 0.1);
    struct spr_panel p = panel_of(y, 2, 0, 10 * DAY, STEPS), next = panel_of(y, 2, 10 * DAY, 2, STEPS);
    for (int64_t n = 1, rc = SPR_E_NOMEM; rc < 0; n++) {
        struct failing_alloc a = {0};
        spr_context *own = failing_context(&a);
        spr_calendar *c = matches(own, MATCHES, 0);
        spr_forecaster *f = around(own, c, spr_forecaster_holt_winters(), NULL);
        spr_forecast *out = NULL;
        assert_int_equal(spr_forecaster_fit(f, &p, 0, 0), SPR_OK);
        a.fail_at = a.calls + n;
        rc = spr_forecaster_update(f, &next);
        a.fail_at = 0;
        int then = spr_forecaster_predict(f, NULL, &out);
        assert_true(then == SPR_OK || (rc < 0 && then == SPR_E_STATE));
        if (then < 0) {
            torn++;
            assert_int_equal(spr_forecaster_update(f, &next), SPR_E_STATE);
            assert_int_equal(spr_forecaster_fit(f, &p, 0, 0), SPR_OK);
            assert_int_equal(spr_forecaster_predict(f, NULL, &out), SPR_OK);
        }
        spr_forecast_unref(out);
        spr_forecaster_destroy(f);
        spr_calendar_unref(c);
        spr_context_unref(own);
    }
    assert_true(torn > 0);
}

static int road(spr_context *failing, void *arg) {
    const double *y = arg;
    spr_calendar *c = matches(failing, MATCHES, 0);
    spr_forecaster *f = c ? around(failing, c, spr_forecaster_seasonal_naive(), NULL) : NULL;
    spr_forecast *out = NULL;
    double now[2] = {NAN, 4};
    struct spr_panel p = panel_of(y, 2, 0, 10 * DAY, STEPS), next = panel_of(y, 2, 10 * DAY, 2, STEPS);
    int rc = f ? spr_forecaster_fit(f, &p, 0, 0) : SPR_E_NOMEM;
    if (rc >= 0)
        rc = spr_forecaster_update(f, &next);
    if (rc >= 0)
        rc = spr_forecaster_predict(f, now, &out);
    spr_forecast_unref(out);
    spr_forecaster_destroy(f);
    spr_calendar_unref(c);
    return rc;
}

static void every_failing_allocation_leaves_nothing_behind(void **state) {
    (void)state;
    static double y[2 * STEPS];
    wave(y, 2, STEPS, lifts, 0.1);
    assert_true(failing_sweep(road, y) > 30);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(multiplier_lead_and_lag_are_found),
        cmocka_unit_test(steps_taken_one_by_one_end_near_a_fit),
        cmocka_unit_test(a_series_that_saw_little_follows_the_fleet),
        cmocka_unit_test(a_history_that_ends_inside_an_event_keeps_what_was_learned),
        cmocka_unit_test(the_next_match_is_foreseen_and_the_last_one_is_not_repeated),
        cmocka_unit_test(seen_once_it_widens_the_upper_quantiles_and_leaves_the_median),
        cmocka_unit_test(a_declared_amount_counts_from_the_first_occurrence),
        cmocka_unit_test(an_unlikely_event_moves_the_far_quantiles_only),
        cmocka_unit_test(series_below_zero_without_events_and_of_zeros_pass_through),
        cmocka_unit_test(what_is_seen_now_inside_a_match_stays_what_it_is),
        cmocka_unit_test(slices_of_a_fit_add_up_and_threads_do_not_matter),
        cmocka_unit_test(bad_configs_are_refused),
        cmocka_unit_test(an_update_that_failed_half_way_is_answered_after_the_next_fit_only),
        cmocka_unit_test(every_failing_allocation_leaves_nothing_behind),
    };
    return cmocka_run_group_tests_name("effects of events", tests, make_context, drop_context);
}
