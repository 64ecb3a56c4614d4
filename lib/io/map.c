/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Map files: doc/formats.md, "Map"; doc/schema/map.json. */
#include "doc.h"
#include "map.h"

#define KEYS(d, n, what, ...)                                                                                          \
    do {                                                                                                               \
        static const char *const keys_[] = {__VA_ARGS__};                                                              \
        spr__doc_keys(d, n, what, keys_, SPR_ARRAY_LEN(keys_));                                                        \
    } while (0)

/* Longest name of a countable resource, or of anything else that stands in messages. */
enum { NAME_MOST = 64 };

static int reserve(struct spr__doc *d, void **block, size_t *cap, size_t need, size_t each) {
    if (d->rc >= 0)
        d->rc = spr__io_reserve(d->ctx, block, cap, need, each);
    return d->rc;
}

static void read_time(struct spr__doc *d, spr__node *root, struct spr__map *map) {
    static const char *const units[] = {"steps", "s", "ms", "iso8601"};
    spr__node *n = spr__doc_need(d, root, "time"), *origin;
    double step_s = 0;
    if (!n || d->rc < 0)
        return;
    KEYS(d, n, "time", "column", "unit", "step_s", "origin", "zone");
    map->time_column = spr__doc_text(d, spr__doc_need(d, n, "column"));
    spr__doc_choice(d, spr__doc_need(d, n, "unit"), units, SPR_ARRAY_LEN(units), &map->time_unit);
    spr__doc_number(d, spr__doc_get(d, n, "step_s"), 1e-6, 1e9, &step_s);
    map->step_ns = llround(step_s * 1e9);
    if (map->time_unit == SPR__TIME_STEPS && step_s <= 0)
        spr__doc_fail(d, n, "time: unit steps needs step_s");
    if ((origin = spr__doc_get(d, n, "origin"))) {
        spr__doc_time(d, origin, &map->origin_ns);
        map->has_origin = true;
    }
    char *zone = spr__doc_text(d, spr__doc_get(d, n, "zone"));
    spr__io_strfree(d->ctx, zone);
}

/* A standard resource, or a countable one of its own name. */
static void read_resource(struct spr__doc *d, spr__node *n, struct spr__map *map, int32_t *out) {
    char *name = spr__doc_text(d, n);
    if (!name)
        return;
    int r = spr_resource_find(name);
    for (int i = SPR_RESOURCE_COUNTABLE; r < 0 && i < SPR_RESOURCES_MAX; i++) {
        if (!map->resource_names[i]) {
            map->resource_names[i] = name;
            name = NULL;
            r = i;
        } else if (!strcmp(map->resource_names[i], name)) {
            r = i;
        }
    }
    if (r < 0)
        spr__doc_fail(d, n, "more than %d countable resources", SPR_RESOURCES_MAX - SPR_RESOURCE_COUNTABLE);
    else if (r >= SPR_RESOURCE_COUNTABLE && (!*map->resource_names[r] || strlen(map->resource_names[r]) > NAME_MOST))
        spr__doc_fail(d, n, "the name of a resource must have 1 to %d bytes", NAME_MOST);
    spr__io_strfree(d->ctx, name);
    *out = r;
}

static void read_unit(struct spr__doc *d, spr__node *n, int *unit) {
    size_t count;
    const char *const *names = spr__unit_names(&count);
    spr__doc_choice(d, n, names, count, unit);
}

/* What long metrics and wide files have in common. */
static void read_metric(struct spr__doc *d, spr__node *n, struct spr__map *map, struct spr__metric *m) {
    static const char *const aggregates[] = {"mean", "max"}, *const kinds[] = {"gauge", "counter"};
    spr__node *unit_node = spr__doc_need(d, n, "unit");
    int unit = 0, aggregate = 0, kind = 0;
    m->resource = SPR_CPU;
    read_resource(d, spr__doc_need(d, n, "resource"), map, &m->resource);
    read_unit(d, unit_node, &unit);
    spr__doc_choice(d, spr__doc_get(d, n, "aggregate"), aggregates, 2, &aggregate);
    spr__doc_choice(d, spr__doc_get(d, n, "kind"), kinds, 2, &kind);
    m->unit = unit;
    m->aggregate = aggregate;
    m->kind = kind == 1 ? SPR_COUNTER : SPR_GAUGE;
    if (d->rc >= 0 && !spr__unit_fits(unit, m->resource))
        spr__doc_fail(d, unit_node, "'%s' is no unit of %s", spr__unit_name(unit), spr__map_resource(map, m->resource));
}

static struct spr__metric *new_metric(struct spr__doc *d, struct spr__map *map) {
    if (reserve(d, (void **)&map->metrics, &map->metric_cap, map->metric_count + 1, sizeof *map->metrics) < 0)
        return NULL;
    struct spr__metric *m = &map->metrics[map->metric_count++];
    memset(m, 0, sizeof *m);
    return m;
}

static void read_metrics(struct spr__doc *d, spr__node *root, struct spr__map *map) {
    spr__node *n = spr__doc_need(d, root, "metrics");
    if (d->rc < 0)
        return;
    if (spr__doc_kind(n) != SPR__MAPPING || !spr__doc_count(n)) {
        spr__doc_fail(d, n, "metrics must map columns to what they are");
        return;
    }
    void *at = NULL;
    const char *key;
    size_t length;
    for (spr__node *v; (v = spr__doc_next_pair(d, n, &at, &key, &length));) {
        struct spr__metric *m = new_metric(d, map);
        if (!m)
            return;
        if (!(m->name = spr__io_strndup(d->ctx, key, length))) {
            d->rc = SPR_E_NOMEM;
            return;
        }
        KEYS(d, v, "a metric", "resource", "unit", "aggregate", "kind");
        read_metric(d, v, map, m);
    }
}

static void read_files(struct spr__doc *d, spr__node *root, struct spr__map *map) {
    spr__node *n = spr__doc_need(d, root, "files");
    if (d->rc >= 0 && (spr__doc_kind(n) != SPR__LIST || !spr__doc_count(n)))
        spr__doc_fail(d, n, "files must be a list of roles");
    void *at = NULL;
    for (spr__node *v; d->rc >= 0 && (v = spr__doc_next(n, &at));) {
        struct spr__metric *m = new_metric(d, map);
        if (!m)
            return;
        KEYS(d, v, "a file", "match", "resource", "unit", "aggregate", "kind", "default");
        m->match = spr__doc_text(d, spr__doc_get(d, v, "match"));
        spr__doc_bool(d, spr__doc_get(d, v, "default"), &m->fallback);
        read_metric(d, v, map, m);
    }
}

/* A list of texts, or one text. */
static size_t read_texts(struct spr__doc *d, spr__node *n, char **out, size_t room) {
    bool list = spr__doc_kind(n) == SPR__LIST;
    size_t count = list ? spr__doc_count(n) : 1, got = 0;
    if (!count || count > room)
        spr__doc_fail(d, n, "1 to %zu names are expected here", room);
    void *at = NULL;
    for (; got < count && d->rc >= 0; got++) {
        out[got] = spr__doc_text(d, list ? spr__doc_next(n, &at) : n);
        if (!out[got])
            break;
    }
    return got;
}

static void read_series(struct spr__doc *d, spr__node *root, struct spr__map *map) {
    spr__node *n = spr__doc_need(d, root, "series"), *column, *name;
    if (d->rc < 0)
        return;
    KEYS(d, n, "series", "column", "name");
    column = spr__doc_get(d, n, "column");
    name = spr__doc_get(d, n, "name");
    if (!column == !name)
        spr__doc_fail(d, n, "series needs a column with the VMs' names, or one name for all rows");
    else if (column)
        map->id_count = read_texts(d, column, map->id_columns, SPR__ID_COLUMNS);
    else
        map->id_name = spr__doc_text(d, name);
    if (d->rc >= 0 && map->id_name && !*map->id_name)
        spr__doc_fail(d, name, "the name is empty");
}

static void read_columns(struct spr__doc *d, spr__node *root, struct spr__map *map) {
    spr__node *n = spr__doc_get(d, root, "columns");
    if (!n ||
        reserve(d, (void **)&map->columns, &map->column_cap, SPR_MAX(spr__doc_count(n), 1u), sizeof *map->columns) < 0)
        return;
    map->column_count = read_texts(d, n, map->columns, map->column_cap);
}

static void read_side(struct spr__doc *d, spr__node *n, struct spr__map *map, int resource, const char *key) {
    spr__node *v = spr__doc_get(d, n, key);
    if (!v)
        return;
    KEYS(d, v, key, "column", "unit");
    map->side[resource].column = spr__doc_text(d, spr__doc_need(d, v, "column"));
    read_unit(d, spr__doc_need(d, v, "unit"), &map->side[resource].unit);
    int unit = map->side[resource].unit;
    if (d->rc >= 0 && (!spr__unit_fits(unit, resource) || unit == SPR__UNIT_PERCENT || unit == SPR__UNIT_FRACTION))
        spr__doc_fail(d, v, "'%s' is no unit of a %s capacity", spr__unit_name(unit), key);
}

static void read_capacity(struct spr__doc *d, spr__node *root, struct spr__map *map) {
    spr__node *n = spr__doc_get(d, root, "capacity");
    if (!n)
        return;
    KEYS(d, n, "capacity", "file", "series", "cpu", "memory", "cpu_cores", "memory_bytes");
    spr__node *file = spr__doc_get(d, n, "file");
    map->side_file = spr__doc_text(d, file);
    map->side_series = spr__doc_text(d, spr__doc_get(d, n, "series"));
    read_side(d, n, map, SPR_CPU, "cpu");
    read_side(d, n, map, SPR_MEMORY, "memory");
    spr__doc_number(d, spr__doc_get(d, n, "cpu_cores"), 1e-9, 1e9, &map->declared[SPR_CPU]);
    spr__doc_number(d, spr__doc_get(d, n, "memory_bytes"), 1, 1e18, &map->declared[SPR_MEMORY]);
    if (map->side_file && spr__io_has_parent(map->side_file))
        spr__doc_fail(d, file, "'..' is not allowed in a path inside a map");
    if (d->rc >= 0 && !map->side_file && (map->side[0].column || map->side[1].column || map->side_series))
        spr__doc_fail(d, n, "capacity: columns need a file");
}

static void read_where(struct spr__doc *d, spr__node *root, struct spr__map *map) {
    spr__node *n = spr__doc_get(d, root, "where");
    if (n && d->rc >= 0 && spr__doc_kind(n) != SPR__MAPPING)
        spr__doc_fail(d, n, "where must map columns to values");
    void *at = NULL;
    const char *key;
    size_t length;
    for (spr__node *v; n && (v = spr__doc_next_pair(d, n, &at, &key, &length));) {
        if (reserve(d, (void **)&map->where, &map->where_cap, map->where_count + 1, sizeof *map->where) < 0)
            return;
        struct spr__pair p = {spr__io_strndup(d->ctx, key, length), spr__doc_text(d, v)};
        map->where[map->where_count++] = p;
        if (!p.column)
            d->rc = SPR_E_NOMEM;
    }
}

static void check_map(struct spr__doc *d, spr__node *root, struct spr__map *map) {
    size_t fallbacks = 0;
    for (size_t i = 0; i < map->metric_count; i++)
        fallbacks += map->metrics[i].fallback;
    if (map->wide && fallbacks > 1)
        spr__doc_fail(d, root, "files: more than one is marked default");
    if (map->wide && (spr__doc_get(d, root, "metrics") || spr__doc_get(d, root, "series")))
        spr__doc_fail(d, root, "metrics and series belong to the long form; a wide one has files");
    if (!map->wide && (spr__doc_get(d, root, "files") || spr__doc_get(d, root, "columns")))
        spr__doc_fail(d, root, "files and columns belong to the wide form; a long one has metrics and series");
}

static void read_map(struct spr__doc *d, spr__node *root, struct spr__map *map) {
    static const char *const forms[] = {"long", "wide"}, *const several[] = {"join", "separate"};
    int form = 0, many = 0;
    KEYS(d, root, "map", "schema", "about", "form", "time", "series", "metrics", "columns", "capacity", "files",
         "several", "where");
    spr__doc_schema(d, root);
    spr__doc_choice(d, spr__doc_need(d, root, "form"), forms, 2, &form);
    spr__doc_choice(d, spr__doc_get(d, root, "several"), several, 2, &many);
    map->wide = form == 1;
    map->separate = many == 1;
    read_time(d, root, map);
    if (map->wide) {
        read_files(d, root, map);
        read_columns(d, root, map);
    } else {
        read_series(d, root, map);
        read_metrics(d, root, map);
    }
    read_capacity(d, root, map);
    read_where(d, root, map);
    check_map(d, root, map);
}

int spr__map_read(spr_context *ctx, const char *path, struct spr__map *map) {
    struct spr__doc d;
    spr__node *root;
    memset(map, 0, sizeof *map);
    if (!path)
        return spr__map_own(ctx, map);
    if (!(map->path = spr__io_strdup(ctx, path)))
        return SPR_E_NOMEM;
    int rc = spr__doc_open(ctx, path, &d, &root);
    if (rc < 0)
        return rc;
    read_map(&d, root, map);
    rc = d.rc;
    spr__doc_close(&d);
    return rc;
}
