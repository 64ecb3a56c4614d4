/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Where a new shard goes. Hosts that can carry all of it come before those that cannot; among the first the nearest
 * tier counts, then the most room (as a share of the host, the scarcest resource counts), then the lowest index.
 *
 * Hosts stand in the order of zone, rack and index, so that a tier is a range of places, and blocks of them know the
 * most room that one of theirs has in each resource: a block that cannot hold a better one is passed over. The answer
 * is that of a walk over all hosts.
 */
#include "plan/plan.h"

#define BLOCK        32
#define USED_RACK    4    /* tiers that a rack is farther when it holds a shard of the VM already (failure domains) */
#define NEW_AT_LEAST 0.02 /* of a host: a new shard is not worth making for less room */

struct place {
    int32_t host;
    int32_t rack_from, rack_to, zone_from, zone_to; /* places of the same rack and zone; empty when unknown */
};

struct board_places {
    int32_t hosts, blocks;
    struct place *of; /* [place] */
    int32_t *at;      /* [host] its place */
    double *keys;     /* scratch for sorting */
    bool *stale;      /* [block]: what it knows is old */
    int32_t *lowest;  /* [block] lowest host index */
    double *share;    /* [block][r] most room as a share of the host; -INFINITY: none is up */
    double *room;     /* [block][r] most room */
    bool valid;       /* order and blocks are of the fleet at hand */
    int32_t r;
};

/* ---- rules ---- */

double spr__place_fits(const struct board *b, int32_t q, const double *more) {
    double share = 1;
    for (int32_t i = 0; i < b->r; i++)
        if (more[i] > 0)
            share = fmin(share, spr__board_room(b, q, i) / more[i]);
    return share;
}

bool spr__place_roomy(const struct board *b, int32_t q, const double *more, double least) {
    for (int32_t i = 0; i < b->r; i++)
        if (more[i] > 0 && spr__board_room(b, q, i) <= least * b->capacity[q * b->r + i])
            return false;
    return true;
}

bool spr__place_keeps(const struct board *b, int32_t q, const double *more, int32_t *i) {
    uint32_t unkept = b->opts.unkept_count ? b->opts.unkept[q] : 0;
    for (int32_t k = 0; unkept && k < b->r; k++)
        if (more[k] > 0 && (unkept >> b->fleet->inventory->resource[k] & 1)) {
            if (i)
                *i = k;
            return false;
        }
    return true;
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
        for (int32_t k = b->first_there[q]; k >= 0; k = b->shards[k].next_there)
            if (inv->vms[b->shards[k].vm].group_id == vm->anti_group_id)
                return false;
    }
    return true;
}

/* Smaller is better. */
static int distance(const struct board *b, int32_t v, int32_t q) {
    const struct spr__fleet_inventory *inv = b->fleet->inventory;
    int32_t near = inv->vms[v].affinity_vm >= 0 ? spr__fleet_vm_host(b->fleet, inv->vms[v].affinity_vm)
                                                : spr__fleet_vm_host(b->fleet, v);
    int tier = spr_fleet_tier(b->fleet, near, q);
    for (int32_t k = b->first[v]; k >= 0; k = b->shards[k].next)
        if (inv->hosts[q].rack_id >= 0 && inv->hosts[b->shards[k].host].rack_id == inv->hosts[q].rack_id)
            return tier + USED_RACK;
    return tier;
}

/* ---- blocks ---- */

void spr__place_finish(struct board *b) {
    struct board_places *w = b->places;
    if (!w)
        return;
    size_t h = (size_t)w->hosts, n = (size_t)w->blocks;
    spr__free(b->ctx, w->of, h, sizeof *w->of);
    spr__free(b->ctx, w->at, h, sizeof *w->at);
    spr__free(b->ctx, w->keys, h, sizeof *w->keys);
    spr__free(b->ctx, w->stale, n, sizeof *w->stale);
    spr__free(b->ctx, w->lowest, n, sizeof *w->lowest);
    spr__free(b->ctx, w->share, n * (size_t)w->r, sizeof *w->share);
    spr__free(b->ctx, w->room, n * (size_t)w->r, sizeof *w->room);
    spr__free(b->ctx, w, 1, sizeof *w);
    b->places = NULL;
}

void spr__place_forget(struct board *b) {
    if (b->places)
        b->places->valid = false;
}

void spr__place_touch(struct board *b, int32_t q) {
    if (b->places && b->places->valid)
        b->places->stale[b->places->at[q] / BLOCK] = true;
}

static int make_places(struct board *b) {
    size_t h = (size_t)b->hosts, n = (h + BLOCK - 1) / BLOCK, r = (size_t)b->r;
    if (b->places && b->places->hosts == b->hosts && b->places->r == b->r)
        return SPR_OK;
    spr__place_finish(b);
    struct board_places *w = b->places = spr__alloc(b->ctx, 1, sizeof *w);
    if (!w)
        return spr__nomem(b->ctx);
    w->hosts = b->hosts, w->blocks = (int32_t)n, w->r = b->r;
    if (!(w->of = spr__alloc(b->ctx, h, sizeof *w->of)) || !(w->at = spr__alloc(b->ctx, h, sizeof *w->at)) ||
        !(w->keys = spr__alloc(b->ctx, h, sizeof *w->keys)) || !(w->stale = spr__alloc(b->ctx, n, sizeof *w->stale)) ||
        !(w->lowest = spr__alloc(b->ctx, n, sizeof *w->lowest)) ||
        !(w->share = spr__alloc(b->ctx, n * r, sizeof *w->share)) ||
        !(w->room = spr__alloc(b->ctx, n * r, sizeof *w->room))) {
        spr__place_finish(b);
        return spr__nomem(b->ctx);
    }
    return SPR_OK;
}

static int build_places(struct board *b) {
    const struct spr__fleet_inventory *inv = b->fleet->inventory;
    int rc = make_places(b);
    if (rc < 0)
        return rc;
    struct board_places *w = b->places;
    /* One number a host: zone, rack, index. It stays exact up to 2^53, far above any domain. */
    double racks = (double)inv->rack_count + 1, n = (double)b->hosts;
    for (int32_t h = 0; h < b->hosts; h++)
        w->keys[h] = ((inv->hosts[h].zone_id + 1) * racks + inv->hosts[h].rack_id + 1) * n + h;
    spr__sort(w->keys, b->hosts);
    for (int32_t k = 0, rack = 0, zone = 0; k < b->hosts; k++) {
        int32_t h = w->of[k].host = (int32_t)fmod(w->keys[k], n);
        const struct spr__fleet_host *host = &inv->hosts[h], *before = k ? &inv->hosts[w->of[k - 1].host] : host;
        w->at[h] = k;
        if (host->zone_id != before->zone_id)
            rack = zone = k;
        else if (host->rack_id != before->rack_id)
            rack = k;
        w->of[k].rack_from = rack, w->of[k].zone_from = zone;
    }
    for (int32_t k = b->hosts - 1; k >= 0; k--) {
        bool last = k == b->hosts - 1;
        struct place *now = &w->of[k], *next = last ? now : &w->of[k + 1];
        now->rack_to = last || next->rack_from != now->rack_from ? k + 1 : next->rack_to;
        now->zone_to = last || next->zone_from != now->zone_from ? k + 1 : next->zone_to;
    }
    for (int32_t k = 0; k < b->hosts; k++) {
        const struct spr__fleet_host *host = &inv->hosts[w->of[k].host];
        if (host->zone_id < 0)
            w->of[k].zone_to = w->of[k].zone_from;
        if (host->rack_id < 0)
            w->of[k].rack_to = w->of[k].rack_from;
    }
    memset(w->stale, true, (size_t)w->blocks);
    w->valid = true;
    return SPR_OK;
}

static void refresh(const struct board *b, struct board_places *w, int32_t block) {
    int32_t from = block * BLOCK, to = SPR_MIN(from + BLOCK, b->hosts);
    double *share = &w->share[block * b->r], *room = &w->room[block * b->r];
    w->stale[block] = false;
    w->lowest[block] = INT32_MAX;
    for (int32_t i = 0; i < b->r; i++)
        share[i] = room[i] = -INFINITY;
    for (int32_t k = from; k < to; k++) {
        int32_t q = w->of[k].host;
        if (b->fleet->placement->host_state[q] != SPR_HOST_UP)
            continue;
        w->lowest[block] = SPR_MIN(w->lowest[block], q);
        for (int32_t i = 0; i < b->r; i++) {
            double r = spr__board_room(b, q, i);
            room[i] = fmax(room[i], r);
            share[i] = fmax(share[i], r / b->capacity[q * b->r + i]);
        }
    }
}

/* ---- search ---- */

struct search {
    int32_t vm, best;
    const double *more;
    double room; /* of the best one, share of the host */
    int far;     /* only hosts at this distance that can carry all of it; -1: any host */
};

static double room_share(const struct board *b, int32_t q, const double *more) {
    double room = INFINITY;
    for (int32_t i = 0; i < b->r; i++)
        if (more[i] > 0)
            room = fmin(room, spr__board_room(b, q, i) / b->capacity[q * b->r + i]);
    return room;
}

/* A part smaller than the smallest useful shard is none. */
static bool useful(const struct board *b, const struct search *s, int32_t q) {
    const struct spr__fleet_inventory *inv = b->fleet->inventory;
    double share = spr__place_fits(b, q, s->more);
    for (int32_t i = 0; i < b->r; i++)
        if (s->more[i] > 0 && share * s->more[i] < inv->vms[s->vm].min.of[inv->resource[i]] * (1 - 1e-9))
            return false;
    return true;
}

static void consider(const struct board *b, struct search *s, int32_t q) {
    if (!spr__place_roomy(b, q, s->more, NEW_AT_LEAST))
        return;
    double room = room_share(b, q, s->more);
    if (s->best >= 0 && (room < s->room || (room == s->room && q > s->best)))
        return;
    if (s->far >= 0 && (spr__place_fits(b, q, s->more) < 1 || distance(b, s->vm, q) != s->far))
        return;
    int32_t i = 0;
    if (!useful(b, s, q) || !allowed(b, s->vm, q))
        return;
    if (!spr__place_keeps(b, q, s->more, &i)) { /* all but this spoke for it */
        b->left_out[q * b->r + i] = fmax(b->left_out[q * b->r + i], s->more[i]);
        return;
    }
    s->best = q;
    s->room = room;
}

/* Can no host of this block be better than the best one? */
static bool hopeless(const struct board *b, const struct board_places *w, const struct search *s, int32_t block) {
    const double *share = &w->share[block * b->r], *room = &w->room[block * b->r];
    double most = INFINITY;
    for (int32_t i = 0; i < b->r; i++)
        if (s->more[i] > 0) {
            most = fmin(most, share[i]);
            if (s->far >= 0 && room[i] / s->more[i] < 1)
                return true;
        }
    return most <= 0 || (s->best >= 0 && (most < s->room || (most == s->room && w->lowest[block] > s->best)));
}

static void look(struct board *b, struct search *s, int32_t from, int32_t to) {
    struct board_places *w = b->places;
    for (int32_t k = from; k < to;) {
        int32_t block = k / BLOCK, end = SPR_MIN((block + 1) * BLOCK, to);
        if (w->stale[block])
            refresh(b, w, block);
        if (!hopeless(b, w, s, block))
            for (; k < end; k++)
                consider(b, s, w->of[k].host);
        k = end;
    }
}

int spr__place_find(struct board *b, int32_t v, const double *more, int32_t *host) {
    const struct spr__fleet_inventory *inv = b->fleet->inventory;
    int rc = b->places && b->places->valid ? SPR_OK : build_places(b);
    if (rc < 0)
        return rc;
    struct search s = {.vm = v, .best = -1, .more = more};
    int32_t near = inv->vms[v].affinity_vm >= 0 ? spr__fleet_vm_host(b->fleet, inv->vms[v].affinity_vm)
                                                : spr__fleet_vm_host(b->fleet, v);
    const struct place *p = &b->places->of[b->places->at[near]];
    int tiers = b->first[v] >= 0 ? USED_RACK + 4 : 4; /* without shards no rack is in use */
    for (s.far = 0; s.far < tiers && s.best < 0; s.far++) {
        int tier = s.far % USED_RACK;
        if (tier == 0)
            look(b, &s, b->places->at[near], b->places->at[near] + 1);
        else if (tier == 1)
            look(b, &s, p->rack_from, p->rack_to);
        else if (tier == 2)
            look(b, &s, p->zone_from, p->zone_to);
        else
            look(b, &s, 0, b->hosts);
    }
    if (s.best < 0) {
        s.far = -1;
        look(b, &s, 0, b->hosts);
    }
    *host = s.best;
    return SPR_OK;
}
