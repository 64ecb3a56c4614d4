/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A document appears whole or not at all: a regular file is written beside its target and renamed over it;
 * what cannot be renamed (a pipe, a device, standard output) is kept in memory until it is complete.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inside.h"

enum { CHUNK = 1 << 16 };

struct spr_output {
    spr_context *ctx;
    char *path;   /* as given, for messages */
    char *target; /* what is written: links resolved */
    char *beside; /* NULL: in place, at the end */
    int fd;       /* of `beside` */
    int error;    /* first errno */
    bool nomem;
    char *buffer;
    size_t used, cap;
};

static void free_output(spr_output *o) {
    spr_context *ctx = o->ctx;
    if (o->fd >= 0)
        close(o->fd);
    spr__io_strfree(ctx, o->path);
    spr__io_strfree(ctx, o->target);
    spr__io_strfree(ctx, o->beside);
    spr_context_free(ctx, o->buffer, o->cap);
    spr_context_free(ctx, o, sizeof *o);
    spr_context_unref(ctx);
}

/* A new file in the target's folder; its name says whose it is, the process id keeps two runs apart. */
static int open_beside(spr_output *o, mode_t mode) {
    for (int i = 0; i < 100; i++) {
        o->beside = spr__io_printf(o->ctx, "%.*s.%s.%ld.%d.new", (int)(spr__io_base(o->target) - o->target), o->target,
                                   spr__io_base(o->target), (long)getpid(), i);
        if (!o->beside)
            return SPR_E_NOMEM;
        o->fd = open(o->beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (o->fd >= 0 && mode)
            (void)!fchmod(o->fd, mode & 0777);
        if (o->fd >= 0)
            return SPR_OK;
        spr__io_strfree(o->ctx, o->beside);
        o->beside = NULL;
        if (errno != EEXIST)
            break;
    }
    return spr__io_fail(o->ctx, SPR_E_IO, o->path, 0, 0, "cannot be written: %s", strerror(errno));
}

static int resolve(spr_output *o) {
    struct stat st;
    if (!strcmp(o->path, "-"))
        return SPR_OK;
    bool there = stat(o->path, &st) == 0;
    if (there && S_ISDIR(st.st_mode))
        return spr__io_fail(o->ctx, SPR_E_IO, o->path, 0, 0, "is a folder, not a file");
    char *real = there ? realpath(o->path, NULL) : NULL;
    o->target = spr__io_strdup(o->ctx, real ? real : o->path);
    free(real);
    if (!o->target)
        return SPR_E_NOMEM;
    if (there && !S_ISREG(st.st_mode))
        return access(o->path, W_OK) == 0
                   ? SPR_OK
                   : spr__io_fail(o->ctx, SPR_E_IO, o->path, 0, 0, "cannot be written: %s", strerror(errno));
    return open_beside(o, there ? st.st_mode : 0);
}

int spr_output_create(spr_context *ctx, const char *path, spr_output **out) {
    if (!ctx)
        return SPR_E_ARG;
    if (!path || !*path || !out)
        return spr__io_fail(ctx, SPR_E_ARG, NULL, 0, 0, "spr_output_create: a path and an output are required");
    spr_output *o = spr_context_alloc(ctx, sizeof *o);
    if (!o)
        return spr__io_nomem(ctx);
    o->ctx = spr_context_ref(ctx);
    o->fd = -1;
    int rc = (o->path = spr__io_strdup(ctx, path)) ? resolve(o) : SPR_E_NOMEM;
    if (rc < 0) {
        free_output(o);
        return rc;
    }
    *out = o;
    return SPR_OK;
}

static void write_all(spr_output *o, int fd, const char *p, size_t n) {
    while (n && !o->error) {
        ssize_t k = write(fd, p, n);
        if (k < 0 && errno != EINTR)
            o->error = errno;
        if (k > 0)
            p += k, n -= (size_t)k;
    }
}

static void flush_chunk(spr_output *o) {
    write_all(o, o->fd, o->buffer, o->used);
    o->used = 0;
}

void spr_output_write(spr_output *o, const void *data, size_t bytes) {
    if (!o || (!data && bytes) || o->nomem || o->error)
        return;
    if (o->beside && o->used + bytes > CHUNK)
        flush_chunk(o);
    if (o->beside && bytes > CHUNK) {
        write_all(o, o->fd, data, bytes);
        return;
    }
    if (spr__io_reserve(o->ctx, (void **)&o->buffer, &o->cap, SPR_MAX(o->used + bytes, o->beside ? (size_t)CHUNK : 0),
                        1) < 0) {
        o->nomem = true;
        return;
    }
    if (bytes)
        memcpy(o->buffer + o->used, data, bytes);
    o->used += bytes;
}

void spr_output_text(spr_output *o, const char *text) {
    if (text)
        spr_output_write(o, text, strlen(text));
}

void spr_output_number(spr_output *o, double value, int digits) {
    char text[48];
    spr_output_write(o, text, spr__io_format(text, sizeof text, value, digits < 1 ? 1 : digits > 17 ? 17 : digits));
}

/* Everything that is left goes to where it belongs. */
static void put_in_place(spr_output *o) {
    int fd = STDOUT_FILENO;
    if (!strcmp(o->path, "-"))
        fflush(stdout); /* what the program said before comes before */
    else if ((fd = open(o->target, O_WRONLY | O_NOCTTY | O_CLOEXEC)) < 0)
        o->error = errno;
    write_all(o, fd, o->buffer, o->used);
    if (fd > STDERR_FILENO && close(fd) < 0 && !o->error)
        o->error = errno;
}

static void rename_in_place(spr_output *o) {
    flush_chunk(o);
    if (close(o->fd) < 0 && !o->error)
        o->error = errno;
    o->fd = -1;
    if (!o->error && rename(o->beside, o->target) < 0)
        o->error = errno;
    if (o->error)
        unlink(o->beside);
}

int spr_output_commit(spr_output *o) {
    if (!o)
        return SPR_E_ARG;
    if (o->nomem) {
        spr_context *ctx = spr_context_ref(o->ctx);
        spr_output_discard(o);
        spr__io_nomem(ctx);
        spr_context_unref(ctx);
        return SPR_E_NOMEM;
    }
    if (o->beside)
        rename_in_place(o);
    else
        put_in_place(o);
    int rc = SPR_OK;
    if (o->error)
        rc = spr__io_fail(o->ctx, SPR_E_IO, strcmp(o->path, "-") ? o->path : "standard output", 0, 0,
                          "cannot be written: %s", strerror(o->error));
    free_output(o);
    return rc;
}

void spr_output_discard(spr_output *o) {
    if (!o)
        return;
    if (o->beside)
        unlink(o->beside);
    free_output(o);
}
