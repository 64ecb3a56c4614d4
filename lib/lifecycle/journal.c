/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A shard as a journal record and back; byte by byte in doc/journal.md. A record is the whole shard after a
 * change, so the newest one of each shard is all that recovery needs.
 */
#include "lifecycle/lifecycle.h"

enum { RECORD_FENCE = 1, RECORD_SHARD = 2, RECORD_WAITING = 3 }; /* 3: a shard that waits warm, and until when */
enum { FLAG_SERVING = 1, FLAG_PROMOTE = 2 };
enum { PIECE_DOOMED = 1, PIECE_HEARD = 2 };

/* ---- writing: numbers are little-endian whatever the machine ---- */

static void put(uint8_t **at, uint64_t x, int bytes) {
    for (int i = 0; i < bytes; i++)
        *(*at)++ = (uint8_t)(x >> (8 * i));
}

static void put_amounts(uint8_t **at, const struct spr_amounts *a) {
    uint16_t mask = 0;
    for (int r = 0; r < SPR_RESOURCES_MAX; r++)
        if (a->of[r] != 0)
            mask |= (uint16_t)(1u << r);
    put(at, mask, 2);
    for (int r = 0; r < SPR_RESOURCES_MAX; r++)
        if (mask >> r & 1) {
            uint64_t bits;
            memcpy(&bits, &a->of[r], sizeof bits);
            put(at, bits, 8);
        }
}

static void put_text(uint8_t **at, const char *text) {
    size_t n = strlen(text);
    put(at, n, 2);
    memcpy(*at, text, n);
    *at += n;
}

#define AMOUNTS_MAX (2 + 8 * SPR_RESOURCES_MAX)
#define PIECE_MAX   (8 + 4 + 8 + 8 + AMOUNTS_MAX)
#define SHARD_MAX   (4 + 8 + 8 + 8 + 4 + 8 + 2 * AMOUNTS_MAX + 4 + 4 + 9)

static void put_piece(uint8_t **at, const struct spr__piece *p) {
    put(at, p->number, 8);
    put(at, (uint64_t)p->phase, 1);
    put(at, (uint64_t)((p->doomed ? PIECE_DOOMED : 0) | (p->heard ? PIECE_HEARD : 0)), 1);
    put(at, (uint64_t)p->because, 1);
    put(at, 0, 1);
    put(at, (uint64_t)p->asked.wall_ns, 8);
    put(at, p->replaces, 8);
    put_amounts(at, &p->amounts);
}

static size_t encode(struct spr_lifecycle *l, const struct spr__shard *s, struct spr_time now) {
    uint8_t *at = l->record;
    put(&at, s->warm ? RECORD_WAITING : RECORD_SHARD, 1);
    put(&at, 0, 3);
    put(&at, l->fence, 8);
    put(&at, (uint64_t)now.wall_ns, 8);
    put(&at, s->id, 8);
    put(&at, (uint64_t)s->kind, 1);
    put(&at, (uint64_t)s->state, 1);
    put(&at, (uint64_t)s->because, 1);
    put(&at, (uint64_t)((s->serving ? FLAG_SERVING : 0) | (s->promote ? FLAG_PROMOTE : 0)), 1);
    put(&at, s->next_piece, 8);
    put_amounts(&at, &s->ready);
    put_amounts(&at, &s->draining);
    put(&at, s->piece_count, 4);
    for (size_t i = 0; i < s->piece_count; i++)
        put_piece(&at, &s->pieces[i]);
    put_text(&at, s->vm_name);
    put_text(&at, s->host_name);
    if (s->warm) {
        put(&at, (uint64_t)s->warm, 1);
        put(&at, (uint64_t)s->wake.wall_ns, 8);
    }
    return (size_t)(at - l->record);
}

static int append(struct spr_lifecycle *l, size_t bytes, int64_t deadline, spr_ticket *ticket) {
    int rc = l->store.append(l->store_state, l->record, bytes, deadline, ticket);
    if (rc >= 0)
        l->journal_waits++;
    return rc;
}

int spr__journal_append(struct spr_lifecycle *l, struct spr__shard *s, struct spr_time now) {
    if (!l->has_store)
        return SPR_OK;
    size_t need = SHARD_MAX + s->piece_count * PIECE_MAX + strlen(s->vm_name) + strlen(s->host_name);
    spr_ticket ticket = 0;
    int rc = spr__reserve(l->ctx, (void **)&l->record, &l->record_cap, need, 1);
    if (rc < 0)
        return rc;
    if ((rc = append(l, encode(l, s, now), now.mono_ns + (int64_t)(l->opts.call_deadline_s * 1e9), &ticket)) < 0)
        return rc;
    s->journal = ticket;
    spr__journal_collect(l, now); /* most stores are done by now */
    return s->journal == ticket || !s->dirty ? SPR_OK : SPR_E_IO;
}

int spr__journal_fence(struct spr_lifecycle *l) {
    spr_ticket ticket;
    int rc = spr__reserve(l->ctx, (void **)&l->record, &l->record_cap, SHARD_MAX, 1);
    if (rc < 0 || !l->has_store)
        return rc;
    uint8_t *at = l->record;
    put(&at, RECORD_FENCE, 1);
    put(&at, 0, 3);
    put(&at, l->fence, 8);
    return append(l, (size_t)(at - l->record), INT64_MAX, &ticket);
}

static void became_durable(struct spr_lifecycle *l, const struct spr_store_completion *c) {
    for (size_t i = 0; i < l->shard_count; i++) {
        struct spr__shard *s = l->shards[i];
        if (s->journal != c->ticket)
            continue;
        s->journal = 0;
        if (c->outcome != SPR_DONE) {
            s->dirty = true;
            spr__log(l->ctx, SPR_LOG_ERROR, "lifecycle", s->vm_name, "the journal refused shard %llu: %s",
                     (unsigned long long)s->id, c->text ? c->text : spr_error_text(c->code));
        }
        return;
    }
}

int spr__journal_collect(struct spr_lifecycle *l, struct spr_time now) {
    int handled = 0;
    while (l->journal_waits) {
        struct spr_store_completion c[16];
        size_t n = 0;
        for (size_t i = 0; i < SPR_ARRAY_LEN(c); i++)
            c[i] = (struct spr_store_completion){.size = sizeof *c};
        if (l->store.collect(l->store_state, now, c, SPR_ARRAY_LEN(c), &n) < 0 || !n)
            return handled;
        for (size_t i = 0; i < n && l->journal_waits; i++, l->journal_waits--, handled++)
            became_durable(l, &c[i]);
    }
    return handled;
}

/* ---- reading: a record is believed in whole or not at all ---- */

struct reader {
    const uint8_t *at, *end;
    bool bad;
};

static uint64_t get(struct reader *r, int bytes) {
    uint64_t x = 0;
    if (r->end - r->at < bytes) {
        r->bad = true;
        return 0;
    }
    for (int i = 0; i < bytes; i++)
        x |= (uint64_t)*r->at++ << (8 * i);
    return x;
}

static struct spr_amounts get_amounts(struct reader *r) {
    struct spr_amounts a = {{0}};
    uint64_t mask = get(r, 2);
    r->bad |= mask >> SPR_RESOURCES_MAX != 0;
    for (int i = 0; i < SPR_RESOURCES_MAX; i++)
        if (mask >> i & 1) {
            uint64_t bits = get(r, 8);
            memcpy(&a.of[i], &bits, sizeof bits);
            r->bad |= !(isfinite(a.of[i]) && a.of[i] >= 0);
        }
    return a;
}

/* A name as a text of its own; NULL when it is damaged or there is no memory (told apart by r->bad). */
static char *get_text(struct spr_lifecycle *l, struct reader *r) {
    size_t n = (size_t)get(r, 2);
    if (r->bad || (size_t)(r->end - r->at) < n || !n || memchr(r->at, 0, n)) {
        r->bad = true;
        return NULL;
    }
    char *text = spr__alloc(l->ctx, n + 1, 1);
    if (text)
        memcpy(text, r->at, n);
    r->at += n;
    return text;
}

static int get_pieces(struct spr_lifecycle *l, struct reader *r, struct spr__shard *s) {
    uint64_t n = get(r, 4);
    for (uint64_t i = 0; i < n && !r->bad; i++) {
        int rc = spr__reserve(l->ctx, (void **)&s->pieces, &s->piece_cap, s->piece_count + 1, sizeof *s->pieces);
        if (rc < 0)
            return rc;
        struct spr__piece *p = &s->pieces[s->piece_count++];
        memset(p, 0, sizeof *p);
        p->number = get(r, 8);
        p->phase = (int32_t)get(r, 1);
        uint64_t flags = get(r, 1);
        p->because = (int32_t)get(r, 1);
        get(r, 1);
        p->asked.wall_ns = (int64_t)get(r, 8);
        p->replaces = get(r, 8);
        p->amounts = get_amounts(r);
        p->doomed = flags & PIECE_DOOMED;
        p->heard = true; /* written before the driver was asked; nobody knows whether it was */
        p->trim = true;  /* nor whether it heard of a shrinking */
        r->bad |= p->phase > SPR__PHASE_WARM || p->because >= SPR_BECAUSE_COUNT_ || !p->number;
    }
    return SPR_OK;
}

static int get_shard(struct spr_lifecycle *l, struct reader *r, struct spr__shard *s, bool waiting) {
    get(r, 8); /* wall time: for people */
    s->id = get(r, 8);
    s->kind = (int32_t)get(r, 1);
    s->state = (int32_t)get(r, 1);
    s->because = (int32_t)get(r, 1);
    uint64_t flags = get(r, 1);
    s->serving = flags & FLAG_SERVING;
    s->promote = flags & FLAG_PROMOTE;
    s->next_piece = get(r, 8);
    s->first = 1;
    s->ready = get_amounts(r);
    s->draining = get_amounts(r);
    r->bad |= !s->id || s->id == UINT64_MAX || !s->next_piece || s->kind > SPR_SHARD_HEADROOM ||
              s->state >= SPR_SHARD_STATE_COUNT_ || s->because >= SPR_BECAUSE_COUNT_;
    int rc = get_pieces(l, r, s);
    if (rc < 0 || r->bad)
        return rc;
    s->vm_name = get_text(l, r);
    s->host_name = r->bad || !s->vm_name ? NULL : get_text(l, r);
    if (!s->host_name && !r->bad)
        return spr__nomem(l->ctx);
    s->warm = waiting ? (int32_t)get(r, 1) : SPR_WARM_ANY;
    s->wake.wall_ns = waiting ? (int64_t)get(r, 8) : 0;
    s->waits = -1;
    r->bad |= waiting && (s->warm == SPR_WARM_ANY || s->warm >= SPR_WARM_STATE_END_);
    s->vm = s->host = -1;
    return SPR_OK;
}

/* The newest record of a shard takes the place of the one before. */
static int place(struct spr_lifecycle *l, struct spr__shard *s) {
    struct spr__shard *old = spr__shard_find(l, s->id);
    l->next_id = SPR_MAX(l->next_id, s->id + 1);
    if (old)
        spr__shard_remove(l, old);
    if (s->state == SPR_SHARD_RELEASED) {
        spr__shard_free(l, s);
        return SPR_OK;
    }
    int rc = spr__reserve(l->ctx, (void **)&l->shards, &l->shard_cap, l->shard_count + 1, sizeof *l->shards);
    if (rc < 0)
        return rc;
    size_t i = l->shard_count++;
    for (; i > 0 && l->shards[i - 1]->id > s->id; i--)
        l->shards[i] = l->shards[i - 1];
    l->shards[i] = s;
    return SPR_OK;
}

int spr__journal_decode(struct spr_lifecycle *l, const uint8_t *data, size_t bytes, uint64_t *fence) {
    struct reader r = {data, data + bytes, false};
    uint64_t type = get(&r, 1), f;
    get(&r, 3);
    f = get(&r, 8);
    bool shard = type == RECORD_SHARD || type == RECORD_WAITING;
    if (!r.bad && type != RECORD_FENCE && !shard)
        return spr__fail(l->ctx, SPR_E_TOO_NEW, "the journal has a record of type %d, which this library does not know",
                         (int)type);
    if (!r.bad && type == RECORD_FENCE && r.at == r.end) {
        *fence = SPR_MAX(*fence, f);
        return SPR_OK;
    }
    struct spr__shard *s = spr__alloc(l->ctx, 1, sizeof *s);
    if (!s)
        return spr__nomem(l->ctx);
    int rc = shard && !r.bad ? get_shard(l, &r, s, type == RECORD_WAITING) : SPR_OK;
    if (rc >= 0 && (r.bad || r.at != r.end || !shard))
        rc = spr__fail(l->ctx, SPR_E_CORRUPT, "a journal record of %zu bytes is damaged although its checksum is right",
                       bytes);
    if (rc >= 0)
        rc = place(l, s);
    if (rc < 0)
        spr__shard_free(l, s);
    else
        *fence = SPR_MAX(*fence, f);
    return rc;
}

struct reading {
    struct spr_lifecycle *l;
    uint64_t fence;
};

static int read_one(void *user, const void *data, size_t bytes) {
    struct reading *r = user;
    return spr__journal_decode(r->l, data, bytes, &r->fence);
}

int spr__journal_read(struct spr_lifecycle *l, uint64_t *fence) {
    struct reading r = {l, 0};
    int64_t torn = 0;
    int rc = l->store.read(l->store_state, read_one, &r, &torn);
    if (rc >= 0 && torn > 0)
        spr__log(l->ctx, SPR_LOG_WARN, "lifecycle", l->store.name,
                 "the journal ended in the middle of a record: %lld bytes cut", (long long)torn);
    *fence = r.fence;
    return rc;
}
