/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The decision per packet; see decide.h. Steps of the long way: read all, look all keys up at once, decide, rewrite. */
#include "decide.h"

#include "express.h"
#include "fragments.h"
#include "pending.h"

#include <stdlib.h>
#include <string.h>

enum { LINGER_TICKS = 5, PENDING_MS = 4000 };
enum { PENDING_PRIMARY = 0 }; /* in the filter: the first decision was "primary", whoever that is now */

/* One packet on its way through the steps. */
struct item {
    struct dp_packet p;
    const struct dp_service *service;
    uint64_t key4, hash, place; /* hash: of the pending filter; place: of the flow table, once looked up */
    struct dp_key6 key6;
    uint32_t value, slot;
    uint16_t backend; /* the decision */
    uint8_t verdict;
    bool wanted, hashed; /* its key is to be looked up; hash is made */
    bool guessed;        /* of no known flow, sent to a shard by the table */
};

static inline void event(struct dp_worker *w, enum dp_event e) { w->counters.event[e]++; }

/* ---- keys ---- */

static void make_key(struct item *it) {
    uint32_t source;
    if (it->p.ip == 4) {
        memcpy(&source, it->p.source, 4);
        it->key4 = dp_key4(source, it->p.source_port, it->service->front);
        return;
    }
    memcpy(it->key6.source, it->p.source, 16);
    it->key6.port = it->p.source_port;
    it->key6.frontend = it->service->front;
    it->key6.zero = 0;
}

static uint64_t hash_of(struct dp_worker *w, struct item *it) {
    if (!it->hashed)
        it->hash = it->p.ip == 4 ? dp_hash8(&w->key, it->key4) : dp_hash_bytes(&w->key, &it->key6, sizeof it->key6);
    it->hashed = true;
    return it->hash;
}

static void look_up_one(struct dp_worker *w, struct item *it) {
    if (it->p.ip == 4)
        dp_flow_lookup4(w->ip4, &it->key4, 1, &it->place, &it->value, &it->slot);
    else
        dp_flow_lookup6(w->ip6, &it->key6, 1, &it->place, &it->value, &it->slot);
}

/* What this burst changed in the table: an entry of this flow, perhaps; and a slot found before may be another's now.
 */
static void changed(struct dp_worker *w, const struct item *it) {
    w->stale = true;
    w->touched |= UINT64_C(1) << (it->place & 63);
}
static bool is_stale(const struct dp_worker *w, const struct item *it) {
    return it->wanted && (w->touched >> (it->place & 63) & 1 || (it->value && w->stale));
}

static struct dp_flow_table *table_of(struct dp_worker *w, const struct item *it) {
    return it->p.ip == 4 ? w->ip4 : w->ip6;
}

/* ---- flows ---- */

static void forget(struct dp_worker *w, struct item *it) {
    struct dp_service_counters *c = &w->by_front[it->service->front];
    if (dp_flow_state(it->value) != DP_FLOW_LEARNED && c->flows)
        c->flows--;
    dp_flow_erase(table_of(w, it), it->slot);
    it->value = 0;
    changed(w, it);
}

/* Enter a flow that was looked up and is not there. A full table is the primary's burden, and counted. */
static bool enter(struct dp_worker *w, const struct dp_snapshot *s, struct item *it, uint16_t backend, unsigned state,
                  uint64_t now_ms) {
    unsigned generation = backend ? s->backends[backend].generation : 0;
    uint32_t value = dp_flow_value(backend, state, dp_tick(s, now_ms), generation);
    uint32_t slot = it->p.ip == 4 ? dp_flow_insert4(w->ip4, it->key4, it->place, value)
                                  : dp_flow_insert6(w->ip6, &it->key6, it->place, value);
    changed(w, it);
    if (slot == UINT32_MAX) {
        event(w, DP_EV_TABLE_FULL);
        return false;
    }
    event(w, state == DP_FLOW_LEARNED ? DP_EV_LEARNED : DP_EV_FLOW_NEW);
    w->by_front[it->service->front].flows += state != DP_FLOW_LEARNED;
    return true;
}

static bool has_room(struct dp_worker *w, struct item *it) {
    const struct dp_flow_table *t = table_of(w, it);
    if (w->by_front[it->service->front].flows >= it->service->flows_most) {
        event(w, DP_EV_SERVICE_FULL);
        return false;
    }
    /* Refused at the SYN, long before an insert could fail: a connection is never begun that cannot be remembered. */
    if (dp_flow_count(t) * 16 >= dp_flow_capacity(t) * 13) {
        event(w, DP_EV_TABLE_FULL);
        return false;
    }
    return true;
}

/* A new flow's backend: by the table while the service spills, else the primary (0). */
static uint16_t pick(struct dp_worker *w, struct item *it) {
    const struct dp_service *v = it->service;
    if (!v->rows || v->mode == DP_MODE_NORMAL)
        return 0;
    uint16_t backend = v->rows[(uint32_t)((hash_of(w, it) >> 32) * DP_ROWS >> 32)];
    return backend && has_room(w, it) ? backend : 0;
}

static bool lives(const struct dp_snapshot *s, uint16_t backend) {
    return backend && backend < s->backend_count && s->backends[backend].alive;
}

/* May a connection begin there that is only a SYN so far? Past the deadline of a drain it may not: the sweep would take
 * its flow out, and the filter, which remembers the SYN for three seconds, would make it again. */
static bool welcomes(const struct dp_snapshot *s, uint16_t backend, uint64_t now_ms) {
    return lives(s, backend) && !(s->backends[backend].deadline_ms && now_ms >= s->backends[backend].deadline_ms);
}

/* ---- decisions ---- */

static void to_primary(struct item *it) {
    it->backend = it->service->primary;
    it->verdict = it->backend ? DP_PRIMARY : DP_DROP_NO_PRIMARY;
}
static void to_shard(struct item *it, uint16_t backend) {
    it->backend = backend;
    it->verdict = DP_SHARD;
}

/* A packet nobody knows: the primary's; on a shard's host it goes back there once; one of a pair goes by the table. */
static void unknown(struct dp_worker *w, struct item *it) {
    if (it->service->mode == DP_MODE_HOST) {
        to_primary(it);
        it->verdict = it->verdict == DP_PRIMARY ? DP_BOUNCE : it->verdict;
        return;
    }
    uint16_t backend = it->service->miss_by_table ? pick(w, it) : 0;
    it->guessed = backend;
    backend ? to_shard(it, backend) : to_primary(it);
}

/* A new connection, decided by the table of this moment. */
static void open_afresh(struct dp_worker *w, struct item *it, uint64_t now_ms) {
    struct dp_service_counters *c = &w->by_front[it->service->front];
    if (it->value) { /* addresses and ports of an older one */
        event(w, DP_EV_FLOW_REUSED);
        forget(w, it);
    }
    uint16_t backend = pick(w, it);
    dp_pending_put(w->pending, hash_of(w, it), backend, now_ms);
    c->opened++;
    event(w, DP_EV_SYN);
    if (!backend) {
        to_primary(it);
        return;
    }
    c->spilled++;
    c->look_until_ms = now_ms + PENDING_MS;
    event(w, DP_EV_SYN_SPILLED);
    to_shard(it, backend);
}

/* Its shard is dead, or came back without it. */
static bool is_orphan(const struct dp_snapshot *s, uint32_t value) {
    uint16_t backend = (uint16_t)dp_flow_backend(value);
    return value && dp_flow_state(value) != DP_FLOW_LEARNED &&
           (!lives(s, backend) || s->backends[backend].generation != dp_flow_generation(value));
}

/* Once decided, a SYN that is sent again gets the same answer, whatever the mode has become meanwhile. */
static void open_flow(struct dp_worker *w, const struct dp_snapshot *s, struct item *it, uint64_t now_ms) {
    uint16_t before;
    if (dp_flow_state(it->value) == DP_FLOW_CLOSING || is_orphan(s, it->value) ||
        !dp_pending_get(w->pending, hash_of(w, it), now_ms, &before) ||
        (before != PENDING_PRIMARY && !welcomes(s, before, now_ms))) {
        open_afresh(w, it, now_ms);
        return;
    }
    event(w, DP_EV_SYN_REPEATED);
    w->by_front[it->service->front].repeated++;
    if (before != PENDING_PRIMARY)
        w->by_front[it->service->front].look_until_ms = now_ms + PENDING_MS;
    dp_pending_put(w->pending, hash_of(w, it), before, now_ms); /* as long as it is sent again, it is remembered */
    before ? to_shard(it, before) : to_primary(it);
}

/* Its shard died: what its service wants. */
static void orphan(struct dp_worker *w, const struct dp_snapshot *s, struct item *it, uint64_t now_ms) {
    enum dp_dead policy = it->service->dead;
    event(w, DP_EV_FLOW_MOVED);
    if (policy == DP_DEAD_REHASH) {
        forget(w, it);
        uint16_t backend = pick(w, it);
        backend &&enter(w, s, it, backend, DP_FLOW_OPEN, now_ms) ? to_shard(it, backend) : to_primary(it);
    } else if (policy == DP_DEAD_PRIMARY)
        to_primary(it);
    else
        it->verdict = policy == DP_DEAD_RESET && it->p.kind == DP_KIND_TCP && !(it->p.tcp_flags & DP_RST)
                          ? DP_REPLY
                          : DP_DROP_DEAD;
}

/* A flow of ours: note that it lives, that it ends. */
static void follow(struct dp_worker *w, const struct dp_snapshot *s, struct item *it, uint64_t now_ms) {
    uint16_t backend = (uint16_t)dp_flow_backend(it->value);
    unsigned state = dp_flow_state(it->value), now = dp_tick(s, now_ms);
    if (state == DP_FLOW_LEARNED)
        to_primary(it);
    else if (is_orphan(s, it->value)) {
        orphan(w, s, it, now_ms);
        return;
    } else
        to_shard(it, backend);
    if (it->p.kind == DP_KIND_ICMP_ERROR) {
        event(w, DP_EV_ICMP_FLOW);
        return;
    }
    unsigned age = now;
    if (it->p.kind == DP_KIND_TCP && it->p.tcp_flags & (DP_FIN | DP_RST)) {
        if (state == DP_FLOW_OPEN) {
            event(w, DP_EV_FLOW_END);
            w->touched |= UINT64_C(1) << (it->place & 63); /* it ends once, however many say so in this burst */
        }
        state = DP_FLOW_CLOSING;
    }
    if (age != dp_flow_age(it->value) || state != dp_flow_state(it->value))
        dp_flow_set(table_of(w, it), it->slot, dp_flow_value(backend, state, age, dp_flow_generation(it->value)));
}

/* No flow of ours: the first packet after a spilled SYN makes one, the rest is the primary's. */
static void first_after(struct dp_worker *w, const struct dp_snapshot *s, struct item *it, uint64_t now_ms) {
    uint16_t backend;
    if (!dp_pending_get(w->pending, hash_of(w, it), now_ms, &backend) || backend == PENDING_PRIMARY) {
        unknown(w, it);
        return;
    }
    if (!welcomes(s, backend, now_ms)) {
        to_primary(it);
        return;
    }
    if (it->p.kind == DP_KIND_ICMP_ERROR || it->p.tcp_flags & DP_RST) { /* belongs there, opens nothing */
        to_shard(it, backend);
        return;
    }
    w->by_front[it->service->front].answered++;
    enter(w, s, it, backend, DP_FLOW_OPEN, now_ms) ? to_shard(it, backend) : to_primary(it);
}

/* Stays with the primary while it lives. A table that is filling is not filled with these. */
static void learn(struct dp_worker *w, const struct dp_snapshot *s, struct item *it, uint64_t now_ms) {
    const struct dp_flow_table *t = table_of(w, it);
    if (dp_flow_count(t) * 2 < dp_flow_capacity(t))
        enter(w, s, it, 0, DP_FLOW_LEARNED, now_ms);
    else
        event(w, DP_EV_TABLE_FULL);
    to_primary(it);
}

static void datagram(struct dp_worker *w, const struct dp_snapshot *s, struct item *it, uint64_t now_ms) {
    const struct dp_service *v = it->service;
    if (now_ms < v->learn_until_ms) { /* it may be older than the spill: nobody can tell, so it stays */
        learn(w, s, it, now_ms);
        return;
    }
    uint16_t backend = pick(w, it);
    w->by_front[v->front].opened++;
    if (backend && enter(w, s, it, backend, DP_FLOW_OPEN, now_ms)) {
        w->by_front[v->front].spilled++;
        to_shard(it, backend);
    } else if (v->rows && v->mode == DP_MODE_SPILL)
        learn(w, s, it, now_ms); /* the primary's for as long as it lives, whatever the weights become */
    else
        unknown(w, it);
}

static void decide(struct dp_worker *w, const struct dp_snapshot *s, struct item *it, uint64_t now_ms) {
    bool tcp = it->p.kind == DP_KIND_TCP;
    bool opens = tcp ? (it->p.tcp_flags & (DP_SYN | DP_ACK | DP_RST | DP_FIN)) == DP_SYN
                     : it->p.kind == DP_KIND_UDP && it->service->quic && it->p.quic_initial;
    if (is_stale(w, it))
        look_up_one(w, it);
    if (opens && (tcp || !it->value))
        open_flow(w, s, it, now_ms);
    else if (it->value)
        follow(w, s, it, now_ms);
    else if (!it->wanted)
        to_primary(it);
    else if (tcp || it->service->quic || it->p.kind == DP_KIND_ICMP_ERROR)
        first_after(w, s, it, now_ms);
    else
        datagram(w, s, it, now_ms);
}

/* ---- fragments ---- */

/* Later fragments carry no ports: they go where the first one went; where that was not seen, to the primary. */
static void later_fragment(struct dp_worker *w, const struct dp_snapshot *s, struct item *it, uint64_t now_ms) {
    uint16_t backend;
    if (!dp_fragments_get(w->fragments, &it->p, now_ms, &backend)) {
        event(w, DP_EV_FRAGMENT_LOST);
        to_primary(it);
        return;
    }
    event(w, DP_EV_FRAGMENT);
    lives(s, backend) && backend != it->service->primary ? to_shard(it, backend) : to_primary(it);
}

/* ---- the burst ---- */

/* IPv4 as the four bytes that were just written: reading more would wait until all of them are in the cache. */
static bool same_address(const struct dp_packet *a, const struct dp_packet *b) {
    uint32_t x, y;
    if (a->ip == 6)
        return !memcmp(a->destination, b->destination, 16);
    memcpy(&x, a->destination, 4);
    memcpy(&y, b->destination, 4);
    return x == y;
}

/* Neighbours in a burst are often of one service: look at the one before first. */
static const struct dp_service *find(const struct dp_snapshot *s, const struct dp_packet *p, bool ports,
                                     const struct item *before) {
    if (before && before->service && ports && before->p.kind == p->kind && p->kind != DP_KIND_ICMP_ERROR &&
        before->verdict == DP_PASS && before->p.destination_port == p->destination_port && before->p.ip == p->ip &&
        same_address(&before->p, p))
        return before->service;
    return dp_snapshot_find(s, p->destination, p->ip, p->protocol, ports ? p->destination_port : 0);
}

static void read_one(struct dp_worker *w, const struct dp_snapshot *s, struct dp_burst *b, unsigned i, struct item *it,
                     const struct item *before, uint64_t now_ms) {
    it->service = NULL;
    it->value = 0;
    it->slot = UINT32_MAX;
    it->backend = 0;
    it->wanted = it->hashed = it->guessed = false;
    b->fate[i].grow = 0;
    w->counters.bytes += b->length[i];
    it->verdict = (uint8_t)dp_parse(b->frame[i], b->length[i], &it->p);
    if (it->verdict != DP_PASS || !it->p.ip)
        return;
    bool ports = it->p.kind == DP_KIND_TCP || it->p.kind == DP_KIND_UDP || it->p.kind == DP_KIND_ICMP_ERROR;
    it->service = find(s, &it->p, ports, before);
    if (!it->service) {
        it->service = ports && s->returns ? dp_snapshot_find_return(s, &it->p) : NULL;
        if (it->service)
            it->verdict = DP_RETURN;
        return;
    }
    struct dp_service_counters *c = &w->by_front[it->service->front];
    c->packets++;
    c->bytes += b->length[i];
    if (!ports)
        return;
    make_key(it);
    it->wanted = it->service->mode != DP_MODE_NORMAL || c->flows || now_ms < c->look_until_ms;
}

static void look_up(struct dp_worker *w, struct item *items, unsigned n) {
    uint64_t keys[DP_BURST], hashes[DP_BURST];
    struct dp_key6 keys6[DP_BURST];
    uint32_t values[DP_BURST], slots[DP_BURST];
    uint8_t at4[DP_BURST], at6[DP_BURST];
    unsigned n4 = 0, n6 = 0;
    for (unsigned i = 0; i < n; i++) {
        if (items[i].wanted && items[i].p.ip == 4) {
            keys[n4] = items[i].key4;
            at4[n4++] = (uint8_t)i;
        } else if (items[i].wanted) {
            keys6[n6] = items[i].key6;
            at6[n6++] = (uint8_t)i;
        }
    }
    if (n4)
        dp_flow_lookup4(w->ip4, keys, n4, hashes, values, slots);
    for (unsigned k = 0; k < n4; k++) {
        items[at4[k]].place = hashes[k];
        items[at4[k]].value = values[k];
        items[at4[k]].slot = slots[k];
    }
    if (n6)
        dp_flow_lookup6(w->ip6, keys6, n6, hashes, values, slots);
    for (unsigned k = 0; k < n6; k++) {
        items[at6[k]].place = hashes[k];
        items[at6[k]].value = values[k];
        items[at6[k]].slot = slots[k];
    }
}

/* Who will ask the pending filter, or enter a flow: those are megabytes, and their lines are on their way before the
 * first one asks. */
static void ask_ahead(struct dp_worker *w, struct item *items, unsigned n) {
    uint64_t keys[DP_BURST], hashes[DP_BURST];
    uint8_t at[DP_BURST];
    unsigned count = 0;
    for (unsigned i = 0; i < n; i++) {
        struct item *it = &items[i];
        if (!it->wanted || (it->value && !(it->p.tcp_flags & DP_SYN)))
            continue;
        if (!it->value && !(it->p.tcp_flags & DP_SYN))
            dp_flow_prepare(table_of(w, it), it->place);
        if (it->p.ip == 4) {
            keys[count] = it->key4;
            at[count++] = (uint8_t)i;
        } else
            dp_pending_prefetch(w->pending, hash_of(w, it));
    }
    dp_hash8_many(&w->key, keys, hashes, count);
    for (unsigned k = 0; k < count; k++) {
        items[at[k]].hash = hashes[k];
        items[at[k]].hashed = true;
        dp_pending_prefetch(w->pending, hashes[k]);
    }
}

/* What the source port of a tunnel is made of: one port for all packets of a flow, also for those of the short way. */
static uint16_t entropy_of(struct dp_worker *w, struct item *it) {
    bool ports = it->p.kind != DP_KIND_OTHER && it->p.kind != DP_KIND_FRAGMENT_LATER;
    uint64_t hash = it->wanted ? it->place : ports ? hash_of(w, it) : 0;
    return (uint16_t)(hash >> DP_ENTROPY_SHIFT);
}

/* What leaves a shard's host for the primary says so: it is sent there once, and by no router's table from there. */
static void end_loop(uint8_t *frame, struct item *it) {
    if (it->guessed && dp_rewrite_is_marked(frame, &it->p))
        to_primary(it);
    bool back = it->verdict == DP_BOUNCE || (it->verdict == DP_PRIMARY && it->service->mode == DP_MODE_HOST);
    if (back && !dp_rewrite_mark(frame, &it->p))
        it->verdict = DP_DROP_LOOP;
}

static void leave(struct dp_worker *w, const struct dp_snapshot *s, struct dp_burst *b, unsigned i, struct item *it) {
    end_loop(b->frame[i], it);
    uint8_t verdict = it->verdict;
    b->fate[i].port = DP_PORT_PASS;
    if (verdict == DP_RETURN)
        dp_rewrite_return(b->frame[i], &it->p, it->service->at.address, it->service->at.port);
    else if (verdict == DP_REPLY) {
        dp_rewrite_reset(b->frame[i], &b->length[i], &it->p);
        b->fate[i].port = DP_PORT_BACK;
    } else if (it->backend && (verdict == DP_PRIMARY || verdict == DP_SHARD || verdict == DP_BOUNCE)) {
        const struct dp_rewrite *r = &s->backends[it->backend].rewrite;
        enum dp_verdict done =
            dp_rewrite(r, b->frame[i], &b->length[i], b->room[i], &it->p, entropy_of(w, it), &b->fate[i].grow);
        b->fate[i].port = done == DP_REPLY ? DP_PORT_BACK : r->port;
        if (done == DP_REPLY)
            event(w, DP_EV_TOO_BIG);
        if (done != DP_PASS)
            verdict = (uint8_t)done;
        else if (verdict == DP_SHARD) {
            w->by_front[it->service->front].spilled_packets++;
            w->by_front[it->service->front].spilled_bytes += b->length[i];
        }
    }
    b->fate[i].verdict = verdict;
    w->counters.verdict[verdict]++;
}

static void long_way(struct dp_worker *w, const struct dp_snapshot *s, struct dp_burst *b, const uint8_t *which,
                     unsigned n, uint64_t now_ms) {
    struct item items[DP_BURST];
    unsigned wanted = 0;
    w->stale = false;
    w->touched = 0;
    for (unsigned i = 0; i < n; i++) {
        read_one(w, s, b, which[i], &items[i], i ? &items[i - 1] : NULL, now_ms);
        wanted += items[i].wanted;
    }
    if (wanted) {
        look_up(w, items, n);
        ask_ahead(w, items, n);
    }
    for (unsigned i = 0; i < n; i++) {
        struct item *it = &items[i];
        if (!it->service || it->verdict != DP_PASS)
            continue;
        if (it->p.kind == DP_KIND_OTHER)
            to_primary(it);
        else if (it->p.kind == DP_KIND_FRAGMENT_LATER)
            later_fragment(w, s, it, now_ms);
        else
            decide(w, s, it, now_ms);
        if (it->p.first_fragment && it->backend)
            dp_fragments_put(w->fragments, &it->p, it->backend, now_ms);
    }
    for (unsigned i = 0; i < n; i++)
        leave(w, s, b, which[i], &items[i]);
}

void dp_worker_burst(struct dp_worker *w, const struct dp_snapshot *s, struct dp_burst *b, uint64_t now_ms) {
    uint8_t which[DP_BURST];
    unsigned n = 0;
    w->counters.packets += b->count;
    for (uint64_t rest = dp_express(w, s, b, now_ms); rest; rest &= rest - 1) /* in the order in which they came */
        which[n++] = (uint8_t)__builtin_ctzll(rest);
    if (n)
        long_way(w, s, b, which, n, now_ms);
}

/* ---- the sweep ---- */

static bool is_over(const struct dp_snapshot *s, uint32_t value, const struct dp_service *v, uint64_t now_ms,
                    enum dp_event *why) {
    unsigned quiet = (dp_tick(s, now_ms) - dp_flow_age(value)) & 255, backend = dp_flow_backend(value);
    bool closing = dp_flow_state(value) == DP_FLOW_CLOSING;
    *why = closing ? DP_EVENT_COUNT : DP_EV_FLOW_IDLE;
    if (quiet > (closing ? LINGER_TICKS : v ? v->idle_ticks : LINGER_TICKS))
        return true;
    *why = DP_EV_FLOW_DEADLINE;
    return backend && backend < s->backend_count && s->backends[backend].deadline_ms &&
           now_ms >= s->backends[backend].deadline_ms;
}

static void sweep(struct dp_worker *w, const struct dp_snapshot *s, struct dp_flow_table *t, uint32_t *cursor,
                  unsigned buckets, uint64_t now_ms) {
    struct dp_key6 key;
    uint32_t value, slot, from = *cursor;
    while (dp_flow_next(t, cursor, buckets, &key, &value, &slot)) {
        if (slot != UINT32_MAX) {
            uint32_t at = s->by_front[key.frontend];
            enum dp_event why;
            if (is_over(s, value, at ? &s->services[at - 1] : NULL, now_ms, &why)) {
                if (why != DP_EVENT_COUNT)
                    event(w, why);
                struct dp_service_counters *c = &w->by_front[key.frontend];
                c->flows -= c->flows && dp_flow_state(value) != DP_FLOW_LEARNED;
                dp_flow_erase(t, slot);
            }
        }
        if (slot == UINT32_MAX || *cursor - from >= buckets * 5)
            return;
    }
    *cursor = 0;
}

void dp_worker_sweep(struct dp_worker *w, const struct dp_snapshot *s, unsigned buckets, uint64_t now_ms) {
    if (dp_flow_count(w->ip4))
        sweep(w, s, w->ip4, &w->cursor4, buckets, now_ms);
    if (dp_flow_count(w->ip6))
        sweep(w, s, w->ip6, &w->cursor6, buckets, now_ms);
}

/* ---- the worker ---- */

static void recount(struct dp_worker *w, const struct dp_flow_table *t) {
    struct dp_key6 key;
    uint32_t cursor = 0, value, slot;
    while (dp_flow_next(t, &cursor, UINT32_MAX, &key, &value, &slot))
        if (slot != UINT32_MAX)
            w->by_front[key.frontend].flows += dp_flow_state(value) != DP_FLOW_LEARNED;
}

void dp_worker_recount(struct dp_worker *w) {
    for (unsigned i = 0; i <= DP_SERVICES_MOST; i++)
        w->by_front[i].flows = 0;
    recount(w, w->ip4);
    recount(w, w->ip6);
}

int dp_worker_init(struct dp_worker *w, struct dp_flow_table *ip4, struct dp_flow_table *ip6, uint64_t seed) {
    memset(w, 0, sizeof *w);
    w->ip4 = ip4;
    w->ip6 = ip6;
    dp_hash_key_make(&w->key, seed);
    w->by_front = calloc(DP_SERVICES_MOST + 1, sizeof *w->by_front);
    w->pending = dp_pending_new(seed);
    w->fragments = dp_fragments_new(seed);
    if (!w->by_front || !w->pending || !w->fragments) {
        dp_worker_fini(w);
        return -1;
    }
    return 0;
}

void dp_worker_fini(struct dp_worker *w) {
    dp_pending_free(w->pending);
    dp_fragments_free(w->fragments);
    free(w->by_front);
    memset(w, 0, sizeof *w);
}
