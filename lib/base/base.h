/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What every room of the library shares: the context's inside, memory, errors, sized structs, numbers. */
#ifndef SPR_LIB_BASE_H
#define SPR_LIB_BASE_H

#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <shardpredict/base.h>

#define SPR_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define SPR_MIN(a, b)    ((a) < (b) ? (a) : (b))
#define SPR_MAX(a, b)    ((a) > (b) ? (a) : (b))

/* Memory of a context. Blocks from spr__alloc are zeroed and overflow-checked: n items of `each` bytes. */
void *spr__alloc(const spr_context *ctx, size_t n, size_t each);
void *spr__grow(const spr_context *ctx, void *block, size_t old_n, size_t n, size_t each);
void spr__free(const spr_context *ctx, void *block, size_t n, size_t each);
/* Copy of a text; NULL gives NULL. Length is remembered by strlen, so do not shorten it. */
char *spr__strdup(const spr_context *ctx, const char *text);
void spr__strfree(const spr_context *ctx, char *text);
/* Room for `need` items in a growing array of `*cap`; doubles. 0 or SPR_E_NOMEM (block untouched). */
int spr__reserve(const spr_context *ctx, void **block, size_t *cap, size_t need, size_t each);

/* The memory hooks of a context, for a context of one's own beside it. */
void spr__context_hooks(const spr_context *ctx, struct spr_allocator *out);

/* Errors: leave a record and return its code, so that a call can `return spr__fail(ctx, SPR_E_ARG, "...")`. */
int spr__fail(const spr_context *ctx, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
int spr__fail_at(const spr_context *ctx, int code, const char *file, int64_t line, int64_t column, const char *format,
                 ...) __attribute__((format(printf, 6, 7)));
int spr__fail_of(const spr_context *ctx, int code, const char *series, const char *host, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
int spr__nomem(const spr_context *ctx);
/* How many allocations failed so far: what goes on after one (a retried driver call) may differ from what would have
 * been. */
uint64_t spr__starved(const spr_context *ctx);
void spr__log(const spr_context *ctx, int level, const char *stage, const char *subject, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* Options: copy a caller's size-first struct into the newest layout. NULL counts as all zeros. */
int spr__opts_copy(const spr_context *ctx, const char *what, const void *given, void *newest, size_t newest_size);
/* Ops tables: the same, and every offset in `required` (of pointer slots) must be filled. */
int spr__ops_copy(const spr_context *ctx, const char *what, const void *given, void *newest, size_t newest_size,
                  const size_t *required, size_t required_count);
/* Outputs: fill a caller's size-first struct from the newest layout, no further than its size. */
int spr__out_copy(void *out, const void *newest, size_t newest_size);

/* Executor: fn(arg, i) for i in 0..n-1. */
void spr__parallel(const spr_context *ctx, size_t n, void (*fn)(void *arg, size_t i), void *arg);
int spr__width(const spr_context *ctx);

/* Reference counts of products. */
typedef atomic_uint_fast32_t spr_refcount;
static inline void spr__ref_init(spr_refcount *r) { atomic_init(r, 1); }
static inline void spr__ref(spr_refcount *r) { atomic_fetch_add_explicit(r, 1, memory_order_relaxed); }
static inline bool spr__unref(spr_refcount *r) {
    if (atomic_fetch_sub_explicit(r, 1, memory_order_release) != 1)
        return false;
    atomic_thread_fence(memory_order_acquire);
    return true;
}

/* Random numbers: splitmix64 (Steele, Lea, Flood 2014), counter based, so item i never depends on item i-1. */
static inline uint64_t spr__mix64(uint64_t z) {
    z += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}
static inline uint64_t spr__rand64(uint64_t seed, uint64_t stream, uint64_t counter) {
    return spr__mix64(spr__mix64(seed ^ spr__mix64(stream)) + counter);
}
/* Uniform in [0, 1). */
static inline double spr__rand(uint64_t seed, uint64_t stream, uint64_t counter) {
    return (double)(spr__rand64(seed, stream, counter) >> 11) * 0x1p-53;
}

/* Bits and text. */
uint64_t spr__hash_text(const char *text);                      /* FNV-1a 64 */
bool spr__glob(const char *pattern, const char *text);          /* * and ? only */
uint32_t spr__crc32c(uint32_t crc, const void *data, size_t n); /* Castagnoli, as RFC 3720 */
static inline bool spr__bit(const uint8_t *bits, int64_t i) { return (bits[i >> 3] >> (i & 7)) & 1; }
static inline void spr__bit_set(uint8_t *bits, int64_t i) { bits[i >> 3] |= (uint8_t)(1u << (i & 7)); }

/* A map from text to index; keys are borrowed and must outlive it. */
struct spr_textmap {
    struct {
        const char *key;
        uint64_t hash;
        int64_t value;
    } * slots;
    size_t cap, count;
};
int spr__textmap_put(const spr_context *ctx, struct spr_textmap *m, const char *key, int64_t value); /* SPR_E_EXISTS */
int64_t spr__textmap_get(const struct spr_textmap *m, const char *key);                              /* -1 = absent */
void spr__textmap_finish(const spr_context *ctx, struct spr_textmap *m);

/* Order statistics. `sorted` rises; type 7 of Hyndman & Fan 1996 (linear between order statistics). */
double spr__quantile_sorted(const double *sorted, int64_t n, double p);
void spr__sort(double *values, int64_t n);
double spr__median(double *scratch, int64_t n); /* reorders */

#endif
