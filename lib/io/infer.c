/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The step of a trace whose map names none: the median time between rows of its first VM. */
#include <stdlib.h>

#include "trace.h"

enum { ROWS = 20000, TIMES = 2000 };

static int by_value(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static bool same_vm(const struct spr__rows *w, int64_t id, const char *first) {
    return id < 0 ||
           (strlen(first) == w->csv.fields[id].n && !memcmp(first, w->csv.fields[id].text, w->csv.fields[id].n));
}

/* Differences of the times of the first VM's rows; returns how many, or an error. */
static int64_t differences(struct spr__rows *w, int64_t *d) {
    const struct spr__map *map = w->reader->map;
    int64_t id = !map->wide && map->id_count ? spr__csv_column(&w->csv, map->id_columns[0]) : -1, last = 0, t, n = 0;
    char first[256] = "";
    int rc = 0;
    bool any = false;
    for (int i = 0; i < ROWS && n < TIMES && (rc = spr__csv_next(&w->csv)) > 0; i++) {
        if (!any && id >= 0)
            snprintf(first, sizeof first, "%.*s", (int)SPR_MIN(w->csv.fields[id].n, sizeof first - 1),
                     w->csv.fields[id].text);
        if (any && !same_vm(w, id, first))
            continue;
        if ((rc = spr__rows_time(w, &t)) < 0)
            return rc;
        if (any && t > last)
            d[n++] = t - last;
        last = t;
        any = true;
    }
    return rc < 0 ? rc : n;
}

int spr__infer_step(struct spr__reader *r, const char *path) {
    struct spr__rows w;
    int rc = spr__rows_open(r, path, &w);
    if (rc < 0)
        return rc;
    int64_t *d = spr_context_alloc(r->ctx, TIMES * sizeof *d), n = d ? differences(&w, d) : spr__io_nomem(r->ctx);
    if (n > 0) {
        qsort(d, (size_t)n, sizeof *d, by_value);
        r->step_ns = d[n / 2];
    }
    spr_context_free(r->ctx, d, TIMES * sizeof *d);
    spr__csv_close(&w.csv);
    if (n == 0)
        return spr__io_fail(r->ctx, SPR_E_FORMAT, path, 0, 0,
                            "fewer than two rows of its first VM: the map %s must say step_s", r->map->path);
    return n < 0 ? (int)n : SPR_OK;
}
