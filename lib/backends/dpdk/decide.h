/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Where each packet of a burst goes. One worker per lcore with its own flow table; nothing is shared, time is given.
 *
 * The primary is the default, only exceptions carry state: a service that does not spill and has no spilled flow left
 * touches no flow table. A SYN writes the pending filter only; the first ACK that matches it makes the flow. An unknown
 * packet is the primary's. Whatever fails inside (table full, no room) goes to the primary and is counted.
 */
#ifndef SPR_DPDK_DECIDE_H
#define SPR_DPDK_DECIDE_H

#include "flow.h"
#include "snapshot.h"

enum { DP_BURST = 64 };         /* most packets of one call */
enum { DP_ENTROPY_SHIFT = 20 }; /* where in a flow's hash the source port of its tunnel begins */

struct dp_pending;
struct dp_fragments;

/* Of one service on one lcore; read by others without order: each is right, together they are of about one time. */
struct dp_service_counters {
    uint64_t packets, bytes; /* received for it */
    uint64_t spilled_packets, spilled_bytes;
    uint64_t opened, spilled; /* new flows (SYN, Initial, first UDP packet seen in spill mode); to shards */
    uint64_t repeated;        /* SYNs sent again */
    uint64_t answered;        /* first ACKs of spilled flows */
    uint64_t look_until_ms;   /* a SYN went to a shard: its first ACK may come until then, whatever the mode */
    uint32_t flows, pad;      /* spilled flows in the table now */
};

struct dp_worker {
    struct dp_flow_table *ip4, *ip6;
    struct dp_pending *pending;
    struct dp_fragments *fragments;
    struct dp_hash_key key;               /* of the pending filter and the pick */
    struct dp_service_counters *by_front; /* [DP_SERVICES_MOST + 1] */
    struct dp_counters counters;
    uint32_t cursor4, cursor6; /* of the sweep */
    uint64_t touched;          /* flows that this burst entered or took out: a bit by their hash */
    bool stale;                /* it did: slots found before may be others' now */
};

/* What becomes of a packet. */
struct dp_fate {
    int32_t grow;    /* bytes put before it, negative: taken away */
    uint16_t port;   /* where it leaves; DP_PORT_PASS, DP_PORT_BACK */
    uint8_t verdict; /* ::dp_verdict; above DP_REPLY: to be freed */
    uint8_t pad;
};
struct dp_burst {
    unsigned count;
    bool whole;                    /* out: all have the fate `all`, `fate` is not filled */
    struct dp_fate all;            /* out */
    uint8_t *frame[DP_BURST];      /* first byte of each */
    uint32_t length[DP_BURST];     /* in and out */
    uint32_t room[DP_BURST];       /* bytes before each frame */
    struct dp_fate fate[DP_BURST]; /* out */
};
enum { DP_PORT_PASS = 65535, DP_PORT_BACK = 65534 }; /* the port's partner; the port it came from */

/* One per lcore: tables are the caller's. @return 0 or -1 (no memory) */
int dp_worker_init(struct dp_worker *w, struct dp_flow_table *ip4, struct dp_flow_table *ip6, uint64_t seed);
void dp_worker_fini(struct dp_worker *w);
/* Count the flows that a table from before brings along. */
void dp_worker_recount(struct dp_worker *w);

static inline unsigned dp_tick(const struct dp_snapshot *s, uint64_t now_ms) { return now_ms / s->tick_ms & 255; }

/* Decide and rewrite. Counts every packet in exactly one verdict. */
void dp_worker_burst(struct dp_worker *w, const struct dp_snapshot *s, struct dp_burst *b, uint64_t now_ms);
/* Take out what is idle, ended, or past its backend's deadline, in the next `buckets` buckets of each table. */
void dp_worker_sweep(struct dp_worker *w, const struct dp_snapshot *s, unsigned buckets, uint64_t now_ms);

#endif
