/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Numbers as they stand in XML, whatever the locale of the host program; amounts as libvirt counts them. */
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "domain.h"

/* glibc keeps the C locale for ever: nothing to free, nothing that can fail. */
static locale_t plain(void) { return newlocale(LC_ALL_MASK, "C", (locale_t)0); }

void lv_number_text(double value, char out[32]) {
    locale_t before = uselocale(plain());
    snprintf(out, 32, "%.15g", value);
    if (strtod(out, NULL) != value)
        snprintf(out, 32, "%.17g", value);
    uselocale(before);
}

bool lv_number_read(const char *text, double *out) {
    if (!text || !*text || text[strspn(text, "0123456789+-.eE")])
        return false; /* no blanks, no hexadecimal, no names of numbers */
    char *end;
    double v = strtod_l(text, &end, plain());
    if (*end || !isfinite(v))
        return false;
    *out = v;
    return true;
}

bool lv_u64_read(const char *text, int base, uint64_t *out) {
    uint64_t v = 0, b = (uint64_t)base;
    if (!text || !*text)
        return false;
    for (; *text; text++) {
        uint64_t digit = *text >= '0' && *text <= '9'   ? (uint64_t)(*text - '0')
                         : *text >= 'a' && *text <= 'f' ? (uint64_t)(*text - 'a') + 10
                                                        : b;
        if (digit >= b || v > (UINT64_MAX - digit) / b)
            return false;
        v = v * b + digit;
    }
    *out = v;
    return true;
}

bool lv_window_has(const struct lv_window *w, uint64_t n) {
    if (!n || n > w->highest)
        return false;
    if (w->highest - n >= LV_WINDOW)
        return true;
    return w->bits[n % LV_WINDOW / 64] >> n % 64 & 1;
}

void lv_window_add(struct lv_window *w, uint64_t n) {
    if (!n || lv_window_has(w, n))
        return;
    if (n > w->highest && n - w->highest >= LV_WINDOW)
        memset(w->bits, 0, sizeof w->bits);
    else if (n > w->highest)
        for (uint64_t i = w->highest + 1; i < n; i++)
            w->bits[i % LV_WINDOW / 64] &= ~(UINT64_C(1) << i % 64);
    w->bits[n % LV_WINDOW / 64] |= UINT64_C(1) << n % 64;
    w->highest = n > w->highest ? n : w->highest;
}

void lv_cpu_split(double cores, struct lv_cpu *out) {
    double n = ceil(cores - 1e-9);
    n = n < 1 ? 1 : n > 4096 ? 4096 : n;
    double quota = round(cores / n * 1e5);
    *out = (struct lv_cpu){(uint32_t)n, 100000, quota < 1000 ? 1000 : quota > 1e9 ? 1000000000 : (int64_t)quota};
}

uint64_t lv_bandwidth(double bits) {
    double kilo = ceil(bits / 8000 - 1e-9);
    return kilo < 1 ? 1 : kilo > 4e9 ? UINT64_C(4000000000) : (uint64_t)kilo;
}
