/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The neural kit: the machine's peak from a loop over registers, products as a share of it, LSTM inference and training
 * in microseconds per series and step. Before a build is timed its results are held against the plain build's.
 *
 *     bench_net [UNITS [BATCH]]      one thread; BATCH 0 = 1, 64, 256, 1024
 *
 * The LSTM has 8 inputs, UNITS cells (32) and 6 outputs at every step, sequences of 96 steps. Lines that begin with
 * "lstm" are for programs: level units batch inference_us training_us training_windows_per_second. On a shared machine
 * only ratios within one run mean something; every figure is the best of several rounds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "forecast/lstm.h"

enum { STEPS = 96, INPUTS = 8, OUTPUTS = 6, CHUNK = 48, ROUNDS = 9 };

/* What others need, us per series and step and windows a second (batch 64, KANN with OpenBLAS, the best one measured).
 */
static const struct {
    int units;
    double inference, alone, windows;
} peer[] = {{32, 0.76, 1.48, 5696}, {64, 1.69, 2.76, 2345}};

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *numbers(size_t n, double scale) {
    float *p = malloc(sizeof *p * (n ? n : 1));
    if (!p)
        exit(1);
    for (size_t i = 0; i < n; i++)
        p[i] = (float)(scale * (2 * spr__rand(1, n, i) - 1));
    return p;
}

/* ---- the peak: sums in registers, enough of them to hide how long one takes ---- */

#if defined(__x86_64__) && defined(__GNUC__)
#define PEAK(name, isa, type, width, sums, fma)                                                                        \
    __attribute__((target(isa))) static double name(void) {                                                            \
        enum { TURNS = 300000 };                                                                                       \
        type v[sums], x = {0}, y = {0};                                                                                \
        double best = INFINITY;                                                                                        \
        for (int i = 0; i < sums; i++)                                                                                 \
            v[i] = x + (float)i;                                                                                       \
        x += 0.999f, y += 0.001f;                                                                                      \
        for (int round = 0; round < ROUNDS * 3; round++) {                                                             \
            double start = seconds();                                                                                  \
            for (int t = 0; t < TURNS; t++) {                                                                          \
                _Pragma("GCC unroll 32") for (int i = 0; i < sums; i++) v[i] = fma(v[i], x, y);                        \
            }                                                                                                          \
            best = SPR_MIN(best, seconds() - start);                                                                   \
        }                                                                                                              \
        float sum = 0;                                                                                                 \
        for (int i = 0; i < sums; i++)                                                                                 \
            sum += v[i][0];                                                                                            \
        volatile float keep = sum; /* or the compiler leaves it all out */                                             \
        (void)keep;                                                                                                    \
        return 2e-9 * TURNS * sums * width / best;                                                                     \
    }
#include <immintrin.h>
PEAK(peak_avx2, "avx2,fma", __m256, 8, 12, _mm256_fmadd_ps)
PEAK(peak_avx512, "avx512f,fma", __m512, 16, 20, _mm512_fmadd_ps)
static double peak_of(int simd) {
    return simd == SPR_SIMD_AVX512 ? peak_avx512() : simd == SPR_SIMD_AVX2 ? peak_avx2() : NAN;
}
#else
static double peak_of(int simd) {
    (void)simd;
    return NAN;
}
#endif

/* ---- products ---- */

static double product_time(const struct spr__net_kernels *k, int kind, int m, int n, int depth, const float *a,
                           const float *b, float *c) {
    double best = INFINITY;
    for (int round = 0; round < ROUNDS; round++) {
        double start = seconds();
        if (kind == 0)
            k->gemm_nn(m, n, depth, a, depth, b, n, 0, c, n);
        else if (kind == 1)
            k->gemm_nt(m, n, depth, a, depth, b, depth, 0, c, n);
        else
            k->gemm_tn(depth, n, m, a, depth, c, n, 0, (float *)(uintptr_t)b, n);
        best = SPR_MIN(best, seconds() - start);
    }
    return best;
}

static void bench_products(int simd, double peak) {
    static const int shapes[][3] = {{4096, 64, 32}, {4096, 64, 64}, {4096, 6, 64}, {4096, 128, 40}, {65536, 64, 64}};
    static const char *kinds[] = {"nn", "nt", "tn"};
    const struct spr__net_kernels *k = spr__net_kernels_for(simd);
    for (size_t s = 0; s < SPR_ARRAY_LEN(shapes); s++) {
        int m = shapes[s][0], n = shapes[s][1], depth = shapes[s][2];
        float *a = numbers((size_t)m * (size_t)depth, 1), *b = numbers((size_t)depth * (size_t)n, 1);
        float *c = numbers((size_t)m * (size_t)n, 1);
        printf("  product m %5d n %3d k %2d:", m, n, depth);
        for (int kind = 0; kind < 3; kind++) {
            double rate = 2e-9 * m * n * depth / product_time(k, kind, m, n, depth, a, b, c);
            printf("  %s %6.1f GFLOP/s (%3.0f %%)", kinds[kind], rate, 100 * rate / peak);
        }
        printf("\n");
        free(a), free(b), free(c);
    }
}

/* ---- a layer with outputs ---- */

struct layer {
    spr_context *ctx;
    struct spr__lstm l;
    struct spr__lstm_run quick, slow; /* without and with what the way back needs */
    size_t cells, all;                /* weights of the cells, and with those of the outputs */
    float *w, *gradient, *m, *v, *x, *target, *out, *dh;
};

static void open_layer(struct layer *y, spr_context *ctx, int simd, int units, int batch) {
    size_t points = (size_t)STEPS * (size_t)batch;
    *y = (struct layer){.ctx = ctx, .cells = spr__lstm_weights(INPUTS, units)};
    y->all = y->cells + (size_t)(OUTPUTS * units);
    if (spr__lstm_make(ctx, simd, INPUTS, units, true, &y->l) < 0 ||
        spr__lstm_run_make(ctx, &y->l, SPR_MIN(CHUNK, batch), STEPS, false, &y->quick) < 0 ||
        spr__lstm_run_make(ctx, &y->l, SPR_MIN(CHUNK, batch), STEPS, true, &y->slow) < 0)
        exit(1);
    y->w = numbers(y->all, 0.3), y->gradient = numbers(y->all, 0), y->m = numbers(y->all, 0);
    y->v = numbers(y->all, 0), y->x = numbers(points * INPUTS, 1), y->target = numbers(points * OUTPUTS, 1);
    y->out = numbers(points * OUTPUTS, 0), y->dh = numbers((size_t)STEPS * CHUNK * (size_t)units, 0);
    spr__lstm_load(&y->l, y->w);
}
static void close_layer(struct layer *y) {
    spr__lstm_run_drop(y->ctx, &y->l, &y->quick);
    spr__lstm_run_drop(y->ctx, &y->l, &y->slow);
    spr__lstm_drop(y->ctx, &y->l);
    free(y->w), free(y->gradient), free(y->m), free(y->v), free(y->x), free(y->target), free(y->out), free(y->dh);
}

/* Inputs lie [series][step][input], as a caller has them. */
static void put_inputs(struct layer *y, struct spr__lstm_run *run, int first, int t) {
    float *to = spr__lstm_inputs(&y->l, run, t);
    for (int r = 0; r < run->rows; r++)
        memcpy(to + (ptrdiff_t)r * y->l.depth, y->x + ((ptrdiff_t)(first + r) * STEPS + t) * INPUTS,
               sizeof *to * INPUTS);
}

/* Outputs of every step: [step][series][output] of each chunk. */
static void infer(struct layer *y, int batch) {
    const struct spr__lstm *l = &y->l;
    for (int first = 0; first < batch; first += CHUNK) {
        y->quick.rows = SPR_MIN(CHUNK, batch - first);
        spr__lstm_rest(l, &y->quick);
        for (int t = 0; t < STEPS; t++) {
            put_inputs(y, &y->quick, first, t);
            spr__lstm_forward(l, &y->quick, t);
            l->kernels->gemm_nn(y->quick.rows, OUTPUTS, l->units, spr__lstm_state(l, &y->quick, t + 1), l->depth,
                                y->w + y->cells, OUTPUTS, 0,
                                y->out + ((ptrdiff_t)first * STEPS + (ptrdiff_t)t * y->quick.rows) * OUTPUTS, OUTPUTS);
        }
    }
}

/* One step of training on the squared error of all outputs. */
static void learn(struct layer *y, int batch) {
    const struct spr__lstm *l = &y->l;
    const struct spr__net_kernels *k = l->kernels;
    float *head = y->w + y->cells;
    memset(y->gradient, 0, sizeof(float) * y->all);
    spr__lstm_load(&y->l, y->w);
    for (int first = 0; first < batch; first += CHUNK) {
        struct spr__lstm_run *run = &y->slow;
        run->rows = SPR_MIN(CHUNK, batch - first);
        int points = run->rows * STEPS;
        float *out = y->out + (ptrdiff_t)first * STEPS * OUTPUTS, *h = spr__lstm_state(l, run, 1);
        const float *target = y->target + (ptrdiff_t)first * STEPS * OUTPUTS;
        spr__lstm_rest(l, run);
        for (int t = 0; t < STEPS; t++) {
            put_inputs(y, run, first, t);
            spr__lstm_forward(l, run, t);
        }
        k->gemm_nn(points, OUTPUTS, l->units, spr__lstm_state(l, run, 1), l->depth, head, OUTPUTS, 0, out, OUTPUTS);
        for (int i = 0; i < points * OUTPUTS; i++)
            out[i] = (out[i] - target[i]) / (float)(batch * STEPS);
        k->gemm_tn(l->units, OUTPUTS, points, h, l->depth, out, OUTPUTS, 1, y->gradient + y->cells, OUTPUTS);
        k->gemm_nt(points, l->units, OUTPUTS, out, OUTPUTS, head, OUTPUTS, 0, y->dh, l->units);
        memset(run->dh, 0, sizeof(float) * (size_t)run->rows * (size_t)l->units);
        spr__lstm_backward(l, run, y->dh, y->gradient);
    }
    k->adam((int64_t)y->all, y->w, y->gradient, y->m, y->v, 1e-3f, 0.9f, 0.999f, 1e-8f, 0, 1, 1);
}

/* Exits when a build is not the plain one within 3e-5 in outputs and one step of gradients. */
static void compare(spr_context *ctx, int simd, int units) {
    enum { BATCH = 13 };
    struct layer plain, fast;
    double outputs = 0, gradients = 0;
    open_layer(&plain, ctx, SPR_SIMD_PLAIN, units, BATCH);
    open_layer(&fast, ctx, simd, units, BATCH);
    infer(&plain, BATCH), infer(&fast, BATCH);
    for (int i = 0; i < STEPS * BATCH * OUTPUTS; i++)
        outputs = fmax(outputs, fabs((double)plain.out[i] - (double)fast.out[i]));
    learn(&plain, BATCH), learn(&fast, BATCH);
    for (size_t i = 0; i < plain.all; i++)
        gradients = fmax(gradients, fabs((double)plain.gradient[i] - (double)fast.gradient[i]));
    printf("  largest difference to the plain build, %d units: outputs %.1e, gradients %.1e\n", units, outputs,
           gradients);
    if (!(outputs < 3e-5 && gradients < 3e-5))
        exit(1);
    close_layer(&plain), close_layer(&fast);
}

static void bench_layer(spr_context *ctx, int simd, const char *name, int units, int batch, double peak) {
    struct layer y;
    double quick = INFINITY, slow = INFINITY, work = 2.0 * (4.0 * units * (INPUTS + units) + OUTPUTS * units);
    int again = batch < 64 ? 64 : 1, rounds = simd == SPR_SIMD_PLAIN ? 1 : ROUNDS;
    open_layer(&y, ctx, simd, units, batch);
    for (int round = 0; round < rounds; round++) {
        double start = seconds();
        for (int i = 0; i < again; i++)
            infer(&y, batch);
        quick = SPR_MIN(quick, (seconds() - start) / again);
        start = seconds();
        learn(&y, batch);
        slow = SPR_MIN(slow, seconds() - start);
    }
    close_layer(&y);
    quick *= 1e6 / batch / STEPS, slow *= 1e6 / batch / STEPS;
    printf("lstm %s %d %d %.4f %.4f %.0f\n", name, units, batch, quick, slow, 1e6 / slow / STEPS);
    printf("  inference %.1f GFLOP/s, training %.1f", work / quick * 1e-3, 3 * work / slow * 1e-3);
    if (peak > 0)
        printf(" = %.0f and %.0f %% of the peak", work / quick * 0.1 / peak, 3 * work / slow * 0.1 / peak);
    for (size_t i = 0; i < SPR_ARRAY_LEN(peer); i++)
        if (peer[i].units == units)
            printf(
                "; KANN with OpenBLAS needs %.1f times as long, trains %.1f times as slowly (published, another run)",
                (batch == 1 ? peer[i].alone : peer[i].inference) / quick, 1e6 / slow / STEPS / peer[i].windows);
    printf("\n");
}

int main(int argc, char **argv) {
    static const char *names[] = {"auto", "plain", "avx2", "avx512"};
    static const int batches[] = {1, 64, 256, 1024};
    int units = argc > 1 ? atoi(argv[1]) : 32, batch = argc > 2 ? atoi(argv[2]) : 0;
    spr_context *ctx = NULL;
    if (units < 1 || units > 1024 || batch < 0 || batch > 1000000 || spr_context_create(NULL, &ctx) < 0)
        return 2;
    for (int simd = SPR_SIMD_PLAIN; simd <= spr_context_simd(ctx); simd++) {
        double peak = peak_of(simd);
        printf("%s\n", names[simd]);
        if (simd > SPR_SIMD_PLAIN) {
            printf("  peak %.1f GFLOP/s\n", peak);
            bench_products(simd, peak);
            compare(ctx, simd, units);
        }
        for (size_t i = 0; i < SPR_ARRAY_LEN(batches); i++)
            if (batch ? i == 0 : simd > SPR_SIMD_PLAIN || batches[i] == 64)
                bench_layer(ctx, simd, names[simd], units, batch ? batch : batches[i], peak);
    }
    spr_context_unref(ctx);
    return 0;
}
