/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Takes routes: what new flows may use of each VM's shards from the next sub-step on. */
#include <math.h>
#include <string.h>

#include "sim.h"

static int router_open(const struct spr_env *env, const void *config, void **state) {
    if (!env || !config)
        return SPR_E_ARG;
    *state = (void *)(uintptr_t)config; /* the world's state; it stays the world's */
    return SPR_OK;
}

static void router_close(void *state) {
    struct sim *s = state;
    spr_routes_unref(s->routes);
    s->routes = NULL;
    s->published_count = 0;
}

static int router_publish(void *state, spr_routes *routes, struct spr_time now, int64_t deadline, spr_ticket *out) {
    struct sim *s = state;
    (void)now, (void)deadline;
    if (s->published_count == (int32_t)(sizeof s->published / sizeof s->published[0]))
        return SPR_E_BUSY;
    for (int32_t i = 0; i < s->active_count; i++) {
        struct sim_vm *m = &s->vm[s->active[i]];
        memset(m->route_cap, 0, sizeof m->route_cap);
        m->spill_at_most = 0;
    }
    for (int32_t i = 0, n = spr_routes_count(routes); i < n; i++) {
        struct spr_route route = {.size = sizeof route};
        if (spr_routes_get(routes, i, &route) < 0 || route.vm < 0 || route.vm >= s->vms)
            continue;
        struct sim_vm *m = &s->vm[route.vm];
        m->spill_at_most = fmin(route.spill_at_most, m->phi);
        for (int32_t t = 0; t < route.target_count; t++) {
            struct spr_route_target target = {.size = sizeof target};
            if (spr_routes_target(routes, i, t, &target) < 0)
                continue;
            for (int32_t r = 0; r < s->r; r++)
                m->route_cap[r] += target.capacity.of[s->resource[r]];
        }
        sim__activate_vm(s, route.vm);
    }
    spr_routes_ref(routes);
    spr_routes_unref(s->routes);
    s->routes = routes;
    *out = s->published[s->published_count++] = ++s->last_ticket;
    return SPR_OK;
}

static int router_collect(void *state, struct spr_time now, struct spr_router_completion *out, size_t room,
                          size_t *count) {
    struct sim *s = state;
    (void)now;
    size_t stride = room ? out->size : 0;
    int32_t n = 0;
    for (; n < s->published_count && (size_t)n < room; n++) {
        struct spr_router_completion c = {
            .ticket = s->published[n], .outcome = SPR_DONE, .routes = spr_routes_id(s->routes)};
        c.size = stride;
        memcpy((char *)out + (size_t)n * stride, &c,
               stride < sizeof c ? stride : sizeof c); /* an older library's is shorter */
    }
    s->published_count -= n;
    memmove(s->published, s->published + n, (size_t)s->published_count * sizeof *s->published);
    *count = (size_t)n;
    return SPR_OK;
}

static int router_cancel(void *state, spr_ticket ticket) {
    (void)state, (void)ticket;
    return SPR_E_NOT_FOUND; /* in force already */
}

static const struct spr_async_ops waiting = {.size = sizeof waiting, .cancel = router_cancel};
static const struct spr_router_ops router = {
    .size = sizeof router,
    .name = "sim",
    .license = "MIT OR Apache-2.0",
    .async = &waiting,
    .open = router_open,
    .close = router_close,
    .publish = router_publish,
    .collect = router_collect,
};
const struct spr_router_ops *spr_sim_router(void) { return &router; }
