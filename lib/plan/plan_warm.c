/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How a warm shard waits until it is needed. A shard is asked for as late as its lead allows, but the lead is what one
 * in twenty takes, or a guess: most are ready earlier, and sometimes the need moves on. Until then they wait, in the
 * state that is expected to cost least:
 *
 *   shares of memory and CPU held meanwhile x price of holding x expected idle time
 *   + chance of being needed x time to come back x price of what is unserved
 *
 * Only states whose time to come back is less than the time left count; one that was never measured is taken to be as
 * slow as making the shard anew. Ties go to paused. What waits already changes only for a fifth less.
 */
#include "plan/plan.h"

#define SECOND_NS INT64_C(1000000000)
#define SAVES     0.2 /* of what waiting costs: a change that saves less is not worth its trouble */

struct waiting {
    const struct spr_warm_host *host;
    struct need_when when;
    double ready_s;    /* from now until it can wait */
    double held, used; /* price of its memory and of its CPU, per second */
    double worst;      /* price of a second without it */
    int32_t resource;  /* the one that is needed first */
    double most[SPR_RESOURCES_MAX];
};

static struct spr_warm_host host_of(const struct board *b, int32_t q) {
    struct spr_warm_host h = {0};
    const char *at = (const char *)b->opts.warm;
    if (b->opts.warm_count &&
        spr__opts_copy(b->ctx, "spr_warm_host", at + (size_t)q * b->opts.warm->size, &h, sizeof h) < 0)
        h.states = 0;
    return h;
}

static double resume_s(const struct board *b, const struct waiting *w, int32_t state) {
    double known = w->host->of[state].resume_s;
    return known > 0 ? known : b->opts.lead_s;
}

/* When to come back, s from now, to be there when flows have to begin to move. */
static double wake_s(const struct board *b, const struct waiting *w, int32_t state) {
    return w->when.onset_s - b->opts.pre_s - resume_s(b, w, state);
}

/* Waiting for less than a control interval is not worth laying down for. */
static bool possible(const struct board *b, const struct waiting *w, int32_t state) {
    return w->host->states >> state & 1 &&
           wake_s(b, w, state) - w->ready_s - w->host->of[state].enter_s > b->opts.control_s;
}

static double cost_of(const struct board *b, const struct waiting *w, int32_t state) {
    const struct spr_warm_cost *c = &w->host->of[state];
    return (w->held * c->memory_held + w->used * c->cpu_held) * w->when.idle_s +
           w->when.chance * resume_s(b, w, state) * w->worst;
}

static int32_t cheapest(const struct board *b, const struct waiting *w) {
    int32_t best = SPR_WARM_ANY;
    for (int32_t state = SPR_WARM_PAUSED; state < SPR_WARM_STATE_END_; state++)
        if (possible(b, w, state) && (!best || cost_of(b, w, state) < cost_of(b, w, best)))
            best = state;
    return best;
}

/* Shard s, above what `standing` of each resource covers already. */
static struct waiting look(const struct board *b, const spr_forecast *f, int32_t home, const struct board_shard *s,
                           const double *standing, const struct spr_warm_host *host) {
    const struct spr__fleet_inventory *inv = b->fleet->inventory;
    struct waiting w = {
        .host = host, .when = {.onset_s = INFINITY}, .ready_s = host->ready_s > 0 ? host->ready_s : b->opts.lead_s};
    for (int32_t i = 0; i < b->r; i++)
        if (s->ready[i] > 0)
            w.ready_s = 0;
    for (int32_t i = 0; i < b->r; i++) {
        struct need_when when;
        int32_t r = inv->resource[i];
        double share = (s->ready[i] + s->pending[i]) / b->capacity[s->host * b->r + i];
        const struct spr_price *price = &b->opts.price[r];
        if (!(share > 0))
            continue;
        w.worst = fmax(w.worst, share * price->unserved);
        w.held += r == SPR_MEMORY ? share * price->held : 0;
        w.used += r == SPR_CPU ? share * price->held : 0;
        spr__need_when(b, f, home, i, b->capacity[home * b->r + i] + standing[i], w.ready_s, &when);
        if (when.onset_s < w.when.onset_s)
            w.when = when, w.resource = i;
    }
    return w;
}

static void say(const struct board *b, const struct waiting *w, int32_t state, struct spr_action *a) {
    a->warm = state;
    if (!state)
        return;
    a->wake_mono_ns = b->now_ns + (int64_t)(wake_s(b, w, state) * 1e9);
    a->need_mono_ns = b->now_ns + (int64_t)(w->when.onset_s * 1e9);
    a->resume_s = w->host->of[state].resume_s;
}

/* One that waits already. Waking it is no new demand: no limit of actions stands in its way. */
static int revise(struct builtin *p, int32_t home, struct board_shard *s, const struct waiting *w) {
    struct board *b = &p->board;
    int32_t best = cheapest(b, w);
    int64_t wake = b->now_ns + (int64_t)(wake_s(b, w, best ? best : s->warm) * 1e9);
    int64_t control = (int64_t)(b->opts.control_s * 1e9);
    bool change = best && best != s->warm && spr__action_allowed(p, s->vm, home);
    if (change && s->warm && possible(b, w, s->warm))
        change = cost_of(b, w, best) < (1 - SAVES) * cost_of(b, w, s->warm);
    if (!change && !s->warm)
        return SPR_OK;
    if (best && !change)
        best = possible(b, w, s->warm) ? s->warm : SPR_WARM_ANY;
    bool earlier = wake < s->wake_ns - (best ? control : SECOND_NS);
    bool later = best && s->wake_ns < b->now_ns + 2 * control && wake > s->wake_ns + control;
    if (!change && !earlier && !later)
        return SPR_OK;
    struct spr_action a = {.size = sizeof a,
                           .kind = SPR_ACTION_WAIT,
                           .inverse = SPR_ACTION_WAIT,
                           .vm = s->vm,
                           .host = s->host,
                           .shard = s->id,
                           .due_mono_ns = b->now_ns,
                           .deadline_mono_ns = SPR_MAX(wake, b->now_ns),
                           .because = SPR_BECAUSE_EXPECTED_WORTH,
                           .precondition = s->state};
    int32_t index;
    spr__action_explain(b, &a, w->resource, home, &p->needs[home * b->r + w->resource]);
    say(b, w, best, &a);
    if (change)
        spr__action_count(p, s->vm, home);
    return spr__action_open(p, &a, &index);
}

static int settle(struct builtin *p, const spr_forecast *f, int32_t h, struct board_shard *s, const double *standing) {
    struct board *b = &p->board;
    struct spr_warm_host host = host_of(b, s->host);
    struct waiting w = look(b, f, h, s, standing, &host);
    if (isinf(w.when.onset_s))
        return SPR_OK; /* it holds nothing */
    if (s->id)
        return revise(p, h, s, &w);
    say(b, &w, cheapest(b, &w), &p->actions[s->action]);
    return SPR_OK;
}

/* Not decided yet: made by this plan, or on its way and to serve as soon as it can. */
static bool is_undecided(const struct board_shard *s) {
    return s->id ? s->state < SPR_SHARD_WARM && !s->warm : s->action >= 0;
}

/* What serves is used before what waits. */
static bool comes_first(const struct board_shard *s) { return !s->warm && !is_undecided(s); }

int spr__warm_host(struct builtin *p, const spr_forecast *f, int32_t h) {
    struct board *b = &p->board;
    const struct spr__fleet_placement *at = b->fleet->placement;
    double standing[SPR_RESOURCES_MAX] = {0};
    if (!b->opts.warm_count || p->config.rule != SPR_NEED_VALUE || !f || b->stale[h] || !b->own_shards[h])
        return SPR_OK;
    for (int turn = 0; turn < 2; turn++)
        for (int32_t j = at->first[h]; j < at->first[h + 1]; j++)
            for (int32_t k = b->first[at->vms[j]]; k >= 0; k = b->shards[k].next) {
                struct board_shard *s = &b->shards[k];
                int rc = SPR_OK;
                if (s->gone || comes_first(s) != (turn == 0))
                    continue;
                if (turn)
                    rc = settle(p, f, h, s, standing);
                if (rc < 0)
                    return rc;
                for (int32_t i = 0; i < b->r; i++)
                    standing[i] += s->ready[i] + s->pending[i];
            }
    return SPR_OK;
}
