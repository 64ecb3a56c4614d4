/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The neural kit's arithmetic, sixteen numbers an instruction. */
#include <immintrin.h>

#include "forecast/net.h"

#define NET_NAME spr__net_avx512
#define W        16
typedef __m512 V;
typedef __mmask16 MASK;
#define PART(n)         ((__mmask16)((1u << (n)) - 1u))
#define LOAD(p)         _mm512_loadu_ps(p)
#define STORE(p, v)     _mm512_storeu_ps(p, v)
#define LOADN(p, n)     _mm512_maskz_loadu_ps(PART(n), p)
#define STOREN(p, n, v) _mm512_mask_storeu_ps(p, PART(n), v)
#define ALL(x)          _mm512_set1_ps(x)
#define ADD(a, b)       _mm512_add_ps(a, b)
#define SUB(a, b)       _mm512_sub_ps(a, b)
#define MUL(a, b)       _mm512_mul_ps(a, b)
#define DIV(a, b)       _mm512_div_ps(a, b)
#define FMA(a, b, c)    _mm512_fmadd_ps(a, b, c)
#define FNMA(a, b, c)   _mm512_fnmadd_ps(a, b, c)
#define MIN(a, b)       _mm512_min_ps(a, b)
#define MAX(a, b)       _mm512_max_ps(a, b)
#define SQRT(a)         _mm512_sqrt_ps(a)
#define ABS(a)          _mm512_abs_ps(a)
#define ROUND(a)        _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define POW2(a, n)      _mm512_scalef_ps(a, n)
/* What is left of a above the next lower integer, and a times two to that integer. */
#define FRACTION(a)     _mm512_reduce_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)
#define SCALE(a, n)     _mm512_scalef_ps(a, n)
#define LESS(a, b)      _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ)
#define PICK(m, a, b)   _mm512_mask_blend_ps(m, b, a)
/* Magnitude of a, sign of b. */
#define WITH_SIGN(a, b)                                                                                                \
    _mm512_castsi512_ps(                                                                                               \
        _mm512_ternarylogic_epi32(_mm512_set1_epi32(INT32_MIN), _mm512_castps_si512(b), _mm512_castps_si512(a), 0xCA))

/* x = part * 2^result, part in [0.75, 1.5), for normal positive x. */
static inline V SPLIT(V x, V *part) {
    __m512i bits = _mm512_castps_si512(x), from = _mm512_castps_si512(ALL(0.75f));
    __m512i power = _mm512_srai_epi32(_mm512_sub_epi32(bits, from), 23);
    *part = _mm512_castsi512_ps(_mm512_sub_epi32(bits, _mm512_slli_epi32(power, 23)));
    return _mm512_cvtepi32_ps(power);
}

#define LSTM_ROWS     6
#define GEMM_NV       4
#define GEMM_ROWS_MAX 12
#define GEMM_ROWS(nv) ((nv) == 4 ? 6 : (nv) == 3 ? 8 : 12)
#include "forecast/net_gemm.h"
#include "forecast/net_kernel.h"
#include "forecast/net_lstm_kernel.h"

const struct spr__net_kernels NET_NAME = {
    W, gemm_nn, gemm_nt, gemm_tn, vexp, vsigmoid, vtanh, vsoftplus, vasinh, adam, lstm_pack, lstm_step, lstm_back,
};
