/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A trace while it is read. */
#ifndef SPR_LIB_IO_TRACE_H
#define SPR_LIB_IO_TRACE_H

#include "csv.h"
#include "map.h"

struct spr__vm {
    char *id;
    struct spr_amounts capacity;
    double factor[SPR_RESOURCES_MAX];
    double spillable; /* -1 = not said */
    int32_t replica;  /* -1 = not said */
};

/* Capacities by name, from a side file. */
struct spr__side {
    struct spr__side_row {
        char *name;
        double cpu, memory, spillable; /* 0, 0, -1 = unknown */
        int32_t replica;
    } * rows;
    size_t cap, count;
    struct spr__io_index index;
};

struct spr_trace {
    spr_context *ctx;
    struct spr__map map;
    spr_series *series;
    struct spr__vm *vms;
    size_t vm_cap, vm_count;
    struct spr__io_index index;
    int64_t end;
};

struct spr__reader {
    spr_context *ctx;
    struct spr_trace *trace;
    const struct spr__map *map;
    struct spr_trace_opts opts;
    spr_metrics *metrics;
    struct spr__side side;
    bool has_side;
    double declared[2];
    char *where_column, *where_value; /* of the options */
    int64_t origin_ns, step_ns;
    bool origin_known; /* given, or the earliest time of a first pass */
    bool searching;    /* a row came before the first row's time: only times are read on */
    int64_t earliest_ns;
    int64_t newest_step; /* -1 = no row yet */
    int64_t rows;        /* data rows read */
    int64_t unknown_vms; /* VMs that the side file does not name */
    int64_t *table;      /* row in the collector of [vm][metric] + 1, 0 = none yet */
    size_t table_cap;
    bool *present; /* [metric]: some file has it */
};

/* Side files. `path` must exist. */
int spr__side_read(spr_context *ctx, const char *path, const struct spr__map *map, struct spr__side *side);
void spr__side_finish(spr_context *ctx, struct spr__side *side);
const struct spr__side_row *spr__side_find(const struct spr__side *side, const char *name);

/* Index of a VM, made when it is new. `bare` is where its name without STEM/ begins. Negative: an error. */
int64_t spr__reader_vm(struct spr__reader *r, const char *id, size_t n, size_t bare);
/* The grid begins: called with the time of the first row. */
int spr__reader_begin(struct spr__reader *r, int64_t first_ns);
/* The metric whose series takes this one's values: a maximum goes beside the mean of the same resource. */
size_t spr__reader_target(const struct spr__reader *r, size_t metric);
/* Row of a VM's metric in the collector, made when it is new; `trace_name` is the trace's own name of it. */
int spr__reader_row(struct spr__reader *r, int64_t vm, size_t metric, const char *trace_name, int64_t *row);
/* Is the metric wanted? */
bool spr__reader_wants(const struct spr__reader *r, const struct spr__metric *m);

/* Rows of one file. */
struct spr__rows {
    struct spr__reader *reader;
    struct spr__csv csv;
    size_t time_field;
    size_t where_fields[8];
    const char *where_values[8];
    size_t where_count;
};
int spr__rows_open(struct spr__reader *r, const char *path, struct spr__rows *rows);
/* Next row that passes the filters, with its time: 1, 0 at the end, or an error. */
int spr__rows_next(struct spr__rows *rows, int64_t *wall_ns);
/* Time of the current row. */
int spr__rows_time(struct spr__rows *rows, int64_t *wall_ns);
int spr__rows_push(struct spr__rows *rows, size_t field, int64_t row, int64_t wall_ns, int flags);
int spr__read_long(struct spr__reader *r, const char *path);
int spr__read_wide(struct spr__reader *r);
/* Step of the first rows of a file, when the map names none. */
int spr__infer_step(struct spr__reader *r, const char *path);

#endif
