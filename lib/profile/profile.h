/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Inside of the profile room: one series at a time, as plain numbers. doc/algorithms/profile.md has the maths. */
#ifndef SPR_LIB_PROFILE_H
#define SPR_LIB_PROFILE_H

#include <shardpredict/profile.h>

#include "base/base.h"

/* One series with its scratch; NaN is missing. */
struct spr__trait {
    const spr_context *ctx;
    const double *x; /* n values */
    int64_t n;
    double step_s;
    int64_t start_s; /* local wall time of x[0] */
    uint64_t seed;   /* of this series' permutations */
    const struct spr_profile_opts *opts;
};

/* Forward transform in place of n complex numbers (re, im interleaved), n a power of two; `roots` has n/2 of them. */
void spr__fft_roots(double *roots, int64_t n);
void spr__fft(double *z, int64_t n, const double *roots, bool inverse);

struct spr__periods {
    int count;
    double steps[SPR_PERIODS_MAX];
    double strength; /* share of variance that a fold at the first one explains */
};
/* Significant periods, strongest first. 0 or SPR_E_NOMEM. */
int spr__periods_find(const struct spr__trait *t, struct spr__periods *out);

/* Share of variance explained by folding y at a period, adjusted for the number of bins; NaN is missing. */
double spr__fold_strength(const double *y, int64_t n, double period, double *scratch, int bins);
/* The test: chance that cycles which begin anywhere line up as well as these do. `room` holds spr__align_room doubles.
 */
int64_t spr__align_room(int64_t n);
struct spr__alignment {
    double share; /* of permutations that line up at least as well */
    double tail;  /* the same chance by a gamma tail: finer than 1 / permutations */
    double alike; /* share of cycles that resemble their neighbours */
};
struct spr__alignment spr__align_test(const double *y, int64_t n, double period, int permutations, uint64_t seed,
                                      double *room);

/* Level, spread, trend, bursts, forecastability, peak windows: fills the row's fields. `sorted`: n doubles of scratch.
 */
void spr__features(const struct spr__trait *t, const struct spr__periods *p, double *sorted,
                   struct spr_profile_row *row);
void spr__peak_windows(const struct spr__trait *t, double threshold, struct spr_profile_row *row);

/* Membership of the four classes, sums to 1. */
void spr__classify(const struct spr__trait *t, const struct spr_profile_row *row, double member[4]);

#endif
