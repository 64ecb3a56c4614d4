/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Holt-Winters recursion, four lanes an instruction. */
#include <immintrin.h>

#include "forecast/hw.h"

#define HW_NAME   spr__hw_avx2
#define HW_FOLLOW spr__hw_follow_avx2
#define HW_SLOPES spr__hw_slopes_avx2
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

int64_t spr__split_avx2(double *v, int64_t n, double pivot, bool equal, double *spare) {
    static const int32_t front[16][8] = {/* the picked quarters first, as pairs of 32 bits */
                                         {0},
                                         {0, 1},
                                         {2, 3},
                                         {0, 1, 2, 3},
                                         {4, 5},
                                         {0, 1, 4, 5},
                                         {2, 3, 4, 5},
                                         {0, 1, 2, 3, 4, 5},
                                         {6, 7},
                                         {0, 1, 6, 7},
                                         {2, 3, 6, 7},
                                         {0, 1, 2, 3, 6, 7},
                                         {4, 5, 6, 7},
                                         {0, 1, 4, 5, 6, 7},
                                         {2, 3, 4, 5, 6, 7},
                                         {0, 1, 2, 3, 4, 5, 6, 7}};
    const __m256d at = _mm256_set1_pd(pivot);
    int64_t low = 0, high = 0, i = 0;
    for (; i + 4 <= n; i += 4) { /* the front never overtakes what is read */
        __m256d x = _mm256_loadu_pd(v + i);
        int below = _mm256_movemask_pd(equal ? _mm256_cmp_pd(x, at, _CMP_LE_OQ) : _mm256_cmp_pd(x, at, _CMP_LT_OQ));
        int count = __builtin_popcount((unsigned)below);
        __m256i bits = _mm256_castpd_si256(x);
        __m256i lows =
            _mm256_permutevar8x32_epi32(bits, _mm256_loadu_si256((const __m256i *)(const void *)front[below]));
        __m256i highs =
            _mm256_permutevar8x32_epi32(bits, _mm256_loadu_si256((const __m256i *)(const void *)front[15 ^ below]));
        _mm256_storeu_pd(v + low, _mm256_castsi256_pd(lows));
        _mm256_storeu_pd(spare + high, _mm256_castsi256_pd(highs));
        low += count, high += 4 - count;
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
