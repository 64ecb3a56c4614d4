/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The generator: bytes, shapes, files, refusals. */
#include "io_scratch.h"

static char *slurp(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    char *text = malloc(*n + 1);
    assert_int_equal(fread(text, 1, *n, f), *n);
    text[*n] = 0;
    fclose(f);
    return text;
}

static struct spr_generate_opts options(void) {
    return (struct spr_generate_opts){.size = sizeof(struct spr_generate_opts),
                                      .vms = 17,
                                      .days = 2,
                                      .seed = 9,
                                      .out = in_scratch("fleet.csv"),
                                      .truth = in_scratch("truth.csv")};
}

static void the_same_seed_gives_the_same_bytes_and_another_one_does_not(void **state) {
    (void)state;
    struct spr_generate_opts o = options();
    size_t n[3];
    char *text[3];
    for (int i = 0; i < 3; i++) {
        o.seed = i == 2 ? 10 : 9;
        assert_int_equal(spr_generate(ctx, &o), SPR_OK);
        text[i] = slurp(o.out, &n[i]);
    }
    assert_true(n[0] == n[1] && !memcmp(text[0], text[1], n[0]));
    assert_false(n[0] == n[2] && !memcmp(text[0], text[2], n[0]));
    for (int i = 0; i < 3; i++)
        free(text[i]);
}

static void every_line_has_the_form_of_a_trace_and_stays_inside_the_vm(void **state) {
    (void)state;
    struct spr_generate_opts o = options();
    assert_int_equal(spr_generate(ctx, &o), SPR_OK);
    size_t n;
    double size[17], memory[17];
    char *text = slurp(in_scratch("fleet.csv.vms.csv"), &n), *line = strchr(text, '\n') + 1;
    assert_int_equal(strncmp(text, "vm,cpu_cores,memory_bytes,class,replica,spillable\n", 50), 0);
    for (int i = 0; i < 17; i++, line = strchr(line, '\n') + 1) {
        int vm;
        double spill;
        char klass[32], replica[16];
        assert_int_equal(
            sscanf(line, "vm%d,%lf,%lf,%31[^,],%15[^,],%lf\n", &vm, &size[i], &memory[i], klass, replica, &spill), 6);
        assert_int_equal(vm, i);
        assert_true(spill >= 0.6 && spill <= 0.95);
        assert_true(!strcmp(replica, "never") || !strcmp(replica, "template"));
    }
    assert_true(*line == 0);
    free(text);
    text = slurp(o.out, &n);
    line = strchr(text, '\n') + 1;
    for (long row = 0; row < 17 * 2 * 288; row++, line = strchr(line, '\n') + 1) {
        long t;
        int vm;
        double v[6];
        assert_int_equal(
            sscanf(line, "%ld,vm%d,%lf,%lf,%lf,%lf,%lf,%lf\n", &t, &vm, &v[0], &v[1], &v[2], &v[3], &v[4], &v[5]), 8);
        assert_int_equal(t, row / 17 * 300);
        assert_int_equal(vm, row % 17);
        assert_true(v[0] > 0 && v[0] <= size[vm]);
        assert_true(v[1] > 0 && v[1] <= memory[vm]);
        for (int i = 2; i < 6; i++)
            assert_true(v[i] > 100 && v[i] < 1e10);
    }
    assert_true(*line == 0);
    free(text);
}

static void a_stationary_fleet_has_only_steady_vms_without_a_period(void **state) {
    (void)state;
    struct spr_generate_opts o = options();
    o.stationary = 1;
    assert_int_equal(spr_generate(ctx, &o), SPR_OK);
    size_t n, rows = 0;
    char *text = slurp(o.truth, &n);
    for (char *at = text; (at = strstr(at, ",steady-state,\n")); at++)
        rows++;
    assert_int_equal(rows, 17);
    free(text);
}

static void a_device_gets_no_side_file_and_its_failure_names_it(void **state) {
    (void)state;
    struct spr_generate_opts o = options();
    struct stat st;
    o.truth = NULL;
    o.out = "/dev/null";
    assert_int_equal(spr_generate(ctx, &o), SPR_OK);
    assert_int_not_equal(stat("/dev/null.vms.csv", &st), 0);
    o.out = "/dev/full";
    assert_int_equal(spr_generate(ctx, &o), SPR_E_IO);
    assert_string_equal(last_error().file, "/dev/full");
}

static void a_truth_that_cannot_be_written_leaves_no_trace(void **state) {
    (void)state;
    struct spr_generate_opts o = options();
    struct stat st;
    o.truth = "/nowhere-at-all/truth.csv";
    assert_int_equal(spr_generate(ctx, &o), SPR_E_IO);
    assert_int_not_equal(stat(o.out, &st), 0);
}

static void nonsense_is_refused(void **state) {
    (void)state;
    struct spr_generate_opts o = options();
    o.vms = -1;
    assert_int_equal(spr_generate(ctx, &o), SPR_E_ARG);
    o = options(), o.days = 4000;
    assert_int_equal(spr_generate(ctx, &o), SPR_E_ARG);
    o = options(), o.out = NULL;
    assert_int_equal(spr_generate(ctx, &o), SPR_E_ARG);
    assert_int_equal(spr_generate(ctx, NULL), SPR_E_ARG);
    assert_int_equal(spr_generate(NULL, &o), SPR_E_ARG);
}

#define IO_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_begin, scratch_end)

int main(void) {
    const struct CMUnitTest tests[] = {
        IO_TEST(the_same_seed_gives_the_same_bytes_and_another_one_does_not),
        IO_TEST(every_line_has_the_form_of_a_trace_and_stays_inside_the_vm),
        IO_TEST(a_stationary_fleet_has_only_steady_vms_without_a_period),
        IO_TEST(a_device_gets_no_side_file_and_its_failure_names_it),
        IO_TEST(a_truth_that_cannot_be_written_leaves_no_trace),
        IO_TEST(nonsense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
