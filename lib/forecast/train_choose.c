/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Which settings: nobody names a task, so the step, the horizon, how long the series are and whether their resources
 * are known say which of the families of doc/algorithms/quantile-net.md this is.
 */
#include "forecast/train.h"

enum { UNITS = 64, CELLS = 32 };

struct task {
    int64_t step_ns, length; /* of a typical series */
    int32_t day, horizon;
    bool resources; /* at least one is a machine's: CPU to disk, not a number by some name */
    int32_t hot;    /* rows of the one-hot code */
};

/* A season in steps: a day, for daily values a week; 0 where a step is longer than half a season. */
static int32_t season_of(int64_t step_ns) {
    if (step_ns == SPR__DAY_NS)
        return 7;
    int64_t day = step_ns > 0 ? (SPR__DAY_NS + step_ns / 2) / step_ns : 0;
    return day >= 4 && day <= SPR__WINDOW_CONTEXT_MAX / 2 ? (int32_t)day : 0;
}

static int by_length(const struct spr__train_data *data, spr_context *ctx, double p, int64_t *out) {
    double *n = spr__alloc(ctx, data->count, sizeof *n);
    if (!n)
        return spr__nomem(ctx);
    for (size_t i = 0; i < data->count; i++)
        n[i] = (double)data->series[i].n;
    spr__sort(n, (int64_t)data->count);
    *out = (int64_t)spr__quantile_sorted(n, (int64_t)data->count, p);
    spr__free(ctx, n, data->count, sizeof *n);
    return SPR_OK;
}

/* Whole seasons that leave room for windows to differ: at most `wanted`, at least 2. */
static int32_t seasons(const struct task *t, int32_t wanted) {
    int64_t room = (int64_t)(.55 * (double)(t->length - t->horizon)) / t->day;
    return (int32_t)SPR_MAX(2, SPR_MIN(wanted, room));
}

static struct spr__train_setting common(const struct task *t, int32_t seasons_wanted) {
    struct spr__train_setting s = {.units = UNITS, .steps = SPR_MIN(t->horizon, 16)};
    s.spec =
        (struct spr__window_spec){.horizon = t->horizon, .day = t->day, .shifts = 1, .stride = 1, .resource = t->hot};
    if (t->day >= 200)
        s.spec.shifts = 7, s.spec.stride = SPR_MAX(1, (int32_t)lround(t->day / 144.0));
    else if (t->day >= 8)
        s.spec.shifts = t->day >= 90 ? 5 : 3;
    if (t->day)
        s.spec.context = seasons(t, seasons_wanted) * t->day, s.spec.norm = s.spec.context;
    return s;
}

static void add(struct spr__train_plan *p, const struct spr__train_setting *s, int32_t copies) {
    for (int32_t i = 0; i < copies && p->members < SPR__TRAIN_MEMBERS_MAX; i++)
        p->member[p->members++] = *s;
}

/* Hourly series of unknown meaning and no great length, as the M4 competition has them. */
static void hourly_any(const struct task *t, struct spr__train_plan *p) {
    struct spr__train_setting a = common(t, 14);
    bool long_enough = a.spec.context >= 14 * t->day;
    a.spec.flags = SPR__WINDOW_FULL | SPR__WINDOW_LEVEL | (long_enough ? SPR__WINDOW_SINGLE : 0) |
                   (long_enough && a.spec.context >= 336 ? SPR__WINDOW_SEQUENCE : 0);
    a.weight = SPR__WEIGHT_OWA, a.steps = SPR_MIN(t->horizon, 24);
    a.dropout = .4, a.decay = .1, a.windows = 40000, a.iterations = 2500;
    add(p, &a, 3);
    a.dropout = .3, a.windows = 60000, a.iterations = 3500, a.mixed = .5;
    add(p, &a, 4);
    p->tail = t->horizon, p->calibrate = true;
}

static void hourly_fleet(const struct task *t, struct spr__train_plan *p) {
    struct spr__train_setting a = common(t, 28);
    a.spec.norm = SPR_MIN(a.spec.context, 14 * t->day);
    a.spec.flags = SPR__WINDOW_CALENDAR | SPR__WINDOW_LAST;
    a.weight = SPR__WEIGHT_MIX, a.steps = SPR_MIN(t->horizon, 24);
    a.dropout = .3, a.windows = 30000, a.iterations = 1500, a.mixed = .5;
    add(p, &a, 3);
    a.spec.flags = SPR__WINDOW_CALENDAR, a.weight = SPR__WEIGHT_UNIT;
    add(p, &a, 2);
    p->tail = 3 * t->day;
}

static void fine_day_ahead(const struct task *t, struct spr__train_plan *p) {
    struct spr__train_setting a = common(t, 7);
    a.spec.flags = SPR__WINDOW_CALENDAR;
    a.dropout = .3, a.windows = 16000, a.iterations = 1500;
    add(p, &a, 3);
    a.spec.flags = SPR__WINDOW_CALENDAR | SPR__WINDOW_LAST | SPR__WINDOW_LEVEL;
    a.dropout = .2, a.windows = 40000, a.iterations = 4000;
    add(p, &a, 2);
    p->tail = SPR_MAX(2 * t->day, t->horizon);
}

/* A few weeks of 5 min values hold too few days to learn a calendar from, and neighbours that move together would be
 * learnt by heart: no calendar, mostly mixtures, and a look back over days rather than a week, which leaves more
 * windows that differ. */
static void fine_hours_ahead(const struct task *t, struct spr__train_plan *p) {
    struct spr__train_setting a = common(t, 5);
    a.spec.flags = SPR__WINDOW_FULL | SPR__WINDOW_LAST | SPR__WINDOW_LEVEL;
    a.dropout = .3, a.windows = 20000, a.iterations = 1500, a.mixed = .8, a.by_gap = true;
    add(p, &a, 1);
    a.windows = 60000, a.iterations = 4000;
    add(p, &a, 4);
    p->tail = 2 * t->day, p->by_level = true, p->one_pool = p->scout = p->few_rule = true;
}

static bool minutes(const struct task *t) { return t->day >= 200 && t->horizon <= t->day / 28; }

/* Too short for a season to be seen twice, or without one. */
static void short_history(const struct task *t, struct spr__train_plan *p) {
    struct task flat = *t;
    flat.day = 0;
    struct spr__train_setting a = common(&flat, 1);
    int64_t room = (int64_t)(.72 * (double)(t->length - t->horizon));
    a.spec.context = (int32_t)SPR_MIN(192, room);
    if (a.spec.context < 192 && t->length - t->horizon >= 192 + t->horizon)
        a.spec.context = 192;
    a.spec.norm = a.spec.context * 3 / 4;
    a.spec.flags = SPR__WINDOW_FULL | SPR__WINDOW_LEVEL;
    a.weight = SPR__WEIGHT_MIX, a.steps = SPR_MIN(t->horizon, 24);
    a.dropout = .2, a.windows = 40000, a.iterations = 2500;
    if (minutes(t)) /* loads persist: from where they are, not from where they were in the mean */
        a.spec.flags = SPR__WINDOW_FULL | SPR__WINDOW_STAY, a.weight = SPR__WEIGHT_SIZE, a.mixed = .5;
    add(p, &a, minutes(t) ? 3 : 5);
    /* Whole series held out tell of series never seen: too harsh where the same ones, long enough, will be asked for.
     */
    p->tail = 4 * t->horizon;
    p->tail_series = t->day || t->length < 2 * (a.spec.context + p->tail);
}

/* The next minutes of loads that persist (totals of hosts): the last day itself counts more than its summary. */
static void fine_minutes_ahead(const struct task *t, struct spr__train_plan *p) {
    struct spr__train_setting a = common(t, 7);
    a.spec.norm = t->day;
    a.spec.flags = SPR__WINDOW_FULL | SPR__WINDOW_SEQUENCE | SPR__WINDOW_CALENDAR | SPR__WINDOW_STAY;
    a.weight = SPR__WEIGHT_SIZE;
    a.units = 2 * UNITS, a.dropout = .2, a.windows = 40000, a.iterations = 2000;
    add(p, &a, 2);
    p->tail = 2 * t->day, p->calibrate = true;
}

/* Settings of different lengths of history follow from these families by the number of seasons that they hold. */
static void family(const struct task *t, struct spr__train_plan *p) {
    int64_t days = t->day ? t->length / t->day : 0;
    if (days < 4 || t->length < 3 * (int64_t)t->day + t->horizon)
        short_history(t, p);
    else if (minutes(t))
        fine_minutes_ahead(t, p);
    else if (t->day > 48)
        (t->horizon >= t->day / 2 ? fine_day_ahead : fine_hours_ahead)(t, p);
    else if (t->resources)
        hourly_fleet(t, p);
    else
        hourly_any(t, p);
}

/* The caller's wishes: another context, another number of nets, more or less effort. */
static void adapt(struct spr__train_plan *p, int64_t context, int32_t members, double effort) {
    int32_t scouts = p->scout ? 1 : 0, had = p->members - scouts;
    for (int32_t i = had; i < members; i++)
        p->member[scouts + i] = p->member[scouts + i % had];
    if (members)
        p->members = members + scouts;
    for (int32_t i = 0; i < p->members; i++) {
        struct spr__train_setting *s = &p->member[i];
        if (context) {
            s->spec.context = (int32_t)context, s->spec.norm = SPR_MIN(s->spec.norm, s->spec.context);
            if (s->spec.context < 336)
                s->spec.flags &= ~SPR__WINDOW_SEQUENCE;
            if (s->spec.context < 8 * s->spec.day)
                s->spec.flags &= ~SPR__WINDOW_SINGLE;
            if (s->spec.context < s->spec.day)
                s->spec.day = 0, s->spec.shifts = 1, s->spec.flags &= ~SPR__WINDOW_CALENDAR;
        }
        s->iterations = SPR_MAX(1, (int64_t)((double)s->iterations * effort));
        s->windows = SPR_MAX(256, effort < 1 ? (int64_t)((double)s->windows * effort) : s->windows);
    }
}

/* What an encoder reads: a week of hours, a day of quarters of an hour, else six hours of 5 min. */
static void add_encoder(struct spr__train_setting *s) {
    int32_t day = s->spec.day;
    if (day > 48) {
        s->encoder.every = SPR_MAX(1, (day + 48) / 96);
        s->encoder.steps = SPR_MIN(day, s->spec.context) / s->encoder.every;
    } else {
        s->encoder.every = 1;
        s->encoder.steps = SPR_MIN(day ? 7 * day : 72, s->spec.context);
    }
    s->encoder.units = CELLS;
    s->spec.flags &= ~SPR__WINDOW_SEQUENCE;
}

/* Two unlike ones: each costs two to four times as much as a net without an encoder. */
static void all_recurrent(struct spr__train_plan *p, int32_t members) {
    if (p->scout)
        p->scout = p->one_pool = false, p->member[0] = p->member[1], p->members = members ? p->members - 1 : p->members;
    if (!members && p->members > 2)
        p->member[1] = p->member[p->members - 1], p->members = 2;
    for (int32_t i = 0; i < p->members; i++)
        add_encoder(&p->member[i]);
}

/* One with an encoder on trial, where steps are so long that it reads days: there it can earn its time. */
static void add_trial(struct spr__train_plan *p) {
    struct spr__train_setting s = p->member[0];
    if (p->members == SPR__TRAIN_MEMBERS_MAX || !s.spec.day || s.spec.day > 48)
        return;
    add_encoder(&s);
    p->member[p->members++] = s;
    p->trial = true;
}

int spr__train_choose(spr_context *ctx, const struct spr__train_data *data, int32_t kind, int64_t step_ns,
                      int32_t horizon, int64_t context, int32_t members, double effort, struct spr__train_plan *plan) {
    struct task t = {.step_ns = step_ns, .day = season_of(step_ns), .horizon = horizon};
    int32_t top = -1, low = SPR_RESOURCES_MAX;
    int rc = by_length(data, ctx, .75, &t.length);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < data->count; i++)
        top = SPR_MAX(top, data->series[i].resource), low = SPR_MIN(low, data->series[i].resource);
    t.resources = top >= 0 && low < SPR_RESOURCE_COUNTABLE;
    t.hot = top > low ? top + 1 : 0;
    memset(plan, 0, sizeof *plan);
    if (t.length < 2 * (int64_t)horizon + 4 && t.length < horizon + 16)
        return spr__fail(ctx, SPR_E_HISTORY, "train: %d steps ahead need series of at least %d steps; these have %lld",
                         horizon, SPR_MIN(2 * horizon + 4, horizon + 16), (long long)t.length);
    family(&t, plan);
    adapt(plan, context, members, effort);
    if (kind == SPR_MODEL_LSTM)
        all_recurrent(plan, members);
    for (int32_t i = 0; kind == SPR_MODEL_HYBRID && i < plan->members; i++)
        plan->member[i].spec.flags |= SPR__WINDOW_HYBRID;
    if (kind == SPR_MODEL_AUTO && !members)
        add_trial(plan);
    for (int32_t i = 0; i < plan->members; i++)
        if (!spr__window_spec_ok(&plan->member[i].spec))
            return spr__fail(ctx, SPR_E_ARG, "train: a context of %d steps does not fit a horizon of %d",
                             plan->member[i].spec.context, horizon);
    return SPR_OK;
}

const struct spr__qnet_header *spr__train_start(const spr_model *m, int32_t member) {
    static const char *const tags[] = {"QNET", "LSTM", "HYBR"};
    for (size_t k = 0; k < SPR_ARRAY_LEN(tags); k++)
        for (uint32_t i = 0;; i++) {
            const void *payload = spr__model_section(m, tags[k], i, NULL);
            if (!payload)
                break;
            if (!member--)
                return payload;
        }
    return NULL;
}

/* What was learnt must not be lost to a few steps at full pace. */
void spr__train_go_on(const spr_model *m, struct spr__train_plan *p) {
    const int32_t had = p->members;
    const struct spr__qnet_header *h;
    if (p->scout) /* every member answers here, the first one too */
        p->member[0] = p->member[1];
    p->trial = p->one_pool = p->scout = false, p->resumed = true;
    for (p->members = 0; p->members < SPR__TRAIN_MEMBERS_MAX && (h = spr__train_start(m, p->members)); p->members++) {
        struct spr__train_setting *s = &p->member[p->members];
        if (p->members >= had)
            *s = p->member[0];
        else
            s->iterations = SPR_MAX(1, s->iterations / 4), s->windows = SPR_MAX(256, s->windows / 4);
        s->spec = h->spec, s->encoder = h->encoder, s->units = h->shape.units, s->pace = .1;
        s->steps = SPR_MIN(s->steps, s->spec.horizon);
    }
}
