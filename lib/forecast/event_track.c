/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Events as inputs of nets. */
#include "forecast/event_track.h"
#include "forecast/member.h"

enum { NUMBERS = SPR__EVENT_NUMBERS };
#define LIFT_MAX   3.0 /* of the log of a factor */
#define CHANGE_MAX 2.3
#define SMALL      .01
#define KNOWN      50.0 /* events' worth of what training learnt */

int spr__event_channel_check(const spr_context *ctx, const char *name, uint32_t index, const void *payload,
                             size_t size) {
    static const struct spr__event_prior none;
    struct spr__event_channel c = {0};
    if (!index && size == sizeof c)
        memcpy(&c, payload, sizeof c);
    if (c.form > SPR__EVENT_FORM)
        return spr__fail_at(ctx, SPR_E_TOO_NEW, name, 0, 0,
                            "the model takes events in a form that this library (%s) does not know",
                            spr_version_string());
    bool good = c.form == SPR__EVENT_FORM && c.reach_ns >= 1 && c.reach_ns <= 7 * SPR__DAY_NS && c.priors >= 0 &&
                c.priors <= SPR__EVENT_PRIORS;
    for (int32_t i = 0; good && i < SPR__EVENT_PRIORS; i++) {
        const struct spr__event_prior *p = &c.prior[i];
        good = i >= c.priors ? !memcmp(p, &none, sizeof none)
                             : fabsf(p->effect) <= (float)LIFT_MAX && p->lead_s >= 0 && p->lead_s <= 1e6f &&
                                   p->lag_s >= 0 && p->lag_s <= 1e6f && p->seen >= 2;
    }
    return good ? SPR_OK : spr__fail_at(ctx, SPR_E_CORRUPT, name, 0, 0, "what the model says of events is damaged");
}

static const struct spr__event_prior *prior_of(const struct spr__event_channel *c, const char *kind) {
    uint32_t bytes = (uint32_t)strlen(kind), crc = spr__crc32c(0, kind, bytes);
    for (int32_t i = 0; i < c->priors; i++)
        if (c->prior[i].name_crc == crc && c->prior[i].name_bytes == bytes)
            return &c->prior[i];
    return NULL;
}

void spr__event_channel_learn(struct spr__event_channel *c, const spr_calendar *calendar, const spr_event_effects *e) {
    for (int32_t k = 0; k < spr_calendar_kind_count(calendar); k++) {
        const char *kind = spr_calendar_kind(calendar, k);
        struct spr_event_effect found = {.size = sizeof found};
        struct spr__event_prior *p = (struct spr__event_prior *)(uintptr_t)prior_of(c, kind);
        if (spr_event_effects_get(e, SPR_NONE, k, &found) < 0 || !found.certain || found.seen < 2 ||
            !(found.multiplier > 0) || (!p && c->priors == SPR__EVENT_PRIORS))
            continue;
        p = p ? p : &c->prior[c->priors++];
        *p = (struct spr__event_prior){spr__crc32c(0, kind, strlen(kind)),
                                       (uint32_t)strlen(kind),
                                       (float)fmax(fmin(log(found.multiplier), LIFT_MAX), -LIFT_MAX),
                                       (float)fmin(found.lead_s, 1e6),
                                       (float)fmin(found.lag_s, 1e6),
                                       (int32_t)SPR_MIN(found.seen, INT32_MAX)};
    }
}

/* ---- the track ---- */

/* How strongly an event stands in step t, and whether it goes on (0), comes (1) or has gone (2). */
static double strength(const struct event_span *s, int64_t t, double reach, int *where) {
    double covered = fmin(s->end, (double)t + 1) - fmax(s->start, (double)t), ramp;
    *where = 0;
    if (covered > 0)
        return s->confidence * fmin(covered, 1);
    *where = s->start >= (double)t + 1 ? 1 : 2;
    ramp = 1 - (*where == 1 ? s->start - (double)t - 1 : (double)t - s->end) / reach;
    return s->confidence * fmax(ramp, 0);
}

/* What goes on comes before what is near, stronger before weaker. */
static bool nearer(int where, double x, int best_where, double best) {
    return (where == 0) != (best_where == 0) ? where == 0 : x > best;
}

static void lay(struct spr__event_track *t, double reach, float *best, int8_t *best_where) {
    for (size_t i = 0; i < t->span_count; i++) {
        const struct event_span *s = &t->spans[i];
        double lo = fmax(floor(s->start - reach - 1), (double)t->from);
        double hi = fmin(ceil(s->end + reach + 1), (double)(t->from + t->steps));
        for (int64_t at = (int64_t)lo; at < (int64_t)hi; at++) {
            int64_t k = at - t->from;
            int where;
            double x = strength(s, at, reach, &where);
            float *number = t->number + k * NUMBERS;
            if (!(x > 0))
                continue;
            number[where] = fmaxf(number[where], (float)x);
            if (!where && s->amount > 0)
                number[3] = (float)(x * fmax(fmin(log(s->amount), LIFT_MAX), -LIFT_MAX));
            if (t->span[k] < 0 || nearer(where, x, best_where[k], (double)best[k]))
                t->span[k] = (int32_t)i, best[k] = (float)x, best_where[k] = (int8_t)where;
        }
    }
}

static const double leads[SPR__EVENT_SHAPES] = {0, 0, 0, 1.0 / 3, 1.0 / 3, 1.0 / 3};
static const double lags[SPR__EVENT_SHAPES] = {0, .5, 1, 0, .5, 1};

/* How much of each kind stands in each step. */
static void shape_kinds(struct spr__event_track *t, const spr_calendar *calendar, const struct spr__event_channel *c,
                        double reach, double step_s) {
    int32_t kind = 0;
    for (size_t i = 0; i < t->span_count; i++) {
        const struct event_span *s = &t->spans[i];
        kind += i && s->kind != s[-1].kind && kind + 1 < t->kinds;
        if (s->amount > 0 && !t->known[kind])
            t->declared[kind] = (float)fmax(fmin(log(s->amount), LIFT_MAX), -LIFT_MAX);
        const struct spr__event_prior *prior = prior_of(c, spr_calendar_kind(calendar, s->kind));
        if (prior && (!i || s->kind != s[-1].kind))
            t->declared[kind] = prior->effect, t->known[kind] = true;
        int64_t lo = (int64_t)fmax(floor(s->start - reach - 1), (double)t->from);
        int64_t hi = (int64_t)fmin(ceil(s->end + reach + 1), (double)(t->from + t->steps));
        for (int32_t k = 0; k < SPR__EVENT_SHAPES; k++) {
            float *x = t->shape + ((int64_t)kind * SPR__EVENT_SHAPES + k) * t->steps;
            double lead = prior ? (double)prior->lead_s / step_s : leads[k] * reach;
            double lag = prior ? (double)prior->lag_s / step_s : lags[k] * reach;
            for (int64_t at = lo; at < hi; at++)
                x[at - t->from] = fmaxf(x[at - t->from], (float)(s->confidence * spr__event_shape(s, at, lead, lag)));
        }
    }
}

static int32_t count_kinds(const struct spr__event_track *t) {
    int32_t n = 1;
    for (size_t i = 1; i < t->span_count; i++)
        n += t->spans[i].kind != t->spans[i - 1].kind;
    return SPR_MIN(n, SPR__EVENT_KINDS);
}

static size_t shape_floats(const struct spr__event_track *t) {
    return (size_t)t->kinds * SPR__EVENT_SHAPES * (size_t)t->steps;
}

int spr__event_track_make(const spr_context *ctx, const spr_calendar *calendar, int64_t origin_ns, int64_t step_ns,
                          const struct spr__event_channel *channel, int64_t from, int64_t steps,
                          struct spr__event_track *out) {
    struct spr__event_track t = {.from = from, .steps = steps};
    double reach = fmax(1, (double)channel->reach_ns / (double)step_ns);
    size_t n = (size_t)steps;
    *out = t;
    int rc = spr__event_spans(calendar, origin_ns, step_ns, from, from + steps, reach, &t.spans, &t.span_count);
    if (rc < 0 || !t.span_count)
        return rc;
    float *best = spr__alloc(ctx, n, sizeof *best);
    int8_t *where = spr__alloc(ctx, n, 1);
    t.number = spr__alloc(ctx, n * NUMBERS, sizeof *t.number);
    t.span = spr__alloc(ctx, n, sizeof *t.span);
    t.kinds = count_kinds(&t);
    t.shape = spr__alloc(ctx, shape_floats(&t), sizeof *t.shape);
    if (best && where && t.number && t.span && t.shape) {
        for (size_t i = 0; i < n; i++)
            t.span[i] = -1;
        lay(&t, reach, best, where);
        shape_kinds(&t, calendar, channel, reach, (double)step_ns / 1e9);
        *out = t;
    } else {
        rc = spr__nomem(ctx);
        spr__event_track_drop(ctx, &t);
    }
    spr__free(ctx, best, n, sizeof *best);
    spr__free(ctx, where, n, 1);
    return rc;
}

void spr__event_track_drop(const spr_context *ctx, struct spr__event_track *t) {
    size_t n = (size_t)t->steps;
    spr__event_spans_free(ctx, t->spans, t->span_count);
    spr__free(ctx, t->number, n * NUMBERS, sizeof *t->number);
    spr__free(ctx, t->span, n, sizeof *t->span);
    spr__free(ctx, t->shape, shape_floats(t), sizeof *t->shape);
    memset(t, 0, sizeof *t);
}

/* Index of a step on the track, -1 where nothing is near. */
static int64_t on_track(const struct spr__event_track *t, int64_t step) {
    int64_t k = t && t->number ? step - t->from : -1;
    return k >= 0 && k < t->steps && t->span[k] >= 0 ? k : -1;
}

bool spr__event_track_agrees(const struct spr__event_track *a, int64_t a_from, const struct spr__event_track *b,
                             int64_t b_from, int64_t steps) {
    bool same = true, none = true;
    for (int64_t i = 0; i < steps && (same || none); i++) {
        int64_t p = on_track(a, a_from + i), q = on_track(b, b_from + i);
        none = none && q < 0;
        same = same && (p < 0) == (q < 0) &&
               (p < 0 || !memcmp(a->number + p * NUMBERS, b->number + q * NUMBERS, NUMBERS * sizeof *a->number));
    }
    return same || none;
}

void spr__event_numbers(const struct spr__event_track *t, int64_t at, int32_t count, float *out) {
    memset(out, 0, sizeof *out * NUMBERS);
    for (int64_t step = at; step < at + count; step++) {
        int64_t k = on_track(t, step);
        for (int i = 0; i < NUMBERS && k >= 0; i++)
            out[i] += t->number[k * NUMBERS + i] / (float)count;
    }
}

float spr__event_progress(const struct spr__event_track *t, int64_t step) {
    int64_t k = on_track(t, step);
    if (k < 0)
        return 0;
    const struct event_span *s = &t->spans[t->span[k]];
    return (float)fmax(0, fmin(1, ((double)step + .5 - s->start) / fmax(s->end - s->start, 1)));
}

/* ---- what events do to a series ---- */

struct fitting {
    const struct spr__event_track *t;
    int64_t at, n, lag; /* of the window on the track, its length, steps to what each is compared with (0 = the mean) */
    const float *log;   /* [n] */
    float *lift;        /* [n] of the kinds fitted so far */
    double drift;
};

static const float *shape_of(const struct fitting *f, int32_t kind, int32_t shape) {
    return f->t->shape + ((int64_t)kind * SPR__EVENT_SHAPES + shape) * f->t->steps + f->at;
}

/* Log ratio of a step to the same phase a day before, without what the other kinds did. */
static double change(const struct fitting *f, int64_t i) {
    double r = (double)f->log[i] - (double)f->lift[i] - f->drift;
    if (f->lag)
        r -= (double)f->log[i - f->lag] - (double)f->lift[i - f->lag];
    return fmin(fmax(r, -CHANGE_MAX), CHANGE_MAX);
}

/* Regression of the changes on those of a shape, drawn towards what is known of the kind as much as so many events say.
 */
static double effect_of(const struct fitting *f, int32_t kind, const float *x, double *gain, double *known) {
    double xx = 0, xr = 0, own = 0, mean = 0, declared = (double)f->t->declared[kind];
    int64_t events = 1;
    for (int64_t i = 0; i < f->n; i++) {
        own += (double)x[i] * (double)x[i], mean += (double)x[i] / (double)f->n;
        events += i > 0 && x[i] > 0 && !(x[i - 1] > 0);
    }
    for (int64_t i = f->lag; i < f->n; i++) {
        double d = (double)x[i] - (f->lag ? (double)x[i - f->lag] : mean);
        xx += d * d, xr += d * (change(f, i) - declared * d);
    }
    double draw = fmax((f->t->known[kind] ? KNOWN : .5) * own / (double)events, 1e-9);
    *gain = xr * xr / (xx + draw), *known = xx / (xx + 4 * draw);
    return fmin(fmax(declared + xr / (xx + draw), -LIFT_MAX), LIFT_MAX);
}

static void add(float *lift, const float *x, int64_t n, double effect) {
    for (int64_t i = 0; i < n; i++)
        lift[i] += (float)effect * x[i];
}

/* The shape that explains most, of which the effect goes into the lifts of the window and of what is ahead. */
static double fit_kind(struct fitting *f, int32_t kind, int64_t ahead) {
    double best = -1, effect = 0, known = 0;
    int32_t chosen = 0;
    for (int32_t s = 0; s < (f->t->known[kind] ? 1 : SPR__EVENT_SHAPES); s++) {
        double gain, sure, e = effect_of(f, kind, shape_of(f, kind, s), &gain, &sure);
        if (gain > best)
            best = gain, effect = e, known = sure, chosen = s;
    }
    add(f->lift, shape_of(f, kind, chosen), f->n + ahead, effect);
    return known;
}

/* Logs of the values, small ones drawn up to a hundredth of the mean; false where a value is negative. */
static bool take_logs(const double *y, int64_t n, float *log_of) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!(y[i] >= 0))
            return false;
        sum += y[i] / (double)n;
    }
    for (int64_t i = 0; i < n && sum > 0; i++)
        log_of[i] = (float)log(y[i] / sum + SMALL);
    return sum > 0;
}

float spr__event_take_out(const struct spr__event_track *t, const struct spr__window_spec *spec, int64_t origin,
                          double *context, float *lift, float *scratch) {
    const int64_t n = spec->context, from = origin - n, ahead = spec->horizon;
    struct fitting f = {
        .t = t, .n = n, .lag = spec->day && spec->day < n ? spec->day : 0, .log = scratch, .lift = lift};
    bool any = false;
    double known = 1;
    memset(lift, 0, sizeof *lift * (size_t)(n + ahead));
    if (!t || !t->number || from < t->from || origin > t->from + t->steps)
        return 0;
    f.at = from - t->from;
    const int64_t held = SPR_MIN(ahead, t->from + t->steps - origin);
    for (int64_t i = 0; i < n + held && !any; i++)
        any = t->span[f.at + i] >= 0;
    if (!any || !take_logs(context, n, scratch))
        return 0;
    for (int64_t i = f.lag; i < n; i++)
        f.drift += ((double)scratch[i] - (f.lag ? (double)scratch[i - f.lag] : 0)) / (double)(n - f.lag);
    for (int32_t k = 0; k < t->kinds; k++)
        known = fmin(known, fit_kind(&f, k, held));
    for (int64_t i = 0; i < n + ahead; i++)
        lift[i] = fminf(fmaxf(lift[i], -(float)LIFT_MAX), (float)LIFT_MAX);
    for (int64_t i = 0; i < n; i++)
        if (lift[i] < 0 || lift[i] > 0)
            context[i] /= exp((double)lift[i]);
    return (float)known;
}
