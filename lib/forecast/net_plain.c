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

static void lstm_pack(int depth, int units, const float *w, float *packed) {
    memcpy(packed, w, sizeof *w * 4 * (size_t)units * (size_t)depth);
}

static float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

enum { UNITS = 16 }; /* at a time: their sums stay on the stack */

static void lstm_units(const struct spr__lstm_step *s, ptrdiff_t r, int u, int n) {
    const float *in = s->in + r * s->ld_in;
    const ptrdiff_t units = s->units;
    float z[4][UNITS] = {{0}};
    for (int p = 0; p < s->depth; p++)
        for (int g = 0; g < 4; g++)
            for (int j = 0; j < n; j++)
                z[g][j] += in[p] * s->packed[((ptrdiff_t)p * 4 + g) * units + u + j];
    for (int j = 0; j < n; j++) {
        float i = sigmoid(z[0][j]), f = sigmoid(z[1][j]), g = tanhf(z[2][j]), o = sigmoid(z[3][j]);
        float c = f * s->c_before[r * units + u + j] + i * g, t = tanhf(c);
        s->c[r * units + u + j] = c;
        s->h[r * s->ld_h + u + j] = o * t;
        if (s->trace) {
            const float keep[5] = {i, f, g, o, t};
            for (int k = 0; k < 5; k++)
                s->trace[(r * 5 + k) * units + u + j] = keep[k];
        }
    }
}

static void lstm_step(const struct spr__lstm_step *s) {
    for (int r = 0; r < s->rows; r++)
        for (int u = 0; u < s->units; u += UNITS)
            lstm_units(s, r, u, SPR_MIN(UNITS, s->units - u));
}

static void lstm_back(const struct spr__lstm_back *b) {
    const ptrdiff_t n = b->units;
    for (ptrdiff_t r = 0; r < b->rows; r++)
        for (ptrdiff_t u = 0; u < n; u++) {
            const float *trace = b->trace + r * 5 * n + u;
            float i = trace[0], f = trace[n], g = trace[2 * n], o = trace[3 * n], t = trace[4 * n];
            float dh = b->dh[r * n + u], dc = b->dc[r * n + u] + dh * o * (1.0f - t * t);
            float *to = b->dgates + r * 4 * n + u;
            to[0] = dc * g * i * (1.0f - i);
            to[n] = dc * b->c_before[r * n + u] * f * (1.0f - f);
            to[2 * n] = dc * i * (1.0f - g * g);
            to[3 * n] = dh * t * o * (1.0f - o);
            b->dc[r * n + u] = dc * f;
        }
}

const struct spr__net_kernels spr__net_plain = {
    1, gemm_nn, gemm_nt, gemm_tn, vexp, vsigmoid, vtanh, vsoftplus, vasinh, adam, lstm_pack, lstm_step, lstm_back,
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
