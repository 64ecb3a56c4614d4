/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Does a series repeat itself? Fold strength, and the permutation test: every cycle is turned by a random
 * offset, which keeps its shape, its memory and its bursts, and breaks only what a period would be: that the
 * cycles line up. Shuffling single points instead would call every series with a memory periodic.
 */
#include "profile/profile.h"

enum { BINS_MAX = 64, SEGMENT = 8 };

double spr__fold_strength(const double *y, int64_t n, double period, double *scratch, int bins) {
    double *sum = scratch, *count = scratch + bins, total = 0, total2 = 0, among = 0, per_step = bins / period, at = 0;
    int64_t valid = 0;
    int used = 0;
    memset(scratch, 0, 2 * (size_t)bins * sizeof *scratch);
    for (int64_t i = 0; i < n; i++) {
        if (isfinite(y[i])) {
            int b = SPR_MIN((int)at, bins - 1);
            sum[b] += y[i], count[b] += 1;
            total += y[i], total2 += y[i] * y[i];
            valid++;
        }
        at += per_step;
        at -= at >= bins ? bins : 0;
    }
    for (int b = 0; b < bins; b++)
        if (count[b] > 0) {
            among += sum[b] * sum[b] / count[b];
            used++;
        }
    if (valid <= used + 1)
        return 0;
    double mean2 = total * total / (double)valid, all = total2 - mean2, rest = total2 - among;
    if (!(all > 0))
        return 0;
    double r2 = 1 - rest / (double)(valid - used) / (all / (double)(valid - 1));
    return r2 > 0 ? r2 : 0;
}

/* Cycles as rows of `bins` means each, every row around zero: what is slower than a period does not count. */
static void cycles_of(const double *y, int64_t n, double period, int bins, int64_t cycles, double *rows) {
    double per_step = bins / period;
    int64_t steps = SPR_MIN(n, (int64_t)ceil((double)cycles * period));
    double count[BINS_MAX] = {0};
    int64_t row = 0, i = 0;
    memset(rows, 0, (size_t)(cycles * bins) * sizeof *rows);
    for (; row < cycles; row++) {
        double *r = rows + row * bins, mean = 0, held = 0;
        memset(count, 0, sizeof count);
        for (; i < steps; i++) {
            double at = (double)i * per_step - (double)(row * bins);
            if (at >= bins)
                break;
            int b = SPR_MAX((int)at, 0);
            if (isfinite(y[i]))
                r[b] += y[i], count[b] += 1;
        }
        for (int b = 0; b < bins; b++)
            if (count[b] > 0)
                r[b] /= count[b], mean += r[b], held += 1;
        mean = held > 0 ? mean / held : 0;
        for (int b = 0; b < bins; b++)
            r[b] = count[b] > 0 ? r[b] - mean : 0;
    }
}

/* Cycles are compared with their neighbours, eight at a time; a short rest joins the segment before it. */
static int64_t segment_end(int64_t first, int64_t cycles) {
    return cycles - first < SEGMENT + 3 ? cycles : first + SEGMENT;
}

/* Sum over the segments of the squared column sums: large when neighbours line up, drifting or not. */
static double lined_up(const double *rows, int64_t cycles, int bins, const int *turn) {
    double total = 0, sum[2 * BINS_MAX];
    for (int64_t first = 0, last; first < cycles; first = last) {
        last = segment_end(first, cycles);
        memset(sum, 0, 2 * (size_t)bins * sizeof *sum);
        for (int64_t c = first; c < last; c++) {
            double *to = sum + (turn ? turn[c] : 0); /* a turned row runs over the end; folded back below */
            const double *r = rows + c * bins;
            for (int b = 0; b < bins; b++)
                to[b] += r[b];
        }
        for (int b = 0; b < bins; b++) {
            double s = sum[b] + sum[b + bins];
            total += s * s;
        }
    }
    return total;
}

/*
 * Share of cycles that agree with the sum of the other cycles of their segment. Among few cycles each must
 * resemble the others, or two bursts that happen to fall on the same phase would make a period.
 */
static double alike(const double *rows, int64_t cycles, int bins) {
    double enough = cycles <= SEGMENT ? 0.3 : 0;
    int64_t agree = 0;
    for (int64_t first = 0, last; first < cycles; first = last) {
        double sum[BINS_MAX] = {0};
        last = segment_end(first, cycles);
        for (int64_t c = first; c < last; c++)
            for (int b = 0; b < bins; b++)
                sum[b] += rows[c * bins + b];
        for (int64_t c = first; c < last; c++) {
            const double *r = rows + c * bins;
            double cross = 0, own = 0, others = 0;
            for (int b = 0; b < bins; b++) {
                double o = sum[b] - r[b];
                cross += r[b] * o, own += r[b] * r[b], others += o * o;
            }
            agree += cross > enough * sqrt(own * others);
        }
    }
    return (double)agree / (double)cycles;
}

int64_t spr__align_room(int64_t n) { return 2 * n + 8 * BINS_MAX; }

/* Upper tail of a gamma variable of that mean and sd: cube root is nearly normal (Wilson & Hilferty 1931). */
static double gamma_tail(double x, double mean, double sd) {
    if (!(sd > 0) || !(mean > 0))
        return x > mean ? 0 : 1;
    double k = mean * mean / (sd * sd), z = (cbrt(x / mean) - (1 - 1 / (9 * k))) * 3 * sqrt(k);
    return 0.5 * erfc(z / M_SQRT2);
}

struct spr__alignment spr__align_test(const double *y, int64_t n, double period, int permutations, uint64_t seed,
                                      double *room) {
    int bins = (int)SPR_MIN((double)BINS_MAX, SPR_MAX(3.0, floor(period)));
    int64_t cycles = (int64_t)((double)n / period + 1e-9);
    struct spr__alignment a = {1, 1, 0};
    if (cycles < 3)
        return a;
    double *rows = room;
    int *turn = (int *)(void *)(room + cycles * bins);
    cycles_of(y, n, period, bins, cycles, rows);
    double seen = lined_up(rows, cycles, bins, NULL), mean = 0, square = 0;
    int reached = 0;
    for (int p = 0; p < permutations; p++) {
        for (int64_t c = 0; c < cycles; c++)
            turn[c] = (int)(spr__rand64(seed, (uint64_t)p, (uint64_t)c) % (uint64_t)bins);
        double t = lined_up(rows, cycles, bins, turn), d = t - mean;
        reached += t >= seen;
        mean += d / (p + 1);
        square += d * (t - mean);
    }
    a.share = (double)(reached + 1) / (permutations + 1);
    a.tail = gamma_tail(seen, mean, sqrt(square / SPR_MAX(permutations - 1, 1)));
    a.alike = alike(rows, cycles, bins);
    return a;
}
