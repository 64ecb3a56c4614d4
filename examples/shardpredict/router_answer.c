/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Answers of the control socket: what is asked, and changes passed on. */
#include <arpa/inet.h>
#include <string.h>

#include "router.h"

enum { FLOWS = 1000 };

json_t *router_error(const char *text) { return json_pack("{s:s}", "error", text); }

static json_t *failed(const struct router *r, int rc) {
    struct spr_error e = {.size = sizeof e};
    char text[ROUTER_WHY] = "";
    bool told = spr_context_error(r->ctx, &e) >= 0 && e.code == rc && e.text;
    strncat(text, told ? e.text : spr_error_text(rc), sizeof text - 1);
    router_plain(text);
    return router_error(text);
}

/* ---- stats ---- */

static json_t *service_stats(const struct router *r, const char *name) {
    struct spr_dpdk_service_stats s = {.size = sizeof s};
    if (r->door.service_stats(r->plane, name, &s) < 0)
        return json_object();
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:s}", "packets", (json_int_t)s.packets,
                     "bytes", (json_int_t)s.bytes, "spilled_packets", (json_int_t)s.spilled_packets, "spilled_bytes",
                     (json_int_t)s.spilled_bytes, "opened", (json_int_t)s.opened, "spilled", (json_int_t)s.spilled,
                     "repeated", (json_int_t)s.repeated, "answered", (json_int_t)s.answered, "flows",
                     (json_int_t)s.flows, "waiting", (json_int_t)s.waiting, "share", s.share, "mode",
                     s.mode ? "spill" : "normal");
}

static json_t *counters(const struct router *r) {
    json_t *out = json_object();
    for (int32_t i = 0, n = r->door.counter_count(); i < n; i++)
        json_object_set_new(out, r->door.counter_name(i, NULL, NULL),
                            json_integer((json_int_t)r->door.counter(r->plane, i)));
    return out;
}

/* `lacking` only where a port is the reason for naps. */
static json_t *lcores(const struct router *r) {
    static const char *const ways[] = {"poll", "nap", "interrupt"};
    struct spr_dpdk_idle i = {.size = sizeof i};
    json_t *out = json_array();
    for (int32_t q = 0; r->door.idle(r->plane, q, &i) >= 0; q++)
        json_array_append_new(out, json_pack("{s:s, s:I, s:I, s:s*}", "idle", ways[i.way], "waits", (json_int_t)i.waits,
                                             "woken", (json_int_t)i.woken, "lacking", i.lacking));
    return out;
}

static json_t *stats(struct router *r) {
    json_t *ports = json_array(), *services = json_object(), *value;
    const char *name;
    for (int i = 0; i < r->device_count; i++)
        json_array_append_new(ports, json_pack("{s:s}", "name", r->devices[i].name));
    json_object_foreach(json_object_get(r->now, "services"), name, value)
        json_object_set_new(services, name, service_stats(r, name));
    return json_pack("{s:I, s:f, s:f, s:f, s:o, s:{s:I, s:I}, s:o, s:o, s:o}", "generation", (json_int_t)r->generation,
                     "uptime_s", (double)(router_now().mono_ns - r->started_ns) / 1e9, "busy", r->door.busy(r->plane),
                     "cpu", r->door.cpu(r->plane), "lcores", lcores(r), "received", "packets",
                     (json_int_t)r->door.counter(r->plane, -1), "bytes", (json_int_t)r->door.counter(r->plane, -2),
                     "ports", ports, "services", services, "counters", counters(r));
}

static json_t *listed(const struct router *r, const char *what) {
    json_t *out = json_array(), *value;
    const char *name;
    json_object_foreach(json_object_get(r->now, what), name, value) json_array_append_new(out, json_deep_copy(value));
    return json_pack("{s:o}", what, out);
}

static json_t *metrics(const struct router *r) {
    char *text = NULL;
    int rc = r->door.metrics(r->plane, &text);
    json_t *out = rc < 0 ? failed(r, rc) : json_pack("{s:s}", "metrics", text);
    r->door.text_free(text);
    return out;
}

/* ---- flows ---- */

struct dump {
    const char *source; /* in the form that the library writes, NULL = any */
    uint64_t limit, said;
    bool more;
    router_say_fn say;
    void *user;
};

static int one_flow(void *user, const struct spr_dpdk_flow *f) {
    struct dump *d = user;
    if (d->source && strcmp(d->source, f->source) != 0)
        return SPR_OK;
    if (d->said == d->limit) {
        d->more = true;
        return SPR_E_CANCELLED;
    }
    d->said++;
    d->say(d->user, json_pack("{s:{s:s, s:s, s:s, s:i, s:i, s:b, s:f}}", "flow", "service", f->service, "backend",
                              f->backend, "source", f->source, "port", f->port, "queue", f->queue, "closing",
                              f->closing, "quiet_s", f->quiet_s));
    return SPR_OK;
}

/* "2001:DB8:0::1" and "2001:db8::1" are the same source. */
static bool same_form(const char *text, char form[INET6_ADDRSTRLEN]) {
    unsigned char address[16];
    int family = inet_pton(AF_INET, text, address) == 1 ? AF_INET : AF_INET6;
    return (family == AF_INET || inet_pton(AF_INET6, text, address) == 1) &&
           inet_ntop(family, address, form, INET6_ADDRSTRLEN);
}

static json_t *flows(struct router *r, const struct router_arguments *a, router_say_fn say, void *user) {
    char form[INET6_ADDRSTRLEN];
    struct dump d = {.limit = a->limit ? a->limit : FLOWS, .say = say, .user = user};
    if (a->service && !json_object_get(json_object_get(r->now, "services"), a->service))
        return router_error("there is no such service");
    if (a->source && !same_form(a->source, form))
        return router_error("the source is no IP address");
    d.source = a->source ? form : NULL;
    int rc = r->door.flows(r->plane, a->service, one_flow, &d);
    if (rc < 0 && !d.more)
        return failed(r, rc);
    return json_pack("{s:I, s:b}", "flows", (json_int_t)d.said, "more", d.more);
}

static json_t *capture(struct router *r, const struct router_arguments *a) {
    if (a->file && a->file[0] != '/')
        return router_error("the file of a capture must be an absolute path");
    int rc = r->door.capture(r->plane, a->file, a->service, a->source, a->packets ? a->packets : 1000);
    return rc < 0 ? failed(r, rc) : json_pack("{s:b}", "ok", 1);
}

static json_t *switched(const struct router *r, uint64_t generation) {
    int rc = generation > r->generation ? 0 : r->door.switched(r->plane, generation);
    return rc < 0 ? failed(r, rc) : json_pack("{s:b}", "switched", rc);
}

void router_answer(struct router *r, const void *who, const struct router_request *q, router_say_fn say, void *user) {
    json_t *answer;
    switch (q->command) {
    case ROUTER_STATS:
        answer = stats(r);
        break;
    case ROUTER_SERVICES:
        answer = listed(r, "services");
        break;
    case ROUTER_BACKENDS:
        answer = listed(r, "backends");
        break;
    case ROUTER_METRICS:
        answer = metrics(r);
        break;
    case ROUTER_FLOWS:
        answer = flows(r, &q->arguments, say, user);
        break;
    case ROUTER_CAPTURE:
        answer = capture(r, &q->arguments);
        break;
    case ROUTER_SWITCHED:
        answer = switched(r, q->arguments.generation);
        break;
    default:
        answer = router_change(r, who, q);
    }
    say(user, answer ? answer : router_error("out of memory"));
}
