/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The wavelet forecaster: its scales, what it foresees, awkward panels, failing memory, and GSL's own error handler. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <gsl/gsl_errno.h>
#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>

#include <shardpredict/forecast.h>

#include "failing_alloc.h"
#include "gsl.h"

enum { H = 12, L = 7 };
#define TURN 6.283185307179586

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

static int make(const struct spr_gsl_wavelet_opts *config, spr_forecaster **out) {
    struct spr_forecaster_opts o = {.size = sizeof o, .config = config, .horizon = H};
    return spr_forecaster_create(ctx, spr_forecaster_gsl_wavelet(), &o, out);
}

static spr_forecast *predict(spr_forecaster *f, const double *now) {
    spr_forecast *out = NULL;
    assert_int_equal(spr_forecaster_predict(f, now, &out), SPR_OK);
    return out;
}

static spr_forecaster *fitted(const struct spr_panel *p, double period) {
    struct spr_gsl_wavelet_opts config = {.size = sizeof config, .period = period};
    spr_forecaster *f = NULL;
    assert_int_equal(make(&config, &f), SPR_OK);
    assert_int_equal(spr_forecaster_fit(f, p, 0, 0), SPR_OK);
    return f;
}

static spr_forecast *forecast_of(const struct spr_panel *p, double period) {
    spr_forecaster *f = fitted(p, period);
    spr_forecast *out = predict(f, NULL);
    spr_forecaster_destroy(f);
    return out;
}

static bool same_bits(const spr_forecast *a, const spr_forecast *b) {
    size_t n = (size_t)spr_forecast_count(a) * H;
    return spr_forecast_count(a) == spr_forecast_count(b) &&
           !memcmp(spr_forecast_points(a), spr_forecast_points(b), n * sizeof(double)) &&
           !memcmp(spr_forecast_quantiles(a), spr_forecast_quantiles(b), n * L * sizeof(double));
}

/* The same numbers every time: GSL's generator with a fixed seed. */
static gsl_rng *dice(void) {
    gsl_rng *r = gsl_rng_alloc(gsl_rng_mt19937);
    gsl_rng_set(r, 4711);
    return r;
}

/* ---- scales ---- */

static void the_scales_sum_to_the_series_and_look_back_only(void **state) {
    (void)state;
    enum { N = 300, SCALES = 6, CUT = 217 };
    static double x[N], parts[(SCALES + 1) * N], again[(SCALES + 1) * N];
    gsl_rng *r = dice();
    for (int w = SPR_GSL_WAVELET_HAAR; w <= SPR_GSL_WAVELET_BSPLINE3; w++) {
        struct gsl_filter f;
        double sum = 0;
        assert_true(gsl__filter(w, &f));
        for (int i = 0; i < f.count; i++)
            sum += f.tap[i];
        assert_float_equal(sum, 1, 1e-14);
        for (int t = 0; t < N; t++)
            x[t] = gsl_ran_gaussian(r, 3) + 0.1 * t;
        gsl__split(&f, SCALES, x, N, parts, N);
        for (int t = 0; t < N; t++) {
            double all = 0;
            for (int j = 0; j <= SCALES; j++)
                all += parts[j * N + t];
            assert_float_equal(all, x[t], 1e-12);
        }
        for (int t = CUT; t < N; t++)
            x[t] = 1e6;
        gsl__split(&f, SCALES, x, N, again, N);
        for (int j = 0; j <= SCALES; j++)
            assert_memory_equal(parts + j * N, again + j * N, CUT * sizeof(double));
    }
    gsl_rng_free(r);
    struct gsl_filter none;
    assert_false(gsl__filter(SPR_GSL_WAVELET_DEFAULT, &none));
}

static void the_bins_of_horizons_have_no_hole(void **state) {
    (void)state;
    for (int32_t h = 1, bin = 0; h < 1 << 20; h++) {
        assert_true(gsl__bin(h) == bin || gsl__bin(h) == bin + 1);
        bin = gsl__bin(h);
        assert_true(gsl__bin_begin(bin) <= h && h < gsl__bin_begin(bin + 1));
    }
}

static void an_autoregression_finds_the_coefficients_it_was_made_with(void **state) {
    (void)state;
    enum { N = 4000 };
    static double x[N];
    static uint8_t mask[N];
    struct gsl_part p = {.lag_count = 3, .lag = {1, 2, 7}};
    gsl_rng *r = dice();
    for (int t = 0; t < N; t++) {
        x[t] = gsl_ran_gaussian(r, 1) + (t < 7 ? 0 : 0.5 * x[t - 1] - 0.3 * x[t - 2] + 0.4 * x[t - 7]);
        mask[t] = GSL_KNOWN;
    }
    gsl__fit_part(x, mask, 7, N, &p);
    assert_float_equal(p.coef[0], 0.5, 0.05);
    assert_float_equal(p.coef[1], -0.3, 0.05);
    assert_float_equal(p.coef[2], 0.4, 0.05);
    gsl_rng_free(r);
}

/* ---- what it foresees ---- */

static double curve(int s, int t) { return 40 + 13 * sin(TURN * t / 24 + s) + 4 * sin(TURN * t / 7.3) + 0.02 * t; }

static void seasons_and_faster_waves_are_followed(void **state) {
    (void)state;
    enum { S = 6, N = 700 };
    static double y[S * N];
    gsl_rng *r = dice();
    double error = 0;
    for (int s = 0; s < S; s++)
        for (int t = 0; t < N; t++)
            y[s * N + t] = curve(s, t) + gsl_ran_gaussian(r, 0.5);
    struct spr_panel p = panel_of(y, S, N, N);
    spr_forecast *f = forecast_of(&p, 24);
    for (int s = 0; s < S; s++)
        for (int h = 0; h < H; h++)
            error += fabs(spr_forecast_points(f)[s * H + h] - curve(s, N + h)) / (S * H);
    assert_true(error < 1.0); /* the second wave alone has a mean size of 2.5 */
    spr_forecast_unref(f);
    gsl_rng_free(r);
}

static void the_quantiles_cover_what_comes(void **state) {
    (void)state;
    enum { S = 100, N = 400 };
    static double y[S * (N + H)];
    gsl_rng *r = dice();
    for (int s = 0; s < S; s++)
        for (int t = 0; t < N + H; t++)
            y[s * (N + H) + t] = (t ? 0.8 * y[s * (N + H) + t - 1] : 0) + gsl_ran_exponential(r, 2);
    struct spr_panel p = panel_of(y, S, N, N + H);
    spr_forecast *f = forecast_of(&p, SPR_NONE);
    const double *levels = spr_forecast_levels(f);
    for (int k = 0; k < L; k++) {
        double below = 0;
        for (int s = 0; s < S; s++)
            for (int h = 0; h < H; h++)
                below += y[s * (N + H) + N + h] <= spr_forecast_quantiles(f)[(s * H + h) * L + k];
        assert_float_equal(below / (S * H), levels[k], 0.06);
    }
    spr_forecast_unref(f);
    gsl_rng_free(r);
}

static void a_lower_bound_can_only_raise_what_is_expected(void **state) {
    (void)state;
    enum { N = 480 };
    double y[N], plain = 0, bounded = 0, truth = 0;
    uint8_t marks[N / 8] = {0};
    for (int t = 0; t < N; t++) {
        double v = 10 + 5 * sin(TURN * t / 24);
        y[t] = t >= 240 && v > 12 ? 12 : v; /* throttled at 12 in the newer half */
        if (t >= 240 && v > 12)
            marks[t / 8] |= (uint8_t)(1 << t % 8);
    }
    struct spr_panel p = panel_of(y, 1, N, N);
    spr_forecast *a = forecast_of(&p, 24);
    p.censored = marks, p.censored_stride = sizeof marks;
    spr_forecast *b = forecast_of(&p, 24);
    for (int h = 0; h < H; h++) {
        assert_true(spr_forecast_points(b)[h] >= spr_forecast_points(a)[h] - 0.05);
        plain = fmax(plain, spr_forecast_points(a)[h]), bounded = fmax(bounded, spr_forecast_points(b)[h]);
        truth = fmax(truth, 10 + 5 * sin(TURN * (N + h) / 24));
    }
    assert_true(plain < 12.7 && bounded > 14 && truth > 14.9);
    spr_forecast_unref(a);
    spr_forecast_unref(b);
}

static void gaps_are_filled_from_the_past(void **state) {
    (void)state;
    enum { N = 600 };
    double y[N], error = 0;
    for (int t = 0; t < N; t++)
        y[t] = t < 5 || (t > 100 && t < 130) || t % 17 == 3 || t >= N - 40 ? NAN : curve(0, t) - 0.02 * t;
    struct spr_panel p = panel_of(y, 1, N, N);
    spr_forecast *f = forecast_of(&p, 24);
    for (int h = 0; h < H; h++)
        error += fabs(spr_forecast_points(f)[h] - 40 - 13 * sin(TURN * (N + h) / 24)) / H;
    assert_true(error < 4); /* the fast wave, whose phase is lost in the gap of 40 steps, has a size of 4 */
    spr_forecast_unref(f);
}

static void the_value_of_this_moment_shifts_the_level(void **state) {
    (void)state;
    enum { N = 300 };
    double y[2 * N], now[2] = {60, NAN};
    for (int i = 0; i < 2 * N; i++)
        y[i] = curve(i / N, i % N);
    struct spr_panel p = panel_of(y, 2, N, N);
    spr_forecaster *f = fitted(&p, 24);
    spr_forecast *a = predict(f, NULL), *b = predict(f, now);
    double shift = 60 - spr_forecast_points(a)[0];
    for (int h = 0; h < H; h++) {
        assert_float_equal(spr_forecast_points(b)[h], spr_forecast_points(a)[h] + shift, 1e-9);
        assert_true(spr_forecast_points(b)[H + h] == spr_forecast_points(a)[H + h]);
    }
    spr_forecast_unref(a);
    spr_forecast_unref(b);
    spr_forecaster_destroy(f);
}

/* ---- awkward panels ---- */

enum { ROWS = 16, STEPS = 340 };
static double awkward[ROWS * STEPS];
static void fill_awkward(void) {
    gsl_rng *r = dice();
    for (int t = 0; t < STEPS; t++) {
        double u = gsl_rng_uniform(r), y = 20.385 + 5.1 * sin(TURN * t / 23.7) + u;
        for (int s = 0; s < ROWS; s++) {
            const double row[ROWS] = {
                y,
                7.25,
                y * 1e12,
                -y,
                t == 100   ? 3.5
                : t == 220 ? 4.25
                           : NAN,
                t == 339 ? 11.5 : NAN,
                t < 300 ? NAN : y,
                t / 30 % 2 ? NAN : y,
                u < 0.97 ? 0 : 1000 * u,
                u < 0.3 ? NAN : y,
                exp(0.08 * t),
                t < 170 ? y : y + 500,
                y * 1e-300,
                1e150 * sin((double)t),
                t == 0 ? 5 : NAN,
                y + (t == 335 ? 1e9 : 0),
            };
            awkward[s * STEPS + t] = row[s];
        }
    }
    gsl_rng_free(r);
}

static void awkward_panels_get_finite_rising_quantiles(void **state) {
    (void)state;
    static const struct spr_gsl_wavelet_opts configs[] = {
        {.size = sizeof *configs},
        {.size = sizeof *configs, .period = SPR_NONE, .scales = SPR_NONE},
        {.size = sizeof *configs, .period = 24, .wavelet = SPR_GSL_WAVELET_BSPLINE3, .scales = 8, .order = 8},
        {.size = sizeof *configs, .period = 5000, .window = 10},
    };
    for (size_t c = 0; c < sizeof configs / sizeof *configs; c++)
        for (int steps = 1; steps <= STEPS; steps = steps < 6                            ? steps + 1
                                                    : steps * 2 > STEPS && steps < STEPS ? STEPS
                                                                                         : steps * 2) {
            static double tail[ROWS * STEPS];
            for (int s = 0; s < ROWS; s++) {
                memcpy(tail + s * steps, awkward + (s + 1) * STEPS - steps, (size_t)steps * sizeof *tail);
                if (isnan(tail[s * steps]))
                    tail[s * steps] = 1; /* no row is empty here */
            }
            struct spr_panel p = panel_of(tail, ROWS, steps, steps);
            spr_forecaster *f = NULL;
            assert_int_equal(make(&configs[c], &f), SPR_OK);
            assert_int_equal(spr_forecaster_fit(f, &p, 0, 0), SPR_OK);
            spr_forecast *out = predict(f, NULL);
            for (int i = 0; i < ROWS * H; i++) {
                assert_true(isfinite(spr_forecast_points(out)[i]));
                for (int k = 0; k < L; k++)
                    assert_true(
                        isfinite(spr_forecast_quantiles(out)[i * L + k]) &&
                        (!k || spr_forecast_quantiles(out)[i * L + k] >= spr_forecast_quantiles(out)[i * L + k - 1]));
            }
            spr_forecast_unref(out);
            spr_forecaster_destroy(f);
        }
}

static void what_is_known_of_awkward_rows_is_kept(void **state) {
    (void)state;
    struct spr_panel p = panel_of(awkward, ROWS, STEPS, STEPS);
    spr_forecast *f = forecast_of(&p, 24);
    const double *y = spr_forecast_points(f);
    for (int h = 0; h < H; h++) {
        assert_true(y[1 * H + h] == 7.25); /* a constant stays what it is */
        assert_true(spr_forecast_quantiles(f)[(H + h) * L + 6] == 7.25);
        assert_float_equal((y[2 * H + h] / 1e12), y[0 * H + h], 1e-6); /* no number is too large */
        assert_float_equal((y[12 * H + h] / 1e-300), y[0 * H + h], 1e-6);
        assert_float_equal(y[3 * H + h], -y[0 * H + h], 1e-6);
        assert_true(y[4 * H + h] == 4.25 && y[5 * H + h] == 11.5 && y[14 * H + h] == 5); /* two points, one point */
        assert_true(y[11 * H + h] > 480 && y[11 * H + h] < 560);                         /* the level is the new one */
    }
    assert_true(spr_forecast_quantiles(f)[5 * H * L + 6] > 11.5);
    spr_forecast_unref(f);
}

static void a_row_without_any_value_is_refused_by_its_number(void **state) {
    (void)state;
    double y[3][40];
    struct spr_error e = {.size = sizeof e};
    spr_forecaster *f = NULL;
    for (int t = 0; t < 40; t++)
        y[0][t] = y[2][t] = t, y[1][t] = NAN;
    struct spr_panel p = panel_of(y[0], 3, 40, 40);
    assert_int_equal(make(NULL, &f), SPR_OK);
    assert_int_equal(spr_forecaster_fit(f, &p, 0, 0), SPR_E_HISTORY);
    assert_int_equal(spr_context_error(ctx, &e), SPR_OK);
    assert_non_null(strstr(e.text, "series 1"));
    spr_forecaster_destroy(f);
}

static void senseless_and_newer_options_are_refused(void **state) {
    (void)state;
    const struct spr_gsl_wavelet_opts bad[] = {
        {.size = 3},
        {.size = sizeof *bad, .period = -3},
        {.size = sizeof *bad, .period = NAN},
        {.size = sizeof *bad, .wavelet = 4},
        {.size = sizeof *bad, .scales = 9},
        {.size = sizeof *bad, .order = 9},
        {.size = sizeof *bad, .reserved = 1},
        {.size = sizeof *bad, .window = -1},
    };
    struct {
        struct spr_gsl_wavelet_opts known;
        int64_t later;
    } newer = {{.size = sizeof newer}, 0};
    spr_forecaster *f = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(make(&bad[i], &f), SPR_E_ARG);
        assert_null(f);
    }
    newer.later = 1;
    assert_int_equal(make(&newer.known, &f), SPR_E_TOO_NEW);
    newer.later = 0;
    assert_int_equal(make(&newer.known, &f), SPR_OK);
    spr_forecaster_destroy(f);
}

/* ---- slices, updates, memory ---- */

static void a_fit_in_slices_is_the_fit(void **state) {
    (void)state;
    struct spr_panel p = panel_of(awkward, ROWS, STEPS, STEPS);
    spr_forecaster *f = NULL;
    int calls = 1, rc;
    assert_int_equal(make(NULL, &f), SPR_OK);
    while ((rc = spr_forecaster_fit(f, &p, 0, 3)) == SPR_AGAIN)
        calls++;
    assert_int_equal(rc, SPR_OK);
    assert_int_equal(calls, (ROWS + 2) / 3);
    spr_forecast *a = predict(f, NULL), *b = forecast_of(&p, 0);
    assert_true(same_bits(a, b));
    assert_int_equal(spr_forecaster_fit(f, &p, 0, 0), SPR_OK); /* and a second fit begins anew */
    spr_forecast *c = predict(f, NULL);
    assert_true(same_bits(a, c));
    spr_forecast_unref(a);
    spr_forecast_unref(b);
    spr_forecast_unref(c);
    spr_forecaster_destroy(f);
}

static void new_steps_one_by_one_are_the_same_as_together(void **state) {
    (void)state;
    struct spr_panel all = panel_of(awkward, 5, 300, STEPS), rest = panel_of(awkward + 300, 5, 40, STEPS);
    spr_forecaster *f = fitted(&all, 24), *g = fitted(&all, 24);
    spr_forecast *before = predict(f, NULL);
    assert_int_equal(spr_forecaster_update(f, &rest), SPR_OK);
    for (int t = 0; t < 40; t++) {
        struct spr_panel one = panel_of(awkward + 300 + t, 5, 1, STEPS);
        assert_int_equal(spr_forecaster_update(g, &one), SPR_OK);
    }
    spr_forecast *a = predict(f, NULL), *b = predict(g, NULL);
    assert_true(same_bits(a, b));
    assert_false(same_bits(a, before));
    assert_int_equal(spr_forecast_first_step(a), 340);
    spr_forecast_unref(a);
    spr_forecast_unref(b);
    spr_forecast_unref(before);
    spr_forecaster_destroy(f);
    spr_forecaster_destroy(g);
}

static int road(spr_context *in, void *arg) {
    struct spr_panel p = panel_of(awkward, 3, 100, STEPS), next = panel_of(awkward + 100, 3, 1, STEPS);
    struct spr_forecaster_opts o = {.size = sizeof o};
    spr_forecaster *f = NULL;
    spr_forecast *out = NULL;
    (void)arg;
    int rc = spr_forecaster_create(in, spr_forecaster_gsl_wavelet(), &o, &f);
    if (rc >= 0)
        rc = spr_forecaster_fit(f, &p, 0, 0);
    if (rc >= 0)
        rc = spr_forecaster_update(f, &next);
    if (rc >= 0)
        rc = spr_forecaster_predict(f, NULL, &out);
    spr_forecast_unref(out);
    spr_forecaster_destroy(f);
    return rc;
}

static int handled;
static void count_errors(const char *reason, const char *file, int line, int code) {
    (void)reason, (void)file, (void)line, (void)code;
    handled++;
}

static void every_allocation_may_fail_and_the_error_handler_of_gsl_never_hears_of_it(void **state) {
    (void)state;
    gsl_error_handler_t *before = gsl_set_error_handler(count_errors);
    assert_true(failing_sweep(road, NULL) > 6);
    awkward_panels_get_finite_rising_quantiles(state);
    assert_ptr_equal(gsl_set_error_handler(before), count_errors); /* nobody put another in its place */
    assert_int_equal(handled, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_scales_sum_to_the_series_and_look_back_only),
        cmocka_unit_test(the_bins_of_horizons_have_no_hole),
        cmocka_unit_test(an_autoregression_finds_the_coefficients_it_was_made_with),
        cmocka_unit_test(seasons_and_faster_waves_are_followed),
        cmocka_unit_test(the_quantiles_cover_what_comes),
        cmocka_unit_test(a_lower_bound_can_only_raise_what_is_expected),
        cmocka_unit_test(gaps_are_filled_from_the_past),
        cmocka_unit_test(the_value_of_this_moment_shifts_the_level),
        cmocka_unit_test(awkward_panels_get_finite_rising_quantiles),
        cmocka_unit_test(what_is_known_of_awkward_rows_is_kept),
        cmocka_unit_test(a_row_without_any_value_is_refused_by_its_number),
        cmocka_unit_test(senseless_and_newer_options_are_refused),
        cmocka_unit_test(a_fit_in_slices_is_the_fit),
        cmocka_unit_test(new_steps_one_by_one_are_the_same_as_together),
        cmocka_unit_test(every_allocation_may_fail_and_the_error_handler_of_gsl_never_hears_of_it),
    };
    fill_awkward();
    return cmocka_run_group_tests(tests, make_context, drop_context);
}
