/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The replay's door: trace to columns, tuning runs, policy runs, rows in order, verdict. */
#include "replay/replay.h"

/* Past the scored part the oracle may still look this far; a trace that ends earlier ends. */
#define LOOK_AHEAD 16

const char *spr_policy_name(int policy) {
    switch (policy) {
#define SPR_X(name, number, text)                                                                                      \
    case number:                                                                                                       \
        return text;
        SPR_POLICIES(SPR_X)
#undef SPR_X
    }
    return "invalid";
}

/* ---- arguments ---- */

static double standard(double given, double usual) { return given == SPR_NONE ? 0 : given == 0 ? usual : given; }

static void fill_defaults(struct spr_scenario *s) {
    static const double thresholds[] = {0.8, 0.9, 0.95, 1, 1.1, 1.3}, holds[] = {0, 300, 900};
    s->substep_s = standard(s->substep_s, 10);
    s->control_s = standard(s->control_s, 60);
    s->refit_s = standard(s->refit_s, 86400);
    if (s->allocate_s[0] == 0 && s->allocate_s[1] == 0 && s->warm_s[0] == 0 && s->warm_s[1] == 0) {
        s->allocate_s[0] = s->allocate_s[1] = 180;
        s->warm_s[0] = s->warm_s[1] = 120;
    }
    for (int k = 0; k < 2; k++) { /* SPR_NONE: it takes no time */
        s->allocate_s[k] = fmax(0, s->allocate_s[k]);
        s->warm_s[k] = fmax(0, s->warm_s[k]);
    }
    s->room = standard(s->room, 0.9);
    s->change_at_least = standard(s->change_at_least, 0.02);
    s->reactive_threshold = standard(s->reactive_threshold, 0.9);
    s->reactive_hold_s = standard(s->reactive_hold_s, 900);
    if (!s->tuned_thresholds)
        s->tuned_thresholds = thresholds, s->tuned_threshold_count = SPR_ARRAY_LEN(thresholds);
    if (!s->tuned_holds_s)
        s->tuned_holds_s = holds, s->tuned_hold_count = SPR_ARRAY_LEN(holds);
}

static int check_scenario(const struct replay *p) {
    const struct spr_scenario *s = &p->scenario;
    double step = (double)p->step_ns * 1e-9;
    if (!s->fleet || spr_fleet_host_count(s->fleet) < 1 || spr_fleet_vm_count(s->fleet) < 1)
        return spr__fail(p->ctx, SPR_E_ARG, "the scenario has no fleet");
    if (s->train_until < 1 || s->score_first < s->train_until || s->score_end <= s->score_first ||
        s->score_end > spr_series_steps(p->series))
        return spr__fail(p->ctx, SPR_E_ARG,
                         "train_until %lld and score [%lld, %lld) do not fit a trace of %lld steps: "
                         "0 < train_until <= first < end <= steps",
                         (long long)s->train_until, (long long)s->score_first, (long long)s->score_end,
                         (long long)spr_series_steps(p->series));
    if (s->tuned_threshold_count < 0 || s->tuned_hold_count < 0 ||
        (s->tuned_never == SPR_NONE && (!s->tuned_threshold_count || !s->tuned_hold_count)))
        return spr__fail(p->ctx, SPR_E_ARG, "reactive-tuned has nothing to choose from");
    if (!(s->substep_s > 0) || !(s->control_s > 0))
        return spr__fail(p->ctx, SPR_E_ARG, "substep_s %g and control_s %g must be above 0", s->substep_s,
                         s->control_s);
    if (fabs(remainder(step, s->substep_s)) > 1e-9 || fabs(remainder(s->control_s, s->substep_s)) > 1e-9)
        return spr__fail(p->ctx, SPR_E_ARG, "substep_s %g must divide the step (%g s) and control_s (%g s)",
                         s->substep_s, step, s->control_s);
    return SPR_OK;
}

/* ---- the trace as columns ---- */

static int load_row(struct replay *p, const struct spr_panel *view, int32_t v, int32_t i) {
    const struct spr__fleet_inventory *inv = p->fleet->inventory;
    struct spr_series_info info = {.size = sizeof info};
    int64_t row;
    if (spr_series_find(p->series, inv->vms[v].id, inv->resource[i], NULL, &row) < 0)
        return spr__fail_of(p->ctx, SPR_E_NOT_FOUND, inv->vms[v].id, NULL,
                            "the trace has no series of resource %d for this VM", inv->resource[i]);
    spr_series_info(p->series, row, &info);
    const double *y = (const double *)((const char *)view->data + row * view->series_stride);
    double last = NAN;
    for (int64_t t = 0; t < p->steps && isnan(last); t++)
        last = y[t];
    last = isnan(last) ? 0 : last;
    for (int64_t t = 0; t < p->steps; t++) {
        last = isnan(y[t]) ? last : y[t];
        double d = fmax(0, last * info.unit_factor);
        p->demand[(size_t)t * spr__cells(p) + (size_t)v * (size_t)p->r + (size_t)i] = d;
        p->total[((size_t)t * (size_t)p->hosts + (size_t)spr__fleet_vm_host(p->fleet, v)) * (size_t)p->r + (size_t)i] +=
            d;
    }
    return SPR_OK;
}

static int load_trace(struct replay *p) {
    size_t steps = (size_t)p->steps, r = (size_t)p->r;
    struct spr_panel view = {.size = sizeof view};
    int rc = spr_series_view(p->series, SPR_SERIES_MEAN, &view);
    if (rc < 0)
        return rc;
    if (!(p->demand = spr__alloc(p->ctx, steps * spr__cells(p), sizeof(double))) ||
        !(p->total = spr__alloc(p->ctx, steps * (size_t)p->hosts * r, sizeof(double))) ||
        !(p->capacity = spr__alloc(p->ctx, (size_t)p->hosts * r, sizeof(double))) ||
        !(p->reference = spr__alloc(p->ctx, r, sizeof(double))))
        return spr__nomem(p->ctx);
    for (int32_t v = 0; v < p->vms; v++)
        for (int32_t i = 0; i < p->r; i++)
            if ((rc = load_row(p, &view, v, i)) < 0)
                return rc;
    for (int32_t i = 0; i < p->r; i++) {
        int32_t resource = p->fleet->inventory->resource[i];
        for (int32_t h = 0; h < p->hosts; h++)
            p->capacity[h * p->r + i] = p->fleet->inventory->hosts[h].capacity.of[resource];
        p->reference[i] = p->capacity[i];
        if (!(p->reference[i] > 0))
            return spr__fail_of(p->ctx, SPR_E_ARG, NULL, p->fleet->inventory->hosts[0].id,
                                "the host has no capacity of resource %d", resource);
        p->price[i] = p->scenario.price[resource];
        p->price[i].unserved = standard(p->price[i].unserved, resource == SPR_MEMORY ? 50 : 10);
        p->price[i].held = standard(p->price[i].held, 1);
    }
    return rc;
}

static void unload(struct replay *p) {
    size_t steps = (size_t)p->steps, r = (size_t)p->r;
    spr__free(p->ctx, p->demand, steps * spr__cells(p), sizeof(double));
    spr__free(p->ctx, p->total, steps * (size_t)p->hosts * r, sizeof(double));
    spr__free(p->ctx, p->capacity, (size_t)p->hosts * r, sizeof(double));
    spr__free(p->ctx, p->reference, r, sizeof(double));
}

/* ---- runs ---- */

/* The error of the lowest run counts, whatever finished first. */
static int first_error(const struct replay *p, struct run *runs, size_t n) {
    for (size_t k = 0; k < n; k++)
        if (runs[k].rc < 0) {
            struct spr_error e = {.size = sizeof e};
            if (runs[k].ctx && spr_context_error(runs[k].ctx, &e) == SPR_OK)
                return spr_context_fail(p->ctx, &e);
            return spr__fail(p->ctx, runs[k].rc, "%s: %s", spr_policy_name(runs[k].policy), spr_error_text(runs[k].rc));
        }
    return SPR_OK;
}

/* Threshold and hold, or never, by least cost on the last third of the warm-up; the first of equals. */
static int tune(const struct replay *p, struct run *chosen) {
    const struct spr_scenario *s = &p->scenario;
    size_t n = (size_t)(s->tuned_threshold_count * s->tuned_hold_count), k = 0;
    bool never = s->tuned_never != SPR_NONE;
    struct run *runs = spr__alloc(p->ctx, n + 1, sizeof *runs);
    if (!runs)
        return spr__nomem(p->ctx);
    int64_t first = 2 * s->train_until / 3;
    if (never)
        runs[k++] = (struct run){
            .replay = p, .policy = SPR_POLICY_NONE, .first = first, .end = s->train_until, .threshold = NAN};
    for (int64_t i = 0; i < s->tuned_threshold_count; i++)
        for (int64_t j = 0; j < s->tuned_hold_count; j++)
            runs[k++] = (struct run){.replay = p,
                                     .policy = SPR_POLICY_REACTIVE,
                                     .first = first,
                                     .end = s->train_until,
                                     .threshold = s->tuned_thresholds[i],
                                     .hold_s = s->tuned_holds_s[j]};
    spr__parallel(p->ctx, k, spr__run, runs);
    int rc = first_error(p, runs, k);
    size_t best = 0;
    for (size_t i = 1; i < k && rc == SPR_OK; i++)
        if (runs[i].score.cost < runs[best].score.cost)
            best = i;
    if (rc == SPR_OK) {
        chosen->threshold = runs[best].threshold;
        chosen->hold_s = runs[best].hold_s;
    }
    for (size_t i = 0; i < k; i++)
        spr__run_finish(&runs[i]);
    spr__free(p->ctx, runs, n + 1, sizeof *runs);
    return rc;
}

static int tell_events(const struct replay *p, const struct run *r) {
    for (size_t k = 0; k < r->event_count; k++) {
        struct spr_replay_event e = {
            .size = sizeof e, .policy = r->policy, .time_s = r->events[k].time_s, .change = &r->events[k].change};
        if (p->opts.event(p->opts.user, &e) < 0)
            return spr__fail(p->ctx, SPR_E_CALLBACK, "the callback that takes events failed");
    }
    return SPR_OK;
}

static int tell_steps(const struct replay *p, const struct run *r) {
    for (size_t k = 0; k < r->step_count; k++) {
        const struct run_step *from = &r->steps[k];
        struct spr_replay_step s = {.size = sizeof s,
                                    .policy = r->policy,
                                    .vm = from->vm,
                                    .resource = p->fleet->inventory->resource[from->i],
                                    .time_s = (double)from->step * (double)p->step_ns * 1e-9,
                                    .demand = from->demand,
                                    .got = from->got,
                                    .held = from->held};
        if (p->opts.step(p->opts.user, &s) < 0)
            return spr__fail(p->ctx, SPR_E_CALLBACK, "the callback that takes steps failed");
    }
    return SPR_OK;
}

/* Saved needs none and oracle, regret the three rivals as well: every policy runs, only asked ones are told in rows. */
static int run_policies(struct replay *p, spr_verdict **out) {
    uint32_t asked = p->opts.policies ? p->opts.policies : (1u << SPR_POLICY_COUNT) - 1;
    uint32_t needed = asked | 1u << SPR_POLICY_NONE | 1u << SPR_POLICY_STATIC_P95 | 1u << SPR_POLICY_REACTIVE_TUNED |
                      1u << SPR_POLICY_ORACLE;
    struct run runs[SPR_POLICY_COUNT] = {{0}}, tuned = {0};
    size_t n = 0;
    int rc = tune(p, &tuned);
    if (rc < 0)
        return rc;
    for (int32_t k = 0; k < SPR_POLICY_COUNT; k++)
        if (needed >> k & 1)
            runs[n++] =
                (struct run){.replay = p,
                             .policy = k,
                             .first = p->scenario.score_first,
                             .end = p->scenario.score_end,
                             .threshold = k == SPR_POLICY_REACTIVE ? p->scenario.reactive_threshold : tuned.threshold,
                             .hold_s = k == SPR_POLICY_REACTIVE ? p->scenario.reactive_hold_s : tuned.hold_s,
                             .rows = (asked >> k & 1) && (p->opts.event || p->opts.step)};
    spr__parallel(p->ctx, n, spr__run, runs);
    rc = first_error(p, runs, n);
    for (size_t k = 0; k < n && rc == SPR_OK; k++)
        if (asked >> runs[k].policy & 1) {
            if (p->opts.event)
                rc = tell_events(p, &runs[k]);
            if (rc == SPR_OK && p->opts.step)
                rc = tell_steps(p, &runs[k]);
        }
    if (rc == SPR_OK)
        rc = spr__verdict_create(p, runs, n, asked, &tuned, out);
    for (size_t k = 0; k < n; k++)
        spr__run_finish(&runs[k]);
    return rc;
}

int spr_replay_run(spr_context *ctx, const spr_series *series, const struct spr_scenario *scenario,
                   const struct spr_replay_opts *opts, spr_verdict **out) {
    struct replay p = {.ctx = ctx};
    if (!ctx)
        return SPR_E_ARG;
    if (!series || !scenario || !opts || !out)
        return spr__fail(ctx, SPR_E_ARG,
                         "spr_replay_run: series, scenario, options and a place for the verdict are required");
    int rc = spr__opts_copy(ctx, "spr_scenario", scenario, &p.scenario, sizeof p.scenario);
    if (rc < 0 || (rc = spr__opts_copy(ctx, "spr_replay_opts", opts, &p.opts, sizeof p.opts)) < 0)
        return rc;
    if (!p.opts.world || !p.opts.source || !p.opts.driver || !p.opts.router)
        return spr__fail(ctx, SPR_E_ARG, "spr_replay_opts: world, source, driver and router are required");
    struct progress progress = {.work = 0};
    p.progress = p.opts.progress ? &progress : NULL;
    p.series = spr_series_ref((spr_series *)(uintptr_t)series);
    p.step_ns = spr_series_step_ns(series);
    p.origin_ns = spr_series_origin_ns(series);
    p.hours = (double)p.step_ns / 3.6e12;
    fill_defaults(&p.scenario);
    if ((rc = check_scenario(&p)) == SPR_OK) {
        p.fleet = spr_fleet_ref((spr_fleet *)(uintptr_t)p.scenario.fleet);
        p.hosts = p.fleet->inventory->host_count;
        p.vms = p.fleet->inventory->vm_count;
        p.r = p.fleet->inventory->R;
        p.steps = SPR_MIN(spr_series_steps(series), p.scenario.score_end + LOOK_AHEAD);
        const struct spr_scenario *s = &p.scenario;
        progress.work =
            (s->tuned_threshold_count * s->tuned_hold_count + 1) * (s->train_until - 2 * s->train_until / 3) +
            SPR_POLICY_COUNT * (s->score_end - s->score_first);
        if ((rc = load_trace(&p)) == SPR_OK)
            rc = run_policies(&p, out);
        unload(&p);
    }
    spr_fleet_unref(p.fleet);
    spr_series_unref(p.series);
    return rc;
}
