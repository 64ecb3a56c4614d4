/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Events as inputs of nets: what a calendar says of every step, numbers that recurrent encoders read, and by how much
 * the events of a window lift its own series. doc/algorithms/lstm.md, "Events".
 */
#ifndef SPR_LIB_FORECAST_EVENT_TRACK_H
#define SPR_LIB_FORECAST_EVENT_TRACK_H

#include "forecast/event.h"
#include "forecast/window.h"

/* What training learnt of a kind of event, over all its series. */
struct spr__event_prior {
    uint32_t name_crc, name_bytes; /* of the kind's name */
    float effect;                  /* log factor */
    float lead_s, lag_s;
    int32_t seen; /* occurrences */
};
#define SPR__EVENT_PRIORS 32
/* The section "EVNT" of a model whose nets see events. Stored as it is. */
struct spr__event_channel {
    int64_t reach_ns; /* of the ramps before the start and after the end */
    int32_t form;     /* of the inputs; this library knows SPR__EVENT_FORM */
    int32_t priors;
    struct spr__event_prior prior[SPR__EVENT_PRIORS]; /* the rest is 0 */
};
/* Take in what is known of the kinds of a calendar; what was seen less than twice is not. */
void spr__event_channel_learn(struct spr__event_channel *c, const spr_calendar *calendar, const spr_event_effects *e);
enum {
    SPR__EVENT_FORM = 1,
    SPR__EVENT_KINDS = 4 /* told apart; further ones count as the last */,
    SPR__EVENT_SHAPES = 6
};
#define SPR__EVENT_REACH_NS (SPR__DAY_NS / 8)

/* Steps [from, from + steps) of the grid; others are free of events. */
struct spr__event_track {
    int64_t from, steps;
    struct event_span *spans; /* by kind, then by start */
    size_t span_count;
    int32_t kinds;
    float *number; /* [steps][SPR__EVENT_NUMBERS]; NULL = no event comes near */
    int32_t *span; /* [steps] the one that stands nearest, -1 = none */
    float *shape;  /* [kinds][SPR__EVENT_SHAPES][steps] how much of a kind stands in a step, by lead and lag */
    float declared[SPR__EVENT_KINDS]; /* log factor that training learnt or somebody declared, 0 = none */
    bool known[SPR__EVENT_KINDS];     /* training learnt it and the shape, which all shapes then are */
};
int spr__event_track_make(const spr_context *ctx, const spr_calendar *calendar, int64_t origin_ns, int64_t step_ns,
                          const struct spr__event_channel *channel, int64_t from, int64_t steps,
                          struct spr__event_track *out);
void spr__event_track_drop(const spr_context *ctx, struct spr__event_track *t);

/* Does the second stretch live through the same events as the first one, or through none at all? */
bool spr__event_track_agrees(const struct spr__event_track *a, int64_t a_from, const struct spr__event_track *b,
                             int64_t b_from, int64_t steps);

/* Means over the steps [at, at + count) of: going on 0..1, coming, gone (ramps over the reach), declared log factor. */
void spr__event_numbers(const struct spr__event_track *t, int64_t at, int32_t count, float *out);
/* How far the event that stands at a step has got, 0..1; 0 where none does. */
float spr__event_progress(const struct spr__event_track *t, int64_t step);

/*
 * Learn from a window, whose last step comes before `origin`, by what factors the kinds of events lift it, and divide
 * by them. lift[context + horizon] = logs of the factors, also of the steps ahead; `scratch` is [context]. Returns how
 * much there was to learn from, 0..1.
 */
float spr__event_take_out(const struct spr__event_track *t, const struct spr__window_spec *spec, int64_t origin,
                          double *context, float *lift, float *scratch);

#endif
