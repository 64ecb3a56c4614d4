/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file route.h
 * @defgroup route Routing
 * @brief Shards in, weighted pick tables out. The primary is the default; only spilled flows carry state.
 *
 * Per service (one VM) a table of SPR_ROUTE_SLOTS slots says where a *new* flow goes: slot = hash of the flow.
 * More spill only moves slots from the primary to shards, less spill only moves slots back, so a changed
 * weight never moves a flow between shards.
 *
 * Ownership: a spr_routes is immutable and reference counted. Threads: any.
 * @{
 */
#ifndef SHARDPREDICT_ROUTE_H
#define SHARDPREDICT_ROUTE_H

#include <shardpredict/lifecycle.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Pick tables of all services. Opaque, immutable, reference counted. */
typedef struct spr_routes spr_routes;
struct spr_router_ops;

/** Slots of a pick table. */
#define SPR_ROUTE_SLOTS 256

/** One service of a snapshot. */
struct spr_route {
    size_t size;           /**< sizeof this struct, set by the caller */
    int32_t vm;            /**< index in the fleet */
    int32_t primary;       /**< host index of the primary */
    int32_t target_count;  /**< shards that take new flows; 0 = no spill */
    int32_t drain_count;   /**< shards that only keep the flows they have */
    double spill;          /**< share of new flows that goes to shards by the table, 0..1 */
    double spill_at_most;  /**< share that measured load may raise it to: the VM's spillable share */
};
/** A shard behind a service. */
struct spr_route_target {
    size_t size;                 /**< sizeof this struct, set by the caller */
    uint64_t shard;              /**< shard id */
    int32_t host;                /**< host index */
    int32_t draining;            /**< 1: no new flows */
    double weight;               /**< share of new flows, 0..1 */
    struct spr_amounts capacity; /**< what it can serve: ready (and draining) amounts */
};

/**
 * Make the routes of a fleet: serving shards get new flows in proportion to what they can carry, draining
 * ones none. Services that did not change share their tables with `before`.
 * @param before the last snapshot, or NULL
 */
SPR_API int spr_routes_create(spr_context *ctx, const spr_fleet *fleet, spr_routes *before, spr_routes **out);
/** One more reference. */
SPR_API spr_routes *spr_routes_ref(spr_routes *r);
/** One reference less. NULL is fine. */
SPR_API void spr_routes_unref(spr_routes *r);
/** Number of the snapshot; grows. */
SPR_API uint64_t spr_routes_id(const spr_routes *r);
/** 1 when no service differs from `other` (NULL: when no service spills or drains). */
SPR_API int spr_routes_equal(const spr_routes *r, const spr_routes *other);
/** Number of services that have shards. */
SPR_API int32_t spr_routes_count(const spr_routes *r);
/** Copy of one of them. @return 0 or SPR_E_ARG */
SPR_API int spr_routes_get(const spr_routes *r, int32_t index, struct spr_route *out);
/** Copy of a target of a service: serving ones first, then draining ones. @return 0 or SPR_E_ARG */
SPR_API int spr_routes_target(const spr_routes *r, int32_t index, int32_t target, struct spr_route_target *out);
/** Pick table of a service: SPR_ROUTE_SLOTS entries, 0 = primary, n = target n - 1. Lives as long as the snapshot. */
SPR_API const uint8_t *spr_routes_table(const spr_routes *r, int32_t index);
/** Where new flows with these hashes go: shard ids, 0 = primary. */
SPR_API int spr_routes_pick(const spr_routes *r, int32_t vm, const uint64_t *hashes, size_t n, uint64_t *shards);

#ifdef __cplusplus
}
#endif
/** @} */
#endif
