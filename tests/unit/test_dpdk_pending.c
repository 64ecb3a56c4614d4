/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* First decisions of SYNs and of fragments: how long they are remembered, what a flood does, how often they are wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "fragments.h"
#include "pending.h"

enum { NOBODY = 9999, LINES_LOG2 = 16, ROOM = 7 << LINES_LOG2 };

static uint64_t state = 4711;
static uint64_t random64(void) {
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}
static uint16_t get(const struct dp_pending *f, uint64_t hash, uint64_t now) {
    uint16_t backend = NOBODY;
    return dp_pending_get(f, hash, now, &backend) ? backend : NOBODY;
}

static void test_dpdk_pending__repeats_a_decision_for_three_seconds(void **unused) {
    (void)unused;
    struct dp_pending *f = dp_pending_new(1);
    assert_non_null(f);
    for (uint64_t start = 0; start < 40000; start += 3371) { /* all epochs of four bits */
        uint64_t hash = random64();
        assert_int_equal(get(f, hash, start), NOBODY);
        dp_pending_put(f, hash, 0, start);
        assert_int_equal(get(f, hash, start), 0); /* the primary is a decision too */
        dp_pending_put(f, hash, 4095, start);
        for (uint64_t t = 0; t <= 3000; t += 125)
            assert_int_equal(get(f, hash, start + t), 4095);
        for (uint64_t t = 4000; t < 60000; t += 125) /* not even when the four bits come round */
            assert_int_equal(get(f, hash, start + t), NOBODY);
    }
    dp_pending_free(f);
    dp_pending_free(NULL);
}

static void test_dpdk_pending__renewing_starts_the_time_again(void **unused) {
    (void)unused;
    struct dp_pending *f = dp_pending_new(1);
    uint64_t hash = random64();
    for (uint64_t t = 0; t < 100000; t += 2900) {
        assert_int_equal(get(f, hash, t), t ? 17 : NOBODY);
        dp_pending_put(f, hash, 17, t);
    }
    dp_pending_free(f);
}

static void test_dpdk_pending__holds_two_fifths_of_its_room_without_a_loss(void **unused) {
    (void)unused;
    struct dp_pending *f = dp_pending_new(2);
    enum { N = ROOM * 2 / 5 };
    uint64_t *hash = malloc(sizeof *hash * N);
    uint32_t lost = 0;
    for (uint32_t i = 0; i < N; i++)
        dp_pending_put(f, hash[i] = random64(), (uint16_t)(i & 4095), 5000 + i * 3000 / N);
    for (uint32_t i = 0; i < N; i++) {
        uint16_t b = get(f, hash[i], 8000);
        assert_true(b == NOBODY || b == (i & 4095));
        lost += b == NOBODY;
    }
    assert_true(lost <= N / 1000); /* a pair of lines holds 14; 5.6 on average */
    free(hash);
    dp_pending_free(f);
}

static void test_dpdk_pending__a_flood_overwrites_the_oldest(void **unused) {
    (void)unused;
    struct dp_pending *f = dp_pending_new(3);
    uint64_t first = random64();
    dp_pending_put(f, first, 5, 1000);
    for (uint32_t i = 0; i < 4 * ROOM; i++) { /* in epochs after it */
        dp_pending_put(f, random64(), 6, 2000 + i % 1000);
        if (i % 1000 == 0) { /* one that is new keeps its place for a while: only older ones go */
            uint64_t fresh = random64();
            dp_pending_put(f, fresh, 7, 3999);
            assert_int_equal(get(f, fresh, 3999), 7);
        }
    }
    assert_int_equal(get(f, first, 3900), NOBODY);
    uint64_t last = random64();
    dp_pending_put(f, last, 8, 4000);
    assert_int_equal(get(f, last, 4100), 8);
    assert_int_equal(get(f, last, 9000), NOBODY); /* and the filter is empty again by itself */
    dp_pending_free(f);
}

static void test_dpdk_pending__knows_nobody_whom_it_did_not_see(void **unused) {
    (void)unused;
    /*
     * Full filter, 3 million strangers. With 48 bits of fingerprint one is taken for another in 2^44 (14 entries of
     * 2^48): 10^-7 expected here; with 16 bits it would be 600.
     */
    struct dp_pending *f = dp_pending_new(4);
    for (uint32_t i = 0; i < 2 * ROOM; i++)
        dp_pending_put(f, random64(), 1, 1000);
    unsigned wrong = 0;
    for (uint32_t i = 0; i < 3000000; i++)
        wrong += get(f, random64(), 1000) != NOBODY;
    assert_int_equal(wrong, 0);
    dp_pending_free(f);
}

static void test_dpdk_pending__every_bit_of_the_hash_counts(void **unused) {
    (void)unused;
    struct dp_pending *f = dp_pending_new(5);
    uint64_t hash = random64();
    dp_pending_put(f, hash, 3, 0);
    for (unsigned bit = 0; bit < 64; bit++)
        assert_int_equal(get(f, hash ^ UINT64_C(1) << bit, 0), NOBODY);
    dp_pending_put(f, 0, 3, 0);
    assert_int_equal(get(f, 0, 0), 3);
    dp_pending_free(f);
}

static void test_dpdk_pending__equals_a_list_with_times(void **unused) {
    (void)unused;
    /* Few enough for the filter to lose none: what was put less than 3 s ago is there, what is older than 4 s is not.
     */
    enum { N = 3000 };
    static struct {
        uint64_t hash, at;
        uint16_t backend;
        bool put;
    } known[N];
    struct dp_pending *f = dp_pending_new(6);
    for (unsigned i = 0; i < N; i++)
        known[i].hash = random64();
    uint64_t now = 123456;
    for (unsigned i = 0; i < 1000000; i++) {
        unsigned k = (unsigned)(random64() % N);
        now += random64() % 8 == 0 ? random64() % 7 : 0;
        if (i % 100000 == 0)
            now += random64() % 100000;
        uint16_t b = get(f, known[k].hash, now);
        if (known[k].put && now - known[k].at <= 3000)
            assert_int_equal(b, known[k].backend);
        else if (!known[k].put || now - known[k].at >= 4000)
            assert_int_equal(b, NOBODY);
        else
            assert_true(b == NOBODY || b == known[k].backend);
        if (random64() % 3 == 0) {
            known[k].at = now;
            known[k].put = true;
            dp_pending_put(f, known[k].hash, known[k].backend = (uint16_t)(random64() & 4095), now);
        }
    }
    dp_pending_free(f);
}

static void test_dpdk_pending__memory_of_the_caller_outlives_it(void **unused) {
    (void)unused;
    void *memory = aligned_alloc(128, dp_pending_bytes());
    assert_non_null(memory);
    memset(memory, 0, dp_pending_bytes());
    for (uint64_t now = 5000; now < 10000; now += 2000) { /* each time a process of its own */
        struct dp_pending *f = dp_pending_new(7);
        dp_pending_use(f, memory);
        assert_int_equal(get(f, UINT64_C(0x123456789), now), now == 5000 ? NOBODY : 12);
        dp_pending_put(f, UINT64_C(0x123456789), 12, now);
        dp_pending_free(f);
    }
    free(memory);
}

/* ---- fragments ---- */

static struct dp_packet datagram(uint32_t i) {
    struct dp_packet p = {.ip = i & 1 ? 4 : 6, .protocol = i & 2 ? 17 : 6, .fragment = i};
    memcpy(p.source, &i, 4);
    p.destination[3] = 9;
    return p;
}
static uint16_t where(const struct dp_fragments *f, const struct dp_packet *p, uint64_t now) {
    uint16_t backend = NOBODY;
    return dp_fragments_get(f, p, now, &backend) ? backend : NOBODY;
}

static void test_dpdk_fragments__follow_the_first_for_a_second(void **unused) {
    (void)unused;
    struct dp_fragments *f = dp_fragments_new(1);
    assert_non_null(f);
    for (uint64_t start = 0; start < UINT64_C(9000000000); start += UINT64_C(1234567890)) { /* past 49 days of ms */
        struct dp_packet p = datagram((uint32_t)(start / 1000));
        assert_int_equal(where(f, &p, start), NOBODY);
        dp_fragments_put(f, &p, 12, start);
        assert_int_equal(where(f, &p, start), 12);
        assert_int_equal(where(f, &p, start + 999), 12);
        assert_int_equal(where(f, &p, start + 1000), NOBODY);
        dp_fragments_put(f, &p, 13, start + 1500);
        assert_int_equal(where(f, &p, start + 1500), 13);
    }
    dp_fragments_free(f);
    dp_fragments_free(NULL);
}

static void test_dpdk_fragments__are_told_apart_by_all_of_their_name(void **unused) {
    (void)unused;
    struct dp_fragments *f = dp_fragments_new(2);
    struct dp_packet p = datagram(77), q;
    p.source_port = 5; /* ports are no part of it: later fragments have none */
    dp_fragments_put(f, &p, 1, 0);
    q = p, q.source_port = 0, q.kind = DP_KIND_FRAGMENT_LATER;
    assert_int_equal(where(f, &q, 0), 1);
    for (unsigned i = 0; i < 16; i++) {
        q = p, q.source[i] ^= 1;
        assert_int_equal(where(f, &q, 0), NOBODY);
        q = p, q.destination[i] ^= 1;
        assert_int_equal(where(f, &q, 0), NOBODY);
    }
    q = p, q.fragment++;
    assert_int_equal(where(f, &q, 0), NOBODY);
    q = p, q.protocol++;
    assert_int_equal(where(f, &q, 0), NOBODY);
    dp_fragments_free(f);
}

static void test_dpdk_fragments__many_overwrite_the_oldest(void **unused) {
    (void)unused;
    struct dp_fragments *f = dp_fragments_new(3);
    uint32_t found = 0;
    for (uint32_t i = 0; i < 200000; i++) {
        struct dp_packet p = datagram(i);
        dp_fragments_put(f, &p, (uint16_t)(i & 4095), i / 200);
        assert_int_equal(where(f, &p, i / 200), i & 4095);
    }
    for (uint32_t i = 0; i < 200000; i++) {
        struct dp_packet p = datagram(i);
        uint16_t b = where(f, &p, 999);
        assert_true(b == NOBODY || b == (i & 4095));
        found += b != NOBODY;
        if (i >= 200000 - 1000 && b == NOBODY) /* the youngest are not the ones that go */
            found -= 1000;
    }
    assert_in_range(found, 15000, 16384);
    dp_fragments_free(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dpdk_pending__repeats_a_decision_for_three_seconds),
        cmocka_unit_test(test_dpdk_pending__renewing_starts_the_time_again),
        cmocka_unit_test(test_dpdk_pending__holds_two_fifths_of_its_room_without_a_loss),
        cmocka_unit_test(test_dpdk_pending__a_flood_overwrites_the_oldest),
        cmocka_unit_test(test_dpdk_pending__knows_nobody_whom_it_did_not_see),
        cmocka_unit_test(test_dpdk_pending__every_bit_of_the_hash_counts),
        cmocka_unit_test(test_dpdk_pending__equals_a_list_with_times),
        cmocka_unit_test(test_dpdk_pending__memory_of_the_caller_outlives_it),
        cmocka_unit_test(test_dpdk_fragments__follow_the_first_for_a_second),
        cmocka_unit_test(test_dpdk_fragments__are_told_apart_by_all_of_their_name),
        cmocka_unit_test(test_dpdk_fragments__many_overwrite_the_oldest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
