/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A fleet as a file describes it, before it is built around the VMs of a trace. */
#ifndef SPR_LIB_IO_SPEC_H
#define SPR_LIB_IO_SPEC_H

#include "doc.h"
#include "map.h"

/* What a rule says of the VMs it matches. Texts are owned. */
struct spr__rule {
    char *match, *group, *affinity, *anti_affinity, *hosts_allowed;
    struct spr_vm vm; /* numbers only */
};

/* Capacity of equal hosts: a value, or p99 of the fleet's total over the warm-up / (count * rho). */
struct spr__capacity {
    bool given, by_rule;
    double value; /* core's unit */
    double rho;
};

struct spr__spec_host {
    char *id, *rack, *zone;
    struct spr_host host;
};

struct spr__spec {
    spr_context *ctx;
    const spr_trace *trace;
    uint32_t resources;  /* planned ones */
    int64_t first, last; /* steps whose means place VMs and whose p99 sizes hosts */
    struct spr__spec_host *hosts;
    size_t host_cap, host_count;
    struct spr__capacity capacity[SPR_RESOURCES_MAX]; /* of equal hosts */
    int unit[SPR_RESOURCES_MAX];                      /* in which it was written */
    struct spr__rule *rules;
    size_t rule_cap, rule_count;
    bool has_rules;
    char *replica_bits; /* one 0 or 1 per VM in trace order */
    double spillable;   /* of VMs that nothing else says it of; -1 = side file, else 0.8 */
    double flow_lifetime_s;
    int64_t shards_at_most;
    uint64_t seed; /* who may replicate when nobody says */
    struct spr__spec_declared {
        char *match;
        struct spr_declared declared;
    } * declared;
    size_t declared_cap, declared_count;
    double latency_ms[3];
    bool has_latency;
    int32_t *placement; /* host of each VM, NULL = greedy */
    size_t placement_count;
    char *names[SPR_RESOURCES_MAX]; /* countable resources that hosts have and the trace does not */
    bool observe;                   /* VMs come with their demand at the end of the steps */
};

void spr__spec_init(spr_context *ctx, const spr_trace *trace, struct spr__spec *s);
void spr__spec_finish(struct spr__spec *s);
/* Keys of a fleet: hosts, vms, latency_ms, declared, placement. */
void spr__spec_read(struct spr__doc *d, spr__node *n, struct spr__spec *s);
void spr__spec_hosts(struct spr__doc *d, spr__node *n, struct spr__spec *s);
void spr__spec_placement(struct spr__doc *d, spr__node *n, struct spr__spec *s);
/* Resource of a name in this fleet, or complain. */
int spr__spec_resource(struct spr__doc *d, spr__node *at, struct spr__spec *s, const char *name);
/* Count equal hosts whose capacities stand in s->capacity. */
int spr__spec_equal_hosts(struct spr__spec *s, int64_t count);
int spr__spec_build(struct spr__spec *s, struct spr_time now, spr_fleet **out);

/* Row of each VM in the series for a resource; -1 = none. */
int spr__demand_rows(const spr_trace *t, int resource, int64_t *rows);
/* Gaps hold the last value, before the first one the first: fill steps [first, last) of a row, resource's unit. */
void spr__demand_fill(const spr_trace *t, int64_t row, int64_t first, int64_t last, double *out);
/* Mean per VM and total per step of a resource; either may be NULL. */
int spr__demand_sums(spr_context *ctx, const spr_trace *t, int resource, int64_t first, int64_t last, double *means,
                     double *totals);
/* 99th percentile of the fleet's total. */
int spr__demand_p99(spr_context *ctx, const spr_trace *t, int resource, int64_t first, int64_t last, double *out);
/* Every VM to the host that it fills least: doc/formats.md, "greedy-mean". */
int spr__place_greedy(struct spr__spec *s, int32_t *host_of);

#endif
