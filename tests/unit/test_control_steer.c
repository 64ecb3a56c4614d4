/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The loop publishes what the law says, believes probes, and answers a jump in the router's counters at once. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdbool.h>
#include <string.h>
#include <cmocka.h>

#include <shardpredict/backend-sim.h>

#include "small_fleet.h"

enum { HOSTS = 4, VMS = 8 };

/* The simulation's router, which counts besides. */
struct counting {
    void *sim;
    uint64_t flows;
    int32_t vm;
    bool nonsense;
};
static int counting_open(const struct spr_env *env, const void *config, void **state) {
    (void)env;
    *state = (void *)(uintptr_t)config;
    return SPR_OK;
}
static void counting_close(void *state) { spr_sim_router()->close(((struct counting *)state)->sim); }
static int counting_publish(void *state, spr_routes *r, struct spr_time now, int64_t deadline, spr_ticket *out) {
    return spr_sim_router()->publish(((struct counting *)state)->sim, r, now, deadline, out);
}
static int counting_collect(void *state, struct spr_time now, struct spr_router_completion *out, size_t room,
                            size_t *count) {
    return spr_sim_router()->collect(((struct counting *)state)->sim, now, out, room, count);
}
static int counting_counters(void *state, struct spr_time now, struct spr_route_counters *out, size_t room,
                             size_t *count) {
    struct counting *r = state;
    (void)now;
    assert_true(room >= 1 && out[0].size == sizeof out[0]);
    out[0].vm = r->nonsense ? VMS : r->vm;
    out[0].flows = r->flows;
    out[0].answer_s = NAN;
    *count = 1;
    return SPR_OK;
}
static int no_cancel(void *state, spr_ticket t) {
    (void)state, (void)t;
    return SPR_E_NOT_FOUND;
}
static const struct spr_async_ops counting_async = {.size = sizeof counting_async, .cancel = no_cancel};
static const struct spr_router_ops counting_ops = {.size = sizeof counting_ops,
                                                   .name = "counting",
                                                   .license = "MIT",
                                                   .async = &counting_async,
                                                   .open = counting_open,
                                                   .close = counting_close,
                                                   .publish = counting_publish,
                                                   .collect = counting_collect,
                                                   .counters = counting_counters};

struct loop {
    spr_context *ctx;
    spr_fleet *fleet;
    struct counting router;
    spr_controller *c;
    double now_s, demand[VMS];
};

static int64_t ns(double s) { return (int64_t)llround(s * 1e9); }
static struct spr_time then(double s) { return (struct spr_time){ns(s), ns(s)}; }

static int start(struct loop *l, const struct spr_steer_opts *steer) {
    static const struct spr_planner_config reactive = {
        .size = sizeof reactive, .rule = SPR_NEED_REACTIVE, .threshold = 1, .hold_s = SPR_NONE};
    memset(l, 0, sizeof *l);
    assert_int_equal(spr_context_create(NULL, &l->ctx), SPR_OK);
    l->fleet = small_fleet(l->ctx, HOSTS, VMS, 10);
    struct spr_env env = {sizeof env, l->ctx, NULL, 1};
    struct spr_world_config w = {
        .size = sizeof w, .fleet = l->fleet, .substep_s = 0.05, .allocate_s = {40, 40}, .warm_s = {20, 20}};
    assert_int_equal(spr_sim_world()->open(&env, &w, &l->router.sim), SPR_OK);
    struct spr_plan_opts plan = {.size = sizeof plan, .lead_s = 60};
    struct spr_controller_opts o = {.size = sizeof o,
                                    .source = spr_sim_source(),
                                    .source_config = l->router.sim,
                                    .planner_config = &reactive,
                                    .driver = spr_sim_driver(),
                                    .driver_config = l->router.sim,
                                    .router = &counting_ops,
                                    .router_config = &l->router,
                                    .plan = &plan,
                                    .automation = SPR_AUTO,
                                    .horizon = SPR_NONE,
                                    .steer = steer};
    return spr_controller_create(l->ctx, &o, &l->c);
}

static void end(struct loop *l) {
    spr_controller_destroy(l->c);
    spr_sim_world()->close(l->router.sim);
    spr_fleet_unref(l->fleet);
    spr_context_unref(l->ctx);
}

static int pass(struct loop *l, double seconds, double each) {
    int first = SPR_OK;
    spr_sim_world()->demand(l->router.sim, l->demand);
    for (double stop = l->now_s + seconds; l->now_s < stop - 1e-9;) {
        l->now_s += each;
        spr_sim_world()->advance(l->router.sim, then(l->now_s));
        int rc = spr_controller_step(l->c, then(l->now_s));
        first = first < 0 ? first : rc;
    }
    return first;
}

/* A host at 120 %: its first VM with a route. */
static spr_routes *busy(struct loop *l, struct spr_route *route) {
    for (int v = 0; v < VMS; v++)
        l->demand[v] = v % HOSTS ? 2 : 6;
    assert_int_equal(pass(l, 1800, 10), SPR_OK);
    spr_routes *r = spr_controller_routes(l->c);
    assert_true(spr_routes_count(r) >= 1);
    route->size = sizeof *route;
    assert_int_equal(spr_routes_get(r, 0, route), SPR_OK);
    assert_true(route->target_count >= 1);
    return r;
}

static void what_the_law_says_is_published(void **state) {
    (void)state;
    struct loop l;
    struct spr_route route;
    struct spr_steer_opts slow = {.size = sizeof slow, .reserve = 1};
    assert_int_equal(start(&l, NULL), SPR_OK);
    spr_routes *r = busy(&l, &route);
    assert_true(route.spill > 0 && route.ramp_per_s > 0);
    double as_far_as_they_carry = route.spill;
    spr_routes_unref(r);
    end(&l);
    assert_int_equal(start(&l, &slow), SPR_OK); /* and without a forecast nothing is needed but what is measured */
    r = busy(&l, &route);
    assert_true(route.spill < as_far_as_they_carry);
    spr_routes_unref(r);
    end(&l);
    struct spr_steer_opts bad = {.size = sizeof bad, .target = 7};
    assert_int_equal(start(&l, &bad), SPR_E_ARG);
    end(&l);
}

static void probes_reach_the_routes_in_the_next_step(void **state) {
    (void)state;
    struct loop l;
    struct spr_route route;
    struct spr_route_target t = {.size = sizeof t};
    assert_int_equal(start(&l, NULL), SPR_OK);
    assert_int_equal(spr_controller_health(l.c, 0, 0, 1, then(0)), SPR_E_ARG); /* there are no VMs yet */
    spr_routes *r = busy(&l, &route);
    assert_int_equal(spr_routes_target(r, 0, 0, &t), SPR_OK);
    for (int k = 0; k < 3; k++) {
        assert_int_equal(spr_controller_health(l.c, route.vm, t.shard, 0, then(l.now_s)), k == 2);
        assert_int_equal(spr_controller_health(l.c, route.vm, 0, 0, then(l.now_s)), k == 2);
    }
    spr_routes_unref(r);
    assert_int_equal(pass(&l, 1, 1), SPR_OK);
    r = spr_controller_routes(l.c);
    assert_int_equal(spr_routes_get(r, 0, &route), SPR_OK);
    assert_int_equal(spr_routes_target(r, 0, 0, &t), SPR_OK);
    assert_int_equal(t.dead, 1);
    assert_int_equal(route.promoted, route.target_count > 1 ? 2 : 0);
    for (int i = 0; i < SPR_ROUTE_SLOTS; i++)
        assert_int_not_equal(spr_routes_table(r, 0)[i], 1);
    spr_routes_unref(r);
    assert_int_equal(spr_controller_health(l.c, VMS, 0, 0, then(l.now_s)), SPR_E_ARG);
    assert_int_equal(spr_controller_health(NULL, 0, 0, 0, then(l.now_s)), SPR_E_ARG);
    end(&l);
}

static double spill_now(const struct loop *l) {
    struct spr_route route = {.size = sizeof route};
    spr_routes *r = spr_controller_routes(l->c);
    assert_int_equal(spr_routes_get(r, 0, &route), SPR_OK);
    spr_routes_unref(r);
    return route.spill;
}

static void a_jump_in_the_counters_spills_more_at_once(void **state) {
    (void)state;
    struct loop l;
    struct spr_route route;
    struct spr_steer_opts slow = {.size = sizeof slow, .reserve = 1};
    assert_int_equal(start(&l, &slow), SPR_OK);
    spr_routes_unref(busy(&l, &route));
    l.router.vm = route.vm;
    for (int n = 0; n < 300; n++) {
        l.router.flows += 20;
        assert_int_equal(pass(&l, 0.05, 0.05), SPR_OK);
    }
    double before = spill_now(&l);
    int ticks = 0;
    for (; ticks < 20 && spill_now(&l) <= before; ticks++) {
        l.router.flows += 60;
        assert_int_equal(pass(&l, 0.05, 0.05), SPR_OK);
    }
    assert_true(ticks <= 5);
    l.router.nonsense = true;
    assert_int_equal(pass(&l, 0.05, 0.05), SPR_E_CALLBACK);
    end(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_law_says_is_published),
        cmocka_unit_test(probes_reach_the_routes_in_the_next_step),
        cmocka_unit_test(a_jump_in_the_counters_spills_more_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
