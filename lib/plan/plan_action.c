/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Actions and wishes of the plan under work. */
#include "plan/plan.h"

int spr__action_open(struct builtin *p, const struct spr_action *a, int32_t *index) {
    int rc = spr__reserve(p->ctx, (void **)&p->actions, &p->action_cap, p->action_count + 1, sizeof *p->actions);
    if (rc < 0)
        return rc;
    *index = (int32_t)p->action_count;
    p->actions[p->action_count++] = *a;
    return SPR_OK;
}

void spr__action_explain(const struct board *b, struct spr_action *a, int32_t i, int32_t home, const struct need *n) {
    a->resource = b->fleet->inventory->resource[i];
    a->constraint_host = home;
    a->quantile = n->quantile;
    a->worth = n->worth;
    a->cost = n->cost;
    a->threshold = n->threshold;
    a->forecast = n->forecast;
}

/* The limits of promise 3. Every action counts, releases too: a bound that is not kept is none. */
bool spr__action_allowed(const struct builtin *p, int32_t v, int32_t home) {
    const struct spr_plan_opts *o = &p->board.opts;
    return (!o->actions_per_day || p->all_actions < o->actions_per_day) &&
           (!o->actions_per_vm_day || p->vm_actions[v] < o->actions_per_vm_day) &&
           (!o->actions_per_host_day || p->host_actions[home] < o->actions_per_host_day);
}

void spr__action_count(struct builtin *p, int32_t v, int32_t home) {
    p->all_actions++;
    p->vm_actions[v]++;
    p->host_actions[home]++;
}

int spr__action_wish(const struct board *b, int32_t h, int32_t i, int because, double amount,
                     const struct spr_plan_output *out) {
    struct spr_infeasible w = {.size = sizeof w,
                               .vm = -1,
                               .host = h,
                               .resource = b->fleet->inventory->resource[i],
                               .because = because,
                               .from_mono_ns = b->now_ns + (int64_t)(b->opts.lead_s * 1e9),
                               .amount = amount};
    w.to_mono_ns = w.from_mono_ns + (int64_t)(b->opts.step_s * 1e9);
    return out->infeasible(out->sink, &w);
}
