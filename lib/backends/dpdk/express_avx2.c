/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "express_inside.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define LEVEL(name) name##_avx2
#define TARGET      __attribute__((target("avx2,bmi")))

/* The words at 12 to 36 are one register. */
TARGET INLINE bool differs(const struct run *r, const uint8_t *f) {
    const __m256i mask = _mm256_set_epi64x(0xffff, 0xffffffff0000, 0xff00ff3f, 0xffffff);
    __m256i there = _mm256_loadu_si256((const __m256i *)(const void *)(f + 12));
    __m256i want = _mm256_loadu_si256((const __m256i *)(const void *)r->want);
    return (!_mm256_testz_si256(_mm256_xor_si256(there, want), mask)) | (f[47] & r->stops);
}
#include "express_run.h"
#endif
