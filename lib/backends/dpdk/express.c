/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "express_inside.h"
#include "pending.h"

#include <stdatomic.h>

/* ---- which ---- */

typedef unsigned run_fn(struct express *e, unsigned i);
static run_fn *const levels[] = {
    NULL,
    dp_express_run_plain,
#if defined(__x86_64__)
    dp_express_run_avx2,
#endif
};
static atomic_int dp_express_level; /* 0: not looked yet */

static int best(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi"))
        return 2;
#endif
    return 1;
}

int dp_express_force(int level) {
    if (level < 0 || level > best())
        return -1;
    atomic_store_explicit(&dp_express_level, level ? level : best(), memory_order_relaxed);
    return 0;
}

static unsigned run_of(struct express *e, unsigned i) {
    int at = atomic_load_explicit(&dp_express_level, memory_order_relaxed);
    if (!at)
        atomic_store_explicit(&dp_express_level, at = best(), memory_order_relaxed);
    return levels[at](e, i);
}

/* ---- runs ---- */

/* A frame that is as they have to be, whatever its service. */
static bool want_of(const uint8_t *f, uint32_t length, bool six, struct run *r) {
    static const uint8_t from4[4] = {12, 20, 28, 36}, from6[5] = {12, 20, 38, 46, 54};
    struct run own = {.six = six};
    if (length < (six ? IP6_LEAST : IP4_LEAST))
        return false;
    for (int i = 0; i < (six ? 5 : 4); i++)
        own.want[i] = word(f + (six ? from6[i] : from4[i]));
    bool plain = six ? (f[14] >> 4) == 6 && f[20] == P_TCP && !torn6(f, length)
                     : f[14] == 0x45 && !(f[20] & 0x3f) && !f[21] && f[23] == P_TCP && !torn4(f, length);
    if (plain)
        *r = own;
    return plain;
}

/* All went one way: nobody has to look at them one by one. */
static bool is_whole(const struct dp_burst *b, uint64_t done) { return done == UINT64_MAX >> (64 - b->count); }

/* Packets of one service that went to its primary. */
static void count_primary(struct express *e, uint16_t front, const struct dp_rewrite *primary, uint64_t done,
                          uint64_t bytes) {
    struct dp_burst *b = e->b;
    unsigned n = (unsigned)__builtin_popcountll(done);
    if (!n)
        return;
    e->w->by_front[front].packets += n;
    e->w->by_front[front].bytes += bytes;
    e->w->counters.bytes += bytes;
    e->w->counters.verdict[DP_PRIMARY] += n;
    b->whole = is_whole(b, done);
    b->all = (struct dp_fate){.port = primary->port, .verdict = DP_PRIMARY};
    for (uint64_t bits = b->whole ? 0 : done; bits; bits &= bits - 1)
        b->fate[__builtin_ctzll(bits)] = b->all;
}

static void close_run(struct express *e) {
    count_primary(e, e->run.front, e->run.primary, e->run.done, e->run.bytes);
    e->run.done = e->run.bytes = 0;
}

static void open_run(struct express *e, const uint8_t *f) {
    struct run *r = &e->run;
    uint16_t port;
    memcpy(&port, f + (r->six ? 56 : 36), 2);
    const struct dp_service *v = dp_snapshot_find(e->s, f + (r->six ? 38 : 30), r->six ? 6 : 4, P_TCP, port);
    r->way = WAY_LONG;
    r->stops = DP_SYN;
    if (!v)
        return;
    const struct dp_service_counters *c = &e->w->by_front[v->front];
    const struct dp_rewrite *primary = &e->s->backends[v->primary].rewrite;
    r->front = v->front;
    r->primary = primary;
    if (v->mode != DP_MODE_NORMAL || c->flows || e->now_ms < c->look_until_ms) {
        r->way = WAY_SEEK;
        r->stops = DP_SYN | DP_FIN | DP_RST;
    } else if (v->primary && primary->quick == DP_QUICK_L2)
        r->way = WAY_PRIMARY;
}

/* It does not fit the run: it begins another, or it is nothing for us. */
static bool turn(struct express *e, const uint8_t *f, uint32_t length) {
    bool ip4 = length >= ETHER && f[12] == 0x08 && f[13] == 0x00,
         ip6 = length >= ETHER && f[12] == 0x86 && f[13] == 0xdd;
    bool arp = length >= ETHER && f[12] == 0x08 && f[13] == 0x06;
    struct run other;
    bool same = e->run.way != WAY_NONE && ip6 == e->run.six && length >= (ip6 ? IP6_LEAST : IP4_LEAST);
    if (same && !(ip6 ? differs6(&e->run, f) || torn6(f, length) : differs4(&e->run, f) || torn4(f, length)))
        return false; /* its way is the long one */
    if ((!ip4 && !ip6) || !want_of(f, length, ip6, &other)) {
        e->opens[0] |= !ip6 && !arp; /* a tag may hide either */
        e->opens[1] |= !ip4 && !arp;
        return false;
    }
    uint8_t flags = f[ip6 ? 67 : 47];
    if (flags & DP_SYN) {
        e->opens[ip6] = true;
        return false;
    }
    close_run(e);
    e->run = other;
    open_run(e, f);
    return !(flags & e->run.stops);
}

/* ---- flows ---- */

/* Of packets that were found, of one service: what has to be counted, and what became of them. */
struct tally {
    uint64_t bytes, sent, done;
    struct dp_fate fate;
    uint16_t front;
};

INLINE uint16_t front_of(const struct sought *f, unsigned k, bool six) {
    return six ? f->key.six[k].frontend : (uint16_t)(f->key.four[k] >> 48);
}

INLINE uint32_t ip_length_of(const uint8_t *f, bool six) { return six ? 40 + get16(f + 18) : get16(f + 16); }

/* What the lookup said. */
struct found {
    uint64_t hash[DP_BURST];
    uint32_t value[DP_BURST], slot[DP_BURST];
    uint32_t now; /* age of what was seen in this tick, as in a value */
    bool slots;   /* slot is set: it was asked for where flows are many, each seen rarely */
};

/* What ways are chosen by; locals, so that nobody has to think that frames may change it. */
struct choice {
    const struct dp_backend *backends;
    uint32_t count, now; /* of backends; see struct found */
};

/* Seen for the first time in this tick: told to the table here if it can be, which saves the long way. */
static __attribute__((noinline)) bool grow_younger(struct express *e, const struct found *at, unsigned k, uint32_t is,
                                                   bool six) {
    if ((at->value[k] ^ is) & ~DP_FLOW_AGE || !at->slots)
        return false;
    dp_flow_set(six ? e->w->ip6 : e->w->ip4, at->slot[k], is);
    return true;
}

/* A flow that lives, of a shard that lives. @return NULL: the long way */
INLINE const struct dp_rewrite *shard_of(struct express *e, const struct choice *from, const struct found *at,
                                         unsigned k, bool six) {
    uint32_t value = at->value[k], backend = dp_flow_backend(value);
    if (backend >= from->count)
        return NULL;
    uint32_t is = from->backends[backend].flow | from->now;
    return value == is || grow_younger(e, at, k, is, six) ? &from->backends[backend].rewrite : NULL;
}

INLINE bool fits_tunnel(const struct dp_burst *b, unsigned i, const struct dp_rewrite *r, bool six) {
    return ip_length_of(b->frame[i], six) <= r->mtu && b->room[i] >= DP_VXLAN_BYTES;
}

/* ... by a way that is short. */
static const struct dp_rewrite *way_of(struct express *e, const struct choice *from, unsigned i, const struct found *at,
                                       unsigned k, bool six) {
    const struct dp_rewrite *r = shard_of(e, from, at, k, six);
    bool short_way = r && (r->quick == DP_QUICK_L2 || (r->quick == DP_QUICK_VXLAN && fits_tunnel(e->b, i, r, six)));
    return short_way ? r : NULL;
}

/* @return length of what leaves */
INLINE uint32_t leave(uint8_t *f, uint32_t length, const struct dp_rewrite *r, uint64_t hash, bool six, bool vxlan) {
    if (!vxlan) {
        memcpy(f, r->mac, 12);
        return length;
    }
    uint8_t tos = six ? (uint8_t)(f[14] << 4 | f[15] >> 4) : f[15];
    return dp_rewrite_vxlan(r, f, ip_length_of(f, six), tos, (uint16_t)(hash >> DP_ENTROPY_SHIFT));
}

static void count(struct express *e, const struct tally *t) {
    struct dp_service_counters *c = &e->w->by_front[t->front];
    struct dp_burst *b = e->b;
    unsigned n = (unsigned)__builtin_popcountll(t->done);
    c->packets += n;
    c->spilled_packets += n;
    c->bytes += t->bytes;
    c->spilled_bytes += t->sent;
    e->w->counters.bytes += t->bytes;
    e->w->counters.verdict[DP_SHARD] += n;
    e->rest &= ~t->done;
    b->all = t->fate;
    b->whole = n && is_whole(b, t->done);
    for (uint64_t bits = b->whole ? 0 : t->done; bits; bits &= bits - 1)
        b->fate[__builtin_ctzll(bits)] = t->fate;
}

/* Bits of the packets from the kth to the last that was sought before `end`. */
static uint64_t bits_of(const struct sought *f, unsigned k, unsigned end) {
    uint64_t bits = 0;
    unsigned n = end - k;
    if (n && f->at[end - 1] - f->at[k] == (int)n - 1)
        return (UINT64_MAX >> (64 - n)) << f->at[k];
    for (; k < end; k++)
        bits |= UINT64_C(1) << f->at[k];
    return bits;
}

/* From the kth on as long as they are of one service and go one way; those that have to go the long one are left. */
INLINE unsigned together(struct express *e, const struct sought *f, unsigned k, const struct found *at, bool six,
                         bool vxlan) {
    struct dp_burst *b = e->b;
    const struct choice from = {e->s->backends, e->s->backend_count, at->now};
    const struct dp_rewrite *r = shard_of(e, &from, at, k, six); /* of this way: who calls has seen to it */
    const unsigned begin = k, end = f->count;
    const uint16_t front = front_of(f, k, six), port = r->port;
    const uint8_t quick = vxlan ? DP_QUICK_VXLAN : DP_QUICK_L2;
    uint64_t bytes = 0, sent = 0, left = 0;
    for (; k < end && front_of(f, k, six) == front; k++) {
        unsigned i = f->at[k];
        r = shard_of(e, &from, at, k, six);
        if (r && (r->port != port || r->quick != quick))
            break;
        if (!r || (vxlan && !fits_tunnel(b, i, r, six))) {
            left |= UINT64_C(1) << i;
            continue;
        }
        uint32_t length = b->length[i], leaves = leave(b->frame[i], length, r, at->hash[k], six, vxlan);
        if (vxlan)
            b->length[i] = leaves;
        bytes += length;
        sent += leaves;
    }
    struct tally t = {.bytes = bytes, .sent = sent, .done = bits_of(f, begin, k) & ~left, .front = front};
    t.fate = (struct dp_fate){.grow = vxlan ? DP_VXLAN_BYTES : 0, .port = port, .verdict = DP_SHARD};
    count(e, &t);
    return k;
}

/* Functions of their own: there are registers enough for one loop, not for four. */
#define TOGETHER(name, six, vxlan)                                                                                     \
    static __attribute__((noinline)) unsigned name(struct express *e, const struct sought *f, unsigned k,              \
                                                   const struct found *at) {                                           \
        return together(e, f, k, at, six, vxlan);                                                                      \
    }
TOGETHER(together4, false, false)
TOGETHER(together6, true, false)
TOGETHER(together4_vxlan, false, true)
TOGETHER(together6_vxlan, true, true)

/* ---- no flow ---- */

/* Those of the burst that no flow is known of. */
struct missed {
    unsigned count;
    uint8_t k[DP_BURST]; /* of what was sought */
    uint64_t hash[DP_BURST];
};

/* Where what is unknown goes without a thought: not from a shard's host, not by a table, not by a longer way. */
static const struct dp_rewrite *default_of(const struct dp_snapshot *s, uint16_t front) {
    const struct dp_service *v = &s->services[s->by_front[front] - 1];
    const struct dp_rewrite *r = &s->backends[v->primary].rewrite;
    return v->mode != DP_MODE_HOST && !v->miss_by_table && v->primary && r->quick == DP_QUICK_L2 ? r : NULL;
}

/* The filter is megabytes: all its lines are asked for before one is read. */
static void ask_filter(const struct express *e, const struct sought *f, struct missed *m, bool six) {
    uint64_t keys[DP_BURST];
    for (unsigned j = 0; j < m->count; j++)
        if (six)
            m->hash[j] = dp_hash_bytes(&e->w->key, &f->key.six[m->k[j]], sizeof f->key.six[0]);
        else
            keys[j] = f->key.four[m->k[j]];
    if (!six)
        dp_hash8_many(&e->w->key, keys, m->hash, m->count);
    for (unsigned j = 0; j < m->count; j++)
        dp_pending_prefetch(e->w->pending, m->hash[j]);
}

/* The primary's, but for the first one after a SYN that went to a shard: that makes a flow, the long way. */
static __attribute__((noinline)) void default_all(struct express *e, const struct sought *f, const struct found *at,
                                                  bool six) {
    struct dp_burst *b = e->b;
    struct missed m;
    m.count = 0;
    for (unsigned k = 0; k < f->count; k++) {
        m.k[m.count] = (uint8_t)k;
        m.count += !at->value[k];
    }
    ask_filter(e, f, &m, six);
    for (unsigned j = 0; j < m.count;) {
        const uint16_t front = front_of(f, m.k[j], six);
        const struct dp_rewrite *primary = default_of(e->s, front);
        uint64_t done = 0, bytes = 0;
        for (; j < m.count && front_of(f, m.k[j], six) == front; j++) {
            unsigned i = f->at[m.k[j]];
            uint16_t shard = 0;
            if (!primary || (dp_pending_get(e->w->pending, m.hash[j], e->now_ms, &shard) && shard))
                continue;
            memcpy(b->frame[i], primary->mac, 12);
            bytes += b->length[i];
            done |= UINT64_C(1) << i;
        }
        e->rest &= ~done;
        count_primary(e, front, primary, done, bytes);
    }
}

INLINE void seek(struct express *e, const struct sought *f, bool six) {
    const struct dp_flow_table *t = six ? e->w->ip6 : e->w->ip4;
    struct found at;
    at.now = dp_flow_value(0, 0, dp_tick(e->s, e->now_ms), 0);
    at.slots = !dp_flow_is_near(t);
    if (six)
        dp_flow_lookup6(t, f->key.six, f->count, at.hash, at.value, at.slots ? at.slot : NULL);
    else
        dp_flow_lookup4(t, f->key.four, f->count, at.hash, at.value, at.slots ? at.slot : NULL);
    const struct choice from = {e->s->backends, e->s->backend_count, at.now};
    for (unsigned k = 0; k < f->count;) {
        const struct dp_rewrite *r = way_of(e, &from, f->at[k], &at, k, six);
        if (!r)
            k++;
        else if (r->quick == DP_QUICK_L2)
            k = (six ? together6 : together4)(e, f, k, &at);
        else
            k = (six ? together6_vxlan : together4_vxlan)(e, f, k, &at);
    }
    if (e->rest)
        default_all(e, f, &at, six);
}

uint64_t dp_express(struct dp_worker *w, const struct dp_snapshot *s, struct dp_burst *b, uint64_t now_ms) {
    struct express e;
    e.w = w, e.s = s, e.b = b, e.now_ms = now_ms, e.rest = 0;
    e.opens[0] = e.opens[1] = false;
    e.run.way = WAY_NONE, e.run.six = false, e.run.done = e.run.bytes = 0;
    e.four.count = e.six.count = 0;
    b->whole = false;
    for (unsigned i = 0; i < b->count;) {
        unsigned next = run_of(&e, i);
        if (next == i && (!turn(&e, b->frame[i], b->length[i]) || (next = run_of(&e, i)) == i)) {
            e.rest |= UINT64_C(1) << i;
            next++;
        }
        i = next;
    }
    close_run(&e);
    if (e.four.count)
        seek(&e, &e.four, false);
    if (e.six.count)
        seek(&e, &e.six, true);
    return e.rest;
}
