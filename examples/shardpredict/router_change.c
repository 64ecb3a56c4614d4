/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What changes the router: commands within somebody's open change, or each as a change of its own. What was said of
 * backends and services is kept as JSON beside the library's state and follows its commits, so that it can be listed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "router.h"

enum { TARGETS_MOST = 1024 };

struct spr_time router_now(void) {
    struct timespec wall, mono;
    clock_gettime(CLOCK_REALTIME, &wall);
    clock_gettime(CLOCK_MONOTONIC, &mono);
    return (struct spr_time){.wall_ns = wall.tv_sec * INT64_C(1000000000) + wall.tv_nsec,
                             .mono_ns = mono.tv_sec * INT64_C(1000000000) + mono.tv_nsec};
}

/* The context's last error, or the code's own words. */
static void explain(const struct router *r, int rc, char why[ROUTER_WHY]) {
    struct spr_error e = {.size = sizeof e};
    bool told = spr_context_error(r->ctx, &e) >= 0 && e.code == rc && e.text;
    snprintf(why, ROUTER_WHY, "%s", told ? e.text : spr_error_text(rc));
    router_plain(why);
}

static json_t *part(json_t *of, const char *key) { return json_object_get(of, key); }

/* ---- one thing ---- */

static int set_backend(struct router *r, json_t *said) {
    struct spr_dpdk_backend b = {.size = sizeof b};
    router_fill(said, &router_backend_fields, &b);
    int rc = r->door.backend_set(r->plane, &b);
    json_t *copy = rc >= 0 ? json_copy(said) : NULL;
    if (copy) {
        json_object_del(copy, "cmd");
        json_object_set(copy, "alive", part(part(part(r->draft, "backends"), b.name), "alive"));
        if (!part(copy, "alive"))
            json_object_set_new(copy, "alive", json_true());
        json_object_set_new(part(r->draft, "backends"), b.name, copy);
    }
    return rc;
}

static int set_service(struct router *r, json_t *said) {
    struct spr_dpdk_service s = {.size = sizeof s};
    router_fill(said, &router_service_fields, &s);
    int rc = r->door.service_set(r->plane, &s);
    json_t *copy = rc >= 0 ? json_copy(said) : NULL;
    if (copy) {
        json_object_del(copy, "cmd");
        json_object_set(copy, "spill", part(part(part(r->draft, "services"), s.name), "spill"));
        json_object_set(copy, "spike", part(part(part(r->draft, "services"), s.name), "spike"));
        json_object_set(copy, "promoted", part(part(part(r->draft, "services"), s.name), "promoted"));
        json_object_set_new(part(r->draft, "services"), s.name, copy);
    }
    return rc;
}

/* @return how many, or an error */
static int read_weights(json_t *said, const char **names, double *weights) {
    const char *name;
    json_t *share;
    int n = 0;
    json_object_foreach(said, name, share) {
        if (n == TARGETS_MOST)
            return SPR_E_CAPACITY;
        names[n] = name;
        weights[n++] = json_number_value(share);
    }
    return n;
}

static int set_spike(struct router *r, json_t *said) {
    struct router_spill s = {0};
    const char *names[TARGETS_MOST];
    double weights[TARGETS_MOST];
    router_fill(said, &router_spike_fields, &s);
    int n = read_weights(s.weights, names, weights);
    int rc = n < 0 ? n : r->door.spike_set(r->plane, s.service, names, weights, (size_t)n);
    json_t *service = rc >= 0 ? part(part(r->draft, "services"), s.service) : NULL;
    if (service)
        json_object_set_new(service, "spike", json_pack("{s:O}", "weights", s.weights));
    return rc;
}

static int set_spill(struct router *r, const json_t *said) {
    struct router_spill s = {0};
    const char *names[TARGETS_MOST];
    double weights[TARGETS_MOST];
    router_fill(said, &router_spill_fields, &s);
    int n = read_weights(s.weights, names, weights);
    int rc = n < 0 ? n : r->door.spill_set(r->plane, s.service, names, weights, (size_t)n, s.ramp_per_s);
    json_t *service = rc >= 0 ? part(part(r->draft, "services"), s.service) : NULL;
    if (service)
        json_object_set_new(service, "spill",
                            json_pack("{s:O, s:f}", "weights", s.weights, "ramp_per_s", s.ramp_per_s));
    return rc;
}

static int drain(struct router *r, const struct router_arguments *a) {
    int rc = r->door.drain(r->plane, a->backend, a->deadline_s);
    const char *name;
    json_t *service;
    if (rc >= 0)
        json_object_foreach(part(r->draft, "services"), name, service) {
            json_t *weights = part(part(service, "spill"), "weights");
            if (part(weights, a->backend))
                json_object_set_new(weights, a->backend, json_real(0));
            weights = part(part(service, "spike"), "weights");
            if (part(weights, a->backend))
                json_object_set_new(weights, a->backend, json_real(0));
        }
    return rc;
}

static int set_alive(struct router *r, const struct router_arguments *a) {
    int rc = r->door.alive(r->plane, a->backend, a->alive);
    json_t *backend = rc >= 0 ? part(part(r->draft, "backends"), a->backend) : NULL;
    if (backend)
        json_object_set_new(backend, "alive", json_boolean(a->alive));
    return rc;
}

static int promote(struct router *r, const struct router_arguments *a) {
    int rc = r->door.promote(r->plane, a->service, a->backend);
    json_t *service = rc >= 0 ? part(part(r->draft, "services"), a->service) : NULL;
    if (service && a->backend)
        json_object_set_new(service, "promoted", json_string(a->backend));
    else if (service)
        json_object_del(service, "promoted");
    return rc;
}

/* Spills of a backend that is gone name it no more. */
static int remove_backend(struct router *r, const char *backend) {
    int rc = r->door.backend_remove(r->plane, backend);
    const char *name;
    json_t *service;
    if (rc < 0)
        return rc;
    json_object_del(part(r->draft, "backends"), backend);
    json_object_foreach(part(r->draft, "services"), name, service) {
        json_object_del(part(part(service, "spill"), "weights"), backend);
        json_object_del(part(part(service, "spike"), "weights"), backend);
    }
    return rc;
}

static int remove_service(struct router *r, const char *service) {
    int rc = r->door.service_remove(r->plane, service);
    if (rc >= 0)
        json_object_del(part(r->draft, "services"), service);
    return rc;
}

static int one(struct router *r, const struct router_request *q) {
    switch (q->command) {
    case ROUTER_BACKEND_SET:
        return set_backend(r, q->root);
    case ROUTER_SERVICE_SET:
        return set_service(r, q->root);
    case ROUTER_SPILL_SET:
        return set_spill(r, q->root);
    case ROUTER_SPIKE_SET:
        return set_spike(r, q->root);
    case ROUTER_BACKEND_REMOVE:
        return remove_backend(r, q->arguments.name);
    case ROUTER_SERVICE_REMOVE:
        return remove_service(r, q->arguments.name);
    case ROUTER_DRAIN:
        return drain(r, &q->arguments);
    case ROUTER_PROMOTE:
        return promote(r, &q->arguments);
    default:
        return set_alive(r, &q->arguments);
    }
}

/* ---- changes ---- */

static int begin(struct router *r, const void *who) {
    int rc = r->door.begin(r->plane);
    if (rc < 0)
        return rc;
    r->draft = json_deep_copy(r->now);
    if (!r->draft) {
        r->door.revert(r->plane);
        return SPR_E_NOMEM;
    }
    r->holder = who;
    return SPR_OK;
}

static void revert(struct router *r) {
    r->door.revert(r->plane);
    json_decref(r->draft);
    r->draft = NULL;
    r->holder = NULL;
}

static int commit(struct router *r) {
    int rc = r->door.commit(r->plane, router_now(), &r->generation);
    if (rc < 0)
        return rc;
    json_decref(r->now);
    r->now = r->draft;
    r->draft = NULL;
    r->holder = NULL;
    return rc;
}

void router_forget(struct router *r, const void *who) {
    if (r->holder && r->holder == who)
        revert(r);
}

static int each(struct router *r, json_t *list, int (*set)(struct router *r, json_t *said)) {
    int rc = SPR_OK;
    for (size_t i = 0; rc >= 0 && i < json_array_size(list); i++)
        rc = set(r, json_array_get(list, i));
    return rc;
}
static int set_spill_of(struct router *r, json_t *said) { return set_spill(r, said); }

int router_apply(struct router *r, const json_t *config, char why[ROUTER_WHY]) {
    r->now = json_pack("{s:{}, s:{}}", "backends", "services");
    int rc = r->now ? begin(r, r) : SPR_E_NOMEM;
    if (rc >= 0)
        rc = each(r, json_object_get(config, "backends"), set_backend);
    if (rc >= 0)
        rc = each(r, json_object_get(config, "services"), set_service);
    if (rc >= 0)
        rc = each(r, json_object_get(config, "spills"), set_spill_of);
    if (rc >= 0)
        rc = each(r, json_object_get(config, "spikes"), set_spike);
    if (rc >= 0)
        rc = commit(r);
    if (rc < 0)
        explain(r, rc, why);
    router_forget(r, r);
    return rc;
}

static json_t *refused(const struct router *r, int rc) {
    char why[ROUTER_WHY];
    explain(r, rc, why);
    return router_error(why);
}

static json_t *done(const struct router *r) {
    return json_pack("{s:b, s:I}", "ok", 1, "generation", (json_int_t)r->generation);
}

/* A change of its own: all of it or nothing. */
static json_t *alone(struct router *r, const void *who, const struct router_request *q) {
    int rc = begin(r, who);
    if (rc >= 0)
        rc = one(r, q);
    if (rc >= 0)
        rc = commit(r);
    json_t *answer = rc < 0 ? refused(r, rc) : done(r);
    router_forget(r, who);
    return answer;
}

json_t *router_change(struct router *r, const void *who, const struct router_request *q) {
    bool mine = r->holder && r->holder == who;
    int rc = SPR_OK;
    if (r->holder && !mine)
        return router_error("another connection has a change open");
    if (!mine && (q->command == ROUTER_COMMIT || q->command == ROUTER_REVERT))
        return router_error("no change is open: begin first");
    if (mine && q->command == ROUTER_BEGIN)
        return router_error("a change is open: commit or revert it first");
    if (q->command == ROUTER_REVERT) {
        revert(r);
        return json_pack("{s:b}", "ok", 1);
    }
    if (q->command == ROUTER_COMMIT) {
        rc = commit(r);
        return rc < 0 ? refused(r, rc) : done(r);
    }
    if (q->command != ROUTER_BEGIN && !mine)
        return alone(r, who, q);
    rc = q->command == ROUTER_BEGIN ? begin(r, who) : one(r, q);
    return rc < 0 ? refused(r, rc) : json_pack("{s:b}", "ok", 1);
}
