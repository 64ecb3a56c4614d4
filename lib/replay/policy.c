/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What makes a policy: the rule of need and what it may know. All of them share the planner, the lifecycle and the
 * world. */
#include "replay/replay.h"

/* Resource index and step of a moment; the end of a step still belongs to it. */
static int64_t step_at(const struct replay *p, int64_t wall_ns) { return (wall_ns - p->origin_ns - 1) / p->step_ns; }

static double largest(const double *column, int64_t stride, int64_t from, int64_t to) {
    double most = column[from * stride];
    for (int64_t t = from + 1; t <= to; t++)
        most = fmax(most, column[t * stride]);
    return most;
}

/*
 * The oracle holds each host's largest true load until a shard asked for now could be replaced by a later one;
 * VMs are sized, and targets kept free, for the largest true demand of this step and the next six.
 */
static int true_future(void *user, const spr_fleet *fleet, int resource, double *need, double *vm_demand,
                       double *host_peak) {
    const struct run *r = user;
    const struct replay *p = r->replay;
    const struct spr_scenario *s = &p->scenario;
    int32_t i = p->fleet->inventory->slot[resource];
    int64_t now_ns = fleet->time.wall_ns - p->origin_ns, t = step_at(p, fleet->time.wall_ns);
    double life = 0;
    for (int32_t v = 0; v < p->vms; v++)
        life = fmax(life, p->fleet->inventory->vms[v].flow_lifetime_s);
    double reach = s->allocate_s[1] + s->warm_s[1] + fmin(life, 600) + s->control_s;
    int64_t last = (int64_t)floor(((double)now_ns * 1e-9 + reach) / ((double)p->step_ns * 1e-9) - 1e-9);
    int64_t end = SPR_MIN(t + 6, p->steps - 1), hr = (int64_t)p->hosts * p->r, vr = (int64_t)p->vms * p->r;
    last = SPR_MAX(t, SPR_MIN(last, p->steps - 1));
    for (int32_t h = 0; h < p->hosts; h++) {
        need[h] = largest(&p->total[h * p->r + i], hr, t, last);
        host_peak[h] = largest(&p->total[h * p->r + i], hr, t, end);
    }
    for (int32_t v = 0; v < p->vms; v++)
        vm_demand[v] = largest(&p->demand[v * p->r + i], vr, t, end);
    return SPR_OK;
}

/* The 95th percentile of each host's total over the warm-up, less what the host has. */
static int static_reserve(struct run *r, struct policy_setup *out) {
    const struct replay *p = r->replay;
    int64_t n = p->scenario.train_until;
    size_t hr = (size_t)p->hosts * (size_t)p->r;
    double *sorted = spr__alloc(r->ctx, (size_t)n, sizeof *sorted);
    out->reserve = spr__alloc(r->ctx, hr, sizeof *out->reserve);
    out->reserve_count = hr;
    for (size_t k = 0; k < hr && sorted && out->reserve; k++) {
        for (int64_t t = 0; t < n; t++)
            sorted[t] = p->total[(size_t)t * hr + k];
        spr__sort(sorted, n);
        out->reserve[k] = fmax(0, spr__quantile_sorted(sorted, n, 0.95) - p->capacity[k]);
    }
    bool ok = sorted && out->reserve;
    spr__free(r->ctx, sorted, (size_t)n, sizeof *sorted);
    out->config.reserve = out->reserve;
    out->config.reserve_count = (int64_t)hr;
    return ok ? SPR_OK : spr__nomem(r->ctx);
}

int spr__policy_setup(struct run *r, struct policy_setup *out) {
    switch (r->policy) {
    case SPR_POLICY_STATIC_P95:
        out->config.rule = SPR_NEED_STATIC;
        out->instant = true; /* it stands from the start */
        return static_reserve(r, out);
    case SPR_POLICY_REACTIVE:
    case SPR_POLICY_REACTIVE_TUNED:
        out->config.rule = isnan(r->threshold) ? SPR_NEED_NONE : SPR_NEED_REACTIVE;
        out->config.threshold = r->threshold;
        out->config.hold_s = r->hold_s > 0 ? r->hold_s : SPR_NONE;
        return SPR_OK;
    case SPR_POLICY_PREDICTIVE:
        out->config.rule = SPR_NEED_VALUE;
        out->forecasts = true;
        return SPR_OK;
    case SPR_POLICY_ORACLE:
        out->config.rule = SPR_NEED_GIVEN;
        out->config.given = true_future;
        out->config.user = r;
        return SPR_OK;
    default:
        out->config.rule = SPR_NEED_NONE;
        return SPR_OK;
    }
}

void spr__policy_finish(struct run *r, struct policy_setup *s) {
    if (r->ctx)
        spr__free(r->ctx, s->reserve, s->reserve_count, sizeof *s->reserve);
}

/* Per host and step the spillable excess held, the rest unserved; the fleet's excess over all capacity unserved. */
void spr__bound(const struct replay *p, double *bound, double *unspillable) {
    const struct spr__fleet_inventory *inv = p->fleet->inventory;
    *bound = *unspillable = 0;
    for (int64_t t = p->scenario.score_first; t < p->scenario.score_end; t++)
        for (int32_t i = 0; i < p->r; i++) {
            double fleet = 0, lost = 0, cost = 0;
            for (int32_t h = 0; h < p->hosts; h++) {
                double load = p->total[((size_t)t * (size_t)p->hosts + (size_t)h) * (size_t)p->r + (size_t)i], can = 0;
                double over = load - p->capacity[h * p->r + i];
                fleet += over;
                if (over <= 0)
                    continue;
                for (int32_t k = p->fleet->placement->first[h]; k < p->fleet->placement->first[h + 1]; k++) {
                    int32_t v = p->fleet->placement->vms[k];
                    if (inv->vms[v].replica != SPR_REPLICA_NEVER)
                        can += inv->vms[v].spillable *
                               p->demand[(size_t)t * spr__cells(p) + (size_t)v * (size_t)p->r + (size_t)i];
                }
                lost += fmax(0, over - can);
                cost += p->price[i].held * fmin(over, can) + p->price[i].unserved * fmax(0, over - can);
            }
            if (fleet > lost)
                cost += (p->price[i].unserved - p->price[i].held) * (fleet - lost);
            *bound += cost * p->hours / p->reference[i];
            *unspillable += p->price[i].unserved * lost * p->hours / p->reference[i];
        }
}
