/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The forecast product, the questions asked of it, and the maker's duties towards strangers' tables. */
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

static const double levels[] = {0.1, 0.5, 0.9, 0.99};
static const double points[] = {2.385, 3.25, 7.5};
static const double quantiles[] = {1.0, 2.0, 4.0, 4.9, 3.0, 2.5, 5.5, 6.0, 7.0, 7.0, 7.0, 7.0};

static spr_forecast *sample(void) {
    spr_forecast *f = NULL;
    assert_int_equal(spr_forecast_create(ctx, 1, 3, 4, levels, 77, points, quantiles, &f), SPR_OK);
    return f;
}

static void a_product_outlives_its_context_and_sorts_crossing_quantiles(void **state) {
    (void)state;
    spr_context *own = NULL;
    spr_forecast *f = NULL;
    assert_int_equal(spr_context_create(NULL, &own), SPR_OK);
    assert_int_equal(spr_forecast_create(own, 1, 3, 4, levels, 77, points, quantiles, &f), SPR_OK);
    spr_context_unref(own);
    assert_int_equal(spr_forecast_first_step(f), 77);
    assert_int_equal(spr_forecast_level_count(f), 4);
    const double *q = spr_forecast_quantiles(f) + 4; /* step 1 was given as 3.0 2.5 5.5 6.0 */
    assert_true(q[0] == 2.5 && q[1] == 3.0 && q[2] == 5.5 && q[3] == 6.0);
    assert_ptr_equal(spr_forecast_ref(f), f);
    spr_forecast_unref(f);
    assert_true(spr_forecast_points(f)[2] == 7.5);
    spr_forecast_unref(f);
    spr_forecast_unref(NULL);
}

static void numbers_that_are_not_finite_are_refused(void **state) {
    (void)state;
    double bad[3] = {1.5, NAN, 2.5}, worse[12];
    spr_forecast *f = NULL;
    struct spr_error e = {.size = sizeof e};
    assert_int_equal(spr_forecast_create(ctx, 1, 3, 4, levels, 0, bad, quantiles, &f), SPR_E_ARG);
    memcpy(worse, quantiles, sizeof worse);
    worse[11] = INFINITY;
    assert_int_equal(spr_forecast_create(ctx, 1, 3, 4, levels, 0, points, worse, &f), SPR_E_ARG);
    assert_null(f);
    assert_int_equal(spr_context_error(ctx, &e), SPR_OK);
    assert_non_null(strstr(e.text, "series 0"));
}

static void levels_must_rise_inside_the_unit_interval(void **state) {
    (void)state;
    const double falling[] = {0.5, 0.1, 0.9, 0.99}, outside[] = {0.1, 0.5, 0.9, 1.0};
    spr_forecast *f = NULL;
    assert_int_equal(spr_forecast_create(ctx, 1, 3, 4, falling, 0, points, quantiles, &f), SPR_E_ARG);
    assert_int_equal(spr_forecast_create(ctx, 1, 3, 4, outside, 0, points, quantiles, &f), SPR_E_ARG);
    assert_int_equal(spr_forecast_create(ctx, 0, 3, 4, levels, 0, points, quantiles, &f), SPR_E_ARG);
    assert_int_equal(spr_forecast_create(NULL, 1, 3, 4, levels, 0, points, quantiles, &f), SPR_E_ARG);
}

static void chances_are_linear_between_levels(void **state) {
    (void)state;
    spr_forecast *f = sample();
    assert_float_equal(spr_forecast_exceeds(f, 0, 0, 2.0), 0.5, 1e-12);
    assert_float_equal(spr_forecast_exceeds(f, 0, 0, 1.25), 0.8, 1e-12);
    assert_float_equal(spr_forecast_exceeds(f, 0, 0, 3.5), 0.2, 1e-12);
    assert_float_equal(spr_forecast_exceeds(f, 0, 0, 4.9), 0.01, 1e-12);
    spr_forecast_unref(f);
}

static void tails_fall_by_the_slope_of_the_outermost_pair(void **state) {
    (void)state;
    spr_forecast *f = sample();
    assert_float_equal(spr_forecast_exceeds(f, 0, 0, 4.95), 0.005, 1e-12); /* 0.1 a unit */
    assert_true(spr_forecast_exceeds(f, 0, 0, 5.01) == 0.0);
    assert_float_equal(spr_forecast_exceeds(f, 0, 0, 0.875), 0.95, 1e-12); /* 0.4 a unit */
    assert_true(spr_forecast_exceeds(f, 0, 0, 0.7) == 1.0);
    /* A certain value: below it sure, above it impossible. */
    assert_true(spr_forecast_exceeds(f, 0, 2, 6.999) == 1.0);
    assert_float_equal(spr_forecast_exceeds(f, 0, 2, 7.0), 0.01, 1e-12);
    assert_true(spr_forecast_exceeds(f, 0, 2, 7.001) == 0.0);
    assert_true(isnan(spr_forecast_exceeds(f, 1, 0, 2.0)));
    assert_true(isnan(spr_forecast_exceeds(f, 0, 3, 2.0)));
    assert_true(isnan(spr_forecast_exceeds(f, 0, 0, NAN)));
    spr_forecast_unref(f);
}

static void the_chance_never_rises_with_the_threshold(void **state) {
    (void)state;
    spr_forecast *f = sample();
    for (int32_t h = 0; h < 3; h++)
        for (double x = -1.0, before = 1.0; x < 9.0; x += 0.0137) {
            double chance = spr_forecast_exceeds(f, 0, h, x);
            assert_true(chance <= before && chance >= 0.0);
            before = chance;
        }
    spr_forecast_unref(f);
}

static void windows_say_when_and_how_many_even_without_room(void **state) {
    (void)state;
    enum { H = 7 };
    /* Two runs above 10: steps 1 and 2, and step 5 up to 6. */
    static const double centre[H] = {5, 11, 12, 6, 6, 13.5, 10.5};
    double p[H], q[H * 2];
    const double two[] = {0.25, 0.75};
    for (int h = 0; h < H; h++)
        p[h] = centre[h], q[2 * h] = centre[h] - 1, q[2 * h + 1] = centre[h] + 1;
    spr_forecast *f = NULL;
    assert_int_equal(spr_forecast_create(ctx, 1, H, 2, two, 0, p, q, &f), SPR_OK);
    struct {
        struct spr_exceedance e;
        int64_t canary;
    } out[2] = {{.canary = 5}, {.canary = 6}};
    size_t n = 2;
    assert_int_equal(spr_forecast_windows(f, 0, 10.0, 0.5, &out[0].e, sizeof out[0], &n), SPR_OK);
    assert_int_equal(n, 2);
    assert_int_equal(out[0].e.onset, 1);
    assert_int_equal(out[0].e.end, 3);
    assert_float_equal(out[0].e.probability, 1.0, 1e-12);
    assert_float_equal(out[0].e.peak, 13.0, 1e-12);
    assert_int_equal(out[1].e.onset, 5);
    assert_int_equal(out[1].e.end, 7);
    assert_int_equal(out[0].canary + out[1].canary, 11);
    n = 1;
    assert_int_equal(spr_forecast_windows(f, 0, 10.0, 0.5, &out[0].e, sizeof out[0], &n), SPR_OK);
    assert_int_equal(n, 2);
    n = 0;
    assert_int_equal(spr_forecast_windows(f, 0, 99.0, 0.5, NULL, 0, &n), SPR_OK);
    assert_int_equal(n, 0);
    n = 2;
    assert_int_equal(spr_forecast_windows(f, 1, 10.0, 0.5, &out[0].e, sizeof out[0], &n), SPR_E_ARG);
    assert_int_equal(spr_forecast_windows(f, 0, 10.0, 0.0, &out[0].e, sizeof out[0], &n), SPR_E_ARG);
    assert_int_equal(spr_forecast_windows(f, 0, 10.0, 0.5, &out[0].e, 8, &n), SPR_E_ARG);
    spr_forecast_unref(f);
}

/* ---- a stranger's table: mean of what it was fitted on; it can be told to misbehave ---- */

static struct {
    int mode, fits, closed;
    int64_t steps, series;
    double mean;
} stranger;

static int stranger_open(const struct spr_forecaster_env *env, void **state) {
    (void)env, (void)state; /* no state at all is allowed */
    return stranger.mode == 1 ? SPR_E_ARG : SPR_OK;
}
static void stranger_close(void *state) {
    (void)state;
    stranger.closed++;
}
static int stranger_fit(void *state, const struct spr_panel *p, int64_t first_step, int64_t budget) {
    double sum = 0;
    (void)state, (void)first_step;
    stranger.fits++;
    if (stranger.mode == 2 && budget == 1)
        return SPR_AGAIN;
    for (int64_t t = 0; t < p->steps; t++)
        sum += spr__panel_value(p, 0, t);
    stranger.steps = p->steps, stranger.series = p->series, stranger.mean = sum / (double)p->steps;
    return stranger.mode == 3 ? -99 : SPR_OK;
}
static int stranger_predict(void *state, const double *now, struct spr_forecaster_output *out) {
    (void)state, (void)now;
    for (int64_t i = 0; i < out->series * 12; i++) {
        out->points[i] = stranger.mean;
        for (int k = 0; k < 7; k++)
            out->quantiles[i * 7 + k] = stranger.mean - k; /* crossing */
    }
    if (stranger.mode == 4)
        out->quantiles[3] = NAN;
    return SPR_OK;
}
static const struct spr_forecaster_ops stranger_ops = {.size = sizeof stranger_ops,
                                                       .name = "stranger",
                                                       .license = "0BSD",
                                                       .open = stranger_open,
                                                       .close = stranger_close,
                                                       .fit = stranger_fit,
                                                       .predict = stranger_predict};

static struct spr_panel panel_of(const double *data, int64_t series, int64_t steps) {
    return (struct spr_panel){.size = sizeof(struct spr_panel),
                              .data = data,
                              .series = series,
                              .steps = steps,
                              .series_stride = steps * (int64_t)sizeof *data,
                              .step_stride = sizeof *data};
}

static void a_table_without_update_is_refitted_on_the_kept_history(void **state) {
    (void)state;
    double first[] = {1.5, 2.5, 3.5, 10.0, 20.0, 30.0}, more[] = {7.25, 40.0};
    struct spr_panel a = panel_of(first, 2, 3), b = panel_of(more, 2, 1);
    spr_forecaster *f = NULL;
    spr_forecast *out = NULL;
    memset(&stranger, 0, sizeof stranger);
    assert_int_equal(spr_forecaster_create(ctx, &stranger_ops, NULL, &f), SPR_OK);
    assert_int_equal(spr_forecaster_predict(f, NULL, &out), SPR_E_STATE);
    assert_int_equal(spr_forecaster_update(f, &b), SPR_E_STATE);
    assert_int_equal(spr_forecaster_fit(f, &a, 100, 0), SPR_OK);
    for (int i = 0; i < 100; i++)
        assert_int_equal(spr_forecaster_update(f, &b), SPR_OK);
    assert_int_equal(stranger.steps, 103);
    assert_int_equal(stranger.fits, 101);
    assert_float_equal(stranger.mean, (1.5 + 2.5 + 3.5 + 725.0) / 103, 1e-9);
    assert_int_equal(spr_forecaster_predict(f, NULL, &out), SPR_OK);
    assert_int_equal(spr_forecast_first_step(out), 203);
    assert_true(spr_forecast_quantiles(out)[0] < spr_forecast_quantiles(out)[6]);
    struct spr_panel three = panel_of(first, 3, 1);
    assert_int_equal(spr_forecaster_update(f, &three), SPR_E_ARG);
    spr_forecast_unref(out);
    spr_forecaster_destroy(f);
    assert_int_equal(stranger.closed, 1);
}

static void a_table_that_misbehaves_is_an_error_with_its_name(void **state) {
    (void)state;
    double data[] = {1.5, 2.5, 3.5};
    struct spr_panel a = panel_of(data, 1, 3);
    struct spr_error e = {.size = sizeof e};
    spr_forecaster *f = NULL;
    spr_forecast *out = NULL;
    memset(&stranger, 0, sizeof stranger);
    stranger.mode = 1;
    assert_int_equal(spr_forecaster_create(ctx, &stranger_ops, NULL, &f), SPR_E_ARG);
    assert_int_equal(stranger.closed, 0);
    stranger.mode = 2;
    assert_int_equal(spr_forecaster_create(ctx, &stranger_ops, NULL, &f), SPR_OK);
    assert_int_equal(spr_forecaster_fit(f, &a, 0, 1), SPR_AGAIN);
    assert_int_equal(spr_forecaster_predict(f, NULL, &out), SPR_E_STATE);
    stranger.mode = 3;
    assert_int_equal(spr_forecaster_fit(f, &a, 0, 0), SPR_E_CALLBACK);
    assert_int_equal(spr_context_error(ctx, &e), SPR_OK);
    assert_non_null(strstr(e.text, "stranger"));
    stranger.mode = 4;
    assert_int_equal(spr_forecaster_fit(f, &a, 0, 0), SPR_OK);
    assert_int_equal(spr_forecaster_predict(f, NULL, &out), SPR_E_CALLBACK);
    assert_null(out);
    spr_forecaster_destroy(f);
    spr_forecaster_destroy(NULL);
}

static void panels_that_cannot_be_read_are_refused(void **state) {
    (void)state;
    double data[] = {1.5, INFINITY, 3.5};
    struct spr_panel a = panel_of(data, 1, 3), none = panel_of(NULL, 1, 3), odd = panel_of(data, 1, 1);
    spr_forecaster *f = NULL;
    assert_int_equal(spr_forecaster_create(ctx, spr_forecaster_seasonal_naive(), NULL, &f), SPR_OK);
    assert_int_equal(spr_forecaster_fit(f, &a, 0, 0), SPR_E_ARG);
    assert_int_equal(spr_forecaster_fit(f, &none, 0, 0), SPR_E_ARG);
    assert_int_equal(spr_forecaster_fit(f, NULL, 0, 0), SPR_E_ARG);
    odd.dtype = 9;
    assert_int_equal(spr_forecaster_fit(f, &odd, 0, 0), SPR_E_ARG);
    odd.dtype = SPR_F64, odd.steps = INT64_MAX / 2;
    assert_int_equal(spr_forecaster_fit(f, &odd, 0, 0), SPR_E_ARG);
    spr_forecaster_destroy(f);
}

static void quantiles_need_no_sorting_and_mind_no_ties(void **state) {
    (void)state;
    static const double wanted[] = {0.001, 0.1, 0.5, 0.9, 0.95, 0.999};
    static double v[5000], sorted[5000];
    double got[6];
    for (int kind = 0; kind < 4; kind++)
        for (int64_t n = 1; n <= 5000; n = n * 3 + 1) {
            for (int64_t i = 0; i < n; i++) {
                double u = spr__rand(4, (uint64_t)kind, (uint64_t)i);
                v[i] = kind == 0 ? u : kind == 1 ? floor(u * 3) : kind == 2 ? (double)i : (double)(i % 7) - u * 1e-9;
            }
            memcpy(sorted, v, sizeof v);
            spr__sort(sorted, n);
            spr__quantiles(v, n, wanted, 6, got);
            for (int k = 0; k < 6; k++)
                assert_true(got[k] == spr__quantile_sorted(sorted, n, wanted[k]));
        }
}

static void builtin_tables_are_found_by_their_names(void **state) {
    (void)state;
    assert_ptr_equal(spr_forecaster_by_name("seasonal-naive"), spr_forecaster_seasonal_naive());
    assert_ptr_equal(spr_forecaster_by_name("holt-winters"), spr_forecaster_holt_winters());
    assert_null(spr_forecaster_by_name("oracle"));
    assert_null(spr_forecaster_by_name(NULL));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_product_outlives_its_context_and_sorts_crossing_quantiles),
        cmocka_unit_test(numbers_that_are_not_finite_are_refused),
        cmocka_unit_test(levels_must_rise_inside_the_unit_interval),
        cmocka_unit_test(chances_are_linear_between_levels),
        cmocka_unit_test(tails_fall_by_the_slope_of_the_outermost_pair),
        cmocka_unit_test(the_chance_never_rises_with_the_threshold),
        cmocka_unit_test(windows_say_when_and_how_many_even_without_room),
        cmocka_unit_test(a_table_without_update_is_refitted_on_the_kept_history),
        cmocka_unit_test(a_table_that_misbehaves_is_an_error_with_its_name),
        cmocka_unit_test(panels_that_cannot_be_read_are_refused),
        cmocka_unit_test(quantiles_need_no_sorting_and_mind_no_ties),
        cmocka_unit_test(builtin_tables_are_found_by_their_names),
    };
    return cmocka_run_group_tests(tests, make_context, drop_context);
}
