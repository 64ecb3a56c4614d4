/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A quantile net as a member of a model. */
#include "forecast/train.h"

_Static_assert(sizeof(struct spr__qnet_header) == SPR__QNET_AT, "weights begin on a multiple of 64");

size_t spr__qnet_bytes(const struct spr__qnet_shape *shape) {
    struct spr__qnet_parts p;
    spr__qnet_layout(shape, &p);
    return SPR__QNET_AT + (size_t)p.count * sizeof(float);
}

int spr__qnet_check(const spr_context *ctx, const char *name, uint32_t index, const void *payload, size_t size) {
    struct spr__qnet_header h;
    bool good = size >= sizeof h;
    if (good)
        memcpy(&h, payload, sizeof h);
    good = good && spr__window_spec_ok(&h.spec) && spr__qnet_shape_ok(&h.shape) && !h.reserved[0] && !h.reserved[1] &&
           !h.reserved[2] && h.shape.summaries == spr__window_summaries(&h.spec) &&
           h.shape.features == spr__window_features(&h.spec) && size == spr__qnet_bytes(&h.shape);
    const float *w = (const float *)((const char *)payload + SPR__QNET_AT);
    for (size_t i = 0; good && i < (size - SPR__QNET_AT) / sizeof *w; i++)
        good = fabsf(w[i]) <= 1e6f; /* NaN fails too; within it no answer can overflow */
    return good ? SPR_OK
                : spr__fail_at(ctx, SPR_E_CORRUPT, name, 0, 0, "net %u of the model is damaged", (unsigned)index);
}

static const struct spr__qnet_header *header(const void *payload) { return payload; }
static int32_t levels(const void *payload) { return header(payload)->shape.levels; }
static int32_t horizon(const void *payload) { return header(payload)->spec.horizon; }
static int64_t context(const void *payload) { return header(payload)->spec.context; }

struct room {
    float *memory, *summaries, *features, *base, *answer, *pass;
    double *level, *spread;
    int32_t *h;
};

static size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

/* Parts of the room one after the other; `at` may be NULL to learn the bytes. */
static size_t split(const struct spr__qnet_header *p, int64_t cases, int32_t steps, char *at, struct room *r) {
    size_t n = (size_t)cases, rows = n * (size_t)steps, used = 0;
#define PART(name, count) r->name = at ? (void *)(at + used) : NULL, used += aligned((count) * sizeof *r->name)
    PART(memory, spr__window_floats(&p->spec));
    PART(summaries, n * (size_t)p->shape.summaries);
    PART(features, rows * (size_t)p->shape.features);
    PART(base, rows);
    PART(answer, rows * (size_t)p->shape.levels);
    PART(pass, spr__qnet_room(&p->shape, cases, steps));
    PART(level, n);
    PART(spread, n);
    PART(h, (size_t)steps);
#undef PART
    return used;
}

static size_t room(const void *payload, int64_t cases, int32_t steps) {
    struct room r;
    return split(header(payload), cases, steps, NULL, &r);
}

static void answer(const void *payload, const struct spr__cases *c, void *memory, double *quantiles) {
    const struct spr__qnet_header *p = payload;
    const float *weights = (const float *)((const char *)payload + SPR__QNET_AT);
    struct room r;
    int32_t steps = c->horizon, n = p->shape.levels;
    split(p, c->count, steps, memory, &r);
    for (int32_t h = 0; h < steps; h++)
        r.h[h] = h;
    for (int64_t i = 0; i < c->count; i++) {
        struct spr__window w = {.origin = c->origin[i], .resource = c->resource[i]};
        spr__window_open(&w, &p->spec, c->kernels, c->history[i] + c->steps - p->spec.context, c->unit[i], r.memory);
        spr__window_summary(&w, r.summaries + i * p->shape.summaries);
        spr__window_steps(&w, r.h, steps, r.features + i * steps * p->shape.features, r.base + i * steps);
        r.level[i] = w.level, r.spread[i] = w.spread;
    }
    spr__qnet_answer(&p->shape, weights, c->kernels, c->count, steps, r.summaries, r.features, r.base, r.pass,
                     r.answer);
    for (int64_t i = 0; i < c->count; i++)
        for (int64_t k = i * steps * n; k < (i + 1) * steps * n; k++)
            quantiles[k] = (double)r.answer[k] * r.spread[i] + r.level[i];
}

const struct spr__member_ops spr__member_qnet = {
    {'Q', 'N', 'E', 'T'}, SPR_MODEL_NET, spr__qnet_check, levels, horizon, context, room, answer};
