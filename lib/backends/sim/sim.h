/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The inside of the simulated world. One state serves world, source, driver and router. */
#ifndef SPR_SIM_H
#define SPR_SIM_H

#include <stdbool.h>

#include <shardpredict/backend-sim.h>

#define SIM_R      SPR_RESOURCES_MAX
#define SIM_PIECES 16 /* growths of one shard under way at once */

#define SIM_ENDED  512 /* growths of one shard that are remembered after their end: asked twice they do nothing */

/* A growth of a shard on its way: held from the first moment, usable when it is warm. */
struct sim_piece {
    uint64_t id;
    bool allocated;
    double amount[SIM_R];
};

struct sim_shard {
    uint64_t id, fence, last_drain;
    uint64_t ended[SIM_ENDED / 64]; /* growths that became ready or were given back, by number modulo SIM_ENDED */
    int32_t vm, host, kind;         /* vm -1: slot is free */
    int32_t next;                   /* next shard of the same VM, -1 = last */
    int32_t piece_count;
    bool active;
    double ready[SIM_R], drain[SIM_R];
    struct sim_piece pieces[SIM_PIECES];
};

/* A driver call under way. */
struct sim_call {
    spr_ticket ticket;
    int64_t due, deadline; /* monotonic ns */
    int32_t verb, shard;   /* shard slot, -1 = none */
    uint64_t shard_id, piece;
    int32_t outcome, code;
    bool injected;    /* it failed because it was asked to */
    bool waits_drain; /* ends when the shard's drain is empty, whatever `due` says */
};

/* What a VM's numbers are since sub-step `since`; they are added up when one of them changes. */
struct sim_vm {
    int32_t home, first_shard;
    double phi, decay; /* spillable share; exp(-substep / flow lifetime) */
    double moved;      /* fraction of its flows that is at shards */
    int64_t since;
    bool active, violated;
    double route_cap[SIM_R]; /* what the routes let new flows use */
    double spill_at_most;
};

struct sim {
    spr_context *ctx;
    spr_fleet *fleet;
    struct spr_world_config config;
    int32_t hosts, vms, r;   /* r: number of resources in use */
    int32_t resource[SIM_R]; /* i-th resource in use -> enum spr_resource */
    struct spr_time now;
    int64_t substep; /* sub-steps done */
    int64_t substep_ns;
    struct sim_vm *vm;
    const char **vm_id, **host_id;     /* names, as long as the fleet lives */
    int32_t *host_vm_first, *host_vms; /* VMs of host h: host_vms[host_vm_first[h] .. host_vm_first[h + 1]) */
    int32_t *active, active_count;     /* VMs with shards or moved flows */
    bool *dirty;                       /* [host]: shares must be computed anew */
    double *capacity, *held;           /* [host][r] */
    double *demand;                    /* [vm][r] */
    double *short_home, *short_side, *served, *held_vm; /* [vm][r]: rates now */
    double *sum_demand[2], *sum_short[2], *sum_served[2],
        *sum_held[2]; /* [vm][r] * sub-steps; 0 = samples, 1 = measure */
    double *violated_s, *host_load_sum;
    double *host_load; /* [host] CPU served now */
    int64_t *host_since;
    int64_t begin[2]; /* sub-step of the last samples / measure */
    double *share_scratch;
    struct sim_shard *shards;
    size_t shard_cap;
    int32_t shard_count;
    /* driver */
    struct sim_call *calls;
    size_t call_cap, call_count;
    spr_ticket last_ticket;
    int64_t calls_seen;
    uint64_t fence;
    struct spr_observed_shard *observed;
    size_t observed_cap;
    /* source */
    struct spr_usage *usage;
    struct {
        spr_ticket ticket;
        int32_t verb;
    } asked[4];
    int32_t asked_count;
    struct spr_time sampled;
    /* router */
    spr_routes *routes;
    spr_ticket published[4]; /* accepted, not yet told */
    int32_t published_count;
};

int sim__grow(struct sim *s, void **block, size_t *cap, size_t need, size_t each);
/* Add up what VM v did until now; call before any of its rates changes. */
void sim__settle_vm(struct sim *s, int32_t v);
void sim__settle_all(struct sim *s);
/* VM v has a shard or moved flows from now on. */
void sim__activate_vm(struct sim *s, int32_t v);
/* Held amounts of VM v changed: recompute, mark its hosts. */
void sim__held_changed(struct sim *s, int32_t v);
void sim__release_part(struct sim *s, struct sim_shard *shard, const double *less);
void sim__drop_shard(struct sim *s, int32_t slot);
static inline bool sim__empty(const double *a, int32_t n) {
    for (int32_t i = 0; i < n; i++)
        if (a[i] > 0)
            return false;
    return true;
}

#endif
