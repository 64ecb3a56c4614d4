/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How a snapshot comes about: from nothing, or from the one before it. */
#include "fleet/fleet.h"

/* The moving part of a VM while hosts and VMs are still being added. */
struct start {
    int32_t host;
    uint32_t censored;
    int64_t seen_mono_ns;
    struct spr_amounts demand, demand_hour;
};

/*
 * Two ways to work. Derived: the blocks of the base are shared and copied when first written (own_*). Growing
 * (no base, or something was added to one): VMs wait in `starts` until finish knows how many there are.
 */
struct spr_fleet_builder {
    spr_context *ctx;
    spr_fleet *fleet; /* under construction; owns what the builder made */
    bool growing, own_placement, own_now, resettle;
    struct start *starts;
    int32_t *host_states;
    size_t start_cap, state_cap;
};

int spr_fleet_builder_create(spr_context *ctx, const spr_fleet *base, spr_fleet_builder **out) {
    if (!ctx || !out)
        return ctx ? spr__fail(ctx, SPR_E_ARG, "out: there is nowhere to put the builder") : SPR_E_ARG;
    spr_fleet_builder *b = spr__alloc(ctx, 1, sizeof *b);
    spr_fleet *f = b ? spr__alloc(ctx, 1, sizeof *f) : NULL;
    if (!f) {
        spr__free(ctx, b, 1, sizeof *b);
        return spr__nomem(ctx);
    }
    spr__ref_init(&f->refs);
    f->ctx = spr_context_ref(ctx);
    b->ctx = ctx;
    b->fleet = f;
    b->growing = !base;
    f->id = base ? base->id + 1 : 1;
    if (base) {
        f->inventory = base->inventory;
        f->placement = base->placement;
        f->now = base->now;
        spr__ref(&f->inventory->refs);
        spr__ref(&f->placement->refs);
        spr__ref(&f->now->refs);
    } else if (!(f->inventory = spr__inventory_create(ctx))) {
        spr_fleet_builder_destroy(b);
        return spr__nomem(ctx);
    }
    *out = b;
    return SPR_OK;
}

void spr_fleet_builder_destroy(spr_fleet_builder *b) {
    if (!b)
        return;
    spr_context *ctx = b->ctx;
    spr__free(ctx, b->starts, b->start_cap, sizeof *b->starts);
    spr__free(ctx, b->host_states, b->state_cap, sizeof *b->host_states);
    spr_fleet *f = b->fleet;
    spr__free(ctx, b, 1, sizeof *b);
    spr_fleet_unref(f);
}

/* ---- checks: every one names the field ---- */

static int bad_field(const spr_fleet_builder *b, const char *vm, const char *host, const char *field, const char *why) {
    return spr__fail_of(b->ctx, SPR_E_ARG, vm, host, "%s: %s", field, why);
}

static int no_builder(spr_fleet_builder *b) {
    return b ? spr__fail(b->ctx, SPR_E_ARG, "a struct to read is missing") : SPR_E_ARG;
}

static bool is_amount(double x) { return isfinite(x) && x >= 0; }
static bool is_share(double x) { return x >= 0 && x <= 1; }

static bool are_amounts(const struct spr_amounts *a) {
    for (int r = 0; r < SPR_RESOURCES_MAX; r++)
        if (!is_amount(a->of[r]))
            return false;
    return true;
}

#define WANT(test, field, why)                                                                                         \
    if (!(test))                                                                                                       \
    return bad_field(b, vm, host, field, why)

static int check_host(const spr_fleet_builder *b, const struct spr_host *h) {
    const char *vm = NULL, *host = h->id;
    WANT(h->id && *h->id, "spr_host.id", "a name is required");
    WANT(are_amounts(&h->capacity), "spr_host.capacity", "an amount is negative or not a number");
    for (int i = 0; i < SPR_POWER_POINTS; i++)
        WANT(is_amount(h->power_w[i]), "spr_host.power_w", "a power is negative or not a number");
    WANT(h->state >= SPR_HOST_UP && h->state <= SPR_HOST_MAINTENANCE, "spr_host.state", "not a spr_host_state");
    WANT(h->reserved == 0, "spr_host.reserved", "must be 0");
    return SPR_OK;
}

static int check_observed(const spr_fleet_builder *b, const char *vm, const struct spr_vm *m) {
    const char *host = NULL;
    WANT(m->host >= 0 && m->host < b->fleet->inventory->host_count, "spr_vm.host", "no host has this index");
    WANT(are_amounts(&m->demand), "spr_vm.demand", "an amount is negative or not a number");
    WANT(are_amounts(&m->demand_hour), "spr_vm.demand_hour", "an amount is negative or not a number");
    WANT(m->censored >> SPR_RESOURCES_MAX == 0, "spr_vm.censored", "a bit stands for no resource");
    return SPR_OK;
}

static int check_vm(const spr_fleet_builder *b, const struct spr_vm *m) {
    const char *vm = m->id, *host = NULL;
    WANT(m->id && *m->id, "spr_vm.id", "a name is required");
    WANT(m->replica >= SPR_REPLICA_NEVER && m->replica <= SPR_REPLICA_IMAGE, "spr_vm.replica",
         "not a spr_replica_policy");
    WANT(is_share(m->spillable), "spr_vm.spillable", "must be from 0 to 1");
    WANT(is_amount(m->flow_lifetime_s), "spr_vm.flow_lifetime_s", "must be 0 or more seconds");
    WANT(are_amounts(&m->min), "spr_vm.min", "an amount is negative or not a number");
    WANT(are_amounts(&m->max), "spr_vm.max", "an amount is negative or not a number");
    for (int r = 0; r < SPR_RESOURCES_MAX; r++)
        WANT(m->max.of[r] == 0 || m->min.of[r] <= m->max.of[r], "spr_vm.min", "an amount is larger than in max");
    WANT(m->klass >= -1 && m->klass <= SPR_CLASS_CHAOTIC, "spr_vm.klass", "not a spr_class and not -1");
    WANT(are_amounts(&m->capacity), "spr_vm.capacity", "an amount is negative or not a number");
    WANT(m->shards_at_most >= 0, "spr_vm.shards_at_most", "must be 0 or more");
    return check_observed(b, vm, m);
}

static int check_shard(const spr_fleet_builder *b, const struct spr_shard *s) {
    const struct spr__fleet_inventory *v = b->fleet->inventory;
    const char *vm = s->vm >= 0 && s->vm < v->vm_count ? v->vms[s->vm].id : NULL;
    const char *host = s->host >= 0 && s->host < v->host_count ? v->hosts[s->host].id : NULL;
    WANT(s->id, "spr_shard.id", "0 names no shard");
    WANT(vm, "spr_shard.vm", "no VM has this index");
    WANT(host, "spr_shard.host", "no host has this index");
    WANT(s->kind == SPR_SHARD_REPLICA || s->kind == SPR_SHARD_HEADROOM, "spr_shard.kind", "not a spr_shard_kind");
    WANT(s->state >= 0 && s->state < SPR_SHARD_STATE_COUNT_, "spr_shard.state", "not a spr_shard_state");
    WANT(are_amounts(&s->ready), "spr_shard.ready", "an amount is negative or not a number");
    WANT(are_amounts(&s->pending), "spr_shard.pending", "an amount is negative or not a number");
    WANT(are_amounts(&s->draining), "spr_shard.draining", "an amount is negative or not a number");
    WANT(are_amounts(&s->used), "spr_shard.used", "an amount is negative or not a number");
    WANT(is_share(s->warmness), "spr_shard.warmness", "must be from 0 to 1");
    WANT(s->ready_mono_ns >= 0, "spr_shard.ready_mono_ns", "must be 0 or a time");
    return SPR_OK;
}

static int check_declared(const spr_fleet_builder *b, const struct spr_declared *d) {
    const char *vm = d->match, *host = NULL;
    WANT(d->match && *d->match, "spr_declared.match", "a glob of VM names is required");
    WANT(d->resource >= 0 && d->resource < SPR_RESOURCES_MAX, "spr_declared.resource", "not a spr_resource");
    WANT(d->reserved == 0, "spr_declared.reserved", "must be 0");
    WANT(d->end_wall_ns > d->start_wall_ns, "spr_declared.end_wall_ns", "must come after start_wall_ns");
    WANT(is_amount(d->amount), "spr_declared.amount", "must be 0 or more");
    WANT(is_share(d->confidence), "spr_declared.confidence", "must be from 0 to 1");
    return SPR_OK;
}

/* ---- growing ---- */

static int adopt_states(spr_fleet_builder *b) {
    const struct spr__fleet_placement *p = b->fleet->placement;
    int rc = spr__reserve(b->ctx, (void **)&b->host_states, &b->state_cap, (size_t)p->host_count + 1, sizeof(int32_t));
    if (rc < 0)
        return rc;
    memcpy(b->host_states, p->host_state, (size_t)p->host_count * sizeof(int32_t));
    return SPR_OK;
}

static int adopt_starts(spr_fleet_builder *b) {
    const spr_fleet *f = b->fleet;
    const struct spr__fleet_inventory *v = f->inventory;
    int rc = spr__reserve(b->ctx, (void **)&b->starts, &b->start_cap, (size_t)v->vm_count + 1, sizeof *b->starts);
    if (rc < 0)
        return rc;
    for (int32_t m = 0; m < v->vm_count; m++) {
        struct start *s = &b->starts[m];
        s->host = f->placement->vm_host[m];
        s->censored = f->now->censored[m];
        s->seen_mono_ns = f->now->seen_mono_ns[m];
        for (int32_t i = 0; i < v->R; i++) {
            s->demand.of[v->resource[i]] = spr__fleet_demand(f, m, i);
            s->demand_hour.of[v->resource[i]] = spr__fleet_demand_hour(f, m, i);
        }
    }
    return SPR_OK;
}

/* Something is added to an inventory that other snapshots share: from here on work on a copy. */
static int grow_from_base(spr_fleet_builder *b) {
    spr_fleet *f = b->fleet;
    struct spr__fleet_inventory *copy;
    int rc;
    if (b->growing)
        return SPR_OK;
    if ((rc = adopt_states(b)) < 0 || (rc = adopt_starts(b)) < 0 ||
        (rc = spr__inventory_copy(b->ctx, f->inventory, &copy)) < 0)
        return rc;
    spr__now_unref(f->inventory, f->now);
    spr__placement_unref(f->inventory->ctx, f->placement);
    spr__inventory_unref(f->inventory);
    f->now = NULL;
    f->placement = NULL;
    f->inventory = copy;
    b->growing = true;
    return SPR_OK;
}

int spr_fleet_builder_use(spr_fleet_builder *b, int resource) {
    if (!b || resource < 0 || resource >= SPR_RESOURCES_MAX)
        return b ? spr__fail(b->ctx, SPR_E_ARG, "resource: %d is not a spr_resource", resource) : SPR_E_ARG;
    if (!b->growing || b->fleet->inventory->host_count)
        return spr__fail(b->ctx, SPR_E_STATE, "resources are chosen before the first host comes");
    b->fleet->inventory->resources |= 1u << resource;
    return SPR_OK;
}

int spr_fleet_builder_host(spr_fleet_builder *b, const struct spr_host *host, int32_t *index) {
    struct spr_host h;
    int rc;
    int32_t at;
    if (!b || !host)
        return no_builder(b);
    if ((rc = spr__opts_copy(b->ctx, "spr_host", host, &h, sizeof h)) < 0 || (rc = check_host(b, &h)) < 0 ||
        (rc = grow_from_base(b)) < 0 ||
        (rc = spr__reserve(b->ctx, (void **)&b->host_states, &b->state_cap, (size_t)b->fleet->inventory->host_count + 1,
                           sizeof(int32_t))) < 0 ||
        (rc = spr__inventory_host(b->fleet->inventory, &h, &at)) < 0)
        return rc;
    b->host_states[at] = h.state;
    if (index)
        *index = at;
    return SPR_OK;
}

int spr_fleet_builder_vm(spr_fleet_builder *b, const struct spr_vm *vm, int32_t *index) {
    struct spr_vm m;
    int rc;
    int32_t at;
    if (!b || !vm)
        return no_builder(b);
    if ((rc = spr__opts_copy(b->ctx, "spr_vm", vm, &m, sizeof m)) < 0 || (rc = check_vm(b, &m)) < 0 ||
        (rc = grow_from_base(b)) < 0 ||
        (rc = spr__reserve(b->ctx, (void **)&b->starts, &b->start_cap, (size_t)b->fleet->inventory->vm_count + 1,
                           sizeof *b->starts)) < 0 ||
        (rc = spr__inventory_vm(b->fleet->inventory, &m, &at)) < 0)
        return rc;
    b->starts[at] = (struct start){m.host, m.censored, m.seen_mono_ns, m.demand, m.demand_hour};
    if (index)
        *index = at;
    return SPR_OK;
}

int spr_fleet_builder_declared(spr_fleet_builder *b, const struct spr_declared *declared) {
    struct spr_declared d;
    int rc;
    if (!b || !declared)
        return no_builder(b);
    if ((rc = spr__opts_copy(b->ctx, "spr_declared", declared, &d, sizeof d)) < 0 || (rc = check_declared(b, &d)) < 0 ||
        (rc = grow_from_base(b)) < 0)
        return rc;
    return spr__inventory_declared(b->fleet->inventory, &d);
}

int spr_fleet_builder_latency(spr_fleet_builder *b, double same_rack_ms, double same_zone_ms, double other_zone_ms) {
    int rc;
    if (!b)
        return SPR_E_ARG;
    if (!is_amount(same_rack_ms) || !is_amount(same_zone_ms) || !is_amount(other_zone_ms))
        return spr__fail(b->ctx, SPR_E_ARG, "latencies must be 0 or more milliseconds");
    if ((rc = grow_from_base(b)) < 0)
        return rc;
    double *ms = b->fleet->inventory->latency_ms;
    ms[1] = same_rack_ms;
    ms[2] = same_zone_ms;
    ms[3] = other_zone_ms;
    return SPR_OK;
}

/* ---- observing ---- */

static int own_placement(spr_fleet_builder *b) {
    spr_fleet *f = b->fleet;
    const struct spr__fleet_placement *old = f->placement;
    if (b->own_placement)
        return SPR_OK;
    struct spr__fleet_placement *p = spr__placement_create(f->inventory->ctx, old->host_count, old->vm_count);
    if (!p)
        return spr__nomem(b->ctx);
    memcpy(p->vm_host, old->vm_host,
           (2 * (size_t)old->host_count + 1 + 2 * (size_t)old->vm_count) * sizeof *p->vm_host);
    spr__placement_unref(f->inventory->ctx, f->placement);
    f->placement = p;
    b->own_placement = true;
    return SPR_OK;
}

static int own_now(spr_fleet_builder *b) {
    spr_fleet *f = b->fleet;
    const struct spr__fleet_now *old = f->now;
    if (b->own_now)
        return SPR_OK;
    struct spr__fleet_now *n = spr__now_create(f->inventory);
    if (!n)
        return spr__nomem(b->ctx);
    size_t m = (size_t)old->vm_count, each = 2 * (size_t)old->R * sizeof(double) + sizeof(int64_t) + sizeof(uint32_t);
    memcpy(n->demand, old->demand, m * each); /* the four columns lie one behind the other */
    spr__now_unref(f->inventory, f->now);
    f->now = n;
    b->own_now = true;
    return SPR_OK;
}

static int observe_derived(spr_fleet_builder *b, int32_t vm, const struct spr_vm *m) {
    spr_fleet *f = b->fleet;
    const struct spr__fleet_inventory *v = f->inventory;
    int rc = own_now(b);
    if (rc < 0)
        return rc;
    if (f->placement->vm_host[vm] != m->host) {
        if ((rc = own_placement(b)) < 0)
            return rc;
        f->placement->vm_host[vm] = m->host;
        b->resettle = true;
    }
    double *demand = &f->now->demand[(int64_t)vm * v->R], *hour = &f->now->demand_hour[(int64_t)vm * v->R];
    for (int32_t i = 0; i < v->R; i++) {
        demand[i] = m->demand.of[v->resource[i]];
        hour[i] = m->demand_hour.of[v->resource[i]];
    }
    f->now->seen_mono_ns[vm] = m->seen_mono_ns;
    f->now->censored[vm] = m->censored;
    return SPR_OK;
}

int spr_fleet_builder_observe(spr_fleet_builder *b, int32_t vm, const struct spr_vm *seen) {
    struct spr_vm copy;
    int rc;
    if (!b || !seen)
        return no_builder(b);
    if (vm < 0 || vm >= b->fleet->inventory->vm_count)
        return spr__fail(b->ctx, SPR_E_ARG, "vm: no VM has index %d", vm);
    if (seen->size != sizeof *seen) { /* copying 700 bytes for each VM and tick is for strangers only */
        if ((rc = spr__opts_copy(b->ctx, "spr_vm", seen, &copy, sizeof copy)) < 0)
            return rc;
        seen = &copy;
    }
    if ((rc = check_observed(b, b->fleet->inventory->vms[vm].id, seen)) < 0)
        return rc;
    if (!b->growing)
        return observe_derived(b, vm, seen);
    b->starts[vm] = (struct start){seen->host, seen->censored, seen->seen_mono_ns, seen->demand, seen->demand_hour};
    return SPR_OK;
}

int spr_fleet_builder_host_state(spr_fleet_builder *b, int32_t host, int state) {
    int rc;
    if (!b)
        return SPR_E_ARG;
    if (host < 0 || host >= b->fleet->inventory->host_count)
        return spr__fail(b->ctx, SPR_E_ARG, "host: no host has index %d", host);
    if (state < SPR_HOST_UP || state > SPR_HOST_MAINTENANCE)
        return spr__fail_of(b->ctx, SPR_E_ARG, NULL, b->fleet->inventory->hosts[host].id,
                            "state: %d is not a spr_host_state", state);
    if (b->growing) {
        b->host_states[host] = state;
    } else if (b->fleet->placement->host_state[host] != state) {
        if ((rc = own_placement(b)) < 0)
            return rc;
        b->fleet->placement->host_state[host] = state;
    }
    return SPR_OK;
}

/* ---- shards ---- */

static int grow_index(spr_fleet_builder *b) {
    spr_fleet *f = b->fleet;
    if (((size_t)f->shard_count + 1) * 2 <= f->by_id_cap)
        return SPR_OK;
    size_t cap = f->by_id_cap ? f->by_id_cap * 2 : 64;
    int32_t *bigger = spr__alloc(b->ctx, cap, sizeof *bigger);
    if (!bigger)
        return spr__nomem(b->ctx);
    spr__free(b->ctx, f->by_id, f->by_id_cap, sizeof *f->by_id);
    f->by_id = bigger;
    f->by_id_cap = cap;
    for (int32_t s = 0; s < f->shard_count; s++)
        f->by_id[spr__fleet_shard_slot(f, f->shards[s].id)] = s + 1;
    return SPR_OK;
}

int spr_fleet_builder_shard(spr_fleet_builder *b, const struct spr_shard *shard) {
    struct spr_shard s;
    int rc;
    if (!b || !shard)
        return no_builder(b);
    spr_fleet *f = b->fleet;
    if ((rc = spr__opts_copy(b->ctx, "spr_shard", shard, &s, sizeof s)) < 0 || (rc = check_shard(b, &s)) < 0 ||
        (rc = grow_index(b)) < 0 ||
        (rc = spr__reserve(b->ctx, (void **)&f->shards, &f->shard_cap, (size_t)f->shard_count + 1, sizeof s)) < 0)
        return rc;
    int32_t slot = spr__fleet_shard_slot(f, s.id);
    if (f->by_id[slot])
        return spr__fail_of(b->ctx, SPR_E_EXISTS, f->inventory->vms[s.vm].id, f->inventory->hosts[s.host].id,
                            "spr_shard.id: shard %llu is there already", (unsigned long long)s.id);
    f->shards[f->shard_count++] = s;
    f->by_id[slot] = f->shard_count;
    return SPR_OK;
}

/* ---- publishing ---- */

static int settle_grown(spr_fleet_builder *b) {
    spr_fleet *f = b->fleet;
    struct spr__fleet_inventory *v = f->inventory;
    spr__inventory_settle(v);
    f->placement = spr__placement_create(v->ctx, v->host_count, v->vm_count);
    f->now = f->placement ? spr__now_create(v) : NULL;
    if (!f->now)
        return spr__nomem(b->ctx);
    for (int32_t h = 0; h < v->host_count; h++)
        f->placement->host_state[h] = b->host_states[h];
    for (int32_t m = 0; m < v->vm_count; m++) {
        const struct start *s = &b->starts[m];
        f->placement->vm_host[m] = s->host;
        f->now->censored[m] = s->censored;
        f->now->seen_mono_ns[m] = s->seen_mono_ns;
        for (int32_t i = 0; i < v->R; i++) {
            f->now->demand[(int64_t)m * v->R + i] = s->demand.of[v->resource[i]];
            f->now->demand_hour[(int64_t)m * v->R + i] = s->demand_hour.of[v->resource[i]];
        }
    }
    b->resettle = true;
    return SPR_OK;
}

/* Lists of shards by VM and by host, in the order they came, and what each host holds. */
static int settle_shards(spr_fleet *f) {
    const struct spr__fleet_inventory *v = f->inventory;
    size_t hosts = (size_t)v->host_count, vms = (size_t)v->vm_count, n = (size_t)f->shard_count;
    if (!(f->held = spr__alloc(f->ctx, hosts * (size_t)v->R, sizeof *f->held)) ||
        !(f->host_shard = spr__alloc(f->ctx, hosts, sizeof *f->host_shard)) ||
        !(f->vm_shard = spr__alloc(f->ctx, vms, sizeof *f->vm_shard)) ||
        !(f->vm_shard_next = spr__alloc(f->ctx, n, sizeof *f->vm_shard_next)) ||
        !(f->host_shard_next = spr__alloc(f->ctx, n, sizeof *f->host_shard_next)))
        return spr__nomem(f->ctx);
    memset(f->host_shard, 0xff, hosts * sizeof *f->host_shard);
    memset(f->vm_shard, 0xff, vms * sizeof *f->vm_shard);
    for (int32_t s = f->shard_count - 1; s >= 0; s--) {
        const struct spr_shard *x = &f->shards[s];
        f->vm_shard_next[s] = f->vm_shard[x->vm];
        f->vm_shard[x->vm] = s;
        f->host_shard_next[s] = f->host_shard[x->host];
        f->host_shard[x->host] = s;
    }
    for (int32_t s = 0; s < f->shard_count; s++) {
        const struct spr_shard *x = &f->shards[s];
        for (int32_t i = 0; i < v->R; i++) {
            int32_t r = v->resource[i];
            f->held[(int64_t)x->host * v->R + i] += x->ready.of[r] + x->pending.of[r] + x->draining.of[r];
        }
    }
    return SPR_OK;
}

int spr_fleet_builder_finish(spr_fleet_builder *b, struct spr_time now, spr_fleet **out) {
    int rc = SPR_OK;
    if (!b)
        return SPR_E_ARG;
    if (!out)
        rc = spr__fail(b->ctx, SPR_E_ARG, "out: there is nowhere to put the fleet");
    else if (b->growing)
        rc = settle_grown(b);
    if (rc >= 0 && b->resettle)
        spr__placement_settle(b->fleet->placement);
    if (rc >= 0)
        rc = settle_shards(b->fleet);
    if (rc >= 0) {
        b->fleet->time = now;
        *out = spr_fleet_ref(b->fleet);
    }
    spr_fleet_builder_destroy(b);
    return rc;
}
