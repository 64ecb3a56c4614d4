/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The inside of the wavelet forecaster. */
#ifndef SPR_GSL_H
#define SPR_GSL_H

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include <shardpredict/backend-gsl.h>

enum {
    GSL_SCALES = 8,             /* most detail scales */
    GSL_PARTS = GSL_SCALES + 1, /* and what is left when they are taken off */
    GSL_ORDER = 8,
    GSL_SEASON_LAGS = 4,
    GSL_LAGS = GSL_ORDER + GSL_SEASON_LAGS,
    GSL_TAPS = 6,
    GSL_BINS = 48 /* horizons that share their spread: 1 2 3 4-5 6-7 8-11 12-15 ... */
};

/* ---- scales (gsl_scales.c) ---- */

/* A low-pass filter that looks back: smooth(t) = sum of tap[i] * x(t - i * distance); its taps sum to one. */
struct gsl_filter {
    int32_t count;
    double tap[GSL_TAPS];
};
/* The filter of a wavelet (never DEFAULT). False where GSL does not know it. */
bool gsl__filter(int32_t wavelet, struct gsl_filter *out);
/* Steps behind a value that its scales depend on. */
int64_t gsl__support(const struct gsl_filter *f, int32_t scales);
/* parts[j * stride + t], j < scales: detail j; j = scales: what is left. For every t they sum to x(t). */
void gsl__split(const struct gsl_filter *f, int32_t scales, const double *x, int64_t n, double *parts, int64_t stride);

/* ---- one autoregressive model a scale (gsl_regress.c) ---- */

struct gsl_part {
    int32_t lag_count;
    int32_t lag[GSL_LAGS];
    double coef[GSL_LAGS];
    double mean, low, high; /* forecasts of the part stay inside low..high */
    bool steps;             /* the model is one of the part's steps x(t) - x(t - 1): it has no level to return to */
};
/* What was learnt of one series, whose values are middle + unit * x. */
struct gsl_model {
    int32_t wavelet, scales;
    struct gsl_part part[GSL_PARTS];
};
struct gsl_shape {
    int64_t period; /* 0 = none */
    int32_t order;
};
/* Lags of every scale for a history of n steps. */
void gsl__lags(const struct gsl_shape *shape, int32_t scales, int64_t n, struct gsl_model *m);
int64_t gsl__longest_lag(const struct gsl_shape *shape, int32_t scales, int64_t n);
/* Least squares on the targets begin <= t < end that are known. */
void gsl__fit_part(const double *x, const uint8_t *mask, int64_t begin, int64_t end, struct gsl_part *p);
/* The next `count` steps after x[origin - 1], added to sum; ahead: room for count values. */
void gsl__run_part(const struct gsl_part *p, const double *x, int64_t origin, int32_t count, double *ahead,
                   double *sum);

/* ---- one series (gsl_learn.c) ---- */

/* What a step of a history is. */
enum { GSL_GAP = 0, GSL_KNOWN = 1, GSL_BOUND = 2 };

/* A row of the forecaster. */
struct gsl_row {
    struct gsl_model model;
    bool young;          /* too short to learn from: the last value and a random walk */
    double middle, unit; /* y = middle + unit * x */
    double last;         /* newest known value */
    double walk2, all2;  /* young: variance of a step, and of anything */
};
struct gsl_job {
    spr_context *ctx;
    struct gsl_shape shape;
    int32_t wavelet, scales; /* as asked; DEFAULT and 0 = choose */
    int32_t horizon, level_count;
    const double *levels;
};
/* Room for learning from n steps. */
struct gsl_room {
    int64_t n, bytes;
    void *block;
    double *x, *parts, *errors, *ahead, *sum;
    uint8_t *mask;
    int64_t error_room;
};
int gsl__room(spr_context *ctx, int64_t n, int32_t horizon, struct gsl_room *out);
void gsl__room_drop(spr_context *ctx, struct gsl_room *room);
/*
 * Learn from room->x (values, any number where there is a gap) and room->mask; on return room->x holds the filled
 * history. offsets: [bins][levels]: errors by horizon in the unit of the series.
 */
void gsl__learn(const struct gsl_job *job, struct gsl_room *room, struct gsl_row *row, double *offsets);
/* Forecast from a history of n steps that ends now. out: [horizon] in the unit of the series. */
void gsl__ahead(const struct gsl_job *job, const struct gsl_row *row, const double *x, int64_t n, struct gsl_room *room,
                double *out);
/* Value for step t where it is missing (or a lower bound) from what lies before it. */
double gsl__filled(const double *x, int64_t t, int64_t period, uint8_t what, double v);

/* The bin of a horizon (from 1), and the first horizon of a bin. */
int32_t gsl__bin(int32_t h);
int32_t gsl__bin_begin(int32_t bin);

#endif
