/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Physics in whole sub-steps. Per VM: new flows follow the routes, established ones stay, so the moved fraction
 * follows its target with the flows' lifetime; a shard serves what it can carry. Per host: what shards hold
 * there is gone, the rest is shared max-min fair. Formulas: doc/algorithms/replay.md.
 *
 * Rates change rarely, so each VM's numbers are only added up when one of them does.
 */
#include <math.h>
#include <string.h>

#include "sim.h"

#define SIM_BYTES(n, each) ((n) * (each) > 0 ? (n) * (each) : 1)
#define TINY               1e-5 /* of a host: less than this is nothing */

static void *zeros(struct sim *s, size_t n, size_t each) { return spr_context_alloc(s->ctx, SIM_BYTES(n, each)); }
static void drop(struct sim *s, void *block, size_t n, size_t each) {
    spr_context_free(s->ctx, block, SIM_BYTES(n, each));
}

int sim__grow(struct sim *s, void **block, size_t *cap, size_t need, size_t each) {
    if (need <= *cap)
        return SPR_OK;
    size_t n = *cap ? *cap * 2 : 16;
    while (n < need)
        n *= 2;
    void *bigger = spr_context_alloc(s->ctx, n * each);
    if (!bigger)
        return SPR_E_NOMEM;
    if (*block)
        memcpy(bigger, *block, *cap * each);
    spr_context_free(s->ctx, *block, *cap * each);
    *block = bigger;
    *cap = n;
    return SPR_OK;
}

/* ---- adding up ---- */

void sim__settle_vm(struct sim *s, int32_t v) {
    struct sim_vm *m = &s->vm[v];
    double n = (double)(s->substep - m->since);
    if (n <= 0)
        return;
    m->since = s->substep;
    for (int32_t i = v * s->r, e = i + s->r; i < e; i++) {
        double lost = n * (s->short_home[i] + s->short_side[i]);
        for (int k = 0; k < 2; k++) {
            s->sum_demand[k][i] += n * s->demand[i];
            s->sum_short[k][i] += lost;
            s->sum_served[k][i] += n * s->served[i];
            s->sum_held[k][i] += n * s->held_vm[i];
        }
    }
    if (m->violated)
        s->violated_s[v] += n * s->config.substep_s;
}

static void settle_host(struct sim *s, int32_t h) {
    s->host_load_sum[h] += (double)(s->substep - s->host_since[h]) * s->host_load[h];
    s->host_since[h] = s->substep;
}

void sim__settle_all(struct sim *s) {
    for (int32_t v = 0; v < s->vms; v++)
        sim__settle_vm(s, v);
    for (int32_t h = 0; h < s->hosts; h++)
        settle_host(s, h);
}

static void judge(struct sim *s, int32_t v) {
    bool bad = false;
    for (int32_t i = v * s->r, e = i + s->r; i < e; i++)
        bad |= s->short_home[i] + s->short_side[i] > 0.01 * s->demand[i];
    s->vm[v].violated = bad;
}

/* ---- shards and VMs ---- */

void sim__activate_vm(struct sim *s, int32_t v) {
    if (s->vm[v].active)
        return;
    s->vm[v].active = true;
    /* Kept in VM order, so that sums do not depend on history. */
    int32_t i = s->active_count++;
    for (; i > 0 && s->active[i - 1] > v; i--)
        s->active[i] = s->active[i - 1];
    s->active[i] = v;
}

void sim__held_changed(struct sim *s, int32_t v) {
    sim__settle_vm(s, v);
    double *held = &s->held_vm[v * s->r];
    memset(held, 0, (size_t)s->r * sizeof *held);
    for (int32_t k = s->vm[v].first_shard; k >= 0; k = s->shards[k].next) {
        const struct sim_shard *d = &s->shards[k];
        for (int32_t r = 0; r < s->r; r++) {
            held[r] += d->ready[r] + d->drain[r];
            for (int32_t p = 0; p < d->piece_count; p++)
                held[r] += d->pieces[p].amount[r];
        }
        s->dirty[d->host] = true;
    }
    s->dirty[s->vm[v].home] = true;
}

/* Give back part of the ready amounts: what remains ready cannot carry becomes drain, the idle part is free at once. */
void sim__release_part(struct sim *s, struct sim_shard *shard, const double *less) {
    int32_t v = shard->vm;
    for (int32_t r = 0; r < s->r; r++) {
        double ready = 0, drain = 0, give = fmin(less[r], shard->ready[r]);
        if (give <= 0)
            continue;
        for (int32_t k = s->vm[v].first_shard; k >= 0; k = s->shards[k].next) {
            ready += s->shards[k].ready[r];
            drain += s->shards[k].drain[r];
        }
        double used = fmin(fmax(s->vm[v].moved * s->demand[v * s->r + r] - drain, 0), ready);
        double over = fmin(give, fmax(0, used - (ready - give)));
        shard->ready[r] -= give;
        shard->drain[r] += over;
        s->held[shard->host * s->r + r] -= give - over;
    }
    sim__held_changed(s, v);
}

void sim__drop_shard(struct sim *s, int32_t slot) {
    struct sim_shard *d = &s->shards[slot];
    int32_t v = d->vm;
    for (int32_t r = 0; r < s->r; r++) {
        double held = d->ready[r] + d->drain[r];
        for (int32_t p = 0; p < d->piece_count; p++)
            held += d->pieces[p].amount[r];
        s->held[d->host * s->r + r] -= held;
    }
    s->dirty[d->host] = true;
    int32_t *link = &s->vm[v].first_shard;
    while (*link != slot)
        link = &s->shards[*link].next;
    *link = d->next;
    memset(d, 0, sizeof *d);
    d->vm = -1;
    sim__held_changed(s, v);
}

/* ---- one sub-step ---- */

/* Flows of an active VM after another sub-step; false when there is nothing left to follow. */
static bool move_flows(struct sim *s, int32_t v) {
    struct sim_vm *m = &s->vm[v];
    double carry[SIM_R] = {0}, drain[SIM_R] = {0};
    bool changed = false, any = false;
    for (int32_t k = m->first_shard; k >= 0; k = s->shards[k].next) {
        struct sim_shard *d = &s->shards[k];
        any = true;
        for (int32_t r = 0; r < s->r; r++) {
            if (d->drain[r] > 0) {
                double before = d->drain[r];
                d->drain[r] *= m->decay;
                if (d->drain[r] < TINY * s->capacity[d->host * s->r + r])
                    d->drain[r] = 0;
                s->held[d->host * s->r + r] -= before - d->drain[r];
                s->dirty[d->host] = changed = true;
            }
            carry[r] += d->ready[r];
            drain[r] += d->drain[r];
        }
    }
    const double *demand = &s->demand[v * s->r];
    double target = m->spill_at_most;
    bool wants = false;
    for (int32_t r = 0; r < s->r; r++)
        if (demand[r] > 0) {
            target = fmin(target, fmin(carry[r], m->route_cap[r]) / demand[r]);
            wants = true;
        }
    if (!wants)
        target = 0;
    double before = m->moved;
    m->moved += (target - m->moved) * (1 - m->decay);
    if (fabs(target - m->moved) < 1e-12)
        m->moved = target;
    bool small = true;
    for (int32_t r = 0; r < s->r; r++)
        small &= carry[r] <= 0 && drain[r] <= 0 && m->moved * demand[r] < TINY * s->capacity[m->home * s->r + r];
    if (small)
        m->moved = 0;
    if (changed || m->moved != before || s->dirty[m->home]) {
        sim__settle_vm(s, v);
        for (int32_t r = 0; r < s->r; r++) {
            double flows = m->moved * demand[r], serve = fmin(flows, carry[r] + drain[r]);
            s->served[v * s->r + r] = serve;
            s->short_side[v * s->r + r] = flows - serve;
        }
        s->dirty[m->home] = true;
        if (changed)
            sim__held_changed(s, v);
    }
    return any || m->moved > 0;
}

/* Max-min fair shares of `room` among n loads (in place: what each one misses). Water filling, at most n rounds. */
static void share_out(double *load, int32_t n, double room, double *got) {
    int32_t open = n;
    for (int32_t i = 0; i < n; i++)
        got[i] = -1;
    for (bool again = true; again && open;) {
        double level = room / open;
        again = false;
        for (int32_t i = 0; i < n; i++)
            if (got[i] < 0 && load[i] <= level) {
                got[i] = load[i];
                room -= load[i];
                open--;
                again = true;
                level = open ? room / open : 0;
            }
    }
    for (int32_t i = 0; i < n; i++)
        if (got[i] < 0)
            got[i] = fmax(0, room / open);
}

static void share_host(struct sim *s, int32_t h) {
    int32_t first = s->host_vm_first[h], n = s->host_vm_first[h + 1] - first;
    const int32_t *vms = &s->host_vms[first];
    double *load = s->share_scratch, *got = load + n;
    settle_host(s, h);
    for (int32_t i = 0; i < n; i++)
        sim__settle_vm(s, vms[i]);
    for (int32_t r = 0; r < s->r; r++) {
        double sum = 0, room = fmax(0, s->capacity[h * s->r + r] - s->held[h * s->r + r]);
        for (int32_t i = 0; i < n; i++)
            sum += load[i] = s->demand[vms[i] * s->r + r] * (1 - s->vm[vms[i]].moved);
        bool tight = sum > room;
        if (tight)
            share_out(load, n, room, got);
        for (int32_t i = 0; i < n; i++)
            s->short_home[vms[i] * s->r + r] = tight ? load[i] - got[i] : 0;
        if (s->resource[r] == SPR_CPU)
            s->host_load[h] = tight ? room : sum;
    }
    for (int32_t i = 0; i < n; i++)
        judge(s, vms[i]);
    s->dirty[h] = false;
}

static void one_substep(struct sim *s) {
    int32_t kept = 0;
    for (int32_t i = 0; i < s->active_count; i++) {
        int32_t v = s->active[i];
        s->vm[v].active = move_flows(s, v);
        if (s->vm[v].active)
            s->active[kept++] = v;
    }
    s->active_count = kept;
    for (int32_t h = 0; h < s->hosts; h++)
        if (s->dirty[h])
            share_host(s, h);
    s->substep++;
    s->now.wall_ns += s->substep_ns;
    s->now.mono_ns += s->substep_ns;
}

/* ---- the table ---- */

static void world_close(void *state);

static int allocate(struct sim *s) {
    size_t hr = (size_t)s->hosts * (size_t)s->r, vr = (size_t)s->vms * (size_t)s->r;
    size_t v = (size_t)s->vms, h = (size_t)s->hosts, d = sizeof(double);
    s->vm = zeros(s, v, sizeof *s->vm);
    s->vm_id = zeros(s, v, sizeof *s->vm_id);
    s->host_id = zeros(s, h, sizeof *s->host_id);
    s->host_vm_first = zeros(s, h + 1, sizeof(int32_t));
    s->host_vms = zeros(s, v, sizeof(int32_t));
    s->active = zeros(s, v, sizeof(int32_t));
    s->dirty = zeros(s, h, sizeof(bool));
    s->capacity = zeros(s, hr, d);
    s->held = zeros(s, hr, d);
    s->demand = zeros(s, vr, d);
    s->short_home = zeros(s, vr, d);
    s->short_side = zeros(s, vr, d);
    s->served = zeros(s, vr, d);
    s->held_vm = zeros(s, vr, d);
    for (int k = 0; k < 2; k++) {
        s->sum_demand[k] = zeros(s, vr, d);
        s->sum_short[k] = zeros(s, vr, d);
        s->sum_served[k] = zeros(s, vr, d);
        s->sum_held[k] = zeros(s, vr, d);
        if (!s->sum_demand[k] || !s->sum_short[k] || !s->sum_served[k] || !s->sum_held[k])
            return SPR_E_NOMEM;
    }
    s->violated_s = zeros(s, v, d);
    s->host_load = zeros(s, h, d);
    s->host_load_sum = zeros(s, h, d);
    s->host_since = zeros(s, h, sizeof(int64_t));
    s->share_scratch = zeros(s, 2 * v, d);
    s->usage = zeros(s, vr, sizeof *s->usage);
    bool all = s->vm && s->vm_id && s->host_id && s->host_vm_first && s->host_vms && s->active && s->dirty &&
               s->capacity && s->held && s->demand && s->short_home && s->short_side && s->served && s->held_vm &&
               s->violated_s && s->host_load && s->host_load_sum && s->host_since && s->share_scratch && s->usage;
    return all ? SPR_OK : SPR_E_NOMEM;
}

static int describe(struct sim *s) {
    for (int32_t h = 0; h < s->hosts; h++) {
        struct spr_host host = {.size = sizeof host};
        if (spr_fleet_host(s->fleet, h, &host) < 0)
            return SPR_E_ARG;
        for (int32_t r = 0; r < s->r; r++)
            s->capacity[h * s->r + r] = host.capacity.of[s->resource[r]];
        s->dirty[h] = true;
        s->host_id[h] = host.id;
    }
    for (int32_t v = 0; v < s->vms; v++) {
        struct spr_vm vm = {.size = sizeof vm};
        if (spr_fleet_vm(s->fleet, v, &vm) < 0 || vm.host < 0 || vm.host >= s->hosts)
            return SPR_E_ARG;
        double life = vm.flow_lifetime_s > 0 ? vm.flow_lifetime_s : 60;
        s->vm[v].home = vm.host;
        s->vm_id[v] = vm.id;
        s->vm[v].first_shard = -1;
        s->vm[v].phi = vm.replica == SPR_REPLICA_NEVER ? 0 : vm.spillable;
        s->vm[v].decay = exp(-s->config.substep_s / life);
        s->host_vm_first[vm.host + 1]++;
    }
    for (int32_t h = 0; h < s->hosts; h++)
        s->host_vm_first[h + 1] += s->host_vm_first[h];
    for (int32_t v = s->vms - 1; v >= 0; v--) /* backwards: each list ends up in VM order */
        s->host_vms[--s->host_vm_first[s->vm[v].home + 1]] = v;
    /* The loop above turned ends into starts, one place to the right: shift them back. */
    for (int32_t h = 0; h < s->hosts; h++)
        s->host_vm_first[h] = s->host_vm_first[h + 1];
    s->host_vm_first[s->hosts] = s->vms;
    return SPR_OK;
}

static int world_open(const struct spr_env *env, const struct spr_world_config *config, void **state) {
    if (!env || !env->context || !config || config->size < sizeof *config || !config->fleet || !(config->substep_s > 0))
        return SPR_E_ARG;
    struct sim *s = spr_context_alloc(env->context, sizeof *s);
    if (!s)
        return SPR_E_NOMEM;
    s->ctx = spr_context_ref(env->context);
    s->config = *config;
    s->fleet = spr_fleet_ref((spr_fleet *)(uintptr_t)config->fleet);
    s->hosts = spr_fleet_host_count(s->fleet);
    s->vms = spr_fleet_vm_count(s->fleet);
    s->substep_ns = (int64_t)llround(config->substep_s * 1e9);
    for (int r = 0; r < SIM_R; r++)
        if (spr_fleet_resources(s->fleet) >> r & 1)
            s->resource[s->r++] = r;
    s->now = spr_fleet_time(s->fleet);
    s->sampled = s->now;
    int rc = allocate(s);
    if (rc == SPR_OK)
        rc = describe(s);
    if (rc < 0) {
        world_close(s);
        return rc;
    }
    *state = s;
    return SPR_OK;
}

static void world_close(void *state) {
    struct sim *s = state;
    if (!s)
        return;
    size_t hr = (size_t)s->hosts * (size_t)s->r, vr = (size_t)s->vms * (size_t)s->r;
    size_t v = (size_t)s->vms, h = (size_t)s->hosts, d = sizeof(double);
    drop(s, s->vm, v, sizeof *s->vm);
    drop(s, s->vm_id, v, sizeof *s->vm_id);
    drop(s, s->host_id, h, sizeof *s->host_id);
    drop(s, s->host_vm_first, h + 1, sizeof(int32_t));
    drop(s, s->host_vms, v, sizeof(int32_t));
    drop(s, s->active, v, sizeof(int32_t));
    drop(s, s->dirty, h, sizeof(bool));
    drop(s, s->capacity, hr, d);
    drop(s, s->held, hr, d);
    drop(s, s->demand, vr, d);
    drop(s, s->short_home, vr, d);
    drop(s, s->short_side, vr, d);
    drop(s, s->served, vr, d);
    drop(s, s->held_vm, vr, d);
    for (int k = 0; k < 2; k++) {
        drop(s, s->sum_demand[k], vr, d);
        drop(s, s->sum_short[k], vr, d);
        drop(s, s->sum_served[k], vr, d);
        drop(s, s->sum_held[k], vr, d);
    }
    drop(s, s->violated_s, v, d);
    drop(s, s->host_load, h, d);
    drop(s, s->host_load_sum, h, d);
    drop(s, s->host_since, h, sizeof(int64_t));
    drop(s, s->share_scratch, 2 * v, d);
    drop(s, s->usage, vr, sizeof *s->usage);
    spr_context_free(s->ctx, s->shards, s->shard_cap * sizeof *s->shards);
    spr_context_free(s->ctx, s->calls, s->call_cap * sizeof *s->calls);
    spr_context_free(s->ctx, s->observed, s->observed_cap * sizeof *s->observed);
    spr_routes_unref(s->routes);
    spr_fleet_unref(s->fleet);
    spr_context *ctx = s->ctx;
    spr_context_free(ctx, s, sizeof *s);
    spr_context_unref(ctx);
}

static int world_demand(void *state, const double *demand) {
    struct sim *s = state;
    size_t n = (size_t)s->vms * (size_t)s->r;
    if (!memcmp(s->demand, demand, n * sizeof *demand))
        return SPR_OK;
    sim__settle_all(s);
    memcpy(s->demand, demand, n * sizeof *demand);
    for (int32_t h = 0; h < s->hosts; h++)
        s->dirty[h] = true;
    return SPR_OK;
}

static int world_advance(void *state, struct spr_time to) {
    struct sim *s = state;
    while (s->now.mono_ns + s->substep_ns <= to.mono_ns) {
        bool quiet = !s->active_count;
        for (int32_t h = 0; quiet && h < s->hosts; h++)
            quiet = !s->dirty[h];
        if (!quiet) {
            one_substep(s);
            continue;
        }
        /* Nothing moves until somebody acts: take all sub-steps at once. */
        int64_t n = (to.mono_ns - s->now.mono_ns) / s->substep_ns;
        s->substep += n;
        s->now.wall_ns += n * s->substep_ns;
        s->now.mono_ns += n * s->substep_ns;
    }
    return SPR_OK;
}

static int world_measure(void *state, struct spr_world_measure *out) {
    struct sim *s = state;
    if (!out || out->size < sizeof *out)
        return SPR_E_ARG;
    sim__settle_all(s);
    double n = (double)(s->substep - s->begin[1]), per = n > 0 ? 1 / n : 0;
    for (size_t i = 0, e = (size_t)s->vms * (size_t)s->r; i < e; i++) {
        out->demand[i] = s->sum_demand[1][i] * per;
        out->got[i] = (s->sum_demand[1][i] - s->sum_short[1][i]) * per;
        out->held[i] = s->sum_held[1][i] * per;
        out->served[i] = s->sum_served[1][i] * per;
        s->sum_demand[1][i] = s->sum_short[1][i] = s->sum_held[1][i] = s->sum_served[1][i] = 0;
    }
    for (int32_t v = 0; v < s->vms; v++) {
        out->violated_s[v] = s->violated_s[v];
        s->violated_s[v] = 0;
    }
    for (int32_t h = 0; h < s->hosts; h++) {
        out->host_load[h] = s->host_load_sum[h] * per;
        s->host_load_sum[h] = 0;
    }
    s->begin[1] = s->substep;
    return SPR_OK;
}

static const struct spr_world_ops world = {
    .size = sizeof world,
    .name = "sim",
    .license = "MIT OR Apache-2.0",
    .open = world_open,
    .close = world_close,
    .demand = world_demand,
    .advance = world_advance,
    .measure = world_measure,
};
const struct spr_world_ops *spr_sim_world(void) { return &world; }
