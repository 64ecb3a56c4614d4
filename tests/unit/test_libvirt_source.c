/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The source: from records to rates, and against libvirt's own test driver and hosts that are silent. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "source.h"

#define S INT64_C(1000000000)

/* ---- records and rates ---- */

static struct {
    virTypedParameter of[64];
    int count;
} rec;

static virTypedParameter *param(const char *field, int type) {
    virTypedParameter *p = &rec.of[rec.count++];
    assert_true(rec.count <= 64);
    memset(p, 0, sizeof *p);
    snprintf(p->field, sizeof p->field, "%s", field);
    p->type = type;
    return p;
}
static void put(const char *field, unsigned long long value) { param(field, VIR_TYPED_PARAM_ULLONG)->value.ul = value; }
static void put_name(const char *field, const char *text) {
    param(field, VIR_TYPED_PARAM_STRING)->value.s = (char *)(uintptr_t)text;
}

/* A guest of two vCPUs that ran for `cpu` s, waited for `delay` s and moved that many MB each way. */
static void a_record(double cpu, double delay, unsigned long long mb) {
    rec.count = 0;
    param("state.state", VIR_TYPED_PARAM_INT)->value.i = VIR_DOMAIN_RUNNING;
    put("cpu.time", (unsigned long long)(cpu * 1.1e9));
    put("balloon.current", 1048576), put("balloon.maximum", 2097152), put("balloon.rss", 700000);
    param("vcpu.current", VIR_TYPED_PARAM_UINT)->value.ui = 2;
    for (int i = 0; i < 2; i++) {
        char f[80];
        snprintf(f, sizeof f, "vcpu.%d.time", i), put(f, (unsigned long long)(cpu * 0.5e9));
        snprintf(f, sizeof f, "vcpu.%d.wait", i), put(f, (unsigned long long)(delay * 0.5e9));
        snprintf(f, sizeof f, "vcpu.%d.delay", i), put(f, (unsigned long long)(delay * 0.5e9));
    }
    put_name("net.0.name", "vnet0"), put("net.0.rx.bytes", mb * 1000000), put("net.0.tx.bytes", mb * 2000000);
    put_name("block.0.name", "vda"), put("block.0.rd.bytes", mb * 3000000), put("block.0.wr.bytes", mb * 4000000);
}

static struct lv_record decoded;
static void take(struct lv_guest *g, int32_t id, int64_t at_s) {
    assert_int_equal(lv_record_decode(rec.of, rec.count, &decoded), SPR_OK);
    assert_int_equal(lv_guest_take(g, &decoded, id, at_s * S, at_s * S), SPR_OK);
}

static double mean(const struct lv_guest *g, int resource) {
    return g->tally.seconds[resource] > 0 ? g->tally.sum[resource] / g->tally.seconds[resource] : -1;
}
static void drain(struct lv_guest *g) { memset(&g->tally, 0, sizeof g->tally); }
static void forget(struct lv_guest *g) { lv_free(g->count), memset(g, 0, sizeof *g); }

static bool near(double a, double b) { return a > b - 1e-6 * (1 + b) && a < b + 1e-6 * (1 + b); }

static void counters_become_rates(void **state) {
    (void)state;
    struct lv_guest g = {.id = -1};
    a_record(100, 10, 5), take(&g, 3, 1000);
    assert_true(mean(&g, SPR_CPU) < 0); /* a first answer is a baseline */
    assert_true(near(mean(&g, SPR_MEMORY), 700000.0 * 1024));
    drain(&g);
    a_record(110, 11, 15), take(&g, 3, 1010);
    assert_true(near(mean(&g, SPR_CPU), 1));
    assert_true(near(g.tally.stalled / g.tally.stalled_seconds, 0.1));
    assert_true(near(mean(&g, SPR_NET_RX), 8e6) && near(mean(&g, SPR_NET_TX), 16e6));
    assert_true(near(mean(&g, SPR_DISK_READ), 3e6) && near(mean(&g, SPR_DISK_WRITE), 4e6));
    assert_int_equal(g.tally.throttled, 1u << SPR_CPU);
    a_record(140, 11, 15), take(&g, 3, 1030); /* nobody collected: the mean is over both, by their length */
    assert_true(near(mean(&g, SPR_CPU), 40.0 / 30));
    assert_true(near(mean(&g, SPR_NET_RX), 8e7 / 30));
    forget(&g);
}

static void a_new_run_is_a_new_baseline(void **state) {
    (void)state;
    struct lv_guest g = {.id = -1};
    a_record(100, 0, 5), take(&g, 3, 1000);
    a_record(900, 0, 500), take(&g, 4, 1010); /* a restart whose counts are already higher */
    assert_true(mean(&g, SPR_CPU) < 0 && mean(&g, SPR_NET_RX) < 0 && mean(&g, SPR_DISK_READ) < 0);
    a_record(905, 0, 400), take(&g, 4, 1020); /* interface and disk were reset, the vCPUs were not */
    assert_true(near(mean(&g, SPR_CPU), 0.5) && mean(&g, SPR_NET_RX) < 0 && mean(&g, SPR_DISK_READ) < 0);
    drain(&g);
    a_record(1e6, 0, 401), take(&g, 4, 1030); /* a leap that two vCPUs cannot have made */
    assert_true(mean(&g, SPR_CPU) < 0 && near(mean(&g, SPR_NET_RX), 8e5));
    drain(&g);
    a_record(1e6 + 1, 0, 402);
    for (int i = 0; i < rec.count; i++)
        if (!strcmp(rec.of[i].field, "net.0.name"))
            rec.of[i].value.s = (char *)(uintptr_t) "vnet7"; /* another interface in its place */
    take(&g, 4, 1040);
    assert_true(near(mean(&g, SPR_CPU), 0.1) && mean(&g, SPR_NET_RX) < 0 && near(mean(&g, SPR_DISK_READ), 3e5));
    drain(&g);
    rec.count = 0;
    param("state.state", VIR_TYPED_PARAM_INT)->value.i = VIR_DOMAIN_SHUTOFF;
    take(&g, -1, 1050);
    assert_true(mean(&g, SPR_CPU) < 0); /* when within the interval it stopped is not known */
    take(&g, -1, 1060);
    assert_true(near(mean(&g, SPR_CPU), 0) && near(mean(&g, SPR_MEMORY), 0)); /* off is known to use nothing */
    forget(&g);
}

static void memory_is_what_the_guest_uses_while_it_says_so(void **state) {
    (void)state;
    struct lv_guest g = {.id = -1};
    a_record(1, 0, 1), put("balloon.usable", 524288), put("balloon.unused", 100000), put("balloon.last-update", 1000);
    take(&g, 3, 1000);
    assert_true(near(mean(&g, SPR_MEMORY), 524288.0 * 1024));
    drain(&g);
    take(&g, 3, 1100); /* the same words again, but nobody can say them for ever */
    assert_true(near(mean(&g, SPR_MEMORY), 524288.0 * 1024));
    drain(&g);
    take(&g, 3, 1130);
    assert_true(near(mean(&g, SPR_MEMORY), 700000.0 * 1024));
    drain(&g);
    a_record(1, 0, 1), put("balloon.usable", 40000), put("balloon.last-update", 1140), take(&g, 3, 1140);
    assert_true(near(mean(&g, SPR_MEMORY), (1048576 - 40000) * 1024.0));
    assert_true(g.tally.throttled & 1u << SPR_MEMORY);
    drain(&g);
    a_record(1, 0, 1), put("balloon.usable", 40000), put("balloon.last-update", 0), take(&g, 3, 1150);
    assert_true(near(mean(&g, SPR_MEMORY), 700000.0 * 1024));
    forget(&g);
}

static void without_delay_a_guest_at_its_limit_is_a_lower_bound(void **state) {
    (void)state;
    struct lv_guest g = {.id = -1};
    for (int turn = 0; turn < 2; turn++) {
        rec.count = 0;
        param("vcpu.current", VIR_TYPED_PARAM_UINT)->value.ui = 1;
        put("cpu.time", (unsigned long long)(5 + turn * 10) * S);
        take(&g, 3, 1000 + 10 * turn);
    }
    assert_true(near(mean(&g, SPR_CPU), 1));
    assert_true(g.tally.stalled_seconds == 0 && g.tally.throttled == 1u << SPR_CPU);
    forget(&g);
}

static void nonsense_is_left_out(void **state) {
    (void)state;
    struct lv_guest g = {.id = -1};
    for (int turn = 0; turn < 2; turn++) {
        rec.count = 0;
        put("vcpu.4294967296.time", 1), put("vcpu.99999.time", 1), put("vcpu..time", 1), put("vcpu.x.time", 1);
        put("net.0.rx.bytes", UINT64_MAX), put("block.-1.rd.bytes", 7), put("", 1), put("vcpu.", 1), put("net.", 2);
        param("balloon.rss", VIR_TYPED_PARAM_DOUBLE)->value.d = -1;
        param("cpu.time", VIR_TYPED_PARAM_LLONG)->value.l = -5;
        put_name("vcpu.0.time", "text");
        put("balloon.current", UINT64_MAX / 2), put("balloon.usable", 1);
        take(&g, 3, 1000 + turn);
    }
    for (int r = 0; r < LV_RESOURCES; r++)
        assert_true(mean(&g, r) < 0);
    forget(&g);
}

/* ---- the source ---- */

static spr_context *context(void) {
    spr_context *ctx = NULL;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    return ctx;
}

struct scene {
    spr_context *ctx;
    spr_libvirt *v;
    const struct spr_source_ops *ops;
    void *src;
};

static void begin_with(struct scene *s, const char *const *uris, size_t n, struct spr_libvirt_opts o) {
    struct spr_libvirt_host h[4];
    static const char *const ids[] = {"a", "b", "c", "d"};
    memset(h, 0, sizeof h);
    for (size_t i = 0; i < n; i++)
        h[i].size = sizeof h[i], h[i].uri = uris[i], h[i].id = ids[i];
    o.size = sizeof o, o.hosts = h, o.host_count = n, o.read_only = 1;
    s->ctx = context();
    s->ops = spr_libvirt_source();
    assert_int_equal(spr_libvirt_open(s->ctx, &o, &s->v), SPR_OK);
    struct spr_env env = {.size = sizeof env, .context = s->ctx};
    assert_int_equal(s->ops->open(&env, s->v, &s->src), SPR_OK);
}
static void begin(struct scene *s, const char *a, const char *b) {
    const char *uris[] = {a, b};
    begin_with(s, uris, b ? 2 : 1, (struct spr_libvirt_opts){0});
}
static void end(struct scene *s) {
    s->ops->close(s->src);
    spr_libvirt_close(s->v, 10);
    spr_context_unref(s->ctx);
}

static struct spr_time now(void) { return (struct spr_time){0, lv_clock_ns()}; }

/* As a host program: waits for the fd, no longer than the source wishes; 60 s are for machines with other work. */
static struct spr_source_completion collect(struct scene *s) {
    struct spr_source_completion c = {.size = sizeof c};
    size_t n = 0;
    struct pollfd p = {.fd = s->ops->async->fd(s->src), .events = POLLIN};
    for (int i = 0; i < 1200 && !n; i++) {
        int64_t left = s->ops->async->next_deadline(s->src) - lv_clock_ns();
        poll(&p, 1, left <= 0 ? 0 : left < 50000000 ? (int)(left / 1000000) + 1 : 50);
        assert_int_equal(s->ops->collect(s->src, now(), &c, 1, &n), SPR_OK);
    }
    assert_int_equal(n, 1);
    return c;
}
static struct spr_source_completion ask(struct scene *s, int verb) {
    spr_ticket t = 0;
    assert_int_equal(s->ops->submit(s->src, verb, now(), INT64_MAX, &t), SPR_OK);
    struct spr_source_completion c = collect(s);
    assert_int_equal(c.ticket, t);
    return c;
}

static spr_fleet *inventory(struct scene *s) {
    struct spr_source_completion c = ask(s, SPR_SOURCE_INVENTORY);
    if (c.outcome != SPR_DONE)
        print_message("inventory: %s\n", c.text ? c.text : "no text");
    assert_int_equal(c.outcome, SPR_DONE);
    assert_non_null(c.inventory);
    return c.inventory;
}

static void the_test_driver_is_a_host_with_one_vm(void **state) {
    (void)state;
    struct scene s;
    struct spr_host h = {.size = sizeof h};
    struct spr_vm vm = {.size = sizeof vm};
    struct spr_libvirt_facts f = {.size = sizeof f};
    begin(&s, "test:///default", NULL);
    assert_int_equal(spr_libvirt_facts(s.v, 0, &f), SPR_E_NOT_FOUND);
    spr_fleet *fleet = inventory(&s);
    assert_int_equal(spr_fleet_host_count(fleet), 1);
    assert_int_equal(spr_fleet_vm_count(fleet), 1);
    assert_int_equal(spr_fleet_host(fleet, 0, &h), SPR_OK);
    assert_string_equal(h.id, "a");
    assert_int_equal(h.state, SPR_HOST_UP);
    assert_true(h.capacity.of[SPR_CPU] >= 1);
    assert_true(h.capacity.of[SPR_MEMORY] > 1e9);
    assert_int_equal(spr_libvirt_facts(s.v, 0, &f), SPR_OK);
    assert_true(near(h.capacity.of[SPR_MEMORY], f.memory * 15 / 16)); /* a sixteenth is the host's */
    assert_int_equal(f.guests, 1);
    assert_true(f.cells > 0 && f.cell_free[0] > 0);
    assert_int_equal(spr_libvirt_facts(s.v, 1, &f), SPR_E_ARG);
    assert_int_equal(spr_fleet_vm(fleet, 0, &vm), SPR_OK);
    assert_string_equal(vm.id, "test");
    assert_int_equal(vm.replica, SPR_REPLICA_NEVER);
    assert_true(vm.capacity.of[SPR_CPU] >= 1 && vm.capacity.of[SPR_MEMORY] > 1e9);
    spr_fleet_unref(fleet);
    struct spr_source_completion c = ask(&s, SPR_SOURCE_SAMPLES);
    assert_int_equal(c.outcome, SPR_DONE); /* the driver has no statistics: the VM is left out, which means unknown */
    assert_int_equal(c.usage_count, 0);
    end(&s);
}

static void two_sources_on_one_set_of_hosts_are_refused(void **state) {
    (void)state;
    struct scene s;
    void *second = NULL;
    begin(&s, "test:///default", NULL);
    struct spr_env env = {.size = sizeof env, .context = s.ctx};
    assert_int_equal(s.ops->open(&env, s.v, &second), SPR_E_STATE);
    assert_null(second);
    assert_int_equal(s.ops->open(&env, NULL, &second), SPR_E_ARG);
    s.ops->close(s.src);
    assert_int_equal(s.ops->open(&env, s.v, &s.src), SPR_OK); /* after the first one it is free again */
    spr_fleet_unref(inventory(&s));
    end(&s);
}

static int told_of;
static int only_templates(void *user, const char *host, const char *xml, struct spr_vm *vm) {
    assert_ptr_equal(user, &told_of);
    assert_string_equal(host, "a");
    assert_non_null(strstr(xml, "<domain type='test'"));
    told_of++;
    vm->replica = SPR_REPLICA_TEMPLATE;
    return strcmp(vm->id, "test") ? 0 : -1;
}

static virDomainPtr define(virConnectPtr conn, const char *name, const char *metadata) {
    char xml[2000];
    snprintf(xml, sizeof xml,
             "<domain type='test'><name>%s</name><memory unit='MiB'>256</memory><vcpu>2</vcpu><metadata>%s</metadata>"
             "<os><type>hvm</type></os></domain>",
             name, metadata);
    virDomainPtr d = virDomainDefineXML(conn, xml);
    assert_non_null(d);
    return d;
}

/* As if a guest had used that many cores for decades: that it is off for the rest of the round changes nothing. */
static void uses(struct scene *s, virDomainPtr dom, double cores) {
    unsigned char uuid[LV_UUID_BYTES];
    struct lv_watch *w = ((struct lv_source *)s->src)->watch[0];
    assert_int_equal(virDomainGetUUID(dom, uuid), 0);
    pthread_mutex_lock(&w->lock);
    struct lv_guest *g = lv_watch_find(w, uuid, false);
    assert_non_null(g);
    g->tally.sum[SPR_CPU] = cores * 1e9;
    g->tally.seconds[SPR_CPU] = 1e9;
    pthread_mutex_unlock(&w->lock);
}

static void owners_speak_through_metadata_and_shards_are_no_vms(void **state) {
    (void)state;
    struct scene s;
    struct spr_vm vm = {.size = sizeof vm};
    begin(&s, "test:///default", NULL);
    virConnectPtr conn = virConnectOpen("test:///default");
    assert_non_null(conn);
    struct lv_shard_meta m = {.id = 7, .fence = 1, .vm = (char *)(uintptr_t) "web", .phase = LV_PHASE_RESERVED};
    char *element = NULL, why[LV_WHY] = "";
    m.ready.of[SPR_CPU] = 1;
    assert_int_equal(lv_meta_format(&m, &element, why), SPR_OK);
    virDomainPtr web = define(conn, "web", "<v:vm xmlns:v='" LV_VM_URN "' replica='image' spillable='0.5'/>");
    virDomainPtr bad = define(conn, "bad", "<v:vm xmlns:v='" LV_VM_URN "' replica='sometimes'/>");
    virDomainPtr shard = define(conn, "spr-0000000000000007-web", "");
    assert_int_equal(virDomainSetMetadata(shard, VIR_DOMAIN_METADATA_ELEMENT, element, "spr", LV_SHARD_URN,
                                          VIR_DOMAIN_AFFECT_CONFIG),
                     0);
    lv_free(element);
    spr_fleet *fleet = inventory(&s);
    assert_int_equal(spr_fleet_vm_count(fleet), 3);
    assert_true(spr_fleet_find_vm(fleet, "spr-0000000000000007-web") < 0);
    assert_int_equal(spr_fleet_vm(fleet, spr_fleet_find_vm(fleet, "web"), &vm), SPR_OK);
    assert_int_equal(vm.replica, SPR_REPLICA_IMAGE);
    assert_true(near(vm.spillable, 0.5) && near(vm.capacity.of[SPR_CPU], 2));
    assert_int_equal(spr_fleet_vm(fleet, spr_fleet_find_vm(fleet, "bad"), &vm), SPR_OK);
    assert_int_equal(vm.replica, SPR_REPLICA_NEVER); /* what cannot be read allows nothing */
    uses(&s, web, 1.5), uses(&s, shard, 0.25);
    struct spr_source_completion c = ask(&s, SPR_SOURCE_SAMPLES);
    assert_int_equal(c.outcome, SPR_DONE);
    int known = 0;
    for (size_t i = 0; i < c.usage_count; i++)
        if (c.usage[i].resource == SPR_CPU && c.usage[i].vm == spr_fleet_find_vm(fleet, "web")) {
            known++;
            assert_true(near(c.usage[i].used, 1.5) && near(c.usage[i].served, 0.25)); /* what a shard uses is served */
        }
    assert_int_equal(known, 1);
    spr_fleet_unref(fleet);
    /* It changes its mind while we watch: an event says so, and only then its definition is read again. */
    assert_int_equal(virDomainSetMetadata(web, VIR_DOMAIN_METADATA_ELEMENT, "<vm replica='template'/>", "v", LV_VM_URN,
                                          VIR_DOMAIN_AFFECT_CONFIG),
                     0);
    for (int i = 0; i < 400 && vm.replica != SPR_REPLICA_TEMPLATE; i++) {
        fleet = inventory(&s);
        assert_int_equal(spr_fleet_vm(fleet, spr_fleet_find_vm(fleet, "web"), &vm), SPR_OK);
        spr_fleet_unref(fleet);
        usleep(1000);
    }
    assert_int_equal(vm.replica, SPR_REPLICA_TEMPLATE);
    end(&s);
    const char *uri = "test:///default";
    begin_with(&s, &uri, 1, (struct spr_libvirt_opts){.vm = only_templates, .user = &told_of});
    fleet = inventory(&s);
    assert_int_equal(told_of, 3);
    assert_int_equal(spr_fleet_vm_count(fleet), 2); /* "test" was left out */
    assert_int_equal(spr_fleet_vm(fleet, spr_fleet_find_vm(fleet, "bad"), &vm), SPR_OK);
    assert_int_equal(vm.replica, SPR_REPLICA_TEMPLATE);
    spr_fleet_unref(fleet);
    virDomainUndefine(shard), virDomainUndefine(bad), virDomainUndefine(web);
    virDomainFree(shard), virDomainFree(bad), virDomainFree(web);
    fleet = inventory(&s);
    assert_int_equal(spr_fleet_vm_count(fleet), 0);
    spr_fleet_unref(fleet);
    end(&s);
    virConnectClose(conn);
}

/* A host of the test driver with domains of its own. */
static void write_host(char path[64], const char *domains) {
    snprintf(path, 64, "/tmp/spr-libvirt-source-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    dprintf(fd,
            "<node>%s<cpu><mhz>1000</mhz><model>i686</model><active>4</active><nodes>1</nodes><sockets>1</sockets>"
            "<cores>4</cores><threads>1</threads></cpu><memory>8388608</memory></node>",
            domains);
    close(fd);
}
#define DOMAIN(uuid, name)                                                                                             \
    "<domain type='test'><name>" name "</name><uuid>" uuid "</uuid><memory>8192</memory><os><type>hvm</type></os>"     \
    "</domain>"
#define UUID(n) "0000000" #n "-1111-4111-8111-111111111111"

static void names_are_told_apart_and_a_vm_on_two_hosts_counts_once(void **state) {
    (void)state;
    struct scene s;
    char a[64], b[64], ua[80], ub[80];
    write_host(a, DOMAIN(UUID(1), "web") DOMAIN(UUID(2), "moved"));
    write_host(b, DOMAIN(UUID(3), "web") DOMAIN(UUID(2), "moved") DOMAIN(UUID(5), "own"));
    snprintf(ua, sizeof ua, "test://%s", a), snprintf(ub, sizeof ub, "test://%s", b);
    begin(&s, ua, ub);
    spr_fleet *fleet = inventory(&s);
    unlink(a), unlink(b);
    assert_int_equal(spr_fleet_vm_count(fleet), 4);
    assert_true(spr_fleet_find_vm(fleet, "a/web") >= 0 && spr_fleet_find_vm(fleet, "b/web") >= 0);
    assert_true(spr_fleet_find_vm(fleet, "web") < 0);
    assert_true(spr_fleet_find_vm(fleet, "moved") >= 0 && spr_fleet_find_vm(fleet, "own") >= 0);
    spr_fleet_unref(fleet);
    end(&s);
}

static void a_host_that_is_not_there_is_unreachable_and_delays_nobody(void **state) {
    (void)state;
    struct scene s;
    struct spr_host h = {.size = sizeof h};
    begin(&s, "test:///default", "qemu+unix:///system?socket=/nowhere/sock&mode=direct");
    for (int turn = 0; turn < 2; turn++) {
        spr_fleet *fleet = inventory(&s);
        assert_int_equal(spr_fleet_vm_count(fleet), 1);
        assert_int_equal(spr_fleet_host(fleet, 0, &h), SPR_OK);
        assert_int_equal(h.state, SPR_HOST_UP);
        assert_int_equal(spr_fleet_host(fleet, 1, &h), SPR_OK);
        assert_int_equal(h.state, SPR_HOST_UNREACHABLE);
        spr_fleet_unref(fleet);
    }
    assert_int_equal(ask(&s, SPR_SOURCE_SAMPLES).outcome, SPR_DONE);
    end(&s);
}

static void no_host_at_all_fails_with_the_uri_as_given(void **state) {
    (void)state;
    static const char *const uris[] = {"qemu+unix:///system?socket=/nowhere/sock&mode=direct", "nonsense://x"};
    for (size_t i = 0; i < 2; i++) {
        struct scene s;
        begin(&s, uris[i], NULL);
        for (int turn = 0; turn < 3; turn++) {
            struct spr_source_completion c = ask(&s, turn < 2 ? SPR_SOURCE_INVENTORY : SPR_SOURCE_SAMPLES);
            assert_int_equal(c.outcome, SPR_FAILED);
            assert_true(c.code < 0);
            assert_null(c.inventory);
            assert_non_null(strstr(c.text, uris[i]));
        }
        end(&s);
    }
}

/* A daemon that takes connections and never says a word. */
static int silent_daemon(char uri[160]) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "/tmp/spr-libvirt-%d.sock", (int)getpid());
    unlink(at.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 8), 0);
    snprintf(uri, 160, "qemu+unix:///system?socket=%s&mode=direct", at.sun_path);
    return fd;
}

static void a_silent_host_is_waited_for_once(void **state) {
    (void)state;
    struct scene s;
    char uri[160];
    int daemon = silent_daemon(uri);
    const char *uris[] = {"test:///default", uri};
    begin_with(&s, uris, 2, (struct spr_libvirt_opts){.call_s = 0.2, .connect_s = 0.1});
    struct spr_host h = {.size = sizeof h};
    int64_t begun = lv_clock_ns();
    spr_fleet *fleet = inventory(&s); /* patience, then without it */
    assert_true(lv_clock_ns() - begun >= 300000000);
    assert_int_equal(spr_fleet_host(fleet, 1, &h), SPR_OK);
    assert_int_equal(h.state, SPR_HOST_UNREACHABLE);
    assert_int_equal(spr_fleet_vm_count(fleet), 1);
    spr_fleet_unref(fleet);
    spr_ticket t;
    assert_int_equal(s.ops->submit(s.src, SPR_SOURCE_INVENTORY, now(), INT64_MAX, &t), SPR_OK);
    /* Nothing but the other host is waited for now, so no time passes for the patience to end. */
    struct lv_source *src = s.src;
    pthread_mutex_lock(&src->lock);
    assert_true(!src->first || src->first->reply[1] == LV_FAILED);
    pthread_mutex_unlock(&src->lock);
    spr_fleet_unref(collect(&s).inventory);
    /* Deadline, cancel, and a close with all of it under way. */
    assert_int_equal(s.ops->submit(s.src, SPR_SOURCE_SAMPLES, now(), now().mono_ns - 1, &t), SPR_OK);
    struct spr_source_completion c = collect(&s);
    assert_int_equal(c.ticket, t);
    assert_true(c.outcome == SPR_TIMED_OUT || c.outcome == SPR_DONE);
    close(daemon); /* libvirt gives the thread back when the peer is gone */
    end(&s);
}

/* A library whose completions are longer, or shorter, than those this source was built with. */
static void answers_stand_in_the_librarys_stride(void **state) {
    (void)state;
    struct scene s;
    struct {
        struct spr_source_completion c;
        char newer[40];
    } longer[2];
    char shorter[2][offsetof(struct spr_source_completion, from)];
    spr_ticket t[2];
    size_t n = 0;
    begin(&s, "test:///default", NULL);
    spr_fleet_unref(inventory(&s));
    struct lv_source *src = s.src;
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < 2; i++)
            assert_int_equal(s.ops->submit(s.src, SPR_SOURCE_INVENTORY, now(), INT64_MAX, &t[i]), SPR_OK);
        bool both = false;
        for (int i = 0; i < 1200 && !both; i++) {
            poll(NULL, 0, 10);
            pthread_mutex_lock(&src->lock);
            both = src->first && src->first->next && !src->first->waiting && !src->first->next->waiting;
            pthread_mutex_unlock(&src->lock);
        }
        assert_true(both);
        memset(longer, 0x5a, sizeof longer);
        memset(shorter, 0x5a, sizeof shorter);
        for (int i = 0; i < 2; i++) {
            size_t size = turn ? sizeof shorter[i] : sizeof longer[i];
            memcpy(turn ? (void *)shorter[i] : &longer[i], &size, sizeof size);
        }
        assert_int_equal(s.ops->collect(s.src, now(), turn ? (void *)shorter : &longer[0].c, 2, &n), SPR_OK);
        assert_int_equal(n, 2);
        for (int i = 0; i < 2; i++) {
            spr_ticket got;
            memcpy(&got, (turn ? shorter[i] : (char *)&longer[i]) + offsetof(struct spr_source_completion, ticket),
                   sizeof got);
            assert_int_equal(got, t[i]);
            if (!turn) {
                assert_int_equal(longer[i].c.outcome, SPR_DONE);
                assert_int_equal(longer[i].newer[0], 0x5a);
                spr_fleet_unref(longer[i].c.inventory);
            }
        }
    }
    end(&s);
}

static void deadline_and_cancel_end_a_ticket_once(void **state) {
    (void)state;
    struct scene s;
    char uri[160];
    int daemon = silent_daemon(uri);
    const char *only = uri;
    begin_with(&s, &only, 1, (struct spr_libvirt_opts){.call_s = 100});
    spr_ticket late, taken_back, open_still;
    assert_int_equal(s.ops->submit(s.src, SPR_SOURCE_SAMPLES, now(), now().mono_ns + 100000000, &late), SPR_OK);
    assert_int_equal(s.ops->submit(s.src, SPR_SOURCE_SAMPLES, now(), INT64_MAX, &taken_back), SPR_OK);
    assert_int_equal(s.ops->submit(s.src, SPR_SOURCE_INVENTORY, now(), INT64_MAX, &open_still), SPR_OK);
    assert_int_equal(s.ops->submit(s.src, 9, now(), INT64_MAX, &open_still), SPR_E_ARG);
    assert_int_equal(s.ops->async->cancel(s.src, taken_back), SPR_OK);
    struct spr_source_completion c = collect(&s);
    assert_int_equal(c.ticket, taken_back);
    assert_int_equal(c.outcome, SPR_CANCELLED);
    c = collect(&s);
    assert_int_equal(c.ticket, late);
    assert_int_equal(c.outcome, SPR_TIMED_OUT);
    assert_non_null(strstr(c.text, uri));
    assert_int_equal(s.ops->async->cancel(s.src, late), SPR_E_NOT_FOUND);
    s.ops->close(s.src); /* the inventory is under way */
    close(daemon);
    spr_libvirt_close(s.v, 10);
    spr_context_unref(s.ctx);
}

static void no_memory_is_told_and_leaks_nothing(void **state) {
    (void)state;
    int done = 0;
    for (int n = 0; n < 400 && done < 3; n++) {
        struct scene s = {.ctx = context(), .ops = spr_libvirt_source()};
        struct spr_libvirt_host h = {.size = sizeof h, .uri = "test:///default", .id = "a"};
        struct spr_libvirt_opts o = {.size = sizeof o, .hosts = &h, .host_count = 1};
        struct spr_env env = {.size = sizeof env, .context = s.ctx};
        assert_int_equal(spr_libvirt_open(s.ctx, &o, &s.v), SPR_OK);
        atomic_store(&lv_alloc_fail_after, n);
        int rc = s.ops->open(&env, s.v, &s.src);
        assert_true(rc == SPR_OK || rc == SPR_E_NOMEM);
        for (int verb = SPR_SOURCE_INVENTORY; rc == SPR_OK && verb <= SPR_SOURCE_SAMPLES; verb++) {
            spr_ticket t;
            if ((rc = s.ops->submit(s.src, verb, now(), INT64_MAX, &t)) < 0) {
                assert_int_equal(rc, SPR_E_NOMEM);
                s.ops->close(s.src);
                break;
            }
            struct spr_source_completion c = collect(&s);
            assert_true(c.outcome == SPR_DONE || c.outcome == SPR_FAILED);
            spr_fleet_unref(c.inventory);
            if (verb == SPR_SOURCE_SAMPLES) {
                done += atomic_load(&lv_alloc_fail_after) >= 0;
                s.ops->close(s.src);
            }
        }
        atomic_store(&lv_alloc_fail_after, -1);
        spr_libvirt_close(s.v, 10);
        spr_context_unref(s.ctx);
    }
    assert_int_equal(done, 3); /* in the end all of it went well */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_become_rates),
        cmocka_unit_test(a_new_run_is_a_new_baseline),
        cmocka_unit_test(memory_is_what_the_guest_uses_while_it_says_so),
        cmocka_unit_test(without_delay_a_guest_at_its_limit_is_a_lower_bound),
        cmocka_unit_test(nonsense_is_left_out),
        cmocka_unit_test(the_test_driver_is_a_host_with_one_vm),
        cmocka_unit_test(two_sources_on_one_set_of_hosts_are_refused),
        cmocka_unit_test(owners_speak_through_metadata_and_shards_are_no_vms),
        cmocka_unit_test(names_are_told_apart_and_a_vm_on_two_hosts_counts_once),
        cmocka_unit_test(a_host_that_is_not_there_is_unreachable_and_delays_nobody),
        cmocka_unit_test(no_host_at_all_fails_with_the_uri_as_given),
        cmocka_unit_test(a_silent_host_is_waited_for_once),
        cmocka_unit_test(answers_stand_in_the_librarys_stride),
        cmocka_unit_test(deadline_and_cancel_end_a_ticket_once),
        cmocka_unit_test(no_memory_is_told_and_leaks_nothing),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    lv_record_clear(&decoded);
    return failed;
}
