/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Scores of answers against what came, as the forecasting literature and doc/algorithms/backtest.md define them. */
#ifndef SHARDPREDICT_TOOL_FORECAST_SCORE_H
#define SHARDPREDICT_TOOL_FORECAST_SCORE_H

#include "forecast.h"

enum { SCORE_LEVELS = 6 };
extern const double score_levels[SCORE_LEVELS]; /* .1 .5 .9 10/11 .95 .99: job.levels must be these */

struct score {
    size_t cases, scaled, points; /* scored; with a scale that is none of next to nothing; steps with a value */
    double mase, smape;
    double wql[SCORE_LEVELS], mwql;
    double cov95, cost_s;
    double spikes, ap90, onset_f1; /* share of points that are spikes, and how well they are foreseen */
};

/* What is common to the methods that are compared: histories, scales, thresholds, truth. */
struct truth;
/* `season` in steps. NULL: out of memory, said on stderr. */
struct truth *truth_make(const struct forecast_job *job, const struct answers *cases, int64_t season);
void truth_free(struct truth *t);
/* Leave out cases without a history or without a single value to compare with; the same cases must be scored then. */
void truth_drop_unscored(struct truth *t, struct answers *cases);
/* The answers are rounded as the CSV would print them. False: out of memory. */
bool score_answers(const struct truth *t, const struct forecast_job *job, struct answers *answers, struct score *out);

#endif
