/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Order statistics and checksums. */
#include <stdlib.h>

#include "base/base.h"

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void spr__sort(double *values, int64_t n) {
    if (n > 1)
        qsort(values, (size_t)n, sizeof *values, by_value);
}

double spr__quantile_sorted(const double *sorted, int64_t n, double p) {
    if (n <= 0)
        return NAN;
    double at = p * (double)(n - 1);
    int64_t i = (int64_t)at;
    if (i >= n - 1)
        return sorted[n - 1];
    return sorted[i] + (at - (double)i) * (sorted[i + 1] - sorted[i]);
}

double spr__median(double *scratch, int64_t n) {
    spr__sort(scratch, n);
    return spr__quantile_sorted(scratch, n, 0.5);
}

uint32_t spr__crc32c(uint32_t crc, const void *data, size_t n) {
    const unsigned char *p = data;
    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int k = 0; k < 8; k++)
            crc = (crc >> 1) ^ (UINT32_C(0x82F63B78) & (0u - (crc & 1)));
    }
    return ~crc;
}
