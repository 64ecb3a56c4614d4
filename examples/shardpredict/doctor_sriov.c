/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* doctor's lines about network cards with virtual functions: asked of the backend, where it is there. */
#include <dlfcn.h>
#include <string.h>

#include <shardpredict/backend-sriov.h>

#include "tool.h"

#define STR_(x) #x
#define STR(x)  STR_(x)

/* What is used of the backend, looked up by name: it need not be installed. */
struct calls {
    void *library;
    int (*open)(spr_context *, const struct spr_sriov_opts *, spr_sriov **);
    void (*close)(spr_sriov *);
    int (*facts)(const spr_sriov *, struct spr_sriov_facts *);
    int (*pf)(const spr_sriov *, int32_t, struct spr_sriov_pf *);
};

static bool look_up(void *library, const char *symbol, void *to, size_t bytes) {
    void *found = dlsym(library, symbol);
    memcpy(to, &found, bytes); /* dlsym gives a data pointer, hence the copy */
    return found != NULL;
}

static bool load(struct calls *c) {
    c->library = dlopen("libshardpredict-sriov.so." STR(SPR_ABI_VERSION), RTLD_LAZY);
    return c->library && look_up(c->library, "spr_sriov_open", &c->open, sizeof c->open) &&
           look_up(c->library, "spr_sriov_close", &c->close, sizeof c->close) &&
           look_up(c->library, "spr_sriov_facts", &c->facts, sizeof c->facts) &&
           look_up(c->library, "spr_sriov_pf", &c->pf, sizeof c->pf);
}

static void say_json(const struct calls *c, const spr_sriov *s) {
    struct spr_sriov_facts f = {.size = sizeof f};
    struct spr_sriov_pf p = {.size = sizeof p};
    c->facts(s, &f);
    printf("{\"vfs\": %d, \"vfs_most\": %d, \"vfs_free\": %d, \"iommu_groups\": %d, \"vfio_pci\": %s, \"cards\": [",
           f.vfs, f.vfs_most, f.vfs_free, f.iommu_groups, f.vfio_pci ? "true" : "false");
    for (int32_t i = 0; !c->pf(s, i, &p); i++) {
        printf("%s{", i ? ", " : "");
        tool_json_text("address", p.address);
        printf(", ");
        tool_json_text("interface", p.netdev[0] ? p.netdev : NULL);
        printf(", ");
        tool_json_text("driver", p.driver[0] ? p.driver : NULL);
        printf(", \"numa_node\": %d, \"vfs\": %d, \"vfs_most\": %d}", p.numa_node, p.vfs, p.vfs_most);
    }
    printf("]}");
}

static void say_text(const struct calls *c, const spr_sriov *s) {
    struct spr_sriov_facts f = {.size = sizeof f};
    struct spr_sriov_pf p = {.size = sizeof p};
    c->facts(s, &f);
    if (!f.pfs)
        printf("  cards       none that can have virtual functions\n");
    for (int32_t i = 0; !c->pf(s, i, &p); i++)
        printf("  card        %s %s (%s): %d of %d virtual functions\n", p.address,
               p.netdev[0] ? p.netdev : "no interface", p.driver[0] ? p.driver : "no driver", p.vfs, p.vfs_most);
    if (f.vfs)
        printf("  free        %d of %d\n", f.vfs_free, f.vfs);
    if (f.iommu_groups)
        printf("  IOMMU       on, %d groups\n", f.iommu_groups);
    else
        printf("  IOMMU       off or none (kernel command line: intel_iommu=on or amd_iommu=on)\n");
    printf("  vfio-pci    %s\n", f.vfio_pci ? "loaded" : "not loaded (modprobe vfio-pci)");
}

void doctor_sriov(bool json) {
    struct calls c = {.library = NULL};
    spr_context *ctx = NULL;
    spr_sriov *s = NULL;
    struct spr_error e = {.size = sizeof e, .text = "out of memory"};
    printf("%s", json ? "\"sriov\": " : "\nsriov\n");
    bool loaded = load(&c);
    if (loaded && spr_context_create(NULL, &ctx) == SPR_OK && c.open(ctx, NULL, &s) == SPR_OK)
        (json ? say_json : say_text)(&c, s);
    else if (json)
        printf("null");
    else if (!loaded)
        printf("  library     not found; needs package libshardpredict-sriov" STR(SPR_ABI_VERSION) "\n");
    else {
        if (ctx)
            spr_context_error(ctx, &e);
        printf("  unknown     %s\n", e.text);
    }
    if (s)
        c.close(s);
    spr_context_unref(ctx);
    if (c.library)
        dlclose(c.library);
}
