/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The tables of cards and their VFs, made anew from sysfs and netlink. */
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sriov.h"

/* The first interface of a device that is visible in this namespace, "" = none; the lowest name where there are
 * several. */
static int lowest_name(void *user, const char *name) {
    char *out = user;
    if (sv_name_ok(name) && (!out[0] || strcmp(name, out) < 0))
        sv_text(out, SPR_SRIOV_NAME, name);
    return 0;
}

static void interface_of(const struct spr_sriov *s, const char *address, char out[SPR_SRIOV_NAME]) {
    out[0] = 0;
    sv_folder(s, lowest_name, out, "bus/pci/devices/%s/net", address);
}

static int32_t small_number(const struct spr_sriov *s, const char *address, const char *name, int32_t otherwise) {
    int64_t x;
    return sv_number(s, &x, "bus/pci/devices/%s/%s", address, name) && x >= 0 && x <= INT32_MAX ? (int32_t)x
                                                                                                : otherwise;
}

static int32_t group_of(const struct spr_sriov *s, const char *address) {
    char name[16], *end;
    if (!sv_link(s, name, sizeof name, "bus/pci/devices/%s/iommu_group", address))
        return -1;
    long group = strtol(name, &end, 10);
    return *end || end == name || group < 0 || group > INT32_MAX ? -1 : (int32_t)group;
}

static void driver_of(const struct spr_sriov *s, const char *address, char out[SPR_SRIOV_NAME]) {
    if (!sv_link(s, out, SPR_SRIOV_NAME, "bus/pci/devices/%s/driver", address) || !sv_name_ok(out))
        out[0] = 0;
}

/* ---- cards ---- */

struct finder {
    struct spr_sriov *s;
    int rc;
};

static void scan_pf(const struct spr_sriov *s, struct spr_sriov_pf *p) {
    int64_t flags = 0;
    p->size = sizeof *p;
    interface_of(s, p->address, p->netdev);
    driver_of(s, p->address, p->driver);
    p->numa_node = small_number(s, p->address, "numa_node", -1);
    p->iommu_group = group_of(s, p->address);
    p->vfs_most = small_number(s, p->address, "sriov_totalvfs", 0);
    p->vfs = 0; /* counted with the links that are there */
    p->up = p->netdev[0] && sv_number(s, &flags, "bus/pci/devices/%s/net/%s/flags", p->address, p->netdev) &&
            (flags & IFF_UP);
}

static int found_device(void *user, const char *name) {
    struct finder *f = user;
    struct spr_sriov *s = f->s;
    int64_t class = 0;
    if (!sv_address_ok(name) || !sv_exists(s, "bus/pci/devices/%s/sriov_totalvfs", name) ||
        !sv_number(s, &class, "bus/pci/devices/%s/class", name) || class >> 16 != 0x02)
        return 0;
    f->rc = sv_reserve(s, (void **)&s->pf, &s->pf_room, (size_t)s->pfs, sizeof *s->pf);
    if (f->rc < 0)
        return 1;
    struct spr_sriov_pf *p = &s->pf[s->pfs++];
    memset(p, 0, sizeof *p);
    sv_text(p->address, sizeof p->address, name);
    scan_pf(s, p);
    return 0;
}

static int by_address(const void *a, const void *b) {
    return strcmp(((const struct spr_sriov_pf *)a)->address, ((const struct spr_sriov_pf *)b)->address);
}

/* ---- VFs ---- */

void sv_scan_vf(struct spr_sriov *s, struct sv_vf *v) {
    struct spr_sriov_vf *is = &v->is;
    interface_of(s, is->address, is->netdev);
    driver_of(s, is->address, is->driver);
    is->numa_node = small_number(s, is->address, "numa_node", -1);
    is->iommu_group = group_of(s, is->address);
    if (!sv_read(s, v->override, sizeof v->override, "bus/pci/devices/%s/driver_override", is->address) ||
        !strcmp(v->override, "(null)"))
        v->override[0] = 0;
    memset(&is->settings, 0, sizeof is->settings);
    is->settings.size = sizeof is->settings;
    struct spr_sriov_settings now = is->settings;
    if (is->pf_netdev[0] && s->kernel.vf_get(s->kernel_state, is->pf_netdev, (uint32_t)is->index, &now) >= 0)
        is->settings = now;
}

static int scan_vfs(struct spr_sriov *s, int32_t pf) {
    struct spr_sriov_pf *p = &s->pf[pf];
    int32_t n = small_number(s, p->address, "sriov_numvfs", 0);
    for (int32_t i = 0; i < n && i < SV_VFS_MOST; i++) {
        char address[SPR_SRIOV_ADDRESS];
        if (!sv_link(s, address, sizeof address, "bus/pci/devices/%s/virtfn%d", p->address, (int)i) ||
            !sv_address_ok(address) || sv_vf_at(s, address))
            continue;
        int rc = sv_reserve(s, (void **)&s->vf, &s->vf_room, (size_t)s->vfs, sizeof *s->vf);
        if (rc < 0)
            return rc;
        struct sv_vf *v = &s->vf[s->vfs++];
        memset(v, 0, sizeof *v);
        v->pf = pf;
        v->is.size = sizeof v->is;
        v->is.index = i;
        sv_text(v->is.address, sizeof v->is.address, address);
        sv_text(v->is.pf_address, sizeof v->is.pf_address, p->address);
        sv_text(v->is.pf_netdev, sizeof v->is.pf_netdev, p->netdev);
        sv_scan_vf(s, v);
        p->vfs++;
    }
    return SPR_OK;
}

struct sv_vf *sv_vf_at(const struct spr_sriov *s, const char *address) {
    for (int32_t i = 0; i < s->vfs; i++)
        if (!strcmp(s->vf[i].is.address, address))
            return &s->vf[i];
    return NULL;
}

static int count(void *user, const char *name) {
    (void)name;
    ++*(int32_t *)user;
    return 0;
}

int sv_scan(struct spr_sriov *s) {
    struct finder f = {.s = s};
    s->pfs = s->vfs = s->iommu_groups = 0;
    if (!sv_exists(s, "bus"))
        return sv_fail(s, SPR_E_IO, NULL, "%s: no sysfs is there", s->sysfs);
    sv_folder(s, found_device, &f, "bus/pci/devices");
    if (f.rc < 0)
        return f.rc;
    if (s->pfs)
        qsort(s->pf, (size_t)s->pfs, sizeof *s->pf, by_address);
    for (int32_t i = 0; i < s->pfs; i++) {
        int rc = scan_vfs(s, i);
        if (rc < 0)
            return rc;
    }
    sv_folder(s, count, &s->iommu_groups, "kernel/iommu_groups");
    s->vfio_pci = sv_exists(s, "bus/pci/drivers/vfio-pci");
    return SPR_OK;
}
