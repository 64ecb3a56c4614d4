/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the files of libshardpredict-io share. It sees the core through its public headers only. */
#ifndef SPR_LIB_IO_INSIDE_H
#define SPR_LIB_IO_INSIDE_H

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <shardpredict.h>
#include <shardpredict/io.h>

#define SPR_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define SPR_MIN(a, b)    ((a) < (b) ? (a) : (b))
#define SPR_MAX(a, b)    ((a) > (b) ? (a) : (b))

/* Errors and notes; each error call returns its code. */
int spr__io_fail(spr_context *ctx, int code, const char *file, int64_t line, int64_t column, const char *format, ...)
    __attribute__((format(printf, 6, 7)));
int spr__io_nomem(spr_context *ctx);
void spr__io_note(spr_context *ctx, int level, const char *subject, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Options and outputs of different ages, as the core treats them (base.h, "Options"). */
int spr__io_opts(spr_context *ctx, const char *what, const void *given, void *newest, size_t newest_size);
int spr__io_out(void *out, const void *newest, size_t newest_size);

/* Memory of a context: growing arrays and texts. */
int spr__io_reserve(spr_context *ctx, void **block, size_t *cap, size_t need, size_t each);
char *spr__io_strndup(spr_context *ctx, const char *text, size_t n);
char *spr__io_strdup(spr_context *ctx, const char *text);
void spr__io_strfree(spr_context *ctx, char *text);
char *spr__io_printf(spr_context *ctx, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Text to value, whatever the locale. All of the text must be used; surrounding blanks are allowed. */
bool spr__io_number(const char *text, size_t n, double *out);
bool spr__io_integer(const char *text, size_t n, int64_t *out);
bool spr__io_iso8601(const char *text, size_t n, int64_t *wall_ns);
/* "%.*g" with a point; returns the length. `room` of 40 is enough. */
size_t spr__io_format(char *text, size_t room, double value, int digits);

/* File names: part after the last slash; the same up to its first dot; beside another file. */
const char *spr__io_base(const char *path);
size_t spr__io_stem(const char *path);
char *spr__io_beside(spr_context *ctx, const char *path, const char *name);
bool spr__io_has_parent(const char *path); /* a ".." among its parts */
bool spr__io_exists(const char *path);
bool spr__io_glob(const char *pattern, const char *text);

/* The name of `names` nearest to `word`, when it is near enough to be meant; else NULL. */
const char *spr__io_nearest(const char *word, const char *const *names, size_t count);

/* A map from text to index; keys are borrowed. */
struct spr__io_index {
    struct spr__io_slot {
        const char *key;
        size_t length;
        uint64_t hash;
        int64_t value;
    } * slots;
    size_t cap, count;
};
int spr__io_index_put(spr_context *ctx, struct spr__io_index *x, const char *key, int64_t value);
int64_t spr__io_index_get(const struct spr__io_index *x, const char *key, size_t length); /* -1 = absent */
void spr__io_index_finish(spr_context *ctx, struct spr__io_index *x);

#endif
