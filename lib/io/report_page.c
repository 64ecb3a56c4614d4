/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The page: what stands where, tables, settings. */
#include "report.h"

/* ---- VMs ---- */

static double vm_lack(const spr_report *r, int policy, int32_t vm) {
    const double *lack = r->sums[policy].vm_unserved;
    return lack ? lack[vm] : 0;
}

/* Most unserved without shards first; where that is equal, the larger VM. */
static bool vm_before(const struct spr__page *p, int32_t a, int32_t b) {
    double x = SPR_MAX(vm_lack(p->r, SPR_POLICY_NONE, a), vm_lack(p->r, p->hero, a));
    double y = SPR_MAX(vm_lack(p->r, SPR_POLICY_NONE, b), vm_lack(p->r, p->hero, b));
    if (x != y)
        return x > y;
    return p->g->vm_peak[a] != p->g->vm_peak[b] ? p->g->vm_peak[a] > p->g->vm_peak[b] : a < b;
}

static void vm_row(struct spr__page *p, int32_t vm) {
    const spr_report *r = p->r;
    struct spr_vm v = {.size = sizeof v};
    const double *held = r->sums[p->hero].vm_held;
    spr_fleet_vm(r->fleet, vm, &v);
    spr__put(p->out,
             "<tr><th scope=\"row\" class=\"name\">%e</th><td "
             "class=\"name\">%e</td><td>%s</td><td>%1</td><td>%2</td><td>%2</td><td>%2</td></tr>\n",
             spr__vm_name(r, vm), spr__host_name(r, v.host), v.replica == SPR_REPLICA_NEVER ? "no" : "yes",
             100 * p->g->vm_peak[vm], vm_lack(r, SPR_POLICY_NONE, vm), vm_lack(r, p->hero, vm), held ? held[vm] : 0);
}

int spr__page_vms(struct spr__page *p) {
    int32_t top[SPR__REPORT_NAMES], n = 0;
    for (int32_t v = 0; v < p->r->vms; v++) {
        int32_t j = n < SPR__REPORT_NAMES ? n++ : vm_before(p, v, top[n - 1]) ? n - 1 : -1;
        for (; j > 0 && vm_before(p, v, top[j - 1]); j--)
            top[j] = top[j - 1];
        if (j >= 0)
            top[j] = v;
    }
    spr__put(p->out,
             "<section><h2>The VMs that suffered most</h2>\n<div class=\"scroll\" role=\"region\" tabindex=\"0\" "
             "aria-label=\"VMs that "
             "suffered most\"><table><caption>Priced host-hours of unserved demand, without shards and with "
             "%s</caption><thead><tr>"
             "<th scope=\"col\">VM</th><th scope=\"col\">host</th><th scope=\"col\">may replicate</th><th "
             "scope=\"col\">peak, %% of a "
             "host</th><th scope=\"col\">unserved, none</th><th scope=\"col\">unserved, %s</th><th scope=\"col\">held "
             "for it</th></tr>"
             "</thead><tbody>\n",
             spr_policy_name(p->hero), spr_policy_name(p->hero));
    for (int32_t i = 0; i < n; i++)
        vm_row(p, top[i]);
    spr__put(p->out, "</tbody></table></div></section>\n");
    return SPR_OK;
}

/* ---- reasons ---- */

void spr__page_reasons(struct spr__page *p) {
    const spr_report *r = p->r;
    int64_t all = 0;
    for (int k = 0; k < SPR_BECAUSE_COUNT_ && r->kept == p->hero; k++)
        all += r->because[k];
    if (!all)
        return;
    spr__put(
        p->out,
        "<section><h2>Why shards changed</h2>\n<div class=\"scroll\" role=\"region\" tabindex=\"0\" "
        "aria-label=\"Reasons\"><table>"
        "<caption>%l changes of shards under %s, by their reason</caption><thead><tr><th scope=\"col\">reason</th><th "
        "scope=\"col\">changes</th><th scope=\"col\" class=\"words\">what it means</th></tr></thead><tbody>\n",
        all, spr_policy_name(p->hero));
    for (int k = 0; k < SPR_BECAUSE_COUNT_; k++)
        if (r->because[k])
            spr__put(p->out, "<tr><th scope=\"row\">%e</th><td>%l</td><td class=\"words\">%e</td></tr>\n",
                     spr_because_code(k), r->because[k], spr_because_text(k));
    spr__put(p->out, "</tbody></table></div></section>\n");
}

/* ---- settings ---- */

static void setting(struct spr__page *p, const char *name, double value, int decimals, const char *unit) {
    static const char *const formats[] = {"<dt>%s</dt><dd>%0 %s</dd>", "<dt>%s</dt><dd>%1 %s</dd>",
                                          "<dt>%s</dt><dd>%2 %s</dd>"};
    spr__put(p->out, formats[decimals], name, value, unit);
}

static void lead_settings(struct spr__page *p) {
    const struct spr_scenario *s = p->r->sc;
    bool none = !(s->allocate_s[0] > 0) && !(s->warm_s[0] > 0);
    double a = none ? 180 : s->allocate_s[0], w = none ? 120 : s->warm_s[0];
    setting(p, "allocate, median", a, 0, "s");
    setting(p, "warm, median", w, 0, "s");
    setting(p, "lead, median", a + w, 0, "s");
}

static void price_settings(struct spr__page *p) {
    const spr_report *r = p->r;
    for (int32_t k = 0; k < r->resource_count; k++) {
        const char *name = spr__resource_name(r->resource[k]);
        char unit[24];
        double amount = r->reference[k] * spr_scenario_file_unit(r->file, r->resource[k], NULL);
        double factor = spr__readable_unit(r, r->resource[k], amount, unit, sizeof unit);
        spr__put(p->out, "<dt>%s of a host</dt><dd>%g %s</dd>", name, amount * factor, unit);
        spr__put(p->out, "<dt>price of %s, unserved : held</dt><dd>%g : %g</dd>", name, r->price[k].unserved,
                 r->price[k].held);
    }
}

void spr__page_settings(struct spr__page *p) {
    const spr_report *r = p->r;
    const struct spr_scenario *s = r->sc;
    spr__put(
        p->out,
        "<section><h2>Settings</h2>\n<dl><dt>scenario</dt><dd>%e</dd><dt>hosts</dt><dd>%d</dd><dt>VMs</dt><dd>%d</dd>",
        s->name ? s->name : "default", r->hosts, r->vms);
    setting(p, "trace step", r->step_s, 0, "s");
    setting(p, "warm-up", (double)s->train_until * r->step_s / 86400, 2, "days");
    setting(p, "scored", (double)(r->end - r->first) * r->step_s / 86400, 2, "days");
    setting(p, "physics sub-step", spr__standard(s->substep_s, 10), 0, "s");
    setting(p, "control interval", spr__standard(s->control_s, 60), 0, "s");
    setting(p, "full refit every", spr__standard(s->refit_s, 86400) / 3600, 0, "h");
    lead_settings(p);
    price_settings(p);
    setting(p, "room of a target that may be used", 100 * spr__standard(s->room, 0.9), 0, "%");
    setting(p, "smallest change", 100 * spr__standard(s->change_at_least, 0.02), 1, "% of a host");
    setting(p, "reactive acts at", 100 * spr__standard(s->reactive_threshold, 0.9), 0, "%");
    setting(p, "reactive keeps for", spr__standard(s->reactive_hold_s, 900), 0, "s");
    if (s->actions_per_vm_day > 0)
        setting(p, "actions per VM and day, at most", s->actions_per_vm_day, 0, "");
    if (s->actions_per_host_day > 0)
        setting(p, "actions per host and day, at most", s->actions_per_host_day, 0, "");
    if (s->actions_per_day > 0)
        setting(p, "actions per day, at most", s->actions_per_day, 0, "");
    spr__put(p->out,
             "<dt>forecaster of the "
             "pictures</dt><dd>%s</dd><dt>seed</dt><dd>%l</dd><dt>library</dt><dd>%s</dd></dl></section>\n",
             spr__report_method(), (int64_t)s->seed, spr_version_string());
}

/* ---- the whole ---- */

static void head(struct spr__page *p, const char *name) {
    spr__put(p->out,
             "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
             "content=\"width=device-width, "
             "initial-scale=1\">\n<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
             "'unsafe-inline'; "
             "script-src 'unsafe-inline'; img-src data:\">\n<meta name=\"color-scheme\" content=\"light dark\">\n"
             "<link rel=\"icon\" href=\"data:,\">\n<title>%e: shard replay</title>\n<style>",
             name);
    spr_output_text(p->out, spr__report_uplot_css);
    spr_output_text(p->out, spr__report_css);
    spr__put(p->out, "</style>\n</head>\n<body>\n");
}

/* Patterns that keep areas apart without colour. */
static void patterns(struct spr__page *p) {
    spr__put(p->out, "<svg width=\"0\" height=\"0\" class=\"defs\" aria-hidden=\"true\"><defs>"
                     "<pattern id=\"hatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" "
                     "patternTransform=\"rotate(45)\">"
                     "<rect width=\"6\" height=\"6\" class=\"hatch-back\"/><rect width=\"2.4\" height=\"6\" "
                     "class=\"hatch-line\"/></pattern>"
                     "</defs></svg>\n");
}

static void tile(struct spr__page *p, const char *what, double value, int decimals, const char *unit,
                 const char *beside) {
    static const char *const formats[] = {"<li><b>%0%s</b> %s<small>%s</small></li>",
                                          "<li><b>%1%s</b> %s<small>%s</small></li>"};
    spr__put(p->out, formats[decimals], value, unit, what, beside);
}

static void tiles(struct spr__page *p) {
    const struct spr_policy_score *s = spr__view_find(p->view, p->hero),
                                  *none = spr__view_find(p->view, SPR_POLICY_NONE);
    char text[80];
    if (!s)
        return;
    spr__put(p->out, "<ul class=\"tiles\" aria-label=\"%s in figures\">", spr_policy_name(p->hero));
    tile(p, "priced host-hours", s->cost, 1, "", "unserved demand and held shards");
    tile(p, "saved", isnan(s->saved) ? NAN : 100 * s->saved, fabs(s->saved) < 0.0995, isnan(s->saved) ? "" : " %",
         "of what perfect knowledge saves");
    snprintf(text, sizeof text, "of %lld overloads", (long long)s->episodes);
    tile(p, "covered in time", (double)s->episodes_covered, 0, "", text);
    snprintf(text, sizeof text, "%lld without shards", none ? (long long)(none->violation_minutes + 0.5) : 0);
    tile(p, "VM-minutes short", s->violation_minutes, 0, "", text);
    spr__put(p->out, "</ul>\n");
}

static void foot(struct spr__page *p) {
    spr__put(p->out,
             "</main>\n<footer><p>Made by shardpredict %s. Time counts from the first step of the trace. Zoom: drag "
             "across a time chart; "
             "double-click to see all again. The zoom is uPlot, copyright (c) 2022 Leon Sorokin, MIT "
             "licence.</p></footer>\n<script>\n",
             spr_version_string());
    spr_output_text(p->out, "/* uPlot: MIT licence, copyright (c) 2022 Leon Sorokin. Permission is hereby granted, "
                            "free of charge, to any person "
                            "obtaining a copy of this software and associated documentation files (the \"Software\"), "
                            "to deal in the Software "
                            "without restriction, including without limitation the rights to use, copy, modify, merge, "
                            "publish, distribute, "
                            "sublicense, and/or sell copies of the Software, and to permit persons to whom the "
                            "Software is furnished to do so, "
                            "subject to the following conditions: The above copyright notice and this permission "
                            "notice shall be included in all "
                            "copies or substantial portions of the Software. THE SOFTWARE IS PROVIDED \"AS IS\", "
                            "WITHOUT WARRANTY OF ANY KIND, "
                            "EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, "
                            "FITNESS FOR A PARTICULAR PURPOSE "
                            "AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY "
                            "CLAIM, DAMAGES OR OTHER "
                            "LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR "
                            "IN CONNECTION WITH THE "
                            "SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE. */\n");
    spr_output_text(p->out, spr__report_uplot_js);
    spr_output_text(p->out, "</script>\n<script>\n");
    spr_output_text(p->out, spr__report_js);
    spr_output_text(p->out, "</script>\n</body>\n</html>\n");
}

static int sections(struct spr__page *p) {
    spr__page_policies(p);
    spr__page_cost(p);
    int rc = spr__page_fans(p);
    if (rc < 0)
        return rc;
    spr__page_hot(p);
    spr__page_lanes(p);
    spr__page_heat(p);
    spr__page_vms(p);
    rc = spr__page_accuracy(p);
    if (rc < 0)
        return rc;
    spr__page_reasons(p);
    spr__page_settings(p);
    return SPR_OK;
}

int spr_report_write(spr_report *r, const spr_verdict *verdict, spr_output *out) {
    struct spr__view view;
    struct spr__gather g;
    char sentence[600];
    if (!r)
        return SPR_E_ARG;
    if (!verdict || !out)
        return spr__io_fail(r->ctx, SPR_E_ARG, NULL, 0, 0, "spr_report_write: a verdict and an output are required");
    int rc = spr__view_make(verdict, &view);
    if (rc < 0)
        return rc;
    struct spr__page p = {.out = out, .r = r, .view = &view, .g = &g, .hero = spr__view_hero(&view)};
    if ((rc = spr__gather_make(r, p.hero, &g)) < 0)
        return rc;
    spr__view_sentence(&view, sentence, sizeof sentence);
    const char *name = r->sc->name && *r->sc->name ? r->sc->name : "Replay";
    head(&p, name);
    spr__put(out, "<main>\n<h1>Replay of %e</h1>\n<p class=\"verdict\">%e</p>\n", name, sentence);
    patterns(&p);
    tiles(&p);
    rc = sections(&p);
    if (rc >= 0)
        foot(&p);
    spr__gather_finish(&g);
    return rc < 0 ? rc : SPR_OK;
}
