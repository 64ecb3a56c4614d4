/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* One round of the loop: snapshot, forecast, plan, act, route. */
#include "control/control.h"

/* ---- forecast ---- */

static void panel_of(const spr_controller *c, struct spr_panel *p) {
    const struct totals *t = &c->totals;
    *p = (struct spr_panel){.size = sizeof *p,
                            .data = t->data + t->first,
                            .dtype = SPR_F64,
                            .series = t->rows,
                            .steps = t->count,
                            .series_stride = t->room * (int64_t)sizeof(double),
                            .step_stride = sizeof(double),
                            .resource = t->resource};
}

static int fit(spr_controller *c) {
    struct spr_panel p;
    panel_of(c, &p);
    int rc = spr_forecaster_fit(c->forecaster, &p, c->totals.first_step, 0);
    c->fitted_step = c->running;
    c->forecaster_fresh = rc == SPR_OK;
    return rc == SPR_E_HISTORY ? SPR_OK : rc; /* too little history yet: no forecast, no plan */
}

/* The forecaster, with what is known to come around it. Steps are counted since 1970. */
static int make_forecaster(spr_controller *c, struct spr_forecaster_opts *o) {
    struct spr_event_effects_opts eo = {.size = sizeof eo, .calendar = c->opts.calendar, .step_ns = c->step_ns};
    if (!c->opts.calendar)
        return spr_forecaster_create(c->ctx, &c->forecaster_ops, o, &c->forecaster);
    int rc = c->effects ? SPR_OK : spr_event_effects_create(c->ctx, &eo, &c->effects);
    struct spr_events_opts events = {.size = sizeof events,
                                     .calendar = c->opts.calendar,
                                     .inner = &c->forecaster_ops,
                                     .inner_config = o->config,
                                     .effects = c->effects};
    o->config = &events;
    return rc < 0 ? rc : spr_forecaster_create(c->ctx, spr_forecaster_events(), o, &c->forecaster);
}

int spr__forecaster_start(spr_controller *c) {
    if (c->opts.horizon < 0) /* the planner's rule looks at the present only */
        return SPR_OK;
    if (!c->forecaster) {
        double reach = c->plan_opts.lead_s + c->plan_opts.pre_s, step = (double)c->step_ns * 1e-9;
        static const double levels[] = {0.1, 0.25, 0.5, 0.65, 0.75, 0.85, 0.9, 0.95, 0.99};
        struct spr_forecaster_opts o = SPR_FORECASTER_OPTS_INIT;
        o.step_ns = c->step_ns;
        /* The running step, the steps until a shard could be ready, and some to judge whether waiting is better. */
        o.horizon = c->opts.horizon > 0 ? c->opts.horizon : SPR_MIN((int32_t)ceil(reach / step) + 6, 16);
        o.levels = levels;
        o.level_count = SPR_ARRAY_LEN(levels);
        o.config = c->opts.forecaster_config;
        c->forecast_steps = o.horizon;
        c->forecast_levels = levels;
        c->forecast_level_count = o.level_count;
        int rc = make_forecaster(c, &o);
        if (rc < 0)
            return rc;
    }
    int rc = spr__gate_start(c);
    if (rc < 0)
        c->forecaster_fresh = false; /* whatever it was fitted on: the next step tries both again */
    return rc == SPR_OK && c->totals.count ? fit(c) : rc;
}

int spr__step_closed(spr_controller *c, const double *column, const double *vm_column) {
    if (!c->forecaster) /* none is wanted, or it could not be opened: try again */
        return spr__forecaster_start(c);
    spr__joint_closed(c, c->running - 1, vm_column, column);
    int rc = spr__gate_closed(c, c->running - 1, column);
    if (rc < 0)
        return rc;
    bool due = (double)(c->running - c->fitted_step) * (double)c->step_ns * 1e-9 >= c->opts.refit_s &&
               (c->effects || !(c->forecaster_ops.caps & SPR_CAP_REFITS_ITSELF));
    if (!c->forecaster_fresh || due)
        return fit(c);
    struct spr_panel p = {.size = sizeof p,
                          .data = column,
                          .dtype = SPR_F64,
                          .series = c->totals.rows,
                          .steps = 1,
                          .series_stride = sizeof(double),
                          .step_stride = sizeof(double)};
    rc = spr_forecaster_update(c->forecaster, &p);
    if (rc < 0)
        c->forecaster_fresh = false; /* it may know half of the step: the next one fits again */
    return rc;
}

static int predict(spr_controller *c) {
    if (!c->forecaster || !c->forecaster_fresh)
        return SPR_OK;
    memset(c->column, 0, (size_t)c->totals.rows * sizeof(double));
    for (int32_t v = 0; v < c->vms; v++)
        for (int32_t i = 0; i < c->r; i++)
            c->column[spr__fleet_vm_host(c->inventory, v) * c->r + i] +=
                c->demand.now[(size_t)v * (size_t)c->r + (size_t)i];
    spr_forecast *next = NULL;
    int rc = spr_forecaster_predict(c->forecaster, c->column, &next);
    if (rc == SPR_OK && (rc = spr__joint_mix(c, &next)) < 0)
        spr_forecast_unref(next);
    if (rc < 0)
        return rc;
    spr_forecast_unref(c->forecast);
    c->forecast = next;
    spr__gate_said(c, next);
    return SPR_OK;
}

/* ---- snapshot ---- */

/* What a VM's shards carried is measured together; each one's part is by what it can carry. */
static void spread_used(const spr_controller *c, spr_fleet *f) {
    for (int32_t v = 0; v < c->vms; v++)
        for (int32_t i = 0; i < c->r && f->vm_shard[v] >= 0; i++) {
            int32_t r = f->inventory->resource[i];
            double served = c->demand.served[(size_t)v * (size_t)c->r + (size_t)i], carry = 0;
            for (int32_t k = f->vm_shard[v]; k >= 0; k = f->vm_shard_next[k])
                carry += f->shards[k].ready.of[r] + f->shards[k].draining.of[r];
            for (int32_t k = f->vm_shard[v]; k >= 0 && carry > 0; k = f->vm_shard_next[k])
                f->shards[k].used.of[r] =
                    SPR_MIN(1, served / carry) * (f->shards[k].ready.of[r] + f->shards[k].draining.of[r]);
        }
}

int spr__snapshot(spr_controller *c, struct spr_time now) {
    spr_fleet_builder *b = NULL;
    spr_fleet *next = NULL;
    int rc = spr_fleet_builder_create(c->ctx, c->fleet, &b);
    for (int32_t v = 0; v < c->vms && rc == SPR_OK; v++) {
        struct spr_vm seen = {.size = sizeof seen,
                              .host = spr__fleet_vm_host(c->inventory, v),
                              .seen_mono_ns = c->demand.seen_mono_ns[v],
                              .censored = c->demand.censored[v]};
        for (int32_t i = 0; i < c->r; i++) {
            int32_t r = c->inventory->inventory->resource[i];
            size_t k = (size_t)v * (size_t)c->r + (size_t)i;
            seen.demand.of[r] = c->demand.now[k];
            seen.demand_hour.of[r] = c->demand.mean_hour[k];
        }
        rc = spr_fleet_builder_observe(b, v, &seen);
    }
    if (rc == SPR_OK && c->lifecycle)
        rc = spr_lifecycle_fill(c->lifecycle, b);
    if (rc < 0) {
        spr_fleet_builder_destroy(b);
        return rc;
    }
    if ((rc = spr_fleet_builder_finish(b, now, &next)) < 0)
        return rc;
    spread_used(c, next); /* nobody else has seen it yet */
    spr_fleet_unref(c->fleet);
    c->fleet = next;
    return SPR_OK;
}

/* ---- routes ---- */

int spr__publish(spr_controller *c, struct spr_time now) {
    spr_routes *next = NULL;
    struct spr_routes_opts by = {.size = sizeof by, .steer = c->steer, .health = c->health, .spike = c->spike};
    int rc = spr__steer(c, now);
    if (rc == SPR_OK)
        rc = spr_routes_steered(c->ctx, c->fleet, &by, c->routes, &next);
    if (rc < 0)
        return rc;
    if (spr_routes_equal(next, c->routes)) {
        spr_routes_unref(next);
        return SPR_OK;
    }
    spr_routes_unref(c->routes);
    c->routes = next;
    c->told = false;
    return spr__tell_router(c, now);
}

/* Promise 1: while advice is all that was ever allowed, routes are made for people to see and stay here. */
int spr__tell_router(spr_controller *c, struct spr_time now) {
    if (!c->has_router || !c->acts || c->told || !c->routes)
        return SPR_OK;
    int rc = c->router.publish(c->router_state, c->routes, now, now.mono_ns + c->control_ns, &c->published);
    c->told = rc >= 0;
    return rc;
}

/* ---- the round ---- */

static int act(spr_controller *c, struct spr_time now) {
    if (c->automation != SPR_AUTO || c->paused || !c->lifecycle || !spr_plan_action_count(c->plan))
        return SPR_OK;
    int rc = spr_lifecycle_apply(c->lifecycle, c->plan, now, NULL);
    c->changed = true;
    return rc;
}

int spr__tick(spr_controller *c, struct spr_time now) {
    int rc = spr__snapshot(c, now);
    if (rc == SPR_OK)
        rc = predict(c);
    if (rc < 0)
        return rc;
    if (!c->forecast && c->opts.horizon >= 0)
        return SPR_OK; /* too little was seen yet: nothing is planned, so nothing is given back either */
    if ((rc = spr__durations_learn(c)) < 0)
        return rc;
    spr_plan *plan = NULL;
    c->plan_opts.under_covered = spr__gate_under(c);
    c->plan_opts.under_covered_count = c->plan_opts.under_covered ? c->totals.rows : 0;
    c->plan_opts.classes = c->classes;
    c->plan_opts.class_count = c->classes ? c->vms : 0;
    if ((rc = spr__means_ask(c)) < 0)
        return rc;
    c->plan_opts.unkept = c->unkept;
    c->plan_opts.unkept_why = (const char *const *)c->unkept_why;
    c->plan_opts.unkept_count = c->unkept_hosts;
    rc = spr_planner_run(c->planner, c->fleet, c->forecast, &c->plan_opts, &plan);
    if (rc < 0)
        return rc;
    spr_plan_unref(c->plan);
    c->plan = plan;
    rc = act(c, now);
    return rc;
}
