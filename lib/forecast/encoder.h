/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A recurrent encoder: LSTM cells read the last steps of a window, scaled as its other inputs are, and their last state
 * joins the window's summaries. doc/algorithms/lstm.md.
 */
#ifndef SPR_LIB_FORECAST_ENCODER_H
#define SPR_LIB_FORECAST_ENCODER_H

#include "forecast/lstm.h"
#include "forecast/window.h"

/* Stored in model files as it is. */
struct spr__encoder {
    int32_t units; /* 0 = no encoder */
    int32_t steps; /* it takes */
    int32_t every; /* steps of the series in one of them: 1, or more = mean and maximum of so many */
};
#define SPR__ENCODER_UNITS_MAX 256
enum { SPR__ENCODER_ROWS = 48 }; /* series side by side in an answer */

/*
 * Where a state stands that is carried from answer to answer instead of being read anew. Its inputs go on in the scale
 * of the window it was read from.
 */
struct spr__carried {
    int64_t read_at, at;  /* the step after that window, and after the last one it has taken */
    double level, spread; /* of that window; spread 0 = nothing is carried yet */
};
#define SPR__CARRY_RANGE  10.0 /* spreads around the level; a value further out has the window read anew, ... */
#define SPR__CARRY_SPREAD 1.25 /* ... and so has a scale of today that is this many times wider or narrower ... */
#define SPR__CARRY_LEVEL  0.5  /* ... or this many spreads away */

bool spr__encoder_ok(const struct spr__encoder *e, const struct spr__window_spec *spec);
/* Numbers of one step: from the series and its events, and with the time of day and week. */
int spr__encoder_values(const struct spr__encoder *e, const struct spr__window_spec *spec);
int spr__encoder_inputs(const struct spr__encoder *e, const struct spr__window_spec *spec);
size_t spr__encoder_weights(const struct spr__encoder *e, const struct spr__window_spec *spec);

/* What the series and its events say, [steps][values], from an opened window. */
void spr__encoder_sequence(const struct spr__encoder *e, const struct spr__window *w, float *out);
/*
 * Steps (of the encoder) that a carried state lacks, or -1 where the window must be read anew: nothing is carried, the
 * last `whole` values do not reach back to it, a season has passed (without one: a window), a value lies too far out or
 * the window's own scale has left the carried one. `context` is the window's.
 */
int32_t spr__encoder_behind(const struct spr__encoder *e, const struct spr__window *w, const struct spr__carried *c,
                            int64_t whole, const double *context);
/* Those steps, [behind][values]; w is opened and its scratch is free. */
void spr__encoder_go_on(const struct spr__encoder *e, const struct spr__window *w, const struct spr__carried *c,
                        int32_t behind, const double *context, float *out);
/* Sine and cosine of day and week by step of the week, [spr__encoder_calendar_floats]. */
size_t spr__encoder_calendar_floats(const struct spr__window_spec *spec);
void spr__encoder_calendar(const struct spr__window_spec *spec, float *table);

/* Series that are read together: where each one's sequence lies, and the step after its end. */
struct spr__encoder_rows {
    const struct spr__encoder *encoder;
    const struct spr__window_spec *spec;
    const float *calendar; /* table, or NULL where the window has no calendar */
    const float *const *sequence;
    const int64_t *origin;
    int32_t steps; /* of each sequence, at most the encoder's */
    float *carry;  /* [rows][2 units] the last states and cells go here too; NULL = nowhere */
    bool carried;  /* ... and the first ones are taken from there instead of zeros */
};
/* Read run->rows sequences; the last states go to out[row * ld]. */
void spr__encoder_read(const struct spr__encoder_rows *rows, const struct spr__lstm *l, struct spr__lstm_run *run,
                       float *out, size_t ld);

#endif
