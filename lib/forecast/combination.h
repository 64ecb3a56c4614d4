/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The inside of the combination: experts, their losses, and the weights that follow from them. */
#ifndef SPR_LIB_COMBINATION_H
#define SPR_LIB_COMBINATION_H

#include "forecast/forecast.h"

enum { COMBINATION_EXPERTS = 14, COMBINATION_GIVEN = 8, COMBINATION_TRIALS = 24 };

struct combination_expert {
    spr_forecaster *f;
    double needs; /* steps of history it needs to be asked at all */
    double prior; /* weight before anything is known */
    bool asked;   /* the history is long enough */
};

/* The two benchmarks that the combination may never lose much to; they are the first two experts. */
enum { COMBINATION_SEASONAL, COMBINATION_LAST, COMBINATION_GUARDS };

/* Does a series do what it never did before? Its differences to a season ago tell: each, and their running mean. */
enum { COMBINATION_VIEWS = 2 };
struct combination_watch {
    double mean;                    /* of the differences, over a quarter of a season */
    double most[COMBINATION_VIEWS]; /* the largest so far, forgotten */
    double peak[COMBINATION_VIEWS]; /* of the running surprise */
    int64_t run, seen;              /* steps of the running surprise; differences seen */
    double last, others;            /* what the last value and the weighted mean lost of what was said in it */
};

/* Losses of one series at one distance, and what follows from them. */
struct combination_cell {
    double loss[COMBINATION_EXPERTS];   /* sums of the rounds' mean pinball losses, forgotten */
    double square[COMBINATION_EXPERTS]; /* sums of the squares of what is summed there */
    double weight[COMBINATION_EXPERTS]; /* by loss; add up to 1 */
    double guard[COMBINATION_GUARDS];   /* log of the wealth of a benchmark against them */
    double most[COMBINATION_GUARDS];    /* largest difference of a round's losses so far */
    /* the running round: sums over its outcomes, of the experts and of their mean by weight */
    double round[COMBINATION_EXPERTS], round_mixed, outcomes;
};

struct combination {
    spr_context *ctx;
    int64_t step_ns;
    int32_t horizon, levels, median;
    const double *level;
    double period, keep; /* keep: what is left of a loss after one more step */
    struct combination_expert expert[COMBINATION_EXPERTS];
    int32_t experts, guards;                   /* guards: 0 where the benchmarks are not among the experts */
    int32_t rungs[SPR__RUNGS_MAX], rung_count; /* distances that have weights of their own */
    int64_t series, steps, seen;               /* rows; of the fitted history; steps since 1970 do not matter here */
    struct combination_cell *cells;            /* [series][rung] */
    struct combination_watch *watch;           /* [series] */
    double *ring;                              /* [series][season] the newest values */
    int64_t season;                            /* period in whole steps */
    bool torn;                                 /* an update failed half way */
    double *column;                            /* [series] one step */
    uint8_t *bounds;                           /* [series] */
    bool *young;                               /* [series] without a value in the part that is fitted first */
    /* what was said and has not come yet: every `stride` steps, at the rungs */
    int64_t stride;
    int32_t slots;
    int64_t *slot_step; /* step at which it was said; -1 = nothing */
    double *slot_alarm; /* [slot][series] share of the last value for surprise's sake at that time */
    double *said;       /* [slot][series][expert][rung][level] */
    /* a fit in slices: 0 = not begun, then one turn an expert, the walk, one turn an expert */
    int32_t turn;
    double *past; /* [series][steps] copy of the history with values lent to young rows */
    int64_t past_series, past_steps;
};

static inline struct combination_cell *spr__combination_cell(const struct combination *c, int64_t s, int32_t rung) {
    return &c->cells[s * c->rung_count + rung];
}
/* Rung whose weights rule `h` steps ahead, from 0. */
static inline int32_t spr__combination_rung(const struct combination *c, int32_t h) {
    int32_t i = 0;
    while (i + 1 < c->rung_count && c->rungs[i + 1] <= h + 1)
        i++;
    return i;
}
/* Quantiles of the values of the last week, for every step alike. */
const struct spr_forecaster_ops *spr__forecaster_range(void);
/* One more step of a series: NaN = unknown; before = the value a season ago. */
void spr__combination_watch(const struct combination *c, struct combination_watch *w, double y, double before);
/* Share of the last value for surprise's sake. */
double spr__combination_alarm(const struct combination_watch *w);
void spr__combination_begin(struct combination *c, int64_t series);
/* What came: counts for `times` outcomes, and was forecast under that alarm. */
struct combination_outcome {
    double y, times, alarm;
    bool censored;
};
/* One outcome at a rung; q[expert] are quantiles, NULL = not asked. */
void spr__combination_outcome(struct combination *c, int64_t series, int32_t rung, const double *const *q,
                              const struct combination_outcome *o);
/* A round of outcomes is over: losses and weights move. */
void spr__combination_round(struct combination *c, int64_t series);
/* Losses of `steps` steps ago count less. */
void spr__combination_forget(struct combination *c, int64_t series, double steps);
/* Shares of the experts in the answer, benchmarks' insurance included. */
void spr__combination_shares(const struct combination *c, int64_t series, int32_t rung, double alarm, double *share);

#endif
