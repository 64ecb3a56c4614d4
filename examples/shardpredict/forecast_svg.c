/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Fans: for each case the end of its history, bands of quantiles, the median, and what came. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "forecast.h"

enum { WIDTH = 520, HEIGHT = 240, LEFT = 64, RIGHT = 12, TOP = 30, BOTTOM = 40, HEAD = 60, PAST_MOST = 2000 };
enum { TICKS_MOST = 12 };

static const char style[] =
    "<style>\n"
    "svg{--paper:#fff;--ink:#1a1f29;--soft:#5b6472;--grid:#e3e7ee;--fan:#2166c4;--truth:#b3470a;background:var(--paper)"
    "}\n"
    "@media (prefers-color-scheme:dark){svg{--paper:#12161d;--ink:#e9edf4;--soft:#a3adbb;--grid:#2a313c;--fan:#6fb0ff;"
    "--truth:#ffa657}}\n"
    "text{font:12px system-ui,sans-serif;fill:var(--ink)} .soft{fill:var(--soft)} .name{font-weight:600}\n"
    ".paper{fill:var(--paper)} .grid{stroke:var(--grid)} .origin{stroke:var(--soft);stroke-dasharray:2 3}\n"
    ".past,.truth,.median{fill:none;stroke-width:1.5;stroke-linejoin:round} .past{stroke:var(--soft)}\n"
    ".truth{stroke:var(--truth);stroke-width:2} .median{stroke:var(--fan);stroke-dasharray:6 3} "
    ".band{fill:var(--fan)}\n"
    "</style>\n";

/* One panel's coordinates. */
struct plane {
    double x0, y0; /* upper left corner of the plot */
    double wide, high;
    int64_t past;
    int32_t ahead;
    double low, top; /* values at the lower and the upper edge */
};

static void put(spr_output *o, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(spr_output *o, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    spr_output_text(o, text);
}

static void put_escaped(spr_output *o, const char *text) {
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if (*p == '<' || *p == '>' || *p == '&' || *p < 0x20)
            put(o, *p < 0x20 ? " " : "&#%d;", *p);
        else
            spr_output_write(o, p, 1);
}

/* t counts from the origin; the line between history and future lies half a step before 0. */
static double at_x(const struct plane *p, double t) {
    return p->x0 + p->wide * (t + (double)p->past) / (double)(p->past + p->ahead - 1);
}
static double at_y(const struct plane *p, double v) { return p->y0 + p->high * (1 - (v - p->low) / (p->top - p->low)); }

static double history(const struct forecast_job *job, const struct answer *a, int64_t t) {
    double v = NAN;
    if (a->origin + t >= 0)
        panel_copy(&job->mean, &job->most, a->row, a->origin + t, 1, &v);
    return v;
}

/* ---- scales ---- */

static double nice_step(double span, int ticks) {
    double raw = span / ticks, unit = pow(10, floor(log10(raw))), k = raw / unit;
    return unit * (k <= 1 ? 1 : k <= 2 ? 2 : k <= 5 ? 5 : 10);
}

static void fit_plane(const struct forecast_job *job, const struct answer *a, struct plane *p) {
    double low = INFINITY, top = -INFINITY;
    for (int64_t t = -p->past; t < p->ahead; t++) {
        double v = history(job, a, t);
        low = fmin(low, v), top = fmax(top, v); /* NaN is passed over */
    }
    for (int32_t i = 0; i < job->horizon * job->level_count; i++)
        low = fmin(low, a->quantiles[i]), top = fmax(top, a->quantiles[i]);
    if (!(top > low))
        top = low + fmax(1, fabs(low));
    double step = nice_step(top - low, 5);
    p->low = low >= 0 && low < .4 * top ? 0 : floor(low / step) * step;
    p->top = ceil(top / step) * step;
}

/* Time is told in the unit that gives the axis a few round numbers. */
static const char *time_unit(const struct forecast_job *job, const struct plane *p, double *steps) {
    double step_s = (double)spr_series_step_ns(job->series) * 1e-9, span = step_s * (double)(p->past + p->ahead);
    double unit = span > 4 * 86400 ? 86400 : span > 4 * 3600 ? 3600 : 60;
    *steps = unit / step_s;
    return unit > 3600 ? "days" : unit > 60 ? "hours" : "minutes";
}

/* 20M rather than 2e+07: it must stand beside the axis. */
static void tick(double v, char text[24]) {
    static const struct {
        double unit;
        const char *name;
    } units[] = {{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (fabs(v) >= units[i].unit * (i == 3 ? 10 : 1)) {
            snprintf(text, 24, "%.4g%s", v / units[i].unit, units[i].name);
            return;
        }
    snprintf(text, 24, "%.4g", v);
}

static void axes(spr_output *o, const struct forecast_job *job, const struct answer *a, const struct plane *p) {
    double unit = 1, y_step = nice_step(p->top - p->low, 5), bottom = p->y0 + p->high, right = p->x0 + p->wide;
    const char *name = time_unit(job, p, &unit);
    char text[24];
    for (int i = 0; i <= TICKS_MOST && p->low + i * y_step <= p->top + y_step / 2; i++) {
        double v = p->low + i * y_step, y = at_y(p, v);
        put(o, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>", p->x0, right, y, y);
        tick(v, text);
        put(o, "<text class=\"soft\" text-anchor=\"end\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", p->x0 - 6, y + 4, text);
    }
    double from = -(double)p->past / unit, x_step = nice_step((double)(p->past + p->ahead) / unit, 6);
    for (double v = ceil(from / x_step) * x_step; v * unit <= p->ahead - 1; v += x_step)
        put(o, "<text class=\"soft\" text-anchor=\"middle\" x=\"%.1f\" y=\"%.1f\">%.3g</text>\n", at_x(p, v * unit),
            bottom + 16, fabs(v) < 1e-9 ? 0 : v);
    put(o, "<text class=\"soft\" text-anchor=\"middle\" x=\"%.1f\" y=\"%.1f\">%s from the origin</text>\n",
        p->x0 + p->wide / 2, bottom + 32, name);
    put(o, "<text class=\"soft\" text-anchor=\"middle\" transform=\"translate(%.1f %.1f) rotate(-90)\">", p->x0 - 50,
        p->y0 + p->high / 2);
    put_escaped(o, a->metric);
    put(o, "</text>\n<line class=\"origin\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>\n", at_x(p, -.5),
        at_x(p, -.5), p->y0, bottom);
}

/* ---- curves ---- */

static void line(spr_output *o, const struct forecast_job *job, const struct answer *a, const struct plane *p,
                 const char *kind, int64_t from, int64_t to) {
    bool drawn = false;
    put(o, "<path class=\"%s\" d=\"", kind);
    for (int64_t t = from; t < to; t++) {
        double v = history(job, a, t);
        if (!isnan(v))
            put(o, "%c%.1f %.1f", drawn ? 'L' : 'M', at_x(p, (double)t), at_y(p, v));
        drawn = !isnan(v);
    }
    put(o, "\"/>\n");
}

static void band(spr_output *o, const struct forecast_job *job, const struct answer *a, const struct plane *p, int low,
                 int high, double opacity) {
    put(o, "<path class=\"band\" fill-opacity=\"%.2f\" d=\"", opacity);
    for (int32_t h = 0; h < job->horizon; h++)
        put(o, "%c%.1f %.1f", h ? 'L' : 'M', at_x(p, h), at_y(p, a->quantiles[h * job->level_count + high]));
    for (int32_t h = job->horizon - 1; h >= 0; h--)
        put(o, "L%.1f %.1f", at_x(p, h), at_y(p, a->quantiles[h * job->level_count + low]));
    put(o, "Z\"><title>%g to %g</title></path>\n", job->levels[low], job->levels[high]);
}

static double band_opacity(int pair, int pairs) { return pairs > 1 ? .12 + .22 * pair / (pairs - 1) : .22; }

static void median(spr_output *o, const struct forecast_job *job, const struct answer *a, const struct plane *p) {
    put(o, "<path class=\"median\" d=\"");
    for (int32_t h = 0; h < job->horizon; h++)
        put(o, "%c%.1f %.1f", h ? 'L' : 'M', at_x(p, h), at_y(p, a->points[h]));
    put(o, "\"/>\n");
}

static void panel(spr_output *o, const struct forecast_job *job, const struct answer *a, double x, double y) {
    struct plane p = {.x0 = x + LEFT,
                      .y0 = y + TOP,
                      .wide = WIDTH - LEFT - RIGHT,
                      .high = HEIGHT - TOP - BOTTOM,
                      .past = 2 * (int64_t)job->horizon,
                      .ahead = job->horizon};
    p.past = p.past < 12 ? 12 : p.past > PAST_MOST ? PAST_MOST : p.past;
    p.past = p.past > a->origin ? (a->origin > 1 ? a->origin : 1) : p.past;
    fit_plane(job, a, &p);
    put(o, "<g><text class=\"name\" x=\"%.1f\" y=\"%.1f\">", p.x0, y + 18);
    put_escaped(o, a->series);
    put(o, " <tspan class=\"soft\" font-weight=\"400\">step %lld, %s</tspan></text>\n", (long long)a->origin,
        a->method);
    axes(o, job, a, &p);
    int pairs = job->level_count / 2;
    for (int i = 0; i < pairs; i++)
        band(o, job, a, &p, i, job->level_count - 1 - i, band_opacity(i, pairs));
    line(o, job, a, &p, "past", -p.past, 0);
    median(o, job, a, &p);
    line(o, job, a, &p, "truth", 0, p.ahead);
    put(o, "</g>\n");
}

static void legend(spr_output *o, const struct forecast_job *job, double y) {
    int pairs = job->level_count / 2;
    double x = LEFT;
    static const char *const kinds[] = {"past", "truth", "median"}, *const names[] = {"history", "what came", "point"};
    for (int i = 0; i < 3; i++, x += 105) {
        put(o, "<path class=\"%s\" d=\"M%.1f %.1fh24\"/>", kinds[i], x, y - 4);
        put(o, "<text x=\"%.1f\" y=\"%.1f\">%s</text>\n", x + 30, y, names[i]);
    }
    for (int i = 0; i < pairs && x < 2 * WIDTH - 130; i++, x += 130) {
        /* Inner bands lie over outer ones: so does their sample. */
        for (int k = 0; k <= i; k++)
            put(o, "<rect class=\"band\" fill-opacity=\"%.2f\" x=\"%.1f\" y=\"%.1f\" width=\"24\" height=\"12\"/>",
                band_opacity(k, pairs), x, y - 10);
        put(o, "<text x=\"%.1f\" y=\"%.1f\">q%.3g to q%.3g</text>\n", x + 30, y, job->levels[i],
            job->levels[job->level_count - 1 - i]);
    }
}

int show_svg(const struct forecast_job *job, const struct answers *all, const char *path) {
    spr_output *o = NULL;
    size_t shown = all->count < SVG_PANELS ? all->count : SVG_PANELS, columns = shown > 1 ? 2 : 1;
    int wide = 2 * WIDTH, high = (int)(HEAD + (shown + columns - 1) / columns * HEIGHT + 20);
    if (spr_output_create(job->ctx, path, &o) < 0)
        return tool_error(job->ctx, path);
    put(o, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\">\n",
        wide, high, wide, high);
    put(o,
        "<title>Forecasts of %zu of %zu cases</title>\n<desc>For each case the end of its history, bands of quantiles "
        "and the point of the next %d steps, and what came where it is known.</desc>\n",
        shown, all->count, (int)job->horizon);
    spr_output_text(o, style);
    put(o, "<rect class=\"paper\" width=\"%d\" height=\"%d\"/>\n", wide, high);
    legend(o, job, 24);
    if (shown < all->count)
        put(o, "<text class=\"soft\" x=\"%d\" y=\"46\">the first %zu of %zu cases</text>\n", LEFT, shown, all->count);
    for (size_t i = 0; i < shown; i++)
        panel(o, job, &all->items[i], (double)(i % columns) * WIDTH, HEAD + (double)(i / columns) * HEIGHT);
    spr_output_text(o, "</svg>\n");
    return spr_output_commit(o) < 0 ? tool_error(job->ctx, path) : EXIT_DONE;
}
