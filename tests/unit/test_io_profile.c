/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Profiles as JSON, and what happens to generator, profiler and writer when memory runs out. */
#include <math.h>

#include <jansson.h>

#include "failing_alloc.h"
#include "io_scratch.h"

enum { ROWS = 3, STEPS = 8 * 288 };

/* A daily wave with a peak at 14 o'clock, a constant, and nothing at all. */
static int make_series(spr_context *c, const char *first, spr_series **out) {
    static const char *const metrics[] = {NULL, NULL, "licences"};
    struct spr_metrics_opts o = SPR_METRICS_OPTS_INIT;
    spr_metrics *m = NULL;
    int rc = spr_metrics_create(c, &o, &m);
    for (int r = 0; rc >= 0 && r < ROWS; r++) {
        int64_t row;
        rc =
            spr_metrics_add(m, r ? "plain" : first, metrics[r], r < 2 ? r : SPR_RESOURCE_COUNTABLE, SPR_GAUGE, 2, &row);
        for (int64_t i = 0; rc >= 0 && i < STEPS; i++)
            rc = spr_metrics_push(m, row, i * 300 * INT64_C(1000000000),
                                  r == 0   ? 1 + pow(0.5 + 0.5 * cos((double)(i % 288 - 168) / 288 * 2 * M_PI), 3)
                                  : r == 1 ? 2.385
                                           : NAN,
                                  0);
    }
    if (rc >= 0)
        rc = spr_metrics_finish(m, out);
    spr_metrics_destroy(m);
    return rc;
}

static int make_profile(spr_context *c, const char *first, spr_profile **out) {
    spr_series *s = NULL;
    spr_profiler *p = NULL;
    int rc = make_series(c, first, &s);
    if (rc >= 0)
        rc = spr_profiler_create(c, NULL, &p);
    if (rc >= 0)
        rc = spr_profiler_run(p, s, 0, 0, out);
    if (rc >= 0) { /* once more: it remembers the rows now */
        spr_profile_unref(*out);
        *out = NULL;
        rc = spr_profiler_run(p, s, 0, 0, out);
    }
    spr_profiler_destroy(p);
    spr_series_unref(s);
    return rc;
}

static double real(const json_t *o, const char *key) { return json_number_value(json_object_get(o, key)); }

static void the_document_says_what_the_profile_knows(void **state) {
    (void)state;
    const char *path = in_scratch("p.json");
    spr_profile *f = NULL;
    spr_output *o = NULL;
    assert_int_equal(make_profile(ctx, "say \"hi\"\n\xc3\xa9", &f), SPR_OK);
    assert_int_equal(spr_output_create(ctx, path, &o), SPR_OK);
    assert_int_equal(spr_profile_write(ctx, f, o), SPR_OK);
    assert_int_equal(spr_output_commit(o), SPR_OK);
    json_t *doc = json_load_file(path, JSON_REJECT_DUPLICATES, NULL), *all = json_object_get(doc, "profiles");
    assert_int_equal(json_integer_value(json_object_get(doc, "schema")), 1);
    assert_int_equal(json_array_size(all), ROWS);
    const json_t *wave = json_array_get(all, 0), *plain = json_array_get(all, 1), *empty = json_array_get(all, 2);
    assert_string_equal(json_string_value(json_object_get(wave, "series")), "say \"hi\"\n\xc3\xa9");
    assert_string_equal(json_string_value(json_object_get(wave, "metric")), "cpu");
    assert_string_equal(json_string_value(json_object_get(wave, "class")), "diurnal-spike");
    assert_true(fabs(json_number_value(json_array_get(json_object_get(wave, "periods_s"), 0)) / 86400 - 1) < 0.002);
    const json_t *window = json_array_get(json_object_get(wave, "peak_windows"), 0);
    assert_int_equal(json_array_size(json_object_get(window, "days")), 7);
    assert_true(strcmp(json_string_value(json_object_get(window, "from")), "14:00") <= 0);
    assert_true(strcmp(json_string_value(json_object_get(window, "to")), "14:00") > 0);
    assert_string_equal(json_string_value(json_object_get(plain, "class")), "steady-state");
    assert_true(fabs(real(plain, "level") - 4.77) < 1e-9); /* unit factor 2 */
    assert_int_equal(json_array_size(json_object_get(plain, "periods_s")), 0);
    assert_true(json_is_object(json_object_get(plain, "burst")));
    assert_true(json_is_null(json_object_get(empty, "level")));
    assert_string_equal(json_string_value(json_object_get(empty, "metric")), "licences");
    json_decref(doc);
    spr_profile_unref(f);
}

static void a_name_that_is_no_utf8_is_refused(void **state) {
    (void)state;
    spr_profile *f = NULL;
    spr_output *o = NULL;
    assert_int_equal(make_profile(ctx, "\xff\xfe", &f), SPR_OK);
    assert_int_equal(spr_output_create(ctx, in_scratch("q.json"), &o), SPR_OK);
    assert_int_equal(spr_profile_write(ctx, f, o), SPR_E_FORMAT);
    assert_int_equal(spr_profile_write(ctx, NULL, o), SPR_E_ARG);
    spr_output_discard(o);
    spr_profile_unref(f);
}

static int profile_job(spr_context *c, void *arg) {
    spr_profile *f = NULL;
    spr_output *o = NULL;
    (void)arg;
    int rc = make_profile(c, "v", &f);
    if (rc >= 0)
        rc = spr_output_create(c, in_scratch("sweep.json"), &o);
    if (rc >= 0 && (rc = spr_profile_write(c, f, o)) >= 0) {
        rc = spr_output_commit(o);
        o = NULL;
    }
    spr_output_discard(o);
    spr_profile_unref(f);
    return rc;
}

static int generate_job(spr_context *c, void *arg) {
    struct spr_generate_opts o = {.size = sizeof o, .vms = 3, .days = 1, .seed = 4};
    (void)arg;
    o.out = in_scratch("sweep.csv");
    o.truth = "/dev/null";
    return spr_generate(c, &o);
}

static void profiler_and_writer_survive_any_failing_allocation(void **state) {
    (void)state;
    assert_true(failing_sweep(profile_job, NULL) > 20);
}

static void the_generator_survives_any_failing_allocation(void **state) {
    (void)state;
    assert_true(failing_sweep(generate_job, NULL) > 3);
}

#define IO_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_begin, scratch_end)

int main(void) {
    const struct CMUnitTest tests[] = {
        IO_TEST(the_document_says_what_the_profile_knows),
        IO_TEST(a_name_that_is_no_utf8_is_refused),
        IO_TEST(profiler_and_writer_survive_any_failing_allocation),
        IO_TEST(the_generator_survives_any_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
