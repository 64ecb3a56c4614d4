/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What fuzz targets share: a file that holds the input, and a context that cannot eat the machine. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <shardpredict.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A file in memory with this content; *path names it while the descriptor is open. Close it afterwards. */
static inline int fuzz_file(const void *data, size_t size, char path[40]) {
    int fd = memfd_create("fuzz", 0);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, 40, "/proc/self/fd/%d", fd);
    return fd;
}

/* Memory: 64 MB a run, so that a number in the input that asks for more meets "out of memory", not the machine's end.
 */
#define FUZZ_ROOM ((size_t)64 << 20)
static size_t fuzz_used;

static void *fuzz_alloc(void *user, size_t bytes) {
    (void)user;
    if (bytes > FUZZ_ROOM - fuzz_used)
        return NULL;
    void *p = malloc(bytes);
    fuzz_used += p ? bytes : 0;
    return p;
}
static void *fuzz_realloc(void *user, void *block, size_t old_bytes, size_t bytes) {
    (void)user;
    size_t kept = block ? old_bytes : 0;
    if (bytes > kept && bytes - kept > FUZZ_ROOM - fuzz_used)
        return NULL;
    void *p = realloc(block, bytes);
    if (p)
        fuzz_used += bytes - kept;
    return p;
}
static void fuzz_free(void *user, void *block, size_t bytes) {
    (void)user;
    fuzz_used -= bytes;
    free(block);
}
static inline spr_context *fuzz_context(void) {
    struct spr_allocator a = {sizeof a, fuzz_alloc, fuzz_realloc, fuzz_free, NULL};
    struct spr_context_opts o = {.size = sizeof o, .allocator = &a};
    spr_context *ctx = NULL;
    if (spr_context_create(&o, &ctx) < 0)
        abort();
    return ctx;
}
/* Every block must have come back, with the size it left. */
static inline void fuzz_context_end(spr_context *ctx) {
    spr_context_unref(ctx);
    if (fuzz_used) {
        fprintf(stderr, "%zu bytes were not given back\n", fuzz_used);
        abort();
    }
}
/* A failure must say why. */
static inline void fuzz_told(spr_context *ctx, int rc) {
    struct spr_error e = {.size = sizeof e};
    if (rc < 0 && (spr_context_error(ctx, &e) < 0 || e.code != rc || !e.text || !e.text[0])) {
        fprintf(stderr, "code %d, and the context says %d '%s'\n", rc, e.code, e.text ? e.text : "");
        abort();
    }
}

#endif
