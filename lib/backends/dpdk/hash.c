/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Three rounds of AES under a secret key for 8 bytes; two a block and two at the end for more. Not a cipher: the key is
 * never shown anything but bucket numbers, and what has to hold is that nobody can choose flows that meet in a bucket.
 */
#include "hash.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#define DP_AES  __attribute__((target("aes,sse4.1")))
#define DP_VAES __attribute__((target("vaes,aes,avx512f,avx512dq")))
#endif

static const uint8_t sbox[256] = {
    0x63, 0x7c, 0x77, 0x7b, 0xf2, 0x6b, 0x6f, 0xc5, 0x30, 0x01, 0x67, 0x2b, 0xfe, 0xd7, 0xab, 0x76, 0xca, 0x82, 0xc9,
    0x7d, 0xfa, 0x59, 0x47, 0xf0, 0xad, 0xd4, 0xa2, 0xaf, 0x9c, 0xa4, 0x72, 0xc0, 0xb7, 0xfd, 0x93, 0x26, 0x36, 0x3f,
    0xf7, 0xcc, 0x34, 0xa5, 0xe5, 0xf1, 0x71, 0xd8, 0x31, 0x15, 0x04, 0xc7, 0x23, 0xc3, 0x18, 0x96, 0x05, 0x9a, 0x07,
    0x12, 0x80, 0xe2, 0xeb, 0x27, 0xb2, 0x75, 0x09, 0x83, 0x2c, 0x1a, 0x1b, 0x6e, 0x5a, 0xa0, 0x52, 0x3b, 0xd6, 0xb3,
    0x29, 0xe3, 0x2f, 0x84, 0x53, 0xd1, 0x00, 0xed, 0x20, 0xfc, 0xb1, 0x5b, 0x6a, 0xcb, 0xbe, 0x39, 0x4a, 0x4c, 0x58,
    0xcf, 0xd0, 0xef, 0xaa, 0xfb, 0x43, 0x4d, 0x33, 0x85, 0x45, 0xf9, 0x02, 0x7f, 0x50, 0x3c, 0x9f, 0xa8, 0x51, 0xa3,
    0x40, 0x8f, 0x92, 0x9d, 0x38, 0xf5, 0xbc, 0xb6, 0xda, 0x21, 0x10, 0xff, 0xf3, 0xd2, 0xcd, 0x0c, 0x13, 0xec, 0x5f,
    0x97, 0x44, 0x17, 0xc4, 0xa7, 0x7e, 0x3d, 0x64, 0x5d, 0x19, 0x73, 0x60, 0x81, 0x4f, 0xdc, 0x22, 0x2a, 0x90, 0x88,
    0x46, 0xee, 0xb8, 0x14, 0xde, 0x5e, 0x0b, 0xdb, 0xe0, 0x32, 0x3a, 0x0a, 0x49, 0x06, 0x24, 0x5c, 0xc2, 0xd3, 0xac,
    0x62, 0x91, 0x95, 0xe4, 0x79, 0xe7, 0xc8, 0x37, 0x6d, 0x8d, 0xd5, 0x4e, 0xa9, 0x6c, 0x56, 0xf4, 0xea, 0x65, 0x7a,
    0xae, 0x08, 0xba, 0x78, 0x25, 0x2e, 0x1c, 0xa6, 0xb4, 0xc6, 0xe8, 0xdd, 0x74, 0x1f, 0x4b, 0xbd, 0x8b, 0x8a, 0x70,
    0x3e, 0xb5, 0x66, 0x48, 0x03, 0xf6, 0x0e, 0x61, 0x35, 0x57, 0xb9, 0x86, 0xc1, 0x1d, 0x9e, 0xe1, 0xf8, 0x98, 0x11,
    0x69, 0xd9, 0x8e, 0x94, 0x9b, 0x1e, 0x87, 0xe9, 0xce, 0x55, 0x28, 0xdf, 0x8c, 0xa1, 0x89, 0x0d, 0xbf, 0xe6, 0x42,
    0x68, 0x41, 0x99, 0x2d, 0x0f, 0xb0, 0x54, 0xbb, 0x16,
};

void dp_hash_key_make(struct dp_hash_key *key, uint64_t seed) {
    for (unsigned i = 0; i < 8; i++) { /* splitmix64 */
        uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);
        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        z ^= z >> 31;
        for (unsigned j = 0; j < 8; j++)
            key->round[i / 2][i % 2 * 8 + j] = (uint8_t)(z >> 8 * j);
    }
}

/* ---- plain C: what the instructions do ---- */

static uint8_t twice(uint8_t x) { return (uint8_t)(x << 1 ^ (x >> 7) * 0x1b); }

/* One round: substitute, shift rows, mix columns, add the round's key (FIPS 197; AESENC). */
static void plain_round(uint8_t s[16], const uint8_t key[16]) {
    uint8_t t[16];
    for (unsigned i = 0; i < 16; i++)
        t[i] = sbox[s[(i + 4 * (i % 4)) % 16]];
    for (unsigned c = 0; c < 16; c += 4) {
        uint8_t all = t[c] ^ t[c + 1] ^ t[c + 2] ^ t[c + 3];
        for (unsigned r = 0; r < 4; r++)
            s[c + r] = t[c + r] ^ all ^ twice(t[c + r] ^ t[c + (r + 1) % 4]) ^ key[c + r];
    }
}

static uint64_t low(const uint8_t s[16]) {
    uint64_t v = 0;
    for (unsigned i = 8; i-- > 0;)
        v = v << 8 | s[i];
    return v;
}

static uint64_t plain8(const struct dp_hash_key *key, uint64_t value) {
    uint8_t s[16];
    for (unsigned i = 0; i < 16; i++)
        s[i] = key->round[0][i] ^ (i < 8 ? (uint8_t)(value >> 8 * i) : 0);
    for (unsigned r = 1; r < 4; r++)
        plain_round(s, key->round[r]);
    return low(s);
}

static void plain8_many(const struct dp_hash_key *key, const uint64_t *values, uint64_t *hashes, unsigned n) {
    for (unsigned i = 0; i < n; i++)
        hashes[i] = plain8(key, values[i]);
}

static uint64_t plain_bytes(const struct dp_hash_key *key, const uint8_t *bytes, size_t n) {
    uint8_t s[16];
    for (unsigned i = 0; i < 16; i++) /* the length stands in the first block: padding means nothing else */
        s[i] = key->round[0][i] ^ (i < 8 ? (uint8_t)((uint64_t)n >> 8 * i) : 0);
    for (size_t at = 0; at < n; at += 16) {
        for (size_t i = 0; i < 16 && at + i < n; i++)
            s[i] ^= bytes[at + i];
        plain_round(s, key->round[1]);
        plain_round(s, key->round[2]);
    }
    plain_round(s, key->round[3]);
    plain_round(s, key->round[0]);
    return low(s);
}

static void plain24_many(const struct dp_hash_key *key, const uint8_t *keys, uint64_t *hashes, unsigned n) {
    for (unsigned i = 0; i < n; i++)
        hashes[i] = plain_bytes(key, keys + (size_t)24 * i, 24);
}

/* ---- AES instructions, one and four keys at a time ---- */

#if defined(__x86_64__)
DP_AES static inline __m128i round_key(const struct dp_hash_key *key, unsigned r) {
    return _mm_load_si128((const __m128i *)(const void *)key->round[r]);
}

DP_AES static uint64_t aes8(const struct dp_hash_key *key, uint64_t value) {
    __m128i s = _mm_xor_si128(_mm_cvtsi64_si128((long long)value), round_key(key, 0));
    s = _mm_aesenc_si128(s, round_key(key, 1));
    s = _mm_aesenc_si128(s, round_key(key, 2));
    s = _mm_aesenc_si128(s, round_key(key, 3));
    return (uint64_t)_mm_cvtsi128_si64(s);
}

DP_AES static void aes8_many(const struct dp_hash_key *key, const uint64_t *values, uint64_t *hashes, unsigned n) {
    for (unsigned i = 0; i < n; i++)
        hashes[i] = aes8(key, values[i]);
}

DP_AES static uint64_t aes_bytes(const struct dp_hash_key *key, const uint8_t *bytes, size_t n) {
    __m128i s = _mm_xor_si128(_mm_cvtsi64_si128((long long)n), round_key(key, 0));
    for (size_t at = 0; at < n; at += 16) {
        __m128i block;
        if (n - at >= 16) {
            block = _mm_loadu_si128((const __m128i *)(const void *)(bytes + at));
        } else if (n - at == 8) { /* the second half of an IPv6 key */
            block = _mm_loadl_epi64((const __m128i *)(const void *)(bytes + at));
        } else {
            uint8_t last[16] = {0};
            memcpy(last, bytes + at, n - at);
            block = _mm_loadu_si128((const __m128i *)(const void *)last);
        }
        s = _mm_aesenc_si128(_mm_xor_si128(s, block), round_key(key, 1));
        s = _mm_aesenc_si128(s, round_key(key, 2));
    }
    s = _mm_aesenc_si128(s, round_key(key, 3));
    s = _mm_aesenc_si128(s, round_key(key, 0));
    return (uint64_t)_mm_cvtsi128_si64(s);
}

/* The chains of neighbours do not wait for each other. */
DP_AES static void aes24_many(const struct dp_hash_key *key, const uint8_t *keys, uint64_t *hashes, unsigned n) {
    const __m128i start = _mm_xor_si128(_mm_cvtsi64_si128(24), round_key(key, 0));
    for (unsigned i = 0; i < n; i++, keys += 24) {
        __m128i s = _mm_xor_si128(start, _mm_loadu_si128((const __m128i *)(const void *)keys));
        s = _mm_aesenc_si128(_mm_aesenc_si128(s, round_key(key, 1)), round_key(key, 2));
        s = _mm_xor_si128(s, _mm_loadl_epi64((const __m128i *)(const void *)(keys + 16)));
        s = _mm_aesenc_si128(_mm_aesenc_si128(s, round_key(key, 1)), round_key(key, 2));
        s = _mm_aesenc_si128(_mm_aesenc_si128(s, round_key(key, 3)), round_key(key, 0));
        hashes[i] = (uint64_t)_mm_cvtsi128_si64(s);
    }
}

DP_VAES static inline __m512i wide_key(const struct dp_hash_key *key, unsigned r) {
    return _mm512_broadcast_i32x4(_mm_load_si128((const __m128i *)(const void *)key->round[r]));
}

/* Eight values: the even ones in one register, the odd ones in the other, and woven together again. */
DP_VAES static inline __m512i eight(const __m512i k[4], __m512i v) {
    const __m512i zero = _mm512_setzero_si512();
    __m512i a = _mm512_xor_si512(_mm512_unpacklo_epi64(v, zero), k[0]);
    __m512i b = _mm512_xor_si512(_mm512_unpackhi_epi64(v, zero), k[0]);
    for (int i = 1; i < 4; i++) {
        a = _mm512_aesenc_epi128(a, k[i]);
        b = _mm512_aesenc_epi128(b, k[i]);
    }
    return _mm512_unpacklo_epi64(a, b);
}

/* Whole stores where there are eight: what a masked one wrote cannot be read before it has reached the cache. */
DP_VAES static void vaes8_many(const struct dp_hash_key *key, const uint64_t *values, uint64_t *hashes, unsigned n) {
    const __m512i k[4] = {wide_key(key, 0), wide_key(key, 1), wide_key(key, 2), wide_key(key, 3)};
    unsigned i = 0;
    for (; n - i >= 8; i += 8)
        _mm512_storeu_si512(hashes + i, eight(k, _mm512_loadu_si512(values + i)));
    if (i < n) {
        __mmask8 in = (__mmask8)((1u << (n - i)) - 1);
        _mm512_mask_storeu_epi64(hashes + i, in, eight(k, _mm512_maskz_loadu_epi64(in, values + i)));
    }
}
#endif

/* ---- which ---- */

struct level {
    uint64_t (*one)(const struct dp_hash_key *, uint64_t);
    void (*many)(const struct dp_hash_key *, const uint64_t *, uint64_t *, unsigned);
    uint64_t (*bytes)(const struct dp_hash_key *, const uint8_t *, size_t);
    void (*many24)(const struct dp_hash_key *, const uint8_t *, uint64_t *, unsigned);
};
static const struct level levels[] = {
    [DP_HASH_PLAIN] = {plain8, plain8_many, plain_bytes, plain24_many},
#if defined(__x86_64__)
    [DP_HASH_AES] = {aes8, aes8_many, aes_bytes, aes24_many},
    [DP_HASH_VAES] = {aes8, vaes8_many, aes_bytes, aes24_many},
#endif
};
static atomic_int dp_hash_level; /* 0: not looked yet */

/* The wide form needs the registers of AVX-512, which the kernel has to know of: the builtin asks that too. */
static int best(void) {
#if defined(__x86_64__)
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_AES) || !(c & bit_SSE4_1))
        return DP_HASH_PLAIN;
    bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq");
    return wide && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (c & 1u << 9) /* VAES */ ? DP_HASH_VAES : DP_HASH_AES;
#else
    return DP_HASH_PLAIN;
#endif
}

static const struct level *level(void) {
    int at = atomic_load_explicit(&dp_hash_level, memory_order_relaxed);
    if (!at)
        atomic_store_explicit(&dp_hash_level, at = best(), memory_order_relaxed);
    return &levels[at];
}

int dp_hash_force(int wanted) {
    int before = (int)(level() - levels), most = best();
    if (wanted < 0 || wanted > most)
        return -1;
    atomic_store_explicit(&dp_hash_level, wanted ? wanted : most, memory_order_relaxed);
    return before;
}

uint64_t dp_hash8(const struct dp_hash_key *key, uint64_t value) { return level()->one(key, value); }

void dp_hash8_many(const struct dp_hash_key *key, const uint64_t *values, uint64_t *hashes, unsigned n) {
    level()->many(key, values, hashes, n);
}

uint64_t dp_hash_bytes(const struct dp_hash_key *key, const void *bytes, size_t n) {
    return level()->bytes(key, bytes, n);
}

void dp_hash24_many(const struct dp_hash_key *key, const void *keys, uint64_t *hashes, unsigned n) {
    level()->many24(key, keys, hashes, n);
}
