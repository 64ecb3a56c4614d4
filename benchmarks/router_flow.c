/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "router_flow.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "flow.h"
#include "region.h"

#if defined(__x86_64__)
#include <immintrin.h>
static void wait_for_loads(void) { _mm_lfence(); }
#else
#include <stdatomic.h>
static void wait_for_loads(void) { atomic_thread_fence(memory_order_seq_cst); }
#endif

enum { BURST = 32, BURSTS = 256, WINDOW = BURST * BURSTS, WINDOWS_MOST = 4096 };

double router_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double router_quartile(double *values, unsigned n) {
    qsort(values, n, sizeof *values, by_size);
    return n ? values[n / 4] : 0;
}

uint64_t router_random(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

uint64_t router_flow_key4(uint32_t i) { return dp_key4(0x0a000000 + (i >> 4), (uint16_t)(1024 + (i & 15)), 1); }

static struct dp_key6 key6(uint32_t i) {
    struct dp_key6 k = {{0x20, 0x01, 0x0d, 0xb8}, (uint16_t)(1024 + (i & 15)), 1, 0};
    uint32_t host = i >> 4;
    memcpy(k.source + 12, &host, 4);
    return k;
}

/* A window's keys are laid down before it is timed: what is timed reads them in a row, which costs next to nothing. */
struct bench {
    int ip;
    uint32_t flows;
    struct dp_region region;
    struct dp_flow_table *table;
    uint64_t random;
    uint64_t keys[WINDOW], hashes[BURST];
    struct dp_key6 keys6[WINDOW];
    uint32_t values[BURST], slots[BURST];
    uint64_t sum; /* keeps the compiler honest */
};

static void lay(struct bench *b, uint32_t from, uint32_t count, bool in_a_row) {
    for (uint32_t i = 0; i < WINDOW; i++) {
        uint32_t n = from + (in_a_row ? i : (uint32_t)((router_random(&b->random) >> 32) * count >> 32));
        if (b->ip == 4)
            b->keys[i] = router_flow_key4(n);
        else
            b->keys6[i] = key6(n);
    }
}

static void look_up(struct bench *b, unsigned i) {
    if (b->ip == 4)
        dp_flow_lookup4(b->table, b->keys + i, BURST, b->hashes, b->values, b->slots);
    else
        dp_flow_lookup6(b->table, b->keys6 + i, BURST, b->hashes, b->values, b->slots);
}

static uint32_t enter(struct bench *b, unsigned i, unsigned j) {
    uint32_t value = dp_flow_value(1 + (i & 63), DP_FLOW_OPEN, 0, 0);
    return b->ip == 4 ? dp_flow_insert4(b->table, b->keys[i + j], b->hashes[j], value)
                      : dp_flow_insert6(b->table, &b->keys6[i + j], b->hashes[j], value);
}

static double time_lookups(struct bench *b) {
    double begin = router_seconds();
    for (unsigned i = 0; i < WINDOW; i += BURST) {
        look_up(b, i);
        for (unsigned j = 0; j < BURST; j++)
            b->sum += b->values[j];
    }
    return (router_seconds() - begin) / WINDOW * 1e9;
}

static double time_inserts(struct bench *b) {
    double begin = router_seconds();
    for (unsigned i = 0; i < WINDOW; i += BURST) {
        look_up(b, i);
        for (unsigned j = 0; j < BURST; j++)
            b->sum += enter(b, i, j);
    }
    return (router_seconds() - begin) / WINDOW * 1e9;
}

static double time_erases(struct bench *b) {
    double begin = router_seconds();
    for (unsigned i = 0; i < WINDOW; i += BURST) {
        look_up(b, i);
        for (unsigned j = 0; j < BURST; j++)
            if (b->slots[j] != UINT32_MAX)
                dp_flow_erase(b->table, b->slots[j]);
    }
    return (router_seconds() - begin) / WINDOW * 1e9;
}

/*
 * The floor: the table's memory, lines chosen by dice that were thrown before. Alone: a burst has all of its lines
 * before the next one asks, as in a pipeline, where a burst is rewritten and sent before the next one is looked up.
 * Else the processor runs ahead into the next bursts, because a loop of nothing but loads fits its window.
 */
static double time_floor(struct bench *b, bool alone) {
    const uint8_t *memory = b->region.memory;
    uint64_t lines = dp_flow_capacity(b->table) / 5 * (b->ip == 4 ? 1 : 2);
    for (unsigned i = 0; i < WINDOW; i++)
        b->keys[i] = ((router_random(&b->random) >> 32) * lines >> 32) << 6;
    double begin = router_seconds();
    for (unsigned i = 0; i < WINDOW; i += BURST) {
        for (unsigned j = 0; j < BURST; j++)
            __builtin_prefetch(memory + b->keys[i + j]);
        for (unsigned j = 0; j < BURST; j++)
            b->sum += *(const volatile uint64_t *)(const volatile void *)(memory + b->keys[i + j]);
        if (alone)
            wait_for_loads();
    }
    return (router_seconds() - begin) / WINDOW * 1e9;
}

static int make(struct bench *b, int ip, uint32_t flows) {
    char why[DP_REGION_WHY];
    const char *reason;
    unsigned log2 = 1;
    enum dp_flow_family family = ip == 4 ? DP_FLOW_IP4 : DP_FLOW_IP6;
    while ((double)(UINT64_C(5) << log2) * 0.85 < flows)
        log2++;
    struct dp_region_spec spec = {.bytes = dp_flow_bytes(family, log2)};
    *b = (struct bench){.ip = ip, .flows = flows, .random = 2385};
    if (dp_region_open(&spec, &b->region, why) < 0)
        return -1;
    if (dp_flow_open(b->region.memory, spec.bytes, family, log2, true, 4711, &b->table, &reason) < 0) {
        dp_region_close(&b->region);
        return -1;
    }
    for (uint32_t at = 0; at < flows; at += WINDOW) {
        lay(b, at, 0, true);
        for (unsigned i = 0; i < WINDOW && at + i < flows; i += BURST) {
            look_up(b, i);
            for (unsigned j = 0; j < BURST && at + i + j < flows; j++)
                enter(b, i, j);
        }
    }
    return 0;
}

static void end(struct bench *b) {
    dp_flow_close(b->table);
    dp_region_close(&b->region);
    free(b);
}

int router_flow_measure(int ip, uint32_t flows, double seconds, struct router_flow_figures *out) {
    static double floors[WINDOWS_MOST], streams[WINDOWS_MOST], hits[WINDOWS_MOST], misses[WINDOWS_MOST],
        in[WINDOWS_MOST], away[WINDOWS_MOST];
    struct bench *b = malloc(sizeof *b);
    if (!b || make(b, ip, flows) < 0) {
        free(b);
        return -1;
    }
    double count = (double)dp_flow_count(b->table);
    unsigned n = 0;
    for (double stop = router_seconds() + seconds; n < WINDOWS_MOST && (n < 8 || router_seconds() < stop); n++) {
        floors[n] = time_floor(b, true);
        streams[n] = time_floor(b, false);
        lay(b, 0, flows, false);
        hits[n] = time_lookups(b);
        lay(b, UINT32_C(1) << 30, flows, false);
        misses[n] = time_lookups(b);
        if (flows >= 4 * WINDOW) { /* else they would change the load; in a row: all of them are new */
            lay(b, (UINT32_C(1) << 30) + (uint32_t)(router_random(&b->random) >> 36), 0, true);
            in[n] = time_inserts(b);
            away[n] = time_erases(b);
        }
    }
    struct router_flow_figures f = {.floor_ns = router_quartile(floors, n),
                                    .stream_ns = router_quartile(streams, n),
                                    .hit_ns = router_quartile(hits, n),
                                    .miss_ns = router_quartile(misses, n),
                                    .insert_ns = router_quartile(in, n),
                                    .erase_ns = router_quartile(away, n),
                                    .bytes_per_flow = (double)b->region.bytes / count,
                                    .load = count / (double)dp_flow_capacity(b->table)};
    f.over_floor = f.hit_ns / f.floor_ns;
    *out = f;
    end(b);
    return 0;
}
