/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The neural kit's arithmetic in plain C: the reference of the vector builds, and what other processors run. */
#include "forecast/net.h"

static void clear(int m, int n, float beta, float *c, int ldc) {
    for (int i = 0; i < m && beta == 0.0f; i++)
        memset(c + (ptrdiff_t)i * ldc, 0, sizeof *c * (size_t)n);
}

/* The sums run over k in the outer loops, so that the inner one goes along rows of B and C. */
static void gemm_nn(int m, int n, int k, const float *a, int lda, const float *b, int ldb, float beta, float *c,
                    int ldc) {
    clear(m, n, beta, c, ldc);
    for (int i = 0; i < m; i++)
        for (int p = 0; p < k; p++)
            for (int j = 0; j < n; j++)
                c[(ptrdiff_t)i * ldc + j] += a[(ptrdiff_t)i * lda + p] * b[(ptrdiff_t)p * ldb + j];
}

static void gemm_nt(int m, int n, int k, const float *a, int lda, const float *b, int ldb, float beta, float *c,
                    int ldc) {
    clear(m, n, beta, c, ldc);
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            float sum = 0.0f;
            for (int p = 0; p < k; p++)
                sum += a[(ptrdiff_t)i * lda + p] * b[(ptrdiff_t)j * ldb + p];
            c[(ptrdiff_t)i * ldc + j] += sum;
        }
}

static void gemm_tn(int m, int n, int k, const float *a, int lda, const float *b, int ldb, float beta, float *c,
                    int ldc) {
    clear(m, n, beta, c, ldc);
    for (int p = 0; p < k; p++)
        for (int i = 0; i < m; i++)
            for (int j = 0; j < n; j++)
                c[(ptrdiff_t)i * ldc + j] += a[(ptrdiff_t)p * lda + i] * b[(ptrdiff_t)p * ldb + j];
}

static void vexp(int64_t n, const float *x, float *y) {
    for (int64_t i = 0; i < n; i++)
        y[i] = expf(x[i] < -87.3f ? -87.3f : x[i]);
}

static void vsigmoid(int64_t n, const float *x, float *y) {
    for (int64_t i = 0; i < n; i++)
        y[i] = 1.0f / (1.0f + expf(-x[i]));
}

static void vtanh(int64_t n, const float *x, float *y) {
    for (int64_t i = 0; i < n; i++)
        y[i] = tanhf(x[i]);
}

static void vsoftplus(int64_t n, const float *x, float *y) {
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] > 0.0f ? x[i] : 0.0f) + log1pf(expf(-fabsf(x[i])));
}

static void vasinh(int64_t n, const float *x, float *y) {
    for (int64_t i = 0; i < n; i++)
        y[i] = asinhf(x[i]);
}

static void adam(int64_t n, float *w, const float *g, float *m, float *v, float step, float beta1, float beta2,
                 float eps, float decay, float c1, float c2) {
    float rest1 = 1.0f - beta1, rest2 = 1.0f - beta2;
    for (int64_t i = 0; i < n; i++) {
        m[i] += rest1 * (g[i] - m[i]);
        v[i] += rest2 * (g[i] * g[i] - v[i]);
        w[i] -= step * (c1 * m[i] / (sqrtf(c2 * v[i]) + eps) + decay * w[i]);
    }
}

const struct spr__net_kernels spr__net_plain = {
    1, gemm_nn, gemm_nt, gemm_tn, vexp, vsigmoid, vtanh, vsoftplus, vasinh, adam,
};

const struct spr__net_kernels *spr__net_kernels_for(int simd) {
#if defined(__x86_64__) && defined(__GNUC__)
    if (simd == SPR_SIMD_AVX512)
        return &spr__net_avx512;
    if (simd == SPR_SIMD_AVX2)
        return &spr__net_avx2;
#endif
    (void)simd;
    return &spr__net_plain;
}
