/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How a warm shard waits: what it holds meanwhile against what is unserved until it is back. */
#include <string.h>

#include "plan_scene.h"

enum { HOME, THERE };

/* The figures of doc/backends/libvirt.md. */
static struct spr_warm_host hosts[2];

static void measured(void) {
    for (int h = 0; h < 2; h++) {
        struct spr_warm_host w = {.size = sizeof w};
        w.states = 1u << SPR_WARM_PAUSED | 1u << SPR_WARM_SAVED | 1u << SPR_WARM_RUNNING;
        w.of[SPR_WARM_PAUSED] = (struct spr_warm_cost){.resume_s = 0.02, .memory_held = 1};
        w.of[SPR_WARM_SAVED] = (struct spr_warm_cost){.resume_s = 0.8, .enter_s = 0.4};
        w.of[SPR_WARM_RUNNING] = (struct spr_warm_cost){.resume_s = 0.02, .memory_held = 1, .cpu_held = 0.1};
        hosts[h] = w;
    }
}

/* A VM of 8 cores on a host of 10. What is kept for a need in 19 min is made in 25: else it would be given back. */
static struct scene begin(void) {
    struct scene s = scene_open(1u << SPR_CPU | 1u << SPR_MEMORY);
    s.of_hosts.of[SPR_MEMORY] = 10;
    scene_host(&s, "home", NULL, NULL, 10);
    scene_host(&s, "there", NULL, NULL, 10);
    struct spr_vm v = scene_vm_of(&s, "web", HOME, 8);
    v.demand.of[SPR_MEMORY] = v.demand_hour.of[SPR_MEMORY] = 4;
    scene_add(&s, &v);
    measured();
    s.opts.warm = hosts;
    s.opts.warm_count = 2;
    s.opts.lead_s = 1500;
    return s;
}

static void settle(struct scene *s, int from) {
    scene_settle(s);
    scene_expect(s, HOME, SPR_CPU, from, SCENE_STEPS, 12.9, 0.02);
}

/* A shard of the VM that is warm and waits in `warm` until `wake_s` from now. */
static void add_waiting(struct scene *s, int32_t warm, double wake_s) {
    struct spr_shard d = {.size = sizeof d, .id = 71, .vm = 0, .host = THERE, .state = SPR_SHARD_WARM, .warmness = 1};
    d.ready.of[SPR_CPU] = 2.9;
    d.ready.of[SPR_MEMORY] = 1.45;
    d.warm = warm;
    d.wake_mono_ns = s->now.mono_ns + (int64_t)(wake_s * 1e9);
    assert_int_equal(spr_fleet_builder_shard(s->builder, &d), SPR_OK);
}

static bool says(const struct scene *s, int32_t index, struct spr_action *a) {
    *a = scene_action(s, index);
    return a->warm != SPR_WARM_ANY;
}

/* Asked for when it is needed right after its lead: it serves as soon as it can. */
static void a_near_need_does_not_wait(void **state) {
    (void)state;
    struct scene s = begin();
    struct spr_action a;
    char text[64] = "x";
    s.opts.lead_s = 300;
    settle(&s, 1);
    scene_plan(&s);
    assert_true(scene_actions(&s) >= 1);
    assert_int_equal(scene_action(&s, 0).kind, SPR_ACTION_ALLOCATE);
    assert_false(says(&s, 0, &a));
    assert_int_equal(spr_plan_wait_text(s.plan, 0, text, sizeof text), SPR_OK);
    assert_string_equal(text, "");
    scene_close(&s);
}

/* The plan of a shard that waits already, the need in step `from`; SPR_WARM_STATE_END_ = nothing is said of it. */
static int32_t told(int32_t warm, double wake_s, int from, char text[160], struct spr_action *out) {
    struct scene s = begin();
    int32_t is = SPR_WARM_STATE_END_;
    struct spr_action a = {.size = sizeof a};
    add_waiting(&s, warm, wake_s);
    settle(&s, from);
    scene_plan(&s);
    for (int32_t k = 0; k < scene_actions(&s); k++)
        if (scene_action(&s, k).kind == SPR_ACTION_WAIT) {
            a = scene_action(&s, k);
            is = a.warm;
            assert_int_equal(a.shard, 71);
            assert_int_equal(a.precondition, SPR_SHARD_WARM);
            assert_int_equal(spr_plan_wait_text(s.plan, k, text, 160), SPR_OK);
        }
    if (out) {
        *out = a;
        out->wake_mono_ns -= s.now.mono_ns;
        out->need_mono_ns -= s.now.mono_ns;
    }
    scene_close(&s);
    return is;
}

static void a_far_need_is_saved_and_says_why(void **state) {
    (void)state;
    char text[160] = "";
    struct spr_action a;
    assert_int_equal(told(SPR_WARM_PAUSED, 60, 4, text, &a), SPR_WARM_SAVED); /* 4 steps: 1140 s from now */
    assert_string_equal(text, "kept saved to disk: restores in 0.8 s, needed in 19 min");
    assert_int_equal(a.need_mono_ns, 1140 * scene_second);
    assert_true(fabs((double)a.wake_mono_ns * 1e-9 - (1140 - 60 - 0.8)) < 1e-3); /* flows move for pre_s first */
    assert_true(a.resume_s == 0.8);
}

static void what_waits_as_it_should_is_left_alone(void **state) {
    (void)state;
    char text[160];
    assert_int_equal(told(SPR_WARM_SAVED, 1140 - 60 - 0.8, 4, text, NULL), SPR_WARM_STATE_END_);
    /* a later need moves the moment only when it would come too early otherwise */
    assert_int_equal(told(SPR_WARM_SAVED, 840 - 60 - 0.8, 4, text, NULL), SPR_WARM_STATE_END_);
    assert_int_equal(told(SPR_WARM_SAVED, 100, 4, text, NULL), SPR_WARM_SAVED);
}

static void a_need_that_comes_nearer_wakes_it(void **state) {
    (void)state;
    char text[160] = "";
    struct spr_action a;
    assert_int_equal(told(SPR_WARM_SAVED, 1079, 1, text, &a), SPR_WARM_SAVED); /* 240 s from now: 119 s are left */
    assert_true(fabs((double)a.wake_mono_ns * 1e-9 - (240 - 60 - 0.8)) < 1e-3);
    assert_int_equal(told(SPR_WARM_SAVED, 1079, 0, text, &a),
                     SPR_WARM_SAVED); /* the running step is what is measured */
}

static void cheap_memory_keeps_it_in_memory(void **state) {
    (void)state;
    struct spr_action a;
    struct scene s = begin();
    add_waiting(&s, SPR_WARM_SAVED, 60);
    s.opts.price[SPR_MEMORY].held = 0.001; /* 1140 s of 0.145 hosts at that, against 0.8 s of 0.29 hosts at 10 */
    settle(&s, 4);
    scene_plan(&s);
    assert_int_equal(scene_actions(&s), 1);
    assert_true(says(&s, 0, &a));
    assert_int_equal(a.warm, SPR_WARM_PAUSED);
    scene_close(&s);
}

static struct scene with_states(int32_t waits, double wake_s, uint32_t states, const struct spr_warm_cost *of_paused,
                                const struct spr_warm_cost *of_running) {
    struct scene s = begin();
    for (int h = 0; h < 2; h++) {
        hosts[h].states = states;
        if (of_paused)
            hosts[h].of[SPR_WARM_PAUSED] = *of_paused;
        if (of_running)
            hosts[h].of[SPR_WARM_RUNNING] = *of_running;
    }
    add_waiting(&s, waits, wake_s);
    settle(&s, 4);
    scene_plan(&s);
    return s;
}

static void ties_go_to_paused_and_running_wins_where_it_is_sooner(void **state) {
    (void)state;
    const struct spr_warm_cost same = {.resume_s = 1, .memory_held = 1};
    const struct spr_warm_cost sooner = {.resume_s = 0.5, .memory_held = 1};
    uint32_t both = 1u << SPR_WARM_PAUSED | 1u << SPR_WARM_RUNNING;
    struct scene s = with_states(SPR_WARM_SAVED, 60, both, &same, &same);
    assert_int_equal(scene_action(&s, 0).warm, SPR_WARM_PAUSED);
    scene_close(&s);
    s = with_states(SPR_WARM_SAVED, 60, both, &same, &sooner);
    assert_int_equal(scene_action(&s, 0).warm, SPR_WARM_RUNNING);
    scene_close(&s);
}

/* What takes longer to come back than is left is out; what nobody measured counts as slow as a new shard. */
static void too_slow_is_out(void **state) {
    (void)state;
    const struct spr_warm_cost slow = {.resume_s = 1100}, unknown = {.memory_held = 1};
    struct scene s = with_states(SPR_WARM_PAUSED, 1079, 1u << SPR_WARM_PAUSED, &slow, NULL);
    assert_int_equal(scene_actions(&s), 1);
    assert_int_equal(scene_action(&s, 0).kind, SPR_ACTION_WAIT);
    assert_int_equal(scene_action(&s, 0).warm, SPR_WARM_ANY);
    char text[160];
    assert_int_equal(spr_plan_wait_text(s.plan, 0, text, sizeof text), SPR_OK);
    assert_string_equal(text, "waits no longer: needed soon");
    scene_close(&s);
    s = with_states(SPR_WARM_PAUSED, 1079, 1u << SPR_WARM_PAUSED, &unknown, NULL);
    assert_int_equal(scene_action(&s, 0).warm, SPR_WARM_ANY);
    scene_close(&s);
}

/* Its lead is 300 s, but there it is usually ready after 10. */
static void a_new_shard_that_is_ready_early_waits(void **state) {
    (void)state;
    struct spr_action a;
    char text[160];
    struct scene s = begin();
    s.opts.lead_s = 300;
    hosts[THERE].ready_s = 10;
    settle(&s, 1); /* 240 s from now */
    scene_plan(&s);
    assert_true(scene_actions(&s) >= 1);
    assert_int_equal(scene_action(&s, 0).kind, SPR_ACTION_ALLOCATE);
    assert_true(says(&s, 0, &a));
    assert_int_equal(a.warm, SPR_WARM_SAVED);
    assert_int_equal(spr_plan_wait_text(s.plan, 0, text, sizeof text), SPR_OK);
    assert_string_equal(text, "kept saved to disk: restores in 0.8 s, needed in 4 min");
    s.opts.warm = NULL; /* no capability: nothing is said */
    s.opts.warm_count = 0;
    spr_planner_destroy(s.planner);
    s.planner = NULL;
    scene_plan(&s);
    assert_int_equal(scene_action(&s, 0).kind, SPR_ACTION_ALLOCATE);
    assert_false(says(&s, 0, &a));
    assert_int_equal(a.wake_mono_ns | a.need_mono_ns, 0);
    scene_close(&s);
}

/* The need moved on while it is made. */
static void one_on_its_way_can_still_be_told_to_wait(void **state) {
    (void)state;
    struct spr_action a;
    struct scene s = begin();
    struct spr_shard d = {.size = sizeof d, .id = 71, .vm = 0, .host = THERE, .state = SPR_SHARD_ALLOCATING};
    d.pending.of[SPR_CPU] = 2.9;
    d.pending.of[SPR_MEMORY] = 1.45;
    assert_int_equal(spr_fleet_builder_shard(s.builder, &d), SPR_OK);
    hosts[THERE].ready_s = 10;
    settle(&s, 4);
    scene_plan(&s);
    assert_int_equal(scene_actions(&s), 1);
    assert_true(says(&s, 0, &a));
    assert_int_equal(a.kind, SPR_ACTION_WAIT);
    assert_int_equal(a.warm, SPR_WARM_SAVED);
    assert_int_equal(a.precondition, SPR_SHARD_ALLOCATING);
    scene_close(&s);
}

static void bad_tables_are_refused(void **state) {
    (void)state;
    struct scene s = begin();
    settle(&s, 4);
    s.opts.warm_count = 1;
    assert_int_equal(scene_try(&s), SPR_E_ARG);
    s.opts.warm_count = 2;
    hosts[1].states |= 1u << SPR_WARM_STATE_END_;
    assert_int_equal(scene_try(&s), SPR_E_ARG);
    measured();
    hosts[1].of[SPR_WARM_SAVED].resume_s = -1;
    assert_int_equal(scene_try(&s), SPR_E_ARG);
    measured();
    hosts[1].of[SPR_WARM_SAVED].memory_held = NAN;
    assert_int_equal(scene_try(&s), SPR_E_ARG);
    measured();
    hosts[0].ready_s = -1;
    assert_int_equal(scene_try(&s), SPR_E_ARG);
    measured();
    scene_plan(&s);
    char text[4];
    assert_int_equal(spr_plan_wait_text(s.plan, 99, text, sizeof text), SPR_E_ARG);
    assert_int_equal(spr_plan_wait_text(s.plan, 0, NULL, 0), SPR_E_ARG);
    assert_string_equal(spr_warm_state_name(SPR_WARM_SAVED), "saved");
    assert_string_equal(spr_warm_state_name(99), "invalid");
    scene_close(&s);
}

/* Elements of tomorrow are longer: the stride is what the first one says. */
static void the_stride_is_the_callers(void **state) {
    (void)state;
    struct {
        struct spr_warm_host w;
        double more;
    } longer[2];
    struct spr_action a;
    struct scene s = begin();
    add_waiting(&s, SPR_WARM_PAUSED, 60);
    settle(&s, 4);
    memset(longer, 0, sizeof longer);
    for (int h = 0; h < 2; h++) {
        longer[h].w = hosts[h];
        longer[h].w.size = sizeof longer[h];
    }
    s.opts.warm = &longer[0].w;
    scene_plan(&s);
    assert_true(says(&s, 0, &a));
    assert_int_equal(a.warm, SPR_WARM_SAVED);
    scene_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_near_need_does_not_wait),
        cmocka_unit_test(a_far_need_is_saved_and_says_why),
        cmocka_unit_test(what_waits_as_it_should_is_left_alone),
        cmocka_unit_test(a_need_that_comes_nearer_wakes_it),
        cmocka_unit_test(cheap_memory_keeps_it_in_memory),
        cmocka_unit_test(ties_go_to_paused_and_running_wins_where_it_is_sooner),
        cmocka_unit_test(too_slow_is_out),
        cmocka_unit_test(a_new_shard_that_is_ready_early_waits),
        cmocka_unit_test(one_on_its_way_can_still_be_told_to_wait),
        cmocka_unit_test(bad_tables_are_refused),
        cmocka_unit_test(the_stride_is_the_callers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
