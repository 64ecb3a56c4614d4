/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* From members' quantiles to answers: what the forecaster and the trainer's held-out tail both do. */
#ifndef SPR_LIB_FORECAST_ANSWER_H
#define SPR_LIB_FORECAST_ANSWER_H

#include "forecast/member.h"

/* Mean |y[t] - y[t - lag]|, lag 0 = 1; a history no longer than the lag is measured by single steps. */
double spr__mean_change(const double *y, int64_t n, int64_t lag);
/* The middle becomes the last value (next to nothing: 0) where that lies between q(.2) and q(.8). */
void spr__snap(const struct spr__global *g, double last, double unit, double *q);
/* Quantiles at other levels: linear in the normal quantile of the level, the outermost slope beyond the ends. */
void spr__levels_between(const double *level, int32_t n, const double *q, const double *asked, int32_t count,
                         double *out);

/*
 * For whoever knows the running step: `state` is one of spr_forecaster_model; the answer begins one step later than
 * that of predict, as if the running step had ended at `now` (NaN = unknown). Nothing is kept of `now`.
 */
int spr__model_ask_ahead(void *state, const double *now, struct spr_forecaster_output *out);
/* 1 = a model asked with this config looks at events itself, 0 = it does not, or what is wrong with the config. */
int spr__model_takes_events(const spr_context *ctx, const void *config);

#endif
