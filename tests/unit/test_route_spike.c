/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Jumps of load in generated traffic: how soon they are seen, how often none is seen as one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <shardpredict/route-spike.h>

#include "base/base.h"
#include "failing_alloc.h"

enum { TICK_NS = 50000000, SOURCES = 100 };

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

/* ---- traffic ---- */

struct traffic {
    uint64_t seed, dice;
    double mean;      /* new flows a tick */
    double factor;    /* of the mean, now */
    int self_similar; /* on-off sources with Pareto periods: Willinger et al. 1997 */
    int left[SOURCES], on[SOURCES];
    struct spr_route_counters c;
    int64_t tick;
};

static double roll(struct traffic *t) { return spr__rand(t->seed, 9, t->dice++); }

static uint64_t poisson(struct traffic *t, double mean) {
    uint64_t n = 0;
    for (; mean > 30; mean -= 30) /* in parts, so that exp does not vanish */
        for (double p = exp(-30.0), u = roll(t), c = 1; (c *= u) > p; u = roll(t))
            n++;
    for (double p = exp(-mean), c = roll(t); c > p; c *= roll(t))
        n++;
    return n;
}

/* Share of the sources that are on, twice: 1 in the mean. Pareto with index 1.4 from half a second on: Hurst 0.8. */
static double sources(struct traffic *t) {
    int on = 0;
    for (int k = 0; k < SOURCES; k++) {
        if (t->left[k]-- <= 0) {
            t->on[k] = t->tick ? !t->on[k] : k % 2;
            t->left[k] = (int)fmin(10 * pow(roll(t) + 1e-12, -1 / 1.4), 1e6);
        }
        on += t->on[k];
    }
    return 2.0 * on / SOURCES;
}

static void next_tick(struct traffic *t) {
    double rate = t->mean * t->factor * (t->self_similar ? sources(t) : 1);
    uint64_t flows = poisson(t, rate);
    t->tick++;
    t->c.size = sizeof t->c;
    t->c.flows += flows;
    for (uint64_t k = 0; k < flows; k++) { /* flows of a few packets, seldom of many */
        uint64_t packets = (uint64_t)fmin(4 * pow(roll(t) + 1e-9, -1 / 1.6), 2000);
        t->c.packets += packets;
        t->c.bytes += packets * 700;
    }
    t->c.waiting = poisson(t, rate / 4);
    t->c.syn_again += roll(t) < 0.02;
    t->c.answer_s = 0.01 * (1 + 0.2 * roll(t));
}

static int tick(spr_spike *s, struct traffic *t) {
    next_tick(t);
    return spr_spike_tick(s, (struct spr_time){0, t->tick * TICK_NS}, &t->c, 1);
}

static spr_spike *detector(void) {
    struct spr_spike_opts o = {.size = sizeof o, .services = 1};
    spr_spike *s = NULL;
    assert_int_equal(spr_spike_create(ctx, &o, &s), SPR_OK);
    return s;
}

/* ---- how soon ---- */

static void ticks_until_seen(double mean, int self_similar, double factor, int rounds, double *average, int *worst,
                             double *promised) {
    *average = *promised = 0;
    *worst = 0;
    for (int round = 0; round < rounds; round++) {
        struct traffic t = {.seed = 40 + (uint64_t)round, .mean = mean, .factor = 1, .self_similar = self_similar};
        struct spr_spike_ask ask = {.size = sizeof ask};
        spr_spike *s = detector();
        for (int k = 0; k < 3000; k++)
            tick(s, &t);
        assert_int_equal(spr_spike_get(s, 0, &ask), SPR_OK);
        *promised += ask.latency_s / 0.05 / rounds;
        t.factor = factor;
        int n = 1;
        while (!tick(s, &t) && n < 2000)
            n++;
        *average += (double)n / rounds;
        *worst = SPR_MAX(*worst, n);
        spr_spike_destroy(s);
    }
}

static void a_doubled_load_is_seen_within_the_bound(void **state) {
    (void)state;
    static const struct {
        double mean;
        int self_similar, bound; /* ticks, worst of all rounds */
    } rows[] = {{1, 0, 200}, {5, 0, 40}, {10, 0, 20}, {50, 0, 6}, {200, 0, 3}, {10, 1, 60}, {50, 1, 40}};
    for (size_t k = 0; k < SPR_ARRAY_LEN(rows); k++) {
        double average, promised;
        int worst;
        ticks_until_seen(rows[k].mean, rows[k].self_similar, 2, 20, &average, &worst, &promised);
        print_message("# %s %3.0f flows a tick: twice the load seen after %.1f ticks, at worst %d; said %.1f\n",
                      rows[k].self_similar ? "self-similar" : "independent ", rows[k].mean, average, worst, promised);
        assert_true(worst <= rows[k].bound);
        assert_true(average <= 1.5 * promised + 1);
    }
}

/* ---- how often wrongly ---- */

static void days_without_a_jump_raise_next_to_nothing(void **state) {
    (void)state;
    static const struct {
        double mean;
        int self_similar, hours, allowed;
    } rows[] = {{1, 0, 24, 0}, {10, 0, 24, 0}, {40, 0, 6, 0}, {10, 1, 24, 1}, {40, 1, 6, 1}};
    for (size_t k = 0; k < SPR_ARRAY_LEN(rows); k++) {
        struct traffic t = {.seed = 7, .mean = rows[k].mean, .factor = 1, .self_similar = rows[k].self_similar};
        spr_spike *s = detector();
        int alarms = 0, was = 0, by[SPR_SPIKE_SIGNALS] = {0};
        for (int n = 0; n < rows[k].hours * 72000; n++) {
            int is = tick(s, &t);
            if (is && !was) {
                struct spr_spike_ask ask = {.size = sizeof ask};
                spr_spike_get(s, 0, &ask);
                by[ask.signal]++;
                alarms++;
            }
            was = is;
        }
        print_message(
            "# %s %3.0f flows a tick, %d hours: %d false (%d flows, %d packets, %d bytes, %d waiting, %d again, "
            "%d answer)\n",
            rows[k].self_similar ? "self-similar" : "independent ", rows[k].mean, rows[k].hours, alarms, by[0], by[1],
            by[2], by[3], by[4], by[5]);
        assert_true(alarms <= rows[k].allowed);
        spr_spike_destroy(s);
    }
}

/* A day's rise is no jump: five times the load within an hour. */
static void a_slow_rise_is_followed(void **state) {
    (void)state;
    struct traffic t = {.seed = 3, .mean = 10, .factor = 1};
    spr_spike *s = detector();
    for (int n = 0; n < 72000; n++) {
        t.factor = 1 + 4.0 * n / 72000;
        assert_int_equal(tick(s, &t), 0);
    }
    spr_spike_destroy(s);
}

/* ---- what is asked ---- */

static void the_ratio_says_how_much_more_must_spill(void **state) {
    (void)state;
    struct traffic t = {.seed = 5, .mean = 50, .factor = 1};
    struct spr_spike_ask ask = {.size = sizeof ask};
    spr_spike *s = detector();
    for (int n = 0; n < 3000; n++)
        tick(s, &t);
    assert_int_equal(spr_spike_get(s, 0, &ask), SPR_OK);
    assert_int_equal(ask.raised, 0);
    assert_true(ask.ratio == 1);
    t.factor = 3;
    for (int n = 0; n < 60; n++)
        tick(s, &t);
    assert_int_equal(spr_spike_get(s, 0, &ask), SPR_OK);
    assert_int_equal(ask.raised, 1);
    assert_true(ask.ratio > 2.3 && ask.ratio < 4.5);
    assert_true(ask.since_mono_ns > 3000 * (int64_t)TICK_NS && ask.since_mono_ns <= 3010 * (int64_t)TICK_NS);
    /* 20 % spilled before; the primary keeps 0.8 of the old load if 1 - 0.8 / 3 spill */
    assert_true(fabs(spr_spike_spill(0.2, 1, 3) - (1 - 0.8 / 3)) < 1e-12);
    assert_true(spr_spike_spill(0.2, 0.5, 3) == 0.5);
    assert_true(spr_spike_spill(0.6, 0.5, 3) == 0.6); /* never less than before */
    assert_true(spr_spike_spill(0.2, 1, 1) == 0.2);
    t.factor = 1;
    for (int n = 0; n < 60; n++)
        tick(s, &t);
    assert_int_equal(spr_spike_get(s, 0, &ask), SPR_OK);
    assert_int_equal(ask.raised, 0);
    spr_spike_destroy(s);
}

static void what_stays_becomes_the_level(void **state) {
    (void)state;
    struct traffic t = {.seed = 6, .mean = 50, .factor = 1};
    spr_spike *s = detector();
    for (int n = 0; n < 3000; n++)
        tick(s, &t);
    t.factor = 3;
    int raised = 0, later = 0;
    for (int n = 0; n < 2400; n++) {
        raised += tick(s, &t);
        later += n > 1300 && spr_spike_tick(s, (struct spr_time){0, t.tick * TICK_NS + 1}, &t.c, 0) > 0;
    }
    assert_in_range(raised, 1150, 1230); /* hold_s, once */
    assert_int_equal(later, 0);
    spr_spike_destroy(s);
}

static void a_server_that_falls_behind_is_seen_without_more_load(void **state) {
    (void)state;
    struct traffic t = {.seed = 8, .mean = 20, .factor = 1};
    struct spr_spike_ask ask = {.size = sizeof ask};
    spr_spike *s = detector();
    for (int n = 0; n < 3000; n++)
        tick(s, &t);
    int n = 0;
    for (uint64_t waiting = 5; !ask.raised && n < 100; n++, waiting += 5) {
        next_tick(&t);
        t.c.waiting = waiting; /* grows as nobody answers */
        t.c.answer_s = NAN;
        spr_spike_tick(s, (struct spr_time){0, t.tick * TICK_NS}, &t.c, 1);
        spr_spike_get(s, 0, &ask);
    }
    assert_true(n <= 12);
    assert_int_equal(ask.signal, SPR_SPIKE_WAITING);
    assert_true(ask.ratio >= 2);
    spr_spike_destroy(s);
}

static void late_ticks_restarts_and_one_glitch_raise_nothing(void **state) {
    (void)state;
    struct traffic t = {.seed = 9, .mean = 50, .factor = 1};
    spr_spike *s = detector();
    for (int n = 0; n < 3000; n++)
        tick(s, &t);
    for (int round = 0; round < 50; round++) {
        for (int n = 0; n < 5; n++) /* the poller slept: five ticks at once */
            next_tick(&t);
        assert_int_equal(spr_spike_tick(s, (struct spr_time){0, t.tick * TICK_NS}, &t.c, 1), 0);
    }
    t.c.flows += 100000; /* one tick of nonsense */
    assert_int_equal(tick(s, &t), 0);
    t.c.flows = 0; /* the router began anew */
    assert_int_equal(tick(s, &t), 0);
    for (int n = 0; n < 1000; n++)
        assert_int_equal(tick(s, &t), 0);
    spr_spike_destroy(s);
}

static void bad_input_is_refused(void **state) {
    (void)state;
    struct spr_spike_opts good = {.size = sizeof good, .services = 2}, o;
    struct spr_route_counters c = {.size = sizeof c};
    struct spr_spike_ask ask = {.size = sizeof ask};
    spr_spike *s = NULL;
#define REFUSED(change) (o = good, change, assert_int_equal(spr_spike_create(ctx, &o, &s), SPR_E_ARG), assert_null(s))
    REFUSED(o.services = 0);
    REFUSED(o.tick_s = -1);
    REFUSED(o.ratio = 1);
    REFUSED(o.ratio = NAN);
    REFUSED(o.false_per_day = -1);
    REFUSED(o.learn_s = 0.001);
    REFUSED(o.hold_s = -1);
    REFUSED(o.reserved = 1);
    assert_int_equal(spr_spike_create(NULL, &good, &s), SPR_E_ARG);
    assert_int_equal(spr_spike_create(ctx, &good, NULL), SPR_E_ARG);
    assert_int_equal(spr_spike_create(ctx, &good, &s), SPR_OK);
    assert_int_equal(spr_spike_tick(s, (struct spr_time){0, 5}, &c, 3), SPR_E_ARG);
    assert_int_equal(spr_spike_tick(s, (struct spr_time){0, 5}, NULL, 1), SPR_E_ARG);
    assert_int_equal(spr_spike_tick(s, (struct spr_time){0, 5}, &c, 1), 0);
    assert_int_equal(spr_spike_tick(s, (struct spr_time){0, 5}, &c, 1), SPR_E_ARG); /* time stands still */
    assert_int_equal(spr_spike_tick(NULL, (struct spr_time){0, 6}, &c, 1), SPR_E_ARG);
    assert_int_equal(spr_spike_get(s, 2, &ask), SPR_E_ARG);
    assert_int_equal(spr_spike_get(s, -1, &ask), SPR_E_ARG);
    assert_int_equal(spr_spike_get(s, 0, NULL), SPR_E_ARG);
    assert_int_equal(spr_spike_get(s, 0, &ask), SPR_OK);
    assert_true(isnan(ask.latency_s));
    spr_spike_destroy(s);
    spr_spike_destroy(NULL);
}

static int make_one(spr_context *c, void *arg) {
    struct spr_spike_opts o = {.size = sizeof o, .services = 100};
    spr_spike *s = NULL;
    (void)arg;
    int rc = spr_spike_create(c, &o, &s);
    spr_spike_destroy(s);
    return rc;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    assert_true(failing_sweep(make_one, NULL) >= 2);
}

#define LIFE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        LIFE(a_doubled_load_is_seen_within_the_bound),
        LIFE(days_without_a_jump_raise_next_to_nothing),
        LIFE(a_slow_rise_is_followed),
        LIFE(the_ratio_says_how_much_more_must_spill),
        LIFE(what_stays_becomes_the_level),
        LIFE(a_server_that_falls_behind_is_seen_without_more_load),
        LIFE(late_ticks_restarts_and_one_glitch_raise_nothing),
        LIFE(bad_input_is_refused),
        LIFE(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
