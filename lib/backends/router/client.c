/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The ops table: tickets in and out, and what is to be done whenever somebody calls. */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "client.h"

/* ---- opening ---- */

static int copy_options(spr_context *ctx, const void *given, struct spr_router_client_opts *o) {
    struct spr_error e = {.size = sizeof e, .code = SPR_E_ARG};
    size_t size, known = sizeof *o;
    memset(o, 0, known);
    memcpy(&size, given, sizeof size);
    for (size_t i = known; i < size; i++)
        if (((const unsigned char *)given)[i]) {
            e.code = SPR_E_TOO_NEW;
            e.text = "the router client's options are newer than this library and use what it does not know";
            return spr_context_fail(ctx, &e);
        }
    if (size >= sizeof size)
        memcpy(o, given, size < known ? size : known);
    if (!o->path || !o->backend)
        e.text = "the router client needs a path and the names of backends";
    else if (!*o->path || strlen(o->path) >= 108)
        e.text = "the path of a router's control socket has 1 to 107 bytes";
    else if (!(o->retry_s >= 0 && o->retry_max_s >= 0 && o->answer_s >= 0 && o->counters_s >= 0 && o->retry_s < 1e6 &&
               o->retry_max_s < 1e6 && o->answer_s < 1e6 && o->counters_s < 1e6) ||
             o->reserved)
        e.text = "the router client's times are seconds from 0 to a million, and what is reserved is 0";
    return e.text ? spr_context_fail(ctx, &e) : SPR_OK;
}

static int64_t or_else(double seconds, double otherwise) {
    return (int64_t)((seconds > 0 ? seconds : otherwise) * 1e9);
}

static void client_close(void *state) {
    struct rc_client *c = state;
    rc_job_free(c);
    for (unsigned i = 0; i < c->ticket_count; i++)
        spr_routes_unref(c->ticket[i].routes);
    spr_routes_unref(c->routes);
    json_decref(c->stats);
    rc_buffer_free(c->ctx, &c->in);
    rc_buffer_free(c->ctx, &c->out);
    if (c->fd >= 0)
        close(c->fd);
    if (c->ended >= 0)
        close(c->ended);
    if (c->epoll >= 0)
        close(c->epoll);
    spr_context_free(c->ctx, c, sizeof *c);
}

static int client_open(const struct spr_env *env, const void *config, void **state) {
    struct spr_router_client_opts o;
    if (!env || !env->context || !config || !state)
        return SPR_E_ARG;
    int rc = copy_options(env->context, config, &o);
    if (rc < 0)
        return rc;
    struct rc_client *c = spr_context_alloc(env->context, sizeof *c);
    if (!c)
        return SPR_E_NOMEM;
    c->ctx = env->context;
    c->o = o;
    memcpy(c->path, o.path, strlen(o.path) + 1);
    c->o.path = c->path;
    c->retry_ns = or_else(o.retry_s, 0.05);
    c->retry_max_ns = or_else(o.retry_max_s, 5);
    c->answer_ns = or_else(o.answer_s, 5);
    c->counters_ns = or_else(o.counters_s, 0.1);
    c->retry_at = c->stats_at = INT64_MIN;
    c->fd = -1;
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    c->ended = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN};
    if (c->epoll < 0 || c->ended < 0 || epoll_ctl(c->epoll, EPOLL_CTL_ADD, c->ended, &e)) {
        struct spr_error error = {.size = sizeof error, .code = SPR_E_IO, .text = strerror(errno), .file = "epoll"};
        client_close(c);
        return spr_context_fail(env->context, &error);
    }
    *state = c;
    return SPR_OK;
}

/* ---- what every slot does ---- */

static bool has_ended(const struct rc_client *c) {
    for (unsigned i = 0; i < c->ticket_count; i++)
        if (c->ticket[i].ended)
            return true;
    return false;
}

static void set_readable(struct rc_client *c, bool readable) {
    uint64_t n = 1;
    ssize_t done = readable ? write(c->ended, &n, sizeof n) : read(c->ended, &n, sizeof n);
    (void)done; /* it is set, or it is not, already */
}

static bool is_needed(const struct rc_client *c) {
    return c->ticket_count || c->job.routes || c->counted || (c->routes && !c->told);
}

static void drive(struct rc_client *c, int64_t now) {
    if (c->fd >= 0)
        rc_receive(c, now);
    if (c->fd >= 0 && c->asked != RC_NOTHING && now >= c->answer_by)
        rc_disconnect(c, now, SPR_E_TIMEOUT, "the router does not answer");
    rc_expire(c, now);
    if (c->fd < 0 && now >= c->retry_at && is_needed(c))
        rc_connect(c, now);
    rc_next(c, now);
    if (c->fd >= 0)
        rc_send(c, now);
    set_readable(c, has_ended(c));
}

static int client_publish(void *state, spr_routes *routes, struct spr_time now, int64_t deadline, spr_ticket *out) {
    struct rc_client *c = state;
    if (!routes || !out)
        return SPR_E_ARG;
    if (c->ticket_count == RC_TICKETS)
        return SPR_E_BUSY;
    c->ticket[c->ticket_count++] =
        (struct rc_ticket){.ticket = ++c->last, .routes = spr_routes_ref(routes), .deadline = deadline};
    *out = c->last;
    drive(c, now.mono_ns);
    return SPR_OK;
}

static int client_collect(void *state, struct spr_time now, struct spr_router_completion *out, size_t room,
                          size_t *count) {
    struct rc_client *c = state;
    size_t n = 0;
    unsigned kept = 0;
    bool spoken = false;
    drive(c, now.mono_ns);
    for (unsigned i = 0; i < c->ticket_count; i++) {
        struct rc_ticket *t = &c->ticket[i];
        if (!t->ended || n == room || (spoken && t->text[0])) { /* one text a collect: it lives until the next */
            c->ticket[kept++] = *t;
            continue;
        }
        struct spr_router_completion done = {.ticket = t->ticket,
                                             .outcome = t->outcome,
                                             .code = t->code,
                                             .routes = c->routes ? spr_routes_id(c->routes) : 0};
        if (t->text[0]) {
            memcpy(c->said, t->text, sizeof c->said);
            done.text = c->said;
            spoken = true;
        }
        done.size = out->size;
        memcpy((char *)out + n++ * out->size, &done, out->size < sizeof done ? out->size : sizeof done);
    }
    c->ticket_count = kept;
    set_readable(c, has_ended(c));
    *count = n;
    return SPR_OK;
}

static int client_cancel(void *state, spr_ticket ticket) {
    struct rc_client *c = state;
    for (unsigned i = 0; i < c->ticket_count; i++) {
        struct rc_ticket *t = &c->ticket[i];
        if (t->ticket != ticket || t->ended)
            continue;
        if (c->job.ticket == ticket && c->job.routes) { /* it is being told: it may end as done */
            if (c->fd >= 0)
                return SPR_OK;
            rc_job_free(c);
        }
        rc_ticket_end(c, t, SPR_CANCELLED, SPR_E_CANCELLED, NULL);
        set_readable(c, true);
        return SPR_OK;
    }
    return SPR_E_NOT_FOUND;
}

/* ---- waiting ---- */

static int client_fd(void *state) { return ((struct rc_client *)state)->epoll; }

static int64_t sooner(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t client_next_deadline(void *state) {
    struct rc_client *c = state;
    int64_t at = INT64_MAX;
    if (has_ended(c))
        return INT64_MIN;
    for (unsigned i = 0; i < c->ticket_count; i++)
        at = sooner(at, c->ticket[i].deadline);
    if (c->fd < 0)
        return is_needed(c) ? sooner(at, c->retry_at) : at;
    if (c->asked != RC_NOTHING)
        return sooner(at, c->answer_by);
    if (c->job.routes)
        return sooner(at, c->job.due);
    if (c->ticket_count || (c->routes && !c->told))
        return INT64_MIN;
    return c->counted ? sooner(at, c->stats_at) : at;
}

/* ---- counters ---- */

static int client_counters(void *state, struct spr_time now, struct spr_route_counters *out, size_t room,
                           size_t *count) {
    struct rc_client *c = state;
    size_t n = 0;
    c->counted = true;
    drive(c, now.mono_ns);
    for (int32_t i = 0, all = c->routes ? spr_routes_count(c->routes) : 0; i < all; i++) {
        struct spr_route route = {.size = sizeof route};
        const char *service = spr_routes_get(c->routes, i, &route) >= 0 ? rc_service(c, &route) : NULL;
        struct spr_route_counters one = {.size = sizeof one, .vm = route.vm};
        if (!service || !rc_answer_counters(c->stats, service, &one))
            continue;
        if (n < room) {
            one.size = out->size;
            memcpy((char *)out + n * out->size, &one, out->size < sizeof one ? out->size : sizeof one);
        }
        n++;
    }
    *count = n;
    return SPR_OK;
}

static const struct spr_async_ops waiting = {
    .size = sizeof waiting, .fd = client_fd, .next_deadline = client_next_deadline, .cancel = client_cancel};
static const struct spr_router_ops router = {
    .size = sizeof router,
    .name = "router",
    .license = "MIT OR Apache-2.0",
    .async = &waiting,
    .open = client_open,
    .close = client_close,
    .publish = client_publish,
    .collect = client_collect,
    .counters = client_counters,
};
const struct spr_router_ops *spr_router_client(void) { return &router; }
