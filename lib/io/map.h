/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a map file says (doc/formats.md, "Map"). */
#ifndef SPR_LIB_IO_MAP_H
#define SPR_LIB_IO_MAP_H

#include "inside.h"

enum spr__unit {
    SPR__UNIT_NONE,
    SPR__UNIT_CORES,
    SPR__UNIT_PERCENT,
    SPR__UNIT_MHZ,
    SPR__UNIT_MIPS,
    SPR__UNIT_BYTES,
    SPR__UNIT_KB,
    SPR__UNIT_MB,
    SPR__UNIT_BIT_S,
    SPR__UNIT_KB_S,
    SPR__UNIT_BYTE_S,
    SPR__UNIT_FRACTION,
};
/* Number of a unit's name ("KB/s"), -1 when unknown; the name of a number; all names for messages. */
int spr__unit_find(const char *name);
const char *spr__unit_name(int unit);
const char *const *spr__unit_names(size_t *count);
/* Does the unit measure this resource? */
bool spr__unit_fits(int unit, int resource);
/* What one unit is in the resource's unit; `capacity` (0 = unknown) counts for shares of it. */
double spr__unit_factor(int unit, int resource, double capacity);

enum { SPR__AGG_MEAN, SPR__AGG_MAX };
enum { SPR__TIME_STEPS, SPR__TIME_S, SPR__TIME_MS, SPR__TIME_ISO };

/* One metric: a column of long files, a role of wide ones. */
struct spr__metric {
    char *name;  /* long: the column; wide: NULL */
    char *match; /* wide: pattern of file names, NULL = any */
    int32_t resource, unit, aggregate, kind;
    bool fallback; /* wide: for files that match nothing */
};

struct spr__pair {
    char *column, *value;
};
enum { SPR__ID_COLUMNS = 4 };

struct spr__map {
    char *path; /* NULL = the tool's own form */
    bool own, wide, separate;
    char *time_column;
    int time_unit;
    int64_t step_ns; /* 0 = from the data */
    int64_t origin_ns;
    bool has_origin;
    char *id_columns[SPR__ID_COLUMNS], *id_name; /* long: columns joined by '/', or one name for all rows */
    size_t id_count;
    char **columns; /* wide: these only; NULL = all */
    size_t column_cap, column_count;
    struct spr__metric *metrics;
    size_t metric_cap, metric_count;
    struct spr__pair *where;
    size_t where_cap, where_count;
    char *side_file, *side_series;
    struct {
        char *column;
        int unit;
    } side[2]; /* SPR_CPU, SPR_MEMORY */
    double declared[2];
    char *resource_names[SPR_RESOURCES_MAX]; /* countable ones */
};

/* Read a map file; NULL = the tool's own form. */
int spr__map_read(spr_context *ctx, const char *path, struct spr__map *map);
/* The own form. */
int spr__map_own(spr_context *ctx, struct spr__map *map);
void spr__map_finish(spr_context *ctx, struct spr__map *map);
/* Name of a resource, countable ones included. */
const char *spr__map_resource(const struct spr__map *map, int resource);

#endif
