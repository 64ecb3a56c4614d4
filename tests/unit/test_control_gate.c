/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Promise 5 in the real loop against the simulated world: a host whose quantiles cover too little gets advice only,
 * says why, loses nothing because of it, and comes back by itself; one whose quantiles cover is left alone.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <shardpredict/backend-sim.h>
#include <shardpredict/ops/forecaster.h>

#include "small_fleet.h"

enum { HOSTS = 4, VMS = 8, STEP = 300 };
#define CAPACITY 10.0

/* Demand of VM v in step t: the first two hosts tremble around a mean, each VM by itself; the rest are calm. */
static double jitter(int v, int t) {
    uint64_t z = (uint64_t)(v * 1000003 + t) * UINT64_C(0x9E3779B97F4A7C15) + UINT64_C(0xD1B54A32D192ED03);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53 - 0.5;
}

/* What the forecaster says of each host: quantiles of a mean and a half width, the same for all steps. */
static struct { double mean, half; } said[HOSTS];

struct teller {
    int32_t horizon, levels;
    double level[64];
    int64_t series;
};
static int teller_open(const struct spr_forecaster_env *env, void **state) {
    struct teller *t = calloc(1, sizeof *t);
    t->horizon = env->horizon, t->levels = env->level_count;
    memcpy(t->level, env->levels, (size_t)t->levels * sizeof(double));
    *state = t;
    return SPR_OK;
}
static void teller_close(void *state) { free(state); }
static int teller_fit(void *state, const struct spr_panel *p, int64_t first, int64_t budget) {
    (void)first, (void)budget;
    ((struct teller *)state)->series = p->series;
    assert_non_null(p->resource); /* the fleet plans CPU alone */
    for (int64_t s = 0; s < p->series; s++)
        assert_int_equal(p->resource[s], SPR_CPU);
    return SPR_OK;
}
static int teller_update(void *state, const struct spr_panel *p) {
    (void)state, (void)p;
    return SPR_OK;
}
static int teller_predict(void *state, const double *now, struct spr_forecaster_output *out) {
    struct teller *t = state;
    (void)now;
    for (int64_t s = 0; s < t->series; s++)
        for (int32_t h = 0; h < t->horizon; h++) {
            double *q = out->quantiles + (s * t->horizon + h) * t->levels;
            for (int32_t k = 0; k < t->levels; k++)
                q[k] = said[s].mean + said[s].half * (2 * t->level[k] - 1);
            out->points[s * t->horizon + h] = said[s].mean;
        }
    return SPR_OK;
}
static const struct spr_forecaster_ops teller = {.size = sizeof teller,
                                                 .name = "teller",
                                                 .license = "MIT",
                                                 .caps = SPR_CAP_REFITS_ITSELF,
                                                 .open = teller_open,
                                                 .close = teller_close,
                                                 .fit = teller_fit,
                                                 .update = teller_update,
                                                 .predict = teller_predict};

struct loop {
    spr_context *ctx;
    spr_fleet *fleet;
    void *sim;
    spr_controller *c;
    double now_s, demand[VMS], mean[HOSTS];
    int step;
};

static void begin(struct loop *l, int automation, const struct spr_forecaster_ops *forecaster) {
    memset(l, 0, sizeof *l);
    assert_int_equal(spr_context_create(NULL, &l->ctx), SPR_OK);
    l->fleet = small_fleet(l->ctx, HOSTS, VMS, CAPACITY);
    struct spr_env env = {sizeof env, l->ctx, NULL, 1};
    struct spr_world_config w = {
        .size = sizeof w, .fleet = l->fleet, .substep_s = 30, .allocate_s = {40, 40}, .warm_s = {20, 20}};
    assert_int_equal(spr_sim_world()->open(&env, &w, &l->sim), SPR_OK);
    struct spr_plan_opts plan = {.size = sizeof plan, .lead_s = 60};
    struct spr_controller_opts o = {.size = sizeof o,
                                    .source = spr_sim_source(),
                                    .source_config = l->sim,
                                    .forecaster = forecaster,
                                    .driver = spr_sim_driver(),
                                    .driver_config = l->sim,
                                    .router = spr_sim_router(),
                                    .router_config = l->sim,
                                    .plan = &plan,
                                    .automation = automation};
    assert_int_equal(spr_controller_create(l->ctx, &o, &l->c), SPR_OK);
    assert_int_equal(spr_controller_step(l->c, at_s(0)), SPR_OK);
    for (int h = 0; h < HOSTS; h++)
        l->mean[h] = 6;
}
static void end(struct loop *l) {
    spr_controller_destroy(l->c);
    spr_sim_world()->close(l->sim);
    spr_fleet_unref(l->fleet);
    spr_context_unref(l->ctx);
}

/* One trace step; the total of host h is uniform-like around its mean, each of its two VMs within 1 of half of it. */
static void pass(struct loop *l, int steps) {
    for (int n = 0; n < steps; n++, l->step++) {
        for (int v = 0; v < VMS; v++)
            l->demand[v] = l->mean[v % HOSTS] / 2 + (v < HOSTS ? 2 * jitter(v % HOSTS, l->step) : 0);
        spr_sim_world()->demand(l->sim, l->demand);
        for (double stop = l->now_s + STEP; l->now_s < stop - 1e-9;) {
            l->now_s += 30;
            spr_sim_world()->advance(l->sim, at_s(l->now_s));
            if (spr_controller_next_deadline(l->c) <= at_s(l->now_s).mono_ns)
                assert_int_equal(spr_controller_step(l->c, at_s(l->now_s)), SPR_OK);
        }
    }
}

/* What shards of the VMs of host h hold anywhere. */
static double held_for(const struct loop *l, int h) {
    spr_fleet *f = spr_controller_fleet(l->c);
    double sum = 0;
    for (int32_t k = 0; k < spr_fleet_shard_count(f); k++) {
        struct spr_shard s = {.size = sizeof s};
        assert_int_equal(spr_fleet_shard(f, k, &s), SPR_OK);
        sum += s.vm % HOSTS == h ? s.ready.of[SPR_CPU] + s.pending.of[SPR_CPU] : 0;
    }
    spr_fleet_unref(f);
    return sum;
}

static struct spr_calibration calibration(const struct loop *l, int vm) {
    struct spr_calibration c = {.size = sizeof c};
    assert_int_equal(spr_controller_calibration(l->c, vm, SPR_CPU, 0.9, &c), SPR_OK);
    return c;
}

/* Actions of the newest plan for VMs of host h that ask for something, and how many of them are held back. */
static int asked(const struct loop *l, int h, int *held_back) {
    spr_plan *p = spr_controller_plan(l->c);
    int n = 0;
    *held_back = 0;
    for (int32_t k = 0; k < spr_plan_action_count(p); k++) {
        struct spr_action a = {.size = sizeof a};
        assert_int_equal(spr_plan_action(p, k, &a), SPR_OK);
        if (a.vm % HOSTS != h)
            continue;
        bool asks = a.kind == SPR_ACTION_ALLOCATE || a.kind == SPR_ACTION_GROW;
        n += asks;
        *held_back += a.held_back == SPR_BECAUSE_UNDER_COVERED;
        assert_true(asks || !a.held_back); /* what is given back is never held back, and never asked for by the gate */
    }
    spr_plan_unref(p);
    return n;
}

static void truth(struct loop *l, int h, double mean, double half) {
    l->mean[h] = mean;
    said[h].mean = mean, said[h].half = half;
}

static void who_covers_too_little_only_advises_and_comes_back(void **state) {
    (void)state;
    struct loop l;
    int back;
    begin(&l, SPR_AUTO, &teller);
    truth(&l, 0, 10.5, 0.05); /* the truth is within 1: nearly every upper quantile misses */
    truth(&l, 1, 6, 1), truth(&l, 2, 2, 0.01), truth(&l, 3, 2, 0.01);
    pass(&l, 12);
    assert_true(held_for(&l, 0) > 0.4); /* trusted at first */
    assert_int_equal(calibration(&l, 0).gated, 0);
    for (int n = 0; n < 300 && !calibration(&l, 0).gated; n++)
        pass(&l, 1);
    struct spr_calibration c = calibration(&l, 0), good = calibration(&l, 1);
    print_message("gated after %d steps: %.2f at or below the 0.9 quantile, evidence %.0f\n", l.step, c.at_or_below,
                  c.evidence);
    assert_true(c.gated && c.evidence >= 100 && c.at_or_below < 0.7 && c.host == 0);
    assert_int_equal(c.since_wall_ns, (int64_t)(l.step - 1) * STEP * 1000000000);
    assert_false(good.gated);
    assert_true(good.at_or_below > 0.8 && good.since_wall_ns == -1);
    assert_int_equal(calibration(&l, 4).gated, 1); /* the other VM of the same host */

    /* Nothing goes back because of it, and a new need is advice that says why. */
    double before = held_for(&l, 0);
    assert_true(before > 0);
    truth(&l, 0, 12, 0.05);
    pass(&l, 3);
    assert_true(asked(&l, 0, &back) > 0);
    assert_true(back > 0);
    assert_true(fabs(held_for(&l, 0) - before) < 1e-9);
    /* The neighbour is acted on as ever. */
    truth(&l, 1, 11, 1);
    pass(&l, 3);
    assert_true(held_for(&l, 1) > 0.5);
    (void)asked(&l, 1, &back);
    assert_int_equal(back, 0);

    /* It comes back by itself, no earlier than a day of steps that cover. */
    said[0].half = 1;
    pass(&l, 200);
    assert_int_equal(calibration(&l, 0).gated, 1);
    assert_true(held_for(&l, 0) <= before + 1e-9);
    int waited = 200;
    for (; waited < 700 && calibration(&l, 0).gated; waited++)
        pass(&l, 1);
    print_message("let go after %d steps that cover\n", waited);
    assert_false(calibration(&l, 0).gated);
    pass(&l, 3);
    assert_true(held_for(&l, 0) > before + 0.5);
    (void)asked(&l, 0, &back);
    assert_int_equal(back, 0);
    end(&l);
}

static void a_person_may_approve_what_is_held_back(void **state) {
    (void)state;
    struct loop l;
    int back;
    begin(&l, SPR_CONFIRM, &teller);
    truth(&l, 0, 11, 0.05);
    truth(&l, 1, 6, 1), truth(&l, 2, 2, 0.01), truth(&l, 3, 2, 0.01);
    pass(&l, 200);
    assert_int_equal(calibration(&l, 0).gated, 1);
    assert_true(asked(&l, 0, &back) > 0 && back > 0 && held_for(&l, 0) == 0);
    spr_plan *p = spr_controller_plan(l.c);
    assert_int_equal(spr_controller_approve(l.c, p), SPR_OK);
    spr_plan_unref(p);
    pass(&l, 1);
    assert_true(held_for(&l, 0) > 0.4);
    end(&l);
}

static double steady_with_a_day(int v, int t) {
    return 4 + sin(6.28318530717959 * t / 288 + v) + jitter(v, t) + jitter(v + 100, t / 3);
}

/* The library's own forecaster on load that it can learn: no gate over three days, at any step. */
static void who_covers_is_never_gated(void **state) {
    (void)state;
    struct loop l;
    begin(&l, SPR_AUTO, NULL);
    spr_series *past = small_series(l.ctx, VMS, 7 * 288, steady_with_a_day);
    assert_int_equal(spr_controller_history(l.c, past, 0, 7 * 288), SPR_OK);
    spr_series_unref(past);
    l.now_s = 7 * 86400;
    spr_sim_world()->advance(l.sim, at_s(l.now_s));
    assert_int_equal(spr_controller_step(l.c, at_s(l.now_s)), SPR_OK);
    for (int t = 7 * 288; t < 9 * 288; t++) {
        for (int v = 0; v < VMS; v++)
            l.demand[v] = steady_with_a_day(v, t);
        spr_sim_world()->demand(l.sim, l.demand);
        for (int k = 0; k < STEP / 30; k++) {
            l.now_s += 30;
            spr_sim_world()->advance(l.sim, at_s(l.now_s));
            if (spr_controller_next_deadline(l.c) <= at_s(l.now_s).mono_ns)
                assert_int_equal(spr_controller_step(l.c, at_s(l.now_s)), SPR_OK);
        }
        for (int h = 0; h < HOSTS; h++)
            assert_false(calibration(&l, h).gated);
    }
    for (int h = 0; h < HOSTS; h++) {
        struct spr_calibration c = calibration(&l, h);
        print_message("host %d: %.3f at or below the 0.9 quantile over %d outcomes, evidence %.2f\n", h, c.recent,
                      (int)c.outcomes, c.evidence);
        assert_true(c.outcomes > 2 * 288 - 6 && c.recent > 0.8);
    }
    end(&l);
}

static void asking_for_nobody_is_an_error(void **state) {
    (void)state;
    struct loop l;
    struct spr_calibration c = {.size = sizeof c};
    begin(&l, SPR_ADVISE, &teller);
    pass(&l, 3);
    assert_int_equal(spr_controller_calibration(NULL, 0, SPR_CPU, 0.9, &c), SPR_E_ARG);
    assert_int_equal(spr_controller_calibration(l.c, VMS, SPR_CPU, 0.9, &c), SPR_E_ARG);
    assert_int_equal(spr_controller_calibration(l.c, 0, SPR_MEMORY, 0.9, &c), SPR_E_ARG);
    assert_int_equal(spr_controller_calibration(l.c, 0, SPR_CPU, 1, &c), SPR_E_ARG);
    assert_int_equal(spr_controller_calibration(l.c, 0, SPR_CPU, 0.9, NULL), SPR_E_ARG);
    assert_int_equal(spr_controller_calibration(l.c, 0, SPR_CPU, 0.97, &c), SPR_OK);
    assert_true(c.level == 0.95 && c.gated == 0);
    end(&l);
}

static void a_planner_is_told_of_every_host_or_of_none(void **state) {
    (void)state;
    struct loop l;
    begin(&l, SPR_ADVISE, &teller);
    const uint8_t under[HOSTS + 1] = {0};
    struct spr_planner_config none = {.size = sizeof none, .rule = SPR_NEED_NONE};
    struct spr_plan_opts o = {.size = sizeof o, .under_covered = under, .under_covered_count = HOSTS + 1};
    spr_planner *p = NULL;
    spr_plan *plan = NULL;
    assert_int_equal(spr_planner_create(l.ctx, NULL, &none, &p), SPR_OK);
    assert_int_equal(spr_planner_run(p, l.fleet, NULL, &o, &plan), SPR_E_ARG);
    o.under_covered = NULL, o.under_covered_count = HOSTS;
    assert_int_equal(spr_planner_run(p, l.fleet, NULL, &o, &plan), SPR_E_ARG);
    o.under_covered = under;
    assert_int_equal(spr_planner_run(p, l.fleet, NULL, &o, &plan), SPR_OK);
    spr_plan_unref(plan);
    spr_planner_destroy(p);
    end(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_covers_too_little_only_advises_and_comes_back),
        cmocka_unit_test(a_person_may_approve_what_is_held_back),
        cmocka_unit_test(who_covers_is_never_gated),
        cmocka_unit_test(asking_for_nobody_is_an_error),
        cmocka_unit_test(a_planner_is_told_of_every_host_or_of_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
