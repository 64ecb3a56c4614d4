/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file metrics.h
 * @defgroup metrics Metrics
 * @brief Raw samples in, regular series out: the maker is spr_metrics, the product spr_series.
 *
 * Samples of gauges and counters arrive in any order; the product is a panel on one regular grid with
 * mean and maximum per step, the number of samples, and a mark where a value is only a lower bound
 * (*censored*: the VM was throttled). Missing is missing, never zero.
 *
 * Ownership: a spr_metrics belongs to its creator; a spr_series is reference counted.
 * Threads: spr_metrics one thread at a time, spr_series any thread.
 * @{
 */
#ifndef SHARDPREDICT_METRICS_H
#define SHARDPREDICT_METRICS_H

#include <shardpredict/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A collector of samples. Opaque; belongs to its creator. */
typedef struct spr_metrics spr_metrics;
/** Series on one regular grid. Opaque, immutable, reference counted. */
typedef struct spr_series spr_series;

/** How a sample becomes a value. */
enum spr_sample_kind {
    SPR_GAUGE = 0,  /**< the value itself */
    SPR_COUNTER = 1 /**< a growing count; the value is its rate per second, a fall is a reset */
};
/** Marks of one sample. */
enum spr_sample_flag {
    SPR_SAMPLE_CENSORED = 1, /**< demand was at least this; the VM was throttled */
    SPR_SAMPLE_IS_MAX = 2    /**< a maximum over the step; feeds the maximum only */
};

/** Options of spr_metrics_create. */
struct spr_metrics_opts {
    size_t size;         /**< sizeof this struct */
    int64_t origin_ns;   /**< wall time of the start of step 0 */
    int64_t step_ns;     /**< length of a step; 0 = 300 s */
    int64_t max_steps;   /**< refuse samples past this step (a clock jump, not data); 0 = 2^22 */
};
/** All defaults. */
#define SPR_METRICS_OPTS_INIT                                                                                          \
    { sizeof(struct spr_metrics_opts), 0, 0, 0 }

/** What happened to the samples: a reader prints these as notes. */
struct spr_metrics_notes {
    size_t size;          /**< sizeof this struct, set by the caller */
    int64_t samples;      /**< samples taken */
    int64_t missing;      /**< empty or NaN values */
    int64_t duplicates;   /**< samples of a series with a time that was there already: the last one counts */
    int64_t out_of_order; /**< samples older than the newest of their series */
    int64_t resets;       /**< counters that fell */
    int64_t clock_jumps;  /**< gaps of more than 1000 steps inside a series, either way */
    int64_t gaps;         /**< missing steps inside series (set when the product is made) */
};

/** Make an empty collector. @return 0, SPR_E_NOMEM, SPR_E_ARG, SPR_E_TOO_NEW */
SPR_API int spr_metrics_create(spr_context *ctx, const struct spr_metrics_opts *opts, spr_metrics **out);
/** Forget it. NULL is fine. */
SPR_API void spr_metrics_destroy(spr_metrics *m);
/**
 * Add one series and get its row. `id` names VM or host, `metric` is the name the trace uses (NULL = the
 * resource's), `unit_factor` is what one unit of the trace's column is in the resource's unit (for
 * per cent of capacity: capacity / 100; 0 = 1).
 * Values are pushed and kept in the trace's own unit.
 * @return 0, SPR_E_EXISTS (same id and metric), SPR_E_NOMEM, SPR_E_ARG
 */
SPR_API int spr_metrics_add(spr_metrics *m, const char *id, const char *metric, int resource, int kind,
                            double unit_factor, int64_t *row);
/** Row of a series, or SPR_E_NOT_FOUND. */
SPR_API int spr_metrics_find(const spr_metrics *m, const char *id, const char *metric, int64_t *row);
/**
 * Push one sample. NaN is a missing value: it lengthens the grid and never erases what was measured.
 * The same time again replaces the newest sample of its step (of a step with several samples, an older one of
 * them that comes a second time counts as one more). A counter's rate belongs to the middle of the time
 * between its two readings; a reading older than the newest is counted as out of order and not used.
 * @return 0, SPR_E_ARG (row), SPR_E_FORMAT (infinite value, time before the origin or past max_steps)
 */
SPR_API int spr_metrics_push(spr_metrics *m, int64_t row, int64_t wall_ns, double value, int flags);
/** Counters of what happened so far. */
SPR_API int spr_metrics_notes(const spr_metrics *m, struct spr_metrics_notes *out);
/**
 * Close the steps and make the product; the collector is empty of samples afterwards but keeps its series.
 * All series share one grid of as many steps as the newest sample needs.
 * @return 0, SPR_E_HISTORY when no sample came, SPR_E_NOMEM
 */
SPR_API int spr_metrics_finish(spr_metrics *m, spr_series **out);

/** Fields of a series on its grid. */
enum spr_series_field {
    SPR_SERIES_MEAN = 0, /**< mean of the step's samples */
    SPR_SERIES_MAX = 1,  /**< largest sample of the step; the mean where no maximum was given */
    SPR_SERIES_COUNT = 2 /**< number of samples, 0 = missing */
};
/** What is known of one row. */
struct spr_series_info {
    size_t size;        /**< sizeof this struct, set by the caller */
    const char *id;     /**< VM or host; lives as long as the product */
    const char *metric; /**< the trace's own name of the column */
    int32_t resource;   /**< ::spr_resource */
    int32_t reserved;   /**< 0 */
    double unit_factor; /**< trace unit * unit_factor = the resource's unit */
};
/** One more reference. */
SPR_API spr_series *spr_series_ref(spr_series *s);
/** One reference less. NULL is fine. */
SPR_API void spr_series_unref(spr_series *s);
/** Number of rows (one VM and resource each). */
SPR_API int64_t spr_series_count(const spr_series *s);
/** Number of steps of the grid. */
SPR_API int64_t spr_series_steps(const spr_series *s);
/** Wall time of the start of step 0. */
SPR_API int64_t spr_series_origin_ns(const spr_series *s);
/** Length of a step, ns. */
SPR_API int64_t spr_series_step_ns(const spr_series *s);
/** What is known of a row. @return 0 or SPR_E_ARG */
SPR_API int spr_series_info(const spr_series *s, int64_t row, struct spr_series_info *out);
/** Row of an id and resource (or metric name, when not NULL). @return 0 or SPR_E_NOT_FOUND */
SPR_API int spr_series_find(const spr_series *s, const char *id, int resource, const char *metric, int64_t *row);
/**
 * A view of one field of all rows; lives as long as the product. Mean and maximum are SPR_F64 and NaN where
 * missing; the count is SPR_F32 and 0 where missing.
 */
SPR_API int spr_series_view(const spr_series *s, int field, struct spr_panel *out);

#ifdef __cplusplus
}
#endif
/** @} */
#endif
