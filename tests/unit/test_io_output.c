/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Documents appear whole or not at all. */
#include <fcntl.h>
#include <locale.h>
#include <math.h>

#include "io_scratch.h"

static spr_output *begin(const char *path) {
    spr_output *o = NULL;
    assert_int_equal(spr_output_create(ctx, path, &o), SPR_OK);
    return o;
}

static void a_file_appears_when_it_is_complete(void **state) {
    (void)state;
    const char *path = write_text("a.txt", "old\n");
    spr_output *o = begin(path);
    spr_output_text(o, "new ");
    spr_output_number(o, 2.385, 9);
    assert_string_equal(read_text(path), "old\n");
    assert_int_equal(spr_output_commit(o), SPR_OK);
    assert_string_equal(read_text(path), "new 2.385");
    assert_int_equal(scratch_files(), 1);
}

static void a_dropped_document_leaves_the_old_one_alone(void **state) {
    (void)state;
    const char *path = write_text("a.txt", "old\n");
    spr_output *o = begin(path);
    spr_output_text(o, "new");
    spr_output_discard(o);
    spr_output_discard(NULL);
    assert_string_equal(read_text(path), "old\n");
    assert_int_equal(scratch_files(), 1);
}

static void a_long_document_is_not_kept_in_memory_and_comes_out_whole(void **state) {
    (void)state;
    const char *path = in_scratch("long.txt");
    spr_output *o = begin(path);
    for (int i = 0; i < 50000; i++)
        spr_output_text(o, "0123456789");
    assert_int_equal(spr_output_commit(o), SPR_OK);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 500000);
}

static void a_file_keeps_its_mode_and_a_link_stays_a_link(void **state) {
    (void)state;
    const char *path = write_text("a.txt", "old"), *link_path = in_scratch("link");
    struct stat st;
    chmod(path, 0640);
    assert_int_equal(symlink(path, link_path), 0);
    spr_output *o = begin(link_path);
    spr_output_text(o, "new");
    assert_int_equal(spr_output_commit(o), SPR_OK);
    assert_int_equal(lstat(link_path, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_string_equal(read_text(path), "new");
}

static void a_full_device_is_an_error_that_names_it(void **state) {
    (void)state;
    if (access("/dev/full", W_OK) != 0)
        skip();
    spr_output *o = begin("/dev/full");
    spr_output_text(o, "x");
    assert_int_equal(spr_output_commit(o), SPR_E_IO);
    assert_string_equal(last_error().file, "/dev/full");
}

static void a_pipe_is_written_in_place(void **state) {
    (void)state;
    const char *path = in_scratch("pipe");
    char got[8] = "";
    assert_int_equal(mkfifo(path, 0600), 0);
    int fd = open(path, O_RDWR | O_NONBLOCK);
    spr_output *o = begin(path);
    spr_output_text(o, "through");
    assert_int_equal(read(fd, got, 7), -1); /* nothing before it is complete */
    assert_int_equal(spr_output_commit(o), SPR_OK);
    assert_int_equal(read(fd, got, 7), 7);
    assert_string_equal(got, "through");
    close(fd);
}

static void a_place_that_cannot_be_written_is_named(void **state) {
    (void)state;
    spr_output *o = NULL;
    assert_int_equal(spr_output_create(ctx, in_scratch("nowhere/a.txt"), &o), SPR_E_IO);
    assert_non_null(strstr(last_error().file, "nowhere/a.txt"));
    assert_int_equal(spr_output_create(ctx, scratch, &o), SPR_E_IO);
    assert_int_equal(spr_output_create(ctx, "", &o), SPR_E_ARG);
    assert_null(o);
}

static void numbers_have_a_point_in_every_locale(void **state) {
    (void)state;
    static const char *const locales[] = {"C", "de_DE.UTF-8", "fr_FR.UTF-8", "ar_EG.UTF-8", "ps_AF.UTF-8"};
    for (size_t i = 0; i < 5; i++) {
        if (!setlocale(LC_ALL, locales[i]))
            continue;
        const char *path = in_scratch("n.txt");
        spr_output *o = begin(path);
        double v[] = {0.1, -1234567.25, 1e-7, 3e22, 300, 0, -0.0, NAN, 1.0 / 3};
        for (size_t k = 0; k < sizeof v / sizeof *v; k++) {
            spr_output_number(o, v[k], 9);
            spr_output_text(o, ",");
        }
        spr_output_number(o, 2.0 / 3, 17);
        assert_int_equal(spr_output_commit(o), SPR_OK);
        assert_string_equal(read_text(path), "0.1,-1234567.25,1e-07,3e+22,300,0,-0,,0.333333333,0.66666666666666663");
    }
    setlocale(LC_ALL, "C");
}

#define IO_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_begin, scratch_end)
/* As printf has it, for numbers of every size, near ties and at powers of ten. */
static void numbers_are_printed_as_printf_prints_them(void **state) {
    (void)state;
    const char *path = in_scratch("n.txt");
    uint64_t seed = 7;
    for (int digits = 1; digits <= 17; digits++) {
        char want[8192] = "";
        size_t n = 0;
        spr_output *o = begin(path);
        for (int i = 0; i < 200; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            double v = (double)(int64_t)seed * pow(10, (int)(seed >> 20) % 45 - 30);
            if (i % 5 == 1)
                v = (double)((int64_t)(seed >> 40) % 100000) / 8; /* ties */
            if (i % 5 == 2)
                v = pow(10, i % 40 - 15) * (i % 2 ? 1 : 1 - 1e-11);
            if (i % 20 == 0)
                v = i % 40 ? 0.0 : -0.0;
            if (i % 5 == 3)
                v = (double)((int64_t)(seed >> 34) - 500000000);
            n += (size_t)snprintf(want + n, sizeof want - n, "%.*g\n", digits, v);
            spr_output_number(o, v, digits);
            spr_output_text(o, "\n");
        }
        assert_int_equal(spr_output_commit(o), SPR_OK);
        assert_string_equal(read_text(path), want);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IO_TEST(a_file_appears_when_it_is_complete),
        IO_TEST(a_dropped_document_leaves_the_old_one_alone),
        IO_TEST(a_long_document_is_not_kept_in_memory_and_comes_out_whole),
        IO_TEST(a_file_keeps_its_mode_and_a_link_stays_a_link),
        IO_TEST(a_full_device_is_an_error_that_names_it),
        IO_TEST(a_pipe_is_written_in_place),
        IO_TEST(a_place_that_cannot_be_written_is_named),
        IO_TEST(numbers_have_a_point_in_every_locale),
        IO_TEST(numbers_are_printed_as_printf_prints_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
