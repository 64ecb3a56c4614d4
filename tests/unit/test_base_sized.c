/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Structs of different ages: an old caller, a new caller, a caller from the future. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/base.h"

struct newest {
    size_t size;
    int32_t a, b;
    double c;
};

static void an_old_caller_gets_zeros_for_what_it_never_heard_of(void **state) {
    (void)state;
    struct {
        size_t size;
        int32_t a, b;
    } old = {sizeof old, 7, 8};
    struct newest n;
    assert_int_equal(spr__opts_copy(NULL, "x", &old, &n, sizeof n), SPR_OK);
    assert_int_equal(n.a, 7);
    assert_int_equal(n.b, 8);
    assert_true(n.c == 0.0);
    assert_int_equal(n.size, sizeof n);
}

static void a_newer_caller_is_fine_until_it_uses_what_we_lack(void **state) {
    (void)state;
    struct {
        struct newest base;
        double more;
    } young = {{sizeof young, 1, 2, 2.385}, 0.0};
    struct newest n;
    assert_int_equal(spr__opts_copy(NULL, "x", &young, &n, sizeof n), SPR_OK);
    assert_true(n.c == 2.385);
    young.more = 0.25;
    assert_int_equal(spr__opts_copy(NULL, "x", &young, &n, sizeof n), SPR_E_TOO_NEW);
}

static void null_means_all_defaults(void **state) {
    (void)state;
    struct newest n;
    assert_int_equal(spr__opts_copy(NULL, "x", NULL, &n, sizeof n), SPR_OK);
    assert_int_equal(n.a, 0);
}

static void a_size_that_was_never_set_is_refused(void **state) {
    (void)state;
    struct newest n, zero = {0};
    assert_int_equal(spr__opts_copy(NULL, "x", &zero, &n, sizeof n), SPR_E_ARG);
}

static void a_required_slot_must_be_there(void **state) {
    (void)state;
    struct table {
        size_t size;
        void (*one)(void);
        void (*two)(void);
    } t = {sizeof t, NULL, NULL}, n;
    static const size_t need[] = {offsetof(struct table, one)};
    assert_int_equal(spr__ops_copy(NULL, "t", &t, &n, sizeof n, need, 1), SPR_E_ARG);
    assert_int_equal(spr__ops_copy(NULL, "t", NULL, &n, sizeof n, need, 1), SPR_E_ARG);
}

static void output_is_never_written_past_the_callers_size(void **state) {
    (void)state;
    struct newest from = {sizeof from, 1, 2, 3.5};
    struct {
        size_t size;
        int32_t a, canary;
    } out = {offsetof(struct newest, b), 0, 99};
    assert_int_equal(spr__out_copy(&out, &from, sizeof from), SPR_OK);
    assert_int_equal(out.a, 1);
    assert_int_equal(out.canary, 99);
}

static void what_must_be_zero_is_looked_at(void **state) {
    (void)state;
    spr_context *ctx = NULL;
    struct spr_context_opts o = SPR_CONTEXT_OPTS_INIT;
    struct spr_executor e = {.size = sizeof e, .reserved = 1};
    o.reserved = 1;
    assert_int_equal(spr_context_create(&o, &ctx), SPR_E_ARG);
    o.reserved = 0;
    o.executor = &e;
    assert_int_equal(spr_context_create(&o, &ctx), SPR_E_ARG);
    assert_null(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_old_caller_gets_zeros_for_what_it_never_heard_of),
        cmocka_unit_test(a_newer_caller_is_fine_until_it_uses_what_we_lack),
        cmocka_unit_test(null_means_all_defaults),
        cmocka_unit_test(a_size_that_was_never_set_is_refused),
        cmocka_unit_test(a_required_slot_must_be_there),
        cmocka_unit_test(output_is_never_written_past_the_callers_size),
        cmocka_unit_test(what_must_be_zero_is_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
