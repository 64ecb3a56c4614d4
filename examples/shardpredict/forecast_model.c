/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Cases answered by a trained model: one forecaster, fitted anew on the window before each origin. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "forecast.h"

enum { ROWS_MOST = 256 };

bool method_asks_model(const struct forecast_job *job, const char *name) { return job->model && model_kind(name) >= 0; }

int model_fits(const struct forecast_job *job) {
    const struct spr_model_info *m = &job->model_info;
    double step = (double)spr_series_step_ns(job->series) * 1e-9;
    if (m->step_ns != spr_series_step_ns(job->series))
        fprintf(stderr, "shardpredict: %s: the model was trained on steps of %g s, the trace has steps of %g s\n",
                job->model_path, (double)m->step_ns * 1e-9, step);
    else if (m->horizon < job->horizon)
        fprintf(stderr, "shardpredict: %s: the model looks %d steps ahead, %d are asked for\n", job->model_path,
                (int)m->horizon, (int)job->horizon);
    else
        return 0;
    return EXIT_FAILED;
}

/* Events go around a model that does not look at them itself. */
static bool wraps(const struct forecast_job *job) {
    return job->calendar && job->model_info.events != SPR_EVENTS_INSIDE;
}

/* Gaps at the far end of the window are closed from what lies before it, so it is shown as much again; what events do
 * is learnt from all there is. */
int64_t model_steps(const struct forecast_job *job) { return wraps(job) ? INT64_MAX : 2 * job->model_info.context; }

struct model_asker {
    const struct forecast_job *job;
    spr_forecaster *forecaster;
    const char *name;
    int64_t first_step;          /* of the trace, since 1970 */
    int32_t resource[ROWS_MOST]; /* read by each fit */
};

struct model_asker *model_asker_open(const struct forecast_job *job) {
    struct model_asker *a = calloc(1, sizeof *a);
    if (!a) {
        fprintf(stderr, "shardpredict: out of memory\n");
        return NULL;
    }
    a->job = job;
    a->first_step = series_first_step(job->series);
    int kind = model_kind(job->method);
    a->name = model_kind_name(kind == SPR_MODEL_AUTO ? job->model_info.kind : kind);
    struct spr_model_opts config = {.size = sizeof config,
                                    .model = job->model,
                                    .resource = a->resource,
                                    .kind = kind,
                                    .calendar = job->calendar,
                                    .calendar_origin_ns = series_grid_ns(job->series)};
    struct spr_forecaster_opts opts = {.size = sizeof opts,
                                       .step_ns = spr_series_step_ns(job->series),
                                       .horizon = job->horizon,
                                       .level_count = job->level_count,
                                       .levels = job->levels,
                                       .config = &config};
    struct spr_events_opts events = {.size = sizeof events,
                                     .calendar = job->calendar,
                                     .inner = spr_forecaster_model(),
                                     .inner_config = &config,
                                     .origin_ns = series_grid_ns(job->series)};
    if (wraps(job))
        opts.config = &events;
    if (spr_forecaster_create(job->ctx, wraps(job) ? spr_forecaster_events() : spr_forecaster_model(), &opts,
                              &a->forecaster) < 0) {
        tool_error(job->ctx, job->model_path);
        free(a);
        return NULL;
    }
    return a;
}

void model_asker_close(struct model_asker *a) {
    if (a)
        spr_forecaster_destroy(a->forecaster);
    free(a);
}

static void take(const struct chunk *c, const spr_forecast *f, const char *name) {
    size_t horizon = (size_t)c->job->horizon, cells = horizon * (size_t)c->job->level_count;
    for (int64_t r = 0; r < c->rows; r++) {
        struct answer *a = c->answers[r];
        memcpy(a->points, spr_forecast_points(f) + (size_t)r * horizon, horizon * sizeof *a->points);
        memcpy(a->quantiles, spr_forecast_quantiles(f) + (size_t)r * cells, cells * sizeof *a->quantiles);
        a->method = name;
    }
}

int model_answer(struct model_asker *a, struct chunk *c) {
    struct spr_panel p = chunk_panel(c, c->steps);
    spr_forecast *f = NULL;
    for (int64_t r = 0; r < c->rows; r++) {
        struct spr_series_info info = {.size = sizeof info};
        a->resource[r] = spr_series_info(a->job->series, c->answers[r]->row, &info) < 0 ? -1 : info.resource;
    }
    int rc = spr_forecaster_fit(a->forecaster, &p, a->first_step + c->answers[0]->origin - c->steps, 0);
    if (rc >= 0)
        rc = spr_forecaster_predict(a->forecaster, NULL, &f);
    if (rc == SPR_E_HISTORY)
        return rc;
    if (rc < 0)
        return tool_error(a->job->ctx, a->job->model_path);
    take(c, f, a->name);
    spr_forecast_unref(f);
    return 0;
}
