/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The way back: what a host's VMs hold too much, and what a host's guests must give up for its own sake. */
#include "plan/plan.h"

/* Of a ready part that goes back, what the VM's other ready parts cannot carry drains on; the idle rest is free at
 * once. */
static double idle_part(const struct board *b, int32_t v, int32_t i, double part) {
    double ready = 0, used = 0;
    for (int32_t k = b->first[v]; k >= 0; k = b->shards[k].next) {
        ready += b->shards[k].ready[i];
        used += b->shards[k].used[i];
    }
    return part - fmin(part, fmax(0, used - (ready - part)));
}

static void take_back(struct builtin *p, struct board_shard *s, int32_t i, bool pending, double *less) {
    struct board *b = &p->board;
    double *from = pending ? &s->pending[i] : &s->ready[i], part = fmin(*less, *from);
    if (part <= 0)
        return;
    if (!s->counted) { /* the first part of an action */
        int32_t home = spr__fleet_vm_host(b->fleet, s->vm);
        if (!spr__action_allowed(p, s->vm, home))
            return;
        spr__action_count(p, s->vm, home);
        s->counted = s->touched = true;
    }
    double idle = pending ? part : idle_part(b, s->vm, i, part);
    spr__board_hold(b, s->host, i, -idle);
    *from -= part;
    *less -= part;
    s->less[i] += part;
    b->holds[s->vm * b->r + i] -= part;
    if (!pending)
        s->used[i] = fmin(s->used[i], s->ready[i]);
}

/* Take `less` from a VM's shards: newest shard first, what is not ready yet before what is. */
static void give_back(struct builtin *p, int32_t v, double *less) {
    struct board *b = &p->board;
    int32_t n = 0;
    for (int32_t k = b->first[v]; k >= 0; k = b->shards[k].next)
        n++;
    for (int pending = 1; pending >= 0; pending--)
        for (int32_t turn = n - 1; turn >= 0; turn--) {
            int32_t k = b->first[v];
            for (int32_t j = 0; j < turn; j++)
                k = b->shards[k].next;
            for (int32_t i = 0; i < b->r; i++)
                take_back(p, &b->shards[k], i, pending, &less[i]);
        }
}

/* One action for all that shard s gives back in this round; `home`: host of its VM, `i`: resource that decides. */
static int emit_less(struct builtin *p, int32_t shard, int32_t home, int because) {
    struct board *b = &p->board;
    struct board_shard *s = &b->shards[shard];
    bool any = false, all = true;
    int32_t deciding = 0;
    for (int32_t i = 0; i < b->r; i++) {
        if (s->less[i] > 1e-12 * b->capacity[s->host * b->r + i])
            any = true, deciding = i;
        all &= s->ready[i] + s->pending[i] <= 1e-12 * b->capacity[s->host * b->r + i];
    }
    if (!any)
        return SPR_OK;
    const struct need *why = &p->needs[home * b->r + deciding];
    struct spr_action a = {.size = sizeof a,
                           .kind = all ? SPR_ACTION_RELEASE : SPR_ACTION_SHRINK,
                           .inverse = all ? SPR_ACTION_ALLOCATE : SPR_ACTION_GROW,
                           .vm = s->vm,
                           .host = s->host,
                           .shard = s->id,
                           .due_mono_ns = b->now_ns,
                           .deadline_mono_ns = INT64_MAX,
                           .because = because ? because : why->because_down,
                           .precondition = s->state};
    spr__action_explain(b, &a, deciding, because == SPR_BECAUSE_CASCADE ? s->host : home, why);
    for (int32_t i = 0; i < b->r; i++) {
        a.amounts.of[b->fleet->inventory->resource[i]] = s->less[i];
        s->less[i] = 0;
    }
    s->gone = all;
    s->counted = false;
    int32_t index;
    return spr__action_open(p, &a, &index);
}

/* Give back `give[i]` of each resource: first what no VM could use, then by trace order, the scarcest surplus rules. */
int spr__release(struct builtin *p, int32_t h, double *give) {
    struct board *b = &p->board;
    const struct spr__fleet_placement *at = b->fleet->placement;
    for (int pass = 0; pass < 2; pass++)
        for (int32_t j = at->first[h]; j < at->first[h + 1]; j++) {
            int32_t v = at->vms[j];
            double less[SPR_RESOURCES_MAX] = {0}, share = 1;
            const struct spr__fleet_vm *vm = &b->fleet->inventory->vms[v];
            if (b->first[v] < 0 || !spr__action_allowed(p, v, h))
                continue;
            for (int32_t i = 0; i < b->r; i++) {
                double holds = b->holds[v * b->r + i];
                if (holds > 0)
                    share = fmin(share, give[i] / holds);
                less[i] = pass ? holds : fmin(give[i], fmax(0, holds - vm->spillable * b->size_for[v * b->r + i]));
            }
            for (int32_t i = 0; i < b->r; i++) {
                less[i] *= pass ? share : 1;
                give[i] -= less[i];
            }
            give_back(p, v, less);
        }
    for (int32_t j = at->first[h]; j < at->first[h + 1]; j++)
        for (int32_t k = b->first[at->vms[j]]; k >= 0; k = b->shards[k].next) {
            int rc = emit_less(p, k, h, 0);
            if (rc < 0)
                return rc;
        }
    return SPR_OK;
}

/* Guests of host h give back what it lacks because of them; their own hosts ask elsewhere at their turn. */
int spr__evict(struct builtin *p, int32_t h) {
    struct board *b = &p->board;
    double most = 0; /* share of what guests hold that must go, by the scarcest resource */
    for (int32_t i = 0; i < b->r; i++)
        if (p->needs[h * b->r + i].evict > 0)
            most = fmax(most, p->needs[h * b->r + i].evict / fmax(b->held[h * b->r + i], spr__tiny(b, h, i)));
    if (most <= 0)
        return SPR_OK;
    double left[SPR_RESOURCES_MAX];
    for (int32_t i = 0; i < b->r; i++)
        left[i] = fmin(1, most) * b->held[h * b->r + i];
    for (int pending = 1; pending >= 0; pending--)
        for (int32_t k = b->first_there[h]; k >= 0; k = b->shards[k].next_there)
            for (int32_t i = 0; i < b->r && b->shards[k].id; i++)
                take_back(p, &b->shards[k], i, pending, &left[i]);
    for (int32_t k = b->first_there[h]; k >= 0; k = b->shards[k].next_there) {
        int rc = emit_less(p, k, spr__fleet_vm_host(b->fleet, b->shards[k].vm), SPR_BECAUSE_CASCADE);
        if (rc < 0)
            return rc;
    }
    return SPR_OK;
}
