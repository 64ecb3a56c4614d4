/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Scales: the stationary ("a trous") wavelet transform with the low-pass filters that GSL knows. A smooth copy of the
 * series is made by a filter that looks back only, a smoother one from it with the taps twice as far apart, and so on;
 * detail j is what copy j lost against copy j - 1 (Renaud, Starck & Murtagh 2005). Nothing is decimated, so the parts
 * are series on the grid themselves and sum to the series whatever the filter is; nothing looks ahead, so the newest
 * coefficients are as good as old ones and a new step costs one filter a scale.
 *
 * The filters come from the table of a wavelet type itself: gsl_wavelet_alloc() would take memory behind the back of
 * the context and call the error handler of the process when there is none.
 */
#include <gsl/gsl_wavelet.h>

#include "gsl.h"

static bool taps_of(const gsl_wavelet_type *type, size_t member, bool synthesis, struct gsl_filter *out) {
    const double *h1, *g1, *h2, *g2;
    size_t count, offset;
    double sum = 0;
    if (type->init(&h1, &g1, &h2, &g2, &count, &offset, member) || count > GSL_TAPS)
        return false;
    for (size_t i = 0; i < count; i++)
        sum += (synthesis ? h2 : h1)[i];
    out->count = (int32_t)count;
    for (size_t i = 0; i < count; i++)
        out->tap[i] = (synthesis ? h2 : h1)[i] / sum;
    while (out->count > 1 && out->tap[out->count - 1] == 0)
        out->count--;
    while (out->count > 1 && out->tap[0] == 0) { /* leading zeros would only delay */
        memmove(out->tap, out->tap + 1, (size_t)--out->count * sizeof *out->tap);
    }
    return true;
}

bool gsl__filter(int32_t wavelet, struct gsl_filter *out) {
    memset(out, 0, sizeof *out);
    switch (wavelet) {
    case SPR_GSL_WAVELET_HAAR:
        return taps_of(gsl_wavelet_haar, 2, false, out);
    case SPR_GSL_WAVELET_DAUBECHIES4:
        return taps_of(gsl_wavelet_daubechies, 4, false, out);
    case SPR_GSL_WAVELET_BSPLINE3: /* the smooth half of the biorthogonal pair */
        return taps_of(gsl_wavelet_bspline, 301, true, out);
    default:
        return false;
    }
}

int64_t gsl__support(const struct gsl_filter *f, int32_t scales) {
    return (int64_t)(f->count - 1) * ((INT64_C(1) << scales) - 1);
}

static void smooth(const struct gsl_filter *f, int64_t distance, const double *x, int64_t n, double *out) {
    for (int64_t t = 0; t < n; t++) {
        double sum = 0;
        for (int32_t i = 0; i < f->count; i++) {
            int64_t at = t - i * distance;
            sum += f->tap[i] * x[at < 0 ? 0 : at]; /* before the first step: its value */
        }
        out[t] = sum;
    }
}

void gsl__split(const struct gsl_filter *f, int32_t scales, const double *x, int64_t n, double *parts, int64_t stride) {
    memcpy(parts, x, (size_t)n * sizeof *x);
    for (int32_t j = 0; j < scales; j++) {
        double *fine = parts + j * stride, *coarse = fine + stride;
        smooth(f, INT64_C(1) << j, fine, n, coarse);
        for (int64_t t = 0; t < n; t++)
            fine[t] -= coarse[t];
    }
}
