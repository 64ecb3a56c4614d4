/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The flow table against an array that cannot be wrong, over ten million random steps at several loads. */
#include "dpdk_flows.h"

#include <time.h>

enum { LOG2 = 9, CAPACITY = 5 << LOG2, UNIVERSE = CAPACITY * 3 / 2 };

struct model {
    uint32_t value[UNIVERSE];
    uint32_t count, failed;
};

/* A burst is looked up, then each of it changes: what the pipeline does, and what makes slots move under it. */
static void step(struct flows *f, struct model *m, uint64_t *state, unsigned load, uint64_t *steps) {
    uint32_t numbers[64], values[64], slots[64];
    uint64_t hashes[64];
    unsigned n = 1 + (unsigned)(flows_random(state) % 64);
    for (unsigned i = 0; i < n; i++)
        numbers[i] = (uint32_t)(flows_random(state) % UNIVERSE);
    flows_find(f, numbers, n, hashes, values, slots);
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(values[i], m->value[numbers[i]]);
        assert_int_equal(slots[i] == UINT32_MAX, values[i] == 0);
    }
    for (unsigned i = 0; i < n; i++, ++*steps) {
        uint32_t k = numbers[i], value = 1 + (uint32_t)(flows_random(state) >> 33), slot;
        uint64_t dice = flows_random(state) % 100;
        if (!m->value[k]) {
            if (m->count * 100 >= CAPACITY * load && load < 100)
                continue;
            slot = flows_insert(f, k, hashes[i], value);
            if (slot == UINT32_MAX) {
                assert_true(m->count * 100 > CAPACITY * 90);
                m->failed++;
                continue;
            }
            m->value[k] = value;
            m->count++;
        } else if (dice < (load < 50 ? 40 : 90)) {
            assert_int_equal(flows_value(f, k, &slot), m->value[k]);
            if (dice % 2) {
                dp_flow_set(f->table, slot, m->value[k] = value);
            } else {
                dp_flow_erase(f->table, slot);
                m->value[k] = 0;
                m->count--;
            }
        }
        assert_int_equal(dp_flow_count(f->table), m->count);
    }
}

static void whole(const struct flows *f, const struct model *m) {
    uint32_t cursor = 0, value, slot, count = 0;
    struct dp_key6 key;
    while (dp_flow_next(f->table, &cursor, UINT32_MAX, &key, &value, &slot))
        if (slot != UINT32_MAX) {
            assert_int_equal(value, m->value[flows_number(f, &key)]);
            count++;
        }
    assert_int_equal(count, m->count);
}

/* `steps` of them, fewer where twenty seconds are over before (a sanitizer on a busy machine). */
static void run(enum dp_flow_family family, uint64_t steps) {
    static struct model m;
    static const unsigned loads[] = {10, 50, 80, 90, 100};
    time_t end = time(NULL) + 20;
    for (size_t l = 0; l < sizeof loads / sizeof *loads; l++) {
        struct flows f;
        uint64_t done = 0, state = 1000 + l;
        memset(&m, 0, sizeof m);
        flows_make(&f, family, LOG2, 31 + l);
        for (unsigned i = 0; done < steps / 5 && (i % 64 || time(NULL) < end); i++) {
            if (i % 1000 == 0)
                dp_flow_force(1 + (int)(i / 1000 % 3));
            if (i % 5000 == 4999) { /* the process ends and another one takes the table */
                const char *why;
                whole(&f, &m);
                dp_flow_close(f.table);
                assert_int_equal(dp_flow_open(f.memory, f.bytes, family, LOG2, false, 0, &f.table, &why), 0);
                whole(&f, &m);
            }
            step(&f, &m, &state, loads[l], &done);
        }
        whole(&f, &m);
        print_message("load %u: %llu steps, %u flows at the end, %u found no place\n", loads[l],
                      (unsigned long long)done, m.count, m.failed);
        assert_true(done > 0);
        flows_end(&f);
    }
    dp_flow_force(0);
}

static void test_dpdk_model__ip4_equals_an_array(void **unused) { (void)unused, run(DP_FLOW_IP4, 10000000); }
static void test_dpdk_model__ip6_equals_an_array(void **unused) { (void)unused, run(DP_FLOW_IP6, 5000000); }

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dpdk_model__ip4_equals_an_array),
        cmocka_unit_test(test_dpdk_model__ip6_equals_an_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
