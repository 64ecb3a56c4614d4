/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the tests of the flow table share: a table of either family behind one face, keys by number. */
#ifndef TESTS_UNIT_DPDK_FLOWS_H
#define TESTS_UNIT_DPDK_FLOWS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flow.h"

struct flows {
    enum dp_flow_family family;
    struct dp_flow_table *table;
    void *memory;
    size_t bytes;
};

static inline uint64_t flows_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static inline void flows_make(struct flows *f, enum dp_flow_family family, unsigned log2, uint64_t seed) {
    const char *why = NULL;
    f->family = family;
    f->bytes = dp_flow_bytes(family, log2);
    f->memory = aligned_alloc(128, (f->bytes + 127) / 128 * 128);
    assert_non_null(f->memory);
    memset(f->memory, 0xa5, f->bytes); /* whatever stood there before */
    if (dp_flow_open(f->memory, f->bytes, family, log2, true, seed, &f->table, &why) < 0)
        fail_msg("%s", why);
}
static inline void flows_end(struct flows *f) {
    dp_flow_close(f->table);
    free(f->memory);
}

/* Keys by number: many ports of few hosts, as clients behind one address have them. */
static inline uint64_t flows_key4(uint32_t i) {
    return dp_key4(0x0a000000 + i / 40, (uint16_t)(1024 + i % 40 * 7), (uint16_t)(1 + i % 3));
}
static inline struct dp_key6 flows_key6(uint32_t i) {
    struct dp_key6 k = {{0x20, 0x01, 0x0d, 0xb8}, (uint16_t)(1024 + i % 40 * 7), (uint16_t)(1 + i % 3), 0};
    uint32_t host = i / 40;
    memcpy(k.source + (host & 1 ? 4 : 12), &host, 4); /* some differ in the upper half only */
    return k;
}
static inline uint32_t flows_number4(const struct dp_key6 *k) {
    uint32_t source;
    memcpy(&source, k->source, 4);
    return (source - 0x0a000000) * 40 + (uint32_t)(k->port - 1024) / 7;
}
static inline uint32_t flows_number6(const struct dp_key6 *k) {
    uint32_t low, high;
    memcpy(&low, k->source + 12, 4);
    memcpy(&high, k->source + 4, 4);
    return (low | high) * 40 + (uint32_t)(k->port - 1024) / 7;
}
static inline uint32_t flows_number(const struct flows *f, const struct dp_key6 *k) {
    return f->family == DP_FLOW_IP6 ? flows_number6(k) : flows_number4(k);
}

static inline void flows_find(const struct flows *f, const uint32_t *numbers, unsigned n, uint64_t *hashes,
                              uint32_t *values, uint32_t *slots) {
    uint64_t four[64];
    struct dp_key6 six[64];
    for (unsigned i = 0; i < n; i++)
        if (f->family == DP_FLOW_IP6)
            six[i] = flows_key6(numbers[i]);
        else
            four[i] = flows_key4(numbers[i]);
    if (f->family == DP_FLOW_IP6)
        dp_flow_lookup6(f->table, six, n, hashes, values, slots);
    else
        dp_flow_lookup4(f->table, four, n, hashes, values, slots);
}
static inline uint32_t flows_insert(struct flows *f, uint32_t number, uint64_t hash, uint32_t value) {
    struct dp_key6 six = flows_key6(number);
    return f->family == DP_FLOW_IP6 ? dp_flow_insert6(f->table, &six, hash, value)
                                    : dp_flow_insert4(f->table, flows_key4(number), hash, value);
}
/* Hash by looking up: the table's own key. */
static inline uint32_t flows_enter(struct flows *f, uint32_t number, uint32_t value) {
    uint64_t hash;
    uint32_t none, slot;
    flows_find(f, &number, 1, &hash, &none, &slot);
    assert_int_equal(slot, UINT32_MAX);
    return flows_insert(f, number, hash, value);
}
static inline uint32_t flows_value(const struct flows *f, uint32_t number, uint32_t *slot) {
    uint64_t hash;
    uint32_t value;
    flows_find(f, &number, 1, &hash, &value, slot);
    return value;
}

#endif
