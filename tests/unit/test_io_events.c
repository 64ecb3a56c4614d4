/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Events and first passage on real series: matches of the World Cup 1998, and trading hours that are a season. */
#include <math.h>

#include <shardpredict/forecast-event.h>
#include <shardpredict/forecast-when.h>

#include "io_scratch.h"

#define S INT64_C(1000000000)
enum { STEP_S = 300, DAY = 288, STEPS_MAX = 18000, LEVELS = 5, H = 48 };
static const double levels[LEVELS] = {.1, .5, .9, .95, .99};

static double y[STEPS_MAX];
static int64_t steps, origin_ns; /* of y */

/* The first series of a trace in means over five minutes. Skips where the data are not here. */
static void load(const char *map_name, const char *name) {
    char map[1024];
    const char *file = shared_data(name), *root = getenv("SPR_SOURCE_ROOT");
    if (!file || !root) {
        print_message("the shared data are not here: set SPR_DATA\n");
        skip();
    }
    snprintf(map, sizeof map, "%s/examples/maps/%s.yaml", root, map_name);
    struct spr_trace_opts o = {.size = sizeof o, .files = &file, .file_count = 1, .map = map};
    struct spr_panel p = {.size = sizeof p};
    spr_trace *t = NULL;
    assert_int_equal(spr_trace_read(ctx, &o, &t), SPR_OK);
    const spr_series *s = spr_trace_series(t);
    assert_int_equal(spr_series_view(s, SPR_SERIES_MEAN, &p), SPR_OK);
    int64_t each = STEP_S * S / spr_series_step_ns(s);
    assert_true(each >= 1);
    origin_ns = spr_series_origin_ns(s);
    steps = p.steps / each < STEPS_MAX ? p.steps / each : STEPS_MAX;
    for (int64_t k = 0; k < steps; k++) {
        double sum = 0, n = 0;
        for (int64_t i = k * each; i < (k + 1) * each; i++) {
            double v = *(const double *)((const char *)p.data + i * p.step_stride);
            if (!isnan(v))
                sum += v, n++;
        }
        y[k] = n > 0 ? sum / n : NAN;
    }
    spr_trace_destroy(t);
}

static struct spr_panel panel_of(int64_t from, int64_t to) {
    return (struct spr_panel){.size = sizeof(struct spr_panel),
                              .data = y + from,
                              .series = 1,
                              .steps = to - from,
                              .series_stride = STEPS_MAX * (int64_t)sizeof *y,
                              .step_stride = sizeof *y};
}

/* Starts of the matches from 10 to 30 June 1998, minutes of the day in France, two hours ahead of UTC. */
static const int kickoffs[21][3] = {
    {1050, 1260}, {1050, 1260}, {870, 1050, 1260}, {870, 1050, 1260}, {870, 1050, 1260}, {870, 1050, 1260},
    {1050, 1260}, {1050, 1260}, {1050, 1260},      {1050, 1260},      {870, 1050, 1260}, {870, 1050, 1260},
    {1050, 1260}, {960, 1260},  {960, 1260},       {960, 1260},       {960, 1260},       {990, 1260},
    {990, 1260},  {990, 1260},  {990, 1260},
};

static spr_calendar *matches(void) {
    const int64_t june_10 = INT64_C(897436800) * S; /* 00:00 UTC */
    spr_calendar_builder *b = NULL;
    spr_calendar *c = NULL;
    struct spr_event e = {.size = sizeof e, .kind = "match"};
    assert_int_equal(spr_calendar_builder_create(ctx, &b), SPR_OK);
    for (int d = 0; d < 21; d++)
        for (int k = 0; k < 3 && kickoffs[d][k]; k++) {
            int64_t at = june_10 + (d * 1440 + kickoffs[d][k] - 120) * 60 * S;
            e.start_ns = at, e.end_ns = at + 110 * 60 * S;
            assert_true((d || k ? spr_calendar_builder_date(b, 0, e.start_ns, e.end_ns)
                                : spr_calendar_builder_add(b, &e)) >= 0);
        }
    assert_int_equal(spr_calendar_builder_finish(b, &c), SPR_OK);
    return c;
}

/* Weekdays 9:30 to 16:00 in New York. */
static spr_calendar *trading(void) {
    static const struct spr_zone_offset new_york[] = {{0, -18000, 0}, {INT64_C(1425798000) * S, -14400, 0}};
    spr_calendar_builder *b = NULL;
    spr_calendar *c = NULL;
    struct spr_event e = {.size = sizeof e, .kind = "trading", .repeat = SPR_EVENT_WEEKLY, .weekdays = 31};
    assert_int_equal(spr_calendar_builder_create(ctx, &b), SPR_OK);
    e.zone = spr_calendar_builder_zone(b, new_york, sizeof *new_york, 2);
    e.start_ns = (INT64_C(1420156800) + 14 * 3600 + 1800) * S,
    e.end_ns = e.start_ns + 390 * 60 * S; /* 2 January 2015 */
    assert_int_equal(spr_calendar_builder_add(b, &e), 0);
    assert_int_equal(spr_calendar_builder_finish(b, &c), SPR_OK);
    return c;
}

static spr_forecast *ask(const struct spr_forecaster_ops *inner, const spr_calendar *c, int32_t trial, int64_t origin) {
    struct spr_events_opts events = {
        .size = sizeof events, .calendar = c, .inner = inner, .origin_ns = origin_ns, .trial = trial};
    struct spr_forecaster_opts o = {sizeof o, STEP_S * S, H, LEVELS, levels, c ? &events : NULL};
    struct spr_panel p = panel_of(0, origin);
    spr_forecaster *f = NULL;
    spr_forecast *out = NULL;
    assert_int_equal(spr_forecaster_create(ctx, c ? spr_forecaster_events() : inner, &o, &f), SPR_OK);
    assert_int_equal(spr_forecaster_fit(f, &p, 0, 0), SPR_OK);
    assert_int_equal(spr_forecaster_predict(f, NULL, &out), SPR_OK);
    spr_forecaster_destroy(f);
    return out;
}

static double loss_of(const spr_forecast *f, int64_t origin) {
    double sum = 0;
    for (int64_t h = 0; h < H && origin + h < steps; h++)
        for (int k = 0; k < LEVELS && !isnan(y[origin + h]); k++) {
            double q = spr_forecast_quantiles(f)[h * LEVELS + k], v = y[origin + h];
            sum += v > q ? levels[k] * (v - q) : (1 - levels[k]) * (q - v);
        }
    return sum;
}

static double lost(const struct spr_forecaster_ops *inner, const spr_calendar *c, int32_t trial, int64_t first,
                   int64_t every) {
    double sum = 0;
    for (int64_t origin = first; origin + H <= steps; origin += every) {
        spr_forecast *f = ask(inner, c, trial, origin);
        sum += loss_of(f, origin);
        spr_forecast_unref(f);
    }
    return sum;
}

/* Every 38 hours in the second half of the tournament, so that all times of day are met. */
static void matches_of_the_world_cup_are_foreseen(void **state) {
    (void)state;
    load("worldcup98", "worldcup98/requests_per_minute.csv.gz");
    spr_calendar *c = matches();
    const struct spr_forecaster_ops *hw = spr_forecaster_holt_winters();
    double without = lost(hw, NULL, 0, 51 * DAY, 38 * 12), with = lost(hw, c, 0, 51 * DAY, 38 * 12);
    print_message("pinball loss of Holt-Winters with the matches, times that without: %.3f\n", with / without);
    assert_true(with < 0.75 * without);
    spr_calendar_unref(c);
}

/* Trading hours lift tweets, but a season says so already: believed without a trial they cost. */
static void hours_that_are_a_season_do_no_harm(void **state) {
    (void)state;
    load("nab", "nab/realTweets__Twitter_volume_CRM.csv.gz");
    spr_calendar *c = trading();
    const struct spr_forecaster_ops *naive = spr_forecaster_seasonal_naive();
    double without = lost(naive, NULL, 0, 20 * DAY, 310), with = lost(naive, c, 0, 20 * DAY, 310);
    double believed = lost(naive, c, SPR_NONE, 20 * DAY, 310);
    print_message("pinball loss of seasonal naive with trading hours, times that without: %.3f; always believed %.3f\n",
                  with / without, believed / without);
    assert_true(with < 1.01 * without);
    assert_true(with < believed);
    spr_calendar_unref(c);
}

/* ---- when ---- */

static int by_value(const void *a, const void *b) {
    double u = *(const double *)a, v = *(const double *)b;
    return (u > v) - (u < v);
}

/* The 0.9 quantile of the week before. */
static double high_water(int64_t origin) {
    static double week[7 * DAY];
    int n = 0;
    for (int64_t t = origin - 7 * DAY; t < origin; t++)
        if (!isnan(y[t]))
            week[n++] = y[t];
    qsort(week, (size_t)n, sizeof *week, by_value);
    return week[(int)(0.9 * n)];
}

static double passage(const spr_forecast *f, double threshold, double correlation) {
    struct spr_when_opts o = {.size = sizeof o, .threshold = threshold, .correlation = correlation};
    double first[H], sum = 0;
    assert_int_equal(spr_forecast_first_passage(f, 0, &o, first), SPR_OK);
    for (int h = 0; h < H; h++)
        sum += first[h];
    return sum;
}

/* Four hours ahead, ten hours apart, from May into June; the correlation is that of the forecasts before. */
static void measured_dependence_tells_how_often_a_threshold_is_passed(void **state) {
    (void)state;
    load("worldcup98", "worldcup98/requests_per_minute.csv.gz");
    struct spr_dependence sums = {.size = sizeof sums};
    double measured = 0, independent = 0, observed = 0, rho = 0, n = 0;
    for (int64_t origin = 28 * DAY; origin + H <= steps; origin += 120, n++) {
        spr_forecast *f = ask(spr_forecaster_seasonal_naive(), NULL, 0, origin);
        double threshold = high_water(origin), any = 0;
        for (int h = 0; h < H; h++)
            any = y[origin + h] > threshold ? 1 : any;
        observed += any;
        measured += passage(f, threshold, rho);
        independent += passage(f, threshold, SPR_NONE);
        rho = spr_forecast_dependence(f, 0, y + origin, &sums);
        spr_forecast_unref(f);
    }
    print_message("passed in %.3f of %.0f cases; said %.3f, rho %.3f (steps taken as independent %.3f)\n", observed / n,
                  n, measured / n, rho, independent / n);
    assert_true(fabs(measured - observed) / n < 0.1);
    assert_true(independent / n > observed / n + 0.2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(matches_of_the_world_cup_are_foreseen, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(hours_that_are_a_season_do_no_harm, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(measured_dependence_tells_how_often_a_threshold_is_passed, scratch_begin,
                                        scratch_end),
    };
    return cmocka_run_group_tests_name("events on real series", tests, NULL, NULL);
}
