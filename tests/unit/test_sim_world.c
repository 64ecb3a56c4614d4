/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The world's physics, measured from outside. */
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

enum { HOSTS = 3, VMS = 6 };

struct world {
    spr_context *ctx;
    spr_fleet *fleet;
    void *sim, *driver, *router;
    double demand[VMS], got[VMS], held[VMS], served[VMS], violated[VMS], load[HOSTS];
};

static void begin(struct world *w, int64_t fail_every) {
    memset(w, 0, sizeof *w);
    assert_int_equal(spr_context_create(NULL, &w->ctx), SPR_OK);
    w->fleet = small_fleet(w->ctx, HOSTS, VMS, 10);
    struct spr_env env = {sizeof env, w->ctx, NULL, 1};
    struct spr_world_config c = {.size = sizeof c,
                                 .fleet = w->fleet,
                                 .substep_s = 10,
                                 .allocate_s = {40, 40},
                                 .warm_s = {20, 20},
                                 .fail_every = fail_every};
    assert_int_equal(spr_sim_world()->open(&env, &c, &w->sim), SPR_OK);
    assert_int_equal(spr_sim_driver()->open(&env, w->sim, &w->driver), SPR_OK);
    assert_int_equal(spr_sim_router()->open(&env, w->sim, &w->router), SPR_OK);
}

static void end(struct world *w) {
    spr_sim_router()->close(w->router);
    spr_sim_driver()->close(w->driver);
    spr_sim_world()->close(w->sim);
    spr_fleet_unref(w->fleet);
    spr_context_unref(w->ctx);
}

static void measure(struct world *w) {
    struct spr_world_measure m = {sizeof m, w->demand, w->got, w->held, w->served, w->violated, w->load};
    assert_int_equal(spr_sim_world()->measure(w->sim, &m), SPR_OK);
}

static spr_ticket ask(struct world *w, int verb, uint64_t piece, double cores, double now_s) {
    struct spr_driver_request q = {.size = sizeof q,
                                   .verb = verb,
                                   .shard = 77,
                                   .piece = piece,
                                   .fence = 1,
                                   .vm = "vm00",
                                   .host = "host01",
                                   .amounts.of = {[SPR_CPU] = cores}};
    spr_ticket t = 0;
    assert_int_equal(spr_sim_driver()->submit(w->driver, &q, at_s(now_s), INT64_MAX, &t), SPR_OK);
    return t;
}

/* The completion of one ticket at a moment: its outcome, or -1 while it is under way. */
static int ended(struct world *w, spr_ticket t, double now_s) {
    struct spr_driver_completion done[8];
    size_t n = 0;
    int outcome = -1;
    memset(done, 0, sizeof done);
    for (int i = 0; i < 8; i++)
        done[i].size = sizeof done[i];
    assert_int_equal(spr_sim_driver()->collect(w->driver, at_s(now_s), done, 8, &n), SPR_OK);
    for (size_t k = 0; k < n; k++)
        if (done[k].ticket == t)
            outcome = done[k].outcome;
    return outcome;
}

static void a_crowded_host_is_shared_max_min_fair(void **state) {
    (void)state;
    struct world w;
    begin(&w, 0);
    /* host00 has vm00 and vm03: 3 and 12 cores wanted of 10: the small one is served, the large one gets the rest */
    const double demand[VMS] = {3, 1, 1, 12, 1, 1};
    spr_sim_world()->demand(w.sim, demand);
    spr_sim_world()->advance(w.sim, at_s(300));
    measure(&w);
    assert_true(fabs(w.got[0] - 3) < 1e-12);
    assert_true(fabs(w.got[3] - 7) < 1e-12);
    assert_true(fabs(w.load[0] - 10) < 1e-12);
    assert_true(fabs(w.violated[3] - 300) < 1e-9);
    assert_true(w.violated[0] == 0);
    end(&w);
}

static void a_shard_takes_room_at_once_and_serves_when_warm_and_routed(void **state) {
    (void)state;
    struct world w;
    begin(&w, 0);
    const double demand[VMS] = {6, 4, 1, 6, 4, 1};
    spr_sim_world()->demand(w.sim, demand);
    spr_ticket t = ask(&w, SPR_DRIVER_ALLOCATE, 1, 3, 0);
    spr_sim_world()->advance(w.sim, at_s(30));
    assert_int_equal(ended(&w, t, 30), -1);
    measure(&w);
    assert_true(fabs(w.held[0] - 3) < 1e-12);
    assert_true(fabs(w.got[1] + w.got[4] - 7) < 1e-9); /* host01 lost 3 of its 10 cores */
    spr_sim_world()->advance(w.sim, at_s(40));
    assert_int_equal(ended(&w, t, 40), SPR_DONE);
    t = ask(&w, SPR_DRIVER_WARM, 1, 3, 40);
    spr_sim_world()->advance(w.sim, at_s(60));
    assert_int_equal(ended(&w, t, 60), SPR_DONE);
    measure(&w);
    assert_true(w.served[0] == 0);

    spr_fleet_builder *b = NULL;
    spr_fleet *f = NULL;
    spr_routes *routes = NULL;
    struct spr_shard s = {
        .size = sizeof s, .id = 77, .vm = 0, .host = 1, .state = SPR_SHARD_SERVING, .ready.of = {[SPR_CPU] = 3}};
    assert_int_equal(spr_fleet_builder_create(w.ctx, w.fleet, &b), SPR_OK);
    assert_int_equal(spr_fleet_builder_shard(b, &s), SPR_OK);
    assert_int_equal(spr_fleet_builder_finish(b, at_s(60), &f), SPR_OK);
    assert_int_equal(spr_routes_create(w.ctx, f, NULL, &routes), SPR_OK);
    assert_int_equal(spr_sim_router()->publish(w.router, routes, at_s(60), INT64_MAX, &t), SPR_OK);
    spr_routes_unref(routes);
    spr_fleet_unref(f);
    /* New flows only: after one lifetime of 60 s the part (1 - 1/e) of what may move has moved. */
    spr_sim_world()->advance(w.sim, at_s(120));
    measure(&w);
    spr_sim_world()->advance(w.sim, at_s(130));
    measure(&w);
    assert_true(fabs(w.served[0] - 3 * (1 - exp(-70.0 / 60))) < 1e-6);
    /* Giving 2 of the 3 cores back: their flows drain with the same lifetime, and the drain is held until then. */
    spr_sim_world()->advance(w.sim, at_s(2000));
    measure(&w);
    t = ask(&w, SPR_DRIVER_DRAIN, 1, 2, 2000);
    spr_sim_world()->advance(w.sim, at_s(2060));
    measure(&w);
    assert_true(w.held[0] > 1 && w.held[0] < 3);
    assert_int_equal(ended(&w, t, 2060), -1);
    spr_sim_world()->advance(w.sim, at_s(3500));
    assert_int_equal(ended(&w, t, 3500), SPR_DONE);
    measure(&w);
    spr_sim_world()->advance(w.sim, at_s(3600));
    measure(&w);
    assert_true(fabs(w.held[0] - 1) < 1e-9);
    end(&w);
}

static void no_shard_holds_more_than_the_host_has(void **state) {
    (void)state;
    struct world w;
    begin(&w, 0);
    spr_ticket t = ask(&w, SPR_DRIVER_ALLOCATE, 1, 10.5, 0);
    assert_int_equal(ended(&w, t, 0), SPR_FAILED);
    spr_sim_world()->advance(w.sim, at_s(60));
    measure(&w);
    assert_true(w.held[0] == 0);
    end(&w);
}

static void an_injected_failure_fails_once(void **state) {
    (void)state;
    struct world w;
    begin(&w, 2);
    spr_ticket first = ask(&w, SPR_DRIVER_ALLOCATE, 1, 2, 0);
    spr_ticket second = ask(&w, SPR_DRIVER_RESIZE, 2, 1, 0);
    assert_int_equal(ended(&w, second, 0), SPR_FAILED);
    spr_ticket again = ask(&w, SPR_DRIVER_RESIZE, 2, 1, 0);
    spr_sim_world()->advance(w.sim, at_s(40));
    struct spr_driver_completion done[4];
    size_t n = 0;
    memset(done, 0, sizeof done);
    for (int i = 0; i < 4; i++)
        done[i].size = sizeof done[i];
    assert_int_equal(spr_sim_driver()->collect(w.driver, at_s(40), done, 4, &n), SPR_OK);
    assert_int_equal(n, 2);
    for (size_t k = 0; k < n; k++)
        assert_true((done[k].ticket == first || done[k].ticket == again) && done[k].outcome == SPR_DONE);
    end(&w);
}

static void asking_twice_is_harmless(void **state) {
    (void)state;
    struct world w;
    begin(&w, 0);
    spr_ticket t = ask(&w, SPR_DRIVER_ALLOCATE, 1, 2, 0);
    ask(&w, SPR_DRIVER_ALLOCATE, 1, 2, 0);
    spr_sim_world()->advance(w.sim, at_s(40));
    ended(&w, t, 40);
    t = ask(&w, SPR_DRIVER_WARM, 1, 2, 40);
    spr_sim_world()->advance(w.sim, at_s(60));
    assert_int_equal(ended(&w, t, 60), SPR_DONE);
    ask(&w, SPR_DRIVER_RESIZE, 1, 2, 60); /* it is ready already */
    ask(&w, SPR_DRIVER_WARM, 1, 2, 60);
    ask(&w, SPR_DRIVER_RELEASE, 2, 1, 60); /* given back before it was heard of */
    ask(&w, SPR_DRIVER_RESIZE, 2, 1, 60);
    measure(&w);
    spr_sim_world()->advance(w.sim, at_s(120));
    measure(&w);
    assert_true(fabs(w.held[0] - 2) < 1e-12);
    end(&w);
}

static void an_older_fence_is_refused(void **state) {
    (void)state;
    struct world w;
    begin(&w, 0);
    ask(&w, SPR_DRIVER_ALLOCATE, 1, 2, 0);
    struct spr_driver_request q = {
        .size = sizeof q, .verb = SPR_DRIVER_RELEASE, .shard = 77, .fence = 3, .vm = "vm00", .host = "host01"};
    spr_ticket t;
    assert_int_equal(spr_sim_driver()->submit(w.driver, &q, at_s(0), INT64_MAX, &t), SPR_OK);
    q.fence = 2;
    assert_int_equal(spr_sim_driver()->submit(w.driver, &q, at_s(0), INT64_MAX, &t), SPR_E_FENCED);
    q.fence = 0; /* no number at all is the oldest */
    assert_int_equal(spr_sim_driver()->submit(w.driver, &q, at_s(0), INT64_MAX, &t), SPR_E_FENCED);
    end(&w);
}

static void every_publish_that_was_accepted_ends_once(void **state) {
    (void)state;
    struct world w;
    begin(&w, 0);
    spr_routes *r = NULL;
    spr_ticket first, second;
    assert_int_equal(spr_routes_create(w.ctx, w.fleet, NULL, &r), SPR_OK);
    assert_int_equal(spr_sim_router()->publish(w.router, r, at_s(0), INT64_MAX, &first), SPR_OK);
    assert_int_equal(spr_sim_router()->publish(w.router, r, at_s(0), INT64_MAX, &second), SPR_OK);
    struct spr_router_completion done[4] = {{.size = sizeof *done}};
    size_t n = 0;
    assert_int_equal(spr_sim_router()->collect(w.router, at_s(0), done, 4, &n), SPR_OK);
    assert_int_equal(n, 2);
    assert_true(done[0].ticket == first && done[1].ticket == second);
    assert_int_equal(spr_sim_router()->collect(w.router, at_s(0), done, 4, &n), SPR_OK);
    assert_int_equal(n, 0);
    spr_routes_unref(r);
    end(&w);
}

/* Elements lie as far apart as the caller's struct is long, which may be another library's, and nothing past one is
 * written. */
static void completions_are_written_at_the_callers_stride(void **state) {
    (void)state;
    struct world w;
    begin(&w, 0);
    const size_t known[] = {sizeof(struct spr_source_completion), sizeof(struct spr_router_completion)};
    spr_routes *r = NULL;
    assert_int_equal(spr_routes_create(w.ctx, w.fleet, NULL, &r), SPR_OK);
    for (int i = 0; i < 4; i++) {
        size_t stride = known[i % 2] + (i < 2 ? 24 : 0) - (i < 2 ? 0 : sizeof(char *)),
               n = 0;                    /* a newer one's, one without text */
        char *room = malloc(3 * stride); /* no longer: the sanitizer watches its end */
        spr_ticket ticket[2];
        assert_non_null(room);
        memset(room, 0x5a, 3 * stride);
        for (int k = 0; k < 3; k++)
            memcpy(room + k * stride, &stride, sizeof stride);
        for (int k = 0; k < 2; k++)
            assert_int_equal(i % 2
                                 ? spr_sim_router()->publish(w.router, r, at_s(0), INT64_MAX, &ticket[k])
                                 : spr_sim_source()->submit(w.sim, SPR_SOURCE_SAMPLES, at_s(0), INT64_MAX, &ticket[k]),
                             SPR_OK);
        assert_int_equal(i % 2 ? spr_sim_router()->collect(w.router, at_s(0), (void *)room, 3, &n)
                               : spr_sim_source()->collect(w.sim, at_s(0), (void *)room, 3, &n),
                         SPR_OK);
        assert_int_equal(n, 2);
        for (int k = 0; k < 2; k++) {
            spr_ticket got;
            memcpy(&got, room + k * stride + sizeof stride, sizeof got); /* behind the size */
            assert_true(got == ticket[k]);
        }
        for (size_t at = known[i % 2]; at < stride; at++)
            assert_int_equal(room[at], 0x5a);
        for (size_t at = 2 * stride + sizeof stride; at < 3 * stride; at++)
            assert_int_equal(room[at], 0x5a);
        free(room);
    }
    spr_routes_unref(r);
    end(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crowded_host_is_shared_max_min_fair),
        cmocka_unit_test(a_shard_takes_room_at_once_and_serves_when_warm_and_routed),
        cmocka_unit_test(no_shard_holds_more_than_the_host_has),
        cmocka_unit_test(an_injected_failure_fails_once),
        cmocka_unit_test(asking_twice_is_harmless),
        cmocka_unit_test(an_older_fence_is_refused),
        cmocka_unit_test(every_publish_that_was_accepted_ends_once),
        cmocka_unit_test(completions_are_written_at_the_callers_stride),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
