/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The rare paths of the decision, one by one: what other balancers lose connections by. */
#include "dpdk_world.h"

#include <signal.h>
#include <sys/mman.h>

static uint64_t events(const struct world *w, enum dp_event e) { return w->worker.counters.event[e]; }

static struct world *begin(uint8_t protocol) {
    struct world *w = malloc(sizeof *w);
    assert_non_null(w);
    w_open(w, protocol, 8, 42);
    return w;
}
static void end(struct world *w) {
    assert_int_equal(w_verdicts(w), w->worker.counters.packets);
    w_close(w);
    free(w);
}

static sigjmp_buf touched;
static void note_touch(int signal) {
    (void)signal;
    siglongjmp(touched, 1);
}

static void close_tables(const struct world *w, bool closed) {
    for (int f = 0; f < 2; f++)
        assert_int_equal(mprotect(w->memory[f], w->bytes[f], closed ? PROT_NONE : PROT_READ | PROT_WRITE), 0);
}

/* All kinds of packets of a service, in bursts, while the tables' pages can be neither read nor written. */
static void mix(struct world *w) {
    static const uint8_t flags[] = {W_SYN, W_ACK, W_ACK | 8, W_FIN | W_ACK, W_RST};
    static uint8_t frames[DP_BURST][256 + 256];
    struct dp_burst b;
    for (unsigned n = 1; n <= DP_BURST; n++) {
        b.count = n;
        for (unsigned i = 0; i < n; i++) {
            w_make(w, i % 7, (uint16_t)(1 + i % 11), flags[(i + n) % 5], i % 3 * 20);
            if (w->service.at.ip == 4 && i % 13 == 5) { /* a later fragment */
                w->frame[256 + 14 + 7] = 9;
                w_sum_ip4(w->frame + 256 + 14);
            }
            memcpy(frames[i] + 256, w->frame + 256, w->length);
            b.frame[i] = frames[i] + 256;
            b.length[i] = w->length;
            b.room[i] = 256;
        }
        dp_worker_burst(&w->worker, w->snapshot, &b, w->now_ms);
        dp_worker_sweep(&w->worker, w->snapshot, 64, w->now_ms++);
    }
}

static void normal_service_touches_no_flow_table(void **state) {
    (void)state;
    struct sigaction note = {.sa_handler = note_touch}, before;
    assert_int_equal(sigaction(SIGSEGV, &note, &before), 0);
    for (int kind = 0; kind < 4; kind++) { /* TCP and UDP, IPv4 and IPv6 */
        struct world *w = begin(kind & 1 ? 17 : 6);
        volatile bool caught = false;
        w->service.at.ip = kind & 2 ? 6 : 4;
        w->service.idle_s = 60;
        w_commit(w);
        close_tables(w, true);
        if (sigsetjmp(touched, 1))
            fail_msg("a packet of kind %d touched the flow table", kind);
        mix(w);
        assert_int_equal(w->worker.counters.verdict[DP_PRIMARY], w->worker.counters.packets);
        w_spill(w, 1); /* the same packets do, once the service spills */
        if (sigsetjmp(touched, 1))
            caught = true;
        else
            mix(w);
        assert_true(caught);
        close_tables(w, false);
        w_close(w);
        free(w);
    }
    assert_int_equal(sigaction(SIGSEGV, &before, NULL), 0);
}

static void repeated_syn_keeps_its_decision_over_mode_changes(void **state) {
    (void)state;
    struct world *w = begin(6);
    unsigned first, again;
    assert_int_equal(w_send(w, 5, 99, W_SYN), W_PRIMARY); /* before the spill */
    w_spill(w, 1);
    w->now_ms += 1000;
    assert_int_equal(w_send(w, 5, 99, W_SYN), W_PRIMARY); /* sent again: its answer may be on the way */
    assert_int_equal(w_send(w, 5, 99, W_ACK), W_PRIMARY);
    uint16_t port = w_find(w, 6, true, &first);
    memset(w->rows, 0, sizeof w->rows);
    w->service.mode = DP_MODE_NORMAL;
    w_commit(w);
    w->now_ms += 1000;
    again = w_send(w, 6, port, W_SYN);
    assert_int_equal(again, first);
    w->now_ms += 1000;
    assert_int_equal(w_send(w, 6, port, W_ACK), first); /* the mode is normal, and there is no flow yet */
    assert_int_equal(dp_flow_count(w->flow[0]), 1);
    w->now_ms += 30000;
    assert_int_equal(w_send(w, 6, port, W_ACK), first);
    assert_int_equal(events(w, DP_EV_SYN_REPEATED), 2);
    end(w);
}

static void flood_of_syns_makes_no_flow_and_cap_holds(void **state) {
    (void)state;
    struct world *w = begin(6);
    unsigned backend;
    w->service.flows_most = 3;
    w_spill(w, 1);
    for (uint32_t i = 0; i < 100000; i++)
        w_send(w, i, (uint16_t)(i >> 3), W_SYN);
    assert_int_equal(dp_flow_count(w->flow[0]), 0);
    for (uint32_t host = 1; host <= 3; host++) {
        uint16_t port = w_find(w, host << 20, true, &backend);
        assert_int_equal(w_send(w, host << 20, port, W_ACK), backend);
    }
    assert_int_equal(w->worker.by_front[7].flows, 3);
    assert_int_equal(w_send(w, 9 << 20, 7, W_SYN), W_PRIMARY);
    assert_int_equal(events(w, DP_EV_SERVICE_FULL), 1);
    end(w);
}

static void full_table_begins_no_connection_that_it_cannot_remember(void **state) {
    (void)state;
    struct world *w = begin(6);
    w_spill(w, 1);
    for (uint32_t i = 1; i < 5000; i++) {
        unsigned first = w_send(w, i << 8, 7, W_SYN), then = w_send(w, i << 8, 7, W_ACK);
        assert_int_equal(first, then); /* decided at the SYN: an ACK never finds the table full */
    }
    assert_true(events(w, DP_EV_TABLE_FULL) > 1000);
    assert_true(dp_flow_count(w->flow[0]) * 100 > dp_flow_capacity(w->flow[0]) * 80);
    end(w);
}

static void ports_used_anew_are_decided_anew(void **state) {
    (void)state;
    struct world *w = begin(6);
    unsigned backend;
    w_spill(w, 1);
    uint16_t port = w_find(w, 77, true, &backend);
    assert_int_equal(w_send(w, 77, port, W_ACK), backend);
    w->now_ms += 10000; /* no FIN was seen: its client rebooted */
    memset(w->rows, 0, sizeof w->rows);
    w_commit(w);
    assert_int_equal(w_send(w, 77, port, W_SYN), W_PRIMARY);
    assert_int_equal(w_send(w, 77, port, W_ACK), W_PRIMARY);
    assert_int_equal(events(w, DP_EV_FLOW_REUSED), 1);
    assert_int_equal(w->worker.by_front[7].flows, 0);
    end(w);
}

static void ended_flow_lingers_then_goes(void **state) {
    (void)state;
    struct world *w = begin(6);
    unsigned backend;
    w_spill(w, 1);
    uint16_t port = w_find(w, 78, true, &backend);
    w_send(w, 78, port, W_ACK);
    assert_int_equal(w_send(w, 78, port, W_FIN | W_ACK), backend);
    w->now_ms += 4000;
    dp_worker_sweep(&w->worker, w->snapshot, 4096, w->now_ms);
    assert_int_equal(w_send(w, 78, port, W_ACK), backend); /* the last ACK, late */
    w->now_ms += 20000;
    dp_worker_sweep(&w->worker, w->snapshot, 4096, w->now_ms);
    assert_int_equal(dp_flow_count(w->flow[0]), 0);
    assert_int_equal(w->worker.by_front[7].flows, 0);
    assert_int_equal(events(w, DP_EV_FLOW_END), 1);
    end(w);
}

static void dead_shards_flows_follow_the_policy(void **state) {
    (void)state;
    static const struct {
        uint8_t policy;
        enum dp_verdict verdict;
    } rows[] = {{DP_DEAD_PRIMARY, DP_PRIMARY},
                {DP_DEAD_RESET, DP_REPLY},
                {DP_DEAD_DROP, DP_DROP_DEAD},
                {DP_DEAD_REHASH, DP_SHARD}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct world *w = begin(6);
        unsigned backend, now;
        w->service.dead = rows[i].policy;
        w_spill(w, 0.9);
        uint16_t port = w_find(w, 79, true, &backend);
        w_send(w, 79, port, W_ACK);
        w->backend[backend].alive = false;
        w->backend[backend].generation++;
        for (int k = 0; k < DP_ROWS; k++) /* as the control side makes it: others take the dead one's rows */
            if (w->rows[k] == backend - 1)
                w->rows[k] = (uint16_t)((backend - 1) % W_SHARDS + 1);
        w_commit(w);
        w_make(w, 79, port, W_ACK, 10);
        assert_int_equal(w_push(w, &now), rows[i].verdict);
        assert_int_not_equal(now, backend);
        if (rows[i].policy == DP_DEAD_REHASH) /* and stays there */
            assert_int_equal(w_send(w, 79, port, W_ACK), now);
        if (rows[i].policy == DP_DEAD_RESET)
            assert_int_equal(w->frame[256 + 14 + 20 + 13] & W_RST, W_RST);
        end(w);
    }
}

/* Killed and started again within the three seconds in which a SYN is remembered. */
static void client_of_a_restarted_shard_begins_anew(void **state) {
    (void)state;
    struct world *w = begin(6);
    unsigned backend;
    w_spill(w, 0.9);
    uint16_t port = w_find(w, 78, true, &backend);
    assert_int_equal(w_send(w, 78, port, W_ACK), backend);
    w->backend[backend].generation++;
    w_commit(w);
    assert_int_equal(w_send(w, 78, port, W_ACK), W_PRIMARY); /* the policy */
    assert_int_equal(w_send(w, 78, port, W_SYN), backend);
    assert_int_equal(w_send(w, 78, port, W_ACK), backend); /* not after what its shard no longer knows */
    assert_int_equal(dp_flow_count(w->flow[0]), 1);
    end(w);
}

static void deadline_ends_young_connections_too(void **state) {
    (void)state;
    struct world *w = begin(6);
    unsigned backend, half;
    w_spill(w, 0.9);
    uint16_t port = w_find(w, 80, true, &backend), begun = w_find(w, 81, true, &half);
    w_send(w, 80, port, W_ACK);
    w->backend[backend].deadline_ms = w->backend[half].deadline_ms = w->now_ms + 500;
    w->service.mode = DP_MODE_NORMAL;
    w_commit(w);
    w->now_ms += 499;
    dp_worker_sweep(&w->worker, w->snapshot, 4096, w->now_ms);
    assert_int_equal(w_send(w, 80, port, W_ACK), backend);
    w->now_ms += 1; /* their SYNs are remembered still */
    dp_worker_sweep(&w->worker, w->snapshot, 4096, w->now_ms);
    assert_int_equal(w_send(w, 80, port, W_ACK), W_PRIMARY);
    assert_int_equal(w_send(w, 81, begun, W_ACK), W_PRIMARY);
    assert_int_equal(w_send(w, 81, begun, W_SYN), W_PRIMARY);
    assert_int_equal(events(w, DP_EV_FLOW_NEW), 1);
    assert_int_equal(events(w, DP_EV_FLOW_DEADLINE), 1);
    end(w);
}

static void service_without_primary_says_so(void **state) {
    (void)state;
    struct world *w = begin(6);
    unsigned backend;
    w->service.primary = 0;
    w_commit(w);
    w_make(w, 1, 2, W_SYN, 0);
    assert_int_equal(w_push(w, &backend), DP_DROP_NO_PRIMARY);
    end(w);
}

static void udp_flows_of_before_the_spill_stay(void **state) {
    (void)state;
    struct world *w = begin(17);
    w->service.learn_until_ms = w->now_ms + 5000;
    w_spill(w, 1);
    for (uint32_t host = 1; host <= 50; host++)
        assert_int_equal(w_send(w, host, 53, 0), W_PRIMARY);
    w->now_ms += 6000;
    unsigned moved = 0, stays[200];
    for (uint32_t host = 1; host <= 50; host++)
        assert_int_equal(w_send(w, host, 53, 0), W_PRIMARY);
    for (uint32_t host = 100; host < 200; host++)
        moved += (stays[host] = w_send(w, host, 53, 0)) != W_PRIMARY;
    assert_true(moved > 90);
    w_spill(w, 0.2);
    for (uint32_t host = 100; host < 200; host++) /* whatever the weights become */
        assert_int_equal(w_send(w, host, 53, 0), stays[host]);
    end(w);
}

static void quic_flows_open_by_initial_only(void **state) {
    (void)state;
    struct world *w = begin(17);
    unsigned backend;
    w->service.quic = true;
    w_spill(w, 1);
    w_make(w, 7, 7, 0, 100);
    assert_int_equal(w_push(w, &backend), DP_PRIMARY); /* a short header: a connection that is older than we know */
    w_make(w, 7, 7, 0, 100);
    memcpy(w->frame + 256 + 14 + 28, "\xc3\0\0\0\1", 5);
    assert_int_equal(w_push(w, &backend), DP_SHARD);
    assert_int_equal(dp_flow_count(w->flow[0]), 0);
    unsigned then = w_send(w, 7, 7, 0);
    assert_int_equal(then, backend);
    assert_int_equal(dp_flow_count(w->flow[0]), 1);
    end(w);
}

static void icmp_error_follows_the_flow_it_is_about(void **state) {
    (void)state;
    struct world *w = begin(6);
    unsigned backend, went;
    w_spill(w, 1);
    uint16_t port = w_find(w, 80, true, &backend);
    w_send(w, 80, port, W_ACK);
    uint8_t *ip = w->frame + 256 + 14, *inner = ip + 28;
    w_make(w, 0x01010101, 0, 0, 100); /* some router on the way */
    ip[9] = 1;
    memset(ip + 20, 0, 100);
    ip[20] = 3;
    ip[21] = 4;
    inner[0] = 0x45;
    inner[9] = 6;
    uint32_t client = 80;
    memcpy(inner + 12, w->service.at.address, 4);
    memcpy(inner + 16, &client, 4);
    memcpy(inner + 20, &w->service.at.port, 2);
    memcpy(inner + 22, &port, 2);
    w_sum_ip4(ip);
    assert_int_equal(w_push(w, &went), DP_SHARD);
    assert_int_equal(went, backend);
    assert_int_equal(events(w, DP_EV_ICMP_FLOW), 1);
    end(w);
}

static void fragments_follow_their_first(void **state) {
    (void)state;
    struct world *w = begin(17);
    unsigned first, later;
    w_spill(w, 1);
    for (uint32_t host = 1; host < 20; host++) {
        uint8_t *ip = w->frame + 256 + 14;
        w_make(w, host, 53, 0, 64);
        ip[5] = (uint8_t)host; /* identification */
        ip[6] = 0x20;          /* more to come */
        w_sum_ip4(ip);
        w_push(w, &first);
        w_make(w, host, 53, 0, 64);
        ip[5] = (uint8_t)host;
        ip[7] = 9; /* offset */
        w_sum_ip4(ip);
        w_push(w, &later);
        assert_int_equal(first, later);
    }
    assert_int_equal(events(w, DP_EV_FRAGMENT), 19);
    w->now_ms += 3000;
    w_push(w, &later);
    assert_int_equal(later, W_PRIMARY);
    assert_int_equal(events(w, DP_EV_FRAGMENT_LOST), 1);
    end(w);
}

static void router_on_a_shards_host_sends_back_what_it_does_not_know(void **state) {
    (void)state;
    struct world *w = begin(6);
    unsigned backend;
    w_spill(w, 1);
    w->service.mode = DP_MODE_HOST;
    w_commit(w);
    uint16_t port = w_find(w, 81, true, &backend);
    assert_int_equal(w_send(w, 81, port, W_ACK), backend);
    w_make(w, 82, 5, W_ACK, 0);
    assert_int_equal(w_push(w, &backend), DP_BOUNCE);
    assert_int_equal(backend, W_PRIMARY);
    assert_int_equal(w_push(w, &backend), DP_DROP_LOOP); /* it came back: not a third time */
    assert_int_equal(w->frame[256 + 14 + 1], 3 << 2);
    w_make(w, 82, 5, W_ACK, 0);
    w->frame[256 + 14 + 7] = 9; /* nobody knows this fragment's first one: the same */
    w_sum_ip4(w->frame + 256 + 14);
    assert_int_equal(w_push(w, &backend), DP_PRIMARY);
    assert_int_equal(w_push(w, &backend), DP_DROP_LOOP);
    end(w);
}

static void what_a_shards_host_sent_back_goes_to_the_primary(void **state) {
    (void)state;
    for (uint8_t ip = 4; ip <= 6; ip += 2) {
        struct world *host = begin(6), *gateway = begin(6);
        unsigned backend;
        host->service.at.ip = gateway->service.at.ip = ip;
        host->service.mode = DP_MODE_HOST;
        w_commit(host);
        gateway->service.miss_by_table = true;
        w_spill(gateway, 1);
        w_make(gateway, 84, 6, W_ACK, 0);
        assert_int_equal(w_push(gateway, &backend), DP_SHARD); /* of the router that died */
        memcpy(host->frame, gateway->frame, sizeof host->frame);
        host->length = gateway->length;
        assert_int_equal(w_push(host, &backend), DP_BOUNCE);
        memcpy(gateway->frame, host->frame, sizeof host->frame);
        assert_int_equal(w_push(gateway, &backend), DP_PRIMARY);
        assert_int_equal(backend, W_PRIMARY);
        memcpy(host->frame, gateway->frame, sizeof host->frame);
        assert_int_equal(w_push(host, &backend), DP_DROP_LOOP);
        end(host);
        end(gateway);
    }
}

static void burst_of_one_connection_is_one_flow(void **state) {
    (void)state;
    struct world *w = begin(6);
    unsigned backend;
    w_spill(w, 1);
    uint16_t port = w_find(w, 83, true, &backend);
    struct dp_burst b = {.count = 32};
    static uint8_t frames[32][2048];
    for (int i = 0; i < 32; i++) {
        w_make(w, 83, port, W_ACK, 0);
        memcpy(frames[i] + 256, w->frame + 256, w->length);
        b.frame[i] = frames[i] + 256;
        b.length[i] = w->length;
        b.room[i] = 256;
    }
    dp_worker_burst(&w->worker, w->snapshot, &b, w->now_ms);
    for (int i = 0; i < 32; i++)
        assert_int_equal(b.frame[i][0], backend);
    assert_int_equal(dp_flow_count(w->flow[0]), 1);
    end(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(normal_service_touches_no_flow_table),
        cmocka_unit_test(repeated_syn_keeps_its_decision_over_mode_changes),
        cmocka_unit_test(flood_of_syns_makes_no_flow_and_cap_holds),
        cmocka_unit_test(full_table_begins_no_connection_that_it_cannot_remember),
        cmocka_unit_test(ports_used_anew_are_decided_anew),
        cmocka_unit_test(ended_flow_lingers_then_goes),
        cmocka_unit_test(dead_shards_flows_follow_the_policy),
        cmocka_unit_test(client_of_a_restarted_shard_begins_anew),
        cmocka_unit_test(deadline_ends_young_connections_too),
        cmocka_unit_test(service_without_primary_says_so),
        cmocka_unit_test(udp_flows_of_before_the_spill_stay),
        cmocka_unit_test(quic_flows_open_by_initial_only),
        cmocka_unit_test(icmp_error_follows_the_flow_it_is_about),
        cmocka_unit_test(fragments_follow_their_first),
        cmocka_unit_test(router_on_a_shards_host_sends_back_what_it_does_not_know),
        cmocka_unit_test(what_a_shards_host_sent_back_goes_to_the_primary),
        cmocka_unit_test(burst_of_one_connection_is_one_flow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
