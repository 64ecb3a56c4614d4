/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What stands in the way of moving a running VM to another host, found beforehand. libvirt finds most of it too, but
 * one at a time and when it is late; here all of it is a list that a plan can give as its reason.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "xml.h"

struct check {
    const struct lv_headroom_target *t;
    const xmlNode *root, *devices;
    struct lv_obstacles list;
    bool nomem;
};

static void found(struct check *c, bool blocks, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void found(struct check *c, bool blocks, const char *format, ...) {
    char text[LV_WHY], line[LV_WHY];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    lv_why(line, 0, "%s", text);
    void *block = c->list.of;
    int rc = lv_grow(&block, &c->list.cap, c->list.count + 1, sizeof *c->list.of);
    c->list.of = block;
    char *copy = rc == SPR_OK ? lv_strdup(line) : NULL;
    if (copy)
        c->list.of[c->list.count++] = (struct lv_obstacle){blocks, copy};
    else
        c->nomem = true;
}

void lv_obstacles_clear(struct lv_obstacles *o) {
    for (size_t i = 0; i < o->count; i++)
        lv_free(o->of[i].text);
    lv_free(o->of);
    memset(o, 0, sizeof *o);
}

static const char *or_empty(const char *text) { return text ? text : ""; }
static const char *target(const struct check *c) { return c->t->host ? c->t->host : "the target"; }

/* Is this path inside a folder that both hosts see? */
static bool shared(const struct check *c, const char *path) {
    for (size_t i = 0; path && i < c->t->shared_count; i++) {
        size_t n = strlen(c->t->shared[i]);
        while (n && c->t->shared[i][n - 1] == '/')
            n--;
        if (!strncmp(path, c->t->shared[i], n) && (!path[n] || path[n] == '/') && !strstr(path, "/../"))
            return true;
    }
    return false;
}

/* ---- disks ---- */

static const char *path_of(const xmlNode *source) {
    const char *path = lv_xml_attr(source, "file");
    return path ? path : lv_xml_attr(source, "dev");
}

static void check_disk(struct check *c, const xmlNode *n) {
    const char *type = or_empty(lv_xml_attr(n, "type")),
               *name = or_empty(lv_xml_attr(lv_xml_first(n, "target"), "dev"));
    const char *cache = or_empty(lv_xml_attr(lv_xml_first(n, "driver"), "cache"));
    const xmlNode *source = lv_xml_first(n, "source");
    const char *path = path_of(source);
    bool reads = lv_xml_first(n, "readonly") || lv_xml_is(n, "device", "cdrom") || lv_xml_is(n, "device", "floppy");
    if (!source || !strcmp(type, "network"))
        return; /* an empty drive; storage that is reached over the network from anywhere */
    if (!strcmp(type, "vhostuser") || !strcmp(type, "vhostvdpa") || !strcmp(type, "nvme"))
        found(c, true, "disk %s: type %s is bound to its host", name, type);
    else if (lv_xml_is(n, "device", "lun") && lv_xml_first(source, "reservations"))
        found(c, true, "disk %s: SCSI reservations are its host's", name);
    else if (!strcmp(type, "volume"))
        found(c, false, "disk %s: a volume of pool %s: %s must have that pool with the same content", name,
              or_empty(lv_xml_attr(source, "pool")), target(c));
    else if (shared(c, path)) {
        if (!reads && !c->t->cache_is_safe && strcmp(cache, "none") && strcmp(cache, "directsync"))
            found(c, true, "disk %s (%s): cache mode '%s' on shared storage is not safe to migrate", name,
                  or_empty(path), *cache ? cache : "default");
        return;
    } else if (reads || !c->t->copies_disks || lv_xml_first(n, "shareable"))
        found(c, true, "disk %s (%s): not on storage that %s shares", name, or_empty(path), target(c));
    for (const xmlNode *b = lv_xml_first(n, "backingStore"); lv_xml_first(b, "source");
         b = lv_xml_first(b, "backingStore"))
        if (!lv_xml_is(b, "type", "network") && !shared(c, path_of(lv_xml_first(b, "source"))))
            found(c, false, "disk %s: its backing file %s is not shared: all of it is copied", name,
                  or_empty(path_of(lv_xml_first(b, "source"))));
}

/* ---- interfaces ---- */

static void check_link(struct check *c, size_t number, const char *link) {
    for (size_t i = 0; i < c->t->link_count; i++)
        if (!strcmp(c->t->links[i], link))
            return;
    if (c->t->link_count)
        found(c, true, "interface %zu: %s has no active network or bridge %s", number, target(c), link);
}

static void check_nic(struct check *c, const xmlNode *n, size_t number) {
    const char *type = or_empty(lv_xml_attr(n, "type"));
    const xmlNode *source = lv_xml_first(n, "source");
    const char *link = lv_xml_attr(source, "network");
    if (!link)
        link = lv_xml_attr(source, "bridge");
    if (!strcmp(type, "hostdev"))
        found(c, true, "interface %zu: a virtual function is passed through; it must be taken out first", number);
    else if (!strcmp(type, "vdpa") || !strcmp(type, "vhostuser") ||
             (!strcmp(type, "direct") && lv_xml_is(source, "mode", "passthrough")))
        found(c, true, "interface %zu: type %s is bound to its host", number, type);
    else if (!strcmp(type, "user"))
        found(c, false, "interface %zu: type user: its connections end with the move", number);
    else if (link)
        check_link(c, number, link);
}

/* ---- other devices ---- */

static void check_chardev(struct check *c, const xmlNode *n) {
    const char *type = or_empty(lv_xml_attr(n, "type")), *name = (const char *)n->name;
    const xmlNode *source = lv_xml_first(n, "source");
    const char *path = or_empty(lv_xml_attr(source, "path"));
    if (!strcmp(type, "dev") || !strcmp(type, "pipe"))
        found(c, true, "%s: device %s of the host", name, path);
    else if (!strcmp(type, "file") && !shared(c, path))
        found(c, false, "%s: file %s stays behind; a new one is begun on %s", name, path, target(c));
    else if (!strcmp(type, "unix") && *path && !strstr(path, "/libvirt/qemu/"))
        found(c, false, "%s: socket %s: who is connected to it is cut off", name, path);
    else if ((!strcmp(type, "tcp") || !strcmp(type, "udp")) && lv_xml_is(source, "mode", "bind"))
        found(c, false, "%s: port %s must be free on %s", name, or_empty(lv_xml_attr(source, "service")), target(c));
}

static void check_device(struct check *c, const xmlNode *n) {
    const char *type = or_empty(lv_xml_attr(n, "type"));
    char address[32];
    if (lv_xml_named(n, "serial") || lv_xml_named(n, "parallel") || lv_xml_named(n, "channel"))
        check_chardev(c, n);
    else if (lv_xml_named(n, "hostdev")) {
        lv_pci_text(lv_xml_at(n, "source", "address"), address);
        found(c, true, "hostdev %s %s: a device of the host is passed through", type, address);
    } else if (lv_xml_named(n, "filesystem"))
        found(c, true, "filesystem %s: a folder of the host", or_empty(lv_xml_attr(lv_xml_first(n, "source"), "dir")));
    else if (lv_xml_named(n, "shmem"))
        found(c, true, "shmem %s: memory that it shares with others on its host", or_empty(lv_xml_attr(n, "name")));
    else if (lv_xml_named(n, "tpm") && lv_xml_is(lv_xml_first(n, "backend"), "type", "passthrough"))
        found(c, true, "tpm: the host's own is passed through");
    else if (lv_xml_named(n, "smartcard") && lv_xml_is(n, "mode", "host"))
        found(c, true, "smartcard: the host's own is passed through");
}

/* ---- the machine ---- */

static void check_cpu(struct check *c) {
    const xmlNode *cpu = lv_xml_first(c->root, "cpu");
    const char *mode = or_empty(lv_xml_attr(cpu, "mode"));
    bool exactly = !strcmp(mode, "host-passthrough") || (!strcmp(mode, "maximum") && lv_xml_is(c->root, "type", "kvm"));
    if (exactly && c->t->cpu != LV_CPU_SAME)
        found(c, true, "cpu mode %s: %s", mode,
              c->t->cpu == LV_CPU_UNASKED ? "nobody has asked whether both hosts have the same CPU"
                                          : "the CPUs of the two hosts are not the same");
    else if (c->t->cpu == LV_CPU_LACKS)
        found(c, true, "cpu: %s lacks features that the VM uses", target(c));
    else if (c->t->cpu == LV_CPU_FAILED)
        found(c, true, "cpu: %s could not compare it with its own", target(c));
    for (const xmlNode *f = lv_xml_first(cpu, "feature"); f; f = lv_xml_next(f, "feature"))
        if (lv_xml_is(f, "name", "invtsc") && !lv_xml_is(f, "policy", "disable") && !lv_xml_is(f, "policy", "forbid"))
            found(c, true, "cpu feature invtsc: its clock would jump on a host of another frequency");
}

static void check_files(struct check *c) {
    static const char *const name[] = {"kernel", "initrd", "dtb"};
    for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
        const char *path = lv_xml_text(lv_xml_at(c->root, "os", name[i]));
        if (*path && !shared(c, path))
            found(c, false, "%s %s: the same file must be on %s", name[i], path, target(c));
    }
}

static void check_identity(struct check *c) {
    const char *name = lv_xml_text(lv_xml_first(c->root, "name")), *uuid = lv_xml_text(lv_xml_first(c->root, "uuid"));
    for (size_t i = 0; i < c->t->domain_count; i++) {
        if (c->t->uuids && !strcmp(c->t->uuids[i], uuid))
            found(c, true, "uuid %s: %s has a domain of that UUID", uuid, target(c));
        else if (c->t->names && !strcmp(c->t->names[i], name))
            found(c, true, "name %s: %s has another domain of that name", name, target(c));
    }
}

static void check_room(struct check *c, const struct lv_domain *d) {
    if (c->t->memory_free > 0 && d->memory_now > c->t->memory_free)
        found(c, true, "memory: it has %.0f MiB, %s has %.0f MiB free", d->memory_now / 0x1p20, target(c),
              c->t->memory_free / 0x1p20);
    if (c->t->cpu_free > 0 && d->vcpus > c->t->cpu_free)
        found(c, false, "cpu: it has %u vcpus, %s has %.2f cores free", d->vcpus, target(c), c->t->cpu_free);
}

/* ---- what the target can run at all ---- */

static const xmlNode *guest_of(const xmlNode *caps, const char *arch) {
    const xmlNode *g = lv_xml_first(caps, "guest");
    while (g && (strcmp(lv_xml_text(lv_xml_first(g, "os_type")), "hvm") ||
                 !lv_xml_is(lv_xml_first(g, "arch"), "name", arch)))
        g = lv_xml_next(g, "guest");
    return g;
}

static bool has_machine(const xmlNode *level, const char *machine) {
    for (const xmlNode *m = lv_xml_first(level, "machine"); m; m = lv_xml_next(m, "machine"))
        if (!strcmp(lv_xml_text(m), machine) || lv_xml_is(m, "canonical", machine))
            return true;
    return false;
}

static bool has_hugepages(const xmlNode *cells) {
    for (const xmlNode *cell = lv_xml_first(cells, "cell"); cell; cell = lv_xml_next(cell, "cell"))
        for (const xmlNode *p = lv_xml_next(lv_xml_first(cell, "pages"), "pages"); p; p = lv_xml_next(p, "pages"))
            if (strcmp(lv_xml_text(p), "0")) /* the first row counts ordinary pages */
                return true;
    return false;
}

static void check_capabilities(struct check *c, const struct lv_domain *d, const xmlNode *caps) {
    const char *arch = or_empty(d->arch), *type = or_empty(d->type);
    const xmlNode *guest = guest_of(caps, arch), *a = lv_xml_first(guest, "arch"), *run = lv_xml_first(a, "domain");
    while (run && !lv_xml_is(run, "type", type))
        run = lv_xml_next(run, "domain");
    if (!guest)
        found(c, true, "%s runs no %s guests", target(c), arch);
    else if (!run)
        found(c, true, "%s runs no guests of type %s", target(c), type);
    else if (d->machine && !has_machine(run, d->machine) && !has_machine(a, d->machine))
        found(c, true, "machine %s: %s's QEMU does not know it", d->machine, target(c));
#ifdef LV_INSIDE /* libvirt's own test driver, which the tests' build runs against, says nothing of this */
    if (!strcmp(type, "test"))
        return;
#endif
    if (lv_xml_at(caps, "host", "cpu") && !lv_xml_first(lv_xml_at(caps, "host", "migration_features"), "live"))
        found(c, true, "%s does not take part in live migration", target(c));
    if (d->hugepages && !has_hugepages(lv_xml_at(lv_xml_first(caps, "host"), "topology", "cells")))
        found(c, true, "hugepages: %s has none", target(c));
}

static void check_all(struct check *c, const struct lv_domain *d, const xmlNode *caps) {
    size_t number = 0;
    check_identity(c);
    check_cpu(c);
    check_room(c, d);
    check_files(c);
    if (caps)
        check_capabilities(c, d, caps);
    if (lv_xml_first(c->root, "launchSecurity"))
        found(c, true, "launchSecurity: an encrypted guest is bound to its host");
    for (const xmlNode *n = lv_xml_first(c->devices, NULL); n; n = lv_xml_next(n, NULL))
        if (lv_xml_named(n, "disk"))
            check_disk(c, n);
        else if (lv_xml_named(n, "interface"))
            check_nic(c, n, number++);
        else
            check_device(c, n);
}

int lv_headroom_check(const char *live_xml, const struct lv_headroom_target *t, struct lv_obstacles *out,
                      char why[LV_WHY]) {
    struct lv_domain d;
    xmlDoc *doc = NULL, *caps = NULL;
    int rc = lv_domain_read(live_xml, &d, why);
    if (rc < 0)
        return rc;
    rc = lv_xml_open(live_xml, "domain", &doc, why);
    if (rc == SPR_OK && t->capabilities)
        rc = lv_xml_open(t->capabilities, "capabilities", &caps, why);
    if (rc == SPR_OK) {
        struct check c = {.t = t, .root = xmlDocGetRootElement(doc)};
        c.devices = lv_xml_first(c.root, "devices");
        check_all(&c, &d, caps ? xmlDocGetRootElement(caps) : NULL);
        if (c.nomem) {
            lv_obstacles_clear(&c.list);
            rc = lv_why(why, SPR_E_NOMEM, "live migration: out of memory");
        } else {
            *out = c.list;
        }
    }
    xmlFreeDoc(caps);
    xmlFreeDoc(doc);
    lv_domain_clear(&d);
    return rc;
}
