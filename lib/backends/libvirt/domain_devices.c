/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A replica's devices. What has no row here stays as it is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "derive.h"

/* PATH.<name of the shard>, so that it never writes to the primary's file. */
static void rename_path(struct derive *d, xmlNode *n, const char *attribute, const char *suffix) {
    const char *old = lv_xml_attr(n, attribute);
    char *made = old ? lv_alloc(strlen(old) + strlen(suffix) + 2) : NULL;
    if (!old)
        return;
    d->e.nomem |= !made;
    if (made) {
        strcpy(made, old);
        strcat(made, ".");
        strcat(made, suffix);
        lv_xml_set(&d->e, n, attribute, made);
    }
    lv_free(made);
}

static bool one_of(const char *text, const char *const *list) {
    for (; *list; list++)
        if (!strcmp(text, *list))
            return true;
    return false;
}

/* ---- serial, parallel, console, channel ---- */

static void chardev(struct derive *d, xmlNode *n) {
    static const char *const harmless[] = {"pty", "null", "vc", "stdio", "spicevmc", "spiceport", "qemu-vdagent", NULL};
    const char *type = lv_xml_attr(n, "type");
    xmlNode *source = lv_xml_first(n, "source");
    char id[24];
    snprintf(id, sizeof id, "spr-%016llx", (unsigned long long)d->how->meta->id);
    lv_xml_unset(n, "tty");
    lv_xml_unset(lv_xml_first(n, "target"), "state");
    for (xmlNode *log = lv_xml_first(n, "log"); log; log = lv_xml_next(log, "log"))
        rename_path(d, log, "file", d->name);
    for (xmlNode *more; (more = lv_xml_next(source, "source"));) /* udp has two of them */
        lv_xml_drop(more);
    if (type && !strcmp(type, "file")) {
        rename_path(d, source, "path", d->name);
    } else if (type && !strcmp(type, "unix")) {
        const char *path = lv_xml_attr(source, "path");
        if (lv_xml_is(source, "mode", "connect") || !path || strstr(path, "/libvirt/qemu/"))
            lv_xml_drop_all(n, "source"); /* libvirt makes one in a folder of the new domain's */
        else
            rename_path(d, source, "path", id); /* short: a socket's path has 107 bytes */
        if (lv_xml_named(n, "serial") && !lv_xml_first(n, "source"))
            lv_xml_set(&d->e, n, "type", "pty");
    } else {
        /* Ports and devices of the host can be had once; a terminal of its own loses nothing that a guest needs. */
        bool named = type && !strcmp(type, "spiceport"); /* its source is a name, not a place */
        if (!type || !one_of(type, harmless))
            lv_xml_set(&d->e, n, "type", "pty"); /* the old text is gone with this */
        if (!named)
            lv_xml_drop_all(n, "source");
        lv_xml_drop_all(n, "protocol");
    }
}

/* ---- screens ---- */

/* An address of the primary's host is none of the replica's host; without one that host's usual one is taken. */
static void forget_address(xmlNode *n, const char *attribute) {
    static const char *const everywhere[] = {"127.0.0.1", "0.0.0.0", "::1", "::", "localhost", NULL};
    const char *address = lv_xml_attr(n, attribute);
    if (address && !one_of(address, everywhere))
        lv_xml_unset(n, attribute);
}

static void graphics(struct derive *d, xmlNode *n) {
    static const char *const gone[] = {"port", "tlsPort", "websocket", "socket", NULL};
    for (const char *const *a = gone; *a; a++)
        lv_xml_unset(n, *a);
    if (lv_xml_is(n, "type", "vnc") || lv_xml_is(n, "type", "spice"))
        lv_xml_set(&d->e, n, "autoport", "yes");
    forget_address(n, "listen");
    for (xmlNode *l = lv_xml_first(n, "listen"); l; l = lv_xml_next(l, "listen")) {
        forget_address(l, "address");
        lv_xml_unset(l, "socket");
        lv_xml_unset(l, "fromConfig");
    }
}

/* ---- the rest ---- */

static void hostdev(struct derive *d, xmlNode *n) {
    char address[32], what[80];
    const char *type = lv_xml_attr(n, "type");
    lv_pci_text(lv_xml_at(n, "source", "address"), address);
    snprintf(what, sizeof what, "hostdev %.20s %s", type ? type : "", address);
    if (type && !strcmp(type, "pci"))
        lv_derive_vf(d, n, what);
    else
        lv_refuse(d, "%s: a device of the host can be passed to one guest only", what);
}

static void filesystem(struct derive *d, xmlNode *n) {
    const xmlNode *source = lv_xml_first(n, "source");
    const char *dir = lv_xml_attr(source, "dir");
    if (!lv_xml_first(n, "readonly"))
        lv_refuse(d, "filesystem %s: a folder of the primary's host that it writes to", dir ? dir : "without a folder");
    else if (lv_xml_attr(source, "socket"))
        lv_refuse(d, "filesystem: its server serves one guest only");
}

static void shmem(struct derive *d, xmlNode *n) {
    const char *name = lv_xml_attr(n, "name");
    lv_refuse(d, "shmem %s: memory that it shares with others", name ? name : "");
}

static void memory_device(struct derive *d, xmlNode *n) {
    if (lv_xml_is(n, "model", "nvdimm") || lv_xml_is(n, "model", "virtio-pmem"))
        lv_refuse(d, "memory device: it keeps its content in a file of the primary's");
    else
        lv_xml_drop(n); /* plugged-in memory: the replica is given its memory in one piece */
}

static void vsock(struct derive *d, xmlNode *n) {
    xmlNode *cid = lv_xml_need(&d->e, n, "cid");
    lv_xml_unset(cid, "address");
    lv_xml_set(&d->e, cid, "auto", "yes");
}

static void memballoon(struct derive *d, xmlNode *n) {
    if (lv_xml_is(n, "model", "none"))
        return;
    xmlNode *stats = lv_xml_need(&d->e, n, "stats");
    const char *period = lv_xml_attr(stats, "period");
    if (!period || atoi(period) <= 0)
        lv_xml_set(&d->e, stats, "period", "2"); /* s; the source reads what the guest says of its memory */
}

static void audio(struct derive *d, xmlNode *n) {
    if (lv_xml_is(n, "type", "file"))
        rename_path(d, n, "path", d->name);
}

static void dropped(struct derive *d, xmlNode *n) {
    (void)d;
    lv_xml_drop(n);
}

static void smartcard(struct derive *d, xmlNode *n) {
    if (!lv_xml_is(n, "mode", "passthrough") || !lv_xml_is(n, "type", "spicevmc"))
        dropped(d, n);
}

static void redirdev(struct derive *d, xmlNode *n) {
    if (!lv_xml_is(n, "type", "spicevmc"))
        dropped(d, n); /* connects to one place, where the primary is */
}

static const struct {
    const char *name;
    void (*change)(struct derive *d, xmlNode *n);
} rows[] = {
    {"disk", lv_derive_disk},  {"interface", lv_derive_nic},
    {"hostdev", hostdev},      {"filesystem", filesystem},
    {"serial", chardev},       {"parallel", chardev},
    {"console", chardev},      {"channel", chardev},
    {"graphics", graphics},    {"shmem", shmem},
    {"memory", memory_device}, {"vsock", vsock},
    {"audio", audio},          {"memballoon", memballoon},
    {"smartcard", smartcard},  {"redirdev", redirdev},
    {"tpm", dropped},          {"lease", dropped},
    {"pstore", dropped},
};

/* Names that libvirt gave while the primary ran; those that begin with "ua-" are the owner's. */
static void drop_alias(xmlNode *device) {
    xmlNode *alias = lv_xml_first(device, "alias");
    const char *name = lv_xml_attr(alias, "name");
    if (!name || strncmp(name, "ua-", 3))
        lv_xml_drop(alias);
}

void lv_derive_devices(struct derive *d) {
    d->limited = 0;
    for (xmlNode *n = lv_xml_first(d->devices, "interface"); n; n = lv_xml_next(n, "interface")) {
        const char *mac = lv_xml_attr(lv_xml_first(n, "mac"), "address");
        d->limited += lv_nic_limited(d, n);
        if (mac) /* kept beside until all are changed: none of the primary's may come back */
            lv_xml_set(&d->e, n, "primary-mac", mac);
        lv_xml_drop_all(n, "mac");
    }
    for (xmlNode *n = lv_xml_first(d->devices, NULL), *next; n; n = next) {
        next = lv_xml_next(n, NULL);
        drop_alias(n);
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
            if (lv_xml_named(n, rows[i].name)) {
                rows[i].change(d, n);
                break;
            }
    }
    for (xmlNode *n = lv_xml_first(d->devices, "interface"); n; n = lv_xml_next(n, "interface"))
        lv_xml_unset(n, "primary-mac");
    for (size_t i = 0; i < d->how->disk_count; i++) {
        const xmlNode *n = lv_xml_first(d->devices, "disk");
        while (n && !lv_xml_is(lv_xml_first(n, "target"), "dev", d->how->disks[i].target))
            n = lv_xml_next(n, "disk");
        if (!n)
            lv_wrong(d, "an overlay is given for disk %s, which it does not have", d->how->disks[i].target);
    }
    if (d->how->seed_image)
        lv_derive_seed(d);
    if (!lv_xml_first(d->devices, "memballoon")) {
        xmlNode *n = lv_xml_add(&d->e, d->devices, "memballoon", NULL);
        lv_xml_set(&d->e, n, "model", "virtio");
        memballoon(d, n);
    }
}
