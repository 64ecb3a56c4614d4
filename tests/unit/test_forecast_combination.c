/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The combination follows who forecasts best, and never loses much to seasonal naive or the last value. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include "failing_alloc.h"
#include "forecast/combination.h"

#define HOUR INT64_C(3600000000000)
enum { H = 12, K = 7, DAY = 24 };

static double noise(uint64_t s, int64_t t) {
    return spr__normal_quantile(spr__rand(9, s, (uint64_t)t + 1000) * (1 - 1e-9) + 5e-10);
}

/* Kinds of series, some of them made to fool whoever weighs by the past. */
enum kind {
    SEASON,
    WALK,
    IDLE,
    BURSTS,
    SHIFT,
    FALL,
    TURNS,
    WEEK,
    TREND,
    REGIMES,
    FIRST,
    GAPS,
    PHASE,
    FADE,
    SPIKES,
    AGAIN,
    SWING,
    SQUARE,
    KINDS
};
static const char *const kind_name[] = {"season", "walk", "idle",   "bursts",  "shift", "fall",
                                        "turns",  "week", "trend",  "regimes", "first", "gaps",
                                        "phase",  "fade", "spikes", "again",   "swing", "square"};
static double value(enum kind k, uint64_t s, int64_t t) {
    double wave = sin(2 * 3.14159265358979 * (double)t / DAY + (double)s);
    bool late = t > 520 + (int64_t)s * 4;
    switch (k) {
    case SEASON:
        return 10 + 4 * wave + 0.5 * noise(s, t);
    case WALK: {
        double y = 50;
        for (int64_t i = 0; i <= t; i++)
            y += noise(s, i);
        return y;
    }
    case IDLE:
        return spr__rand(4, s, (uint64_t)t) < 0.03 ? 5 : 0;
    case BURSTS:
        return 1 + 0.1 * noise(s, t) + (spr__rand(3, s, (uint64_t)(t / 4)) < 0.05 ? 8 : 0);
    case SHIFT:
        return (late ? 30 : 10) + 2 * wave + 0.5 * noise(s, t);
    case FALL: /* a level with a season ends, and nothing is left */
        return late ? 0.2 * fabs(noise(s, t)) : 20 + 2 * wave + 0.5 * noise(s, t);
    case TREND: /* flat, then it climbs */
        return 20 + 0.3 * fmax(0, (double)t - 500 - 6 * (double)s) + 2 * wave + 0.5 * noise(s, t);
    case REGIMES: /* two levels, kept for a random time */
        return (spr__rand(6, s, (uint64_t)(t / 30)) < 0.5 ? 10 : 25) + 0.5 * noise(s, t);
    case FIRST: /* the first burst ever seen, of two to seven steps */
        return 5 + 2 * wave + 0.3 * noise(s, t) +
               (t >= 530 + 7 * (int64_t)s && t < 532 + 7 * (int64_t)s + (int64_t)s % 6 ? 30 : 0);
    case PHASE: /* the day begins six hours earlier */
        return 10 + 4 * sin(2 * 3.14159265358979 * (double)(t + (late ? 6 : 0)) / DAY + (double)s) + 0.5 * noise(s, t);
    case FADE: /* the season ends, the level stays */
        return 10 + (late ? 0 : 4) * wave + 0.5 * noise(s, t);
    case SPIKES: /* every 61 hours */
        return 10 + 4 * wave + 0.5 * noise(s, t) + ((t + 7 * (int64_t)s) % 61 == 0 ? 40 : 0);
    case AGAIN: /* up in the history, down again in what is scored: nothing unheard of */
        return (t > 430 && !late ? 30 : 10) + 2 * wave + 0.5 * noise(s, t);
    case SWING: /* the same level and day, three times as high and low */
        return 10 + (late ? 12 : 4) * wave + 0.5 * noise(s, t);
    case GAPS: /* constant, half of it missing */
        return spr__rand(8, s, (uint64_t)t) < 0.5 ? NAN : 7 + (double)s;
    case TURNS: /* seasonal and flat in turns: the last trial is always the wrong lesson */
        return t / 36 % 2 ? 10 + 4 * wave + 0.3 * noise(s, t) : 12 + 0.3 * noise(s, t);
    case WEEK:
        return 5 + (t / DAY % 7 < 5 ? 6 : 0) + wave + 0.3 * noise(s, t);
    default:
        return t % DAY < 8 ? 9 : 2;
    }
}

struct run {
    spr_context *ctx;
    spr_forecaster *f;
};
static struct run begin(const struct spr_forecaster_ops *ops, const void *config) {
    struct run r = {0};
    struct spr_forecaster_opts o = {.size = sizeof o, .step_ns = HOUR, .horizon = H, .config = config};
    assert_int_equal(spr_context_create(NULL, &r.ctx), SPR_OK);
    assert_int_equal(spr_forecaster_create(r.ctx, ops, &o, &r.f), SPR_OK);
    return r;
}
static void end(struct run *r) {
    spr_forecaster_destroy(r->f);
    spr_context_unref(r->ctx);
}

static struct spr_panel panel(const double *y, int64_t series, int64_t room, int64_t from, int64_t to) {
    return (struct spr_panel){.size = sizeof(struct spr_panel),
                              .data = y + from,
                              .dtype = SPR_F64,
                              .series = series,
                              .steps = to - from,
                              .series_stride = room * (int64_t)sizeof *y,
                              .step_stride = sizeof *y};
}

/* Mean pinball loss over rolling origins, updated step by step. */
static double rolling(const struct spr_forecaster_ops *ops, const double *y, int64_t series, int64_t room, int64_t from,
                      int64_t to) {
    struct run r = begin(ops, NULL);
    struct spr_panel head = panel(y, series, room, 0, from);
    double sum = 0;
    int64_t n = 0;
    assert_int_equal(spr_forecaster_fit(r.f, &head, 0, 0), SPR_OK);
    for (int64_t t = from; t + H <= to; t++) {
        struct spr_panel one = panel(y, series, room, t, t + 1);
        if ((t - from) % 5 == 0) {
            spr_forecast *f = NULL;
            assert_int_equal(spr_forecaster_predict(r.f, NULL, &f), SPR_OK);
            const double *q = spr_forecast_quantiles(f), *level = spr_forecast_levels(f);
            for (int64_t i = 0; i < series * H; i++)
                for (int k = 0; k < K; k++) {
                    double come = y[i / H * room + t + i % H];
                    sum += isnan(come) ? 0 : spr__pinball(level[k], come, q[i * K + k]);
                    n += !isnan(come);
                    assert_true(k == 0 || q[i * K + k] >= q[i * K + k - 1]);
                }
            spr_forecast_unref(f);
        }
        assert_int_equal(spr_forecaster_update(r.f, &one), SPR_OK);
    }
    end(&r);
    return sum / (double)n;
}

static struct spr_forecaster_ops last_value_ops;
static int open_last(const struct spr_forecaster_env *env, void **state) {
    struct spr_seasonal_naive_opts o = {.size = sizeof o, .period = SPR_NONE};
    struct spr_forecaster_env e = *env;
    e.config = &o;
    return spr_forecaster_seasonal_naive()->open(&e, state);
}

static void it_never_loses_two_percent_to_a_naive_forecast(void **state) {
    enum { SERIES = 12, STEPS = 640, FROM = 504 };
    (void)state;
    last_value_ops = *spr_forecaster_seasonal_naive();
    last_value_ops.open = open_last;
    for (int k = 0; k < KINDS; k++) {
        static double y[SERIES * STEPS];
        for (int i = 0; i < SERIES * STEPS; i++)
            y[i] = value((enum kind)k, (uint64_t)(i / STEPS), i % STEPS);
        double ours = rolling(spr_forecaster_combination(), y, SERIES, STEPS, FROM, STEPS);
        double seasonal = rolling(spr_forecaster_seasonal_naive(), y, SERIES, STEPS, FROM, STEPS);
        double last = rolling(&last_value_ops, y, SERIES, STEPS, FROM, STEPS);
        print_message("%-7s combination %.4f, seasonal naive %.4f, last value %.4f: %.3f of the better\n", kind_name[k],
                      ours, seasonal, last, ours / fmin(seasonal, last));
        /* A break that was seen before is no surprise; a swing is taken for a level until it turns. */
        double most = k == AGAIN ? 1.05 : k == SWING ? 1.5 : 1.02;
        assert_true(ours <= most * fmin(seasonal, last) + 1e-3 * last + 1e-9);
    }
}

/* ---- a table that says what it was told ---- */

struct teller {
    double say;
    int32_t horizon, levels;
    int64_t series;
};
static int teller_open(const struct spr_forecaster_env *env, void **state) {
    struct teller *t = calloc(1, sizeof *t);
    *t = (struct teller){*(const double *)env->config, env->horizon, env->level_count, 0};
    *state = t;
    return SPR_OK;
}
static void teller_close(void *state) { free(state); }
static int teller_fit(void *state, const struct spr_panel *p, int64_t first, int64_t budget) {
    (void)first, (void)budget;
    ((struct teller *)state)->series = p->series;
    return SPR_OK;
}
static int teller_update(void *state, const struct spr_panel *p) {
    (void)state, (void)p;
    return SPR_OK;
}
static int teller_predict(void *state, const double *now, struct spr_forecaster_output *out) {
    struct teller *t = state;
    (void)now;
    for (int64_t i = 0; i < t->series * t->horizon; i++)
        out->points[i] = t->say;
    for (int64_t i = 0; i < t->series * t->horizon * t->levels; i++)
        out->quantiles[i] = t->say;
    return SPR_OK;
}
static const struct spr_forecaster_ops teller = {.size = sizeof teller,
                                                 .name = "teller",
                                                 .license = "MIT",
                                                 .open = teller_open,
                                                 .close = teller_close,
                                                 .fit = teller_fit,
                                                 .update = teller_update,
                                                 .predict = teller_predict};

static double median_now(struct run *r) {
    spr_forecast *f = NULL;
    assert_int_equal(spr_forecaster_predict(r->f, NULL, &f), SPR_OK);
    double m = spr_forecast_points(f)[H / 2];
    assert_true(fabs(m - spr_forecast_quantiles(f)[(H / 2) * K + 2]) < 1e-9);
    spr_forecast_unref(f);
    return m;
}

static void the_weight_goes_where_the_truth_is_and_follows_it(void **state) {
    (void)state;
    double low = 10, high = 20, y[400];
    struct spr_combination_expert given[] = {{sizeof given[0], &teller, &low}, {sizeof given[0], &teller, &high}};
    struct spr_combination_opts o = {
        .size = sizeof o, .memory = 48, .experts = given, .expert_count = 2, .only_given = 1};
    struct run r = begin(spr_forecaster_combination(), &o);
    for (int t = 0; t < 400; t++)
        y[t] = (t < 250 ? 10.5 : 19.5) + 0.1 * noise(1, t);
    struct spr_panel head = panel(y, 1, 400, 0, 200), more = panel(y, 1, 400, 200, 250),
                     turn = panel(y, 1, 400, 250, 400);
    assert_int_equal(spr_forecaster_fit(r.f, &head, 0, 0), SPR_OK);
    assert_true(fabs(median_now(&r) - 10) < 0.01);
    assert_int_equal(spr_forecaster_update(r.f, &more), SPR_OK);
    assert_true(fabs(median_now(&r) - 10) < 0.01);
    assert_int_equal(spr_forecaster_update(r.f, &turn), SPR_OK);
    assert_true(fabs(median_now(&r) - 20) < 0.01);
    end(&r);
}

static void a_given_expert_stands_beside_the_built_in_ones(void **state) {
    (void)state;
    double truth = 42, y[300];
    struct spr_combination_expert given = {sizeof given, &teller, &truth};
    struct spr_combination_opts o = {.size = sizeof o, .experts = &given, .expert_count = 1};
    struct run r = begin(spr_forecaster_combination(), &o), without = begin(spr_forecaster_combination(), NULL);
    for (int t = 0; t < 300; t++)
        y[t] = t >= 296 ? 99 : 42 + (t % 2 ? 6 : -6) * (1 + 0.1 * noise(1, t));
    struct spr_panel p = panel(y, 1, 300, 0, 300);
    assert_int_equal(spr_forecaster_fit(r.f, &p, 0, 0), SPR_OK);
    assert_int_equal(spr_forecaster_fit(without.f, &p, 0, 0), SPR_OK);
    assert_true(fabs(median_now(&r) - 42) < fabs(median_now(&without) - 42));
    end(&r), end(&without);
}

/* ---- the same answers whatever the way ---- */

static uint64_t digest(struct run *r) {
    spr_forecast *f = NULL;
    assert_int_equal(spr_forecaster_predict(r->f, NULL, &f), SPR_OK);
    size_t n = (size_t)spr_forecast_count(f) * H;
    uint64_t sum = spr__crc32c(0, spr_forecast_quantiles(f), n * K * sizeof(double));
    sum = sum << 32 | spr__crc32c(0, spr_forecast_points(f), n * sizeof(double));
    spr_forecast_unref(f);
    return sum;
}

static void fill(double *y, int series, int steps) {
    for (int i = 0; i < series * steps; i++)
        y[i] = i % 37 == 5 ? NAN : value((enum kind)(i / steps % KINDS), 3, i % steps);
}

static void backwards(void *user, size_t n, void (*fn)(void *arg, size_t i), void *arg) {
    (void)user;
    while (n)
        fn(arg, --n);
}

static void slices_and_the_order_of_work_change_nothing(void **state) {
    enum { SERIES = 5, STEPS = 200 };
    static double y[SERIES * STEPS];
    (void)state;
    fill(y, SERIES, STEPS);
    struct spr_panel head = panel(y, SERIES, STEPS, 0, 150), rest = panel(y, SERIES, STEPS, 150, STEPS);
    struct run a = begin(spr_forecaster_combination(), NULL), b = begin(spr_forecaster_combination(), NULL), c = {0};
    struct spr_executor e = {sizeof e, backwards, 2, 0, NULL};
    struct spr_context_opts co = SPR_CONTEXT_OPTS_INIT;
    struct spr_forecaster_opts fo = {.size = sizeof fo, .step_ns = HOUR, .horizon = H};
    co.executor = &e;
    assert_int_equal(spr_context_create(&co, &c.ctx), SPR_OK);
    assert_int_equal(spr_forecaster_create(c.ctx, spr_forecaster_combination(), &fo, &c.f), SPR_OK);
    assert_int_equal(spr_forecaster_fit(a.f, &head, 0, 0), SPR_OK);
    assert_int_equal(spr_forecaster_fit(c.f, &head, 0, 0), SPR_OK);
    int rc, slices = 0;
    while ((rc = spr_forecaster_fit(b.f, &head, 0, 40)) == SPR_AGAIN)
        slices++;
    assert_int_equal(rc, SPR_OK);
    assert_true(slices > 4);
    assert_true(digest(&a) == digest(&b) && digest(&a) == digest(&c));
    assert_int_equal(spr_forecaster_update(a.f, &rest), SPR_OK);
    assert_int_equal(spr_forecaster_update(c.f, &rest), SPR_OK);
    for (int t = 150; t < STEPS; t++) {
        struct spr_panel one = panel(y, SERIES, STEPS, t, t + 1);
        assert_int_equal(spr_forecaster_update(b.f, &one), SPR_OK);
    }
    assert_true(digest(&a) == digest(&b) && digest(&a) == digest(&c));
    end(&a), end(&b), end(&c);
}

/* An expert that needs several slices comes first: the row that begins late stays as it was in the first of them. */
static void slices_of_the_first_expert_change_nothing(void **state) {
    enum { SERIES = 2, STEPS = 200, LATE = 190 };
    static double y[SERIES * STEPS];
    struct spr_combination_expert given[] = {{sizeof given[0], spr_forecaster_holt_winters(), NULL},
                                             {sizeof given[0], spr_forecaster_seasonal_naive(), NULL}};
    struct spr_combination_opts o = {.size = sizeof o, .experts = given, .expert_count = 2, .only_given = 1};
    (void)state;
    fill(y, SERIES, STEPS);
    for (int t = 0; t < LATE; t++)
        y[t] = NAN;
    struct spr_panel p = panel(y, SERIES, STEPS, 0, STEPS);
    struct run a = begin(spr_forecaster_combination(), &o), b = begin(spr_forecaster_combination(), &o);
    int rc, slices = 0;
    assert_int_equal(spr_forecaster_fit(a.f, &p, 0, 0), SPR_OK);
    while ((rc = spr_forecaster_fit(b.f, &p, 0, 10)) == SPR_AGAIN)
        slices++;
    assert_int_equal(rc, SPR_OK);
    assert_true(slices > 4);
    assert_true(digest(&a) == digest(&b));
    end(&a), end(&b);
}

static void young_short_and_odd_series_are_answered(void **state) {
    enum { STEPS = 120 };
    static double y[4 * STEPS];
    (void)state;
    for (int t = 0; t < STEPS; t++) {
        y[t] = t < STEPS - 3 ? NAN : 7; /* begins after the walk does */
        y[STEPS + t] = 1e12 + t;        /* large */
        y[2 * STEPS + t] = -5;          /* constant, below zero */
        y[3 * STEPS + t] = t % DAY ? 0 : 1;
    }
    for (int n = 1; n <= STEPS; n = n < 20 ? n + 1 : n + 25) {
        struct run r = begin(spr_forecaster_combination(), NULL);
        struct spr_panel p = panel(y, 4, STEPS, STEPS - n, STEPS);
        assert_int_equal(spr_forecaster_fit(r.f, &p, 0, 0), SPR_OK);
        spr_forecast *f = NULL;
        assert_int_equal(spr_forecaster_predict(r.f, NULL, &f), SPR_OK);
        const double *q = spr_forecast_quantiles(f);
        assert_true(q[0] > 0 && q[K - 1] < 20);
        assert_true(fabs(q[(2 * H + 3) * K + 2] + 5) < 2);
        spr_forecast_unref(f);
        end(&r);
    }
}

static void senseless_options_are_refused(void **state) {
    (void)state;
    double say = 1;
    struct spr_combination_expert given = {sizeof given, &teller, &say};
    struct spr_combination_opts good = {.size = sizeof good, .experts = &given, .expert_count = 1}, o;
    struct spr_forecaster_opts fo = {.size = sizeof fo, .config = &o};
    spr_context *ctx = NULL;
    spr_forecaster *f = NULL;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
#define REFUSED(change)                                                                                                \
    (o = good, o.change,                                                                                               \
     assert_int_equal(spr_forecaster_create(ctx, spr_forecaster_combination(), &fo, &f), SPR_E_ARG), assert_null(f))
    REFUSED(period = -3);
    REFUSED(memory = -7);
    REFUSED(expert_count = 9);
    REFUSED(experts = NULL);
    given.ops = NULL;
    REFUSED(period = 0);
    spr_context_unref(ctx);
    assert_ptr_equal(spr_forecaster_by_name("combination"), spr_forecaster_combination());
}

static int all_of_it(spr_context *ctx, void *arg) {
    struct spr_forecaster_opts o = {.size = sizeof o, .step_ns = 6 * HOUR, .horizon = 3};
    spr_forecaster *f = NULL;
    spr_forecast *said = NULL;
    (void)arg;
    double y[2 * 90];
    fill(y, 2, 90);
    struct spr_panel head = panel(y, 2, 90, 0, 88), rest = panel(y, 2, 90, 88, 90);
    int rc = spr_forecaster_create(ctx, spr_forecaster_combination(), &o, &f);
    if (rc == SPR_OK)
        rc = spr_forecaster_fit(f, &head, 0, 0);
    if (rc == SPR_OK && (rc = spr_forecaster_update(f, &rest)) < 0 && spr_forecaster_predict(f, NULL, &said) == SPR_OK)
        rc = SPR_E_STATE; /* half of the experts know the step: nothing may be said */
    if (rc == SPR_OK)
        rc = spr_forecaster_predict(f, NULL, &said);
    spr_forecast_unref(said);
    spr_forecaster_destroy(f);
    return rc;
}
static void memory_may_fail_anywhere(void **state) {
    (void)state;
    assert_true(failing_sweep(all_of_it, NULL) > 50);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_never_loses_two_percent_to_a_naive_forecast),
        cmocka_unit_test(the_weight_goes_where_the_truth_is_and_follows_it),
        cmocka_unit_test(a_given_expert_stands_beside_the_built_in_ones),
        cmocka_unit_test(slices_and_the_order_of_work_change_nothing),
        cmocka_unit_test(slices_of_the_first_expert_change_nothing),
        cmocka_unit_test(young_short_and_odd_series_are_answered),
        cmocka_unit_test(senseless_options_are_refused),
        cmocka_unit_test(memory_may_fail_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
