/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The loop in a simulated world: it acts in time, does not swing, and concludes nothing from silence. */
#include <math.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <shardpredict/backend-sim.h>
#include <shardpredict/ops/forecaster.h>
#include <shardpredict/ops/planner.h>

#include "small_fleet.h"

enum { HOSTS = 4, VMS = 8 };

/* A source between the world and the controller: may hide what shards serve, or say nothing at all. */
struct lens {
    void *sim;
    bool primary_only, silent;
};
static int lens_open(const struct spr_env *env, const void *config, void **state) {
    (void)env;
    *state = (void *)(uintptr_t)config;
    return SPR_OK;
}
static void lens_close(void *state) { (void)state; }
static int lens_submit(void *state, int verb, struct spr_time now, int64_t deadline, spr_ticket *out) {
    return spr_sim_source()->submit(((struct lens *)state)->sim, verb, now, deadline, out);
}
static int lens_collect(void *state, struct spr_time now, struct spr_source_completion *out, size_t room,
                        size_t *count) {
    struct lens *l = state;
    int rc = spr_sim_source()->collect(l->sim, now, out, room, count);
    for (size_t k = 0; k < *count; k++) {
        struct spr_usage *u = (struct spr_usage *)(uintptr_t)out[k].usage;
        for (size_t i = 0; l->primary_only && i < out[k].usage_count; i++)
            u[i].served = 0;
        if (l->silent && !out[k].inventory) {
            out[k].outcome = SPR_FAILED;
            out[k].code = SPR_E_IO;
            out[k].text = "nobody answers";
        }
    }
    return rc;
}
static int lens_cancel(void *state, spr_ticket t) {
    (void)state, (void)t;
    return SPR_E_NOT_FOUND;
}
static const struct spr_async_ops lens_async = {.size = sizeof lens_async, .cancel = lens_cancel};
static const struct spr_source_ops lens_ops = {.size = sizeof lens_ops,
                                               .name = "lens",
                                               .license = "MIT",
                                               .async = &lens_async,
                                               .open = lens_open,
                                               .close = lens_close,
                                               .submit = lens_submit,
                                               .collect = lens_collect};

struct loop {
    spr_context *ctx;
    spr_fleet *fleet;
    void *sim;
    struct lens lens;
    spr_controller *c;
    double now_s;
    int events, grown, given_back;
    double ready[64];
    double demand[VMS];
};

static void on_event(void *user, const struct spr_lifecycle_event *e) {
    struct loop *l = user;
    l->events++;
    double *ready = &l->ready[e->shard % 64];
    l->grown += e->ready.of[SPR_CPU] > *ready + 1e-9;
    l->given_back += e->ready.of[SPR_CPU] < *ready - 1e-9;
    *ready = e->ready.of[SPR_CPU];
}

static const struct spr_driver_ops *with_driver; /* of loops begun from now on; NULL = the simulation's own */
static int with_matches;                         /* loops begun from now on know the calendar of the matches */
static spr_calendar *matches(spr_context *ctx);

static void begin(struct loop *l, int automation, const struct spr_planner_config *rule, bool forecasts) {
    memset(l, 0, sizeof *l);
    assert_int_equal(spr_context_create(NULL, &l->ctx), SPR_OK);
    l->fleet = small_fleet(l->ctx, HOSTS, VMS, 10);
    struct spr_env env = {sizeof env, l->ctx, NULL, 1};
    struct spr_world_config w = {
        .size = sizeof w, .fleet = l->fleet, .substep_s = 10, .allocate_s = {40, 40}, .warm_s = {20, 20}};
    assert_int_equal(spr_sim_world()->open(&env, &w, &l->sim), SPR_OK);
    l->lens.sim = l->sim;
    struct spr_controller_opts o = {.size = sizeof o,
                                    .source = &lens_ops,
                                    .source_config = &l->lens,
                                    .planner_config = rule,
                                    .driver = with_driver ? with_driver : spr_sim_driver(),
                                    .driver_config = l->sim,
                                    .router = spr_sim_router(),
                                    .router_config = l->sim,
                                    .automation = automation,
                                    .event = on_event,
                                    .user = l};
    struct spr_plan_opts plan = {.size = sizeof plan, .lead_s = 60};
    o.plan = &plan;
    o.horizon = forecasts ? 0 : SPR_NONE;
    spr_calendar *calendar = with_matches ? matches(l->ctx) : NULL;
    o.calendar = calendar;
    assert_int_equal(spr_controller_create(l->ctx, &o, &l->c), SPR_OK);
    spr_calendar_unref(calendar);
    assert_int_equal(spr_controller_step(l->c, at_s(0)), SPR_OK);
}

static void end(struct loop *l) {
    spr_controller_destroy(l->c);
    spr_sim_world()->close(l->sim);
    spr_fleet_unref(l->fleet);
    spr_context_unref(l->ctx);
}

static void pass(struct loop *l, double seconds) {
    spr_sim_world()->demand(l->sim, l->demand);
    for (double stop = l->now_s + seconds; l->now_s < stop - 1e-9;) {
        l->now_s += 10;
        spr_sim_world()->advance(l->sim, at_s(l->now_s));
        if (spr_controller_next_deadline(l->c) <= at_s(l->now_s).mono_ns) {
            int rc = spr_controller_step(l->c, at_s(l->now_s));
            assert_true(rc == SPR_OK || (l->lens.silent && rc == SPR_E_IO));
        }
    }
}

static double held(const struct loop *l) {
    spr_fleet *f = spr_controller_fleet(l->c);
    double sum = 0;
    for (int32_t h = 0; h < HOSTS; h++) {
        struct spr_amounts a;
        spr_fleet_held(f, h, &a);
        sum += a.of[SPR_CPU];
    }
    spr_fleet_unref(f);
    return sum;
}

static void busy(struct loop *l) { /* host00 at 120 % */
    for (int v = 0; v < VMS; v++)
        l->demand[v] = v % HOSTS ? 2 : 6;
}
static void calm(struct loop *l) {
    for (int v = 0; v < VMS; v++)
        l->demand[v] = 2;
}

static const struct spr_planner_config reactive = {
    .size = sizeof reactive, .rule = SPR_NEED_REACTIVE, .threshold = 1, .hold_s = SPR_NONE};

/* The prototype saw 410 swings a day with the primary alone and none with the sum. */
static void demand_is_primary_and_shards_or_the_system_swings(void **state) {
    (void)state;
    struct loop sum, alone;
    small_fleet_flow_s = 10; /* flows that move fast show it best */
    begin(&sum, SPR_AUTO, &reactive, false);
    busy(&sum);
    pass(&sum, 86400);
    begin(&alone, SPR_AUTO, &reactive, false);
    alone.lens.primary_only = true;
    busy(&alone);
    pass(&alone, 86400);
    print_message("swings a day: primary and shards %d, primary alone %d\n", sum.given_back, alone.given_back);
    assert_int_equal(sum.given_back, 0);
    assert_true(sum.grown >= 1);
    assert_true(alone.given_back > 50);
    small_fleet_flow_s = 60;
    end(&sum);
    end(&alone);
}

static void shards_come_with_the_need_and_go_with_it(void **state) {
    (void)state;
    struct loop l;
    begin(&l, SPR_AUTO, &reactive, false);
    calm(&l);
    pass(&l, 1200);
    assert_int_equal(l.events, 0);
    busy(&l);
    pass(&l, 3600);
    assert_true(held(&l) > 1.9);
    spr_routes *r = spr_controller_routes(l.c);
    assert_true(spr_routes_count(r) >= 1);
    spr_routes_unref(r);
    calm(&l);
    pass(&l, 3600);
    assert_true(held(&l) == 0);
    r = spr_controller_routes(l.c);
    assert_int_equal(spr_routes_count(r), 0);
    spr_routes_unref(r);
    end(&l);
}

static void advise_touches_nothing_and_confirm_waits_for_a_word(void **state) {
    (void)state;
    struct loop l;
    begin(&l, SPR_ADVISE, &reactive, false);
    busy(&l);
    pass(&l, 1200);
    spr_plan *plan = spr_controller_plan(l.c);
    assert_true(spr_plan_action_count(plan) > 0);
    assert_int_equal(l.events, 0);
    assert_int_equal(spr_controller_approve(l.c, plan), SPR_E_STATE);
    spr_plan_unref(plan);
    assert_int_equal(spr_controller_automation(l.c, SPR_CONFIRM), SPR_OK);
    pass(&l, 600);
    assert_int_equal(l.events, 0);
    plan = spr_controller_plan(l.c);
    assert_int_equal(spr_controller_approve(l.c, plan), SPR_OK);
    pass(&l, 60);
    assert_true(l.events > 0);
    assert_int_equal(spr_controller_approve(l.c, plan), SPR_E_STATE); /* a newer one has come */
    spr_plan_unref(plan);
    end(&l);
}

/* It finds shards it knows nothing of: they are somebody else's. */
static void an_adviser_beside_an_actor_touches_nothing(void **state) {
    (void)state;
    struct loop l;
    begin(&l, SPR_AUTO, &reactive, false);
    busy(&l);
    pass(&l, 70); /* shards are on their way */
    spr_controller *adviser = NULL;
    struct spr_controller_opts o = {.size = sizeof o,
                                    .source = &lens_ops,
                                    .source_config = &l.lens,
                                    .planner_config = &reactive,
                                    .driver = spr_sim_driver(),
                                    .driver_config = l.sim,
                                    .horizon = SPR_NONE};
    assert_int_equal(spr_controller_create(l.ctx, &o, &adviser), SPR_OK);
    double before = held(&l);
    assert_true(before > 0);
    for (int k = 0; k < 5; k++)
        assert_int_equal(spr_controller_step(adviser, at_s(l.now_s + k)), SPR_OK);
    struct spr_observed_shard look;
    struct spr_driver_request q = {.size = sizeof q, .verb = SPR_DRIVER_OBSERVE, .fence = 1};
    struct spr_driver_completion done[8];
    size_t n = 0;
    spr_ticket t;
    memset(done, 0, sizeof done);
    for (int i = 0; i < 8; i++)
        done[i].size = sizeof done[i];
    assert_int_equal(spr_sim_driver()->submit(l.sim, &q, at_s(l.now_s), INT64_MAX, &t), SPR_OK);
    assert_int_equal(spr_sim_driver()->collect(l.sim, at_s(l.now_s), done, 8, &n), SPR_OK);
    assert_true(n >= 1);
    double there = 0;
    for (size_t k = 0; k < n; k++)
        for (size_t s = 0; done[k].ticket == t && s < done[k].observed_count; s++) {
            look = done[k].observed[s];
            there += look.ready.of[SPR_CPU] + look.pending.of[SPR_CPU];
        }
    assert_true(fabs(there - before) < 1e-9);
    spr_controller_destroy(adviser);
    end(&l);
}

static void one_switch_stops_everything_new(void **state) {
    (void)state;
    struct loop l;
    begin(&l, SPR_AUTO, &reactive, false);
    spr_controller_pause(l.c, 1);
    busy(&l);
    pass(&l, 1200);
    assert_int_equal(l.events, 0);
    spr_controller_pause(l.c, 0);
    pass(&l, 120);
    assert_true(l.events > 0);
    end(&l);
}

/* A driver that says of all hosts but one that they have no means of limiting a shard's CPU, until they do. */
static bool bare = true;
static int bare_capabilities(void *state, const char *host, struct spr_driver_capabilities *out) {
    static char why[64];
    int rc = spr_sim_driver()->capabilities(state, host, out);
    snprintf(why, sizeof why, "no cpu control group on %s", host);
    if (rc == SPR_OK && bare && strcmp(host, "host02"))
        out->unkept = 1u << SPR_CPU, out->unkept_why = why;
    return rc;
}

static int wishes_about(const struct loop *l, int because, const char *text) {
    spr_plan *plan = spr_controller_plan(l->c);
    int n = 0;
    for (int32_t k = 0; k < spr_plan_infeasible_count(plan); k++) {
        struct spr_infeasible w = {.size = sizeof w};
        assert_int_equal(spr_plan_infeasible(plan, k, &w), SPR_OK);
        n += w.because == because && strstr(w.text, text);
    }
    spr_plan_unref(plan);
    return n;
}

static void what_the_driver_says_a_host_lacks_the_plan_knows(void **state) {
    (void)state;
    struct loop l;
    struct spr_driver_ops ops = *spr_sim_driver();
    ops.capabilities = bare_capabilities;
    with_driver = &ops;
    begin(&l, SPR_AUTO, &reactive, false);
    busy(&l);
    pass(&l, 70);
    assert_true(held(&l) > 0);
    spr_fleet *f = spr_controller_fleet(l.c);
    for (int32_t k = 0; k < spr_fleet_shard_count(f); k++) {
        struct spr_shard s = {.size = sizeof s};
        assert_int_equal(spr_fleet_shard(f, k, &s), SPR_OK);
        assert_int_equal(s.host, 2);
    }
    spr_fleet_unref(f);
    assert_int_equal(wishes_about(&l, SPR_BECAUSE_NOT_KEPT, "host host01 left out: no cpu control group on host01"), 1);
    assert_int_equal(wishes_about(&l, SPR_BECAUSE_NOT_KEPT, "host02"), 0);
    bare = false; /* somebody mended them */
    calm(&l);
    pass(&l, 3600);
    busy(&l);
    pass(&l, 70);
    assert_true(held(&l) > 0);
    assert_int_equal(wishes_about(&l, SPR_BECAUSE_NOT_KEPT, ""), 0);
    end(&l);
    with_driver = NULL;
}

/* Promise 2: metrics cut off while shards serve; demand falls meanwhile, unseen. */
static void nothing_is_released_on_missing_data(void **state) {
    (void)state;
    struct loop l;
    begin(&l, SPR_AUTO, &reactive, false);
    busy(&l);
    pass(&l, 3600);
    double before = held(&l);
    int given_back = l.given_back;
    assert_true(before > 1.9);
    l.lens.silent = true;
    calm(&l);
    pass(&l, 4 * 3600);
    assert_true(held(&l) == before);
    assert_int_equal(l.given_back, given_back);
    l.lens.silent = false;
    pass(&l, 3600);
    assert_true(held(&l) == 0); /* seen again, it is given back */
    end(&l);
}

static double steps_with_a_daily_peak(int v, int t) {
    return v % HOSTS == 0 && t % 288 >= 144 && t % 288 < 180 ? 6.3 : 2;
}

static void a_peak_that_comes_every_day_is_met_ahead(void **state) {
    (void)state;
    struct loop l;
    double first_ready = -1;
    begin(&l, SPR_AUTO, NULL, true);
    spr_series *past = small_series(l.ctx, VMS, 7 * 288, steps_with_a_daily_peak);
    assert_int_equal(spr_controller_history(l.c, past, 0, 7 * 288), SPR_OK);
    spr_series_unref(past);
    assert_int_equal(spr_controller_history(l.c, past = small_series(l.ctx, VMS, 10, steps_with_a_daily_peak), 0, 10),
                     SPR_E_STATE);
    spr_series_unref(past);
    l.now_s = 7 * 86400;
    spr_sim_world()->advance(l.sim, at_s(l.now_s));
    assert_int_equal(spr_controller_step(l.c, at_s(l.now_s)), SPR_OK);
    for (int t = 0; t < 288; t++) {
        for (int v = 0; v < VMS; v++)
            l.demand[v] = steps_with_a_daily_peak(v, t);
        pass(&l, 300);
        if (first_ready < 0 && l.grown)
            first_ready = t * 300.0;
    }
    print_message("peak at %d s, first shard ready in the step at %.0f s\n", 144 * 300, first_ready);
    assert_true(first_ready > 0 && first_ready <= 145 * 300.0);
    assert_true(held(&l) == 0);
    end(&l);
}

/* Matches of three hours at times of day that never come again: no season tells the next one. */
static const int match_steps[] = {150,           288 + 60,     2 * 288 + 220, 3 * 288 + 110,
                                  4 * 288 + 190, 5 * 288 + 80, 6 * 288 + 130, 7 * 288 + 170};
enum { MATCHES = sizeof match_steps / sizeof match_steps[0], MATCH_LENGTH = 36 };

static spr_calendar *matches(spr_context *ctx) {
    const int64_t step_ns = 300000000000;
    spr_calendar_builder *b = NULL;
    spr_calendar *c = NULL;
    struct spr_event e = {.size = sizeof e,
                          .kind = "match",
                          .start_ns = match_steps[0] * step_ns,
                          .end_ns = (match_steps[0] + MATCH_LENGTH) * step_ns};
    assert_int_equal(spr_calendar_builder_create(ctx, &b), SPR_OK);
    assert_int_equal(spr_calendar_builder_add(b, &e), 0);
    for (int k = 1; k < MATCHES; k++)
        assert_int_equal(spr_calendar_builder_date(b, 0, match_steps[k] * step_ns, 0), SPR_OK);
    assert_int_equal(spr_calendar_builder_finish(b, &c), SPR_OK);
    return c;
}

static double steps_with_matches(int v, int t) {
    bool on = false;
    for (int k = 0; k < MATCHES; k++)
        on = on || (t >= match_steps[k] && t < match_steps[k] + MATCH_LENGTH);
    return v % HOSTS == 0 && on ? 6.3 : 2;
}

/* When the first shard of the match of the eighth day was ready, s of that day; -1 = never. */
static double ready_for_the_match(int knows) {
    struct loop l;
    double first_ready = -1;
    with_matches = knows;
    begin(&l, SPR_AUTO, NULL, true);
    with_matches = 0;
    spr_series *past = small_series(l.ctx, VMS, 7 * 288, steps_with_matches);
    assert_int_equal(spr_controller_history(l.c, past, 0, 7 * 288), SPR_OK);
    spr_series_unref(past);
    l.now_s = 7 * 86400;
    spr_sim_world()->advance(l.sim, at_s(l.now_s));
    assert_int_equal(spr_controller_step(l.c, at_s(l.now_s)), SPR_OK);
    for (int t = 0; t < 288 && first_ready < 0; t++)
        for (int k = 0; k < 30 && first_ready < 0; k++) {
            for (int v = 0; v < VMS; v++)
                l.demand[v] = steps_with_matches(v, 7 * 288 + t);
            pass(&l, 10);
            if (l.grown)
                first_ready = l.now_s - 7 * 86400;
        }
    end(&l);
    return first_ready;
}

static void a_known_event_is_met_ahead(void **state) {
    (void)state;
    double start = 170 * 300, knowing = ready_for_the_match(1), not_knowing = ready_for_the_match(0);
    print_message("match at %.0f s, first shard ready at %.0f s; without the calendar at %.0f s\n", start, knowing,
                  not_knowing);
    assert_true(knowing > start - 3600 && knowing <= start);
    assert_true(not_knowing > start);
}

/* What the host's total may be in the first steps of the daily peak, seen from ahead of it, after two days of looking.
 */
static double may_be_in_the_peak(int klass) {
    struct loop l;
    small_fleet_class = klass;
    begin(&l, SPR_ADVISE, NULL, true);
    small_fleet_class = -1;
    spr_series *past = small_series(l.ctx, VMS, 7 * 288, steps_with_a_daily_peak);
    assert_int_equal(spr_controller_history(l.c, past, 0, 7 * 288), SPR_OK);
    spr_series_unref(past);
    l.now_s = 7 * 86400;
    spr_sim_world()->advance(l.sim, at_s(l.now_s));
    assert_int_equal(spr_controller_step(l.c, at_s(l.now_s)), SPR_OK);
    for (int t = 0; t < 288 + 143; t++) {
        for (int v = 0; v < VMS; v++)
            l.demand[v] = steps_with_a_daily_peak(v, t);
        pass(&l, 300);
    }
    spr_forecast *f = spr_controller_forecast(l.c);
    double sum = 0;
    for (int h = 2; h < spr_forecast_horizon(f); h++) /* the 0.9 quantile */
        sum += spr_forecast_quantiles(f)[h * spr_forecast_level_count(f) + 6] / (spr_forecast_horizon(f) - 2);
    spr_forecast_unref(f);
    end(&l);
    return sum;
}

/* Diurnal: the pattern of its past goes on. Chaotic: do not predict, the present goes on. */
static void the_class_changes_the_method(void **state) {
    (void)state;
    double diurnal = may_be_in_the_peak(SPR_CLASS_DIURNAL), chaotic = may_be_in_the_peak(SPR_CLASS_CHAOTIC);
    print_message("0.9 quantile of the peak: %.2f of a diurnal VM, %.2f of a chaotic one\n", diurnal, chaotic);
    assert_true(diurnal > chaotic + 0.2);
}

static void a_backend_thread_wakes_the_controller(void **state) {
    (void)state;
    struct loop l;
    int fds[8];
    size_t n = 8;
    begin(&l, SPR_ADVISE, &reactive, false);
    assert_int_equal(spr_controller_fds(l.c, fds, &n), SPR_OK);
    assert_true(n >= 1);
    struct pollfd p = {.fd = fds[0], .events = POLLIN};
    assert_int_equal(poll(&p, 1, 0), 0);
    spr_notify(spr_controller_notifier(l.c));
    assert_int_equal(poll(&p, 1, 0), 1);
    assert_int_equal(spr_controller_step(l.c, at_s(10)), SPR_OK);
    assert_int_equal(poll(&p, 1, 0), 0);
    end(&l);
}

/* ---- two shards become one ---- */

/* A planner that splits vm00 over two hosts, and merges the halves as soon as both serve. */
static int merger_open(const struct spr_env *env, const void *config, void **state) {
    (void)env;
    *state = (void *)(uintptr_t)config;
    return SPR_OK;
}
static void merger_close(void *state) { (void)state; }
static int merger_plan(void *state, const struct spr_plan_input *in, const struct spr_plan_output *out) {
    int *merged = state;
    struct spr_shard s[2] = {{.size = sizeof s[0]}, {.size = sizeof s[0]}};
    if (!spr_fleet_shard_count(in->fleet) && !*merged) {
        for (int32_t h = 1; h <= 2; h++) {
            struct spr_action a = {.size = sizeof a,
                                   .kind = SPR_ACTION_ALLOCATE,
                                   .host = h,
                                   .amounts.of = {[SPR_CPU] = 1.25},
                                   .because = SPR_BECAUSE_OPERATOR,
                                   .precondition = -1,
                                   .constraint_host = -1};
            int rc = out->action(out->sink, &a);
            if (rc < 0)
                return rc;
        }
        return SPR_OK;
    }
    for (int32_t k = 0; k < 2; k++)
        if (spr_fleet_shard(in->fleet, k, &s[k]) < 0 || s[k].state != SPR_SHARD_SERVING)
            return SPR_OK;
    if ((*merged)++)
        return SPR_OK;
    struct spr_action a = {.size = sizeof a,
                           .kind = SPR_ACTION_MERGE,
                           .inverse = SPR_ACTION_MOVE,
                           .host = s[1].host,
                           .shard = s[0].id,
                           .into = s[1].id,
                           .amounts = s[0].ready,
                           .because = SPR_BECAUSE_CONSOLIDATION,
                           .precondition = SPR_SHARD_SERVING,
                           .constraint_host = -1};
    return out->action(out->sink, &a);
}
static const struct spr_planner_ops merger = {.size = sizeof merger,
                                              .name = "merger",
                                              .license = "MIT",
                                              .open = merger_open,
                                              .close = merger_close,
                                              .plan = merger_plan};

static void two_shards_become_one_without_a_gap(void **state) {
    (void)state;
    struct loop l;
    int merged = 0;
    begin(&l, SPR_AUTO, &reactive, false);
    spr_controller_destroy(l.c);
    struct spr_controller_opts o = {.size = sizeof o,
                                    .source = &lens_ops,
                                    .source_config = &l.lens,
                                    .planner = &merger,
                                    .planner_config = &merged,
                                    .driver = spr_sim_driver(),
                                    .driver_config = l.sim,
                                    .router = spr_sim_router(),
                                    .router_config = l.sim,
                                    .automation = SPR_AUTO,
                                    .horizon = SPR_NONE,
                                    .event = on_event,
                                    .user = &l};
    assert_int_equal(spr_controller_create(l.ctx, &o, &l.c), SPR_OK);
    assert_int_equal(spr_controller_step(l.c, at_s(0)), SPR_OK);
    busy(&l);
    pass(&l, 180);
    for (int k = 0; k < 120; k++) {
        pass(&l, 10);
        double ready = 0;
        spr_fleet *f = spr_controller_fleet(l.c);
        for (int32_t i = 0; i < spr_fleet_shard_count(f); i++) {
            struct spr_shard s = {.size = sizeof s};
            spr_fleet_shard(f, i, &s);
            ready += s.ready.of[SPR_CPU];
        }
        spr_fleet_unref(f);
        assert_true(ready > 2.5 - 1e-9); /* never less than was there before */
    }
    assert_true(merged >= 1);
    spr_fleet *f = spr_controller_fleet(l.c);
    struct spr_shard s = {.size = sizeof s};
    assert_int_equal(spr_fleet_shard_count(f), 1);
    assert_int_equal(spr_fleet_shard(f, 0, &s), SPR_OK);
    assert_true(fabs(s.ready.of[SPR_CPU] - 2.5) < 1e-9 && s.state == SPR_SHARD_SERVING);
    spr_fleet_unref(f);
    end(&l);
}

/* ---- what the driver says it can ---- */

static double said_allocate_s, lead_told;
static int64_t reserved, warm_told;
static int means_of(void *state, const char *host, struct spr_driver_capabilities *out) {
    int rc = spr_sim_driver()->capabilities(state, host, out);
    out->allocate_s = said_allocate_s;
    out->warm_s = 8;
    out->warm_states = 1u << SPR_WARM_SAVED | 1u << 31; /* and one that only a newer library knows */
    out->warm[SPR_WARM_SAVED] = (struct spr_warm_cost){.resume_s = 0.8};
    return rc;
}
static int counted_submit(void *state, const struct spr_driver_request *q, struct spr_time now, int64_t deadline,
                          spr_ticket *out) {
    reserved += q->verb == SPR_DRIVER_RESERVE;
    return spr_sim_driver()->submit(state, q, now, deadline, out);
}

static int asks_plan(void *state, const struct spr_plan_input *in, const struct spr_plan_output *out) {
    (void)out, (void)state;
    lead_told = in->opts->lead_s;
    warm_told = in->opts->warm_count;
    assert_true(!warm_told || in->opts->warm[0].states == 1u << SPR_WARM_SAVED);
    return merger_plan(state, in, out);
}

static void plan_once(struct loop *l, double lead_s, double allocate_s, int32_t reserve_first) {
    struct spr_planner_ops planner = merger;
    struct spr_driver_ops driver = *spr_sim_driver();
    int merged = 0;
    begin(l, SPR_AUTO, &reactive, false);
    spr_controller_destroy(l->c);
    planner.plan = asks_plan, said_allocate_s = allocate_s;
    driver.capabilities = means_of, driver.submit = counted_submit;
    struct spr_plan_opts plan = {.size = sizeof plan, .lead_s = lead_s};
    struct spr_controller_opts o = {.size = sizeof o,
                                    .source = &lens_ops,
                                    .source_config = &l->lens,
                                    .planner = &planner,
                                    .planner_config = &merged,
                                    .driver = &driver,
                                    .driver_config = l->sim,
                                    .automation = SPR_AUTO,
                                    .plan = &plan,
                                    .horizon = SPR_NONE,
                                    .reserve_first = reserve_first};
    assert_int_equal(spr_controller_create(l->ctx, &o, &l->c), SPR_OK);
    assert_int_equal(spr_controller_step(l->c, at_s(0)), SPR_OK);
    busy(l);
    pass(l, 180);
    end(l);
}

/* Where the operator said nothing, plans count with what the driver has measured, from the first one on. */
static void what_the_driver_measured_reaches_the_plan(void **state) {
    (void)state;
    struct loop l;
    plan_once(&l, 0, 0.5, 0);
    assert_true(lead_told == 1.5 * 8.5);
    assert_int_equal(warm_told, HOSTS);
    plan_once(&l, 45, 0.5, 0);
    assert_true(lead_told == 45);
    plan_once(&l, 0, 0, 0); /* half of it is not known yet */
    assert_true(lead_told == 300);
}

static void replicas_are_reserved_first_where_that_is_asked_for(void **state) {
    (void)state;
    struct loop l;
    plan_once(&l, 0, 0.5, reserved = 0);
    assert_int_equal(reserved, 0);
    plan_once(&l, 0, 0.5, 1);
    assert_int_equal(reserved, 2);
    begin(&l, SPR_AUTO, &reactive, false);
    struct spr_controller_opts o = {
        .size = sizeof o, .source = &lens_ops, .source_config = &l.lens, .reserve_first = 2};
    spr_controller *c = NULL;
    assert_int_equal(spr_controller_create(l.ctx, &o, &c), SPR_E_ARG);
    end(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(demand_is_primary_and_shards_or_the_system_swings),
        cmocka_unit_test(shards_come_with_the_need_and_go_with_it),
        cmocka_unit_test(advise_touches_nothing_and_confirm_waits_for_a_word),
        cmocka_unit_test(an_adviser_beside_an_actor_touches_nothing),
        cmocka_unit_test(one_switch_stops_everything_new),
        cmocka_unit_test(nothing_is_released_on_missing_data),
        cmocka_unit_test(what_the_driver_says_a_host_lacks_the_plan_knows),
        cmocka_unit_test(a_peak_that_comes_every_day_is_met_ahead),
        cmocka_unit_test(a_known_event_is_met_ahead),
        cmocka_unit_test(the_class_changes_the_method),
        cmocka_unit_test(a_backend_thread_wakes_the_controller),
        cmocka_unit_test(two_shards_become_one_without_a_gap),
        cmocka_unit_test(what_the_driver_measured_reaches_the_plan),
        cmocka_unit_test(replicas_are_reserved_first_where_that_is_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
