/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* From collector to product: rows are copied into one panel and freed one by one, so both never stand whole. */
#include "metrics/metrics.h"

static int series_names(const spr_metrics *m, spr_series *s) {
    if (!(s->rows = spr__alloc(s->ctx, (size_t)s->count, sizeof *s->rows)))
        return spr__nomem(s->ctx);
    for (int64_t i = 0; i < s->count; i++) {
        const struct spr__row *from = &m->rows[i];
        struct spr__series_row *to = &s->rows[i];
        to->resource = from->resource;
        to->unit_factor = from->unit_factor;
        to->next = from->next;
        to->id = spr__strdup(s->ctx, from->id);
        to->metric = spr__strdup(s->ctx, from->metric);
        if (!to->id || !to->metric)
            return spr__nomem(s->ctx);
        if (spr__textmap_get(&m->ids, from->id) == i) {
            int rc = spr__textmap_put(s->ctx, &s->ids, to->id, i);
            if (rc < 0)
                return rc;
        }
    }
    return SPR_OK;
}

static int series_panels(const spr_metrics *m, spr_series *s) {
    bool max = false, censored = false;
    for (int64_t i = 0; i < m->row_count; i++) {
        max = max || m->rows[i].max || m->rows[i].cells;
        censored = censored || m->rows[i].censored;
    }
    size_t cells = (size_t)s->count * (size_t)s->steps;
    s->censored_stride = (s->steps + 7) / 8;
    if (!(s->mean = spr__alloc(s->ctx, cells, sizeof *s->mean)) ||
        !(s->samples = spr__alloc(s->ctx, cells, sizeof *s->samples)) ||
        (max && !(s->max = spr__alloc(s->ctx, cells, sizeof *s->max))) ||
        (censored && !(s->censored = spr__alloc(s->ctx, (size_t)s->count, (size_t)s->censored_stride))))
        return spr__nomem(s->ctx);
    return SPR_OK;
}

static void fill_row(spr_series *s, int64_t row, const struct spr__row *r) {
    double *mean = s->mean + row * s->steps, *max = s->max ? s->max + row * s->steps : NULL;
    float *samples = s->samples + row * s->steps;
    for (int64_t t = 0; t < s->steps; t++) {
        bool in = (size_t)t < r->cap && !isnan(r->sum[t]);
        uint32_t n = !in ? 0 : r->cells ? r->cells[t].count : 1;
        samples[t] = (float)n;
        mean[t] = !in ? NAN : n > 1 ? r->sum[t] / n : r->sum[t];
        if (!max)
            continue;
        max[t] = in && r->cells ? r->cells[t].max : mean[t];
        if (r->max && (size_t)t < r->cap)
            max[t] = fmax(max[t], r->max[t]);
    }
    if (r->censored)
        memcpy(s->censored + row * s->censored_stride, r->censored,
               (size_t)SPR_MIN(s->censored_stride, (int64_t)(r->cap + 7) / 8));
}

static int64_t gaps_of(const struct spr__row *r) {
    int64_t gaps = 0;
    for (int64_t t = r->first; t <= r->last; t++)
        gaps += isnan(r->sum[t]);
    return gaps;
}

int spr_metrics_finish(spr_metrics *m, spr_series **out) {
    if (!m)
        return SPR_E_ARG;
    if (!out)
        return spr__fail(m->ctx, SPR_E_ARG, "spr_metrics_finish: an output is required");
    if (!m->pushes || !m->row_count)
        return spr__fail(m->ctx, SPR_E_HISTORY, "no sample came");
    spr_series *s = spr__alloc(m->ctx, 1, sizeof *s);
    if (!s)
        return spr__nomem(m->ctx);
    spr__ref_init(&s->refs);
    s->ctx = spr_context_ref(m->ctx);
    s->count = m->row_count;
    s->steps = m->steps;
    s->origin_ns = m->origin_ns;
    s->step_ns = m->step_ns;
    int rc = series_names(m, s);
    if (rc >= 0)
        rc = series_panels(m, s);
    if (rc < 0) {
        spr_series_unref(s);
        return rc;
    }
    m->notes.gaps = 0;
    for (int64_t i = 0; i < m->row_count; i++) {
        m->notes.gaps += gaps_of(&m->rows[i]);
        fill_row(s, i, &m->rows[i]);
        spr__row_reset(m->ctx, &m->rows[i]);
    }
    m->steps = m->pushes = 0;
    *out = s;
    return SPR_OK;
}
