/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a plan promises whatever the load: nothing released blindly, no cascade, bounded, explained, checked. */
#include "failing_alloc.h"
#include "plan_scene.h"

#include <pthread.h>

/* ---- promise 2: old metrics hold what is held ---- */

static void old_metrics_release_nothing_and_ask_for_nothing(void **state) {
    (void)state;
    for (int will_be_short = 0; will_be_short < 2; will_be_short++) {
        struct scene s = scene_open(1u << SPR_CPU);
        scene_host(&s, "home", NULL, NULL, 10);
        scene_host(&s, "other", NULL, NULL, 10);
        struct spr_vm v = scene_vm_of(&s, "web", 0, 5.1);
        scene_add(&s, &v);
        v.id = "silent";
        v.seen_mono_ns -= 301 * scene_second; /* five control intervals of 60 s, and a second */
        scene_add(&s, &v);
        scene_shard(&s, 3, 0, 1, 0.7, 0);
        scene_settle(&s);
        scene_expect(&s, 0, SPR_CPU, 1, SCENE_STEPS, will_be_short ? 14 : 2, 0.1);
        scene_plan(&s);
        assert_int_equal(scene_actions(&s), 0);
        assert_int_equal(spr_plan_infeasible_count(s.plan), will_be_short);
        if (will_be_short)
            assert_int_equal(scene_wish(&s, 0).because, SPR_BECAUSE_STALE_METRICS);
        s.opts.stale_s = 3600; /* who accepts metrics of an hour gets a decision */
        scene_plan(&s);
        assert_true(scene_actions(&s) > 0);
        scene_close(&s);
    }
}

static void old_metrics_of_a_host_do_not_take_its_guests_away(void **state) {
    (void)state;
    struct scene s = scene_open(1u << SPR_CPU);
    scene_host(&s, "home", NULL, NULL, 10);
    scene_host(&s, "target", NULL, NULL, 10);
    scene_vm(&s, "web", 0, 9.3);
    struct spr_vm v = scene_vm_of(&s, "silent", 1, 5.0);
    v.seen_mono_ns -= 3600 * scene_second;
    scene_add(&s, &v);
    scene_shard(&s, 3, 0, 1, 3.1, 0);
    scene_settle(&s);
    scene_expect(&s, 0, SPR_CPU, 0, SCENE_STEPS, 13, 0.1);
    scene_expect(&s, 1, SPR_CPU, 0, SCENE_STEPS, 9.4, 0.1); /* short because of its guest, says an old forecast */
    scene_plan(&s);
    for (int32_t k = 0; k < scene_actions(&s); k++)
        assert_int_equal(scene_action(&s, k).because, SPR_BECAUSE_EXPECTED_WORTH); /* growing is fine, evicting not */
    scene_close(&s);
}

/* ---- promise 4: no cascade ---- */

static void a_host_short_because_of_guests_sends_them_away_and_asks_nobody(void **state) {
    (void)state;
    struct scene s = scene_open(1u << SPR_CPU);
    scene_host(&s, "home", NULL, NULL, 10);
    scene_host(&s, "target", NULL, NULL, 10);
    scene_host(&s, "free", NULL, NULL, 10);
    int32_t web = scene_vm(&s, "web", 0, 9.3);
    int32_t own = scene_vm(&s, "own", 1, 7.4);
    scene_shard(&s, 3, web, 1, 2.1, 1.0);
    scene_settle(&s);
    scene_expect(&s, 0, SPR_CPU, 0, SCENE_STEPS, 12.9, 0.1);
    scene_expect(&s, 1, SPR_CPU, 1, SCENE_STEPS, 9.4, 0.05); /* fits its 10, but not beside 3.1 of guests */
    scene_plan(&s);
    double back = scene_sum(&s, SPR_ACTION_SHRINK, 1) + scene_sum(&s, SPR_ACTION_RELEASE, 1);
    assert_true(back > 2.3 && back <= 2.5 + 0.1);
    for (int32_t k = 0; k < scene_actions(&s); k++) {
        struct spr_action a = scene_action(&s, k);
        assert_int_not_equal(a.vm, own);
        if (a.host == 1) {
            assert_int_equal(a.because, SPR_BECAUSE_CASCADE);
            assert_int_equal(a.constraint_host, 1);
            assert_int_equal(a.shard, 3);
        }
    }
    scene_close(&s);
}

static void a_host_short_of_itself_asks_only_for_that(void **state) {
    (void)state;
    struct scene s = scene_open(1u << SPR_CPU);
    scene_host(&s, "home", NULL, NULL, 10);
    scene_host(&s, "target", NULL, NULL, 10);
    scene_host(&s, "free", NULL, NULL, 10);
    int32_t web = scene_vm(&s, "web", 0, 9.3);
    int32_t own = scene_vm(&s, "own", 1, 7.4);
    scene_shard(&s, 3, web, 1, 2.7, 0);
    scene_settle(&s);
    scene_expect(&s, 0, SPR_CPU, 0, SCENE_STEPS, 12.7, 0.02);
    scene_expect(&s, 1, SPR_CPU, 1, SCENE_STEPS, 10.9, 0.05);
    scene_plan(&s);
    double asked = 0;
    for (int32_t k = 0; k < scene_actions(&s); k++) {
        struct spr_action a = scene_action(&s, k);
        asked += a.kind == SPR_ACTION_ALLOCATE && a.vm == own ? a.amounts.of[SPR_CPU] : 0;
    }
    assert_true(asked > 0.8 && asked < 1.0); /* 10.9 - 10, not 10.9 - (10 - 2.7) */
    scene_close(&s);
}

/* ---- promise 3: bounded ---- */

/* Six hosts short of capacity, six with room; what is held for nothing on others. */
static struct scene busy_fleet(spr_context *ctx) {
    struct scene s = scene_open_in(ctx, 1u << SPR_CPU);
    char id[16];
    for (int h = 0; h < 12; h++) {
        snprintf(id, sizeof id, "h%d", h);
        scene_host(&s, id, h % 3 ? "r1" : "r2", "z", 10);
    }
    for (int v = 0; v < 24; v++) {
        snprintf(id, sizeof id, "v%d", v);
        scene_vm(&s, id, v % 12, v % 12 < 6 ? 4.1 + 0.01 * v : 1.3);
    }
    for (int v = 6; v < 10; v++)
        scene_shard(&s, 100 + (uint64_t)v, v, (v + 1) % 6 + 6, 0.8, 0.1);
    return s;
}

static void settle_busy(struct scene *s) {
    scene_settle(s);
    for (int h = 0; h < 6; h++)
        scene_expect(s, h, SPR_CPU, 1, SCENE_STEPS, 12.3 + 0.1 * h, 0.4);
}

static int32_t most_for_one(const struct scene *s, bool of_vm) {
    int32_t count[24] = {0}, most = 0;
    for (int32_t k = 0; k < scene_actions(s); k++) {
        struct spr_action a = scene_action(s, k);
        int32_t *n = &count[of_vm ? a.vm : spr__fleet_vm_host(s->fleet, a.vm)];
        *n += 1;
        most = SPR_MAX(most, *n);
    }
    return most;
}

static void limits_of_actions_hold(void **state) {
    (void)state;
    spr_context *ctx = NULL;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    struct scene s = busy_fleet(spr_context_ref(ctx));
    settle_busy(&s);
    scene_plan(&s);
    int32_t free_actions = scene_actions(&s), free_host = most_for_one(&s, false);
    assert_true(free_actions >= 10 && free_host >= 1);
    scene_close(&s);

    s = busy_fleet(spr_context_ref(ctx));
    s.opts.actions_per_day = 4;
    settle_busy(&s);
    scene_plan(&s);
    assert_int_equal(scene_actions(&s), 4);
    bool told = false;
    for (int32_t k = 0; k < spr_plan_infeasible_count(s.plan); k++)
        told |= scene_wish(&s, k).because == SPR_BECAUSE_ACTION_LIMIT;
    assert_true(told);
    scene_plan(&s); /* the same day */
    assert_int_equal(scene_actions(&s), 0);
    spr_planner *p = s.planner;
    s.planner = NULL;
    struct scene next = busy_fleet(spr_context_ref(ctx));
    next.now.mono_ns += 86400 * scene_second;
    next.opts = s.opts;
    next.opts.stale_s = 1e6;
    settle_busy(&next);
    next.planner = p;
    scene_plan(&next);
    assert_int_equal(scene_actions(&next), 4);
    scene_close(&next);
    scene_close(&s);

    for (int per_vm = 0; per_vm < 2; per_vm++) {
        s = busy_fleet(spr_context_ref(ctx));
        *(per_vm ? &s.opts.actions_per_vm_day : &s.opts.actions_per_host_day) = 1;
        settle_busy(&s);
        for (int tick = 0; tick < 3; tick++) {
            scene_plan(&s);
            assert_true(most_for_one(&s, per_vm) <= 1 - (tick > 0 && !per_vm));
        }
        scene_close(&s);
    }
    spr_context_unref(ctx);
}

static void limits_of_actions_hold_for_guests_sent_away(void **state) {
    (void)state;
    struct scene s = scene_open(1u << SPR_CPU);
    scene_host(&s, "home", NULL, NULL, 10);
    scene_host(&s, "target", NULL, NULL, 10);
    int32_t a = scene_vm(&s, "a", 0, 4.9), b = scene_vm(&s, "b", 0, 4.8);
    scene_vm(&s, "own", 1, 7.4);
    scene_shard(&s, 3, a, 1, 1.2, 0);
    scene_shard(&s, 4, b, 1, 1.2, 0);
    s.opts.actions_per_day = 1;
    scene_settle(&s);
    scene_expect(&s, 0, SPR_CPU, 0, SCENE_STEPS, 12.4, 0.02);
    scene_expect(&s, 1, SPR_CPU, 1, SCENE_STEPS, 9.7, 0.02);
    scene_plan(&s);
    assert_int_equal(scene_actions(&s), 1);
    assert_int_equal(scene_action(&s, 0).because, SPR_BECAUSE_CASCADE);
    s.opts.actions_per_day = 0;
    spr_planner_destroy(s.planner);
    s.planner = NULL;
    scene_plan(&s);
    assert_int_equal(scene_actions(&s), 2);
    scene_close(&s);
}

/* ---- promise 6: every action is explained and can be undone ---- */

static void check_action(const struct scene *s, const struct spr_action *a, int32_t index) {
    static const int32_t undo[SPR_ACTION_KIND_END_] = {0, SPR_ACTION_RELEASE, SPR_ACTION_SHRINK, SPR_ACTION_GROW,
                                                       SPR_ACTION_ALLOCATE};
    assert_int_equal(a->id, index + 1);
    assert_true(a->because > SPR_BECAUSE_NONE && a->because < SPR_BECAUSE_COUNT_);
    assert_true(strcmp(spr_because_code(a->because), "unknown") != 0 && *spr_because_text(a->because));
    assert_int_equal(a->inverse, undo[a->kind]);
    assert_true(a->constraint_host >= 0 && a->threshold > 0 && isfinite(a->forecast) && isfinite(a->worth));
    assert_true(a->due_mono_ns == s->now.mono_ns && a->deadline_mono_ns > a->due_mono_ns);
    assert_int_equal(a->resource, SPR_CPU);
    if (a->kind == SPR_ACTION_ALLOCATE) {
        assert_int_equal(a->precondition, -1);
        assert_int_equal(a->shard, 0);
        return;
    }
    struct spr_shard d = {.size = sizeof d};
    int32_t at = spr_fleet_find_shard(s->fleet, a->shard);
    assert_true(at >= 0);
    assert_int_equal(spr_fleet_shard(s->fleet, at, &d), SPR_OK);
    assert_int_equal(a->precondition, d.state);
    assert_int_equal(a->host, d.host);
    assert_int_equal(a->vm, d.vm);
}

static void every_action_has_its_because_inverse_and_precondition(void **state) {
    (void)state;
    spr_context *ctx = NULL;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    struct scene s = busy_fleet(ctx);
    settle_busy(&s);
    scene_plan(&s);
    int kinds = 0;
    for (int32_t k = 0; k < scene_actions(&s); k++) {
        struct spr_action a = scene_action(&s, k);
        kinds |= 1 << a.kind;
        check_action(&s, &a, k);
    }
    assert_int_equal(kinds, 1 << SPR_ACTION_ALLOCATE | 1 << SPR_ACTION_RELEASE);
    struct spr_action none = {.size = sizeof none};
    assert_int_equal(spr_plan_action(s.plan, scene_actions(&s), &none), SPR_E_ARG);
    assert_int_equal(spr_plan_action(s.plan, -1, &none), SPR_E_ARG);
    assert_true(spr_plan_fleet(s.plan) == s.fleet);
    scene_close(&s);
}

/* ---- promise 10: the same bits for any number of threads ---- */

static void *third(void *arg) {
    void **job = arg;
    void (*fn)(void *, size_t);
    memcpy(&fn, job[0], sizeof fn);
    for (size_t i = (size_t)(uintptr_t)job[2]; i < (size_t)(uintptr_t)job[3]; i += 3)
        fn(job[1], i);
    return NULL;
}
static void three_threads(void *user, size_t n, void (*fn)(void *arg, size_t i), void *arg) {
    (void)user;
    pthread_t t[3];
    void *job[3][4];
    for (size_t k = 0; k < 3; k++) {
        job[k][0] = &fn, job[k][1] = arg, job[k][2] = (void *)(uintptr_t)k, job[k][3] = (void *)(uintptr_t)n;
        assert_int_equal(pthread_create(&t[k], NULL, third, job[k]), 0);
    }
    for (size_t k = 0; k < 3; k++)
        pthread_join(t[k], NULL);
}

static void plans_are_the_same_bits_for_any_number_of_threads(void **state) {
    (void)state;
    struct spr_executor pool = {.size = sizeof pool, .parallel_for = three_threads, .width = 3};
    struct spr_context_opts o = {.size = sizeof o, .executor = &pool};
    spr_context *one = NULL, *three = NULL;
    assert_int_equal(spr_context_create(NULL, &one), SPR_OK);
    assert_int_equal(spr_context_create(&o, &three), SPR_OK);
    struct scene x = busy_fleet(one), y = busy_fleet(three);
    settle_busy(&x);
    settle_busy(&y);
    scene_plan(&x);
    scene_plan(&y);
    assert_int_equal(scene_actions(&x), scene_actions(&y));
    for (int32_t k = 0; k < scene_actions(&x); k++) {
        struct spr_action a = scene_action(&x, k), b = scene_action(&y, k);
        assert_memory_equal(&a, &b, sizeof a);
    }
    scene_close(&x);
    scene_close(&y);
}

/* ---- a planner from elsewhere is checked ---- */

struct foreign {
    struct spr_action actions[2];
    int32_t count;
    struct spr_infeasible wish;
    int rc;
};
static int foreign_open(const struct spr_env *env, const void *config, void **state) {
    (void)env;
    *state = (void *)(uintptr_t)config;
    return SPR_OK;
}
static void foreign_close(void *state) { (void)state; }
static int foreign_plan(void *state, const struct spr_plan_input *in, const struct spr_plan_output *out) {
    const struct foreign *f = state;
    assert_true(in->opts->room == 0.9 && in->opts->lead_s == 300); /* defaults are filled in */
    for (int32_t k = 0; k < f->count; k++) {
        int rc = out->action(out->sink, &f->actions[k]);
        if (rc < 0)
            return rc;
    }
    return f->wish.size ? out->infeasible(out->sink, &f->wish) : f->rc;
}
static const struct spr_planner_ops foreign = {.size = sizeof foreign,
                                               .name = "foreign",
                                               .license = "MIT",
                                               .open = foreign_open,
                                               .close = foreign_close,
                                               .plan = foreign_plan};

static const uint32_t *unkept_of_hosts; /* of the next runs */

/* Hosts: home, other, down; VMs: web (home), private (home, never replicated); shards of web: 3 at other, 4 at third.
 */
static int run_foreign(const struct foreign *f) {
    struct scene s = scene_open(1u << SPR_CPU);
    scene_host(&s, "home", NULL, NULL, 10);
    scene_host(&s, "other", NULL, NULL, 10);
    int32_t down = scene_host(&s, "down", NULL, NULL, 10);
    scene_host(&s, "third", NULL, NULL, 10);
    scene_vm(&s, "web", 0, 4);
    struct spr_vm v = scene_vm_of(&s, "private", 0, 4);
    v.replica = SPR_REPLICA_NEVER;
    scene_add(&s, &v);
    assert_int_equal(spr_fleet_builder_host_state(s.builder, down, SPR_HOST_MAINTENANCE), SPR_OK);
    scene_shard(&s, 3, 0, 1, 2, 0);
    scene_shard(&s, 4, 0, 3, 1, 0);
    scene_settle(&s);
    s.opts.unkept = unkept_of_hosts, s.opts.unkept_count = unkept_of_hosts ? 4 : 0;
    assert_int_equal(spr_planner_create(s.ctx, &foreign, f, &s.planner), SPR_OK);
    int rc = scene_try(&s);
    struct spr_error e = {.size = sizeof e};
    if (rc < 0) {
        spr_context_error(s.ctx, &e);
        assert_int_equal(e.code, rc);
        assert_null(s.plan);
    }
    scene_close(&s);
    return rc;
}

static struct foreign one_action(int kind, int32_t vm, int32_t host, uint64_t shard, double cpu) {
    struct foreign f = {.count = 1};
    f.actions[0] =
        (struct spr_action){.size = sizeof f.actions[0], .kind = kind, .vm = vm, .host = host, .shard = shard};
    f.actions[0].amounts.of[SPR_CPU] = cpu;
    return f;
}

static void good_answers_of_a_foreign_planner_are_taken(void **state) {
    (void)state;
    const struct foreign good[] = {
        one_action(SPR_ACTION_ALLOCATE, 0, 3, 0, 7.9), one_action(SPR_ACTION_GROW, 0, 1, 3, 6.9),
        one_action(SPR_ACTION_SHRINK, 0, 1, 3, 0.3),   one_action(SPR_ACTION_RELEASE, 0, 1, 3, 0),
        one_action(SPR_ACTION_MOVE, 0, 3, 3, 2),       one_action(SPR_ACTION_PROMOTE, 0, 1, 3, 0),
    };
    for (size_t k = 0; k < SPR_ARRAY_LEN(good); k++)
        assert_int_equal(run_foreign(&good[k]), SPR_OK);
    struct foreign merge = one_action(SPR_ACTION_MERGE, 0, 1, 4, 1);
    merge.actions[0].into = 3;
    assert_int_equal(run_foreign(&merge), SPR_OK);
    const struct foreign nothing = {.rc = SPR_OK};
    assert_int_equal(run_foreign(&nothing), SPR_OK);
}

static void bad_answers_of_a_foreign_planner_are_refused(void **state) {
    (void)state;
    const struct foreign bad[] = {
        one_action(0, 0, 1, 0, 1), /* no such kind */
        one_action(SPR_ACTION_KIND_END_, 0, 1, 0, 1),
        one_action(SPR_ACTION_ALLOCATE, -1, 1, 0, 1), /* no such VM */
        one_action(SPR_ACTION_ALLOCATE, 2, 1, 0, 1),
        one_action(SPR_ACTION_ALLOCATE, 0, 4, 0, 1), /* no such host */
        one_action(SPR_ACTION_ALLOCATE, 0, -1, 0, 1),
        one_action(SPR_ACTION_ALLOCATE, 1, 1, 0, 1), /* its owner says never */
        one_action(SPR_ACTION_ALLOCATE, 0, 0, 0, 1), /* on its own host */
        one_action(SPR_ACTION_ALLOCATE, 0, 2, 0, 1), /* on a host that is not up */
        one_action(SPR_ACTION_ALLOCATE, 0, 3, 0, 0), /* of nothing */
        one_action(SPR_ACTION_ALLOCATE, 0, 3, 0, -1),
        one_action(SPR_ACTION_ALLOCATE, 0, 3, 0, NAN),
        one_action(SPR_ACTION_ALLOCATE, 0, 3, 0, INFINITY),
        one_action(SPR_ACTION_ALLOCATE, 0, 3, 0, 8.1), /* 1 is held there, 9 is the room */
        one_action(SPR_ACTION_ALLOCATE, 0, 3, 4, 1),   /* a shard that is there already */
        one_action(SPR_ACTION_GROW, 0, 1, 99, 1),      /* no such shard */
        one_action(SPR_ACTION_GROW, 0, 1, 0, 1),
        one_action(SPR_ACTION_GROW, 0, 3, 3, 1),   /* it is elsewhere */
        one_action(SPR_ACTION_GROW, 0, 1, 3, 7.1), /* beyond the room */
        one_action(SPR_ACTION_SHRINK, 1, 1, 3, 1), /* another VM's */
        one_action(SPR_ACTION_SHRINK, 0, 1, 3, -1),
        one_action(SPR_ACTION_RELEASE, 0, 1, 3, NAN),
        one_action(SPR_ACTION_MOVE, 0, 2, 3, 2),  /* to a host that is not up */
        one_action(SPR_ACTION_MERGE, 0, 1, 4, 1), /* into nothing */
    };
    for (size_t k = 0; k < SPR_ARRAY_LEN(bad); k++)
        if (run_foreign(&bad[k]) != SPR_E_STATE)
            fail_msg("bad answer %zu was not refused", k);
    struct foreign two = one_action(SPR_ACTION_ALLOCATE, 0, 3, 0, 4.1); /* each fits, both do not */
    two.actions[1] = two.actions[0];
    two.count = 2;
    assert_int_equal(run_foreign(&two), SPR_E_STATE);
    struct foreign merge = one_action(SPR_ACTION_MERGE, 0, 3, 4, 1);
    merge.actions[0].into = 4; /* into itself */
    assert_int_equal(run_foreign(&merge), SPR_E_STATE);
    struct foreign wish = {.wish = {.size = sizeof wish.wish, .vm = -1, .host = 7}};
    assert_int_equal(run_foreign(&wish), SPR_E_STATE);
}

static void nobody_plans_for_a_host_that_cannot_hold_a_shard_to_it(void **state) {
    (void)state;
    static const uint32_t third[] = {0, 0, 0, 1u << SPR_CPU};
    struct foreign to_third = one_action(SPR_ACTION_ALLOCATE, 0, 3, 0, 1),
                   away = one_action(SPR_ACTION_RELEASE, 0, 3, 4, 0);
    assert_int_equal(run_foreign(&to_third), SPR_OK);
    unkept_of_hosts = third;
    assert_int_equal(run_foreign(&to_third), SPR_E_STATE);
    assert_int_equal(run_foreign(&away), SPR_OK); /* what stands there may go */
    unkept_of_hosts = NULL;
}

static void options_and_forecasts_that_do_not_fit_are_refused(void **state) {
    (void)state;
    spr_context *ctx = NULL;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    struct scene s = busy_fleet(ctx);
    settle_busy(&s);
    const struct spr_plan_opts good = s.opts;
    struct spr_plan_opts bad[12];
    const uint32_t unkept[] = {0};
    for (size_t k = 0; k < SPR_ARRAY_LEN(bad); k++)
        bad[k] = good;
    bad[0].room = 1.1, bad[1].lead_s = -3, bad[2].control_s = NAN, bad[3].price[SPR_CPU].held = -2;
    bad[4].change_at_least = -0.5, bad[5].stale_s = -7, bad[6].shard_cost = -0.1, bad[7].actions_per_day = -1;
    bad[8].lead_s = INFINITY, bad[9].step_s = 1e11;
    bad[10].unkept_count = spr_fleet_host_count(s.fleet), bad[11].unkept = unkept, bad[11].unkept_count = 1;
    for (size_t k = 0; k < SPR_ARRAY_LEN(bad); k++) {
        s.opts = bad[k];
        if (scene_try(&s) != SPR_E_ARG)
            fail_msg("bad options %zu were not refused", k);
    }
    s.opts = good;
    spr_forecast *right = s.forecast, *wrong = NULL;
    assert_int_equal(spr__forecast_new(ctx, 3, SCENE_STEPS, SCENE_LEVELS, scene_levels, 0, &wrong), SPR_OK);
    s.forecast = wrong;
    assert_int_equal(scene_try(&s), SPR_E_ARG);
    s.forecast = NULL;
    assert_int_equal(scene_try(&s), SPR_E_ARG);
    s.forecast = right;
    right->first_step -= SCENE_STEPS; /* all of it lies in the past */
    assert_int_equal(scene_try(&s), SPR_E_ARG);
    right->first_step += SCENE_STEPS;
    assert_int_equal(spr_planner_run(s.planner, NULL, right, NULL, &s.plan), SPR_E_ARG);
    assert_int_equal(spr_planner_run(NULL, s.fleet, right, NULL, &s.plan), SPR_E_ARG);
    s.forecast = right;
    spr_forecast_unref(wrong);
    scene_plan(&s);
    scene_close(&s);
}

/* ---- memory ---- */

static int plan_once(spr_context *ctx, void *arg) {
    const spr_fleet *fleet = ((const spr_fleet **)arg)[0];
    const spr_forecast *forecast = ((const spr_forecast **)arg)[1];
    spr_planner *p = NULL;
    spr_plan *plan = NULL;
    int rc = spr_planner_create(ctx, NULL, NULL, &p);
    if (rc >= 0)
        rc = spr_planner_run(p, fleet, forecast, NULL, &plan);
    if (rc < 0)
        assert_null(plan);
    spr_plan_unref(plan);
    plan = NULL;
    if (rc >= 0) /* a planner that has run, or failed to, runs again */
        rc = spr_planner_run(p, fleet, forecast, NULL, &plan);
    spr_plan_unref(plan);
    spr_planner_destroy(p);
    return rc;
}

static void any_allocation_may_fail(void **state) {
    (void)state;
    spr_context *ctx = NULL;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    struct scene s = busy_fleet(ctx);
    settle_busy(&s);
    void *arg[] = {s.fleet, s.forecast};
    assert_true(failing_sweep(plan_once, arg) > 20);
    scene_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(old_metrics_release_nothing_and_ask_for_nothing),
        cmocka_unit_test(old_metrics_of_a_host_do_not_take_its_guests_away),
        cmocka_unit_test(a_host_short_because_of_guests_sends_them_away_and_asks_nobody),
        cmocka_unit_test(a_host_short_of_itself_asks_only_for_that),
        cmocka_unit_test(limits_of_actions_hold),
        cmocka_unit_test(limits_of_actions_hold_for_guests_sent_away),
        cmocka_unit_test(every_action_has_its_because_inverse_and_precondition),
        cmocka_unit_test(plans_are_the_same_bits_for_any_number_of_threads),
        cmocka_unit_test(good_answers_of_a_foreign_planner_are_taken),
        cmocka_unit_test(bad_answers_of_a_foreign_planner_are_refused),
        cmocka_unit_test(nobody_plans_for_a_host_that_cannot_hold_a_shard_to_it),
        cmocka_unit_test(options_and_forecasts_that_do_not_fit_are_refused),
        cmocka_unit_test(any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
