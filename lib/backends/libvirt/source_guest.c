/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One guest: from the record of the bulk statistics to rates. A thousand of these every few seconds: a field is told by
 * its first letters, and nothing is allocated once the arrays have grown.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "source.h"

enum { THINGS_MOST = 4096 }; /* of one kind in one guest; a higher number is no number of a device */

/* ---- decoding ---- */

static bool number(const virTypedParameter *p, uint64_t *out) {
    double d;
    switch (p->type) {
    case VIR_TYPED_PARAM_INT:
        *out = (uint64_t)p->value.i;
        return p->value.i >= 0;
    case VIR_TYPED_PARAM_UINT:
        *out = p->value.ui;
        return true;
    case VIR_TYPED_PARAM_LLONG:
        *out = (uint64_t)p->value.l;
        return p->value.l >= 0;
    case VIR_TYPED_PARAM_ULLONG:
        *out = p->value.ul;
        return p->value.ul <= INT64_MAX; /* above are negative numbers in disguise */
    case VIR_TYPED_PARAM_DOUBLE:
        d = p->value.d;
        *out = d >= 0 && d < 9e18 ? (uint64_t)d : 0;
        return d >= 0 && d < 9e18;
    default:
        return false;
    }
}

static uint64_t mix(uint64_t h, const void *bytes, size_t n) {
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const unsigned char *)bytes)[i]) * UINT64_C(1099511628211);
    return h;
}

/* "12.time" -> 12 and "time"; NULL: no number is there. */
static const char *ordinal(const char *text, uint32_t *n) {
    uint32_t k = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9' && k < THINGS_MOST; at++)
        k = k * 10 + (uint32_t)(*at - '0');
    *n = k;
    return at > text && *at == '.' && k < THINGS_MOST ? at + 1 : NULL;
}

static struct lv_count *thing(struct lv_record *r, enum lv_things kind, uint32_t n) {
    size_t had = r->counts[kind];
    if (n >= had) {
        if (lv_grow((void **)&r->count[kind], &r->cap[kind], (size_t)n + 1, sizeof(struct lv_count)) < 0)
            return NULL;
        memset(r->count[kind] + had, 0, (n + 1 - had) * sizeof(struct lv_count));
        r->counts[kind] = (size_t)n + 1;
    }
    return &r->count[kind][n];
}

/* A vCPU, an interface or a disk by its number and what is said of it; `name` gives the thing its identity. */
static int take_thing(struct lv_record *r, enum lv_things kind, const virTypedParameter *p, const char *rest,
                      const char *name, const char *a, const char *b, bool *has) {
    uint32_t n;
    uint64_t value;
    const char *what = ordinal(rest, &n);
    struct lv_count *c;
    if (!what)
        return SPR_OK;
    if (name && !strcmp(what, name) && p->type == VIR_TYPED_PARAM_STRING && p->value.s) {
        r->shape[kind] = mix(mix(r->shape[kind], &n, sizeof n), p->value.s, strlen(p->value.s) + 1);
        return SPR_OK;
    }
    bool first = !strcmp(what, a), second = !first && b && !strcmp(what, b);
    if (!(first || second) || !number(p, &value))
        return SPR_OK;
    if (!(c = thing(r, kind, n)))
        return SPR_E_NOMEM;
    *(first ? &c->a : &c->b) = value;
    r->shape[kind] = mix(r->shape[kind], first ? "a" : "b", 1);
    r->shape[kind] = mix(r->shape[kind], &n, sizeof n);
    *has = true;
    return SPR_OK;
}

static int take_vcpu(struct lv_record *r, const virTypedParameter *p) {
    const char *rest = p->field + 5, *what;
    uint32_t n;
    uint64_t value;
    if (!strcmp(rest, "current")) {
        r->vcpus = number(p, &value) && value < THINGS_MOST ? (uint32_t)value : 0;
        return SPR_OK;
    }
    if (!(what = ordinal(rest, &n)))
        return SPR_OK;
    /* Both are time in the run queue, in two of the kernel's accounts: never their sum. */
    if (!strcmp(what, "wait") && !r->has_delay)
        return take_thing(r, LV_VCPUS, p, rest, NULL, "", "wait", &r->has_wait);
    if (!strcmp(what, "delay"))
        return take_thing(r, LV_VCPUS, p, rest, NULL, "", "delay", &r->has_delay);
    return take_thing(r, LV_VCPUS, p, rest, NULL, "time", NULL, &r->has_cpu);
}

static void take_balloon(struct lv_record *r, const virTypedParameter *p) {
    const char *what = p->field + 8;
    static const struct {
        const char *what;
        size_t value, has;
    } of[] = {
#define SPR_X(text, member, flag) {text, offsetof(struct lv_record, member), offsetof(struct lv_record, flag)}
        SPR_X("current", memory_now, has_memory_now),
        SPR_X("maximum", memory_most, has_memory_most),
        SPR_X("unused", unused, has_unused),
        SPR_X("usable", usable, has_usable),
        SPR_X("rss", rss, has_rss),
        SPR_X("last-update", balloon_update, has_balloon_update),
#undef SPR_X
    };
    for (size_t i = 0; i < sizeof of / sizeof *of; i++)
        if (!strcmp(what, of[i].what)) {
            uint64_t value = 0;
            bool good = number(p, &value) && value < UINT64_C(1) << 50;
            memcpy((char *)r + of[i].value, &value, sizeof value);
            memcpy((char *)r + of[i].has, &good, sizeof good);
            return;
        }
}

static int take_param(struct lv_record *r, const virTypedParameter *p) {
    const char *f = p->field;
    uint64_t value;
    if (!strncmp(f, "vcpu.", 5))
        return take_vcpu(r, p);
    if (!strncmp(f, "net.", 4))
        return take_thing(r, LV_NICS, p, f + 4, "name", "rx.bytes", "tx.bytes", &r->has_net);
    if (!strncmp(f, "block.", 6))
        return take_thing(r, LV_DISKS, p, f + 6, "name", "rd.bytes", "wr.bytes", &r->has_disk);
    if (!strncmp(f, "balloon.", 8))
        take_balloon(r, p);
    else if (!strcmp(f, "cpu.time"))
        r->cpu_time = number(p, &value) ? value : 0;
    else if (!strcmp(f, "state.state"))
        r->state = number(p, &value) && value < 100 ? (int32_t)value : VIR_DOMAIN_NOSTATE;
    return SPR_OK;
}

int lv_record_decode(const virTypedParameter *params, int count, struct lv_record *r) {
    struct lv_record empty = {0};
    memcpy(empty.count, r->count, sizeof empty.count);
    memcpy(empty.cap, r->cap, sizeof empty.cap);
    *r = empty;
    for (int k = 0; k < LV_THINGS; k++)
        r->shape[k] = UINT64_C(14695981039346656037);
    int rc = SPR_OK;
    for (int i = 0; i < count && rc == SPR_OK; i++)
        rc = take_param(r, &params[i]);
    return rc;
}

void lv_record_clear(struct lv_record *r) {
    for (int k = 0; k < LV_THINGS; k++)
        lv_free(r->count[k]);
    memset(r, 0, sizeof *r);
}

/* ---- rates ---- */

static void add(struct lv_tally *t, int resource, double amount, double seconds) {
    t->sum[resource] += amount * seconds;
    t->seconds[resource] += seconds;
}

/* Only of a kind that has some. */
static const struct lv_count *counts_of(const struct lv_guest *g, int kind) {
    size_t at = 0;
    for (int k = 0; k < kind; k++)
        at += g->counts[k];
    return g->count + at;
}

/* Growth of both counts over all things of a kind; false: one fell or they are others: only a baseline. */
static bool growth(const struct lv_guest *g, const struct lv_record *r, int kind, double *a, double *b) {
    const struct lv_count *was, *is = r->count[kind];
    *a = *b = 0;
    if (g->shape[kind] != r->shape[kind] || g->counts[kind] != r->counts[kind] || !g->counts[kind])
        return false;
    was = counts_of(g, kind);
    for (size_t i = 0; i < r->counts[kind]; i++) {
        if (is[i].a < was[i].a || is[i].b < was[i].b)
            return false;
        *a += (double)(is[i].a - was[i].a);
        *b += (double)(is[i].b - was[i].b);
    }
    return true;
}

static void take_cpu(struct lv_guest *g, const struct lv_record *r, double s) {
    struct lv_tally *t = &g->tally;
    double used, stalled, cores = (double)(r->counts[LV_VCPUS] ? r->counts[LV_VCPUS] : r->vcpus);
    bool known = r->has_cpu && (r->has_delay || r->has_wait);
    if (r->has_cpu && !growth(g, r, LV_VCPUS, &used, &stalled))
        return;
    if (!r->has_cpu) {
        if (!r->cpu_time || !g->cpu_time || r->cpu_time < g->cpu_time)
            return;
        used = (double)(r->cpu_time - g->cpu_time), stalled = 0;
    }
    used *= 1e-9 / s, stalled *= 1e-9 / s;
    /* More than the guest has, but for the clocks' noise: no measurement. Time outside of vCPUs is in cpu.time too. */
    if (cores > 0 && used > (r->has_cpu ? 1.25 : 2) * cores + 0.5)
        return;
    if (cores > 0 && used + stalled > cores)
        stalled = used < cores ? cores - used : 0;
    add(t, SPR_CPU, used, s);
    if (known) {
        t->stalled += stalled * s;
        t->stalled_seconds += s;
    }
    if (known ? stalled > 0.02 + 0.05 * used : cores > 0 && used > 0.95 * cores)
        t->throttled |= 1u << SPR_CPU;
}

static void take_bytes(struct lv_guest *g, const struct lv_record *r, double s) {
    double a, b;
    if (r->has_net && growth(g, r, LV_NICS, &a, &b) && (a + b) / s < 1e13) {
        add(&g->tally, SPR_NET_RX, 8 * a / s, s);
        add(&g->tally, SPR_NET_TX, 8 * b / s, s);
    }
    if (r->has_disk && growth(g, r, LV_DISKS, &a, &b) && (a + b) / s < 1e13) {
        add(&g->tally, SPR_DISK_READ, a / s, s);
        add(&g->tally, SPR_DISK_WRITE, b / s, s);
    }
}

/* Balloon statistics that nobody refreshes would say for ever what was true once. */
static bool balloon_fresh(struct lv_guest *g, const struct lv_record *r, int64_t now_ns, int64_t wall_ns) {
    if (!r->has_balloon_update)
        return true; /* an older libvirt, which asked the guest just now */
    if (!r->balloon_update)
        return false; /* the guest has no driver, or nobody asked it */
    if (r->balloon_update != g->balloon_update) {
        bool first = !g->balloon_update;
        g->balloon_update = r->balloon_update;
        g->balloon_changed_ns = first && llabs(wall_ns / 1000000000 - (int64_t)r->balloon_update) > 300 ? 0 : now_ns;
    }
    return g->balloon_changed_ns && now_ns - g->balloon_changed_ns < INT64_C(120000000000);
}

static void take_memory(struct lv_guest *g, const struct lv_record *r, double s, int64_t now_ns, int64_t wall_ns) {
    bool told = r->has_memory_now && (r->has_usable || r->has_unused) && balloon_fresh(g, r, now_ns, wall_ns);
    uint64_t left = r->has_usable ? r->usable : r->unused;
    g->mute = !told || left > r->memory_now;
    if (!g->mute) {
        add(&g->tally, SPR_MEMORY, (double)(r->memory_now - left) * 1024, s);
        if ((double)left < 0.05 * (double)r->memory_now)
            g->tally.throttled |= 1u << SPR_MEMORY;
    } else if (r->has_rss) {
        add(&g->tally, SPR_MEMORY, (double)r->rss * 1024, s);
    }
}

static int keep(struct lv_guest *g, const struct lv_record *r) {
    size_t n = 0;
    for (int k = 0; k < LV_THINGS; k++)
        n += r->counts[k];
    if (n && lv_grow((void **)&g->count, &g->count_cap, n, sizeof *g->count) < 0) {
        g->at_ns = 0;
        return SPR_E_NOMEM;
    }
    struct lv_count *to = g->count;
    for (int k = 0; k < LV_THINGS; k++) {
        if (r->counts[k]) {
            memcpy(to, r->count[k], r->counts[k] * sizeof *to);
            to += r->counts[k];
        }
        g->counts[k] = r->counts[k];
        g->shape[k] = r->shape[k];
    }
    g->cpu_time = r->cpu_time;
    return SPR_OK;
}

int lv_guest_take(struct lv_guest *g, const struct lv_record *r, int32_t id, int64_t now_ns, int64_t wall_ns) {
    double s = g->at_ns && now_ns > g->at_ns ? (double)(now_ns - g->at_ns) * 1e-9 : 0;
    bool same = s > 1e-3 && id == g->id; /* the same run of the same guest */
    if (id != g->id)
        g->balloon_update = 0;
    if (id >= 0) {
        if (same) {
            take_cpu(g, r, s);
            take_bytes(g, r, s);
        }
        take_memory(g, r, same ? s : 1e-3, now_ns, wall_ns); /* a state, not a growth: it is known at once */
    } else if (same) {
        for (int k = 0; k < LV_RESOURCES; k++)
            add(&g->tally, k, 0, s); /* switched off is known to use nothing */
    }
    g->id = id;
    g->state = r->state;
    g->at_ns = now_ns;
    return keep(g, r);
}
