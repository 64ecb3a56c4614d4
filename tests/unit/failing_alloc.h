/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * An allocator whose n-th allocation fails, and which knows whether everything came back with the size it left.
 *
 *     static int job(spr_context *ctx, void *arg) { ...; return the library's code; }   undoes what it made
 *     assert_true(failing_sweep(job, arg) > 10);
 *
 * The sweep runs the job with the 1st, 2nd, 3rd ... allocation failing until one run meets no failure. Every
 * failing run must say SPR_E_NOMEM (or end well where memory was only a convenience) and leave nothing behind.
 */
#ifndef TESTS_UNIT_FAILING_ALLOC_H
#define TESTS_UNIT_FAILING_ALLOC_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <shardpredict/base.h>

struct failing_alloc {
    int64_t calls;   /* allocations asked for so far */
    int64_t fail_at; /* this one fails, from 1; 0 = none */
    int64_t blocks;  /* alive */
    int64_t bytes;   /* alive */
};

static inline int failing_now(struct failing_alloc *f) { return ++f->calls == f->fail_at; }

static inline void *failing_alloc_alloc(void *user, size_t bytes) {
    struct failing_alloc *f = user;
    void *p = failing_now(f) ? NULL : malloc(bytes);
    if (p)
        f->blocks++, f->bytes += (int64_t)bytes;
    return p;
}

static inline void *failing_alloc_realloc(void *user, void *block, size_t old_bytes, size_t bytes) {
    struct failing_alloc *f = user;
    void *p = failing_now(f) ? NULL : realloc(block, bytes);
    if (p)
        f->blocks += !block, f->bytes += (int64_t)bytes - (block ? (int64_t)old_bytes : 0);
    return p;
}

static inline void failing_alloc_free(void *user, void *block, size_t bytes) {
    struct failing_alloc *f = user;
    f->blocks--, f->bytes -= (int64_t)bytes;
    free(block);
}

/* A context that allocates through `f`; NULL when that allocation is the one that fails. */
static inline spr_context *failing_context(struct failing_alloc *f) {
    struct spr_allocator a = {sizeof a, failing_alloc_alloc, failing_alloc_realloc, failing_alloc_free, f};
    struct spr_context_opts o = {.size = sizeof o, .allocator = &a};
    spr_context *made = NULL;
    return spr_context_create(&o, &made) < 0 ? NULL : made;
}

/* Returns how many allocations the job makes, or -1 (and says which run) when a run leaked or said something odd. */
static inline int64_t failing_sweep(int (*job)(spr_context *, void *), void *arg) {
    for (int64_t n = 1;; n++) {
        struct failing_alloc f = {.fail_at = n};
        spr_context *failing = failing_context(&f);
        int rc = failing ? job(failing, arg) : SPR_E_NOMEM;
        spr_context_unref(failing);
        int met = f.calls >= n;
        if (f.blocks || f.bytes || (rc < 0 && !(met && rc == SPR_E_NOMEM))) {
            fprintf(stderr, "# allocation %lld failing: code %d, %lld blocks and %lld bytes left\n", (long long)n, rc,
                    (long long)f.blocks, (long long)f.bytes);
            return -1;
        }
        if (!met)
            return n - 1;
    }
}

#endif
