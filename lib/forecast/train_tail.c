/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The held-out tail: what the first member never saw says how good the model is, whether it is too narrow, whether a
 * simple forecast should take part, and whether the middle should snap to the last value.
 */
#include "forecast/train.h"
#include "forecast/calibration.h"
#include "forecast/answer.h"

enum { ROWS_MAX = 120000, ORIGINS_MAX = 12 };

struct tail_case {
    const struct spr__train_series *series;
    int64_t origin;
};
struct measuring {
    const struct spr__train_data *data;
    const struct spr__train_plan *plan;
    const void *const *members;
    int32_t member_count;
    const struct spr__qnet_header *net; /* the first member */
    struct spr__global *global;
    const struct spr__net_kernels *kernels;
    struct tail_case *cases;
    int64_t count;
    double *q;      /* [count][horizon][levels], in units of the case's scale, around its level */
    double *y;      /* [count][horizon]; NaN = unknown */
    double *simple; /* [2][count][horizon]: last value, same phase of the last season */
    double *weight; /* [count][horizon] */
    double *scale;  /* [count] the unit in which the case's errors count */
    double *last;   /* [count] */
    void *room;
    double *other; /* [horizon][levels] what another member says of a case */
};

/* ---- which cases ---- */

static int64_t origins_of(const struct measuring *m, const struct spr__train_series *s, int64_t *out) {
    int64_t horizon = m->net->spec.horizon, context = m->net->spec.context, n = 0;
    int64_t from = m->plan->tail_series ? context : SPR_MAX(context, s->n - m->plan->tail);
    if (m->plan->tail_series && !s->witness)
        return 0;
    for (int64_t o = s->n - horizon; o >= from && n < ORIGINS_MAX; o -= SPR_MAX(horizon, 1))
        out[n++] = o;
    return n;
}

static int list_cases(spr_context *ctx, struct measuring *m) {
    int64_t origin[ORIGINS_MAX], all = 0, most = SPR_MAX(1, ROWS_MAX / m->net->spec.horizon);
    for (size_t i = 0; i < m->data->count; i++)
        all += m->data->series[i].draw > 0 ? origins_of(m, &m->data->series[i], origin) : 0;
    int64_t every = (all + most - 1) / SPR_MAX(1, most), k = 0; /* one of so many */
    m->cases = spr__alloc(ctx, (size_t)SPR_MAX(1, all), sizeof *m->cases);
    if (!m->cases)
        return spr__nomem(ctx);
    for (size_t i = 0; i < m->data->count && all; i++) {
        const struct spr__train_series *s = &m->data->series[i];
        int64_t n = s->draw > 0 ? origins_of(m, s, origin) : 0;
        for (int64_t j = 0; j < n; j++)
            if (k++ % every == 0)
                m->cases[m->count++] = (struct tail_case){s, origin[j]};
    }
    return SPR_OK;
}

/* ---- answers ---- */

static void answer_case(struct measuring *m, int64_t i) {
    const struct spr__train_series *s = m->cases[i].series;
    int64_t o = m->cases[i].origin, context = m->net->spec.context, lag = m->net->spec.day;
    int32_t horizon = m->net->spec.horizon, n = m->net->shape.levels;
    const double *history = s->y + o - context;
    double unit = m->data->unit[spr__resource_row(s->resource)];
    int64_t first = s->first_step + o;
    struct spr__cases one = {.kernels = m->kernels,
                             .count = 1,
                             .history = &history,
                             .steps = context,
                             .origin = &first,
                             .resource = &s->resource,
                             .unit = &unit,
                             .horizon = horizon,
                             .events = s->events};
    double *q = m->q + i * horizon * n, change = spr__mean_change(history, context, lag);
    for (int32_t k = 0; k < m->member_count; k++) {
        double *each = k ? m->other : q;
        spr__member_of(m->members[k])->answer(m->members[k], &one, m->room, each);
        for (int32_t j = 0; k && j < horizon * n; j++) /* mean of the first k + 1 */
            q[j] += (each[j] - q[j]) / (k + 1);
    }
    m->scale[i] = SPR_MAX(change, .05 * s->mean_abs + 1e-300); /* idle ones would rule */
    m->last[i] = history[context - 1];
    for (int32_t h = 0; h < horizon; h++) {
        int64_t at = i * horizon + h;
        uint8_t mark = s->marks[o + h];
        m->y[at] = mark & (SPR__MARK_FILLED | SPR__MARK_CENSORED) ? NAN : s->y[o + h];
        m->weight[at] = 1 / m->scale[i];
        m->simple[at] = m->last[i];
        m->simple[m->count * horizon + at] = lag ? history[context - lag + h % lag] : m->last[i];
        for (int32_t k = 0; k < n && !(m->global->flags & SPR__GLOBAL_SIGNED); k++)
            q[h * n + k] = SPR_MAX(q[h * n + k], 0);
    }
}

/* ---- losses ---- */

/* Mean over levels, steps and cases, each case in units of its scale. */
static double loss_of(const struct measuring *m, double *coverage95) {
    int32_t n = m->net->shape.levels, horizon = m->net->spec.horizon, at95 = 0;
    double loss = 0, covered = 0, count = 0;
    for (int32_t k = 0; k < n; k++)
        if (fabs(m->global->level[k] - .95) < fabs(m->global->level[at95] - .95))
            at95 = k;
    for (int64_t r = 0; r < m->count * horizon; r++) {
        if (isnan(m->y[r]))
            continue;
        const double *q = m->q + r * n;
        double sum = 0;
        for (int32_t k = 0; k < n; k++)
            sum += spr__pinball(m->global->level[k], m->y[r], q[k]);
        loss += sum * m->weight[r] / n, covered += m->y[r] <= q[at95], count++;
    }
    *coverage95 = count > 0 ? covered / count : NAN;
    return count > 0 ? loss / count : NAN;
}

/* The simple forecast with the best constant quantiles of its own errors. */
static int simple_loss(spr_context *ctx, struct measuring *m, int32_t which, double *quantile, double *loss) {
    int32_t n = m->net->shape.levels, horizon = m->net->spec.horizon;
    int64_t rows = m->count * horizon, used = 0;
    double *e = spr__alloc(ctx, (size_t)SPR_MAX(1, rows), sizeof *e), sum = 0;
    if (!e)
        return spr__nomem(ctx);
    const double *simple = m->simple + which * rows;
    for (int64_t r = 0; r < rows; r++)
        if (!isnan(m->y[r]))
            e[used++] = (m->y[r] - simple[r]) * m->weight[r];
    if (used) {
        spr__quantiles(e, used, m->global->level, n, quantile);
        for (int64_t i = 0; i < used; i++)
            for (int32_t k = 0; k < n; k++)
                sum += spr__pinball(m->global->level[k], e[i], quantile[k]) / n;
    }
    *loss = used ? sum / (double)used : NAN;
    spr__free(ctx, e, (size_t)SPR_MAX(1, rows), sizeof *e);
    return SPR_OK;
}

/*
 * Would the middle be better at the last value where that is near? By pooled and by scaled absolute error together;
 * where a few big series rule the pooled one, a tail holds too few of their changes to tell, and the scaled one must
 * not rise.
 */
static bool snap_helps(const struct measuring *m) {
    int32_t n = m->net->shape.levels, horizon = m->net->spec.horizon;
    double pooled[2] = {0, 0}, scaled[2] = {0, 0}, q[SPR__GLOBAL_LEVELS];
    for (int64_t r = 0; r < m->count * horizon; r++) {
        if (isnan(m->y[r]))
            continue;
        double slot = m->data->unit[spr__resource_row(m->cases[r / horizon].series->resource)];
        memcpy(q, m->q + r * n, (size_t)n * sizeof *q);
        double before = fabs(m->y[r] - q[m->global->median]);
        spr__snap(m->global, m->last[r / horizon], slot, q);
        double after = fabs(m->y[r] - q[m->global->median]);
        pooled[0] += before, pooled[1] += after;
        scaled[0] += before * m->weight[r], scaled[1] += after * m->weight[r];
    }
    if (m->plan->few_rule)
        return scaled[0] > 0 && scaled[1] < 1.003 * scaled[0];
    return pooled[0] > 0 && scaled[0] > 0 && pooled[1] / pooled[0] + scaled[1] / scaled[0] < 2 - .003;
}

static int judge(spr_context *ctx, struct measuring *m, struct spr__train_tail *tail) {
    struct spr__global *g = m->global;
    int32_t n = g->levels;
    double quantile[2][SPR__GLOBAL_LEVELS], naive[2];
    int64_t rows = m->count * m->net->spec.horizon;
    int rc = SPR_OK;
    tail->loss = loss_of(m, &tail->coverage95);
    for (int32_t i = 0; rc == SPR_OK && i < 2; i++)
        rc = simple_loss(ctx, m, i, quantile[i], &naive[i]);
    if (rc < 0)
        return rc;
    int32_t best = m->net->spec.day && naive[1] < naive[0];
    tail->naive_loss = naive[best];
    g->naive_lag = best ? m->net->spec.day : 0;
    for (int32_t k = 0; k < n; k++)
        g->naive[k] = SPR_MIN(SPR_MAX(quantile[best][k], -1e6), 1e6);
    if (tail->naive_loss < tail->loss)
        g->naive_share = tail->naive_loss < .8 * tail->loss ? 1 : .5;
    if (snap_helps(m))
        g->flags |= SPR__GLOBAL_SNAP;
    if (m->plan->calibrate || tail->coverage95 < .925)
        rc = spr__calibration_factors(ctx, rows, g->level, n, m->y, m->q, m->weight, g->factor);
    for (int32_t k = 0; k < n; k++)
        g->factor[k] = SPR_MIN(SPR_MAX(g->factor[k], .5), 3);
    return rc;
}

int spr__train_tail_measure(spr_context *ctx, const struct spr__train_data *data, const struct spr__train_plan *plan,
                            const void *const *payloads, int32_t count, struct spr__global *global,
                            struct spr__train_tail *tail) {
    struct measuring m = {.data = data,
                          .plan = plan,
                          .members = payloads,
                          .member_count = count,
                          .net = payloads[0],
                          .global = global,
                          .kernels = spr__net_kernels_for(spr_context_simd(ctx))};
    int64_t horizon = m.net->spec.horizon, all = 0;
    *tail = (struct spr__train_tail){NAN, NAN, NAN, 0};
    for (size_t i = 0; i < data->count; i++) {
        int64_t origin[ORIGINS_MAX];
        all += data->series[i].draw > 0 ? origins_of(&m, &data->series[i], origin) : 0;
    }
    int rc = list_cases(ctx, &m);
    size_t rows = (size_t)(m.count * horizon), room = 0;
    size_t levels = (size_t)m.net->shape.levels, each = (size_t)horizon * levels;
    for (int32_t k = 0; k < count; k++)
        room = SPR_MAX(room, spr__member_of(payloads[k])->room(payloads[k], 1, (int32_t)horizon));
    if (rc == SPR_OK && m.count) {
        m.q = spr__alloc(ctx, rows * levels, sizeof *m.q);
        m.y = spr__alloc(ctx, rows, sizeof *m.y);
        m.simple = spr__alloc(ctx, 2 * rows, sizeof *m.simple);
        m.weight = spr__alloc(ctx, rows, sizeof *m.weight);
        m.scale = spr__alloc(ctx, (size_t)m.count, sizeof *m.scale);
        m.last = spr__alloc(ctx, (size_t)m.count, sizeof *m.last);
        m.room = spr__alloc(ctx, room, 1);
        m.other = spr__alloc(ctx, each, sizeof *m.other);
        if (!m.q || !m.y || !m.simple || !m.weight || !m.scale || !m.last || !m.room || !m.other)
            rc = spr__nomem(ctx);
        for (int64_t i = 0; rc == SPR_OK && i < m.count; i++)
            answer_case(&m, i);
        if (rc == SPR_OK)
            rc = judge(ctx, &m, tail);
        tail->cases = m.count;
        spr__free(ctx, m.q, rows * levels, sizeof *m.q);
        spr__free(ctx, m.y, rows, sizeof *m.y);
        spr__free(ctx, m.simple, 2 * rows, sizeof *m.simple);
        spr__free(ctx, m.weight, rows, sizeof *m.weight);
        spr__free(ctx, m.scale, (size_t)m.count, sizeof *m.scale);
        spr__free(ctx, m.last, (size_t)m.count, sizeof *m.last);
        spr__free(ctx, m.room, room, 1);
        spr__free(ctx, m.other, each, sizeof *m.other);
    }
    spr__free(ctx, m.cases, (size_t)SPR_MAX(1, all), sizeof *m.cases);
    return rc;
}
