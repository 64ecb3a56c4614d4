/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Numbers, times and names as text, independent of the locale. */
#include <locale.h>
#include <stdlib.h>

#include "inside.h"

static void trim(const char **text, size_t *n) {
    while (*n && (**text == ' ' || **text == '\t'))
        ++*text, --*n;
    while (*n && ((*text)[*n - 1] == ' ' || (*text)[*n - 1] == '\t'))
        --*n;
}

static inline bool is_digit(char c) { return (unsigned)(c - '0') < 10; }

/* Everything the fast path cannot round exactly. */
static bool number_slow(const char *text, size_t n, double *out) {
    char copy[512], *end;
    if (n >= sizeof copy)
        return false;
    memcpy(copy, text, n);
    copy[n] = 0;
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c)
        return false;
    *out = strtod_l(copy, &end, c);
    freelocale(c);
    return *end == 0 && isfinite(*out);
}

/*
 * Up to 19 digits are read into an integer; when that fits 53 bits and the power of ten is exact (at most 22),
 * one multiplication or division rounds correctly (Clinger 1990).
 */
bool spr__io_number(const char *text, size_t n, double *out) {
    static const double ten[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    trim(&text, &n);
    const char *p = text, *end = text + n;
    bool negative = p < end && *p == '-';
    p += p < end && (*p == '-' || *p == '+');
    const char *digits = p;
    uint64_t mantissa = 0;
    int count = 0, exponent = 0;
    for (; p < end && is_digit(*p); p++, count++)
        mantissa = mantissa * 10 + (uint64_t)(*p - '0');
    if (p < end && *p == '.')
        for (p++; p < end && is_digit(*p); p++, count++, exponent--)
            mantissa = mantissa * 10 + (uint64_t)(*p - '0');
    if (!count)
        return false;
    if (p < end && (*p == 'e' || *p == 'E')) {
        int64_t e;
        const char *from = p + 1 + (p + 1 < end && p[1] == '+');
        if (from == end || (*from != '-' && !is_digit(*from)) || !spr__io_integer(from, (size_t)(end - from), &e) ||
            e < -9999 || e > 9999)
            return false;
        exponent += (int)e;
        p = end;
    }
    if (p != end)
        return false;
    for (; count > 19 && *digits == '0' && digits < end; digits++)
        count--; /* leading zeros are no digits */
    if (count > 19 || mantissa > UINT64_C(1) << 53 || exponent < -22 || exponent > 22)
        return number_slow(text, n, out);
    double v = (double)mantissa;
    v = exponent < 0 ? v / ten[-exponent] : v * ten[exponent];
    *out = negative ? -v : v;
    return true;
}

bool spr__io_integer(const char *text, size_t n, int64_t *out) {
    trim(&text, &n);
    bool negative = n && *text == '-';
    uint64_t v = 0;
    text += negative, n -= negative;
    if (!n || n > 18)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!is_digit(text[i]))
            return false;
        v = v * 10 + (uint64_t)(text[i] - '0');
    }
    *out = negative ? -(int64_t)v : (int64_t)v;
    return true;
}

/* ---- times ---- */

/* Days since 1970-01-01 of a date of the proleptic Gregorian calendar (Howard Hinnant, days_from_civil). */
static int64_t days_of(int64_t y, int64_t m, int64_t d) {
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400, yoe = y - era * 400;
    int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

/* `width` digits at *p, at most `end`; moves *p behind them. */
static bool fixed(const char **p, const char *end, int width, int64_t low, int64_t high, int64_t *out) {
    if (end - *p < width)
        return false;
    for (*out = 0; width--; ++*p) {
        if (!is_digit(**p))
            return false;
        *out = *out * 10 + (**p - '0');
    }
    return *out >= low && *out <= high;
}

static bool zone_of(const char *p, const char *end, int64_t *offset_s) {
    int64_t h, m = 0, sign;
    *offset_s = 0;
    if (p == end || (*p == 'Z' && p + 1 == end))
        return true;
    if (*p != '+' && *p != '-')
        return false;
    sign = *p++ == '-' ? -1 : 1;
    if (!fixed(&p, end, 2, 0, 23, &h))
        return false;
    p += p < end && *p == ':';
    if (p < end && !fixed(&p, end, 2, 0, 59, &m))
        return false;
    *offset_s = sign * (h * 3600 + m * 60);
    return p == end;
}

static bool clock_of(const char **p, const char *end, int64_t *ns) {
    int64_t h, m, s = 0, fraction = 0;
    if (!fixed(p, end, 2, 0, 24, &h) || *p == end || *(*p)++ != ':' || !fixed(p, end, 2, 0, 59, &m))
        return false;
    if (*p < end && **p == ':') {
        ++*p;
        if (!fixed(p, end, 2, 0, 60, &s))
            return false;
        if (*p < end && **p == '.')
            for (int64_t unit = 100000000; ++*p < end && is_digit(**p); unit /= 10)
                fraction += unit * (**p - '0');
    }
    *ns = (h * 3600 + m * 60 + s) * 1000000000 + fraction;
    return true;
}

/* 2013-07-31, 2013-07-31T22:00, 2013-07-31 22:00:00.5+02:00; without a zone UTC is meant. */
bool spr__io_iso8601(const char *text, size_t n, int64_t *wall_ns) {
    int64_t y, m, d, clock = 0, offset = 0;
    trim(&text, &n);
    const char *p = text, *end = text + n;
    if (!fixed(&p, end, 4, 1678, 2261, &y) || p == end || *p++ != '-' || !fixed(&p, end, 2, 1, 12, &m) || p == end ||
        *p++ != '-' || !fixed(&p, end, 2, 1, 31, &d))
        return false;
    if (p < end && (*p == 'T' || *p == 't' || *p == ' ')) {
        p++;
        if (!clock_of(&p, end, &clock) || !zone_of(p, end, &offset))
            return false;
    } else if (p != end) {
        return false;
    }
    *wall_ns = (days_of(y, m, d) * 86400 - offset) * 1000000000 + clock;
    return true;
}

/* ---- names ---- */

const char *spr__io_base(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

size_t spr__io_stem(const char *path) { return strcspn(spr__io_base(path), "."); }

char *spr__io_beside(spr_context *ctx, const char *path, const char *name) {
    if (name[0] == '/')
        return spr__io_strdup(ctx, name);
    return spr__io_printf(ctx, "%.*s%s", (int)(spr__io_base(path) - path), path, name);
}

bool spr__io_has_parent(const char *path) {
    for (const char *p = path; *p; p += strcspn(p, "/"), p += *p == '/')
        if (p[0] == '.' && p[1] == '.' && (!p[2] || p[2] == '/'))
            return true;
    return false;
}

bool spr__io_glob(const char *pattern, const char *text) {
    const char *star = NULL, *from = NULL;
    while (*text) {
        if (*pattern == '*') {
            star = pattern++;
            from = text;
        } else if (*pattern == '?' || *pattern == *text) {
            pattern++, text++;
        } else if (star) {
            pattern = star + 1;
            text = ++from;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return !*pattern;
}

/* Optimal string alignment distance of short words, or 99. */
static int distance(const char *a, const char *b) {
    enum { MOST = 40 };
    int n = (int)strlen(a), m = (int)strlen(b), d[3][MOST + 1];
    if (n > MOST || m > MOST)
        return 99;
    for (int j = 0; j <= m; j++)
        d[0][j] = j;
    for (int i = 1; i <= n; i++) {
        int *now = d[i % 3], *one = d[(i + 2) % 3], *two = d[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= m; j++) {
            int v = one[j - 1] + (a[i - 1] != b[j - 1]);
            v = SPR_MIN(v, SPR_MIN(one[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                v = SPR_MIN(v, two[j - 2] + 1);
            now[j] = v;
        }
    }
    return d[n % 3][m];
}

const char *spr__io_nearest(const char *word, const char *const *names, size_t count) {
    const char *best = NULL;
    int least = (int)strlen(word) / 3 + 1;
    for (size_t i = 0; i < count; i++) {
        int k = distance(word, names[i]);
        if (k <= least && (!best || k < least)) {
            best = names[i];
            least = k;
        }
    }
    return best;
}
