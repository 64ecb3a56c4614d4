/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the world lets be measured: use at the primary and at the shards, and what a throttled VM missed as the
 * hypervisor's own counters would show it (steal and ready time, backlog). With `stall_hidden` only the mark.
 */
#include <math.h>
#include <string.h>

#include "sim.h"

static int source_open(const struct spr_env *env, const void *config, void **state) {
    if (!env || !config)
        return SPR_E_ARG;
    *state = (void *)(uintptr_t)config;
    return SPR_OK;
}

static void source_close(void *state) { ((struct sim *)state)->asked_count = 0; }

static int source_submit(void *state, int verb, struct spr_time now, int64_t deadline, spr_ticket *out) {
    struct sim *s = state;
    (void)now, (void)deadline;
    if (verb != SPR_SOURCE_INVENTORY && verb != SPR_SOURCE_SAMPLES)
        return SPR_E_ARG;
    if (s->asked_count == (int32_t)(sizeof s->asked / sizeof s->asked[0]))
        return SPR_E_BUSY;
    s->asked[s->asked_count].verb = verb;
    s->asked[s->asked_count++].ticket = *out = ++s->last_ticket;
    return SPR_OK;
}

static void take_samples(struct sim *s, struct spr_source_completion *out) {
    sim__settle_all(s);
    double n = (double)(s->substep - s->begin[0]), per = n > 0 ? 1 / n : 0;
    size_t k = 0;
    for (int32_t v = 0; v < s->vms; v++)
        for (int32_t r = 0; r < s->r; r++) {
            size_t i = (size_t)v * (size_t)s->r + (size_t)r;
            double lost = s->sum_short[0][i] * per, served = s->sum_served[0][i] * per;
            double demand = s->sum_demand[0][i] * per;
            struct spr_usage *u = &s->usage[k++];
            u->vm = v;
            u->resource = s->resource[r];
            u->served = served;
            u->used = fmax(0, demand - lost - served);
            u->flags = lost > 1e-12 * demand ? SPR_USAGE_THROTTLED : 0;
            u->stalled = 0;
            if (!s->config.stall_hidden) {
                u->flags |= SPR_USAGE_STALL_KNOWN;
                u->stalled = fmax(0, demand - u->used - served);
            }
            s->sum_demand[0][i] = s->sum_short[0][i] = s->sum_served[0][i] = s->sum_held[0][i] = 0;
        }
    s->begin[0] = s->substep;
    out->from = s->sampled;
    out->to = s->sampled = s->now;
    out->usage = s->usage;
    out->usage_count = k;
}

static int source_collect(void *state, struct spr_time now, struct spr_source_completion *out, size_t room,
                          size_t *count) {
    struct sim *s = state;
    (void)now;
    size_t n = 0, stride = room ? out->size : 0;
    while (n < room && s->asked_count) {
        struct spr_source_completion c = {.ticket = s->asked[0].ticket};
        if (s->asked[0].verb == SPR_SOURCE_INVENTORY)
            c.inventory = spr_fleet_ref(s->fleet);
        else
            take_samples(s, &c);
        c.size = stride;
        memcpy((char *)out + n++ * stride, &c,
               stride < sizeof c ? stride : sizeof c); /* an older library's is shorter */
        memmove(&s->asked[0], &s->asked[1], sizeof s->asked - sizeof s->asked[0]);
        s->asked_count--;
    }
    *count = n;
    return SPR_OK;
}

static int source_cancel(void *state, spr_ticket ticket) {
    struct sim *s = state;
    for (int32_t i = 0; i < s->asked_count; i++)
        if (s->asked[i].ticket == ticket)
            return SPR_OK; /* a request only: it will end as done */
    return SPR_E_NOT_FOUND;
}

static const struct spr_async_ops waiting = {.size = sizeof waiting, .cancel = source_cancel};
static const struct spr_source_ops source = {
    .size = sizeof source,
    .name = "sim",
    .license = "MIT OR Apache-2.0",
    .async = &waiting,
    .open = source_open,
    .close = source_close,
    .submit = source_submit,
    .collect = source_collect,
};
const struct spr_source_ops *spr_sim_source(void) { return &source; }
