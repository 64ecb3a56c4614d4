/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Our side of the comparison of Holt-Winters with other programs, and the series that all of them get.
 *
 *     peer_holt_winters write N M SERIES     N rows of SERIES columns: sine of period M, slope, noise
 *     peer_holt_winters run FILE M           prints: hw ours N M us_per_series (additive trend and season, as R fits
 *                                            them, but the season starts from the whole history), hw auto N M
 *                                            us_per_series (all defaults: kinds are chosen), and for each series a
 *                                            line "sse ours N M column value", "sse start ..." with R's start
 *
 * Fit and forecast of one season with seven quantile levels, as one panel on one thread; the best of several rounds of
 * CPU time after one that is not counted. The file is CSV without a header.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "forecast/hw.h"

enum { ROUNDS = 7 };

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int write_series(int64_t n, int64_t m, int64_t series) {
    for (int64_t t = 0; t < n; t++)
        for (int64_t s = 0; s < series; s++) {
            double season = sin(2 * 3.14159265358979 * (double)t / (double)m + 0.1 * (double)s);
            double noise = spr__normal_quantile(spr__rand(4711, (uint64_t)s, (uint64_t)t) * 0.999998 + 1e-6);
            printf("%.9g%c", 100 + 10 * season + 0.005 * (double)t + 2 * noise, s + 1 < series ? ',' : '\n');
        }
    return ferror(stdout) ? 1 : 0;
}

/* Numbers [step][series] as they stand in the file. */
static double *read_series(const char *path, int64_t *steps, int64_t *series) {
    FILE *f = fopen(path, "r");
    double *y = NULL;
    size_t room = 0, count = 0;
    int stop = ',';
    *series = *steps = 0;
    while (f && stop != EOF) {
        double v;
        if (fscanf(f, "%lf", &v) != 1)
            break;
        if (count == room && !(y = realloc(y, (room = room ? 2 * room : 4096) * sizeof *y)))
            exit(1);
        y[count++] = v;
        stop = fgetc(f);
        if (stop == '\n' && !(*steps)++)
            *series = (int64_t)count;
    }
    if (f)
        fclose(f);
    return y;
}

static void check(spr_context *ctx, int rc) {
    struct spr_error e = {.size = sizeof e};
    if (rc == SPR_OK)
        return;
    if (spr_context_error(ctx, &e) == SPR_OK)
        fprintf(stderr, "%s\n", e.text);
    exit(1);
}

/* Best seconds of a fit and a forecast. */
static double time_of(spr_context *ctx, const struct spr_forecaster_opts *o, const struct spr_panel *p) {
    spr_forecaster *f = NULL;
    spr_forecast *out = NULL;
    double best = INFINITY;
    check(ctx, spr_forecaster_create(ctx, spr_forecaster_holt_winters(), o, &f));
    for (int round = 0; round <= ROUNDS; round++) {
        double start = seconds();
        check(ctx, spr_forecaster_fit(f, p, 0, 0));
        check(ctx, spr_forecaster_predict(f, NULL, &out));
        if (round)
            best = SPR_MIN(best, seconds() - start);
        spr_forecast_unref(out);
    }
    spr_forecaster_destroy(f);
    return best;
}

/* The table itself, whose state holds the sums of squared errors. */
static void print_errors(spr_context *ctx, const struct spr_forecaster_opts *o, const struct spr_panel *p, int m,
                         const char *name) {
    static const double levels[] = {0.5};
    const struct spr_forecaster_ops *ops = spr_forecaster_holt_winters();
    struct spr_env env = {.size = sizeof env, .context = ctx};
    struct spr_forecaster_env e = {sizeof e, &env, o->step_ns, o->horizon, 1, levels, o->config};
    void *state = NULL;
    check(ctx, ops->open(&e, &state));
    check(ctx, ops->fit(state, p, 0, 0));
    const struct hw *hw = state;
    for (int64_t s = 0; s < p->series; s++)
        printf("sse %s %lld %d %lld %.10g\n", name, (long long)p->steps, m, (long long)s, hw->sse[s]);
    ops->close(state);
}

static int run(const char *path, int m) {
    struct spr_holt_winters_opts plain = {.size = sizeof plain,
                                          .period = m,
                                          .trend = SPR_HW_TREND_ADDITIVE,
                                          .season = SPR_HW_SEASON_ADDITIVE,
                                          .robust = SPR_HW_ROBUST_NEVER,
                                          .start = SPR_HW_START_WHOLE};
    struct spr_holt_winters_opts defaults = {.size = sizeof defaults, .period = m};
    struct spr_forecaster_opts o = {.size = sizeof o, .step_ns = SPR__DAY_NS / m, .horizon = m, .config = &plain};
    int64_t steps, series;
    double *y = read_series(path, &steps, &series);
    spr_context *ctx = NULL;
    if (m < 1 || !y || spr_context_create(NULL, &ctx) < 0)
        return 1;
    struct spr_panel p = {.size = sizeof p,
                          .data = y,
                          .series = series,
                          .steps = steps,
                          .series_stride = sizeof *y,
                          .step_stride = series * (int64_t)sizeof *y};
    printf("hw ours %lld %d %.2f\n", (long long)steps, m, 1e6 * time_of(ctx, &o, &p) / (double)series);
    print_errors(ctx, &o, &p, m, "ours");
    plain.start = SPR_HW_START_TWO_PERIODS;
    print_errors(ctx, &o, &p, m, "start");
    o.config = &defaults;
    printf("hw auto %lld %d %.2f\n", (long long)steps, m, 1e6 * time_of(ctx, &o, &p) / (double)series);
    spr_context_unref(ctx);
    free(y);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 5 && !strcmp(argv[1], "write"))
        return write_series(atoll(argv[2]), atoll(argv[3]), atoll(argv[4]));
    if (argc == 4 && !strcmp(argv[1], "run"))
        return run(argv[2], atoi(argv[3]));
    fprintf(stderr, "usage: peer_holt_winters write N M SERIES | run FILE M\n");
    return 2;
}
