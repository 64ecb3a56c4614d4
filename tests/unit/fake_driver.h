/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A driver that does what a test tells it: delays, refusals, failures, answers that never come. What stands on its
 * hosts lives in a struct fake_world of plain bytes, so that it survives the controller and may lie in shared memory.
 */
#ifndef TESTS_UNIT_FAKE_DRIVER_H
#define TESTS_UNIT_FAKE_DRIVER_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <shardpredict/ops/driver.h>

#define FAKE_SHARDS 64
#define FAKE_PIECES 12
#define FAKE_CALLS  512
#define FAKE_R      2 /* CPU and memory are enough */

struct fake_piece {
    uint64_t number;
    double amount[FAKE_R];
};
struct fake_shard {
    uint64_t id, fence;
    char vm[24], host[24];
    int32_t kind, piece_count;
    bool active, reserved;
    int32_t warm; /* how it waits, as WARM asked */
    double ready[FAKE_R], drain[FAKE_R], used[FAKE_R];
    double warmness;
    uint64_t over; /* bit n % 64: growth n became ready or was given back; asking again changes nothing */
    struct fake_piece pieces[FAKE_PIECES];
};
struct fake_call {
    spr_ticket ticket;
    int64_t due, deadline;
    int32_t verb, outcome, code;
    bool fresh; /* has made a growth, or asks once more for one */
    bool late;  /* takes effect when it ends, not when it is accepted */
    uint64_t shard, piece, fence;
    int32_t kind, warm;
    char vm[24], host[24];
    double amount[FAKE_R];
};
struct fake_world {
    /* the script, by verb */
    int64_t delay_ns[SPR_DRIVER_VERB_END_];
    int fail[SPR_DRIVER_VERB_END_];    /* so many next ones fail */
    int refuse[SPR_DRIVER_VERB_END_];  /* so many next ones are not even accepted */
    int swallow[SPR_DRIVER_VERB_END_]; /* so many next ones happen, but end as unknown */
    int drop[SPR_DRIVER_VERB_END_];    /* so many next ones neither happen nor end */
    int code;                          /* of refusals and failures; 0 = SPR_E_IO */
    char why[48];                      /* what it says when it does not know how a call ended */
    bool late;                         /* effects come at the end of a call */
    double warmness;                   /* that WARM reaches; 0 = 1 */
    char host_down[24];
    double drain_left; /* share of a drain that is used by flows; they stay until the test ends them */
    /* what stands there */
    uint64_t fence;
    struct fake_shard shards[FAKE_SHARDS];
    int32_t shard_count;
    struct fake_call calls[FAKE_CALLS];
    int32_t call_count;
    spr_ticket last_ticket;
    /* what was asked for */
    int64_t asked[SPR_DRIVER_VERB_END_];
    int64_t steps;    /* places where a crash may come */
    int64_t crash_at; /* and where it does */
    void (*crash)(void);
    struct spr_observed_shard observed[FAKE_SHARDS];
};

static inline void fake_crash_point(struct fake_world *w) {
    if (++w->steps == w->crash_at && w->crash)
        w->crash();
}

static inline struct fake_shard *fake_find(struct fake_world *w, uint64_t id) {
    for (int32_t i = 0; i < w->shard_count; i++)
        if (w->shards[i].id == id)
            return &w->shards[i];
    return NULL;
}

static inline void fake_remove(struct fake_world *w, struct fake_shard *s) { *s = w->shards[--w->shard_count]; }

static inline struct fake_piece *fake_piece_find(struct fake_shard *s, uint64_t number) {
    for (int32_t i = 0; s && i < s->piece_count; i++)
        if (s->pieces[i].number == number)
            return &s->pieces[i];
    return NULL;
}

static inline bool fake_any(const double *a) { return a[0] > 0 || a[1] > 0; }

static inline int fake_grow(struct fake_world *w, struct fake_call *c) {
    struct fake_shard *s = fake_find(w, c->shard);
    if (!s && c->verb == SPR_DRIVER_RESIZE)
        return SPR_E_NOT_FOUND;
    if (!s) {
        if (w->shard_count == FAKE_SHARDS)
            return SPR_E_CAPACITY;
        s = &w->shards[w->shard_count++];
        memset(s, 0, sizeof *s);
        s->id = c->shard;
        s->kind = c->kind;
        memcpy(s->vm, c->vm, sizeof s->vm);
        memcpy(s->host, c->host, sizeof s->host);
    }
    s->reserved = c->verb == SPR_DRIVER_RESERVE;
    struct fake_piece *p = fake_piece_find(s, c->piece);
    if (p) { /* asked twice, or to become smaller */
        c->fresh = c->amount[0] >= p->amount[0] && c->amount[1] >= p->amount[1];
        for (int r = 0; r < FAKE_R && c->verb == SPR_DRIVER_RESIZE; r++)
            p->amount[r] = c->amount[r] < p->amount[r] ? c->amount[r] : p->amount[r];
    } else if (s->over >> (c->piece % 64) & 1) {
        return SPR_OK;
    } else if (s->piece_count == FAKE_PIECES) {
        return SPR_E_CAPACITY;
    } else {
        p = &s->pieces[s->piece_count++];
        p->number = c->piece;
        c->fresh = true;
        memcpy(p->amount, c->amount, sizeof p->amount);
    }
    return SPR_OK;
}

static inline void fake_piece_drop(struct fake_shard *s, struct fake_piece *p, bool keep) {
    s->over |= UINT64_C(1) << (p->number % 64);
    for (int r = 0; r < FAKE_R && keep; r++)
        s->ready[r] += p->amount[r];
    *p = s->pieces[--s->piece_count];
}

static inline int fake_effect(struct fake_world *w, struct fake_call *c) {
    struct fake_shard *s = fake_find(w, c->shard);
    struct fake_piece *p = fake_piece_find(s, c->piece);
    if (s)
        s->fence = c->fence;
    switch (c->verb) {
    case SPR_DRIVER_RESERVE:
    case SPR_DRIVER_ALLOCATE:
    case SPR_DRIVER_RESIZE:
        return fake_grow(w, c);
    case SPR_DRIVER_ACTIVATE:
        if (s)
            s->active = true;
        return s ? SPR_OK : SPR_E_NOT_FOUND;
    case SPR_DRIVER_DRAIN:
        for (int r = 0; s && r < FAKE_R; r++) {
            double z = c->amount[r] < s->ready[r] ? c->amount[r] : s->ready[r];
            s->ready[r] = z >= s->ready[r] * (1 - 1e-12) ? 0 : s->ready[r] - z;
            s->drain[r] += z * w->drain_left;
        }
        return s ? SPR_OK : SPR_E_NOT_FOUND;
    case SPR_DRIVER_RELEASE:
        if (s && !c->piece)
            fake_remove(w, s);
        else if (p)
            fake_piece_drop(s, p, false);
        else if (s)
            s->over |= UINT64_C(1) << (c->piece % 64); /* given back before it came */
        return SPR_OK;
    case SPR_DRIVER_PROMOTE:
        if (s)
            fake_remove(w, s);
        return s ? SPR_OK : SPR_E_NOT_FOUND;
    case SPR_DRIVER_WARM:
    case SPR_DRIVER_ADOPT:
        return s ? SPR_OK : SPR_E_NOT_FOUND;
    default:
        return SPR_OK;
    }
}

static inline int fake_open(const struct spr_env *env, const void *config, void **state) {
    (void)env;
    *state = (void *)(uintptr_t)config;
    return SPR_OK;
}
static inline void fake_close(void *state) { (void)state; }

static inline int fake_submit(void *state, const struct spr_driver_request *q, struct spr_time now, int64_t deadline,
                              spr_ticket *out) {
    struct fake_world *w = state;
    w->asked[q->verb]++;
    fake_crash_point(w);
    if (q->fence < w->fence)
        return SPR_E_FENCED;
    w->fence = q->fence;
    if (w->refuse[q->verb] > 0) {
        w->refuse[q->verb]--;
        return w->code ? w->code : SPR_E_IO;
    }
    if (w->call_count == FAKE_CALLS)
        return SPR_E_BUSY;
    struct fake_call *c = &w->calls[w->call_count];
    memset(c, 0, sizeof *c);
    c->ticket = *out = ++w->last_ticket;
    c->due = now.mono_ns + w->delay_ns[q->verb];
    c->deadline = deadline;
    c->verb = q->verb;
    c->shard = q->shard;
    c->piece = q->piece;
    c->fence = q->fence;
    c->kind = q->kind;
    c->warm = q->warm;
    c->late = w->late;
    snprintf(c->vm, sizeof c->vm, "%s", q->vm ? q->vm : "");
    snprintf(c->host, sizeof c->host, "%s", q->host ? q->host : "");
    memcpy(c->amount, q->amounts.of, sizeof c->amount);
    if (w->drop[q->verb] > 0) {
        w->drop[q->verb]--;
        return SPR_OK;
    }
    if (w->fail[q->verb] > 0) {
        w->fail[q->verb]--;
        c->outcome = SPR_FAILED;
        c->code = w->code ? w->code : SPR_E_IO;
    } else if (!c->late && q->verb != SPR_DRIVER_WARM) {
        int rc = fake_effect(w, c);
        c->outcome = rc < 0 ? SPR_FAILED : SPR_DONE;
        c->code = rc;
    }
    if (c->outcome == SPR_DONE && w->swallow[q->verb] > 0) {
        w->swallow[q->verb]--;
        c->outcome = SPR_UNKNOWN;
    }
    w->call_count++;
    fake_crash_point(w);
    return SPR_OK;
}

static inline void fake_observe(struct fake_world *w, struct spr_driver_completion *d) {
    for (int32_t i = 0; i < w->shard_count; i++) {
        struct fake_shard *s = &w->shards[i];
        struct spr_observed_shard *o = &w->observed[i];
        memset(o, 0, sizeof *o);
        o->size = sizeof *o;
        o->id = s->id;
        o->fence = s->fence;
        o->vm = s->vm;
        o->host = s->host;
        o->kind = s->kind;
        o->warmness = s->warmness;
        o->state = !strcmp(s->host, w->host_down) ? SPR_SHARD_UNKNOWN
                   : fake_any(s->ready)           ? (s->active ? SPR_SHARD_SERVING : SPR_SHARD_WARM)
                   : s->reserved                  ? SPR_SHARD_RESERVED
                   : s->piece_count               ? SPR_SHARD_WARMING
                                                  : SPR_SHARD_DRAINING;
        for (int r = 0; r < FAKE_R; r++) {
            o->ready.of[r] = s->ready[r];
            o->draining.of[r] = s->drain[r];
            o->used.of[r] = s->used[r];
            for (int32_t p = 0; p < s->piece_count; p++)
                o->pending.of[r] += s->pieces[p].amount[r];
        }
    }
    d->observed = w->observed;
    d->observed_count = (size_t)w->shard_count;
}

static inline void fake_end(struct fake_world *w, struct fake_call *c, struct spr_driver_completion *d) {
    if (c->late && c->outcome != SPR_FAILED) {
        int rc = c->fence < w->fence ? SPR_E_FENCED : fake_effect(w, c);
        if (rc < 0)
            c->outcome = SPR_FAILED, c->code = rc;
    }
    struct fake_shard *s = fake_find(w, c->shard);
    struct fake_piece *p = fake_piece_find(s, c->piece);
    double warmness = w->warmness > 0 ? w->warmness : 1;
    if (c->verb == SPR_DRIVER_WARM && (c->outcome == SPR_DONE || c->outcome == SPR_UNKNOWN)) {
        if (!s)
            c->outcome = SPR_FAILED, c->code = SPR_E_NOT_FOUND;
        else
            s->warmness = warmness, s->warm = c->piece && fake_any(s->ready) ? s->warm : c->warm;
    }
    for (int r = 0; p && r < FAKE_R; r++)
        d->amounts.of[r] = p->amount[r];
    if (c->verb == SPR_DRIVER_WARM && p && warmness > 0.9 && (c->outcome == SPR_DONE || c->outcome == SPR_UNKNOWN))
        fake_piece_drop(s, p, true);
    if (p && s->kind == SPR_SHARD_HEADROOM && c->outcome != SPR_FAILED && c->outcome != SPR_CANCELLED &&
        (c->verb == SPR_DRIVER_ALLOCATE || (c->verb == SPR_DRIVER_RESIZE && c->fresh))) {
        s->warmness = 1;
        fake_piece_drop(s, p, true);
    }
    d->ticket = c->ticket;
    d->outcome = c->outcome;
    d->code = c->code;
    d->warmness = warmness;
    d->text = c->outcome == SPR_UNKNOWN && w->why[0] ? w->why : NULL;
    if (c->verb == SPR_DRIVER_OBSERVE)
        fake_observe(w, d);
}

static inline bool fake_over(struct fake_world *w, const struct fake_call *c, int64_t now) {
    struct fake_shard *s = fake_find(w, c->shard);
    if (c->verb == SPR_DRIVER_DRAIN && c->outcome == SPR_DONE && s && fake_any(s->drain))
        return false;
    return c->due <= now;
}

static inline int fake_collect(void *state, struct spr_time now, struct spr_driver_completion *out, size_t room,
                               size_t *count) {
    struct fake_world *w = state;
    *count = 0;
    for (int32_t i = 0; i < w->call_count && *count < room;) {
        struct fake_call c = w->calls[i];
        if (!fake_over(w, &c, now.mono_ns)) {
            i++;
            continue;
        }
        memmove(&w->calls[i], &w->calls[i + 1], (size_t)(--w->call_count - i) * sizeof c);
        memset(&out[*count], 0, sizeof out[0]);
        out[*count].size = sizeof out[0];
        fake_end(w, &c, &out[(*count)++]);
        fake_crash_point(w);
    }
    return SPR_OK;
}

static inline int fake_cancel(void *state, spr_ticket ticket) {
    struct fake_world *w = state;
    for (int32_t i = 0; i < w->call_count; i++)
        if (w->calls[i].ticket == ticket && w->calls[i].outcome == SPR_DONE && w->calls[i].late) {
            w->calls[i].outcome = SPR_CANCELLED;
            w->calls[i].late = false;
            w->calls[i].due = 0;
            return SPR_OK;
        }
    return SPR_E_NOT_FOUND;
}

static inline int64_t fake_next(void *state) {
    struct fake_world *w = state;
    int64_t next = INT64_MAX;
    for (int32_t i = 0; i < w->call_count; i++)
        if (w->calls[i].due < next)
            next = w->calls[i].due;
    return next;
}

static const struct spr_async_ops fake_async = {
    .size = sizeof fake_async, .next_deadline = fake_next, .cancel = fake_cancel};
static const struct spr_driver_ops fake_driver = {
    .size = sizeof fake_driver,
    .name = "fake",
    .license = "MIT OR Apache-2.0",
    .async = &fake_async,
    .open = fake_open,
    .close = fake_close,
    .submit = fake_submit,
    .collect = fake_collect,
};

#endif
