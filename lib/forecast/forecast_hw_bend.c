/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Box and Cox 1964: (y^lambda - 1) / lambda, the logarithm at zero. Where nobody gives lambda it is the one of a few
 * that makes the spread within a season least dependent on its level (V. M. Guerrero 1993).
 */
#include "forecast/hw.h"

#include <float.h>

double spr__hw_bend(double y, double lambda) {
    if (lambda == HW_PLAIN)
        return y;
    if (lambda == 0)
        return y > 0 ? log(y) : log(DBL_MIN);
    return (pow(SPR_MAX(y, 0), lambda) - 1) / lambda;
}

double spr__hw_unbend(double z, double lambda) {
    if (lambda == HW_PLAIN)
        return z;
    double y = lambda == 0 ? exp(z) : pow(SPR_MAX(lambda * z + 1, 0), 1 / lambda);
    return SPR_MIN(y, SPR__VALUE_MAX);
}

/* Coefficient of variation of spread / level^(1 - lambda) over chunks; means and spreads are [chunks]. */
static double unevenness(const double *means, const double *spreads, int64_t chunks, double lambda) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < chunks; i++) {
        double ratio = spreads[i] / pow(means[i], 1 - lambda);
        sum += ratio, squares += ratio * ratio;
    }
    double mean = sum / (double)chunks;
    return mean > 0 ? sqrt(SPR_MAX(squares / (double)chunks - mean * mean, 0)) / mean : INFINITY;
}

static double guerrero(const struct spr_panel *p, int64_t row, int64_t length, double *work) {
    double *means = work, *spreads = work + p->steps, best = INFINITY, lambda = HW_PLAIN;
    int64_t chunks = 0;
    for (int64_t from = p->steps % length; from + length <= p->steps; from += length) {
        double sum = 0, squares = 0;
        int64_t n = 0;
        for (int64_t t = from; t < from + length; t++) {
            double y = spr__panel_value(p, row, t);
            if (!isnan(y))
                sum += y, n++;
        }
        for (int64_t t = from; t < from + length && n; t++) {
            double d = spr__panel_value(p, row, t) - sum / (double)n;
            squares += isnan(d) ? 0 : d * d;
        }
        if (n > 1 && sum > 0)
            means[chunks] = sum / (double)n, spreads[chunks++] = sqrt(squares / (double)(n - 1));
    }
    for (int i = 4; i >= 0 && chunks > 1; i--) { /* ties stay with the plain series */
        double cv = unevenness(means, spreads, chunks, i / 4.0);
        if (cv < best * (1 - 1e-9))
            best = cv, lambda = i / 4.0;
    }
    return lambda;
}

double spr__hw_lambda(const struct spr_panel *p, int64_t row, double asked, double period, double *work) {
    double least = INFINITY;
    for (int64_t t = 0; t < p->steps; t++) {
        double y = spr__panel_value(p, row, t);
        least = y < least ? y : least;
    }
    if (least < 0 || isinf(least))
        return HW_PLAIN;
    double lambda = isnan(asked) ? guerrero(p, row, (int64_t)SPR_MAX(2, rint(period)), work) : asked;
    if (lambda == 0 && least <= 0) /* no logarithm: the weakest power of the choice, or none */
        return isnan(asked) ? 0.25 : HW_PLAIN;
    return lambda;
}
