/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The LSTM layer: against its formulas in double, its gradients against finite differences, level against level. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "failing_alloc.h"
#include "forecast/lstm.h"

enum { ROWS = 7, STEPS = 11, INPUTS = 3, UNITS_MAX = 21, WEIGHTS_MAX = (1 + INPUTS + UNITS_MAX) * 4 * UNITS_MAX };

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

static float input(int r, int t, int i) {
    return (float)(3 * spr__rand(5, (uint64_t)r, (uint64_t)(t * INPUTS + i)) - 1.5);
}
/* The loss of these tests: sum over rows, steps and units of share(r, t, u) h. */
static float share(int r, int t, int u) {
    return (float)(spr__rand(6, (uint64_t)(r * 100 + t), (uint64_t)u) - 0.5) * (t == STEPS - 1 ? 3.0f : 1.0f);
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* The formulas, one number at a time; h of the last step is left. Returns the loss. */
static double truth(const double *w, int units, double (*last)[UNITS_MAX]) {
    double loss = 0;
    for (int r = 0; r < ROWS; r++) {
        double h[UNITS_MAX] = {0}, c[UNITS_MAX] = {0}, next[UNITS_MAX];
        for (int t = 0; t < STEPS; t++) {
            for (int u = 0; u < units; u++) {
                double z[4];
                for (int g = 0; g < 4; g++) {
                    const double *row = w + g * units + u;
                    z[g] = row[0];
                    for (int i = 0; i < INPUTS; i++)
                        z[g] += row[(1 + i) * 4 * units] * (double)input(r, t, i);
                    for (int i = 0; i < units; i++)
                        z[g] += row[(1 + INPUTS + i) * 4 * units] * h[i];
                }
                c[u] = sigmoid(z[1]) * c[u] + sigmoid(z[0]) * tanh(z[2]);
                next[u] = sigmoid(z[3]) * tanh(c[u]);
            }
            for (int u = 0; u < units; u++)
                h[u] = next[u], loss += (double)share(r, t, u) * h[u];
        }
        for (int u = 0; u < units; u++)
            last[r][u] = h[u];
    }
    return loss;
}

/* Forward over all rows; the state after the last step goes to last[ROWS][units]. */
static void forward(const struct spr__lstm *l, struct spr__lstm_run *run, float *last) {
    spr__lstm_rest(l, run);
    for (int t = 0; t < STEPS; t++) {
        float *x = spr__lstm_inputs(l, run, t);
        for (int r = 0; r < run->rows; r++)
            for (int i = 0; i < INPUTS; i++)
                x[r * l->depth + i] = input(r, t, i);
        spr__lstm_forward(l, run, t);
    }
    for (int r = 0; r < run->rows; r++)
        memcpy(last + r * l->units, spr__lstm_state(l, run, STEPS) + r * l->depth, sizeof *last * (size_t)l->units);
}

struct bench {
    struct spr__lstm l;
    struct spr__lstm_run run;
    float w[WEIGHTS_MAX], gradient[WEIGHTS_MAX], last[ROWS * UNITS_MAX];
};

static void open_bench(struct bench *b, int simd, int units, bool keep) {
    memset(b, 0, sizeof *b);
    assert_int_equal(spr__lstm_make(ctx, simd, INPUTS, units, keep, &b->l), SPR_OK);
    assert_int_equal(spr__lstm_run_make(ctx, &b->l, ROWS, STEPS, keep, &b->run), SPR_OK);
    spr__lstm_start(INPUTS, units, 11, 1, b->w);
    spr__lstm_load(&b->l, b->w);
    forward(&b->l, &b->run, b->last);
}
static void close_bench(struct bench *b) {
    spr__lstm_run_drop(ctx, &b->l, &b->run);
    spr__lstm_drop(ctx, &b->l);
}
static void backward(struct bench *b) {
    float each[STEPS * ROWS * UNITS_MAX] = {0};
    const int units = b->l.units;
    for (int r = 0; r < ROWS; r++)
        for (int u = 0; u < units; u++) {
            for (int t = 0; t < STEPS - 1; t++)
                each[(t * ROWS + r) * units + u] = share(r, t, u);
            b->run.dh[r * units + u] = share(r, STEPS - 1, u); /* the last one by the other door */
        }
    spr__lstm_backward(&b->l, &b->run, each, b->gradient);
}

static const int sizes[] = {1, 5, 16, 21};

static void every_level_computes_the_formulas(void **state) {
    (void)state;
    for (int simd = SPR_SIMD_PLAIN; simd <= spr_context_simd(ctx); simd++)
        for (size_t s = 0; s < SPR_ARRAY_LEN(sizes); s++)
            for (int keep = 0; keep <= 1; keep++) {
                struct bench b;
                double w[WEIGHTS_MAX], last[ROWS][UNITS_MAX];
                open_bench(&b, simd, sizes[s], keep);
                for (size_t i = 0; i < spr__lstm_weights(INPUTS, sizes[s]); i++)
                    w[i] = (double)b.w[i];
                truth(w, sizes[s], last);
                for (int r = 0; r < ROWS; r++)
                    for (int u = 0; u < sizes[s]; u++)
                        assert_true(fabs((double)b.last[r * sizes[s] + u] - last[r][u]) < 3e-6);
                close_bench(&b);
            }
}

static void gradients_are_those_of_finite_differences(void **state) {
    (void)state;
    const int units = 5, n = (int)spr__lstm_weights(INPUTS, units);
    double w[WEIGHTS_MAX], last[ROWS][UNITS_MAX], want[WEIGHTS_MAX];
    struct bench b;
    open_bench(&b, SPR_SIMD_PLAIN, units, true);
    for (int i = 0; i < n; i++)
        w[i] = (double)b.w[i];
    close_bench(&b);
    for (int i = 0; i < n; i++) {
        double at = w[i], up, down;
        w[i] = at + 1e-5, up = truth(w, units, last);
        w[i] = at - 1e-5, down = truth(w, units, last);
        w[i] = at, want[i] = (up - down) / 2e-5;
    }
    for (int simd = SPR_SIMD_PLAIN; simd <= spr_context_simd(ctx); simd++) {
        open_bench(&b, simd, units, true);
        backward(&b);
        for (int i = 0; i < n; i++)
            assert_true(fabs((double)b.gradient[i] - want[i]) < 2e-5 + 2e-5 * fabs(want[i]));
        backward(&b); /* adds up */
        for (int i = 0; i < n; i++)
            assert_true(fabs((double)b.gradient[i] - 2 * want[i]) < 4e-5 + 4e-5 * fabs(want[i]));
        close_bench(&b);
    }
}

static void levels_agree_in_gradients_of_any_width(void **state) {
    (void)state;
    for (size_t s = 0; s < SPR_ARRAY_LEN(sizes); s++) {
        struct bench plain, b;
        open_bench(&plain, SPR_SIMD_PLAIN, sizes[s], true);
        backward(&plain);
        for (int simd = SPR_SIMD_AVX2; simd <= spr_context_simd(ctx); simd++) {
            open_bench(&b, simd, sizes[s], true);
            backward(&b);
            for (size_t i = 0; i < spr__lstm_weights(INPUTS, sizes[s]); i++)
                assert_true(fabsf(b.gradient[i] - plain.gradient[i]) < 3e-5f);
            close_bench(&b);
        }
        close_bench(&plain);
    }
}

static void a_series_does_not_notice_its_neighbours(void **state) {
    (void)state;
    for (int simd = SPR_SIMD_PLAIN; simd <= spr_context_simd(ctx); simd++) {
        struct bench b;
        float few[ROWS * UNITS_MAX];
        open_bench(&b, simd, 21, false);
        for (int rows = 1; rows < ROWS; rows++) {
            b.run.rows = rows;
            forward(&b.l, &b.run, few);
            assert_memory_equal(few, b.last, sizeof *few * 21 * (size_t)rows);
        }
        close_bench(&b);
    }
}

static void giant_and_missing_inputs_stay_where_they_are(void **state) {
    (void)state;
    for (int simd = SPR_SIMD_PLAIN; simd <= spr_context_simd(ctx); simd++) {
        struct bench b;
        open_bench(&b, simd, 21, false);
        spr__lstm_rest(&b.l, &b.run);
        for (int t = 0; t < STEPS; t++) {
            static const float odd[ROWS] = {1e30f, -1e30f, 0, INFINITY, 50, -50, NAN};
            float *x = spr__lstm_inputs(&b.l, &b.run, t);
            for (int r = 0; r < ROWS; r++)
                for (int i = 0; i < INPUTS; i++)
                    x[r * b.l.depth + i] = i ? 0 : odd[r];
            spr__lstm_forward(&b.l, &b.run, t);
        }
        const float *h = spr__lstm_state(&b.l, &b.run, STEPS);
        for (int r = 0; r < ROWS; r++)
            for (int u = 0; u < 21; u++)
                assert_true(r == 6 ? isnan(h[r * b.l.depth + u]) : fabsf(h[r * b.l.depth + u]) <= 1);
        close_bench(&b);
    }
}

static int make_all(spr_context *in, void *arg) {
    struct spr__lstm l = {0};
    struct spr__lstm_run run = {0};
    int rc = spr__lstm_make(in, spr_context_simd(in), INPUTS, 16, true, &l);
    (void)arg;
    if (rc == SPR_OK && (rc = spr__lstm_run_make(in, &l, ROWS, STEPS, true, &run)) == SPR_OK)
        spr__lstm_run_drop(in, &l, &run);
    spr__lstm_drop(in, &l);
    return rc;
}
static void every_allocation_may_fail(void **state) {
    (void)state;
    assert_true(failing_sweep(make_all, NULL) >= 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_level_computes_the_formulas),
        cmocka_unit_test(gradients_are_those_of_finite_differences),
        cmocka_unit_test(levels_agree_in_gradients_of_any_width),
        cmocka_unit_test(a_series_does_not_notice_its_neighbours),
        cmocka_unit_test(giant_and_missing_inputs_stay_where_they_are),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, make_context, drop_context);
}
