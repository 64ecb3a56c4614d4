/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "flow_inside.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define LEVEL(name) name##_avx512
#define TARGET      __attribute__((target("avx512f,avx512vl,avx2,bmi")))

/* A line is one register: the keys are its first five words. */
TARGET static inline unsigned match(const struct dp_bucket *b, uint64_t key) {
    return _mm512_cmpeq_epi64_mask(_mm512_load_si512(b), _mm512_set1_epi64((long long)key)) & 31u;
}
TARGET static inline unsigned beside(const struct dp_beside *x, uint64_t high, uint32_t ports) {
    unsigned same = _mm512_cmpeq_epi64_mask(_mm512_load_si512(x), _mm512_set1_epi64((long long)high));
    __m256i ends = _mm256_loadu_si256((const __m256i *)(const void *)&x->high[4]); /* ports begin at the third word */
    return same & (unsigned)_mm256_cmpeq_epi32_mask(ends, _mm256_set1_epi32((int)ports)) >> 2 & 31u;
}
/* The values are the upper half of the line, from its third word on: what the bits name is brought to the front. */
TARGET static inline uint32_t value_of(const struct dp_bucket *b, unsigned bits) {
    __m256i upper = _mm512_extracti64x4_epi64(_mm512_load_si512(b), 1);
    __m256i front = _mm256_maskz_compress_epi32((__mmask8)(bits << 2), upper);
    return (uint32_t)_mm_cvtsi128_si32(_mm256_castsi256_si128(front));
}
#include "flow_lookup.h"
#endif
