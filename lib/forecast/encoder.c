/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "forecast/encoder.h"

enum { WEEK = 7, CALENDAR = 4 };
static const float clip = 40.0f; /* of asinh: further out a number says nothing more */

bool spr__encoder_ok(const struct spr__encoder *e, const struct spr__window_spec *spec) {
    return e->units >= 1 && e->units <= SPR__ENCODER_UNITS_MAX && e->steps >= 1 && e->every >= 1 &&
           (int64_t)e->steps * e->every <= spec->context;
}

/* Single steps come with their change since the season before, where the window reaches so far back. */
static bool has_change(const struct spr__encoder *e, const struct spr__window_spec *spec) {
    return e->every == 1 && spec->day > 0 && e->steps + spec->day <= spec->context;
}

int spr__encoder_values(const struct spr__encoder *e, const struct spr__window_spec *spec) {
    return e->every > 1 || has_change(e, spec) ? 2 : 1;
}
int spr__encoder_inputs(const struct spr__encoder *e, const struct spr__window_spec *spec) {
    return spr__encoder_values(e, spec) + (spec->flags & SPR__WINDOW_CALENDAR ? CALENDAR : 0);
}
size_t spr__encoder_weights(const struct spr__encoder *e, const struct spr__window_spec *spec) {
    return spr__lstm_weights(spr__encoder_inputs(e, spec), e->units);
}

void spr__encoder_sequence(const struct spr__encoder *e, const struct spr__window *w, float *out) {
    const float *from = w->z + w->spec->context - (ptrdiff_t)e->steps * e->every;
    const int values = spr__encoder_values(e, w->spec), n = e->steps * values;
    for (int t = 0; t < e->steps; t++, from += e->every, out += values) {
        if (e->every > 1) {
            float sum = 0, most = from[0];
            for (int i = 0; i < e->every; i++)
                sum += from[i], most = from[i] > most ? from[i] : most;
            out[0] = sum / (float)e->every, out[1] = most;
        } else {
            out[0] = from[0];
            if (values == 2)
                out[1] = from[0] - from[-w->spec->day];
        }
    }
    out -= n;
    w->kernels->vasinh(n, out, out);
    for (int i = 0; i < n; i++) /* the difference of two infinite ones is none */
        out[i] = out[i] > clip ? clip : out[i] < -clip ? -clip : out[i] == out[i] ? out[i] : 0.0f;
}

size_t spr__encoder_calendar_floats(const struct spr__window_spec *spec) {
    return spec->flags & SPR__WINDOW_CALENDAR ? (size_t)(WEEK * CALENDAR) * (size_t)spec->day : 0;
}

void spr__encoder_calendar(const struct spr__window_spec *spec, float *table) {
    int week = spec->flags & SPR__WINDOW_CALENDAR ? WEEK * spec->day : 0;
    for (int p = 0; p < week; p++, table += CALENDAR) {
        double day = 6.283185307179586 * (p % spec->day) / spec->day, of_week = 6.283185307179586 * p / week;
        table[0] = (float)sin(day), table[1] = (float)cos(day);
        table[2] = (float)sin(of_week), table[3] = (float)cos(of_week);
    }
}

void spr__encoder_read(const struct spr__encoder_rows *rows, const struct spr__lstm *l, struct spr__lstm_run *run,
                       float *out, size_t ld) {
    const struct spr__encoder *e = rows->encoder;
    const int values = spr__encoder_values(e, rows->spec), week = WEEK * rows->spec->day;
    spr__lstm_rest(l, run);
    for (int t = 0; t < e->steps; t++) {
        float *to = spr__lstm_inputs(l, run, t);
        for (int r = 0; r < run->rows; r++, to += l->depth) {
            memcpy(to, rows->sequence[r] + (ptrdiff_t)t * values, sizeof *to * (size_t)values);
            if (rows->calendar) {
                int64_t at = (rows->origin[r] - (int64_t)(e->steps - t) * e->every) % week;
                memcpy(to + values, rows->calendar + (at < 0 ? at + week : at) * CALENDAR, sizeof *to * CALENDAR);
            }
        }
        spr__lstm_forward(l, run, t);
    }
    const float *h = spr__lstm_state(l, run, e->steps);
    for (int r = 0; r < run->rows; r++)
        memcpy(out + (size_t)r * ld, h + (ptrdiff_t)r * l->depth, sizeof *out * (size_t)l->units);
}
