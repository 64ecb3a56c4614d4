/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Names and texts into what snapshots are made of; see config.h. */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC   UINT64_C(0x7370722d64697231)
#define VERSION 2

__attribute__((format(printf, 3, 4))) static int fail(struct dp_why *why, int code, const char *format, ...) {
    va_list list;
    va_start(list, format);
    vsnprintf(why->text, sizeof why->text, format, list);
    va_end(list);
    return code;
}

int dp_opts_copy(const void *given, void *out, size_t known) {
    size_t size;
    memset(out, 0, known);
    memcpy(&size, given, sizeof size);
    if (size < sizeof size)
        return SPR_E_ARG;
    for (size_t i = known; i < size; i++)
        if (((const unsigned char *)given)[i])
            return SPR_E_TOO_NEW;
    memcpy(out, given, size < known ? size : known);
    memcpy(out, &known, sizeof known);
    return SPR_OK;
}

/* ---- directory ---- */

void dp_directory_init(struct dp_directory *d) {
    memset(d, 0, sizeof *d);
    d->version = VERSION;
    d->magic = MAGIC;
}

const char *dp_directory_check(const struct dp_directory *d) {
    if (d->magic != MAGIC)
        return "is no directory of flow tables";
    if (d->version != VERSION)
        return "is of another version";
    for (int i = 0; i < DP_BACKENDS_MOST; i++)
        if (d->backend[i][DP_NAME - 1])
            return "has a name without an end";
    return NULL;
}

static bool in_use(const struct dp_config *c, uint16_t index) {
    for (uint32_t i = 0; i < c->backend_count; i++)
        if (c->backends[i].index == index)
            return true;
    return false;
}

/* The number a name had before, else one never given, else one that nobody uses, with a new generation. 0 = none left.
 */
static uint16_t backend_index(struct dp_directory *d, const struct dp_config *c, const char *name) {
    uint16_t free_one = 0;
    for (uint16_t i = 1; i < DP_BACKENDS_MOST; i++) {
        if (!strcmp(d->backend[i], name))
            return i;
        if (!free_one && !d->backend[i][0])
            free_one = i;
    }
    for (uint16_t i = 1; !free_one && i < DP_BACKENDS_MOST; i++)
        if (!in_use(c, i))
            free_one = i;
    if (!free_one)
        return 0;
    d->generation[free_one]++;
    memset(d->backend[free_one], 0, DP_NAME);
    memcpy(d->backend[free_one], name, strlen(name));
    return free_one;
}

static bool front_in_use(const struct dp_config *c, uint32_t front) {
    for (uint32_t i = 0; i < c->service_count; i++)
        if (c->services[i].front == front)
            return true;
    return false;
}

static uint16_t front_number(struct dp_directory *d, const struct dp_config *c, const struct dp_address *at) {
    uint32_t free_one = 0;
    for (uint32_t i = 1; i <= DP_SERVICES_MOST; i++) {
        if (!memcmp(&d->front[i], at, sizeof *at))
            return (uint16_t)i;
        if (!free_one && !d->front[i].ip)
            free_one = i;
    }
    for (uint32_t i = 1; !free_one && i <= DP_SERVICES_MOST; i++)
        if (!front_in_use(c, i))
            free_one = i;
    if (free_one)
        d->front[free_one] = *at;
    return (uint16_t)free_one;
}

/* ---- copies ---- */

void dp_config_free(struct dp_config *c) {
    for (uint32_t i = 0; i < c->service_count; i++)
        free(c->services[i].targets);
    free(c->services);
    free(c->backends);
    *c = (struct dp_config){0};
}

static void *copy(const void *from, size_t bytes) {
    void *to = malloc(bytes ? bytes : 1);
    if (to && bytes)
        memcpy(to, from, bytes);
    return to;
}

int dp_config_copy(const struct dp_config *from, struct dp_config *to) {
    struct dp_config c = {.backend_count = from->backend_count};
    c.backends = copy(from->backends, from->backend_count * sizeof *c.backends);
    c.services = copy(from->services, from->service_count * sizeof *c.services);
    for (uint32_t i = 0; c.services && i < from->service_count; i++, c.service_count++)
        if (!(c.services[i].targets =
                  copy(from->services[i].targets, from->services[i].target_count * sizeof *c.services->targets)))
            break;
    if (!c.backends || !c.services || c.service_count < from->service_count) {
        dp_config_free(&c);
        return SPR_E_NOMEM;
    }
    *to = c;
    return SPR_OK;
}

/* ---- finding ---- */

struct dp_conf_backend *dp_config_find_backend(const struct dp_config *c, const char *name) {
    for (uint32_t i = 0; name && i < c->backend_count; i++)
        if (!strcmp(c->backends[i].name, name))
            return &c->backends[i];
    return NULL;
}

struct dp_conf_service *dp_config_find_service(const struct dp_config *c, const char *name) {
    for (uint32_t i = 0; name && i < c->service_count; i++)
        if (!strcmp(c->services[i].name, name))
            return &c->services[i];
    return NULL;
}

const char *dp_config_backend_name(const struct dp_config *c, uint16_t index) {
    for (uint32_t i = 0; i < c->backend_count; i++)
        if (c->backends[i].index == index)
            return c->backends[i].name;
    return NULL;
}

/* ---- texts ---- */

static int parse_mac(const char *text, uint8_t *mac) {
    unsigned v[6];
    char end;
    if (!text || sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%c", v, v + 1, v + 2, v + 3, v + 4, v + 5, &end) != 6)
        return -1;
    for (int i = 0; i < 6; i++)
        mac[i] = (uint8_t)v[i];
    return 0;
}

static uint8_t parse_address(const char *text, uint8_t *address) {
    memset(address, 0, 16);
    if (text && inet_pton(AF_INET, text, address) == 1)
        return 4;
    return text && inet_pton(AF_INET6, text, address) == 1 ? 6 : 0;
}

static int check_name(const char *name, const char *what, struct dp_why *why) {
    if (!name || !*name || strlen(name) >= DP_NAME)
        return fail(why, SPR_E_ARG, "a %s needs a name of 1 to %d bytes", what, DP_NAME - 1);
    return SPR_OK;
}

/* ---- backends ---- */

static int read_macs(const struct spr_dpdk_backend *b, const uint8_t *port_mac, struct dp_path *p, struct dp_why *why) {
    bool frames = b->action == SPR_DPDK_VXLAN || b->action == SPR_DPDK_GENEVE;
    memcpy(p->source_mac, port_mac, 6);
    if (b->action != SPR_DPDK_PASS && parse_mac(b->mac, p->destination_mac))
        return fail(why, SPR_E_ARG, "backend '%s': mac '%s' is no MAC address", b->name, b->mac ? b->mac : "");
    if (b->source_mac && parse_mac(b->source_mac, p->source_mac))
        return fail(why, SPR_E_ARG, "backend '%s': source_mac '%s' is no MAC address", b->name, b->source_mac);
    memcpy(p->inner_source_mac, p->source_mac, 6);
    if (frames && parse_mac(b->inner_mac, p->inner_destination_mac))
        return fail(why, SPR_E_ARG, "backend '%s': inner_mac '%s' is no MAC address", b->name,
                    b->inner_mac ? b->inner_mac : "");
    if (b->inner_source_mac && parse_mac(b->inner_source_mac, p->inner_source_mac))
        return fail(why, SPR_E_ARG, "backend '%s': inner_source_mac '%s' is no MAC address", b->name,
                    b->inner_source_mac);
    return SPR_OK;
}

static int read_addresses(const struct spr_dpdk_backend *b, struct dp_path *p, struct dp_why *why) {
    bool tunnel = b->action == SPR_DPDK_VXLAN || b->action == SPR_DPDK_GENEVE || b->action == SPR_DPDK_IPIP;
    if (!tunnel && b->action != SPR_DPDK_DNAT)
        return SPR_OK;
    uint8_t ip = parse_address(b->address, p->destination);
    if (!ip)
        return fail(why, SPR_E_ARG, "backend '%s': address '%s' is no IP address", b->name,
                    b->address ? b->address : "");
    if (tunnel && parse_address(b->source_address, p->source) != ip)
        return fail(why, SPR_E_ARG, "backend '%s': source_address '%s' is no IPv%d address", b->name,
                    b->source_address ? b->source_address : "", ip);
    *(tunnel ? &p->outer_ip : &p->inner_ip) = ip;
    return SPR_OK;
}

static int read_path(const struct spr_dpdk_backend *b, const uint8_t (*port_mac)[6], int32_t port_count,
                     struct dp_path *p, struct dp_why *why) {
    static const int actions[] = {
        [SPR_DPDK_L2] = DP_ACT_L2,     [SPR_DPDK_VXLAN] = DP_ACT_VXLAN, [SPR_DPDK_GENEVE] = DP_ACT_GENEVE,
        [SPR_DPDK_IPIP] = DP_ACT_IPIP, [SPR_DPDK_DNAT] = DP_ACT_DNAT,   [SPR_DPDK_PASS] = DP_ACT_PASS};
    if (b->action < 0 || b->action > SPR_DPDK_PASS)
        return fail(why, SPR_E_ARG, "backend '%s': no such action %d", b->name, b->action);
    if (b->port < 0 || b->port >= port_count)
        return fail(why, SPR_E_ARG, "backend '%s': port %d of %d", b->name, b->port, port_count);
    if (b->vlan < 0 || b->vlan > 4094 || b->mtu < 0 || b->mtu > 65535 || b->vni < 0 || b->vni >= 1 << 24 ||
        b->service_port < 0 || b->service_port > 65535)
        return fail(why, SPR_E_ARG, "backend '%s': vlan, mtu, vni or service_port is out of range", b->name);
    *p = (struct dp_path){.action = actions[b->action],
                          .port = (uint16_t)b->port,
                          .vlan = (uint16_t)b->vlan,
                          .mtu = (uint16_t)b->mtu,
                          .vni = (uint32_t)b->vni,
                          .destination_port = htons((uint16_t)b->service_port)};
    int rc = read_macs(b, port_mac[b->port], p, why);
    return rc < 0 ? rc : read_addresses(b, p, why);
}

int dp_config_backend(struct dp_config *c, struct dp_directory *d, const struct spr_dpdk_backend *b,
                      const uint8_t (*port_mac)[6], int32_t port_count, struct dp_why *why) {
    struct dp_path path;
    struct dp_rewrite unused;
    const char *wrong = NULL;
    int rc = check_name(b->name, "backend", why);
    if (rc >= 0)
        rc = read_path(b, port_mac, port_count, &path, why);
    if (rc < 0)
        return rc;
    if (dp_rewrite_make(&path, &unused, &wrong))
        return fail(why, SPR_E_ARG, "backend '%s': %s", b->name, wrong);
    struct dp_conf_backend *to = dp_config_find_backend(c, b->name);
    if (!to) {
        struct dp_conf_backend *grown = realloc(c->backends, (c->backend_count + 1) * sizeof *grown);
        if (!grown)
            return fail(why, SPR_E_NOMEM, "out of memory");
        c->backends = grown;
        uint16_t index = backend_index(d, c, b->name); /* after what can fail: the directory does not forget */
        if (!index)
            return fail(why, SPR_E_CAPACITY, "backend '%s': there are %d already", b->name, DP_BACKENDS_MOST - 1);
        to = &grown[c->backend_count++];
        *to = (struct dp_conf_backend){.index = index, .alive = true};
        memcpy(to->name, b->name, strlen(b->name));
    }
    to->path = path;
    return SPR_OK;
}

int dp_config_backend_remove(struct dp_config *c, const char *name, struct dp_why *why) {
    struct dp_conf_backend *b = dp_config_find_backend(c, name);
    if (!b)
        return fail(why, SPR_E_NOT_FOUND, "there is no backend '%s'", name ? name : "");
    for (uint32_t i = 0; i < c->service_count; i++) {
        bool uses = c->services[i].primary == b->index || c->services[i].promoted == b->index;
        for (uint16_t k = 0; k < c->services[i].target_count; k++)
            uses |= c->services[i].targets[k].backend == b->index &&
                    (c->services[i].targets[k].goal > 0 || c->services[i].targets[k].most > 0);
        if (uses)
            return fail(why, SPR_E_BUSY, "backend '%s' is used by service '%s'", name, c->services[i].name);
    }
    for (uint32_t i = 0; i < c->service_count; i++) {
        struct dp_conf_service *s = &c->services[i];
        for (uint16_t k = 0; k < s->target_count; k++)
            if (s->targets[k].backend == b->index)
                s->targets[k--] = s->targets[--s->target_count];
    }
    *b = c->backends[--c->backend_count];
    return SPR_OK;
}

int dp_config_drain(struct dp_config *c, const char *backend, double deadline_s, uint64_t now_ms, struct dp_why *why) {
    struct dp_conf_backend *b = dp_config_find_backend(c, backend);
    if (!b)
        return fail(why, SPR_E_NOT_FOUND, "there is no backend '%s'", backend ? backend : "");
    if (!(deadline_s >= 0 && deadline_s <= 1e9))
        return fail(why, SPR_E_ARG, "backend '%s': the deadline is not a number of seconds", backend);
    for (uint32_t i = 0; i < c->service_count; i++)
        for (uint16_t k = 0; k < c->services[i].target_count; k++)
            if (c->services[i].targets[k].backend == b->index)
                c->services[i].targets[k].goal = c->services[i].targets[k].share = c->services[i].targets[k].most = 0;
    b->draining = true;
    b->deadline_ms = deadline_s > 0 ? now_ms + (uint64_t)(deadline_s * 1000) + 1 : 0;
    return SPR_OK;
}

/* A dead backend's flows are nobody's: one that comes back does not know them. */
int dp_config_alive(struct dp_config *c, const char *backend, bool alive, struct dp_why *why) {
    struct dp_conf_backend *b = dp_config_find_backend(c, backend);
    if (!b)
        return fail(why, SPR_E_NOT_FOUND, "there is no backend '%s'", backend ? backend : "");
    b->died |= b->alive && !alive;
    b->alive = alive;
    return SPR_OK;
}

void dp_config_settle(struct dp_config *c, struct dp_directory *d) {
    for (uint32_t i = 0; i < c->backend_count; i++) {
        d->generation[c->backends[i].index] += c->backends[i].died;
        c->backends[i].died = false;
    }
}

/* ---- services ---- */

int dp_config_service(struct dp_config *c, struct dp_directory *d, const struct spr_dpdk_service *s,
                      struct dp_why *why) {
    static const uint8_t dead[] = {DP_DEAD_PRIMARY, DP_DEAD_RESET, DP_DEAD_DROP, DP_DEAD_REHASH};
    struct dp_address at = {0};
    int rc = check_name(s->name, "service", why);
    if (rc < 0)
        return rc;
    at.ip = parse_address(s->address, at.address);
    at.protocol = (uint8_t)s->protocol;
    at.port = htons((uint16_t)s->port);
    const struct dp_conf_backend *primary = dp_config_find_backend(c, s->primary);
    if (!at.ip)
        return fail(why, SPR_E_ARG, "service '%s': address '%s' is no IP address", s->name,
                    s->address ? s->address : "");
    if (s->protocol != 6 && s->protocol != 17)
        return fail(why, SPR_E_ARG, "service '%s': protocol %d is neither 6 (TCP) nor 17 (UDP)", s->name, s->protocol);
    if (s->port < 1 || s->port > 65535)
        return fail(why, SPR_E_ARG, "service '%s': port %d", s->name, s->port);
    if (!primary)
        return fail(why, SPR_E_NOT_FOUND, "service '%s': its primary '%s' is no backend", s->name,
                    s->primary ? s->primary : "");
    if (s->on_dead < 0 || (size_t)s->on_dead >= sizeof dead || !(s->idle_s >= 0 && s->idle_s <= 400) ||
        !(s->learn_s >= 0 && s->learn_s <= 3600))
        return fail(why, SPR_E_ARG, "service '%s': on_dead, idle_s or learn_s is out of range", s->name);
    struct dp_conf_service *to = dp_config_find_service(c, s->name);
    for (uint32_t i = 0; i < c->service_count; i++)
        if (&c->services[i] != to && !memcmp(&c->services[i].at, &at, sizeof at))
            return fail(why, SPR_E_ARG, "service '%s' is where service '%s' is", s->name, c->services[i].name);
    if (!to) {
        struct dp_conf_service *grown = realloc(c->services, (c->service_count + 1) * sizeof *grown);
        if (!grown)
            return fail(why, SPR_E_NOMEM, "out of memory");
        c->services = grown;
    }
    uint16_t front = front_number(d, c, &at); /* likewise */
    if (!front)
        return fail(why, SPR_E_CAPACITY, "service '%s': there are %d already", s->name, DP_SERVICES_MOST);
    if (!to) {
        to = &c->services[c->service_count++];
        *to = (struct dp_conf_service){0};
        memcpy(to->name, s->name, strlen(s->name));
    }
    to->at = at;
    to->front = front;
    to->primary = primary->index;
    to->dead = dead[s->on_dead];
    to->quic = s->quic;
    to->pair = s->pair;
    to->host = s->host;
    to->flows_most = s->flows_most;
    to->idle_s = (uint32_t)ceil(s->idle_s);
    to->learn_s = s->learn_s > 0 ? s->learn_s : 10;
    return SPR_OK;
}

int dp_config_service_remove(struct dp_config *c, const char *name, struct dp_why *why) {
    struct dp_conf_service *s = dp_config_find_service(c, name);
    if (!s)
        return fail(why, SPR_E_NOT_FOUND, "there is no service '%s'", name ? name : "");
    free(s->targets);
    *s = c->services[--c->service_count];
    return SPR_OK;
}

int dp_config_promote(struct dp_config *c, const char *service, const char *backend, struct dp_why *why) {
    struct dp_conf_service *s = dp_config_find_service(c, service);
    const struct dp_conf_backend *b = backend ? dp_config_find_backend(c, backend) : NULL;
    if (!s)
        return fail(why, SPR_E_NOT_FOUND, "there is no service '%s'", service ? service : "");
    if (backend && !b)
        return fail(why, SPR_E_NOT_FOUND, "service '%s': '%s', which takes its primary's place, is no backend", service,
                    backend);
    s->promoted = b ? b->index : 0;
    return SPR_OK;
}

/* ---- spilling ---- */

static struct dp_target *target_of(struct dp_conf_service *s, uint16_t backend) {
    for (uint16_t k = 0; k < s->target_count; k++)
        if (s->targets[k].backend == backend)
            return &s->targets[k];
    return NULL;
}

static int check_weights(const struct dp_config *c, const char *service, const char *const *backends,
                         const double *weights, size_t count, struct dp_why *why) {
    double sum = 0;
    if (count > DP_TARGETS_MOST)
        return fail(why, SPR_E_ARG, "service '%s': at most %d shards", service, DP_TARGETS_MOST);
    for (size_t k = 0; k < count; k++) {
        const struct dp_conf_backend *b = dp_config_find_backend(c, backends[k]);
        if (!b)
            return fail(why, SPR_E_NOT_FOUND, "service '%s': there is no backend '%s'", service,
                        backends[k] ? backends[k] : "");
        if (!(weights[k] >= 0 && weights[k] <= 1))
            return fail(why, SPR_E_ARG, "service '%s': the share of '%s' is not within 0 to 1", service, backends[k]);
        for (size_t i = 0; i < k; i++)
            if (!strcmp(backends[i], backends[k]))
                return fail(why, SPR_E_ARG, "service '%s': '%s' is named twice", service, backends[k]);
        if (b->draining && weights[k] > 0)
            return fail(why, SPR_E_ARG, "service '%s': backend '%s' is draining", service, backends[k]);
        sum += weights[k];
    }
    if (sum > 1 + 1e-9)
        return fail(why, SPR_E_ARG, "service '%s': the shares sum to %g, above 1", service, sum);
    return SPR_OK;
}

/* All of `backends` among the service's targets. */
static int add_targets(struct dp_config *c, struct dp_conf_service *s, const char *const *backends, size_t count,
                       struct dp_why *why) {
    struct dp_target *grown = realloc(s->targets, (s->target_count + count + 1) * sizeof *grown);
    if (!grown)
        return fail(why, SPR_E_NOMEM, "out of memory");
    s->targets = grown;
    for (size_t k = 0; k < count; k++) {
        uint16_t index = dp_config_find_backend(c, backends[k])->index;
        if (!target_of(s, index))
            s->targets[s->target_count++] = (struct dp_target){.backend = index};
    }
    return SPR_OK;
}

int dp_config_spill(struct dp_config *c, const char *service, const char *const *backends, const double *weights,
                    size_t count, double ramp_per_s, struct dp_why *why) {
    struct dp_conf_service *s = dp_config_find_service(c, service);
    if (!s)
        return fail(why, SPR_E_NOT_FOUND, "there is no service '%s'", service ? service : "");
    if (!(ramp_per_s >= 0 && ramp_per_s < INFINITY))
        return fail(why, SPR_E_ARG, "service '%s': the ramp is not a share per second", service);
    int rc = check_weights(c, service, backends, weights, count, why);
    if (rc < 0)
        return rc;
    if ((rc = add_targets(c, s, backends, count, why)) < 0)
        return rc;
    for (uint16_t k = 0; k < s->target_count; k++)
        s->targets[k].goal = 0;
    for (size_t k = 0; k < count; k++)
        target_of(s, dp_config_find_backend(c, backends[k])->index)->goal = weights[k];
    s->ramp_per_s = ramp_per_s;
    for (uint16_t k = 0; k < s->target_count && ramp_per_s == 0; k++)
        s->targets[k].share = s->targets[k].goal;
    return SPR_OK;
}

/* ---- spikes ---- */

int dp_config_spike(struct dp_config *c, const char *service, const char *const *backends, const double *weights,
                    size_t count, struct dp_why *why) {
    struct dp_conf_service *s = dp_config_find_service(c, service);
    if (!s)
        return fail(why, SPR_E_NOT_FOUND, "there is no service '%s'", service ? service : "");
    int rc = check_weights(c, service, backends, weights, count, why);
    if (rc < 0 || (rc = add_targets(c, s, backends, count, why)) < 0)
        return rc;
    for (uint16_t k = 0; k < s->target_count; k++)
        s->targets[k].most = 0;
    for (size_t k = 0; k < count; k++)
        target_of(s, dp_config_find_backend(c, backends[k])->index)->most = weights[k];
    return SPR_OK;
}

static double more_of(const struct dp_target *t) { return fmax(0, t->most - t->share); }

static double base_of(const struct dp_conf_service *s) {
    double sum = 0;
    for (uint16_t k = 0; k < s->target_count; k++)
        sum += s->targets[k].share;
    return sum;
}

double dp_config_spike_most(const struct dp_conf_service *s) {
    double sum = base_of(s);
    for (uint16_t k = 0; k < s->target_count; k++)
        sum += more_of(&s->targets[k]);
    return fmin(1, sum);
}

bool dp_config_spike_to(struct dp_conf_service *s, double total) {
    double extra = fmax(0, fmin(total, dp_config_spike_most(s)) - base_of(s));
    bool changed = extra != s->extra;
    s->extra = extra;
    return changed;
}

/* What a spike adds goes where there is room, in proportion to it. */
static double share_of(const struct dp_conf_service *s, uint16_t k) {
    double room = 0;
    for (uint16_t i = 0; i < s->target_count; i++)
        room += more_of(&s->targets[i]);
    double extra = room > 0 ? fmin(s->extra, room) * more_of(&s->targets[k]) / room : 0;
    return fmin(1, s->targets[k].share + extra);
}

double dp_config_share(const struct dp_conf_service *s) {
    double sum = 0;
    for (uint16_t k = 0; k < s->target_count; k++)
        sum += share_of(s, k);
    return sum < 1 ? sum : 1;
}

/* All shares move together, so that the sum moves by the ramp and no shard runs ahead of the others. */
static bool ramp(struct dp_conf_service *s, double seconds) {
    double way = 0;
    for (uint16_t k = 0; k < s->target_count; k++)
        way += fabs(s->targets[k].goal - s->targets[k].share);
    if (way == 0)
        return false;
    double part = s->ramp_per_s > 0 ? fmin(1, s->ramp_per_s * seconds / way) : 1;
    for (uint16_t k = 0; k < s->target_count; k++) {
        struct dp_target *t = &s->targets[k];
        t->share = part == 1 ? t->goal : t->share + part * (t->goal - t->share);
    }
    return part > 0;
}

bool dp_config_ramp(struct dp_config *c, double seconds, uint64_t now_ms) {
    bool moved = false;
    for (uint32_t i = 0; i < c->service_count; i++) {
        struct dp_conf_service *s = &c->services[i];
        moved |= ramp(s, seconds);
        if (!s->spilling && dp_config_share(s) > 0) {
            s->spilling = moved = true;
            s->learn_until_ms = now_ms + (uint64_t)(s->learn_s * 1000);
        }
    }
    return moved;
}

/* ---- snapshots ---- */

/* Name of a backend as the number that pick tables are made of: two routers that know the same names agree. */
static uint64_t name_hash(const char *name) {
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
    return h ? h : 1;
}

static int make_rows(const struct dp_config *c, const struct dp_conf_service *s, uint16_t *rows, uint16_t *backends,
                     struct dp_why *why) {
    uint64_t ids[DP_TARGETS_MOST];
    double weights[DP_TARGETS_MOST];
    uint8_t dead[DP_TARGETS_MOST];
    size_t n = 0;
    for (uint16_t k = 0; k < s->target_count && n < DP_TARGETS_MOST; k++) {
        const char *name = dp_config_backend_name(c, s->targets[k].backend);
        double share = share_of(s, k);
        if (!(share > 0) || !name)
            continue;
        ids[n] = name_hash(name);
        weights[n] = share;
        dead[n] = !dp_config_find_backend(c, name)->alive;
        backends[n++] = s->targets[k].backend;
    }
    struct spr_route_shares shares = {.size = sizeof shares,
                                      .service = s->name,
                                      .shards = ids,
                                      .weights = weights,
                                      .count = n,
                                      .spill = dp_config_share(s),
                                      .dead = dead,
                                      .on_dead = s->dead};
    int rc = spr_route_table(&shares, rows);
    return rc < 0 ? fail(why, rc, "service '%s': no pick table can be made of its shares", s->name) : (int)n;
}

static void describe(const struct dp_conf_service *s, struct dp_service_spec *to) {
    *to = (struct dp_service_spec){.at = s->at,
                                   .front = s->front,
                                   .primary = s->promoted ? s->promoted : s->primary,
                                   .dead = s->dead,
                                   .quic = s->quic,
                                   .miss_by_table = s->pair,
                                   .idle_s = s->idle_s,
                                   .learn_until_ms = s->learn_until_ms,
                                   .flows_most = s->flows_most > UINT32_MAX ? UINT32_MAX : (uint32_t)s->flows_most,
                                   .mode = s->host       ? DP_MODE_HOST
                                           : s->spilling ? DP_MODE_SPILL
                                                         : DP_MODE_NORMAL};
}

struct room { /* everything a snapshot is made of, for the time of its making */
    struct dp_service_spec *services;
    struct dp_backend_spec *backends;
    uint16_t *rows, *targets;
};

static int fill(const struct dp_config *c, const struct dp_directory *d, struct room *m, struct dp_why *why) {
    size_t spilling = 0;
    for (uint32_t i = 0; i < c->backend_count; i++) {
        const struct dp_conf_backend *b = &c->backends[i];
        m->backends[i] = (struct dp_backend_spec){.path = b->path,
                                                  .index = b->index,
                                                  .alive = b->alive,
                                                  .generation = (uint8_t)(d->generation[b->index] + b->died),
                                                  .deadline_ms = b->deadline_ms};
    }
    for (uint32_t i = 0; i < c->service_count; i++) {
        const struct dp_conf_service *s = &c->services[i];
        describe(s, &m->services[i]);
        const char *primary = dp_config_backend_name(c, m->services[i].primary);
        if (primary && !dp_config_find_backend(c, primary)->alive)
            m->services[i].primary = 0;
        if (!(dp_config_share(s) > 0))
            continue;
        uint16_t *rows = m->rows + spilling * DP_ROWS, *targets = m->targets + spilling * DP_TARGETS_MOST;
        int n = make_rows(c, s, rows, targets, why);
        if (n < 0)
            return n;
        m->services[i].rows = rows;
        m->services[i].backends = targets;
        m->services[i].backend_count = (uint16_t)n;
        spilling++;
    }
    return SPR_OK;
}

static int not_made(const struct dp_config *c, int made, const char *wrong, int64_t which, struct dp_why *why) {
    if (made == -ENOMEM)
        return fail(why, SPR_E_NOMEM, "%s", wrong);
    const char *name = which >= 0 ? c->services[which].name : dp_config_backend_name(c, (uint16_t)~which);
    return fail(why, SPR_E_ARG, "'%s': %s", name ? name : "?", wrong);
}

int dp_config_snapshot(const struct dp_config *c, const struct dp_directory *d, uint64_t generation,
                       struct dp_snapshot **out, struct dp_why *why) {
    size_t spilling = 1;
    int64_t which = 0;
    const char *wrong = NULL;
    for (uint32_t i = 0; i < c->service_count; i++)
        spilling += dp_config_share(&c->services[i]) > 0;
    struct room m = {.services = calloc(c->service_count + 1, sizeof *m.services),
                     .backends = calloc(c->backend_count + 1, sizeof *m.backends),
                     .rows = malloc(spilling * DP_ROWS * sizeof *m.rows),
                     .targets = malloc(spilling * DP_TARGETS_MOST * sizeof *m.targets)};
    int rc =
        m.services && m.backends && m.rows && m.targets ? fill(c, d, &m, why) : fail(why, SPR_E_NOMEM, "out of memory");
    if (rc >= 0) {
        int made = dp_snapshot_make(m.services, c->service_count, m.backends, c->backend_count, generation, out, &wrong,
                                    &which);
        rc = made ? not_made(c, made, wrong, which, why) : SPR_OK;
    }
    free(m.services);
    free(m.backends);
    free(m.rows);
    free(m.targets);
    return rc;
}
