/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the files of the metrics room share: the rows of a collector and the inside of a product. */
#ifndef SPR_LIB_METRICS_H
#define SPR_LIB_METRICS_H

#include <shardpredict/metrics.h>

#include "base/base.h"

/* A step that got samples at several times. Kept only for rows that need it: a regular trace costs 8 bytes a cell. */
struct spr__cell {
    int64_t newest_ns; /* time of the newest sample in the step */
    double sum_before; /* sum without that sample, so that a duplicate can replace it exactly */
    double max_before; /* maximum without it */
    double max;        /* largest sample */
    uint32_t count;    /* samples; 0 = missing */
    uint32_t reserved;
};

/* One series on its way into the grid. Arrays hold `cap` steps, grown by doubling; absent ones are NULL. */
struct spr__row {
    char *id, *metric;
    int32_t resource, kind;
    double unit_factor;
    int64_t next; /* row with the same id, -1 = none */
    size_t cap;
    double *sum;             /* sum of the samples of a step, NaN = missing */
    struct spr__cell *cells; /* NULL while every step has one sample, all at the same phase */
    double *max;             /* maxima that were given as such */
    uint8_t *censored;
    int64_t phase_ns;      /* offset inside the step of the first sample */
    int64_t newest_ns;     /* newest sample, INT64_MIN = none */
    int64_t newest_max_ns; /* the same of given maxima */
    double max_before;     /* given maximum of that step without the newest one */
    int64_t steps;         /* one past the newest step */
    int64_t first, last;   /* first and last step with a value; first > last = none */
    double count_value[2]; /* counter: last two readings, [0] the newer */
    int64_t count_ns[2];   /* and their times; INT64_MIN = none */
};

/* Forget the samples of a row, keep the series. */
void spr__row_reset(const spr_context *ctx, struct spr__row *r);

struct spr_metrics {
    spr_context *ctx;
    int64_t origin_ns, step_ns, max_steps;
    struct spr__row *rows;
    size_t row_cap;
    int64_t row_count, steps;
    int64_t pushes;         /* samples and missing values since the last product */
    struct spr_textmap ids; /* id -> first row with it */
    struct spr_metrics_notes notes;
};

struct spr_series {
    spr_refcount refs;
    spr_context *ctx;
    int64_t count, steps, origin_ns, step_ns;
    struct spr__series_row {
        char *id, *metric;
        int32_t resource;
        int64_t next;
        double unit_factor;
    } * rows;
    struct spr_textmap ids;
    double *mean;
    double *max;       /* NULL = the mean */
    float *samples;    /* counts */
    uint8_t *censored; /* NULL = nothing is */
    int64_t censored_stride;
};

#endif
