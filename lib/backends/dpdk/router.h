/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the files of the in-process router share. */
#ifndef SPR_DPDK_ROUTER_H
#define SPR_DPDK_ROUTER_H

#include "config.h"
#include "lcore.h"

#include <shardpredict/route-spike.h>

enum { DP_QUEUES_MOST = 64, DP_RETIRED_MOST = 256 };

struct dp_retired { /* a snapshot that lcores may still be reading */
    struct dp_snapshot *snapshot;
    uint64_t token;
};
struct dp_tables {                 /* of one queue */
    struct dp_flow_table *flow[2]; /* ::dp_flow_family */
    void *pending;                 /* of dp_pending_bytes() */
};

/* What the spike detector of a service remembers (spike.c). */
struct dp_watch {
    uint16_t front;
    double total; /* share to spill because of a spike, 0 = none */
    struct dp_backlog {
        int64_t mono_ns;
        uint64_t spilled, answered;
    } past[4]; /* about a second apart, the oldest first */
    uint64_t waiting;
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
    bool open;  /* a change is open: draft is valid */
    bool stale; /* ramps have gone on, and the lcores do not know yet */
    struct dp_snapshot *_Atomic snapshot;
    struct dp_retired retired[DP_RETIRED_MOST];
    unsigned retired_count;
    uint64_t generation, stepped_ms, cycles_per_ms;
    struct spr_spike *spike;
    struct dp_watch *watch;             /* [watched], row i is the description's service i */
    struct spr_route_counters *counted; /* likewise */
    uint32_t watched;
    struct dp_capture capture;
    void *pcap; /* FILE of a capture */
    uint64_t capture_left;
    atomic_int running; /* lcores launched by spr_dpdk_start go on */
    int32_t sleep_us;
    unsigned started;
    uint64_t busy_cycles, busy_at;
    double cpu_s;        /* at the last spr_dpdk_cpu, */
    uint64_t cpu_at;     /* and when that was */
    struct dp_dump dump; /* the question that an lcore answers */
    bool passes;
    bool interrupts; /* lcores wait for devices' interrupts where they have them */
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
/* spike.c: room for so many services; a description that comes into force while a spike lasts; a look at the counters.
 */
int dp_spike_room(struct spr_dpdk *r, uint32_t services);
void dp_spike_carry(const struct spr_dpdk *r, struct dp_config *c);
bool dp_spike_step(struct spr_dpdk *r, struct spr_time now); /* @return whether a share changed */
void dp_spike_close(struct spr_dpdk *r);
/* stats.c: sums over lcores */
void dp_service_sum(const struct spr_dpdk *r, const struct dp_conf_service *s, struct spr_dpdk_service_stats *to);
/* capture.c: what the lcores put aside goes to the file. */
void dp_capture_step(struct spr_dpdk *r);

#endif
