/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Models whose members read the window with LSTM cells: learning, repeatability, levels, damage, memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "failing_alloc.h"
#include "forecast/train_lstm.h"

enum { SERIES = 12, STEPS = 420, H = 6, CONTEXT = 72 };
#define STEP_NS (INT64_C(3600) * INT64_C(1000000000))
static double values[SERIES][STEPS];

static int fill(void **state) {
    (void)state;
    for (int s = 0; s < SERIES; s++)
        for (int t = 0; t < STEPS; t++)
            values[s][t] = (s + 1) * (10 + 5 * sin(2 * 3.14159265358979 * (t + 3 * s) / 24) +
                                      spr__rand(3, (uint64_t)s, (uint64_t)t));
    return 0;
}

static struct spr_panel panel_of(const double *data, int64_t series, int64_t steps) {
    return (struct spr_panel){.size = sizeof(struct spr_panel),
                              .data = data,
                              .series = series,
                              .steps = steps,
                              .series_stride = STEPS * (int64_t)sizeof *data,
                              .step_stride = sizeof *data};
}

static spr_context *context(const struct spr_executor *e, int simd) {
    struct spr_context_opts o = {.size = sizeof o, .executor = e, .seed = 5, .simd = simd};
    spr_context *ctx = NULL;
    assert_int_equal(spr_context_create(&o, &ctx), 0);
    return ctx;
}

static int kind = SPR_MODEL_LSTM, members = 1; /* asked of the trainer */
static const spr_model *start;
static int train(spr_context *ctx, double effort, int64_t budget, int64_t series, int64_t steps, spr_model **out) {
    struct spr_trainer_opts o = {.size = sizeof o,
                                 .step_ns = STEP_NS,
                                 .horizon = H,
                                 .kind = kind,
                                 .members = members,
                                 .effort = effort,
                                 .context = CONTEXT,
                                 .start = start};
    struct spr_panel p = panel_of(values[0], series, steps);
    if (start)
        o.horizon = 0, o.step_ns = 0; /* the model's */
    spr_trainer *t = NULL;
    int rc = spr_trainer_create(ctx, &o, &t);
    if (rc == SPR_OK)
        rc = spr_trainer_add(t, &p, NULL);
    if (rc == SPR_OK)
        do
            rc = spr_trainer_run(t, budget);
        while (rc == SPR_AGAIN);
    if (rc == SPR_OK)
        rc = spr_trainer_finish(t, out);
    spr_trainer_destroy(t);
    return rc;
}

static int ask(spr_context *ctx, const spr_model *m, const struct spr_panel *p, spr_forecast **out) {
    struct spr_model_opts config = {.size = sizeof config, .model = m, .kind = SPR_MODEL_LSTM};
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

static void it_learns_and_says_what_it_is(void **state) {
    spr_context *ctx = context(NULL, SPR_SIMD_AUTO);
    spr_model *m = NULL;
    struct spr_model_info info = {.size = sizeof info};
    (void)state;
    assert_int_equal(train(ctx, .06, 0, SERIES, STEPS, &m), SPR_OK);
    assert_int_equal(spr_model_describe(m, &info), 0);
    assert_int_equal(info.kind, SPR_MODEL_LSTM);
    assert_true(info.loss > 0 && info.loss < info.naive_loss);
    spr_model_unref(m);
    spr_context_unref(ctx);
}

static void backwards(void *user, size_t n, void (*fn)(void *arg, size_t i), void *arg) {
    (void)user;
    while (n--)
        fn(arg, n);
}

static void models_are_the_same_bytes_for_any_order_of_work_and_any_budget(void **state) {
    struct spr_executor e = {sizeof e, backwards, 2, 0, NULL};
    spr_context *ctx[3] = {context(NULL, SPR_SIMD_AUTO), context(&e, SPR_SIMD_AUTO), context(NULL, SPR_SIMD_AUTO)};
    spr_model *m[3] = {NULL};
    size_t n[3];
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(train(ctx[i], .003, i == 2 ? 1 : 0, SERIES, STEPS, &m[i]), SPR_OK);
        spr_model_bytes(m[i], &n[i]);
    }
    assert_true(n[0] == n[1] && n[0] == n[2]);
    assert_memory_equal(spr_model_bytes(m[0], NULL), spr_model_bytes(m[1], NULL), n[0]);
    assert_memory_equal(spr_model_bytes(m[0], NULL), spr_model_bytes(m[2], NULL), n[0]);
    for (int i = 0; i < 3; i++) {
        spr_model_unref(m[i]);
        spr_context_unref(ctx[i]);
    }
}

/* One model asked by every level, alone and in a crowd. */
static void levels_and_neighbours_change_next_to_nothing(void **state) {
    spr_context *ctx = context(NULL, SPR_SIMD_AUTO);
    spr_model *m = NULL;
    spr_forecast *all = NULL;
    struct spr_panel p = panel_of(values[0], SERIES, STEPS);
    (void)state;
    assert_int_equal(train(ctx, .003, 0, SERIES, STEPS, &m), SPR_OK);
    assert_int_equal(ask(ctx, m, &p, &all), SPR_OK);
    for (int s = 0; s < SERIES; s += 5) {
        struct spr_panel one = panel_of(values[s], 1, STEPS);
        spr_forecast *alone = NULL;
        assert_int_equal(ask(ctx, m, &one, &alone), SPR_OK);
        assert_memory_equal(spr_forecast_quantiles(alone), spr_forecast_quantiles(all) + s * H * 7, H * 7 * 8);
        spr_forecast_unref(alone);
    }
    for (int simd = SPR_SIMD_PLAIN; simd < spr_context_simd(ctx); simd++) {
        spr_context *other = context(NULL, simd);
        spr_forecast *f = NULL;
        assert_int_equal(ask(other, m, &p, &f), SPR_OK);
        for (int i = 0; i < SERIES * H * 7; i++)
            assert_true(fabs(spr_forecast_quantiles(f)[i] / spr_forecast_quantiles(all)[i] - 1) < 1e-4);
        spr_forecast_unref(f);
        spr_context_unref(other);
    }
    spr_forecast_unref(all);
    spr_model_unref(m);
    spr_context_unref(ctx);
}

static void awkward_series_get_a_sensible_answer(void **state) {
    static double y[6][STEPS];
    spr_context *ctx = context(NULL, SPR_SIMD_AUTO);
    spr_model *m = NULL;
    spr_forecast *f = NULL;
    struct spr_panel p = panel_of(y[0], 6, STEPS);
    (void)state;
    assert_int_equal(train(ctx, .003, 0, SERIES, STEPS, &m), SPR_OK);
    for (int t = 0; t < STEPS; t++) {
        y[0][t] = 7, y[1][t] = t < STEPS - 2 ? NAN : 3, y[2][t] = 1e148 * (t % 5), y[3][t] = NAN;
        y[4][t] = t == STEPS - 60 ? 1e150 : 1e-140, y[5][t] = t % 3 ? NAN : 5 + t % 24;
    }
    assert_int_equal(ask(ctx, m, &p, &f), SPR_OK);
    for (int i = 0; i < 6 * H * 7; i++)
        assert_true(isfinite(spr_forecast_quantiles(f)[i]) && spr_forecast_quantiles(f)[i] >= 0);
    assert_float_equal(spr_forecast_points(f)[0], 7, .5);
    spr_forecast_unref(f);
    spr_model_unref(m);
    spr_context_unref(ctx);
}

/* The slope by the encoder's state is that of the loss: a step uphill changes it by the slope's square. */
static void the_net_tells_the_encoder_its_slope(void **state) {
    enum { CASES = 16, AHEAD = 4, SUMMARIES = 9, LAST = 5, FEATURES = 3, LEVELS = 3 };
    const struct spr__net_kernels *k = spr__net_kernels_for(SPR_SIMD_PLAIN);
    const struct spr__qnet_shape shape = {SUMMARIES, FEATURES, 16, LEVELS, 1};
    struct spr__qnet_parts parts;
    static float s[CASES * SUMMARIES], d[CASES * AHEAD * FEATURES], base[CASES * AHEAD], target[CASES * AHEAD];
    static float slope[CASES * LAST];
    float weight[CASES], level[LEVELS] = {.1f, .5f, .9f}, even[LEVELS] = {1, 1, 1};
    spr__qnet_layout(&shape, &parts);
    float *w = malloc(sizeof(float) * (size_t)parts.count), *g = malloc(sizeof(float) * (size_t)parts.count);
    float *room = malloc(sizeof(float) * spr__qnet_training_room(&shape, CASES, AHEAD));
    (void)state;
    spr__qnet_init(&shape, 3, w);
    for (int64_t i = 0; i < parts.count; i++) /* the start is so flat that its slope drowns in rounding */
        w[i] *= 3;
    for (int i = 0; i < CASES * AHEAD * FEATURES; i++)
        d[i] = (float)spr__rand(1, 1, (uint64_t)i);
    for (int i = 0; i < CASES * AHEAD; i++)
        target[i] = (float)(9 * spr__rand(1, 2, (uint64_t)i) - 4);
    struct spr__qnet_lesson lesson = {.kernels = k,
                                      .cases = CASES,
                                      .steps = AHEAD,
                                      .summaries = s,
                                      .features = d,
                                      .base = base,
                                      .target = target,
                                      .weight = weight,
                                      .level_weight = even,
                                      .levels = level,
                                      .last = LAST,
                                      .last_slope = slope,
                                      .scale = 1};
    double loss[2], square = 0;
    for (int i = 0; i < CASES * SUMMARIES; i++)
        s[i] = (float)(2 * spr__rand(1, 3, (uint64_t)i) - 1), weight[i / SUMMARIES] = 1;
    spr__qnet_learn(&shape, w, &lesson, room, g);
    static float uphill[CASES * LAST];
    memcpy(uphill, slope, sizeof uphill);
    for (int i = 0; i < CASES * LAST; i++)
        square += (double)uphill[i] * (double)uphill[i];
    assert_true(square > .1);
    for (int way = 0; way < 2; way++) {
        for (int c = 0; c < CASES; c++)
            for (int i = 0; i < LAST; i++) {
                int at = c * SUMMARIES + SUMMARIES - LAST + i;
                s[at] = (float)(2 * spr__rand(1, 3, (uint64_t)at) - 1 +
                                (way ? 1e-4 : -1e-4) * (double)uphill[c * LAST + i]);
            }
        loss[way] = spr__qnet_learn(&shape, w, &lesson, room, g);
    }
    assert_float_equal((loss[1] - loss[0]) / 2e-4, square, .03 * square);
    free(w), free(g), free(room);
}

/* "auto" trains one besides the nets; it is in the model or not, as the held-out tail says. */
static void on_trial_it_stays_or_goes(void **state) {
    spr_context *ctx = context(NULL, SPR_SIMD_AUTO);
    spr_model *m = NULL;
    struct spr_model_info info = {.size = sizeof info};
    (void)state;
    kind = SPR_MODEL_AUTO, members = 0;
    int rc = train(ctx, .002, 0, SERIES, STEPS, &m);
    kind = SPR_MODEL_LSTM, members = 1;
    assert_int_equal(rc, SPR_OK);
    assert_int_equal(spr_model_describe(m, &info), 0);
    bool stays = spr__model_section(m, "LSTM", 0, NULL);
    assert_int_equal(info.kind, stays ? SPR_MODEL_AUTO : SPR_MODEL_NET);
    assert_null(spr__model_section(m, "LSTM", 1, NULL));
    assert_null(spr__model_section(m, "QNET", (uint32_t)(info.members - stays), NULL));
    assert_non_null(spr__model_section(m, "QNET", (uint32_t)(info.members - stays - 1), NULL));
    assert_true((strstr(info.text, "LSTM x 1") != NULL) == stays);
    spr_model_unref(m);
    spr_context_unref(ctx);
}

static void unfolding_undoes_folding(void **state) {
    const struct spr__qnet_shape shape = {7, 5, 8, 3, 1};
    struct spr__qnet_parts p;
    float w[512], was[512];
    double mean[7], sd[7];
    (void)state;
    spr__qnet_layout(&shape, &p);
    assert_true(p.count <= 512);
    spr__qnet_init(&shape, 4, w);
    for (int i = 0; i < 7; i++)
        mean[i] = 4 * spr__rand(2, 1, (uint64_t)i) - 2, sd[i] = .05 + 3 * spr__rand(2, 2, (uint64_t)i);
    memcpy(was, w, sizeof w);
    spr__qnet_fold(&shape, w, mean, sd, mean, sd);
    assert_memory_not_equal(w, was, sizeof *w * (size_t)p.count);
    spr__qnet_unfold(&shape, w, mean, sd, mean, sd);
    for (int64_t i = 0; i < p.count; i++)
        assert_true(fabsf(w[i] - was[i]) < 1e-5f);
}

/* A handful of small steps from a model end near it; many of them learn what has changed. */
static void training_goes_on_where_a_model_ended(void **state) {
    spr_context *ctx = context(NULL, SPR_SIMD_AUTO);
    spr_model *m = NULL, *near = NULL, *tuned = NULL;
    spr_forecast *a = NULL, *b = NULL;
    struct spr_model_info info = {.size = sizeof info}, later = info;
    struct spr_panel p = panel_of(values[0], SERIES, STEPS);
    (void)state;
    assert_int_equal(train(ctx, .03, 0, SERIES, STEPS, &m), SPR_OK);
    start = m;
    int rc = train(ctx, 1e-6, 0, SERIES, STEPS, &near);
    for (int s = 0; s < SERIES; s++) /* nights become days */
        for (int t = 0; t < STEPS; t++)
            values[s][t] = (s + 1) * (10 + 5 * fabs(sin(2 * 3.14159265358979 * (t + 3 * s) / 24)));
    int rc2 = train(ctx, 1e-6, 0, SERIES, STEPS, &tuned);
    assert_int_equal(rc2, SPR_OK);
    assert_int_equal(spr_model_describe(tuned, &info), 0);
    spr_model_unref(tuned);
    rc2 = train(ctx, .2, 0, SERIES, STEPS, &tuned);
    start = NULL, fill(NULL);
    assert_int_equal(rc, SPR_OK);
    assert_int_equal(rc2, SPR_OK);
    assert_int_equal(spr_model_describe(tuned, &later), 0);
    assert_true(later.loss < .9 * info.loss);
    assert_int_equal(ask(ctx, m, &p, &a), SPR_OK);
    assert_int_equal(ask(ctx, near, &p, &b), SPR_OK);
    for (int i = 0; i < SERIES * H; i++)
        if (!(fabs(spr_forecast_points(b)[i] / spr_forecast_points(a)[i] - 1) < .1))
            fail_msg("%d: %g, was %g", i, spr_forecast_points(b)[i], spr_forecast_points(a)[i]);
    struct spr_trainer_opts o = {.size = sizeof o, .start = m, .horizon = H + 1};
    spr_trainer *t = NULL;
    assert_int_equal(spr_trainer_create(ctx, &o, &t), SPR_E_ARG);
    spr_forecast_unref(a), spr_forecast_unref(b);
    spr_model_unref(m), spr_model_unref(near), spr_model_unref(tuned);
    spr_context_unref(ctx);
}

static void damaged_payloads_are_refused(void **state) {
    spr_context *ctx = context(NULL, SPR_SIMD_AUTO);
    spr_model *m = NULL;
    size_t n;
    (void)state;
    assert_int_equal(train(ctx, .001, 0, SERIES, STEPS, &m), SPR_OK);
    const void *section = spr__model_section(m, "LSTM", 0, &n);
    assert_non_null(section);
    unsigned char *q = malloc(n);
    for (size_t i = 0; i < sizeof(struct spr__qnet_header); i += 4) { /* every number of the header in turn */
        memcpy(q, section, n);
        int32_t wild = i % 8 ? INT32_MAX : -3;
        memcpy(q + i, &wild, 4);
        assert_int_equal(spr__lstm_check(ctx, "x", 0, q, n), SPR_E_CORRUPT);
    }
    memcpy(q, section, n);
    assert_int_equal(spr__lstm_check(ctx, "x", 0, q, n), SPR_OK);
    assert_int_equal(spr__lstm_check(ctx, "x", 0, q, n - 4), SPR_E_CORRUPT);
    assert_int_equal(spr__qnet_check(ctx, "x", 0, q, n), SPR_E_CORRUPT); /* under the wrong tag */
    float nan = NAN;
    memcpy(q + n - 4, &nan, 4);
    assert_int_equal(spr__lstm_check(ctx, "x", 0, q, n), SPR_E_CORRUPT);
    free(q);
    spr_model_unref(m);
    spr_context_unref(ctx);
}

static int train_and_ask(spr_context *ctx, void *arg) {
    spr_model *m = NULL;
    spr_forecast *f = NULL;
    struct spr_panel p = panel_of(values[0], 3, 160);
    (void)arg;
    int rc = train(ctx, 1e-4, 0, 3, 160, &m);
    if (rc == SPR_OK)
        rc = ask(ctx, m, &p, &f);
    spr_forecast_unref(f);
    spr_model_unref(m);
    return rc;
}
static void every_allocation_may_fail(void **state) {
    (void)state;
    assert_true(failing_sweep(train_and_ask, NULL) > 30);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_learns_and_says_what_it_is),
        cmocka_unit_test(models_are_the_same_bytes_for_any_order_of_work_and_any_budget),
        cmocka_unit_test(levels_and_neighbours_change_next_to_nothing),
        cmocka_unit_test(awkward_series_get_a_sensible_answer),
        cmocka_unit_test(the_net_tells_the_encoder_its_slope),
        cmocka_unit_test(on_trial_it_stays_or_goes),
        cmocka_unit_test(unfolding_undoes_folding),
        cmocka_unit_test(training_goes_on_where_a_model_ended),
        cmocka_unit_test(damaged_payloads_are_refused),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
