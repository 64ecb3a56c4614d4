/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Inside the trainer: the series it was given, how each member is to be trained, and windows drawn from the series. */
#ifndef SPR_LIB_FORECAST_TRAIN_H
#define SPR_LIB_FORECAST_TRAIN_H

#include "forecast/encoder.h"
#include "forecast/event_track.h"
#include "forecast/member.h"
#include "forecast/qnet.h"
#include "forecast/window.h"

enum { SPR__MARK_FILLED = 1, SPR__MARK_CENSORED = 2 };
struct spr__train_series {
    double *y;                             /* [n] gaps closed */
    uint8_t *marks;                        /* [n] SPR__MARK_* */
    int64_t n;                             /* steps that may be used */
    int64_t first_step;                    /* of y[0] since 1970 */
    int32_t resource;                      /* ::spr_resource or -1 */
    const struct spr__event_track *events; /* NULL = none */
    double mean_abs;
    double unit;  /* mean |y| of the panel it came with, of the rows of its resource; 0 = it came alone */
    double draw;  /* how often windows are drawn from it, relative to others */
    bool witness; /* held out whole where the tail in time is too short */
};

/* What a window weighs in the loss. */
enum spr__train_weight { SPR__WEIGHT_UNIT = 0, SPR__WEIGHT_MIX = 1, SPR__WEIGHT_OWA = 2, SPR__WEIGHT_SIZE = 3 };

struct spr__train_setting {
    struct spr__window_spec spec;
    struct spr__encoder encoder; /* units 0 = a quantile net without one */
    int32_t weight;              /* ::spr__train_weight */
    int32_t steps;               /* steps ahead taken of each window */
    int32_t units;
    bool by_gap;  /* a level weighs as much as it is far from its neighbours: their sum is the CRPS, not its edges */
    double mixed; /* share of windows that are mixtures of two series */
    double pace;  /* times the usual step of the optimiser; 0 = 1 */
    double dropout, decay;
    int64_t windows, iterations;
};

enum { SPR__TRAIN_MEMBERS_MAX = 16, SPR__TRAIN_NETS_MAX = SPR__TRAIN_MEMBERS_MAX + 1 /* a scout answers nobody */ };
struct spr__train_plan {
    struct spr__train_setting member[SPR__TRAIN_NETS_MAX];
    int32_t members;
    int64_t tail;     /* steps at the end of every series that the first member does not see */
    bool trial;       /* the last member must earn its place on the tail */
    bool tail_series; /* whole series are held out instead */
    bool by_level;    /* big series are drawn more often */
    bool one_pool;    /* members after the first are alike and learn from the same windows */
    bool scout;       /* the first member, with less effort, is only there to be measured */
    bool resumed;     /* it goes on from a model */
    bool few_rule;    /* a few big series rule pooled errors: they do not decide on the snap */
    bool calibrate;   /* factors per level where the tail says that the nets are too narrow */
};

/* A set of series and what is common to them. */
struct spr__train_data {
    struct spr__train_series *series;
    size_t count, room;
    double unit[SPR__GLOBAL_RESOURCES]; /* mean |y|; 0 = too unlike to have one */
};

/*
 * What is large: the mean of the resource; where that is not known, the mean of the panel, which may be cores or bytes,
 * or, for a series that came alone, of all.
 */
double spr__train_unit(const struct spr__train_data *data, const struct spr__train_series *s);

/* What to train for a task: see doc/algorithms/quantile-net.md, "Which settings". SPR_E_HISTORY where no series is
 * long enough. */
int spr__train_choose(spr_context *ctx, const struct spr__train_data *data, int32_t kind, int64_t step_ns,
                      int32_t horizon, int64_t context, int32_t members, double effort, struct spr__train_plan *plan);

/* The payload of a model's member, nets first, or NULL. */
const struct spr__qnet_header *spr__train_start(const spr_model *m, int32_t member);
/* Turn a plan into one that goes on from the members of a model. */
void spr__train_go_on(const spr_model *m, struct spr__train_plan *plan);

/* Windows ready for training. */
struct spr__train_pool {
    const struct spr__train_setting *setting;
    int64_t windows;
    int32_t summaries, features;
    float *s, *d;          /* [windows][summaries], [windows][steps][features], standardised */
    float *base, *target;  /* [windows][steps] */
    uint8_t *censored;     /* [windows][steps] */
    float *weight;         /* [windows] */
    float *sequence;       /* [windows][steps][values] of the encoder, or NULL */
    int64_t *origin;       /* [windows] */
    double *s_mean, *s_sd; /* [summaries], then 0 and 1 for the states of the encoder */
    double *d_mean, *d_sd; /* [features] */
};
/* Draw and build. `held` = without the tail and the held-out series. */
int spr__train_pool_make(spr_context *ctx, const struct spr__train_data *data, const struct spr__train_plan *plan,
                         const struct spr__train_setting *setting, bool held, uint64_t seed,
                         struct spr__train_pool *pool);
enum { SPR__TRAIN_WATCHED = 1024 }; /* windows of the tail that a look takes */
/* Windows of the tail or of the held-out series only, evenly over the series, in the numbers of another pool.
 * SPR_E_HISTORY without a record where there is none. */
int spr__train_pool_tail(spr_context *ctx, const struct spr__train_data *data, const struct spr__train_plan *plan,
                         const struct spr__train_setting *setting, const struct spr__train_pool *like, uint64_t seed,
                         struct spr__train_pool *pool);
void spr__train_pool_drop(spr_context *ctx, struct spr__train_pool *pool);

/* Steps of the optimiser: `whole` minibatches, or the first `leave` of them and then `rest` more down to the end's. */
struct spr__train_schedule {
    int64_t whole, leave, rest;
};
static inline int64_t spr__train_length(const struct spr__train_schedule *s) {
    return s->leave < s->whole ? s->leave + s->rest : s->whole;
}
int64_t spr__train_warm_up(int64_t iterations); /* minibatches whose step still grows */

/* A member on its way. */
struct spr__train_net {
    struct spr__train_schedule schedule;
    struct spr__qnet_shape shape;
    int64_t head, count; /* weights of the net; with those of the encoder, which follow */
    int64_t iteration;
    float *weights, *m, *v; /* Adam's moments */
    float *gradient;        /* [CHUNKS][count] */
    float *room;            /* [CHUNKS][...] */
    size_t room_each;
    float *calendar; /* of the encoder, or NULL */
    size_t calendar_floats;
    double loss; /* moving mean of the minibatches */
};
int spr__train_net_open(spr_context *ctx, const struct spr__train_pool *pool, const double *levels, int32_t level_count,
                        uint64_t seed, struct spr__train_net *net);
/* Weights of a finished member as the start. */
void spr__train_net_resume(const struct spr__train_pool *pool, const void *payload, struct spr__train_net *net);
/* One minibatch. */
void spr__train_net_step(spr_context *ctx, const struct spr__train_pool *pool, const double *levels, uint64_t seed,
                         struct spr__train_net *net);
/* Mean loss over a pool of SPR__TRAIN_WATCHED windows, nothing dropped out. */
double spr__train_net_watch(spr_context *ctx, const struct spr__train_pool *pool, const double *levels,
                            struct spr__train_net *net);
void spr__train_net_drop(spr_context *ctx, struct spr__train_net *net);

/* What the tail says while a net learns that does not see it. */
struct spr__train_stop {
    struct spr__train_setting setting; /* of the pool */
    struct spr__train_pool pool;
    float *best;                  /* weights and moments where the loss was lowest; NULL = nothing is watched */
    size_t floats;                /* of them */
    int64_t every, next, best_at; /* minibatches */
    double best_loss, last;
    double wobble;        /* sum of how much the loss differed from one look to the next */
    int32_t looks, above; /* looks; those in a row that were clearly above the best one */
    bool resumed, stopped;
};
int spr__train_stop_open(spr_context *ctx, const struct spr__train_data *data, const struct spr__train_plan *plan,
                         const struct spr__train_pool *pool, const struct spr__train_net *net, uint64_t seed,
                         struct spr__train_stop *stop);
/* Before every minibatch and after the last one: sends the net back where the tail says so, and says so. */
bool spr__train_stop_look(spr_context *ctx, const double *levels, struct spr__train_net *net,
                          struct spr__train_stop *stop);
void spr__train_stop_drop(spr_context *ctx, struct spr__train_stop *stop);
/* Leave a schedule after a share of it. */
void spr__train_stop_at(struct spr__train_schedule *schedule, double share);

/* Measure the average of finished members on what they did not see: loss, the simple forecast's loss, coverage,
 * factors, snap. */
struct spr__train_tail {
    double loss, naive_loss, coverage95;
    int64_t cases;
};
int spr__train_tail_measure(spr_context *ctx, const struct spr__train_data *data, const struct spr__train_plan *plan,
                            const void *const *payloads, int32_t count, struct spr__global *global,
                            struct spr__train_tail *tail);
int32_t spr__median_of(const double *levels, int32_t count); /* index of the level nearest to 0.5 */

/* The section of a net, with an encoder or without: header, then weights from SPR__QNET_AT on, the encoder's last. */
struct spr__qnet_header {
    struct spr__window_spec spec;
    struct spr__qnet_shape shape;
    struct spr__encoder encoder; /* all 0 = none */
};
#define SPR__QNET_AT 64
size_t spr__qnet_bytes(const struct spr__qnet_header *header);
/* Who answers such a section. */
const struct spr__member_ops *spr__member_of(const struct spr__qnet_header *header);

#endif
