/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* train: one model for all series of a trace, from what lies before a cut. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "train_groups.h"

enum { HORIZON_MAX = 100000, SLICE = 25 /* minibatches between two looks at the clock */ };

static struct {
    const char **traces;
    char *map, *where, *cases, *out, *kind, *start, *scenario, *events, *place;
    int horizon, groups, threads, json, whole;
    long long until, context, seed;
    double effort;
} args;

static const char about[] =
    "Trains one model on all series of a trace together and writes it to a file for forecast --model. A tail of every\n"
    "series is held out from the first net: it says when more training does harm, whether an LSTM joins, and is what\n"
    "the verdict is about.\n"
    "Nothing at or after step --until is used. With --cases a series that is named there (all metrics of it) is used\n"
    "before its first origin only, the others whole, so that the model may be scored on these cases.\n"
    "With --scenario it learns totals of hosts for replay --model: sums of random groups of VMs as large as the hosts\n"
    "have them, and the hosts' own, over the warm-up; with --groups sums of random groups of a trace's series.";
static const char epilogue[] =
    "Kinds: net (a perceptron that gives all quantiles of all steps at once), lstm (a recurrent encoder before it),\n"
    "hybrid (Holt-Winters takes level and season out first), auto (what is best on the held-out tail).\n"
    "The same seed gives the same bytes, whatever --threads says.\n"
    "Example: shardpredict train --trace fleet.csv --until 3000 --horizon 12 --seed 1 --out fleet.model";

static struct poptOption table[] = {
    {"trace", 't', POPT_ARG_ARGV, &args.traces, 0, "trace file, .csv or .csv.gz; may be given several times", "FILE"},
    {"map", 'm', POPT_ARG_STRING, &args.map, 0, "how to read it (YAML); without: the tool's own form", "FILE"},
    {"where", 0, POPT_ARG_STRING, &args.where, 0, "only rows of the trace with this value", "COLUMN=VALUE"},
    {"scenario", 'S', POPT_ARG_STRING, &args.scenario, 0, "learn totals of hosts from a scenario's warm-up", "FILE"},
    {"groups", 'g', POPT_ARG_INT, &args.groups, 0,
     "sums of random groups of VMs to learn from (with --scenario: default 200, on short warm-ups 400)", "N"},
    {"until", 'u', POPT_ARG_LONGLONG, &args.until, 0, "first step that is not used (default: all are)", "STEP"},
    {"cases", 'c', POPT_ARG_STRING, &args.cases, 0,
     "use the series of this CSV (case,series,metric,origin) before their first origins only", "FILE"},
    {"events", 0, POPT_ARG_STRING, &args.events, 0,
     "iCalendar file: events that the series live through; forecast --events foresees them", "FILE"},
    {"events-as", 0, POPT_ARG_STRING, &args.place, 0,
     "inside (inputs of the nets), around (taken out first; forecast puts them back), auto (default)", "HOW"},
    {"horizon", 'H', POPT_ARG_INT, &args.horizon, 0, "most steps ahead it will be asked for (default 12)", "STEPS"},
    {"context", 0, POPT_ARG_LONGLONG, &args.context, 0,
     "steps before an origin that it looks at (default: what the data allow)", "STEPS"},
    {"kind", 'k', POPT_ARG_STRING, &args.kind, 0, "net, lstm, hybrid or auto (default auto)", "KIND"},
    {"start", 0, POPT_ARG_STRING, &args.start, 0,
     "go on from this model: its nets, levels and horizon, a quarter of the work", "FILE"},
    {"effort", 0, POPT_ARG_DOUBLE, &args.effort, 0, "times the usual number of training steps (default 1)", "X"},
    {"whole-schedule", 0, POPT_ARG_NONE, &args.whole, 0,
     "never stop early: every net trains to the end of its schedule, whatever the held-out tail says", NULL},
    {"seed", 's', POPT_ARG_LONGLONG, &args.seed, 0, "seed: same seed, same bytes (default 1)", "S"},
    {"out", 'o', POPT_ARG_STRING, &args.out, 0, "model file to write (required); - is standard output", "FILE"},
    {"threads", 'T', POPT_ARG_INT, &args.threads, 0, "threads (default one a core); the model does not depend on it",
     "N"},
    {"json", 'j', POPT_ARG_NONE, &args.json, 0, "say what was trained as JSON on standard output", NULL},
    POPT_TABLEEND,
};

static const char *const kinds[] = {"auto", "net", "lstm", "hybrid"};

int model_kind(const char *name) {
    for (int k = 0; k < (int)(sizeof kinds / sizeof kinds[0]); k++)
        if (!strcmp(kinds[k], name))
            return k;
    return -1;
}

const char *model_kind_name(int kind) {
    return kind >= 0 && kind < (int)(sizeof kinds / sizeof kinds[0]) ? kinds[kind] : "unknown";
}

static const char *const places[] = {"auto", "around", "inside"}; /* enum spr_model_events */

static int place(void) {
    for (int k = 0; args.place && k < (int)(sizeof places / sizeof places[0]); k++)
        if (!strcmp(places[k], args.place))
            return k;
    return args.place ? -1 : SPR_EVENTS_AUTO;
}

static int check_args(void) {
    if (!tool_count(args.traces) == !args.scenario)
        return tool_usage("train", "needs either --trace or --scenario");
    if (args.scenario && (args.map || args.where || args.cases || args.until != INT64_MAX))
        return tool_usage("train", "--scenario says which trace, map and steps: --map, --where, --cases and --until "
                                   "do not go with it");
    if (args.groups < 0 || args.groups > 100000)
        return tool_usage("train", "--groups: 1 to 100000");
    if (args.groups && args.cases)
        return tool_usage("train", "--groups adds series up, so --cases cannot hold some of them back");
    if (args.events && (args.scenario || args.groups))
        return tool_usage("train", "--events is about single series: --scenario and --groups do not go with it");
    if (place() < 0 || (args.place && !args.events))
        return tool_usage("train", "--events-as: auto, around or inside, and --events FILE with it");
    if (!args.out)
        return tool_usage("train", "--out FILE is required");
    if (args.horizon < (args.scenario ? 0 : 1) || args.horizon > HORIZON_MAX)
        return tool_usage("train", "--horizon: 1 to %d steps", (int)HORIZON_MAX);
    if (args.until < 0 || args.context < 0 || args.threads < 0)
        return tool_usage("train", "--until, --context and --threads cannot be negative");
    if (!(args.effort > 0 && args.effort <= 1000))
        return tool_usage("train", "--effort: more than 0, at most 1000");
    if (model_kind(args.kind) < 0)
        return tool_usage("train", "--kind: there is no '%s'", args.kind);
    if (args.json && !strcmp(args.out, "-"))
        return tool_usage("train", "--json: standard output is taken by the model");
    return 0;
}

/* ---- what the trainer gets ---- */

struct training {
    spr_context *ctx;
    const spr_series *series;
    struct spr_panel mean, most;
    int64_t rows, end;
    int64_t *until;       /* [row] */
    int32_t *resource;    /* [row] */
    double *copy;         /* of the panel, where maxima had to stand in for means */
    spr_model *start;     /* --start */
    spr_calendar *events; /* --events */
    int64_t values, used; /* numbers and series with any, before the cuts */
};

/* A case forbids its series, all metrics of it, from its origin on. */
static int cut_by_cases(struct training *t) {
    struct answers cases = {0};
    int rc = cases_read(args.cases, t->series, t->end, &cases);
    for (size_t i = 0; !rc && i < cases.count; i++)
        for (int64_t row = 0; row < t->rows; row++) {
            struct spr_series_info info = {.size = sizeof info};
            if (t->until[row] > cases.items[i].origin && spr_series_info(t->series, row, &info) >= 0 &&
                !strcmp(info.id, cases.items[i].series))
                t->until[row] = cases.items[i].origin;
        }
    answers_free(&cases);
    return rc;
}

static int cut(struct training *t) {
    int64_t until = args.until < t->end ? args.until : t->end;
    t->until = calloc((size_t)t->rows + 1, sizeof *t->until);
    t->resource = calloc((size_t)t->rows + 1, sizeof *t->resource);
    if (!t->until || !t->resource) {
        fprintf(stderr, "shardpredict: out of memory\n");
        return EXIT_FAILED;
    }
    for (int64_t row = 0; row < t->rows; row++) {
        struct spr_series_info info = {.size = sizeof info};
        t->resource[row] = spr_series_info(t->series, row, &info) < 0 ? -1 : info.resource;
        t->until[row] = until;
    }
    return args.cases ? cut_by_cases(t) : 0;
}

/* A trace may hold maxima only: then they are the series, and the panel must be put together. */
static int fill_in_maxima(struct training *t, struct spr_panel *panel) {
    bool wanted = false;
    *panel = t->mean;
    for (int64_t row = 0; row < t->rows && !wanted; row++)
        wanted = !panel_has_values(&t->mean, row) && panel_has_values(&t->most, row);
    if (!wanted)
        return 0;
    size_t steps = (size_t)t->mean.steps;
    t->copy = malloc((size_t)t->rows * steps * sizeof *t->copy);
    if (!t->copy) {
        fprintf(stderr, "shardpredict: out of memory\n");
        return EXIT_FAILED;
    }
    for (int64_t row = 0; row < t->rows; row++)
        panel_copy(&t->mean, &t->most, row, 0, (int64_t)steps, t->copy + (size_t)row * steps);
    panel->data = t->copy;
    panel->series_stride = (int64_t)(steps * sizeof *t->copy);
    panel->step_stride = sizeof *t->copy;
    return 0;
}

static int feed(struct training *t, spr_trainer *trainer) {
    struct spr_panel panel;
    struct spr_training_opts opts = {.size = sizeof opts,
                                     .first_step = series_first_step(t->series),
                                     .until = t->until,
                                     .resource = t->resource,
                                     .calendar = t->events,
                                     .calendar_origin_ns = series_grid_ns(t->series)};
    int rc = fill_in_maxima(t, &panel);
    if (!rc && spr_trainer_add(trainer, &panel, &opts) < 0)
        rc = tool_error(t->ctx, args.traces[0]);
    for (int64_t row = 0; !rc && row < t->rows; row++)
        for (int64_t step = 0, used = 0; step < t->until[row]; step++) {
            bool there = !isnan(panel_value(&panel, row, step));
            t->values += there;
            t->used += there && !used;
            used = used || there;
        }
    return rc;
}

static int prepare(struct training *t, const spr_trace *trace, spr_trainer **trainer) {
    struct spr_trainer_opts opts = {.size = sizeof opts,
                                    .horizon = args.horizon,
                                    .kind = model_kind(args.kind),
                                    .context = args.context,
                                    .effort = args.effort,
                                    .early_stop = args.whole ? SPR_NONE : 0,
                                    .start = t->start,
                                    .events = place()};
    t->series = spr_trace_series(trace);
    t->end = spr_trace_end(trace);
    t->rows = spr_series_count(t->series);
    t->mean.size = t->most.size = sizeof t->mean;
    opts.step_ns = spr_series_step_ns(t->series);
    if (spr_series_view(t->series, SPR_SERIES_MEAN, &t->mean) < 0 ||
        spr_series_view(t->series, SPR_SERIES_MAX, &t->most) < 0 || spr_trainer_create(t->ctx, &opts, trainer) < 0)
        return tool_error(t->ctx, args.traces[0]);
    int rc = cut(t);
    struct train_groups groups = {.groups = args.groups, .seed = (uint64_t)args.seed};
    if (!rc && args.groups)
        rc = train_groups_series(t->ctx, &groups, t->series, t->until[0], *trainer);
    else if (!rc)
        rc = feed(t, *trainer);
    free(t->until), free(t->resource), free(t->copy);
    return rc;
}

/* The trainer has its own copy of what it may use; the trace is gone before the long work begins. */
static int load_trace(struct training *t, spr_trainer **trainer) {
    struct train_groups groups = {
        .scenario = args.scenario, .groups = args.groups, .horizon = args.horizon, .seed = (uint64_t)args.seed};
    struct spr_trainer_opts trainer_opts = {.size = sizeof trainer_opts,
                                            .kind = model_kind(args.kind),
                                            .context = args.context,
                                            .effort = args.effort,
                                            .early_stop = args.whole ? SPR_NONE : 0};
    if (args.scenario)
        return train_groups_scenario(t->ctx, &groups, &trainer_opts, trainer);
    struct spr_trace_opts opts = {.size = sizeof opts,
                                  .files = args.traces,
                                  .file_count = tool_count(args.traces),
                                  .map = args.map,
                                  .where = args.where};
    spr_trace *trace = NULL;
    if (spr_trace_read(t->ctx, &opts, &trace) < 0)
        return tool_error(t->ctx, args.traces[0]);
    int rc = prepare(t, trace, trainer);
    spr_trace_destroy(trace);
    return rc;
}

/* ---- training ---- */

static int train(spr_context *ctx, spr_trainer *trainer, spr_model **out) {
    const char *text = NULL;
    int rc;
    while ((rc = spr_trainer_run(trainer, SLICE)) == SPR_AGAIN) {
        double share = spr_trainer_progress(trainer, &text);
        tool_progress(NULL, share, text);
    }
    tool_progress_end();
    return rc < 0 || spr_trainer_finish(trainer, out) < 0
               ? tool_error(ctx, args.scenario ? args.scenario : args.traces[0])
               : 0;
}

/* ---- what came of it ---- */

/* Losses as a curve from the first to the last; nothing where there are too few to see anything. */
static void show_curve(FILE *to, const spr_trainer *trainer) {
    const double *losses = NULL;
    char text[4 * 60 + 1];
    int32_t n = spr_trainer_losses(trainer, &losses);
    if (n < 4)
        return;
    int columns = n < 60 ? n : 60;
    tool_sparkline(losses, n, columns, !tool_utf8(), text, sizeof text);
    bool colour = tool_colour(to);
    fprintf(to, "loss while training  %s%s%s  %.4g to %.4g\n", colour ? "\033[36m" : "", text, colour ? "\033[0m" : "",
            losses[0], losses[n - 1]);
}

static void show_verdict(FILE *to, const struct training *t, const struct spr_model_info *m, size_t bytes) {
    if (args.scenario || args.groups)
        fprintf(to, "%s: sums of VMs; %s\n", args.out, m->text);
    else
        fprintf(to, "%s: %lld series, %lld values; %s\n", args.out, (long long)t->used, (long long)t->values, m->text);
    if (isfinite(m->loss) && m->naive_loss > 0) {
        double ratio = m->loss / m->naive_loss;
        fprintf(
            to,
            "On the held-out tail it loses %.4f a step (pinball, each series in its own scale), %.1f %% %s than the "
            "better of\nseasonal naive and last value (%.4f); %.1f %% of the tail lies below its 0.95 quantile.\n",
            m->loss, 100 * fabs(1 - ratio), ratio <= 1 ? "less" : "MORE", m->naive_loss, 100 * m->coverage95);
    } else {
        fprintf(to, "The series are too short to hold a tail out: how good it is was not measured.\n");
    }
    fprintf(to, "%lld weights, %.1f kB, horizon %d, looks back %lld steps; %.1f s CPU, %.1f s.\n",
            (long long)m->weights, (double)bytes / 1000, (int)m->horizon, (long long)m->context, tool_cpu_s(),
            tool_wall_s() - tool_started_s);
}

static void json_number(const char *key, double value) {
    isfinite(value) ? printf(",\n \"%s\": %.9g", key, value) : printf(",\n \"%s\": null", key);
}

static void tell_json(const spr_trainer *trainer, const struct training *t, const struct spr_model_info *m,
                      size_t bytes) {
    const double *losses = NULL;
    int32_t n = spr_trainer_losses(trainer, &losses);
    int64_t planned, stopped = spr_trainer_stopped(trainer, &planned);
    printf("{\n \"schema\": 1,\n ");
    tool_json_text("model", args.out);
    printf(",\n ");
    tool_json_text("kind", model_kind_name(m->kind));
    printf(",\n ");
    tool_json_text("text", m->text);
    printf(",\n \"step_s\": %.9g,\n \"horizon\": %d,\n \"context\": %lld,\n \"series\": %lld,\n \"values\": %lld,\n"
           " \"members\": %d,\n \"weights\": %lld,\n \"bytes\": %zu,\n \"seed\": %lld",
           (double)m->step_ns * 1e-9, (int)m->horizon, (long long)m->context, (long long)t->used, (long long)t->values,
           (int)m->members, (long long)m->weights, bytes, args.seed);
    printf(",\n \"minibatches\": %lld,\n \"stopped_after\": ", (long long)planned);
    stopped >= 0 ? printf("%lld", (long long)stopped) : printf("null");
    json_number("loss", m->loss);
    json_number("naive_loss", m->naive_loss);
    json_number("coverage95", m->coverage95);
    json_number("cpu_s", tool_cpu_s());
    json_number("wall_s", tool_wall_s() - tool_started_s);
    printf(",\n \"levels\": [");
    for (int32_t k = 0; k < m->level_count; k++)
        printf("%s%.9g", k ? ", " : "", m->levels[k]);
    printf("],\n \"losses\": [");
    for (int32_t k = 0; k < n; k++)
        isfinite(losses[k]) ? printf("%s%.6g", k ? ", " : "", losses[k]) : printf("%snull", k ? ", " : "");
    printf("]\n}\n");
}

static int finish(struct training *t, spr_trainer *trainer, const spr_model *model) {
    struct spr_model_info info = {.size = sizeof info};
    size_t bytes = 0;
    spr_model_bytes(model, &bytes);
    if (spr_model_describe(model, &info) < 0 || spr_model_save(t->ctx, model, args.out) < 0)
        return tool_error(t->ctx, args.out);
    if (args.json) {
        tell_json(trainer, t, &info, bytes);
        return fflush(stdout) ? EXIT_FAILED : EXIT_DONE;
    }
    FILE *to = strcmp(args.out, "-") ? stdout : stderr;
    show_curve(to, trainer);
    show_verdict(to, t, &info, bytes);
    return fflush(to) ? EXIT_FAILED : EXIT_DONE;
}

/* A model to go on from brings its horizon; what does not fit is told before the trace is read. */
static int load_start(struct training *t) {
    struct spr_model_info info = {.size = sizeof info};
    if (!args.start)
        return 0;
    if (spr_model_load(t->ctx, args.start, &t->start) < 0 || spr_model_describe(t->start, &info) < 0)
        return tool_error(t->ctx, args.start);
    if (info.horizon == args.horizon)
        return 0;
    fprintf(stderr, "shardpredict: %s: the model looks %d steps ahead, --horizon says %d\n", args.start,
            (int)info.horizon, args.horizon);
    return EXIT_FAILED;
}

/* A file that cannot be written is told before the work, not after it. */
static int try_output(spr_context *ctx) {
    spr_output *o = NULL;
    if (spr_output_create(ctx, args.out, &o) < 0)
        return tool_error(ctx, args.out);
    spr_output_discard(o);
    return 0;
}

int verb_train(int argc, const char **argv) {
    args.horizon = -1, args.seed = 1, args.kind = "auto", args.effort = 1, args.until = INT64_MAX;
    int rc = tool_options("train", about, epilogue, table, argc, argv, NULL);
    if (rc < 0 && args.horizon == -1) /* not said */
        args.horizon = args.scenario ? 0 : 12;
    else if (rc < 0 && args.horizon == 0)
        args.horizon = -1;
    if (rc >= 0 || (rc = check_args()) > 0)
        return rc;
    struct training t = {.ctx = tool_context((uint64_t)args.seed, args.threads)};
    spr_trainer *trainer = NULL;
    spr_model *model = NULL;
    if (!t.ctx)
        return EXIT_FAILED;
    rc = try_output(t.ctx);
    if (!rc)
        rc = load_start(&t);
    if (!rc && args.events && spr_calendar_read(t.ctx, args.events, &t.events) < 0)
        rc = tool_error(t.ctx, args.events);
    if (!rc)
        rc = load_trace(&t, &trainer);
    if (!rc)
        rc = train(t.ctx, trainer, &model);
    if (!rc)
        rc = finish(&t, trainer, model);
    spr_model_unref(model);
    spr_model_unref(t.start);
    spr_calendar_unref(t.events);
    spr_trainer_destroy(trainer);
    tool_context_free(t.ctx);
    return rc;
}
