/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Recurrence rules and time zones of iCalendar. What the calendar cannot do is refused by name, never guessed. */
#include <stdlib.h>

#include "ics.h"

/* ---- RRULE ---- */

struct part {
    const char *name, *value;
    size_t name_n, n;
};

static bool next_part(const char **at, struct part *p) {
    if (!**at)
        return false;
    p->name = *at, p->name_n = strcspn(*at, "=;");
    p->value = p->name + p->name_n + (p->name[p->name_n] == '='), p->n = strcspn(p->value, ";");
    *at = p->value + p->n + (p->value[p->n] == ';');
    return true;
}

static bool number_in(const struct part *p, int64_t low, int64_t high, int64_t *out) {
    return spr__io_integer(p->value, p->n, out) && *out >= low && *out <= high;
}

static int frequency(struct ics *f, int64_t line, const struct part *p, struct spr_event *e) {
    static const char *const names[] = {"DAILY", "WEEKLY", "MONTHLY", "YEARLY"};
    for (int i = 0; i < 4; i++)
        if (spr__ics_is(p->value, p->n, names[i])) {
            e->repeat = SPR_EVENT_DAILY + i;
            return SPR_OK;
        }
    return spr__ics_fail(f, line, "RRULE: FREQ is DAILY, WEEKLY, MONTHLY or YEARLY here, not '%.*s'",
                         (int)SPR_MIN(p->n, 40), p->value);
}

/* [[+-]n]DAY,... ; one n for all. */
static int weekdays(struct ics *f, int64_t line, const struct part *p, struct spr_event *e) {
    static const char *const names[] = {"MO", "TU", "WE", "TH", "FR", "SA", "SU"};
    const char *at = p->value, *end = at + p->n;
    for (bool first = true; at < end; first = false) {
        size_t n = SPR_MIN(strcspn(at, ","), (size_t)(end - at));
        const char *day = n >= 2 ? at + n - 2 : at;
        int64_t nth = 0;
        int found = -1;
        for (int i = 0; i < 7 && n >= 2; i++)
            if (spr__ics_is(day, 2, names[i]))
                found = i;
        const char *digits = at + (*at == '+');
        if (found < 0 ||
            (day > at && (!spr__io_integer(digits, (size_t)(day - digits), &nth) || !nth || nth < -5 || nth > 5)))
            return spr__ics_fail(f, line, "RRULE: BYDAY has days like MO or -1SU, not '%.*s'", (int)SPR_MIN(n, 40), at);
        if (!first && nth != e->nth)
            return spr__ics_fail(f, line, "RRULE: BYDAY with several ordinals is not supported; write two events");
        e->nth = (int32_t)nth;
        e->weekdays |= 1u << found;
        at += n + (at + n < end);
    }
    return e->weekdays ? SPR_OK : spr__ics_fail(f, line, "RRULE: BYDAY is empty");
}

struct by {
    int64_t interval, count, month, month_day;
};

static int rule_part(struct ics *f, int64_t line, const struct part *p, struct spr_event *e, struct by *by,
                     struct ics_time *until) {
    if (spr__ics_is(p->name, p->name_n, "FREQ"))
        return frequency(f, line, p, e);
    if (spr__ics_is(p->name, p->name_n, "BYDAY"))
        return weekdays(f, line, p, e);
    if (spr__ics_is(p->name, p->name_n, "UNTIL"))
        return spr__ics_time(p->value, p->n, until) ? SPR_OK : spr__ics_fail(f, line, "RRULE: UNTIL is no time");
    if (spr__ics_is(p->name, p->name_n, "WKST"))
        return spr__ics_is(p->value, p->n, "MO") ? SPR_OK : spr__ics_fail(f, line, "RRULE: weeks begin on MO here");
    bool ok = false, known = true;
    if (spr__ics_is(p->name, p->name_n, "INTERVAL"))
        ok = number_in(p, 1, 100000, &by->interval);
    else if (spr__ics_is(p->name, p->name_n, "COUNT"))
        ok = number_in(p, 1, 100000, &by->count);
    else if (spr__ics_is(p->name, p->name_n, "BYMONTH"))
        ok = number_in(p, 1, 12, &by->month);
    else if (spr__ics_is(p->name, p->name_n, "BYMONTHDAY"))
        ok = number_in(p, -31, 31, &by->month_day) && by->month_day;
    else
        known = false;
    if (ok)
        return SPR_OK;
    return spr__ics_fail(f, line, known ? "RRULE: %.*s: one number in its range" : "RRULE: %.*s is not supported",
                         (int)SPR_MIN(p->name_n, 40), p->name);
}

/* Combinations that would mean something else than the calendar's rules do. */
static int check_rule(struct ics *f, int64_t line, const struct spr_event *e, const struct by *by,
                      const struct ics_time *start) {
    int64_t year, month, day;
    spr__ics_civil(start->local_ns, &year, &month, &day);
    bool yearly = e->repeat == SPR_EVENT_YEARLY, monthly = e->repeat == SPR_EVENT_MONTHLY;
    if (!e->repeat)
        return spr__ics_fail(f, line, "RRULE: FREQ is missing");
    if (by->month && (!yearly || by->month != month))
        return spr__ics_fail(f, line, "RRULE: BYMONTH goes with FREQ=YEARLY and is the month of DTSTART");
    if (yearly && !by->month && (e->weekdays || by->month_day))
        return spr__ics_fail(f, line, "RRULE: BYDAY and BYMONTHDAY of a year need BYMONTH");
    if (by->month_day && (!(yearly || monthly) || e->weekdays))
        return spr__ics_fail(f, line, "RRULE: BYMONTHDAY goes with FREQ=MONTHLY or YEARLY and without BYDAY");
    if (e->nth && !yearly && !monthly)
        return spr__ics_fail(f, line, "RRULE: ordinals of BYDAY go with FREQ=MONTHLY or YEARLY");
    return SPR_OK;
}

int spr__ics_rule(struct ics *f, const struct ics_line *l, const struct ics_time *start, struct spr_event *e,
                  struct ics_time *until) {
    struct by by = {0};
    struct part p;
    const char *at = l->value;
    int rc = SPR_OK;
    *until = (struct ics_time){.local_ns = -1};
    while (rc == SPR_OK && next_part(&at, &p))
        rc = rule_part(f, l->line, &p, e, &by, until);
    if (rc == SPR_OK)
        rc = check_rule(f, l->line, e, &by, start);
    if (rc == SPR_OK && by.count && until->local_ns >= 0)
        rc = spr__ics_fail(f, l->line, "RRULE: COUNT and UNTIL exclude each other");
    e->interval = (int32_t)by.interval, e->count = by.count, e->month_day = (int32_t)by.month_day;
    return rc;
}

/* ---- zones ---- */

static int zone_row(struct ics *f, struct ics_zone *z, int64_t from_ns, int32_t offset_s) {
    int rc = spr__io_reserve(f->ctx, (void **)&z->rows, &z->cap, z->count + 1, sizeof *z->rows);
    if (rc == SPR_OK)
        z->rows[z->count++] = (struct spr_zone_offset){.from_ns = from_ns, .offset_s = offset_s};
    return rc;
}

/* STANDARD or DAYLIGHT: what its lines said. */
struct observance {
    struct ics_time start;
    const struct ics_line *rule, *begin;
    int32_t from_s, to_s;
    bool has_start, has_from, has_to;
};

/* The moments at which an observance begins, by the calendar's own rules in the clock before it. */
static int expand(struct ics *f, struct ics_zone *z, const struct observance *o, spr_calendar_builder *b) {
    struct spr_zone_offset clock = {.offset_s = o->from_s};
    struct spr_event e = {.size = sizeof e, .kind = "zone"};
    struct ics_time until, start = o->start;
    int64_t year, month, day, from = o->from_s * ICS_S;
    int rc = spr_calendar_builder_zone(b, &clock, sizeof clock, 1);
    if (rc < 0 || (o->rule && (rc = spr__ics_rule(f, o->rule, &o->start, &e, &until)) < 0))
        return rc;
    spr__ics_civil(start.local_ns, &year, &month, &day);
    if (!e.repeat && year < 1971) /* since ever */
        return zone_row(f, z, 0, o->to_s);
    if (year < 1971) /* rules of a year are the same in every one */
        start.local_ns +=
            (spr__ics_days(1971, month, e.weekdays ? 1 : SPR_MIN(day, 28)) - spr__ics_days(year, month, day)) * ICS_DAY;
    e.zone = 1;
    e.start_ns = start.local_ns - from, e.end_ns = e.start_ns + ICS_S;
    if (o->rule && until.local_ns >= 0)
        e.until_ns = SPR_MAX(1, until.local_ns - (until.utc ? 0 : from));
    if (e.repeat && e.repeat != SPR_EVENT_YEARLY)
        return spr__ics_fail(f, o->rule->line, "VTIMEZONE: rules of zones are yearly");
    e.count = 0;
    return (rc = spr_calendar_builder_add(b, &e)) < 0 ? spr__ics_blame(f, o->begin->line, rc) : SPR_OK;
}

static int gather(struct ics *f, struct ics_zone *z, const struct observance *o) {
    spr_calendar_builder *b = NULL;
    spr_calendar *c = NULL;
    struct spr_occurrence found[256];
    size_t n = SPR_ARRAY_LEN(found);
    int rc = spr_calendar_builder_create(f->ctx, &b);
    if (rc == SPR_OK)
        rc = expand(f, z, o, b);
    if (rc == SPR_OK)
        rc = spr_calendar_builder_finish(b, &c);
    if (rc < 0) {
        spr_calendar_builder_destroy(b);
        return rc;
    }
    rc = spr_calendar_occurrences(c, 0, INT64_MAX, found, sizeof *found, &n);
    for (size_t i = 0; rc == SPR_OK && i < SPR_MIN(n, SPR_ARRAY_LEN(found)); i++)
        rc = zone_row(f, z, found[i].start_ns, o->to_s);
    spr_calendar_unref(c);
    return rc;
}

static int observe(struct ics *f, const struct ics_line *l, struct observance *o) {
    size_t n = strlen(l->name);
    if (spr__ics_is(l->name, n, "DTSTART")) {
        o->has_start = spr__ics_time(l->value, strlen(l->value), &o->start) && !o->start.utc;
        return o->has_start ? SPR_OK : spr__ics_fail(f, l->line, "VTIMEZONE: DTSTART is a local time");
    }
    if (spr__ics_is(l->name, n, "RRULE"))
        o->rule = l;
    bool to = spr__ics_is(l->name, n, "TZOFFSETTO");
    if (!to && !spr__ics_is(l->name, n, "TZOFFSETFROM"))
        return SPR_OK;
    *(to ? &o->has_to : &o->has_from) = true;
    return spr__ics_offset(l->value, to ? &o->to_s : &o->from_s)
               ? SPR_OK
               : spr__ics_fail(f, l->line, "VTIMEZONE: an offset is +HHMM or -HHMM, not '%.40s'", l->value);
}

static int by_moment(const void *a, const void *b) {
    const struct spr_zone_offset *x = a, *y = b;
    if (x->from_ns != y->from_ns)
        return x->from_ns < y->from_ns ? -1 : 1;
    return (x->offset_s > y->offset_s) - (x->offset_s < y->offset_s);
}

static int read_zone(struct ics *f, size_t from, size_t to) {
    struct ics_zone z = {.index = -1};
    struct observance o = {0};
    int rc = SPR_OK;
    for (size_t i = from + 1; i < to && rc == SPR_OK; i++) {
        const struct ics_line *l = &f->lines[i];
        size_t n = strlen(l->name);
        if (spr__ics_is(l->name, n, "TZID") && !z.name)
            z.name = l->value;
        else if (spr__ics_is(l->name, n, "BEGIN"))
            o = (struct observance){.begin = l};
        else if (spr__ics_is(l->name, n, "END") && o.begin)
            rc = !o.has_start || !o.has_from || !o.has_to
                     ? spr__ics_fail(f, l->line, "VTIMEZONE: DTSTART, TZOFFSETFROM and TZOFFSETTO are required")
                     : gather(f, &z, &o);
        else if (o.begin)
            rc = observe(f, l, &o);
    }
    if (rc == SPR_OK && (!z.name || !z.count))
        rc = spr__ics_fail(f, f->lines[from].line, "VTIMEZONE: a name (TZID) and offsets are required");
    if (rc == SPR_OK)
        rc = spr__io_reserve(f->ctx, (void **)&f->zones, &f->zone_room, f->zone_count + 1, sizeof *f->zones);
    if (rc < 0) {
        spr_context_free(f->ctx, z.rows, z.cap * sizeof *z.rows);
        return rc;
    }
    qsort(z.rows, z.count, sizeof *z.rows, by_moment);
    size_t kept = 0;
    for (size_t i = 0; i < z.count; i++) /* of two at one moment the later row counts */
        z.rows[kept && z.rows[kept - 1].from_ns == z.rows[i].from_ns ? kept - 1 : kept++] = z.rows[i];
    z.count = kept;
    f->zones[f->zone_count++] = z;
    return SPR_OK;
}

int spr__ics_zones(struct ics *f) {
    int rc = SPR_OK;
    for (size_t i = 0; i < f->count && rc == SPR_OK; i++) {
        const struct ics_line *l = &f->lines[i];
        if (spr__ics_is(l->name, strlen(l->name), "X-WR-TIMEZONE"))
            f->default_zone = l->value;
        if (!spr__ics_is(l->name, strlen(l->name), "BEGIN") || !spr__ics_is(l->value, strlen(l->value), "VTIMEZONE"))
            continue;
        size_t end = i + 1;
        while (end < f->count && !(spr__ics_is(f->lines[end].name, strlen(f->lines[end].name), "END") &&
                                   spr__ics_is(f->lines[end].value, strlen(f->lines[end].value), "VTIMEZONE")))
            end++;
        if (end == f->count)
            return spr__ics_fail(f, l->line, "VTIMEZONE: its END is missing");
        rc = read_zone(f, i, end);
        i = end;
    }
    return rc;
}

/* UTC by any of its names, and Etc/GMT+5, whose sign is that of POSIX. */
static bool fixed_zone(const char *name, int32_t *offset_s) {
    static const char *const utc[] = {"UTC", "ETC/UTC", "GMT", "ETC/GMT", "Z"};
    int64_t hours;
    *offset_s = 0;
    for (size_t i = 0; i < SPR_ARRAY_LEN(utc); i++)
        if (spr__ics_is(name, strlen(name), utc[i]))
            return true;
    if (strlen(name) < 9 || !spr__ics_is(name, 7, "ETC/GMT") || (name[7] != '+' && name[7] != '-') ||
        !spr__io_integer(name + 8, strlen(name + 8), &hours) || hours < 0 || hours > 14)
        return false;
    *offset_s = (int32_t)hours * (name[7] == '+' ? -3600 : 3600);
    return true;
}

static int fixed_row(struct ics *f, int32_t offset_s) {
    struct ics_zone z = {.index = -1};
    int rc = zone_row(f, &z, 0, offset_s);
    if (rc == SPR_OK)
        rc = spr__io_reserve(f->ctx, (void **)&f->zones, &f->zone_room, f->zone_count + 1, sizeof *f->zones);
    if (rc == SPR_OK)
        f->zones[f->zone_count++] = z;
    else
        spr_context_free(f->ctx, z.rows, z.cap * sizeof *z.rows);
    return rc;
}

static struct ics_zone *zone_named(struct ics *f, const char *name) {
    for (size_t i = 0; i < f->zone_count; i++)
        if (f->zones[i].name && !strcmp(f->zones[i].name, name))
            return &f->zones[i];
    return NULL;
}

int spr__ics_zone_of(struct ics *f, const struct ics_line *l, const struct ics_time *t, struct ics_zone *zone) {
    char name[128];
    int32_t offset_s;
    memset(zone, 0, sizeof *zone);
    if (t->utc)
        return 0;
    if (!spr__ics_param(l, "TZID", name, sizeof name)) {
        if (!f->default_zone || !zone_named(f, f->default_zone))
            return 0;
        snprintf(name, sizeof name, "%s", f->default_zone);
    }
    struct ics_zone *z = zone_named(f, name);
    if (!z && fixed_zone(name, &offset_s)) {
        if (!offset_s)
            return 0;
        int rc = fixed_row(f, offset_s);
        if (rc < 0)
            return rc;
        z = &f->zones[f->zone_count - 1];
    }
    if (!z)
        return spr__ics_fail(f, l->line, "there is no VTIMEZONE of the name '%.60s'", name);
    if (z->index < 0) {
        int rc = spr_calendar_builder_zone(f->builder, z->rows, sizeof *z->rows, z->count);
        if (rc < 0)
            return spr__ics_blame(f, l->line, rc);
        z->index = rc;
    }
    *zone = *z; /* a copy: more zones may move the array */
    return z->index;
}

static int64_t offset_at(const struct ics_zone *z, int64_t utc_ns) {
    size_t i = 0;
    while (i + 1 < z->count && z->rows[i + 1].from_ns <= utc_ns)
        i++;
    return z->rows[i].offset_s * ICS_S;
}

/* As the calendar does it: the first of two, before a gap. */
int64_t spr__ics_utc(const struct ics_zone *z, int64_t local_ns) {
    if (!z->count)
        return local_ns;
    int64_t before = offset_at(z, local_ns - ICS_DAY), after = offset_at(z, local_ns + ICS_DAY);
    if (offset_at(z, local_ns - before) == before || offset_at(z, local_ns - after) != after)
        return local_ns - before;
    return local_ns - after;
}
