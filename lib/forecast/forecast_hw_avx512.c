/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Holt-Winters recursion, eight lanes an instruction. */
#include <immintrin.h>

#include "forecast/hw.h"

#define HW_NAME   spr__hw_avx512
#define HW_FOLLOW spr__hw_follow_avx512
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
