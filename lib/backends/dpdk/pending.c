/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Lines of 64 bytes, seven entries of 8 bytes each: 48 bits of fingerprint, backend, epoch. A full line lends from its
 * neighbour, which the processor fetches along. Sixteen bits of fingerprint would do for SYNs; but while a service
 * spills every packet of an unknown flow asks too, and one false answer cuts an established connection: with 48 a
 * question is answered falsely once in 2^44 at worst (14 entries), with 16 once in 2^12.
 *
 * An epoch has four bits. They are never mistaken for those of 16 seconds ago: a line knows the whole epoch of its last
 * writing, and every writing takes out what is too old then.
 */
#include "pending.h"

#include <assert.h>
#include <stdlib.h>

enum { LINES_LOG2 = 16, ENTRIES = 7, EPOCH_MS = 1000, EPOCHS = 3 }; /* 4 MiB; 458,752 entries */

struct line {
    uint32_t written, lent; /* epochs: of the last writing; of the last entry put into the neighbour */
    uint64_t entry[ENTRIES];
};
static_assert(sizeof(struct line) == 64, "a line is a cache line");

struct dp_pending {
    uint64_t seed;
    struct line *lines, *own; /* own: NULL where the caller's memory is used */
};

struct dp_pending *dp_pending_new(uint64_t seed) {
    struct dp_pending *f = malloc(sizeof *f);
    size_t bytes = sizeof(struct line) << LINES_LOG2;
    struct line *lines = f ? aligned_alloc(128, bytes) : NULL;
    if (!lines) {
        free(f);
        return NULL;
    }
    for (size_t i = 0; i < bytes / sizeof *lines; i++)
        lines[i] = (struct line){0};
    *f = (struct dp_pending){seed, lines, lines};
    return f;
}

void dp_pending_free(struct dp_pending *f) {
    if (f)
        free(f->own);
    free(f);
}

size_t dp_pending_bytes(void) { return sizeof(struct line) << LINES_LOG2; }

void dp_pending_use(struct dp_pending *f, void *memory) {
    free(f->own);
    f->own = NULL;
    f->lines = memory;
}

static struct line *home(const struct dp_pending *f, uint64_t hash) {
    return &f->lines[(hash ^ f->seed) >> (64 - LINES_LOG2)];
}
static struct line *neighbour(const struct dp_pending *f, const struct line *l) {
    return &f->lines[(size_t)(l - f->lines) ^ 1];
}
/* Fingerprint in its place, never 0: the bits of the hash that do not choose the line. */
static uint64_t print_of(uint64_t hash) {
    uint64_t p = hash << LINES_LOG2;
    return p ? p : UINT64_C(1) << LINES_LOG2;
}
static_assert(LINES_LOG2 == 16, "line and fingerprint are the whole hash");

static uint64_t age(uint64_t entry, uint32_t epoch) { return (epoch - entry) & 15; }
static uint16_t backend_of(uint64_t entry) { return entry >> 4 & 4095; }
static bool matches(uint64_t entry, uint64_t print) { return entry >> LINES_LOG2 == print >> LINES_LOG2; }

static int find(const struct line *l, uint64_t print, uint32_t epoch) {
    if (epoch - l->written > EPOCHS)
        return -1;
    for (int i = 0; i < ENTRIES; i++)
        if (l->entry[i] && matches(l->entry[i], print) && age(l->entry[i], epoch) <= EPOCHS)
            return i;
    return -1;
}

/* Take out what is too old; returns a free place, -1 when none. */
static int tidy(struct line *l, uint32_t epoch) {
    int place = -1;
    bool all = epoch - l->written > EPOCHS;
    for (int i = 0; i < ENTRIES; i++) {
        if (all || age(l->entry[i], epoch) > EPOCHS)
            l->entry[i] = 0;
        if (!l->entry[i] && place < 0)
            place = i;
    }
    l->written = epoch;
    return place;
}

static int oldest(const struct line *l, uint32_t epoch) {
    int place = 0;
    for (int i = 1; i < ENTRIES; i++)
        if (age(l->entry[i], epoch) > age(l->entry[place], epoch))
            place = i;
    return place;
}

void dp_pending_put(struct dp_pending *f, uint64_t hash, uint16_t backend, uint64_t now_ms) {
    /* From 1 + EPOCHS, so that no line that was never written looks young. */
    uint32_t epoch = (uint32_t)(now_ms / EPOCH_MS) + 1 + EPOCHS;
    uint64_t print = print_of(hash), entry = print | (uint64_t)(backend & 4095) << 4 | (epoch & 15);
    struct line *h = home(f, hash), *n = neighbour(f, h);
    int at = find(h, print, epoch), free_at = tidy(h, epoch);
    bool lent = epoch - h->lent <= EPOCHS;
    if (at < 0 && lent && (at = find(n, print, epoch)) >= 0) {
        tidy(n, epoch);
        n->entry[at] = entry;
        h->lent = epoch;
        return;
    }
    at = at >= 0 ? at : free_at;
    if (at < 0 && (free_at = tidy(n, epoch)) >= 0) {
        n->entry[free_at] = entry;
        h->lent = epoch;
        return;
    }
    h->entry[at >= 0 ? at : oldest(h, epoch)] = entry;
}

bool dp_pending_get(const struct dp_pending *f, uint64_t hash, uint64_t now_ms, uint16_t *backend) {
    uint32_t epoch = (uint32_t)(now_ms / EPOCH_MS) + 1 + EPOCHS;
    uint64_t print = print_of(hash);
    const struct line *l = home(f, hash);
    int at = find(l, print, epoch);
    if (at < 0 && epoch - l->lent <= EPOCHS)
        at = find(l = neighbour(f, l), print, epoch);
    if (at >= 0)
        *backend = backend_of(l->entry[at]);
    return at >= 0;
}

void dp_pending_prefetch(const struct dp_pending *f, uint64_t hash) { __builtin_prefetch(home(f, hash)); }
