/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The parts of the forecast verb: which cases, how they are answered, how they are shown. */
#ifndef SHARDPREDICT_TOOL_FORECAST_H
#define SHARDPREDICT_TOOL_FORECAST_H

#include "tool.h"

/* One question and its answer. */
struct answer {
    char *name, *series, *metric; /* case and texts as they are printed; name is NULL without --cases */
    int64_t row, origin;
    double *points, *quantiles; /* [horizon], [horizon][level] */
    const char *method;         /* that answered */
};
struct answers {
    struct answer *items;
    size_t count, room;
};
bool answers_add(struct answers *a, const char *name, const char *series, const char *metric, int64_t row,
                 int64_t origin);
void answers_free(struct answers *a);

/* Read a file of cases (case,series,metric,origin). 0, or the exit code after saying what is wrong on stderr. */
int cases_read(const char *path, const spr_series *series, int64_t end, struct answers *out);

/* How the cases are answered. */
struct forecast_job {
    spr_context *ctx;
    const spr_series *series;
    struct spr_panel mean, most; /* its fields */
    int32_t horizon, level_count;
    const double *levels;
    int64_t history; /* steps before the origin that are seen; 0 = all */
    double period;   /* --period in steps; 0 = the method's own */
    const char *method;
    bool strict;
    double above, probability; /* --above in the trace's unit (NaN = not asked), and how sure */
};
/* Is it the name of a method? */
bool method_known(const char *name);
/* Fill every answer. 0, or the exit code after saying what failed on stderr. */
int forecast_all(const struct forecast_job *job, struct answers *answers);

/* Ways to show them. */
int show_csv(const struct forecast_job *job, const struct answers *answers);
int show_json(const struct forecast_job *job, const struct answers *answers);
int show_picture(const struct forecast_job *job, const struct answers *answers);

#endif
