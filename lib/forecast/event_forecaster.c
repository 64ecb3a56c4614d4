/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The forecaster around a forecaster: learns what events do, hands the inner one a history without them, and puts them
 * back into what it says.
 */
#include "forecast/answer.h"
#include "forecast/event.h"

struct events {
    spr_context *ctx;
    spr_forecaster *inner;
    spr_forecaster *bare; /* the same without events, and the trial of both; NULL = events are always believed */
    struct event_trial *trial;
    double *share; /* of `bare` in the answers: [series][EVENT_CLASSES] */
    int64_t share_rows;
    bool asks_bare, bare_fitted; /* some share is above 0; of a fit under way: it is through */
    bool torn;                   /* an update failed half way: some of us know a step that others do not */
    struct spr_event_effects *effects;
    bool own;
    int32_t horizon, level_count;
    const double *levels;
    double *clean; /* of a fit under way: [series][steps] */
    int64_t series, steps, first_step;
    double *scratch; /* [series][3 x level_count] */
    int64_t scratch_rows;
};

/* ---- open, close ---- */

static void drop_clean(struct events *v) {
    spr__free(v->ctx, v->clean, (size_t)(v->series * v->steps), sizeof *v->clean);
    v->clean = NULL, v->series = v->steps = 0;
}

static void drop_scratch(struct events *v) {
    spr__free(v->ctx, v->scratch, (size_t)v->scratch_rows * 3 * (size_t)v->level_count, sizeof *v->scratch);
    v->scratch = NULL, v->scratch_rows = 0;
}

static void events_close(void *state) {
    struct events *v = state;
    spr_context *ctx = v->ctx;
    drop_clean(v);
    drop_scratch(v);
    spr__free(ctx, v->share, (size_t)v->share_rows * EVENT_CLASSES, sizeof *v->share);
    spr__event_trial_close(v->trial);
    spr_forecaster_destroy(v->bare);
    spr_forecaster_destroy(v->inner);
    if (v->own)
        spr_event_effects_destroy(v->effects);
    spr__free(ctx, v, 1, sizeof *v);
}

static int open_effects(struct events *v, const struct spr_forecaster_env *env, const struct spr_events_opts *o) {
    struct spr_event_effects_opts eo = {.size = sizeof eo,
                                        .calendar = o->calendar,
                                        .step_ns = env->step_ns,
                                        .origin_ns = o->origin_ns,
                                        .reach_ns = o->reach_ns};
    v->own = !o->effects;
    v->effects = o->effects;
    if (v->own)
        return spr_event_effects_create(v->ctx, &eo, &v->effects);
    if (o->effects->calendar != o->calendar || o->effects->step_ns != env->step_ns ||
        o->effects->origin_ns != o->origin_ns)
        return spr__fail(v->ctx, SPR_E_ARG, "events: the given effects have another calendar, step or origin");
    return SPR_OK;
}

static int events_open(const struct spr_forecaster_env *env, void **state) {
    struct spr_events_opts o;
    spr_context *ctx = env->env->context;
    int rc = spr__opts_copy(ctx, "spr_events_opts", env->config, &o, sizeof o);
    if (rc < 0)
        return rc;
    if (!o.calendar || (o.trial && o.trial != SPR_NONE) || o.reserved)
        return spr__fail(ctx, SPR_E_ARG, "events: a calendar is required, trial is 0 or SPR_NONE, reserved is 0");
    if (o.inner == spr_forecaster_model() && o.inner_config && (rc = spr__model_takes_events(ctx, o.inner_config)) != 0)
        return rc < 0 ? rc
                      : spr__fail(ctx, SPR_E_ARG, "events: the model looks at the calendar itself: once is enough");
    struct events *v = spr__alloc(ctx, 1, sizeof *v);
    if (!v)
        return spr__nomem(ctx);
    v->ctx = ctx;
    v->horizon = env->horizon, v->level_count = env->level_count, v->levels = env->levels;
    struct spr_forecaster_opts fo = {sizeof fo,        env->step_ns, env->horizon,
                                     env->level_count, env->levels,  o.inner_config};
    rc = open_effects(v, env, &o);
    if (rc == SPR_OK)
        rc = spr_forecaster_create(ctx, o.inner ? o.inner : spr_forecaster_mix(), &fo, &v->inner);
    if (rc == SPR_OK && !o.trial)
        rc = spr_forecaster_create(ctx, o.inner ? o.inner : spr_forecaster_mix(), &fo, &v->bare);
    if (rc == SPR_OK && !o.trial)
        rc = spr__event_trial_open(ctx, env, &o, &v->trial);
    if (rc < 0) {
        events_close(v);
        return rc;
    }
    *state = v;
    return SPR_OK;
}

/* ---- slots ---- */

static struct spr_panel panel_of(const struct spr_panel *p, const double *data) {
    return (struct spr_panel){.size = sizeof(struct spr_panel),
                              .data = data,
                              .series = p->series,
                              .steps = p->steps,
                              .series_stride = p->steps * (int64_t)sizeof *data,
                              .step_stride = sizeof *data,
                              .censored = p->censored,
                              .censored_stride = p->censored_stride,
                              .resource = p->resource};
}

/* How much the forecaster without events shall say. */
static int try_out(struct events *v, const struct spr_panel *p, int64_t first_step) {
    size_t cells = (size_t)p->series * EVENT_CLASSES;
    v->asks_bare = v->bare_fitted = false;
    if (!v->trial)
        return SPR_OK;
    spr__free(v->ctx, v->share, (size_t)v->share_rows * EVENT_CLASSES, sizeof *v->share);
    v->share = spr__alloc(v->ctx, cells, sizeof *v->share);
    v->share_rows = v->share ? p->series : 0;
    int rc = v->share ? spr__event_trial_run(v->trial, v->bare, p, first_step, v->share) : spr__nomem(v->ctx);
    for (size_t i = 0; rc == SPR_OK && i < cells; i++)
        v->asks_bare = v->asks_bare || v->share[i] > 0;
    return rc;
}

static int begin_fit(struct events *v, const struct spr_panel *p, int64_t first_step) {
    drop_clean(v);
    int rc = try_out(v, p, first_step);
    if (rc == SPR_OK)
        rc = spr_event_effects_fit(v->effects, p, first_step);
    if (rc < 0)
        return rc;
    v->clean = spr__alloc(v->ctx, (size_t)(p->series * p->steps), sizeof *v->clean);
    if (!v->clean)
        return spr__nomem(v->ctx);
    v->series = p->series, v->steps = p->steps, v->first_step = first_step;
    if ((rc = spr__event_clean(v->effects, p, first_step, false, v->clean)) < 0)
        drop_clean(v);
    return rc;
}

static int make_scratch(struct events *v, int64_t rows) {
    if (v->scratch_rows == rows)
        return SPR_OK;
    drop_scratch(v);
    v->scratch = spr__alloc(v->ctx, (size_t)rows * 3 * (size_t)v->level_count, sizeof *v->scratch);
    v->scratch_rows = v->scratch ? rows : 0;
    return v->scratch ? SPR_OK : spr__nomem(v->ctx);
}

static int events_fit(void *state, const struct spr_panel *history, int64_t first_step, int64_t budget) {
    struct events *v = state;
    int rc = SPR_OK;
    bool resumed =
        v->clean && v->series == history->series && v->steps == history->steps && v->first_step == first_step;
    if ((rc = make_scratch(v, history->series)) < 0 || (!resumed && (rc = begin_fit(v, history, first_step)) < 0))
        return rc;
    v->torn = false;
    if (v->asks_bare && !v->bare_fitted) {
        if ((rc = spr_forecaster_fit(v->bare, history, first_step, budget)) == SPR_AGAIN)
            return rc;
        if (rc < 0) {
            drop_clean(v);
            return rc;
        }
        v->bare_fitted = true;
    }
    struct spr_panel p = panel_of(history, v->clean);
    rc = spr_forecaster_fit(v->inner, &p, first_step, budget);
    if (rc != SPR_AGAIN)
        drop_clean(v);
    return rc;
}

static int whole(const struct events *v) {
    return v->torn ? spr__fail(v->ctx, SPR_E_STATE, "events: an update failed half way: fit again") : SPR_OK;
}

static int update_all(struct events *v, const struct spr_panel *steps, const struct spr_panel *clean) {
    int rc = spr_forecaster_update(v->inner, clean);
    if (rc == SPR_OK && v->asks_bare)
        rc = spr_forecaster_update(v->bare, steps);
    if (rc == SPR_OK)
        rc = spr_event_effects_update(v->effects, steps);
    v->torn = rc < 0;
    return rc;
}

static int events_update(void *state, const struct spr_panel *steps) {
    struct events *v = state;
    size_t cells = (size_t)(steps->series * steps->steps);
    int rc = whole(v);
    double *out = rc < 0 ? NULL : spr__alloc(v->ctx, cells, sizeof *out);
    if (!out)
        return rc < 0 ? rc : spr__nomem(v->ctx);
    rc = spr__event_clean(v->effects, steps, v->effects->next, true, out);
    struct spr_panel p = panel_of(steps, out);
    if (rc == SPR_OK)
        rc = update_all(v, steps, &p);
    spr__free(v->ctx, out, cells, sizeof *out);
    return rc;
}

struct predict_job {
    const struct events *v;
    const spr_forecast *inner, *bare;    /* bare: NULL = is not asked */
    const struct event_touches *touches; /* from the step before the origin on */
    struct spr_forecaster_output *out;
};

/* The forecaster without events says its share, level by level. */
static void blend(const struct predict_job *job, size_t s, size_t h, int class, double *point, double *quantiles) {
    size_t levels = (size_t)job->v->level_count, at = s * (size_t)job->v->horizon + h;
    double share = job->v->share[s * EVENT_CLASSES + (size_t) class];
    const double *bare = spr_forecast_quantiles(job->bare) + at * levels;
    *point += share * (spr_forecast_points(job->bare)[at] - *point);
    for (size_t k = 0; k < levels; k++)
        quantiles[k] += share * (bare[k] - quantiles[k]);
}

static void predict_row(void *arg, size_t s) {
    const struct predict_job *job = arg;
    const struct events *v = job->v;
    const struct event_touches *all = job->touches;
    size_t horizon = (size_t)v->horizon, levels = (size_t)v->level_count;
    double *points = job->out->points + s * horizon, *quantiles = job->out->quantiles + s * horizon * levels;
    memcpy(points, spr_forecast_points(job->inner) + s * horizon, horizon * sizeof *points);
    memcpy(quantiles, spr_forecast_quantiles(job->inner) + s * horizon * levels, horizon * levels * sizeof *quantiles);
    for (size_t h = 0; h < horizon; h++) {
        const struct event_touch *from = all->items + all->first[h + 1], *to = all->items + all->first[h + 2];
        int64_t t = v->effects->next + (int64_t)h;
        spr__event_apply(v->effects, (int64_t)s, from, to, t, v->levels, v->level_count, &points[h],
                         quantiles + h * levels, v->scratch + s * 3 * levels);
        if (job->bare)
            blend(job, s, h, spr__event_class(v->effects, (int64_t)s, all, v->effects->next, (int64_t)h), &points[h],
                  quantiles + h * levels);
    }
}

/* What is seen now, without the events of the running step. */
static double *clean_now(const struct events *v, const double *now, const struct event_touches *all) {
    size_t rows = (size_t)v->effects->series;
    double *out = spr__alloc(v->ctx, rows, sizeof *out);
    for (size_t s = 0; out && s < rows; s++)
        out[s] = now[s] / exp(spr__event_lift(v->effects, (int64_t)s, all->items + all->first[1],
                                              all->items + all->first[2], v->effects->next, true));
    return out;
}

static int predict(const struct events *v, const double *now, const struct event_touches *touches,
                   struct spr_forecaster_output *out) {
    spr_forecast *inner = NULL, *bare = NULL;
    double *clean = now ? clean_now(v, now, touches) : NULL;
    if (now && !clean)
        return spr__nomem(v->ctx);
    int rc = spr_forecaster_predict(v->inner, clean, &inner);
    spr__free(v->ctx, clean, (size_t)v->effects->series, sizeof *clean);
    if (rc == SPR_OK && v->asks_bare)
        rc = spr_forecaster_predict(v->bare, now, &bare);
    if (rc == SPR_OK) {
        struct predict_job job = {v, inner, bare, touches, out};
        spr__parallel(v->ctx, (size_t)out->series, predict_row, &job);
    }
    spr_forecast_unref(inner);
    spr_forecast_unref(bare);
    return rc;
}

static int events_predict(void *state, const double *now, struct spr_forecaster_output *out) {
    struct events *v = state;
    struct event_touches touches;
    int rc = whole(v);
    if (rc < 0 || (rc = spr__event_touches(v->effects, v->effects->next - 1, v->horizon + 1, false, &touches)) < 0)
        return rc;
    rc = predict(v, now, &touches, out);
    spr__event_touches_free(v->ctx, &touches);
    return rc;
}

const struct spr_forecaster_ops *spr_forecaster_events(void) {
    static const struct spr_forecaster_ops ops = {.size = sizeof ops,
                                                  .name = "events",
                                                  .license = "MIT OR Apache-2.0",
                                                  .caps = SPR_CAP_ANY_THREAD,
                                                  .open = events_open,
                                                  .close = events_close,
                                                  .fit = events_fit,
                                                  .update = events_update,
                                                  .predict = events_predict};
    return &ops;
}
