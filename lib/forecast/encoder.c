/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "forecast/encoder.h"
#include "forecast/event_track.h"

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

/* Of those the ones that the series tells; the events' follow. */
static int told(const struct spr__encoder *e, const struct spr__window_spec *spec) {
    return e->every > 1 || has_change(e, spec) ? 2 : 1;
}
int spr__encoder_values(const struct spr__encoder *e, const struct spr__window_spec *spec) {
    return told(e, spec) + (spec->flags & SPR__WINDOW_EVENTS ? SPR__EVENT_NUMBERS : 0);
}
int spr__encoder_inputs(const struct spr__encoder *e, const struct spr__window_spec *spec) {
    return spr__encoder_values(e, spec) + (spec->flags & SPR__WINDOW_CALENDAR ? CALENDAR : 0);
}
size_t spr__encoder_weights(const struct spr__encoder *e, const struct spr__window_spec *spec) {
    return spr__lstm_weights(spr__encoder_inputs(e, spec), e->units);
}

/* `steps` of them, whose scaled values begin at `from`, with step `at`. */
static void sequence(const struct spr__encoder *e, const struct spr__window *w, const float *from, int64_t at,
                     int steps, float *out) {
    const int values = spr__encoder_values(e, w->spec), own = told(e, w->spec), n = steps * values;
    for (int t = 0; t < steps; t++, from += e->every, out += values) {
        if (e->every > 1) {
            float sum = 0, most = from[0];
            for (int i = 0; i < e->every; i++)
                sum += from[i], most = from[i] > most ? from[i] : most;
            out[0] = sum / (float)e->every, out[1] = most;
        } else {
            out[0] = from[0];
            if (own == 2)
                out[1] = from[0] - from[-w->spec->day];
        }
        for (int i = own; i < values; i++)
            out[i] = 0;
    }
    out -= n;
    w->kernels->vasinh(n, out, out);
    for (int i = 0; i < n; i++) /* the difference of two infinite ones is none */
        out[i] = out[i] > clip ? clip : out[i] < -clip ? -clip : out[i] == out[i] ? out[i] : 0.0f;
    for (int t = 0; t < steps && own < values; t++, at += e->every)
        spr__event_numbers(w->events, at, e->every, out + t * values + own);
}

static float raw(const struct spr__window *w, int64_t t) {
    double lift = (double)w->lift[t], clean = (double)w->z[t] * w->spread + w->level;
    if (!(lift < 0 || lift > 0))
        return w->z[t];
    return spr__window_scaled(clean * exp(lift), w->level, 1 / w->spread);
}

void spr__encoder_sequence(const struct spr__encoder *e, const struct spr__window *w, float *out) {
    const int64_t n = w->spec->context, back = (int64_t)e->steps * e->every;
    const float *from = w->z;
    if (w->lift) { /* it reads the series as it is, with its events */
        for (int64_t t = 0; t < n; t++)
            w->scratch[t] = raw(w, t);
        from = w->scratch;
    }
    sequence(e, w, from + n - back, w->origin - back, e->steps, out);
}

/* Would the window's own scale say much else than the one that the state was read in? */
static bool moved(const struct spr__window *w, const struct spr__carried *c) {
    return w->spread > SPR__CARRY_SPREAD * c->spread || c->spread > SPR__CARRY_SPREAD * w->spread ||
           fabs(w->level - c->level) > SPR__CARRY_LEVEL * c->spread;
}

int32_t spr__encoder_behind(const struct spr__encoder *e, const struct spr__window *w, const struct spr__carried *c,
                            int64_t whole, const double *context) {
    int64_t window = (int64_t)e->steps * e->every, season = w->spec->day ? w->spec->day : window;
    int64_t missing = w->origin - c->at;
    if (!(c->spread > 0) || missing < 0 || missing > whole || missing > window || w->origin - c->read_at >= season ||
        moved(w, c))
        return -1;
    const double *end = context + w->spec->context;
    for (const double *y = end - missing; y < end; y++)
        if (!(fabs(*y - c->level) <= SPR__CARRY_RANGE * c->spread))
            return -1;
    return (int32_t)(missing / e->every); /* what does not fill a step yet waits */
}

void spr__encoder_go_on(const struct spr__encoder *e, const struct spr__window *w, const struct spr__carried *c,
                        int32_t behind, const double *context, float *out) {
    int64_t from = w->spec->context - (w->origin - c->at), n = (int64_t)behind * e->every;
    double per = 1 / c->spread;
    for (int64_t t = from; t < from + n; t++) {
        w->scratch[t] = spr__window_scaled(context[t], c->level, per);
        if (has_change(e, w->spec)) /* a season back; nearer ones would overlap, as n is less than a season */
            w->scratch[t - w->spec->day] = spr__window_scaled(context[t - w->spec->day], c->level, per);
    }
    sequence(e, w, w->scratch + from, c->at, behind, out);
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
    const size_t state = sizeof(float) * (size_t)l->units;
    spr__lstm_rest(l, run);
    for (int r = 0; r < run->rows && rows->carried; r++) {
        const float *from = rows->carry + (ptrdiff_t)r * 2 * l->units;
        memcpy(spr__lstm_state(l, run, 0) + (ptrdiff_t)r * l->depth, from, state);
        memcpy(run->c + (ptrdiff_t)r * l->units, from + l->units, state);
    }
    for (int t = 0; t < rows->steps; t++) {
        float *to = spr__lstm_inputs(l, run, t);
        for (int r = 0; r < run->rows; r++, to += l->depth) {
            memcpy(to, rows->sequence[r] + (ptrdiff_t)t * values, sizeof *to * (size_t)values);
            if (rows->calendar) {
                int64_t at = (rows->origin[r] - (int64_t)(rows->steps - t) * e->every) % week;
                memcpy(to + values, rows->calendar + (at < 0 ? at + week : at) * CALENDAR, sizeof *to * CALENDAR);
            }
        }
        spr__lstm_forward(l, run, t);
    }
    const float *h = spr__lstm_state(l, run, rows->steps);
    const float *c = run->c + (run->keep ? (ptrdiff_t)rows->steps * run->rows * l->units : 0);
    for (int r = 0; r < run->rows; r++) {
        memcpy(out + (size_t)r * ld, h + (ptrdiff_t)r * l->depth, state);
        if (rows->carry) {
            float *to = rows->carry + (ptrdiff_t)r * 2 * l->units;
            memcpy(to, h + (ptrdiff_t)r * l->depth, state);
            memcpy(to + l->units, c + (ptrdiff_t)r * l->units, state);
        }
    }
}
