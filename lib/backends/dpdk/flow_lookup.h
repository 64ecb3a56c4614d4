/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The lookup of a burst, written once. The including file defines LEVEL(name), TARGET and the two comparisons
 *     match(b, key)            bits of the slots of a line 0 that have this key
 *     beside(x, high, ports)   bits of the slots of a line 1 that have these
 * All lines are asked for before one is read. A flow that may live in its other bucket is put off, its line asked for
 * at once, and looked for there at the end, when the lines of the others have covered the wait.
 */

/* No branch on hit or miss: a burst holds both. The place after the last value is the overflow word. */
TARGET static inline uint32_t settle(const struct dp_bucket *b, uint32_t bucket, unsigned bits, uint32_t *value,
                                     uint32_t *slot) {
    unsigned at = (unsigned)__builtin_ctz(bits | 1u << DP_OVERFLOW);
    uint32_t word = b->value[at];
    uint32_t found = bits ? UINT32_MAX : 0;
    *value = word & found;
    *slot = *value ? bucket << 3 | at : UINT32_MAX;
    return word & ~found;
}

TARGET void LEVEL(dp_flow_lookup4)(const struct dp_flow_table *t, const uint64_t *keys, unsigned n,
                                   const uint64_t *hashes, uint32_t *values, uint32_t *slots) {
    uint8_t *const buckets = t->buckets;
    const uint32_t mask = t->mask;
    unsigned later[64], count = 0;
    for (unsigned i = 0; i < n; i++)
        __builtin_prefetch(buckets + ((size_t)((uint32_t)hashes[i] & mask) << 6));
    for (unsigned i = 0; i < n; i++) {
        uint32_t bucket = (uint32_t)hashes[i] & mask;
        const struct dp_bucket *b = (const struct dp_bucket *)(const void *)(buckets + ((size_t)bucket << 6));
        if (settle(b, bucket, match(b, keys[i]), &values[i], &slots[i]) & dp_filter_bit(hashes[i])) {
            __builtin_prefetch(dp_bucket_at(t, dp_other(t, hashes[i])));
            later[count++] = i;
        }
    }
    for (unsigned j = 0; j < count; j++) {
        unsigned i = later[j];
        uint32_t bucket = dp_other(t, hashes[i]);
        const struct dp_bucket *b = dp_bucket_at(t, bucket);
        settle(b, bucket, match(b, keys[i]), &values[i], &slots[i]);
    }
}

TARGET static inline unsigned match6(struct dp_bucket *b, const struct dp_words *w) {
    unsigned bits = match(b, w->key);
    return bits ? bits & beside(dp_beside_of(b), w->high, w->ports) : 0;
}

TARGET void LEVEL(dp_flow_lookup6)(const struct dp_flow_table *t, const struct dp_key6 *keys, unsigned n,
                                   const uint64_t *hashes, uint32_t *values, uint32_t *slots) {
    unsigned later[64], count = 0;
    for (unsigned i = 0; i < n; i++) {
        struct dp_bucket *b = dp_bucket_at(t, dp_first(t, hashes[i]));
        __builtin_prefetch(b);
        __builtin_prefetch(dp_beside_of(b));
    }
    for (unsigned i = 0; i < n; i++) {
        uint32_t bucket = dp_first(t, hashes[i]);
        struct dp_bucket *b = dp_bucket_at(t, bucket);
        struct dp_words w = dp_words_of(&keys[i]);
        if (settle(b, bucket, match6(b, &w), &values[i], &slots[i]) & dp_filter_bit(hashes[i])) {
            struct dp_bucket *o = dp_bucket_at(t, dp_other(t, hashes[i]));
            __builtin_prefetch(o);
            __builtin_prefetch(dp_beside_of(o));
            later[count++] = i;
        }
    }
    for (unsigned j = 0; j < count; j++) {
        unsigned i = later[j];
        uint32_t bucket = dp_other(t, hashes[i]);
        struct dp_bucket *b = dp_bucket_at(t, bucket);
        struct dp_words w = dp_words_of(&keys[i]);
        settle(b, bucket, match6(b, &w), &values[i], &slots[i]);
    }
}
