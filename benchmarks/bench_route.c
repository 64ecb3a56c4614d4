/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How long a pick table takes to make: weights drawn from a seed, spill 0.25, 0.5, 0.8 and 1. Then what a look for
 * spikes costs a service.
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

static void spikes(void) {
    enum { SERVICES = 1000, TICKS = 400 };
    static struct spr_route_counters c[SERVICES];
    struct spr_spike_opts o = {.size = sizeof o, .services = SERVICES};
    spr_context *ctx = NULL;
    spr_spike *s = NULL;
    double us[TICKS];
    if (spr_context_create(NULL, &ctx) < 0 || spr_spike_create(ctx, &o, &s) < 0)
        abort();
    for (int n = 0; n < TICKS; n++) {
        for (int i = 0; i < SERVICES; i++) {
            uint64_t more = 10 + spr__rand64(1, (uint64_t)i, (uint64_t)n) % 8;
            c[i] = (struct spr_route_counters){
                sizeof c[i], i,    0,   c[i].packets + 9 * more, c[i].bytes + 6000 * more, c[i].flows + more, 0, 0,
                0,           more, 0.01};
        }
        double t = now_us();
        if (spr_spike_tick(s, (struct spr_time){0, (n + 1) * INT64_C(50000000)}, c, SERVICES) < 0)
            abort();
        us[n] = now_us() - t;
    }
    qsort(us, TICKS, sizeof us[0], by_value);
    printf("spike: %.0f ns a service and tick (p25 %.0f)\n", us[0] * 1e3 / SERVICES, us[TICKS / 4] * 1e3 / SERVICES);
    spr_spike_destroy(s);
    spr_context_unref(ctx);
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
    spikes();
    return 0;
}
