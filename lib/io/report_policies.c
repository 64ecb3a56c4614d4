/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Policies side by side: figures, held against unserved, and how the cost adds up over time. */
#include "report.h"

const char *spr__policy_class(int policy) {
    static const char *const names[] = {"p0", "p1", "p2", "p3", "p4", "p5"};
    return policy >= 0 && policy < SPR_POLICY_COUNT ? names[policy] : "p0";
}

static const char *role(const struct spr__page *p, const struct spr_policy_score *s) {
    return s->policy == p->hero              ? "shown below"
           : s->policy == p->view->sum.rival ? "the rival"
           : s->policy == SPR_POLICY_ORACLE  ? "perfect knowledge"
           : !s->asked                       ? "for comparison"
                                             : "";
}

/* Columns that say nothing are left out: moves where nothing moved, energy without power tables. */
struct extra {
    bool moves, energy;
};
static struct extra extra_columns(const struct spr__view *w) {
    struct extra x = {false, false};
    for (int32_t i = 0; i < w->count; i++) {
        x.moves = x.moves || w->score[i].moves > 0;
        x.energy = x.energy || !isnan(w->score[i].energy_kwh);
    }
    return x;
}

static void table_row(struct spr__page *p, const struct spr_policy_score *s, struct extra x) {
    const char *what = role(p, s);
    spr__put(p->out, "<tr%s><th scope=\"row\">%s%s%s%s</th><td>%1</td><td>%1</td><td>%1</td>",
             s->policy == p->hero ? " class=\"hero\"" : "", spr_policy_name(s->policy), *what ? "<small>" : "", what,
             *what ? "</small>" : "", s->cost, s->cost_unserved, s->cost_held);
    spr__put(p->out, "<td>%1</td><td>%2</td><td>%3</td>", 100 * s->saved, p->view->sum.has_room ? s->regret : NAN,
             100 * s->unserved_share);
    spr__put(p->out, "<td>%0</td><td>%l of %l</td><td>%0</td><td>%0</td><td>%l</td>", s->violation_minutes,
             s->episodes_covered, s->episodes, s->lead_median_s,
             s->shard_hours_held > 0 ? 100 * s->shard_hours_used / s->shard_hours_held : NAN, s->actions);
    if (x.moves)
        spr__put(p->out, "<td>%l</td>", s->moves);
    if (x.energy)
        spr__put(p->out, "<td>%0</td>", s->energy_kwh);
    spr__put(p->out, "</tr>\n");
}

static void table(struct spr__page *p) {
    struct extra x = extra_columns(p->view);
    spr__put(
        p->out,
        "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"Scores of the "
        "policies\"><table><caption>Costs in "
        "priced host-hours, %0 scored hours</caption><thead><tr><th scope=\"col\">policy</th><th "
        "scope=\"col\">cost</th><th "
        "scope=\"col\">unserved</th><th scope=\"col\">held</th><th scope=\"col\">saved, %%</th><th "
        "scope=\"col\">regret</th>"
        "<th scope=\"col\">unserved demand, %%</th><th scope=\"col\">violation, VM-min</th><th scope=\"col\">episodes "
        "covered</th><th scope=\"col\">ready before onset, s</th><th scope=\"col\">used of held, %%</th><th "
        "scope=\"col\">actions</th>%s%s</tr></thead><tbody>\n",
        p->view->sum.hours, x.moves ? "<th scope=\"col\">moves</th>" : "",
        x.energy ? "<th scope=\"col\">energy, kWh</th>" : "");
    for (int32_t i = 0; i < p->view->count; i++)
        table_row(p, &p->view->score[i], x);
    spr__put(p->out, "</tbody></table></div>\n");
    const struct spr_verdict_summary *s = &p->view->sum;
    spr__put(p->out,
             "<p class=\"note\">No policy can cost less than %1; %1 of that no shard can remove. <b>Saved</b> is the "
             "share of what perfect "
             "knowledge saves against doing nothing. <b>Regret</b> is what is left to gain against the rival (0 = "
             "perfect knowledge, 1 = no "
             "better than %s)%s. An <b>episode</b> is a host above its capacity for two steps or longer. ",
             s->bound, s->unspillable_cost, spr_policy_name(s->rival),
             s->has_room ? "" : "; there is no room here, so none is given");
    if (isnan(s->tuned_threshold))
        spr__put(p->out, "reactive-tuned chose never to act.</p>\n");
    else
        spr__put(p->out, "reactive-tuned acts at %0 %% and keeps for %0 s.</p>\n", 100 * s->tuned_threshold,
                 s->tuned_hold_s);
}

/* ---- held against unserved ---- */

static double largest_cost(const struct spr__page *p) {
    double most = p->view->sum.bound;
    for (int32_t i = 0; i < p->view->count; i++)
        most = SPR_MAX(most, p->view->score[i].cost);
    return most > 0 ? most : 1;
}

static void bar(struct spr__page *p, const struct spr_policy_score *s, double y, double scale) {
    double left = 128, a = s->cost_unserved * scale, b = s->cost_held * scale;
    spr__put(p->out, "<text class=\"%s\" text-anchor=\"end\" x=\"%c\" y=\"%c\">%s</text>",
             s->policy == p->hero ? "strong" : "label", left - 8, y + 17, spr_policy_name(s->policy));
    spr__put(p->out, "<rect class=\"unserved\" x=\"%c\" y=\"%c\" width=\"%c\" height=\"24\"/>", left, y, a);
    spr__put(p->out, "<rect class=\"held\" x=\"%c\" y=\"%c\" width=\"%c\" height=\"24\"/>", left + a, y, b);
    spr__put(p->out, "<text class=\"%s\" x=\"%c\" y=\"%c\">%1</text>", s->policy == p->hero ? "strong" : "label",
             left + a + b + 6, y + 17, s->cost);
}

static void bars(struct spr__page *p) {
    double top = 24, each = 34, height = top + each * p->view->count + 30, scale = 520 / largest_cost(p);
    double bound = 128 + p->view->sum.bound * scale;
    spr__put(p->out, "<figure><figcaption><h3>Held against unserved</h3></figcaption><ul class=\"legend\">");
    spr__legend_box(p, "unserved", "demand that went unserved");
    spr__legend_box(p, "held", "capacity held in shards");
    spr__put(p->out, "</ul>");
    spr__chart_begin(p, "bars", 720, height, "Cost of every policy: unserved demand and held capacity");
    for (int32_t i = 0; i < p->view->count; i++)
        spr__put(p->out, "%s: %1 host-hours, %1 unserved and %1 held. ", spr_policy_name(p->view->score[i].policy),
                 p->view->score[i].cost, p->view->score[i].cost_unserved, p->view->score[i].cost_held);
    spr__put(p->out, "No policy can cost less than %1.</desc>", p->view->sum.bound);
    for (int32_t i = 0; i < p->view->count; i++)
        bar(p, &p->view->score[i], top + each * i, scale);
    spr__put(p->out,
             "<path class=\"bound\" d=\"M%c %cV%c\"/><text class=\"tick\" text-anchor=\"middle\" x=\"%c\" "
             "y=\"%c\">least possible %1</text>",
             bound, top - 10, height - 26, bound, height - 10, p->view->sum.bound);
    spr__chart_end(p);
    spr__put(p->out, "</figure>\n");
}

void spr__page_policies(struct spr__page *p) {
    spr__put(p->out, "<section><h2>Policies compared</h2>\n");
    bars(p);
    table(p);
    spr__put(p->out, "</section>\n");
}

/* ---- cost over time ---- */

static double sum_to(const struct spr__report_sums *s, int64_t column) {
    double sum = 0;
    for (int64_t c = 0; s->unserved && c <= column; c++)
        sum += s->unserved[c] + s->held[c];
    return sum;
}

/* Names at the right end of the lines, pushed apart so that none covers another. */
static void end_labels(struct spr__page *p, const struct spr__frame *f) {
    int order[SPR_POLICY_COUNT], n = 0;
    double at[SPR_POLICY_COUNT];
    for (int32_t i = 0; i < p->view->count; i++) {
        int k = p->view->score[i].policy, j = n++;
        for (; j > 0 && at[order[j - 1]] > spr__y(f, sum_to(&p->r->sums[k], p->r->columns - 1)); j--)
            order[j] = order[j - 1];
        order[j] = k;
        at[k] = spr__y(f, sum_to(&p->r->sums[k], p->r->columns - 1));
    }
    for (int j = n - 2; j >= 0; j--)
        at[order[j]] = SPR_MIN(at[order[j]], at[order[j + 1]] - 14);
    for (int j = 0; j < n; j++)
        spr__put(p->out, "<text class=\"label\" x=\"%c\" y=\"%c\">%s</text>", f->right + 6, at[order[j]] + 4,
                 spr_policy_name(order[j]));
}

static void cost_path(struct spr__page *p, const struct spr__frame *f, int policy) {
    const struct spr__report_sums *s = &p->r->sums[policy];
    double sum = 0, wide = (f->right - f->left) / (double)p->r->columns;
    spr__put(p->out, "<path class=\"line %s\" d=\"M%c %c", spr__policy_class(policy), f->left, f->bottom);
    for (int64_t c = 0; c < p->r->columns; c++) {
        sum += s->unserved ? s->unserved[c] + s->held[c] : 0;
        spr__put(p->out, "L%c %c", f->left + wide * (double)(c + 1), spr__y(f, sum));
    }
    spr__put(p->out, "\"/>");
}

static void cost_data(struct spr__page *p) {
    const char *unit_name;
    const spr_report *r = p->r;
    double unit = spr__time_unit(r, &unit_name);
    spr__put(p->out,
             "<script type=\"application/json\" "
             "class=\"zoom\">{\"unit\":%j,\"x0\":%6,\"dx\":%8,\"y\":\"host-hours\",\"series\":[",
             unit_name, (double)(r->first + r->column_steps) * r->step_s / unit,
             (double)r->column_steps * r->step_s / unit);
    for (int32_t i = 0; i < p->view->count; i++) {
        const struct spr__report_sums *s = &r->sums[p->view->score[i].policy];
        double sum = 0;
        spr__put(p->out, "%s{\"name\":%j,\"class\":%j,\"v\":[", i ? "," : "", spr_policy_name(p->view->score[i].policy),
                 spr__policy_class(p->view->score[i].policy));
        for (int64_t c = 0; c < r->columns; c++) {
            sum += s->unserved ? s->unserved[c] + s->held[c] : 0;
            spr__put(p->out, c ? ",%g" : "%g", sum);
        }
        spr__put(p->out, "]}");
    }
    spr__put(p->out, "]}</script>\n");
}

void spr__page_cost(struct spr__page *p) {
    struct spr__frame f = {64, 840, 24, 300, 0, 0};
    for (int32_t i = 0; i < p->view->count; i++)
        f.high = SPR_MAX(f.high, sum_to(&p->r->sums[p->view->score[i].policy], p->r->columns - 1));
    f.high = f.high > 0 ? f.high * 1.04 : 1;
    spr__put(p->out, "<section><h2>How the cost adds up</h2>\n<figure class=\"time\"><figcaption>Cost of every policy "
                     "since the start of "
                     "the scored part: where a line is steep, it was expensive.</figcaption><ul class=\"legend\">");
    for (int32_t i = 0; i < p->view->count; i++) {
        char name[16];
        snprintf(name, sizeof name, "line %s", spr__policy_class(p->view->score[i].policy));
        spr__legend_item(p, name, spr_policy_name(p->view->score[i].policy));
    }
    spr__put(p->out, "</ul>");
    spr__chart_begin(p, "wide", 960, 330, "Cost so far of every policy over time");
    for (int32_t i = 0; i < p->view->count; i++)
        spr__put(p->out, "%s reaches %0 half way and %0 at the end. ", spr_policy_name(p->view->score[i].policy),
                 sum_to(&p->r->sums[p->view->score[i].policy], p->r->columns / 2),
                 sum_to(&p->r->sums[p->view->score[i].policy], p->r->columns - 1));
    spr__put(p->out, "</desc>");
    spr__axis_y(p, &f, "host-hours");
    spr__axis_x(p, &f, (double)p->r->first * p->r->step_s, (double)p->r->end * p->r->step_s);
    for (int32_t i = 0; i < p->view->count; i++)
        cost_path(p, &f, p->view->score[i].policy);
    end_labels(p, &f);
    spr__chart_end(p);
    cost_data(p);
    spr__put(p->out, "</figure></section>\n");
}
