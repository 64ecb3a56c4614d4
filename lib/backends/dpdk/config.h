/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The control side's description: services and backends by name, the change that is open, ramps. Plain C: the router
 * makes snapshots of it for its lcores, tests make them without any.
 *
 * Numbers that flows remember (a backend's index and generation, a service's front) are given by the directory, which
 * lies beside the flow tables and outlives the process with them.
 */
#ifndef SPR_DPDK_CONFIG_H
#define SPR_DPDK_CONFIG_H

#include "snapshot.h"

#include <shardpredict/backend-dpdk.h>

enum { DP_NAME = 64, DP_TARGETS_MOST = SPR_ROUTE_TARGETS_MOST };

struct dp_directory {
    uint64_t magic;
    uint32_t version, pad;
    uint64_t seed;                           /* of the hashes: what was picked for a SYN is picked for it again */
    char backend[DP_BACKENDS_MOST][DP_NAME]; /* "" = never given */
    uint8_t generation[DP_BACKENDS_MOST];
    struct dp_address front[DP_SERVICES_MOST + 1]; /* ip 0 = never given */
};

struct dp_conf_backend {
    char name[DP_NAME];
    struct dp_path path;
    uint64_t deadline_ms;
    uint16_t index;
    bool alive, draining;
    bool died; /* in this change: its generation ends when the change comes into force */
};
struct dp_target {
    uint16_t backend;
    double goal, share; /* of new flows: wanted, now */
    double most;        /* what a spike may make of it */
};
struct dp_conf_service {
    char name[DP_NAME];
    struct dp_address at;
    struct dp_target *targets; /* of its own */
    double ramp_per_s, learn_s;
    double extra; /* share that a spike adds now, see dp_config_spike_to */
    uint64_t learn_until_ms, flows_most;
    uint32_t idle_s;
    uint16_t front, primary, target_count;
    uint16_t promoted; /* the shard that has a dead primary's place; 0 = none */
    uint8_t dead;
    bool quic, pair, host, spilling; /* spilling: new flows may go to shards, or spilled ones are left */
};
struct dp_config {
    struct dp_conf_backend *backends;
    struct dp_conf_service *services;
    uint32_t backend_count, service_count;
};

/* Text for the person who asked; set on failure. */
struct dp_why {
    char text[200];
};

/* A struct of another age into ours (`known` bytes): SPR_OK, SPR_E_ARG (no size), SPR_E_TOO_NEW. */
int dp_opts_copy(const void *given, void *out, size_t known);

void dp_directory_init(struct dp_directory *d);
/* NULL when it can be used, else why not. */
const char *dp_directory_check(const struct dp_directory *d);

int dp_config_copy(const struct dp_config *from, struct dp_config *to); /* 0 or SPR_E_NOMEM */
void dp_config_free(struct dp_config *c);

/* Each returns SPR_OK or an error and *why; port_mac: [port] of the router, port_count of them. */
int dp_config_backend(struct dp_config *c, struct dp_directory *d, const struct spr_dpdk_backend *b,
                      const uint8_t (*port_mac)[6], int32_t port_count, struct dp_why *why);
int dp_config_backend_remove(struct dp_config *c, const char *name, struct dp_why *why);
int dp_config_service(struct dp_config *c, struct dp_directory *d, const struct spr_dpdk_service *s,
                      struct dp_why *why);
int dp_config_service_remove(struct dp_config *c, const char *name, struct dp_why *why);
int dp_config_spill(struct dp_config *c, const char *service, const char *const *backends, const double *weights,
                    size_t count, double ramp_per_s, struct dp_why *why);
int dp_config_spike(struct dp_config *c, const char *service, const char *const *backends, const double *weights,
                    size_t count, struct dp_why *why);
/* `backend` takes the place of the service's primary, NULL = nobody does. */
int dp_config_promote(struct dp_config *c, const char *service, const char *backend, struct dp_why *why);
int dp_config_drain(struct dp_config *c, const char *backend, double deadline_s, uint64_t now_ms, struct dp_why *why);
int dp_config_alive(struct dp_config *c, const char *backend, bool alive, struct dp_why *why);
/* It is in force: those that died in it never get their old flows again. */
void dp_config_settle(struct dp_config *c, struct dp_directory *d);

struct dp_conf_service *dp_config_find_service(const struct dp_config *c, const char *name);
struct dp_conf_backend *dp_config_find_backend(const struct dp_config *c, const char *name);
const char *dp_config_backend_name(const struct dp_config *c, uint16_t index);

/* Let ramps go on for `seconds`. @return true when a pick table has to be made again */
bool dp_config_ramp(struct dp_config *c, double seconds, uint64_t now_ms);
/* Spill `total` of new flows while a spike lasts, as far as it is allowed; less than the goal's shares is none. @return
 * whether that changes anything */
bool dp_config_spike_to(struct dp_conf_service *s, double total);
/* As far as it is allowed. */
double dp_config_spike_most(const struct dp_conf_service *s);
/* Share of new flows that goes to shards now. */
double dp_config_share(const struct dp_conf_service *s);
int dp_config_snapshot(const struct dp_config *c, const struct dp_directory *d, uint64_t generation,
                       struct dp_snapshot **out, struct dp_why *why);

#endif
