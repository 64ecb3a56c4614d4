/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* forecast: quantiles of the steps after given origins, from what lies before them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "forecast.h"

enum { LEVELS_MAX = 99, ORIGINS_MAX = 4096, HORIZON_MAX = 100000 };

static struct {
    const char **traces;
    char *map, *where, *origins, *cases, *method, *quantiles;
    int horizon, threads, json, picture, strict;
    long history, seed;
    double period, above, probability;
} args;

static const char about[] =
    "Forecasts every series of a trace: for each step after an origin a point and quantiles, in the trace's own unit.\n"
    "A method sees only what lies before the origin. The method `auto` mixes the others, weighed for each series by "
    "what\n"
    "they lost (pinball loss) when they were asked about its own recent past. A case without any history is answered\n"
    "with the pooled quantiles of the trace, unless --strict refuses it. On a terminal pictures appear, else CSV:\n"
    "[case,]series,metric,origin,h,point,q0.1,... with h counting from 1.";
static const char epilogue[] =
    "Methods: auto, seasonal-naive (yesterday again), weekly-naive, last-value, holt-winters (daily season),\n"
    "exponential-smoothing (no season); any other forecaster of the library by its name; gsl-wavelet (scales by\n"
    "wavelets, an autoregressive model each) where the package libshardpredict-gsl0 is installed.\n"
    "Example: shardpredict forecast --trace fleet.csv --horizon 12 --quantiles 0.1,0.5,0.9,0.99 > forecast.csv";

static struct poptOption table[] = {
    {"trace", 't', POPT_ARG_ARGV, &args.traces, 0, "trace file, .csv or .csv.gz; may be given several times", "FILE"},
    {"map", 'm', POPT_ARG_STRING, &args.map, 0, "how to read it (YAML); without: the tool's own form", "FILE"},
    {"where", 0, POPT_ARG_STRING, &args.where, 0, "only rows of the trace with this value", "COLUMN=VALUE"},
    {"horizon", 'H', POPT_ARG_INT, &args.horizon, 0, "steps ahead (default 12)", "STEPS"},
    {"origins", 'o', POPT_ARG_STRING, &args.origins, 0,
     "indices of first forecast steps, or end = the step after the last row (default)", "O1,O2|end"},
    {"cases", 'c', POPT_ARG_STRING, &args.cases, 0, "answer exactly the rows of this CSV: case,series,metric,origin",
     "FILE"},
    {"history", 0, POPT_ARG_LONG, &args.history, 0, "see only so many steps before an origin (default all)", "STEPS"},
    {"method", 0, POPT_ARG_STRING, &args.method, 0, "how to forecast (default auto)", "NAME"},
    {"period", 0, POPT_ARG_DOUBLE, &args.period, 0, "season of the seasonal methods, may be fractional (default a day)",
     "STEPS"},
    {"quantiles", 'q', POPT_ARG_STRING, &args.quantiles, 0,
     "rising levels in (0, 1) (default .1,.25,.5,.75,.9,.95,.99)", "Q1,Q2"},
    {"threads", 'T', POPT_ARG_INT, &args.threads, 0, "threads (default one a core); results do not depend on it", "N"},
    {"seed", 0, POPT_ARG_LONG, &args.seed, 0, "seed of methods that use randomness (default 1)", "S"},
    {"above", 0, POPT_ARG_DOUBLE, &args.above, 0,
     "also say when this is passed, in the trace's unit (JSON and pictures)", "VALUE"},
    {"probability", 0, POPT_ARG_DOUBLE, &args.probability, 0, "least chance of a step of such a window (default 0.5)",
     "P"},
    {"strict", 0, POPT_ARG_NONE, &args.strict, 0, "refuse cases without history instead of answering them", NULL},
    {"json", 'j', POPT_ARG_NONE, &args.json, 0, "answer in JSON", NULL},
    {"picture", 'p', POPT_ARG_NONE, &args.picture, 0, "draw sparklines even when the output is no terminal", NULL},
    POPT_TABLEEND,
};

static int check_args(double *levels, int *level_count, double *origins, int *origin_count) {
    if (!tool_count(args.traces))
        return tool_usage("forecast", "--trace is required");
    if (args.cases && args.origins)
        return tool_usage("forecast", "--cases brings its own origins; leave --origins out");
    if (args.horizon < 1 || args.horizon > HORIZON_MAX)
        return tool_usage("forecast", "--horizon: 1 to %d steps", (int)HORIZON_MAX);
    if (args.history < 0 || args.threads < 0 || !(args.period >= 0))
        return tool_usage("forecast", "--history, --threads and --period cannot be negative");
    if (!(args.probability > 0 && args.probability <= 1))
        return tool_usage("forecast", "--probability: more than 0, at most 1");
    if (!method_known(args.method))
        return tool_usage("forecast", "--method: there is no '%s'", args.method);
    *level_count = tool_numbers("forecast", "--quantiles", args.quantiles, levels, LEVELS_MAX);
    if (*level_count < 0)
        return EXIT_USAGE;
    for (int i = 0; i < *level_count; i++)
        if (!(levels[i] > 0 && levels[i] < 1) || (i && !(levels[i] > levels[i - 1])))
            return tool_usage("forecast", "--quantiles: levels rise inside (0, 1)");
    if (!*level_count)
        return tool_usage("forecast", "--quantiles: at least one level");
    *origin_count = 0;
    if (!args.origins || !strcmp(args.origins, "end"))
        return 0;
    *origin_count = tool_numbers("forecast", "--origins", args.origins, origins, ORIGINS_MAX);
    for (int i = 0; i < *origin_count; i++)
        if (!(origins[i] >= 0 && origins[i] < 9e15) || origins[i] != floor(origins[i]))
            return tool_usage("forecast", "--origins: %g is no number of steps", origins[i]);
    return *origin_count < 0 ? EXIT_USAGE : 0;
}

/* A column may be empty in all rows: such a series is not there. */
static bool has_values(const struct spr_panel *view, int64_t row) {
    for (int64_t t = 0; t < view->steps; t++) {
        double v;
        memcpy(&v, (const char *)view->data + row * view->series_stride + t * view->step_stride, sizeof v);
        if (!isnan(v))
            return true;
    }
    return false;
}

/* Every series at every origin, in trace order. */
static int ask_all(const struct forecast_job *job, int64_t end, const double *origins, int origin_count,
                   struct answers *out) {
    for (int i = 0; i < origin_count; i++)
        if (origins[i] > (double)end) {
            fprintf(stderr, "shardpredict: %s: origin %.0f lies past step %lld, the one after the trace's last row\n",
                    args.traces[0], origins[i], (long long)end);
            return EXIT_FAILED;
        }
    for (int64_t row = 0; row < spr_series_count(job->series); row++) {
        struct spr_series_info info = {.size = sizeof info};
        struct spr_resource_info resource = {.size = sizeof resource};
        if (spr_series_info(job->series, row, &info) < 0 ||
            (!has_values(&job->mean, row) && !has_values(&job->most, row)))
            continue;
        const char *metric = spr_resource_describe(info.resource, &resource) < 0 ? info.metric : resource.name;
        for (int i = 0; i < (origin_count ? origin_count : 1); i++)
            if (!answers_add(out, NULL, info.id, metric ? metric : "", row, origin_count ? (int64_t)origins[i] : end)) {
                fprintf(stderr, "shardpredict: out of memory\n");
                return EXIT_FAILED;
            }
    }
    return 0;
}

static int run(spr_context *ctx, const spr_trace *trace, struct forecast_job *job, const double *origins,
               int origin_count) {
    struct answers answers = {0};
    int64_t end = spr_trace_end(trace);
    job->ctx = ctx;
    job->series = spr_trace_series(trace);
    job->mean.size = job->most.size = sizeof job->mean;
    if (spr_series_view(job->series, SPR_SERIES_MEAN, &job->mean) < 0 ||
        spr_series_view(job->series, SPR_SERIES_MAX, &job->most) < 0)
        return tool_error(ctx, args.traces[0]);
    int rc = args.cases ? cases_read(args.cases, job->series, end, &answers)
                        : ask_all(job, end, origins, origin_count, &answers);
    if (!rc && !answers.count) {
        fprintf(stderr, "shardpredict: %s: nothing is asked\n", args.cases ? args.cases : args.traces[0]);
        rc = EXIT_NOTHING;
    }
    if (!rc)
        rc = forecast_all(job, &answers);
    if (!rc)
        rc = args.json                        ? show_json(job, &answers)
             : args.picture || isatty(1) == 1 ? show_picture(job, &answers)
                                              : show_csv(job, &answers);
    answers_free(&answers);
    return rc;
}

int verb_forecast(int argc, const char **argv) {
    static double levels[LEVELS_MAX], origins[ORIGINS_MAX];
    int level_count = 0, origin_count = 0;
    args.horizon = 12, args.seed = 1, args.above = NAN, args.probability = 0.5;
    args.method = "auto", args.quantiles = "0.1,0.25,0.5,0.75,0.9,0.95,0.99";
    int rc = tool_options("forecast", about, epilogue, table, argc, argv, NULL);
    if (rc >= 0 || (rc = check_args(levels, &level_count, origins, &origin_count)) > 0)
        return rc;
    if ((rc = tool_method_missing("forecast", args.method)) > 0)
        return rc;
    spr_context *ctx = tool_context((uint64_t)args.seed, args.threads);
    if (!ctx)
        return EXIT_FAILED;
    struct spr_trace_opts opts = {.size = sizeof opts,
                                  .files = args.traces,
                                  .file_count = tool_count(args.traces),
                                  .map = args.map,
                                  .where = args.where};
    struct forecast_job job = {.horizon = args.horizon,
                               .level_count = level_count,
                               .levels = levels,
                               .history = args.history,
                               .period = args.period,
                               .method = args.method,
                               .strict = args.strict,
                               .above = args.above,
                               .probability = args.probability};
    spr_trace *trace = NULL;
    if (spr_trace_read(ctx, &opts, &trace) < 0)
        rc = tool_error(ctx, args.traces[0]);
    else
        rc = run(ctx, trace, &job, origins, origin_count);
    spr_trace_destroy(trace);
    tool_context_free(ctx);
    return rc;
}
