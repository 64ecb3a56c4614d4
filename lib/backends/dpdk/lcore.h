/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One queue of every port, on one lcore: receive, decide, send. Everything it writes is its own; it reads one snapshot
 * pointer a burst and says to the RCU that it did. What the control thread wants of its tables comes as commands over a
 * ring and is answered in pieces between bursts.
 */
#ifndef SPR_DPDK_LCORE_H
#define SPR_DPDK_LCORE_H

#include "decide.h"
#include "idle.h"

#include <rte_mbuf.h>
#include <rte_rcu_qsbr.h>
#include <rte_ring.h>
#include <stdatomic.h>

enum { DP_PORTS_MOST = 16, DP_RX = 32, DP_DUMP = 64 };

struct dp_port {
    uint16_t id;        /* of EAL */
    uint16_t neighbour; /* index where frames of no service go on, DP_PORT_PASS = nowhere */
    uint8_t mac[6];
    bool interrupts; /* its receive interrupts are asked for; whether the driver has any is found out in idle.c */
    char name[64];
};

struct dp_dumped {
    struct dp_key6 key; /* IPv4: as dp_flow_next gives it */
    uint32_t value;
    uint8_t ip;
};
/* "Copy the flows from this cursor on": filled by the lcore, given back over its answers ring. */
struct dp_dump {
    uint32_t cursor;
    uint8_t ip; /* table to walk: 4, then 6 */
    bool over;
    unsigned count;
    struct dp_dumped flow[DP_DUMP];
};

/* What is to be captured; lives as long as the router. */
struct dp_capture {
    atomic_int on;
    uint16_t front; /* 0 = all */
    uint8_t source[16];
    uint8_t source_ip; /* 0 = all */
    struct rte_ring *ring;
    struct rte_mempool *pool;
};

struct dp_lcore {
    struct dp_worker worker;
    struct dp_snapshot *_Atomic *snapshot; /* the router's */
    struct rte_rcu_qsbr *rcu;
    struct rte_ring *commands, *answers; /* of struct dp_dump */
    struct dp_capture *capture;
    const struct dp_port *ports;
    unsigned port_count, queue;
    uint64_t cycles_per_ms, cycles_busy, cycles_sweep, rounds;
    uint64_t began, cycles_next, now_ms; /* of this round; when now_ms is over, which is since EAL began */
    bool busy;                           /* the round that `began` had packets */
    _Atomic uint64_t seen;               /* generation of the last snapshot it read */
    struct rte_mbuf *out[DP_PORTS_MOST][DP_BURST];
    uint8_t out_at[DP_PORTS_MOST][DP_BURST]; /* which of the burst it was */
    unsigned out_count[DP_PORTS_MOST];
    struct dp_idle idle;
} __attribute__((aligned(64)));

/* One round. @return packets received */
unsigned dp_lcore_poll(struct dp_lcore *l);

#endif
