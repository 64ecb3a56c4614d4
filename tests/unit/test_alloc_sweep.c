/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Every allocation behind the public calls fails once: the call says so, its output stays as it was, nothing is left.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>

#include <shardpredict.h>

#include "base/base.h"
#include "failing_alloc.h"

#define HOUR INT64_C(3600000000000)

/* An output must keep its old value when its call fails, and the context must know why. */
static int checked(spr_context *ctx, int rc, const void *out) {
    struct spr_error e = {.size = sizeof e};
    if (rc < 0 && (out || spr_context_error(ctx, &e) < 0 || e.code != rc))
        return SPR_E_STATE; /* no code that a job may end with: the sweep fails and tells which run */
    return rc;
}

/* ---- metrics ---- */

static int collect_series(spr_context *ctx, int64_t vms, int64_t steps, spr_series **out) {
    struct spr_metrics_opts opts = SPR_METRICS_OPTS_INIT;
    spr_metrics *m = NULL;
    opts.step_ns = HOUR;
    int rc = checked(ctx, spr_metrics_create(ctx, &opts, &m), m);
    for (int64_t v = 0; rc >= 0 && v < vms; v++) {
        char id[16];
        int64_t row = -1;
        snprintf(id, sizeof id, "vm-%d", (int)v);
        rc = checked(ctx, spr_metrics_add(m, id, NULL, SPR_CPU, v % 2 ? SPR_COUNTER : SPR_GAUGE, 0, &row),
                     row < 0 ? NULL : &row);
        for (int64_t t = 0; rc >= 0 && t < steps; t++)
            if ((t + v) % 17)
                rc = spr_metrics_push(m, row, t * HOUR + 7,
                                      v % 2 ? 2.385 * (double)(t % 40) : 1.5 + (double)(t % 24) / 7, 0);
    }
    if (rc >= 0)
        rc = checked(ctx, spr_metrics_finish(m, out), *out);
    spr_metrics_destroy(m);
    return rc;
}

static int metrics_job(spr_context *ctx, void *arg) {
    spr_series *s = NULL;
    (void)arg;
    int rc = collect_series(ctx, 9, 30, &s);
    spr_series_unref(s);
    return rc;
}

/* ---- profile ---- */

static int profile_job(spr_context *ctx, void *arg) {
    struct spr_profile_opts opts = SPR_PROFILE_OPTS_INIT;
    spr_profiler *p = NULL;
    spr_profile *first = NULL, *second = NULL;
    opts.permutations = 19;
    int rc = checked(ctx, spr_profiler_create(ctx, &opts, &p), p);
    if (rc >= 0)
        rc = checked(ctx, spr_profiler_run(p, arg, 0, 60, &first), first);
    if (rc >= 0)
        rc = checked(ctx, spr_profiler_run(p, arg, 0, 0, &second), second);
    spr_profile_unref(first);
    spr_profile_unref(second);
    spr_profiler_destroy(p);
    return rc;
}

/* ---- forecast ---- */

static int forecast_job(spr_context *ctx, void *arg) {
    const struct spr_forecaster_ops *ops = arg;
    double values[2][6 * 24], now[2] = {2.385, 0.4};
    for (int t = 0; t < 6 * 24; t++)
        values[0][t] = 3.3 + (t % 24 > 8 ? 1.7 : 0.1) + 0.05 * (t * 7 % 11), values[1][t] = 0.5 + 0.03 * (t * 5 % 13);
    struct spr_panel all = {.size = sizeof all,
                            .data = values,
                            .series = 2,
                            .steps = 5 * 24,
                            .series_stride = sizeof values[0],
                            .step_stride = sizeof(double)};
    struct spr_panel more = all;
    more.data = &values[0][5 * 24];
    more.steps = 24;
    struct spr_forecaster_opts opts = SPR_FORECASTER_OPTS_INIT;
    opts.step_ns = HOUR;
    opts.horizon = 5;
    spr_forecaster *f = NULL;
    spr_forecast *out = NULL;
    int rc = checked(ctx, spr_forecaster_create(ctx, ops, &opts, &f), f);
    if (rc >= 0)
        rc = checked(ctx, spr_forecaster_fit(f, &all, 0, 0), NULL);
    if (rc >= 0)
        rc = checked(ctx, spr_forecaster_update(f, &more), NULL);
    if (rc >= 0)
        rc = checked(ctx, spr_forecaster_predict(f, now, &out), out);
    spr_forecast_unref(out);
    spr_forecaster_destroy(f);
    return rc;
}

static int forecast_product_job(spr_context *ctx, void *arg) {
    const double levels[] = {.1, .9}, points[] = {2.385, 1.1}, quantiles[] = {1, 3, .5, 1.7};
    spr_forecast *f = NULL;
    (void)arg;
    int rc = checked(ctx, spr_forecast_create(ctx, 1, 2, 2, levels, 0, points, quantiles, &f), f);
    spr_forecast_unref(f);
    return rc;
}

/* ---- fleet ---- */

static int build_fleet(spr_context *ctx, const spr_fleet *base, spr_fleet **out) {
    struct spr_host host = {.size = sizeof host, .rack = "r1", .zone = "z1"};
    struct spr_vm vm = {
        .size = sizeof vm, .group = "web", .replica = SPR_REPLICA_TEMPLATE, .spillable = 0.8, .klass = -1};
    struct spr_shard shard = {.size = sizeof shard, .id = 9, .vm = 1, .host = 2, .state = SPR_SHARD_SERVING};
    struct spr_declared declared = {
        .size = sizeof declared, .match = "vm-*", .end_wall_ns = HOUR, .amount = 0.25, .confidence = 0.5};
    struct spr_time now = {HOUR, HOUR};
    spr_fleet_builder *b = NULL;
    host.capacity.of[SPR_CPU] = 16, vm.demand.of[SPR_CPU] = 2.385, shard.ready.of[SPR_CPU] = 0.7;
    int rc = checked(ctx, spr_fleet_builder_create(ctx, base, &b), b);
    if (rc >= 0 && !base) {
        rc = checked(ctx, spr_fleet_builder_use(b, SPR_CPU), NULL);
        for (int32_t i = 0, index; rc >= 0 && i < 3; i++) {
            char id[16];
            snprintf(id, sizeof id, "host-%d", (int)i);
            host.id = id;
            rc = checked(ctx, spr_fleet_builder_host(b, &host, &index), NULL);
        }
        for (int32_t i = 0, index; rc >= 0 && i < 5; i++) {
            char id[16];
            snprintf(id, sizeof id, "vm-%d", (int)i);
            vm.id = id, vm.host = i % 3;
            rc = checked(ctx, spr_fleet_builder_vm(b, &vm, &index), NULL);
        }
        if (rc >= 0)
            rc = checked(ctx, spr_fleet_builder_declared(b, &declared), NULL);
    }
    if (rc >= 0)
        rc = checked(ctx, spr_fleet_builder_observe(b, 2, &vm), NULL);
    if (rc >= 0)
        rc = checked(ctx, spr_fleet_builder_shard(b, &shard), NULL);
    if (rc < 0) {
        spr_fleet_builder_destroy(b);
        return rc;
    }
    return checked(ctx, spr_fleet_builder_finish(b, now, out), *out);
}

static int fleet_job(spr_context *ctx, void *arg) {
    spr_fleet *first = NULL, *second = NULL;
    (void)arg;
    int rc = build_fleet(ctx, NULL, &first);
    if (rc >= 0)
        rc = build_fleet(ctx, first, &second);
    spr_fleet_unref(first);
    spr_fleet_unref(second);
    return rc;
}

/* ---- plan ---- */

/* Three hosts, the first one over its capacity in every step ahead. */
static int plan_job(spr_context *ctx, void *arg) {
    const double levels[] = {.1, .5, .9}, base[] = {17.3, 4.1, 2.385};
    double points[3][6], quantiles[3][6][3];
    for (int h = 0; h < 3; h++)
        for (int t = 0; t < 6; t++)
            for (int q = 0; q < 3; q++)
                points[h][t] = base[h], quantiles[h][t][q] = base[h] * (0.8 + 0.2 * q);
    struct spr_plan_opts opts = {.size = sizeof opts, .lead_s = 60};
    spr_forecast *forecast = NULL;
    spr_planner *planner = NULL;
    spr_plan *plan = NULL;
    int64_t running = spr_fleet_time(arg).wall_ns / INT64_C(300000000000);
    int rc = spr_forecast_create(ctx, 3, 6, 3, levels, running, &points[0][0], &quantiles[0][0][0], &forecast);
    if (rc >= 0)
        rc = checked(ctx, spr_planner_create(ctx, spr_planner_builtin(), NULL, &planner), planner);
    if (rc >= 0)
        rc = checked(ctx, spr_planner_run(planner, arg, forecast, &opts, &plan), plan);
    spr_plan_unref(plan);
    spr_planner_destroy(planner);
    spr_forecast_unref(forecast);
    return rc;
}

/* ---- the tests ---- */

static void metrics_survive(void **state) {
    (void)state;
    assert_true(failing_sweep(metrics_job, NULL) > 10);
}
static void profiles_survive(void **state) {
    (void)state;
    spr_context *ctx = NULL;
    spr_series *series = NULL;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    assert_int_equal(collect_series(ctx, 3, 96, &series), SPR_OK);
    assert_true(failing_sweep(profile_job, series) > 5);
    spr_series_unref(series);
    spr_context_unref(ctx);
}
static void every_forecasting_method_survives(void **state) {
    (void)state;
    static const char *const names[] = {"seasonal-naive", "holt-winters", "mix"};
    for (size_t i = 0; i < SPR_ARRAY_LEN(names); i++) {
        const struct spr_forecaster_ops *ops = spr_forecaster_by_name(names[i]);
        assert_non_null(ops);
        assert_true(failing_sweep(forecast_job, (void *)(uintptr_t)ops) > 3);
    }
}
static void a_forecast_made_elsewhere_survives(void **state) {
    (void)state;
    assert_true(failing_sweep(forecast_product_job, NULL) > 1);
}
static void a_fleet_and_its_successor_survive(void **state) {
    (void)state;
    assert_true(failing_sweep(fleet_job, NULL) > 10);
}

static void plans_survive(void **state) {
    (void)state;
    spr_context *ctx = NULL;
    spr_fleet *fleet = NULL;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    assert_int_equal(build_fleet(ctx, NULL, &fleet), SPR_OK);
    assert_true(failing_sweep(plan_job, fleet) > 10);
    spr_fleet_unref(fleet);
    spr_context_unref(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metrics_survive),
        cmocka_unit_test(profiles_survive),
        cmocka_unit_test(every_forecasting_method_survives),
        cmocka_unit_test(a_forecast_made_elsewhere_survives),
        cmocka_unit_test(a_fleet_and_its_successor_survive),
        cmocka_unit_test(plans_survive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
