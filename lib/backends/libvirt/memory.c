/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Memory that lanes may touch, options of other ages, the clock. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libvirt.h"

#ifdef LV_INSIDE /* the tests' build: counts down to the one that fails; after it they all succeed again */
atomic_long lv_alloc_fail_after = -1;

static bool fails_now(void) {
    long n = atomic_load(&lv_alloc_fail_after);
    return n >= 0 && atomic_fetch_sub(&lv_alloc_fail_after, 1) == 0;
}
#else
static bool fails_now(void) { return false; }
#endif

void *lv_alloc(size_t bytes) { return fails_now() ? NULL : calloc(1, bytes ? bytes : 1); }

char *lv_strdup(const char *text) {
    size_t n = text ? strlen(text) + 1 : 0;
    char *copy = n ? lv_alloc(n) : NULL;
    return copy ? memcpy(copy, text, n) : NULL;
}

void lv_free(void *block) { free(block); }

int lv_grow(void **block, size_t *cap, size_t need, size_t each) {
    if (need <= *cap)
        return SPR_OK;
    size_t more = *cap ? *cap : 8;
    while (more < need)
        more *= 2;
    void *bigger = more > SIZE_MAX / each || fails_now() ? NULL : realloc(*block, more * each);
    if (!bigger)
        return SPR_E_NOMEM;
    memset((char *)bigger + *cap * each, 0, (more - *cap) * each);
    *block = bigger;
    *cap = more;
    return SPR_OK;
}

int lv_opts_copy(const void *given, void *out, size_t known) {
    size_t size;
    memset(out, 0, known);
    memcpy(&size, given, sizeof size);
    if (size < sizeof size)
        return SPR_E_ARG;
    for (size_t i = known; i < size; i++)
        if (((const unsigned char *)given)[i])
            return SPR_E_TOO_NEW;
    memcpy(out, given, size < known ? size : known);
    memcpy(out, &known, sizeof known);
    return SPR_OK;
}

int64_t lv_wall_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

int64_t lv_clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}
