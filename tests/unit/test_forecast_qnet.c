/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The quantile net: its gradient, its order, and that folding the standardisation changes no answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "forecast/qnet.h"

enum { CASES = 6, STEPS = 3, S = 5, D = 7, UNITS = 8, LEVELS = 5, ROWS = CASES * STEPS };
static const struct spr__qnet_shape shape = {S, D, UNITS, LEVELS, 2};
static const float levels[LEVELS] = {.1f, .25f, .5f, .9f, .99f}, level_weight[LEVELS] = {.3f, .1f, .4f, .1f, .1f};

struct lesson {
    float s[CASES * S], d[ROWS * D], base[ROWS], target[ROWS], weight[CASES];
    uint8_t censored[ROWS];
    struct spr__qnet_lesson l;
};

static float normal(uint64_t stream, uint64_t i) { return (float)(4 * spr__rand(9, stream, i) - 2); }

static void fill(struct lesson *a, const struct spr__net_kernels *k, float dropout) {
    for (uint64_t i = 0; i < CASES * S; i++)
        a->s[i] = normal(1, i);
    for (uint64_t i = 0; i < ROWS * D; i++)
        a->d[i] = normal(2, i);
    for (uint64_t i = 0; i < ROWS; i++) {
        a->base[i] = .3f * normal(3, i);
        a->target[i] = i == 4 ? NAN : 2 * normal(4, i);
        a->censored[i] = i % 5 == 0;
    }
    for (uint64_t i = 0; i < CASES; i++)
        a->weight[i] = 1 + .5f * normal(5, i) / 2;
    a->l = (struct spr__qnet_lesson){.kernels = k,
                                     .cases = CASES,
                                     .steps = STEPS,
                                     .summaries = a->s,
                                     .features = a->d,
                                     .base = a->base,
                                     .target = a->target,
                                     .censored = a->censored,
                                     .weight = a->weight,
                                     .level_weight = level_weight,
                                     .levels = levels,
                                     .dropout = dropout,
                                     .seed = 77,
                                     .scale = 1.0f / ROWS};
}

static float *weights_of(int64_t *count) {
    struct spr__qnet_parts p;
    spr__qnet_layout(&shape, &p);
    float *w = malloc(sizeof *w * (size_t)p.count);
    spr__qnet_init(&shape, 5, w);
    for (int64_t i = 0; i < p.count; i++) /* W6 and the biases begin at 0, where a wrong gradient could hide */
        w[i] += .1f * normal(6, (uint64_t)i);
    *count = p.count;
    return w;
}

/* The loss has corners; where a step crosses one, difference and slope may differ: most weights must agree closely. */
static void the_gradient_is_that_of_finite_differences(void **state) {
    static struct lesson a;
    int64_t count, close = 0;
    float *w = weights_of(&count), *g = malloc(sizeof *g * (size_t)count), *none = malloc(sizeof *g * (size_t)count);
    float *room = malloc(sizeof *room * spr__qnet_training_room(&shape, CASES, STEPS));
    double apart = 0, length = 0;
    (void)state;
    for (int pass = 0; pass < 2; pass++) {
        fill(&a, &spr__net_plain, pass ? .4f : 0);
        spr__qnet_learn(&shape, w, &a.l, room, g);
        close = 0, apart = 0, length = 0;
        for (int64_t i = 0; i < count; i++) {
            float at = w[i];
            w[i] = at + 2e-3f;
            double up = spr__qnet_learn(&shape, w, &a.l, room, none);
            w[i] = at - 2e-3f;
            double down = spr__qnet_learn(&shape, w, &a.l, room, none);
            w[i] = at;
            double slope = (up - down) / 4e-3;
            close += fabs(slope - (double)g[i]) < 1e-3 + 1e-2 * fabs(slope);
            apart += (slope - (double)g[i]) * (slope - (double)g[i]), length += slope * slope;
        }
        assert_true(length > 1e-4);
        assert_true(apart < 1e-3 * length);
        assert_true(close >= count * 97 / 100);
    }
    free(w), free(g), free(none), free(room);
}

static void a_lower_bound_costs_only_what_lies_below_it(void **state) {
    static struct lesson a;
    int64_t count;
    float *w = weights_of(&count), *g = malloc(sizeof *g * (size_t)count);
    float *room = malloc(sizeof *room * spr__qnet_training_room(&shape, CASES, STEPS));
    (void)state;
    fill(&a, &spr__net_plain, 0);
    for (int i = 0; i < ROWS; i++)
        a.target[i] = -50, a.censored[i] = 1;
    assert_float_equal(spr__qnet_learn(&shape, w, &a.l, room, g), 0, 0);
    for (int64_t i = 0; i < count; i++)
        assert_float_equal(g[i], 0, 0);
    for (int i = 0; i < ROWS; i++)
        a.target[i] = 50;
    double bound = spr__qnet_learn(&shape, w, &a.l, room, g);
    a.l.censored = NULL;
    assert_true(bound > 1);
    assert_float_equal(spr__qnet_learn(&shape, w, &a.l, room, g), bound, 0);
    free(w), free(g), free(room);
}

static void quantiles_never_cross(void **state) {
    static struct lesson a;
    int64_t count;
    float *w = weights_of(&count), *room = malloc(sizeof *room * spr__qnet_room(&shape, CASES, STEPS));
    float q[ROWS * LEVELS];
    (void)state;
    fill(&a, &spr__net_plain, 0);
    for (int64_t i = 0; i < count; i++)
        w[i] *= 20; /* wild ones */
    spr__qnet_answer(&shape, w, &spr__net_plain, CASES, STEPS, a.s, a.d, a.base, room, q);
    for (int r = 0; r < ROWS; r++)
        for (int k = 1; k < LEVELS; k++)
            assert_true(q[r * LEVELS + k - 1] <= q[r * LEVELS + k]);
    free(w), free(room);
}

static void folded_weights_take_raw_numbers(void **state) {
    static struct lesson a;
    int64_t count;
    float *w = weights_of(&count), *room = malloc(sizeof *room * spr__qnet_room(&shape, CASES, STEPS));
    float q[ROWS * LEVELS], folded[ROWS * LEVELS];
    double sm[S], ss[S], dm[D], ds[D];
    (void)state;
    fill(&a, &spr__net_plain, 0);
    spr__qnet_answer(&shape, w, &spr__net_plain, CASES, STEPS, a.s, a.d, a.base, room, q);
    for (int i = 0; i < S; i++)
        sm[i] = i - 2, ss[i] = .5 + i;
    for (int i = 0; i < D; i++)
        dm[i] = .3 * i, ds[i] = 2 - .2 * i;
    for (int i = 0; i < CASES * S; i++)
        a.s[i] = (float)((double)a.s[i] * ss[i % S] + sm[i % S]);
    for (int i = 0; i < ROWS * D; i++)
        a.d[i] = (float)((double)a.d[i] * ds[i % D] + dm[i % D]);
    spr__qnet_fold(&shape, w, sm, ss, dm, ds);
    spr__qnet_answer(&shape, w, &spr__net_plain, CASES, STEPS, a.s, a.d, a.base, room, folded);
    for (int i = 0; i < ROWS * LEVELS; i++)
        assert_float_equal(q[i], folded[i], 1e-4);
    free(w), free(room);
}

static void vector_builds_answer_like_the_plain_one(void **state) {
    static struct lesson a;
    spr_context *ctx = NULL;
    int64_t count;
    float *w = weights_of(&count), *room = malloc(sizeof *room * spr__qnet_training_room(&shape, CASES, STEPS));
    float *g[2] = {malloc(sizeof **g * (size_t)count), malloc(sizeof **g * (size_t)count)};
    (void)state;
    assert_int_equal(spr_context_create(NULL, &ctx), 0);
    fill(&a, &spr__net_plain, .3f);
    double plain = spr__qnet_learn(&shape, w, &a.l, room, g[0]);
    a.l.kernels = spr__net_kernels_for(spr_context_simd(ctx));
    assert_float_equal(spr__qnet_learn(&shape, w, &a.l, room, g[1]), plain, 1e-5);
    for (int64_t i = 0; i < count; i++)
        assert_float_equal(g[0][i], g[1][i], 1e-5);
    free(w), free(room), free(g[0]), free(g[1]);
    spr_context_unref(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_gradient_is_that_of_finite_differences),
        cmocka_unit_test(a_lower_bound_costs_only_what_lies_below_it),
        cmocka_unit_test(quantiles_never_cross),
        cmocka_unit_test(folded_weights_take_raw_numbers),
        cmocka_unit_test(vector_builds_answer_like_the_plain_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
