/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A router in process, on null ports, whose n-th request for memory fails: of the C library, of its context, of EAL
 * (rings, pools), of the kernel (mappings). Each call says so and changes nothing, the next try succeeds, and after the
 * close everything is back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <rte_eal.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../unit/failing_malloc.h"
#include "router.h"

struct rte_ring *__real_rte_ring_create(const char *name, unsigned count, int socket, unsigned flags);
struct rte_ring *__wrap_rte_ring_create(const char *name, unsigned count, int socket, unsigned flags);
void __real_rte_ring_free(struct rte_ring *r);
void __wrap_rte_ring_free(struct rte_ring *r);
struct rte_mempool *__real_rte_pktmbuf_pool_create(const char *name, unsigned n, unsigned cache, uint16_t more,
                                                   uint16_t room, int socket);
struct rte_mempool *__wrap_rte_pktmbuf_pool_create(const char *name, unsigned n, unsigned cache, uint16_t more,
                                                   uint16_t room, int socket);
void __real_rte_mempool_free(struct rte_mempool *p);
void __wrap_rte_mempool_free(struct rte_mempool *p);
void *__real_mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t bytes);
int __wrap_munmap(void *at, size_t bytes);

struct rte_ring *__wrap_rte_ring_create(const char *name, unsigned count, int socket, unsigned flags) {
    struct rte_ring *r = scarce_now() ? NULL : __real_rte_ring_create(name, count, socket, flags);
    scarce.other += r != NULL;
    return r;
}
void __wrap_rte_ring_free(struct rte_ring *r) {
    scarce.other -= r != NULL;
    __real_rte_ring_free(r);
}
struct rte_mempool *__wrap_rte_pktmbuf_pool_create(const char *name, unsigned n, unsigned cache, uint16_t more,
                                                   uint16_t room, int socket) {
    struct rte_mempool *p = scarce_now() ? NULL : __real_rte_pktmbuf_pool_create(name, n, cache, more, room, socket);
    scarce.other += p != NULL;
    return p;
}
void __wrap_rte_mempool_free(struct rte_mempool *p) {
    scarce.other -= p != NULL;
    __real_rte_mempool_free(p);
}
void *__wrap_mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset) {
    void *p = MAP_FAILED;
    if (!scarce_now())
        p = __real_mmap64(at, bytes, protection, flags, fd, offset);
    else if (flags & MAP_HUGETLB) /* a convenience: small pages do */
        scarce.met = false;
    scarce.other += p != MAP_FAILED ? (int)(bytes / 4096) : 0;
    return p;
}
int __wrap_munmap(void *at, size_t bytes) {
    scarce.other -= (int)(bytes / 4096);
    return __real_munmap(at, bytes);
}

/* ---- a life ---- */

static spr_routes *routes;
static const char *const names[] = {"web", "web-s1", "web-s2"};

static void *context_alloc(void *user, size_t bytes) { return (void)user, malloc(bytes); }
static void *context_realloc(void *user, void *block, size_t old, size_t bytes) {
    return (void)user, (void)old, realloc(block, bytes);
}
static void context_free(void *user, void *block, size_t bytes) { (void)user, (void)bytes, free(block); }

static int open_context(spr_context **out) {
    struct spr_allocator a = {sizeof a, context_alloc, context_realloc, context_free, NULL};
    return spr_context_create(&(struct spr_context_opts){.size = sizeof(struct spr_context_opts), .allocator = &a},
                              out);
}

/* The code of a call, once it is sure that the context says the same. */
static int told(spr_context *ctx, int rc) {
    struct spr_error e = {.size = sizeof e};
    if (rc == SPR_E_NOMEM) {
        assert_int_equal(spr_context_error(ctx, &e), SPR_OK);
        assert_int_equal(e.code, rc);
        assert_non_null(strstr(e.text, "memory"));
    }
    return rc;
}

static int open_router(spr_context *ctx, spr_dpdk **out) {
    static const char *const ports[] = {"net_null0", "net_null1"};
    struct spr_dpdk_opts o = {.size = sizeof o, .ports = ports, .port_count = 2, .flows = 64, .seed = 7};
    int rc = told(ctx, spr_dpdk_open(ctx, &o, out));
    if (rc < 0)
        assert_null(*out);
    return rc;
}

static struct spr_time now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    int64_t ns = t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
    return (struct spr_time){ns, ns};
}

#define ROUTER(call) TRY(told(ctx, call), SPR_E_NOMEM)

/* Twice the services that there is room for at first; one of them spills, by a ramp. */
static void describe(spr_context *ctx, spr_dpdk *r) {
    static const double weights[] = {0.25, 0.5};
    uint64_t generation = 0, was = r->generation;
    ROUTER(spr_dpdk_begin(r));
    for (int i = 0; i < 3; i++) {
        struct spr_dpdk_backend b = {
            .size = sizeof b, .name = names[i], .action = SPR_DPDK_L2, .mac = "02:00:00:00:00:10"};
        ROUTER(spr_dpdk_backend_set(r, &b));
    }
    for (int i = 0; i < 8; i++) {
        char name[] = {'w', 'e', 'b', i ? (char)('0' + i) : 0, 0};
        struct spr_dpdk_service s = {
            .size = sizeof s, .name = name, .address = "192.0.2.80", .protocol = 6, .port = 80 + i, .primary = "web"};
        ROUTER(spr_dpdk_service_set(r, &s));
    }
    ROUTER(spr_dpdk_spill_set(r, "web", names + 1, weights, 2, 1000));
    ROUTER(spr_dpdk_spike_set(r, "web1", names + 1, weights, 2));
    ROUTER(spr_dpdk_commit(r, now(), &generation));
    assert_int_equal(generation, was + 1);
    assert_true(spr_dpdk_poll(r, 0) >= 0);
    assert_int_equal(spr_dpdk_switched(r, generation), 1);
}

/* Of 1000 new flows of the first service, so many go to shards by what the lcores see. */
static int in_force(const spr_dpdk *r) {
    const struct dp_service *s = &atomic_load(&((spr_dpdk *)(uintptr_t)r)->snapshot)->services[0];
    int n = 0;
    for (int i = 0; s->rows && i < DP_ROWS; i++)
        n += s->rows[i] != 0;
    return (n * 1000 + DP_ROWS / 2) / DP_ROWS;
}

static const char *service(void *user, int32_t vm) { return (void)user, vm ? NULL : names[0]; }
static const char *backend(void *user, int32_t vm, uint64_t shard) { return (void)user, (void)vm, names[shard]; }

static void publish(spr_context *ctx, spr_dpdk *r) {
    const struct spr_router_ops *ops = spr_dpdk_router();
    struct spr_env env = {sizeof env, ctx, NULL, 1};
    struct spr_dpdk_names who = {.size = sizeof who, .router = r, .service = service, .backend = backend};
    struct spr_router_completion c = {.outcome = -1};
    void *state = NULL;
    TRY(ops->open(&env, &who, &state), SPR_E_NOMEM);
    for (int tries = 0; c.outcome != SPR_DONE; tries++) {
        size_t count = 0;
        spr_ticket t;
        assert_true(tries < 2);
        assert_int_equal(ops->publish(state, routes, now(), INT64_MAX, &t), SPR_OK);
        assert_true(spr_dpdk_poll(r, 0) >= 0);
        c.size = sizeof c;
        assert_int_equal(ops->collect(state, now(), &c, 1, &count), SPR_OK);
        assert_int_equal(count, 1);
        assert_int_equal(c.ticket, t);
        assert_int_equal(in_force(r), c.outcome == SPR_DONE ? 250 : 750);
        if (c.outcome == SPR_DONE)
            continue;
        assert_int_equal(c.outcome, SPR_FAILED);
        assert_int_equal(c.code, SPR_E_NOMEM);
        assert_non_null(strstr(c.text, "memory"));
        assert_true(scarce_said());
    }
    ops->close(state);
}

static int life(void *arg) {
    const char *file = arg;
    spr_context *ctx = NULL;
    spr_dpdk *r = NULL;
    char *text = NULL;
    TRY(open_context(&ctx), SPR_E_NOMEM);
    TRY(open_router(ctx, &r), SPR_E_NOMEM);
    describe(ctx, r);
    usleep(3000); /* the ramp is over: whether this step's snapshot can be made or not, it must come */
    ROUTER(spr_dpdk_step(r, now()));
    assert_int_equal(in_force(r), 750);
    publish(ctx, r);
    ROUTER(spr_dpdk_capture(r, file, NULL, NULL, 5));
    assert_int_equal(spr_dpdk_capture(r, NULL, NULL, NULL, 0), SPR_OK);
    unlink(file);
    ROUTER(spr_dpdk_metrics(r, &text));
    spr_dpdk_text_free(text);
    spr_dpdk_close(r);
    spr_context_unref(ctx);
    assert_false(scarce.met); /* somebody said so */
    return 0;
}

static void a_router_survives_every_failing_allocation(void **unused) {
    (void)unused;
    char file[] = "/tmp/spr-scarce-XXXXXX";
    int fd = mkstemp(file);
    assert_true(fd >= 0);
    close(fd);
    unlink(file);
    int64_t n = scarce_sweep(life, file);
    print_message("%lld requests for memory\n", (long long)n);
    assert_true(n > 60);
}

static int make_routes(void **unused) {
    spr_context *plain = NULL;
    struct spr_route_target t = {.size = sizeof t, .shard = 1, .host = 1, .weight = 0.25, .warmness = 1};
    struct spr_route_service s = {.size = sizeof s,
                                  .route = {.size = sizeof s.route, .id = "web", .target_count = 1, .spill = 0.25},
                                  .targets = &t};
    (void)unused;
    int rc = spr_context_create(NULL, &plain);
    if (rc >= 0)
        rc = spr_routes_from(plain, &s, 1, NULL, &routes);
    spr_context_unref(plain);
    return rc;
}
static int drop_routes(void **unused) {
    (void)unused;
    spr_routes_unref(routes);
    return 0;
}

int main(void) {
    char *args[] = {"scarce",
                    "--no-huge",
                    "-m",
                    "512",
                    "--no-pci",
                    "--no-telemetry",
                    "-l",
                    "0",
                    "--log-level=*:error",
                    "--file-prefix=scarce",
                    "--vdev=net_null0,no-rx=1",
                    "--vdev=net_null1,no-rx=1"};
    if (rte_eal_init((int)(sizeof args / sizeof args[0]), args) < 0) {
        puts("1..0 # SKIP EAL cannot be initialised here");
        return getenv("CI") != NULL;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_router_survives_every_failing_allocation)};
    int failed = cmocka_run_group_tests(tests, make_routes, drop_routes);
    rte_eal_cleanup();
    return failed;
}
