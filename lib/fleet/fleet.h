/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The inside of a fleet, for the rooms that walk over it (plan, lifecycle, route, control).
 *
 * A snapshot is made at every control tick, so what seldom changes is shared between snapshots:
 *   inventory   who is there: names, policies, capacities, topology, declared demand; never copied
 *   placement   where each VM lives and what state hosts are in; copied when one of them changes
 *   now         demand of each VM and when it was seen; copied when one VM is observed
 * and only the shards belong to one snapshot alone. All of it is read only once the snapshot is published.
 *
 * Demand is kept in columns of the R resources that the fleet plans: demand[vm * R + i] is resource
 * inventory->resource[i]; inventory->slot[r] is the i of resource r, or -1.
 */
#ifndef SPR_LIB_FLEET_H
#define SPR_LIB_FLEET_H

#include <shardpredict/fleet.h>

#include "base/base.h"

/* Texts of an inventory, in blocks that never move. */
struct spr__fleet_text {
    struct spr__fleet_text *next;
    size_t used, room;
    char bytes[];
};

struct spr__fleet_host {
    const char *id, *rack, *zone; /* rack and zone NULL when unknown */
    int32_t rack_id, zone_id;     /* equal numbers = same rack or zone; -1 = unknown */
    struct spr_amounts capacity;
    double power_w[SPR_POWER_POINTS];
};

struct spr__fleet_vm {
    const char *id, *group, *affinity, *anti_affinity, *hosts_allowed;
    double spillable, flow_lifetime_s;                /* lifetime: default filled in */
    int32_t replica, priority, klass, shards_at_most; /* shards_at_most: default filled in */
    int32_t group_id;                                 /* -1 = none */
    int32_t anti_group_id;                            /* group its shards must not meet, -1 = none */
    int32_t affinity_vm, affinity_group_id;           /* what its shards should be near, -1 = none */
    struct spr_amounts min, max, capacity;
};

/* Who is there; shared by all snapshots derived from one another until a host, VM or wish is added. */
struct spr__fleet_inventory {
    spr_refcount refs;
    spr_context *ctx;
    uint32_t resources;                  /* bit r: resource r is planned */
    int32_t R;                           /* how many */
    int32_t resource[SPR_RESOURCES_MAX]; /* their numbers, rising */
    int32_t slot[SPR_RESOURCES_MAX];     /* column of a resource, -1 = not planned */
    struct spr__fleet_host *hosts;
    struct spr__fleet_vm *vms;
    struct spr_declared *declared;
    int32_t host_count, vm_count, declared_count;
    int32_t rack_count, zone_count, group_count;
    double latency_ms[4]; /* by tier; 0 for the same host */
    /* private to lib/fleet */
    size_t host_cap, vm_cap, declared_cap;
    struct spr_textmap host_by_id, vm_by_id, racks, zones, groups;
    struct spr__fleet_text *texts;
    _Atomic(struct spr__fleet_now *) spare; /* a dead `now` of the right size, so that a tick needs no fresh memory */
};

/* Where VMs live. */
struct spr__fleet_placement {
    spr_refcount refs;
    int32_t host_count, vm_count;
    int32_t *vm_host;    /* [vm] host index */
    int32_t *host_state; /* [host] spr_host_state */
    int32_t *first;      /* [host + 1] VMs of host h: vms[first[h]] .. vms[first[h + 1] - 1], rising */
    int32_t *vms;
};

/* What VMs want. */
struct spr__fleet_now {
    spr_refcount refs;
    int32_t vm_count, R;
    double *demand, *demand_hour; /* [vm * R + i] */
    int64_t *seen_mono_ns;        /* [vm] */
    uint32_t *censored;           /* [vm] bit r */
};

struct spr_fleet {
    spr_refcount refs;
    spr_context *ctx;
    struct spr__fleet_inventory *inventory;
    struct spr__fleet_placement *placement;
    struct spr__fleet_now *now;
    uint64_t id;
    struct spr_time time;
    struct spr_shard *shards; /* [shard], in the order they were added */
    int32_t shard_count;
    double *held;             /* [host * R + i] ready + pending + draining of the shards there */
    int32_t *vm_shard;        /* [vm] its first shard, -1 = none; the others follow in vm_shard_next */
    int32_t *vm_shard_next;   /* [shard] */
    int32_t *host_shard;      /* [host] first shard it holds, -1 = none */
    int32_t *host_shard_next; /* [shard] */
    /* private to lib/fleet */
    size_t shard_cap;
    int32_t *by_id; /* open addressing over shard ids: index + 1, 0 = free */
    size_t by_id_cap;
};

static inline double spr__fleet_demand(const spr_fleet *f, int32_t vm, int32_t i) {
    return f->now->demand[(int64_t)vm * f->now->R + i];
}
static inline double spr__fleet_demand_hour(const spr_fleet *f, int32_t vm, int32_t i) {
    return f->now->demand_hour[(int64_t)vm * f->now->R + i];
}
static inline double spr__fleet_held(const spr_fleet *f, int32_t host, int32_t i) {
    return f->held[(int64_t)host * f->inventory->R + i];
}
static inline int32_t spr__fleet_vm_host(const spr_fleet *f, int32_t vm) { return f->placement->vm_host[vm]; }

/* ---- private to lib/fleet ---- */

struct spr__fleet_inventory *spr__inventory_create(spr_context *ctx);
/* A copy that things can be added to; the original stays as it is. */
int spr__inventory_copy(spr_context *ctx, const struct spr__fleet_inventory *from, struct spr__fleet_inventory **out);
void spr__inventory_unref(struct spr__fleet_inventory *v);
int spr__inventory_host(struct spr__fleet_inventory *v, const struct spr_host *host, int32_t *index);
int spr__inventory_vm(struct spr__fleet_inventory *v, const struct spr_vm *vm, int32_t *index);
int spr__inventory_declared(struct spr__fleet_inventory *v, const struct spr_declared *d);
/* Resources become columns; names of groups and VMs become numbers. */
void spr__inventory_settle(struct spr__fleet_inventory *v);

struct spr__fleet_placement *spr__placement_create(spr_context *ctx, int32_t hosts, int32_t vms);
void spr__placement_unref(spr_context *ctx, struct spr__fleet_placement *p);
/* Sort VMs under their hosts. */
void spr__placement_settle(struct spr__fleet_placement *p);
struct spr__fleet_now *spr__now_create(struct spr__fleet_inventory *v);
void spr__now_unref(struct spr__fleet_inventory *v, struct spr__fleet_now *n);
void spr__now_free(spr_context *ctx, struct spr__fleet_now *n);
int32_t spr__fleet_shard_slot(const spr_fleet *f, uint64_t id);

#endif
