/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Throttled demand and trained models: a fleet cut at its capacities, learnt with and without the marks that say so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "forecast/forecast.h"

enum { DAY = 24, DAYS = 30, STEPS = DAY * DAYS, BYTES = STEPS / 8, LEVELS = 3, ROWS = 16 };
#define HOUR INT64_C(3600000000000)
static const double levels[LEVELS] = {0.5, 0.9, 0.95};
static double truth[ROWS][STEPS + DAY], seen[ROWS][STEPS], capacity[ROWS];
static uint8_t marks[ROWS][BYTES];

/* A daily wave, some days higher than others, with noise; nothing above a capacity is seen from `from` on. */
static void cut(int64_t from) {
    static double sorted[STEPS];
    memset(marks, 0, sizeof marks);
    for (int r = 0; r < ROWS; r++) {
        for (int64_t t = 0; t < STEPS + DAY; t++)
            truth[r][t] = (r + 1) * (10 +
                                     (5 + 2 * spr__rand(6, (uint64_t)r, (uint64_t)(t / DAY))) *
                                         sin(6.283185307179586 * (double)(t + 3 * r) / DAY) +
                                     2 * (spr__rand(5, (uint64_t)r, (uint64_t)t) - 0.5));
        memcpy(sorted, truth[r], sizeof sorted);
        spr__sort(sorted, STEPS);
        capacity[r] = spr__quantile_sorted(sorted, STEPS, 0.8);
        for (int64_t t = 0; t < STEPS; t++) {
            bool over = t >= from && truth[r][t] >= capacity[r];
            seen[r][t] = over ? capacity[r] : truth[r][t];
            if (over)
                spr__bit_set(marks[r], t);
        }
    }
}

static struct spr_panel panel(bool marked) {
    return (struct spr_panel){.size = sizeof(struct spr_panel),
                              .data = seen,
                              .series = ROWS,
                              .steps = STEPS,
                              .series_stride = sizeof seen[0],
                              .step_stride = sizeof(double),
                              .censored = marked ? marks[0] : NULL,
                              .censored_stride = BYTES};
}

static spr_model *learn(spr_context *ctx, int32_t kind, bool marked) {
    struct spr_trainer_opts o = {
        .size = sizeof o, .step_ns = HOUR, .horizon = DAY, .members = 1, .effort = .01, .context = 96, .kind = kind};
    struct spr_panel p = panel(marked);
    spr_trainer *t = NULL;
    spr_model *m = NULL;
    assert_int_equal(spr_trainer_create(ctx, &o, &t), SPR_OK);
    assert_int_equal(spr_trainer_add(t, &p, NULL), SPR_OK);
    assert_int_equal(spr_trainer_run(t, 0), SPR_OK);
    assert_int_equal(spr_trainer_finish(t, &m), SPR_OK);
    spr_trainer_destroy(t);
    return m;
}

/* Mean pinball loss of the next day's demand in shares of the capacity: above it, and of the rest. */
struct losses {
    double above, below;
};
static struct losses ask(int32_t kind, bool marked) {
    spr_context *ctx = NULL;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    spr_model *m = learn(ctx, kind, marked);
    struct spr_model_opts config = {.size = sizeof config, .model = m};
    struct spr_forecaster_opts o = {sizeof o, HOUR, DAY, LEVELS, levels, &config};
    struct spr_panel p = panel(marked);
    spr_forecaster *f = NULL;
    spr_forecast *out = NULL;
    double sum[2] = {0}, n[2] = {0};
    assert_int_equal(spr_forecaster_create(ctx, spr_forecaster_model(), &o, &f), SPR_OK);
    assert_int_equal(spr_forecaster_fit(f, &p, 0, 0), SPR_OK);
    assert_int_equal(spr_forecaster_predict(f, NULL, &out), SPR_OK);
    for (int r = 0; r < ROWS; r++)
        for (int h = 0; h < DAY; h++)
            for (int k = 0; k < LEVELS; k++) {
                double y = truth[r][STEPS + h], q = spr_forecast_quantiles(out)[(r * DAY + h) * LEVELS + k];
                bool above = y > capacity[r];
                sum[above] += spr__pinball(levels[k], y, q) / capacity[r], n[above]++;
            }
    spr_forecast_unref(out);
    spr_forecaster_destroy(f);
    spr_model_unref(m);
    spr_context_unref(ctx);
    assert_true(n[0] > 100 && n[1] > 100);
    return (struct losses){sum[1] / n[1], sum[0] / n[0]};
}

static void compare(int64_t from, const char *when, double most) {
    static const int32_t kind[] = {SPR_MODEL_NET, SPR_MODEL_LSTM};
    cut(from);
    for (int i = 0; i < 2; i++) {
        struct losses with = ask(kind[i], true), without = ask(kind[i], false);
        print_message("# %s, %s: above capacity %.4f without marks, %.4f with; below %.4f, %.4f\n", i ? "lstm" : "net",
                      when, without.above, with.above, without.below, with.below);
        assert_true(with.above < most * without.above);
        assert_true(with.below < 1.1 * without.below);
    }
}

static void a_model_told_of_the_bounds_is_closer_to_the_demand_above_them(void **state) {
    (void)state;
    compare(STEPS - 12 * DAY, "cut for twelve days", 0.95);
}

static void what_was_always_cut_is_taken_for_the_least_that_was_wanted(void **state) {
    (void)state;
    compare(0, "always cut", 0.95);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_told_of_the_bounds_is_closer_to_the_demand_above_them),
        cmocka_unit_test(what_was_always_cut_is_taken_for_the_least_that_was_wanted),
    };
    return cmocka_run_group_tests_name("censored demand and trained models", tests, NULL, NULL);
}
