/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Lines of four entries; the name of a datagram is 64 bits of keyed hash, so a false answer is as likely as two equal
 * hashes within a second and a line: never in practice, and it costs one datagram.
 */
#include "fragments.h"

#include "hash.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { LINES = 4096, ENTRIES = 4, KEPT_MS = 1000 }; /* 256 KiB */

struct entry {
    uint64_t name;
    uint32_t at_ms; /* wraps after 49 days: differences count */
    uint16_t backend;
    uint16_t used;
};
struct line {
    struct entry entry[ENTRIES];
};
static_assert(sizeof(struct line) == 64, "a line is a cache line");

struct dp_fragments {
    struct line lines[LINES];
    struct dp_hash_key key;
};

struct dp_fragments *dp_fragments_new(uint64_t seed) {
    struct dp_fragments *f = aligned_alloc(64, (sizeof *f + 63) / 64 * 64);
    if (f) {
        memset(f, 0, sizeof *f);
        dp_hash_key_make(&f->key, seed);
    }
    return f;
}

void dp_fragments_free(struct dp_fragments *f) { free(f); }

static uint64_t name_of(const struct dp_fragments *f, const struct dp_packet *p) {
    uint8_t all[40] = {0};
    memcpy(all, p->source, 16);
    memcpy(all + 16, p->destination, 16);
    memcpy(all + 32, &p->fragment, 4);
    all[36] = p->protocol;
    all[37] = p->ip;
    return dp_hash_bytes(&f->key, all, sizeof all);
}

static bool lives(const struct entry *e, uint32_t now) { return e->used && now - e->at_ms < KEPT_MS; }

void dp_fragments_put(struct dp_fragments *f, const struct dp_packet *first, uint16_t backend, uint64_t now_ms) {
    uint64_t name = name_of(f, first);
    struct line *l = &f->lines[name % LINES];
    struct entry *place = l->entry;
    for (struct entry *e = l->entry; e < l->entry + ENTRIES; e++) {
        if (e->used && e->name == name) {
            place = e;
            break;
        }
        if (place->used && (!e->used || (uint32_t)now_ms - e->at_ms > (uint32_t)now_ms - place->at_ms))
            place = e;
    }
    *place = (struct entry){name, (uint32_t)now_ms, backend, 1};
}

bool dp_fragments_get(const struct dp_fragments *f, const struct dp_packet *later, uint64_t now_ms, uint16_t *backend) {
    uint64_t name = name_of(f, later);
    const struct line *l = &f->lines[name % LINES];
    for (const struct entry *e = l->entry; e < l->entry + ENTRIES; e++)
        if (e->name == name && lives(e, (uint32_t)now_ms)) {
            *backend = e->backend;
            return true;
        }
    return false;
}
