/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The loop of an lcore; see lcore.h. */
#include "lcore.h"

#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_prefetch.h>
#include <string.h>

enum { SWEEP_BUCKETS = 64, SWEEP_MS = 1, SWEEP_DUE = 16 };

/* ---- capturing ---- */

static bool is_wanted(const struct dp_capture *c, const struct dp_snapshot *s, const struct rte_mbuf *m) {
    struct dp_packet p;
    if (!c->front && !c->source_ip)
        return true;
    if (dp_parse(rte_pktmbuf_mtod(m, const uint8_t *), m->data_len, &p) != DP_PASS || !p.ip)
        return false;
    if (c->source_ip && (p.ip != c->source_ip || memcmp(p.source, c->source, p.ip == 4 ? 4 : 16)))
        return false;
    if (!c->front)
        return true;
    const struct dp_service *v = dp_snapshot_find(s, p.destination, p.ip, p.protocol, p.destination_port);
    return v && v->front == c->front;
}

static void capture(struct dp_lcore *l, const struct dp_snapshot *s, struct rte_mbuf **m, unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        if (!is_wanted(l->capture, s, m[i]))
            continue;
        struct rte_mbuf *copy = rte_pktmbuf_copy(m[i], l->capture->pool, 0, UINT32_MAX);
        if (copy && rte_ring_enqueue(l->capture->ring, copy))
            rte_pktmbuf_free(copy); /* its reader is slow: traffic does not wait for it */
    }
}

/* ---- a burst ---- */

static void describe(struct dp_burst *b, struct rte_mbuf **m, unsigned n) {
    b->count = n;
    for (unsigned i = 0; i < n; i++) {
        b->frame[i] = rte_pktmbuf_mtod(m[i], uint8_t *);
        rte_prefetch0(b->frame[i]);
        if (m[i]->nb_segs > 1) /* packets in several pieces: one piece, or their first one is what is there */
            rte_pktmbuf_linearize(m[i]);
        b->length[i] = m[i]->data_len;
        b->room[i] = rte_pktmbuf_headroom(m[i]);
    }
}

static inline void fit(struct rte_mbuf *m, int32_t grow, uint32_t length) {
    m->data_off = (uint16_t)(m->data_off - grow);
    m->data_len = (uint16_t)length;
    m->pkt_len = length;
    m->ol_flags = 0;
}

/* What a port does not take is lost, and counted as that instead of as forwarded. */
static void give(struct dp_lcore *l, unsigned port, struct rte_mbuf **m, unsigned n, const struct dp_fate *fate,
                 const uint8_t *at) {
    unsigned sent = rte_eth_tx_burst(l->ports[port].id, (uint16_t)l->queue, m, (uint16_t)n);
    for (unsigned i = sent; i < n; i++) {
        l->worker.counters.verdict[fate[at ? at[i] : 0].verdict]--;
        l->worker.counters.verdict[DP_DROP_TX]++;
        rte_pktmbuf_free(m[i]);
    }
}

/* Nobody can take it where it should go. */
static void lose(struct dp_lcore *l, struct rte_mbuf *m, uint8_t verdict) {
    l->worker.counters.verdict[verdict]--;
    l->worker.counters.verdict[DP_DROP_NO_WAY]++;
    rte_pktmbuf_free(m);
}

static void send_whole(struct dp_lcore *l, const struct dp_burst *b, struct rte_mbuf **m, unsigned n) {
    if (b->all.port >= l->port_count) {
        for (unsigned i = 0; i < n; i++)
            lose(l, m[i], b->all.verdict);
        return;
    }
    for (unsigned i = 0; i < n && b->all.grow; i++)
        fit(m[i], b->all.grow, b->length[i]);
    give(l, b->all.port, m, n, &b->all, NULL);
}

static void send_each(struct dp_lcore *l, const struct dp_burst *b, const uint8_t *from, struct rte_mbuf **m,
                      unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        const struct dp_fate *f = &b->fate[i];
        uint16_t to = f->port == DP_PORT_PASS   ? l->ports[from[i]].neighbour
                      : f->port == DP_PORT_BACK ? from[i]
                                                : f->port;
        if (f->verdict > DP_REPLY) {
            rte_pktmbuf_free(m[i]);
            continue;
        }
        if (to >= l->port_count) {
            lose(l, m[i], f->verdict);
            continue;
        }
        if (f->grow || b->length[i] != m[i]->data_len)
            fit(m[i], f->grow, b->length[i]);
        l->out_at[to][l->out_count[to]] = (uint8_t)i;
        l->out[to][l->out_count[to]++] = m[i];
    }
    for (unsigned i = 0; i < l->port_count; i++) {
        if (l->out_count[i])
            give(l, i, l->out[i], l->out_count[i], b->fate, l->out_at[i]);
        l->out_count[i] = 0;
    }
}

static void burst(struct dp_lcore *l, const struct dp_snapshot *s, const uint8_t *from, struct rte_mbuf **m,
                  unsigned n) {
    struct dp_burst b;
    describe(&b, m, n);
    dp_worker_burst(&l->worker, s, &b, l->now_ms);
    if (b.whole)
        send_whole(l, &b, m, n);
    else
        send_each(l, &b, from, m, n);
}

/* ---- commands ---- */

static void dump(struct dp_lcore *l, struct dp_dump *d) {
    struct dp_flow_table *t = d->ip == 4 ? l->worker.ip4 : l->worker.ip6;
    d->count = 0;
    for (unsigned buckets = 0; d->count < DP_DUMP && buckets < 4096; buckets++) {
        uint32_t value, slot;
        struct dp_dumped *f = &d->flow[d->count];
        if (!dp_flow_next(t, &d->cursor, 64, &f->key, &value, &slot)) {
            d->over = d->ip == 6;
            d->ip = 6;
            d->cursor = 0;
            break;
        }
        if (slot == UINT32_MAX)
            continue;
        f->value = value;
        f->ip = d->ip;
        d->count++;
    }
}

static void obey(struct dp_lcore *l) {
    void *command;
    if (rte_ring_dequeue(l->commands, &command))
        return;
    dump(l, command);
    rte_ring_enqueue(l->answers, command); /* one at a time: there is room */
}

/* ---- a round ---- */

/*
 * Packets of several ports are decided together: what looking flows up costs is waiting for memory, and the more are
 * looked up at once, the more of them wait at the same time.
 */
static unsigned receive(struct dp_lcore *l, const struct dp_snapshot *s) {
    struct rte_mbuf *m[DP_BURST];
    uint8_t from[DP_BURST];
    unsigned all = 0, n = 0;
    bool captures = atomic_load_explicit(&l->capture->on, memory_order_relaxed);
    for (unsigned p = 0; p < l->port_count; p++) {
        unsigned got = rte_eth_rx_burst(l->ports[p].id, (uint16_t)l->queue, m + n, DP_RX);
        if (got && captures)
            capture(l, s, m + n, got);
        memset(from + n, (int)p, got);
        all += got;
        n += got;
        if (n && (n > DP_BURST - DP_RX || p + 1 == l->port_count)) {
            burst(l, s, from, m, n);
            n = 0;
        }
    }
    return all;
}

unsigned dp_lcore_poll(struct dp_lcore *l) {
    const struct dp_snapshot *s = atomic_load_explicit(l->snapshot, memory_order_acquire);
    uint64_t began = rte_rdtsc();
    unsigned all;
    l->cycles_busy += l->busy ? began - l->began : 0;
    l->began = began;
    if (began >= l->cycles_next) {
        l->now_ms = began / l->cycles_per_ms;
        l->cycles_next = (l->now_ms + 1) * l->cycles_per_ms;
    }
    all = receive(l, s);
    if (began - l->cycles_sweep >= l->cycles_per_ms * SWEEP_MS) {
        uint64_t due = (began - l->cycles_sweep) / (l->cycles_per_ms * SWEEP_MS); /* more than one: it slept */
        l->cycles_sweep = began;
        dp_worker_sweep(&l->worker, s, SWEEP_BUCKETS * (unsigned)(due < SWEEP_DUE ? due : SWEEP_DUE), l->now_ms);
        obey(l);
    }
    atomic_store_explicit(&l->seen, s->generation, memory_order_release);
    rte_rcu_qsbr_quiescent(l->rcu, l->queue);
    l->rounds++;
    l->busy = all != 0;
    return all;
}
