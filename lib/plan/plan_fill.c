/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * From a host's need to shards: which VM, which host, how much of every resource; and the way back.
 * A shard carries the same share of all resources of its VM: flows bring their memory and packets along.
 */
#include "plan/plan.h"

#define NOTHING 1e-9 /* of a host */

static double tiny(const struct board *b, int32_t h, int32_t i) { return NOTHING * b->capacity[h * b->r + i]; }

/* ---- actions ---- */

static int open_action(struct builtin *p, const struct spr_action *a, int32_t *index) {
    int rc = spr__reserve(p->ctx, (void **)&p->actions, &p->action_cap, p->action_count + 1, sizeof *p->actions);
    if (rc < 0)
        return rc;
    *index = (int32_t)p->action_count;
    p->actions[p->action_count++] = *a;
    return SPR_OK;
}

static void explain(const struct board *b, struct spr_action *a, int32_t i, int32_t home, const struct need *n) {
    a->resource = b->fleet->inventory->resource[i];
    a->constraint_host = home;
    a->quantile = n->quantile;
    a->worth = n->worth;
    a->cost = n->cost;
    a->threshold = n->threshold;
    a->forecast = n->forecast;
}

/* The limits of promise 3. Every action counts, releases too: a bound that is not kept is none. */
static bool may_act(struct builtin *p, int32_t v, int32_t home) {
    const struct spr_plan_opts *o = &p->board.opts;
    return (!o->actions_per_day || p->all_actions < o->actions_per_day) &&
           (!o->actions_per_vm_day || p->vm_actions[v] < o->actions_per_vm_day) &&
           (!o->actions_per_host_day || p->host_actions[home] < o->actions_per_host_day);
}

static void count_action(struct builtin *p, int32_t v, int32_t home) {
    p->all_actions++;
    p->vm_actions[v]++;
    p->host_actions[home]++;
}

/* ---- requests ---- */

struct wish {
    int32_t home, vm, resource; /* host in need, VM chosen, index of the resource that decides */
    double more[SPR_RESOURCES_MAX];
    const struct need *need;
};

/* Share of `more` that host q has room for, all resources together. */
static double fits(const struct board *b, int32_t q, const double *more) {
    double share = 1;
    for (int32_t i = 0; i < b->r; i++)
        if (more[i] > 0)
            share = fmin(share, spr__board_room(b, q, i) / more[i]);
    return share;
}

static bool roomy(const struct board *b, int32_t q, const double *more, double least) {
    for (int32_t i = 0; i < b->r; i++)
        if (more[i] > 0 && spr__board_room(b, q, i) <= least * b->capacity[q * b->r + i])
            return false;
    return true;
}

/* A part of the wish from host q: on the shard that stands there, or on a new one (shard -1). */
static int take(struct builtin *p, struct wish *w, int32_t shard, int32_t q) {
    struct board *b = &p->board;
    double share = fits(b, q, w->more);
    int rc = SPR_OK;
    if (!(share > 0))
        return SPR_OK;
    if (shard < 0 && (rc = spr__board_add_shard(b, w->vm, q, &shard)) < 0)
        return rc;
    struct board_shard *s = &b->shards[shard];
    if (s->action < 0) {
        struct spr_action a = {.size = sizeof a, .kind = s->id ? SPR_ACTION_GROW : SPR_ACTION_ALLOCATE,
                               .inverse = s->id ? SPR_ACTION_SHRINK : SPR_ACTION_RELEASE, .vm = w->vm, .host = q,
                               .shard = s->id, .due_mono_ns = b->now_ns, .because = w->need->because_up,
                               .precondition = s->id ? s->state : -1};
        a.deadline_mono_ns = b->now_ns + (int64_t)((b->opts.lead_s + b->opts.pre_s + b->opts.step_s) * 1e9);
        explain(b, &a, w->resource, w->home, w->need);
        if ((rc = open_action(p, &a, &s->action)) < 0)
            return rc;
        count_action(p, w->vm, w->home);
    }
    struct spr_action *a = &p->actions[s->action];
    for (int32_t i = 0; i < b->r; i++) {
        double part = share * w->more[i];
        w->more[i] -= part;
        s->pending[i] += part;
        b->held[q * b->r + i] += part;
        b->holds[w->vm * b->r + i] += part;
        a->amounts.of[b->fleet->inventory->resource[i]] += part;
    }
    return SPR_OK;
}

/* May a new shard of VM v stand on host q? */
static bool allowed(const struct board *b, int32_t v, int32_t q) {
    const struct spr__fleet_inventory *inv = b->fleet->inventory;
    const struct spr__fleet_vm *vm = &inv->vms[v];
    if (q == spr__fleet_vm_host(b->fleet, v) || b->fleet->placement->host_state[q] != SPR_HOST_UP)
        return false;
    for (int32_t k = b->first[v]; k >= 0; k = b->shards[k].next)
        if (b->shards[k].host == q)
            return false;
    if (vm->hosts_allowed && !spr__glob(vm->hosts_allowed, inv->hosts[q].id))
        return false;
    if (vm->anti_group_id >= 0) {
        const struct spr__fleet_placement *at = b->fleet->placement;
        for (int32_t j = at->first[q]; j < at->first[q + 1]; j++)
            if (inv->vms[at->vms[j]].group_id == vm->anti_group_id)
                return false;
        for (size_t k = 0; k < b->shard_count; k++)
            if (b->shards[k].host == q && inv->vms[b->shards[k].vm].group_id == vm->anti_group_id)
                return false;
    }
    return true;
}

/* Smaller is better: a rack that holds a shard of this VM already counts as one tier farther (failure domains). */
static int distance(const struct board *b, int32_t v, int32_t q) {
    const struct spr__fleet_inventory *inv = b->fleet->inventory;
    int32_t near = inv->vms[v].affinity_vm >= 0 ? spr__fleet_vm_host(b->fleet, inv->vms[v].affinity_vm)
                                                : spr__fleet_vm_host(b->fleet, v);
    int tier = spr_fleet_tier(b->fleet, near, q);
    for (int32_t k = b->first[v]; k >= 0; k = b->shards[k].next)
        if (inv->hosts[q].rack_id >= 0 && inv->hosts[b->shards[k].host].rack_id == inv->hosts[q].rack_id)
            return tier + 1;
    return tier;
}

/*
 * Host for a new shard: those that can carry all of it before those that cannot; among the first the nearest
 * tier, then the most room (as a share of the host, the scarcest resource counts), then the lowest index.
 */
static int32_t best_host(const struct board *b, int32_t v, const double *more) {
    int32_t best = -1;
    int best_distance = 0;
    bool best_whole = false;
    double best_room = 0;
    for (int32_t q = 0; q < b->hosts; q++) {
        if (!roomy(b, q, more, 0.02) || !allowed(b, v, q))
            continue;
        double room = INFINITY;
        for (int32_t i = 0; i < b->r; i++)
            if (more[i] > 0)
                room = fmin(room, spr__board_room(b, q, i) / b->capacity[q * b->r + i]);
        bool whole = fits(b, q, more) >= 1;
        int far = distance(b, v, q);
        bool better = best < 0 || (whole != best_whole ? whole
                                   : whole && far != best_distance ? far < best_distance
                                                                   : room > best_room);
        if (better)
            best = q, best_room = room, best_distance = far, best_whole = whole;
    }
    return best;
}

/* Spillable demand of VM v that no shard covers yet. */
static double uncovered(const struct board *b, int32_t v, int32_t i) {
    const struct spr__fleet_vm *vm = &b->fleet->inventory->vms[v];
    if (vm->replica == SPR_REPLICA_NEVER || b->done[v])
        return 0;
    return (vm->spillable - spr__board_share(b, v)) * b->size_for[v * b->r + i];
}

static bool any_left(const struct board *b, int32_t h, const double *more) {
    for (int32_t i = 0; i < b->r; i++)
        if (more[i] > tiny(b, h, i))
            return true;
    return false;
}

/* Cover up to `need` of resource i by shards of VM v. */
static int cover(struct builtin *p, int32_t h, int32_t v, int32_t i, double need, const struct need *why) {
    struct board *b = &p->board;
    const struct spr__fleet_vm *vm = &b->fleet->inventory->vms[v];
    struct wish w = {.home = h, .vm = v, .resource = i, .need = why};
    double share = spr__board_share(b, v) + fmin(uncovered(b, v, i), need) / b->size_for[v * b->r + i];
    for (int32_t j = 0; j < b->r; j++) {
        double most = vm->max.of[b->fleet->inventory->resource[j]], holds = b->holds[v * b->r + j];
        w.more[j] = fmax(0, share * b->size_for[v * b->r + j] - holds);
        if (most > 0)
            w.more[j] = fmin(w.more[j], fmax(0, most - holds));
        w.more[j] = fmax(w.more[j], holds > 0 || w.more[j] <= 0 ? 0 : vm->min.of[b->fleet->inventory->resource[j]]);
    }
    int rc = SPR_OK;
    int32_t shards = 0;
    for (int32_t k = b->first[v]; k >= 0 && rc == SPR_OK; k = b->shards[k].next, shards++)
        if (any_left(b, h, w.more) && b->fleet->placement->host_state[b->shards[k].host] == SPR_HOST_UP &&
            b->shards[k].state != SPR_SHARD_UNKNOWN && !b->shards[k].gone && roomy(b, b->shards[k].host, w.more, 0.01))
            rc = take(p, &w, k, b->shards[k].host);
    for (; shards < vm->shards_at_most && rc == SPR_OK && any_left(b, h, w.more); shards++) {
        int32_t q = best_host(b, v, w.more);
        if (q < 0)
            break;
        rc = take(p, &w, -1, q);
    }
    return rc;
}

static int tell_infeasible(struct builtin *p, int32_t h, int32_t v, int32_t i, int because, double amount,
                           const struct spr_plan_output *out) {
    const struct board *b = &p->board;
    struct spr_infeasible w = {.size = sizeof w, .vm = v, .host = h, .resource = b->fleet->inventory->resource[i],
                               .because = because, .from_mono_ns = b->now_ns + (int64_t)(b->opts.lead_s * 1e9),
                               .amount = amount};
    w.to_mono_ns = w.from_mono_ns + (int64_t)(b->opts.step_s * 1e9);
    return out->infeasible(out->sink, &w);
}

/* What the host's VMs have that is of use: shards beyond the spillable demand are not. */
static double usable(const struct board *b, int32_t h, int32_t i) {
    const struct spr__fleet_placement *at = b->fleet->placement;
    double have = 0;
    for (int32_t j = at->first[h]; j < at->first[h + 1]; j++) {
        int32_t v = at->vms[j];
        if (b->fleet->inventory->vms[v].replica != SPR_REPLICA_NEVER)
            have += spr__board_share(b, v) * b->size_for[v * b->r + i];
    }
    return have;
}

static int request(struct builtin *p, int32_t h, int32_t i, double have, const struct spr_plan_output *out) {
    struct board *b = &p->board;
    const struct spr__fleet_placement *at = b->fleet->placement;
    const struct need *why = &p->needs[h * b->r + i];
    double need = why->up - have;
    int because = SPR_BECAUSE_NOT_REPLICABLE;
    for (int32_t j = at->first[h]; j < at->first[h + 1]; j++)
        b->done[at->vms[j]] = false;
    while (need > tiny(b, h, i)) {
        int32_t best = -1;
        double most = tiny(b, h, i);
        for (int32_t j = at->first[h]; j < at->first[h + 1]; j++) {
            double u = uncovered(b, at->vms[j], i);
            if (u > most)
                most = u, best = at->vms[j];
        }
        if (best < 0)
            break;
        double before = b->holds[best * b->r + i];
        if (may_act(p, best, h)) {
            int rc = cover(p, h, best, i, need, why);
            if (rc < 0)
                return rc;
            because = SPR_BECAUSE_NO_ROOM;
        } else {
            because = SPR_BECAUSE_ACTION_LIMIT;
        }
        b->done[best] = true;
        need -= b->holds[best * b->r + i] - before;
    }
    double least = b->opts.change_at_least * b->capacity[h * b->r + i];
    return need > least ? tell_infeasible(p, h, -1, i, because, need, out) : SPR_OK;
}

/* ---- giving back ---- */

/* Of a ready part that goes back, what the VM's other ready parts cannot carry drains on; the idle rest is free at once. */
static double idle_part(const struct board *b, int32_t v, int32_t i, double part) {
    double ready = 0, used = 0;
    for (int32_t k = b->first[v]; k >= 0; k = b->shards[k].next) {
        ready += b->shards[k].ready[i];
        used += b->shards[k].used[i];
    }
    return part - fmin(part, fmax(0, used - (ready - part)));
}

static void take_back(struct board *b, struct board_shard *s, int32_t i, bool pending, double *less) {
    double *from = pending ? &s->pending[i] : &s->ready[i], part = fmin(*less, *from);
    if (part <= 0)
        return;
    double idle = pending ? part : idle_part(b, s->vm, i, part);
    b->held[s->host * b->r + i] -= idle;
    *from -= part;
    *less -= part;
    s->less[i] += part;
    b->holds[s->vm * b->r + i] -= part;
    if (!pending)
        s->used[i] = fmin(s->used[i], s->ready[i]);
}

/* Take `less` from a VM's shards: newest shard first, what is not ready yet before what is. */
static void give_back(struct board *b, int32_t v, double *less) {
    int32_t order[16], n = 0;
    for (int32_t k = b->first[v]; k >= 0 && n < (int32_t)SPR_ARRAY_LEN(order); k = b->shards[k].next)
        order[n++] = k;
    for (int pending = 1; pending >= 0; pending--)
        for (int32_t k = n - 1; k >= 0; k--)
            for (int32_t i = 0; i < b->r; i++)
                take_back(b, &b->shards[order[k]], i, pending, &less[i]);
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
    struct spr_action a = {.size = sizeof a, .kind = all ? SPR_ACTION_RELEASE : SPR_ACTION_SHRINK,
                           .inverse = all ? SPR_ACTION_ALLOCATE : SPR_ACTION_GROW, .vm = s->vm, .host = s->host,
                           .shard = s->id, .due_mono_ns = b->now_ns, .deadline_mono_ns = INT64_MAX,
                           .because = because ? because : why->because_down, .precondition = s->state};
    explain(b, &a, deciding, because == SPR_BECAUSE_CASCADE ? s->host : home, why);
    for (int32_t i = 0; i < b->r; i++) {
        a.amounts.of[b->fleet->inventory->resource[i]] = s->less[i];
        s->less[i] = 0;
    }
    s->gone = all;
    int32_t index;
    int rc = open_action(p, &a, &index);
    if (rc == SPR_OK)
        count_action(p, s->vm, home);
    return rc;
}

/* Give back `give[i]` of each resource: first what no VM could use, then by trace order, the scarcest surplus rules. */
static int release(struct builtin *p, int32_t h, double *give) {
    struct board *b = &p->board;
    const struct spr__fleet_placement *at = b->fleet->placement;
    for (int pass = 0; pass < 2; pass++)
        for (int32_t j = at->first[h]; j < at->first[h + 1]; j++) {
            int32_t v = at->vms[j];
            double less[SPR_RESOURCES_MAX] = {0}, share = 1;
            const struct spr__fleet_vm *vm = &b->fleet->inventory->vms[v];
            if (b->first[v] < 0 || !may_act(p, v, h))
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
            give_back(b, v, less);
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
static int evict(struct builtin *p, int32_t h) {
    struct board *b = &p->board;
    double most = 0; /* share of what guests hold that must go, by the scarcest resource */
    for (int32_t i = 0; i < b->r; i++)
        if (p->needs[h * b->r + i].evict > 0)
            most = fmax(most, p->needs[h * b->r + i].evict / fmax(b->held[h * b->r + i], tiny(b, h, i)));
    if (most <= 0)
        return SPR_OK;
    double left[SPR_RESOURCES_MAX];
    for (int32_t i = 0; i < b->r; i++)
        left[i] = fmin(1, most) * b->held[h * b->r + i];
    for (int pending = 1; pending >= 0; pending--)
        for (int32_t k = 0; k < (int32_t)b->shard_count; k++) {
            struct board_shard *s = &b->shards[k];
            int32_t home = spr__fleet_vm_host(b->fleet, s->vm);
            if (s->host != h || !s->id || (pending && !may_act(p, s->vm, home)))
                continue;
            for (int32_t i = 0; i < b->r; i++)
                take_back(b, s, i, pending, &left[i]);
        }
    for (int32_t k = 0; k < (int32_t)b->shard_count; k++)
        if (b->shards[k].host == h) {
            int rc = emit_less(p, k, spr__fleet_vm_host(b->fleet, b->shards[k].vm), SPR_BECAUSE_CASCADE);
            if (rc < 0)
                return rc;
        }
    return SPR_OK;
}

/* ---- one host ---- */

int spr__fill_host(struct builtin *p, int32_t h, const struct spr_plan_output *out) {
    struct board *b = &p->board;
    const struct spr__fleet_placement *at = b->fleet->placement;
    bool asked = false, surplus = true, any = false;
    double give[SPR_RESOURCES_MAX] = {0};
    int rc = b->stale[h] ? SPR_OK : evict(p, h);
    if (rc < 0)
        return rc;
    for (int32_t i = 0; i < b->r; i++) {
        double c = b->capacity[h * b->r + i], have = usable(b, h, i);
        /* While nothing usable is held a smaller need counts: the first shard is worth more than the next one. */
        if (p->needs[h * b->r + i].up <= have + (have > 0 ? b->opts.change_at_least : fmin(b->opts.change_at_least, 0.001)) * c)
            continue;
        rc = b->stale[h] ? tell_infeasible(p, h, -1, i, SPR_BECAUSE_STALE_METRICS, p->needs[h * b->r + i].up, out)
                             : request(p, h, i, have, out);
        if (rc < 0)
            return rc;
        asked = true;
    }
    if (asked || b->stale[h]) /* promise 2: old metrics hold what is held */
        return SPR_OK;
    for (int32_t i = 0; i < b->r; i++) {
        double total = 0, down = p->needs[h * b->r + i].down;
        for (int32_t j = at->first[h]; j < at->first[h + 1]; j++)
            total += b->holds[at->vms[j] * b->r + i];
        any |= total > 0;
        if (total > 0 && !(down <= 0 || down < total - b->opts.change_at_least * b->capacity[h * b->r + i]))
            surplus = false;
        give[i] = fmax(0, down <= 0 ? total : total - down);
    }
    return any && surplus ? release(p, h, give) : SPR_OK;
}
