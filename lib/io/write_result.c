/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Verdicts as JSON: doc/schema/result.json. */
#include "json.h"

static void write_score(struct spr__json *j, const struct spr_policy_score *s) {
    spr__json_open(j, NULL, '{');
    spr__json_text(j, "name", spr_policy_name(s->policy));
    spr__json_number(j, "cost", s->cost);
    spr__json_number(j, "saved", s->saved);
    spr__json_number(j, "regret", s->regret);
    spr__json_number(j, "unserved_share", s->unserved_share);
    spr__json_number(j, "violation_minutes", s->violation_minutes);
    spr__json_integer(j, "episodes", s->episodes);
    spr__json_integer(j, "episodes_covered", s->episodes_covered);
    spr__json_number(j, "lead_median_s", s->lead_median_s);
    spr__json_number(j, "shard_hours_held", s->shard_hours_held);
    spr__json_number(j, "shard_hours_used", s->shard_hours_used);
    spr__json_integer(j, "actions", s->actions);
    spr__json_integer(j, "moves", s->moves);
    spr__json_number(j, "energy_kwh", s->energy_kwh);
    spr__json_close(j, '}');
}

static void write_tuned(struct spr__json *j, const struct spr_verdict_summary *s) {
    spr__json_open(j, "tuned", '{');
    if (isnan(s->tuned_threshold))
        spr__json_bool(j, "never", true);
    else
        spr__json_number(j, "threshold", s->tuned_threshold);
    spr__json_number(j, "hold_s", s->tuned_hold_s);
    spr__json_close(j, '}');
}

/* Capacity of the reference host (the first one), in the scenario's unit. */
static void write_capacity(struct spr__json *j, const spr_scenario_file *file) {
    const struct spr_scenario *s = spr_scenario_file_scenario((spr_scenario_file *)(uintptr_t)file);
    struct spr_host h = {.size = sizeof h};
    struct spr_resource_info info = {.size = sizeof info};
    spr__json_open(j, "host_capacity", '{');
    if (s && spr_fleet_host(s->fleet, 0, &h) >= 0)
        for (int r = 0; r < SPR_RESOURCE_COUNTABLE; r++)
            if ((spr_fleet_resources(s->fleet) >> r & 1) && spr_resource_describe(r, &info) >= 0)
                spr__json_number(j, info.name, h.capacity.of[r] * spr_scenario_file_unit(file, r, NULL));
    spr__json_close(j, '}');
}

int spr_result_write(spr_context *ctx, const spr_scenario_file *scenario, const spr_verdict *verdict,
                     const struct spr_result_extra *extra, spr_output *out) {
    struct spr__json j = {.out = out};
    struct spr_verdict_summary sum = {.size = sizeof sum};
    struct spr_result_extra x;
    if (!ctx)
        return SPR_E_ARG;
    if (!scenario || !verdict || !out)
        return spr__io_fail(ctx, SPR_E_ARG, NULL, 0, 0, "spr_result_write: scenario, verdict and output are required");
    int rc = spr__io_opts(ctx, "spr_result_extra", extra, &x, sizeof x);
    if (rc < 0 || (rc = spr_verdict_summary(verdict, &sum)) < 0)
        return rc;
    spr__json_open(&j, NULL, '{');
    spr__json_integer(&j, "schema", 1);
    spr__json_open(&j, "policies", '[');
    for (int32_t i = 0; i < spr_verdict_count(verdict); i++) {
        struct spr_policy_score s = {.size = sizeof s};
        if (spr_verdict_score(verdict, i, &s) >= 0 && s.asked)
            write_score(&j, &s);
    }
    spr__json_close(&j, ']');
    spr__json_number(&j, "bound", sum.bound);
    spr__json_number(&j, "unspillable_cost", sum.unspillable_cost);
    spr__json_bool(&j, "has_room", sum.has_room != 0);
    write_tuned(&j, &sum);
    write_capacity(&j, scenario);
    spr__json_number(&j, "cpu_s", x.cpu_s);
    spr__json_number(&j, "wall_s", x.wall_s);
    spr__json_integer(&j, "peak_rss_bytes", x.peak_rss_bytes);
    spr__json_close(&j, '}');
    spr__json_end(&j);
    return SPR_OK;
}
