/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* iCalendar files: what is read, and what is refused at which line. */
#include "failing_alloc.h"
#include "io_scratch.h"

#define S INT64_C(1000000000)
#define H (3600 * S)
#define D (24 * H)
enum { MON_2024_JAN_1 = 19723, SUN_2024_MAR_31 = 19813 };

static const char *put(const char *text) {
    const char *path = in_scratch("a.ics");
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_true(fwrite(text, 1, strlen(text), f) == strlen(text));
    fclose(f);
    return path;
}

#define FILE_OF(body) "BEGIN:VCALENDAR\r\nVERSION:2.0\r\n" body "END:VCALENDAR\r\n"
#define EVENT(body)   FILE_OF("BEGIN:VEVENT\r\n" body "END:VEVENT\r\n")
#define ROME                                                                                                           \
    "BEGIN:VTIMEZONE\r\nTZID:Europe/Rome\r\nBEGIN:DAYLIGHT\r\nDTSTART:19810329T020000\r\n"                             \
    "RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU\r\nTZOFFSETFROM:+0100\r\nTZOFFSETTO:+0200\r\nEND:DAYLIGHT\r\n"             \
    "BEGIN:STANDARD\r\nDTSTART:19601025T030000\r\nRRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU\r\nTZOFFSETFROM:+0200\r\n"   \
    "TZOFFSETTO:+0100\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n"

static spr_calendar *read_calendar(const char *text) {
    spr_calendar *c = NULL;
    int rc = spr_calendar_read(ctx, put(text), &c);
    struct spr_error e = {.size = sizeof e};
    if (rc < 0 && spr_context_error(ctx, &e) >= 0)
        fprintf(stderr, "# line %lld: %s\n", (long long)e.line, e.text);
    assert_int_equal(rc, SPR_OK);
    return c;
}

static size_t between(const spr_calendar *c, int64_t from, int64_t to, struct spr_occurrence *out, size_t room) {
    size_t n = room;
    assert_int_equal(spr_calendar_occurrences(c, from, to, out, sizeof *out, &n), SPR_OK);
    return n;
}

static void an_event_says_kind_name_times_and_what_is_declared(void **state) {
    (void)state;
    struct spr_occurrence o[2];
    struct spr_event e = {.size = sizeof e};
    spr_calendar *c =
        read_calendar(EVENT("UID:1\r\nDTSTART:20240101T120000Z\r\nDTEND:20240101T133000Z\r\nSUMMARY:Brazil\\, \r\n"
                            " Scotland\r\nCATEGORIES:match,sport\r\nSTATUS:TENTATIVE\r\n"
                            "X-SHARDPREDICT-AMOUNT:2.5\r\nBEGIN:VALARM\r\nDURATION:PT5M\r\nSUMMARY:no\r\n"
                            "END:VALARM\r\n"));
    assert_int_equal(between(c, 0, INT64_MAX, o, 2), 1);
    assert_true(o[0].start_ns == MON_2024_JAN_1 * D + 12 * H && o[0].end_ns == o[0].start_ns + H + H / 2);
    assert_int_equal(spr_calendar_event(c, 0, &e), SPR_OK);
    assert_string_equal(e.kind, "match");
    assert_string_equal(e.name, "Brazil, Scotland");
    assert_true(e.confidence == 0.5 && e.amount == 2.5);
    spr_calendar_unref(c);
}

static void rules_run_in_the_zone_that_the_file_defines(void **state) {
    (void)state;
    struct spr_occurrence o[16];
    spr_calendar *c =
        read_calendar(FILE_OF(ROME "BEGIN:VEVENT\r\nDTSTART;TZID=Europe/Rome:20240329T200000\r\nDURATION:PT2H\r\n"
                                   "SUMMARY:show\r\nRRULE:FREQ=DAILY;UNTIL=20240403T000000Z\r\n"
                                   "EXDATE;TZID=Europe/Rome:20240401T200000\r\n"
                                   "RDATE;TZID=\"Europe/Rome\";VALUE=DATE-TIME:20240701T210000,20241201T210000\r\n"
                                   "END:VEVENT\r\n"));
    size_t n = between(c, 0, INT64_MAX, o, 16);
    assert_int_equal(n, 6); /* 29 30 31 March, 2 April, 1 July, 1 December */
    assert_true(o[0].start_ns == (SUN_2024_MAR_31 - 2) * D + 19 * H);
    assert_true(o[2].start_ns == SUN_2024_MAR_31 * D + 18 * H);
    assert_true(o[3].start_ns == (SUN_2024_MAR_31 + 2) * D + 18 * H);
    assert_true(o[4].start_ns % D == 19 * H && o[5].start_ns % D == 20 * H);
    spr_calendar_unref(c);
}

static void dates_are_whole_days_and_moving_feasts_are_lists(void **state) {
    (void)state;
    struct spr_occurrence o[8];
    spr_calendar *c =
        read_calendar(EVENT("DTSTART;VALUE=DATE:20240331\nRDATE;VALUE=DATE:20250420,20260405\nSUMMARY:Easter\n"));
    assert_int_equal(between(c, 0, INT64_MAX, o, 8), 3);
    assert_true(o[0].start_ns == SUN_2024_MAR_31 * D && o[0].end_ns == o[0].start_ns + D);
    assert_true(o[1].start_ns == (SUN_2024_MAR_31 + 385) * D && o[1].end_ns - o[1].start_ns == D);
    assert_string_equal(spr_calendar_kind(c, 0), "Easter");
    spr_calendar_unref(c);
    c = read_calendar(
        EVENT("DTSTART;TZID=Etc/GMT+5:20240101T000000\r\nDURATION:P1W\r\nRDATE;VALUE=PERIOD:20240301T000000Z/PT1H,"
              "20240401T000000Z/20240402T000000Z\r\n"));
    assert_int_equal(between(c, 0, INT64_MAX, o, 8), 3);
    assert_true(o[0].start_ns == MON_2024_JAN_1 * D + 5 * H && o[0].end_ns - o[0].start_ns == 7 * D);
    assert_true(o[1].end_ns - o[1].start_ns == H && o[2].end_ns - o[2].start_ns == D);
    assert_string_equal(spr_calendar_kind(c, 0), "event");
    spr_calendar_unref(c);
}

static void cancelled_events_and_other_components_are_left_out(void **state) {
    (void)state;
    spr_calendar *c =
        read_calendar(FILE_OF("BEGIN:VTODO\r\nDTSTART:nonsense\r\nEND:VTODO\r\nBEGIN:VEVENT\r\nSTATUS:CANCELLED\r\n"
                              "DTSTART:20240101T000000Z\r\nDURATION:PT1H\r\nEND:VEVENT\r\n"));
    assert_int_equal(spr_calendar_event_count(c), 0);
    spr_calendar_unref(c);
}

static void monthly_and_yearly_rules_are_read(void **state) {
    (void)state;
    struct spr_occurrence o[8];
    spr_calendar *c = read_calendar(EVENT("DTSTART:20241128T120000Z\r\nDURATION:P1D\r\nSUMMARY:Thanksgiving\r\n"
                                          "RRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=4TH;COUNT=3\r\n"));
    assert_int_equal(between(c, 0, INT64_MAX, o, 8), 3); /* 28 November 2024, 27 in 2025, 26 in 2026 */
    assert_true(o[1].start_ns - o[0].start_ns == 364 * D && o[2].start_ns - o[1].start_ns == 364 * D);
    spr_calendar_unref(c);
    c = read_calendar(
        EVENT("DTSTART:20240131T010000Z\r\nDURATION:PT3H\r\nRRULE:FREQ=MONTHLY;BYMONTHDAY=-1;INTERVAL=1;COUNT=2\r\n"));
    assert_int_equal(between(c, 0, INT64_MAX, o, 8), 2);
    assert_true(o[1].start_ns - o[0].start_ns == 29 * D);
    spr_calendar_unref(c);
}

static void what_cannot_be_read_is_an_error_with_its_line(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
        int64_t line;
    } bad[] = {
        {"", "BEGIN:VCALENDAR", 1},
        {"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n", "END:VCALENDAR", 2},
        {FILE_OF("BEGIN:VEVENT\r\nDTSTART:20240101T000000Z\r\n"), "END:V", 5},
        {FILE_OF("no colon\r\n"), "colon", 3},
        {EVENT("SUMMARY:x\r\n"), "DTSTART", 3},
        {EVENT("DTSTART:20240230T000000Z\r\nDURATION:PT1H\r\n"), "no time", 4},
        {EVENT("DTSTART:20240101T000000Z\r\n"), "DURATION", 4},
        {EVENT("DTSTART:20240101T000000Z\r\nDURATION:1 hour\r\n"), "PT1H30M", 5},
        {EVENT("DTSTART:20240101T000000Z\r\nDTEND:20230101T000000Z\r\n"), "ends at or before", 3},
        {EVENT("DTSTART;TZID=Mars/Base:20240101T000000\r\nDURATION:PT1H\r\n"), "Mars/Base", 4},
        {EVENT("DTSTART:20240101T000000Z\r\nDURATION:PT1H\r\nRRULE:FREQ=HOURLY\r\n"), "HOURLY", 6},
        {EVENT("DTSTART:20240101T000000Z\r\nDURATION:PT1H\r\nRRULE:FREQ=DAILY;BYSETPOS=1\r\n"), "BYSETPOS", 6},
        {EVENT("DTSTART:20240101T000000Z\r\nDURATION:PT1H\r\nRRULE:FREQ=YEARLY;BYDAY=MO\r\n"), "BYMONTH", 6},
        {EVENT("DTSTART:20240101T000000Z\r\nDURATION:PT1H\r\nRRULE:FREQ=MONTHLY;BYDAY=1MO,2TU\r\n"), "two events", 6},
        {EVENT("DTSTART:20240101T000000Z\r\nDURATION:PT1H\r\nRRULE:FREQ=DAILY;COUNT=2;UNTIL=20250101\r\n"), "exclude",
         6},
        {EVENT("DTSTART:20240101T000000Z\r\nDURATION:PT1H\r\nRECURRENCE-ID:20240101T000000Z\r\n"), "RECURRENCE-ID", 6},
        {EVENT("DTSTART:20240101T000000Z\r\nDTSTART:20240101T000000Z\r\n"), "twice", 5},
        {EVENT("DTSTART:20240101T000000Z\r\nDURATION:PT1H\r\nX-SHARDPREDICT-AMOUNT:-1\r\n"), "above 0", 6},
        {EVENT("DTSTART:20240101T000000Z\r\nDURATION:PT1H\r\nRDATE:20240101T00\r\n"), "no time", 6},
        {FILE_OF("BEGIN:VTIMEZONE\r\nTZID:X\r\nBEGIN:STANDARD\r\nDTSTART:20200101T000000\r\nTZOFFSETTO:+1\r\n"
                 "END:STANDARD\r\nEND:VTIMEZONE\r\n"),
         "offset", 7},
        {FILE_OF("BEGIN:VTIMEZONE\r\nTZID:X\r\nEND:VTIMEZONE\r\n"), "TZID", 3},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        spr_calendar *c = NULL;
        struct spr_error e = {.size = sizeof e};
        const char *path = put(bad[i].text);
        assert_int_equal(spr_calendar_read(ctx, path, &c), SPR_E_FORMAT);
        assert_null(c);
        assert_int_equal(spr_context_error(ctx, &e), SPR_OK);
        if (!strstr(e.text, bad[i].says) || e.line != bad[i].line)
            fail_msg("case %zu: line %lld (expected %lld): %s", i, (long long)e.line, (long long)bad[i].line, e.text);
        assert_string_equal(e.file, path);
    }
    spr_calendar *c = NULL;
    assert_int_equal(spr_calendar_read(ctx, in_scratch("nowhere.ics"), &c), SPR_E_IO);
    assert_int_equal(spr_calendar_read(ctx, NULL, &c), SPR_E_ARG);
    assert_int_equal(spr_calendar_read(NULL, "x", &c), SPR_E_ARG);
}

static void folded_lines_count_as_their_first_and_bare_newlines_do(void **state) {
    (void)state;
    spr_calendar *c = NULL;
    struct spr_error e = {.size = sizeof e};
    spr_calendar *good = read_calendar(
        "\xEF\xBB\xBF"
        "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTST\n ART:2024\n\t0101\nSUMMARY:\n a\nEND:VEVENT\nEND:VCALENDAR");
    assert_string_equal(spr_calendar_kind(good, 0), "a");
    spr_calendar_unref(good);
    assert_int_equal(spr_calendar_read(ctx,
                                       put("BEGIN:VCALENDAR\nX:a\n b\n c\nBEGIN:VEVENT\nDTSTART:2024\n 01\nEND:VEVENT\n"
                                           "END:VCALENDAR\n"),
                                       &c),
                     SPR_E_FORMAT);
    assert_int_equal(spr_context_error(ctx, &e), SPR_OK);
    assert_int_equal(e.line, 6);
}

static int read_scratch(spr_context *failing, void *arg) {
    spr_calendar *c = NULL;
    int rc = spr_calendar_read(failing, arg, &c);
    spr_calendar_unref(c);
    return rc;
}

static void every_failing_allocation_leaves_nothing_behind(void **state) {
    (void)state;
    char path[512];
    snprintf(
        path, sizeof path, "%s",
        put(FILE_OF(
            ROME "BEGIN:VEVENT\r\nDTSTART;TZID=Europe/Rome:20240329T200000\r\nDURATION:PT2H\r\nSUMMARY:show\r\n"
                 "RRULE:FREQ=DAILY;COUNT=3\r\nRDATE:20240501T000000Z\r\nEXDATE:20240501T000000Z\r\nEND:VEVENT\r\n")));
    assert_true(failing_sweep(read_scratch, path) > 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_says_kind_name_times_and_what_is_declared),
        cmocka_unit_test(rules_run_in_the_zone_that_the_file_defines),
        cmocka_unit_test(dates_are_whole_days_and_moving_feasts_are_lists),
        cmocka_unit_test(cancelled_events_and_other_components_are_left_out),
        cmocka_unit_test(monthly_and_yearly_rules_are_read),
        cmocka_unit_test(what_cannot_be_read_is_an_error_with_its_line),
        cmocka_unit_test(folded_lines_count_as_their_first_and_bare_newlines_do),
        cmocka_unit_test(every_failing_allocation_leaves_nothing_behind),
    };
    return cmocka_run_group_tests_name("iCalendar", tests, scratch_begin, scratch_end);
}
