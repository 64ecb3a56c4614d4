/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The inside of routes: one service and its pick table. */
#ifndef SPR_LIB_ROUTE_H
#define SPR_LIB_ROUTE_H

#include <shardpredict/route.h>

#include "fleet/fleet.h"

/* What a shard does for traffic. */
enum spr__route_role { SPR__ROUTE_IDLE, SPR__ROUTE_SERVES, SPR__ROUTE_DRAINS };
int spr__route_role(const struct spr_shard *shard);

/* A service never changes once it stands in a snapshot; snapshots share it. */
struct service {
    spr_refcount refs;
    struct spr_route route;
    struct spr_route_target *targets; /* those that take new flows first, then draining ones */
    int32_t target_count;
    uint8_t table[SPR_ROUTE_SLOTS]; /* 0 = primary, n = targets[n - 1] */
};

/* The service of a VM as the fleet is now; `before` itself (one more reference) when nothing changed. */
int spr__service_make(spr_context *ctx, const spr_fleet *f, int32_t vm, struct service *before, struct service **out);
void spr__service_unref(const spr_context *ctx, struct service *s);

#endif
