/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Between two control steps: the detector of the core library (route-spike.h) looks at each service's counters at every
 * spr_dpdk_step. While a jump lasts, more spills than the control side asked for, as far as spr_dpdk_spike_set allows.
 */
#include "router.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PAST = sizeof((struct dp_watch *)0)->past / sizeof(struct dp_backlog) };
#define SECOND INT64_C(1000000000)

void dp_spike_close(struct spr_dpdk *r) {
    spr_spike_destroy(r->spike);
    free(r->watch);
    free(r->counted);
    r->spike = NULL, r->watch = NULL, r->counted = NULL, r->watched = 0;
}

/* What was learnt is learnt anew when there are more services than ever before. */
int dp_spike_room(struct spr_dpdk *r, uint32_t services) {
    if (services <= r->watched)
        return SPR_OK;
    uint32_t n = r->watched ? r->watched : 4;
    while (n < services)
        n *= 2;
    struct spr_spike_opts o = {.size = sizeof o, .services = (int32_t)n};
    spr_spike *spike = NULL;
    struct dp_watch *watch = calloc(n, sizeof *watch);
    struct spr_route_counters *counted = calloc(n, sizeof *counted);
    int rc = watch && counted ? spr_spike_create(r->ctx, &o, &spike) : dp_say(r->ctx, SPR_E_NOMEM, "out of memory");
    if (rc < 0) {
        free(watch);
        free(counted);
        return rc;
    }
    dp_spike_close(r);
    r->spike = spike, r->watch = watch, r->counted = counted, r->watched = n;
    return SPR_OK;
}

static const struct dp_watch *watch_of(const struct spr_dpdk *r, uint16_t front) {
    for (uint32_t i = 0; i < r->watched; i++)
        if (r->watch[i].front == front)
            return &r->watch[i];
    return NULL;
}

void dp_spike_carry(const struct spr_dpdk *r, struct dp_config *c) {
    for (uint32_t i = 0; i < c->service_count; i++) {
        const struct dp_watch *w = watch_of(r, c->services[i].front);
        dp_config_spike_to(&c->services[i], w ? w->total : 0);
    }
}

/* Spilled connections of the last seconds whose first ACK has not come: who gave up is not waited for. */
static uint64_t waiting_of(struct dp_watch *w, const struct spr_dpdk_service_stats *s, int64_t now) {
    struct dp_backlog here = {now, s->spilled, s->answered};
    if (!w->past[0].mono_ns || s->spilled < w->past[PAST - 1].spilled)
        for (int i = 0; i < PAST; i++)
            w->past[i] = here;
    if (now - w->past[PAST - 1].mono_ns >= SECOND) {
        memmove(w->past, w->past + 1, (PAST - 1) * sizeof w->past[0]);
        w->past[PAST - 1] = here;
    }
    uint64_t asked = s->spilled - w->past[0].spilled, answered = s->answered - w->past[0].answered;
    return asked > answered ? asked - answered : 0;
}

static void count(struct spr_dpdk *r, uint32_t i, int64_t now) {
    struct dp_watch *w = &r->watch[i];
    struct spr_dpdk_service_stats s = {.size = sizeof s};
    const struct dp_conf_service *v = &r->config.services[i];
    if (w->front != v->front)
        *w = (struct dp_watch){.front = v->front};
    dp_service_sum(r, v, &s);
    w->waiting = waiting_of(w, &s, now);
    r->counted[i] = (struct spr_route_counters){.size = sizeof r->counted[i],
                                                .vm = v->front,
                                                .packets = s.packets,
                                                .bytes = s.bytes,
                                                .flows = s.opened,
                                                .spilled = s.spilled,
                                                .syn_again = s.repeated,
                                                .active = s.flows,
                                                .waiting = w->waiting,
                                                .answer_s = NAN};
}

/* It only rises while the alarm lasts; then the control side's share is in force again. */
static bool answer(struct spr_dpdk *r, uint32_t i) {
    struct spr_spike_ask ask = {.size = sizeof ask};
    struct dp_conf_service *s = &r->config.services[i];
    struct dp_watch *w = &r->watch[i];
    double most = dp_config_spike_most(s), now = dp_config_share(s);
    if (spr_spike_get(r->spike, (int32_t)i, &ask) < 0)
        return false;
    w->total = ask.raised && most > 0 ? fmax(w->total, spr_spike_spill(now - s->extra, most, ask.ratio)) : 0;
    return dp_config_spike_to(s, w->total);
}

bool dp_spike_step(struct spr_dpdk *r, struct spr_time now) {
    uint32_t n = r->config.service_count;
    bool changed = false;
    if (!n || n > r->watched)
        return false;
    for (uint32_t i = 0; i < n; i++)
        count(r, i, now.mono_ns);
    if (spr_spike_tick(r->spike, now, r->counted, n) < 0)
        return false; /* a clock that stands still counts nothing */
    for (uint32_t i = 0; i < n; i++)
        changed |= answer(r, i);
    return changed;
}
