/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One policy over one stretch: the world gets true demand, the controller gets what can be measured, and time
 * stops wherever the controller wants to be stepped.
 */
#include "replay/replay.h"

static void on_event(void *user, const struct spr_lifecycle_event *event) {
    struct run *r = user;
    int rc = spr__score_event(r, event);
    if (rc < 0 && r->rc == SPR_OK)
        r->rc = rc;
}

static struct spr_time time_of(const struct replay *p, int64_t step) {
    return (struct spr_time){p->origin_ns + step * p->step_ns, step * p->step_ns};
}

static struct spr_time later(struct spr_time t, int64_t ns) {
    return (struct spr_time){t.wall_ns + ns, t.mono_ns + ns};
}

/* ---- the world and the controller in it ---- */

static int open_world(struct run *r, bool instant) {
    const struct replay *p = r->replay;
    spr_fleet_builder *b = NULL;
    spr_fleet *start = NULL;
    int rc = spr_fleet_builder_create(r->ctx, p->fleet, &b);
    if (rc < 0 || (rc = spr_fleet_builder_finish(b, r->now, &start)) < 0)
        return rc;
    struct spr_world_config w = {.size = sizeof w,
                                 .fleet = start,
                                 .substep_s = p->scenario.substep_s,
                                 .seed = p->scenario.seed,
                                 .fail_every = p->scenario.fail_every};
    if (!instant) {
        memcpy(w.allocate_s, p->scenario.allocate_s, sizeof w.allocate_s);
        memcpy(w.warm_s, p->scenario.warm_s, sizeof w.warm_s);
    }
    struct spr_env env = {sizeof env, r->ctx, NULL, p->scenario.seed};
    rc = p->opts.world->open(&env, &w, &r->world);
    spr_fleet_unref(start);
    return rc < 0 ? spr__fail(r->ctx, rc, "the world could not be made: %s", spr_error_text(rc)) : SPR_OK;
}

static void plan_opts(const struct replay *p, struct spr_plan_opts *o) {
    const struct spr_scenario *s = &p->scenario;
    double life = 0;
    memset(o, 0, sizeof *o);
    o->size = sizeof *o;
    memcpy(o->price, s->price, sizeof o->price);
    o->lead_s = s->allocate_s[1] + s->warm_s[1];
    for (int32_t v = 0; v < p->vms; v++)
        life = fmax(life, p->fleet->inventory->vms[v].flow_lifetime_s);
    o->pre_s = fmin(life, 600);
    o->lead_s = o->lead_s > 0 ? o->lead_s : SPR_NONE;
    o->control_s = s->control_s;
    o->step_s = (double)p->step_ns * 1e-9;
    o->room = s->room;
    o->change_at_least = s->change_at_least > 0 ? s->change_at_least : SPR_NONE;
    o->actions_per_vm_day = s->actions_per_vm_day;
    o->actions_per_host_day = s->actions_per_host_day;
    o->actions_per_day = s->actions_per_day;
}

static int open_controller(struct run *r, struct policy_setup *setup, struct blackout *blackout) {
    const struct replay *p = r->replay;
    const struct spr_scenario *s = &p->scenario;
    struct spr_controller_opts o = {.size = sizeof o,
                                    .source = p->opts.source,
                                    .source_config = r->world,
                                    .forecaster = p->opts.forecaster,
                                    .forecaster_config = p->opts.forecaster_config,
                                    .planner = spr_planner_builtin(),
                                    .planner_config = &setup->config,
                                    .driver = p->opts.driver,
                                    .driver_config = r->world,
                                    .router = p->opts.router,
                                    .router_config = r->world,
                                    .automation = SPR_AUTO,
                                    .refit_s = s->refit_s,
                                    .event = on_event,
                                    .user = r,
                                    .joint = p->opts.joint,
                                    .calendar = p->opts.calendar};
    struct spr_plan_opts plan;
    plan_opts(p, &plan);
    o.plan = &plan;
    if (!setup->forecasts) {
        o.horizon = SPR_NONE;
        o.history_steps = 1;
    }
    if (s->blackout_end > s->blackout_first) {
        *blackout = (struct blackout){.real_config = r->world,
                                      .from_ns = s->blackout_first * p->step_ns,
                                      .to_ns = s->blackout_end * p->step_ns,
                                      .ctx = r->ctx};
        int rc = spr__opts_copy(r->ctx, "spr_source_ops", p->opts.source, &blackout->real, sizeof blackout->real);
        if (rc < 0)
            return rc;
        o.source = spr__blackout_source();
        o.source_config = blackout;
    }
    int rc = spr_controller_create(r->ctx, &o, &r->controller);
    /* The first step brings the inventory; then it learns the warm-up, up to where this stretch begins. */
    if (rc == SPR_OK && (rc = spr_controller_step(r->controller, r->now)) == SPR_OK && setup->forecasts)
        rc = spr_controller_history(r->controller, p->series, 0, r->first);
    return rc;
}

/* ---- time ---- */

static int step_controller(struct run *r) {
    int rc = spr_controller_step(r->controller, r->now);
    /* A failed driver call or a silent source is the world's doing, and the controller goes on; the rest is not. */
    if (rc == SPR_E_IO || rc == SPR_E_CAPACITY || rc == SPR_E_TIMEOUT)
        rc = SPR_OK;
    if (rc == SPR_OK)
        rc = r->rc;
    return rc < 0 ? rc : spr__score_plan(r);
}

/* Up to `end`, stopping at every sub-step at which the controller has something to do. */
static int pass_time(struct run *r, struct spr_time end) {
    const struct replay *p = r->replay;
    int64_t sub = (int64_t)llround(p->scenario.substep_s * 1e9);
    while (r->now.mono_ns < end.mono_ns) {
        int64_t next = end.mono_ns;
        if (r->controller) {
            int64_t due = spr_controller_next_deadline(r->controller);
            int64_t n = due <= r->now.mono_ns ? 1
                        : due >= end.mono_ns  ? INT64_MAX
                                              : (due - r->now.mono_ns + sub - 1) / sub;
            if (n < (end.mono_ns - r->now.mono_ns) / sub)
                next = r->now.mono_ns + n * sub;
        }
        r->now = later(r->now, next - r->now.mono_ns);
        int rc = p->opts.world->advance(r->world, r->now);
        if (rc == SPR_OK && r->controller && spr_controller_next_deadline(r->controller) <= r->now.mono_ns)
            rc = step_controller(r);
        if (rc < 0)
            return rc;
    }
    return SPR_OK;
}

static void tell_progress(const struct run *r) {
    const struct replay *p = r->replay;
    if (!p->progress)
        return;
    int64_t done = atomic_fetch_add_explicit(&p->progress->done, 1, memory_order_relaxed) + 1;
    if (done % 16 == 0)
        p->opts.progress(p->opts.user, (double)done / (double)p->progress->work, "replaying");
}

static int run_steps(struct run *r) {
    const struct replay *p = r->replay;
    for (int64_t t = r->first; t < r->end; t++) {
        int rc = p->opts.world->demand(r->world, &p->demand[(size_t)t * spr__cells(p)]);
        if (rc == SPR_OK)
            rc = spr__score_onsets(r, t);
        if (rc == SPR_OK)
            rc = pass_time(r, time_of(p, t + 1));
        if (rc == SPR_OK)
            rc = p->opts.world->measure(r->world, &r->m);
        if (rc == SPR_OK)
            rc = spr__score_step(r, t);
        if (rc < 0)
            return rc;
        tell_progress(r);
    }
    return SPR_OK;
}

static int own_context(struct run *r) {
    struct spr_context_opts o = SPR_CONTEXT_OPTS_INIT;
    struct spr_allocator a;
    spr__context_hooks(r->replay->ctx, &a);
    o.allocator = &a;
    o.seed = r->replay->scenario.seed;
    o.simd = spr_context_simd(r->replay->ctx);
    return spr_context_create(&o, &r->ctx);
}

static int run_all(struct run *r) {
    struct policy_setup setup = {.config = {.size = sizeof setup.config}};
    struct blackout blackout = {0};
    r->now = time_of(r->replay, r->first);
    int rc = own_context(r);
    if (rc == SPR_OK && (rc = spr__score_begin(r)) == SPR_OK && (rc = spr__policy_setup(r, &setup)) == SPR_OK &&
        (rc = open_world(r, setup.instant)) == SPR_OK && setup.config.rule != SPR_NEED_NONE)
        rc = open_controller(r, &setup, &blackout);
    if (rc == SPR_OK)
        rc = run_steps(r);
    /* The lifecycle outlives a shortage by trying again; a score of such a run would not be the scenario's. */
    if (rc == SPR_OK && spr__starved(r->ctx))
        rc = spr__nomem(r->ctx);
    if (rc == SPR_OK)
        spr__score_end(r);
    spr_controller_destroy(r->controller);
    r->controller = NULL;
    if (r->world)
        r->replay->opts.world->close(r->world);
    r->world = NULL;
    spr__policy_finish(r, &setup);
    return rc;
}

void spr__run(void *arg, size_t i) {
    struct run *r = &((struct run *)arg)[i];
    int rc = run_all(r);
    if (rc < 0)
        r->rc = rc;
}
