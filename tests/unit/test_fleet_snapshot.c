/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The fleet: what goes in comes out, snapshots share and never change, every bad field is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "failing_alloc.h"
#include "fleet/fleet.h"

static const struct spr_time T0 = {INT64_C(1700000000000000000), 12345};

static struct spr_host host_of(const char *id, const char *rack, const char *zone) {
    struct spr_host h = {.size = sizeof h, .id = id, .rack = rack, .zone = zone};
    h.capacity.of[SPR_CPU] = 31.7;
    h.capacity.of[SPR_MEMORY] = 137e9;
    h.power_w[3] = 211.5;
    return h;
}

static struct spr_vm vm_of(const char *id, int32_t host) {
    struct spr_vm v = {.size = sizeof v, .id = id, .host = host, .replica = SPR_REPLICA_TEMPLATE, .spillable = 0.73};
    v.demand.of[SPR_CPU] = 2.385;
    v.demand_hour.of[SPR_CPU] = 1.19;
    v.demand.of[SPR_MEMORY] = 3.3e9;
    v.seen_mono_ns = 77;
    v.censored = 1u << SPR_CPU;
    return v;
}

static struct spr_shard shard_of(uint64_t id, int32_t vm, int32_t host, double ready, double pending, double draining) {
    struct spr_shard s = {.size = sizeof s, .id = id, .vm = vm, .host = host, .state = SPR_SHARD_SERVING};
    s.ready.of[SPR_CPU] = ready;
    s.pending.of[SPR_CPU] = pending;
    s.draining.of[SPR_CPU] = draining;
    s.warmness = 1;
    return s;
}

/* Two racks in one zone, one host elsewhere; three VMs, one declared demand. */
static int build(spr_context *ctx, spr_fleet **out) {
    spr_fleet_builder *b = NULL;
    struct spr_host hosts[] = {host_of("a", "r1", "z1"), host_of("b", "r1", "z1"), host_of("c", "r2", "z1"),
                               host_of("d", "r1", "z2"), host_of("e", NULL, "")};
    struct spr_vm vms[] = {vm_of("web/1", 0), vm_of("web/2", 2), vm_of("db", 0)};
    struct spr_declared d = {.size = sizeof d, .match = "web/*", .end_wall_ns = 9, .amount = 1.5, .confidence = 0.9};
    int rc = spr_fleet_builder_create(ctx, NULL, &b);
    vms[0].group = vms[1].group = "web";
    vms[2].anti_affinity = "web";
    vms[2].affinity = "web/1";
    vms[2].hosts_allowed = "?";
    for (size_t i = 0; rc >= 0 && i < SPR_ARRAY_LEN(hosts); i++)
        rc = spr_fleet_builder_host(b, &hosts[i], NULL);
    for (size_t i = 0; rc >= 0 && i < SPR_ARRAY_LEN(vms); i++)
        rc = spr_fleet_builder_vm(b, &vms[i], NULL);
    if (rc >= 0)
        rc = spr_fleet_builder_declared(b, &d);
    if (rc < 0) {
        spr_fleet_builder_destroy(b);
        return rc;
    }
    return spr_fleet_builder_finish(b, T0, out);
}

static spr_context *context(void) {
    spr_context *ctx = NULL;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    return ctx;
}

static void what_goes_in_comes_out(void **state) {
    (void)state;
    spr_context *ctx = context();
    spr_fleet *f = NULL;
    struct spr_host h = {.size = sizeof h};
    struct spr_vm v = {.size = sizeof v};
    struct spr_declared d = {.size = sizeof d};
    assert_int_equal(build(ctx, &f), SPR_OK);
    spr_context_unref(ctx);
    assert_int_equal(spr_fleet_host_count(f), 5);
    assert_int_equal(spr_fleet_vm_count(f), 3);
    assert_int_equal(spr_fleet_host(f, 2, &h), SPR_OK);
    assert_string_equal(h.id, "c");
    assert_string_equal(h.rack, "r2");
    assert_true(h.power_w[3] == 211.5 && h.capacity.of[SPR_MEMORY] == 137e9);
    assert_int_equal(spr_fleet_vm(f, spr_fleet_find_vm(f, "db"), &v), SPR_OK);
    assert_string_equal(v.anti_affinity, "web");
    assert_true(v.demand.of[SPR_CPU] == 2.385 && v.demand_hour.of[SPR_CPU] == 1.19 && v.demand.of[SPR_MEMORY] == 3.3e9);
    assert_true(v.flow_lifetime_s == 60 && v.shards_at_most == 2 && v.seen_mono_ns == 77 && v.censored == 1);
    assert_int_equal(spr_fleet_declared(f, 0, &d), SPR_OK);
    assert_string_equal(d.match, "web/*");
    assert_int_equal(spr_fleet_find_host(f, "nobody"), SPR_E_NOT_FOUND);
    assert_int_equal(spr_fleet_vm(f, 3, &v), SPR_E_ARG);
    assert_int_equal(spr_fleet_time(f).mono_ns, 12345);
    assert_int_equal(f->inventory->vms[2].anti_group_id, f->inventory->vms[0].group_id);
    assert_int_equal(f->inventory->vms[2].affinity_vm, 0);
    spr_fleet_unref(f);
}

static void tiers_follow_rack_and_zone(void **state) {
    (void)state;
    spr_context *ctx = context();
    spr_fleet *f = NULL;
    assert_int_equal(build(ctx, &f), SPR_OK);
    assert_int_equal(spr_fleet_tier(f, 0, 0), 0);
    assert_int_equal(spr_fleet_tier(f, 0, 1), 1);
    assert_int_equal(spr_fleet_tier(f, 0, 2), 2);
    assert_int_equal(spr_fleet_tier(f, 0, 3), 3); /* a rack of the same name in another zone is another rack */
    assert_int_equal(spr_fleet_tier(f, 4, 0), 3);
    assert_int_equal(spr_fleet_tier(f, 0, 5), SPR_E_ARG);
    spr_fleet_unref(f);
    spr_context_unref(ctx);
}

static void a_snapshot_never_changes_when_another_is_derived_from_it(void **state) {
    (void)state;
    spr_context *ctx = context();
    spr_fleet *f = NULL, *g = NULL;
    spr_fleet_builder *b = NULL;
    struct spr_vm seen = vm_of("db", 3), out = {.size = sizeof out};
    struct spr_host h = {.size = sizeof h};
    assert_int_equal(build(ctx, &f), SPR_OK);
    assert_int_equal(spr_fleet_builder_create(ctx, f, &b), SPR_OK);
    seen.demand.of[SPR_CPU] = 9.25;
    assert_int_equal(spr_fleet_builder_observe(b, 2, &seen), SPR_OK);
    assert_int_equal(spr_fleet_builder_host_state(b, 1, SPR_HOST_UNREACHABLE), SPR_OK);
    assert_int_equal(spr_fleet_builder_finish(b, T0, &g), SPR_OK);
    assert_ptr_equal(g->inventory, f->inventory);
    assert_int_equal(spr_fleet_id(g), spr_fleet_id(f) + 1);
    assert_int_equal(spr_fleet_vm(f, 2, &out), SPR_OK);
    assert_true(out.demand.of[SPR_CPU] == 2.385 && out.host == 0);
    assert_int_equal(spr_fleet_vm(g, 2, &out), SPR_OK);
    assert_true(out.demand.of[SPR_CPU] == 9.25 && out.host == 3);
    assert_int_equal(spr_fleet_host(f, 1, &h), SPR_OK);
    assert_int_equal(h.state, SPR_HOST_UP);
    assert_int_equal(spr_fleet_host(g, 1, &h), SPR_OK);
    assert_int_equal(h.state, SPR_HOST_UNREACHABLE);
    assert_int_equal(g->placement->first[4] - g->placement->first[3], 1);
    assert_int_equal(g->placement->vms[g->placement->first[3]], 2);
    assert_int_equal(f->placement->first[1], 2);
    spr_fleet_unref(f);
    spr_fleet_unref(g);
    spr_context_unref(ctx);
}

static void a_vm_that_arrives_later_gets_the_next_index_and_disturbs_nobody(void **state) {
    (void)state;
    spr_context *ctx = context();
    spr_fleet *f = NULL, *g = NULL;
    spr_fleet_builder *b = NULL;
    struct spr_vm late = vm_of("late", 4), out = {.size = sizeof out};
    int32_t index = -1;
    assert_int_equal(build(ctx, &f), SPR_OK);
    assert_int_equal(spr_fleet_builder_create(ctx, f, &b), SPR_OK);
    assert_int_equal(spr_fleet_builder_host_state(b, 2, SPR_HOST_MAINTENANCE), SPR_OK);
    assert_int_equal(spr_fleet_builder_vm(b, &late, &index), SPR_OK);
    assert_int_equal(index, 3);
    late.id = "db";
    assert_int_equal(spr_fleet_builder_vm(b, &late, &index), SPR_E_EXISTS);
    assert_int_equal(spr_fleet_builder_finish(b, T0, &g), SPR_OK);
    assert_int_equal(spr_fleet_vm_count(f), 3);
    assert_int_equal(spr_fleet_vm_count(g), 4);
    assert_int_equal(spr_fleet_find_vm(f, "late"), SPR_E_NOT_FOUND);
    spr_fleet_unref(f);
    assert_int_equal(spr_fleet_vm(g, 1, &out), SPR_OK);
    assert_string_equal(out.id, "web/2");
    assert_true(out.demand.of[SPR_MEMORY] == 3.3e9 && out.host == 2);
    assert_int_equal(g->placement->host_state[2], SPR_HOST_MAINTENANCE);
    assert_int_equal(spr_fleet_declared_count(g), 1);
    spr_fleet_unref(g);
    spr_context_unref(ctx);
}

static void shards_are_found_by_id_by_vm_and_by_host(void **state) {
    (void)state;
    spr_context *ctx = context();
    spr_fleet *f = NULL, *g = NULL;
    spr_fleet_builder *b = NULL;
    struct spr_amounts held;
    assert_int_equal(build(ctx, &f), SPR_OK);
    assert_int_equal(spr_fleet_builder_create(ctx, f, &b), SPR_OK);
    for (uint64_t i = 0; i < 100; i++) {
        struct spr_shard s = shard_of(1000 - i * 7, (int32_t)(i % 3), (int32_t)(i % 4 + 1), 0.5, 0.25, 0.125);
        assert_int_equal(spr_fleet_builder_shard(b, &s), SPR_OK);
        assert_int_equal(spr_fleet_builder_shard(b, &s), SPR_E_EXISTS);
    }
    assert_int_equal(spr_fleet_builder_finish(b, T0, &g), SPR_OK);
    assert_int_equal(spr_fleet_shard_count(g), 100);
    assert_int_equal(spr_fleet_find_shard(g, 1000 - 50 * 7), 50);
    assert_int_equal(spr_fleet_find_shard(g, 1001), SPR_E_NOT_FOUND);
    assert_int_equal(spr_fleet_find_shard(f, 1000), SPR_E_NOT_FOUND);
    assert_int_equal(spr_fleet_held(g, 1, &held), SPR_OK);
    assert_true(held.of[SPR_CPU] == 25 * 0.875 && held.of[SPR_MEMORY] == 0);
    int n = 0;
    for (int32_t s = g->vm_shard[1], last = -1; s >= 0; last = s, s = g->vm_shard_next[s], n++)
        assert_true(s > last && g->shards[s].vm == 1);
    assert_int_equal(n, 33);
    n = 0;
    for (int32_t s = g->host_shard[2]; s >= 0; s = g->host_shard_next[s], n++)
        assert_int_equal(g->shards[s].host, 2);
    assert_int_equal(n, 25);
    spr_fleet_unref(f);
    spr_fleet_unref(g);
    spr_context_unref(ctx);
}

static void only_the_resources_in_use_are_kept(void **state) {
    (void)state;
    spr_context *ctx = context();
    spr_fleet_builder *b = NULL;
    spr_fleet *f = NULL;
    struct spr_host h = host_of("a", NULL, NULL);
    struct spr_vm v = vm_of("v", 0), out = {.size = sizeof out};
    assert_int_equal(spr_fleet_builder_create(ctx, NULL, &b), SPR_OK);
    assert_int_equal(spr_fleet_builder_use(b, SPR_CPU), SPR_OK);
    assert_int_equal(spr_fleet_builder_use(b, SPR_RESOURCES_MAX), SPR_E_ARG);
    assert_int_equal(spr_fleet_builder_host(b, &h, NULL), SPR_OK);
    assert_int_equal(spr_fleet_builder_use(b, SPR_MEMORY), SPR_E_STATE);
    assert_int_equal(spr_fleet_builder_vm(b, &v, NULL), SPR_OK);
    assert_int_equal(spr_fleet_builder_finish(b, T0, &f), SPR_OK);
    assert_int_equal(spr_fleet_resources(f), 1);
    assert_int_equal(f->inventory->R, 1);
    assert_int_equal(f->inventory->slot[SPR_MEMORY], -1);
    assert_int_equal(spr_fleet_vm(f, 0, &out), SPR_OK);
    assert_true(out.demand.of[SPR_CPU] == 2.385 && out.demand.of[SPR_MEMORY] == 0);
    spr_fleet_unref(f);
    spr_context_unref(ctx);
}

static void refused(spr_context *ctx, int rc, const char *field) {
    struct spr_error e = {.size = sizeof e};
    assert_int_equal(rc, SPR_E_ARG);
    assert_int_equal(spr_context_error(ctx, &e), SPR_OK);
    assert_non_null(strstr(e.text, field));
}

static void every_bad_field_is_refused_by_its_name(void **state) {
    (void)state;
    spr_context *ctx = context();
    spr_fleet_builder *b = NULL;
    struct spr_host good = host_of("a", "r", "z"), h;
    struct spr_vm fine = vm_of("v", 0), v;
    struct spr_shard whole = shard_of(1, 0, 0, 1, 1, 1), s;
    struct spr_declared due = {.size = sizeof due, .match = "*", .end_wall_ns = 1, .amount = 1, .confidence = 1}, d;
    assert_int_equal(spr_fleet_builder_create(ctx, NULL, &b), SPR_OK);
#define BAD(copy, from, set, call, field)                                                                              \
    copy = from;                                                                                                       \
    copy.set;                                                                                                          \
    refused(ctx, call, field)
    BAD(h, good, id = "", spr_fleet_builder_host(b, &h, NULL), "spr_host.id");
    BAD(h, good, capacity.of[4] = -1, spr_fleet_builder_host(b, &h, NULL), "spr_host.capacity");
    BAD(h, good, power_w[10] = NAN, spr_fleet_builder_host(b, &h, NULL), "spr_host.power_w");
    BAD(h, good, state = 3, spr_fleet_builder_host(b, &h, NULL), "spr_host.state");
    BAD(h, good, reserved = 1, spr_fleet_builder_host(b, &h, NULL), "spr_host.reserved");
    assert_int_equal(spr_fleet_builder_host(b, &good, NULL), SPR_OK);
    BAD(v, fine, id = NULL, spr_fleet_builder_vm(b, &v, NULL), "spr_vm.id");
    BAD(v, fine, host = 1, spr_fleet_builder_vm(b, &v, NULL), "spr_vm.host");
    BAD(v, fine, replica = 9, spr_fleet_builder_vm(b, &v, NULL), "spr_vm.replica");
    BAD(v, fine, spillable = 1.01, spr_fleet_builder_vm(b, &v, NULL), "spr_vm.spillable");
    BAD(v, fine, flow_lifetime_s = -3, spr_fleet_builder_vm(b, &v, NULL), "spr_vm.flow_lifetime_s");
    BAD(v, fine, min.of[0] = INFINITY, spr_fleet_builder_vm(b, &v, NULL), "spr_vm.min");
    BAD(v, fine, max.of[0] = -0.5, spr_fleet_builder_vm(b, &v, NULL), "spr_vm.max");
    BAD(v, fine, klass = 4, spr_fleet_builder_vm(b, &v, NULL), "spr_vm.klass");
    BAD(v, fine, capacity.of[1] = -1, spr_fleet_builder_vm(b, &v, NULL), "spr_vm.capacity");
    BAD(v, fine, demand.of[0] = NAN, spr_fleet_builder_vm(b, &v, NULL), "spr_vm.demand");
    BAD(v, fine, demand_hour.of[0] = -1, spr_fleet_builder_vm(b, &v, NULL), "spr_vm.demand_hour");
    BAD(v, fine, censored = 1u << 12, spr_fleet_builder_vm(b, &v, NULL), "spr_vm.censored");
    BAD(v, fine, shards_at_most = -1, spr_fleet_builder_vm(b, &v, NULL), "spr_vm.shards_at_most");
    assert_int_equal(spr_fleet_builder_vm(b, &fine, NULL), SPR_OK);
    BAD(v, fine, demand.of[0] = -1, spr_fleet_builder_observe(b, 0, &v), "spr_vm.demand");
    BAD(s, whole, id = 0, spr_fleet_builder_shard(b, &s), "spr_shard.id");
    BAD(s, whole, vm = 1, spr_fleet_builder_shard(b, &s), "spr_shard.vm");
    BAD(s, whole, host = -1, spr_fleet_builder_shard(b, &s), "spr_shard.host");
    BAD(s, whole, kind = 2, spr_fleet_builder_shard(b, &s), "spr_shard.kind");
    BAD(s, whole, state = 11, spr_fleet_builder_shard(b, &s), "spr_shard.state");
    BAD(s, whole, ready.of[0] = -1, spr_fleet_builder_shard(b, &s), "spr_shard.ready");
    BAD(s, whole, used.of[0] = -1, spr_fleet_builder_shard(b, &s), "spr_shard.used");
    BAD(s, whole, warmness = 1.5, spr_fleet_builder_shard(b, &s), "spr_shard.warmness");
    BAD(d, due, match = NULL, spr_fleet_builder_declared(b, &d), "spr_declared.match");
    BAD(d, due, resource = 12, spr_fleet_builder_declared(b, &d), "spr_declared.resource");
    BAD(d, due, end_wall_ns = 0, spr_fleet_builder_declared(b, &d), "spr_declared.end_wall_ns");
    BAD(d, due, amount = -1, spr_fleet_builder_declared(b, &d), "spr_declared.amount");
    BAD(d, due, confidence = 2, spr_fleet_builder_declared(b, &d), "spr_declared.confidence");
#undef BAD
    assert_int_equal(spr_fleet_builder_latency(b, 1, -1, 2), SPR_E_ARG);
    assert_int_equal(spr_fleet_builder_observe(b, 7, &fine), SPR_E_ARG);
    assert_int_equal(spr_fleet_builder_host_state(b, 0, 7), SPR_E_ARG);
    spr_fleet_builder_destroy(b);
    spr_context_unref(ctx);
}

static int whole_life(spr_context *ctx, void *arg) {
    spr_fleet *f = NULL, *g = NULL;
    spr_fleet_builder *b = NULL;
    struct spr_vm late = vm_of("late", 1), seen = vm_of("db", 1);
    (void)arg;
    int rc = build(ctx, &f);
    if (rc >= 0)
        rc = spr_fleet_builder_create(ctx, f, &b);
    if (rc >= 0)
        rc = spr_fleet_builder_observe(b, 2, &seen);
    for (uint64_t i = 1; rc >= 0 && i < 40; i++) {
        struct spr_shard s = shard_of(i, 0, 0, 1, 0, 0);
        rc = spr_fleet_builder_shard(b, &s);
    }
    if (rc >= 0)
        rc = spr_fleet_builder_finish(b, T0, &g), b = NULL;
    spr_fleet_unref(f);
    if (rc >= 0)
        rc = spr_fleet_builder_create(ctx, g, &b);
    if (rc >= 0)
        rc = spr_fleet_builder_vm(b, &late, NULL);
    f = NULL;
    if (rc >= 0)
        rc = spr_fleet_builder_finish(b, T0, &f), b = NULL;
    spr_fleet_builder_destroy(b);
    spr_fleet_unref(f);
    spr_fleet_unref(g);
    return rc;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    assert_true(failing_sweep(whole_life, NULL) > 30);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_in_comes_out),
        cmocka_unit_test(tiers_follow_rack_and_zone),
        cmocka_unit_test(a_snapshot_never_changes_when_another_is_derived_from_it),
        cmocka_unit_test(a_vm_that_arrives_later_gets_the_next_index_and_disturbs_nobody),
        cmocka_unit_test(shards_are_found_by_id_by_vm_and_by_host),
        cmocka_unit_test(only_the_resources_in_use_are_kept),
        cmocka_unit_test(every_bad_field_is_refused_by_its_name),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
