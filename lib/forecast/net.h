/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Arithmetic of the small neural kit: float32, row-major, matrices of tens to hundreds of columns and up to millions of
 * rows. Every build of it (plain, AVX2 with FMA, AVX-512) does its sums in an order of its own that never changes, so
 * one level always gives the same bits. Two levels differ by rounding only: a product by less than k epsilon sum |a b|,
 * a function by what stands beside it. Missing numbers go through as NaN.
 */
#ifndef SPR_LIB_FORECAST_NET_H
#define SPR_LIB_FORECAST_NET_H

#include "forecast/forecast.h"

/* C[m][n] = beta C + op(A) op(B), beta 0 (C is not read) or 1; leading dimensions in floats; C overlaps neither. */
typedef void spr__net_gemm(int m, int n, int k, const float *a, int lda, const float *b, int ldb, float beta, float *c,
                           int ldc);
/* y[i] = f(x[i]); x == y is allowed. */
typedef void spr__net_map(int64_t n, const float *x, float *y);

/*
 * One step of a layer of LSTM cells (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000) for many series. A
 * row of `in` is one series: the constant 1, its inputs, its state h of the step before: `depth` numbers, so that a
 * matrix w[depth][4][units] (gates i f g o) holds bias, input and recurrent weights.
 */
struct spr__lstm_step {
    int rows, depth, units;
    const float *packed; /* the weights as lstm_pack leaves them */
    const float *in;
    int ld_in, ld_h;
    const float *c_before; /* [rows][units] */
    float *c;              /* [rows][units], out; may be c_before */
    float *h;              /* [rows][ld_h], out; not a part of in */
    float *trace;          /* [rows][5][units], out: i f g o tanh(c), or NULL */
};
/* Back through one step: dh and dc are the loss by this step's h and c; dc becomes the loss by the c before. */
struct spr__lstm_back {
    int rows, units;
    const float *trace, *c_before, *dh;
    float *dc;
    float *dgates; /* [rows][4][units], out: the loss by what enters the gates */
};

struct spr__net_kernels {
    int width;              /* floats of a vector */
    spr__net_gemm *gemm_nn; /* A[m][k], B[k][n] */
    spr__net_gemm *gemm_nt; /* A[m][k], B[n][k] */
    spr__net_gemm *gemm_tn; /* A[k][m], B[k][n]: a sum over rows, as gradients of weights are */
    /* Relative errors: 3e-7 of exp and sigmoid, 5e-7 of the others. exp is infinite above 88.7 and its smallest normal
     * number below -87.3; where a true result is below 1e-37 the others may be off by as much. */
    spr__net_map *vexp, *vsigmoid, *vtanh, *vsoftplus, *vasinh;
    /*
     * Adam (Kingma & Ba 2015) with decoupled weight decay (Loshchilov & Hutter 2019): moments m += (1-beta1) (g-m) and
     * v += (1-beta2) (g^2-v), then w -= step (c1 m / (sqrt(c2 v) + eps) + decay w), c = 1 / (1 - beta^t).
     */
    void (*adam)(int64_t n, float *w, const float *g, float *m, float *v, float step, float beta1, float beta2,
                 float eps, float decay, float c1, float c2);
    /* Gates are within 3e-7 of the truth, absolutely. lstm_pack needs room for spr__lstm_packed numbers. */
    void (*lstm_pack)(int depth, int units, const float *w, float *packed);
    void (*lstm_step)(const struct spr__lstm_step *step);
    void (*lstm_back)(const struct spr__lstm_back *back);
};
static inline size_t spr__lstm_packed(const struct spr__net_kernels *k, int depth, int units) {
    return (size_t)((units + k->width - 1) / k->width * k->width) * 4u * (size_t)depth;
}
/* The kernels of a level of ::spr_simd that the processor has (what spr_context_simd says). */
const struct spr__net_kernels *spr__net_kernels_for(int simd);
extern const struct spr__net_kernels spr__net_plain, spr__net_avx2, spr__net_avx512;

#endif
