/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Side files: what is known of the VMs of a trace besides their samples. */
#include "trace.h"

/* Columns that a side file may have without being told by a map. */
static const struct {
    const char *column;
    int resource, unit;
} known[] = {
    {"cpu_cores", SPR_CPU, SPR__UNIT_CORES},       {"cpu_capacity_cores", SPR_CPU, SPR__UNIT_CORES},
    {"cpu_capacity_mhz", SPR_CPU, SPR__UNIT_MHZ},  {"cpu_capacity_mips", SPR_CPU, SPR__UNIT_MIPS},
    {"memory_bytes", SPR_MEMORY, SPR__UNIT_BYTES}, {"mem_capacity_bytes", SPR_MEMORY, SPR__UNIT_BYTES},
    {"mem_capacity_kb", SPR_MEMORY, SPR__UNIT_KB}, {"mem_capacity_mb", SPR_MEMORY, SPR__UNIT_MB},
};

struct columns {
    int64_t name, amount[2], replica, spillable;
    double factor[2];
};

static int find_columns(const struct spr__csv *csv, const struct spr__map *map, struct columns *c) {
    const char *series = map && map->side_series ? map->side_series : "vm";
    *c = (struct columns){spr__csv_column(csv, series),
                          {-1, -1},
                          spr__csv_column(csv, "replica"),
                          spr__csv_column(csv, "spillable"),
                          {1, 1}};
    if (c->name < 0)
        return spr__io_fail(csv->ctx, SPR_E_FORMAT, csv->path, 1, 0, "has no column '%s' with the names of the VMs",
                            series);
    for (int r = 0; map && r < 2; r++)
        if (map->side[r].column) {
            c->amount[r] = spr__csv_column(csv, map->side[r].column);
            c->factor[r] = spr__unit_factor(map->side[r].unit, r, 0);
            if (c->amount[r] < 0)
                return spr__io_fail(csv->ctx, SPR_E_FORMAT, csv->path, 1, 0, "has no column '%s', which the map names",
                                    map->side[r].column);
        }
    for (size_t i = 0; i < SPR_ARRAY_LEN(known); i++)
        if (c->amount[known[i].resource] < 0 && spr__csv_column(csv, known[i].column) >= 0) {
            c->amount[known[i].resource] = spr__csv_column(csv, known[i].column);
            c->factor[known[i].resource] = spr__unit_factor(known[i].unit, known[i].resource, 0);
        }
    if (c->amount[0] < 0 && c->amount[1] < 0)
        return spr__io_fail(csv->ctx, SPR_E_FORMAT, csv->path, 1, 0,
                            "has no column with capacities (cpu_cores, cpu_capacity_mhz, memory_bytes, ...)");
    return SPR_OK;
}

static int replica_of(const struct spr__csv *csv, size_t field, int32_t *out) {
    static const struct {
        const char *text;
        int32_t policy;
    } words[] = {{"", -1}, {"never", 0}, {"template", 1}, {"image", 2}, {"0", 0}, {"1", 1}};
    const struct spr__field *f = &csv->fields[field];
    for (size_t i = 0; i < SPR_ARRAY_LEN(words); i++)
        if (strlen(words[i].text) == f->n && !memcmp(words[i].text, f->text, f->n)) {
            *out = words[i].policy;
            return SPR_OK;
        }
    return spr__csv_fail(csv, field, "replica is '%.*s'; it must be never, template or image", (int)SPR_MIN(f->n, 40),
                         f->text);
}

static int amount_of(const struct spr__csv *csv, int64_t field, double factor, double *out) {
    double v = NAN;
    int rc = field < 0 ? SPR_OK : spr__csv_number(csv, (size_t)field, &v);
    if (rc >= 0 && v < 0)
        return spr__csv_fail(csv, (size_t)field, "a capacity must not be negative");
    *out = isnan(v) ? 0 : v * factor;
    return rc;
}

static int read_row(const struct spr__csv *csv, const struct columns *c, struct spr__side_row *row) {
    row->replica = -1;
    row->spillable = -1;
    int rc = amount_of(csv, c->amount[0], c->factor[0], &row->cpu);
    if (rc >= 0)
        rc = amount_of(csv, c->amount[1], c->factor[1], &row->memory);
    if (rc >= 0 && c->replica >= 0)
        rc = replica_of(csv, (size_t)c->replica, &row->replica);
    if (rc >= 0 && c->spillable >= 0) {
        double v;
        rc = spr__csv_number(csv, (size_t)c->spillable, &v);
        if (rc >= 0 && (v < 0 || v > 1))
            return spr__csv_fail(csv, (size_t)c->spillable, "spillable must lie between 0 and 1");
        row->spillable = rc >= 0 && !isnan(v) ? v : -1;
    }
    return rc;
}

static int read_rows(struct spr__csv *csv, const struct columns *c, struct spr__side *side) {
    int rc;
    while ((rc = spr__csv_next(csv)) > 0) {
        struct spr__side_row row = {0};
        const struct spr__field *f = &csv->fields[c->name];
        if ((rc = read_row(csv, c, &row)) < 0 ||
            (rc = spr__io_reserve(csv->ctx, (void **)&side->rows, &side->cap, side->count + 1, sizeof row)) < 0)
            return rc;
        if (!(row.name = spr__io_strndup(csv->ctx, f->text, f->n)))
            return SPR_E_NOMEM;
        side->rows[side->count++] = row;
        rc = spr__io_index_put(csv->ctx, &side->index, row.name, (int64_t)side->count - 1);
        if (rc == SPR_E_EXISTS)
            return spr__csv_fail(csv, (size_t)c->name, "the VM '%s' is there twice", row.name);
        if (rc < 0)
            return rc;
    }
    return rc;
}

int spr__side_read(spr_context *ctx, const char *path, const struct spr__map *map, struct spr__side *side) {
    struct spr__csv csv;
    struct columns c;
    memset(side, 0, sizeof *side);
    int rc = spr__csv_open(ctx, path, &csv);
    if (rc < 0)
        return rc;
    rc = find_columns(&csv, map, &c);
    if (rc >= 0)
        rc = read_rows(&csv, &c, side);
    spr__csv_close(&csv);
    return rc < 0 ? rc : SPR_OK;
}

void spr__side_finish(struct spr_context *ctx, struct spr__side *side) {
    for (size_t i = 0; i < side->count; i++)
        spr__io_strfree(ctx, side->rows[i].name);
    spr_context_free(ctx, side->rows, side->cap * sizeof *side->rows);
    spr__io_index_finish(ctx, &side->index);
    memset(side, 0, sizeof *side);
}

const struct spr__side_row *spr__side_find(const struct spr__side *side, const char *name) {
    int64_t i = spr__io_index_get(&side->index, name, strlen(name));
    return i < 0 ? NULL : &side->rows[i];
}
