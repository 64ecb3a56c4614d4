/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The driver against libvirt's own test driver: a host in memory that can neither pause a start nor keep secrets. */
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

struct bench {
    char file[32], uri[64];
    spr_context *ctx;
    spr_libvirt *v;
    void *state;
    struct spr_libvirt_driver_opts opts;
    struct spr_driver_completion c; /* the last */
};

static struct spr_time now(void) { return (struct spr_time){0, lv_clock_ns()}; }

static const struct spr_driver_ops *ops(void) { return spr_libvirt_driver(); }

static int setup(void **state) {
    struct bench *b = calloc(1, sizeof *b);
    strcpy(b->file, "/tmp/sprnode-XXXXXX");
    int fd = mkstemp(b->file);
    if (fd < 0 || write(fd, node, sizeof node - 1) != (ssize_t)sizeof node - 1 || close(fd) < 0)
        return -1;
    snprintf(b->uri, sizeof b->uri, "test://%s", b->file);
    struct spr_libvirt_host h = {.size = sizeof h, .uri = b->uri, .id = "h"};
    struct spr_libvirt_opts o = {.size = sizeof o, .hosts = &h, .host_count = 1};
    if (spr_context_create(NULL, &b->ctx) < 0 || spr_libvirt_open(b->ctx, &o, &b->v) < 0)
        return -1;
    b->opts = (struct spr_libvirt_driver_opts){.size = sizeof b->opts, .hosts = b->v, .owner = "unit", .probe_s = 0.01};
    struct spr_env env = {.size = sizeof env, .context = b->ctx};
    *state = b;
    return ops()->open(&env, &b->opts, &b->state);
}

static int teardown(void **state) {
    struct bench *b = *state;
    if (b->state)
        ops()->close(b->state);
    spr_libvirt_close(b->v, 20);
    spr_context_unref(b->ctx);
    unlink(b->file);
    free(b);
    return 0;
}

static struct spr_driver_request about(int verb, uint64_t shard, uint64_t piece, uint64_t fence) {
    struct spr_driver_request q = {
        .size = sizeof q, .verb = verb, .shard = shard, .piece = piece, .fence = fence, .vm = "web", .host = "h"};
    if (verb == SPR_DRIVER_RESERVE || verb == SPR_DRIVER_ALLOCATE || verb == SPR_DRIVER_RESIZE) {
        q.amounts.of[SPR_CPU] = 0.5;
        q.amounts.of[SPR_MEMORY] = 64 << 20;
    }
    return q;
}

/* Waits as a host program does, for its completion; the code of what came. */
static int wait(struct bench *b, spr_ticket ticket) {
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

static int ask(struct bench *b, struct spr_driver_request q) {
    spr_ticket t = 0;
    int rc = ops()->submit(b->state, &q, now(), now().mono_ns + INT64_C(60000000000), &t);
    return rc < 0 ? rc : wait(b, t);
}

static int observe(struct bench *b) {
    return ask(b, (struct spr_driver_request){
                      .size = sizeof(struct spr_driver_request), .verb = SPR_DRIVER_OBSERVE, .fence = 1});
}

static void what_cannot_be_opened_is_refused(void **state) {
    struct bench *b = *state;
    struct spr_env env = {.size = sizeof env, .context = b->ctx};
    void *out = NULL;
    struct spr_libvirt_driver_opts o = b->opts;
    o.hosts = NULL;
    assert_int_equal(ops()->open(&env, &o, &out), SPR_E_ARG);
    o = b->opts, o.warm = 7;
    assert_int_equal(ops()->open(&env, &o, &out), SPR_E_ARG);
    o = b->opts, o.lease_s = 0.1;
    assert_int_equal(ops()->open(&env, &o, &out), SPR_E_ARG);
    o = b->opts, o.boot_s = -1;
    assert_int_equal(ops()->open(&env, &o, &out), SPR_E_ARG);
    assert_null(out);
    struct spr_libvirt_host h = {.size = sizeof h, .uri = b->uri};
    struct spr_libvirt_opts ro = {.size = sizeof ro, .hosts = &h, .host_count = 1, .read_only = 1};
    spr_libvirt *reads = NULL;
    assert_int_equal(spr_libvirt_open(b->ctx, &ro, &reads), SPR_OK);
    o = b->opts, o.hosts = reads;
    assert_int_equal(ops()->open(&env, &o, &out), SPR_E_ARG);
    spr_libvirt_close(reads, 1);
}

static void what_cannot_be_done_is_answered_with_host_and_reason(void **state) {
    struct bench *b = *state;
    struct spr_driver_request q = about(SPR_DRIVER_ALLOCATE, 1, 1, 1);
    q.host = "elsewhere";
    assert_int_equal(ask(b, q), SPR_E_NOT_FOUND);
    assert_string_equal(b->c.text, "elsewhere: no host of that name is open");
    assert_int_equal(ask(b, about(SPR_DRIVER_MIGRATE, 1, 1, 1)), SPR_E_UNSUPPORTED);
    q = about(SPR_DRIVER_RESERVE, 1, 1, 1);
    q.vm = "nobody";
    assert_int_equal(ask(b, q), SPR_E_NOT_FOUND);
    assert_string_equal(b->c.text, "h: VM 'nobody' is on none of the hosts");
    q = about(SPR_DRIVER_RESERVE, 1, 1, 1);
    q.amounts.of[SPR_CPU] = -1;
    assert_int_equal(ask(b, q), SPR_E_ARG);
    assert_int_equal(ask(b, about(SPR_DRIVER_WARM, 1, 1, 1)), SPR_E_NOT_FOUND);
    assert_int_equal(ask(b, about(SPR_DRIVER_RELEASE, 1, 0, 1)), SPR_OK); /* gone already */
    q = about(77, 1, 1, 1);
    assert_int_equal(ask(b, q), SPR_E_ARG);
}

static void a_host_says_what_it_lacks_once_it_was_looked_at(void **state) {
    struct bench *b = *state;
    struct spr_driver_capabilities c = {.size = sizeof c};
    assert_int_equal(ops()->capabilities(b->state, "elsewhere", &c), SPR_E_NOT_FOUND);
    assert_int_equal(ops()->capabilities(b->state, "h", &c), SPR_OK);
    assert_non_null(strstr(c.missing, "observed"));
    assert_int_equal(observe(b), SPR_OK);
    assert_int_equal(b->c.observed_count, 0);
    assert_int_equal(ops()->capabilities(b->state, "h", &c), SPR_OK);
    assert_non_null(strstr(c.missing, "no secrets"));
    assert_non_null(strstr(c.missing, "no overlays"));
    assert_true(c.verbs >> SPR_DRIVER_WARM & 1);
    assert_false(c.verbs >> SPR_DRIVER_MIGRATE & 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(what_cannot_be_opened_is_refused),
        TEST(what_cannot_be_done_is_answered_with_host_and_reason),
        TEST(a_host_says_what_it_lacks_once_it_was_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
