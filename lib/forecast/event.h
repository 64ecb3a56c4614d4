/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The inside of calendars and effects. */
#ifndef SPR_LIB_EVENT_H
#define SPR_LIB_EVENT_H

#include "forecast/forecast.h"

/* ---- calendars ---- */

struct event_date {
    int64_t start, end;
};

struct event_row {
    struct spr_event event; /* texts owned; count already turned into until */
    int32_t kind;
    struct event_date *dates; /* explicit ones */
    int64_t *skips;
    size_t date_count, date_room, skip_count, skip_room;
};

struct event_zone {
    struct spr_zone_offset *rows;
    size_t count;
};

struct event_book {
    spr_context *ctx;
    struct event_row *rows;
    struct event_zone *zones;
    char **kinds;
    size_t count, room, zone_count, zone_room, kind_count, kind_room;
};

struct spr_calendar {
    spr_refcount refs;
    struct event_book book;
};

/* Latest moment that calendars take: rules without an end stop here. The year 2200. */
#define EVENT_LATEST INT64_C(7258118400000000000)

/* Calls `take` with every occurrence of a row that meets [from, to), explicit dates first, each part by start. */
void spr__event_walk(const struct event_book *b, const struct event_row *r, int64_t from, int64_t to,
                     void (*take)(void *arg, int64_t start, int64_t end), void *arg);
/* Start of the last occurrence that a rule's count allows. */
int64_t spr__event_last(const struct event_book *b, const struct event_row *r, int64_t count);
int64_t spr__event_offset_ns(const struct event_book *b, int32_t zone, int64_t utc);

/* ---- spans: occurrences in steps of a grid ---- */

struct event_span {
    double start, end; /* in steps from the grid's step 0 */
    double confidence, amount;
    int64_t id; /* start in ns */
    int32_t kind;
};

/* The spans that come within `reach` steps of steps [from, to), by kind, then by start; NULL with *count 0 when there
 * are none. Freed by spr__event_spans_free. */
int spr__event_spans(const spr_calendar *c, int64_t origin_ns, int64_t step_ns, int64_t from, int64_t to, double reach,
                     struct event_span **spans, size_t *count);
void spr__event_spans_free(const spr_context *ctx, struct event_span *spans, size_t count);

/* How much of an event stands in step t: 1 while it lasts, rising over `lead` steps before, falling over `lag` after;
 * a step that an event only touches has its share. */
double spr__event_shape(const struct event_span *s, int64_t t, double lead, double lag);

/* ---- effects ---- */

enum { EVENT_GRID = 8, EVENT_SHAPES = EVENT_GRID * EVENT_GRID, EVENT_DAYS = 7 };

/* Sums of one kind and series over all steps in reach: of the log ratio r to the days without, and of the shapes x. */
struct event_sums {
    double xx[EVENT_SHAPES], xr[EVENT_SHAPES], rr;
    double open_xx, open_xr; /* of the occurrence under way, with the shape chosen so far */
    double open_end;         /* the step it ends at */
    int64_t open;            /* its id, or -1 */
    int64_t seen;
    bool fresh;      /* one more was seen since beliefs were made */
    double mean, m2; /* of the occurrences' own effects (Welford) */
};

/* What a kind does to a series, ready to be read. */
struct event_belief {
    double effect, sd; /* log multiplier of the next occurrence */
    double noise2;     /* how far single occurrences lie apart, squared */
    double lead, lag;  /* steps */
    int64_t seen;
    bool certain;
};

struct spr_event_effects {
    spr_context *ctx;
    spr_calendar *calendar;
    int64_t step_ns, origin_ns;
    double reach; /* steps */
    int32_t kinds, grid;
    double grid_steps[EVENT_GRID];
    int64_t day, ring_len;
    int64_t series, next; /* rows; grid index of the next step */
    bool fitted;
    float *ring;                 /* [series][ring_len]: logs of values without the events */
    double *level, *scale;       /* [series]: log ratio of today to the days before; mean magnitude */
    uint8_t *below;              /* [series]: has been negative */
    struct event_sums *sums;     /* [series][kind] */
    struct event_belief *belief; /* [series][kind] */
    struct event_belief *fleet;  /* [kind] */
    double *declared;            /* [kind] log of the declared multiplier, NaN = none */
};

void spr__event_fold(struct event_sums *s);           /* the occurrence under way is over */
void spr__event_refresh(struct spr_event_effects *e); /* beliefs from sums */

/* ---- steps that spans touch ---- */

/* One kind near one step: what of `spans` is within reach, and the one whose body is nearest. */
struct event_touch {
    const struct event_span *spans, *near;
    size_t count;
    int32_t kind;
    bool shaped;
    float x[EVENT_SHAPES]; /* how much of the kind stands here under every shape; only where `shaped` */
};
struct event_touches {
    struct event_span *spans;
    struct event_touch *items;
    size_t span_count, count, room;
    size_t *first; /* [steps + 1] into items */
    int64_t steps;
};
/* The touches of steps [from, from + steps) of the grid. */
int spr__event_touches(const struct spr_event_effects *e, int64_t from, int64_t steps, bool shaped,
                       struct event_touches *out);
void spr__event_touches_free(const spr_context *ctx, struct event_touches *t);
/* How much stands at step t with this lead and lag. */
double spr__event_most(const struct event_touch *touch, int64_t t, double lead, double lag);

/* ---- use ---- */

/*
 * Log of the factor by which the touches [from, to) of step t lift a series. With `sure` only what forecasts put back
 * as well counts: what is taken off the running level must return.
 */
double spr__event_lift(const struct spr_event_effects *e, int64_t series, const struct event_touch *from,
                       const struct event_touch *to, int64_t t, bool sure);
/*
 * The steps of a panel, the first of which is `first`, without what events lift them by. `running`: new steps, not a
 * whole history. out[series][steps].
 */
int spr__event_clean(const struct spr_event_effects *e, const struct spr_panel *p, int64_t first, bool running,
                     double *out);
/* Does anything known stand at a step? */
bool spr__event_touched(const struct spr_event_effects *e, int64_t series, const struct event_touch *from,
                        const struct event_touch *to, int64_t t);
/*
 * Which of four a step ahead is, of touches that begin a step before the origin: what is under way at the origin shows
 * in the newest values, what is to come does not.
 */
enum { EVENT_FREE = 0, EVENT_COMING = 1, EVENT_ENDING = 2, EVENT_GOING_ON = 3, EVENT_CLASSES = 4 };
int spr__event_class(const struct spr_event_effects *e, int64_t series, const struct event_touches *all, int64_t origin,
                     int64_t h);
/* Turn base quantiles of step t into those with the touches. `scratch` has room for 3 x count numbers. */
void spr__event_apply(const struct spr_event_effects *e, int64_t series, const struct event_touch *from,
                      const struct event_touch *to, int64_t t, const double *levels, int32_t count, double *point,
                      double *quantiles, double *scratch);

/* ---- does it pay? ---- */

struct event_trial;
int spr__event_trial_open(spr_context *ctx, const struct spr_forecaster_env *env, const struct spr_events_opts *opts,
                          struct event_trial **out);
void spr__event_trial_close(struct event_trial *t);
/* Share of the forecaster `bare`, which knows of no events, in the answers: share[series][EVENT_CLASSES]. It is fitted
 * on the way. */
int spr__event_trial_run(struct event_trial *t, spr_forecaster *bare, const struct spr_panel *p, int64_t first_step,
                         double *share);

#endif
