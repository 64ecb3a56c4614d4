/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Holt-Winters against its bars: fit and a forecast of 24 hours per series at the protocol's four sizes, beside what
 * other programs were measured to take there (R's HoltWinters, statsforecast's), and the online update of 100,000
 * series beside the memory's speed, which is measured in the same run.
 *
 *     bench_hw                 everything
 *     bench_hw FILE PERIOD     CSV without a header, a column a series: prints us and squared error of each
 *
 * One thread, CPU time, best of several rounds. On a shared machine only ratios within one run mean something.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "forecast/hw.h"

enum { SERIES = 64, ROUNDS = 5, MANY = 100000 };

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(int rc, const char *what) {
    if (rc >= 0)
        return;
    fprintf(stderr, "%s failed: %d\n", what, rc);
    exit(1);
}

static void *room(size_t bytes) {
    void *p = malloc(bytes);
    if (!p)
        exit(1);
    return p;
}

static struct spr_panel panel_of(double *y, int64_t series, int64_t steps) {
    return (struct spr_panel){.size = sizeof(struct spr_panel),
                              .data = y,
                              .series = series,
                              .steps = steps,
                              .series_stride = steps * (int64_t)sizeof *y,
                              .step_stride = sizeof *y};
}

static double *make_series(int64_t series, int64_t n, int m) {
    double *y = room((size_t)(series * n) * sizeof *y);
    for (int64_t s = 0; s < series; s++)
        for (int64_t t = 0; t < n; t++) {
            double u = spr__rand(4711, (uint64_t)s, (uint64_t)t) * 0.999998 + 1e-6;
            y[s * n + t] = 100 + 10 * sin(2 * 3.14159265358979 * (double)t / m + 0.1 * (double)s) + 0.005 * (double)t +
                           2 * spr__normal_quantile(u);
        }
    return y;
}

/* ---- fit and forecast ---- */

struct outcome {
    double time, sse; /* best seconds of all series; summed squared errors */
    int64_t runs;     /* over a block's history, at most */
    void *state;
};

/* Through the table, whose state tells squared errors and runs; `again` is what a refit of the same panel takes. */
static struct outcome fit_and_forecast(spr_context *ctx, const struct spr_panel *p, int m,
                                       const struct spr_holt_winters_opts *o) {
    static const double levels[] = {.1, .25, .5, .75, .9, .95, .99};
    const struct spr_forecaster_ops *ops = spr_forecaster_holt_winters();
    struct spr_env base = {sizeof base, ctx, NULL, 0};
    struct spr_forecaster_env env = {sizeof env, &base, SPR__DAY_NS / m, m, 7, levels, o};
    size_t cells = (size_t)p->series * (size_t)m;
    double *points = room(cells * sizeof *points), *quantiles = room(7 * cells * sizeof *quantiles);
    struct spr_forecaster_output out = {sizeof out, p->series, points, quantiles};
    struct outcome got = {.time = INFINITY};
    check(ops->open(&env, &got.state), "open");
    for (int round = 0; round < ROUNDS; round++) {
        double start = seconds();
        check(ops->fit(got.state, p, 0, 0), "fit");
        check(ops->predict(got.state, NULL, &out), "predict");
        got.time = SPR_MIN(got.time, seconds() - start);
    }
    const struct hw *hw = got.state;
    for (int64_t s = 0; s < p->series; s++)
        got.sse += hw->sse[s];
    for (int64_t b = 0; b < hw->block_count; b++)
        got.runs = SPR_MAX(got.runs, hw->runs_of[b]);
    free(points);
    free(quantiles);
    return got;
}

static void bench_fits(spr_context *ctx) {
    static const struct {
        int n, m;
        double r_ms, statsforecast_ms;
    } sizes[] = {{1008, 24, 68, 94}, {4032, 24, 86, 367}, {1152, 288, 1083, 534}, {4032, 288, 1134, 1612}};
    printf("fit and forecast of 24 h, %d series, us a series; R's HoltWinters and statsforecast as measured before\n",
           SERIES);
    for (size_t i = 0; i < SPR_ARRAY_LEN(sizes); i++) {
        int n = sizes[i].n, m = sizes[i].m;
        double *y = make_series(SERIES, n, m);
        struct spr_panel p = panel_of(y, SERIES, n);
        struct spr_holt_winters_opts three = {.size = sizeof three,
                                              .period = m,
                                              .trend = SPR_HW_TREND_ADDITIVE,
                                              .season = SPR_HW_SEASON_ADDITIVE},
                                     warm = three, all = {.size = sizeof all, .period = m};
        warm.refit = SPR_HW_REFIT_WARM;
        struct outcome a = fit_and_forecast(ctx, &p, m, &three), w = fit_and_forecast(ctx, &p, m, &warm),
                       d = fit_and_forecast(ctx, &p, m, &all);
        double us = 1e6 * a.time / SERIES;
        printf(
            "  n %4d m %3d: %6.0f (%3lld runs) = R / %.0f (bar 100), statsforecast / %.0f (bar 50); warm %5.0f (%2lld "
            "runs, errors x %.6f); kinds chosen %6.0f (%lld runs)\n",
            n, m, us, (long long)a.runs, 1e3 * sizes[i].r_ms / us, 1e3 * sizes[i].statsforecast_ms / us,
            1e6 * w.time / SERIES, (long long)w.runs, w.sse / a.sse, 1e6 * d.time / SERIES, (long long)d.runs);
        spr_forecaster_holt_winters()->close(a.state);
        spr_forecaster_holt_winters()->close(w.state);
        spr_forecaster_holt_winters()->close(d.state);
        free(y);
    }
}

/* ---- vector builds against the plain one ---- */

static void bench_builds(void) {
    static const char *const names[] = {"plain", "avx2", "avx512"};
    static const int simd[] = {SPR_SIMD_PLAIN, SPR_SIMD_AVX2, SPR_SIMD_AVX512};
    enum { N = 1152, M = 288 };
    double *y = make_series(SERIES, N, M), *first = NULL, plain = 0;
    struct spr_panel p = panel_of(y, SERIES, N);
    struct spr_forecaster_opts o = {.size = sizeof o, .step_ns = SPR__DAY_NS / M, .horizon = M};
    for (int i = 0; i < 3; i++) {
        struct spr_context_opts c = SPR_CONTEXT_OPTS_INIT;
        spr_context *ctx = NULL;
        spr_forecaster *f = NULL;
        spr_forecast *out = NULL;
        c.simd = simd[i];
        if (spr_context_create(&c, &ctx) < 0) {
            printf("build %-7s not on this processor\n", names[i]);
            continue;
        }
        check(spr_forecaster_create(ctx, spr_forecaster_holt_winters(), &o, &f), "create");
        double start = seconds();
        check(spr_forecaster_fit(f, &p, 0, 0), "fit");
        double took = seconds() - start;
        check(spr_forecaster_update(f, &p), "update");
        check(spr_forecaster_predict(f, NULL, &out), "predict");
        size_t bytes = (size_t)SERIES * M * 7 * sizeof(double);
        if (!first) {
            first = memcpy(room(bytes), spr_forecast_quantiles(out), bytes);
            plain = took;
        }
        printf("build %-7s fit with kinds chosen %6.0f us a series, %.1f x plain, quantiles after %d updates %s\n",
               names[i], 1e6 * took / SERIES, plain / took, N,
               memcmp(first, spr_forecast_quantiles(out), bytes) ? "DIFFER" : "the same bits (tolerance 0)");
        spr_forecast_unref(out);
        spr_forecaster_destroy(f);
        spr_context_unref(ctx);
    }
    free(first);
    free(y);
}

/* ---- update of many ---- */

/* Bytes a second of c = a + 3 b over arrays far larger than any cache: two read, one written, as STREAM counts. */
static double bandwidth(void) {
    size_t n = (size_t)1 << 24;
    double *a = room(n * sizeof *a), *b = room(n * sizeof *b), *c = room(n * sizeof *c), best = INFINITY;
    for (size_t i = 0; i < n; i++)
        a[i] = (double)i, b[i] = 1, c[i] = 0;
    for (int round = 0; round < ROUNDS; round++) {
        double start = seconds();
        for (size_t i = 0; i < n; i++)
            c[i] = a[i] + 3 * b[i];
        best = SPR_MIN(best, seconds() - start);
        a[round] = c[n / 2 + (size_t)round];
    }
    double sink = a[1];
    free(a), free(b), free(c);
    return sink > -1 ? (double)n * 3 * sizeof(double) / best : 0;
}

/* Bytes that the update of step t reads and writes for a series, each counted once a direction. */
static double bytes_of(const struct hw *hw, int64_t t) {
    double words = 1 + HW_ROW_RUNGS - 1 + 2 + 1 + 1; /* x; rows read; level and trend written; the season's slot */
    for (int32_t r = 0; r < hw->rung_count; r++) {
        int32_t h = hw->rungs[r];
        if (t % (h / spr__hw_waiting(h)) == 0) /* reach, season; scale, offsets and the waiting forecast both ways */
            words += 2 + 2 * (1 + hw->level_count + 1);
    }
    return words * sizeof(double);
}

static void bench_update(spr_context *ctx) {
    static const double levels[] = {.1, .25, .5, .75, .9, .95, .99};
    enum { M = 288, N = 2 * M + 8, H = 12, STEPS = 24 };
    const struct spr_forecaster_ops *ops = spr_forecaster_holt_winters();
    struct spr_holt_winters_opts o = {.size = sizeof o,
                                      .trend = SPR_HW_TREND_ADDITIVE,
                                      .season = SPR_HW_SEASON_ADDITIVE,
                                      .alpha = 0.3,
                                      .beta = 0.02,
                                      .gamma = 0.1};
    struct spr_env base = {sizeof base, ctx, NULL, 0};
    struct spr_forecaster_env env = {sizeof env, &base, SPR__DAY_NS / M, H, 7, levels, &o};
    double *y = make_series(1024, N, M), *next = room(MANY * sizeof *next), best = INFINITY, worst = 0, sum = 0;
    struct spr_panel p = panel_of(y, 1024, N), all = p, step = panel_of(next, MANY, 1);
    void *state = NULL;
    float *few = room((size_t)MANY * N * sizeof *few); /* 0.2 GB: a panel of all of them */
    for (int64_t s = 0; s < MANY; s++)
        for (int64_t t = 0; t < N; t++)
            few[s * N + t] = (float)y[s % 1024 * N + t];
    all.data = few, all.dtype = SPR_F32, all.series = MANY, all.series_stride = N * 4, all.step_stride = 4;
    check(ops->open(&env, &state), "open");
    check(ops->fit(state, &all, 0, 0), "fit");
    free(few);
    double share = 0, speed = bandwidth(), bytes = 0;
    for (int64_t t = 0; t < STEPS * 3; t++) {
        for (int64_t s = 0; s < MANY; s++)
            next[s] = y[s % 1024 * N + t % N];
        double moved = bytes_of(state, ((struct hw *)state)->steps) * MANY, start = seconds();
        check(ops->update(state, &step), "update");
        double took = seconds() - start;
        if (t < STEPS)
            continue;
        sum += took, bytes += moved, best = SPR_MIN(best, took), worst = SPR_MAX(worst, took);
        share = SPR_MAX(share, moved / took / speed);
    }
    printf(
        "update of %d series, season %d, horizon %d, 7 levels: %.1f ms a step on average, %.1f to %.1f (bar 50); "
        "%.0f bytes a series and step at %.1f GB/s = %.0f %% of the memory's %.1f GB/s (triad; bar 30), at best %.0f "
        "%%\n",
        MANY, M, H, 1e3 * sum / (2 * STEPS), 1e3 * best, 1e3 * worst, bytes / MANY / (2 * STEPS), bytes / sum * 1e-9,
        100 * bytes / sum / speed, speed * 1e-9, 100 * share);
    ops->close(state);
    free(next);
    free(y);
}

/* ---- a file ---- */

static double *read_columns(const char *path, int64_t *steps, int64_t *series) {
    FILE *f = fopen(path, "r");
    double *y = NULL, v;
    size_t have = 0, space = 0;
    *series = *steps = 0;
    for (int stop = ','; f && stop != EOF && fscanf(f, "%lf", &v) == 1;) {
        if (have == space && !(y = realloc(y, (space = space ? 2 * space : 4096) * sizeof *y)))
            exit(1);
        y[have++] = v;
        stop = fgetc(f);
        if (stop == '\n' && !(*steps)++)
            *series = (int64_t)have;
    }
    if (!f || !have || (int64_t)have != *steps * *series) {
        fprintf(stderr, "%s: no columns of numbers\n", path);
        exit(1);
    }
    fclose(f);
    return y;
}

static void bench_file(spr_context *ctx, const char *path, int m) {
    int64_t steps, series;
    double *y = read_columns(path, &steps, &series);
    struct spr_panel p = panel_of(y, series, steps);
    struct spr_holt_winters_opts o = {
        .size = sizeof o, .period = m, .trend = SPR_HW_TREND_ADDITIVE, .season = SPR_HW_SEASON_ADDITIVE};
    p.series_stride = sizeof *y, p.step_stride = series * (int64_t)sizeof *y;
    struct outcome got = fit_and_forecast(ctx, &p, m, &o);
    printf("n %lld m %d: %.4f ms a series\n", (long long)steps, m, 1e3 * got.time / (double)series);
    for (int64_t s = 0; s < series; s++)
        printf("%lld sse %.10g\n", (long long)s, ((const struct hw *)got.state)->sse[s]);
    spr_forecaster_holt_winters()->close(got.state);
    free(y);
}

int main(int argc, char **argv) {
    spr_context *ctx = NULL;
    check(spr_context_create(NULL, &ctx), "context");
    if (argc == 3 && atoi(argv[2]) > 1) {
        bench_file(ctx, argv[1], atoi(argv[2]));
    } else {
        bench_fits(ctx);
        bench_builds();
        bench_update(ctx);
    }
    spr_context_unref(ctx);
    return 0;
}
