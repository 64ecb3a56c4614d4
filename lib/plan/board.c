/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The board a plan is worked out on. */
#include "plan/plan.h"

void spr__board_finish(struct board *b) {
    if (!b->ctx)
        return;
    spr__place_finish(b);
    size_t hr = b->host_room * (size_t)b->r_room, vr = b->vm_room * (size_t)b->r_room, d = sizeof(double);
    spr__free(b->ctx, b->capacity, hr, d);
    spr__free(b->ctx, b->held, hr, d);
    spr__free(b->ctx, b->load, hr, d);
    spr__free(b->ctx, b->peak, hr, d);
    spr__free(b->ctx, b->left_out, hr, d);
    spr__free(b->ctx, b->stale, b->host_room, sizeof *b->stale);
    spr__free(b->ctx, b->size_for, vr, d);
    spr__free(b->ctx, b->holds, vr, d);
    spr__free(b->ctx, b->first, b->vm_room, sizeof *b->first);
    spr__free(b->ctx, b->done, b->vm_room, sizeof *b->done);
    spr__free(b->ctx, b->first_there, b->host_room, sizeof *b->first_there);
    spr__free(b->ctx, b->last_there, b->host_room, sizeof *b->last_there);
    spr__free(b->ctx, b->own_shards, b->host_room, sizeof *b->own_shards);
    spr__free(b->ctx, b->shards, b->shard_cap, sizeof *b->shards);
    memset(b, 0, sizeof *b);
}

/* Room for a fleet of this size; what is there is thrown away when it is too small. */
static int make_room(struct board *b, const spr_context *ctx, size_t hosts, size_t vms, int32_t r) {
    if (b->ctx && hosts <= b->host_room && vms <= b->vm_room && r == b->r_room)
        return SPR_OK;
    spr__board_finish(b);
    b->ctx = ctx;
    size_t hr = hosts * (size_t)r, vr = vms * (size_t)r, d = sizeof(double);
    if (!(b->capacity = spr__alloc(ctx, hr, d)) || !(b->held = spr__alloc(ctx, hr, d)) ||
        !(b->load = spr__alloc(ctx, hr, d)) || !(b->peak = spr__alloc(ctx, hr, d)) ||
        !(b->left_out = spr__alloc(ctx, hr, d)) || !(b->stale = spr__alloc(ctx, hosts, sizeof *b->stale)) ||
        !(b->size_for = spr__alloc(ctx, vr, d)) || !(b->holds = spr__alloc(ctx, vr, d)) ||
        !(b->first = spr__alloc(ctx, vms, sizeof *b->first)) || !(b->done = spr__alloc(ctx, vms, sizeof *b->done)) ||
        !(b->first_there = spr__alloc(ctx, hosts, sizeof *b->first_there)) ||
        !(b->last_there = spr__alloc(ctx, hosts, sizeof *b->last_there)) ||
        !(b->own_shards = spr__alloc(ctx, hosts, sizeof *b->own_shards))) {
        b->host_room = hosts, b->vm_room = vms, b->r_room = r;
        spr__board_finish(b);
        return spr__nomem(ctx);
    }
    b->host_room = hosts, b->vm_room = vms, b->r_room = r;
    return SPR_OK;
}

static void load_hosts(struct board *b, const spr_fleet *f) {
    const struct spr__fleet_inventory *inv = f->inventory;
    for (int32_t h = 0; h < b->hosts; h++) {
        b->stale[h] = false;
        b->first_there[h] = b->last_there[h] = -1;
        b->own_shards[h] = 0;
        for (int32_t i = 0; i < b->r; i++) {
            b->capacity[h * b->r + i] = inv->hosts[h].capacity.of[inv->resource[i]];
            b->held[h * b->r + i] = spr__fleet_held(f, h, i);
            b->load[h * b->r + i] = b->peak[h * b->r + i] = b->left_out[h * b->r + i] = 0;
        }
    }
}

/* Shards are sized for the larger of now and the mean of the last hour: a step down of a minute is no reason to be
 * small. */
static void load_vms(struct board *b, const spr_fleet *f) {
    int64_t oldest = b->now_ns - (int64_t)(b->opts.stale_s * 1e9);
    memset(b->holds, 0, (size_t)b->vms * (size_t)b->r * sizeof *b->holds);
    for (int32_t v = 0; v < b->vms; v++) {
        int32_t h = spr__fleet_vm_host(f, v);
        b->first[v] = -1;
        if (f->now->seen_mono_ns[v] < oldest)
            b->stale[h] = true;
        for (int32_t i = 0; i < b->r; i++) {
            double now = spr__fleet_demand(f, v, i);
            b->size_for[v * b->r + i] = fmax(now, spr__fleet_demand_hour(f, v, i));
            b->load[h * b->r + i] += now;
        }
    }
}

/* Declared demand counts from its first occurrence: shards for it must stand when it begins. */
static void load_declared(struct board *b, const spr_fleet *f) {
    const struct spr__fleet_inventory *inv = f->inventory;
    int64_t horizon = f->time.wall_ns + (int64_t)((b->opts.lead_s + b->opts.pre_s + b->opts.control_s) * 1e9);
    for (int32_t k = 0; k < inv->declared_count; k++) {
        const struct spr_declared *d = &inv->declared[k];
        int32_t i = d->resource < SPR_RESOURCES_MAX ? inv->slot[d->resource] : -1;
        if (i < 0 || d->start_wall_ns > horizon || d->end_wall_ns <= f->time.wall_ns)
            continue;
        for (int32_t v = 0; v < b->vms; v++)
            if (spr__glob(d->match, inv->vms[v].id))
                b->size_for[v * b->r + i] += d->confidence * d->amount;
    }
}

int spr__board_add_shard(struct board *b, int32_t vm, int32_t host, int32_t *index) {
    int rc = spr__reserve(b->ctx, (void **)&b->shards, &b->shard_cap, b->shard_count + 1, sizeof *b->shards);
    if (rc < 0)
        return rc;
    int32_t k = (int32_t)b->shard_count++;
    b->shards[k] = (struct board_shard){.vm = vm, .host = host, .next = -1, .next_there = -1, .action = -1};
    int32_t *link = &b->first[vm];
    while (*link >= 0)
        link = &b->shards[*link].next;
    *link = k;
    if (b->last_there[host] >= 0)
        b->shards[b->last_there[host]].next_there = k;
    else
        b->first_there[host] = k;
    b->last_there[host] = k;
    b->own_shards[spr__fleet_vm_host(b->fleet, vm)]++;
    *index = k;
    return SPR_OK;
}

void spr__board_hold(struct board *b, int32_t q, int32_t i, double more) {
    b->held[q * b->r + i] += more;
    spr__place_touch(b, q);
}

static int load_shards(struct board *b, const spr_fleet *f) {
    b->shard_count = 0;
    for (int32_t s = 0; s < f->shard_count; s++) {
        const struct spr_shard *from = &f->shards[s];
        int32_t k;
        if (from->state == SPR_SHARD_RELEASED || from->state == SPR_SHARD_FAILED || from->kind != SPR_SHARD_REPLICA)
            continue;
        int rc = spr__board_add_shard(b, from->vm, from->host, &k);
        if (rc < 0)
            return rc;
        struct board_shard *to = &b->shards[k];
        to->id = from->id;
        to->state = from->state;
        to->warm = from->state == SPR_SHARD_SERVING ? SPR_WARM_ANY : from->warm;
        to->wake_ns = from->wake_mono_ns;
        for (int32_t i = 0; i < b->r; i++) {
            int32_t r = f->inventory->resource[i];
            to->ready[i] = from->ready.of[r];
            to->pending[i] = from->pending.of[r];
            to->used[i] = fmin(from->ready.of[r], fmax(0, from->used.of[r] - from->draining.of[r]));
            b->holds[from->vm * b->r + i] += to->ready[i] + to->pending[i];
        }
    }
    return SPR_OK;
}

int spr__board_load(struct board *b, const spr_context *ctx, const struct spr_plan_input *in) {
    const spr_fleet *f = in->fleet;
    int rc = make_room(b, ctx, (size_t)f->inventory->host_count, (size_t)f->inventory->vm_count, f->inventory->R);
    if (rc < 0)
        return rc;
    b->fleet = f;
    b->opts = *in->opts;
    b->now_ns = f->time.mono_ns;
    b->hosts = f->inventory->host_count;
    b->vms = f->inventory->vm_count;
    b->r = f->inventory->R;
    spr__place_forget(b);
    load_hosts(b, f);
    load_vms(b, f);
    load_declared(b, f);
    return load_shards(b, f);
}

double spr__board_left(const struct board *b, int32_t h, int32_t i) {
    double c = b->capacity[h * b->r + i];
    return fmax(c - b->held[h * b->r + i], 0.05 * c);
}

double spr__board_room(const struct board *b, int32_t h, int32_t i) {
    int32_t k = h * b->r + i;
    return b->opts.room * b->capacity[k] - fmax(b->load[k], b->peak[k]) - b->held[k];
}

double spr__board_share(const struct board *b, int32_t v) {
    double share = b->fleet->inventory->vms[v].spillable;
    for (int32_t k = v * b->r, e = k + b->r; k < e; k++)
        if (b->size_for[k] > 0)
            share = fmin(share, b->holds[k] / b->size_for[k]);
    return share;
}
