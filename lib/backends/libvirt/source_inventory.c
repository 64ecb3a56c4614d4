/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The snapshot: all hosts, and every guest once that is no shard of ours. A host that does not answer keeps the guests
 * that were last seen there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "source.h"

/* A guest as one host shows it. */
struct shown {
    unsigned char uuid[LV_UUID_BYTES];
    int32_t host, rank;
    bool twin; /* another VM has its name */
    struct lv_detail *detail;
};
struct list {
    struct shown *of;
    size_t count, cap;
};

/* ---- who is there ---- */

static int by_uuid_then_rank(const void *a, const void *b) {
    const struct shown *x = a, *y = b;
    int order = memcmp(x->uuid, y->uuid, LV_UUID_BYTES);
    return order ? order : x->rank != y->rank ? (x->rank < y->rank) - (x->rank > y->rank) : x->host - y->host;
}

static int by_name(const void *a, const void *b) {
    const struct shown *x = a, *y = b;
    return strcmp(x->detail->name, y->detail->name);
}

static int by_host_then_name(const void *a, const void *b) {
    const struct shown *x = a, *y = b;
    return x->host != y->host ? x->host - y->host : strcmp(x->detail->name, y->detail->name);
}

/* Seen now before seen once, running before paused before switched off, where it was before somewhere else. */
static int32_t rank_of(const struct lv_source *s, const struct lv_guest *g, int32_t host, bool up) {
    const struct lv_known *k = lv_source_known(s, g->uuid);
    bool on = g->id >= 0;
    return 8 * up + 4 * (on && g->state == VIR_DOMAIN_RUNNING) + 2 * on + (k && k->host == host);
}

static int show(struct lv_source *s, const struct lv_ask *ask, size_t h, struct list *l) {
    struct lv_watch *w = s->watch[h];
    int rc = SPR_OK;
    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < w->guest_count && rc == SPR_OK; i++) {
        const struct lv_guest *g = w->guest[i];
        if (!g->detail || g->detail->shard) /* one whose definition was never read may be a shard */
            continue;
        if ((rc = lv_grow((void **)&l->of, &l->cap, l->count + 1, sizeof *l->of)) < 0)
            break;
        struct shown *x = &l->of[l->count++];
        memset(x, 0, sizeof *x);
        memcpy(x->uuid, g->uuid, sizeof x->uuid);
        x->host = (int32_t)h;
        x->rank = rank_of(s, g, x->host, ask->reply[h] == LV_ANSWERED);
        x->detail = lv_detail_ref(g->detail);
    }
    pthread_mutex_unlock(&w->lock);
    return rc;
}

static void sort(struct list *l, int (*by)(const void *, const void *)) {
    if (l->count)
        qsort(l->of, l->count, sizeof *l->of, by);
}

static void settle(struct list *l) {
    size_t kept = 0;
    sort(l, by_uuid_then_rank);
    for (size_t i = 0; i < l->count; i++)
        if (!kept || memcmp(l->of[i].uuid, l->of[kept - 1].uuid, LV_UUID_BYTES) != 0)
            l->of[kept++] = l->of[i];
        else
            lv_detail_unref(l->of[i].detail);
    l->count = kept;
}

/* Was a VM there last time that no host has now? Then it may have moved while its hosts were asked one by one. */
static bool somebody_left(const struct lv_source *s, const struct list *l) {
    size_t i = 0;
    for (size_t k = 0; k < s->known_count; k++) { /* both are sorted by UUID */
        int order = 1;
        while (i < l->count && (order = memcmp(l->of[i].uuid, s->known[k].uuid, LV_UUID_BYTES)) < 0)
            i++;
        if (i == l->count || order)
            return true;
    }
    return false;
}

static void find_twins(struct list *l) {
    sort(l, by_name);
    for (size_t i = 1; i < l->count; i++)
        if (!by_name(&l->of[i - 1], &l->of[i]))
            l->of[i - 1].twin = l->of[i].twin = true;
    sort(l, by_host_then_name);
}

static void list_clear(struct list *l) {
    for (size_t i = 0; i < l->count; i++)
        lv_detail_unref(l->of[i].detail);
    lv_free(l->of);
    memset(l, 0, sizeof *l);
}

/* ---- hosts ---- */

static void host_of(struct lv_source *s, const struct lv_ask *ask, size_t h, struct spr_host *out) {
    struct lv_watch *w = s->watch[h];
    const struct lv_host *host = w->host;
    pthread_mutex_lock(&w->lock);
    struct spr_libvirt_facts f = w->facts;
    pthread_mutex_unlock(&w->lock);
    double kept = host->memory_kept == SPR_NONE ? 0 : host->memory_kept > 0 ? host->memory_kept : f.memory / 16;
    double net = host->net_bps > 0 ? host->net_bps : f.link_bps;
    memset(out, 0, sizeof *out);
    out->size = sizeof *out;
    out->id = host->id;
    out->rack = host->rack;
    out->zone = host->zone;
    out->state = ask->reply[h] == LV_ANSWERED ? SPR_HOST_UP : SPR_HOST_UNREACHABLE;
    out->capacity.of[SPR_CPU] = f.cores * host->cpu_overcommit;
    out->capacity.of[SPR_MEMORY] = f.memory > kept ? f.memory - kept : 0;
    out->capacity.of[SPR_NET_RX] = out->capacity.of[SPR_NET_TX] = net;
}

/* A resource of which no host can say how much there is cannot be planned. */
static int add_hosts(struct lv_source *s, const struct lv_ask *ask, spr_fleet_builder *b) {
    bool net = true;
    int rc = SPR_OK;
    struct spr_host h;
    for (size_t i = 0; i < s->hosts; i++) {
        host_of(s, ask, i, &h);
        net = net && (h.capacity.of[SPR_NET_RX] > 0 || !(h.capacity.of[SPR_CPU] > 0));
    }
    if ((rc = spr_fleet_builder_use(b, SPR_CPU)) < 0 || (rc = spr_fleet_builder_use(b, SPR_MEMORY)) < 0 ||
        (net && ((rc = spr_fleet_builder_use(b, SPR_NET_RX)) < 0 || (rc = spr_fleet_builder_use(b, SPR_NET_TX)) < 0)))
        return rc;
    for (size_t i = 0; i < s->hosts && rc == SPR_OK; i++) {
        host_of(s, ask, i, &h);
        rc = spr_fleet_builder_host(b, &h, NULL);
    }
    return rc;
}

/* ---- VMs ---- */

static void warn(const struct lv_source *s, const char *host, const char *text) {
    struct spr_log_record r = {
        .size = sizeof r, .level = SPR_LOG_WARN, .stage = "libvirt", .text = text, .subject = host};
    spr_context_log(s->ctx, &r);
}

static void vm_of(const struct shown *x, const char *id, struct spr_vm *vm) {
    memset(vm, 0, sizeof *vm);
    vm->size = sizeof *vm;
    vm->id = id;
    vm->host = x->host;
    vm->klass = -1;
    vm->capacity.of[SPR_CPU] = x->detail->vcpus;
    vm->capacity.of[SPR_MEMORY] = x->detail->memory;
}

/* SPR_OK, or what the builder says; *index stays -1 where the host program leaves the VM out. */
static int add_as(struct lv_source *s, spr_fleet_builder *b, const struct shown *x, const char *id, int32_t *index) {
    const struct spr_libvirt_opts *o = &s->v->opts;
    const char *host = s->watch[x->host]->host->id;
    struct spr_vm vm;
    vm_of(x, id, &vm);
    lv_vm_meta_apply(&x->detail->vm, &vm);
    if (o->vm && o->vm(o->user, host, x->detail->xml ? x->detail->xml : "", &vm) < 0)
        return SPR_OK;
    vm.size = sizeof vm, vm.id = id, vm.host = x->host; /* these are not the host program's to say */
    int rc = spr_fleet_builder_vm(b, &vm, index);
    if (rc != SPR_E_ARG)
        return rc;
    struct spr_error e = {.size = sizeof e};
    char text[LV_TEXT];
    spr_context_error(s->ctx, &e);
    snprintf(text, sizeof text, "%s: what its owner allows is refused, so nothing is: %s", id, e.text ? e.text : "");
    warn(s, host, text);
    vm_of(x, id, &vm);
    return spr_fleet_builder_vm(b, &vm, index);
}

static int add_vm(struct lv_source *s, spr_fleet_builder *b, const struct shown *x, int32_t *index) {
    const struct lv_host *h = s->watch[x->host]->host;
    struct lv_detail *d = x->detail;
    char id[LV_TEXT + 2 * LV_NAME], uuid[LV_UUID];
    if (d->complaint && !d->complained) {
        warn(s, h->id, d->complaint);
        d->complained = true;
    }
    snprintf(id, sizeof id, "%s%s%s", x->twin ? h->id : "", x->twin ? "/" : "", d->name);
    int rc = add_as(s, b, x, id, index);
    if (rc != SPR_E_EXISTS)
        return rc;
    for (size_t i = 0; i < LV_UUID_BYTES; i++) /* somebody named a VM "host/name" */
        snprintf(uuid + 2 * i, sizeof uuid - 2 * i, "%02x", x->uuid[i]);
    return add_as(s, b, x, uuid, index);
}

static int by_known_uuid(const void *a, const void *b) {
    return memcmp(((const struct lv_known *)a)->uuid, ((const struct lv_known *)b)->uuid, LV_UUID_BYTES);
}

static int add_vms(struct lv_source *s, spr_fleet_builder *b, const struct list *l, struct lv_known *known, size_t *n) {
    for (size_t i = 0; i < l->count; i++) {
        int32_t index = -1;
        int rc = add_vm(s, b, &l->of[i], &index);
        if (rc < 0)
            return rc;
        if (index >= 0) {
            memcpy(known[*n].uuid, l->of[i].uuid, LV_UUID_BYTES);
            known[*n].vm = index;
            known[(*n)++].host = l->of[i].host;
        }
    }
    if (*n)
        qsort(known, *n, sizeof *known, by_known_uuid);
    return SPR_OK;
}

/* ---- all of it ---- */

static int build(struct lv_source *s, const struct lv_ask *ask, struct list *l, struct spr_time now, spr_fleet **out) {
    spr_fleet_builder *b = NULL;
    spr_fleet *fleet = NULL;
    struct lv_known *known = lv_alloc((l->count + 1) * sizeof *known);
    size_t n = 0;
    int rc = known ? spr_fleet_builder_create(s->ctx, NULL, &b) : SPR_E_NOMEM;
    if (rc == SPR_OK)
        rc = add_hosts(s, ask, b);
    if (rc == SPR_OK)
        rc = add_vms(s, b, l, known, &n);
    if (rc == SPR_OK)
        rc = spr_fleet_builder_finish(b, now, &fleet);
    else
        spr_fleet_builder_destroy(b);
    if (rc < 0) {
        lv_free(known);
        return rc;
    }
    lv_free(s->known);
    s->known = known;
    s->known_count = n;
    spr_fleet_unref(s->inventory);
    s->inventory = spr_fleet_ref(fleet);
    *out = fleet;
    return SPR_OK;
}

/* SPR_E_NOT_FOUND: no host was ever reached. */
static bool ever_listed(const struct lv_source *s) {
    bool listed = false;
    for (size_t h = 0; h < s->hosts && !listed; h++) {
        pthread_mutex_lock(&s->watch[h]->lock);
        listed = s->watch[h]->listed;
        pthread_mutex_unlock(&s->watch[h]->lock);
    }
    return listed;
}

int lv_inventory_make(struct lv_source *s, const struct lv_ask *ask, struct spr_time now, spr_fleet **out) {
    struct list l = {0};
    int rc = ever_listed(s) ? SPR_OK : SPR_E_NOT_FOUND;
    for (size_t h = 0; h < s->hosts && rc == SPR_OK; h++)
        rc = show(s, ask, h, &l);
    if (rc == SPR_OK) {
        settle(&l);
        if (!ask->again && s->hosts > 1 && somebody_left(s, &l))
            rc = SPR_AGAIN;
    }
    if (rc == SPR_OK) {
        find_twins(&l);
        rc = build(s, ask, &l, now, out);
    }
    if (rc == SPR_E_NOMEM) {
        struct spr_error e = {.size = sizeof e, .code = rc, .text = "libvirt source: out of memory for the inventory"};
        spr_context_fail(s->ctx, &e);
    }
    list_clear(&l);
    return rc;
}
