/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Training a model across series, and asking it: what it learns, that it is repeatable, awkward series, bad models. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "failing_alloc.h"
#include "forecast/member.h"
#include "forecast/train.h"

enum { SERIES = 12, STEPS = 420, H = 6, HOUR = 3600 };
#define STEP_NS (HOUR * INT64_C(1000000000))
static double values[SERIES][STEPS];

static void fill(void) {
    for (int s = 0; s < SERIES; s++)
        for (int t = 0; t < STEPS; t++)
            values[s][t] = (s + 1) * (10 + 5 * sin(2 * 3.14159265358979 * (t + 3 * s) / 24) +
                                      spr__rand(3, (uint64_t)s, (uint64_t)t));
}

static struct spr_panel panel_of(const double *data, int64_t series, int64_t steps, int64_t room) {
    return (struct spr_panel){.size = sizeof(struct spr_panel),
                              .data = data,
                              .series = series,
                              .steps = steps,
                              .series_stride = room * (int64_t)sizeof *data,
                              .step_stride = sizeof *data};
}

static spr_context *context(const struct spr_executor *e, uint64_t seed) {
    struct spr_context_opts o = {.size = sizeof o, .executor = e, .seed = seed};
    spr_context *ctx = NULL;
    assert_int_equal(spr_context_create(&o, &ctx), 0);
    return ctx;
}

/* A model of one small net; `budget` minibatches at a time. */
static int train(spr_context *ctx, double effort, int64_t budget, spr_model **out) {
    struct spr_trainer_opts o = {
        .size = sizeof o, .step_ns = STEP_NS, .horizon = H, .members = 1, .effort = effort, .context = 48};
    struct spr_panel p = panel_of(values[0], SERIES, STEPS, STEPS);
    spr_trainer *t = NULL;
    fill();
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

static spr_forecaster *ask(spr_context *ctx, const spr_model *m, int32_t horizon) {
    static const double levels[] = {.01, .1, .25, .5, .85, .95, .999};
    struct spr_model_opts config = {.size = sizeof config, .model = m};
    struct spr_forecaster_opts o = {.size = sizeof o,
                                    .step_ns = STEP_NS,
                                    .horizon = horizon,
                                    .level_count = 7,
                                    .levels = levels,
                                    .config = &config};
    spr_forecaster *f = NULL;
    assert_int_equal(spr_forecaster_create(ctx, spr_forecaster_model(), &o, &f), SPR_OK);
    return f;
}

static spr_forecast *answer(spr_forecaster *f, const struct spr_panel *p, const double *now) {
    spr_forecast *out = NULL;
    assert_int_equal(spr_forecaster_fit(f, p, 0, 0), SPR_OK);
    assert_int_equal(spr_forecaster_predict(f, now, &out), SPR_OK);
    return out;
}

static void a_trained_model_beats_the_simple_forecasts_on_what_it_did_not_see(void **state) {
    spr_context *ctx = context(NULL, 1);
    spr_model *m = NULL;
    struct spr_model_info info = {.size = sizeof info};
    (void)state;
    assert_int_equal(train(ctx, .06, 0, &m), SPR_OK);
    assert_int_equal(spr_model_describe(m, &info), 0);
    assert_int_equal(info.horizon, H);
    assert_int_equal(info.level_count, 12);
    assert_int_equal(info.members, 1);
    assert_int_equal(info.newest_step, STEPS);
    assert_true(info.loss > 0 && info.loss < info.naive_loss);
    assert_true(info.coverage95 > .8);
    spr_model_unref(m);
    spr_context_unref(ctx);
}

/* Few whole series, held out, once made a model of long weekly series half as wide again as it had to be. */
static void only_short_series_are_held_out_whole(void **state) {
    enum { WEEK_S = 7 * 86400 };
    static const struct {
        int64_t step_s, length;
        bool whole;
    } cases[] = {{WEEK_S, 1600, false}, {WEEK_S, 300, true}, {300, 288, true}, {300, 1000, true}, {3600, 700, false}};
    spr_context *ctx = context(NULL, 1);
    (void)state;
    for (size_t i = 0; i < SPR_ARRAY_LEN(cases); i++) {
        struct spr__train_series s[2] = {{.n = cases[i].length, .resource = -1}, {.n = 80, .resource = -1}};
        struct spr__train_data data = {.series = s, .count = 1 + (i == 0)};
        struct spr__train_plan plan;
        assert_int_equal(
            spr__train_choose(ctx, &data, SPR_MODEL_NET, cases[i].step_s * INT64_C(1000000000), 13, 0, 0, 1, &plan),
            SPR_OK);
        assert_true(plan.tail_series == cases[i].whole);
        assert_true(plan.tail_series || plan.tail >= 13);
    }
    spr_context_unref(ctx);
}

/* Hours ahead, what does not see the tail is a smaller net that does not answer: asked for three nets, three answer. */
static void the_net_that_is_measured_does_not_count_hours_ahead(void **state) {
    enum { LENGTH = 2016 };
    static double y[LENGTH];
    spr_context *ctx = context(NULL, 1);
    struct spr_trainer_opts o = {
        .size = sizeof o, .step_ns = INT64_C(300000000000), .horizon = 48, .members = 3, .effort = .005};
    struct spr_panel p = {.size = sizeof p, .data = y, .series = 1, .steps = LENGTH};
    struct spr_model_info info = {.size = sizeof info};
    spr_trainer *t = NULL;
    spr_model *m = NULL;
    (void)state;
    for (int i = 0; i < LENGTH; i++)
        y[i] = 100 + 50 * sin(i / 46.) + 10 * spr__rand(1, (uint64_t)i, 0);
    for (int round = 0; round < 2; round++) { /* the second goes on from the first */
        o.start = m;
        assert_int_equal(spr_trainer_create(ctx, &o, &t), SPR_OK);
        assert_int_equal(spr_trainer_add(t, &p, NULL), SPR_OK);
        assert_int_equal(spr_trainer_run(t, 0), SPR_OK);
        spr_model_unref(m);
        assert_int_equal(spr_trainer_finish(t, &m), SPR_OK);
        assert_int_equal(spr_model_describe(m, &info), 0);
        assert_int_equal(info.members, 3);
        assert_true(info.loss > 0 && info.coverage95 > 0);
        spr_trainer_destroy(t);
    }
    spr_model_unref(m);
    spr_context_unref(ctx);
}

/* The net that is measured only comes on top of them. */
static void the_most_nets_that_may_be_asked_for_all_answer(void **state) {
    enum { LENGTH = 2016, MOST = 16 };
    static double y[LENGTH];
    spr_context *ctx = context(NULL, 1);
    struct spr__train_series s = {.n = LENGTH, .resource = -1};
    struct spr__train_data data = {.series = &s, .count = 1};
    struct spr__train_plan plan;
    struct spr_trainer_opts o = {
        .size = sizeof o, .step_ns = INT64_C(300000000000), .horizon = 48, .members = MOST, .effort = .0003};
    struct spr_panel p = {.size = sizeof p, .data = y, .series = 1, .steps = LENGTH};
    struct spr_model_info info = {.size = sizeof info};
    spr_trainer *t = NULL;
    spr_model *m = NULL;
    (void)state;
    assert_int_equal(spr__train_choose(ctx, &data, SPR_MODEL_LSTM, o.step_ns, o.horizon, 0, MOST, 1, &plan), SPR_OK);
    assert_int_equal(plan.members, MOST);
    for (int i = 0; i < LENGTH; i++)
        y[i] = 100 + 50 * sin(i / 46.);
    assert_int_equal(spr_trainer_create(ctx, &o, &t), SPR_OK);
    assert_int_equal(spr_trainer_add(t, &p, NULL), SPR_OK);
    assert_int_equal(spr_trainer_run(t, 0), SPR_OK);
    assert_int_equal(spr_trainer_finish(t, &m), SPR_OK);
    assert_int_equal(spr_model_describe(m, &info), 0);
    assert_int_equal(info.members, MOST);
    spr_trainer_destroy(t);
    spr_model_unref(m);
    spr_context_unref(ctx);
}

static void backwards(void *user, size_t n, void (*fn)(void *arg, size_t i), void *arg) {
    (void)user;
    while (n--)
        fn(arg, n);
}

/* Totals of cores and of bytes, panels without a resource: weighed by their size side by side, cores once were nothing.
 */
static void panels_of_other_units_do_not_drown_each_other(void **state) {
    enum { LENGTH = 2016, ROWS = 6 };
    static double y[ROWS][LENGTH];
    spr_context *ctx = context(NULL, 1);
    struct spr_trainer_opts o = {
        .size = sizeof o, .step_ns = INT64_C(300000000000), .horizon = 6, .members = 1, .effort = .04};
    struct spr_panel p = panel_of(y[0], ROWS, LENGTH, LENGTH);
    struct spr_model_info info = {.size = sizeof info};
    spr_trainer *t = NULL;
    spr_model *m = NULL;
    (void)state;
    assert_int_equal(spr_trainer_create(ctx, &o, &t), SPR_OK);
    for (int panel = 0; panel < 2; panel++) {
        for (int s = 0; s < ROWS; s++)
            for (int i = 0; i < LENGTH; i++)
                y[s][i] = (panel ? 1e10 : 1) * (s + 2) *
                          (10 + 5 * sin((i + 20 * s) / 46.) + spr__rand(2, (uint64_t)s, (uint64_t)i));
        assert_int_equal(spr_trainer_add(t, &p, NULL), SPR_OK);
    }
    int rc;
    while ((rc = spr_trainer_run(t, 0)) == SPR_AGAIN)
        ;
    assert_int_equal(rc, SPR_OK);
    assert_int_equal(spr_trainer_finish(t, &m), SPR_OK);
    assert_int_equal(spr_model_describe(m, &info), 0);
    assert_true(info.loss > 0 && info.loss < 1.2 * info.naive_loss);
    for (int s = 0; s < ROWS; s++) /* and asked by itself it is as sure of cores as of bytes */
        for (int i = 0; i < LENGTH; i++)
            y[s][i] /= 1e10;
    struct spr_model_opts config = {.size = sizeof config, .model = m};
    struct spr_forecaster_opts fo = {
        .size = sizeof fo, .step_ns = INT64_C(300000000000), .horizon = 6, .config = &config};
    spr_forecaster *f = NULL;
    spr_forecast *cores = NULL;
    assert_int_equal(spr_forecaster_create(ctx, spr_forecaster_model(), &fo, &f), SPR_OK);
    cores = answer(f, &p, NULL);
    for (int s = 0; s < ROWS; s++) {
        const double *q = spr_forecast_quantiles(cores) + s * 6 * 7;
        assert_true(q[0] > .5 * y[s][LENGTH - 1] && q[6] < 2 * y[s][LENGTH - 1]);
    }
    spr_forecast_unref(cores);
    spr_forecaster_destroy(f);
    spr_model_unref(m);
    spr_trainer_destroy(t);
    spr_context_unref(ctx);
}

/* Big VMs are drawn more often hours ahead, and count for more a week of hours ahead: against all of their resource. */
static void series_that_come_alone_are_as_large_as_in_one_panel(void **state) {
    enum { LENGTH = 2016, ROWS = 6 };
    static double y[ROWS][LENGTH];
    int32_t resource[ROWS] = {0};
    spr_context *ctx = context(NULL, 1);
    struct spr_trainer_opts o = {
        .size = sizeof o, .step_ns = INT64_C(300000000000), .horizon = 48, .members = 1, .effort = .001};
    (void)state;
    for (int s = 0; s < ROWS; s++)
        for (int i = 0; i < LENGTH; i++)
            y[s][i] = pow(3, s) * (10 + 5 * sin((i + 20 * s) / 46.) + spr__rand(3, (uint64_t)s, (uint64_t)i));
    for (int known = 0; known < 2; known++) {
        const void *bytes[2];
        size_t size[2];
        spr_model *m[2] = {NULL, NULL};
        for (int alone = 0; alone < 2; alone++) {
            spr_trainer *t = NULL;
            assert_int_equal(spr_trainer_create(ctx, &o, &t), SPR_OK);
            for (int s = 0; s < (alone ? ROWS : 1); s++) {
                struct spr_panel p = panel_of(y[s], alone ? 1 : ROWS, LENGTH, LENGTH);
                p.resource = known ? resource : NULL;
                assert_int_equal(spr_trainer_add(t, &p, NULL), SPR_OK);
            }
            assert_int_equal(spr_trainer_run(t, 0), SPR_OK);
            assert_int_equal(spr_trainer_finish(t, &m[alone]), SPR_OK);
            bytes[alone] = spr_model_bytes(m[alone], &size[alone]);
            spr_trainer_destroy(t);
        }
        assert_int_equal(size[0], size[1]);
        assert_memory_equal(bytes[0], bytes[1], size[0]);
        spr_model_unref(m[0]);
        spr_model_unref(m[1]);
    }
    spr_context_unref(ctx);
}

/* A VM never seen is taken for one of its resource. */
static void a_panel_says_what_its_rows_are(void **state) {
    static const int32_t resource[2] = {SPR_CPU, SPR_MEMORY};
    static double y[2][STEPS], nothing[2][4];
    spr_context *ctx = context(NULL, 1);
    struct spr_trainer_opts o = {
        .size = sizeof o, .step_ns = STEP_NS, .horizon = H, .members = 1, .effort = .01, .context = 48};
    struct spr_panel p = panel_of(y[0], 2, STEPS, STEPS), none = panel_of(nothing[0], 2, 4, 4);
    spr_trainer *t = NULL;
    spr_model *m = NULL;
    (void)state;
    fill();
    for (int i = 0; i < STEPS; i++)
        y[0][i] = values[0][i], y[1][i] = 1e9 * values[1][i];
    for (int i = 0; i < 4; i++)
        nothing[0][i] = nothing[1][i] = NAN;
    p.resource = none.resource = resource;
    assert_int_equal(spr_trainer_create(ctx, &o, &t), SPR_OK);
    assert_int_equal(spr_trainer_add(t, &p, NULL), SPR_OK);
    assert_int_equal(spr_trainer_run(t, 0), SPR_OK);
    assert_int_equal(spr_trainer_finish(t, &m), SPR_OK);
    spr_forecaster *f = ask(ctx, m, H);
    spr_forecast *cold = answer(f, &none, NULL);
    for (int h = 0; h < H; h++) {
        assert_true(spr_forecast_points(cold)[h] < 20);
        assert_true(spr_forecast_points(cold)[H + h] > 1e9);
    }
    spr_forecast_unref(cold);
    spr_forecaster_destroy(f);
    spr_model_unref(m);
    spr_trainer_destroy(t);
    spr_context_unref(ctx);
}

static void models_are_the_same_bytes_for_any_order_of_work_and_any_budget(void **state) {
    struct spr_executor e = {sizeof e, backwards, 2, 0, NULL};
    spr_context *ctx[4] = {context(NULL, 5), context(&e, 5), context(NULL, 5), context(NULL, 6)};
    spr_model *m[4] = {NULL};
    size_t n[4];
    (void)state;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(train(ctx[i], .003, i == 2 ? 1 : 0, &m[i]), SPR_OK);
        spr_model_bytes(m[i], &n[i]);
    }
    assert_true(n[0] == n[1] && n[0] == n[2] && n[0] == n[3]);
    assert_memory_equal(spr_model_bytes(m[0], NULL), spr_model_bytes(m[1], NULL), n[0]);
    assert_memory_equal(spr_model_bytes(m[0], NULL), spr_model_bytes(m[2], NULL), n[0]);
    assert_memory_not_equal(spr_model_bytes(m[0], NULL), spr_model_bytes(m[3], NULL), n[0]);
    for (int i = 0; i < 4; i++) {
        spr_model_unref(m[i]);
        spr_context_unref(ctx[i]);
    }
}

static void updates_answer_what_one_longer_history_answers(void **state) {
    spr_context *ctx = context(NULL, 1);
    spr_model *m = NULL;
    (void)state;
    assert_int_equal(train(ctx, .003, 0, &m), SPR_OK);
    struct spr_panel all = panel_of(values[0], SERIES, 300, STEPS), first = panel_of(values[0], SERIES, 180, STEPS);
    spr_forecaster *f = ask(ctx, m, H), *g = ask(ctx, m, H);
    spr_forecast *a = answer(f, &all, NULL), *b = NULL;
    assert_int_equal(spr_forecaster_fit(g, &first, 0, 0), SPR_OK);
    for (int t = 180; t < 300; t += 8) {
        struct spr_panel more = panel_of(&values[0][t], SERIES, 8, STEPS);
        assert_int_equal(spr_forecaster_update(g, &more), SPR_OK);
    }
    assert_int_equal(spr_forecaster_predict(g, NULL, &b), SPR_OK);
    assert_int_equal(spr_forecast_first_step(a), 300);
    assert_int_equal(spr_forecast_first_step(b), 300);
    assert_memory_equal(spr_forecast_quantiles(a), spr_forecast_quantiles(b), sizeof(double) * SERIES * H * 7);
    spr_forecast_unref(a), spr_forecast_unref(b);
    spr_forecaster_destroy(f), spr_forecaster_destroy(g);
    spr_model_unref(m);
    spr_context_unref(ctx);
}

/* Gaps, constants, two points, 1e12 and 1e148, negative values, nothing at all: an answer, and no crossing. */
static void awkward_series_get_a_sensible_answer(void **state) {
    enum { N = 200, ROWS = 9 };
    static double y[ROWS][N];
    double now[ROWS];
    spr_context *ctx = context(NULL, 1);
    spr_model *m = NULL;
    (void)state;
    assert_int_equal(train(ctx, .003, 0, &m), SPR_OK);
    for (int t = 0; t < N; t++) {
        double v = 10 + sin(t / 4.0);
        y[0][t] = t % 3 ? NAN : v, y[1][t] = 7, y[2][t] = t < N - 2 ? NAN : v, y[3][t] = 1e12 * v;
        y[4][t] = -v, y[5][t] = NAN, y[6][t] = 1e148 * v, y[7][t] = 0, y[8][t] = t == 3 ? 5 : NAN;
    }
    for (int s = 0; s < ROWS; s++)
        now[s] = s % 2 ? NAN : 3;
    for (int pass = 0; pass < 3; pass++) {
        struct spr_panel p = panel_of(pass == 2 ? &y[0][N - 2] : y[0], ROWS, pass == 2 ? 2 : N, N);
        spr_forecaster *f = ask(ctx, m, pass ? H : 1);
        spr_forecast *a = answer(f, &p, pass ? now : NULL);
        const double *q = spr_forecast_quantiles(a);
        for (int i = 0; i < ROWS * (pass ? H : 1); i++)
            for (int k = 0; k < 7; k++) {
                assert_true(isfinite(q[i * 7 + k]) && (!k || q[i * 7 + k - 1] <= q[i * 7 + k]));
                assert_true(q[i * 7 + k] >= 0 || i / (pass ? H : 1) == 4);
            }
        if (!pass) {
            assert_float_equal(spr_forecast_points(a)[1], 7, .5);
            assert_true(spr_forecast_points(a)[3] > 5e12 && spr_forecast_points(a)[3] < 15e12);
            assert_true(spr_forecast_points(a)[4] < -5);
            assert_true(spr_forecast_points(a)[7] < 1);
        }
        spr_forecast_unref(a);
        spr_forecaster_destroy(f);
    }
    spr_model_unref(m);
    spr_context_unref(ctx);
}

static void what_cannot_be_is_refused_by_name(void **state) {
    spr_context *ctx = context(NULL, 1);
    struct spr_trainer_opts o = {.size = sizeof o, .step_ns = STEP_NS, .horizon = H, .members = 99};
    struct spr_panel p = panel_of(values[0], SERIES, STEPS, STEPS), few = panel_of(values[0], SERIES, 9, STEPS);
    spr_trainer *t = NULL;
    spr_model *m = NULL;
    (void)state;
    fill();
    assert_int_equal(spr_trainer_create(ctx, &o, &t), SPR_E_ARG);
    o.members = 1, o.kind = SPR_MODEL_HYBRID + 1;
    assert_int_equal(spr_trainer_create(ctx, &o, &t), SPR_E_ARG);
    o.kind = SPR_MODEL_NET, o.effort = .001;
    assert_int_equal(spr_trainer_create(ctx, &o, &t), SPR_OK);
    assert_int_equal(spr_trainer_finish(t, &m), SPR_E_STATE);
    assert_int_equal(spr_trainer_run(t, 0), SPR_E_HISTORY); /* nothing was added */
    assert_int_equal(spr_trainer_add(t, &few, NULL), SPR_OK);
    assert_int_equal(spr_trainer_run(t, 0), SPR_E_HISTORY); /* too short */
    int32_t resource[SERIES] = {SPR_RESOURCES_MAX};
    struct spr_training_opts bad = {.size = sizeof bad, .resource = resource};
    assert_int_equal(spr_trainer_add(t, &p, &bad), SPR_E_ARG);
    assert_true(spr_trainer_progress(t, NULL) == 0);
    assert_int_equal(spr_trainer_losses(t, NULL), 0);
    assert_int_equal(spr_trainer_losses(NULL, NULL), 0);
    spr_trainer_destroy(t);
    struct spr_forecaster_opts fo = {.size = sizeof fo, .step_ns = STEP_NS, .horizon = H};
    spr_forecaster *f = NULL;
    assert_int_equal(spr_forecaster_create(ctx, spr_forecaster_model(), &fo, &f), SPR_E_ARG); /* no model */
    assert_int_equal(train(ctx, .001, 0, &m), SPR_OK);
    struct spr_model_opts config = {.size = sizeof config, .model = m};
    fo.config = &config, fo.horizon = H + 1; /* further than it was trained for */
    assert_int_equal(spr_forecaster_create(ctx, spr_forecaster_model(), &fo, &f), SPR_E_ARG);
    fo.horizon = H, fo.step_ns = STEP_NS / 2;
    assert_int_equal(spr_forecaster_create(ctx, spr_forecaster_model(), &fo, &f), SPR_E_ARG);
    fo.step_ns = STEP_NS, config.kind = SPR_MODEL_HYBRID;
    assert_int_equal(spr_forecaster_create(ctx, spr_forecaster_model(), &fo, &f), SPR_E_UNSUPPORTED);
    spr_model_unref(m);
    spr_context_unref(ctx);
}

static void no_step_at_or_after_until_is_used(void **state) {
    static double other[SERIES][STEPS];
    spr_context *ctx = context(NULL, 1);
    struct spr_trainer_opts o = {
        .size = sizeof o, .step_ns = STEP_NS, .horizon = H, .members = 1, .effort = .002, .context = 48};
    int64_t until[SERIES];
    spr_model *m[2];
    size_t n[2];
    (void)state;
    fill();
    memcpy(other, values, sizeof other);
    for (int s = 0; s < SERIES; s++) {
        until[s] = 300 + 5 * s;
        for (int64_t t = until[s]; t < STEPS; t++)
            other[s][t] = 1e6 * spr__rand(8, (uint64_t)s, (uint64_t)t);
    }
    for (int i = 0; i < 2; i++) {
        struct spr_panel p = panel_of(i ? other[0] : values[0], SERIES, STEPS, STEPS);
        struct spr_training_opts to = {.size = sizeof to, .until = until};
        spr_trainer *t = NULL;
        assert_int_equal(spr_trainer_create(ctx, &o, &t), SPR_OK);
        assert_int_equal(spr_trainer_add(t, &p, &to), SPR_OK);
        assert_int_equal(spr_trainer_run(t, 0), SPR_OK);
        assert_int_equal(spr_trainer_finish(t, &m[i]), SPR_OK);
        spr_trainer_destroy(t);
        spr_model_bytes(m[i], &n[i]);
    }
    assert_true(n[0] == n[1]);
    assert_memory_equal(spr_model_bytes(m[0], NULL), spr_model_bytes(m[1], NULL), n[0]);
    spr_model_unref(m[0]), spr_model_unref(m[1]);
    spr_context_unref(ctx);
}

/* A payload whose sums are right but whose sizes or numbers are not. */
static void damaged_payloads_are_refused(void **state) {
    spr_context *ctx = context(NULL, 1);
    spr_model *m = NULL, *made = NULL;
    size_t qn, gn;
    struct spr_model_info info = {.size = sizeof info};
    (void)state;
    assert_int_equal(train(ctx, .001, 0, &m), SPR_OK);
    assert_int_equal(spr_model_describe(m, &info), 0);
    const void *net = spr__model_section(m, "QNET", 0, &qn), *glob = spr__model_section(m, "GLOB", 0, &gn);
    unsigned char *q = malloc(qn), *g = malloc(gn);
    for (size_t i = 0; i < 13 * 4; i += 4) { /* every number of the header in turn */
        memcpy(q, net, qn);
        int32_t wild = i % 8 ? INT32_MAX : -3;
        memcpy(q + i, &wild, 4);
        assert_int_equal(spr__qnet_check(ctx, "x", 0, q, qn), SPR_E_CORRUPT);
    }
    memcpy(q, net, qn);
    assert_int_equal(spr__qnet_check(ctx, "x", 0, q, qn), SPR_OK);
    assert_int_equal(spr__qnet_check(ctx, "x", 0, q, qn - 4), SPR_E_CORRUPT);
    float nan = NAN;
    memcpy(q + qn - 4, &nan, 4);
    assert_int_equal(spr__qnet_check(ctx, "x", 0, q, qn), SPR_E_CORRUPT);
    memcpy(g, glob, gn);
    assert_int_equal(spr__global_check(ctx, "x", 0, g, gn), SPR_OK);
    memset(g + 16, 0xff, 4); /* the horizon */
    assert_int_equal(spr__global_check(ctx, "x", 0, g, gn), SPR_E_CORRUPT);
    struct spr__section s[] = {{{'Q', 'N', 'E', 'T'}, 0, q, qn}};
    assert_int_equal(spr__model_make(ctx, &info, s, 1, &made), SPR_E_CORRUPT);
    free(q), free(g);
    spr_model_unref(m);
    spr_context_unref(ctx);
}

static int train_and_ask(spr_context *ctx, void *arg) {
    struct spr_trainer_opts o = {
        .size = sizeof o, .step_ns = STEP_NS, .horizon = H, .members = 1, .effort = 1e-4, .context = 48};
    struct spr_panel p = panel_of(values[0], 3, 160, STEPS);
    spr_trainer *t = NULL;
    spr_model *m = NULL;
    spr_forecaster *f = NULL;
    spr_forecast *out = NULL;
    (void)arg;
    int rc = spr_trainer_create(ctx, &o, &t);
    if (rc == SPR_OK)
        rc = spr_trainer_add(t, &p, NULL);
    if (rc == SPR_OK)
        rc = spr_trainer_run(t, 0);
    if (rc == SPR_OK)
        rc = spr_trainer_finish(t, &m);
    struct spr_model_opts config = {.size = sizeof config, .model = m};
    struct spr_forecaster_opts fo = {.size = sizeof fo, .step_ns = STEP_NS, .horizon = 2, .config = &config};
    if (rc == SPR_OK)
        rc = spr_forecaster_create(ctx, spr_forecaster_model(), &fo, &f);
    if (rc == SPR_OK)
        rc = spr_forecaster_fit(f, &p, 0, 0);
    if (rc == SPR_OK)
        rc = spr_forecaster_predict(f, NULL, &out);
    spr_forecast_unref(out);
    spr_forecaster_destroy(f);
    spr_model_unref(m);
    spr_trainer_destroy(t);
    return rc;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    fill();
    assert_true(failing_sweep(train_and_ask, NULL) > 30);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_trained_model_beats_the_simple_forecasts_on_what_it_did_not_see),
        cmocka_unit_test(only_short_series_are_held_out_whole),
        cmocka_unit_test(the_net_that_is_measured_does_not_count_hours_ahead),
        cmocka_unit_test(the_most_nets_that_may_be_asked_for_all_answer),
        cmocka_unit_test(panels_of_other_units_do_not_drown_each_other),
        cmocka_unit_test(series_that_come_alone_are_as_large_as_in_one_panel),
        cmocka_unit_test(a_panel_says_what_its_rows_are),
        cmocka_unit_test(models_are_the_same_bytes_for_any_order_of_work_and_any_budget),
        cmocka_unit_test(updates_answer_what_one_longer_history_answers),
        cmocka_unit_test(awkward_series_get_a_sensible_answer),
        cmocka_unit_test(what_cannot_be_is_refused_by_name),
        cmocka_unit_test(no_step_at_or_after_until_is_used),
        cmocka_unit_test(damaged_payloads_are_refused),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
