/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The part of a fleet that snapshots share: hosts, VMs, names, topology, wishes. */
#include "fleet/fleet.h"

#define TEXT_BLOCK 4096

struct spr__fleet_inventory *spr__inventory_create(spr_context *ctx) {
    struct spr__fleet_inventory *v = spr__alloc(ctx, 1, sizeof *v);
    if (!v)
        return NULL;
    spr__ref_init(&v->refs);
    v->ctx = spr_context_ref(ctx);
    v->latency_ms[1] = 0.1;
    v->latency_ms[2] = 0.5;
    v->latency_ms[3] = 2.0;
    return v;
}

void spr__inventory_unref(struct spr__fleet_inventory *v) {
    if (!v || !spr__unref(&v->refs))
        return;
    spr_context *ctx = v->ctx;
    spr__now_free(ctx, atomic_load(&v->spare));
    spr__free(ctx, v->hosts, v->host_cap, sizeof *v->hosts);
    spr__free(ctx, v->vms, v->vm_cap, sizeof *v->vms);
    spr__free(ctx, v->declared, v->declared_cap, sizeof *v->declared);
    spr__textmap_finish(ctx, &v->host_by_id);
    spr__textmap_finish(ctx, &v->vm_by_id);
    spr__textmap_finish(ctx, &v->racks);
    spr__textmap_finish(ctx, &v->zones);
    spr__textmap_finish(ctx, &v->groups);
    while (v->texts) {
        struct spr__fleet_text *t = v->texts;
        v->texts = t->next;
        spr__free(ctx, t, sizeof *t + t->room, 1);
    }
    spr__free(ctx, v, 1, sizeof *v);
    spr_context_unref(ctx);
}

/* ---- texts ---- */

static char *text_room(struct spr__fleet_inventory *v, size_t need) {
    struct spr__fleet_text *t = v->texts;
    if (!t || t->room - t->used < need) {
        size_t room = SPR_MAX(need, (size_t)TEXT_BLOCK);
        if (!(t = spr__alloc(v->ctx, sizeof *t + room, 1)))
            return NULL;
        t->room = room;
        t->next = v->texts;
        v->texts = t;
    }
    char *at = t->bytes + t->used;
    t->used += need;
    return at;
}

/* Copy a text into the inventory; NULL and "" become NULL. */
static int keep(struct spr__fleet_inventory *v, const char *text, const char **out) {
    *out = NULL;
    if (!text || !*text)
        return SPR_OK;
    size_t n = strlen(text) + 1;
    char *at = text_room(v, n);
    if (!at)
        return spr__nomem(v->ctx);
    *out = memcpy(at, text, n);
    return SPR_OK;
}

/* Number of a name: the one it has, or the next one. The first text given is the one that is kept. */
static int number_of(struct spr__fleet_inventory *v, struct spr_textmap *m, int32_t *count, const char *text,
                     int32_t *out) {
    int64_t known = spr__textmap_get(m, text);
    if (known < 0) {
        int rc = spr__textmap_put(v->ctx, m, text, *count);
        if (rc < 0)
            return rc;
        known = (*count)++;
    }
    *out = (int32_t)known;
    return SPR_OK;
}

/* Racks of different zones may share a name, so a rack is known by both: zone, unit separator, rack. */
static int rack_number(struct spr__fleet_inventory *v, struct spr__fleet_host *h) {
    size_t z = h->zone ? strlen(h->zone) : 0, r = strlen(h->rack) + 1;
    char *key = text_room(v, z + 1 + r);
    if (!key)
        return spr__nomem(v->ctx);
    if (z)
        memcpy(key, h->zone, z);
    key[z] = '\x1f';
    memcpy(key + z + 1, h->rack, r);
    return number_of(v, &v->racks, &v->rack_count, key, &h->rack_id);
}

/* ---- adding ---- */

int spr__inventory_host(struct spr__fleet_inventory *v, const struct spr_host *host, int32_t *index) {
    struct spr__fleet_host h = {.rack_id = -1, .zone_id = -1, .capacity = host->capacity};
    int rc;
    if (spr__textmap_get(&v->host_by_id, host->id) >= 0)
        return spr__fail_of(v->ctx, SPR_E_EXISTS, NULL, host->id, "spr_host.id: a host of this name is there already");
    memcpy(h.power_w, host->power_w, sizeof h.power_w);
    if ((rc = spr__reserve(v->ctx, (void **)&v->hosts, &v->host_cap, (size_t)v->host_count + 1, sizeof h)) < 0 ||
        (rc = keep(v, host->id, &h.id)) < 0 || (rc = keep(v, host->rack, &h.rack)) < 0 ||
        (rc = keep(v, host->zone, &h.zone)) < 0 ||
        (h.zone && (rc = number_of(v, &v->zones, &v->zone_count, h.zone, &h.zone_id)) < 0) ||
        (h.rack && (rc = rack_number(v, &h)) < 0) ||
        (rc = spr__textmap_put(v->ctx, &v->host_by_id, h.id, v->host_count)) < 0)
        return rc;
    v->hosts[v->host_count] = h;
    *index = v->host_count++;
    return SPR_OK;
}

int spr__inventory_vm(struct spr__fleet_inventory *v, const struct spr_vm *vm, int32_t *index) {
    struct spr__fleet_vm m = {.spillable = vm->spillable,
                              .flow_lifetime_s = vm->flow_lifetime_s > 0 ? vm->flow_lifetime_s : 60.0,
                              .replica = vm->replica,
                              .priority = vm->priority,
                              .klass = vm->klass,
                              .shards_at_most = vm->shards_at_most ? vm->shards_at_most : 2,
                              .group_id = -1,
                              .anti_group_id = -1,
                              .affinity_vm = -1,
                              .affinity_group_id = -1,
                              .min = vm->min,
                              .max = vm->max,
                              .capacity = vm->capacity};
    int rc;
    if (spr__textmap_get(&v->vm_by_id, vm->id) >= 0)
        return spr__fail_of(v->ctx, SPR_E_EXISTS, vm->id, NULL, "spr_vm.id: a VM of this name is there already");
    if ((rc = spr__reserve(v->ctx, (void **)&v->vms, &v->vm_cap, (size_t)v->vm_count + 1, sizeof m)) < 0 ||
        (rc = keep(v, vm->id, &m.id)) < 0 || (rc = keep(v, vm->group, &m.group)) < 0 ||
        (rc = keep(v, vm->affinity, &m.affinity)) < 0 || (rc = keep(v, vm->anti_affinity, &m.anti_affinity)) < 0 ||
        (rc = keep(v, vm->hosts_allowed, &m.hosts_allowed)) < 0 ||
        (m.group && (rc = number_of(v, &v->groups, &v->group_count, m.group, &m.group_id)) < 0) ||
        (rc = spr__textmap_put(v->ctx, &v->vm_by_id, m.id, v->vm_count)) < 0)
        return rc;
    v->vms[v->vm_count] = m;
    *index = v->vm_count++;
    return SPR_OK;
}

int spr__inventory_declared(struct spr__fleet_inventory *v, const struct spr_declared *d) {
    struct spr_declared mine = *d;
    int rc = spr__reserve(v->ctx, (void **)&v->declared, &v->declared_cap, (size_t)v->declared_count + 1, sizeof mine);
    if (rc < 0 || (rc = keep(v, d->match, &mine.match)) < 0)
        return rc;
    v->declared[v->declared_count++] = mine;
    return SPR_OK;
}

/* ---- copying, when something is added to a shared one ---- */

static int copy_hosts(struct spr__fleet_inventory *v, const struct spr__fleet_inventory *from) {
    int32_t index;
    for (int32_t i = 0; i < from->host_count; i++) {
        const struct spr__fleet_host *h = &from->hosts[i];
        struct spr_host host = {sizeof host, h->id, h->rack, h->zone, h->capacity, {0}, 0, 0};
        memcpy(host.power_w, h->power_w, sizeof host.power_w);
        int rc = spr__inventory_host(v, &host, &index);
        if (rc < 0)
            return rc;
    }
    return SPR_OK;
}

static int copy_vms(struct spr__fleet_inventory *v, const struct spr__fleet_inventory *from) {
    int32_t index;
    for (int32_t i = 0; i < from->vm_count; i++) {
        const struct spr__fleet_vm *m = &from->vms[i];
        struct spr_vm vm = {.size = sizeof vm,
                            .id = m->id,
                            .replica = m->replica,
                            .spillable = m->spillable,
                            .flow_lifetime_s = m->flow_lifetime_s,
                            .group = m->group,
                            .affinity = m->affinity,
                            .anti_affinity = m->anti_affinity,
                            .hosts_allowed = m->hosts_allowed,
                            .min = m->min,
                            .max = m->max,
                            .priority = m->priority,
                            .klass = m->klass,
                            .capacity = m->capacity,
                            .shards_at_most = m->shards_at_most};
        int rc = spr__inventory_vm(v, &vm, &index);
        if (rc < 0)
            return rc;
    }
    return SPR_OK;
}

int spr__inventory_copy(spr_context *ctx, const struct spr__fleet_inventory *from, struct spr__fleet_inventory **out) {
    struct spr__fleet_inventory *v = spr__inventory_create(ctx);
    if (!v)
        return spr__nomem(ctx);
    v->resources = from->resources;
    memcpy(v->latency_ms, from->latency_ms, sizeof v->latency_ms);
    int rc = copy_hosts(v, from);
    if (rc >= 0)
        rc = copy_vms(v, from);
    for (int32_t i = 0; rc >= 0 && i < from->declared_count; i++)
        rc = spr__inventory_declared(v, &from->declared[i]);
    if (rc < 0) {
        spr__inventory_unref(v);
        return rc;
    }
    *out = v;
    return SPR_OK;
}

void spr__inventory_settle(struct spr__fleet_inventory *v) {
    if (!v->resources)
        v->resources = (1u << SPR_RESOURCE_COUNTABLE) - 1;
    v->R = 0;
    for (int32_t r = 0; r < SPR_RESOURCES_MAX; r++) {
        v->slot[r] = v->resources >> r & 1 ? v->R : -1;
        if (v->slot[r] >= 0)
            v->resource[v->R++] = r;
    }
    for (int32_t i = 0; i < v->vm_count; i++) {
        struct spr__fleet_vm *m = &v->vms[i];
        m->anti_group_id = (int32_t)spr__textmap_get(&v->groups, m->anti_affinity);
        m->affinity_vm = (int32_t)spr__textmap_get(&v->vm_by_id, m->affinity);
        m->affinity_group_id = (int32_t)spr__textmap_get(&v->groups, m->affinity);
    }
}
