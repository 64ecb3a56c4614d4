/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Scratch folder and files of the io tests. Included by one program each. */
#ifndef SPR_TESTS_IO_SCRATCH_H
#define SPR_TESTS_IO_SCRATCH_H

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include <shardpredict/io.h>

static char scratch[256];
static spr_context *ctx;
static char notes_seen[8192];

static inline void keep_note(void *user, const struct spr_log_record *r) {
    size_t n = strlen(notes_seen);
    (void)user;
    snprintf(notes_seen + n, sizeof notes_seen - n, "%s: %s\n", r->subject ? r->subject : "", r->text);
}

static inline int scratch_begin(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(scratch, sizeof scratch, "%s/spr-io-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(scratch));
    struct spr_logger logger = {sizeof logger, keep_note, SPR_LOG_NOTE, 0, NULL};
    struct spr_context_opts o = SPR_CONTEXT_OPTS_INIT;
    o.logger = &logger;
    notes_seen[0] = 0;
    assert_int_equal(spr_context_create(&o, &ctx), SPR_OK);
    return 0;
}

/* Path of a scratch file; eight may be in use at once. */
static inline const char *in_scratch(const char *name) {
    static char paths[8][512];
    static int next;
    char *p = paths[next++ % 8];
    snprintf(p, sizeof paths[0], "%s/%s", scratch, name);
    return p;
}

static inline int scratch_files(void) {
    DIR *d = opendir(scratch);
    int n = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.' || (e->d_name[1] && e->d_name[1] != '.');
    closedir(d);
    return n;
}

static inline int scratch_end(void **state) {
    (void)state;
    DIR *d = opendir(scratch);
    for (struct dirent *e; d && (e = readdir(d));)
        unlink(in_scratch(e->d_name));
    if (d)
        closedir(d);
    rmdir(scratch);
    spr_context_unref(ctx);
    return 0;
}

static inline const char *write_bytes(const char *name, const void *data, size_t n) {
    const char *path = in_scratch(name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    fclose(f);
    return path;
}
static inline const char *write_text(const char *name, const char *text) {
    return write_bytes(name, text, strlen(text));
}

static inline char *read_text(const char *path) {
    static char text[1 << 16];
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    return text;
}

static inline struct spr_error last_error(void) {
    struct spr_error e = {.size = sizeof e};
    assert_int_equal(spr_context_error(ctx, &e), SPR_OK);
    return e;
}

/* Data of the shared folder, or NULL when it is not there. */
static inline const char *shared_data(const char *name) {
    static char path[1024];
    const char *data = getenv("SPR_DATA"), *root = getenv("SPR_SOURCE_ROOT");
    if (data)
        snprintf(path, sizeof path, "%s/%s", data, name);
    else if (root)
        snprintf(path, sizeof path, "%s/../shared/data/%s", root, name);
    else
        return NULL;
    return access(path, R_OK) == 0 ? path : NULL;
}

#endif
