/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A trained model as one more expert of the mix. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "failing_alloc.h"
#include "forecast/answer.h"
#include "forecast/mix.h"

enum { SERIES = 3, STEPS = 160, ROOM = 240, H = 5, LEVELS = 3 };
static const double levels[LEVELS] = {.1, .5, .9};
static double values[SERIES][ROOM];
static const int32_t *resources; /* of the rows, or NULL */

static void fill(void) {
    for (int s = 0; s < SERIES; s++)
        for (int t = 0; t < ROOM; t++)
            values[s][t] = 5 + 3 * (t % (7 + s) < 3) + spr__rand(3, (uint64_t)s, (uint64_t)t);
}

static struct spr_panel panel_of(int64_t first, int64_t steps) {
    return (struct spr_panel){.size = sizeof(struct spr_panel),
                              .data = &values[0][first],
                              .series = SERIES,
                              .steps = steps,
                              .series_stride = sizeof values[0],
                              .step_stride = sizeof values[0][0],
                              .resource = resources};
}

static int train(spr_context *ctx, int64_t step_ns, int64_t steps, int32_t horizon, double effort, spr_model **out) {
    struct spr_trainer_opts o = {.size = sizeof o,
                                 .step_ns = step_ns,
                                 .horizon = horizon,
                                 .levels = levels,
                                 .level_count = LEVELS,
                                 .members = 1,
                                 .context = 20,
                                 .effort = effort};
    struct spr_panel p = panel_of(0, steps);
    spr_trainer *t = NULL;
    int rc = spr_trainer_create(ctx, &o, &t);
    rc = rc < 0 ? rc : spr_trainer_add(t, &p, NULL);
    rc = rc < 0 ? rc : spr_trainer_run(t, 0);
    rc = rc < 0 ? rc : spr_trainer_finish(t, out);
    spr_trainer_destroy(t);
    return rc;
}

static spr_context *ctx;
static spr_model *model, *poor; /* well trained, and hardly */
static int make_all(void **state) {
    (void)state;
    fill();
    return spr_context_create(NULL, &ctx) < 0 || train(ctx, 0, STEPS, H - 1, .2, &model) < 0
               ? -1
               : train(ctx, 0, STEPS, H - 1, .001, &poor);
}
static int drop_all(void **state) {
    (void)state;
    spr_model_unref(model);
    spr_model_unref(poor);
    spr_context_unref(ctx);
    return 0;
}

static int mix(spr_context *c, const spr_model *m, int32_t horizon, int64_t step_ns, spr_forecaster **out) {
    struct spr_mix_opts config = {.size = sizeof config, .model = m};
    struct spr_forecaster_opts o = {.size = sizeof o,
                                    .step_ns = step_ns,
                                    .horizon = horizon,
                                    .levels = levels,
                                    .level_count = LEVELS,
                                    .config = &config};
    return spr_forecaster_create(c, spr_forecaster_mix(), &o, out);
}

static double unheard[SERIES][H][LEVELS]; /* what the last answer would have been without the model */

/* Quantiles after history and `updates` steps one by one, each asked twice in between. */
static int answers(spr_context *c, const spr_model *m, int64_t updates, bool curious, double *out) {
    spr_forecaster *f = NULL;
    spr_forecast *said = NULL;
    struct spr_panel past = panel_of(0, STEPS);
    double now[SERIES];
    int rc = mix(c, m, H, 0, &f);
    rc = rc < 0 ? rc : spr_forecaster_fit(f, &past, 0, 0);
    for (int64_t t = STEPS; t < STEPS + updates && rc == SPR_OK; t++) {
        for (int s = 0; s < SERIES; s++)
            now[s] = curious ? 100 : NAN; /* the running step looked quite different for a while */
        if (curious && (rc = spr_forecaster_predict(f, now, &said)) == SPR_OK)
            spr_forecast_unref(said);
        struct spr_panel one = panel_of(t, 1);
        rc = rc < 0 ? rc : spr_forecaster_update(f, &one);
    }
    for (int s = 0; s < SERIES; s++)
        now[s] = values[s][STEPS + updates];
    rc = rc < 0 ? rc : spr_forecaster_predict(f, now, &said);
    if (rc == SPR_OK) {
        const double *plain = spr__forecaster_without_model(f);
        memcpy(out, spr_forecast_quantiles(said), SERIES * H * LEVELS * sizeof *out);
        if (plain)
            memcpy(unheard, plain, sizeof unheard);
        assert_int_equal(!plain, !m);
        spr_forecast_unref(said);
    }
    spr_forecaster_destroy(f);
    return rc;
}

static void a_model_speaks_once_it_has_proved_better(void **state) {
    (void)state;
    double with[SERIES][H][LEVELS], without[SERIES][H][LEVELS];
    assert_int_equal(answers(ctx, model, 20, false, &with[0][0][0]), SPR_OK);
    assert_int_equal(answers(ctx, NULL, 20, false, &without[0][0][0]), SPR_OK);
    assert_memory_equal(with, without, sizeof with); /* twenty steps prove nothing */
    assert_int_equal(answers(ctx, model, 70, false, &with[0][0][0]), SPR_OK);
    assert_int_equal(answers(ctx, NULL, 70, false, &without[0][0][0]), SPR_OK);
    assert_memory_equal(unheard, without, sizeof without);
    for (int s = 0; s < SERIES; s++) {
        for (int h = 0; h < H; h++)
            for (int k = 0; k < LEVELS; k++)
                assert_true(isfinite(with[s][h][k]) && (!k || with[s][h][k] >= with[s][h][k - 1]));
        assert_memory_equal(with[s][0], without[s][0], sizeof with[s][0]); /* the running step is known */
        assert_memory_not_equal(with[s][1], without[s][1], sizeof with[s][1]);
        assert_memory_not_equal(with[s][H - 2], without[s][H - 2], sizeof with[s][H - 2]);
    }
}

static void a_model_that_is_no_better_never_speaks(void **state) {
    (void)state;
    double with[SERIES * H * LEVELS], without[SERIES * H * LEVELS];
    for (int64_t updates = 40; updates < 80; updates += 13) {
        assert_int_equal(answers(ctx, poor, updates, false, with), SPR_OK);
        assert_int_equal(answers(ctx, NULL, updates, false, without), SPR_OK);
        assert_memory_equal(with, without, sizeof with);
    }
}

/* Rows of one resource prove the model among themselves: what it is worth elsewhere is nothing to them. */
static void a_model_proves_itself_for_each_resource(void **state) {
    (void)state;
    static const int32_t same[SERIES] = {SPR_CPU, SPR_CPU, SPR_CPU}, apart[SERIES] = {SPR_CPU, SPR_CPU, SPR_MEMORY};
    double first[SERIES][H][LEVELS], other[SERIES][H][LEVELS], pooled[SERIES][H][LEVELS];
    for (int s = 0; s < SERIES - 1; s++)
        for (int t = 0; t < ROOM; t++) /* of which the model knows nothing, and large: all its losses are small */
            values[s][t] = 1000 + (t % 16 < 8) + spr__rand(5, (uint64_t)t, (uint64_t)s);
    resources = apart;
    assert_int_equal(answers(ctx, model, 70, false, &first[0][0][0]), SPR_OK);
    assert_memory_not_equal(first[2], unheard[2], sizeof first[2]);
    resources = same;
    assert_int_equal(answers(ctx, model, 70, false, &pooled[0][0][0]), SPR_OK);
    for (int t = 0; t < ROOM; t++)
        values[2][t] = spr__rand(5, (uint64_t)t, 2);
    resources = apart;
    assert_int_equal(answers(ctx, model, 70, false, &other[0][0][0]), SPR_OK);
    resources = NULL;
    fill();
    assert_memory_equal(first, other, 2 * sizeof first[0]);
    assert_memory_not_equal(first, pooled, 2 * sizeof first[0]);
}

/* What the model says of the last row. */
static void opinion_of(const spr_model *m, const int32_t *rows, double *out) {
    struct spr_mix_opts config = {.size = sizeof config, .model = m};
    struct spr_env env = {sizeof env, ctx, NULL, 1};
    struct spr_forecaster_env open = {sizeof open, &env, INT64_C(3600000000000), H, LEVELS, levels, &config};
    double points[SERIES * H], quantiles[SERIES * H * LEVELS], now[SERIES] = {5, 5, 5};
    struct spr_forecaster_output answer = {sizeof answer, SERIES, points, quantiles};
    void *state = NULL;
    resources = rows;
    struct spr_panel past = panel_of(0, STEPS);
    resources = NULL;
    assert_int_equal(spr_forecaster_mix()->open(&open, &state), SPR_OK);
    assert_int_equal(spr_forecaster_mix()->fit(state, &past, 0, 0), SPR_OK);
    assert_int_equal(spr_forecaster_mix()->predict(state, now, &answer), SPR_OK);
    const struct mix *mix = state;
    memcpy(out, mix->opinion + (SERIES - 1) * (H - 1) * LEVELS, (H - 1) * LEVELS * sizeof *out);
    spr_forecaster_mix()->close(state);
}

/* Short hourly series: the net knows resources apart by a code. */
static void a_model_is_told_what_it_is_asked_about(void **state) {
    (void)state;
    static const int32_t learnt[SERIES] = {SPR_CPU, SPR_CPU, SPR_MEMORY}, swapped[SERIES] = {SPR_CPU, SPR_CPU, SPR_CPU};
    double right[(H - 1) * LEVELS], again[(H - 1) * LEVELS], wrong[(H - 1) * LEVELS], unsaid[(H - 1) * LEVELS];
    spr_model *two = NULL;
    resources = learnt;
    assert_int_equal(train(ctx, INT64_C(3600000000000), 70, H - 1, .05, &two), SPR_OK);
    opinion_of(two, learnt, right);
    opinion_of(two, learnt, again);
    opinion_of(two, swapped, wrong);
    opinion_of(two, NULL, unsaid);
    assert_memory_equal(right, again, sizeof right);
    assert_memory_not_equal(right, wrong, sizeof right);
    assert_memory_not_equal(right, unsaid, sizeof right);
    spr_model_unref(two);
}

static void asking_within_a_step_leaves_no_trace(void **state) {
    (void)state;
    double quiet[SERIES * H * LEVELS], curious[SERIES * H * LEVELS];
    assert_int_equal(answers(ctx, model, 45, false, quiet), SPR_OK); /* past the room for the model's history */
    assert_int_equal(answers(ctx, model, 45, true, curious), SPR_OK);
    assert_memory_equal(quiet, curious, sizeof quiet);
}

static void a_model_that_does_not_fit_is_refused(void **state) {
    (void)state;
    spr_forecaster *f = NULL;
    struct spr_error e = {.size = sizeof e};
    assert_int_equal(mix(ctx, model, H + 1, 0, &f), SPR_E_ARG);
    assert_null(f);
    spr_context_error(ctx, &e);
    assert_non_null(strstr(e.text, "4 steps of 300 s"));
    assert_int_equal(mix(ctx, model, H, INT64_C(60000000000), &f), SPR_E_ARG);
    assert_int_equal(mix(ctx, model, 1, 0, &f), SPR_OK); /* nothing lies after the running step: it is not asked */
    spr_forecaster_destroy(f);
}

/* The model and the cheap experts would each know another last step. */
static void an_update_that_failed_half_way_is_answered_after_the_next_fit_only(void **state) {
    int torn = 0;
    (void)state;
    for (int64_t n = 1, rc = SPR_E_NOMEM; rc < 0; n++) {
        struct failing_alloc a = {0};
        spr_context *own = failing_context(&a);
        struct spr_panel past = panel_of(0, STEPS), one = panel_of(STEPS, 1);
        spr_forecaster *f = NULL;
        spr_forecast *said = NULL;
        assert_int_equal(mix(own, model, H, 0, &f), SPR_OK);
        assert_int_equal(spr_forecaster_fit(f, &past, 0, 0), SPR_OK);
        a.fail_at = a.calls + n;
        rc = spr_forecaster_update(f, &one);
        a.fail_at = 0;
        int then = spr_forecaster_predict(f, NULL, &said);
        assert_true(then == SPR_OK || (rc < 0 && then == SPR_E_STATE));
        if (then < 0) {
            torn++;
            assert_int_equal(spr_forecaster_update(f, &one), SPR_E_STATE);
            assert_int_equal(spr_forecaster_fit(f, &past, 0, 0), SPR_OK);
            assert_int_equal(spr_forecaster_predict(f, NULL, &said), SPR_OK);
        }
        spr_forecast_unref(said);
        spr_forecaster_destroy(f);
        spr_context_unref(own);
    }
    assert_true(torn > 0);
}

static int ask_once(spr_context *c, void *arg) {
    double out[SERIES * H * LEVELS];
    return answers(c, arg, 1, false, out);
}
static void no_memory_is_said(void **state) {
    (void)state;
    assert_true(failing_sweep(ask_once, model) > 15);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_speaks_once_it_has_proved_better),
        cmocka_unit_test(a_model_that_is_no_better_never_speaks),
        cmocka_unit_test(a_model_proves_itself_for_each_resource),
        cmocka_unit_test(a_model_is_told_what_it_is_asked_about),
        cmocka_unit_test(asking_within_a_step_leaves_no_trace),
        cmocka_unit_test(a_model_that_does_not_fit_is_refused),
        cmocka_unit_test(an_update_that_failed_half_way_is_answered_after_the_next_fit_only),
        cmocka_unit_test(no_memory_is_said),
    };
    return cmocka_run_group_tests(tests, make_all, drop_all);
}
