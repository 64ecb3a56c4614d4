/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How an lcore waits that has had nothing to do for a while: where all of its queues have receive interrupts it sleeps
 * until one comes, and else it naps. The control thread wakes a sleeping one with its bell.
 */
#ifndef SPR_DPDK_IDLE_H
#define SPR_DPDK_IDLE_H

#include <rte_interrupts.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct dp_lcore;

struct dp_idle {           /* of an lcore */
    _Atomic int32_t way;   /* ::spr_dpdk_way */
    const char *lacking;   /* name of the port that has no interrupts, NULL: all have, or they were not asked for */
    int epoll, bell;       /* of the kernel; valid when the way was SPR_DPDK_WAIT_INTERRUPT once */
    bool open;             /* they are */
    atomic_int asleep;     /* it may be: whoever wants something rings */
    uint64_t waits, woken; /* sleeps, and those that a device ended */
    struct rte_epoll_event bell_event; /* EAL keeps its address */
    clockid_t clock;   /* of its thread's processor time, where it began, and what it used in earlier runs */
    double from, used; /* seconds */
    atomic_bool runs;  /* clock and from are valid */
};

/* Choose a way; `interrupts`: if the devices have them. Never fails: napping needs nothing. */
void dp_idle_open(struct dp_lcore *l, bool sleeps, bool interrupts);
void dp_idle_close(struct dp_lcore *l);
/*
 * Sleep until a packet, the bell or the longest sleep's end, unless there is something to do already. Call it between
 * rounds, online in the RCU. @return packets of the round that it does with interrupts enabled
 */
unsigned dp_idle_wait(struct dp_lcore *l, const atomic_int *running);
/* The control thread has left something for this lcore: should it sleep, it wakes. */
void dp_idle_ring(struct dp_lcore *l);
/* On the lcore: its thread's processor time counts from here, to here. */
void dp_idle_begin(struct dp_lcore *l);
void dp_idle_end(struct dp_lcore *l);
/* Seconds of processor time that it has used. */
double dp_idle_cpu_s(struct dp_lcore *l);

#endif
