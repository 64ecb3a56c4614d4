/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* One host's watch: its guests by UUID, what their definitions say, and what the host says of itself. */
#include <stdio.h>
#include <string.h>

#include "source.h"

/* ---- definitions ---- */

static int take_detail(struct lv_detail *d, const char *name, const struct lv_domain *dom) {
    char why[LV_WHY];
    d->vcpus = dom->vcpus;
    d->memory = dom->memory;
    d->shard = dom->trial; /* no VM either */
    if (dom->shard_xml) {
        struct lv_shard_meta meta = {0};
        bool read = lv_meta_parse(dom->shard_xml, &meta, why) == SPR_OK;
        d->shard = !read || !lv_meta_is_copy(&meta, dom->uuid ? dom->uuid : ""); /* ours even where we cannot read it */
        if (read && d->shard) {
            memcpy(d->shard_uuid, meta.vm_uuid, sizeof d->shard_uuid);
            d->shard_vm = lv_strdup(meta.vm);
        }
        lv_meta_clear(&meta);
        if (read && d->shard)
            return d->shard_vm ? SPR_OK : SPR_E_NOMEM;
    }
    if (!d->shard && dom->vm_xml) {
        int rc = lv_vm_meta_parse(dom->vm_xml, &d->vm, why);
        if (rc == SPR_E_NOMEM)
            return rc;
        if (rc < 0) {
            char text[LV_WHY + LV_NAME];
            snprintf(text, sizeof text, "%s: its owner's metadata cannot be read, so nothing is allowed: %s", name,
                     why);
            return (d->complaint = lv_strdup(text)) ? SPR_OK : SPR_E_NOMEM;
        }
        if (d->vm.promoted && d->vm.name) { /* a VM goes by its own name, whatever the domain was called */
            char *own = lv_strdup(d->vm.name);
            if (!own)
                return SPR_E_NOMEM;
            lv_free(d->name);
            d->name = own;
        }
    }
    return SPR_OK;
}

struct lv_detail *lv_detail_read(const char *name, const char *xml, bool keep_xml) {
    char why[LV_WHY];
    struct lv_domain dom = {0};
    struct lv_detail *d = lv_alloc(sizeof *d);
    if (!d)
        return NULL;
    atomic_init(&d->refs, 1);
    d->name = lv_strdup(name);
    d->xml = keep_xml ? lv_strdup(xml) : NULL;
    int rc = d->name && (d->xml || !keep_xml) ? lv_domain_read(xml, &dom, why) : SPR_E_NOMEM;
    if (rc == SPR_OK) {
        rc = take_detail(d, name, &dom);
        lv_domain_clear(&dom);
    } else if (rc != SPR_E_NOMEM) {
        rc = SPR_OK; /* a definition of another time: a guest all the same, about which nothing more is known */
    }
    if (rc == SPR_OK)
        return d;
    lv_detail_unref(d);
    return NULL;
}

struct lv_detail *lv_detail_ref(struct lv_detail *d) {
    if (d)
        atomic_fetch_add(&d->refs, 1);
    return d;
}

void lv_detail_unref(struct lv_detail *d) {
    if (!d || atomic_fetch_sub(&d->refs, 1) > 1)
        return;
    lv_vm_meta_clear(&d->vm);
    lv_free(d->name), lv_free(d->xml), lv_free(d->shard_vm), lv_free(d->complaint);
    lv_free(d);
}

/* ---- guests by UUID ---- */

static size_t slot_of(const struct lv_watch *w, const unsigned char *uuid) {
    uint64_t h;
    memcpy(&h, uuid, sizeof h); /* UUIDs are random, but for those that somebody thought up */
    h ^= (uint64_t)uuid[15] << 7 | (uint64_t)uuid[14] << 23 | (uint64_t)uuid[13] << 41;
    h *= UINT64_C(0x9e3779b97f4a7c15);
    size_t at = (size_t)(h >> 20) & (w->slots - 1);
    while (w->slot[at] && memcmp(w->guest[w->slot[at] - 1]->uuid, uuid, LV_UUID_BYTES))
        at = (at + 1) & (w->slots - 1);
    return at;
}

static void fill_slots(struct lv_watch *w) {
    memset(w->slot, 0, w->slots * sizeof *w->slot);
    for (size_t i = 0; i < w->guest_count; i++)
        w->slot[slot_of(w, w->guest[i]->uuid)] = (uint32_t)i + 1;
}

static int room_for_one(struct lv_watch *w) {
    if ((w->guest_count + 1) * 2 > w->slots) {
        size_t slots = w->slots ? 2 * w->slots : 64;
        uint32_t *slot = lv_alloc(slots * sizeof *slot);
        if (!slot)
            return SPR_E_NOMEM;
        lv_free(w->slot);
        w->slot = slot;
        w->slots = slots;
        fill_slots(w);
    }
    return lv_grow((void **)&w->guest, &w->guest_cap, w->guest_count + 1, sizeof(struct lv_guest *));
}

struct lv_guest *lv_watch_find(struct lv_watch *w, const unsigned char *uuid, bool make) {
    size_t at = w->slots ? slot_of(w, uuid) : 0;
    if (w->slots && w->slot[at])
        return w->guest[w->slot[at] - 1];
    if (!make || room_for_one(w) < 0)
        return NULL;
    struct lv_guest *g = lv_alloc(sizeof *g);
    if (!g)
        return NULL;
    memcpy(g->uuid, uuid, LV_UUID_BYTES);
    g->id = -1;
    g->stale = true;
    w->guest[w->guest_count++] = g;
    w->slot[slot_of(w, uuid)] = (uint32_t)w->guest_count;
    return g;
}

static void guest_free(struct lv_guest *g) {
    lv_detail_unref(g->detail);
    lv_free(g->count);
    lv_free(g);
}

void lv_watch_sweep(struct lv_watch *w) {
    size_t kept = 0;
    for (size_t i = 0; i < w->guest_count; i++)
        if (w->guest[i]->round == w->round)
            w->guest[kept++] = w->guest[i];
        else
            guest_free(w->guest[i]);
    if (kept == w->guest_count)
        return;
    w->guest_count = kept;
    fill_slots(w);
}

/* ---- the watch ---- */

struct lv_watch *lv_watch_ref(struct lv_watch *w) {
    atomic_fetch_add(&w->refs, 1);
    return w;
}

void lv_watch_unref(struct lv_watch *w) {
    if (!w || atomic_fetch_sub(&w->refs, 1) > 1)
        return;
    for (size_t i = 0; i < w->guest_count; i++)
        guest_free(w->guest[i]);
    lv_free(w->guest);
    lv_free(w->slot);
    lv_record_clear(&w->record);
    pthread_mutex_destroy(&w->lock);
    lv_free(w);
}

static void unref_of_host(void *watch) { lv_watch_unref(watch); }

struct lv_watch *lv_watch_of(struct lv_host *host) {
    pthread_mutex_lock(&host->v->lock);
    struct lv_watch *w = host->source_state;
    if (!w && (w = lv_alloc(sizeof *w))) {
        pthread_mutex_init(&w->lock, NULL);
        atomic_init(&w->refs, 1);
        w->host = host;
        w->facts.size = sizeof w->facts;
        host->source_state = w;
        host->source_free = unref_of_host;
    }
    pthread_mutex_unlock(&host->v->lock);
    return w;
}

int spr_libvirt_facts(const spr_libvirt *given, size_t host, struct spr_libvirt_facts *out) {
    spr_libvirt *v = (spr_libvirt *)(uintptr_t)given; /* locks are not part of what it says */
    if (!v || host >= v->host_count || !out || out->size < sizeof *out)
        return SPR_E_ARG;
    pthread_mutex_lock(&v->lock);
    struct lv_watch *w = v->hosts[host].source_state;
    pthread_mutex_unlock(&v->lock);
    if (!w)
        return SPR_E_NOT_FOUND;
    size_t size = out->size;
    pthread_mutex_lock(&w->lock);
    int rc = w->facts.cores > 0 ? SPR_OK : SPR_E_NOT_FOUND;
    if (rc == SPR_OK)
        *out = w->facts, out->size = size;
    pthread_mutex_unlock(&w->lock);
    return rc;
}
