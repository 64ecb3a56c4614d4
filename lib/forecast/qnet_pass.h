/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The steps of a forward pass, shared by answering and learning. */
#ifndef SPR_LIB_FORECAST_QNET_PASS_H
#define SPR_LIB_FORECAST_QNET_PASS_H

#include "forecast/qnet.h"

struct spr__qnet_pass {
    float *u, *wu;   /* [cases][units]: first layer; W2 u + b2 */
    float *x, *y;    /* [rows][units]: second and third layer */
    float *o, *soft; /* [rows][levels]: outputs and softplus of them */
};
void spr__qnet_room_split(const struct spr__qnet_shape *s, int64_t cases, int64_t steps, float *room,
                          struct spr__qnet_pass *pass);
/* The first layer. */
void spr__qnet_hidden(const struct spr__qnet_shape *s, const float *w, const struct spr__net_kernels *k, int64_t cases,
                      const float *summaries, struct spr__qnet_pass *pass);
/* The rest. */
void spr__qnet_steps(const struct spr__qnet_shape *s, const float *w, const struct spr__net_kernels *k, int64_t cases,
                     int64_t steps, const float *features, struct spr__qnet_pass *pass);
/* Quantiles of one row. */
void spr__qnet_order(const struct spr__qnet_shape *s, const float *o, const float *soft, float base, float *q);

#endif
