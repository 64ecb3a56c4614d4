/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A layer of LSTM cells over whole sequences: forward with or without what the way back needs, and back through time
 * (Werbos 1990). Series are worked on in chunks of a few dozen rows, so that a chunk's states stay in the caches; a run
 * holds the memory of one chunk. Weights are w[depth][4][units]: row 0 the bias, then the inputs, then the state; gates
 * i f g o.
 */
#ifndef SPR_LIB_FORECAST_LSTM_H
#define SPR_LIB_FORECAST_LSTM_H

#include "forecast/net.h"

static inline int spr__lstm_depth(int inputs, int units) { return 1 + inputs + units; }
static inline size_t spr__lstm_weights(int inputs, int units) {
    return (size_t)spr__lstm_depth(inputs, units) * 4u * (size_t)units;
}
/* Starting weights: uniform within 1 / sqrt(units), the forget gate's bias 1 (Jozefowicz et al. 2015). */
void spr__lstm_start(int inputs, int units, uint64_t seed, uint64_t stream, float *w);

/* Weights as the kernels want them; made anew whenever the weights change. */
struct spr__lstm {
    const struct spr__net_kernels *kernels;
    int inputs, units, depth;
    float *packed; /* for the way forward */
    float *turned; /* [4][units][units], recurrent weights for the way back, or NULL */
    float *memory; /* both */
};
/* Work of one chunk. `rows` may be set to anything up to what was asked for, before a run. */
struct spr__lstm_run {
    int rows, steps, room; /* rows in use, steps, rows there is memory for */
    bool keep;
    float *in;               /* [keep ? steps + 1 : 2][rows][depth]: the constant 1, inputs, state */
    float *c;                /* [keep ? steps + 1 : 1][rows][units] */
    float *trace;            /* [steps][rows][5][units] */
    float *dh, *dc, *dgates; /* [rows][units] twice, [SPR__LSTM_SPAN][rows][4][units] */
    float *memory;           /* all of it */
};
enum { SPR__LSTM_SPAN = 4 }; /* steps whose gradients of the weights are summed in one product */

/* Floats that a layer or a run needs, and the same put into memory of the caller's. `training` = with the way back. */
size_t spr__lstm_floats(const struct spr__net_kernels *k, int inputs, int units, bool training);
/* The same for the widest kernels, without the way back: what any level of the same file of weights needs. */
size_t spr__lstm_floats_most(int inputs, int units);
void spr__lstm_place(const struct spr__net_kernels *k, int inputs, int units, bool training, float *memory,
                     struct spr__lstm *out);
size_t spr__lstm_run_floats(int inputs, int units, int rows, int steps, bool keep);
void spr__lstm_run_place(const struct spr__lstm *l, int rows, int steps, bool keep, float *memory,
                         struct spr__lstm_run *out);
/* The same in memory of the context's; 0 or SPR_E_NOMEM. */
int spr__lstm_make(const spr_context *ctx, int simd, int inputs, int units, bool training, struct spr__lstm *out);
void spr__lstm_drop(const spr_context *ctx, struct spr__lstm *l);
int spr__lstm_run_make(const spr_context *ctx, const struct spr__lstm *l, int rows, int steps, bool keep,
                       struct spr__lstm_run *out);
void spr__lstm_run_drop(const spr_context *ctx, const struct spr__lstm *l, struct spr__lstm_run *run);

void spr__lstm_load(struct spr__lstm *l, const float *w);
/* State before the first step: zeros. */
void spr__lstm_rest(const struct spr__lstm *l, struct spr__lstm_run *run);
/* Where the inputs of step t go, [rows] of `inputs` numbers each `depth` apart. */
static inline float *spr__lstm_inputs(const struct spr__lstm *l, const struct spr__lstm_run *run, int t) {
    return run->in + (ptrdiff_t)(run->keep ? t : t & 1) * run->rows * l->depth + 1;
}
/* The state before step t (after step t - 1), [rows] of `units` numbers each `depth` apart. */
static inline float *spr__lstm_state(const struct spr__lstm *l, const struct spr__lstm_run *run, int t) {
    return spr__lstm_inputs(l, run, t) + l->inputs;
}
/* One step; its inputs are in place. */
void spr__lstm_forward(const struct spr__lstm *l, struct spr__lstm_run *run, int t);
/*
 * Back through all steps, after a forward run that kept its trace. run->dh holds the loss by the last state; dh_each is
 * what comes from the states after each step besides, [steps][rows][units], or NULL. Adds to gradient[depth][4][units].
 */
void spr__lstm_backward(const struct spr__lstm *l, struct spr__lstm_run *run, const float *dh_each, float *gradient);

#endif
