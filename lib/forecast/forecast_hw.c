/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Holt-Winters as a forecaster: options, resumable fit over blocks, online update, forecasts.
 * doc/algorithms/holt-winters.md */
#include "forecast/hw.h"

spr__hw_kernel *spr__hw_kernel_for(int simd) {
#if defined(__x86_64__) && defined(__GNUC__)
    if (simd == SPR_SIMD_AVX512)
        return spr__hw_avx512;
    if (simd == SPR_SIMD_AVX2)
        return spr__hw_avx2;
#endif
    (void)simd;
    return spr__hw_plain;
}

/* ---- options ---- */

static bool share_ok(double v) { return v == SPR_NONE || (v >= 0 && v <= 1); }
static bool period_ok(double v) { return v == 0 || v == SPR_NONE || (v >= 1 && v <= 1 << 20); }

static int check_opts(const spr_context *ctx, const struct spr_holt_winters_opts *o) {
    if (!period_ok(o->period) || !period_ok(o->period2))
        return spr__fail(ctx, SPR_E_ARG, "holt-winters: periods of %g and %g steps", o->period, o->period2);
    if (o->trend < SPR_HW_TREND_DEFAULT || o->trend > SPR_HW_TREND_DAMPED || o->reserved)
        return spr__fail(ctx, SPR_E_ARG, "holt-winters: no trend of kind %d", (int)o->trend);
    if (!share_ok(o->alpha) || !share_ok(o->beta) || !share_ok(o->gamma) || !share_ok(o->gamma2) ||
        !(o->phi == 0 || (o->phi >= 0.8 && o->phi <= 1)))
        return spr__fail(ctx, SPR_E_ARG, "holt-winters: smoothing shares lie in 0..1, damping in 0.8..1");
    return SPR_OK;
}

static void add_cycle(struct hw_shape *shape, double period) {
    int c = shape->cycle[0].slots ? 1 : 0;
    if (period < 2) /* a season of one step is no season */
        return;
    double whole = rint(period);
    shape->cycle[c].period = fabs(period - whole) < 1e-9 ? whole : period;
    shape->cycle[c].slots = (int32_t)floor(shape->cycle[c].period);
}

static void hw_close(void *state);

static int hw_open(const struct spr_forecaster_env *env, void **state) {
    spr_context *ctx = env->env->context;
    struct spr_holt_winters_opts o;
    int rc = spr__opts_copy(ctx, "spr_holt_winters_opts", env->config, &o, sizeof o);
    if (rc < 0 || (rc = check_opts(ctx, &o)) < 0)
        return rc;
    struct hw *hw = spr__alloc(ctx, 1, sizeof *hw);
    if (!hw)
        return spr__nomem(ctx);
    hw->ctx = ctx;
    hw->opts = o;
    hw->kernel = spr__hw_kernel_for(spr_context_simd(ctx));
    add_cycle(&hw->shape, o.period == 0 ? (double)SPR__DAY_NS / (double)env->step_ns : o.period);
    add_cycle(&hw->shape, o.period2);
    static const int32_t all[HW_KINDS] = {SPR_HW_TREND_NONE, SPR_HW_TREND_DAMPED, SPR_HW_TREND_ADDITIVE};
    hw->kind_count = o.trend ? 1 : HW_KINDS;
    memcpy(hw->kinds, all, sizeof all);
    if (o.trend)
        hw->kinds[0] = o.trend;
    hw->horizon = env->horizon, hw->level_count = env->level_count, hw->levels = env->levels;
    hw->rung_count = spr__rungs(hw->horizon, hw->rungs);
    *state = hw;
    return SPR_OK;
}

/* ---- blocks ---- */

static void drop_blocks(struct hw *hw) {
    for (int64_t b = 0; hw->blocks && b < hw->block_count; b++)
        for (int c = 0; c < HW_CYCLES; c++)
            spr__free(hw->ctx, hw->blocks[b].season[c], (size_t)hw->shape.cycle[c].slots * HW_LANES, sizeof(double));
    spr__free(hw->ctx, hw->blocks, (size_t)hw->block_count, sizeof *hw->blocks);
    spr__free(hw->ctx, hw->offsets, (size_t)hw->series * (size_t)hw->rung_count * (size_t)hw->level_count,
              sizeof(double));
    hw->blocks = NULL, hw->offsets = NULL, hw->block_count = hw->series = 0;
}

static int make_blocks(struct hw *hw, int64_t series) {
    drop_blocks(hw);
    hw->series = series;
    hw->block_count = (series + HW_LANES - 1) / HW_LANES;
    hw->offsets =
        spr__alloc(hw->ctx, (size_t)series * (size_t)hw->rung_count * (size_t)hw->level_count, sizeof(double));
    hw->blocks = spr__alloc(hw->ctx, (size_t)hw->block_count, sizeof *hw->blocks);
    bool ok = hw->offsets && hw->blocks;
    for (int64_t b = 0; ok && b < hw->block_count; b++)
        for (int c = 0; ok && c < HW_CYCLES; c++) {
            hw->blocks[b].season[c] = spr__alloc(hw->ctx, (size_t)hw->shape.cycle[c].slots * HW_LANES, sizeof(double));
            ok = hw->blocks[b].season[c] != NULL;
        }
    if (ok)
        return SPR_OK;
    drop_blocks(hw);
    return spr__nomem(hw->ctx);
}

static void hw_close(void *state) {
    struct hw *hw = state;
    spr_context *ctx = hw->ctx;
    drop_blocks(hw);
    spr__free(ctx, hw, 1, sizeof *hw);
}

/* ---- fit ---- */

struct fit_job {
    struct hw *hw;
    const struct spr_panel *panel;
    const struct hw_tick *ticks[HW_CYCLES];
    const int64_t *todo; /* blocks to work on, their budgets, their results */
    int64_t todo_count, runs;
    int *result;
};

static void fit_item(void *arg, size_t i) {
    struct fit_job *job = arg;
    int64_t share = 0;
    if (job->runs) { /* the first blocks get one more; a block without a share waits for the next call */
        share = job->runs / job->todo_count + ((int64_t)i < job->runs % job->todo_count);
        if (!share) {
            job->result[i] = SPR_AGAIN;
            return;
        }
    }
    job->result[i] = spr__hw_fit_block(job->hw, job->todo[i], job->panel, job->ticks, share);
}

static int check_rows(const struct hw *hw, const struct spr_panel *p) {
    for (int64_t s = 0; s < p->series; s++) {
        int64_t t = 0;
        while (t < p->steps && isnan(spr__panel_value(p, s, t)))
            t++;
        if (t == p->steps)
            return spr__fail(hw->ctx, SPR_E_HISTORY, "holt-winters: series %lld has no value at all", (long long)s);
    }
    return SPR_OK;
}

static int run_fit(struct fit_job *job) {
    struct hw *hw = job->hw;
    int rc = SPR_OK;
    spr__parallel(hw->ctx, (size_t)job->todo_count, fit_item, job);
    for (int64_t i = 0; i < job->todo_count && rc >= 0; i++)
        if (job->result[i])
            rc = job->result[i];
    return rc == SPR_E_NOMEM ? spr__nomem(hw->ctx) : rc;
}

static int fit_todo(struct hw *hw, const struct spr_panel *p, int64_t budget, struct hw_tick *const *ticks,
                    int64_t *todo, int *result) {
    struct fit_job job = {.hw = hw, .panel = p, .ticks = {ticks[0], ticks[1]}, .todo = todo, .result = result};
    for (int64_t b = 0; b < hw->block_count; b++)
        if (!hw->blocks[b].fitted)
            todo[job.todo_count++] = b;
    if (budget) /* one run over a block answers one evaluation of each of its series */
        job.runs = SPR_MAX(1, budget / SPR_MIN(HW_LANES, hw->series));
    for (int c = 0; c < HW_CYCLES; c++) {
        if (!hw->shape.cycle[c].slots)
            job.ticks[c] = NULL;
        for (int64_t t = 0; job.ticks[c] && t < p->steps; t++)
            ticks[c][t] = spr__hw_tick(&hw->shape.cycle[c], t);
    }
    return run_fit(&job);
}

static int hw_fit(void *state, const struct spr_panel *history, int64_t first_step, int64_t budget) {
    struct hw *hw = state;
    (void)first_step;
    int rc = check_rows(hw, history);
    if (rc < 0)
        return rc;
    bool resumed = hw->blocks && hw->fit_steps == history->steps && hw->series == history->series;
    if (!resumed && (rc = make_blocks(hw, history->series)) < 0)
        return rc;
    hw->fit_steps = history->steps;
    struct hw_tick *ticks[HW_CYCLES] = {NULL, NULL};
    size_t n = (size_t)history->steps, blocks = (size_t)hw->block_count;
    int64_t *todo = spr__alloc(hw->ctx, blocks, sizeof *todo);
    int *result = spr__alloc(hw->ctx, blocks, sizeof *result);
    for (int c = 0; c < HW_CYCLES; c++)
        ticks[c] = spr__alloc(hw->ctx, n, sizeof *ticks[c]);
    rc = todo && result && ticks[0] && ticks[1] ? fit_todo(hw, history, budget, ticks, todo, result)
                                                : spr__nomem(hw->ctx);
    for (int c = 0; c < HW_CYCLES; c++)
        spr__free(hw->ctx, ticks[c], n, sizeof *ticks[c]);
    spr__free(hw->ctx, todo, blocks, sizeof *todo);
    spr__free(hw->ctx, result, blocks, sizeof *result);
    if (rc != SPR_AGAIN)
        hw->fit_steps = 0; /* the next fit begins anew */
    hw->steps = history->steps;
    return rc;
}

/* ---- update ---- */

struct update_job {
    struct hw *hw;
    const struct spr_panel *panel;
};

static void update_block(void *arg, size_t block) {
    struct update_job *job = arg;
    struct hw *hw = job->hw;
    struct hw_block *b = &hw->blocks[block];
    int64_t first = (int64_t)block * HW_LANES;
    double x[HW_LANES], cap[HW_LANES], sse[HW_LANES];
    for (int64_t t = 0; t < job->panel->steps; t++) {
        struct hw_tick ticks[HW_CYCLES];
        struct hw_pass pass = {.x = x,
                               .cap = job->panel->censored ? cap : NULL,
                               .steps = 1,
                               .params = &b->params,
                               .level = b->level,
                               .trend = b->trend,
                               .season = {b->season[0], b->season[1]},
                               .sse = sse};
        for (int c = 0; c < HW_CYCLES; c++)
            if (hw->shape.cycle[c].slots) {
                ticks[c] = spr__hw_tick(&hw->shape.cycle[c], hw->steps + t);
                pass.ticks[c] = &ticks[c];
            }
        for (int i = 0; i < HW_LANES; i++)
            spr__hw_sample(job->panel, first + i, t, &x[i], &cap[i]);
        hw->kernel(&pass);
    }
}

static int hw_update(void *state, const struct spr_panel *steps) {
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

static void predict_row(void *arg, size_t s) {
    const struct predict_job *job = arg;
    const struct hw *hw = job->hw;
    const struct hw_block *b = &hw->blocks[s / HW_LANES];
    size_t lane = s % HW_LANES, horizon = (size_t)hw->horizon, levels = (size_t)hw->level_count;
    const double *offsets = hw->offsets + s * (size_t)hw->rung_count * levels;
    double phi = b->params.of[HW_PHI][lane], power = phi, level = b->level[lane], shift = 0;
    for (int32_t h = 0; h < hw->horizon; h++, power *= phi) {
        level += power * b->trend[lane];
        double v = level, share;
        for (int c = 0; c < HW_CYCLES; c++)
            if (hw->shape.cycle[c].slots)
                v += spr__hw_season(b->season[c] + lane, HW_LANES, spr__hw_tick(&hw->shape.cycle[c], hw->steps + h));
        if (h == 0 && job->now && !isnan(job->now[s]))
            shift = job->now[s] - v;
        v += shift;
        job->out->points[s * horizon + (size_t)h] = v;
        const double *low = offsets + (size_t)spr__rung_at(hw->rungs, hw->rung_count, h + 1, &share) * levels;
        for (size_t k = 0; k < levels; k++)
            job->out->quantiles[(s * horizon + (size_t)h) * levels + k] =
                v + low[k] + (share > 0 ? share * (low[levels + k] - low[k]) : 0);
    }
}

static int hw_predict(void *state, const double *now, struct spr_forecaster_output *out) {
    struct hw *hw = state;
    struct predict_job job = {hw, now, out};
    spr__parallel(hw->ctx, (size_t)hw->series, predict_row, &job);
    return SPR_OK;
}

const struct spr_forecaster_ops *spr_forecaster_holt_winters(void) {
    static const struct spr_forecaster_ops ops = {.size = sizeof ops,
                                                  .name = "holt-winters",
                                                  .license = "MIT OR Apache-2.0",
                                                  .caps = SPR_CAP_ANY_THREAD,
                                                  .open = hw_open,
                                                  .close = hw_close,
                                                  .fit = hw_fit,
                                                  .update = hw_update,
                                                  .predict = hw_predict};
    return &ops;
}
