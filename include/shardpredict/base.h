/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file base.h
 * @defgroup base Base
 * @brief Context, errors, time, memory, logging, executor, and the two rules every struct follows.
 *
 * **Options** are structs whose first member is their own size. A zero-filled struct with its size set
 * means "all defaults", and NULL means the same. Where a real "none" must be said the field documents
 * ::SPR_NONE. Bytes past what the library knows must be zero (else ::SPR_E_TOO_NEW); fields past the
 * caller's size count as zero.
 *
 * **Ops tables** are const, size first and append only. The library copies a table once; slots that an
 * older table never had are NULL, and a newer table is accepted when the slots unknown here are NULL.
 *
 * **Outputs** come last and keep their old value when a call fails. Functions that can fail return an
 * `int`: 0 done, above 0 done with a remark (::SPR_AGAIN), below 0 an error of ::spr_error_code.
 *
 * **Threads**: a context and the makers created from it are used by one thread at a time. Products
 * (series, profiles, forecasts, fleets, plans, routes) are immutable, atomically reference counted and
 * may be read by any thread. The library makes no threads, reads no clock and no environment, prints
 * nothing and has no global state.
 * @{
 */
#ifndef SHARDPREDICT_BASE_H
#define SHARDPREDICT_BASE_H

#include <stddef.h>
#include <stdint.h>
#include <shardpredict/version.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define SPR_API
#elif defined(__GNUC__)
#define SPR_API __attribute__((visibility("default")))
#else
#define SPR_API
#endif

/** "Really none" in an option whose zero means "the default". */
#define SPR_NONE (-1)

/** Version of the library that is running, "MAJOR.MINOR.PATCH". Static text. */
SPR_API const char *spr_version_string(void);
/** The same as a number: MAJOR * 1000000 + MINOR * 1000 + PATCH. */
SPR_API int32_t spr_version_number(void);
/** SPDX expression of the licence this build of the core carries. Static text. */
SPR_API const char *spr_build_license(void);

/** X-macro of all result codes: name, number, text. The enum, the texts and the documentation come from here. */
#define SPR_ERROR_CODES(X)                                                                                             \
    X(OK, 0, "done")                                                                                                   \
    X(AGAIN, 1, "the evaluation budget is used up; call again to go on")                                               \
    X(E_NOMEM, -1, "out of memory")                                                                                    \
    X(E_ARG, -2, "an argument is missing or out of range")                                                             \
    X(E_TOO_NEW, -3, "a struct, table or file is newer than this library and uses what it does not know")              \
    X(E_FORMAT, -4, "malformed input")                                                                                 \
    X(E_IO, -5, "reading or writing failed")                                                                           \
    X(E_NOT_FOUND, -6, "not found")                                                                                    \
    X(E_EXISTS, -7, "exists already")                                                                                  \
    X(E_STATE, -8, "not possible in this state")                                                                       \
    X(E_TIMEOUT, -9, "the deadline passed")                                                                            \
    X(E_CANCELLED, -10, "cancelled")                                                                                   \
    X(E_BUSY, -11, "busy, try again later")                                                                            \
    X(E_CAPACITY, -12, "not enough capacity")                                                                          \
    X(E_UNSUPPORTED, -13, "not supported here")                                                                        \
    X(E_FENCED, -14, "a newer controller has taken over")                                                              \
    X(E_CORRUPT, -15, "checksum or structure damaged")                                                                 \
    X(E_CALLBACK, -16, "a callback of the host program failed")                                                        \
    X(E_HISTORY, -17, "too little history for this method")                                                            \
    X(E_UNKNOWN, -18, "the outcome is not known")

/** Result codes; see ::SPR_ERROR_CODES. */
enum spr_error_code {
#define SPR_X(name, number, text) SPR_##name = number,
    SPR_ERROR_CODES(SPR_X)
#undef SPR_X
    SPR_ERROR_LAST_ = -19 /**< one below the lowest code; not a code */
};

/** Text of a result code, "unknown code" for any other number. Static text. */
SPR_API const char *spr_error_text(int code);
/** Name of a result code ("SPR_E_NOMEM"). Static text. */
SPR_API const char *spr_error_name(int code);

/** Everything the library would otherwise keep in globals: hooks, seed, the last error. Opaque, reference counted. */
typedef struct spr_context spr_context;

/** A point in time as the host program sees it. Calendars use wall time, deadlines and leases monotonic time. */
struct spr_time {
    int64_t wall_ns; /**< nanoseconds since 1970-01-01T00:00:00Z */
    int64_t mono_ns; /**< nanoseconds of a clock that never jumps; its zero is arbitrary */
};

/** Memory hooks. All three are called with the `user` pointer; thread-safe once an executor is set. */
struct spr_allocator {
    size_t size;                                                                      /**< sizeof this struct */
    void *(*alloc)(void *user, size_t bytes);                                         /**< NULL when out of memory */
    void *(*realloc)(void *user, void *block, size_t old_bytes, size_t bytes);        /**< as realloc; block may be NULL */
    void (*free)(void *user, void *block, size_t bytes);                              /**< bytes as allocated; block not NULL */
    void *user;                                                                       /**< given to every hook */
};

/** How loud a record is. */
enum spr_log_level { SPR_LOG_ERROR = 1, SPR_LOG_WARN = 2, SPR_LOG_NOTE = 3, SPR_LOG_DEBUG = 4 };

/** One log record; all texts live until the callback returns. */
struct spr_log_record {
    size_t size;         /**< sizeof this struct as the library knows it */
    int32_t level;       /**< ::spr_log_level */
    int32_t code;        /**< ::spr_error_code, 0 if none */
    const char *stage;   /**< "metrics", "plan", ... */
    const char *subject; /**< series, host, VM or file the record is about, or NULL */
    const char *text;    /**< one line, no newline */
};

/** Log hook; never called after the context is gone. */
struct spr_logger {
    size_t size;                                                     /**< sizeof this struct */
    void (*log)(void *user, const struct spr_log_record *record);    /**< NULL = silent */
    int32_t level;                                                   /**< loudest level wanted; 0 = SPR_LOG_NOTE */
    int32_t reserved;                                                /**< must be 0 */
    void *user;                                                      /**< given to the hook */
};

/**
 * Executor hook. `parallel_for` calls `fn(arg, i)` for every i in 0..n-1, in any order, from any thread,
 * and returns when all are done. Results never depend on the order: the library reduces in index order.
 */
struct spr_executor {
    size_t size;                                                                                   /**< sizeof this struct */
    void (*parallel_for)(void *user, size_t n, void (*fn)(void *arg, size_t i), void *arg);        /**< NULL = serial */
    int32_t width;                                                                                 /**< threads behind it; 0 = 1 */
    int32_t reserved;                                                                              /**< must be 0 */
    void *user;                                                                                    /**< given to the hook */
};

/** SIMD levels that a build may carry; the best one the CPU has is used unless forced. */
enum spr_simd { SPR_SIMD_AUTO = 0, SPR_SIMD_PLAIN = 1, SPR_SIMD_AVX2 = 2, SPR_SIMD_AVX512 = 3 };

/** Options of a context. */
struct spr_context_opts {
    size_t size;                           /**< sizeof this struct */
    const struct spr_allocator *allocator; /**< NULL = malloc, realloc, free */
    const struct spr_logger *logger;       /**< NULL = silent */
    const struct spr_executor *executor;   /**< NULL = serial */
    uint64_t seed;                         /**< seed of everything random; 0 is a seed like any other */
    int32_t simd;                          /**< ::spr_simd; a level the CPU lacks is refused */
    int32_t reserved;                      /**< must be 0 */
};
/** All defaults. */
#define SPR_CONTEXT_OPTS_INIT                                                                                          \
    { sizeof(struct spr_context_opts), NULL, NULL, NULL, 0, 0, 0 }

/**
 * Make a context. The hooks are copied, their `user` pointers must outlive the context and every product.
 * @return 0, SPR_E_NOMEM, SPR_E_ARG, SPR_E_TOO_NEW, SPR_E_UNSUPPORTED (SIMD level)
 */
SPR_API int spr_context_create(const struct spr_context_opts *opts, spr_context **out);
/** One more reference; returns its argument. Any thread. */
SPR_API spr_context *spr_context_ref(spr_context *ctx);
/** One reference less; products hold references of their own, so a context may be dropped before them. NULL is fine. */
SPR_API void spr_context_unref(spr_context *ctx);
/** SIMD level in use (never AUTO). */
SPR_API int spr_context_simd(const spr_context *ctx);
/** The seed it was made with. */
SPR_API uint64_t spr_context_seed(const spr_context *ctx);

/** Where and why the last failing call on a context failed. Texts live until the next failing call on it. */
struct spr_error {
    size_t size;        /**< sizeof this struct, set by the caller */
    int32_t code;       /**< ::spr_error_code */
    int32_t reserved;   /**< 0 */
    const char *text;   /**< one line that says what to do about it */
    const char *file;   /**< file or URI, or NULL */
    int64_t line;       /**< from 1; 0 = none */
    int64_t column;     /**< field or character from 1; 0 = none */
    const char *series; /**< series, VM or key, or NULL */
    const char *host;   /**< host, or NULL */
};
/** The record of the last failing call. @return 0, or SPR_E_ARG, or SPR_E_NOT_FOUND when nothing failed yet */
SPR_API int spr_context_error(const spr_context *ctx, struct spr_error *out);
/**
 * Leave an error record (for ops tables and host programs); the texts are copied, a text that cannot be is dropped.
 * @return error->code, so that a slot can say `return spr_context_fail(ctx, &e);`
 */
SPR_API int spr_context_fail(spr_context *ctx, const struct spr_error *error);
/** Hand a record to the logger of the context, if it wants that level. */
SPR_API void spr_context_log(const spr_context *ctx, const struct spr_log_record *record);

/** Memory from the context's allocator, zeroed; NULL when there is none. For authors of ops tables. */
SPR_API void *spr_context_alloc(spr_context *ctx, size_t bytes);
/** Give back what spr_context_alloc gave, with the same size. NULL is fine. */
SPR_API void spr_context_free(spr_context *ctx, void *block, size_t bytes);

/** A strided, read-only view of numbers [series][time], as numpy and Arrow have them. */
struct spr_panel {
    size_t size;              /**< sizeof this struct */
    const void *data;         /**< first number */
    int32_t dtype;            /**< ::spr_dtype */
    int32_t reserved;         /**< must be 0 */
    int64_t series;           /**< rows */
    int64_t steps;            /**< columns, oldest first */
    int64_t series_stride;    /**< bytes from one row to the next */
    int64_t step_stride;      /**< bytes from one column to the next */
    const uint8_t *valid;     /**< bitmap, bit (i % 8) of byte (i / 8) of a row is step i; NULL = valid unless NaN */
    int64_t valid_stride;     /**< bytes from one row's bitmap to the next */
    const uint8_t *censored;  /**< bitmap of the same shape: the value is only a lower bound; NULL = none */
    int64_t censored_stride;  /**< bytes from one row's bitmap to the next */
    const int32_t *resource;  /**< [series] ::spr_resource, or -1; NULL = unknown */
};
/** Number types of a panel. */
enum spr_dtype { SPR_F64 = 0, SPR_F32 = 1 };

/** Resources a fleet measures. Countable ones (VFs, hugepages, licences) follow from SPR_RESOURCE_COUNTABLE on. */
enum spr_resource {
    SPR_CPU = 0,        /**< cores of the reference speed, compressible */
    SPR_MEMORY = 1,     /**< bytes, incompressible: a shortage is an out-of-memory, not a delay */
    SPR_NET_RX = 2,     /**< bit/s, compressible */
    SPR_NET_TX = 3,     /**< bit/s, compressible */
    SPR_DISK_READ = 4,  /**< byte/s, compressible */
    SPR_DISK_WRITE = 5, /**< byte/s, compressible */
    SPR_RESOURCE_COUNTABLE = 6 /**< first countable resource, incompressible */
};
/** How many resources a fleet can have, countable ones included. */
#define SPR_RESOURCES_MAX 12

/** One row of the resource table. */
struct spr_resource_info {
    size_t size;          /**< sizeof this struct, set by the caller */
    const char *name;     /**< "cpu", "memory", "net_rx", "net_tx", "disk_read", "disk_write" */
    const char *unit;     /**< "cores", "bytes", "bit/s", "byte/s" */
    int32_t compressible; /**< 1 when a shortage delays, 0 when it kills */
    int32_t reserved;     /**< 0 */
};
/** The row of a standard resource. @return 0 or SPR_E_ARG */
SPR_API int spr_resource_describe(int resource, struct spr_resource_info *out);
/** The standard resource of a name, or SPR_E_NOT_FOUND. */
SPR_API int spr_resource_find(const char *name);

/** Amounts of all resources, indexed by ::spr_resource, in the resources' units. */
struct spr_amounts {
    double of[SPR_RESOURCES_MAX]; /**< amount of each resource; 0 = none */
};

/** Handle by which a backend's own thread wakes the controller; see ops/async.h. */
typedef struct spr_notifier spr_notifier;
/** The one function a backend's thread may call: sets the controller's fd readable. Async-signal-safe, any thread. */
SPR_API void spr_notify(spr_notifier *notifier);

/** What every `open` slot is given. */
struct spr_env {
    size_t size;            /**< sizeof this struct as the library knows it */
    spr_context *context;   /**< for memory, errors and logging; outlives the state */
    spr_notifier *notifier; /**< to wake the controller; NULL where nobody waits */
    uint64_t seed;          /**< seed of this instance */
};

#ifdef __cplusplus
}
#endif
/** @} */
#endif
