/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What scenario files and default scenarios share, and the doors. */
#include "scenario.h"

void spr__scenario_lead(struct spr_scenario *s, double lead_s) {
    double sub = s->substep_s > 0 ? s->substep_s : 10, steps = floor(lead_s / sub);
    double allocate = SPR_MIN(round(0.6 * steps) * sub, lead_s);
    if (steps < 1)
        allocate = lead_s;
    s->allocate_s[0] = s->allocate_s[1] = allocate;
    /* A zero would mean "the default": nothing left to warm has to be said. */
    s->warm_s[0] = s->warm_s[1] = lead_s - allocate > 0 ? lead_s - allocate : SPR_NONE;
}

static const char *core_unit(int resource) {
    struct spr_resource_info info = {.size = sizeof info};
    return spr_resource_describe(resource, &info) < 0 ? "none" : info.unit;
}

int spr__scenario_close(spr_scenario_file *f, struct spr__spec *spec) {
    struct spr_time now = {spr_series_origin_ns(f->series), 0};
    for (int r = 0; r < SPR_RESOURCES_MAX; r++) {
        bool named = spec->unit[r] != SPR__UNIT_NONE;
        f->unit_factor[r] = named ? 1 / spr__unit_factor(spec->unit[r], r, 0) : 1;
        f->unit_name[r] = spr__io_strdup(f->ctx, named ? spr__unit_name(spec->unit[r]) : core_unit(r));
        if (!f->unit_name[r])
            return SPR_E_NOMEM;
        if (named && (spec->unit[r] == SPR__UNIT_MHZ || spec->unit[r] == SPR__UNIT_MIPS))
            f->unit_factor[r] = 1000; /* 1 / 1e-3 is not quite */
    }
    int rc = spr__spec_build(spec, now, &f->fleet);
    f->scenario.size = sizeof f->scenario;
    f->scenario.fleet = f->fleet;
    f->scenario.name = f->name;
    return rc;
}

void spr_scenario_file_destroy(spr_scenario_file *f) {
    if (!f)
        return;
    spr_context *ctx = f->ctx;
    spr_trace_destroy(f->trace);
    spr_series_unref(f->series);
    spr_fleet_unref(f->fleet);
    spr__io_strfree(ctx, f->name);
    for (int r = 0; r < SPR_RESOURCES_MAX; r++)
        spr__io_strfree(ctx, f->unit_name[r]);
    spr_context_free(ctx, f, sizeof *f);
    spr_context_unref(ctx);
}

struct spr_scenario *spr_scenario_file_scenario(spr_scenario_file *f) {
    return f ? &f->scenario : NULL;
}
spr_series *spr_scenario_file_series(const spr_scenario_file *f) { return f ? f->series : NULL; }

double spr_scenario_file_unit(const spr_scenario_file *f, int resource, const char **name) {
    bool known = f && resource >= 0 && resource < SPR_RESOURCES_MAX;
    if (name)
        *name = known ? f->unit_name[resource] : "none";
    return known ? f->unit_factor[resource] : 1;
}

/* ---- the default scenario ---- */

/* Resources of the trace that a default scenario plans, as far as anybody uses them. */
static int default_resources(const spr_trace *trace, struct spr__spec *spec) {
    static const int wanted[] = {SPR_CPU, SPR_MEMORY, SPR_NET_RX, SPR_NET_TX};
    int64_t vms = spr_trace_vm_count(trace);
    int64_t *rows = spr_context_alloc(spec->ctx, (size_t)vms * sizeof *rows);
    int rc = rows ? SPR_OK : spr__io_nomem(spec->ctx);
    for (size_t i = 0; rc >= 0 && i < SPR_ARRAY_LEN(wanted); i++) {
        double p99 = 0;
        if (spr__demand_rows(trace, wanted[i], rows) != vms)
            continue;
        rc = spr__demand_p99(spec->ctx, trace, wanted[i], spec->first, spec->last, &p99);
        if (rc < 0 || !(p99 > 0))
            continue;
        spec->resources |= 1u << wanted[i];
        spec->capacity[wanted[i]] = (struct spr__capacity){.given = true, .by_rule = true, .rho = 0.7};
    }
    spr_context_free(spec->ctx, rows, (size_t)vms * sizeof *rows);
    if (rc >= 0 && !spec->resources)
        return spr__io_fail(spec->ctx, SPR_E_FORMAT, NULL, 0, 0,
                            "the trace has no resource that every VM uses: a replay needs cpu, memory or network");
    return rc;
}

/* First half in whole days; of a trace under four days the first third. */
static int64_t warm_up(const spr_trace *trace) {
    int64_t end = spr_trace_end(trace), day = INT64_C(86400000000000) / spr_series_step_ns(spr_trace_series(trace));
    if (day < 1 || end < 4 * day)
        return end / 3;
    return end / 2 / day * day;
}

static void default_numbers(struct spr_scenario *s, const spr_trace *trace, uint64_t seed) {
    static const double thresholds[] = {0.8, 0.9, 0.95, 1, 1.1, 1.3}, holds[] = {0, 300, 900};
    s->train_until = s->score_first = warm_up(trace);
    s->score_end = spr_trace_end(trace);
    s->substep_s = 10;
    s->control_s = 60;
    s->refit_s = 86400;
    s->room = 0.9;
    s->change_at_least = 0.02;
    s->reactive_threshold = 0.9;
    s->reactive_hold_s = 900;
    s->tuned_thresholds = thresholds;
    s->tuned_threshold_count = SPR_ARRAY_LEN(thresholds);
    s->tuned_holds_s = holds;
    s->tuned_hold_count = SPR_ARRAY_LEN(holds);
    s->seed = seed;
    for (int r = 0; r < SPR_RESOURCES_MAX; r++)
        s->price[r] = (struct spr_price){r == SPR_MEMORY ? 50 : 10, 1};
    spr__scenario_lead(s, 300);
}

static int make_default(spr_scenario_file *f, const spr_trace *trace, const struct spr_scenario_opts *o,
                        struct spr__spec *spec) {
    int64_t vms = spr_trace_vm_count(trace), hosts = o->hosts ? o->hosts : SPR_MAX(vms / 10, 2);
    f->series = spr_series_ref(spr_trace_series(trace));
    default_numbers(&f->scenario, trace, o->seed);
    if (f->scenario.train_until < 1 || f->scenario.score_end <= f->scenario.score_first)
        return spr__io_fail(f->ctx, SPR_E_HISTORY, NULL, 0, 0,
                            "a trace of %lld steps is too short for a warm-up and a score",
                            (long long)spr_trace_end(trace));
    spec->seed = o->seed;
    spec->last = f->scenario.train_until;
    spec->flow_lifetime_s = 60;
    spec->shards_at_most = 2;
    if (!(f->name = spr__io_strdup(f->ctx, "default")))
        return SPR_E_NOMEM;
    int rc = default_resources(trace, spec);
    if (rc >= 0)
        rc = spr__spec_equal_hosts(spec, hosts);
    return rc < 0 ? rc : spr__scenario_close(f, spec);
}

int spr_scenario_default(spr_context *ctx, const spr_trace *trace, const struct spr_scenario_opts *opts,
                         spr_scenario_file **out) {
    struct spr_scenario_opts o;
    struct spr__spec spec;
    if (!ctx)
        return SPR_E_ARG;
    if (!trace || !out)
        return spr__io_fail(ctx, SPR_E_ARG, NULL, 0, 0, "spr_scenario_default: a trace and an output are required");
    int rc = spr__io_opts(ctx, "spr_scenario_opts", opts, &o, sizeof o);
    if (rc < 0)
        return rc;
    if (o.hosts < 0 || o.hosts > 1000000)
        return spr__io_fail(ctx, SPR_E_ARG, NULL, 0, 0, "spr_scenario_opts: hosts is out of range");
    spr_scenario_file *f = spr_context_alloc(ctx, sizeof *f);
    if (!f)
        return spr__io_nomem(ctx);
    f->ctx = spr_context_ref(ctx);
    spr__spec_init(ctx, trace, &spec);
    rc = make_default(f, trace, &o, &spec);
    spr__spec_finish(&spec);
    if (rc < 0) {
        spr_scenario_file_destroy(f);
        return rc;
    }
    *out = f;
    return SPR_OK;
}
