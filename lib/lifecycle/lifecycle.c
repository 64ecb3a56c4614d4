/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The public calls: check, hand over, count. */
#include "lifecycle/lifecycle.h"

/* ---- making ---- */

static int copy_tables(struct spr_lifecycle *l) {
    static const size_t driver[] = {offsetof(struct spr_driver_ops, name),   offsetof(struct spr_driver_ops, license),
                                    offsetof(struct spr_driver_ops, async),  offsetof(struct spr_driver_ops, open),
                                    offsetof(struct spr_driver_ops, close),  offsetof(struct spr_driver_ops, submit),
                                    offsetof(struct spr_driver_ops, collect)};
    static const size_t store[] = {offsetof(struct spr_store_ops, name),    offsetof(struct spr_store_ops, license),
                                   offsetof(struct spr_store_ops, async),   offsetof(struct spr_store_ops, open),
                                   offsetof(struct spr_store_ops, close),   offsetof(struct spr_store_ops, append),
                                   offsetof(struct spr_store_ops, collect), offsetof(struct spr_store_ops, read)};
    static const size_t async[] = {offsetof(struct spr_async_ops, cancel)};
    int rc = spr__ops_copy(l->ctx, "spr_driver_ops", l->opts.driver, &l->driver, sizeof l->driver, driver,
                           SPR_ARRAY_LEN(driver));
    if (rc >= 0)
        rc = spr__ops_copy(l->ctx, "spr_driver_ops.async", l->driver.async, &l->driver_async, sizeof l->driver_async,
                           async, SPR_ARRAY_LEN(async));
    if (rc < 0 || !l->opts.store)
        return rc;
    rc = spr__ops_copy(l->ctx, "spr_store_ops", l->opts.store, &l->store, sizeof l->store, store, SPR_ARRAY_LEN(store));
    if (rc >= 0)
        rc = spr__ops_copy(l->ctx, "spr_store_ops.async", l->store.async, &l->store_async, sizeof l->store_async, async,
                           SPR_ARRAY_LEN(async));
    return rc;
}

static int fill_defaults(struct spr_lifecycle *l) {
    struct spr_lifecycle_opts *o = &l->opts;
    if (o->call_deadline_s == 0)
        o->call_deadline_s = 600;
    if (o->reserve_ttl_s == 0)
        o->reserve_ttl_s = 900;
    if (o->warm_at_least == 0)
        o->warm_at_least = 0.99;
    else if (o->warm_at_least == SPR_NONE)
        o->warm_at_least = 0;
    o->retries = o->retries == SPR_NONE ? 0 : o->retries == 0 ? 2 : o->retries;
    if (!(o->call_deadline_s > 0 && o->call_deadline_s < 1e9))
        return spr__fail(l->ctx, SPR_E_ARG, "spr_lifecycle_opts.call_deadline_s: must be above 0 seconds");
    if (!(o->reserve_ttl_s > 0 && o->reserve_ttl_s < 1e9))
        return spr__fail(l->ctx, SPR_E_ARG, "spr_lifecycle_opts.reserve_ttl_s: must be above 0 seconds");
    if (!(o->warm_at_least >= 0 && o->warm_at_least <= 1))
        return spr__fail(l->ctx, SPR_E_ARG, "spr_lifecycle_opts.warm_at_least: must be from 0 to 1");
    if (o->retries < 0)
        return spr__fail(l->ctx, SPR_E_ARG, "spr_lifecycle_opts.retries: must be 0 or more, or SPR_NONE");
    if (o->reserve_first != 0 && o->reserve_first != 1)
        return spr__fail(l->ctx, SPR_E_ARG, "spr_lifecycle_opts.reserve_first: must be 0 or 1");
    if (o->reserved || o->reserved2)
        return spr__fail(l->ctx, SPR_E_ARG, "spr_lifecycle_opts.reserved: must be 0");
    return SPR_OK;
}

/* Whoever comes later has the higher fence; a lower one than the journal has seen may not act. */
static int open_journal(struct spr_lifecycle *l, const struct spr_env *env) {
    uint64_t newest = 0;
    int rc;
    if (l->opts.store) {
        if ((rc = l->store.open(env, l->opts.store_config, &l->store_state)) < 0)
            return rc;
        l->has_store = true;
        if ((rc = spr__journal_read(l, &newest)) < 0)
            return rc;
    }
    if (l->opts.fence && l->opts.fence < newest)
        return spr__fail(l->ctx, SPR_E_FENCED, "the journal has seen fence %llu, this controller has %llu",
                         (unsigned long long)newest, (unsigned long long)l->opts.fence);
    l->fence = l->opts.fence ? l->opts.fence : newest + 1;
    return spr__journal_fence(l);
}

int spr_lifecycle_create(spr_context *ctx, const struct spr_lifecycle_opts *opts, spr_lifecycle **out) {
    int rc;
    if (!ctx || !out)
        return ctx ? spr__fail(ctx, SPR_E_ARG, "out: there is nowhere to put the lifecycle") : SPR_E_ARG;
    spr_lifecycle *l = spr__alloc(ctx, 1, sizeof *l);
    if (!l)
        return spr__nomem(ctx);
    l->ctx = spr_context_ref(ctx);
    l->next_id = 1;
    l->next_ns = l->poll_ns = l->kick_ns = l->wake_ns = INT64_MAX;
    struct spr_env env = {0};
    if ((rc = spr__opts_copy(ctx, "spr_lifecycle_opts", opts, &l->opts, sizeof l->opts)) >= 0 &&
        (rc = fill_defaults(l)) >= 0 && (rc = copy_tables(l)) >= 0) {
        env = (struct spr_env){sizeof env, ctx, l->opts.notifier, spr_context_seed(ctx)};
        rc = open_journal(l, &env);
    }
    if (rc >= 0)
        rc = l->driver.open(&env, l->opts.driver_config, &l->driver_state);
    if (rc < 0) {
        l->driver.close = NULL;
        spr_lifecycle_destroy(l);
        return rc;
    }
    *out = l;
    return SPR_OK;
}

void spr_lifecycle_destroy(spr_lifecycle *l) {
    if (!l)
        return;
    spr_context *ctx = l->ctx;
    spr__calls_finish(l);
    for (size_t i = 0; i < l->shard_count; i++) {
        l->shards[i]->calls = NULL;
        spr__shard_free(l, l->shards[i]);
    }
    spr__free(ctx, l->shards, l->shard_cap, sizeof *l->shards);
    spr__free(ctx, l->record, l->record_cap, 1);
    spr__free(ctx, l->undo, l->undo_cap, sizeof *l->undo);
    spr__free(ctx, l->taken, l->taken_bytes, 1);
    if (l->driver.close)
        l->driver.close(l->driver_state);
    if (l->has_store)
        l->store.close(l->store_state);
    spr_plan_unref(l->plan);
    spr_fleet_unref(l->fleet);
    spr__free(ctx, l, 1, sizeof *l);
    spr_context_unref(ctx);
}

int spr_lifecycle_ready(const spr_lifecycle *l) { return l && l->recovery == 2; }

static int fenced(const spr_lifecycle *l) {
    return spr__fail(l->ctx, SPR_E_FENCED, "a newer controller has taken over (this one has fence %llu)",
                     (unsigned long long)l->fence);
}

/* ---- applying ---- */

/* A plan may be applied again, when more of it is due; what was taken stays taken. */
static int begin_plan(spr_lifecycle *l, const spr_plan *plan) {
    if (l->plan == plan)
        return SPR_OK;
    size_t bytes = (size_t)(spr_plan_action_count(plan) + 7) / 8;
    if (bytes > l->taken_bytes) {
        uint8_t *bigger = spr__alloc(l->ctx, bytes, 1);
        if (!bigger)
            return spr__nomem(l->ctx);
        spr__free(l->ctx, l->taken, l->taken_bytes, 1);
        l->taken = bigger;
        l->taken_bytes = bytes;
    }
    if (l->taken)
        memset(l->taken, 0, l->taken_bytes);
    spr_plan_unref(l->plan);
    l->plan = spr_plan_ref((spr_plan *)(uintptr_t)plan); /* so that no other plan can have its address */
    return SPR_OK;
}

int spr__lifecycle_apply(spr_lifecycle *l, const spr_plan *plan, struct spr_time now, bool asked, int32_t *taken) {
    int32_t count = 0;
    int rc = SPR_OK;
    if (!l || !plan)
        return l ? spr__fail(l->ctx, SPR_E_ARG, "plan: there is nothing to apply") : SPR_E_ARG;
    if (l->fenced)
        return fenced(l);
    if (l->hands_off)
        return spr__fail(l->ctx, SPR_E_STATE, "hands are off: this lifecycle only looks");
    if (l->recovery != 2)
        return spr__fail(l->ctx, SPR_E_BUSY, "the journal is still being compared with the hosts: step first");
    if ((rc = begin_plan(l, plan)) < 0)
        return rc;
    for (int32_t i = 0, n = spr_plan_action_count(plan); i < n && rc >= 0; i++) {
        struct spr_action a = {.size = sizeof a};
        if (spr__bit(l->taken, i) || spr_plan_action(plan, i, &a) < 0 || a.due_mono_ns > now.mono_ns ||
            (a.held_back && !asked))
            continue;
        rc = spr__lifecycle_take(l, spr_plan_fleet(plan), &a, now);
        if (rc >= 0)
            spr__bit_set(l->taken, i);
        count += rc > 0;
    }
    if (taken)
        *taken = count;
    if (l->fenced)
        return fenced(l);
    return rc < 0 ? rc : SPR_OK;
}

int spr_lifecycle_apply(spr_lifecycle *l, const spr_plan *plan, struct spr_time now, int32_t *taken) {
    return spr__lifecycle_apply(l, plan, now, false, taken);
}

/* ---- stepping ---- */

static int take_fleet(spr_lifecycle *l, const spr_fleet *fleet, struct spr_time now) {
    if (fleet == l->fleet)
        return SPR_OK;
    spr_fleet *before = l->fleet;
    l->fleet = spr_fleet_ref((spr_fleet *)(uintptr_t)fleet);
    spr__fleet_changed(l, before, now);
    spr_fleet_unref(before);
    return SPR_OK;
}

static void drive_journalled(spr_lifecycle *l, struct spr_time now) {
    for (size_t i = l->shard_count; i-- > 0;)
        if (i < l->shard_count)
            spr__shard_drive(l, l->shards[i], now);
}

int spr_lifecycle_step(spr_lifecycle *l, const spr_fleet *fleet, struct spr_time now) {
    int rc = 0;
    bool more;
    if (!l || !fleet)
        return l ? spr__fail(l->ctx, SPR_E_ARG, "fleet: a snapshot is required") : SPR_E_ARG;
    take_fleet(l, fleet, now);
    if (l->fenced)
        return fenced(l);
    if (!l->recovery) {
        l->recovery = 1;
        spr__observe(l, now);
    }
    do { /* what ends inside this step lets the next thing begin inside this step */
        more = false;
        if (l->journal_waits && spr__journal_collect(l, now) > 0) {
            if (l->recovery == 2) /* before that nobody knows what is there */
                drive_journalled(l, now);
            more = true;
        }
        rc = spr__calls_collect(l, now);
        more |= rc > 0;
        more |= spr__calls_timers(l, now);
    } while (more && rc >= 0 && !l->fenced);
    if (l->fenced)
        return fenced(l);
    return rc < 0 ? rc : SPR_OK;
}

int spr_lifecycle_observe(spr_lifecycle *l, struct spr_time now) {
    if (!l)
        return SPR_E_ARG;
    if (l->fenced)
        return fenced(l);
    return l->recovery == 2 ? spr__observe(l, now) : SPR_OK; /* recovery looks anyway */
}

/* ---- looking ---- */

int spr_lifecycle_fill(const spr_lifecycle *l, spr_fleet_builder *b) {
    if (!l || !b)
        return l ? spr__fail(l->ctx, SPR_E_ARG, "b: a builder is required") : SPR_E_ARG;
    double lead = spr_lifecycle_lead_s(l, 0.5);
    for (size_t i = 0; i < l->shard_count; i++) {
        const struct spr__shard *s = l->shards[i];
        if (s->vm < 0 || s->host < 0)
            continue;
        struct spr_shard x = {.size = sizeof x,
                              .id = s->id,
                              .vm = s->vm,
                              .host = s->host,
                              .kind = s->kind,
                              .state = s->state,
                              .ready = s->ready,
                              .pending = spr__shard_pending(s),
                              .draining = spr__shard_draining(s),
                              .used = s->used,
                              .warmness = s->warmness > 0 ? SPR_MIN(s->warmness, 1) : 0,
                              .warm = s->warm,
                              .wake_mono_ns = s->warm ? s->wake.mono_ns : 0};
        for (size_t k = 0; k < s->piece_count; k++)
            if (!s->pieces[k].doomed)
                x.ready_mono_ns =
                    SPR_MAX(x.ready_mono_ns, s->pieces[k].asked.mono_ns + SPR_MAX((int64_t)(lead * 1e9), 1));
        int rc = spr_fleet_builder_shard(b, &x);
        if (rc < 0)
            return rc;
    }
    return SPR_OK;
}

void spr_lifecycle_hands_off(spr_lifecycle *l, int on) {
    if (!l || l->hands_off == (on != 0))
        return;
    l->hands_off = on != 0;
    if (!on) { /* whatever was left undone is due now, and what was found is ours from here on */
        for (size_t i = 0; i < l->shard_count; i++)
            l->shards[i]->adopt = true;
        l->kick = true;
        l->kick_ns = 0;
        spr__wake_at(l, 0);
    }
}

int64_t spr_lifecycle_next_deadline(const spr_lifecycle *l) {
    if (!l || l->fenced)
        return INT64_MAX;
    int64_t next = l->recovery ? l->next_ns : INT64_MIN;
    if (l->ticket_count && l->driver_async.next_deadline)
        next = SPR_MIN(next, l->driver_async.next_deadline(l->driver_state));
    if (l->journal_waits && l->store_async.next_deadline)
        next = SPR_MIN(next, l->store_async.next_deadline(l->store_state));
    return next;
}

int spr_lifecycle_fds(const spr_lifecycle *l, int *fds, size_t *count) {
    int found[2], n = 0;
    if (!l || !count || (*count && !fds))
        return l ? spr__fail(l->ctx, SPR_E_ARG, "fds, count: both are required") : SPR_E_ARG;
    if (l->driver_async.fd && (found[n] = l->driver_async.fd(l->driver_state)) >= 0)
        n++;
    if (l->has_store && l->store_async.fd && (found[n] = l->store_async.fd(l->store_state)) >= 0)
        n++;
    for (int i = 0; i < n && (size_t)i < *count; i++)
        fds[i] = found[i];
    *count = (size_t)n;
    return SPR_OK;
}

double spr_lifecycle_lead_s(const spr_lifecycle *l, double p) {
    if (!l || l->lead_count < 8 || !(p >= 0 && p <= 1))
        return 0;
    return spr__quantile_sorted(l->sorted, l->lead_count, p);
}
