/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * RELEASE and ABORT. The definition goes last: as long as it stands, whoever comes after a crash reads in it what else
 * there is to remove.
 */
#include "driver.h"

static int stop(struct lv_act *a, virConnectPtr conn) {
    if (!lv_runs(a->dom))
        return SPR_OK;
    int rc = lv_guard_ours(a, conn);
    if (rc < 0)
        return rc;
    /* SIGTERM first; one that hangs is killed. Ended by itself in this moment is as good. */
    if (virDomainDestroyFlags(a->dom, VIR_DOMAIN_DESTROY_GRACEFUL) == 0 || !lv_runs(a->dom))
        return SPR_OK;
    if (virDomainDestroy(a->dom) == 0 || !lv_runs(a->dom))
        return SPR_OK;
    lv_fail(a, "stopping", a->name);
    return a->job.code;
}

int lv_undefine(struct lv_act *a, virConnectPtr conn) {
    static const unsigned int flags[] = {VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_NVRAM |
                                             VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
                                             VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA,
                                         VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA, 0};
    if (virDomainIsPersistent(a->dom) == 0)
        return SPR_OK; /* it went with its process */
    int rc = lv_guard_ours(a, conn);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        if (virDomainUndefineFlags(a->dom, flags[i]) == 0 || virGetLastErrorCode() == VIR_ERR_NO_DOMAIN)
            return SPR_OK;
        int code = virGetLastErrorCode();
        if (code != VIR_ERR_INVALID_ARG && code != VIR_ERR_NO_SUPPORT)
            break; /* else: a hypervisor that knows fewer kinds of things to take along */
    }
    lv_fail(a, "undefining", a->name);
    return a->job.code;
}

int lv_remove(struct lv_act *a, virConnectPtr conn) {
    int rc = stop(a, conn);
    if (rc == SPR_OK)
        rc = lv_vfs_give_back(a, conn);
    if (rc == SPR_OK)
        rc = lv_disks_remove(a, conn);
    if (rc == SPR_OK)
        rc = lv_undefine(a, conn);
    if (rc < 0)
        return rc;
    virDomainFree(a->dom);
    a->dom = NULL;
    return SPR_OK;
}

/* A growth that is given back; one that was not heard of yet must not come later. */
static void release_piece(struct lv_act *a, virConnectPtr conn) {
    struct lv_piece *p = lv_meta_piece(&a->meta, a->piece);
    if (!p && (!a->piece || lv_window_has(&a->meta.ended, a->piece)))
        return;
    if (p)
        lv_meta_end_piece(&a->meta, a->piece);
    else
        lv_window_add(&a->meta.ended, a->piece);
    struct spr_amounts left = lv_allowed(&a->meta);
    if (p && a->meta.kind == SPR_SHARD_HEADROOM && lv_amounts_any(&left)) {
        if (lv_hold_resize(a, conn) < 0)
            return;
    } else if (p && a->meta.phase != LV_PHASE_RESERVED && lv_amounts_any(&left)) {
        if (lv_limit_now(a, conn) < 0)
            return;
    }
    lv_meta_save(a, conn);
}

/* ---- reservations whose time is up ---- */

/* The wall clocks of two controllers may differ by a lease; the hosts' clocks are not asked. */
static bool is_over(const struct lv_driver *d, int64_t expires_wall_ns) {
    return expires_wall_ns > 0 && (double)(lv_wall_ns() - expires_wall_ns) > d->o.lease_s * 1e9;
}

void lv_expire(struct lv_driver *d, size_t host, const struct lv_seen *seen, size_t count, uint64_t fence) {
    struct lv_driver_host *h = &d->host[host];
    if (!atomic_load(&h->acts) || atomic_load(&h->expiring)) /* who only looks changes nothing */
        return;
    for (size_t i = 0; i < count; i++) {
        struct lv_act *a = is_over(d, seen[i].expires_wall_ns)
                               ? lv_act_new(d, SPR_DRIVER_RELEASE, seen[i].id, seen[i].vm, host, fence)
                               : NULL;
        if (!a)
            continue; /* not yet, or there is no memory: the next look is soon */
        a->expires = true;
        a->job.deadline_ns = INT64_MAX;
        atomic_fetch_add(&h->expiring, 1);
        if (lv_lane_put(&d->v->hosts[host], LV_ACT, &a->job) < 0)
            lv_act_destroy(&a->job);
    }
}

void lv_release(struct lv_act *a, virConnectPtr conn) {
    if (a->expires && (!a->dom || a->meta.phase != LV_PHASE_RESERVED || !is_over(a->d, a->meta.expires_wall_ns)))
        return; /* gone, or somebody went on with it */
    if (lv_migration_ends(a))
        return;
    if (!a->dom)
        return; /* gone already */
    if (a->piece || a->verb == SPR_DRIVER_ABORT)
        release_piece(a, conn);
    else
        lv_remove(a, conn);
}
