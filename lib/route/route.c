/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Routes as snapshots: services by VM, shared with the snapshot before while nothing about them changed. */
#include "route/route.h"

struct spr_routes {
    spr_refcount refs;
    spr_context *ctx;
    uint64_t id;
    int32_t vm_count;
    int32_t *at;               /* [vm] index of its service, -1 = all its traffic goes to the primary */
    struct service **services; /* by VM, rising */
    int32_t count;
};

/* ---- making ---- */

static bool has_flows(const spr_fleet *f, int32_t vm) {
    for (int32_t k = f->vm_shard[vm]; k >= 0; k = f->vm_shard_next[k])
        if (spr__route_role(&f->shards[k]) != SPR__ROUTE_IDLE)
            return true;
    return false;
}

static int fill(spr_routes *r, const spr_fleet *f, const spr_routes *before) {
    for (int32_t v = 0; v < r->vm_count; v++) {
        r->at[v] = -1;
        if (f->vm_shard[v] < 0 || !has_flows(f, v))
            continue;
        struct service *old =
            before && v < before->vm_count && before->at[v] >= 0 ? before->services[before->at[v]] : NULL;
        struct service *s = NULL;
        int rc = spr__service_make(r->ctx, f, v, old, &s);
        if (rc < 0)
            return rc;
        r->at[v] = r->count;
        r->services[r->count++] = s;
    }
    return SPR_OK;
}

int spr_routes_create(spr_context *ctx, const spr_fleet *fleet, spr_routes *before, spr_routes **out) {
    if (!ctx)
        return SPR_E_ARG;
    if (!fleet || !out)
        return spr__fail(ctx, SPR_E_ARG, "spr_routes_create: a fleet and a place for the routes are required");
    spr_routes *r = spr__alloc(ctx, 1, sizeof *r);
    if (!r)
        return spr__nomem(ctx);
    spr__ref_init(&r->refs);
    r->ctx = spr_context_ref(ctx);
    r->id = before ? before->id + 1 : 1;
    r->vm_count = fleet->inventory->vm_count;
    r->at = spr__alloc(ctx, (size_t)r->vm_count, sizeof *r->at);
    r->services = spr__alloc(ctx, (size_t)SPR_MIN(r->vm_count, fleet->shard_count), sizeof(struct service *));
    int rc = r->at && r->services ? fill(r, fleet, before) : spr__nomem(ctx);
    if (rc < 0) {
        /* The array was made for this many, whatever became of them. */
        for (int32_t k = 0; k < r->count; k++)
            spr__service_unref(ctx, r->services[k]);
        spr__free(ctx, r->services, (size_t)SPR_MIN(r->vm_count, fleet->shard_count), sizeof(struct service *));
        spr__free(ctx, r->at, (size_t)r->vm_count, sizeof *r->at);
        spr__free(ctx, r, 1, sizeof *r);
        spr_context_unref(ctx);
        return rc;
    }
    struct service **fitting = spr__grow(ctx, r->services, (size_t)SPR_MIN(r->vm_count, fleet->shard_count),
                                         (size_t)r->count, sizeof(struct service *));
    if (!fitting) { /* shrinking failed: nothing is lost but the call */
        int32_t count = r->count;
        for (int32_t k = 0; k < count; k++)
            spr__service_unref(ctx, r->services[k]);
        spr__free(ctx, r->services, (size_t)SPR_MIN(r->vm_count, fleet->shard_count), sizeof(struct service *));
        spr__free(ctx, r->at, (size_t)r->vm_count, sizeof *r->at);
        spr__free(ctx, r, 1, sizeof *r);
        spr_context_unref(ctx);
        return spr__nomem(ctx);
    }
    r->services = fitting;
    *out = r;
    return SPR_OK;
}

spr_routes *spr_routes_ref(spr_routes *r) {
    if (r)
        spr__ref(&r->refs);
    return r;
}

void spr_routes_unref(spr_routes *r) {
    if (!r || !spr__unref(&r->refs))
        return;
    spr_context *ctx = r->ctx;
    for (int32_t k = 0; k < r->count; k++)
        spr__service_unref(ctx, r->services[k]);
    spr__free(ctx, r->services, (size_t)r->count, sizeof(struct service *));
    spr__free(ctx, r->at, (size_t)r->vm_count, sizeof *r->at);
    spr__free(ctx, r, 1, sizeof *r);
    spr_context_unref(ctx);
}

/* ---- reading ---- */

uint64_t spr_routes_id(const spr_routes *r) { return r ? r->id : 0; }
int32_t spr_routes_count(const spr_routes *r) { return r ? r->count : 0; }

int spr_routes_equal(const spr_routes *r, const spr_routes *other) {
    if (!r || spr_routes_count(r) != spr_routes_count(other))
        return 0;
    for (int32_t k = 0; k < r->count; k++)
        if (r->services[k] != other->services[k])
            return 0;
    return 1;
}

int spr_routes_get(const spr_routes *r, int32_t index, struct spr_route *out) {
    if (!r || !out || index < 0 || index >= r->count)
        return SPR_E_ARG;
    return spr__out_copy(out, &r->services[index]->route, sizeof(struct spr_route));
}

int spr_routes_target(const spr_routes *r, int32_t index, int32_t target, struct spr_route_target *out) {
    if (!r || !out || index < 0 || index >= r->count || target < 0 || target >= r->services[index]->target_count)
        return SPR_E_ARG;
    return spr__out_copy(out, &r->services[index]->targets[target], sizeof(struct spr_route_target));
}

const uint8_t *spr_routes_table(const spr_routes *r, int32_t index) {
    return r && index >= 0 && index < r->count ? r->services[index]->table : NULL;
}

int spr_routes_pick(const spr_routes *r, int32_t vm, const uint64_t *hashes, size_t n, uint64_t *shards) {
    if (!r || vm < 0 || vm >= r->vm_count || (n && (!hashes || !shards)))
        return SPR_E_ARG;
    const struct service *s = r->at[vm] >= 0 ? r->services[r->at[vm]] : NULL;
    for (size_t k = 0; k < n; k++) {
        uint8_t row = s ? s->table[hashes[k] % SPR_ROUTE_SLOTS] : 0;
        shards[k] = row ? s->targets[row - 1].shard : 0;
    }
    return SPR_OK;
}
