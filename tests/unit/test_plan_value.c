/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The value rule: when to request, how much, when to wait and when to give back; and the rules of the rivals. */
#include "plan_scene.h"

/* One host of 10 cores with 7.3 in use, another one that is nearly idle. */
static struct scene two_hosts(void) {
    struct scene s = scene_open(1u << SPR_CPU);
    int32_t home = scene_host(&s, "home", NULL, NULL, 10);
    int32_t other = scene_host(&s, "other", NULL, NULL, 10);
    scene_vm(&s, "web", home, 7.3);
    scene_vm(&s, "quiet", other, 1.1);
    return s;
}

/* Actions wanted when a sure spike to 12.7 begins `ahead_s` from now and lasts an hour. */
static int32_t asked_with_spike_in(double ahead_s, double *amount) {
    struct scene s = two_hosts();
    double off =
        fmod(300 - fmod(ahead_s, 300), 300); /* so much of the running step is over that a step meets the spike */
    s.now.wall_ns += (int64_t)((off - 60) * 1e9);
    int first = (int)((ahead_s + off) / 300);
    scene_settle(&s);
    scene_expect(&s, 0, SPR_CPU, first, SCENE_STEPS, 12.7, 0.2);
    scene_plan(&s);
    int32_t n = scene_actions(&s);
    *amount = scene_sum(&s, SPR_ACTION_ALLOCATE, 1);
    scene_close(&s);
    return n;
}

static void a_spike_is_met_exactly_at_the_lead_not_before_and_not_after(void **state) {
    (void)state;
    double amount;
    for (double ahead = 1260; ahead > 360; ahead -= 60) {
        assert_int_equal(asked_with_spike_in(ahead, &amount), 0);
    }
    assert_int_equal(asked_with_spike_in(360, &amount), 1); /* 300 s until warm, 60 s for the flows to move */
    assert_true(amount > 2.5 && amount < 2.95);
    assert_int_equal(asked_with_spike_in(300, &amount), 1); /* late is better than never while most of it lies ahead */
}

static void a_spike_that_ends_before_a_shard_is_ready_is_not_asked_for(void **state) {
    (void)state;
    struct scene s = two_hosts();
    scene_settle(&s);
    scene_expect(&s, 0, SPR_CPU, 0, 1, 12.7, 0.2); /* over in 240 s; ready in 360 s */
    scene_plan(&s);
    assert_int_equal(scene_actions(&s), 0);
    assert_int_equal(spr_plan_infeasible_count(s.plan), 0);
    scene_close(&s);
}

static void what_is_not_worth_its_price_is_not_asked_for(void **state) {
    (void)state;
    struct scene s = two_hosts();
    scene_settle(&s);
    scene_expect(&s, 0, SPR_CPU, 1, SCENE_STEPS, 9.1, 0.97); /* the chance to pass 10 is below a tenth */
    scene_plan(&s);
    assert_int_equal(scene_actions(&s), 0);
    scene_close(&s);

    s = two_hosts(); /* a sure spike, but short against a long lead that must be paid for too */
    s.opts.lead_s = 3600;
    s.opts.pre_s = 17;
    scene_settle(&s);
    scene_expect(&s, 0, SPR_CPU, 12, 13, 12.7, 0.2);
    scene_plan(&s);
    assert_int_equal(scene_actions(&s), 0);
    scene_close(&s);
}

/* The price decides the quantile: little is held when shortage is cheap, much when it is dear. */
static double asked_at_price(double unserved) {
    struct scene s = two_hosts();
    s.opts.price[SPR_CPU].unserved = unserved;
    scene_settle(&s);
    scene_expect(&s, 0, SPR_CPU, 1, SCENE_STEPS, 11.3, 1.1);
    scene_plan(&s);
    double sum = scene_sum(&s, SPR_ACTION_ALLOCATE, 1);
    if (scene_actions(&s)) {
        struct spr_action a = scene_action(&s, 0);
        assert_true(fabs(a.quantile - (1 - 1 / unserved)) < 1e-12);
    }
    scene_close(&s);
    return sum;
}

static void a_higher_price_of_shortage_holds_a_higher_quantile(void **state) {
    (void)state;
    double p3 = asked_at_price(3), p10 = asked_at_price(10), p50 = asked_at_price(50);
    /* The 1 - 1/price quantile less the capacity, minus a little for the time until it is ready. */
    assert_true(p3 > 1.3 && p3 < 1.3 + 1.1 * (0.6667 - 0.5) / 0.49 + 1e-9);
    assert_true(p10 > p3 + 0.3 && p10 < 1.3 + 1.1 * (0.9 - 0.5) / 0.49 + 1e-9);
    assert_true(p50 > p10 + 0.1 && p50 < 1.3 + 1.1 * (0.98 - 0.5) / 0.49 + 1e-9);
}

/* The class of the VM in need, and of nobody else, changes quantile and size. */
static double asked_of_class(int32_t klass, double unserved, double *quantile) {
    struct scene s = two_hosts();
    const int32_t classes[] = {klass, SPR_CLASS_CHAOTIC};
    s.opts.price[SPR_CPU].unserved = unserved;
    s.opts.classes = classes;
    s.opts.class_count = 2;
    scene_settle(&s);
    scene_expect(&s, 0, SPR_CPU, 1, SCENE_STEPS, 11.3, 1.1);
    scene_plan(&s);
    assert_int_equal(scene_actions(&s), 1);
    *quantile = scene_action(&s, 0).quantile;
    double sum = scene_sum(&s, SPR_ACTION_ALLOCATE, 1);
    scene_close(&s);
    return sum;
}

static void the_class_changes_quantile_and_size(void **state) {
    (void)state;
    double q, dear, plain = asked_of_class(SPR_CLASS_STEADY, 10, &q),
                    same = asked_of_class(SPR_CLASS_STEADY, 11, &dear);
    assert_true(fabs(q - 0.9) < 1e-12);
    assert_true(asked_of_class(-1, 10, &q) == plain && asked_of_class(SPR_CLASS_DIURNAL, 10, &q) == plain);
    assert_true(fabs(asked_of_class(SPR_CLASS_BURST, 10, &q) - same) < 1e-9 && fabs(q - dear) < 1e-12);
    assert_true(same > plain);
    assert_true(fabs(asked_of_class(SPR_CLASS_CHAOTIC, 10, &q) - 1.05 * same) < 1e-9 && fabs(q - dear) < 1e-12);
    assert_true(spr__class_policy(SPR_CLASS_DIURNAL)->predict && !spr__class_policy(SPR_CLASS_CHAOTIC)->predict);
}

static void the_answer_waits_when_a_later_start_is_worth_more(void **state) {
    (void)state;
    struct scene s = two_hosts();
    scene_settle(&s);
    scene_expect(&s, 0, SPR_CPU, 1, 2, 10.6, 1.4);           /* a little is expected at once */
    scene_expect(&s, 0, SPR_CPU, 8, SCENE_STEPS, 13.9, 0.2); /* much later */
    scene_plan(&s);
    assert_true(scene_sum(&s, SPR_ACTION_ALLOCATE, 1) < 2.0); /* the later one is left for later */
    scene_close(&s);
}

static void nothing_is_given_back_that_the_present_demand_needs(void **state) {
    (void)state;
    struct scene s = scene_open(1u << SPR_CPU);
    int32_t home = scene_host(&s, "home", NULL, NULL, 10), other = scene_host(&s, "other", NULL, NULL, 10);
    int32_t web = scene_vm(&s, "web", home, 12.1);
    scene_shard(&s, 31, web, other, 4.7, 0);
    scene_settle(&s);
    scene_expect(&s, home, SPR_CPU, 0, SCENE_STEPS, 3.3, 0.2); /* a forecast that knows nothing of the present */
    scene_plan(&s);
    assert_int_equal(scene_actions(&s), 1);
    struct spr_action a = scene_action(&s, 0);
    assert_int_equal(a.kind, SPR_ACTION_SHRINK);
    assert_true(a.amounts.of[SPR_CPU] <= 4.7 - 2.1 + 1e-9);
    scene_close(&s);
}

static void what_is_not_needed_any_more_goes_back(void **state) {
    (void)state;
    struct scene s = scene_open(1u << SPR_CPU);
    int32_t home = scene_host(&s, "home", NULL, NULL, 10), other = scene_host(&s, "other", NULL, NULL, 10);
    int32_t web = scene_vm(&s, "web", home, 4.1);
    scene_shard(&s, 31, web, other, 3.2, 0);
    scene_settle(&s);
    scene_plan(&s);
    assert_int_equal(scene_actions(&s), 1);
    struct spr_action a = scene_action(&s, 0);
    assert_int_equal(a.kind, SPR_ACTION_RELEASE);
    assert_int_equal(a.shard, 31);
    assert_int_equal(a.because, SPR_BECAUSE_NO_NEED);
    scene_close(&s);
}

static void what_will_be_needed_again_before_it_pays_to_give_it_back_is_kept(void **state) {
    (void)state;
    for (int gap = 1; gap <= 6; gap++) {
        struct scene s = scene_open(1u << SPR_CPU);
        int32_t home = scene_host(&s, "home", NULL, NULL, 10), other = scene_host(&s, "other", NULL, NULL, 10);
        int32_t web = scene_vm(&s, "web", home, 8.1);
        scene_shard(&s, 31, web, other, 2.9, 0);
        scene_settle(&s);
        scene_expect(&s, home, SPR_CPU, gap, SCENE_STEPS, 12.9, 0.01);
        scene_plan(&s);
        /* Keeping it costs the gap; giving it back costs holding it again while it gets ready: 360 s. */
        bool keep = 300 * gap - 60 < 360;
        assert_int_equal(scene_sum(&s, SPR_ACTION_RELEASE, other) + scene_sum(&s, SPR_ACTION_SHRINK, other) > 0, !keep);
        scene_close(&s);
    }
}

/* What stands is worth more than what would have to be made: it needs no lead. */
static void what_is_not_worth_asking_for_may_be_worth_keeping(void **state) {
    (void)state;
    for (int first = 1; first <= 2; first++) {
        struct scene s = scene_open(1u << SPR_CPU);
        scene_host(&s, "home", NULL, NULL, 10);
        scene_host(&s, "other", NULL, NULL, 10);
        int32_t web = scene_vm(&s, "web", 0, 8.1);
        scene_shard(&s, 31, web, 1, 2.4, 0);
        s.now.wall_ns -= 60 * scene_second; /* the running step has just begun */
        scene_settle(&s);
        scene_expect(&s, 0, SPR_CPU, first, first + 1, 10, 4); /* above 12.4 at .21: asking is worth it up to 12.04 */
        scene_plan(&s);
        assert_int_equal(scene_actions(&s), first == 2); /* but worth keeping for 300 s, not for 600 s */
        scene_close(&s);
    }
}

static void a_short_lead_serves_the_running_step(void **state) {
    (void)state;
    for (int slow = 0; slow < 2; slow++) {
        struct scene s = scene_open(1u << SPR_CPU);
        scene_host(&s, "home", NULL, NULL, 10);
        scene_host(&s, "other", NULL, NULL, 10);
        scene_vm(&s, "web", 0, 11.7);
        s.opts.lead_s = slow ? 300 : 30;
        s.opts.pre_s = 30;
        scene_settle(&s);
        scene_expect(&s, 0, SPR_CPU, 0, SCENE_STEPS, 6, 0.2); /* over in 240 s */
        scene_plan(&s);
        assert_int_equal(scene_actions(&s), !slow);
        assert_true(slow || fabs(scene_sum(&s, SPR_ACTION_ALLOCATE, 1) - 1.7) < 0.01);
        scene_close(&s);
    }
}

static void newer_shards_go_back_first_and_what_is_not_ready_before_what_is(void **state) {
    (void)state;
    struct scene s = scene_open(1u << SPR_CPU);
    scene_host(&s, "home", NULL, NULL, 10);
    scene_host(&s, "b", NULL, NULL, 10);
    scene_host(&s, "c", NULL, NULL, 10);
    int32_t web = scene_vm(&s, "web", 0, 11.3);
    scene_shard(&s, 5, web, 1, 1.0, 0.1);
    scene_shard(&s, 9, web, 2, 0.8, 0.6);
    scene_settle(&s);
    scene_expect(&s, 0, SPR_CPU, 0, SCENE_STEPS, 3, 0.2);
    scene_plan(&s); /* 1.3 of 2.5 is needed now */
    assert_int_equal(scene_actions(&s), 2);
    assert_int_equal(scene_action(&s, 0).shard, 5);
    assert_true(fabs(scene_action(&s, 0).amounts.of[SPR_CPU] - 0.1) < 1e-9); /* its pending part */
    assert_true(fabs(scene_action(&s, 1).amounts.of[SPR_CPU] - 1.1) < 1e-9); /* 0.6 pending, 0.5 ready */
    scene_close(&s);
}

/* ---- declared demand ---- */

static double asked_for_declared(double in_s, double confidence, int32_t *because) {
    struct scene s = two_hosts();
    scene_declare(&s, "w?b", in_s, in_s + 3600, 4.4, confidence);
    scene_settle(&s);
    scene_plan(&s);
    double sum = scene_sum(&s, SPR_ACTION_ALLOCATE, 1);
    *because = scene_actions(&s) ? scene_action(&s, 0).because : 0;
    scene_close(&s);
    return sum;
}

static void declared_demand_is_met_before_there_is_any_history_of_it(void **state) {
    (void)state;
    int32_t because;
    assert_true(asked_for_declared(1800, 1, &because) == 0); /* not yet */
    double sure = asked_for_declared(360, 1, &because);
    assert_int_equal(because, SPR_BECAUSE_DECLARED);
    assert_true(sure > 1.6 && sure < 1.7001); /* 7.3 + 4.4 - 10 */
    double maybe = asked_for_declared(360, 0.3, &because);
    assert_true(maybe > 1.6); /* a chance of 0.3 at 10 to 1 is worth it */
    assert_true(asked_for_declared(360, 0.05, &because) == 0);
}

static void shards_are_sized_for_declared_demand_too(void **state) {
    (void)state;
    struct scene s = scene_open(1u << SPR_CPU);
    scene_host(&s, "home", NULL, NULL, 10);
    scene_host(&s, "other", NULL, NULL, 10);
    struct spr_vm v = scene_vm_of(&s, "private", 0, 7);
    v.replica = SPR_REPLICA_NEVER;
    scene_add(&s, &v);
    scene_vm(&s, "web", 0, 0.5); /* its 0.4 of today would be all that it can spill */
    scene_declare(&s, "web", 360, 3600, 4.4, 1);
    scene_settle(&s);
    scene_plan(&s);
    assert_true(scene_sum(&s, SPR_ACTION_ALLOCATE, 1) > 1.8);
    scene_close(&s);
}

static void a_shard_for_declared_demand_is_kept_while_the_demand_begins(void **state) {
    (void)state;
    struct scene s = scene_open(1u << SPR_CPU);
    int32_t home = scene_host(&s, "home", NULL, NULL, 10), other = scene_host(&s, "other", NULL, NULL, 10);
    int32_t web = scene_vm(&s, "web", home, 7.3); /* the metrics do not show it yet */
    scene_shard(&s, 31, web, other, 1.7, 0);
    scene_declare(&s, "web", -60, 3540, 4.4, 1);
    scene_settle(&s);
    scene_plan(&s);
    assert_int_equal(scene_actions(&s), 0);
    scene_close(&s);
}

/* ---- promise 3 ---- */

static void stationary_noise_gives_no_action_in_many_ticks(void **state) {
    (void)state;
    spr_context *ctx = NULL;
    spr_planner *planner = NULL;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    assert_int_equal(spr_planner_create(ctx, NULL, NULL, &planner), SPR_OK);
    for (uint64_t tick = 0; tick < 200; tick++) {
        struct scene s = scene_open_in(spr_context_ref(ctx), 1u << SPR_CPU);
        double level[5];
        char id[16];
        for (int h = 0; h < 5; h++) {
            snprintf(id, sizeof id, "h%d", h);
            scene_host(&s, id, NULL, NULL, 10);
            level[h] = 7.1 + 0.35 * h;
        }
        s.now.mono_ns += (int64_t)tick * 60 * scene_second;
        for (int v = 0; v < 20; v++) {
            snprintf(id, sizeof id, "v%d", v);
            scene_vm(&s, id, v % 5, level[v % 5] / 4 + 0.35 * (spr__rand(7, (uint64_t)v, tick) - 0.5));
        }
        scene_settle(&s);
        for (int h = 0; h < 5; h++)
            scene_expect(&s, h, SPR_CPU, 0, SCENE_STEPS, level[h], 0.6);
        s.planner = planner;
        scene_plan(&s);
        assert_int_equal(scene_actions(&s), 0);
        s.planner = NULL;
        scene_close(&s);
    }
    spr_planner_destroy(planner);
    spr_context_unref(ctx);
}

/* ---- the rivals' rules ---- */

static void run_rule(struct scene *s, const struct spr_planner_config *c) {
    if (!s->planner)
        assert_int_equal(spr_planner_create(s->ctx, spr_planner_builtin(), c, &s->planner), SPR_OK);
    scene_plan(s);
}

static void the_reactive_rule_acts_on_a_threshold_and_holds_a_while(void **state) {
    (void)state;
    struct spr_planner_config c = {.size = sizeof c, .rule = SPR_NEED_REACTIVE, .threshold = 0.8, .hold_s = 120};
    struct scene s = two_hosts();
    spr_planner *p = NULL;
    scene_settle(&s);
    run_rule(&s, &c);
    assert_int_equal(scene_actions(&s), 0); /* 7.3 is below 8 */
    scene_close(&s);

    s = scene_open(1u << SPR_CPU);
    int32_t home = scene_host(&s, "home", NULL, NULL, 10);
    scene_host(&s, "other", NULL, NULL, 10);
    scene_vm(&s, "web", home, 8.9);
    scene_settle(&s);
    run_rule(&s, &c);
    assert_int_equal(scene_actions(&s), 1);
    assert_int_equal(scene_action(&s, 0).because, SPR_BECAUSE_THRESHOLD);
    assert_true(fabs(scene_sum(&s, SPR_ACTION_ALLOCATE, 1) - 0.9) < 1e-9);
    p = s.planner;
    /* The load falls; the need of the last 120 s is held, then given back. */
    for (int tick = 1; tick <= 3; tick++) {
        struct scene later = scene_open_in(spr_context_ref(s.ctx), 1u << SPR_CPU);
        scene_host(&later, "home", NULL, NULL, 10);
        scene_host(&later, "other", NULL, NULL, 10);
        int32_t web = scene_vm(&later, "web", 0, 5.2);
        scene_shard(&later, 9, web, 1, 0.9, 0);
        scene_settle(&later);
        later.planner = p;
        scene_plan(&later);
        assert_int_equal(scene_actions(&later), tick == 3);
        later.planner = NULL;
        scene_close(&later);
    }
    scene_close(&s);
}

static void the_static_rule_holds_its_reserve(void **state) {
    (void)state;
    const double reserve[] = {2.3, 0};
    struct spr_planner_config c = {.size = sizeof c, .rule = SPR_NEED_STATIC, .reserve = reserve, .reserve_count = 2};
    struct scene s = two_hosts();
    scene_settle(&s);
    run_rule(&s, &c);
    assert_int_equal(scene_actions(&s), 1);
    assert_int_equal(scene_action(&s, 0).because, SPR_BECAUSE_STATIC_HOLD);
    assert_true(fabs(scene_sum(&s, SPR_ACTION_ALLOCATE, 1) - 2.3) < 1e-9);
    scene_close(&s);
}

static int give(void *user, const spr_fleet *fleet, int resource, double *need, double *vm_demand, double *host_peak) {
    assert_true(user == &scene_second && spr_fleet_vm_count(fleet) == 2 && resource == SPR_CPU);
    need[0] = 12.4;
    vm_demand[0] = 12.4;
    host_peak[1] = 7.9; /* the target will need most of itself: 9 - 7.9 is left */
    return SPR_OK;
}
static int refuse(void *user, const spr_fleet *fleet, int resource, double *need, double *vm_demand,
                  double *host_peak) {
    (void)user, (void)fleet, (void)resource, (void)need, (void)vm_demand, (void)host_peak;
    return -1234;
}

static void given_needs_are_covered_and_a_callback_may_refuse(void **state) {
    (void)state;
    struct spr_planner_config c = {
        .size = sizeof c, .rule = SPR_NEED_GIVEN, .given = give, .user = (void *)(uintptr_t)&scene_second};
    struct scene s = two_hosts();
    scene_settle(&s);
    run_rule(&s, &c);
    assert_int_equal(scene_actions(&s), 1);
    assert_int_equal(scene_action(&s, 0).because, SPR_BECAUSE_TRUE_FUTURE);
    assert_true(fabs(scene_sum(&s, SPR_ACTION_ALLOCATE, 1) - 1.1) < 1e-9);
    assert_int_equal(spr_plan_infeasible_count(s.plan), 1);
    scene_close(&s);

    c.given = refuse;
    s = two_hosts();
    scene_settle(&s);
    assert_int_equal(spr_planner_create(s.ctx, NULL, &c, &s.planner), SPR_OK);
    assert_int_equal(scene_try(&s), SPR_E_CALLBACK);
    assert_null(s.plan);
    scene_close(&s);
}

static void doing_nothing_is_a_rule_too(void **state) {
    (void)state;
    struct spr_planner_config c = {.size = sizeof c, .rule = SPR_NEED_NONE};
    struct scene s = two_hosts();
    scene_settle(&s);
    scene_expect(&s, 0, SPR_CPU, 1, SCENE_STEPS, 14, 0.2);
    run_rule(&s, &c);
    assert_int_equal(scene_actions(&s) + spr_plan_infeasible_count(s.plan), 0);
    scene_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_spike_is_met_exactly_at_the_lead_not_before_and_not_after),
        cmocka_unit_test(a_spike_that_ends_before_a_shard_is_ready_is_not_asked_for),
        cmocka_unit_test(what_is_not_worth_its_price_is_not_asked_for),
        cmocka_unit_test(a_higher_price_of_shortage_holds_a_higher_quantile),
        cmocka_unit_test(the_class_changes_quantile_and_size),
        cmocka_unit_test(the_answer_waits_when_a_later_start_is_worth_more),
        cmocka_unit_test(nothing_is_given_back_that_the_present_demand_needs),
        cmocka_unit_test(what_is_not_needed_any_more_goes_back),
        cmocka_unit_test(what_will_be_needed_again_before_it_pays_to_give_it_back_is_kept),
        cmocka_unit_test(what_is_not_worth_asking_for_may_be_worth_keeping),
        cmocka_unit_test(a_short_lead_serves_the_running_step),
        cmocka_unit_test(newer_shards_go_back_first_and_what_is_not_ready_before_what_is),
        cmocka_unit_test(declared_demand_is_met_before_there_is_any_history_of_it),
        cmocka_unit_test(shards_are_sized_for_declared_demand_too),
        cmocka_unit_test(a_shard_for_declared_demand_is_kept_while_the_demand_begins),
        cmocka_unit_test(stationary_noise_gives_no_action_in_many_ticks),
        cmocka_unit_test(the_reactive_rule_acts_on_a_threshold_and_holds_a_while),
        cmocka_unit_test(the_static_rule_holds_its_reserve),
        cmocka_unit_test(given_needs_are_covered_and_a_callback_may_refuse),
        cmocka_unit_test(doing_nothing_is_a_rule_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
