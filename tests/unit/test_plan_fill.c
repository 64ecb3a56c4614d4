/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* From a need to shards: which VM, which host, how much; what stands in the way is named. */
#include "plan_scene.h"

/* A host of 10 cores with `demand` in use by one VM, `web`, which a test may change; it will want 13 for long. */
static struct scene short_of_three(const struct spr_vm *like, const char *home_rack, const char *home_zone) {
    struct scene s = scene_open(1u << SPR_CPU);
    int32_t home = scene_host(&s, "home", home_rack, home_zone, 10);
    struct spr_vm v = scene_vm_of(&s, "web", home, 9.2);
    if (like) {
        v.replica = like->replica;
        v.spillable = like->spillable;
        v.shards_at_most = like->shards_at_most;
        v.min = like->min;
        v.max = like->max;
        v.hosts_allowed = like->hosts_allowed;
        v.anti_affinity = like->anti_affinity;
        v.affinity = like->affinity;
    }
    scene_add(&s, &v);
    return s;
}

static void go(struct scene *s) {
    scene_settle(s);
    scene_expect(s, 0, SPR_CPU, 1, SCENE_STEPS, 13, 0);
    scene_plan(s);
}

static struct spr_vm usual(void) {
    return (struct spr_vm){.size = sizeof(struct spr_vm), .replica = SPR_REPLICA_IMAGE, .spillable = 0.8};
}

static void the_need_goes_to_the_host_with_most_room(void **state) {
    (void)state;
    struct scene s = short_of_three(NULL, NULL, NULL);
    scene_host(&s, "b", NULL, NULL, 10);
    scene_host(&s, "c", NULL, NULL, 10);
    scene_host(&s, "d", NULL, NULL, 10);
    scene_vm(&s, "at b", 1, 4.3);
    scene_vm(&s, "at c", 2, 3.9);
    scene_vm(&s, "at d", 3, 5.9);
    go(&s);
    assert_int_equal(scene_actions(&s), 1);
    assert_int_equal(scene_action(&s, 0).kind, SPR_ACTION_ALLOCATE);
    assert_int_equal(scene_action(&s, 0).host, 2);
    assert_true(scene_sum(&s, SPR_ACTION_ALLOCATE, 2) > 2.9);
    scene_close(&s);
}

static void of_equal_hosts_the_first_is_taken(void **state) {
    (void)state;
    struct scene s = short_of_three(NULL, NULL, NULL);
    for (int h = 1; h < 80; h++) {
        char id[8];
        snprintf(id, sizeof id, "h%d", h);
        scene_host(&s, id, NULL, NULL, 10);
    }
    for (int h = 1; h < 41; h++) {
        char id[8];
        snprintf(id, sizeof id, "v%d", h);
        scene_vm(&s, id, h, 0.1);
    }
    go(&s);
    assert_int_equal(scene_actions(&s), 1);
    assert_int_equal(scene_action(&s, 0).host, 41);
    scene_close(&s);
}

static void a_target_keeps_what_it_may_well_need_itself(void **state) {
    (void)state;
    struct scene s = short_of_three(NULL, NULL, NULL);
    scene_host(&s, "b", NULL, NULL, 10);
    scene_vm(&s, "at b", 1, 1.3);
    scene_settle(&s);
    scene_expect(&s, 0, SPR_CPU, 1, SCENE_STEPS, 13, 0);
    scene_expect(&s, 1, SPR_CPU, 9, 10, 5, 4);
    scene_plan(&s);
    double room = 9 - (5 + 4 * 0.35 / 0.49); /* its .85 quantile */
    assert_true(fabs(scene_sum(&s, SPR_ACTION_ALLOCATE, 1) - room) < 1e-9);
    scene_close(&s);
}

/* Host 0 gives a shard on the target back, host 1 asks: there is room at once for what is idle, not for what drains. */
static void what_drains_still_holds_its_host(void **state) {
    (void)state;
    for (int busy = 0; busy < 2; busy++) {
        struct scene s = scene_open(1u << SPR_CPU);
        scene_host(&s, "done", NULL, NULL, 10);
        scene_host(&s, "short", NULL, NULL, 10);
        scene_host(&s, "target", NULL, NULL, 10);
        int32_t old = scene_vm(&s, "old", 0, 8);
        scene_vm(&s, "web", 1, 8.9);
        scene_vm(&s, "busy", 2, 6);
        struct spr_shard d = {
            .size = sizeof d, .id = 3, .vm = old, .host = 2, .state = SPR_SHARD_SERVING, .warmness = 1};
        d.ready.of[SPR_CPU] = 2.9;
        d.used.of[SPR_CPU] = busy ? 2.9 : 0;
        assert_int_equal(spr_fleet_builder_shard(s.builder, &d), SPR_OK);
        scene_settle(&s);
        scene_expect(&s, 0, SPR_CPU, 0, SCENE_STEPS, 8, 0.1);
        scene_expect(&s, 1, SPR_CPU, 1, SCENE_STEPS, 11.5, 0);
        scene_plan(&s);
        assert_true(fabs(scene_sum(&s, SPR_ACTION_RELEASE, 2) - 2.9) < 1e-9);
        double to_target = scene_sum(&s, SPR_ACTION_ALLOCATE, 2);
        assert_true(busy ? to_target == 0 : to_target > 1.4);
        scene_close(&s);
    }
}

/* The search must see what this plan frees and takes: 0 asks, 1 gives back on the target, 2 asks for more. */
static void room_is_counted_as_the_plan_goes_on(void **state) {
    (void)state;
    enum { FIRST = 3, SECOND = 4, TARGET = 45, HOSTS = 50 };
    struct scene s = scene_open(1u << SPR_CPU);
    for (int h = 0; h < HOSTS; h++) {
        char id[8];
        snprintf(id, sizeof id, "h%d", h);
        scene_host(&s, id, NULL, NULL, 10);
    }
    for (int h = 0; h < HOSTS; h++) {
        char id[8];
        snprintf(id, sizeof id, "v%d", h);
        scene_vm(&s, id, h, h == 0 || h == 2 ? 9.2 : h == FIRST ? 7.1 : h == SECOND ? 7.3 : h == TARGET ? 4.5 : 8.7);
    }
    scene_shard(&s, 3, 1, TARGET, 0, 4.0); /* room 0.5 beside it, 4.5 without */
    scene_settle(&s);
    scene_expect(&s, 0, SPR_CPU, 1, SCENE_STEPS, 11.5, 0);
    scene_expect(&s, 2, SPR_CPU, 1, SCENE_STEPS, 13, 0);
    scene_plan(&s);
    assert_int_equal(scene_actions(&s), 3);
    assert_int_equal(scene_action(&s, 0).host, FIRST);
    assert_int_equal(scene_action(&s, 1).kind, SPR_ACTION_RELEASE);
    assert_int_equal(scene_action(&s, 2).host, TARGET);
    scene_close(&s);
}

static void a_shard_of_unknown_state_neither_grows_nor_gets_a_second_one_beside_it(void **state) {
    (void)state;
    struct scene s = short_of_three(NULL, NULL, NULL);
    scene_host(&s, "b", NULL, NULL, 10);
    scene_host(&s, "fuller", NULL, NULL, 10);
    scene_vm(&s, "v", 2, 5.1);
    struct spr_shard d = {.size = sizeof d, .id = 3, .vm = 0, .host = 1, .state = SPR_SHARD_UNKNOWN};
    d.ready.of[SPR_CPU] = 0.2;
    assert_int_equal(spr_fleet_builder_shard(s.builder, &d), SPR_OK);
    go(&s);
    assert_int_equal(scene_actions(&s), 1);
    assert_int_equal(scene_action(&s, 0).host, 2);
    scene_close(&s);
}

static void no_host_is_always_last(void **state) {
    (void)state;
    struct scene s = scene_open(1u << SPR_CPU);
    scene_host(&s, "h0", NULL, NULL, 10);
    scene_host(&s, "h1", NULL, NULL, 10);
    scene_host(&s, "target", NULL, NULL, 10);
    scene_vm(&s, "v0", 0, 9.2);
    scene_vm(&s, "v1", 1, 9.2);
    scene_vm(&s, "v2", 2, 7.6); /* room for one of them at most */
    scene_settle(&s);
    scene_expect(&s, 0, SPR_CPU, 1, SCENE_STEPS, 13, 0);
    scene_expect(&s, 1, SPR_CPU, 1, SCENE_STEPS, 13, 0);
    scene_plan(&s);
    assert_int_equal(scene_action(&s, 0).vm, 0);
    scene_plan(&s);
    assert_int_equal(scene_action(&s, 0).vm, 1);
    scene_close(&s);
}

/* What a target will need itself counts, at its highest in the whole window. */
static void room_is_counted_over_the_whole_window(void **state) {
    (void)state;
    struct scene s = short_of_three(NULL, NULL, NULL);
    scene_host(&s, "b", NULL, NULL, 10);
    scene_host(&s, "c", NULL, NULL, 10);
    scene_vm(&s, "at b", 1, 1.3);
    scene_vm(&s, "at c", 2, 4.9);
    scene_settle(&s);
    scene_expect(&s, 0, SPR_CPU, 1, SCENE_STEPS, 13, 0);
    scene_expect(&s, 1, SPR_CPU, 13, 14, 8.7, 0); /* b is idle now and full in an hour */
    scene_plan(&s);
    assert_int_equal(scene_actions(&s), 1);
    assert_int_equal(scene_action(&s, 0).host, 2);
    scene_close(&s);
}

static void a_vm_whose_owner_forbids_replicas_never_gets_one(void **state) {
    (void)state;
    struct spr_vm never = usual();
    never.replica = SPR_REPLICA_NEVER;
    struct scene s = short_of_three(&never, NULL, NULL);
    scene_host(&s, "b", NULL, NULL, 10);
    go(&s);
    assert_int_equal(scene_actions(&s), 0);
    assert_int_equal(spr_plan_infeasible_count(s.plan), 1);
    struct spr_infeasible w = scene_wish(&s, 0);
    assert_int_equal(w.because, SPR_BECAUSE_NOT_REPLICABLE);
    assert_int_equal(w.host, 0);
    assert_int_equal(w.resource, SPR_CPU);
    assert_true(w.amount > 2.9 && w.amount <= 3 && w.to_mono_ns > w.from_mono_ns);
    scene_close(&s);
}

static void only_the_spillable_share_is_moved(void **state) {
    (void)state;
    struct spr_vm v = usual();
    v.spillable = 0.17;
    struct scene s = short_of_three(&v, NULL, NULL);
    scene_host(&s, "b", NULL, NULL, 10);
    go(&s);
    assert_true(fabs(scene_sum(&s, SPR_ACTION_ALLOCATE, -1) - 0.17 * 9.2) < 1e-9);
    assert_int_equal(spr_plan_infeasible_count(s.plan), 1); /* the rest stays short, and it is said */
    scene_close(&s);
}

static void without_room_the_wish_is_named(void **state) {
    (void)state;
    struct scene s = short_of_three(NULL, NULL, NULL);
    scene_host(&s, "b", NULL, NULL, 10);
    scene_vm(&s, "at b", 1, 8.95); /* 0.9 x 10 may be used in all */
    go(&s);
    assert_int_equal(scene_actions(&s), 0);
    assert_int_equal(spr_plan_infeasible_count(s.plan), 1);
    assert_int_equal(scene_wish(&s, 0).because, SPR_BECAUSE_NO_ROOM);
    scene_close(&s);
}

static void a_vm_has_no_more_shards_than_its_policy_says(void **state) {
    (void)state;
    for (int32_t most = 1; most <= 3; most++) {
        struct spr_vm v = usual();
        char id[8];
        v.shards_at_most = most;
        struct scene s = short_of_three(&v, NULL, NULL);
        for (int h = 1; h <= 4; h++) {
            snprintf(id, sizeof id, "h%d", h);
            scene_host(&s, id, NULL, NULL, 10);
            snprintf(id, sizeof id, "v%d", h);
            scene_vm(&s, id, h, 8.1 + 0.01 * h); /* each has room for a little less than 0.9 */
        }
        go(&s);
        assert_int_equal(scene_actions(&s), most);
        assert_true(scene_sum(&s, SPR_ACTION_ALLOCATE, -1) <= 0.9 * most);
        for (int32_t k = 0; k < most; k++)
            assert_int_equal(scene_action(&s, k).host, k + 1);
        scene_close(&s);
    }
}

static void a_limit_of_actions_holds_for_the_shards_of_one_vm(void **state) {
    (void)state;
    struct scene s = short_of_three(NULL, NULL, NULL);
    for (int h = 1; h < 3; h++) {
        char id[8];
        snprintf(id, sizeof id, "h%d", h);
        scene_host(&s, id, NULL, NULL, 10);
        snprintf(id, sizeof id, "v%d", h);
        scene_vm(&s, id, h, 7.2);
    }
    s.opts.actions_per_vm_day = 1;
    go(&s);
    assert_int_equal(scene_actions(&s), 1);
    assert_int_equal(spr_plan_infeasible_count(s.plan), 1);
    assert_int_equal(scene_wish(&s, 0).because, SPR_BECAUSE_ACTION_LIMIT);
    scene_close(&s);
}

static void shards_are_neither_smaller_nor_larger_than_the_owner_says(void **state) {
    (void)state;
    struct spr_vm v = usual();
    v.max.of[SPR_CPU] = 1.3;
    struct scene s = short_of_three(&v, NULL, NULL);
    scene_host(&s, "b", NULL, NULL, 10);
    go(&s);
    assert_true(fabs(scene_sum(&s, SPR_ACTION_ALLOCATE, -1) - 1.3) < 1e-9);
    scene_close(&s);

    v = usual();
    v.min.of[SPR_CPU] = 4.4;
    s = short_of_three(&v, NULL, NULL);
    scene_host(&s, "b", NULL, NULL, 10);
    go(&s);
    assert_true(fabs(scene_sum(&s, SPR_ACTION_ALLOCATE, -1) - 4.4) < 1e-9);
    scene_close(&s);

    s = short_of_three(&v, NULL, NULL); /* no host has room for the smallest useful one */
    scene_host(&s, "b", NULL, NULL, 10);
    scene_vm(&s, "at b", 1, 4.7);
    go(&s);
    assert_int_equal(scene_actions(&s), 0);
    assert_int_equal(scene_wish(&s, 0).because, SPR_BECAUSE_NO_ROOM);
    scene_close(&s);
}

static void shards_stay_on_the_hosts_their_owner_allows(void **state) {
    (void)state;
    struct spr_vm v = usual();
    v.hosts_allowed = "red-*";
    struct scene s = short_of_three(&v, NULL, NULL);
    scene_host(&s, "blue-1", NULL, NULL, 10);
    scene_host(&s, "red-1", NULL, NULL, 10);
    scene_vm(&s, "busy", 2, 5.5);
    go(&s);
    assert_int_equal(scene_actions(&s), 1);
    assert_int_equal(scene_action(&s, 0).host, 2);
    scene_close(&s);
}

static void shards_keep_away_from_what_they_must_not_meet(void **state) {
    (void)state;
    struct spr_vm v = usual();
    v.anti_affinity = "db";
    struct scene s = short_of_three(&v, NULL, NULL);
    scene_host(&s, "with db", NULL, NULL, 10);
    scene_host(&s, "with a shard of db", NULL, NULL, 10);
    scene_host(&s, "free", NULL, NULL, 10);
    struct spr_vm db = scene_vm_of(&s, "db/1", 1, 0.3);
    db.group = "db";
    int32_t one = scene_add(&s, &db);
    scene_vm(&s, "busy", 3, 5.2);
    scene_shard(&s, 7, one, 2, 0.1, 0);
    go(&s);
    for (int32_t k = 0; k < scene_actions(&s); k++)
        if (scene_action(&s, k).kind == SPR_ACTION_ALLOCATE)
            assert_int_equal(scene_action(&s, k).host, 3);
    assert_true(scene_sum(&s, SPR_ACTION_ALLOCATE, 3) > 2.9);
    scene_close(&s);
}

static void near_hosts_come_first_when_they_can_carry_all_of_it(void **state) {
    (void)state;
    for (int full = 0; full < 4; full++) { /* the nearest `full` tiers have no room for all of it */
        struct scene s = short_of_three(NULL, "r1", "z1");
        scene_host(&s, "other zone", "r1", "z2", 10);
        scene_host(&s, "same zone", "r2", "z1", 10);
        scene_host(&s, "same rack", "r1", "z1", 10);
        scene_vm(&s, "v1", 1, full > 2 ? 6.4 : 0.4);
        scene_vm(&s, "v2", 2, full > 1 ? 6.2 : 1.4);
        scene_vm(&s, "v3", 3, full > 0 ? 6.3 : 4.4);
        go(&s);
        static const int32_t first[] = {3, 2, 1, 2}; /* when none carries all of it, the one with most room */
        assert_int_equal(scene_action(&s, 0).host, first[full]);
        assert_int_equal(scene_actions(&s), full < 3 ? 1 : 2);
        scene_close(&s);
    }
}

static void shards_stand_near_what_their_vm_talks_to(void **state) {
    (void)state;
    struct spr_vm v = usual();
    v.affinity = "cache";
    struct scene s = short_of_three(&v, "r1", "z1");
    scene_host(&s, "same rack", "r1", "z1", 10);
    scene_host(&s, "rack of the cache", "r5", "z3", 10);
    scene_host(&s, "host of the cache", "r5", "z3", 10);
    scene_vm(&s, "cache", 3, 6.9);
    go(&s);
    assert_int_equal(scene_action(&s, 0).host, 2);
    scene_close(&s);
}

static void two_shards_stand_in_two_racks(void **state) {
    (void)state;
    struct scene s = short_of_three(NULL, "r1", "z1");
    scene_host(&s, "a1", "r1", "z1", 10);
    scene_host(&s, "a2", "r1", "z1", 10);
    scene_host(&s, "b1", "r2", "z1", 10);
    scene_host(&s, "c1", "r1", "z2", 10);
    scene_vm(&s, "v1", 1, 7.0); /* nobody can carry all three */
    scene_vm(&s, "v2", 2, 7.1);
    scene_vm(&s, "v3", 3, 7.2);
    scene_vm(&s, "v4", 4, 7.3);
    go(&s);
    assert_int_equal(scene_actions(&s), 2);
    assert_int_equal(scene_action(&s, 0).host, 1);
    assert_int_equal(scene_action(&s, 1).host, 3); /* a2 has more room but shares a rack with the first one */
    scene_close(&s);
}

static void hosts_that_are_not_up_get_nothing(void **state) {
    (void)state;
    static const int down[] = {SPR_HOST_UNREACHABLE, SPR_HOST_MAINTENANCE};
    for (size_t k = 0; k < SPR_ARRAY_LEN(down); k++) {
        struct scene s = short_of_three(NULL, NULL, NULL);
        int32_t b = scene_host(&s, "b", NULL, NULL, 10);
        assert_int_equal(spr_fleet_builder_host_state(s.builder, b, down[k]), SPR_OK);
        scene_shard(&s, 5, 0, b, 0.4, 0); /* not even a shard that stands there grows */
        go(&s);
        assert_int_equal(scene_actions(&s), 0);
        assert_int_equal(scene_wish(&s, 0).because, SPR_BECAUSE_NO_ROOM);
        scene_close(&s);
    }
}

static void shards_that_stand_grow_before_new_ones_are_made(void **state) {
    (void)state;
    struct scene s = short_of_three(NULL, NULL, NULL);
    scene_host(&s, "b", NULL, NULL, 10);
    scene_host(&s, "emptier", NULL, NULL, 10);
    scene_vm(&s, "at b", 1, 2.2);
    scene_shard(&s, 5, 0, 1, 0.9, 0.3);
    go(&s);
    assert_int_equal(scene_actions(&s), 1);
    struct spr_action a = scene_action(&s, 0);
    assert_int_equal(a.kind, SPR_ACTION_GROW);
    assert_int_equal(a.shard, 5);
    assert_int_equal(a.host, 1);
    assert_true(a.amounts.of[SPR_CPU] > 1.7 && a.amounts.of[SPR_CPU] <= 1.8); /* what pends counts as held */
    scene_close(&s);
}

static void the_vm_with_most_to_spill_goes_first(void **state) {
    (void)state;
    struct scene s = scene_open(1u << SPR_CPU);
    scene_host(&s, "home", NULL, NULL, 10);
    scene_host(&s, "b", NULL, NULL, 10);
    scene_vm(&s, "small", 0, 2.1);
    scene_vm(&s, "large", 0, 4.6);
    scene_vm(&s, "middle", 0, 2.5);
    go(&s);
    assert_int_equal(scene_action(&s, 0).vm, 1);
    scene_close(&s);
}

/* ---- several resources ---- */

static void a_shard_carries_the_same_share_of_every_resource(void **state) {
    (void)state;
    struct scene s = scene_open(1u << SPR_CPU | 1u << SPR_MEMORY | 1u << SPR_NET_RX);
    s.of_hosts.of[SPR_MEMORY] = 64e9;
    s.of_hosts.of[SPR_NET_RX] = 10e9;
    scene_host(&s, "home", NULL, NULL, 10);
    scene_host(&s, "b", NULL, NULL, 10);
    struct spr_vm v = scene_vm_of(&s, "web", 0, 9.2);
    v.demand.of[SPR_MEMORY] = v.demand_hour.of[SPR_MEMORY] = 41e9;
    v.demand.of[SPR_NET_RX] = v.demand_hour.of[SPR_NET_RX] = 1.7e9;
    scene_add(&s, &v);
    go(&s);
    assert_int_equal(scene_actions(&s), 1);
    struct spr_action a = scene_action(&s, 0);
    double share = a.amounts.of[SPR_CPU] / 9.2;
    assert_true(share > 0.3);
    assert_true(fabs(a.amounts.of[SPR_MEMORY] - share * 41e9) < 1);
    assert_true(fabs(a.amounts.of[SPR_NET_RX] - share * 1.7e9) < 1);
    assert_int_equal(a.resource, SPR_CPU);
    scene_close(&s);
}

static void the_scarcest_resource_of_a_target_counts(void **state) {
    (void)state;
    struct scene s = scene_open(1u << SPR_CPU | 1u << SPR_MEMORY);
    s.of_hosts.of[SPR_MEMORY] = 64e9;
    scene_host(&s, "home", NULL, NULL, 10);
    scene_host(&s, "no memory", NULL, NULL, 10);
    scene_host(&s, "both", NULL, NULL, 10);
    struct spr_vm v = scene_vm_of(&s, "web", 0, 9.2);
    v.demand.of[SPR_MEMORY] = v.demand_hour.of[SPR_MEMORY] = 41e9;
    scene_add(&s, &v);
    v = scene_vm_of(&s, "hog", 1, 0.2);
    v.demand.of[SPR_MEMORY] = v.demand_hour.of[SPR_MEMORY] = 56e9;
    scene_add(&s, &v);
    scene_vm(&s, "busy", 2, 5.3);
    go(&s);
    assert_int_equal(scene_actions(&s), 1);
    assert_int_equal(scene_action(&s, 0).host, 2);
    scene_close(&s);
}

/* A shortage of memory is an out-of-memory: it is priced five times as high, so a smaller chance of it is answered. */
static void memory_is_answered_at_a_smaller_chance_than_cpu(void **state) {
    (void)state;
    for (int memory = 0; memory < 2; memory++) {
        struct scene s = scene_open(1u << SPR_CPU | 1u << SPR_MEMORY);
        s.of_hosts.of[SPR_MEMORY] = 10;
        scene_host(&s, "home", NULL, NULL, 10);
        scene_host(&s, "b", NULL, NULL, 10);
        struct spr_vm v = scene_vm_of(&s, "web", 0, 7.3);
        v.demand.of[SPR_MEMORY] = v.demand_hour.of[SPR_MEMORY] = 7.3;
        scene_add(&s, &v);
        scene_settle(&s);
        scene_expect(&s, 0, memory ? SPR_MEMORY : SPR_CPU, 1, SCENE_STEPS, 9.5, 0.58); /* above 10 at .92 */
        scene_plan(&s);
        assert_int_equal(scene_actions(&s), memory);
        if (memory)
            assert_int_equal(scene_action(&s, 0).resource, SPR_MEMORY);
        scene_close(&s);
    }
}

/* ---- many hosts: the search by blocks finds what a walk over all of them would ---- */

static double room_of(const struct scene *s, int32_t h) {
    return 0.9 * 10 - (spr__fleet_held(s->fleet, h, 0) + spr__fleet_demand(s->fleet, h, 0));
}

static void a_large_fleet_gives_the_answer_of_a_walk_over_all_hosts(void **state) {
    (void)state;
    enum { HOSTS = 413 };
    for (uint64_t draw = 0; draw < 12; draw++) {
        struct scene s = scene_open(1u << SPR_CPU);
        for (int h = 0; h < HOSTS; h++) {
            char id[16], rack[16], zone[16];
            uint64_t n = (uint64_t)h;
            snprintf(id, sizeof id, "h%d", h);
            snprintf(rack, sizeof rack, "r%d", (int)(7 * spr__rand(draw, 1, n)));
            snprintf(zone, sizeof zone, "z%d", (int)(4 * spr__rand(draw, 2, n)));
            bool known = spr__rand(draw, 3, n) < 0.9;
            scene_host(&s, id, known ? rack : NULL, known ? zone : NULL, 10);
        }
        for (int h = 0; h < HOSTS; h++) { /* VM v lives on host v */
            char id[16];
            snprintf(id, sizeof id, "v%d", h);
            scene_vm(&s, id, h, h ? 0.1 * floor(100 * spr__rand(draw, 4, (uint64_t)h)) : 9.2);
        }
        go(&s);
        int32_t best = -1, tier = 9, home_tier;
        for (int32_t h = 1; h < HOSTS; h++) {
            home_tier = spr_fleet_tier(s.fleet, 0, h);
            if (room_of(&s, h) >= 3 && (home_tier < tier || (home_tier == tier && room_of(&s, h) > room_of(&s, best))))
                best = h, tier = home_tier;
        }
        int32_t made = 0; /* other hosts may be short as well; the VM of interest is the first one */
        for (int32_t k = 0; k < scene_actions(&s); k++)
            if (scene_action(&s, k).vm == 0) {
                made++;
                assert_int_equal(scene_action(&s, k).host, best);
            }
        assert_int_equal(made, 1);
        scene_close(&s);
    }
}

/* Home has 3 to place; `bare`, the host with most room, could hold nobody to a share of the CPU. */
static struct scene beside_a_bare_host(const uint32_t *unkept, const char *const *why, const struct spr_vm *like) {
    struct scene s = short_of_three(like, NULL, NULL);
    scene_host(&s, "bare", NULL, NULL, 20);
    scene_host(&s, "full", NULL, NULL, 10);
    s.opts.unkept = unkept, s.opts.unkept_why = why, s.opts.unkept_count = unkept ? 3 : 0;
    return s;
}

static void a_host_that_holds_nobody_to_a_share_is_left_out_and_named(void **state) {
    (void)state;
    const uint32_t unkept[] = {0, 1u << SPR_CPU, 0}, of_net[] = {0, 1u << SPR_NET_RX, 0};
    const char *const why[] = {NULL, "no cpu control group, its shards cannot be limited", NULL};
    struct scene s = beside_a_bare_host(NULL, NULL, NULL);
    go(&s);
    assert_int_equal(scene_action(&s, 0).host, 1); /* it would be the best one */
    scene_close(&s);
    s = beside_a_bare_host(unkept, why, NULL);
    go(&s);
    assert_int_equal(scene_actions(&s), 1);
    assert_int_equal(scene_action(&s, 0).host, 2);
    assert_int_equal(spr_plan_infeasible_count(s.plan), 1);
    struct spr_infeasible w = scene_wish(&s, 0);
    assert_int_equal(w.because, SPR_BECAUSE_NOT_KEPT);
    assert_int_equal(w.host, 1);
    assert_int_equal(w.resource, SPR_CPU);
    assert_true(w.amount > 2.9);
    assert_string_equal(w.text, "host bare left out: no cpu control group, its shards cannot be limited");
    scene_close(&s);
    s = beside_a_bare_host(unkept, NULL, NULL); /* nobody says why */
    go(&s);
    assert_non_null(strstr(scene_wish(&s, 0).text, "could hold a shard to its share"));
    scene_close(&s);
    s = beside_a_bare_host(of_net, why, NULL); /* of a resource that no shard is to have: nothing is in the way */
    go(&s);
    assert_int_equal(scene_action(&s, 0).host, 1);
    assert_int_equal(spr_plan_infeasible_count(s.plan), 0);
    scene_close(&s);
}

static void no_shard_grows_where_it_could_not_be_held_to_it(void **state) {
    (void)state;
    const uint32_t unkept[] = {0, 1u << SPR_CPU, 0};
    struct scene s = beside_a_bare_host(unkept, NULL, NULL);
    scene_shard(&s, 5, 0, 1, 1, 0); /* from before */
    go(&s);
    assert_int_equal(scene_actions(&s), 1);
    assert_int_equal(scene_action(&s, 0).kind, SPR_ACTION_ALLOCATE);
    assert_int_equal(scene_action(&s, 0).host, 2);
    scene_close(&s);
    struct spr_vm only = usual();
    only.hosts_allowed = "bare";
    s = beside_a_bare_host(unkept, NULL, &only);
    go(&s);
    assert_int_equal(scene_actions(&s), 0);
    assert_int_equal(spr_plan_infeasible_count(s.plan), 2);
    assert_int_equal(scene_wish(&s, 0).because, SPR_BECAUSE_NO_ROOM);
    assert_null(scene_wish(&s, 0).text);
    assert_int_equal(scene_wish(&s, 1).because, SPR_BECAUSE_NOT_KEPT);
    scene_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_need_goes_to_the_host_with_most_room),
        cmocka_unit_test(of_equal_hosts_the_first_is_taken),
        cmocka_unit_test(a_target_keeps_what_it_may_well_need_itself),
        cmocka_unit_test(what_drains_still_holds_its_host),
        cmocka_unit_test(room_is_counted_as_the_plan_goes_on),
        cmocka_unit_test(a_shard_of_unknown_state_neither_grows_nor_gets_a_second_one_beside_it),
        cmocka_unit_test(no_host_is_always_last),
        cmocka_unit_test(a_limit_of_actions_holds_for_the_shards_of_one_vm),
        cmocka_unit_test(room_is_counted_over_the_whole_window),
        cmocka_unit_test(a_vm_whose_owner_forbids_replicas_never_gets_one),
        cmocka_unit_test(only_the_spillable_share_is_moved),
        cmocka_unit_test(without_room_the_wish_is_named),
        cmocka_unit_test(a_vm_has_no_more_shards_than_its_policy_says),
        cmocka_unit_test(shards_are_neither_smaller_nor_larger_than_the_owner_says),
        cmocka_unit_test(shards_stay_on_the_hosts_their_owner_allows),
        cmocka_unit_test(shards_keep_away_from_what_they_must_not_meet),
        cmocka_unit_test(near_hosts_come_first_when_they_can_carry_all_of_it),
        cmocka_unit_test(shards_stand_near_what_their_vm_talks_to),
        cmocka_unit_test(two_shards_stand_in_two_racks),
        cmocka_unit_test(hosts_that_are_not_up_get_nothing),
        cmocka_unit_test(shards_that_stand_grow_before_new_ones_are_made),
        cmocka_unit_test(the_vm_with_most_to_spill_goes_first),
        cmocka_unit_test(a_shard_carries_the_same_share_of_every_resource),
        cmocka_unit_test(the_scarcest_resource_of_a_target_counts),
        cmocka_unit_test(memory_is_answered_at_a_smaller_chance_than_cpu),
        cmocka_unit_test(a_host_that_holds_nobody_to_a_share_is_left_out_and_named),
        cmocka_unit_test(no_shard_grows_where_it_could_not_be_held_to_it),
        cmocka_unit_test(a_large_fleet_gives_the_answer_of_a_walk_over_all_hosts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
