/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* forecast: quantiles of the steps after given origins, from what lies before them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "forecast_score.h"

static char default_quantiles[] = "0.1,0.25,0.5,0.75,0.9,0.95,0.99";
enum { LEVELS_MAX = 99, ORIGINS_MAX = 4096, HORIZON_MAX = 100000 };

static struct {
    const char **traces;
    char *map, *where, *origins, *cases, *method, *quantiles, *model, *svg, *events;
    int horizon, threads, json, picture, strict, backtest, windows;
    long history, seed;
    double period, above, probability;
} args;

static const char about[] =
    "Forecasts every series of a trace: for each step after an origin a point and quantiles, in the trace's own unit.\n"
    "Nobody sees more than what lies before the origin. With --model the method `auto` asks the trained model. "
    "Without\n"
    "one it mixes the methods that learn from a series alone, weighed for each series by what they lost (pinball "
    "loss)\n"
    "when they were asked about its own recent past. A case without any history is answered by the model, else with\n"
    "the pooled quantiles of the trace, unless --strict refuses it. On a terminal pictures appear, else CSV:\n"
    "[case,]series,metric,origin,h,point,q0.1,... with h counting from 1. --backtest prints scores instead: the "
    "method\n"
    "beside seasonal naive and last value at origins in the past.";
static const char epilogue[] =
    "Methods: auto, seasonal-naive (yesterday again), weekly-naive, last-value, holt-winters (daily season),\n"
    "exponential-smoothing (no season); any other forecaster of the library by its name; gsl-wavelet (scales by\n"
    "wavelets, an autoregressive model each) where the package libshardpredict-gsl0 is installed; with --model: net,\n"
    "lstm, hybrid (its members of that kind).\n"
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
    {"model", 0, POPT_ARG_STRING, &args.model, 0, "ask this model, which train wrote", "FILE"},
    {"events", 0, POPT_ARG_STRING, &args.events, 0, "iCalendar file: learn what its events do, and foresee it", "FILE"},
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
    {"backtest", 'b', POPT_ARG_NONE, &args.backtest, 0, "score the method at origins in the past", NULL},
    {"windows", 0, POPT_ARG_INT, &args.windows, 0,
     "origins of a backtest, one horizon apart, the last one a horizon before the end (default 4)", "N"},
    {"svg", 0, POPT_ARG_STRING, &args.svg, 0,
     "also draw the first 12 cases, fans beside what came; - is standard output, alone", "FILE"},
    {"strict", 0, POPT_ARG_NONE, &args.strict, 0, "refuse cases without history instead of answering them", NULL},
    {"json", 'j', POPT_ARG_NONE, &args.json, 0, "answer in JSON", NULL},
    {"picture", 'p', POPT_ARG_NONE, &args.picture, 0, "draw sparklines even when the output is no terminal", NULL},
    POPT_TABLEEND,
};

static int check_origins(double *origins, int *origin_count) {
    *origin_count = 0;
    if (!args.origins || !strcmp(args.origins, "end"))
        return 0;
    *origin_count = tool_numbers("forecast", "--origins", args.origins, origins, ORIGINS_MAX);
    for (int i = 0; i < *origin_count; i++)
        if (!(origins[i] >= 0 && origins[i] < 9e15) || origins[i] != floor(origins[i]))
            return tool_usage("forecast", "--origins: %g is no number of steps", origins[i]);
    return *origin_count < 0 ? EXIT_USAGE : 0;
}

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
    if (!args.model && model_kind(args.method) > 0)
        return tool_usage("forecast", "--method: '%s' needs a --model", args.method);
    if (args.windows < 1 || args.windows > ORIGINS_MAX)
        return tool_usage("forecast", "--windows: 1 to %d", (int)ORIGINS_MAX);
    if (args.backtest && (args.quantiles || !isnan(args.above) || args.strict || args.picture))
        return tool_usage("forecast", "--backtest scores levels of its own; leave --quantiles, --above, --strict and "
                                      "--picture out");
    if (args.backtest && args.svg && !strcmp(args.svg, "-"))
        return tool_usage("forecast", "--svg: standard output is taken by --backtest");
    if (args.backtest) {
        memcpy(levels, score_levels, sizeof score_levels);
        *level_count = SCORE_LEVELS;
        return check_origins(origins, origin_count);
    }
    if (!args.quantiles)
        args.quantiles = default_quantiles;
    *level_count = tool_numbers("forecast", "--quantiles", args.quantiles, levels, LEVELS_MAX);
    if (*level_count < 0)
        return EXIT_USAGE;
    for (int i = 0; i < *level_count; i++)
        if (!(levels[i] > 0 && levels[i] < 1) || (i && !(levels[i] > levels[i - 1])))
            return tool_usage("forecast", "--quantiles: levels rise inside (0, 1)");
    if (!*level_count)
        return tool_usage("forecast", "--quantiles: at least one level");
    return check_origins(origins, origin_count);
}

/* Every series at every origin, in trace order. */
static int ask_all(const struct forecast_job *job, int64_t end, const double *origins, int origin_count,
                   struct answers *out) {
    /* A column may be empty in all rows: such a series is not there. */
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
            (!panel_has_values(&job->mean, row) && !panel_has_values(&job->most, row)))
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

/* Origins of a backtest that nobody named: the last ones that leave a whole horizon, not before the middle. */
static int roll(int64_t end, double *origins) {
    int count = 0;
    for (int i = args.windows; i > 0; i--) {
        int64_t origin = end - (int64_t)i * args.horizon;
        if (origin >= end / 2 && origin > 1)
            origins[count++] = (double)origin;
    }
    if (!count)
        fprintf(stderr, "shardpredict: %s: %lld steps are too few to look %d steps ahead in their later half\n",
                args.traces[0], (long long)end, args.horizon);
    return count;
}

static int show(struct forecast_job *job, struct answers *answers) {
    if (args.svg && !strcmp(args.svg, "-"))
        return show_svg(job, answers, args.svg);
    int rc = args.backtest                    ? 0
             : args.json                      ? show_json(job, answers)
             : args.picture || isatty(1) == 1 ? show_picture(job, answers)
                                              : show_csv(job, answers);
    return !rc && args.svg ? show_svg(job, answers, args.svg) : rc;
}

static int answer(struct forecast_job *job, int64_t end, double *origins, int origin_count) {
    struct answers answers = {0};
    int rc = 0;
    if (args.backtest && !args.cases && !origin_count && !(origin_count = roll(end, origins)))
        return EXIT_NOTHING;
    rc = args.cases ? cases_read(args.cases, job->series, end, &answers)
                    : ask_all(job, end, origins, origin_count, &answers);
    if (!rc && !answers.count) {
        fprintf(stderr, "shardpredict: %s: nothing is asked\n", args.cases ? args.cases : args.traces[0]);
        rc = EXIT_NOTHING;
    }
    if (!rc)
        rc = args.backtest ? forecast_backtest(job, &answers, args.json) : forecast_all(job, &answers);
    if (!rc)
        rc = show(job, &answers);
    answers_free(&answers);
    return rc;
}

static int run(const spr_trace *trace, struct forecast_job *job, double *origins, int origin_count) {
    job->series = spr_trace_series(trace);
    job->mean.size = job->most.size = sizeof job->mean;
    if (spr_series_view(job->series, SPR_SERIES_MEAN, &job->mean) < 0 ||
        spr_series_view(job->series, SPR_SERIES_MAX, &job->most) < 0)
        return tool_error(job->ctx, args.traces[0]);
    int rc = job->model && method_asks_model(job, job->method) ? model_fits(job) : 0;
    return rc ? rc : answer(job, spr_trace_end(trace), origins, origin_count);
}

static int load_model(struct forecast_job *job, spr_model **model) {
    if (!args.model)
        return 0;
    job->model_path = args.model;
    job->model_info.size = sizeof job->model_info;
    if (spr_model_load(job->ctx, args.model, model) < 0 || spr_model_describe(*model, &job->model_info) < 0)
        return tool_error(job->ctx, args.model);
    if (job->model_info.events == SPR_EVENTS_INSIDE && !args.events)
        fprintf(stderr, "shardpredict: %s: its nets look at events; without --events they see none\n", args.model);
    job->model = *model;
    return 0;
}

int verb_forecast(int argc, const char **argv) {
    static double levels[LEVELS_MAX], origins[ORIGINS_MAX];
    int level_count = 0, origin_count = 0;
    args.horizon = 12, args.seed = 1, args.above = NAN, args.probability = 0.5;
    args.method = "auto", args.windows = 4;
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
    struct forecast_job job = {.ctx = ctx,
                               .horizon = args.horizon,
                               .level_count = level_count,
                               .levels = levels,
                               .history = args.history,
                               .period = args.period,
                               .method = args.method,
                               .strict = args.strict,
                               .above = args.above,
                               .probability = args.probability};
    spr_trace *trace = NULL;
    spr_model *model = NULL;
    spr_calendar *calendar = NULL;
    rc = load_model(&job, &model); /* what can fail fast comes first */
    if (!rc && args.events && spr_calendar_read(ctx, args.events, &calendar) < 0)
        rc = tool_error(ctx, args.events);
    job.calendar = calendar;
    if (!rc && spr_trace_read(ctx, &opts, &trace) < 0)
        rc = tool_error(ctx, args.traces[0]);
    if (!rc)
        rc = run(trace, &job, origins, origin_count);
    spr_trace_destroy(trace);
    spr_model_unref(model);
    spr_calendar_unref(calendar);
    tool_context_free(ctx);
    return rc;
}
