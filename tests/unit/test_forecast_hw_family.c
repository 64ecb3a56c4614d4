/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Holt-Winters beyond the additive one: seasons that multiply, transforms, outliers and shifts, warm fits, quantiles
 * that follow, what a series costs in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "forecast/hw.h"

enum { H = 24, N = 24 * 28, L = 7 };
#define TURN 6.283185307179586

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

static double data[64 * (N + H)];
static double *row(int s) { return data + s * (N + H); }

static struct spr_panel panel_at(int64_t series, int64_t from, int64_t steps) {
    return (struct spr_panel){.size = sizeof(struct spr_panel),
                              .data = data + from,
                              .series = series,
                              .steps = steps,
                              .series_stride = (N + H) * (int64_t)sizeof *data,
                              .step_stride = sizeof *data};
}

static spr_forecaster *make(spr_context *in, const struct spr_holt_winters_opts *config, int32_t horizon) {
    struct spr_forecaster_opts o = SPR_FORECASTER_OPTS_INIT;
    spr_forecaster *f = NULL;
    o.config = config, o.horizon = horizon;
    assert_int_equal(spr_forecaster_create(in, spr_forecaster_holt_winters(), &o, &f), SPR_OK);
    return f;
}

static spr_forecast *fitted(const struct spr_holt_winters_opts *o, int64_t series) {
    struct spr_panel p = panel_at(series, 0, N);
    spr_forecaster *f = make(ctx, o, H);
    spr_forecast *out = NULL;
    assert_int_equal(spr_forecaster_fit(f, &p, 0, 0), SPR_OK);
    assert_int_equal(spr_forecaster_predict(f, NULL, &out), SPR_OK);
    spr_forecaster_destroy(f);
    return out;
}

/* Mean absolute error of the forecast of rows against `truth`, or against what the rows went on with. */
static double error_of(const struct spr_holt_winters_opts *o, int64_t series) {
    spr_forecast *f = fitted(o, series);
    double sum = 0;
    for (int64_t s = 0; s < series; s++)
        for (int h = 0; h < H; h++)
            sum += fabs(spr_forecast_points(f)[s * H + h] - row((int)s)[N + h]) / (double)(series * H);
    spr_forecast_unref(f);
    return sum;
}

static double noise(int s, int t) { return spr__rand(31, (uint64_t)s, (uint64_t)t) - 0.5; }

/* A level that grows threefold with a swing in proportion. */
static void fill_growing(double rough) {
    for (int s = 0; s < 16; s++)
        for (int t = 0; t < N + H; t++) {
            double level = 40 * (1 + 2.0 * t / N);
            row(s)[t] = level * (1 + 0.5 * sin(TURN * t / 24 + s)) * (1 + rough * noise(s, t));
        }
}

static void a_swing_in_proportion_is_multiplied_by_choice(void **state) {
    (void)state;
    fill_growing(0.1);
    struct spr_holt_winters_opts chosen = {.size = sizeof chosen, .period = 24}, plus = chosen, times = chosen;
    plus.season = SPR_HW_SEASON_ADDITIVE, times.season = SPR_HW_SEASON_MULTIPLICATIVE;
    double a = error_of(&plus, 16), m = error_of(&times, 16), c = error_of(&chosen, 16);
    assert_true(m < 0.9 * a);
    assert_true(c < m + 0.2 * (a - m));
}

static void a_logarithm_makes_the_spread_grow_with_the_level(void **state) {
    (void)state;
    fill_growing(0.3);
    struct spr_holt_winters_opts o = {
        .size = sizeof o, .period = 24, .transform = SPR_HW_TRANSFORM_LOG, .season = SPR_HW_SEASON_ADDITIVE};
    spr_forecast *f = fitted(&o, 16);
    int below[L] = {0};
    for (int s = 0; s < 16; s++)
        for (int h = 0; h < H; h++) {
            const double *q = spr_forecast_quantiles(f) + (s * H + h) * L;
            for (int k = 0; k < L; k++)
                below[k] += row(s)[N + h] <= q[k];
            assert_true(q[0] > 0);
        }
    for (int k = 0; k < L; k++)
        assert_true(fabs((double)below[k] / (16 * H) - spr_forecast_levels(f)[k]) < 0.12);
    /* The widest fan of a day stands where the level is highest. */
    for (int s = 0; s < 16; s++) {
        const double *p = spr_forecast_points(f) + s * H, *q = spr_forecast_quantiles(f) + s * H * L;
        int high = 0, low = 0;
        for (int h = 1; h < H; h++)
            high = p[h] > p[high] ? h : high, low = p[h] < p[low] ? h : low;
        assert_true(q[high * L + 5] - q[high * L] > 1.5 * (q[low * L + 5] - q[low * L]));
    }
    spr_forecast_unref(f);
}

static void the_power_that_evens_the_spread_is_found(void **state) {
    (void)state;
    double work[2 * N];
    struct spr_panel p = panel_at(16, 0, N);
    fill_growing(0.1);
    for (int s = 0; s < 16; s++) /* spread in proportion: the logarithm */
        assert_true(spr__hw_lambda(&p, s, NAN, 24, work) == 0);
    for (int t = 0; t < N; t++)
        row(0)[t] = 100 + 0.1 * t + noise(0, t);
    assert_true(spr__hw_lambda(&p, 0, NAN, 24, work) == HW_PLAIN); /* spread without proportion: none */
    row(1)[7] = -1e-9;
    assert_true(spr__hw_lambda(&p, 1, 0.5, 24, work) == HW_PLAIN); /* below zero there is no power */
    row(2)[7] = 0;
    assert_true(spr__hw_lambda(&p, 2, 0, 24, work) == HW_PLAIN); /* nor a logarithm of zero */
    assert_true(spr__hw_lambda(&p, 2, 0.5, 24, work) == 0.5);
    for (double y = 0.001; y < 1e6; y *= 7)
        for (double lambda = 0; lambda <= 1; lambda += 0.25)
            assert_true(fabs(spr__hw_unbend(spr__hw_bend(y, lambda), lambda) / y - 1) < 1e-9);
    assert_true(spr__hw_unbend(1e9, 0) == SPR__VALUE_MAX && spr__hw_unbend(-1e9, 0.5) == 0);
}

static void fill_daily(int s, double swing) {
    for (int t = 0; t < N + H; t++)
        row(s)[t] = 50 + swing * sin(TURN * t / 24) + 2 * noise(s, t);
}

static void outliers_do_not_bend_what_is_expected(void **state) {
    (void)state;
    struct spr_holt_winters_opts o = {
        .size = sizeof o, .period = 24, .trend = SPR_HW_TREND_ADDITIVE, .season = SPR_HW_SEASON_ADDITIVE};
    for (int s = 0; s < 16; s++) {
        fill_daily(s, 10);
        for (int t = 0; t < N; t++) /* one step in forty is wild, the first seasons and the last steps too */
            row(s)[t] += spr__rand(32, (uint64_t)s, (uint64_t)t) < 0.025 || t == 20 || t == N - 2 ? 900 : 0;
    }
    o.robust = SPR_HW_ROBUST_NEVER;
    double plain = error_of(&o, 16);
    o.robust = SPR_HW_ROBUST_ALWAYS;
    double robust = error_of(&o, 16);
    assert_true(robust < 2);
    assert_true(plain > 5 * robust);
}

static void a_new_level_is_believed_after_a_few_steps(void **state) {
    (void)state;
    struct spr_holt_winters_opts o = {.size = sizeof o,
                                      .period = 24,
                                      .trend = SPR_HW_TREND_NONE,
                                      .season = SPR_HW_SEASON_ADDITIVE,
                                      .robust = SPR_HW_ROBUST_ALWAYS};
    for (int s = 0; s < 4; s++) {
        fill_daily(s, 10);
        for (int t = N - 10 - s; t < N + H; t++)
            row(s)[t] += s % 2 ? 70 : -70;
    }
    assert_true(error_of(&o, 4) < 2);
    for (int s = 0; s < 4; s++) { /* the same by updates */
        struct spr_panel head = panel_at(4, 0, N - 20), tail = panel_at(4, N - 20, 20);
        spr_forecaster *f = make(ctx, &o, H);
        spr_forecast *out = NULL;
        assert_int_equal(spr_forecaster_fit(f, &head, 0, 0), SPR_OK);
        assert_int_equal(spr_forecaster_update(f, &tail), SPR_OK);
        assert_int_equal(spr_forecaster_predict(f, NULL, &out), SPR_OK);
        assert_true(fabs(spr_forecast_points(out)[s * H] - row(s)[N]) < 4);
        spr_forecast_unref(out);
        spr_forecaster_destroy(f);
    }
}

/* Runs over the history that the fit of a forecaster's only block took, and its squared errors. */
static int64_t runs_of_fit(void *state, const struct spr_panel *p, double *sse) {
    const struct hw *hw = state;
    assert_int_equal(spr_forecaster_holt_winters()->fit(state, p, 0, 0), SPR_OK);
    *sse = 0;
    for (int i = 0; i < HW_LANES; i++)
        *sse += hw->sse[i];
    return hw->runs_of[0];
}

static void a_warm_fit_takes_a_fraction_of_the_work_and_is_as_good(void **state) {
    (void)state;
    static const double levels[] = {0.5};
    struct spr_holt_winters_opts o = {.size = sizeof o, .period = 24};
    struct spr_env base = {sizeof base, ctx, NULL, 0};
    struct spr_forecaster_env env = {sizeof env, &base, 1, H, 1, levels, &o};
    struct spr_panel before = panel_at(16, 0, N), after = panel_at(16, 0, N + H);
    double sse[2];
    int64_t runs[2];
    for (int s = 0; s < 16; s++)
        fill_daily(s, s);
    for (int warm = 0; warm < 2; warm++) {
        void *state_of = NULL;
        o.refit = warm;
        assert_int_equal(spr_forecaster_holt_winters()->open(&env, &state_of), SPR_OK);
        runs_of_fit(state_of, &before, &sse[warm]);
        runs[warm] = runs_of_fit(state_of, &after, &sse[warm]);
        spr_forecaster_holt_winters()->close(state_of);
    }
    assert_true(runs[1] * 4 < runs[0]);
    assert_true(sse[1] < sse[0] * 1.02); /* kinds are kept, so the errors need not be the same */
}

static void quantiles_follow_a_spread_that_changed(void **state) {
    (void)state;
    enum { S = 16, CUT = 24 * 7 };
    double width[2];
    struct spr_holt_winters_opts o = {.size = sizeof o,
                                      .period = 24,
                                      .trend = SPR_HW_TREND_NONE,
                                      .alpha = 0.05,
                                      .gamma = 0.05,
                                      .season = SPR_HW_SEASON_ADDITIVE};
    for (int s = 0; s < S; s++)
        for (int t = 0; t < N + H; t++)
            row(s)[t] = 50 + 5 * sin(TURN * t / 24) + (t < CUT ? 2 : 16) * noise(s, t);
    for (int freeze = 0; freeze < 2; freeze++) {
        struct spr_panel head = panel_at(S, 0, CUT), tail = panel_at(S, CUT, N - CUT);
        spr_forecast *out = NULL;
        o.freeze = freeze;
        spr_forecaster *f = make(ctx, &o, H);
        assert_int_equal(spr_forecaster_fit(f, &head, 0, 0), SPR_OK);
        assert_int_equal(spr_forecaster_update(f, &tail), SPR_OK);
        assert_int_equal(spr_forecaster_predict(f, NULL, &out), SPR_OK);
        width[freeze] = 0;
        int inside = 0;
        for (int i = 0; i < S * H; i++) {
            const double *q = spr_forecast_quantiles(out) + i * L;
            width[freeze] += (q[4] - q[0]) / (S * H);
            inside += row(i / H)[N + i % H] >= q[0] && row(i / H)[N + i % H] <= q[4];
        }
        assert_true(freeze ? inside < S * H / 2 : abs(inside - S * H * 8 / 10) < S * H / 10);
        spr_forecast_unref(out);
        spr_forecaster_destroy(f);
    }
    assert_true(width[0] > 4 * width[1]);
}

static size_t held;
static void *count_alloc(void *user, size_t bytes) {
    (void)user;
    held += bytes;
    return test_malloc(bytes);
}
static void *count_realloc(void *user, void *block, size_t old_bytes, size_t bytes) {
    (void)user;
    held += bytes - old_bytes;
    return test_realloc(block, bytes);
}
static void count_free(void *user, void *block, size_t bytes) {
    (void)user;
    held -= bytes;
    test_free(block);
}

static void a_series_of_days_in_five_minutes_costs_at_most_four_kilobytes(void **state) {
    (void)state;
    enum { S = 64 };
    struct spr_allocator a = {sizeof a, count_alloc, count_realloc, count_free, NULL};
    struct spr_context_opts o = SPR_CONTEXT_OPTS_INIT;
    struct spr_holt_winters_opts hw = {.size = sizeof hw, .period = 288, .alpha = 0.3, .beta = 0.1, .gamma = 0.2};
    struct spr_panel p = panel_at(S, 0, N), next = panel_at(S, 0, 2);
    spr_context *in = NULL;
    o.allocator = &a;
    assert_int_equal(spr_context_create(&o, &in), SPR_OK);
    for (int s = 0; s < S; s++)
        fill_daily(s, 3);
    size_t before = held;
    for (int32_t horizon = 12; horizon <= 288; horizon += 276) { /* an hour, and a whole day ahead */
        spr_forecaster *f = make(in, &hw, horizon);
        assert_int_equal(spr_forecaster_fit(f, &p, 0, 0), SPR_OK);
        assert_int_equal(spr_forecaster_update(f, &next), SPR_OK);
        print_message("horizon %d: %zu bytes a series\n", (int)horizon, (held - before) / S);
        assert_true(held - before <= S * 4096);
        spr_forecaster_destroy(f);
        assert_int_equal(held, before);
    }
    spr_context_unref(in);
}

static void a_start_from_the_whole_history_errs_less(void **state) {
    (void)state;
    for (int s = 0; s < 16; s++)
        for (int t = 0; t < N + H; t++)
            row(s)[t] = 40 + 10 * sin(TURN * t / 24 + s) + 12 * noise(s, t) + (s == 3 && t % 7 == 2 ? NAN : 0);
    struct spr_holt_winters_opts o = {
        .size = sizeof o, .trend = SPR_HW_TREND_ADDITIVE, .season = SPR_HW_SEASON_ADDITIVE};
    o.robust = SPR_HW_ROBUST_NEVER, o.period = 24;
    static const double levels[] = {0.5};
    struct spr_env base = {.size = sizeof base, .context = ctx};
    struct spr_forecaster_env env = {sizeof env, &base, 1, H, 1, levels, &o};
    double sse[2] = {0, 0};
    for (int32_t start = 0; start < 2; start++) {
        struct spr_panel p = panel_at(16, 0, N);
        void *made = NULL;
        o.start = start;
        assert_int_equal(spr_forecaster_holt_winters()->open(&env, &made), SPR_OK);
        assert_int_equal(spr_forecaster_holt_winters()->fit(made, &p, 0, 0), SPR_OK);
        for (int s = 0; s < 16; s++)
            sse[start] += ((struct hw *)made)->sse[s];
        spr_forecaster_holt_winters()->close(made);
    }
    print_message("squared errors %.3f of those of two periods\n", sse[1] / sse[0]);
    assert_true(sse[1] < 0.93 * sse[0]);
}

static void senseless_members_of_the_family_are_refused(void **state) {
    (void)state;
    const struct spr_holt_winters_opts bad[] = {
        {.size = sizeof bad[0], .season = 3},
        {.size = sizeof bad[0], .transform = 4},
        {.size = sizeof bad[0], .robust = -1},
        {.size = sizeof bad[0], .selection = 2},
        {.size = sizeof bad[0], .refit = 2},
        {.size = sizeof bad[0], .freeze = 2},
        {.size = sizeof bad[0], .start = 2},
        {.size = sizeof bad[0], .reserved2 = 1},
        {.size = sizeof bad[0], .lambda = 0.5},
        {.size = sizeof bad[0], .transform = SPR_HW_TRANSFORM_BOX_COX},
        {.size = sizeof bad[0], .transform = SPR_HW_TRANSFORM_BOX_COX, .lambda = 1.5},
        {.size = sizeof bad[0], .transform = SPR_HW_TRANSFORM_BOX_COX, .lambda = NAN},
    };
    for (size_t i = 0; i < SPR_ARRAY_LEN(bad); i++) {
        struct spr_forecaster_opts o = SPR_FORECASTER_OPTS_INIT;
        spr_forecaster *f = NULL;
        o.config = &bad[i];
        assert_int_equal(spr_forecaster_create(ctx, spr_forecaster_holt_winters(), &o, &f), SPR_E_ARG);
        assert_null(f);
    }
}

static void a_second_season_has_to_earn_its_place(void **state) {
    static const double levels[] = {0.1, 0.5, 0.9};
    const struct spr_forecaster_ops *ops = spr_forecaster_holt_winters();
    struct spr_holt_winters_opts o = {.size = sizeof o, .period = 24, .period2 = 168};
    struct spr_env base = {sizeof base, ctx, NULL, 0};
    struct spr_forecaster_env env = {sizeof env, &base, SPR__DAY_NS / 24, H, 3, levels, &o};
    struct spr_panel p = panel_at(16, 0, N);
    void *table = NULL;
    int taken[2] = {0};
    (void)state;
    for (int s = 0; s < 16; s++) { /* on odd rows weekends are quiet */
        fill_daily(s, 10);
        for (int t = 0; t < N + H; t++)
            row(s)[t] -= s % 2 && t / 24 % 7 > 4 ? 25 : 0;
    }
    assert_int_equal(ops->open(&env, &table), SPR_OK);
    assert_int_equal(ops->fit(table, &p, 0, 0), SPR_OK);
    const struct hw *hw = table;
    for (int s = 0; s < 16; s++)
        taken[s % 2] += !hw->kinds[(int)spr__hw_row(hw, 0, HW_ROW_KIND)[s]].first_only;
    ops->close(table);
    assert_true(taken[0] == 0 && taken[1] == 8);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_swing_in_proportion_is_multiplied_by_choice),
        cmocka_unit_test(a_logarithm_makes_the_spread_grow_with_the_level),
        cmocka_unit_test(the_power_that_evens_the_spread_is_found),
        cmocka_unit_test(outliers_do_not_bend_what_is_expected),
        cmocka_unit_test(a_new_level_is_believed_after_a_few_steps),
        cmocka_unit_test(a_warm_fit_takes_a_fraction_of_the_work_and_is_as_good),
        cmocka_unit_test(quantiles_follow_a_spread_that_changed),
        cmocka_unit_test(a_series_of_days_in_five_minutes_costs_at_most_four_kilobytes),
        cmocka_unit_test(a_start_from_the_whole_history_errs_less),
        cmocka_unit_test(senseless_members_of_the_family_are_refused),
        cmocka_unit_test(a_second_season_has_to_earn_its_place),
    };
    return cmocka_run_group_tests(tests, make_context, drop_context);
}
