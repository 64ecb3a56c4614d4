/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Does the calendar pay? The end of the history is lived through once more, with the events and without, each knowing
 * only what was known then. By what the two lost there the forecaster without events gets its share of the answer,
 * apart for steps that events touch and for others, with an event under way at the origin and without.
 * doc/algorithms/events.md.
 */
#include "forecast/event.h"

enum { TAIL_DAYS = 14, HEAD_DAYS = 2, ORIGINS = 48, LEAST = 4 /* steps that must have been scored */ };

struct event_trial {
    spr_context *ctx;
    spr_forecaster *around; /* events around the inner forecaster, without a trial of its own */
    struct spr_event_effects *effects;
    int32_t horizon, level_count;
    const double *levels;
};

int spr__event_trial_open(spr_context *ctx, const struct spr_forecaster_env *env, const struct spr_events_opts *opts,
                          struct event_trial **out) {
    struct event_trial *t = spr__alloc(ctx, 1, sizeof *t);
    struct spr_events_opts o = *opts;
    struct spr_event_effects_opts eo = {.size = sizeof eo,
                                        .calendar = o.calendar,
                                        .step_ns = env->step_ns,
                                        .origin_ns = o.origin_ns,
                                        .reach_ns = o.reach_ns};
    if (!t)
        return spr__nomem(ctx);
    t->ctx = ctx;
    t->horizon = env->horizon, t->level_count = env->level_count, t->levels = env->levels;
    int rc = spr_event_effects_create(ctx, &eo, &t->effects);
    o.effects = t->effects, o.trial = SPR_NONE;
    struct spr_forecaster_opts fo = {sizeof fo, env->step_ns, env->horizon, env->level_count, env->levels, &o};
    if (rc == SPR_OK)
        rc = spr_forecaster_create(ctx, spr_forecaster_events(), &fo, &t->around);
    if (rc < 0)
        spr__event_trial_close(t);
    else
        *out = t;
    return rc;
}

void spr__event_trial_close(struct event_trial *t) {
    if (!t)
        return;
    spr_forecaster_destroy(t->around);
    spr_event_effects_destroy(t->effects);
    spr__free(t->ctx, t, 1, sizeof *t);
}

/* ---- living through the end again ---- */

struct rerun {
    struct event_trial *t;
    spr_forecaster *bare; /* that knows of no events */
    const struct spr_panel *panel;
    int64_t first, at, stride; /* grid index of column 0; the column of the origin; columns from origin to origin */
    double *loss;              /* [series][EVENT_CLASSES][with, without] */
    int64_t *scored;           /* [series][EVENT_CLASSES] */
    double *column;            /* [series][stride] */
};

static struct spr_panel part(struct rerun *r, int64_t from, int64_t steps) {
    for (int64_t s = 0; s < r->panel->series; s++)
        for (int64_t i = 0; i < steps; i++)
            r->column[s * steps + i] = spr__panel_value(r->panel, s, from + i);
    return (struct spr_panel){.size = sizeof(struct spr_panel),
                              .data = r->column,
                              .series = r->panel->series,
                              .steps = steps,
                              .series_stride = steps * (int64_t)sizeof(double),
                              .step_stride = sizeof(double)};
}

static double loss_of(const struct event_trial *t, const double *q, double y) {
    double sum = 0;
    for (int32_t k = 0; k < t->level_count; k++)
        sum += spr__pinball(t->levels[k], y, q[k]);
    return sum;
}

static void score(struct rerun *r, const struct event_touches *all, const double *with, const double *without) {
    const struct event_trial *t = r->t;
    int64_t ahead = SPR_MIN(t->horizon, SPR_MIN(r->stride, r->panel->steps - r->at));
    for (int64_t s = 0; s < r->panel->series; s++)
        for (int64_t h = 0; h < ahead; h++) {
            double y = spr__panel_value(r->panel, s, r->at + h);
            if (isnan(y) || spr__panel_censored(r->panel, s, r->at + h))
                continue;
            int c = spr__event_class(t->effects, s, all, r->first + r->at, h);
            size_t q = (size_t)(s * t->horizon + h) * (size_t)t->level_count;
            double *loss = r->loss + 2 * (s * EVENT_CLASSES + c);
            loss[0] += loss_of(t, with + q, y);
            loss[1] += loss_of(t, without + q, y);
            r->scored[s * EVENT_CLASSES + c]++;
        }
}

static int ask_both(struct rerun *r) {
    struct event_touches touches;
    spr_forecast *with = NULL, *without = NULL;
    int rc = spr_forecaster_predict(r->t->around, NULL, &with);
    if (rc == SPR_OK)
        rc = spr_forecaster_predict(r->bare, NULL, &without);
    if (rc == SPR_OK)
        rc = spr__event_touches(r->t->effects, r->first + r->at - 1, r->t->horizon + 1, false, &touches);
    if (rc == SPR_OK) {
        score(r, &touches, spr_forecast_quantiles(with), spr_forecast_quantiles(without));
        spr__event_touches_free(r->t->ctx, &touches);
    }
    spr_forecast_unref(with);
    spr_forecast_unref(without);
    return rc;
}

static int walk(struct rerun *r, int64_t head) {
    struct spr_panel p = *r->panel;
    p.steps = head;
    int rc = spr_forecaster_fit(r->t->around, &p, r->first, 0);
    if (rc == SPR_OK)
        rc = spr_forecaster_fit(r->bare, &p, r->first, 0);
    for (r->at = head; rc == SPR_OK && r->at < r->panel->steps; r->at += r->stride) {
        rc = ask_both(r);
        p = part(r, r->at, SPR_MIN(r->stride, r->panel->steps - r->at));
        if (rc == SPR_OK && (rc = spr_forecaster_update(r->t->around, &p)) == SPR_OK)
            rc = spr_forecaster_update(r->bare, &p);
    }
    return rc;
}

/* Events are believed until they cost something: the twelfth power of the ratio of the losses is then their share. */
static void share_out(const struct rerun *r, double *share) {
    for (int64_t i = 0; i < r->panel->series * EVENT_CLASSES; i++) {
        double with = r->loss[2 * i], without = r->loss[2 * i + 1];
        const int64_t *row = r->scored + i / EVENT_CLASSES * EVENT_CLASSES;
        bool known = row[EVENT_COMING] + row[EVENT_GOING_ON] >= LEAST && r->scored[i] >= LEAST;
        share[i] = known && with > without ? 1 - pow(without / with, 12) : 0;
    }
}

/* Does any event come near the steps? */
static int meets(const struct event_trial *t, int64_t from, int64_t steps, bool *any) {
    struct event_touches touches;
    int rc = spr__event_touches(t->effects, from, steps, false, &touches);
    *any = rc == SPR_OK && touches.count;
    if (rc == SPR_OK)
        spr__event_touches_free(t->ctx, &touches);
    return rc;
}

int spr__event_trial_run(struct event_trial *t, spr_forecaster *bare, const struct spr_panel *p, int64_t first_step,
                         double *share) {
    int64_t tail = SPR_MIN(TAIL_DAYS * t->effects->day, p->steps / 3), head = p->steps - tail;
    size_t cells = (size_t)p->series * EVENT_CLASSES;
    bool any = false;
    for (size_t i = 0; i < cells; i++)
        share[i] = 0;
    int rc = head < HEAD_DAYS * t->effects->day ? SPR_OK : meets(t, first_step + head, tail, &any);
    if (rc < 0 || !any)
        return rc;
    struct rerun r = {.t = t, .bare = bare, .panel = p, .first = first_step};
    r.stride = SPR_MAX(t->horizon, (tail + ORIGINS - 1) / ORIGINS);
    r.loss = spr__alloc(t->ctx, 2 * cells, sizeof *r.loss);
    r.scored = spr__alloc(t->ctx, cells, sizeof *r.scored);
    r.column = spr__alloc(t->ctx, (size_t)(p->series * r.stride), sizeof *r.column);
    rc = r.loss && r.scored && r.column ? walk(&r, head) : spr__nomem(t->ctx);
    if (rc == SPR_OK)
        share_out(&r, share);
    spr__free(t->ctx, r.loss, 2 * cells, sizeof *r.loss);
    spr__free(t->ctx, r.scored, cells, sizeof *r.scored);
    spr__free(t->ctx, r.column, (size_t)(p->series * r.stride), sizeof *r.column);
    return rc == SPR_E_HISTORY ? SPR_OK : rc; /* too little to look back on: the whole may still do */
}
