/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Tables and options of other ages at real doors: an old backend, one from the future, one that needs what we lack. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include <shardpredict.h>
#include <shardpredict/ops/driver.h>
#include <shardpredict/ops/forecaster.h>
#include <shardpredict/ops/planner.h>
#include <shardpredict/ops/store.h>

#include "base/base.h"

/* A door that takes a table: how to pass through it, and what the table looks like. */
struct door {
    const char *name;
    const void *(*table)(void);
    size_t size;     /* of the table today */
    size_t required; /* end of the last required slot */
    int (*pass)(spr_context *ctx, const void *table);
};

static const void *forecaster_table(void) { return spr_forecaster_seasonal_naive(); }
static int forecaster_pass(spr_context *ctx, const void *table) {
    spr_forecaster *f = NULL;
    int rc = spr_forecaster_create(ctx, table, NULL, &f);
    assert_true(rc < 0 ? !f : !!f);
    spr_forecaster_destroy(f);
    return rc;
}

static const void *planner_table(void) { return spr_planner_builtin(); }
static int planner_pass(spr_context *ctx, const void *table) {
    spr_planner *p = NULL;
    int rc = spr_planner_create(ctx, table, NULL, &p);
    assert_true(rc < 0 ? !p : !!p);
    spr_planner_destroy(p);
    return rc;
}

/* A driver that owns nothing and refuses everything: enough to be let in. */
static int cancel_nothing(void *state, spr_ticket ticket) {
    (void)state, (void)ticket;
    return SPR_E_NOT_FOUND;
}
static int open_nothing(const struct spr_env *env, const void *config, void **state) {
    (void)config;
    *state = env->context;
    return SPR_OK;
}
static void close_nothing(void *state) { (void)state; }
static int submit_nothing(void *state, const struct spr_driver_request *request, struct spr_time now,
                          int64_t deadline_mono_ns, spr_ticket *out) {
    (void)state, (void)request, (void)now, (void)deadline_mono_ns, (void)out;
    return SPR_E_BUSY;
}
static int collect_nothing(void *state, struct spr_time now, struct spr_driver_completion *out, size_t room,
                           size_t *count) {
    (void)state, (void)now, (void)out, (void)room;
    *count = 0;
    return SPR_OK;
}
static const struct spr_async_ops nothing_async = {.size = sizeof nothing_async, .cancel = cancel_nothing};
static const struct spr_driver_ops nothing = {.size = sizeof nothing,
                                              .name = "nothing",
                                              .license = "MIT OR Apache-2.0",
                                              .async = &nothing_async,
                                              .open = open_nothing,
                                              .close = close_nothing,
                                              .submit = submit_nothing,
                                              .collect = collect_nothing};

static int lifecycle_pass(spr_context *ctx, const struct spr_driver_ops *driver, const struct spr_store_ops *store) {
    struct spr_lifecycle_opts opts = {.size = sizeof opts, .driver = driver, .store = store};
    spr_lifecycle *l = NULL;
    int rc = spr_lifecycle_create(ctx, &opts, &l);
    assert_true(rc < 0 ? !l : !!l);
    spr_lifecycle_destroy(l);
    return rc;
}
static const void *driver_table(void) { return &nothing; }
static int driver_pass(spr_context *ctx, const void *table) { return lifecycle_pass(ctx, table, NULL); }
static const void *async_table(void) { return &nothing_async; }
static int async_pass(spr_context *ctx, const void *table) {
    struct spr_driver_ops driver = nothing;
    driver.async = table;
    return lifecycle_pass(ctx, &driver, NULL);
}
static const void *store_table(void) { return spr_store_memory(); }
static int store_pass(spr_context *ctx, const void *table) { return lifecycle_pass(ctx, &nothing, table); }

#define END_OF(type, slot) (offsetof(struct type, slot) + sizeof(((struct type *)0)->slot))

static const struct door doors[] = {
    {"spr_forecaster_ops", forecaster_table, sizeof(struct spr_forecaster_ops), END_OF(spr_forecaster_ops, predict),
     forecaster_pass},
    {"spr_planner_ops", planner_table, sizeof(struct spr_planner_ops), END_OF(spr_planner_ops, plan), planner_pass},
    {"spr_driver_ops", driver_table, sizeof(struct spr_driver_ops), END_OF(spr_driver_ops, collect), driver_pass},
    {"spr_driver_ops.async", async_table, sizeof(struct spr_async_ops), END_OF(spr_async_ops, cancel), async_pass},
    {"spr_store_ops", store_table, sizeof(struct spr_store_ops), END_OF(spr_store_ops, read), store_pass},
};

/* The door's table with another size; what lies past today's end is `filler`. */
static void *aged(const struct door *d, size_t size, unsigned char filler) {
    unsigned char *t = malloc(d->size + size);
    assert_non_null(t);
    memset(t, filler, d->size + size);
    memcpy(t, d->table(), d->size);
    memcpy(t, &size, sizeof size);
    return t;
}

static int pass_aged(const struct door *d, size_t size, unsigned char filler, struct spr_error *e) {
    spr_context *ctx = NULL;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    void *t = aged(d, size, filler);
    int rc = d->pass(ctx, t);
    if (rc < 0) {
        assert_int_equal(spr_context_error(ctx, e), SPR_OK);
        assert_int_equal(e->code, rc);
        assert_non_null(strstr(e->text, d->name));
    }
    free(t);
    spr_context_unref(ctx);
    return rc;
}

static void a_table_of_today_passes(void **state) {
    (void)state;
    struct spr_error e = {.size = sizeof e};
    for (size_t i = 0; i < SPR_ARRAY_LEN(doors); i++)
        assert_int_equal(pass_aged(&doors[i], doors[i].size, 0xA5, &e), SPR_OK);
}

static void an_old_table_passes_when_it_has_what_is_required(void **state) {
    (void)state;
    struct spr_error e = {.size = sizeof e};
    for (size_t i = 0; i < SPR_ARRAY_LEN(doors); i++)
        assert_int_equal(pass_aged(&doors[i], doors[i].required, 0xA5, &e), SPR_OK);
}

static void an_old_table_that_lacks_a_required_slot_is_refused(void **state) {
    (void)state;
    struct spr_error e = {.size = sizeof e};
    for (size_t i = 0; i < SPR_ARRAY_LEN(doors); i++)
        assert_int_equal(pass_aged(&doors[i], doors[i].required - sizeof(void *), 0xA5, &e), SPR_E_ARG);
}

static void a_table_from_the_future_passes_while_its_new_slots_are_empty(void **state) {
    (void)state;
    struct spr_error e = {.size = sizeof e};
    for (size_t i = 0; i < SPR_ARRAY_LEN(doors); i++)
        assert_int_equal(pass_aged(&doors[i], doors[i].size + 3 * sizeof(void *), 0, &e), SPR_OK);
}

static void a_table_that_needs_what_we_lack_is_refused(void **state) {
    (void)state;
    struct spr_error e = {.size = sizeof e};
    for (size_t i = 0; i < SPR_ARRAY_LEN(doors); i++)
        assert_int_equal(pass_aged(&doors[i], doors[i].size + 3 * sizeof(void *), 0xA5, &e), SPR_E_TOO_NEW);
}

static void a_table_without_a_size_or_without_a_table_is_refused(void **state) {
    (void)state;
    struct spr_error e = {.size = sizeof e};
    for (size_t i = 0; i < SPR_ARRAY_LEN(doors); i++) {
        assert_int_equal(pass_aged(&doors[i], 0, 0, &e), SPR_E_ARG);
        assert_int_equal(pass_aged(&doors[i], sizeof(size_t) - 1, 0, &e), SPR_E_ARG);
    }
}

/* ---- options at real doors ---- */

static void options_of_any_age_mean_the_same(void **state) {
    (void)state;
    spr_context *ctx = NULL;
    spr_metrics *m = NULL;
    struct {
        struct spr_metrics_opts opts;
        int64_t more;
    } young = {{sizeof young, 0, INT64_C(60000000000), 9}, 0};
    struct {
        size_t size;
        int64_t origin_ns;
    } old = {sizeof old, 0};
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);

    assert_int_equal(spr_metrics_create(ctx, (const struct spr_metrics_opts *)&old, &m), SPR_OK);
    spr_metrics_destroy(m);
    assert_int_equal(spr_metrics_create(ctx, &young.opts, &m), SPR_OK);
    int64_t row = -1;
    assert_int_equal(spr_metrics_add(m, "vm", NULL, SPR_CPU, SPR_GAUGE, 0, &row), SPR_OK);
    assert_int_equal(spr_metrics_push(m, row, INT64_C(60000000000) * 11, 2.385, 0), SPR_E_FORMAT); /* past max_steps */
    spr_metrics_destroy(m);

    m = NULL;
    young.more = 1;
    assert_int_equal(spr_metrics_create(ctx, &young.opts, &m), SPR_E_TOO_NEW);
    assert_null(m);
    spr_context_unref(ctx);
}

static void an_old_caller_is_told_no_more_than_it_has_room_for(void **state) {
    (void)state;
    spr_context *ctx = NULL;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    struct spr_error record = {.size = sizeof record, .code = SPR_E_IO, .text = "no such disk", .line = 2385};
    assert_int_equal(spr_context_fail(ctx, &record), SPR_E_IO);
    struct {
        struct spr_error e;
        uint64_t canary;
    } out;
    memset(&out, 0x5A, sizeof out);
    out.e.size = offsetof(struct spr_error, line); /* an age that knew no lines */
    assert_int_equal(spr_context_error(ctx, &out.e), SPR_OK);
    assert_int_equal(out.e.code, SPR_E_IO);
    assert_string_equal(out.e.text, "no such disk");
    assert_int_equal(out.e.line, 0x5A5A5A5A5A5A5A5A);
    spr_context_unref(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_of_today_passes),
        cmocka_unit_test(an_old_table_passes_when_it_has_what_is_required),
        cmocka_unit_test(an_old_table_that_lacks_a_required_slot_is_refused),
        cmocka_unit_test(a_table_from_the_future_passes_while_its_new_slots_are_empty),
        cmocka_unit_test(a_table_that_needs_what_we_lack_is_refused),
        cmocka_unit_test(a_table_without_a_size_or_without_a_table_is_refused),
        cmocka_unit_test(options_of_any_age_mean_the_same),
        cmocka_unit_test(an_old_caller_is_told_no_more_than_it_has_room_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
