/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the lcores read: one immutable picture of all services and of everything traffic can go to. Made whole by the
 * control thread from a description, swapped as one pointer, freed when no lcore can see it any more.
 *
 * "Backend" is here what a packet is sent to: a primary or a shard. Its index (1..4095) is what flows remember, so it
 * stays the same from snapshot to snapshot for as long as the backend lives; whoever describes it (router.c) sees to
 * that, and gives an index that is used anew another generation.
 */
#ifndef SPR_DPDK_SNAPSHOT_H
#define SPR_DPDK_SNAPSHOT_H

#include "rewrite.h"

enum { DP_ROWS = 4099, DP_BACKENDS_MOST = 4096, DP_SERVICES_MOST = 65535 };

enum dp_mode {
    DP_MODE_NORMAL, /* all to the primary: no flow table is looked at unless spilled flows are left */
    DP_MODE_SPILL,  /* new flows by the pick table */
    DP_MODE_HOST,   /* we stand on the shard's host: what we do not know goes back to the primary, once */
};
/* What becomes of a flow whose shard died. */
enum dp_dead {
    DP_DEAD_PRIMARY, /* on to the primary, which resets it */
    DP_DEAD_RESET,   /* the router resets it (TCP; else as DROP) */
    DP_DEAD_DROP,
    DP_DEAD_REHASH, /* as a new flow: for protocols that live with it (UDP) */
};

/* ---- the description ---- */

struct dp_address {
    uint8_t ip;       /* 4 or 6 */
    uint8_t protocol; /* IPPROTO_TCP or IPPROTO_UDP */
    uint16_t port;    /* network order */
    uint8_t address[16];
};
struct dp_service_spec {
    struct dp_address at;
    uint16_t front;       /* its number in flow keys, 1.., stable as backend indexes are */
    uint16_t primary;     /* backend, 0 = none lives */
    const uint16_t *rows; /* DP_ROWS of 0 = primary, n = backends[n - 1]; NULL: nothing spills */
    const uint16_t *backends;
    uint16_t backend_count;
    uint8_t mode, dead;  /* ::dp_mode, ::dp_dead */
    bool quic;           /* UDP: an Initial opens a flow, anything else unknown is the primary's */
    bool miss_by_table;  /* one of a redundant pair: an unknown flow goes by the table, and its host sends it back */
    uint32_t flows_most; /* spilled flows per lcore, 0 = as many as the table has room for */
    uint32_t idle_s;     /* 0 = 300 (TCP), 60 (UDP) */
    uint64_t learn_until_ms; /* UDP: until then flows stay with the primary */
};
struct dp_backend_spec {
    struct dp_path path;
    uint16_t index; /* 1.. */
    uint8_t generation;
    bool alive;
    uint64_t deadline_ms; /* its flows are taken out then; 0 = none */
};

/* ---- the picture ---- */

struct dp_service {
    const uint16_t *rows; /* DP_ROWS backend indexes, 0 = primary; NULL: nothing spills */
    uint64_t learn_until_ms;
    uint32_t flows_most;
    uint16_t front, primary, idle_ticks;
    uint8_t mode, dead;
    bool quic, miss_by_table, tcp;
    struct dp_address at;
};
struct dp_backend {
    struct dp_rewrite rewrite;
    uint64_t deadline_ms;
    uint32_t flow; /* value of an open flow to it, its age left 0; what no flow has when it is dead */
    uint8_t generation;
    bool used, alive;
};
struct dp_snapshot {
    uint64_t generation;
    uint32_t service_count, backend_count; /* of `services`; backends: highest index + 1 */
    const struct dp_service *services;
    const struct dp_backend *backends; /* [index]; 0 is nothing */
    const uint32_t *by_front;          /* [front] service + 1, 0 = none; DP_SERVICES_MOST + 1 of them */
    uint64_t tick_ms;                  /* unit of a flow's age */
    uint32_t mask;                     /* of the table of addresses */
    const struct dp_slot *slots;
    bool returns;   /* a backend is reached by DNAT: look at sources too */
    bool deadlines; /* a backend has one */
};

enum { DP_TICK_MS = 2000 }; /* 256 ages: idle times of up to 8 minutes */

/* @return 0; -ENOMEM, or -EINVAL with *which the service (from 0) or backend (~index) it is about; and *why */
int dp_snapshot_make(const struct dp_service_spec *services, uint32_t service_count,
                     const struct dp_backend_spec *backends, uint32_t backend_count, uint64_t generation,
                     struct dp_snapshot **out, const char **why, int64_t *which);
void dp_snapshot_free(struct dp_snapshot *s);

/* Service of an address, protocol and port; port 0: any service of the address (fragments, pings). NULL = none. */
const struct dp_service *dp_snapshot_find(const struct dp_snapshot *s, const uint8_t *address, uint8_t ip,
                                          uint8_t protocol, uint16_t port);
/* Service whose server behind DNAT this is. */
const struct dp_service *dp_snapshot_find_return(const struct dp_snapshot *s, const struct dp_packet *p);

#endif
