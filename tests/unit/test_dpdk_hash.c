/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The hash of flows: the same bits from every instruction set, no structure that somebody could use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flow.h"

static uint64_t state = 2385;
static uint64_t random64(void) {
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static void test_dpdk_hash__equals_the_published_rounds_of_aes(void **unused) {
    (void)unused;
    /* Made by an independent program in Python from FIPS 197 (SubBytes, ShiftRows, MixColumns, AddRoundKey). */
    static const struct {
        uint64_t seed, value, hash;
    } golden[] = {
        {0, UINT64_C(0x0), UINT64_C(0x0fb42ca125abcedd)},
        {1, UINT64_C(0x1), UINT64_C(0xa02e9cfad7a6ef01)},
        {2385, UINT64_C(0x100350100000a), UINT64_C(0xc06ddf512e81d4ce)},
        {2385, UINT64_C(0xffffffffffffffff), UINT64_C(0x18e816b596e3f408)},
        {12345678901234, UINT64_C(0x8000000000000000), UINT64_C(0x1de2781c13eaa6d0)},
    };
    static const struct {
        uint64_t seed;
        const char *text;
        uint64_t hash;
    } golden_text[] = {
        {7, "", UINT64_C(0xfd5895e7f8c5219c)},
        {8, "a", UINT64_C(0x6002be5290ea90ce)},
        {9, "sixteen bytes!!!", UINT64_C(0x446657a743212ce9)},
        {10, "twenty-four bytes of key", UINT64_C(0xea7c985012526fac)},
        {11, "a text of some thirty-odd letters", UINT64_C(0xe0f3440b8d1d7fcb)},
    };
    for (int level = DP_HASH_PLAIN; level <= DP_HASH_VAES; level++) {
        if (dp_hash_force(level) < 0)
            continue;
        struct dp_hash_key key;
        for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
            dp_hash_key_make(&key, golden[i].seed);
            assert_int_equal(dp_hash8(&key, golden[i].value), golden[i].hash);
        }
        for (size_t i = 0; i < sizeof golden_text / sizeof *golden_text; i++) {
            dp_hash_key_make(&key, golden_text[i].seed);
            assert_int_equal(dp_hash_bytes(&key, golden_text[i].text, strlen(golden_text[i].text)),
                             golden_text[i].hash);
        }
    }
    dp_hash_force(DP_HASH_BEST);
}

static void test_dpdk_hash__is_the_same_at_every_level(void **unused) {
    (void)unused;
    struct dp_hash_key key;
    uint64_t values[77], want[77], got[77];
    uint8_t bytes[77 * 24];
    int levels = 0;
    for (int round = 0; round < 300; round++) {
        dp_hash_key_make(&key, random64());
        unsigned n = (unsigned)(random64() % 78);
        for (size_t i = 0; i < 77; i++)
            values[i] = random64() >> random64() % 64;
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (uint8_t)random64();
        size_t length = random64() % 70;
        dp_hash_force(DP_HASH_PLAIN);
        uint64_t all = dp_hash_bytes(&key, bytes, length);
        dp_hash8_many(&key, values, want, n);
        for (int level = DP_HASH_PLAIN; level <= DP_HASH_VAES; level++) {
            if (dp_hash_force(level) < 0)
                continue;
            levels |= 1 << level;
            memset(got, 0, sizeof got);
            dp_hash8_many(&key, values, got, n);
            assert_memory_equal(got, want, n * sizeof *got);
            for (unsigned i = n; i < 77; i++)
                assert_int_equal(got[i], 0);
            for (unsigned i = 0; i < n; i++)
                assert_int_equal(dp_hash8(&key, values[i]), want[i]);
            assert_int_equal(dp_hash_bytes(&key, bytes, length), all);
            dp_hash24_many(&key, bytes, got, 77);
            for (unsigned i = 0; i < 77; i++)
                assert_int_equal(got[i], dp_hash_bytes(&key, bytes + 24 * i, 24));
        }
    }
    dp_hash_force(DP_HASH_BEST);
    print_message("levels of this CPU: %s%s%s\n", levels & 2 ? "plain " : "", levels & 4 ? "aes " : "",
                  levels & 8 ? "vaes" : "");
    assert_true(levels & 1 << DP_HASH_PLAIN);
    assert_int_equal(dp_hash_force(99), -1);
}

static void test_dpdk_hash__every_bit_in_moves_half_of_the_bits_out(void **unused) {
    (void)unused;
    enum { TRIES = 4096 };
    static unsigned moved[64][64];
    struct dp_hash_key key;
    dp_hash_key_make(&key, 71);
    for (int i = 0; i < TRIES; i++) {
        uint64_t v = random64(), h = dp_hash8(&key, v);
        for (unsigned in = 0; in < 64; in++) {
            uint64_t d = h ^ dp_hash8(&key, v ^ UINT64_C(1) << in);
            for (unsigned out = 0; out < 64; out++)
                moved[in][out] += d >> out & 1;
        }
    }
    for (unsigned in = 0; in < 64; in++) /* standard deviation 32: six of them */
        for (unsigned out = 0; out < 64; out++)
            assert_in_range(moved[in][out], TRIES / 2 - 192, TRIES / 2 + 192);
}

/* Squared deviation of how many fall into each of 4096 buckets by 12 bits at `shift`; about 4095 +- 90 by chance. */
static double spread(const uint64_t *hashes, size_t n, unsigned shift) {
    unsigned count[4096] = {0};
    double sum = 0, mean = (double)n / 4096;
    for (size_t i = 0; i < n; i++)
        count[hashes[i] >> shift & 4095]++;
    for (size_t i = 0; i < 4096; i++)
        sum += ((double)count[i] - mean) * ((double)count[i] - mean) / mean;
    return sum;
}

static void test_dpdk_hash__ports_and_addresses_in_a_row_fall_like_dice(void **unused) {
    (void)unused;
    enum { N = 64512 };
    static uint64_t keys[N], hashes[N];
    struct dp_hash_key key;
    for (int shape = 0; shape < 4; shape++) {
        for (uint32_t i = 0; i < N; i++)
            keys[i] = shape == 0   ? dp_key4(0x0100000a, (uint16_t)i, 1)               /* ports of one host */
                      : shape == 1 ? dp_key4(0x0000000a | __builtin_bswap32(i), 80, 1) /* a subnet, one port */
                      : shape == 2 ? dp_key4(i * 0x10001u, (uint16_t)(i * 2), 1)       /* both, in step */
                                   : dp_key4(i << 16, (uint16_t)(i >> 8), (uint16_t)(1 + (i & 255)));
        for (uint64_t seed = 1; seed < 6; seed++) {
            dp_hash_key_make(&key, seed);
            dp_hash8_many(&key, keys, hashes, N);
            for (unsigned shift = 0; shift <= 52; shift += 4)
                assert_true(spread(hashes, N, shift) < 4095 + 6.5 * 90.5);
        }
    }
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void test_dpdk_hash__flows_that_meet_under_one_key_part_under_another(void **unused) {
    (void)unused;
    /* Who had learned which ports meet in a bucket of 2^12 could send only those: with another seed they spread again.
     */
    struct dp_hash_key known, ours;
    dp_hash_key_make(&known, 1);
    dp_hash_key_make(&ours, 2);
    static uint64_t met[16384], again[16384];
    size_t n = 0;
    for (uint64_t i = 0; n < 16384; i++) {
        uint64_t k = dp_key4((uint32_t)(i >> 16), (uint16_t)i, 1);
        if ((dp_hash8(&known, k) & 4095) == 7)
            met[n++] = k;
    }
    dp_hash8_many(&ours, met, again, (unsigned)n);
    assert_true(spread(again, n, 0) < 4095 + 6.5 * 90.5);
    assert_true(spread(again, n, 32) < 4095 + 6.5 * 90.5);
    qsort(again, n, sizeof *again, by_value);
    for (size_t i = 1; i < n; i++) /* 16384^2 / 2^65 */
        assert_true(again[i] != again[i - 1]);
}

static void test_dpdk_hash__length_counts(void **unused) {
    (void)unused;
    struct dp_hash_key key;
    dp_hash_key_make(&key, 5);
    uint8_t zero[64] = {0};
    uint64_t seen[65];
    for (size_t n = 0; n <= 64; n++) {
        seen[n] = dp_hash_bytes(&key, zero, n);
        for (size_t i = 0; i < n; i++)
            assert_true(seen[i] != seen[n]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dpdk_hash__equals_the_published_rounds_of_aes),
        cmocka_unit_test(test_dpdk_hash__is_the_same_at_every_level),
        cmocka_unit_test(test_dpdk_hash__every_bit_in_moves_half_of_the_bits_out),
        cmocka_unit_test(test_dpdk_hash__ports_and_addresses_in_a_row_fall_like_dice),
        cmocka_unit_test(test_dpdk_hash__flows_that_meet_under_one_key_part_under_another),
        cmocka_unit_test(test_dpdk_hash__length_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
