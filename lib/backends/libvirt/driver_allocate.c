/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * ALLOCATE of a replica: overlays, a definition from the primary's own, a guest that is started and does not run yet.
 * What was made before a step that failed goes again, in the reverse order.
 */
#include <stdlib.h>
#include <string.h>

#include "driver.h"

static struct lv_derive_disk *disks_of(struct lv_act *a) {
    struct lv_derive_disk *k = lv_alloc((a->primary.base_count + 1) * sizeof *k);
    for (size_t i = 0; k && i < a->primary.base_count; i++) {
        const struct lv_base *b = &a->primary.base[i];
        k[i] = (struct lv_derive_disk){.target = b->target,
                                       .path = b->overlay,
                                       .format = "qcow2",
                                       .backing = b->path,
                                       .backing_format = b->format,
                                       .copies = b->copies,
                                       .rests = b->rests};
    }
    return k;
}

static bool limits_bandwidth(const struct lv_act *a) {
    return (a->amounts.of[SPR_NET_RX] > 0 || a->amounts.of[SPR_NET_TX] > 0) && !lv_here(a)->facts.no_bandwidth &&
           a->d->o.limit_net != SPR_NONE;
}

/* The definition replaces the placeholder: same name, same UUID. */
static int define(struct lv_act *a, virConnectPtr conn, bool bandwidth) {
    char uuid[LV_UUID], why[LV_WHY] = "", *xml = NULL;
    struct lv_derive_disk *disks = disks_of(a);
    struct lv_derive how = {.meta = &a->meta,
                            .uuid = uuid,
                            .amounts = lv_amounts_whole(a, &a->amounts),
                            .vcpus_most = a->primary.vcpus,
                            .memory_most = a->primary.memory,
                            .flags = bandwidth ? LV_BANDWIDTH : 0,
                            .macs = (const char *const *)&a->mac,
                            .mac_count = a->mac ? 1 : 0,
                            .disks = disks,
                            .disk_count = a->primary.base_count,
                            .kernel_args = (const char *const *)a->kernel_args,
                            .kernel_arg_count = a->kernel_arg_count,
                            .seed_url = a->seed_url,
                            .seed_image = a->seed_image,
                            .vf_network = a->primary.vf_network,
                            .unlimited = (const char *const *)a->pool,
                            .unlimited_count = a->pool_count,
                            .partition = a->d->o.partition};
    lv_uuid_derive(a->shard, a->primary.uuid, uuid);
    a->meta.fence = a->fence;
    int rc = disks ? lv_fits_host(a, conn, &how.amounts) : SPR_E_NOMEM;
    if (rc == SPR_OK && (rc = lv_domain_derive(a->primary.xml, &how, &xml, why)) < 0)
        lv_job_fail(&a->job, rc, "%s", why);
    if (rc == SPR_OK && (rc = lv_name_back(a, conn)) == SPR_OK && (rc = lv_guard_ours(a, conn)) == SPR_OK) {
        virDomainPtr dom = virDomainDefineXMLFlags(conn, xml, VIR_DOMAIN_DEFINE_VALIDATE);
        if (dom)
            virDomainFree(dom);
        else
            lv_fail(a, "defining a replica of VM", a->vm), rc = a->job.code;
    }
    lv_free(xml);
    lv_free(disks);
    if (!disks)
        lv_job_fail(&a->job, rc, "out of memory");
    return rc == SPR_OK ? lv_wishes_keep(a, conn) : rc;
}

static int start(struct lv_act *a, virConnectPtr conn) {
    bool limited = limits_bandwidth(a);
    int rc = lv_guard_ours(a, conn);
    if (rc == SPR_OK && lv_start_paused(a->dom) < 0) {
        if (lv_means_failed(a) && limited)
            return SPR_AGAIN;
        lv_fail(a, "starting", a->name);
        rc = a->job.code;
    }
    return rc;
}

static int forget_artefacts(struct lv_act *a, virConnectPtr conn) {
    int rc = lv_vfs_give_back(a, conn);
    rc = rc == SPR_OK ? lv_disks_remove(a, conn)
                      : rc; /* of a try that was cut off: it is in our metadata, so it is ours */
    while (rc == SPR_OK && a->meta.artefact_count) {
        const struct lv_artefact *x = &a->meta.artefact[a->meta.artefact_count - 1];
        lv_meta_drop_artefact(&a->meta, x->kind, x->what);
    }
    return rc;
}

static void set_phase(struct lv_act *a, int32_t phase) {
    struct lv_piece *p = lv_meta_piece(&a->meta, a->piece);
    a->meta.phase = phase;
    if (p)
        p->phase = phase;
}

static int make(struct lv_act *a, virConnectPtr conn) {
    int rc = forget_artefacts(a, conn);
    if (rc == SPR_OK && (rc = lv_meta_text(&a->meta.probe, a->probe)) < 0)
        lv_job_fail(&a->job, rc, "out of memory");
    if (rc == SPR_OK)
        rc = lv_disks_note(a, conn);
    if (rc == SPR_OK)
        rc = lv_vfs_note(a);
    if (rc == SPR_OK)
        rc = lv_meta_save(a, conn);
    if (rc == SPR_OK)
        rc = lv_disks_make(a, conn);
    a->meta.expires_wall_ns = 0;
    set_phase(a, LV_PHASE_ALLOCATED);
    if (rc == SPR_OK)
        rc = define(a, conn, limits_bandwidth(a));
    if (rc == SPR_OK && (rc = start(a, conn)) == SPR_AGAIN) {
        rc = define(a, conn, false);
        rc = rc == SPR_OK ? start(a, conn) : rc;
    }
    return rc;
}

/* The placeholder's definition would replace the guest's and know nothing of the NVRAM that its start made. */
static int leave_nvram(struct lv_act *a, virConnectPtr conn) {
    struct lv_domain d = {0};
    char why[LV_WHY] = "", *xml = virDomainGetXMLDesc(a->dom, VIR_DOMAIN_XML_INACTIVE);
    int rc = xml ? lv_domain_read(xml, &d, why) : lv_code_of_last_error();
    bool has = rc == SPR_OK && (d.nvram || d.uefi);
    free(xml);
    lv_domain_clear(&d);
    if (has && (rc = lv_undefine(a, conn)) == SPR_OK) {
        virDomainFree(a->dom);
        a->dom = NULL;
    }
    return rc;
}

/* Back to how it was: a reservation, or nothing. The reason that is told is the first one. */
static void undo(struct lv_act *a, virConnectPtr conn, bool reserved) {
    struct lv_job told = a->job;
    if (told.code == SPR_E_FENCED || told.code == SPR_E_BUSY || virConnectIsAlive(conn) != 1)
        return; /* somebody else's turn, or nobody hears us */
    if (!reserved) {
        lv_remove(a, conn);
    } else if (!lv_runs(a->dom) || (lv_guard_ours(a, conn) == SPR_OK && virDomainDestroy(a->dom) == 0)) {
        if (forget_artefacts(a, conn) == SPR_OK && leave_nvram(a, conn) == SPR_OK) {
            set_phase(a, LV_PHASE_RESERVED);
            lv_define_hold(a, conn);
        }
    }
    memcpy(a->job.text, told.text, sizeof told.text);
    a->job.code = told.code, a->job.outcome = told.outcome;
}

/* Its guest was defined, but has no process: whoever made it died in between, or the host did. It never ran. */
static bool was_cut_off(struct lv_act *a, const struct lv_piece *p) {
    return p && p->phase == LV_PHASE_ALLOCATED && a->meta.phase == LV_PHASE_ALLOCATED && !lv_runs(a->dom);
}

void lv_allocate(struct lv_act *a, virConnectPtr conn) {
    struct lv_piece *p = a->dom ? lv_meta_piece(&a->meta, a->piece) : NULL;
    bool reserved = a->dom != NULL, cut = was_cut_off(a, p);
    if (a->kind == SPR_SHARD_HEADROOM) {
        lv_allocate_hold(a, conn);
        return;
    }
    a->began_ns = a->began_ns ? a->began_ns : lv_clock_ns();
    if (p && p->phase >= LV_PHASE_ALLOCATED)
        a->held = p->amounts;
    if ((p && p->phase >= LV_PHASE_ALLOCATED && !cut) || (reserved && lv_window_has(&a->meta.ended, a->piece)))
        return; /* asked twice */
    if (reserved && a->meta.phase != LV_PHASE_RESERVED && !cut) {
        lv_resize(a, conn);
        return;
    }
    if (!a->primary.xml) {
        lv_find_primary(a);
        return;
    }
    if (reserved && a->meta.vm_uuid[0] && strcmp(a->meta.vm_uuid, a->primary.uuid)) {
        lv_job_fail(&a->job, SPR_E_STATE, "VM '%s' was made anew since this shard was reserved (UUID %s, now %s)",
                    a->vm, a->meta.vm_uuid, a->primary.uuid);
        return;
    }
    if (cut)
        a->amounts = lv_allowed(&a->meta); /* growths that came meanwhile are part of it */
    if (lv_means_probe(a) < 0)
        return;
    int rc = lv_ready_to_copy(a, conn);
    if (rc == SPR_OK && !reserved)
        rc = lv_define_hold(a, conn);
    if (rc == SPR_OK && !lv_meta_piece(&a->meta, a->piece))
        rc = lv_piece_add(a, LV_PHASE_RESERVED);
    if (rc == SPR_OK && (rc = make(a, conn)) < 0)
        undo(a, conn, reserved);
    if (rc < 0)
        return;
    p = lv_meta_piece(&a->meta, a->piece);
    a->held = p ? p->amounts : a->amounts;
    a->meta.allocate_s = (double)(lv_clock_ns() - a->began_ns) * 1e-9;
    lv_measured(a, &lv_here(a)->facts.allocate_s, a->meta.allocate_s);
    lv_meta_save(a, conn); /* for whoever comes after us */
}
