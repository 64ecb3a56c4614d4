/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/base.h"

#define TEXT_MAX 512

/* The error record lives inside the context so that reporting "out of memory" needs no memory. */
struct error_record {
    int code;
    int64_t line, column;
    char text[TEXT_MAX], file[TEXT_MAX], series[128], host[128];
};

struct spr_context {
    spr_refcount refs;
    struct spr_allocator allocator;
    struct spr_logger logger;
    struct spr_executor executor;
    uint64_t seed;
    int simd;
    atomic_uint_fast64_t starved; /* allocations that failed */
    struct error_record error;
};

static void *std_alloc(void *user, size_t bytes) {
    (void)user;
    return malloc(bytes);
}
static void *std_realloc(void *user, void *block, size_t old_bytes, size_t bytes) {
    (void)user, (void)old_bytes;
    return realloc(block, bytes);
}
static void std_free(void *user, void *block, size_t bytes) {
    (void)user, (void)bytes;
    free(block);
}

static int best_simd(void) {
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return SPR_SIMD_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return SPR_SIMD_AVX2;
#endif
    return SPR_SIMD_PLAIN;
}

int spr_context_create(const struct spr_context_opts *opts, spr_context **out) {
    struct spr_context_opts o;
    struct spr_allocator a = {sizeof a, std_alloc, std_realloc, std_free, NULL};
    struct spr_logger l = {0};
    struct spr_executor e = {0};
    int rc;
    if (!out)
        return SPR_E_ARG;
    if ((rc = spr__opts_copy(NULL, "spr_context_opts", opts, &o, sizeof o)) < 0 ||
        (o.logger && (rc = spr__opts_copy(NULL, "spr_logger", o.logger, &l, sizeof l)) < 0) ||
        (o.executor && (rc = spr__opts_copy(NULL, "spr_executor", o.executor, &e, sizeof e)) < 0) ||
        (o.allocator && (rc = spr__opts_copy(NULL, "spr_allocator", o.allocator, &a, sizeof a)) < 0))
        return rc;
    if (!a.alloc || !a.realloc || !a.free || o.simd < SPR_SIMD_AUTO || o.simd > SPR_SIMD_AVX512 || o.reserved ||
        l.reserved || e.reserved)
        return SPR_E_ARG;
    if (o.simd > best_simd())
        return SPR_E_UNSUPPORTED;
    spr_context *ctx = a.alloc(a.user, sizeof *ctx);
    if (!ctx)
        return SPR_E_NOMEM;
    memset(ctx, 0, sizeof *ctx);
    spr__ref_init(&ctx->refs);
    ctx->allocator = a;
    ctx->logger = l;
    ctx->executor = e;
    ctx->seed = o.seed;
    ctx->simd = o.simd ? o.simd : best_simd();
    if (!ctx->logger.level)
        ctx->logger.level = SPR_LOG_NOTE;
    *out = ctx;
    return SPR_OK;
}

spr_context *spr_context_ref(spr_context *ctx) {
    if (ctx)
        spr__ref(&ctx->refs);
    return ctx;
}

void spr_context_unref(spr_context *ctx) {
    if (!ctx || !spr__unref(&ctx->refs))
        return;
    struct spr_allocator a = ctx->allocator;
    a.free(a.user, ctx, sizeof *ctx);
}

void spr__context_hooks(const spr_context *ctx, struct spr_allocator *out) { *out = ctx->allocator; }

int spr_context_simd(const spr_context *ctx) { return ctx ? ctx->simd : SPR_SIMD_PLAIN; }
uint64_t spr_context_seed(const spr_context *ctx) { return ctx ? ctx->seed : 0; }

/* ---- memory ---- */

/* A block of nothing is a block of one byte, so that NULL always means "out of memory". */
static size_t block_bytes(size_t n, size_t each) { return n && each ? n * each : 1; }

/* Counting is bookkeeping as well; any thread may fail. */
static void *starve(const spr_context *ctx) {
    atomic_fetch_add_explicit(&((spr_context *)(uintptr_t)ctx)->starved, 1, memory_order_relaxed);
    return NULL;
}
uint64_t spr__starved(const spr_context *ctx) {
    return atomic_load_explicit(&((spr_context *)(uintptr_t)ctx)->starved, memory_order_relaxed);
}

void *spr__alloc(const spr_context *ctx, size_t n, size_t each) {
    if (each && n > SIZE_MAX / 2 / each)
        return starve(ctx);
    size_t bytes = block_bytes(n, each);
    void *p = ctx->allocator.alloc(ctx->allocator.user, bytes);
    return p ? memset(p, 0, bytes) : starve(ctx);
}

void *spr__grow(const spr_context *ctx, void *block, size_t old_n, size_t n, size_t each) {
    if (each && n > SIZE_MAX / 2 / each)
        return starve(ctx);
    if (!block)
        return spr__alloc(ctx, n, each);
    size_t old_bytes = block_bytes(old_n, each), bytes = block_bytes(n, each);
    char *p = ctx->allocator.realloc(ctx->allocator.user, block, old_bytes, bytes);
    if (p && bytes > old_bytes)
        memset(p + old_bytes, 0, bytes - old_bytes);
    return p ? p : starve(ctx);
}

void spr__free(const spr_context *ctx, void *block, size_t n, size_t each) {
    if (block)
        ctx->allocator.free(ctx->allocator.user, block, block_bytes(n, each));
}

char *spr__strdup(const spr_context *ctx, const char *text) {
    if (!text)
        return NULL;
    size_t n = strlen(text) + 1;
    char *p = spr__alloc(ctx, n, 1);
    return p ? memcpy(p, text, n) : NULL;
}

void spr__strfree(const spr_context *ctx, char *text) {
    if (text)
        spr__free(ctx, text, strlen(text) + 1, 1);
}

int spr__reserve(const spr_context *ctx, void **block, size_t *cap, size_t need, size_t each) {
    if (need <= *cap)
        return SPR_OK;
    size_t n = *cap ? *cap : 8;
    while (n < need)
        n *= 2;
    void *p = spr__grow(ctx, *block, *cap, n, each);
    if (!p)
        return spr__nomem(ctx);
    *block = p;
    *cap = n;
    return SPR_OK;
}

void *spr_context_alloc(spr_context *ctx, size_t bytes) { return ctx ? spr__alloc(ctx, bytes, 1) : NULL; }
void spr_context_free(spr_context *ctx, void *block, size_t bytes) {
    if (ctx)
        spr__free(ctx, block, bytes, 1);
}

/* ---- errors ---- */

/* The record is bookkeeping, not state a caller sees change: reporting works through const handles too. */
static struct error_record *record_of(const spr_context *ctx) { return &((spr_context *)(uintptr_t)ctx)->error; }

static void copy_text(char *to, size_t room, const char *from) { snprintf(to, room, "%s", from ? from : ""); }

static int vrecord(const spr_context *ctx, int code, const char *file, int64_t line, int64_t column, const char *series,
                   const char *host, const char *format, va_list args) {
    if (!ctx)
        return code;
    struct error_record r = {.code = code, .line = line, .column = column};
    vsnprintf(r.text, sizeof r.text, format, args);
    copy_text(r.file, sizeof r.file, file);
    copy_text(r.series, sizeof r.series, series);
    copy_text(r.host, sizeof r.host, host);
    *record_of(ctx) = r;
    return code;
}

int spr__fail(const spr_context *ctx, int code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vrecord(ctx, code, NULL, 0, 0, NULL, NULL, format, args);
    va_end(args);
    return code;
}

int spr__fail_at(const spr_context *ctx, int code, const char *file, int64_t line, int64_t column, const char *format,
                 ...) {
    va_list args;
    va_start(args, format);
    vrecord(ctx, code, file, line, column, NULL, NULL, format, args);
    va_end(args);
    return code;
}

int spr__fail_of(const spr_context *ctx, int code, const char *series, const char *host, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vrecord(ctx, code, NULL, 0, 0, series, host, format, args);
    va_end(args);
    return code;
}

int spr__nomem(const spr_context *ctx) { return spr__fail(ctx, SPR_E_NOMEM, "%s", spr_error_text(SPR_E_NOMEM)); }

int spr_context_error(const spr_context *ctx, struct spr_error *out) {
    if (!ctx || !out || out->size < offsetof(struct spr_error, text))
        return SPR_E_ARG;
    const struct error_record *r = &ctx->error;
    if (!r->code)
        return SPR_E_NOT_FOUND;
    struct spr_error e = {sizeof e,
                          r->code,
                          0,
                          r->text,
                          r->file[0] ? r->file : NULL,
                          r->line,
                          r->column,
                          r->series[0] ? r->series : NULL,
                          r->host[0] ? r->host : NULL};
    return spr__out_copy(out, &e, sizeof e);
}

int spr_context_fail(spr_context *ctx, const struct spr_error *error) {
    struct spr_error e;
    if (!ctx || !error || spr__opts_copy(ctx, "spr_error", error, &e, sizeof e) < 0 || e.code >= 0)
        return SPR_E_ARG;
    struct error_record r = {.code = e.code, .line = e.line, .column = e.column};
    copy_text(r.text, sizeof r.text, e.text ? e.text : spr_error_text(e.code));
    copy_text(r.file, sizeof r.file, e.file);
    copy_text(r.series, sizeof r.series, e.series);
    copy_text(r.host, sizeof r.host, e.host);
    ctx->error = r;
    return e.code;
}

/* ---- log ---- */

void spr_context_log(const spr_context *ctx, const struct spr_log_record *record) {
    if (ctx && record && ctx->logger.log && record->level <= ctx->logger.level)
        ctx->logger.log(ctx->logger.user, record);
}

void spr__log(const spr_context *ctx, int level, const char *stage, const char *subject, const char *format, ...) {
    if (!ctx || !ctx->logger.log || level > ctx->logger.level)
        return;
    char text[TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct spr_log_record r = {sizeof r, level, 0, stage, subject, text};
    ctx->logger.log(ctx->logger.user, &r);
}

/* ---- executor ---- */

void spr__parallel(const spr_context *ctx, size_t n, void (*fn)(void *arg, size_t i), void *arg) {
    if (ctx->executor.parallel_for && n > 1) {
        ctx->executor.parallel_for(ctx->executor.user, n, fn, arg);
        return;
    }
    for (size_t i = 0; i < n; i++)
        fn(arg, i);
}

int spr__width(const spr_context *ctx) { return ctx->executor.width > 0 ? ctx->executor.width : 1; }
