/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Model files: read whole or refused by name, written whole or not at all. */
#include "failing_alloc.h"
#include "io_scratch.h"

/* A small made model of the corpus; SKIP where the source is not at hand. */
static const char *made(void) {
    static char path[512];
    const char *root = getenv("SPR_SOURCE_ROOT");
    snprintf(path, sizeof path, "%s/tests/fuzz/corpus/model/made1.model", root ? root : "");
    if (access(path, R_OK)) {
        print_message("# SKIP SPR_SOURCE_ROOT does not name the source\n");
        skip();
    }
    return path;
}

static void a_model_is_written_as_it_was_read(void **state) {
    (void)state;
    spr_model *m = NULL, *again = NULL;
    struct spr_model_info info = {.size = sizeof info};
    size_t n = 0, k = 0;
    assert_int_equal(spr_model_load(ctx, made(), &m), SPR_OK);
    const char *path = in_scratch("a.model");
    assert_int_equal(spr_model_save(ctx, m, path), SPR_OK);
    assert_int_equal(spr_model_load(ctx, path, &again), SPR_OK);
    const void *p = spr_model_bytes(m, &n), *q = spr_model_bytes(again, &k);
    assert_int_equal(n, k);
    assert_memory_equal(p, q, n);
    assert_int_equal(spr_model_describe(again, &info), SPR_OK);
    assert_string_equal(info.text, "one line");
    assert_int_equal(scratch_files(), 1);
    spr_model_unref(m), spr_model_unref(again);
}

static void expect_named(const char *path, int code) {
    spr_model *m = NULL;
    assert_int_equal(spr_model_load(ctx, path, &m), code);
    assert_null(m);
    assert_string_equal(last_error().file, path);
}

static void what_is_no_whole_model_is_refused_by_name(void **state) {
    (void)state;
    static char bytes[4096];
    FILE *f = fopen(made(), "rb");
    assert_non_null(f);
    size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    expect_named(in_scratch("absent.model"), SPR_E_NOT_FOUND);
    expect_named(scratch, SPR_E_IO); /* a folder */
    expect_named(write_bytes("empty.model", "", 0), SPR_E_FORMAT);
    expect_named(write_bytes("half.model", bytes, n / 2), SPR_E_CORRUPT);
    expect_named(write_text("map.yaml", "schema: 1\n"), SPR_E_FORMAT);
    bytes[200] ^= 1;
    expect_named(write_bytes("bit.model", bytes, n), SPR_E_CORRUPT);
}

static void a_full_disk_keeps_the_old_model(void **state) {
    (void)state;
    spr_model *m = NULL;
    assert_int_equal(spr_model_load(ctx, made(), &m), SPR_OK);
    assert_int_equal(spr_model_save(ctx, m, "/dev/full"), SPR_E_IO);
    assert_string_equal(last_error().file, "/dev/full");
    assert_int_equal(spr_model_save(ctx, m, in_scratch("no/such/folder.model")), SPR_E_IO);
    assert_int_equal(scratch_files(), 0);
    spr_model_unref(m);
}

static void the_doors_are_guarded(void **state) {
    (void)state;
    spr_model *m = NULL;
    assert_int_equal(spr_model_load(NULL, "x", &m), SPR_E_ARG);
    assert_int_equal(spr_model_load(ctx, NULL, &m), SPR_E_ARG);
    assert_int_equal(spr_model_load(ctx, "x", NULL), SPR_E_ARG);
    assert_int_equal(spr_model_save(NULL, m, "x"), SPR_E_ARG);
    assert_int_equal(spr_model_save(ctx, NULL, "x"), SPR_E_ARG);
}

static int load_and_save(spr_context *c, void *arg) {
    spr_model *m = NULL;
    int rc = spr_model_load(c, arg, &m);
    if (rc >= 0)
        rc = spr_model_save(c, m, in_scratch("out.model"));
    spr_model_unref(m);
    return rc;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    assert_true(failing_sweep(load_and_save, (void *)(uintptr_t)made()) > 6);
}

#define IO_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_begin, scratch_end)
int main(void) {
    const struct CMUnitTest tests[] = {
        IO_TEST(a_model_is_written_as_it_was_read), IO_TEST(what_is_no_whole_model_is_refused_by_name),
        IO_TEST(a_full_disk_keeps_the_old_model),   IO_TEST(the_doors_are_guarded),
        IO_TEST(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
