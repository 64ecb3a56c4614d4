/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Arithmetic of the neural kit: every level against the plain one, the plain one against the C library in double. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "forecast/net.h"

static const struct spr__net_kernels *levels[3];
static int level_count;

/* What this processor can run; the plain one first. */
static int find_levels(void **state) {
    (void)state;
    spr_context *ctx = NULL;
    if (spr_context_create(NULL, &ctx) < 0)
        return -1;
    for (int simd = SPR_SIMD_PLAIN; simd <= spr_context_simd(ctx); simd++)
        levels[level_count++] = spr__net_kernels_for(simd);
    spr_context_unref(ctx);
    return 0;
}

static float *numbers(size_t n, uint64_t stream) {
    float *p = malloc(n * sizeof *p);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = (float)(4 * spr__rand(3, stream, i) - 2);
    return p;
}

enum { NN, NT, TN };
struct shape {
    int m, n, k, pad; /* pad: leading dimensions are this much wider than the matrix */
};

static void multiply(const struct spr__net_kernels *with, int kind, struct shape s, const float *a, const float *b,
                     float beta, float *c) {
    spr__net_gemm *f = kind == NN ? with->gemm_nn : kind == NT ? with->gemm_nt : with->gemm_tn;
    f(s.m, s.n, s.k, a, (kind == TN ? s.m : s.k) + s.pad, b, (kind == NT ? s.k : s.n) + s.pad, beta, c, s.n + s.pad);
}

/* Largest difference in units of k epsilon sum |a b|; what lies between the rows must stay. */
static double worst(const struct spr__net_kernels *with, int kind, struct shape s, float beta) {
    int lda = (kind == TN ? s.m : s.k) + s.pad, ldb = (kind == NT ? s.k : s.n) + s.pad, ldc = s.n + s.pad;
    size_t an = (size_t)lda * (size_t)(kind == TN ? s.k : s.m), bn = (size_t)ldb * (size_t)(kind == NT ? s.n : s.k);
    size_t cn = (size_t)ldc * (size_t)s.m;
    float *a = numbers(an, 1), *b = numbers(bn, 2), *c = numbers(cn, 3), *before = numbers(cn, 3);
    double most = 0;
    if (beta == 0.0f)
        for (size_t i = 0; i < cn; i++)
            c[i] = i % (size_t)ldc < (size_t)s.n ? NAN : c[i]; /* must not be read */
    multiply(with, kind, s, a, b, beta, c);
    for (int i = 0; i < s.m; i++)
        for (int j = 0; j < ldc; j++) {
            size_t at = (size_t)i * (size_t)ldc + (size_t)j;
            double sum = beta != 0.0f ? (double)before[at] : 0, size = fabs(sum);
            if (j >= s.n) {
                assert_true(c[at] == before[at]);
                continue;
            }
            for (int p = 0; p < s.k; p++) {
                double x = (double)(kind == TN ? a[p * lda + i] : a[i * lda + p]);
                double y = (double)(kind == NT ? b[j * ldb + p] : b[p * ldb + j]);
                sum += x * y, size += fabs(x * y);
            }
            double error = fabs((double)c[at] - sum);
            assert_false(isnan(error));
            most = fmax(most, error / (0x1p-24 * (s.k + 1) * size + 1e-30));
        }
    free(a), free(b), free(c), free(before);
    return most;
}

static void every_level_multiplies_awkward_shapes_as_the_definition_says(void **state) {
    (void)state;
    static const struct shape shapes[] = {{1, 1, 1, 0},    {1, 1, 0, 3},    {3, 2, 0, 0},      {1, 64, 64, 0},
                                          {2, 13, 7, 1},   {5, 16, 8, 0},   {7, 17, 9, 2},     {13, 6, 65, 0},
                                          {12, 32, 5, 4},  {25, 31, 33, 1}, {6, 48, 64, 0},    {19, 64, 3, 5},
                                          {40, 13, 13, 7}, {9, 128, 40, 0}, {11, 100, 300, 3}, {31, 7, 129, 0}};
    for (int l = 0; l < level_count; l++)
        for (size_t i = 0; i < SPR_ARRAY_LEN(shapes); i++)
            for (int kind = NN; kind <= TN; kind++)
                for (int beta = 0; beta <= 1; beta++) {
                    double error = worst(levels[l], kind, shapes[i], (float)beta);
                    if (error > 1)
                        fail_msg("level %d kind %d shape %zu beta %d: %g", l, kind, i, beta, error);
                }
}

static void a_product_has_the_same_bits_again(void **state) {
    (void)state;
    const struct shape s = {37, 45, 150, 0};
    float *a = numbers(37 * 150, 1), *b = numbers(45 * 150, 2), *c = numbers(37 * 45, 3), *d = numbers(37 * 45, 4);
    for (int l = 0; l < level_count; l++)
        for (int kind = NN; kind <= TN; kind++) {
            multiply(levels[l], kind, s, a, b, 0, c);
            multiply(levels[l], kind, s, a, b, 0, d);
            assert_memory_equal(c, d, 37 * 45 * sizeof *c);
        }
    free(a), free(b), free(c), free(d);
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double softplus(double x) { return fmax(x, 0) + log1p(exp(-fabs(x))); }

static void functions_keep_their_relative_errors(void **state) {
    (void)state;
    static const struct {
        double (*f)(double);
        double most;
    } truth[] = {{exp, 3e-7}, {sigmoid, 3e-7}, {tanh, 5e-7}, {softplus, 5e-7}, {asinh, 5e-7}};
    enum { N = 20011 };
    float *x = numbers(N, 5), *y = numbers(N, 6);
    for (int i = 0; i < N; i++) /* from 1e-12 to 80 and both signs, thick around one */
        x[i] = i % 2 ? x[i] * 40 : x[i] * (float)pow(10, -12 * spr__rand(3, 7, (uint64_t)i));
    for (int l = 0; l < level_count; l++)
        for (size_t f = 0; f < SPR_ARRAY_LEN(truth); f++) {
            const struct spr__net_kernels *k = levels[l];
            spr__net_map *const maps[] = {k->vexp, k->vsigmoid, k->vtanh, k->vsoftplus, k->vasinh};
            maps[f](N, x, y);
            for (int i = 0; i < N; i++) {
                double want = truth[f].f((double)x[i]), error = fabs((double)y[i] - want) / fabs(want);
                if (x[i] != 0 && !(error < truth[f].most))
                    fail_msg("level %d function %zu at %.9g: %.9g, error %g", l, f, (double)x[i], (double)y[i], error);
            }
        }
    free(x), free(y);
}

static void functions_know_the_ends_of_the_range(void **state) {
    (void)state;
    const float x[] = {0.0f, -0.0f, 1e30f, -1e30f, INFINITY, -INFINITY, NAN, 3.2e38f, -3.2e38f, 88.0f, -100.0f};
    enum { N = SPR_ARRAY_LEN(x) };
    for (int l = 0; l < level_count; l++) {
        float e[N], s[N], t[N], p[N], h[N];
        levels[l]->vexp(N, x, e), levels[l]->vsigmoid(N, x, s), levels[l]->vtanh(N, x, t);
        levels[l]->vsoftplus(N, x, p), levels[l]->vasinh(N, x, h);
        for (int i = 0; i < N; i++) {
            bool missing = isnan(x[i]);
            assert_int_equal(isnan(e[i]) && isnan(s[i]) && isnan(t[i]) && isnan(p[i]) && isnan(h[i]), missing);
            if (missing)
                continue;
            assert_true(x[i] < 89.0f ? e[i] < INFINITY : isinf(e[i]));
            assert_true(s[i] >= 0 && s[i] <= 1 && t[i] >= -1 && t[i] <= 1);
            assert_true(x[i] < 20 || (s[i] == 1 && t[i] == 1 && p[i] == x[i]));
            assert_true(x[i] > -20 || (e[i] < 2e-38f && s[i] < 2e-38f && t[i] == -1 && p[i] < 2e-38f));
            assert_true(isinf(x[i]) ? h[i] == x[i] : fabs((double)h[i] - asinh((double)x[i])) < 1e-5);
            assert_int_equal(signbit(t[i]), signbit(x[i]));
            assert_int_equal(signbit(h[i]), signbit(x[i]));
        }
    }
}

static void a_function_of_a_vector_is_that_of_its_numbers(void **state) {
    (void)state;
    float *x = numbers(70, 8), y[70], one;
    for (int l = 0; l < level_count; l++)
        for (int n = 0; n <= 70; n++) {
            for (int i = 0; i < 70; i++)
                y[i] = 7;
            levels[l]->vtanh(n, x, y);
            for (int i = 0; i < 70; i++) {
                levels[l]->vtanh(1, x + i, &one);
                assert_true(y[i] == (i < n ? one : 7.0f));
            }
        }
    free(x);
}

static void adam_is_the_same_at_every_level(void **state) {
    (void)state;
    enum { N = 67, STEPS = 50 };
    for (int l = 0; l < level_count; l++) {
        double dw[N], dm[N] = {0}, dv[N] = {0};
        float *w = numbers(N, 9), m[N] = {0}, v[N] = {0};
        for (int i = 0; i < N; i++)
            dw[i] = (double)w[i];
        for (int t = 1; t <= STEPS; t++) {
            float *g = numbers(N, (uint64_t)(10 + t));
            double c1 = 1 / (1 - pow(0.9, t)), c2 = 1 / (1 - pow(0.999, t));
            for (int i = 0; i < N; i++) {
                dm[i] += 0.1 * ((double)g[i] - dm[i]), dv[i] += 0.001 * ((double)g[i] * (double)g[i] - dv[i]);
                dw[i] -= 0.01 * (c1 * dm[i] / (sqrt(c2 * dv[i]) + 1e-8) + 0.1 * dw[i]);
            }
            levels[l]->adam(N, w, g, m, v, 0.01f, 0.9f, 0.999f, 1e-8f, 0.1f, (float)c1, (float)c2);
            free(g);
        }
        for (int i = 0; i < N; i++)
            assert_true(fabs((double)w[i] - dw[i]) < 2e-5);
        free(w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_level_multiplies_awkward_shapes_as_the_definition_says),
        cmocka_unit_test(a_product_has_the_same_bits_again),
        cmocka_unit_test(functions_keep_their_relative_errors),
        cmocka_unit_test(functions_know_the_ends_of_the_range),
        cmocka_unit_test(a_function_of_a_vector_is_that_of_its_numbers),
        cmocka_unit_test(adam_is_the_same_at_every_level),
    };
    return cmocka_run_group_tests(tests, find_levels, NULL);
}
