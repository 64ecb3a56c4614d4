/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * From a host's need to shards: which VM, which host, how much of every resource; and a host's whole turn.
 * A shard carries the same share of all resources of its VM: flows bring their memory and packets along.
 */
#include "plan/plan.h"

struct wish {
    int32_t home, vm, resource; /* host in need, VM chosen, index of the resource that decides */
    double more[SPR_RESOURCES_MAX];
    const struct need *need;
};

/* A part of the wish from host q: on the shard that stands there, or on a new one (shard -1). */
static int take(struct builtin *p, struct wish *w, int32_t shard, int32_t q) {
    struct board *b = &p->board;
    double share = spr__place_fits(b, q, w->more);
    int rc = SPR_OK;
    if (!(share > 0))
        return SPR_OK;
    if ((shard < 0 || b->shards[shard].action < 0) && !spr__action_allowed(p, w->vm, w->home))
        return SPR_OK;
    if (shard < 0 && (rc = spr__board_add_shard(b, w->vm, q, &shard)) < 0)
        return rc;
    struct board_shard *s = &b->shards[shard];
    if (s->action < 0) {
        struct spr_action a = {.size = sizeof a,
                               .kind = s->id ? SPR_ACTION_GROW : SPR_ACTION_ALLOCATE,
                               .inverse = s->id ? SPR_ACTION_SHRINK : SPR_ACTION_RELEASE,
                               .vm = w->vm,
                               .host = q,
                               .shard = s->id,
                               .due_mono_ns = b->now_ns,
                               .because = w->need->because_up,
                               .precondition = s->id ? s->state : -1};
        a.deadline_mono_ns = b->now_ns + (int64_t)((b->opts.lead_s + b->opts.pre_s + b->opts.step_s) * 1e9);
        spr__action_explain(b, &a, w->resource, w->home, w->need);
        if ((rc = spr__action_open(p, &a, &s->action)) < 0)
            return rc;
        spr__action_count(p, w->vm, w->home);
    }
    struct spr_action *a = &p->actions[s->action];
    s->touched = true;
    for (int32_t i = 0; i < b->r; i++) {
        double part = share * w->more[i];
        w->more[i] -= part;
        s->pending[i] += part;
        spr__board_hold(b, q, i, part);
        b->holds[w->vm * b->r + i] += part;
        a->amounts.of[b->fleet->inventory->resource[i]] += part;
    }
    return SPR_OK;
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
        if (more[i] > spr__tiny(b, h, i))
            return true;
    return false;
}

/* One more shard costs its fixed part for as long as it would stand; what it carries must be worth more than that. */
static bool worth_a_shard(const struct builtin *p, const struct wish *w) {
    const struct board *b = &p->board;
    int32_t k = w->home * b->r + w->resource;
    double fixed = b->opts.shard_cost, part = w->more[w->resource] / b->capacity[k];
    if (fixed <= 0 || p->config.rule != SPR_NEED_VALUE)
        return true;
    return part * (w->need->worth - w->need->cost) > fixed * (w->need->cost + w->need->hold_h);
}

/* Cover up to `need` of resource i by shards of VM v; `unworthy`: the rest is not worth a shard of its own. */
static int cover(struct builtin *p, int32_t h, int32_t v, int32_t i, double need, bool *unworthy) {
    struct board *b = &p->board;
    const struct spr__fleet_vm *vm = &b->fleet->inventory->vms[v];
    struct wish w = {.home = h, .vm = v, .resource = i, .need = &p->needs[h * b->r + i]};
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
            b->shards[k].state != SPR_SHARD_UNKNOWN && !b->shards[k].gone &&
            spr__place_roomy(b, b->shards[k].host, w.more, 0.01) &&
            spr__place_keeps(b, b->shards[k].host, w.more, NULL))
            rc = take(p, &w, k, b->shards[k].host);
    for (; shards < vm->shards_at_most && rc == SPR_OK && any_left(b, h, w.more); shards++) {
        int32_t q = -1;
        if ((*unworthy = !worth_a_shard(p, &w)) || (rc = spr__place_find(b, v, w.more, &q)) < 0 || q < 0)
            break;
        rc = take(p, &w, -1, q);
    }
    return rc;
}

/* What the host's VMs have that is of use: shards beyond the spillable demand are not. */
double spr__usable(const struct board *b, int32_t h, int32_t i) {
    const struct spr__fleet_placement *at = b->fleet->placement;
    double have = 0;
    if (!b->own_shards[h])
        return 0;
    for (int32_t j = at->first[h]; j < at->first[h + 1]; j++) {
        int32_t v = at->vms[j];
        if (b->first[v] >= 0 && b->fleet->inventory->vms[v].replica != SPR_REPLICA_NEVER)
            have += spr__board_share(b, v) * b->size_for[v * b->r + i];
    }
    return have;
}

int spr__request(struct builtin *p, int32_t h, int32_t i, double have, const struct spr_plan_output *out) {
    struct board *b = &p->board;
    const struct spr__fleet_placement *at = b->fleet->placement;
    double need = p->needs[h * b->r + i].up - have;
    bool unworthy = false;
    int because = SPR_BECAUSE_NOT_REPLICABLE;
    for (int32_t j = at->first[h]; j < at->first[h + 1]; j++)
        b->done[at->vms[j]] = false;
    while (need > spr__tiny(b, h, i)) {
        int32_t best = -1;
        double most = spr__tiny(b, h, i);
        for (int32_t j = at->first[h]; j < at->first[h + 1]; j++) {
            double u = uncovered(b, at->vms[j], i);
            if (u > most)
                most = u, best = at->vms[j];
        }
        if (best < 0)
            break;
        double before = b->holds[best * b->r + i];
        if (spr__action_allowed(p, best, h)) {
            int rc = cover(p, h, best, i, need, &unworthy);
            if (rc < 0)
                return rc;
            because = spr__action_allowed(p, best, h) ? SPR_BECAUSE_NO_ROOM : SPR_BECAUSE_ACTION_LIMIT;
        } else {
            because = SPR_BECAUSE_ACTION_LIMIT;
        }
        b->done[best] = true;
        need -= b->holds[best * b->r + i] - before;
    }
    double least = b->opts.change_at_least * b->capacity[h * b->r + i];
    return need > least && !unworthy ? spr__action_wish(b, h, i, because, need, out) : SPR_OK;
}

/* ---- one host ---- */

int spr__fill_host(struct builtin *p, const struct spr_plan_input *in, int32_t h, const struct spr_plan_output *out) {
    struct board *b = &p->board;
    const struct spr__fleet_placement *at = b->fleet->placement;
    bool asked = false, surplus = true, any = false;
    double give[SPR_RESOURCES_MAX] = {0};
    int rc = b->stale[h] ? SPR_OK : spr__evict(p, h);
    if (rc < 0)
        return rc;
    for (int32_t i = 0; i < b->r; i++) {
        double c = b->capacity[h * b->r + i], have = spr__usable(b, h, i);
        /* While nothing usable is held a smaller need counts: the first shard is worth more than the next one. */
        if (p->needs[h * b->r + i].up <=
            have + (have > 0 ? b->opts.change_at_least : fmin(b->opts.change_at_least, 0.001)) * c)
            continue;
        rc = b->stale[h] ? spr__action_wish(b, h, i, SPR_BECAUSE_STALE_METRICS, p->needs[h * b->r + i].up, out)
                         : spr__request(p, h, i, have, out);
        if (rc < 0)
            return rc;
        asked = true;
    }
    if (asked || b->stale[h]) /* promise 2: old metrics hold what is held */
        return SPR_OK;
    if (!b->own_shards[h])
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
    if (any && surplus)
        return spr__release(p, h, give);
    return spr__merge(p, in->hosts, h);
}
