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

bool spr__encoder_ok(const struct spr__encoder *e, const struct spr__window_spec *spec);
/* Numbers of one step: from the series, and with the calendar. */
int spr__encoder_values(const struct spr__encoder *e, const struct spr__window_spec *spec);
int spr__encoder_inputs(const struct spr__encoder *e, const struct spr__window_spec *spec);
size_t spr__encoder_weights(const struct spr__encoder *e, const struct spr__window_spec *spec);

/* What the series says, [steps][values], from an opened window. */
void spr__encoder_sequence(const struct spr__encoder *e, const struct spr__window *w, float *out);
/* Sine and cosine of day and week by step of the week, [spr__encoder_calendar_floats]. */
size_t spr__encoder_calendar_floats(const struct spr__window_spec *spec);
void spr__encoder_calendar(const struct spr__window_spec *spec, float *table);

/* Series that are read together: where each one's sequence lies, and the step after its window. */
struct spr__encoder_rows {
    const struct spr__encoder *encoder;
    const struct spr__window_spec *spec;
    const float *calendar; /* table, or NULL where the window has no calendar */
    const float *const *sequence;
    const int64_t *origin;
};
/* Read run->rows sequences; the last states go to out[row * ld]. */
void spr__encoder_read(const struct spr__encoder_rows *rows, const struct spr__lstm *l, struct spr__lstm_run *run,
                       float *out, size_t ld);

#endif
