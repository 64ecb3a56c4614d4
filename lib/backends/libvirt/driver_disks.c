/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A replica's overlays. Their paths are written into the metadata before the first one is made, so that whoever comes
 * after a crash knows what to delete; only what stands there is ever deleted.
 */
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "xml.h"

static virStoragePoolPtr no_pool(struct lv_act *a, const char *why) {
    struct lv_facts *f = &lv_here(a)->facts;
    pthread_mutex_lock(&a->d->lock);
    f->no_pool = true;
    snprintf(f->pool_why, sizeof f->pool_why, "%s", why);
    pthread_mutex_unlock(&a->d->lock);
    return NULL;
}

virStoragePoolPtr lv_pool(struct lv_act *a, virConnectPtr conn) {
    const char *name = a->d->o.pool;
    virStoragePoolPtr pool = virStoragePoolLookupByName(conn, name);
    if (!pool) {
        lv_job_fail(&a->job, lv_code_of_last_error(),
                    "storage pool '%s' is not there: define one for overlays, or name another (%s)", name,
                    virGetLastErrorMessage());
        return no_pool(a, a->job.text);
    }
    if (virStoragePoolIsActive(pool) == 1)
        return pool;
    if (lv_guard(a, conn) == SPR_OK && virStoragePoolCreate(pool, 0) == 0)
        return pool;
    if (a->job.outcome != SPR_FAILED)
        lv_fail(a, "starting storage pool", name);
    virStoragePoolFree(pool);
    return no_pool(a, a->job.text);
}

/* Folder of the pool, from lv_alloc. */
static char *folder(struct lv_act *a, virStoragePoolPtr pool) {
    char why[LV_WHY] = "", *out = NULL, *xml = virStoragePoolGetXMLDesc(pool, 0);
    xmlDoc *doc = NULL;
    if (xml && lv_xml_open(xml, "pool", &doc, why) == SPR_OK) {
        const char *path = lv_xml_text(lv_xml_at(xmlDocGetRootElement(doc), "target", "path"));
        if (*path == '/')
            out = lv_strdup(path);
        xmlFreeDoc(doc);
    }
    free(xml);
    if (!out)
        lv_job_fail(&a->job, SPR_E_UNSUPPORTED,
                    "storage pool '%s' has no folder: overlays need one of type dir, fs or netfs", a->d->o.pool);
    return out;
}

static int file_name(struct lv_act *a, const struct lv_base *b, char *out, size_t room) {
    char name[LV_NAME];
    lv_domain_name(a->shard, a->vm, name);
    return snprintf(out, room, "%s-%s.qcow2", name, b->target);
}

/* What stands at an overlay's place before we made it is not ours, and must not come into our metadata: it says what
 * may be deleted. Once more after a look at the folder: the pool may not know the file yet. */
static int is_free(struct lv_act *a, virConnectPtr conn, const char *path, virStoragePoolPtr pool, bool *looked) {
    virStorageVolPtr vol = virStorageVolLookupByPath(conn, path);
    if (!vol && !*looked) {
        *looked = virStoragePoolRefresh(pool, 0) == 0;
        vol = virStorageVolLookupByPath(conn, path);
    }
    if (!vol)
        return SPR_OK;
    virStorageVolFree(vol);
    lv_job_fail(&a->job, SPR_E_EXISTS, "pool '%s' has a volume %s that is not this shard's; it is left alone",
                a->d->o.pool, path);
    return SPR_E_EXISTS;
}

int lv_disks_note(struct lv_act *a, virConnectPtr conn) {
    struct lv_primary *p = &a->primary;
    if (!p->base_count)
        return SPR_OK;
    virStoragePoolPtr pool = lv_pool(a, conn);
    if (!pool)
        return a->job.code;
    char *at = folder(a, pool), name[LV_NAME + 80];
    int rc = at ? SPR_OK : a->job.code;
    bool looked = false;
    for (size_t i = 0; i < p->base_count && rc == SPR_OK; i++) {
        size_t room = strlen(at) + (size_t)file_name(a, &p->base[i], name, sizeof name) + 2;
        char *path = lv_alloc(room);
        lv_free(p->base[i].overlay);
        p->base[i].overlay = path;
        if (path) {
            snprintf(path, room, "%s/%s", at, name);
            rc = is_free(a, conn, path, pool, &looked);
        }
        if (!path || (rc == SPR_OK && lv_meta_add_artefact(&a->meta, LV_ARTEFACT_OVERLAY, path) < 0)) {
            lv_job_fail(&a->job, SPR_E_NOMEM, "out of memory");
            rc = SPR_E_NOMEM;
        }
    }
    virStoragePoolFree(pool);
    lv_free(at);
    return rc;
}

virStorageVolPtr lv_volume(virConnectPtr conn, const char *path) {
    virStorageVolPtr vol = virStorageVolLookupByPath(conn, path);
    const char *end = strrchr(path, '/');
    char *at = vol || !end || end == path ? NULL : lv_strdup(path);
    if (!at)
        return vol;
    at[end - path] = 0;
    virStoragePoolPtr pool = virStoragePoolLookupByTargetPath(conn, at);
    if (pool) {
        virStoragePoolRefresh(pool, 0);
        virStoragePoolFree(pool);
        vol = virStorageVolLookupByPath(conn, path);
    }
    lv_free(at);
    return vol;
}

/* How large the guest sees the disk: what the running primary said, else the base image. */
static double capacity(struct lv_act *a, virConnectPtr conn, const struct lv_base *b) {
    virStorageVolInfo info = {0};
    if (b->capacity > 0)
        return b->capacity;
    virStorageVolPtr vol = lv_volume(conn, b->path);
    if (!vol || virStorageVolGetInfo(vol, &info) < 0)
        lv_job_fail(&a->job, SPR_E_NOT_FOUND, "base image %s of disk %s: no pool of the host knows it: %s", b->path,
                    b->target, virGetLastErrorMessage());
    if (vol)
        virStorageVolFree(vol);
    return (double)info.capacity;
}

static char *volume_xml(const struct lv_base *b, const char *name, double bytes) {
    struct lv_edit e = {.doc = xmlNewDoc((const xmlChar *)"1.0")};
    xmlNode *root = e.doc ? xmlNewDocNode(e.doc, NULL, (const xmlChar *)"volume", NULL) : NULL;
    char *out = NULL, text[32];
    if (root) {
        xmlDocSetRootElement(e.doc, root);
        lv_xml_add(&e, root, "name", name);
        snprintf(text, sizeof text, "%.0f", bytes);
        lv_xml_set(&e, lv_xml_add(&e, root, "capacity", text), "unit", "bytes");
        xmlNode *target = lv_xml_add(&e, root, "target", NULL), *under = lv_xml_add(&e, root, "backingStore", NULL);
        lv_xml_set(&e, lv_xml_add(&e, target, "format", NULL), "type", "qcow2");
        lv_xml_add(&e, under, "path", b->path);
        lv_xml_set(&e, lv_xml_add(&e, under, "format", NULL), "type", b->format);
        if (e.nomem || lv_xml_print(&e, root, &out) < 0)
            out = NULL;
    }
    xmlFreeDoc(e.doc);
    return out;
}

/*
 * A newer controller may have removed the shard while the request for this volume was on its way, or stopped: then no
 * metadata names it, and it must not stay. Where the shard stands its metadata does, whoever has it now.
 */
static int came_in_time(struct lv_act *a, virConnectPtr conn, virStorageVolPtr vol) {
    struct lv_shard_meta seen = {0};
    char why[LV_WHY] = "";
    int code = SPR_OK, rc = lv_check(a, conn);
    if (rc == SPR_OK)
        return SPR_OK;
    virDomainPtr dom = lv_find_ours(conn, a->shard, a->vm, &seen, &code, why);
    if (!dom && code == SPR_E_NOT_FOUND)
        virStorageVolDelete(vol, 0);
    if (dom)
        virDomainFree(dom);
    lv_meta_clear(&seen);
    return rc;
}

static int make(struct lv_act *a, virConnectPtr conn, virStoragePoolPtr pool, struct lv_base *b) {
    char name[LV_NAME + 80];
    double bytes = capacity(a, conn, b);
    if (!(bytes > 0))
        return a->job.code;
    file_name(a, b, name, sizeof name);
    b->copies = lv_hot_wanted(a, conn, pool, b);
    char *xml = volume_xml(b, name, bytes);
    if (!xml) {
        lv_job_fail(&a->job, SPR_E_NOMEM, "out of memory");
        return SPR_E_NOMEM;
    }
    int rc = lv_guard(a, conn);
    virStorageVolPtr vol = rc == SPR_OK ? virStorageVolCreateXML(pool, xml, 0) : NULL;
    if (rc == SPR_OK && !vol && virGetLastErrorCode() == VIR_ERR_STORAGE_VOL_EXIST) {
        lv_job_fail(&a->job, SPR_E_EXISTS, "pool '%s' has a volume %s that is not this shard's; it is left alone",
                    a->d->o.pool, name);
        lv_meta_drop_artefact(&a->meta, LV_ARTEFACT_OVERLAY, b->overlay);
        rc = SPR_E_EXISTS;
    } else if (rc == SPR_OK && !vol) {
        lv_fail(a, "making overlay", name);
        rc = a->job.code;
    }
    if (vol) {
        rc = came_in_time(a, conn, vol);
        virStorageVolFree(vol);
    }
    lv_free(xml);
    return rc;
}

int lv_disks_make(struct lv_act *a, virConnectPtr conn) {
    int rc = SPR_OK;
    if (!a->primary.base_count)
        return SPR_OK;
    virStoragePoolPtr pool = lv_pool(a, conn);
    if (!pool)
        return a->job.code;
    for (size_t i = 0; i < a->primary.base_count && rc == SPR_OK; i++)
        rc = make(a, conn, pool, &a->primary.base[i]);
    virStoragePoolFree(pool);
    return rc;
}

/* Gone, or never made, is as good. */
static int remove_volume(struct lv_act *a, virConnectPtr conn, const char *path) {
    virStorageVolPtr vol = virStorageVolLookupByPath(conn, path);
    if (!vol) { /* made behind the pool's back, or its pool sleeps: look again once */
        virStoragePoolPtr pool = lv_pool(a, conn);
        if (!pool)
            return a->job.code;
        virStoragePoolRefresh(pool, 0);
        virStoragePoolFree(pool);
        vol = virStorageVolLookupByPath(conn, path);
    }
    if (!vol)
        return SPR_OK;
    int rc = lv_guard_ours(a, conn);
    if (rc == SPR_OK && virStorageVolDelete(vol, 0) < 0 && virGetLastErrorCode() != VIR_ERR_NO_STORAGE_VOL) {
        lv_fail(a, "deleting", path);
        rc = a->job.code;
    }
    virStorageVolFree(vol);
    return rc;
}

/* All that this driver makes is named after the shard's domain; metadata that somebody edited may say anything. */
static bool is_shards_own(const struct lv_act *a, const char *path) {
    const char *end = strrchr(path, '/');
    size_t n = strlen(a->name);
    return end && !strncmp(end + 1, a->name, n) && end[1 + n] == '-';
}

int lv_disks_remove(struct lv_act *a, virConnectPtr conn) {
    for (size_t i = a->meta.artefact_count; i-- > 0;) {
        const struct lv_artefact *x = &a->meta.artefact[i];
        if (x->kind != LV_ARTEFACT_OVERLAY && x->kind != LV_ARTEFACT_VOLUME && x->kind != LV_ARTEFACT_SAVED)
            continue; /* NVRAM goes with the definition; the others are not made by this driver */
        if (!is_shards_own(a, x->what)) {
            lv_job_fail(&a->job, SPR_E_STATE,
                        "the metadata of %s names %s, which is not named after it: both are left alone", a->name,
                        x->what);
            return SPR_E_STATE;
        }
        int rc = remove_volume(a, conn, x->what);
        if (rc < 0)
            return rc;
    }
    return SPR_OK;
}
