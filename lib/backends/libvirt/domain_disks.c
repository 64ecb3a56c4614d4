/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A replica's disks: overlays in the place of what the primary writes to, what is only read stays. */
#include <string.h>

#include "derive.h"

static const struct lv_derive_disk *given(const struct derive *d, const char *target) {
    for (size_t i = 0; i < d->how->disk_count; i++)
        if (!strcmp(d->how->disks[i].target, target))
            return &d->how->disks[i];
    return NULL;
}

/* Where it lies, for a text. */
static const char *place(const xmlNode *disk) {
    static const char *const attribute[] = {"file", "dev", "name", "volume", "dir", "path"};
    const xmlNode *source = lv_xml_first(disk, "source");
    for (size_t i = 0; i < sizeof attribute / sizeof *attribute; i++)
        if (lv_xml_attr(source, attribute[i]))
            return lv_xml_attr(source, attribute[i]);
    return "no path";
}

static void put_backing(struct derive *d, xmlNode *disk, const struct lv_derive_disk *g) {
    xmlNode *backing = lv_xml_add(&d->e, disk, "backingStore", NULL);
    lv_xml_set(&d->e, backing, "type", "file");
    lv_xml_set(&d->e, lv_xml_add(&d->e, backing, "format", NULL), "type", g->backing_format);
    lv_xml_set(&d->e, lv_xml_add(&d->e, backing, "source", NULL), "file", g->backing);
}

static void forget_source(xmlNode *disk) {
    static const char *const gone[] = {"source", "backingStore", "mirror", "auth", "transient"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        lv_xml_drop_all(disk, gone[i]);
}

static void put_overlay(struct derive *d, xmlNode *disk, const struct lv_derive_disk *g, const char *format) {
    if (!g->path || !*g->path || !lv_xml_fits(g->path) || !lv_xml_fits(g->format) || !lv_xml_fits(g->backing) ||
        (g->backing && (!g->backing_format || !lv_xml_fits(g->backing_format)))) {
        lv_wrong(d, "disk %s: its path or formats are not given as they should be", g->target);
        return;
    }
    if (!strcmp(g->path, place(disk))) {
        lv_wrong(d, "disk %s: the overlay is the primary's own %s", g->target, g->path);
        return;
    }
    if (g->backing && !g->rests && !strcmp(g->backing, place(disk)) && !lv_xml_first(disk, "readonly")) {
        lv_wrong(d, "disk %s: the overlay lies on %s, which the primary writes to; take what is under it or a copy",
                 g->target, g->backing);
        return;
    }
    forget_source(disk);
    xmlNode *driver = lv_xml_need(&d->e, disk, "driver");
    lv_xml_set(&d->e, disk, "type", "file");
    lv_xml_set(&d->e, driver, "name", "qemu");
    lv_xml_set(&d->e, driver, "type", g->format ? g->format : format);
    if (g->copies && !lv_xml_first(disk, "readonly"))
        lv_xml_set(&d->e, driver, "copy_on_read", "on");
    lv_xml_set(&d->e, lv_xml_add(&d->e, disk, "source", NULL), "file", g->path);
    if (g->backing)
        put_backing(d, disk, g);
}

/* Why no overlay can lie on it, or NULL. */
static const char *hopeless(const xmlNode *disk) {
    const char *type = lv_xml_attr(disk, "type");
    if (lv_xml_first(disk, "shareable"))
        return "it is shared with others who write to it";
    if (lv_xml_is(disk, "device", "lun"))
        return "it is a SCSI device of the host's, passed through";
    if (lv_xml_first(disk, "encryption") || lv_xml_at(disk, "source", "encryption"))
        return "it is encrypted, and its secret is the primary's";
    if (!type || !strcmp(type, "vhostuser") || !strcmp(type, "vhostvdpa") || !strcmp(type, "nvme") ||
        !strcmp(type, "dir"))
        return "no image can be laid over a disk of its type";
    return NULL;
}

void lv_derive_disk(struct derive *d, xmlNode *disk) {
    const char *target = lv_xml_attr(lv_xml_first(disk, "target"), "dev"), *device = lv_xml_attr(disk, "device");
    bool drive = device && (!strcmp(device, "cdrom") || !strcmp(device, "floppy"));
    bool reads = drive || lv_xml_first(disk, "readonly");
    const struct lv_derive_disk *g = target ? given(d, target) : NULL;
    const char *why_not = drive ? NULL : hopeless(disk);
    if (!target)
        lv_refuse(d, "a disk has no target");
    else if (why_not && (g || !reads))
        lv_refuse(d, "disk %s (%s): %s", target, place(disk), why_not);
    else if (drive && ((g && !g->path) || (!g && d->how->seed_image)))
        forget_source(disk);
    else if (g)
        put_overlay(d, disk, g, drive ? "raw" : "qcow2");
    else if (!reads)
        lv_refuse(d, "disk %s (%s): it is written to, and no overlay is given for it", target, place(disk));
    else {
        lv_xml_drop_all(disk, "backingStore"); /* what the running primary found there */
        lv_xml_drop_all(disk, "mirror");
        lv_xml_unset(lv_xml_first(disk, "source"), "index");
    }
}

static bool has_target(const struct derive *d, const char *name) {
    for (const xmlNode *n = lv_xml_first(d->devices, "disk"); n; n = lv_xml_next(n, "disk"))
        if (lv_xml_is(lv_xml_first(n, "target"), "dev", name))
            return true;
    return false;
}

/* cloud-init looks for a label, on whatever block device: one that every machine type can have. */
void lv_derive_seed(struct derive *d) {
    const char *path = d->how->seed_image;
    char name[] = "vda";
    while (name[2] < 'z' && has_target(d, name))
        name[2]++;
    if (*path != '/' || !lv_xml_fits(path)) {
        lv_wrong(d, "seed image '%s' is no path of a file", path);
        return;
    }
    xmlNode *disk = lv_xml_add(&d->e, d->devices, "disk", NULL), *driver = lv_xml_add(&d->e, disk, "driver", NULL);
    lv_xml_set(&d->e, disk, "type", "file");
    lv_xml_set(&d->e, disk, "device", "disk");
    lv_xml_set(&d->e, driver, "name", "qemu");
    lv_xml_set(&d->e, driver, "type", "raw");
    lv_xml_set(&d->e, lv_xml_add(&d->e, disk, "source", NULL), "file", path);
    xmlNode *target = lv_xml_add(&d->e, disk, "target", NULL);
    lv_xml_set(&d->e, target, "dev", name);
    lv_xml_set(&d->e, target, "bus", "virtio");
    lv_xml_add(&d->e, disk, "readonly", NULL);
}
