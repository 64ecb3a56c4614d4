/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One table of troublesome series through every forecaster that has a name, through Holt-Winters in all its kinds, and
 * through a trained model: a finite, ordered, sensible forecast, or a refusal with a code and a record.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "forecast/forecast.h"

#include <shardpredict/forecast-model.h>

enum { N = 632, TAIL = 8, H = 24, L = 7 };

static spr_context *ctx;
/* ---- troubles ---- */

static double wave(int t) { return 20 + 8 * sin(t * 0.0218166) + 3 * spr__rand(5, 0, (uint64_t)t); }
static double usual(int t) { return wave(t); }
static double constant(int t) { return 0 * t + 7.25; }
static double zero(int t) { return 0.0 * t; }
static double one_point(int t) { return t == N - 40 ? 11.5 : NAN; }
static double two_points(int t) { return t == 3 ? 3.5 : t == N - 7 ? 4.25 : NAN; }
static double first_only(int t) { return t ? NAN : 2.5; }
static double nothing(int t) { return t < 0 ? 0 : NAN; }
static double late(int t) { return t < N - 20 ? NAN : wave(t); }
static double ended(int t) { return t < 200 ? wave(t) : NAN; }
static double gaps(int t) { return t / 30 % 2 ? NAN : wave(t); }
static double sparse(int t) { return t % 7 ? NAN : wave(t); }
static double huge(int t) { return 1e12 * wave(t); }
static double tiny(int t) { return 1e-12 * wave(t); }
static double subnormal(int t) { return 1e-310 * wave(t); }
static double negative(int t) { return -wave(t); }
static double both_signs(int t) { return wave(t) - 20; }
static double border(int t) { return t % 2 ? 1e150 : -1e150; }
static double top(int t) { return 0 * t + 1e150; }
static double bursts(int t) { return spr__rand(6, 0, (uint64_t)t) < 0.98 ? 0 : 1000 * spr__rand(7, 0, (uint64_t)t); }
static double one_spike(int t) { return t == 350 ? 1e9 : wave(t); }
static double shift(int t) { return wave(t) + (t > 500 ? 5e4 : 0); }
static double line(int t) { return 5.0 * t; }
static double falling(int t) { return 3500 - 5.0 * t; }
static double growth(int t) { return exp(0.1 * t); }
static double square(int t) { return t / 144 % 2; }
static double big_offset(int t) { return 1e15 + t % 3; }

static const struct trouble {
    const char *name;
    double (*at)(int t);
} troubles[] = {
    {"usual", usual},
    {"constant", constant},
    {"zero", zero},
    {"one point", one_point},
    {"two points", two_points},
    {"first only", first_only},
    {"nothing", nothing},
    {"late", late},
    {"ended", ended},
    {"gaps", gaps},
    {"sparse", sparse},
    {"1e12", huge},
    {"1e-12", tiny},
    {"subnormal", subnormal},
    {"negative", negative},
    {"both signs", both_signs},
    {"border", border},
    {"top", top},
    {"bursts", bursts},
    {"one spike", one_spike},
    {"shift", shift},
    {"line", line},
    {"falling", falling},
    {"growth", growth},
    {"square", square},
    {"big offset", big_offset},
};
enum { TROUBLES = sizeof troubles / sizeof troubles[0] };

/* ---- methods ---- */

struct method {
    char name[64];
    const struct spr_forecaster_ops *ops;
    const void *config;
    int64_t step_ns;
};
static struct method methods[64];
static int method_count;

static void add(const char *name, const struct spr_forecaster_ops *ops, const void *config, int64_t step_ns) {
    assert_true(method_count < (int)SPR_ARRAY_LEN(methods));
    snprintf(methods[method_count].name, sizeof methods[0].name, "%s", name);
    methods[method_count].ops = ops, methods[method_count].config = config;
    methods[method_count++].step_ns = step_ns;
}

static struct spr_holt_winters_opts hw[20];
static void add_holt_winters(void) {
    int n = 0;
    const double periods[] = {SPR_NONE, 24, 23.7, 500};
    for (int32_t p = 0; p < 4; p++)
        hw[n++] = (struct spr_holt_winters_opts){.size = sizeof hw[0], .period = periods[p]};
    for (int32_t trend = 1; trend < 4; trend++)
        hw[n++] = (struct spr_holt_winters_opts){
            .size = sizeof hw[0], .period = 24, .trend = trend, .season = SPR_HW_SEASON_MULTIPLICATIVE};
    hw[n++] = (struct spr_holt_winters_opts){.size = sizeof hw[0], .period = 24, .period2 = 168};
    hw[n++] = (struct spr_holt_winters_opts){
        .size = sizeof hw[0], .period = 24, .period2 = 168.5, .season = SPR_HW_SEASON_MULTIPLICATIVE};
    hw[n++] = (struct spr_holt_winters_opts){.size = sizeof hw[0], .period = 24, .robust = SPR_HW_ROBUST_ALWAYS};
    hw[n++] = (struct spr_holt_winters_opts){.size = sizeof hw[0],
                                             .period = 24,
                                             .robust = SPR_HW_ROBUST_ALWAYS,
                                             .season = SPR_HW_SEASON_MULTIPLICATIVE,
                                             .refit = SPR_HW_REFIT_WARM};
    for (int32_t t = SPR_HW_TRANSFORM_LOG; t <= SPR_HW_TRANSFORM_CHOSEN; t++)
        for (int32_t trend = SPR_HW_TREND_DEFAULT; trend <= SPR_HW_TREND_ADDITIVE; trend += SPR_HW_TREND_ADDITIVE)
            hw[n++] = (struct spr_holt_winters_opts){.size = sizeof hw[0],
                                                     .period = 24,
                                                     .trend = trend,
                                                     .transform = t,
                                                     .lambda = t == SPR_HW_TRANSFORM_BOX_COX ? 0.3 : 0};
    for (int i = 0; i < n; i++) {
        char name[64];
        snprintf(name, sizeof name, "holt-winters, options %d", i);
        add(name, spr_forecaster_holt_winters(), &hw[i], 0);
    }
}

enum { CONTEXT = 48 };
static spr_model *model;
static struct spr_model_opts asked;
static void add_model(void) {
    enum { S = 8, T = 300 };
    static double y[S * T];
    struct spr_trainer_opts o = {.size = sizeof o, .horizon = H, .members = 1, .effort = .001, .context = CONTEXT};
    spr_trainer *t = NULL;
    for (int i = 0; i < S * T; i++)
        y[i] = wave(i % T) * (1 + i / T);
    struct spr_panel p = {.size = sizeof p,
                          .data = y,
                          .series = S,
                          .steps = T,
                          .series_stride = T * (int64_t)sizeof *y,
                          .step_stride = sizeof *y};
    assert_int_equal(spr_trainer_create(ctx, &o, &t), SPR_OK);
    assert_int_equal(spr_trainer_add(t, &p, NULL), SPR_OK);
    assert_int_equal(spr_trainer_run(t, 0), SPR_OK);
    assert_int_equal(spr_trainer_finish(t, &model), SPR_OK);
    spr_trainer_destroy(t);
    asked = (struct spr_model_opts){.size = sizeof asked, .model = model};
    add("model", spr_forecaster_model(), &asked, 0);
}

static void add_all(void) {
    static const char *const names[] = {"seasonal-naive", "holt-winters", "mix", "combination"};
    static const struct spr_seasonal_naive_opts last = {sizeof last, SPR_NONE}, long_ago = {sizeof long_ago, 5000.5};
    method_count = 0;
    for (size_t i = 0; i < SPR_ARRAY_LEN(names); i++)
        for (int64_t hours = 0; hours < 2; hours++) /* a day of 288 steps, and one of 24 */
            add(names[i], spr_forecaster_by_name(names[i]), NULL, hours * INT64_C(3600000000000));
    add("last value", spr_forecaster_seasonal_naive(), &last, 0);
    add("a season longer than the history", spr_forecaster_seasonal_naive(), &long_ago, 0);
    add_holt_winters();
    add_model();
}

/* ---- what an answer must be ---- */

static double panel[TROUBLES * N];
static void fill(void) {
    for (int s = 0; s < TROUBLES; s++)
        for (int t = 0; t < N; t++)
            panel[s * N + t] = troubles[s].at(t);
}

static struct spr_panel rows(int first, int count, int from, int steps) {
    return (struct spr_panel){.size = sizeof(struct spr_panel),
                              .data = panel + first * N + from,
                              .series = count,
                              .steps = steps,
                              .series_stride = N * (int64_t)sizeof *panel,
                              .step_stride = sizeof *panel};
}

/* Finite and ordered, and no further out than a few times what was seen: a trend may go on, but not run away. */
static bool sensible(const spr_forecast *f, int64_t row, const double *seen, double least, bool wide) {
    double size = least;
    bool good = true;
    for (int t = 0; t < N; t++)
        size = fabs(seen[t]) > size ? fabs(seen[t]) : size;
    for (int h = 0; h < H; h++) {
        const double *q = spr_forecast_quantiles(f) + (row * H + h) * L;
        double p = spr_forecast_points(f)[row * H + h];
        good = good && isfinite(p) && fabs(p) <= (wide ? INFINITY : 25 * size);
        for (int k = 0; k < L; k++)
            good = good && isfinite(q[k]) && (!k || q[k] >= q[k - 1]) && (wide || fabs(q[k]) <= 50 * size);
    }
    return good;
}

static bool refused(int rc) {
    struct spr_error e = {.size = sizeof e};
    return (rc == SPR_E_HISTORY || rc == SPR_E_ARG) && spr_context_error(ctx, &e) == SPR_OK && e.code == rc &&
           e.text[0];
}

/* The model looks back so far: where no value is in sight, a row is one of many. */
static bool in_sight(const double *seen, int steps) {
    for (int t = SPR_MAX(0, steps - CONTEXT); t < steps; t++)
        if (!isnan(seen[t]))
            return true;
    return false;
}

/* Fit, predict, update with the rest, predict with and without `now`; the number of rows that were answered badly. */
static int run(const struct method *m, int first, int count, int steps) {
    struct spr_forecaster_opts o = {.size = sizeof o, .step_ns = m->step_ns, .horizon = H, .config = m->config};
    struct spr_panel head = rows(first, count, 0, steps), tail = rows(first, count, steps, SPR_MIN(TAIL, N - steps));
    double now[TROUBLES];
    spr_forecaster *f = NULL;
    /* A model knows the unit of its fleet: next to it 1e-12 is nothing. */
    bool fleet = m->ops == spr_forecaster_model();
    double least = fleet ? 1e-3 : 1e-300;
    int bad = 0;
    for (int s = 0; s < count; s++)
        now[s] = s % 2 ? NAN : s % 3 ? -4 : 1e12;
    int rc = spr_forecaster_create(ctx, m->ops, &o, &f);
    assert_int_equal(rc, SPR_OK);
    rc = spr_forecaster_fit(f, &head, 0, 0);
    for (int pass = 0; pass < 3 && rc == SPR_OK; pass++) {
        spr_forecast *out = NULL;
        if (pass == 1)
            rc = spr_forecaster_update(f, &tail);
        if (rc == SPR_OK)
            rc = spr_forecaster_predict(f, pass == 2 ? now : NULL, &out);
        for (int s = 0; s < count && rc == SPR_OK; s++) {
            double (*at)(int) = troubles[first + s].at;
            const double *seen = panel + (first + s) * N;
            bool wide = pass == 2 || at == growth || at == border ||
                        (fleet && !in_sight(seen, steps + (pass ? (int)tail.steps : 0)));
            if (!sensible(out, s, seen, least, wide)) {
                print_message("%s, %s, %d steps, pass %d: no sensible forecast\n", m->name, troubles[first + s].name,
                              steps, pass);
                bad++;
            }
        }
        spr_forecast_unref(out);
    }
    if (rc != SPR_OK && !refused(rc)) {
        print_message("%s, %s, %d steps: code %d without a reason\n", m->name, troubles[first].name, steps, rc);
        bad++;
    }
    spr_forecaster_destroy(f);
    return bad;
}

static void every_method_answers_or_refuses_every_trouble(void **state) {
    (void)state;
    static const int lengths[] = {1, 2, 49}; /* the long ones side by side, below */
    int bad = 0;
    fill();
    for (int m = 0; m < method_count; m++)
        for (int s = 0; s < TROUBLES; s++)
            for (size_t l = 0; l < SPR_ARRAY_LEN(lengths); l++)
                bad += run(&methods[m], s, 1, lengths[l]);
    assert_int_equal(bad, 0);
}

static void troubles_side_by_side_do_no_harm_to_each_other(void **state) {
    (void)state;
    enum { LAST = TROUBLES - 1 };
    int bad = 0;
    fill();
    for (int t = 0; t < N; t++) /* a row without a value would refuse the panel */
        panel[6 * N + t] = t == 1 ? 1 : NAN;
    for (int m = 0; m < method_count; m++)
        bad += run(&methods[m], 0, TROUBLES, N - TAIL);
    assert_int_equal(bad, 0);
}

static void infinite_values_are_refused_by_name(void **state) {
    (void)state;
    fill();
    panel[5] = INFINITY;
    for (int m = 0; m < method_count; m++) {
        struct spr_forecaster_opts o = {
            .size = sizeof o, .step_ns = methods[m].step_ns, .horizon = H, .config = methods[m].config};
        struct spr_panel p = rows(0, 2, 0, N);
        spr_forecaster *f = NULL;
        assert_int_equal(spr_forecaster_create(ctx, methods[m].ops, &o, &f), SPR_OK);
        assert_int_equal(spr_forecaster_fit(f, &p, 0, 0), SPR_E_ARG);
        spr_forecaster_destroy(f);
    }
}

/* A few daily values of what is stored as a longer row: NULL where they are refused. */
static spr_forecast *of_days(const char *name, int64_t days) {
    struct spr_forecaster_opts o = {.size = sizeof o, .step_ns = SPR__DAY_NS, .horizon = 3};
    struct spr_panel p = rows(0, 2, 0, days);
    spr_forecaster *f = NULL;
    spr_forecast *out = NULL;
    assert_int_equal(spr_forecaster_create(ctx, spr_forecaster_by_name(name), &o, &f), SPR_OK);
    if (spr_forecaster_fit(f, &p, 0, 0) == SPR_OK)
        assert_int_equal(spr_forecaster_predict(f, NULL, &out), SPR_OK);
    spr_forecaster_destroy(f);
    return out;
}

static void a_few_days_are_answered_by_themselves_alone(void **state) {
    static const char *const names[] = {"seasonal-naive", "holt-winters", "mix", "combination"};
    (void)state;
    for (size_t k = 0; k < SPR_ARRAY_LEN(names); k++)
        for (int64_t days = 1; days < 40; days++) {
            fill();
            spr_forecast *a = of_days(names[k], days);
            for (int s = 0; s < 2; s++)
                for (int64_t t = days; t < N; t++)
                    panel[s * N + t] = 1e6;
            spr_forecast *b = of_days(names[k], days);
            assert_true(!a == !b && (a || days < 8));
            if (a) { /* two series, three steps, the usual levels */
                assert_true(spr_forecast_points(a)[0] > 5 && spr_forecast_points(a)[0] < 50);
                assert_memory_equal(spr_forecast_quantiles(a), spr_forecast_quantiles(b),
                                    2 * 3 * (size_t)spr_forecast_level_count(a) * sizeof(double));
            }
            spr_forecast_unref(a);
            spr_forecast_unref(b);
        }
}

static int make_all(void **state) {
    (void)state;
    if (spr_context_create(NULL, &ctx) < 0)
        return -1;
    add_all();
    return 0;
}
static int drop_all(void **state) {
    (void)state;
    spr_model_unref(model);
    spr_context_unref(ctx);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_method_answers_or_refuses_every_trouble),
        cmocka_unit_test(troubles_side_by_side_do_no_harm_to_each_other),
        cmocka_unit_test(infinite_values_are_refused_by_name),
        cmocka_unit_test(a_few_days_are_answered_by_themselves_alone),
    };
    return cmocka_run_group_tests(tests, make_all, drop_all);
}
