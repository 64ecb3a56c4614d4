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
    int32_t count, room;       /* of services */
};

#define VMS_MOST (1 << 24)

/* ---- making ---- */

static bool has_flows(const spr_fleet *f, int32_t vm) {
    for (int32_t k = f->vm_shard[vm]; k >= 0; k = f->vm_shard_next[k])
        if (spr__route_role(&f->shards[k]) != SPR__ROUTE_IDLE)
            return true;
    return false;
}

static struct service *service_before(const spr_routes *before, int32_t vm) {
    return before && vm < before->vm_count && before->at[vm] >= 0 ? before->services[before->at[vm]] : NULL;
}

static int add(spr_routes *r, const struct spr__service_spec *spec, const spr_routes *before) {
    struct service *s = NULL;
    int rc = spr__service_make(r->ctx, spec, service_before(before, spec->route.vm), &s);
    if (rc < 0)
        return rc;
    r->at[spec->route.vm] = r->count;
    r->services[r->count++] = s;
    return SPR_OK;
}

static int begin(spr_context *ctx, int32_t vms, int32_t room, const spr_routes *before, spr_routes **out) {
    spr_routes *r = spr__alloc(ctx, 1, sizeof *r);
    if (!r)
        return spr__nomem(ctx);
    spr__ref_init(&r->refs);
    r->ctx = spr_context_ref(ctx);
    r->id = before ? before->id + 1 : 1;
    r->vm_count = vms;
    r->room = room;
    r->at = spr__alloc(ctx, (size_t)vms, sizeof *r->at);
    r->services = spr__alloc(ctx, (size_t)room, sizeof(struct service *));
    for (int32_t v = 0; r->at && v < vms; v++)
        r->at[v] = -1;
    *out = r;
    return r->at && r->services ? SPR_OK : spr__nomem(ctx);
}

/* To the size that is needed; gives everything back where something failed. */
static int end(spr_routes *r, int rc, spr_routes **out) {
    if (rc == SPR_OK) {
        struct service **fitting =
            spr__grow(r->ctx, r->services, (size_t)r->room, (size_t)r->count, sizeof(struct service *));
        if (fitting) {
            r->services = fitting;
            r->room = r->count;
            *out = r;
            return SPR_OK;
        }
        rc = spr__nomem(r->ctx); /* shrinking failed: nothing is lost but the call */
    }
    spr_routes_unref(r);
    return rc;
}

static int make(spr_context *ctx, const spr_fleet *fleet, const struct spr_routes_opts *by, spr_routes *before,
                spr_routes **out) {
    int32_t vms = fleet->inventory->vm_count;
    spr_routes *r = NULL;
    int rc = begin(ctx, vms, SPR_MIN(vms, fleet->shard_count), before, &r);
    for (int32_t v = 0; v < vms && rc == SPR_OK; v++) {
        struct spr__service_spec spec;
        if (fleet->vm_shard[v] < 0 || !has_flows(fleet, v))
            continue;
        spr__service_of(fleet, v, by, &spec);
        rc = add(r, &spec, before);
    }
    return r ? end(r, rc, out) : rc;
}

int spr_routes_create(spr_context *ctx, const spr_fleet *fleet, spr_routes *before, spr_routes **out) {
    if (!ctx)
        return SPR_E_ARG;
    if (!fleet || !out)
        return spr__fail(ctx, SPR_E_ARG, "spr_routes_create: a fleet and a place for the routes are required");
    return make(ctx, fleet, NULL, before, out);
}

static bool is_policy(int32_t p) { return p >= SPR_DEAD_PRIMARY && p <= SPR_DEAD_REHASH; }

int spr_routes_steered(spr_context *ctx, const spr_fleet *fleet, const struct spr_routes_opts *opts, spr_routes *before,
                       spr_routes **out) {
    struct spr_routes_opts by;
    if (!ctx)
        return SPR_E_ARG;
    if (!fleet || !out)
        return spr__fail(ctx, SPR_E_ARG, "spr_routes_steered: a fleet and a place for the routes are required");
    int rc = spr__opts_copy(ctx, "spr_routes_opts", opts, &by, sizeof by);
    if (rc < 0)
        return rc;
    bool known = is_policy(by.on_dead_else) && by.on_dead_count >= 0;
    for (int32_t v = 0; by.on_dead && v < by.on_dead_count && known; v++)
        known = is_policy(by.on_dead[v]);
    if (!known)
        return spr__fail(ctx, SPR_E_ARG, "spr_routes_opts: a policy for the dead is none of SPR_DEAD_*");
    return make(ctx, fleet, &by, before, out);
}

/* ---- given ones ---- */

static bool is_share(double x) { return x >= 0 && x <= 1; }

/* A service as its caller knows it, checked. */
static int read_service(spr_context *ctx, const struct spr_route_service *given, int32_t vm_least,
                        struct spr__service_spec *spec) {
    struct spr_route *r = &spec->route;
    int rc = spr__opts_copy(ctx, "spr_route", &given->route, r, sizeof *r);
    if (rc < 0)
        return rc;
    int32_t n = r->target_count >= 0 && r->drain_count >= 0 && r->target_count <= SPR_ROUTE_TARGETS_MOST &&
                        r->drain_count <= SPR_ROUTE_TARGETS_MOST - r->target_count
                    ? r->target_count + r->drain_count
                    : -1;
    if (!r->id || r->vm < vm_least || r->vm >= VMS_MOST || n < 0 || (n && !given->targets))
        return spr__fail_of(ctx, SPR_E_ARG, r->id, NULL,
                            "spr_routes_from: a service needs an id, a vm above the one before it (and below %d), and "
                            "at most %d targets",
                            VMS_MOST, SPR_ROUTE_TARGETS_MOST);
    if (!is_share(r->spill) || !is_share(r->spill_at_most) || !(r->ramp_per_s >= 0) || r->on_dead < SPR_DEAD_PRIMARY ||
        r->on_dead > SPR_DEAD_REHASH || r->promoted < 0 || r->promoted > r->target_count)
        return spr__fail_of(ctx, SPR_E_ARG, r->id, NULL,
                            "spr_routes_from: spill, spill_at_most, ramp_per_s, on_dead or promoted is out of range");
    for (int32_t t = 0; t < n && rc == SPR_OK; t++)
        rc = spr__opts_copy(ctx, "spr_route_target", (const char *)given->targets + (size_t)t * given->targets->size,
                            &spec->targets[t], sizeof spec->targets[t]);
    return rc;
}

int spr_routes_from(spr_context *ctx, const struct spr_route_service *services, size_t count, spr_routes *before,
                    spr_routes **out) {
    if (!ctx)
        return SPR_E_ARG;
    if ((count && !services) || !out || count > VMS_MOST)
        return spr__fail(ctx, SPR_E_ARG, "spr_routes_from: services and a place for the routes are required");
    size_t stride = count ? services->size : 0;
    int32_t vms = 0;
    if (count && stride < sizeof *services)
        return spr__fail(ctx, SPR_E_ARG, "spr_routes_from: the services' size is not set");
    if (count) /* they rise, so the last one is the highest; what is wrong with it is said below */
        vms = ((const struct spr_route_service *)((const char *)services + (count - 1) * stride))->route.vm;
    spr_routes *r = NULL;
    int rc = begin(ctx, vms >= 0 && vms < VMS_MOST ? vms + 1 : 1, (int32_t)count, before, &r);
    for (size_t k = 0, least = 0; k < count && rc == SPR_OK; k++) {
        struct spr__service_spec spec;
        rc = read_service(ctx, (const struct spr_route_service *)((const char *)services + k * stride), (int32_t)least,
                          &spec);
        if (rc == SPR_OK && spec.route.vm >= r->vm_count)
            rc = spr__fail_of(ctx, SPR_E_ARG, spec.route.id, NULL, "spr_routes_from: services must rise by vm");
        if (rc == SPR_OK)
            rc = add(r, &spec, before);
        least = rc == SPR_OK ? (size_t)spec.route.vm + 1 : 0;
    }
    return r ? end(r, rc, out) : rc;
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
    spr__free(ctx, r->services, (size_t)r->room, sizeof(struct service *));
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

const uint16_t *spr_routes_table(const spr_routes *r, int32_t index) {
    return r && index >= 0 && index < r->count ? r->services[index]->table : NULL;
}

int spr_routes_pick(const spr_routes *r, int32_t vm, const uint64_t *hashes, size_t n, uint64_t *shards) {
    if (!r || vm < 0 || vm >= r->vm_count || (n && (!hashes || !shards)))
        return SPR_E_ARG;
    const struct service *s = r->at[vm] >= 0 ? r->services[r->at[vm]] : NULL;
    for (size_t k = 0; k < n; k++) {
        uint16_t row = s ? s->table[hashes[k] % SPR_ROUTE_SLOTS] : 0;
        shards[k] = row ? s->targets[row - 1].shard : 0;
    }
    return SPR_OK;
}
