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

static size_t rounded(size_t floats) { return (floats + 15) / 16 * 16; }

size_t spr__lstm_floats(const struct spr__net_kernels *k, int inputs, int units, bool training) {
    size_t packed = rounded(spr__lstm_packed(k, spr__lstm_depth(inputs, units), units));
    return packed + (training ? 4u * (size_t)units * (size_t)units : 0);
}

size_t spr__lstm_floats_most(int inputs, int units) {
    size_t widest = (size_t)(units + 15) / 16 * 16; /* AVX-512 */
    return rounded(widest * 4 * (size_t)spr__lstm_depth(inputs, units));
}

void spr__lstm_place(const struct spr__net_kernels *k, int inputs, int units, bool training, float *memory,
                     struct spr__lstm *out) {
    *out = (struct spr__lstm){.kernels = k,
                              .inputs = inputs,
                              .units = units,
                              .depth = spr__lstm_depth(inputs, units),
                              .packed = memory,
                              .memory = memory};
    if (training)
        out->turned = memory + rounded(spr__lstm_packed(k, out->depth, units));
}

int spr__lstm_make(const spr_context *ctx, int simd, int inputs, int units, bool training, struct spr__lstm *out) {
    const struct spr__net_kernels *k = spr__net_kernels_for(simd);
    float *memory = spr__alloc(ctx, spr__lstm_floats(k, inputs, units, training), sizeof *memory);
    if (!memory)
        return spr__nomem(ctx);
    spr__lstm_place(k, inputs, units, training, memory, out);
    return SPR_OK;
}

void spr__lstm_drop(const spr_context *ctx, struct spr__lstm *l) {
    if (l->memory)
        spr__free(ctx, l->memory, spr__lstm_floats(l->kernels, l->inputs, l->units, l->turned), sizeof *l->memory);
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

/* Parts of a run one after the other; `run` may be NULL to learn their size. */
static size_t run_parts(int inputs, int units, int rows, int steps, bool keep, float *memory,
                        struct spr__lstm_run *run) {
    size_t r = (size_t)rows, n = r * (size_t)units, t = (size_t)steps, depth = (size_t)spr__lstm_depth(inputs, units);
    const size_t sizes[] = {r * depth * (keep ? t + 1 : 2), n * (keep ? t + 1 : 1), 5 * n * t, n, n,
                            SPR__LSTM_SPAN * 4 * n};
    size_t at = 0;
    for (int i = 0; i < (keep ? 6 : 2); i++) {
        if (run)
            *(float **[]){&run->in, &run->c, &run->trace, &run->dh, &run->dc, &run->dgates}[i] = memory + at;
        at += rounded(sizes[i]);
    }
    return at;
}

size_t spr__lstm_run_floats(int inputs, int units, int rows, int steps, bool keep) {
    return run_parts(inputs, units, rows, steps, keep, NULL, NULL);
}

void spr__lstm_run_place(const struct spr__lstm *l, int rows, int steps, bool keep, float *memory,
                         struct spr__lstm_run *out) {
    *out = (struct spr__lstm_run){.rows = rows, .steps = steps, .room = rows, .keep = keep, .memory = memory};
    run_parts(l->inputs, l->units, rows, steps, keep, memory, out);
}

int spr__lstm_run_make(const spr_context *ctx, const struct spr__lstm *l, int rows, int steps, bool keep,
                       struct spr__lstm_run *out) {
    float *memory = spr__alloc(ctx, spr__lstm_run_floats(l->inputs, l->units, rows, steps, keep), sizeof *memory);
    if (!memory)
        return spr__nomem(ctx);
    spr__lstm_run_place(l, rows, steps, keep, memory, out);
    return SPR_OK;
}

void spr__lstm_run_drop(const spr_context *ctx, const struct spr__lstm *l, struct spr__lstm_run *run) {
    if (run->memory)
        spr__free(ctx, run->memory, spr__lstm_run_floats(l->inputs, l->units, run->room, run->steps, run->keep),
                  sizeof *run->memory);
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
