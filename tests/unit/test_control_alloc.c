/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The loop when memory fails: the 1st, 2nd, 3rd ... allocation, with what may stand around the hosts' forecast too. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <shardpredict/backend-sim.h>

#include "failing_alloc.h"
#include "small_fleet.h"

enum { HOSTS = 3, VMS = 6, PAST = 40, STEP_S = 300 };

struct around {
    spr_model *model;
    bool calendar;
    int passes; /* of 20 s after the history */
};

static double steps_with_a_peak(int v, int t) { return v % HOSTS == 0 && t % 24 >= 12 && t % 24 < 15 ? 6.3 : 2; }

static int spike(void *sim, spr_controller *c, int passes) {
    double demand[VMS] = {6.3, 2, 2, 6.3, 2, 2};
    int first = SPR_OK;
    spr_sim_world()->demand(sim, demand);
    for (int k = 1; k <= passes; k++) {
        struct spr_time now = at_s(PAST * STEP_S + k * 20);
        spr_sim_world()->advance(sim, now);
        int rc = spr_controller_step(c, now);
        if (rc < 0 && first == SPR_OK)
            first = rc;
    }
    return first;
}

/* What a step after the history brings, and once before. */
static spr_calendar *one_kind(spr_context *ctx) {
    spr_calendar_builder *b = NULL;
    spr_calendar *c = NULL;
    const int64_t step_ns = STEP_S * INT64_C(1000000000);
    struct spr_event e = {.size = sizeof e, .kind = "peak", .start_ns = 12 * step_ns, .end_ns = 15 * step_ns};
    if (spr_calendar_builder_create(ctx, &b) < 0)
        return NULL;
    int rc = spr_calendar_builder_add(b, &e);
    if (rc >= 0)
        rc = spr_calendar_builder_date(b, 0, (PAST + 1) * step_ns, 0);
    if (rc < 0 || spr_calendar_builder_finish(b, &c) < 0)
        spr_calendar_builder_destroy(b);
    return c;
}

static int control(spr_context *ctx, const struct around *a, void *sim, const spr_series *past) {
    spr_calendar *calendar = a->calendar ? one_kind(ctx) : NULL;
    spr_controller *c = NULL;
    struct spr_plan_opts plan = {.size = sizeof plan, .lead_s = 60};
    struct spr_mix_opts mix = {.size = sizeof mix, .model = a->model};
    struct spr_controller_opts o = {.size = sizeof o,
                                    .source = spr_sim_source(),
                                    .source_config = sim,
                                    .driver = spr_sim_driver(),
                                    .driver_config = sim,
                                    .router = spr_sim_router(),
                                    .router_config = sim,
                                    .forecaster_config = a->model ? &mix : NULL,
                                    .calendar = calendar,
                                    .automation = SPR_AUTO,
                                    .plan = &plan,
                                    .history_steps = 60};
    int rc = a->calendar && !calendar ? SPR_E_NOMEM : spr_controller_create(ctx, &o, &c);
    if (rc == SPR_OK)
        rc = spr_controller_step(c, at_s(PAST * STEP_S));
    if (rc == SPR_OK)
        rc = spr_controller_history(c, past, 0, PAST);
    if (rc == SPR_OK)
        rc = spike(sim, c, a->passes);
    spr_controller_destroy(c);
    spr_calendar_unref(calendar);
    return rc;
}

static int whole_loop(spr_context *ctx, void *arg) {
    void *sim = NULL;
    spr_fleet *fleet = small_fleet(ctx, HOSTS, VMS, 10), *start = NULL;
    spr_series *past = small_series(ctx, VMS, PAST, steps_with_a_peak);
    spr_fleet_builder *b = NULL;
    int rc = fleet && past ? spr_fleet_builder_create(ctx, fleet, &b) : SPR_E_NOMEM;
    if (rc == SPR_OK)
        rc = spr_fleet_builder_finish(b, at_s(PAST * STEP_S), &start);
    struct spr_env env = {sizeof env, ctx, NULL, 1};
    struct spr_world_config w = {
        .size = sizeof w, .fleet = start, .substep_s = 10, .allocate_s = {40, 40}, .warm_s = {20, 20}};
    if (rc == SPR_OK)
        rc = spr_sim_world()->open(&env, &w, &sim);
    if (rc == SPR_OK)
        rc = control(ctx, arg, sim, past);
    if (sim)
        spr_sim_world()->close(sim);
    spr_series_unref(past);
    spr_fleet_unref(start);
    spr_fleet_unref(fleet);
    return rc;
}

static void sweep(struct around *a, int64_t least) {
    int64_t n = failing_sweep(whole_loop, a);
    print_message("%lld allocations\n", (long long)n);
    assert_true(n > least);
}

static void every_allocation_of_the_loop_may_fail(void **state) {
    (void)state;
    sweep(&(struct around){.passes = 40}, 200);
}

static void every_allocation_may_fail_with_events_known(void **state) {
    (void)state;
    sweep(&(struct around){.calendar = true, .passes = 16}, 200);
}

/* One net of few minibatches, for what the mix asks it: it need not be good. */
static spr_model *trained(spr_context *ctx) {
    enum { ROWS = 4, STEPS = 200 };
    static double y[ROWS * STEPS];
    struct spr_trainer_opts o = {.size = sizeof o,
                                 .step_ns = STEP_S * INT64_C(1000000000),
                                 .horizon = 16,
                                 .members = 1,
                                 .context = 20,
                                 .effort = .001};
    struct spr_panel p = {.size = sizeof p, .data = y, .series = ROWS, .steps = STEPS};
    spr_trainer *t = NULL;
    spr_model *m = NULL;
    for (int i = 0; i < ROWS * STEPS; i++)
        y[i] = 5 + 4 * sin(i * (.1 + i / STEPS));
    assert_int_equal(spr_trainer_create(ctx, &o, &t), SPR_OK);
    assert_int_equal(spr_trainer_add(t, &p, NULL), SPR_OK);
    assert_int_equal(spr_trainer_run(t, 0), SPR_OK);
    assert_int_equal(spr_trainer_finish(t, &m), SPR_OK);
    spr_trainer_destroy(t);
    return m;
}

static void every_allocation_may_fail_with_a_model_asked(void **state) {
    (void)state;
    spr_context *ctx = NULL;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    struct around a = {.model = trained(ctx), .passes = 16};
    sweep(&a, 200);
    spr_model_unref(a.model);
    spr_context_unref(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_of_the_loop_may_fail),
        cmocka_unit_test(every_allocation_may_fail_with_events_known),
        cmocka_unit_test(every_allocation_may_fail_with_a_model_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
