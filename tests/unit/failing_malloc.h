/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * malloc and its kin, the n-th call of which fails, for what takes memory of the C library instead of a context's. The
 * program is linked with --wrap for each of them (meson.build: scarce_links): calls of the objects in it come here, those
 * of shared libraries do not.
 *
 *     static int job(void *arg) { ...; return 0 or the code; }   undoes what it made
 *     assert_true(scarce_sweep(job, arg) > 10);
 *
 * A job repeats what failed: TRY(call, code) runs `call`, and where it says `code` a failure must have been met; then it
 * runs once more and must succeed.
 */
#ifndef TESTS_UNIT_FAILING_MALLOC_H
#define TESTS_UNIT_FAILING_MALLOC_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *block, size_t bytes);
void *__real_aligned_alloc(size_t align, size_t bytes);
void __real_free(void *block);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *block, size_t bytes);
void *__wrap_aligned_alloc(size_t align, size_t bytes);
void __wrap_free(void *block);

enum { SCARCE_BLOCKS = 1024 };
static struct {
    bool on;               /* in a sweep: count, fail, remember */
    int64_t calls, fail_at; /* of this run, from 1 */
    bool met;              /* the call failed, and nobody has said so yet */
    int other;             /* things alive that are no blocks: rings, pools, mapped bytes */
    size_t count;
    void *block[SCARCE_BLOCKS]; /* alive */
} scarce;

/* The next one of whatever can fail: does it? */
static inline bool scarce_now(void) {
    if (!scarce.on || ++scarce.calls != scarce.fail_at)
        return false;
    return scarce.met = true;
}

static inline void *scarce_hold(void *block) {
    if (!scarce.on || !block)
        return block;
    if (scarce.count == SCARCE_BLOCKS)
        abort();
    return scarce.block[scarce.count++] = block;
}
/* Blocks of before the sweep, and those of other libraries (a stream's text), are not ours to count. */
static inline void scarce_drop(const void *block) {
    for (size_t i = scarce.count; i-- > 0;)
        if (scarce.block[i] == block) {
            scarce.block[i] = scarce.block[--scarce.count];
            return;
        }
}

void *__wrap_malloc(size_t bytes) { return scarce_now() ? NULL : scarce_hold(__real_malloc(bytes)); }
void *__wrap_calloc(size_t count, size_t bytes) {
    return scarce_now() ? NULL : scarce_hold(__real_calloc(count, bytes));
}
void *__wrap_aligned_alloc(size_t align, size_t bytes) {
    return scarce_now() ? NULL : scarce_hold(__real_aligned_alloc(align, bytes));
}
void *__wrap_realloc(void *block, size_t bytes) {
    if (scarce_now())
        return NULL;
    scarce_drop(block);
    return scarce_hold(__real_realloc(block, bytes));
}
void __wrap_free(void *block) {
    scarce_drop(block);
    __real_free(block);
}

/* Was it this call that met the failure? Asked once a failure. */
static inline bool scarce_said(void) {
    bool met = scarce.met;
    scarce.met = false;
    return met;
}

#define TRY(call, code)                                                                                                \
    do {                                                                                                               \
        int tried = (call);                                                                                            \
        if (tried == (code)) {                                                                                         \
            assert_true(scarce_said());                                                                                \
            tried = (call);                                                                                            \
        }                                                                                                              \
        if (tried)                                                                                                     \
            fail_msg("%s: %d with call %lld failing", #call, tried, (long long)scarce.fail_at);                        \
    } while (0)

/* How often the job asks for memory. Fails the test where a run ends with a code or leaves something behind. */
static inline int64_t scarce_sweep(int (*job)(void *), void *arg) {
    for (int64_t n = 1;; n++) {
        scarce.on = true;
        scarce.calls = 0;
        scarce.fail_at = n;
        scarce.met = false;
        int rc = job(arg);
        scarce.on = false;
        if (rc || scarce.count || scarce.other)
            fail_msg("call %lld failing: code %d, %zu blocks and %d other things left", (long long)n, rc, scarce.count,
                     scarce.other);
        if (scarce.calls < n)
            return n - 1;
    }
}

#endif
