/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The trainer: takes series in, then works through its plan one minibatch at a time. The first member never sees the
 * held-out tail and is the witness of how good the model is; the others use everything.
 */
#include "forecast/event.h"
#include "forecast/train.h"

#include <stdio.h>

static const double default_levels[] = {.1, .2, .3, .4, .5, .6, .7, .8, .9, 10.0 / 11.0, .95, .99};

enum { SPR__TRAIN_LOSSES = 100, UNLIKE = 1000 /* units so many times apart are of different things */ };

/* A member on trial must lower the loss of the average by one part in a hundred. */
static const double worth = .99;

struct spr_trainer {
    spr_context *ctx;
    int64_t step_ns, context;
    int32_t kind, horizon, members;
    double effort;
    bool is_signed; /* values below 0 may be forecast */
    struct spr__train_data data;
    struct spr__train_plan plan;
    spr_model *begin; /* whose weights to go on from, or NULL */
    bool inside;      /* events are inputs of the nets */
    struct spr__event_channel channel;
    struct spr__event_track **tracks;
    size_t track_count, track_room;
    bool planned, done;
    int32_t member; /* the one in work */
    struct spr__train_pool pool;
    struct spr__train_net net;
    struct spr__train_stop stop;
    int64_t stopped; /* minibatch to which the tail sent the first member back; -1 = nowhere */
    bool whole;      /* nobody asks the tail whether to stop */
    unsigned char *payload[SPR__TRAIN_NETS_MAX];
    size_t bytes[SPR__TRAIN_NETS_MAX];
    struct spr__global global, start; /* what goes into the model; the same before anything was measured */
    struct spr__train_tail tail;
    int64_t finished, total; /* minibatches */
    char text[160];
    double losses[SPR__TRAIN_LOSSES]; /* for people */
    int32_t loss_count;
};

/* ---- create ---- */

/* What goes on from a model is of its kind: the same step, horizon and levels. */
static int take_start(spr_context *ctx, struct spr_trainer_opts *o) {
    const struct spr__global *g = o->start ? spr__model_section(o->start, "GLOB", 0, NULL) : NULL;
    if (!o->start)
        return SPR_OK;
    if (!g || !spr__train_start(o->start, 0))
        return spr__fail(ctx, SPR_E_ARG, "spr_trainer_opts.start: a model without anything to go on from");
    if ((o->step_ns && o->step_ns != g->step_ns) || (o->horizon && o->horizon != g->horizon) || o->level_count)
        return spr__fail(ctx, SPR_E_ARG, "spr_trainer_opts.start: step, horizon and levels are the model's: 0 here");
    o->step_ns = g->step_ns, o->horizon = g->horizon, o->levels = g->level, o->level_count = g->levels;
    o->kind = SPR_MODEL_AUTO, o->context = 0, o->members = 0;
    return SPR_OK;
}

static int take_opts(spr_context *ctx, const struct spr_trainer_opts *given, struct spr_trainer_opts *o) {
    int rc = spr__opts_copy(ctx, "spr_trainer_opts", given, o, sizeof *o);
    if (rc < 0 || (rc = take_start(ctx, o)) < 0)
        return rc;
    if (!o->step_ns)
        o->step_ns = INT64_C(300000000000);
    if (!o->horizon)
        o->horizon = 12;
    if (!o->level_count)
        o->level_count = (int32_t)SPR_ARRAY_LEN(default_levels), o->levels = default_levels;
    if (o->effort == 0)
        o->effort = 1;
    if (o->events < SPR_EVENTS_AUTO || o->events > SPR_EVENTS_INSIDE)
        return spr__fail(ctx, SPR_E_ARG, "spr_trainer_opts: events is %d", (int)o->events);
    if (o->step_ns < 0 || o->horizon < 1 || o->horizon > SPR__WINDOW_HORIZON_MAX || o->level_count < 1 ||
        o->level_count > SPR__QNET_LEVELS_MAX || !o->levels || o->members < 0 || o->members > SPR__TRAIN_MEMBERS_MAX ||
        (o->context && (o->context < 2 || o->context > SPR__WINDOW_CONTEXT_MAX)) ||
        !(o->effort > 0 && o->effort <= 1000) || (o->early_stop && o->early_stop != SPR_NONE) ||
        o->kind < SPR_MODEL_AUTO || o->kind > SPR_MODEL_HYBRID)
        return spr__fail(
            ctx, SPR_E_ARG,
            "spr_trainer_opts: step, horizon, levels, members, context, effort or early_stop are out of range");
    return spr__levels_check(ctx, o->levels, o->level_count);
}

/* Where nobody says, as it was measured (doc/algorithms/lstm.md, "Events"). */
static bool takes_events(const struct spr_trainer_opts *o) {
    if (o->start)
        return spr__model_section(o->start, "EVNT", 0, NULL);
    return o->events == SPR_EVENTS_INSIDE && o->kind != SPR_MODEL_HYBRID;
}

static struct spr__event_channel channel_of(const struct spr_trainer_opts *o) {
    const struct spr__event_channel *c = o->start ? spr__model_section(o->start, "EVNT", 0, NULL) : NULL;
    return c ? *c : (struct spr__event_channel){.reach_ns = SPR__EVENT_REACH_NS, .form = SPR__EVENT_FORM};
}

int spr_trainer_create(spr_context *ctx, const struct spr_trainer_opts *opts, spr_trainer **out) {
    struct spr_trainer_opts o;
    if (!ctx)
        return SPR_E_ARG;
    if (!out)
        return spr__fail(ctx, SPR_E_ARG, "spr_trainer_create: no place for the result");
    int rc = take_opts(ctx, opts, &o);
    if (rc < 0)
        return rc;
    spr_trainer *t = spr__alloc(ctx, 1, sizeof *t);
    if (!t)
        return spr__nomem(ctx);
    t->ctx = spr_context_ref(ctx);
    t->kind = o.kind, t->step_ns = o.step_ns, t->horizon = o.horizon, t->members = o.members;
    t->context = o.context, t->effort = o.effort;
    t->stopped = SPR_NONE, t->whole = o.early_stop == SPR_NONE;
    t->global = (struct spr__global){.step_ns = o.step_ns,
                                     .horizon = o.horizon,
                                     .levels = o.level_count,
                                     .median = spr__median_of(o.levels, o.level_count)};
    t->begin = o.start ? spr_model_ref((spr_model *)(uintptr_t)o.start) : NULL;
    t->inside = takes_events(&o), t->channel = channel_of(&o);
    for (int32_t k = 0; k < o.level_count; k++)
        t->global.level[k] = o.levels[k], t->global.factor[k] = 1;
    *out = t;
    return SPR_OK;
}

static void drop_series(spr_context *ctx, struct spr__train_series *s) {
    spr__free(ctx, s->y, (size_t)s->n, sizeof *s->y);
    spr__free(ctx, s->marks, (size_t)s->n, 1);
}

void spr_trainer_destroy(spr_trainer *t) {
    if (!t)
        return;
    spr_context *ctx = t->ctx;
    for (size_t i = 0; i < t->data.count; i++)
        drop_series(ctx, &t->data.series[i]);
    spr__free(ctx, t->data.series, t->data.room, sizeof *t->data.series);
    for (size_t i = 0; i < t->track_count; i++) {
        spr__event_track_drop(ctx, t->tracks[i]);
        spr__free(ctx, t->tracks[i], 1, sizeof *t->tracks[i]);
    }
    spr__free(ctx, t->tracks, t->track_room, sizeof *t->tracks);
    spr__train_pool_drop(ctx, &t->pool);
    spr__train_net_drop(ctx, &t->net);
    spr__train_stop_drop(ctx, &t->stop);
    for (int32_t i = 0; i < SPR__TRAIN_NETS_MAX; i++)
        spr__free(ctx, t->payload[i], t->bytes[i], 1);
    spr_model_unref(t->begin);
    spr__free(ctx, t, 1, sizeof *t);
    spr_context_unref(ctx);
}

/* ---- series in ---- */

static int64_t season_of(const spr_trainer *t) {
    int64_t day = t->step_ns > 0 ? SPR__DAY_NS / t->step_ns : 0;
    return day >= 2 ? day : 0;
}

/* Hours ahead, the newest values say most, and a day made up from the one before misleads. */
static bool holds(const spr_trainer *t) { return 2 * (int64_t)t->horizon < season_of(t); }

/* One row, up to `until`; a row without any value is left out. */
static int add_row(spr_trainer *t, const struct spr_panel *p, const struct spr_training_opts *o, int64_t row,
                   const struct spr__event_track *events) {
    int64_t n = o->until ? SPR_MIN(o->until[row], p->steps) : p->steps;
    while (n > 0 && isnan(spr__panel_value(p, row, n - 1)))
        n--;
    if (n < 2)
        return SPR_OK;
    int rc = spr__reserve(t->ctx, (void **)&t->data.series, &t->data.room, t->data.count + 1, sizeof *t->data.series);
    if (rc < 0)
        return rc;
    struct spr__train_series s = {
        .n = n, .first_step = o->first_step, .resource = o->resource ? o->resource[row] : -1, .events = events};
    s.y = spr__alloc(t->ctx, (size_t)n, sizeof *s.y);
    s.marks = spr__alloc(t->ctx, (size_t)n, 1);
    if (!s.y || !s.marks) {
        drop_series(t->ctx, &s);
        return spr__nomem(t->ctx);
    }
    for (int64_t i = 0; i < n; i++)
        s.y[i] = spr__panel_value(p, row, i);
    spr__fill_gaps(s.y, n, holds(t) ? 0 : season_of(t), s.marks);
    for (int64_t i = 0; i < n; i++) {
        s.mean_abs += fabs(s.y[i]) / (double)n;
        if (s.y[i] < 0 || o->signed_values == SPR_NONE)
            t->is_signed = true;
        if (!s.marks[i] && spr__panel_censored(p, row, i))
            s.marks[i] |= SPR__MARK_CENSORED;
    }
    t->data.series[t->data.count++] = s;
    return SPR_OK;
}

/* What is large among the series of one panel and resource. */
static void share_unit(struct spr__train_data *d, size_t first) {
    double sum[SPR__GLOBAL_RESOURCES] = {0}, count[SPR__GLOBAL_RESOURCES] = {0};
    for (size_t i = first; i < d->count; i++) {
        int32_t slot = spr__resource_row(d->series[i].resource);
        sum[slot] += d->series[i].mean_abs, count[slot]++;
    }
    for (size_t i = first; i < d->count; i++) {
        int32_t slot = spr__resource_row(d->series[i].resource);
        d->series[i].unit = sum[slot] > 0 && count[slot] > 1 ? sum[slot] / count[slot] : 0; /* of one nobody knows */
    }
}

/* Cores and bytes have no unit in common, whatever they are called. */
static bool unlike(const struct spr__train_data *d) {
    double least = INFINITY, most = 0;
    for (size_t i = 0; i < d->count; i++)
        if (d->series[i].mean_abs > 0 && d->series[i].unit > 0) {
            least = SPR_MIN(least, d->series[i].unit);
            most = SPR_MAX(most, d->series[i].unit);
        }
    return most > UNLIKE * least;
}

/* A copy of a panel without what lies at or after `until`, and what events do to its series. */
static int learn_effects(const spr_trainer *t, const struct spr_training_opts *o, struct spr_panel *p, double **copy,
                         spr_event_effects **effects) {
    struct spr_event_effects_opts eo = {
        .size = sizeof eo, .calendar = o->calendar, .step_ns = t->step_ns, .origin_ns = o->calendar_origin_ns};
    size_t cells = (size_t)p->series * (size_t)p->steps;
    double *y = spr__alloc(t->ctx, cells, sizeof *y);
    if (!y)
        return spr__nomem(t->ctx);
    for (int64_t s = 0; s < p->series; s++)
        for (int64_t i = 0; i < p->steps; i++)
            y[s * p->steps + i] = o->until && i >= o->until[s] ? NAN : spr__panel_value(p, s, i);
    struct spr_panel all = *p;
    all.data = y, all.dtype = SPR_F64, all.valid = NULL;
    all.series_stride = p->steps * (int64_t)sizeof *y, all.step_stride = sizeof *y;
    int rc = spr_event_effects_create(t->ctx, &eo, effects);
    if (rc == SPR_OK && (rc = spr_event_effects_fit(*effects, &all, o->first_step)) == SPR_OK)
        *p = all, *copy = y;
    else
        spr__free(t->ctx, y, cells, sizeof *y);
    return rc;
}

/* The panel without what events did to it. */
static int without_events(const spr_trainer *t, const struct spr_training_opts *o, struct spr_panel *p, double **bare) {
    spr_event_effects *e = NULL;
    size_t cells = (size_t)p->series * (size_t)p->steps;
    int rc = learn_effects(t, o, p, bare, &e);
    if (rc == SPR_OK && (rc = spr__event_clean(e, p, o->first_step, false, *bare)) < 0) {
        spr__free(t->ctx, *bare, cells, sizeof **bare);
        *bare = NULL;
    }
    spr_event_effects_destroy(e);
    return rc;
}

/* The events that all rows of a panel live through, and what the fleet shows of their kinds. */
static int keep_events(spr_trainer *t, const struct spr_panel *given, const struct spr_training_opts *o,
                       const struct spr__event_track **out) {
    struct spr_panel p = *given;
    double *copy = NULL;
    spr_event_effects *e = NULL;
    int rc = spr__reserve(t->ctx, (void **)&t->tracks, &t->track_room, t->track_count + 1, sizeof *t->tracks);
    if (rc == SPR_OK && (rc = learn_effects(t, o, &p, &copy, &e)) == SPR_OK)
        spr__event_channel_learn(&t->channel, o->calendar, e);
    spr__free(t->ctx, copy, (size_t)p.series * (size_t)p.steps, sizeof *copy);
    spr_event_effects_destroy(e);
    struct spr__event_track *track = rc == SPR_OK ? spr__alloc(t->ctx, 1, sizeof *track) : NULL;
    if (!track)
        return rc < 0 ? rc : spr__nomem(t->ctx);
    rc = spr__event_track_make(t->ctx, o->calendar, o->calendar_origin_ns, t->step_ns, &t->channel, o->first_step,
                               p.steps, track);
    if (rc < 0)
        spr__free(t->ctx, track, 1, sizeof *track);
    else
        *out = t->tracks[t->track_count++] = track;
    return rc;
}

int spr_trainer_add(spr_trainer *t, const struct spr_panel *panel, const struct spr_training_opts *opts) {
    struct spr_panel p;
    struct spr_training_opts o;
    if (!t)
        return SPR_E_ARG;
    int rc = spr__panel_open(t->ctx, "spr_trainer_add", panel, &p);
    if (rc < 0 || (rc = spr__opts_copy(t->ctx, "spr_training_opts", opts, &o, sizeof o)) < 0)
        return rc;
    if (t->planned)
        return spr__fail(t->ctx, SPR_E_STATE, "spr_trainer_add: training has begun");
    o.resource = o.resource ? o.resource : p.resource;
    for (int64_t s = 0; s < p.series; s++)
        if ((o.until && o.until[s] < 0) || (o.resource && (o.resource[s] < -1 || o.resource[s] >= SPR_RESOURCES_MAX)))
            return spr__fail(t->ctx, SPR_E_ARG, "spr_trainer_add: series %lld: no such resource or column",
                             (long long)s);
    double *bare = NULL;
    size_t cells = (size_t)p.series * (size_t)p.steps, before = t->data.count;
    const struct spr__event_track *events = NULL;
    if (o.calendar && (rc = t->inside ? keep_events(t, &p, &o, &events) : without_events(t, &o, &p, &bare)) < 0)
        return rc;
    for (int64_t s = 0; s < p.series && rc == SPR_OK; s++)
        rc = add_row(t, &p, &o, s, events);
    share_unit(&t->data, before);
    spr__free(t->ctx, bare, cells, sizeof *bare);
    return rc;
}

/* ---- what to draw from ---- */

/* Twenty different values, and a season that says something: a constant series would teach that all is certain. */
static bool lively(const struct spr__train_series *s, int64_t season) {
    double seen[20], change = 0;
    int32_t n = 0;
    for (int64_t i = 0; i < s->n && n < 20; i++) {
        int32_t k = 0;
        while (k < n && seen[k] != s->y[i])
            k++;
        if (k == n)
            seen[n++] = s->y[i];
    }
    int64_t lag = season && season < s->n ? season : 1;
    for (int64_t i = lag; i < s->n; i++)
        change += fabs(s->y[i] - s->y[i - lag]) / (double)(s->n - lag);
    return n == 20 && change > .01 * s->mean_abs;
}

double spr__train_unit(const struct spr__train_data *d, const struct spr__train_series *s) {
    double unit = d->unit[spr__resource_row(s->resource)];
    if (s->resource < 0 && s->unit > 0)
        return s->unit;
    return unit > 0 ? unit : s->mean_abs;
}

static void weigh_series(spr_trainer *t) {
    for (size_t i = 0; i < t->data.count; i++) {
        struct spr__train_series *s = &t->data.series[i];
        s->draw = lively(s, season_of(t)) ? 1 : s->mean_abs > 0 ? .2 : 0;
        if (t->plan.by_level)
            s->draw = s->mean_abs > 0 ? SPR_MIN(SPR_MAX(s->mean_abs / spr__train_unit(&t->data, s), 1), 3) : 0;
        s->witness = spr__mix64(i) % 8 == 0;
    }
}

/* The unit of a resource, and its quantiles over all series and times: what is expected of a series without history. */
static int fill_slot(spr_trainer *t, int32_t slot) {
    enum { SAMPLE = 4096 };
    double *v = spr__alloc(t->ctx, SAMPLE, sizeof *v), sum = 0;
    int64_t used = 0, total = 0, k = 0;
    if (!v)
        return spr__nomem(t->ctx);
    for (size_t i = 0; i < t->data.count; i++)
        if (!slot || spr__resource_row(t->data.series[i].resource) == slot)
            total += t->data.series[i].n;
    int64_t every = total / SAMPLE + 1;
    double rows = 0;
    for (size_t i = 0; i < t->data.count; i++) {
        const struct spr__train_series *s = &t->data.series[i];
        if (slot && spr__resource_row(s->resource) != slot)
            continue;
        sum += s->mean_abs, rows++;
        for (int64_t j = (every - k % every) % every; j < s->n && used < SAMPLE; j += every)
            v[used++] = s->y[j];
        k += s->n;
    }
    t->data.unit[slot] = sum > 0 ? sum / rows : slot ? t->data.unit[0] : 1;
    if (!slot && unlike(&t->data))
        t->data.unit[slot] = 0;
    if (used)
        spr__quantiles(v, used, t->global.level, t->global.levels, t->global.prior[slot]);
    else
        memcpy(t->global.prior[slot], t->global.prior[0], sizeof t->global.prior[0]);
    t->global.unit[slot] = t->data.unit[slot];
    spr__free(t->ctx, v, SAMPLE, sizeof *v);
    return SPR_OK;
}

static int plan(spr_trainer *t) {
    int rc = SPR_OK;
    if (!t->data.count)
        return spr__fail(t->ctx, SPR_E_HISTORY, "train: no series with values");
    for (int32_t slot = 0; rc == SPR_OK && slot < SPR__GLOBAL_RESOURCES; slot++)
        rc = fill_slot(t, slot);
    if (rc < 0 || (rc = spr__train_choose(t->ctx, &t->data, t->kind, t->step_ns, t->horizon, t->context, t->members,
                                          t->effort, &t->plan)) < 0)
        return rc;
    if (t->begin)
        spr__train_go_on(t->begin, &t->plan);
    for (int32_t i = 0; t->track_count && i < t->plan.members; i++)
        t->plan.member[i].spec.flags |= SPR__WINDOW_EVENTS;
    weigh_series(t);
    t->total = 0, t->global.context = 0;
    for (int32_t i = 0; i < t->plan.members; i++) {
        t->total += t->plan.member[i].iterations;
        t->global.context = SPR_MAX(t->global.context, t->plan.member[i].spec.context);
    }
    t->global.flags = (t->is_signed ? SPR__GLOBAL_SIGNED : 0) | (holds(t) ? SPR__GLOBAL_HOLD : 0);
    t->start = t->global;
    t->planned = true;
    return SPR_OK;
}

/* ---- training ---- */

static uint64_t seed_of(const spr_trainer *t) {
    return spr__mix64(spr_context_seed(t->ctx) + spr__mix64((uint64_t)t->member + 1));
}

static bool on_trial(const spr_trainer *t) { return t->plan.trial && t->member == t->plan.members - 1; }

/* The windows of the running member do for the next one too: nets that only start and learn differently. */
static bool keeps_pool(const spr_trainer *t) {
    return t->plan.one_pool && t->member > 0 && t->member + 1 < t->plan.members - (t->plan.trial ? 1 : 0);
}

/* Where the tail leaves nothing to learn from, the first member sees everything too, and nothing is measured. */
static int open_pool(spr_trainer *t) {
    const struct spr__train_setting *s = &t->plan.member[t->member];
    bool held = t->member == 0 || on_trial(t);
    int rc = spr__train_pool_make(t->ctx, &t->data, &t->plan, s, held, seed_of(t), &t->pool);
    if (rc == SPR_E_HISTORY && held) {
        t->plan.tail = -1;
        if (t->plan.trial) /* no evidence, no place */
            t->plan.trial = false, t->total -= t->plan.member[--t->plan.members].iterations;
        rc = spr__train_pool_make(t->ctx, &t->data, &t->plan, s, false, seed_of(t), &t->pool);
    }
    return rc;
}

/* Does the tail say when the running member has learnt enough? */
static bool watched(const spr_trainer *t) { return !t->whole && t->plan.tail >= 0 && (t->member == 0 || on_trial(t)); }

/* What sees everything learns for as long as was good for the first member, which did not see the tail. */
static struct spr__train_schedule schedule_of(const spr_trainer *t, int32_t member) {
    int64_t n = t->plan.member[member].iterations;
    struct spr__train_schedule s = {n, n, 0};
    bool trial = t->plan.trial && member == t->plan.members - 1;
    if (t->stopped >= 0 && !trial)
        spr__train_stop_at(&s, (double)t->stopped / (double)t->plan.member[0].iterations);
    return s;
}

/* The tail sent the running member back: less is left to do than was planned. */
static void note_stop(spr_trainer *t) {
    if (t->member == 0)
        t->stopped = t->net.schedule.leave;
    t->total = t->finished + spr__train_length(&t->net.schedule) - t->net.iteration;
    for (int32_t i = t->member + 1; i < t->plan.members; i++) {
        struct spr__train_schedule s = schedule_of(t, i);
        t->total += spr__train_length(&s);
    }
}

static int open_member(spr_trainer *t) {
    int rc = t->pool.setting ? SPR_OK : open_pool(t);
    if (rc < 0)
        return rc;
    rc = spr__train_net_open(t->ctx, &t->pool, t->global.level, t->global.levels, seed_of(t), &t->net);
    if (rc == SPR_OK && t->begin)
        spr__train_net_resume(&t->pool, spr__train_start(t->begin, t->member), &t->net);
    if (rc == SPR_OK && watched(t))
        rc = spr__train_stop_open(t->ctx, &t->data, &t->plan, &t->pool, &t->net, seed_of(t), &t->stop);
    else
        t->net.schedule = schedule_of(t, t->member);
    if (rc < 0) {
        spr__train_net_drop(t->ctx, &t->net);
        spr__train_pool_drop(t->ctx, &t->pool);
    }
    return rc;
}

static void drop_payload(spr_trainer *t, int32_t member) {
    spr__free(t->ctx, t->payload[member], t->bytes[member], 1);
    t->payload[member] = NULL, t->bytes[member] = 0;
}

static int measure_first(spr_trainer *t) {
    const void *const first[] = {t->payload[0]};
    return t->plan.tail < 0 ? SPR_OK
                            : spr__train_tail_measure(t->ctx, &t->data, &t->plan, first, 1, &t->global, &t->tail);
}

/* The last member stays where it and the first one together are better on the tail than the first one alone. */
static int judge_trial(spr_trainer *t) {
    const void *const both[] = {t->payload[0], t->payload[t->member]};
    struct spr__global fresh = t->start;
    struct spr__train_tail tail;
    int rc = t->plan.tail < 0 ? SPR_OK : spr__train_tail_measure(t->ctx, &t->data, &t->plan, both, 2, &fresh, &tail);
    if (rc < 0)
        return rc;
    if (t->plan.tail >= 0 && tail.loss < worth * t->tail.loss)
        t->global = fresh, t->tail = tail;
    else
        drop_payload(t, t->member);
    return SPR_OK;
}

static int close_member(spr_trainer *t) {
    struct spr__qnet_header h = {
        .spec = t->pool.setting->spec, .shape = t->net.shape, .encoder = t->pool.setting->encoder};
    size_t bytes = spr__qnet_bytes(&h);
    unsigned char *p = spr__alloc(t->ctx, bytes, 1);
    if (!p)
        return spr__nomem(t->ctx);
    if (t->net.iteration == 0) { /* what it went on from is kept to the bit */
        memcpy(p, spr__train_start(t->begin, t->member), bytes);
    } else {
        memcpy(p, &h, sizeof h);
        memcpy(p + SPR__QNET_AT, t->net.weights, (size_t)t->net.count * sizeof(float));
        spr__qnet_fold(&t->net.shape, (float *)(void *)(p + SPR__QNET_AT), t->pool.s_mean, t->pool.s_sd, t->pool.d_mean,
                       t->pool.d_sd);
    }
    t->payload[t->member] = p, t->bytes[t->member] = bytes;
    int rc = t->member == 0 ? measure_first(t) : on_trial(t) ? judge_trial(t) : SPR_OK;
    if (rc < 0) {
        drop_payload(t, t->member);
        return rc;
    }
    if (t->plan.scout && t->member == 0 && t->plan.tail >= 0)
        drop_payload(t, 0);
    if (!keeps_pool(t))
        spr__train_pool_drop(t->ctx, &t->pool);
    spr__train_net_drop(t->ctx, &t->net);
    spr__train_stop_drop(t->ctx, &t->stop);
    t->member++;
    return SPR_OK;
}

/* A hundred looks at the way down, evenly over all members. */
static void note_loss(spr_trainer *t) {
    int64_t due = (t->finished + 1) * SPR__TRAIN_LOSSES / SPR_MAX(t->total, 1);
    if (t->loss_count < SPR_MIN(due, SPR__TRAIN_LOSSES))
        t->losses[t->loss_count++] = t->net.loss;
}

int spr_trainer_run(spr_trainer *t, int64_t budget) {
    int rc = SPR_OK;
    if (!t)
        return SPR_E_ARG;
    if (budget < 0)
        return spr__fail(t->ctx, SPR_E_ARG, "spr_trainer_run: the budget is negative");
    if (!t->planned && (rc = plan(t)) < 0)
        return rc;
    for (int64_t left = budget ? budget : INT64_MAX; t->member < t->plan.members;) {
        if (!t->net.weights && (rc = open_member(t)) < 0)
            return rc;
        for (;; left--, t->finished++) {
            if (spr__train_stop_look(t->ctx, t->global.level, &t->net, &t->stop))
                note_stop(t);
            if (t->net.iteration >= spr__train_length(&t->net.schedule))
                break;
            if (!left)
                return SPR_AGAIN;
            spr__train_net_step(t->ctx, &t->pool, t->global.level, seed_of(t), &t->net);
            note_loss(t);
        }
        if ((rc = close_member(t)) < 0)
            return rc;
    }
    t->done = true;
    return SPR_OK;
}

double spr_trainer_progress(const spr_trainer *t, const char **text) {
    if (!t)
        return NAN;
    spr_trainer *mine = (spr_trainer *)t; /* the text is a cache */
    if (!t->planned)
        snprintf(mine->text, sizeof mine->text, "not begun");
    else if (t->done)
        snprintf(mine->text, sizeof mine->text, "%d nets trained", (int)t->plan.members);
    else
        snprintf(mine->text, sizeof mine->text, "net %d of %d, minibatch %lld", (int)t->member + 1,
                 (int)t->plan.members, (long long)t->net.iteration);
    if (text)
        *text = t->text;
    return t->done ? 1 : t->planned && t->total ? (double)t->finished / (double)t->total : 0;
}

int32_t spr_trainer_losses(const spr_trainer *t, const double **losses) {
    if (losses)
        *losses = t ? t->losses : NULL;
    return t ? t->loss_count : 0;
}

int64_t spr_trainer_stopped(const spr_trainer *t, int64_t *planned) {
    if (planned)
        *planned = t && t->planned ? t->plan.member[0].iterations : 0;
    return t ? t->stopped : SPR_NONE;
}

/* ---- the model ---- */

int spr_trainer_finish(spr_trainer *t, spr_model **out) {
    static const char *const names[] = {"", "quantile net", "LSTM", "hybrid"};
    struct spr__section s[SPR__TRAIN_NETS_MAX + 2] = {{{'G', 'L', 'O', 'B'}, 0, NULL, 0}};
    char text[256];
    bool events = false;
    uint32_t count[SPR_MODEL_HYBRID + 1] = {0};
    int kinds = 0, at = 0;
    if (!t)
        return SPR_E_ARG;
    if (!out || !t->done)
        return spr__fail(t->ctx, out ? SPR_E_STATE : SPR_E_ARG, "spr_trainer_finish: %s",
                         out ? "training has not ended" : "no place for the result");
    s[0].data = &t->global, s[0].size = sizeof t->global;
    struct spr_model_info info = {.size = sizeof info,
                                  .horizon = t->horizon,
                                  .level_count = t->global.levels,
                                  .levels = t->global.level,
                                  .step_ns = t->step_ns,
                                  .context = t->global.context,
                                  .loss = t->tail.loss,
                                  .naive_loss = t->tail.naive_loss,
                                  .coverage95 = t->tail.coverage95,
                                  .text = text};
    for (size_t i = 0; i < t->data.count; i++)
        info.newest_step = SPR_MAX(info.newest_step, t->data.series[i].first_step + t->data.series[i].n);
    size_t used = 1;
    for (int32_t i = 0; i < t->plan.members; i++) {
        if (!t->payload[i])
            continue;
        const struct spr__member_ops *ops = spr__member_of((const void *)t->payload[i]);
        s[used] = (struct spr__section){.index = count[ops->kind]++, .data = t->payload[i], .size = t->bytes[i]};
        memcpy(s[used++].tag, ops->tag, sizeof ops->tag);
        info.weights += (int64_t)((t->bytes[i] - SPR__QNET_AT) / sizeof(float));
        events = events || ops->events(t->payload[i]);
    }
    info.members = (int32_t)used - 1;
    if (events)
        s[used++] = (struct spr__section){{'E', 'V', 'N', 'T'}, 0, &t->channel, sizeof t->channel};
    for (int32_t k = SPR_MODEL_NET; k <= SPR_MODEL_HYBRID; k++) {
        if (!count[k])
            continue;
        info.kind = kinds++ ? SPR_MODEL_AUTO : k;
        at += snprintf(text + at, sizeof text - (size_t)at, "%s x %u, ", names[k], (unsigned)count[k]);
    }
    at += snprintf(text + at, sizeof text - (size_t)at, "%lld series, looks back %lld steps%s",
                   (long long)t->data.count, (long long)t->global.context, events ? " and at events" : "");
    if (t->stopped >= 0)
        snprintf(text + at, sizeof text - (size_t)at, ", stopped after %lld of %lld minibatches", (long long)t->stopped,
                 (long long)t->plan.member[0].iterations);
    return spr__model_make(t->ctx, &info, s, used, out);
}
