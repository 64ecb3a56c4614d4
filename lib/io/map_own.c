/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The tool's own trace form as a map, and what every map needs. */
#include "map.h"

static const struct {
    const char *column;
    int32_t resource, unit;
} own_columns[] = {
    {"cpu_cores", SPR_CPU, SPR__UNIT_CORES},
    {"memory_bytes", SPR_MEMORY, SPR__UNIT_BYTES},
    {"net_rx_bps", SPR_NET_RX, SPR__UNIT_BIT_S},
    {"net_tx_bps", SPR_NET_TX, SPR__UNIT_BIT_S},
    {"disk_read_Bps", SPR_DISK_READ, SPR__UNIT_BYTE_S},
    {"disk_write_Bps", SPR_DISK_WRITE, SPR__UNIT_BYTE_S},
};

int spr__map_own(spr_context *ctx, struct spr__map *map) {
    map->own = true;
    map->time_unit = SPR__TIME_S;
    map->step_ns = INT64_C(300000000000);
    map->time_column = spr__io_strdup(ctx, "time_s");
    map->id_columns[0] = spr__io_strdup(ctx, "vm");
    map->id_count = map->id_columns[0] != NULL;
    int rc = spr__io_reserve(ctx, (void **)&map->metrics, &map->metric_cap, SPR_ARRAY_LEN(own_columns),
                             sizeof *map->metrics);
    if (rc < 0 || !map->time_column || !map->id_count)
        return SPR_E_NOMEM;
    for (size_t i = 0; i < SPR_ARRAY_LEN(own_columns); i++) {
        struct spr__metric m = {.name = spr__io_strdup(ctx, own_columns[i].column),
                                .resource = own_columns[i].resource,
                                .unit = own_columns[i].unit,
                                .aggregate = SPR__AGG_MEAN,
                                .kind = SPR_GAUGE};
        if (!m.name)
            return SPR_E_NOMEM;
        map->metrics[map->metric_count++] = m;
    }
    return SPR_OK;
}

void spr__map_finish(spr_context *ctx, struct spr__map *map) {
    char **texts[] = {&map->path,        &map->time_column,    &map->id_name,       &map->side_file,
                      &map->side_series, &map->side[0].column, &map->side[1].column};
    for (size_t i = 0; i < SPR_ARRAY_LEN(texts); i++)
        spr__io_strfree(ctx, *texts[i]);
    for (size_t i = 0; i < SPR__ID_COLUMNS; i++)
        spr__io_strfree(ctx, map->id_columns[i]);
    for (size_t i = 0; i < SPR_RESOURCES_MAX; i++)
        spr__io_strfree(ctx, map->resource_names[i]);
    for (size_t i = 0; i < map->column_count; i++)
        spr__io_strfree(ctx, map->columns[i]);
    for (size_t i = 0; i < map->metric_count; i++) {
        spr__io_strfree(ctx, map->metrics[i].name);
        spr__io_strfree(ctx, map->metrics[i].match);
    }
    for (size_t i = 0; i < map->where_count; i++) {
        spr__io_strfree(ctx, map->where[i].column);
        spr__io_strfree(ctx, map->where[i].value);
    }
    spr_context_free(ctx, map->columns, map->column_cap * sizeof *map->columns);
    spr_context_free(ctx, map->metrics, map->metric_cap * sizeof *map->metrics);
    spr_context_free(ctx, map->where, map->where_cap * sizeof *map->where);
    memset(map, 0, sizeof *map);
}

const char *spr__map_resource(const struct spr__map *map, int resource) {
    struct spr_resource_info info = {.size = sizeof info};
    if (resource < 0 || resource >= SPR_RESOURCES_MAX)
        return NULL;
    if (resource >= SPR_RESOURCE_COUNTABLE)
        return map->resource_names[resource];
    return spr_resource_describe(resource, &info) < 0 ? NULL : info.name;
}
