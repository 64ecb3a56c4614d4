/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The router in process keeps the contract of routers: two null ports, one lcore that is this thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>
#include <rte_eal.h>

#include <shardpredict/backend-dpdk.h>

#include "../unit/router_contract.h"

static struct spr_time now(struct router_stand *s) {
    struct timespec t;
    (void)s;
    clock_gettime(CLOCK_MONOTONIC, &t);
    int64_t ns = t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
    return (struct spr_time){ns, ns};
}
static void pass(struct router_stand *s, void *state) {
    (void)state;
    assert_true(spr_dpdk_poll(s->own, 0) >= 0);
}
static const char *service(void *user, int32_t vm) {
    (void)user;
    return vm ? NULL : "web";
}
static const char *backend(void *user, int32_t vm, uint64_t shard) {
    static const char *const names[] = {"web-s1", "web-s2"};
    (void)user, (void)vm;
    return shard >= 1 && shard <= 2 ? names[shard - 1] : NULL;
}

static void describe(spr_dpdk *r) {
    static const char *const names[] = {"web", "web-s1", "web-s2"};
    struct spr_dpdk_service s = {
        .size = sizeof s, .name = "web", .address = "192.0.2.80", .protocol = 6, .port = 80, .primary = "web"};
    uint64_t generation;
    assert_int_equal(spr_dpdk_begin(r), SPR_OK);
    for (int i = 0; i < 3; i++) {
        struct spr_dpdk_backend b = {
            .size = sizeof b, .name = names[i], .action = SPR_DPDK_L2, .port = 1, .mac = "02:00:00:00:00:10"};
        assert_int_equal(spr_dpdk_backend_set(r, &b), SPR_OK);
    }
    assert_int_equal(spr_dpdk_service_set(r, &s), SPR_OK);
    assert_int_equal(spr_dpdk_commit(r, (struct spr_time){0, 0}, &generation), SPR_OK);
}

int main(void) {
    char *args[] = {"router_dpdk",
                    "--no-huge",
                    "-m",
                    "512",
                    "--no-pci",
                    "--no-telemetry",
                    "-l",
                    "0",
                    "--log-level=lib.eal:error",
                    "--file-prefix=router_dpdk",
                    "--vdev=net_null0,no-rx=1",
                    "--vdev=net_null1,no-rx=1"};
    static const char *const ports[] = {"net_null0", "net_null1"};
    if (rte_eal_init((int)(sizeof args / sizeof args[0]), args) < 0) {
        puts("1..0 # SKIP EAL cannot be initialised here");
        return getenv("CI") != NULL;
    }
    struct spr_dpdk_names names = {.size = sizeof names, .service = service, .backend = backend};
    struct router_stand s = {
        .name = "dpdk", .ops = spr_dpdk_router(), .config = &names, .now = now, .pass = pass, .patience_s = 20};
    struct spr_dpdk_opts o = {.size = sizeof o, .ports = ports, .port_count = 2, .seed = 7};
    assert_int_equal(spr_context_create(NULL, &s.ctx), SPR_OK);
    assert_int_equal(spr_dpdk_open(s.ctx, &o, &names.router), SPR_OK);
    s.own = names.router;
    describe(names.router);
    int failed = router_contract(&s, NULL, 0);
    spr_dpdk_close(names.router);
    spr_context_unref(s.ctx);
    rte_eal_cleanup();
    return failed;
}
