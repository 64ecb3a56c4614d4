/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * RESERVE: the shard's name on the host, as a placeholder that never runs. For headroom it may take its memory at once
 * (hold_on_host); for a replica the definition is replaced by the guest's when it is allocated.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

bool lv_amounts_any(const struct spr_amounts *m) {
    for (int r = 0; r < SPR_RESOURCES_MAX; r++)
        if (m->of[r] > 0)
            return true;
    return false;
}

struct spr_amounts lv_allowed(const struct lv_shard_meta *m) {
    struct spr_amounts sum = m->ready;
    for (int32_t i = 0; i < m->piece_count; i++)
        lv_amounts_add(&sum, &m->piece[i].amounts, 1);
    return sum;
}

struct spr_amounts lv_amounts_whole(const struct lv_act *a, const struct spr_amounts *asked) {
    struct spr_amounts whole = *asked;
    if (!(whole.of[SPR_CPU] > 0))
        whole.of[SPR_CPU] = a->primary.vcpus > 0 ? a->primary.vcpus : 1;
    if (!(whole.of[SPR_MEMORY] > 0))
        whole.of[SPR_MEMORY] = a->primary.memory;
    return whole;
}

int lv_fits_host(struct lv_act *a, virConnectPtr conn, const struct spr_amounts *whole) {
    virNodeInfo node;
    if (virNodeGetInfo(conn, &node) < 0) {
        lv_fail(a, "asking what the host has", NULL);
        return a->job.code;
    }
    double memory = (double)node.memory * 1024, cpus = node.cpus * lv_target(a)->cpu_overcommit;
    if (whole->of[SPR_MEMORY] <= memory && whole->of[SPR_CPU] <= cpus)
        return SPR_OK;
    lv_job_fail(&a->job, SPR_E_CAPACITY, "%.3g cores and %.4g bytes asked, the host has %.3g and %.4g",
                whole->of[SPR_CPU], whole->of[SPR_MEMORY], cpus, memory);
    return SPR_E_CAPACITY;
}

int lv_piece_add(struct lv_act *a, int32_t phase) {
    struct lv_shard_meta *m = &a->meta;
    if (m->piece_count == LV_PIECES) {
        lv_job_fail(&a->job, SPR_E_BUSY, "shard %llu has %d growths under way", (unsigned long long)a->shard,
                    LV_PIECES);
        return SPR_E_BUSY;
    }
    m->piece[m->piece_count++] = (struct lv_piece){a->piece, phase, a->amounts};
    return SPR_OK;
}

/* ---- the placeholder ---- */

static int new_meta(struct lv_act *a) {
    struct lv_shard_meta *m = &a->meta;
    lv_meta_clear(m);
    m->id = a->shard;
    m->fence = a->fence;
    m->kind = a->kind;
    m->phase = LV_PHASE_RESERVED;
    m->warm = a->d->o.warm;
    m->holds_memory = a->kind == SPR_SHARD_HEADROOM && a->d->o.hold_on_host;
    m->expires_wall_ns = lv_wall_ns() + (int64_t)(a->d->o.reserve_ttl_s * 1e9);
    snprintf(m->vm_uuid, LV_UUID, "%s", a->primary.uuid);
    if (lv_meta_text(&m->vm, a->vm) < 0 || lv_meta_text(&m->owner, a->d->o.owner) < 0) {
        lv_job_fail(&a->job, SPR_E_NOMEM, "out of memory");
        return SPR_E_NOMEM;
    }
    return lv_piece_add(a, LV_PHASE_RESERVED);
}

int lv_start_paused(virDomainPtr dom) {
    if (virDomainCreateWithFlags(dom, VIR_DOMAIN_START_PAUSED) == 0)
        return 0;
    int code = virGetLastErrorCode(); /* libvirt's test driver cannot */
    if (code != VIR_ERR_INVALID_ARG && code != VIR_ERR_NO_SUPPORT)
        return -1;
    return virDomainCreate(dom) < 0 ? -1 : virDomainSuspend(dom);
}

static int define(struct lv_act *a, virConnectPtr conn, struct lv_placeholder *how) {
    char why[LV_WHY] = "", *xml = NULL;
    how->meta = &a->meta;
    how->allocated = a->meta.holds_memory;
    snprintf(a->meta.own_uuid, LV_UUID, "%s", how->uuid);
    how->partition = a->d->o.partition;
    int rc = lv_domain_placeholder(how, &xml, why);
    if (rc < 0) {
        lv_job_fail(&a->job, rc, "%s", why);
        return rc;
    }
    virDomainPtr dom = NULL;
    rc = lv_name_back(a, conn);
    if (rc == SPR_OK)
        rc = lv_guard(a, conn);
    if (rc == SPR_OK && !(dom = virDomainDefineXMLFlags(conn, xml, VIR_DOMAIN_DEFINE_VALIDATE))) {
        lv_fail(a, "defining a hold for VM", a->vm);
        rc = a->job.code;
    }
    lv_free(xml);
    if (rc < 0)
        return rc;
    if (a->dom)
        virDomainFree(a->dom);
    a->dom = dom;
    return SPR_OK;
}

/* Nobody can ask libvirt for a control group: it is there when a domain starts in it. Once a host, with the first hold.
 */
static int try_partition(struct lv_act *a, virConnectPtr conn) {
    bool *there = &lv_here(a)->facts.partition_there;
    if (!a->d->o.partition || *there)
        return SPR_OK;
    int rc = lv_guard(a, conn);
    if (rc == SPR_OK && lv_start_paused(a->dom) < 0) {
        rc = lv_code_of_last_error();
        lv_job_fail(&a->job, rc, "no domain starts in resource partition '%s' (libvirt makes none: make it there): %s",
                    a->d->o.partition, virGetLastErrorMessage());
    }
    if (rc == SPR_OK && (rc = lv_guard_ours(a, conn)) == SPR_OK && virDomainDestroy(a->dom) < 0) {
        lv_fail(a, "ending", a->name);
        rc = a->job.code;
    }
    pthread_mutex_lock(&a->d->lock);
    *there = rc == SPR_OK;
    pthread_mutex_unlock(&a->d->lock);
    return rc;
}

static int start(struct lv_act *a, virConnectPtr conn) {
    if (!a->meta.holds_memory)
        return try_partition(a, conn);
    if (lv_runs(a->dom))
        return SPR_OK;
    int rc = lv_guard(a, conn);
    if (rc == SPR_OK && lv_start_paused(a->dom) < 0) {
        lv_fail(a, "taking the memory of", a->name);
        rc = a->job.code;
    }
    return rc;
}

/* Is there room for what it is to have more? Where that is not known QEMU finds out. */
static int has_room(struct lv_act *a, virConnectPtr conn, double bytes, double now) {
    double more = a->meta.holds_memory ? bytes - now : 0, left = lv_memory_free(conn);
    if (more <= 0 || left <= 0 || more <= left)
        return SPR_OK;
    lv_job_fail(&a->job, SPR_E_CAPACITY, "%s cannot hold %.0f bytes more, the host has %.0f left", a->name, more, left);
    return SPR_E_CAPACITY;
}

int lv_define_hold(struct lv_act *a, virConnectPtr conn) {
    char uuid[LV_UUID];
    struct lv_placeholder how = {.type = a->primary.type, .arch = a->primary.arch, .emulator = a->primary.emulator};
    bool fresh = !a->meta.id; /* else it is only to be what it was */
    how.amounts = lv_amounts_whole(a, &a->amounts);
    int rc = lv_fits_host(a, conn, &how.amounts);
    if (rc == SPR_OK && fresh)
        rc = new_meta(a);
    if (rc == SPR_OK)
        rc = has_room(a, conn, how.amounts.of[SPR_MEMORY], 0);
    lv_uuid_derive(a->shard, a->primary.uuid, uuid);
    how.uuid = uuid;
    if (rc == SPR_OK)
        rc = define(a, conn, &how);
    if (rc == SPR_OK && (rc = start(a, conn)) < 0 && fresh) {
        struct lv_job told = a->job; /* the reason is that it did not start, whatever comes of cleaning up */
        lv_remove(a, conn);
        memcpy(a->job.text, told.text, sizeof told.text);
        a->job.code = told.code, a->job.outcome = told.outcome;
    }
    return rc;
}

int lv_hold_up(struct lv_act *a, virConnectPtr conn) {
    return lv_move_runs(a->d->v, a->shard) ? SPR_OK : start(a, conn); /* down for a VM that moves in */
}

/* Back to the definition that was there, with its memory where it had it. The reason that is told is the first one. */
static void put_back(struct lv_act *a, virConnectPtr conn, const char *xml, bool ran) {
    struct lv_job told = a->job;
    if (told.code == SPR_E_FENCED || told.code == SPR_E_BUSY || virConnectIsAlive(conn) != 1)
        return; /* somebody else's turn, or nobody hears us */
    virDomainPtr dom = lv_guard_ours(a, conn) == SPR_OK ? virDomainDefineXML(conn, xml) : NULL;
    bool held = dom && (!ran || lv_runs(dom) || (lv_guard(a, conn) == SPR_OK && lv_start_paused(dom) == 0));
    if (dom)
        virDomainFree(dom);
    const char *reason = strstr(told.text, ": "); /* behind the host's name; libvirt's may be long, so it goes last */
    lv_job_fail(&a->job, told.code, "what it held before %s: %s", held ? "is held again" : "could not be taken again",
                reason ? reason + 2 : told.text);
}

/*
 * A placeholder's memory is taken when it starts, so another size means another start. The old one is asked back where
 * that fails; one that only changes its share of CPU runs on.
 */
static int replace(struct lv_act *a, virConnectPtr conn, struct lv_placeholder *how, const struct lv_domain *old,
                   const char *xml) {
    bool ran = lv_runs(a->dom), same = ceil(how->amounts.of[SPR_MEMORY] / 1024) * 1024 == old->memory;
    int rc = has_room(a, conn, how->amounts.of[SPR_MEMORY], ran ? old->memory : 0);
    if (rc < 0)
        return rc;
    atomic_store(&lv_here(a)->lowering, a->shard);
    if (ran && !(same && a->meta.holds_memory) && (rc = lv_guard_ours(a, conn)) == SPR_OK &&
        virDomainDestroy(a->dom) < 0) {
        lv_fail(a, "making room for another hold:", a->name);
        rc = a->job.code;
    }
    if (rc == SPR_OK && ((rc = define(a, conn, how)) < 0 || (rc = start(a, conn)) < 0))
        put_back(a, conn, xml, ran);
    atomic_store(&lv_here(a)->lowering, 0);
    return rc;
}

int lv_hold_resize(struct lv_act *a, virConnectPtr conn) {
    struct lv_domain d = {0};
    char why[LV_WHY] = "", uuid[LV_UUID], *xml = virDomainGetXMLDesc(a->dom, VIR_DOMAIN_XML_INACTIVE);
    int rc = xml ? lv_domain_read(xml, &d, why) : SPR_E_IO;
    if (!xml)
        lv_fail(a, "reading", a->name);
    else if (rc < 0)
        lv_job_fail(&a->job, rc, "%s", why);
    if (rc < 0) {
        free(xml);
        return a->job.code;
    }
    struct spr_amounts all = lv_allowed(&a->meta);
    lv_amounts_add(&all, &a->meta.draining, 1);
    struct lv_placeholder how = {.type = d.type, .arch = d.arch, .machine = d.machine, .emulator = d.emulator};
    a->primary.vcpus = a->primary.vcpus ? a->primary.vcpus : d.vcpus;
    a->primary.memory = a->primary.memory > 0 ? a->primary.memory : d.memory;
    how.amounts = lv_amounts_whole(a, &all);
    snprintf(uuid, sizeof uuid, "%s", d.uuid);
    how.uuid = uuid;
    a->meta.fence = a->fence;
    rc = lv_fits_host(a, conn, &how.amounts);
    if (rc == SPR_OK)
        rc = replace(a, conn, &how, &d, xml);
    lv_domain_clear(&d);
    free(xml);
    return rc;
}

/* ---- verbs ---- */

int lv_ready_to_copy(struct lv_act *a, virConnectPtr conn) {
    char why[LV_WHY] = "";
    int rc = a->primary.template_name ? lv_template_rests(&a->primary, conn, why) : SPR_OK;
    if (rc < 0)
        lv_job_fail(&a->job, rc, "%s", why);
    return rc < 0 ? rc : lv_nets_look(a, conn);
}

static bool known(struct lv_act *a) {
    struct lv_piece *p = a->dom ? lv_meta_piece(&a->meta, a->piece) : NULL;
    if (p)
        a->held = p->amounts;
    return p || (a->dom && lv_window_has(&a->meta.ended, a->piece));
}

void lv_reserve(struct lv_act *a, virConnectPtr conn) {
    if (known(a)) { /* asked twice */
        lv_hold_up(a, conn);
        return;
    }
    if (!a->primary.xml) {
        lv_find_primary(a);
        return;
    }
    bool made = a->dom && a->meta.phase != LV_PHASE_RESERVED; /* it has all that it needs */
    int rc = made ? SPR_OK : lv_ready_to_copy(a, conn);
    if (rc < 0)
        return;
    if (!a->dom)
        rc = lv_define_hold(a, conn);
    else if ((rc = lv_piece_add(a, LV_PHASE_RESERVED)) == SPR_OK)
        rc = a->kind == SPR_SHARD_HEADROOM ? lv_hold_resize(a, conn) : lv_meta_save(a, conn);
    if (rc == SPR_OK)
        a->held = a->amounts;
}

/* Headroom is ready as soon as it is committed: there is nothing to warm. */
void lv_allocate_hold(struct lv_act *a, virConnectPtr conn) {
    if (a->dom && lv_window_has(&a->meta.ended, a->piece)) {
        lv_hold_up(a, conn);
        return;
    }
    if (!a->primary.xml) {
        lv_find_primary(a);
        return;
    }
    if (lv_headroom_look(a, conn) < 0)
        return;
    if (!a->dom && lv_define_hold(a, conn) < 0)
        return;
    struct lv_piece *p = lv_meta_piece(&a->meta, a->piece);
    if (!p) {
        if (lv_piece_add(a, LV_PHASE_ALLOCATED) < 0 || lv_hold_resize(a, conn) < 0)
            return;
        p = lv_meta_piece(&a->meta, a->piece);
    }
    if (lv_hold_up(a, conn) < 0)
        return;
    a->held = p->amounts;
    lv_piece_ready(a);
    a->meta.phase = LV_PHASE_WARM;
    a->meta.warmness = 1;
    a->meta.expires_wall_ns = 0;
    a->warmness = 1;
    lv_meta_save(a, conn);
}
