/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The parts of a Holt-Winters fit that make it fast: slopes, the descent along them, quantiles by vector. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "forecast/hw.h"

enum { N = 240, SLOTS = 12, LONG_SLOTS = 30, CELLS = N * HW_LANES };
#define TURN 6.283185307179586

/* Sixteen series with a day and a week in them, gaps in every other one, and what a pass over them needs. */
struct course {
    double x[CELLS], level[HW_LANES], trend[HW_LANES], sse[HW_LANES], run[HW_LANES];
    double one[SLOTS * HW_LANES], two[LONG_SLOTS * HW_LANES];
    double slope_one[SLOTS * HW_DIMS * HW_LANES], slope_two[LONG_SLOTS * HW_DIMS * HW_LANES];
    struct hw_tick first[N], second[N];
    struct hw_params params;
    struct hw_pass pass;
    struct hw_slopes slopes;
};

static struct course *course(double period, int cycles, double phi) {
    struct hw_cycle day = {period, SLOTS}, week = {LONG_SLOTS, LONG_SLOTS};
    struct course *c = calloc(1, sizeof *c);
    assert_non_null(c);
    for (int t = 0; t < N; t++) {
        c->first[t] = spr__hw_tick(&day, t), c->second[t] = spr__hw_tick(&week, t);
        for (int i = 0; i < HW_LANES; i++) {
            double noise = spr__normal_quantile(spr__rand(9, (uint64_t)i, (uint64_t)t) * 0.999 + 5e-4);
            c->x[t * HW_LANES + i] = i % 2 && t % 11 == i % 11 ? NAN : 50 + i + 9 * sin(TURN * t / period) + 2 * noise;
        }
    }
    for (int i = 0; i < HW_LANES; i++) {
        const double at[HW_DIMS] = {0.05 + 0.05 * i, 0.4 - 0.02 * i, 0.1 + 0.03 * i, 0.05 + 0.02 * i, phi};
        for (int d = 0; d < HW_DIMS; d++)
            c->params.of[d][i] = at[d];
        if (cycles < 2)
            c->params.of[HW_GAMMA2][i] = 0;
        c->params.bound[i] = INFINITY;
    }
    c->pass = (struct hw_pass){.x = c->x,
                               .steps = N,
                               .ticks = {c->first, cycles > 1 ? c->second : NULL},
                               .params = &c->params,
                               .level = c->level,
                               .trend = c->trend,
                               .run = c->run,
                               .season = {c->one, c->two},
                               .season_stride = HW_LANES,
                               .sse = c->sse};
    c->slopes.trended = true, c->slopes.damped = phi < 1;
    c->slopes.season[0] = c->slope_one, c->slopes.season[1] = c->slope_two;
    return c;
}

static void restart(struct course *c) {
    for (int i = 0; i < HW_LANES; i++)
        c->level[i] = 50, c->trend[i] = 0.1;
    memset(c->one, 0, sizeof c->one), memset(c->two, 0, sizeof c->two);
    memset(c->slope_one, 0, sizeof c->slope_one), memset(c->slope_two, 0, sizeof c->slope_two);
}

static void slopes_are_those_of_small_differences(void **state) {
    (void)state;
    for (int shape = 0; shape < 3; shape++) { /* one whole season; a fractional one; two, damped */
        int cycles = shape == 2 ? 2 : 1;
        struct course *c = course(shape == 1 ? 12.5 : 12, cycles, shape == 2 ? 0.95 : 1);
        double sse[2][HW_LANES];
        restart(c);
        spr__hw_slopes_plain(&c->pass, &c->slopes);
        for (int d = 0; d < (shape == 2 ? 5 : 3); d++) {
            const double h = 1e-6;
            if (d == HW_GAMMA2 && cycles < 2)
                continue;
            for (int side = 0; side < 2; side++) {
                for (int i = 0; i < HW_LANES; i++)
                    c->params.of[d][i] += side ? -2 * h : h;
                restart(c);
                spr__hw_plain(&c->pass);
                memcpy(sse[side], c->sse, sizeof c->sse);
            }
            for (int i = 0; i < HW_LANES; i++) {
                double difference = (sse[0][i] - sse[1][i]) / (2 * h), slope = -2 * c->slopes.grad[d][i];
                assert_true(fabs(difference - slope) < 1e-6 * (fabs(slope) + sse[0][i]));
                c->params.of[d][i] += h;
            }
        }
        free(c);
    }
}

static void all_builds_tell_the_same_bits(void **state) {
    static const int simd[] = {SPR_SIMD_AVX2, SPR_SIMD_AVX512};
    (void)state;
    for (int build = 0; build < 2; build++) {
        struct spr_context_opts o = SPR_CONTEXT_OPTS_INIT;
        spr_context *ctx = NULL;
        o.simd = simd[build];
        if (spr_context_create(&o, &ctx) < 0)
            continue;
        spr_context_unref(ctx);
        for (int cycles = 1; cycles <= 2; cycles++) {
            struct course *a = course(12.5, cycles, 0.9), *b = course(12.5, cycles, 0.9);
            restart(a), restart(b);
            spr__hw_sloper_for(SPR_SIMD_PLAIN)(&a->pass, &a->slopes);
            spr__hw_sloper_for(simd[build])(&b->pass, &b->slopes);
            assert_memory_equal(a->sse, b->sse, sizeof a->sse);
            assert_memory_equal(a->slopes.grad, b->slopes.grad, sizeof a->slopes.grad);
            assert_memory_equal(a->slopes.hess, b->slopes.hess, sizeof a->slopes.hess);
            free(a), free(b);
        }
        double v[2][300], spare[308], levels[] = {0.1, 0.25, 0.5, 0.9, 0.99}, q[2][5];
        for (int n = 1; n <= 300; n += n < 40 ? 1 : 37) {
            for (int i = 0; i < n; i++) /* many equal ones too */
                v[0][i] = v[1][i] = floor((n % 2 ? 8 : 1e6) * spr__rand(4, (uint64_t)n, (uint64_t)i));
            spr__quantiles(v[0], n, levels, 5, q[0]);
            spr__quantiles_by(spr__hw_splitter_for(simd[build]), spare, v[1], n, levels, 5, q[1]);
            assert_memory_equal(q[0], q[1], sizeof q[0]);
        }
    }
}

/* (a - 0.02)^2 + (100 (a b) - 0.1)^2 + ..., whose valley is bent, or whose best point lies outside the box. */
static struct hw_told bowl(const double *at, double a, double product) {
    double e[2] = {at[0] - a, 100 * (at[0] * at[1] - product)};
    double slope[2][2] = {{1, 0}, {100 * at[1], 100 * at[0]}};
    struct hw_told told = {.f = e[0] * e[0] + e[1] * e[1] + 1e-3};
    for (int i = 0; i < 2; i++)
        for (int d = 0; d < 2; d++) {
            told.grad[d] -= e[i] * slope[i][d];
            for (int k = 0; k < 2; k++)
                told.hess[d][k] += slope[i][d] * slope[i][k];
        }
    return told;
}

static int descend(double *at, double a, double product) {
    const struct hw_dim dims[2] = {{HW_ALPHA, 0, 1, {0.5}, 1}, {HW_BETA, 0, 1, {0.5}, 1}};
    struct hw_descent s;
    int runs = 0;
    for (spr__hw_descent_begin(&s, 2, at, 1e-9); !s.done; runs++) {
        struct hw_told told = bowl(s.asked, a, product);
        for (int d = 0; d < 2; d++)
            assert_true(s.asked[d] >= 0 && s.asked[d] <= 1);
        spr__hw_descent_tell(&s, dims, 2, &told);
    }
    memcpy(at, s.at, 2 * sizeof *at);
    return runs;
}

static void a_descent_follows_a_bent_valley_and_leans_on_walls(void **state) {
    double at[2] = {0.6, 0.9};
    (void)state;
    assert_true(descend(at, 0.02, 0.002) < 15);
    assert_true(fabs(at[0] - 0.02) < 1e-3 && fabs(at[1] - 0.1) < 1e-2);
    at[0] = 0.3, at[1] = 0.2;
    assert_true(descend(at, 0.5, -1) < 15); /* no product is below zero */
    assert_true(at[1] == 0 || at[0] == 0);
    at[0] = 0.3, at[1] = 0.2;
    assert_true(descend(at, 3, 0.4) < 15);
    assert_true(at[0] == 1 && fabs(at[1] - 0.4) < 1e-6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slopes_are_those_of_small_differences),
        cmocka_unit_test(all_builds_tell_the_same_bits),
        cmocka_unit_test(a_descent_follows_a_bent_valley_and_leans_on_walls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
