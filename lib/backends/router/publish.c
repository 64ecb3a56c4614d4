/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A snapshot as one change of the router: begin, what spills, commit; then asking until all lcores switched. One at a
 * time, in the order of the publishes. What a lost connection interrupted is told again from its beginning: a snapshot
 * is whole, so telling it twice is telling it once.
 */
#include <stdio.h>
#include <string.h>

#include "client.h"

#define BUSY_NS   INT64_C(20000000) /* until a change that another connection has open is asked about again */
#define SWITCH_NS INT64_C(1000000)  /* until lcores are asked about again */

/* ---- tickets ---- */

void rc_ticket_end(struct rc_client *c, struct rc_ticket *t, int32_t outcome, int32_t code, const char *text) {
    (void)c;
    t->ended = true;
    t->outcome = outcome;
    t->code = code;
    snprintf(t->text, sizeof t->text, "%s", text ? text : "");
    spr_routes_unref(t->routes);
    t->routes = NULL;
}

static struct rc_ticket *open_ticket(struct rc_client *c, spr_ticket ticket) {
    for (unsigned i = 0; i < c->ticket_count; i++)
        if (c->ticket[i].ticket == ticket && !c->ticket[i].ended)
            return &c->ticket[i];
    return NULL;
}

static struct rc_ticket *first_open(struct rc_client *c) {
    for (unsigned i = 0; i < c->ticket_count; i++)
        if (!c->ticket[i].ended)
            return &c->ticket[i];
    return NULL;
}

void rc_expire(struct rc_client *c, int64_t now) {
    for (unsigned i = 0; i < c->ticket_count; i++) {
        struct rc_ticket *t = &c->ticket[i];
        bool mine = c->job.routes && c->job.ticket == t->ticket;
        if (t->ended || now < t->deadline)
            continue;
        rc_ticket_end(c, t, SPR_TIMED_OUT, SPR_E_TIMEOUT,
                      c->fd < 0                   ? c->why
                      : mine && c->job.text[0]    ? c->job.text
                      : mine && c->job.generation ? "not all lcores of the router have switched"
                                                  : "the router has not answered in time");
        if (!mine)
            continue;
        c->job.ticket = 0;
        if (c->fd < 0 || (c->asked == RC_NOTHING && !c->job.generation))
            rc_job_free(c); /* nothing of it was told: then it is not begun any more */
    }
}

/* ---- the job ---- */

void rc_job_free(struct rc_client *c) {
    spr_routes_unref(c->job.routes);
    memset(&c->job, 0, sizeof c->job);
}

void rc_job_again(struct rc_client *c) {
    struct rc_job *j = &c->job;
    if (!j->routes)
        return;
    if (!open_ticket(c, j->ticket)) {
        rc_job_free(c);
        return;
    }
    *j = (struct rc_job){.routes = j->routes, .ticket = j->ticket};
}

static void job_begin(struct rc_client *c, spr_routes *routes, spr_ticket ticket) {
    c->job = (struct rc_job){.routes = spr_routes_ref(routes), .ticket = ticket, .is_again = !ticket};
}

static void job_end(struct rc_client *c, int32_t outcome, int32_t code) {
    struct rc_ticket *t = open_ticket(c, c->job.ticket);
    if (t)
        rc_ticket_end(c, t, outcome, code, c->job.text);
    if (outcome == SPR_FAILED && c->job.is_again) {
        struct spr_log_record r = {.size = sizeof r,
                                   .level = SPR_LOG_WARN,
                                   .code = code,
                                   .stage = "route",
                                   .subject = c->path,
                                   .text = c->job.text};
        spr_context_log(c->ctx, &r);
        c->told = true; /* it will not be told otherwise by asking again; the next publish or connection is */
    }
    rc_job_free(c);
}

static void expect(struct rc_client *c, int64_t now, enum rc_asked what) {
    c->asked = what;
    c->answer_by = now + c->answer_ns;
}

static void ask(struct rc_client *c, int64_t now, enum rc_asked what, json_t *line) {
    expect(c, now, what);
    rc_say(c, now, line);
}

static void undo(struct rc_client *c, int64_t now) { ask(c, now, RC_REVERT, json_pack("{s:s}", "cmd", "revert")); }

/* ---- what a snapshot says ---- */

const char *rc_service(const struct rc_client *c, const struct spr_route *route) {
    return c->o.service ? c->o.service(c->o.user, route->vm) : route->id;
}

static bool tell_line(struct rc_client *c, int64_t now, json_t *line) {
    c->job.lines++;
    return rc_say(c, now, line) >= 0;
}

static bool tell_promoted(struct rc_client *c, int64_t now, const char *service, const char *backend) {
    return tell_line(c, now,
                     backend ? json_pack("{s:s, s:s, s:s}", "cmd", "promote", "service", service, "backend", backend)
                             : json_pack("{s:s, s:s}", "cmd", "promote", "service", service));
}

static bool tell_route(struct rc_client *c, int64_t now, int32_t index, const struct spr_route *route) {
    const char *service = rc_service(c, route);
    const char *promoted = NULL; /* NULL: the primary, or a shard that cannot be reached from there */
    json_t *weights = service ? json_object() : NULL;
    if (!service)
        return true; /* not one of this router's */
    for (int32_t t = 0; t < route->target_count + route->drain_count; t++) {
        struct spr_route_target target = {.size = sizeof target};
        const char *backend = NULL;
        if (spr_routes_target(c->job.routes, index, t, &target) >= 0)
            backend = c->o.backend(c->o.user, route->vm, target.shard);
        if (!backend)
            continue;
        if (t + 1 == route->promoted)
            promoted = backend;
        /* Draining ones have no share, but may die. */
        if (t < route->target_count && json_object_set_new(weights, backend, json_real(target.weight))) {
            json_decref(weights);
            return tell_line(c, now, NULL); /* out of memory, or the name is no UTF-8 */
        }
        if (!tell_line(c, now,
                       json_pack("{s:s, s:s, s:b}", "cmd", "alive", "backend", backend, "alive", !target.dead))) {
            json_decref(weights);
            return false;
        }
    }
    if (!tell_promoted(c, now, service, promoted)) {
        json_decref(weights);
        return false;
    }
    return tell_line(c, now,
                     json_pack("{s:s, s:s, s:o, s:f}", "cmd", "spill_set", "service", service, "weights", weights,
                               "ramp_per_s", route->ramp_per_s));
}

static bool names_vm(const spr_routes *routes, int32_t vm) {
    struct spr_route r = {.size = sizeof r};
    for (int32_t i = 0, n = spr_routes_count(routes); i < n; i++)
        if (spr_routes_get(routes, i, &r) >= 0 && r.vm == vm)
            return true;
    return false;
}

/* Services in force that the new snapshot does not name spill no more. A router may have lost them since: no matter. */
static bool tell_gone(struct rc_client *c, int64_t now) {
    struct spr_route r = {.size = sizeof r};
    for (int32_t i = 0, n = c->routes ? spr_routes_count(c->routes) : 0; i < n; i++) {
        if (spr_routes_get(c->routes, i, &r) < 0 || names_vm(c->job.routes, r.vm))
            continue;
        const char *service = rc_service(c, &r);
        if (!service)
            continue;
        if (!tell_promoted(c, now, service, NULL) ||
            !tell_line(c, now,
                       json_pack("{s:s, s:s, s:{}, s:f}", "cmd", "spill_set", "service", service, "weights",
                                 "ramp_per_s", r.ramp_per_s)))
            return false;
    }
    c->job.dropped = c->job.lines;
    return true;
}

static void commit(struct rc_client *c, int64_t now) { ask(c, now, RC_COMMIT, json_pack("{s:s}", "cmd", "commit")); }

static void tell(struct rc_client *c, int64_t now) {
    struct spr_route route = {.size = sizeof route};
    expect(c, now, RC_TELL);
    bool all = tell_gone(c, now);
    for (int32_t i = 0, n = all ? spr_routes_count(c->job.routes) : 0; all && i < n; i++)
        all = spr_routes_get(c->job.routes, i, &route) < 0 || tell_route(c, now, i, &route);
    if (all && !c->job.lines)
        commit(c, now);
}

/* ---- what is heard ---- */

static void heard_tell(struct rc_client *c, int64_t now, enum rc_meaning meaning, const struct rc_answer *a) {
    struct rc_job *j = &c->job;
    bool may = j->dropped > 0;
    j->dropped -= may;
    if (meaning == RC_REFUSED && !may && !j->refused) {
        j->refused = true;
        memcpy(j->text, a->text, sizeof j->text);
    }
    if (--j->lines)
        expect(c, now, RC_TELL);
    else if (j->refused)
        undo(c, now);
    else
        commit(c, now);
}

static void heard_commit(struct rc_client *c, int64_t now, enum rc_meaning meaning, const struct rc_answer *a) {
    if (meaning == RC_REFUSED) {
        memcpy(c->job.text, a->text, sizeof c->job.text);
        undo(c, now);
        return;
    }
    spr_routes_unref(c->routes);
    c->routes = spr_routes_ref(c->job.routes);
    c->told = c->job.committed = true;
    c->job.generation = a->generation;
    c->job.due = now;
    c->job.text[0] = 0;
}

static void heard_begin(struct rc_client *c, int64_t now, enum rc_meaning meaning, const struct rc_answer *a) {
    if (meaning == RC_YES) {
        c->job.text[0] = 0;
        tell(c, now);
        return;
    }
    memcpy(c->job.text, a->text, sizeof c->job.text); /* another connection's change is open */
    c->job.due = now + BUSY_NS;
    if (!c->job.is_again && !open_ticket(c, c->job.ticket))
        rc_job_free(c);
}

static void heard_switched(struct rc_client *c, int64_t now, enum rc_meaning meaning, const struct rc_answer *a) {
    if (meaning == RC_REFUSED) {
        memcpy(c->job.text, a->text, sizeof c->job.text);
        job_end(c, SPR_UNKNOWN, SPR_E_UNKNOWN);
    } else if (a->switched)
        job_end(c, SPR_DONE, SPR_OK);
    else
        c->job.due = now + SWITCH_NS;
}

void rc_heard(struct rc_client *c, int64_t now, const char *line, size_t length) {
    struct rc_answer a;
    enum rc_asked asked = c->asked;
    enum rc_meaning meaning = rc_answer_read(line, length, asked, &a);
    if (asked == RC_NOTHING || meaning == RC_NONSENSE) { /* "too many clients" comes unasked */
        rc_disconnect(c, now, SPR_E_FORMAT, a.text[0] ? a.text : "it speaks without being asked");
        json_decref(a.stats);
        return;
    }
    c->asked = RC_NOTHING;
    if (meaning == RC_YES)
        c->pause_ns = 0;
    switch (asked) {
    case RC_BEGIN:
        heard_begin(c, now, meaning, &a);
        return;
    case RC_TELL:
        heard_tell(c, now, meaning, &a);
        return;
    case RC_COMMIT:
        heard_commit(c, now, meaning, &a);
        return;
    case RC_REVERT:
        job_end(c, SPR_FAILED, SPR_E_STATE);
        return;
    case RC_SWITCHED:
        heard_switched(c, now, meaning, &a);
        return;
    default:
        if (a.stats) {
            json_decref(c->stats);
            c->stats = a.stats;
        }
    }
}

/* ---- what is said ---- */

static void next_job(struct rc_client *c) {
    struct rc_ticket *t = first_open(c);
    if (t)
        job_begin(c, t->routes, t->ticket);
    else if (c->routes && !c->told)
        job_begin(c, c->routes, 0);
}

void rc_next(struct rc_client *c, int64_t now) {
    if (!c->job.routes)
        next_job(c);
    if (c->fd < 0 || c->asked != RC_NOTHING)
        return;
    if (c->job.routes && now >= c->job.due) {
        if (c->job.committed)
            ask(c, now, RC_SWITCHED,
                json_pack("{s:s, s:I}", "cmd", "switched", "generation", (json_int_t)c->job.generation));
        else
            ask(c, now, RC_BEGIN, json_pack("{s:s}", "cmd", "begin"));
    } else if (c->counted && now >= c->stats_at) {
        c->stats_at = now + c->counters_ns;
        ask(c, now, RC_STATS, json_pack("{s:s}", "cmd", "stats"));
    }
}
