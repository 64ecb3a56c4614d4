/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The built-in planner: needs by rule, then host by host into shards. doc/algorithms/plan.md tells why it is so. */
#include "plan/plan.h"

static void builtin_close(void *state);

static int builtin_open(const struct spr_env *env, const void *config, void **state) {
    struct builtin *p = spr__alloc(env->context, 1, sizeof *p);
    if (!p)
        return spr__nomem(env->context);
    p->ctx = env->context;
    int rc = spr__opts_copy(p->ctx, "spr_planner_config", config, &p->config, sizeof p->config);
    const struct spr_planner_config *c = &p->config;
    if (rc == SPR_OK && (c->rule < SPR_NEED_VALUE || c->rule > SPR_NEED_GIVEN || c->reserve_count < 0 ||
                         (c->rule == SPR_NEED_GIVEN && !c->given) || (c->reserve_count && !c->reserve)))
        rc = spr__fail(p->ctx, SPR_E_ARG, "spr_planner_config: rule %d lacks what it needs, or is none", c->rule);
    if (rc == SPR_OK && c->reserve_count) {
        p->reserve = spr__alloc(p->ctx, (size_t)c->reserve_count, sizeof *p->reserve);
        if (p->reserve)
            memcpy(p->reserve, c->reserve, (size_t)c->reserve_count * sizeof *p->reserve);
        else
            rc = spr__nomem(p->ctx);
    }
    if (rc < 0) {
        builtin_close(p);
        return rc;
    }
    *state = p;
    return SPR_OK;
}

static void builtin_close(void *state) {
    struct builtin *p = state;
    spr__free(p->ctx, p->reserve, p->reserve ? (size_t)p->config.reserve_count : 0, sizeof *p->reserve);
    spr__free(p->ctx, p->ring, p->ring_size, sizeof *p->ring);
    spr__free(p->ctx, p->needs, p->need_size, sizeof *p->needs);
    spr__free(p->ctx, p->given, p->given_size, sizeof *p->given);
    spr__free(p->ctx, p->actions, p->action_cap, sizeof *p->actions);
    spr__free(p->ctx, p->vm_actions, p->vm_action_size, sizeof *p->vm_actions);
    spr__free(p->ctx, p->host_actions, p->host_action_size, sizeof *p->host_actions);
    spr__board_finish(&p->board);
    spr__free(p->ctx, p, 1, sizeof *p);
}

static int new_day(struct builtin *p) {
    struct board *b = &p->board;
    int64_t day = b->now_ns / INT64_C(86400000000000);
    int rc = spr__reserve(p->ctx, (void **)&p->vm_actions, &p->vm_action_size, (size_t)b->vms, sizeof *p->vm_actions);
    if (rc == SPR_OK)
        rc = spr__reserve(p->ctx, (void **)&p->host_actions, &p->host_action_size, (size_t)b->hosts,
                          sizeof *p->host_actions);
    if (rc < 0 || day == p->day)
        return rc;
    p->day = day;
    p->all_actions = 0;
    memset(p->vm_actions, 0, p->vm_action_size * sizeof *p->vm_actions);
    memset(p->host_actions, 0, p->host_action_size * sizeof *p->host_actions);
    return SPR_OK;
}

static bool trusted(const struct board *b, int32_t h) {
    for (int32_t i = 0; b->opts.under_covered_count && i < b->r; i++)
        if (b->opts.under_covered[h * b->r + i])
            return false;
    return true;
}

/* Hosts that a shard would have gone to, if it could be held there to what it gets. */
static int tell_left_out(const struct board *b, const struct spr_plan_output *out) {
    int rc = SPR_OK;
    for (int32_t h = 0; b->opts.unkept_count && h < b->hosts; h++)
        for (int32_t i = 0; i < b->r && rc == SPR_OK; i++)
            if (b->left_out[h * b->r + i] > 0)
                rc = spr__action_wish(b, h, i, SPR_BECAUSE_NOT_KEPT, b->left_out[h * b->r + i], out);
    return rc;
}

static int builtin_plan(void *state, const struct spr_plan_input *in, const struct spr_plan_output *out) {
    struct builtin *p = state;
    struct board *b = &p->board;
    if (p->config.rule == SPR_NEED_NONE)
        return SPR_OK;
    int rc = spr__board_load(b, p->ctx, in);
    if (rc < 0 || (rc = new_day(p)) < 0 || (rc = spr__need_prepare(p, in)) < 0)
        return rc;
    p->action_count = 0;
    /* Hosts that get advice only come last, so that nobody lacks the room that they would take. */
    for (int32_t advice = 0; advice < (b->opts.under_covered_count ? 2 : 1); advice++)
        for (int32_t k = 0; k < b->hosts && rc == SPR_OK; k++) {
            int32_t h = (p->start + k) % b->hosts;
            if (trusted(b, h) == (advice != 0))
                continue;
            spr__need_host(p, in, h);
            rc = spr__fill_host(p, in, h, out);
            if (rc == SPR_OK)
                rc = spr__warm_host(p, in->hosts, h);
        }
    if (rc == SPR_OK)
        rc = tell_left_out(b, out);
    for (size_t k = 0; k < p->action_count && rc == SPR_OK; k++)
        rc = out->action(out->sink, &p->actions[k]);
    if (b->hosts)
        p->start = (p->start + 7) % b->hosts;
    p->ticks++;
    return rc;
}

static const struct spr_planner_ops builtin = {
    .size = sizeof builtin,
    .name = "builtin",
    .license = "MIT OR Apache-2.0",
    .open = builtin_open,
    .close = builtin_close,
    .plan = builtin_plan,
};
const struct spr_planner_ops *spr_planner_builtin(void) { return &builtin; }
