/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Established flows survive: ten million random steps of connections, spills, drains, deaths and hours against a model
 * that remembers every connection. Whatever the weights become, a connection's packets go where its SYN went.
 */
#include "dpdk_world.h"

enum { CONNECTIONS = 4096, NONE = 0, SYN_SENT, ESTABLISHED, CLOSED };

struct connection {
    uint64_t last_ms;
    uint8_t state, backend, generation;
    bool broken; /* its shard died or it was idle for too long: whoever has it now keeps it, or nobody does */
};
struct sent {
    int k;
    bool opens;
};
struct model {
    struct connection of[CONNECTIONS];
    struct sent sent[DP_BURST]; /* of the burst that is being made */
    unsigned count, most;
    uint8_t frame[DP_BURST][256 + 128];
    struct dp_burst burst;
    int connections;
    uint64_t checked, spilled, moved, violations, bursts;
};

static uint32_t host_of(int k) { return htonl(0x0a000001u + (uint32_t)(k % 61)); }
static uint16_t port_of(int k) { return htons((uint16_t)(2000 + k / 61)); }

/* Where the next packet of this connection has to go; 0 = either (its shard died, it was idle for too long). */
static unsigned expected(const struct world *w, const struct connection *c) {
    if (c->backend == W_PRIMARY)
        return W_PRIMARY;
    const struct dp_backend_spec *b = &w->backend[c->backend];
    if (!b->alive || b->generation != c->generation || b->deadline_ms)
        return 0;
    return w->now_ms - c->last_ms > (uint64_t)w->service.idle_s * 1000 - DP_TICK_MS ? 0 : c->backend;
}

static void judge(struct world *w, struct model *m, const struct sent *s, unsigned went) {
    struct connection *c = &m->of[s->k];
    if (s->opens) {
        c->backend = (uint8_t)went;
        c->generation = w->backend[went].generation;
        c->last_ms = w->now_ms;
        c->broken = false;
        m->spilled += went != W_PRIMARY;
        return;
    }
    if (c->broken)
        return; /* the ends see a reset */
    unsigned must = expected(w, c);
    m->checked++;
    if (must && went != must && ++m->violations < 10)
        print_message("connection %d of backend %d in state %d went to %u at %llu\n", s->k, c->backend, c->state, went,
                      (unsigned long long)w->now_ms);
    m->moved += !must;
    c->broken = !must;
    c->last_ms = w->now_ms;
}

/* What was made is sent in one burst, and each packet is held against what the ones before it have settled. */
static void flush(struct world *w, struct model *m) {
    struct dp_burst *b = &m->burst;
    if (!m->count)
        return;
    b->count = m->count;
    b->whole = false;
    dp_worker_burst(&w->worker, w->snapshot, b, w->now_ms);
    for (unsigned i = 0; i < m->count; i++) {
        struct dp_fate f = b->whole ? b->all : b->fate[i];
        bool sent = f.verdict == DP_PRIMARY || f.verdict == DP_SHARD;
        judge(w, m, &m->sent[i], sent ? *(m->frame[i] + 256 - f.grow) : 0);
    }
    for (unsigned i = 0; i < m->count; i++)
        if (m->of[m->sent[i].k].broken)
            m->of[m->sent[i].k].state = NONE;
    m->count = 0;
    m->bursts++;
}

static void packet(struct world *w, struct model *m, int k, uint8_t flags, bool opens) {
    w_make(w, host_of(k), port_of(k), flags, 0);
    assert_true(m->count < DP_BURST && w->length <= sizeof m->frame[0] - 256);
    memcpy(m->frame[m->count] + 256, w->frame + 256, w->length);
    m->burst.frame[m->count] = m->frame[m->count] + 256;
    m->burst.length[m->count] = w->length;
    m->burst.room[m->count] = 256;
    m->sent[m->count++] = (struct sent){k, opens};
}

/* The state is the one that the connection has when all of its packets have gone where they have to. */
static void connection_step(struct world *w, struct model *m, int k, uint64_t dice) {
    struct connection *c = &m->of[k];
    if (c->state == NONE || (c->state == CLOSED && dice % 4 == 0)) {
        c->state = SYN_SENT;
        c->last_ms = w->now_ms;
        packet(w, m, k, W_SYN, true);
    } else if (c->state == SYN_SENT) {
        if (w->now_ms - c->last_ms > 2500) {
            c->state = NONE; /* given up: nothing was established */
        } else if (dice % 4 == 0) {
            packet(w, m, k, W_SYN, false); /* sent again, whatever happened meanwhile */
        } else {
            c->state = ESTABLISHED;
            packet(w, m, k, W_ACK, false);
        }
    } else if (c->state == ESTABLISHED) {
        packet(w, m, k, W_ACK, false);
        if (dice % 16 == 0 && c->state) {
            c->state = CLOSED;
            packet(w, m, k, W_FIN | W_ACK, false);
        }
    } else {
        c->state = w->now_ms - c->last_ms > 8000 ? NONE : c->state;
        if (c->state)
            packet(w, m, k, W_ACK, false);
    }
}

static void control_step(struct world *w, struct model *m, uint64_t dice) {
    unsigned shard = 2 + (unsigned)(dice >> 8) % W_SHARDS;
    struct dp_backend_spec *b = &w->backend[shard];
    switch (dice % 8) {
    case 0: /* dies, or comes back as one that knows nothing */
        if (b->alive)
            b->generation++;
        b->alive = !b->alive;
        w_commit(w);
        break;
    case 1: /* drained with a deadline, or no more: those that it took are gone all the same */
        for (int k = 0; k < CONNECTIONS && b->deadline_ms && w->now_ms >= b->deadline_ms; k++)
            if (m->of[k].backend == shard)
                m->of[k].state = NONE;
        b->deadline_ms = b->deadline_ms ? 0 : w->now_ms + 1 + (dice >> 16) % 20000;
        w_commit(w);
        break;
    case 2:
        memset(w->rows, 0, sizeof w->rows);
        w->service.mode = dice & 4096 ? DP_MODE_NORMAL : DP_MODE_SPILL;
        w_commit(w);
        break;
    default:
        w_spill(w, (double)((dice >> 16) % 1000) / 1000);
    }
}

/* One random step; bursts end where time passes. Half of them have one packet, the others up to DP_BURST. */
static void step(struct world *w, struct model *m, uint64_t *state) {
    uint64_t dice = w_random(state);
    connection_step(w, m, (int)(dice % (uint64_t)m->connections), dice >> 20);
    if (m->count < m->most)
        return;
    flush(w, m);
    m->most = dice >> 33 & 1 ? 1 : 1 + (unsigned)(w_random(state) % (DP_BURST - 1)); /* a step may make two */
    if (dice >> 32 & 1)
        w->now_ms += (dice >> 40 & 7) * m->most;
    if ((dice >> 48) % 5000 < m->most)
        control_step(w, m, w_random(state));
    if ((dice >> 44) % 64 < m->most)
        dp_worker_sweep(&w->worker, w->snapshot, 64, w->now_ms);
}

static void run(uint8_t ip, int connections, uint64_t steps, uint64_t seed) {
    struct world *w = malloc(sizeof *w);
    struct model *m = calloc(1, sizeof *m);
    assert_true(w && m);
    w_open(w, 6, W_LOG2, seed);
    w->service.at.ip = ip;
    w_commit(w);
    m->connections = connections;
    uint64_t state = seed * 2 + 1;
    for (uint64_t i = 0; i < steps; i++)
        step(w, m, &state);
    flush(w, m);
    print_message(
        "IPv%d, %d connections: %llu bursts, %llu packets checked, %llu spilled, %llu excused, %llu violations\n", ip,
        connections, (unsigned long long)m->bursts, (unsigned long long)m->checked, (unsigned long long)m->spilled,
        (unsigned long long)m->moved, (unsigned long long)m->violations);
    assert_int_equal(m->violations, 0);
    assert_true(m->spilled > steps / 200);
    assert_true(m->bursts < steps / 2);
    assert_int_equal(w_verdicts(w), w->worker.counters.packets); /* every packet in exactly one */
    assert_int_equal(w->worker.counters.event[DP_EV_TABLE_FULL], 0);
    w_close(w);
    free(m);
    free(w);
}

static uint64_t steps(void) {
    const char *fewer = getenv("SPR_TEST_STEPS"); /* for valgrind and sanitizers, which look at every byte */
    return fewer ? strtoull(fewer, NULL, 10) : 10000000;
}

static void ten_million_steps_break_no_connection(void **state) {
    (void)state;
    run(4, CONNECTIONS, steps(), 1);
}
static void a_million_steps_break_none_over_ipv6(void **state) {
    (void)state;
    run(6, CONNECTIONS, steps() / 10, 2);
}
/* So few that their addresses and ports come back at once, several times in a burst. */
static void few_connections_are_kept_apart(void **state) {
    (void)state;
    run(4, 40, steps() / 5, 3);
    run(6, 40, steps() / 5, 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(ten_million_steps_break_no_connection),
                                       cmocka_unit_test(a_million_steps_break_none_over_ipv6),
                                       cmocka_unit_test(few_connections_are_kept_apart)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
