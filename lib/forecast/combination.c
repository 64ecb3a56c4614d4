/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The combination: several methods are asked at once, and their quantiles averaged with weights by what each lost
 * lately, per series and distance. A fit goes through the history twice: the methods are fitted on the first part and
 * walk through the rest, where their losses are counted; then they are fitted on all of it.
 */
#include "forecast/combination.h"

/* ---- memory ---- */

static size_t said_each(const struct combination *c) {
    return (size_t)c->series * (size_t)c->experts * (size_t)c->rung_count * (size_t)c->levels;
}

static void drop_past(struct combination *c) {
    spr__free(c->ctx, c->past, (size_t)(c->past_series * c->past_steps), sizeof *c->past);
    c->past = NULL;
    c->turn = 0;
}

static void drop_rows(struct combination *c) {
    size_t n = (size_t)c->series;
    drop_past(c);
    spr__free(c->ctx, c->cells, n * (size_t)c->rung_count, sizeof *c->cells);
    spr__free(c->ctx, c->young, n, sizeof *c->young);
    spr__free(c->ctx, c->column, n, sizeof *c->column);
    spr__free(c->ctx, c->bounds, n, 1);
    spr__free(c->ctx, c->watch, n, sizeof *c->watch);
    spr__free(c->ctx, c->ring, n * (size_t)c->season, sizeof *c->ring);
    spr__free(c->ctx, c->slot_step, (size_t)c->slots, sizeof *c->slot_step);
    spr__free(c->ctx, c->slot_alarm, (size_t)c->slots * n, sizeof *c->slot_alarm);
    spr__free(c->ctx, c->said, (size_t)c->slots * said_each(c), sizeof *c->said);
    c->cells = NULL, c->young = NULL, c->column = NULL, c->bounds = NULL, c->watch = NULL, c->ring = NULL,
    c->slot_step = NULL, c->slot_alarm = NULL, c->said = NULL, c->series = 0;
}

static int make_rows(struct combination *c, const struct spr_panel *p) {
    drop_rows(c);
    c->series = c->past_series = p->series;
    c->steps = c->past_steps = p->steps;
    c->seen = 0, c->torn = false;
    c->cells = spr__alloc(c->ctx, (size_t)p->series * (size_t)c->rung_count, sizeof *c->cells);
    c->young = spr__alloc(c->ctx, (size_t)p->series, sizeof *c->young);
    c->column = spr__alloc(c->ctx, (size_t)p->series, sizeof *c->column);
    c->bounds = spr__alloc(c->ctx, (size_t)p->series, 1);
    c->watch = spr__alloc(c->ctx, (size_t)p->series, sizeof *c->watch);
    c->ring = spr__alloc(c->ctx, (size_t)(p->series * c->season), sizeof *c->ring);
    c->slot_alarm = spr__alloc(c->ctx, (size_t)(c->slots * p->series), sizeof *c->slot_alarm);
    c->slot_step = spr__alloc(c->ctx, (size_t)c->slots, sizeof *c->slot_step);
    c->said = spr__alloc(c->ctx, (size_t)c->slots * said_each(c), sizeof *c->said);
    c->past = spr__alloc(c->ctx, (size_t)(p->series * p->steps), sizeof *c->past);
    if (!c->cells || !c->young || !c->column || !c->bounds || !c->watch || !c->ring || !c->slot_alarm ||
        !c->slot_step || !c->said || !c->past) {
        drop_rows(c);
        return spr__nomem(c->ctx);
    }
    for (int32_t k = 0; k < c->slots; k++)
        c->slot_step[k] = -1;
    for (int64_t s = 0; s < p->series; s++)
        for (int64_t t = 0; t < p->steps; t++)
            c->past[s * p->steps + t] = spr__panel_value(p, s, t);
    return SPR_OK;
}

/* ---- the walk through the last part of the history ---- */

/* The last quarter, at least three horizons and a day, at most half of what there is; no walk = the end. */
static int64_t walk_from(const struct combination *c) {
    double wanted = fmax(fmax(3.0 * c->horizon, c->period), (double)c->steps / 4);
    int64_t most = c->steps / 2, n = wanted < (double)most ? (int64_t)wanted : most;
    return c->steps - n < 8 ? c->steps : c->steps - n;
}

static struct spr_panel part(const struct combination *c, const struct spr_panel *history, int64_t from, int64_t to) {
    struct spr_panel p = {.size = sizeof p,
                          .data = c->past + from,
                          .dtype = SPR_F64,
                          .series = c->series,
                          .steps = to - from,
                          .series_stride = c->steps * (int64_t)sizeof *c->past,
                          .step_stride = sizeof *c->past,
                          .resource = history->resource};
    if (history->censored && from == 0) {
        p.censored = history->censored;
        p.censored_stride = history->censored_stride;
    }
    return p;
}

/* A row that begins only after the walk does would stop the others: it is lent a value, and taught nothing by it. Once
 * a fit: a second look would take the lent value for its own. */
static void lend(struct combination *c, int64_t from) {
    for (int64_t s = 0; s < c->series; s++) {
        double *y = &c->past[s * c->steps];
        c->young[s] = true;
        for (int64_t t = 0; t < from && c->young[s]; t++)
            c->young[s] = isnan(y[t]);
        if (c->young[s] && from > 0)
            y[0] = 0;
    }
}

static double alarm_of(const struct combination *c, int64_t s) {
    return c->guards ? spr__combination_alarm(&c->watch[s]) : 0;
}

struct score_job {
    struct combination *c;
    const struct spr_panel *history;
    int64_t origin, passed;               /* steps since the origin before */
    const double *q[COMBINATION_EXPERTS]; /* [series][horizon][level] */
};

/* What a bound hides may be anything: it is no surprise, and nothing is compared with it. */
static double seen_at(const struct combination *c, const struct spr_panel *history, int64_t s, int64_t t) {
    return t < 0 || spr__panel_censored(history, s, t) ? NAN : c->past[s * c->steps + t];
}

/* The steps from `from` on are looked at: did they do what the series never did? */
static void watch_past(struct combination *c, const struct spr_panel *history, int64_t s, int64_t from, int64_t to) {
    for (int64_t t = from; t < to; t++)
        spr__combination_watch(c, &c->watch[s], seen_at(c, history, s, t), seen_at(c, history, s, t - c->season));
}

static void score_row(void *arg, size_t row) {
    const struct score_job *j = arg;
    struct combination *c = j->c;
    int64_t s = (int64_t)row;
    if (c->young[s])
        return;
    watch_past(c, j->history, s, j->passed ? j->origin - j->passed : 0, j->origin);
    spr__combination_forget(c, s, (double)j->passed);
    struct combination_outcome o = {.times = 1, .alarm = alarm_of(c, s)};
    for (int32_t h = 0; h < c->horizon && j->origin + h < c->steps; h++) {
        const double *q[COMBINATION_EXPERTS];
        o.y = c->past[s * c->steps + j->origin + h];
        o.censored = spr__panel_censored(j->history, s, j->origin + h);
        for (int32_t e = 0; e < c->experts; e++)
            q[e] = j->q[e] ? j->q[e] + (s * c->horizon + h) * c->levels : NULL;
        if (!isnan(o.y))
            spr__combination_outcome(c, s, spr__combination_rung(c, h), q, &o);
    }
    spr__combination_round(c, s);
}

/* All experts at one origin; the first `passed` steps before it are new to them. */
static int stop(struct combination *c, const struct spr_panel *history, int64_t origin, int64_t passed) {
    spr_forecast *f[COMBINATION_EXPERTS] = {NULL};
    struct score_job j = {c, history, origin, passed, {NULL}};
    int rc = SPR_OK;
    for (int32_t e = 0; e < c->experts && rc == SPR_OK; e++) {
        struct spr_panel step = part(c, history, origin - passed, origin);
        if (!c->expert[e].asked)
            continue;
        if (passed)
            rc = spr_forecaster_update(c->expert[e].f, &step);
        if (rc == SPR_OK && (rc = spr_forecaster_predict(c->expert[e].f, NULL, &f[e])) == SPR_OK)
            j.q[e] = spr_forecast_quantiles(f[e]);
    }
    if (rc == SPR_OK)
        spr__parallel(c->ctx, (size_t)c->series, score_row, &j);
    for (int32_t e = 0; e < c->experts; e++)
        spr_forecast_unref(f[e]);
    return rc;
}

static int walk(struct combination *c, const struct spr_panel *history) {
    int64_t from = walk_from(c), stride = SPR_MAX(1, (c->steps - from) / COMBINATION_TRIALS);
    int rc = SPR_OK;
    for (int64_t o = from; o < c->steps && rc == SPR_OK; o += stride)
        rc = stop(c, history, o, o > from ? stride : 0);
    return rc;
}

/* ---- fit ---- */

/* All of the history has been seen; what comes is compared with its last season. */
static void begin_watch(struct combination *c, const struct spr_panel *history) {
    for (int64_t s = 0; s < c->series; s++) {
        double *ring = &c->ring[s * c->season];
        c->watch[s] = (struct combination_watch){0};
        for (int64_t k = 0; k < c->season; k++)
            ring[k] = NAN;
        if (c->young[s])
            continue;
        watch_past(c, history, s, 0, c->steps);
        for (int64_t t = SPR_MAX(0, c->steps - c->season); t < c->steps; t++)
            ring[t % c->season] = seen_at(c, history, s, t);
    }
}

static int begin_fit(struct combination *c, const struct spr_panel *history) {
    int rc = make_rows(c, history);
    if (rc < 0)
        return rc;
    int64_t from = walk_from(c);
    for (int32_t e = 0; e < c->experts; e++)
        c->expert[e].asked = c->expert[e].needs <= (double)c->steps;
    for (int64_t s = 0; s < c->series; s++)
        spr__combination_begin(c, s);
    if (from == c->steps) /* too young to be judged: all weigh alike */
        c->turn = c->experts;
    else
        lend(c, from);
    return SPR_OK;
}

static int combination_fit(void *state, const struct spr_panel *history, int64_t first_step, int64_t budget) {
    struct combination *c = state;
    int rc = c->past ? SPR_OK : begin_fit(c, history);
    if (rc < 0)
        return rc;
    if (history->series != c->series || history->steps != c->steps) {
        drop_past(c);
        return spr__fail(c->ctx, SPR_E_ARG, "combination: the panel changed between two slices of a fit");
    }
    int64_t from = walk_from(c);
    while (c->turn < 2 * c->experts && rc == SPR_OK) {
        struct combination_expert *e = &c->expert[c->turn % c->experts];
        struct spr_panel head = part(c, history, 0, from);
        if (e->asked)
            rc = spr_forecaster_fit(e->f, c->turn < c->experts ? &head : history, first_step, budget);
        if (rc != SPR_OK)
            break;
        if (++c->turn == c->experts && from < c->steps)
            rc = walk(c, history);
        if (rc == SPR_OK && budget && c->turn < 2 * c->experts)
            return SPR_AGAIN;
    }
    if (rc == SPR_OK)
        begin_watch(c, history);
    if (rc != SPR_AGAIN)
        drop_past(c);
    return rc;
}

/* ---- update ---- */

struct come_job {
    struct combination *c;
    const struct spr_panel *panel;
    int64_t column;
};

/* What was said at the rungs of the step that came is compared with it. */
static void come_row(void *arg, size_t row) {
    const struct come_job *j = arg;
    struct combination *c = j->c;
    size_t K = (size_t)c->levels, each = (size_t)c->rung_count * K;
    struct combination_outcome o = {.y = spr__panel_value(j->panel, (int64_t)row, j->column),
                                    .censored = spr__panel_censored(j->panel, (int64_t)row, j->column)};
    double *before = &c->ring[(int64_t)row * c->season + (c->steps + c->seen) % c->season];
    double shown = o.censored ? NAN : o.y;
    spr__combination_watch(c, &c->watch[row], shown, *before);
    spr__combination_forget(c, (int64_t)row, 1);
    *before = shown;
    if (isnan(o.y))
        return;
    for (int32_t slot = 0; slot < c->slots; slot++)
        for (int32_t r = 0; r < c->rung_count; r++) {
            const double *said = c->said + (size_t)slot * said_each(c) + row * (size_t)c->experts * each;
            const double *q[COMBINATION_EXPERTS];
            if (c->slot_step[slot] < 0 || c->slot_step[slot] + c->rungs[r] - 1 != c->seen)
                continue;
            for (int32_t e = 0; e < c->experts; e++)
                q[e] = c->expert[e].asked ? said + (size_t)e * each + (size_t)r * K : NULL;
            o.times = (r + 1 < c->rung_count ? c->rungs[r + 1] : c->horizon + 1) - c->rungs[r];
            o.alarm = c->slot_alarm[slot * c->series + (int64_t)row];
            spr__combination_outcome(c, (int64_t)row, r, q, &o);
        }
    spr__combination_round(c, (int64_t)row);
}

/* Every `stride` steps what the experts say now is kept, to be judged when it has come. */
static int remember(struct combination *c) {
    size_t K = (size_t)c->levels, each = (size_t)c->rung_count * K;
    if (c->seen % c->stride)
        return SPR_OK;
    int32_t slot = (int32_t)(c->seen / c->stride % c->slots);
    c->slot_step[slot] = -1;
    for (int32_t e = 0; e < c->experts; e++) {
        spr_forecast *f = NULL;
        if (!c->expert[e].asked)
            continue;
        int rc = spr_forecaster_predict(c->expert[e].f, NULL, &f);
        if (rc < 0)
            return rc;
        const double *q = spr_forecast_quantiles(f);
        double *said = c->said + (size_t)slot * said_each(c);
        for (int64_t s = 0; s < c->series; s++)
            for (int32_t r = 0; r < c->rung_count; r++)
                memcpy(said + ((size_t)s * (size_t)c->experts + (size_t)e) * each + (size_t)r * K,
                       q + ((size_t)s * (size_t)c->horizon + (size_t)c->rungs[r] - 1) * K, K * sizeof *q);
        spr_forecast_unref(f);
    }
    for (int64_t s = 0; s < c->series; s++)
        c->slot_alarm[slot * c->series + s] = alarm_of(c, s);
    c->slot_step[slot] = c->seen;
    return SPR_OK;
}

static struct spr_panel one_step(struct combination *c, const struct spr_panel *steps, int64_t t) {
    for (int64_t s = 0; s < c->series; s++) {
        c->column[s] = spr__panel_value(steps, s, t);
        c->bounds[s] = spr__panel_censored(steps, s, t);
    }
    return (struct spr_panel){.size = sizeof(struct spr_panel),
                              .data = c->column,
                              .dtype = SPR_F64,
                              .series = c->series,
                              .steps = 1,
                              .series_stride = sizeof *c->column,
                              .step_stride = sizeof *c->column,
                              .censored = c->bounds,
                              .censored_stride = 1};
}

static int whole(const struct combination *c) {
    return c->torn ? spr__fail(c->ctx, SPR_E_STATE, "combination: an update failed half way: fit again") : SPR_OK;
}

static int combination_update(void *state, const struct spr_panel *steps) {
    struct combination *c = state;
    int rc = whole(c);
    for (int64_t t = 0; t < steps->steps && rc == SPR_OK; t++) {
        struct come_job j = {c, steps, t};
        if ((rc = remember(c)) < 0)
            break;
        spr__parallel(c->ctx, (size_t)c->series, come_row, &j);
        struct spr_panel one = one_step(c, steps, t);
        for (int32_t e = 0; e < c->experts && rc == SPR_OK; e++)
            if (c->expert[e].asked)
                rc = spr_forecaster_update(c->expert[e].f, &one);
        c->seen++;
    }
    c->torn = c->torn || rc < 0; /* some experts know a step that others do not */
    return rc;
}

/* ---- predict ---- */

struct mix_job {
    const struct combination *c;
    struct spr_forecaster_output *out;
    const double *q, *points;
    int32_t expert;
};

static void mix_row(void *arg, size_t row) {
    const struct mix_job *j = arg;
    const struct combination *c = j->c;
    size_t H = (size_t)c->horizon, K = (size_t)c->levels;
    double weight[COMBINATION_EXPERTS];
    int32_t rung = -1;
    for (size_t h = 0; h < H; h++) {
        int32_t r = spr__combination_rung(c, (int32_t)h);
        if (r != rung)
            spr__combination_shares(c, (int64_t)row, rung = r, alarm_of(c, (int64_t)row), weight);
        double w = weight[j->expert];
        j->out->points[row * H + h] += w * j->points[row * H + h];
        for (size_t k = 0; k < K; k++)
            j->out->quantiles[(row * H + h) * K + k] += w * j->q[(row * H + h) * K + k];
    }
}

/* The point is the median where the levels enclose it: it is what has the least absolute error. */
static void take_medians(const struct combination *c, struct spr_forecaster_output *out) {
    int32_t k = 0;
    while (k < c->levels && c->level[k] < 0.5 - 1e-12)
        k++;
    bool there = k < c->levels && fabs(c->level[k] - 0.5) <= 1e-12;
    if (!there && (k == 0 || k == c->levels))
        return;
    double share = there ? 1 : (0.5 - c->level[k - 1]) / (c->level[k] - c->level[k - 1]);
    for (int64_t i = 0; i < c->series * c->horizon; i++) {
        const double *q = out->quantiles + i * c->levels;
        out->points[i] = there ? q[k] : q[k - 1] + share * (q[k] - q[k - 1]);
    }
}

static int combination_predict(void *state, const double *now, struct spr_forecaster_output *out) {
    struct combination *c = state;
    size_t points = (size_t)(c->series * c->horizon);
    int rc = whole(c);
    if (rc < 0)
        return rc;
    memset(out->points, 0, points * sizeof(double));
    memset(out->quantiles, 0, points * (size_t)c->levels * sizeof(double));
    for (int32_t e = 0; e < c->experts; e++) {
        spr_forecast *f = NULL;
        if (!c->expert[e].asked)
            continue;
        if ((rc = spr_forecaster_predict(c->expert[e].f, now, &f)) < 0)
            return rc;
        struct mix_job j = {c, out, spr_forecast_quantiles(f), spr_forecast_points(f), e};
        spr__parallel(c->ctx, (size_t)c->series, mix_row, &j);
        spr_forecast_unref(f);
    }
    take_medians(c, out);
    return SPR_OK;
}

/* ---- the table ---- */

static void combination_close(void *state) {
    struct combination *c = state;
    for (int32_t e = 0; e < c->experts; e++)
        spr_forecaster_destroy(c->expert[e].f);
    drop_rows(c);
    spr__free(c->ctx, c, 1, sizeof *c);
}

static int add_expert(struct combination *c, const struct spr_forecaster_env *env, const struct spr_forecaster_ops *ops,
                      const void *config, double prior, double needs) {
    struct spr_forecaster_opts o = {.size = sizeof o,
                                    .step_ns = env->step_ns,
                                    .horizon = env->horizon,
                                    .level_count = env->level_count,
                                    .levels = env->levels,
                                    .config = config};
    int rc = spr_forecaster_create(c->ctx, ops, &o, &c->expert[c->experts].f);
    if (rc == SPR_OK)
        c->expert[c->experts].prior = prior, c->expert[c->experts++].needs = needs;
    return rc;
}

/* What follows the level at once is believed more before anything is known: it cannot go far wrong. */
#define FOLLOWER 2

static int add_builtin(struct combination *c, const struct spr_forecaster_env *env) {
    double week = 7 * (double)SPR__DAY_NS / (double)env->step_ns;
    struct spr_seasonal_naive_opts day = {.size = sizeof day, .period = c->period}, last = day, weekly = day;
    struct spr_holt_winters_opts hw = {.size = sizeof hw, .period = c->period}, smooth = hw;
    last.period = smooth.period = SPR_NONE;
    weekly.period = week;
    int rc = add_expert(c, env, spr_forecaster_seasonal_naive(), &day, 1, 0);
    if (rc == SPR_OK)
        rc = add_expert(c, env, spr_forecaster_seasonal_naive(), &last, FOLLOWER, 0);
    if (rc == SPR_OK && week >= 1 && week <= 1 << 20) /* three weeks, or it cannot be judged */
        rc = add_expert(c, env, spr_forecaster_seasonal_naive(), &weekly, 1, 3 * week);
    if (rc == SPR_OK)
        rc = add_expert(c, env, spr_forecaster_holt_winters(), &hw, 1, 0);
    if (rc == SPR_OK)
        rc = add_expert(c, env, spr_forecaster_holt_winters(), &smooth, FOLLOWER, 0);
    if (rc == SPR_OK)
        rc = add_expert(c, env, spr__forecaster_range(), NULL, 1, 0);
    return rc;
}

static int add_given(struct combination *c, const struct spr_forecaster_env *env,
                     const struct spr_combination_opts *o) {
    int rc = SPR_OK;
    for (int32_t k = 0; k < o->expert_count && rc == SPR_OK; k++) {
        struct spr_combination_expert x;
        rc = spr__opts_copy(c->ctx, "spr_combination_expert", &o->experts[k], &x, sizeof x);
        if (rc == SPR_OK)
            rc = add_expert(c, env, x.ops, x.config, 1, 0);
    }
    return rc;
}

static int combination_open(const struct spr_forecaster_env *env, void **state) {
    struct spr_combination_opts o;
    spr_context *ctx = env->env->context;
    int rc = spr__opts_copy(ctx, "spr_combination_opts", env->config, &o, sizeof o);
    if (rc < 0)
        return rc;
    if (!(o.period >= 0 && o.period <= 1 << 20) || (o.memory < 0 && o.memory != SPR_NONE) || o.expert_count < 0 ||
        o.expert_count > COMBINATION_GIVEN || (o.expert_count && !o.experts) || (o.only_given && !o.expert_count))
        return spr__fail(ctx, SPR_E_ARG, "spr_combination_opts: period, memory or experts are out of range");
    struct combination *c = spr__alloc(ctx, 1, sizeof *c);
    if (!c)
        return spr__nomem(ctx);
    double day = (double)SPR__DAY_NS / (double)env->step_ns;
    c->ctx = ctx;
    c->step_ns = env->step_ns, c->horizon = env->horizon, c->levels = env->level_count, c->level = env->levels;
    c->period = o.period > 0 ? o.period : fmax(1, day);
    c->season = (int64_t)fmax(1, round(c->period));
    c->keep = o.memory == SPR_NONE ? 1 : exp(-1 / (o.memory ? (double)o.memory : fmax(14 * day, 14)));
    c->rung_count = spr__rungs(c->horizon, c->rungs);
    c->stride = SPR_MAX(1, c->horizon / 12);
    c->slots = (int32_t)(c->horizon / c->stride + 2);
    c->guards = o.only_given ? 0 : COMBINATION_GUARDS;
    rc = o.only_given ? SPR_OK : add_builtin(c, env);
    if (rc == SPR_OK)
        rc = add_given(c, env, &o);
    if (rc < 0) {
        combination_close(c);
        return rc;
    }
    *state = c;
    return SPR_OK;
}

const struct spr_forecaster_ops *spr_forecaster_combination(void) {
    static const struct spr_forecaster_ops ops = {.size = sizeof ops,
                                                  .name = "combination",
                                                  .license = "MIT OR Apache-2.0",
                                                  .open = combination_open,
                                                  .close = combination_close,
                                                  .fit = combination_fit,
                                                  .update = combination_update,
                                                  .predict = combination_predict};
    return &ops;
}
