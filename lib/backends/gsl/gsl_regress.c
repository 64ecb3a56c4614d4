/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One autoregressive model a scale: few lags, as far apart as the scale is wide (the multiscale autoregression of
 * Renaud, Starck & Murtagh 2005), and those of the season. Fitted by least squares with a little ridge, solved by GSL's
 * modified Cholesky decomposition, which takes any symmetric matrix: it neither fails nor allocates.
 */
#include <gsl/gsl_linalg.h>

#include "gsl.h"

#define RIDGE 1e-3 /* of the mean diagonal */
#define SLACK 0.5  /* forecasts may leave the range of the history by this share of it */

static void add_lag(struct gsl_part *p, int64_t lag, int64_t n) {
    if (lag < 1 || lag * 20 > n * 9) /* most targets must have it behind them */
        return;
    for (int32_t i = 0; i < p->lag_count; i++)
        if (p->lag[i] == lag)
            return;
    p->lag[p->lag_count++] = (int32_t)lag;
}

void gsl__lags(const struct gsl_shape *shape, int32_t scales, int64_t n, struct gsl_model *m) {
    const int64_t period = shape->period;
    for (int32_t j = 0; j <= scales; j++) {
        struct gsl_part *p = &m->part[j];
        p->lag_count = 0;
        for (int32_t k = 0; k < shape->order; k++)
            add_lag(p, 1 + k * (INT64_C(1) << j), n);
        if (period) {
            add_lag(p, period, n);
            add_lag(p, period + 1, n);
            add_lag(p, 2 * period, n);
            add_lag(p, 7 * period, n);
        }
    }
}

int64_t gsl__longest_lag(const struct gsl_shape *shape, int32_t scales, int64_t n) {
    struct gsl_model m;
    int64_t longest = 1;
    gsl__lags(shape, scales, n, &m);
    for (int32_t j = 0; j <= scales; j++)
        for (int32_t i = 0; i < m.part[j].lag_count; i++)
            longest = m.part[j].lag[i] > longest ? m.part[j].lag[i] : longest;
    return longest;
}

/* Sums over the targets: products of lags with each other and with the target. */
static int64_t gather(const struct gsl_part *p, const double *x, const uint8_t *mask, int64_t begin, int64_t end,
                      double *a, double *b) {
    int64_t used = 0;
    int32_t n = p->lag_count;
    double row[GSL_LAGS];
    memset(a, 0, (size_t)(n * n) * sizeof *a);
    memset(b, 0, (size_t)n * sizeof *b);
    for (int64_t t = begin; t < end; t++) {
        if (mask[t] == GSL_GAP)
            continue;
        double y = p->steps ? x[t] - x[t - 1] : x[t] - p->mean;
        for (int32_t i = 0; i < n; i++) {
            const double *at = x + t - p->lag[i];
            row[i] = p->steps ? at[0] - at[-1] : at[0] - p->mean;
        }
        for (int32_t i = 0; i < n; i++) {
            b[i] += row[i] * y;
            for (int32_t k = 0; k <= i; k++)
                a[i * n + k] += row[i] * row[k];
        }
        used++;
    }
    return used;
}

/* Returns false where the matrix says nothing (a part that never moves). */
static bool solve(double *a, double *b, int32_t n) {
    size_t order[GSL_LAGS];
    double solution[GSL_LAGS], trace = 0;
    gsl_permutation perm = {(size_t)n, order};
    for (int32_t i = 0; i < n; i++)
        trace += a[i * n + i];
    if (!(trace > 0))
        return false;
    for (int32_t i = 0; i < n; i++) {
        a[i * n + i] += RIDGE * trace / n;
        for (int32_t k = 0; k < i; k++)
            a[k * n + i] = a[i * n + k];
    }
    gsl_matrix_view matrix = gsl_matrix_view_array(a, (size_t)n, (size_t)n);
    gsl_vector_view right = gsl_vector_view_array(b, (size_t)n), out = gsl_vector_view_array(solution, (size_t)n);
    if (gsl_linalg_mcholesky_decomp(&matrix.matrix, &perm, NULL) ||
        gsl_linalg_mcholesky_solve(&matrix.matrix, &perm, &right.vector, &out.vector))
        return false;
    for (int32_t i = 0; i < n; i++) {
        if (!isfinite(solution[i]))
            return false;
        b[i] = solution[i];
    }
    return true;
}

void gsl__fit_part(const double *x, const uint8_t *mask, int64_t begin, int64_t end, struct gsl_part *p) {
    double a[GSL_LAGS * GSL_LAGS], b[GSL_LAGS];
    int64_t count = 0;
    p->mean = 0, p->low = p->high = x[begin];
    for (int64_t t = begin; t < end; t++) {
        p->low = fmin(p->low, x[t]), p->high = fmax(p->high, x[t]);
        if (mask[t] != GSL_GAP)
            p->mean += x[t], count++;
    }
    p->mean = count ? p->mean / (double)count : x[begin];
    double slack = SLACK * (p->high - p->low);
    p->low -= slack, p->high += slack;
    memset(p->coef, 0, sizeof p->coef);
    if (p->lag_count && gather(p, x, mask, begin, end, a, b) > p->lag_count && solve(a, b, p->lag_count))
        memcpy(p->coef, b, (size_t)p->lag_count * sizeof *b);
}

void gsl__run_part(const struct gsl_part *p, const double *x, int64_t origin, int32_t count, double *ahead,
                   double *sum) {
    const double *now = x + origin; /* now[-1] is the newest step */
    for (int32_t h = 0; h < count; h++) {
        double v = !p->steps ? p->mean : h ? ahead[h - 1] : now[-1];
        for (int32_t i = 0; i < p->lag_count; i++) {
            int32_t at = h - p->lag[i];
            double from = p->steps ? at > 0 ? ahead[at - 1] : now[at - 1] : p->mean;
            v += p->coef[i] * ((at < 0 ? now[at] : ahead[at]) - from);
        }
        ahead[h] = fmin(fmax(v, p->low), p->high);
        sum[h] += ahead[h];
    }
}
