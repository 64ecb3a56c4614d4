/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The quantile net: sizes, start, answers. */
#include "forecast/qnet_pass.h"

bool spr__qnet_shape_ok(const struct spr__qnet_shape *s) {
    return s->summaries >= 1 && s->summaries <= 1 << 16 && s->features >= 1 && s->features <= 1 << 12 &&
           s->units >= 1 && s->units <= SPR__QNET_UNITS_MAX && s->levels >= 1 && s->levels <= SPR__QNET_LEVELS_MAX &&
           s->median >= 0 && s->median < s->levels;
}

void spr__qnet_layout(const struct spr__qnet_shape *s, struct spr__qnet_parts *p) {
    int64_t u = s->units, at = 0;
#define PART(name, floats) p->name = at, at += (floats)
    PART(w1, s->summaries * u);
    PART(b1, u);
    PART(w2, u * u);
    PART(w3, s->features * u);
    PART(b2, u);
    PART(w4, u * u);
    PART(b4, u);
    PART(w5, u * s->levels);
    PART(w6, (int64_t)s->features * s->levels);
    PART(b5, s->levels);
#undef PART
    p->count = at;
}

static void spread_start(float *w, int64_t n, int64_t inputs, uint64_t seed, uint64_t stream) {
    double half = sqrt(1.0 / (double)inputs);
    for (int64_t i = 0; i < n; i++)
        w[i] = (float)((2 * spr__rand(seed, stream, (uint64_t)i) - 1) * half);
}

void spr__qnet_init(const struct spr__qnet_shape *s, uint64_t seed, float *w) {
    struct spr__qnet_parts p;
    spr__qnet_layout(s, &p);
    memset(w, 0, (size_t)p.count * sizeof *w);
    spread_start(w + p.w1, p.w2 - p.w1, s->summaries, seed, 1);
    spread_start(w + p.w2, p.w3 - p.w2, s->units, seed, 2);
    spread_start(w + p.w3, p.w4 - p.w3, s->features, seed, 3);
    spread_start(w + p.w4, p.w5 - p.w4, s->units, seed, 4);
    spread_start(w + p.w5, p.w6 - p.w5, s->units, seed, 5);
}

size_t spr__qnet_room(const struct spr__qnet_shape *s, int64_t cases, int64_t steps) {
    size_t rows = (size_t)(cases * steps), units = (size_t)s->units, levels = (size_t)s->levels;
    return 2 * (size_t)cases * units + 2 * rows * units + 2 * rows * levels;
}

void spr__qnet_room_split(const struct spr__qnet_shape *s, int64_t cases, int64_t steps, float *room,
                          struct spr__qnet_pass *pass) {
    int64_t rows = cases * steps;
    pass->u = room;
    pass->wu = pass->u + cases * s->units;
    pass->x = pass->wu + cases * s->units;
    pass->y = pass->x + rows * s->units;
    pass->o = pass->y + rows * s->units;
    pass->soft = pass->o + rows * s->levels;
}

static void relu_bias(float *x, int64_t rows, int32_t units, const float *bias) {
    for (int64_t r = 0; r < rows; r++, x += units)
        for (int32_t i = 0; i < units; i++) {
            float v = x[i] + bias[i];
            x[i] = v > 0 ? v : 0;
        }
}

void spr__qnet_hidden(const struct spr__qnet_shape *s, const float *w, const struct spr__net_kernels *k, int64_t cases,
                      const float *summaries, struct spr__qnet_pass *pass) {
    struct spr__qnet_parts p;
    spr__qnet_layout(s, &p);
    k->gemm_nn((int)cases, s->units, s->summaries, summaries, s->summaries, w + p.w1, s->units, 0, pass->u, s->units);
    relu_bias(pass->u, cases, s->units, w + p.b1);
}

void spr__qnet_steps(const struct spr__qnet_shape *s, const float *w, const struct spr__net_kernels *k, int64_t cases,
                     int64_t steps, const float *features, struct spr__qnet_pass *pass) {
    struct spr__qnet_parts p;
    int32_t units = s->units, rows = (int32_t)(cases * steps);
    spr__qnet_layout(s, &p);
    k->gemm_nn((int)cases, units, units, pass->u, units, w + p.w2, units, 0, pass->wu, units);
    for (int64_t c = 0; c < cases; c++) {
        float *from = pass->wu + c * units;
        for (int32_t i = 0; i < units; i++)
            from[i] += w[p.b2 + i];
        for (int64_t h = 0; h < steps; h++)
            memcpy(pass->x + (c * steps + h) * units, from, (size_t)units * sizeof *from);
    }
    k->gemm_nn(rows, units, s->features, features, s->features, w + p.w3, units, 1, pass->x, units);
    for (int64_t i = 0; i < (int64_t)rows * units; i++)
        pass->x[i] = pass->x[i] > 0 ? pass->x[i] : 0;
    k->gemm_nn(rows, units, units, pass->x, units, w + p.w4, units, 0, pass->y, units);
    relu_bias(pass->y, rows, units, w + p.b4);
    k->gemm_nn(rows, s->levels, units, pass->y, units, w + p.w5, s->levels, 0, pass->o, s->levels);
    k->gemm_nn(rows, s->levels, s->features, features, s->features, w + p.w6, s->levels, 1, pass->o, s->levels);
    for (int64_t r = 0; r < rows; r++)
        for (int32_t j = 0; j < s->levels; j++) /* outputs start from small distances: softplus of -1 */
            pass->o[r * s->levels + j] += w[p.b5 + j] - (j == s->median ? 0.0f : 1.0f);
    k->vsoftplus((int64_t)rows * s->levels, pass->o, pass->soft);
}

void spr__qnet_order(const struct spr__qnet_shape *s, const float *o, const float *soft, float base, float *q) {
    int32_t m = s->median;
    q[m] = base + o[m];
    for (int32_t j = m + 1; j < s->levels; j++)
        q[j] = q[j - 1] + soft[j];
    for (int32_t j = m - 1; j >= 0; j--)
        q[j] = q[j + 1] - soft[j];
}

void spr__qnet_answer(const struct spr__qnet_shape *s, const float *weights, const struct spr__net_kernels *kernels,
                      int64_t cases, int64_t steps, const float *summaries, const float *features, const float *base,
                      float *room, float *out) {
    struct spr__qnet_pass pass;
    spr__qnet_room_split(s, cases, steps, room, &pass);
    spr__qnet_hidden(s, weights, kernels, cases, summaries, &pass);
    spr__qnet_steps(s, weights, kernels, cases, steps, features, &pass);
    for (int64_t r = 0; r < cases * steps; r++)
        spr__qnet_order(s, pass.o + r * s->levels, pass.soft + r * s->levels, base[r], out + r * s->levels);
}

/* o = W ((x - mean) / sd) + b: the rows of W shrink by sd, b takes what the means gave. */
static void fold(float *w, float *b, int32_t in, int32_t out, const double *mean, const double *sd) {
    for (int32_t j = 0; j < out; j++) {
        double shift = (double)b[j];
        for (int32_t i = 0; i < in; i++) {
            double v = (double)w[(int64_t)i * out + j] / sd[i];
            shift -= v * mean[i];
            w[(int64_t)i * out + j] = (float)v;
        }
        b[j] = (float)shift;
    }
}

void spr__qnet_fold(const struct spr__qnet_shape *s, float *w, const double *summary_mean, const double *summary_sd,
                    const double *feature_mean, const double *feature_sd) {
    struct spr__qnet_parts p;
    spr__qnet_layout(s, &p);
    fold(w + p.w1, w + p.b1, s->summaries, s->units, summary_mean, summary_sd);
    fold(w + p.w3, w + p.b2, s->features, s->units, feature_mean, feature_sd);
    fold(w + p.w6, w + p.b5, s->features, s->levels, feature_mean, feature_sd);
}

static void unfold(float *w, float *b, int32_t in, int32_t out, const double *mean, const double *sd) {
    for (int32_t j = 0; j < out; j++) {
        double shift = (double)b[j];
        for (int32_t i = 0; i < in; i++) {
            double v = (double)w[(int64_t)i * out + j];
            shift += v * mean[i];
            w[(int64_t)i * out + j] = (float)(v * sd[i]);
        }
        b[j] = (float)shift;
    }
}

void spr__qnet_unfold(const struct spr__qnet_shape *s, float *w, const double *summary_mean, const double *summary_sd,
                      const double *feature_mean, const double *feature_sd) {
    struct spr__qnet_parts p;
    spr__qnet_layout(s, &p);
    unfold(w + p.w1, w + p.b1, s->summaries, s->units, summary_mean, summary_sd);
    unfold(w + p.w3, w + p.b2, s->features, s->units, feature_mean, feature_sd);
    unfold(w + p.w6, w + p.b5, s->features, s->levels, feature_mean, feature_sd);
}
