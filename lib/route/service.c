/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* One service: which shards take new flows and in what shares. The table that says so row by row is table.c's. */
#include "route/route.h"

#define COLD 0.05 /* of its part, for a shard that is cold */

int spr__route_role(const struct spr_shard *s) {
    bool ready = false, drains = false;
    for (int r = 0; r < SPR_RESOURCES_MAX; r++) {
        ready |= s->ready.of[r] > 0;
        drains |= s->draining.of[r] > 0;
    }
    if (s->kind != SPR_SHARD_REPLICA || s->state == SPR_SHARD_RELEASED)
        return SPR__ROUTE_IDLE;
    if (s->state == SPR_SHARD_SERVING && ready)
        return SPR__ROUTE_SERVES;
    /* A shard nobody can see any more keeps the flows it has and gets no new ones. */
    return drains || (ready && s->state == SPR_SHARD_UNKNOWN) ? SPR__ROUTE_DRAINS : SPR__ROUTE_IDLE;
}

void spr__service_unref(const spr_context *ctx, struct service *s) {
    if (!s || !spr__unref(&s->refs))
        return;
    spr__free(ctx, s->targets, (size_t)s->target_count, sizeof *s->targets);
    spr__free(ctx, s->id, s->id_room, 1);
    spr__free(ctx, s, 1, sizeof *s);
}

/* ---- targets ---- */

static void add_target(struct spr__service_spec *s, const struct spr_shard *shard, bool draining) {
    struct spr_route_target *t = &s->targets[s->route.target_count + s->route.drain_count];
    *t = (struct spr_route_target){.size = sizeof *t,
                                   .shard = shard->id,
                                   .host = shard->host,
                                   .draining = draining,
                                   .capacity = shard->ready,
                                   .warmness = shard->warmness};
    for (int r = 0; r < SPR_RESOURCES_MAX && draining; r++)
        t->capacity.of[r] += shard->draining.of[r];
    s->route.target_count += !draining;
    s->route.drain_count += draining;
}

/* Share of the VM's demand that the serving shards can carry of every resource, at most what may spill. */
static double spill(const struct spr__service_spec *s, const spr_fleet *f) {
    double share = s->route.spill_at_most;
    for (int32_t i = 0; i < f->inventory->R && s->route.target_count; i++) {
        double demand = spr__fleet_demand(f, s->route.vm, i), carry = 0;
        for (int32_t t = 0; t < s->route.target_count; t++)
            carry += s->targets[t].capacity.of[f->inventory->resource[i]];
        if (demand > 0 && carry > 0) /* what no shard carries any of (disks), shards do not need */
            share = fmin(share, carry / demand);
    }
    return s->route.target_count ? share : 0;
}

/* Weight of a target: its part of what all serving ones carry, mean over the resources they carry any of. */
static void weigh(struct spr__service_spec *s, const spr_fleet *f, bool by_warmth) {
    double sum = 0;
    for (int32_t t = 0; t < s->route.target_count; t++) {
        double weight = 0;
        for (int32_t i = 0; i < f->inventory->R; i++) {
            int32_t r = f->inventory->resource[i];
            double all = 0;
            for (int32_t u = 0; u < s->route.target_count; u++)
                all += s->targets[u].capacity.of[r];
            weight += all > 0 ? s->targets[t].capacity.of[r] / all : 0;
        }
        if (by_warmth) /* who is cold gets little */
            weight *= COLD + (1 - COLD) * fmax(0, fmin(1, s->targets[t].warmness));
        s->targets[t].weight = weight;
        sum += weight;
    }
    for (int32_t t = 0; t < s->route.target_count && sum > 0; t++)
        s->targets[t].weight *= s->route.spill / sum;
}

/* What the law says. */
static void steer(struct spr__service_spec *s, const struct spr_routes_opts *by) {
    struct spr_steer_out law = {.size = sizeof law};
    if (!by->steer || spr_steer_get(by->steer, s->route.vm, &law) < 0)
        return;
    if (!(law.ramp_per_s > 0)) /* it never heard of this service */
        return;
    s->route.spill = s->route.target_count ? fmin(s->route.spill_at_most, law.spill) : 0;
    s->route.ramp_per_s = law.ramp_per_s;
}

/* A jump between two steps of the law: more, as far as shards carry, and at once. */
static void raise_spill(struct spr__service_spec *s, const struct spr_routes_opts *by, double most) {
    struct spr_spike_ask ask = {.size = sizeof ask};
    if (!by->spike || spr_spike_get(by->spike, s->route.vm, &ask) < 0 || !ask.raised)
        return;
    double more = spr_spike_spill(s->route.spill, most, ask.ratio);
    s->route.ramp_per_s = more > s->route.spill ? 0 : s->route.ramp_per_s;
    s->route.spill = more;
}

/* Who is dead keeps its weight, so that nobody else's rows move; the primary's place goes to who carries most. */
static void bury(struct spr__service_spec *s, const struct spr_routes_opts *by) {
    int32_t best = -1;
    s->route.on_dead = by->on_dead && s->route.vm < by->on_dead_count ? by->on_dead[s->route.vm] : by->on_dead_else;
    for (int32_t t = 0; t < s->route.target_count + s->route.drain_count; t++) {
        s->targets[t].dead = !spr_health_alive(by->health, s->route.vm, s->targets[t].shard);
        if (t < s->route.target_count && !s->targets[t].dead &&
            (best < 0 || s->targets[t].weight > s->targets[best].weight))
            best = t;
    }
    if (!spr_health_alive(by->health, s->route.vm, 0))
        s->route.promoted = best + 1;
}

void spr__service_of(const spr_fleet *f, int32_t vm, const struct spr_routes_opts *by, struct spr__service_spec *s) {
    s->route = (struct spr_route){.size = sizeof s->route, .vm = vm, .id = f->inventory->vms[vm].id};
    s->route.primary = spr__fleet_vm_host(f, vm);
    if (f->inventory->vms[vm].replica != SPR_REPLICA_NEVER)
        s->route.spill_at_most = f->inventory->vms[vm].spillable;
    for (int role = SPR__ROUTE_SERVES; role <= SPR__ROUTE_DRAINS; role++)
        for (int32_t k = f->vm_shard[vm]; k >= 0; k = f->vm_shard_next[k])
            if (spr__route_role(&f->shards[k]) == role &&
                s->route.target_count + s->route.drain_count < SPR_ROUTE_TARGETS_MOST)
                add_target(s, &f->shards[k], role == SPR__ROUTE_DRAINS);
    double most = s->route.spill = spill(s, f);
    if (by) {
        steer(s, by);
        raise_spill(s, by, most);
    }
    weigh(s, f, by && by->steer);
    if (by)
        bury(s, by);
}

/* ---- the service ---- */

static double parts(const struct spr_route_target *targets, int32_t n) {
    double sum = 0;
    for (int32_t t = 0; t < n; t++)
        sum += targets[t].weight;
    return sum;
}

static bool same_target(const struct spr_route_target *a, double a_sum, const struct spr_route_target *b,
                        double b_sum) {
    return a->shard == b->shard && a->host == b->host && a->draining == b->draining && a->dead == b->dead &&
           a->warmness == b->warmness && !memcmp(&a->capacity, &b->capacity, sizeof a->capacity) &&
           spr__route_part(a->weight, a_sum) == spr__route_part(b->weight, b_sum);
}

/* The same targets with as many rows as before: the table would come out the same, so it is not made again. */
static bool same(const struct spr__service_spec *s, const struct service *b) {
    if (!b || s->route.target_count != b->route.target_count || s->route.drain_count != b->route.drain_count ||
        s->route.vm != b->route.vm || s->route.primary != b->route.primary ||
        s->route.spill_at_most != b->route.spill_at_most || s->route.ramp_per_s != b->route.ramp_per_s ||
        s->route.on_dead != b->route.on_dead || s->route.promoted != b->route.promoted ||
        spr__route_rows(s->route.spill) != spr__route_rows(b->route.spill) || strcmp(s->route.id, b->id) != 0)
        return false;
    double sum = parts(s->targets, s->route.target_count), sum_b = parts(b->targets, b->route.target_count);
    for (int32_t t = 0; t < b->target_count; t++)
        if (!same_target(&s->targets[t], sum, &b->targets[t], sum_b))
            return false;
    return true;
}

static int make_table(struct service *s) {
    uint64_t shards[SPR_ROUTE_TARGETS_MOST];
    double weights[SPR_ROUTE_TARGETS_MOST];
    uint8_t dead[SPR_ROUTE_TARGETS_MOST];
    for (int32_t t = 0; t < s->route.target_count; t++) {
        shards[t] = s->targets[t].shard;
        weights[t] = s->targets[t].weight;
        dead[t] = s->targets[t].dead != 0;
    }
    struct spr_route_shares shares = {.size = sizeof shares,
                                      .service = s->id,
                                      .shards = shards,
                                      .weights = weights,
                                      .dead = dead,
                                      .count = (size_t)s->route.target_count,
                                      .spill = s->route.spill,
                                      .on_dead = s->route.on_dead};
    return spr_route_table(&shares, s->table);
}

static struct service *publish(spr_context *ctx, const struct spr__service_spec *spec) {
    size_t n = (size_t)(spec->route.target_count + spec->route.drain_count), room = strlen(spec->route.id) + 1;
    struct service *s = spr__alloc(ctx, 1, sizeof *s);
    struct spr_route_target *targets = s ? spr__alloc(ctx, n, sizeof *targets) : NULL;
    char *id = targets ? spr__alloc(ctx, room, 1) : NULL;
    if (!id) {
        spr__free(ctx, targets, n, sizeof *targets);
        spr__free(ctx, s, 1, sizeof *s);
        return NULL;
    }
    s->route = spec->route;
    s->targets = memcpy(targets, spec->targets, n * sizeof *targets);
    s->target_count = (int32_t)n;
    s->route.id = s->id = memcpy(id, spec->route.id, room);
    s->id_room = room;
    spr__ref_init(&s->refs);
    return s;
}

int spr__service_make(spr_context *ctx, const struct spr__service_spec *spec, struct service *before,
                      struct service **out) {
    if (same(spec, before)) {
        spr__ref(&before->refs);
        *out = before;
        return SPR_OK;
    }
    struct service *s = publish(ctx, spec);
    if (!s)
        return spr__nomem(ctx);
    int rc = make_table(s);
    if (rc < 0) {
        rc = spr__fail_of(ctx, rc, s->id, NULL, "spr_routes: a shard of id 0 or named twice, or a weight below 0");
        spr__service_unref(ctx, s);
        return rc;
    }
    *out = s;
    return SPR_OK;
}
