/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file fleet.h
 * @defgroup fleet Fleet
 * @brief One immutable snapshot of everything a planner may look at: hosts, topology, VMs, shards, wishes.
 *
 * Hosts and VMs are named by their index in the snapshot; an index stays the same in every snapshot derived
 * from it (spr_fleet_builder_create with a base). Texts and handed-out structs live as long as the snapshot.
 *
 * Ownership: a builder belongs to its creator and is used up by spr_fleet_builder_finish; a spr_fleet is
 * reference counted. Threads: builder one thread, fleet any thread.
 * @{
 */
#ifndef SHARDPREDICT_FLEET_H
#define SHARDPREDICT_FLEET_H

#include <shardpredict/forecast.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One snapshot. Opaque, immutable, reference counted. */
typedef struct spr_fleet spr_fleet;
/** A snapshot under construction. Opaque; belongs to its creator. */
typedef struct spr_fleet_builder spr_fleet_builder;

/** What the source says of a host. */
enum spr_host_state { SPR_HOST_UP = 0, SPR_HOST_UNREACHABLE = 1, SPR_HOST_MAINTENANCE = 2 };
/** Points of a power table: 0 %, 10 %, ... 100 % load. */
#define SPR_POWER_POINTS 11

/** One host. */
struct spr_host {
    size_t size;                      /**< sizeof this struct */
    const char *id;                   /**< unique name */
    const char *rack;                 /**< failure domain and proximity tier; NULL or "" = unknown */
    const char *zone;                 /**< the tier above */
    struct spr_amounts capacity;      /**< what it can give of each resource */
    double power_w[SPR_POWER_POINTS]; /**< watts by CPU load; all 0 = unknown */
    int32_t state;                    /**< ::spr_host_state */
    int32_t reserved;                 /**< must be 0 */
};

/** May a VM be served by replicas? Its owner's decision, never inferred. */
enum spr_replica_policy { SPR_REPLICA_NEVER = 0, SPR_REPLICA_TEMPLATE = 1, SPR_REPLICA_IMAGE = 2 };

/** One VM: who it is, what its owner allows, what it needs now. */
struct spr_vm {
    size_t size;                     /**< sizeof this struct */
    const char *id;                  /**< unique name */
    int32_t host;                    /**< index of its primary */
    int32_t replica;                 /**< ::spr_replica_policy */
    double spillable;                /**< share of its demand that new flows may carry elsewhere, 0..1 */
    double flow_lifetime_s;          /**< mean life of a flow; 0 = 60 s */
    const char *group;               /**< service it belongs to, NULL = itself */
    const char *affinity;            /**< a VM or group its shards should be near, or NULL */
    const char *anti_affinity;       /**< a group its shards must not share a host with, or NULL */
    const char *hosts_allowed;       /**< glob of host names its shards may use, NULL = any */
    struct spr_amounts min;          /**< smallest useful shard; 0 = any */
    struct spr_amounts max;          /**< largest sum of its shards; 0 = no limit */
    int32_t priority;                /**< higher first when capacity is short */
    int32_t klass;                   /**< ::spr_class of its CPU, -1 = unknown */
    struct spr_amounts capacity;     /**< what the VM itself may use at most; 0 = unknown */
    struct spr_amounts demand;       /**< now: primary plus serving shards, in the resources' units */
    struct spr_amounts demand_hour;  /**< mean of the last hour */
    int64_t seen_mono_ns;            /**< monotonic time of its newest sample; stale metrics hold capacity */
    uint32_t censored;               /**< bit r: demand of resource r is only a lower bound */
    int32_t shards_at_most;          /**< 0 = 2 */
};

/** Kinds of shard. */
enum spr_shard_kind {
    SPR_SHARD_REPLICA = 0, /**< a standby instance that serves part of the VM's spillable traffic */
    SPR_SHARD_HEADROOM = 1 /**< a hold that the VM can migrate or grow into */
};
/** X-macro of the states a shard can be in: name, number, text. */
#define SPR_SHARD_STATES(X)                                                                                            \
    X(PLANNED, 0, "planned")                                                                                           \
    X(RESERVED, 1, "reserved")                                                                                         \
    X(ALLOCATING, 2, "allocating")                                                                                     \
    X(WARMING, 3, "warming")                                                                                           \
    X(WARM, 4, "warm")                                                                                                 \
    X(SERVING, 5, "serving")                                                                                           \
    X(DRAINING, 6, "draining")                                                                                         \
    X(RELEASED, 7, "released")                                                                                         \
    X(FAILED, 8, "failed")                                                                                             \
    X(UNKNOWN, 9, "unknown")                                                                                           \
    X(ADOPTED, 10, "adopted")
/** States of a shard; the transitions between them stand in doc/lifecycle.md. */
enum spr_shard_state {
#define SPR_X(name, number, text) SPR_SHARD_##name = number,
    SPR_SHARD_STATES(SPR_X)
#undef SPR_X
    SPR_SHARD_STATE_COUNT_ = 11 /**< not a state */
};
/** Name of a state ("serving"), "invalid" for any other number. */
SPR_API const char *spr_shard_state_name(int state);

/** X-macro of the ways in which a warm shard can wait until it is needed: name, number, text. */
#define SPR_WARM_STATES(X)                                                                                             \
    X(ANY, 0, "any")                                                                                                   \
    X(PAUSED, 1, "paused")                                                                                             \
    X(SAVED, 2, "saved")                                                                                               \
    X(RUNNING, 3, "running")
/** How a warm shard waits: stopped in memory, saved to disk, or running idle; ANY = nobody chose, it is the driver's own. */
enum spr_warm_state {
#define SPR_X(name, number, text) SPR_WARM_##name = number,
    SPR_WARM_STATES(SPR_X)
#undef SPR_X
    SPR_WARM_STATE_END_ = 4 /**< not a state */
};
/** Room for such states in tables; it never changes. */
#define SPR_WARM_STATES_MAX 8
/** Name of one ("saved"), "invalid" for any other number. */
SPR_API const char *spr_warm_state_name(int state);
/** What it costs to wait in one of these states. Measured where it can be. */
struct spr_warm_cost {
    double resume_s;    /**< from there to its first answer; 0 = not known yet */
    double enter_s;     /**< until it waits there, beyond being warm; 0 = at once, or not known yet */
    double memory_held; /**< share of its memory that it holds meanwhile */
    double cpu_held;    /**< share of its CPU that it uses meanwhile */
};

/** One shard as the snapshot sees it. A shard may hold a ready part and parts on their way at the same time. */
struct spr_shard {
    size_t size;                /**< sizeof this struct */
    uint64_t id;                /**< unique for ever; survives restarts */
    int32_t vm;                 /**< index of its VM */
    int32_t host;               /**< index of the host that holds it */
    int32_t kind;               /**< ::spr_shard_kind */
    int32_t state;              /**< ::spr_shard_state */
    struct spr_amounts ready;   /**< held, warm and usable */
    struct spr_amounts pending; /**< held, on its way */
    struct spr_amounts draining;/**< held until the last flows are gone */
    struct spr_amounts used;    /**< of ready and draining, what serves now */
    double warmness;            /**< measured, 0..1; gates traffic */
    int64_t ready_mono_ns;      /**< when the last pending part is expected ready; 0 = none pending */
    int64_t wake_mono_ns;       /**< until when it waits warm instead of serving */
    int32_t warm;               /**< ::spr_warm_state that it waits or will wait in, ANY = it serves as soon as it can */
    int32_t reserved;           /**< 0 */
};

/** What somebody knows in advance: a scheduled workload, a maintenance window. */
struct spr_declared {
    size_t size;           /**< sizeof this struct */
    const char *match;     /**< glob of VM names */
    int32_t resource;      /**< ::spr_resource */
    int32_t reserved;      /**< must be 0 */
    int64_t start_wall_ns; /**< begin */
    int64_t end_wall_ns;   /**< end */
    double amount;         /**< extra demand in the resource's unit */
    double confidence;     /**< 0..1: chance that it happens */
};

/**
 * Begin a snapshot. With a base, its hosts, VMs, declared demand and latencies are taken over (shared, not
 * copied); shards are not: they are observed anew every time.
 */
SPR_API int spr_fleet_builder_create(spr_context *ctx, const spr_fleet *base, spr_fleet_builder **out);
/** Forget it. NULL is fine. */
SPR_API void spr_fleet_builder_destroy(spr_fleet_builder *b);
/** Use this resource in plans; called for each one that matters, before hosts come. None = all standard ones. */
SPR_API int spr_fleet_builder_use(spr_fleet_builder *b, int resource);
/** Add a host and get its index. @return 0, SPR_E_EXISTS, SPR_E_ARG (names the field), SPR_E_NOMEM */
SPR_API int spr_fleet_builder_host(spr_fleet_builder *b, const struct spr_host *host, int32_t *index);
/** Add a VM and get its index. @return 0, SPR_E_EXISTS, SPR_E_ARG (names the field), SPR_E_NOMEM */
SPR_API int spr_fleet_builder_vm(spr_fleet_builder *b, const struct spr_vm *vm, int32_t *index);
/** Replace demand, demand_hour, seen_mono_ns, censored and host of a VM that is there already. */
SPR_API int spr_fleet_builder_observe(spr_fleet_builder *b, int32_t vm, const struct spr_vm *seen);
/** Replace the state of a host that is there already. */
SPR_API int spr_fleet_builder_host_state(spr_fleet_builder *b, int32_t host, int state);
/** Add a shard. @return 0, SPR_E_EXISTS (its id), SPR_E_ARG, SPR_E_NOMEM */
SPR_API int spr_fleet_builder_shard(spr_fleet_builder *b, const struct spr_shard *shard);
/** Add declared demand. */
SPR_API int spr_fleet_builder_declared(spr_fleet_builder *b, const struct spr_declared *declared);
/** Round-trip times between tiers, ms: same rack, same zone, other zone. Defaults 0.1, 0.5, 2. */
SPR_API int spr_fleet_builder_latency(spr_fleet_builder *b, double same_rack_ms, double same_zone_ms,
                                      double other_zone_ms);
/** Publish the snapshot as of `now`; the builder is used up whatever comes back. */
SPR_API int spr_fleet_builder_finish(spr_fleet_builder *b, struct spr_time now, spr_fleet **out);

/** One more reference. */
SPR_API spr_fleet *spr_fleet_ref(spr_fleet *f);
/** One reference less. NULL is fine. */
SPR_API void spr_fleet_unref(spr_fleet *f);
/** Number that grows with every snapshot derived from another. */
SPR_API uint64_t spr_fleet_id(const spr_fleet *f);
/** When it was taken. */
SPR_API struct spr_time spr_fleet_time(const spr_fleet *f);
/** Bit r set: resource r is planned. */
SPR_API uint32_t spr_fleet_resources(const spr_fleet *f);
/** Number of hosts. */
SPR_API int32_t spr_fleet_host_count(const spr_fleet *f);
/** Number of VMs. */
SPR_API int32_t spr_fleet_vm_count(const spr_fleet *f);
/** Number of shards. */
SPR_API int32_t spr_fleet_shard_count(const spr_fleet *f);
/** Number of declared demands. */
SPR_API int32_t spr_fleet_declared_count(const spr_fleet *f);
/** Copy of a host. @return 0 or SPR_E_ARG */
SPR_API int spr_fleet_host(const spr_fleet *f, int32_t index, struct spr_host *out);
/** Copy of a VM. @return 0 or SPR_E_ARG */
SPR_API int spr_fleet_vm(const spr_fleet *f, int32_t index, struct spr_vm *out);
/** Copy of a shard. @return 0 or SPR_E_ARG */
SPR_API int spr_fleet_shard(const spr_fleet *f, int32_t index, struct spr_shard *out);
/** Copy of a declared demand. @return 0 or SPR_E_ARG */
SPR_API int spr_fleet_declared(const spr_fleet *f, int32_t index, struct spr_declared *out);
/** Index of a host, or SPR_E_NOT_FOUND. */
SPR_API int32_t spr_fleet_find_host(const spr_fleet *f, const char *id);
/** Index of a VM, or SPR_E_NOT_FOUND. */
SPR_API int32_t spr_fleet_find_vm(const spr_fleet *f, const char *id);
/** Index of a shard by its id, or SPR_E_NOT_FOUND. */
SPR_API int32_t spr_fleet_find_shard(const spr_fleet *f, uint64_t id);
/** What shards hold on a host (ready, pending and draining). @return 0 or SPR_E_ARG */
SPR_API int spr_fleet_held(const spr_fleet *f, int32_t host, struct spr_amounts *out);
/** Proximity tier of two hosts: 0 same host, 1 same rack, 2 same zone, 3 other zone; SPR_E_ARG. */
SPR_API int spr_fleet_tier(const spr_fleet *f, int32_t a, int32_t b);

#ifdef __cplusplus
}
#endif
/** @} */
#endif
