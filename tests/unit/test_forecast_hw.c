/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Holt-Winters as a forecaster: awkward panels, vector builds, budgets, updates, threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "forecast/hw.h"

enum { H = 12, L = 7 };

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

static struct spr_panel panel_of(const double *data, int64_t series, int64_t steps, int64_t room) {
    return (struct spr_panel){.size = sizeof(struct spr_panel),
                              .data = data,
                              .series = series,
                              .steps = steps,
                              .series_stride = room * (int64_t)sizeof *data,
                              .step_stride = sizeof *data};
}

static spr_forecaster *make(spr_context *in, const struct spr_holt_winters_opts *config) {
    struct spr_forecaster_opts o = SPR_FORECASTER_OPTS_INIT;
    spr_forecaster *f = NULL;
    o.config = config;
    assert_int_equal(spr_forecaster_create(in, spr_forecaster_holt_winters(), &o, &f), SPR_OK);
    return f;
}

static spr_forecast *predict(spr_forecaster *f) {
    spr_forecast *out = NULL;
    assert_int_equal(spr_forecaster_predict(f, NULL, &out), SPR_OK);
    return out;
}

static const uint8_t *marks; /* censored steps of the panels that forecast_of makes, or NULL */
static int64_t again;        /* so many steps of them come a second time as updates */
static spr_forecast *forecast_of(spr_context *in, const struct spr_holt_winters_opts *config, const double *data,
                                 int64_t series, int64_t steps) {
    struct spr_panel p = panel_of(data, series, steps, steps);
    p.censored = marks, p.censored_stride = (steps + 7) / 8;
    spr_forecaster *f = make(in, config);
    assert_int_equal(spr_forecaster_fit(f, &p, 0, 0), SPR_OK);
    if (again) { /* the same steps once more, as news */
        struct spr_panel next = p;
        next.steps = again;
        assert_int_equal(spr_forecaster_update(f, &next), SPR_OK);
    }
    spr_forecast *out = predict(f);
    spr_forecaster_destroy(f);
    return out;
}

static bool same_bits(const spr_forecast *a, const spr_forecast *b) {
    size_t n = (size_t)spr_forecast_count(a) * H;
    return spr_forecast_count(a) == spr_forecast_count(b) &&
           !memcmp(spr_forecast_points(a), spr_forecast_points(b), n * sizeof(double)) &&
           !memcmp(spr_forecast_quantiles(a), spr_forecast_quantiles(b), n * L * sizeof(double));
}

/* 19 rows of every kind of trouble: seasons, trends, gaps, late starts, constants, huge, negative, two points. */
enum { ROWS = 19, N = 340 };
static double awkward[ROWS * N];
static void fill_awkward(void) {
    for (int s = 0; s < ROWS; s++)
        for (int t = 0; t < N; t++) {
            double u = spr__rand(11, (uint64_t)s, (uint64_t)t), season = sin(2 * 3.14159265358979 * t / 23.7);
            double y = 20.385 + 5.1 * season + 0.01 * s * t + u;
            if (s == 3)
                y = 7.25;
            if (s == 4)
                y *= 1e12;
            if (s == 5)
                y = -y;
            if (s == 6)
                y = t == 100 ? 3.5 : t == 220 ? 4.25 : NAN;
            if (s == 7)
                y = t == 339 ? 11.5 : NAN;
            if (s == 8 && t < 300)
                y = NAN;
            if (s == 9 && (t / 30) % 2)
                y = NAN;
            if (s == 10)
                y = u < 0.97 ? 0 : 1000 * u;
            if (s == 11 && u < 0.3)
                y = NAN;
            if (s == 12)
                y = 0;
            if (s == 13)
                y *= 1e-12;
            if (s == 14)
                y = t % 2 ? 1e150 : -1e150;
            awkward[s * N + t] = y;
        }
}

static const struct spr_holt_winters_opts kinds[] = {
    {.size = sizeof kinds[0], .period = SPR_NONE},
    {.size = sizeof kinds[0], .period = 24},
    {.size = sizeof kinds[0], .period = 23.7, .trend = SPR_HW_TREND_DAMPED},
    {.size = sizeof kinds[0], .period = 7.3, .period2 = 24, .trend = SPR_HW_TREND_ADDITIVE},
    {.size = sizeof kinds[0], .period = 24, .period2 = 168.5, .trend = SPR_HW_TREND_NONE, .gamma = SPR_NONE},
    {.size = sizeof kinds[0], .period = 24, .trend = SPR_HW_TREND_DAMPED, .season = SPR_HW_SEASON_MULTIPLICATIVE},
    {.size = sizeof kinds[0],
     .period = 7.3,
     .period2 = 24,
     .trend = SPR_HW_TREND_NONE,
     .season = SPR_HW_SEASON_MULTIPLICATIVE,
     .robust = SPR_HW_ROBUST_ALWAYS},
    {.size = sizeof kinds[0], .period = 24, .robust = SPR_HW_ROBUST_ALWAYS, .selection = SPR_HW_SELECTION_FITTED},
    {.size = sizeof kinds[0], .period = 24, .transform = SPR_HW_TRANSFORM_LOG, .season = SPR_HW_SEASON_ADDITIVE},
    {.size = sizeof kinds[0], .period = 24, .transform = SPR_HW_TRANSFORM_CHOSEN, .trend = SPR_HW_TREND_DAMPED},
    {.size = sizeof kinds[0], .transform = SPR_HW_TRANSFORM_BOX_COX, .lambda = 0.4, .period = SPR_NONE},
};

static const uint8_t *random_marks(void) {
    static uint8_t bits[ROWS * (N + 7) / 8 + ROWS];
    for (size_t i = 0; i < sizeof bits; i++)
        bits[i] = (uint8_t)(spr__rand64(21, 0, i) & spr__rand64(22, 0, i));
    return bits;
}

static void vector_builds_give_the_bits_of_the_plain_one(void **state) {
    (void)state;
    struct spr_context_opts o = SPR_CONTEXT_OPTS_INIT;
    spr_context *plain = NULL;
    int compared = 0;
    fill_awkward();
    o.simd = SPR_SIMD_PLAIN;
    assert_int_equal(spr_context_create(&o, &plain), SPR_OK);
    for (int simd = SPR_SIMD_AVX2; simd <= SPR_SIMD_AVX512; simd++) {
        spr_context *fast = NULL;
        o.simd = simd;
        if (spr_context_create(&o, &fast) < 0)
            continue;
        for (size_t k = 0; k < SPR_ARRAY_LEN(kinds); k++) {
            for (int throttled = 0; throttled < 2; throttled++) {
                marks = throttled ? random_marks() : NULL;
                again = 100;
                spr_forecast *a = forecast_of(plain, &kinds[k], awkward, ROWS, N);
                spr_forecast *b = forecast_of(fast, &kinds[k], awkward, ROWS, N);
                assert_true(same_bits(a, b));
                spr_forecast_unref(a);
                spr_forecast_unref(b);
                compared++;
            }
        }
        spr_context_unref(fast);
    }
    marks = NULL, again = 0;
    spr_context_unref(plain);
    if (!compared) {
        print_message("this processor has none of the vector instructions\n");
        skip();
    }
}

static void awkward_series_get_finite_sensible_forecasts(void **state) {
    (void)state;
    fill_awkward();
    for (size_t k = 0; k < SPR_ARRAY_LEN(kinds); k++) {
        spr_forecast *f = forecast_of(ctx, &kinds[k], awkward, ROWS, N);
        const double *p = spr_forecast_points(f), *q = spr_forecast_quantiles(f);
        for (int h = 0; h < H; h++) { /* that all are finite the maker has checked */
            assert_float_equal(p[3 * H + h], 7.25, 1e-9);
            assert_float_equal(q[(3 * H + h) * L + 6] - q[(3 * H + h) * L], 0, 1e-9);
            assert_true(p[12 * H + h] == 0);
            assert_float_equal(p[7 * H + h], 11.5, 1e-9); /* through a transform and back */
            assert_true(q[(7 * H + h) * L + 6] > 13);     /* one value: a guess, never certainty */
            assert_true(p[6 * H + h] >= 3.5 && p[6 * H + h] < 5);
            assert_true(p[4 * H + h] > 5e12 && p[4 * H + h] < 5e13);
            assert_true(p[5 * H + h] < 0);
        }
        spr_forecast_unref(f);
    }
}

static void a_season_longer_than_half_the_history_is_left_out(void **state) {
    (void)state;
    double y[40];
    for (int t = 0; t < 40; t++)
        y[t] = 3.5 + spr__rand(2, 0, (uint64_t)t);
    struct spr_holt_winters_opts o = {.size = sizeof o, .period = 21}, none = {.size = sizeof o, .period = SPR_NONE};
    spr_forecast *a = forecast_of(ctx, &o, y, 1, 40), *b = forecast_of(ctx, &none, y, 1, 40);
    for (int h = 0; h < H; h++)
        assert_float_equal(spr_forecast_points(a)[h], spr_forecast_points(b)[h], 0.01);
    spr_forecast_unref(a);
    spr_forecast_unref(b);
}

static void a_row_without_any_value_is_refused_by_number(void **state) {
    (void)state;
    double y[8] = {1.5, 2.5, NAN, 3.5, NAN, NAN, NAN, NAN};
    struct spr_panel p = panel_of(y, 2, 4, 4);
    struct spr_error e = {.size = sizeof e};
    spr_forecaster *f = make(ctx, NULL);
    assert_int_equal(spr_forecaster_fit(f, &p, 0, 0), SPR_E_HISTORY);
    assert_int_equal(spr_context_error(ctx, &e), SPR_OK);
    assert_non_null(strstr(e.text, "series 1"));
    spr_forecaster_destroy(f);
}

static void a_fractional_season_is_learnt(void **state) {
    (void)state;
    enum { LONG = 900 };
    static double y[LONG];
    for (int t = 0; t < LONG; t++)
        y[t] = 50 + 10 * sin(2 * 3.14159265358979 * t / 23.62);
    struct spr_holt_winters_opts o = {.size = sizeof o, .period = 23.62}, whole = {.size = sizeof o, .period = 24};
    spr_forecast *a = forecast_of(ctx, &o, y, 1, LONG), *b = forecast_of(ctx, &whole, y, 1, LONG);
    double worst = 0, worst_whole = 0;
    for (int h = 0; h < H; h++) {
        double truth = 50 + 10 * sin(2 * 3.14159265358979 * (LONG + h) / 23.62);
        worst = SPR_MAX(worst, fabs(spr_forecast_points(a)[h] - truth));
        worst_whole = SPR_MAX(worst_whole, fabs(spr_forecast_points(b)[h] - truth));
    }
    assert_true(worst < 0.25);
    assert_true(worst < worst_whole / 2);
    spr_forecast_unref(a);
    spr_forecast_unref(b);
}

static void two_seasons_beat_one_where_there_are_two(void **state) {
    (void)state;
    enum { LONG = 24 * 7 * 6 };
    static double y[LONG + H];
    for (int t = 0; t < LONG + H; t++)
        y[t] = 30 + 6 * sin(2 * 3.14159265358979 * t / 24) + ((t / 24) % 7 >= 5 ? -9 : 0) +
               0.5 * spr__rand(8, 0, (uint64_t)t);
    struct spr_holt_winters_opts one = {.size = sizeof one, .period = 24}, two = one;
    two.period2 = 168;
    /* The forecast begins on a Monday: only the weekly season knows that the weekend is over. */
    spr_forecast *a = forecast_of(ctx, &one, y, 1, LONG), *b = forecast_of(ctx, &two, y, 1, LONG);
    double error[2] = {0, 0};
    for (int h = 0; h < H; h++) {
        error[0] += fabs(spr_forecast_points(a)[h] - y[LONG + h]);
        error[1] += fabs(spr_forecast_points(b)[h] - y[LONG + h]);
    }
    assert_true(error[1] < error[0] / 3);
    spr_forecast_unref(a);
    spr_forecast_unref(b);
}

static void quantiles_cover_what_comes(void **state) {
    (void)state;
    enum { S = 40, LONG = 700 };
    static double y[S * LONG];
    static double history[S * (LONG - H)];
    for (int s = 0; s < S; s++)
        for (int t = 0; t < LONG; t++) {
            y[s * LONG + t] =
                40 + 8 * sin(2 * 3.14159265358979 * t / 24 + s) + 6 * spr__rand(9, (uint64_t)s, (uint64_t)t);
            if (t < LONG - H)
                history[s * (LONG - H) + t] = y[s * LONG + t];
        }
    struct spr_holt_winters_opts o = {.size = sizeof o, .period = 24};
    spr_forecast *f = forecast_of(ctx, &o, history, S, LONG - H);
    int below[L] = {0};
    for (int i = 0; i < S * H; i++)
        for (int k = 0; k < L; k++)
            below[k] += y[(i / H) * LONG + LONG - H + i % H] <= spr_forecast_quantiles(f)[i * L + k];
    for (int k = 0; k < L; k++) {
        double share = (double)below[k] / (S * H), want = spr_forecast_levels(f)[k];
        assert_true(fabs(share - want) < 0.06);
    }
    spr_forecast_unref(f);
}

static void a_throttled_stretch_does_not_lower_the_level(void **state) {
    (void)state;
    enum { LONG = 408, CUT = 360 }; /* two throttled days, and a forecast of the half of the third that will peak */
    static double y[LONG];
    uint8_t censored[LONG / 8] = {0};
    for (int t = 0; t < LONG; t++)
        y[t] = 40 + 8 * sin(2 * 3.14159265358979 * t / 24) + spr__rand(6, 0, (uint64_t)t);
    for (int t = CUT; t < LONG; t++)
        y[t] = SPR_MIN(y[t], 33.5), censored[t / 8] |= (uint8_t)((y[t] >= 33.5) << t % 8);
    struct spr_holt_winters_opts o = {.size = sizeof o, .period = 24};
    struct spr_panel p = panel_of(y, 1, LONG, LONG), head = panel_of(y, 1, CUT, LONG),
                     tail = panel_of(y + CUT, 1, LONG - CUT, LONG);
    spr_forecaster *f = make(ctx, &o);
    double error[3] = {0, 0, 0};
    for (int kind = 0; kind < 3; kind++) { /* blind, seeing, seeing by updates */
        p.censored = kind ? censored : NULL;
        tail.censored = censored + CUT / 8;
        assert_int_equal(spr_forecaster_fit(f, kind < 2 ? &p : &head, 0, 0), SPR_OK);
        if (kind == 2)
            assert_int_equal(spr_forecaster_update(f, &tail), SPR_OK);
        spr_forecast *out = predict(f);
        for (int h = 0; h < H; h++)
            error[kind] +=
                fabs(spr_forecast_points(out)[h] - 40.5 - 8 * sin(2 * 3.14159265358979 * (LONG + h) / 24)) / H;
        spr_forecast_unref(out);
    }
    assert_true(error[0] > 3);
    assert_true(error[1] < 1);
    assert_true(error[2] < 1);
    spr_forecaster_destroy(f);
}

static void a_budget_only_slices_the_work(void **state) {
    (void)state;
    fill_awkward();
    struct spr_panel p = panel_of(awkward, ROWS, N, N);
    spr_forecaster *f = make(ctx, &kinds[1]);
    int rc, calls = 0;
    while ((rc = spr_forecaster_fit(f, &p, 0, 16 * 37)) == SPR_AGAIN) {
        spr_forecast *early = NULL;
        assert_int_equal(spr_forecaster_predict(f, NULL, &early), SPR_E_STATE);
        calls++;
    }
    assert_int_equal(rc, SPR_OK);
    assert_true(calls > 5);
    spr_forecast *a = predict(f), *b = forecast_of(ctx, &kinds[1], awkward, ROWS, N);
    assert_true(same_bits(a, b));
    spr_forecast_unref(a);
    spr_forecast_unref(b);
    spr_forecaster_destroy(f);
}

static void an_update_goes_on_where_the_fit_ended(void **state) {
    (void)state;
    enum { CUT = 260 };
    fill_awkward();
    /* Parameters are given, so that a longer fit has nothing to learn but states. */
    struct spr_holt_winters_opts o = {.size = sizeof o,
                                      .period = 23.7,
                                      .trend = SPR_HW_TREND_DAMPED,
                                      .season = SPR_HW_SEASON_ADDITIVE,
                                      .alpha = 0.31,
                                      .beta = 0.07,
                                      .gamma = 0.22,
                                      .phi = 0.93};
    spr_forecaster *whole = make(ctx, &o), *steps = make(ctx, &o);
    /* Rows 0 to 5 have their starting states within the shorter history. */
    struct spr_panel all = panel_of(awkward, 6, N, N), cut = panel_of(awkward, 6, CUT, N);
    assert_int_equal(spr_forecaster_fit(whole, &all, 0, 0), SPR_OK);
    assert_int_equal(spr_forecaster_fit(steps, &cut, 0, 0), SPR_OK);
    for (int t = CUT; t < N; t += 4) {
        struct spr_panel next = panel_of(awkward + t, 6, 4, N);
        assert_int_equal(spr_forecaster_update(steps, &next), SPR_OK);
    }
    spr_forecast *a = predict(whole), *b = predict(steps);
    assert_int_equal(spr_forecast_first_step(a), spr_forecast_first_step(b));
    assert_memory_equal(spr_forecast_points(a), spr_forecast_points(b), 6 * H * sizeof(double));
    spr_forecast_unref(a);
    spr_forecast_unref(b);
    spr_forecaster_destroy(whole);
    spr_forecaster_destroy(steps);
}

/* Items last to first: whoever depends on the order is found out without threads. */
static void backwards(void *user, size_t n, void (*fn)(void *arg, size_t i), void *arg) {
    (void)user;
    while (n--)
        fn(arg, n);
}

static void the_order_of_parallel_work_does_not_matter(void **state) {
    (void)state;
    struct spr_executor e = {sizeof e, backwards, 2, 0, NULL};
    struct spr_context_opts o = SPR_CONTEXT_OPTS_INIT;
    spr_context *other = NULL;
    o.executor = &e;
    assert_int_equal(spr_context_create(&o, &other), SPR_OK);
    fill_awkward();
    spr_forecast *a = forecast_of(ctx, &kinds[2], awkward, ROWS, N);
    spr_forecast *b = forecast_of(other, &kinds[2], awkward, ROWS, N);
    assert_true(same_bits(a, b));
    spr_forecast_unref(a);
    spr_forecast_unref(b);
    spr_context_unref(other);
}

static void a_series_does_not_notice_its_neighbours(void **state) {
    (void)state;
    fill_awkward();
    spr_forecast *all = forecast_of(ctx, &kinds[1], awkward, ROWS, N);
    spr_forecast *alone = forecast_of(ctx, &kinds[1], awkward + 17 * N, 1, N);
    assert_memory_equal(spr_forecast_points(all) + 17 * H, spr_forecast_points(alone), H * sizeof(double));
    assert_memory_equal(spr_forecast_quantiles(all) + 17 * H * L, spr_forecast_quantiles(alone),
                        H * L * sizeof(double));
    spr_forecast_unref(all);
    spr_forecast_unref(alone);
}

static void a_golden_case_stays_as_it_was(void **state) {
    (void)state;
    /* Worked by hand with alpha 1/2, beta 1/2, gamma 1/2, period 2: the first two periods 1 3 2 6 give the averages
     * 2.25 and 3.25, hence level 1.25, slope 1, figures -0.125... (see the numbers below). */
    static const double y[] = {1, 3, 2, 6, 4};
    struct spr_holt_winters_opts o = {.size = sizeof o,
                                      .period = 2,
                                      .trend = SPR_HW_TREND_ADDITIVE,
                                      .season = SPR_HW_SEASON_ADDITIVE,
                                      .alpha = 0.5,
                                      .beta = 0.5,
                                      .gamma = 0.5};
    /* averages: t=1: (1/2 + 3 + 2/2)/2 = 2.25; t=2: (3/2 + 2 + 6/2)/2 = 3.25; line: level 1.25, slope 1.
     * distances: t=1: 0.75, t=2: -1.25; centred figures: -1, 1.
     * t=2: expect 1.25 + 1 - 1 = 1.25; level (3 + 2.25)/2 = 2.625; slope (1.375 + 1)/2 = 1.1875; s0 (-0.625 - 1)/2 =
     * -0.8125 t=3: level (5 + 3.8125)/2 = 4.40625; slope (1.78125 + 1.1875)/2 = 1.484375; s1 (1.59375 + 1)/2 = 1.296875
     * t=4: level (4.8125 + 5.890625)/2 = 5.3515625; slope (0.9453125 + 1.484375)/2 = 1.21484375;
     *      s0 (-1.3515625 - 0.8125)/2 = -1.08203125 */
    spr_forecast *f = forecast_of(ctx, &o, y, 1, 5);
    assert_float_equal(spr_forecast_points(f)[0], 5.3515625 + 1.21484375 + 1.296875, 1e-12);
    assert_float_equal(spr_forecast_points(f)[1], 5.3515625 + 2 * 1.21484375 - 1.08203125, 1e-12);
    spr_forecast_unref(f);
}

static void senseless_options_are_refused(void **state) {
    (void)state;
    const struct spr_holt_winters_opts bad[] = {
        {.size = sizeof bad[0], .period = -3},  {.size = sizeof bad[0], .period = 0.5},
        {.size = sizeof bad[0], .alpha = 1.5},  {.size = sizeof bad[0], .phi = 0.3},
        {.size = sizeof bad[0], .trend = 7},    {.size = sizeof bad[0], .gamma = NAN},
        {.size = sizeof bad[0], .reserved = 1},
    };
    for (size_t i = 0; i < SPR_ARRAY_LEN(bad); i++) {
        struct spr_forecaster_opts o = SPR_FORECASTER_OPTS_INIT;
        spr_forecaster *f = NULL;
        o.config = &bad[i];
        assert_int_equal(spr_forecaster_create(ctx, spr_forecaster_holt_winters(), &o, &f), SPR_E_ARG);
        assert_null(f);
    }
}

/* ---- every allocation fails once ---- */

static struct {
    int left;
    size_t held;
} meter;
static void *meter_alloc(void *user, size_t bytes) {
    (void)user;
    if (meter.left-- <= 0)
        return NULL;
    meter.held += bytes;
    return test_malloc(bytes);
}
static void *meter_realloc(void *user, void *block, size_t old_bytes, size_t bytes) {
    (void)user;
    if (meter.left-- <= 0)
        return NULL;
    meter.held += bytes - old_bytes;
    return test_realloc(block, bytes);
}
static void meter_free(void *user, void *block, size_t bytes) {
    (void)user;
    meter.held -= bytes;
    test_free(block);
}

static int all_calls(spr_context *in, const struct spr_forecaster_ops *ops) {
    struct spr_forecaster_opts o = SPR_FORECASTER_OPTS_INIT;
    struct spr_holt_winters_opts hw = {.size = sizeof hw, .period = 6, .alpha = 0.3, .beta = 0.1, .gamma = 0.2};
    struct spr_seasonal_naive_opts naive = {sizeof naive, 6};
    struct spr_panel p = panel_of(awkward, 3, 60, N), next = panel_of(awkward + 60, 3, 2, N);
    spr_forecaster *f = NULL;
    spr_forecast *out = NULL;
    o.config = ops == spr_forecaster_holt_winters() ? (const void *)&hw : &naive;
    int rc = spr_forecaster_create(in, ops, &o, &f);
    if (rc == SPR_OK)
        rc = spr_forecaster_fit(f, &p, 0, 0);
    if (rc == SPR_OK)
        rc = spr_forecaster_update(f, &next);
    if (rc == SPR_OK)
        rc = spr_forecaster_predict(f, NULL, &out);
    spr_forecast_unref(out);
    spr_forecaster_destroy(f);
    return rc;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    const struct spr_forecaster_ops *methods[] = {spr_forecaster_holt_winters(), spr_forecaster_seasonal_naive()};
    struct spr_allocator a = {sizeof a, meter_alloc, meter_realloc, meter_free, NULL};
    struct spr_context_opts o = SPR_CONTEXT_OPTS_INIT;
    fill_awkward();
    o.allocator = &a;
    for (int m = 0; m < 2; m++)
        for (int fail = 1, rc = SPR_E_NOMEM; rc == SPR_E_NOMEM; fail++) {
            spr_context *in = NULL;
            struct spr_error e = {.size = sizeof e};
            meter.left = 1, meter.held = 0;
            assert_int_equal(spr_context_create(&o, &in), SPR_OK);
            meter.left = fail;
            rc = all_calls(in, methods[m]);
            assert_true(rc == SPR_OK || rc == SPR_E_NOMEM);
            if (rc < 0) {
                assert_int_equal(spr_context_error(in, &e), SPR_OK);
                assert_int_equal(e.code, SPR_E_NOMEM);
            } else {
                assert_true(fail > 8);
            }
            spr_context_unref(in);
            assert_int_equal(meter.held, 0);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vector_builds_give_the_bits_of_the_plain_one),
        cmocka_unit_test(awkward_series_get_finite_sensible_forecasts),
        cmocka_unit_test(a_season_longer_than_half_the_history_is_left_out),
        cmocka_unit_test(a_row_without_any_value_is_refused_by_number),
        cmocka_unit_test(a_fractional_season_is_learnt),
        cmocka_unit_test(two_seasons_beat_one_where_there_are_two),
        cmocka_unit_test(quantiles_cover_what_comes),
        cmocka_unit_test(a_throttled_stretch_does_not_lower_the_level),
        cmocka_unit_test(a_budget_only_slices_the_work),
        cmocka_unit_test(an_update_goes_on_where_the_fit_ended),
        cmocka_unit_test(the_order_of_parallel_work_does_not_matter),
        cmocka_unit_test(a_series_does_not_notice_its_neighbours),
        cmocka_unit_test(a_golden_case_stays_as_it_was),
        cmocka_unit_test(senseless_options_are_refused),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, make_context, drop_context);
}
