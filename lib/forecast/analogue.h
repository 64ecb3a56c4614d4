/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Analogues (Lorenz 1969): what came after the moments whose last steps looked most like the last steps now. Finds any
 * period by itself, also one of no whole number of steps, and what comes at irregular times but always in one shape.
 */
#ifndef SPR_LIB_FORECAST_ANALOGUE_H
#define SPR_LIB_FORECAST_ANALOGUE_H

#include "forecast/forecast.h"

struct spr__analogues;

/* For `rows` series side by side; `steps` = the running one and those after it; `history` = steps kept, at most. */
int spr__analogues_create(spr_context *ctx, int64_t rows, int32_t steps, int64_t history, struct spr__analogues **out);
void spr__analogues_destroy(struct spr__analogues *a);
/*
 * The running step is over at y[row * stride]. All are finite. With `learn` what was said of it is compared with it,
 * and what would have been said in it is kept for later; without, it is only remembered.
 */
void spr__analogues_push(struct spr__analogues *a, const double *y, int64_t stride, bool learn);
/*
 * Mean and variance [row][step] of what may come; the running step shows now[row * stride], which is the answer for it.
 * They live until the next push or say.
 */
void spr__analogues_say(struct spr__analogues *a, const double *now, int64_t stride, const double **mean,
                        const double **variance);

#endif
