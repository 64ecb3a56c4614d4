/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What one block needs while it is fitted: its rows in lanes, starting states, runs, the errors of a traced run. */
#include "forecast/hw_room.h"

enum { TRACE_MAX = 4096 }; /* so many of the newest steps tell the spread */
/* A tail judges kinds when it holds so many horizons; shorter ones judge worse than the whole history does (Google's
 * series of 16 hours: mean loss 0.0321 against 0.0304). */
#define LEAST_TAIL 3

static size_t slots_of(const struct hw *hw, int c) { return (size_t)hw->shape.cycle[c].slots * HW_LANES; }
static size_t cells(const struct hw_room *r) { return (size_t)r->steps * HW_LANES; }
static size_t traced(const struct hw_room *r) { return (size_t)(r->steps - r->trace_from); }
static size_t work_size(const struct hw_room *r) { return (size_t)r->steps * 2 + (size_t)r->hw->level_count; }

void spr__hw_room_free(struct hw_room *r) {
    const spr_context *ctx = r->hw->ctx;
    spr__free(ctx, r->x, cells(r), sizeof(double));
    spr__free(ctx, r->seen, cells(r), sizeof(double));
    spr__free(ctx, r->cap, cells(r), sizeof(double));
    spr__free(ctx, r->work, work_size(r), sizeof(double));
    spr__free(ctx, r->trace, traced(r) * 4 * HW_LANES, sizeof(double));
    spr__free(ctx, r->spare, traced(r) + 8, sizeof(double));
    spr__free(ctx, r->lane, traced(r) * HW_ROOM_FIELDS, sizeof(double));
    for (int c = 0; c < HW_CYCLES; c++) {
        spr__free(ctx, r->start_season[c], slots_of(r->hw, c), sizeof(double));
        spr__free(ctx, r->season[c], slots_of(r->hw, c), sizeof(double));
        spr__free(ctx, r->slopes.season[c], slots_of(r->hw, c) * HW_DIMS, sizeof(double));
    }
}

bool spr__hw_room_make(struct hw_room *r, const struct hw *hw, const struct hw_tick *const *ticks, int64_t steps,
                       bool censored) {
    memset(r, 0, sizeof *r);
    r->hw = hw, r->ticks = ticks, r->steps = steps;
    r->trace_from = SPR_MAX(0, steps - TRACE_MAX - hw->horizon);
    r->x = spr__alloc(hw->ctx, cells(r), sizeof(double));
    r->seen = spr__alloc(hw->ctx, cells(r), sizeof(double));
    r->work = spr__alloc(hw->ctx, work_size(r), sizeof(double));
    r->trace = spr__alloc(hw->ctx, traced(r) * 4 * HW_LANES, sizeof(double));
    r->spare = spr__alloc(hw->ctx, traced(r) + 8, sizeof(double));
    r->lane = spr__alloc(hw->ctx, traced(r) * HW_ROOM_FIELDS, sizeof(double));
    if (censored)
        r->cap = spr__alloc(hw->ctx, cells(r), sizeof(double));
    bool ok = r->x && r->seen && r->work && r->trace && r->spare && r->lane && (r->cap || !censored);
    for (int c = 0; c < HW_CYCLES; c++) {
        r->start_season[c] = spr__alloc(hw->ctx, slots_of(hw, c), sizeof(double));
        r->season[c] = spr__alloc(hw->ctx, slots_of(hw, c), sizeof(double));
        r->slopes.season[c] = spr__alloc(hw->ctx, slots_of(hw, c) * HW_DIMS, sizeof(double));
        ok = ok && r->start_season[c] && r->season[c] && r->slopes.season[c];
    }
    if (!ok)
        spr__hw_room_free(r);
    return ok;
}

/* ---- rows into lanes ---- */

void spr__hw_room_load(struct hw_room *r, const struct spr_panel *p, int64_t block, const double *lambda) {
    double period = r->hw->shape.cycle[0].slots ? r->hw->shape.cycle[0].period : 1, least[HW_LANES];
    int64_t known[HW_LANES] = {0};
    r->rows = (int32_t)SPR_MIN(HW_LANES, r->hw->series - block * HW_LANES);
    for (int32_t i = 0; i < HW_LANES; i++)
        least[i] = INFINITY, r->censored[i] = false;
    for (int64_t t = 0; t < r->steps; t++)
        for (int32_t i = 0; i < HW_LANES; i++) {
            double *x = &r->x[t * HW_LANES + i], *cap = r->cap ? &r->cap[t * HW_LANES + i] : NULL;
            spr__hw_sample(p, block * HW_LANES + i, t, x, cap);
            if (i < r->rows && lambda[i] != HW_PLAIN && !isnan(*x)) {
                *x = spr__hw_bend(*x, lambda[i]);
                if (cap && !isinf(*cap))
                    *cap = *x;
            }
            r->censored[i] = r->censored[i] || (cap && !isinf(*cap));
            least[i] = *x < least[i] ? *x : least[i];
            known[i] += !isnan(*x);
        }
    for (int32_t i = 0; i < HW_LANES; i++)
        r->can_multiply[i] = least[i] > 0 && (double)known[i] >= 2 * period && r->hw->shape.cycle[0].slots;
}

/* A lane's starting state. Where residuals are cut it must not begin with an outlier: what lies far from the middle of
 * the window is left out of it. */
static struct hw_start begin(struct hw_room *r, int32_t i, struct hw_kind kind, bool mult, int64_t until) {
    double *seasons[HW_CYCLES] = {r->start_season[0] + i, r->start_season[1] + i};
    const double *x = r->x + i;
    if (r->hw->opts.robust == SPR_HW_ROBUST_ALWAYS) {
        const double quarters[3] = {0.25, 0.5, 0.75};
        double q[3];
        int64_t n = 0;
        for (int64_t t = 0; t < r->steps; t++)
            if (!isnan(x[t * HW_LANES]))
                r->work[n++] = x[t * HW_LANES];
        if (n)
            spr__quantiles(r->work, n, quarters, 3, q);
        double reach = n ? 3 * (q[2] - q[0]) : 0, first = NAN;
        for (int64_t t = 0; t < r->steps; t++) {
            double v = x[t * HW_LANES], *to = &r->seen[t * HW_LANES + i];
            *to = reach > 0 && fabs(v - q[1]) > reach ? NAN : v;
            first = isnan(first) ? *to : first;
        }
        x = isnan(first) ? x : r->seen + i;
    }
    struct hw_shape shape = r->hw->shape;
    if (kind.first_only) {
        for (int32_t k = 0; k < shape.cycle[1].slots; k++)
            seasons[1][(size_t)k * HW_LANES] = mult ? 1 : 0;
        shape.cycle[1].slots = 0;
    }
    return spr__hw_begin(&shape, x, HW_LANES, r->steps, kind.trend != SPR_HW_TREND_NONE, mult, until, r->ticks, seasons,
                         r->work);
}

void spr__hw_room_start(struct hw_room *r, const struct hw_kind *kinds, bool head) {
    int64_t ends[HW_LANES] = {0};
    r->first = r->steps, r->last = 0;
    for (int32_t i = 0; i < HW_LANES; i++) {
        if (i >= r->rows) {
            r->from[i] = r->cut[i] = r->steps;
            continue;
        }
        r->mult[i] = kinds[i].mult && r->can_multiply[i];
        int64_t until = r->hw->opts.start == SPR_HW_START_WHOLE ? r->steps : 0;
        struct hw_start s = begin(r, i, kinds[i], r->mult[i], until);
        if (r->mult[i] && s.seasons < 1) { /* a late beginner cannot */
            r->mult[i] = false;
            s = begin(r, i, kinds[i], false, until);
        }
        r->start_level[i] = s.level, r->start_trend[i] = kinds[i].trend == SPR_HW_TREND_NONE ? 0 : s.trend;
        r->from[i] = SPR_MIN(s.from, r->steps), r->seasons[i] = s.seasons;
        double period = r->hw->shape.cycle[0].slots ? r->hw->shape.cycle[0].period : 1;
        int64_t own = r->steps - r->from[i], tail = SPR_MIN((int64_t)SPR_MAX(4.0 * r->hw->horizon, period), own / 4);
        r->cut[i] = own - tail >= 16 && tail >= LEAST_TAIL * r->hw->horizon ? r->steps - tail : r->from[i];
        int64_t end = head && r->cut[i] > r->from[i] ? r->cut[i] : r->steps;
        if (until > end) { /* a start must not know the tail that judges it */
            s = begin(r, i, kinds[i], r->mult[i], end);
            r->start_level[i] = s.level, r->start_trend[i] = kinds[i].trend == SPR_HW_TREND_NONE ? 0 : s.trend;
        }
        r->first = SPR_MIN(r->first, r->from[i]), r->last = SPR_MAX(r->last, end), ends[i] = end;
    }
    for (int64_t t = 0; t < r->steps; t++)
        for (int32_t i = 0; i < HW_LANES; i++)
            r->seen[t * HW_LANES + i] = t < r->from[i] || t >= ends[i] ? NAN : r->x[t * HW_LANES + i];
}

/* ---- runs ---- */

static double fixed(double option) { return option == SPR_NONE ? 0.0 : option; }

void spr__hw_room_params(const struct hw_room *r, const struct hw_kind *kinds, double (*points)[HW_DIMS],
                         const double *bound, struct hw_params *p) {
    const struct spr_holt_winters_opts *o = &r->hw->opts;
    const double given[HW_DIMS] = {o->alpha, o->beta, o->gamma, o->gamma2, o->phi};
    for (int32_t i = 0; i < HW_LANES; i++) {
        for (int d = 0; d < HW_DIMS; d++)
            p->of[d][i] = given[d] != 0 ? fixed(given[d]) : points[i][d];
        if (kinds[i].trend == SPR_HW_TREND_NONE)
            p->of[HW_BETA][i] = p->of[HW_PHI][i] = 0;
        if (kinds[i].trend == SPR_HW_TREND_ADDITIVE)
            p->of[HW_PHI][i] = 1;
        if (i >= r->rows || r->seasons[i] < 1)
            p->of[HW_GAMMA][i] = 0;
        if (i >= r->rows || r->seasons[i] < 2)
            p->of[HW_GAMMA2][i] = 0;
        p->mult[i] = i < r->rows && r->mult[i];
        p->bound[i] = bound ? bound[i] : INFINITY;
    }
}

/* A pass over the steps from `first` on, from the starting states. */
static struct hw_pass pass_of(struct hw_room *r, const struct hw_params *params, int64_t first, int64_t last) {
    struct hw_pass pass = {.x = r->seen + first * HW_LANES,
                           .cap = r->cap ? r->cap + first * HW_LANES : NULL,
                           .steps = SPR_MAX(0, last - first),
                           .params = params,
                           .level = r->level,
                           .trend = r->trend,
                           .run = r->run,
                           .season = {r->season[0], r->season[1]},
                           .season_stride = HW_LANES,
                           .sse = r->sse};
    memcpy(r->level, r->start_level, sizeof r->level);
    memcpy(r->trend, r->start_trend, sizeof r->trend);
    memset(r->run, 0, sizeof r->run);
    for (int c = 0; c < HW_CYCLES; c++) {
        pass.ticks[c] = r->ticks[c] ? r->ticks[c] + first : NULL;
        memcpy(r->season[c], r->start_season[c], slots_of(r->hw, c) * sizeof(double));
    }
    return pass;
}

void spr__hw_room_run(struct hw_room *r, const struct hw_params *params, bool trace) {
    struct hw_pass pass = trace ? pass_of(r, params, 0, r->steps) : pass_of(r, params, r->first, r->last);
    if (trace)
        pass.trace = r->trace, pass.trace_from = r->trace_from;
    for (int32_t i = 0; i < r->rows; i++) {
        pass.any_mult = pass.any_mult || params->mult[i] > 0;
        pass.any_bound = pass.any_bound || !isinf(params->bound[i]);
    }
    r->hw->kernel(&pass);
}

void spr__hw_room_slopes(struct hw_room *r, const struct hw_params *params) {
    struct hw_pass pass = pass_of(r, params, r->first, r->last);
    r->slopes.trended = r->slopes.damped = false;
    for (int32_t i = 0; i < r->rows; i++) {
        r->slopes.trended = r->slopes.trended || params->of[HW_PHI][i] > 0;
        r->slopes.damped = r->slopes.damped || (params->of[HW_PHI][i] > 0 && params->of[HW_PHI][i] < 1);
    }
    for (int c = 0; c < HW_CYCLES; c++)
        if (r->slopes.season[c])
            memset(r->slopes.season[c], 0, slots_of(r->hw, c) * HW_DIMS * sizeof(double));
    r->hw->sloper(&pass, &r->slopes);
}

struct hw_errors spr__hw_room_errors(struct hw_room *r, const struct hw_params *params, int32_t i) {
    int64_t n = r->steps - r->trace_from;
    double *to = r->lane;
    bool full = true;
    for (int64_t t = 0; t < n; t++) {
        const double *from = r->trace + t * 4 * HW_LANES + i;
        to[t] = from[0], to[n + t] = from[HW_LANES], to[2 * n + t] = from[2 * HW_LANES];
        to[3 * n + t] = from[3 * HW_LANES];
        to[4 * n + t] = r->seen[(r->trace_from + t) * HW_LANES + i];
        full = full && (r->trace_from + t < r->from[i] || !isnan(to[4 * n + t]));
        if (r->cap)
            to[5 * n + t] = r->cap[(r->trace_from + t) * HW_LANES + i];
    }
    return (struct hw_errors){.hw = r->hw,
                              .x = to + 4 * n,
                              .cap = r->cap ? to + 5 * n : NULL,
                              .level = to,
                              .trend = to + n,
                              .one = to + 2 * n,
                              .two = to + 3 * n,
                              .spare = r->spare,
                              .steps = r->steps,
                              .from = r->trace_from,
                              .first = r->from[i],
                              .phi = params->of[HW_PHI][i],
                              .mult = r->mult[i],
                              .full = full && !r->cap};
}
