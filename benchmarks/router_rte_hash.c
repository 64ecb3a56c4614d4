/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* DPDK's own hash table beside ours: the same keys, bursts of 32, windows in turn. */
#include "router_flow.h"

#include <stdlib.h>

#include <rte_hash.h>
#include <rte_hash_crc.h>

#include "flow.h"
#include "region.h"

enum { BURST = 32, WINDOW = 8192, WINDOWS_MOST = 4096 };

struct pair {
    struct rte_hash *theirs;
    struct dp_flow_table *ours;
    struct dp_region region;
    uint64_t keys[WINDOW], random, sum;
};

static double time_theirs(struct pair *p) {
    const void *keys[BURST];
    int32_t at[BURST];
    double begin = router_seconds();
    for (unsigned i = 0; i < WINDOW; i += BURST) {
        for (unsigned j = 0; j < BURST; j++)
            keys[j] = &p->keys[i + j];
        rte_hash_lookup_bulk(p->theirs, keys, BURST, at);
        for (unsigned j = 0; j < BURST; j++)
            p->sum += (uint64_t)at[j];
    }
    return (router_seconds() - begin) / WINDOW * 1e9;
}

static double time_theirs_data(struct pair *p) {
    const void *keys[BURST];
    void *data[BURST];
    uint64_t hits;
    double begin = router_seconds();
    for (unsigned i = 0; i < WINDOW; i += BURST) {
        for (unsigned j = 0; j < BURST; j++)
            keys[j] = &p->keys[i + j];
        rte_hash_lookup_bulk_data(p->theirs, keys, BURST, &hits, data);
        for (unsigned j = 0; j < BURST; j++)
            p->sum += (uint64_t)(uintptr_t)data[j];
    }
    return (router_seconds() - begin) / WINDOW * 1e9;
}

static double time_ours(struct pair *p) {
    uint64_t hashes[BURST];
    uint32_t values[BURST], slots[BURST];
    double begin = router_seconds();
    for (unsigned i = 0; i < WINDOW; i += BURST) {
        dp_flow_lookup4(p->ours, p->keys + i, BURST, hashes, values, slots);
        for (unsigned j = 0; j < BURST; j++)
            p->sum += values[j];
    }
    return (router_seconds() - begin) / WINDOW * 1e9;
}

static bool fill(struct pair *p, uint32_t flows) {
    for (uint32_t i = 0; i < flows; i++) {
        uint64_t key = router_flow_key4(i), hash;
        uint32_t value, slot;
        if (rte_hash_add_key_data(p->theirs, &key, (void *)(uintptr_t)(i + 1)) < 0)
            return false;
        dp_flow_lookup4(p->ours, &key, 1, &hash, &value, &slot);
        if (dp_flow_insert4(p->ours, key, hash, i + 1) == UINT32_MAX)
            return false;
    }
    return true;
}

static void run(struct pair *p, uint32_t flows, double seconds, double *hash_ns, double *ours_ns) {
    static double theirs[WINDOWS_MOST], data[WINDOWS_MOST], ours[WINDOWS_MOST];
    unsigned n = 0;
    for (double stop = router_seconds() + seconds; n < WINDOWS_MOST && (n < 8 || router_seconds() < stop); n++) {
        for (unsigned way = 0; way < 3; way++) {
            for (unsigned i = 0; i < WINDOW; i++)
                p->keys[i] = router_flow_key4((uint32_t)((router_random(&p->random) >> 32) * flows >> 32));
            *(way == 0   ? &theirs[n]
              : way == 1 ? &data[n]
                         : &ours[n]) = way == 0   ? time_theirs(p)
                                       : way == 1 ? time_theirs_data(p)
                                                  : time_ours(p);
        }
    }
    double plain = router_quartile(theirs, n), with_data = router_quartile(data, n);
    *hash_ns = plain < with_data ? plain : with_data; /* the faster of its two ways */
    *ours_ns = router_quartile(ours, n);
}

int router_rte_hash_measure(uint32_t flows, double seconds, double *hash_ns, double *ours_ns) {
    struct rte_hash_parameters params = {
        .name = "bench_flow", .entries = flows + flows / 4, .key_len = 8, .hash_func = rte_hash_crc};
    char why[DP_REGION_WHY];
    const char *reason;
    unsigned log2 = 1;
    while ((double)(UINT64_C(5) << log2) * 0.85 < flows)
        log2++;
    struct dp_region_spec spec = {.bytes = dp_flow_bytes(DP_FLOW_IP4, log2)};
    struct pair *p = calloc(1, sizeof *p);
    int rc = -1;
    if (!p)
        return -1;
    p->random = 71;
    p->theirs = rte_hash_create(&params);
    if (p->theirs && dp_region_open(&spec, &p->region, why) == 0) {
        if (dp_flow_open(p->region.memory, spec.bytes, DP_FLOW_IP4, log2, true, 4711, &p->ours, &reason) == 0 &&
            fill(p, flows)) {
            run(p, flows, seconds, hash_ns, ours_ns);
            rc = 0;
        }
        dp_flow_close(p->ours);
        dp_region_close(&p->region);
    }
    rte_hash_free(p->theirs);
    free(p);
    return rc;
}
