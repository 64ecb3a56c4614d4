/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "flow_inside.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define LEVEL(name) name##_avx2
#define TARGET      __attribute__((target("avx2,bmi")))

TARGET static inline unsigned five(const uint64_t *words, uint64_t wanted) {
    __m256i four = _mm256_loadu_si256((const __m256i *)(const void *)words);
    __m256i same = _mm256_cmpeq_epi64(four, _mm256_set1_epi64x((long long)wanted));
    return (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(same)) | (unsigned)(words[4] == wanted) << 4;
}
TARGET static inline unsigned match(const struct dp_bucket *b, uint64_t key) { return five(b->key, key); }
TARGET static inline unsigned beside(const struct dp_beside *x, uint64_t high, uint32_t ports) {
    __m128i four = _mm_loadu_si128((const __m128i *)(const void *)x->ports);
    __m128i same = _mm_cmpeq_epi32(four, _mm_set1_epi32((int)ports));
    unsigned bits = (unsigned)_mm_movemask_ps(_mm_castsi128_ps(same)) | (unsigned)(x->ports[4] == ports) << 4;
    return bits & five(x->high, high);
}
TARGET static inline uint32_t value_of(const struct dp_bucket *b, unsigned bits) {
    return b->value[__builtin_ctz(bits | 1u << DP_OVERFLOW)] & (0 - (uint32_t)(bits != 0));
}
#include "flow_lookup.h"
#endif
