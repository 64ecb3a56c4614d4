/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The fitted state of Holt-Winters at work: one more step of every series, with its quantiles, and forecasts. A step
 * touches one row of each season, which lies together for all series, and a run of rows of every block; which rungs of
 * the quantiles are due depends on the step alone, so that all lanes do the same.
 */
#include "forecast/hw.h"

struct update_job {
    struct hw *hw;
    const struct spr_panel *panel;
};

static bool any_above(const double *v, double than) {
    bool any = false;
    for (int i = 0; i < HW_LANES; i++)
        any = any || v[i] > than;
    return any;
}

static void samples(const struct update_job *job, int64_t block, int64_t t, double *x, double *cap) {
    const double *lambda = spr__hw_row(job->hw, block, HW_ROW_LAMBDA);
    for (int i = 0; i < HW_LANES; i++) {
        spr__hw_sample(job->panel, block * HW_LANES + i, t, &x[i], cap ? &cap[i] : NULL);
        if (job->hw->opts.transform && lambda[i] != HW_PLAIN && !isnan(x[i])) {
            double *top = spr__hw_row(job->hw, block, HW_ROW_TOP) + i;
            *top = SPR_MAX(*top, x[i]);
            x[i] = spr__hw_bend(SPR_MAX(x[i], spr__hw_row(job->hw, block, HW_ROW_LOW)[i]), lambda[i]);
            if (cap && !isinf(cap[i]))
                cap[i] = x[i];
        }
    }
}

/* Rungs whose forecast for `step` was waiting are compared, and forecast anew. */
static void follow_rungs(const struct hw *hw, int64_t block, int64_t step, struct hw_follow *f) {
    for (int32_t r = 0; r < hw->rung_count; r++) {
        int32_t h = hw->rungs[r], slots = spr__hw_waiting(h), every = h / slots;
        if (step % every)
            continue;
        double *rows = spr__hw_row(hw, block, hw->rung_row[r]);
        f->rung.reach = rows, f->rung.scale = rows + HW_LANES, f->rung.offset = rows + 2 * HW_LANES;
        f->rung.pending = rows + (2 + hw->level_count + step / every % slots) * HW_LANES;
        for (int c = 0; c < HW_CYCLES; c++)
            if (hw->shape.cycle[c].slots)
                f->ticks[c] = spr__hw_tick(&hw->shape.cycle[c], step + h);
        hw->follower(f);
    }
}

static void update_block(void *arg, size_t index) {
    struct update_job *job = arg;
    struct hw *hw = job->hw;
    int64_t block = (int64_t)index;
    double x[HW_LANES], caps[HW_LANES], sse[HW_LANES], *cap = job->panel->censored ? caps : NULL;
    const struct hw_params *params = (const void *)spr__hw_row(hw, block, 0);
    bool mult = any_above(params->mult, 0), bound = false;
    for (int i = 0; i < HW_LANES; i++)
        bound = bound || !isinf(params->bound[i]);
    struct hw_pass pass = {.x = x,
                           .cap = cap,
                           .steps = 1,
                           .params = params,
                           .any_mult = mult,
                           .any_bound = bound,
                           .level = spr__hw_row(hw, block, HW_ROW_LEVEL),
                           .trend = spr__hw_row(hw, block, HW_ROW_TREND),
                           .run = spr__hw_row(hw, block, HW_ROW_RUN),
                           .season_stride = spr__hw_stride(hw),
                           .sse = sse};
    struct hw_follow follow = {.x = x,
                               .cap = cap,
                               .level = pass.level,
                               .trend = pass.trend,
                               .mult = params->mult,
                               .season_stride = pass.season_stride,
                               .levels = hw->levels,
                               .level_count = hw->level_count,
                               .any_mult = mult};
    for (int64_t t = 0; t < job->panel->steps; t++) {
        struct hw_tick ticks[HW_CYCLES];
        for (int c = 0; c < HW_CYCLES; c++)
            if (hw->shape.cycle[c].slots) {
                ticks[c] = spr__hw_tick(&hw->shape.cycle[c], hw->steps + t);
                pass.ticks[c] = &ticks[c];
                pass.season[c] = hw->season[c] + block * HW_LANES;
                follow.season[c] = pass.season[c];
            }
        samples(job, block, t, x, cap);
        hw->kernel(&pass);
        if (!hw->opts.freeze)
            follow_rungs(hw, block, hw->steps + t, &follow);
    }
}

int spr__hw_update(void *state, const struct spr_panel *steps) {
    struct hw *hw = state;
    struct update_job job = {hw, steps};
    spr__parallel(hw->ctx, (size_t)hw->block_count, update_block, &job);
    hw->steps += steps->steps;
    return SPR_OK;
}

/* ---- predict ---- */

struct predict_job {
    const struct hw *hw;
    const double *now;
    struct spr_forecaster_output *out;
};

static double point_at(const struct hw *hw, int64_t block, size_t lane, double base, int32_t h) {
    const struct hw_params *p = (const void *)spr__hw_row(hw, block, 0);
    double v = base;
    for (int c = 0; c < HW_CYCLES; c++)
        if (hw->shape.cycle[c].slots) {
            double s = spr__hw_season(hw->season[c] + block * HW_LANES + lane, spr__hw_stride(hw),
                                      spr__hw_tick(&hw->shape.cycle[c], hw->steps + h));
            v = p->mult[lane] > 0 ? v * SPR_MAX(s, HW_FIGURE_MIN) : v + s;
        }
    return v;
}

static void predict_row(void *arg, size_t s) {
    const struct predict_job *job = arg;
    const struct hw *hw = job->hw;
    int64_t block = (int64_t)(s / HW_LANES);
    size_t lane = s % HW_LANES, horizon = (size_t)hw->horizon, levels = (size_t)hw->level_count;
    double phi = spr__hw_row(hw, block, HW_PHI)[lane], trend = spr__hw_row(hw, block, HW_ROW_TREND)[lane], power = phi;
    double level = spr__hw_row(hw, block, HW_ROW_LEVEL)[lane], shift = 0;
    double lambda = spr__hw_row(hw, block, HW_ROW_LAMBDA)[lane], low = spr__hw_row(hw, block, HW_ROW_LOW)[lane];
    double most = lambda == HW_PLAIN ? INFINITY : HW_BENT_REACH * spr__hw_row(hw, block, HW_ROW_TOP)[lane];
    for (int32_t h = 0; h < hw->horizon; h++, power *= phi) {
        level += power * trend;
        double v = point_at(hw, block, lane, level, h), share;
        if (h == 0 && job->now && !isnan(job->now[s]))
            shift = (lambda == HW_PLAIN ? job->now[s] : spr__hw_bend(SPR_MAX(job->now[s], low), lambda)) - v;
        v += shift;
        job->out->points[s * horizon + (size_t)h] = SPR_MIN(spr__hw_unbend(v, lambda), most);
        int32_t r = spr__rung_at(hw->rungs, hw->rung_count, h + 1, &share);
        const double *near = spr__hw_row(hw, block, hw->rung_row[r] + 2) + lane;
        const double *far = share > 0 ? spr__hw_row(hw, block, hw->rung_row[r + 1] + 2) + lane : near;
        for (size_t k = 0; k < levels; k++) {
            double q = near[k * HW_LANES];
            q += share > 0 ? share * (far[k * HW_LANES] - q) : 0;
            job->out->quantiles[(s * horizon + (size_t)h) * levels + k] = SPR_MIN(spr__hw_unbend(v + q, lambda), most);
        }
    }
}

int spr__hw_predict(void *state, const double *now, struct spr_forecaster_output *out) {
    struct hw *hw = state;
    struct predict_job job = {hw, now, out};
    spr__parallel(hw->ctx, (size_t)hw->series, predict_row, &job);
    return SPR_OK;
}
