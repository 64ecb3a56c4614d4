/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A model of flows on pick tables: new ones follow the table, established ones stay until their own shard dies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "route/route.h"

static spr_context *ctx;

/* One primary host and seven others; `vms` VMs with 10 cores of demand each, 80 % of it spillable. */
static int make_fleet(spr_context *c, int vms, spr_fleet **out) {
    spr_fleet_builder *b = NULL;
    char name[24];
    int rc = spr_fleet_builder_create(c, NULL, &b);
    if (rc >= 0)
        rc = spr_fleet_builder_use(b, SPR_CPU);
    for (int i = 0; rc >= 0 && i < 8; i++) {
        struct spr_host h = {.size = sizeof h, .id = name};
        snprintf(name, sizeof name, "h%d", i);
        rc = spr_fleet_builder_host(b, &h, NULL);
    }
    for (int i = 0; rc >= 0 && i < vms; i++) {
        struct spr_vm v = {.size = sizeof v, .id = name, .spillable = 0.8, .replica = SPR_REPLICA_IMAGE};
        snprintf(name, sizeof name, "vm-%d", i);
        v.demand.of[SPR_CPU] = 10;
        rc = spr_fleet_builder_vm(b, &v, NULL);
    }
    if (rc < 0) {
        spr_fleet_builder_destroy(b);
        return rc;
    }
    return spr_fleet_builder_finish(b, (struct spr_time){0, 0}, out);
}

struct row {
    uint64_t id;
    int32_t vm;
    int state;
    double ready, draining;
};

static int with_shards(spr_context *c, const spr_fleet *base, const struct row *rows, int n, spr_fleet **out) {
    spr_fleet_builder *b = NULL;
    int rc = spr_fleet_builder_create(c, base, &b);
    for (int i = 0; rc >= 0 && i < n; i++) {
        struct spr_shard s = {.size = sizeof s, .id = rows[i].id, .vm = rows[i].vm, .state = rows[i].state};
        s.host = 1 + (int32_t)(rows[i].id % 7);
        s.ready.of[SPR_CPU] = rows[i].ready;
        s.draining.of[SPR_CPU] = rows[i].draining;
        rc = spr_fleet_builder_shard(b, &s);
    }
    if (rc < 0) {
        spr_fleet_builder_destroy(b);
        return rc;
    }
    return spr_fleet_builder_finish(b, (struct spr_time){0, 0}, out);
}

/* The next snapshot; gives the one before back. */
static spr_routes *next(const spr_fleet *base, spr_routes *before, const struct row *rows, int n) {
    spr_fleet *f = NULL;
    spr_routes *r = NULL;
    assert_int_equal(with_shards(ctx, base, rows, n, &f), SPR_OK);
    assert_int_equal(spr_routes_create(ctx, f, before, &r), SPR_OK);
    spr_fleet_unref(f);
    spr_routes_unref(before);
    return r;
}

static int setup(void **state) {
    spr_fleet *f = NULL;
    if (spr_context_create(NULL, &ctx) < 0 || make_fleet(ctx, 3, &f) < 0)
        return -1;
    *state = f;
    return 0;
}

static int teardown(void **state) {
    spr_fleet_unref(*state);
    spr_context_unref(ctx);
    return 0;
}

static void what_no_shard_carries_does_not_keep_flows_at_home(void **state) {
    spr_context *c = ctx;
    spr_fleet_builder *b = NULL;
    spr_fleet *f = NULL;
    struct spr_vm vm = {.size = sizeof vm, .id = "vm", .spillable = 0.5, .replica = SPR_REPLICA_IMAGE};
    struct spr_host hosts[] = {{.size = sizeof hosts[0], .id = "a"}, {.size = sizeof hosts[0], .id = "b"}};
    struct spr_shard s = {.size = sizeof s, .id = 1, .host = 1, .state = SPR_SHARD_SERVING};
    struct spr_route route = {.size = sizeof route};
    spr_routes *r = NULL;
    (void)state;
    vm.demand.of[SPR_CPU] = 10;
    vm.demand.of[SPR_DISK_READ] = 3e6; /* every VM reads its disk, no shard holds one */
    s.ready.of[SPR_CPU] = 2.5;
    assert_int_equal(spr_fleet_builder_create(c, NULL, &b), SPR_OK);
    assert_int_equal(spr_fleet_builder_host(b, &hosts[0], NULL), SPR_OK);
    assert_int_equal(spr_fleet_builder_host(b, &hosts[1], NULL), SPR_OK);
    assert_int_equal(spr_fleet_builder_vm(b, &vm, NULL), SPR_OK);
    assert_int_equal(spr_fleet_builder_shard(b, &s), SPR_OK);
    assert_int_equal(spr_fleet_builder_finish(b, (struct spr_time){0, 0}, &f), SPR_OK);
    assert_int_equal(spr_routes_create(c, f, NULL, &r), SPR_OK);
    assert_int_equal(spr_routes_get(r, 0, &route), SPR_OK);
    assert_true(route.spill == 0.25);
    spr_routes_unref(r);
    spr_fleet_unref(f);
}

static void what_did_not_change_is_shared(void **state) {
    struct row rows[] = {
        {1, 0, SPR_SHARD_SERVING, 3, 0}, {2, 1, SPR_SHARD_SERVING, 3, 0}, {3, 2, SPR_SHARD_SERVING, 3, 0}};
    spr_routes *a = next(*state, NULL, rows, 3), *b = next(*state, spr_routes_ref(a), rows, 3);
    assert_int_equal(spr_routes_equal(a, b), 1);
    assert_int_equal(spr_routes_id(b), spr_routes_id(a) + 1);
    rows[1].ready = 4;
    spr_routes *c = next(*state, spr_routes_ref(b), rows, 3);
    assert_ptr_equal(spr_routes_table(a, 0), spr_routes_table(c, 0));
    assert_ptr_equal(spr_routes_table(a, 2), spr_routes_table(c, 2));
    assert_ptr_not_equal(spr_routes_table(a, 1), spr_routes_table(c, 1));
    assert_int_equal(spr_routes_equal(a, c), 0);
    assert_int_equal(spr_routes_equal(a, NULL), 0);
    spr_routes_unref(a);
    spr_routes_unref(b);
    spr_routes_unref(c);
    spr_routes *none = next(*state, NULL, rows, 0);
    assert_int_equal(spr_routes_equal(none, NULL), 1);
    spr_routes_unref(none);
}

/* ---- flows: new ones follow the table, established ones stay until their shard dies ---- */

#define FLOWS 512
struct flow {
    uint64_t hash, at; /* shard id, 0 = primary */
};

static bool is_alive(const struct row *rows, int n, uint64_t id) {
    for (int i = 0; i < n; i++)
        if (rows[i].id == id && (rows[i].ready > 0 || rows[i].draining > 0))
            return true;
    return false;
}

static void established_flows_stay_through_any_sequence_of_tables(void **state) {
    struct flow flows[FLOWS] = {{0}};
    struct row rows[4] = {{0}};
    spr_routes *r = next(*state, NULL, rows, 0);
    uint64_t k = 0, next_id = 1;
    for (int step = 0; step < 400; step++) {
        int n = 0;
        struct row live[4];
        uint64_t x = spr__rand64(11, 1, k++);
        struct row *one = &rows[x % 4];
        if (!one->id)
            *one = (struct row){next_id++, 0, SPR_SHARD_SERVING, 0.2 + (double)(x >> 8 & 31) / 8, 0};
        else if (one->state == SPR_SHARD_DRAINING)
            memset(one, 0, sizeof *one); /* its last flow is gone, or it died */
        else if (x >> 16 & 1)
            *one = (struct row){one->id, 0, SPR_SHARD_DRAINING, 0, one->ready};
        else
            one->ready = 0.2 + (double)(x >> 8 & 31) / 8;
        for (int i = 0; i < 4; i++)
            if (rows[i].id)
                live[n++] = rows[i];
        for (int i = 1; i < n; i++) /* in the order of their ids, as a lifecycle gives them */
            for (int j = i; j > 0 && live[j].id < live[j - 1].id; j--) {
                struct row swap = live[j];
                live[j] = live[j - 1];
                live[j - 1] = swap;
            }
        spr_routes *now = next(*state, spr_routes_ref(r), live, n);
        for (int i = 0; i < FLOWS; i++) {
            uint64_t where;
            if (flows[i].at && !is_alive(live, n, flows[i].at))
                flows[i].hash = 0; /* its own shard died: the one exception */
            if (flows[i].hash)
                continue; /* established: whatever the table says, it stays where it is */
            flows[i].hash = spr__rand64(12, (uint64_t)i, k++) | 1;
            assert_int_equal(spr_routes_pick(now, 0, &flows[i].hash, 1, &where), SPR_OK);
            flows[i].at = where;
            bool serving = !where;
            for (int j = 0; j < n; j++)
                serving |= live[j].id == where && live[j].state == SPR_SHARD_SERVING;
            assert_true(serving); /* no new flow for a shard that drains */
        }
        spr_routes_unref(r);
        r = now;
    }
    spr_routes_unref(r);
}

/* Whatever came before: a router that starts now makes the table that the others have. */
static void a_table_does_not_depend_on_the_tables_before(void **state) {
    struct row rows[] = {{1, 0, SPR_SHARD_SERVING, 3, 0}, {2, 0, SPR_SHARD_SERVING, 0.1, 0}};
    spr_routes *r = next(*state, NULL, rows, 2);
    for (uint64_t k = 0; k < 50; k++) {
        rows[0].ready = 0.1 + 4 * spr__rand(5, 1, k);
        rows[1].ready = 0.1 + 4 * spr__rand(5, 2, k);
        r = next(*state, r, rows, 2);
        spr_routes *fresh = next(*state, NULL, rows, 2);
        assert_memory_equal(spr_routes_table(r, 0), spr_routes_table(fresh, 0), SPR_ROUTE_SLOTS * sizeof(uint16_t));
        spr_routes_unref(fresh);
    }
    spr_routes *same = next(*state, spr_routes_ref(r), rows, 2);
    assert_ptr_equal(spr_routes_table(r, 0), spr_routes_table(same, 0));
    spr_routes_unref(same);
    spr_routes_unref(r);
}

#define LIFE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        LIFE(what_no_shard_carries_does_not_keep_flows_at_home),
        LIFE(what_did_not_change_is_shared),
        LIFE(established_flows_stay_through_any_sequence_of_tables),
        LIFE(a_table_does_not_depend_on_the_tables_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
