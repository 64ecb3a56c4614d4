/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Checking a description and laying it out for the lcores: an open-addressed table of addresses, rows by backend index.
 */
#include "snapshot.h"

#include "flow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { LOAD = 4 };         /* slots per entry: a probe is one line */
enum { RETURN_BIT = 128 }; /* in a slot's kind: key is a server behind DNAT */

struct dp_slot {
    uint8_t address[16];
    uint16_t port;
    uint8_t protocol, ip, kind;
    uint8_t used;
    uint16_t pad;
    uint32_t service;
};

/* ---- addresses ---- */

static uint32_t mix(const uint8_t *address, uint8_t ip, uint8_t protocol, uint16_t port) {
    uint64_t a = 0, b = 0;
    memcpy(&a, address, ip == 4 ? 4 : 8);
    if (ip == 6)
        memcpy(&b, address + 8, 8);
    a = (a ^ b * 0x9e3779b97f4a7c15u ^ (uint64_t)port << 32 ^ (uint64_t)protocol << 48) * 0xbf58476d1ce4e5b9u;
    return (uint32_t)(a >> 32) ^ (uint32_t)(a >> 13);
}

static const struct dp_slot *seek(const struct dp_snapshot *s, const uint8_t *address, uint8_t ip, uint8_t protocol,
                                  uint16_t port, uint8_t kind) {
    size_t bytes = ip == 4 ? 4 : 16;
    uint32_t at = mix(address, ip, protocol, port) & s->mask;
    for (;; at = (at + 1) & s->mask) { /* ends: three of four slots are free */
        const struct dp_slot *k = &s->slots[at];
        if (!k->used || (k->port == port && k->protocol == protocol && k->ip == ip && k->kind == kind &&
                         !memcmp(k->address, address, bytes)))
            return k;
    }
}

const struct dp_service *dp_snapshot_find(const struct dp_snapshot *s, const uint8_t *address, uint8_t ip,
                                          uint8_t protocol, uint16_t port) {
    const struct dp_slot *k = seek(s, address, ip, port ? protocol : 0, port, 0);
    return k->used ? &s->services[k->service] : NULL;
}

const struct dp_service *dp_snapshot_find_return(const struct dp_snapshot *s, const struct dp_packet *p) {
    const struct dp_slot *k = seek(s, p->source, p->ip, p->protocol, p->source_port, RETURN_BIT);
    return k->used ? &s->services[k->service] : NULL;
}

/* The first of two that claim one place keeps it. */
static bool put(struct dp_snapshot *s, const uint8_t *address, uint8_t ip, uint8_t protocol, uint16_t port,
                uint8_t kind, uint32_t service) {
    struct dp_slot *k = (struct dp_slot *)(uintptr_t)seek(s, address, ip, protocol, port, kind);
    if (k->used)
        return false;
    *k = (struct dp_slot){.port = port, .protocol = protocol, .ip = ip, .kind = kind, .used = 1, .service = service};
    memcpy(k->address, address, ip == 4 ? 4 : 16);
    return true;
}

/* What is wrong, when nothing that was said is. */
static const char no_memory[] = "out of memory";

/* ---- checking ---- */

static const char *check_service(const struct dp_service_spec *v, const struct dp_snapshot *s) {
    if ((v->at.ip != 4 && v->at.ip != 6) || !v->at.port)
        return "a service needs an address and a port";
    if (v->at.protocol != 6 && v->at.protocol != 17)
        return "a service is TCP or UDP";
    if (!v->front || s->by_front[v->front])
        return "two services with one number";
    if (v->mode > DP_MODE_HOST || v->dead > DP_DEAD_REHASH)
        return "no such mode";
    if (v->primary && (v->primary >= s->backend_count || !s->backends[v->primary].used))
        return "its primary is no backend";
    if (v->idle_s > 200 * DP_TICK_MS / 1000)
        return "idle time is at most 400 s";
    for (uint16_t i = 0; i < v->backend_count; i++)
        if (!v->backends[i] || v->backends[i] >= s->backend_count || !s->backends[v->backends[i]].used)
            return "one of its shards is no backend";
    for (int i = 0; v->rows && i < DP_ROWS; i++)
        if (v->rows[i] > v->backend_count)
            return "its pick table names a shard that it does not have";
    return NULL;
}

/* ---- making ---- */

void dp_snapshot_free(struct dp_snapshot *s) {
    if (!s)
        return;
    for (uint32_t i = 0; i < s->service_count; i++)
        free((void *)(uintptr_t)s->services[i].rows);
    free((void *)(uintptr_t)s->services);
    free((void *)(uintptr_t)s->backends);
    free((void *)(uintptr_t)s->by_front);
    free((void *)(uintptr_t)s->slots);
    free(s);
}

static int reserve(struct dp_snapshot *s, uint32_t services, uint32_t backends) {
    uint32_t size = 64;
    while (size < (services * 2 + backends) * LOAD)
        size *= 2;
    s->mask = size - 1;
    s->services = calloc(services ? services : 1, sizeof *s->services);
    s->backends = aligned_alloc(64, s->backend_count * sizeof *s->backends);
    s->by_front = calloc(DP_SERVICES_MOST + 1, sizeof *s->by_front);
    s->slots = calloc(size, sizeof *s->slots);
    if (!s->services || !s->backends || !s->by_front || !s->slots)
        return -1;
    memset((void *)(uintptr_t)s->backends, 0, s->backend_count * sizeof *s->backends);
    ((struct dp_backend *)(uintptr_t)s->backends)->flow = UINT32_MAX; /* what is not found goes to nobody */
    return 0;
}

static const char *add_backend(struct dp_snapshot *s, const struct dp_backend_spec *b) {
    struct dp_backend *to = (struct dp_backend *)(uintptr_t)&s->backends[b->index];
    const char *why = NULL;
    if (dp_rewrite_make(&b->path, &to->rewrite, &why))
        return why;
    if (to->used)
        return "two backends with one index";
    to->used = true;
    to->generation = b->generation;
    to->alive = b->alive;
    to->flow = b->alive ? dp_flow_value(b->index, DP_FLOW_OPEN, 0, b->generation) : 0;
    to->deadline_ms = b->deadline_ms;
    s->deadlines |= b->deadline_ms != 0;
    s->returns |= b->path.action == DP_ACT_DNAT;
    return NULL;
}

/* Where a server behind DNAT answers from: the service's own port unless the path says another. */
static void add_return(struct dp_snapshot *s, const struct dp_path *path, uint32_t service) {
    const struct dp_address *at = &s->services[service].at;
    if (path->action == DP_ACT_DNAT)
        put(s, path->destination, path->inner_ip, at->protocol,
            path->destination_port ? path->destination_port : at->port, RETURN_BIT, service);
}

static const char *add_service(struct dp_snapshot *s, const struct dp_service_spec *v) {
    const char *why = check_service(v, s);
    if (why)
        return why;
    uint32_t index = s->service_count;
    struct dp_service *to = (struct dp_service *)(uintptr_t)&s->services[index];
    uint16_t *rows = NULL;
    if (v->rows && !(rows = malloc(DP_ROWS * sizeof *rows)))
        return no_memory;
    bool any = false;
    for (int i = 0; rows && i < DP_ROWS; i++) {
        uint16_t backend = v->rows[i] ? v->backends[v->rows[i] - 1] : 0;
        rows[i] = backend && s->backends[backend].alive ? backend : 0;
        any |= rows[i] != 0;
    }
    if (!any) { /* nothing that lives takes new flows */
        free(rows);
        rows = NULL;
    }
    bool tcp = v->at.protocol == 6;
    uint32_t idle_s = v->idle_s ? v->idle_s : tcp ? 300 : 60;
    *to = (struct dp_service){.rows = rows,
                              .learn_until_ms = v->learn_until_ms,
                              .front = v->front,
                              .flows_most = v->flows_most ? v->flows_most : UINT32_MAX,
                              .primary = v->primary,
                              .idle_ticks = (uint16_t)((idle_s * 1000 + DP_TICK_MS - 1) / DP_TICK_MS),
                              .mode = v->mode,
                              .dead = v->dead,
                              .quic = v->quic,
                              .miss_by_table = v->miss_by_table,
                              .tcp = tcp,
                              .at = v->at};
    s->service_count++;
    if (!put(s, v->at.address, v->at.ip, v->at.protocol, v->at.port, 0, index))
        return "two services at one address, protocol and port";
    put(s, v->at.address, v->at.ip, 0, 0, 0, index);
    ((uint32_t *)(uintptr_t)s->by_front)[v->front] = index + 1;
    return NULL;
}

static const char *fill(struct dp_snapshot *s, const struct dp_service_spec *services, uint32_t service_count,
                        const struct dp_backend_spec *backends, uint32_t backend_count, int64_t *which) {
    const char *why = NULL;
    for (uint32_t i = 0; i < backend_count && !why; i++) {
        *which = ~(int64_t)backends[i].index;
        why = add_backend(s, &backends[i]);
    }
    for (uint32_t i = 0; i < service_count && !why; i++) {
        *which = i;
        why = add_service(s, &services[i]);
    }
    for (uint32_t i = 0; i < service_count && !why && s->returns; i++)
        for (uint32_t b = 0; b < backend_count; b++) {
            bool used = services[i].primary == backends[b].index;
            for (uint16_t k = 0; k < services[i].backend_count; k++)
                used |= services[i].backends[k] == backends[b].index;
            if (used)
                add_return(s, &backends[b].path, i);
        }
    return why;
}

int dp_snapshot_make(const struct dp_service_spec *services, uint32_t service_count,
                     const struct dp_backend_spec *backends, uint32_t backend_count, uint64_t generation,
                     struct dp_snapshot **out, const char **why, int64_t *which) {
    uint32_t highest = 0;
    *which = -1;
    for (uint32_t i = 0; i < backend_count; i++) {
        if (!backends[i].index || backends[i].index >= DP_BACKENDS_MOST) {
            *why = "indexes of backends are 1 to 4095";
            *which = ~(int64_t)backends[i].index;
            return -EINVAL;
        }
        highest = backends[i].index > highest ? backends[i].index : highest;
    }
    struct dp_snapshot *s = calloc(1, sizeof *s);
    if (s)
        s->backend_count = highest + 1;
    if (!s || reserve(s, service_count, backend_count)) {
        dp_snapshot_free(s);
        *why = no_memory;
        return -ENOMEM;
    }
    s->generation = generation;
    s->tick_ms = DP_TICK_MS;
    *why = fill(s, services, service_count, backends, backend_count, which);
    if (*why) {
        dp_snapshot_free(s);
        return *why == no_memory ? -ENOMEM : -EINVAL;
    }
    *out = s;
    return 0;
}
