/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The inside of a replay: the trace as columns, one run, the verdict. */
#ifndef SPR_LIB_REPLAY_H
#define SPR_LIB_REPLAY_H

#include <shardpredict/ops/driver.h>
#include <shardpredict/ops/planner.h>
#include <shardpredict/ops/router.h>
#include <shardpredict/ops/source.h>
#include <shardpredict/ops/world.h>
#include <shardpredict/replay.h>

#include "base/base.h"
#include "fleet/fleet.h"

/* How far all runs are together. */
struct progress {
    atomic_int_fast64_t done; /* steps */
    int64_t work;
};

/* What all runs share; read only while they run. */
struct replay {
    struct progress *progress; /* NULL = nobody asked */
    spr_context *ctx;
    struct spr_scenario scenario; /* defaults filled in */
    struct spr_replay_opts opts;
    spr_series *series;
    spr_fleet *fleet;
    int32_t hosts, vms, r;
    int64_t steps; /* of the trace that anybody may look at */
    int64_t step_ns, origin_ns;
    double hours;                              /* of one step */
    double *demand;                            /* [step][vm][r], gaps hold */
    double *total;                             /* [step][host][r] */
    double *capacity;                          /* [host][r] */
    double *reference;                         /* [r]: capacity of the reference host, the unit of cost */
    struct spr_price price[SPR_RESOURCES_MAX]; /* [r] */
};

/* A row for somebody, kept until its policy's turn to be told. */
struct run_event {
    double time_s;
    struct spr_lifecycle_event change;
};
struct run_step {
    int64_t step;
    int32_t vm, i;
    double demand, got, held;
};

/* Amounts a shard has ready, and since when. */
struct run_shard {
    uint64_t id;
    int32_t vm;
    double ready[SPR_RESOURCES_MAX];
    int64_t since_ns;
};

/* One policy over one stretch of the trace. */
struct run {
    const struct replay *replay;
    int32_t policy;
    int64_t first, end;
    double threshold, hold_s; /* REACTIVE and REACTIVE_TUNED; threshold NaN = never */
    bool rows;                /* somebody wants ledger or steps */
    int rc;
    spr_context *ctx; /* of its own: runs may run side by side */
    struct spr_policy_score score;
    double demand_priced, unserved_priced, energy_wh;
    bool energy_known;
    double *bucket; /* cost per day or hour */
    size_t bucket_count;
    int64_t bucket_steps;
    int64_t forecasts;
    /* rows */
    struct run_event *events;
    size_t event_count, event_cap;
    struct run_step *steps;
    size_t step_count, step_cap;
    struct run_shard *shards;
    size_t shard_count, shard_cap;
    double *leads;
    size_t lead_count, lead_cap;
    /* while it runs */
    const spr_plan *seen_plan;
    int64_t action_day;
    int32_t *vm_actions, *host_actions, all_actions;
    void *world;
    spr_controller *controller;
    struct spr_time now;
    double *measure; /* seven columns, see run.c */
    struct spr_world_measure m;
};

/* run.c */
void spr__run(void *arg, size_t i); /* arg: array of struct run */
void spr__run_finish(struct run *r);
/* score.c */
int spr__score_begin(struct run *r);
int spr__score_event(struct run *r, const struct spr_lifecycle_event *event);
int spr__score_onsets(struct run *r, int64_t t);
int spr__score_step(struct run *r, int64_t t);
int spr__score_plan(struct run *r);
void spr__score_end(struct run *r);
/* policy.c */
struct policy_setup {
    struct spr_planner_config config;
    double *reserve;
    size_t reserve_count;
    bool instant, forecasts;
};
int spr__policy_setup(struct run *r, struct policy_setup *out);
void spr__policy_finish(struct run *r, struct policy_setup *s);
void spr__bound(const struct replay *p, double *bound, double *unspillable);
/* blackout.c: a source that says nothing for a while. Its config. */
struct blackout {
    struct spr_source_ops real;
    const void *real_config;
    int64_t from_ns, to_ns; /* monotonic */
    void *state;
    spr_context *ctx;
};
const struct spr_source_ops *spr__blackout_source(void);
/* verdict.c */
int spr__verdict_create(const struct replay *p, const struct run *runs, size_t count, uint32_t asked,
                        const struct run *tuned, spr_verdict **out);

static inline size_t spr__cells(const struct replay *p) { return (size_t)p->vms * (size_t)p->r; }

#endif
