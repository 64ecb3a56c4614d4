/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The router as an ops table: whole snapshots of routes in, counters out. What a snapshot names is what spills;
 * backends themselves (where they stand, how they are reached) are the host program's to describe. Publishing never
 * waits: lcores switch by themselves, and the ticket ends when all of them did.
 */
#include "router.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { OPEN_MOST = 64 };

struct open_ticket {
    spr_ticket ticket;
    uint64_t generation, routes;
    int64_t deadline_mono_ns;
    int32_t code;
    char text[200];
};
struct steered {
    spr_context *ctx;
    struct spr_dpdk_names names;
    spr_routes *routes; /* in force */
    struct open_ticket open[OPEN_MOST];
    unsigned open_count;
    spr_ticket last;
    char text[200]; /* of a completion, until the next collect */
};

static int router_open(const struct spr_env *env, const void *config, void **state) {
    struct spr_dpdk_names names;
    if (!env || !config || dp_opts_copy(config, &names, sizeof names) < 0 || !names.router || !names.backend)
        return SPR_E_ARG;
    struct steered *s = calloc(1, sizeof *s);
    if (!s)
        return SPR_E_NOMEM;
    s->names = names;
    *state = s;
    return SPR_OK;
}

static void router_close(void *state) {
    struct steered *s = state;
    spr_routes_unref(s->routes);
    free(s);
}

/* ---- publishing ---- */

static const char *service_name(const struct steered *s, const struct spr_route *route) {
    return s->names.service ? s->names.service(s->names.user, route->vm) : route->id;
}

static int spill(struct steered *s, const spr_routes *routes, int32_t index, const struct spr_route *route) {
    const char *backends[DP_TARGETS_MOST];
    double weights[DP_TARGETS_MOST];
    size_t n = 0;
    int rc;
    const char *service = service_name(s, route), *promoted = NULL;
    if (!service)
        return SPR_OK; /* not one of this router's */
    for (int32_t t = 0; t < route->target_count + route->drain_count && n < DP_TARGETS_MOST; t++) {
        struct spr_route_target target = {.size = sizeof target};
        rc = spr_routes_target(routes, index, t, &target);
        if (rc < 0)
            return rc;
        const char *backend = s->names.backend(s->names.user, route->vm, target.shard);
        if (!backend)
            continue;
        if ((rc = spr_dpdk_alive(s->names.router, backend, !target.dead)) < 0)
            return rc;
        if (t + 1 == route->promoted)
            promoted = backend;
        backends[n] = backend;
        weights[n] = target.weight;
        n += t < route->target_count; /* draining ones have no share */
    }
    rc = spr_dpdk_promote(s->names.router, service, promoted);
    return rc < 0 ? rc : spr_dpdk_spill_set(s->names.router, service, backends, weights, n, route->ramp_per_s);
}

static int32_t index_of(const spr_routes *routes, int32_t vm, struct spr_route *out) {
    for (int32_t i = 0, n = spr_routes_count(routes); i < n; i++)
        if (spr_routes_get(routes, i, out) >= 0 && out->vm == vm)
            return i;
    return -1;
}

/* Services of the snapshot before that this one does not name spill no more. */
static int apply(struct steered *s, spr_routes *routes) {
    struct spr_route route = {.size = sizeof route}, other = {.size = sizeof other};
    int rc = SPR_OK;
    for (int32_t i = 0, n = spr_routes_count(routes); i < n && rc >= 0; i++) {
        rc = spr_routes_get(routes, i, &route);
        if (rc >= 0)
            rc = spill(s, routes, i, &route);
    }
    for (int32_t i = 0, n = s->routes ? spr_routes_count(s->routes) : 0; i < n && rc >= 0; i++) {
        if (spr_routes_get(s->routes, i, &route) < 0 || index_of(routes, route.vm, &other) >= 0)
            continue;
        const char *service = service_name(s, &route);
        if (!service)
            continue;
        rc = spr_dpdk_promote(s->names.router, service, NULL);
        if (rc >= 0)
            rc = spr_dpdk_spill_set(s->names.router, service, NULL, NULL, 0, route.ramp_per_s);
    }
    return rc;
}

static void note_failure(struct steered *s, struct open_ticket *t, int rc) {
    struct spr_error e = {.size = sizeof e};
    t->code = rc;
    if (spr_context_error(s->names.router->ctx, &e) >= 0 && e.code == rc && e.text)
        strncat(t->text, e.text, sizeof t->text - 1);
}

static int router_publish(void *state, spr_routes *routes, struct spr_time now, int64_t deadline, spr_ticket *out) {
    struct steered *s = state;
    if (s->open_count == OPEN_MOST)
        return SPR_E_BUSY;
    struct open_ticket *t = &s->open[s->open_count];
    *t = (struct open_ticket){.ticket = s->last + 1, .routes = spr_routes_id(routes), .deadline_mono_ns = deadline};
    int rc = spr_dpdk_begin(s->names.router);
    if (rc >= 0) {
        rc = apply(s, routes);
        if (rc >= 0)
            rc = spr_dpdk_commit(s->names.router, now, &t->generation);
        if (rc < 0) {
            note_failure(s, t, rc);
            spr_dpdk_revert(s->names.router);
        }
    } else
        note_failure(s, t, rc);
    if (rc >= 0) {
        spr_routes_ref(routes);
        spr_routes_unref(s->routes);
        s->routes = routes;
    }
    s->open_count++;
    *out = ++s->last;
    return SPR_OK;
}

/* ---- collecting ---- */

static bool is_over(const struct steered *s, const struct open_ticket *t, struct spr_time now, int32_t *outcome) {
    *outcome = SPR_FAILED;
    if (t->code < 0)
        return true;
    *outcome = SPR_DONE;
    if (spr_dpdk_switched(s->names.router, t->generation) == 1)
        return true;
    *outcome = SPR_TIMED_OUT;
    return now.mono_ns >= t->deadline_mono_ns;
}

static int router_collect(void *state, struct spr_time now, struct spr_router_completion *out, size_t room,
                          size_t *count) {
    struct steered *s = state;
    size_t n = 0;
    unsigned kept = 0;
    spr_dpdk_step(s->names.router, now);
    for (unsigned i = 0; i < s->open_count; i++) {
        struct open_ticket *t = &s->open[i];
        int32_t outcome;
        bool texted = t->code < 0 && n; /* one text a collect */
        if (n == room || texted || !is_over(s, t, now, &outcome)) {
            s->open[kept++] = *t;
            continue;
        }
        struct spr_router_completion c = {.ticket = t->ticket,
                                          .outcome = outcome,
                                          .code = t->code,
                                          .routes = s->routes ? spr_routes_id(s->routes) : 0};
        if (t->code < 0) {
            memcpy(s->text, t->text, sizeof s->text);
            c.text = s->text;
        }
        c.size = out->size;
        memcpy((char *)out + n++ * out->size, &c, out->size < sizeof c ? out->size : sizeof c);
        if (t->code < 0) {
            while (++i < s->open_count)
                s->open[kept++] = s->open[i];
            break;
        }
    }
    s->open_count = kept;
    *count = n;
    return SPR_OK;
}

static int router_cancel(void *state, spr_ticket ticket) {
    (void)state, (void)ticket;
    return SPR_E_NOT_FOUND; /* in force already */
}

/* ---- counters ---- */

static int router_counters(void *state, struct spr_time now, struct spr_route_counters *out, size_t room,
                           size_t *count) {
    struct steered *s = state;
    size_t n = 0;
    (void)now;
    for (int32_t i = 0, all = s->routes ? spr_routes_count(s->routes) : 0; i < all; i++) {
        struct spr_route route = {.size = sizeof route};
        struct spr_dpdk_service_stats v = {.size = sizeof v};
        const char *service = spr_routes_get(s->routes, i, &route) >= 0 ? service_name(s, &route) : NULL;
        if (!service || spr_dpdk_service_stats(s->names.router, service, &v) < 0)
            continue;
        if (n < room) {
            struct spr_route_counters c = {.size = out->size,
                                           .vm = route.vm,
                                           .packets = v.packets,
                                           .bytes = v.bytes,
                                           .flows = v.opened,
                                           .spilled = v.spilled,
                                           .syn_again = v.repeated,
                                           .active = v.flows,
                                           .waiting = v.waiting,
                                           .answer_s = NAN};
            memcpy((char *)out + n * out->size, &c, out->size < sizeof c ? out->size : sizeof c);
        }
        n++;
    }
    *count = n;
    return SPR_OK;
}

static const struct spr_async_ops waiting = {.size = sizeof waiting, .cancel = router_cancel};
static const struct spr_router_ops router = {
    .size = sizeof router,
    .name = "dpdk",
    .license = "MIT OR Apache-2.0",
    .async = &waiting,
    .open = router_open,
    .close = router_close,
    .publish = router_publish,
    .collect = router_collect,
    .counters = router_counters,
};
const struct spr_router_ops *spr_dpdk_router(void) { return &router; }
