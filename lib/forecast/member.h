/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What answers inside a model. A model holds any number of members of any kind; each gives quantiles at the model's
 * own levels in the unit of the series, and the forecaster averages them, level by level.
 */
#ifndef SPR_LIB_FORECAST_MEMBER_H
#define SPR_LIB_FORECAST_MEMBER_H

#include "forecast/model.h"
#include "forecast/net.h"

struct spr__carried;     /* encoder.h */
struct spr__event_track; /* event_track.h */

/* Series side by side that are to be answered. */
struct spr__cases {
    const struct spr__net_kernels *kernels;
    int64_t count;
    const double *const *history; /* [count] `steps` numbers each, newest last, gaps closed, padded at the front */
    int64_t steps;                /* at least what every member looks back */
    const int64_t *origin;        /* [count] step of the first answer since 1970 */
    const int32_t *resource;      /* [count] ::spr_resource or -1 */
    const double *unit;           /* [count] a typical value of the resource, 0 = the case's own */
    int32_t horizon;              /* steps asked, up to the model's */
    const struct spr__event_track *events; /* that all of them live through; NULL = none */
    const int64_t *whole;                  /* [count] newest values of the history before which there is no gap */
    struct spr__carried *carried;          /* [count] where the states stand that this member carries, ... */
    float *cells;       /* ... and they themselves, [count][cells of it]; both NULL = it reads anew */
    const void *before; /* payload of the member that answered the same cases in the same room just now, or NULL */
};

/* A kind of member. Its payload was checked when the model was opened. */
struct spr__member_ops {
    char tag[4];                             /* of its section; the index counts the members */
    int32_t kind;                            /* ::spr_model_kind */
    spr__model_check *check;                 /* for the table of model.c */
    int32_t (*levels)(const void *payload);  /* must equal the model's */
    int32_t (*horizon)(const void *payload); /* must reach the model's */
    int64_t (*context)(const void *payload); /* steps it looks back */
    size_t (*room)(const void *payload, int64_t cases, int32_t horizon); /* bytes that an answer needs */
    int32_t (*cells)(const void *payload); /* numbers that a series' state has, 0 = there is nothing to carry */
    bool (*events)(const void *payload);   /* does it look at them? */
    /* quantiles [count][horizon][levels], never crossing, finite for finite history up to 1e150 */
    void (*answer)(const void *payload, const struct spr__cases *cases, void *room, double *quantiles);
};
extern const struct spr__member_ops spr__member_qnet, spr__member_lstm, spr__member_hybrid;

/* The section "GLOB": what all members share. Stored as it is. */
#define SPR__GLOBAL_LEVELS    64
#define SPR__GLOBAL_RESOURCES (SPR_RESOURCES_MAX + 1) /* 0 = unknown, then ::spr_resource + 1 */
static inline int32_t spr__resource_row(int32_t resource) { return resource >= 0 ? resource + 1 : 0; }
enum spr__global_flag {
    SPR__GLOBAL_SIGNED = 1, /* values below 0 were seen */
    SPR__GLOBAL_SNAP = 2,   /* the middle becomes the last value where that is near it */
    SPR__GLOBAL_HOLD = 4    /* gaps hold the value before them; else the one a season back, where there is one */
};
struct spr__global {
    int64_t step_ns, context;
    int32_t horizon, levels, median, flags;
    int32_t naive_lag; /* of the simple forecast: 0 = last value, else steps back */
    int32_t reserved;
    double naive_share;                 /* of the simple forecast in the answer, 0..1 */
    double level[SPR__GLOBAL_LEVELS];   /* rising, in (0, 1) */
    double factor[SPR__GLOBAL_LEVELS];  /* distance from the median is multiplied by it */
    double naive[SPR__GLOBAL_LEVELS];   /* quantiles of the simple forecast's error in units of its mean step */
    double unit[SPR__GLOBAL_RESOURCES]; /* a typical value; 0 = there is none, each series is its own */
    double prior[SPR__GLOBAL_RESOURCES]
                [SPR__GLOBAL_LEVELS]; /* quantiles over all series: answers a series without history */
};
spr__model_check spr__global_check, spr__event_channel_check, spr__qnet_check, spr__lstm_check, spr__hybrid_check;

#endif
