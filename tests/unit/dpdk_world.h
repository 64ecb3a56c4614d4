/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What tests of the decision share: one worker, services and backends by a few lines, frames by tuple, verdicts back.
 */
#ifndef TESTS_UNIT_DPDK_WORLD_H
#define TESTS_UNIT_DPDK_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decide.h"

enum { W_PRIMARY = 1, W_SHARDS = 4, W_BACKENDS = 1 + W_SHARDS, W_LOG2 = 12 };
enum { W_PAGE = 65536 }; /* of any kernel */
enum { W_FIN = 1, W_SYN = 2, W_RST = 4, W_ACK = 16 };

struct world {
    struct dp_worker worker;
    void *memory[2]; /* whole pages */
    size_t bytes[2];
    struct dp_flow_table *flow[2];
    struct dp_backend_spec backend[W_BACKENDS + 1]; /* [index], 0 is unused */
    struct dp_service_spec service;
    uint16_t rows[DP_ROWS], targets[W_SHARDS];
    struct dp_snapshot *snapshot;
    uint64_t generation, now_ms;
    uint8_t frame[256 + 1600]; /* of the last packet, after 256 bytes of room */
    uint32_t length;
    int32_t grow;
};

static inline uint64_t w_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

/* Put what service, backends and rows say in force. */
static inline void w_commit(struct world *w) {
    struct dp_snapshot *s = NULL;
    const char *why = NULL;
    int64_t which;
    w->service.rows = w->rows;
    w->service.backends = w->targets;
    w->service.backend_count = W_SHARDS;
    if (dp_snapshot_make(&w->service, 1, w->backend + 1, W_BACKENDS, ++w->generation, &s, &why, &which))
        fail_msg("%s", why);
    dp_snapshot_free(w->snapshot);
    w->snapshot = s;
}

/* The share of each shard in new flows; rows in an order that spreads. */
static inline void w_spill(struct world *w, double share) {
    memset(w->rows, 0, sizeof w->rows);
    for (int i = 0; i < (int)(share * DP_ROWS); i++)
        w->rows[(i * 2053) % DP_ROWS] = (uint16_t)(i % W_SHARDS + 1);
    w->service.mode = DP_MODE_SPILL;
    w_commit(w);
}

static inline void w_open(struct world *w, uint8_t protocol, unsigned log2, uint64_t seed) {
    const char *why = NULL;
    memset(w, 0, sizeof *w);
    for (int f = 0; f < 2; f++) {
        size_t bytes = dp_flow_bytes((enum dp_flow_family)f, log2);
        w->bytes[f] = (bytes + W_PAGE - 1) / W_PAGE * W_PAGE;
        w->memory[f] = aligned_alloc(W_PAGE, w->bytes[f]);
        assert_non_null(w->memory[f]);
        if (dp_flow_open(w->memory[f], bytes, (enum dp_flow_family)f, log2, true, seed, &w->flow[f], &why))
            fail_msg("%s", why);
    }
    assert_int_equal(dp_worker_init(&w->worker, w->flow[0], w->flow[1], seed), 0);
    for (uint16_t i = 1; i <= W_BACKENDS; i++) {
        w->backend[i] = (struct dp_backend_spec){.index = i, .alive = true, .path.action = DP_ACT_L2};
        memset(w->backend[i].path.destination_mac, i, 6);
    }
    for (uint16_t i = 0; i < W_SHARDS; i++)
        w->targets[i] = (uint16_t)(i + 2);
    w->service =
        (struct dp_service_spec){.at = {.ip = 4, .protocol = protocol, .port = htons(80), .address = {192, 0, 2, 80}},
                                 .front = 7,
                                 .primary = W_PRIMARY,
                                 .mode = DP_MODE_NORMAL,
                                 .idle_s = 60};
    w->now_ms = 1000000;
    w_commit(w);
}

static inline void w_close(struct world *w) {
    dp_snapshot_free(w->snapshot);
    dp_worker_fini(&w->worker);
    for (int f = 0; f < 2; f++) {
        dp_flow_close(w->flow[f]);
        free(w->memory[f]);
    }
}

static inline void w_sum_ip4(uint8_t *ip) {
    uint32_t sum = 0;
    ip[10] = ip[11] = 0;
    for (int i = 0; i < 20; i += 2)
        sum += (uint32_t)(ip[i] << 8 | ip[i + 1]);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    ip[10] = (uint8_t)(~sum >> 8);
    ip[11] = (uint8_t)~sum;
}

/* A frame of client `host`:`port` to the service, in w->frame. */
static inline void w_make(struct world *w, uint32_t host, uint16_t port, uint8_t flags, uint32_t payload) {
    uint8_t *f = w->frame + 256, *ip, *l4;
    bool tcp = w->service.at.protocol == 6, six = w->service.at.ip == 6;
    uint32_t header = tcp ? 20 : 8, size = header + payload;
    memset(f, 0, 14 + 40 + header + payload);
    f[12] = six ? 0x86 : 8;
    f[13] = six ? 0xdd : 0;
    ip = f + 14;
    if (six) {
        ip[0] = 0x60;
        ip[4] = (uint8_t)(size >> 8);
        ip[5] = (uint8_t)size;
        ip[6] = w->service.at.protocol;
        ip[7] = 64;
        memcpy(ip + 8, &host, 4);
        ip[8 + 15] = 9;
        memcpy(ip + 24, w->service.at.address, 16);
    } else {
        ip[0] = 0x45;
        ip[2] = (uint8_t)((size + 20) >> 8);
        ip[3] = (uint8_t)(size + 20);
        ip[8] = 64;
        ip[9] = w->service.at.protocol;
        memcpy(ip + 12, &host, 4);
        memcpy(ip + 16, w->service.at.address, 4);
        w_sum_ip4(ip);
    }
    l4 = ip + (six ? 40 : 20);
    memcpy(l4, &port, 2);
    memcpy(l4 + 2, &w->service.at.port, 2);
    if (tcp) {
        l4[12] = 0x50;
        l4[13] = flags;
    } else {
        l4[4] = (uint8_t)(size >> 8);
        l4[5] = (uint8_t)size;
    }
    w->length = 14 + (six ? 40u : 20u) + size;
}

/* What became of the frame in w->frame; *backend: index of whom it was sent to, 0 = nobody. */
static inline enum dp_verdict w_push(struct world *w, unsigned *backend) {
    struct dp_burst b = {.count = 1, .frame = {w->frame + 256}, .length = {w->length}, .room = {256}};
    dp_worker_burst(&w->worker, w->snapshot, &b, w->now_ms);
    struct dp_fate f = b.whole ? b.all : b.fate[0];
    bool sent = f.verdict == DP_PRIMARY || f.verdict == DP_SHARD || f.verdict == DP_BOUNCE;
    *backend = sent ? *(w->frame + 256 - f.grow) : 0;
    w->length = b.length[0];
    return (enum dp_verdict)f.verdict;
}

static inline unsigned w_send(struct world *w, uint32_t host, uint16_t port, uint8_t flags) {
    unsigned backend;
    w_make(w, host, port, flags, 0);
    w_push(w, &backend);
    return backend;
}

/* A port of this host whose SYN goes to a shard (or, `shard` false, to the primary); the SYN was sent. */
static inline uint16_t w_find(struct world *w, uint32_t host, bool shard, unsigned *backend) {
    for (uint16_t port = 1024; port < 30000; port++) {
        *backend = w_send(w, host, port, W_SYN);
        if ((*backend != W_PRIMARY) == shard)
            return port;
    }
    fail_msg("no port whose flow goes there");
    return 0;
}

static inline uint64_t w_verdicts(const struct world *w) {
    uint64_t sum = 0;
    for (int i = 0; i < DP_VERDICT_COUNT; i++)
        sum += w->worker.counters.verdict[i];
    return sum;
}

#endif
