/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "forecast/train_lstm.h"

enum { CASES_MAX = 64 };

size_t spr__train_lstm_room(const struct spr__net_kernels *k, const struct spr__train_setting *s, int64_t cases) {
    if (!s->encoder.units)
        return 0;
    int inputs = spr__encoder_inputs(&s->encoder, &s->spec), units = s->encoder.units;
    return spr__lstm_floats(k, inputs, units, true) +
           spr__lstm_run_floats(inputs, units, (int)cases, s->encoder.steps, true) + 16;
}

void spr__train_lstm_read(const struct spr__net_kernels *k, const struct spr__train_pool *pool, const float *weights,
                          const float *calendar, const size_t *index, int64_t cases, float *room, float *out, size_t ld,
                          struct spr__train_lstm *t) {
    const struct spr__train_setting *s = pool->setting;
    const int inputs = spr__encoder_inputs(&s->encoder, &s->spec), units = s->encoder.units;
    const size_t each = (size_t)(s->encoder.steps * spr__encoder_values(&s->encoder, &s->spec));
    const float *sequence[CASES_MAX];
    int64_t origin[CASES_MAX];
    for (int64_t i = 0; i < cases; i++)
        sequence[i] = pool->sequence + index[i] * each, origin[i] = pool->origin[index[i]];
    const struct spr__encoder_rows rows = {
        .encoder = &s->encoder,
        .spec = &s->spec,
        .calendar = calendar,
        .sequence = sequence,
        .origin = origin,
        .steps = s->encoder.steps,
    };
    spr__lstm_place(k, inputs, units, true, room, &t->l);
    spr__lstm_load(&t->l, weights);
    room += (spr__lstm_floats(k, inputs, units, true) + 15) / 16 * 16;
    spr__lstm_run_place(&t->l, (int)cases, s->encoder.steps, true, room, &t->run);
    spr__encoder_read(&rows, &t->l, &t->run, out, ld);
}

void spr__train_lstm_back(struct spr__train_lstm *t, const float *slope, float *gradient) {
    memcpy(t->run.dh, slope, sizeof *slope * (size_t)t->run.rows * (size_t)t->l.units);
    spr__lstm_backward(&t->l, &t->run, NULL, gradient);
}
