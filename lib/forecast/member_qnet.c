/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Quantile nets as members of a model: "QNET" alone, "LSTM" with an encoder, "HYBR" on top of Holt-Winters. */
#include "forecast/event_track.h"
#include "forecast/train.h"

_Static_assert(sizeof(struct spr__qnet_header) == SPR__QNET_AT, "weights begin on a multiple of 64");

static size_t own_floats(const struct spr__qnet_header *h) {
    struct spr__qnet_parts p;
    spr__qnet_layout(&h->shape, &p);
    return (size_t)p.count;
}

size_t spr__qnet_bytes(const struct spr__qnet_header *h) {
    size_t encoder = h->encoder.units ? spr__encoder_weights(&h->encoder, &h->spec) : 0;
    return SPR__QNET_AT + (own_floats(h) + encoder) * sizeof(float);
}

static int check(const spr_context *ctx, const char *name, uint32_t index, const void *payload, size_t size,
                 const struct spr__member_ops *kind) {
    struct spr__qnet_header h;
    bool good = size >= sizeof h;
    if (good)
        memcpy(&h, payload, sizeof h);
    const struct spr__encoder *e = &h.encoder;
    good = good && spr__window_spec_ok(&h.spec) && spr__qnet_shape_ok(&h.shape) && spr__member_of(&h) == kind &&
           (e->units ? spr__encoder_ok(e, &h.spec) : !e->steps && !e->every) &&
           h.shape.summaries == spr__window_summaries(&h.spec) + e->units &&
           h.shape.features == spr__window_features(&h.spec) && size == spr__qnet_bytes(&h);
    const float *w = (const float *)((const char *)payload + SPR__QNET_AT);
    for (size_t i = 0; good && i < (size - SPR__QNET_AT) / sizeof *w; i++)
        good = fabsf(w[i]) <= 1e6f; /* NaN fails too; within it no answer can overflow */
    return good ? SPR_OK
                : spr__fail_at(ctx, SPR_E_CORRUPT, name, 0, 0, "net %u of the model is damaged", (unsigned)index);
}
int spr__qnet_check(const spr_context *ctx, const char *name, uint32_t index, const void *payload, size_t size) {
    return check(ctx, name, index, payload, size, &spr__member_qnet);
}
int spr__lstm_check(const spr_context *ctx, const char *name, uint32_t index, const void *payload, size_t size) {
    return check(ctx, name, index, payload, size, &spr__member_lstm);
}
int spr__hybrid_check(const spr_context *ctx, const char *name, uint32_t index, const void *payload, size_t size) {
    return check(ctx, name, index, payload, size, &spr__member_hybrid);
}

static const struct spr__qnet_header *header(const void *payload) { return payload; }
static int32_t levels(const void *payload) { return header(payload)->shape.levels; }
static int32_t horizon(const void *payload) { return header(payload)->spec.horizon; }
static int64_t context(const void *payload) { return header(payload)->spec.context; }
static int32_t cells(const void *payload) { return 2 * header(payload)->encoder.units; }
static bool events(const void *payload) { return header(payload)->spec.flags & SPR__WINDOW_EVENTS; }

struct room {
    float *memory, *summaries, *features, *base, *answer, *pass;
    float *sequence, *calendar, *cells, *run; /* of the encoder */
    const float **sequences;
    int32_t *behind; /* steps that a carried state takes, -1 = the window is read anew */
    int64_t *end;    /* step after the sequence */
    double *level, *spread;
    double *clean;       /* history of a case without its events */
    float *lift, *ahead; /* logs of their factors: of a case, and of the steps that all are asked for */
    int32_t *h;
};

static size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

/* Numbers of one sequence. */
static size_t sequence_floats(const struct spr__qnet_header *p) {
    return p->encoder.units ? (size_t)(p->encoder.steps * spr__encoder_values(&p->encoder, &p->spec)) : 0;
}
static int rows_at_once(int64_t cases) { return (int)SPR_MIN(cases, SPR__ENCODER_ROWS); }

/* Parts of the room one after the other; `at` may be NULL to learn the bytes. */
static size_t split(const struct spr__qnet_header *p, int64_t cases, int32_t steps, char *at, struct room *r) {
    size_t n = (size_t)cases, rows = n * (size_t)steps, used = 0;
#define PART(name, count) r->name = at ? (void *)(at + used) : NULL, used += aligned((count) * sizeof *r->name)
    PART(memory, spr__window_floats(&p->spec));
    PART(summaries, n * (size_t)p->shape.summaries);
    PART(features, rows * (size_t)p->shape.features);
    PART(base, rows);
    PART(answer, rows * (size_t)p->shape.levels);
    PART(pass, spr__qnet_room(&p->shape, cases, steps));
    PART(level, n);
    PART(spread, n);
    PART(h, (size_t)steps);
    if (p->spec.flags & SPR__WINDOW_EVENTS) {
        PART(clean, (size_t)p->spec.context);
        PART(lift, (size_t)(p->spec.context + p->spec.horizon));
        PART(ahead, rows);
    }
    if (p->encoder.units) {
        int inputs = spr__encoder_inputs(&p->encoder, &p->spec), units = p->encoder.units;
        PART(sequence, n * sequence_floats(p));
        PART(sequences, n);
        PART(behind, n);
        PART(end, n);
        PART(calendar, spr__encoder_calendar_floats(&p->spec));
        PART(cells, spr__lstm_floats_most(inputs, units));
        PART(run, spr__lstm_run_floats(inputs, units, rows_at_once(cases), p->encoder.steps, false));
    }
#undef PART
    return used;
}

static size_t room(const void *payload, int64_t cases, int32_t steps) {
    struct room r;
    return split(header(payload), cases, steps, NULL, &r);
}

/* Series from i on that take as many steps as it does. */
static int alike_rows(const struct room *r, int64_t i, int64_t end) {
    int64_t next = i + 1;
    while (next < end && r->behind[next] == r->behind[i])
        next++;
    return (int)(next - i);
}

/* Where the carried states stand now. */
static void settle(const struct spr__cases *c, const struct room *r) {
    for (int64_t i = 0; i < c->count && c->carried; i++)
        if (r->behind[i] < 0)
            c->carried[i] = (struct spr__carried){r->end[i], r->end[i], r->level[i], r->spread[i]};
        else
            c->carried[i].at = r->end[i];
}

/* The last states of all cases become the last of their summaries. */
static void encode(const struct spr__qnet_header *p, const float *weights, const struct spr__cases *c, struct room *r) {
    struct spr__lstm l;
    struct spr__lstm_run run;
    const int width = rows_at_once(c->count);
    spr__lstm_place(c->kernels, spr__encoder_inputs(&p->encoder, &p->spec), p->encoder.units, false, r->cells, &l);
    spr__lstm_load(&l, weights);
    spr__lstm_run_place(&l, width, p->encoder.steps, false, r->run, &run);
    spr__encoder_calendar(&p->spec, r->calendar);
    for (int64_t i = 0; i < c->count; i += run.rows) {
        const bool anew = r->behind[i] < 0;
        const struct spr__encoder_rows rows = {
            .encoder = &p->encoder,
            .spec = &p->spec,
            .calendar = p->spec.flags & SPR__WINDOW_CALENDAR ? r->calendar : NULL,
            .sequence = r->sequences + i,
            .origin = r->end + i,
            .steps = anew ? p->encoder.steps : r->behind[i],
            .carry = c->cells ? c->cells + i * 2 * p->encoder.units : NULL,
            .carried = !anew,
        };
        run.rows = alike_rows(r, i, SPR_MIN(i + width, c->count));
        spr__encoder_read(&rows, &l, &run, r->summaries + (i + 1) * p->shape.summaries - p->encoder.units,
                          (size_t)p->shape.summaries);
    }
    settle(c, r);
}

/* What the encoder takes of case i: its window, or what a carried state lacks. */
static void look_back(const struct spr__qnet_header *p, const struct spr__cases *c, const struct spr__window *w,
                      const double *history, int64_t i, struct room *r) {
    const struct spr__encoder *e = &p->encoder;
    float *to = r->sequence + (size_t)i * sequence_floats(p);
    int32_t behind = c->carried ? spr__encoder_behind(e, w, &c->carried[i], c->whole[i], history) : -1;
    if (behind < 0)
        spr__encoder_sequence(e, w, to);
    else
        spr__encoder_go_on(e, w, &c->carried[i], behind, history, to);
    r->behind[i] = behind, r->sequences[i] = to;
    r->end[i] = behind < 0 ? w->origin : c->carried[i].at + (int64_t)behind * e->every;
}

static const double *without_events(const struct spr__qnet_header *p, const struct spr__cases *c, int64_t i,
                                    const double *history, struct spr__window *w, struct room *r) {
    memcpy(r->clean, history, sizeof *history * (size_t)p->spec.context);
    w->learnt = spr__event_take_out(c->events, &p->spec, c->origin[i], r->clean, r->lift, r->memory);
    w->lift = r->lift;
    memcpy(r->ahead + i * c->horizon, r->lift + p->spec.context, sizeof *r->lift * (size_t)c->horizon);
    return r->clean;
}

/* Summaries and features of all cases. */
static void look(const struct spr__qnet_header *p, const struct spr__cases *c, struct room *r) {
    for (int32_t h = 0; h < c->horizon; h++)
        r->h[h] = h;
    for (int64_t i = 0; i < c->count; i++) {
        struct spr__window w = {.origin = c->origin[i], .resource = c->resource[i], .events = c->events};
        const double *history = c->history[i] + c->steps - p->spec.context;
        spr__window_open(&w, &p->spec, c->kernels, r->lift ? without_events(p, c, i, history, &w, r) : history,
                         c->unit[i], r->memory);
        spr__window_summary(&w, r->summaries + i * p->shape.summaries);
        spr__window_steps(&w, r->h, c->horizon, r->features + i * c->horizon * p->shape.features,
                          r->base + i * c->horizon);
        r->level[i] = w.level, r->spread[i] = w.spread;
        if (p->encoder.units)
            look_back(p, c, &w, history, i, r);
    }
}

/* Two nets that look at the same things share one look; the states that they carry stand at the same step. */
static bool alike(const struct spr__qnet_header *p, const struct spr__qnet_header *before) {
    return before && !memcmp(p, before, sizeof *p);
}

static void answer(const void *payload, const struct spr__cases *c, void *memory, double *quantiles) {
    const struct spr__qnet_header *p = payload;
    const float *weights = (const float *)((const char *)payload + SPR__QNET_AT);
    struct room r = {0};
    int32_t steps = c->horizon, n = p->shape.levels;
    split(p, c->count, steps, memory, &r);
    if (!alike(p, c->before))
        look(p, c, &r);
    if (p->encoder.units)
        encode(p, weights + own_floats(p), c, &r);
    spr__qnet_answer(&p->shape, weights, c->kernels, c->count, steps, r.summaries, r.features, r.base, r.pass,
                     r.answer);
    for (int64_t i = 0; i < c->count; i++)
        for (int64_t k = i * steps * n; k < (i + 1) * steps * n; k++)
            quantiles[k] = (double)r.answer[k] * r.spread[i] + r.level[i];
    for (int64_t k = 0; r.ahead && k < c->count * steps; k++)
        for (int32_t j = 0; j < n && (r.ahead[k] < 0 || r.ahead[k] > 0); j++)
            quantiles[k * n + j] *= exp((double)r.ahead[k]);
}

const struct spr__member_ops spr__member_qnet = {
    {'Q', 'N', 'E', 'T'}, SPR_MODEL_NET, spr__qnet_check, levels, horizon, context, room, cells, events, answer};
const struct spr__member_ops spr__member_lstm = {
    {'L', 'S', 'T', 'M'}, SPR_MODEL_LSTM, spr__lstm_check, levels, horizon, context, room, cells, events, answer};
const struct spr__member_ops spr__member_hybrid = {
    {'H', 'Y', 'B', 'R'}, SPR_MODEL_HYBRID, spr__hybrid_check, levels, horizon, context, room, cells, events, answer};

const struct spr__member_ops *spr__member_of(const struct spr__qnet_header *h) {
    return h->spec.flags & SPR__WINDOW_HYBRID ? &spr__member_hybrid
           : h->encoder.units                 ? &spr__member_lstm
                                              : &spr__member_qnet;
}
