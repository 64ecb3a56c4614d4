/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The controller's door: making one, stepping it, asking it. It never waits. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "control/control.h"
#include "lifecycle/lifecycle.h"

#define INVENTORY_NS INT64_C(600000000000) /* who is there is asked this often */
#define LONGEST_S    1e9                   /* more seconds than this are a mistake, and overflow */

/* ---- waking ---- */

static int notifier_open(spr_controller *c) {
    if (pipe(c->notifier.fd) < 0) {
        c->notifier.fd[0] = c->notifier.fd[1] = -1;
        return spr__fail(c->ctx, SPR_E_IO, "no pipe to be woken by: %s", strerror(errno));
    }
    for (int i = 0; i < 2; i++) {
        fcntl(c->notifier.fd[i], F_SETFL, O_NONBLOCK);
        fcntl(c->notifier.fd[i], F_SETFD, FD_CLOEXEC);
    }
    return SPR_OK;
}

void spr_notify(spr_notifier *n) {
    if (n && n->fd[1] >= 0) {
        int saved = errno;
        /* A full pipe is as readable as one can be: nothing is lost. */
        if (write(n->fd[1], "", 1) < 0)
            errno = saved;
    }
}

static void notifier_empty(spr_notifier *n) {
    char bytes[64];
    while (read(n->fd[0], bytes, sizeof bytes) > 0)
        ;
}

spr_notifier *spr_controller_notifier(spr_controller *c) { return c ? &c->notifier : NULL; }

/* ---- making and ending ---- */

static void on_event(void *user, const struct spr_lifecycle_event *event) {
    spr_controller *c = user;
    c->changed = true;
    if (c->opts.event)
        c->opts.event(c->opts.user, event);
}

static int copy_tables(spr_controller *c) {
    static const size_t source_slots[] = {
        offsetof(struct spr_source_ops, name),   offsetof(struct spr_source_ops, async),
        offsetof(struct spr_source_ops, open),   offsetof(struct spr_source_ops, close),
        offsetof(struct spr_source_ops, submit), offsetof(struct spr_source_ops, collect)};
    static const size_t router_slots[] = {
        offsetof(struct spr_router_ops, name),    offsetof(struct spr_router_ops, async),
        offsetof(struct spr_router_ops, open),    offsetof(struct spr_router_ops, close),
        offsetof(struct spr_router_ops, publish), offsetof(struct spr_router_ops, collect)};
    const struct spr_controller_opts *o = &c->opts;
    int rc = spr__ops_copy(c->ctx, "spr_source_ops", o->source, &c->source, sizeof c->source, source_slots,
                           SPR_ARRAY_LEN(source_slots));
    if (rc == SPR_OK && o->router)
        rc = spr__ops_copy(c->ctx, "spr_router_ops", o->router, &c->router, sizeof c->router, router_slots,
                           SPR_ARRAY_LEN(router_slots));
    if (rc == SPR_OK)
        rc = spr__ops_copy(c->ctx, "spr_forecaster_ops", o->forecaster ? o->forecaster : spr_forecaster_mix(),
                           &c->forecaster_ops, sizeof c->forecaster_ops, NULL, 0);
    return rc;
}

static int open_backends(spr_controller *c) {
    const struct spr_controller_opts *o = &c->opts;
    struct spr_env env = {sizeof env, c->ctx, &c->notifier, spr_context_seed(c->ctx)};
    int rc = spr_planner_create(c->ctx, o->planner, o->planner_config, &c->planner);
    if (rc == SPR_OK) {
        rc = c->source.open(&env, o->source_config, &c->source_state);
        c->has_source = rc == SPR_OK;
    }
    if (rc == SPR_OK && o->router) {
        rc = c->router.open(&env, o->router_config, &c->router_state);
        c->has_router = rc == SPR_OK;
    }
    if (rc == SPR_OK && o->driver) {
        struct spr_lifecycle_opts l = {.size = sizeof l,
                                       .driver = o->driver,
                                       .driver_config = o->driver_config,
                                       .store = o->store,
                                       .store_config = o->store_config,
                                       .notifier = &c->notifier,
                                       .fence = o->fence,
                                       .event = on_event,
                                       .user = c,
                                       .reserve_first = o->reserve_first};
        rc = spr_lifecycle_create(c->ctx, &l, &c->lifecycle);
        if (rc == SPR_OK) /* promise 1: who only advises touches nothing, not even what it finds */
            spr_lifecycle_hands_off(c->lifecycle, !c->acts);
    }
    return rc;
}

static bool is_pace(double s) { return s >= 1e-3 && s <= LONGEST_S; }
static bool is_wait(double s) { return s == SPR_NONE || (s >= 0 && s <= LONGEST_S); }

/* The law is made when the inventory is known; what is wrong with its options is said now. */
static int check_steer(spr_controller *c) {
    spr_steer *s = NULL;
    int rc = spr__opts_copy(c->ctx, "spr_steer_opts", c->opts.steer, &c->steer_opts, sizeof c->steer_opts);
    c->steer_opts.services = 1;
    if (rc == SPR_OK)
        rc = spr_steer_create(c->ctx, &c->steer_opts, &s);
    spr_steer_destroy(s);
    return rc;
}

static int check_opts(spr_controller *c) {
    struct spr_controller_opts *o = &c->opts;
    struct spr_plan_opts *p = &c->plan_opts;
    int rc = spr__opts_copy(c->ctx, "spr_plan_opts", o->plan, p, sizeof *p);
    if (rc < 0)
        return rc;
    c->lead_given = p->lead_s != 0;
    if ((rc = check_steer(c)) < 0)
        return rc;
    p->control_s = p->control_s == 0 ? 60 : p->control_s;
    p->step_s = p->step_s == 0 ? 300 : p->step_s;
    p->lead_s = p->lead_s == 0 ? 300 : p->lead_s;
    p->pre_s = p->pre_s == 0 ? 60 : p->pre_s;
    if (!is_pace(p->control_s) || !is_pace(p->step_s) || !is_wait(p->lead_s) || !is_wait(p->pre_s))
        return spr__fail(c->ctx, SPR_E_ARG,
                         "spr_controller_opts.plan: control_s, step_s, lead_s or pre_s is out of range");
    o->history_steps = o->history_steps ? o->history_steps : SPR_MAX(1, (int64_t)(14 * 86400 / p->step_s));
    o->refit_s = o->refit_s > 0 ? o->refit_s : 86400;
    if (o->automation < SPR_ADVISE || o->automation > SPR_AUTO || o->history_steps < 1 || o->history_steps > 1 << 22)
        return spr__fail(c->ctx, SPR_E_ARG, "spr_controller_opts: automation %d or history_steps %lld is out of range",
                         o->automation, (long long)o->history_steps);
    if ((o->joint && o->joint != SPR_NONE) || (o->reserve_first & ~1) || o->reserved || o->reserved2)
        return spr__fail(c->ctx, SPR_E_ARG,
                         "spr_controller_opts: joint is 0 or SPR_NONE, reserve_first is 0 or 1, reserved is 0");
    if (o->automation != SPR_ADVISE && !o->driver)
        return spr__fail(c->ctx, SPR_E_ARG, "spr_controller_opts: acting needs a driver");
    c->automation = o->automation;
    c->acts = o->automation != SPR_ADVISE;
    c->next_inventory = INT64_MIN;
    c->step_ns = (int64_t)llround(p->step_s * 1e9);
    c->control_ns = (int64_t)llround(p->control_s * 1e9);
    return SPR_OK;
}

int spr_controller_create(spr_context *ctx, const struct spr_controller_opts *opts, spr_controller **out) {
    if (!ctx || !out)
        return SPR_E_ARG;
    spr_controller *c = spr__alloc(ctx, 1, sizeof *c);
    if (!c)
        return spr__nomem(ctx);
    c->ctx = spr_context_ref(ctx);
    c->notifier.fd[0] = c->notifier.fd[1] = -1;
    c->running = -1;
    int rc = spr__opts_copy(ctx, "spr_controller_opts", opts, &c->opts, sizeof c->opts);
    if (rc == SPR_OK) /* counting references changes nothing that can be seen */
        c->opts.calendar = spr_calendar_ref((spr_calendar *)(uintptr_t)c->opts.calendar);
    else
        c->opts.calendar = NULL;
    if (rc == SPR_OK && (rc = check_opts(c)) == SPR_OK && (rc = copy_tables(c)) == SPR_OK &&
        (rc = notifier_open(c)) == SPR_OK)
        rc = open_backends(c);
    if (rc != SPR_OK) {
        spr_controller_destroy(c);
        return rc < 0 ? rc : spr__fail(ctx, SPR_E_CALLBACK, "an open said %d, which is no result of one", rc);
    }
    *out = c;
    return SPR_OK;
}

void spr_controller_destroy(spr_controller *c) {
    if (!c)
        return;
    spr_context *ctx = c->ctx;
    c->opts.event = NULL; /* nobody is called from here on */
    spr_lifecycle_destroy(c->lifecycle);
    if (c->has_router)
        c->router.close(c->router_state);
    if (c->has_source)
        c->source.close(c->source_state);
    spr_planner_destroy(c->planner);
    spr__steer_finish(c);
    spr__joint_destroy(c);
    spr__gate_destroy(c);
    spr__means_finish(c);
    spr_forecaster_destroy(c->forecaster);
    spr_event_effects_destroy(c->effects);
    spr_calendar_unref((spr_calendar *)(uintptr_t)c->opts.calendar);
    spr_forecast_unref(c->forecast);
    spr_routes_unref(c->routes);
    spr_plan_unref(c->plan);
    spr_fleet_unref(c->fleet);
    spr__demand_finish(c);
    spr_fleet_unref(c->inventory);
    for (int i = 0; i < 2; i++)
        if (c->notifier.fd[i] >= 0)
            close(c->notifier.fd[i]);
    spr__free(ctx, c->warm, c->warm_room, sizeof *c->warm);
    spr__free(ctx, c, 1, sizeof *c);
    spr_context_unref(ctx);
}

/* ---- stepping ---- */

/* The first error counts; the step goes on all the same. */
static void keep(int *first, int rc) {
    if (rc < 0 && *first == SPR_OK)
        *first = rc;
}

static int take_inventory(spr_controller *c, spr_fleet *inventory, struct spr_time now) {
    c->next_inventory = now.mono_ns + INVENTORY_NS;
    if (!inventory)
        return SPR_OK;
    if (c->inventory && inventory->inventory == c->inventory->inventory) {
        spr_fleet_unref(inventory);
        return c->forecaster ? SPR_OK : spr__forecaster_start(c); /* where memory was short the last time */
    }
    if (!c->inventory) /* the first round has an interval to look back on */
        c->next_tick = now.mono_ns + c->control_ns;
    int rc = spr__inventory_changed(c, inventory);
    if (rc < 0 && c->inventory != inventory) /* it was not taken over */
        spr_fleet_unref(inventory);
    return rc;
}

static int source_said(spr_controller *c, struct spr_source_completion *s, struct spr_time now, bool *samples) {
    bool answers = s->ticket && s->ticket == c->asked_inventory;
    if (!answers || s->outcome != SPR_DONE)
        spr_fleet_unref(s->inventory); /* handed over all the same, and of no use */
    if (answers) {
        c->asked_inventory = 0;
        if (s->outcome == SPR_DONE)
            return take_inventory(c, s->inventory, now);
        c->next_inventory = now.mono_ns + c->control_ns;
    } else if (s->ticket && s->ticket == c->asked_samples) {
        c->asked_samples = 0;
        if (s->outcome == SPR_DONE) {
            *samples = true;
            return c->inventory ? spr__demand_take(c, s) : SPR_OK;
        }
    } else {
        return SPR_OK;
    }
    /* Missing is missing: nothing is concluded from silence, nothing is given back because of it. */
    return spr__fail_of(c->ctx, s->code < 0 ? s->code : SPR_E_IO, NULL, NULL, "the source did not answer: %s",
                        s->text ? s->text : spr_error_text(s->code));
}

static int collect_source(spr_controller *c, struct spr_time now, bool *samples) {
    int first = SPR_OK;
    for (;;) {
        struct spr_source_completion done[4];
        size_t n = 0;
        memset(done, 0, sizeof done);
        for (size_t i = 0; i < SPR_ARRAY_LEN(done); i++)
            done[i].size = sizeof done[i];
        int rc = c->source.collect(c->source_state, now, done, SPR_ARRAY_LEN(done), &n);
        if (rc < 0)
            return rc;
        for (size_t i = 0; i < n && i < SPR_ARRAY_LEN(done); i++)
            keep(&first, source_said(c, &done[i], now, samples));
        if (n != SPR_ARRAY_LEN(done))
            return first;
    }
}

static int collect_router(spr_controller *c, struct spr_time now) {
    struct spr_router_completion done[4];
    size_t n = 0;
    if (!c->has_router)
        return SPR_OK;
    memset(done, 0, sizeof done);
    for (size_t i = 0; i < SPR_ARRAY_LEN(done); i++)
        done[i].size = sizeof done[i];
    int rc = c->router.collect(c->router_state, now, done, SPR_ARRAY_LEN(done), &n);
    for (size_t i = 0; i < n && i < SPR_ARRAY_LEN(done) && rc >= 0; i++)
        if (done[i].outcome != SPR_DONE) {
            rc = spr__fail(c->ctx, done[i].code < 0 ? done[i].code : SPR_E_IO, "the router did not take the routes: %s",
                           done[i].text ? done[i].text : spr_error_text(done[i].code));
            if (done[i].ticket == c->published)
                c->told = false; /* the next round tells it once more */
        }
    return rc;
}

/* How long to wait for the source before looking: one that can neither be polled nor says when is asked more often. */
static int64_t patience(const spr_controller *c) {
    const struct spr_async_ops *a = c->source.async;
    bool mute = (!a->fd || a->fd(c->source_state) < 0) &&
                !(a->size > offsetof(struct spr_async_ops, next_deadline) && a->next_deadline);
    return mute ? SPR_MAX(1, c->control_ns / 10) : 2 * c->control_ns;
}

static int ask(spr_controller *c, int verb, struct spr_time now, spr_ticket *ticket) {
    int rc = c->source.submit(c->source_state, verb, now, now.mono_ns + 2 * c->control_ns, ticket);
    if (rc < 0)
        *ticket = 0;
    else
        c->look_again = now.mono_ns + patience(c);
    return rc;
}

static int lifecycle_step(spr_controller *c, struct spr_time now) {
    return c->lifecycle && c->fleet ? spr_lifecycle_step(c->lifecycle, c->fleet, now) : SPR_OK;
}

/* Shards changed: the snapshot and the routes follow at once, not at the next round. */
static int follow(spr_controller *c, struct spr_time now) {
    if (!c->changed || !c->fleet)
        return SPR_OK;
    int rc = spr__snapshot(c, now);
    if (rc < 0)
        return rc; /* the next step tries again */
    c->changed = false;
    return spr__publish(c, now);
}

static bool anything_drains(const spr_controller *c) {
    for (int32_t k = 0; c->lifecycle && c->fleet && k < c->fleet->shard_count; k++)
        for (int32_t i = 0; i < c->r; i++)
            if (c->fleet->shards[k].draining.of[c->fleet->inventory->resource[i]] > 0)
                return true;
    return false;
}

int spr_controller_step(spr_controller *c, struct spr_time now) {
    int first = SPR_OK;
    bool samples = false;
    if (!c)
        return SPR_E_ARG;
    notifier_empty(&c->notifier);
    keep(&first, lifecycle_step(c, now));
    keep(&first, spr__count(c, now));
    keep(&first, follow(c, now));
    keep(&first, collect_router(c, now));
    if (!c->asked_inventory && now.mono_ns >= c->next_inventory) {
        int rc = ask(c, SPR_SOURCE_INVENTORY, now, &c->asked_inventory);
        if (rc < 0)
            c->next_inventory = now.mono_ns + c->control_ns;
        keep(&first, rc);
    }
    bool due = c->inventory && now.mono_ns >= c->next_tick;
    if (due && anything_drains(c)) {
        /* How much of a drain is left only the driver knows, and the plan counts on it. */
        keep(&first, spr_lifecycle_observe(c->lifecycle, now));
        keep(&first, lifecycle_step(c, now));
        keep(&first, follow(c, now));
    }
    if (due && !c->asked_samples) {
        keep(&first, ask(c, SPR_SOURCE_SAMPLES, now, &c->asked_samples));
        c->next_tick = c->next_tick && now.mono_ns < c->next_tick + c->control_ns ? c->next_tick + c->control_ns
                                                                                  : now.mono_ns + c->control_ns;
    }
    keep(&first, collect_source(c, now, &samples));
    if (samples && c->running >= 0 && (!c->lifecycle || spr_lifecycle_ready(c->lifecycle))) {
        keep(&first, spr__tick(c, now));
        keep(&first, lifecycle_step(c, now));
        if (!c->changed && c->fleet)
            keep(&first, spr__publish(c, now)); /* weights follow the load, shards or not */
        keep(&first, follow(c, now));
        keep(&first, spr__tell_router(c, now)); /* where it failed, or was not allowed to hear before */
    }
    if ((c->asked_inventory || c->asked_samples) && now.mono_ns >= c->look_again)
        c->look_again = now.mono_ns + patience(c);
    return first;
}

/* ---- waiting ---- */

static int64_t deadline_of(const struct spr_async_ops *async, void *state) {
    return async->size > offsetof(struct spr_async_ops, next_deadline) && async->next_deadline
               ? async->next_deadline(state)
               : INT64_MAX;
}

int64_t spr_controller_next_deadline(const spr_controller *c) {
    if (!c)
        return INT64_MAX;
    /* What was asked already is not asked again, so its time is no reason to step: the answer is. */
    int64_t next = c->asked_inventory ? c->look_again : c->next_inventory;
    if (c->inventory)
        next = SPR_MIN(next, c->asked_samples ? c->look_again : c->next_tick);
    if (c->lifecycle && c->fleet) /* before the inventory it cannot be stepped */
        next = SPR_MIN(next, spr_lifecycle_next_deadline(c->lifecycle));
    next = SPR_MIN(next, deadline_of(c->source.async, c->source_state));
    return c->has_router ? SPR_MIN(next, deadline_of(c->router.async, c->router_state)) : next;
}

static void add_fd(int fd, int *fds, size_t room, size_t *n) {
    if (fd < 0)
        return;
    if (*n < room)
        fds[*n] = fd;
    ++*n;
}

int spr_controller_fds(const spr_controller *c, int *fds, size_t *count) {
    if (!c || !count || (*count && !fds))
        return SPR_E_ARG;
    size_t room = *count, n = 0;
    add_fd(c->notifier.fd[0], fds, room, &n);
    if (c->source.async->fd)
        add_fd(c->source.async->fd(c->source_state), fds, room, &n);
    if (c->has_router && c->router.async->fd)
        add_fd(c->router.async->fd(c->router_state), fds, room, &n);
    if (c->lifecycle) {
        size_t more = n < room ? room - n : 0;
        int rc = spr_lifecycle_fds(c->lifecycle, more ? fds + n : NULL, &more);
        if (rc < 0)
            return rc;
        n += more;
    }
    *count = n;
    return SPR_OK;
}

/* ---- handles ---- */

void spr_controller_pause(spr_controller *c, int on) {
    if (c)
        c->paused = on != 0;
}

int spr_controller_automation(spr_controller *c, int automation) {
    if (!c || automation < SPR_ADVISE || automation > SPR_AUTO)
        return SPR_E_ARG;
    if (automation != SPR_ADVISE && !c->lifecycle)
        return spr__fail(c->ctx, SPR_E_STATE, "acting needs a driver, and this controller was made without one");
    c->automation = automation;
    c->acts |= automation != SPR_ADVISE;
    spr_lifecycle_hands_off(c->lifecycle, !c->acts);
    return SPR_OK;
}

int spr_controller_approve(spr_controller *c, const spr_plan *plan) {
    if (!c || !plan)
        return SPR_E_ARG;
    if (plan != c->plan || c->automation != SPR_CONFIRM || c->paused || !c->lifecycle)
        return spr__fail(c->ctx, SPR_E_STATE,
                         plan != c->plan ? "a newer plan has taken this one's place"
                                         : "only a controller in CONFIRM that is not paused takes approvals");
    c->changed = true;
    return spr__lifecycle_apply(c->lifecycle, plan, spr_fleet_time(c->fleet), true, NULL);
}

spr_fleet *spr_controller_fleet(const spr_controller *c) { return c ? spr_fleet_ref(c->fleet) : NULL; }
spr_plan *spr_controller_plan(const spr_controller *c) { return c ? spr_plan_ref(c->plan) : NULL; }
spr_routes *spr_controller_routes(const spr_controller *c) { return c ? spr_routes_ref(c->routes) : NULL; }
spr_forecast *spr_controller_forecast(const spr_controller *c) { return c ? spr_forecast_ref(c->forecast) : NULL; }
