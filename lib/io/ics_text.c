/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Lines and values of iCalendar (RFC 5545, section 3.1 and 3.3). */
#include <errno.h>

#include "ics.h"

int spr__ics_fail(struct ics *f, int64_t line, const char *format, ...) {
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return spr__io_fail(f->ctx, SPR_E_FORMAT, f->path, line, 0, "%s", text);
}

int spr__ics_blame(struct ics *f, int64_t line, int rc) {
    struct spr_error e = {.size = sizeof e};
    char text[400];
    if (rc != SPR_E_ARG || spr_context_error(f->ctx, &e) < 0)
        return rc;
    snprintf(text, sizeof text, "%s", e.text ? e.text : "");
    return spr__ics_fail(f, line, "%s", text);
}

/* ---- the file ---- */

static int read_all(struct ics *f) {
    FILE *file = fopen(f->path, "rbe");
    int rc = file ? SPR_OK : spr__io_fail(f->ctx, SPR_E_IO, f->path, 0, 0, "%s", strerror(errno));
    while (rc == SPR_OK) {
        if ((rc = spr__io_reserve(f->ctx, (void **)&f->text, &f->text_room, f->bytes + 4096, 1)) < 0)
            break;
        size_t n = fread(f->text + f->bytes, 1, f->text_room - f->bytes - 1, file);
        f->bytes += n;
        if (!n)
            break;
        if (f->bytes > ICS_ROOM)
            rc = spr__ics_fail(f, 0, "a calendar of more than %zu MB", ICS_ROOM >> 20);
    }
    if (rc == SPR_OK && ferror(file))
        rc = spr__io_fail(f->ctx, SPR_E_IO, f->path, 0, 0, "%s", strerror(errno));
    if (file)
        fclose(file);
    if (rc == SPR_OK && memchr(f->text, 0, f->bytes))
        rc = spr__ics_fail(f, 0, "no text: it holds a byte of zero");
    if (rc == SPR_OK)
        f->text[f->bytes] = 0;
    return rc;
}

/* The colon that ends name and parameters: not one inside quotes. */
static char *colon_of(char *p) {
    for (bool quoted = false; *p; p++)
        if (*p == '"')
            quoted = !quoted;
        else if (*p == ':' && !quoted)
            return p;
    return NULL;
}

static int add_line(struct ics *f, char *text, int64_t number) {
    char *colon = colon_of(text);
    if (!*text)
        return SPR_OK;
    if (!colon)
        return spr__ics_fail(f, number, "a content line is NAME:VALUE, this one has no colon");
    int rc = spr__io_reserve(f->ctx, (void **)&f->lines, &f->line_room, f->count + 1, sizeof *f->lines);
    if (rc < 0)
        return rc;
    *colon = 0;
    struct ics_line l = {.name = text, .params = text + strcspn(text, ";"), .value = colon + 1, .line = number};
    if (*l.params)
        *l.params++ = 0;
    f->lines[f->count++] = l;
    return SPR_OK;
}

/* Lines that begin with a blank go on with the one before; the text shrinks in place. */
static int split(struct ics *f) {
    char *to = f->text, *start = f->text, *p = f->text;
    int64_t number = 1, first = 1;
    int rc = SPR_OK;
    if (f->bytes >= 3 && !memcmp(p, "\xEF\xBB\xBF", 3))
        p += 3;
    for (; rc == SPR_OK;) {
        char *end = p + strcspn(p, "\n");
        size_t n = (size_t)(end - p) - (end > p && end[-1] == '\r');
        bool last = !*end;
        memmove(to, p, n);
        to += n;
        p = end + !last;
        number++;
        if (!last && (*p == ' ' || *p == '\t')) {
            p++;
            continue;
        }
        *to = 0; /* at most at the line's own end, which has been read */
        rc = add_line(f, start, first);
        start = ++to;
        first = number;
        if (last)
            break;
    }
    return rc;
}

int spr__ics_open(struct ics *f) {
    int rc = read_all(f);
    return rc < 0 ? rc : split(f);
}

void spr__ics_close(struct ics *f) {
    for (size_t i = 0; i < f->zone_count; i++)
        spr_context_free(f->ctx, f->zones[i].rows, f->zones[i].cap * sizeof *f->zones[i].rows);
    spr_context_free(f->ctx, f->zones, f->zone_room * sizeof *f->zones);
    spr_context_free(f->ctx, f->lines, f->line_room * sizeof *f->lines);
    spr_context_free(f->ctx, f->text, f->text_room);
    spr_calendar_builder_destroy(f->builder);
}

/* ---- words ---- */

static char upper(char c) { return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c; }

bool spr__ics_is(const char *text, size_t n, const char *word) {
    if (strlen(word) != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (upper(text[i]) != word[i])
            return false;
    return true;
}

bool spr__ics_param(const struct ics_line *l, const char *name, char *out, size_t room) {
    for (const char *p = l->params; *p;) {
        size_t n = strcspn(p, "=;");
        bool wanted = spr__ics_is(p, n, name);
        p += n;
        if (*p != '=')
            return false;
        const char *v = ++p;
        bool quoted = *v == '"';
        n = quoted ? strcspn(++v, "\"") : strcspn(v, ";");
        if (wanted) {
            snprintf(out, room, "%.*s", (int)SPR_MIN(n, room), v);
            return true;
        }
        p = v + n + (quoted && v[n]);
        p += strcspn(p, ";");
        p += *p == ';';
    }
    return false;
}

char *spr__ics_unescape(struct ics *f, const char *text, bool first) {
    char out[256];
    size_t n = 0;
    for (; *text && n + 1 < sizeof out && !(first && *text == ','); text++) {
        bool escaped = *text == '\\' && text[1];
        text += escaped;
        out[n++] = escaped && (*text == 'n' || *text == 'N') ? ' ' : *text;
    }
    return spr__io_strndup(f->ctx, out, n);
}

/* ---- times ---- */

/* Hinnant 2013, as in the core. */
int64_t spr__ics_days(int64_t year, int64_t month, int64_t day) {
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400, of_era = year - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

void spr__ics_civil(int64_t local_ns, int64_t *year, int64_t *month, int64_t *day) {
    int64_t days = local_ns / ICS_DAY - (local_ns % ICS_DAY < 0) + 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097, of_era = days - era * 146097;
    int64_t y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * y + y / 4 - y / 100), m = (5 * of_year + 2) / 153;
    *day = of_year - (153 * m + 2) / 5 + 1;
    *month = m < 10 ? m + 3 : m - 9;
    *year = y + era * 400 + (*month <= 2);
}

/* `n` digits as a number between low and high. */
static bool digits(const char *p, int n, int64_t low, int64_t high, int64_t *out) {
    int64_t v = 0;
    for (int i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        v = v * 10 + (p[i] - '0');
    }
    *out = v;
    return v >= low && v <= high;
}

bool spr__ics_time(const char *text, size_t n, struct ics_time *out) {
    int64_t year, month, day, hour = 0, minute = 0, second = 0;
    *out = (struct ics_time){.date = n == 8, .utc = n == 16};
    if (n != 8 && n != 15 && n != 16)
        return false;
    if (!digits(text, 4, 1600, 2261, &year) || !digits(text + 4, 2, 1, 12, &month) ||
        !digits(text + 6, 2, 1, 31, &day) ||
        day >
            spr__ics_days(month < 12 ? year : year + 1, month < 12 ? month + 1 : 1, 1) - spr__ics_days(year, month, 1))
        return false;
    if (n > 8 && (text[8] != 'T' || !digits(text + 9, 2, 0, 23, &hour) || !digits(text + 11, 2, 0, 59, &minute) ||
                  !digits(text + 13, 2, 0, 60, &second) || (n == 16 && text[15] != 'Z')))
        return false;
    if (year < 1678) /* what nanoseconds cannot hold; only zones begin so early */
        year = 1678, day = SPR_MIN(day, 28);
    out->local_ns = (spr__ics_days(year, month, day) * 86400 + hour * 3600 + minute * 60 + SPR_MIN(second, 59)) * ICS_S;
    return true;
}

bool spr__ics_duration(const char *text, size_t n, int64_t *ns) {
    static const char units[] = "WDHMS";
    static const int64_t seconds[] = {7 * 86400, 86400, 3600, 60, 1};
    const char *p = text, *end = text + n, *from = units;
    int64_t sum = 0;
    bool clock = false, any = false;
    p += p < end && *p == '+';
    if (p == end || *p++ != 'P')
        return false;
    while (p < end) {
        int64_t v = 0;
        if (*p == 'T' && !clock) {
            clock = true, from = units + 2, p++;
            continue;
        }
        const char *first = p;
        for (; p < end && *p >= '0' && *p <= '9' && p - first < 9; p++)
            v = v * 10 + (*p - '0');
        const char *unit = p < end && p > first ? strchr(from, *p++) : NULL;
        if (!unit || (unit - units >= 2) != clock)
            return false;
        sum += v * seconds[unit - units];
        from = unit + 1, any = true;
        if (sum > INT64_C(8000000000))
            return false;
    }
    *ns = sum * ICS_S;
    return any && sum > 0;
}

bool spr__ics_offset(const char *text, int32_t *seconds) {
    size_t n = strlen(text);
    int64_t h, m, s = 0;
    if ((n != 5 && n != 7) || (*text != '+' && *text != '-') || !digits(text + 1, 2, 0, 23, &h) ||
        !digits(text + 3, 2, 0, 59, &m) || (n == 7 && !digits(text + 5, 2, 0, 59, &s)))
        return false;
    *seconds = (int32_t)(h * 3600 + m * 60 + s) * (*text == '-' ? -1 : 1);
    return true;
}
