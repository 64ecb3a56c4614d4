/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Which series and origins are asked for. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "forecast.h"

enum { CASE, SERIES, METRIC, ORIGIN, COLUMNS };
static const char *const column_names[COLUMNS] = {"case", "series", "metric", "origin"};

bool answers_add(struct answers *a, const char *name, const char *series, const char *metric, int64_t row,
                 int64_t origin) {
    if (a->count == a->room) {
        size_t room = a->room ? 2 * a->room : 64;
        struct answer *items = realloc(a->items, room * sizeof *items);
        if (!items)
            return false;
        a->items = items, a->room = room;
    }
    struct answer one = {.name = name ? strdup(name) : NULL,
                         .series = strdup(series),
                         .metric = strdup(metric),
                         .row = row,
                         .origin = origin};
    a->items[a->count++] = one;
    return one.series && one.metric && (one.name || !name);
}

void answer_free(struct answer *one) {
    free(one->name), free(one->series), free(one->metric), free(one->points), free(one->quantiles);
}

void answers_free(struct answers *a) {
    for (size_t i = 0; i < a->count; i++)
        answer_free(&a->items[i]);
    free(a->items);
    memset(a, 0, sizeof *a);
}

/* ---- one line of CSV ---- */

/* Split in place (quotes as RFC 4180); number of fields, or -1 for a quote that never ends. */
static int split(char *line, char **fields, int room) {
    int n = 0;
    for (char *p = line;; p++) {
        char *to = p;
        if (n < room)
            fields[n] = p;
        n++;
        if (*p == '"') {
            p++;
            for (; *p != '"' || p[1] == '"'; p++) {
                if (!*p)
                    return -1;
                p += *p == '"';
                *to++ = *p;
            }
            p++;
        } else {
            while (*p && *p != ',')
                p++;
            to = p;
        }
        char stop = *p;
        *to = 0;
        if (stop != ',')
            return stop ? -1 : n;
    }
}

struct reader {
    const char *path;
    const spr_series *series;
    int64_t end, line;
    int column[COLUMNS], width;
};

static int complain(const struct reader *r, const char *what, const char *text) {
    fprintf(stderr, "shardpredict: %s:%lld: %s%s%s%s\n", r->path, (long long)r->line, what, text ? " '" : "",
            text ? text : "", text ? "'" : "");
    return EXIT_FAILED;
}

static int read_header(struct reader *r, char **fields, int n) {
    r->width = n;
    for (int c = 0; c < COLUMNS; c++) {
        r->column[c] = -1;
        for (int i = 0; i < n; i++)
            if (!strcmp(fields[i], column_names[c])) {
                if (r->column[c] >= 0)
                    return complain(r, "the column appears twice:", fields[i]);
                r->column[c] = i;
            }
        if (r->column[c] < 0)
            return complain(r, "a file of cases has the columns case, series, metric, origin; there is no",
                            column_names[c]);
    }
    return 0;
}

/* Row of a series by its id and the metric's name: the map's, the trace's own, or none where there is only one. */
static int find_row(const struct reader *r, const char *id, const char *metric, int64_t *row, const char **shown) {
    int resource = *metric ? spr_resource_find(metric) : SPR_E_NOT_FOUND, found = 0;
    bool known = false;
    for (int64_t i = 0; i < spr_series_count(r->series); i++) {
        struct spr_series_info info = {.size = sizeof info};
        struct spr_resource_info resource_info = {.size = sizeof resource_info};
        if (spr_series_info(r->series, i, &info) < 0 || strcmp(info.id, id))
            continue;
        known = true;
        if (*metric && info.resource != resource && (!info.metric || strcmp(info.metric, metric)))
            continue;
        /* The trace's own name is exact; a resource may be measured by several columns, of which the first counts. */
        if (found++ && *metric)
            continue;
        *row = i;
        *shown = *metric                                                    ? metric
                 : spr_resource_describe(info.resource, &resource_info) < 0 ? info.metric
                                                                            : resource_info.name;
    }
    if (!known)
        return complain(r, "the trace has no series", id);
    if (!found)
        return complain(r, "the series has no metric", metric);
    return found > 1 && !*metric ? complain(r, "the series has several metrics; the case must name one:", id) : 0;
}

static int read_case(struct reader *r, char **fields, struct answers *out) {
    const char *id = fields[r->column[SERIES]], *text = fields[r->column[ORIGIN]], *metric;
    char *rest;
    int64_t row = -1;
    errno = 0;
    long long origin = strtoll(text, &rest, 10);
    if (rest == text || *rest || errno || origin < 0)
        return complain(r, "an origin is a number of steps, not", text);
    if (origin > r->end)
        return complain(r, "the origin lies past the step after the trace's last row:", text);
    int rc = find_row(r, id, fields[r->column[METRIC]], &row, &metric);
    if (rc)
        return rc;
    return answers_add(out, fields[r->column[CASE]], id, metric, row, origin) ? 0 : complain(r, "out of memory", NULL);
}

int cases_read(const char *path, const spr_series *series, int64_t end, struct answers *out) {
    struct reader r = {.path = path, .series = series, .end = end};
    char *line = NULL, *fields[64];
    size_t room = 0;
    ssize_t n;
    int rc = 0;
    FILE *f = fopen(path, "r");
    if (!f) {
        fprintf(stderr, "shardpredict: %s: %s\n", path, strerror(errno));
        return EXIT_FAILED;
    }
    while (!rc && (n = getline(&line, &room, f)) >= 0) {
        r.line++;
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            line[--n] = 0;
        if (!n && r.width)
            continue;
        int count = split(line, fields, 64);
        if (count < 0 || count > 64 || (r.width && count != r.width))
            rc = complain(&r, count < 0 ? "a quote never ends" : "not as many fields as the header has", NULL);
        else
            rc = r.width ? read_case(&r, fields, out) : read_header(&r, fields, count);
    }
    if (!rc && ferror(f))
        rc = complain(&r, strerror(errno), NULL);
    if (!rc && !r.width)
        rc = complain(&r, "the file is empty", NULL);
    free(line);
    fclose(f);
    return rc;
}
