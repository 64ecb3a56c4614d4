/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The data plane's memory is the C library's. Each allocation of its plain part fails once: the call says so, nothing
 * has changed, the next try succeeds, nothing is left in the end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "config.h"
#include "decide.h"
#include "failing_malloc.h"
#include "fragments.h"
#include "offload.h"
#include "pending.h"

/* ---- descriptions and snapshots ---- */

static struct dp_directory directory, directory_before;
static char before[8192], after[8192];

/* Everything that a failed change must not have touched. */
static void picture(const struct dp_config *c, char *to, size_t room) {
    size_t n = (size_t)snprintf(to, room, "%u backends, %u services\n", c->backend_count, c->service_count);
    for (uint32_t i = 0; i < c->backend_count; i++) {
        const struct dp_conf_backend *b = &c->backends[i];
        n += (size_t)snprintf(to + n, room - n, "%s %d %d%d%d %d\n", b->name, b->index, b->alive, b->draining, b->died,
                              b->path.action);
    }
    for (uint32_t i = 0; i < c->service_count; i++) {
        const struct dp_conf_service *s = &c->services[i];
        n += (size_t)snprintf(to + n, room - n, "%s %d %d %d %g %g %g:", s->name, s->front, s->primary, s->promoted,
                              s->ramp_per_s, s->learn_s, s->extra);
        for (uint16_t k = 0; k < s->target_count; k++)
            n += (size_t)snprintf(to + n, room - n, " %d %g %g %g", s->targets[k].backend, s->targets[k].goal,
                                  s->targets[k].share, s->targets[k].most);
        n += (size_t)snprintf(to + n, room - n, "\n");
        assert_true(n < room);
    }
}

static void remember(const struct dp_config *c) {
    picture(c, before, sizeof before);
    directory_before = directory;
}
/* The code of a change, once it is sure that one that found no memory said so and changed nothing. */
static int untouched(const struct dp_config *c, int rc, const struct dp_why *why) {
    if (rc != SPR_E_NOMEM)
        return rc;
    assert_string_equal(why->text, "out of memory");
    picture(c, after, sizeof after);
    assert_string_equal(after, before);
    assert_memory_equal(&directory, &directory_before, sizeof directory);
    return rc;
}
#define CHANGE(call)                                                                                                   \
    do {                                                                                                               \
        struct dp_why why = {""};                                                                                      \
        remember(&c);                                                                                                  \
        TRY(untouched(&c, (call), &why), SPR_E_NOMEM);                                                                 \
    } while (0)

static const char *const names[] = {"web", "web-s1", "web-s2"};

static void describe(struct dp_config *to) {
    static const uint8_t port_mac[1][6];
    struct dp_config c = *to;
    for (int i = 0; i < 3; i++) {
        struct spr_dpdk_backend b = {
            .size = sizeof b, .name = names[i], .action = SPR_DPDK_L2, .mac = "02:00:00:00:00:10"};
        CHANGE(dp_config_backend(&c, &directory, &b, port_mac, 1, &why));
    }
    for (int i = 0; i < 2; i++) {
        struct spr_dpdk_service s = {.size = sizeof s,
                                     .name = i ? "dns" : "web",
                                     .address = "192.0.2.80",
                                     .protocol = i ? 17 : 6,
                                     .port = i ? 53 : 80,
                                     .primary = "web"};
        CHANGE(dp_config_service(&c, &directory, &s, &why));
    }
    static const double weights[] = {0.25, 0.5};
    CHANGE(dp_config_spill(&c, "web", names + 1, weights, 2, 0, &why));
    CHANGE(dp_config_spill(&c, "dns", names + 1, weights, 1, 0, &why));
    CHANGE(dp_config_spike(&c, "dns", names + 1, weights, 2, &why));
    *to = c;
}

static int make(const struct dp_config *c, struct dp_snapshot **out) {
    static struct dp_snapshot *const nobody = (struct dp_snapshot *)(void *)&directory;
    struct dp_why why = {""};
    *out = nobody;
    remember(c);
    int rc = untouched(c, dp_config_snapshot(c, &directory, 7, out, &why), &why);
    if (rc < 0)
        assert_ptr_equal(*out, nobody);
    return rc;
}

static int change_copy_and_snapshot(void *arg) {
    struct dp_config c = {0}, copy = {0};
    struct dp_snapshot *s = NULL;
    (void)arg;
    dp_directory_init(&directory);
    describe(&c);
    TRY(dp_config_copy(&c, &copy), SPR_E_NOMEM);
    picture(&c, before, sizeof before);
    picture(&copy, after, sizeof after);
    assert_string_equal(after, before);
    assert_true(dp_config_ramp(&copy, 1, 5000));
    TRY(make(&copy, &s), SPR_E_NOMEM);
    assert_int_equal(s->service_count, 2);
    assert_int_equal(s->generation, 7);
    assert_non_null(s->services[0].rows);
    assert_non_null(s->services[1].rows);
    dp_snapshot_free(s);
    dp_config_free(&copy);
    dp_config_free(&c);
    return 0;
}

static void a_change_without_memory_is_none(void **unused) {
    (void)unused;
    assert_true(scarce_sweep(change_copy_and_snapshot, NULL) > 20);
}

/* A number that was given to no purpose could be another name's, whose flows would end. */
static void a_full_directory_keeps_its_names(void **unused) {
    static const uint8_t port_mac[1][6];
    struct spr_dpdk_backend b = {.size = sizeof b, .name = "new", .action = SPR_DPDK_PASS};
    struct spr_dpdk_service s = {
        .size = sizeof s, .name = "n", .address = "192.0.2.81", .protocol = 6, .port = 80, .primary = "web"};
    struct dp_config c = {0};
    struct dp_why why = {""};
    (void)unused;
    dp_directory_init(&directory);
    describe(&c);
    for (int i = 0; i < DP_BACKENDS_MOST; i++)
        if (!directory.backend[i][0])
            snprintf(directory.backend[i], DP_NAME, "old-%d", i);
    for (int i = 1; i <= DP_SERVICES_MOST; i++)
        if (!directory.front[i].ip)
            directory.front[i] = (struct dp_address){.ip = 6, .port = (uint16_t)i};
    directory_before = directory;
    scarce.on = true, scarce.calls = 0, scarce.fail_at = 1;
    assert_int_equal(dp_config_backend(&c, &directory, &b, port_mac, 1, &why), SPR_E_NOMEM);
    scarce.calls = 0;
    assert_int_equal(dp_config_service(&c, &directory, &s, &why), SPR_E_NOMEM);
    scarce.on = false;
    assert_memory_equal(&directory, &directory_before, sizeof directory);
    dp_config_free(&c);
}

/* ---- workers ---- */

static int make_worker(void *arg) {
    struct dp_worker w;
    memset(&w, 0, sizeof w);
    TRY(dp_worker_init(&w, ((struct dp_flow_table **)arg)[0], ((struct dp_flow_table **)arg)[1], 7), -1);
    dp_worker_fini(&w);
    return 0;
}

static void a_worker_without_memory_is_none(void **unused) {
    struct dp_flow_table *table[2] = {0};
    void *memory[2];
    (void)unused;
    for (int f = 0; f < 2; f++) {
        const char *why = NULL;
        size_t bytes = dp_flow_bytes((enum dp_flow_family)f, 6);
        memory[f] = aligned_alloc(65536, (bytes + 65535) / 65536 * 65536);
        assert_int_equal(dp_flow_open(memory[f], bytes, (enum dp_flow_family)f, 6, true, 7, &table[f], &why), 0);
    }
    assert_true(scarce_sweep(make_worker, table) >= 4);
    for (int f = 0; f < 2; f++) {
        dp_flow_close(table[f]);
        free(memory[f]);
    }
}

/* ---- rules of a card ---- */

static int rules;
static int create(void *state, const struct dp_offload_rule *rule, uint64_t *handle) {
    (void)state, (void)rule;
    *handle = (uint64_t)++rules;
    return 0;
}
static int destroy(void *state, uint64_t handle) {
    (void)state, (void)handle;
    rules--;
    return 0;
}
static int query(void *state, uint64_t handle, uint64_t *packets) {
    (void)state, (void)handle;
    *packets = 0;
    return 0;
}

static int open_card(struct dp_offload **out) {
    static const struct dp_offload_ops ops = {create, destroy, query};
    static const struct dp_offload_opts opts = {
        .services_most = 2, .flows_most = 8, .enter = 100, .leave = 20, .margin = 25};
    *out = dp_offload_create(&ops, NULL, &opts);
    return *out ? 0 : -ENOMEM;
}

static int apply(struct dp_offload *o, const struct dp_offload_service *s, const struct dp_offload_flow *f,
                 uint32_t flows) {
    int were = rules, rc = dp_offload_apply(o, s, 1, f, flows);
    if (rc == -ENOMEM)
        assert_int_equal(rules, were);
    return rc;
}

static int offload(void *arg) {
    struct dp_offload_service s = {.destination = {192, 0, 2, 80}, .port = 80, .ip = 4, .protocol = 6, .primary_vf = 1};
    struct dp_offload_flow flow[8];
    struct dp_offload *o = NULL;
    (void)arg;
    for (int i = 0; i < 8; i++)
        flow[i] =
            (struct dp_offload_flow){.source = {10, 0, 0, (uint8_t)i}, .source_port = 1000, .vf = 5, .packets = 1000};
    TRY(open_card(&o), -ENOMEM);
    TRY(apply(o, &s, flow, 0), -ENOMEM);
    assert_int_equal(rules, 1);
    s.spilling = true;
    TRY(apply(o, &s, flow, 4), -ENOMEM);
    s.spilled = 8;
    TRY(apply(o, &s, flow, 8), -ENOMEM);
    assert_true(rules > 8);
    dp_offload_destroy(o);
    assert_int_equal(rules, 0);
    return 0;
}

static void a_card_keeps_its_rules_without_memory(void **unused) {
    (void)unused;
    assert_true(scarce_sweep(offload, NULL) >= 6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_without_memory_is_none),
        cmocka_unit_test(a_full_directory_keeps_its_names),
        cmocka_unit_test(a_worker_without_memory_is_none),
        cmocka_unit_test(a_card_keeps_its_rules_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
