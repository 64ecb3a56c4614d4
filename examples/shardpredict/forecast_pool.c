/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Without any history the pooled values of the trace's other series answer. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "forecast.h"

/* Bring the value of this rank in [low, high) to its place, no larger one before it, no smaller one behind (Hoare
 * 1961). */
static double ranked(double *v, size_t low, size_t high, size_t rank) {
    while (high - low >
           2) { /* of three or more the pivot is never the only largest at the end: each turn shrinks them */
        double a = v[low], b = v[low + (high - low) / 2], c = v[high - 1];
        double pivot = a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
        size_t i = low, k = high - 1;
        for (;; i++, k--) {
            while (v[i] < pivot)
                i++;
            while (pivot < v[k])
                k--;
            if (i >= k)
                break;
            double swap = v[i];
            v[i] = v[k], v[k] = swap;
        }
        if (rank <= k)
            high = k + 1;
        else
            low = k + 1;
    }
    if (high - low == 2 && v[low] > v[low + 1]) {
        double swap = v[low];
        v[low] = v[low + 1], v[low + 1] = swap;
    }
    return v[rank];
}

static bool same_metric(const struct spr_series_info *x, const struct spr_series_info *y) {
    return x->resource == y->resource && !strcmp(x->metric ? x->metric : "", y->metric ? y->metric : "");
}

/* Values of the metric before `until`. The asked series has none there: nothing of it counts. */
static size_t gather(const struct forecast_job *job, const struct spr_series_info *like, int64_t row, int64_t until,
                     double *out) {
    size_t n = 0;
    for (int64_t r = 0; r < spr_series_count(job->series); r++) {
        struct spr_series_info info = {.size = sizeof info};
        if (r == row || spr_series_info(job->series, r, &info) < 0 || !same_metric(&info, like))
            continue;
        panel_copy(&job->mean, &job->most, r, 0, until, out + n);
        size_t kept = n;
        for (int64_t t = 0; t < until; t++)
            if (!isnan(out[n + (size_t)t]))
                out[kept++] = out[n + (size_t)t];
        n = kept;
    }
    return n;
}

/* Levels rise, so what lies behind one rank holds the next. */
static void summarise(const struct forecast_job *job, struct pool *p, double *values, size_t n) {
    size_t from = 0, middle = (n - 1) / 2;
    p->median = ranked(values, 0, n, middle);
    for (int32_t k = 0; k < job->level_count; k++) {
        size_t rank = (size_t)(job->levels[k] * (double)(n - 1));
        p->quantiles[k] = ranked(values, from, n, rank);
        from = rank;
    }
}

/* Many cases of one origin ask for the same pool. It is the same for all of them: none has a value before it. */
static int fill(const struct forecast_job *job, struct pool *p, const struct answer *a) {
    struct spr_series_info like = {.size = sizeof like};
    int64_t steps = spr_series_steps(job->series), until = a->origin < steps ? a->origin : steps;
    spr_series_info(job->series, a->row, &like);
    if (p->quantiles && p->resource == like.resource && p->until == until && !strcmp(p->metric, like.metric) &&
        !job->history)
        return 0;
    pool_free(p);
    double *values = malloc((size_t)(spr_series_count(job->series) * steps + 1) * sizeof *values);
    p->quantiles = malloc(((size_t)job->level_count + 1) * sizeof *p->quantiles);
    size_t n = values && p->quantiles ? gather(job, &like, a->row, until, values) : 0;
    bool nothing_older = values && p->quantiles && !n;
    if (nothing_older) /* the other series, whole; that pool is this case's alone */
        n = gather(job, &like, a->row, steps, values);
    if (!n) {
        free(values);
        fprintf(stderr, "shardpredict: %s: no history, and the trace has no other value of %s\n", a->series, a->metric);
        return EXIT_FAILED;
    }
    summarise(job, p, values, n);
    free(values);
    p->metric = like.metric, p->resource = like.resource, p->until = nothing_older ? -1 : until;
    return 0;
}

int pool_answer(const struct forecast_job *job, struct pool *pool, struct answer *a) {
    int rc = fill(job, pool, a);
    for (int32_t h = 0; !rc && h < job->horizon; h++) {
        for (int32_t k = 0; k < job->level_count; k++)
            a->quantiles[h * job->level_count + k] = pool->quantiles[k];
        a->points[h] = pool->median;
    }
    a->method = "pooled";
    return rc;
}

void pool_free(struct pool *pool) {
    free(pool->quantiles);
    memset(pool, 0, sizeof *pool);
}
