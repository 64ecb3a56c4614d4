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

static uint32_t crc_bits(uint32_t crc) {
    for (int k = 0; k < 8; k++)
        crc = (crc >> 1) ^ (UINT32_C(0x82F63B78) & (0u - (crc & 1)));
    return crc;
}

/* Eight bytes at a time (Kounavis & Berry 2005); the tables cost 2048 steps, so long inputs only. */
static uint32_t crc_long(uint32_t crc, const unsigned char *p, size_t n) {
    uint32_t table[8][256];
    for (uint32_t i = 0; i < 256; i++)
        table[0][i] = crc_bits(i);
    for (int k = 1; k < 8; k++)
        for (int i = 0; i < 256; i++)
            table[k][i] = (table[k - 1][i] >> 8) ^ table[0][table[k - 1][i] & 255];
    for (; n >= 8; p += 8, n -= 8) {
        crc ^= (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        crc = table[7][crc & 255] ^ table[6][crc >> 8 & 255] ^ table[5][crc >> 16 & 255] ^ table[4][crc >> 24] ^
              table[3][p[4]] ^ table[2][p[5]] ^ table[1][p[6]] ^ table[0][p[7]];
    }
    return crc;
}

uint32_t spr__crc32c(uint32_t crc, const void *data, size_t n) {
    const unsigned char *p = data;
    size_t far = n >= 2048 ? n & ~(size_t)7 : 0;
    crc = ~crc;
    if (far)
        crc = crc_long(crc, p, far);
    for (size_t i = far; i < n; i++)
        crc = crc_bits(crc ^ p[i]);
    return ~crc;
}
