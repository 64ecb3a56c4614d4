/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What reading an iCalendar file is made of: lines and values (ics_text.c), rules and zones (ics_rule.c), events
 * (calendar.c). */
#ifndef SPR_LIB_IO_ICS_H
#define SPR_LIB_IO_ICS_H

#include "inside.h"

#define ICS_S    INT64_C(1000000000)
#define ICS_DAY  (86400 * ICS_S)
#define ICS_ROOM ((size_t)64 << 20) /* largest file */

/* A content line, unfolded: NAME;PARAM=VALUE:VALUE. */
struct ics_line {
    char *name, *params, *value;
    int64_t line;
};

/* Rows of a zone, by moment. */
struct ics_zone {
    char *name;
    struct spr_zone_offset *rows;
    size_t count, cap;
    int index; /* in the calendar being built; -1 = not yet */
};

struct ics {
    spr_context *ctx;
    const char *path;
    char *text;
    size_t bytes, text_room;
    struct ics_line *lines;
    size_t count, line_room;
    struct ics_zone *zones;
    size_t zone_count, zone_room;
    const char *default_zone; /* of times that name none; NULL = UTC */
    spr_calendar_builder *builder;
};

int spr__ics_fail(struct ics *f, int64_t line, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The last error gets file and line. */
int spr__ics_blame(struct ics *f, int64_t line, int rc);

/* Read, unfold and split the file. */
int spr__ics_open(struct ics *f);
void spr__ics_close(struct ics *f);

/* The value of a parameter, or false; quotes are taken off. */
bool spr__ics_param(const struct ics_line *l, const char *name, char *out, size_t room);
/* Is it this word, whatever the case? `n` bytes of text. */
bool spr__ics_is(const char *text, size_t n, const char *word);

/* A time as it is written. */
struct ics_time {
    int64_t local_ns; /* on its own clock, as if that were UTC */
    bool date, utc;
};
bool spr__ics_time(const char *text, size_t n, struct ics_time *out);
bool spr__ics_duration(const char *text, size_t n, int64_t *ns);
bool spr__ics_offset(const char *text, int32_t *seconds);
void spr__ics_civil(int64_t local_ns, int64_t *year, int64_t *month, int64_t *day);
int64_t spr__ics_days(int64_t year, int64_t month, int64_t day);
/* Text without its escapes, at most 255 bytes; up to an unescaped comma when `first`. */
char *spr__ics_unescape(struct ics *f, const char *text, bool first);

/* RRULE into an event whose start is `start`. `until` is left on the clock of the start. */
int spr__ics_rule(struct ics *f, const struct ics_line *l, const struct ics_time *start, struct spr_event *e,
                  struct ics_time *until);
/* All VTIMEZONE components. */
int spr__ics_zones(struct ics *f);
/* Index in the builder of the zone that a time of this line has, and its rows (none = UTC). */
int spr__ics_zone_of(struct ics *f, const struct ics_line *l, const struct ics_time *t, struct ics_zone *zone);
int64_t spr__ics_utc(const struct ics_zone *zone, int64_t local_ns);

#endif
