/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Rows of a CSV or CSV.gz file, one at a time. */
#ifndef SPR_LIB_IO_CSV_H
#define SPR_LIB_IO_CSV_H

#include <zlib.h>

#include "inside.h"

struct spr__field {
    const char *text;
    size_t n;
};

/* Fields live until the next row. A field's column in the line is its distance from `line_text`, from 1. */
struct spr__csv {
    spr_context *ctx;
    const char *path; /* borrowed */
    gzFile gz;
    char *buffer;
    size_t cap, used, at; /* bytes read, start of the next line */
    bool ended;
    int64_t line; /* number of the row's line, from 1 */
    const char *line_text;
    struct spr__field *fields;
    size_t field_cap, field_count;
    size_t header_count; /* fields of the first row, which every other must have */
    char *header;        /* copy of the first row, fields ended by NUL */
    size_t header_bytes;
    const char **names; /* its fields */
};

/* Open a file and read its header. Errors name the file. */
int spr__csv_open(spr_context *ctx, const char *path, struct spr__csv *csv);
void spr__csv_close(struct spr__csv *csv);
/* Next row: 1, 0 at the end, or an error with file, line and column. */
int spr__csv_next(struct spr__csv *csv);
/* Index of a column, or -1. */
int64_t spr__csv_column(const struct spr__csv *csv, const char *name);
/* Fail at a field of the current row. */
int spr__csv_fail(const struct spr__csv *csv, size_t field, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Number in a field: NaN when empty. */
int spr__csv_number(const struct spr__csv *csv, size_t field, double *out);

#endif
