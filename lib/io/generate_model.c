/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How a VM of each kind behaves, step by step. Ranges: doc/generator.md. */
#include <stdbool.h>

#include "generate.h"

/* ---- numbers: splitmix64 over (key, counter); no libm, so that no CPU's own sine changes a byte ---- */

static uint64_t mix64(uint64_t z) {
    z += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

uint64_t gen_key(uint64_t seed, uint64_t stream) { return mix64(seed ^ mix64(stream)); }

double gen_uniform(uint64_t key, uint64_t counter) { return (double)(mix64(key + counter) >> 11) * 0x1p-53; }

static double between(uint64_t key, uint64_t counter, double low, double high) {
    return low + (high - low) * gen_uniform(key, counter);
}

/* Sum of four 16-bit uniforms: mean 0, sd 1, tails cut at 3.46. */
static double bell(uint64_t bits) {
    int64_t sum = (int64_t)(bits & 0xffff) + (int64_t)(bits >> 16 & 0xffff) + (int64_t)(bits >> 32 & 0xffff) +
                  (int64_t)(bits >> 48);
    return ((double)sum - 131070.0) / 37837.2271;
}

/* (1 + cos(2 pi x)) / 2 for x in [0, 1): Taylor in the quarter wave. */
static double hump(double x) {
    double y = x < 0.5 ? x : 1.0 - x; /* [0, 0.5], symmetric */
    bool far = y > 0.25;
    double a = (far ? 0.5 - y : y) * 6.283185307179586, q = a * a;
    double c = 1.0 - q / 2 * (1.0 - q / 12 * (1.0 - q / 30 * (1.0 - q / 56 * (1.0 - q / 90))));
    return far ? 0.5 - 0.5 * c : 0.5 + 0.5 * c;
}

/* x^n with n between whole numbers by straight lines: cheap, and a shape is a shape. */
static double power(double x, double n) {
    double p = 1.0;
    while (n >= 1.0) {
        p *= x;
        n -= 1.0;
    }
    return p * (1.0 - n + n * x);
}

static double root(double x) { /* Newton: the same bits with or without a square root instruction */
    double r = x > 1.0 ? x : 1.0;
    for (int i = 0; i < 40; i++)
        r = 0.5 * (r + x / r);
    return r;
}

/* ---- groups ---- */

void gen_group_init(struct gen_group *g, uint64_t seed, int index) {
    *g = (struct gen_group){.key = gen_key(seed, 0x67000000u + (uint64_t)index)};
    g->rate = between(g->key, 1, 0.4, 1.2) / GEN_STEPS_PER_DAY;
    g->steps = between(g->key, 2, 6, 24);
}

void gen_group_step(struct gen_group *g, int64_t step) {
    if (g->cooling > 0)
        g->cooling--;
    else if (gen_uniform(g->key, 1000 + (uint64_t)step) < g->rate) {
        g->serial++;
        g->cooling = 36;
    }
}

/* ---- a VM's constants ---- */

const char *gen_class(int kind) {
    switch (kind) {
    case GEN_STEADY:
        return "steady-state";
    case GEN_BURST:
    case GEN_BURST_JOINT:
        return "event-driven-burst";
    case GEN_CHAOTIC:
        return "chaotic";
    default:
        return "diurnal-spike";
    }
}

static void init_size(struct gen_vm *v) {
    double u = gen_uniform(v->key, 1);
    v->cores = u < 0.25 ? 1 : u < 0.55 ? 2 : u < 0.80 ? 4 : u < 0.95 ? 8 : 16;
}

/* Large VMs are used less: the share falls with the fourth root of the size. */
static double used(const struct gen_vm *v, uint64_t counter, double low, double high) {
    return between(v->key, counter, low, high) * v->cores / root(root(v->cores));
}

static void init_season(struct gen_vm *v) {
    static const double cycles_h[] = {12, 8, 17.3, 5.21, 36.7, 3.07, 9.43, 28.9};
    static const double jobs_h[] = {24, 24, 24, 12, 8, 6};
    static const double job_starts_h[] = {2, 3.5, 22, 13};
    uint64_t k = v->key;
    double u = gen_uniform(k, 10), start;
    v->swing = used(v, 11, 0.25, 0.65);
    v->drift = between(k, 12, -0.006, 0.010);
    switch (v->kind) {
    case GEN_DAILY: /* three in four peak in the afternoon, the rest anywhere */
        v->period_s = 86400;
        start = gen_uniform(k, 13) < 0.75 ? between(k, 14, 11.5, 16.5) : between(k, 14, 0, 24);
        v->phase = start / 24;
        v->sharp = between(k, 15, 1, 4);
        v->weekend_off = gen_uniform(k, 16) < 0.5;
        v->weekend = between(k, 17, 0.3, 0.8);
        break;
    case GEN_CYCLE:
        v->period_s = 3600 * cycles_h[(int)(u * 8)];
        v->phase = gen_uniform(k, 13);
        v->sharp = between(k, 15, 1, 3);
        break;
    case GEN_JOB: /* jobs of many VMs begin at the same few times */
        v->period_s = 3600 * jobs_h[(int)(u * 6)];
        start = job_starts_h[(int)(gen_uniform(k, 13) * 4)] * 3600;
        v->phase = start / v->period_s;
        v->sharp = between(k, 15, 2400, 7200) / v->period_s;
        v->swing = used(v, 11, 0.45, 1.0);
        break;
    default: /* GEN_WEEKLY */
        v->period_s = 604800;
        v->phase = gen_uniform(k, 13);
        v->sharp = between(k, 15, 0.10, 0.30);
        break;
    }
    v->phase -= (int64_t)v->phase;
}

static void init_behaviour(struct gen_vm *v) {
    uint64_t k = v->key;
    v->noise = between(k, 20, 0.03, 0.10);
    v->memory_of_noise = between(k, 21, 0, 0.7);
    switch (v->kind) {
    case GEN_STEADY:
        v->level = used(v, 22, 0.15, 0.45);
        break;
    case GEN_BURST:
    case GEN_BURST_JOINT:
        v->level = used(v, 22, 0.06, 0.15);
        v->group = (int)(gen_uniform(k, 23) * GEN_GROUPS);
        v->event_rate = between(k, 24, 0.3, 2.5) / GEN_STEPS_PER_DAY;
        v->event_steps = between(k, 25, 3, 24);
        v->event_low = 0.40, v->event_high = 1.0;
        break;
    case GEN_CHAOTIC:
        v->level = used(v, 22, 0.7, 1.2);
        v->event_rate = between(k, 24, 0.1, 0.33); /* of a new aim */
        v->noise = between(k, 20, 0.10, 0.30);
        v->memory_of_noise = 0;
        break;
    default:
        v->level = used(v, 22, 0.08, 0.22);
        init_season(v);
        break;
    }
}

/* What a VM uses on average, roughly: memory, traffic and disk are sized by it. */
static double usual_load(const struct gen_vm *v) {
    switch (v->kind) {
    case GEN_CHAOTIC:
        return v->level / 3;
    case GEN_DAILY:
    case GEN_CYCLE:
        return v->level + v->swing * 0.4;
    case GEN_JOB:
    case GEN_WEEKLY:
        return v->level + v->swing * v->sharp;
    default:
        return v->level;
    }
}

static void init_companions(struct gen_vm *v) {
    const double gib = 1073741824.0, mib = 1048576.0;
    uint64_t k = v->key;
    double load = usual_load(v), size = v->cores * gib, top;
    v->mem_base = gib * (0.2 + load * between(k, 30, 0.8, 1.4));
    v->mem_per_core = gib * between(k, 31, 1.6, 2.4);
    v->mem_up = 1.0 / between(k, 32, 3, 12);
    v->mem_down = v->mem_up / 4;
    v->tx_per_core = 1e6 * between(k, 33, 28, 40);
    v->rx_share = between(k, 34, 0.28, 0.38);
    v->write_per_core = mib * between(k, 35, 1.1, 1.6);
    v->read_per_core = mib * between(k, 36, 0.6, 0.9) * (v->kind == GEN_JOB ? 3 : 1);
    for (top = v->mem_base + v->mem_per_core * v->cores; size < top * 1.1;)
        size *= 2;
    v->memory = size;
    v->mem = v->mem_base + v->mem_per_core * load;
    v->replica = gen_uniform(k, 37) < 0.5;
    v->spillable = (double)(int)between(k, 38, 12, 20) * 0.05;
}

void gen_vm_init(struct gen_vm *v, uint64_t seed, int64_t index, int kind) {
    *v = (struct gen_vm){.kind = kind, .key = gen_key(seed, (uint64_t)index + 1)};
    init_size(v);
    init_behaviour(v);
    init_companions(v);
}

/* ---- one step ---- */

/* Height of a plateau that begins at x = 0 and lasts `share` of the period, with ramps of two steps. */
static double plateau(double x, double share, double step_share) {
    double up = x / (2 * step_share), down = (share - x) / (2 * step_share);
    double h = up < down ? up : down;
    return h < 0 ? 0 : h > 1 ? 1 : h;
}

static double season(const struct gen_vm *v, int64_t step) {
    double t = (double)(step * GEN_STEP_S), x = t / v->period_s - v->phase;
    x -= (double)(int64_t)x;
    if (x < 0)
        x += 1.0;
    double h = v->kind == GEN_DAILY || v->kind == GEN_CYCLE ? power(hump(x), v->sharp)
                                                            : plateau(x, v->sharp, GEN_STEP_S / v->period_s);
    if (v->weekend_off) {
        int64_t weekday = (step / GEN_STEPS_PER_DAY + 3) % 7; /* second 0 is a Thursday */
        if (weekday >= 5)
            h *= v->weekend;
    }
    return v->swing * h * (1.0 + v->drift * (t / 86400));
}

/* Whether an event begins now, and which. */
static void maybe_begin(struct gen_vm *v, const struct gen_group *groups, uint64_t c) {
    struct gen_event *e = &v->event;
    double mean;
    uint64_t k = v->key ^ UINT64_C(0x5555555555555555);
    if (v->kind == GEN_BURST_JOINT) {
        const struct gen_group *g = &groups[v->group];
        if (v->group_seen == g->serial)
            return;
        v->group_seen = g->serial;
        if (e->left || gen_uniform(k, 4 * c) > 0.85) /* not everybody answers */
            return;
        e->waits = (int32_t)(gen_uniform(k, 4 * c + 1) * 3);
        mean = g->steps;
    } else if (e->left || gen_uniform(k, 4 * c) >= v->event_rate) {
        return;
    } else {
        mean = v->event_steps;
    }
    e->left = (int32_t)(mean * between(k, 4 * c + 2, 0.4, 1.8)) + 2;
    e->height = v->cores * between(k, 4 * c + 3, v->event_low, v->event_high);
}

static double excursion(struct gen_vm *v, const struct gen_group *groups, uint64_t c) {
    struct gen_event *e = &v->event;
    maybe_begin(v, groups, c);
    if (e->waits > 0) {
        e->waits--;
    } else if (e->left > 0) {
        e->left--;
        e->now += (e->height - e->now) * 0.7;
    } else {
        e->now *= 0.35;
    }
    return e->now;
}

static double chaos(struct gen_vm *v, uint64_t c) {
    uint64_t k = v->key ^ UINT64_C(0xAAAAAAAAAAAAAAAA);
    if (c == 0 || gen_uniform(k, 2 * c) < v->event_rate) {
        double u = gen_uniform(k, 2 * c + 1);
        v->target = v->level * (0.04 + 0.96 * u * u);
    }
    v->walk += (v->target - v->walk) * 0.8;
    return v->walk;
}

struct gen_sample gen_vm_step(struct gen_vm *v, const struct gen_group *groups, int64_t step) {
    uint64_t c = (uint64_t)step, bits = mix64(v->key + 4096 + 2 * c), more = mix64(v->key + 4097 + 2 * c);
    double a = v->memory_of_noise, load;
    /* sqrt(1 - a^2) within 1 % up to 0.7: the noise keeps its size whatever its memory */
    v->wander = a * v->wander + (1 - a * a * (0.5 + 0.16 * a * a)) * bell(bits);
    switch (v->kind) {
    case GEN_STEADY:
        load = v->level;
        break;
    case GEN_BURST:
    case GEN_BURST_JOINT:
        load = v->level + excursion(v, groups, c);
        break;
    case GEN_CHAOTIC:
        load = chaos(v, c);
        break;
    default:
        load = v->level + season(v, step);
        break;
    }
    load *= 1.0 + v->noise * v->wander;
    if (load < 0.005 * v->cores)
        load = 0.005 * v->cores;
    if (load > v->cores)
        load = v->cores;
    double want = v->mem_base + v->mem_per_core * load;
    v->mem += (want - v->mem) * (want > v->mem ? v->mem_up : v->mem_down);
    /* Five small deviations of 12 bits each, up to 5 %. */
    double d[5];
    for (int i = 0; i < 5; i++)
        d[i] = 0.95 + 0.10 / 4095 * (double)(more >> (12 * i) & 4095);
    double tx = v->tx_per_core * load * d[0];
    return (struct gen_sample){
        .cpu = load,
        .memory = v->mem * (0.98 + d[1] / 50),
        .tx = tx,
        .rx = tx * v->rx_share * d[2],
        .read = v->read_per_core * load * d[3],
        .write = v->write_per_core * load * d[4],
    };
}
