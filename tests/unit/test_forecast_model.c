/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The container of trained models: what was put in comes out, and nothing but a whole model is taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "failing_alloc.h"
#include "forecast/model.h"

static const double levels[] = {.1, .5, .9, .95};

static struct spr_model_info info_of(void) {
    return (struct spr_model_info){.size = sizeof(struct spr_model_info),
                                   .kind = SPR_MODEL_NET,
                                   .horizon = 24,
                                   .level_count = 4,
                                   .members = 2,
                                   .levels = levels,
                                   .step_ns = INT64_C(300000000000),
                                   .context = 2016,
                                   .weights = 18000,
                                   .loss = .21,
                                   .naive_loss = .3,
                                   .coverage95 = .948,
                                   .newest_step = 5988,
                                   .text = "two nets of 64-64, trained on 250 series"};
}

/* Two payloads of seeded bytes under tags that readers may skip. */
static int make(spr_context *ctx, spr_model **out) {
    static unsigned char one[1000], two[64];
    struct spr_model_info info = info_of();
    for (size_t i = 0; i < sizeof one; i++)
        one[i] = (unsigned char)spr__rand64(1, 2, i);
    for (size_t i = 0; i < sizeof two; i++)
        two[i] = (unsigned char)spr__rand64(1, 3, i);
    struct spr__section s[] = {{{'z', 'w', 'e', 'i'}, 7, two, sizeof two},
                               {{'e', 'i', 'n', 's'}, 1, one, sizeof one},
                               {{'e', 'i', 'n', 's'}, 0, NULL, 0}};
    return spr__model_make(ctx, &info, s, 3, out);
}

static spr_context *context(void) {
    spr_context *ctx = NULL;
    assert_int_equal(spr_context_create(NULL, &ctx), 0);
    return ctx;
}

/* A copy of a model's bytes that a test may spoil; 64 more for what should not be there. */
static unsigned char *copy_of(const spr_model *m, size_t *bytes) {
    const void *p = spr_model_bytes(m, bytes);
    unsigned char *copy = aligned_alloc(64, *bytes + 64);
    memcpy(copy, p, *bytes);
    memset(copy + *bytes, 0, 64);
    return copy;
}

static void what_was_put_in_comes_out(void **state) {
    (void)state;
    spr_context *ctx = context();
    spr_model *m = NULL, *again = NULL;
    struct spr_model_info info = {.size = sizeof info};
    size_t bytes, size = 0;
    assert_int_equal(make(ctx, &m), 0);
    unsigned char *image = copy_of(m, &bytes);
    spr_model_unref(m);
    for (int copy = 0; copy < 2; copy++) {
        assert_int_equal(spr_model_open(ctx, "a.model", image, bytes, copy, &again), 0);
        const void *p = spr__model_section(again, "eins", 1, &size);
        assert_int_equal(size, 1000);
        assert_int_equal((uintptr_t)p % 64, 0);
        assert_int_equal(((const unsigned char *)p)[999], (unsigned char)spr__rand64(1, 2, 999));
        assert_true(copy == (p < (void *)image || p > (void *)(image + bytes)));
        assert_non_null(spr__model_section(again, "eins", 0, &size));
        assert_int_equal(size, 0);
        assert_null(spr__model_section(again, "zwei", 0, NULL));
        assert_int_equal(spr_model_describe(again, &info), 0);
        assert_int_equal(info.kind, SPR_MODEL_NET);
        assert_int_equal(info.horizon, 24);
        assert_memory_equal(info.levels, levels, sizeof levels);
        assert_true(info.step_ns == 300000000000 && info.weights == 18000 && info.newest_step == 5988 &&
                    info.coverage95 == .948);
        assert_string_equal(info.text, info_of().text);
        spr_model_unref(again);
    }
    free(image);
    spr_context_unref(ctx);
}

static void the_same_sections_are_the_same_bytes(void **state) {
    (void)state;
    spr_context *ctx = context();
    spr_model *a = NULL, *b = NULL;
    size_t n, k;
    assert_int_equal(make(ctx, &a), 0);
    assert_int_equal(make(ctx, &b), 0);
    const void *p = spr_model_bytes(a, &n), *q = spr_model_bytes(b, &k);
    assert_int_equal(n, k);
    assert_memory_equal(p, q, n);
    assert_int_equal(n % 64, 0);
    spr_model_unref(a), spr_model_unref(b);
    spr_context_unref(ctx);
}

static void expect_refusal(spr_context *ctx, const void *image, size_t bytes, int code) {
    spr_model *untouched = (spr_model *)&untouched, *out = untouched;
    struct spr_error e = {.size = sizeof e};
    int rc = spr_model_open(ctx, "dir/a.model", image, bytes, 0, &out);
    assert_true(rc < 0);
    if (code)
        assert_int_equal(rc, code);
    assert_ptr_equal(out, untouched);
    assert_int_equal(spr_context_error(ctx, &e), 0);
    assert_int_equal(e.code, rc);
    assert_string_equal(e.file, "dir/a.model");
    assert_true(e.text[0] != 0);
}

static void a_model_cut_off_anywhere_is_refused(void **state) {
    (void)state;
    spr_context *ctx = context();
    spr_model *m = NULL;
    size_t bytes;
    assert_int_equal(make(ctx, &m), 0);
    unsigned char *image = copy_of(m, &bytes);
    expect_refusal(ctx, image, 0, SPR_E_FORMAT);
    for (size_t n = 1; n < bytes; n++)
        expect_refusal(ctx, image, n, SPR_E_CORRUPT);
    expect_refusal(ctx, image, bytes + 1, SPR_E_CORRUPT);
    expect_refusal(ctx, image, bytes + 64, SPR_E_CORRUPT);
    free(image);
    spr_model_unref(m);
    spr_context_unref(ctx);
}

static void any_turned_bit_is_found(void **state) {
    (void)state;
    spr_context *ctx = context();
    spr_model *m = NULL;
    size_t bytes;
    assert_int_equal(make(ctx, &m), 0);
    unsigned char *image = copy_of(m, &bytes);
    for (size_t i = 0; i < bytes * 8; i += 5) {
        image[i / 8] ^= (unsigned char)(1 << i % 8);
        expect_refusal(ctx, image, bytes, 0);
        image[i / 8] ^= (unsigned char)(1 << i % 8);
    }
    free(image);
    spr_model_unref(m);
    spr_context_unref(ctx);
}

static void foreign_files_are_no_models(void **state) {
    (void)state;
    spr_context *ctx = context();
    _Alignas(64) char text[256] = "schema: 1\nform: wide\n";
    expect_refusal(ctx, text, sizeof text, SPR_E_FORMAT);
    expect_refusal(ctx, text, 3, SPR_E_FORMAT);
    spr_context_unref(ctx);
}

/* Offsets of the header (doc/formats.md). */
enum { VERSION = 8, HEADER_CRC = 60, TABLE = 64 };

static void repair_header(unsigned char *image) {
    uint32_t crc = spr__crc32c(0, image, HEADER_CRC);
    memcpy(image + HEADER_CRC, &crc, 4);
}

static void a_newer_version_is_told_apart_from_damage(void **state) {
    (void)state;
    spr_context *ctx = context();
    spr_model *m = NULL;
    size_t bytes;
    assert_int_equal(make(ctx, &m), 0);
    unsigned char *image = copy_of(m, &bytes);
    image[VERSION] = 2;
    expect_refusal(ctx, image, bytes, SPR_E_CORRUPT);
    repair_header(image);
    expect_refusal(ctx, image, bytes, SPR_E_TOO_NEW);
    image[VERSION] = 0;
    repair_header(image);
    expect_refusal(ctx, image, bytes, SPR_E_CORRUPT);
    free(image);
    spr_model_unref(m);
    spr_context_unref(ctx);
}

/* Whoever can compute sums may still not lie about places: numbers of the table, each replaced by odd ones. */
static void right_sums_do_not_excuse_wrong_places(void **state) {
    (void)state;
    spr_context *ctx = context();
    spr_model *m = NULL;
    size_t bytes;
    static const uint64_t odd[] = {0, 1, 63, 1u << 20, UINT64_C(1) << 63, UINT64_MAX, UINT64_MAX - 63};
    assert_int_equal(make(ctx, &m), 0);
    unsigned char *image = copy_of(m, &bytes);
    for (size_t section = 0; section < 4; section++)
        for (size_t field = 8; field <= 16; field += 8)
            for (size_t k = 0; k < SPR_ARRAY_LEN(odd); k++) {
                unsigned char *at = image + TABLE + 32 * section + field, kept[8];
                memcpy(kept, at, 8);
                if (!memcmp(kept, &odd[k], 8))
                    continue;
                memcpy(at, &odd[k], 8);
                uint32_t crc = spr__crc32c(0, image + TABLE, 4 * 32);
                memcpy(image + 24, &crc, 4);
                repair_header(image);
                expect_refusal(ctx, image, bytes, SPR_E_CORRUPT);
                memcpy(at, kept, 8);
            }
    free(image);
    spr_model_unref(m);
    spr_context_unref(ctx);
}

static void what_nobody_knows_is_refused_unless_it_may_be_skipped(void **state) {
    (void)state;
    spr_context *ctx = context();
    spr_model *m = NULL;
    struct spr_model_info info = info_of();
    struct spr__section s[] = {{{'N', 'E', 'W', '?'}, 0, "x", 1}};
    assert_int_equal(spr__model_make(ctx, &info, s, 1, &m), SPR_E_TOO_NEW);
    s[0].tag[0] = 'n';
    assert_int_equal(spr__model_make(ctx, &info, s, 1, &m), 0);
    spr_model_unref(m);
    struct spr__section twice[] = {s[0], s[0]};
    assert_int_equal(spr__model_make(ctx, &info, twice, 2, &m), SPR_E_CORRUPT);
    spr_context_unref(ctx);
}

static void a_description_that_makes_no_sense_is_refused(void **state) {
    (void)state;
    static const double falling[] = {.5, .1, .9, .95}, outside[] = {.1, .5, .9, 1}, strange[] = {.1, NAN, .9, .95};
    spr_context *ctx = context();
    spr_model *m = NULL;
    struct spr_model_info bad[] = {info_of(), info_of(), info_of(), info_of(), info_of(), info_of(), info_of()};
    bad[0].levels = falling;
    bad[1].levels = outside;
    bad[2].levels = strange;
    bad[3].horizon = 0;
    bad[4].kind = 99;
    bad[5].step_ns = -1;
    bad[6].text = "\033[2J";
    for (size_t i = 0; i < SPR_ARRAY_LEN(bad); i++)
        assert_int_equal(spr__model_make(ctx, &bad[i], NULL, 0, &m), SPR_E_CORRUPT);
    bad[0].levels = NULL;
    assert_int_equal(spr__model_make(ctx, &bad[0], NULL, 0, &m), SPR_E_ARG);
    spr_context_unref(ctx);
}

static void the_door_is_guarded(void **state) {
    (void)state;
    spr_context *ctx = context();
    spr_model *m = NULL;
    struct spr_model_info info = {.size = sizeof info};
    _Alignas(64) char some[128] = "";
    size_t bytes = 1;
    assert_int_equal(spr_model_open(NULL, "x", some, 1, 0, &m), SPR_E_ARG);
    assert_int_equal(spr_model_open(ctx, "x", NULL, 1, 0, &m), SPR_E_ARG);
    assert_int_equal(spr_model_open(ctx, "x", some, 1, 0, NULL), SPR_E_ARG);
    assert_int_equal(spr_model_open(ctx, "x", some + 1, 64, 0, &m), SPR_E_ARG);
    assert_int_equal(spr_model_open(ctx, NULL, some + 1, 64, 1, &m), SPR_E_FORMAT);
    assert_int_equal(spr_model_describe(NULL, &info), SPR_E_ARG);
    assert_null(spr_model_bytes(NULL, &bytes));
    assert_int_equal(bytes, 0);
    assert_null(spr_model_ref(NULL));
    spr_model_unref(NULL);
    assert_int_equal(make(ctx, &m), 0);
    assert_int_equal(spr_model_describe(m, NULL), SPR_E_ARG);
    assert_ptr_equal(spr_model_ref(m), m);
    spr_model_unref(m);
    spr_model_unref(m);
    spr_context_unref(ctx);
}

static int make_and_open(spr_context *ctx, void *arg) {
    spr_model *m = NULL, *again = NULL;
    size_t bytes;
    (void)arg;
    int rc = make(ctx, &m);
    if (rc < 0)
        return rc;
    const void *image = spr_model_bytes(m, &bytes);
    rc = spr_model_open(ctx, "x", image, bytes, 1, &again);
    spr_model_unref(m);
    spr_model_unref(again);
    return rc;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    assert_true(failing_sweep(make_and_open, NULL) >= 6);
}

static void long_and_short_checksums_agree(void **state) {
    (void)state;
    static unsigned char data[5003];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)spr__rand64(4, 4, i);
    uint32_t bytewise = 0;
    for (size_t i = 0; i < sizeof data; i++)
        bytewise = spr__crc32c(bytewise, data + i, 1);
    assert_int_equal(spr__crc32c(0, data, sizeof data), bytewise);
    assert_int_equal(spr__crc32c(0, "123456789", 9), 0xE3069283);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_in_comes_out),
        cmocka_unit_test(the_same_sections_are_the_same_bytes),
        cmocka_unit_test(a_model_cut_off_anywhere_is_refused),
        cmocka_unit_test(any_turned_bit_is_found),
        cmocka_unit_test(foreign_files_are_no_models),
        cmocka_unit_test(a_newer_version_is_told_apart_from_damage),
        cmocka_unit_test(right_sums_do_not_excuse_wrong_places),
        cmocka_unit_test(what_nobody_knows_is_refused_unless_it_may_be_skipped),
        cmocka_unit_test(a_description_that_makes_no_sense_is_refused),
        cmocka_unit_test(the_door_is_guarded),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(long_and_short_checksums_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
