/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Hybrid members: Holt-Winters of a window against plain formulas, and training on top of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "failing_alloc.h"
#include "forecast/member.h"
#include "forecast/window.h"

enum { SERIES = 12, STEPS = 420, DAY = 24, H = 6 };
#define STEP_NS (3600 * INT64_C(1000000000))

/* ---- the base ---- */

struct gains {
    double level, season;
};
static const struct gains seasonal[] = {{.002, .03}, {.002, .2}, {.02, .03}, {.02, .2},
                                        {.1, .03},   {.1, .2},   {.4, .03},  {.4, .2}};
static const struct gains flat[] = {{.02, 0}, {.05, 0}, {.1, 0}, {.2, 0}, {.35, 0}, {.5, 0}, {.75, 0}, {1, 0}};

/* One run as it stands in the book; returns the squared error `lead` steps ahead, base[] what it forecasts. */
static double plain_run(const struct spr__window_spec *spec, const float *z, struct gains g, double *base) {
    static double level[1000], wave[1000];
    int n = spec->context, day = spec->day ? spec->day : 1,
        days = n / day / 2 > 7   ? 7
               : n / day / 2 < 1 ? 1
                                 : n / day / 2;
    int lead = (spec->horizon + 1) / 2, from = spec->day ? days * day : n / 4 > 12 ? 12 : n / 4 < 1 ? 1 : n / 4;
    int most = spec->day ? day : n / 4;
    double start = 0, sum = 0;
    lead = lead > most ? most : lead;
    lead = lead < 1 ? 1 : lead;
    for (int t = 0; t < from; t++)
        start += (double)z[t] / from;
    for (int p = 0; p < day; p++)
        wave[p] = 0;
    for (int t = 0; t < from && spec->day; t++)
        wave[t % day] += ((double)z[t] - start) / days;
    for (int t = 0; t < from; t++)
        level[t] = start;
    for (int t = from; t < n; t++) {
        double s = wave[t % day], e = (double)z[t] - level[t - 1] - s, far = (double)z[t] - s;
        far -= t - lead >= from ? level[t - lead] : start;
        sum += far * far;
        level[t] = level[t - 1] + g.level * e;
        wave[t % day] = s + g.season * e;
    }
    for (int h = 0; h < spec->horizon; h++)
        base[h] = level[n - 1] + wave[(n + h) % day];
    return sum;
}

static void compare(struct spr__window_spec spec, double noise) {
    double y[1000], want[64], best[64], least = INFINITY;
    float base[64];
    int32_t h[64];
    struct spr__window w = {.resource = -1};
    assert_true(spr__window_spec_ok(&spec));
    for (int t = 0; t < spec.context; t++)
        y[t] = 50 + 20 * sin(t / 3.7) + (t > 100 ? 30 : 0) + noise * spr__rand(3, 0, (uint64_t)t);
    for (int i = 0; i < spec.horizon; i++)
        h[i] = i;
    float *memory = malloc(spr__window_floats(&spec) * sizeof *memory);
    float *out = malloc((size_t)(spec.horizon * spr__window_features(&spec)) * sizeof *out);
    spr__window_open(&w, &spec, &spr__net_plain, y, 1, memory);
    spr__window_steps(&w, h, spec.horizon, out, base);
    for (int i = 0; i < 8; i++) {
        double sum = plain_run(&spec, w.z, spec.day ? seasonal[i] : flat[i], want);
        if (sum < least)
            least = sum, memcpy(best, want, sizeof best);
    }
    for (int i = 0; i < spec.horizon; i++)
        assert_float_equal((double)base[i], best[i], 1e-4);
    free(memory), free(out);
}

static void the_base_is_that_of_plain_holt_winters(void **state) {
    struct spr__window_spec spec = {.horizon = 30, .shifts = 1, .stride = 1, .flags = SPR__WINDOW_HYBRID};
    static const struct {
        int32_t context, day;
    } shape[] = {{336, 24}, {347, 24}, {48, 24}, {24, 24}, {700, 24}, {192, 0}, {40, 0}, {3, 0}};
    (void)state;
    for (size_t i = 0; i < SPR_ARRAY_LEN(shape); i++)
        for (int noise = 1; noise <= 100; noise *= 10) {
            spec.context = spec.norm = shape[i].context, spec.day = shape[i].day;
            compare(spec, noise);
        }
}

/* ---- members ---- */

static double values[SERIES][STEPS];

/* A strong season, and at a step of its own each series moves to another level for good. */
static void fill(void) {
    for (int s = 0; s < SERIES; s++)
        for (int t = 0; t < STEPS; t++)
            values[s][t] = (s + 1) * (20 + 8 * sin(2 * 3.14159265358979 * (t + 3 * s) / DAY) +
                                      (t > 120 + 20 * s ? 10 : 0) + 2 * spr__rand(3, (uint64_t)s, (uint64_t)t));
}

static struct spr_panel panel_of(const double *data, int64_t series, int64_t steps) {
    return (struct spr_panel){.size = sizeof(struct spr_panel),
                              .data = data,
                              .series = series,
                              .steps = steps,
                              .series_stride = STEPS * (int64_t)sizeof *data,
                              .step_stride = sizeof *data};
}

static int train(spr_context *ctx, double effort, int32_t members, spr_model **out) {
    struct spr_trainer_opts o = {.size = sizeof o,
                                 .kind = SPR_MODEL_HYBRID,
                                 .step_ns = STEP_NS,
                                 .horizon = H,
                                 .members = members,
                                 .effort = effort,
                                 .context = 72};
    struct spr_panel p = panel_of(values[0], SERIES, STEPS);
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

static spr_context *context(const struct spr_executor *e) {
    struct spr_context_opts o = {.size = sizeof o, .executor = e, .seed = 5};
    spr_context *ctx = NULL;
    assert_int_equal(spr_context_create(&o, &ctx), SPR_OK);
    fill();
    return ctx;
}

static int ask(spr_context *ctx, const spr_model *m, int32_t kind, const struct spr_panel *p, spr_forecast **out) {
    struct spr_model_opts config = {.size = sizeof config, .model = m, .kind = kind};
    struct spr_forecaster_opts o = {.size = sizeof o, .step_ns = STEP_NS, .horizon = H, .config = &config};
    spr_forecaster *f = NULL;
    int rc = spr_forecaster_create(ctx, spr_forecaster_model(), &o, &f);
    if (rc == SPR_OK)
        rc = spr_forecaster_fit(f, p, 0, 0);
    if (rc == SPR_OK)
        rc = spr_forecaster_predict(f, NULL, out);
    spr_forecaster_destroy(f);
    return rc;
}

static void a_hybrid_beats_the_simple_forecasts_where_seasons_shift(void **state) {
    spr_context *ctx = context(NULL);
    spr_model *m = NULL;
    struct spr_model_info info = {.size = sizeof info};
    (void)state;
    assert_int_equal(train(ctx, .06, 1, &m), SPR_OK);
    assert_int_equal(spr_model_describe(m, &info), SPR_OK);
    assert_int_equal(info.kind, SPR_MODEL_HYBRID);
    assert_int_equal(info.members, 1);
    assert_true(info.loss > 0 && info.loss < info.naive_loss);
    spr_model_unref(m);
    spr_context_unref(ctx);
}

static void a_hybrid_reopened_answers_the_same_and_only_as_a_hybrid(void **state) {
    spr_context *ctx = context(NULL);
    spr_model *m[2] = {NULL};
    spr_forecast *a[2] = {NULL}, *none = NULL;
    size_t bytes;
    struct spr_panel p = panel_of(values[0], SERIES, 300);
    (void)state;
    assert_int_equal(train(ctx, .002, 2, &m[0]), SPR_OK);
    const void *image = spr_model_bytes(m[0], &bytes);
    assert_int_equal(spr_model_open(ctx, "copy", image, bytes, 1, &m[1]), SPR_OK);
    for (int i = 0; i < 2; i++)
        assert_int_equal(ask(ctx, m[i], i ? SPR_MODEL_HYBRID : SPR_MODEL_AUTO, &p, &a[i]), SPR_OK);
    assert_memory_equal(spr_forecast_points(a[0]), spr_forecast_points(a[1]), sizeof(double) * SERIES * H);
    assert_int_equal(ask(ctx, m[0], SPR_MODEL_NET, &p, &none), SPR_E_UNSUPPORTED);
    assert_int_equal(ask(ctx, m[0], SPR_MODEL_LSTM, &p, &none), SPR_E_UNSUPPORTED);
    spr_forecast_unref(a[0]), spr_forecast_unref(a[1]);
    spr_model_unref(m[0]), spr_model_unref(m[1]);
    spr_context_unref(ctx);
}

static void backwards(void *user, size_t n, void (*fn)(void *arg, size_t i), void *arg) {
    (void)user;
    while (n--)
        fn(arg, n);
}

static void hybrids_are_the_same_bytes_for_any_order_of_work(void **state) {
    struct spr_executor e = {sizeof e, backwards, 2, 0, NULL};
    spr_context *ctx[2] = {context(NULL), context(&e)};
    spr_model *m[2] = {NULL};
    size_t n[2];
    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(train(ctx[i], .003, 2, &m[i]), SPR_OK);
        spr_model_bytes(m[i], &n[i]);
    }
    assert_true(n[0] == n[1]);
    assert_memory_equal(spr_model_bytes(m[0], NULL), spr_model_bytes(m[1], NULL), n[0]);
    for (int i = 0; i < 2; i++) {
        spr_model_unref(m[i]);
        spr_context_unref(ctx[i]);
    }
}

static void awkward_series_get_finite_answers(void **state) {
    enum { N = 200, ROWS = 9 };
    static double y[ROWS][STEPS];
    spr_context *ctx = context(NULL);
    spr_model *m = NULL;
    (void)state;
    assert_int_equal(train(ctx, .003, 1, &m), SPR_OK);
    for (int t = 0; t < N; t++) {
        double v = 10 + sin(t / 4.0);
        y[0][t] = t % 3 ? NAN : v, y[1][t] = 7, y[2][t] = t < N - 2 ? NAN : v, y[3][t] = 1e12 * v;
        y[4][t] = -v, y[5][t] = NAN, y[6][t] = 1e148 * v, y[7][t] = t == 150 ? 1e140 : 0, y[8][t] = t == 3 ? 5 : NAN;
    }
    for (int from = 0; from < N; from += N - 2) {
        struct spr_panel p = panel_of(&y[0][from], ROWS, N - from);
        spr_forecast *a = NULL;
        assert_int_equal(ask(ctx, m, SPR_MODEL_AUTO, &p, &a), SPR_OK);
        for (int i = 0; i < ROWS * H; i++)
            assert_true(isfinite(spr_forecast_points(a)[i]));
        spr_forecast_unref(a);
    }
    spr_model_unref(m);
    spr_context_unref(ctx);
}

static void a_member_under_the_tag_of_another_kind_is_refused(void **state) {
    spr_context *ctx = context(NULL);
    spr_model *m = NULL;
    size_t n;
    (void)state;
    assert_int_equal(train(ctx, .001, 1, &m), SPR_OK);
    const void *payload = spr__model_section(m, "HYBR", 0, &n);
    assert_non_null(payload);
    assert_null(spr__model_section(m, "QNET", 0, NULL));
    assert_int_equal(spr__hybrid_check(ctx, "x", 0, payload, n), SPR_OK);
    assert_int_equal(spr__qnet_check(ctx, "x", 0, payload, n), SPR_E_CORRUPT);
    assert_int_equal(spr__lstm_check(ctx, "x", 0, payload, n), SPR_E_CORRUPT);
    assert_int_equal(spr__hybrid_check(ctx, "x", 0, payload, n - 4), SPR_E_CORRUPT);
    spr_model_unref(m);
    spr_context_unref(ctx);
}

static int train_and_ask(spr_context *ctx, void *arg) {
    struct spr_panel p = panel_of(values[0], 3, 160);
    spr_model *m = NULL;
    spr_forecast *a = NULL;
    int rc = train(ctx, 1e-4, 1, &m);
    (void)arg;
    if (rc == SPR_OK)
        rc = ask(ctx, m, SPR_MODEL_AUTO, &p, &a);
    spr_forecast_unref(a);
    spr_model_unref(m);
    return rc;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    fill();
    assert_true(failing_sweep(train_and_ask, NULL) > 30);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_base_is_that_of_plain_holt_winters),
        cmocka_unit_test(a_hybrid_beats_the_simple_forecasts_where_seasons_shift),
        cmocka_unit_test(a_hybrid_reopened_answers_the_same_and_only_as_a_hybrid),
        cmocka_unit_test(hybrids_are_the_same_bytes_for_any_order_of_work),
        cmocka_unit_test(awkward_series_get_finite_answers),
        cmocka_unit_test(a_member_under_the_tag_of_another_kind_is_refused),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
