/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the source and the driver must know of a domain, out of its XML (live or not). */
#include <stdio.h>
#include <string.h>

#include "xml.h"

struct reader {
    struct lv_bag bag;
    struct lv_domain d;
    bool nomem;
    char *why;
};

static const char *keep(struct reader *r, const char *text) {
    const char *copy = text ? lv_bag_text(&r->bag, text) : NULL;
    r->nomem |= text && !copy;
    return copy;
}
static const char *attr(struct reader *r, const xmlNode *n, const char *name) { return keep(r, lv_xml_attr(n, name)); }
/* Text of an element without the blanks around it; NULL when it is not there or empty. */
static const char *text(struct reader *r, const xmlNode *n) {
    const char *t = lv_xml_text(n);
    t += strspn(t, " \t\r\n");
    char *copy = *t ? lv_bag_text(&r->bag, t) : NULL;
    r->nomem |= *t && !copy;
    for (size_t i = copy ? strlen(copy) : 0; i && strchr(" \t\r\n", copy[i - 1]); i--)
        copy[i - 1] = 0;
    return copy;
}
static void *array(struct reader *r, size_t count, size_t each) {
    void *block = count ? lv_bag_alloc(&r->bag, count * each) : NULL;
    r->nomem |= count && !block;
    return r->nomem ? NULL : block;
}

/* Bytes of an amount with libvirt's units; 0 when it is not there, -1 when it cannot be read. */
static double bytes_of(const xmlNode *n) {
    static const struct {
        const char *unit;
        double bytes;
    } scale[] = {{"b", 1},        {"bytes", 1},   {"KB", 1e3},      {"k", 1024},    {"KiB", 1024},
                 {"MB", 1e6},     {"M", 1048576}, {"MiB", 1048576}, {"GB", 1e9},    {"G", 0x1p30},
                 {"GiB", 0x1p30}, {"TB", 1e12},   {"T", 0x1p40},    {"TiB", 0x1p40}};
    const char *unit = lv_xml_attr(n, "unit");
    uint64_t v;
    if (!n)
        return 0;
    if (!lv_u64_read(lv_xml_text(n), 10, &v))
        return -1;
    for (size_t i = 0; i < sizeof scale / sizeof *scale; i++)
        if (!strcmp(unit ? unit : "KiB", scale[i].unit))
            return (double)v * scale[i].bytes;
    return -1;
}

/* ---- disks ---- */

static const char *source_of(struct reader *r, const xmlNode *source) {
    static const char *const place[] = {"file", "dev", "dir", "name", "volume", "path"};
    for (size_t i = 0; i < sizeof place / sizeof *place; i++)
        if (lv_xml_attr(source, place[i]))
            return attr(r, source, place[i]);
    return NULL;
}

static void read_backing(struct reader *r, const xmlNode *disk, struct lv_disk *d) {
    size_t n = 0;
    for (const xmlNode *b = lv_xml_first(disk, "backingStore"); lv_xml_first(b, "source");
         b = lv_xml_first(b, "backingStore"))
        n++;
    const char **path = array(r, n, sizeof *path), **format = array(r, n, sizeof *format);
    if (!path || !format)
        return;
    const xmlNode *b = lv_xml_first(disk, "backingStore");
    for (size_t i = 0; i < n; i++, b = lv_xml_first(b, "backingStore")) {
        path[i] = source_of(r, lv_xml_first(b, "source"));
        format[i] = attr(r, lv_xml_first(b, "format"), "type");
    }
    d->backing = path;
    d->backing_format = format;
    d->backing_count = n;
}

static void read_disks(struct reader *r, const xmlNode *devices) {
    size_t count = lv_xml_count(devices, "disk");
    struct lv_disk *d = array(r, count, sizeof *d);
    if (!d)
        return;
    r->d.disk = d;
    r->d.disk_count = count;
    for (const xmlNode *n = lv_xml_first(devices, "disk"); n; n = lv_xml_next(n, "disk"), d++) {
        const xmlNode *source = lv_xml_first(n, "source"), *driver = lv_xml_first(n, "driver");
        const char *device = attr(r, n, "device");
        d->device = device ? device : "disk";
        d->type = attr(r, n, "type");
        d->target = attr(r, lv_xml_first(n, "target"), "dev");
        d->bus = attr(r, lv_xml_first(n, "target"), "bus");
        d->source = source_of(r, source);
        d->pool = attr(r, source, "pool");
        d->format = attr(r, driver, "type");
        d->cache = attr(r, driver, "cache");
        d->serial = text(r, lv_xml_first(n, "serial"));
        d->readonly = lv_xml_first(n, "readonly") || !strcmp(d->device, "cdrom");
        d->copies = lv_xml_is(driver, "copy_on_read", "on");
        d->shareable = !!lv_xml_first(n, "shareable");
        d->encrypted = lv_xml_first(n, "encryption") || lv_xml_first(source, "encryption");
        read_backing(r, n, d);
    }
}

/* ---- interfaces and passed-through devices ---- */

void lv_pci_text(const xmlNode *address, char out[32]) {
    static const char *const part[] = {"domain", "bus", "slot", "function"};
    uint64_t v[4] = {0};
    for (int i = 0; i < 4; i++) {
        const char *t = lv_xml_attr(address, part[i]);
        bool hex = t && !strncmp(t, "0x", 2);
        if (!lv_u64_read(hex ? t + 2 : t, hex ? 16 : 10, &v[i]) || v[i] > 0xFFFF) {
            *out = 0;
            return;
        }
    }
    snprintf(out, 32, "%04x:%02x:%02x.%x", (unsigned)v[0], (unsigned)v[1], (unsigned)v[2], (unsigned)v[3]);
}

static void read_nics(struct reader *r, const xmlNode *devices) {
    static const char *const place[] = {"bridge", "network", "dev", "path", "name"};
    size_t count = lv_xml_count(devices, "interface");
    struct lv_nic *d = array(r, count, sizeof *d);
    if (!d)
        return;
    r->d.nic = d;
    r->d.nic_count = count;
    for (const xmlNode *n = lv_xml_first(devices, "interface"); n; n = lv_xml_next(n, "interface"), d++) {
        const xmlNode *source = lv_xml_first(n, "source");
        d->type = attr(r, n, "type");
        d->mac = attr(r, lv_xml_first(n, "mac"), "address");
        d->model = attr(r, lv_xml_first(n, "model"), "type");
        d->target = attr(r, lv_xml_first(n, "target"), "dev");
        if (d->type && !strcmp(d->type, "network"))
            d->source = attr(r, source, "network"); /* a live one names the bridge too */
        for (size_t i = 0; !d->source && i < sizeof place / sizeof *place; i++)
            d->source = attr(r, source, place[i]);
        if (!d->source && lv_xml_first(source, "address")) {
            char pci[32];
            lv_pci_text(lv_xml_first(source, "address"), pci);
            d->source = keep(r, pci);
        }
    }
}

static void read_hostdevs(struct reader *r, const xmlNode *devices) {
    size_t count = lv_xml_count(devices, "hostdev");
    struct lv_hostdev *d = array(r, count, sizeof *d);
    if (!d)
        return;
    r->d.hostdev = d;
    r->d.hostdev_count = count;
    for (const xmlNode *n = lv_xml_first(devices, "hostdev"); n; n = lv_xml_next(n, "hostdev"), d++) {
        char pci[32];
        lv_pci_text(lv_xml_at(n, "source", "address"), pci);
        d->type = attr(r, n, "type");
        d->address = keep(r, pci);
    }
}

/* ---- our elements ---- */

static const char *element_of(struct reader *r, const xmlNode *metadata, const char *name, const char *urn) {
    for (xmlNode *n = lv_xml_first(metadata, NULL); n; n = lv_xml_next(n, NULL)) {
        if (!n->ns || strcmp((const char *)n->ns->href, urn) || strcmp((const char *)n->name, name))
            continue;
        struct lv_edit e = {.doc = n->doc};
        xmlNode *alone = xmlDocCopyNode(n, n->doc, 1); /* a copy says its namespace itself */
        char *printed = NULL;
        const char *copy = alone && lv_xml_print(&e, alone, &printed) == SPR_OK ? keep(r, printed) : NULL;
        r->nomem |= !copy;
        lv_free(printed);
        xmlFreeNode(alone);
        return copy;
    }
    return NULL;
}

/* ---- all of it ---- */

static int whole_number(const xmlNode *root, const char *text, const char *what, uint64_t most, uint64_t *out,
                        char *why) {
    if (lv_u64_read(text, 10, out) && *out <= most)
        return SPR_OK;
    return lv_why(why, SPR_E_FORMAT, "domain %s: %s: '%.80s' is not a number that it can be",
                  lv_xml_text(lv_xml_first(root, "name")), what, text ? text : "");
}

static int read_size(struct reader *r, const xmlNode *root) {
    const xmlNode *vcpu = lv_xml_first(root, "vcpu");
    const char *now = lv_xml_attr(vcpu, "current"), *id = lv_xml_attr(root, "id");
    uint64_t n = 1;
    int rc = vcpu ? whole_number(root, lv_xml_text(vcpu), "vcpu", 65536, &n, r->why) : SPR_OK;
    r->d.vcpus = r->d.vcpus_most = (uint32_t)n;
    if (rc == SPR_OK && now && (rc = whole_number(root, now, "vcpu: current", n, &n, r->why)) == SPR_OK)
        r->d.vcpus = (uint32_t)n;
    r->d.id = -1;
    if (rc == SPR_OK && id && (rc = whole_number(root, id, "id", INT32_MAX, &n, r->why)) == SPR_OK)
        r->d.id = (int64_t)n;
    r->d.memory = bytes_of(lv_xml_first(root, "memory"));
    r->d.memory_now = lv_xml_first(root, "currentMemory") ? bytes_of(lv_xml_first(root, "currentMemory")) : r->d.memory;
    if (rc == SPR_OK && (r->d.memory < 0 || r->d.memory_now < 0))
        rc = lv_why(r->why, SPR_E_FORMAT, "domain %s: memory: not an amount with a unit that libvirt knows",
                    lv_xml_text(lv_xml_first(root, "name")));
    return rc;
}

static void read_system(struct reader *r, const xmlNode *root) {
    const xmlNode *os = lv_xml_first(root, "os"), *type = lv_xml_first(os, "type"), *cpu = lv_xml_first(root, "cpu");
    const xmlNode *nvram = lv_xml_first(os, "nvram");
    struct lv_domain *d = &r->d;
    d->type = attr(r, root, "type");
    d->arch = attr(r, type, "arch");
    d->machine = attr(r, type, "machine");
    d->kernel = text(r, lv_xml_first(os, "kernel"));
    d->initrd = text(r, lv_xml_first(os, "initrd"));
    d->cmdline = text(r, lv_xml_first(os, "cmdline"));
    d->loader = text(r, lv_xml_first(os, "loader"));
    d->nvram = text(r, nvram);
    if (!d->nvram)
        d->nvram = source_of(r, lv_xml_first(nvram, "source"));
    d->uefi = lv_xml_is(os, "firmware", "efi") || lv_xml_is(lv_xml_first(os, "loader"), "type", "pflash");
    d->cpu_mode = attr(r, cpu, "mode");
    d->cpu_model = text(r, lv_xml_first(cpu, "model"));
    d->hugepages = !!lv_xml_at(root, "memoryBacking", "hugepages");
}

static void read_devices(struct reader *r, const xmlNode *devices) {
    r->d.emulator = text(r, lv_xml_first(devices, "emulator"));
    r->d.tpm = !!lv_xml_first(devices, "tpm");
    for (const xmlNode *n = lv_xml_first(devices, "channel"); n; n = lv_xml_next(n, "channel"))
        r->d.agent |= lv_xml_is(lv_xml_first(n, "target"), "name", "org.qemu.guest_agent.0");
    read_disks(r, devices);
    read_nics(r, devices);
    read_hostdevs(r, devices);
}

int lv_domain_read(const char *xml, struct lv_domain *out, char why[LV_WHY]) {
    xmlDoc *doc;
    int rc = lv_xml_open(xml, "domain", &doc, why);
    if (rc < 0)
        return rc;
    const xmlNode *root = xmlDocGetRootElement(doc);
    struct reader r = {.why = why};
    const char *name = lv_xml_text(lv_xml_first(root, "name")); /* as it is: blanks count in names */
    r.d.name = *name ? keep(&r, name) : NULL;
    r.d.uuid = text(&r, lv_xml_first(root, "uuid"));
    r.d.shard_xml = element_of(&r, lv_xml_first(root, "metadata"), "shard", LV_SHARD_URN);
    r.d.vm_xml = element_of(&r, lv_xml_first(root, "metadata"), "vm", LV_VM_URN);
    r.d.trial = element_of(&r, lv_xml_first(root, "metadata"), "trial", LV_TRIAL_URN) != NULL;
    read_system(&r, root);
    read_devices(&r, lv_xml_first(root, "devices"));
    if (r.nomem)
        rc = lv_why(why, SPR_E_NOMEM, "domain: out of memory");
    else if (!r.d.name)
        rc = lv_why(why, SPR_E_FORMAT, "domain: it has no name");
    else
        rc = read_size(&r, root);
    xmlFreeDoc(doc);
    if (rc < 0) {
        lv_bag_clear(&r.bag);
        return rc;
    }
    r.d.bag = r.bag.newest;
    *out = r.d;
    return SPR_OK;
}

void lv_domain_clear(struct lv_domain *d) {
    struct lv_bag bag = {d->bag};
    lv_bag_clear(&bag);
    memset(d, 0, sizeof *d);
    d->id = -1;
}
