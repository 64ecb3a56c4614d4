/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A small JSON writer over spr_output: keys in the order they are written, NaN as null. */
#ifndef SPR_LIB_IO_JSON_H
#define SPR_LIB_IO_JSON_H

#include "inside.h"

struct spr__json {
    spr_output *out;
    int depth;
    bool started; /* something stands before on this level */
};

/* `open` is '{' or '['. */
void spr__json_open(struct spr__json *j, const char *key, char open);
void spr__json_close(struct spr__json *j, char close);
void spr__json_text(struct spr__json *j, const char *key, const char *text); /* NULL gives null */
void spr__json_number(struct spr__json *j, const char *key, double value);
void spr__json_integer(struct spr__json *j, const char *key, int64_t value);
void spr__json_bool(struct spr__json *j, const char *key, bool value);
void spr__json_null(struct spr__json *j, const char *key);
/* Ends the document with a newline. */
void spr__json_end(struct spr__json *j);

#endif
