/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "forecast/lstm.h"

void spr__lstm_start(int inputs, int units, uint64_t seed, uint64_t stream, float *w) {
    int depth = spr__lstm_depth(inputs, units), row = 4 * units;
    double bound = 1.0 / sqrt((double)units);
    for (int p = 0; p < depth; p++)
        for (int j = 0; j < row; j++) {
            size_t at = (size_t)p * (size_t)row + (size_t)j;
            w[at] = p ? (float)(bound * (2.0 * spr__rand(seed, stream, at) - 1.0)) : j / units == 1 ? 1.0f : 0.0f;
        }
}

static size_t turned_count(const struct spr__lstm *l) { return 4u * (size_t)l->units * (size_t)l->units; }

int spr__lstm_make(const spr_context *ctx, int simd, int inputs, int units, bool training, struct spr__lstm *out) {
    struct spr__lstm l = {spr__net_kernels_for(simd), inputs, units, spr__lstm_depth(inputs, units), NULL, NULL};
    l.packed = spr__alloc(ctx, spr__lstm_packed(l.kernels, l.depth, units), sizeof *l.packed);
    l.turned = training && l.packed ? spr__alloc(ctx, turned_count(&l), sizeof *l.turned) : NULL;
    *out = l;
    if (l.packed && (l.turned || !training))
        return SPR_OK;
    spr__lstm_drop(ctx, out);
    return spr__nomem(ctx);
}

void spr__lstm_drop(const spr_context *ctx, struct spr__lstm *l) {
    if (!l->kernels)
        return;
    spr__free(ctx, l->packed, spr__lstm_packed(l->kernels, l->depth, l->units), sizeof *l->packed);
    spr__free(ctx, l->turned, turned_count(l), sizeof *l->turned);
    memset(l, 0, sizeof *l);
}

void spr__lstm_load(struct spr__lstm *l, const float *w) {
    const int units = l->units, wide = 4 * units;
    l->kernels->lstm_pack(l->depth, units, w, l->packed);
    const float *recurrent = w + (ptrdiff_t)(1 + l->inputs) * wide;
    for (int u = 0; l->turned && u < units; u++)
        for (int j = 0; j < wide; j++)
            l->turned[(ptrdiff_t)j * units + u] = recurrent[(ptrdiff_t)u * wide + j];
}

/* Sizes of the blocks of a run, in numbers. */
struct sizes {
    size_t in, c, trace, dh, dgates;
};
static struct sizes sizes_of(const struct spr__lstm *l, const struct spr__lstm_run *run) {
    size_t rows = (size_t)run->room, steps = (size_t)run->steps, units = (size_t)l->units;
    struct sizes n = {rows * (run->keep ? steps + 1 : 2) * (size_t)l->depth, rows * (run->keep ? steps + 1 : 1) * units,
                      0, 0, 0};
    if (run->keep)
        n.trace = rows * steps * 5 * units, n.dh = rows * units, n.dgates = SPR__LSTM_SPAN * rows * 4 * units;
    return n;
}

int spr__lstm_run_make(const spr_context *ctx, const struct spr__lstm *l, int rows, int steps, bool keep,
                       struct spr__lstm_run *out) {
    struct spr__lstm_run run = {.rows = rows, .steps = steps, .room = rows, .keep = keep};
    struct sizes n = sizes_of(l, &run);
    run.in = spr__alloc(ctx, n.in, sizeof(float));
    run.c = spr__alloc(ctx, n.c, sizeof(float));
    if (keep) {
        run.trace = spr__alloc(ctx, n.trace, sizeof(float));
        run.dh = spr__alloc(ctx, n.dh, sizeof(float));
        run.dc = spr__alloc(ctx, n.dh, sizeof(float));
        run.dgates = spr__alloc(ctx, n.dgates, sizeof(float));
    }
    *out = run;
    if (run.in && run.c && (!keep || (run.trace && run.dh && run.dc && run.dgates)))
        return SPR_OK;
    spr__lstm_run_drop(ctx, l, out);
    return spr__nomem(ctx);
}

void spr__lstm_run_drop(const spr_context *ctx, const struct spr__lstm *l, struct spr__lstm_run *run) {
    struct sizes n = sizes_of(l, run);
    spr__free(ctx, run->in, n.in, sizeof(float));
    spr__free(ctx, run->c, n.c, sizeof(float));
    spr__free(ctx, run->trace, n.trace, sizeof(float));
    spr__free(ctx, run->dh, n.dh, sizeof(float));
    spr__free(ctx, run->dc, n.dh, sizeof(float));
    spr__free(ctx, run->dgates, n.dgates, sizeof(float));
    memset(run, 0, sizeof *run);
}

void spr__lstm_rest(const struct spr__lstm *l, struct spr__lstm_run *run) {
    size_t slots = run->keep ? (size_t)run->steps + 1 : 2, rows = slots * (size_t)run->rows;
    for (size_t r = 0; r < rows; r++)
        run->in[r * (size_t)l->depth] = 1.0f;
    for (int r = 0; r < run->rows; r++)
        memset(spr__lstm_state(l, run, 0) + (ptrdiff_t)r * l->depth, 0, sizeof(float) * (size_t)l->units);
    memset(run->c, 0, sizeof(float) * (size_t)run->rows * (size_t)l->units);
}

void spr__lstm_forward(const struct spr__lstm *l, struct spr__lstm_run *run, int t) {
    const ptrdiff_t states = (ptrdiff_t)run->rows * l->units;
    struct spr__lstm_step step = {
        .rows = run->rows,
        .depth = l->depth,
        .units = l->units,
        .packed = l->packed,
        .in = spr__lstm_inputs(l, run, t) - 1,
        .ld_in = l->depth,
        .ld_h = l->depth,
        .c_before = run->c + (run->keep ? t * states : 0),
        .c = run->c + (run->keep ? (t + 1) * states : 0),
        .h = spr__lstm_state(l, run, t + 1),
        .trace = run->keep ? run->trace + 5 * t * states : NULL,
    };
    l->kernels->lstm_step(&step);
}

void spr__lstm_backward(const struct spr__lstm *l, struct spr__lstm_run *run, const float *dh_each, float *gradient) {
    const int rows = run->rows, units = l->units, wide = 4 * units;
    const ptrdiff_t states = (ptrdiff_t)rows * units;
    memset(run->dc, 0, sizeof(float) * (size_t)states);
    for (int t = run->steps - 1; t >= 0; t--) {
        float *dgates = run->dgates + (t % SPR__LSTM_SPAN) * 4 * states;
        for (ptrdiff_t i = 0; dh_each && i < states; i++)
            run->dh[i] += dh_each[t * states + i];
        struct spr__lstm_back back = {
            rows, units, run->trace + 5 * t * states, run->c + t * states, run->dh, run->dc, dgates,
        };
        l->kernels->lstm_back(&back);
        if (t > 0)
            l->kernels->gemm_nn(rows, units, wide, dgates, wide, l->turned, units, 0.0f, run->dh, units);
        if (t % SPR__LSTM_SPAN == 0) /* rows of neighbouring steps lie one after the other: one long sum */
            l->kernels->gemm_tn(l->depth, wide, rows * SPR_MIN(SPR__LSTM_SPAN, run->steps - t),
                                spr__lstm_inputs(l, run, t) - 1, l->depth, dgates, wide, 1.0f, gradient, wide);
    }
}
