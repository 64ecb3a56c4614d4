/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file profile.h
 * @defgroup profile Profile
 * @brief Series in, behaviour out: class with confidence, periods, level, bursts, forecastability, peak windows.
 *
 * Ownership: a spr_profiler belongs to its creator and remembers the last class of every series (hysteresis);
 * a spr_profile is reference counted. Threads: profiler one thread at a time, profile any thread. Rows are
 * spread over the context's executor; the result does not depend on it.
 * @{
 */
#ifndef SHARDPREDICT_PROFILE_H
#define SHARDPREDICT_PROFILE_H

#include <shardpredict/metrics.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Remembers the last class of every series. Opaque; belongs to its creator. */
typedef struct spr_profiler spr_profiler;
/** The behaviour of every row of a series. Opaque, immutable, reference counted. */
typedef struct spr_profile spr_profile;

/** The four behaviour classes. */
enum spr_class {
    SPR_CLASS_STEADY = 0,  /**< "steady-state": small spread around one level */
    SPR_CLASS_DIURNAL = 1, /**< "diurnal-spike": a significant period explains much of it */
    SPR_CLASS_BURST = 2,   /**< "event-driven-burst": a calm level broken by rare large excursions */
    SPR_CLASS_CHAOTIC = 3  /**< "chaotic": wide and not forecastable: do not predict, keep headroom */
};
/** Name of a class as the formats use it, "unknown" for any other number. */
SPR_API const char *spr_class_name(int klass);

/** Options of spr_profiler_create. */
struct spr_profile_opts {
    size_t size;              /**< sizeof this struct */
    double significance;      /**< level of the permutation test for periods; 0 = 0.01 */
    int32_t permutations;     /**< permutations of that test; 0 = 199 */
    int32_t max_periods;      /**< at most 3; 0 = 3 */
    double hysteresis;        /**< confidence a new class needs beyond the old one's; 0 = 0.1, SPR_NONE = none */
    int32_t utc_offset_s;     /**< zone of calendars: local time = UTC + this, s */
    int32_t reserved;         /**< must be 0 */
};
/** All defaults. */
#define SPR_PROFILE_OPTS_INIT                                                                                          \
    { sizeof(struct spr_profile_opts), 0, 0, 0, 0, 0, 0 }

/** A window of the week in which peaks (the top tenth of values) gather. */
struct spr_peak_window {
    uint8_t days;       /**< bit 0 = Monday ... bit 6 = Sunday */
    uint8_t reserved[7];/**< 0 */
    int32_t from_s;     /**< local time of day it begins, s */
    int32_t to_s;       /**< local time of day it ends, s; may pass midnight */
    double probability; /**< share of the steps in it that are peaks */
};
/** Most peak windows of one profile. */
#define SPR_PEAK_WINDOWS_MAX 4
/** Most periods of one profile. */
#define SPR_PERIODS_MAX 3

/** The behaviour of one series. */
struct spr_profile_row {
    size_t size;              /**< sizeof this struct, set by the caller */
    const char *id;           /**< VM or host */
    const char *metric;       /**< resource name */
    int32_t resource;         /**< ::spr_resource */
    int32_t klass;            /**< ::spr_class */
    double confidence;        /**< 0..1 */
    double level;             /**< median, in the resource's unit */
    double spread;            /**< median absolute deviation * 1.4826, in the resource's unit */
    double trend_per_day;     /**< robust slope, resource's unit per day */
    double periods_s[SPR_PERIODS_MAX];      /**< strongest first, fractional steps allowed, s */
    int32_t period_count;     /**< how many of them are significant */
    int32_t peak_window_count;/**< how many of peak_windows */
    double season_strength;   /**< 0..1: share of variance the strongest period explains */
    double burst_rate_per_day;/**< excursions a day */
    double burst_size;        /**< mean height of an excursion above the level, resource's unit */
    double burst_length_s;    /**< mean length, s */
    double forecastability;   /**< 0..1: out-of-sample skill of the better naive forecast against the mean */
    struct spr_peak_window peak_windows[SPR_PEAK_WINDOWS_MAX]; /**< most probable first */
};

/** Make a profiler. @return 0, SPR_E_NOMEM, SPR_E_ARG, SPR_E_TOO_NEW */
SPR_API int spr_profiler_create(spr_context *ctx, const struct spr_profile_opts *opts, spr_profiler **out);
/** Forget it. NULL is fine. */
SPR_API void spr_profiler_destroy(spr_profiler *p);
/** Profile every row over steps [first, last); last 0 = the end. @return 0, SPR_E_NOMEM, SPR_E_ARG */
SPR_API int spr_profiler_run(spr_profiler *p, const spr_series *series, int64_t first, int64_t last,
                             spr_profile **out);

/** One more reference. */
SPR_API spr_profile *spr_profile_ref(spr_profile *p);
/** One reference less. NULL is fine. */
SPR_API void spr_profile_unref(spr_profile *p);
/** Number of rows. */
SPR_API int64_t spr_profile_count(const spr_profile *p);
/** One row; texts live as long as the product. @return 0 or SPR_E_ARG */
SPR_API int spr_profile_get(const spr_profile *p, int64_t row, struct spr_profile_row *out);

#ifdef __cplusplus
}
#endif
/** @} */
#endif
