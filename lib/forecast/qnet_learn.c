/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The gradient of the pinball loss (Koenker & Bassett 1978) through the quantile net. */
#include "forecast/qnet_pass.h"

struct learning {
    const struct spr__qnet_shape *s;
    const struct spr__qnet_lesson *l;
    struct spr__qnet_parts p;
    struct spr__qnet_pass pass;
    const float *w;
    float *g;            /* gradient of the weights */
    float *mask;         /* [cases][units] factor of dropout */
    float *du, *dwu;     /* [cases][units] */
    float *dx, *dy;      /* [rows][units] */
    float *dout, *slope; /* [rows][levels] */
};

size_t spr__qnet_training_room(const struct spr__qnet_shape *s, int64_t cases, int64_t steps) {
    size_t rows = (size_t)(cases * steps), units = (size_t)s->units, levels = (size_t)s->levels;
    return spr__qnet_room(s, cases, steps) + 3 * (size_t)cases * units + 2 * rows * units + 2 * rows * levels;
}

static void split(struct learning *a, float *room) {
    int64_t cases = a->l->cases, rows = cases * a->l->steps, units = a->s->units;
    spr__qnet_room_split(a->s, cases, a->l->steps, room, &a->pass);
    a->mask = room + spr__qnet_room(a->s, cases, a->l->steps);
    a->du = a->mask + cases * units;
    a->dwu = a->du + cases * units;
    a->dx = a->dwu + cases * units;
    a->dy = a->dx + rows * units;
    a->dout = a->dy + rows * units;
    a->slope = a->dout + rows * a->s->levels;
}

/* Four units take 16 bits each of one random number. */
static void drop_out(struct learning *a) {
    const struct spr__qnet_lesson *l = a->l;
    int32_t units = a->s->units, fours = (units + 3) / 4;
    uint64_t bar = (uint64_t)(l->dropout * 65536.0f);
    float kept = 1 / (1 - (float)bar / 65536.0f);
    for (int64_t c = 0; c < l->cases; c++)
        for (int32_t i = 0; i < units; i++) {
            uint64_t at = (uint64_t)((l->first + c) * fours + i / 4);
            float factor = 1;
            if (bar)
                factor = ((spr__mix64(l->seed + spr__mix64(at)) >> (16 * (i & 3))) & 0xffff) < bar ? 0 : kept;
            a->mask[c * units + i] = factor;
            a->pass.u[c * units + i] *= factor;
        }
}

/* Loss of one row and its slope in each output. A lower bound costs only while a quantile lies below it. */
static double row_loss(const struct learning *a, int64_t row, float weight, float *q, float *dq) {
    const struct spr__qnet_lesson *l = a->l;
    int32_t n = a->s->levels, m = a->s->median;
    const float *slope = a->slope + row * n;
    float *out = a->dout + row * n, target = l->target[row];
    memset(out, 0, (size_t)n * sizeof *out);
    if (isnan(target))
        return 0;
    bool bound = l->censored && l->censored[row];
    double loss = 0;
    spr__qnet_order(a->s, a->pass.o + row * n, a->pass.soft + row * n, l->base[row], q);
    for (int32_t j = 0; j < n; j++) {
        float miss = target - q[j], side = miss > 0 ? l->levels[j] : bound ? 0 : l->levels[j] - 1;
        loss += (double)(l->level_weight[j] * side * miss);
        dq[j] = -weight * l->level_weight[j] * side;
    }
    float up = 0, down = 0; /* what lies beyond moves with the step towards it */
    for (int32_t j = n - 1; j > m; j--)
        up += dq[j], out[j] = up * slope[j];
    for (int32_t j = 0; j < m; j++)
        down += dq[j], out[j] = -down * slope[j];
    out[m] = up + down + dq[m];
    return loss * (double)weight;
}

static double output_slopes(struct learning *a) {
    const struct spr__qnet_lesson *l = a->l;
    int64_t rows = l->cases * l->steps;
    float q[SPR__QNET_LEVELS_MAX], dq[SPR__QNET_LEVELS_MAX];
    double loss = 0;
    l->kernels->vsigmoid(rows * a->s->levels, a->pass.o, a->slope);
    for (int64_t r = 0; r < rows; r++)
        loss += row_loss(a, r, l->scale * l->weight[r / l->steps], q, dq);
    return loss;
}

static void column_sums(const float *x, int64_t rows, int32_t n, float *out) {
    memset(out, 0, (size_t)n * sizeof *out);
    for (int64_t r = 0; r < rows; r++, x += n)
        for (int32_t j = 0; j < n; j++)
            out[j] += x[j];
}

static void where_positive(float *slope, const float *value, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        slope[i] = value[i] > 0 ? slope[i] : 0;
}

static void back_steps(struct learning *a) {
    const struct spr__net_kernels *k = a->l->kernels;
    const struct spr__qnet_parts *p = &a->p;
    int32_t units = a->s->units, n = a->s->levels, d = a->s->features, rows = (int32_t)(a->l->cases * a->l->steps);
    k->gemm_tn(units, n, rows, a->pass.y, units, a->dout, n, 0, a->g + p->w5, n);
    k->gemm_tn(d, n, rows, a->l->features, d, a->dout, n, 0, a->g + p->w6, n);
    column_sums(a->dout, rows, n, a->g + p->b5);
    k->gemm_nt(rows, units, n, a->dout, n, a->w + p->w5, n, 0, a->dy, units);
    where_positive(a->dy, a->pass.y, (int64_t)rows * units);
    k->gemm_tn(units, units, rows, a->pass.x, units, a->dy, units, 0, a->g + p->w4, units);
    column_sums(a->dy, rows, units, a->g + p->b4);
    k->gemm_nt(rows, units, units, a->dy, units, a->w + p->w4, units, 0, a->dx, units);
    where_positive(a->dx, a->pass.x, (int64_t)rows * units);
    k->gemm_tn(d, units, rows, a->l->features, d, a->dx, units, 0, a->g + p->w3, units);
    column_sums(a->dx, rows, units, a->g + p->b2);
}

static void back_case(struct learning *a) {
    const struct spr__qnet_lesson *l = a->l;
    const struct spr__qnet_parts *p = &a->p;
    int32_t units = a->s->units, cases = (int32_t)l->cases;
    for (int64_t c = 0; c < cases; c++)
        column_sums(a->dx + c * l->steps * units, l->steps, units, a->dwu + c * units);
    l->kernels->gemm_tn(units, units, cases, a->pass.u, units, a->dwu, units, 0, a->g + p->w2, units);
    l->kernels->gemm_nt(cases, units, units, a->dwu, units, a->w + p->w2, units, 0, a->du, units);
    for (int64_t i = 0; i < (int64_t)cases * units; i++)
        a->du[i] = a->pass.u[i] > 0 ? a->du[i] * a->mask[i] : 0;
    int32_t s = a->s->summaries;
    l->kernels->gemm_tn(s, units, cases, l->summaries, s, a->du, units, 0, a->g + p->w1, units);
    column_sums(a->du, cases, units, a->g + p->b1);
    if (l->last_slope)
        l->kernels->gemm_nt(cases, l->last, units, a->du, units, a->w + p->w1 + (ptrdiff_t)(s - l->last) * units, units,
                            0, l->last_slope, l->last);
}

static double forward(struct learning *a, float *room) {
    const struct spr__qnet_lesson *l = a->l;
    spr__qnet_layout(a->s, &a->p);
    split(a, room);
    spr__qnet_hidden(a->s, a->w, l->kernels, l->cases, l->summaries, &a->pass);
    drop_out(a);
    spr__qnet_steps(a->s, a->w, l->kernels, l->cases, l->steps, l->features, &a->pass);
    return output_slopes(a);
}

double spr__qnet_loss(const struct spr__qnet_shape *shape, const float *weights, const struct spr__qnet_lesson *lesson,
                      float *room) {
    struct learning a = {.s = shape, .l = lesson, .w = weights};
    return forward(&a, room);
}

double spr__qnet_learn(const struct spr__qnet_shape *shape, const float *weights, const struct spr__qnet_lesson *lesson,
                       float *room, float *gradient) {
    struct learning a = {.s = shape, .l = lesson, .w = weights, .g = gradient};
    double loss = forward(&a, room);
    back_steps(&a);
    back_case(&a);
    return loss;
}
