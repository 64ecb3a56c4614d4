/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "forecast/answer.h"

double spr__mean_change(const double *y, int64_t n, int64_t lag) {
    double sum = 0;
    if (lag < 1 || lag >= n)
        lag = 1;
    for (int64_t t = lag; t < n; t++)
        sum += fabs(y[t] - y[t - lag]);
    return n > lag ? sum / (double)(n - lag) : 0;
}

static double at_level(const struct spr__global *g, const double *q, double p) {
    double out;
    spr__levels_between(g->level, g->levels, q, &p, 1, &out);
    return out;
}

void spr__snap(const struct spr__global *g, double last, double unit, double *q) {
    if (!(last >= at_level(g, q, .2) && last <= at_level(g, q, .8)))
        return;
    double to = fabs(last) < 1e-5 * unit ? 0 : last;
    int32_t m = g->median;
    q[m] = to;
    for (int32_t k = m + 1; k < g->levels && q[k] < to; k++)
        q[k] = to;
    for (int32_t k = m - 1; k >= 0 && q[k] > to; k--)
        q[k] = to;
}

void spr__levels_between(const double *level, int32_t n, const double *q, const double *asked, int32_t count,
                         double *out) {
    for (int32_t i = 0; i < count; i++) {
        int32_t k = 0;
        while (k + 2 < n && level[k + 1] < asked[i])
            k++;
        if (n == 1 || fabs(asked[i] - level[k]) < 1e-7) {
            out[i] = q[k];
            continue;
        }
        double a = spr__normal_quantile(level[k]), b = spr__normal_quantile(level[k + 1]);
        double share = (spr__normal_quantile(asked[i]) - a) / (b - a);
        out[i] = fabs(asked[i] - level[k + 1]) < 1e-7 ? q[k + 1] : q[k] + share * (q[k + 1] - q[k]);
    }
}
