/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The control law in a closed loop with flows that live on, late and noisy measurements; and who is alive. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <shardpredict/route-steer.h>

#include "base/base.h"
#include "failing_alloc.h"

static spr_context *ctx;

static int setup(void **state) {
    (void)state;
    return spr_context_create(NULL, &ctx);
}
static int teardown(void **state) {
    (void)state;
    spr_context_unref(ctx);
    return 0;
}

/* ---- the loop ---- */

enum { SAMPLES = 400 };
enum shape { FLAT, STEP, RAMP };
struct loop {
    double life, known_life; /* flows' lifetime, and what the law is told */
    double every;            /* s between steps */
    int late;                /* steps that measurements are old */
    double noise, gain, demand;
    enum shape shape;
    bool predicts;
    double forecast; /* what is predicted, as a multiple of what comes */
};
struct result {
    double overshoot; /* most that is spilled beyond what is needed, late in the run */
    double swing;     /* peak to peak of the spill in the last third */
    int reversals;    /* turns of the spill larger than 0.1: twice the noise in the last two thirds */
    double worst,
        at_end;     /* load of the primary over its room: after the shape ended, and in the mean of the last third */
    double at_step; /* spill when the step came */
};

static double demand_at(const struct loop *l, int n) {
    double from = 0.7;
    switch (l->shape) {
    case STEP:
        return n < 60 ? from : l->demand;
    case RAMP:
        return from + (l->demand - from) * fmin(1, n / 100.0);
    default:
        return l->demand;
    }
}

static struct result run(const struct loop *l) {
    struct spr_steer_opts o = {
        .size = sizeof o, .services = 1, .gain = l->gain, .delay_s = l->late * l->every, .reserve = 1};
    struct result r = {0};
    spr_steer *s = NULL;
    double moved = 0, seen[SAMPLES], spill[SAMPLES], least = 1, most = 0, turn = 0, sum = 0;
    int direction = 0;
    assert_int_equal(spr_steer_create(ctx, &o, &s), SPR_OK);
    for (int n = 0; n < SAMPLES; n++) {
        double d = demand_at(l, n), use = d * (1 - moved);
        int ahead = SPR_MIN(n + 5, SAMPLES - 1);
        seen[n] = use * (1 + l->noise * (2 * spr__rand(4, 4, (uint64_t)n) - 1));
        struct spr_steer_in in = {.size = sizeof in,
                                  .demand = l->predicts ? l->forecast * demand_at(l, ahead) : NAN,
                                  .room = 1,
                                  .lead_s = 5 * l->every,
                                  .use = seen[SPR_MAX(0, n - l->late)],
                                  .pressure = NAN,
                                  .queue = NAN,
                                  .carry = 1,
                                  .warmness = 1,
                                  .spill_at_most = 0.9,
                                  .flow_lifetime_s = l->known_life};
        struct spr_steer_out out = {.size = sizeof out};
        assert_int_equal(spr_steer_step(s, (struct spr_time){0, (int64_t)(n * l->every * 1e9)}, &in, 1), SPR_OK);
        assert_int_equal(spr_steer_get(s, 0, &out), SPR_OK);
        assert_true(out.spill >= 0 && out.spill <= 0.9);
        spill[n] = out.spill;
        moved += (out.spill - moved) * (1 - exp(-l->every / l->life));
        if (n == 59)
            r.at_step = moved;
        if (n < SAMPLES / 3)
            continue;
        int now = spill[n] > turn + 0.1 ? 1 : spill[n] < turn - 0.1 ? -1 : 0;
        r.reversals += now && direction && now != direction;
        direction = now ? now : direction;
        turn = now || n == SAMPLES / 3 ? spill[n] : turn;
        if (n >= 2 * SAMPLES / 3) {
            least = fmin(least, spill[n]);
            most = fmax(most, spill[n]);
            sum += use;
            r.worst = fmax(r.worst, use);
            r.overshoot = fmax(r.overshoot, moved - fmax(0, 1 - 0.85 / d));
        }
    }
    r.swing = most - least;
    r.at_end = sum / (SAMPLES - (2 * SAMPLES / 3));
    spr_steer_destroy(s);
    return r;
}

static bool is_calm(const struct result *r) { return r->swing < 0.15 && r->reversals <= 3; }

static void nothing_swings_whatever_the_flows_live(void **state) {
    (void)state;
    static const double lives[] = {1, 10, 60, 300, 1200, 3600}, wrong[] = {0.33, 1, 3}, noises[] = {0, 0.05};
    int runs = 0, bad = 0;
    double swing = 0;
    for (size_t a = 0; a < SPR_ARRAY_LEN(lives); a++)
        for (size_t b = 0; b < SPR_ARRAY_LEN(wrong); b++)
            for (int late = 0; late <= 3; late++)
                for (size_t c = 0; c < SPR_ARRAY_LEN(noises); c++)
                    for (int shape = FLAT; shape <= RAMP; shape++)
                        for (int gain = 1; gain <= 4; gain++)
                            for (int predicts = 0; predicts < 2; predicts++, runs++) {
                                struct loop l = {.life = lives[a],
                                                 .known_life = lives[a] * wrong[b],
                                                 .every = 60,
                                                 .late = late,
                                                 .noise = noises[c],
                                                 .gain = gain * 0.5,
                                                 .demand = 1.6,
                                                 .shape = (enum shape)shape,
                                                 .predicts = predicts,
                                                 .forecast = 0.8 + 0.1 * gain};
                                struct result r = run(&l);
                                swing = fmax(swing, r.swing);
                                if (!is_calm(&r))
                                    print_message(
                                        "# life %g told %g late %d noise %g shape %d gain %g predicts %d: swing "
                                        "%.2f, %d turns\n",
                                        l.life, l.known_life, late, l.noise, shape, l.gain, predicts, r.swing,
                                        r.reversals);
                                bad += !is_calm(&r);
                            }
    assert_int_equal(bad, 0);
    print_message("# %d loops, largest swing of the spill at the end %.3f\n", runs, swing);
}

static void a_gain_that_is_too_high_is_found_out(void **state) {
    (void)state;
    struct loop l = {.life = 60, .known_life = 60, .every = 60, .late = 2, .gain = 30, .demand = 1.6, .shape = STEP};
    struct result r = run(&l);
    print_message("# gain 30: swing %.2f, %d turns\n", r.swing, r.reversals);
    assert_false(is_calm(&r));
}

static void the_primary_is_relieved_without_a_forecast(void **state) {
    (void)state;
    static const double lives[] = {1, 60, 300, 1200};
    for (size_t a = 0; a < SPR_ARRAY_LEN(lives); a++) {
        struct loop l = {
            .life = lives[a], .known_life = lives[a], .every = 60, .late = 1, .gain = 1, .demand = 1.6, .shape = STEP};
        struct result r = run(&l);
        print_message("# life %4.0f s: load at the end %.3f, spilled %.3f too much at most\n", lives[a], r.at_end,
                      r.overshoot);
        assert_true(r.at_end < 1.0 && r.at_end > 0.7);
        assert_true(r.overshoot < 0.2);
    }
}

static void spill_rises_before_what_is_predicted(void **state) {
    (void)state;
    struct loop l = {.life = 120,
                     .known_life = 120,
                     .every = 60,
                     .late = 1,
                     .gain = 1,
                     .demand = 1.6,
                     .shape = STEP,
                     .predicts = true,
                     .forecast = 1};
    struct result with = run(&l);
    l.predicts = false;
    struct result without = run(&l);
    assert_true(with.at_step > 0.42); /* of the 0.47 that are needed: 1 - 0.85 / 1.6 */
    assert_true(without.at_step == 0);
    assert_true(with.overshoot < 0.05);
}

/* ---- single rules ---- */

static struct spr_steer_in calm(void) {
    return (struct spr_steer_in){.size = sizeof(struct spr_steer_in),
                                 .demand = 2,
                                 .room = 1,
                                 .lead_s = 300,
                                 .use = NAN,
                                 .pressure = NAN,
                                 .queue = NAN,
                                 .carry = 1,
                                 .warmness = 1,
                                 .spill_at_most = 0.9,
                                 .flow_lifetime_s = 1};
}

static double spill_after(spr_steer *s, const struct spr_steer_in *in, double at_s) {
    struct spr_steer_out out = {.size = sizeof out};
    assert_int_equal(spr_steer_step(s, (struct spr_time){0, (int64_t)(at_s * 1e9)}, in, 1), SPR_OK);
    assert_int_equal(spr_steer_get(s, 0, &out), SPR_OK);
    return out.spill;
}

static void ramps_bounds_and_hysteresis_hold(void **state) {
    (void)state;
    struct spr_steer_opts o = {.size = sizeof o, .services = 1, .reserve = 1};
    struct spr_steer_in in = calm();
    spr_steer *s = NULL;
    assert_int_equal(spr_steer_create(ctx, &o, &s), SPR_OK);
    in.demand = 0.5;
    assert_true(spill_after(s, &in, 0) == 0);
    in.demand = 2;
    in.warmness = 0;
    assert_true(fabs(spill_after(s, &in, 1) - 0.005) < 1e-12); /* cold: a tenth of the ramp */
    in.warmness = 1;
    assert_true(fabs(spill_after(s, &in, 2) - 0.055) < 1e-12);
    assert_true(fabs(spill_after(s, &in, 60) - 0.575) < 1e-12); /* 1 - 0.85 / 2 */
    in.demand = 1.98;
    assert_true(spill_after(s, &in, 120) == 0.575); /* too little to follow */
    in.demand = 1;
    assert_true(fabs(spill_after(s, &in, 180) - (0.575 - 60 / 1800.0)) < 1e-12);
    in.carry = 0.1;
    assert_true(spill_after(s, &in, 181) == 0.1); /* what shards no longer carry comes back at once */
    in.carry = 1, in.demand = 100, in.spill_at_most = 0.3;
    assert_true(spill_after(s, &in, 400) == 0.3);
    spr_steer_reset(s, 0);
    in.spill_at_most = 0.25;
    assert_true(spill_after(s, &in, 401) == 0.25); /* the first step of a service goes there at once */
    spr_steer_destroy(s);
}

static void shards_that_are_there_are_used_unless_reserved(void **state) {
    (void)state;
    struct spr_steer_opts o = {.size = sizeof o, .services = 1};
    struct spr_steer_in in = calm();
    spr_steer *s = NULL;
    assert_int_equal(spr_steer_create(ctx, &o, &s), SPR_OK);
    in.demand = NAN;
    in.carry = 0.4;
    spill_after(s, &in, 0);
    assert_true(spill_after(s, &in, 60) == 0.4);
    spr_steer_destroy(s);
}

static void each_measurement_alone_can_ask_for_more(void **state) {
    (void)state;
    for (int which = 0; which < 3; which++) {
        struct spr_steer_opts o = {.size = sizeof o, .services = 1, .reserve = 1};
        struct spr_steer_in in = calm();
        spr_steer *s = NULL;
        assert_int_equal(spr_steer_create(ctx, &o, &s), SPR_OK);
        in.demand = NAN;
        in.flow_lifetime_s = 60;
        double *field = which == 0 ? &in.use : which == 1 ? &in.pressure : &in.queue;
        *field = which == 0 ? 0.8 : which == 1 ? 0.02 : 1;
        for (int n = 0; n < 10; n++)
            assert_true(spill_after(s, &in, n * 60) == 0);
        *field = which == 0 ? 1.2 : which == 1 ? 0.4 : 5;
        for (int n = 10; n < 15; n++)
            spill_after(s, &in, n * 60);
        assert_true(spill_after(s, &in, 960) > 0.1);
        *field = which == 0 ? 0.5 : which == 1 ? 0 : 0;
        for (int n = 17; n < 60; n++)
            spill_after(s, &in, n * 60);
        assert_true(spill_after(s, &in, 3600) < 0.03);
        spr_steer_destroy(s);
    }
}

static void bad_input_is_refused_and_changes_nothing(void **state) {
    (void)state;
    struct spr_steer_opts good = {.size = sizeof good, .services = 2}, o;
    struct spr_steer_in in[2] = {calm(), calm()};
    struct spr_steer_out out = {.size = sizeof out};
    spr_steer *s = NULL;
#define REFUSED(change) (o = good, change, assert_int_equal(spr_steer_create(ctx, &o, &s), SPR_E_ARG), assert_null(s))
    REFUSED(o.services = 0);
    REFUSED(o.target = 1.5);
    REFUSED(o.high = 0.5);
    REFUSED(o.ramp_per_s = -1);
    REFUSED(o.fall_per_s = NAN);
    REFUSED(o.hysteresis = 2);
    REFUSED(o.gain = -1);
    REFUSED(o.reserve = 2);
    assert_int_equal(spr_steer_create(NULL, &good, &s), SPR_E_ARG);
    assert_int_equal(spr_steer_create(ctx, &good, &s), SPR_OK);
#define IN_REFUSED(change)                                                                                             \
    (in[0] = in[1] = calm(), in[1].service = 1, change,                                                                \
     assert_int_equal(spr_steer_step(s, (struct spr_time){0, 1000000000}, in, 2), SPR_E_ARG))
    in[0].spill_at_most = 0.3;
    assert_int_equal(spr_steer_step(s, (struct spr_time){0, 5}, in, 1), SPR_OK);
    IN_REFUSED(in[1].service = 2);
    IN_REFUSED(in[1].carry = NAN);
    IN_REFUSED(in[1].warmness = 1.5);
    IN_REFUSED(in[1].spill_at_most = -1);
    IN_REFUSED(in[1].flow_lifetime_s = 0);
    IN_REFUSED(in[0].size = 8);
    assert_int_equal(spr_steer_get(s, 0, &out), SPR_OK);
    assert_true(out.spill == 0.3); /* the good one before it was not stepped */
    assert_int_equal(spr_steer_get(s, 2, &out), SPR_E_ARG);
    assert_int_equal(spr_steer_step(NULL, (struct spr_time){0, 5}, in, 1), SPR_E_ARG);
    spr_steer_destroy(s);
    spr_steer_destroy(NULL);
}

/* ---- health ---- */

static int probe(spr_health *h, uint64_t shard, int ok, double at_s) {
    return spr_health_report(h, 3, shard, ok, (struct spr_time){0, (int64_t)(at_s * 1e9)});
}

static void probes_in_a_row_decide(void **state) {
    (void)state;
    spr_health *h = NULL;
    assert_int_equal(spr_health_create(ctx, NULL, &h), SPR_OK);
    assert_int_equal(spr_health_alive(h, 3, 7), 1); /* never probed */
    assert_int_equal(probe(h, 7, 0, 1), 0);
    assert_int_equal(probe(h, 7, 0, 2), 0);
    assert_int_equal(probe(h, 7, 1, 3), 0); /* begins anew */
    assert_int_equal(probe(h, 7, 0, 4), 0);
    assert_int_equal(probe(h, 7, 0, 5), 0);
    assert_int_equal(spr_health_alive(h, 3, 7), 1);
    assert_int_equal(probe(h, 7, 0, 6), 1);
    assert_int_equal(spr_health_alive(h, 3, 7), 0);
    assert_int_equal(spr_health_alive(h, 3, 0), 1); /* its primary is another matter, */
    assert_int_equal(spr_health_alive(h, 4, 7), 1); /* and so is another service */
    assert_int_equal(probe(h, 7, 1, 7), 0);
    assert_int_equal(probe(h, 7, 1, 8), 1);
    assert_int_equal(spr_health_alive(h, 3, 7), 1);
    assert_int_equal(probe(h, 9, 0, 9), 0);
    spr_health_forget(h, 3, 7);
    spr_health_forget(h, 3, 7);
    assert_int_equal(probe(h, 9, 0, 10), 0);
    assert_int_equal(probe(h, 9, 0, 11), 1); /* the other one's row is still its own */
    assert_int_equal(spr_health_report(h, -1, 7, 1, (struct spr_time){0, 0}), SPR_E_ARG);
    assert_int_equal(spr_health_report(NULL, 1, 7, 1, (struct spr_time){0, 0}), SPR_E_ARG);
    spr_health_destroy(h);
    spr_health_destroy(NULL);
}

static void what_flaps_stays_dead_for_a_while(void **state) {
    (void)state;
    spr_health *h = NULL;
    struct spr_health_opts bad = {.size = sizeof bad, .rise = -1};
    assert_int_equal(spr_health_create(ctx, &bad, &h), SPR_E_ARG);
    assert_int_equal(spr_health_create(ctx, NULL, &h), SPR_OK);
    int changes = 0;
    double t = 0;
    for (int round = 0; round < 50; round++) { /* down for three probes, up for two */
        for (int k = 0; k < 5; k++)
            changes += probe(h, 7, k >= 3, t++);
        assert_true(round < 5 || !spr_health_alive(h, 3, 7));
    }
    assert_in_range(changes, 3, 9); /* not a hundred */
    for (int k = 0; k < 30; k++)
        probe(h, 7, 1, t++);
    assert_int_equal(spr_health_alive(h, 3, 7), 0); /* good probes alone are not enough yet */
    for (int k = 0; k < 600; k++)
        probe(h, 7, 1, t++);
    assert_int_equal(spr_health_alive(h, 3, 7), 1);
    spr_health_destroy(h);
}

/* ---- what reaches the routes ---- */

static spr_fleet *two_shards(spr_context *c) {
    spr_fleet_builder *b = NULL;
    spr_fleet *f = NULL;
    struct spr_host hosts[] = {{.size = sizeof hosts[0], .id = "a"}, {.size = sizeof hosts[0], .id = "b"}};
    struct spr_vm vm = {.size = sizeof vm, .id = "vm", .spillable = 0.8, .replica = SPR_REPLICA_IMAGE};
    vm.demand.of[SPR_CPU] = 10;
    int rc = spr_fleet_builder_create(c, NULL, &b);
    for (int i = 0; rc >= 0 && i < 2; i++)
        rc = spr_fleet_builder_host(b, &hosts[i], NULL);
    if (rc >= 0)
        rc = spr_fleet_builder_vm(b, &vm, NULL);
    for (uint64_t i = 1; rc >= 0 && i <= 2; i++) {
        struct spr_shard s = {.size = sizeof s, .id = i, .host = 1, .state = SPR_SHARD_SERVING, .warmness = i == 1};
        s.ready.of[SPR_CPU] = 3;
        rc = spr_fleet_builder_shard(b, &s);
    }
    if (rc < 0) {
        spr_fleet_builder_destroy(b);
        return NULL;
    }
    return spr_fleet_builder_finish(b, (struct spr_time){0, 0}, &f) < 0 ? NULL : f;
}

static void routes_carry_weights_warmth_and_the_dead(void **state) {
    (void)state;
    struct spr_steer_opts o = {.size = sizeof o, .services = 1};
    int32_t policy = SPR_DEAD_REHASH;
    struct spr_steer_in in = calm();
    spr_fleet *f = two_shards(ctx);
    spr_steer *s = NULL;
    spr_health *h = NULL;
    spr_routes *r = NULL, *next = NULL;
    struct spr_route route = {.size = sizeof route};
    struct spr_route_target t = {.size = sizeof t};
    assert_int_equal(spr_steer_create(ctx, &o, &s), SPR_OK);
    assert_int_equal(spr_health_create(ctx, NULL, &h), SPR_OK);
    in.spill_at_most = 0.42, in.room = 0;
    spill_after(s, &in, 0), spill_after(s, &in, 60);
    struct spr_routes_opts by = {.size = sizeof by, .steer = s, .health = h, .on_dead = &policy, .on_dead_count = 1};
    assert_int_equal(spr_routes_steered(ctx, f, &by, NULL, &r), SPR_OK);
    assert_int_equal(spr_routes_get(r, 0, &route), SPR_OK);
    assert_true(route.spill == 0.42 && route.ramp_per_s == 0.05 && route.on_dead == SPR_DEAD_REHASH && !route.promoted);
    assert_int_equal(spr_routes_target(r, 0, 1, &t), SPR_OK);
    assert_true(fabs(t.weight - 0.42 * 0.05 / 1.05) < 1e-12); /* cold */
    assert_int_equal(t.dead, 0);
    for (int k = 0; k < 3; k++) {
        spr_health_report(h, 0, 1, 0, (struct spr_time){0, 61000000000 + k});
        spr_health_report(h, 0, 0, 0, (struct spr_time){0, 61000000000 + k});
    }
    assert_int_equal(spr_routes_steered(ctx, f, &by, r, &next), SPR_OK);
    assert_false(spr_routes_equal(r, next));
    assert_int_equal(spr_routes_get(next, 0, &route), SPR_OK);
    assert_int_equal(route.promoted, 2); /* the primary is dead, and so is the first shard */
    assert_int_equal(spr_routes_target(next, 0, 0, &t), SPR_OK);
    assert_int_equal(t.dead, 1);
    for (int i = 0; i < SPR_ROUTE_SLOTS; i++) {
        uint16_t was = spr_routes_table(r, 0)[i], is = spr_routes_table(next, 0)[i];
        assert_int_equal(is, was == 1 ? 2 : was);
    }
    spr_routes_unref(next);
    by.on_dead_else = 9;
    next = NULL;
    assert_int_equal(spr_routes_steered(ctx, f, &by, r, &next), SPR_E_ARG);
    by.on_dead_else = 0, policy = -1;
    assert_int_equal(spr_routes_steered(ctx, f, &by, r, &next), SPR_E_ARG);
    assert_int_equal(spr_routes_steered(ctx, NULL, &by, r, &next), SPR_E_ARG);
    assert_int_equal(spr_routes_steered(NULL, f, &by, r, &next), SPR_E_ARG);
    assert_null(next);
    spr_routes_unref(r);
    spr_steer_destroy(s);
    spr_health_destroy(h);
    spr_fleet_unref(f);
}

static int make_all(spr_context *c, void *arg) {
    struct spr_steer_opts o = {.size = sizeof o, .services = 3};
    spr_steer *s = NULL;
    spr_health *h = NULL;
    spr_routes *r = NULL;
    spr_fleet *f = two_shards(c);
    (void)arg;
    int rc = f ? spr_steer_create(c, &o, &s) : SPR_E_NOMEM;
    if (rc == SPR_OK)
        rc = spr_health_create(c, NULL, &h);
    for (uint64_t k = 0; rc == SPR_OK && k < 40; k++)
        rc = spr_health_report(h, 0, k, 1, (struct spr_time){0, 0});
    struct spr_routes_opts by = {.size = sizeof by, .steer = s, .health = h};
    if (rc == SPR_OK)
        rc = spr_routes_steered(c, f, &by, NULL, &r);
    spr_routes_unref(r);
    spr_health_destroy(h);
    spr_steer_destroy(s);
    spr_fleet_unref(f);
    return rc;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    assert_true(failing_sweep(make_all, NULL) > 10);
}

#define LIFE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        LIFE(nothing_swings_whatever_the_flows_live),
        LIFE(a_gain_that_is_too_high_is_found_out),
        LIFE(the_primary_is_relieved_without_a_forecast),
        LIFE(spill_rises_before_what_is_predicted),
        LIFE(ramps_bounds_and_hysteresis_hold),
        LIFE(shards_that_are_there_are_used_unless_reserved),
        LIFE(each_measurement_alone_can_ask_for_more),
        LIFE(bad_input_is_refused_and_changes_nothing),
        LIFE(probes_in_a_row_decide),
        LIFE(what_flaps_stays_dead_for_a_while),
        LIFE(routes_carry_weights_warmth_and_the_dead),
        LIFE(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
