/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The loop among sources and routers that are slow, refuse or err, and clocks that begin or jump anywhere. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <shardpredict/backend-sim.h>

#include "small_fleet.h"

enum { HOSTS = 4, VMS = 8, QUEUE = 8 };

/* Memory that is counted: what is not given back shows. */
static void *counted_alloc(void *user, size_t bytes) {
    ++*(int64_t *)user;
    return malloc(bytes);
}
static void *counted_realloc(void *user, void *block, size_t old_bytes, size_t bytes) {
    (void)old_bytes;
    *(int64_t *)user += !block;
    return realloc(block, bytes);
}
static void counted_free(void *user, void *block, size_t bytes) {
    (void)bytes;
    --*(int64_t *)user;
    free(block);
}

/* A source that says what it is told to. */
struct script {
    spr_fleet *fleet;
    double demand[VMS];
    bool silent, left_out[VMS], odd_stalls, junk, refuses;
    spr_ticket last;
    struct {
        spr_ticket ticket;
        int verb;
    } asked[QUEUE];
    int asked_count, asked_ever;
    struct spr_time sampled;
    struct spr_usage usage[VMS];
};

static int script_open(const struct spr_env *env, const void *config, void **state) {
    (void)env;
    *state = (void *)(uintptr_t)config;
    return SPR_OK;
}
static void script_close(void *state) { ((struct script *)state)->asked_count = 0; }
static int script_submit(void *state, int verb, struct spr_time now, int64_t deadline, spr_ticket *out) {
    struct script *s = state;
    (void)now, (void)deadline;
    s->asked_ever++;
    if (s->refuses || s->asked_count == QUEUE)
        return SPR_E_BUSY;
    s->asked[s->asked_count].verb = verb;
    s->asked[s->asked_count++].ticket = *out = ++s->last;
    return SPR_OK;
}
static void measure(struct script *s, struct spr_time now, struct spr_source_completion *c) {
    size_t n = 0;
    for (int v = 0; v < VMS; v++)
        if (!s->left_out[v])
            s->usage[n++] = (struct spr_usage){.vm = v,
                                               .resource = SPR_CPU,
                                               .used = s->demand[v],
                                               .stalled = s->odd_stalls ? NAN : 0,
                                               .flags = s->odd_stalls ? 0 : SPR_USAGE_STALL_KNOWN};
    c->from = s->sampled;
    c->to = s->sampled = now;
    c->usage = s->usage;
    c->usage_count = n;
}
static int script_collect(void *state, struct spr_time now, struct spr_source_completion *out, size_t room,
                          size_t *count) {
    struct script *s = state;
    size_t n = 0;
    if (s->junk && n < room) { /* nobody asked for this one */
        out[n++] =
            (struct spr_source_completion){.size = sizeof *out, .ticket = 999999, .inventory = spr_fleet_ref(s->fleet)};
        s->junk = false;
    }
    for (int k = 0; k < s->asked_count && n < room && !s->silent; k++) {
        struct spr_source_completion *c = &out[n++];
        *c = (struct spr_source_completion){.size = sizeof *c, .ticket = s->asked[k].ticket};
        if (s->asked[k].verb == SPR_SOURCE_INVENTORY)
            c->inventory = spr_fleet_ref(s->fleet);
        else
            measure(s, now, c);
    }
    if (!s->silent)
        s->asked_count = 0;
    *count = n;
    return SPR_OK;
}
static int script_fd(void *state) {
    (void)state;
    return 0; /* whatever it is, it can be polled */
}
static int script_cancel(void *state, spr_ticket t) {
    (void)state, (void)t;
    return SPR_E_NOT_FOUND;
}
static const struct spr_async_ops script_async = {
    .size = sizeof script_async, .fd = script_fd, .cancel = script_cancel};
static const struct spr_source_ops script_ops = {.size = sizeof script_ops,
                                                 .name = "script",
                                                 .license = "MIT",
                                                 .async = &script_async,
                                                 .open = script_open,
                                                 .close = script_close,
                                                 .submit = script_submit,
                                                 .collect = script_collect};

/* A router that counts what it is told, and refuses where asked to. */
struct ear {
    int heard, refuse_at_once, refuse_later;
    int32_t services;
    spr_ticket last, waits;
};
static int ear_publish(void *state, spr_routes *routes, struct spr_time now, int64_t deadline, spr_ticket *out) {
    struct ear *e = state;
    (void)now, (void)deadline;
    e->heard++;
    if (e->refuse_at_once > 0 && e->refuse_at_once--)
        return SPR_E_BUSY;
    e->services = spr_routes_count(routes);
    *out = e->waits = ++e->last;
    return SPR_OK;
}
static int ear_collect(void *state, struct spr_time now, struct spr_router_completion *out, size_t room,
                       size_t *count) {
    struct ear *e = state;
    (void)now;
    *count = 0;
    if (e->waits && room) {
        out[0] = (struct spr_router_completion){.size = sizeof *out, .ticket = e->waits};
        if (e->refuse_later > 0 && e->refuse_later--)
            out[0].outcome = SPR_FAILED, out[0].code = SPR_E_IO;
        e->waits = 0;
        *count = 1;
    }
    return SPR_OK;
}
static const struct spr_async_ops ear_async = {.size = sizeof ear_async, .cancel = script_cancel};
static void ear_close(void *state) { (void)state; }
static const struct spr_router_ops ear_ops = {.size = sizeof ear_ops,
                                              .name = "ear",
                                              .license = "MIT",
                                              .async = &ear_async,
                                              .open = script_open,
                                              .close = ear_close,
                                              .publish = ear_publish,
                                              .collect = ear_collect};

/* ---- the scene ---- */

struct scene {
    int64_t blocks;
    spr_context *ctx;
    struct script source;
    struct ear ear;
    void *sim;
    spr_controller *c;
};

static const struct spr_planner_config reactive = {
    .size = sizeof reactive, .rule = SPR_NEED_REACTIVE, .threshold = 1, .hold_s = SPR_NONE};

static void begin(struct scene *s) {
    memset(s, 0, sizeof *s);
    struct spr_allocator a = {sizeof a, counted_alloc, counted_realloc, counted_free, &s->blocks};
    struct spr_context_opts o = SPR_CONTEXT_OPTS_INIT;
    o.allocator = &a;
    assert_int_equal(spr_context_create(&o, &s->ctx), SPR_OK);
    s->source.fleet = small_fleet(s->ctx, HOSTS, VMS, 10);
    for (int v = 0; v < VMS; v++)
        s->source.demand[v] = v % HOSTS ? 2 : 6; /* host00 at 120 % */
    struct spr_env env = {sizeof env, s->ctx, NULL, 1};
    struct spr_world_config w = {
        .size = sizeof w, .fleet = s->source.fleet, .substep_s = 10, .allocate_s = {40, 40}, .warm_s = {20, 20}};
    assert_int_equal(spr_sim_world()->open(&env, &w, &s->sim), SPR_OK);
}

static struct spr_controller_opts opts_of(struct scene *s, int automation) {
    struct spr_controller_opts o = {.size = sizeof o,
                                    .source = &script_ops,
                                    .source_config = &s->source,
                                    .planner_config = &reactive,
                                    .driver = spr_sim_driver(),
                                    .driver_config = s->sim,
                                    .router = &ear_ops,
                                    .router_config = &s->ear,
                                    .automation = automation};
    static const struct spr_plan_opts plan = {.size = sizeof plan, .lead_s = 60};
    o.plan = &plan;
    o.horizon = SPR_NONE;
    return o;
}

static void start(struct scene *s, int automation) {
    struct spr_controller_opts o = opts_of(s, automation);
    assert_int_equal(spr_controller_create(s->ctx, &o, &s->c), SPR_OK);
}

/* Every ten seconds, whether it wants or not; the first error. */
static int pass(struct scene *s, double from_s, double to_s) {
    int first = SPR_OK;
    for (double t = from_s; t <= to_s + 1e-9; t += 10) {
        if (s->sim)
            spr_sim_world()->advance(s->sim, at_s(t));
        int rc = spr_controller_step(s->c, at_s(t));
        first = first < 0 ? first : rc;
    }
    return first;
}

static void end(struct scene *s) {
    spr_controller_destroy(s->c);
    spr_sim_world()->close(s->sim);
    spr_fleet_unref(s->source.fleet);
    spr_context_unref(s->ctx);
    assert_int_equal(s->blocks, 0);
}

static double held(const struct scene *s) {
    spr_fleet *f = spr_controller_fleet(s->c);
    double sum = 0;
    for (int32_t h = 0; h < HOSTS; h++) {
        struct spr_amounts a;
        spr_fleet_held(f, h, &a);
        sum += a.of[SPR_CPU];
    }
    spr_fleet_unref(f);
    return sum;
}

/* ---- the source ---- */

static void an_answer_that_takes_long_does_not_keep_the_host_program_busy(void **state) {
    (void)state;
    struct scene s;
    begin(&s);
    start(&s, SPR_ADVISE);
    s.source.silent = true;
    assert_int_equal(spr_controller_step(s.c, at_s(5)), SPR_OK);
    assert_true(spr_controller_next_deadline(s.c) > at_s(6).mono_ns); /* the inventory is on its way */
    s.source.silent = false;
    assert_int_equal(pass(&s, 10, 130), SPR_OK);
    s.source.silent = true;
    for (int k = 14; k < 40; k++) {
        int asked = s.source.asked_ever;
        assert_int_equal(spr_controller_step(s.c, at_s(10.0 * k)), SPR_OK);
        assert_true(spr_controller_next_deadline(s.c) > at_s(10.0 * k).mono_ns);
        assert_true(k < 25 || s.source.asked_ever == asked); /* and it is not asked on and on */
    }
    end(&s);
}

static void a_source_that_refuses_is_asked_again_later(void **state) {
    (void)state;
    struct scene s;
    begin(&s);
    start(&s, SPR_ADVISE);
    s.source.refuses = true;
    assert_int_equal(spr_controller_step(s.c, at_s(5)), SPR_E_BUSY);
    assert_true(spr_controller_next_deadline(s.c) > at_s(6).mono_ns);
    s.source.refuses = false;
    assert_int_equal(pass(&s, 10, 200), SPR_OK);
    spr_plan *plan = spr_controller_plan(s.c);
    assert_non_null(plan);
    spr_plan_unref(plan);
    end(&s);
}

static void an_inventory_nobody_asked_for_is_given_back(void **state) {
    (void)state;
    struct scene s;
    begin(&s);
    start(&s, SPR_ADVISE);
    s.source.junk = true;
    assert_int_equal(pass(&s, 0, 70), SPR_OK);
    end(&s); /* counts what is left */
}

static void a_stall_that_is_not_known_is_not_read(void **state) {
    (void)state;
    struct scene s;
    begin(&s);
    start(&s, SPR_ADVISE);
    s.source.odd_stalls = true;
    assert_int_equal(pass(&s, 0, 130), SPR_OK);
    spr_fleet *f = spr_controller_fleet(s.c);
    struct spr_vm vm = {.size = sizeof vm};
    assert_int_equal(spr_fleet_vm(f, 0, &vm), SPR_OK);
    assert_true(vm.demand.of[SPR_CPU] == 6);
    spr_fleet_unref(f);
    end(&s);
}

/* ---- clocks ---- */

static void the_monotonic_clock_may_begin_below_zero(void **state) {
    (void)state;
    struct scene s;
    begin(&s);
    start(&s, SPR_ADVISE);
    assert_int_equal(spr_controller_step(s.c, (struct spr_time){0, -at_s(500).mono_ns}), SPR_OK);
    assert_int_equal(s.source.asked_ever, 1);
    end(&s);
}

/* Promise 2 right after a start: a restarted controller finds shards, and their VMs are not heard of yet. */
static void a_vm_never_heard_of_keeps_its_shards_on_a_young_clock(void **state) {
    (void)state;
    struct scene s;
    begin(&s);
    start(&s, SPR_AUTO);
    assert_int_equal(pass(&s, 0, 150), SPR_OK);
    double before = held(&s);
    assert_true(before > 1.9);
    spr_controller_destroy(s.c);
    for (int v = 0; v < VMS; v += HOSTS)
        s.source.left_out[v] = true;
    start(&s, SPR_AUTO);
    assert_int_equal(pass(&s, 160, 290), SPR_OK); /* stale is 300 s here */
    assert_true(held(&s) >= before - 1e-9);
    end(&s);
}

static double flat(int v, int t) {
    (void)t;
    return v % HOSTS ? 2 : 6;
}

/* The most that is expected of host 0 at the far end of the forecast. */
static double ahead(const struct scene *s, int64_t *first_step) {
    spr_forecast *f = spr_controller_forecast(s->c);
    int32_t k = f ? spr_forecast_horizon(f) * spr_forecast_level_count(f) : 0;
    double y = f ? spr_forecast_quantiles(f)[k - 1] : NAN;
    *first_step = f ? spr_forecast_first_step(f) : -1;
    spr_forecast_unref(f);
    return y;
}

static void with_history(struct scene *s) {
    struct spr_controller_opts o = opts_of(s, SPR_ADVISE);
    o.driver = NULL;
    o.router = NULL;
    o.planner_config = NULL;
    o.horizon = 0;
    o.history_steps = 288;
    assert_int_equal(spr_controller_create(s->ctx, &o, &s->c), SPR_OK);
    s->source.sampled = at_s(288 * 300);
    assert_int_equal(spr_controller_step(s->c, at_s(288 * 300)), SPR_OK);
    spr_series *past = small_series(s->ctx, VMS, 288, flat);
    assert_int_equal(spr_controller_history(s->c, past, 0, 288), SPR_OK);
    spr_series_unref(past);
}

static void a_wall_clock_set_back_by_days_begins_history_anew(void **state) {
    (void)state;
    struct scene s;
    int64_t step;
    begin(&s);
    with_history(&s);
    assert_int_equal(pass(&s, 288 * 300 + 10, 288 * 300 + 600), SPR_OK);
    assert_true(fabs(ahead(&s, &step) - 12) < 0.5);
    assert_true(step >= 288);
    for (int k = 1; k <= 60; k++) {
        struct spr_time now = at_s(288 * 300 + 600 + 10.0 * k);
        now.wall_ns -= at_s(2 * 86400).wall_ns;
        assert_int_equal(spr_controller_step(s.c, now), SPR_OK);
    }
    double y = ahead(&s, &step);
    assert_true(isnan(y) || step < 288); /* none, or one of the time that is now: not the one of before */
    end(&s);
}

/* ---- the inventory ---- */

static void a_deleted_vm_takes_its_part_of_the_hosts_past_along(void **state) {
    (void)state;
    struct scene s;
    int64_t step;
    begin(&s);
    with_history(&s);
    assert_int_equal(pass(&s, 288 * 300 + 10, 288 * 300 + 300), SPR_OK);
    assert_true(fabs(ahead(&s, &step) - 12) < 0.5);
    spr_fleet_unref(s.source.fleet);
    s.source.fleet = small_fleet(s.ctx, HOSTS, 4, 10); /* vm04 to vm07 are gone */
    for (int v = 4; v < VMS; v++)
        s.source.left_out[v] = true;
    assert_int_equal(pass(&s, 288 * 300 + 310, 288 * 300 + 690), SPR_OK); /* at the first look, before it could learn */
    assert_true(fabs(ahead(&s, &step) - 6) < 0.5);
    end(&s);
}

/* ---- the router ---- */

static void routes_that_were_refused_are_told_again(void **state) {
    (void)state;
    struct scene s;
    begin(&s);
    s.ear.refuse_at_once = 1;
    start(&s, SPR_AUTO);
    pass(&s, 0, 600);
    assert_true(s.ear.heard >= 2 && s.ear.services >= 1);
    end(&s);

    begin(&s);
    start(&s, SPR_AUTO);
    s.ear.refuse_later = 1000; /* each one that it accepted first */
    assert_int_equal(pass(&s, 0, 1200), SPR_E_IO);
    int heard = s.ear.heard;
    pass(&s, 1210, 2400);
    assert_true(s.ear.heard > heard); /* shards have settled long ago */
    s.ear.refuse_later = 0;
    pass(&s, 2410, 2600);
    heard = s.ear.heard;
    assert_int_equal(pass(&s, 2610, 3600), SPR_OK);
    assert_int_equal(s.ear.heard, heard); /* it knows them now */
    end(&s);
}

/* Promise 1: routes of shards that stand there already are no business of one who only advises. */
static void advice_does_not_reach_the_router(void **state) {
    (void)state;
    struct scene s;
    begin(&s);
    start(&s, SPR_AUTO);
    pass(&s, 0, 600);
    assert_true(s.ear.heard > 0);
    spr_controller_destroy(s.c);
    s.ear = (struct ear){0};
    start(&s, SPR_ADVISE);
    pass(&s, 610, 1200);
    spr_routes *r = spr_controller_routes(s.c);
    assert_true(spr_routes_count(r) >= 1); /* it sees them */
    spr_routes_unref(r);
    assert_int_equal(s.ear.heard, 0);
    assert_int_equal(spr_controller_automation(s.c, SPR_CONFIRM), SPR_OK);
    pass(&s, 1210, 1300);
    assert_int_equal(s.ear.heard, 1);
    assert_true(s.ear.services >= 1);
    end(&s);
}

/* ---- options ---- */

static void paces_that_are_none_are_refused(void **state) {
    (void)state;
    struct scene s;
    static const double odd[] = {1e-12, -1, -60, INFINITY, 1e300, NAN};
    begin(&s);
    for (size_t k = 0; k < sizeof odd / sizeof odd[0]; k++)
        for (int which = 0; which < 4; which++) {
            struct spr_controller_opts o = opts_of(&s, SPR_ADVISE);
            struct spr_plan_opts plan = *o.plan;
            double *field[] = {&plan.step_s, &plan.control_s, &plan.lead_s, &plan.pre_s};
            o.plan = &plan;
            if (which >= 2 && k < 2)
                continue; /* a short wait, or SPR_NONE */
            *field[which] = odd[k];
            assert_int_equal(spr_controller_create(s.ctx, &o, &s.c), SPR_E_ARG);
            assert_null(s.c);
        }
    struct {
        struct spr_plan_opts known;
        double more;
    } young = {{.size = sizeof young}, 0.25};
    struct spr_controller_opts o = opts_of(&s, SPR_ADVISE);
    o.plan = &young.known;
    assert_int_equal(spr_controller_create(s.ctx, &o, &s.c), SPR_E_TOO_NEW);
    end(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_that_takes_long_does_not_keep_the_host_program_busy),
        cmocka_unit_test(a_source_that_refuses_is_asked_again_later),
        cmocka_unit_test(an_inventory_nobody_asked_for_is_given_back),
        cmocka_unit_test(a_stall_that_is_not_known_is_not_read),
        cmocka_unit_test(the_monotonic_clock_may_begin_below_zero),
        cmocka_unit_test(a_vm_never_heard_of_keeps_its_shards_on_a_young_clock),
        cmocka_unit_test(a_wall_clock_set_back_by_days_begins_history_anew),
        cmocka_unit_test(a_deleted_vm_takes_its_part_of_the_hosts_past_along),
        cmocka_unit_test(routes_that_were_refused_are_told_again),
        cmocka_unit_test(advice_does_not_reach_the_router),
        cmocka_unit_test(paces_that_are_none_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
