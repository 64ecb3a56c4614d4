/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Small helpers about spread: at which horizons it is measured, and the normal distribution for where data is too thin.
 */
#include "forecast/forecast.h"

int32_t spr__rungs(int32_t last, int32_t *rungs) {
    int32_t n = 0;
    for (int32_t r = 1; r < last && n < SPR__RUNGS_MAX - 1;) {
        rungs[n++] = r;
        /* 1 2 3 4 6 8 12 16 24 ...: doubling with one stop between. */
        if (r < 4)
            r++;
        else
            r = (r & (r - 1)) ? r / 3 * 4 : r / 2 * 3;
    }
    rungs[n++] = last;
    return n;
}

/* ---- quantiles without a whole sort ---- */

/* Rank of the order statistic below a level; the one above it is the next. */
static int64_t rank_of(double level, int64_t n) {
    int64_t i = (int64_t)(level * (double)(n - 1));
    return SPR_MIN(i, n - 1);
}

static bool wanted(const double *levels, int32_t count, int64_t n, int64_t from, int64_t to) {
    for (int32_t k = 0; k < count; k++) {
        int64_t r = rank_of(levels[k], n);
        if (r + 1 >= from && r < to)
            return true;
    }
    return false;
}

static double middle(double a, double b, double c) {
    return a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
}

/* Every step moves both ends whatever it finds: errors are random, and a branch on them would be mispredicted every
 * other time. */
int64_t spr__split_plain(double *v, int64_t n, double pivot, bool equal, double *spare) {
    int64_t low = 0;
    (void)spare;
    for (int64_t i = 0; i < n; i++) {
        double x = v[i];
        v[i] = v[low], v[low] = x;
        low += equal ? x <= pivot : x < pivot;
    }
    return low;
}

static void sort_few(double *v, int64_t n) {
    for (int64_t i = 1; i < n; i++) {
        double x = v[i];
        int64_t k = i;
        for (; k > 0 && v[k - 1] > x; k--)
            v[k] = v[k - 1];
        v[k] = x;
    }
}

/* Quicksort that leaves alone what holds no wanted rank; ties (a VM that idles at zero) are taken out together. */
static void sort_around(double *v, int64_t from, int64_t to, const double *levels, int32_t count, int64_t n, int depth,
                        spr__splitter *split, double *spare) {
    while (to - from > 24 && wanted(levels, count, n, from, to)) {
        if (depth-- == 0) {
            spr__sort(v + from, to - from);
            return;
        }
        double pivot = middle(v[from], v[from + (to - from) / 2], v[to - 1]);
        int64_t low = from + split(v + from, to - from, pivot, false, spare), high = low;
        if (low - from < (to - from) / 8)
            high = low + split(v + low, to - low, pivot, true, spare);
        sort_around(v, from, low, levels, count, n, depth, split, spare);
        from = high;
    }
    if (to - from <= 24 && wanted(levels, count, n, from, to))
        sort_few(v + from, to - from);
}

void spr__quantiles_by(spr__splitter *split, double *spare, double *values, int64_t n, const double *levels,
                       int32_t count, double *out) {
    int depth = 8;
    for (int64_t m = n; m > 1; m /= 2)
        depth += 2;
    sort_around(values, 0, n, levels, count, n, depth, split, spare);
    for (int32_t k = 0; k < count; k++) {
        int64_t r = rank_of(levels[k], n);
        double share = levels[k] * (double)(n - 1) - (double)r;
        out[k] = r + 1 < n ? values[r] + share * (values[r + 1] - values[r]) : values[n - 1];
    }
}

void spr__quantiles(double *values, int64_t n, const double *levels, int32_t count, double *out) {
    spr__quantiles_by(spr__split_plain, NULL, values, n, levels, count, out);
}

/* P. J. Acklam, "An algorithm for computing the inverse normal cumulative distribution function", 2003. */
double spr__normal_quantile(double p) {
    static const double a[] = {-3.969683028665376e+01, 2.209460984245205e+02,  -2.759285104469687e+02,
                               1.383577518672690e+02,  -3.066479806614716e+01, 2.506628277459239e+00};
    static const double b[] = {-5.447609879822406e+01, 1.615858368580409e+02, -1.556989798598866e+02,
                               6.680131188771972e+01, -1.328068155288572e+01};
    static const double c[] = {-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e+00,
                               -2.549732539343734e+00, 4.374664141464968e+00,  2.938163982698783e+00};
    static const double d[] = {7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00,
                               3.754408661907416e+00};
    if (p > 0.97575)
        return -spr__normal_quantile(1.0 - p);
    if (p < 0.02425) {
        double q = sqrt(-2.0 * log(p));
        return (((((c[0] * q + c[1]) * q + c[2]) * q + c[3]) * q + c[4]) * q + c[5]) /
               ((((d[0] * q + d[1]) * q + d[2]) * q + d[3]) * q + 1.0);
    }
    double q = p - 0.5, r = q * q;
    return (((((a[0] * r + a[1]) * r + a[2]) * r + a[3]) * r + a[4]) * r + a[5]) * q /
           (((((b[0] * r + b[1]) * r + b[2]) * r + b[3]) * r + b[4]) * r + 1.0);
}
