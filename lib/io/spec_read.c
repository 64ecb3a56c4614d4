/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Fleets as files write them: doc/formats.md, "Fleet"; doc/schema/fleet.json. */
#include <stdlib.h>

#include "spec.h"

#define KEYS(d, n, what, ...)                                                                                          \
    do {                                                                                                               \
        static const char *const keys_[] = {__VA_ARGS__};                                                              \
        spr__doc_keys(d, n, what, keys_, SPR_ARRAY_LEN(keys_));                                                        \
    } while (0)

enum { HOSTS_MOST = 1000000 };

static int reserve(struct spr__doc *d, void **block, size_t *cap, size_t need, size_t each) {
    if (d->rc >= 0)
        d->rc = spr__io_reserve(d->ctx, block, cap, need, each);
    return d->rc;
}

/* A standard resource, one that the trace's map names, or a countable one that only hosts have. */
int spr__spec_resource(struct spr__doc *d, spr__node *at, struct spr__spec *s, const char *name) {
    int r = spr_resource_find(name), room = -1;
    for (int i = SPR_RESOURCE_COUNTABLE; r < 0 && i < SPR_RESOURCES_MAX; i++) {
        struct spr_resource_info info = {.size = sizeof info};
        const char *known = spr_trace_resource(s->trace, i, &info) >= 0 ? info.name : s->names[i];
        if (known && !strcmp(known, name))
            r = i;
        else if (!known && room < 0)
            room = i;
    }
    if (r >= 0)
        return r;
    if (room < 0)
        return spr__doc_fail(d, at, "'%s': more countable resources than %d", name,
                             SPR_RESOURCES_MAX - SPR_RESOURCE_COUNTABLE);
    if (!(s->names[room] = spr__io_strdup(d->ctx, name)))
        d->rc = SPR_E_NOMEM;
    return d->rc < 0 ? d->rc : room;
}

static char *key_text(struct spr__doc *d, const char *key, size_t length) {
    char *text = spr__io_strndup(d->ctx, key, length);
    if (!text)
        d->rc = SPR_E_NOMEM;
    return text;
}

static void read_countable(struct spr__doc *d, spr__node *n, struct spr__spec *s, struct spr_amounts *out) {
    void *at = NULL;
    const char *key;
    size_t length;
    if (n && d->rc >= 0 && spr__doc_kind(n) != SPR__MAPPING)
        spr__doc_fail(d, n, "countable must map names to amounts");
    for (spr__node *v; n && (v = spr__doc_next_pair(d, n, &at, &key, &length));) {
        char *name = key_text(d, key, length);
        int r = name ? spr__spec_resource(d, v, s, name) : -1;
        if (r >= 0)
            spr__doc_number(d, v, 0, 1e18, &out->of[r]);
        spr__io_strfree(d->ctx, name);
    }
}

/* cpu_cores, memory_bytes, net_bps (both ways), ... */
static void read_amounts(struct spr__doc *d, spr__node *n, struct spr__spec *s, struct spr_amounts *out) {
    double net = 0, disk = 0;
    spr__doc_number(d, spr__doc_get(d, n, "net_bps"), 0, 1e18, &net);
    spr__doc_number(d, spr__doc_get(d, n, "disk_Bps"), 0, 1e18, &disk);
    out->of[SPR_NET_RX] = out->of[SPR_NET_TX] = net;
    out->of[SPR_DISK_READ] = out->of[SPR_DISK_WRITE] = disk;
    spr__doc_number(d, spr__doc_get(d, n, "cpu_cores"), 0, 1e12, &out->of[SPR_CPU]);
    spr__doc_number(d, spr__doc_get(d, n, "memory_bytes"), 0, 1e18, &out->of[SPR_MEMORY]);
    spr__doc_number(d, spr__doc_get(d, n, "net_rx_bps"), 0, 1e18, &out->of[SPR_NET_RX]);
    spr__doc_number(d, spr__doc_get(d, n, "net_tx_bps"), 0, 1e18, &out->of[SPR_NET_TX]);
    spr__doc_number(d, spr__doc_get(d, n, "disk_read_Bps"), 0, 1e18, &out->of[SPR_DISK_READ]);
    spr__doc_number(d, spr__doc_get(d, n, "disk_write_Bps"), 0, 1e18, &out->of[SPR_DISK_WRITE]);
    read_countable(d, spr__doc_get(d, n, "countable"), s, out);
}

/* ---- hosts ---- */

static void read_power(struct spr__doc *d, spr__node *n, struct spr_host *h) {
    void *at = NULL;
    if (n && spr__doc_count(n) != SPR_POWER_POINTS)
        spr__doc_fail(d, n, "power_w must list %d powers: at 0 %%, 10 %%, ... 100 %% load", SPR_POWER_POINTS);
    for (int i = 0; n && d->rc >= 0 && i < SPR_POWER_POINTS; i++)
        spr__doc_number(d, spr__doc_next(n, &at), 0, 1e9, &h->power_w[i]);
}

static void add_host(struct spr__doc *d, struct spr__spec *s, const struct spr_host *h, char *id, const char *rack,
                     const char *zone) {
    struct spr__spec_host row = {.id = id, .host = *h};
    if (!id || reserve(d, (void **)&s->hosts, &s->host_cap, s->host_count + 1, sizeof row) < 0) {
        spr__io_strfree(d->ctx, id);
        d->rc = SPR_E_NOMEM;
        return;
    }
    row.rack = rack ? spr__io_strdup(d->ctx, rack) : NULL;
    row.zone = zone ? spr__io_strdup(d->ctx, zone) : NULL;
    s->hosts[s->host_count++] = row;
    if ((rack && !row.rack) || (zone && !row.zone))
        d->rc = SPR_E_NOMEM;
}

static void read_host(struct spr__doc *d, spr__node *n, struct spr__spec *s) {
    struct spr_host h = {.size = sizeof h};
    double speed = 1;
    int64_t count = 1;
    KEYS(d, n, "a host", "id", "count", "cpu_cores", "cpu_speed", "memory_bytes", "net_bps", "net_rx_bps", "net_tx_bps",
         "disk_Bps", "disk_read_Bps", "disk_write_Bps", "rack", "zone", "power_w", "countable");
    spr__node *many = spr__doc_get(d, n, "count");
    char *id = spr__doc_text(d, spr__doc_need(d, n, "id")), *rack = spr__doc_text(d, spr__doc_get(d, n, "rack")),
         *zone = spr__doc_text(d, spr__doc_get(d, n, "zone"));
    spr__doc_integer(d, many, 1, HOSTS_MOST, &count);
    spr__doc_number(d, spr__doc_get(d, n, "cpu_speed"), 1e-6, 1e6, &speed);
    read_amounts(d, n, s, &h.capacity);
    h.capacity.of[SPR_CPU] *= speed;
    read_power(d, spr__doc_get(d, n, "power_w"), &h);
    for (int64_t i = 0; i < count && d->rc >= 0; i++)
        add_host(d, s, &h, many ? spr__io_printf(d->ctx, "%s%lld", id, (long long)i) : spr__io_strdup(d->ctx, id), rack,
                 zone);
    spr__io_strfree(d->ctx, id);
    spr__io_strfree(d->ctx, rack);
    spr__io_strfree(d->ctx, zone);
}

static void read_capacity(struct spr__doc *d, spr__node *n, struct spr__spec *s, int r) {
    struct spr__capacity *c = &s->capacity[r];
    double value = 0;
    size_t count;
    const char *const *units = spr__unit_names(&count);
    c->given = true;
    if (spr__doc_kind(n) == SPR__SCALAR) {
        spr__doc_number(d, n, 1e-12, 1e18, &c->value);
        return;
    }
    KEYS(d, n, "a capacity", "value", "unit", "rule", "rho");
    spr__node *v = spr__doc_get(d, n, "value"), *rule = spr__doc_get(d, n, "rule"), *rho = spr__doc_get(d, n, "rho"),
              *unit = spr__doc_get(d, n, "unit");
    spr__doc_choice(d, unit, units, count, &s->unit[r]);
    if (unit && d->rc >= 0 &&
        (!spr__unit_fits(s->unit[r], r) || s->unit[r] == SPR__UNIT_PERCENT || s->unit[r] == SPR__UNIT_FRACTION))
        spr__doc_fail(d, unit, "'%s' is no unit of this capacity", spr__unit_name(s->unit[r]));
    spr__doc_number(d, v, 1e-12, 1e18, &value);
    spr__doc_number(d, rho, 1e-6, 1e6, &c->rho);
    c->value = value * spr__unit_factor(s->unit[r], r, 0);
    c->by_rule = !v;
    if (d->rc >= 0 && !v && (!rule || !rho))
        spr__doc_fail(d, n, "a capacity needs a value, or a rule with rho");
}

/* Equal hosts: {count: 20, cpu: 16} or {count: 20, cpu: {rule, rho, value, unit}}. */
static void read_equal_hosts(struct spr__doc *d, spr__node *n, struct spr__spec *s) {
    int64_t count = 0;
    void *at = NULL;
    const char *key;
    size_t length;
    spr__doc_integer(d, spr__doc_need(d, n, "count"), 1, HOSTS_MOST, &count);
    for (spr__node *v; (v = spr__doc_next_pair(d, n, &at, &key, &length));) {
        char *name = key_text(d, key, length);
        struct spr_resource_info info = {.size = sizeof info};
        int r = name && strcmp(name, "count") ? spr_resource_find(name) : -1;
        for (int i = SPR_RESOURCE_COUNTABLE; name && r < 0 && i < SPR_RESOURCES_MAX; i++)
            if (spr_trace_resource(s->trace, i, &info) >= 0 && !strcmp(info.name, name))
                r = i;
        if (r >= 0)
            read_capacity(d, v, s, r);
        else if (name && strcmp(name, "count"))
            spr__doc_fail(d, v, "hosts: unknown key '%.60s'; count and the names of resources are known", name);
        spr__io_strfree(d->ctx, name);
    }
    for (int r = 0; r < SPR_RESOURCES_MAX; r++)
        if (d->rc >= 0 && (s->resources >> r & 1) && !s->capacity[r].given)
            spr__doc_fail(d, n, "hosts: a capacity is missing for one of the scenario's resources (number %d)", r);
    if (d->rc >= 0)
        d->rc = spr__spec_equal_hosts(s, count);
}

void spr__spec_hosts(struct spr__doc *d, spr__node *n, struct spr__spec *s) {
    void *at = NULL;
    if (d->rc < 0)
        return;
    if (spr__doc_kind(n) == SPR__MAPPING)
        read_equal_hosts(d, n, s);
    else if (spr__doc_kind(n) != SPR__LIST || !spr__doc_count(n))
        spr__doc_fail(d, n, "hosts must list at least one host");
    for (spr__node *v; d->rc >= 0 && (v = spr__doc_next(n, &at));)
        read_host(d, v, s);
}

/* ---- VMs ---- */

static void read_rule(struct spr__doc *d, spr__node *n, struct spr__spec *s) {
    static const char *const policies[] = {"never", "template", "image"};
    int policy = 0;
    int64_t shards = 0, priority = 0;
    KEYS(d, n, "a VM", "match", "replica", "spillable", "flow_lifetime_s", "group", "affinity", "anti_affinity", "min",
         "max", "priority", "hosts_allowed", "shards_at_most");
    if (reserve(d, (void **)&s->rules, &s->rule_cap, s->rule_count + 1, sizeof *s->rules) < 0)
        return;
    struct spr__rule *r = &s->rules[s->rule_count++];
    *r = (struct spr__rule){0};
    r->match = spr__doc_text(d, spr__doc_need(d, n, "match"));
    spr__doc_choice(d, spr__doc_get(d, n, "replica"), policies, 3, &policy);
    r->vm.replica = policy;
    spr__doc_number(d, spr__doc_get(d, n, "spillable"), 0, 1, &r->vm.spillable);
    spr__doc_number(d, spr__doc_get(d, n, "flow_lifetime_s"), 0, 1e9, &r->vm.flow_lifetime_s);
    r->group = spr__doc_text(d, spr__doc_get(d, n, "group"));
    r->affinity = spr__doc_text(d, spr__doc_get(d, n, "affinity"));
    r->anti_affinity = spr__doc_text(d, spr__doc_get(d, n, "anti_affinity"));
    r->hosts_allowed = spr__doc_text(d, spr__doc_get(d, n, "hosts_allowed"));
    spr__node *least = spr__doc_get(d, n, "min"), *most = spr__doc_get(d, n, "max");
    if (least)
        read_amounts(d, least, s, &r->vm.min);
    if (most)
        read_amounts(d, most, s, &r->vm.max);
    spr__doc_integer(d, spr__doc_get(d, n, "priority"), -1000000, 1000000, &priority);
    spr__doc_integer(d, spr__doc_get(d, n, "shards_at_most"), 1, 1000, &shards);
    r->vm.priority = (int32_t)priority;
    r->vm.shards_at_most = (int32_t)shards;
}

/* One rule for all: {replica: "0110…", spillable, flow_lifetime_s, shards_at_most}. */
static void read_all_vms(struct spr__doc *d, spr__node *n, struct spr__spec *s) {
    spr__node *replica;
    KEYS(d, n, "vms", "replica", "spillable", "flow_lifetime_s", "shards_at_most");
    if ((replica = spr__doc_get(d, n, "replica"))) {
        s->replica_bits = spr__doc_text(d, replica);
        size_t have = s->replica_bits ? strlen(s->replica_bits) : 0, want = (size_t)spr_trace_vm_count(s->trace);
        if (d->rc >= 0 && strspn(s->replica_bits, "01") != have)
            spr__doc_fail(d, replica, "replica must be a text of 0 and 1, one per VM in trace order");
        if (d->rc >= 0 && have != want)
            spr__doc_fail(d, replica, "replica speaks of %zu VMs, the trace has %zu", have, want);
    }
    spr__doc_number(d, spr__doc_get(d, n, "spillable"), 0, 1, &s->spillable);
    spr__doc_number(d, spr__doc_get(d, n, "flow_lifetime_s"), 0, 1e9, &s->flow_lifetime_s);
    spr__doc_integer(d, spr__doc_get(d, n, "shards_at_most"), 1, 1000, &s->shards_at_most);
}

static void read_vms(struct spr__doc *d, spr__node *n, struct spr__spec *s) {
    void *at = NULL;
    if (!n || d->rc < 0)
        return;
    if (spr__doc_kind(n) == SPR__MAPPING) {
        read_all_vms(d, n, s);
        return;
    }
    if (spr__doc_kind(n) != SPR__LIST)
        spr__doc_fail(d, n, "vms must be a list of rules (the first match wins)");
    s->has_rules = true;
    for (spr__node *v; d->rc >= 0 && (v = spr__doc_next(n, &at));)
        read_rule(d, v, s);
}

/* ---- wishes and distances ---- */

/* A date and time, or seconds from the trace's first step. */
static void read_when(struct spr__doc *d, spr__node *n, const struct spr__spec *s, int64_t *wall_ns) {
    double seconds = 0;
    if (spr__doc_is_number(n)) {
        spr__doc_number(d, n, 0, 9e9, &seconds);
        *wall_ns = spr_series_origin_ns(spr_trace_series(s->trace)) + llround(seconds * 1e9);
    } else {
        spr__doc_time(d, n, wall_ns);
    }
}

static void read_declared(struct spr__doc *d, spr__node *n, struct spr__spec *s) {
    KEYS(d, n, "declared demand", "vm", "match", "resource", "start", "end", "amount", "confidence");
    spr__node *vm = spr__doc_get(d, n, "vm"), *match = spr__doc_get(d, n, "match");
    if (d->rc >= 0 && !vm == !match)
        spr__doc_fail(d, n, "declared demand needs a vm or a match");
    if (reserve(d, (void **)&s->declared, &s->declared_cap, s->declared_count + 1, sizeof *s->declared) < 0)
        return;
    struct spr__spec_declared *x = &s->declared[s->declared_count++];
    *x = (struct spr__spec_declared){.declared = {.size = sizeof x->declared, .confidence = 1}};
    x->match = spr__doc_text(d, vm ? vm : match);
    char *resource = spr__doc_text(d, spr__doc_need(d, n, "resource"));
    int r = resource ? spr_resource_find(resource) : -1;
    if (resource && r < 0)
        spr__doc_fail(d, n, "'%.60s' is no resource", resource);
    spr__io_strfree(d->ctx, resource);
    x->declared.resource = r < 0 ? 0 : r;
    read_when(d, spr__doc_need(d, n, "start"), s, &x->declared.start_wall_ns);
    read_when(d, spr__doc_need(d, n, "end"), s, &x->declared.end_wall_ns);
    if (d->rc >= 0 && x->declared.end_wall_ns <= x->declared.start_wall_ns)
        spr__doc_fail(d, n, "declared demand must end after it starts");
    spr__doc_number(d, spr__doc_need(d, n, "amount"), 0, 1e18, &x->declared.amount);
    spr__doc_number(d, spr__doc_get(d, n, "confidence"), 0, 1, &x->declared.confidence);
}

static void read_latency(struct spr__doc *d, spr__node *n, struct spr__spec *s) {
    static const char *const tiers[] = {"same_rack", "same_zone", "other_zone"};
    if (!n)
        return;
    KEYS(d, n, "latency_ms", "same_rack", "same_zone", "other_zone");
    for (int i = 0; i < 3; i++)
        spr__doc_number(d, spr__doc_need(d, n, tiers[i]), 0, 1e6, &s->latency_ms[i]);
    s->has_latency = true;
}

/* ---- who is where ---- */

static int32_t host_index(struct spr__doc *d, spr__node *n, const struct spr__spec *s) {
    for (size_t i = 0; i < s->host_count; i++)
        if (spr__doc_is(n, s->hosts[i].id))
            return (int32_t)i;
    int64_t index = 0;
    spr__doc_integer(d, n, 0, (int64_t)s->host_count - 1, &index);
    return (int32_t)index;
}

static void read_where_map(struct spr__doc *d, spr__node *n, struct spr__spec *s) {
    struct spr_trace_vm vm = {.size = sizeof vm};
    for (size_t i = 0; d->rc >= 0 && i < s->placement_count; i++) {
        spr_trace_vm(s->trace, (int64_t)i, &vm);
        spr__node *v = spr__doc_get(d, n, vm.id);
        if (!v)
            spr__doc_fail(d, n, "placement does not say where VM '%s' is", vm.id);
        else
            s->placement[i] = host_index(d, v, s);
    }
}

void spr__spec_placement(struct spr__doc *d, spr__node *n, struct spr__spec *s) {
    void *at = NULL;
    if (!n || d->rc < 0 || spr__doc_is(n, "greedy-mean"))
        return;
    s->placement_count = (size_t)spr_trace_vm_count(s->trace);
    if (!(s->placement = spr_context_alloc(d->ctx, s->placement_count * sizeof *s->placement))) {
        d->rc = spr__io_nomem(d->ctx);
        return;
    }
    if (spr__doc_kind(n) == SPR__MAPPING) {
        read_where_map(d, n, s);
        return;
    }
    if (spr__doc_kind(n) != SPR__LIST)
        spr__doc_fail(d, n, "placement must be greedy-mean, a list of host numbers or a mapping of VMs to hosts");
    else if (spr__doc_count(n) != s->placement_count)
        spr__doc_fail(d, n, "placement speaks of %zu VMs, the trace has %zu", spr__doc_count(n), s->placement_count);
    int64_t host = 0;
    for (size_t i = 0; d->rc >= 0 && i < s->placement_count; i++) {
        spr__doc_integer(d, spr__doc_next(n, &at), 0, (int64_t)s->host_count - 1, &host);
        s->placement[i] = (int32_t)host;
    }
}

void spr__spec_read(struct spr__doc *d, spr__node *n, struct spr__spec *s) {
    void *at = NULL;
    KEYS(d, n, "fleet", "schema", "about", "hosts", "vms", "latency_ms", "declared", "placement");
    spr__spec_hosts(d, spr__doc_need(d, n, "hosts"), s);
    read_vms(d, spr__doc_get(d, n, "vms"), s);
    read_latency(d, spr__doc_get(d, n, "latency_ms"), s);
    spr__node *declared = spr__doc_get(d, n, "declared");
    if (declared && spr__doc_kind(declared) != SPR__LIST)
        spr__doc_fail(d, declared, "declared must be a list");
    for (spr__node *v; d->rc >= 0 && declared && (v = spr__doc_next(declared, &at));)
        read_declared(d, v, s);
    spr__spec_placement(d, spr__doc_get(d, n, "placement"), s);
}
