/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Two levels of tables, each looked at once: nothing can go round in circles, whatever points where. A place outside
 * the file, or not at the begin of a cluster, is a torn table, and then nothing of it is believed.
 */
#include "extents.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER     104
#define MAGIC      0x514649fbu
#define PLACE      0x00fffffffffffe00u /* in an entry of either level */
#define COMPRESSED ((uint64_t)1 << 62)
#define ALL_ZEROS  1u
#define UNDERSTOOD ((uint64_t)(1 | 8)) /* incompatible features: written when it was not closed, way of compression */

struct image {
    lv_read_at *read;
    void *from;
    uint64_t file_bytes, size, cluster, l1_at, l1_count;
    uint32_t bits;
    uint64_t tables; /* bytes of tables that were read */
    const struct lv_extents *only;
    size_t cursor; /* in only: all before it ends before what is looked at */
    char *why;
};

void lv_extents_clear(struct lv_extents *e) {
    lv_free(e->of);
    *e = (struct lv_extents){0};
}

static uint32_t be32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint64_t be64(const uint8_t *p) { return (uint64_t)be32(p) << 32 | be32(p + 4); }

static int wrong(const struct image *m, int code, const char *what, uint64_t where) {
    snprintf(m->why, LV_WHY, "qcow2: %s (%llu)", what, (unsigned long long)where);
    return code;
}

/* Longer the last one, unless that is among the first `fixed`, or one more. */
static int add(struct lv_extents *e, size_t fixed, struct lv_extent x) {
    struct lv_extent *last = e->count > fixed ? &e->of[e->count - 1] : NULL;
    if (last && last->at + last->bytes == x.at && last->file + last->length == x.file && last->bytes == last->length &&
        x.bytes == x.length) {
        last->bytes += x.bytes;
        last->length += x.length;
        return SPR_OK;
    }
    if (lv_grow((void **)&e->of, &e->cap, e->count + 1, sizeof *e->of) < 0)
        return SPR_E_NOMEM;
    e->of[e->count++] = x;
    return SPR_OK;
}

static int read_table(struct image *m, uint64_t at, uint64_t bytes, uint8_t **out) {
    m->tables += bytes;
    if (at % m->cluster || at < m->cluster || at > m->file_bytes || bytes > m->file_bytes - at)
        return wrong(m, SPR_E_FORMAT, "a table does not lie in the file", at);
    if (m->tables > LV_QCOW2_READ_MAX)
        return wrong(m, SPR_E_UNSUPPORTED, "its tables are too large", m->size);
    uint8_t *t = lv_alloc(bytes);
    if (!t)
        return SPR_E_NOMEM;
    if (m->read(m->from, at, t, bytes) < 0) {
        lv_free(t);
        return wrong(m, SPR_E_IO, "a table cannot be read", at);
    }
    *out = t;
    return SPR_OK;
}

static int read_header(struct image *m) {
    uint8_t h[HEADER];
    if (m->file_bytes < HEADER)
        return wrong(m, SPR_E_FORMAT, "the file is too short", m->file_bytes);
    if (m->read(m->from, 0, h, HEADER) < 0)
        return wrong(m, SPR_E_IO, "its header cannot be read", 0);
    uint32_t version = be32(h + 4);
    m->bits = be32(h + 20);
    m->size = be64(h + 24);
    m->l1_at = be64(h + 40);
    if (be32(h) != MAGIC || m->bits < 9 || m->bits > 21 || m->size > (uint64_t)1 << 62)
        return wrong(m, SPR_E_FORMAT, "it is no such image", version);
    if (version < 2 || version > 3 || (version == 3 && be64(h + 72) & ~UNDERSTOOD) || be32(h + 32))
        return wrong(m, SPR_E_UNSUPPORTED, "a version or feature that is not understood", version);
    m->cluster = (uint64_t)1 << m->bits;
    uint32_t span = m->bits + m->bits - 3; /* log2 of what one table of the second level covers */
    m->l1_count = (m->size >> span) + ((m->size & (((uint64_t)1 << span) - 1)) != 0);
    if (m->l1_count > LV_QCOW2_L1_MOST)
        return wrong(m, SPR_E_UNSUPPORTED, "it is too large", m->size);
    if (m->l1_count > be32(h + 36))
        return wrong(m, SPR_E_FORMAT, "its first table is too short", be32(h + 36));
    return SPR_OK;
}

/* Places asked for rise. */
static bool asked_for(struct image *m, uint64_t at, uint64_t bytes) {
    if (!m->only)
        return true;
    while (m->cursor < m->only->count && m->only->of[m->cursor].at + m->only->of[m->cursor].bytes <= at)
        m->cursor++;
    return m->cursor < m->only->count && m->only->of[m->cursor].at < at + bytes;
}

/* SPR_OK with x->length 0: nothing of its own is there. */
static int read_entry(const struct image *m, uint64_t entry, struct lv_extent *x) {
    x->length = 0;
    if (entry & COMPRESSED) {
        uint32_t shift = 62 - (m->bits - 8);
        x->file = entry & (((uint64_t)1 << shift) - 1);
        x->length = (((entry & ~((uint64_t)3 << 62)) >> shift) + 1) * 512 - (x->file & 511);
    } else if ((entry & PLACE) && !(entry & ALL_ZEROS)) {
        x->file = entry & PLACE;
        x->length = x->bytes;
        if (x->file % m->cluster)
            return wrong(m, SPR_E_FORMAT, "a cluster begins in the middle of one", x->file);
    }
    if (x->length && (x->file < m->cluster || x->file >= m->file_bytes))
        return wrong(m, SPR_E_FORMAT, "a cluster does not lie in the file", x->file);
    return SPR_OK;
}

static int read_l2(struct image *m, const uint8_t *table, uint64_t first, struct lv_extents *out) {
    for (uint64_t i = 0; i < m->cluster / 8; i++) {
        struct lv_extent x = {.at = first + (i << m->bits), .bytes = m->cluster};
        if (x.at >= m->size)
            break;
        if (x.bytes > m->size - x.at)
            x.bytes = m->size - x.at;
        if (!asked_for(m, x.at, x.bytes))
            continue;
        int rc = read_entry(m, be64(table + 8 * i), &x);
        if (rc == SPR_OK && x.length)
            rc = add(out, 0, x);
        if (rc < 0)
            return rc;
        if (out->count > LV_EXTENTS_MOST)
            return wrong(m, SPR_E_UNSUPPORTED, "it is in too many pieces", out->count);
    }
    return SPR_OK;
}

static int read_l1(struct image *m, const uint8_t *l1, struct lv_extents *out) {
    uint64_t span = m->cluster / 8 << m->bits;
    for (uint64_t i = 0; i < m->l1_count; i++) {
        uint64_t place = be64(l1 + 8 * i) & PLACE;
        uint8_t *l2 = NULL;
        if (!place || !asked_for(m, i * span, span))
            continue;
        int rc = read_table(m, place, m->cluster, &l2);
        if (rc == SPR_OK)
            rc = read_l2(m, l2, i * span, out);
        lv_free(l2);
        if (rc < 0)
            return rc;
    }
    return SPR_OK;
}

int lv_qcow2_map(lv_read_at *read, void *from, uint64_t file_bytes, const struct lv_extents *only,
                 struct lv_extents *out, char why[LV_WHY]) {
    struct image m = {.read = read, .from = from, .file_bytes = file_bytes, .only = only, .why = why};
    struct lv_extents made = {0};
    uint8_t *l1 = NULL;
    int rc = read_header(&m);
    if (rc == SPR_OK && m.l1_count)
        rc = read_table(&m, m.l1_at, m.l1_count * 8, &l1);
    if (rc == SPR_OK && m.l1_count)
        rc = read_l1(&m, l1, &made);
    lv_free(l1);
    if (rc == SPR_OK)
        *out = made;
    else
        lv_extents_clear(&made);
    if (rc == SPR_E_NOMEM)
        snprintf(why, LV_WHY, "out of memory");
    return rc;
}

/* ---- the order ---- */

static int by_file(const void *a, const void *b) {
    const struct lv_extent *x = a, *y = b;
    return (x->file > y->file) - (x->file < y->file);
}

/* [from, to) of the file; what is before `fixed` in the list stays as it is. */
static int add_range(struct lv_extents *e, uint64_t from, uint64_t to, size_t fixed) {
    if (from >= to)
        return SPR_OK;
    return add(e, fixed, (struct lv_extent){.at = from, .bytes = to - from, .file = from, .length = to - from});
}

static int order(const struct lv_extents *sorted, uint64_t file_bytes, struct lv_extents *out, size_t *hot_count) {
    uint64_t at = 0;
    int rc = SPR_OK;
    for (size_t i = 0; i < sorted->count && rc == SPR_OK; i++) {
        const struct lv_extent *x = &sorted->of[i];
        uint64_t from = x->file > at ? x->file : at, end = x->file < file_bytes ? x->file : file_bytes;
        end = x->length < file_bytes - end ? end + x->length : file_bytes;
        rc = add_range(out, from, end, 0);
        at = end > at ? end : at;
    }
    size_t n = *hot_count = out->count;
    at = 0;
    for (size_t i = 0; i < n && rc == SPR_OK; i++) {
        struct lv_extent x = out->of[i];
        rc = add_range(out, at, x.file, n);
        at = x.file + x.length;
    }
    return rc == SPR_OK ? add_range(out, at, file_bytes, n) : rc;
}

int lv_extents_order(const struct lv_extents *hot, uint64_t file_bytes, struct lv_extents *out, size_t *hot_count) {
    struct lv_extents sorted = {0}, made = {0};
    size_t n = 0;
    int rc = SPR_OK;
    if (hot && hot->count) {
        rc = lv_grow((void **)&sorted.of, &sorted.cap, hot->count, sizeof *sorted.of);
        if (rc == SPR_OK) {
            memcpy(sorted.of, hot->of, hot->count * sizeof *sorted.of);
            sorted.count = hot->count;
            qsort(sorted.of, sorted.count, sizeof *sorted.of, by_file);
        }
    }
    if (rc == SPR_OK)
        rc = order(&sorted, file_bytes, &made, &n);
    lv_extents_clear(&sorted);
    if (rc < 0) {
        lv_extents_clear(&made);
        return SPR_E_NOMEM;
    }
    *out = made;
    *hot_count = n;
    return SPR_OK;
}
