/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Forecasters on one panel: fit, update and predict per series, and the Holt-Winters recursion per vector build. On a
 * shared machine only the ratios within one run mean something; every figure is the best of several rounds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "forecast/hw.h"

enum { SERIES = 64, STEPS = 2016, PERIOD = 288, HORIZON = 24, ROUNDS = 5 };

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double *make_panel(struct spr_panel *p) {
    double *y = malloc(sizeof *y * SERIES * STEPS);
    if (!y)
        exit(1);
    for (uint64_t s = 0; s < SERIES; s++)
        for (uint64_t t = 0; t < STEPS; t++)
            y[s * STEPS + t] =
                spr__rand(1, s, t) < 0.01
                    ? NAN
                    : 40 + 13 * sin(2 * 3.14159265358979 * (double)t / PERIOD + (double)s) + 5 * spr__rand(2, s, t);
    *p = (struct spr_panel){.size = sizeof *p,
                            .data = y,
                            .series = SERIES,
                            .steps = STEPS,
                            .series_stride = STEPS * (int64_t)sizeof *y,
                            .step_stride = sizeof *y};
    return y;
}

/* Seconds of one run of a kernel over one block. */
static double kernel_time(spr__hw_kernel *kernel, const double *y) {
    static double x[STEPS * HW_LANES], season[PERIOD * HW_LANES];
    static struct hw_tick ticks[STEPS];
    double level[HW_LANES] = {0}, trend[HW_LANES] = {0}, sse[HW_LANES], best = INFINITY;
    struct hw_cycle cycle = {PERIOD, PERIOD};
    struct hw_params params;
    for (int i = 0; i < HW_LANES; i++) {
        const double of[HW_DIMS] = {0.31, 0.02, 0.22, 0, 0.95};
        for (int d = 0; d < HW_DIMS; d++)
            params.of[d][i] = of[d];
        params.mult[i] = 0, params.bound[i] = INFINITY;
        for (int t = 0; t < STEPS; t++)
            x[t * HW_LANES + i] = y[i * STEPS + t];
    }
    for (int t = 0; t < STEPS; t++)
        ticks[t] = spr__hw_tick(&cycle, t);
    struct hw_pass pass = {.x = x,
                           .steps = STEPS,
                           .ticks = {ticks},
                           .params = &params,
                           .level = level,
                           .trend = trend,
                           .season = {season},
                           .season_stride = HW_LANES,
                           .sse = sse};
    for (int round = 0; round < ROUNDS * 8; round++) {
        double start = seconds();
        kernel(&pass);
        best = SPR_MIN(best, seconds() - start);
    }
    return best;
}

static void bench_kernels(const double *y) {
    static const struct {
        const char *name;
        int simd;
    } builds[] = {{"plain", SPR_SIMD_PLAIN}, {"avx2", SPR_SIMD_AVX2}, {"avx512", SPR_SIMD_AVX512}};
    double plain = 0;
    for (size_t i = 0; i < SPR_ARRAY_LEN(builds); i++) {
        struct spr_context_opts o = SPR_CONTEXT_OPTS_INIT;
        spr_context *ctx = NULL;
        o.simd = builds[i].simd;
        if (spr_context_create(&o, &ctx) < 0) {
            printf("recursion %-7s not on this processor\n", builds[i].name);
            continue;
        }
        double s = kernel_time(spr__hw_kernel_for(builds[i].simd), y);
        plain = plain > 0 ? plain : s;
        printf("recursion %-7s %6.2f ns a series and step, %.2f x plain\n", builds[i].name,
               1e9 * s / (STEPS * HW_LANES), plain / s);
        spr_context_unref(ctx);
    }
}

static void bench_method(const char *name, const struct spr_panel *p) {
    spr_context *ctx = NULL;
    spr_forecaster *f = NULL;
    struct spr_forecaster_opts o = SPR_FORECASTER_OPTS_INIT;
    double fit = INFINITY, update = INFINITY, predict = INFINITY;
    o.horizon = HORIZON;
    if (spr_context_create(NULL, &ctx) < 0 || spr_forecaster_create(ctx, spr_forecaster_by_name(name), &o, &f) < 0)
        exit(1);
    struct spr_panel next = *p;
    next.steps = 1;
    for (int round = 0; round < ROUNDS; round++) {
        spr_forecast *out = NULL;
        double start = seconds();
        if (spr_forecaster_fit(f, p, 0, 0) < 0)
            exit(1);
        fit = SPR_MIN(fit, seconds() - start);
        start = seconds();
        for (int i = 0; i < 20; i++)
            if (spr_forecaster_update(f, &next) < 0)
                exit(1);
        update = SPR_MIN(update, (seconds() - start) / 20);
        start = seconds();
        if (spr_forecaster_predict(f, NULL, &out) < 0)
            exit(1);
        predict = SPR_MIN(predict, seconds() - start);
        spr_forecast_unref(out);
    }
    printf("%-15s fit %8.1f us, update %6.2f us, predict %6.2f us a series (%d steps, horizon %d)\n", name,
           1e6 * fit / SERIES, 1e6 * update / SERIES, 1e6 * predict / SERIES, STEPS, HORIZON);
    spr_forecaster_destroy(f);
    spr_context_unref(ctx);
}

int main(void) {
    struct spr_panel p;
    double *y = make_panel(&p);
    bench_kernels(y);
    bench_method("seasonal-naive", &p);
    bench_method("holt-winters", &p);
    free(y);
    return 0;
}
