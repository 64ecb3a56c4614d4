/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Shards in memory: every verb takes its time, may fail once where asked to, and is idempotent by shard and piece.
 * Held amounts count from the moment of the request; a drain ends when its flows are gone.
 */
#include <math.h>
#include <string.h>

#include "sim.h"

static int driver_open(const struct spr_env *env, const void *config, void **state) {
    if (!env || !config)
        return SPR_E_ARG;
    *state = (void *)(uintptr_t)config;
    return SPR_OK;
}

static void driver_close(void *state) { ((struct sim *)state)->call_count = 0; }

/* ---- durations ---- */

static double unit(uint64_t seed, uint64_t a, uint64_t b) {
    uint64_t z = seed ^ a * UINT64_C(0x9E3779B97F4A7C15) ^ b * UINT64_C(0xC2B2AE3D27D4EB4F);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return ((double)((z ^ (z >> 31)) >> 11) + 0.5) * 0x1p-53;
}

/* Log-normal through the given median and 95th percentile (Box-Muller), in whole sub-steps. */
static int64_t duration_ns(const struct sim *s, const double p[2], uint64_t shard, uint64_t piece) {
    double t = p[0];
    if (p[1] > p[0] && p[0] > 0) {
        double u = unit(s->config.seed, shard, piece), w = unit(s->config.seed + 1, shard, piece);
        t *= exp(log(p[1] / p[0]) / 1.6448536269514722 * sqrt(-2 * log(u)) * cos(6.283185307179586 * w));
    }
    return (int64_t)ceil(t / s->config.substep_s - 1e-9) * s->substep_ns;
}

/* ---- shards ---- */

static int32_t find_shard(const struct sim *s, uint64_t id) {
    for (int32_t i = 0; i < s->shard_count; i++)
        if (s->shards[i].vm >= 0 && s->shards[i].id == id)
            return i;
    return -1;
}

static int new_shard(struct sim *s, const struct spr_driver_request *q, int32_t vm, int32_t host, int32_t *slot) {
    int32_t i = 0;
    while (i < s->shard_count && s->shards[i].vm >= 0)
        i++;
    if (i == s->shard_count) {
        int rc = sim__grow(s, (void **)&s->shards, &s->shard_cap, (size_t)i + 1, sizeof *s->shards);
        if (rc < 0)
            return rc;
        s->shard_count++;
    }
    struct sim_shard *d = &s->shards[i];
    memset(d, 0, sizeof *d);
    d->id = q->shard;
    d->vm = vm;
    d->host = host;
    d->kind = q->kind;
    d->next = -1;
    int32_t *link = &s->vm[vm].first_shard; /* at the end: shards of a VM stay in the order they came */
    while (*link >= 0)
        link = &s->shards[*link].next;
    *link = i;
    *slot = i;
    return SPR_OK;
}

static struct sim_piece *find_piece(struct sim_shard *d, uint64_t id) {
    for (int32_t p = 0; p < d->piece_count; p++)
        if (d->pieces[p].id == id)
            return &d->pieces[p];
    return NULL;
}

static bool ended(const struct sim_shard *d, uint64_t piece) {
    return piece && (d->ended[piece % SIM_ENDED / 64] >> piece % 64 & 1);
}

/* Half the window ahead of a number is free for numbers to come. */
static void forget_ahead(struct sim_shard *d, uint64_t piece) {
    uint64_t oldest = piece + SIM_ENDED / 2; /* half the window ahead is free for numbers to come */
    d->ended[oldest % SIM_ENDED / 64] &= ~(UINT64_C(1) << oldest % 64);
}

static void end_piece(struct sim_shard *d, uint64_t piece) {
    d->ended[piece % SIM_ENDED / 64] |= UINT64_C(1) << piece % 64;
    forget_ahead(d, piece);
}

static void hold(struct sim *s, struct sim_shard *d, const double *amount, double sign) {
    for (int32_t r = 0; r < s->r; r++)
        s->held[d->host * s->r + r] += sign * amount[r];
    sim__held_changed(s, d->vm);
}

static int add_piece(struct sim *s, struct sim_shard *d, const struct spr_driver_request *q) {
    if (find_piece(d, q->piece) || ended(d, q->piece))
        return SPR_OK; /* asked twice */
    if (d->piece_count == SIM_PIECES)
        return SPR_E_BUSY;
    double more[SIM_R] = {0};
    for (int32_t r = 0; r < s->r; r++) {
        more[r] = q->amounts.of[s->resource[r]];
        int32_t i = d->host * s->r + r;
        if (s->held[i] + more[r] > s->capacity[i] * (1 + 1e-9))
            return SPR_E_CAPACITY;
    }
    struct sim_piece *p = &d->pieces[d->piece_count++];
    memset(p, 0, sizeof *p);
    p->id = q->piece;
    memcpy(p->amount, more, sizeof more);
    hold(s, d, more, 1);
    sim__activate_vm(s, d->vm);
    return SPR_OK;
}

static void drop_piece(struct sim *s, struct sim_shard *d, struct sim_piece *p) {
    double amount[SIM_R];
    memcpy(amount, p->amount, sizeof amount);
    end_piece(d, p->id);
    int32_t i = (int32_t)(p - d->pieces);
    d->piece_count--;
    memmove(p, p + 1, (size_t)(d->piece_count - i) * sizeof *p);
    hold(s, d, amount, -1);
}

/* Less of a piece that is on its way. */
static void shrink_piece(struct sim *s, struct sim_shard *d, struct sim_piece *p, const struct spr_amounts *to) {
    double less[SIM_R] = {0};
    for (int32_t r = 0; r < s->r; r++) {
        less[r] = fmax(0, p->amount[r] - to->of[s->resource[r]]);
        p->amount[r] -= less[r];
    }
    hold(s, d, less, -1);
}

static void piece_warm(struct sim *s, struct sim_shard *d, struct sim_piece *p) {
    for (int32_t r = 0; r < s->r; r++)
        d->ready[r] += p->amount[r];
    end_piece(d, p->id);
    int32_t i = (int32_t)(p - d->pieces);
    d->piece_count--;
    memmove(p, p + 1, (size_t)(d->piece_count - i) * sizeof *p);
    sim__held_changed(s, d->vm);
}

static bool drained(const struct sim *s, const struct sim_shard *d) { return sim__empty(d->drain, s->r); }

/* ---- calls ---- */

static int begin(struct sim *s, const struct spr_driver_request *q, int32_t slot, struct sim_call *call) {
    struct sim_shard *d = &s->shards[slot];
    struct sim_piece *p = q->piece ? find_piece(d, q->piece) : NULL;
    double less[SIM_R];
    switch (q->verb) {
    case SPR_DRIVER_RESERVE:
        return add_piece(s, d, q);
    case SPR_DRIVER_ALLOCATE:
        call->due += duration_ns(s, s->config.allocate_s, q->shard, q->piece);
        return add_piece(s, d, q);
    case SPR_DRIVER_RESIZE:
        if (p || ended(d, q->piece)) {
            if (p)
                shrink_piece(s, d, p, &q->amounts);
            return SPR_OK;
        }
        call->due += duration_ns(s, s->config.allocate_s, q->shard, q->piece);
        return add_piece(s, d, q);
    case SPR_DRIVER_WARM:
        if (!p) /* without a number: to wait in another way, of which there is only one here */
            return !q->piece || ended(d, q->piece) ? SPR_OK : SPR_E_NOT_FOUND;
        call->due += duration_ns(s, s->config.warm_s, q->shard, q->piece + UINT64_C(1000000));
        return SPR_OK;
    case SPR_DRIVER_ACTIVATE:
        d->active = true;
        return SPR_OK;
    case SPR_DRIVER_DRAIN:
        call->waits_drain = true;
        if (q->piece && q->piece <= d->last_drain)
            return SPR_OK; /* asked twice */
        d->last_drain = q->piece;
        forget_ahead(d, q->piece);
        for (int32_t r = 0; r < s->r; r++)
            less[r] = q->amounts.of[s->resource[r]];
        sim__release_part(s, d, less);
        return SPR_OK;
    case SPR_DRIVER_ABORT:
    case SPR_DRIVER_RELEASE:
        if (q->piece || q->verb == SPR_DRIVER_ABORT) {
            if (p)
                drop_piece(s, d, p);
            else if (q->piece && !ended(d, q->piece))
                end_piece(d, q->piece); /* given back before it was heard of: it must not come later */
        } else {
            sim__drop_shard(s, slot);
        }
        return SPR_OK;
    case SPR_DRIVER_ADOPT:
        d->fence = q->fence;
        return SPR_OK;
    default:
        return SPR_E_UNSUPPORTED;
    }
}

static int locate(struct sim *s, const struct spr_driver_request *q, int32_t *slot) {
    *slot = find_shard(s, q->shard);
    if (*slot >= 0)
        return SPR_OK;
    if (q->verb == SPR_DRIVER_RELEASE || q->verb == SPR_DRIVER_ABORT)
        return SPR_OK; /* gone already */
    if (q->verb != SPR_DRIVER_RESERVE && q->verb != SPR_DRIVER_ALLOCATE)
        return SPR_E_NOT_FOUND;
    int32_t vm = spr_fleet_find_vm(s->fleet, q->vm), host = spr_fleet_find_host(s->fleet, q->host);
    if (vm < 0 || host < 0)
        return SPR_E_NOT_FOUND;
    return new_shard(s, q, vm, host, slot);
}

static int driver_submit(void *state, const struct spr_driver_request *q, struct spr_time now, int64_t deadline,
                         spr_ticket *out) {
    struct sim *s = state;
    int rc = sim__grow(s, (void **)&s->calls, &s->call_cap, s->call_count + 1, sizeof *s->calls);
    if (rc < 0)
        return rc;
    if (q->fence < s->fence)
        return SPR_E_FENCED;
    s->fence = q->fence;
    struct sim_call call = {.due = now.mono_ns,
                            .deadline = deadline,
                            .verb = q->verb,
                            .shard = -1,
                            .shard_id = q->shard,
                            .piece = q->piece,
                            .outcome = SPR_DONE};
    bool fail = s->config.fail_every > 0 && ++s->calls_seen % s->config.fail_every == 0 &&
                (q->verb == SPR_DRIVER_ALLOCATE || q->verb == SPR_DRIVER_WARM || q->verb == SPR_DRIVER_RESIZE);
    if (q->verb != SPR_DRIVER_OBSERVE && !fail) {
        rc = locate(s, q, &call.shard);
        if (rc == SPR_OK && call.shard >= 0) {
            s->shards[call.shard].fence = q->fence;
            rc = begin(s, q, call.shard, &call);
        }
        if (rc == SPR_E_BUSY || rc == SPR_E_NOMEM)
            return rc;
    }
    if (fail || rc < 0) {
        call.outcome = SPR_FAILED;
        call.due = now.mono_ns; /* a refusal takes no time */
        call.waits_drain = false;
        call.code = fail ? SPR_E_IO : rc;
        call.injected = fail;
        if (call.shard >= 0 && sim__empty(s->shards[call.shard].ready, s->r) && !s->shards[call.shard].piece_count &&
            drained(s, &s->shards[call.shard]))
            sim__drop_shard(s, call.shard);
        call.shard = -1;
    }
    call.ticket = *out = ++s->last_ticket;
    s->calls[s->call_count++] = call;
    return SPR_OK;
}

/* What a shard serves: its part of what its VM's shards serve, by what each can carry. */
static double used_of(const struct sim *s, const struct sim_shard *d, int32_t r) {
    double carry = 0;
    for (int32_t k = s->vm[d->vm].first_shard; k >= 0; k = s->shards[k].next)
        carry += s->shards[k].ready[r] + s->shards[k].drain[r];
    return carry > 0 ? s->served[d->vm * s->r + r] * (d->ready[r] + d->drain[r]) / carry : 0;
}

static int observe(struct sim *s, struct spr_driver_completion *c) {
    int rc = sim__grow(s, (void **)&s->observed, &s->observed_cap, (size_t)s->shard_count + 1, sizeof *s->observed);
    if (rc < 0)
        return rc;
    size_t n = 0;
    for (int32_t i = 0; i < s->shard_count; i++) {
        const struct sim_shard *d = &s->shards[i];
        if (d->vm < 0)
            continue;
        struct spr_observed_shard *o = &s->observed[n++];
        memset(o, 0, sizeof *o);
        o->size = sizeof *o;
        o->id = d->id;
        o->fence = d->fence;
        o->vm = s->vm_id[d->vm];
        o->host = s->host_id[d->host];
        o->kind = d->kind;
        o->state = !sim__empty(d->ready, s->r) ? (d->active ? SPR_SHARD_SERVING : SPR_SHARD_WARM)
                   : d->piece_count            ? SPR_SHARD_ALLOCATING
                                               : SPR_SHARD_DRAINING;
        o->warmness = d->piece_count && sim__empty(d->ready, s->r) ? 0 : 1;
        for (int32_t r = 0; r < s->r; r++) {
            o->ready.of[s->resource[r]] = d->ready[r];
            o->draining.of[s->resource[r]] = d->drain[r];
            o->used.of[s->resource[r]] = used_of(s, d, r);
            for (int32_t p = 0; p < d->piece_count; p++)
                o->pending.of[s->resource[r]] += d->pieces[p].amount[r];
        }
    }
    c->observed = s->observed;
    c->observed_count = n;
    return SPR_OK;
}

/* What an ended call did, told at the moment it ends. */
static void finish(struct sim *s, const struct sim_call *call, struct spr_driver_completion *c) {
    c->warmness = 1;
    if (call->verb == SPR_DRIVER_OBSERVE) {
        c->code = observe(s, c);
        return;
    }
    int32_t slot = find_shard(s, call->shard_id);
    struct sim_piece *p = slot >= 0 ? find_piece(&s->shards[slot], call->piece) : NULL;
    if (!p)
        return;
    for (int32_t r = 0; r < s->r; r++)
        c->amounts.of[s->resource[r]] = p->amount[r];
    if (call->verb == SPR_DRIVER_WARM)
        piece_warm(s, &s->shards[slot], p);
    else
        p->allocated = true;
}

static bool over(const struct sim *s, const struct sim_call *call, int64_t now) {
    if (call->waits_drain && call->outcome == SPR_DONE) {
        int32_t slot = find_shard(s, call->shard_id);
        return slot < 0 || drained(s, &s->shards[slot]);
    }
    return call->due <= now;
}

static const char *why(int code) {
    switch (code) {
    case SPR_E_CAPACITY:
        return "the host has not enough left";
    case SPR_E_NOT_FOUND:
        return "no such host or VM in the fleet, or no such shard or growth on the host";
    case SPR_E_UNSUPPORTED:
        return "the simulation does not do this";
    default:
        return spr_error_text(code);
    }
}

static int driver_collect(void *state, struct spr_time now, struct spr_driver_completion *out, size_t room,
                          size_t *count) {
    struct sim *s = state;
    size_t n = 0, kept = 0, stride = room ? out->size : 0;
    for (size_t i = 0; i < s->call_count; i++) {
        struct sim_call call = s->calls[i];
        bool late = call.deadline < now.mono_ns;
        if (n == room || !(over(s, &call, now.mono_ns) || late)) {
            s->calls[kept++] = call;
            continue;
        }
        struct spr_driver_completion c = {.size = sizeof c, .ticket = call.ticket, .code = call.code};
        c.outcome = call.outcome == SPR_DONE && !over(s, &call, now.mono_ns) ? SPR_TIMED_OUT : call.outcome;
        if (c.outcome == SPR_DONE)
            finish(s, &call, &c);
        if (c.outcome == SPR_DONE && c.code < 0) /* no memory to say what is there: not the same as nothing */
            c.outcome = SPR_FAILED, c.text = spr_error_text(c.code);
        else if (c.outcome == SPR_FAILED)
            c.text = call.injected ? "injected failure" : why(call.code);
        c.size = stride < sizeof c ? stride : sizeof c; /* an older library's is shorter */
        memcpy((char *)out + n++ * stride, &c, c.size);
    }
    s->call_count = kept;
    *count = n;
    return SPR_OK;
}

static int64_t driver_next(void *state) {
    const struct sim *s = state;
    int64_t next = INT64_MAX;
    for (size_t i = 0; i < s->call_count; i++) {
        const struct sim_call *c = &s->calls[i];
        int64_t due = !c->waits_drain || c->outcome != SPR_DONE ? c->due : over(s, c, INT64_MIN) ? 0 : c->deadline;
        next = due < next ? due : next;
    }
    return next;
}

static int driver_cancel(void *state, spr_ticket ticket) {
    struct sim *s = state;
    for (size_t i = 0; i < s->call_count; i++)
        if (s->calls[i].ticket == ticket) {
            s->calls[i].outcome = SPR_CANCELLED;
            s->calls[i].due = 0;
            return SPR_OK;
        }
    return SPR_E_NOT_FOUND;
}

static int driver_capabilities(void *state, const char *host, struct spr_driver_capabilities *out) {
    struct sim *s = state;
    const size_t least = offsetof(struct spr_driver_capabilities, unkept); /* how shards wait is nothing of ours */
    if (!out || out->size < least || spr_fleet_find_host(s->fleet, host) < 0)
        return SPR_E_NOT_FOUND;
    out->verbs = ((UINT64_C(1) << SPR_DRIVER_VERB_END_) - 2) & ~(UINT64_C(1) << SPR_DRIVER_MIGRATE) &
                 ~(UINT64_C(1) << SPR_DRIVER_PROMOTE);
    out->replica = 1;
    out->headroom = 0;
    out->allocate_s = s->config.allocate_s[0];
    out->warm_s = s->config.warm_s[0];
    out->missing = "migrate and promote: simulated VMs stay where they are";
    return SPR_OK;
}

static const struct spr_async_ops waiting = {
    .size = sizeof waiting,
    .next_deadline = driver_next,
    .cancel = driver_cancel,
};
static const struct spr_driver_ops driver = {
    .size = sizeof driver,
    .name = "sim",
    .license = "MIT OR Apache-2.0",
    .async = &waiting,
    .open = driver_open,
    .close = driver_close,
    .submit = driver_submit,
    .collect = driver_collect,
    .capabilities = driver_capabilities,
};
const struct spr_driver_ops *spr_sim_driver(void) { return &driver; }
