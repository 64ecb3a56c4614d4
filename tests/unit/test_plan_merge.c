/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Consolidation: two shards become one in low demand when it pays back and no new split is forecast. */
#include "plan_scene.h"

enum { HOME, LARGE, SMALL };

struct change {
    double shard_cost, used, pending, load_large, load_small, late; /* late: what the total becomes in an hour */
    int until;                                                      /* the spike ends before this step */
    bool stale, draining;
};
static const struct change usual = {
    .shard_cost = 0.05, .used = 0.2, .load_large = 3.3, .load_small = 3.1, .until = SCENE_STEPS};

static void add_shard(struct scene *s, uint64_t id, int32_t host, double ready, const struct change *c) {
    struct spr_shard d = {.size = sizeof d, .id = id, .vm = 0, .host = host, .state = SPR_SHARD_SERVING, .warmness = 1};
    d.ready.of[SPR_CPU] = ready;
    d.used.of[SPR_CPU] = c->used * ready;
    d.pending.of[SPR_CPU] = c->pending;
    d.draining.of[SPR_CPU] = c->draining ? 0.1 : 0;
    assert_int_equal(spr_fleet_builder_shard(s->builder, &d), SPR_OK);
}

/* A VM with shards of 1.7 and 1.3 for a spike to 12.9 that is about to come; 10 is what its host has. */
static struct scene plan_with(const struct change *c) {
    struct scene s = scene_open(1u << SPR_CPU);
    scene_host(&s, "home", NULL, NULL, 10);
    scene_host(&s, "with the large one", NULL, NULL, 10);
    scene_host(&s, "with the small one", NULL, NULL, 10);
    struct spr_vm v = scene_vm_of(&s, "web", HOME, 8.1);
    v.seen_mono_ns -= c->stale ? 3600 * scene_second : 0;
    scene_add(&s, &v);
    scene_vm(&s, "v1", LARGE, c->load_large);
    scene_vm(&s, "v2", SMALL, c->load_small);
    add_shard(&s, 71, LARGE, 1.7, c);
    add_shard(&s, 13, SMALL, 1.3, c);
    s.opts.shard_cost = c->shard_cost;
    scene_settle(&s);
    scene_expect(&s, HOME, SPR_CPU, 1, c->until, 12.9, 0.02);
    if (c->late > 0)
        scene_expect(&s, HOME, SPR_CPU, 12, SCENE_STEPS, c->late, 0.02);
    scene_plan(&s);
    return s;
}

static int32_t merges_with(const struct change *c) {
    struct scene s = plan_with(c);
    int32_t n = 0;
    for (int32_t k = 0; k < scene_actions(&s); k++)
        n += scene_action(&s, k).kind == SPR_ACTION_MERGE;
    scene_close(&s);
    return n;
}

static void the_smaller_shard_goes_into_the_larger_one(void **state) {
    (void)state;
    struct scene s = plan_with(&usual);
    assert_int_equal(scene_actions(&s), 1);
    struct spr_action a = scene_action(&s, 0);
    assert_int_equal(a.kind, SPR_ACTION_MERGE);
    assert_int_equal(a.shard, 13);
    assert_int_equal(a.into, 71);
    assert_int_equal(a.host, LARGE);
    assert_int_equal(a.vm, 0);
    assert_int_equal(a.because, SPR_BECAUSE_CONSOLIDATION);
    assert_int_equal(a.precondition, SPR_SHARD_SERVING);
    assert_int_equal(a.inverse, SPR_ACTION_MOVE);
    assert_true(a.amounts.of[SPR_CPU] == 1.3);
    assert_true(a.worth > a.cost && a.cost > 0);
    scene_close(&s);
}

static void the_larger_one_moves_when_only_the_other_host_has_room(void **state) {
    (void)state;
    struct change c = usual;
    c.load_large = 6.6; /* 9 - 6.6 - 1.7 is too little for 1.3 */
    struct scene s = plan_with(&c);
    assert_int_equal(scene_actions(&s), 1);
    assert_int_equal(scene_action(&s, 0).shard, 71);
    assert_int_equal(scene_action(&s, 0).into, 13);
    scene_close(&s);
    c.load_small = 6.9;
    assert_int_equal(merges_with(&c), 0);
}

static void without_a_fixed_cost_of_a_shard_nothing_is_merged(void **state) {
    (void)state;
    struct change c = usual;
    c.shard_cost = 0;
    assert_int_equal(merges_with(&c), 0);
    c.shard_cost = SPR_NONE;
    assert_int_equal(merges_with(&c), 0);
}

/* The smaller one holds 0.13 of a host twice for 360 s; 0.05 of a host is saved for as long as both would be kept. */
static void a_merge_pays_back_or_is_not_made(void **state) {
    (void)state;
    struct change c = usual;
    for (c.until = 3; c.until <= SCENE_STEPS; c.until++) {
        double kept = 300 * c.until - 60; /* from now to the end of the spike */
        assert_int_equal(merges_with(&c), 0.05 * (kept - 360) > 0.13 * 360);
    }
    c = usual;
    c.shard_cost = 0.01;
    assert_int_equal(merges_with(&c), 0);
}

static void nothing_is_merged_when_a_new_split_is_forecast(void **state) {
    (void)state;
    struct change c = usual;
    c.late = 13.9; /* one more: 9 - 3.3 - 1.7 carries 1.3 + 1 */
    assert_int_equal(merges_with(&c), 1);
    c.late = 16.1; /* three more: not even the other way round */
    assert_int_equal(merges_with(&c), 0);
}

static void shards_that_are_busy_or_changing_are_left_alone(void **state) {
    (void)state;
    struct change c = usual;
    c.used = 0.51;
    assert_int_equal(merges_with(&c), 0);
    c = usual;
    c.pending = 0.02;
    assert_int_equal(merges_with(&c), 0);
    c = usual;
    c.draining = true;
    assert_int_equal(merges_with(&c), 0);
    c = usual;
    c.stale = true;
    assert_int_equal(merges_with(&c), 0);
}

static void nothing_is_merged_while_the_host_asks_or_gives_back(void **state) {
    (void)state;
    for (int more = 0; more < 2; more++) {
        struct scene s = plan_with(&usual);
        scene_expect(&s, HOME, SPR_CPU, 1, SCENE_STEPS, more ? 14 : 11, 0.02);
        scene_plan(&s);
        assert_true(scene_actions(&s) >= 1);
        for (int32_t k = 0; k < scene_actions(&s); k++)
            assert_int_not_equal(scene_action(&s, k).kind, SPR_ACTION_MERGE);
        scene_close(&s);
    }
}

static void limits_of_actions_hold_for_merges(void **state) {
    (void)state;
    struct scene s = plan_with(&usual);
    s.opts.actions_per_vm_day = 1; /* the plan above was one */
    scene_plan(&s);
    assert_int_equal(scene_actions(&s), 0);
    scene_close(&s);
}

/* ---- a second shard that carries next to nothing ---- */

static int32_t shards_at_cost(double shard_cost, double second) {
    struct scene s = scene_open(1u << SPR_CPU);
    scene_host(&s, "home", NULL, NULL, 10);
    scene_host(&s, "b", NULL, NULL, 10);
    scene_host(&s, "c", NULL, NULL, 10);
    scene_vm(&s, "web", 0, 9.2);
    scene_vm(&s, "at b", 1, 9 - 2.98 + second); /* 2.98 is asked for; b has room for all but `second` */
    scene_vm(&s, "at c", 2, 8.2);
    s.opts.shard_cost = shard_cost;
    scene_settle(&s);
    scene_expect(&s, 0, SPR_CPU, 1, SCENE_STEPS, 13, 0.02);
    scene_plan(&s);
    int32_t n = scene_actions(&s);
    assert_int_equal(spr_plan_infeasible_count(s.plan), 0); /* what is not worth its cost is not missing */
    scene_close(&s);
    return n;
}

static void a_shard_is_made_only_where_it_is_worth_its_fixed_cost(void **state) {
    (void)state;
    assert_int_equal(shards_at_cost(0, 0.3), 2);
    assert_int_equal(shards_at_cost(0.01, 0.3), 2);
    assert_int_equal(shards_at_cost(0.5, 0.3), 1); /* 0.03 of a host at nine times its price, for half a host */
    assert_int_equal(shards_at_cost(5, 0.3), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_smaller_shard_goes_into_the_larger_one),
        cmocka_unit_test(the_larger_one_moves_when_only_the_other_host_has_room),
        cmocka_unit_test(without_a_fixed_cost_of_a_shard_nothing_is_merged),
        cmocka_unit_test(a_merge_pays_back_or_is_not_made),
        cmocka_unit_test(nothing_is_merged_when_a_new_split_is_forecast),
        cmocka_unit_test(shards_that_are_busy_or_changing_are_left_alone),
        cmocka_unit_test(nothing_is_merged_while_the_host_asks_or_gives_back),
        cmocka_unit_test(limits_of_actions_hold_for_merges),
        cmocka_unit_test(a_shard_is_made_only_where_it_is_worth_its_fixed_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
