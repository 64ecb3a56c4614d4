/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a shard does next, and what an answer means for it. */
#include "lifecycle/lifecycle.h"

#define KICK_NS INT64_C(1000000000)

/* ---- amounts ---- */

#define DUST    1e-9 /* share of an amount that counts as nothing: what subtraction leaves behind */

struct spr_amounts spr__amounts_take(struct spr_amounts *from, struct spr_amounts *want) {
    struct spr_amounts taken = {{0}};
    for (int r = 0; r < SPR_RESOURCES_MAX; r++) {
        double t = SPR_MIN(from->of[r], want->of[r]);
        if (!(t > 0))
            continue;
        if (from->of[r] - t <= DUST * from->of[r])
            t = from->of[r];
        taken.of[r] = t;
        from->of[r] -= t;
        want->of[r] = want->of[r] - t <= DUST * want->of[r] ? 0 : want->of[r] - t;
    }
    return taken;
}

struct spr_amounts spr__amounts_over(const struct spr_amounts *a, const struct spr_amounts *b) {
    struct spr_amounts over = {{0}};
    for (int r = 0; r < SPR_RESOURCES_MAX; r++)
        if (a->of[r] - b->of[r] > DUST * a->of[r])
            over.of[r] = a->of[r] - b->of[r];
    return over;
}

/* ---- shards ---- */

struct spr__shard *spr__shard_find(const struct spr_lifecycle *l, uint64_t id) {
    size_t lo = 0, hi = l->shard_count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (l->shards[mid]->id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < l->shard_count && l->shards[lo]->id == id ? l->shards[lo] : NULL;
}

void spr__shard_free(struct spr_lifecycle *l, struct spr__shard *s) {
    if (!s)
        return;
    spr__strfree(l->ctx, s->vm_name);
    spr__strfree(l->ctx, s->host_name);
    spr__free(l->ctx, s->pieces, s->piece_cap, sizeof *s->pieces);
    spr__free(l->ctx, s, 1, sizeof *s);
}

void spr__shard_remove(struct spr_lifecycle *l, struct spr__shard *s) {
    size_t i = 0;
    while (l->shards[i] != s)
        i++;
    spr__call_drop_all(l, s);
    memmove(&l->shards[i], &l->shards[i + 1], (--l->shard_count - i) * sizeof *l->shards);
    spr__shard_free(l, s);
}

struct spr__shard *spr__shard_new(struct spr_lifecycle *l, uint64_t id, const char *vm, const char *host, int kind) {
    struct spr__shard *s = spr__alloc(l->ctx, 1, sizeof *s);
    if (s) {
        s->id = id;
        s->kind = kind;
        s->next_piece = s->first = 1;
        s->vm_name = spr__strdup(l->ctx, vm);
        s->host_name = spr__strdup(l->ctx, host);
        s->vm = spr_fleet_find_vm(l->fleet, vm);
        s->host = spr_fleet_find_host(l->fleet, host);
    }
    if (!s || !s->vm_name || !s->host_name ||
        spr__reserve(l->ctx, (void **)&l->shards, &l->shard_cap, l->shard_count + 1, sizeof *l->shards) < 0) {
        spr__shard_free(l, s);
        spr__nomem(l->ctx);
        return NULL;
    }
    size_t i = l->shard_count++;
    for (; i > 0 && l->shards[i - 1]->id > id; i--)
        l->shards[i] = l->shards[i - 1];
    l->shards[i] = s;
    l->next_id = SPR_MAX(l->next_id, id + 1);
    return s;
}

/* ---- pieces ---- */

struct spr__piece *spr__piece_find(struct spr__shard *s, uint64_t number) {
    for (size_t i = 0; i < s->piece_count; i++)
        if (s->pieces[i].number == number)
            return &s->pieces[i];
    return NULL;
}

void spr__piece_remove(struct spr__shard *s, struct spr__piece *p) {
    size_t i = (size_t)(p - s->pieces);
    memmove(p, p + 1, (--s->piece_count - i) * sizeof *p);
}

struct spr__piece *spr__piece_add(struct spr_lifecycle *l, struct spr__shard *s, const struct spr_amounts *amounts,
                                  int because, struct spr_time now) {
    if (spr__reserve(l->ctx, (void **)&s->pieces, &s->piece_cap, s->piece_count + 1, sizeof *s->pieces) < 0)
        return NULL;
    struct spr__piece *p = &s->pieces[s->piece_count++];
    *p = (struct spr__piece){.number = s->next_piece++, .because = because, .amounts = *amounts, .asked = now};
    bool reserves = s->kind == SPR_SHARD_HEADROOM || l->opts.reserve_first;
    p->phase = reserves && p->number == 1 ? SPR__PHASE_RESERVE : SPR__PHASE_ALLOCATE;
    return p;
}

struct spr_amounts spr__shard_pending(const struct spr__shard *s) {
    struct spr_amounts sum = {{0}};
    for (size_t i = 0; i < s->piece_count; i++)
        if (!s->pieces[i].doomed)
            spr__amounts_add(&sum, &s->pieces[i].amounts);
    return sum;
}

struct spr_amounts spr__shard_draining(const struct spr__shard *s) {
    struct spr_amounts sum = s->draining;
    for (size_t i = 0; i < s->piece_count; i++)
        if (s->pieces[i].doomed)
            spr__amounts_add(&sum, &s->pieces[i].amounts);
    return sum;
}

/* ---- states ---- */

static int state_of_parts(const struct spr__shard *s) {
    int best = -1;
    if (spr__amounts_any(&s->ready))
        return s->serving ? SPR_SHARD_SERVING : SPR_SHARD_WARM;
    for (size_t i = 0; i < s->piece_count; i++) {
        const struct spr__piece *p = &s->pieces[i];
        int state = SPR_SHARD_ALLOCATING;
        if (p->doomed)
            continue;
        if (p->number == s->first && p->phase == SPR__PHASE_RESERVE)
            return s->state == SPR_SHARD_PLANNED ? SPR_SHARD_PLANNED : SPR_SHARD_RESERVED;
        if (p->phase == SPR__PHASE_WARM)
            state = SPR_SHARD_WARMING;
        else if (!p->begun && (s->state == SPR_SHARD_PLANNED || s->state == SPR_SHARD_RESERVED))
            state = s->state;
        best = SPR_MAX(best, state); /* numbers of these states rise with their order */
    }
    return best >= 0 ? best : SPR_SHARD_DRAINING;
}

static int state_after(const struct spr__shard *s, int event) {
    switch (event) {
    case SPR__EVENT_LOST:
        return SPR_SHARD_UNKNOWN;
    case SPR__EVENT_FOUND:
        return SPR_SHARD_ADOPTED;
    case SPR__EVENT_FORGOTTEN:
        return SPR_SHARD_DRAINING;
    case SPR__EVENT_RESERVED:
        return SPR_SHARD_RESERVED;
    case SPR__EVENT_GONE:
    case SPR__EVENT_PROMOTED:
        return SPR_SHARD_RELEASED;
    case SPR__EVENT_FAILED:
        return s->broken ? SPR_SHARD_FAILED : state_of_parts(s);
    case SPR__EVENT_SHRUNK:
        return s->state == SPR_SHARD_UNKNOWN || s->state == SPR_SHARD_ADOPTED ? s->state : state_of_parts(s);
    default:
        return state_of_parts(s);
    }
}

static void tell(struct spr_lifecycle *l, const struct spr__shard *s, int from, struct spr_time now) {
    if (!l->opts.event)
        return;
    struct spr_lifecycle_event e = {.size = sizeof e,
                                    .time = now,
                                    .shard = s->id,
                                    .vm = s->vm,
                                    .host = s->host,
                                    .from = from,
                                    .to = s->state,
                                    .ready = s->ready,
                                    .pending = spr__shard_pending(s),
                                    .draining = spr__shard_draining(s),
                                    .because = s->because,
                                    .text = l->said};
    l->opts.event(l->opts.user, &e);
}

int spr__shard_change(struct spr_lifecycle *l, struct spr__shard *s, int event, int because, struct spr_time now,
                      bool strict) {
    int from = s->state, before = s->because, to = state_after(s, event);
    if (!spr__transition_allowed(s->kind, from, event, to)) {
        l->illegal++;
        spr__log(l->ctx, SPR_LOG_ERROR, "lifecycle", s->vm_name, "shard %llu: %s by %s to %s stands in no table",
                 (unsigned long long)s->id, spr_shard_state_name(from), spr__event_name(event),
                 spr_shard_state_name(to));
    }
    s->state = to;
    s->because = because;
    if (event != SPR__EVENT_SUBMITTED) { /* the record of the intent is there already */
        s->dirty = false;
        int rc = spr__journal_append(l, s, now);
        if (rc < 0 && strict) {
            s->state = from;
            s->because = before;
            return rc;
        }
        s->dirty = rc < 0;
    }
    s->touched = ++l->seq;
    if (s->dirty)
        spr__kick(l, now);
    if (from != to || event != SPR__EVENT_ALLOCATED)
        tell(l, s, from, now);
    return SPR_OK;
}

void spr__kick(struct spr_lifecycle *l, struct spr_time now) {
    if (l->kick)
        return;
    l->kick = true;
    l->kick_ns = now.mono_ns + KICK_NS;
    spr__wake_at(l, l->kick_ns);
}

/* ---- waiting warm ---- */

void spr__shard_wakes(struct spr__shard *s) {
    s->warm = SPR_WARM_ANY;
    s->wake = (struct spr_time){0};
}

bool spr__shard_waits(struct spr_lifecycle *l, struct spr__shard *s, struct spr_time now) {
    if (!s->warm)
        return false;
    if (!s->wake.mono_ns)
        s->wake.mono_ns = SPR_MAX(now.mono_ns + (s->wake.wall_ns - now.wall_ns), 1);
    if (s->wake.mono_ns <= now.mono_ns)
        return false;
    l->wake_ns = SPR_MIN(l->wake_ns, s->wake.mono_ns);
    spr__wake_at(l, l->wake_ns);
    return true;
}

/* ---- driving: ask for whatever is missing ---- */

static int ask(struct spr_lifecycle *l, struct spr__shard *s, int verb, uint64_t piece,
               const struct spr_amounts *amounts, bool trim, struct spr_time now) {
    if (spr__call_find(s, verb, piece, trim))
        return SPR_OK;
    return spr__call_start(l, s, verb, piece, amounts, trim, now);
}

/*
 * What is under way for a growth that is given back no longer matters. But it may have ended in this moment, and
 * then there is nothing pending to give back any more: look at the amounts soon.
 */
static void drop_calls_of(struct spr_lifecycle *l, struct spr__shard *s, uint64_t piece, struct spr_time now) {
    for (struct spr__call *c = s->calls, *next; c; c = next) {
        next = c->next;
        if (c->piece != piece || c->verb == SPR_DRIVER_RELEASE)
            continue;
        if (c->ticket && (c->verb == SPR_DRIVER_WARM || s->kind == SPR_SHARD_HEADROOM)) {
            s->verify = true;
            spr__observe_soon(l, now);
        }
        spr__call_drop(l, c);
    }
}

static int drive_piece(struct spr_lifecycle *l, struct spr__shard *s, size_t i, struct spr_time now) {
    struct spr__piece *p = &s->pieces[i], *first = spr__piece_find(s, s->first);
    int rc;
    if (first && p != first && !first->doomed &&
        (first->phase == SPR__PHASE_RESERVE || (first->phase == SPR__PHASE_ALLOCATE && !first->begun)))
        return SPR_OK; /* there is nothing to grow yet */
    int verb = p->phase == SPR__PHASE_RESERVE ? SPR_DRIVER_RESERVE
               : p->phase == SPR__PHASE_WARM  ? SPR_DRIVER_WARM
               : p == first                   ? SPR_DRIVER_ALLOCATE
                                              : SPR_DRIVER_RESIZE;
    p->trim &= p->heard;
    if ((rc = ask(l, s, verb, p->number, &p->amounts, false, now)) < 0)
        return rc;
    if (p->trim && !spr__call_find(s, SPR_DRIVER_RESIZE, p->number, true)) {
        if ((rc = spr__call_start(l, s, SPR_DRIVER_RESIZE, p->number, &p->amounts, true, now)) < 0)
            return rc;
        p->trim = false;
    }
    return SPR_OK;
}

static int drive_pieces(struct spr_lifecycle *l, struct spr__shard *s, struct spr_time now) {
    for (size_t i = 0; i < s->piece_count;) {
        struct spr__piece *p = &s->pieces[i];
        int rc = SPR_OK;
        if (p->doomed)
            drop_calls_of(l, s, p->number, now);
        if (p->doomed && !p->heard) {
            bool first = p->number == s->first;
            spr__piece_remove(s, p);
            if (first)
                s->first = i < s->piece_count ? s->pieces[i].number : s->next_piece;
            continue;
        }
        rc = p->doomed ? ask(l, s, SPR_DRIVER_RELEASE, p->number, &p->amounts, false, now) : drive_piece(l, s, i, now);
        if (rc < 0)
            return rc;
        i++;
    }
    return SPR_OK;
}

/* Warm: it serves, or waits in the way that was chosen for it until its time has come. */
static int drive_warm(struct spr_lifecycle *l, struct spr__shard *s, struct spr_time now) {
    struct spr__call *activate = spr__call_find(s, SPR_DRIVER_ACTIVATE, 0, false);
    struct spr__call *lay_down = spr__call_find(s, SPR_DRIVER_WARM, 0, false);
    bool warm = s->state == SPR_SHARD_WARM && s->kind == SPR_SHARD_REPLICA && s->warmness >= l->opts.warm_at_least;
    bool waits = warm && spr__shard_waits(l, s, now);
    if (s->state != SPR_SHARD_WARM && activate)
        spr__call_drop(l, activate);
    if (lay_down && (!waits || (!lay_down->ticket && lay_down->warm != s->warm))) {
        s->waits = -1;
        spr__call_drop(l, lay_down);
    }
    if (!warm || (waits && activate)) /* on its way already */
        return SPR_OK;
    if (!waits)
        return ask(l, s, SPR_DRIVER_ACTIVATE, 0, NULL, false, now);
    return s->waits == s->warm ? SPR_OK : ask(l, s, SPR_DRIVER_WARM, 0, NULL, false, now);
}

static int drive_ready(struct spr_lifecycle *l, struct spr__shard *s, struct spr_time now) {
    int rc = drive_warm(l, s, now);
    if (rc < 0)
        return rc;
    if (s->drain_number) {
        if ((rc = spr__call_start(l, s, SPR_DRIVER_DRAIN, s->drain_number, &s->to_drain, false, now)) < 0)
            return rc;
        memset(&s->to_drain, 0, sizeof s->to_drain);
        s->drain_number = 0;
    }
    return s->promote ? ask(l, s, SPR_DRIVER_PROMOTE, 0, &s->ready, false, now) : SPR_OK;
}

static bool is_empty(const struct spr__shard *s) {
    return !spr__amounts_any(&s->ready) && !s->piece_count && !spr__amounts_any(&s->draining) && !s->calls &&
           !s->needs_observe;
}

static int drive(struct spr_lifecycle *l, struct spr__shard *s, struct spr_time now) {
    int rc;
    if (s->adopt)
        return ask(l, s, SPR_DRIVER_ADOPT, 0, NULL, false, now);
    if (s->state == SPR_SHARD_FAILED)
        return ask(l, s, SPR_DRIVER_RELEASE, 0, NULL, false, now);
    if ((rc = drive_pieces(l, s, now)) < 0 || (rc = drive_ready(l, s, now)) < 0)
        return rc;
    return is_empty(s) ? ask(l, s, SPR_DRIVER_RELEASE, 0, NULL, false, now) : SPR_OK;
}

void spr__shard_drive(struct spr_lifecycle *l, struct spr__shard *s, struct spr_time now) {
    if (l->fenced || l->hands_off || s->state == SPR_SHARD_UNKNOWN || s->state == SPR_SHARD_RELEASED)
        return;
    if (s->dirty) {
        s->dirty = false;
        s->dirty = spr__journal_append(l, s, now) < 0;
    }
    /* Nothing is asked before its record is durable. */
    if (s->dirty || (!s->journal && drive(l, s, now) < 0))
        spr__kick(l, now);
}

/* ---- giving back ---- */

void spr__shard_reduce(struct spr__shard *s, struct spr_amounts less) {
    for (size_t i = s->piece_count; i-- > 0;) {
        struct spr__piece *p = &s->pieces[i];
        struct spr_amounts left = p->amounts;
        if (p->doomed)
            continue;
        struct spr_amounts taken = spr__amounts_take(&left, &less);
        if (!spr__amounts_any(&taken))
            continue;
        p->doomed = !spr__amounts_any(&left);
        p->trim |= !p->doomed;
        if (!p->doomed)
            p->amounts = left; /* a doomed one is held whole until the driver has let go of it */
    }
    struct spr_amounts cut = spr__amounts_take(&s->ready, &less);
    if (!spr__amounts_any(&cut))
        return;
    spr__amounts_add(&s->draining, &cut);
    spr__amounts_add(&s->to_drain, &cut);
    if (!s->drain_number)
        s->drain_number = s->next_piece++;
    if (!spr__amounts_any(&s->ready))
        s->serving = s->promote = false;
}

void spr__shard_reduce_all(struct spr__shard *s) {
    struct spr_amounts all = spr__shard_pending(s);
    spr__amounts_add(&all, &s->ready);
    for (size_t i = 0; i < s->piece_count; i++)
        s->pieces[i].doomed = true;
    spr__shard_reduce(s, all);
}

void spr__shard_give_back(struct spr_lifecycle *l, struct spr__shard *s, int because, struct spr_time now) {
    if (l->hands_off)
        return; /* it may be somebody else's */
    struct spr_amounts pending = spr__shard_pending(s);
    if (s->state == SPR_SHARD_FAILED || (!spr__amounts_any(&s->ready) && !spr__amounts_any(&pending)))
        return; /* it goes already */
    spr__shard_reduce_all(s);
    spr__shard_change(l, s, SPR__EVENT_SHRUNK, because, now, false);
    spr__shard_drive(l, s, now);
}

bool spr__shard_expired(const struct spr_lifecycle *l, const struct spr__shard *s, struct spr_time now) {
    return s->state == SPR_SHARD_RESERVED && s->piece_count &&
           (double)(now.wall_ns - s->pieces[0].asked.wall_ns) > l->opts.reserve_ttl_s * 1e9;
}

void spr__shard_lost(struct spr_lifecycle *l, struct spr__shard *s, int because, struct spr_time now) {
    spr__call_drop_all(l, s);
    s->needs_observe = true;
    s->adopt = false;
    s->broken = false;
    s->waits = -1;
    for (size_t i = 0; i < s->piece_count; i++) {
        s->pieces[i].begun = false;
        s->pieces[i].trim = s->pieces[i].heard; /* said again, in case that was what got lost */
    }
    if (s->state != SPR_SHARD_UNKNOWN)
        spr__shard_change(l, s, SPR__EVENT_LOST, because, now, false);
    spr__observe(l, now);
}

/* ---- answers ---- */

void spr__call_accepted(struct spr_lifecycle *l, struct spr__call *c, struct spr_time now) {
    struct spr__shard *s = c->shard;
    if (!s) {
        l->observe_seq = l->seq;
        return;
    }
    struct spr__piece *p = c->trim ? NULL : spr__piece_find(s, c->piece);
    if (!p || p->doomed)
        return;
    p->heard = p->begun = true;
    if (c->verb == SPR_DRIVER_ALLOCATE && (s->state == SPR_SHARD_PLANNED || s->state == SPR_SHARD_RESERVED)) {
        spr__shard_change(l, s, SPR__EVENT_SUBMITTED, p->because, now, false);
        if (s->piece_count > 1)
            spr__kick(l, now); /* the others may grow it now */
    }
}

static void measured(struct spr_lifecycle *l, double seconds) {
    int n = l->lead_count, i;
    if (n == SPR__LEADS) { /* the oldest one leaves the ordered copy */
        double old = l->leads[l->lead_at];
        for (i = 0; l->sorted[i] != old; i++)
            ;
        memmove(&l->sorted[i], &l->sorted[i + 1], (size_t)(--n - i) * sizeof *l->sorted);
    }
    for (i = n; i > 0 && l->sorted[i - 1] > seconds; i--)
        l->sorted[i] = l->sorted[i - 1];
    l->sorted[i] = seconds;
    l->leads[l->lead_at] = seconds;
    l->lead_at = (l->lead_at + 1) % SPR__LEADS;
    l->lead_count = n + 1;
}

/* A growth has arrived: from now on it is part of what the shard holds ready. */
static void piece_ready(struct spr_lifecycle *l, struct spr__shard *s, struct spr__piece *p, int event, int because,
                        struct spr_time now) {
    uint64_t replaces = p->replaces;
    if (p->trim || spr__call_find(s, SPR_DRIVER_RESIZE, p->number, true)) { /* it may have arrived untrimmed */
        s->verify = true;
        spr__observe_soon(l, now);
    }
    if (p->asked.mono_ns)
        measured(l, (double)(now.mono_ns - p->asked.mono_ns) * 1e-9);
    spr__amounts_add(&s->ready, &p->amounts);
    spr__piece_remove(s, p);
    spr__shard_change(l, s, event, because, now, false);
    struct spr__shard *old = replaces ? spr__shard_find(l, replaces) : NULL;
    if (old && old != s)
        spr__shard_give_back(l, old, SPR_BECAUSE_CONSOLIDATION, now);
}

static void allocated(struct spr_lifecycle *l, const struct spr__call *c, const struct spr_driver_completion *d,
                      struct spr_time now) {
    struct spr__shard *s = c->shard;
    struct spr__piece *p = spr__piece_find(s, c->piece);
    if (c->trim || !p || p->doomed)
        return;
    if (spr__amounts_any(&d->amounts) && !p->trim && !spr__call_find(s, SPR_DRIVER_RESIZE, c->piece, true))
        p->amounts = d->amounts;
    if (s->kind == SPR_SHARD_HEADROOM) { /* there is nothing to warm */
        s->warmness = 1;
        piece_ready(l, s, p, SPR__EVENT_ALLOCATED, SPR_BECAUSE_ALLOCATED, now);
        return;
    }
    p->phase = SPR__PHASE_WARM;
    p->begun = false;
    spr__shard_change(l, s, SPR__EVENT_ALLOCATED, SPR_BECAUSE_ALLOCATED, now, false);
}

static void warmed(struct spr_lifecycle *l, const struct spr__call *c, const struct spr_driver_completion *d,
                   struct spr_time now) {
    struct spr__shard *s = c->shard;
    struct spr__piece *p = spr__piece_find(s, c->piece);
    if (!p || p->doomed)
        return;
    double warmness = d->outcome == SPR_DONE ? d->warmness : 1;
    if (!(warmness >= l->opts.warm_at_least)) { /* not warm enough for traffic: warm on, as after a failure */
        if (spr__call_again(l, c, c->tries + 1, now) < 0)
            spr__kick(l, now);
        return;
    }
    s->warmness = SPR_MIN(warmness, 1);
    s->waits = s->serving || spr__amounts_any(&s->ready) ? s->waits : c->warm; /* a growth leaves it as it was */
    piece_ready(l, s, p, SPR__EVENT_WARMED, SPR_BECAUSE_WARMED, now);
}

static void drained(struct spr_lifecycle *l, struct spr__shard *s, struct spr_time now) {
    struct spr_amounts most = s->to_drain;
    for (const struct spr__call *c = s->calls; c; c = c->next)
        if (c->verb == SPR_DRIVER_DRAIN && spr__amounts_any(&c->amounts))
            spr__amounts_add(&most, &c->amounts);
        else if (c->verb == SPR_DRIVER_DRAIN) /* it waits for all of it, whatever that is */
            most = s->draining;
    for (int r = 0; r < SPR_RESOURCES_MAX; r++)
        s->draining.of[r] = SPR_MIN(s->draining.of[r], most.of[r]);
    spr__shard_change(l, s, SPR__EVENT_DRAINED, SPR_BECAUSE_DRAINED, now, false);
}

static void ended(struct spr_lifecycle *l, struct spr__shard *s, int event, int because, struct spr_time now) {
    memset(&s->ready, 0, sizeof s->ready);
    memset(&s->draining, 0, sizeof s->draining);
    s->piece_count = 0;
    spr__shard_change(l, s, event, because, now, false);
    if (s->dirty) /* lost with the disk: recovery finds nothing on the host and forgets it */
        spr__log(l->ctx, SPR_LOG_WARN, "lifecycle", s->vm_name, "the journal lacks the release of shard %llu",
                 (unsigned long long)s->id);
    l->released_seq = l->seq;
    spr__shard_remove(l, s);
}

void spr__call_done(struct spr_lifecycle *l, struct spr__call *c, const struct spr_driver_completion *d,
                    struct spr_time now) {
    struct spr__shard *s = c->shard;
    struct spr__piece *p = spr__piece_find(s, c->piece);
    switch (c->verb) {
    case SPR_DRIVER_RESERVE:
        if (p && !p->doomed) {
            p->phase = SPR__PHASE_ALLOCATE;
            p->begun = false;
            spr__shard_change(l, s, SPR__EVENT_RESERVED, p->because, now, false);
        }
        break;
    case SPR_DRIVER_ALLOCATE:
    case SPR_DRIVER_RESIZE:
        allocated(l, c, d, now);
        break;
    case SPR_DRIVER_WARM:
        if (c->piece)
            warmed(l, c, d, now);
        else
            s->waits = c->warm;
        break;
    case SPR_DRIVER_ACTIVATE:
        s->tries = 0;
        s->serving = true;
        spr__shard_wakes(s);
        spr__shard_change(l, s, SPR__EVENT_ACTIVATED, SPR_BECAUSE_WARMED, now, false);
        break;
    case SPR_DRIVER_DRAIN:
        drained(l, s, now);
        break;
    case SPR_DRIVER_PROMOTE:
        ended(l, s, SPR__EVENT_PROMOTED, SPR_BECAUSE_PRIMARY_DEAD, now);
        return;
    case SPR_DRIVER_ADOPT:
        s->adopt = false;
        spr__shard_change(l, s, SPR__EVENT_ADOPTED, SPR_BECAUSE_RECOVERED, now, false);
        break;
    case SPR_DRIVER_RELEASE:
        if (!c->piece) {
            ended(l, s, SPR__EVENT_GONE, s->because, now);
            return;
        }
        if (p) {
            spr__piece_remove(s, p);
            spr__shard_change(l, s, SPR__EVENT_DRAINED, s->because, now, false);
        }
        break;
    default:
        break;
    }
    spr__shard_drive(l, s, now);
}

/* The whole shard is of no use: all that is left is to get rid of it. */
static void broke(struct spr_lifecycle *l, struct spr__shard *s, struct spr_time now) {
    spr__call_drop_all(l, s);
    spr__shard_reduce_all(s);
    memset(&s->to_drain, 0, sizeof s->to_drain);
    s->drain_number = 0;
    s->broken = true;
    spr__shard_change(l, s, SPR__EVENT_FAILED, SPR_BECAUSE_DRIVER_FAILED, now, false);
}

static bool stands_alone(const struct spr__shard *s, const struct spr__piece *p) {
    struct spr_amounts pending = spr__shard_pending(s), own = p->amounts;
    struct spr_amounts others = spr__amounts_over(&pending, &own);
    return !spr__amounts_any(&s->ready) && !spr__amounts_any(&s->draining) && !spr__amounts_any(&others);
}

void spr__call_gave_up(struct spr_lifecycle *l, struct spr__call *c, struct spr_time now) {
    struct spr__shard *s = c->shard;
    struct spr__piece *p = spr__piece_find(s, c->piece);
    uint64_t piece = c->piece;
    int32_t warm = c->warm;
    int verb = c->verb;
    bool trim = c->trim;
    spr__call_drop(l, c);
    if (trim) /* it stays as large as it was until it is ready; the next plan sees that */
        return;
    if (verb == SPR_DRIVER_WARM && (!piece || warm)) { /* who cannot wait that way serves: it costs more, and helps */
        spr__shard_wakes(s);
        spr__shard_drive(l, s, now);
        return;
    }
    if (verb == SPR_DRIVER_PROMOTE) {
        s->promote = false;
        spr__shard_change(l, s, SPR__EVENT_FAILED, SPR_BECAUSE_DRIVER_FAILED, now, false);
    } else if (verb == SPR_DRIVER_ACTIVATE || verb == SPR_DRIVER_RESERVE || verb == SPR_DRIVER_ALLOCATE || !p ||
               stands_alone(s, p)) {
        broke(l, s, now);
    } else {
        p->doomed = true;
        p->heard = verb == SPR_DRIVER_WARM; /* a growth that failed never came to be */
        spr__shard_change(l, s, SPR__EVENT_FAILED, SPR_BECAUSE_DRIVER_FAILED, now, false);
    }
    spr__shard_drive(l, s, now);
}
