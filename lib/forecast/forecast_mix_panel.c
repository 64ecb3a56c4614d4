/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The mix as a forecaster: panels in, one row after the other or side by side. */
#include "forecast/mix.h"
#include "forecast/answer.h"

static size_t counts_size(const struct mix *m) { return (size_t)(m->kinds * (m->horizon + 1) * m->levels); }

static size_t plain_size(const struct mix *m) { return (size_t)(m->count * m->horizon * m->levels); }

static void forget_rows(struct mix *m) {
    spr__free(m->ctx, m->rows, (size_t)m->count, sizeof *m->rows);
    spr__free(m->ctx, m->block, m->block_size, sizeof *m->block);
    spr__free(m->ctx, m->bins, (size_t)(m->count * m->week), 1);
    spr__free(m->ctx, m->scratch, (size_t)(m->count * m->scratch_size), sizeof *m->scratch);
    size_t ahead = (size_t)(m->count * (m->horizon - 1));
    spr__free(m->ctx, m->opinion, ahead * (size_t)m->levels, sizeof *m->opinion);
    spr__free(m->ctx, m->points, ahead, sizeof *m->points);
    spr__free(m->ctx, m->column, (size_t)m->count, sizeof *m->column);
    m->rows = NULL, m->block = NULL, m->bins = NULL, m->scratch = NULL;
    spr__free(m->ctx, m->counts, counts_size(m), sizeof *m->counts);
    spr__free(m->ctx, m->plain, plain_size(m), sizeof *m->plain);
    m->plain = NULL, m->opinion = NULL, m->points = NULL, m->column = NULL, m->counts = NULL;
    m->count = 0;
}

static void mix_close(void *state) {
    struct mix *m = state;
    forget_rows(m);
    if (m->model)
        spr_forecaster_model()->close(m->model);
    spr__free(m->ctx, m, 1, sizeof *m);
}

/* The running step is known: the model is asked about those after it. */
static int open_model(struct mix *m, const struct spr_forecaster_env *env, const spr_model *model) {
    struct spr_model_opts o = {.size = sizeof o, .model = model};
    struct spr_forecaster_env inner = *env;
    if (!model || env->horizon < 2)
        return SPR_OK;
    inner.horizon = env->horizon - 1;
    inner.config = &o;
    inner.levels = m->level;
    m->experts = MIX_MOST;
    return spr_forecaster_model()->open(&inner, &m->model);
}

static int mix_open(const struct spr_forecaster_env *env, void **state) {
    spr_context *ctx = env->env->context;
    struct spr_mix_opts o;
    int rc = spr__opts_copy(ctx, "spr_mix_opts", env->config, &o, sizeof o);
    if (rc < 0)
        return rc;
    double day = o.period > 0 ? o.period : fmax(1, (double)SPR__DAY_NS / (double)env->step_ns);
    if (env->level_count > MIX_LEVELS || o.period < 0 || o.window < 0 || o.memory < 0 || day > 1e6)
        return spr__fail(ctx, SPR_E_ARG,
                         "spr_mix_opts: period, window or memory is out of range, or more than %d levels", MIX_LEVELS);
    struct mix *m = spr__alloc(ctx, 1, sizeof *m);
    if (!m)
        return spr__nomem(ctx);
    m->ctx = ctx;
    m->day = (int64_t)llround(day);
    m->week = o.window > 0 ? o.window : 7 * m->day;
    m->week = SPR_MAX(m->week, MIX_SIX);
    m->fortnight = SPR_MAX(2 * m->week, 8 * m->day); /* the look at past days needs seven of them */
    m->horizon = env->horizon;
    m->levels = env->level_count;
    for (int32_t k = 0; k < m->levels; k++) {
        m->level[k] = env->levels[k];
        if (fabs(m->level[k] - 0.5) < fabs(m->level[m->median] - 0.5))
            m->median = k;
    }
    m->forget = 1 - 1 / (double)(o.memory > 0 ? o.memory : SPR_MAX(m->day, 2));
    m->experts = MIX_CHEAP;
    if ((rc = open_model(m, env, o.model)) < 0) {
        mix_close(m);
        return rc;
    }
    m->said_each = (int64_t)(m->horizon + 1) * m->experts * m->levels;
    m->room = spr__mix_room(m);
    m->scratch_size = SPR_MAX(m->week, m->said_each);
    *state = m;
    return SPR_OK;
}

/* ---- rows ---- */

static double *cut(double **from, int64_t n) {
    double *p = *from;
    *from += n;
    return p;
}

/* Kinds are numbered as resources come up. */
static void sort_out(struct mix *m, const int32_t *resource) {
    int32_t known[SPR_RESOURCES_MAX + 1];
    m->kinds = 0;
    for (int64_t i = 0; i < m->count; i++) {
        int32_t r = resource ? resource[i] : -1, k = 0;
        r = r >= 0 && r < SPR_RESOURCES_MAX ? r : -1;
        while (k < m->kinds && known[k] != r)
            k++;
        if (k == m->kinds)
            known[m->kinds++] = r;
        m->rows[i].kind = k;
    }
}

static int make_rows(struct mix *m, const struct spr_panel *history) {
    int64_t count = history->series;
    int64_t J = m->horizon + 1, K = m->levels;
    int64_t each = 3 * m->room + J * K + J * MIX_BINS * K + J * m->said_each + m->said_each, pair = 2 * J * K;
    each += m->model ? (J + 1) * pair : 0;
    forget_rows(m);
    m->count = count;
    m->block_size = (size_t)(count * each);
    m->rows = spr__alloc(m->ctx, (size_t)count, sizeof *m->rows);
    if (m->rows)
        sort_out(m, history->resource);
    m->block = spr__alloc(m->ctx, m->block_size, sizeof *m->block);
    m->bins = spr__alloc(m->ctx, (size_t)(count * m->week), 1);
    m->scratch = spr__alloc(m->ctx, (size_t)(count * m->scratch_size), sizeof *m->scratch);
    size_t ahead = (size_t)(count * (m->horizon - 1));
    bool opinions = true;
    if (m->model)
        opinions = (m->opinion = spr__alloc(m->ctx, ahead * (size_t)m->levels, sizeof *m->opinion)) &&
                   (m->points = spr__alloc(m->ctx, ahead, sizeof *m->points)) &&
                   (m->column = spr__alloc(m->ctx, (size_t)count, sizeof *m->column)) &&
                   (m->plain = spr__alloc(m->ctx, plain_size(m), sizeof *m->plain)) &&
                   (m->counts = spr__alloc(m->ctx, counts_size(m), sizeof *m->counts));
    if (!m->rows || !m->block || !m->bins || !m->scratch || !opinions) {
        forget_rows(m);
        return spr__nomem(m->ctx);
    }
    double *at = m->block;
    for (int64_t i = 0; i < count; i++) {
        struct mix_row *r = &m->rows[i];
        r->y = cut(&at, m->room);
        r->look[0] = cut(&at, m->room);
        r->look[1] = cut(&at, m->room);
        r->change = cut(&at, J * K);
        r->after = cut(&at, J * MIX_BINS * K);
        r->said = cut(&at, J * m->said_each);
        r->loss = cut(&at, m->said_each);
        r->mixed = m->model ? cut(&at, J * pair) : NULL;
        r->mixed_loss = m->model ? cut(&at, pair) : NULL;
        r->bin = &m->bins[i * m->week];
        r->counts = m->counts ? m->counts + r->kind * (m->horizon + 1) * m->levels : NULL;
        r->opinion = m->opinion ? m->opinion + i * (m->horizon - 1) * m->levels : NULL;
        r->tabulated = r->consulted = -1;
    }
    return SPR_OK;
}

struct job {
    struct mix *m;
    const struct spr_panel *panel;
    int64_t first; /* column of it */
    const double *now;
    struct spr_forecaster_output *out;
};

/* One step of the panel; a lower bound is raised to what it may well have been. */
static double sample(const struct mix *m, struct mix_row *r, const struct spr_panel *p, int64_t row, int64_t t) {
    double y = spr__panel_value(p, row, t);
    r->bound = !isnan(y) && spr__panel_censored(p, row, t);
    return r->bound ? spr__mix_raise(m, r, y) : y;
}

/* ---- the model ---- */

static struct spr_panel columns(const struct spr_panel *p, int64_t first, int64_t count) {
    struct spr_panel part = *p;
    part.data = (const char *)p->data + first * p->step_stride;
    part.steps = count;
    part.valid = NULL, part.censored = NULL;
    return part;
}

/* What it says of the steps after a running one that shows y, for all rows at once; only if some row wants to know. */
static int ask_model(struct mix *m, const double *y) {
    bool wanted = false;
    for (int64_t i = 0; i < m->count; i++)
        wanted = wanted || (!isnan(y[i]) && spr__mix_must_consult(&m->rows[i], y[i]));
    if (!wanted)
        return SPR_OK;
    struct spr_forecaster_output out = {sizeof out, m->count, m->points, m->opinion};
    return spr__model_ask_ahead(m->model, y, &out);
}

/* ---- slots ---- */

static void remember_row(void *arg, size_t i) {
    struct job *j = arg;
    for (int64_t t = 0; t < j->first; t++)
        spr__mix_remember(j->m, &j->m->rows[i], sample(j->m, &j->m->rows[i], j->panel, (int64_t)i, t));
    spr__mix_begin(j->m, &j->m->rows[i], &j->m->scratch[(int64_t)i * j->m->scratch_size]);
}

static void step_row(void *arg, size_t i) {
    struct job *j = arg;
    for (int64_t t = j->first; t < j->panel->steps; t++)
        spr__mix_step(j->m, &j->m->rows[i], sample(j->m, &j->m->rows[i], j->panel, (int64_t)i, t),
                      &j->m->scratch[(int64_t)i * j->m->scratch_size]);
}

static void close_row(void *arg, size_t i) {
    struct job *j = arg;
    spr__mix_step(j->m, &j->m->rows[i], j->m->column[i], &j->m->scratch[(int64_t)i * j->m->scratch_size]);
}

/* Steps [first, ...) of the panel. The model takes all rows of a step at once, the cheap experts all steps of a row. */
static int take_steps(struct mix *m, struct job *j) {
    if (!m->model) {
        spr__parallel(m->ctx, (size_t)m->count, step_row, j);
        return SPR_OK;
    }
    for (int64_t t = j->first; t < j->panel->steps; t++) {
        for (int64_t i = 0; i < m->count; i++)
            m->column[i] = spr__mix_value(&m->rows[i], sample(m, &m->rows[i], j->panel, i, t));
        int rc = ask_model(m, m->column);
        if (rc < 0)
            return rc;
        spr__parallel(m->ctx, (size_t)m->count, close_row, j);
        spr__mix_prove(m);
        struct spr_panel one = {.size = sizeof one,
                                .data = m->column,
                                .series = m->count,
                                .steps = 1,
                                .series_stride = sizeof *m->column,
                                .step_stride = sizeof *m->column};
        if ((rc = spr_forecaster_model()->update(m->model, &one)) < 0)
            return rc;
    }
    return SPR_OK;
}

/* The last three days (of a short history three quarters) teach the weights, what lies before only the tables. */
static int mix_fit(void *state, const struct spr_panel *history, int64_t first_step, int64_t budget) {
    struct mix *m = state;
    (void)budget; /* one pass, no loss to evaluate */
    if (history->steps < 8)
        return spr__fail(m->ctx, SPR_E_HISTORY, "the mix needs at least 8 steps of history, there are %lld",
                         (long long)history->steps);
    int rc = make_rows(m, history);
    if (rc < 0)
        return rc;
    m->torn = false;
    int64_t n = history->steps, first = n >= 3 * m->day && n > 24 ? SPR_MAX(n - 3 * m->day, 24) : n / 4;
    struct job j = {m, history, SPR_MAX(first, 2), NULL, NULL};
    spr__parallel(m->ctx, (size_t)m->count, remember_row, &j);
    if (m->model) {
        struct spr_panel past = columns(history, 0, j.first);
        past.valid = history->valid;
        if ((rc = spr_forecaster_model()->fit(m->model, &past, first_step, 0)) < 0)
            return rc;
    }
    rc = take_steps(m, &j);
    for (int64_t i = 0; i < m->count && rc == SPR_OK && m->model; i++)
        spr__mix_level(m, &m->rows[i]);
    if (rc == SPR_OK && m->model)
        spr__mix_prove(m);
    return rc;
}

static int whole(const struct mix *m) {
    return m->torn ? spr__fail(m->ctx, SPR_E_STATE, "mix: an update failed half way: fit again") : SPR_OK;
}

static int mix_update(void *state, const struct spr_panel *steps) {
    struct mix *m = state;
    struct job j = {m, steps, 0, NULL, NULL};
    int rc = whole(m);
    if (rc < 0)
        return rc;
    if (steps->series != m->count)
        return spr__fail(m->ctx, SPR_E_ARG, "the mix was fitted on %lld series, the update has %lld",
                         (long long)m->count, (long long)steps->series);
    rc = take_steps(m, &j);
    m->torn = rc < 0; /* the model or the cheap experts may know a step that the others do not */
    return rc;
}

static void ask_row(void *arg, size_t i) {
    struct job *j = arg;
    const struct mix *m = j->m;
    spr__mix_ask(m, &j->m->rows[i], j->now ? j->now[i] : NAN, &j->out->points[(int64_t)i * m->horizon],
                 &j->out->quantiles[(int64_t)i * m->horizon * m->levels],
                 m->plain ? &m->plain[(int64_t)i * m->horizon * m->levels] : NULL,
                 &m->scratch[(int64_t)i * m->scratch_size]);
}

static int mix_predict(void *state, const double *now, struct spr_forecaster_output *out) {
    struct mix *m = state;
    struct job j = {m, NULL, 0, now, out};
    if (!m->count)
        return spr__fail(m->ctx, SPR_E_STATE, "the mix was not fitted yet");
    int rc = whole(m);
    if (rc == SPR_OK && m->model && now)
        rc = ask_model(m, now);
    if (rc == SPR_OK)
        spr__parallel(m->ctx, (size_t)m->count, ask_row, &j);
    return rc;
}

const double *spr__mix_without_model(const void *state) { return ((const struct mix *)state)->plain; }

static const struct spr_forecaster_ops mix = {
    .size = sizeof mix,
    .name = "mix",
    .license = "MIT OR Apache-2.0",
    .caps = SPR_CAP_ANY_THREAD | SPR_CAP_REFITS_ITSELF,
    .open = mix_open,
    .close = mix_close,
    .fit = mix_fit,
    .update = mix_update,
    .predict = mix_predict,
};
const struct spr_forecaster_ops *spr_forecaster_mix(void) { return &mix; }
