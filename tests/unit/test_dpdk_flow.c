/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Flow table: how full it gets, what a walk sees, what it refuses to be opened as. The model is in test_dpdk_model.c.
 */
#include "dpdk_flows.h"

#include "flow_inside.h"

static const enum dp_flow_family families[] = {DP_FLOW_IP4, DP_FLOW_IP6};

static void test_dpdk_flow__no_insert_fails_below_a_load_of_85_percent(void **unused) {
    (void)unused;
    for (int family = 0; family < 2; family++)
        for (unsigned log2 = 6; log2 <= 14; log2 += 4)
            for (uint64_t seed = 1; seed <= (log2 == 6 ? 50 : 6); seed++) {
                struct flows f;
                flows_make(&f, families[family], log2, seed);
                uint32_t capacity = (uint32_t)dp_flow_capacity(f.table), most = capacity * 85 / 100 + 1;
                for (uint32_t i = 0; i < most; i++)
                    if (flows_enter(&f, i, dp_flow_value(7, DP_FLOW_OPEN, 0, 0)) == UINT32_MAX)
                        fail_msg("seed %llu: %u of %u are in", (unsigned long long)seed, i, capacity);
                assert_int_equal(dp_flow_count(f.table), most);
                flows_end(&f);
            }
}

static void test_dpdk_flow__a_flow_takes_at_most_20_bytes_at_a_load_of_80_percent(void **unused) {
    (void)unused;
    struct flows f;
    flows_make(&f, DP_FLOW_IP4, 16, 3);
    uint32_t n = (uint32_t)(dp_flow_capacity(f.table) * 81 / 100);
    for (uint32_t i = 0; i < n; i++)
        assert_int_not_equal(flows_enter(&f, i, dp_flow_value(7, DP_FLOW_OPEN, 0, 0)), UINT32_MAX);
    assert_true((double)n / (double)dp_flow_capacity(f.table) >= 0.80);
    assert_true((double)f.bytes / n <= 20);
    flows_end(&f);
}

static void test_dpdk_flow__a_full_table_refuses_and_keeps_what_it_has(void **unused) {
    (void)unused;
    for (int family = 0; family < 2; family++) {
        struct flows f;
        uint32_t refused = 0, in = 0, capacity;
        flows_make(&f, families[family], 7, 11);
        capacity = (uint32_t)dp_flow_capacity(f.table);
        static uint8_t there[4096];
        memset(there, 0, sizeof there);
        for (uint32_t i = 0; i < capacity * 2; i++) {
            there[i] = flows_enter(&f, i, 1 + i) != UINT32_MAX;
            there[i] ? in++ : refused++;
        }
        assert_true(refused >= capacity && in >= capacity * 95 / 100);
        assert_int_equal(dp_flow_count(f.table), in);
        for (uint32_t i = 0, slot; i < capacity * 2; i++)
            assert_int_equal(flows_value(&f, i, &slot), there[i] ? 1 + i : 0);
        uint64_t hash; /* value 0 means that nothing is there: it cannot be entered */
        uint32_t number = 5000, none, slot;
        flows_find(&f, &number, 1, &hash, &none, &slot);
        assert_int_equal(flows_insert(&f, number, hash, 0), UINT32_MAX);
        flows_end(&f);
    }
}

static void test_dpdk_flow__an_empty_table_again_after_all_were_taken_out(void **unused) {
    (void)unused;
    for (int family = 0; family < 2; family++) {
        struct flows f;
        flows_make(&f, families[family], 8, 5);
        uint32_t n = (uint32_t)dp_flow_capacity(f.table) * 9 / 10, slot;
        for (uint32_t i = 0; i < n; i++)
            assert_int_not_equal(flows_enter(&f, i, 1 + i), UINT32_MAX);
        for (uint32_t i = 0; i < n; i++) {
            assert_int_equal(flows_value(&f, i * 7 % n, &slot), 1 + i * 7 % n);
            dp_flow_erase(f.table, slot);
        }
        assert_int_equal(dp_flow_count(f.table), 0);
        const uint8_t *body =
            (const uint8_t *)f.memory + DP_FLOW_START; /* overflow words too: misses cost a line again */
        for (size_t i = 0; i < f.bytes - DP_FLOW_START; i++)
            assert_int_equal(body[i], 0);
        flows_end(&f);
    }
}

static void test_dpdk_flow__a_walk_meets_every_flow_once(void **unused) {
    (void)unused;
    for (int family = 0; family < 2; family++) {
        struct flows f;
        flows_make(&f, families[family], 7, 9);
        enum { N = 500 };
        for (uint32_t i = 0; i < N; i++)
            assert_int_not_equal(flows_enter(&f, i, dp_flow_value(i & 4095, DP_FLOW_OPEN, i, i >> 8)), UINT32_MAX);
        for (unsigned most = 1; most < 400; most = most * 3 + 1) {
            uint8_t met[N] = {0};
            uint32_t cursor = 0, value, slot, count = 0, calls = 0;
            struct dp_key6 key;
            while (dp_flow_next(f.table, &cursor, most, &key, &value, &slot)) {
                assert_true(++calls < 4 * N);
                if (slot == UINT32_MAX)
                    continue;
                uint32_t i = flows_number(&f, &key), where;
                assert_true(i < N && !met[i]++);
                assert_int_equal(key.frontend, 1 + i % 3);
                assert_int_equal(value, dp_flow_value(i & 4095, DP_FLOW_OPEN, i, i >> 8));
                assert_int_equal(flows_value(&f, i, &where), value);
                assert_int_equal(where, slot);
                count++;
            }
            assert_int_equal(count, N);
        }
        flows_end(&f);
    }
}

static void test_dpdk_flow__a_walk_may_take_out_what_it_meets(void **unused) {
    (void)unused;
    struct flows f;
    flows_make(&f, DP_FLOW_IP6, 7, 9);
    for (uint32_t i = 0; i < 500; i++)
        flows_enter(&f, i, 1 + i);
    uint32_t cursor = 0, value, slot, count = 0;
    struct dp_key6 key;
    while (dp_flow_next(f.table, &cursor, UINT32_MAX, &key, &value, &slot))
        if (slot != UINT32_MAX && ++count)
            dp_flow_erase(f.table, slot);
    assert_int_equal(count, 500);
    assert_int_equal(dp_flow_count(f.table), 0);
    flows_end(&f);
}

static void test_dpdk_flow__every_level_answers_alike(void **unused) {
    (void)unused;
    int levels = 0;
    uint64_t state = 77;
    for (int family = 0; family < 2; family++) {
        struct flows f;
        flows_make(&f, families[family], 8, 21);
        for (uint32_t i = 0; i < 1150; i++) /* load 0.9: many live in their other bucket */
            flows_enter(&f, i, 1 + i);
        for (int round = 0; round < 2000; round++) {
            uint32_t numbers[64], want[64], wslots[64], values[64], slots[64];
            uint64_t hashes[64], again[64];
            unsigned n = (unsigned)(flows_random(&state) % 65);
            for (unsigned i = 0; i < n; i++)
                numbers[i] = (uint32_t)(flows_random(&state) % 2300);
            assert_int_equal(dp_flow_force(1), 0);
            flows_find(&f, numbers, n, hashes, want, wslots);
            for (unsigned i = 0; i < n; i++)
                assert_int_equal(want[i], numbers[i] < 1150 ? numbers[i] + 1 : 0);
            for (int level = 1; level <= 3; level++) {
                if (dp_flow_force(level) < 0)
                    continue;
                flows_find(&f, numbers, n, again, values, NULL); /* values alone have a way of their own */
                assert_memory_equal(values, want, n * sizeof *want);
                levels |= 1 << level;
                flows_find(&f, numbers, n, again, values, slots);
                assert_memory_equal(values, want, n * sizeof *want);
                assert_memory_equal(slots, wslots, n * sizeof *want);
                assert_memory_equal(hashes, again, n * sizeof *again);
            }
        }
        flows_end(&f);
    }
    assert_int_equal(dp_flow_force(4), -1);
    assert_int_equal(dp_flow_force(0), 0);
    print_message("levels of this CPU: plain%s%s\n", levels & 4 ? " AVX2" : "", levels & 8 ? " AVX-512" : "");
}

static void test_dpdk_flow__an_ip6_hit_is_exact(void **unused) {
    (void)unused;
    /* Same line 0 (low half of the address and ports mixed), another upper half: no hit. */
    struct flows f;
    flows_make(&f, DP_FLOW_IP6, 4, 1);
    struct dp_key6 in = flows_key6(8), out = in;
    uint64_t hash, other;
    uint32_t value, slot;
    dp_flow_lookup6(f.table, &in, 1, &hash, &value, &slot);
    for (unsigned byte = 0; byte < 20; byte++) {
        struct flows g;
        flows_make(&g, DP_FLOW_IP6, 1, 1);
        dp_flow_insert6(g.table, &in, hash, 9);
        out = in;
        byte < 16   ? (out.source[byte] ^= 1)
        : byte < 18 ? (out.port ^= (uint16_t)(1 << (byte - 16)))
                    : (out.frontend ^= 4);
        dp_flow_lookup6(g.table, &out, 1, &other, &value, &slot);
        assert_int_equal(value, 0);
        assert_int_equal(slot, UINT32_MAX);
        dp_flow_lookup6(g.table, &in, 1, &other, &value, &slot);
        assert_int_equal(value, 9);
        flows_end(&g);
    }
    flows_end(&f);
}

static void refuses(void *memory, size_t bytes, enum dp_flow_family family, unsigned log2, const char *what) {
    struct dp_flow_table *t = (struct dp_flow_table *)(void *)&t;
    const void *before = t;
    const char *why = NULL;
    assert_int_equal(dp_flow_open(memory, bytes, family, log2, false, 0, &t, &why), -1);
    assert_ptr_equal(t, before);
    if (!why || !strstr(why, what))
        fail_msg("'%s' where '%s' was expected", why ? why : "(nothing)", what);
}

static void test_dpdk_flow__is_taken_again_or_refused_with_a_reason(void **unused) {
    (void)unused;
    for (int family = 0; family < 2; family++) {
        struct flows f, g;
        flows_make(&f, families[family], 8, 42);
        g = f;
        for (uint32_t i = 0; i < 1150; i++)
            flows_enter(&f, i, 1 + i);
        const char *why = NULL;
        assert_int_equal(dp_flow_open(f.memory, f.bytes, f.family, 8, false, 0, &g.table, &why), 0);
        assert_int_equal(dp_flow_count(g.table), 1150);
        for (uint32_t i = 0, slot; i < 2300; i++)
            assert_int_equal(flows_value(&g, i, &slot), i < 1150 ? 1 + i : 0);
        dp_flow_close(g.table);
        refuses(f.memory, f.bytes, f.family, 7, "size");
        refuses(f.memory, f.bytes, f.family, 9, "too little memory");
        refuses(f.memory, f.bytes, f.family, 0, "2 to 2^28");
        refuses(f.memory, f.bytes, f.family, 29, "2 to 2^28");
        refuses((char *)f.memory + 8, f.bytes - 8, f.family, 7, "aligned");
        uint8_t *head = f.memory;
        head[40] ^= 1; /* seed */
        refuses(f.memory, f.bytes, f.family, 8, "header is damaged");
        head[40] ^= 1;
        uint64_t magic;
        memcpy(&magic, head, 8);
        memset(head, 0, 8);
        refuses(f.memory, f.bytes, f.family, 8, "never finished");
        memcpy(head, &magic, 8);
        struct dp_bucket *b = dp_bucket_at(f.table, 3), *c = dp_bucket_at(f.table, 4);
        uint64_t key = b->key[0];
        assert_true(b->value[0] && b->value[1]);
        b->key[0] = c->key[1] ^ 0x5555;
        refuses(f.memory, f.bytes, f.family, 8, "not its own");
        b->key[0] = key;
        struct dp_bucket saved[2] = {b[0], b[1]};
        b->key[1] = b->key[0];
        if (f.family == DP_FLOW_IP6) {
            dp_beside_of(b)->high[1] = dp_beside_of(b)->high[0];
            dp_beside_of(b)->ports[1] = dp_beside_of(b)->ports[0];
        }
        refuses(f.memory, f.bytes, f.family, 8, "twice");
        memcpy(b, saved, f.family == DP_FLOW_IP6 ? 128 : 64);
        assert_int_equal(dp_flow_open(f.memory, f.bytes, f.family, 8, false, 0, &g.table, &why), 0);
        dp_flow_close(g.table);
        flows_end(&f);
    }
    struct flows f;
    flows_make(&f, DP_FLOW_IP4, 8, 42);
    refuses(f.memory, f.bytes, DP_FLOW_IP6, 7, "its size is another");
    flows_end(&f);
}

static void test_dpdk_flow__what_a_kill_leaves_is_made_whole(void **unused) {
    (void)unused;
    for (int family = 0; family < 2; family++) {
        struct flows f, g;
        flows_make(&f, families[family], 8, 42);
        g = f;
        for (uint32_t i = 0; i < 1000; i++)
            flows_enter(&f, i, 1 + i);
        /* One on its way in, its value not written yet; one on its way between its buckets, there twice; counts off. */
        uint32_t away = 0, halves = 0;
        for (uint32_t bucket = 0; bucket < 256; bucket++) {
            struct dp_bucket *b = dp_bucket_at(f.table, bucket);
            b->value[DP_OVERFLOW] ^= 0x00410001;
            f.table->hints[bucket] ^= 0x41;
            for (unsigned i = 0; i < DP_SLOTS; i++) {
                if (!b->value[i]) {
                    b->key[i] = 0x1234567;
                    halves++;
                    continue;
                }
                struct dp_words w = dp_flow_words(f.table, b, i);
                uint64_t hash = dp_flow_hash(f.table, w);
                struct dp_bucket *first = dp_bucket_at(f.table, dp_first(f.table, hash));
                for (unsigned j = 0; first != b && j < DP_SLOTS; j++)
                    if (!first->value[j]) { /* going home, say */
                        first->key[j] = w.key;
                        if (family) {
                            dp_beside_of(first)->high[j] = w.high;
                            dp_beside_of(first)->ports[j] = w.ports;
                        }
                        first->value[j] = b->value[i];
                        away++;
                        break;
                    }
            }
        }
        /* Homes of what lives away are full, so a copy finds room there only when we make some. */
        for (uint32_t bucket = 0; bucket < 256; bucket++) {
            struct dp_bucket *b = dp_bucket_at(f.table, bucket);
            for (unsigned i = 0; i < DP_SLOTS; i++) {
                struct dp_words w = dp_flow_words(f.table, b, i);
                uint64_t hash = b->value[i] ? dp_flow_hash(f.table, w) : bucket;
                uint32_t other = dp_other(f.table, hash);
                struct dp_bucket *o = dp_bucket_at(f.table, other);
                if (!b->value[i] || dp_first(f.table, hash) != bucket || o->value[4] || away > 20)
                    continue;
                o->key[4] = w.key;
                if (family) {
                    dp_beside_of(o)->high[4] = w.high;
                    dp_beside_of(o)->ports[4] = w.ports;
                }
                o->value[4] = b->value[i];
                away++;
            }
        }
        assert_true(away && halves);
        const char *why = NULL;
        assert_int_equal(dp_flow_open(f.memory, f.bytes, f.family, 8, false, 0, &g.table, &why), 0);
        assert_int_equal(dp_flow_count(g.table), 1000);
        uint32_t slot;
        for (uint32_t i = 0; i < 1000; i++) {
            assert_int_equal(flows_value(&g, i, &slot), 1 + i);
            dp_flow_erase(g.table, slot);
            assert_int_equal(flows_value(&g, i, &slot), 0);
        }
        for (size_t i = DP_FLOW_START; i < f.bytes; i++)
            assert_int_equal(((uint8_t *)f.memory)[i], 0);
        dp_flow_close(g.table);
        flows_end(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dpdk_flow__no_insert_fails_below_a_load_of_85_percent),
        cmocka_unit_test(test_dpdk_flow__a_flow_takes_at_most_20_bytes_at_a_load_of_80_percent),
        cmocka_unit_test(test_dpdk_flow__a_full_table_refuses_and_keeps_what_it_has),
        cmocka_unit_test(test_dpdk_flow__an_empty_table_again_after_all_were_taken_out),
        cmocka_unit_test(test_dpdk_flow__a_walk_meets_every_flow_once),
        cmocka_unit_test(test_dpdk_flow__a_walk_may_take_out_what_it_meets),
        cmocka_unit_test(test_dpdk_flow__every_level_answers_alike),
        cmocka_unit_test(test_dpdk_flow__an_ip6_hit_is_exact),
        cmocka_unit_test(test_dpdk_flow__is_taken_again_or_refused_with_a_reason),
        cmocka_unit_test(test_dpdk_flow__what_a_kill_leaves_is_made_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
