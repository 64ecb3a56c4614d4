/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Errors, memory and the index that every reader needs. */
#include <sys/stat.h>

#include "inside.h"

int spr__io_fail(spr_context *ctx, int code, const char *file, int64_t line, int64_t column, const char *format, ...) {
    char text[480];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct spr_error e = {.size = sizeof e, .code = code, .text = text, .file = file, .line = line, .column = column};
    spr_context_fail(ctx, &e);
    return code;
}

int spr__io_nomem(spr_context *ctx) {
    return spr__io_fail(ctx, SPR_E_NOMEM, NULL, 0, 0, "%s", spr_error_text(SPR_E_NOMEM));
}

void spr__io_note(spr_context *ctx, int level, const char *subject, const char *format, ...) {
    char text[480];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct spr_log_record r = {sizeof r, level, 0, "io", subject, text};
    spr_context_log(ctx, &r);
}

/* ---- structs of different ages ---- */

int spr__io_opts(spr_context *ctx, const char *what, const void *given, void *newest, size_t newest_size) {
    memset(newest, 0, newest_size);
    size_t size = newest_size;
    if (given)
        memcpy(&size, given, sizeof size);
    if (size < sizeof size || size > 1u << 16)
        return spr__io_fail(ctx, SPR_E_ARG, NULL, 0, 0, "%s: set its size member to sizeof the struct", what);
    for (size_t i = newest_size; given && i < size; i++)
        if (((const unsigned char *)given)[i])
            return spr__io_fail(ctx, SPR_E_TOO_NEW, NULL, 0, 0, "%s: uses fields that this library (%s) does not know",
                                what, spr_version_string());
    if (given)
        memcpy(newest, given, SPR_MIN(size, newest_size));
    memcpy(newest, &newest_size, sizeof newest_size);
    return SPR_OK;
}

int spr__io_out(void *out, const void *newest, size_t newest_size) {
    size_t size;
    memcpy(&size, out, sizeof size);
    if (size < sizeof size || size > 1u << 16)
        return SPR_E_ARG;
    memcpy((char *)out + sizeof size, (const char *)newest + sizeof size, SPR_MIN(size, newest_size) - sizeof size);
    if (size > newest_size)
        memset((char *)out + newest_size, 0, size - newest_size);
    return SPR_OK;
}

/* ---- memory ---- */

int spr__io_reserve(spr_context *ctx, void **block, size_t *cap, size_t need, size_t each) {
    if (need <= *cap)
        return SPR_OK;
    size_t n = *cap ? *cap : 16;
    while (n < need)
        n *= 2;
    void *p = n > SIZE_MAX / 4 / each ? NULL : spr_context_alloc(ctx, n * each);
    if (!p)
        return spr__io_nomem(ctx);
    if (*block)
        memcpy(p, *block, *cap * each);
    spr_context_free(ctx, *block, *cap * each);
    *block = p;
    *cap = n;
    return SPR_OK;
}

char *spr__io_strndup(spr_context *ctx, const char *text, size_t n) {
    char *p = spr_context_alloc(ctx, n + 1);
    if (!p) {
        spr__io_nomem(ctx);
        return NULL;
    }
    memcpy(p, text, n);
    return p;
}

char *spr__io_strdup(spr_context *ctx, const char *text) { return spr__io_strndup(ctx, text, strlen(text)); }

void spr__io_strfree(spr_context *ctx, char *text) {
    if (text)
        spr_context_free(ctx, text, strlen(text) + 1);
}

char *spr__io_printf(spr_context *ctx, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *p = n < 0 ? NULL : spr_context_alloc(ctx, (size_t)n + 1);
    if (!p) {
        spr__io_nomem(ctx);
        return NULL;
    }
    va_start(args, format);
    vsnprintf(p, (size_t)n + 1, format, args);
    va_end(args);
    return p;
}

bool spr__io_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

/* ---- index: open addressing, at most half full ---- */

static uint64_t hash_of(const char *text, size_t n) {
    uint64_t h = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)text[i]) * UINT64_C(1099511628211);
    return h;
}

static struct spr__io_slot *slot_of(const struct spr__io_index *x, const char *key, size_t n, uint64_t hash) {
    size_t i = (size_t)hash & (x->cap - 1);
    while (x->slots[i].key &&
           (x->slots[i].hash != hash || x->slots[i].length != n || memcmp(x->slots[i].key, key, n) != 0))
        i = (i + 1) & (x->cap - 1);
    return &x->slots[i];
}

static int index_grow(spr_context *ctx, struct spr__io_index *x) {
    struct spr__io_index g = {.cap = x->cap ? x->cap * 2 : 32, .count = x->count};
    if (!(g.slots = spr_context_alloc(ctx, g.cap * sizeof *g.slots)))
        return spr__io_nomem(ctx);
    for (size_t i = 0; i < x->cap; i++)
        if (x->slots[i].key)
            *slot_of(&g, x->slots[i].key, x->slots[i].length, x->slots[i].hash) = x->slots[i];
    spr_context_free(ctx, x->slots, x->cap * sizeof *x->slots);
    *x = g;
    return SPR_OK;
}

int spr__io_index_put(spr_context *ctx, struct spr__io_index *x, const char *key, int64_t value) {
    if ((x->count + 1) * 2 > x->cap) {
        int rc = index_grow(ctx, x);
        if (rc < 0)
            return rc;
    }
    size_t n = strlen(key);
    uint64_t hash = hash_of(key, n);
    struct spr__io_slot *s = slot_of(x, key, n, hash);
    if (s->key)
        return SPR_E_EXISTS;
    *s = (struct spr__io_slot){key, n, hash, value};
    x->count++;
    return SPR_OK;
}

int64_t spr__io_index_get(const struct spr__io_index *x, const char *key, size_t length) {
    if (!x->cap)
        return -1;
    const struct spr__io_slot *s = slot_of(x, key, length, hash_of(key, length));
    return s->key ? s->value : -1;
}

void spr__io_index_finish(spr_context *ctx, struct spr__io_index *x) {
    spr_context_free(ctx, x->slots, x->cap * sizeof *x->slots);
    memset(x, 0, sizeof *x);
}
