/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Rows of a trace file: filters, times, long and wide forms. */
#include <stdlib.h>

#include "trace.h"

/* ---- one row ---- */

static int add_filter(struct spr__rows *w, const char *column, const char *value) {
    int64_t field = spr__csv_column(&w->csv, column);
    if (field < 0)
        return spr__io_fail(w->csv.ctx, SPR_E_FORMAT, w->csv.path, 1, 0, "has no column '%s' to filter by", column);
    if (w->where_count == SPR_ARRAY_LEN(w->where_fields))
        return spr__io_fail(w->csv.ctx, SPR_E_ARG, w->csv.path, 0, 0, "more than %zu row filters", w->where_count);
    w->where_fields[w->where_count] = (size_t)field;
    w->where_values[w->where_count++] = value;
    return SPR_OK;
}

static int find_fields(struct spr__rows *w) {
    const struct spr__map *map = w->reader->map;
    int64_t time = spr__csv_column(&w->csv, map->time_column);
    if (time < 0 && map->own)
        return spr__io_fail(
            w->csv.ctx, SPR_E_FORMAT, w->csv.path, 1, 0,
            "is not in the tool's own form (time_s,vm,cpu_cores,...); name a map that says how to read it");
    if (time < 0)
        return spr__io_fail(w->csv.ctx, SPR_E_FORMAT, w->csv.path, 1, 0,
                            "has no column '%s', which the map names as time", map->time_column);
    w->time_field = (size_t)time;
    int rc = SPR_OK;
    for (size_t i = 0; rc >= 0 && i < map->where_count; i++)
        rc = add_filter(w, map->where[i].column, map->where[i].value);
    if (rc >= 0 && w->reader->where_column)
        rc = add_filter(w, w->reader->where_column, w->reader->where_value);
    return rc;
}

int spr__rows_open(struct spr__reader *r, const char *path, struct spr__rows *w) {
    memset(w, 0, sizeof *w);
    w->reader = r;
    int rc = spr__csv_open(r->ctx, path, &w->csv);
    if (rc < 0)
        return rc;
    rc = find_fields(w);
    if (rc < 0)
        spr__csv_close(&w->csv);
    return rc;
}

static bool passes(const struct spr__rows *w) {
    for (size_t i = 0; i < w->where_count; i++) {
        const struct spr__field *f = &w->csv.fields[w->where_fields[i]];
        if (strlen(w->where_values[i]) != f->n || memcmp(w->where_values[i], f->text, f->n) != 0)
            return false;
    }
    return true;
}

static bool scaled_time(const struct spr__field *f, int64_t unit_ns, int64_t *ns) {
    int64_t whole;
    double v;
    if (spr__io_integer(f->text, f->n, &whole))
        return !__builtin_mul_overflow(whole, unit_ns, ns);
    if (!f->n || !spr__io_number(f->text, f->n, &v) || fabs(v * (double)unit_ns) > 9e18)
        return false;
    *ns = llround(v * (double)unit_ns);
    return true;
}

int spr__rows_time(struct spr__rows *w, int64_t *wall_ns) {
    const struct spr__reader *r = w->reader;
    const struct spr__field *f = &w->csv.fields[w->time_field];
    int64_t t = 0, since = r->map->has_origin ? r->map->origin_ns : 0;
    bool ok = false;
    switch (r->map->time_unit) {
    case SPR__TIME_ISO:
        ok = spr__io_iso8601(f->text, f->n, &t);
        since = 0;
        break;
    case SPR__TIME_STEPS:
        ok = spr__io_integer(f->text, f->n, &t) && t >= 0 && !__builtin_mul_overflow(t, r->step_ns, &t);
        break;
    default:
        ok = scaled_time(f, r->map->time_unit == SPR__TIME_MS ? 1000000 : 1000000000, &t);
    }
    if (ok && !__builtin_add_overflow(t, since, wall_ns))
        return SPR_OK;
    static const char *const want[] = {"a number of steps", "seconds", "milliseconds",
                                       "a time like 2013-07-31T22:00:00Z"};
    return spr__csv_fail(&w->csv, w->time_field, "'%.*s' in column '%s' is not %s", (int)SPR_MIN(f->n, 40), f->text,
                         r->map->time_column, want[r->map->time_unit]);
}

int spr__rows_next(struct spr__rows *w, int64_t *wall_ns) {
    struct spr__reader *r = w->reader;
    int rc;
    while ((rc = spr__csv_next(&w->csv)) > 0) {
        if (!passes(w))
            continue;
        if ((rc = spr__rows_time(w, wall_ns)) < 0)
            return rc;
        r->rows++;
        if (!r->metrics && (rc = spr__reader_begin(r, *wall_ns)) < 0)
            return rc;
        if (*wall_ns >= r->origin_ns && !r->searching) {
            r->newest_step = SPR_MAX(r->newest_step, (*wall_ns - r->origin_ns) / r->step_ns);
            return 1;
        }
        if (r->origin_known)
            return spr__csv_fail(&w->csv, w->time_field, "a time before the origin of the trace's grid");
        r->earliest_ns = r->searching ? SPR_MIN(r->earliest_ns, *wall_ns) : SPR_MIN(r->origin_ns, *wall_ns);
        r->searching = true;
    }
    return rc;
}

int spr__rows_push(struct spr__rows *w, size_t field, int64_t row, int64_t wall_ns, int flags) {
    double value;
    int rc = spr__csv_number(&w->csv, field, &value);
    if (rc < 0)
        return rc;
    rc = spr_metrics_push(w->reader->metrics, row, wall_ns, value, flags);
    if (rc >= 0 || rc == SPR_E_NOMEM)
        return rc;
    struct spr_error e = {.size = sizeof e};
    spr_context_error(w->csv.ctx, &e);
    e.file = w->csv.path;
    e.line = w->csv.line;
    e.column = w->csv.fields[field].text - w->csv.line_text + 1;
    return spr_context_fail(w->csv.ctx, &e);
}

/* ---- long: one row per VM and time ---- */

struct long_columns {
    size_t id[SPR__ID_COLUMNS], id_count;
    size_t field[SPR_RESOURCES_MAX * 4], metric[SPR_RESOURCES_MAX * 4], target[SPR_RESOURCES_MAX * 4];
    size_t count;
    char *scratch; /* for names that are put together */
    size_t scratch_cap;
    int64_t last_vm;
};

static int long_ids(struct spr__rows *w, struct long_columns *c) {
    const struct spr__map *map = w->reader->map;
    for (c->id_count = 0; c->id_count < map->id_count; c->id_count++) {
        int64_t field = spr__csv_column(&w->csv, map->id_columns[c->id_count]);
        if (field < 0)
            return spr__io_fail(w->csv.ctx, SPR_E_FORMAT, w->csv.path, 1, 0,
                                "has no column '%s' with the names of the VMs%s", map->id_columns[c->id_count],
                                map->own ? "; name a map that says how to read it" : "");
        c->id[c->id_count] = (size_t)field;
    }
    return SPR_OK;
}

static int long_metrics(struct spr__rows *w, struct long_columns *c) {
    struct spr__reader *r = w->reader;
    size_t known = 0;
    for (size_t i = 0; i < r->map->metric_count; i++) {
        int64_t field = spr__csv_column(&w->csv, r->map->metrics[i].name);
        if (field < 0 && !r->map->own)
            return spr__io_fail(r->ctx, SPR_E_FORMAT, w->csv.path, 1, 0,
                                "has no column '%s', which the map names as a metric", r->map->metrics[i].name);
        known += field >= 0;
        if (field < 0 || !spr__reader_wants(r, &r->map->metrics[i]))
            continue;
        if (c->count == SPR_ARRAY_LEN(c->field))
            return spr__io_fail(r->ctx, SPR_E_FORMAT, r->map->path, 0, 0, "more than %zu metrics", c->count);
        r->present[i] = true;
        c->field[c->count] = (size_t)field;
        c->metric[c->count++] = i;
    }
    for (size_t i = 0; i < c->count; i++)
        c->target[i] = spr__reader_target(r, c->metric[i]);
    if (!known)
        return spr__io_fail(r->ctx, SPR_E_FORMAT, w->csv.path, 1, 0,
                            "has no column with a metric (cpu_cores, memory_bytes, ...)");
    return SPR_OK;
}

/* The name of a row's VM: a field as it is, or several and the file's stem joined by slashes. */
static int long_name(struct spr__rows *w, struct long_columns *c, const char **name, size_t *n, size_t *bare) {
    const struct spr__map *map = w->reader->map;
    *bare = 0;
    if (c->id_count == 1 && !map->separate) {
        *name = w->csv.fields[c->id[0]].text;
        *n = w->csv.fields[c->id[0]].n;
        return SPR_OK;
    }
    size_t stem = map->separate ? spr__io_stem(w->csv.path) : 0, need = stem + 1;
    for (size_t i = 0; i < c->id_count; i++)
        need += w->csv.fields[c->id[i]].n + 1;
    need += map->id_name ? strlen(map->id_name) : 0;
    int rc = spr__io_reserve(w->csv.ctx, (void **)&c->scratch, &c->scratch_cap, need, 1);
    if (rc < 0)
        return rc;
    char *p = c->scratch;
    if (map->separate) {
        memcpy(p, spr__io_base(w->csv.path), stem);
        p += stem;
        *p++ = '/';
        *bare = stem + 1;
    }
    for (size_t i = 0; i < c->id_count; i++) {
        const struct spr__field *f = &w->csv.fields[c->id[i]];
        if (i)
            *p++ = '/';
        memcpy(p, f->text, f->n);
        p += f->n;
    }
    if (map->id_name) {
        memcpy(p, map->id_name, strlen(map->id_name));
        p += strlen(map->id_name);
    }
    *name = c->scratch;
    *n = (size_t)(p - c->scratch);
    return SPR_OK;
}

/* Most rows name the VM of the row before or the one after it: look there first. */
static int64_t long_vm(struct spr__rows *w, struct long_columns *c) {
    const struct spr_trace *t = w->reader->trace;
    const char *name = NULL;
    size_t n = 0, bare = 0;
    int rc = long_name(w, c, &name, &n, &bare);
    if (rc < 0)
        return rc;
    if (n == bare)
        return spr__csv_fail(&w->csv, c->id_count ? c->id[0] : 0, "a VM without a name");
    for (int64_t k = 0; k < 2 && c->last_vm >= 0; k++) {
        int64_t at = (c->last_vm + k) % (int64_t)t->vm_count;
        if (!strncmp(t->vms[at].id, name, n) && !t->vms[at].id[n])
            return c->last_vm = at;
    }
    return c->last_vm = spr__reader_vm(w->reader, name, n, bare);
}

static int long_row(struct spr__rows *w, struct long_columns *c, int64_t wall_ns) {
    struct spr__reader *r = w->reader;
    int64_t vm = long_vm(w, c), row;
    if (vm < 0)
        return (int)vm;
    for (size_t i = 0; i < c->count; i++) {
        int rc = spr__reader_row(r, vm, c->target[i], r->map->metrics[c->target[i]].name, &row);
        if (rc >= 0)
            rc = spr__rows_push(w, c->field[i], row, wall_ns, c->target[i] != c->metric[i] ? SPR_SAMPLE_IS_MAX : 0);
        if (rc < 0)
            return rc;
    }
    return SPR_OK;
}

int spr__read_long(struct spr__reader *r, const char *path) {
    struct spr__rows w;
    struct long_columns c = {.last_vm = -1};
    int64_t wall_ns;
    int rc = spr__rows_open(r, path, &w);
    if (rc < 0)
        return rc;
    if ((rc = long_ids(&w, &c)) >= 0 && (rc = long_metrics(&w, &c)) >= 0)
        while ((rc = spr__rows_next(&w, &wall_ns)) > 0)
            if ((rc = long_row(&w, &c, wall_ns)) < 0)
                break;
    spr_context_free(r->ctx, c.scratch, c.scratch_cap);
    spr__csv_close(&w.csv);
    return rc < 0 ? rc : SPR_OK;
}
