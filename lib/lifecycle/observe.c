/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the driver says is there, against what we believe. Its word counts; but an observation is a photograph:
 * shards that changed after it was taken are left alone until the next one, and a host that cannot be reached
 * proves nothing.
 */
#include "lifecycle/lifecycle.h"

#define POLL_NS     INT64_C(1000000000)
#define POLL_MAX_NS (60 * POLL_NS)
#define STRAYS_MAX  8

int spr__observe(struct spr_lifecycle *l, struct spr_time now) {
    if (l->observing) {
        l->observe_again = true;
        return SPR_OK;
    }
    l->observe_again = false;
    l->observe_seq = l->seq;
    int rc = spr__call_start(l, NULL, SPR_DRIVER_OBSERVE, 0, NULL, false, now);
    if (rc < 0 && rc != SPR_E_FENCED) {
        l->poll_ns = now.mono_ns + POLL_NS;
        spr__wake_at(l, l->poll_ns);
    }
    return rc;
}

void spr__observe_soon(struct spr_lifecycle *l, struct spr_time now) {
    l->poll_ns = SPR_MIN(l->poll_ns, now.mono_ns + POLL_NS);
    spr__wake_at(l, l->poll_ns);
}

static bool host_up(const struct spr_lifecycle *l, const struct spr__shard *s) {
    return l->fleet && s->host >= 0 && l->fleet->placement->host_state[s->host] != SPR_HOST_UNREACHABLE;
}

/*
 * A host that cannot be reached and of which no VM is known may hide any: what the inventory does not list is not
 * deleted then, only not seen.
 */
static bool in_the_dark(const spr_fleet *f) {
    const struct spr__fleet_placement *p = f->placement;
    for (int32_t h = 0; h < p->host_count; h++)
        if (p->host_state[h] == SPR_HOST_UNREACHABLE && p->first[h] == p->first[h + 1])
            return true;
    return false;
}

static bool drains(const struct spr__shard *s) {
    for (const struct spr__call *c = s->calls; c; c = c->next)
        if (c->verb == SPR_DRIVER_DRAIN)
            return true;
    return s->drain_number != 0;
}

static bool only_drains(const struct spr__shard *s) {
    for (const struct spr__call *c = s->calls; c; c = c->next)
        if (c->verb != SPR_DRIVER_DRAIN)
            return false;
    return true;
}

/* Nothing is there. What the driver may still be about to do is called off by a release, which is idempotent. */
static void missing(struct spr_lifecycle *l, struct spr__shard *s, struct spr_time now) {
    int because = s->state == SPR_SHARD_UNKNOWN ? s->because : SPR_BECAUSE_DRIVER_FAILED;
    spr__call_drop_all(l, s);
    memset(&s->ready, 0, sizeof s->ready);
    memset(&s->draining, 0, sizeof s->draining);
    memset(&s->to_drain, 0, sizeof s->to_drain);
    s->drain_number = 0;
    s->piece_count = 0;
    s->serving = s->promote = s->adopt = s->needs_observe = s->broken = false;
    spr__shard_change(l, s, SPR__EVENT_FORGOTTEN, l->recovery == 2 ? because : SPR_BECAUSE_RECOVERED, now, false);
    spr__shard_drive(l, s, now);
}

/* Take the driver's amounts. What it holds beyond what we want is given back. Returns whether anything differed. */
static bool take_truth(const struct spr_lifecycle *l, struct spr__shard *s, const struct spr_observed_shard *o) {
    struct spr_amounts surplus = spr__amounts_over(&o->ready, &s->ready);
    struct spr_amounts deficit = spr__amounts_over(&s->ready, &o->ready);
    bool differs = spr__amounts_any(&surplus) || spr__amounts_any(&deficit);
    for (int r = 0; r < SPR_RESOURCES_MAX; r++)
        s->ready.of[r] -= deficit.of[r];
    s->draining = o->draining;
    s->verify = false;
    if (spr__amounts_any(&surplus)) {
        spr__amounts_add(&s->draining, &surplus);
        spr__amounts_add(&s->to_drain, &surplus);
        if (!s->drain_number)
            s->drain_number = s->next_piece++;
    }
    if (!spr__amounts_any(&s->ready))
        s->serving = false;
    /*
     * A drain whose ticket is lost may have nobody left who sees its flows end: asked for by another number, of
     * nothing more, it goes on. Who only looks watches it.
     */
    s->needs_observe = spr__amounts_any(&o->draining) && !drains(s);
    if (s->needs_observe && !l->hands_off) {
        s->drain_number = s->next_piece++;
        s->dirty = true; /* numbers are never used twice, not after a crash either */
    }
    return differs;
}

static bool is_in_use(const struct spr__shard *s, const struct spr_observed_shard *o) {
    if (s->kind == SPR_SHARD_HEADROOM)
        return spr__amounts_any(&o->used);
    return o->state == SPR_SHARD_SERVING;
}

/* The answer to an unknown: go on from what is there. */
static void resolve(struct spr_lifecycle *l, struct spr__shard *s, const struct spr_observed_shard *o,
                    struct spr_time now) {
    s->warmness = o->warmness;
    s->serving = is_in_use(s, o) && spr__amounts_any(&s->ready);
    if (s->piece_count) {
        /* Growths are asked for once more (asking twice is harmless) and counted when they answer; only then
         * can a surplus be told from a growth that had arrived. */
        s->draining = o->draining;
        s->needs_observe = true;
    } else {
        take_truth(l, s, o);
    }
    spr__shard_change(l, s, SPR__EVENT_OBSERVED, s->because, now, false);
    spr__shard_drive(l, s, now);
}

/*
 * Growths under way that nobody here remembers (the journal lost its end): their numbers rise from the next one we
 * would give, so the next few are given back, and then we look again.
 */
static bool give_back_unknown(struct spr_lifecycle *l, struct spr__shard *s, const struct spr_observed_shard *o,
                              struct spr_time now) {
    static const struct spr_amounts nothing;
    if (!spr__amounts_any(&o->pending)) {
        s->strays = 0;
        return false;
    }
    if (++s->strays > STRAYS_MAX)
        return false; /* then it is something else; it goes with the whole shard */
    for (int i = 0; i < 8; i++) {
        struct spr__piece *p = spr__piece_add(l, s, &nothing, SPR_BECAUSE_RECOVERED, now);
        if (!p)
            break;
        p->doomed = p->heard = true;
    }
    s->verify = true;
    spr__observe_soon(l, now);
    return true;
}

/* Only a hold can be used by somebody else; a replica has less because it ended, or was cut down, where it stood. */
static int why_less(const struct spr__shard *s) {
    bool hold = s->kind == SPR_SHARD_HEADROOM && spr__amounts_any(&s->ready);
    return hold ? SPR_BECAUSE_HOLD_VIOLATED : SPR_BECAUSE_DRIVER_FAILED;
}

/* A shard at rest: amounts, warmness and use as they are. */
static void compare(struct spr_lifecycle *l, struct spr__shard *s, const struct spr_observed_shard *o,
                    struct spr_time now) {
    struct spr_amounts lack = spr__amounts_over(&s->ready, &o->ready);
    bool was = s->serving, cold = s->kind == SPR_SHARD_REPLICA && o->warmness < l->opts.warm_at_least;
    s->warmness = o->warmness;
    bool differs = take_truth(l, s, o);
    differs |= give_back_unknown(l, s, o, now);
    if (spr__amounts_any(&s->ready))
        s->serving = is_in_use(s, o) && !cold;
    if (differs)
        spr__shard_change(l, s, SPR__EVENT_OBSERVED, spr__amounts_any(&lack) ? why_less(s) : SPR_BECAUSE_RECOVERED, now,
                          false);
    else if (was != s->serving)
        spr__shard_change(l, s, was && cold ? SPR__EVENT_COOLED : SPR__EVENT_OBSERVED, SPR_BECAUSE_WARMED, now, false);
    spr__shard_drive(l, s, now);
}

/* Found after a restart. The journal says what it should be, the host what it is. */
static void found(struct spr_lifecycle *l, struct spr__shard *s, const struct spr_observed_shard *o,
                  struct spr_time now) {
    for (int r = 0; r < SPR_RESOURCES_MAX; r++)
        s->ready.of[r] = SPR_MIN(s->ready.of[r], o->ready.of[r]);
    s->draining = o->draining;
    s->warmness = o->warmness;
    s->serving = is_in_use(s, o) && spr__amounts_any(&s->ready);
    bool expired = spr__shard_expired(l, s, now);
    s->adopt = !l->hands_off; /* who only looks takes it as it is */
    s->needs_observe = true;
    spr__shard_change(l, s, SPR__EVENT_FOUND, SPR_BECAUSE_RECOVERED, now, false);
    if (l->hands_off)
        spr__shard_change(l, s, SPR__EVENT_ADOPTED, SPR_BECAUSE_RECOVERED, now, false);
    if (expired)
        spr__shard_give_back(l, s, SPR_BECAUSE_OWNER_GONE, now);
    spr__shard_drive(l, s, now);
}

static void reconcile(struct spr_lifecycle *l, struct spr__shard *s, const struct spr_observed_shard *o,
                      struct spr_time now) {
    if (l->recovery == 2 && s->touched > l->observe_seq)
        return;
    if (o ? o->state == SPR_SHARD_UNKNOWN : !host_up(l, s)) {
        s->needs_observe = true;
        if (s->state != SPR_SHARD_UNKNOWN)
            spr__shard_lost(l, s, SPR_BECAUSE_HOST_LOST, now);
        return;
    }
    if (o)
        s->used = o->used;
    if (!o && (l->recovery == 1 || s->state == SPR_SHARD_UNKNOWN))
        missing(l, s, now);
    else if (!o && !s->calls && (spr__amounts_any(&s->ready) || s->needs_observe))
        missing(l, s, now);
    else if (o && l->recovery == 1)
        found(l, s, o, now);
    else if (o && s->state == SPR_SHARD_UNKNOWN)
        resolve(l, s, o, now);
    else if (o && only_drains(s) && !s->piece_count && s->state != SPR_SHARD_FAILED && !s->adopt)
        compare(l, s, o, now);
    else if (o && !spr__amounts_any(&s->to_drain))
        s->draining = o->draining;
}

/* ---- what nobody here knows of ---- */

static void foreign(struct spr_lifecycle *l, const struct spr_observed_shard *o, struct spr_time now) {
    spr__log(l->ctx, SPR_LOG_WARN, "lifecycle", o->host, "something foreign uses capacity that is held for shards");
    if (!l->opts.event)
        return;
    struct spr_lifecycle_event e = {.size = sizeof e,
                                    .time = now,
                                    .vm = -1,
                                    .host = spr_fleet_find_host(l->fleet, o->host),
                                    .from = SPR_SHARD_UNKNOWN,
                                    .to = SPR_SHARD_UNKNOWN,
                                    .ready = o->ready,
                                    .because = SPR_BECAUSE_HOLD_VIOLATED};
    l->opts.event(l->opts.user, &e);
}

/* Ours by its mark, but in no journal. What serves is adopted; what nobody could finish is given back. */
static void orphan(struct spr_lifecycle *l, const struct spr_observed_shard *o, struct spr_time now) {
    if (!o->vm || !*o->vm || !o->host || !*o->host || o->state == SPR_SHARD_UNKNOWN ||
        (l->recovery == 2 && l->released_seq > l->observe_seq)) /* perhaps a picture of one that has just gone */
        return;
    struct spr__shard *s = spr__shard_new(l, o->id, o->vm, o->host, o->kind == SPR_SHARD_HEADROOM);
    if (!s) {
        l->observe_again = true;
        return;
    }
    s->seen = l->observe_count;
    s->state = SPR_SHARD_UNKNOWN;
    s->next_piece = UINT64_C(1) << 32; /* whatever its growths were called, ours are called otherwise */
    s->ready = o->ready;
    bool known = s->vm >= 0 || in_the_dark(l->fleet);
    bool finish = spr__amounts_any(&o->ready) && !spr__amounts_any(&o->pending) && known;
    int because = !known ? SPR_BECAUSE_VM_GONE : SPR_BECAUSE_OWNER_GONE;
    found(l, s, o, now);
    if (!finish)
        spr__shard_give_back(l, s, because, now);
}

/* ---- the whole picture ---- */

static void plan_next_poll(struct spr_lifecycle *l, struct spr_time now) {
    bool wanted = false;
    for (size_t i = 0; i < l->shard_count && !wanted; i++)
        wanted = l->shards[i]->needs_observe || l->shards[i]->verify;
    l->poll_tries = wanted ? l->poll_tries + 1 : 0;
    if (!wanted)
        return;
    int64_t pause = POLL_NS;
    for (int i = 1; i < l->poll_tries && pause < POLL_MAX_NS; i++)
        pause *= 2;
    l->poll_ns = now.mono_ns + SPR_MIN(pause, POLL_MAX_NS);
    spr__wake_at(l, l->poll_ns);
}

static void one_observed(struct spr_lifecycle *l, const struct spr_observed_shard *o, struct spr_time now) {
    if (!o->id) {
        foreign(l, o, now);
        return;
    }
    struct spr__shard *s = spr__shard_find(l, o->id);
    if (!s) {
        orphan(l, o, now);
        return;
    }
    s->seen = l->observe_count;
    reconcile(l, s, o, now);
}

void spr__observed(struct spr_lifecycle *l, const struct spr_driver_completion *d, struct spr_time now) {
    struct spr_observed_shard o;
    l->observe_count++;
    for (int pass = 0; pass < 2; pass++) { /* a newer fence anywhere: touch nothing at all */
        const char *at = (const char *)d->observed;
        for (size_t i = 0; i < d->observed_count; i++) {
            if (spr__opts_copy(l->ctx, "spr_observed_shard", at, &o, sizeof o) < 0)
                break;
            size_t stride;
            memcpy(&stride, at, sizeof stride);
            at += stride;
            if (pass == 0 && o.fence > l->fence)
                l->fenced = true;
            else if (pass == 1)
                one_observed(l, &o, now);
        }
        if (l->fenced)
            return;
    }
    for (size_t i = l->shard_count; i-- > 0;) /* an unseen one may go, with its place */
        if (i < l->shard_count && l->shards[i]->seen != l->observe_count)
            reconcile(l, l->shards[i], NULL, now);
    l->recovery = 2;
    plan_next_poll(l, now);
    if (l->observe_again)
        spr__observe(l, now);
}

/* ---- what the inventory says ---- */

static void find_again(struct spr_lifecycle *l, struct spr__shard *s) {
    s->vm = spr_fleet_find_vm(l->fleet, s->vm_name);
    s->host = spr_fleet_find_host(l->fleet, s->host_name);
}

static void look_at_placement(struct spr_lifecycle *l, struct spr__shard *s, struct spr_time now) {
    if (s->vm < 0) {
        if (!in_the_dark(l->fleet)) /* inventory is authoritative: the VM was deleted */
            spr__shard_give_back(l, s, SPR_BECAUSE_VM_GONE, now);
        return;
    }
    if (s->host < 0)
        return;
    if (l->fleet->placement->vm_host[s->vm] == s->host) {
        spr__shard_give_back(l, s, SPR_BECAUSE_PRIMARY_MOVED, now); /* beside its primary it helps nobody */
        return;
    }
    if (!host_up(l, s) && s->state != SPR_SHARD_UNKNOWN)
        spr__shard_lost(l, s, SPR_BECAUSE_HOST_LOST, now);
    else if (s->state == SPR_SHARD_UNKNOWN && s->needs_observe)
        spr__observe(l, now); /* perhaps it is back */
}

void spr__fleet_changed(struct spr_lifecycle *l, const spr_fleet *before, struct spr_time now) {
    bool others = !before || before->inventory != l->fleet->inventory;
    if (!others && before->placement == l->fleet->placement)
        return;
    for (size_t i = l->shard_count; i-- > 0;) {
        if (others)
            find_again(l, l->shards[i]);
        if (l->recovery == 2)
            look_at_placement(l, l->shards[i], now);
    }
}
