/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * KANN through its public API: an LSTM with 8 inputs and 6 outputs at each of 96 steps, inference and training.
 *
 *     lstm_kann UNITS BATCH...     prints: lstm kann UNITS BATCH inference_us training_us windows_per_second
 *
 * Microseconds of CPU time per series and step, one thread, the best of several rounds after one that is not counted.
 * Inference is timed as one unrolled graph and, for one series, step by step too; the faster one counts. Training is
 * forward, back and RMSprop, which is the optimiser KANN comes with.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "kann.h"

enum { STEPS = 96, INPUTS = 8, OUTPUTS = 6, ROUNDS = 5 };

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *numbers(size_t n) {
    float *p = malloc(n * sizeof *p);
    for (size_t i = 0; p && i < n; i++)
        p[i] = (float)rand() / (float)RAND_MAX - 0.5f;
    return p;
}

/* Rounds long enough for the clock; seconds of one. */
static int repeats(int units, int batch) {
    double work = 1e-6 * STEPS * batch * (units > 32 ? 4 : 1.5);
    return work > 0.05 ? 1 : (int)(0.05 / work) + 1;
}

static double unrolled(kann_t *all, int units, int batch, float **x) {
    int again = repeats(units, batch);
    double best = INFINITY;
    kann_switch(all, 0);
    kann_feed_bind(all, KANN_F_IN, 0, x);
    for (int round = 0; round <= ROUNDS; round++) {
        double start = seconds();
        for (int i = 0; i < again; i++)
            kann_eval(all, KANN_F_OUT, 0);
        if (round)
            best = fmin(best, (seconds() - start) / again);
    }
    return best;
}

/* KANN's recurrent calls are for one series at a time. */
static double step_by_step(kann_t *one, int units, float **x) {
    int again = repeats(units, 1);
    double best = INFINITY;
    for (int round = 0; round <= ROUNDS; round++) {
        double start = seconds();
        for (int i = 0; i < again; i++) {
            kann_rnn_start(one);
            for (int t = 0; t < STEPS; t++)
                kann_apply1(one, x[t]);
            kann_rnn_end(one);
        }
        if (round)
            best = fmin(best, (seconds() - start) / again);
    }
    return best;
}

static double training(kann_t *all, int units, int batch, float **x, float **y) {
    int again = repeats(units, batch), n = kann_size_var(all);
    double best = INFINITY;
    float *memory = calloc((size_t)n, sizeof *memory);
    kann_switch(all, 1);
    kann_feed_bind(all, KANN_F_IN, 0, x);
    kann_feed_bind(all, KANN_F_TRUTH, 0, y);
    for (int round = 0; memory && round <= ROUNDS; round++) {
        double start = seconds();
        for (int i = 0; i < again; i++) {
            kann_cost(all, 0, 1);
            kann_RMSprop(n, 1e-3f, 0, 0.9f, all->g, all->x, memory);
        }
        if (round)
            best = fmin(best, (seconds() - start) / again);
    }
    free(memory);
    return best;
}

int main(int argc, char **argv) {
    int units = argc > 2 ? atoi(argv[1]) : 0;
    if (units < 1)
        return 2;
    for (int a = 2; a < argc; a++) {
        int batch = atoi(argv[a]);
        float *x[STEPS], *y[STEPS];
        kann_t *one =
            kann_new(kann_layer_cost(kann_layer_lstm(kann_layer_input(INPUTS), units, 0), OUTPUTS, KANN_C_MSE), 0);
        for (int t = 0; t < STEPS; t++)
            x[t] = numbers((size_t)batch * INPUTS), y[t] = numbers((size_t)batch * OUTPUTS);
        kann_t *all = kann_unroll(one, STEPS);
        kann_set_batch_size(all, batch);
        double points = (double)batch * STEPS, graph = unrolled(all, units, batch, x);
        double slow = training(all, units, batch, x, y), steps = batch == 1 ? step_by_step(one, units, x) : INFINITY;
        printf("lstm kann %d %d %.4f %.4f %.0f\n", units, batch, 1e6 * fmin(graph, steps) / points, 1e6 * slow / points,
               batch / slow);
        fflush(stdout);
        kann_delete_unrolled(all);
        kann_delete(one);
        for (int t = 0; t < STEPS; t++)
            free(x[t]), free(y[t]);
    }
    return 0;
}
