/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Factors around the median, one a level: what makes a model that is too narrow cover. The factor with the least
 * pinball loss is a weighted quantile of how far outcomes lie from the median, in units of how far the quantile does;
 * the one that covers as asked is the same without weights. Their mean is taken (doc/algorithms/calibration.md).
 */
#include "forecast/calibration.h"

#define MISSES_LEAST 10 /* outcomes beyond a level that must be expected before its factor is believed */

static int32_t median_of(const double *levels, int32_t n) {
    int32_t best = 0;
    for (int32_t k = 1; k < n; k++)
        if (fabs(levels[k] - 0.5) < fabs(levels[best] - 0.5))
            best = k;
    return best;
}

struct ratio {
    double r, weight;
};

/* Heap sort by r: no stack, no worst case, the same order everywhere. */
static void sift(struct ratio *a, int64_t at, int64_t n) {
    struct ratio v = a[at];
    for (int64_t child; (child = 2 * at + 1) < n; at = child) {
        child += child + 1 < n && a[child + 1].r > a[child].r;
        if (!(a[child].r > v.r))
            break;
        a[at] = a[child];
    }
    a[at] = v;
}
static void sort_ratios(struct ratio *a, int64_t n) {
    for (int64_t i = n / 2 - 1; i >= 0; i--)
        sift(a, i, n);
    for (int64_t i = n - 1; i > 0; i--) {
        struct ratio v = a[0];
        a[0] = a[i], a[i] = v;
        sift(a, 0, i);
    }
}

/* Smallest r with at least share p of the weight at or below it; power 0 = every ratio counts alike. */
static double quantile_of(const struct ratio *a, int64_t n, double p, bool alike) {
    double all = 0, sum = 0;
    for (int64_t i = 0; i < n; i++)
        all += alike ? 1 : a[i].weight;
    for (int64_t i = 0; i < n; i++)
        if ((sum += alike ? 1 : a[i].weight) >= p * all)
            return a[i].r;
    return n ? a[n - 1].r : 1;
}

int spr__calibration_factors(const spr_context *ctx, int64_t count, const double *levels, int32_t level_count,
                             const double *y, const double *q, const double *weight, double *factor) {
    int32_t middle = median_of(levels, level_count);
    struct ratio *a = spr__alloc(ctx, (size_t)SPR_MAX(count, 1), sizeof *a);
    if (!a)
        return spr__nomem(ctx);
    for (int32_t k = 0; k < level_count; k++) {
        bool upper = k > middle;
        double p = upper ? levels[k] : 1 - levels[k];
        int64_t n = 0;
        factor[k] = 1;
        for (int64_t i = 0; i < count && k != middle; i++) {
            const double *row = q + i * level_count;
            double far = upper ? row[k] - row[middle] : row[middle] - row[k];
            if (isnan(y[i]) || !(far > 0)) /* no factor widens what has no width */
                continue;
            a[n].r = (upper ? y[i] - row[middle] : row[middle] - y[i]) / far;
            a[n++].weight = far * (weight ? weight[i] : 1);
        }
        if ((1 - p) * (double)n < MISSES_LEAST)
            continue;
        sort_ratios(a, n);
        factor[k] = fmax(1, 0.5 * (quantile_of(a, n, p, false) + quantile_of(a, n, p, true)));
    }
    spr__free(ctx, a, (size_t)SPR_MAX(count, 1), sizeof *a);
    return SPR_OK;
}

void spr__calibration_widen(const double *levels, int32_t level_count, const double *factor, double *q) {
    int32_t middle = median_of(levels, level_count);
    double m = q[middle];
    for (int32_t k = 0; k < level_count; k++)
        q[k] = m + (q[k] - m) * factor[k];
    for (int32_t k = middle + 1; k < level_count; k++)
        q[k] = fmax(q[k], q[k - 1]);
    for (int32_t k = middle - 1; k >= 0; k--)
        q[k] = fmin(q[k], q[k + 1]);
}
