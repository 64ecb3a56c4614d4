/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A kernel for the sriov library that works on an unfolded sysfs tree: binding a driver moves links and makes
 * interfaces appear, the settings of the VFs are in shared memory, and every step that changes something (a write, a
 * setting, a record of the journal) is counted. At a given step it fails, or the process dies, before the step or after
 * it.
 */
#ifndef TESTS_UNIT_FAKE_VFS_H
#define TESTS_UNIT_FAKE_VFS_H

#include <stdarg.h>
#include <sys/mman.h>

#include <shardpredict/backend-sriov.h>
#include <shardpredict/lifecycle.h>

#include "sysfs_tree.h"

#define FAKE_DEAD 33 /* exit code of a process that dies at its step */

struct fake_vfs {
    char root[64], journal[96];
    struct spr_sriov_settings vf[2][8];
    int step, fail_at, fail_until, die_before, die_after; /* from 1; 0 = never */
    int addresses;                                        /* every interface has so many */
    int group_busy;                                       /* 1: a guest has every group open */
    int refuse;                                           /* ::spr_sriov_setting that the cards refuse */
    int igbvf_only;                                       /* 1: vfio-pci takes nothing */
    int sets;                                             /* settings that were written */
};

static inline struct fake_vfs *fake_vfs_make(void) {
    struct fake_vfs *f = mmap(NULL, sizeof *f, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (f == MAP_FAILED)
        abort();
    tree_igb(f->root);
    snprintf(f->journal, sizeof f->journal, "%s.journal", f->root);
    for (int p = 0; p < 2; p++)
        for (int i = 0; i < 8; i++)
            f->vf[p][i] = (struct spr_sriov_settings){.size = sizeof f->vf[p][i],
                                                      .known = SPR_SRIOV_ALL,
                                                      .vlan_proto = 0x8100,
                                                      .spoofchk = 1,
                                                      .mac = {0, 0, 0, 0, 0, 0}};
    f->vf[0][1].vlan = 7; /* an administrator's */
    f->vf[0][1].vlan_qos = 2;
    f->vf[0][1].max_mbps = 500;
    return f;
}

static inline void fake_vfs_end(struct fake_vfs *f) {
    tree_remove(f->root);
    unlink(f->journal);
    munmap(f, sizeof *f);
}

/* 0, or the errno of this step's failure. */
static inline int fake_before(struct fake_vfs *f) {
    f->step++;
    if (f->step == f->die_before)
        _exit(FAKE_DEAD);
    return f->fail_at && f->step >= f->fail_at && f->step <= (f->fail_until ? f->fail_until : f->fail_at) ? EIO : 0;
}
static inline void fake_after(struct fake_vfs *f) {
    if (f->step == f->die_after)
        _exit(FAKE_DEAD);
}

/* ---- the tree ---- */

static inline char *fake_path(const struct fake_vfs *f, char path[TREE_PATH], const char *format, ...) {
    va_list args;
    int n = snprintf(path, TREE_PATH, "%s/", f->root);
    va_start(args, format);
    vsnprintf(path + n, TREE_PATH - (size_t)n, format, args);
    va_end(args);
    return path;
}

static inline void fake_text(const struct fake_vfs *f, const char *device, const char *name, const char *text) {
    char path[TREE_PATH];
    tree_file(fake_path(f, path, "bus/pci/devices/%s/%s", device, name), text);
}

/* The driver of a device, "" = none. */
static inline void fake_driver(const struct fake_vfs *f, const char *device, char out[64]) {
    char path[TREE_PATH], target[TREE_PATH];
    ssize_t n = readlink(fake_path(f, path, "bus/pci/devices/%s/driver", device), target, sizeof target - 1);
    target[n > 0 ? n : 0] = 0;
    snprintf(out, 64, "%.60s", n > 0 ? strrchr(target, '/') + 1 : "");
}

static inline void fake_first_line(const char *path, char out[64]) {
    FILE *file = fopen(path, "re");
    out[0] = 0;
    if (file && !fgets(out, 64, file))
        out[0] = 0;
    if (file)
        fclose(file);
    out[strcspn(out, "\n")] = 0;
}

static inline void fake_no_interfaces(const struct fake_vfs *f, const char *device) {
    char path[TREE_PATH];
    tree_remove(fake_path(f, path, "bus/pci/devices/%s/net", device));
}

static inline void fake_interface(const struct fake_vfs *f, const char *device, const char *name, const char *flags) {
    char path[TREE_PATH];
    mkdir(fake_path(f, path, "bus/pci/devices/%s/net", device), 0700);
    mkdir(fake_path(f, path, "bus/pci/devices/%s/net/%s", device, name), 0700);
    tree_file(fake_path(f, path, "bus/pci/devices/%s/net/%s/flags", device, name), flags);
}

static inline void fake_bind_to(const struct fake_vfs *f, const char *device, const char *driver) {
    char path[TREE_PATH], target[TREE_PATH], name[32];
    snprintf(target, sizeof target, "../../../../bus/pci/drivers/%s", driver);
    if (symlink(target, fake_path(f, path, "bus/pci/devices/%s/driver", device)) < 0)
        abort();
    snprintf(name, sizeof name, "vf%c%c", device[6], device[11]);
    if (!strcmp(driver, "igbvf"))
        fake_interface(f, device, name, "0x1002");
}

static inline void fake_unbind(const struct fake_vfs *f, const char *device) {
    char path[TREE_PATH];
    unlink(fake_path(f, path, "bus/pci/devices/%s/driver", device));
    fake_no_interfaces(f, device);
}

static inline int fake_bind(const struct fake_vfs *f, const char *device, const char *driver) {
    char now[64], wish[64], path[TREE_PATH];
    fake_driver(f, device, now);
    fake_first_line(fake_path(f, path, "bus/pci/devices/%s/driver_override", device), wish);
    bool chosen = wish[0] && strcmp(wish, "(null)");
    if (now[0])
        return driver ? EBUSY : 0; /* a probe leaves what is bound */
    if (driver && chosen && strcmp(wish, driver))
        return ENODEV;
    if (!driver)
        driver = chosen ? wish : "igbvf";
    if (f->igbvf_only && strcmp(driver, "igbvf"))
        return 0; /* the kernel does not say that nobody took it */
    fake_bind_to(f, device, driver);
    return 0;
}

/* ---- number of VFs ---- */

static inline void fake_vf_address(int pf, int i, char out[16]) {
    snprintf(out, 16, "0000:0%d:1%d.%d", pf + 1, i / 4, i % 4 * 2);
}

static inline void fake_new_vf(const struct fake_vfs *f, int pf, int i) {
    char path[TREE_PATH], device[16], target[TREE_PATH];
    fake_vf_address(pf, i, device);
    snprintf(target, sizeof target, "../../../devices/pci0000:00/0000:00:0%d.0/%s", pf + 1, device);
    mkdir(fake_path(f, path, "devices/pci0000:00/0000:00:0%d.0/%s", pf + 1, device), 0700);
    if (symlink(target, fake_path(f, path, "bus/pci/devices/%s", device)) < 0)
        abort();
    fake_text(f, device, "class", "0x020000");
    fake_text(f, device, "driver_override", "(null)");
    fake_text(f, device, "numa_node", "-1");
    mkdir(fake_path(f, path, "kernel/iommu_groups/%d", 40 + pf * 10 + i), 0700);
    mkdir(fake_path(f, path, "kernel/iommu_groups/%d/devices", 40 + pf * 10 + i), 0700);
    mkdir(fake_path(f, path, "kernel/iommu_groups/%d/devices/%s", 40 + pf * 10 + i, device), 0700);
    snprintf(target, sizeof target, "../../../../kernel/iommu_groups/%d", 40 + pf * 10 + i);
    unlink(fake_path(f, path, "bus/pci/devices/%s/iommu_group", device));
    snprintf(path, sizeof path, "%s/bus/pci/devices/%s/iommu_group", f->root, device);
    snprintf(target, sizeof target, "../../../../kernel/iommu_groups/%d", 40 + pf * 10 + i);
    if (symlink(target, path) < 0)
        abort();
    unlink(fake_path(f, path, "bus/pci/devices/%s/driver", device));
    fake_bind_to(f, device, "igbvf");
}

static inline int fake_count(const struct fake_vfs *f, const char *device, int n) {
    char path[TREE_PATH], target[TREE_PATH], vf[16], now[64];
    int pf = device[6] - '1';
    fake_first_line(fake_path(f, path, "bus/pci/devices/%s/sriov_numvfs", device), now);
    if (n && atoi(now))
        return EBUSY;
    if (n > 7)
        return ERANGE;
    for (int i = 0; i < 8; i++) {
        fake_vf_address(pf, i, vf);
        unlink(fake_path(f, path, "bus/pci/devices/%s/virtfn%d", device, i));
        unlink(fake_path(f, path, "bus/pci/devices/%s", vf));
        if (i >= n)
            continue;
        fake_new_vf(f, pf, i);
        snprintf(target, sizeof target, "../%s", vf);
        if (symlink(target, fake_path(f, path, "bus/pci/devices/%s/virtfn%d", device, i)) < 0)
            abort();
    }
    snprintf(now, sizeof now, "%d", n);
    fake_text(f, device, "sriov_numvfs", now);
    return 0;
}

/* ---- the table ---- */

static inline int fake_open(const struct spr_env *env, const void *config, void **state) {
    (void)env;
    *state = (void *)(uintptr_t)config;
    return 0;
}
static inline void fake_close(void *state) { (void)state; }

static inline int fake_obey(const struct fake_vfs *f, const char *path, const char *text) {
    char name[64], what[32], now[64];
    if (sscanf(path, "bus/pci/drivers/%63[^/]/%31s", name, what) == 2) {
        fake_driver(f, text, now);
        if (!strcmp(what, "bind"))
            return fake_bind(f, text, name);
        if (strcmp(now, name))
            return ENODEV;
        fake_unbind(f, text);
        return 0;
    }
    if (!strcmp(path, "bus/pci/drivers_probe"))
        return fake_bind(f, text, NULL);
    if (sscanf(path, "bus/pci/devices/%63[^/]/%31s", name, what) != 2)
        return ENOENT;
    if (!strcmp(what, "sriov_numvfs"))
        return fake_count(f, name, atoi(text));
    if (strcmp(what, "driver_override"))
        return ENOENT;
    fake_text(f, name, what, text[0] == '\n' ? "(null)" : text);
    return 0;
}

static inline int fake_write(void *state, const char *sysfs, const char *path, const char *text) {
    struct fake_vfs *f = state;
    int rc = strcmp(sysfs, f->root) ? ENOENT : fake_before(f);
    if (!rc)
        rc = fake_obey(f, path, text);
    fake_after(f);
    return -rc;
}

static inline int fake_vf_get(void *state, const char *pf, uint32_t vf, struct spr_sriov_settings *out) {
    struct fake_vfs *f = state;
    if (strncmp(pf, "eth", 3) || pf[3] < '0' || pf[3] > '1' || vf > 7)
        return -ENODEV;
    *out = f->vf[pf[3] - '0'][vf];
    return 0;
}

static inline int fake_vf_set(void *state, const char *pf, uint32_t vf, const struct spr_sriov_settings *w) {
    struct fake_vfs *f = state;
    struct spr_sriov_settings *to = &f->vf[pf[3] - '0'][vf];
    int rc = fake_before(f);
    if (!rc && (w->known & (uint32_t)f->refuse))
        rc = EOPNOTSUPP;
    if (!rc) {
        f->sets++;
        if (w->known & SPR_SRIOV_MAC)
            memcpy(to->mac, w->mac, sizeof to->mac);
        if (w->known & SPR_SRIOV_VLAN)
            to->vlan = w->vlan, to->vlan_qos = w->vlan_qos, to->vlan_proto = w->vlan_proto;
        if (w->known & SPR_SRIOV_RATE)
            to->min_mbps = w->min_mbps, to->max_mbps = w->max_mbps;
        if (w->known & SPR_SRIOV_SPOOFCHK)
            to->spoofchk = w->spoofchk;
        if (w->known & SPR_SRIOV_TRUST)
            to->trust = w->trust;
    }
    fake_after(f);
    return -rc;
}

static inline int fake_addresses(void *state, const char *netdev) {
    (void)netdev;
    return ((struct fake_vfs *)state)->addresses;
}
static inline int fake_group_free(void *state, int32_t group) {
    (void)group;
    return ((struct fake_vfs *)state)->group_busy ? -EBUSY : 0;
}

static const struct spr_sriov_kernel_ops fake_kernel = {
    .size = sizeof fake_kernel,
    .name = "fake",
    .license = "MIT OR Apache-2.0",
    .open = fake_open,
    .close = fake_close,
    .write = fake_write,
    .vf_get = fake_vf_get,
    .vf_set = fake_vf_set,
    .addresses = fake_addresses,
    .group_free = fake_group_free,
};

/* ---- the journal: the file store, with steps ---- */

struct fake_store {
    struct fake_vfs *vfs;
    void *file;
};

static inline int fake_store_open(const struct spr_env *env, const void *config, void **state) {
    struct fake_store *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    s->vfs = (struct fake_vfs *)(uintptr_t)config;
    struct spr_store_file_opts o = {.size = sizeof o, .path = s->vfs->journal};
    int rc = spr_store_file()->open(env, &o, &s->file);
    if (rc < 0)
        free(s);
    else
        *state = s;
    return rc;
}
static inline void fake_store_close(void *state) {
    spr_store_file()->close(((struct fake_store *)state)->file);
    free(state);
}
static inline int fake_store_append(void *state, const void *record, size_t bytes, int64_t deadline, spr_ticket *out) {
    struct fake_store *s = state;
    int rc = fake_before(s->vfs) ? SPR_E_IO : spr_store_file()->append(s->file, record, bytes, deadline, out);
    fake_after(s->vfs);
    return rc;
}
static inline int fake_store_collect(void *state, struct spr_time now, struct spr_store_completion *out, size_t room,
                                     size_t *count) {
    return spr_store_file()->collect(((struct fake_store *)state)->file, now, out, room, count);
}
static inline int fake_store_read(void *state, int (*record)(void *user, const void *data, size_t bytes), void *user,
                                  int64_t *torn) {
    return spr_store_file()->read(((struct fake_store *)state)->file, record, user, torn);
}
static inline int fake_store_cancel(void *state, spr_ticket ticket) {
    (void)state, (void)ticket;
    return SPR_E_NOT_FOUND;
}
static const struct spr_async_ops fake_waiting = {.size = sizeof fake_waiting, .cancel = fake_store_cancel};
static const struct spr_store_ops fake_store = {
    .size = sizeof fake_store,
    .name = "steps",
    .license = "MIT OR Apache-2.0",
    .async = &fake_waiting,
    .open = fake_store_open,
    .close = fake_store_close,
    .append = fake_store_append,
    .collect = fake_store_collect,
    .read = fake_store_read,
};

static inline int fake_vfs_open(spr_context *ctx, struct fake_vfs *f, spr_sriov **out) {
    struct spr_sriov_opts o = {.size = sizeof o,
                               .sysfs = f->root,
                               .kernel = &fake_kernel,
                               .kernel_config = f,
                               .store = &fake_store,
                               .store_config = f};
    return spr_sriov_open(ctx, &o, out);
}

#endif
