/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Holt-Winters recursion, four lanes an instruction. */
#include <immintrin.h>

#include "forecast/hw.h"

#define HW_NAME   spr__hw_avx2
#define HW_FOLLOW spr__hw_follow_avx2
#define HW_W      4
typedef __m256d V;
typedef __m256d MASK;
#define LOAD(p)       _mm256_loadu_pd(p)
#define STORE(p, v)   _mm256_storeu_pd(p, v)
#define ALL(x)        _mm256_set1_pd(x)
#define ADD(a, b)     _mm256_add_pd(a, b)
#define SUB(a, b)     _mm256_sub_pd(a, b)
#define MUL(a, b)     _mm256_mul_pd(a, b)
#define DIV(a, b)     _mm256_div_pd(a, b)
#define VALID(x)      _mm256_cmp_pd(x, x, _CMP_ORD_Q)
#define PICK(m, a, b) _mm256_blendv_pd(b, a, m)
#define BOTH(m, n)    _mm256_and_pd(m, n)
#define EITHER(m, n)  _mm256_or_pd(m, n)
#define WITHOUT(m, n) _mm256_andnot_pd(n, m)
#define AT_MOST(a, b) _mm256_cmp_pd(a, b, _CMP_LE_OQ)
#define ABOVE(a, b)   _mm256_cmp_pd(a, b, _CMP_GT_OQ)
#include "forecast/hw_kernel.h"
