/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A small fleet with a forecast of its hosts' totals, for tests of planning:
 *
 *     struct scene s = scene_open(1u << SPR_CPU);
 *     int32_t home = scene_host(&s, "home", NULL, NULL, 10);
 *     scene_vm(&s, "web", home, 7.3);
 *     scene_settle(&s);                              the fleet stands; every total is forecast as it is now
 *     scene_expect(&s, home, SPR_CPU, 2, 5, 13, 0.5); ... but steps 2 to 4 of this one are about 13
 *     scene_plan(&s);
 *     scene_close(&s);
 *
 * Time: steps of 300 s, 60 s of the running one are over, so step j covers [300 j - 60, 300 j + 240) s from now.
 */
#ifndef TESTS_UNIT_PLAN_SCENE_H
#define TESTS_UNIT_PLAN_SCENE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "forecast/forecast.h"
#include "plan/plan.h"

enum { SCENE_STEPS = 16, SCENE_LEVELS = 9, SCENE_GRID = 4000 };
static const double scene_levels[SCENE_LEVELS] = {.1, .25, .5, .65, .75, .85, .9, .95, .99};
static const int64_t scene_second = INT64_C(1000000000);

struct scene {
    spr_context *ctx;
    spr_fleet_builder *builder;
    spr_fleet *fleet;
    spr_forecast *forecast;
    spr_planner *planner; /* built-in with the value rule unless a test makes another one */
    spr_plan *plan;
    struct spr_plan_opts opts;
    struct spr_time now;
    struct spr_amounts of_hosts; /* what a host has of the other resources */
};

static inline struct scene scene_open_in(spr_context *ctx, uint32_t resources) {
    struct scene s = {.ctx = ctx, .opts = {.size = sizeof s.opts}};
    s.now.wall_ns = SCENE_GRID * 300 * scene_second + 60 * scene_second;
    s.now.mono_ns = 777 * 86400 * scene_second + 4321;
    assert_int_equal(spr_fleet_builder_create(s.ctx, NULL, &s.builder), SPR_OK);
    for (int r = 0; r < SPR_RESOURCES_MAX; r++)
        if (resources & (1u << r))
            assert_int_equal(spr_fleet_builder_use(s.builder, r), SPR_OK);
    return s;
}

static inline struct scene scene_open(uint32_t resources) {
    spr_context *ctx = NULL;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    return scene_open_in(ctx, resources);
}

static inline int32_t scene_host(struct scene *s, const char *id, const char *rack, const char *zone, double cpu) {
    struct spr_host h = {.size = sizeof h, .id = id, .rack = rack, .zone = zone, .capacity = s->of_hosts};
    int32_t index = -1;
    h.capacity.of[SPR_CPU] = cpu;
    assert_int_equal(spr_fleet_builder_host(s->builder, &h, &index), SPR_OK);
    return index;
}

/* A VM that may be replicated and may spill 0.8 of its demand; a test changes what it is about. */
static inline struct spr_vm scene_vm_of(const struct scene *s, const char *id, int32_t host, double cpu) {
    struct spr_vm v = {.size = sizeof v,
                       .id = id,
                       .host = host,
                       .replica = SPR_REPLICA_TEMPLATE,
                       .spillable = 0.8,
                       .klass = -1,
                       .seen_mono_ns = s->now.mono_ns};
    v.demand.of[SPR_CPU] = v.demand_hour.of[SPR_CPU] = cpu;
    return v;
}

static inline int32_t scene_add(struct scene *s, const struct spr_vm *v) {
    int32_t index = -1;
    assert_int_equal(spr_fleet_builder_vm(s->builder, v, &index), SPR_OK);
    return index;
}

static inline int32_t scene_vm(struct scene *s, const char *id, int32_t host, double cpu) {
    struct spr_vm v = scene_vm_of(s, id, host, cpu);
    return scene_add(s, &v);
}

/* A shard with `ready` CPU that serves and `pending` CPU on its way. */
static inline void scene_shard(struct scene *s, uint64_t id, int32_t vm, int32_t host, double ready, double pending) {
    struct spr_shard d = {.size = sizeof d,
                          .id = id,
                          .vm = vm,
                          .host = host,
                          .state = ready > 0 ? SPR_SHARD_SERVING : SPR_SHARD_ALLOCATING,
                          .warmness = 1};
    d.ready.of[SPR_CPU] = ready;
    d.pending.of[SPR_CPU] = pending;
    assert_int_equal(spr_fleet_builder_shard(s->builder, &d), SPR_OK);
}

static inline void scene_declare(struct scene *s, const char *match, double from_s, double to_s, double cpu,
                                 double confidence) {
    struct spr_declared d = {
        .size = sizeof d, .match = match, .resource = SPR_CPU, .amount = cpu, .confidence = confidence};
    d.start_wall_ns = s->now.wall_ns + (int64_t)(from_s * 1e9);
    d.end_wall_ns = s->now.wall_ns + (int64_t)(to_s * 1e9);
    assert_int_equal(spr_fleet_builder_declared(s->builder, &d), SPR_OK);
}

static inline int32_t scene_resources(const struct scene *s) {
    uint32_t used = spr_fleet_resources(s->fleet);
    int32_t n = 0;
    for (int r = 0; r < SPR_RESOURCES_MAX; r++)
        n += (used >> r) & 1;
    return n;
}

/* Steps [from, to) of a host's total: normal-like spread, `width` from the median to the highest level. */
static inline void scene_expect(struct scene *s, int32_t host, int resource, int from, int to, double median,
                                double width) {
    int32_t i = 0;
    for (int r = 0; r < resource; r++)
        i += (spr_fleet_resources(s->fleet) >> r) & 1;
    int64_t row = (int64_t)host * scene_resources(s) + i;
    for (int j = from; j < to; j++) {
        s->forecast->points[row * SCENE_STEPS + j] = median;
        for (int k = 0; k < SCENE_LEVELS; k++)
            s->forecast->quantiles[(row * SCENE_STEPS + j) * SCENE_LEVELS + k] =
                median + width * (scene_levels[k] - 0.5) / 0.49;
    }
}

static inline void scene_settle(struct scene *s) {
    assert_int_equal(spr_fleet_builder_finish(s->builder, s->now, &s->fleet), SPR_OK);
    s->builder = NULL;
    int32_t hosts = spr_fleet_host_count(s->fleet);
    int64_t rows = (int64_t)hosts * scene_resources(s);
    assert_int_equal(spr__forecast_new(s->ctx, rows, SCENE_STEPS, SCENE_LEVELS, scene_levels,
                                       s->now.wall_ns / (300 * scene_second), &s->forecast),
                     SPR_OK);
    for (int32_t h = 0; h < hosts; h++)
        for (int r = 0; r < SPR_RESOURCES_MAX; r++) {
            struct spr_vm v = {.size = sizeof v};
            double load = 0;
            if (!(spr_fleet_resources(s->fleet) & (1u << r)))
                continue;
            for (int32_t k = 0; k < spr_fleet_vm_count(s->fleet); k++) {
                assert_int_equal(spr_fleet_vm(s->fleet, k, &v), SPR_OK);
                load += v.host == h ? v.demand.of[r] : 0;
            }
            scene_expect(s, h, r, 0, SCENE_STEPS, load, 0);
        }
}

static inline int scene_try(struct scene *s) {
    if (!s->planner)
        assert_int_equal(spr_planner_create(s->ctx, NULL, NULL, &s->planner), SPR_OK);
    spr_plan_unref(s->plan);
    s->plan = NULL;
    return spr_planner_run(s->planner, s->fleet, s->forecast, &s->opts, &s->plan);
}

static inline void scene_plan(struct scene *s) { assert_int_equal(scene_try(s), SPR_OK); }

static inline struct spr_action scene_action(const struct scene *s, int32_t index) {
    struct spr_action a = {.size = sizeof a};
    assert_int_equal(spr_plan_action(s->plan, index, &a), SPR_OK);
    return a;
}

static inline struct spr_infeasible scene_wish(const struct scene *s, int32_t index) {
    struct spr_infeasible w = {.size = sizeof w};
    assert_int_equal(spr_plan_infeasible(s->plan, index, &w), SPR_OK);
    return w;
}

static inline int32_t scene_actions(const struct scene *s) { return spr_plan_action_count(s->plan); }

/* How much CPU all actions of a kind are about, on one host (-1: any). */
static inline double scene_sum(const struct scene *s, int kind, int32_t host) {
    double sum = 0;
    for (int32_t k = 0; k < scene_actions(s); k++) {
        struct spr_action a = scene_action(s, k);
        if (a.kind == kind && (host < 0 || a.host == host))
            sum += a.amounts.of[SPR_CPU];
    }
    return sum;
}

static inline void scene_close(struct scene *s) {
    spr_plan_unref(s->plan);
    spr_planner_destroy(s->planner);
    spr_forecast_unref(s->forecast);
    spr_fleet_unref(s->fleet);
    spr_fleet_builder_destroy(s->builder);
    spr_context_unref(s->ctx);
}

#endif
