/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The room in which one block of Holt-Winters is fitted. */
#ifndef SPR_LIB_FORECAST_HW_ROOM_H
#define SPR_LIB_FORECAST_HW_ROOM_H

#include "forecast/hw.h"

enum { HW_ROOM_FIELDS = 6 };

struct hw_room {
    const struct hw *hw;
    const struct hw_tick *const *ticks;
    int64_t steps, trace_from;
    int32_t rows;       /* lanes that hold a series */
    double *x;          /* [steps][lane], transformed */
    double *seen;       /* the same without what must not count */
    double *cap, *work; /* cap: NULL where the panel has no censored steps; work: 2 * steps and some */
    double *trace;      /* [steps - trace_from][4][lane] */
    double *spare;      /* of steps - trace_from + 8 */
    double *lane;       /* [HW_ROOM_FIELDS][steps - trace_from]: one lane of it, contiguous */
    double *start_season[HW_CYCLES], *season[HW_CYCLES];
    struct hw_slopes slopes;
    double start_level[HW_LANES], start_trend[HW_LANES];
    double level[HW_LANES], trend[HW_LANES], run[HW_LANES], sse[HW_LANES];
    bool can_multiply[HW_LANES], mult[HW_LANES], censored[HW_LANES];
    int32_t seasons[HW_LANES]; /* that a lane's history can start */
    int64_t from[HW_LANES];    /* first step that counts */
    int64_t cut[HW_LANES];     /* first step of the tail that judges; `from` where the history is too short for one */
    int64_t first, last;       /* steps before and from here on count in no lane */
};
bool spr__hw_room_make(struct hw_room *r, const struct hw *hw, const struct hw_tick *const *ticks, int64_t steps,
                       bool censored);
void spr__hw_room_free(struct hw_room *r);
/* Bring the block's rows into lanes. */
void spr__hw_room_load(struct hw_room *r, const struct spr_panel *p, int64_t block, const double *lambda);
/* Start every lane as its kind wants; steps before its first smoothed one do not count, nor, with `head`, its tail. */
void spr__hw_room_start(struct hw_room *r, const struct hw_kind *kinds, bool head);
/* Parameters from points by HW_ALPHA ...; what the options fix or a lane does not have is set. bound may be NULL. */
void spr__hw_room_params(const struct hw_room *r, const struct hw_kind *kinds, double (*points)[HW_DIMS],
                         const double *bound, struct hw_params *p);
/* One run over the history; states and errors are left in the room. */
void spr__hw_room_run(struct hw_room *r, const struct hw_params *params, bool trace);
/* The same with slopes, for lanes that add, bound nothing and have no censored step; the others' results are void. */
void spr__hw_room_slopes(struct hw_room *r, const struct hw_params *params);
/* A lane of the traced run; good until the next call. */
struct hw_errors spr__hw_room_errors(struct hw_room *r, const struct hw_params *params, int32_t lane);

#endif
