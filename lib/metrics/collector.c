/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The maker: takes samples in any order, keeps one value a step and no sample itself. */
#include "metrics/metrics.h"

static const int64_t never = INT64_MIN;

int spr_metrics_create(spr_context *ctx, const struct spr_metrics_opts *opts, spr_metrics **out) {
    struct spr_metrics_opts o;
    if (!ctx || !out)
        return spr__fail(ctx, SPR_E_ARG, "spr_metrics_create: a context and an output are required");
    int rc = spr__opts_copy(ctx, "spr_metrics_opts", opts, &o, sizeof o);
    if (rc < 0)
        return rc;
    if (o.step_ns < 0 || o.max_steps < 0)
        return spr__fail(ctx, SPR_E_ARG, "spr_metrics_opts: step_ns and max_steps must not be negative");
    struct spr_metrics *m = spr__alloc(ctx, 1, sizeof *m);
    if (!m)
        return spr__nomem(ctx);
    m->ctx = spr_context_ref(ctx);
    m->origin_ns = o.origin_ns;
    m->step_ns = o.step_ns ? o.step_ns : INT64_C(300000000000);
    m->max_steps = o.max_steps ? o.max_steps : INT64_C(1) << 22;
    m->notes.size = sizeof m->notes;
    *out = m;
    return SPR_OK;
}

void spr__row_reset(const spr_context *ctx, struct spr__row *r) {
    spr__free(ctx, r->sum, r->cap, sizeof *r->sum);
    spr__free(ctx, r->cells, r->cap, sizeof *r->cells);
    spr__free(ctx, r->max, r->cap, sizeof *r->max);
    spr__free(ctx, r->censored, (r->cap + 7) / 8, 1);
    r->sum = r->max = NULL;
    r->cells = NULL;
    r->censored = NULL;
    r->cap = 0;
    r->phase_ns = r->steps = r->first = 0;
    r->last = -1;
    r->newest_ns = r->newest_max_ns = r->count_ns[0] = r->count_ns[1] = never;
}

void spr_metrics_destroy(spr_metrics *m) {
    if (!m)
        return;
    spr_context *ctx = m->ctx;
    for (int64_t i = 0; i < m->row_count; i++) {
        spr__row_reset(ctx, &m->rows[i]);
        spr__strfree(ctx, m->rows[i].id);
        spr__strfree(ctx, m->rows[i].metric);
    }
    spr__textmap_finish(ctx, &m->ids);
    spr__free(ctx, m->rows, m->row_cap, sizeof *m->rows);
    spr__free(ctx, m, 1, sizeof *m);
    spr_context_unref(ctx);
}

/* ---- series ---- */

static int64_t find_row(const spr_metrics *m, const char *id, const char *metric) {
    for (int64_t i = spr__textmap_get(&m->ids, id); i >= 0; i = m->rows[i].next)
        if (!strcmp(m->rows[i].metric, metric))
            return i;
    return -1;
}

static int chain_row(spr_metrics *m, int64_t row) {
    int64_t i = spr__textmap_get(&m->ids, m->rows[row].id);
    if (i < 0)
        return spr__textmap_put(m->ctx, &m->ids, m->rows[row].id, row);
    while (m->rows[i].next >= 0)
        i = m->rows[i].next;
    m->rows[i].next = row;
    return SPR_OK;
}

static const char *metric_or_resource(const char *metric, int resource) {
    struct spr_resource_info info = {.size = sizeof info};
    if (metric && *metric)
        return metric;
    return spr_resource_describe(resource, &info) < 0 ? NULL : info.name;
}

static int add_row(spr_metrics *m, const struct spr__row *like) {
    int rc = spr__reserve(m->ctx, (void **)&m->rows, &m->row_cap, (size_t)m->row_count + 1, sizeof *m->rows);
    if (rc < 0)
        return rc;
    struct spr__row *r = &m->rows[m->row_count];
    *r = *like;
    spr__row_reset(m->ctx, r);
    r->id = spr__strdup(m->ctx, like->id);
    r->metric = spr__strdup(m->ctx, like->metric);
    r->next = -1;
    rc = r->id && r->metric ? chain_row(m, m->row_count) : spr__nomem(m->ctx);
    if (rc < 0) {
        spr__strfree(m->ctx, r->id);
        spr__strfree(m->ctx, r->metric);
        return rc;
    }
    m->row_count++;
    return SPR_OK;
}

int spr_metrics_add(spr_metrics *m, const char *id, const char *metric, int resource, int kind, double unit_factor,
                    int64_t *row) {
    if (!m)
        return SPR_E_ARG;
    const char *name = metric_or_resource(metric, resource);
    if (!id || !*id || !row)
        return spr__fail(m->ctx, SPR_E_ARG, "spr_metrics_add: an id and an output are required");
    if (resource < 0 || resource >= SPR_RESOURCES_MAX || !name)
        return spr__fail_of(m->ctx, SPR_E_ARG, id, NULL, "resource %d does not exist or needs a metric name", resource);
    if ((kind != SPR_GAUGE && kind != SPR_COUNTER) || !isfinite(unit_factor) || unit_factor < 0)
        return spr__fail_of(m->ctx, SPR_E_ARG, id, NULL, "kind %d or unit factor %g is out of range", kind,
                            unit_factor);
    if (find_row(m, id, name) >= 0)
        return spr__fail_of(m->ctx, SPR_E_EXISTS, id, NULL, "the series has a metric '%s' already", name);
    struct spr__row like = {.id = (char *)(uintptr_t)id,
                            .metric = (char *)(uintptr_t)name,
                            .resource = resource,
                            .kind = kind,
                            .unit_factor = unit_factor > 0 ? unit_factor : 1};
    int rc = add_row(m, &like);
    if (rc < 0)
        return rc;
    *row = m->row_count - 1;
    return SPR_OK;
}

int spr_metrics_find(const spr_metrics *m, const char *id, const char *metric, int64_t *row) {
    if (!m || !id || !metric || !row)
        return SPR_E_ARG;
    int64_t i = find_row(m, id, metric);
    if (i < 0)
        return SPR_E_NOT_FOUND;
    *row = i;
    return SPR_OK;
}
