/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Collects a replay for the page: sums per column and VM, and the shard changes of the policy that is shown. */
#include "report.h"

/* Whose changes are worth keeping: the pictures follow one policy. */
static int rank_of(int policy) {
    static const int order[] = {SPR_POLICY_NONE,     SPR_POLICY_ORACLE,         SPR_POLICY_STATIC_P95,
                                SPR_POLICY_REACTIVE, SPR_POLICY_REACTIVE_TUNED, SPR_POLICY_PREDICTIVE};
    for (size_t i = 0; i < SPR_ARRAY_LEN(order); i++)
        if (order[i] == policy)
            return (int)i;
    return -1;
}

static size_t columns_bytes(const spr_report *r) { return (size_t)r->columns * sizeof(double); }
static size_t vms_bytes(const spr_report *r) { return (size_t)r->vms * sizeof(double); }

static void free_sums(spr_report *r, struct spr__report_sums *s) {
    spr_context_free(r->ctx, s->unserved, columns_bytes(r));
    spr_context_free(r->ctx, s->held, columns_bytes(r));
    spr_context_free(r->ctx, s->vm_unserved, vms_bytes(r));
    spr_context_free(r->ctx, s->vm_held, vms_bytes(r));
    memset(s, 0, sizeof *s);
}

static int make_sums(spr_report *r, struct spr__report_sums *s) {
    s->unserved = spr_context_alloc(r->ctx, columns_bytes(r));
    s->held = spr_context_alloc(r->ctx, columns_bytes(r));
    s->vm_unserved = spr_context_alloc(r->ctx, vms_bytes(r));
    s->vm_held = spr_context_alloc(r->ctx, vms_bytes(r));
    if (s->unserved && s->held && s->vm_unserved && s->vm_held)
        return SPR_OK;
    free_sums(r, s);
    return spr__io_nomem(r->ctx);
}

static int take_resources(spr_report *r) {
    struct spr_host host = {.size = sizeof host};
    if (r->hosts < 1 || spr_fleet_host(r->fleet, 0, &host) < 0)
        return spr__io_fail(r->ctx, SPR_E_ARG, NULL, 0, 0, "spr_report_create: the scenario's fleet has no hosts");
    for (int k = 0; k < SPR_RESOURCES_MAX; k++)
        if ((spr_fleet_resources(r->fleet) >> k & 1) && host.capacity.of[k] > 0) {
            struct spr_price p = r->sc->price[k];
            bool kills = k == SPR_MEMORY;
            r->reference[r->resource_count] = host.capacity.of[k];
            r->price[r->resource_count].unserved = spr__standard(p.unserved, kills ? 50 : 10);
            r->price[r->resource_count].held = spr__standard(p.held, 1);
            r->resource[r->resource_count++] = k;
        }
    if (!r->resource_count)
        return spr__io_fail(r->ctx, SPR_E_ARG, NULL, 0, 0, "spr_report_create: the first host has no capacity");
    return SPR_OK;
}

static int take_grid(spr_report *r) {
    spr_series *series = spr_scenario_file_series(r->file);
    if (!series || r->sc->score_end <= r->sc->score_first || r->sc->score_first < 0)
        return spr__io_fail(r->ctx, SPR_E_ARG, NULL, 0, 0,
                            "spr_report_create: the scenario has no series or no scored part");
    r->step_s = (double)spr_series_step_ns(series) / 1e9;
    r->first = r->sc->score_first;
    r->end = r->sc->score_end;
    r->column_steps = (r->end - r->first + SPR__REPORT_COLUMNS - 1) / SPR__REPORT_COLUMNS;
    r->columns = (r->end - r->first + r->column_steps - 1) / r->column_steps;
    return SPR_OK;
}

int spr_report_create(spr_context *ctx, const spr_scenario_file *scenario, spr_report **out) {
    if (!ctx)
        return SPR_E_ARG;
    if (!scenario || !out)
        return spr__io_fail(ctx, SPR_E_ARG, NULL, 0, 0, "spr_report_create: a scenario and an output are required");
    spr_report *r = spr_context_alloc(ctx, sizeof *r);
    if (!r)
        return spr__io_nomem(ctx);
    r->ctx = spr_context_ref(ctx);
    r->file = (spr_scenario_file *)(uintptr_t)scenario;
    r->sc = spr_scenario_file_scenario(r->file);
    r->fleet = r->sc->fleet;
    r->vms = spr_fleet_vm_count(r->fleet);
    r->hosts = spr_fleet_host_count(r->fleet);
    r->kept = -1;
    int rc = take_resources(r);
    rc = rc < 0 ? rc : take_grid(r);
    if (rc < 0) {
        spr_report_destroy(r);
        return rc;
    }
    *out = r;
    return SPR_OK;
}

void spr_report_destroy(spr_report *r) {
    if (!r)
        return;
    spr_context *ctx = r->ctx;
    for (int k = 0; k < SPR_POLICY_COUNT; k++)
        free_sums(r, &r->sums[k]);
    spr_context_free(ctx, r->events, r->event_cap * sizeof *r->events);
    spr_context_free(ctx, r->amounts, r->amount_cap * sizeof *r->amounts);
    spr_context_free(ctx, r, sizeof *r);
    spr_context_unref(ctx);
}

/* ---- changes ---- */

static int keep_policy(spr_report *r, int policy) {
    if (policy == r->kept)
        return 1;
    if (r->kept >= 0 && rank_of(policy) < rank_of(r->kept))
        return 0;
    r->kept = policy;
    r->event_count = 0;
    memset(r->because, 0, sizeof r->because);
    return 1;
}

int spr_report_event(spr_report *r, const struct spr_replay_event *event) {
    if (!r)
        return SPR_E_ARG;
    const struct spr_lifecycle_event *e = event ? event->change : NULL;
    if (!e || rank_of(event->policy) < 0 || e->vm < 0 || e->vm >= r->vms || e->host < 0 || e->host >= r->hosts)
        return spr__io_fail(r->ctx, SPR_E_ARG, NULL, 0, 0,
                            "spr_report_event: a change of a VM and host of the fleet is required");
    if (!keep_policy(r, event->policy))
        return SPR_OK;
    size_t each = 2 * (size_t)r->resource_count;
    int rc = spr__io_reserve(r->ctx, (void **)&r->events, &r->event_cap, r->event_count + 1, sizeof *r->events);
    rc = rc < 0 ? rc
                : spr__io_reserve(r->ctx, (void **)&r->amounts, &r->amount_cap, (r->event_count + 1) * each,
                                  sizeof *r->amounts);
    if (rc < 0)
        return rc;
    float *a = r->amounts + r->event_count * each;
    bool gone = e->to == SPR_SHARD_RELEASED || e->to == SPR_SHARD_PLANNED;
    for (int32_t k = 0; k < r->resource_count; k++) {
        int res = r->resource[k];
        double ready = e->ready.of[res], held = ready + e->pending.of[res] + e->draining.of[res];
        a[2 * k] = gone ? 0 : (float)ready;
        a[2 * k + 1] = gone ? 0 : (float)held;
    }
    r->events[r->event_count++] =
        (struct spr__report_event){event->time_s, e->shard, e->vm, e->host, e->to, e->because};
    if (e->because >= 0 && e->because < SPR_BECAUSE_COUNT_)
        r->because[e->because]++;
    return SPR_OK;
}

/* ---- steps ---- */

int spr_report_step(spr_report *r, const struct spr_replay_step *step) {
    if (!r)
        return SPR_E_ARG;
    if (!step || rank_of(step->policy) < 0 || step->vm < 0 || step->vm >= r->vms || step->resource < 0 ||
        step->resource >= SPR_RESOURCES_MAX)
        return spr__io_fail(r->ctx, SPR_E_ARG, NULL, 0, 0, "spr_report_step: a row of a VM of the fleet is required");
    int32_t k = 0;
    while (k < r->resource_count && r->resource[k] != step->resource)
        k++;
    int64_t at = (int64_t)floor(step->time_s / r->step_s + 0.5);
    if (k == r->resource_count || at < r->first || at >= r->end)
        return SPR_OK;
    struct spr__report_sums *s = &r->sums[step->policy];
    int rc = s->unserved ? SPR_OK : make_sums(r, s);
    if (rc < 0)
        return rc;
    double hours = r->step_s / 3600 / r->reference[k];
    double unserved = SPR_MAX(0, step->demand - step->got) * hours * r->price[k].unserved;
    double held = SPR_MAX(0, step->held) * hours * r->price[k].held;
    int64_t column = (at - r->first) / r->column_steps;
    s->unserved[column] += unserved;
    s->held[column] += held;
    s->vm_unserved[step->vm] += unserved;
    s->vm_held[step->vm] += held;
    return SPR_OK;
}
