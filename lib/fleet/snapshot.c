/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The published snapshot: its blocks, its references, its getters. */
#include "fleet/fleet.h"

const char *spr_shard_state_name(int state) {
    switch (state) {
#define SPR_X(name, number, text)                                                                                      \
    case number:                                                                                                       \
        return text;
        SPR_SHARD_STATES(SPR_X)
#undef SPR_X
    }
    return "invalid";
}

const char *spr_warm_state_name(int state) {
    switch (state) {
#define SPR_X(name, number, text)                                                                                      \
    case number:                                                                                                       \
        return text;
        SPR_WARM_STATES(SPR_X)
#undef SPR_X
    }
    return "invalid";
}

/* ---- blocks ---- */

struct spr__fleet_placement *spr__placement_create(spr_context *ctx, int32_t hosts, int32_t vms) {
    size_t h = (size_t)hosts, m = (size_t)vms;
    struct spr__fleet_placement *p = spr__alloc(ctx, sizeof *p + (2 * h + 1 + 2 * m) * sizeof(int32_t), 1);
    if (!p)
        return NULL;
    spr__ref_init(&p->refs);
    p->host_count = hosts;
    p->vm_count = vms;
    p->vm_host = (int32_t *)(p + 1);
    p->vms = p->vm_host + m;
    p->host_state = p->vms + m;
    p->first = p->host_state + h;
    return p;
}

void spr__placement_unref(spr_context *ctx, struct spr__fleet_placement *p) {
    if (p && spr__unref(&p->refs))
        spr__free(ctx, p, sizeof *p + (2 * (size_t)p->host_count + 1 + 2 * (size_t)p->vm_count) * sizeof(int32_t), 1);
}

/* Counting sort: stable, so VMs of a host come in rising order. */
void spr__placement_settle(struct spr__fleet_placement *p) {
    memset(p->first, 0, ((size_t)p->host_count + 1) * sizeof *p->first);
    for (int32_t v = 0; v < p->vm_count; v++)
        p->first[p->vm_host[v] + 1]++;
    for (int32_t h = 0; h < p->host_count; h++)
        p->first[h + 1] += p->first[h];
    for (int32_t v = 0; v < p->vm_count; v++)
        p->vms[p->first[p->vm_host[v]]++] = v;
    for (int32_t h = p->host_count; h > 0; h--)
        p->first[h] = p->first[h - 1];
    p->first[0] = 0;
}

static size_t now_bytes(size_t vms, size_t R) {
    return sizeof(struct spr__fleet_now) + vms * (2 * R * sizeof(double) + sizeof(int64_t) + sizeof(uint32_t));
}

struct spr__fleet_now *spr__now_create(struct spr__fleet_inventory *v) {
    size_t m = (size_t)v->vm_count, R = (size_t)v->R;
    struct spr__fleet_now *n = atomic_exchange(&v->spare, NULL);
    if (!n && !(n = spr__alloc(v->ctx, now_bytes(m, R), 1)))
        return NULL;
    spr__ref_init(&n->refs);
    n->vm_count = v->vm_count;
    n->R = v->R;
    n->demand = (double *)(n + 1);
    n->demand_hour = n->demand + m * R;
    n->seen_mono_ns = (int64_t *)(n->demand_hour + m * R);
    n->censored = (uint32_t *)(n->seen_mono_ns + m);
    return n;
}

void spr__now_free(spr_context *ctx, struct spr__fleet_now *n) {
    if (n)
        spr__free(ctx, n, now_bytes((size_t)n->vm_count, (size_t)n->R), 1);
}

/* The last one to leave puts the block where the next tick finds it. */
void spr__now_unref(struct spr__fleet_inventory *v, struct spr__fleet_now *n) {
    if (n && spr__unref(&n->refs))
        spr__now_free(v->ctx, atomic_exchange(&v->spare, n));
}

/* ---- references ---- */

spr_fleet *spr_fleet_ref(spr_fleet *f) {
    if (f)
        spr__ref(&f->refs);
    return f;
}

void spr_fleet_unref(spr_fleet *f) {
    if (!f || !spr__unref(&f->refs))
        return;
    spr_context *ctx = f->ctx;
    struct spr__fleet_inventory *v = f->inventory;
    size_t n = (size_t)f->shard_count;
    if (f->placement) {
        size_t h = (size_t)f->placement->host_count;
        spr__free(ctx, f->held, h * (size_t)v->R, sizeof *f->held);
        spr__free(ctx, f->host_shard, h, sizeof *f->host_shard);
        spr__free(ctx, f->vm_shard, (size_t)f->placement->vm_count, sizeof *f->vm_shard);
    }
    spr__free(ctx, f->vm_shard_next, n, sizeof *f->vm_shard_next);
    spr__free(ctx, f->host_shard_next, n, sizeof *f->host_shard_next);
    spr__free(ctx, f->shards, f->shard_cap, sizeof *f->shards);
    spr__free(ctx, f->by_id, f->by_id_cap, sizeof *f->by_id);
    if (v) {
        spr__placement_unref(v->ctx, f->placement);
        spr__now_unref(v, f->now);
    }
    spr__inventory_unref(v);
    spr__free(ctx, f, 1, sizeof *f);
    spr_context_unref(ctx);
}

/* ---- getters ---- */

uint64_t spr_fleet_id(const spr_fleet *f) { return f ? f->id : 0; }
struct spr_time spr_fleet_time(const spr_fleet *f) {
    return f ? f->time : (struct spr_time){0, 0};
}
uint32_t spr_fleet_resources(const spr_fleet *f) { return f ? f->inventory->resources : 0; }
int32_t spr_fleet_host_count(const spr_fleet *f) { return f ? f->inventory->host_count : 0; }
int32_t spr_fleet_vm_count(const spr_fleet *f) { return f ? f->inventory->vm_count : 0; }
int32_t spr_fleet_shard_count(const spr_fleet *f) { return f ? f->shard_count : 0; }
int32_t spr_fleet_declared_count(const spr_fleet *f) { return f ? f->inventory->declared_count : 0; }

static int bad_index(const spr_fleet *f, const char *what, int32_t index) {
    return f ? spr__fail(f->ctx, SPR_E_ARG, "%s: the fleet has no index %d, or there is nowhere to put it", what, index)
             : SPR_E_ARG;
}

int spr_fleet_host(const spr_fleet *f, int32_t index, struct spr_host *out) {
    if (!f || !out || index < 0 || index >= f->inventory->host_count)
        return bad_index(f, "host", index);
    const struct spr__fleet_host *h = &f->inventory->hosts[index];
    struct spr_host host = {sizeof host, h->id, h->rack, h->zone, h->capacity, {0}, f->placement->host_state[index], 0};
    memcpy(host.power_w, h->power_w, sizeof host.power_w);
    return spr__out_copy(out, &host, sizeof host);
}

int spr_fleet_vm(const spr_fleet *f, int32_t index, struct spr_vm *out) {
    if (!f || !out || index < 0 || index >= f->inventory->vm_count)
        return bad_index(f, "VM", index);
    const struct spr__fleet_vm *m = &f->inventory->vms[index];
    struct spr_vm vm = {.size = sizeof vm,
                        .id = m->id,
                        .host = f->placement->vm_host[index],
                        .replica = m->replica,
                        .spillable = m->spillable,
                        .flow_lifetime_s = m->flow_lifetime_s,
                        .group = m->group,
                        .affinity = m->affinity,
                        .anti_affinity = m->anti_affinity,
                        .hosts_allowed = m->hosts_allowed,
                        .min = m->min,
                        .max = m->max,
                        .priority = m->priority,
                        .klass = m->klass,
                        .capacity = m->capacity,
                        .seen_mono_ns = f->now->seen_mono_ns[index],
                        .censored = f->now->censored[index],
                        .shards_at_most = m->shards_at_most};
    for (int32_t i = 0; i < f->inventory->R; i++) {
        vm.demand.of[f->inventory->resource[i]] = spr__fleet_demand(f, index, i);
        vm.demand_hour.of[f->inventory->resource[i]] = spr__fleet_demand_hour(f, index, i);
    }
    return spr__out_copy(out, &vm, sizeof vm);
}

int spr_fleet_shard(const spr_fleet *f, int32_t index, struct spr_shard *out) {
    if (!f || !out || index < 0 || index >= f->shard_count)
        return bad_index(f, "shard", index);
    return spr__out_copy(out, &f->shards[index], sizeof f->shards[index]);
}

int spr_fleet_declared(const spr_fleet *f, int32_t index, struct spr_declared *out) {
    if (!f || !out || index < 0 || index >= f->inventory->declared_count)
        return bad_index(f, "declared demand", index);
    return spr__out_copy(out, &f->inventory->declared[index], sizeof *f->inventory->declared);
}

int32_t spr_fleet_find_host(const spr_fleet *f, const char *id) {
    int64_t at = f && id ? spr__textmap_get(&f->inventory->host_by_id, id) : -1;
    return at < 0 ? SPR_E_NOT_FOUND : (int32_t)at;
}

int32_t spr_fleet_find_vm(const spr_fleet *f, const char *id) {
    int64_t at = f && id ? spr__textmap_get(&f->inventory->vm_by_id, id) : -1;
    return at < 0 ? SPR_E_NOT_FOUND : (int32_t)at;
}

/* Slot of a shard id in by_id: where it stands, or the free one where it would. by_id is never full. */
int32_t spr__fleet_shard_slot(const spr_fleet *f, uint64_t id) {
    size_t i = (size_t)spr__mix64(id) & (f->by_id_cap - 1);
    while (f->by_id[i] && f->shards[f->by_id[i] - 1].id != id)
        i = (i + 1) & (f->by_id_cap - 1);
    return (int32_t)i;
}

int32_t spr_fleet_find_shard(const spr_fleet *f, uint64_t id) {
    if (!f || !f->by_id_cap)
        return SPR_E_NOT_FOUND;
    int32_t at = f->by_id[spr__fleet_shard_slot(f, id)];
    return at ? at - 1 : SPR_E_NOT_FOUND;
}

int spr_fleet_held(const spr_fleet *f, int32_t host, struct spr_amounts *out) {
    if (!f || !out || host < 0 || host >= f->inventory->host_count)
        return bad_index(f, "host", host);
    memset(out, 0, sizeof *out);
    for (int32_t i = 0; i < f->inventory->R; i++)
        out->of[f->inventory->resource[i]] = spr__fleet_held(f, host, i);
    return SPR_OK;
}

int spr_fleet_tier(const spr_fleet *f, int32_t a, int32_t b) {
    if (!f || a < 0 || b < 0 || a >= f->inventory->host_count || b >= f->inventory->host_count)
        return bad_index(f, "host", a < 0 ? a : b);
    const struct spr__fleet_host *x = &f->inventory->hosts[a], *y = &f->inventory->hosts[b];
    if (a == b)
        return 0;
    if (x->rack_id >= 0 && x->rack_id == y->rack_id)
        return 1;
    return x->zone_id >= 0 && x->zone_id == y->zone_id ? 2 : 3;
}
