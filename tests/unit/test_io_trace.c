/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Traces in the tool's own form, and what is wrong with a broken one. */
#include <math.h>
#include <zlib.h>

#include "io_scratch.h"

static const char head[] = "time_s,vm,cpu_cores,memory_bytes,net_rx_bps\n";

static int read_own(const char *path, spr_trace **t) {
    struct spr_trace_opts o = {.size = sizeof o, .files = &path, .file_count = 1};
    return spr_trace_read(ctx, &o, t);
}
static spr_trace *must_read(const char *path) {
    spr_trace *t = NULL;
    int rc = read_own(path, &t);
    if (rc < 0)
        fail_msg("%s: %s", path, last_error().text);
    return t;
}
static double value(const spr_trace *t, const char *vm, int resource, int64_t step) {
    struct spr_panel p = {.size = sizeof p};
    int64_t row = -1;
    assert_int_equal(spr_series_find(spr_trace_series(t), vm, resource, NULL, &row), SPR_OK);
    assert_int_equal(spr_series_view(spr_trace_series(t), SPR_SERIES_MEAN, &p), SPR_OK);
    assert_true(step < p.steps);
    return *(const double *)((const char *)p.data + row * p.series_stride + step * p.step_stride);
}
/* Reading fails with this code at this line (0 = any), and the message has this text and the file's name. */
static void must_fail(const char *path, int code, int64_t line, const char *text) {
    spr_trace *t = NULL;
    assert_int_equal(read_own(path, &t), code);
    assert_null(t);
    struct spr_error e = last_error();
    assert_string_equal(e.file, path);
    if (line)
        assert_int_equal(e.line, line);
    if (!strstr(e.text, text))
        fail_msg("'%s' does not say '%s'", e.text, text);
}

static void the_own_form_needs_no_map(void **state) {
    (void)state;
    char text[512];
    snprintf(text, sizeof text, "%s%s", head,
             "600,web,1.25,1e9,2385\n600,db-1,0.5,,17\n900,web,,2e9,0\n900,db-1,.75,3000000000,1\n1500,web,2,4e9,5\n");
    write_text("fleet.csv.vms.csv", "vm,cpu_cores,memory_bytes,class,replica,spillable\n"
                                    "web,4,8e9,diurnal-spike,template,0.8\ndb-1,2,4e9,steady-state,never,0\n");
    spr_trace *t = must_read(write_text("fleet.csv", text));
    struct spr_trace_vm vm = {.size = sizeof vm};
    struct spr_series_info info = {.size = sizeof info};
    assert_int_equal(spr_trace_vm_count(t), 2);
    assert_int_equal(spr_trace_end(t), 4);
    assert_int_equal(spr_series_steps(spr_trace_series(t)), 4);
    assert_int_equal(spr_series_count(spr_trace_series(t)), 6);
    assert_true(spr_series_origin_ns(spr_trace_series(t)) == INT64_C(600000000000));
    assert_true(value(t, "web", SPR_CPU, 0) == 1.25);
    assert_true(isnan(value(t, "web", SPR_CPU, 1)));
    assert_true(value(t, "web", SPR_CPU, 3) == 2);
    assert_true(isnan(value(t, "db-1", SPR_MEMORY, 0)));
    assert_true(value(t, "db-1", SPR_MEMORY, 1) == 3e9);
    assert_true(value(t, "db-1", SPR_NET_RX, 0) == 17);
    assert_int_equal(spr_trace_vm(t, 0, &vm), SPR_OK);
    assert_string_equal(vm.id, "web");
    assert_true(vm.capacity.of[SPR_CPU] == 4 && vm.capacity.of[SPR_MEMORY] == 8e9);
    assert_int_equal(vm.replica, SPR_REPLICA_TEMPLATE);
    assert_true(vm.spillable == 0.8);
    assert_int_equal(spr_trace_vm(t, 1, &vm), SPR_OK);
    assert_int_equal(vm.replica, SPR_REPLICA_NEVER);
    assert_int_equal(spr_trace_vm(t, 2, &vm), SPR_E_ARG);
    assert_int_equal(spr_series_info(spr_trace_series(t), 0, &info), SPR_OK);
    assert_string_equal(info.metric, "cpu_cores");
    assert_true(info.unit_factor == 1);
    spr_trace_destroy(t);
}

static void a_trace_without_a_side_file_counts(void **state) {
    (void)state;
    struct spr_trace_vm vm = {.size = sizeof vm};
    spr_trace *t = must_read(write_text("f.csv", "time_s,vm,cpu_cores\n0,a,1\n"));
    assert_int_equal(spr_trace_vm(t, 0, &vm), SPR_OK);
    assert_int_equal(vm.replica, -1);
    assert_true(vm.spillable == -1 && vm.capacity.of[SPR_CPU] == 0);
    spr_trace_destroy(t);
}

static void a_trace_may_begin_before_its_first_row(void **state) {
    (void)state;
    spr_trace *t = must_read(write_text("f.csv", "time_s,vm,cpu_cores\n900,a,3\n300,a,1\n1200,b,4\n600,a,2\n"));
    assert_int_equal(spr_trace_end(t), 4);
    for (int i = 0; i < 3; i++)
        assert_true(value(t, "a", SPR_CPU, i) == i + 1);
    assert_int_equal(spr_trace_vm_count(t), 2);
    assert_non_null(strstr(notes_seen, "2 samples out of order"));
    spr_trace_destroy(t);
}

static void of_duplicate_rows_the_last_counts_with_a_note(void **state) {
    (void)state;
    spr_trace *t = must_read(write_text("f.csv", "time_s,vm,cpu_cores\n0,a,1\n0,a,2.5\n300,a,3\n"));
    assert_true(value(t, "a", SPR_CPU, 0) == 2.5);
    assert_non_null(strstr(notes_seen, "1 duplicate"));
    spr_trace_destroy(t);
}

static void only_the_resources_asked_for_are_read(void **state) {
    (void)state;
    char text[256];
    snprintf(text, sizeof text, "%s%s", head, "0,a,1,2,3\n300,a,4,5,6\n");
    const char *path = write_text("f.csv", text);
    struct spr_trace_opts o = {.size = sizeof o, .files = &path, .file_count = 1, .resources = 1u << SPR_MEMORY};
    spr_trace *t = NULL;
    assert_int_equal(spr_trace_read(ctx, &o, &t), SPR_OK);
    assert_int_equal(spr_series_count(spr_trace_series(t)), 1);
    assert_true(value(t, "a", SPR_MEMORY, 1) == 5);
    spr_trace_destroy(t);
}

static void quotes_carriage_returns_and_a_byte_order_mark_are_understood(void **state) {
    (void)state;
    spr_trace *t = must_read(write_text(
        "f.csv", "\xEF\xBB\xBFtime_s,\"vm\",cpu_cores\r\n0,\"a, \"\"big\"\" one\",\"1.5\"\r\n300,b,2\r\n\r\n"));
    assert_true(value(t, "a, \"big\" one", SPR_CPU, 0) == 1.5);
    assert_true(value(t, "b", SPR_CPU, 1) == 2);
    spr_trace_destroy(t);
}

static void several_files_continue_each_other(void **state) {
    (void)state;
    const char *files[2];
    files[0] = write_text("f1.csv", "time_s,vm,cpu_cores\n0,a,1\n");
    files[1] = write_text("f2.csv", "time_s,vm,cpu_cores\n300,a,2\n300,b,7\n");
    struct spr_trace_opts o = {.size = sizeof o, .files = files, .file_count = 2};
    spr_trace *t = NULL;
    assert_int_equal(spr_trace_read(ctx, &o, &t), SPR_OK);
    assert_true(value(t, "a", SPR_CPU, 1) == 2);
    assert_true(value(t, "b", SPR_CPU, 1) == 7 && isnan(value(t, "b", SPR_CPU, 0)));
    spr_trace_destroy(t);
}

static void rows_can_be_filtered(void **state) {
    (void)state;
    const char *path = write_text("f.csv", "time_s,vm,cpu_cores\n0,a,1\n0,b,2\n300,a,3\n");
    struct spr_trace_opts o = {.size = sizeof o, .files = &path, .file_count = 1, .where = "vm=b"};
    spr_trace *t = NULL;
    assert_int_equal(spr_trace_read(ctx, &o, &t), SPR_OK);
    assert_int_equal(spr_trace_vm_count(t), 1);
    assert_int_equal(spr_trace_end(t), 1);
    spr_trace_destroy(t);
    t = NULL;
    o.where = "vm=zzz";
    assert_int_equal(spr_trace_read(ctx, &o, &t), SPR_E_FORMAT);
    o.where = "nocolumn=1";
    assert_int_equal(spr_trace_read(ctx, &o, &t), SPR_E_FORMAT);
    assert_non_null(strstr(last_error().text, "nocolumn"));
    o.where = "vm";
    assert_int_equal(spr_trace_read(ctx, &o, &t), SPR_E_ARG);
    assert_null(t);
}

static void gzip_is_read_like_plain_text(void **state) {
    (void)state;
    const char *path = in_scratch("f.csv.gz");
    gzFile gz = gzopen(path, "wb");
    gzputs(gz, "time_s,vm,cpu_cores\n");
    for (int i = 0; i < 20000; i++)
        gzprintf(gz, "%d,vm%d,%d.%03d\n", i / 7 * 300, i % 7, i % 50, i % 997);
    gzclose(gz);
    spr_trace *t = must_read(path);
    assert_int_equal(spr_trace_vm_count(t), 7);
    assert_int_equal(spr_trace_end(t), 2858);
    assert_true(value(t, "vm3", SPR_CPU, 1000) == 7003 % 50 + 7003 % 997 / 1000.0);
    spr_trace_destroy(t);
}

static void a_torn_gzip_is_an_error_that_names_the_file(void **state) {
    (void)state;
    const char *path = in_scratch("torn.csv.gz");
    gzFile gz = gzopen(path, "wb");
    gzputs(gz, "time_s,vm,cpu_cores\n");
    for (int i = 0; i < 20000; i++)
        gzprintf(gz, "%d,vm%d,%d\n", i / 7 * 300, i % 7, (i * 7919) % 10007);
    gzclose(gz);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, st.st_size / 2), 0);
    must_fail(path, SPR_E_FORMAT, 0, "torn");
    assert_int_equal(truncate(path, 5), 0);
    must_fail(path, SPR_E_FORMAT, 0, "");
}

static void text_in_a_number_is_told_with_line_and_column(void **state) {
    (void)state;
    static char text[1 << 16];
    size_t n = (size_t)snprintf(text, sizeof text, "time_s,vm,cpu_cores\n");
    for (int i = 0; i < 1000; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%d,a,%s\n", i * 300, i == 999 ? "abc" : "1");
    must_fail(write_text("w.csv", text), SPR_E_FORMAT, 1001, "'abc' in column 'cpu_cores'");
    assert_int_equal(last_error().column, 10);
}

static void broken_tables_are_told_with_their_place(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t line;
        const char *says;
    } cases[] = {
        {"time_s,vm,cpu_cores\n0,a,1\n300,a\n", 3, "2 fields, the header has 3"},
        {"time_s,vm,cpu_cores\n0,a,1,9\n", 2, "4 fields, the header has 3"},
        {"time_s,vm,cpu_cores\n0,a,1\n\n300,a,1\n", 3, "empty line"},
        {"time_s,vm,cpu_cores\n", 0, "no rows"},
        {"time_s,vm,cpu_cores", 0, "no rows"},
        {"", 0, "empty"},
        {"\n", 1, "empty"},
        {"time_s,vm,cpu_cores,cpu_cores\n0,a,1,1\n", 1, "'cpu_cores' is there twice"},
        {"time_s,vm,,cpu_cores\n0,a,1,1\n", 1, "no name"},
        {"when,who,what\n0,a,1\n", 1, "own form"},
        {"time_s,who,cpu_cores\n0,a,1\n", 1, "'vm'"},
        {"time_s,vm,speed\n0,a,1\n", 1, "no column with a metric"},
        {"time_s,vm,cpu_cores\nnoon,a,1\n", 2, "'noon' in column 'time_s' is not seconds"},
        {"time_s,vm,cpu_cores\n0,a,inf\n", 2, "not a number"},
        {"time_s,vm,cpu_cores\n0,a,1e999\n", 2, "not a number"},
        {"time_s,vm,cpu_cores\n0,a,0x10\n", 2, "not a number"},
        {"time_s,vm,cpu_cores\n0,a,1,\n", 2, "too many"},
        {"time_s,vm,cpu_cores\n0,,1\n", 2, "without a name"},
        {"time_s,vm,cpu_cores\n0,\"a,1\n", 2, "quoted"},
        {"time_s,vm,cpu_cores\n0,\"a\"b,1\n", 2, "closing quote"},
        {"time_s,vm,cpu_cores\n0,a,1\n9000000000,a,1\n", 3, "clock jump"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        must_fail(write_text("b.csv", cases[i].text), SPR_E_FORMAT, cases[i].line, cases[i].says);
    must_fail(write_bytes("b.csv", "time_s,vm,cpu_cores\n0,a\0,1\n", 26), SPR_E_FORMAT, 2, "binary");
    must_fail(write_bytes("b.csv", "\0\1\377\0\1\377\n", 7), SPR_E_FORMAT, 1, "binary");
    must_fail(in_scratch("nowhere.csv"), SPR_E_NOT_FOUND, 0, "cannot be opened");
    must_fail(scratch, SPR_E_IO, 0, "");
}

static void a_broken_side_file_is_named(void **state) {
    (void)state;
    spr_trace *t = NULL;
    const char *path = write_text("f.csv", "time_s,vm,cpu_cores\n0,a,1\n");
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"vm,cpu_cores\na,many\n", "'many'"},
        {"vm,cpu_cores\na,-1\n", "negative"},
        {"vm,cpu_cores\na,1\na,2\n", "twice"},
        {"name,cpu_cores\na,1\n", "'vm'"},
        {"vm,colour\na,red\n", "capacities"},
        {"vm,cpu_cores,replica\na,1,maybe\n", "maybe"},
        {"vm,cpu_cores,spillable\na,1,1.5\n", "between 0 and 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *side = write_text("f.csv.vms.csv", cases[i].text);
        assert_int_equal(read_own(path, &t), SPR_E_FORMAT);
        assert_string_equal(last_error().file, side);
        assert_non_null(strstr(last_error().text, cases[i].says));
    }
    assert_null(t);
}

static void numbers_are_rounded_as_the_c_library_does(void **state) {
    (void)state;
    static const char *const numbers[] = {"0.1",
                                          "123456789012345678",
                                          "9007199254740993",
                                          "9007199254740992",
                                          "1e22",
                                          "1e23",
                                          "51.846000000000004",
                                          "2.2250738585072014e-308",
                                          "4.9e-324",
                                          "1.7976931348623157e308",
                                          "0.000000000000000000000000000001",
                                          "+17.5",
                                          "-0",
                                          "1E3",
                                          "1e+3",
                                          "007",
                                          "12.",
                                          ".5",
                                          "8.41e21",
                                          "9.214e-22",
                                          "179769313486231580793728971405301e270",
                                          "00000000000000000000000000001.5",
                                          "0.30000000000000004",
                                          "1.00000000000000011102230246251565"};
    char text[2048] = "time_s,vm,cpu_cores\n";
    size_t count = sizeof numbers / sizeof *numbers;
    for (size_t i = 0; i < count; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%zu,a, %s \n", i * 300, numbers[i]);
    spr_trace *t = must_read(write_text("f.csv", text));
    for (size_t i = 0; i < count; i++)
        if (value(t, "a", SPR_CPU, (int64_t)i) != strtod(numbers[i], NULL))
            fail_msg("%s was read as %.17g", numbers[i], value(t, "a", SPR_CPU, (int64_t)i));
    spr_trace_destroy(t);
}

#define IO_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_begin, scratch_end)
int main(void) {
    const struct CMUnitTest tests[] = {
        IO_TEST(the_own_form_needs_no_map),
        IO_TEST(a_trace_without_a_side_file_counts),
        IO_TEST(a_trace_may_begin_before_its_first_row),
        IO_TEST(of_duplicate_rows_the_last_counts_with_a_note),
        IO_TEST(only_the_resources_asked_for_are_read),
        IO_TEST(quotes_carriage_returns_and_a_byte_order_mark_are_understood),
        IO_TEST(several_files_continue_each_other),
        IO_TEST(rows_can_be_filtered),
        IO_TEST(gzip_is_read_like_plain_text),
        IO_TEST(a_torn_gzip_is_an_error_that_names_the_file),
        IO_TEST(text_in_a_number_is_told_with_line_and_column),
        IO_TEST(broken_tables_are_told_with_their_place),
        IO_TEST(a_broken_side_file_is_named),
        IO_TEST(numbers_are_rounded_as_the_c_library_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
