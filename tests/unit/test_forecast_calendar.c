/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Calendars: one-off, recurring and moving events, zones, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "failing_alloc.h"
#include "forecast/event.h"

#define S INT64_C(1000000000)
#define H (3600 * S)
#define D (24 * H)

static spr_context *ctx;
static int make_context(void **state) {
    (void)state;
    return spr_context_create(NULL, &ctx);
}
static int drop_context(void **state) {
    (void)state;
    spr_context_unref(ctx);
    return 0;
}

/* Days since 1970 of a few dates the tests name. */
enum {
    MON_2024_JAN_1 = 19723,
    SUN_2024_MAR_31 = 19813, /* Europe springs forward at 01:00 UTC */
    SUN_2024_OCT_27 = 20023, /* and back at 01:00 UTC */
    THU_2024_FEB_29 = 19782
};

static struct spr_event event_at(int64_t day, int64_t hour, int64_t hours) {
    return (struct spr_event){.size = sizeof(struct spr_event),
                              .kind = "match",
                              .start_ns = day * D + hour * H,
                              .end_ns = day * D + (hour + hours) * H};
}

static spr_calendar *one(const struct spr_event *e) {
    spr_calendar_builder *b = NULL;
    spr_calendar *c = NULL;
    assert_int_equal(spr_calendar_builder_create(ctx, &b), SPR_OK);
    assert_int_equal(spr_calendar_builder_add(b, e), 0);
    assert_int_equal(spr_calendar_builder_finish(b, &c), SPR_OK);
    return c;
}

static size_t between(const spr_calendar *c, int64_t from, int64_t to, struct spr_occurrence *out, size_t room) {
    size_t n = room;
    assert_int_equal(spr_calendar_occurrences(c, from, to, out, sizeof *out, &n), SPR_OK);
    return n;
}

static void an_event_meets_a_span_that_touches_any_part_of_it(void **state) {
    (void)state;
    struct spr_occurrence o[4];
    struct spr_event e = event_at(MON_2024_JAN_1, 12, 2);
    e.name = "kick-off", e.confidence = 0.75, e.amount = 3;
    spr_calendar *c = one(&e);
    assert_int_equal(between(c, e.start_ns + H, e.start_ns + H + 1, o, 4), 1);
    assert_true(o[0].start_ns == e.start_ns && o[0].end_ns == e.end_ns && o[0].kind == 0);
    assert_true(o[0].confidence == 0.75 && o[0].amount == 3);
    assert_int_equal(between(c, e.end_ns, e.end_ns + D, o, 4), 0);
    assert_int_equal(between(c, e.start_ns - D, e.start_ns, o, 4), 0);
    assert_int_equal(between(c, e.start_ns + H, e.start_ns, o, 4), 0);
    struct spr_event back = {.size = sizeof back};
    assert_int_equal(spr_calendar_event(c, 0, &back), SPR_OK);
    assert_string_equal(back.name, "kick-off");
    assert_int_equal(spr_calendar_event(c, 1, &back), SPR_E_ARG);
    assert_int_equal(spr_calendar_kind_find(c, "match"), 0);
    assert_int_equal(spr_calendar_kind_find(c, "nothing"), SPR_E_NOT_FOUND);
    spr_calendar_unref(c);
}

static void a_weekly_rule_meets_its_weekdays_and_stops_after_its_count(void **state) {
    (void)state;
    struct spr_occurrence o[16];
    struct spr_event e = event_at(MON_2024_JAN_1 + 2, 18, 1); /* Wednesday */
    e.repeat = SPR_EVENT_WEEKLY, e.interval = 2, e.weekdays = 1u << 0 | 1u << 2 | 1u << 4, e.count = 5;
    spr_calendar *c = one(&e);
    /* Wed Fri of the first week (its Monday lies before the start), Mon Wed Fri two weeks later: five. */
    static const int days[] = {2, 4, 14, 16, 18};
    assert_int_equal(between(c, 0, e.start_ns + 1000 * D, o, 16), 5);
    for (int i = 0; i < 5; i++)
        assert_true(o[i].start_ns == (MON_2024_JAN_1 + days[i]) * D + 18 * H);
    assert_int_equal(between(c, (MON_2024_JAN_1 + 5) * D, (MON_2024_JAN_1 + 14) * D, o, 16), 0);
    spr_calendar_unref(c);
}

static void monthly_rules_know_short_months_last_days_and_nth_weekdays(void **state) {
    (void)state;
    struct spr_occurrence o[16];
    struct spr_event e = event_at(MON_2024_JAN_1 + 30, 0, 4); /* 31 January */
    e.repeat = SPR_EVENT_MONTHLY;
    spr_calendar *c = one(&e);
    assert_int_equal(between(c, 0, e.start_ns + 190 * D, o, 16), 4); /* January March May July */
    assert_true(o[1].start_ns == (MON_2024_JAN_1 + 90) * D);
    spr_calendar_unref(c);
    e.month_day = -1;
    c = one(&e);
    assert_int_equal(between(c, 0, e.start_ns + 30 * D, o, 16), 2);
    assert_true(o[1].start_ns == THU_2024_FEB_29 * D);
    spr_calendar_unref(c);
    e.month_day = 0, e.weekdays = 1u << 1, e.nth = -1; /* last Tuesday */
    c = one(&e);
    assert_int_equal(between(c, 0, (MON_2024_JAN_1 + 91) * D, o, 16), 2); /* 27 February, 26 March */
    assert_true(o[0].start_ns == (THU_2024_FEB_29 - 2) * D && o[1].start_ns == (MON_2024_JAN_1 + 85) * D);
    spr_calendar_unref(c);
}

static void a_yearly_rule_on_the_29th_of_february_waits_for_leap_years(void **state) {
    (void)state;
    struct spr_occurrence o[4];
    struct spr_event e = event_at(THU_2024_FEB_29, 9, 1);
    e.repeat = SPR_EVENT_YEARLY;
    spr_calendar *c = one(&e);
    assert_int_equal(between(c, e.start_ns, e.start_ns + 9 * 366 * D, o, 4), 3);
    assert_true(o[1].start_ns == (THU_2024_FEB_29 + 1461) * D + 9 * H);
    spr_calendar_unref(c);
}

static void local_time_stays_over_a_daylight_saving_week(void **state) {
    (void)state;
    static const struct spr_zone_offset rome[] = {
        {0, 3600, 0}, {SUN_2024_MAR_31 * D + H, 7200, 0}, {SUN_2024_OCT_27 * D + H, 3600, 0}};
    spr_calendar_builder *b = NULL;
    spr_calendar *c = NULL;
    struct spr_occurrence o[16];
    assert_int_equal(spr_calendar_builder_create(ctx, &b), SPR_OK);
    struct spr_event e = event_at(SUN_2024_MAR_31 - 2, 19, 2); /* 20:00 in Rome */
    e.repeat = SPR_EVENT_DAILY;
    e.zone = spr_calendar_builder_zone(b, rome, sizeof *rome, 3);
    assert_int_equal(e.zone, 1);
    assert_int_equal(spr_calendar_builder_add(b, &e), 0);
    struct spr_event night = event_at(SUN_2024_MAR_31 - 2, 1, 1); /* 02:30, which does not exist on that Sunday */
    night.start_ns += H / 2, night.end_ns += H / 2;
    night.repeat = SPR_EVENT_DAILY, night.zone = 1, night.kind = "backup";
    assert_int_equal(spr_calendar_builder_add(b, &night), 1);
    assert_int_equal(spr_calendar_builder_finish(b, &c), SPR_OK);
    size_t n = between(c, e.start_ns - 20 * H, e.start_ns + 4 * D, o, 16), evenings = 0;
    for (size_t i = 0; i < n; i++) {
        int64_t day = o[i].start_ns / D - SUN_2024_MAR_31, clock = o[i].start_ns % D;
        if (o[i].kind == 0) {
            assert_true(clock == (day < 0 ? 19 : 18) * H);
            evenings++;
        } else /* the gap is read with the offset before it: 02:30 +01:00 */
            assert_true(clock == (day <= 0 ? 1 : 0) * H + H / 2);
        assert_true(o[i].end_ns - o[i].start_ns == (o[i].kind == 0 ? 2 : 1) * H);
    }
    assert_int_equal(evenings, 5);
    /* Autumn: 02:30 comes twice, the first one counts. */
    n = between(c, SUN_2024_OCT_27 * D - 2 * H, SUN_2024_OCT_27 * D + 4 * H, o, 16);
    assert_int_equal(n, 1);
    assert_true(o[0].start_ns == SUN_2024_OCT_27 * D + H / 2);
    spr_calendar_unref(c);
}

static void whole_days_are_local_days_whatever_the_clock_does(void **state) {
    (void)state;
    static const struct spr_zone_offset rome[] = {{0, 3600, 0}, {SUN_2024_MAR_31 * D + H, 7200, 0}};
    spr_calendar_builder *b = NULL;
    spr_calendar *c = NULL;
    struct spr_occurrence o[2];
    assert_int_equal(spr_calendar_builder_create(ctx, &b), SPR_OK);
    struct spr_event e = event_at(SUN_2024_MAR_31 - 8, 23, 24); /* all Sunday in Rome */
    e.repeat = SPR_EVENT_WEEKLY;
    e.zone = spr_calendar_builder_zone(b, rome, sizeof *rome, 2);
    assert_int_equal(spr_calendar_builder_add(b, &e), 0);
    assert_int_equal(spr_calendar_builder_finish(b, &c), SPR_OK);
    assert_int_equal(between(c, e.end_ns + 1, e.end_ns + 8 * D, o, 2), 1);
    assert_true(o[0].end_ns - o[0].start_ns == 23 * H); /* the Sunday that lacks an hour */
    spr_calendar_unref(c);
}

static void moving_events_take_dates_lose_dates_and_count_none_twice(void **state) {
    (void)state;
    spr_calendar_builder *b = NULL;
    spr_calendar *c = NULL;
    struct spr_occurrence o[8];
    struct spr_event e = event_at(MON_2024_JAN_1, 8, 1);
    e.repeat = SPR_EVENT_DAILY, e.count = 3;
    assert_int_equal(spr_calendar_builder_create(ctx, &b), SPR_OK);
    assert_int_equal(spr_calendar_builder_add(b, &e), 0);
    assert_int_equal(spr_calendar_builder_date(b, 0, e.start_ns + 10 * D, 0), SPR_OK);
    assert_int_equal(spr_calendar_builder_date(b, 0, e.start_ns + 10 * D, 0), SPR_OK);
    assert_int_equal(spr_calendar_builder_date(b, 0, e.start_ns + D, e.start_ns + D + 3 * H), SPR_OK);
    assert_int_equal(spr_calendar_builder_skip(b, 0, e.start_ns + 2 * D), SPR_OK);
    assert_int_equal(spr_calendar_builder_date(b, 1, e.start_ns, 0), SPR_E_ARG);
    assert_int_equal(spr_calendar_builder_skip(b, -1, e.start_ns), SPR_E_ARG);
    assert_int_equal(spr_calendar_builder_finish(b, &c), SPR_OK);
    assert_int_equal(between(c, 0, e.start_ns + 100 * D, o, 8), 3);
    assert_true(o[1].start_ns == e.start_ns + D && o[1].end_ns == e.start_ns + D + 3 * H);
    assert_true(o[2].start_ns == e.start_ns + 10 * D);
    /* Too little room: how many there are is told, the earliest are given. */
    assert_int_equal(between(c, 0, e.start_ns + 100 * D, o, 2), 3);
    assert_true(o[0].start_ns == e.start_ns && o[1].start_ns == e.start_ns + D);
    assert_int_equal(between(c, 0, e.start_ns + 100 * D, NULL, 0), 3);
    spr_calendar_unref(c);
}

static void a_rule_is_found_far_from_its_start(void **state) {
    (void)state;
    struct spr_occurrence o[4];
    struct spr_event e = event_at(1, 3, 1);
    e.repeat = SPR_EVENT_WEEKLY;
    spr_calendar *c = one(&e);
    assert_int_equal(between(c, (1 + 7 * 10000) * D, (2 + 7 * 10000) * D, o, 4), 1);
    assert_true(o[0].start_ns == (1 + 7 * 10000) * D + 3 * H);
    spr_calendar_unref(c);
}

static void events_without_sense_are_refused_with_a_reason(void **state) {
    (void)state;
    spr_calendar_builder *b = NULL;
    const struct spr_event good = event_at(MON_2024_JAN_1, 1, 1);
    struct spr_event e[12];
    for (size_t i = 0; i < 12; i++)
        e[i] = good;
    e[0].kind = NULL, e[1].end_ns = e[1].start_ns, e[2].start_ns = -1, e[3].confidence = 1.5;
    e[4].repeat = 9, e[5].count = 3, e[6].zone = 1, e[7].amount = -2, e[8].repeat = SPR_EVENT_DAILY, e[8].nth = 1;
    e[9].repeat = SPR_EVENT_MONTHLY, e[9].nth = 1, e[10].repeat = SPR_EVENT_DAILY, e[10].interval = -1;
    e[11].confidence = NAN;
    assert_int_equal(spr_calendar_builder_create(ctx, &b), SPR_OK);
    for (size_t i = 0; i < 12; i++) {
        struct spr_error err = {.size = sizeof err};
        assert_int_equal(spr_calendar_builder_add(b, &e[i]), SPR_E_ARG);
        assert_int_equal(spr_context_error(ctx, &err), SPR_OK);
        assert_non_null(strstr(err.text, "event"));
    }
    const struct spr_zone_offset falling[] = {{5, 0, 0}, {4, 0, 0}}, far = {0, 90000, 0};
    assert_int_equal(spr_calendar_builder_zone(b, falling, sizeof *falling, 2), SPR_E_ARG);
    assert_int_equal(spr_calendar_builder_zone(b, &far, sizeof far, 1), SPR_E_ARG);
    assert_int_equal(spr_calendar_builder_add(b, NULL), SPR_E_ARG);
    assert_int_equal(spr_calendar_builder_finish(b, NULL), SPR_E_ARG);
    assert_int_equal(spr_calendar_builder_create(ctx, NULL), SPR_E_ARG);
    spr_calendar_builder_destroy(b);
    spr_calendar_builder_destroy(NULL);
    spr_calendar_unref(NULL);
}

static int fill(spr_context *failing, void *arg) {
    (void)arg;
    spr_calendar_builder *b = NULL;
    spr_calendar *c = NULL;
    const struct spr_zone_offset zone = {0, 3600, 0};
    struct spr_occurrence o[4];
    size_t n = 4;
    int rc = spr_calendar_builder_create(failing, &b);
    if (rc >= 0)
        rc = spr_calendar_builder_zone(b, &zone, sizeof zone, 1);
    struct spr_event e = event_at(MON_2024_JAN_1, 1, 1);
    e.zone = 1;
    if (rc >= 0)
        rc = spr_calendar_builder_add(b, &e);
    if (rc >= 0)
        rc = spr_calendar_builder_date(b, 0, 5 * D, 0);
    if (rc >= 0)
        rc = spr_calendar_builder_skip(b, 0, 7 * D);
    if (rc >= 0)
        rc = spr_calendar_builder_finish(b, &c);
    if (rc < 0)
        spr_calendar_builder_destroy(b);
    if (rc >= 0)
        rc = spr_calendar_occurrences(c, 0, 100 * D, o, sizeof *o, &n);
    spr_calendar_unref(c);
    return rc;
}

static void every_failing_allocation_leaves_nothing_behind(void **state) {
    (void)state;
    assert_true(failing_sweep(fill, NULL) > 8);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_meets_a_span_that_touches_any_part_of_it),
        cmocka_unit_test(a_weekly_rule_meets_its_weekdays_and_stops_after_its_count),
        cmocka_unit_test(monthly_rules_know_short_months_last_days_and_nth_weekdays),
        cmocka_unit_test(a_yearly_rule_on_the_29th_of_february_waits_for_leap_years),
        cmocka_unit_test(local_time_stays_over_a_daylight_saving_week),
        cmocka_unit_test(whole_days_are_local_days_whatever_the_clock_does),
        cmocka_unit_test(moving_events_take_dates_lose_dates_and_count_none_twice),
        cmocka_unit_test(a_rule_is_found_far_from_its_start),
        cmocka_unit_test(events_without_sense_are_refused_with_a_reason),
        cmocka_unit_test(every_failing_allocation_leaves_nothing_behind),
    };
    return cmocka_run_group_tests_name("calendars", tests, make_context, drop_context);
}
