/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Traces: map, side file and rows become series and a list of VMs. */
#include "trace.h"

/* ---- what the row readers ask for ---- */

bool spr__reader_wants(const struct spr__reader *r, const struct spr__metric *m) {
    return !r->opts.resources || (r->opts.resources >> m->resource & 1);
}

int spr__reader_begin(struct spr__reader *r, int64_t first_ns) {
    if (!r->origin_known)
        r->origin_ns = first_ns;
    struct spr_metrics_opts o = SPR_METRICS_OPTS_INIT;
    o.origin_ns = r->origin_ns;
    o.step_ns = r->step_ns;
    return spr_metrics_create(r->ctx, &o, &r->metrics);
}

size_t spr__reader_target(const struct spr__reader *r, size_t metric) {
    const struct spr__metric *m = &r->map->metrics[metric];
    for (size_t i = 0; m->aggregate == SPR__AGG_MAX && i < r->map->metric_count; i++) {
        const struct spr__metric *mean = &r->map->metrics[i];
        if (mean->aggregate == SPR__AGG_MEAN && mean->resource == m->resource && mean->unit == m->unit &&
            r->present[i] && mean->kind == m->kind)
            return i;
    }
    return metric;
}

static void vm_facts(struct spr__reader *r, struct spr__vm *vm, const char *bare) {
    const struct spr__side_row *row = r->has_side ? spr__side_find(&r->side, bare) : NULL;
    vm->replica = row ? row->replica : -1;
    vm->spillable = row ? row->spillable : -1;
    vm->capacity.of[SPR_CPU] = row && row->cpu > 0 ? row->cpu : r->declared[SPR_CPU];
    vm->capacity.of[SPR_MEMORY] = row && row->memory > 0 ? row->memory : r->declared[SPR_MEMORY];
    r->unknown_vms += r->has_side && !row;
    for (int i = 0; i < SPR_RESOURCES_MAX; i++)
        vm->factor[i] = 1;
}

int64_t spr__reader_vm(struct spr__reader *r, const char *id, size_t n, size_t bare) {
    struct spr_trace *t = r->trace;
    int64_t at = spr__io_index_get(&t->index, id, n);
    if (at >= 0)
        return at;
    int rc = spr__io_reserve(r->ctx, (void **)&t->vms, &t->vm_cap, t->vm_count + 1, sizeof *t->vms);
    if (rc < 0)
        return rc;
    struct spr__vm vm = {.id = spr__io_strndup(r->ctx, id, n)};
    if (!vm.id)
        return SPR_E_NOMEM;
    vm_facts(r, &vm, vm.id + bare);
    t->vms[t->vm_count] = vm;
    if ((rc = spr__io_index_put(r->ctx, &t->index, vm.id, (int64_t)t->vm_count)) < 0) {
        spr__io_strfree(r->ctx, vm.id);
        return rc;
    }
    return (int64_t)t->vm_count++;
}

int spr__reader_row(struct spr__reader *r, int64_t vm, size_t metric, const char *trace_name, int64_t *row) {
    size_t cell = (size_t)vm * r->map->metric_count + metric;
    if (cell < r->table_cap && r->table[cell]) {
        *row = r->table[cell] - 1;
        return SPR_OK;
    }
    int rc = spr__io_reserve(r->ctx, (void **)&r->table, &r->table_cap, cell + 1, sizeof *r->table);
    if (rc < 0)
        return rc;
    const struct spr__metric *m = &r->map->metrics[metric];
    struct spr__vm *v = &r->trace->vms[vm];
    double capacity = m->resource <= SPR_MEMORY ? v->capacity.of[m->resource] : 0;
    double factor = spr__unit_factor(m->unit, m->resource, capacity);
    v->factor[m->resource] = factor;
    if ((rc = spr_metrics_add(r->metrics, v->id, trace_name, m->resource, m->kind, factor, row)) < 0)
        return rc;
    r->table[cell] = *row + 1;
    return SPR_OK;
}

/* ---- side files and capacities ---- */

static int own_side(struct spr__reader *r, const char *trace) {
    char *path = spr__io_printf(r->ctx, "%s.vms.csv", trace);
    if (!path)
        return SPR_E_NOMEM;
    int rc = SPR_OK;
    if (spr__io_exists(path)) {
        rc = spr__side_read(r->ctx, path, NULL, &r->side);
        r->has_side = rc >= 0;
    } else {
        spr__io_note(r->ctx, SPR_LOG_DEBUG, path, "is not there: capacities and policies of the VMs are unknown");
    }
    spr__io_strfree(r->ctx, path);
    return rc;
}

static int map_side(struct spr__reader *r, const char *trace) {
    char *path = spr__io_beside(r->ctx, trace, r->map->side_file);
    if (!path)
        return SPR_E_NOMEM;
    int rc = SPR_OK;
    if (spr__io_exists(path)) {
        rc = spr__side_read(r->ctx, path, r->map, &r->side);
        r->has_side = rc >= 0;
    } else {
        spr__io_note(r->ctx, SPR_LOG_NOTE, path, "is not there: %s",
                     r->map->declared[SPR_CPU] > 0 ? "the capacities that the map declares count"
                                                   : "one core counts as the capacity of every VM");
    }
    spr__io_strfree(r->ctx, path);
    return rc;
}

static int find_capacities(struct spr__reader *r) {
    memcpy(r->declared, r->map->declared, sizeof r->declared);
    if (r->opts.capacity_bytes > 0)
        r->declared[SPR_MEMORY] = r->opts.capacity_bytes;
    if (r->opts.capacity_cores > 0) {
        r->declared[SPR_CPU] = r->opts.capacity_cores;
        return SPR_OK;
    }
    if (r->opts.capacity) {
        int rc = spr__side_read(r->ctx, r->opts.capacity, NULL, &r->side);
        r->has_side = rc >= 0;
        return rc;
    }
    if (r->map->own)
        return own_side(r, r->opts.files[0]);
    return r->map->side_file ? map_side(r, r->opts.files[0]) : SPR_OK;
}

/* ---- passes over the files ---- */

static void forget_pass(struct spr__reader *r) {
    struct spr_trace *t = r->trace;
    spr_metrics_destroy(r->metrics);
    r->metrics = NULL;
    for (size_t i = 0; i < t->vm_count; i++)
        spr__io_strfree(r->ctx, t->vms[i].id);
    t->vm_count = 0;
    spr__io_index_finish(r->ctx, &t->index);
    spr_context_free(r->ctx, r->table, r->table_cap * sizeof *r->table);
    r->table = NULL;
    r->table_cap = 0;
    r->rows = r->unknown_vms = 0;
    r->newest_step = -1;
}

static int read_files(struct spr__reader *r) {
    int rc = SPR_OK;
    if (r->map->wide)
        return spr__read_wide(r);
    for (size_t i = 0; rc >= 0 && i < r->opts.file_count; i++)
        rc = spr__read_long(r, r->opts.files[i]);
    return rc;
}

/* The grid starts at the map's origin, else at the earliest row: where that was not the first, read again. */
static int read_passes(struct spr__reader *r) {
    r->step_ns = r->map->step_ns;
    r->origin_known = r->map->has_origin || r->map->time_unit == SPR__TIME_STEPS;
    r->origin_ns = r->map->has_origin ? r->map->origin_ns : 0;
    r->newest_step = -1;
    int rc = r->step_ns ? SPR_OK : spr__infer_step(r, r->opts.files[0]);
    if (rc < 0 || (rc = read_files(r)) < 0 || !r->searching)
        return rc;
    forget_pass(r);
    r->searching = false;
    r->origin_known = true;
    r->origin_ns = r->earliest_ns;
    return read_files(r);
}

static void tell_notes(const struct spr__reader *r) {
    struct spr_metrics_notes n = {.size = sizeof n};
    const char *file = r->opts.files[0];
    spr_metrics_notes(r->metrics, &n);
    const struct {
        int64_t count;
        const char *text;
    } lines[] = {
        {n.duplicates, "duplicate samples: the last one counts"},
        {n.out_of_order, "samples out of order: sorted in"},
        {n.gaps, "missing steps inside series: they stay gaps"},
        {n.clock_jumps, "gaps of more than 1000 steps: a clock may have jumped"},
        {r->unknown_vms, "VMs that the side file does not name: declared capacities count"},
    };
    for (size_t i = 0; i < SPR_ARRAY_LEN(lines); i++)
        if (lines[i].count)
            spr__io_note(r->ctx, SPR_LOG_NOTE, file, "%lld %s", (long long)lines[i].count, lines[i].text);
}

static int make_series(struct spr__reader *r) {
    if (!r->rows)
        return spr__io_fail(r->ctx, SPR_E_FORMAT, r->opts.files[0], 0, 0, "%s",
                            r->map->where_count || r->where_column ? "no row passes the filters"
                                                                   : "has a header and no rows: the trace is empty");
    int rc = spr_metrics_finish(r->metrics, &r->trace->series);
    if (rc == SPR_E_HISTORY)
        return spr__io_fail(r->ctx, SPR_E_FORMAT, r->opts.files[0], 0, 0, "none of its columns is asked for");
    if (rc < 0)
        return rc;
    r->trace->end = r->newest_step + 1;
    tell_notes(r);
    return SPR_OK;
}

/* ---- the public door ---- */

static int check_opts(spr_context *ctx, const struct spr_trace_opts *o) {
    if (!o->files || !o->file_count)
        return spr__io_fail(ctx, SPR_E_ARG, NULL, 0, 0, "spr_trace_opts: at least one trace file is required");
    for (size_t i = 0; i < o->file_count; i++)
        if (!o->files[i] || !*o->files[i])
            return spr__io_fail(ctx, SPR_E_ARG, NULL, 0, 0, "spr_trace_opts: a trace file without a name");
    if (!(o->capacity_cores >= 0 && o->capacity_bytes >= 0) || !isfinite(o->capacity_cores + o->capacity_bytes))
        return spr__io_fail(ctx, SPR_E_ARG, NULL, 0, 0,
                            "spr_trace_opts: a declared capacity is negative or not a number");
    return SPR_OK;
}

static int split_where(struct spr__reader *r) {
    const char *where = r->opts.where, *sign = where ? strchr(where, '=') : NULL;
    if (!where)
        return SPR_OK;
    if (!sign || sign == where)
        return spr__io_fail(r->ctx, SPR_E_ARG, NULL, 0, 0, "the row filter '%s' is not of the form COLUMN=VALUE",
                            where);
    r->where_column = spr__io_strndup(r->ctx, where, (size_t)(sign - where));
    r->where_value = spr__io_strdup(r->ctx, sign + 1);
    return r->where_column && r->where_value ? SPR_OK : SPR_E_NOMEM;
}

static int read_trace(struct spr__reader *r) {
    struct spr_trace *t = r->trace;
    int rc = spr__map_read(r->ctx, r->opts.map, &t->map);
    r->map = &t->map;
    if (rc < 0 || (rc = split_where(r)) < 0)
        return rc;
    if (!(r->present = spr_context_alloc(r->ctx, t->map.metric_count + 1)))
        return spr__io_nomem(r->ctx);
    if ((rc = find_capacities(r)) < 0 || (rc = read_passes(r)) < 0)
        return rc;
    return make_series(r);
}

int spr_trace_read(spr_context *ctx, const struct spr_trace_opts *opts, spr_trace **out) {
    struct spr__reader r = {.ctx = ctx};
    if (!ctx)
        return SPR_E_ARG;
    if (!out)
        return spr__io_fail(ctx, SPR_E_ARG, NULL, 0, 0, "spr_trace_read: an output is required");
    int rc = spr__io_opts(ctx, "spr_trace_opts", opts, &r.opts, sizeof r.opts);
    if (rc < 0 || (rc = check_opts(ctx, &r.opts)) < 0)
        return rc;
    if (!(r.trace = spr_context_alloc(ctx, sizeof *r.trace)))
        return spr__io_nomem(ctx);
    r.trace->ctx = spr_context_ref(ctx);
    rc = read_trace(&r);
    spr_metrics_destroy(r.metrics);
    spr__side_finish(ctx, &r.side);
    spr__io_strfree(ctx, r.where_column);
    spr__io_strfree(ctx, r.where_value);
    spr_context_free(ctx, r.table, r.table_cap * sizeof *r.table);
    spr_context_free(ctx, r.present, r.trace->map.metric_count + 1);
    if (rc < 0) {
        spr_trace_destroy(r.trace);
        return rc;
    }
    *out = r.trace;
    return SPR_OK;
}

void spr_trace_destroy(spr_trace *t) {
    if (!t)
        return;
    spr_context *ctx = t->ctx;
    for (size_t i = 0; i < t->vm_count; i++)
        spr__io_strfree(ctx, t->vms[i].id);
    spr_context_free(ctx, t->vms, t->vm_cap * sizeof *t->vms);
    spr__io_index_finish(ctx, &t->index);
    spr__map_finish(ctx, &t->map);
    spr_series_unref(t->series);
    spr_context_free(ctx, t, sizeof *t);
    spr_context_unref(ctx);
}

spr_series *spr_trace_series(const spr_trace *t) { return t ? t->series : NULL; }
int64_t spr_trace_vm_count(const spr_trace *t) { return t ? (int64_t)t->vm_count : 0; }
int64_t spr_trace_end(const spr_trace *t) { return t ? t->end : 0; }

int spr_trace_vm(const spr_trace *t, int64_t index, struct spr_trace_vm *out) {
    if (!t || !out || index < 0 || index >= (int64_t)t->vm_count)
        return SPR_E_ARG;
    const struct spr__vm *v = &t->vms[index];
    struct spr_trace_vm vm = {
        .size = sizeof vm, .id = v->id, .capacity = v->capacity, .replica = v->replica, .spillable = v->spillable};
    memcpy(vm.capacity_factor, v->factor, sizeof vm.capacity_factor);
    return spr__io_out(out, &vm, sizeof vm);
}

int spr_trace_resource(const spr_trace *t, int resource, struct spr_resource_info *out) {
    if (!t || !out)
        return SPR_E_ARG;
    const char *name = spr__map_resource(&t->map, resource);
    if (resource < SPR_RESOURCE_COUNTABLE)
        return spr_resource_describe(resource, out);
    struct spr_resource_info info = {sizeof info, name, "none", 0, 0};
    return name ? spr__io_out(out, &info, sizeof info) : SPR_E_ARG;
}
