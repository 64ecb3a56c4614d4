/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Jumps of load, seen by a CUSUM (Page 1954; for counts Lucas 1985) of the log-likelihood ratio of "ratio times the
 * level" against "the level", divided by the measured dispersion (quasi-likelihood, Wedderburn 1974), so that bursty
 * and self-similar traffic needs more evidence. A CUSUM of likelihood ratios at threshold ln(gamma) runs at least gamma
 * ticks between false alarms (Lorden 1971): that is where the threshold comes from. doc/algorithms/spike.md.
 */
#include "route/route.h"

#include <shardpredict/route-spike.h>

#define SCALES 3   /* dispersion is measured over 1, 4 and 16 ticks; the largest counts */
#define LEARN  200 /* ticks without alarms at the beginning */
#define FAST   0.2 /* gain of the level now, while an alarm is on */
#define SPREAD 5   /* dispersion is learnt so many times slower than the level */
/* Of the threshold: the most that one tick can say. One tick alone never raises, and of signals with long tails (one
 * flow may bring thousands of packets at once) it takes eight. */
static const double glitch[SPR_SPIKE_SIGNALS] = {0.5, 0.125, 0.125, 0.25, 0.25, 0.125};
#define LATE_TICKS 20 /* after a longer pause the tick says nothing */

struct signal {
    double level;          /* learnt mean a tick */
    double now;            /* the same over the last ticks */
    double cusum;          /* evidence */
    double block[SCALES];  /* sums over 1, 4, 16 ticks */
    double spread[SCALES]; /* mean of (sum - expected)^2 / expected */
    int64_t seen;          /* ticks */
    int64_t blocks[SCALES];
};

struct watch {
    struct signal signal[SPR_SPIKE_SIGNALS];
    uint64_t last[SPR_SPIKE_SIGNALS]; /* counters at the tick before */
    int64_t since;
    int32_t vm, raised, by;
    bool known;
};

struct spr_spike {
    spr_context *ctx;
    struct spr_spike_opts opts;
    double threshold, gain, log_ratio;
    int64_t before; /* mono ns of the tick before; INT64_MIN = none */
    struct watch *watch;
};

/* ---- making ---- */

static bool within(double x, double least, double most) { return x >= least && x <= most; }

int spr_spike_create(spr_context *ctx, const struct spr_spike_opts *opts, spr_spike **out) {
    struct spr_spike_opts o;
    if (!ctx || !out)
        return SPR_E_ARG;
    int rc = spr__opts_copy(ctx, "spr_spike_opts", opts, &o, sizeof o);
    if (rc < 0)
        return rc;
    o.tick_s = o.tick_s == 0 ? 0.05 : o.tick_s;
    o.ratio = o.ratio == 0 ? 2 : o.ratio;
    o.false_per_day = o.false_per_day == 0 ? 0.01 : o.false_per_day;
    o.learn_s = o.learn_s == 0 ? 60 : o.learn_s;
    o.hold_s = o.hold_s == 0 ? 60 : o.hold_s;
    if (!within(o.tick_s, 1e-4, 60) || !within(o.ratio, 1.1, 100) || !within(o.false_per_day, 1e-9, 1e6) ||
        !within(o.learn_s, o.tick_s, 1e6) || !within(o.hold_s, o.tick_s, 1e6) || o.services < 1 || o.reserved)
        return spr__fail(ctx, SPR_E_ARG,
                         "spr_spike_opts: tick_s, ratio, false_per_day, learn_s, hold_s or services is out of range");
    spr_spike *s = spr__alloc(ctx, 1, sizeof *s);
    struct watch *watch = s ? spr__alloc(ctx, (size_t)o.services, sizeof *watch) : NULL;
    if (!watch) {
        spr__free(ctx, s, 1, sizeof *s);
        return spr__nomem(ctx);
    }
    s->ctx = spr_context_ref(ctx);
    s->opts = o;
    s->watch = watch;
    s->before = INT64_MIN;
    s->gain = o.tick_s / o.learn_s;
    s->log_ratio = log(o.ratio);
    s->threshold = fmax(1, log(SPR_SPIKE_SIGNALS * 86400 / o.tick_s / o.false_per_day));
    *out = s;
    return SPR_OK;
}

void spr_spike_destroy(spr_spike *s) {
    if (!s)
        return;
    spr_context *ctx = s->ctx;
    spr__free(ctx, s->watch, (size_t)s->opts.services, sizeof *s->watch);
    spr__free(ctx, s, 1, sizeof *s);
    spr_context_unref(ctx);
}

/* ---- one signal ---- */

static bool is_count(int k) { return k != SPR_SPIKE_BYTES && k != SPR_SPIKE_ANSWER; }

/* Evidence of one unit is 1 / this. Counts are at least as dispersed as independent arrivals. */
static double dispersion(const struct signal *g, bool counts) {
    double most = counts ? 1 : 0.01 * g->level;
    for (int k = 0; k < SCALES; k++)
        most = fmax(most, g->spread[k]);
    return most;
}

static void learn(struct signal *g, double x, double gain) {
    double a = fmax(gain, 1.0 / (double)(g->seen + 1));
    for (int k = 0, ticks = 1; k < SCALES; k++, ticks *= 4) {
        g->block[k] += x;
        if ((g->seen + 1) % ticks)
            continue;
        double expected = ticks * g->level, off = g->block[k] - expected;
        /* Before there is a level there is nothing to be off from. */
        if (g->seen >= LEARN / 4 && expected > 0) {
            double slow = fmax(gain * ticks / SPREAD, 1.0 / (double)++g->blocks[k]);
            g->spread[k] += slow * (off * off / expected - g->spread[k]);
        }
        g->block[k] = 0;
    }
    g->level += a * (x - g->level);
    g->seen++;
}

/* @return whether the evidence is enough */
static bool look(const spr_spike *s, struct signal *g, int k, double x, double least) {
    if (isnan(x))
        return false;
    g->now += FAST * (x - g->now);
    double level = fmax(g->level, least);
    if (g->seen >= LEARN && level > 0) {
        double says = (x * s->log_ratio - level * (s->opts.ratio - 1)) / dispersion(g, is_count(k));
        g->cusum = fmax(0, g->cusum + fmin(says, glitch[k] * s->threshold));
    }
    if (g->cusum < s->threshold / 2) /* what may be a jump is not learnt as the level */
        learn(g, x, s->gain);
    return g->cusum >= s->threshold;
}

/* ---- one service ---- */

static void read_counters(const struct spr_route_counters *c, uint64_t *v) {
    v[SPR_SPIKE_FLOWS] = c->flows;
    v[SPR_SPIKE_PACKETS] = c->packets;
    v[SPR_SPIKE_BYTES] = c->bytes;
    v[SPR_SPIKE_SYN_AGAIN] = c->syn_again;
    v[SPR_SPIKE_WAITING] = v[SPR_SPIKE_ANSWER] = 0; /* no counters */
}

static void settle(struct watch *w) {
    w->raised = 0;
    w->since = 0;
    for (int k = 0; k < SPR_SPIKE_SIGNALS; k++) {
        w->signal[k].cusum = 0;
        memset(w->signal[k].block, 0, sizeof w->signal[k].block);
        w->signal[k].seen = (w->signal[k].seen + 15) / 16 * 16; /* blocks begin anew */
    }
}

static double ratio_of(const spr_spike *s, const struct watch *w) {
    if (!w->raised)
        return 1;
    double most = 1;
    for (int k = SPR_SPIKE_FLOWS; k <= SPR_SPIKE_BYTES; k++)
        if (w->signal[k].level > 0)
            most = fmax(most, w->signal[k].now / w->signal[k].level);
    /* A server that falls behind at the same load says that less is wanted, not how much. */
    return w->by > SPR_SPIKE_BYTES ? fmax(most, s->opts.ratio) : most;
}

/* Over when the signal is back (a quarter of the way), or has stayed so long that it is the level. */
static void maybe_over(const spr_spike *s, struct watch *w, int64_t now) {
    struct signal *g = &w->signal[w->by];
    bool back = g->now < g->level * (1 + (s->opts.ratio - 1) / 4);
    bool stays = (double)(now - w->since) * 1e-9 >= s->opts.hold_s;
    if (!back && !stays)
        return;
    for (int k = 0; k < SPR_SPIKE_SIGNALS && stays; k++)
        if (w->signal[k].seen >= LEARN)
            w->signal[k].level = w->signal[k].now;
    settle(w);
}

static void watch(const spr_spike *s, struct watch *w, const struct spr_route_counters *c, double ticks, int64_t now) {
    uint64_t v[SPR_SPIKE_SIGNALS];
    double x[SPR_SPIKE_SIGNALS];
    bool anew = !w->known || w->vm != c->vm;
    read_counters(c, v);
    for (int k = 0; k < SPR_SPIKE_SIGNALS; k++)
        anew |= v[k] < w->last[k];
    if (anew)
        memset(w, 0, sizeof *w);
    for (int k = 0; k < SPR_SPIKE_SIGNALS; k++)
        x[k] = (double)(v[k] - w->last[k]) / ticks;
    memcpy(w->last, v, sizeof v);
    w->vm = c->vm;
    w->known = true;
    if (anew || !(ticks <= LATE_TICKS))
        return;
    x[SPR_SPIKE_WAITING] = (double)c->waiting;
    x[SPR_SPIKE_ANSWER] = c->answer_s;
    for (int k = 0; k < SPR_SPIKE_SIGNALS; k++) {
        /* SYNs come again now and then: one in fifty is nothing. A backlog of a handful is nothing either. */
        double least = k == SPR_SPIKE_SYN_AGAIN ? fmax(0.1, 0.02 * w->signal[SPR_SPIKE_FLOWS].level)
                       : k == SPR_SPIKE_WAITING ? 4
                                                : 0;
        if (look(s, &w->signal[k], k, x[k], least) && !w->raised) {
            w->raised = 1;
            w->by = k;
            w->since = now;
        }
    }
    if (w->raised)
        maybe_over(s, w, now);
}

/* ---- all of them ---- */

int spr_spike_tick(spr_spike *s, struct spr_time now, const struct spr_route_counters *counters, size_t count) {
    int raised = 0;
    if (!s || count > (size_t)s->opts.services || (count && (!counters || counters->size < sizeof *counters)))
        return SPR_E_ARG;
    if (s->before != INT64_MIN && now.mono_ns <= s->before)
        return SPR_E_ARG;
    double ticks = s->before == INT64_MIN ? INFINITY : (double)(now.mono_ns - s->before) * 1e-9 / s->opts.tick_s;
    s->before = now.mono_ns;
    for (size_t i = 0; i < count; i++) {
        const char *row = (const char *)counters + i * counters->size;
        watch(s, &s->watch[i], (const struct spr_route_counters *)row, ticks, now.mono_ns);
        raised += s->watch[i].raised;
    }
    return raised;
}

int spr_spike_get(const spr_spike *s, int32_t index, struct spr_spike_ask *out) {
    if (!s || !out || index < 0 || index >= s->opts.services)
        return SPR_E_ARG;
    const struct watch *w = &s->watch[index];
    const struct signal *g = &w->signal[SPR_SPIKE_FLOWS];
    double r = s->opts.ratio, per_tick = g->level * (r * s->log_ratio - (r - 1)) / dispersion(g, true);
    struct spr_spike_ask ask = {.size = sizeof ask,
                                .raised = w->raised,
                                .signal = w->by,
                                .ratio = ratio_of(s, w),
                                .since_mono_ns = w->since,
                                .latency_s = NAN};
    if (g->seen >= LEARN && per_tick > 0)
        ask.latency_s = fmax(1 / glitch[SPR_SPIKE_FLOWS], s->threshold / per_tick) * s->opts.tick_s;
    return spr__out_copy(out, &ask, sizeof ask);
}

double spr_spike_spill(double spill, double at_most, double ratio) {
    double wanted = ratio > 1 ? 1 - (1 - spill) / ratio : spill;
    return fmax(spill, fmin(wanted, at_most));
}
