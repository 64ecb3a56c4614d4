/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The driver on libvirt's own test driver: a host in memory (two, where asked) that keeps no secrets. */
#ifndef LIBVIRT_BENCH_H
#define LIBVIRT_BENCH_H

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "driver.h"

/* A host of its own whose only VM is `web`, running. */
static const char node[] = "<node><domain type='test'><name>web</name><uuid>6695eb01-f6a4-8304-79aa-97f2502e193f</uuid>"
                           "<memory>131072</memory><currentMemory>131072</currentMemory><vcpu>2</vcpu>"
                           "<os><type arch='i686'>hvm</type></os><devices/></domain></node>";

/* And another, whose VM headroom is held for on the first. */
static const char beside[] =
    "<node><domain type='test'><name>app</name><uuid>6695eb01-f6a4-8304-79aa-97f2502e1940</uuid>"
    "<memory>131072</memory><currentMemory>131072</currentMemory><vcpu>2</vcpu>"
    "<os><type arch='i686'>hvm</type></os><devices/></domain></node>";

struct bench {
    char file[32], uri[64], file2[32], uri2[64];
    spr_context *ctx;
    spr_libvirt *v;
    void *state;
    struct spr_libvirt_driver_opts opts;
    struct spr_driver_completion c; /* the last */
};

static inline struct spr_time now(void) { return (struct spr_time){0, lv_clock_ns()}; }

static inline const struct spr_driver_ops *ops(void) { return spr_libvirt_driver(); }

static inline int write_node(char file[32], char uri[64], const char *text) {
    strcpy(file, "/tmp/sprnode-XXXXXX");
    int fd = mkstemp(file);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) || close(fd) < 0)
        return -1;
    snprintf(uri, 64, "test://%s", file);
    return 0;
}

static inline int setup_hosts(void **state, size_t count) {
    struct bench *b = calloc(1, sizeof *b);
    if (write_node(b->file, b->uri, node) < 0 || write_node(b->file2, b->uri2, beside) < 0)
        return -1;
    struct spr_libvirt_host h[] = {{.size = sizeof h[0], .uri = b->uri, .id = "h"},
                                   {.size = sizeof h[0], .uri = b->uri2, .id = "beside"}};
    struct spr_libvirt_opts o = {.size = sizeof o, .hosts = h, .host_count = count};
    if (spr_context_create(NULL, &b->ctx) < 0 || spr_libvirt_open(b->ctx, &o, &b->v) < 0)
        return -1;
    b->opts = (struct spr_libvirt_driver_opts){
        .size = sizeof b->opts, .hosts = b->v, .owner = "unit", .probe_s = 0.01, .drain_idle_s = 0.05};
    struct spr_env env = {.size = sizeof env, .context = b->ctx};
    *state = b;
    return ops()->open(&env, &b->opts, &b->state);
}

static inline int setup(void **state) { return setup_hosts(state, 1); }
static inline int setup_two(void **state) { return setup_hosts(state, 2); }

static inline int teardown(void **state) {
    struct bench *b = *state;
    if (b->state)
        ops()->close(b->state);
    spr_libvirt_close(b->v, 20);
    spr_context_unref(b->ctx);
    unlink(b->file);
    unlink(b->file2);
    free(b);
    return 0;
}

static inline struct spr_driver_request about(int verb, uint64_t shard, uint64_t piece, uint64_t fence) {
    struct spr_driver_request q = {
        .size = sizeof q, .verb = verb, .shard = shard, .piece = piece, .fence = fence, .vm = "web", .host = "h"};
    if (verb == SPR_DRIVER_RESERVE || verb == SPR_DRIVER_ALLOCATE || verb == SPR_DRIVER_RESIZE) {
        q.amounts.of[SPR_CPU] = 0.5;
        q.amounts.of[SPR_MEMORY] = 64 << 20;
    }
    return q;
}

/* Waits as a host program does, for its completion; the code of what came. */
static inline int wait(struct bench *b, spr_ticket ticket) {
    struct pollfd p = {.fd = ops()->async->fd(b->state), .events = POLLIN};
    for (int i = 0; i < 400; i++) {
        size_t n = 0;
        b->c = (struct spr_driver_completion){.size = sizeof b->c};
        assert_int_equal(ops()->collect(b->state, now(), &b->c, 1, &n), SPR_OK);
        if (n && b->c.ticket == ticket)
            return b->c.outcome == SPR_DONE ? SPR_OK : b->c.code ? b->c.code : SPR_E_STATE;
        poll(&p, 1, 50);
    }
    fail_msg("no answer");
    return SPR_E_TIMEOUT;
}

static inline int ask(struct bench *b, struct spr_driver_request q) {
    spr_ticket t = 0;
    int rc = ops()->submit(b->state, &q, now(), now().mono_ns + INT64_C(60000000000), &t);
    return rc < 0 ? rc : wait(b, t);
}

static inline int observe(struct bench *b) {
    return ask(b, (struct spr_driver_request){
                      .size = sizeof(struct spr_driver_request), .verb = SPR_DRIVER_OBSERVE, .fence = 1});
}

/* ---- what stands on the host, seen past the driver ---- */

static inline virConnectPtr conn_of(struct bench *b) {
    int code = 0;
    char text[LV_TEXT];
    virConnectPtr conn = lv_host_connect(&b->v->hosts[0], &code, text);
    assert_non_null(conn);
    return conn;
}

static inline int domains(struct bench *b) {
    virConnectPtr conn = conn_of(b);
    int n = virConnectListAllDomains(conn, NULL, 0);
    virConnectClose(conn);
    return n;
}

static inline int state_of(struct bench *b, const char *name) {
    virConnectPtr conn = conn_of(b);
    virDomainPtr dom = virDomainLookupByName(conn, name);
    int state = dom ? lv_state(dom, NULL) : -1;
    if (dom)
        virDomainFree(dom);
    virConnectClose(conn);
    return state;
}

static inline struct lv_shard_meta meta_of(struct bench *b, uint64_t shard) {
    struct lv_shard_meta m = {0};
    char why[LV_WHY] = "";
    int code = SPR_OK;
    virConnectPtr conn = conn_of(b);
    virDomainPtr dom = lv_find_ours(conn, shard, "web", &m, &code, why);
    assert_non_null(dom);
    virDomainFree(dom);
    virConnectClose(conn);
    return m;
}

static inline void define(struct bench *b, const char *name, const char *metadata) {
    char xml[1024];
    virConnectPtr conn = conn_of(b);
    snprintf(xml, sizeof xml,
             "<domain type='test'><name>%s</name>%s<memory>65536</memory><vcpu>1</vcpu><os><type arch='i686'>hvm</type>"
             "</os></domain>",
             name, metadata);
    virDomainPtr dom = virDomainDefineXML(conn, xml);
    assert_non_null(dom);
    virDomainFree(dom);
    virConnectClose(conn);
}

#define OURS       "spr-0000000000000001-web"

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
