/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Events and trained models: learnt without them, asked with them around; and events that do not pay. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "failing_alloc.h"
#include "forecast/event.h"

#include <shardpredict/forecast-model.h>

enum { DAY = 24, DAYS = 30, STEPS = DAY * DAYS, ROWS = 8, H = 6, LENGTH = 4, SALES = 7, NEXT = STEPS + 1 };
#define STEP_NS INT64_C(3600000000000)

/* At hours that never come again; the last one begins a step after the history. */
static const int sale_steps[SALES] = {9 * DAY + 3,   13 * DAY + 17, 16 * DAY + 8, 19 * DAY + 21,
                                      23 * DAY + 11, 27 * DAY + 15, NEXT};

static spr_context *ctx;
static int make_context(void **state) {
    (void)state;
    struct spr_context_opts o = {.size = sizeof o, .seed = 7};
    return spr_context_create(&o, &ctx);
}
static int drop_context(void **state) {
    (void)state;
    spr_context_unref(ctx);
    return 0;
}

static spr_calendar *sales(spr_context *own) {
    spr_calendar_builder *b = NULL;
    spr_calendar *c = NULL;
    struct spr_event e = {.size = sizeof e, .kind = "sale"};
    if (spr_calendar_builder_create(own, &b) < 0)
        return NULL;
    e.start_ns = sale_steps[0] * STEP_NS, e.end_ns = e.start_ns + LENGTH * STEP_NS;
    int rc = spr_calendar_builder_add(b, &e);
    for (int i = 1; i < SALES && rc >= 0; i++)
        rc = spr_calendar_builder_date(b, 0, sale_steps[i] * STEP_NS, 0);
    if (rc < 0 || spr_calendar_builder_finish(b, &c) < 0)
        spr_calendar_builder_destroy(b);
    return c;
}

static bool on_sale(int t) {
    for (int i = 0; i < SALES; i++)
        if (t >= sale_steps[i] && t < sale_steps[i] + LENGTH)
            return true;
    return false;
}

static double usual(int row, int t) { return (row + 1) * (10 + 4 * sin(6.283185307179586 * t / DAY)); }

static void fill(double *y, double lift) {
    for (int r = 0; r < ROWS; r++)
        for (int t = 0; t < STEPS; t++)
            y[r * STEPS + t] =
                usual(r, t) * (0.9 + 0.2 * spr__rand(3, (uint64_t)r, (uint64_t)t)) * (on_sale(t) ? lift : 1);
}

static struct spr_panel panel_of(const double *y, int64_t steps) {
    return (struct spr_panel){.size = sizeof(struct spr_panel),
                              .data = y,
                              .series = ROWS,
                              .steps = steps,
                              .series_stride = STEPS * (int64_t)sizeof *y,
                              .step_stride = sizeof *y};
}

static int train(const double *y, const spr_calendar *c, const int64_t *until, spr_model **out) {
    struct spr_trainer_opts o = {
        .size = sizeof o, .step_ns = STEP_NS, .horizon = H, .kind = SPR_MODEL_NET, .members = 1, .effort = .2};
    struct spr_training_opts a = {.size = sizeof a, .calendar = c, .until = until};
    struct spr_panel p = panel_of(y, STEPS);
    spr_trainer *t = NULL;
    int rc = spr_trainer_create(ctx, &o, &t);
    if (rc == SPR_OK && (rc = spr_trainer_add(t, &p, &a)) == SPR_OK && (rc = spr_trainer_run(t, 0)) == SPR_OK)
        rc = spr_trainer_finish(t, out);
    spr_trainer_destroy(t);
    return rc;
}

static const double levels[] = {.1, .5, .9};

static spr_forecast *ask(const double *y, const spr_model *m, const spr_calendar *c, int32_t trial) {
    struct spr_model_opts model = {.size = sizeof model, .model = m};
    struct spr_events_opts events = {
        .size = sizeof events, .calendar = c, .inner = spr_forecaster_model(), .trial = trial};
    struct spr_forecaster_opts o = {sizeof o, STEP_NS, H, 3, levels, c ? (const void *)&events : &model};
    struct spr_panel p = panel_of(y, STEPS);
    spr_forecaster *f = NULL;
    spr_forecast *out = NULL;
    events.inner_config = &model;
    assert_int_equal(spr_forecaster_create(ctx, c ? spr_forecaster_events() : spr_forecaster_model(), &o, &f), SPR_OK);
    assert_int_equal(spr_forecaster_fit(f, &p, 0, 0), SPR_OK);
    assert_int_equal(spr_forecaster_predict(f, NULL, &out), SPR_OK);
    spr_forecaster_destroy(f);
    return out;
}

/* How far the medians lie from what is usual, as a factor, over the steps of the next sale that are asked for. */
static double factor(const spr_forecast *f) {
    double sum = 0;
    for (int r = 0; r < ROWS; r++)
        for (int h = NEXT - STEPS; h < SPR_MIN(H, NEXT - STEPS + LENGTH); h++)
            sum += spr_forecast_quantiles(f)[(r * H + h) * 3 + 1] / usual(r, STEPS + h);
    return sum / (ROWS * LENGTH);
}

static void a_model_foresees_a_sale_that_the_calendar_tells(void **state) {
    (void)state;
    static double y[ROWS * STEPS];
    fill(y, 3);
    spr_calendar *c = sales(ctx);
    spr_model *raw = NULL, *bare = NULL;
    assert_int_equal(train(y, NULL, NULL, &raw), SPR_OK);
    assert_int_equal(train(y, c, NULL, &bare), SPR_OK);
    spr_forecast *alone = ask(y, raw, NULL, 0), *with = ask(y, bare, c, 0);
    print_message("median in the sale, times what is usual: %.2f alone, %.2f with the calendar (truth 3)\n",
                  factor(alone), factor(with));
    assert_true(factor(alone) < 1.3);
    assert_true(factor(with) > 2.3 && factor(with) < 3.6);
    spr_forecast_unref(alone);
    spr_forecast_unref(with);
    spr_model_unref(raw);
    spr_model_unref(bare);
    spr_calendar_unref(c);
}

static void what_lies_past_until_teaches_nothing_of_events(void **state) {
    (void)state;
    static double y[ROWS * STEPS];
    static int64_t until[ROWS];
    size_t n[2];
    fill(y, 3);
    spr_calendar *c = sales(ctx);
    spr_model *m[2] = {NULL, NULL};
    for (int r = 0; r < ROWS; r++)
        until[r] = 20 * DAY - r;
    assert_int_equal(train(y, c, until, &m[0]), SPR_OK);
    for (int r = 0; r < ROWS; r++)
        for (int64_t t = until[r]; t < STEPS; t++)
            y[r * STEPS + t] = 1e6;
    assert_int_equal(train(y, c, until, &m[1]), SPR_OK);
    const void *a = spr_model_bytes(m[0], &n[0]), *b = spr_model_bytes(m[1], &n[1]);
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(a, b, n[0]);
    spr_model_unref(m[0]);
    spr_model_unref(m[1]);
    spr_calendar_unref(c);
}

/* ---- events that do not pay ---- */

/* Noon of weekdays, when nothing happens that does not happen on Sundays too: a season, and no event. */
static spr_calendar *weekday_noons(void) {
    spr_calendar_builder *b = NULL;
    spr_calendar *c = NULL;
    struct spr_event e = {.size = sizeof e, .kind = "lunch", .repeat = SPR_EVENT_WEEKLY, .weekdays = 31};
    e.start_ns = 12 * STEP_NS, e.end_ns = 14 * STEP_NS;
    assert_int_equal(spr_calendar_builder_create(ctx, &b), SPR_OK);
    assert_int_equal(spr_calendar_builder_add(b, &e), 0);
    assert_int_equal(spr_calendar_builder_finish(b, &c), SPR_OK);
    return c;
}

static double lost(const double *y, const spr_calendar *c, int32_t trial) {
    struct spr_events_opts events = {
        .size = sizeof events, .calendar = c, .inner = spr_forecaster_seasonal_naive(), .trial = trial};
    struct spr_forecaster_opts o = {sizeof o, STEP_NS, DAY, 3, levels, c ? &events : NULL};
    spr_forecaster *f = NULL;
    double sum = 0;
    assert_int_equal(spr_forecaster_create(ctx, c ? spr_forecaster_events() : spr_forecaster_seasonal_naive(), &o, &f),
                     SPR_OK);
    for (int64_t origin = 21 * DAY; origin + DAY <= STEPS; origin += DAY) {
        struct spr_panel p = panel_of(y, origin);
        spr_forecast *out = NULL;
        assert_int_equal(spr_forecaster_fit(f, &p, 0, 0), SPR_OK);
        assert_int_equal(spr_forecaster_predict(f, NULL, &out), SPR_OK);
        const double *q = spr_forecast_quantiles(out);
        for (int r = 0; r < ROWS; r++)
            for (int h = 0; h < DAY; h++, q += 3)
                for (int k = 0; k < 3 && !isnan(y[r * STEPS + origin + h]); k++)
                    sum += spr__pinball(levels[k], y[r * STEPS + origin + h], q[k]) / (r + 1);
        spr_forecast_unref(out);
    }
    spr_forecaster_destroy(f);
    return sum;
}

/* Noons that change every nine days, whatever the day of the week. The first `ended` rows are of a day only. */
static void fill_moods(double *y, int ended) {
    for (int r = 0; r < ROWS; r++)
        for (int t = 0; t < STEPS; t++) {
            int hour = t % DAY, day = t / DAY;
            double mood = spr__rand(5, (uint64_t)r, (uint64_t)(day / 9)); /* it changes now and then */
            y[r * STEPS + t] = r < ended && day ? NAN
                                                : (r + 1) * (10 + (hour == 12 || hour == 13 ? 40 * mood : 0) +
                                                             0.5 * spr__rand(6, (uint64_t)r, (uint64_t)t));
        }
}

static void an_event_that_does_not_pay_hardly_counts(void **state) {
    (void)state;
    static double y[ROWS * STEPS];
    fill_moods(y, 0);
    spr_calendar *c = weekday_noons();
    double without = lost(y, NULL, 0), always = lost(y, c, SPR_NONE), tried = lost(y, c, 0);
    print_message("loss without %.1f, always believed %.1f, tried out %.1f\n", without, always, tried);
    assert_true(always > 1.5 * without);
    assert_true(tried - without < 0.2 * (always - without));
    spr_calendar_unref(c);
}

static void a_row_that_ended_does_not_hide_that_an_event_does_not_pay(void **state) {
    (void)state;
    static double y[ROWS * STEPS];
    fill_moods(y, 1);
    spr_calendar *c = weekday_noons();
    double without = lost(y, NULL, 0), always = lost(y, c, SPR_NONE), tried = lost(y, c, 0);
    assert_true(tried - without < 0.2 * (always - without));
    spr_calendar_unref(c);
}

/* ---- no memory ---- */

static int add_only(spr_context *failing, void *arg) {
    struct spr_trainer_opts o = {.size = sizeof o, .step_ns = STEP_NS, .horizon = H};
    spr_calendar *c = sales(failing);
    struct spr_training_opts a = {.size = sizeof a, .calendar = c};
    struct spr_panel p = panel_of(arg, STEPS);
    spr_trainer *t = NULL;
    int rc = c ? spr_trainer_create(failing, &o, &t) : SPR_E_NOMEM;
    if (rc == SPR_OK)
        rc = spr_trainer_add(t, &p, &a);
    spr_trainer_destroy(t);
    spr_calendar_unref(c);
    return rc;
}

static int tried_out(spr_context *failing, void *arg) {
    spr_calendar *c = sales(failing);
    struct spr_events_opts events = {.size = sizeof events, .calendar = c, .inner = spr_forecaster_seasonal_naive()};
    struct spr_forecaster_opts o = {sizeof o, STEP_NS, H, 3, levels, &events};
    struct spr_panel p = panel_of(arg, STEPS);
    spr_forecaster *f = NULL;
    spr_forecast *out = NULL;
    int rc = c ? spr_forecaster_create(failing, spr_forecaster_events(), &o, &f) : SPR_E_NOMEM;
    p.series = 1;
    if (rc == SPR_OK && (rc = spr_forecaster_fit(f, &p, 0, 0)) == SPR_OK)
        rc = spr_forecaster_predict(f, NULL, &out);
    spr_forecast_unref(out);
    spr_forecaster_destroy(f);
    spr_calendar_unref(c);
    return rc;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    static double y[ROWS * STEPS];
    fill(y, 3);
    assert_true(failing_sweep(add_only, y) > 10);
    assert_true(failing_sweep(tried_out, y) > 30);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_foresees_a_sale_that_the_calendar_tells),
        cmocka_unit_test(what_lies_past_until_teaches_nothing_of_events),
        cmocka_unit_test(an_event_that_does_not_pay_hardly_counts),
        cmocka_unit_test(a_row_that_ended_does_not_hide_that_an_event_does_not_pay),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("events and models", tests, make_context, drop_context);
}
