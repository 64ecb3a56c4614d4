/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Which rules, what changes, in which order, and back where a call fails. */
#include "offload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct installed {
    struct dp_offload_rule rule;
    uint64_t handle;
    uint64_t packets, before; /* of FLOW rules: in the last interval, and the card's count at its end */
};
/* A step of a change that may have to be taken back. */
struct step {
    struct installed was; /* destroyed, or created */
    bool created;
};
struct candidate {
    const struct dp_offload_flow *flow;
    uint64_t score;
    bool carried;
};

struct dp_offload {
    const struct dp_offload_ops *ops;
    void *state;
    struct dp_offload_opts opts;
    struct installed *now; /* sorted by what they match: the truth about the card */
    uint32_t count, room;
    struct dp_offload_rule *want;
    struct step *step;
    struct candidate *candidate;
    uint32_t candidates_room, steps;
    struct dp_offload_stats stats;
};

/* ---- life ---- */

struct dp_offload *dp_offload_create(const struct dp_offload_ops *ops, void *state,
                                     const struct dp_offload_opts *opts) {
    if (!ops || !ops->create || !ops->destroy || !ops->query || !opts || !opts->services_most || !opts->enter ||
        opts->leave > opts->enter || opts->services_most > 1 << 20 || opts->flows_most > 1 << 24)
        return NULL;
    struct dp_offload *o = calloc(1, sizeof *o);
    if (!o)
        return NULL;
    o->ops = ops;
    o->state = state;
    o->opts = *opts;
    /* Twice: while a rollback cannot undo all, old and new rules are there together. */
    o->room = 2 * (4 * opts->services_most + opts->flows_most);
    o->now = calloc(o->room, sizeof *o->now);
    o->want = calloc(o->room, sizeof *o->want);
    o->step = calloc(2 * (size_t)o->room, sizeof *o->step);
    if (!o->now || !o->want || !o->step) {
        dp_offload_destroy(o);
        return NULL;
    }
    return o;
}

void dp_offload_destroy(struct dp_offload *o) {
    if (!o)
        return;
    if (o->now)
        dp_offload_clear(o);
    free(o->now);
    free(o->want);
    free(o->step);
    free(o->candidate);
    free(o);
}

/* ---- the table of what is in the card ---- */

static int compare(const void *a, const void *b) { return memcmp(a, b, DP_OFFLOAD_MATCH); }

/* Index of a rule that matches the same, or where it would be. */
static uint32_t place(const struct dp_offload *o, const struct dp_offload_rule *rule, bool *found) {
    uint32_t low = 0, high = o->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int c = compare(&o->now[middle].rule, rule);
        if (!c) {
            *found = true;
            return middle;
        }
        if (c < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *found = false;
    return low;
}

static struct installed *find(const struct dp_offload *o, const struct dp_offload_rule *rule) {
    bool found;
    uint32_t at = place(o, rule, &found);
    return found ? &o->now[at] : NULL;
}

static void add(struct dp_offload *o, const struct installed *x) {
    bool found;
    uint32_t at = place(o, &x->rule, &found);
    memmove(&o->now[at + 1], &o->now[at], (o->count - at) * sizeof *o->now);
    o->now[at] = *x;
    o->count++;
}

static void drop(struct dp_offload *o, const struct installed *x) {
    uint32_t at = (uint32_t)(x - o->now);
    o->count--;
    memmove(&o->now[at], &o->now[at + 1], (o->count - at) * sizeof *o->now);
}

/* ---- single calls ---- */

static int failed(struct dp_offload *o, int rc) {
    o->stats.calls_failed++;
    return rc;
}

static int create(struct dp_offload *o, const struct dp_offload_rule *rule, const struct installed *as_before) {
    struct installed x = {.rule = *rule};
    if (as_before)
        x.packets = as_before->packets;
    if (o->count == o->room) /* only where a card keeps refusing to give rules back */
        return failed(o, -ENOSPC);
    int rc = o->ops->create(o->state, rule, &x.handle);
    if (rc < 0)
        return failed(o, rc);
    add(o, &x);
    return 0;
}

static int destroy(struct dp_offload *o, struct installed *x) {
    int rc = o->ops->destroy(o->state, x->handle);
    if (rc < 0)
        return failed(o, rc);
    drop(o, x);
    return 0;
}

/* ---- what is wanted ---- */

static struct dp_offload_rule rule_of(const struct dp_offload_service *s, uint8_t kind) {
    struct dp_offload_rule r;
    memset(&r, 0, sizeof r);
    r.kind = kind;
    r.ip = s->ip;
    r.protocol = s->protocol;
    memcpy(r.destination, s->destination, sizeof r.destination);
    r.destination_port = s->port;
    r.vf = DP_OFFLOAD_CPU;
    return r;
}

static struct dp_offload_rule flow_rule(const struct dp_offload_service *s, const struct dp_offload_flow *f) {
    struct dp_offload_rule r = rule_of(s, DP_OFFLOAD_FLOW);
    memcpy(r.source, f->source, sizeof r.source);
    r.source_port = f->source_port;
    r.vf = f->vf;
    memcpy(r.mac, f->mac, sizeof r.mac);
    return r;
}

/* The hotter first; among equals the carried one, then by address, so that the order of the caller's array does not
 * matter. */
static int hotter(const void *a, const void *b) {
    const struct candidate *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    if (x->carried != y->carried)
        return x->carried ? -1 : 1;
    int c = memcmp(x->flow->source, y->flow->source, sizeof x->flow->source);
    return c ? c
           : x->flow->source_port != y->flow->source_port
               ? (int)x->flow->source_port - (int)y->flow->source_port
               : (int)(x->flow->service > y->flow->service) - (int)(x->flow->service < y->flow->service);
}

/* Flows that are hot (or still are), hottest first. @return how many, at most the card's room */
static uint32_t hot_flows(struct dp_offload *o, const struct dp_offload_service *service,
                          const struct dp_offload_flow *flow, uint32_t flows) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < flows; i++) {
        struct dp_offload_rule r = flow_rule(&service[flow[i].service], &flow[i]);
        const struct installed *x = find(o, &r);
        uint64_t packets = flow[i].packets + (x ? x->packets : 0);
        if (flow[i].vf == DP_OFFLOAD_CPU || packets < (x ? o->opts.leave : o->opts.enter))
            continue;
        uint64_t bonus = x ? packets / 100 * o->opts.margin + packets % 100 * o->opts.margin / 100 : 0;
        o->candidate[n++] =
            (struct candidate){&flow[i], packets > UINT64_MAX - bonus ? UINT64_MAX : packets + bonus, x};
    }
    if (n)
        qsort(o->candidate, n, sizeof *o->candidate, hotter);
    return n < o->opts.flows_most ? n : o->opts.flows_most;
}

/* 1 when a FLOW rule of the service goes or changes its target: its packets fall to the rule below for a moment. */
static bool moves_flows(const struct dp_offload *o, const struct dp_offload_service *s, const struct candidate *c,
                        uint32_t hot, uint32_t index, const struct dp_offload_service *service) {
    uint32_t kept = 0, there = 0;
    struct dp_offload_rule any = rule_of(s, DP_OFFLOAD_FLOW);
    for (uint32_t i = 0; i < o->count; i++) {
        const struct dp_offload_rule *r = &o->now[i].rule;
        there += r->kind == DP_OFFLOAD_FLOW && r->ip == any.ip && r->protocol == any.protocol &&
                 r->destination_port == any.destination_port &&
                 !memcmp(r->destination, any.destination, sizeof any.destination);
    }
    for (uint32_t i = 0; i < hot; i++) {
        if (c[i].flow->service != index)
            continue;
        struct dp_offload_rule r = flow_rule(&service[index], c[i].flow);
        const struct installed *x = find(o, &r);
        kept += x && !memcmp(&x->rule, &r, sizeof r);
    }
    return kept != there;
}

static uint32_t wanted(struct dp_offload *o, const struct dp_offload_service *service, uint32_t services,
                       const struct dp_offload_flow *flow, uint32_t flows) {
    uint32_t n = 0, hot = hot_flows(o, service, flow, flows);
    for (uint32_t i = 0; i < hot; i++)
        o->want[n++] = flow_rule(&service[o->candidate[i].flow->service], o->candidate[i].flow);
    for (uint32_t i = 0; i < services; i++) {
        const struct dp_offload_service *s = &service[i];
        uint64_t carried = 0;
        for (uint32_t k = 0; k < hot; k++)
            carried += o->candidate[k].flow->service == i;
        if ((s->spilling || carried) && s->protocol == 6)
            o->want[n++] = rule_of(s, DP_OFFLOAD_SYN);
        if (carried && s->protocol == 6) {
            o->want[n++] = rule_of(s, DP_OFFLOAD_FIN);
            o->want[n++] = rule_of(s, DP_OFFLOAD_RST);
        }
        if (s->spilling || s->spilled > carried || s->primary_vf == DP_OFFLOAD_CPU ||
            moves_flows(o, s, o->candidate, hot, i, service))
            continue;
        struct dp_offload_rule r = rule_of(s, DP_OFFLOAD_SERVICE);
        r.vf = s->primary_vf;
        memcpy(r.mac, s->primary_mac, sizeof r.mac);
        o->want[n++] = r;
    }
    qsort(o->want, n, sizeof *o->want, compare);
    return n;
}

/* ---- changing, and changing back ---- */

static bool is_wanted(const struct dp_offload *o, uint32_t n, const struct dp_offload_rule *rule) {
    const struct dp_offload_rule *w = bsearch(rule, o->want, n, sizeof *o->want, compare);
    return w && !memcmp(w, rule, sizeof *w);
}

static int step_destroy(struct dp_offload *o, struct installed *x) {
    struct step done = {.was = *x};
    int rc = destroy(o, x);
    if (rc >= 0)
        o->step[o->steps++] = done;
    return rc;
}

static int step_create(struct dp_offload *o, const struct dp_offload_rule *rule) {
    int rc = create(o, rule, NULL);
    if (rc >= 0)
        o->step[o->steps++] = (struct step){.was = {.rule = *rule}, .created = true};
    return rc;
}

/* Destroy what is not wanted any more, of SERVICE rules or of the others. */
static int destroy_unwanted(struct dp_offload *o, uint32_t n, bool services) {
    int rc = 0;
    for (uint32_t i = o->count; rc >= 0 && i-- > 0;)
        if ((o->now[i].rule.kind == DP_OFFLOAD_SERVICE) == services && !is_wanted(o, n, &o->now[i].rule))
            rc = step_destroy(o, &o->now[i]);
    return rc;
}

static int create_missing(struct dp_offload *o, uint32_t n, int kind_from, int kind_to) {
    int rc = 0;
    for (uint32_t i = 0; rc >= 0 && i < n; i++)
        if (o->want[i].kind >= kind_from && o->want[i].kind <= kind_to && !find(o, &o->want[i]))
            rc = step_create(o, &o->want[i]);
    return rc;
}

/*
 * Safe at every moment: without a SERVICE rule the CPU sees what no FLOW rule takes, and knows where it goes. So those
 * go first and come last; SYN, FIN and RST rules are there before the FLOW rules that they stand above.
 */
static int change(struct dp_offload *o, uint32_t n) {
    int rc = destroy_unwanted(o, n, true);
    if (rc >= 0)
        rc = create_missing(o, n, DP_OFFLOAD_SYN, DP_OFFLOAD_RST);
    if (rc >= 0)
        rc = destroy_unwanted(o, n, false);
    if (rc >= 0)
        rc = create_missing(o, n, DP_OFFLOAD_FLOW, DP_OFFLOAD_FLOW);
    if (rc >= 0)
        rc = create_missing(o, n, DP_OFFLOAD_SERVICE, DP_OFFLOAD_SERVICE);
    return rc;
}

/* In reverse order. What cannot be undone stays in the table as it is in the card: the next apply sees it. */
static void roll_back(struct dp_offload *o) {
    o->stats.rollbacks++;
    while (o->steps) {
        const struct step *s = &o->step[--o->steps];
        struct installed *x = s->created ? find(o, &s->was.rule) : NULL;
        int rc = !s->created ? create(o, &s->was.rule, &s->was) : x ? destroy(o, x) : 0;
        if (rc < 0)
            o->stats.unsure = true;
    }
}

/* ---- the public part ---- */

/* How busy the card's flows were; one that cannot be asked counts as it did. */
static void ask(struct dp_offload *o) {
    for (uint32_t i = 0; i < o->count; i++) {
        struct installed *x = &o->now[i];
        uint64_t packets;
        if (x->rule.kind != DP_OFFLOAD_FLOW)
            continue;
        if (o->ops->query(o->state, x->handle, &packets) < 0) {
            o->stats.calls_failed++;
            continue;
        }
        x->packets = packets >= x->before ? packets - x->before : packets;
        x->before = packets;
        o->stats.packets += x->packets;
    }
}

static bool sane(const struct dp_offload *o, const struct dp_offload_service *service, uint32_t services,
                 const struct dp_offload_flow *flow, uint32_t flows) {
    if (services > o->opts.services_most || (services && !service) || (flows && !flow))
        return false;
    for (uint32_t i = 0; i < flows; i++)
        if (flow[i].service >= services)
            return false;
    return true;
}

static int room_for(struct dp_offload *o, uint32_t flows) {
    if (flows <= o->candidates_room)
        return 0;
    struct candidate *c = realloc(o->candidate, (size_t)flows * sizeof *c);
    if (!c)
        return -ENOMEM;
    o->candidate = c;
    o->candidates_room = flows;
    return 0;
}

int dp_offload_apply(struct dp_offload *o, const struct dp_offload_service *service, uint32_t services,
                     const struct dp_offload_flow *flow, uint32_t flows) {
    if (!sane(o, service, services, flow, flows))
        return -EINVAL;
    if (o->stats.unsupported)
        return 1;
    int rc = room_for(o, flows);
    if (rc < 0)
        return rc;
    o->stats.applies++;
    ask(o);
    o->steps = 0;
    uint32_t n = wanted(o, service, services, flow, flows);
    rc = change(o, n);
    if (rc >= 0) {
        o->stats.unsure = false;
        return 0;
    }
    roll_back(o);
    if ((rc != -ENOTSUP && rc != -ENOSYS) || dp_offload_clear(o) < 0)
        return rc;
    o->stats.unsupported = true;
    return 1;
}

int dp_offload_clear(struct dp_offload *o) {
    int first = 0;
    for (int services = 1; services >= 0; services--)
        for (uint32_t i = o->count; i-- > 0;) {
            int rc = (o->now[i].rule.kind == DP_OFFLOAD_SERVICE) == services ? destroy(o, &o->now[i]) : 0;
            if (rc < 0 && !first)
                first = rc;
        }
    return first;
}

void dp_offload_stats(const struct dp_offload *o, struct dp_offload_stats *out) {
    *out = o->stats;
    out->rules = o->count;
    out->flows = out->services = 0;
    for (uint32_t i = 0; i < o->count; i++) {
        out->flows += o->now[i].rule.kind == DP_OFFLOAD_FLOW;
        out->services += o->now[i].rule.kind == DP_OFFLOAD_SERVICE;
    }
}

uint64_t dp_offload_carried(const struct dp_offload *o, const struct dp_offload_service *service,
                            const struct dp_offload_flow *flow) {
    struct dp_offload_rule r = flow_rule(service, flow);
    const struct installed *x = find(o, &r);
    return x ? x->packets : 0;
}
