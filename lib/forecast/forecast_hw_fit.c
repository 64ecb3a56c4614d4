/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Fitting one block. Per kind of trend and season a search over the one-step errors of all but the tail; the tail
 * chooses the kind by the loss of forecasts at all horizons; a last short search over the whole history from the point
 * that was found. Resumable between any two runs over the history.
 */
#include "forecast/hw_room.h"

#define RICHER        0.995 /* a richer kind must lose less than this share of a simpler one's loss */
#define LONGER        0.9   /* ... and one with a second season, of one without */
#define NEAR_SIZE     0.15  /* of the simplex of a richer kind, which begins where the first kind ended */
#define LAST_SIZE     0.05  /* of the last search and of a warm fit */
/* Relative differences of squared errors at which a search ends: on the way to a choice, after it, without one. */
#define ROUGH_SLACK   1e-4
#define LAST_SLACK    1e-5
#define FINE_SLACK    1e-8
/* A descent is finer than its last promise: it ends sooner. */
#define DESCENT_SLACK 3e-7

/* The dimensions that are searched for a lane of a kind. */
static int32_t dims_of(const struct hw_room *r, int32_t lane, int32_t trend, struct hw_dim *dims) {
    const struct spr_holt_winters_opts *o = &r->hw->opts;
    int32_t n = 0;
    if (o->alpha == 0)
        dims[n++] = (struct hw_dim){HW_ALPHA, 0, 1, {0.05, 0.3, 0.8}, 3};
    if (o->beta == 0 && trend != SPR_HW_TREND_NONE)
        dims[n++] = (struct hw_dim){HW_BETA, 0, 1, {0.02, 0.3}, 2};
    if (o->gamma == 0 && r->seasons[lane] > 0)
        dims[n++] = (struct hw_dim){HW_GAMMA, 0, 1, {0.05, 0.3, 0.8}, 3};
    if (o->gamma2 == 0 && r->seasons[lane] > 1)
        dims[n++] = (struct hw_dim){HW_GAMMA2, 0, 1, {0.05, 0.3}, 2};
    if (o->phi == 0 && trend == SPR_HW_TREND_DAMPED)
        dims[n++] = (struct hw_dim){HW_PHI, 0.8, 0.99, {0.9}, 1};
    return n;
}

static bool held_out(const struct hw *hw) {
    return hw->kind_count > 1 && hw->opts.selection == SPR_HW_SELECTION_DEFAULT;
}

static bool pointless(const struct hw_room *r, int32_t phase) { /* nobody can be of this kind */
    if (phase >= r->hw->kind_count || !r->hw->kinds[phase].mult || r->hw->kind_count == 1)
        return false;
    for (int32_t i = 0; i < r->rows; i++)
        if (r->can_multiply[i])
            return false;
    return true;
}

/* ---- search ---- */

/* Slopes are for lanes whose errors are smooth in the parameters, and the recursion of which is linear. */
static bool descends(const struct hw_room *r, const struct hw_work *w, int32_t i) {
    return !r->mult[i] && !r->censored[i] && isinf(w->bound[i]);
}

static void begin_search(const struct hw_room *r, struct hw_work *w, const struct hw_kind *kinds) {
    bool last = w->phase == r->hw->kind_count;
    double slack = last ? LAST_SLACK : held_out(r->hw) ? ROUGH_SLACK : FINE_SLACK;
    for (int32_t i = 0; i < r->rows; i++) {
        struct hw_dim dims[HW_DIMS];
        double from[HW_DIMS];
        int32_t n = dims_of(r, i, kinds[i].trend, dims);
        bool known = last || w->phase > 0;
        const double *at = last ? w->found[w->kind[i]][i] : w->found[0][i];
        for (int32_t d = 0; d < n; d++) {
            bool had =
                last || w->phase == 0 || dims[d].id == HW_ALPHA || dims[d].id == HW_GAMMA || dims[d].id == HW_GAMMA2;
            from[d] = had ? at[dims[d].id] : dims[d].grid[0];
        }
        bool slopes = descends(r, w, i);
        spr__hw_search_begin(&w->search[i], dims, n, known ? from : NULL, last ? LAST_SIZE : NEAR_SIZE,
                             slopes ? SPR_MAX(slack, DESCENT_SLACK) : slack, slopes);
    }
    w->searching = true;
}

/* One run answers what all lanes ask that want the same of it. */
static void answer(struct hw_room *r, struct hw_work *w, const struct hw_params *params, bool slopes,
                   double (*asked)[HW_DIMS], bool *more) {
    if (slopes)
        spr__hw_room_slopes(r, params);
    else
        spr__hw_room_run(r, params, false);
    for (int32_t i = 0; i < r->rows; i++) {
        struct hw_told told = {.f = r->sse[i]};
        if (!more[i])
            continue;
        for (int d = 0; d < HW_DIMS && slopes; d++) {
            told.grad[d] = r->slopes.grad[d][i];
            for (int k = 0; k < HW_DIMS; k++)
                told.hess[d][k] = r->slopes.hess[d][k][i];
        }
        spr__hw_search_tell(&w->search[i], asked[i], &told);
    }
}

static int search(struct hw_room *r, struct hw_work *w, const struct hw_kind *kinds, double (*found)[HW_DIMS],
                  int64_t limit, int64_t *used) {
    double asked[HW_LANES][HW_DIMS], points[HW_LANES][HW_DIMS] = {{0}};
    struct hw_params params;
    if (!w->searching)
        begin_search(r, w, kinds);
    for (;;) {
        bool more[2][HW_LANES] = {{false}}, any[2] = {false};
        for (int32_t i = 0; i < r->rows; i++) {
            bool slopes = spr__hw_search_slopes(&w->search[i]);
            any[slopes] |= more[slopes][i] = spr__hw_search_ask(&w->search[i], asked[i]);
            for (int32_t d = 0; d < w->search[i].dim_count; d++)
                points[i][w->search[i].dims[d].id] = asked[i][d];
        }
        if (!any[0] && !any[1])
            break;
        if (limit && *used >= limit)
            return SPR_AGAIN;
        spr__hw_room_params(r, kinds, points, w->bound, &params);
        for (int slopes = 0; slopes < 2; slopes++)
            if (any[slopes])
                answer(r, w, &params, slopes, asked, more[slopes]), ++*used;
    }
    for (int32_t i = 0; i < r->rows; i++)
        memcpy(found[i], points[i], sizeof points[i]);
    w->searching = false;
    return SPR_OK;
}

/* ---- choice ---- */

/* Of the kinds the one whose forecasts were least wrong in the tail. */
static void choose(struct hw_room *r, struct hw_work *w) {
    const struct hw *hw = r->hw;
    double best[HW_LANES];
    memset(w->kind, 0, sizeof w->kind);
    for (int32_t k = 0; hw->kind_count > 1 && k < hw->kind_count; k++) {
        struct hw_kind kinds[HW_LANES];
        struct hw_params params;
        if (pointless(r, k))
            continue;
        for (int32_t i = 0; i < HW_LANES; i++)
            kinds[i] = hw->kinds[k];
        spr__hw_room_start(r, kinds, false);
        spr__hw_room_params(r, kinds, w->found[k], w->bound, &params);
        spr__hw_room_run(r, &params, true);
        for (int32_t i = 0; i < r->rows; i++) {
            if (k && kinds[i].mult && !r->mult[i])
                continue;
            struct hw_errors e = spr__hw_room_errors(r, &params, i);
            double loss = spr__hw_errors_loss(&e, held_out(hw) ? r->cut[i] : r->from[i], r->work);
            bool longer = k && !hw->kinds[k].first_only && hw->kinds[w->kind[i]].first_only;
            if (k == 0 || loss < (longer ? LONGER : RICHER) * best[i])
                best[i] = loss, w->kind[i] = k;
        }
    }
    w->chosen = true;
}

/* Three robust deviations of the one-step errors; where most of them are zero, of what there is. */
static double bound_of(const struct hw_errors *e, double *work) {
    const double middle = 0.5;
    double size = 0, median;
    int64_t n = spr__hw_errors_at(e, 1, e->first, e->steps, 1, work);
    if (n < 16)
        return INFINITY;
    for (int64_t i = 0; i < n; i++)
        size += work[i] = fabs(work[i]);
    spr__quantiles_by(e->hw->split, e->spare, work, n, &middle, 1, &median);
    double bound = 3 * (median > 0 ? 1.4826 * median : size / (double)n);
    return bound > 0 ? bound : INFINITY;
}

/* Cut residuals from the first search on: the bounds of usual parameters will do. */
static void first_bounds(struct hw_room *r, struct hw_work *w) {
    struct hw_kind kinds[HW_LANES];
    double points[HW_LANES][HW_DIMS];
    struct hw_params params;
    for (int32_t i = 0; i < HW_LANES; i++) {
        const double usual[HW_DIMS] = {0.3, 0.02, 0.1, 0.1, 0.9};
        memcpy(points[i], usual, sizeof usual);
        kinds[i] = r->hw->kinds[0], w->bound[i] = INFINITY;
    }
    if (r->hw->opts.robust != SPR_HW_ROBUST_ALWAYS)
        return;
    spr__hw_room_start(r, kinds, false);
    spr__hw_room_params(r, kinds, points, NULL, &params);
    spr__hw_room_run(r, &params, true);
    for (int32_t i = 0; i < r->rows; i++) {
        struct hw_errors e = spr__hw_room_errors(r, &params, i);
        w->bound[i] = bound_of(&e, r->work);
    }
}

/* ---- result ---- */

/* Bounds on residuals, by the loss in the tail with and without them. Leaves a traced run with the chosen ones. */
static void settle_bounds(struct hw_room *r, struct hw_work *w, struct hw_params *params) {
    int32_t robust = r->hw->opts.robust;
    double loss[HW_LANES], bound[HW_LANES];
    spr__hw_room_run(r, params, true);
    if (robust == SPR_HW_ROBUST_NEVER || (robust == SPR_HW_ROBUST_DEFAULT && r->hw->kind_count == 1))
        return;
    for (int32_t i = 0; i < r->rows; i++) {
        struct hw_errors e = spr__hw_room_errors(r, params, i);
        loss[i] = robust == SPR_HW_ROBUST_ALWAYS ? INFINITY : spr__hw_errors_loss(&e, r->cut[i], r->work);
        bound[i] = bound_of(&e, r->work);
        params->bound[i] = bound[i];
    }
    spr__hw_room_run(r, params, true);
    bool again = false;
    for (int32_t i = 0; i < r->rows && robust == SPR_HW_ROBUST_DEFAULT; i++) {
        struct hw_errors e = spr__hw_room_errors(r, params, i);
        if (!(spr__hw_errors_loss(&e, r->cut[i], r->work) < RICHER * loss[i]))
            again = again || !isinf(bound[i]), params->bound[i] = INFINITY;
    }
    if (again)
        spr__hw_room_run(r, params, true);
    (void)w;
}

static void keep(struct hw_room *r, struct hw_work *w, struct hw *hw, int64_t block) {
    struct hw_kind kinds[HW_LANES];
    double points[HW_LANES][HW_DIMS];
    struct hw_params params;
    for (int32_t i = 0; i < HW_LANES; i++) {
        kinds[i] = hw->kinds[w->kind[i]];
        memcpy(points[i], w->found[w->kind[i]][i], sizeof points[i]);
    }
    spr__hw_room_start(r, kinds, false);
    spr__hw_room_params(r, kinds, points, w->bound, &params);
    settle_bounds(r, w, &params);
    memcpy(spr__hw_row(hw, block, 0), &params, sizeof params);
    memcpy(spr__hw_row(hw, block, HW_ROW_LEVEL), r->level, sizeof r->level);
    memcpy(spr__hw_row(hw, block, HW_ROW_TREND), r->trend, sizeof r->trend);
    memcpy(spr__hw_row(hw, block, HW_ROW_RUN), r->run, sizeof r->run);
    memcpy(hw->sse + block * HW_LANES, r->sse, sizeof r->sse);
    for (int c = 0; c < HW_CYCLES; c++)
        for (int32_t slot = 0; slot < hw->shape.cycle[c].slots; slot++)
            memcpy(hw->season[c] + (size_t)slot * spr__hw_stride(hw) + block * HW_LANES, r->season[c] + slot * HW_LANES,
                   HW_LANES * sizeof(double));
    for (int32_t i = 0; i < r->rows; i++) {
        struct hw_errors e = spr__hw_room_errors(r, &params, i);
        spr__hw_row(hw, block, HW_ROW_KIND)[i] = w->kind[i];
        spr__hw_errors_rungs(&e, &params, i, r->sse[i], r->level[i], r->work, spr__hw_row(hw, block, HW_ROW_RUNGS));
    }
}

/* ---- the fit ---- */

/* Between which values a bent lane is believed. */
static void note_extremes(struct hw *hw, const struct spr_panel *p, int64_t block, int32_t i) {
    double least = INFINITY, most = 0;
    for (int64_t t = 0; t < p->steps; t++) {
        double y = spr__panel_value(p, block * HW_LANES + i, t);
        least = y < least ? y : least;
        most = y > most ? y : most;
    }
    spr__hw_row(hw, block, HW_ROW_LOW)[i] = HW_BENT_FLOOR * least;
    spr__hw_row(hw, block, HW_ROW_TOP)[i] = most;
}

static void begin_block(struct hw_room *r, struct hw_work *w, struct hw *hw, int64_t block,
                        const struct spr_panel *history) {
    static const double asked[] = {HW_PLAIN, 0, 0, NAN};
    int32_t transform = hw->opts.transform;
    double *lambda = spr__hw_row(hw, block, HW_ROW_LAMBDA);
    for (int32_t i = 0; i < HW_LANES && !w->begun; i++) {
        double want = transform == SPR_HW_TRANSFORM_BOX_COX ? hw->opts.lambda : asked[transform];
        lambda[i] = HW_PLAIN;
        if (transform && block * HW_LANES + i < hw->series)
            lambda[i] = spr__hw_lambda(history, block * HW_LANES + i, want,
                                       hw->shape.cycle[0].slots ? hw->shape.cycle[0].period : 2, r->work);
        if (lambda[i] != HW_PLAIN)
            note_extremes(hw, history, block, i);
    }
    spr__hw_room_load(r, history, block, lambda);
    if (w->begun)
        return;
    first_bounds(r, w);
    if (hw->warm) {
        const struct hw_params *p = (const struct hw_params *)(const void *)spr__hw_row(hw, block, 0);
        w->phase = hw->kind_count, w->chosen = true;
        for (int32_t i = 0; i < r->rows; i++) {
            w->kind[i] = (int32_t)spr__hw_row(hw, block, HW_ROW_KIND)[i];
            for (int d = 0; d < HW_DIMS; d++)
                w->found[w->kind[i]][i][d] = p->of[d][i];
        }
    }
    w->begun = true;
}

static int search_phases(struct hw_room *r, struct hw_work *w, struct hw *hw, int64_t runs, int64_t *used) {
    struct hw_kind kinds[HW_LANES];
    int rc = SPR_OK;
    for (; w->phase < hw->kind_count && rc == SPR_OK; w->phase += rc == SPR_OK) {
        if (pointless(r, w->phase))
            continue;
        for (int32_t i = 0; i < HW_LANES; i++)
            kinds[i] = hw->kinds[w->phase];
        spr__hw_room_start(r, kinds, held_out(hw));
        rc = search(r, w, kinds, w->found[w->phase], runs, used);
    }
    if (rc != SPR_OK)
        return rc;
    if (!w->chosen)
        choose(r, w);
    if (!held_out(hw) && !hw->warm)
        return SPR_OK;
    double last[HW_LANES][HW_DIMS];
    for (int32_t i = 0; i < HW_LANES; i++)
        kinds[i] = hw->kinds[w->kind[i]];
    spr__hw_room_start(r, kinds, false);
    rc = search(r, w, kinds, last, runs, used);
    for (int32_t i = 0; i < r->rows && rc == SPR_OK; i++)
        memcpy(w->found[w->kind[i]][i], last[i], sizeof last[i]);
    return rc;
}

int spr__hw_fit_block(struct hw *hw, int64_t block, const struct spr_panel *history, const struct hw_tick *const *ticks,
                      int64_t runs) {
    struct hw_room r;
    int64_t used = 0;
    if (!hw->work[block] && !(hw->work[block] = spr__alloc(hw->ctx, 1, sizeof **hw->work)))
        return SPR_E_NOMEM; /* no record here: blocks run side by side */
    struct hw_work *w = hw->work[block];
    if (!spr__hw_room_make(&r, hw, ticks, history->steps, history->censored))
        return SPR_E_NOMEM;
    begin_block(&r, w, hw, block, history);
    int rc = search_phases(&r, w, hw, runs, &used);
    w->runs += used;
    if (rc == SPR_OK) {
        keep(&r, w, hw, block);
        hw->runs_of[block] = w->runs;
        spr__free(hw->ctx, w, 1, sizeof *w);
        hw->work[block] = NULL;
        hw->done[block] = 1;
    }
    spr__hw_room_free(&r);
    return rc;
}
