/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Hosts through time: demand against capacity, shards in lanes, loads before and after. */
#include "report.h"

enum { FINE = 1152 }; /* most points of a demand curve, which can be zoomed */

static int32_t shown_hosts(const spr_report *r) { return SPR_MIN(r->hosts, SPR__REPORT_HOSTS); }

/* ---- the hottest hosts ---- */

struct curve {
    int64_t points, each; /* steps a point */
    double peak;
};

static double largest(const struct spr__gather *g, const struct spr__hot *hot, int64_t from, int64_t to) {
    double most = 0;
    for (int64_t s = from; s < SPR_MIN(to, g->steps); s++)
        most = SPR_MAX(most, hot->demand[s]);
    return most;
}

static struct curve curve_of(const struct spr__page *p, const struct spr__hot *hot) {
    struct curve c;
    int64_t n = p->r->end - p->r->first;
    c.each = (n + FINE - 1) / FINE;
    c.points = (n + c.each - 1) / c.each;
    c.peak = largest(p->g, hot, p->r->first, p->r->end);
    return c;
}

static double point(const struct spr__page *p, const struct spr__hot *hot, const struct curve *c, int64_t i) {
    int64_t from = p->r->first + i * c->each;
    return largest(p->g, hot, from, SPR_MIN(from + c->each, p->r->end));
}

/* Capacity plus what shards hold elsewhere for the host's VMs; only where one resource is measured. */
static double cover(const struct spr__page *p, const struct spr__hot *hot, int64_t step) {
    const spr_report *r = p->r;
    if (p->r->resource_count > 1)
        return NAN;
    int64_t column = (step - r->first) / r->column_steps;
    double share = (double)p->g->away[(int64_t)hot->host * r->columns + column];
    double capacity = p->g->capacity[hot->host];
    return capacity > 0 ? hot->capacity * (1 + share / capacity) : hot->capacity;
}

static void hot_lines(struct spr__page *p, const struct spr__hot *hot, const struct spr__frame *f,
                      const struct curve *c) {
    double wide = (f->right - f->left) / (double)c->points;
    spr__put(p->out, "<path class=\"line demand\" d=\"");
    for (int64_t i = 0; i < c->points; i++)
        spr__put(p->out, i ? "L%c %c" : "M%c %c", f->left + wide * ((double)i + 0.5), spr__y(f, point(p, hot, c, i)));
    spr__put(p->out, "\"/>");
    if (p->r->resource_count == 1) {
        double last = NAN;
        spr__put(p->out, "<path class=\"line cover\" d=\"M%c %c", f->left, spr__y(f, cover(p, hot, p->r->first)));
        for (int64_t k = 0; k < p->r->columns; k++) {
            double y = spr__y(f, cover(p, hot, p->r->first + k * p->r->column_steps));
            if (y != last)
                spr__put(p->out, "H%cV%c", f->left + (f->right - f->left) * (double)k / (double)p->r->columns, y);
            last = y;
        }
        spr__put(p->out, "H%c\"/>", f->right);
    }
    spr__put(p->out, "<path class=\"line capacity\" d=\"M%c %cH%c\"/>", f->left, spr__y(f, hot->capacity), f->right);
}

static void hot_data(struct spr__page *p, const struct spr__hot *hot, const struct curve *c) {
    const char *name;
    const spr_report *r = p->r;
    double unit = spr__time_unit(r, &name);
    spr__put(p->out,
             "<script type=\"application/json\" "
             "class=\"zoom\">{\"unit\":%j,\"x0\":%6,\"dx\":%8,\"y\":%j,\"series\":[{\"name\":\"demand\","
             "\"class\":\"demand\",\"v\":[",
             name, ((double)r->first + 0.5 * (double)c->each) * r->step_s / unit, (double)c->each * r->step_s / unit,
             hot->unit);
    for (int64_t i = 0; i < c->points; i++)
        spr__put(p->out, i ? ",%g" : "%g", point(p, hot, c, i));
    if (r->resource_count == 1) {
        spr__put(p->out, "]},{\"name\":\"cover\",\"class\":\"cover\",\"v\":[");
        for (int64_t i = 0; i < c->points; i++)
            spr__put(p->out, i ? ",%g" : "%g", cover(p, hot, r->first + i * c->each));
    }
    spr__put(p->out, "]},{\"name\":\"capacity\",\"class\":\"capacity\",\"flat\":%g}]}</script>\n", hot->capacity);
}

static void hot_chart(struct spr__page *p, const struct spr__hot *hot) {
    struct curve c = curve_of(p, hot);
    double most = SPR_MAX(c.peak, hot->capacity);
    for (int64_t k = 0; k < p->r->columns && p->r->resource_count == 1; k++)
        most = SPR_MAX(most, cover(p, hot, p->r->first + k * p->r->column_steps));
    struct spr__frame f = {72, 944, 24, 240, 0, most > 0 ? most * 1.04 : 1};
    spr__put(p->out, "<figure class=\"time\"><figcaption><h3>Host %e, %s in %s</h3></figcaption><ul class=\"legend\">",
             spr__host_name(p->r, hot->host), spr__resource_name(hot->resource), hot->unit);
    spr__legend_item(p, "line demand", "demand of its VMs");
    if (p->r->resource_count == 1)
        spr__legend_item(p, "line cover", "capacity and what shards hold elsewhere for it");
    spr__legend_item(p, "line capacity", "capacity");
    spr__put(p->out, "</ul>");
    spr__chart_begin(p, "wide", 960, 270, "Demand of a host against its capacity over time");
    spr__put(p->out, "Demand peaks at %0 %s; the host has %0.</desc>", c.peak, hot->unit, hot->capacity);
    spr__axis_y(p, &f, hot->unit);
    spr__axis_x(p, &f, (double)p->r->first * p->r->step_s, (double)p->r->end * p->r->step_s);
    hot_lines(p, hot, &f, &c);
    spr__chart_end(p);
    hot_data(p, hot, &c);
    spr__put(p->out, "</figure>\n");
}

void spr__page_hot(struct spr__page *p) {
    spr__put(p->out,
             "<section><h2>The hottest hosts</h2>\n<p>Where the demand of its own VMs passes a host's capacity, "
             "somebody goes "
             "short, unless shards on other hosts are ready by then. Each point is the largest value of its stretch of "
             "time; "
             "the shards are those of %s.</p>\n",
             spr_policy_name(p->hero));
    for (int32_t i = 0; i < p->g->hot_count; i++)
        if (p->g->hot[i].vm < 0)
            hot_chart(p, &p->g->hot[i]);
    spr__put(p->out, "</section>\n");
}

/* ---- lanes ---- */

enum { LANE = 30, LANES_LEFT = 120, PLOT = 824 };

/* One side of a lane as a filled staircase; `up` is -1 above the middle and 1 below. */
static void staircase(struct spr__page *p, const char *class_name, const float *share, double middle, double scale,
                      int up) {
    bool open = false;
    double wide = (double)PLOT / (double)p->r->columns, last = 0;
    for (int64_t c = 0; c <= p->r->columns; c++) {
        double y = c < p->r->columns ? SPR_MIN(floor(share[c] * scale * 10 + 0.5) / 10, LANE / 2 - 1) : 0;
        if (y == last)
            continue;
        if (!open)
            spr__put(p->out, "<path class=\"%s\" d=\"M%c %c", class_name, LANES_LEFT + wide * (double)c, middle);
        else
            spr__put(p->out, "H%c", LANES_LEFT + wide * (double)c);
        spr__put(p->out, "V%c", middle + up * y);
        open = true;
        last = y;
    }
    if (open)
        spr__put(p->out, "\"/>");
}

/* A scale that a few towers do not flatten: 98 % of the cells that hold anything stay below it. */
static double lane_scale(const struct spr__page *p) {
    enum { STEPS = 400 };
    int64_t count[STEPS + 1] = {0}, all = 0, below = 0;
    int step = 0;
    for (int32_t i = 0; i < shown_hosts(p->r); i++)
        for (int64_t c = 0; c < p->r->columns; c++) {
            int64_t cell = (int64_t)p->g->order[i] * p->r->columns + c;
            double most = (double)SPR_MAX(p->g->away[cell], p->g->here[cell]);
            if (!(most > 0))
                continue;
            count[SPR_MIN((int)ceil(most * 100), STEPS)]++; /* a hundredth of a host each */
            all++;
        }
    while (all && below < 0.98 * (double)all)
        below += count[step++];
    return all ? SPR_MAX(step - 1, 1) / 100.0 : 0;
}

void spr__page_lanes(struct spr__page *p) {
    const spr_report *r = p->r;
    int32_t n = shown_hosts(r);
    double most = lane_scale(p), top = 10, bottom = top + n * LANE;
    spr__put(p->out,
             "<section><h2>Shards over time, host by host</h2>\n<figure><figcaption>One lane a host, hottest first%s. "
             "Up: what %s "
             "holds on other hosts for the VMs that live here. Down: what this host holds for the VMs of others. ",
             n < r->hosts ? " (the others are left out)" : "", spr_policy_name(p->hero));
    if (most > 0)
        spr__put(p->out, "A full half lane is %0 %% of a host or more.", 100 * most);
    else
        spr__put(p->out, "No shard was held.");
    spr__put(p->out, "</figcaption><ul class=\"legend\">");
    spr__legend_box(p, "away", "held elsewhere for its VMs");
    spr__legend_box(p, "here", "held here for others");
    spr__put(p->out, "</ul>");
    spr__chart_begin(p, "wide", 960, bottom + 30, "Shards of every host over time");
    for (int32_t i = 0; i < SPR_MIN(n, 5); i++) {
        double away = 0, here = 0;
        for (int64_t c = 0; c < r->columns; c++) {
            away += (double)p->g->away[(int64_t)p->g->order[i] * r->columns + c] / (double)r->columns;
            here += (double)p->g->here[(int64_t)p->g->order[i] * r->columns + c] / (double)r->columns;
        }
        spr__put(p->out, "%e: on average %1 %% of a host held elsewhere for it, %1 %% here for others. ",
                 spr__host_name(r, p->g->order[i]), 100 * away, 100 * here);
    }
    spr__put(p->out, "</desc>");
    struct spr__frame f = {LANES_LEFT, LANES_LEFT + PLOT, top, bottom, 0, 1};
    for (int32_t i = 0; i < n; i++) {
        int64_t row = (int64_t)p->g->order[i] * r->columns;
        double middle = top + i * LANE + LANE / 2.0, scale = most > 0 ? (LANE / 2.0 - 2) / most : 0;
        spr__put(p->out,
                 "<path class=\"grid\" d=\"M%c %cH%c\"/><text class=\"label\" text-anchor=\"end\" x=\"%c\" "
                 "y=\"%c\">%e</text>",
                 f.left, middle, f.right, f.left - 8, middle + 4, spr__host_name(r, p->g->order[i]));
        staircase(p, "away", p->g->away + row, middle, scale, -1);
        staircase(p, "here", p->g->here + row, middle, scale, 1);
    }
    spr__axis_x(p, &f, (double)r->first * r->step_s, (double)r->end * r->step_s);
    spr__chart_end(p);
    spr__put(p->out, "</figure></section>\n");
}

/* ---- heat ---- */

enum { HEAT_ROW = 17, BINS = 8, OVER = 5 }; /* bins from OVER on lie above capacity */
static const double bin_from[BINS] = {0, 0.3, 0.5, 0.7, 0.85, 1, 1.2, 1.5};
static const char *const bin_text[BINS] = {"under 30 %",  "30 to 50 %",   "50 to 70 %",   "70 to 85 %",
                                           "85 to 100 %", "100 to 120 %", "120 to 150 %", "over 150 %"};

static int bin_of(float load) {
    int b = BINS - 1;
    while (b > 0 && (double)load < bin_from[b] + (b == OVER ? 1e-6 : 0))
        b--;
    return b;
}

/* The runs of one colour of a row; a column is one unit wide. */
static void heat_runs(struct spr__page *p, const float *load, int bin_low, int bin_high, double y) {
    for (int64_t c = 0, begin = -1; c <= p->r->columns; c++) {
        int b = c < p->r->columns ? bin_of(load[c]) : -1;
        bool in = b >= bin_low && b <= bin_high;
        if (in && begin < 0)
            begin = c;
        if (!in && begin >= 0) {
            spr__put(p->out, "M%l %ch%l", begin, y, c - begin);
            begin = -1;
        }
    }
}

static double over_share(const struct spr__page *p, const float *load) {
    int64_t over = 0;
    for (int32_t h = 0; h < p->r->hosts; h++)
        for (int64_t c = 0; c < p->r->columns; c++)
            over += bin_of(load[(int64_t)h * p->r->columns + c]) >= OVER;
    return (double)over / ((double)p->r->hosts * (double)p->r->columns);
}

static void heat_paths(struct spr__page *p, const float *load, double top) {
    int32_t n = shown_hosts(p->r);
    spr__put(p->out, "<g transform=\"translate(%d 0) scale(%4 1)\">", LANES_LEFT, (double)PLOT / (double)p->r->columns);
    for (int b = 1; b < BINS; b++) {
        spr__put(p->out, "<path class=\"heat h%d\" d=\"M0 0", b);
        for (int32_t i = 0; i < n; i++)
            heat_runs(p, load + (int64_t)p->g->order[i] * p->r->columns, b, b, top + i * HEAT_ROW + HEAT_ROW / 2.0);
        spr__put(p->out, "\"/>");
    }
    spr__put(p->out, "<path class=\"over\" d=\"M0 0");
    for (int32_t i = 0; i < n; i++)
        heat_runs(p, load + (int64_t)p->g->order[i] * p->r->columns, OVER, BINS - 1,
                  top + i * HEAT_ROW + HEAT_ROW / 2.0);
    spr__put(p->out, "\"/></g>");
}

static void heat_map(struct spr__page *p, const float *load, const char *title, const char *when) {
    int32_t n = shown_hosts(p->r);
    struct spr__frame f = {LANES_LEFT, LANES_LEFT + PLOT, 6, 6 + n * HEAT_ROW, 0, 1};
    spr__put(p->out, "<h3>%s</h3>", title);
    spr__chart_begin(p, "wide", 960, f.bottom + 28, title);
    spr__put(p->out,
             "%1 %% of all cells are above capacity %s.</desc><rect class=\"heat-back\" x=\"%c\" y=\"%c\" width=\"%c\" "
             "height=\"%c\"/>",
             100 * over_share(p, load), when, f.left, f.top, f.right - f.left, f.bottom - f.top);
    heat_paths(p, load, f.top);
    for (int32_t i = 0; i < n; i++)
        spr__put(p->out, "<text class=\"tick\" text-anchor=\"end\" x=\"%c\" y=\"%c\">%e</text>", f.left - 8,
                 f.top + i * HEAT_ROW + HEAT_ROW / 2.0 + 4, spr__host_name(p->r, p->g->order[i]));
    spr__axis_x(p, &f, (double)p->r->first * p->r->step_s, (double)p->r->end * p->r->step_s);
    spr__chart_end(p);
}

void spr__page_heat(struct spr__page *p) {
    char title[80];
    spr__put(
        p->out,
        "<section><h2>Host load before and after</h2>\n<figure><figcaption>Largest load of each %0 minutes, as a share "
        "of the host's capacity%s. Before: what its VMs ask for. After: what stays with it, plus what it holds for "
        "others. "
        "Cells above capacity carry a line: %1 %% of them before, %1 %% after. All that lies above capacity adds up to "
        "%1 "
        "host-hours before and %1 after%s.</figcaption><ul class=\"legend\">",
        (double)p->r->column_steps * p->r->step_s / 60,
        p->r->resource_count > 1 ? ", of the resource it is shortest of" : "", 100 * over_share(p, p->g->before),
        100 * over_share(p, p->g->after), p->g->over[0], p->g->over[1],
        shown_hosts(p->r) < p->r->hosts ? "; the hottest hosts are shown" : "");
    for (int b = 0; b < BINS; b++)
        spr__put(
            p->out,
            "<li><svg class=\"swatch\" viewBox=\"0 0 28 12\" aria-hidden=\"true\"><rect class=\"hb%d\" width=\"28\" "
            "height=\"12\"/>%s</svg>%s</li>",
            b, b >= OVER ? "<path class=\"over\" d=\"M0 6H28\"/>" : "", bin_text[b]);
    spr__put(p->out, "</ul>");
    heat_map(p, p->g->before, "Before: without shards", "without shards");
    snprintf(title, sizeof title, "After: with the shards of %s", spr_policy_name(p->hero));
    heat_map(p, p->g->after, title, "with them");
    spr__put(p->out, "</figure></section>\n");
}
