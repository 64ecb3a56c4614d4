/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Planner and plan: check, ask the method, check its answer, publish. */
#include <stdio.h>
#include <stdlib.h>

#include "plan/plan.h"

#define LONGEST_S 1e9 /* nanoseconds of more do not fit 64 bits */

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
    if (!(o->lead_s >= 0) || !(o->pre_s >= 0) || !(o->control_s > 0) || !(o->step_s > 0) || !(o->room > 0) ||
        o->room > 1 || !(o->change_at_least >= 0) || !(o->stale_s >= 0))
        return spr__fail(
            ctx, SPR_E_ARG,
            "spr_plan_opts: lead_s, pre_s, control_s, step_s, room, change_at_least or stale_s is out of range");
    if (o->lead_s > LONGEST_S || o->pre_s > LONGEST_S || o->control_s > LONGEST_S || o->step_s > LONGEST_S)
        return spr__fail(ctx, SPR_E_ARG, "spr_plan_opts: lead_s, pre_s, control_s or step_s is longer than %g s",
                         LONGEST_S);
    o->stale_s = fmin(o->stale_s, LONGEST_S); /* never stale */
    o->shard_cost = by_default(o->shard_cost, 0);
    if (!(o->shard_cost >= 0) || o->actions_per_vm_day < 0 || o->actions_per_host_day < 0 || o->actions_per_day < 0)
        return spr__fail(ctx, SPR_E_ARG, "spr_plan_opts: shard_cost or a limit of actions is below zero");
    return SPR_OK;
}

static bool good_cost(const struct spr_warm_cost *c) {
    const double all[] = {c->resume_s, c->enter_s, c->memory_held, c->cpu_held};
    for (size_t i = 0; i < SPR_ARRAY_LEN(all); i++)
        if (!(all[i] >= 0 && all[i] <= LONGEST_S))
            return false;
    return true;
}

static int check_warm(const spr_context *ctx, const struct spr_plan_opts *o, int32_t hosts) {
    const char *at = (const char *)o->warm;
    if (!o->warm_count)
        return SPR_OK;
    if (!o->warm || o->warm_count != hosts)
        return spr__fail(ctx, SPR_E_ARG, "spr_plan_opts.warm: %lld elements, the fleet has %d hosts",
                         (long long)o->warm_count, hosts);
    for (int32_t h = 0; h < hosts; h++, at += o->warm->size) {
        struct spr_warm_host w;
        int rc = spr__opts_copy(ctx, "spr_warm_host", at, &w, sizeof w);
        if (rc < 0)
            return rc;
        if (w.reserved || w.states & 1u << SPR_WARM_ANY || w.states >> SPR_WARM_STATE_END_)
            return spr__fail(ctx, SPR_E_ARG, "spr_plan_opts.warm: host %d has a state that is no spr_warm_state", h);
        if (!(w.ready_s >= 0 && w.ready_s <= LONGEST_S))
            return spr__fail(ctx, SPR_E_ARG, "spr_plan_opts.warm: host %d: ready_s is below 0 or out of range", h);
        for (int s = 0; s < SPR_WARM_STATE_END_; s++)
            if (w.states >> s & 1 && !good_cost(&w.of[s]))
                return spr__fail(ctx, SPR_E_ARG, "spr_plan_opts.warm: host %d, %s: a number is below 0 or out of range",
                                 h, spr_warm_state_name(s));
    }
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

/* Promise 5, whoever planned it: what is newly asked on the word of quantiles that cover too little is advice. */
static void hold_back(spr_plan *p, const struct spr_plan_opts *o) {
    const struct spr__fleet_inventory *inv = p->fleet->inventory;
    for (size_t k = 0; k < p->action_count; k++) {
        struct spr_action *a = &p->actions[k];
        int32_t i = a->resource >= 0 && a->resource < SPR_RESOURCES_MAX ? inv->slot[a->resource] : -1;
        bool asks = a->kind == SPR_ACTION_ALLOCATE || a->kind == SPR_ACTION_GROW || a->kind == SPR_ACTION_MERGE ||
                    a->kind == SPR_ACTION_MOVE;
        a->held_back = asks && i >= 0 && o->under_covered_count &&
                               o->under_covered[spr__fleet_vm_host(p->fleet, a->vm) * inv->R + i]
                           ? SPR_BECAUSE_UNDER_COVERED
                           : 0;
    }
}

/* Who was left out, and what its driver says is missing there; whose text the planner gave is not ours to keep. */
static int explain_wishes(spr_plan *p, const struct spr_plan_opts *o) {
    const struct spr__fleet_inventory *inv = p->fleet->inventory;
    for (size_t k = 0; k < p->wish_count; k++) {
        struct spr_infeasible *w = &p->wishes[k];
        const char *why = o->unkept_count && o->unkept_why ? o->unkept_why[w->host] : NULL;
        if (w->because != SPR_BECAUSE_NOT_KEPT)
            continue;
        char text[768];
        snprintf(text, sizeof text, "host %.200s left out: %s", inv->hosts[w->host].id,
                 why ? why : spr_because_text(w->because));
        if (!(w->text = spr__strdup(p->ctx, text)))
            return spr__nomem(p->ctx);
    }
    return SPR_OK;
}

static int take_wish(void *sink, const struct spr_infeasible *infeasible) {
    spr_plan *p = sink;
    struct spr_infeasible w;
    int rc = spr__opts_copy(p->ctx, "spr_infeasible", infeasible, &w, sizeof w);
    if (rc < 0 || (rc = spr__reserve(p->ctx, (void **)&p->wishes, &p->wish_cap, p->wish_count + 1, sizeof w)) < 0)
        return rc;
    w.text = NULL;
    p->wishes[p->wish_count++] = w;
    return SPR_OK;
}

static bool finite_amounts(const struct spr_amounts *a) {
    for (int r = 0; r < SPR_RESOURCES_MAX; r++)
        if (!(a->of[r] >= 0) || isinf(a->of[r]))
            return false;
    return true;
}

static bool more_than_none(const struct spr_amounts *a) {
    for (int r = 0; r < SPR_RESOURCES_MAX; r++)
        if (a->of[r] > 0)
            return true;
    return false;
}

/* The shard that an action is about, which must be one of this VM; NULL = it is not. */
static const struct spr_shard *shard_of(const spr_plan *p, uint64_t id, int32_t vm) {
    int32_t at = id ? spr_fleet_find_shard(p->fleet, id) : -1;
    return at >= 0 && p->fleet->shards[at].vm == vm ? &p->fleet->shards[at] : NULL;
}

/* Why action `a` may not be in a plan; NULL = it may. `held` is [host][R], what shards hold once it is done. */
static const char *objection(const spr_plan *p, const struct spr_action *a, const struct spr_plan_opts *o,
                             double *held) {
    const struct spr__fleet_inventory *inv = p->fleet->inventory;
    bool gives = a->kind == SPR_ACTION_SHRINK || a->kind == SPR_ACTION_RELEASE;
    bool alters = a->kind == SPR_ACTION_PROMOTE || a->kind == SPR_ACTION_WAIT; /* not how much is held */
    bool takes = !gives && !alters;
    const struct spr_shard *shard = shard_of(p, a->shard, a->vm);
    if (!finite_amounts(&a->amounts) || (takes && !more_than_none(&a->amounts)))
        return "an amount is missing, negative or not finite";
    if ((a->kind == SPR_ACTION_ALLOCATE) != (a->shard == 0))
        return "only an allocation is about a new shard";
    if (a->kind != SPR_ACTION_ALLOCATE && !shard)
        return "the VM has no such shard";
    if ((gives || a->kind == SPR_ACTION_GROW || a->kind == SPR_ACTION_WAIT) && shard->host != a->host)
        return "the shard is on another host";
    if (a->kind == SPR_ACTION_MERGE) {
        const struct spr_shard *into = shard_of(p, a->into, a->vm);
        if (!into || into == shard || into->host != a->host)
            return "the VM has no other shard there to merge into";
    }
    if (a->warm < SPR_WARM_ANY || a->warm >= SPR_WARM_STATE_END_)
        return "a shard cannot wait like that";
    if (takes && inv->vms[a->vm].replica == SPR_REPLICA_NEVER)
        return "the VM's owner does not allow replicas";
    if (takes &&
        (a->host == spr__fleet_vm_host(p->fleet, a->vm) || p->fleet->placement->host_state[a->host] != SPR_HOST_UP))
        return "the host is the VM's own or is not up";
    for (int32_t i = 0; i < inv->R && !alters; i++) {
        int32_t r = inv->resource[i];
        double *sum = &held[a->host * inv->R + i];
        *sum += gives ? -a->amounts.of[r] : a->amounts.of[r];
        if (takes && a->amounts.of[r] > 0 && *sum > o->room * inv->hosts[a->host].capacity.of[r] * (1 + 1e-9))
            return "the shards would hold more than the host has room for";
        if (takes && a->amounts.of[r] > 0 && o->unkept_count && (o->unkept[a->host] >> r & 1))
            return "the shard could not be held to what it gets there";
    }
    return NULL;
}

/* Whoever made it: shards only for VMs whose owner allows it, on other hosts that are up, within their room. */
static int check_plan(const spr_context *ctx, const spr_plan *p, const struct spr_plan_opts *o) {
    const struct spr__fleet_inventory *inv = p->fleet->inventory;
    size_t numbers = (size_t)inv->host_count * (size_t)inv->R;
    for (size_t k = 0; k < p->wish_count; k++)
        if (p->wishes[k].vm < -1 || p->wishes[k].vm >= inv->vm_count || p->wishes[k].host < 0 ||
            p->wishes[k].host >= inv->host_count)
            return spr__fail(ctx, SPR_E_STATE, "the planner's answer was refused: wish %zu names no VM or host", k + 1);
    if (!p->action_count)
        return SPR_OK;
    double *held = spr__alloc(ctx, numbers, sizeof *held);
    if (!held)
        return spr__nomem(ctx);
    memcpy(held, p->fleet->held, numbers * sizeof *held);
    int rc = SPR_OK;
    for (size_t k = 0; k < p->action_count && rc == SPR_OK; k++) {
        const struct spr_action *a = &p->actions[k];
        if (a->vm < 0 || a->vm >= inv->vm_count || a->host < 0 || a->host >= inv->host_count ||
            a->kind < SPR_ACTION_ALLOCATE || a->kind >= SPR_ACTION_KIND_END_) {
            rc = spr__fail(ctx, SPR_E_STATE, "the planner's answer was refused: action %zu names no VM, host or kind",
                           k + 1);
            continue;
        }
        const char *why = objection(p, a, o, held);
        if (why)
            rc = spr__fail_of(ctx, SPR_E_STATE, inv->vms[a->vm].id, inv->hosts[a->host].id,
                              "the planner's answer was refused: action %zu: %s", k + 1, why);
    }
    spr__free(ctx, held, numbers, sizeof *held);
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
    if (o.under_covered_count &&
        (!o.under_covered || o.under_covered_count != (int64_t)fleet->inventory->host_count * fleet->inventory->R))
        return spr__fail(
            p->ctx, SPR_E_ARG, "spr_plan_opts.under_covered: %lld numbers, the fleet has %lld (hosts times resources)",
            (long long)o.under_covered_count, (long long)fleet->inventory->host_count * fleet->inventory->R);
    if (o.class_count && (!o.classes || o.class_count != fleet->inventory->vm_count))
        return spr__fail(p->ctx, SPR_E_ARG, "spr_plan_opts.classes: %lld numbers, the fleet has %d VMs",
                         (long long)o.class_count, fleet->inventory->vm_count);
    if (o.unkept_count && (!o.unkept || o.unkept_count != fleet->inventory->host_count))
        return spr__fail(p->ctx, SPR_E_ARG, "spr_plan_opts.unkept: %lld numbers, the fleet has %d hosts",
                         (long long)o.unkept_count, fleet->inventory->host_count);
    if ((rc = check_warm(p->ctx, &o, fleet->inventory->host_count)) < 0)
        return rc;
    spr_plan *plan = spr__alloc(p->ctx, 1, sizeof *plan);
    if (!plan)
        return spr__nomem(p->ctx);
    spr__ref_init(&plan->refs);
    plan->ctx = spr_context_ref(p->ctx);
    plan->fleet = spr_fleet_ref((spr_fleet *)(uintptr_t)fleet);
    struct spr_plan_input in = {sizeof in, fleet, hosts, &o};
    struct spr_plan_output sink = {sizeof sink, plan, take_action, take_wish};
    if ((rc = p->ops.plan(p->state, &in, &sink)) < 0 || (rc = check_plan(p->ctx, plan, &o)) < 0 ||
        (rc = explain_wishes(plan, &o)) < 0) {
        spr_plan_unref(plan);
        return rc;
    }
    hold_back(plan, &o);
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
    for (size_t k = 0; k < p->wish_count; k++)
        spr__strfree(ctx, (char *)(uintptr_t)p->wishes[k].text);
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
