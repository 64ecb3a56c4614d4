/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the verbs of the tool share. One file a verb: verb_NAME.c with `int verb_NAME(int argc, const char **argv)`. */
#ifndef SHARDPREDICT_TOOL_H
#define SHARDPREDICT_TOOL_H

#include <popt.h>
#include <stdbool.h>
#include <stdio.h>

#include <shardpredict.h>
#include <shardpredict/io.h>

/* Exit codes, stable: doc/tool.md. */
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_LIMITS = 3, EXIT_NOTHING = 4, EXIT_CANNOT = 77 };

struct verb {
    const char *name, *summary;
    int (*run)(int argc, const char **argv);
};
extern const struct verb verbs[];

/* A context whose notes go to stderr and whose executor has `threads` threads (0 = one a core). NULL: said on stderr.
 */
spr_context *tool_context(uint64_t seed, int threads);
void tool_context_free(spr_context *ctx);
/* Say the context's error on stderr ("shardpredict: FILE:LINE:COLUMN: text") and give the exit code that fits. */
int tool_error(const spr_context *ctx, const char *what);
int tool_usage(const char *verb, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Options: `table` is a popt table of the verb (its POPT_ARG_... fields store where they say); values that may
 * be given several times are collected by tool_list. Prints help for --help (exit 0) with `about` above and
 * `epilogue` below the options. Returns -1 to go on, or an exit code. *rest: arguments that are no options (NULL
 * ended).
 */
int tool_options(const char *verb, const char *about, const char *epilogue, struct poptOption *table, int argc,
                 const char **argv, const char ***rest);
struct tool_list {
    const char **items;
    size_t count;
};
/* For a table row: {"trace", 't', POPT_ARG_ARGV, &argv_list, 0, ...} gives a NULL-ended list; this counts it. */
size_t tool_count(const char **list);

/* "0.1,0.5,0.9" -> numbers; returns how many, or -1 (said on stderr). At most `room`. */
int tool_numbers(const char *verb, const char *option, const char *text, double *out, int room);

/* "key": "text" on stdout; NULL is null. */
void tool_json_text(const char *key, const char *text);

/* Progress on a terminal: share 0..1 of what; nothing when stderr is no terminal. Call tool_progress_end once. */
void tool_progress(void *user, double share, const char *what);
void tool_progress_end(void);
bool tool_colour(FILE *to); /* terminal and no NO_COLOR */

/* Sparklines: `count` values in `columns` characters, the largest of each column; NaN is a blank. `room`: 4 * columns
 * + 1. */
bool tool_utf8(void); /* the terminal's character set, as the environment says it */
void tool_sparkline(const double *values, int64_t count, int columns, bool ascii, char *text, size_t room);

/*
 * A forecasting method by its name: of the core, or of a library that need not be there. Is it one of those? Where its
 * library is missing: 77 after naming the package on stderr, else 0.
 */
struct spr_forecaster_ops;
const struct spr_forecaster_ops *tool_forecaster(const char *name);
bool tool_method_optional(const char *name);
int tool_method_missing(const char *verb, const char *name);

/* Process figures. */
double tool_cpu_s(void), tool_wall_s(void);
int64_t tool_peak_rss(void);
extern double tool_started_s; /* wall clock when the context was made */

int verb_generate(int argc, const char **argv);
int verb_profile(int argc, const char **argv);
int verb_forecast(int argc, const char **argv);
int verb_train(int argc, const char **argv);
int verb_plan(int argc, const char **argv);
int verb_explain(int argc, const char **argv);
int verb_replay(int argc, const char **argv);
int verb_report(int argc, const char **argv);
int verb_router(int argc, const char **argv);
int verb_doctor(int argc, const char **argv);

/* The part of doctor about cards with virtual functions (doctor_sriov.c). */
void doctor_sriov(bool json);

#endif
