/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Requests to the driver: submit, find again by ticket, try again, stop waiting. */
#include "lifecycle/lifecycle.h"

#define PAUSE_NS     INT64_C(1000000000)
#define PAUSE_MAX_NS (300 * PAUSE_NS)
#define GRACE_NS     PAUSE_NS /* a driver reports a passed deadline itself; this much later we no longer wait for it */

const char *spr_driver_verb_name(int verb) {
    switch (verb) {
#define SPR_X(name, number, text)                                                                                      \
    case number:                                                                                                       \
        return text;
        SPR_DRIVER_VERBS(SPR_X)
#undef SPR_X
    }
    return "invalid";
}

void spr__wake_at(struct spr_lifecycle *l, int64_t mono_ns) { l->next_ns = SPR_MIN(l->next_ns, mono_ns); }

static int64_t later(struct spr_time now, double seconds) {
    return seconds > 4e9 ? INT64_MAX / 2 : now.mono_ns + (int64_t)(seconds * 1e9);
}

static int64_t pause_after(int tries) {
    int64_t p = tries ? PAUSE_NS : 0;
    for (int i = 1; i < tries && p < PAUSE_MAX_NS; i++)
        p *= 2;
    return SPR_MIN(p, PAUSE_MAX_NS);
}

/* ---- tickets: open addressing, at most half full, deletion closes the gap ---- */

static size_t home_of(const struct spr_lifecycle *l, spr_ticket t) {
    return (size_t)spr__mix64(t) & (l->ticket_cap - 1);
}

static size_t slot_of(const struct spr_lifecycle *l, spr_ticket t) {
    size_t i = home_of(l, t);
    while (l->tickets[i].ticket && l->tickets[i].ticket != t)
        i = (i + 1) & (l->ticket_cap - 1);
    return i;
}

/* Room is made before the driver is asked, so that an accepted ticket is never lost for want of memory. */
static int ticket_room(struct spr_lifecycle *l) {
    if ((l->ticket_count + 1) * 2 <= l->ticket_cap)
        return SPR_OK;
    size_t old_cap = l->ticket_cap, cap = old_cap ? old_cap * 2 : 64;
    struct spr__ticket_slot *old = l->tickets, *bigger = spr__alloc(l->ctx, cap, sizeof *bigger);
    if (!bigger)
        return spr__nomem(l->ctx);
    l->tickets = bigger;
    l->ticket_cap = cap;
    for (size_t i = 0; i < old_cap; i++)
        if (old[i].ticket)
            l->tickets[slot_of(l, old[i].ticket)] = old[i];
    spr__free(l->ctx, old, old_cap, sizeof *old);
    return SPR_OK;
}

static void ticket_put(struct spr_lifecycle *l, struct spr__call *c) {
    l->tickets[slot_of(l, c->ticket)] = (struct spr__ticket_slot){c->ticket, c};
    l->ticket_count++;
}

static void ticket_remove(struct spr_lifecycle *l, spr_ticket t) {
    size_t mask = l->ticket_cap - 1, hole = slot_of(l, t);
    if (!l->tickets[hole].ticket)
        return;
    for (size_t i = (hole + 1) & mask; l->tickets[i].ticket; i = (i + 1) & mask)
        if (((i - home_of(l, l->tickets[i].ticket)) & mask) >= ((i - hole) & mask)) {
            l->tickets[hole] = l->tickets[i];
            hole = i;
        }
    l->tickets[hole] = (struct spr__ticket_slot){0, NULL};
    l->ticket_count--;
}

static struct spr__call *call_of(const struct spr_lifecycle *l, spr_ticket t) {
    return l->ticket_cap && t ? l->tickets[slot_of(l, t)].call : NULL;
}

/* ---- calls ---- */

static struct spr__call *call_new(struct spr_lifecycle *l, struct spr__shard *s) {
    if (spr__reserve(l->ctx, (void **)&l->calls, &l->call_cap, l->call_count + 1, sizeof *l->calls) < 0)
        return NULL;
    struct spr__call *c = l->free_calls;
    if (c) {
        l->free_calls = c->next;
        memset(c, 0, sizeof *c);
    } else if (!(c = spr__alloc(l->ctx, 1, sizeof *c))) {
        spr__nomem(l->ctx);
        return NULL;
    }
    c->shard = s;
    c->index = l->call_count;
    l->calls[l->call_count++] = c;
    if (s) {
        c->next = s->calls;
        s->calls = c;
    }
    return c;
}

static void call_forget(struct spr_lifecycle *l, struct spr__call *c) {
    if (c->ticket)
        ticket_remove(l, c->ticket);
    l->calls[c->index] = l->calls[--l->call_count];
    l->calls[c->index]->index = c->index;
    if (c->shard) {
        struct spr__call **link = &c->shard->calls;
        while (*link != c)
            link = &(*link)->next;
        *link = c->next;
    }
    if (l->observing == c)
        l->observing = NULL;
    c->next = l->free_calls;
    l->free_calls = c;
}

void spr__call_drop(struct spr_lifecycle *l, struct spr__call *c) {
    if (c->ticket)
        l->driver_async.cancel(l->driver_state, c->ticket);
    call_forget(l, c);
}

void spr__call_drop_all(struct spr_lifecycle *l, struct spr__shard *s) {
    while (s->calls)
        spr__call_drop(l, s->calls);
}

void spr__calls_finish(struct spr_lifecycle *l) {
    while (l->call_count)
        spr__call_drop(l, l->calls[l->call_count - 1]);
    while (l->free_calls) {
        struct spr__call *c = l->free_calls;
        l->free_calls = c->next;
        spr__free(l->ctx, c, 1, sizeof *c);
    }
    spr__free(l->ctx, l->calls, l->call_cap, sizeof *l->calls);
    spr__free(l->ctx, l->tickets, l->ticket_cap, sizeof *l->tickets);
}

struct spr__call *spr__call_find(struct spr__shard *s, int verb, uint64_t piece, bool trim) {
    for (struct spr__call *c = s->calls; c; c = c->next)
        if (c->verb == verb && c->piece == piece && c->trim == trim)
            return c;
    return NULL;
}

struct spr_driver_capabilities spr__capabilities(const struct spr_lifecycle *l, const char *host) {
    struct spr_driver_capabilities caps = {.size = sizeof caps};
    if (!l->driver.capabilities || l->driver.capabilities(l->driver_state, host, &caps) < 0)
        caps = (struct spr_driver_capabilities){.size = sizeof caps};
    return caps;
}

/* How long this call may take: what it usually takes there, and the margin. Flows end when they end. */
static double patience_s(struct spr_lifecycle *l, const struct spr__call *c) {
    double usual = 0;
    if (c->verb == SPR_DRIVER_DRAIN)
        usual = (double)c->shard->drain_s;
    if (c->verb == SPR_DRIVER_ALLOCATE || c->verb == SPR_DRIVER_RESIZE || c->verb == SPR_DRIVER_WARM) {
        struct spr_driver_capabilities caps = spr__capabilities(l, c->shard->host_name);
        usual = c->verb == SPR_DRIVER_WARM ? caps.warm_s : caps.allocate_s;
    }
    return l->opts.call_deadline_s + (isfinite(usual) && usual > 0 ? usual : 0);
}

uint32_t spr__lifecycle_unkept(const spr_lifecycle *l, const char *host, const char **why) {
    struct spr_driver_capabilities caps = spr__capabilities(l, host);
    /* what nobody knows stands in nobody's way */
    *why = caps.unkept ? caps.unkept_why : NULL;
    return caps.unkept;
}

static void try_later(struct spr_lifecycle *l, struct spr__call *c, struct spr_time now, int tries) {
    c->ticket = 0;
    c->at_mono_ns = now.mono_ns + pause_after(tries);
    spr__wake_at(l, c->at_mono_ns);
}

static bool gives_back(int verb) {
    return verb == SPR_DRIVER_DRAIN || verb == SPR_DRIVER_RELEASE || verb == SPR_DRIVER_OBSERVE ||
           verb == SPR_DRIVER_ADOPT;
}

/* What gives capacity back, or only looks, is tried for ever: giving up would leak. */
static bool gave_up(const struct spr_lifecycle *l, const struct spr__call *c) {
    return c->tries > l->opts.retries && !gives_back(c->verb);
}

static const char *subject_of(const struct spr_lifecycle *l, const struct spr__call *c) {
    return c->shard ? c->shard->host_name : l->driver.name;
}

/* Giving up waits for the timers (at once), so that nobody loses a shard while walking over its parts. */
static void failed(struct spr_lifecycle *l, struct spr__call *c, int code, const char *text, struct spr_time now) {
    text = text ? text : spr_error_text(code);
    c->tries++;
    spr__log(l->ctx, SPR_LOG_WARN, "lifecycle", subject_of(l, c), "%s of shard %llu failed (%d): %s",
             spr_driver_verb_name(c->verb), c->shard ? (unsigned long long)c->shard->id : 0ULL, c->tries, text);
    try_later(l, c, now, gave_up(l, c) ? 0 : c->tries);
}

static int submit(struct spr_lifecycle *l, struct spr__call *c, struct spr_time now) {
    static const struct spr_amounts nothing;
    struct spr__shard *s = c->shard;
    const struct spr__piece *p = s && c->verb != SPR_DRIVER_DRAIN ? spr__piece_find(s, c->piece) : NULL;
    if (p) /* it may have become smaller since the call was made */
        c->amounts = p->amounts;
    c->warm = c->verb == SPR_DRIVER_WARM && spr__shard_waits(l, s, now) ? s->warm : SPR_WARM_ANY;
    int64_t deadline = later(now, patience_s(l, c));
    struct spr_driver_request q = {.size = sizeof q,
                                   .verb = c->verb,
                                   .kind = s ? s->kind : 0,
                                   .shard = s ? s->id : 0,
                                   .piece = c->piece,
                                   .fence = l->fence,
                                   .vm = s ? s->vm_name : NULL,
                                   .host = s ? s->host_name : NULL,
                                   .amounts = s ? c->amounts : nothing,
                                   .warm = c->warm};
    int rc = ticket_room(l);
    if (rc < 0)
        return rc;
    spr_ticket ticket = 0;
    if ((rc = l->driver.submit(l->driver_state, &q, now, deadline, &ticket)) < 0)
        return rc;
    c->ticket = ticket;
    c->at_mono_ns = deadline < INT64_MAX - GRACE_NS ? deadline + GRACE_NS : INT64_MAX;
    ticket_put(l, c);
    spr__wake_at(l, c->at_mono_ns);
    spr__call_accepted(l, c, now);
    return SPR_OK;
}

/* Submit, or find out that it cannot be now. The call (and its shard) may be gone afterwards. */
static void attempt(struct spr_lifecycle *l, struct spr__call *c, struct spr_time now) {
    if (l->fenced) {
        try_later(l, c, now, 100);
        return;
    }
    int rc = submit(l, c, now);
    if (rc == SPR_E_FENCED)
        l->fenced = true;
    if (rc == SPR_E_FENCED || rc == SPR_E_BUSY || rc == SPR_E_NOMEM)
        try_later(l, c, now, 1);
    else if (rc < 0)
        failed(l, c, rc, NULL, now);
}

int spr__call_start(struct spr_lifecycle *l, struct spr__shard *s, int verb, uint64_t piece,
                    const struct spr_amounts *amounts, bool trim, struct spr_time now) {
    if (l->fenced)
        return SPR_E_FENCED;
    struct spr__call *c = call_new(l, s);
    if (!c)
        return SPR_E_NOMEM;
    c->verb = verb;
    c->piece = piece;
    c->trim = trim;
    if (amounts)
        c->amounts = *amounts;
    if (verb == SPR_DRIVER_OBSERVE)
        l->observing = c;
    attempt(l, c, now);
    return SPR_OK;
}

int spr__call_again(struct spr_lifecycle *l, const struct spr__call *ended, int tries, struct spr_time now) {
    struct spr__call *c = call_new(l, ended->shard);
    if (!c)
        return SPR_E_NOMEM;
    c->verb = ended->verb;
    c->piece = ended->piece;
    c->amounts = ended->amounts;
    c->tries = tries;
    try_later(l, c, now, tries);
    return SPR_OK;
}

/* ---- answers ---- */

static bool as_good_as_done(const struct spr__call *c, int code) {
    if (code == SPR_E_NOT_FOUND) /* gone already */
        return c->verb == SPR_DRIVER_RELEASE || c->verb == SPR_DRIVER_DRAIN;
    if (code == SPR_E_UNSUPPORTED) /* nothing of the kind is needed there */
        return c->verb == SPR_DRIVER_RESERVE || c->verb == SPR_DRIVER_WARM || c->verb == SPR_DRIVER_ACTIVATE ||
               c->verb == SPR_DRIVER_ADOPT;
    return false;
}

/* `text`: the driver's own, which says more than the reason that goes on record. */
static void lost(struct spr_lifecycle *l, struct spr__call *c, const char *text, struct spr_time now) {
    struct spr__shard *s = c->shard;
    spr__log(l->ctx, SPR_LOG_WARN, "lifecycle", subject_of(l, c), "what came of %s of shard %llu is unknown: %s",
             spr_driver_verb_name(c->verb), s ? (unsigned long long)s->id : 0ULL, text);
    if (!s) { /* an observation: ask again */
        try_later(l, c, now, ++c->tries);
        return;
    }
    l->said = text;
    spr__shard_lost(l, s, SPR_BECAUSE_DEADLINE, now);
    l->said = NULL;
}

static void complete(struct spr_lifecycle *l, struct spr__call *c, const struct spr_driver_completion *d,
                     struct spr_time now) {
    ticket_remove(l, c->ticket);
    c->ticket = 0;
    if (d->outcome == SPR_DONE || (d->outcome == SPR_FAILED && as_good_as_done(c, d->code))) {
        struct spr__call ended = *c;
        call_forget(l, c);
        if (ended.verb == SPR_DRIVER_OBSERVE)
            spr__observed(l, d, now);
        else
            spr__call_done(l, &ended, d, now);
    } else if (d->outcome == SPR_FAILED && d->code == SPR_E_FENCED) {
        l->fenced = true;
        try_later(l, c, now, 1);
    } else if (d->outcome == SPR_FAILED || d->outcome == SPR_CANCELLED) {
        failed(l, c, d->code < 0 ? d->code : SPR_E_CANCELLED, d->text, now);
    } else {
        bool late = d->outcome == SPR_TIMED_OUT;
        lost(l, c,
             d->text ? d->text
             : late  ? spr_because_text(SPR_BECAUSE_DEADLINE)
                     : "the driver does not say why",
             now);
    }
}

int spr__calls_collect(struct spr_lifecycle *l, struct spr_time now) {
    struct spr_driver_completion d[32];
    size_t n = 0;
    int handled = 0;
    if (!l->ticket_count)
        return 0;
    memset(d, 0, sizeof d);
    for (size_t i = 0; i < SPR_ARRAY_LEN(d); i++)
        d[i].size = sizeof *d;
    int rc = l->driver.collect(l->driver_state, now, d, SPR_ARRAY_LEN(d), &n);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n && i < SPR_ARRAY_LEN(d); i++) {
        struct spr__call *c = call_of(l, d[i].ticket);
        if (c) { /* else: a call that was dropped */
            complete(l, c, &d[i], now);
            handled++;
        }
    }
    return handled;
}

/* ---- what is due ---- */

static void call_due(struct spr_lifecycle *l, struct spr__call *c, struct spr_time now) {
    if (c->ticket) {
        l->driver_async.cancel(l->driver_state, c->ticket);
        ticket_remove(l, c->ticket);
        c->ticket = 0;
        lost(l, c, "no answer, and its deadline has passed", now);
    } else if (c->shard && spr__shard_expired(l, c->shard, now)) {
        spr__shard_give_back(l, c->shard, SPR_BECAUSE_OWNER_GONE, now);
    } else if (gave_up(l, c)) {
        spr__call_gave_up(l, c, now);
    } else {
        attempt(l, c, now);
    }
}

static void drive_all(struct spr_lifecycle *l, struct spr_time now) {
    l->kick = false;
    l->kick_ns = INT64_MAX;
    for (size_t i = l->shard_count; i-- > 0;)
        if (i < l->shard_count)
            spr__shard_drive(l, l->shards[i], now);
}

/* Whoever waits on sets l->wake_ns again. */
static void drive_waiting(struct spr_lifecycle *l, struct spr_time now) {
    l->wake_ns = INT64_MAX;
    for (size_t i = l->shard_count; i-- > 0;)
        if (i < l->shard_count && l->shards[i]->warm)
            spr__shard_drive(l, l->shards[i], now);
}

bool spr__calls_timers(struct spr_lifecycle *l, struct spr_time now) {
    if (l->fenced || now.mono_ns < l->next_ns)
        return false;
    l->next_ns = INT64_MAX;
    /* A call that is handled may take others with it: the last one moves into its place and is seen later. */
    for (size_t i = l->call_count; i-- > 0;)
        if (i < l->call_count && l->calls[i]->at_mono_ns <= now.mono_ns)
            call_due(l, l->calls[i], now);
    if (l->kick && l->kick_ns <= now.mono_ns && l->recovery == 2)
        drive_all(l, now);
    if (l->wake_ns <= now.mono_ns) {
        if (l->recovery == 2)
            drive_waiting(l, now);
        else
            l->wake_ns = now.mono_ns + PAUSE_NS;
    }
    if (l->poll_ns <= now.mono_ns) {
        l->poll_ns = INT64_MAX;
        spr__observe(l, now);
    }
    for (size_t i = 0; i < l->call_count; i++)
        spr__wake_at(l, l->calls[i]->at_mono_ns);
    if (l->kick && l->recovery != 2)
        l->kick_ns = now.mono_ns + PAUSE_NS;
    spr__wake_at(l, SPR_MIN(SPR_MIN(l->poll_ns, l->wake_ns), l->kick ? l->kick_ns : INT64_MAX));
    return true;
}
