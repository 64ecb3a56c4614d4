/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Flow table: opening, entering, taking out, walking. Layout and crash rules: flow_inside.h. */
#include "flow_inside.h"

#include "head.h"

#include <assert.h>
#include <stdatomic.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static_assert(sizeof(struct dp_bucket) == 64 && sizeof(struct dp_beside) == 64, "a bucket is a cache line");
static_assert(sizeof(struct dp_key6) == 24, "hashed as three words");

/* Stores stay in this order: a killed process has done all up to one of them. */
static inline void in_order(void) { atomic_signal_fence(memory_order_seq_cst); }

/* ---- opening ---- */

size_t dp_flow_bytes(enum dp_flow_family family, unsigned buckets_log2) {
    if (buckets_log2 < 1 || buckets_log2 > DP_FLOW_LOG2_MOST)
        return 0;
    return DP_FLOW_START + ((size_t)(family == DP_FLOW_IP6 ? 129 : 65) << buckets_log2);
}

int dp_flow_open(void *memory, size_t bytes, enum dp_flow_family family, unsigned buckets_log2, bool fresh,
                 uint64_t seed, struct dp_flow_table **out, const char **why) {
    size_t need = dp_flow_bytes(family, buckets_log2);
    uint64_t layout = (uint64_t)family << 8 | buckets_log2;
    if (!need || bytes < need || (uintptr_t)memory % 64)
        return *why = need ? "too little memory, or not aligned to 64 bytes" : "2 to 2^28 buckets are possible", -1;
    if (!fresh && (*why = dp_head_check(memory, DP_HEAD_FLOWS, DP_FLOW_VERSION, need, layout, &seed)))
        return -1;
    struct dp_flow_table *t = aligned_alloc(64, (sizeof *t + 63) / 64 * 64);
    if (!t)
        return *why = "out of memory", -ENOMEM;
    *t = (struct dp_flow_table){.buckets = (uint8_t *)memory + DP_FLOW_START,
                                .mask = (UINT32_C(1) << buckets_log2) - 1,
                                .shift = family == DP_FLOW_IP6 ? 7 : 6,
                                .family = (uint8_t)family};
    t->hints = t->buckets + ((size_t)1 << (buckets_log2 + t->shift));
    dp_hash_key_make(&t->key, seed);
    if (fresh) {
        dp_head_clear(memory);
        memset(t->buckets, 0, need - DP_FLOW_START);
        dp_head_write(memory, DP_HEAD_FLOWS, DP_FLOW_VERSION, need, layout, seed);
    } else if ((*why = dp_flow_recover(t))) {
        free(t);
        return -1;
    }
    *out = t;
    return 0;
}

void dp_flow_close(struct dp_flow_table *t) { free(t); }

uint64_t dp_flow_count(const struct dp_flow_table *t) { return t->count; }
uint64_t dp_flow_capacity(const struct dp_flow_table *t) { return ((uint64_t)t->mask + 1) * DP_SLOTS; }

/* ---- one entry ---- */

struct dp_words dp_flow_words(const struct dp_flow_table *t, struct dp_bucket *b, unsigned at) {
    struct dp_words w = {.key = b->key[at]};
    if (t->family == DP_FLOW_IP6) {
        w.high = dp_beside_of(b)->high[at];
        w.ports = dp_beside_of(b)->ports[at];
    }
    return w;
}

uint64_t dp_flow_hash(const struct dp_flow_table *t, struct dp_words w) {
    if (t->family == DP_FLOW_IP4)
        return dp_hash8(&t->key, w.key);
    struct dp_key6 k = dp_key_of(w);
    return dp_hash_bytes(&t->key, &k, sizeof k);
}

static void put(const struct dp_flow_table *t, struct dp_bucket *b, unsigned at, struct dp_words w, uint32_t value) {
    b->key[at] = w.key;
    if (t->family == DP_FLOW_IP6) {
        dp_beside_of(b)->high[at] = w.high;
        dp_beside_of(b)->ports[at] = w.ports;
    }
    in_order();
    b->value[at] = value;
    in_order();
}

void dp_flow_clear(const struct dp_flow_table *t, struct dp_bucket *b, unsigned at) {
    b->value[at] = 0;
    in_order();
    put(t, b, at, (struct dp_words){0}, 0);
}

static void away_one_more(struct dp_flow_table *t, uint64_t hash) {
    uint32_t first = dp_first(t, hash);
    dp_bucket_at(t, first)->value[DP_OVERFLOW]++;
    t->hints[first] |= dp_hint(hash);
}

/* A bit may be that of several flows: only the last one takes them along. */
static void away_one_less(struct dp_flow_table *t, uint32_t first) {
    if (--dp_bucket_at(t, first)->value[DP_OVERFLOW] == 0)
        t->hints[first] = 0;
}

/* DP_SLOTS when there is none. */
static unsigned free_slot(const struct dp_bucket *b) {
    unsigned i = 0;
    while (i < DP_SLOTS && b->value[i])
        i++;
    return i;
}

/* ---- displacement ---- */

/*
 * The shortest way to a free place, breadth first from the two buckets of the new flow: a step is a flow that would
 * move to its other bucket. The bound is far above what loads up to 0.9 need; it keeps the worst insert at
 * microseconds.
 */
enum { STEPS = 256 };
struct step {
    uint32_t bucket;
    uint16_t from; /* step before, */
    uint8_t at;    /* slot there whose flow would move here */
};

/* Move flows along the way that ends at `step`, last one first. @return the bucket whose slot *at is free now */
static uint32_t walk_back(struct dp_flow_table *t, const struct step *steps, unsigned step, unsigned *at) {
    unsigned hole = free_slot(dp_bucket_at(t, steps[step].bucket));
    while (step >= 2) {
        struct dp_bucket *to = dp_bucket_at(t, steps[step].bucket);
        unsigned slot = steps[step].at, from = steps[step].from;
        struct dp_bucket *b = dp_bucket_at(t, steps[from].bucket);
        struct dp_words w = dp_flow_words(t, b, slot);
        uint64_t hash = dp_flow_hash(t, w);
        bool leaves_home = dp_first(t, hash) == steps[from].bucket;
        if (leaves_home)
            away_one_more(t, hash);
        put(t, to, hole, w, b->value[slot]);
        dp_flow_clear(t, b, slot);
        if (!leaves_home)
            away_one_less(t, steps[step].bucket);
        hole = slot;
        step = from;
    }
    *at = hole;
    return steps[step].bucket;
}

static bool make_room(struct dp_flow_table *t, uint64_t hash, uint32_t *bucket, unsigned *at) {
    struct step steps[STEPS] = {{dp_first(t, hash), 0, 0}, {dp_other(t, hash), 0, 0}};
    unsigned count = 2;
    for (unsigned i = 0; i < count; i++) {
        struct dp_bucket *b = dp_bucket_at(t, steps[i].bucket);
        unsigned begin = count;
        for (unsigned s = 0; s < DP_SLOTS && count < STEPS; s++) {
            uint64_t h = dp_flow_hash(t, dp_flow_words(t, b, s));
            bool home = dp_first(t, h) == steps[i].bucket;
            steps[count] = (struct step){home ? dp_other(t, h) : dp_first(t, h), (uint16_t)i, (uint8_t)s};
            __builtin_prefetch(dp_bucket_at(t, steps[count++].bucket));
        }
        for (unsigned j = begin; j < count; j++)
            if (free_slot(dp_bucket_at(t, steps[j].bucket)) < DP_SLOTS) {
                *bucket = walk_back(t, steps, j, at);
                return true;
            }
    }
    return false;
}

/* ---- entering and taking out ---- */

static uint32_t insert(struct dp_flow_table *t, struct dp_words w, uint64_t hash, uint32_t value) {
    uint32_t first = dp_first(t, hash), bucket = first;
    struct dp_bucket *home = dp_bucket_at(t, first);
    unsigned at = free_slot(home);
    if (!value)
        return UINT32_MAX;
    if (at == DP_SLOTS) {
        bucket = dp_other(t, hash);
        at = free_slot(dp_bucket_at(t, bucket));
        if (at == DP_SLOTS && !make_room(t, hash, &bucket, &at))
            return UINT32_MAX;
        if (bucket != first)
            away_one_more(t, hash);
    }
    put(t, dp_bucket_at(t, bucket), at, w, value);
    t->count++;
    return bucket << 3 | at;
}

uint32_t dp_flow_insert4(struct dp_flow_table *t, uint64_t key, uint64_t hash, uint32_t value) {
    return insert(t, (struct dp_words){.key = key}, hash, value);
}

uint32_t dp_flow_insert6(struct dp_flow_table *t, const struct dp_key6 *key, uint64_t hash, uint32_t value) {
    return insert(t, dp_words_of(key), hash, value);
}

void dp_flow_prepare(const struct dp_flow_table *t, uint64_t hash) {
    if (free_slot(dp_bucket_at(t, dp_first(t, hash))) == DP_SLOTS)
        __builtin_prefetch(dp_bucket_at(t, dp_other(t, hash)));
}

void dp_flow_set(struct dp_flow_table *t, uint32_t slot, uint32_t value) {
    dp_bucket_at(t, slot >> 3)->value[slot & 7] = value;
}

void dp_flow_erase(struct dp_flow_table *t, uint32_t slot) {
    struct dp_bucket *b = dp_bucket_at(t, slot >> 3);
    uint64_t hash = dp_flow_hash(t, dp_flow_words(t, b, slot & 7));
    dp_flow_clear(t, b, slot & 7);
    if (dp_first(t, hash) != slot >> 3)
        away_one_less(t, dp_first(t, hash));
    t->count--;
}

/* ---- walking ---- */

bool dp_flow_next(const struct dp_flow_table *t, uint32_t *cursor, unsigned most, struct dp_key6 *key, uint32_t *value,
                  uint32_t *slot) {
    uint32_t bucket = *cursor >> 3, end = t->mask + 1;
    *slot = UINT32_MAX;
    for (unsigned at = *cursor & 7; bucket < end && most; bucket++, at = 0, most--) {
        struct dp_bucket *b = dp_bucket_at(t, bucket);
        for (; at < DP_SLOTS; at++)
            if (b->value[at]) {
                struct dp_words w = dp_flow_words(t, b, at);
                *key = t->family == DP_FLOW_IP6 ? dp_key_of(w) : (struct dp_key6){.zero = 0};
                if (t->family == DP_FLOW_IP4) {
                    memcpy(key->source, &(uint32_t){(uint32_t)w.key}, 4);
                    key->port = (uint16_t)(w.key >> 32);
                    key->frontend = (uint16_t)(w.key >> 48);
                }
                *value = b->value[at];
                *slot = bucket << 3 | at;
                *cursor = *slot + 1;
                return true;
            }
    }
    *cursor = bucket << 3;
    return bucket < end;
}

bool dp_flow_is_near(const struct dp_flow_table *t) { return dp_is_near(t); }

/* ---- comparison used ---- */

typedef void lookup4_fn(const struct dp_flow_table *, const uint64_t *, unsigned, const uint64_t *, uint32_t *,
                        uint32_t *);
typedef void lookup6_fn(const struct dp_flow_table *, const struct dp_key6 *, unsigned, const uint64_t *, uint32_t *,
                        uint32_t *);
static const struct {
    lookup4_fn *four;
    lookup6_fn *six;
} levels[] = {
    {NULL, NULL},
    {dp_flow_lookup4_plain, dp_flow_lookup6_plain},
#if defined(__x86_64__)
    {dp_flow_lookup4_avx2, dp_flow_lookup6_avx2},
    {dp_flow_lookup4_avx512, dp_flow_lookup6_avx512},
#endif
};
static atomic_int dp_flow_level; /* 0: not looked yet */

static int best(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl"))
        return 3;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi"))
        return 2;
#endif
    return 1;
}

int dp_flow_force(int level) {
    int most = best();
    if (level < 0 || level > most)
        return -1;
    atomic_store_explicit(&dp_flow_level, level ? level : most, memory_order_relaxed);
    return 0;
}

static int level(void) {
    int at = atomic_load_explicit(&dp_flow_level, memory_order_relaxed);
    if (!at)
        atomic_store_explicit(&dp_flow_level, at = best(), memory_order_relaxed);
    return at;
}

void dp_flow_lookup4(const struct dp_flow_table *t, const uint64_t *keys, unsigned n, uint64_t *hashes,
                     uint32_t *values, uint32_t *slots) {
    dp_hash8_many(&t->key, keys, hashes, n);
    levels[level()].four(t, keys, n, hashes, values, slots);
}

void dp_flow_lookup6(const struct dp_flow_table *t, const struct dp_key6 *keys, unsigned n, uint64_t *hashes,
                     uint32_t *values, uint32_t *slots) {
    dp_hash24_many(&t->key, keys, hashes, n);
    levels[level()].six(t, keys, n, hashes, values, slots);
}
