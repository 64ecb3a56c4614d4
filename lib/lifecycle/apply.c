/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A plan's actions as changes of shards. An action that cannot be journalled leaves no trace. */
#include "lifecycle/lifecycle.h"

/* ---- undo: the shard as it was before a change that the journal refused ---- */

struct before {
    struct spr__shard shard;
    size_t piece_count;
};

static int remember(struct spr_lifecycle *l, const struct spr__shard *s, struct before *b) {
    int rc = spr__reserve(l->ctx, (void **)&l->undo, &l->undo_cap, s->piece_count + 1, sizeof *l->undo);
    if (rc < 0)
        return rc;
    if (s->piece_count)
        memcpy(l->undo, s->pieces, s->piece_count * sizeof *l->undo);
    b->shard = *s;
    return SPR_OK;
}

static void undo(struct spr_lifecycle *l, struct spr__shard *s, const struct before *b) {
    struct spr__piece *pieces = s->pieces; /* may have grown since */
    size_t cap = s->piece_cap;
    *s = b->shard;
    s->pieces = pieces;
    s->piece_cap = cap;
    if (s->piece_count)
        memcpy(s->pieces, l->undo, s->piece_count * sizeof *l->undo);
}

static int commit(struct spr_lifecycle *l, struct spr__shard *s, int event, int because, struct spr_time now,
                  const struct before *b) {
    int rc = spr__shard_change(l, s, event, because, now, true);
    if (rc < 0) {
        undo(l, s, b);
        return rc;
    }
    spr__shard_drive(l, s, now);
    return 1;
}

/* ---- kinds of action ---- */

static int refuse(struct spr_lifecycle *l, const struct spr_action *a, const char *why) {
    return spr__fail(l->ctx, SPR_E_ARG, "action %llu: %s", (unsigned long long)a->id, why);
}

static bool good_amounts(const struct spr_amounts *a) {
    for (int r = 0; r < SPR_RESOURCES_MAX; r++)
        if (!(isfinite(a->of[r]) && a->of[r] >= 0))
            return false;
    return spr__amounts_any(a);
}

static void waits_until(struct spr__shard *s, const struct spr_action *a, struct spr_time now) {
    spr__shard_wakes(s);
    if (a->warm == SPR_WARM_ANY || a->wake_mono_ns <= now.mono_ns)
        return;
    s->warm = a->warm;
    s->wake = (struct spr_time){now.wall_ns + (a->wake_mono_ns - now.mono_ns), a->wake_mono_ns};
}

static int64_t patience_of_flows(const struct spr__fleet_vm *vm) { return (int64_t)ceil(20 * vm->flow_lifetime_s); }

static int allocate(struct spr_lifecycle *l, const spr_fleet *fleet, const struct spr_action *a,
                    const struct spr_amounts *amounts, uint64_t replaces, struct spr_time now) {
    const struct spr__fleet_inventory *v = fleet->inventory;
    if (a->vm < 0 || a->vm >= v->vm_count || a->host < 0 || a->host >= v->host_count)
        return refuse(l, a, "its VM or host is not in the fleet");
    if (!good_amounts(amounts))
        return refuse(l, a, "its amounts are not positive numbers");
    const struct spr__fleet_vm *vm = &v->vms[a->vm];
    if (strlen(vm->id) > UINT16_MAX || strlen(v->hosts[a->host].id) > UINT16_MAX)
        return refuse(l, a, "a name is longer than the journal can write");
    int kind = vm->replica == SPR_REPLICA_NEVER ? SPR_SHARD_HEADROOM : SPR_SHARD_REPLICA;
    struct spr__shard *s = spr__shard_new(l, l->next_id, vm->id, v->hosts[a->host].id, kind);
    if (!s)
        return SPR_E_NOMEM;
    s->drain_s = patience_of_flows(vm);
    if (kind == SPR_SHARD_REPLICA)
        waits_until(s, a, now);
    struct spr__piece *p = spr__piece_add(l, s, amounts, a->because, now);
    int rc = p ? SPR_OK : spr__nomem(l->ctx);
    if (p) {
        p->replaces = replaces;
        rc = spr__shard_change(l, s, SPR__EVENT_GROWN, a->because, now, true);
    }
    if (rc < 0) {
        spr__shard_remove(l, s);
        return rc;
    }
    spr__shard_drive(l, s, now);
    return 1;
}

static int grow(struct spr_lifecycle *l, struct spr__shard *s, const struct spr_action *a,
                const struct spr_amounts *amounts, uint64_t replaces, struct spr_time now) {
    struct before b;
    if (!good_amounts(amounts))
        return refuse(l, a, "its amounts are not positive numbers");
    int rc = remember(l, s, &b);
    if (rc < 0)
        return rc;
    struct spr__piece *p = spr__piece_add(l, s, amounts, a->because, now);
    if (!p)
        return SPR_E_NOMEM;
    p->replaces = replaces;
    return commit(l, s, SPR__EVENT_GROWN, a->because, now, &b);
}

static int shrink(struct spr_lifecycle *l, struct spr__shard *s, const struct spr_action *a, bool all,
                  struct spr_time now) {
    struct spr_amounts pending = spr__shard_pending(s);
    struct before b;
    if (!all && !good_amounts(&a->amounts))
        return refuse(l, a, "its amounts are not positive numbers");
    if (!spr__amounts_any(&s->ready) && !spr__amounts_any(&pending))
        return 0; /* all of it is on its way out */
    int rc = remember(l, s, &b);
    if (rc < 0)
        return rc;
    if (all)
        spr__shard_reduce_all(s);
    else
        spr__shard_reduce(s, a->amounts);
    return commit(l, s, SPR__EVENT_SHRUNK, a->because, now, &b);
}

static struct spr_amounts all_of(const struct spr__shard *s) {
    struct spr_amounts sum = spr__shard_pending(s);
    spr__amounts_add(&sum, &s->ready);
    return sum;
}

static int promote(struct spr_lifecycle *l, struct spr__shard *s, const struct spr_action *a, struct spr_time now) {
    (void)a;
    if (s->state != SPR_SHARD_WARM && s->state != SPR_SHARD_SERVING)
        return 0;
    s->promote = true;
    if (spr__journal_append(l, s, now) < 0) {
        s->promote = false;
        return SPR_E_IO;
    }
    spr__shard_drive(l, s, now);
    return 1;
}

/* Once it serves, it has flows: it waits no more. */
static int wait_otherwise(struct spr_lifecycle *l, struct spr__shard *s, const struct spr_action *a,
                          struct spr_time now) {
    struct spr__shard before = *s;
    if (s->serving || s->kind != SPR_SHARD_REPLICA || s->state == SPR_SHARD_DRAINING)
        return 0;
    waits_until(s, a, now);
    int rc = spr__journal_append(l, s, now);
    if (rc < 0) {
        s->warm = before.warm, s->wake = before.wake;
        return rc;
    }
    s->touched = ++l->seq;
    spr__shard_drive(l, s, now);
    return 1;
}

/* One that is being released as a whole is past saving, whatever its state says. */
static bool takes_actions(struct spr__shard *s) {
    return !spr__call_find(s, SPR_DRIVER_RELEASE, 0, false) && s->state != SPR_SHARD_UNKNOWN &&
           s->state != SPR_SHARD_FAILED && s->state != SPR_SHARD_ADOPTED && s->state != SPR_SHARD_RELEASED;
}

static int move_or_merge(struct spr_lifecycle *l, const spr_fleet *fleet, struct spr__shard *s,
                         const struct spr_action *a, struct spr_time now) {
    struct spr_amounts amounts = spr__amounts_any(&a->amounts) ? a->amounts : all_of(s);
    if (!spr__amounts_any(&amounts))
        return 0;
    if (a->kind == SPR_ACTION_MOVE)
        return allocate(l, fleet, a, &amounts, s->id, now);
    struct spr__shard *into = spr__shard_find(l, a->into);
    if (!into || into == s || !takes_actions(into))
        return 0;
    if (!s->warm) /* what does not wait does not begin to because it moved */
        spr__shard_wakes(into);
    return grow(l, into, a, &amounts, s->id, now);
}

int spr__lifecycle_take(struct spr_lifecycle *l, const spr_fleet *fleet, const struct spr_action *a,
                        struct spr_time now) {
    if (a->warm < SPR_WARM_ANY || a->warm >= SPR_WARM_STATE_END_)
        return refuse(l, a, "not a spr_warm_state");
    struct spr__shard *s = a->shard ? spr__shard_find(l, a->shard) : NULL;
    if (a->kind == SPR_ACTION_ALLOCATE)
        return s ? 0 : allocate(l, fleet, a, &a->amounts, 0, now);
    if (!s || s->state != a->precondition || !takes_actions(s))
        return 0;
    switch (a->kind) {
    case SPR_ACTION_GROW:
        return grow(l, s, a, &a->amounts, 0, now);
    case SPR_ACTION_SHRINK:
        return shrink(l, s, a, false, now);
    case SPR_ACTION_RELEASE:
        return shrink(l, s, a, true, now);
    case SPR_ACTION_PROMOTE:
        return promote(l, s, a, now);
    case SPR_ACTION_WAIT:
        return wait_otherwise(l, s, a, now);
    case SPR_ACTION_MOVE:
    case SPR_ACTION_MERGE:
        return move_or_merge(l, fleet, s, a, now);
    default:
        return refuse(l, a, "not a spr_action_kind");
    }
}
