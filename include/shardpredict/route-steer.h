/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file route-steer.h
 * @ingroup route
 * @brief How much of a service's new flows should spill, from what is predicted and what is measured; and who is alive.
 *
 * spr_steer is the control law, one state a service: feed-forward from the predicted saturation, so that spill rises
 * before it; a slow correction by what is measured; ramps tied to warmness; hysteresis. Only new flows can be steered, so
 * the load follows with the flows' lifetime, which the law knows. spr_health turns results of probes into alive and dead.
 * The law, its sources and its stability: doc/algorithms/steer.md.
 *
 * Ownership: both belong to their creators. Threads: one at a time.
 * @{
 */
#ifndef SHARDPREDICT_ROUTE_STEER_H
#define SHARDPREDICT_ROUTE_STEER_H

#include <shardpredict/route.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The control law of some services. Opaque; belongs to its creator. */
typedef struct spr_steer spr_steer;
/** Who answers probes. Opaque; belongs to its creator. */
typedef struct spr_health spr_health;
struct spr_spike;

/** Options of spr_steer_create. */
struct spr_steer_opts {
    size_t size;         /**< sizeof this struct */
    double target;       /**< load of the primary over its room that spill aims at, 0..1; 0 = 0.85 */
    double high;         /**< measured load above which spill is corrected upwards, target..2; 0 = 0.95 */
    double ramp_per_s;   /**< most that spill rises a second when all shards are warm; 0 = 0.05 */
    double fall_per_s;   /**< most that it falls a second; 0 = 1/1800 */
    double hysteresis;   /**< a smaller change is not followed; 0 = 0.02 */
    double delay_s;      /**< age of what is measured; 0 = the time since the last step */
    double gain;         /**< of the correction, in multiples of what is proved stable; 0 = 1 */
    int32_t services;    /**< how many; required */
    int32_t reserve;     /**< 0 = shards that are there are used as far as they carry (they are paid for); 1 = only what is needed */
};
/** What is known of a service at a step. NaN = not known. */
struct spr_steer_in {
    size_t size;            /**< sizeof this struct; in the first one: also the stride */
    int32_t service;        /**< 0 .. services - 1, each once a step at most */
    int32_t reserved;       /**< must be 0 */
    double demand;          /**< high quantile of its demand in `lead_s`, in any unit; NaN = nothing is predicted */
    double room;            /**< what the primary can give it then, in that unit */
    double lead_s;          /**< how far ahead that is */
    double use;             /**< measured load of the primary over its room, 1 = full */
    double pressure;        /**< share of time in which work waited (PSI some), 0..1 */
    double queue;           /**< queue length in multiples of the usual one */
    double carry;           /**< share of its demand now that its live shards can carry, warmness counted in; required */
    double warmness;        /**< of its shards, by capacity, 0..1; required */
    double spill_at_most;   /**< the VM's spillable share; required */
    double flow_lifetime_s; /**< mean; required, above 0 */
};
/** What the law says. */
struct spr_steer_out {
    size_t size;       /**< sizeof this struct, set by the caller */
    double spill;      /**< share of new flows for shards */
    double ramp_per_s; /**< how fast the data plane may go there */
    double need;       /**< share of the load that must be at shards by the prediction */
    double correction; /**< part of spill that measured load asked for */
    double moved;      /**< share of the load that is at shards by the model */
};

/** Make one. @return 0, SPR_E_ARG, SPR_E_NOMEM, SPR_E_TOO_NEW */
SPR_API int spr_steer_create(spr_context *ctx, const struct spr_steer_opts *opts, spr_steer **out);
/** Forget it. NULL is fine. */
SPR_API void spr_steer_destroy(spr_steer *s);
/**
 * One step of the services given; others stay as they are. Nothing is changed when one of them is refused.
 * @return 0 or SPR_E_ARG (names the service)
 */
SPR_API int spr_steer_step(spr_steer *s, struct spr_time now, const struct spr_steer_in *in, size_t count);
/** Newest answer for a service; all zero before its first step. @return 0 or SPR_E_ARG */
SPR_API int spr_steer_get(const spr_steer *s, int32_t service, struct spr_steer_out *out);
/** Begin a service anew (its shards are gone). */
SPR_API void spr_steer_reset(spr_steer *s, int32_t service);

/** Options of spr_health_create. */
struct spr_health_opts {
    size_t size;        /**< sizeof this struct */
    int32_t rise;       /**< good probes in a row until alive; 0 = 2 */
    int32_t fall;       /**< bad probes in a row until dead; 0 = 3 */
    double half_life_s; /**< of the penalty of 1 that each death costs; 0 = 60 */
    double suppress;    /**< penalty from which on it stays dead; 0 = 3, SPR_NONE = never */
    double reuse;       /**< until it has fallen below this; 0 = 1 */
};
/** Make one. Who was never probed is alive. @return 0, SPR_E_ARG, SPR_E_NOMEM, SPR_E_TOO_NEW */
SPR_API int spr_health_create(spr_context *ctx, const struct spr_health_opts *opts, spr_health **out);
/** Forget it. NULL is fine. */
SPR_API void spr_health_destroy(spr_health *h);
/**
 * A probe of a service's shard (0 = its primary) came back, or did not.
 * @return 1 when it is alive or dead otherwise than before, 0, SPR_E_ARG, SPR_E_NOMEM
 */
SPR_API int spr_health_report(spr_health *h, int32_t vm, uint64_t shard, int ok, struct spr_time now);
/** 1 = alive (or never probed), 0 = dead. */
SPR_API int spr_health_alive(const spr_health *h, int32_t vm, uint64_t shard);
/** Forget a shard that is gone. */
SPR_API void spr_health_forget(spr_health *h, int32_t vm, uint64_t shard);

/** What spr_routes_steered goes by; all may be NULL or 0. */
struct spr_routes_opts {
    size_t size;              /**< sizeof this struct */
    const spr_steer *steer;   /**< spill and ramp of service = VM index; NULL = as far as shards carry, at once */
    const spr_health *health; /**< who is dead; NULL = nobody */
    const struct spr_spike *spike;/**< row = VM index: what is raised spills more, as far as shards carry; NULL = nothing */
    const int32_t *on_dead;   /**< [on_dead_count] ::spr_dead_policy by VM; NULL = on_dead_else */
    int32_t on_dead_count;    /**< VMs past it have on_dead_else */
    int32_t on_dead_else;     /**< ::spr_dead_policy */
};
/**
 * As spr_routes_create, with the law's weights: spill and ramp as steered, shards weighted by capacity and warmness, the
 * dead marked, and a live shard promoted where the primary is dead.
 * @return 0, SPR_E_ARG, SPR_E_TOO_NEW, SPR_E_NOMEM
 */
SPR_API int spr_routes_steered(spr_context *ctx, const spr_fleet *fleet, const struct spr_routes_opts *opts,
                               spr_routes *before, spr_routes **out);

#ifdef __cplusplus
}
#endif
/** @} */
#endif
