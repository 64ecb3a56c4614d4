/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Radix-2 transform after Cooley & Tukey 1965: decimation in time, in place. */
#include "profile/profile.h"

void spr__fft_roots(double *roots, int64_t n) {
    for (int64_t i = 0; i < n / 2; i++) {
        double a = 2 * M_PI * (double)i / (double)n;
        roots[2 * i] = cos(a);
        roots[2 * i + 1] = -sin(a);
    }
}

static void reverse_bits(double *z, int64_t n) {
    for (int64_t i = 1, j = 0; i < n; i++) {
        int64_t bit = n >> 1;
        for (; j & bit; bit >>= 1)
            j ^= bit;
        j ^= bit;
        if (i < j) {
            double re = z[2 * i], im = z[2 * i + 1];
            z[2 * i] = z[2 * j], z[2 * i + 1] = z[2 * j + 1];
            z[2 * j] = re, z[2 * j + 1] = im;
        }
    }
}

void spr__fft(double *z, int64_t n, const double *roots, bool inverse) {
    double sign = inverse ? -1.0 : 1.0;
    reverse_bits(z, n);
    for (int64_t half = 1; half < n; half *= 2) {
        int64_t stride = n / (2 * half);
        for (int64_t block = 0; block < n; block += 2 * half) {
            double *a = z + 2 * block, *b = a + 2 * half;
            for (int64_t k = 0; k < half; k++) {
                double wr = roots[2 * k * stride], wi = sign * roots[2 * k * stride + 1];
                double re = b[2 * k] * wr - b[2 * k + 1] * wi, im = b[2 * k] * wi + b[2 * k + 1] * wr;
                b[2 * k] = a[2 * k] - re, b[2 * k + 1] = a[2 * k + 1] - im;
                a[2 * k] += re, a[2 * k + 1] += im;
            }
        }
    }
}
