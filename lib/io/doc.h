/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * YAML and JSON documents with places: every complaint says file, line and column. The getters leave their output
 * alone when the key is absent; an error stays in the document (`rc`) and later calls do nothing, so that a reader
 * can ask for everything and look once.
 */
#ifndef SPR_LIB_IO_DOC_H
#define SPR_LIB_IO_DOC_H

#include "inside.h"

struct fy_document;
struct fy_node;
typedef struct fy_node spr__node;

struct spr__doc {
    spr_context *ctx;
    const char *path; /* borrowed */
    struct fy_document *fy;
    char *text;
    size_t bytes;
    int rc;
};

/* Read a file; its root must be a mapping. */
int spr__doc_open(spr_context *ctx, const char *path, struct spr__doc *d, spr__node **root);
/* The same over bytes (for tests and fuzzers). `path` is for messages. */
int spr__doc_parse(spr_context *ctx, const char *path, const char *text, size_t bytes, struct spr__doc *d,
                   spr__node **root);
void spr__doc_close(struct spr__doc *d);

/* Complain at a node; returns d->rc. Only the first complaint counts. */
int spr__doc_fail(struct spr__doc *d, spr__node *at, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* A mapping with these keys only; a stranger gets an error that suggests the nearest one. */
void spr__doc_keys(struct spr__doc *d, spr__node *map, const char *what, const char *const *keys, size_t count);

enum spr__kind { SPR__ABSENT, SPR__SCALAR, SPR__LIST, SPR__MAPPING };
enum spr__kind spr__doc_kind(spr__node *n);
spr__node *spr__doc_get(struct spr__doc *d, spr__node *map, const char *key);  /* NULL = absent */
spr__node *spr__doc_need(struct spr__doc *d, spr__node *map, const char *key); /* absent is an error */
/* Items of a list, pairs of a mapping; 0 for anything else. */
size_t spr__doc_count(spr__node *n);
spr__node *spr__doc_first(spr__node *list);
/* Walk a list or a mapping: start with *at NULL, ends with NULL. */
spr__node *spr__doc_next(spr__node *list, void **at);
spr__node *spr__doc_next_pair(struct spr__doc *d, spr__node *map, void **at, const char **key, size_t *length);

/* Values of nodes. NULL nodes are absent. Texts are copied by the context. */
char *spr__doc_text(struct spr__doc *d, spr__node *n);
bool spr__doc_is(spr__node *n, const char *text);
bool spr__doc_is_number(spr__node *n);
void spr__doc_number(struct spr__doc *d, spr__node *n, double least, double most, double *out);
void spr__doc_integer(struct spr__doc *d, spr__node *n, int64_t least, int64_t most, int64_t *out);
void spr__doc_bool(struct spr__doc *d, spr__node *n, bool *out);
/* One of some words: its index. */
void spr__doc_choice(struct spr__doc *d, spr__node *n, const char *const *words, size_t count, int *out);
/* ISO 8601 to wall time. */
void spr__doc_time(struct spr__doc *d, spr__node *n, int64_t *wall_ns);
/* schema: 1 must be there. */
void spr__doc_schema(struct spr__doc *d, spr__node *root);

#endif
