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
    const uint16_t *table = spr_routes_table(r, 0);
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
    assert_int_equal(rows[7] + rows[9], 1230); /* 0.3 * 4099 = 1229.7 */
    assert_int_equal(rows[7], 820);
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

/* ---- the table by itself ---- */

enum { MOST = 64 };
struct scene {
    uint64_t id[MOST];
    double weight[MOST];
    uint8_t dead[MOST];
    struct spr_route_shares shares;
};

static uint64_t dice;
static double roll(void) { return spr__rand(77, 1, dice++); }

static void make_scene(struct scene *s, int n, double spill) {
    for (int k = 0; k < n; k++) {
        s->id[k] = spr__rand64(77, 2, dice++) | 1;
        s->weight[k] = 0.05 + roll() * roll() * 10;
        s->dead[k] = 0;
    }
    s->shares = (struct spr_route_shares){.size = sizeof s->shares,
                                          .service = "shop",
                                          .shards = s->id,
                                          .weights = s->weight,
                                          .dead = s->dead,
                                          .count = (size_t)n,
                                          .spill = spill};
}

static void table_of(const struct scene *s, uint16_t *rows) {
    assert_int_equal(spr_route_table(&s->shares, rows), SPR_OK);
}

static void count_rows(const uint16_t *rows, int *count) {
    memset(count, 0, (MOST + 1) * sizeof *count);
    for (int i = 0; i < SPR_ROUTE_SLOTS; i++)
        count[rows[i]]++;
}

static int some(void) { return 1 + (int)(roll() * roll() * MOST); }

static void shares_are_true_to_a_row(void **state) {
    (void)state;
    double worst = 0;
    for (int round = 0; round < 400; round++) {
        struct scene s;
        uint16_t rows[SPR_ROUTE_SLOTS];
        int n = some(), count[MOST + 1], spilled = 0;
        make_scene(&s, n, roll());
        table_of(&s, rows);
        count_rows(rows, count);
        double sum = 0;
        for (int k = 0; k < n; k++) {
            sum += s.weight[k];
            spilled += count[k + 1];
        }
        assert_int_equal(spilled, (int)(s.shares.spill * SPR_ROUTE_SLOTS + 0.5));
        for (int k = 0; k < n; k++) {
            double part = s.weight[k] / sum, off = fabs(count[k + 1] - part * spilled);
            assert_true(off < 1);
            worst = fmax(worst, fabs(count[k + 1] - part * s.shares.spill * SPR_ROUTE_SLOTS));
        }
    }
    print_message("# largest error of a share: %.3f rows\n", worst);
    assert_true(worst <= 1.5); /* half a row more: how many spill is a whole number */
}

static void more_spill_only_adds_rows(void **state) {
    (void)state;
    for (int round = 0; round < 60; round++) {
        struct scene s;
        uint16_t was[SPR_ROUTE_SLOTS] = {0}, is[SPR_ROUTE_SLOTS];
        make_scene(&s, some(), 0);
        for (double spill = 0; spill < 1; spill += 0.2 * roll()) {
            double scale = 0.1 + roll(); /* only proportions count */
            s.shares.spill = spill;
            for (size_t k = 0; k < s.shares.count; k++)
                s.weight[k] *= scale;
            table_of(&s, is);
            for (int i = 0; i < SPR_ROUTE_SLOTS; i++)
                if (was[i])
                    assert_int_equal(was[i], is[i]);
            memcpy(was, is, sizeof was);
        }
    }
}

static void the_order_in_which_shards_are_named_does_not_count(void **state) {
    (void)state;
    for (int round = 0; round < 60; round++) {
        struct scene s, turned;
        uint16_t a[SPR_ROUTE_SLOTS], b[SPR_ROUTE_SLOTS];
        int n = some();
        make_scene(&s, n, roll());
        turned = s;
        for (int k = 0; k < n; k++) {
            turned.id[k] = s.id[n - 1 - k];
            turned.weight[k] = s.weight[n - 1 - k];
        }
        turned.shares.shards = turned.id, turned.shares.weights = turned.weight, turned.shares.dead = turned.dead;
        table_of(&s, a);
        table_of(&turned, b);
        for (int i = 0; i < SPR_ROUTE_SLOTS; i++)
            assert_int_equal(a[i] ? s.id[a[i] - 1] : 0, b[i] ? turned.id[b[i] - 1] : 0);
    }
}

static void only_rows_of_the_dead_move(void **state) {
    (void)state;
    for (int round = 0; round < 40; round++) {
        struct scene s;
        uint16_t first[SPR_ROUTE_SLOTS], was[SPR_ROUTE_SLOTS], is[SPR_ROUTE_SLOTS];
        int n = 1 + some();
        n = n > MOST ? MOST : n;
        make_scene(&s, n, roll());
        s.shares.on_dead = round % 2 ? SPR_DEAD_REHASH : SPR_DEAD_PRIMARY;
        table_of(&s, first);
        memcpy(was, first, sizeof was);
        for (int dead = 0; dead < n; dead++) {
            int died = (int)(roll() * n);
            s.dead[died] = 1;
            table_of(&s, is);
            for (int i = 0; i < SPR_ROUTE_SLOTS; i++) {
                if (was[i] != is[i])
                    assert_int_equal(was[i], died + 1);
                assert_false(is[i] && s.dead[is[i] - 1]);
                if (!is[i] && first[i] && s.shares.on_dead == SPR_DEAD_REHASH) /* to the primary: all are dead */
                    for (int k = 0; k < n; k++)
                        assert_true(s.dead[k]);
            }
            memcpy(was, is, sizeof was);
        }
        memset(s.dead, 0, sizeof s.dead);
        table_of(&s, is);
        assert_memory_equal(first, is, sizeof is); /* back to life: everything is where it was */
    }
}

/* No table that follows from weights alone can move the least at every change; this one stays near to it. */
static void a_changed_weight_moves_little_more_than_it_must(void **state) {
    (void)state;
    double moved = 0, must = 0, worst = 0;
    for (int round = 0; round < 300; round++) {
        struct scene s;
        uint16_t was[SPR_ROUTE_SLOTS], is[SPR_ROUTE_SLOTS];
        int n = 2 + (int)(roll() * 14), one, a[MOST + 1], b[MOST + 1], changed = 0, gain = 0, loss = 0;
        make_scene(&s, n, 0.1 + 0.7 * roll());
        table_of(&s, was);
        one = (int)(roll() * n);
        double sum = 0, before = s.weight[one];
        for (int k = 0; k < n; k++)
            sum += s.weight[k];
        s.weight[one] *= 0.5 + roll();
        s.shares.spill = fmin(1, s.shares.spill * (1 + (s.weight[one] - before) / sum)); /* the others' shares stay */
        table_of(&s, is);
        count_rows(was, a);
        count_rows(is, b);
        for (int i = 0; i < SPR_ROUTE_SLOTS; i++)
            changed += was[i] != is[i];
        for (int k = 0; k <= n; k++)
            *(b[k] > a[k] ? &gain : &loss) += abs(b[k] - a[k]);
        moved += changed;
        must += gain > loss ? gain : loss;
        worst = fmax(worst, (double)(changed - gain) / SPR_ROUTE_SLOTS);
    }
    print_message("# rows moved: %.2f times those that must; at worst %.3f of the table more\n", moved / must, worst);
    assert_true(moved / must < 3);
}

static void bad_shares_are_refused(void **state) {
    (void)state;
    struct scene good, s;
    uint16_t rows[SPR_ROUTE_SLOTS];
    make_scene(&good, 3, 0.5);
#define REFUSED(change)                                                                                                \
    do {                                                                                                               \
        s = good;                                                                                                      \
        s.shares.shards = s.id, s.shares.weights = s.weight, s.shares.dead = s.dead;                                   \
        change;                                                                                                        \
        rows[0] = 4321;                                                                                                \
        assert_int_equal(spr_route_table(&s.shares, rows), SPR_E_ARG);                                                 \
        assert_int_equal(rows[0], 4321);                                                                               \
    } while (0)
    REFUSED(s.shares.service = NULL);
    REFUSED(s.shares.shards = NULL);
    REFUSED(s.shares.weights = NULL);
    REFUSED(s.shares.count = SPR_ROUTE_TARGETS_MOST + 1);
    REFUSED(s.shares.spill = 1.01);
    REFUSED(s.shares.spill = NAN);
    REFUSED(s.shares.on_dead = 4);
    REFUSED(s.weight[1] = -1);
    REFUSED(s.weight[1] = NAN);
    REFUSED(s.weight[1] = INFINITY);
    REFUSED(s.id[1] = 0);
    REFUSED(s.id[1] = s.id[2]);
    assert_int_equal(spr_route_table(NULL, rows), SPR_E_ARG);
    assert_int_equal(spr_route_table(&good.shares, NULL), SPR_E_ARG);
    memset(good.weight, 0, sizeof good.weight); /* nobody takes new flows */
    table_of(&good, rows);
    for (int i = 0; i < SPR_ROUTE_SLOTS; i++)
        assert_int_equal(rows[i], 0);
}

/* ---- routes of a fleet, and given ones ---- */

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

static int copy_of(spr_context *ctx, const spr_routes *r, spr_routes *before, spr_routes **out) {
    struct spr_route_service service = {.size = sizeof service, .route = {.size = sizeof service.route}};
    struct spr_route_target targets[3] = {{.size = sizeof targets[0]}};
    assert_int_equal(spr_routes_get(r, 0, &service.route), SPR_OK);
    for (int32_t t = 0; t < service.route.target_count + service.route.drain_count; t++) {
        targets[t].size = sizeof targets[t];
        assert_int_equal(spr_routes_target(r, 0, t, &targets[t]), SPR_OK);
    }
    service.targets = targets;
    return spr_routes_from(ctx, &service, 1, before, out);
}

static void routes_told_to_another_router_are_the_same_there(void **state) {
    (void)state;
    spr_context *ctx = NULL;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    spr_fleet *base = base_fleet(ctx);
    struct made_shard s[] = {
        {7, 1, SPR_SHARD_SERVING, 2.7}, {9, 2, SPR_SHARD_SERVING, 1.1}, {11, 3, SPR_SHARD_DRAINING, 4}};
    spr_routes *r = routes_of(ctx, base, s, 3, NULL), *there = NULL, *again = NULL;
    struct spr_route a = {.size = sizeof a}, b = {.size = sizeof b};
    assert_int_equal(copy_of(ctx, r, NULL, &there), SPR_OK);
    assert_memory_equal(spr_routes_table(r, 0), spr_routes_table(there, 0), SPR_ROUTE_SLOTS * sizeof(uint16_t));
    assert_int_equal(spr_routes_get(r, 0, &a), SPR_OK);
    assert_int_equal(spr_routes_get(there, 0, &b), SPR_OK);
    assert_string_equal(b.id, "shop");
    assert_ptr_not_equal(a.id, b.id); /* the copy lives by itself */
    assert_int_equal(b.drain_count, 1);
    assert_int_equal(copy_of(ctx, r, there, &again), SPR_OK);
    assert_true(spr_routes_equal(there, again));
    spr_routes_unref(again);
    spr_routes_unref(there);
    spr_routes_unref(r);
    spr_fleet_unref(base);
    spr_context_unref(ctx);
}

static void bad_services_are_refused_by_name(void **state) {
    (void)state;
    spr_context *ctx = NULL;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    struct spr_route_target good_target = {.size = sizeof good_target, .shard = 5, .weight = 1}, t[2];
    struct spr_route_service good = {
        .size = sizeof good, .route = {.size = sizeof good.route, .id = "shop", .target_count = 1, .spill = 0.5}};
    struct spr_route_service s[2];
    struct spr_error e = {.size = sizeof e};
    spr_routes *r = NULL;
#define SERVICES_REFUSED(code, count, change)                                                                          \
    do {                                                                                                               \
        s[0] = s[1] = good, t[0] = t[1] = good_target;                                                                 \
        s[0].targets = s[1].targets = t, s[1].route.vm = 1;                                                            \
        change;                                                                                                        \
        assert_int_equal(spr_routes_from(ctx, s, count, NULL, &r), code);                                              \
        assert_null(r);                                                                                                \
    } while (0)
    SERVICES_REFUSED(SPR_E_ARG, 1, s[0].size = 8);
    SERVICES_REFUSED(SPR_E_ARG, 2, s[1].route.vm = 0);
    SERVICES_REFUSED(SPR_E_ARG, 2, s[0].route.vm = 7);
    SERVICES_REFUSED(SPR_E_ARG, 1, s[0].route.vm = -1);
    SERVICES_REFUSED(SPR_E_ARG, 1, s[0].route.vm = INT32_MAX);
    SERVICES_REFUSED(SPR_E_ARG, 1, s[0].targets = NULL);
    SERVICES_REFUSED(SPR_E_ARG, 1, s[0].route.target_count = INT32_MAX);
    SERVICES_REFUSED(SPR_E_ARG, 1, s[0].route.drain_count = -1);
    SERVICES_REFUSED(SPR_E_ARG, 1, s[0].route.spill = -0.1);
    SERVICES_REFUSED(SPR_E_ARG, 1, s[0].route.promoted = 2);
    SERVICES_REFUSED(SPR_E_ARG, 1, s[0].route.on_dead = -1);
    SERVICES_REFUSED(SPR_E_ARG, 1, s[0].route.id = NULL);
    SERVICES_REFUSED(SPR_E_ARG, 1, (s[0].route.target_count = 2, t[1].shard = 5));
    assert_int_equal(spr_context_error(ctx, &e), SPR_OK);
    assert_string_equal(e.series, "shop");
    SERVICES_REFUSED(SPR_E_ARG, 1, t[0].weight = -1);
    assert_int_equal(spr_routes_from(ctx, NULL, 1, NULL, &r), SPR_E_ARG);
    assert_int_equal(spr_routes_from(ctx, NULL, 0, NULL, NULL), SPR_E_ARG);
    assert_int_equal(spr_routes_from(NULL, NULL, 0, NULL, &r), SPR_E_ARG);
    assert_int_equal(spr_routes_from(ctx, NULL, 0, NULL, &r), SPR_OK); /* none at all: everything to its primary */
    assert_int_equal(spr_routes_count(r), 0);
    spr_routes_unref(r);
    spr_context_unref(ctx);
}

static int make_and_change(spr_context *ctx, void *arg) {
    (void)arg;
    struct made_shard s[] = {{7, 1, SPR_SHARD_SERVING, 2}, {9, 2, SPR_SHARD_SERVING, 1}};
    spr_fleet *base = base_fleet(ctx), *f = base ? with_shards(ctx, base, s, 2) : NULL;
    spr_routes *a = NULL, *b = NULL, *c = NULL;
    int rc = f ? spr_routes_create(ctx, f, NULL, &a) : SPR_E_NOMEM;
    if (rc == SPR_OK)
        rc = spr_routes_create(ctx, f, a, &b);
    if (rc == SPR_OK)
        rc = copy_of(ctx, b, NULL, &c);
    spr_routes_unref(a);
    spr_routes_unref(b);
    spr_routes_unref(c);
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
        cmocka_unit_test(shares_are_true_to_a_row),
        cmocka_unit_test(more_spill_only_adds_rows),
        cmocka_unit_test(the_order_in_which_shards_are_named_does_not_count),
        cmocka_unit_test(only_rows_of_the_dead_move),
        cmocka_unit_test(a_changed_weight_moves_little_more_than_it_must),
        cmocka_unit_test(bad_shares_are_refused),
        cmocka_unit_test(routes_told_to_another_router_are_the_same_there),
        cmocka_unit_test(bad_services_are_refused_by_name),
        cmocka_unit_test(more_spill_takes_rows_from_the_primary_only),
        cmocka_unit_test(picks_agree_with_the_table),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
