/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The router in one process with EAL, through public headers but for the frames: two ring ports, packets put into one
 * side and taken from the other. One EAL for all tests (it takes a tenth of a second to start), no huge pages needed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <shardpredict.h>
#include <shardpredict/backend-dpdk.h>

enum { FRAMES = 64 };

static spr_context *ctx;
static struct rte_mempool *pool;
static struct rte_ring *in[2], *out[2]; /* of ports 0 and 1, as the world sees them */
static char port_name[2][RTE_ETH_NAME_MAX_LEN];
static const char *const ports[] = {port_name[0], port_name[1]};
static int made;

static const char *said(void) {
    struct spr_error e = {.size = sizeof e};
    return spr_context_error(ctx, &e) >= 0 && e.text ? e.text : "";
}

/* Ring devices last as long as EAL; a router is closed before the next one is opened. */
static int begin(void **state) {
    (void)state;
    if (!ctx)
        assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    if (!made) {
        pool = rte_pktmbuf_pool_create("world", 4095, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
        for (int i = 0; i < 2; i++) {
            in[i] = rte_ring_create(i ? "in1" : "in0", 1024, 0, RING_F_SP_ENQ | RING_F_SC_DEQ);
            out[i] = rte_ring_create(i ? "out1" : "out0", 1024, 0, RING_F_SP_ENQ | RING_F_SC_DEQ);
            int id = rte_eth_from_rings(i ? "right" : "left", &in[i], 1, &out[i], 1, 0);
            assert_true(id >= 0 && rte_eth_dev_get_name_by_port((uint16_t)id, port_name[i]) == 0);
        }
        made = 1;
    }
    return 0;
}

static spr_dpdk *open_router(const struct spr_dpdk_opts *more) {
    spr_dpdk *r = NULL;
    struct spr_dpdk_opts o = more ? *more : (struct spr_dpdk_opts){0};
    o.size = sizeof o;
    o.ports = ports;
    o.port_count = 2;
    o.seed = 7;
    if (spr_dpdk_open(ctx, &o, &r) < 0)
        fail_msg("%s", said());
    return r;
}

static const char *const names[] = {"web", "web-s1", "web-s2"};

static void describe(spr_dpdk *r) {
    struct spr_dpdk_service s = {
        .size = sizeof s, .name = "web", .address = "192.0.2.80", .protocol = 6, .port = 80, .primary = "web"};
    if (spr_dpdk_begin(r) < 0)
        fail_msg("%s", said());
    for (int i = 0; i < 3; i++) {
        char mac[] = "02:00:00:00:00:10";
        mac[16] = (char)('0' + i);
        struct spr_dpdk_backend b = {.size = sizeof b, .name = names[i], .action = SPR_DPDK_L2, .port = 1, .mac = mac};
        if (spr_dpdk_backend_set(r, &b) < 0)
            fail_msg("%s", said());
    }
    if (spr_dpdk_service_set(r, &s) < 0)
        fail_msg("%s", said());
}

static void commit(spr_dpdk *r) {
    uint64_t generation = 0;
    if (spr_dpdk_commit(r, (struct spr_time){0, 0}, &generation) < 0)
        fail_msg("%s", said());
    spr_dpdk_poll(r, 0);
    assert_int_equal(spr_dpdk_switched(r, generation), 1);
}

static void spill(spr_dpdk *r, double one, double two) {
    const double w[] = {one, two};
    if (spr_dpdk_spill_set(r, "web", names + 1, w, 2, 0) < 0)
        fail_msg("%s", said());
}

static void put(uint16_t port, uint8_t flags) {
    struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
    assert_non_null(m);
    uint8_t *f = (uint8_t *)rte_pktmbuf_append(m, 64), *ip = f + 14, *tcp = ip + 20;
    memset(f, 0, 64);
    f[12] = 8;
    ip[0] = 0x45;
    ip[3] = 40;
    ip[8] = 64;
    ip[9] = 6;
    memcpy(ip + 12, "\xcb\0\x71\7\xc0\0\2\x50", 8);
    uint32_t sum = 0;
    for (int i = 0; i < 20; i += 2)
        sum += (uint32_t)(ip[i] << 8 | ip[i + 1]);
    sum = (sum & 0xffff) + (sum >> 16);
    ip[10] = (uint8_t)(~sum >> 8);
    ip[11] = (uint8_t)~sum;
    tcp[0] = (uint8_t)(port >> 8);
    tcp[1] = (uint8_t)port;
    tcp[3] = 80;
    tcp[12] = 0x50;
    tcp[13] = flags;
    assert_int_equal(rte_ring_enqueue(in[0], m), 0);
}

/* Last byte of the destination MAC address of what left by port 1; -1 = nothing did. */
static int got(void) {
    struct rte_mbuf *m = NULL;
    if (rte_ring_dequeue(out[1], (void **)&m))
        return -1;
    int last = rte_pktmbuf_mtod(m, const uint8_t *)[5];
    rte_pktmbuf_free(m);
    return last;
}

static int through(spr_dpdk *r, uint16_t port, uint8_t flags) {
    put(port, flags);
    assert_int_equal(spr_dpdk_poll(r, 0), 1);
    return got();
}

static void balance(const spr_dpdk *r) {
    uint64_t sum = 0;
    int verdict = 0;
    for (int32_t i = 0; i < spr_dpdk_counter_count(); i++) {
        assert_non_null(spr_dpdk_counter_name(i, NULL, &verdict));
        sum += verdict ? spr_dpdk_counter(r, i) : 0;
    }
    assert_int_equal(sum, spr_dpdk_counter(r, -1));
}

static void packets_reach_primary_and_shards(void **state) {
    (void)state;
    spr_dpdk *r = open_router(NULL);
    int seen[3] = {0};
    describe(r);
    commit(r);
    assert_int_equal(through(r, 1000, 2), 0x10);
    assert_int_equal(spr_dpdk_begin(r), SPR_OK);
    spill(r, 0.4, 0.4);
    commit(r);
    for (uint16_t port = 2000; port < 2400; port++) {
        int first = through(r, port, 2);
        seen[first - 0x10]++;
        assert_int_equal(through(r, port, 16), first);
    }
    for (int i = 0; i < 3; i++)
        assert_true(seen[i] > 40);
    assert_int_equal(through(r, 1000, 16), 0x10); /* older than the spill */
    struct spr_dpdk_service_stats s = {.size = sizeof s};
    assert_int_equal(spr_dpdk_service_stats(r, "web", &s), SPR_OK);
    assert_int_equal(s.flows, seen[1] + seen[2]);
    assert_int_equal(s.packets, 802);
    assert_true(s.share > 0.799 && s.share < 0.801);
    balance(r);
    spr_dpdk_close(r);
}

/* `n` connections that nobody saw before, and what time brings after 50 ms of made-up time. */
static void tick(spr_dpdk *r, int64_t *ms, uint16_t *port, int n) {
    for (int i = 0; i < n; i++)
        through(r, (*port)++, 2);
    *ms += 50;
    assert_true(spr_dpdk_step(r, (struct spr_time){*ms * 1000000, *ms * 1000000}) >= 0);
}

static double share_now(spr_dpdk *r) {
    struct spr_dpdk_service_stats s = {.size = sizeof s};
    assert_int_equal(spr_dpdk_service_stats(r, "web", &s), SPR_OK);
    return s.share;
}

static void spike_spills_between_two_changes_as_far_as_it_may(void **state) {
    (void)state;
    for (int allowed = 0; allowed < 2; allowed++) {
        spr_dpdk *r = open_router(NULL);
        const double most[] = {0.3, 0.2};
        int64_t ms = 1000;
        uint16_t port = 1024;
        describe(r);
        if (allowed)
            assert_int_equal(spr_dpdk_spike_set(r, "web", names + 1, most, 2), SPR_OK);
        commit(r);
        for (int i = 0; i < 1200; i++) /* a minute of ten new connections a tick */
            tick(r, &ms, &port, 10);
        assert_true(share_now(r) == 0);
        int ticks = 0;
        while (share_now(r) == 0 && ++ticks < 40) /* now thirty */
            tick(r, &ms, &port, 30);
        if (!allowed) {
            assert_int_equal(ticks, 40);
            spr_dpdk_close(r);
            continue;
        }
        assert_true(ticks <= 8); /* 0.4 s; doubling takes 11 ticks at worst, doc/algorithms/spike.md */
        for (int i = 0; i < 5; i++)
            tick(r, &ms, &port, 30);
        assert_true(share_now(r) > 0.499 && share_now(r) < 0.501); /* two thirds are wanted, one half is allowed */
        assert_int_equal(spr_dpdk_begin(r), SPR_OK);
        spill(r, 0.2, 0.1);
        commit(r);
        assert_true(share_now(r) > 0.499 && share_now(r) < 0.501); /* a change does not end it */
        assert_int_equal(spr_dpdk_begin(r), SPR_OK);
        spill(r, 0.5, 0.2);
        commit(r);
        assert_true(share_now(r) > 0.699 && share_now(r) < 0.701); /* but may ask for more */
        assert_int_equal(spr_dpdk_begin(r), SPR_OK);
        assert_int_equal(spr_dpdk_backend_remove(r, "web-s1"), SPR_E_BUSY);
        spill(r, 0, 0);
        commit(r);
        for (int i = 0; i < 2400 && share_now(r) > 0; i++) /* the alarm ends: this is the level now */
            tick(r, &ms, &port, 30);
        assert_true(share_now(r) == 0);
        balance(r);
        spr_dpdk_close(r);
    }
}

static void waiting_are_those_of_now(void **state) {
    (void)state;
    spr_dpdk *r = open_router(NULL);
    struct spr_dpdk_service_stats s = {.size = sizeof s};
    int64_t ms = 1000;
    uint16_t port = 2000;
    describe(r);
    spill(r, 0.5, 0.5);
    commit(r);
    tick(r, &ms, &port, 0);
    tick(r, &ms, &port, 20);
    for (uint16_t p = 2000; p < 2005; p++)
        through(r, p, 16);
    tick(r, &ms, &port, 0);
    assert_int_equal(spr_dpdk_service_stats(r, "web", &s), SPR_OK);
    assert_int_equal(s.spilled, 20);
    assert_int_equal(s.waiting, 15);
    for (int i = 0; i < 120; i++) /* six seconds: they gave up */
        tick(r, &ms, &port, 0);
    assert_int_equal(spr_dpdk_service_stats(r, "web", &s), SPR_OK);
    assert_int_equal(s.waiting, 0);
    spr_dpdk_close(r);
}

/* The primary's address is this router's again: what came back has left once, and leaves no more. */
static void what_is_unknown_on_a_shards_host_leaves_once(void **state) {
    (void)state;
    spr_dpdk *r = open_router(NULL);
    struct spr_dpdk_service s = {.size = sizeof s,
                                 .name = "web",
                                 .address = "192.0.2.80",
                                 .protocol = 6,
                                 .port = 80,
                                 .primary = "web",
                                 .host = 1};
    struct rte_mbuf *m = NULL;
    describe(r);
    assert_int_equal(spr_dpdk_service_set(r, &s), SPR_OK);
    commit(r);
    put(6000, 16);
    assert_int_equal(spr_dpdk_poll(r, 0), 1);
    assert_int_equal(rte_ring_dequeue(out[1], (void **)&m), 0);
    assert_int_equal(rte_ring_enqueue(in[0], m), 0);
    assert_int_equal(spr_dpdk_poll(r, 0), 1);
    assert_int_equal(got(), -1);
    for (int32_t i = 0; i < spr_dpdk_counter_count(); i++) {
        const char *name = spr_dpdk_counter_name(i, NULL, NULL);
        if (!strcmp(name, "bounce") || !strcmp(name, "drop_loop"))
            assert_int_equal(spr_dpdk_counter(r, i), 1);
    }
    balance(r);
    spr_dpdk_close(r);
}

static void frame_of_no_service_goes_on_or_is_counted(void **state) {
    (void)state;
    for (int pass = 0; pass < 2; pass++) {
        spr_dpdk *r = open_router(&(struct spr_dpdk_opts){.pass = pass ? SPR_NONE : 0});
        put(5, 2); /* no service is described */
        spr_dpdk_poll(r, 0);
        assert_int_equal(got(), pass ? -1 : 0);
        balance(r);
        spr_dpdk_close(r);
    }
}

static void wrong_changes_leave_everything_as_it_was(void **state) {
    (void)state;
    spr_dpdk *r = open_router(NULL);
    struct spr_dpdk_backend b = {
        .size = sizeof b, .name = "x", .action = SPR_DPDK_L2, .port = 9, .mac = "02:00:00:00:00:01"};
    const char *const nobody[] = {"nobody"};
    const double one[] = {1};
    assert_int_equal(spr_dpdk_backend_set(r, &b), SPR_E_ARG); /* no change is open */
    describe(r);
    assert_int_equal(spr_dpdk_backend_set(r, &b), SPR_E_ARG);
    assert_non_null(strstr(said(), "port 9 of 2"));
    b.port = 0;
    b.mac = "02:00";
    assert_int_equal(spr_dpdk_backend_set(r, &b), SPR_E_ARG);
    assert_int_equal(spr_dpdk_spill_set(r, "web", nobody, one, 1, 0), SPR_E_NOT_FOUND);
    assert_non_null(strstr(said(), "nobody"));
    const double much[] = {0.7, 0.7};
    assert_int_equal(spr_dpdk_spill_set(r, "web", names + 1, much, 2, 0), SPR_E_ARG);
    commit(r);
    assert_int_equal(through(r, 1000, 2), 0x10);
    assert_int_equal(spr_dpdk_begin(r), SPR_OK);
    assert_int_equal(spr_dpdk_begin(r), SPR_E_BUSY);
    assert_int_equal(spr_dpdk_service_remove(r, "web"), SPR_OK);
    spr_dpdk_revert(r);
    assert_int_equal(through(r, 1001, 2), 0x10);
    spr_dpdk_close(r);
}

static void dead_shard_hands_its_flows_over(void **state) {
    (void)state;
    spr_dpdk *r = open_router(NULL);
    describe(r);
    spill(r, 1, 0);
    commit(r);
    assert_int_equal(through(r, 3000, 2), 0x11);
    assert_int_equal(through(r, 3000, 16), 0x11);
    assert_int_equal(spr_dpdk_begin(r), SPR_OK);
    assert_int_equal(spr_dpdk_alive(r, "web-s1", 0), SPR_OK);
    spr_dpdk_revert(r); /* it did not die after all */
    assert_int_equal(spr_dpdk_begin(r), SPR_OK);
    commit(r);
    assert_int_equal(through(r, 3000, 16), 0x11);
    assert_int_equal(spr_dpdk_begin(r), SPR_OK);
    assert_int_equal(spr_dpdk_alive(r, "web-s1", 0), SPR_OK);
    assert_int_equal(spr_dpdk_alive(r, "web-s1", 1), SPR_OK); /* it came back within the change, and knows nothing */
    commit(r);
    assert_int_equal(through(r, 3000, 16), 0x10);
    assert_int_equal(through(r, 3002, 2), 0x11); /* new ones it takes */
    assert_int_equal(through(r, 3002, 16), 0x11);
    assert_int_equal(spr_dpdk_begin(r), SPR_OK);
    assert_int_equal(spr_dpdk_alive(r, "web-s1", 0), SPR_OK);
    commit(r);
    assert_int_equal(through(r, 3002, 16), 0x10);
    assert_int_equal(through(r, 3001, 2), 0x10);
    assert_int_equal(spr_dpdk_begin(r), SPR_OK);
    assert_int_equal(spr_dpdk_backend_remove(r, "web"), SPR_E_BUSY);
    spr_dpdk_revert(r);
    balance(r);
    spr_dpdk_close(r);
}

static const char *service_of(void *user, int32_t vm) {
    (void)user;
    return vm == 0 ? "web" : NULL;
}
static const char *backend_of(void *user, int32_t vm, uint64_t shard) {
    (void)user, (void)vm;
    return shard == 1 || shard == 2 ? names[shard] : NULL;
}

static void publish(spr_dpdk *r, void *steered, int promoted, double weight, int dead) {
    const struct spr_router_ops *ops = spr_dpdk_router();
    struct spr_route_target targets[3] = {
        {.size = sizeof targets[0], .shard = 1, .weight = weight},
        {.size = sizeof targets[0], .shard = 9}, /* cannot be reached from here */
        {.size = sizeof targets[0], .shard = 2, .draining = 1, .dead = dead},
    };
    struct spr_route_service s = {.size = sizeof s,
                                  .route = {.size = sizeof s.route,
                                            .id = "vm",
                                            .target_count = 2,
                                            .drain_count = 1,
                                            .spill = weight,
                                            .spill_at_most = 1,
                                            .promoted = promoted},
                                  .targets = targets};
    struct spr_router_completion c = {.size = sizeof c};
    spr_routes *routes = NULL;
    spr_ticket ticket = 0;
    size_t n = 0;
    if (spr_routes_from(ctx, &s, 1, NULL, &routes) < 0)
        fail_msg("%s", said());
    assert_int_equal(ops->publish(steered, routes, (struct spr_time){0, 0}, INT64_MAX, &ticket), SPR_OK);
    spr_routes_unref(routes);
    spr_dpdk_poll(r, 0);
    assert_int_equal(ops->collect(steered, (struct spr_time){0, 0}, &c, 1, &n), SPR_OK);
    if (n != 1 || c.ticket != ticket || c.outcome != SPR_DONE)
        fail_msg("%zu completions: %s", n, c.text ? c.text : "");
}

static void promoted_shard_has_the_primarys_place(void **state) {
    (void)state;
    const struct spr_router_ops *ops = spr_dpdk_router();
    spr_dpdk *r = open_router(NULL);
    struct spr_dpdk_names by = {.size = sizeof by, .router = r, .service = service_of, .backend = backend_of};
    struct spr_env env = {.size = sizeof env, .context = ctx};
    void *steered = NULL;
    describe(r);
    spill(r, 0, 1);
    commit(r);
    assert_int_equal(through(r, 7000, 2), 0x12);
    assert_int_equal(through(r, 7000, 16), 0x12);
    assert_int_equal(ops->open(&env, &by, &steered), SPR_OK);
    publish(r, steered, 0, 0, 0);
    assert_int_equal(through(r, 7001, 2), 0x10);
    publish(r, steered, 1, 0, 0); /* the primary is dead: its flows and all new ones */
    assert_int_equal(through(r, 7001, 16), 0x11);
    assert_int_equal(through(r, 7002, 2), 0x11);
    assert_int_equal(through(r, 7000, 16), 0x12); /* one of a shard that drains stays */
    publish(r, steered, 1, 0.5, 0);
    for (uint16_t port = 7100; port < 7140; port++)
        assert_int_equal(through(r, port, 2), 0x11);
    assert_int_equal(spr_dpdk_begin(r), SPR_OK);
    assert_int_equal(spr_dpdk_backend_remove(r, "web-s1"), SPR_E_BUSY);
    spr_dpdk_revert(r);
    publish(r, steered, 2, 0, 0); /* the one that was promoted cannot be reached from here */
    assert_int_equal(through(r, 7003, 2), 0x10);
    publish(r, steered, 0, 0, 1); /* the one that drains died: by the policy, to the primary */
    assert_int_equal(through(r, 7000, 16), 0x10);
    assert_int_equal(through(r, 7002, 16), 0x10);
    balance(r);
    ops->close(steered);
    spr_dpdk_close(r);
}

static int count(void *user, const struct spr_dpdk_flow *f) {
    assert_string_equal(f->service, "web");
    assert_string_equal(f->source, "203.0.113.7");
    assert_true(f->port >= 4000 && f->port < 4100);
    ++*(int *)user;
    return SPR_OK;
}

/* Flows are dumped while an lcore runs; one that does not is said so. */
static void flows_counters_and_captures_can_be_read(void **state) {
    (void)state;
    spr_dpdk *r = open_router(NULL);
    char file[] = "/tmp/inprocess-XXXXXX", *text = NULL;
    int fd = mkstemp(file), flows = 0;
    assert_true(fd >= 0);
    close(fd);
    unlink(file);
    describe(r);
    spill(r, 0.5, 0.5);
    commit(r);
    assert_int_equal(spr_dpdk_capture(r, file, "web", "203.0.113.7", 10), SPR_OK);
    for (uint16_t port = 4000; port < 4100; port++) {
        through(r, port, 2);
        through(r, port, 16);
    }
    spr_dpdk_step(r, (struct spr_time){0, 0});
    FILE *f = fopen(file, "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    assert_int_equal(ftell(f), 24 + 10 * (16 + 64));
    fclose(f);
    assert_int_equal(spr_dpdk_capture(r, file, NULL, NULL, 1), SPR_E_EXISTS);
    unlink(file);
    if (rte_lcore_count() > 1) {
        assert_int_equal(spr_dpdk_start(r), SPR_OK);
        if (spr_dpdk_flows(r, "web", count, &flows) < 0)
            fail_msg("%s", said());
        spr_dpdk_stop(r);
        assert_int_equal(flows, 100);
    }
    assert_int_equal(spr_dpdk_metrics(r, &text), SPR_OK);
    assert_non_null(strstr(text, "shardpredict_router_packets_total{verdict=\"shard\"} 200\n"));
    assert_non_null(strstr(text, "shardpredict_router_service_flows{service=\"web\"} 100\n"));
    assert_string_equal(text + strlen(text) - 6, "# EOF\n");
    spr_dpdk_text_free(text);
    spr_dpdk_close(r);
}

static double seconds(clockid_t clock) {
    struct timespec t;
    assert_int_equal(clock_gettime(clock, &t), 0);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* An lcore with nothing to do leaves the processor to others, says so, and still wakes for a packet. */
static void idle_router_burns_no_core(void **state) {
    (void)state;
    if (rte_lcore_count() < 2)
        skip();
    spr_dpdk *r = open_router(NULL);
    describe(r);
    commit(r);
    assert_int_equal(spr_dpdk_start(r), SPR_OK);
    spr_dpdk_busy(r);
    assert_true(spr_dpdk_cpu(r) <= 0); /* since a last call that was not */
    double used = seconds(CLOCK_PROCESS_CPUTIME_ID), began = seconds(CLOCK_MONOTONIC);
    usleep(300000);
    used = seconds(CLOCK_PROCESS_CPUTIME_ID) - used;
    assert_true(used < (seconds(CLOCK_MONOTONIC) - began) / 2);
    assert_true(spr_dpdk_busy(r) < 0.01);
    struct spr_dpdk_idle idle = {.size = sizeof idle};
    assert_int_equal(spr_dpdk_idle(r, 0, &idle), SPR_OK);
    assert_int_equal(idle.way, SPR_DPDK_WAIT_NAP); /* rings have no interrupts */
    assert_non_null(idle.lacking);
    assert_int_equal(idle.waits, 0);
    assert_int_equal(spr_dpdk_idle(r, 1, &idle), SPR_E_ARG);
    double cpu = spr_dpdk_cpu(r);
    assert_true(cpu > 0 && cpu < 0.5);
    int last = -1;
    put(8000, 2);
    for (int i = 0; i < 10000 && last < 0; i++) {
        usleep(1000);
        last = got();
    }
    assert_int_equal(last, 0x10);
    for (uint16_t port = 8001; port < 8500; port++)
        put(port, 2);
    for (int i = 0, n = 0; i < 10000 && n < 499; i++) {
        usleep(1000);
        while (got() >= 0)
            n++;
    }
    spr_dpdk_stop(r);
    assert_true(spr_dpdk_busy(r) > 0);
    balance(r);
    spr_dpdk_close(r);
}

/* A router that ended without a word is started again: its flows go where they went, under the names they had. */
static void restart_keeps_flows(void **state) {
    (void)state;
    char directory[] = "/dev/shm/inprocess-XXXXXX";
    assert_non_null(mkdtemp(directory));
    struct spr_dpdk_opts o = {.region = directory, .name = "flows", .flows = 1000};
    spr_dpdk *r = open_router(&o);
    describe(r);
    spill(r, 0.5, 0.5);
    commit(r);
    int first[100];
    for (uint16_t i = 0; i < 100; i++) {
        first[i] = through(r, (uint16_t)(5000 + i), 2);
        assert_int_equal(through(r, (uint16_t)(5000 + i), 16), first[i]);
    }
    spr_dpdk_close(r);
    r = open_router(&o);
    describe(r);
    spill(r, 0, 0.1); /* other weights than before */
    commit(r);
    for (uint16_t i = 0; i < 100; i++)
        assert_int_equal(through(r, (uint16_t)(5000 + i), 16), first[i]);
    spr_dpdk_close(r);
    o.flows = 100000; /* another size: refused, not overwritten */
    struct spr_dpdk_opts other = o;
    other.size = sizeof other;
    other.ports = ports;
    other.port_count = 2;
    spr_dpdk *none = NULL;
    assert_true(spr_dpdk_open(ctx, &other, &none) < 0);
    assert_null(none);
    char file[64];
    snprintf(file, sizeof file, "%s/flows", directory);
    unlink(file);
    rmdir(directory);
}

int main(void) {
    char *args[] = {"inprocess",
                    "--no-huge",
                    "-m",
                    "512",
                    "--no-pci",
                    "--no-telemetry",
                    "-l",
                    "0,1",
                    "--log-level=lib.eal:error",
                    "--file-prefix=inprocess"};
    if (rte_eal_init((int)(sizeof args / sizeof args[0]), args) < 0) {
        puts("1..0 # SKIP EAL cannot be initialised here");
        return getenv("CI") != NULL;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(packets_reach_primary_and_shards, begin),
        cmocka_unit_test_setup(spike_spills_between_two_changes_as_far_as_it_may, begin),
        cmocka_unit_test_setup(waiting_are_those_of_now, begin),
        cmocka_unit_test_setup(what_is_unknown_on_a_shards_host_leaves_once, begin),
        cmocka_unit_test_setup(frame_of_no_service_goes_on_or_is_counted, begin),
        cmocka_unit_test_setup(wrong_changes_leave_everything_as_it_was, begin),
        cmocka_unit_test_setup(dead_shard_hands_its_flows_over, begin),
        cmocka_unit_test_setup(promoted_shard_has_the_primarys_place, begin),
        cmocka_unit_test_setup(flows_counters_and_captures_can_be_read, begin),
        cmocka_unit_test_setup(idle_router_burns_no_core, begin),
        cmocka_unit_test_setup(restart_keeps_flows, begin),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    spr_context_unref(ctx);
    rte_eal_cleanup();
    return failed;
}
