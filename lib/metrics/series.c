/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The product: nothing here changes it. */
#include "metrics/metrics.h"

spr_series *spr_series_ref(spr_series *s) {
    if (s)
        spr__ref(&s->refs);
    return s;
}

void spr_series_unref(spr_series *s) {
    if (!s || !spr__unref(&s->refs))
        return;
    spr_context *ctx = s->ctx;
    size_t cells = (size_t)s->count * (size_t)s->steps;
    for (int64_t i = 0; s->rows && i < s->count; i++) {
        spr__strfree(ctx, s->rows[i].id);
        spr__strfree(ctx, s->rows[i].metric);
    }
    spr__free(ctx, s->rows, (size_t)s->count, sizeof *s->rows);
    spr__textmap_finish(ctx, &s->ids);
    spr__free(ctx, s->mean, cells, sizeof *s->mean);
    spr__free(ctx, s->max, cells, sizeof *s->max);
    spr__free(ctx, s->samples, cells, sizeof *s->samples);
    spr__free(ctx, s->censored, (size_t)s->count, (size_t)s->censored_stride);
    spr__free(ctx, s, 1, sizeof *s);
    spr_context_unref(ctx);
}

int64_t spr_series_count(const spr_series *s) { return s ? s->count : 0; }
int64_t spr_series_steps(const spr_series *s) { return s ? s->steps : 0; }
int64_t spr_series_origin_ns(const spr_series *s) { return s ? s->origin_ns : 0; }
int64_t spr_series_step_ns(const spr_series *s) { return s ? s->step_ns : 0; }

int spr_series_info(const spr_series *s, int64_t row, struct spr_series_info *out) {
    if (!s || !out || row < 0 || row >= s->count)
        return SPR_E_ARG;
    const struct spr__series_row *r = &s->rows[row];
    struct spr_series_info info = {sizeof info, r->id, r->metric, r->resource, 0, r->unit_factor};
    return spr__out_copy(out, &info, sizeof info);
}

int spr_series_find(const spr_series *s, const char *id, int resource, const char *metric, int64_t *row) {
    if (!s || !id || !row)
        return SPR_E_ARG;
    for (int64_t i = spr__textmap_get(&s->ids, id); i >= 0; i = s->rows[i].next)
        if (metric ? !strcmp(s->rows[i].metric, metric) : s->rows[i].resource == resource) {
            *row = i;
            return SPR_OK;
        }
    return SPR_E_NOT_FOUND;
}

int spr_series_view(const spr_series *s, int field, struct spr_panel *out) {
    if (!s || !out || field < SPR_SERIES_MEAN || field > SPR_SERIES_COUNT)
        return SPR_E_ARG;
    bool count = field == SPR_SERIES_COUNT;
    int64_t each = count ? (int64_t)sizeof *s->samples : (int64_t)sizeof *s->mean;
    struct spr_panel p = {.size = sizeof p, .dtype = count ? SPR_F32 : SPR_F64, .series = s->count, .steps = s->steps};
    p.data = count ? (const void *)s->samples : field == SPR_SERIES_MAX && s->max ? s->max : s->mean;
    p.series_stride = s->steps * each;
    p.step_stride = each;
    p.censored = s->censored;
    p.censored_stride = s->censored ? s->censored_stride : 0;
    return spr__out_copy(out, &p, sizeof p);
}
