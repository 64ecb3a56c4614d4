/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Conformal correction restores coverage where load drifts, and does no harm where it does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "failing_alloc.h"
#include "forecast/forecast.h"

#define HOUR INT64_C(3600000000000)
enum { H = 6, K = 7, SERIES = 12, STEPS = 900, FROM = 480 };

static double noise(int s, int t) {
    return spr__normal_quantile(spr__rand(21, (uint64_t)s, (uint64_t)t) * (1 - 1e-9) + 5e-10);
}

enum kind { STATIONARY, WIDER, TREND, SHIFT, KINDS };
static const char *const kind_name[] = {"stationary", "spread triples", "trend sets in", "level shift"};
static double value(enum kind k, int s, int t) {
    double wave = 20 + 5 * sin(6.28318530717959 * t / 24 + s), after = t > FROM ? t - FROM : 0;
    switch (k) {
    case WIDER: /* within 150 steps, and stays */
        return wave + (1 + 2 * fmin(1, after / 150)) * noise(s, t);
    case TREND:
        return wave + noise(s, t) + 0.1 * after;
    case SHIFT:
        return wave + noise(s, t) + (t > FROM + 30 ? 15 : 0);
    default:
        return wave + noise(s, t);
    }
}

struct score {
    double loss, above; /* mean pinball loss, share at or below the 0.95 quantile */
};

static struct score rolling(const struct spr_forecaster_ops *ops, const void *config, const double *y) {
    spr_context *ctx = NULL;
    spr_forecaster *f = NULL;
    struct spr_forecaster_opts o = {.size = sizeof o, .step_ns = HOUR, .horizon = H, .config = config};
    struct spr_panel head = {.size = sizeof head,
                             .data = y,
                             .dtype = SPR_F64,
                             .series = SERIES,
                             .steps = FROM,
                             .series_stride = STEPS * sizeof *y,
                             .step_stride = sizeof *y};
    struct score out = {0, 0};
    int64_t n = 0;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    assert_int_equal(spr_forecaster_create(ctx, ops, &o, &f), SPR_OK);
    assert_int_equal(spr_forecaster_fit(f, &head, 0, 0), SPR_OK);
    for (int64_t t = FROM; t + H <= STEPS; t++) {
        struct spr_panel one = head;
        if (t % 4 == 0) {
            spr_forecast *said = NULL;
            assert_int_equal(spr_forecaster_predict(f, NULL, &said), SPR_OK);
            const double *q = spr_forecast_quantiles(said), *level = spr_forecast_levels(said);
            for (int64_t i = 0; i < SERIES * H; i++, n++) {
                double came = y[i / H * STEPS + t + i % H];
                out.above += came <= q[i * K + 5];
                for (int k = 0; k < K; k++) {
                    double d = came - q[i * K + k];
                    out.loss += (d > 0 ? level[k] * d : (level[k] - 1) * d) / K;
                    assert_true(k == 0 || q[i * K + k] >= q[i * K + k - 1]);
                }
            }
            spr_forecast_unref(said);
        }
        one.data = y + t, one.steps = 1;
        assert_int_equal(spr_forecaster_update(f, &one), SPR_OK);
    }
    spr_forecaster_destroy(f);
    spr_context_unref(ctx);
    return (struct score){out.loss / (double)n, out.above / (double)n};
}

/* Seasonal naive keeps the spread of two weeks; Holt-Winters that of its fit. */
static void coverage_comes_back_where_load_drifts(void **state) {
    (void)state;
    static double y[SERIES * STEPS];
    const struct spr_forecaster_ops *inner[] = {spr_forecaster_holt_winters(), spr_forecaster_seasonal_naive()};
    for (int m = 0; m < 2; m++)
        for (int k = 0; k < KINDS; k++) {
            struct spr_calibrated_opts adaptive = {.size = sizeof adaptive, .inner = inner[m]}, split = adaptive;
            split.method = SPR_CALIBRATED_SPLIT;
            for (int i = 0; i < SERIES * STEPS; i++)
                y[i] = value((enum kind)k, i / STEPS, i % STEPS);
            struct score a = rolling(inner[m], NULL, y), b = rolling(spr_forecaster_calibrated(), &adaptive, y),
                         c = rolling(spr_forecaster_calibrated(), &split, y);
            print_message("%-14s %-14s covers 0.95: %.3f alone, %.3f adaptive, %.3f split; loss x %.3f, x %.3f\n",
                          inner[m]->name, kind_name[k], a.above, b.above, c.above, b.loss / a.loss, c.loss / a.loss);
            assert_true(b.loss / a.loss < 1.03); /* no harm */
            assert_true(fabs(b.above - 0.95) < fmax(fabs(a.above - 0.95), 0.025) + 0.005);
            if (k == STATIONARY)
                assert_true(c.loss / a.loss < 1.04 && fabs(c.above - 0.95) < 0.03);
        }
}

static int all_of_it(spr_context *ctx, void *arg) {
    struct spr_calibrated_opts c = {
        .size = sizeof c, .inner = spr_forecaster_seasonal_naive(), .method = *(const int32_t *)arg};
    struct spr_forecaster_opts o = {.size = sizeof o, .step_ns = 6 * HOUR, .horizon = 3, .config = &c};
    spr_forecaster *f = NULL;
    spr_forecast *said = NULL;
    double y[2 * 60];
    for (int i = 0; i < 120; i++)
        y[i] = i == 7 ? NAN : 5 + noise(1, i);
    struct spr_panel p = {.size = sizeof p,
                          .data = y,
                          .dtype = SPR_F64,
                          .series = 2,
                          .steps = 58,
                          .series_stride = 60 * sizeof *y,
                          .step_stride = sizeof *y};
    int rc = spr_forecaster_create(ctx, spr_forecaster_calibrated(), &o, &f);
    if (rc == SPR_OK)
        rc = spr_forecaster_fit(f, &p, 0, 0);
    p.data = y + 58, p.steps = 2;
    if (rc == SPR_OK && (rc = spr_forecaster_update(f, &p)) < 0 && spr_forecaster_predict(f, NULL, &said) == SPR_OK)
        rc = SPR_E_STATE; /* half of it was taken: nothing may be said */
    if (rc == SPR_OK)
        rc = spr_forecaster_predict(f, NULL, &said);
    spr_forecast_unref(said);
    spr_forecaster_destroy(f);
    return rc;
}
static void memory_may_fail_anywhere(void **state) {
    (void)state;
    int32_t adaptive = SPR_CALIBRATED_ADAPTIVE, split = SPR_CALIBRATED_SPLIT;
    assert_true(failing_sweep(all_of_it, &adaptive) > 20);
    assert_true(failing_sweep(all_of_it, &split) > 20);
}

static void senseless_options_are_refused(void **state) {
    (void)state;
    struct spr_calibrated_opts c = {.size = sizeof c, .method = 2};
    struct spr_forecaster_opts o = {.size = sizeof o, .config = &c};
    spr_context *ctx = NULL;
    spr_forecaster *f = NULL;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    assert_int_equal(spr_forecaster_create(ctx, spr_forecaster_calibrated(), &o, &f), SPR_E_ARG);
    c.method = 0, c.rate = 2;
    assert_int_equal(spr_forecaster_create(ctx, spr_forecaster_calibrated(), &o, &f), SPR_E_ARG);
    assert_null(f);
    assert_ptr_equal(spr_forecaster_by_name("calibrated"), spr_forecaster_calibrated());
    spr_context_unref(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(coverage_comes_back_where_load_drifts),
        cmocka_unit_test(memory_may_fail_anywhere),
        cmocka_unit_test(senseless_options_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
