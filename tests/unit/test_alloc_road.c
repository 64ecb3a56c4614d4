/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The whole road under an allocator that fails: series, fleet, controller, lifecycle, routes and the in-memory world,
 * as a replay runs them. Linked like a stranger's program. A replay allocates too often to be run once for every
 * allocation, so the first ones fail one by one and later ones in growing strides.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include <shardpredict.h>
#include <shardpredict/backend-sim.h>

#include "failing_alloc.h"

#define STEP INT64_C(300000000000)
enum { VMS = 4, STEPS = 48 };

static spr_context *plain;
static spr_series *series;
static spr_fleet *fleet;

static int make_series(void) {
    struct spr_metrics_opts opts = {.size = sizeof opts, .step_ns = STEP};
    spr_metrics *m = NULL;
    assert_int_equal(spr_metrics_create(plain, &opts, &m), SPR_OK);
    for (int v = 0; v < VMS; v++) {
        char id[] = {'v', (char)('a' + v), 0};
        int64_t row;
        assert_int_equal(spr_metrics_add(m, id, NULL, SPR_CPU, SPR_GAUGE, 0, &row), SPR_OK);
        for (int64_t t = 0; t < STEPS; t++) /* two VMs of one host peak together, in every second hour */
            assert_int_equal(
                spr_metrics_push(m, row, t * STEP, 0.9 + (v < 2 && t / 6 % 2 ? 2.385 : 0.1 * (double)(t % 5)), 0),
                SPR_OK);
    }
    assert_int_equal(spr_metrics_finish(m, &series), SPR_OK);
    spr_metrics_destroy(m);
    return 0;
}

static int make_fleet(void) {
    spr_fleet_builder *b = NULL;
    int32_t index;
    assert_int_equal(spr_fleet_builder_create(plain, NULL, &b), SPR_OK);
    assert_int_equal(spr_fleet_builder_use(b, SPR_CPU), SPR_OK);
    for (int h = 0; h < 2; h++) {
        char id[] = {'h', (char)('0' + h), 0};
        struct spr_host host = {.size = sizeof host, .id = id};
        host.capacity.of[SPR_CPU] = 5.5;
        assert_int_equal(spr_fleet_builder_host(b, &host, &index), SPR_OK);
    }
    for (int v = 0; v < VMS; v++) {
        char id[] = {'v', (char)('a' + v), 0};
        struct spr_vm vm = {
            .size = sizeof vm, .id = id, .host = v / 2, .replica = SPR_REPLICA_TEMPLATE, .spillable = 0.8, .klass = -1};
        assert_int_equal(spr_fleet_builder_vm(b, &vm, &index), SPR_OK);
    }
    assert_int_equal(spr_fleet_builder_finish(b, (struct spr_time){0, 0}, &fleet), SPR_OK);
    return 0;
}

static int make_world(void **state) {
    (void)state;
    assert_int_equal(spr_context_create(NULL, &plain), SPR_OK);
    return make_series() || make_fleet();
}
static int drop_world(void **state) {
    (void)state;
    spr_series_unref(series);
    spr_fleet_unref(fleet);
    spr_context_unref(plain);
    return 0;
}

static int replay(spr_context *ctx, uint32_t policies, double *cost) {
    struct spr_scenario s = {.size = sizeof s,
                             .name = "small",
                             .fleet = fleet,
                             .train_until = 24,
                             .score_first = 24,
                             .score_end = STEPS,
                             .control_s = 300,
                             .substep_s = 100,
                             .seed = 3};
    struct spr_replay_opts o = {.size = sizeof o,
                                .world = spr_sim_world(),
                                .source = spr_sim_source(),
                                .driver = spr_sim_driver(),
                                .router = spr_sim_router(),
                                .policies = policies};
    spr_verdict *v = NULL;
    struct spr_error e = {.size = sizeof e};
    int rc = spr_replay_run(ctx, series, &s, &o, &v);
    if (rc < 0 && (v || spr_context_error(ctx, &e) < 0 || e.code != rc))
        rc = SPR_E_STATE;
    for (int32_t i = 0; rc >= 0 && cost && i < spr_verdict_count(v); i++) {
        struct spr_policy_score score = {.size = sizeof score};
        if (spr_verdict_score(v, i, &score) == SPR_OK && policies >> score.policy & 1)
            *cost = score.cost;
    }
    spr_verdict_unref(v);
    return rc;
}

/* How many runs met a failure; fails the test at once when one leaked, lied about the code or changed the result. */
static int64_t sweep(uint32_t policies) {
    double right = NAN, cost;
    int64_t met = 0;
    assert_int_equal(replay(plain, policies, &right), SPR_OK);
    assert_true(right >= 0);
    for (int64_t n = 1;; n += 1 + n / 150) {
        struct failing_alloc f = {.fail_at = n};
        spr_context *ctx = failing_context(&f);
        cost = NAN;
        int rc = ctx ? replay(ctx, policies, &cost) : SPR_E_NOMEM;
        spr_context_unref(ctx);
        if (f.calls < n) {
            assert_int_equal(rc, SPR_OK);
            assert_true(cost == right);
            return met;
        }
        met++;
        if (f.blocks || f.bytes || (rc != SPR_E_NOMEM && !(rc >= 0 && cost == right)))
            fail_msg("allocation %lld failing: code %d, cost %g for %g, %lld blocks and %lld bytes left", (long long)n,
                     rc, cost, right, (long long)f.blocks, (long long)f.bytes);
    }
}

static void a_replay_of_the_predictive_policy_survives(void **state) {
    (void)state;
    assert_true(sweep(1u << SPR_POLICY_PREDICTIVE) > 100);
}
static void a_replay_of_the_tuned_rival_survives(void **state) {
    (void)state;
    assert_true(sweep(1u << SPR_POLICY_REACTIVE_TUNED) > 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_replay_of_the_predictive_policy_survives),
        cmocka_unit_test(a_replay_of_the_tuned_rival_survives),
    };
    return cmocka_run_group_tests(tests, make_world, drop_world);
}
