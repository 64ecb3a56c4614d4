/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Pick tables under random sequences of growing, shrinking, draining and dying shards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <shardpredict/route.h>

#include "base/base.h"
#include "failing_alloc.h"

struct made_shard {
    uint64_t id;
    int32_t host, state;
    double cores;
};

static spr_fleet *base_fleet(spr_context *ctx) {
    spr_fleet_builder *b = NULL;
    spr_fleet *f = NULL;
    int32_t index;
    if (spr_fleet_builder_create(ctx, NULL, &b) < 0)
        return NULL;
    spr_fleet_builder_use(b, SPR_CPU);
    for (int h = 0; h < 4; h++) {
        static const char *const ids[] = {"north", "south", "east", "west"};
        struct spr_host host = {.size = sizeof host, .id = ids[h], .capacity.of = {[SPR_CPU] = 16}};
        if (spr_fleet_builder_host(b, &host, &index) < 0)
            return spr_fleet_builder_destroy(b), NULL;
    }
    struct spr_vm vm = {.size = sizeof vm,
                        .id = "shop",
                        .replica = SPR_REPLICA_IMAGE,
                        .spillable = 0.8,
                        .klass = -1,
                        .demand.of = {[SPR_CPU] = 10}};
    if (spr_fleet_builder_vm(b, &vm, &index) < 0)
        return spr_fleet_builder_destroy(b), NULL;
    return spr_fleet_builder_finish(b, (struct spr_time){0, 0}, &f) < 0 ? NULL : f;
}

static spr_fleet *with_shards(spr_context *ctx, const spr_fleet *base, const struct made_shard *shards, int n) {
    spr_fleet_builder *b = NULL;
    spr_fleet *f = NULL;
    if (spr_fleet_builder_create(ctx, base, &b) < 0)
        return NULL;
    for (int k = 0; k < n; k++) {
        struct spr_shard s = {
            .size = sizeof s, .id = shards[k].id, .host = shards[k].host, .state = shards[k].state, .warmness = 1};
        if (shards[k].state == SPR_SHARD_DRAINING)
            s.draining.of[SPR_CPU] = shards[k].cores;
        else
            s.ready.of[SPR_CPU] = shards[k].cores;
        if (spr_fleet_builder_shard(b, &s) < 0)
            return spr_fleet_builder_destroy(b), NULL;
    }
    return spr_fleet_builder_finish(b, (struct spr_time){1, 1}, &f) < 0 ? NULL : f;
}

static spr_routes *routes_of(spr_context *ctx, const spr_fleet *base, const struct made_shard *s, int n,
                             spr_routes *before) {
    spr_fleet *f = with_shards(ctx, base, s, n);
    spr_routes *r = NULL;
    if (f)
        spr_routes_create(ctx, f, before, &r);
    spr_fleet_unref(f);
    return r;
}

static uint64_t shard_at(const spr_routes *r, int slot) {
    const uint8_t *table = spr_routes_table(r, 0);
    struct spr_route_target t = {.size = sizeof t};
    if (!table || !table[slot])
        return 0;
    assert_int_equal(spr_routes_target(r, 0, table[slot] - 1, &t), SPR_OK);
    return t.shard;
}

static void rows_follow_the_capacity_that_is_ready(void **state) {
    (void)state;
    spr_context *ctx = NULL;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    spr_fleet *base = base_fleet(ctx);
    /* 2 + 1 of 10 cores: 30 % of new flows, two thirds of them to the larger shard */
    struct made_shard s[] = {
        {7, 1, SPR_SHARD_SERVING, 2}, {9, 2, SPR_SHARD_SERVING, 1}, {11, 3, SPR_SHARD_DRAINING, 4}};
    spr_routes *r = routes_of(ctx, base, s, 3, NULL);
    struct spr_route route = {.size = sizeof route};
    int rows[12] = {0};
    assert_int_equal(spr_routes_get(r, 0, &route), SPR_OK);
    assert_int_equal(route.target_count, 2);
    assert_int_equal(route.drain_count, 1);
    assert_true(fabs(route.spill - 0.3) < 1e-12);
    for (int i = 0; i < SPR_ROUTE_SLOTS; i++)
        rows[shard_at(r, i)]++;
    assert_int_equal(rows[7] + rows[9], 77); /* 0.3 * 256 = 76.8 */
    assert_int_equal(rows[7], 51);
    assert_int_equal(rows[11], 0); /* no new flows */
    spr_routes_unref(r);
    spr_fleet_unref(base);
    spr_context_unref(ctx);
}

static void no_more_than_the_spillable_share_leaves(void **state) {
    (void)state;
    spr_context *ctx = NULL;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    spr_fleet *base = base_fleet(ctx);
    struct made_shard s[] = {{7, 1, SPR_SHARD_SERVING, 14}};
    spr_routes *r = routes_of(ctx, base, s, 1, NULL);
    struct spr_route route = {.size = sizeof route};
    assert_int_equal(spr_routes_get(r, 0, &route), SPR_OK);
    assert_true(route.spill == 0.8);
    spr_routes_unref(r);
    spr_fleet_unref(base);
    spr_context_unref(ctx);
}

/* The flow-pinning model: a row's flows stay where they are unless their own shard goes. */
static void rows_never_move_from_shard_to_shard(void **state) {
    (void)state;
    spr_context *ctx = NULL;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    spr_fleet *base = base_fleet(ctx);
    struct made_shard s[3] = {{1, 1, SPR_SHARD_SERVING, 1}, {2, 2, SPR_SHARD_SERVING, 1}, {3, 3, SPR_SHARD_SERVING, 1}};
    spr_routes *r = routes_of(ctx, base, s, 3, NULL);
    uint64_t next_id = 4, moved = 0, random = 0;
    for (int round = 0; round < 400; round++) {
        for (int k = 0; k < 3; k++) {
            double u = spr__rand(2385, 1, random++);
            if (u < 0.05)
                s[k].id = next_id++; /* died; another one came */
            else if (u < 0.9)
                s[k].cores = 4 * spr__rand(2385, 1, random++);
            s[k].state = spr__rand(2385, 1, random++) < 0.15 ? SPR_SHARD_DRAINING : SPR_SHARD_SERVING;
        }
        spr_routes *next = routes_of(ctx, base, s, 3, r);
        assert_non_null(next);
        for (int i = 0; i < SPR_ROUTE_SLOTS; i++) {
            uint64_t was = shard_at(r, i), is = shard_at(next, i);
            bool stays = false;
            for (int k = 0; k < 3; k++)
                stays |= s[k].id == was && s[k].state == SPR_SHARD_SERVING;
            assert_false(was && is && was != is && stays);
            moved += was != is;
        }
        spr_routes_unref(r);
        r = next;
    }
    assert_true(moved > 1000); /* the sequence was not idle */
    spr_routes_unref(r);
    spr_fleet_unref(base);
    spr_context_unref(ctx);
}

static void more_spill_takes_rows_from_the_primary_only(void **state) {
    (void)state;
    spr_context *ctx = NULL;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    spr_fleet *base = base_fleet(ctx);
    struct made_shard s[] = {{7, 1, SPR_SHARD_SERVING, 2.385}, {9, 2, SPR_SHARD_SERVING, 1.1}};
    spr_routes *a = routes_of(ctx, base, s, 2, NULL);
    s[0].cores *= 1.5, s[1].cores *= 1.5;
    spr_routes *b = routes_of(ctx, base, s, 2, a);
    for (int i = 0; i < SPR_ROUTE_SLOTS; i++)
        if (shard_at(a, i))
            assert_int_equal(shard_at(a, i), shard_at(b, i));
    assert_int_equal(spr_routes_id(b), spr_routes_id(a) + 1);
    assert_false(spr_routes_equal(a, b));
    spr_routes *c = routes_of(ctx, base, s, 2, b);
    assert_true(spr_routes_equal(b, c)); /* nothing changed: the services are shared */
    assert_ptr_equal(spr_routes_table(b, 0), spr_routes_table(c, 0));
    spr_routes_unref(a);
    spr_routes_unref(b);
    spr_routes_unref(c);
    spr_fleet_unref(base);
    spr_context_unref(ctx);
}

static void picks_agree_with_the_table(void **state) {
    (void)state;
    spr_context *ctx = NULL;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    spr_fleet *base = base_fleet(ctx);
    struct made_shard s[] = {{7, 1, SPR_SHARD_SERVING, 3}};
    spr_routes *r = routes_of(ctx, base, s, 1, NULL);
    uint64_t hashes[SPR_ROUTE_SLOTS], shards[SPR_ROUTE_SLOTS];
    for (uint64_t i = 0; i < SPR_ROUTE_SLOTS; i++)
        hashes[i] = i + 1024 * i;
    assert_int_equal(spr_routes_pick(r, 0, hashes, SPR_ROUTE_SLOTS, shards), SPR_OK);
    for (int i = 0; i < SPR_ROUTE_SLOTS; i++)
        assert_int_equal(shards[i], shard_at(r, (int)(hashes[i] % SPR_ROUTE_SLOTS)));
    assert_int_equal(spr_routes_pick(r, 5, hashes, 1, shards), SPR_E_ARG);
    spr_routes_unref(r);
    spr_fleet_unref(base);
    spr_context_unref(ctx);
}

static int make_and_change(spr_context *ctx, void *arg) {
    (void)arg;
    struct made_shard s[] = {{7, 1, SPR_SHARD_SERVING, 2}, {9, 2, SPR_SHARD_SERVING, 1}};
    spr_fleet *base = base_fleet(ctx), *f = base ? with_shards(ctx, base, s, 2) : NULL;
    spr_routes *a = NULL, *b = NULL;
    int rc = f ? spr_routes_create(ctx, f, NULL, &a) : SPR_E_NOMEM;
    if (rc == SPR_OK)
        rc = spr_routes_create(ctx, f, a, &b);
    spr_routes_unref(a);
    spr_routes_unref(b);
    spr_fleet_unref(f);
    spr_fleet_unref(base);
    return rc;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    assert_true(failing_sweep(make_and_change, NULL) > 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_follow_the_capacity_that_is_ready),
        cmocka_unit_test(no_more_than_the_spillable_share_leaves),
        cmocka_unit_test(rows_never_move_from_shard_to_shard),
        cmocka_unit_test(more_spill_takes_rows_from_the_primary_only),
        cmocka_unit_test(picks_agree_with_the_table),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
