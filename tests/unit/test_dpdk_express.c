/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The short way decides as the long one. Two workers see the same packets: one in bursts, plain, by each level of
 * instructions; the other one by one, tagged, which takes the long way always. What becomes of each packet and all
 * counters are the same, over services that spill and do not, flows that open, end, are reused, grow old and die.
 */
#include "dpdk_world.h"

#include "express.h"

enum { HOSTS = 40, MOST = 32, TAGGED = 4 };

static struct world a, b;
static uint8_t frames[MOST][256 + 1600];
static unsigned tunnels;

/* A packet of some client; now and then one that is broken or not ours. */
static void some_packet(struct world *w, uint64_t *seed, uint8_t *frame, uint32_t *length) {
    static const uint8_t flags[] = {W_ACK, W_ACK, W_ACK,         W_ACK, W_ACK,
                                    W_SYN, W_SYN, W_ACK | W_FIN, W_RST, W_SYN | W_ACK};
    uint64_t r = w_random(seed);
    bool six = w->service.at.ip == 6;
    w_make(w, (uint32_t)(r % HOSTS) + 1, (uint16_t)(1024 + (r >> 8) % 2),
           (r >> 16) % 64 < sizeof flags ? flags[(r >> 16) % 64] : W_ACK, (uint32_t)(r >> 24) % 4 * 200);
    *length = w->length;
    memcpy(frame, w->frame + 256, *length);
    unsigned odd = (r >> 32) % 64, l3 = 14, l4 = six ? 54 : 34;
    if (odd == 0)
        frame[l3 + (six ? 6 : 10)] ^= 0x55; /* another protocol; a wrong checksum */
    else if (odd == 1)
        frame[l4 + 12] = 0x40; /* a header of sixteen bytes */
    else if (odd == 2)
        frame[l4 + 12] = 0xf0; /* longer than the packet, perhaps */
    else if (odd == 3)
        *length -= 1; /* shorter than it says */
    else if (odd == 4)
        frame[l4 + 3] ^= 1; /* a port of no service */
    else if (odd == 5)
        frame[12] = 0x88; /* not IP */
    else if (odd == 6)
        *length += 6; /* padding */
}

static void tag_of(uint8_t *to, const uint8_t *frame, uint32_t length) {
    memcpy(to, frame, 12);
    memcpy(to + 12, "\x81\x00\x00\x05", TAGGED);
    memcpy(to + 12 + TAGGED, frame + 12, length - 12);
}

/* What left, byte for byte. Without a tunnel the tag is still there. */
static void compare_frames(const uint8_t *plain, uint32_t length, const uint8_t *tagged, uint32_t tagged_length,
                           bool tunnel) {
    assert_int_equal(length + (tunnel ? 0 : TAGGED), tagged_length);
    assert_memory_equal(plain, tagged, tunnel ? length : 12);
    if (!tunnel)
        assert_memory_equal(plain + 12, tagged + 12 + TAGGED, length - 12);
}

static void compare_burst(uint64_t *seed, unsigned n) {
    static uint8_t others[MOST][256 + 1600];
    struct dp_burst all = {.count = n};
    struct dp_fate other[MOST];
    uint32_t sizes[MOST], other_sizes[MOST];
    for (unsigned i = 0; i < n; i++) {
        some_packet(&a, seed, frames[i] + 256, &sizes[i]);
        struct dp_burst one = {.count = 1, .frame = {others[i] + 256}, .length = {sizes[i] + TAGGED}, .room = {256}};
        tag_of(others[i] + 256, frames[i] + 256, sizes[i]);
        dp_worker_burst(&b.worker, b.snapshot, &one, b.now_ms);
        assert_false(one.whole);
        other[i] = one.fate[0];
        other_sizes[i] = one.length[0];
        all.frame[i] = frames[i] + 256;
        all.length[i] = sizes[i];
        all.room[i] = 256;
    }
    dp_worker_burst(&a.worker, a.snapshot, &all, a.now_ms);
    for (unsigned i = 0; i < n; i++) {
        struct dp_fate f = all.whole ? all.all : all.fate[i];
        assert_int_equal(f.verdict, other[i].verdict);
        assert_int_equal(f.port, other[i].port);
        bool tunnel = f.grow != 0;
        tunnels += tunnel;
        assert_int_equal(f.grow, other[i].grow + (tunnel ? TAGGED : 0));
        compare_frames(frames[i] + 256 - f.grow, all.length[i], others[i] + 256 - other[i].grow, other_sizes[i],
                       tunnel);
    }
}

static void change_world(uint64_t *seed) {
    uint64_t r = w_random(seed);
    unsigned what = r % 16, shard = 2 + (r >> 8) % W_SHARDS;
    for (int k = 0; k < 2; k++) {
        struct world *w = k ? &b : &a;
        w->now_ms += (r >> 16) % 3 * 700; /* ages change every two seconds */
        if (what == 0)
            w->service.mode = DP_MODE_NORMAL;
        else if (what == 1)
            w->service.mode = DP_MODE_HOST;
        else if (what == 2) {
            for (int i = 2; i < 2 + W_SHARDS; i++) { /* one dies, the one before lives again */
                w->backend[i].generation += !w->backend[i].alive && i != (int)shard;
                w->backend[i].alive = i != (int)shard;
            }
        } else if (what < 12) {
            w_spill(w, 0.5);
            continue;
        }
        w_commit(w);
    }
}

/* Half of the shards are behind a tunnel. */
static void prepare(struct world *w, uint8_t ip, unsigned log2) {
    w_open(w, 6, log2, 1);
    if (ip == 6)
        w->service.at = (struct dp_address){.ip = 6, .protocol = 6, .port = htons(80), .address = {0x20, 1}};
    for (int i = 2; i < 2 + W_SHARDS; i += 2) {
        struct dp_path *p = &w->backend[i].path;
        *p = (struct dp_path){
            .action = DP_ACT_VXLAN, .outer_ip = 4, .vni = 77, .source = {10, 1}, .destination = {10, 2}};
        memset(p->destination_mac, i, 6);
        memset(p->inner_destination_mac, 16 + i, 6);
        p->mtu = 576; /* some packets are too big for it, and answered */
    }
    w_commit(w);
}

static void hold_together(uint8_t ip, unsigned log2, uint64_t seed) {
    prepare(&a, ip, log2);
    prepare(&b, ip, log2);
    tunnels = 0;
    for (int i = 0; i < 5000; i++) {
        if (i % 50 == 0)
            change_world(&seed);
        compare_burst(&seed, 1 + (unsigned)(w_random(&seed) % MOST));
    }
    a.worker.counters.bytes = b.worker.counters.bytes = 0; /* tags count */
    assert_memory_equal(&a.worker.counters, &b.worker.counters, sizeof a.worker.counters);
    assert_true(a.worker.counters.verdict[DP_SHARD] > 2500 && a.worker.counters.verdict[DP_PRIMARY] > 2500);
    assert_true(tunnels > 1250);
    assert_int_equal(w_verdicts(&a), a.worker.counters.packets);
    assert_int_equal(a.worker.by_front[7].spilled_packets, b.worker.by_front[7].spilled_packets);
    assert_int_equal(dp_flow_count(a.flow[ip == 6]), dp_flow_count(b.flow[ip == 6]));
    w_close(&a);
    w_close(&b);
}

static void short_way_decides_as_the_long_one(void **state) {
    (void)state;
    for (int level = 1; dp_express_force(level) == 0; level++)
        for (uint64_t seed = 1; seed <= 2; seed++) {
            hold_together(4, 6, seed);  /* a table that is near */
            hold_together(4, 14, seed); /* and one that is not */
            hold_together(6, 6, seed);
            hold_together(6, 14, seed);
        }
    assert_int_equal(dp_express_force(0), 0);
    assert_int_equal(dp_express_force(9), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(short_way_decides_as_the_long_one)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
