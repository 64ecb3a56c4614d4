/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Flow table of one lcore: one writer, no locks. Buckets of 64 bytes: five exact 8-byte keys, five 4-byte values, an
 * overflow count. Two choices by hash, the first preferred, and displacement with a bound; a bucket whose keys all live
 * where they were first sought has overflow 0 and costs one line to miss in. The memory is the caller's (huge pages, a
 * shared region that outlives the process) and begins with a header that says version, sizes and hash key.
 */
#ifndef SPR_DPDK_FLOW_H
#define SPR_DPDK_FLOW_H

#include "hash.h"

#include <stdbool.h>

/* A flow in 32 bits. */
enum { DP_FLOW_NONE, DP_FLOW_OPEN, DP_FLOW_CLOSING, DP_FLOW_LEARNED };
#define DP_FLOW_AGE UINT32_C(0x00ff0000) /* where the age is in a value */
static inline uint32_t dp_flow_value(unsigned backend, unsigned state, unsigned age, unsigned generation) {
    return (uint32_t)backend | (uint32_t)state << 12 | (uint32_t)(age & 255) << 16 | (uint32_t)(generation & 255) << 24;
}
static inline unsigned dp_flow_backend(uint32_t v) { return v & 4095; }
static inline unsigned dp_flow_state(uint32_t v) { return v >> 12 & 15; }
static inline unsigned dp_flow_age(uint32_t v) { return v >> 16 & 255; }
static inline unsigned dp_flow_generation(uint32_t v) { return v >> 24; }

struct dp_key6 { /* {source address, source port, frontend}: exact, as dp_key4 is for IPv4 */
    uint8_t source[16];
    uint16_t port, frontend;
    uint32_t zero;
};
/* IPv4: source address, source port (network order) and frontend in one word. Never 0: frontends count from 1. */
static inline uint64_t dp_key4(uint32_t source, uint16_t port, uint16_t frontend) {
    return (uint64_t)source | (uint64_t)port << 32 | (uint64_t)frontend << 48;
}

struct dp_flow_table; /* opaque: flow.c */
enum dp_flow_family { DP_FLOW_IP4, DP_FLOW_IP6 };

/* Bytes that a table of 2^buckets_log2 buckets needs. */
size_t dp_flow_bytes(enum dp_flow_family family, unsigned buckets_log2);
/*
 * A table in `memory` (64-byte aligned): new when `seed` is given by `fresh`, else the one that is there is taken as it
 * stands after its header was checked. @return 0; -ENOMEM, or -1 where it cannot be used; and *why
 */
int dp_flow_open(void *memory, size_t bytes, enum dp_flow_family family, unsigned buckets_log2, bool fresh,
                 uint64_t seed, struct dp_flow_table **out, const char **why);
void dp_flow_close(struct dp_flow_table *t); /* frees the handle, leaves the memory */

/*
 * Look n <= 64 keys up. values[i] = 0 and slots[i] = UINT32_MAX where there is none. Prefetches all, then compares: the
 * cost is one line per key. `hashes` are returned too: an insert needs them again. `slots` may be NULL.
 */
void dp_flow_lookup4(const struct dp_flow_table *t, const uint64_t *keys, unsigned n, uint64_t *hashes,
                     uint32_t *values, uint32_t *slots);
void dp_flow_lookup6(const struct dp_flow_table *t, const struct dp_key6 *keys, unsigned n, uint64_t *hashes,
                     uint32_t *values, uint32_t *slots);
/* The key must not be in the table. Slots of other keys may change (displacement). @return slot or UINT32_MAX: full */
uint32_t dp_flow_insert4(struct dp_flow_table *t, uint64_t key, uint64_t hash, uint32_t value);
uint32_t dp_flow_insert6(struct dp_flow_table *t, const struct dp_key6 *key, uint64_t hash, uint32_t value);
/* Change or take out by slot, as lookup or insert returned it with no insert in between. */
void dp_flow_set(struct dp_flow_table *t, uint32_t slot, uint32_t value);
void dp_flow_erase(struct dp_flow_table *t, uint32_t slot);
/* Looked up, not there, and may be entered soon: what that will touch comes while other work is done. */
void dp_flow_prepare(const struct dp_flow_table *t, uint64_t hash);
/* Few buckets: they are in the second-level cache, and lookups do without slots and without asking ahead. */
bool dp_flow_is_near(const struct dp_flow_table *t);
uint64_t dp_flow_count(const struct dp_flow_table *t);
uint64_t dp_flow_capacity(const struct dp_flow_table *t);
/*
 * Walk: call with *cursor = 0, until it returns false. Fills the key of the table's family; *value 0 is never given.
 * With `most` buckets looked at per call at most (returns true with *slot UINT32_MAX when none of them had a flow).
 */
bool dp_flow_next(const struct dp_flow_table *t, uint32_t *cursor, unsigned most, struct dp_key6 *key, uint32_t *value,
                  uint32_t *slot);
/* Comparison used: tests force one. 0 = best this CPU has, 1 = plain C, 2 = AVX2, 3 = AVX-512. @return 0 or -1 */
int dp_flow_force(int level);

#endif
