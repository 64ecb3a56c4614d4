/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The lookup of a burst, written once. The including file defines LEVEL(name), TARGET and the two comparisons
 *     match(b, key)            bits of the slots of a line 0 that have this key
 *     beside(x, high, ports)   bits of the slots of a line 1 that have these
 *     value_of(b, bits)        value of the slot that these bits name, 0: they name none
 *
 * All lines are asked for before one is read, those of other buckets too: the table of hints, a byte a bucket and near
 * in the caches, says which flows may live there. Nothing branches on what a line holds: a burst has hits and misses in
 * any order, and a branch that is guessed wrongly is settled only when its line has come, which costs more than all
 * else.
 */
enum { TURN = 8 };

/* The place after the last value is the overflow word; here it means "not in this bucket". */
TARGET static inline void first_try(const struct dp_bucket *b, unsigned bits, uint32_t *value, uint32_t *place) {
    unsigned at = (unsigned)__builtin_ctz(bits | 1u << DP_OVERFLOW);
    *value = b->value[at];
    *place = at;
}

TARGET static inline void settle(unsigned n, uint32_t mask, const uint64_t *hashes, const uint32_t *places,
                                 uint32_t *values, uint32_t *slots) {
    for (unsigned i = 0; i < n; i++) {
        uint32_t value = values[i] & ~(0 - (places[i] / DP_OVERFLOW));
        values[i] = value;
        slots[i] = (((uint32_t)hashes[i] & mask) << 3 | places[i]) | (0 - (uint32_t)(value == 0));
    }
}

/* Found here: this; else what the first try said. */
TARGET static inline void second_try(const struct dp_bucket *b, uint32_t bucket, unsigned bits, uint32_t *value,
                                     uint32_t *slot) {
    unsigned at = (unsigned)__builtin_ctz(bits | 1u << DP_OVERFLOW);
    uint32_t here = at / DP_OVERFLOW - 1;
    *value = (b->value[at] & here) | (*value & ~here);
    *slot = ((bucket << 3 | at) & here) | (*slot & ~here);
}

/* Turns of a fixed length cost less than a loop whose end nobody can guess: the last one repeats what was done. */
TARGET static inline unsigned fill_up(unsigned *later, unsigned count) {
    for (unsigned i = 0; i < TURN; i++)
        later[count + i] = later[count - 1];
    return (count + TURN - 1) / TURN * TURN;
}

/* Asks for all lines; @return how many may be in their other bucket, which ones in `later` */
TARGET static inline unsigned ask(const struct dp_flow_table *t, const uint64_t *hashes, unsigned n, unsigned shift,
                                  unsigned *later) {
    const uint8_t *buckets = t->buckets, *hints = t->hints;
    const uint32_t mask = t->mask;
    unsigned count = 0;
    for (unsigned i = 0; i < n; i++)
        __builtin_prefetch(hints + ((uint32_t)hashes[i] & mask));
    for (unsigned i = 0; i < n; i++) {
        const uint8_t *at = buckets + ((size_t)((uint32_t)hashes[i] & mask) << shift);
        __builtin_prefetch(at);
        if (shift == 7)
            __builtin_prefetch(at + 64);
    }
    for (unsigned i = 0; i < n; i++) {
        uint32_t first = (uint32_t)hashes[i] & mask, other = (uint32_t)(hashes[i] >> 32) & mask;
        uint32_t away = hints[first] >> (hashes[i] >> 61) & 1;
        other ^= other == first;
        const uint8_t *at = buckets + ((size_t)(first ^ ((first ^ other) & (0 - away))) << shift);
        __builtin_prefetch(at);
        if (shift == 7)
            __builtin_prefetch(at + 64);
        later[count] = i;
        count += away;
    }
    return count;
}

/* Here, or not yet found. @return 1 when it was not */
TARGET static inline unsigned near_try(const struct dp_bucket *b, uint32_t bucket, unsigned bits, uint32_t *value,
                                       uint32_t *slot) {
    unsigned at = (unsigned)__builtin_ctz(bits | 1u << DP_OVERFLOW), away = bits == 0;
    *value = b->value[at] & (away - 1);
    if (slot)
        *slot = (bucket << 3 | at) | (0 - away);
    return away;
}

TARGET static inline void near4(const struct dp_flow_table *t, const uint64_t *keys, unsigned n, const uint64_t *hashes,
                                uint32_t *values, uint32_t *slots) {
    const uint8_t *buckets = t->buckets;
    const uint32_t mask = t->mask;
    unsigned later[64], count = 0;
    for (unsigned i = 0; i < n; i++) {
        uint32_t bucket = (uint32_t)hashes[i] & mask;
        const void *at = buckets + ((size_t)bucket << 6);
        later[count] = i;
        count += near_try(at, bucket, match(at, keys[i]), &values[i], &slots[i]);
    }
    for (unsigned j = 0; j < count; j++) {
        unsigned i = later[j];
        uint32_t bucket = dp_other(t, hashes[i]);
        const void *at = buckets + ((size_t)bucket << 6);
        near_try(at, bucket, match(at, keys[i]), &values[i], &slots[i]);
    }
}

/* Values alone: a flow is in one of two lines, and both are near. To look at both is less than to find out which. */
TARGET static inline void values4(const struct dp_flow_table *t, const uint64_t *keys, unsigned n,
                                  const uint64_t *hashes, uint32_t *values) {
    const uint8_t *buckets = t->buckets;
    const uint32_t mask = t->mask;
    for (unsigned i = 0; i < n; i++) {
        uint32_t first = (uint32_t)hashes[i] & mask, other = (uint32_t)(hashes[i] >> 32) & mask;
        other ^= other == first;
        const void *a = buckets + ((size_t)first << 6), *b = buckets + ((size_t)other << 6);
        values[i] = value_of(a, match(a, keys[i])) | value_of(b, match(b, keys[i]));
    }
}

TARGET void LEVEL(dp_flow_lookup4)(const struct dp_flow_table *t, const uint64_t *keys, unsigned n,
                                   const uint64_t *hashes, uint32_t *values, uint32_t *slots) {
    const uint8_t *buckets = t->buckets;
    const uint32_t mask = t->mask;
    unsigned later[64 + TURN];
    uint32_t places[64], unasked[64];
    if (dp_is_near(t)) {
        if (slots)
            near4(t, keys, n, hashes, values, slots);
        else
            values4(t, keys, n, hashes, values);
        return;
    }
    slots = slots ? slots : unasked;
    unsigned count = ask(t, hashes, n, 6, later);
    for (unsigned i = 0; i < n; i++) {
        const void *at = buckets + ((size_t)((uint32_t)hashes[i] & mask) << 6);
        first_try(at, match(at, keys[i]), &values[i], &places[i]);
    }
    settle(n, mask, hashes, places, values, slots);
    count = count ? fill_up(later, count) : 0;
    for (unsigned j = 0; j < count; j++) {
        unsigned i = later[j];
        uint32_t bucket = dp_other(t, hashes[i]);
        const void *at = buckets + ((size_t)bucket << 6);
        second_try(at, bucket, match(at, keys[i]), &values[i], &slots[i]);
    }
}

TARGET static inline unsigned match6(const struct dp_bucket *b, const struct dp_key6 *key) {
    struct dp_words w = dp_words_of(key);
    return match(b, w.key) & beside((const struct dp_beside *)(const void *)(b + 1), w.high, w.ports);
}

TARGET static inline __attribute__((always_inline)) void near6(const struct dp_flow_table *t,
                                                               const struct dp_key6 *keys, unsigned n,
                                                               const uint64_t *hashes, uint32_t *values,
                                                               uint32_t *slots) {
    const uint8_t *buckets = t->buckets;
    const uint32_t mask = t->mask;
    unsigned later[64], count = 0;
    for (unsigned i = 0; i < n; i++) {
        uint32_t bucket = (uint32_t)hashes[i] & mask;
        const void *at = buckets + ((size_t)bucket << 7);
        later[count] = i;
        count += near_try(at, bucket, match6(at, &keys[i]), &values[i], slots ? &slots[i] : NULL);
    }
    for (unsigned j = 0; j < count; j++) {
        unsigned i = later[j];
        uint32_t bucket = dp_other(t, hashes[i]);
        const void *at = buckets + ((size_t)bucket << 7);
        near_try(at, bucket, match6(at, &keys[i]), &values[i], slots ? &slots[i] : NULL);
    }
}

TARGET void LEVEL(dp_flow_lookup6)(const struct dp_flow_table *t, const struct dp_key6 *keys, unsigned n,
                                   const uint64_t *hashes, uint32_t *values, uint32_t *slots) {
    const uint8_t *buckets = t->buckets;
    const uint32_t mask = t->mask;
    unsigned later[64 + TURN];
    uint32_t places[64], unasked[64];
    if (dp_is_near(t)) {
        if (slots)
            near6(t, keys, n, hashes, values, slots);
        else
            near6(t, keys, n, hashes, values, NULL);
        return;
    }
    slots = slots ? slots : unasked;
    unsigned count = ask(t, hashes, n, 7, later);
    for (unsigned i = 0; i < n; i++) {
        const void *at = buckets + ((size_t)((uint32_t)hashes[i] & mask) << 7);
        first_try(at, match6(at, &keys[i]), &values[i], &places[i]);
    }
    settle(n, mask, hashes, places, values, slots);
    count = count ? fill_up(later, count) : 0;
    for (unsigned j = 0; j < count; j++) {
        unsigned i = later[j];
        uint32_t bucket = dp_other(t, hashes[i]);
        const void *at = buckets + ((size_t)bucket << 7);
        second_try(at, bucket, match6(at, &keys[i]), &values[i], &slots[i]);
    }
}
