/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Shards from the first request to the last flow, on a driver that delays, fails, forgets and lies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "failing_alloc.h"
#include "lifecycle_bench.h"

static struct bench bench;

static int setup(void **state) {
    spr_context *ctx = NULL;
    if (spr_context_create(NULL, &ctx) < 0 || bench_make(&bench, ctx, NULL) < 0)
        return -1;
    *state = &bench;
    return bench_step(&bench, 0);
}

static int teardown(void **state) {
    struct bench *b = *state;
    int64_t illegal = b->l ? b->l->illegal : 0;
    bench_stop(b);
    spr_context_unref(b->ctx);
    return illegal ? -1 : 0; /* no test may see a change that stands in no table */
}

static struct spr_shard only(struct bench *b) {
    spr_fleet_builder *fb = NULL;
    spr_fleet *f = NULL;
    struct spr_shard s = {.size = sizeof s};
    assert_int_equal(spr_fleet_builder_create(b->ctx, b->fleet, &fb), SPR_OK);
    assert_int_equal(spr_lifecycle_fill(b->l, fb), SPR_OK);
    assert_int_equal(spr_fleet_builder_finish(fb, b->now, &f), SPR_OK);
    assert_true(spr_fleet_shard_count(f) <= 1);
    if (spr_fleet_shard_count(f))
        assert_int_equal(spr_fleet_shard(f, 0, &s), SPR_OK);
    spr_fleet_unref(f);
    return s;
}

static void assert_holds(struct bench *b, int shard_state, double ready, double pending, double draining) {
    struct spr_shard s = only(b);
    assert_string_equal(spr_shard_state_name(s.state), spr_shard_state_name(shard_state));
    assert_true(s.ready.of[0] == ready);
    assert_true(s.pending.of[0] == pending);
    assert_true(s.draining.of[0] == draining);
}

static void assert_path(struct bench *b, const int *states, int n) {
    assert_int_equal(b->count, n);
    for (int i = 0; i < n; i++)
        assert_string_equal(spr_shard_state_name(b->ledger[i].to), spr_shard_state_name(states[i]));
}

static void a_replica_is_allocated_warmed_and_serves_in_the_step_it_gets_warm(void **state) {
    struct bench *b = *state;
    b->w->delay_ns[SPR_DRIVER_ALLOCATE] = 30 * S_NS;
    b->w->delay_ns[SPR_DRIVER_WARM] = 60 * S_NS;
    assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 0, 1, 2.385), 1);
    assert_holds(b, SPR_SHARD_ALLOCATING, 0, 2.385, 0);
    assert_int_equal(bench_step(b, 29), SPR_OK);
    assert_holds(b, SPR_SHARD_ALLOCATING, 0, 2.385, 0);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_holds(b, SPR_SHARD_WARMING, 0, 2.385, 0);
    assert_int_equal(spr_lifecycle_next_deadline(b->l), b->now.mono_ns + 60 * S_NS);
    assert_int_equal(bench_step(b, 60), SPR_OK);
    assert_holds(b, SPR_SHARD_SERVING, 2.385, 0, 0);
    static const int path[] = {SPR_SHARD_PLANNED, SPR_SHARD_ALLOCATING, SPR_SHARD_WARMING, SPR_SHARD_WARM,
                               SPR_SHARD_SERVING};
    assert_path(b, path, 5);
    assert_int_equal(b->ledger[0].because, SPR_BECAUSE_EXPECTED_WORTH);
    assert_int_equal(b->ledger[2].because, SPR_BECAUSE_ALLOCATED);
    assert_int_equal(b->ledger[4].because, SPR_BECAUSE_WARMED);
    assert_true(b->w->shards[0].active && b->w->shards[0].ready[0] == 2.385);
}

static void a_headroom_is_reserved_first_and_needs_no_warming(void **state) {
    struct bench *b = *state;
    b->w->delay_ns[SPR_DRIVER_RESERVE] = 5 * S_NS;
    b->w->delay_ns[SPR_DRIVER_ALLOCATE] = 5 * S_NS;
    assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 1, 2, 4), 1);
    assert_holds(b, SPR_SHARD_PLANNED, 0, 4, 0);
    assert_int_equal(bench_step(b, 5), SPR_OK);
    assert_int_equal(bench_step(b, 5), SPR_OK);
    assert_holds(b, SPR_SHARD_WARM, 4, 0, 0);
    static const int path[] = {SPR_SHARD_PLANNED, SPR_SHARD_RESERVED, SPR_SHARD_ALLOCATING, SPR_SHARD_WARM};
    assert_path(b, path, 4);
    assert_int_equal(b->w->asked[SPR_DRIVER_WARM] + b->w->asked[SPR_DRIVER_ACTIVATE], 0);
    b->w->shards[0].used[0] = 1.5; /* the VM grew into it */
    assert_int_equal(spr_lifecycle_observe(b->l, b->now), SPR_OK);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_holds(b, SPR_SHARD_SERVING, 4, 0, 0);
    b->w->shards[0].used[0] = 0;
    assert_int_equal(spr_lifecycle_observe(b->l, b->now), SPR_OK);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_holds(b, SPR_SHARD_WARM, 4, 0, 0);
}

static void a_replica_is_reserved_first_where_that_is_asked_for(void **state) {
    struct bench *b = *state;
    struct spr_lifecycle_opts o = {.size = sizeof o, .driver = &fake_driver, .driver_config = b->w, .reserve_first = 2};
    spr_lifecycle *l = NULL;
    assert_int_equal(spr_lifecycle_create(b->ctx, &o, &l), SPR_E_ARG);
    o.reserve_first = 1;
    spr_lifecycle_destroy(b->l);
    assert_int_equal(bench_start(b, &o), SPR_OK);
    assert_int_equal(bench_step(b, 0), SPR_OK);
    b->w->delay_ns[SPR_DRIVER_RESERVE] = 5 * S_NS;
    b->w->delay_ns[SPR_DRIVER_ALLOCATE] = 5 * S_NS;
    assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 0, 2, 4), 1);
    assert_holds(b, SPR_SHARD_PLANNED, 0, 4, 0);
    assert_int_equal(bench_step(b, 5), SPR_OK);
    assert_int_equal(bench_step(b, 5), SPR_OK);
    assert_holds(b, SPR_SHARD_SERVING, 4, 0, 0);
    static const int path[] = {SPR_SHARD_PLANNED, SPR_SHARD_RESERVED, SPR_SHARD_ALLOCATING,
                               SPR_SHARD_WARMING, SPR_SHARD_WARM,     SPR_SHARD_SERVING};
    assert_path(b, path, 6);
    assert_int_equal(b->w->asked[SPR_DRIVER_RESERVE], 1);
    assert_int_equal(bench_do(b, SPR_ACTION_GROW, 1, 0, 2, 1), 1); /* a growth of what stands there is not */
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_holds(b, SPR_SHARD_SERVING, 5, 0, 0);
    assert_int_equal(b->w->asked[SPR_DRIVER_RESERVE], 1);
}

static void growths_travel_side_by_side_and_shrinking_takes_the_newest_first(void **state) {
    struct bench *b = *state;
    assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 0, 1, 2), 1);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_holds(b, SPR_SHARD_SERVING, 2, 0, 0);
    b->w->delay_ns[SPR_DRIVER_RESIZE] = 20 * S_NS;
    b->w->delay_ns[SPR_DRIVER_WARM] = 20 * S_NS;
    assert_int_equal(bench_do(b, SPR_ACTION_GROW, 1, 0, 1, 1.5), 1);
    assert_int_equal(bench_step(b, 10), SPR_OK);
    assert_int_equal(bench_do(b, SPR_ACTION_GROW, 1, 0, 1, 0.5), 1);
    assert_holds(b, SPR_SHARD_SERVING, 2, 2, 0);
    assert_int_equal(bench_do(b, SPR_ACTION_SHRINK, 1, 0, 1, 0.75), 1); /* all of the second, 0.25 of the first */
    assert_int_equal(bench_step(b, 0), SPR_OK);
    assert_holds(b, SPR_SHARD_SERVING, 2, 1.25, 0);
    assert_int_equal(b->w->shards[0].piece_count, 1);
    assert_true(b->w->shards[0].pieces[0].amount[0] == 1.25);
    assert_int_equal(bench_step(b, 10), SPR_OK);
    assert_int_equal(bench_step(b, 20), SPR_OK);
    assert_holds(b, SPR_SHARD_SERVING, 3.25, 0, 0);
    assert_int_equal(bench_do(b, SPR_ACTION_SHRINK, 1, 0, 1, 1), 1);
    assert_int_equal(bench_step(b, 0), SPR_OK);
    assert_holds(b, SPR_SHARD_SERVING, 2.25, 0, 0);
    assert_true(b->w->shards[0].ready[0] == 2.25);
}

static void a_drain_lasts_as_long_as_its_flows_and_then_the_shard_goes(void **state) {
    struct bench *b = *state;
    b->w->drain_left = 0.5;
    assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 0, 1, 3), 1);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_int_equal(bench_do(b, SPR_ACTION_RELEASE, 1, 0, 1, 0), 1);
    assert_holds(b, SPR_SHARD_DRAINING, 0, 0, 3);
    assert_int_equal(spr_lifecycle_observe(b->l, b->now), SPR_OK);
    assert_int_equal(bench_step(b, 10), SPR_OK);
    assert_holds(b, SPR_SHARD_DRAINING, 0, 0, 1.5); /* the idle half was free at once */
    assert_int_equal(bench_step(b, 300), SPR_OK);
    assert_int_equal(b->w->asked[SPR_DRIVER_RELEASE], 0);
    b->w->shards[0].drain[0] = 0;
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_int_equal(b->w->shard_count, 0);
    assert_int_equal(b->l->shard_count, 0);
    assert_int_equal(b->ledger[b->count - 1].to, SPR_SHARD_RELEASED);
    assert_int_equal(b->ledger[b->count - 2].because, SPR_BECAUSE_DRAINED);
}

static void a_draining_shard_can_grow_again(void **state) {
    struct bench *b = *state;
    b->w->drain_left = 1;
    assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 0, 1, 3), 1);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_int_equal(bench_do(b, SPR_ACTION_RELEASE, 1, 0, 1, 0), 1);
    b->w->delay_ns[SPR_DRIVER_WARM] = 10 * S_NS;
    assert_int_equal(bench_do(b, SPR_ACTION_GROW, 1, 0, 1, 1), 1);
    assert_holds(b, SPR_SHARD_ALLOCATING, 0, 1, 3);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_holds(b, SPR_SHARD_WARMING, 0, 1, 3);
    assert_int_equal(bench_step(b, 10), SPR_OK);
    assert_holds(b, SPR_SHARD_SERVING, 1, 0, 3);
    b->w->shards[0].drain[0] = 0;
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_holds(b, SPR_SHARD_SERVING, 1, 0, 0);
}

static void a_failed_call_is_tried_again_with_doubling_pauses(void **state) {
    struct bench *b = *state;
    b->w->fail[SPR_DRIVER_ALLOCATE] = 2;
    assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 0, 1, 3), 1);
    assert_int_equal(bench_step(b, 0), SPR_OK);
    assert_int_equal(b->w->asked[SPR_DRIVER_ALLOCATE], 1);
    assert_int_equal(bench_step(b, 0.9), SPR_OK);
    assert_int_equal(b->w->asked[SPR_DRIVER_ALLOCATE], 1);
    assert_int_equal(bench_step(b, 0.1), SPR_OK);
    assert_int_equal(b->w->asked[SPR_DRIVER_ALLOCATE], 2);
    assert_int_equal(bench_step(b, 1.5), SPR_OK);
    assert_int_equal(b->w->asked[SPR_DRIVER_ALLOCATE], 2);
    assert_int_equal(bench_step(b, 0.5), SPR_OK);
    assert_int_equal(b->w->asked[SPR_DRIVER_ALLOCATE], 3);
    assert_holds(b, SPR_SHARD_SERVING, 3, 0, 0);
}

static void after_the_last_try_a_shard_fails_and_is_released(void **state) {
    struct bench *b = *state;
    b->w->fail[SPR_DRIVER_ALLOCATE] = 99;
    assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 0, 1, 3), 1);
    for (int i = 0; i < 10; i++)
        assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_int_equal(b->w->asked[SPR_DRIVER_ALLOCATE], 3);
    static const int path[] = {SPR_SHARD_PLANNED, SPR_SHARD_ALLOCATING, SPR_SHARD_FAILED, SPR_SHARD_RELEASED};
    assert_path(b, path, 4);
    assert_int_equal(b->ledger[3].because, SPR_BECAUSE_DRIVER_FAILED);
    assert_int_equal(b->l->shard_count, 0);
}

static void a_failed_growth_leaves_what_serves_alone(void **state) {
    struct bench *b = *state;
    assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 0, 1, 3), 1);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    b->w->fail[SPR_DRIVER_WARM] = 99;
    assert_int_equal(bench_do(b, SPR_ACTION_GROW, 1, 0, 1, 1), 1);
    for (int i = 0; i < 10; i++)
        assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_holds(b, SPR_SHARD_SERVING, 3, 0, 0);
    assert_int_equal(b->w->shards[0].piece_count, 0);
}

static void warmness_gates_traffic(void **state) {
    struct bench *b = *state;
    b->w->warmness = 0.5;
    assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 0, 1, 3), 1);
    assert_int_equal(bench_step(b, 0.5), SPR_OK);
    assert_holds(b, SPR_SHARD_WARMING, 0, 3, 0);
    b->w->warmness = 1;
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_holds(b, SPR_SHARD_SERVING, 3, 0, 0);
    b->w->shards[0].warmness = 0.3; /* its caches went cold */
    assert_int_equal(spr_lifecycle_observe(b->l, b->now), SPR_OK);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_holds(b, SPR_SHARD_WARM, 3, 0, 0);
    b->w->shards[0].warmness = 1;
    assert_int_equal(spr_lifecycle_observe(b->l, b->now), SPR_OK);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_holds(b, SPR_SHARD_SERVING, 3, 0, 0);
}

/* Every verb of a shard's life may end with nobody knowing how. */
static void an_unknown_outcome_is_resolved_by_what_is_there(void **state) {
    struct bench *b = *state;
    static const int verbs[] = {SPR_DRIVER_ALLOCATE, SPR_DRIVER_WARM, SPR_DRIVER_ACTIVATE, SPR_DRIVER_DRAIN,
                                SPR_DRIVER_RELEASE};
    for (size_t i = 0; i < SPR_ARRAY_LEN(verbs); i++) {
        b->count = 0;
        b->w->swallow[verbs[i]] = 1;
        snprintf(b->w->why, sizeof b->w->why, "h1: the connection ended, %zu", i);
        uint64_t id = b->l->next_id;
        assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 0, 1, 3), 1);
        for (int k = 0; k < 5; k++)
            assert_int_equal(bench_step(b, 60), SPR_OK);
        assert_holds(b, SPR_SHARD_SERVING, 3, 0, 0);
        assert_true(b->w->shards[0].ready[0] == 3 && !b->w->shards[0].piece_count);
        assert_int_equal(bench_do(b, SPR_ACTION_RELEASE, id, 0, 1, 0), 1);
        for (int k = 0; k < 5; k++)
            assert_int_equal(bench_step(b, 60), SPR_OK);
        assert_int_equal(b->w->shard_count, 0);
        assert_int_equal(b->l->shard_count, 0);
        bool unknown = false;
        for (int k = 0; k < b->count; k++)
            unknown |= b->ledger[k].to == SPR_SHARD_UNKNOWN;
        assert_true(unknown);
        assert_string_equal(b->said, b->w->why); /* the event has the driver's words */
    }
}

static void a_call_that_never_ends_is_given_up_at_its_deadline(void **state) {
    struct bench *b = *state;
    b->w->drop[SPR_DRIVER_WARM] = 1;
    assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 0, 1, 3), 1);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_int_equal(bench_step(b, 590), SPR_OK);
    assert_holds(b, SPR_SHARD_WARMING, 0, 3, 0);
    assert_int_equal(bench_step(b, 20), SPR_OK);
    assert_holds(b, SPR_SHARD_SERVING, 3, 0, 0); /* asked once more */
    assert_int_equal(b->w->asked[SPR_DRIVER_WARM], 2);
}

static void an_unreachable_host_holds_its_shards_until_it_is_back(void **state) {
    struct bench *b = *state;
    spr_fleet_builder *fb = NULL;
    spr_fleet *down = NULL;
    assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 0, 1, 3), 1);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_int_equal(spr_fleet_builder_create(b->ctx, b->fleet, &fb), SPR_OK);
    assert_int_equal(spr_fleet_builder_host_state(fb, 1, SPR_HOST_UNREACHABLE), SPR_OK);
    assert_int_equal(spr_fleet_builder_finish(fb, b->now, &down), SPR_OK);
    snprintf(b->w->host_down, sizeof b->w->host_down, "h1");
    spr_fleet *up = b->fleet;
    b->fleet = down;
    for (int i = 0; i < 20; i++)
        assert_int_equal(bench_step(b, 60), SPR_OK);
    assert_holds(b, SPR_SHARD_UNKNOWN, 3, 0, 0);
    assert_int_equal(bench_do(b, SPR_ACTION_RELEASE, 1, 0, 1, 0), 0); /* nothing is released on missing data */
    b->w->host_down[0] = 0;
    b->fleet = up;
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_holds(b, SPR_SHARD_SERVING, 3, 0, 0);
    assert_int_equal(b->w->asked[SPR_DRIVER_DRAIN] + b->w->asked[SPR_DRIVER_RELEASE], 0);
    spr_fleet_unref(down);
}

static void a_deleted_vm_frees_its_shards(void **state) {
    struct bench *b = *state;
    spr_fleet *fewer = NULL, *all = b->fleet;
    assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 2, 1, 3), 1);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_int_equal(bench_fleet(b->ctx, true, &fewer), SPR_OK);
    b->fleet = fewer;
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_int_equal(b->w->shard_count, 0);
    bool said = false;
    for (int i = 0; i < b->count; i++)
        said |= b->ledger[i].because == SPR_BECAUSE_VM_GONE;
    assert_true(said);
    spr_fleet_unref(all);
}

/* A controller that starts while a host is away lists none of its VMs: they are not deleted. */
static void a_vm_that_a_dark_host_may_hide_keeps_its_shards(void **state) {
    struct bench *b = *state;
    spr_fleet *fewer = NULL, *dark = NULL, *all = b->fleet;
    spr_fleet_builder *fb = NULL;
    assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 2, 1, 3), 1);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_int_equal(bench_fleet(b->ctx, true, &fewer), SPR_OK);
    assert_int_equal(spr_fleet_builder_create(b->ctx, fewer, &fb), SPR_OK);
    assert_int_equal(spr_fleet_builder_host_state(fb, 3, SPR_HOST_UNREACHABLE), SPR_OK);
    assert_int_equal(spr_fleet_builder_finish(fb, b->now, &dark), SPR_OK);
    b->fleet = dark;
    for (int i = 0; i < 5; i++)
        assert_int_equal(bench_step(b, 60), SPR_OK);
    assert_int_equal(b->w->shard_count, 1);
    assert_int_equal(b->w->asked[SPR_DRIVER_DRAIN] + b->w->asked[SPR_DRIVER_RELEASE], 0);
    b->fleet = fewer; /* the host is back and does not have it */
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_int_equal(b->w->shard_count, 0);
    spr_fleet_unref(dark);
    spr_fleet_unref(all);
}

static void a_primary_that_moves_onto_its_shard_frees_it(void **state) {
    struct bench *b = *state;
    spr_fleet_builder *fb = NULL;
    struct spr_vm v = {.size = sizeof v, .host = 1};
    spr_fleet *moved = NULL, *before = b->fleet;
    assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 0, 1, 3), 1);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_int_equal(spr_fleet_builder_create(b->ctx, b->fleet, &fb), SPR_OK);
    assert_int_equal(spr_fleet_builder_observe(fb, 0, &v), SPR_OK);
    assert_int_equal(spr_fleet_builder_finish(fb, b->now, &moved), SPR_OK);
    b->fleet = moved;
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_int_equal(b->l->shard_count, 0);
    assert_int_equal(b->w->shard_count, 0);
    spr_fleet_unref(before);
}

static void moving_and_merging_make_before_they_break(void **state) {
    struct bench *b = *state;
    assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 0, 1, 3), 1);
    assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 0, 2, 1), 1);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    b->w->delay_ns[SPR_DRIVER_WARM] = 30 * S_NS;
    assert_int_equal(bench_do(b, SPR_ACTION_MOVE, 1, 0, 3, 0), 1);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_int_equal(b->w->shard_count, 3);
    assert_true(fake_find(b->w, 1)->ready[0] == 3);
    assert_int_equal(bench_step(b, 30), SPR_OK);
    assert_null(fake_find(b->w, 1));
    assert_string_equal(fake_find(b->w, 3)->host, "h3");
    assert_true(fake_find(b->w, 3)->ready[0] == 3);
    struct spr_action merge = {.size = sizeof merge,
                               .id = 2,
                               .kind = SPR_ACTION_MERGE,
                               .shard = 2,
                               .into = 3,
                               .precondition = SPR_SHARD_SERVING,
                               .because = SPR_BECAUSE_CONSOLIDATION};
    assert_int_equal(spr__lifecycle_take(b->l, b->fleet, &merge, b->now), 1);
    assert_int_equal(bench_step(b, 0), SPR_OK);
    assert_int_equal(bench_step(b, 29), SPR_OK);
    assert_non_null(fake_find(b->w, 2));
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_null(fake_find(b->w, 2));
    assert_holds(b, SPR_SHARD_SERVING, 4, 0, 0);
}

static void a_promoted_shard_leaves_the_books(void **state) {
    struct bench *b = *state;
    assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 0, 1, 3), 1);
    assert_int_equal(bench_do(b, SPR_ACTION_PROMOTE, 1, 0, 1, 0), 0); /* not warm yet */
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_int_equal(bench_do(b, SPR_ACTION_PROMOTE, 1, 0, 1, 0), 1);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_int_equal(b->l->shard_count, 0);
    assert_int_equal(b->ledger[b->count - 1].because, SPR_BECAUSE_PRIMARY_DEAD);
    assert_int_equal(b->w->asked[SPR_DRIVER_RELEASE], 0);
}

static void an_action_whose_precondition_no_longer_holds_is_skipped(void **state) {
    struct bench *b = *state;
    assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 0, 1, 3), 1);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    struct spr_action a = {.size = sizeof a, .kind = SPR_ACTION_RELEASE, .shard = 1, .precondition = SPR_SHARD_WARMING};
    assert_int_equal(spr__lifecycle_take(b->l, b->fleet, &a, b->now), 0);
    a.shard = 77;
    assert_int_equal(spr__lifecycle_take(b->l, b->fleet, &a, b->now), 0);
    assert_holds(b, SPR_SHARD_SERVING, 3, 0, 0);
    assert_int_equal(bench_do(b, SPR_ACTION_GROW, 1, 0, 1, -1), SPR_E_ARG);
    assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 9, 1, 1), SPR_E_ARG);
}

static void a_fenced_out_lifecycle_stops_acting(void **state) {
    struct bench *b = *state;
    assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 0, 1, 3), 1);
    b->w->fence = 99; /* somebody else has been here */
    assert_int_equal(bench_step(b, 1), SPR_E_FENCED);
    int64_t asked = b->w->asked[SPR_DRIVER_WARM] + b->w->asked[SPR_DRIVER_ALLOCATE] + b->w->asked[SPR_DRIVER_RELEASE];
    for (int i = 0; i < 5; i++)
        assert_int_equal(bench_step(b, 700), SPR_E_FENCED);
    assert_int_equal(asked,
                     b->w->asked[SPR_DRIVER_WARM] + b->w->asked[SPR_DRIVER_ALLOCATE] + b->w->asked[SPR_DRIVER_RELEASE]);
    assert_int_equal(spr_lifecycle_next_deadline(b->l), INT64_MAX);
}

static void what_a_dead_owner_reserved_is_given_back_and_what_serves_is_adopted(void **state) {
    struct bench *b = *state;
    struct fake_shard serving = {.id = 40, .vm = "v0", .host = "h1", .active = true, .ready = {2}, .warmness = 1};
    struct fake_shard reserved = {.id = 41, .vm = "v1", .host = "h2", .reserved = true, .piece_count = 1};
    reserved.pieces[0] = (struct fake_piece){1, {5}};
    b->w->shards[0] = serving;
    b->w->shards[1] = reserved;
    b->w->shard_count = 2;
    assert_int_equal(spr_lifecycle_observe(b->l, b->now), SPR_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_int_equal(b->w->shard_count, 1);
    assert_holds(b, SPR_SHARD_SERVING, 2, 0, 0);
    assert_int_equal(b->w->shards[0].fence, b->l->fence);
    assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 0, 1, 3), 1);
    assert_true(b->l->next_id > 42); /* numbers are never used twice */
}

static void the_drivers_truth_counts(void **state) {
    struct bench *b = *state;
    assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 0, 1, 3), 1);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    b->w->shards[0].ready[0] = 2.25; /* cut down where it stands */
    assert_int_equal(spr_lifecycle_observe(b->l, b->now), SPR_OK);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_holds(b, SPR_SHARD_SERVING, 2.25, 0, 0);
    assert_int_equal(b->ledger[b->count - 1].because, SPR_BECAUSE_DRIVER_FAILED);
    b->w->shard_count = 0; /* and now it is gone */
    assert_int_equal(spr_lifecycle_observe(b->l, b->now), SPR_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_int_equal(b->l->shard_count, 0);
}

/* Why there is less: what was held may have been taken by others, a guest has ended. */
static void less_is_recorded_with_a_reason_that_is_true(void **state) {
    struct bench *b = *state;
    assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 1, 1, 3), 1); /* headroom */
    for (int i = 0; i < 3; i++)
        assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_holds(b, SPR_SHARD_WARM, 3, 0, 0);
    b->w->shards[0].ready[0] = 2.25;
    assert_int_equal(spr_lifecycle_observe(b->l, b->now), SPR_OK);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_holds(b, SPR_SHARD_WARM, 2.25, 0, 0);
    assert_int_equal(b->ledger[b->count - 1].because, SPR_BECAUSE_HOLD_VIOLATED);
    assert_int_equal(bench_do(b, SPR_ACTION_RELEASE, 1, 1, 1, 0), 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_int_equal(b->l->shard_count, 0);
    assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 0, 1, 3), 1); /* replica */
    assert_int_equal(bench_step(b, 1), SPR_OK);
    b->count = 0;
    b->w->shards[0].ready[0] = 0; /* its guest was killed, its definition stands */
    assert_int_equal(spr_lifecycle_observe(b->l, b->now), SPR_OK);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_true(b->count > 0);
    assert_int_equal(b->ledger[0].from, SPR_SHARD_SERVING);
    assert_int_equal(b->ledger[0].because, SPR_BECAUSE_DRIVER_FAILED);
}

/* The flows of a shard end for whoever waits for them; when that ticket is lost somebody has to wait anew. */
static void a_drain_whose_ticket_is_lost_is_asked_for_again(void **state) {
    struct bench *b = *state;
    b->w->drain_left = 1;
    assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 0, 1, 3), 1);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    b->w->swallow[SPR_DRIVER_DRAIN] = 1;
    assert_int_equal(bench_do(b, SPR_ACTION_RELEASE, 1, 0, 1, 0), 1);
    uint64_t first = b->w->calls[0].piece;
    for (int i = 0; i < 5; i++)
        assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_holds(b, SPR_SHARD_DRAINING, 0, 0, 3);
    assert_int_equal(b->w->asked[SPR_DRIVER_DRAIN], 2);
    const struct fake_call *waits = NULL;
    for (int32_t i = 0; i < b->w->call_count; i++)
        if (b->w->calls[i].verb == SPR_DRIVER_DRAIN)
            waits = &b->w->calls[i];
    assert_non_null(waits);
    assert_true(waits->piece > first && waits->amount[0] == 0); /* not the lost one, and of nothing more */
    assert_int_equal(bench_step(b, 60), SPR_OK);
    assert_int_equal(b->w->asked[SPR_DRIVER_DRAIN], 2); /* once is enough */
    b->w->shards[0].drain[0] = 0;
    for (int i = 0; i < 3; i++)
        assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_int_equal(b->l->shard_count, 0);
    assert_int_equal(b->w->shard_count, 0);
}

static void durations_are_measured(void **state) {
    struct bench *b = *state;
    for (int i = 0; i < 11; i++) {
        b->w->delay_ns[SPR_DRIVER_WARM] = (10 + i) * S_NS;
        assert_true(i >= 8 || spr_lifecycle_lead_s(b->l, 0.5) == 0);
        assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 0, 1, 1), 1);
        assert_int_equal(bench_step(b, 0), SPR_OK);
        assert_int_equal(bench_step(b, 10 + i), SPR_OK);
    }
    assert_true(fabs(spr_lifecycle_lead_s(b->l, 0.5) - 15) < 1e-9);
    assert_true(fabs(spr_lifecycle_lead_s(b->l, 1) - 20) < 1e-9);
}

/* Random plans on a random driver: whatever happens, books and hosts agree once it is quiet, and nothing leaks. */
static void random_lives_end_with_books_and_hosts_equal(void **state) {
    struct bench *b = *state;
    uint64_t n = 0;
    for (int round = 0; round < 30; round++) {
        for (int i = 0; i < 40; i++) {
            uint64_t x = spr__rand64(7, 1, n++), y = spr__rand64(7, 2, n);
            int verb = (int)(x % (SPR_DRIVER_VERB_END_ - 1)) + 1;
            if (y % 5 == 0)
                b->w->fail[verb] += verb != SPR_DRIVER_OBSERVE;
            if (y % 5 == 1)
                b->w->swallow[verb] += verb != SPR_DRIVER_OBSERVE;
            b->w->delay_ns[verb] = (int64_t)(y % 3) * 5 * S_NS;
            b->w->late = x >> 40 & 1;
            size_t pick = b->l->shard_count ? (size_t)(y >> 8) % b->l->shard_count : 0;
            uint64_t id = b->l->shard_count ? b->l->shards[pick]->id : 0;
            double amount = 0.25 + (double)(x >> 20 & 15);
            if (x >> 50 & 1 && b->l->shard_count < 6)
                bench_do(b, SPR_ACTION_ALLOCATE, 0, (int32_t)(x % 3), 1 + (int32_t)(y % 3), amount);
            else if (id)
                bench_do(b, SPR_ACTION_GROW + (int)(y >> 30) % 3, id, 0, 1, amount);
            bench_step(b, (double)(x >> 10 & 7));
        }
        for (int i = 0; i < 40; i++)
            assert_int_equal(bench_step(b, 400), SPR_OK);
        memset(b->w->fail, 0, sizeof b->w->fail);
        memset(b->w->swallow, 0, sizeof b->w->swallow);
        for (int i = 0; i < 10; i++)
            assert_int_equal(bench_step(b, 700), SPR_OK);
        assert_int_equal(b->w->shard_count, b->l->shard_count);
        for (size_t i = 0; i < b->l->shard_count; i++) {
            const struct spr__shard *s = b->l->shards[i];
            const struct fake_shard *f = fake_find(b->w, s->id);
            assert_non_null(f);
            assert_int_equal(s->piece_count, f->piece_count);
            assert_true(fabs(s->ready.of[0] - f->ready[0]) < 1e-9);
            assert_true(s->state == SPR_SHARD_SERVING || s->state == SPR_SHARD_WARM);
        }
    }
    while (b->l->shard_count) {
        size_t before = b->l->shard_count;
        bench_do(b, SPR_ACTION_RELEASE, b->l->shards[0]->id, 0, 1, 0);
        bench_step(b, 60);
        bench_step(b, 60);
        assert_true(b->l->shard_count < before);
    }
    assert_int_equal(b->w->shard_count, 0);
}

static int whole_life(spr_context *ctx, void *arg) {
    struct bench *b = arg;
    static const struct spr_lifecycle_opts with_store = {.size = sizeof with_store};
    struct spr_lifecycle_opts o = with_store;
    o.store = spr_store_memory();
    int rc = bench_make(b, ctx, &o), worst;
    if (rc < 0) {
        bench_stop(b);
        return rc;
    }
    worst = bench_step(b, 0);
    for (int i = 0; i < 4 && !spr_lifecycle_ready(b->l); i++)
        bench_step(b, 5);
    for (int i = 0; i < 6; i++) { /* a tick that lacks memory is late, not lost */
        rc = bench_do(b, SPR_ACTION_ALLOCATE, 0, i % 3, 1 + i % 3, 1.5);
        worst = SPR_MIN(worst, rc);
        rc = bench_step(b, 5);
        worst = SPR_MIN(worst, rc);
    }
    for (uint64_t id = 1; id < 7; id++) {
        rc = bench_do(b, id % 2 ? SPR_ACTION_GROW : SPR_ACTION_SHRINK, id, 0, 1, 0.5);
        worst = SPR_MIN(worst, rc);
        rc = bench_step(b, 60);
        worst = SPR_MIN(worst, rc);
    }
    for (int i = 0; i < 8; i++)
        bench_step(b, 60);
    if (b->l->shard_count != (size_t)b->w->shard_count || b->l->illegal)
        worst = SPR_E_STATE;
    bench_stop(b);
    return worst;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    struct bench *b = calloc(1, sizeof *b);
    assert_true(failing_sweep(whole_life, b) > 50);
    free(b);
}

#define LIFE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        LIFE(a_replica_is_allocated_warmed_and_serves_in_the_step_it_gets_warm),
        LIFE(a_headroom_is_reserved_first_and_needs_no_warming),
        LIFE(a_replica_is_reserved_first_where_that_is_asked_for),
        LIFE(growths_travel_side_by_side_and_shrinking_takes_the_newest_first),
        LIFE(a_drain_lasts_as_long_as_its_flows_and_then_the_shard_goes),
        LIFE(a_draining_shard_can_grow_again),
        LIFE(a_failed_call_is_tried_again_with_doubling_pauses),
        LIFE(after_the_last_try_a_shard_fails_and_is_released),
        LIFE(a_failed_growth_leaves_what_serves_alone),
        LIFE(warmness_gates_traffic),
        LIFE(an_unknown_outcome_is_resolved_by_what_is_there),
        LIFE(a_call_that_never_ends_is_given_up_at_its_deadline),
        LIFE(an_unreachable_host_holds_its_shards_until_it_is_back),
        LIFE(a_deleted_vm_frees_its_shards),
        LIFE(a_vm_that_a_dark_host_may_hide_keeps_its_shards),
        LIFE(a_primary_that_moves_onto_its_shard_frees_it),
        LIFE(moving_and_merging_make_before_they_break),
        LIFE(a_promoted_shard_leaves_the_books),
        LIFE(an_action_whose_precondition_no_longer_holds_is_skipped),
        LIFE(a_fenced_out_lifecycle_stops_acting),
        LIFE(what_a_dead_owner_reserved_is_given_back_and_what_serves_is_adopted),
        LIFE(the_drivers_truth_counts),
        LIFE(less_is_recorded_with_a_reason_that_is_true),
        LIFE(a_drain_whose_ticket_is_lost_is_asked_for_again),
        LIFE(durations_are_measured),
        LIFE(random_lives_end_with_books_and_hosts_equal),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
