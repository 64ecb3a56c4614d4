/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the files of the in-process router share. */
#ifndef SPR_DPDK_ROUTER_H
#define SPR_DPDK_ROUTER_H

#include "config.h"
#include "lcore.h"

enum { DP_QUEUES_MOST = 64, DP_RETIRED_MOST = 256 };

struct dp_retired { /* a snapshot that lcores may still be reading */
    struct dp_snapshot *snapshot;
    uint64_t token;
};
struct dp_tables {                 /* of one queue */
    struct dp_flow_table *flow[2]; /* ::dp_flow_family */
};

struct spr_dpdk {
    spr_context *ctx;
    struct dp_port ports[DP_PORTS_MOST];
    unsigned port_count, queues;
    struct rte_mempool *pool;
    struct rte_rcu_qsbr *rcu;
    struct dp_lcore *lcores; /* [queues] */
    struct dp_tables *tables;
    struct dp_directory *directory;
    struct dp_region *region; /* whose the tables and the directory are; NULL: memory of ours */
    struct dp_config config, draft;
    bool open; /* a change is open: draft is valid */
    struct dp_snapshot *_Atomic snapshot;
    struct dp_retired retired[DP_RETIRED_MOST];
    unsigned retired_count;
    uint64_t generation, stepped_ms, cycles_per_ms;
    struct dp_capture capture;
    void *pcap; /* FILE of a capture */
    uint64_t capture_left;
    atomic_int running; /* lcores launched by spr_dpdk_start go on */
    int32_t sleep_us;
    unsigned started;
    uint64_t busy_cycles, busy_at;
    struct dp_dump dump; /* the question that an lcore answers */
    bool passes;
};

uint64_t dp_now_ms(const struct spr_dpdk *r);
/* Put the description in force. */
int dp_router_publish(struct spr_dpdk *r, const struct dp_config *c);
int dp_fail(struct spr_dpdk *r, int code, const struct dp_why *why);
int dp_say(spr_context *ctx, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* ports.c: find, set up, start. */
int dp_ports_open(struct spr_dpdk *r, const struct spr_dpdk_opts *o, struct dp_why *why);
void dp_ports_close(struct spr_dpdk *r);
/* tables.c: flow tables and directory, new or from the region. */
int dp_tables_open(struct spr_dpdk *r, const struct spr_dpdk_opts *o, uint64_t seed, struct dp_why *why);
void dp_tables_close(struct spr_dpdk *r);
/* capture.c: what the lcores put aside goes to the file. */
void dp_capture_step(struct spr_dpdk *r);

#endif
