/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Figures of the flow table, for bench_flow and bench_router: nanoseconds of the thread's CPU time, each the lower quartile
 * of many short windows that alternate with the memory floor's, so that a ratio is of one and the same machine.
 */
#ifndef BENCHMARKS_ROUTER_FLOW_H
#define BENCHMARKS_ROUTER_FLOW_H

#include <stdbool.h>
#include <stdint.h>

struct router_flow_figures {
    double floor_ns;       /* prefetch 32 lines, read one word of each; memory of the table's size; a burst at a time */
    double stream_ns;      /* the same where a burst may overlap with the next ones */
    double hit_ns;         /* look one up, bursts of 32, any of the flows */
    double miss_ns;        /* look one up that is not there */
    double insert_ns;      /* look up and enter, at the load below, and */
    double erase_ns;       /* look up and take out again */
    double bytes_per_flow; /* memory over flows */
    double load;
    double over_floor;     /* T4: hit_ns / floor_ns */
};
/* `ip` 4 or 6. A table of the power of two that holds the flows at a load of at most 0.85. @return 0, -1: no memory */
int router_flow_measure(int ip, uint32_t flows, double seconds, struct router_flow_figures *out);

/* DPDK's rte_hash with as many flows, bursts of 32, any of the flows, in turn with our table. EAL must be up.
 * *hash_ns and *ours_ns per lookup. @return 0, -1: no memory */
int router_rte_hash_measure(uint32_t flows, double seconds, double *hash_ns, double *ours_ns);

/* ---- for them and for other figures ---- */
double router_seconds(void);                       /* CPU time of this thread */
double router_quartile(double *values, unsigned n); /* lower one; sorts */
uint64_t router_random(uint64_t *state);
uint64_t router_flow_key4(uint32_t number);

#endif
