/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What of a base image a guest reads while it boots. The first replica of an image on a host copies what it reads into
 * its overlay (QEMU's copy-on-read): once it is stopped its overlay's tables say what that was. Later ones are read
 * ahead in that order (driver_prefetch.c). Kept in memory: a controller that begins anew learns it from its first
 * replica again. It is a guess about the next boot and nothing more, so an image that was replaced does no harm.
 */
#include <stdlib.h>
#include <string.h>

#include "driver.h"

#define IMAGES 64 /* that a host's list has room for; the oldest goes */

struct lv_hot {
    char *path;
    struct lv_extents extents;
};

void lv_hot_free(struct lv_driver_host *h) {
    for (size_t i = 0; i < h->hot_count; i++) {
        lv_free(h->hot[i].path);
        lv_extents_clear(&h->hot[i].extents);
    }
    lv_free(h->hot);
    h->hot = NULL;
    h->hot_count = h->hot_cap = 0;
}

const struct lv_extents *lv_hot_of(const struct lv_act *a, const char *path) {
    const struct lv_driver_host *h = lv_here(a);
    for (size_t i = 0; i < h->hot_count; i++)
        if (!strcmp(h->hot[i].path, path))
            return &h->hot[i].extents;
    return NULL;
}

static void keep(struct lv_act *a, const char *path, struct lv_extents *e) {
    struct lv_driver_host *h = lv_here(a);
    char *copy = lv_strdup(path);
    if (!copy || lv_grow((void **)&h->hot, &h->hot_cap, h->hot_count + 1, sizeof *h->hot) < 0) {
        lv_free(copy);
        lv_extents_clear(e);
        return;
    }
    if (h->hot_count == IMAGES) {
        lv_free(h->hot[0].path);
        lv_extents_clear(&h->hot[0].extents);
        memmove(h->hot, h->hot + 1, --h->hot_count * sizeof *h->hot);
    }
    h->hot[h->hot_count++] = (struct lv_hot){.path = copy, .extents = *e};
}

static bool is(const char *a, const char *b) { return a && !strcmp(a, b); }

/*
 * A guest's read fails where the copy has no room: only where the pool could hold the whole image twice. What runs idle
 * is never stopped before it serves, so that its overlay would say nothing.
 */
bool lv_hot_wanted(struct lv_act *a, virConnectPtr conn, virStoragePoolPtr pool, const struct lv_base *b) {
    virStoragePoolInfo room;
    virStorageVolInfo info;
    if (!(a->d->o.prefetch_bytes_s > 0) || a->d->o.warm == SPR_LIBVIRT_WARM_RUNNING || lv_hot_of(a, b->path) ||
        (!is(b->format, "raw") && !is(b->format, "qcow2")))
        return false;
    virStorageVolPtr vol = lv_volume(conn, b->path);
    bool known = vol && virStorageVolGetInfoFlags(vol, &info, VIR_STORAGE_VOL_GET_PHYSICAL) == 0 &&
                 virStoragePoolGetInfo(pool, &room) == 0;
    if (vol)
        virStorageVolFree(vol);
    return known && room.available / 2 > info.allocation;
}

/* ---- tables, through libvirt ---- */

struct volume {
    virConnectPtr conn;
    virStorageVolPtr vol;
};

static int read_at(void *from, uint64_t at, void *to, size_t bytes) {
    struct volume *v = from;
    virStreamPtr st = virStreamNew(v->conn, 0);
    size_t got = 0;
    int n = st && virStorageVolDownload(v->vol, st, at, bytes, 0) == 0 ? 1 : -1;
    while (n > 0 && got < bytes) {
        n = virStreamRecv(st, (char *)to + got, bytes - got);
        got += n > 0 ? (size_t)n : 0;
    }
    if (st && got == bytes)
        virStreamFinish(st);
    else if (st)
        virStreamAbort(st);
    if (st)
        virStreamFree(st);
    return got == bytes ? 0 : -1;
}

static int map(virConnectPtr conn, const char *path, const struct lv_extents *only, struct lv_extents *out) {
    char why[LV_WHY];
    virStorageVolInfo info;
    struct volume v = {.conn = conn, .vol = lv_volume(conn, path)};
    int rc = v.vol && virStorageVolGetInfoFlags(v.vol, &info, VIR_STORAGE_VOL_GET_PHYSICAL) == 0
                 ? lv_qcow2_map(read_at, &v, info.allocation, only, out, why)
                 : SPR_E_NOT_FOUND;
    if (v.vol)
        virStorageVolFree(v.vol);
    return rc;
}

/* By place in the guest, then by place in the base image's file. What is in clusters of the image under it is left. */
static void learn(struct lv_act *a, virConnectPtr conn, const struct lv_disk *disk) {
    struct lv_extents seen = {0}, hot = {0};
    if (map(conn, disk->source, NULL, &seen) < 0)
        return;
    if (is(disk->backing_format[0], "qcow2")) {
        if (map(conn, disk->backing[0], &seen, &hot) == SPR_OK)
            keep(a, disk->backing[0], &hot);
        lv_extents_clear(&seen);
        return;
    }
    for (size_t i = 0; i < seen.count; i++) /* raw: the same place */
        seen.of[i].file = seen.of[i].at, seen.of[i].length = seen.of[i].bytes;
    keep(a, disk->backing[0], &seen);
}

void lv_hot_learn(struct lv_act *a, virConnectPtr conn) {
    struct lv_domain d = {0};
    char why[LV_WHY], *xml = lv_state(a->dom, NULL) != VIR_DOMAIN_RUNNING ? virDomainGetXMLDesc(a->dom, 0) : NULL;
    if (xml && lv_domain_read(xml, &d, why) == SPR_OK)
        for (size_t i = 0; i < d.disk_count; i++) {
            const struct lv_disk *k = &d.disk[i];
            if (k->copies && k->source && k->backing_count && is(k->format, "qcow2") &&
                (is(k->backing_format[0], "raw") || is(k->backing_format[0], "qcow2")) && !lv_hot_of(a, k->backing[0]))
                learn(a, conn, k);
        }
    lv_domain_clear(&d);
    free(xml);
}
