/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Planner and plan: check, ask the method, check its answer, publish. */
#include <stdlib.h>

#include "plan/plan.h"

struct spr_planner {
    spr_context *ctx;
    struct spr_planner_ops ops;
    void *state;
};

struct spr_plan {
    spr_refcount refs;
    spr_context *ctx;
    spr_fleet *fleet;
    struct spr_action *actions;
    size_t action_count, action_cap;
    struct spr_infeasible *wishes;
    size_t wish_count, wish_cap;
};

int spr_planner_create(spr_context *ctx, const struct spr_planner_ops *ops, const void *config, spr_planner **out) {
    static const size_t required[] = {offsetof(struct spr_planner_ops, name), offsetof(struct spr_planner_ops, license),
                                      offsetof(struct spr_planner_ops, open), offsetof(struct spr_planner_ops, close),
                                      offsetof(struct spr_planner_ops, plan)};
    struct spr_planner_ops newest;
    if (!ctx || !out)
        return SPR_E_ARG;
    int rc = spr__ops_copy(ctx, "spr_planner_ops", ops ? ops : spr_planner_builtin(), &newest, sizeof newest, required,
                           SPR_ARRAY_LEN(required));
    if (rc < 0)
        return rc;
    spr_planner *p = spr__alloc(ctx, 1, sizeof *p);
    if (!p)
        return spr__nomem(ctx);
    p->ctx = spr_context_ref(ctx);
    p->ops = newest;
    struct spr_env env = {sizeof env, ctx, NULL, spr_context_seed(ctx)};
    if ((rc = newest.open(&env, config, &p->state)) < 0) {
        spr__free(ctx, p, 1, sizeof *p);
        spr_context_unref(ctx);
        return rc;
    }
    *out = p;
    return SPR_OK;
}

void spr_planner_destroy(spr_planner *p) {
    if (!p)
        return;
    spr_context *ctx = p->ctx;
    p->ops.close(p->state);
    spr__free(ctx, p, 1, sizeof *p);
    spr_context_unref(ctx);
}

/* ---- options ---- */

static double by_default(double given, double standard) {
    return given == SPR_NONE ? 0 : given == 0 ? standard : given;
}

static int fill_defaults(const spr_context *ctx, struct spr_plan_opts *o) {
    for (int r = 0; r < SPR_RESOURCES_MAX; r++) {
        o->price[r].unserved = by_default(o->price[r].unserved, r == SPR_MEMORY ? 50 : 10);
        o->price[r].held = by_default(o->price[r].held, 1);
        if (!(o->price[r].unserved >= 0) || !(o->price[r].held >= 0))
            return spr__fail(ctx, SPR_E_ARG, "spr_plan_opts: price of resource %d is below zero", r);
    }
    o->lead_s = by_default(o->lead_s, 300);
    o->pre_s = by_default(o->pre_s, 60);
    o->control_s = by_default(o->control_s, 60);
    o->step_s = by_default(o->step_s, 300);
    o->room = by_default(o->room, 0.9);
    o->change_at_least = by_default(o->change_at_least, 0.02);
    o->stale_s = by_default(o->stale_s, 5 * o->control_s);
    if (!(o->lead_s >= 0) || !(o->pre_s >= 0) || !(o->control_s > 0) || !(o->step_s > 0) || !(o->room > 0) || o->room > 1)
        return spr__fail(ctx, SPR_E_ARG, "spr_plan_opts: lead_s, pre_s, control_s, step_s or room is out of range");
    return SPR_OK;
}

/* ---- collecting and checking the answer ---- */

static int take_action(void *sink, const struct spr_action *action) {
    spr_plan *p = sink;
    struct spr_action a;
    int rc = spr__opts_copy(p->ctx, "spr_action", action, &a, sizeof a);
    if (rc < 0 || (rc = spr__reserve(p->ctx, (void **)&p->actions, &p->action_cap, p->action_count + 1, sizeof a)) < 0)
        return rc;
    a.id = p->action_count + 1;
    p->actions[p->action_count++] = a;
    return SPR_OK;
}

static int take_wish(void *sink, const struct spr_infeasible *infeasible) {
    spr_plan *p = sink;
    struct spr_infeasible w;
    int rc = spr__opts_copy(p->ctx, "spr_infeasible", infeasible, &w, sizeof w);
    if (rc < 0 || (rc = spr__reserve(p->ctx, (void **)&p->wishes, &p->wish_cap, p->wish_count + 1, sizeof w)) < 0)
        return rc;
    p->wishes[p->wish_count++] = w;
    return SPR_OK;
}

static int bad_plan(const spr_context *ctx, const struct spr_vm *vm, const struct spr_host *host, const char *why) {
    return spr__fail_of(ctx, SPR_E_STATE, vm->id, host->id, "the planner's answer was refused: %s", why);
}

static bool more_than_none(const struct spr_amounts *a) {
    bool any = false;
    for (int r = 0; r < SPR_RESOURCES_MAX; r++) {
        if (!(a->of[r] >= 0) || isinf(a->of[r]))
            return false;
        any |= a->of[r] > 0;
    }
    return any;
}

/* Whoever made it: shards only for VMs whose owner allows it, on other hosts that are up, within capacity. */
static int check_plan(const spr_context *ctx, const spr_plan *p) {
    int32_t hosts = spr_fleet_host_count(p->fleet), vms = spr_fleet_vm_count(p->fleet);
    if (!p->action_count)
        return SPR_OK;
    double *held = spr__alloc(ctx, (size_t)hosts * SPR_RESOURCES_MAX, sizeof *held);
    if (!held)
        return spr__nomem(ctx);
    int rc = SPR_OK;
    for (int32_t h = 0; h < hosts; h++) {
        struct spr_amounts a;
        spr_fleet_held(p->fleet, h, &a);
        memcpy(&held[h * SPR_RESOURCES_MAX], a.of, sizeof a.of);
    }
    for (size_t k = 0; k < p->action_count && rc == SPR_OK; k++) {
        const struct spr_action *a = &p->actions[k];
        struct spr_vm vm = {.size = sizeof vm};
        struct spr_host host = {.size = sizeof host};
        if (a->vm < 0 || a->vm >= vms || a->host < 0 || a->host >= hosts || a->kind < SPR_ACTION_ALLOCATE ||
            a->kind >= SPR_ACTION_KIND_END_)
            return spr__free(ctx, held, (size_t)hosts * SPR_RESOURCES_MAX, sizeof *held),
                   spr__fail(ctx, SPR_E_STATE, "the planner's answer was refused: action %zu names no VM, host or kind",
                             k + 1);
        spr_fleet_vm(p->fleet, a->vm, &vm);
        spr_fleet_host(p->fleet, a->host, &host);
        if (a->kind != SPR_ACTION_RELEASE && a->kind != SPR_ACTION_PROMOTE && !more_than_none(&a->amounts))
            rc = bad_plan(ctx, &vm, &host, "an amount is missing, negative or not finite");
        double sign = a->kind == SPR_ACTION_SHRINK || a->kind == SPR_ACTION_RELEASE ? -1 : 1;
        bool takes = a->kind == SPR_ACTION_ALLOCATE || a->kind == SPR_ACTION_GROW;
        if (takes && vm.replica == SPR_REPLICA_NEVER)
            rc = bad_plan(ctx, &vm, &host, "the VM's owner does not allow replicas");
        if (takes && (a->host == vm.host || host.state != SPR_HOST_UP))
            rc = bad_plan(ctx, &vm, &host, "the host is the VM's own or is not up");
        for (int r = 0; r < SPR_RESOURCES_MAX && (takes || sign < 0); r++) {
            double *sum = &held[a->host * SPR_RESOURCES_MAX + r];
            *sum += sign * a->amounts.of[r];
            if (takes && a->amounts.of[r] > 0 && *sum > host.capacity.of[r] * (1 + 1e-9))
                rc = bad_plan(ctx, &vm, &host, "the shards would hold more than the host has");
        }
    }
    spr__free(ctx, held, (size_t)hosts * SPR_RESOURCES_MAX, sizeof *held);
    return rc;
}

int spr_planner_run(spr_planner *p, const spr_fleet *fleet, const spr_forecast *hosts, const struct spr_plan_opts *opts,
                    spr_plan **out) {
    struct spr_plan_opts o;
    if (!p)
        return SPR_E_ARG;
    if (!fleet || !out)
        return spr__fail(p->ctx, SPR_E_ARG, "spr_planner_run: a fleet and a place for the plan are required");
    int rc = spr__opts_copy(p->ctx, "spr_plan_opts", opts && opts->size ? opts : NULL, &o, sizeof o);
    if (rc < 0 || (rc = fill_defaults(p->ctx, &o)) < 0)
        return rc;
    spr_plan *plan = spr__alloc(p->ctx, 1, sizeof *plan);
    if (!plan)
        return spr__nomem(p->ctx);
    spr__ref_init(&plan->refs);
    plan->ctx = spr_context_ref(p->ctx);
    plan->fleet = spr_fleet_ref((spr_fleet *)(uintptr_t)fleet);
    struct spr_plan_input in = {sizeof in, fleet, hosts, &o};
    struct spr_plan_output sink = {sizeof sink, plan, take_action, take_wish};
    if ((rc = p->ops.plan(p->state, &in, &sink)) < 0 || (rc = check_plan(p->ctx, plan)) < 0) {
        spr_plan_unref(plan);
        return rc;
    }
    *out = plan;
    return SPR_OK;
}

/* ---- the product ---- */

spr_plan *spr_plan_ref(spr_plan *p) {
    if (p)
        spr__ref(&p->refs);
    return p;
}

void spr_plan_unref(spr_plan *p) {
    if (!p || !spr__unref(&p->refs))
        return;
    spr_context *ctx = p->ctx;
    spr__free(ctx, p->actions, p->action_cap, sizeof *p->actions);
    spr__free(ctx, p->wishes, p->wish_cap, sizeof *p->wishes);
    spr_fleet_unref(p->fleet);
    spr__free(ctx, p, 1, sizeof *p);
    spr_context_unref(ctx);
}

const spr_fleet *spr_plan_fleet(const spr_plan *p) { return p ? p->fleet : NULL; }
int32_t spr_plan_action_count(const spr_plan *p) { return p ? (int32_t)p->action_count : 0; }
int32_t spr_plan_infeasible_count(const spr_plan *p) { return p ? (int32_t)p->wish_count : 0; }

int spr_plan_action(const spr_plan *p, int32_t index, struct spr_action *out) {
    if (!p || !out || index < 0 || (size_t)index >= p->action_count)
        return SPR_E_ARG;
    return spr__out_copy(out, &p->actions[index], sizeof *p->actions);
}

int spr_plan_infeasible(const spr_plan *p, int32_t index, struct spr_infeasible *out) {
    if (!p || !out || index < 0 || (size_t)index >= p->wish_count)
        return SPR_E_ARG;
    return spr__out_copy(out, &p->wishes[index], sizeof *p->wishes);
}
