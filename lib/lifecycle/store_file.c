/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A journal in one append-only file; byte by byte in doc/journal.md. The whole file is checked when it is opened:
 * a record cut off at the end is what a crash leaves and is cut; a bad record with good ones behind it is damage,
 * and then nothing is touched.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lifecycle/lifecycle.h"

#define MAGIC        "SPRJRNL\n"
#define VERSION      1
#define HEADER       16 /* magic, version, checksum of both */
#define MARK         UINT32_C(0x4352A5D3)
#define PREFIX       12 /* mark, length, checksum of length and data */
#define RECORD_LIMIT (UINT32_C(1) << 24)
#define WINDOW       65536

struct file {
    spr_context *ctx;
    char *path;
    int fd, sync;
    bool broken; /* a failed append could not be cut off: nothing may follow it */
    int64_t end; /* of the last whole record */
    int64_t torn;
    uint8_t *buffer;
    size_t cap;
    spr_ticket last, told;
};

static void put32(uint8_t *at, uint32_t x) {
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(x >> (8 * i));
}

static uint32_t get32(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static const char *reason(int error) {
    switch (error) {
    case ENOSPC:
        return "no space left on the device";
    case EDQUOT:
        return "the disk quota is used up";
    case EFBIG:
        return "the file may not grow any further";
    case EACCES:
    case EPERM:
        return "permission denied";
    case ENOENT:
        return "the folder does not exist";
    case EISDIR:
        return "it is a folder";
    case EROFS:
        return "the file system is read-only";
    case EIO:
        return "the device reports an error";
    default:
        return NULL;
    }
}

static int fail_errno(const struct file *f, const char *what) {
    int error = errno;
    const char *why = reason(error);
    if (why)
        return spr__fail_at(f->ctx, SPR_E_IO, f->path, 0, 0, "%s: %s: %s", f->path, what, why);
    return spr__fail_at(f->ctx, SPR_E_IO, f->path, 0, 0, "%s: %s: system error %d", f->path, what, error);
}

static int damaged(const struct file *f, int code, int64_t offset, const char *what) {
    return spr__fail_at(f->ctx, code, f->path, 0, 0, "%s: byte %lld: %s", f->path, (long long)offset, what);
}

/* ---- whole reads and writes ---- */

/* Up to n bytes; fewer only at the end of the file. */
static int64_t read_at(const struct file *f, uint8_t *to, size_t n, int64_t offset) {
    size_t done = 0;
    while (done < n) {
        ssize_t k = pread(f->fd, to + done, n - done, offset + (int64_t)done);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return -1;
        if (!k)
            break;
        done += (size_t)k;
    }
    return (int64_t)done;
}

static int write_at(const struct file *f, const uint8_t *from, size_t n, int64_t offset) {
    for (size_t done = 0; done < n;) {
        ssize_t k = pwrite(f->fd, from + done, n - done, offset + (int64_t)done);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return -1;
        done += (size_t)k;
    }
    return f->sync ? fdatasync(f->fd) : 0;
}

/* ---- records ---- */

/*
 * The record at `offset`, into the buffer behind its prefix.
 * Returns its length in the file, 0 when there is no whole, right record, or an error.
 */
static int64_t record_at(struct file *f, int64_t offset, int64_t size) {
    if (size - offset < PREFIX)
        return 0;
    int rc = spr__reserve(f->ctx, (void **)&f->buffer, &f->cap, PREFIX, 1);
    if (rc < 0)
        return rc;
    if (read_at(f, f->buffer, PREFIX, offset) != PREFIX)
        return fail_errno(f, "reading");
    uint32_t bytes = get32(f->buffer + 4);
    if (get32(f->buffer) != MARK || bytes > RECORD_LIMIT || size - offset - PREFIX < (int64_t)bytes)
        return 0;
    if ((rc = spr__reserve(f->ctx, (void **)&f->buffer, &f->cap, PREFIX + bytes, 1)) < 0)
        return rc;
    if (read_at(f, f->buffer + PREFIX, bytes, offset + PREFIX) != bytes)
        return fail_errno(f, "reading");
    uint32_t crc = spr__crc32c(0, f->buffer + 4, 4);
    crc = spr__crc32c(crc, f->buffer + PREFIX, bytes);
    return crc == get32(f->buffer + 8) ? (int64_t)PREFIX + bytes : 0;
}

/* Is there a good record anywhere behind a bad one? Then the file is damaged, not torn. 1, 0 or an error. */
static int good_record_behind(struct file *f, int64_t offset, int64_t size) {
    uint8_t *window = spr__alloc(f->ctx, WINDOW, 1);
    int found = window ? 0 : spr__nomem(f->ctx);
    for (int64_t at = offset; !found && at < size; at += WINDOW - 3) {
        int64_t n = read_at(f, window, WINDOW, at);
        if (n < 0)
            found = fail_errno(f, "reading");
        for (int64_t i = 0; !found && i + 4 <= n; i++)
            if (get32(window + i) == MARK) {
                int64_t bytes = record_at(f, at + i, size);
                found = bytes < 0 ? (int)bytes : bytes > 0;
            }
    }
    spr__free(f->ctx, window, WINDOW, 1);
    return found;
}

/* ---- opening ---- */

static void make_header(uint8_t header[HEADER]) {
    memcpy(header, MAGIC, 8);
    put32(header + 8, VERSION);
    put32(header + 12, spr__crc32c(0, header, 12));
}

static int begin_file(struct file *f, int64_t torn) {
    uint8_t header[HEADER];
    make_header(header);
    if (ftruncate(f->fd, 0) < 0 || write_at(f, header, HEADER, 0) < 0)
        return fail_errno(f, "writing");
    f->end = HEADER;
    f->torn = torn;
    return SPR_OK;
}

static int check_header(struct file *f, int64_t size) {
    uint8_t want[HEADER], got[HEADER] = {0};
    make_header(want);
    int64_t n = read_at(f, got, HEADER, 0);
    if (n < 0)
        return fail_errno(f, "reading");
    if (size < HEADER && !memcmp(want, got, (size_t)n))
        return begin_file(f, size); /* it was being made when somebody died */
    if (n < HEADER || memcmp(got, MAGIC, 8))
        return damaged(f, SPR_E_FORMAT, 0, "this is no journal");
    if (get32(got + 12) != spr__crc32c(0, got, 12))
        return damaged(f, SPR_E_CORRUPT, 0, "the header's checksum is wrong");
    if (get32(got + 8) != VERSION)
        return damaged(f, SPR_E_TOO_NEW, 8, "the journal is of a version that this library does not know");
    f->end = HEADER;
    return SPR_OK;
}

static int check_records(struct file *f, int64_t size) {
    int64_t bytes;
    int behind;
    while ((bytes = record_at(f, f->end, size)) > 0)
        f->end += bytes;
    if (bytes < 0)
        return (int)bytes;
    if (f->end == size)
        return SPR_OK;
    if ((behind = good_record_behind(f, f->end + 1, size)) < 0)
        return behind;
    if (behind)
        return damaged(f, SPR_E_CORRUPT, f->end, "a record is damaged, and there are good ones behind it");
    f->torn = size - f->end;
    return ftruncate(f->fd, f->end) < 0 ? fail_errno(f, "cutting a torn record") : SPR_OK;
}

static int open_path(struct file *f) {
    struct stat st;
    if ((f->fd = open(f->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) < 0)
        return fail_errno(f, "opening");
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(f->fd, F_OFD_SETLK, &whole) < 0) /* of this open file, not of the process: goes with the fd */
        return spr__fail_at(f->ctx, SPR_E_BUSY, f->path, 0, 0, "%s: another controller has this journal open", f->path);
    if (fstat(f->fd, &st) < 0)
        return fail_errno(f, "opening");
    if (!S_ISREG(st.st_mode))
        return damaged(f, SPR_E_FORMAT, 0, "a journal must be a regular file");
    if (!st.st_size)
        return begin_file(f, 0);
    int rc = check_header(f, st.st_size);
    return rc < 0 || f->torn ? rc : check_records(f, st.st_size);
}

static void file_close(void *state) {
    struct file *f = state;
    if (f->fd >= 0)
        close(f->fd);
    spr__free(f->ctx, f->buffer, f->cap, 1);
    spr__strfree(f->ctx, f->path);
    spr__free(f->ctx, f, 1, sizeof *f);
}

static int file_open(const struct spr_env *env, const void *config, void **state) {
    struct spr_store_file_opts o;
    int rc = spr__opts_copy(env->context, "spr_store_file_opts", config, &o, sizeof o);
    if (rc < 0)
        return rc;
    if (!o.path || !*o.path || o.reserved)
        return spr__fail(env->context, SPR_E_ARG, "spr_store_file_opts: a path is required, and reserved must be 0");
    struct file *f = spr__alloc(env->context, 1, sizeof *f);
    if (!f)
        return spr__nomem(env->context);
    f->ctx = env->context;
    f->fd = -1;
    f->sync = o.sync != 0;
    f->path = spr__strdup(f->ctx, o.path);
    rc = f->path ? open_path(f) : spr__nomem(f->ctx);
    if (rc < 0) {
        file_close(f);
        return rc;
    }
    *state = f;
    return SPR_OK;
}

/* ---- using ---- */

static int file_append(void *state, const void *record, size_t bytes, int64_t deadline, spr_ticket *out) {
    struct file *f = state;
    (void)deadline;
    if (bytes > RECORD_LIMIT)
        return spr__fail(f->ctx, SPR_E_ARG, "a journal record of %zu bytes is too long", bytes);
    if (f->broken)
        return damaged(f, SPR_E_IO, f->end, "an earlier record could not be written; open the journal anew");
    int rc = spr__reserve(f->ctx, (void **)&f->buffer, &f->cap, PREFIX + bytes, 1);
    if (rc < 0)
        return rc;
    put32(f->buffer, MARK);
    put32(f->buffer + 4, (uint32_t)bytes);
    memcpy(f->buffer + PREFIX, record, bytes);
    put32(f->buffer + 8, spr__crc32c(spr__crc32c(0, f->buffer + 4, 4), record, bytes));
    if (write_at(f, f->buffer, PREFIX + bytes, f->end) < 0) {
        rc = fail_errno(f, "appending");
        f->broken = ftruncate(f->fd, f->end) < 0; /* as if it had never been */
        return rc;
    }
    f->end += (int64_t)(PREFIX + bytes);
    *out = ++f->last;
    return SPR_OK;
}

static int file_collect(void *state, struct spr_time now, struct spr_store_completion *out, size_t room,
                        size_t *count) {
    struct file *f = state;
    (void)now;
    for (*count = 0; *count < room && f->told < f->last; (*count)++)
        out[*count] = (struct spr_store_completion){sizeof *out, ++f->told, SPR_DONE, SPR_OK, NULL};
    return SPR_OK;
}

static int file_read(void *state, int (*record)(void *user, const void *data, size_t bytes), void *user,
                     int64_t *torn) {
    struct file *f = state;
    for (int64_t at = HEADER; at < f->end;) {
        int64_t bytes = record_at(f, at, f->end);
        if (bytes <= 0)
            return bytes < 0 ? (int)bytes : damaged(f, SPR_E_CORRUPT, at, "a record changed while it was read");
        int rc = record(user, f->buffer + PREFIX, (size_t)bytes - PREFIX);
        if (rc < 0)
            return rc;
        at += bytes;
    }
    *torn = f->torn;
    return SPR_OK;
}

static int file_cancel(void *state, spr_ticket ticket) {
    (void)state, (void)ticket;
    return SPR_E_NOT_FOUND; /* appended is appended */
}

static const struct spr_async_ops waiting = {.size = sizeof waiting, .cancel = file_cancel};
static const struct spr_store_ops file = {
    .size = sizeof file,
    .name = "file",
    .license = "MIT OR Apache-2.0",
    .async = &waiting,
    .open = file_open,
    .close = file_close,
    .append = file_append,
    .collect = file_collect,
    .read = file_read,
};
const struct spr_store_ops *spr_store_file(void) { return &file; }
