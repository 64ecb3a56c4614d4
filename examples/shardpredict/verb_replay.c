/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* replay: policies side by side over a recorded trace, and the verdict. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <shardpredict/backend-sim.h>

#include "tool.h"

struct replay_args {
    const char **traces;
    const char *scenario, *map, *where, *policy, *forecaster, *model, *events, *result, *ledger, *steps, *report;
    int hosts, threads, json;
    long seed;
    double lead_s, price;
};

struct replay_sinks {
    spr_context *ctx;
    spr_scenario_file *scenario;
    const spr_fleet *fleet;
    spr_output *ledger, *steps;
    spr_report *report;
    double unit[SPR_RESOURCES_MAX];
};

/* ---- rows ---- */

/* A name as a CSV field: quoted where it must be. */
static void name_field(spr_output *o, const char *name) {
    if (!strpbrk(name, ",\"\n\r")) {
        spr_output_text(o, name);
        return;
    }
    spr_output_text(o, "\"");
    for (; *name; name++) {
        if (*name == '"')
            spr_output_text(o, "\"");
        spr_output_write(o, name, 1);
    }
    spr_output_text(o, "\"");
}

static void number_field(spr_output *o, double value) {
    spr_output_text(o, ",");
    spr_output_number(o, value, 9);
}

static double held(const struct spr_lifecycle_event *e, int r, double unit) {
    return (e->ready.of[r] + e->pending.of[r] + e->draining.of[r]) * unit;
}

static void ledger_row(const struct replay_sinks *s, const struct spr_replay_event *event) {
    const struct spr_lifecycle_event *e = event->change;
    struct spr_vm vm = {.size = sizeof vm};
    struct spr_host host = {.size = sizeof host};
    char text[64];
    spr_fleet_vm(s->fleet, e->vm, &vm);
    spr_fleet_host(s->fleet, e->host, &host);
    spr_output_number(s->ledger, event->time_s, 12);
    snprintf(text, sizeof text, ",%s,%llu,", spr_policy_name(event->policy), (unsigned long long)e->shard);
    spr_output_text(s->ledger, text);
    name_field(s->ledger, vm.id);
    spr_output_text(s->ledger, ",");
    name_field(s->ledger, host.id);
    spr_output_text(s->ledger, ",");
    spr_output_text(s->ledger, spr_shard_state_name(e->to));
    number_field(s->ledger, held(e, SPR_CPU, s->unit[SPR_CPU]));
    number_field(s->ledger, held(e, SPR_MEMORY, s->unit[SPR_MEMORY]));
    number_field(s->ledger, held(e, SPR_NET_RX, s->unit[SPR_NET_RX]) + held(e, SPR_NET_TX, s->unit[SPR_NET_TX]));
    spr_output_text(s->ledger, ",");
    spr_output_text(s->ledger, spr_because_code(e->because));
    spr_output_text(s->ledger, "\n");
}

static int on_event(void *user, const struct spr_replay_event *event) {
    struct replay_sinks *s = user;
    if (s->ledger)
        ledger_row(s, event);
    return s->report ? spr_report_event(s->report, event) : 0;
}

static int on_step(void *user, const struct spr_replay_step *step) {
    struct replay_sinks *s = user;
    if (s->steps) {
        struct spr_resource_info info = {.size = sizeof info};
        struct spr_vm vm = {.size = sizeof vm};
        double unit = s->unit[step->resource];
        spr_resource_describe(step->resource, &info);
        spr_fleet_vm(s->fleet, step->vm, &vm);
        spr_output_number(s->steps, step->time_s, 12);
        spr_output_text(s->steps, ",");
        spr_output_text(s->steps, spr_policy_name(step->policy));
        spr_output_text(s->steps, ",");
        name_field(s->steps, vm.id);
        spr_output_text(s->steps, ",");
        spr_output_text(s->steps, info.name);
        number_field(s->steps, step->demand * unit);
        number_field(s->steps, step->got * unit);
        number_field(s->steps, step->held * unit);
        spr_output_text(s->steps, "\n");
    }
    return s->report ? spr_report_step(s->report, step) : 0;
}

/* ---- what a person sees ---- */

static void figure(const char *format, double value, const char *absent) {
    if (isnan(value))
        printf(" %10s", absent);
    else
        printf(format, value);
}

static void print_table(const spr_verdict *v, const char *name) {
    struct spr_verdict_summary sum = {.size = sizeof sum};
    char sentence[400];
    spr_verdict_summary(v, &sum);
    spr_verdict_sentence(v, sentence, sizeof sentence);
    printf("%s\n\n%s, %.0f h scored; cost = priced host-hours of unserved demand and of held shards\n", sentence, name,
           sum.hours);
    printf("%-15s %10s %10s %10s %10s %10s %9s %9s\n", "policy", "cost", "unserved", "held", "saved", "regret",
           "episodes", "actions");
    for (int32_t k = 0; k < spr_verdict_count(v); k++) {
        struct spr_policy_score s = {.size = sizeof s};
        spr_verdict_score(v, k, &s);
        if (!s.asked)
            continue;
        printf("%-15s %10.1f %10.1f %10.1f", spr_policy_name(s.policy), s.cost, s.cost_unserved, s.cost_held);
        figure(" %10.3f", s.saved, "-");
        figure(" %10.3f", sum.has_room ? s.regret : NAN, "no room");
        printf(" %4lld/%-4lld %9lld\n", (long long)s.episodes_covered, (long long)s.episodes, (long long)s.actions);
    }
    printf("bound %.1f (no policy can cost less; %.1f of it no shard can remove); rival: %s", sum.bound,
           sum.unspillable_cost, spr_policy_name(sum.rival));
    if (isnan(sum.tuned_threshold))
        printf("; reactive-tuned: never acts\n");
    else
        printf("; reactive-tuned: threshold %g, hold %g s\n", sum.tuned_threshold, sum.tuned_hold_s);
}

static void print_interval(const spr_verdict *v) {
    struct spr_verdict_summary sum = {.size = sizeof sum};
    int32_t ours = -1, rival = -1;
    double low, high;
    spr_verdict_summary(v, &sum);
    for (int32_t k = 0; k < spr_verdict_count(v); k++) {
        struct spr_policy_score s = {.size = sizeof s};
        spr_verdict_score(v, k, &s);
        ours = s.policy == SPR_POLICY_PREDICTIVE ? k : ours;
        rival = s.policy == sum.rival ? k : rival;
    }
    if (ours >= 0 && rival >= 0 && spr_verdict_ratio(v, ours, rival, &low, &high) == SPR_OK)
        printf("predictive / %s: 90 %% interval %.3f to %.3f (bootstrap over days, hours on short traces)\n",
               spr_policy_name(sum.rival), low, high);
}

/* ---- arguments ---- */

static int policies(const char *text, uint32_t *mask) {
    *mask = 0;
    if (!text || !strcmp(text, "all"))
        return -1;
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, ",");
        int found = -1;
        for (int k = 0; k < SPR_POLICY_COUNT; k++)
            if (strlen(spr_policy_name(k)) == n && !strncmp(spr_policy_name(k), p, n))
                found = k;
        if (found < 0)
            return tool_usage(
                "replay", "--policy: '%.*s' is none of none, static-p95, reactive, reactive-tuned, predictive, oracle",
                (int)n, p);
        *mask |= 1u << found;
        p += n + (p[n] == ',');
    }
    return -1;
}

static int read_scenario(spr_context *ctx, const struct replay_args *a, spr_trace **trace, spr_scenario_file **out) {
    struct spr_scenario_opts so = {.size = sizeof so,
                                   .data_dir = getenv("SPR_DATA"),
                                   .maps_dir = getenv("SPR_MAPS"),
                                   .installed_dir = SHARDPREDICT_DATADIR,
                                   .seed = (uint64_t)a->seed,
                                   .hosts = a->hosts};
    if (a->scenario)
        return spr_scenario_read(ctx, a->scenario, &so, out);
    struct spr_trace_opts to = {
        .size = sizeof to, .files = a->traces, .file_count = tool_count(a->traces), .map = a->map, .where = a->where};
    int rc = spr_trace_read(ctx, &to, trace);
    return rc < 0 ? rc : spr_scenario_default(ctx, *trace, &so, out);
}

static void override(const struct replay_args *a, struct spr_scenario *s) {
    if (a->lead_s > 0) {
        double sub = s->substep_s > 0 ? s->substep_s : 10;
        s->allocate_s[0] = s->allocate_s[1] = floor(0.6 * a->lead_s / sub + 0.5) * sub;
        s->warm_s[0] = s->warm_s[1] = a->lead_s - s->allocate_s[0];
    }
    for (int r = 0; r < SPR_RESOURCES_MAX && a->price > 0; r++)
        s->price[r].unserved = a->price;
}

static spr_output *open_csv(spr_context *ctx, const char *path, const char *header, int *rc) {
    spr_output *o = NULL;
    if (*rc == SPR_OK && path && (*rc = spr_output_create(ctx, path, &o)) == SPR_OK)
        spr_output_text(o, header);
    return o;
}

static int commit(spr_output *o, int rc) {
    if (rc == SPR_OK && o)
        return spr_output_commit(o);
    spr_output_discard(o);
    return rc;
}

static int write_result(struct replay_sinks *s, const spr_verdict *v, const char *path) {
    struct spr_result_extra extra = {sizeof extra, tool_cpu_s(), tool_wall_s() - tool_started_s, tool_peak_rss()};
    spr_output *o = NULL;
    int rc = spr_output_create(s->ctx, path, &o);
    if (rc == SPR_OK)
        rc = spr_result_write(s->ctx, s->scenario, v, &extra, o);
    return commit(o, rc);
}

static int write_report(struct replay_sinks *s, const spr_verdict *v, const char *path) {
    spr_output *o = NULL;
    int rc = spr_output_create(s->ctx, path, &o);
    if (rc == SPR_OK)
        rc = spr_report_write(s->report, v, o);
    return commit(o, rc);
}

static int broken(const spr_verdict *v) {
    int64_t n = 0;
    for (int32_t k = 0; k < spr_verdict_count(v); k++) {
        struct spr_policy_score s = {.size = sizeof s};
        spr_verdict_score(v, k, &s);
        n += s.asked ? s.limits_broken : 0;
    }
    return n ? EXIT_LIMITS : EXIT_DONE;
}

/* ---- the forecaster of the predictive policy ---- */

struct foresight {
    spr_model *model;
    struct spr_mix_opts mix;
    const struct spr_forecaster_ops *ops;
};

/* Step since 1970 at which the warm-up ends: a model that saw more knows the answers. */
static int64_t warm_up_end(spr_scenario_file *file) {
    const spr_series *series = spr_scenario_file_series(file);
    return spr_series_origin_ns(series) / spr_series_step_ns(series) + spr_scenario_file_scenario(file)->train_until;
}

/* 0, or an exit code (said on stderr). */
static int open_foresight(spr_context *ctx, const struct replay_args *a, spr_scenario_file *file, struct foresight *f) {
    f->ops = spr_forecaster_by_name(a->forecaster ? a->forecaster : "mix");
    f->mix.size = sizeof f->mix;
    if (!a->model)
        return 0;
    struct spr_model_info info = {.size = sizeof info};
    double step_s = (double)spr_series_step_ns(spr_scenario_file_series(file)) * 1e-9;
    if (spr_model_load(ctx, a->model, &f->model) < 0 || spr_model_describe(f->model, &info) < 0)
        return tool_error(ctx, a->model);
    if (fabs((double)info.step_ns * 1e-9 - step_s) > 1e-9) {
        fprintf(stderr, "shardpredict: %s: the model was trained on steps of %g s, the scenario has steps of %g s\n",
                a->model, (double)info.step_ns * 1e-9, step_s);
        return EXIT_FAILED;
    }
    if (info.newest_step > warm_up_end(file)) {
        fprintf(stderr,
                "shardpredict: %s: the model learnt from %lld steps past the scenario's warm-up: it would know what it "
                "is asked\n",
                a->model, (long long)(info.newest_step - warm_up_end(file)));
        return EXIT_FAILED;
    }
    f->mix.model = f->model;
    return 0;
}

/* The replay itself, with everything that listens to it opened before and closed after. */
static int replay(const struct replay_args *a, uint32_t mask, const struct foresight *f, const spr_calendar *calendar,
                  struct replay_sinks *s, spr_verdict **verdict) {
    struct spr_scenario *sc = spr_scenario_file_scenario(s->scenario);
    int rc = SPR_OK;
    override(a, sc);
    s->fleet = sc->fleet;
    for (int r = 0; r < SPR_RESOURCES_MAX; r++)
        s->unit[r] = spr_scenario_file_unit(s->scenario, r, NULL);
    s->ledger = open_csv(s->ctx, a->ledger, "time,policy,shard,vm,host,state,cpu,mem,net,reason\n", &rc);
    s->steps = open_csv(s->ctx, a->steps, "time,policy,vm,resource,demand,got,held\n", &rc);
    if (rc == SPR_OK && a->report)
        rc = spr_report_create(s->ctx, s->scenario, &s->report);
    struct spr_replay_opts o = {.size = sizeof o,
                                .world = spr_sim_world(),
                                .source = spr_sim_source(),
                                .driver = spr_sim_driver(),
                                .router = spr_sim_router(),
                                .policies = mask,
                                .forecaster = f->ops,
                                .forecaster_config = a->model ? &f->mix : NULL,
                                .joint = a->forecaster ? SPR_NONE : 0,
                                .calendar = calendar,
                                .progress = tool_progress,
                                .user = s};
    o.event = a->ledger || a->report ? on_event : NULL;
    o.step = a->steps || a->report ? on_step : NULL;
    if (rc == SPR_OK)
        rc = spr_replay_run(s->ctx, spr_scenario_file_series(s->scenario), sc, &o, verdict);
    tool_progress_end();
    rc = commit(s->ledger, rc);
    return commit(s->steps, rc);
}

static int write_outcome(const struct replay_args *a, uint32_t mask, struct replay_sinks *s,
                         const spr_verdict *verdict) {
    int rc = a->report ? write_report(s, verdict, a->report) : SPR_OK;
    if (rc == SPR_OK && a->result)
        rc = write_result(s, verdict, a->result);
    if (rc == SPR_OK && a->json)
        rc = write_result(s, verdict, "-");
    if (rc < 0 || a->json)
        return rc;
    print_table(verdict, spr_scenario_file_scenario(s->scenario)->name);
    if (!mask || mask >> SPR_POLICY_PREDICTIVE & 1)
        print_interval(verdict);
    if (a->report)
        printf("report: %s\n", a->report);
    return SPR_OK;
}

static int run(spr_context *ctx, const struct replay_args *a, uint32_t mask) {
    struct replay_sinks s = {.ctx = ctx};
    struct foresight foresight = {0};
    spr_trace *trace = NULL;
    spr_verdict *verdict = NULL;
    spr_calendar *calendar = NULL;
    if (a->events && spr_calendar_read(ctx, a->events, &calendar) < 0)
        return tool_error(ctx, a->events);
    int rc = read_scenario(ctx, a, &trace, &s.scenario);
    int code = rc == SPR_OK ? open_foresight(ctx, a, s.scenario, &foresight) : 0;
    if (!code) {
        if (rc == SPR_OK)
            rc = replay(a, mask, &foresight, calendar, &s, &verdict);
        if (rc == SPR_OK)
            rc = write_outcome(a, mask, &s, verdict);
        const char *about = a->model ? a->model : a->scenario ? a->scenario : "replay";
        code = rc < 0 ? tool_error(ctx, about) : broken(verdict);
    }
    spr_model_unref(foresight.model);
    spr_calendar_unref(calendar);
    spr_verdict_unref(verdict);
    spr_report_destroy(s.report);
    spr_scenario_file_destroy(s.scenario);
    spr_trace_destroy(trace);
    return code;
}

int verb_replay(int argc, const char **argv) {
    struct replay_args a = {.policy = "all", .seed = 1};
    struct poptOption table[] = {
        {"scenario", 's', POPT_ARG_STRING, &a.scenario, 0, "everything a verdict depends on (doc/formats.md)", "FILE"},
        {"trace", 't', POPT_ARG_ARGV, &a.traces, 0, "trace to build the default scenario around; may be repeated",
         "FILE"},
        {"map", 'm', POPT_ARG_STRING, &a.map, 0, "how to read the traces (examples/maps); none: the tool's own form",
         "FILE"},
        {"where", 0, POPT_ARG_STRING, &a.where, 0, "only rows with this value in this column", "COLUMN=VALUE"},
        {"hosts", 'n', POPT_ARG_INT, &a.hosts, 0, "hosts of the default scenario (default: a tenth of the VMs)", "N"},
        {"policy", 'p', POPT_ARG_STRING, &a.policy, 0,
         "all, or some of none static-p95 reactive reactive-tuned predictive oracle", "NAME,..."},
        {"forecaster", 0, POPT_ARG_STRING, &a.forecaster, 0,
         "mix, holt-winters or seasonal-naive on the hosts' totals alone, instead of the mix with the joint sum of VMs",
         "NAME"},
        {"model", 0, POPT_ARG_STRING, &a.model, 0,
         "a model of train --scenario as one more expert of the mix, which has to earn its say", "FILE"},
        {"events", 0, POPT_ARG_STRING, &a.events, 0,
         "iCalendar file of what is known to come, for the predictive policy", "FILE"},
        {"lead", 0, POPT_ARG_DOUBLE, &a.lead_s, 0, "allocate + warm instead of the scenario's, s", "SECONDS"},
        {"price", 0, POPT_ARG_DOUBLE, &a.price, 0, "price of unserved demand instead of the scenario's (held: 1)", "X"},
        {"seed", 0, POPT_ARG_LONG, &a.seed, 0, "seed of everything random (default 1)", "N"},
        {"threads", 'T', POPT_ARG_INT, &a.threads, 0, "threads (default: one a core); the result does not depend on it",
         "N"},
        {"result", 0, POPT_ARG_STRING, &a.result, 0, "scores as JSON", "FILE"},
        {"ledger", 0, POPT_ARG_STRING, &a.ledger, 0, "every change of every shard, CSV", "FILE"},
        {"steps", 0, POPT_ARG_STRING, &a.steps, 0, "what was wanted, got and held, CSV: the costs add up from it",
         "FILE"},
        {"report", 'r', POPT_ARG_STRING, &a.report, 0, "one HTML page with the verdict and its pictures", "FILE"},
        {"json", 'j', POPT_ARG_NONE, &a.json, 0, "scores as JSON on standard output", NULL},
        POPT_TABLEEND,
    };
    uint32_t mask;
    int code = tool_options(
        "replay",
        "Replays a recorded trace against a simulated fleet: the real controller with each policy in turn, scored\n"
        "against perfect knowledge and against the strongest rule that looks at the present only.",
        "Example: shardpredict generate --out fleet.csv && shardpredict replay --trace fleet.csv --report report.html\n"
        "$SPR_DATA stands for the data folder in scenario files, $SPR_MAPS for a folder of maps.\n"
        "Exit codes: 0 done, 1 failed, 2 usage, 3 done but a limit of actions was broken.",
        table, argc, argv, NULL);
    if (code >= 0)
        return code;
    if (!a.scenario == !tool_count(a.traces))
        return tool_usage("replay", "needs either --scenario or --trace");
    if ((code = policies(a.policy, &mask)) >= 0)
        return code;
    if (a.forecaster && !spr_forecaster_by_name(a.forecaster))
        return tool_usage("replay", "--forecaster: there is no '%s'", a.forecaster);
    if (a.model && a.forecaster && strcmp(a.forecaster, "mix") != 0)
        return tool_usage("replay", "--model is an expert of the mix: it does not go with --forecaster %s",
                          a.forecaster);
    if (a.hosts < 0 || a.lead_s < 0 || a.price < 0)
        return tool_usage("replay", "--hosts, --lead and --price must be above zero");
    spr_context *ctx = tool_context((uint64_t)a.seed, a.threads);
    if (!ctx)
        return EXIT_FAILED;
    code = run(ctx, &a, mask);
    tool_context_free(ctx);
    return code;
}

/* The report is a replay that somebody looks at: same run, one page. */
int verb_report(int argc, const char **argv) {
    struct replay_args a = {.policy = "all", .seed = 1, .report = "report.html"};
    struct poptOption table[] = {
        {"scenario", 's', POPT_ARG_STRING, &a.scenario, 0, "everything a verdict depends on (doc/formats.md)", "FILE"},
        {"trace", 't', POPT_ARG_ARGV, &a.traces, 0, "trace to build the default scenario around; may be repeated",
         "FILE"},
        {"map", 'm', POPT_ARG_STRING, &a.map, 0, "how to read the traces; none: the tool's own form", "FILE"},
        {"where", 0, POPT_ARG_STRING, &a.where, 0, "only rows with this value in this column", "COLUMN=VALUE"},
        {"hosts", 'n', POPT_ARG_INT, &a.hosts, 0, "hosts of the default scenario (default: a tenth of the VMs)", "N"},
        {"seed", 0, POPT_ARG_LONG, &a.seed, 0, "seed of everything random (default 1)", "N"},
        {"threads", 'T', POPT_ARG_INT, &a.threads, 0, "threads (default: one a core)", "N"},
        {"out", 'o', POPT_ARG_STRING, &a.report, 0, "the page (default report.html)", "FILE"},
        {"json", 'j', POPT_ARG_NONE, &a.json, 0, "the scores as JSON on standard output as well", NULL},
        POPT_TABLEEND,
    };
    int code = tool_options(
        "report",
        "Replays a trace with all policies and writes one HTML page that opens without a network: the verdict, the\n"
        "policies compared, forecasts against capacity, shards over time, the hosts' load, and the settings.",
        "Example: shardpredict report --trace fleet.csv --out report.html", table, argc, argv, NULL);
    if (code >= 0)
        return code;
    if (!a.scenario == !tool_count(a.traces))
        return tool_usage("report", "needs either --scenario or --trace");
    spr_context *ctx = tool_context((uint64_t)a.seed, a.threads);
    if (!ctx)
        return EXIT_FAILED;
    code = run(ctx, &a, 0);
    tool_context_free(ctx);
    return code;
}
