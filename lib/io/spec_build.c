/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* From a description to a fleet. */
#include <stdlib.h>

#include "spec.h"

void spr__spec_init(spr_context *ctx, const spr_trace *trace, struct spr__spec *s) {
    *s = (struct spr__spec){.ctx = ctx, .trace = trace, .spillable = -1};
}

void spr__spec_finish(struct spr__spec *s) {
    spr_context *ctx = s->ctx;
    for (size_t i = 0; i < s->host_count; i++) {
        spr__io_strfree(ctx, s->hosts[i].id);
        spr__io_strfree(ctx, s->hosts[i].rack);
        spr__io_strfree(ctx, s->hosts[i].zone);
    }
    for (size_t i = 0; i < s->rule_count; i++) {
        char *texts[] = {s->rules[i].match, s->rules[i].group, s->rules[i].affinity, s->rules[i].anti_affinity,
                         s->rules[i].hosts_allowed};
        for (size_t k = 0; k < SPR_ARRAY_LEN(texts); k++)
            spr__io_strfree(ctx, texts[k]);
    }
    for (size_t i = 0; i < s->declared_count; i++)
        spr__io_strfree(ctx, s->declared[i].match);
    for (int r = 0; r < SPR_RESOURCES_MAX; r++)
        spr__io_strfree(ctx, s->names[r]);
    spr__io_strfree(ctx, s->replica_bits);
    spr_context_free(ctx, s->hosts, s->host_cap * sizeof *s->hosts);
    spr_context_free(ctx, s->rules, s->rule_cap * sizeof *s->rules);
    spr_context_free(ctx, s->declared, s->declared_cap * sizeof *s->declared);
    spr_context_free(ctx, s->placement, s->placement_count * sizeof *s->placement);
    memset(s, 0, sizeof *s);
}

/* ---- hosts ---- */

static int equal_capacity(struct spr__spec *s, int64_t count, struct spr_amounts *out) {
    for (int r = 0; r < SPR_RESOURCES_MAX; r++) {
        struct spr__capacity *c = &s->capacity[r];
        if (!c->given && (s->resources >> r & 1))
            return spr__io_fail(s->ctx, SPR_E_FORMAT, NULL, 0, 0, "hosts: resource %d has no capacity", r);
        if (!c->given)
            continue;
        if (c->by_rule) {
            double p99;
            int rc = spr__demand_p99(s->ctx, s->trace, r, s->first, s->last, &p99);
            if (rc < 0)
                return rc;
            c->value = p99 / ((double)count * c->rho);
        }
        out->of[r] = c->value;
    }
    return SPR_OK;
}

int spr__spec_equal_hosts(struct spr__spec *s, int64_t count) {
    struct spr_amounts capacity = {{0}};
    int rc = equal_capacity(s, count, &capacity);
    if (rc >= 0)
        rc = spr__io_reserve(s->ctx, (void **)&s->hosts, &s->host_cap, s->host_count + (size_t)count, sizeof *s->hosts);
    for (int64_t i = 0; rc >= 0 && i < count; i++) {
        struct spr__spec_host h = {.id = spr__io_printf(s->ctx, "host%lld", (long long)i)};
        if (!h.id)
            return SPR_E_NOMEM;
        h.host.size = sizeof h.host;
        h.host.capacity = capacity;
        s->hosts[s->host_count++] = h;
    }
    return rc;
}

/* ---- VMs ---- */

/* Half of the VMs may replicate when nobody says who: those that the seed ranks first. */
struct drawn {
    uint64_t rank;
    int64_t vm;
};

static int by_rank(const void *a, const void *b) {
    const struct drawn *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return (x->vm > y->vm) - (x->vm < y->vm);
}

static uint64_t mix64(uint64_t z) { /* splitmix64 (Steele, Lea, Flood 2014) */
    z += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static int draw_replicas(const struct spr__spec *s, bool *may) {
    int64_t n = spr_trace_vm_count(s->trace);
    struct drawn *d = spr_context_alloc(s->ctx, (size_t)n * sizeof *d);
    if (!d)
        return spr__io_nomem(s->ctx);
    for (int64_t i = 0; i < n; i++)
        d[i] = (struct drawn){mix64(mix64(s->seed) + (uint64_t)i), i};
    qsort(d, (size_t)n, sizeof *d, by_rank);
    for (int64_t i = 0; i < (n + 1) / 2; i++)
        may[d[i].vm] = true;
    spr_context_free(s->ctx, d, (size_t)n * sizeof *d);
    return SPR_OK;
}

static const struct spr__rule *rule_for(const struct spr__spec *s, const char *id) {
    for (size_t i = 0; i < s->rule_count; i++)
        if (spr__io_glob(s->rules[i].match, id))
            return &s->rules[i];
    return NULL;
}

static void vm_policy(const struct spr__spec *s, const struct spr_trace_vm *t, int64_t index, bool drawn,
                      struct spr_vm *vm) {
    const struct spr__rule *rule = s->has_rules ? rule_for(s, t->id) : NULL;
    if (rule)
        *vm = rule->vm;
    vm->size = sizeof *vm;
    vm->id = t->id;
    vm->klass = -1;
    vm->capacity = t->capacity;
    if (rule) {
        vm->group = rule->group;
        vm->affinity = rule->affinity;
        vm->anti_affinity = rule->anti_affinity;
        vm->hosts_allowed = rule->hosts_allowed;
        return;
    }
    if (s->has_rules)
        return; /* nobody allows anything */
    if (s->replica_bits)
        vm->replica = s->replica_bits[index] == '1' ? SPR_REPLICA_TEMPLATE : SPR_REPLICA_NEVER;
    else
        vm->replica = t->replica >= 0 ? t->replica : drawn ? SPR_REPLICA_TEMPLATE : SPR_REPLICA_NEVER;
    vm->spillable = s->spillable >= 0 ? s->spillable : t->spillable >= 0 ? t->spillable : 0.8;
    vm->flow_lifetime_s = s->flow_lifetime_s;
    vm->shards_at_most = (int32_t)s->shards_at_most;
}

/* Demand as of the end of the steps: the last value, and the mean of the last hour. */
static int vm_demand(const struct spr__spec *s, int64_t index, struct spr_time now, struct spr_vm *vm) {
    int64_t hour = INT64_C(3600000000000) / spr_series_step_ns(spr_trace_series(s->trace)), row;
    int64_t n = SPR_MIN(SPR_MAX(hour, 1), s->last - s->first);
    double *v = spr_context_alloc(s->ctx, (size_t)n * sizeof *v);
    if (!v)
        return spr__io_nomem(s->ctx);
    (void)index;
    for (int r = 0; r < SPR_RESOURCES_MAX; r++) {
        if (!(s->resources >> r & 1) || spr_series_find(spr_trace_series(s->trace), vm->id, r, NULL, &row) < 0)
            continue;
        spr__demand_fill(s->trace, row, s->last - n, s->last, v);
        double sum = 0;
        for (int64_t i = 0; i < n; i++)
            sum += v[i];
        vm->demand.of[r] = SPR_MAX(v[n - 1], 0);
        vm->demand_hour.of[r] = SPR_MAX(sum / (double)n, 0);
    }
    vm->seen_mono_ns = now.mono_ns;
    spr_context_free(s->ctx, v, (size_t)n * sizeof *v);
    return SPR_OK;
}

static int add_vms(struct spr__spec *s, spr_fleet_builder *b, struct spr_time now, const int32_t *host_of,
                   const bool *may) {
    int rc = SPR_OK;
    for (int64_t i = 0; rc >= 0 && i < spr_trace_vm_count(s->trace); i++) {
        struct spr_trace_vm t = {.size = sizeof t};
        struct spr_vm vm = {0};
        spr_trace_vm(s->trace, i, &t);
        vm_policy(s, &t, i, may[i], &vm);
        vm.host = host_of[i];
        if (s->observe)
            rc = vm_demand(s, i, now, &vm);
        if (rc >= 0)
            rc = spr_fleet_builder_vm(b, &vm, NULL);
    }
    return rc;
}

static int place_and_add(struct spr__spec *s, spr_fleet_builder *b, struct spr_time now) {
    size_t n = (size_t)spr_trace_vm_count(s->trace);
    int32_t *host_of = spr_context_alloc(s->ctx, n * sizeof *host_of);
    bool *may = spr_context_alloc(s->ctx, n);
    int rc = host_of && may ? draw_replicas(s, may) : spr__io_nomem(s->ctx);
    if (rc >= 0 && s->placement)
        memcpy(host_of, s->placement, n * sizeof *host_of);
    else if (rc >= 0)
        rc = spr__place_greedy(s, host_of);
    if (rc >= 0)
        rc = add_vms(s, b, now, host_of, may);
    spr_context_free(s->ctx, host_of, n * sizeof *host_of);
    spr_context_free(s->ctx, may, n);
    return rc;
}

/* ---- all of it ---- */

static int add_hosts(const struct spr__spec *s, spr_fleet_builder *b) {
    int rc = SPR_OK;
    for (int r = 0; rc >= 0 && r < SPR_RESOURCES_MAX; r++)
        if (s->resources >> r & 1)
            rc = spr_fleet_builder_use(b, r);
    for (size_t i = 0; rc >= 0 && i < s->host_count; i++) {
        struct spr_host h = s->hosts[i].host;
        h.id = s->hosts[i].id;
        h.rack = s->hosts[i].rack;
        h.zone = s->hosts[i].zone;
        rc = spr_fleet_builder_host(b, &h, NULL);
    }
    if (rc >= 0 && s->has_latency)
        rc = spr_fleet_builder_latency(b, s->latency_ms[0], s->latency_ms[1], s->latency_ms[2]);
    return rc;
}

static int fill_builder(struct spr__spec *s, spr_fleet_builder *b, struct spr_time now) {
    int rc = add_hosts(s, b);
    if (rc >= 0)
        rc = place_and_add(s, b, now);
    for (size_t i = 0; rc >= 0 && i < s->declared_count; i++) {
        struct spr_declared dec = s->declared[i].declared;
        dec.match = s->declared[i].match;
        rc = spr_fleet_builder_declared(b, &dec);
    }
    return rc;
}

int spr__spec_build(struct spr__spec *s, struct spr_time now, spr_fleet **out) {
    spr_fleet_builder *b = NULL;
    int rc = spr_fleet_builder_create(s->ctx, NULL, &b);
    if (rc < 0)
        return rc;
    rc = fill_builder(s, b, now);
    if (rc >= 0)
        return spr_fleet_builder_finish(b, now, out);
    spr_fleet_builder_destroy(b);
    return rc;
}
