/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The inside of the mix: one row of it, and the numbers that make it what it is. */
#ifndef SPR_LIB_MIX_H
#define SPR_LIB_MIX_H

#include "forecast/forecast.h"

enum {
    MIX_LAST,      /* last value + quantiles of the changes j steps later, one week */
    MIX_LAST_HOUR, /* quantiles of the last 12 steps */
    MIX_LAST_SIX,  /* quantiles of the last 72 steps */
    MIX_BIN,       /* quantiles of what followed j steps after a value in the same fifth of the range, one week */
    MIX_ALIKE,     /* last value + changes after the moments most like this one, two weeks */
    MIX_CHEAP,
    MIX_MODEL = MIX_CHEAP, /* what a trained model says, where one is given */
    MIX_MOST,
    MIX_HOUR = 12,
    MIX_SIX = 72,
    MIX_BINS = 5,
    MIX_NEAR = 60,
    MIX_LOOKS = 2,
    MIX_LEVELS = 64,
    MIX_PROOF = 24 /* steps that both mixtures are scored on before the one with the model may speak */
};

struct mix_row {
    double *y, *look[MIX_LOOKS]; /* history and what its moments look like: [first .. first + count) of `room` */
    int64_t first, count, seen;  /* seen: closed steps so far = index of the running step */
    int64_t tabulated, consulted, first_said;
    double consulted_y, scale;
    bool bound; /* the running step ends at a lower bound only */
    double edge[MIX_BINS - 1];
    double *change;        /* [j][level] */
    double *after;         /* [j][bin][level] */
    const double *opinion; /* [horizon - 1][level] of the model, NULL = there is none */
    double *said;          /* [seen % (horizon + 1)][j][expert][level] */
    double *loss;          /* [j][expert][level] */
    double *mixed;         /* [seen % (horizon + 1)][j][with][level] both mixtures; only where there is a model */
    double *mixed_loss;    /* [j][with][level] */
    int64_t first_mixed;   /* step of the first pair of mixtures that counts */
    const bool *counts;    /* of the mix: the part of this row's resource */
    int32_t kind;          /* rows of one kind are of one resource, or of none that is known */
    uint8_t *bin;          /* [week] scratch */
};

struct mix {
    spr_context *ctx;
    int64_t day, week, fortnight, room, said_each, scratch_size;
    int32_t horizon, levels, median, experts; /* experts: MIX_CHEAP, or MIX_MOST with a model */
    double forget, level[MIX_LEVELS];
    int64_t count;
    struct mix_row *rows;
    double *block; /* all the rows' numbers */
    size_t block_size;
    uint8_t *bins;
    double *scratch; /* [row][scratch_size] */
    void *model;     /* state of spr_forecaster_model, or NULL */
    bool *counts;    /* [kind][j][level] the mixture with the model has proved to be better than the one without */
    int32_t kinds;   /* of the rows */
    double *plain;   /* [row][horizon][level] the last answer as it would have been without the model */
    double *opinion; /* [row][horizon - 1][level] what the model says after the running step */
    double *column;  /* [row] the running step as the model was told it */
    double *points;  /* [row][horizon - 1] */
    bool torn;       /* an update failed half way: some of us know a step that others do not */
};

/* Would what was said so far not do for a running step that shows y? */
bool spr__mix_must_consult(const struct mix_row *r, double y);
double spr__mix_value(const struct mix_row *r, double y); /* y, or the last value where it is missing */
int64_t spr__mix_room(const struct mix *m);
void spr__mix_look(const struct mix *m, const struct mix_row *r, int64_t i, double y, double *hour, double *days);
void spr__mix_remember(struct mix *m, struct mix_row *r, double y);
/* What a lower bound is taken for: never less than was expected, nor than the same time of the day before. */
double spr__mix_raise(const struct mix *m, struct mix_row *r, double y);
void spr__mix_begin(struct mix *m, struct mix_row *r, double *scratch);
/* The model may have learnt from the very steps that taught the weights: it begins as good as the best of the others.
 */
void spr__mix_level(const struct mix *m, struct mix_row *r);
/* Where does the mixture with the model count? Looked at over all rows of a kind. */
void spr__mix_prove(struct mix *m);
void spr__mix_step(struct mix *m, struct mix_row *r, double y, double *scratch);
void spr__mix_ask(const struct mix *m, struct mix_row *r, double now, double *points, double *quantiles, double *plain,
                  double *scratch);

#endif
