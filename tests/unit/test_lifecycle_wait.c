/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Warm shards that wait: the driver hears how, the time comes by itself, a restart loses nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "lifecycle_bench.h"

#define JOURNAL "spr-wait.journal"

static struct bench bench;

static int start(struct bench *b, struct fake_world *w, spr_context *ctx) {
    struct spr_store_file_opts file = {.size = sizeof file, .path = JOURNAL};
    struct spr_lifecycle_opts o = {.size = sizeof o, .store = spr_store_file(), .store_config = &file};
    struct spr_time now = b->now;
    memset(b, 0, sizeof *b);
    b->ctx = ctx;
    b->w = w;
    b->now = now;
    int rc = bench_fleet(ctx, false, &b->fleet);
    return rc < 0 ? rc : bench_start(b, &o);
}

static struct fake_world world;

static int setup(void **state) {
    spr_context *ctx = NULL;
    unlink(JOURNAL);
    memset(&world, 0, sizeof world);
    bench.now = (struct spr_time){INT64_C(1700000000) * S_NS, 100 * S_NS};
    if (spr_context_create(NULL, &ctx) < 0 || start(&bench, &world, ctx) < 0)
        return -1;
    *state = &bench;
    return bench_step(&bench, 0);
}

static int teardown(void **state) {
    struct bench *b = *state;
    int64_t illegal = b->l->illegal;
    bench_stop(b);
    spr_context_unref(b->ctx);
    unlink(JOURNAL);
    return illegal ? -1 : 0;
}

static int act(struct bench *b, int kind, uint64_t shard, int32_t warm, double wake_s) {
    struct spr__shard *s = shard ? spr__shard_find(b->l, shard) : NULL;
    struct spr_action a = {.size = sizeof a, .id = 1, .kind = kind, .shard = shard, .vm = 0, .host = 1};
    a.amounts.of[SPR_CPU] = 2;
    a.precondition = s ? s->state : -1;
    a.because = SPR_BECAUSE_EXPECTED_WORTH;
    a.warm = warm;
    a.wake_mono_ns = b->now.mono_ns + (int64_t)(wake_s * 1e9);
    return spr__lifecycle_take(b->l, b->fleet, &a, b->now);
}

static const struct spr__shard *it(struct bench *b) {
    assert_int_equal(b->l->shard_count, 1);
    return b->l->shards[0];
}

static void it_waits_as_asked_and_serves_when_its_time_has_come(void **state) {
    struct bench *b = *state;
    assert_int_equal(act(b, SPR_ACTION_ALLOCATE, 0, SPR_WARM_SAVED, 600), 1);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_int_equal(it(b)->state, SPR_SHARD_WARM);
    assert_int_equal(b->w->shards[0].warm, SPR_WARM_SAVED);
    assert_int_equal(b->w->asked[SPR_DRIVER_WARM], 1);
    assert_int_equal(b->w->asked[SPR_DRIVER_ACTIVATE], 0);
    assert_int_equal(spr_lifecycle_next_deadline(b->l), b->now.mono_ns + 599 * S_NS);
    assert_int_equal(bench_step(b, 598), SPR_OK);
    assert_int_equal(it(b)->state, SPR_SHARD_WARM);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_int_equal(it(b)->state, SPR_SHARD_SERVING);
    assert_int_equal(it(b)->warm, SPR_WARM_ANY);
    assert_int_equal(b->w->asked[SPR_DRIVER_ACTIVATE], 1);
    assert_int_equal(b->w->asked[SPR_DRIVER_WARM], 1);
}

static void nobody_said_anything_and_it_serves_at_once(void **state) {
    struct bench *b = *state;
    assert_int_equal(act(b, SPR_ACTION_ALLOCATE, 0, SPR_WARM_ANY, 600), 1);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_int_equal(it(b)->state, SPR_SHARD_SERVING);
    assert_int_equal(b->w->shards[0].warm, SPR_WARM_ANY);
}

static void its_time_was_over_before_it_was_warm(void **state) {
    struct bench *b = *state;
    b->w->delay_ns[SPR_DRIVER_ALLOCATE] = 30 * S_NS;
    assert_int_equal(act(b, SPR_ACTION_ALLOCATE, 0, SPR_WARM_SAVED, 10), 1);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_int_equal(bench_step(b, 30), SPR_OK);
    assert_int_equal(it(b)->state, SPR_SHARD_SERVING);
    assert_int_equal(b->w->shards[0].warm, SPR_WARM_ANY); /* it was not laid down for nothing */
}

static void a_changed_plan_changes_how_it_waits(void **state) {
    struct bench *b = *state;
    assert_int_equal(act(b, SPR_ACTION_ALLOCATE, 0, SPR_WARM_SAVED, 6000), 1);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    b->w->delay_ns[SPR_DRIVER_WARM] = 2 * S_NS;
    assert_int_equal(act(b, SPR_ACTION_WAIT, 1, SPR_WARM_PAUSED, 60), 1);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_int_equal(b->w->asked[SPR_DRIVER_WARM], 2);
    assert_int_equal(act(b, SPR_ACTION_WAIT, 1, SPR_WARM_RUNNING, 60), 1); /* while the other is under way */
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_int_equal(b->w->asked[SPR_DRIVER_WARM], 3);
    assert_int_equal(bench_step(b, 2), SPR_OK);
    assert_int_equal(b->w->shards[0].warm, SPR_WARM_RUNNING);
    assert_int_equal(it(b)->state, SPR_SHARD_WARM);
    assert_int_equal(act(b, SPR_ACTION_WAIT, 1, SPR_WARM_ANY, 0), 1);
    assert_int_equal(bench_step(b, 0), SPR_OK);
    assert_int_equal(it(b)->state, SPR_SHARD_SERVING);
    assert_int_equal(act(b, SPR_ACTION_WAIT, 1, SPR_WARM_SAVED, 60), 0); /* it has flows now */
    assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_int_equal(it(b)->state, SPR_SHARD_SERVING);
    assert_int_equal(act(b, SPR_ACTION_WAIT, 1, SPR_WARM_STATE_END_, 60), SPR_E_ARG);
}

static void the_snapshot_shows_how_it_waits(void **state) {
    struct bench *b = *state;
    spr_fleet_builder *fb = NULL;
    spr_fleet *f = NULL;
    struct spr_shard s = {.size = sizeof s};
    assert_int_equal(act(b, SPR_ACTION_ALLOCATE, 0, SPR_WARM_SAVED, 600), 1);
    assert_int_equal(spr_fleet_builder_create(b->ctx, b->fleet, &fb), SPR_OK);
    assert_int_equal(spr_lifecycle_fill(b->l, fb), SPR_OK);
    assert_int_equal(spr_fleet_builder_finish(fb, b->now, &f), SPR_OK);
    assert_int_equal(spr_fleet_shard(f, 0, &s), SPR_OK);
    assert_int_equal(s.warm, SPR_WARM_SAVED);
    assert_int_equal(s.wake_mono_ns, b->now.mono_ns + 600 * S_NS);
    spr_fleet_unref(f);
}

/* Whoever cannot be laid down that way serves: it costs more, and helps. */
static void one_that_cannot_wait_serves(void **state) {
    struct bench *b = *state;
    assert_int_equal(act(b, SPR_ACTION_ALLOCATE, 0, SPR_WARM_PAUSED, 6000), 1);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    b->w->fail[SPR_DRIVER_WARM] = 100;
    assert_int_equal(act(b, SPR_ACTION_WAIT, 1, SPR_WARM_SAVED, 6000), 1);
    for (int i = 0; i < 6; i++)
        assert_int_equal(bench_step(b, 10), SPR_OK);
    assert_int_equal(it(b)->state, SPR_SHARD_SERVING);
    assert_true(it(b)->ready.of[0] == 2);
}

/* A guest with a card of its own cannot be saved: it is warmed all the same. */
static void one_that_cannot_even_begin_to_wait_serves(void **state) {
    struct bench *b = *state;
    b->w->fail[SPR_DRIVER_WARM] = 3; /* as often as it is tried */
    assert_int_equal(act(b, SPR_ACTION_ALLOCATE, 0, SPR_WARM_SAVED, 6000), 1);
    for (int i = 0; i < 6; i++)
        assert_int_equal(bench_step(b, 10), SPR_OK);
    assert_int_equal(it(b)->state, SPR_SHARD_SERVING);
    assert_int_equal(b->w->shards[0].warm, SPR_WARM_ANY);
    assert_int_equal(b->w->asked[SPR_DRIVER_WARM], 4);
}

static void an_answer_that_was_lost_is_asked_for_again(void **state) {
    struct bench *b = *state;
    assert_int_equal(act(b, SPR_ACTION_ALLOCATE, 0, SPR_WARM_PAUSED, 6000), 1);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    b->w->swallow[SPR_DRIVER_WARM] = 1;
    assert_int_equal(act(b, SPR_ACTION_WAIT, 1, SPR_WARM_SAVED, 6000), 1);
    for (int i = 0; i < 4; i++)
        assert_int_equal(bench_step(b, 5), SPR_OK);
    assert_int_equal(it(b)->state, SPR_SHARD_WARM);
    assert_int_equal(it(b)->waits, SPR_WARM_SAVED);
    assert_int_equal(b->w->shards[0].warm, SPR_WARM_SAVED);
    assert_int_equal(b->w->asked[SPR_DRIVER_ACTIVATE], 0);
}

static void a_restart_loses_neither_the_way_nor_the_time(void **state) {
    struct bench *b = *state;
    assert_int_equal(act(b, SPR_ACTION_ALLOCATE, 0, SPR_WARM_SAVED, 600), 1);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    spr_context *ctx = b->ctx;
    bench_stop(b);
    world.call_count = 0;
    b->now.wall_ns += 100 * S_NS;
    b->now.mono_ns = 5 * S_NS; /* another boot: monotonic time begins anew */
    assert_int_equal(start(b, &world, ctx), SPR_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(bench_step(b, 1), SPR_OK);
    assert_int_equal(it(b)->state, SPR_SHARD_WARM);
    assert_int_equal(it(b)->warm, SPR_WARM_SAVED);
    assert_int_equal(world.shards[0].warm, SPR_WARM_SAVED);
    assert_int_equal(world.asked[SPR_DRIVER_ACTIVATE], 0);
    assert_int_equal(spr_lifecycle_next_deadline(b->l), b->now.mono_ns + (600 - 1 - 100 - 3) * S_NS);
    assert_int_equal(bench_step(b, 600 - 104), SPR_OK);
    assert_int_equal(it(b)->state, SPR_SHARD_SERVING);
    assert_int_equal(world.shard_count, 1);
}

static void a_damaged_record_of_one_is_refused(void **state) {
    struct bench *b = *state;
    uint64_t fence = 0;
    assert_int_equal(act(b, SPR_ACTION_ALLOCATE, 0, SPR_WARM_SAVED, 600), 1);
    struct spr__shard *s = b->l->shards[0];
    assert_int_equal(spr__journal_append(b->l, s, b->now), SPR_OK);
    uint8_t copy[512];
    size_t n = 0;
    /* the record ends with the way and the time: nine bytes behind the host's name */
    for (size_t i = 0; i + 2 < b->l->record_cap && i + 11 < sizeof copy; i++)
        if (!memcmp(b->l->record + i, "h1", 2))
            n = i + 2 + 9;
    assert_true(n > 20);
    memcpy(copy, b->l->record, n);
    assert_int_equal(copy[0], 3);
    assert_int_equal(copy[n - 9], SPR_WARM_SAVED);
    assert_int_equal(spr__journal_decode(b->l, copy, n - 1, &fence), SPR_E_CORRUPT);
    copy[n - 9] = SPR_WARM_STATE_END_;
    assert_int_equal(spr__journal_decode(b->l, copy, n, &fence), SPR_E_CORRUPT);
    copy[n - 9] = SPR_WARM_ANY;
    assert_int_equal(spr__journal_decode(b->l, copy, n, &fence), SPR_E_CORRUPT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(it_waits_as_asked_and_serves_when_its_time_has_come),
        TEST(nobody_said_anything_and_it_serves_at_once),
        TEST(its_time_was_over_before_it_was_warm),
        TEST(a_changed_plan_changes_how_it_waits),
        TEST(the_snapshot_shows_how_it_waits),
        TEST(one_that_cannot_wait_serves),
        TEST(one_that_cannot_even_begin_to_wait_serves),
        TEST(an_answer_that_was_lost_is_asked_for_again),
        TEST(a_restart_loses_neither_the_way_nor_the_time),
        TEST(a_damaged_record_of_one_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
