/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The core's numbers against the GNU Scientific Library's: normal and empirical quantiles, transforms, randomness, the
 * least squared error of Holt-Winters, the gradient of an LSTM, and how often calibrated quantiles are doubted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <gsl/gsl_cdf.h>
#include <gsl/gsl_deriv.h>
#include <gsl/gsl_fft_complex.h>
#include <gsl/gsl_math.h>
#include <gsl/gsl_multimin.h>
#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>
#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics_double.h>

#include <shardpredict/forecast-calibration.h>

#include "forecast/hw.h"
#include "forecast/lstm.h"
#include "profile/profile.h"

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

/* ---- statistics ---- */

static void normal_quantiles_are_within_what_is_said_of_them(void **state) {
    (void)state;
    for (int i = 1; i < 4000; i++) {
        double p = i < 200 ? pow(10, -0.05 * i - 2) : (double)(i - 199) / 3802, want = gsl_cdf_ugaussian_Pinv(p);
        assert_true(fabs(spr__normal_quantile(p) - want) <= 1.2e-9 * fabs(want) + 1e-15);
        assert_true(fabs(spr__normal_quantile(1 - p) + gsl_cdf_ugaussian_Pinv(p)) <=
                    (1.2e-9 + 3e-16 / p) * fabs(want) + 1e-15); /* 1 - p is rounded */
    }
}

static void empirical_quantiles_are_those_of_sorted_data(void **state) {
    (void)state;
    static const double levels[] = {0.001, 0.1, 0.25, 0.5, 0.75, 10.0 / 11, 0.95, 0.99, 0.9999};
    enum { LEVELS = sizeof levels / sizeof *levels, MOST = 700 };
    gsl_rng *r = gsl_rng_alloc(gsl_rng_mt19937);
    double v[MOST], sorted[MOST], out[LEVELS];
    for (int n = 1; n <= MOST; n = n < 40 ? n + 1 : n * 3 / 2) {
        for (int i = 0; i < n; i++)
            sorted[i] = v[i] = i % 5 == 4 ? v[i - 1] : gsl_ran_cauchy(r, 3); /* ties and far outliers */
        gsl_sort(sorted, 1, (size_t)n);
        spr__quantiles(v, n, levels, LEVELS, out);
        for (int k = 0; k < LEVELS; k++) {
            double want = gsl_stats_quantile_from_sorted_data(sorted, 1, (size_t)n, levels[k]);
            assert_true(fabs(out[k] - want) <= 1e-12 * (1 + fabs(want)));
            assert_true(fabs(spr__quantile_sorted(sorted, n, levels[k]) - want) <= 1e-12 * (1 + fabs(want)));
        }
        double shuffled[MOST];
        memcpy(shuffled, v, sizeof shuffled);
        double want = gsl_stats_median_from_sorted_data(sorted, 1, (size_t)n);
        assert_true(fabs(spr__median(shuffled, n) - want) <= 1e-12 * (1 + fabs(want)));
    }
    gsl_rng_free(r);
}

static void random_numbers_are_uniform_in_every_stream(void **state) {
    (void)state;
    enum { CELLS = 64, DRAWS = 64000, STREAMS = 12 };
    double worst = 1;
    for (uint64_t stream = 0; stream < STREAMS; stream++) {
        double count[CELLS] = {0}, pairs[CELLS] = {0}, chi = 0, chi_pairs = 0;
        for (uint64_t i = 0; i < DRAWS; i++) {
            double u = spr__rand(stream % 3, stream, i), next = spr__rand(stream % 3, stream, i + 1);
            count[(int)(u * CELLS)]++;
            pairs[(int)(u * 8) * 8 + (int)(next * 8)]++;
        }
        for (int c = 0; c < CELLS; c++) {
            chi += gsl_pow_2(count[c] - DRAWS / CELLS) / (DRAWS / CELLS);
            chi_pairs += gsl_pow_2(pairs[c] - DRAWS / CELLS) / (DRAWS / CELLS);
        }
        worst = fmin(worst, fmin(gsl_cdf_chisq_Q(chi, CELLS - 1), gsl_cdf_chisq_P(chi, CELLS - 1)));
        worst = fmin(worst, gsl_cdf_chisq_Q(chi_pairs, CELLS - 1));
    }
    assert_true(worst > 1e-5);
}

static void the_fourier_transform_is_the_fourier_transform(void **state) {
    (void)state;
    enum { MOST = 4096 };
    static double mine[2 * MOST], theirs[2 * MOST], roots[MOST];
    gsl_rng *r = gsl_rng_alloc(gsl_rng_mt19937);
    for (int n = 2; n <= MOST; n *= 2) {
        double size = 0;
        for (int i = 0; i < 2 * n; i++)
            mine[i] = theirs[i] = gsl_ran_gaussian(r, 1);
        spr__fft_roots(roots, n);
        spr__fft(mine, n, roots, false);
        gsl_fft_complex_radix2_forward(theirs, 1, (size_t)n);
        for (int i = 0; i < 2 * n; i++)
            size = fmax(size, fabs(theirs[i]));
        for (int i = 0; i < 2 * n; i++)
            assert_true(fabs(mine[i] - theirs[i]) < 1e-13 * size * log2(2 * n));
    }
    gsl_rng_free(r);
}

/* ---- Holt-Winters ---- */

enum { HW_STEPS = 420, HW_PERIOD = 12 };

/* The textbook's recursion with the start of R: level and slope of the two first seasons' moving average, their figure.
 */
struct textbook {
    const double *y;
    double level, trend, season[HW_PERIOD];
};

static void textbook_start(struct textbook *b) {
    const int m = HW_PERIOD;
    double average[2 * HW_PERIOD], mean = 0, figure_mean = 0;
    int first = m / 2, last = 2 * m - m / 2 - 1, n = last - first + 1;
    double sx = 0, sy = 0, sxx = 0, sxy = 0;
    for (int t = first; t <= last; t++) {
        average[t] = (b->y[t - m / 2] + b->y[t + m / 2]) / 2;
        for (int i = -m / 2 + 1; i < m / 2; i++)
            average[t] += b->y[t + i];
        average[t] /= m, mean += average[t] / n;
        double x = t - first + 1;
        sx += x, sy += average[t], sxx += x * x, sxy += x * average[t];
    }
    b->trend = (n * sxy - sx * sy) / (n * sxx - sx * sx);
    b->level = (sy - b->trend * sx) / n;
    for (int p = 0; p < m; p++) {
        int at = p < first ? p + m : p; /* one full season has a moving average */
        b->season[p] = b->y[at] - average[at];
        figure_mean += b->season[p] / m;
    }
    for (int p = 0; p < m; p++)
        b->season[p] -= figure_mean;
}

static double textbook_sse(const struct textbook *b, double alpha, double beta, double gamma) {
    struct textbook s = *b;
    double sse = 0;
    for (int t = HW_PERIOD; t < HW_STEPS; t++) {
        double *season = &s.season[t % HW_PERIOD], e = s.y[t] - s.level - s.trend - *season, before = s.level;
        sse += e * e;
        s.level = alpha * (s.y[t] - *season) + (1 - alpha) * (s.level + s.trend);
        s.trend = beta * (s.level - before) + (1 - beta) * s.trend;
        *season = gamma * (s.y[t] - s.level) + (1 - gamma) * *season;
    }
    return sse;
}

/* The box 0..1 as the whole line. */
static double boxed(double x) { return 0.5 + 0.5 * sin(x); }
static double loss_at(const gsl_vector *v, void *textbook) {
    return textbook_sse(textbook, boxed(gsl_vector_get(v, 0)), boxed(gsl_vector_get(v, 1)),
                        boxed(gsl_vector_get(v, 2)));
}

/* GSL's least squared error: Nelder and Mead's simplex from many starts. */
static double least_sse(struct textbook *b) {
    gsl_multimin_function f = {loss_at, 3, b};
    gsl_multimin_fminimizer *s = gsl_multimin_fminimizer_alloc(gsl_multimin_fminimizer_nmsimplex2, 3);
    gsl_vector *x = gsl_vector_alloc(3), *size = gsl_vector_alloc(3);
    double least = INFINITY;
    for (int start = 0; start < 12; start++) {
        for (int d = 0; d < 3; d++)
            gsl_vector_set(x, (size_t)d, -1.4 + 0.7 * ((start * (d + 1) + d) % 5));
        gsl_vector_set_all(size, 0.5);
        gsl_multimin_fminimizer_set(s, &f, x, size);
        for (int i = 0; i < 400 && gsl_multimin_fminimizer_size(s) > 1e-6; i++)
            if (gsl_multimin_fminimizer_iterate(s))
                break;
        least = fmin(least, gsl_multimin_fminimizer_minimum(s));
    }
    gsl_multimin_fminimizer_free(s);
    gsl_vector_free(x);
    gsl_vector_free(size);
    return least;
}

static void holt_winters_finds_the_least_squared_error_there_is(void **state) {
    (void)state;
    enum { SERIES = 20 };
    static const double levels[] = {0.5};
    static double y[SERIES][HW_STEPS];
    struct spr_holt_winters_opts o = {.size = sizeof o,
                                      .period = HW_PERIOD,
                                      .trend = SPR_HW_TREND_ADDITIVE,
                                      .season = SPR_HW_SEASON_ADDITIVE,
                                      .robust = SPR_HW_ROBUST_NEVER};
    struct spr_env base = {.size = sizeof base, .context = ctx};
    struct spr_forecaster_env env = {sizeof env, &base, 1, 1, 1, levels, &o};
    struct spr_panel p = {.size = sizeof p,
                          .data = y,
                          .series = SERIES,
                          .steps = HW_STEPS,
                          .series_stride = sizeof y[0],
                          .step_stride = sizeof y[0][0]};
    const struct spr_forecaster_ops *ops = spr_forecaster_holt_winters();
    gsl_rng *r = gsl_rng_alloc(gsl_rng_mt19937);
    double worst = 0;
    void *made = NULL;
    for (int s = 0; s < SERIES; s++) {
        double level = 50, trend = 0, figure[HW_PERIOD];
        for (int i = 0; i < HW_PERIOD; i++)
            figure[i] = 8 * sin(TURN * i / HW_PERIOD + s);
        for (int t = 0; t < HW_STEPS;
             t++) { /* levels, slopes and figures that wander, each series by its own measure */
            trend += gsl_ran_gaussian(r, 0.01 * (s % 3));
            level += trend + gsl_ran_gaussian(r, 0.5 * (s % 4));
            figure[t % HW_PERIOD] += gsl_ran_gaussian(r, 0.4 * (s % 5));
            y[s][t] = level + figure[t % HW_PERIOD] + gsl_ran_gaussian(r, 1.5);
        }
    }
    assert_int_equal(ops->open(&env, &made), SPR_OK);
    assert_int_equal(ops->fit(made, &p, 0, 0), SPR_OK);
    const struct hw *hw = made;
    for (int s = 0; s < SERIES; s++) {
        struct textbook b = {.y = y[s]};
        const double *of = spr__hw_row(hw, s / HW_LANES, 0) + s % HW_LANES;
        textbook_start(&b);
        double mine = textbook_sse(&b, of[HW_ALPHA * HW_LANES], of[HW_BETA * HW_LANES], of[HW_GAMMA * HW_LANES]);
        assert_true(fabs(mine - hw->sse[s]) < 1e-9 * mine); /* the same recursion from the same start */
        worst = fmax(worst, mine / least_sse(&b));
    }
    print_message("# largest ratio to GSL's least squared error %.5f\n", worst);
    assert_true(worst < 1.005);
    ops->close(made);
    gsl_rng_free(r);
}

/* ---- the gradient of an LSTM ---- */

enum { ROWS = 3, STEPS = 6, INPUTS = 2, UNITS = 4, DEPTH = 1 + INPUTS + UNITS, WEIGHTS = DEPTH * 4 * UNITS };

struct cell_loss {
    double w[WEIGHTS];
    int varied;
};
static double input(int r, int t, int i) { return (double)(float)(sin(1.7 * r + 0.9 * t + 2.3 * i)); }
static double share(int r, int t, int u) { return (double)(float)(cos(0.7 * r + 1.3 * t + 0.5 * u)); }

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* Sum over rows, steps and units of share * h, one weight at `x`. */
static double loss_of_weight(double x, void *arg) {
    struct cell_loss l = *(struct cell_loss *)arg;
    double loss = 0;
    l.w[l.varied] = x;
    for (int r = 0; r < ROWS; r++) {
        double in[DEPTH] = {1}, c[UNITS] = {0};
        for (int t = 0; t < STEPS; t++) {
            double h[UNITS];
            for (int i = 0; i < INPUTS; i++)
                in[1 + i] = input(r, t, i);
            for (int u = 0; u < UNITS; u++) {
                double z[4] = {0};
                for (int d = 0; d < DEPTH; d++)
                    for (int g = 0; g < 4; g++)
                        z[g] += in[d] * l.w[(d * 4 + g) * UNITS + u];
                c[u] = sigmoid(z[1]) * c[u] + sigmoid(z[0]) * tanh(z[2]);
                h[u] = sigmoid(z[3]) * tanh(c[u]);
                loss += share(r, t, u) * h[u];
            }
            memcpy(in + 1 + INPUTS, h, sizeof h);
        }
    }
    return loss;
}

static void lstm_gradient(int simd, const float *w, float *gradient) {
    struct spr__lstm l;
    struct spr__lstm_run run;
    float dh[STEPS * ROWS * UNITS];
    assert_int_equal(spr__lstm_make(ctx, simd, INPUTS, UNITS, true, &l), SPR_OK);
    assert_int_equal(spr__lstm_run_make(ctx, &l, ROWS, STEPS, true, &run), SPR_OK);
    spr__lstm_load(&l, w);
    spr__lstm_rest(&l, &run);
    for (int t = 0; t < STEPS; t++) {
        for (int r = 0; r < ROWS; r++) {
            for (int i = 0; i < INPUTS; i++)
                spr__lstm_inputs(&l, &run, t)[r * l.depth + i] = (float)input(r, t, i);
            for (int u = 0; u < UNITS; u++)
                dh[(t * ROWS + r) * UNITS + u] = (float)share(r, t, u);
        }
        spr__lstm_forward(&l, &run, t);
    }
    memset(run.dh, 0, sizeof(float) * ROWS * UNITS);
    memset(gradient, 0, sizeof(float) * WEIGHTS);
    spr__lstm_backward(&l, &run, dh, gradient);
    spr__lstm_run_drop(ctx, &l, &run);
    spr__lstm_drop(ctx, &l);
}

static void the_gradient_of_an_lstm_is_the_derivative_of_its_loss(void **state) {
    (void)state;
    struct cell_loss loss;
    float w[WEIGHTS], gradient[WEIGHTS];
    spr__lstm_start(INPUTS, UNITS, 4711, 3, w);
    for (int i = 0; i < WEIGHTS; i++)
        loss.w[i] = (double)w[i];
    for (int simd = SPR_SIMD_PLAIN; simd <= spr_context_simd(ctx); simd++) {
        lstm_gradient(simd, w, gradient);
        for (int i = 0; i < WEIGHTS; i++) {
            double want, error;
            gsl_function f = {loss_of_weight, &loss};
            loss.varied = i;
            assert_int_equal(gsl_deriv_central(&f, loss.w[i], 1e-3, &want, &error), 0);
            assert_true(fabs((double)gradient[i] - want) < 3e-6 * (1 + fabs(want)) + error);
        }
    }
}

/* ---- coverage ---- */

static void calibrated_quantiles_are_doubted_no_oftener_than_promised(void **state) {
    (void)state;
    enum { SERIES = 600, OUTCOMES = 600, LEVELS = 3, WINDOW = 288 };
    static const double levels[LEVELS] = {0.5, 0.9, 0.95};
    struct spr_coverage_opts o = {.size = sizeof o,
                                  .series = SERIES,
                                  .levels = levels,
                                  .level_count = LEVELS,
                                  .window = WINDOW,
                                  .alpha = 0.05,
                                  .slack = SPR_NONE};
    static double y[SERIES], quantiles[SERIES * LEVELS];
    gsl_rng *r = gsl_rng_alloc(gsl_rng_mt19937);
    spr_coverage *c = NULL;
    unsigned gated = 0;
    bool ever[SERIES] = {false};
    assert_int_equal(spr_coverage_create(ctx, &o, &c), SPR_OK);
    for (int s = 0; s < SERIES * LEVELS; s++)
        quantiles[s] = gsl_cdf_exponential_Pinv(levels[s % LEVELS], 2);
    for (int t = 0; t < OUTCOMES; t++) {
        for (int s = 0; s < SERIES; s++)
            y[s] = gsl_ran_exponential(r, 2);
        assert_int_equal(spr_coverage_observe(c, y, quantiles), SPR_OK);
        for (int s = 0; s < SERIES; s++) {
            struct spr_coverage_row row = {.size = sizeof row};
            assert_int_equal(spr_coverage_get(c, s, 2, &row), SPR_OK);
            ever[s] = ever[s] || row.gated;
        }
    }
    for (int k = 0; k < LEVELS; k++) {
        double chi = 0, p = levels[k];
        for (int s = 0; s < SERIES; s++) {
            struct spr_coverage_row row = {.size = sizeof row};
            assert_int_equal(spr_coverage_get(c, s, k, &row), SPR_OK);
            chi += gsl_pow_2(row.recent * WINDOW - p * WINDOW) / (WINDOW * p * (1 - p));
        }
        assert_true(gsl_cdf_chisq_Q(chi, SERIES) > 1e-5 && gsl_cdf_chisq_P(chi, SERIES) > 1e-5);
    }
    for (int s = 0; s < SERIES; s++)
        gated += ever[s];
    /* At most alpha of them: more than this many would happen once in 10,000 runs. */
    assert_true(gsl_cdf_binomial_Q(gated, 0.05, SERIES) > 1e-4);
    spr_coverage_destroy(c);
    gsl_rng_free(r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(normal_quantiles_are_within_what_is_said_of_them),
        cmocka_unit_test(empirical_quantiles_are_those_of_sorted_data),
        cmocka_unit_test(random_numbers_are_uniform_in_every_stream),
        cmocka_unit_test(the_fourier_transform_is_the_fourier_transform),
        cmocka_unit_test(holt_winters_finds_the_least_squared_error_there_is),
        cmocka_unit_test(the_gradient_of_an_lstm_is_the_derivative_of_its_loss),
        cmocka_unit_test(calibrated_quantiles_are_doubted_no_oftener_than_promised),
    };
    return cmocka_run_group_tests(tests, make_context, drop_context);
}
