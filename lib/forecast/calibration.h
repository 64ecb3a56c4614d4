/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What trainers and the loop use of calibration besides its public door. */
#ifndef SPR_LIB_CALIBRATION_H
#define SPR_LIB_CALIBRATION_H

#include "forecast/forecast.h"

/*
 * Factors that widen quantiles around their median, from a part that was not trained on. q is [count][levels], y and
 * weight (NULL = 1 each) are [count]; NaN outcomes are left out. factor[level] is 1 where the quantiles are wide enough
 * or too little was seen, else the mean of the factor with the least pinball loss and the one that covers as asked.
 */
int spr__calibration_factors(const spr_context *ctx, int64_t count, const double *levels, int32_t level_count,
                             const double *y, const double *q, const double *weight, double *factor);
/* Apply them to one row of quantiles, which stays in order. */
void spr__calibration_widen(const double *levels, int32_t level_count, const double *factor, double *q);

/* Take over what another tracker of the same options knew of one series: hosts keep their record by name. */
void spr__coverage_carry(spr_coverage *to, int64_t row, const spr_coverage *from, int64_t from_row);
bool spr__coverage_gated(const spr_coverage *c, int64_t series);
double spr__coverage_evidence(const spr_coverage *c, int64_t series);

#endif
