/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Layout of the flow table, for flow*.c. One line of 64 bytes a bucket; IPv6 has a second line beside it:
 *
 *     line 0    key[5]   IPv4: the key. IPv6: low half of the address, ports mixed in
 *               value[5] 0 = free; written after everything else of an entry, cleared before it
 *               value[5] how many flows that belong here live in their other bucket
 *     line 1    high[5], ports[5]   IPv6: the rest of the key, so that a hit is exact
 *
 * A flow's first bucket is in the low half of its hash, the other one in the high half. Behind the buckets stands a
 * byte of hints for each: a bit by the highest three of the hash for every flow that lives away from it. A miss in the
 * first bucket is final unless the bit is set. The bytes stay in the caches when the buckets do not.
 *
 * kill -9 at any store leaves a table that dp_flow_recover takes: an entry is there when its value is; a flow on its
 * way to its other bucket is written there whole before it is taken out here, so it may be there twice, never not at
 * all; the overflow words are counted again.
 */
#ifndef SPR_DPDK_FLOW_INSIDE_H
#define SPR_DPDK_FLOW_INSIDE_H

#include "flow.h"

enum { DP_SLOTS = 5, DP_OVERFLOW = 5, DP_FLOW_VERSION = 1, DP_FLOW_START = 128, DP_FLOW_LOG2_MOST = 28 };

struct dp_bucket {
    uint64_t key[DP_SLOTS];
    uint32_t value[DP_SLOTS + 1];
};
struct dp_beside {
    uint64_t high[DP_SLOTS];
    uint32_t ports[DP_SLOTS + 1];
};
struct dp_flow_table {
    struct dp_hash_key key;
    uint8_t *buckets;
    uint8_t *hints; /* a byte a bucket */
    uint64_t count;
    uint32_t mask;
    uint8_t shift; /* 6 or 7: bytes of a bucket */
    uint8_t family;
};

enum { DP_NEAR = 1 << 19 }; /* bytes that the second-level cache holds beside all else */
static inline bool dp_is_near(const struct dp_flow_table *t) { return (size_t)t->mask << t->shift < DP_NEAR; }

static inline struct dp_bucket *dp_bucket_at(const struct dp_flow_table *t, uint32_t bucket) {
    return (struct dp_bucket *)(void *)(t->buckets + ((size_t)bucket << t->shift));
}
static inline struct dp_beside *dp_beside_of(struct dp_bucket *b) { return (struct dp_beside *)(void *)(b + 1); }
static inline uint32_t dp_first(const struct dp_flow_table *t, uint64_t hash) { return (uint32_t)hash & t->mask; }
static inline uint32_t dp_other(const struct dp_flow_table *t, uint64_t hash) {
    uint32_t first = dp_first(t, hash), other = (uint32_t)(hash >> 32) & t->mask;
    return other == first ? first ^ 1 : other;
}
/* Bit of the hints of a flow's first bucket. Bits 60.. choose no bucket: tables have 2^28 at most. */
static inline uint8_t dp_hint(uint64_t hash) { return (uint8_t)(1u << (hash >> 61)); }

/* An IPv6 key in words. Client hosts use many ports of one address: mixed in, line 0 tells them apart. */
struct dp_words {
    uint64_t key, high;
    uint32_t ports;
};
static inline struct dp_words dp_words_of(const struct dp_key6 *k) {
    struct dp_words w;
    __builtin_memcpy(&w.high, k->source, 8);
    __builtin_memcpy(&w.key, k->source + 8, 8);
    __builtin_memcpy(&w.ports, &k->port, 4);
    w.key ^= w.ports * UINT64_C(0x9e3779b97f4a7c15);
    return w;
}
static inline struct dp_key6 dp_key_of(struct dp_words w) {
    struct dp_key6 k = {.zero = 0};
    w.key ^= w.ports * UINT64_C(0x9e3779b97f4a7c15);
    __builtin_memcpy(k.source, &w.high, 8);
    __builtin_memcpy(k.source + 8, &w.key, 8);
    __builtin_memcpy(&k.port, &w.ports, 4);
    return k;
}
/* Words and hash of the flow in a place. */
struct dp_words dp_flow_words(const struct dp_flow_table *t, struct dp_bucket *b, unsigned at);
uint64_t dp_flow_hash(const struct dp_flow_table *t, struct dp_words w);
/* Take an entry out, its value first. */
void dp_flow_clear(const struct dp_flow_table *t, struct dp_bucket *b, unsigned at);
/* A table found in memory: made whole, counted. @return NULL or what stands in the way; nothing is changed then */
const char *dp_flow_recover(struct dp_flow_table *t);

/* Comparisons: flow_plain.c, flow_avx2.c, flow_avx512.c, the same text (flow_lookup.h) with other instructions. */
#define DP_FLOW_LEVEL(name)                                                                                            \
    void dp_flow_lookup4_##name(const struct dp_flow_table *t, const uint64_t *keys, unsigned n,                       \
                                const uint64_t *hashes, uint32_t *values, uint32_t *slots);                            \
    void dp_flow_lookup6_##name(const struct dp_flow_table *t, const struct dp_key6 *keys, unsigned n,                 \
                                const uint64_t *hashes, uint32_t *values, uint32_t *slots);
DP_FLOW_LEVEL(plain)
DP_FLOW_LEVEL(avx2)
DP_FLOW_LEVEL(avx512)

#endif
