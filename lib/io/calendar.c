/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * iCalendar files (RFC 5545): VEVENT with DTSTART, DTEND or DURATION, RRULE, RDATE, EXDATE and VTIMEZONE. A small
 * strict reader of our own: CONTRIBUTING.md tells why. The kind of an event is its first category, else its summary.
 */
#include "ics.h"

/* What the lines of one event said. */
struct vevent {
    const struct ics_line *begin, *start, *end, *duration, *rule, *summary, *categories, *status, *confidence, *amount;
    size_t from, to; /* its lines, for RDATE and EXDATE */
};

static bool named(const struct ics_line *l, const char *name) { return spr__ics_is(l->name, strlen(l->name), name); }
static bool valued(const struct ics_line *l, const char *v) { return spr__ics_is(l->value, strlen(l->value), v); }

static int take_line(struct ics *f, const struct ics_line *l, struct vevent *v) {
    const struct {
        const char *name;
        const struct ics_line **slot;
    } slots[] = {{"DTSTART", &v->start},
                 {"DTEND", &v->end},
                 {"DURATION", &v->duration},
                 {"RRULE", &v->rule},
                 {"SUMMARY", &v->summary},
                 {"CATEGORIES", &v->categories},
                 {"STATUS", &v->status},
                 {"X-SHARDPREDICT-CONFIDENCE", &v->confidence},
                 {"X-SHARDPREDICT-AMOUNT", &v->amount}};
    if (named(l, "RECURRENCE-ID") || named(l, "EXRULE"))
        return spr__ics_fail(f, l->line, "%s is not supported: write EXDATE and an event of its own", l->name);
    for (size_t i = 0; i < SPR_ARRAY_LEN(slots); i++)
        if (named(l, slots[i].name)) {
            if (*slots[i].slot && strcmp(slots[i].name, "CATEGORIES") != 0)
                return spr__ics_fail(f, l->line, "%s stands twice in one event", slots[i].name);
            if (!*slots[i].slot)
                *slots[i].slot = l;
        }
    return SPR_OK;
}

static int time_of(struct ics *f, const struct ics_line *l, const char *text, size_t n, struct ics_time *t) {
    if (spr__ics_time(text, n, t))
        return SPR_OK;
    return spr__ics_fail(f, l->line, "%s: '%.*s' is no time like 20240131T180000Z or 20240131", l->name,
                         (int)SPR_MIN(n, 40), text);
}

static int moment_of(struct ics *f, const struct ics_line *l, const char *text, size_t n, int64_t *utc) {
    struct ics_time t;
    struct ics_zone zone;
    int rc = time_of(f, l, text, n, &t);
    if (rc < 0 || (rc = spr__ics_zone_of(f, l, &t, &zone)) < 0)
        return rc;
    *utc = spr__ics_utc(&zone, t.local_ns);
    return SPR_OK;
}

/* ---- start, end, rule ---- */

static int length_of(struct ics *f, const struct vevent *v, const struct ics_time *start, const struct ics_zone *zone,
                     struct spr_event *e) {
    int64_t duration;
    if (v->end && v->duration)
        return spr__ics_fail(f, v->duration->line, "DTEND and DURATION exclude each other");
    if (v->end)
        return moment_of(f, v->end, v->end->value, strlen(v->end->value), &e->end_ns);
    if (v->duration) {
        if (!spr__ics_duration(v->duration->value, strlen(v->duration->value), &duration))
            return spr__ics_fail(f, v->duration->line, "DURATION: '%.40s' is nothing like PT1H30M", v->duration->value);
        e->end_ns = duration % ICS_DAY ? e->start_ns + duration : spr__ics_utc(zone, start->local_ns + duration);
        return SPR_OK;
    }
    if (!start->date)
        return spr__ics_fail(f, v->start->line, "an event needs DTEND or DURATION: how long does it last?");
    e->end_ns = spr__ics_utc(zone, start->local_ns + ICS_DAY);
    return SPR_OK;
}

static int times_of(struct ics *f, const struct vevent *v, struct spr_event *e) {
    struct ics_time start, until;
    struct ics_zone zone;
    if (!v->start)
        return spr__ics_fail(f, v->begin->line, "an event needs DTSTART");
    int rc = time_of(f, v->start, v->start->value, strlen(v->start->value), &start);
    if (rc < 0 || (rc = spr__ics_zone_of(f, v->start, &start, &zone)) < 0)
        return rc;
    e->zone = rc;
    e->start_ns = spr__ics_utc(&zone, start.local_ns);
    if ((rc = length_of(f, v, &start, &zone, e)) < 0 || !v->rule)
        return rc;
    if ((rc = spr__ics_rule(f, v->rule, &start, e, &until)) < 0 || until.local_ns < 0)
        return rc;
    if (until.date) /* the whole of that day */
        until.local_ns += ICS_DAY - 1;
    e->until_ns = until.utc ? until.local_ns : spr__ics_utc(&zone, until.local_ns);
    return SPR_OK;
}

/* ---- what it is ---- */

static int share_of(struct ics *f, const struct ics_line *l, double most, double *out) {
    if (!l)
        return SPR_OK;
    if (spr__io_number(l->value, strlen(l->value), out) && *out > 0 && *out <= most)
        return SPR_OK;
    return spr__ics_fail(f, l->line, "%s: a number above 0, at most %g, not '%.40s'", l->name, most, l->value);
}

static int names_of(struct ics *f, const struct vevent *v, char **kind, char **name) {
    const struct ics_line *of_kind = v->categories ? v->categories : v->summary;
    if (!(*kind = spr__ics_unescape(f, of_kind && *of_kind->value ? of_kind->value : "event", v->categories != NULL)))
        return SPR_E_NOMEM;
    if (!(*name = spr__ics_unescape(f, v->summary ? v->summary->value : *kind, false)))
        return SPR_E_NOMEM;
    if (**kind)
        return SPR_OK;
    return spr__ics_fail(f, of_kind ? of_kind->line : v->begin->line, "the first category is empty");
}

/* ---- dates ---- */

/* One item of RDATE: a time, or a period START/END or START/DURATION. */
static int add_date(struct ics *f, const struct ics_line *l, const char *text, size_t n, int32_t event) {
    int64_t start, end = 0, duration;
    const char *slash = memchr(text, '/', n);
    size_t first = slash ? (size_t)(slash - text) : n;
    int rc = moment_of(f, l, text, first, &start);
    if (rc == SPR_OK && slash) {
        const char *rest = slash + 1;
        size_t left = n - first - 1;
        if (left && (*rest == 'P' || *rest == '+')) {
            if (!spr__ics_duration(rest, left, &duration))
                return spr__ics_fail(f, l->line, "RDATE: '%.*s' is no period", (int)SPR_MIN(n, 60), text);
            end = start + duration;
        } else
            rc = moment_of(f, l, rest, left, &end);
    }
    if (rc == SPR_OK)
        rc = spr__ics_blame(f, l->line, spr_calendar_builder_date(f->builder, event, start, end));
    return rc;
}

static int dates_of(struct ics *f, const struct vevent *v, int32_t event) {
    int rc = SPR_OK, depth = 0;
    for (size_t i = v->from; i < v->to && rc == SPR_OK; i++) {
        const struct ics_line *l = &f->lines[i];
        depth += named(l, "BEGIN") - named(l, "END");
        bool more = named(l, "RDATE"), less = named(l, "EXDATE");
        if (depth || (!more && !less))
            continue;
        for (const char *p = l->value; rc == SPR_OK;) {
            size_t n = strcspn(p, ",");
            int64_t at;
            if (more)
                rc = add_date(f, l, p, n, event);
            else if ((rc = moment_of(f, l, p, n, &at)) == SPR_OK)
                rc = spr_calendar_builder_skip(f->builder, event, at);
            p += n;
            if (!*p++)
                break;
        }
    }
    return rc;
}

/* ---- events ---- */

static int add_event(struct ics *f, const struct vevent *v) {
    struct spr_event e = {.size = sizeof e};
    char *kind = NULL, *name = NULL;
    if (v->status && valued(v->status, "CANCELLED"))
        return SPR_OK;
    if (v->status && valued(v->status, "TENTATIVE"))
        e.confidence = 0.5;
    int rc = share_of(f, v->confidence, 1, &e.confidence);
    if (rc == SPR_OK)
        rc = share_of(f, v->amount, 1e6, &e.amount);
    if (rc == SPR_OK)
        rc = times_of(f, v, &e);
    if (rc == SPR_OK)
        rc = names_of(f, v, &kind, &name);
    e.kind = kind, e.name = name;
    if (rc == SPR_OK && (rc = spr_calendar_builder_add(f->builder, &e)) < 0)
        rc = spr__ics_blame(f, v->begin->line, rc);
    if (rc >= 0)
        rc = dates_of(f, v, rc);
    spr__io_strfree(f->ctx, kind);
    spr__io_strfree(f->ctx, name);
    return rc;
}

/* Lines from BEGIN:VEVENT on; *at ends on its END. What is nested (alarms) is left out. */
static int read_event(struct ics *f, size_t *at) {
    struct vevent v = {.begin = &f->lines[*at], .from = *at + 1};
    int depth = 0, rc = SPR_OK;
    for (size_t i = *at + 1; i < f->count && rc == SPR_OK; i++) {
        const struct ics_line *l = &f->lines[i];
        if (named(l, "BEGIN"))
            depth++;
        else if (named(l, "END") && depth-- == 0) {
            if (!valued(l, "VEVENT"))
                return spr__ics_fail(f, l->line, "END:%.40s where END:VEVENT belongs", l->value);
            v.to = *at = i;
            return add_event(f, &v);
        } else if (!depth)
            rc = take_line(f, l, &v);
    }
    return rc < 0 ? rc : spr__ics_fail(f, v.begin->line, "END:VEVENT is missing");
}

static int read_events(struct ics *f) {
    int rc = SPR_OK;
    if (!f->count || !named(f->lines, "BEGIN") || !valued(f->lines, "VCALENDAR"))
        return spr__ics_fail(f, f->count ? f->lines->line : 1, "an iCalendar file begins with BEGIN:VCALENDAR");
    if (!named(&f->lines[f->count - 1], "END") || !valued(&f->lines[f->count - 1], "VCALENDAR"))
        return spr__ics_fail(f, f->lines[f->count - 1].line, "the file ends before END:VCALENDAR");
    for (size_t i = 1; i < f->count && rc == SPR_OK; i++)
        if (named(&f->lines[i], "BEGIN") && valued(&f->lines[i], "VEVENT"))
            rc = read_event(f, &i);
    return rc;
}

int spr_calendar_read(spr_context *ctx, const char *path, spr_calendar **out) {
    if (!ctx)
        return SPR_E_ARG;
    if (!path || !*path || !out)
        return spr__io_fail(ctx, SPR_E_ARG, NULL, 0, 0, "spr_calendar_read: path and output are required");
    struct ics f = {.ctx = ctx, .path = path};
    int rc = spr_calendar_builder_create(ctx, &f.builder);
    if (rc == SPR_OK)
        rc = spr__ics_open(&f);
    if (rc == SPR_OK)
        rc = spr__ics_zones(&f);
    if (rc == SPR_OK)
        rc = read_events(&f);
    if (rc == SPR_OK && (rc = spr_calendar_builder_finish(f.builder, out)) == SPR_OK)
        f.builder = NULL; /* used up */
    spr__ics_close(&f);
    return rc;
}
