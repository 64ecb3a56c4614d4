/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Text of the page: escaping, numbers, and the frame, axes and legend that all charts share. */
#include "report.h"

/* Control characters have no place in HTML and become a replacement character. */
static void put_escaped(spr_output *o, const char *text) {
    for (const char *p = text ? text : ""; *p; p++) {
        const char *e = *p == '<'                              ? "&lt;"
                        : *p == '>'                            ? "&gt;"
                        : *p == '&'                            ? "&amp;"
                        : *p == '"'                            ? "&quot;"
                        : *p == '\''                           ? "&#39;"
                        : (unsigned char)*p < ' ' || *p == 127 ? "\xef\xbf\xbd"
                                                               : NULL;
        if (e)
            spr_output_text(o, e);
        else
            spr_output_write(o, p, 1);
    }
}

/* Inside <script>: nothing that HTML or a JavaScript line could take for its own. */
static void put_json(spr_output *o, const char *text) {
    static const char hex[] = "0123456789abcdef";
    spr_output_text(o, "\"");
    for (const char *p = text ? text : ""; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c < ' ' || c == 127 || strchr("<>&\"\\'", c)) {
            char u[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
            spr_output_write(o, u, sizeof u);
        } else {
            spr_output_write(o, p, 1);
        }
    }
    spr_output_text(o, "\"");
}

static void put_fixed(spr_output *o, double value, int decimals, const char *absent, bool strip) {
    char text[400], *end;
    if (!isfinite(value)) {
        spr_output_text(o, absent);
        return;
    }
    snprintf(text, sizeof text, "%.*f", decimals, value);
    for (char *p = text; *p; p++) /* the locale's sign */
        if ((*p < '0' || *p > '9') && *p != '-') {
            end = p;
            while (*end && (*end < '0' || *end > '9'))
                end++;
            *p = '.';
            memmove(p + 1, end, strlen(end) + 1);
            break;
        }
    end = text + strlen(text);
    if (strip && strchr(text, '.')) {
        while (end[-1] == '0')
            *--end = 0;
        if (end[-1] == '.')
            *--end = 0;
    }
    const char *from = text;
    if (*text == '-' && strspn(text + 1, "0.") == strlen(text + 1))
        from++; /* no minus zero */
    spr_output_text(o, from);
}

static void put_general(spr_output *o, double value) {
    char text[48];
    if (!isfinite(value)) {
        spr_output_text(o, "null");
        return;
    }
    spr__io_format(text, sizeof text, value == 0 ? 0 : value, 4);
    spr_output_text(o, text);
}

static void put_integer(spr_output *o, int64_t value) {
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    spr_output_text(o, text);
}

void spr__put(spr_output *o, const char *format, ...) {
    va_list args;
    va_start(args, format);
    for (const char *p = format; *p; p++) {
        size_t plain = strcspn(p, "%");
        spr_output_write(o, p, plain);
        p += plain;
        if (!*p || !*++p)
            break;
        switch (*p) {
        case 's':
            spr_output_text(o, va_arg(args, const char *));
            break;
        case 'e':
            put_escaped(o, va_arg(args, const char *));
            break;
        case 'j':
            put_json(o, va_arg(args, const char *));
            break;
        case 'd':
            put_integer(o, va_arg(args, int));
            break;
        case 'l':
            put_integer(o, va_arg(args, int64_t));
            break;
        case 'c':
            put_fixed(o, va_arg(args, double), 1, "null", true);
            break;
        case 'g':
            put_general(o, va_arg(args, double));
            break;
        case '%':
            spr_output_text(o, "%");
            break;
        default:
            put_fixed(o, va_arg(args, double), *p - '0', "\xe2\x80\x93", false);
            break;
        }
    }
    va_end(args);
}

/* ---- charts ---- */

void spr__chart_begin(struct spr__page *p, const char *class_name, double width, double height, const char *title) {
    p->charts++;
    spr__put(p->out,
             "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"%e\">"
             "<svg class=\"%s\" viewBox=\"0 0 %c %c\" role=\"img\" aria-labelledby=\"t%d d%d\"><title "
             "id=\"t%d\">%e</title><desc id=\"d%d\">",
             title, class_name, width, height, p->charts, p->charts, p->charts, title, p->charts);
}

void spr__chart_end(struct spr__page *p) { spr__put(p->out, "</svg></div>\n"); }

double spr__nice(double range, int most) {
    if (!(range > 0) || !isfinite(range))
        return 1;
    double step = pow(10, floor(log10(range / most)));
    static const double times[] = {1, 2, 5, 10, 20};
    for (size_t i = 0; i < SPR_ARRAY_LEN(times); i++)
        if (range / (step * times[i]) <= most)
            return step * times[i];
    return step * 50;
}

void spr__axis_y(struct spr__page *p, const struct spr__frame *f, const char *unit) {
    double step = spr__nice(f->high - f->low, 5);
    int decimals = step < 0.1 ? 2 : step < 1 ? 1 : 0;
    for (double y = ceil(f->low / step) * step; y <= f->high * (1 + 1e-9); y += step) {
        double at = spr__y(f, y);
        spr__put(p->out,
                 "<path class=\"grid\" d=\"M%c %cH%c\"/><text class=\"tick\" text-anchor=\"end\" x=\"%c\" y=\"%c\">",
                 f->left, at, f->right, f->left - 6, at + 4);
        spr__put(p->out, decimals == 2 ? "%2" : decimals == 1 ? "%1" : "%0", y);
        spr__put(p->out, "</text>");
    }
    if (unit)
        spr__put(p->out, "<text class=\"unit\" x=\"%c\" y=\"%c\">%e</text>", 4.0, f->top - 8, unit);
}

/* A day or an hour is one: what the trace's length makes readable. */
double spr__time_unit(const spr_report *r, const char **name) {
    bool days = (double)(r->end - r->first) * r->step_s > 3 * 86400;
    *name = days ? "day" : "hour";
    return days ? 86400 : 3600;
}

void spr__axis_x(struct spr__page *p, const struct spr__frame *f, double from_s, double to_s) {
    const char *name;
    double unit = spr__time_unit(p->r, &name), from = from_s / unit, to = to_s / unit, step = spr__nice(to - from, 12);
    int decimals = step < 1 ? 1 : 0;
    for (double x = ceil(from / step - 1e-9) * step; x <= to + 1e-9; x += step) {
        double at = f->left + (x - from) / (to - from) * (f->right - f->left);
        spr__put(p->out,
                 "<path class=\"grid\" d=\"M%c %cv4\"/><text class=\"tick\" text-anchor=\"middle\" x=\"%c\" y=\"%c\">",
                 at, f->bottom, at, f->bottom + 16);
        spr__put(p->out, decimals ? "%s %1</text>" : "%s %0</text>", x - from < step ? name : "", x);
    }
    spr__put(p->out, "<path class=\"axis\" d=\"M%c %cH%c\"/>", f->left, f->bottom, f->right);
}

double spr__y(const struct spr__frame *f, double value) {
    return f->bottom - (value - f->low) / (f->high - f->low) * (f->bottom - f->top);
}

void spr__legend_item(struct spr__page *p, const char *class_name, const char *text) {
    spr__put(p->out,
             "<li><svg class=\"swatch\" viewBox=\"0 0 28 12\" aria-hidden=\"true\"><path class=\"%s\" d=\"M1 "
             "6H27\"/></svg>%e</li>",
             class_name, text);
}
void spr__legend_box(struct spr__page *p, const char *class_name, const char *text) {
    spr__put(p->out,
             "<li><svg class=\"swatch\" viewBox=\"0 0 28 12\" aria-hidden=\"true\"><rect class=\"%s\" width=\"28\" "
             "height=\"12\"/></svg>%e</li>",
             class_name, text);
}
