/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Holt-Winters as a forecaster: options, memory, resumable fit over blocks. doc/algorithms/holt-winters.md */
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

spr__hw_follower *spr__hw_follower_for(int simd) {
#if defined(__x86_64__) && defined(__GNUC__)
    if (simd == SPR_SIMD_AVX512)
        return spr__hw_follow_avx512;
    if (simd == SPR_SIMD_AVX2)
        return spr__hw_follow_avx2;
#endif
    (void)simd;
    return spr__hw_follow_plain;
}

spr__hw_sloper *spr__hw_sloper_for(int simd) {
#if defined(__x86_64__) && defined(__GNUC__)
    if (simd == SPR_SIMD_AVX512)
        return spr__hw_slopes_avx512;
    if (simd == SPR_SIMD_AVX2)
        return spr__hw_slopes_avx2;
#endif
    (void)simd;
    return spr__hw_slopes_plain;
}

spr__splitter *spr__hw_splitter_for(int simd) {
#if defined(__x86_64__) && defined(__GNUC__)
    if (simd == SPR_SIMD_AVX512)
        return spr__split_avx512;
    if (simd == SPR_SIMD_AVX2)
        return spr__split_avx2;
#endif
    (void)simd;
    return spr__split_plain;
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
    if (o->season < 0 || o->season > SPR_HW_SEASON_MULTIPLICATIVE || o->transform < 0 ||
        o->transform > SPR_HW_TRANSFORM_CHOSEN || o->robust < 0 || o->robust > SPR_HW_ROBUST_ALWAYS ||
        o->selection < 0 || o->selection > SPR_HW_SELECTION_FITTED || o->refit < 0 || o->refit > SPR_HW_REFIT_WARM ||
        o->freeze < 0 || o->freeze > 1 || o->start < 0 || o->start > SPR_HW_START_WHOLE || o->reserved2)
        return spr__fail(
            ctx, SPR_E_ARG,
            "holt-winters: season %d, transform %d, robust %d, selection %d, refit %d, freeze %d or start %d is none",
            (int)o->season, (int)o->transform, (int)o->robust, (int)o->selection, (int)o->refit, (int)o->freeze,
            (int)o->start);
    if (o->transform == SPR_HW_TRANSFORM_BOX_COX ? !(o->lambda > 0 && o->lambda <= 1) : o->lambda != 0)
        return spr__fail(ctx, SPR_E_ARG, "holt-winters: a power of %g for transform %d; Box-Cox takes one in (0, 1]",
                         o->lambda, (int)o->transform);
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

/* Trends and seasons to try, the simplest first. An additive trend that multiplies runs away: only who asks gets it. */
static void add_kinds(struct hw *hw) {
    static const struct hw_kind all[] = {{SPR_HW_TREND_NONE, false, false},
                                         {SPR_HW_TREND_DAMPED, false, false},
                                         {SPR_HW_TREND_ADDITIVE, false, false},
                                         {SPR_HW_TREND_NONE, true, false},
                                         {SPR_HW_TREND_DAMPED, true, false}};
    const struct spr_holt_winters_opts *o = &hw->opts;
    bool times = o->season != SPR_HW_SEASON_ADDITIVE && hw->shape.cycle[0].slots;
    bool plus = o->season != SPR_HW_SEASON_MULTIPLICATIVE || !times;
    int32_t seasons = hw->shape.cycle[1].slots ? 2 : 1;
    for (int32_t n = 1; n <= seasons && o->trend == SPR_HW_TREND_DEFAULT;
         n++) /* a second season has to earn its place */
        for (size_t k = 0; k < SPR_ARRAY_LEN(all); k++)
            if (all[k].mult ? times : plus) {
                hw->kinds[hw->kind_count] = all[k];
                hw->kinds[hw->kind_count++].first_only = n < seasons;
            }
    if (o->trend && plus)
        hw->kinds[hw->kind_count++] = (struct hw_kind){o->trend, false, false};
    if (o->trend && times)
        hw->kinds[hw->kind_count++] = (struct hw_kind){o->trend, true, false};
}

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
    hw->split = spr__hw_splitter_for(spr_context_simd(ctx));
    hw->sloper = spr__hw_sloper_for(spr_context_simd(ctx));
    hw->follower = spr__hw_follower_for(spr_context_simd(ctx));
    add_cycle(&hw->shape, o.period == 0 ? (double)SPR__DAY_NS / (double)env->step_ns : o.period);
    add_cycle(&hw->shape, o.period2);
    add_kinds(hw);
    hw->horizon = env->horizon, hw->level_count = env->level_count, hw->levels = env->levels;
    hw->rung_count = spr__rungs(hw->horizon, hw->rungs);
    hw->rows = HW_ROW_RUNGS;
    for (int32_t r = 0; r < hw->rung_count; r++) {
        hw->rung_row[r] = hw->rows;
        hw->rows += 2 + hw->level_count + spr__hw_waiting(hw->rungs[r]);
    }
    *state = hw;
    return SPR_OK;
}

/* ---- memory ---- */

static void drop_work(struct hw *hw) {
    for (int64_t b = 0; hw->work && b < hw->block_count; b++)
        spr__free(hw->ctx, hw->work[b], 1, sizeof **hw->work);
    spr__free(hw->ctx, hw->work, (size_t)hw->block_count, sizeof(struct hw_work *));
    spr__free(hw->ctx, hw->done, (size_t)hw->block_count, 1);
    hw->work = NULL, hw->done = NULL;
}

static void drop_blocks(struct hw *hw) {
    size_t blocks = (size_t)hw->block_count;
    drop_work(hw);
    for (int c = 0; c < HW_CYCLES; c++) {
        spr__free(hw->ctx, hw->season[c], (size_t)hw->shape.cycle[c].slots * blocks * HW_LANES, sizeof(double));
        hw->season[c] = NULL;
    }
    spr__free(hw->ctx, hw->state, blocks * (size_t)hw->rows * HW_LANES, sizeof(double));
    spr__free(hw->ctx, hw->sse, blocks * HW_LANES, sizeof(double));
    spr__free(hw->ctx, hw->runs_of, blocks, sizeof *hw->runs_of);
    hw->state = hw->sse = NULL, hw->runs_of = NULL, hw->block_count = hw->series = 0;
}

static bool make_work(struct hw *hw) {
    drop_work(hw);
    hw->work = spr__alloc(hw->ctx, (size_t)hw->block_count, sizeof(struct hw_work *));
    hw->done = spr__alloc(hw->ctx, (size_t)hw->block_count, 1);
    return hw->work && hw->done;
}

/* A warm fit keeps what the last one left until a block is done with it. */
static int make_blocks(struct hw *hw, int64_t series) {
    bool ok = true;
    hw->warm = hw->opts.refit == SPR_HW_REFIT_WARM && hw->ready && hw->series == series;
    hw->ready = false;
    if (!hw->warm) {
        drop_blocks(hw);
        hw->series = series;
        hw->block_count = (series + HW_LANES - 1) / HW_LANES;
        size_t blocks = (size_t)hw->block_count;
        hw->state = spr__alloc(hw->ctx, blocks * (size_t)hw->rows * HW_LANES, sizeof(double));
        hw->sse = spr__alloc(hw->ctx, blocks * HW_LANES, sizeof(double));
        hw->runs_of = spr__alloc(hw->ctx, blocks, sizeof *hw->runs_of);
        ok = hw->state && hw->sse && hw->runs_of;
        for (int c = 0; ok && c < HW_CYCLES; c++) {
            hw->season[c] = spr__alloc(hw->ctx, (size_t)hw->shape.cycle[c].slots * blocks * HW_LANES, sizeof(double));
            ok = hw->season[c] != NULL;
        }
    }
    if (ok && make_work(hw))
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
        if (!hw->done[b])
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
    bool resumed = hw->work && hw->fit_steps == history->steps && hw->series == history->series;
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
    if (rc != SPR_AGAIN) {
        hw->fit_steps = 0; /* the next fit begins anew */
        drop_work(hw);
    }
    hw->ready = rc == SPR_OK;
    hw->steps = history->steps;
    return rc;
}

const struct spr_forecaster_ops *spr_forecaster_holt_winters(void) {
    static const struct spr_forecaster_ops ops = {.size = sizeof ops,
                                                  .name = "holt-winters",
                                                  .license = "MIT OR Apache-2.0",
                                                  .caps = SPR_CAP_ANY_THREAD,
                                                  .open = hw_open,
                                                  .close = hw_close,
                                                  .fit = hw_fit,
                                                  .update = spr__hw_update,
                                                  .predict = spr__hw_predict};
    return &ops;
}
