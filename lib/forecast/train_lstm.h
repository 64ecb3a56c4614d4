/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Training of a net with a recurrent encoder: what comes before and after the net's own part of a minibatch. */
#ifndef SPR_LIB_FORECAST_TRAIN_LSTM_H
#define SPR_LIB_FORECAST_TRAIN_LSTM_H

#include "forecast/train.h"

/* Room for one chunk of `cases`. */
size_t spr__train_lstm_room(const struct spr__net_kernels *k, const struct spr__train_setting *s, int64_t cases);
struct spr__train_lstm {
    struct spr__lstm l;
    struct spr__lstm_run run;
};
/* Read the sequences of windows index[0..cases-1]; their last states go to out[case * ld]. */
void spr__train_lstm_read(const struct spr__net_kernels *k, const struct spr__train_pool *pool, const float *weights,
                          const float *calendar, const size_t *index, int64_t cases, float *room, float *out, size_t ld,
                          struct spr__train_lstm *t);
/* The way back from the loss by the states, [cases][units]; adds to the gradient of the encoder's weights. */
void spr__train_lstm_back(struct spr__train_lstm *t, const float *slope, float *gradient);

#endif
