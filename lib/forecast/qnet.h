/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The quantile net: u = relu(W1 S + b1) once a case; then for every step ahead x = relu(W2 u + W3 D + b2),
 * x = relu(W4 x + b4), o = W5 x + W6 D + b5, and ordered quantiles from o. doc/algorithms/quantile-net.md.
 */
#ifndef SPR_LIB_FORECAST_QNET_H
#define SPR_LIB_FORECAST_QNET_H

#include "forecast/net.h"

/* Stored in model files as it is. */
struct spr__qnet_shape {
    int32_t summaries; /* numbers in S */
    int32_t features;  /* numbers in a row of D */
    int32_t units;     /* of each hidden layer */
    int32_t levels;    /* quantiles */
    int32_t median;    /* index of the one from which the others are counted up and down */
};
#define SPR__QNET_UNITS_MAX  1024
#define SPR__QNET_LEVELS_MAX 64

/* Where the parts lie among the weights, in floats; matrices are [in][out]. */
struct spr__qnet_parts {
    int64_t w1, b1, w2, w3, b2, w4, b4, w5, w6, b5, count;
};
bool spr__qnet_shape_ok(const struct spr__qnet_shape *shape);
void spr__qnet_layout(const struct spr__qnet_shape *shape, struct spr__qnet_parts *parts);
/* Start weights: uniform by the inputs' number (He et al. 2015), W6 at 0. */
void spr__qnet_init(const struct spr__qnet_shape *shape, uint64_t seed, float *weights);

/* Room of a forward pass over `cases` cases of `steps` steps each, in floats; of a training pass too. */
size_t spr__qnet_room(const struct spr__qnet_shape *shape, int64_t cases, int64_t steps);
size_t spr__qnet_training_room(const struct spr__qnet_shape *shape, int64_t cases, int64_t steps);

/* summaries [cases][S], features [cases][steps][D], base [cases][steps] -> out [cases][steps][levels], not scaled. */
void spr__qnet_answer(const struct spr__qnet_shape *shape, const float *weights, const struct spr__net_kernels *kernels,
                      int64_t cases, int64_t steps, const float *summaries, const float *features, const float *base,
                      float *room, float *out);

/* What a training pass is given besides the inputs of an answer. */
struct spr__qnet_lesson {
    const struct spr__net_kernels *kernels;
    int64_t cases, steps;
    const float *summaries, *features, *base;
    const float *target;       /* [cases][steps]; NaN = unknown */
    const uint8_t *censored;   /* [cases][steps]: the target is a lower bound; NULL = none */
    const float *weight;       /* [cases] */
    const float *level_weight; /* [levels] */
    const float *levels;       /* [levels] */
    float dropout;             /* share of u that is left out */
    uint64_t seed;             /* of this minibatch */
    int64_t first;             /* index of the first case in the minibatch: dropout does not depend on the chunks */
    int32_t last;              /* so many summaries at the end want their slope ... */
    float *last_slope;         /* ... here, [cases][last]; NULL = none */
    float scale;               /* the loss and its gradient are multiplied by it */
};
/* Loss of the lesson; its gradient replaces `gradient` (as many floats as weights). */
double spr__qnet_learn(const struct spr__qnet_shape *shape, const float *weights, const struct spr__qnet_lesson *lesson,
                       float *room, float *gradient);

/* The loss alone, in the same room. */
double spr__qnet_loss(const struct spr__qnet_shape *shape, const float *weights, const struct spr__qnet_lesson *lesson,
                      float *room);

/* Fold "x = (raw - mean) / sd" of S and D into the weights, so that the net takes raw numbers. */
void spr__qnet_fold(const struct spr__qnet_shape *shape, float *weights, const double *summary_mean,
                    const double *summary_sd, const double *feature_mean, const double *feature_sd);
/* The way back. */
void spr__qnet_unfold(const struct spr__qnet_shape *shape, float *weights, const double *summary_mean,
                      const double *summary_sd, const double *feature_mean, const double *feature_sd);

#endif
