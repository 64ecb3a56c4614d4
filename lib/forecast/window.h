/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a model sees of a series at an origin: the last `context` steps, without gaps, scaled to their own level and
 * spread, as summaries S (once a case) and features D (once a step ahead). doc/algorithms/quantile-net.md has the list.
 */
#ifndef SPR_LIB_FORECAST_WINDOW_H
#define SPR_LIB_FORECAST_WINDOW_H

#include "forecast/forecast.h"
#include "forecast/net.h"

enum spr__window_flag {
    SPR__WINDOW_FULL = 1,     /* all summaries instead of the compact set */
    SPR__WINDOW_LEVEL = 2,    /* scale in the resource's unit, and which resource */
    SPR__WINDOW_SEQUENCE = 4, /* the last week itself and its change to the week before */
    SPR__WINDOW_CALENDAR = 8, /* time of day and week of the target */
    SPR__WINDOW_SINGLE = 16,  /* days 3 to 7 one by one, neighbours of days 1 and 7 */
    SPR__WINDOW_LAST = 32,    /* level = mean of the last 12 steps instead of the whole window */
    SPR__WINDOW_HYBRID = 64,  /* answers start from Holt-Winters over the window */
    SPR__WINDOW_STAY = 128,   /* level = the last value, spread = how much a step changes, answers start from there */
    SPR__WINDOW_EVENTS = 256  /* what a calendar says of the steps; events are taken out of the window and put back */
};

/* Stored in model files as it is: eight 32-bit numbers. */
struct spr__window_spec {
    int32_t horizon;  /* steps ahead */
    int32_t context;  /* steps it looks back */
    int32_t norm;     /* of those, the last ones give level and spread */
    int32_t day;      /* steps of the season, 0 = none */
    int32_t shifts;   /* odd: phases around the same one that count as neighbours ... */
    int32_t stride;   /* ... and the steps between them */
    int32_t flags;    /* ::spr__window_flag */
    int32_t resource; /* rows of the one-hot code of the resource */
};
#define SPR__WINDOW_HORIZON_MAX 4096
#define SPR__WINDOW_CONTEXT_MAX 65536
#define SPR__WINDOW_SHIFTS_MAX  7
#define SPR__WINDOW_LANES       16 /* steps whose features are made side by side */
#define SPR__WINDOW_GAINS       8  /* pairs of gains that Holt-Winters tries */

/* Can the features be made? The rest of the functions take it for granted. */
bool spr__window_spec_ok(const struct spr__window_spec *spec);
int32_t spr__window_summaries(const struct spr__window_spec *spec); /* numbers in S */
int32_t spr__window_features(const struct spr__window_spec *spec);  /* numbers in a row of D */

enum { SPR__EVENT_NUMBERS = 4, SPR__EVENT_FEATURES = 7 };
struct spr__event_track; /* event_track.h */

struct spr__window {
    const struct spr__window_spec *spec;
    const struct spr__net_kernels *kernels;
    double level, spread;  /* z = (y - level) / spread */
    double season, change; /* mean |y[t] - y[t - day]| and |y[t] - y[t - 1]| over the context, in the series' unit */
    double mean_abs;       /* of the context */
    int64_t origin;        /* step of the first target on the grid of the calendar */
    int32_t resource;      /* ::spr_resource or -1 */
    double unit;           /* a typical value of the resource; makes the level set free of units */
    const struct spr__event_track *events; /* NULL = there are none */
    const float *lift;   /* [context + horizon] logs of the factors that were taken out of the context; NULL = none */
    float learnt;        /* how much there was to learn them from, 0..1 */
    float *z;            /* [context] */
    float *scratch;      /* [context] */
    float *wave;         /* of Holt-Winters, scaled: [day or 1] season from the first step ahead on, ... */
    float smooth, error; /* ... its level at the end, and its usual error one step ahead in the last day */
};
/* What Holt-Winters needs besides; 0 without ::SPR__WINDOW_HYBRID. */
size_t spr__window_smooth_floats(const struct spr__window_spec *spec);
void spr__window_smooth(struct spr__window *w);
/* Floats that z, scratch and wave need together. */
static inline size_t spr__window_floats(const struct spr__window_spec *spec) {
    return 2 * (size_t)spec->context + spr__window_smooth_floats(spec);
}
/* What lies before the last `norm` steps may be of another world. */
static inline float spr__window_scaled(double value, double level, double per) {
    double z = (value - level) * per;
    return (float)(z > 1e9 ? 1e9 : z < -1e9 ? -1e9 : z);
}
/* Scale the context; `memory` is [spr__window_floats]. */
void spr__window_open(struct spr__window *w, const struct spr__window_spec *spec,
                      const struct spr__net_kernels *kernels, const double *context, double unit, float *memory);
void spr__window_summary(const struct spr__window *w, float *out);
/* Features of steps h[0..count-1] (from 0), and the value that the answer starts from, scaled. */
void spr__window_steps(const struct spr__window *w, const int32_t *h, int32_t count, float *out, float *base);

/* Quantiles (linear between order statistics) of values in any order, which are reordered; levels rise. */
void spr__select(float *values, int32_t n, const float *levels, int32_t count, float *out);
/* The same for SPR__WINDOW_LANES samples side by side, sorted by a network. */
void spr__sort_lanes(float (*v)[SPR__WINDOW_LANES], int32_t n);

/*
 * Close gaps with what lies before them: one season back, else the value before, else the first one known.
 * `marks` (optional) gets 1 where a number was made up. False when nothing is known at all.
 */
bool spr__fill_gaps(double *y, int64_t n, int64_t season, uint8_t *marks);

#endif
