/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A recorded series as a source: what was measured in the step that ends now. */
#include <math.h>
#include <string.h>

#include <shardpredict/io.h>
#include <shardpredict/ops/source.h>

struct played {
    spr_context *ctx;
    struct spr_trace_source_opts opts;
    struct spr_panel view;
    int32_t vms, r, resource[SPR_RESOURCES_MAX];
    int64_t *row;   /* [vm][r], -1 = the trace does not have it */
    double *factor; /* [vm][r] */
    struct spr_usage *usage;
    spr_ticket last, asked;
    int verb;
};

static size_t cells(const struct played *p) { return (size_t)p->vms * (size_t)p->r + 1; }

static void played_close(void *state) {
    struct played *p = state;
    spr_context_free(p->ctx, p->row, cells(p) * sizeof *p->row);
    spr_context_free(p->ctx, p->factor, cells(p) * sizeof *p->factor);
    spr_context_free(p->ctx, p->usage, cells(p) * sizeof *p->usage);
    spr_context_free(p->ctx, p, sizeof *p);
}

static void match(struct played *p) {
    for (int32_t v = 0; v < p->vms; v++) {
        struct spr_vm vm = {.size = sizeof vm};
        spr_fleet_vm(p->opts.fleet, v, &vm);
        for (int32_t i = 0; i < p->r; i++) {
            size_t k = (size_t)v * (size_t)p->r + (size_t)i;
            struct spr_series_info info = {.size = sizeof info};
            p->row[k] = -1;
            if (spr_series_find(p->opts.series, vm.id, p->resource[i], NULL, &p->row[k]) == SPR_OK &&
                spr_series_info(p->opts.series, p->row[k], &info) == SPR_OK)
                p->factor[k] = info.unit_factor;
        }
    }
}

static int played_open(const struct spr_env *env, const void *config, void **state) {
    const struct spr_trace_source_opts *o = config;
    if (!env || !o || o->size < sizeof *o || !o->series || !o->fleet)
        return SPR_E_ARG;
    struct played *p = spr_context_alloc(env->context, sizeof *p);
    if (!p)
        return SPR_E_NOMEM;
    p->ctx = env->context;
    p->opts = *o;
    p->vms = spr_fleet_vm_count(o->fleet);
    for (int r = 0; r < SPR_RESOURCES_MAX; r++)
        if (spr_fleet_resources(o->fleet) >> r & 1)
            p->resource[p->r++] = r;
    p->view.size = sizeof p->view;
    p->row = spr_context_alloc(p->ctx, cells(p) * sizeof *p->row);
    p->factor = spr_context_alloc(p->ctx, cells(p) * sizeof *p->factor);
    p->usage = spr_context_alloc(p->ctx, cells(p) * sizeof *p->usage);
    int rc = p->row && p->factor && p->usage ? spr_series_view(o->series, SPR_SERIES_MEAN, &p->view) : SPR_E_NOMEM;
    if (rc < 0) {
        played_close(p);
        return rc;
    }
    match(p);
    *state = p;
    return SPR_OK;
}

static int played_submit(void *state, int verb, struct spr_time now, int64_t deadline, spr_ticket *out) {
    struct played *p = state;
    (void)now, (void)deadline;
    if (verb != SPR_SOURCE_INVENTORY && verb != SPR_SOURCE_SAMPLES)
        return SPR_E_ARG;
    if (p->asked)
        return SPR_E_BUSY;
    p->verb = verb;
    p->asked = *out = ++p->last;
    return SPR_OK;
}

static void play(struct played *p, struct spr_time now, struct spr_source_completion *c) {
    int64_t step = spr_series_step_ns(p->opts.series);
    int64_t t = (now.wall_ns - spr_series_origin_ns(p->opts.series) - 1) / step; /* the end of a step belongs to it */
    int64_t begun = spr_series_origin_ns(p->opts.series) + t * step;
    size_t n = 0;
    c->to = now;
    c->from = (struct spr_time){begun, now.mono_ns - (now.wall_ns - begun)};
    for (int32_t v = 0; t >= 0 && t < p->view.steps && v < p->vms; v++)
        for (int32_t i = 0; i < p->r; i++) {
            size_t k = (size_t)v * (size_t)p->r + (size_t)i;
            if (p->row[k] < 0)
                continue;
            double y;
            memcpy(&y, (const char *)p->view.data + p->row[k] * p->view.series_stride + t * p->view.step_stride,
                   sizeof y);
            if (!isnan(y))
                p->usage[n++] =
                    (struct spr_usage){.vm = v, .resource = p->resource[i], .used = fmax(0, y * p->factor[k])};
        }
    c->usage = p->usage;
    c->usage_count = n;
}

static int played_collect(void *state, struct spr_time now, struct spr_source_completion *out, size_t room,
                          size_t *count) {
    struct played *p = state;
    *count = 0;
    if (!p->asked || !room)
        return SPR_OK;
    memset(out, 0, sizeof *out);
    out->size = sizeof *out;
    out->ticket = p->asked;
    if (p->verb == SPR_SOURCE_INVENTORY)
        out->inventory = spr_fleet_ref((spr_fleet *)(uintptr_t)p->opts.fleet);
    else
        play(p, now, out);
    p->asked = 0;
    *count = 1;
    return SPR_OK;
}

static int played_cancel(void *state, spr_ticket ticket) {
    struct played *p = state;
    return ticket && ticket == p->asked ? SPR_OK : SPR_E_NOT_FOUND;
}

static const struct spr_async_ops waiting = {.size = sizeof waiting, .cancel = played_cancel};
static const struct spr_source_ops source = {
    .size = sizeof source,
    .name = "csv",
    .license = "MIT OR Apache-2.0",
    .async = &waiting,
    .open = played_open,
    .close = played_close,
    .submit = played_submit,
    .collect = played_collect,
};
const struct spr_source_ops *spr_trace_source(void) { return &source; }
