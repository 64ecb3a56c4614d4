/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A fleet of a few equal hosts and VMs for tests of the loop: VM k lives on host k % hosts. */
#ifndef TESTS_UNIT_SMALL_FLEET_H
#define TESTS_UNIT_SMALL_FLEET_H

#include <stdio.h>

#include <shardpredict.h>

/* How long flows live in fleets made from now on, s. */
static double small_fleet_flow_s = 60;

/* Class of the VMs of fleets made from now on. */
static int small_fleet_class = -1;

/* NULL when something failed (an allocation, in the sweeps). */
static inline spr_fleet *small_fleet(spr_context *ctx, int hosts, int vms, double cores) {
    spr_fleet_builder *b = NULL;
    spr_fleet *f = NULL;
    int32_t index;
    char id[16];
    if (spr_fleet_builder_create(ctx, NULL, &b) < 0)
        return NULL;
    int rc = spr_fleet_builder_use(b, SPR_CPU);
    for (int h = 0; h < hosts && rc >= 0; h++) {
        snprintf(id, sizeof id, "host%02d", h);
        struct spr_host host = {.size = sizeof host, .id = id, .capacity.of = {[SPR_CPU] = cores}};
        for (int k = 0; k < SPR_POWER_POINTS; k++)
            host.power_w[k] = 100 + 5 * k;
        rc = spr_fleet_builder_host(b, &host, &index);
    }
    for (int v = 0; v < vms && rc >= 0; v++) {
        snprintf(id, sizeof id, "vm%02d", v);
        struct spr_vm vm = {.size = sizeof vm,
                            .id = id,
                            .host = v % hosts,
                            .replica = SPR_REPLICA_IMAGE,
                            .spillable = 0.8,
                            .flow_lifetime_s = small_fleet_flow_s,
                            .klass = small_fleet_class};
        rc = spr_fleet_builder_vm(b, &vm, &index);
    }
    if (rc < 0) {
        spr_fleet_builder_destroy(b);
        return NULL;
    }
    return spr_fleet_builder_finish(b, (struct spr_time){0, 0}, &f) < 0 ? NULL : f;
}

/* CPU series of those VMs on 300 s steps: value(v, t). */
static inline spr_series *small_series(spr_context *ctx, int vms, int steps, double (*value)(int v, int t)) {
    struct spr_metrics_opts o = SPR_METRICS_OPTS_INIT;
    spr_metrics *m = NULL;
    spr_series *s = NULL;
    char id[16];
    int rc = spr_metrics_create(ctx, &o, &m);
    for (int v = 0; v < vms && rc >= 0; v++) {
        int64_t row;
        snprintf(id, sizeof id, "vm%02d", v);
        rc = spr_metrics_add(m, id, NULL, SPR_CPU, SPR_GAUGE, 1, &row);
        for (int t = 0; t < steps && rc >= 0; t++)
            rc = spr_metrics_push(m, row, (int64_t)t * 300000000000, value(v, t), 0);
    }
    if (rc >= 0)
        rc = spr_metrics_finish(m, &s);
    spr_metrics_destroy(m);
    return rc < 0 ? NULL : s;
}

static inline struct spr_time at_s(double s) { return (struct spr_time){(int64_t)(s * 1e9), (int64_t)(s * 1e9)}; }

#endif
