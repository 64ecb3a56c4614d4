/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How much each host's VMs should hold elsewhere, by the rule in force. */
#include "plan/plan.h"

#define ROOM_QUANTILE 0.85 /* 0.75 to 0.9 cost the same within 1 %; above, hedges find no room */

static int room_for(const spr_context *ctx, void *slot, size_t *size, size_t n, size_t each) {
    void *block;
    memcpy(&block, slot, sizeof block);
    int rc = spr__reserve(ctx, &block, size, n, each);
    memcpy(slot, &block, sizeof block);
    return rc;
}

/* Threshold is trigger and target: need = load - threshold * what shards leave of the host; the largest one is kept a
 * while. */
static struct need need_reactive(struct builtin *p, int32_t h, int32_t i) {
    struct board *b = &p->board;
    double threshold = p->config.threshold == 0 ? 0.9 : p->config.threshold;
    int32_t k = h * b->r + i;
    double need = fmax(0, b->load[k] - threshold * spr__board_left(b, h, i));
    double *ring = &p->ring[(size_t)k * (size_t)p->ring_slots];
    ring[p->ticks % p->ring_slots] = need;
    for (int32_t j = 0; j < p->ring_slots; j++)
        need = fmax(need, ring[j]);
    return (struct need){.up = need,
                         .down = need,
                         .because_up = SPR_BECAUSE_THRESHOLD,
                         .threshold = threshold * b->capacity[k],
                         .forecast = b->load[k]};
}

static struct need need_static(const struct builtin *p, int32_t h, int32_t i) {
    const struct board *b = &p->board;
    int32_t k = h * b->r + i;
    double need = k < p->config.reserve_count ? fmax(0, p->reserve[k]) : 0;
    return (struct need){.up = need,
                         .down = need,
                         .because_up = SPR_BECAUSE_STATIC_HOLD,
                         .threshold = b->capacity[k],
                         .forecast = b->load[k]};
}

/* What is given is the load to plan for; what shards hold there is not the host's own any more. */
static struct need need_given(const struct builtin *p, int32_t h, int32_t i) {
    const struct board *b = &p->board;
    double load = p->given[h * b->r + i], need = fmax(0, load - spr__board_left(b, h, i));
    return (struct need){.up = need,
                         .down = need,
                         .because_up = SPR_BECAUSE_TRUE_FUTURE,
                         .threshold = b->capacity[h * b->r + i],
                         .forecast = load};
}

void spr__need_host(struct builtin *p, const struct spr_plan_input *in, int32_t h) {
    struct board *b = &p->board;
    for (int32_t i = 0; i < b->r; i++) {
        struct need *n = &p->needs[h * b->r + i];
        switch (p->config.rule) {
        case SPR_NEED_STATIC:
            *n = need_static(p, h, i);
            break;
        case SPR_NEED_REACTIVE:
            *n = need_reactive(p, h, i);
            break;
        case SPR_NEED_GIVEN:
            *n = need_given(p, h, i);
            break;
        default:
            spr__need_guests(b, in->hosts, h, i, n); /* the rest is known since spr__need_prepare */
            continue;
        }
        n->because_down = n->down > 0 ? SPR_BECAUSE_SURPLUS : SPR_BECAUSE_NO_NEED;
    }
}

/* ---- once a plan ---- */

static int prepare_reactive(struct builtin *p) {
    struct board *b = &p->board;
    double hold = p->config.hold_s == SPR_NONE ? 0 : p->config.hold_s == 0 ? 900 : p->config.hold_s;
    p->ring_slots = (int32_t)(hold / b->opts.control_s + 1e-9) + 1;
    return room_for(p->ctx, &p->ring, &p->ring_size, (size_t)b->hosts * (size_t)b->r * (size_t)p->ring_slots,
                    sizeof *p->ring);
}

/* [host][r] loads, then scratch for one resource: need[host], peak[host], demand[vm]. */
static int prepare_given(struct builtin *p) {
    struct board *b = &p->board;
    size_t h = (size_t)b->hosts, v = (size_t)b->vms, r = (size_t)b->r;
    int rc = room_for(p->ctx, &p->given, &p->given_size, h * r + 2 * h + v, sizeof *p->given);
    if (rc < 0)
        return rc;
    double *need = p->given + h * r, *peak = need + h, *demand = peak + h;
    for (int32_t i = 0; i < b->r && rc == SPR_OK; i++) {
        memset(need, 0, (2 * h + v) * sizeof *need);
        rc = p->config.given(p->config.user, b->fleet, b->fleet->inventory->resource[i], need, demand, peak);
        if (rc < 0)
            return spr__fail(p->ctx, SPR_E_CALLBACK, "the callback that gives the need failed (%s)",
                             spr_error_text(rc));
        for (int32_t k = 0; k < b->hosts; k++) {
            p->given[k * b->r + i] = need[k];
            b->peak[k * b->r + i] = peak[k];
        }
        for (int32_t k = 0; k < b->vms; k++)
            b->size_for[k * b->r + i] = demand[k];
    }
    return rc;
}

struct value_job {
    struct builtin *p;
    const spr_forecast *forecast;
    int32_t steps, levels, room_level;
};

/* A target keeps what it is expected to need itself at the 0.85 quantile of any step ahead. */
static void value_of_host(void *arg, size_t index) {
    const struct value_job *job = arg;
    struct board *b = &job->p->board;
    int32_t h = (int32_t)index;
    for (int32_t i = 0; i < b->r; i++) {
        int64_t row = (int64_t)h * b->r + i;
        const double *q = spr_forecast_quantiles(job->forecast) + row * job->steps * job->levels;
        for (int32_t j = 1; j < job->steps; j++)
            b->peak[row] = fmax(b->peak[row], q[j * job->levels + job->room_level]);
        spr__need_value(b, job->forecast, h, i, &job->p->needs[row]);
    }
}

static int prepare_value(struct builtin *p, const spr_forecast *f) {
    struct board *b = &p->board;
    if (!f)
        return spr__fail(p->ctx, SPR_E_ARG, "the value rule needs a forecast of the hosts' totals");
    if (spr_forecast_count(f) != (int64_t)b->hosts * b->r)
        return spr__fail(p->ctx, SPR_E_ARG, "the forecast has %lld rows, the fleet needs %lld (hosts times resources)",
                         (long long)spr_forecast_count(f), (long long)b->hosts * b->r);
    int64_t step_ns = (int64_t)llround(b->opts.step_s * 1e9);
    if ((spr_forecast_first_step(f) + spr_forecast_horizon(f)) * step_ns <= b->fleet->time.wall_ns)
        return spr__fail(p->ctx, SPR_E_ARG,
                         "the forecast ends before the fleet's time; its steps count from 1970, %g s each",
                         b->opts.step_s);
    struct value_job job = {p, f, spr_forecast_horizon(f), spr_forecast_level_count(f), 0};
    const double *level = spr_forecast_levels(f);
    for (int32_t k = 1; k < job.levels; k++)
        if (fabs(level[k] - ROOM_QUANTILE) < fabs(level[job.room_level] - ROOM_QUANTILE))
            job.room_level = k;
    spr__parallel(p->ctx, (size_t)b->hosts, value_of_host, &job);
    return SPR_OK;
}

int spr__need_prepare(struct builtin *p, const struct spr_plan_input *in) {
    struct board *b = &p->board;
    int rc = room_for(p->ctx, &p->needs, &p->need_size, (size_t)b->hosts * (size_t)b->r, sizeof *p->needs);
    if (rc < 0)
        return rc;
    if (p->config.rule == SPR_NEED_GIVEN)
        return prepare_given(p);
    if (p->config.rule == SPR_NEED_VALUE)
        return prepare_value(p, in->hosts);
    /* The rivals size shards for the demand of this moment, as published rules do. */
    memcpy(b->size_for, b->fleet->now->demand, (size_t)b->vms * (size_t)b->r * sizeof *b->size_for);
    return p->config.rule == SPR_NEED_REACTIVE ? prepare_reactive(p) : SPR_OK;
}
