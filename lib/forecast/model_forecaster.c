/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The forecaster that asks a model. It keeps as many steps of each series as the model looks back; a forecast closes
 * their gaps, asks every member for a batch of series at once and averages the quantiles.
 */
#include "forecast/answer.h"
#include "forecast/calibration.h"
#include "forecast/encoder.h"
#include "forecast/event_track.h"
#include "forecast/window.h"

enum { MEMBERS_MAX = 256, BATCH_ROWS = 1024, BATCH_CASES = 64 };

static const struct spr__member_ops *const kinds[] = {&spr__member_qnet, &spr__member_lstm, &spr__member_hybrid};

struct member {
    const struct spr__member_ops *ops;
    const void *payload;
    int64_t cells, cells_at; /* numbers that it carries of each series, and those before it carry */
    int64_t carriers_before; /* members before it that carry */
};
struct asker {
    spr_context *ctx;
    spr_model *model;
    const struct spr__global *global;
    struct member *members;
    size_t member_count;
    int32_t horizon, level_count;
    const double *levels;
    const int32_t *resources; /* the caller's, read in fit */
    bool may_be_negative, carries;
    int64_t series, keep, origin; /* rows; steps kept; step of the first answer */
    double *history;              /* [series][2 keep]: the newest `held` of `used` steps are at used - held */
    uint8_t *bound;               /* [series][2 keep] the value is only a lower bound */
    int64_t used;                 /* steps in the buffer, the same for all series */
    int32_t *resource;            /* [series] */
    uint8_t *negative;            /* [series] a value below 0 was seen */
    struct spr__carried *carried; /* [carriers][series] where recurrent states stand; NULL = they are read anew */
    float *cells;                 /* of each carrier [series][its cells], one behind the other */
    int64_t carriers, cell_count; /* members that carry, and numbers of one series */
    const struct spr__event_channel *channel; /* NULL = the members do not look at events */
    spr_calendar *calendar;                   /* NULL = there are none */
    int64_t calendar_origin_ns;
};

/* ---- open and close ---- */

static void drop_rows(struct asker *a) {
    size_t n = (size_t)(a->series * 2 * a->keep);
    spr__free(a->ctx, a->history, n, sizeof *a->history);
    spr__free(a->ctx, a->bound, n, 1);
    spr__free(a->ctx, a->resource, (size_t)a->series, sizeof *a->resource);
    spr__free(a->ctx, a->negative, (size_t)a->series, 1);
    spr__free(a->ctx, a->carried, (size_t)(a->carriers * a->series), sizeof *a->carried);
    spr__free(a->ctx, a->cells, (size_t)(a->series * a->cell_count), sizeof *a->cells);
    a->history = NULL, a->bound = NULL, a->resource = NULL, a->negative = NULL, a->series = 0;
    a->carried = NULL, a->cells = NULL;
}

static void close_asker(void *state) {
    struct asker *a = state;
    spr_context *ctx = a->ctx;
    drop_rows(a);
    spr__free(ctx, a->members, MEMBERS_MAX, sizeof *a->members);
    spr_calendar_unref(a->calendar);
    spr_model_unref(a->model);
    spr__free(ctx, a, 1, sizeof *a);
    spr_context_unref(ctx);
}

static void add_member(struct asker *a, const struct spr__member_ops *ops, const void *payload) {
    int64_t cells = a->carries ? ops->cells(payload) : 0;
    a->members[a->member_count++] = (struct member){ops, payload, cells, a->cell_count, a->carriers};
    a->cell_count += cells, a->carriers += cells > 0;
}

/* The members of the wanted kind that fit what the model says of itself. */
static int find_members(struct asker *a, int32_t kind) {
    for (size_t k = 0; k < SPR_ARRAY_LEN(kinds); k++)
        for (uint32_t i = 0; a->member_count < MEMBERS_MAX; i++) {
            const void *payload = spr__model_section(a->model, kinds[k]->tag, i, NULL);
            if (!payload)
                break;
            if (kinds[k]->levels(payload) != a->global->levels || kinds[k]->horizon(payload) < a->global->horizon ||
                kinds[k]->context(payload) > a->global->context || (kinds[k]->events(payload) && !a->channel))
                return spr__fail(a->ctx, SPR_E_CORRUPT, "the model's nets do not fit each other");
            if (kind == SPR_MODEL_AUTO || kind == kinds[k]->kind)
                add_member(a, kinds[k], payload);
        }
    return a->member_count ? SPR_OK
                           : spr__fail(a->ctx, SPR_E_UNSUPPORTED, "the model has no member of kind %d", (int)kind);
}

static int take_config(struct asker *a, const struct spr_forecaster_env *env, const struct spr_model_opts *o) {
    if (!o->model)
        return spr__fail(a->ctx, SPR_E_ARG, "spr_forecaster_model: a model is required (struct spr_model_opts)");
    a->model = spr_model_ref((spr_model *)o->model); /* counting references changes nothing that can be seen */
    a->global = spr__model_section(a->model, "GLOB", 0, NULL);
    if (!a->global)
        return spr__fail(a->ctx, SPR_E_CORRUPT, "the model holds nothing that forecasts");
    if (env->horizon > a->global->horizon || env->step_ns != a->global->step_ns)
        return spr__fail(
            a->ctx, SPR_E_ARG, "the model forecasts %d steps of %.9g s ahead; asked are %d steps of %.9g s",
            (int)a->global->horizon, (double)a->global->step_ns / 1e9, (int)env->horizon, (double)env->step_ns / 1e9);
    a->channel = spr__model_section(a->model, "EVNT", 0, NULL);
    if (a->channel && o->calendar)
        a->calendar = spr_calendar_ref((spr_calendar *)(uintptr_t)o->calendar);
    a->calendar_origin_ns = o->calendar_origin_ns;
    a->horizon = env->horizon, a->level_count = env->level_count, a->levels = env->levels;
    if (o->carry < 0 || o->carry > 1 || o->reserved)
        return spr__fail(a->ctx, SPR_E_ARG, "spr_model_opts: carry is %d, reserved %d", (int)o->carry,
                         (int)o->reserved);
    a->carries = o->carry;
    a->keep = a->global->context;
    a->resources = o->resource;
    a->may_be_negative = o->signed_values == SPR_NONE || (a->global->flags & SPR__GLOBAL_SIGNED);
    return find_members(a, o->kind);
}

static int open_asker(const struct spr_forecaster_env *env, void **state) {
    spr_context *ctx = env->env->context;
    struct spr_model_opts o;
    int rc = spr__opts_copy(ctx, "spr_model_opts", env->config, &o, sizeof o);
    if (rc < 0)
        return rc;
    struct asker *a = spr__alloc(ctx, 1, sizeof *a);
    if (!a)
        return spr__nomem(ctx);
    a->ctx = spr_context_ref(ctx);
    a->members = spr__alloc(ctx, MEMBERS_MAX, sizeof *a->members);
    rc = a->members ? take_config(a, env, &o) : spr__nomem(ctx);
    if (rc < 0) {
        close_asker(a);
        return rc;
    }
    *state = a;
    return SPR_OK;
}

/* ---- history ---- */

static void append_row(struct asker *a, int64_t s, const struct spr_panel *p, int64_t from, int64_t to) {
    double *y = a->history + s * 2 * a->keep;
    uint8_t *bound = a->bound + s * 2 * a->keep;
    for (int64_t t = from; t < to; t++) {
        double v = spr__panel_value(p, s, t);
        y[a->used + t - from] = v;
        bound[a->used + t - from] = spr__panel_censored(p, s, t);
        if (v < 0)
            a->negative[s] = 1;
    }
}

static void take_steps(struct asker *a, const struct spr_panel *p) {
    for (int64_t from = SPR_MAX(0, p->steps - a->keep); from < p->steps;) {
        if (a->used == 2 * a->keep) {
            for (int64_t s = 0; s < a->series; s++) {
                double *y = a->history + s * 2 * a->keep;
                uint8_t *bound = a->bound + s * 2 * a->keep;
                memcpy(y, y + a->keep, (size_t)a->keep * sizeof *y);
                memcpy(bound, bound + a->keep, (size_t)a->keep);
            }
            a->used = a->keep;
        }
        int64_t to = SPR_MIN(p->steps, from + 2 * a->keep - a->used);
        for (int64_t s = 0; s < a->series; s++)
            append_row(a, s, p, from, to);
        a->used += to - from, from = to;
    }
    a->origin += p->steps;
}

/* Nothing is carried over a fit: zeros say so. */
static bool make_carried(struct asker *a) {
    if (!a->cell_count)
        return true;
    a->carried = spr__alloc(a->ctx, (size_t)(a->carriers * a->series), sizeof *a->carried);
    a->cells = spr__alloc(a->ctx, (size_t)(a->series * a->cell_count), sizeof *a->cells);
    return a->carried && a->cells;
}

static int fit(void *state, const struct spr_panel *p, int64_t first_step, int64_t budget) {
    struct asker *a = state;
    (void)budget;
    drop_rows(a);
    size_t n = (size_t)(p->series * 2 * a->keep);
    a->series = p->series, a->used = 0, a->origin = first_step;
    a->history = spr__alloc(a->ctx, n, sizeof *a->history);
    a->bound = spr__alloc(a->ctx, n, 1);
    a->resource = spr__alloc(a->ctx, (size_t)p->series, sizeof *a->resource);
    a->negative = spr__alloc(a->ctx, (size_t)p->series, 1);
    if (!make_carried(a) || !a->history || !a->bound || !a->resource || !a->negative) {
        drop_rows(a);
        return spr__nomem(a->ctx);
    }
    const int32_t *resources = a->resources ? a->resources : p->resource;
    for (int64_t s = 0; s < p->series; s++) {
        int32_t r = resources ? resources[s] : -1;
        a->resource[s] = r >= 0 && r < SPR_RESOURCES_MAX ? r : -1;
    }
    take_steps(a, p);
    return SPR_OK;
}

static int update(void *state, const struct spr_panel *p) {
    take_steps(state, p);
    return SPR_OK;
}

/* ---- asking ---- */

struct asking {
    struct asker *a;
    const double *now;
    const struct spr__event_track *events;
    struct spr_forecaster_output *out;
    int64_t batch; /* series a batch */
    bool carry;
    int *rc; /* [batches] */
};

/* What one batch works with. */
struct bench {
    double *rows; /* [batch][keep] */
    const double *history[BATCH_CASES];
    int64_t origin[BATCH_CASES], first; /* series of the first case */
    int64_t whole[BATCH_CASES];
    int32_t resource[BATCH_CASES];
    double unit[BATCH_CASES];
    bool known[BATCH_CASES];
    double *quantiles, *sum; /* [batch][horizon][levels of the model] */
    void *room;
};

/* The last `keep` steps without gaps; what lies before the first known value repeats the first days. */
static bool close_row(const struct asker *a, int64_t s, const double *now, double *y) {
    int64_t held = SPR_MIN(a->used, a->keep), pad = a->keep - held;
    int64_t day = (SPR__DAY_NS + a->global->step_ns / 2) / a->global->step_ns;
    memcpy(y + pad, a->history + s * 2 * a->keep + a->used - held, (size_t)held * sizeof *y);
    if (now && !isnan(now[s]))
        y[a->keep - 1] = now[s];
    int64_t first = pad;
    while (first < a->keep && isnan(y[first]))
        first++;
    if (first == a->keep)
        return false;
    spr__fill_gaps(y + first, a->keep - first, day >= 2 && !(a->global->flags & SPR__GLOBAL_HOLD) ? day : 0, NULL);
    int64_t known = a->keep - first, period = day >= 2 && known >= day ? day : known;
    for (int64_t t = first - 1; t >= 0; t--)
        y[t] = y[t + period];
    return true;
}

/* Averages of members -> quantiles of the asked levels of one step. */
static void finish_step(const struct asker *a, const struct bench *b, int64_t i, double simple, double change,
                        double *q, double *point, double *out) {
    const struct spr__global *g = a->global;
    int64_t s = b->first + i;
    spr__calibration_widen(g->level, g->levels, g->factor, q);
    for (int32_t k = 0; k < g->levels && b->known[i] && g->naive_share > 0; k++)
        q[k] += g->naive_share * (simple + g->naive[k] * change - q[k]);
    if (b->known[i] && (g->flags & SPR__GLOBAL_SNAP))
        spr__snap(g, b->history[i][a->keep - 1], b->unit[i], q);
    bool floor = !a->may_be_negative && !a->negative[s];
    for (int32_t k = 0; k < g->levels; k++)
        q[k] = floor && q[k] < 0 ? 0 : q[k];
    spr__levels_between(g->level, g->levels, q, a->levels, a->level_count, out);
    for (int32_t k = 0; k < a->level_count; k++) {
        out[k] = floor && out[k] < 0 ? 0 : out[k];
        out[k] = k && out[k] < out[k - 1] ? out[k - 1] : out[k];
    }
    *point = q[g->median];
}

static void finish_case(const struct asking *k, const struct bench *b, int64_t i) {
    const struct asker *a = k->a;
    const struct spr__global *g = a->global;
    int64_t s = b->first + i;
    double *points = k->out->points + s * a->horizon, *out = k->out->quantiles + s * a->horizon * a->level_count;
    const double *y = b->history[i];
    double change = g->naive_share > 0 ? spr__mean_change(y, a->keep, g->naive_lag) : 0;
    for (int32_t h = 0; h < a->horizon; h++) {
        double *q = b->sum + (i * a->horizon + h) * g->levels;
        double simple = g->naive_lag ? y[a->keep - g->naive_lag + h % g->naive_lag] : y[a->keep - 1];
        if (!b->known[i])
            memcpy(q, g->prior[spr__resource_row(a->resource[s])], (size_t)g->levels * sizeof *q);
        finish_step(a, b, i, simple, change, q, points + h, out + (int64_t)h * a->level_count);
    }
}

static int bench_open(const struct asker *a, int64_t n, struct bench *b, size_t *room) {
    size_t numbers = (size_t)(n * a->horizon * a->global->levels);
    *room = 64;
    for (size_t m = 0; m < a->member_count; m++)
        *room = SPR_MAX(*room, a->members[m].ops->room(a->members[m].payload, n, a->horizon));
    b->rows = spr__alloc(a->ctx, (size_t)(n * a->keep), sizeof *b->rows);
    b->quantiles = spr__alloc(a->ctx, numbers, sizeof *b->quantiles);
    b->sum = spr__alloc(a->ctx, numbers, sizeof *b->sum);
    b->room = spr__alloc(a->ctx, *room, 1);
    return b->rows && b->quantiles && b->sum && b->room ? SPR_OK : spr__nomem(a->ctx);
}

static void bench_drop(const struct asker *a, int64_t n, struct bench *b, size_t room) {
    size_t numbers = (size_t)(n * a->horizon * a->global->levels);
    spr__free(a->ctx, b->rows, (size_t)(n * a->keep), sizeof *b->rows);
    spr__free(a->ctx, b->quantiles, numbers, sizeof *b->quantiles);
    spr__free(a->ctx, b->sum, numbers, sizeof *b->sum);
    spr__free(a->ctx, b->room, room, 1);
}

/* Newest values before which there is no gap. */
static int64_t without_gap(const struct asker *a, int64_t s) {
    const double *y = a->history + s * 2 * a->keep;
    int64_t n = 0, held = SPR_MIN(a->used, a->keep);
    while (n < held && !isnan(y[a->used - 1 - n]))
        n++;
    return n;
}

static void set_out(const struct asking *k, struct bench *b, int64_t n) {
    const struct asker *a = k->a;
    for (int64_t i = 0; i < n; i++) {
        int64_t s = b->first + i;
        double *y = b->rows + i * a->keep;
        b->known[i] = close_row(a, s, k->now, y);
        for (int64_t t = 0; t < a->keep && !b->known[i]; t++)
            y[t] = 0;
        b->history[i] = y, b->origin[i] = a->origin, b->resource[i] = a->resource[s];
        b->unit[i] = a->global->unit[spr__resource_row(a->resource[s])];
        b->whole[i] = k->carry ? without_gap(a, s) : 0;
    }
}

static void ask_batch(void *arg, size_t batch) {
    struct asking *k = arg;
    const struct asker *a = k->a;
    struct bench b = {.first = (int64_t)batch * k->batch};
    int64_t n = SPR_MIN(k->batch, a->series - b.first);
    size_t room = 0, numbers = (size_t)(n * a->horizon * a->global->levels);
    k->rc[batch] = bench_open(a, n, &b, &room);
    if (k->rc[batch] == SPR_OK) {
        set_out(k, &b, n);
        struct spr__cases c = {.kernels = spr__net_kernels_for(spr_context_simd(a->ctx)),
                               .count = n,
                               .history = b.history,
                               .steps = a->keep,
                               .origin = b.origin,
                               .resource = b.resource,
                               .unit = b.unit,
                               .horizon = a->horizon,
                               .events = k->events,
                               .whole = b.whole};
        for (size_t m = 0; m < a->member_count; m++) {
            bool again = m && a->members[m - 1].ops == a->members[m].ops;
            const struct member *one = &a->members[m];
            bool carry = k->carry && one->cells;
            c.before = again ? a->members[m - 1].payload : NULL;
            c.carried = carry ? a->carried + one->carriers_before * a->series + b.first : NULL;
            c.cells = carry ? a->cells + one->cells_at * a->series + b.first * one->cells : NULL;
            one->ops->answer(one->payload, &c, b.room, b.quantiles);
            for (size_t j = 0; j < numbers; j++)
                b.sum[j] += b.quantiles[j] / (double)a->member_count;
        }
        for (int64_t i = 0; i < n; i++)
            finish_case(k, &b, i);
    }
    bench_drop(a, n, &b, room);
}

static int ask_all(struct asker *a, struct asking *given) {
    struct asking k = *given;
    k.batch = SPR_MIN(SPR_MAX(1, BATCH_ROWS / a->horizon), BATCH_CASES);
    size_t batches = (size_t)((a->series + k.batch - 1) / k.batch);
    k.rc = spr__alloc(a->ctx, batches, sizeof *k.rc);
    if (!k.rc)
        return spr__nomem(a->ctx);
    spr__parallel(a->ctx, batches, ask_batch, &k);
    int rc = SPR_OK;
    for (size_t i = 0; i < batches && rc == SPR_OK; i++)
        rc = k.rc[i];
    spr__free(a->ctx, k.rc, batches, sizeof *k.rc);
    return rc;
}

/* The calendar knows the steps ahead as it knows those behind. */
static int ask(struct asker *a, const double *now, bool carry, struct spr_forecaster_output *out) {
    struct asking k = {.a = a, .now = now, .out = out, .carry = carry};
    struct spr__event_track track;
    if (!a->calendar)
        return ask_all(a, &k);
    int rc = spr__event_track_make(a->ctx, a->calendar, a->calendar_origin_ns, a->global->step_ns, a->channel,
                                   a->origin - a->keep, a->keep + a->horizon, &track);
    if (rc < 0)
        return rc;
    k.events = &track;
    rc = ask_all(a, &k);
    spr__event_track_drop(a->ctx, &track);
    return rc;
}

int spr__model_takes_events(const spr_context *ctx, const void *config) {
    struct spr_model_opts o;
    int rc = spr__opts_copy(ctx, "spr_model_opts", config, &o, sizeof o);
    if (rc < 0)
        return rc;
    return o.calendar && o.model && spr__model_section(o.model, "EVNT", 0, NULL) ? 1 : 0;
}

/* What has not happened for good (`now`) is never taken into a state. */
static int predict(void *state, const double *now, struct spr_forecaster_output *out) {
    struct asker *a = state;
    return ask(a, now, a->carried && !now, out);
}

int spr__model_ask_ahead(void *state, const double *now, struct spr_forecaster_output *out) {
    struct asker *a = state;
    struct spr_panel p = {.size = sizeof p,
                          .data = now,
                          .series = a->series,
                          .steps = 1,
                          .series_stride = sizeof *now,
                          .step_stride = sizeof *now};
    take_steps(a, &p);
    int rc = ask(a, NULL, false, out);
    a->used--, a->origin--;
    return rc;
}

const struct spr_forecaster_ops *spr_forecaster_model(void) {
    static const struct spr_forecaster_ops ops = {
        .size = sizeof ops,
        .name = "model",
        .license = "MIT OR Apache-2.0",
        .caps = SPR_CAP_ANY_THREAD | SPR_CAP_REFITS_ITSELF,
        .open = open_asker,
        .close = close_asker,
        .fit = fit,
        .update = update,
        .predict = predict,
    };
    return &ops;
}
