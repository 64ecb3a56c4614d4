/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Wide traces: one column per VM, one file per metric. */
#include "trace.h"

struct wide_columns {
    int64_t *row; /* of each field in the collector, -1 = not a VM */
    size_t bytes;
    int flags;
};

/* The role of a file: the first metric whose pattern matches its name, else the one marked default. */
static int64_t role_of(const struct spr__map *map, const char *path) {
    for (size_t i = 0; i < map->metric_count; i++)
        if (map->metrics[i].match && spr__io_glob(map->metrics[i].match, spr__io_base(path)))
            return (int64_t)i;
    for (size_t i = 0; i < map->metric_count; i++)
        if (map->metrics[i].fallback || !map->metrics[i].match)
            return (int64_t)i;
    return -1;
}

static bool listed(const struct spr__map *map, const char *column) {
    for (size_t i = 0; i < map->column_count; i++)
        if (!strcmp(map->columns[i], column))
            return true;
    return !map->column_count;
}

static int check_columns(const struct spr__rows *w) {
    const struct spr__map *map = w->reader->map;
    for (size_t i = 0; i < map->column_count; i++)
        if (spr__csv_column(&w->csv, map->columns[i]) < 0)
            return spr__io_fail(w->csv.ctx, SPR_E_FORMAT, w->csv.path, 1, 0, "has no column '%s', which the map names",
                                map->columns[i]);
    return SPR_OK;
}

/* A series for every column that is one. */
static int wide_series(struct spr__rows *w, size_t metric, const char *stem, struct wide_columns *c) {
    struct spr__reader *r = w->reader;
    size_t target = spr__reader_target(r, metric), used = 0;
    c->flags = target == metric ? 0 : SPR_SAMPLE_IS_MAX;
    for (size_t i = 0; i < w->csv.header_count; i++) {
        c->row[i] = -1;
        if (i == w->time_field || !listed(r->map, w->csv.names[i]))
            continue;
        char *id = r->map->separate ? spr__io_printf(r->ctx, "%s/%s", stem, w->csv.names[i])
                                    : spr__io_strdup(r->ctx, w->csv.names[i]);
        if (!id)
            return SPR_E_NOMEM;
        int64_t vm = spr__reader_vm(r, id, strlen(id), r->map->separate ? strlen(stem) + 1 : 0);
        int rc = vm < 0 ? (int)vm : spr__reader_row(r, vm, target, stem, &c->row[i]);
        spr__io_strfree(r->ctx, id);
        if (rc < 0)
            return rc;
        used++;
    }
    return used ? SPR_OK : spr__io_fail(r->ctx, SPR_E_FORMAT, w->csv.path, 1, 0, "has no column besides its time");
}

static int wide_rows(struct spr__rows *w, size_t metric, const char *stem, struct wide_columns *c) {
    int64_t wall_ns;
    int rc;
    bool first = true;
    while ((rc = spr__rows_next(w, &wall_ns)) > 0) {
        if (first && (rc = wide_series(w, metric, stem, c)) < 0)
            return rc;
        first = false;
        for (size_t i = 0; i < w->csv.header_count; i++)
            if (c->row[i] >= 0 && (rc = spr__rows_push(w, i, c->row[i], wall_ns, c->flags)) < 0)
                return rc;
    }
    return rc;
}

static int read_file(struct spr__reader *r, const char *path, size_t metric) {
    struct spr__rows w;
    struct wide_columns c = {0};
    int rc = spr__rows_open(r, path, &w);
    if (rc < 0)
        return rc;
    c.bytes = w.csv.header_count * sizeof *c.row;
    char *stem = spr__io_strndup(r->ctx, spr__io_base(path), spr__io_stem(path));
    c.row = stem ? spr_context_alloc(r->ctx, c.bytes) : NULL;
    rc = c.row ? check_columns(&w) : spr__io_nomem(r->ctx);
    if (rc >= 0)
        rc = wide_rows(&w, metric, stem, &c);
    spr__io_strfree(r->ctx, stem);
    spr_context_free(r->ctx, c.row, c.bytes);
    spr__csv_close(&w.csv);
    return rc < 0 ? rc : SPR_OK;
}

static int find_roles(struct spr__reader *r) {
    for (size_t i = 0; i < r->opts.file_count; i++) {
        int64_t role = role_of(r->map, r->opts.files[i]);
        if (role < 0)
            return spr__io_fail(r->ctx, SPR_E_FORMAT, r->opts.files[i], 0, 0,
                                "no row of 'files' in the map %s matches this name and none is the default",
                                r->map->path);
        r->present[role] = true;
    }
    return SPR_OK;
}

/* Means first, so that a maximum finds the series it belongs to. */
int spr__read_wide(struct spr__reader *r) {
    int rc = find_roles(r);
    for (int turn = SPR__AGG_MEAN; turn <= SPR__AGG_MAX; turn++)
        for (size_t i = 0; rc >= 0 && i < r->opts.file_count; i++) {
            size_t role = (size_t)role_of(r->map, r->opts.files[i]);
            if (r->map->metrics[role].aggregate == turn && spr__reader_wants(r, &r->map->metrics[role]))
                rc = read_file(r, r->opts.files[i], role);
        }
    return rc;
}
