/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file route.h
 * @defgroup route Routing
 * @brief Shards in, weighted pick tables out. The primary is the default; only spilled flows carry state.
 *
 * Per service (one VM) a table of SPR_ROUTE_SLOTS rows says where a *new* flow goes: row = hash of the flow modulo
 * that number. Whatever the tables say, established flows stay where they are; the data plane pins them.
 *
 * A table follows from the service's name, its shards and their weights alone, so routers that are told the same
 * agree, also after a restart. More spill only moves rows from the primary to shards, less spill only back; a dead
 * shard's rows leave it and no other row moves.
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

/** Rows of a pick table: a prime, as Maglev wants it. */
#define SPR_ROUTE_SLOTS 4099
/** Shards that one service can have. */
#define SPR_ROUTE_TARGETS_MOST 256

/** Where flows of a shard go that is dead; new ones in any case go to shards that are not, or to the primary. */
enum spr_dead_policy {
    SPR_DEAD_PRIMARY = 0, /**< to the primary, which ends connections that it does not know (default) */
    SPR_DEAD_RESET = 1,   /**< TCP is reset at once, the rest dropped; the shard's rows go to the primary */
    SPR_DEAD_DROP = 2,    /**< dropped and counted; the shard's rows go to the primary */
    SPR_DEAD_REHASH = 3   /**< to the other shards, by the table; to the primary when all are dead */
};

/** One service of a snapshot. */
struct spr_route {
    size_t size;           /**< sizeof this struct, set by the caller */
    int32_t vm;            /**< index in the fleet */
    int32_t primary;       /**< host index of the primary */
    int32_t target_count;  /**< shards that take new flows; 0 = no spill */
    int32_t drain_count;   /**< shards that only keep the flows they have */
    double spill;          /**< share of new flows that goes to shards by the table, 0..1 */
    double spill_at_most;  /**< share that measured load may raise it to: the VM's spillable share */
    const char *id;        /**< name of the service; lives as long as the snapshot */
    double ramp_per_s;     /**< the share of new flows that spill may rise this much a second; 0 = at once */
    int32_t on_dead;       /**< ::spr_dead_policy */
    int32_t promoted;      /**< 0 = the primary is alive; n = target n - 1 has taken its place, and its rows */
};
/** A shard behind a service. */
struct spr_route_target {
    size_t size;                 /**< sizeof this struct, set by the caller */
    uint64_t shard;              /**< shard id */
    int32_t host;                /**< host index */
    int32_t draining;            /**< 1: no new flows */
    double weight;               /**< share of new flows, 0..1 */
    struct spr_amounts capacity; /**< what it can serve: ready (and draining) amounts */
    double warmness;             /**< 0..1, as measured */
    int32_t dead;                /**< 1: by its health; its rows went where spr_route.on_dead says */
    int32_t reserved;            /**< 0 */
};
/** What a pick table is made of. */
struct spr_route_shares {
    size_t size;            /**< sizeof this struct */
    const char *service;    /**< its name; required */
    const uint64_t *shards; /**< [count] ids, none twice, in any order */
    const double *weights;  /**< [count] only their proportions count; 0 = no new flows */
    const uint8_t *dead;    /**< [count] 1 = dead: pass its weight all the same, so that nobody else's rows move; NULL = none */
    size_t count;           /**< at most SPR_ROUTE_TARGETS_MOST */
    double spill;           /**< share of the rows for all of them, 0..1 */
    int32_t on_dead;        /**< ::spr_dead_policy */
    int32_t reserved;       /**< must be 0 */
};
/** A service for spr_routes_from. */
struct spr_route_service {
    size_t size;                           /**< sizeof this struct */
    struct spr_route route;                /**< as spr_routes_get gives it; id, vm >= 0 and the counts are required */
    const struct spr_route_target *targets;/**< target_count that take new flows, then drain_count */
};
/** What a router counted for one service since it knows it. */
struct spr_route_counters {
    size_t size;         /**< sizeof this struct, set by the caller: also the stride of an array of them */
    int32_t vm;          /**< index in the fleet, as in the routes */
    int32_t reserved;    /**< 0 */
    uint64_t packets;    /**< received for the service */
    uint64_t bytes;      /**< the same in bytes of layer 3 */
    uint64_t flows;      /**< new flows: SYNs, QUIC Initials and first packets of other UDP */
    uint64_t spilled;    /**< of them to shards */
    uint64_t syn_again;  /**< SYNs that came again: nobody answered the first in time */
    uint64_t active;     /**< spilled flows that are remembered now */
    uint64_t waiting;    /**< SYNs now that no final ACK followed yet */
    double answer_s;     /**< newest mean from SYN to the ACK after its SYN-ACK, s; NaN = not seen here */
};


/**
 * Make the routes of a fleet: serving shards get new flows in proportion to what they can carry, draining
 * ones none. Services that did not change share their tables with `before`.
 * @param before the last snapshot, or NULL
 */
SPR_API int spr_routes_create(spr_context *ctx, const spr_fleet *fleet, spr_routes *before, spr_routes **out);
/**
 * Make routes of given services, without a fleet: for routers that were told of them. Weights, spill and dead are
 * taken as they are. Services that did not change share their tables with `before`.
 * @param services array of `count`, ordered by vm; the size in the first one is the stride, as it is for their targets
 * @return 0, SPR_E_ARG, SPR_E_TOO_NEW, SPR_E_NOMEM
 */
SPR_API int spr_routes_from(spr_context *ctx, const struct spr_route_service *services, size_t count, spr_routes *before,
                            spr_routes **out);
/**
 * Make one pick table: row i is 0 for the primary or n for shards[n - 1]. Needs no context and no memory. A data plane
 * that raises the spill between two snapshots makes the very table that the next snapshot brings.
 * @param rows room for SPR_ROUTE_SLOTS
 * @return 0, SPR_E_ARG, SPR_E_TOO_NEW
 */
SPR_API int spr_route_table(const struct spr_route_shares *shares, uint16_t *rows);
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
SPR_API const uint16_t *spr_routes_table(const spr_routes *r, int32_t index);
/** Where new flows with these hashes go: shard ids, 0 = primary. */
SPR_API int spr_routes_pick(const spr_routes *r, int32_t vm, const uint64_t *hashes, size_t n, uint64_t *shards);

#ifdef __cplusplus
}
#endif
/** @} */
#include <shardpredict/route-spike.h>
#include <shardpredict/route-steer.h>
#endif
