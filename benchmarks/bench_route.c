/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How long a pick table takes to make: weights drawn from a seed, spill 0.25, 0.5, 0.8 and 1.
 *
 *     bench_route
 *
 * Microseconds of CPU time: least and lower quartile of many short windows, and as multiples of setting every row once
 * in the order of one permutation, the least that any such table costs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "route/route.h"

enum { WINDOWS = 200, EACH = 10 };
static uint16_t rows[SPR_ROUTE_SLOTS];

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static int by_value(const void *a, const void *b) {
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

static void floor_of_all(const struct spr_route_shares *s) {
    uint32_t row = (uint32_t)s->count, stride = 1237;
    for (uint16_t k = 0; k < SPR_ROUTE_SLOTS; k++) {
        rows[row] = k;
        row = row + stride < SPR_ROUTE_SLOTS ? row + stride : row + stride - SPR_ROUTE_SLOTS;
    }
}

static void table(const struct spr_route_shares *s) {
    if (spr_route_table(s, rows) < 0)
        abort();
}

static double measure(void (*job)(const struct spr_route_shares *), const struct spr_route_shares *s,
                      double *quartile) {
    double us[WINDOWS];
    for (int w = 0; w < WINDOWS; w++) {
        double t = now_us();
        for (int k = 0; k < EACH; k++)
            job(s);
        us[w] = (now_us() - t) / EACH;
    }
    qsort(us, WINDOWS, sizeof us[0], by_value);
    *quartile = us[WINDOWS / 4];
    return us[0];
}

int main(void) {
    static const int sizes[] = {1, 4, 16, 64, 256};
    static const double spills[] = {0.25, 0.5, 0.8, 1};
    uint64_t shards[SPR_ROUTE_TARGETS_MOST];
    double weights[SPR_ROUTE_TARGETS_MOST], quartile;
    struct spr_route_shares s = {.size = sizeof s, .service = "bench", .shards = shards, .weights = weights};
    double least = measure(floor_of_all, &s, &quartile);
    printf("%8s %6s %10s %10s %10s\n", "shards", "spill", "least us", "p25 us", "x floor");
    for (size_t n = 0; n < SPR_ARRAY_LEN(sizes); n++)
        for (size_t k = 0; k < SPR_ARRAY_LEN(spills); k++) {
            s.count = (size_t)sizes[n];
            s.spill = spills[k];
            for (size_t i = 0; i < s.count; i++) {
                shards[i] = i + 1;
                weights[i] = 0.1 + spr__rand(3, n, i);
            }
            double us = measure(table, &s, &quartile);
            printf("%8d %6.2f %10.1f %10.1f %10.1f\n", sizes[n], spills[k], us, quartile, us / least);
        }
    return 0;
}
