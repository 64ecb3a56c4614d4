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
void answer_free(struct answer *one); /* what it holds */

/* Read a file of cases (case,series,metric,origin). 0, or the exit code after saying what is wrong on stderr. */
int cases_read(const char *path, const spr_series *series, int64_t end, struct answers *out);

/* ---- panels ---- */
double panel_value(const struct spr_panel *p, int64_t row, int64_t step);
bool panel_has_values(const struct spr_panel *p, int64_t row);
/* Steps [first, first + steps) of a row, NaN where there is nothing; a trace may hold maxima only: then they are the
 * series. False when there is no value among them. */
bool panel_copy(const struct spr_panel *mean, const struct spr_panel *most, int64_t row, int64_t first, int64_t steps,
                double *out);
/* Step 0 of the trace's grid, counted since 1970. */
int64_t series_first_step(const spr_series *series);
/* Wall time of the step that is counted as 0: 1970, and what the trace's grid is off. */
int64_t series_grid_ns(const spr_series *series);

/* ---- answers ---- */

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
    double above, probability;    /* --above in the trace's unit (NaN = not asked), and how sure */
    const spr_calendar *calendar; /* --events, or NULL */
    const char *model_path;       /* --model, or NULL */
    const spr_model *model;
    struct spr_model_info model_info;
};
/* Is it the name of a method? */
bool method_known(const char *name);
/* Is it one that asks the model? `auto` does when there is a model. */
bool method_asks_model(const struct forecast_job *job, const char *name);
/* Does the model fit step and horizon? 0, or the exit code after naming the file on stderr. */
int model_fits(const struct forecast_job *job);
int model_kind(const char *name); /* ::spr_model_kind, -1 = no such kind */
const char *model_kind_name(int kind);
/* Fill every answer. 0, or the exit code after saying what failed on stderr. */
int forecast_all(const struct forecast_job *job, struct answers *answers);
/* Forget what was answered, so that another method can be asked. */
void answers_blank(struct answers *answers);

/* ---- inside forecast_all: answers of one origin, side by side ---- */
struct chunk {
    const struct forecast_job *job;
    struct answer **answers;
    int64_t rows, steps;
    double *y; /* [rows][steps], NaN = missing */
};
struct spr_panel chunk_panel(const struct chunk *c, int64_t steps);
/* Methods of their own, `auto` without a model among them. */
int methods_answer(struct chunk *c);
/* A model that is asked again and again. */
struct model_asker;
struct model_asker *model_asker_open(const struct forecast_job *job);
void model_asker_close(struct model_asker *a);
/* Steps before an origin that the model is shown. */
int64_t model_steps(const struct forecast_job *job);
/* 0, SPR_E_HISTORY (it wants a value in every row), or an exit code after saying why. */
int model_answer(struct model_asker *a, struct chunk *c);
/* Quantiles of all values of the metric that are older than the origin, kept from case to case. */
struct pool {
    const char *metric;
    int32_t resource;
    int64_t until;
    double *quantiles, median;
};
int pool_answer(const struct forecast_job *job, struct pool *pool, struct answer *a);
void pool_free(struct pool *pool);

/* Ways to show them. */
int show_csv(const struct forecast_job *job, const struct answers *answers);
int show_json(const struct forecast_job *job, const struct answers *answers);
/* Keys of an answer that say when --above is passed. 0 or the library's code. */
int json_when(spr_output *o, const struct forecast_job *job, const struct answer *a);
int show_picture(const struct forecast_job *job, const struct answers *answers);
/* Fans of the first cases beside what came, as one SVG picture. */
enum { SVG_PANELS = 12 };
int show_svg(const struct forecast_job *job, const struct answers *answers, const char *path);

/* Answer the cases with the chosen method and with the simple ones, score them all, say which is better. */
int forecast_backtest(struct forecast_job *job, struct answers *cases, bool json);

#endif
