/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The HTML report: the verdict's sentence, hostile names, what adds up, same input same bytes. */
#include "io_scratch.h"
#include "failing_alloc.h"
#include "report_fake.h"

static const unsigned ALL = 0x3f;

static const char *sentence(const double cost[SPR_POLICY_COUNT], unsigned asked) {
    static char text[600];
    struct spr_verdict v = fake_verdict(cost, asked);
    int length = spr_verdict_sentence(&v, text, sizeof text);
    assert_int_equal(length, strlen(text));
    return text;
}

static void test_io_report__sentence_names_the_rival_and_the_saving(void **state) {
    (void)state;
    assert_string_equal(
        sentence((double[]){1118, 1359, 503, 459.7, 455.8, 432.8}, ALL),
        "predictive costs 455.8 host-hours, 0.8 % less than reactive-tuned (459.7), the cheapest rule that does not "
        "forecast; it saves 97 % of what perfect knowledge would.");
}

static void test_io_report__sentence_says_when_it_lost(void **state) {
    (void)state;
    assert_string_equal(sentence((double[]){44.8, 54, 114, 44.8, 45.8, 20.9}, ALL),
                        "predictive costs 45.8 host-hours, 2.2 % more than none (44.8): doing nothing is the cheapest "
                        "rule that does not "
                        "forecast; it saves nothing: doing nothing costs 44.8.");
    assert_non_null(strstr(sentence((double[]){200, 300, 150, 100, 112.7, 60}, ALL),
                           ", 13 % more than reactive-tuned (100.0), the"));
}

static void test_io_report__sentence_says_when_it_tied(void **state) {
    (void)state;
    const char *s = sentence((double[]){44.8, 54, 114, 44.81, 44.8, 20.9}, ALL);
    assert_non_null(strstr(s, "predictive costs 44.8 host-hours, as much as none (44.8): doing nothing is"));
    assert_non_null(strstr(s, "it saves 0.0 % of what perfect knowledge would."));
}

static void test_io_report__sentence_says_when_there_is_no_room(void **state) {
    (void)state;
    const char *s = sentence((double[]){100, 120, 70, 50.5, 50.9, 50}, ALL);
    assert_non_null(strstr(s, "which leaves no room to do better than reactive-tuned."));
    s = sentence((double[]){0, 12, 7, 0, 0, 0}, ALL);
    assert_string_equal(s, "predictive costs 0.0 host-hours, as much as none (0.0): doing nothing is the cheapest rule "
                           "that does not forecast; "
                           "even perfect knowledge would save nothing here.");
}

static void test_io_report__sentence_is_about_what_was_asked(void **state) {
    (void)state;
    const double cost[] = {1118, 1359, 503, 459.7, 455.8, 432.8};
    assert_non_null(strstr(sentence(cost, 1u << SPR_POLICY_REACTIVE),
                           "reactive costs 503.0 host-hours, 9.4 % more than reactive-tuned"));
    assert_non_null(
        strstr(sentence(cost, 1u << SPR_POLICY_REACTIVE_TUNED),
               "reactive-tuned is the cheapest rule that does not forecast: it costs 459.7 host-hours; it saves 96 %"));
}

static void test_io_report__sentence_fits_any_room_and_refuses_nothing(void **state) {
    (void)state;
    const double cost[] = {1118, 1359, 503, 459.7, 455.8, 432.8};
    struct spr_verdict v = fake_verdict(cost, ALL);
    char text[24];
    int whole = spr_verdict_sentence(&v, NULL, 0);
    assert_true(whole > 100);
    assert_int_equal(spr_verdict_sentence(&v, text, sizeof text), whole);
    assert_string_equal(text, "predictive costs 455.8 ");
    assert_int_equal(spr_verdict_sentence(NULL, text, sizeof text), SPR_E_ARG);
    assert_int_equal(spr_verdict_sentence(&v, NULL, 7), SPR_E_ARG);
}

/* ---- the page ---- */

enum { VMS = 11, HOSTS = 3, STEPS = 700 };
static const double COST[] = {318.4, 359.25, 203.2, 159.7, 155.87, 132.8};

static const char *hostile(int v) {
    static char text[64];
    snprintf(text, sizeof text, "%s%d", v == 3 ? "<script>alert(1)</script>x" : v == 4 ? "</title>\"'&\t" : "vm", v);
    return text;
}

/* Writes a page into scratch and returns it; the caller frees. */
static char *page(const char *file, unsigned asked, bool rows) {
    struct spr_verdict v = fake_verdict(COST, asked);
    struct spr_scenario_file s;
    spr_report *r = NULL;
    spr_output *out = NULL;
    assert_int_equal(fake_scenario(ctx, VMS, HOSTS, STEPS, hostile, &s), SPR_OK);
    assert_int_equal(spr_report_create(ctx, &s, &r), SPR_OK);
    if (rows)
        assert_int_equal(fake_run(r, &s, VMS, HOSTS), SPR_OK);
    assert_int_equal(spr_output_create(ctx, in_scratch(file), &out), SPR_OK);
    assert_int_equal(spr_report_write(r, &v, out), SPR_OK);
    assert_int_equal(spr_output_commit(out), SPR_OK);
    spr_report_destroy(r);
    fake_scenario_finish(&s);
    FILE *f = fopen(in_scratch(file), "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    size_t n = (size_t)ftell(f);
    char *text = malloc(n + 1);
    assert_non_null(text);
    rewind(f);
    assert_int_equal(fread(text, 1, n, f), n);
    text[n] = 0;
    fclose(f);
    return text;
}

static int count_of(const char *text, const char *word) {
    int n = 0;
    for (const char *p = text; (p = strstr(p, word)); p += strlen(word))
        n++;
    return n;
}

static void test_io_report__page_is_whole_and_begins_with_the_verdict(void **state) {
    (void)state;
    char *t = page("a.html", ALL, true);
    assert_int_equal(strncmp(t, "<!DOCTYPE html>\n<html lang=\"en\">", 32), 0);
    assert_non_null(strstr(t, "<title>made &lt;up&gt; &amp; &quot;odd&quot;"));
    assert_non_null(
        strstr(t, "<p class=\"verdict\">predictive costs 155.9 host-hours, 2.4 % less than reactive-tuned (159.7)"));
    assert_non_null(strstr(t, "</html>\n"));
    assert_int_equal(count_of(t, "<svg"), count_of(t, "</svg>"));
    assert_int_equal(count_of(t, "<section>"), 10);
    assert_true(strstr(t, "<main>") < strstr(t, "<h1>"));
    for (int k = 0; k < SPR_POLICY_COUNT; k++) {
        char text[40];
        snprintf(text, sizeof text, "<td>%.1f</td>", COST[k]);
        assert_non_null(strstr(t, text));
    }
    free(t);
}

static void test_io_report__names_are_text_and_never_markup(void **state) {
    (void)state;
    char *t = page("a.html", ALL, true);
    assert_null(strstr(t, "<script>alert(1)"));
    assert_non_null(strstr(t, "&lt;script&gt;alert(1)&lt;/script&gt;x3"));
    assert_null(strstr(t, "</title>\"'&\t"));
    assert_null(strstr(t, "h&st<"));
    assert_non_null(strstr(t, "h&amp;st&lt;1&gt;"));
    free(t);
}

static void test_io_report__needs_no_network(void **state) {
    (void)state;
    char *t = page("a.html", ALL, true);
    assert_null(strstr(t, "src=\""));
    assert_null(strstr(t, "url(http"));
    assert_null(strstr(t, "@import"));
    assert_int_equal(count_of(t, "href="), 1); /* the empty icon */
    free(t);
}

static void test_io_report__same_input_gives_the_same_bytes(void **state) {
    (void)state;
    char *a = page("a.html", ALL, true), *b = page("b.html", ALL, true);
    assert_string_equal(a, b);
    free(a);
    free(b);
}

static void test_io_report__page_without_a_single_row_is_still_a_page(void **state) {
    (void)state;
    char *t = page("a.html", 1u << SPR_POLICY_NONE, false);
    assert_non_null(strstr(t, "No shard was held."));
    assert_null(strstr(t, "Why shards changed"));
    assert_null(strstr(t, "nan"));
    free(t);
}

static void test_io_report__only_the_shown_policys_changes_count(void **state) {
    (void)state;
    char *t = page("a.html", ALL, true), *u = page("b.html", 1u << SPR_POLICY_REACTIVE, true);
    assert_non_null(strstr(t, "changes of shards under predictive"));
    assert_non_null(strstr(u, "<b>203.2</b>"));
    assert_null(strstr(u, "changes of shards under reactive<")); /* kept were those of a policy that ranks higher */
    free(t);
    free(u);
}

static void test_io_report__doors_refuse_what_is_not_there(void **state) {
    (void)state;
    struct spr_scenario_file s;
    struct spr_verdict v = fake_verdict(COST, ALL);
    struct spr_lifecycle_event e = {.size = sizeof e, .vm = VMS};
    struct spr_replay_event event = {.size = sizeof event, .policy = SPR_POLICY_PREDICTIVE, .change = &e};
    struct spr_replay_step step = {.size = sizeof step, .policy = 9};
    spr_report *r = NULL;
    assert_int_equal(fake_scenario(ctx, VMS, HOSTS, STEPS, hostile, &s), SPR_OK);
    assert_int_equal(spr_report_create(NULL, &s, &r), SPR_E_ARG);
    assert_int_equal(spr_report_create(ctx, NULL, &r), SPR_E_ARG);
    assert_int_equal(spr_report_create(ctx, &s, NULL), SPR_E_ARG);
    s.scenario.score_end = s.scenario.score_first;
    assert_int_equal(spr_report_create(ctx, &s, &r), SPR_E_ARG);
    assert_null(r);
    s.scenario.score_end = STEPS;
    assert_int_equal(spr_report_create(ctx, &s, &r), SPR_OK);
    assert_int_equal(spr_report_event(NULL, &event), SPR_E_ARG);
    assert_int_equal(spr_report_event(r, NULL), SPR_E_ARG);
    assert_int_equal(spr_report_event(r, &event), SPR_E_ARG);
    assert_int_equal(spr_report_step(NULL, &step), SPR_E_ARG);
    assert_int_equal(spr_report_step(r, NULL), SPR_E_ARG);
    assert_int_equal(spr_report_step(r, &step), SPR_E_ARG);
    assert_int_equal(spr_report_write(r, &v, NULL), SPR_E_ARG);
    assert_int_equal(spr_report_write(r, NULL, NULL), SPR_E_ARG);
    assert_int_equal(spr_report_write(NULL, &v, NULL), SPR_E_ARG);
    spr_report_destroy(r);
    spr_report_destroy(NULL);
    fake_scenario_finish(&s);
}

/* The whole life of a report in a context of its own; the scenario belongs to another. */
static int write_once(spr_context *c, void *arg) {
    struct spr_scenario_file *s = arg;
    struct spr_verdict v = fake_verdict(COST, ALL);
    spr_report *r = NULL;
    spr_output *out = NULL;
    int rc = spr_report_create(c, s, &r);
    rc = rc < 0 ? rc : fake_run(r, s, 5, 2);
    rc = rc < 0 ? rc : spr_output_create(c, in_scratch("sweep.html"), &out);
    rc = rc < 0 ? rc : spr_report_write(r, &v, out);
    if (rc < 0)
        spr_output_discard(out);
    else
        rc = spr_output_commit(out);
    spr_report_destroy(r);
    return rc;
}

static void test_io_report__every_allocation_may_fail(void **state) {
    (void)state;
    struct spr_scenario_file s;
    assert_int_equal(fake_scenario(ctx, 5, 2, 12, hostile, &s), SPR_OK);
    assert_true(failing_sweep(write_once, &s) > 40);
    fake_scenario_finish(&s);
}

#define REPORT_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_begin, scratch_end)
int main(void) {
    const struct CMUnitTest tests[] = {
        REPORT_TEST(test_io_report__sentence_names_the_rival_and_the_saving),
        REPORT_TEST(test_io_report__sentence_says_when_it_lost),
        REPORT_TEST(test_io_report__sentence_says_when_it_tied),
        REPORT_TEST(test_io_report__sentence_says_when_there_is_no_room),
        REPORT_TEST(test_io_report__sentence_is_about_what_was_asked),
        REPORT_TEST(test_io_report__sentence_fits_any_room_and_refuses_nothing),
        REPORT_TEST(test_io_report__page_is_whole_and_begins_with_the_verdict),
        REPORT_TEST(test_io_report__names_are_text_and_never_markup),
        REPORT_TEST(test_io_report__needs_no_network),
        REPORT_TEST(test_io_report__same_input_gives_the_same_bytes),
        REPORT_TEST(test_io_report__page_without_a_single_row_is_still_a_page),
        REPORT_TEST(test_io_report__only_the_shown_policys_changes_count),
        REPORT_TEST(test_io_report__every_allocation_may_fail),
        REPORT_TEST(test_io_report__doors_refuse_what_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
