/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Inside of the generator: how a VM of each kind behaves. The mix and every range stand in doc/generator.md. */
#ifndef SPR_IO_GENERATE_H
#define SPR_IO_GENERATE_H

#include <stdint.h>

#include <shardpredict/io.h>

enum { GEN_STEP_S = 300, GEN_STEPS_PER_DAY = 288, GEN_GROUPS = 4 };

/* The kinds of VM; several kinds share one class of the profile. */
enum gen_kind {
    GEN_STEADY,
    GEN_DAILY,       /* a hump a day, smaller at the weekend for half of them */
    GEN_CYCLE,       /* a wave of any other length */
    GEN_JOB,         /* a scheduled job: a short plateau every 24, 12, 8 or 6 hours */
    GEN_WEEKLY,      /* one busy stretch a week */
    GEN_BURST,       /* events of its own */
    GEN_BURST_JOINT, /* events shared with the rest of its group */
    GEN_CHAOTIC,
    GEN_KINDS
};

/* Where an excursion stands: rises over two steps, stays, then decays. */
struct gen_event {
    int32_t waits, left; /* steps before it begins; steps it still lasts */
    double height, now;  /* aim and present height, cores */
};

struct gen_vm {
    int kind, group, weekend_off;
    double cores, memory;           /* size, bytes */
    double level, swing;            /* calm load and height of the season, cores */
    double period_s, phase, sharp;  /* sharp: exponent of a hump, or share of the period a plateau lasts */
    double weekend, drift;          /* weekend's share of the swing; growth of the swing a day */
    double noise, memory_of_noise;  /* relative sd; AR(1) coefficient */
    double event_rate, event_steps; /* chance a step; mean length */
    double event_low, event_high;   /* height, share of the size */
    double mem_base, mem_per_core, mem_up, mem_down;
    double tx_per_core, rx_share, read_per_core, write_per_core;
    int replica;
    double spillable;
    uint64_t key; /* of this VM's random numbers */
    /* state */
    double wander, target, walk, mem;
    struct gen_event event;
    uint32_t group_seen;
};

/* One group of VMs that events hit together. */
struct gen_group {
    uint64_t key;
    double rate, steps;
    uint32_t serial; /* events so far */
    int32_t cooling;
};

struct gen_sample {
    double cpu, memory, rx, tx, read, write;
};

/* Numbers that depend on (key, counter) only, made with integer and IEEE basic operations: same bits anywhere. */
uint64_t gen_key(uint64_t seed, uint64_t stream);
double gen_uniform(uint64_t key, uint64_t counter);

void gen_group_init(struct gen_group *g, uint64_t seed, int index);
void gen_group_step(struct gen_group *g, int64_t step);
void gen_vm_init(struct gen_vm *v, uint64_t seed, int64_t index, int kind);
struct gen_sample gen_vm_step(struct gen_vm *v, const struct gen_group *groups, int64_t step);

/* The truth: class name and period (0 = none). */
const char *gen_class(int kind);

/* Writes v >= 0 with so many significant digits in its shortest form, no NUL; returns the end. */
char *gen_number(char *to, double v, int digits);
char *gen_integer(char *to, uint64_t v);

#endif
