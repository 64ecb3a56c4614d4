/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* shardpredict profile: how each VM of a trace, or of hosts that are watched live, behaves. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "live.h"

static const char about[] =
    "shardpredict profile reads a trace, or watches hosts, and says how each VM and resource behaves: its class\n"
    "(steady-state, diurnal-spike, event-driven-burst or chaotic) and how sure that is, its periods, its level, its\n"
    "bursts, how well it can be forecast, and the hours of the week in which its peaks gather.";
static const char epilogue[] =
    "Periods may be any length and need not be whole steps; each has passed a permutation test. Levels are medians.\n"
    "With --json the answer is one document (doc/schema/profile.json) on standard output.\n\n"
    "Live: --from libvirt:URI (any URI that virsh takes; a read-only connection is enough) watches for --for and then\n"
    "profiles what it saw; Ctrl-C ends it early. Some seconds show levels; they say little about classes and "
    "periods.\n\n"
    "Example: the CPU of 40 VMs from two files that a map explains\n"
    "  shardpredict profile --trace avg.csv.gz --trace max.csv.gz --map azure_v1_vms.yaml\n"
    "Example: the guests of this machine, now\n"
    "  shardpredict profile --from libvirt:qemu:///system --for 1m --every 5s";

enum { SPARK_COLUMNS = 32, NAME_WIDTH = 28, METRIC_WIDTH = 20 };

struct table {
    spr_output *out;
    bool ascii, colour;
    int name_width, metric_width;
    struct spr_panel view;
    int64_t shown_steps; /* of the sparkline */
};

/* ---- figures ---- */

/* "1.24 cores", "3.1 GiB", "12.4 Mbit/s" */
static void amount(char *text, size_t room, double v, int resource) {
    static const char *const thousand[] = {"", "k", "M", "G", "T"}, *const binary[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double base = resource == SPR_MEMORY ? 1024 : 1000;
    int power = 0;
    if (!isfinite(v)) {
        snprintf(text, room, "-");
        return;
    }
    while (resource != SPR_CPU && fabs(v) >= base && power < 4)
        v /= base, power++;
    if (resource == SPR_CPU)
        snprintf(text, room, fabs(v) >= 1000 ? "%.0f cores" : "%.3g cores", v);
    else if (resource == SPR_MEMORY)
        snprintf(text, room, fabs(v) >= 100 ? "%.0f %s" : "%.3g %s", v, binary[power]);
    else if (resource >= SPR_RESOURCE_COUNTABLE)
        snprintf(text, room, "%.3g%s", v, thousand[power]);
    else
        snprintf(text, room, fabs(v) >= 100 ? "%.0f %s%s" : "%.3g %s%s", v, thousand[power],
                 resource == SPR_NET_RX || resource == SPR_NET_TX ? "bit/s" : "B/s");
}

static void duration(char *text, size_t room, double s) {
    if (s < 120)
        snprintf(text, room, "%.3g s", s);
    else if (s < 5400)
        snprintf(text, room, "%.3g min", s / 60);
    else if (s < 4 * 86400)
        snprintf(text, room, "%.3g h", s / 3600);
    else
        snprintf(text, room, "%.3g d", s / 86400);
}

static void periods(char *text, size_t room, const struct spr_profile_row *r) {
    size_t used = 0;
    snprintf(text, room, "-");
    for (int i = 0; i < r->period_count && used < room; i++) {
        char one[24];
        duration(one, sizeof one, r->periods_s[i]);
        used += (size_t)snprintf(text + used, room - used, "%s%s", i ? ", " : "", one);
    }
}

/* Names come from a file: nothing in them may move the cursor. Cut to `width` bytes, never inside a character. */
static void plain_name(char *text, int width, const char *name) {
    int i = 0;
    for (; name[i] && i < width; i++)
        text[i] = (unsigned char)name[i] < 0x20 || name[i] == 0x7f ? '?' : name[i];
    while (name[i] && i > 0 && ((unsigned char)name[i] & 0xc0) == 0x80)
        i--;
    text[i] = 0;
}

static int widest(int so_far, const char *name, int most) {
    int width = (int)strlen(name);
    return width > most ? most : width > so_far ? width : so_far;
}

/* ---- the table ---- */

static void verdict(struct table *t, const spr_profile *profile) {
    int64_t n = spr_profile_count(profile), count[4] = {0}, periodic = 0, daily = 0;
    char line[400];
    for (int64_t i = 0; i < n; i++) {
        struct spr_profile_row r = {.size = sizeof r};
        spr_profile_get(profile, i, &r);
        if (r.klass >= 0 && r.klass < 4)
            count[r.klass]++;
        periodic += r.period_count > 0;
        daily += r.period_count > 0 && fabs(r.periods_s[0] / 86400 - 1) < 0.05;
    }
    snprintf(line, sizeof line,
             "%lld series: %lld steady-state, %lld diurnal-spike, %lld event-driven-burst, %lld chaotic; "
             "%lld repeat themselves, %lld of them every 24 hours.\n\n",
             (long long)n, (long long)count[0], (long long)count[1], (long long)count[2], (long long)count[3],
             (long long)periodic, (long long)daily);
    spr_output_text(t->out, line);
}

static void row(struct table *t, int64_t i, const struct spr_profile_row *r) {
    static const char *const paint[] = {"\x1b[32m", "\x1b[36m", "\x1b[33m", "\x1b[31m"};
    char name[NAME_WIDTH + 1], metric[METRIC_WIDTH + 1], level[32], when[80], spark[4 * SPARK_COLUMNS + 1], line[700];
    const double *x = (const double *)(const void *)((const char *)t->view.data + i * t->view.series_stride);
    plain_name(name, NAME_WIDTH, r->id);
    plain_name(metric, METRIC_WIDTH, r->metric);
    amount(level, sizeof level, r->level, r->resource);
    periods(when, sizeof when, r);
    tool_sparkline(x + t->view.steps - t->shown_steps, t->shown_steps, SPARK_COLUMNS, t->ascii, spark, sizeof spark);
    snprintf(line, sizeof line, "%-*s  %-*s  %s%-18s%s %3.0f %%  %-22s %11s  %3.0f %%  %s\n", t->name_width, name,
             t->metric_width, metric, t->colour ? paint[r->klass & 3] : "", spr_class_name(r->klass),
             t->colour ? "\x1b[0m" : "", r->confidence * 100, when, level, r->forecastability * 100, spark);
    spr_output_text(t->out, line);
}

static void print_table(struct table *t, const spr_profile *profile, const spr_series *series) {
    int64_t n = spr_profile_count(profile), step_ns = spr_series_step_ns(series);
    char line[400], span[24];
    t->view.size = sizeof t->view;
    spr_series_view(series, SPR_SERIES_MEAN, &t->view); /* dense rows of doubles */
    t->shown_steps = INT64_C(2) * 86400 * 1000000000 / step_ns;
    if (t->shown_steps < SPARK_COLUMNS)
        t->shown_steps = SPARK_COLUMNS;
    if (t->shown_steps > t->view.steps)
        t->shown_steps = t->view.steps;
    t->name_width = t->metric_width = 6; /* the words above them */
    for (int64_t i = 0; i < n; i++) {
        struct spr_profile_row r = {.size = sizeof r};
        spr_profile_get(profile, i, &r);
        t->name_width = widest(t->name_width, r.id, NAME_WIDTH);
        t->metric_width = widest(t->metric_width, r.metric, METRIC_WIDTH);
    }
    verdict(t, profile);
    duration(span, sizeof span, (double)t->shown_steps * (double)step_ns * 1e-9);
    snprintf(line, sizeof line, "%-*s  %-*s  %-18s %5s  %-22s %11s  %5s  the last %s\n", t->name_width, "series",
             t->metric_width, "metric", "class", "sure", "periods", "level", "skill", span);
    spr_output_text(t->out, line);
    for (int64_t i = 0; i < n; i++) {
        struct spr_profile_row r = {.size = sizeof r};
        spr_profile_get(profile, i, &r);
        row(t, i, &r);
    }
    spr_output_text(t->out,
                    "\nsure: confidence in the class; skill: how much nearer to the truth than the mean a naive "
                    "forecast is, an hour ahead.\n");
}

/* ---- the verb ---- */

struct request {
    const char **traces;
    struct live_request live;
    char *map, *where;
    int json, ascii;
    double utc_offset_h;
};

static int answer(spr_context *ctx, const struct request *q, const spr_profile *profile, const spr_series *series) {
    spr_output *out = NULL;
    int rc = spr_output_create(ctx, "-", &out);
    if (rc < 0)
        return tool_error(ctx, "profile");
    if (q->json) {
        if ((rc = spr_profile_write(ctx, profile, out)) < 0) {
            spr_output_discard(out);
            return tool_error(ctx, "profile");
        }
    } else {
        struct table t = {.out = out, .ascii = q->ascii || !tool_utf8(), .colour = tool_colour(stdout)};
        print_table(&t, profile, series);
    }
    return spr_output_commit(out) < 0 ? tool_error(ctx, "standard output") : EXIT_DONE;
}

/* The series of a trace, or of what was watched; EXIT_DONE or an exit code. */
static int get_series(spr_context *ctx, const struct request *q, spr_series **out) {
    spr_trace *trace = NULL;
    if (tool_count(q->live.from))
        return live_watch(ctx, &q->live, out);
    struct spr_trace_opts in = {
        .size = sizeof in, .files = q->traces, .file_count = tool_count(q->traces), .map = q->map, .where = q->where};
    if (spr_trace_read(ctx, &in, &trace) < 0)
        return tool_error(ctx, q->traces[0]);
    *out = spr_series_ref(spr_trace_series(trace));
    spr_trace_destroy(trace);
    return EXIT_DONE;
}

static int run(spr_context *ctx, const struct request *q) {
    struct spr_profile_opts how = SPR_PROFILE_OPTS_INIT;
    spr_profiler *profiler = NULL;
    spr_profile *profile = NULL;
    spr_series *series = NULL;
    how.utc_offset_s = (int32_t)lround(q->utc_offset_h * 3600);
    if (tool_count(q->live.from)) /* of a few values many things look periodic */
        how.significance = 0.001, how.permutations = 999;
    int code = get_series(ctx, q, &series);
    if (code)
        return code;
    int rc = spr_profiler_create(ctx, &how, &profiler);
    if (rc >= 0)
        rc = spr_profiler_run(profiler, series, 0, 0, &profile);
    code = rc < 0 ? tool_error(ctx, "profile") : answer(ctx, q, profile, series);
    spr_profile_unref(profile);
    spr_profiler_destroy(profiler);
    spr_series_unref(series);
    return code;
}

int verb_profile(int argc, const char **argv) {
    struct request q = {.live = {.verb = "profile"}};
    char *watch_for = NULL, *every = NULL;
    int threads = 0;
    long long seed = 0;
    struct poptOption table[] = {
        {"trace", 't', POPT_ARG_ARGV, &q.traces, 0, "trace to read, .csv or .csv.gz (may be repeated)", "FILE"},
        {"from", 'f', POPT_ARG_ARGV, &q.live.from, 0, "host to watch instead (may be repeated)", "libvirt:URI"},
        {"for", '\0', POPT_ARG_STRING, &watch_for, 0, "how long to watch: 30s, 5m, 1h; 1m", "TIME"},
        {"every", '\0', POPT_ARG_STRING, &every, 0, "how often to look; 2s", "TIME"},
        {"map", 'm', POPT_ARG_STRING, &q.map, 0, "what the columns mean; without it the tool's own form", "FILE"},
        {"where", 'w', POPT_ARG_STRING, &q.where, 0, "only rows of the trace with this value", "COLUMN=VALUE"},
        {"utc-offset", '\0', POPT_ARG_DOUBLE, &q.utc_offset_h, 0, "local time minus UTC for the peak windows", "HOURS"},
        {"json", 'j', POPT_ARG_NONE, &q.json, 0, "print JSON instead of a table", NULL},
        {"ascii", '\0', POPT_ARG_NONE, &q.ascii, 0, "draw with plain characters", NULL},
        {"threads", 'T', POPT_ARG_INT, &threads, 0, "threads to use; 0 is one per core", "N"},
        {"seed", 's', POPT_ARG_LONGLONG, &seed, 0, "seed of the permutation tests", "S"},
        POPT_TABLEEND,
    };
    int rc = tool_options("profile", about, epilogue, table, argc, argv, NULL);
    if (rc >= 0)
        return rc;
    if (!tool_count(q.traces) == !tool_count(q.live.from))
        return tool_usage("profile", "either --trace FILE or --from libvirt:URI is required");
    for (size_t i = 0; i < tool_count(q.live.from); i++)
        if (!live_source_known("profile", q.live.from[i]))
            return EXIT_USAGE;
    q.live.for_s = live_seconds(watch_for ? watch_for : "1m");
    q.live.every_s = live_seconds(every ? every : "2s");
    if (!(q.live.for_s > 0) || !(q.live.every_s >= 0.1) || q.live.for_s < q.live.every_s || q.live.for_s > 1e7)
        return tool_usage("profile", "--for %s --every %s: times such as 30s, 5m, 1h; at least one --every of 0.1 s",
                          watch_for ? watch_for : "1m", every ? every : "2s");
    if (threads < 0)
        return tool_usage("profile", "--threads: %d is below 0", threads);
    if (!(fabs(q.utc_offset_h) <= 24))
        return tool_usage("profile", "--utc-offset: %g is not between -24 and 24", q.utc_offset_h);
    spr_context *ctx = tool_context((uint64_t)seed, threads);
    if (!ctx)
        return EXIT_FAILED;
    int code = run(ctx, &q);
    tool_context_free(ctx);
    const char **lists[] = {q.traces, q.live.from};
    for (size_t k = 0; k < 2; k++) {
        for (size_t i = 0; i < tool_count(lists[k]); i++)
            free((char *)(uintptr_t)lists[k][i]);
        free((void *)(uintptr_t)lists[k]);
    }
    free(q.map), free(q.where), free(watch_for), free(every);
    return code;
}
