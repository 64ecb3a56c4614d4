/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The period search: how often it cries wolf on series that have no period, how much of a wave it needs, and its
 * time per series. The tables of doc/algorithms/profile.md come from here.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "profile/profile.h"

enum { LONGEST = 8064, ROUNDS = 200 };
static const int64_t lengths[] = {100, 288, 1000, 2016, 4032, 8064};
static double x[LONGEST];

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double bell(uint64_t stream, int64_t i) {
    double s = 0;
    for (uint64_t k = 0; k < 6; k++)
        s += spr__rand(stream, k, (uint64_t)i) - 0.5;
    return s * M_SQRT2;
}

static struct spr__periods search(const spr_context *ctx, int64_t n, uint64_t seed) {
    struct spr_profile_opts o = {.size = sizeof o, .significance = 0.01, .permutations = 199, .max_periods = 3};
    struct spr__trait t = {ctx, x, n, 300, 0, seed, &o};
    struct spr__periods p;
    if (spr__periods_find(&t, &p) < 0)
        exit(1);
    return p;
}

/* AR(1) from white noise to a random walk. */
static void make_walk(int64_t n, double memory, uint64_t run) {
    double v = 0;
    for (int64_t i = 0; i < n; i++)
        x[i] = v = memory * v + bell(run, i);
}

static void make_bursts(int64_t n, uint64_t run) {
    int left = 0;
    double height = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!left && spr__rand(run, 99, (uint64_t)i) < 1.0 / 150) {
            left = 3 + (int)(20 * spr__rand(run, 98, (uint64_t)i));
            height = 5 + 5 * spr__rand(run, 97, (uint64_t)i);
        }
        x[i] = 1 + 0.1 * bell(run, i) + (left ? height : 0);
        left -= left > 0;
    }
}

static void false_alarms(const spr_context *ctx) {
    static const double memories[] = {0, 0.5, 0.9, 0.99, 1, -1}; /* the last: bursts */
    printf("series without a period that get one, %% (nominal 1), and ms per search\n%-10s", "steps");
    for (size_t j = 0; j < SPR_ARRAY_LEN(lengths); j++)
        printf(" %12lld", (long long)lengths[j]);
    for (size_t a = 0; a < SPR_ARRAY_LEN(memories); a++) {
        printf(memories[a] < 0 ? "\nbursts    " : "\nAR(1) %4g", memories[a]);
        for (size_t j = 0; j < SPR_ARRAY_LEN(lengths); j++) {
            int found = 0;
            double spent = 0;
            for (uint64_t r = 0; r < ROUNDS; r++) {
                uint64_t run = r * 77 + a * 13 + j;
                if (memories[a] < 0)
                    make_bursts(lengths[j], run);
                else
                    make_walk(lengths[j], memories[a], run);
                double begun = seconds();
                found += search(ctx, lengths[j], r).count > 0;
                spent += seconds() - begun;
            }
            printf("  %4.1f (%4.2f)", 100.0 * found / ROUNDS, 1e3 * spent / ROUNDS);
        }
    }
}

static void power(const spr_context *ctx) {
    static const double cycles[] = {5.5, 7, 10, 20, 100}, shares[] = {0.5, 0.2, 0.1, 0.05};
    printf("\n\nwaves found within 2 %%, by share of the variance and cycles in 4032 steps, %%\n%-10s", "cycles");
    for (size_t c = 0; c < SPR_ARRAY_LEN(cycles); c++)
        printf(" %6g", cycles[c]);
    for (size_t s = 0; s < SPR_ARRAY_LEN(shares); s++) {
        printf("\n%8g %%", 100 * shares[s]);
        for (size_t c = 0; c < SPR_ARRAY_LEN(cycles); c++) {
            double period = 4032 / cycles[c], swing = sqrt(2 * shares[s]), rest = sqrt(1 - shares[s]);
            int found = 0;
            for (uint64_t r = 0; r < 50; r++) {
                for (int64_t i = 0; i < 4032; i++)
                    x[i] = swing * cos(2 * M_PI * (double)i / period + (double)r) + rest * bell(r + 1000 * c, i);
                struct spr__periods p = search(ctx, 4032, r);
                found += p.count && fabs(p.steps[0] / period - 1) < 0.02;
            }
            printf(" %6d", found * 2);
        }
    }
    printf("\n");
}

int main(void) {
    spr_context *ctx = NULL;
    if (spr_context_create(NULL, &ctx) < 0)
        return 1;
    false_alarms(ctx);
    power(ctx);
    spr_context_unref(ctx);
    return 0;
}
