/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Streaming CSV: one buffer, lines are cut in place, gzip or plain is zlib's business. */
#include <errno.h>

#include "csv.h"

enum { CHUNK = 1 << 18, LINE_MOST = 1 << 26 };

static int fail_line(const struct spr__csv *c, int64_t column, const char *text) {
    return spr__io_fail(c->ctx, SPR_E_FORMAT, c->path, c->line, column, "%s", text);
}

/* More bytes behind the unread ones; `ended` when there are none. */
static int refill(struct spr__csv *c) {
    if (c->at) {
        memmove(c->buffer, c->buffer + c->at, c->used - c->at);
        c->used -= c->at;
        c->at = 0;
    }
    if (c->used >= LINE_MOST)
        return fail_line(c, 0, "a line of more than 64 MiB: this is no table of numbers");
    int rc = spr__io_reserve(c->ctx, (void **)&c->buffer, &c->cap, c->used + CHUNK + 1, 1);
    if (rc < 0)
        return rc;
    int n = gzread(c->gz, c->buffer + c->used, CHUNK), code = Z_OK;
    const char *text = gzerror(c->gz, &code);
    if (n < 0 || (n == 0 && code != Z_OK && code != Z_STREAM_END)) {
        bool torn = code == Z_BUF_ERROR || code == Z_DATA_ERROR;
        return spr__io_fail(c->ctx, torn ? SPR_E_FORMAT : SPR_E_IO, c->path, torn ? c->line : 0, 0, "%s",
                            code == Z_BUF_ERROR    ? "the compressed file ends too early: it is torn"
                            : code == Z_DATA_ERROR ? "the compressed data are damaged"
                            : code == Z_ERRNO      ? strerror(errno)
                                                   : text);
    }
    c->used += (size_t)n;
    c->ended = n == 0;
    return SPR_OK;
}

/* Cut the next line out of the buffer. 1, 0 at the end, or an error. */
static int next_line(struct spr__csv *c, char **line, size_t *n) {
    size_t seen = 0;
    for (;;) {
        char *from = c->buffer ? c->buffer + c->at : NULL;
        char *end = from ? memchr(from + seen, '\n', c->used - c->at - seen) : NULL;
        if (!end && !c->ended) {
            seen = c->used - c->at;
            int rc = refill(c);
            if (rc < 0)
                return rc;
            continue;
        }
        if (!end && c->at == c->used)
            return 0;
        *line = from;
        *n = end ? (size_t)(end - from) : c->used - c->at;
        c->at += *n + (end != NULL);
        c->line++;
        if (*n && from[*n - 1] == '\r')
            --*n;
        return 1;
    }
}

static int add_field(struct spr__csv *c, const char *text, size_t n) {
    if (c->field_count == c->field_cap) {
        int rc = spr__io_reserve(c->ctx, (void **)&c->fields, &c->field_cap, c->field_count + 1, sizeof *c->fields);
        if (rc < 0)
            return rc;
    }
    c->fields[c->field_count++] = (struct spr__field){text, n};
    return SPR_OK;
}

/* A line with quotes (RFC 4180): a quoted field may hold commas and doubled quotes; it is unpacked in place. */
static int split_quoted(struct spr__csv *c, char *p, char *end) {
    for (;;) {
        char *from = p, *to = p;
        if (p < end && *p == '"') {
            for (p++;; *to++ = *p++) {
                if (p == end)
                    return fail_line(c, from - c->line_text + 1, "a quoted field does not end on its line");
                if (*p == '"' && (++p == end || *p != '"'))
                    break;
            }
            if (p < end && *p != ',')
                return fail_line(c, p - c->line_text + 1, "text after the closing quote of a field");
        } else {
            while (p < end && *p != ',')
                p++;
            to = p;
        }
        int rc = add_field(c, from, (size_t)(to - from));
        if (rc < 0 || p == end)
            return rc;
        p++;
    }
}

static int split(struct spr__csv *c, char *line, size_t n) {
    c->field_count = 0;
    c->line_text = line;
    if (memchr(line, '"', n))
        return split_quoted(c, line, line + n);
    char *from = line, *end = line + n;
    for (;;) {
        char *comma = from;
        while (comma < end && *comma != ',')
            comma++;
        int rc = add_field(c, from, (size_t)(comma - from));
        if (rc < 0 || comma == end)
            return rc;
        from = comma + 1;
    }
}

int spr__csv_fail(const struct spr__csv *c, size_t field, const char *format, ...) {
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    int64_t column = field < c->field_count ? c->fields[field].text - c->line_text + 1 : 0;
    return fail_line(c, column, text);
}

static int wrong_count(const struct spr__csv *c) {
    return spr__csv_fail(c, SPR_MIN(c->header_count, c->field_count - 1), "%zu fields, the header has %zu: %s",
                         c->field_count, c->header_count,
                         c->field_count < c->header_count ? "some are missing" : "there are too many");
}

int spr__csv_next(struct spr__csv *c) {
    char *line = NULL;
    size_t n = 0;
    int rc = next_line(c, &line, &n);
    if (rc <= 0)
        return rc;
    if (memchr(line, 0, n))
        return fail_line(c, (char *)memchr(line, 0, n) - line + 1, "binary data: this is no CSV file");
    if (!n && c->header_count != 1) {
        /* Empty lines are fine at the end only. */
        int64_t at = c->line;
        while ((rc = next_line(c, &line, &n)) > 0 && !n)
            ;
        c->line = rc > 0 ? at : c->line;
        return rc <= 0 ? rc : fail_line(c, 0, "an empty line inside the table");
    }
    rc = split(c, line, n);
    if (rc >= 0 && c->header_count && c->field_count != c->header_count)
        rc = wrong_count(c);
    return rc < 0 ? rc : 1;
}

/* ---- the header ---- */

static int keep_names(struct spr__csv *c) {
    size_t bytes = 0;
    for (size_t i = 0; i < c->field_count; i++)
        bytes += c->fields[i].n + 1;
    c->header_bytes = bytes;
    if (!(c->header = spr_context_alloc(c->ctx, bytes)) ||
        !(c->names = spr_context_alloc(c->ctx, c->field_count * sizeof *c->names)))
        return spr__io_nomem(c->ctx);
    c->header_count = c->field_count;
    char *p = c->header;
    for (size_t i = 0; i < c->field_count; i++) {
        memcpy(p, c->fields[i].text, c->fields[i].n);
        c->names[i] = p;
        p += c->fields[i].n + 1;
    }
    return SPR_OK;
}

static int check_names(struct spr__csv *c) {
    struct spr__io_index seen = {0};
    int rc = SPR_OK;
    for (size_t i = 0; rc >= 0 && i < c->field_count; i++) {
        for (const char *p = c->names[i]; *p && rc >= 0; p++)
            if ((unsigned char)*p < 0x20)
                rc = spr__csv_fail(c, i, "binary data in the header: this is no CSV file");
        if (rc >= 0 && !*c->names[i])
            rc = spr__csv_fail(c, i, "column %zu of the header has no name", i + 1);
        if (rc >= 0 && (rc = spr__io_index_put(c->ctx, &seen, c->names[i], (int64_t)i)) == SPR_E_EXISTS)
            rc = spr__io_fail(c->ctx, SPR_E_FORMAT, c->path, c->line, c->fields[i].text - c->line_text + 1,
                              "the column name '%s' is there twice", c->names[i]);
    }
    spr__io_index_finish(c->ctx, &seen);
    return rc;
}

static int read_header(struct spr__csv *c) {
    char *line = NULL;
    size_t n = 0;
    int rc = next_line(c, &line, &n);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return spr__io_fail(c->ctx, SPR_E_FORMAT, c->path, 0, 0, "the file is empty");
    if (n >= 3 && !memcmp(line, "\xEF\xBB\xBF", 3))
        line += 3, n -= 3; /* byte order mark */
    if (memchr(line, 0, n))
        return fail_line(c, (char *)memchr(line, 0, n) - line + 1, "binary data: this is no CSV file");
    if (!n)
        return fail_line(c, 0, "the first line, where the column names belong, is empty");
    if ((rc = split(c, line, n)) < 0 || (rc = keep_names(c)) < 0)
        return rc;
    return check_names(c);
}

int spr__csv_open(spr_context *ctx, const char *path, struct spr__csv *c) {
    memset(c, 0, sizeof *c);
    c->ctx = ctx;
    c->path = path;
    errno = 0;
    c->gz = gzopen(path, "rbe");
    if (!c->gz)
        return spr__io_fail(ctx, errno == ENOENT ? SPR_E_NOT_FOUND : SPR_E_IO, path, 0, 0, "cannot be opened: %s",
                            errno ? strerror(errno) : spr_error_text(SPR_E_NOMEM));
    gzbuffer(c->gz, CHUNK);
    int rc = read_header(c);
    if (rc < 0)
        spr__csv_close(c);
    return rc;
}

void spr__csv_close(struct spr__csv *c) {
    if (c->gz)
        gzclose(c->gz);
    spr_context_free(c->ctx, c->buffer, c->cap);
    spr_context_free(c->ctx, c->fields, c->field_cap * sizeof *c->fields);
    spr_context_free(c->ctx, c->header, c->header_bytes);
    spr_context_free(c->ctx, c->names, c->header_count * sizeof *c->names);
    spr_context *ctx = c->ctx;
    memset(c, 0, sizeof *c);
    c->ctx = ctx;
}

int64_t spr__csv_column(const struct spr__csv *c, const char *name) {
    for (size_t i = 0; i < c->header_count; i++)
        if (!strcmp(c->names[i], name))
            return (int64_t)i;
    return -1;
}

int spr__csv_number(const struct spr__csv *c, size_t field, double *out) {
    const struct spr__field *f = &c->fields[field];
    if (!f->n) {
        *out = NAN;
        return SPR_OK;
    }
    if (spr__io_number(f->text, f->n, out))
        return SPR_OK;
    return spr__csv_fail(c, field, "'%.*s' in column '%s' is not a number", (int)SPR_MIN(f->n, 60), f->text,
                         c->names[field]);
}
