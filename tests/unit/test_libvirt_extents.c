/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Tables of qcow2 images, whole and torn, and the order in which a file is read ahead. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "extents.h"

#define K       ((uint64_t)1 << 16)
#define PRESENT ((uint64_t)1 << 63)

/* Ten clusters: header, first table at 1, second tables at 2 and 3, data from 4. */
struct image {
    uint8_t bytes[10 << 16];
    uint64_t length;
    int reads, fail_at;
};

static void put(struct image *m, uint64_t at, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++)
        m->bytes[at + (uint64_t)i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
}

static struct image *image(uint64_t size, uint32_t l1) {
    struct image *m = calloc(1, sizeof *m);
    assert_non_null(m);
    m->length = sizeof m->bytes;
    m->fail_at = -1;
    put(m, 0, 0x514649fb, 4);
    put(m, 4, 3, 4);
    put(m, 20, 16, 4);
    put(m, 24, size, 8);
    put(m, 36, l1, 4);
    put(m, 40, K, 8);
    return m;
}

static int read_it(void *from, uint64_t at, void *to, size_t bytes) {
    struct image *m = from;
    if (m->reads++ == m->fail_at)
        return -1;
    assert_true(at <= m->length && bytes <= m->length - at); /* nobody asks for what is not there */
    memcpy(to, m->bytes + at, bytes);
    return 0;
}

static int map(struct image *m, const struct lv_extents *only, struct lv_extents *out) {
    char why[LV_WHY] = "";
    int rc = lv_qcow2_map(read_it, m, m->length, only, out, why);
    assert_true(rc == SPR_OK || why[0]);
    return rc;
}

static void refused(struct image *m, int code) {
    struct lv_extents e = {0};
    assert_int_equal(map(m, NULL, &e), code);
    assert_null(e.of);
}

static void is(const struct lv_extents *e, size_t i, uint64_t at, uint64_t bytes, uint64_t file, uint64_t length) {
    assert_true(i < e->count);
    assert_true(e->of[i].at == at && e->of[i].bytes == bytes && e->of[i].file == file && e->of[i].length == length);
}

static void what_is_there_is_found_and_joined(void **state) {
    (void)state;
    struct image *m = image((uint64_t)1 << 30, 2); /* one second table covers 512 MiB */
    struct lv_extents e = {0};
    put(m, K, PRESENT | 2 * K, 8);
    put(m, K + 8, PRESENT | 3 * K, 8);
    put(m, 2 * K, PRESENT | 4 * K, 8);
    put(m, 2 * K + 8, PRESENT | 5 * K, 8);
    put(m, 2 * K + 24, 1, 8);                   /* zeros, nothing behind them */
    put(m, 2 * K + 32, PRESENT | 6 * K | 1, 8); /* zeros that have a place */
    put(m, 3 * K + 8 * 8191, PRESENT | 7 * K, 8);
    put(m, 3 * K, (uint64_t)1 << 62 | (uint64_t)2 << 54 | (8 * K + 100), 8); /* three sectors of compressed data */
    assert_int_equal(map(m, NULL, &e), SPR_OK);
    assert_int_equal(e.count, 3);
    is(&e, 0, 0, 2 * K, 4 * K, 2 * K);
    is(&e, 1, (uint64_t)512 << 20, K, 8 * K + 100, 3 * 512 - 100);
    is(&e, 2, ((uint64_t)1 << 30) - K, K, 7 * K, K);
    lv_extents_clear(&e);
    put(m, 4, 2, 4);
    put(m, 72, UINT64_MAX, 8); /* in version 2 that is no field */
    assert_int_equal(map(m, NULL, &e), SPR_OK);
    assert_int_equal(e.count, 3);
    lv_extents_clear(&e);
    free(m);
}

static void only_what_is_asked_for_is_looked_at(void **state) {
    (void)state;
    struct image *m = image((uint64_t)1 << 30, 2);
    struct lv_extent ask[] = {{.at = K + 5, .bytes = 1}, {.at = 3 * K, .bytes = K}};
    struct lv_extents only = {.of = ask, .count = 2}, e = {0};
    put(m, K, PRESENT | 2 * K, 8);
    put(m, K + 8, PRESENT | (uint64_t)1 << 40, 8); /* past the end, but nobody asks */
    for (uint64_t i = 0; i < 5; i++)
        put(m, 2 * K + 8 * i, PRESENT | (4 + i) * K, 8);
    assert_int_equal(map(m, &only, &e), SPR_OK);
    assert_int_equal(e.count, 2);
    is(&e, 0, K, K, 5 * K, K);
    is(&e, 1, 3 * K, K, 7 * K, K);
    lv_extents_clear(&e);
    refused(m, SPR_E_FORMAT);
    free(m);
}

static void torn_tables_are_refused_whole(void **state) {
    (void)state;
    static const struct {
        uint64_t at, value;
        int bytes, code;
    } bad[] = {
        {0, 0x51464900, 4, SPR_E_FORMAT},
        {4, 4, 4, SPR_E_UNSUPPORTED},
        {72, 2, 8, SPR_E_UNSUPPORTED},  /* marked as corrupt */
        {72, 4, 8, SPR_E_UNSUPPORTED},  /* data in another file */
        {72, 16, 8, SPR_E_UNSUPPORTED}, /* larger entries */
        {32, 1, 4, SPR_E_UNSUPPORTED},  /* encrypted */
        {20, 8, 4, SPR_E_FORMAT},
        {20, 22, 4, SPR_E_FORMAT},
        {20, UINT32_MAX, 4, SPR_E_FORMAT},
        {24, UINT64_MAX, 8, SPR_E_FORMAT},
        {24, (uint64_t)1 << 62, 8, SPR_E_UNSUPPORTED},
        {24, (uint64_t)1 << 40, 8, SPR_E_FORMAT}, /* more than its first table covers */
        {40, 0, 8, SPR_E_FORMAT},                 /* the header as a table */
        {40, K + 8, 8, SPR_E_FORMAT},
        {40, 10 * K, 8, SPR_E_FORMAT},
        {40, UINT64_MAX - K + 1, 8, SPR_E_FORMAT},
        {K, PRESENT | (2 * K + 512), 8, SPR_E_FORMAT},
        {K, PRESENT | 10 * K, 8, SPR_E_FORMAT},
        {K, PRESENT | (uint64_t)1 << 55, 8, SPR_E_FORMAT},
        {2 * K, PRESENT | (4 * K + 512), 8, SPR_E_FORMAT},
        {2 * K, PRESENT | 10 * K, 8, SPR_E_FORMAT},
        {2 * K, (uint64_t)1 << 62 | 10 * K, 8, SPR_E_FORMAT},
        {2 * K, (uint64_t)1 << 62 | 1, 8, SPR_E_FORMAT}, /* compressed, in the header */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct image *m = image((uint64_t)1 << 29, 1);
        put(m, K, PRESENT | 2 * K, 8);
        put(m, 2 * K + 8, PRESENT | 4 * K, 8);
        put(m, bad[i].at, bad[i].value, bad[i].bytes);
        refused(m, bad[i].code);
        free(m);
    }
}

static void a_short_or_unreadable_file_is_refused(void **state) {
    (void)state;
    struct image *m = image((uint64_t)1 << 29, 1);
    put(m, K, PRESENT | 2 * K, 8);
    put(m, 2 * K, PRESENT | 4 * K, 8);
    for (uint64_t length = 0; length <= 4 * K; length += 4 * K - length < 50 ? 1 : 50) {
        m->length = length;
        refused(m, SPR_E_FORMAT);
    }
    m->length = 4 * K + 1; /* the last cluster may be cut short */
    struct lv_extents e = {0};
    assert_int_equal(map(m, NULL, &e), SPR_OK);
    lv_extents_clear(&e);
    for (int i = 0; i < 3; i++) {
        m->reads = 0, m->fail_at = i;
        refused(m, SPR_E_IO);
    }
    free(m);
}

/* Every entry of the first table points at one second table, or at the first table itself. */
static void circles_end(void **state) {
    (void)state;
    for (uint64_t to = 1; to <= 2; to++) {
        struct image *m = image((uint64_t)8192 << 29, 8192);
        for (uint64_t i = 0; i < 8192; i++)
            put(m, K + 8 * i, PRESENT | to * K, 8);
        for (uint64_t i = 0; i < 8192; i++)
            put(m, 2 * K + 8 * i, PRESENT | (4 + i % 2 * 2) * K, 8);
        refused(m, SPR_E_UNSUPPORTED);
        assert_true(m->reads < 2 + (int)(LV_QCOW2_READ_MAX / K));
        free(m);
    }
    struct image *m = image((uint64_t)8192 << 29, 8192); /* empty second tables, but too many of them */
    for (uint64_t i = 0; i < 8192; i++)
        put(m, K + 8 * i, PRESENT | 3 * K, 8);
    refused(m, SPR_E_UNSUPPORTED);
    free(m);
}

static void no_memory_is_said_and_nothing_is_lost(void **state) {
    (void)state;
    struct image *m = image((uint64_t)1 << 29, 1);
    struct lv_extents e = {0};
    put(m, K, PRESENT | 2 * K, 8);
    put(m, 2 * K, PRESENT | 4 * K, 8);
    for (long n = 0; n < 3; n++) {
        atomic_store(&lv_alloc_fail_after, n);
        refused(m, SPR_E_NOMEM);
    }
    atomic_store(&lv_alloc_fail_after, -1);
    assert_int_equal(map(m, NULL, &e), SPR_OK);
    for (long n = 0; n < 2; n++) {
        struct lv_extents order = {0};
        size_t hot = 77;
        atomic_store(&lv_alloc_fail_after, n);
        assert_int_equal(lv_extents_order(&e, 9 * K, &order, &hot), SPR_E_NOMEM);
        assert_true(!order.of && hot == 77);
    }
    atomic_store(&lv_alloc_fail_after, -1);
    lv_extents_clear(&e);
    free(m);
}

/* Each byte of the file once. */
static void whole(const struct lv_extents *order, uint64_t bytes) {
    uint8_t *seen = calloc(1, bytes + 1);
    assert_non_null(seen);
    for (size_t i = 0; i < order->count; i++) {
        assert_true(order->of[i].length > 0);
        for (uint64_t k = 0; k < order->of[i].length; k++)
            assert_int_equal(seen[order->of[i].file + k]++, 0);
    }
    assert_null(memchr(seen, 0, bytes));
    free(seen);
}

static void what_is_hot_comes_first_and_each_byte_once(void **state) {
    (void)state;
    struct lv_extent in[] = {{0, 10, 50, 10},  {10, 10, 20, 10},   {20, 10, 25, 10},         {30, 10, 35, 5},
                             {40, 10, 95, 10}, {50, 10, 1000, 10}, {60, 10, UINT64_MAX, 10}, {70, 10, 52, 2}};
    struct lv_extents hot = {.of = in, .count = 8}, order = {0};
    size_t n = 0;
    assert_int_equal(lv_extents_order(&hot, 100, &order, &n), SPR_OK);
    assert_int_equal(n, 3);
    is(&order, 0, 20, 20, 20, 20);
    is(&order, 1, 50, 10, 50, 10);
    is(&order, 2, 95, 5, 95, 5);
    is(&order, 3, 0, 20, 0, 20);
    is(&order, 4, 40, 10, 40, 10);
    is(&order, 5, 60, 35, 60, 35);
    assert_int_equal(order.count, 6);
    whole(&order, 100);
    lv_extents_clear(&order);
    assert_int_equal(lv_extents_order(NULL, 100, &order, &n), SPR_OK); /* as it was: from the start */
    assert_true(n == 0 && order.count == 1);
    is(&order, 0, 0, 100, 0, 100);
    lv_extents_clear(&order);
    struct lv_extent all = {0, 100, 0, 100};
    hot = (struct lv_extents){.of = &all, .count = 1};
    assert_int_equal(lv_extents_order(&hot, 60, &order, &n), SPR_OK);
    assert_true(n == 1 && order.count == 1);
    whole(&order, 60);
    lv_extents_clear(&order);
    assert_int_equal(lv_extents_order(&hot, 0, &order, &n), SPR_OK); /* an empty file */
    assert_true(n == 0 && order.count == 0);
    lv_extents_clear(&order);
}

static void hot_parts_that_the_rest_touches_stay_apart(void **state) {
    (void)state;
    struct lv_extent in = {0, 10, 0, 10};
    struct lv_extents hot = {.of = &in, .count = 1}, order = {0};
    size_t n = 0;
    assert_int_equal(lv_extents_order(&hot, 30, &order, &n), SPR_OK);
    assert_true(n == 1 && order.count == 2);
    is(&order, 0, 0, 10, 0, 10);
    is(&order, 1, 10, 20, 10, 20);
    lv_extents_clear(&order);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_there_is_found_and_joined),
        cmocka_unit_test(only_what_is_asked_for_is_looked_at),
        cmocka_unit_test(torn_tables_are_refused_whole),
        cmocka_unit_test(a_short_or_unreadable_file_is_refused),
        cmocka_unit_test(circles_end),
        cmocka_unit_test(no_memory_is_said_and_nothing_is_lost),
        cmocka_unit_test(what_is_hot_comes_first_and_each_byte_once),
        cmocka_unit_test(hot_parts_that_the_rest_touches_stay_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
