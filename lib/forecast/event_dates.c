/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* When events recur: civil days, zones, rules. Everything runs in local days and is turned to UTC at the end. */
#include "forecast/event.h"

enum { CANDIDATES = 32 };

/* ---- civil days (Hinnant, "chrono-compatible low-level date algorithms", 2013; proleptic Gregorian) ---- */

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

static int64_t days_of(int64_t year, int64_t month, int64_t day) {
    year += floor_div(month - 1, 12);
    month = month - 1 - floor_div(month - 1, 12) * 12 + 1;
    year -= month <= 2;
    int64_t era = floor_div(year, 400), of_era = year - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static void civil_of(int64_t days, int64_t *year, int64_t *month, int64_t *day) {
    days += 719468;
    int64_t era = floor_div(days, 146097), of_era = days - era * 146097;
    int64_t y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * y + y / 4 - y / 100), m = (5 * of_year + 2) / 153;
    *day = of_year - (153 * m + 2) / 5 + 1;
    *month = m < 10 ? m + 3 : m - 9;
    *year = y + era * 400 + (*month <= 2);
}

/* 0 = Monday; 1970 began on a Thursday. */
static int64_t weekday_of(int64_t days) { return days + 3 - floor_div(days + 3, 7) * 7; }

/* ---- zones ---- */

int64_t spr__event_offset_ns(const struct event_book *b, int32_t zone, int64_t utc) {
    if (zone < 1)
        return 0;
    const struct event_zone *z = &b->zones[zone - 1];
    size_t low = 0, high = z->count;
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        if (z->rows[mid].from_ns <= utc)
            low = mid;
        else
            high = mid;
    }
    return z->rows[low].offset_s * INT64_C(1000000000);
}

/* A local time that comes twice means its first time; one that is left out is read with the offset before the gap, as
 * RFC 5545 (3.3.5) has it. */
static int64_t to_utc(const struct event_book *b, int32_t zone, int64_t local) {
    int64_t before = spr__event_offset_ns(b, zone, local - SPR__DAY_NS);
    int64_t after = spr__event_offset_ns(b, zone, local + SPR__DAY_NS);
    if (spr__event_offset_ns(b, zone, local - before) == before)
        return local - before;
    return spr__event_offset_ns(b, zone, local - after) == after ? local - after : local - before;
}

/* ---- rules ---- */

struct rule {
    const struct event_book *book;
    const struct spr_event *e;
    int64_t day, time, length; /* local start: day and time of day; length in ns */
    int64_t year, month, monthday, interval;
    uint32_t weekdays;
    bool whole_days; /* as many local days long, whatever the clock does */
};

static struct rule rule_of(const struct event_book *b, const struct spr_event *e) {
    struct rule r = {.book = b, .e = e, .length = e->end_ns - e->start_ns, .weekdays = e->weekdays};
    int64_t local = e->start_ns + spr__event_offset_ns(b, e->zone, e->start_ns);
    r.day = floor_div(local, SPR__DAY_NS);
    r.time = local - r.day * SPR__DAY_NS;
    r.interval = e->interval ? e->interval : 1;
    civil_of(r.day, &r.year, &r.month, &r.monthday);
    if (e->repeat == SPR_EVENT_WEEKLY && !r.weekdays)
        r.weekdays = 1u << weekday_of(r.day);
    int64_t until = e->end_ns + spr__event_offset_ns(b, e->zone, e->end_ns);
    if ((until - local) % SPR__DAY_NS == 0)
        r.whole_days = true, r.length = until - local;
    return r;
}

/* First local day of a period. */
static int64_t period_day(const struct rule *r, int64_t p) {
    switch (r->e->repeat) {
    case SPR_EVENT_DAILY:
        return r->day + p * r->interval;
    case SPR_EVENT_WEEKLY:
        return r->day - weekday_of(r->day) + 7 * p * r->interval;
    case SPR_EVENT_MONTHLY:
        return days_of(r->year, r->month + p * r->interval, 1);
    default:
        return days_of(r->year + p * r->interval, r->month, 1);
    }
}

/* The last period that begins at or before a day; at least 0. */
static int64_t period_at(const struct rule *r, int64_t day) {
    int64_t year, month, monthday, p;
    civil_of(day, &year, &month, &monthday);
    switch (r->e->repeat) {
    case SPR_EVENT_DAILY:
        p = floor_div(day - r->day, r->interval);
        break;
    case SPR_EVENT_WEEKLY:
        p = floor_div(day - (r->day - weekday_of(r->day)), 7 * r->interval);
        break;
    case SPR_EVENT_MONTHLY:
        p = floor_div((year - r->year) * 12 + month - r->month, r->interval);
        break;
    default:
        p = floor_div(year - r->year, r->interval);
    }
    return SPR_MAX(p, 0);
}

/* Days of a month that the rule means, rising. */
static int month_days(const struct rule *r, int64_t first, int64_t *days) {
    int64_t year, month, one, length, n = 0;
    civil_of(first, &year, &month, &one);
    length = days_of(year, month + 1, 1) - first;
    if (!r->weekdays) {
        int64_t day = r->e->month_day ? r->e->month_day : r->monthday;
        day = day < 0 ? length + 1 + day : day;
        if (day >= 1 && day <= length) /* a month without such a day has none */
            days[n++] = first + day - 1;
        return (int)n;
    }
    for (int64_t d = 0; d < length; d++) {
        bool wanted = (r->weekdays >> weekday_of(first + d)) & 1;
        int64_t nth = d / 7 + 1, from_end = -((length - 1 - d) / 7 + 1);
        if (wanted && (!r->e->nth || r->e->nth == nth || r->e->nth == from_end))
            days[n++] = first + d;
    }
    return (int)n;
}

static int period_days(const struct rule *r, int64_t p, int64_t *days) {
    int64_t first = period_day(r, p);
    int n = 0;
    if (r->e->repeat == SPR_EVENT_DAILY) {
        if (!r->weekdays || ((r->weekdays >> weekday_of(first)) & 1))
            days[n++] = first;
    } else if (r->e->repeat == SPR_EVENT_WEEKLY) {
        for (int64_t d = 0; d < 7; d++)
            if ((r->weekdays >> d) & 1)
                days[n++] = first + d;
    } else
        n = month_days(r, first, days);
    int kept = 0;
    for (int i = 0; i < n; i++)
        if (days[i] >= r->day)
            days[kept++] = days[i];
    return kept;
}

static bool skipped(const struct event_row *row, int64_t start) {
    for (size_t i = 0; i < row->skip_count; i++)
        if (row->skips[i] == start)
            return true;
    return false;
}

/* ---- walking ---- */

struct walker {
    const struct event_row *row;
    int64_t from, to;
    void (*take)(void *arg, int64_t start, int64_t end);
    void *arg;
};

static void offer(const struct walker *w, int64_t start, int64_t end) {
    if (start < w->to && end > w->from && !skipped(w->row, start))
        w->take(w->arg, start, end);
}

static bool dated(const struct event_row *row, int64_t start) {
    for (size_t i = 0; i < row->date_count; i++)
        if (row->dates[i].start == start)
            return true;
    return false;
}

void spr__event_walk(const struct event_book *b, const struct event_row *row, int64_t from, int64_t to,
                     void (*take)(void *arg, int64_t start, int64_t end), void *arg) {
    const struct spr_event *e = &row->event;
    struct walker w = {row, from, to, take, arg};
    for (size_t i = 0; i < row->date_count; i++)
        offer(&w, row->dates[i].start, row->dates[i].end);
    if (e->repeat == SPR_EVENT_ONCE) {
        if (!dated(row, e->start_ns))
            offer(&w, e->start_ns, e->end_ns);
        return;
    }
    struct rule r = rule_of(b, e);
    int64_t until = e->until_ns ? e->until_ns : EVENT_LATEST, days[CANDIDATES];
    int64_t earliest = SPR_MAX(from, e->start_ns) - r.length - 2 * SPR__DAY_NS;
    int64_t last = floor_div(SPR_MIN(to, EVENT_LATEST), SPR__DAY_NS) + 2;
    for (int64_t p = period_at(&r, floor_div(earliest, SPR__DAY_NS)); period_day(&r, p) <= last; p++)
        for (int i = 0, n = period_days(&r, p, days); i < n; i++) {
            int64_t local = days[i] * SPR__DAY_NS + r.time, start = to_utc(b, e->zone, local);
            int64_t end = r.whole_days ? to_utc(b, e->zone, local + r.length) : start + r.length;
            if (start <= until && !dated(row, start))
                offer(&w, start, end);
        }
}

int64_t spr__event_last(const struct event_book *b, const struct event_row *row, int64_t count) {
    struct rule r = rule_of(b, &row->event);
    int64_t days[CANDIDATES], found = 0, start = row->event.start_ns;
    for (int64_t p = 0; period_day(&r, p) * SPR__DAY_NS < EVENT_LATEST && found < count; p++)
        for (int i = 0, n = period_days(&r, p, days); i < n && found < count; i++, found++)
            start = to_utc(b, row->event.zone, days[i] * SPR__DAY_NS + r.time);
    return start;
}
