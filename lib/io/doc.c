/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Documents through libfyaml; JSON is YAML. */
#include <errno.h>
#include <stdlib.h>
#include <libfyaml.h>

#include "doc.h"

enum { BYTES_MOST = 1 << 26 };

/* ---- reading ---- */

static int keep_first_error(spr_context *ctx, const char *path, struct fy_diag *diag) {
    void *prev = NULL;
    const struct fy_diag_error *e = fy_diag_errors_iterate(diag, &prev);
    if (!e)
        return spr__io_fail(ctx, SPR_E_FORMAT, path, 1, 0, "is neither YAML nor JSON");
    return spr__io_fail(ctx, SPR_E_FORMAT, path, e->line, e->column, "%s",
                        e->msg ? e->msg : "is neither YAML nor JSON");
}

static int parse_text(struct spr__doc *d) {
    struct fy_diag_cfg dc;
    fy_diag_cfg_default(&dc);
    dc.fp = NULL;
    dc.colorize = false;
    struct fy_diag *diag = fy_diag_create(&dc);
    if (!diag)
        return spr__io_nomem(d->ctx);
    fy_diag_set_collect_errors(diag, true);
    struct fy_parse_cfg cfg = {.search_path = "", .flags = FYPCF_QUIET, .diag = diag};
    d->fy = fy_document_build_from_string(&cfg, d->text, d->bytes);
    int rc = d->fy && !fy_diag_got_error(diag) ? SPR_OK : keep_first_error(d->ctx, d->path, diag);
    fy_diag_destroy(diag); /* unref alone would leave the collected errors behind */
    return rc;
}

/* Bytes of the UTF-8 character at p (RFC 3629), 0 where there is none. The text ends with a NUL, which stops every run.
 */
static int utf8_length(const unsigned char *p) {
    int n = p[0] < 0x80 ? 1 : p[0] < 0xC2 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : p[0] < 0xF5 ? 4 : 0;
    if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) || (p[0] == 0xF0 && p[1] < 0x90) ||
        (p[0] == 0xF4 && p[1] > 0x8F))
        return 0;
    for (int i = 1; i < n; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    return n;
}

/* NUL, control bytes and broken UTF-8 are never part of a document; say so in our words (libfyaml may loop on them). */
static int check_bytes(const struct spr__doc *d) {
    int64_t line = 1;
    if (strspn(d->text, " \t\r\n") == d->bytes)
        return spr__io_fail(d->ctx, SPR_E_FORMAT, d->path, 1, 0, "the file is empty");
    for (size_t i = 0; i < d->bytes; i += (size_t)utf8_length((const unsigned char *)&d->text[i])) {
        unsigned char c = (unsigned char)d->text[i];
        line += c == '\n';
        if ((c < 0x20 && c != '\n' && c != '\t' && c != '\r') || !utf8_length((const unsigned char *)&d->text[i]))
            return spr__io_fail(d->ctx, SPR_E_FORMAT, d->path, line, 0, "binary data: this is neither YAML nor JSON");
    }
    return SPR_OK;
}

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

/* "? a", alone or in a flow collection: a key that may be anything. */
static bool has_explicit_key(const char *text) {
    for (const char *p = strchr(text, '?'); p; p = strchr(p + 1, '?'))
        if ((p == text || is_blank(p[-1]) || strchr("[{,", p[-1])) && (is_blank(p[1]) || !p[1]))
            return true;
    return false;
}

/* A tab before or behind an indicator, somewhere after an explicit key: YAML wants spaces there (1.2.2, 6.1), and
 * libfyaml 0.7 writes to a wild address over some of them. Of thirty million random documents that this lets pass none
 * did; nobody writes such keys into our files, so what else it refuses is not missed. */
static int check_tabs(const struct spr__doc *d) {
    const char *tab = has_explicit_key(d->text) ? strchr(d->text, '\t') : NULL;
    int64_t line = 1;
    for (const char *p = d->text; tab && p < tab; p++)
        line += *p == '\n';
    return tab ? spr__io_fail(d->ctx, SPR_E_FORMAT, d->path, line, 0, "a tab in a document with '? ': use spaces")
               : SPR_OK;
}

static int finish_parse(struct spr__doc *d, spr__node **root) {
    int rc = check_bytes(d);
    if (rc >= 0)
        rc = check_tabs(d);
    if (rc >= 0)
        rc = parse_text(d);
    *root = rc >= 0 ? fy_document_root(d->fy) : NULL;
    if (rc >= 0 && spr__doc_kind(*root) != SPR__MAPPING)
        rc = spr__io_fail(d->ctx, SPR_E_FORMAT, d->path, 1, 0, "must be a mapping of keys to values");
    if (rc < 0)
        spr__doc_close(d);
    return rc;
}

int spr__doc_parse(spr_context *ctx, const char *path, const char *text, size_t bytes, struct spr__doc *d,
                   spr__node **root) {
    *d = (struct spr__doc){.ctx = ctx, .path = path, .bytes = bytes};
    if (!(d->text = spr_context_alloc(ctx, bytes + 1)))
        return spr__io_nomem(ctx);
    memcpy(d->text, text, bytes);
    return finish_parse(d, root);
}

static int slurp(struct spr__doc *d, FILE *f) {
    size_t cap = 0;
    for (;;) {
        int rc = spr__io_reserve(d->ctx, (void **)&d->text, &cap, d->bytes + 4097, 1);
        if (rc < 0) {
            spr_context_free(d->ctx, d->text, cap);
            d->text = NULL;
            return rc;
        }
        size_t n = fread(d->text + d->bytes, 1, cap - d->bytes - 1, f);
        d->bytes += n;
        if (!n || d->bytes > BYTES_MOST)
            break;
    }
    /* Hold exactly what was read, so that its size is known when it is given back. */
    char *text = spr_context_alloc(d->ctx, d->bytes + 1);
    if (text)
        memcpy(text, d->text, d->bytes);
    spr_context_free(d->ctx, d->text, cap);
    d->text = text;
    if (!text)
        return spr__io_nomem(d->ctx);
    if (ferror(f))
        return spr__io_fail(d->ctx, SPR_E_IO, d->path, 0, 0, "cannot be read: %s", strerror(errno));
    return d->bytes > BYTES_MOST ? spr__io_fail(d->ctx, SPR_E_FORMAT, d->path, 0, 0, "has more than 64 MiB") : SPR_OK;
}

int spr__doc_open(spr_context *ctx, const char *path, struct spr__doc *d, spr__node **root) {
    *d = (struct spr__doc){.ctx = ctx, .path = path};
    errno = 0;
    FILE *f = fopen(path, "rbe");
    if (!f)
        return spr__io_fail(ctx, errno == ENOENT ? SPR_E_NOT_FOUND : SPR_E_IO, path, 0, 0, "cannot be opened: %s",
                            strerror(errno));
    int rc = slurp(d, f);
    fclose(f);
    if (rc < 0) {
        spr__doc_close(d);
        return rc;
    }
    return finish_parse(d, root);
}

void spr__doc_close(struct spr__doc *d) {
    if (d->fy)
        fy_document_destroy(d->fy);
    if (d->text)
        spr_context_free(d->ctx, d->text, d->bytes + 1);
    d->fy = NULL;
    d->text = NULL;
}

/* ---- nodes ---- */

enum spr__kind spr__doc_kind(spr__node *n) {
    if (!n || fy_node_is_alias(n))
        return SPR__ABSENT;
    switch (fy_node_get_type(n)) {
    case FYNT_SCALAR:
        return SPR__SCALAR;
    case FYNT_SEQUENCE:
        return SPR__LIST;
    default:
        return SPR__MAPPING;
    }
}

/* Where a node begins; a list or mapping begins where its first scalar does. */
static const struct fy_mark *mark_of(spr__node *n) {
    while (n) {
        struct fy_token *t = fy_node_is_scalar(n) ? fy_node_get_scalar_token(n) : NULL;
        if (t)
            return fy_token_start_mark(t);
        struct fy_node_pair *p = fy_node_is_mapping(n) ? fy_node_mapping_get_by_index(n, 0) : NULL;
        n = p ? fy_node_pair_key(p) : fy_node_is_sequence(n) ? fy_node_sequence_get_by_index(n, 0) : NULL;
    }
    return NULL;
}

int spr__doc_fail(struct spr__doc *d, spr__node *at, const char *format, ...) {
    if (d->rc < 0)
        return d->rc;
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const struct fy_mark *m = mark_of(at);
    d->rc = spr__io_fail(d->ctx, SPR_E_FORMAT, d->path, m ? m->line + 1 : 0, m ? m->column + 1 : 0, "%s", text);
    return d->rc;
}

/* Numbers are plain scalars; quotes make a text. */
static bool plain(spr__node *n) { return n && fy_node_get_style(n) == FYNS_PLAIN; }

size_t spr__doc_count(spr__node *n) {
    int k = spr__doc_kind(n) == SPR__LIST      ? fy_node_sequence_item_count(n)
            : spr__doc_kind(n) == SPR__MAPPING ? fy_node_mapping_item_count(n)
                                               : 0;
    return k > 0 ? (size_t)k : 0;
}

spr__node *spr__doc_first(spr__node *list) {
    void *at = NULL;
    return spr__doc_next(list, &at);
}

spr__node *spr__doc_next(spr__node *list, void **at) {
    return spr__doc_kind(list) == SPR__LIST ? fy_node_sequence_iterate(list, at) : NULL;
}

spr__node *spr__doc_next_pair(struct spr__doc *d, spr__node *map, void **at, const char **key, size_t *length) {
    struct fy_node_pair *p = d->rc >= 0 && spr__doc_kind(map) == SPR__MAPPING ? fy_node_mapping_iterate(map, at) : NULL;
    spr__node *k = p ? fy_node_pair_key(p) : NULL;
    *key = k && fy_node_is_scalar(k) ? fy_node_get_scalar(k, length) : NULL;
    if (p && !*key)
        spr__doc_fail(d, map, "a key that is no text");
    if (p && *key && !fy_node_pair_value(p))
        spr__doc_fail(d, k, "the key has no value");
    return p && d->rc >= 0 ? fy_node_pair_value(p) : NULL;
}

static struct fy_node_pair *find_pair(spr__node *map, const char *name) {
    void *prev = NULL;
    size_t n = strlen(name);
    for (struct fy_node_pair *p; spr__doc_kind(map) == SPR__MAPPING && (p = fy_node_mapping_iterate(map, &prev));) {
        size_t length = 0;
        spr__node *k = fy_node_pair_key(p);
        const char *key = k && fy_node_is_scalar(k) ? fy_node_get_scalar(k, &length) : NULL;
        if (key && length == n && !memcmp(key, name, n))
            return p;
    }
    return NULL;
}

spr__node *spr__doc_get(struct spr__doc *d, spr__node *map, const char *key) {
    struct fy_node_pair *p = d->rc < 0 ? NULL : find_pair(map, key);
    spr__node *v = p ? fy_node_pair_value(p) : NULL;
    if (v && fy_node_is_alias(v))
        spr__doc_fail(d, v, "'%s': anchors and aliases are not understood here", key);
    return v;
}

spr__node *spr__doc_need(struct spr__doc *d, spr__node *map, const char *key) {
    spr__node *v = spr__doc_get(d, map, key);
    if (!v && d->rc >= 0)
        spr__doc_fail(d, map, "the key '%s' is missing", key);
    return v;
}

void spr__doc_keys(struct spr__doc *d, spr__node *map, const char *what, const char *const *keys, size_t count) {
    if (d->rc < 0)
        return;
    if (spr__doc_kind(map) != SPR__MAPPING) {
        spr__doc_fail(d, map, "%s must be a mapping of keys to values", what);
        return;
    }
    void *prev = NULL;
    for (struct fy_node_pair *p; d->rc >= 0 && (p = fy_node_mapping_iterate(map, &prev));) {
        size_t n = 0, i = 0;
        spr__node *k = fy_node_pair_key(p);
        const char *key = k && fy_node_is_scalar(k) ? fy_node_get_scalar(k, &n) : NULL;
        while (key && i < count && (strlen(keys[i]) != n || memcmp(keys[i], key, n) != 0))
            i++;
        if (key && i < count)
            continue;
        char word[64];
        snprintf(word, sizeof word, "%.*s", key ? (int)SPR_MIN(n, sizeof word - 1) : 0, key ? key : "");
        const char *near = spr__io_nearest(word, keys, count);
        spr__doc_fail(d, k ? k : map, "%s: unknown key '%s'%s%s%s", what, word, near ? "; did you mean '" : "",
                      near ? near : "", near ? "'?" : "");
    }
}

/* ---- values ---- */

static const char *scalar(struct spr__doc *d, spr__node *n, size_t *length) {
    if (d->rc < 0 || !n)
        return NULL;
    const char *text = spr__doc_kind(n) == SPR__SCALAR ? fy_node_get_scalar(n, length) : NULL;
    if (!text)
        spr__doc_fail(d, n, "a single value is expected here");
    return text;
}

char *spr__doc_text(struct spr__doc *d, spr__node *n) {
    size_t length = 0;
    const char *text = scalar(d, n, &length);
    char *copy = text ? spr__io_strndup(d->ctx, text, length) : NULL;
    if (text && !copy)
        d->rc = SPR_E_NOMEM;
    return copy;
}

bool spr__doc_is(spr__node *n, const char *text) {
    size_t length = 0;
    const char *have = n && spr__doc_kind(n) == SPR__SCALAR ? fy_node_get_scalar(n, &length) : NULL;
    return have && strlen(text) == length && !memcmp(have, text, length);
}

bool spr__doc_is_number(spr__node *n) {
    size_t length = 0;
    double v;
    const char *text = n && spr__doc_kind(n) == SPR__SCALAR ? fy_node_get_scalar(n, &length) : NULL;
    return text && plain(n) && spr__io_number(text, length, &v);
}

void spr__doc_number(struct spr__doc *d, spr__node *n, double least, double most, double *out) {
    size_t length = 0;
    const char *text = scalar(d, n, &length);
    double v;
    if (!text)
        return;
    if (!plain(n) || !spr__io_number(text, length, &v))
        spr__doc_fail(d, n, "'%.*s' is not a number", (int)SPR_MIN(length, 60), text);
    else if (!(v >= least && v <= most))
        spr__doc_fail(d, n, "%.*s must lie between %g and %g", (int)SPR_MIN(length, 60), text, least, most);
    else
        *out = v;
}

void spr__doc_integer(struct spr__doc *d, spr__node *n, int64_t least, int64_t most, int64_t *out) {
    size_t length = 0;
    const char *text = scalar(d, n, &length);
    int64_t v;
    if (!text)
        return;
    if (!plain(n) || !spr__io_integer(text, length, &v))
        spr__doc_fail(d, n, "'%.*s' is not a whole number", (int)SPR_MIN(length, 60), text);
    else if (v < least || v > most)
        spr__doc_fail(d, n, "%.*s must lie between %lld and %lld", (int)SPR_MIN(length, 60), text, (long long)least,
                      (long long)most);
    else
        *out = v;
}

void spr__doc_bool(struct spr__doc *d, spr__node *n, bool *out) {
    if (!n || d->rc < 0)
        return;
    if (spr__doc_is(n, "true") || spr__doc_is(n, "false"))
        *out = spr__doc_is(n, "true");
    else
        spr__doc_fail(d, n, "true or false is expected here");
}

void spr__doc_choice(struct spr__doc *d, spr__node *n, const char *const *words, size_t count, int *out) {
    size_t length = 0;
    const char *text = scalar(d, n, &length);
    if (!text)
        return;
    for (size_t i = 0; i < count; i++)
        if (spr__doc_is(n, words[i])) {
            *out = (int)i;
            return;
        }
    char word[64], all[256] = "";
    snprintf(word, sizeof word, "%.*s", (int)SPR_MIN(length, sizeof word - 1), text);
    for (size_t i = 0; i < count; i++)
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", words[i]);
    spr__doc_fail(d, n, "'%s' is none of: %s", word, all);
}

void spr__doc_time(struct spr__doc *d, spr__node *n, int64_t *wall_ns) {
    size_t length = 0;
    const char *text = scalar(d, n, &length);
    if (text && !spr__io_iso8601(text, length, wall_ns))
        spr__doc_fail(d, n, "'%.*s' is not a time like 2013-07-31T22:00:00Z", (int)SPR_MIN(length, 60), text);
}

void spr__doc_schema(struct spr__doc *d, spr__node *root) {
    int64_t schema = 0;
    spr__node *n = spr__doc_need(d, root, "schema");
    spr__doc_integer(d, n, 1, 1000, &schema);
    if (d->rc >= 0 && schema > 1) {
        const struct fy_mark *m = mark_of(n);
        d->rc =
            spr__io_fail(d->ctx, SPR_E_TOO_NEW, d->path, m ? m->line + 1 : 0, m ? m->column + 1 : 0,
                         "schema %lld is newer than this library (%s) reads", (long long)schema, spr_version_string());
    }
}
