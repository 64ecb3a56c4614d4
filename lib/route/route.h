/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The inside of routes: one service and its pick table. */
#ifndef SPR_LIB_ROUTE_H
#define SPR_LIB_ROUTE_H

#include <float.h>

#include <shardpredict/route.h>

#include "fleet/fleet.h"

/* What a shard does for traffic. */
enum spr__route_role { SPR__ROUTE_IDLE, SPR__ROUTE_SERVES, SPR__ROUTE_DRAINS };
int spr__route_role(const struct spr_shard *shard);

/* Parts are kept to 2^-32, so that shares scaled together give the same turns whatever was rounded on the way. */
static inline double spr__route_part(double weight, double sum) {
    return sum > 0 ? nearbyint(weight / sum * 4294967296.0) : 0;
}
static inline int spr__route_rows(double spill) { return (int)(spill * SPR_ROUTE_SLOTS + 0.5); }

/* A service never changes once it stands in a snapshot; snapshots share it. */
struct service {
    spr_refcount refs;
    struct spr_route route;
    struct spr_route_target *targets; /* those that take new flows first, then draining ones */
    int32_t target_count;
    char *id;
    size_t id_room;
    uint16_t table[SPR_ROUTE_SLOTS]; /* 0 = primary, n = targets[n - 1] */
};

/* What a service is to be. */
struct spr__service_spec {
    struct spr_route route;
    struct spr_route_target targets[SPR_ROUTE_TARGETS_MOST]; /* serving first, then draining */
};
/* The service of a VM as the fleet is now; `by` NULL: as far as shards carry. */
void spr__service_of(const spr_fleet *f, int32_t vm, const struct spr_routes_opts *by, struct spr__service_spec *s);
/* `before` itself (one more reference) when nothing changed. */
int spr__service_make(spr_context *ctx, const struct spr__service_spec *spec, struct service *before,
                      struct service **out);
void spr__service_unref(const spr_context *ctx, struct service *s);

/* health.c: VMs as `now` numbers them; what is known of those that are gone is forgotten. */
void spr__health_renumber(spr_health *h, const spr_fleet *was, const spr_fleet *now);

#endif
