/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Numbers as text: "%.*g" with a point, whatever the locale; a table of forecasts holds millions of them. */
#include "inside.h"

enum { FAST_DIGITS = 9, POWERS = 23 };
/* All powers of ten that a double holds exactly: multiplying by one of them rounds once. */
static const double power[POWERS] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                     1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* The digits of value > 0 as a whole number and the exponent of the first one; false where one rounding cannot tell. */
static bool digits_of(double value, int digits, uint64_t *whole, int *exponent) {
    int e = (int)floor(log10(value));
    for (int tries = 0; tries < 2; tries++) {
        int k = digits - 1 - e;
        if (k <= -POWERS || k >= POWERS)
            return false;
        double scaled = k >= 0 ? value * power[k] : value / power[-k], low = floor(scaled), rest = scaled - low;
        if (scaled < power[digits - 1] || scaled >= power[digits]) { /* the logarithm was one off */
            e += scaled < power[digits - 1] ? -1 : 1;
            continue;
        }
        /* The product is off by at most 1e9 * 2^-53: far from the middle it rounds as the exact one does. */
        if (fabs(rest - .5) < 1e-5)
            return false;
        *whole = (uint64_t)low + (rest > .5);
        *exponent = e;
        if (*whole == (uint64_t)power[digits])
            *whole /= 10, ++*exponent;
        return true;
    }
    return false;
}

static char *put_digits(char *p, const char *digits, int n) {
    memcpy(p, digits, (size_t)n);
    return p + n;
}

/* As "%g" lays digits out; n of them, the first one worth 10^e. */
static size_t lay_out(char *text, bool negative, const char *digits, int n, int e, int precision) {
    char *p = text;
    if (negative)
        *p++ = '-';
    if (e < -4 || e >= precision) {
        *p++ = digits[0];
        if (n > 1)
            *p++ = '.';
        p = put_digits(p, digits + 1, n - 1);
        *p++ = 'e', *p++ = e < 0 ? '-' : '+';
        e = e < 0 ? -e : e;
        *p++ = (char)('0' + e / 10), *p++ = (char)('0' + e % 10);
    } else if (e < 0) {
        *p++ = '0', *p++ = '.';
        for (int i = -1; i > e; i--)
            *p++ = '0';
        p = put_digits(p, digits, n);
    } else {
        int whole = n < e + 1 ? n : e + 1;
        p = put_digits(p, digits, whole);
        for (int i = whole; i < e + 1; i++)
            *p++ = '0';
        if (n > whole)
            *p++ = '.';
        p = put_digits(p, digits + whole, n - whole);
    }
    *p = 0;
    return (size_t)(p - text);
}

static size_t format_fast(char *text, double value, int precision) {
    uint64_t whole;
    char digits[FAST_DIGITS];
    int e, n = precision;
    if (!(fabs(value) > 1e-12 && fabs(value) < 1e22) || !digits_of(fabs(value), precision, &whole, &e))
        return 0;
    for (int i = n - 1; i >= 0; i--, whole /= 10)
        digits[i] = (char)('0' + whole % 10);
    while (n > 1 && digits[n - 1] == '0')
        n--;
    return lay_out(text, value < 0, digits, n, e, precision);
}

/* Whole numbers, which counters and idle machines give. */
static size_t format_whole(char *text, double value) {
    char digits[12], *p = text;
    uint64_t whole = (uint64_t)fabs(value);
    int n = 0;
    if (signbit(value))
        *p++ = '-';
    do
        digits[n++] = (char)('0' + whole % 10);
    while (whole /= 10);
    while (n)
        *p++ = digits[--n];
    *p = 0;
    return (size_t)(p - text);
}

static size_t format_any(char *text, size_t room, double value, int digits) {
    int n = snprintf(text, room, "%.*g", digits, value);
    if (n < 0 || (size_t)n >= room)
        n = 0;
    text[n] = 0;
    /* The locale may write another sign, of any length, where the point belongs. */
    char *p = text;
    while (*p && ((*p >= '0' && *p <= '9') || *p == '-' || *p == '+' || *p == 'e'))
        p++;
    if (*p && *p != '.') {
        char *rest = p;
        while (*rest && !(*rest >= '0' && *rest <= '9'))
            rest++;
        *p++ = '.';
        memmove(p, rest, strlen(rest) + 1);
    }
    return strlen(text);
}

size_t spr__io_format(char *text, size_t room, double value, int digits) {
    size_t n = 0;
    *text = 0;
    if (!isfinite(value))
        return 0;
    if (fabs(value) < 1e9 && value == floor(value) && digits >= FAST_DIGITS && room >= 24)
        return format_whole(text, value);
    if (digits >= 1 && digits <= FAST_DIGITS && room >= 24)
        n = format_fast(text, value, digits);
    return n ? n : format_any(text, room, value, digits);
}
