/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* plan and explain: what the library would do at one moment of a trace, and why. */
#include <string.h>

#include <shardpredict/ops/source.h>

#include "tool.h"

struct plan_args {
    const char **traces;
    const char *map, *where, *fleet, *out;
    long at, seed;
    int threads, json;
    double lead_s;
};

static struct spr_time moment(const spr_series *s, int64_t step) {
    int64_t ns = step * spr_series_step_ns(s);
    return (struct spr_time){spr_series_origin_ns(s) + ns, ns};
}

/* The controller itself, in advise: it learns everything before the origin and plans once, at its very moment. */
static int make_plan(spr_context *ctx, const struct plan_args *a, const spr_series *series, const spr_fleet *fleet,
                     spr_plan **out) {
    struct spr_trace_source_opts source = {sizeof source, series, fleet};
    struct spr_controller_opts o = {.size = sizeof o, .source = spr_trace_source(), .source_config = &source};
    spr_controller *c = NULL;
    double step_s = (double)spr_series_step_ns(series) * 1e-9;
    struct spr_plan_opts plan = {.size = sizeof plan, .lead_s = a->lead_s, .step_s = step_s, .control_s = step_s};
    o.plan = &plan;
    int rc = spr_controller_create(ctx, &o, &c);
    if (rc == SPR_OK)
        rc = spr_controller_step(c, moment(series, a->at - 1));
    if (rc == SPR_OK)
        rc = spr_controller_history(c, series, 0, a->at - 1);
    if (rc == SPR_OK)
        rc = spr_controller_step(c, moment(series, a->at));
    if (rc == SPR_OK)
        *out = spr_controller_plan(c);
    spr_controller_destroy(c);
    return rc;
}

/* "2.75 cores", "1.2 GB", "87 Mbit/s": three digits and the prefix that fits. */
static const char *amount(double value, int resource, char *text, size_t room) {
    static const char *const prefixes[] = {"", "k", "M", "G", "T"};
    struct spr_resource_info info = {.size = sizeof info};
    int k = 0;
    spr_resource_describe(resource, &info);
    const char *unit = info.unit ? info.unit : "";
    while (resource != SPR_CPU && value >= 1000 && k < 4)
        value /= 1000, k++;
    snprintf(text, room, "%.3g %s%s", value, prefixes[k], unit);
    return text;
}

static const char *resource_name(int resource) {
    struct spr_resource_info info = {.size = sizeof info};
    return spr_resource_describe(resource, &info) < 0 ? "countable" : info.name;
}

static void show_action(const spr_plan *plan, int32_t index) {
    const spr_fleet *fleet = spr_plan_fleet(plan);
    struct spr_action a = {.size = sizeof a};
    struct spr_vm vm = {.size = sizeof vm};
    struct spr_host host = {.size = sizeof host}, short_of = {.size = sizeof short_of};
    char text[3][48], wait[160] = "";
    spr_plan_action(plan, index, &a);
    spr_fleet_vm(fleet, a.vm, &vm);
    spr_fleet_host(fleet, a.host, &host);
    spr_fleet_host(fleet, a.constraint_host >= 0 ? a.constraint_host : vm.host, &short_of);
    printf("%4llu %-9s %s for %s on %s: %s may need %s of %s, has %s (%s)\n", (unsigned long long)a.id,
           spr_action_kind_name(a.kind), amount(a.amounts.of[a.resource], a.resource, text[0], sizeof text[0]), vm.id,
           host.id, short_of.id, amount(a.forecast, a.resource, text[1], sizeof text[1]), resource_name(a.resource),
           amount(a.threshold, a.resource, text[2], sizeof text[2]), spr_because_code(a.because));
    if (spr_plan_wait_text(plan, index, wait, sizeof wait) >= 0 && wait[0])
        printf("     %s\n", wait);
}

static void show(const spr_plan *plan) {
    const spr_fleet *fleet = spr_plan_fleet(plan);
    int32_t n = spr_plan_action_count(plan), wishes = spr_plan_infeasible_count(plan);
    printf("%d action%s, %d wish%s that cannot be met\n", n, n == 1 ? "" : "s", wishes, wishes == 1 ? "" : "es");
    for (int32_t k = 0; k < n; k++)
        show_action(plan, k);
    for (int32_t k = 0; k < wishes; k++) {
        struct spr_infeasible w = {.size = sizeof w};
        struct spr_host host = {.size = sizeof host};
        char text[48];
        spr_plan_infeasible(plan, k, &w);
        spr_fleet_host(fleet, w.host, &host);
        if (w.text) {
            printf("   - %s\n", w.text);
            continue;
        }
        printf("   - %s stays short of %s of %s: %s\n", host.id, amount(w.amount, w.resource, text, sizeof text),
               resource_name(w.resource), spr_because_text(w.because));
    }
}

static int write_plan(spr_context *ctx, const spr_plan *plan, const char *path) {
    spr_output *o = NULL;
    int rc = spr_output_create(ctx, path, &o);
    if (rc < 0)
        return rc;
    if ((rc = spr_plan_write(ctx, plan, 0, o)) < 0) {
        spr_output_discard(o);
        return rc;
    }
    return spr_output_commit(o);
}

static int run_plan(spr_context *ctx, struct plan_args *a) {
    struct spr_trace_opts to = {
        .size = sizeof to, .files = a->traces, .file_count = tool_count(a->traces), .map = a->map, .where = a->where};
    spr_trace *trace = NULL;
    spr_fleet *fleet = NULL;
    spr_plan *plan = NULL;
    int code = EXIT_DONE, rc = spr_trace_read(ctx, &to, &trace);
    int64_t end = rc < 0 ? 0 : spr_trace_end(trace);
    if (rc == SPR_OK && a->at == 0)
        a->at = (long)end;
    if (rc == SPR_OK && (a->at < 10 || a->at > end))
        code =
            tool_usage("plan", "--at must be between 10 and %lld, the step after the trace's last row", (long long)end);
    if (rc == SPR_OK && code == EXIT_DONE && (rc = spr_fleet_read(ctx, a->fleet, trace, 0, a->at, &fleet)) == SPR_OK)
        rc = make_plan(ctx, a, spr_trace_series(trace), fleet, &plan);
    if (rc == SPR_OK && code == EXIT_DONE && !plan)
        code = EXIT_NOTHING;
    if (rc == SPR_OK && plan) {
        if (a->out)
            rc = write_plan(ctx, plan, a->out);
        if (rc == SPR_OK && a->json)
            rc = write_plan(ctx, plan, "-");
        else if (rc == SPR_OK)
            show(plan);
        code = spr_plan_infeasible_count(plan) ? EXIT_LIMITS : spr_plan_action_count(plan) ? EXIT_DONE : EXIT_NOTHING;
    }
    if (rc < 0)
        code = tool_error(ctx, "plan");
    spr_plan_unref(plan);
    spr_fleet_unref(fleet);
    spr_trace_destroy(trace);
    return code;
}

int verb_plan(int argc, const char **argv) {
    struct plan_args a = {.seed = 1};
    struct poptOption table[] = {
        {"fleet", 'f', POPT_ARG_STRING, &a.fleet, 0, "hosts, VMs and wishes, YAML or JSON (doc/formats.md); required",
         "FILE"},
        {"trace", 't', POPT_ARG_ARGV, &a.traces, 0, "what the VMs used; may be repeated; required", "FILE"},
        {"map", 'm', POPT_ARG_STRING, &a.map, 0, "how to read the traces; none: the tool's own form", "FILE"},
        {"where", 0, POPT_ARG_STRING, &a.where, 0, "only rows with this value in this column", "COLUMN=VALUE"},
        {"at", 'a', POPT_ARG_LONG, &a.at, 0, "step to plan at: nothing at or after it is seen (default: the end)",
         "STEP"},
        {"lead", 0, POPT_ARG_DOUBLE, &a.lead_s, 0, "allocate + warm, s (default 300)", "SECONDS"},
        {"out", 'o', POPT_ARG_STRING, &a.out, 0, "the plan as JSON", "FILE"},
        {"seed", 's', POPT_ARG_LONG, &a.seed, 0, "draws who may replicate where no file says it (default 1)", "N"},
        {"threads", 'T', POPT_ARG_INT, &a.threads, 0, "threads (default: one a core)", "N"},
        {"json", 'j', POPT_ARG_NONE, &a.json, 0, "the plan as JSON on standard output", NULL},
        POPT_TABLEEND,
    };
    int code = tool_options(
        "plan",
        "Plans for one moment: learns the trace up to a step, forecasts the load of every host, and lists which\n"
        "shards should be allocated, grown or given back, where, and why. Nothing is touched.",
        "Example: shardpredict plan --fleet fleet.yaml --trace fleet.csv --at 4032 --out plan.json\n"
        "Exit codes: 0 a plan, 1 failed, 2 usage, 3 a plan that leaves a host short, 4 nothing to do.\n"
        "shardpredict explain tells the why of one action.",
        table, argc, argv, NULL);
    if (code >= 0)
        return code;
    if (!a.fleet || !tool_count(a.traces))
        return tool_usage("plan", "needs --fleet and --trace");
    spr_context *ctx = tool_context((uint64_t)a.seed, a.threads);
    if (!ctx)
        return EXIT_FAILED;
    code = run_plan(ctx, &a);
    tool_context_free(ctx);
    return code;
}

int verb_explain(int argc, const char **argv) {
    long action = 0;
    int json = 0;
    const char **rest = NULL;
    struct poptOption table[] = {
        {"action", 'a', POPT_ARG_LONG, &action, 0, "number of the action (default: all of them)", "ID"},
        {"json", 'j', POPT_ARG_NONE, &json, 0, "the plan with this action only, as JSON", NULL},
        POPT_TABLEEND,
    };
    int code = tool_options(
        "explain PLAN",
        "Tells why a plan does what it does: walks from an action back to the forecast it rests on, the limit that\n"
        "would break and the host that would break it, what it costs, what it is worth and what undoes it.",
        "Example: shardpredict explain plan.json --action 3", table, argc, argv, &rest);
    if (code >= 0)
        return code;
    if (!rest[0] || rest[1])
        return tool_usage("explain", "needs one plan file");
    spr_context *ctx = tool_context(0, 1);
    spr_output *out = NULL;
    if (!ctx)
        return EXIT_FAILED;
    int rc = spr_output_create(ctx, "-", &out);
    if (rc == SPR_OK && (rc = (json ? spr_plan_explain_json : spr_plan_explain)(ctx, rest[0], action, out)) == SPR_OK)
        rc = spr_output_commit(out);
    else
        spr_output_discard(out);
    code = rc < 0 ? tool_error(ctx, rest[0]) : EXIT_DONE;
    tool_context_free(ctx);
    return code;
}
