/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How cases are answered: those of one origin become panels, and whoever answers sees only what lies before it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "forecast.h"

/* Rows of a panel: enough to keep threads and vector units busy, few enough to stay in the cache. */
enum { METHOD_ROWS = 64, MODEL_ROWS = 256 };

struct spr_panel chunk_panel(const struct chunk *c, int64_t steps) {
    return (struct spr_panel){.size = sizeof(struct spr_panel),
                              .data = c->y,
                              .dtype = SPR_F64,
                              .series = c->rows,
                              .steps = steps,
                              .series_stride = c->steps * (int64_t)sizeof *c->y,
                              .step_stride = sizeof *c->y};
}

struct run {
    const struct forecast_job *job;
    struct model_asker *asker; /* NULL: a method of its own answers */
    struct pool pool;
    size_t pooled;
    int64_t *negative; /* [row] first step below zero, -1 = not looked for yet */
};

/* Does a usage that was never negative stay so? Looks at what the method saw. */
static bool never_negative(struct run *run, const struct answer *a) {
    const struct forecast_job *job = run->job;
    int64_t first = job->history && job->history < a->origin ? a->origin - job->history : 0,
            *at = &run->negative[a->row];
    int64_t end = job->mean.steps;
    if (*at < 0)
        for (*at = 0;
             *at < end && !(panel_value(&job->mean, a->row, *at) < 0 || panel_value(&job->most, a->row, *at) < 0);)
            ++*at;
    for (int64_t t = *at > first ? *at : first; t < a->origin && t < end; t++)
        if (panel_value(&job->mean, a->row, t) < 0 || panel_value(&job->most, a->row, t) < 0)
            return false;
    return true;
}

static void floor_at_zero(struct run *run, struct answer *a) {
    const struct forecast_job *job = run->job;
    if (!never_negative(run, a))
        return;
    for (int32_t i = 0; i < job->horizon; i++)
        a->points[i] = a->points[i] < 0 ? 0 : a->points[i];
    for (int32_t i = 0; i < job->horizon * job->level_count; i++)
        a->quantiles[i] = a->quantiles[i] < 0 ? 0 : a->quantiles[i];
}

static int refuse_or_pool(struct run *run, struct answer *a) {
    if (!run->job->strict) {
        run->pooled++;
        return pool_answer(run->job, &run->pool, a);
    }
    fprintf(stderr,
            "shardpredict: %s: no value before step %lld; without --strict the trace's pooled quantiles answer\n",
            a->series, (long long)a->origin);
    return EXIT_FAILED;
}

/* Load the rows of a group; `pool` says whether those without a value are answered by the pool at once. */
static int load(struct run *run, struct chunk *c, struct answer **group, size_t count, bool pool) {
    int rc = 0;
    c->rows = 0;
    for (size_t i = 0; !rc && i < count; i++) {
        struct answer *a = group[i];
        double *y = c->y + c->rows * c->steps;
        if (panel_copy(&run->job->mean, &run->job->most, a->row, a->origin - c->steps, c->steps, y) || !pool)
            c->answers[c->rows++] = a;
        else
            rc = refuse_or_pool(run, a);
    }
    return rc;
}

static int answer_rows(struct run *run, struct chunk *c, struct answer **group, size_t count) {
    bool model = run->asker && !run->job->strict; /* a model answers cold starts as well */
    int rc = load(run, c, group, count, !model);
    if (rc || !c->rows)
        return rc;
    if (!run->asker)
        return methods_answer(c);
    rc = model_answer(run->asker, c);
    if (rc == SPR_E_HISTORY && (rc = load(run, c, group, count, true)) == 0 && c->rows)
        rc = model_answer(run->asker, c);
    return rc == SPR_E_HISTORY ? tool_error(run->job->ctx, "forecast") : rc;
}

/* Answers of one origin. */
static int answer_group(struct run *run, struct answer **group, size_t count) {
    const struct forecast_job *job = run->job;
    int64_t origin = group[0]->origin, steps = job->history && job->history < origin ? job->history : origin;
    struct answer *answers[MODEL_ROWS];
    if (run->asker && steps > model_steps(job))
        steps = model_steps(job);
    struct chunk c = {.job = job, .answers = answers, .steps = steps > 0 ? steps : 1};
    c.y = malloc(count * (size_t)c.steps * sizeof *c.y);
    if (!c.y) {
        fprintf(stderr, "shardpredict: out of memory\n");
        return EXIT_FAILED;
    }
    int rc = answer_rows(run, &c, group, count);
    for (int64_t r = 0; !rc && r < c.rows; r++)
        floor_at_zero(run, c.answers[r]);
    free(c.y);
    return rc;
}

static int by_origin(const void *a, const void *b) {
    const struct answer *x = *(struct answer *const *)a, *y = *(struct answer *const *)b;
    if (x->origin != y->origin)
        return x->origin < y->origin ? -1 : 1;
    return x < y ? -1 : x > y; /* items of one array: keep their order */
}

void answers_blank(struct answers *all) {
    for (size_t i = 0; i < all->count; i++) {
        free(all->items[i].points), free(all->items[i].quantiles);
        all->items[i].points = all->items[i].quantiles = NULL;
    }
}

static bool make_room(const struct forecast_job *job, struct answers *all) {
    size_t horizon = (size_t)job->horizon, levels = (size_t)job->level_count;
    for (size_t i = 0; i < all->count; i++) {
        struct answer *a = &all->items[i];
        a->points = calloc(horizon, sizeof(double));
        a->quantiles = calloc(horizon * levels, sizeof(double));
        if (!a->points || !a->quantiles)
            return false;
    }
    return true;
}

static int answer_all(struct run *run, struct answers *all, struct answer **order) {
    size_t most = run->asker ? MODEL_ROWS : METHOD_ROWS;
    int rc = 0;
    for (size_t i = 0; i < all->count; i++)
        order[i] = &all->items[i];
    qsort(order, all->count, sizeof *order, by_origin);
    for (size_t i = 0, n; !rc && i < all->count; i += n) {
        for (n = 1; i + n < all->count && n < most && order[i + n]->origin == order[i]->origin; n++)
            ;
        tool_progress(NULL, (double)i / (double)all->count, order[i]->series);
        rc = answer_group(run, order + i, n);
    }
    tool_progress_end();
    return rc;
}

int forecast_all(const struct forecast_job *job, struct answers *all) {
    struct run run = {.job = job};
    struct answer **order = malloc((all->count + 1) * sizeof *order);
    int64_t rows = spr_series_count(job->series);
    int rc = 0;
    run.negative = malloc(((size_t)rows + 1) * sizeof *run.negative);
    if (!order || !run.negative || !make_room(job, all)) {
        fprintf(stderr, "shardpredict: out of memory\n");
        rc = EXIT_FAILED;
    }
    for (int64_t row = 0; !rc && row < rows; row++)
        run.negative[row] = -1;
    if (!rc && method_asks_model(job, job->method) && !(run.asker = model_asker_open(job)))
        rc = EXIT_FAILED;
    if (!rc)
        rc = answer_all(&run, all, order);
    if (!rc && run.pooled)
        fprintf(stderr,
                "shardpredict: note: %zu of %zu cases have no history: pooled quantiles of the trace answer them\n",
                run.pooled, all->count);
    model_asker_close(run.asker);
    pool_free(&run.pool);
    free(order), free(run.negative);
    return rc;
}
