/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Model files. They are read, not mapped: whoever writes into a mapped file changes or kills the reader, and the
 * largest model is a few megabytes. A program that wants to share one maps it and calls spr_model_open itself.
 */
#include <errno.h>

#include "inside.h"

enum { BYTES_MOST = 1 << 30 };

static int read_all(spr_context *ctx, const char *path, FILE *f, unsigned char **bytes, size_t *used, size_t *cap) {
    size_t n;
    do {
        int rc = spr__io_reserve(ctx, (void **)bytes, cap, *used + (1 << 16), 1);
        if (rc < 0)
            return rc;
        n = fread(*bytes + *used, 1, *cap - *used, f);
        *used += n;
    } while (n && *used < BYTES_MOST);
    if (ferror(f))
        return spr__io_fail(ctx, SPR_E_IO, path, 0, 0, "cannot be read: %s", strerror(errno));
    return n ? spr__io_fail(ctx, SPR_E_FORMAT, path, 0, 0, "has more than 1 GiB: no model") : SPR_OK;
}

int spr_model_load(spr_context *ctx, const char *path, spr_model **out) {
    unsigned char *bytes = NULL;
    size_t used = 0, cap = 0;
    if (!ctx)
        return SPR_E_ARG;
    if (!path || !out)
        return spr__io_fail(ctx, SPR_E_ARG, NULL, 0, 0, "spr_model_load: a path and a model are required");
    errno = 0;
    FILE *f = fopen(path, "rbe");
    if (!f)
        return spr__io_fail(ctx, errno == ENOENT ? SPR_E_NOT_FOUND : SPR_E_IO, path, 0, 0, "cannot be opened: %s",
                            strerror(errno));
    int rc = read_all(ctx, path, f, &bytes, &used, &cap);
    fclose(f);
    if (rc >= 0)
        rc = spr_model_open(ctx, path, bytes, used, 1, out);
    spr_context_free(ctx, bytes, cap);
    return rc;
}

int spr_model_save(spr_context *ctx, const spr_model *model, const char *path) {
    spr_output *o = NULL;
    size_t bytes;
    if (!ctx)
        return SPR_E_ARG;
    if (!model || !path)
        return spr__io_fail(ctx, SPR_E_ARG, NULL, 0, 0, "spr_model_save: a model and a path are required");
    const void *image = spr_model_bytes(model, &bytes);
    int rc = spr_output_create(ctx, path, &o);
    if (rc < 0)
        return rc;
    spr_output_write(o, image, bytes);
    return spr_output_commit(o);
}
