/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the control law is told at every round: the host's total as forecast and as it is, what shards carry, who lives.
 */
#include "control/control.h"

#define LEVEL 0.9 /* of the forecast that rules */

static void forget_counts(spr_controller *c) {
    spr_spike_destroy(c->spike);
    spr__free(c->ctx, c->counted, (size_t)c->counted_vms, sizeof *c->counted);
    c->spike = NULL;
    c->counted = NULL;
    c->counted_vms = c->raised = 0;
}

void spr__steer_finish(spr_controller *c) {
    spr_steer_destroy(c->steer);
    spr_health_destroy(c->health);
    c->steer = NULL;
    c->health = NULL;
    forget_counts(c);
}

/* Services are VMs, so a new inventory has a new law; who is alive is remembered under the new numbers. */
int spr__steer_start(spr_controller *c, const spr_fleet *was) {
    struct spr_steer_opts o = c->steer_opts;
    o.services = c->vms;
    spr_steer *steer = NULL;
    int rc = c->vms ? spr_steer_create(c->ctx, &o, &steer) : SPR_OK;
    if (rc == SPR_OK && !c->health)
        rc = spr_health_create(c->ctx, NULL, &c->health);
    forget_counts(c); /* rows are VMs */
    spr_steer_destroy(c->steer);
    c->steer = steer;
    if (was)
        spr__health_renumber(c->health, was, c->inventory);
    return rc;
}

static int level_index(const spr_controller *c) {
    int best = 0;
    for (int32_t k = 1; k < c->forecast_level_count; k++)
        if (fabs(c->forecast_levels[k] - LEVEL) < fabs(c->forecast_levels[best] - LEVEL))
            best = k;
    return best;
}

/* The host's fullest resource decides: what is predicted for it, what it has left for its own, and how full it is now.
 */
static void look_at_host(const spr_controller *c, int32_t h, struct spr_steer_in *in) {
    const spr_fleet *f = c->fleet;
    double worst = -1;
    int64_t step = SPR_MIN((int64_t)ceil(c->plan_opts.lead_s * 1e9 / (double)c->step_ns), c->forecast_steps - 1);
    in->use = -1;
    for (int32_t i = 0; i < c->r; i++) {
        double room = f->inventory->hosts[h].capacity.of[f->inventory->resource[i]] - spr__fleet_held(f, h, i), own = 0;
        if (!(room > 0))
            continue;
        for (int32_t k = f->placement->first[h]; k < f->placement->first[h + 1]; k++) {
            size_t at = (size_t)f->placement->vms[k] * (size_t)c->r + (size_t)i;
            own += c->demand.now[at] - c->demand.served[at];
        }
        in->use = fmax(in->use, own / room);
        if (!c->forecast)
            continue;
        double ahead = spr_forecast_quantiles(
            c->forecast)[(((int64_t)h * c->r + i) * c->forecast_steps + step) * c->forecast_level_count +
                         level_index(c)];
        if (ahead / room > worst) {
            worst = ahead / room;
            in->demand = ahead;
            in->room = room;
        }
    }
    in->use = in->use < 0 ? NAN : in->use;
}

/* @return whether the VM has shards that serve */
static bool look_at_shards(const spr_controller *c, int32_t v, struct spr_steer_in *in) {
    const spr_fleet *f = c->fleet;
    double warm = 0, all = 0, share = INFINITY;
    for (int32_t k = f->vm_shard[v]; k >= 0; k = f->vm_shard_next[k]) {
        const struct spr_shard *s = &f->shards[k];
        if (spr__route_role(s) != SPR__ROUTE_SERVES || !spr_health_alive(c->health, v, s->id))
            continue;
        warm += fmax(0, fmin(1, s->warmness));
        all++;
    }
    for (int32_t i = 0; i < c->r && all > 0; i++) {
        double carry = 0, demand = spr__fleet_demand(f, v, i);
        for (int32_t k = f->vm_shard[v]; k >= 0; k = f->vm_shard_next[k])
            if (spr__route_role(&f->shards[k]) == SPR__ROUTE_SERVES && spr_health_alive(c->health, v, f->shards[k].id))
                carry += f->shards[k].ready.of[f->inventory->resource[i]];
        if (demand > 0 && carry > 0)
            share = fmin(share, carry / demand);
    }
    in->warmness = all > 0 ? warm / all : 0;
    in->carry = share;
    return all > 0;
}

int spr__steer(spr_controller *c, struct spr_time now) {
    if (!c->steer && c->vms) { /* memory was short when the inventory came */
        int rc = spr__steer_start(c, NULL);
        if (rc < 0)
            return rc;
    }
    for (int32_t v = 0; v < c->vms; v++) {
        const struct spr__fleet_vm *vm = &c->fleet->inventory->vms[v];
        struct spr_steer_in in = {.size = sizeof in,
                                  .service = v,
                                  .demand = NAN,
                                  .lead_s = c->plan_opts.lead_s,
                                  .use = NAN,
                                  .pressure = NAN,
                                  .queue = NAN,
                                  .spill_at_most = vm->replica != SPR_REPLICA_NEVER ? vm->spillable : 0,
                                  .flow_lifetime_s = vm->flow_lifetime_s};
        if (c->fleet->vm_shard[v] < 0 || !look_at_shards(c, v, &in)) {
            spr_steer_reset(c->steer, v);
            continue;
        }
        look_at_host(c, spr__fleet_vm_host(c->fleet, v), &in);
        int rc = spr_steer_step(c->steer, now, &in, 1);
        if (rc < 0)
            return rc;
    }
    return SPR_OK;
}

/* ---- what the router counts ---- */

static int start_counting(spr_controller *c) {
    struct spr_spike_opts o = {.size = sizeof o, .services = c->vms};
    c->counted = spr__alloc(c->ctx, (size_t)c->vms, sizeof *c->counted);
    c->counted_vms = c->counted ? c->vms : 0;
    int rc = c->counted ? spr_spike_create(c->ctx, &o, &c->spike) : spr__nomem(c->ctx);
    if (rc < 0)
        forget_counts(c);
    return rc;
}

/* From the front of the array, where the router put them by rising vm, to their own rows; backwards, so none is lost.
 */
static void place_counts(spr_controller *c, size_t n) {
    size_t last = (size_t)c->counted_vms;
    for (size_t v = last, k = n; v-- > 0;) {
        struct spr_route_counters row = {.size = sizeof row, .vm = (int32_t)v, .answer_s = NAN};
        if (k > 0 && c->counted[k - 1].vm == (int32_t)v)
            row = c->counted[--k];
        c->counted[v] = row;
    }
}

/*
 * A jump of load that the router's counters show is answered in this very step. Who steps the controller seldom finds
 * jumps in the data plane only: the detector concludes nothing from ticks that come a second late.
 */
int spr__count(spr_controller *c, struct spr_time now) {
    if (!c->has_router || !c->router.counters || !c->acts || !c->vms || !c->inventory)
        return SPR_OK;
    int rc = c->spike ? SPR_OK : start_counting(c);
    if (rc < 0)
        return rc;
    size_t n = 0;
    memset(c->counted, 0, (size_t)c->vms * sizeof *c->counted);
    for (int32_t v = 0; v < c->vms; v++)
        c->counted[v].size = sizeof c->counted[v];
    if ((rc = c->router.counters(c->router_state, now, c->counted, (size_t)c->vms, &n)) < 0)
        return rc;
    n = SPR_MIN(n, (size_t)c->vms);
    for (size_t k = 0; k < n; k++)
        if (c->counted[k].vm < (k ? c->counted[k - 1].vm + 1 : 0) || c->counted[k].vm >= c->vms)
            return spr__fail(c->ctx, SPR_E_CALLBACK,
                             "the router's counters do not rise by VM, or name one there is not");
    place_counts(c, n);
    int raised = spr_spike_tick(c->spike, now, c->counted, (size_t)c->vms);
    if (raised >= 0 && raised != c->raised) {
        c->raised = raised;
        c->changed = true;
    }
    return SPR_OK; /* a clock that stands still counts nothing */
}

int spr_controller_health(spr_controller *c, int32_t vm, uint64_t shard, int ok, struct spr_time now) {
    if (!c)
        return SPR_E_ARG;
    if (!c->health || vm < 0 || vm >= c->vms)
        return spr__fail(c->ctx, SPR_E_ARG, "spr_controller_health: there is no VM %d", vm);
    int rc = spr_health_report(c->health, vm, shard, ok, now);
    c->changed |= rc == 1; /* the routes follow in the next step */
    return rc;
}
