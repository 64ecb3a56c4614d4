/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Early stopping on the held-out tail: when it stops, when it must not, what it goes back to. */
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

/* A day that repeats: the longer a net learns it, the better. */
static void fill_days(void) {
    for (int s = 0; s < SERIES; s++)
        for (int t = 0; t < STEPS; t++)
            values[s][t] = (s + 1) * (10 + 5 * sin(2 * 3.14159265358979 * (t + 3 * s) / 24) +
                                      spr__rand(3, (uint64_t)s, (uint64_t)t));
}

/* Noise: there is nothing to learn but the numbers themselves. */
static void fill_noise(void) {
    for (int s = 0; s < SERIES; s++)
        for (int t = 0; t < STEPS; t++)
            values[s][t] = 10 + 10 * pow(spr__rand(4, (uint64_t)s, (uint64_t)t), 6);
}

static void backwards(void *user, size_t n, void (*fn)(void *arg, size_t i), void *arg) {
    (void)user;
    while (n--)
        fn(arg, n);
}
static struct spr_executor turned = {sizeof turned, backwards, 2, 0, NULL};

static spr_context *context(const struct spr_executor *e) {
    struct spr_context_opts o = {.size = sizeof o, .executor = e, .seed = 1};
    spr_context *ctx = NULL;
    assert_int_equal(spr_context_create(&o, &ctx), 0);
    return ctx;
}

struct wish {
    int64_t series, steps, budget;
    double effort;
    int32_t early_stop, kind, members;
    const spr_model *start;
};
struct outcome {
    spr_model *model;
    int64_t stopped, planned;
};

static int train(spr_context *ctx, const struct wish *w, struct outcome *out) {
    struct spr_trainer_opts o = {.size = sizeof o, .effort = w->effort, .start = w->start, .early_stop = w->early_stop};
    struct spr_panel p = {.size = sizeof p,
                          .data = values[0],
                          .series = w->series,
                          .steps = w->steps,
                          .series_stride = sizeof values[0],
                          .step_stride = sizeof values[0][0]};
    spr_trainer *t = NULL;
    double share = 0;
    if (!w->start)
        o.step_ns = STEP_NS, o.horizon = H, o.members = w->members, o.context = 48, o.kind = w->kind;
    int rc = spr_trainer_create(ctx, &o, &t);
    if (rc == SPR_OK)
        rc = spr_trainer_add(t, &p, NULL);
    if (rc == SPR_OK)
        do {
            rc = spr_trainer_run(t, w->budget);
            share = spr_trainer_progress(t, NULL);
            assert_true(share >= 0 && share <= 1);
        } while (rc == SPR_AGAIN);
    if (rc == SPR_OK)
        rc = spr_trainer_finish(t, &out->model);
    out->stopped = spr_trainer_stopped(t, &out->planned);
    spr_trainer_destroy(t);
    return rc;
}

static struct spr_model_info about(const spr_model *m) {
    struct spr_model_info info = {.size = sizeof info};
    assert_int_equal(spr_model_describe(m, &info), 0);
    return info;
}

static void assert_same(const spr_model *a, const spr_model *b) {
    size_t n, k;
    const void *x = spr_model_bytes(a, &n), *y = spr_model_bytes(b, &k);
    assert_int_equal(n, k);
    assert_memory_equal(x, y, n);
}

static const struct wish by_heart = {.series = 2, .steps = 240, .effort = .08, .members = 2, .kind = SPR_MODEL_NET};

static void what_is_learnt_by_heart_stops_and_loses_less_of_the_tail(void **state) {
    spr_context *ctx = context(NULL);
    struct outcome early = {0}, whole = {0};
    struct wish w = by_heart;
    (void)state;
    fill_noise();
    assert_int_equal(train(ctx, &w, &early), SPR_OK);
    w.early_stop = SPR_NONE;
    assert_int_equal(train(ctx, &w, &whole), SPR_OK);
    struct spr_model_info a = about(early.model), b = about(whole.model);
    assert_true(early.stopped > 0 && early.stopped < early.planned);
    assert_int_equal(whole.stopped, SPR_NONE);
    assert_true(a.loss < .97 * b.loss);
    assert_non_null(strstr(a.text, "stopped after"));
    assert_null(strstr(b.text, "stopped"));
    spr_model_unref(early.model), spr_model_unref(whole.model);
    spr_context_unref(ctx);
}

static void the_stop_is_the_same_for_any_order_of_work_and_any_budget(void **state) {
    spr_context *ctx[3] = {context(NULL), context(&turned), context(NULL)};
    struct outcome out[3] = {{0}};
    (void)state;
    fill_noise();
    for (int i = 0; i < 3; i++) {
        struct wish w = by_heart;
        w.budget = i == 2 ? 7 : 0;
        assert_int_equal(train(ctx[i], &w, &out[i]), SPR_OK);
        assert_true(out[i].stopped > 0);
    }
    assert_same(out[0].model, out[1].model);
    assert_same(out[0].model, out[2].model);
    for (int i = 0; i < 3; i++) {
        spr_model_unref(out[i].model);
        spr_context_unref(ctx[i]);
    }
}

static void while_the_tail_gets_better_nothing_stops_and_no_bit_differs(void **state) {
    spr_context *ctx = context(NULL);
    struct wish w = {.series = SERIES, .steps = STEPS, .effort = .04, .members = 1};
    (void)state;
    fill_days();
    for (w.kind = SPR_MODEL_NET; w.kind <= SPR_MODEL_LSTM; w.kind++) {
        struct outcome watched = {0}, whole = {0};
        w.early_stop = 0;
        assert_int_equal(train(ctx, &w, &watched), SPR_OK);
        w.early_stop = SPR_NONE;
        assert_int_equal(train(ctx, &w, &whole), SPR_OK);
        assert_int_equal(watched.stopped, SPR_NONE);
        assert_true(watched.planned > 40);
        assert_same(watched.model, whole.model);
        spr_model_unref(watched.model), spr_model_unref(whole.model);
    }
    spr_context_unref(ctx);
}

/* New series are noise until, before their tail, they do again what the model knows: that is kept to the bit. */
static void going_on_keeps_what_was_learnt_where_the_new_series_would_spoil_it(void **state) {
    spr_context *ctx = context(NULL);
    struct wish w = {.series = SERIES, .steps = STEPS, .effort = .04, .members = 2, .kind = SPR_MODEL_NET};
    struct outcome first = {0}, on = {0}, spoilt = {0};
    (void)state;
    fill_days();
    assert_int_equal(train(ctx, &w, &first), SPR_OK);
    for (int s = 0; s < SERIES; s++)
        for (int t = 0; t < STEPS - 48 - 2 * H; t++)
            values[s][t] = (s + 1) * (5 + 10 * spr__rand(5, (uint64_t)s, (uint64_t)t));
    w.start = first.model, w.effort = .3;
    assert_int_equal(train(ctx, &w, &on), SPR_OK);
    w.early_stop = SPR_NONE;
    assert_int_equal(train(ctx, &w, &spoilt), SPR_OK);
    assert_int_equal(on.stopped, 0);
    assert_true(about(on.model).loss < .9 * about(spoilt.model).loss);
    for (uint32_t i = 0; i < 2; i++) {
        size_t n, k;
        const void *was = spr__model_section(first.model, "QNET", i, &n);
        const void *is = spr__model_section(on.model, "QNET", i, &k);
        assert_int_equal(n, k);
        assert_memory_equal(was, is, n);
        assert_memory_not_equal(was, spr__model_section(spoilt.model, "QNET", i, &k), n);
    }
    spr_model_unref(first.model), spr_model_unref(on.model), spr_model_unref(spoilt.model);
    spr_context_unref(ctx);
}

/* Origins of the windows that are watched begin where those that are learnt from have ended. */
static void only_the_tail_is_watched(void **state) {
    spr_context *ctx = context(NULL);
    struct spr__train_series s[2] = {{.y = values[0], .n = STEPS, .resource = -1, .mean_abs = 10, .draw = 1},
                                     {.y = values[1], .n = 300, .resource = -1, .mean_abs = 10, .draw = 1}};
    uint8_t marks[STEPS] = {0};
    struct spr__train_data data = {.series = s, .count = 2, .unit = {1}};
    struct spr__train_plan plan;
    struct spr__train_setting watched;
    struct spr__train_pool pool, tail;
    (void)state;
    fill_days();
    s[0].marks = s[1].marks = marks;
    assert_int_equal(spr__train_choose(ctx, &data, SPR_MODEL_LSTM, STEP_NS, H, 48, 1, .01, &plan), SPR_OK);
    plan.tail = 30;
    assert_int_equal(spr__train_pool_make(ctx, &data, &plan, plan.member, true, 1, &pool), SPR_OK);
    watched = plan.member[0], watched.windows = SPR__TRAIN_WATCHED, watched.mixed = 0;
    assert_int_equal(spr__train_pool_tail(ctx, &data, &plan, &watched, &pool, 1, &tail), SPR_OK);
    for (int64_t i = 0; i < pool.windows; i++)
        assert_true(pool.origin[i] <= STEPS - 30 - H);
    for (int64_t i = 0; i < tail.windows; i++) /* the first half is the first series */
        assert_true(tail.origin[i] >= (i < tail.windows / 2 ? STEPS : 300) - 30 &&
                    tail.origin[i] <= (i < tail.windows / 2 ? STEPS : 300) - H);
    assert_memory_equal(pool.s_mean, tail.s_mean, (size_t)pool.summaries * sizeof(double));
    spr__train_pool_drop(ctx, &pool), spr__train_pool_drop(ctx, &tail);
    plan.tail = 0;
    s[0].draw = s[1].draw = 0; /* nobody to draw from */
    assert_int_equal(spr__train_pool_make(ctx, &data, &plan, plan.member, true, 1, &pool), SPR_E_HISTORY);
    spr_context_unref(ctx);
}

static void other_wishes_are_refused(void **state) {
    spr_context *ctx = context(NULL);
    struct spr_trainer_opts o = {.size = sizeof o, .early_stop = 1};
    spr_trainer *t = NULL;
    int64_t planned = 7;
    (void)state;
    assert_int_equal(spr_trainer_create(ctx, &o, &t), SPR_E_ARG);
    o.early_stop = SPR_NONE;
    assert_int_equal(spr_trainer_create(ctx, &o, &t), SPR_OK);
    assert_int_equal(spr_trainer_stopped(t, &planned), SPR_NONE);
    assert_int_equal(planned, 0);
    assert_int_equal(spr_trainer_stopped(NULL, NULL), SPR_NONE);
    spr_trainer_destroy(t);
    spr_context_unref(ctx);
}

static int train_by_heart(spr_context *ctx, void *arg) {
    struct outcome out = {0};
    struct wish w = by_heart;
    (void)arg;
    w.effort = .002;
    int rc = train(ctx, &w, &out);
    spr_model_unref(out.model);
    return rc;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    fill_noise();
    assert_true(failing_sweep(train_by_heart, NULL) > 30);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_learnt_by_heart_stops_and_loses_less_of_the_tail),
        cmocka_unit_test(the_stop_is_the_same_for_any_order_of_work_and_any_budget),
        cmocka_unit_test(while_the_tail_gets_better_nothing_stops_and_no_bit_differs),
        cmocka_unit_test(going_on_keeps_what_was_learnt_where_the_new_series_would_spoil_it),
        cmocka_unit_test(only_the_tail_is_watched),
        cmocka_unit_test(other_wishes_are_refused),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
