/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Consolidation: two shards of a VM become one when demand is low. Holding an amount in one place or in two costs the
 * same, so it can only pay where a shard has a fixed part (spr_plan_opts.shard_cost). Then one shard takes over the
 * amounts of the other if
 *   it pays back: fixed part x the time both would be kept > amounts x the time they are held twice,
 *   its host carries both over the whole window, and what the VM is expected to need more of in that window as well
 *   (else the next thing would be a new split),
 *   demand is low: the shards serve at most half of what they could, and nothing is on its way,
 *   and the host of the VM wants no change now (the caller sees to that).
 */
#include "plan/plan.h"

#define BUSY 0.5 /* share of what is ready that may serve */

/* Settled: on a host that is up, ready to serve, nothing pending, nothing draining, not changed by this plan. */
static bool settled(const struct board *b, const struct board_shard *s) {
    if (!s->id || s->touched || b->fleet->placement->host_state[s->host] != SPR_HOST_UP ||
        (s->state != SPR_SHARD_SERVING && s->state != SPR_SHARD_WARM))
        return false;
    const struct spr_shard *seen = &b->fleet->shards[spr_fleet_find_shard(b->fleet, s->id)];
    for (int32_t i = 0; i < b->r; i++)
        if (s->pending[i] > 0 || seen->draining.of[b->fleet->inventory->resource[i]] > 0)
            return false;
    return true;
}

static bool low_demand(const struct board *b, const struct board_shard *x, const struct board_shard *y) {
    for (int32_t i = 0; i < b->r; i++)
        if (x->used[i] + y->used[i] > BUSY * (x->ready[i] + y->ready[i]))
            return false;
    return true;
}

/* Largest share of a host that a shard holds. */
static double size_of(const struct board *b, const struct board_shard *s) {
    double most = 0;
    for (int32_t i = 0; i < b->r; i++)
        if (b->capacity[s->host * b->r + i] > 0)
            most = fmax(most, s->ready[i] / b->capacity[s->host * b->r + i]);
    return most;
}

struct outlook_of_host {
    double keep_s;                    /* for how long half of what is held stays worth it */
    double growth[SPR_RESOURCES_MAX]; /* most that the window may want beyond what is held */
    int32_t resource;                 /* the one that decides */
};

static struct outlook_of_host look_ahead(const struct board *b, const spr_forecast *f, int32_t h) {
    struct outlook_of_host o = {0};
    for (int32_t i = 0; i < b->r; i++) {
        double have = spr__usable(b, h, i), keep_s, most;
        spr__need_outlook(b, f, h, i, 0.5 * have, &keep_s, &most);
        o.growth[i] = fmax(0, most - have);
        if (have > 0 && keep_s > o.keep_s)
            o.keep_s = keep_s, o.resource = i;
    }
    return o;
}

/* Can the host of `into` carry all of `from` too, and growth? */
static bool carries(const struct board *b, const struct board_shard *from, const struct board_shard *into,
                    const struct outlook_of_host *ahead) {
    if (!spr__place_keeps(b, into->host, from->ready, NULL))
        return false;
    for (int32_t i = 0; i < b->r; i++)
        if (from->ready[i] > 0 && spr__board_room(b, into->host, i) < from->ready[i] + ahead->growth[i])
            return false;
    return true;
}

static int merge(struct builtin *p, int32_t home, struct board_shard *from, struct board_shard *into,
                 const struct outlook_of_host *ahead, double gain_s, double cost_s) {
    struct board *b = &p->board;
    struct spr_action a = {.size = sizeof a,
                           .kind = SPR_ACTION_MERGE,
                           .inverse = SPR_ACTION_MOVE,
                           .vm = from->vm,
                           .host = into->host,
                           .shard = from->id,
                           .into = into->id,
                           .due_mono_ns = b->now_ns,
                           .deadline_mono_ns = b->now_ns + (int64_t)(ahead->keep_s * 1e9),
                           .because = SPR_BECAUSE_CONSOLIDATION,
                           .precondition = from->state};
    int32_t index;
    spr__action_explain(b, &a, ahead->resource, home, &p->needs[home * b->r + ahead->resource]);
    a.worth = gain_s / 3600;
    a.cost = cost_s / 3600;
    for (int32_t i = 0; i < b->r; i++) {
        a.amounts.of[b->fleet->inventory->resource[i]] = from->ready[i];
        spr__board_hold(b, into->host, i, from->ready[i]);
    }
    from->touched = into->touched = true;
    int rc = spr__action_open(p, &a, &index);
    if (rc == SPR_OK)
        spr__action_count(p, from->vm, home);
    return rc;
}

static int merge_vm(struct builtin *p, int32_t home, int32_t v, const struct outlook_of_host *ahead) {
    struct board *b = &p->board;
    for (int32_t x = b->first[v]; x >= 0; x = b->shards[x].next)
        for (int32_t y = b->shards[x].next; y >= 0; y = b->shards[y].next) {
            struct board_shard *from = &b->shards[x], *into = &b->shards[y];
            if (!settled(b, from) || !settled(b, into) || !low_demand(b, from, into))
                continue;
            for (int turn = 0; turn < 2; turn++) {
                if ((turn == 0) == (size_of(b, from) > size_of(b, into))) { /* the smaller one moves, else the other */
                    struct board_shard *other = from;
                    from = into, into = other;
                }
                double twice_s = b->opts.lead_s + b->opts.pre_s, cost_s = size_of(b, from) * twice_s;
                double gain_s = b->opts.shard_cost * (ahead->keep_s - twice_s);
                if (gain_s > cost_s && carries(b, from, into, ahead))
                    return merge(p, home, from, into, ahead, gain_s, cost_s);
            }
        }
    return SPR_OK;
}

int spr__merge(struct builtin *p, const spr_forecast *f, int32_t h) {
    struct board *b = &p->board;
    const struct spr__fleet_placement *at = b->fleet->placement;
    if (p->config.rule != SPR_NEED_VALUE || b->opts.shard_cost <= 0 || b->own_shards[h] < 2)
        return SPR_OK;
    struct outlook_of_host ahead = look_ahead(b, f, h);
    for (int32_t j = at->first[h]; j < at->first[h + 1]; j++) {
        int32_t v = at->vms[j];
        if (b->first[v] < 0 || !spr__action_allowed(p, v, h))
            continue;
        int rc = merge_vm(p, h, v, &ahead);
        if (rc < 0)
            return rc;
    }
    return SPR_OK;
}
