/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file route-spike.h
 * @ingroup route
 * @brief Sees a jump of load in a router's own counters within ticks, and asks for more spill before the next control step.
 *
 * Per service and signal (new flows, packets, bytes, SYNs without an answer, SYNs that came again, time to the answer) a
 * one-sided CUSUM watches for a step to `ratio` times the learnt level. Bounds, thresholds and measured tables:
 * doc/algorithms/spike.md.
 *
 * Ownership: a spr_spike belongs to its creator. Threads: one at a time. No allocation after creation.
 * @{
 */
#ifndef SHARDPREDICT_ROUTE_SPIKE_H
#define SHARDPREDICT_ROUTE_SPIKE_H

#include <shardpredict/route.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Detectors of some services. Opaque; belongs to its creator. */
typedef struct spr_spike spr_spike;

/** What a detector watches. */
enum spr_spike_signal {
    SPR_SPIKE_FLOWS = 0,     /**< new flows a tick */
    SPR_SPIKE_PACKETS = 1,   /**< packets a tick */
    SPR_SPIKE_BYTES = 2,     /**< bytes a tick */
    SPR_SPIKE_WAITING = 3,   /**< SYNs without a final ACK: the server falls behind */
    SPR_SPIKE_SYN_AGAIN = 4, /**< SYNs that came again a tick */
    SPR_SPIKE_ANSWER = 5,    /**< time from SYN to the ACK after its answer */
    SPR_SPIKE_SIGNALS = 6    /**< how many */
};

/** Options of spr_spike_create. */
struct spr_spike_opts {
    size_t size;             /**< sizeof this struct */
    double tick_s;           /**< time between two looks; 0 = 0.05 */
    double ratio;            /**< step to be seen, in multiples of the level, 1.1..100; 0 = 2 */
    double false_per_day;    /**< false alarms allowed a service and day on independent arrivals; 0 = 0.01 */
    double learn_s;          /**< the level follows slow changes over this time; 0 = 60 */
    double hold_s;           /**< an alarm lasts no longer: then what is there is the level (a control step has come); 0 = 60 */
    int32_t services;        /**< how many, 1 and more; required */
    int32_t reserved;        /**< must be 0 */
};
/** What one service asks for. */
struct spr_spike_ask {
    size_t size;             /**< sizeof this struct, set by the caller */
    int32_t raised;          /**< 1 = an alarm is on */
    int32_t signal;          /**< ::spr_spike_signal that raised it */
    double ratio;            /**< load now over the learnt level, 1 and more; 1 without an alarm */
    int64_t since_mono_ns;   /**< when it was raised; 0 without an alarm */
    double latency_s;        /**< mean time in which a step of new flows to `ratio` would be seen at today's level; NaN = still learning */
};

/** Make detectors. @return 0, SPR_E_ARG, SPR_E_NOMEM, SPR_E_TOO_NEW */
SPR_API int spr_spike_create(spr_context *ctx, const struct spr_spike_opts *opts, spr_spike **out);
/** Forget them. NULL is fine. */
SPR_API void spr_spike_destroy(spr_spike *s);
/**
 * Look at the counters. Row i is service i; another `vm` in a row than before, or a counter that fell, begins that service
 * anew. Ticks that come late are counted by the time that passed.
 * @param counters array of `count` <= services; the size in the first one is the stride
 * @return number of services with an alarm, or SPR_E_ARG
 */
SPR_API int spr_spike_tick(spr_spike *s, struct spr_time now, const struct spr_route_counters *counters, size_t count);
/** What service `index` asks for. @return 0 or SPR_E_ARG */
SPR_API int spr_spike_get(const spr_spike *s, int32_t index, struct spr_spike_ask *out);
/**
 * Share to spill so that the primary gets no more new flows than before the jump: 1 - (1 - spill) / ratio, at least
 * `spill` and at most `at_most`.
 */
SPR_API double spr_spike_spill(double spill, double at_most, double ratio);

#ifdef __cplusplus
}
#endif
/** @} */
#endif
