/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The neural kit's arithmetic, eight numbers an instruction, with fused multiply-add. */
#include <immintrin.h>

#include "forecast/net.h"

#define NET_NAME spr__net_avx2
#define W        8
typedef __m256 V;
typedef __m256 MASK;
#define LOAD(p)         _mm256_loadu_ps(p)
#define STORE(p, v)     _mm256_storeu_ps(p, v)
#define ALL(x)          _mm256_set1_ps(x)
#define ADD(a, b)       _mm256_add_ps(a, b)
#define SUB(a, b)       _mm256_sub_ps(a, b)
#define MUL(a, b)       _mm256_mul_ps(a, b)
#define DIV(a, b)       _mm256_div_ps(a, b)
#define FMA(a, b, c)    _mm256_fmadd_ps(a, b, c)
#define FNMA(a, b, c)   _mm256_fnmadd_ps(a, b, c)
#define MIN(a, b)       _mm256_min_ps(a, b)
#define MAX(a, b)       _mm256_max_ps(a, b)
#define SQRT(a)         _mm256_sqrt_ps(a)
#define ABS(a)          _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a)
#define ROUND(a)        _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
/* What is left of a above the next lower integer. */
#define FRACTION(a)     SUB(a, _mm256_floor_ps(a))
#define LESS(a, b)      _mm256_cmp_ps(a, b, _CMP_LT_OQ)
#define PICK(m, a, b)   _mm256_blendv_ps(b, a, m)
/* Magnitude of a, sign of b. */
#define WITH_SIGN(a, b) _mm256_or_ps(ABS(a), _mm256_and_ps(_mm256_set1_ps(-0.0f), b))

static inline __m256i first(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline V LOADN(const float *p, int n) { return _mm256_maskload_ps(p, first(n)); }
static inline void STOREN(float *p, int n, V v) { _mm256_maskstore_ps(p, first(n), v); }

/* a * 2^n for n in -126 .. 128, in two steps since 2^128 is no number. */
static inline V POW2(V a, V n) {
    __m256i i = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(i, 1), rest = _mm256_sub_epi32(i, half);
    __m256i one = _mm256_set1_epi32(127);
    a = MUL(a, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, one), 23)));
    return MUL(a, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, one), 23)));
}

/* x = part * 2^result, part in [0.75, 1.5), for normal positive x. */
static inline V SPLIT(V x, V *part) {
    __m256i bits = _mm256_castps_si256(x), from = _mm256_castps_si256(ALL(0.75f));
    __m256i power = _mm256_srai_epi32(_mm256_sub_epi32(bits, from), 23);
    *part = _mm256_castsi256_ps(_mm256_sub_epi32(bits, _mm256_slli_epi32(power, 23)));
    return _mm256_cvtepi32_ps(power);
}

/* a times two to the integer below n, -126 <= n < 128. */
static inline V SCALE(V a, V n) {
    __m256i power = _mm256_add_epi32(_mm256_cvtps_epi32(_mm256_floor_ps(n)), _mm256_set1_epi32(127));
    return MUL(a, _mm256_castsi256_ps(_mm256_slli_epi32(power, 23)));
}

#define LSTM_ROWS     3
#define GEMM_NV       2
#define GEMM_ROWS_MAX 8
#define GEMM_ROWS(nv) ((nv) == 2 ? 6 : 8)
#include "forecast/net_gemm.h"
#include "forecast/net_kernel.h"
#include "forecast/net_lstm_kernel.h"

const struct spr__net_kernels NET_NAME = {
    W, gemm_nn, gemm_nt, gemm_tn, vexp, vsigmoid, vtanh, vsoftplus, vasinh, adam, lstm_pack, lstm_step, lstm_back,
};
