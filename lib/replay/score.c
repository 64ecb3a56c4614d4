/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a run costs and does, step by step. Definitions: doc/algorithms/replay.md. */
#include "replay/replay.h"

#define DAY_NS INT64_C(86400000000000)

/* ---- room ---- */

int spr__score_begin(struct run *r) {
    const struct replay *p = r->replay;
    size_t n = spr__cells(p), v = (size_t)p->vms, h = (size_t)p->hosts;
    int64_t per_day = DAY_NS / p->step_ns, scored = r->end - r->first;
    per_day = SPR_MAX(1, per_day);
    r->bucket_steps = scored < 4 * per_day ? SPR_MAX(1, per_day / 24) : per_day;
    r->bucket_count = (size_t)((scored + r->bucket_steps - 1) / r->bucket_steps);
    r->energy_known = true;
    r->action_day = -1;
    r->measure = spr__alloc(r->ctx, 4 * n + v + h, sizeof(double));
    r->bucket = spr__alloc(r->ctx, r->bucket_count, sizeof(double));
    r->vm_actions = spr__alloc(r->ctx, v, sizeof(int32_t));
    r->host_actions = spr__alloc(r->ctx, h, sizeof(int32_t));
    if (!r->measure || !r->bucket || !r->vm_actions || !r->host_actions)
        return spr__nomem(r->ctx);
    double *m = r->measure;
    r->m = (struct spr_world_measure){.size = sizeof r->m,
                                      .demand = m,
                                      .got = m + n,
                                      .held = m + 2 * n,
                                      .served = m + 3 * n,
                                      .violated_s = m + 4 * n,
                                      .host_load = m + 4 * n + v};
    r->score.size = sizeof r->score;
    r->score.policy = r->policy;
    return SPR_OK;
}

void spr__run_finish(struct run *r) {
    if (!r->ctx)
        return;
    const struct replay *p = r->replay;
    size_t n = spr__cells(p), v = (size_t)p->vms, h = (size_t)p->hosts;
    spr__free(r->ctx, r->measure, 4 * n + v + h, sizeof(double));
    spr__free(r->ctx, r->bucket, r->bucket_count, sizeof(double));
    spr__free(r->ctx, r->vm_actions, v, sizeof(int32_t));
    spr__free(r->ctx, r->host_actions, h, sizeof(int32_t));
    spr__free(r->ctx, r->events, r->event_cap, sizeof *r->events);
    spr__free(r->ctx, r->steps, r->step_cap, sizeof *r->steps);
    spr__free(r->ctx, r->shards, r->shard_cap, sizeof *r->shards);
    spr__free(r->ctx, r->leads, r->lead_cap, sizeof *r->leads);
    spr_context_unref(r->ctx);
    r->ctx = NULL;
}

/* ---- shards ---- */

static struct run_shard *shard_of(struct run *r, const struct spr_lifecycle_event *e) {
    for (size_t k = 0; k < r->shard_count; k++)
        if (r->shards[k].id == e->shard)
            return &r->shards[k];
    if (spr__reserve(r->ctx, (void **)&r->shards, &r->shard_cap, r->shard_count + 1, sizeof *r->shards) < 0)
        return NULL;
    struct run_shard *s = &r->shards[r->shard_count++];
    *s = (struct run_shard){.id = e->shard, .vm = e->vm, .since_ns = -1};
    return s;
}

static void follow_ready(struct run *r, struct run_shard *s, const struct spr_lifecycle_event *e) {
    const struct replay *p = r->replay;
    bool had = s->since_ns >= 0, has = false;
    for (int32_t i = 0; i < p->r; i++) {
        s->ready[i] = e->ready.of[p->fleet->inventory->resource[i]];
        has |= s->ready[i] > 0;
    }
    if (has && !had)
        s->since_ns = e->time.mono_ns;
    if (!has)
        s->since_ns = -1;
    if (e->to == SPR_SHARD_RELEASED)
        *s = r->shards[--r->shard_count];
}

int spr__score_event(struct run *r, const struct spr_lifecycle_event *e) {
    struct run_shard *s = shard_of(r, e);
    if (!s)
        return SPR_E_NOMEM;
    follow_ready(r, s, e);
    if (e->because == SPR_BECAUSE_CONSOLIDATION || e->because == SPR_BECAUSE_CASCADE)
        r->score.moves += e->to == SPR_SHARD_ALLOCATING;
    if (!r->rows || !r->replay->opts.event)
        return SPR_OK;
    int rc = spr__reserve(r->ctx, (void **)&r->events, &r->event_cap, r->event_count + 1, sizeof *r->events);
    if (rc == SPR_OK)
        r->events[r->event_count++] = (struct run_event){(double)e->time.mono_ns * 1e-9, *e};
    return rc;
}

/* ---- episodes ---- */

static double excess(const struct replay *p, int64_t t, int32_t h, int32_t i) {
    return p->total[((size_t)t * (size_t)p->hosts + (size_t)h) * (size_t)p->r + (size_t)i] - p->capacity[h * p->r + i];
}

/* An episode begins: are ready shards of the host's VMs at least half of the excess? */
static int onset(struct run *r, int64_t t, int32_t h, int32_t i) {
    const struct replay *p = r->replay;
    double ready = 0;
    int64_t oldest = INT64_MAX;
    for (size_t k = 0; k < r->shard_count; k++) {
        const struct run_shard *s = &r->shards[k];
        if (s->since_ns >= 0 && s->ready[i] > 0 && spr__fleet_vm_host(p->fleet, s->vm) == h) {
            ready += s->ready[i];
            oldest = SPR_MIN(oldest, s->since_ns);
        }
    }
    r->score.episodes++;
    if (ready < 0.5 * excess(p, t, h, i))
        return SPR_OK;
    r->score.episodes_covered++;
    int rc = spr__reserve(r->ctx, (void **)&r->leads, &r->lead_cap, r->lead_count + 1, sizeof *r->leads);
    if (rc == SPR_OK)
        r->leads[r->lead_count++] = (double)(t * p->step_ns - oldest) * 1e-9;
    return rc;
}

int spr__score_onsets(struct run *r, int64_t t) {
    const struct replay *p = r->replay;
    for (int32_t h = 0; h < p->hosts && t + 1 < r->end; h++)
        for (int32_t i = 0; i < p->r; i++)
            if (excess(p, t, h, i) > 0 && excess(p, t + 1, h, i) > 0 &&
                (t == r->first || excess(p, t - 1, h, i) <= 0)) {
                int rc = onset(r, t, h, i);
                if (rc < 0)
                    return rc;
            }
    return SPR_OK;
}

/* ---- plans ---- */

static void new_day(struct run *r, int64_t day) {
    r->action_day = day;
    r->all_actions = 0;
    memset(r->vm_actions, 0, (size_t)r->replay->vms * sizeof *r->vm_actions);
    memset(r->host_actions, 0, (size_t)r->replay->hosts * sizeof *r->host_actions);
}

/* Limits are checked here a second time, by who does not make the plans. */
static void count_action(struct run *r, const struct spr_action *a) {
    const struct spr_scenario *s = &r->replay->scenario;
    int32_t home = spr__fleet_vm_host(r->replay->fleet, a->vm);
    int32_t of_vm = ++r->vm_actions[a->vm], of_host = ++r->host_actions[home], all = ++r->all_actions;
    r->score.actions++;
    if ((s->actions_per_vm_day && of_vm > s->actions_per_vm_day) ||
        (s->actions_per_host_day && of_host > s->actions_per_host_day) ||
        (s->actions_per_day && all > s->actions_per_day))
        r->score.limits_broken++;
}

int spr__score_plan(struct run *r) {
    spr_plan *plan = spr_controller_plan(r->controller);
    if (plan && plan != r->seen_plan) {
        int64_t day = r->now.mono_ns / DAY_NS;
        if (day != r->action_day)
            new_day(r, day);
        for (int32_t k = 0; k < spr_plan_action_count(plan); k++) {
            struct spr_action a = {.size = sizeof a};
            spr_plan_action(plan, k, &a);
            count_action(r, &a);
        }
        r->seen_plan = plan; /* compared, never read: the controller still holds it */
        r->forecasts += r->policy == SPR_POLICY_PREDICTIVE;
    }
    spr_plan_unref(plan);
    return SPR_OK;
}

/* ---- steps ---- */

static double power(const double *table, double load) {
    double at = fmin(fmax(load, 0), 1) * (SPR_POWER_POINTS - 1);
    int k = (int)fmin(at, SPR_POWER_POINTS - 2);
    return table[k] + (at - k) * (table[k + 1] - table[k]);
}

static void add_energy(struct run *r) {
    const struct replay *p = r->replay;
    int32_t cpu = p->fleet->inventory->slot[SPR_CPU];
    for (int32_t h = 0; h < p->hosts; h++) {
        const double *table = p->fleet->inventory->hosts[h].power_w;
        if (cpu < 0 || table[SPR_POWER_POINTS - 1] <= 0) {
            r->energy_known = false;
            return;
        }
        r->energy_wh += power(table, r->m.host_load[h] / p->capacity[h * p->r + cpu]) * p->hours;
    }
}

static int keep_row(struct run *r, int64_t t, size_t k) {
    int rc = spr__reserve(r->ctx, (void **)&r->steps, &r->step_cap, r->step_count + 1, sizeof *r->steps);
    if (rc == SPR_OK)
        r->steps[r->step_count++] = (struct run_step){t,
                                                      (int32_t)(k / (size_t)r->replay->r),
                                                      (int32_t)(k % (size_t)r->replay->r),
                                                      r->m.demand[k],
                                                      r->m.got[k],
                                                      r->m.held[k]};
    return rc;
}

int spr__score_step(struct run *r, int64_t t) {
    const struct replay *p = r->replay;
    double unserved = 0, held = 0;
    for (size_t k = 0, n = spr__cells(p); k < n; k++) {
        size_t i = k % (size_t)p->r;
        double share = p->hours / p->reference[i], lost = fmax(0, r->m.demand[k] - r->m.got[k]);
        r->demand_priced += p->price[i].unserved * r->m.demand[k] * share;
        if (lost <= 1e-9 * r->m.demand[k])
            lost = 0;
        if (lost <= 0 && r->m.held[k] <= 0)
            continue;
        unserved += p->price[i].unserved * lost * share;
        held += p->price[i].held * r->m.held[k] * share;
        r->score.shard_hours_used += p->price[i].held * r->m.served[k] * share;
        int rc = r->rows && p->opts.step ? keep_row(r, t, k) : SPR_OK;
        if (rc < 0)
            return rc;
    }
    for (int32_t v = 0; v < p->vms; v++)
        r->score.violation_minutes += r->m.violated_s[v] / 60;
    r->score.cost_unserved += unserved;
    r->score.cost_held += held;
    r->bucket[(t - r->first) / r->bucket_steps] += unserved + held;
    add_energy(r);
    return SPR_OK;
}

void spr__score_end(struct run *r) {
    struct spr_policy_score *s = &r->score;
    s->cost = s->cost_unserved + s->cost_held;
    s->shard_hours_held = s->cost_held;
    s->unserved_share = r->demand_priced > 0 ? s->cost_unserved / r->demand_priced : 0;
    s->lead_median_s = r->lead_count ? spr__median(r->leads, (int64_t)r->lead_count) : NAN;
    s->energy_kwh = r->energy_known ? r->energy_wh / 1000 : NAN;
}
