/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Before a VM is moved, or headroom is promised for it: what the target says of itself goes into the check of
 * domain_check.c, disks are looked up where the target would open them, and all that is in the way is told at once.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "xml.h"

struct list {
    char **of;
    size_t count, cap;
};

/* What was asked of the target; freed whole. */
struct asked {
    struct list names, uuids, links, shared;
    char *capabilities;
    struct lv_headroom_target t;
    bool nomem;
};

static void add(struct asked *q, struct list *l, const char *text, size_t length) {
    void *block = l->of;
    int rc = lv_grow(&block, &l->cap, l->count + 1, sizeof *l->of);
    l->of = block;
    char *copy = rc == SPR_OK ? lv_alloc(length + 1) : NULL;
    if (copy)
        l->of[l->count++] = memcpy(copy, text, length);
    else
        q->nomem = true;
}

static void list_free(struct list *l) {
    for (size_t i = 0; i < l->count; i++)
        lv_free(l->of[i]);
    lv_free(l->of);
}

static void asked_free(struct asked *q) {
    list_free(&q->names), list_free(&q->uuids), list_free(&q->links), list_free(&q->shared);
    free(q->capabilities);
}

/* "/a:/b" */
static void split(struct asked *q, struct list *l, const char *text) {
    for (const char *at = text; at && *at;) {
        size_t n = strcspn(at, ":");
        if (n)
            add(q, l, at, n);
        at += n + (at[n] == ':');
    }
}

/* ---- asking the target ---- */

static int ask_domains(struct asked *q, virConnectPtr conn) {
    virDomainPtr *all = NULL;
    int n = virConnectListAllDomains(conn, &all, 0);
    for (int i = 0; i < n; i++) {
        char uuid[VIR_UUID_STRING_BUFLEN];
        const char *name = virDomainGetName(all[i]);
        if (virDomainGetUUIDString(all[i], uuid) == 0) {
            add(q, &q->names, name, strlen(name));
            add(q, &q->uuids, uuid, strlen(uuid));
        }
        virDomainFree(all[i]);
    }
    free(all);
    return n < 0 ? -1 : 0;
}

static void ask_networks(struct asked *q, virConnectPtr conn) {
    virNetworkPtr *all = NULL;
    int n = virConnectListAllNetworks(conn, &all, VIR_CONNECT_LIST_NETWORKS_ACTIVE);
    for (int i = 0; i < n; i++) {
        char *bridge = virNetworkGetBridgeName(all[i]);
        add(q, &q->links, virNetworkGetName(all[i]), strlen(virNetworkGetName(all[i])));
        if (bridge)
            add(q, &q->links, bridge, strlen(bridge));
        free(bridge);
        virNetworkFree(all[i]);
    }
    free(all);
}

/* Bridges are interfaces of the host. A host that cannot list them is not judged by them: the list stays empty. */
static void ask_bridges(struct asked *q, virConnectPtr conn) {
    virInterfacePtr *all = NULL;
    int n = virConnectListAllInterfaces(conn, &all, VIR_CONNECT_LIST_INTERFACES_ACTIVE);
    for (int i = 0; i < n; i++) {
        add(q, &q->links, virInterfaceGetName(all[i]), strlen(virInterfaceGetName(all[i])));
        virInterfaceFree(all[i]);
    }
    free(all);
    if (n > 0)
        ask_networks(q, conn);
}

/* What nobody uses, and what the page cache would give back. */
double lv_memory_free(virConnectPtr conn) {
    virNodeMemoryStats of[16];
    int n = 0;
    double kib = 0;
    if (virNodeGetMemoryStats(conn, VIR_NODE_MEMORY_STATS_ALL_CELLS, NULL, &n, 0) < 0 || n < 1 || n > 16 ||
        virNodeGetMemoryStats(conn, VIR_NODE_MEMORY_STATS_ALL_CELLS, of, &n, 0) < 0)
        return 0;
    for (int i = 0; i < n; i++)
        if (!strcmp(of[i].field, VIR_NODE_MEMORY_STATS_FREE) || !strcmp(of[i].field, VIR_NODE_MEMORY_STATS_BUFFERS) ||
            !strcmp(of[i].field, VIR_NODE_MEMORY_STATS_CACHED))
            kib += (double)of[i].value;
    return kib * 1024;
}

/* The hold's own memory is free for the VM that it is held for. */
static double memory_held(struct lv_act *a) {
    virDomainInfo info;
    return a->dom && lv_runs(a->dom) && virDomainGetInfo(a->dom, &info) == 0 ? (double)info.memory * 1024 : 0;
}

/* ---- CPU ---- */

static int match_of(int result) {
    if (result == VIR_CPU_COMPARE_IDENTICAL)
        return LV_CPU_SAME;
    if (result == VIR_CPU_COMPARE_SUPERSET)
        return LV_CPU_SUPERSET;
    if (result == VIR_CPU_COMPARE_INCOMPATIBLE)
        return LV_CPU_LACKS;
    int code = virGetLastErrorCode();
    return code == VIR_ERR_NO_SUPPORT || code == VIR_ERR_ARGUMENT_UNSUPPORTED ? LV_CPU_UNASKED : LV_CPU_FAILED;
}

static char *cpu_of(const char *live, char why[LV_WHY]) {
    xmlDoc *doc = NULL;
    char *out = NULL;
    if (lv_xml_open(live, "domain", &doc, why) < 0)
        return NULL;
    struct lv_edit e = {.doc = doc};
    xmlNode *cpu = lv_xml_first(xmlDocGetRootElement(doc), "cpu");
    if (cpu && lv_xml_print(&e, cpu, &out) < 0)
        out = NULL;
    xmlFreeDoc(doc);
    return out;
}

/* A CPU that is named is compared with what the target's QEMU can offer; one that is passed through, with its own. An
 * emulated "maximum" is what QEMU makes it, on any host. */
static int compare_cpu(struct lv_act *a, virConnectPtr conn, const struct lv_domain *d, char why[LV_WHY]) {
    const char *mode = d->cpu_mode ? d->cpu_mode : "";
    bool kvm = d->type && !strcmp(d->type, "kvm");
    int match = LV_CPU_UNASKED;
    if (!strcmp(mode, "host-passthrough") || (!strcmp(mode, "maximum") && kvm)) {
        if (a->primary.host_cpu)
            match = match_of(virConnectCompareCPU(conn, a->primary.host_cpu, 0));
    } else if (!strcmp(mode, "custom") || !strcmp(mode, "host-model")) {
        char *cpu = cpu_of(a->primary.live, why);
        if (cpu)
            match = match_of(virConnectCompareHypervisorCPU(conn, d->emulator, d->arch, d->machine, d->type, cpu, 0));
        lv_free(cpu);
    }
    return match;
}

/* ---- disks ---- */

static bool inside(const char *path, const char *folder, size_t n) {
    while (n && folder[n - 1] == '/')
        n--;
    return n && !strncmp(path, folder, n) && path[n] == '/' && !strstr(path, "/../");
}

bool lv_disks_are_shared(const char *shared, const char *live_xml) {
    struct lv_domain d = {0};
    char why[LV_WHY];
    bool all = shared && lv_domain_read(live_xml, &d, why) == SPR_OK;
    for (size_t i = 0; all && i < d.disk_count; i++) {
        const struct lv_disk *k = &d.disk[i];
        bool in = !k->source || k->readonly || (k->type && !strcmp(k->type, "network"));
        for (const char *at = shared; !in && *at;) {
            size_t n = strcspn(at, ":");
            in = inside(k->source, at, n);
            at += n + (at[n] == ':');
        }
        all = in;
    }
    lv_domain_clear(&d);
    return all;
}

/* Does the target see it at that path? Its pool may have been read before the file was made. */
static bool sees(virConnectPtr conn, const char *path) {
    virStorageVolPtr vol = virStorageVolLookupByPath(conn, path);
    char folder[1024];
    const char *end = strrchr(path, '/');
    if (!vol && end && (size_t)(end - path) < sizeof folder && end > path) {
        snprintf(folder, sizeof folder, "%.*s", (int)(end - path), path);
        virStoragePoolPtr pool = virStoragePoolLookupByTargetPath(conn, folder);
        if (pool && virStoragePoolRefresh(pool, 0) == 0)
            vol = virStorageVolLookupByPath(conn, path);
        if (pool)
            virStoragePoolFree(pool);
    }
    if (vol)
        virStorageVolFree(vol);
    return vol != NULL;
}

/* ---- all of it ---- */

struct told {
    char text[LV_WHY]; /* what is too much for it is cut off */
    size_t count;
    bool room; /* nothing but memory is in the way */
};

static void tell(struct told *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void tell(struct told *t, const char *format, ...) {
    va_list args;
    va_start(args, format);
    if (t->count++)
        strncat(t->text, "; ", sizeof t->text - strlen(t->text) - 1);
    size_t n = strlen(t->text);
    vsnprintf(t->text + n, sizeof t->text - n, format, args);
    va_end(args);
}

static void tell_disks(struct told *t, struct lv_act *a, virConnectPtr conn, const struct lv_domain *d) {
    for (size_t i = 0; i < d->disk_count; i++) {
        const struct lv_disk *k = &d->disk[i];
        if (!k->source || *k->source != '/' || !lv_disks_are_shared(a->d->o.shared, a->primary.live))
            continue;
        if (!sees(conn, k->source)) {
            tell(t, "disk %s (%s): no active pool of %s has it", k->target, k->source, lv_target(a)->id);
            t->room = false;
        }
    }
}

/* The source connects to the target by the name that it gives itself. */
static void tell_address(struct told *t, struct lv_act *a, virConnectPtr conn) {
    char *name = virConnectGetHostname(conn);
    if (name && !strncmp(name, "localhost", 9)) {
        tell(t, "%s calls itself %s: no other host can send a VM there", lv_target(a)->id, name);
        t->room = false;
    }
    free(name);
}

static int ask(struct lv_act *a, virConnectPtr conn, struct asked *q, const struct lv_domain *d, char why[LV_WHY]) {
    q->capabilities = virConnectGetCapabilities(conn);
    if (!q->capabilities || ask_domains(q, conn) < 0) {
        lv_fail(a, "asking what it can run", NULL);
        return a->job.code;
    }
    ask_bridges(q, conn);
    split(q, &q->shared, a->d->o.shared);
    if (q->nomem) {
        lv_job_fail(&a->job, SPR_E_NOMEM, "out of memory");
        return SPR_E_NOMEM;
    }
    q->t = (struct lv_headroom_target){.host = lv_target(a)->id,
                                       .capabilities = q->capabilities,
                                       .cpu = compare_cpu(a, conn, d, why),
                                       .names = (const char *const *)q->names.of,
                                       .uuids = (const char *const *)q->uuids.of,
                                       .domain_count = q->names.count,
                                       .links = (const char *const *)q->links.of,
                                       .link_count = q->links.count,
                                       .shared = (const char *const *)q->shared.of,
                                       .shared_count = q->shared.count,
                                       .cache_is_safe = true};
    q->t.memory_free = lv_memory_free(conn);
    if (q->t.memory_free > 0)
        q->t.memory_free += memory_held(a);
    return SPR_OK;
}

static int judge(struct lv_act *a, virConnectPtr conn, const struct asked *q, const struct lv_domain *d,
                 char why[LV_WHY]) {
    struct lv_obstacles list = {0};
    struct told t = {.room = true};
    int rc = lv_headroom_check(a->primary.live, &q->t, &list, why);
    if (rc < 0) {
        lv_job_fail(&a->job, rc, "%s", why);
        return rc;
    }
    for (size_t i = 0; i < list.count; i++)
        if (list.of[i].blocks) {
            tell(&t, "%s", list.of[i].text);
            t.room &= !strncmp(list.of[i].text, "memory:", 7);
        }
    lv_obstacles_clear(&list);
    tell_disks(&t, a, conn, d);
    tell_address(&t, a, conn);
    if (!t.count)
        return SPR_OK;
    rc = t.room ? SPR_E_CAPACITY : SPR_E_UNSUPPORTED;
    lv_job_fail(&a->job, rc, "VM '%s' cannot come from %s (%zu): %s", a->vm, a->d->v->hosts[a->primary.host].id,
                t.count, t.text);
    return rc;
}

int lv_headroom_look(struct lv_act *a, virConnectPtr conn) {
    struct asked q = {0};
    struct lv_domain d = {0};
    char why[LV_WHY] = "";
    if (a->primary.host == a->target) {
        lv_job_fail(&a->job, SPR_E_STATE, "VM '%s' is on this host: headroom for it is another host's", a->vm);
        return SPR_E_STATE;
    }
    int rc = lv_domain_read(a->primary.live, &d, why);
    if (rc < 0)
        lv_job_fail(&a->job, rc, "%s", why);
    if (rc == SPR_OK)
        rc = ask(a, conn, &q, &d, why);
    if (rc == SPR_OK)
        rc = judge(a, conn, &q, &d, why);
    lv_domain_clear(&d);
    asked_free(&q);
    return rc;
}
