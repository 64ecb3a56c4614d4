/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Seasonal naive: what it repeats, how wide it is, and that new steps need no new fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

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

static struct spr_panel panel_of(const double *data, int64_t series, int64_t steps, int64_t room) {
    return (struct spr_panel){.size = sizeof(struct spr_panel),
                              .data = data,
                              .series = series,
                              .steps = steps,
                              .series_stride = room * (int64_t)sizeof *data,
                              .step_stride = sizeof *data};
}

static spr_forecaster *naive(double period, int32_t horizon) {
    struct spr_seasonal_naive_opts config = {sizeof config, period};
    struct spr_forecaster_opts o = SPR_FORECASTER_OPTS_INIT;
    spr_forecaster *f = NULL;
    o.horizon = horizon, o.config = &config;
    assert_int_equal(spr_forecaster_create(ctx, spr_forecaster_seasonal_naive(), &o, &f), SPR_OK);
    return f;
}

static spr_forecast *predict(spr_forecaster *f, const double *now) {
    spr_forecast *out = NULL;
    assert_int_equal(spr_forecaster_predict(f, now, &out), SPR_OK);
    return out;
}

static double noisy(int64_t s, int64_t t, double period) {
    return 40.385 + 13.7 * sin(2 * 3.14159265358979 * (double)t / period + (double)s) +
           3.1 * spr__rand(17, (uint64_t)s, (uint64_t)t);
}

static double first_point(const spr_forecast *f) { return spr_forecast_points(f)[0]; }

static void the_last_season_is_repeated_with_the_quantiles_of_its_differences(void **state) {
    (void)state;
    enum { M = 7, N = 7 * 30 + 3, H = 10 };
    double y[N], d1[N], d2[N];
    for (int t = 0; t < N; t++)
        y[t] = noisy(0, t, M);
    for (int t = M; t < N; t++)
        d1[t - M] = y[t] - y[t - M];
    for (int t = 2 * M; t < N; t++)
        d2[t - 2 * M] = y[t] - y[t - 2 * M];
    spr__sort(d1, N - M);
    spr__sort(d2, N - 2 * M);
    struct spr_panel p = panel_of(y, 1, N, N);
    spr_forecaster *f = naive(M, H);
    assert_int_equal(spr_forecaster_fit(f, &p, 0, 0), SPR_OK);
    spr_forecast *out = predict(f, NULL);
    const double *q = spr_forecast_quantiles(out), *levels = spr_forecast_levels(out);
    for (int h = 0; h < H; h++) {
        assert_true(spr_forecast_points(out)[h] == y[N - M + h % M]);
        for (int k = 0; k < 7; k++) {
            double want =
                h < M ? spr__quantile_sorted(d1, N - M, levels[k]) : spr__quantile_sorted(d2, N - 2 * M, levels[k]);
            assert_float_equal(q[h * 7 + k], y[N - M + h % M] + want, 1e-9);
        }
    }
    spr_forecast_unref(out);
    spr_forecaster_destroy(f);
}

static void a_fractional_period_is_followed_without_drift(void **state) {
    (void)state;
    enum { N = 1500, H = 48 };
    const double period = 23.62;
    double y[N + H];
    for (int t = 0; t < N + H; t++)
        y[t] = 100 + 10 * sin(2 * 3.14159265358979 * t / period);
    struct spr_panel p = panel_of(y, 1, N, N);
    spr_forecaster *f = naive(period, H);
    assert_int_equal(spr_forecaster_fit(f, &p, 0, 0), SPR_OK);
    spr_forecast *out = predict(f, NULL);
    for (int h = 0; h < H; h++) /* linear interpolation of this sine errs by at most 10 (2 pi / period)^2 / 8 = 0.09 */
        assert_true(fabs(spr_forecast_points(out)[h] - y[N + h]) < 0.09);
    spr_forecast_unref(out);
    spr_forecaster_destroy(f);
}

static void without_a_season_the_last_value_stands_and_the_spread_grows(void **state) {
    (void)state;
    enum { N = 600, H = 9 };
    double y[N];
    y[0] = -5.5;
    for (int t = 1; t < N; t++)
        y[t] = y[t - 1] + spr__rand(3, 0, (uint64_t)t) - 0.5;
    struct spr_panel p = panel_of(y, 1, N, N);
    spr_forecaster *f = naive(SPR_NONE, H);
    assert_int_equal(spr_forecaster_fit(f, &p, 0, 0), SPR_OK);
    spr_forecast *out = predict(f, NULL);
    const double *q = spr_forecast_quantiles(out);
    for (int h = 0; h < H; h++)
        assert_true(spr_forecast_points(out)[h] == y[N - 1]);
    assert_true(q[8 * 7 + 4] - q[8 * 7 + 0] > 2.0 * (q[4] - q[0])); /* a random walk: about three times at h = 9 */
    spr_forecast_unref(out);
    spr_forecaster_destroy(f);
}

static void update_gives_what_one_longer_fit_gives(void **state) {
    (void)state;
    enum { S = 3, N = 2600, CUT = 2300, H = 30 };
    static double y[S * N];
    for (int s = 0; s < S; s++)
        for (int t = 0; t < N; t++)
            y[s * N + t] = spr__rand(5, (uint64_t)s, (uint64_t)t) < 0.06 ? NAN : noisy(s, t, 24.3);
    spr_forecaster *whole = naive(24.3, H), *steps = naive(24.3, H);
    struct spr_panel all = panel_of(y, S, N, N), cut = panel_of(y, S, CUT, N);
    assert_int_equal(spr_forecaster_fit(whole, &all, 5, 0), SPR_OK);
    assert_int_equal(spr_forecaster_fit(steps, &cut, 5, 0), SPR_OK);
    for (int t = CUT; t < N;) {
        int n = t == CUT ? 1 : 7;
        struct spr_panel next = panel_of(y + t, S, SPR_MIN(n, N - t), N);
        assert_int_equal(spr_forecaster_update(steps, &next), SPR_OK);
        t += n;
    }
    spr_forecast *a = predict(whole, NULL), *b = predict(steps, NULL);
    assert_int_equal(spr_forecast_first_step(a), N + 5);
    assert_int_equal(spr_forecast_first_step(b), N + 5);
    assert_memory_equal(spr_forecast_points(a), spr_forecast_points(b), S * H * sizeof(double));
    assert_memory_equal(spr_forecast_quantiles(a), spr_forecast_quantiles(b), S * H * 7 * sizeof(double));
    spr_forecast_unref(a);
    spr_forecast_unref(b);
    spr_forecaster_destroy(whole);
    spr_forecaster_destroy(steps);
}

static void the_present_value_shifts_the_level(void **state) {
    (void)state;
    enum { N = 240, H = 5 };
    double y[2 * N], now[2] = {77.125, NAN};
    for (int t = 0; t < 2 * N; t++)
        y[t] = noisy(t / N, t % N, 24);
    struct spr_panel p = panel_of(y, 2, N, N);
    spr_forecaster *f = naive(24, H);
    assert_int_equal(spr_forecaster_fit(f, &p, 0, 0), SPR_OK);
    spr_forecast *a = predict(f, NULL), *b = predict(f, now);
    double shift = 77.125 - spr_forecast_points(a)[0];
    for (int h = 0; h < H; h++) {
        assert_float_equal(spr_forecast_points(b)[h] - spr_forecast_points(a)[h], shift, 1e-9);
        assert_true(spr_forecast_points(b)[H + h] == spr_forecast_points(a)[H + h]);
    }
    assert_float_equal(spr_forecast_quantiles(b)[6] - spr_forecast_quantiles(a)[6], shift, 1e-9);
    spr_forecast_unref(a);
    spr_forecast_unref(b);
    spr_forecaster_destroy(f);
}

static void young_series_are_answered_and_empty_ones_refused(void **state) {
    (void)state;
    enum { N = 20 };
    double y[2 * N];
    for (int t = 0; t < N; t++)
        y[t] = t == 11 ? 8.0 : NAN, y[N + t] = noisy(1, t, 5);
    struct spr_panel p = panel_of(y, 2, N, N);
    spr_forecaster *f = naive(0, 12); /* a day: 288 steps, far more than there are */
    assert_int_equal(spr_forecaster_fit(f, &p, 0, 0), SPR_OK);
    spr_forecast *out = predict(f, NULL);
    assert_true(spr_forecast_points(out)[0] == 8.0);
    assert_true(spr_forecast_points(out)[12] == y[2 * N - 1]);
    assert_true(spr_forecast_quantiles(out)[6] > 10.0);
    spr_forecast_unref(out);
    struct spr_error e = {.size = sizeof e};
    y[11] = NAN;
    assert_int_equal(spr_forecaster_fit(f, &p, 0, 0), SPR_E_HISTORY);
    assert_int_equal(spr_context_error(ctx, &e), SPR_OK);
    assert_non_null(strstr(e.text, "series 0"));
    assert_int_equal(spr_forecaster_predict(f, NULL, &out), SPR_E_STATE);
    spr_forecaster_destroy(f);
}

static void float32_and_validity_bits_are_read(void **state) {
    (void)state;
    float y[2][6] = {{1.5f, 2.5f, 3.5f, 1.5f, 2.5f, 99.0f}, {4, 5, 6, 4, 5, 6}};
    uint8_t valid[2] = {0x1f, 0x3f};
    struct spr_panel p = {.size = sizeof p,
                          .data = y,
                          .dtype = SPR_F32,
                          .series = 2,
                          .steps = 6,
                          .series_stride = 24,
                          .step_stride = 4,
                          .valid = valid,
                          .valid_stride = 1};
    spr_forecaster *f = naive(3, 3);
    assert_int_equal(spr_forecaster_fit(f, &p, 0, 0), SPR_OK);
    spr_forecast *out = predict(f, NULL);
    const double want[] = {1.5, 2.5, 3.5, 4, 5, 6};
    for (int i = 0; i < 6; i++)
        assert_true(spr_forecast_points(out)[i] == want[i]);
    spr_forecast_unref(out);
    spr_forecaster_destroy(f);
}

static void a_throttled_day_does_not_lower_the_forecast(void **state) {
    (void)state;
    enum { M = 8, N = 8 * 20 };
    double y[N];
    uint8_t censored[N / 8] = {0};
    for (int t = 0; t < N; t++)
        y[t] = noisy(0, t, M);
    for (int t = N - M; t < N - 4; t++) /* half of the last day was cut to 30 */
        y[t] = SPR_MIN(y[t], 30.25), censored[t / 8] |= (uint8_t)(1 << t % 8);
    struct spr_panel p = panel_of(y, 1, N, N);
    spr_forecaster *f = naive(M, M);
    assert_int_equal(spr_forecaster_fit(f, &p, 0, 0), SPR_OK);
    spr_forecast *blind = predict(f, NULL);
    p.censored = censored;
    assert_int_equal(spr_forecaster_fit(f, &p, 0, 0), SPR_OK);
    spr_forecast *seeing = predict(f, NULL);
    for (int h = 0; h < M; h++) {
        double want = h < 4 ? SPR_MAX(y[N - 2 * M + h], y[N - M + h]) : y[N - M + h];
        assert_true(spr_forecast_points(blind)[h] == y[N - M + h]);
        assert_true(spr_forecast_points(seeing)[h] == want);
    }
    /* The cut is no spread of the demand either. */
    assert_true(spr_forecast_quantiles(seeing)[0] - first_point(seeing) >
                spr_forecast_quantiles(blind)[0] - first_point(blind));
    spr_forecast_unref(blind);
    spr_forecast_unref(seeing);
    spr_forecaster_destroy(f);
}

static void a_senseless_period_is_refused(void **state) {
    (void)state;
    const double bad[] = {-2.5, NAN, 1e9};
    for (int i = 0; i < 3; i++) {
        struct spr_seasonal_naive_opts config = {sizeof config, bad[i]};
        struct spr_forecaster_opts o = SPR_FORECASTER_OPTS_INIT;
        spr_forecaster *f = NULL;
        o.config = &config;
        assert_int_equal(spr_forecaster_create(ctx, spr_forecaster_seasonal_naive(), &o, &f), SPR_E_ARG);
        assert_null(f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_season_is_repeated_with_the_quantiles_of_its_differences),
        cmocka_unit_test(a_fractional_period_is_followed_without_drift),
        cmocka_unit_test(without_a_season_the_last_value_stands_and_the_spread_grows),
        cmocka_unit_test(update_gives_what_one_longer_fit_gives),
        cmocka_unit_test(the_present_value_shifts_the_level),
        cmocka_unit_test(young_series_are_answered_and_empty_ones_refused),
        cmocka_unit_test(float32_and_validity_bits_are_read),
        cmocka_unit_test(a_throttled_day_does_not_lower_the_forecast),
        cmocka_unit_test(a_senseless_period_is_refused),
    };
    return cmocka_run_group_tests(tests, make_context, drop_context);
}
