/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Which rules a card gets, against a card that records them, watches that no moment is unsafe, and can fail any call.
 * "Unsafe": a SERVICE rule beside a spilled flow of its service that no FLOW rule carries: it would go to the primary.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "offload.h"

enum { RULES = 4096 };

struct card {
    struct {
        struct dp_offload_rule rule;
        uint64_t handle, packets;
    } has[RULES];
    uint32_t count;
    uint64_t last;
    int calls, fail_at, fail_until, error; /* creations and destructions, from 1 */
    int asked, ask_fails;
    bool failed; /* a call of this apply: what follows is the way back, to the rules of before */
    /* the truth of the moment, for the watch */
    const struct dp_offload_service *service;
    const struct dp_offload_flow *flow;
    uint32_t services, flows;
};

static bool fails(struct card *c) {
    c->calls++;
    bool fail = c->fail_at && c->calls >= c->fail_at && c->calls <= (c->fail_until ? c->fail_until : c->fail_at);
    c->failed |= fail;
    return fail;
}

static bool of_service(const struct dp_offload_rule *r, const struct dp_offload_service *s) {
    return r->destination_port == s->port && r->protocol == s->protocol && r->ip == s->ip &&
           !memcmp(r->destination, s->destination, sizeof r->destination);
}

static bool has_kind(const struct card *c, const struct dp_offload_service *s, int kind) {
    for (uint32_t i = 0; i < c->count; i++)
        if (c->has[i].rule.kind == kind && of_service(&c->has[i].rule, s))
            return true;
    return false;
}

static const struct dp_offload_rule *rule_of_flow(const struct card *c, const struct dp_offload_flow *f) {
    for (uint32_t i = 0; i < c->count; i++) {
        const struct dp_offload_rule *r = &c->has[i].rule;
        if (r->kind == DP_OFFLOAD_FLOW && of_service(r, &c->service[f->service]) && r->source_port == f->source_port &&
            !memcmp(r->source, f->source, sizeof r->source))
            return r;
    }
    return NULL;
}

/* With every call: no packet of a spilled flow can reach the primary now. */
static void watch(const struct card *c) {
    for (uint32_t i = 0; i < c->services; i++) {
        if (!has_kind(c, &c->service[i], DP_OFFLOAD_SERVICE))
            continue;
        for (uint32_t k = 0; k < c->flows; k++)
            if (c->flow[k].service == i)
                assert_non_null(rule_of_flow(c, &c->flow[k]));
    }
}

static int card_create(void *state, const struct dp_offload_rule *rule, uint64_t *handle) {
    struct card *c = state;
    if (fails(c))
        return -c->error;
    for (uint32_t i = 0; i < c->count; i++)
        assert_memory_not_equal(&c->has[i].rule, rule, DP_OFFLOAD_MATCH); /* cards refuse the same match twice */
    assert_true(c->count < RULES);
    c->has[c->count].rule = *rule;
    c->has[c->count].packets = 0;
    *handle = c->has[c->count].handle = ++c->last;
    c->count++;
    if (rule->kind == DP_OFFLOAD_SERVICE && !c->failed)
        watch(c);
    return 0;
}

static int card_destroy(void *state, uint64_t handle) {
    struct card *c = state;
    if (fails(c))
        return -c->error;
    for (uint32_t i = 0; i < c->count; i++)
        if (c->has[i].handle == handle) {
            c->has[i] = c->has[--c->count];
            return 0;
        }
    fail_msg("rule %llu is not there", (unsigned long long)handle);
    return -ENOENT;
}

static int card_query(void *state, uint64_t handle, uint64_t *packets) {
    struct card *c = state;
    c->asked++;
    if (c->ask_fails)
        return -EIO;
    for (uint32_t i = 0; i < c->count; i++)
        if (c->has[i].handle == handle) {
            *packets = c->has[i].packets;
            return 0;
        }
    fail_msg("rule %llu is not there", (unsigned long long)handle);
    return -ENOENT;
}

static const struct dp_offload_ops card_ops = {card_create, card_destroy, card_query};

/* ---- pictures of a card ---- */

static int by_bytes(const void *a, const void *b) { return memcmp(a, b, sizeof(struct dp_offload_rule)); }

static uint32_t picture(const struct card *c, struct dp_offload_rule *out) {
    for (uint32_t i = 0; i < c->count; i++)
        out[i] = c->has[i].rule;
    qsort(out, c->count, sizeof *out, by_bytes);
    return c->count;
}

static void count_packets(struct card *c, const struct dp_offload_flow *f, uint64_t packets) {
    const struct dp_offload_rule *r = rule_of_flow(c, f);
    assert_non_null(r);
    for (uint32_t i = 0; i < c->count; i++)
        if (&c->has[i].rule == r)
            c->has[i].packets += packets;
}

/* ---- a scene: two services, six spilled flows ---- */

struct scene {
    struct card card;
    struct dp_offload *o;
    struct dp_offload_service service[2];
    struct dp_offload_flow flow[6];
};

static void truth(struct scene *s, uint32_t flows) {
    s->card.service = s->service;
    s->card.services = 2;
    s->card.flow = s->flow;
    s->card.flows = flows;
}

static int apply(struct scene *s, uint32_t flows) {
    truth(s, flows);
    s->card.failed = false;
    int rc = dp_offload_apply(s->o, s->service, 2, s->flow, flows);
    if (rc >= 0)
        watch(&s->card);
    return rc;
}

static int set_up(void **state) {
    static const struct dp_offload_opts opts = {
        .services_most = 2, .flows_most = 3, .enter = 100, .leave = 20, .margin = 25};
    struct scene *s = calloc(1, sizeof *s);
    s->card.error = EIO;
    s->o = dp_offload_create(&card_ops, &s->card, &opts);
    for (int i = 0; i < 2; i++)
        s->service[i] = (struct dp_offload_service){.destination = {10, 0, 0, (uint8_t)(1 + i)},
                                                    .port = 80,
                                                    .ip = 4,
                                                    .protocol = i ? 17 : 6,
                                                    .primary_vf = (uint16_t)(1 + i)};
    for (int i = 0; i < 6; i++)
        s->flow[i] = (struct dp_offload_flow){.service = (uint32_t)i / 4,
                                              .source = {192, 0, 2, (uint8_t)i},
                                              .source_port = (uint16_t)(1000 + i),
                                              .vf = 5,
                                              .mac = {2, 0, 0, 0, 0, 5},
                                              .packets = 100 * (uint64_t)i};
    *state = s;
    return s->o ? 0 : -1;
}
static int tear_down(void **state) {
    struct scene *s = *state;
    s->card.fail_at = 0;
    dp_offload_destroy(s->o);
    assert_int_equal(s->card.count, 0); /* it leaves nothing in the card */
    free(s);
    return 0;
}

static struct dp_offload_stats stats(const struct scene *s) {
    struct dp_offload_stats out;
    dp_offload_stats(s->o, &out);
    return out;
}

static void test_dpdk_offload__a_quiet_service_is_the_cards_alone(void **state) {
    struct scene *s = *state;
    assert_int_equal(apply(s, 0), 0);
    assert_int_equal(s->card.count, 2);
    assert_true(has_kind(&s->card, &s->service[0], DP_OFFLOAD_SERVICE));
    assert_int_equal(s->card.has[0].rule.vf, s->service[s->card.has[0].rule.protocol == 17].primary_vf);
    int calls = s->card.calls;
    assert_int_equal(apply(s, 0), 0);
    assert_int_equal(s->card.calls, calls); /* nothing new, nothing done */
    s->service[0].primary_vf = 7;           /* a promoted shard */
    assert_int_equal(apply(s, 0), 0);
    assert_int_equal(s->card.calls, calls + 2);
    s->service[1].primary_vf = DP_OFFLOAD_CPU;
    assert_int_equal(apply(s, 0), 0);
    assert_int_equal(s->card.count, 1);
    assert_int_equal(s->card.has[0].rule.vf, 7);
}

static void test_dpdk_offload__a_spilling_one_is_the_cpus_but_for_hot_flows(void **state) {
    struct scene *s = *state;
    assert_int_equal(apply(s, 0), 0);
    s->service[0].spilling = true;
    s->service[0].spilled = 4;
    s->flow[3].packets = 99;
    assert_int_equal(apply(s, 4), 0);
    assert_false(has_kind(&s->card, &s->service[0], DP_OFFLOAD_SERVICE));
    assert_true(has_kind(&s->card, &s->service[0], DP_OFFLOAD_SYN));
    assert_true(has_kind(&s->card, &s->service[0], DP_OFFLOAD_FIN));
    assert_true(has_kind(&s->card, &s->service[0], DP_OFFLOAD_RST));
    assert_true(has_kind(&s->card, &s->service[1], DP_OFFLOAD_SERVICE)); /* the other one is none of its business */
    assert_null(rule_of_flow(&s->card, &s->flow[0]));
    assert_non_null(rule_of_flow(&s->card, &s->flow[1]));
    assert_non_null(rule_of_flow(&s->card, &s->flow[2]));
    assert_null(rule_of_flow(&s->card, &s->flow[3]));
    assert_int_equal(rule_of_flow(&s->card, &s->flow[1])->vf, 5);
    assert_memory_equal(rule_of_flow(&s->card, &s->flow[1])->mac, s->flow[1].mac, 6);
    assert_int_equal(stats(s).flows, 2);
    s->service[1].spilling = true; /* UDP has no SYN, FIN or RST */
    assert_int_equal(apply(s, 4), 0);
    for (uint32_t i = 0; i < s->card.count; i++)
        assert_false(s->card.has[i].rule.protocol == 17);
}

/* The spill ends; what is left drains. The card takes the service back once it carries all that is left, or nothing is.
 */
static void test_dpdk_offload__a_draining_one_comes_back_when_all_is_carried(void **state) {
    struct scene *s = *state;
    s->service[0].spilling = true;
    s->service[0].spilled = 2;
    s->flow[0].packets = s->flow[1].packets = 500;
    assert_int_equal(apply(s, 2), 0);
    s->service[0].spilling = false;
    count_packets(&s->card, &s->flow[0], 300);
    count_packets(&s->card, &s->flow[1], 300);
    s->flow[0].packets = s->flow[1].packets = 0;
    s->service[0].spilled = 3; /* one that nobody saw hot */
    assert_int_equal(apply(s, 2), 0);
    assert_false(has_kind(&s->card, &s->service[0], DP_OFFLOAD_SERVICE));
    s->service[0].spilled = 2;
    count_packets(&s->card, &s->flow[0], 300);
    count_packets(&s->card, &s->flow[1], 300);
    assert_int_equal(apply(s, 2), 0);
    assert_true(has_kind(&s->card, &s->service[0], DP_OFFLOAD_SERVICE));
    assert_true(has_kind(&s->card, &s->service[0], DP_OFFLOAD_SYN)); /* a reused port must be seen */
    assert_int_equal(dp_offload_carried(s->o, &s->service[0], &s->flow[0]), 300);
    count_packets(&s->card, &s->flow[0], 300);
    count_packets(&s->card, &s->flow[1], 300);
    s->flow[1].vf = 6; /* it moves: for that moment the service is the CPU's */
    assert_int_equal(apply(s, 2), 0);
    assert_false(has_kind(&s->card, &s->service[0], DP_OFFLOAD_SERVICE));
    assert_int_equal(rule_of_flow(&s->card, &s->flow[1])->vf, 6);
    s->service[0].spilled = 0;
    assert_int_equal(apply(s, 0), 0);
    assert_int_equal(apply(s, 0), 0);
    assert_int_equal(s->card.count, 2);
    assert_true(has_kind(&s->card, &s->service[0], DP_OFFLOAD_SERVICE));
}

static void test_dpdk_offload__keeps_hot_ones_until_others_are_clearly_hotter(void **state) {
    struct scene *s = *state;
    s->service[0].spilling = true;
    s->service[0].spilled = 4;
    for (int i = 0; i < 3; i++)
        s->flow[i].packets = 200;
    s->flow[3].packets = 150;
    assert_int_equal(apply(s, 4), 0); /* room for three */
    assert_null(rule_of_flow(&s->card, &s->flow[3]));
    for (int i = 0; i < 3; i++) {
        count_packets(&s->card, &s->flow[i], 200);
        s->flow[i].packets = 0;
    }
    s->flow[3].packets = 240; /* not 25 % more */
    int calls = s->card.calls;
    assert_int_equal(apply(s, 4), 0);
    assert_int_equal(s->card.calls, calls);
    for (int i = 0; i < 3; i++)
        count_packets(&s->card, &s->flow[i], (uint64_t)(200 - i));
    s->flow[3].packets = 260;
    assert_int_equal(apply(s, 4), 0);
    assert_null(rule_of_flow(&s->card, &s->flow[2])); /* the coldest of them */
    assert_non_null(rule_of_flow(&s->card, &s->flow[3]));
    s->flow[2].packets = 0;
    s->flow[3].packets = 0;
    count_packets(&s->card, &s->flow[0], 20); /* below 100, not below 20 */
    count_packets(&s->card, &s->flow[1], 19);
    count_packets(&s->card, &s->flow[3], 50);
    assert_int_equal(apply(s, 4), 0);
    assert_non_null(rule_of_flow(&s->card, &s->flow[0]));
    assert_null(rule_of_flow(&s->card, &s->flow[1]));
    assert_non_null(rule_of_flow(&s->card, &s->flow[3]));
    s->card.ask_fails = 1; /* one that cannot be asked counts as it did */
    assert_int_equal(apply(s, 4), 0);
    assert_non_null(rule_of_flow(&s->card, &s->flow[0]));
    assert_int_equal(stats(s).packets, 200 * 3 + 200 + 199 + 198 + 20 + 19 + 50);
}

/* From every state to every other, with the N-th call failing for every N: the old rules, exactly. */
static void go_to(struct scene *s, int where) {
    s->service[0].spilling = where == 1 || where == 2;
    s->service[0].spilled = where ? 3 : 0;
    s->service[1].spilling = where == 2;
    s->service[1].spilled = where == 2 ? 2 : 0;
    for (uint32_t i = 0; i < 6; i++) {
        struct dp_offload_flow *f = &s->flow[i];
        truth(s, 6);
        s->flow[i].packets = rule_of_flow(&s->card, f) ? 0 : where == 3 ? 150 + i : 100 * (uint64_t)i;
        if (rule_of_flow(&s->card, f))
            count_packets(&s->card, f, where == 3 ? 150 + i : 100 * (uint64_t)i);
        f->vf = where == 3 ? 6 : 5;
    }
}

static uint32_t flows_in(int where) { return where == 0 ? 0 : where == 2 ? 6 : 3; }

static void test_dpdk_offload__a_failed_call_leaves_the_old_rules(void **state) {
    struct scene *s = *state;
    static struct dp_offload_rule before[RULES], after[RULES];
    int failures = 0;
    for (int from = 0; from < 4; from++)
        for (int to = 0; to < 4; to++)
            for (int n = 1, done = 0; !done; n++) {
                s->card.fail_at = 0;
                for (int twice = 0; twice < 2; twice++) {
                    go_to(s, from);
                    assert_int_equal(apply(s, flows_in(from)), 0);
                }
                uint32_t count = picture(&s->card, before);
                struct dp_offload_stats was = stats(s);
                go_to(s, to);
                s->card.calls = 0;
                s->card.fail_at = n;
                int rc = apply(s, flows_in(to));
                done = s->card.calls < n;
                failures += !done;
                if (done) {
                    assert_int_equal(rc, 0);
                    continue;
                }
                assert_int_equal(rc, -EIO);
                assert_int_equal(picture(&s->card, after), count);
                assert_memory_equal(after, before, count * sizeof *before);
                struct dp_offload_stats is = stats(s);
                assert_int_equal(is.rollbacks, was.rollbacks + 1);
                assert_int_equal(is.calls_failed, was.calls_failed + 1);
                assert_int_equal(is.rules, was.rules);
                assert_false(is.unsure);
                assert_int_equal(apply(s, flows_in(to)), 0); /* and the next one gets there */
            }
    assert_true(failures > 30);
}

/* The way back fails too: what is in the card is known, and the next apply mends it. */
static void test_dpdk_offload__a_failed_way_back_is_mended_later(void **state) {
    struct scene *s = *state;
    for (int more = 1; more < 8; more++)
        for (int n = 1; n < 12; n++) {
            s->card.fail_at = 0;
            go_to(s, 0);
            assert_int_equal(apply(s, 0), 0);
            assert_int_equal(apply(s, 0), 0);
            go_to(s, 2);
            s->card.calls = 0;
            s->card.fail_at = n;
            s->card.fail_until = n + more;
            int rc = apply(s, 6);
            s->card.fail_at = 0;
            assert_true(rc == 0 || rc == -EIO);
            assert_int_equal(stats(s).rules, s->card.count);
            assert_int_equal(apply(s, 6), 0);
            assert_false(stats(s).unsure);
            assert_false(has_kind(&s->card, &s->service[0], DP_OFFLOAD_SERVICE));
            assert_int_equal(stats(s).flows, 3);
        }
}

static void test_dpdk_offload__goes_on_without_a_card_that_cannot(void **state) {
    struct scene *s = *state;
    s->card.fail_at = 1;
    s->card.fail_until = 1 << 30;
    s->card.error = ENOTSUP;
    assert_int_equal(apply(s, 0), 1);
    assert_true(stats(s).unsupported);
    assert_int_equal(s->card.count, 0);
    int calls = s->card.calls;
    assert_int_equal(apply(s, 3), 1);
    assert_int_equal(s->card.calls, calls); /* it is not asked again */
}

static void test_dpdk_offload__refuses_what_cannot_be(void **state) {
    struct scene *s = *state;
    struct dp_offload_opts o = {.services_most = 1, .flows_most = 1, .enter = 1, .leave = 2};
    struct dp_offload_ops none = card_ops;
    none.query = NULL;
    assert_null(dp_offload_create(&card_ops, s, &o));
    o.leave = 0;
    assert_null(dp_offload_create(&none, s, &o));
    o.enter = 0;
    assert_null(dp_offload_create(&card_ops, s, &o));
    assert_int_equal(dp_offload_apply(s->o, s->service, 3, NULL, 0), -EINVAL);
    assert_int_equal(dp_offload_apply(s->o, s->service, 1, &s->flow[5], 1), -EINVAL);
    assert_int_equal(s->card.calls, 0);
}

/* Long random walks with failures: the card obeys the rules of the header after every apply. */
static void test_dpdk_offload__random_walks_keep_the_promises(void **state) {
    struct scene *s = *state;
    uint64_t seed = 88172645463325252u;
    for (int step = 0; step < 20000; step++) {
        for (int i = 0; i < 2; i++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            s->service[i].spilling = seed >> 20 & 1;
        }
        uint32_t flows = (uint32_t)(seed >> 30) % 7, of[2] = {0, 0};
        truth(s, 6);
        for (uint32_t i = 0; i < 6; i++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            bool carried = rule_of_flow(&s->card, &s->flow[i]) != NULL;
            s->flow[i].vf = seed % 31 ? s->flow[i].vf : (uint16_t)(5 + seed % 2);
            s->flow[i].packets = carried ? 0 : seed >> 33 & 255;
            if (carried)
                count_packets(&s->card, &s->flow[i], seed >> 33 & 255);
            of[s->flow[i].service] += i < flows;
        }
        for (int i = 0; i < 2; i++)
            s->service[i].spilled = of[i];
        s->card.fail_at = seed % 5 ? 0 : s->card.calls + 1 + (int)(seed >> 50) % 6;
        s->card.fail_until = s->card.fail_at;
        if (apply(s, flows) < 0)
            continue;
        uint32_t carried[2] = {0, 0};
        for (uint32_t i = 0; i < flows; i++) {
            const struct dp_offload_rule *r = rule_of_flow(&s->card, &s->flow[i]);
            carried[s->flow[i].service] += r != NULL;
            assert_true(!r || r->vf == s->flow[i].vf);
        }
        assert_int_equal(stats(s).flows, carried[0] + carried[1]); /* no rule of a flow that is gone */
        assert_true(stats(s).flows <= 3);
        for (int i = 0; i < 2; i++) {
            assert_true(!has_kind(&s->card, &s->service[i], DP_OFFLOAD_SERVICE) ||
                        (!s->service[i].spilling && carried[i] == of[i]));
            assert_int_equal(has_kind(&s->card, &s->service[i], DP_OFFLOAD_SYN),
                             i == 0 && (s->service[i].spilling || carried[i]));
            assert_int_equal(has_kind(&s->card, &s->service[i], DP_OFFLOAD_FIN), i == 0 && carried[i]);
        }
    }
    assert_true(stats(s).rollbacks > 500);
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_dpdk_offload__a_quiet_service_is_the_cards_alone),
        T(test_dpdk_offload__a_spilling_one_is_the_cpus_but_for_hot_flows),
        T(test_dpdk_offload__a_draining_one_comes_back_when_all_is_carried),
        T(test_dpdk_offload__keeps_hot_ones_until_others_are_clearly_hotter),
        T(test_dpdk_offload__a_failed_call_leaves_the_old_rules),
        T(test_dpdk_offload__a_failed_way_back_is_mended_later),
        T(test_dpdk_offload__goes_on_without_a_card_that_cannot),
        T(test_dpdk_offload__refuses_what_cannot_be),
        T(test_dpdk_offload__random_walks_keep_the_promises),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
