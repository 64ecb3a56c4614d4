/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Fitting one block: per kind of trend a search over the one-step errors, then the kind whose forecasts over all
 * horizons were least wrong. Resumable between any two runs over the history. */
#include "forecast/hw.h"

enum { TRACE_MAX = 4096 }; /* so many of the newest steps tell the spread */

/* What a block needs while it is worked on. */
struct room {
    const struct hw *hw;
    const struct hw_tick *const *ticks;
    int64_t steps, trace_from;
    int32_t rows;                   /* lanes that hold a series */
    double *x, *cap, *work, *trace; /* cap: NULL where the panel has no censored steps */
    double *start_season[HW_CYCLES], *season[HW_CYCLES];
    double start_level[HW_LANES], start_trend[HW_LANES], slope[HW_LANES];
    bool started[HW_LANES];
    int64_t from[HW_LANES];
    int32_t seasons[HW_LANES];
    double level[HW_LANES], trend[HW_LANES], sse[HW_LANES];
};

static size_t slots_of(const struct hw *hw, int c) { return (size_t)hw->shape.cycle[c].slots * HW_LANES; }
static size_t trace_size(const struct room *r) { return (size_t)(r->steps - r->trace_from) * 4 * HW_LANES; }

static void room_free(struct room *r) {
    const spr_context *ctx = r->hw->ctx;
    spr__free(ctx, r->x, (size_t)r->steps * HW_LANES, sizeof(double));
    spr__free(ctx, r->cap, (size_t)r->steps * HW_LANES, sizeof(double));
    spr__free(ctx, r->work, (size_t)r->steps * 2, sizeof(double));
    spr__free(ctx, r->trace, trace_size(r), sizeof(double));
    for (int c = 0; c < HW_CYCLES; c++) {
        spr__free(ctx, r->start_season[c], slots_of(r->hw, c), sizeof(double));
        spr__free(ctx, r->season[c], slots_of(r->hw, c), sizeof(double));
    }
}

static bool room_make(struct room *r, const struct hw *hw, const struct hw_tick *const *ticks, int64_t steps,
                      bool censored) {
    memset(r, 0, sizeof *r);
    r->hw = hw, r->ticks = ticks, r->steps = steps;
    r->trace_from = SPR_MAX(0, steps - TRACE_MAX - hw->horizon);
    r->x = spr__alloc(hw->ctx, (size_t)steps * HW_LANES, sizeof(double));
    r->work = spr__alloc(hw->ctx, (size_t)steps * 2, sizeof(double));
    r->trace = spr__alloc(hw->ctx, trace_size(r), sizeof(double));
    if (censored)
        r->cap = spr__alloc(hw->ctx, (size_t)steps * HW_LANES, sizeof(double));
    bool ok = r->x && r->work && r->trace && (r->cap || !censored);
    for (int c = 0; c < HW_CYCLES; c++) {
        r->start_season[c] = spr__alloc(hw->ctx, slots_of(hw, c), sizeof(double));
        r->season[c] = spr__alloc(hw->ctx, slots_of(hw, c), sizeof(double));
        ok = ok && r->start_season[c] && r->season[c];
    }
    if (!ok)
        room_free(r);
    return ok;
}

/* The season's start does not depend on the kind of trend: it is worked out once. */
static void start_lane(struct room *r, int32_t i, bool trend) {
    double *seasons[HW_CYCLES] = {r->start_season[0] + i, r->start_season[1] + i};
    if (!r->started[i] || !r->seasons[i]) {
        struct hw_start s =
            spr__hw_begin(&r->hw->shape, r->x + i, HW_LANES, r->steps, trend, r->ticks, seasons, r->work);
        r->start_level[i] = s.level, r->slope[i] = s.trend;
        r->from[i] = SPR_MIN(s.from, r->steps), r->seasons[i] = s.seasons;
        r->started[i] = true;
    }
    r->start_trend[i] = trend ? r->slope[i] : 0;
}

/* Bring the block's rows into lanes and start every lane; steps before a lane's first smoothed one become NaN. */
static void load(struct room *r, const struct spr_panel *p, int64_t block, int32_t kind) {
    for (int64_t t = 0; t < r->steps; t++)
        for (int32_t i = 0; i < HW_LANES; i++)
            spr__hw_sample(p, block * HW_LANES + i, t, &r->x[t * HW_LANES + i],
                           r->cap ? &r->cap[t * HW_LANES + i] : NULL);
    for (int32_t i = 0; i < r->rows; i++) {
        start_lane(r, i, kind != SPR_HW_TREND_NONE);
        for (int64_t t = 0; t < r->from[i]; t++)
            r->x[t * HW_LANES + i] = NAN;
    }
}

static double fixed(double option) { return option == SPR_NONE ? 0.0 : option; }

/* The dimensions that are searched for a kind of trend. */
static int32_t dims_of(const struct hw *hw, int32_t kind, struct hw_dim *dims) {
    const struct spr_holt_winters_opts *o = &hw->opts;
    int32_t n = 0;
    if (o->alpha == 0)
        dims[n++] = (struct hw_dim){HW_ALPHA, 0, 1, {0.05, 0.3, 0.8}, 3};
    if (o->beta == 0 && kind != SPR_HW_TREND_NONE)
        dims[n++] = (struct hw_dim){HW_BETA, 0, 1, {0.02, 0.3}, 2};
    if (o->gamma == 0 && hw->shape.cycle[0].slots)
        dims[n++] = (struct hw_dim){HW_GAMMA, 0, 1, {0.05, 0.3, 0.8}, 3};
    if (o->gamma2 == 0 && hw->shape.cycle[1].slots)
        dims[n++] = (struct hw_dim){HW_GAMMA2, 0, 1, {0.05, 0.3}, 2};
    if (o->phi == 0 && kind == SPR_HW_TREND_DAMPED)
        dims[n++] = (struct hw_dim){HW_PHI, 0.8, 0.99, {0.9}, 1};
    return n;
}

static void set_params(const struct room *r, int32_t kind, const struct hw_dim *dims, int32_t count,
                       double (*points)[HW_DIMS], struct hw_params *p) {
    const struct spr_holt_winters_opts *o = &r->hw->opts;
    for (int32_t i = 0; i < HW_LANES; i++) {
        p->of[HW_ALPHA][i] = fixed(o->alpha), p->of[HW_BETA][i] = fixed(o->beta);
        p->of[HW_GAMMA][i] = fixed(o->gamma), p->of[HW_GAMMA2][i] = fixed(o->gamma2), p->of[HW_PHI][i] = o->phi;
        for (int32_t d = 0; d < count; d++)
            p->of[dims[d].id][i] = points[i][d];
        if (kind == SPR_HW_TREND_NONE)
            p->of[HW_BETA][i] = p->of[HW_PHI][i] = 0;
        if (kind == SPR_HW_TREND_ADDITIVE)
            p->of[HW_PHI][i] = 1;
        if (r->seasons[i] < 1)
            p->of[HW_GAMMA][i] = 0;
        if (r->seasons[i] < 2)
            p->of[HW_GAMMA2][i] = 0;
        for (int d = 0; d < HW_DIMS; d++)
            p->rest[d][i] = 1 - p->of[d][i];
    }
}

static void run(struct room *r, const struct hw_params *params, bool traced) {
    memcpy(r->level, r->start_level, sizeof r->level);
    memcpy(r->trend, r->start_trend, sizeof r->trend);
    for (int c = 0; c < HW_CYCLES; c++)
        memcpy(r->season[c], r->start_season[c], slots_of(r->hw, c) * sizeof(double));
    struct hw_pass pass = {.x = r->x,
                           .cap = r->cap,
                           .steps = r->steps,
                           .ticks = {r->ticks[0], r->ticks[1]},
                           .params = params,
                           .level = r->level,
                           .trend = r->trend,
                           .season = {r->season[0], r->season[1]},
                           .sse = r->sse,
                           .trace = traced ? r->trace : NULL,
                           .trace_from = r->trace_from};
    r->hw->kernel(&pass);
}

static int search(struct room *r, struct hw_block *b, int32_t kind, int64_t limit, int64_t *used) {
    double points[HW_LANES][HW_DIMS];
    struct hw_params params;
    if (!b->searching) {
        struct hw_dim dims[HW_DIMS];
        spr__hw_search_begin(&b->search, dims, dims_of(r->hw, kind, dims));
        b->searching = true;
    }
    while (spr__hw_search_ask(&b->search, points)) {
        if (limit && *used >= limit)
            return SPR_AGAIN;
        set_params(r, kind, b->search.dims, b->search.dim_count, points, &params);
        run(r, &params, false);
        spr__hw_search_tell(&b->search, points, r->sse);
        ++*used;
    }
    memcpy(b->found[b->kind], b->search.best, sizeof b->search.best);
    b->searching = false;
    return SPR_OK;
}

static void take_lane(struct room *r, struct hw_block *b, const struct hw_params *params, int32_t i) {
    for (int d = 0; d < HW_DIMS; d++)
        b->params.of[d][i] = params->of[d][i], b->params.rest[d][i] = params->rest[d][i];
    b->level[i] = r->level[i], b->trend[i] = r->trend[i], b->sse[i] = r->sse[i];
    for (int c = 0; c < HW_CYCLES; c++)
        for (size_t at = (size_t)i; at < slots_of(r->hw, c); at += HW_LANES)
            b->season[c][at] = r->season[c][at];
}

/* Run the best point of a kind with its trace; `e` of each lane then tells its errors. */
static void retrace(struct room *r, struct hw_block *b, const struct spr_panel *p, int64_t block, int32_t k,
                    struct hw_params *params, struct hw_errors *e) {
    const struct hw *hw = r->hw;
    struct hw_dim dims[HW_DIMS];
    int32_t count = dims_of(hw, hw->kinds[k], dims);
    load(r, p, block, hw->kinds[k]);
    set_params(r, hw->kinds[k], dims, count, b->found[k], params);
    run(r, params, true);
    for (int32_t i = 0; i < r->rows; i++)
        e[i] = (struct hw_errors){
            hw, r->x, r->cap, r->trace, r->steps, r->trace_from, i, r->from[i], params->of[HW_PHI][i]};
}

/* Of the kinds the one whose forecasts at all horizons were least wrong; a richer one must be better by half a per
 * cent. */
static void choose(struct room *r, struct hw_block *b, const struct spr_panel *p, int64_t block, int32_t *kind) {
    double best[HW_LANES];
    struct hw_params params;
    struct hw_errors e[HW_LANES];
    memset(kind, 0, HW_LANES * sizeof *kind);
    for (int32_t k = 0; r->hw->kind_count > 1 && k < r->hw->kind_count; k++) {
        retrace(r, b, p, block, k, &params, e);
        for (int32_t i = 0; i < r->rows; i++) {
            double mean = spr__hw_errors_mean(&e[i], r->work);
            if (k == 0 || mean < 0.995 * best[i])
                best[i] = mean, kind[i] = k;
        }
    }
}

static void keep(struct room *r, struct hw_block *b, const struct spr_panel *p, int64_t block, const int32_t *kind) {
    const struct hw *hw = r->hw;
    struct hw_params params;
    struct hw_errors e[HW_LANES];
    for (int32_t k = 0; k < hw->kind_count; k++) {
        bool used = false;
        for (int32_t i = 0; i < r->rows; i++)
            used = used || kind[i] == k;
        if (!used)
            continue;
        retrace(r, b, p, block, k, &params, e);
        for (int32_t i = 0; i < r->rows; i++) {
            if (kind[i] != k)
                continue;
            take_lane(r, b, &params, i);
            spr__hw_errors_quantiles(&e[i], &params, r->sse[i], r->level[i], r->work,
                                     hw->offsets + (block * HW_LANES + i) * hw->rung_count * hw->level_count);
        }
    }
}

int spr__hw_fit_block(struct hw *hw, int64_t block, const struct spr_panel *history, const struct hw_tick *const *ticks,
                      int64_t runs) {
    struct hw_block *b = &hw->blocks[block];
    struct room r;
    int64_t used = 0;
    int rc = SPR_OK;
    if (!room_make(&r, hw, ticks, history->steps, history->censored))
        return SPR_E_NOMEM; /* no record here: blocks run side by side */
    r.rows = (int32_t)SPR_MIN(HW_LANES, hw->series - block * HW_LANES);
    for (; b->kind < hw->kind_count && rc == SPR_OK; b->kind += rc == SPR_OK) {
        load(&r, history, block, hw->kinds[b->kind]);
        rc = search(&r, b, hw->kinds[b->kind], runs, &used);
    }
    if (rc == SPR_OK) {
        int32_t kind[HW_LANES];
        choose(&r, b, history, block, kind);
        keep(&r, b, history, block, kind);
        b->fitted = true;
    }
    room_free(&r);
    return rc;
}
