/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What was seen coming: forecast fans with the capacity line, and how good the forecasts were. */
#include "report.h"

static const char *hot_name(const spr_report *r, const struct spr__hot *hot) {
    return hot->vm >= 0 ? spr__vm_name(r, hot->vm) : spr__host_name(r, hot->host);
}
static const char *hot_kind(const struct spr__hot *hot) { return hot->vm >= 0 ? "VM" : "Host"; }

/* ---- fans ---- */

enum { PAST = 48 };

struct span {
    int64_t first, end; /* steps shown */
    struct spr__frame frame;
};

static double x_of(const struct span *s, double step) {
    return s->frame.left + (step - (double)s->first) / (double)(s->end - s->first) * (s->frame.right - s->frame.left);
}
static double quantile(const struct spr__fan *f, int32_t h, int32_t level) {
    return f->quantiles[h * f->level_count + level];
}

static struct span span_of(const struct spr__page *p, const struct spr__hot *hot, const struct spr__fan *f) {
    struct span s = {SPR_MAX(f->origin - PAST, 0), f->origin + f->horizon, {58, 452, 26, 220, 0, 0}};
    double most = isnan(hot->capacity) ? 0 : hot->capacity;
    for (int64_t i = s.first; i < SPR_MIN(s.end, p->g->steps); i++)
        most = SPR_MAX(most, hot->demand[i]);
    for (int32_t h = 0; h < f->horizon; h++)
        most = SPR_MAX(most, SPR_MIN(quantile(f, h, f->level_count - 1), 3 * (most > 0 ? most : 1)));
    s.frame.high = most > 0 ? most * 1.05 : 1;
    return s;
}

static double clip(const struct span *s, double value) {
    return spr__y(&s->frame, SPR_MAX(s->frame.low, SPR_MIN(value, s->frame.high)));
}

/* A band between two levels; the forecast for step h stands in the middle of it. */
static void band(struct spr__page *p, const struct span *s, const struct spr__fan *f, int32_t low, int32_t high,
                 const char *class_name) {
    spr__put(p->out, "<path class=\"%s\" d=\"", class_name);
    for (int32_t h = 0; h < f->horizon; h++)
        spr__put(p->out, h ? "L%c %c" : "M%c %c", x_of(s, (double)(f->origin + h) + 0.5),
                 clip(s, quantile(f, h, high)));
    for (int32_t h = f->horizon - 1; h >= 0; h--)
        spr__put(p->out, "L%c %c", x_of(s, (double)(f->origin + h) + 0.5), clip(s, quantile(f, h, low)));
    spr__put(p->out, "Z\"/>");
}

static void fan_lines(struct spr__page *p, const struct span *s, const struct spr__hot *hot, const struct spr__fan *f) {
    int32_t middle = f->level_count / 2;
    band(p, s, f, 0, f->level_count - 1, "band wide-band");
    band(p, s, f, 1, f->level_count - 2, "band near-band");
    spr__put(p->out, "<path class=\"line median\" d=\"");
    for (int32_t h = 0; h < f->horizon; h++)
        spr__put(p->out, h ? "L%c %c" : "M%c %c", x_of(s, (double)(f->origin + h) + 0.5),
                 clip(s, quantile(f, h, middle)));
    spr__put(p->out, "\"/><path class=\"line demand\" d=\"");
    for (int64_t i = s->first; i < SPR_MIN(s->end, p->g->steps); i++)
        spr__put(p->out, i > s->first ? "L%c %c" : "M%c %c", x_of(s, (double)i + 0.5), clip(s, hot->demand[i]));
    spr__put(p->out, "\"/>");
    if (!isnan(hot->capacity))
        spr__put(p->out, "<path class=\"line capacity\" d=\"M%c %cH%c\"/>", s->frame.left, clip(s, hot->capacity),
                 s->frame.right);
    double now = x_of(s, (double)f->origin);
    spr__put(p->out,
             "<path class=\"origin\" d=\"M%c %cV%c\"/><text class=\"tick\" text-anchor=\"end\" x=\"%c\" "
             "y=\"%c\">forecast from here</text>",
             now, s->frame.top, s->frame.bottom, now - 4, s->frame.top + 10);
}

static void fan_describe(struct spr__page *p, const struct spr__hot *hot, const struct spr__fan *f, const char *unit) {
    double came = 0, said = 0;
    for (int32_t h = 0; h < f->horizon; h++) {
        came = f->origin + h < p->g->steps ? SPR_MAX(came, hot->demand[f->origin + h]) : came;
        said = SPR_MAX(said, quantile(f, h, f->level_count - 1));
    }
    spr__put(p->out, "Demand reached %g %s; the largest 95 %% quantile was %g", came, unit, said);
    if (isnan(hot->capacity))
        spr__put(p->out, ".</desc>");
    else
        spr__put(p->out, "; capacity is %g.</desc>", hot->capacity);
}

/* Demand comes last, so that it is drawn over the bands. */
static void fan_data(struct spr__page *p, const struct spr__hot *hot, const struct spr__fan *f, const struct span *s) {
    static const char *const names[] = {"5 %", "25 %", "median", "75 %", "95 %"};
    static const char *const classes[] = {"q-out", "q-in", "median", "q-in", "q-out"};
    const char *time_name;
    double time_unit = spr__time_unit(p->r, &time_name);
    spr__put(p->out,
             "<script type=\"application/json\" "
             "class=\"zoom\">{\"unit\":%j,\"x0\":%4,\"dx\":%8,\"y\":%j,\"fan\":1,\"series\":[",
             time_name, ((double)s->first + 0.5) * p->r->step_s / time_unit, p->r->step_s / time_unit, hot->unit);
    for (int32_t level = 4; level >= 0; level--) {
        spr__put(p->out, "{\"name\":%j,\"class\":%j,\"from\":%l,\"v\":[", names[level], classes[level],
                 f->origin - s->first);
        for (int32_t h = 0; h < f->horizon; h++)
            spr__put(p->out, h ? ",%g" : "%g", quantile(f, h, level));
        spr__put(p->out, "]},");
    }
    if (!isnan(hot->capacity))
        spr__put(p->out, "{\"name\":\"capacity\",\"class\":\"capacity\",\"flat\":%g},", hot->capacity);
    spr__put(p->out, "{\"name\":\"came\",\"class\":\"demand\",\"v\":[");
    for (int64_t i = s->first; i < s->end; i++)
        spr__put(p->out, i > s->first ? ",%g" : "%g", i < p->g->steps ? hot->demand[i] : NAN);
    spr__put(p->out, "]}]}</script>");
}

static int fan(struct spr__page *p, const struct spr__hot *hot) {
    struct spr__fan f;
    int rc = spr__fan_make(p->g, hot, &f);
    if (rc < 0)
        return rc;
    struct span s = span_of(p, hot, &f);
    spr__put(p->out,
             "<figure class=\"time fan\"><figcaption><h3><span class=\"name\">%s %e</span>, %s in %s</h3></figcaption>",
             hot_kind(hot), hot_name(p->r, hot), spr__resource_name(hot->resource), hot->unit);
    spr__chart_begin(p, "half", 464, 250, "Forecast fan before the largest demand");
    fan_describe(p, hot, &f, hot->unit);
    spr__axis_y(p, &s.frame, hot->unit);
    spr__axis_x(p, &s.frame, (double)s.first * p->r->step_s, (double)s.end * p->r->step_s);
    fan_lines(p, &s, hot, &f);
    spr__chart_end(p);
    fan_data(p, hot, &f, &s);
    spr__put(p->out, "</figure>\n");
    spr_forecast_unref(f.product);
    return SPR_OK;
}

int spr__page_fans(struct spr__page *p) {
    int made = 0;
    spr__put(
        p->out,
        "<section><h2>What was seen coming</h2>\n<p>The two hottest hosts and the two VMs that lack most, forecast %l "
        "minutes before their worst overload, when a shard had to be asked for. The bands hold half and nine tenths of "
        "what "
        "the forecaster (%s) expects.</p><ul class=\"legend\">",
        (int64_t)((double)spr__fan_ahead(p->r) * p->r->step_s / 60 + 0.5), spr__report_method());
    spr__legend_item(p, "line demand", "what came");
    spr__legend_item(p, "line median", "median forecast");
    spr__legend_box(p, "near-band", "25 to 75 %");
    spr__legend_box(p, "wide-band", "5 to 95 %");
    spr__legend_item(p, "line capacity", "capacity");
    spr__put(p->out, "</ul><div class=\"pair\">\n");
    for (int32_t i = 0; i < p->g->hot_count; i++) {
        int rc = fan(p, &p->g->hot[i]);
        if (rc == SPR_E_NOMEM)
            return rc;
        made += rc >= 0;
    }
    spr__put(p->out, "</div>%s</section>\n", made ? "" : "<p>There is too little history for a forecast.</p>");
    return SPR_OK;
}

/* ---- accuracy ---- */

static const char *const marks[] = {"m0", "m1", "m2", "m3"};

static void mark(struct spr__page *p, int32_t i, double x, double y) {
    static const char *const shapes[] = {"m-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z", "m-4.5-4.5h9v9h-9z", "m0-6l6 10h-12z",
                                         "m0-6l6 6l-6 6l-6-6z"};
    spr__put(p->out, "<path class=\"mark %s\" d=\"M%c %c%s\"/>", marks[i % 4], x, y, shapes[i % 4]);
}

static void describe_calibration(struct spr__page *p, int32_t i, const struct spr__accuracy *a) {
    spr__put(p->out, "%s %e: ", hot_kind(&p->g->hot[i]), hot_name(p->r, &p->g->hot[i]));
    for (int32_t k = 0; k < a->level_count; k++)
        spr__put(p->out, "%s%1 %% below the %0 %% quantile", k ? ", " : "", 100 * a->share[k], 100 * a->level[k]);
    spr__put(p->out, ". ");
}

static void calibration(struct spr__page *p, const struct spr__accuracy *a) {
    struct spr__frame f = {58, 352, 26, 320, 0, 1};
    spr__chart_begin(p, "square", 464, 356, "Share of the truth below each forecast quantile");
    for (int32_t i = 0; i < p->g->hot_count; i++)
        describe_calibration(p, i, &a[i]);
    spr__put(p->out, "</desc>");
    for (int t = 0; t <= 4; t++) {
        double at = f.left + t * 0.25 * (f.right - f.left), y = spr__y(&f, t * 0.25);
        spr__put(p->out,
                 "<path class=\"grid\" d=\"M%c %cH%cM%c %cV%c\"/><text class=\"tick\" text-anchor=\"end\" x=\"%c\" "
                 "y=\"%c\">%d %%</text>",
                 f.left, y, f.right, at, f.top, f.bottom, f.left - 6, y + 4, t * 25);
        spr__put(p->out, "<text class=\"tick\" text-anchor=\"middle\" x=\"%c\" y=\"%c\">%d %%</text>", at,
                 f.bottom + 16, t * 25);
    }
    spr__put(p->out,
             "<path class=\"bound\" d=\"M%c %cL%c %c\"/><text class=\"unit\" x=\"4\" y=\"14\">truth at or "
             "below</text><text class=\"unit\" "
             "text-anchor=\"middle\" x=\"%c\" y=\"%c\">quantile</text>",
             f.left, f.bottom, f.right, f.top, (f.left + f.right) / 2, f.bottom + 33);
    for (int32_t i = 0; i < p->g->hot_count; i++)
        for (int32_t k = 0; k < a[i].level_count; k++)
            mark(p, i, f.left + a[i].level[k] * (f.right - f.left), spr__y(&f, a[i].share[k]));
    spr__chart_end(p);
}

static void accuracy_table(struct spr__page *p, const struct spr__accuracy *a) {
    spr__put(p->out,
             "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"Accuracy\"><table><caption>Mean "
             "pinball loss of the next step, %% of the mean "
             "demand</caption><thead><tr><th scope=\"col\">series</th><th scope=\"col\">%s</th><th scope=\"col\">last "
             "value</th><th scope=\"col\">in "
             "the 5 to 95 %% band</th><th scope=\"col\">origins</th></tr></thead><tbody>\n",
             spr__report_method());
    for (int32_t i = 0; i < p->g->hot_count; i++) {
        const struct spr__accuracy *x = &a[i];
        spr__put(
            p->out,
            "<tr><th scope=\"row\" class=\"name\"><span class=\"key\"><svg class=\"swatch\" viewBox=\"-14 -7 28 14\" "
            "aria-hidden=\"true\">");
        mark(p, i, 0, 0);
        spr__put(p->out, "</svg><span>%s %e</span></span></th><td>%2</td><td>%2</td><td>%1 %%</td><td>%l</td></tr>\n",
                 hot_kind(&p->g->hot[i]), hot_name(p->r, &p->g->hot[i]), 100 * x->pinball, 100 * x->naive,
                 100 * (x->share[x->level_count - 1] - x->share[0]), x->origins);
    }
    spr__put(p->out, "</tbody></table></div>");
}

int spr__page_accuracy(struct spr__page *p) {
    struct spr__accuracy a[SPR__REPORT_SERIES];
    int rc = spr__accuracy_make(p->g, a);
    if (rc == SPR_E_NOMEM)
        return rc;
    spr__put(p->out, "<section><h2>How good the forecasts were</h2>\n");
    if (rc < 0) {
        spr__put(p->out, "<p>There is too little history for a forecast.</p></section>\n");
        return SPR_OK;
    }
    spr__put(p->out, "<p>One step ahead along the scored part, learning every step. Pinball loss is smaller when "
                     "quantiles are near and honest; beside it the "
                     "last value with the spread of its changes. Marks on the dashed line would be perfectly "
                     "calibrated, marks above it are cautious.</p>\n"
                     "<div class=\"pair\"><figure>");
    calibration(p, a);
    spr__put(p->out, "</figure>");
    accuracy_table(p, a);
    spr__put(p->out, "</div></section>\n");
    return SPR_OK;
}
