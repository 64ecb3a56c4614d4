/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Holt-Winters recursion, eight lanes an instruction. */
#include <immintrin.h>

#include "forecast/hw.h"

#define HW_NAME   spr__hw_avx512
#define HW_FOLLOW spr__hw_follow_avx512
#define HW_SLOPES spr__hw_slopes_avx512
#define HW_W      8
typedef __m512d V;
typedef __mmask8 MASK;
#define LOAD(p)       _mm512_loadu_pd(p)
#define STORE(p, v)   _mm512_storeu_pd(p, v)
#define ALL(x)        _mm512_set1_pd(x)
#define ADD(a, b)     _mm512_add_pd(a, b)
#define SUB(a, b)     _mm512_sub_pd(a, b)
#define MUL(a, b)     _mm512_mul_pd(a, b)
#define DIV(a, b)     _mm512_div_pd(a, b)
#define VALID(x)      _mm512_cmp_pd_mask(x, x, _CMP_ORD_Q)
#define PICK(m, a, b) _mm512_mask_blend_pd(m, b, a)
#define BOTH(m, n)    ((__mmask8)((m) & (n)))
#define EITHER(m, n)  ((__mmask8)((m) | (n)))
#define WITHOUT(m, n) ((__mmask8)((m) & ~(n)))
#define AT_MOST(a, b) _mm512_cmp_pd_mask(a, b, _CMP_LE_OQ)
#define ABOVE(a, b)   _mm512_cmp_pd_mask(a, b, _CMP_GT_OQ)
#include "forecast/hw_kernel.h"

int64_t spr__split_avx512(double *v, int64_t n, double pivot, bool equal, double *spare) {
    const __m512d at = _mm512_set1_pd(pivot);
    int64_t low = 0, high = 0, i = 0;
    for (; i + 8 <= n; i += 8) { /* the front never overtakes what is read */
        __m512d x = _mm512_loadu_pd(v + i);
        __mmask8 below = equal ? _mm512_cmp_pd_mask(x, at, _CMP_LE_OQ) : _mm512_cmp_pd_mask(x, at, _CMP_LT_OQ);
        int count = __builtin_popcount(below);
        _mm512_storeu_pd(v + low, _mm512_maskz_compress_pd(below, x));
        _mm512_storeu_pd(spare + high, _mm512_maskz_compress_pd((__mmask8)~below, x));
        low += count, high += 8 - count;
    }
    for (; i < n; i++) {
        double x = v[i];
        bool below = equal ? x <= pivot : x < pivot;
        v[low] = spare[high] = x;
        low += below, high += !below;
    }
    memcpy(v + low, spare, (size_t)high * sizeof *v);
    return low;
}
