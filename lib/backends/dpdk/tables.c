/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One region holds the directory of numbers and each queue's two flow tables and filter of pending SYNs, so that a
 * router that is started again finds flows, backends and services as they were: the numbers in the flows mean the same.
 */
#include "pending.h"
#include "region.h"
#include "router.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 4096, SLOTS = 5, LOAD_PERCENT = 80, LEAST_LOG2 = 6 };

static size_t pages(size_t bytes) { return (bytes + PAGE - 1) / PAGE * PAGE; }

static unsigned buckets_for(uint64_t flows) {
    unsigned log2 = LEAST_LOG2;
    while (((uint64_t)SLOTS << log2) * LOAD_PERCENT / 100 < flows)
        log2++;
    return log2;
}

static int open_queue(struct spr_dpdk *r, unsigned q, uint8_t **at, unsigned log2, bool fresh, uint64_t seed,
                      struct dp_why *why) {
    struct dp_tables *t = &r->tables[q];
    for (int f = DP_FLOW_IP4; f <= DP_FLOW_IP6; f++) {
        const char *wrong = NULL;
        size_t bytes = dp_flow_bytes((enum dp_flow_family)f, log2);
        int rc = dp_flow_open(*at, bytes, (enum dp_flow_family)f, log2, fresh, seed, &t->flow[f], &wrong);
        if (rc) {
            snprintf(why->text, sizeof why->text, "flow table of queue %u: %s", q, wrong);
            return rc == -ENOMEM ? SPR_E_NOMEM : SPR_E_CORRUPT;
        }
        *at += pages(bytes);
    }
    t->pending = *at;
    *at += pages(dp_pending_bytes());
    return SPR_OK;
}

static int open_region(struct spr_dpdk *r, const struct spr_dpdk_opts *o, unsigned log2, struct dp_why *why) {
    size_t tables =
        pages(dp_flow_bytes(DP_FLOW_IP4, log2)) + pages(dp_flow_bytes(DP_FLOW_IP6, log2)) + pages(dp_pending_bytes());
    struct dp_region_spec spec = {.directory = o->region,
                                  .name = o->name ? o->name : "router",
                                  .bytes = pages(sizeof *r->directory) + tables * r->queues,
                                  .layout = (uint64_t)r->queues << 8 | log2};
    char text[DP_REGION_WHY] = "";
    r->region = malloc(sizeof *r->region);
    if (!r->region || dp_region_open(&spec, r->region, text)) {
        snprintf(why->text, sizeof why->text, "%.199s", r->region ? text : "out of memory");
        int rc = r->region && o->region ? SPR_E_IO : SPR_E_NOMEM;
        free(r->region);
        r->region = NULL;
        return rc;
    }
    return SPR_OK;
}

int dp_tables_open(struct spr_dpdk *r, const struct spr_dpdk_opts *o, uint64_t seed, struct dp_why *why) {
    unsigned log2 = buckets_for(o->flows ? o->flows : 65536);
    int rc = open_region(r, o, log2, why);
    if (rc < 0)
        return rc;
    bool fresh = !r->region->found;
    uint8_t *at = r->region->memory;
    r->directory = r->region->memory;
    const char *wrong = fresh ? NULL : dp_directory_check(r->directory);
    if (wrong) {
        snprintf(why->text, sizeof why->text, "region '%s' %s", o->name ? o->name : "router", wrong);
        return SPR_E_CORRUPT;
    }
    if (fresh) {
        dp_directory_init(r->directory);
        r->directory->seed = seed;
    }
    r->tables = calloc(r->queues, sizeof *r->tables);
    if (!r->tables) {
        snprintf(why->text, sizeof why->text, "out of memory");
        return SPR_E_NOMEM;
    }
    at += pages(sizeof *r->directory);
    for (unsigned q = 0; q < r->queues && rc >= 0; q++)
        rc = open_queue(r, q, &at, log2, fresh, seed, why);
    if (rc >= 0)
        dp_region_ready(r->region);
    return rc;
}

void dp_tables_close(struct spr_dpdk *r) {
    for (unsigned q = 0; r->tables && q < r->queues; q++)
        for (int f = DP_FLOW_IP4; f <= DP_FLOW_IP6; f++)
            if (r->tables[q].flow[f])
                dp_flow_close(r->tables[q].flow[f]);
    free(r->tables);
    if (r->region)
        dp_region_close(r->region);
    free(r->region);
}
