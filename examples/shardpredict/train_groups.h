/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* train on sums of VMs: of a scenario's warm-up, or of any trace. */
#ifndef SHARDPREDICT_TOOL_TRAIN_GROUPS_H
#define SHARDPREDICT_TOOL_TRAIN_GROUPS_H

#include "forecast.h"

struct train_groups {
    const char *scenario;
    int32_t groups;  /* sums drawn per resource; 0 = as many as serve */
    int32_t horizon; /* steps ahead; 0 = what the scenario's controller asks */
    uint64_t seed;
};
/* A trainer that holds sums of random groups and the hosts' totals over the warm-up. 0, or an exit code (said). */
int train_groups_scenario(spr_context *ctx, const struct train_groups *g, struct spr_trainer_opts *opts,
                          spr_trainer **trainer);
/* Sums of random groups of a trace's series before step `until`, for a trainer that stands. */
int train_groups_series(spr_context *ctx, const struct train_groups *g, const spr_series *series, int64_t until,
                        spr_trainer *trainer);

#endif
