/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * bench_router [--json]: what a packet costs, as multiples of swapping its MAC addresses on the same
 * ports in the same run (macswap, which is what dpdk-testpmd does). Modes take turns in windows of some milliseconds of
 * processor time, and each figure is the first quartile of its windows: other programs on the machine cost the same
 * for all of them. Ports are two net_null devices (which hand out the pool's packets as they are; each was made a valid
 * frame before, and its flow is chosen by a callback), and two net_ring devices in a loop. Without --json it draws what
 * a packet costs against the number of flows and against the share of packets that are of spilled ones.
 */
#include <arpa/inet.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_malloc.h>
#include <rte_tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lcore.h"
#include "region.h"
#include "router_flow.h"

enum {
    PORTS = 2,
    FRAME = 64,
    FRAME6 = 74,
    /* the least that holds both headers */ POOL = 8191,
    BURSTS = 6000,
    ROUNDS = 24,
    SHARDS = 4,
    PICKS = 1 << 22,
    RING = 1024,
    CIRCLE = 256, /* packets that go round between the ring ports */
    CONNECTIONS = 1 << 14
};

/*
 * What tells one flow from another: bytes 20 to 35 of a frame of IPv4, or bytes 22 to 37 (its port is in the first two)
 * of one of IPv6. One store each: a card writes whole lines, and a load that spans two young stores waits for both.
 */
struct flow_fields {
    uint8_t bytes[16];
};

static struct {
    struct rte_mempool *pool;
    struct dp_port ports[PORTS];
    struct dp_lcore lcore;
    struct dp_snapshot *_Atomic snapshot;
    struct rte_rcu_qsbr *rcu;
    struct dp_capture capture;
    struct dp_region region;
    struct flow_fields *flows; /* [PICKS], in the order in which packets take them */
    uint32_t next;
    bool six;
} b;

static void die(const char *what) {
    fprintf(stderr, "bench_router: %s\n", what);
    exit(1);
}

/* ---- frames ---- */

static uint16_t sum_ip4(const uint8_t *ip) {
    uint32_t sum = 0;
    for (int i = 0; i < 20; i += 2)
        sum += i == 10 ? 0 : (uint32_t)(ip[i] << 8 | ip[i + 1]);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return htons((uint16_t)~sum);
}

static void make_frame(uint8_t *f) {
    uint8_t *ip = f + 14;
    memset(f, 0, FRAME6);
    f[12] = b.six ? 0x86 : 8;
    f[13] = b.six ? 0xdd : 0;
    if (b.six) {
        ip[0] = 0x60;
        ip[5] = 20;
        ip[6] = 6;
        ip[7] = 64;
        memcpy(ip + 24, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x50", 16);
    } else {
        ip[0] = 0x45;
        ip[3] = 40;
        ip[8] = 64;
        ip[9] = 6;
        memcpy(ip + 16, "\xc0\0\2\x50", 4);
        uint16_t sum = sum_ip4(ip);
        memcpy(ip + 10, &sum, 2);
    }
    uint8_t *tcp = ip + (b.six ? 40 : 20);
    tcp[3] = 80;
    tcp[12] = 0x50;
    tcp[13] = 16;
}

/* Every packet of the pool becomes a frame; net_null hands them out untouched. */
static void fill_pool(void) {
    static struct rte_mbuf *all[POOL];
    unsigned n = 0;
    while (n < POOL && (all[n] = rte_pktmbuf_alloc(b.pool))) {
        make_frame(rte_pktmbuf_mtod(all[n], uint8_t *));
        n++;
    }
    while (n)
        rte_pktmbuf_free(all[--n]);
}

static uint64_t key_of(uint32_t i) {
    return (uint64_t)htonl(0x0a000000 + (i >> 4)) | (uint64_t)htons((uint16_t)(1024 + (i & 15))) << 32;
}

static void choose_flows(uint32_t count, uint64_t seed) {
    uint8_t frame[FRAME6];
    make_frame(frame);
    for (uint32_t k = 0; k < PICKS; k++) {
        uint64_t key = key_of((uint32_t)(router_random(&seed) % count));
        if (b.six) {
            memset(b.flows[k].bytes, 0, 12);
            memcpy(b.flows[k].bytes + 12, &key, 4);
            memcpy(b.flows[k].bytes, (char *)&key + 4, 2);
            continue;
        }
        memcpy(frame + 26, &key, 4);
        memcpy(frame + 34, (char *)&key + 4, 2);
        uint16_t sum = sum_ip4(frame + 14);
        memcpy(frame + 24, &sum, 2);
        memcpy(b.flows[k].bytes, frame + 20, 16);
    }
}

static uint16_t put_flow(uint16_t port, uint16_t queue, struct rte_mbuf **m, uint16_t n, uint16_t most, void *user) {
    (void)port, (void)queue, (void)most, (void)user;
    for (uint16_t i = 0; i < n; i++) {
        const struct flow_fields *f = &b.flows[b.next++ & (PICKS - 1)];
        uint8_t *frame = rte_pktmbuf_mtod(m[i], uint8_t *);
        if (b.six) {
            uint64_t ports = 0;
            memcpy(&ports, f->bytes, 2);
            ports |= UINT64_C(0x5000) << 16; /* to port 80 */
            memcpy(frame + 54, &ports, 8);
            memcpy(frame + 22, f->bytes, 16);
        } else {
            memcpy(frame + 20, f->bytes, 16);
        }
        m[i]->data_len = b.six ? FRAME6 : FRAME;
    }
    return n;
}

/* ---- the anchor ---- */

static void swap_macs(struct rte_mbuf **m, uint16_t n) {
    for (uint16_t i = 0; i < n; i++) {
        struct rte_ether_hdr *e = rte_pktmbuf_mtod(m[i], struct rte_ether_hdr *);
        struct rte_ether_addr keep = e->dst_addr;
        e->dst_addr = e->src_addr;
        e->src_addr = keep;
    }
}

static unsigned anchor_poll(bool swap) {
    struct rte_mbuf *m[DP_RX];
    unsigned all = 0;
    for (unsigned p = 0; p < PORTS; p++) {
        uint16_t n = rte_eth_rx_burst(b.ports[p].id, 0, m, DP_RX);
        if (swap)
            swap_macs(m, n);
        for (uint16_t sent = rte_eth_tx_burst(b.ports[p ^ 1].id, 0, m, n); sent < n; sent++)
            rte_pktmbuf_free(m[sent]);
        all += n;
    }
    return all;
}

/* ---- the router ---- */

static uint16_t rows[DP_ROWS], targets[SHARDS] = {2, 3, 4, 5};

static void set_service(int mode, int action) {
    struct dp_backend_spec backends[SHARDS + 1];
    struct dp_service_spec s = {.at = {.ip = b.six ? 6 : 4, .protocol = 6, .port = htons(80)},
                                .front = 1,
                                .primary = 1,
                                .mode = (uint8_t)mode,
                                .rows = rows,
                                .backends = targets,
                                .backend_count = SHARDS};
    struct dp_snapshot *made = NULL;
    const char *why = NULL;
    int64_t which;
    memcpy(s.at.address, b.six ? "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x50" : "\xc0\0\2\x50", b.six ? 16 : 4);
    for (uint16_t i = 0; i <= SHARDS; i++) {
        struct dp_path p = {.action = i ? action : DP_ACT_L2,
                            .port = 1,
                            .outer_ip = 4,
                            .vni = 1,
                            .destination_mac = {2, 0, 0, 0, 0, 1}};
        p.inner_destination_mac[0] = 2;
        p.destination[0] = p.source[0] = 10;
        backends[i] = (struct dp_backend_spec){.path = p, .index = (uint16_t)(i + 1), .alive = true};
    }
    if (dp_snapshot_make(&s, 1, backends, SHARDS + 1, 1, &made, &why, &which))
        die(why);
    struct dp_snapshot *old = atomic_exchange(&b.snapshot, made);
    dp_snapshot_free(old);
}

/* `flows` spilled flows, as if each had shown a SYN and its first ACK. */
static void set_flows(uint32_t flows) {
    unsigned log2 = 6;
    const char *why = NULL;
    char text[DP_REGION_WHY];
    while ((5u << log2) * 0.8 < flows)
        log2++;
    if (b.lcore.worker.ip4) {
        struct dp_flow_table *a = b.lcore.worker.ip4, *c = b.lcore.worker.ip6;
        dp_worker_fini(&b.lcore.worker);
        dp_flow_close(a);
        dp_flow_close(c);
        dp_region_close(&b.region);
    }
    size_t four = dp_flow_bytes(DP_FLOW_IP4, b.six ? 6 : log2), six = dp_flow_bytes(DP_FLOW_IP6, b.six ? log2 : 6);
    four = (four + 4095) / 4096 * 4096;
    struct dp_flow_table *t4, *t6;
    struct dp_region_spec spec = {.bytes = four + six};
    if (dp_region_open(&spec, &b.region, text))
        die(text);
    if (dp_flow_open(b.region.memory, dp_flow_bytes(DP_FLOW_IP4, b.six ? 6 : log2), DP_FLOW_IP4, b.six ? 6 : log2, true,
                     1, &t4, &why) ||
        dp_flow_open((uint8_t *)b.region.memory + four, six, DP_FLOW_IP6, b.six ? log2 : 6, true, 1, &t6, &why) ||
        dp_worker_init(&b.lcore.worker, t4, t6, 1))
        die(why ? why : "out of memory");
    unsigned age = (unsigned)(rte_rdtsc() / b.lcore.cycles_per_ms / DP_TICK_MS); /* or the sweep takes them for idle */
    for (uint32_t i = 0; i < flows; i++) {
        uint64_t key = key_of(i) | UINT64_C(1) << 48, hash;
        uint32_t value, slot, put = dp_flow_value(2 + i % SHARDS, DP_FLOW_OPEN, age, 0);
        struct dp_key6 k6 = {.port = (uint16_t)(key >> 32), .frontend = 1};
        uint32_t source = (uint32_t)key;
        memcpy(k6.source + 12, &source, 4);
        memcpy(k6.source, &k6.port, 2);
        if (b.six) {
            dp_flow_lookup6(t6, &k6, 1, &hash, &value, &slot);
            slot = dp_flow_insert6(t6, &k6, hash, put);
        } else {
            dp_flow_lookup4(t4, &key, 1, &hash, &value, &slot);
            slot = dp_flow_insert4(t4, key, hash, put);
        }
        if (slot == UINT32_MAX)
            die("the table is full");
    }
    dp_worker_recount(&b.lcore.worker);
}

/* ---- windows ---- */

enum mode { IO, MACSWAP, ROUTER };

/* ns of processor time a packet. */
static double window(enum mode mode, unsigned bursts) {
    uint64_t packets = 0;
    double began = router_seconds();
    for (unsigned i = 0; i < bursts; i++)
        packets += mode == ROUTER ? dp_lcore_poll(&b.lcore) : anchor_poll(mode == MACSWAP);
    return (router_seconds() - began) * 1e9 / (double)packets;
}

struct pair {
    double anchor, router; /* without what choosing flows costs */
};

static void generate(bool on) {
    static const struct rte_eth_rxtx_callback *cb[PORTS];
    for (uint16_t p = 0; p < PORTS; p++)
        if (on)
            cb[p] = rte_eth_add_rx_callback(b.ports[p].id, 0, put_flow, NULL);
        else
            rte_eth_remove_rx_callback(b.ports[p].id, 0, cb[p]);
}

/*
 * The router and its anchor take turns; all see the same disturbances. Which flow a packet is of is written into it by
 * us: what that costs (about a nanosecond) is the anchor with it less the anchor without, and is taken off.
 */
static struct pair measure(bool flows) {
    double anchor[ROUNDS], router[ROUNDS], generator[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) { /* the first quartile does not see the first one, which is cold */
        anchor[i] = window(MACSWAP, BURSTS / 4);
        if (flows)
            generate(true);
        generator[i] = flows ? window(MACSWAP, BURSTS / 4) : anchor[i];
        router[i] = window(ROUTER, BURSTS / 4);
        if (flows)
            generate(false);
    }
    struct pair p = {router_quartile(anchor, ROUNDS), router_quartile(router, ROUNDS)};
    p.router -= router_quartile(generator, ROUNDS) - p.anchor;
    return p;
}

/* Every packet has to be what is measured. */
static struct pair measure_all(enum dp_verdict expected, bool flows) {
    b.lcore.worker.counters = (struct dp_counters){0};
    struct pair p = measure(flows);
    const struct dp_counters *c = &b.lcore.worker.counters;
    if (c->verdict[expected] == c->packets && c->packets)
        return p;
    for (int i = 0; i < DP_VERDICT_COUNT; i++)
        fprintf(stderr, "verdict %d: %llu\n", i, (unsigned long long)c->verdict[i]);
    die("not every packet went where it should");
    return p;
}

static struct pair hits(uint32_t flows, int action) {
    set_flows(flows);
    set_service(DP_MODE_SPILL, action);
    choose_flows(flows, 1);
    return measure_all(DP_SHARD, true);
}

/* Segments of `count` connections from the `first` on, all of one kind. */
static void write_burst(struct dp_burst *burst, uint32_t first, unsigned count, uint8_t flags) {
    static uint8_t frame[DP_BURST][256 + FRAME6];
    *burst = (struct dp_burst){.count = count};
    for (unsigned i = 0; i < count; i++) {
        uint64_t key = key_of(first + i);
        uint8_t *f = frame[i] + 256, *ip = f + 14;
        if (flags == RTE_TCP_SYN_FLAG) {
            make_frame(f);
            memcpy(ip + 12, &key, 4);
            memcpy(ip + 20, (char *)&key + 4, 2);
            uint16_t sum = sum_ip4(ip);
            memcpy(ip + 10, &sum, 2);
        }
        ip[20 + 13] = flags;
        burst->frame[i] = f;
        burst->length[i] = FRAME;
        burst->room[i] = 256;
    }
}

/* Seconds that CONNECTIONS of them take, SYN, first ACK, FIN; or only writing them does. */
static double connect_all(uint32_t first, bool decide) {
    static const uint8_t flags[] = {RTE_TCP_SYN_FLAG, RTE_TCP_ACK_FLAG, RTE_TCP_ACK_FLAG | RTE_TCP_FIN_FLAG};
    struct dp_burst burst;
    double began = router_seconds();
    for (uint32_t at = first; at < first + CONNECTIONS; at += DP_RX)
        for (int step = 0; step < 3; step++) {
            write_burst(&burst, at, DP_RX, flags[step]);
            if (decide)
                dp_worker_burst(&b.lcore.worker, b.snapshot, &burst, 1000);
        }
    return router_seconds() - began;
}

/* New spilled connections a second, through the whole decision. What it costs to write them is taken off. */
static double connections_per_second(void) {
    enum { WINDOWS = 12 };
    double all[WINDOWS], generator[WINDOWS];
    set_flows(20 * CONNECTIONS); /* others, and room for more */
    set_service(DP_MODE_SPILL, DP_ACT_L2);
    for (uint32_t r = 0; r < WINDOWS; r++) {
        uint64_t ended = b.lcore.worker.counters.event[DP_EV_FLOW_END];
        uint32_t first = (1u << 24) + r * CONNECTIONS;
        generator[r] = connect_all(first, false);
        all[r] = connect_all(first, true);
        if (b.lcore.worker.counters.event[DP_EV_FLOW_END] - ended != CONNECTIONS)
            die("not every connection was spilled, entered and ended");
    }
    return CONNECTIONS / (router_quartile(all, WINDOWS) - router_quartile(generator, WINDOWS));
}

/* µs from the beginning of a commit (64 shards, a table of 4099 rows) until the lcore, which forwards, has switched. */
static double commit_us(void);

/* ---- output ---- */

static void start_ports(const int id[PORTS]) {
    struct rte_eth_conf conf = {0};
    for (uint16_t p = 0; p < PORTS; p++) {
        uint16_t e = (uint16_t)id[p];
        b.ports[p] = (struct dp_port){.id = e, .neighbour = p ^ 1};
        if (id[p] < 0 || rte_eth_dev_configure(e, 1, 1, &conf) || rte_eth_rx_queue_setup(e, 0, 512, 0, NULL, b.pool) ||
            rte_eth_tx_queue_setup(e, 0, 512, 0, NULL) || rte_eth_dev_start(e))
            die("the ports cannot be started");
    }
}

static void init_ports(void) {
    b.pool = rte_pktmbuf_pool_create("bench", POOL, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
    if (!b.pool)
        die("no memory for packets");
    start_ports((int[]){0, 1});
    fill_pool();
}

/* From now on ports are rings: what the second one sends, the first one receives. */
static void become_rings(void) {
    struct rte_ring *there = rte_ring_create("there", RING, 0, RING_F_SP_ENQ | RING_F_SC_DEQ),
                    *back = rte_ring_create("back", RING, 0, RING_F_SP_ENQ | RING_F_SC_DEQ);
    if (!there || !back)
        die("no memory for rings");
    start_ports(
        (int[]){rte_eth_from_rings("r0", &there, 1, &back, 1, 0), rte_eth_from_rings("r1", &back, 1, &there, 1, 0)});
    for (int i = 0; i < CIRCLE; i++) {
        struct rte_mbuf *m = rte_pktmbuf_alloc(b.pool);
        if (!m)
            die("no memory for packets");
        make_frame((uint8_t *)rte_pktmbuf_append(m, FRAME));
        rte_ring_enqueue(there, m);
    }
}

static void init(void) {
    init_ports();
    b.flows = calloc(PICKS, sizeof *b.flows);
    b.rcu = aligned_alloc(64, (rte_rcu_qsbr_get_memsize(1) + 63) / 64 * 64);
    if (!b.flows || !b.rcu || rte_rcu_qsbr_init(b.rcu, 1) || rte_rcu_qsbr_thread_register(b.rcu, 0))
        die("out of memory");
    rte_rcu_qsbr_thread_online(b.rcu, 0);
    for (int i = 0; i < DP_ROWS; i++)
        rows[i] = (uint16_t)(i % SHARDS + 1);
    b.lcore = (struct dp_lcore){.snapshot = &b.snapshot,
                                .rcu = b.rcu,
                                .ports = b.ports,
                                .port_count = PORTS,
                                .capture = &b.capture,
                                .cycles_per_ms = rte_get_tsc_hz() / 1000,
                                .commands = rte_ring_create("c", 4, 0, 0)};
}

static struct pair normal(void) {
    set_flows(0);
    set_service(DP_MODE_NORMAL, DP_ACT_L2);
    choose_flows(4096, 1);
    return measure_all(DP_PRIMARY, false); /* whose flow it is does not matter: nothing is looked up */
}

static double commit_us(void) {
    double us[64];
    for (int i = 0; i < 64; i++) {
        double began = router_seconds();
        set_service(DP_MODE_SPILL, DP_ACT_L2);
        dp_lcore_poll(&b.lcore);
        us[i] = (router_seconds() - began) * 1e6;
    }
    return router_quartile(us, 64);
}

static double io_ns(void) {
    double ns[ROUNDS];
    for (int i = 0; i < ROUNDS; i++)
        ns[i] = window(IO, BURSTS / 4);
    return router_quartile(ns, ROUNDS);
}

/* ---- pictures ---- */

static void bar(const char *label, struct pair p) {
    enum { WIDTH = 60 };
    int filled = (int)(p.router * 2 + 0.5); /* half a nanosecond a character */
    printf("%8s |%.*s%s %.1f ns, %.2f\n", label, filled < WIDTH ? filled : WIDTH,
           "############################################################", filled > WIDTH ? ">" : "", p.router,
           p.router / p.anchor);
}

static void draw_flows(void) {
    static const struct {
        const char *label;
        uint32_t flows;
    } at[] = {{"1", 1},           {"64", 64},          {"1 Ki", 1 << 10},
              {"4 Ki", 4 << 10},  {"64 Ki", 64 << 10}, {"256 Ki", 256 << 10},
              {"1 Mi", 1 << 20},  {"4 Mi", 4 << 20},   {"8 Mi", 8 << 20},
              {"16 Mi", 16 << 20}};
    puts("\nspilled flows (all packets are of one of them), ns a packet, times macswap");
    for (unsigned i = 0; i < sizeof at / sizeof at[0]; i++)
        bar(at[i].label, hits(at[i].flows, DP_ACT_L2));
}

/* Of a million flows so many are spilled; the others miss the table and go to the primary. */
static void draw_shares(void) {
    enum { FLOWS = 1 << 20, STEPS = 8 };
    puts("\nshare of a million flows that is spilled, ns a packet, times macswap");
    for (uint32_t i = 0; i <= STEPS; i++) {
        char label[16];
        set_flows(FLOWS / STEPS * i);
        set_service(DP_MODE_SPILL, DP_ACT_L2);
        choose_flows(FLOWS, 1);
        b.lcore.worker.counters = (struct dp_counters){0};
        struct pair p = measure(true);
        const struct dp_counters *c = &b.lcore.worker.counters;
        double share = (double)c->verdict[DP_SHARD] / (double)c->packets, meant = (double)i / STEPS;
        if (c->verdict[DP_SHARD] + c->verdict[DP_PRIMARY] != c->packets || share > meant + 0.01 || share < meant - 0.01)
            die("not the share of packets that should be spilled");
        snprintf(label, sizeof label, "%.1f %%", 100 * meant);
        bar(label, p);
    }
}

int main(int argc, char **argv) {
    char *args[] = {argv[0],
                    "--in-memory",
                    "--no-pci",
                    "--no-telemetry",
                    "-l",
                    "0",
                    "--log-level=lib.eal:error",
                    "--vdev=net_null0,size=64",
                    "--vdev=net_null1,size=64"};
    bool json = argc > 1 && !strcmp(argv[1], "--json");
    if (rte_eal_init((int)(sizeof args / sizeof args[0]), args) < 0)
        die("EAL cannot be initialised: huge pages? (sysctl vm.nr_hugepages=512)");
    init();
    struct pair t1 = normal(), t2 = hits(4096, DP_ACT_L2), vxlan = hits(4096, DP_ACT_VXLAN),
                t3 = hits(1 << 20, DP_ACT_L2), t3_8 = hits(8 << 20, DP_ACT_L2);
    double t7 = connections_per_second(), t9 = commit_us(), io = io_ns();
    struct router_flow_figures t4;
    double hash_ns, ours_ns;
    if (router_flow_measure(4, 8 << 20, 4, &t4) || router_rte_hash_measure(8 << 20, 4, &hash_ns, &ours_ns))
        die("no memory for eight million flows");
    b.six = true;
    fill_pool();
    struct pair six = hits(4096, DP_ACT_L2);
    b.six = false;
    fill_pool();
    if (!json) {
        draw_flows();
        draw_shares();
    }
    become_rings();
    struct pair ring = normal(), ring_hit = hits(4096, DP_ACT_L2);
    if (json)
        printf("{\"macswap_ns\": %.2f, \"T1\": %.3f, \"T2\": %.3f, \"T2_vxlan\": %.3f, \"T3\": %.3f, \"T3_8Mi\": %.3f, "
               "\"T4\": %.3f, \"T4_rte_hash\": %.2f, \"T7\": %.0f, "
               "\"T8\": %.1f, \"T9\": %.1f, \"T2_ip6\": %.3f, \"io_ns\": %.2f, \"ring_macswap_ns\": %.2f, "
               "\"ring_T1\": %.3f, \"ring_T2\": %.3f}\n",
               t1.anchor, t1.router / t1.anchor, t2.router / t2.anchor, vxlan.router / vxlan.anchor,
               t3.router / t3.anchor, t3_8.router / t3_8.anchor, t4.over_floor, hash_ns / ours_ns, t7,
               t4.bytes_per_flow, t9, six.router / six.anchor, io, ring.anchor, ring.router / ring.anchor,
               ring_hit.router / ring_hit.anchor);
    else
        printf("\nio %.1f ns, macswap %.1f ns\nT1 normal %.1f ns %.2f\nT2 4 Ki flows, L2 %.1f ns %.2f\nT2 VXLAN %.1f "
               "ns %.2f\nT3 1 "
               "Mi %.1f ns %.2f\nT3 8 Mi %.1f ns %.2f\n"
               "T7 %.2f M/s\nT9 %.0f us\nIPv6, 4 Ki flows %.1f ns %.2f\nrings: macswap %.1f ns, normal %.1f ns %.2f, 4 "
               "Ki flows %.1f ns %.2f\n",
               io, t1.anchor, t1.router, t1.router / t1.anchor, t2.router, t2.router / t2.anchor, vxlan.router,
               vxlan.router / vxlan.anchor, t3.router, t3.router / t3.anchor, t3_8.router, t3_8.router / t3_8.anchor,
               t7 / 1e6, t9, six.router, six.router / six.anchor, ring.anchor, ring.router, ring.router / ring.anchor,
               ring_hit.router, ring_hit.router / ring_hit.anchor);
    return 0;
}
