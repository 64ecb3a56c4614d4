/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The maker (remembers the last class of every series) and the product (rows and their texts). */
#include "profile/profile.h"

struct memory {
    char *key; /* "id\nmetric" */
    int klass;
};

struct spr_profiler {
    spr_context *ctx;
    struct spr_profile_opts opts;
    struct spr_textmap index;
    struct memory *memory;
    size_t count, cap;
};

struct spr_profile {
    spr_refcount refs;
    spr_context *ctx;
    struct spr_profile_row *rows;
    int64_t count;
};

const char *spr_class_name(int klass) {
    static const char *const names[] = {"steady-state", "diurnal-spike", "event-driven-burst", "chaotic"};
    return klass >= 0 && klass < 4 ? names[klass] : "unknown";
}

int spr_profiler_create(spr_context *ctx, const struct spr_profile_opts *opts, spr_profiler **out) {
    struct spr_profile_opts o;
    if (!ctx)
        return SPR_E_ARG;
    int rc = spr__opts_copy(ctx, "spr_profile_opts", opts, &o, sizeof o);
    if (rc < 0)
        return rc;
    if (!out)
        return spr__fail(ctx, SPR_E_ARG, "spr_profiler_create: an output is required");
    if (!(o.significance >= 0 && o.significance < 1) || o.permutations < 0 || o.permutations > 100000 ||
        o.max_periods < 0 || o.max_periods > SPR_PERIODS_MAX || !(o.hysteresis <= 1) ||
        (o.hysteresis < 0 && o.hysteresis != SPR_NONE) || o.utc_offset_s < -86400 || o.utc_offset_s > 86400)
        return spr__fail(ctx, SPR_E_ARG, "spr_profile_opts: a field is out of its range");
    o.significance = o.significance > 0 ? o.significance : 0.01;
    o.permutations = o.permutations ? o.permutations : 199;
    o.max_periods = o.max_periods ? o.max_periods : SPR_PERIODS_MAX;
    o.hysteresis = o.hysteresis > 0 ? o.hysteresis : o.hysteresis < 0 ? 0 : 0.1;
    spr_profiler *p = spr__alloc(ctx, 1, sizeof *p);
    if (!p)
        return spr__nomem(ctx);
    p->ctx = spr_context_ref(ctx);
    p->opts = o;
    *out = p;
    return SPR_OK;
}

void spr_profiler_destroy(spr_profiler *p) {
    if (!p)
        return;
    spr_context *ctx = p->ctx;
    for (size_t i = 0; i < p->count; i++)
        spr__strfree(ctx, p->memory[i].key);
    spr__free(ctx, p->memory, p->cap, sizeof *p->memory);
    spr__textmap_finish(ctx, &p->index);
    spr__free(ctx, p, 1, sizeof *p);
    spr_context_unref(ctx);
}

/* ---- one row; runs on any thread ---- */

struct job {
    spr_profiler *maker;
    struct spr_panel view;
    int64_t first, steps, start_s;
    double step_s;
    struct spr_profile_row *rows;
    const double *factors;
    double (*members)[4];
    int *codes;
};

static void profile_row(void *arg, size_t i) {
    struct job *j = arg;
    const spr_context *ctx = j->maker->ctx;
    struct spr_profile_row *row = &j->rows[i];
    double *x = spr__alloc(ctx, (size_t)j->steps, 2 * sizeof *x);
    if (!x) {
        j->codes[i] = SPR_E_NOMEM;
        return;
    }
    const char *from = (const char *)j->view.data + (int64_t)i * j->view.series_stride + j->first * j->view.step_stride;
    for (int64_t k = 0; k < j->steps; k++)
        x[k] = *(const double *)(const void *)(from + k * j->view.step_stride) * j->factors[i];
    struct spr__trait t = {ctx,
                           x,
                           j->steps,
                           j->step_s,
                           j->start_s + j->maker->opts.utc_offset_s,
                           spr_context_seed(ctx) ^ spr__mix64(spr__hash_text(row->id) + (uint64_t)row->resource),
                           &j->maker->opts};
    struct spr__periods periods;
    j->codes[i] = spr__periods_find(&t, &periods);
    if (j->codes[i] >= 0) {
        spr__features(&t, &periods, x + j->steps, row);
        spr__classify(&t, row, j->members[i]);
    }
    spr__free(ctx, x, (size_t)j->steps, 2 * sizeof *x);
}

/* ---- hysteresis ---- */

/* A new class must be clearly more likely than the one the series had. */
static void settle(struct spr_profile_row *row, const double member[4], int before, double margin) {
    int best = 0;
    for (int k = 1; k < 4; k++)
        if (member[k] > member[best])
            best = k;
    if (before >= 0 && best != before && member[best] < member[before] + margin)
        best = before;
    row->klass = best;
    row->confidence = member[best];
}

static char *key_of(const spr_context *ctx, const struct spr_profile_row *row) {
    size_t a = strlen(row->id), b = strlen(row->metric);
    char *key = spr__alloc(ctx, a + b + 2, 1);
    if (key) {
        memcpy(key, row->id, a);
        key[a] = '\n';
        memcpy(key + a + 1, row->metric, b);
    }
    return key;
}

/* Where the memory of a row is, making room for it. */
static int64_t slot_of(spr_profiler *p, const struct spr_profile_row *row) {
    char *key = key_of(p->ctx, row);
    if (!key)
        return spr__nomem(p->ctx);
    int64_t at = spr__textmap_get(&p->index, key);
    if (at >= 0) {
        spr__strfree(p->ctx, key);
        return at;
    }
    int rc = spr__reserve(p->ctx, (void **)&p->memory, &p->cap, p->count + 1, sizeof *p->memory);
    if (rc >= 0)
        rc = spr__textmap_put(p->ctx, &p->index, key, (int64_t)p->count);
    if (rc < 0) {
        spr__strfree(p->ctx, key);
        return rc;
    }
    p->memory[p->count] = (struct memory){key, -1};
    return (int64_t)p->count++;
}

/* First every slot, then every class: when memory runs out the profiler remembers what it did before. */
static int settle_all(struct job *j, int64_t count, int64_t *slots) {
    spr_profiler *p = j->maker;
    for (int64_t i = 0; i < count; i++)
        if ((slots[i] = slot_of(p, &j->rows[i])) < 0)
            return (int)slots[i];
    for (int64_t i = 0; i < count; i++) {
        struct memory *m = &p->memory[slots[i]];
        settle(&j->rows[i], j->members[i], m->klass, p->opts.hysteresis);
        m->klass = j->rows[i].klass;
    }
    return SPR_OK;
}

/* ---- the run ---- */

static spr_profile *new_profile(spr_context *ctx, int64_t count) {
    spr_profile *f = spr__alloc(ctx, 1, sizeof *f);
    if (!f)
        return NULL;
    if (!(f->rows = spr__alloc(ctx, (size_t)count, sizeof *f->rows))) {
        spr__free(ctx, f, 1, sizeof *f);
        return NULL;
    }
    spr__ref_init(&f->refs);
    f->ctx = spr_context_ref(ctx);
    f->count = count;
    return f;
}

static int name_rows(spr_profile *f, const spr_series *series, double *factors) {
    for (int64_t i = 0; i < f->count; i++) {
        struct spr_series_info info = {.size = sizeof info};
        int rc = spr_series_info(series, i, &info);
        if (rc < 0)
            return rc;
        struct spr_profile_row *row = &f->rows[i];
        struct spr_resource_info what = {.size = sizeof what};
        const char *metric = spr_resource_describe(info.resource, &what) == SPR_OK ? what.name : info.metric;
        row->size = sizeof *row;
        row->resource = info.resource;
        row->id = spr__strdup(f->ctx, info.id ? info.id : "");
        row->metric = spr__strdup(f->ctx, metric ? metric : "");
        if (!row->id || !row->metric)
            return SPR_E_NOMEM;
        factors[i] = info.unit_factor != 0 ? info.unit_factor : 1;
    }
    return SPR_OK;
}

static int run_rows(struct job *j, spr_profile *f, const spr_series *series, double *factors, int64_t *slots) {
    int rc = name_rows(f, series, factors);
    if (rc < 0)
        return rc == SPR_E_NOMEM ? spr__nomem(f->ctx) : rc;
    spr__parallel(f->ctx, (size_t)f->count, profile_row, j);
    for (int64_t i = 0; i < f->count; i++)
        if (j->codes[i] < 0)
            return spr__fail_of(f->ctx, j->codes[i], f->rows[i].id, NULL, "%s", spr_error_text(j->codes[i]));
    return settle_all(j, f->count, slots);
}

int spr_profiler_run(spr_profiler *p, const spr_series *series, int64_t first, int64_t last, spr_profile **out) {
    if (!p)
        return SPR_E_ARG;
    if (!series || !out)
        return spr__fail(p->ctx, SPR_E_ARG, "spr_profiler_run: series and output are required");
    int64_t steps = spr_series_steps(series), count = spr_series_count(series);
    last = last ? last : steps;
    if (first < 0 || last > steps || first >= last)
        return spr__fail(p->ctx, SPR_E_ARG, "spr_profiler_run: steps [%lld, %lld) are not within the series' %lld",
                         (long long)first, (long long)last, (long long)steps);
    struct job j = {.maker = p, .view = {.size = sizeof j.view}, .first = first, .steps = last - first};
    j.step_s = (double)spr_series_step_ns(series) * 1e-9;
    j.start_s = (spr_series_origin_ns(series) + first * spr_series_step_ns(series)) / 1000000000;
    int rc = spr_series_view(series, SPR_SERIES_MEAN, &j.view);
    if (rc < 0)
        return rc;
    spr_profile *f = new_profile(p->ctx, count);
    double *factors = spr__alloc(p->ctx, (size_t)count, sizeof *factors);
    int64_t *slots = spr__alloc(p->ctx, (size_t)count, sizeof *slots);
    j.members = spr__alloc(p->ctx, (size_t)count, sizeof *j.members);
    j.codes = spr__alloc(p->ctx, (size_t)count, sizeof *j.codes);
    j.factors = factors;
    j.rows = f ? f->rows : NULL;
    rc = f && factors && slots && j.members && j.codes ? run_rows(&j, f, series, factors, slots) : spr__nomem(p->ctx);
    spr__free(p->ctx, factors, (size_t)count, sizeof *factors);
    spr__free(p->ctx, slots, (size_t)count, sizeof *slots);
    spr__free(p->ctx, j.members, (size_t)count, sizeof *j.members);
    spr__free(p->ctx, j.codes, (size_t)count, sizeof *j.codes);
    if (rc < 0) {
        spr_profile_unref(f);
        return rc;
    }
    *out = f;
    return SPR_OK;
}

/* ---- the product ---- */

spr_profile *spr_profile_ref(spr_profile *p) {
    if (p)
        spr__ref(&p->refs);
    return p;
}

void spr_profile_unref(spr_profile *p) {
    if (!p || !spr__unref(&p->refs))
        return;
    spr_context *ctx = p->ctx;
    for (int64_t i = 0; i < p->count; i++) {
        spr__strfree(ctx, (char *)(uintptr_t)p->rows[i].id);
        spr__strfree(ctx, (char *)(uintptr_t)p->rows[i].metric);
    }
    spr__free(ctx, p->rows, (size_t)p->count, sizeof *p->rows);
    spr__free(ctx, p, 1, sizeof *p);
    spr_context_unref(ctx);
}

int64_t spr_profile_count(const spr_profile *p) { return p ? p->count : 0; }

int spr_profile_get(const spr_profile *p, int64_t row, struct spr_profile_row *out) {
    if (!p || !out || row < 0 || row >= p->count)
        return SPR_E_ARG;
    return spr__out_copy(out, &p->rows[row], sizeof *out);
}
