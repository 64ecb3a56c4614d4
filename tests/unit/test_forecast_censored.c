/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Throttled demand: a trace cut at its capacity, with and without the marks that say so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "forecast/forecast.h"

static spr_context *ctx;
static int make_context(void **state) {
    (void)state;
    return spr_context_create(NULL, &ctx);
}
static int drop_context(void **state) {
    (void)state;
    spr_context_unref(ctx);
    return 0;
}

enum { DAY = 96, DAYS = 21, STEPS = DAY * DAYS, BYTES = STEPS / 8, LEVELS = 3, ROWS = 4 };
static const double levels[LEVELS] = {0.5, 0.9, 0.95};

struct trace {
    double truth[ROWS][STEPS + DAY], seen[ROWS][STEPS];
    uint8_t marks[ROWS][BYTES];
};

/* A daily wave with noise; from step `from` on nothing above the 0.8 quantile is seen. */
static void cut(struct trace *x, int64_t from) {
    static double sorted[STEPS];
    memset(x->marks, 0, sizeof x->marks);
    for (int r = 0; r < ROWS; r++) {
        for (int64_t t = 0; t < STEPS + DAY; t++)
            x->truth[r][t] = 10 + 6 * sin(6.283185307179586 * (double)(t + 7 * r) / DAY) +
                             2 * (spr__rand(5, (uint64_t)r, (uint64_t)t) - 0.5);
        memcpy(sorted, x->truth[r], sizeof sorted);
        spr__sort(sorted, STEPS);
        double capacity = spr__quantile_sorted(sorted, STEPS, 0.8);
        for (int64_t t = 0; t < STEPS; t++) {
            bool over = t >= from && x->truth[r][t] >= capacity;
            x->seen[r][t] = over ? capacity : x->truth[r][t];
            if (over)
                spr__bit_set(x->marks[r], t);
        }
    }
}

/* Mean pinball loss of the next day's steps above capacity, of all levels. */
static double peak_loss(const struct spr_forecaster_ops *ops, const struct trace *x, bool marked) {
    struct spr_forecaster_opts o = {sizeof o, INT64_C(900000000000), DAY, LEVELS, levels, NULL};
    struct spr_panel p = {.size = sizeof p,
                          .data = x->seen,
                          .series = ROWS,
                          .steps = STEPS,
                          .series_stride = sizeof x->seen[0],
                          .step_stride = sizeof(double),
                          .censored = marked ? x->marks[0] : NULL,
                          .censored_stride = BYTES};
    spr_forecaster *f = NULL;
    spr_forecast *out = NULL;
    double sum = 0, n = 0;
    assert_int_equal(spr_forecaster_create(ctx, ops, &o, &f), SPR_OK);
    assert_int_equal(spr_forecaster_fit(f, &p, 0, 0), SPR_OK);
    assert_int_equal(spr_forecaster_predict(f, NULL, &out), SPR_OK);
    for (int r = 0; r < ROWS; r++)
        for (int h = 0; h < DAY; h++)
            for (int k = 0; k < LEVELS && x->truth[r][STEPS + h] > 14; k++, n++) {
                double off = x->truth[r][STEPS + h] - spr_forecast_quantiles(out)[(r * DAY + h) * LEVELS + k];
                sum += off > 0 ? levels[k] * off : (levels[k] - 1) * off;
            }
    spr_forecast_unref(out);
    spr_forecaster_destroy(f);
    assert_true(n > 100);
    return sum / n;
}

static const struct spr_forecaster_ops *method(int i) {
    return i == 0   ? spr_forecaster_seasonal_naive()
           : i == 1 ? spr_forecaster_holt_winters()
           : i == 2 ? spr_forecaster_mix()
                    : spr_forecaster_combination();
}

static void peaks_from_before_a_capacity_fell_are_remembered(void **state) {
    (void)state;
    static struct trace x;
    cut(&x, STEPS - 5 * DAY);
    for (int i = 0; i < 4; i++) {
        double with = peak_loss(method(i), &x, true), without = peak_loss(method(i), &x, false);
        print_message("# %s, cut five days ago: %.3f with the marks, %.3f without\n", method(i)->name, with, without);
        assert_true(with < 0.97 * without);
    }
}

static void a_trace_that_was_always_cut_is_not_made_worse_by_marks(void **state) {
    (void)state;
    static struct trace x;
    cut(&x, 0);
    for (int i = 0; i < 4; i++) {
        double with = peak_loss(method(i), &x, true), without = peak_loss(method(i), &x, false);
        print_message("# %s, always cut: %.3f with the marks, %.3f without\n", method(i)->name, with, without);
        assert_true(with < 1.02 * without);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(peaks_from_before_a_capacity_fell_are_remembered),
        cmocka_unit_test(a_trace_that_was_always_cut_is_not_made_worse_by_marks),
    };
    return cmocka_run_group_tests_name("censored demand", tests, make_context, drop_context);
}
