/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The contract of drivers, kept by the one for libvirt.
 *
 *   conformance_libvirt                              against test:///default, libvirt's host in memory
 *   conformance_libvirt HOME=URI TARGET=URI VM       against real hosts; VM is defined on the first
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include <shardpredict/backend-libvirt.h>

#include "conformance.h"

struct libvirt_stand {
    spr_libvirt *hosts;
    virConnectPtr conn; /* of our own, to the target */
    char *planted;      /* definition of what was planted */
};

static struct spr_time now(struct stand *s) {
    struct timespec t;
    (void)s;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (struct spr_time){0, t.tv_sec * INT64_C(1000000000) + t.tv_nsec};
}

static int open_libvirt(struct stand *s, const char *owner, void **state) {
    struct spr_env env = {sizeof env, s->ctx, NULL, 1};
    struct spr_libvirt_driver_opts o = {.size = sizeof o,
                                        .hosts = ((struct libvirt_stand *)s->own)->hosts,
                                        .owner = owner,
                                        .probe_s = 0.05,
                                        .drain_idle_s = 0.2,
                                        .lease_s = 1.5};
    return s->ops->open(&env, &o, state);
}

static void pass(struct stand *s, void *state) {
    struct pollfd p = {.fd = s->ops->async->fd(state), .events = POLLIN};
    poll(&p, 1, 50);
}

/* ---- what is foreign ---- */

static void name_of(const struct stand *s, uint64_t shard, char out[128]) {
    snprintf(out, 128, "spr-%016llx-%s", (unsigned long long)shard, s->vm);
}

static char *definition(struct libvirt_stand *l, const char *name) {
    virDomainPtr d = virDomainLookupByName(l->conn, name);
    char *xml = d ? virDomainGetXMLDesc(d, VIR_DOMAIN_XML_INACTIVE) : NULL;
    if (d)
        virDomainFree(d);
    return xml;
}

static int plant(struct stand *s, uint64_t shard) {
    struct libvirt_stand *l = s->own;
    char name[128], xml[512];
    name_of(s, shard, name);
    snprintf(xml, sizeof xml,
             "<domain type='%s'><name>%s</name><memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type>hvm</type></os>"
             "</domain>",
             strcmp(virConnectGetType(l->conn), "Test") ? "qemu" : "test", name);
    virDomainPtr d = virDomainDefineXML(l->conn, xml);
    if (!d)
        return SPR_E_IO;
    virDomainFree(d);
    l->planted = definition(l, name);
    return l->planted ? SPR_OK : SPR_E_IO;
}

static bool stands(struct stand *s, uint64_t shard) {
    struct libvirt_stand *l = s->own;
    char name[128];
    name_of(s, shard, name);
    char *xml = definition(l, name);
    bool same = xml && !strcmp(xml, l->planted);
    free(xml);
    return same;
}

static void uproot(struct stand *s, uint64_t shard) {
    struct libvirt_stand *l = s->own;
    char name[128];
    name_of(s, shard, name);
    virDomainPtr d = virDomainLookupByName(l->conn, name);
    if (d) {
        virDomainUndefine(d);
        virDomainFree(d);
    }
    free(l->planted);
    l->planted = NULL;
}

static void silent(void *user, virErrorPtr e) { (void)user, (void)e; }

static int run(struct stand *s, const struct spr_libvirt_host *hosts, size_t count) {
    struct libvirt_stand l = {0};
    struct spr_libvirt_opts o = {.size = sizeof o, .hosts = hosts, .host_count = count};
    s->own = &l;
    s->ops = spr_libvirt_driver();
    s->open = open_libvirt;
    s->now = now;
    s->pass = pass;
    s->plant = plant, s->stands = stands, s->uproot = uproot;
    s->patience_s = 120;
    s->host = hosts[count - 1].id;
    s->other_host = hosts[0].id;
    if (spr_context_create(NULL, &s->ctx) < 0 || spr_libvirt_open(s->ctx, &o, &l.hosts) < 0)
        return 1;
    virSetErrorFunc(NULL, silent);
    l.conn = virConnectOpen(hosts[count - 1].uri);
    int failed = l.conn ? conform(s) : 1;
    spr_libvirt_close(l.hosts, 30);
    if (l.conn)
        virConnectClose(l.conn);
    spr_context_unref(s->ctx);
    return failed;
}

/* Its default host is one for all connections of a process; its own VM has a disk that a replica could not share. */
static int in_memory(void) {
    static const char web[] = "<domain type='test'><name>web</name><memory unit='MiB'>128</memory><vcpu>2</vcpu><os>"
                              "<type arch='i686'>hvm</type></os><devices/></domain>";
    struct spr_libvirt_host h = {.size = sizeof h, .uri = "test:///default", .id = "h"};
    struct stand s = {.name = "libvirt on test:///default", .vm = "web"};
    s.without[RULE_HEADROOM] = "the VM lives on the only host there is, and headroom is another host's";
    virConnectPtr conn = virConnectOpen(h.uri);
    virDomainPtr d = conn ? virDomainCreateXML(conn, web, 0) : NULL;
    int failed = d ? run(&s, &h, 1) : 1;
    if (d)
        virDomainFree(d);
    if (conn)
        virConnectClose(conn);
    return failed;
}

int main(int argc, char **argv) {
    struct spr_libvirt_host hosts[2];
    struct stand s = {.name = "libvirt on QEMU"};
    if (argc == 1)
        return in_memory();
    for (int i = 0; i < 2 && argc == 4; i++) {
        char *uri = strchr(argv[i + 1], '=');
        if (!uri)
            return 2;
        *uri++ = 0;
        hosts[i] = (struct spr_libvirt_host){.size = sizeof hosts[i], .uri = uri, .id = argv[i + 1]};
    }
    s.vm = argc == 4 ? argv[3] : NULL;
    return argc == 4 ? run(&s, hosts, 2) : 2;
}
