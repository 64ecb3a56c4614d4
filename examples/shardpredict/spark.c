/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Sparklines for a terminal. */
#include <langinfo.h>
#include <locale.h>
#include <math.h>
#include <string.h>

#include "tool.h"

bool tool_utf8(void) {
    setlocale(LC_CTYPE, "");
    return !strcmp(nl_langinfo(CODESET), "UTF-8");
}

/* Column c shows the largest of its values: a short peak must not vanish in a mean. */
static double column_value(const double *values, int64_t count, int c, int columns) {
    int64_t from = count * c / columns, to = count * (c + 1) / columns;
    double top = NAN;
    for (int64_t i = from; i < (to > from ? to : from + 1) && i < count; i++)
        top = fmax(top, values[i]); /* fmax passes over NaN */
    return top;
}

void tool_sparkline(const double *values, int64_t count, int columns, bool ascii, char *text, size_t room) {
    static const char *const blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char *const plain[] = {"_", ".", "-", "~", "=", "+", "*", "#"};
    double low = INFINITY, high = -INFINITY;
    size_t used = 0;
    text[0] = 0;
    for (int c = 0; c < columns; c++) {
        double v = column_value(values, count, c, columns);
        low = fmin(low, v), high = fmax(high, v);
    }
    for (int c = 0; c < columns; c++) {
        double v = column_value(values, count, c, columns);
        int height = high > low ? (int)((v - low) / (high - low) * 7.999) : 0;
        const char *mark = !isfinite(v) ? " " : (ascii ? plain : blocks)[height];
        size_t n = strlen(mark);
        if (used + n + 1 > room)
            return;
        memcpy(text + used, mark, n + 1);
        used += n;
    }
}
