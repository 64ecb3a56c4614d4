/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Whose a VF is, whether it may be given to a guest, and which one fits a wish best. In doubt it is somebody else's. */
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "sriov.h"

#define SAY(...) snprintf(why, SPR_SRIOV_WHY, __VA_ARGS__)

bool sv_is_passthrough(const char *driver) {
    return !strncmp(driver, "vfio", 4) || !strncmp(driver, "uio", 3) || !strcmp(driver, "igb_uio") ||
           !strcmp(driver, "pci-stub") || !strcmp(driver, "pciback") || !strcmp(driver, "xen-pciback");
}

/* ---- does the host use its interface? ---- */

struct uses {
    const struct spr_sriov *s;
    const struct sv_vf *v;
    char *why;
    int seen;
};

static int part_of(void *user, const char *name) {
    char *why = user;
    if (strncmp(name, "upper_", 6) && strcmp(name, "master"))
        return 0;
    if (!strncmp(name, "upper_", 6))
        SAY("%.40s is on top of its interface", name + 6);
    else if (!why[0])
        SAY("its interface is part of a bridge or bond");
    return why[0] != 0;
}

static int interface_used(void *user, const char *name) {
    struct uses *u = user;
    char *why = u->why;
    int64_t flags;
    if (!sv_name_ok(name))
        return 0;
    u->seen++;
    if (!sv_number(u->s, &flags, "bus/pci/devices/%s/net/%s/flags", u->v->is.address, name))
        SAY("its interface %s cannot be looked at", name);
    else if (flags & IFF_UP)
        SAY("the host uses it: its interface %s is up", name);
    else if (sv_folder(u->s, part_of, why, "bus/pci/devices/%s/net/%s", u->v->is.address, name) > 0)
        return 1;
    else {
        int n = u->s->kernel.addresses(u->s->kernel_state, name);
        if (n < 0)
            SAY("the addresses of its interface %s cannot be read: %s", name, sv_errno(-n));
        else if (n)
            SAY("the host uses it: its interface %s has addresses", name);
    }
    return why[0] != 0;
}

bool sv_host_uses(const struct spr_sriov *s, const struct sv_vf *v, char why[SPR_SRIOV_WHY]) {
    struct uses u = {.s = s, .v = v, .why = why};
    why[0] = 0;
    if (!v->is.driver[0] || sv_is_passthrough(v->is.driver))
        return false;
    sv_folder(s, interface_used, &u, "bus/pci/devices/%s/net", v->is.address);
    if (!why[0] && !u.seen) /* a driver without an interface: it has been moved away, to a container say */
        SAY("its interface is in another namespace");
    return why[0] != 0;
}

/* ---- somebody else's? ---- */

bool sv_taken(const struct spr_sriov *s, const struct sv_vf *v, char why[SPR_SRIOV_WHY]) {
    why[0] = 0;
    if (!v->is.pf_netdev[0])
        SAY("its card %s has no interface here to set it through", v->is.pf_address);
    else if (v->is.driver[0] && sv_is_passthrough(v->is.driver))
        SAY("somebody else has bound it to %s", v->is.driver);
    else if (v->override[0])
        SAY("somebody else has reserved it for the driver %s", v->override);
    else
        sv_host_uses(s, v, why);
    return why[0] != 0;
}

/* ---- may a guest have it? ---- */

struct neighbours {
    const struct spr_sriov *s;
    const struct sv_vf *v;
    uint64_t shard;
    char *why;
};

static int foreign(void *user, const char *name) {
    struct neighbours *n = user;
    char driver[SPR_SRIOV_NAME], *why = n->why;
    int64_t class = 0;
    if (!strcmp(name, n->v->is.address))
        return 0;
    if (sv_address_ok(name)) {
        const struct sv_record *c = sv_claim_of(n->s, name);
        if (c && n->shard && c->shard == n->shard)
            return 0; /* the same guest has both */
        if (sv_number(n->s, &class, "bus/pci/devices/%s/class", name) && class >> 8 == 0x0604)
            return 0; /* a bridge on the way does no DMA of its own */
    }
    if (!sv_link(n->s, driver, sizeof driver, "bus/pci/devices/%.16s/driver", name))
        snprintf(driver, sizeof driver, "none");
    SAY("its IOMMU group %d is shared with %.32s (driver %s), which is not ours", (int)n->v->is.iommu_group, name,
        driver);
    return 1;
}

bool sv_no_vfio(const struct spr_sriov *s, const struct sv_vf *v, uint64_t shard, char why[SPR_SRIOV_WHY]) {
    struct neighbours n = {s, v, shard, why};
    why[0] = 0;
    if (!s->vfio_pci)
        SAY("the driver vfio-pci is not there: modprobe vfio-pci");
    else if (v->is.iommu_group < 0)
        SAY("it has no IOMMU group: %s",
            s->iommu_groups ? "no IOMMU stands before it" : "switch the IOMMU on (intel_iommu=on or amd_iommu=on)");
    else if (sv_folder(s, foreign, &n, "kernel/iommu_groups/%d/devices", (int)v->is.iommu_group) < 0)
        SAY("its IOMMU group %d cannot be looked at", (int)v->is.iommu_group);
    return why[0] != 0;
}

/* ---- all of them ---- */

void sv_judge(struct spr_sriov *s) {
    for (int32_t i = 0; i < s->vfs; i++) {
        struct sv_vf *v = &s->vf[i];
        const struct sv_record *c = sv_claim_of(s, v->is.address);
        v->is.shard = c ? c->shard : 0;
        v->is.nic = c ? c->nic : 0;
        v->is.why[0] = 0;
        if (c) {
            v->is.state = c->kind == SV_HOLD ? SPR_SRIOV_OURS : SPR_SRIOV_STUCK;
            sv_text(v->is.why, sizeof v->is.why, c->why);
        } else if (sv_taken(s, v, v->is.why)) {
            v->is.state = SPR_SRIOV_TAKEN;
        } else {
            v->is.state = SPR_SRIOV_FREE;
            sv_no_vfio(s, v, 0, v->is.why);
        }
    }
}

/* ---- the best for a wish ---- */

static bool unfit(const struct spr_sriov *s, const struct sv_vf *v, const struct spr_sriov_want *w,
                  char why[SPR_SRIOV_WHY]) {
    why[0] = 0;
    if (v->is.state == SPR_SRIOV_OURS)
        SAY("shard %llu has it", (unsigned long long)v->is.shard);
    else if (v->is.state != SPR_SRIOV_FREE)
        SAY("%s", v->is.why);
    else if ((w->flags & SPR_SRIOV_NUMA_ONLY) && v->is.numa_node != w->numa_node)
        SAY("it is on NUMA node %d, not %d", (int)v->is.numa_node, (int)w->numa_node);
    else if (!(w->flags & SPR_SRIOV_HOST_DRIVER))
        sv_no_vfio(s, v, w->shard, why);
    return why[0] != 0;
}

static int32_t free_on(const struct spr_sriov *s, int32_t pf) {
    int32_t n = 0;
    for (int32_t i = 0; i < s->vfs; i++)
        n += s->vf[i].pf == pf && s->vf[i].is.state == SPR_SRIOV_FREE;
    return n;
}

static bool better(const struct spr_sriov *s, const struct sv_vf *a, const struct sv_vf *b,
                   const struct spr_sriov_want *w) {
    if (!b)
        return true;
    if (w->flags & (SPR_SRIOV_NUMA_PREFER | SPR_SRIOV_NUMA_ONLY)) {
        bool at = a->is.numa_node == w->numa_node, bt = b->is.numa_node == w->numa_node;
        if (at != bt)
            return at;
    }
    if (s->pf[a->pf].up != s->pf[b->pf].up)
        return s->pf[a->pf].up;
    return a->pf != b->pf && free_on(s, a->pf) > free_on(s, b->pf); /* else the first stays */
}

/* "none of 6 ...: 0000:01:10.0 its interface eth2 is up; 3 more like it; ..." */
struct reasons {
    char text[640], last[SPR_SRIOV_WHY];
    int alike;
};

static void end_alike(struct reasons *r) {
    size_t n = strlen(r->text);
    if (r->alike)
        snprintf(r->text + n, sizeof r->text - n, " (and %d more)", r->alike);
    r->alike = 0;
}

static void add_reason(struct reasons *r, const char *address, const char *why) {
    if (!strcmp(why, r->last)) {
        r->alike++;
        return;
    }
    end_alike(r);
    size_t n = strlen(r->text);
    sv_text(r->last, sizeof r->last, why);
    if (n < sizeof r->text - 260)
        snprintf(r->text + n, sizeof r->text - n, "%s %s: %s", n ? ";" : "", address, why);
}

struct sv_vf *sv_choose(struct spr_sriov *s, const struct spr_sriov_want *w) {
    struct sv_vf *best = NULL;
    struct reasons r = {.text = ""};
    int seen = 0;
    for (int32_t i = 0; i < s->vfs; i++) {
        struct sv_vf *v = &s->vf[i];
        char why[SPR_SRIOV_WHY];
        if (w->pf && strcmp(w->pf, v->is.pf_address) && strcmp(w->pf, v->is.pf_netdev))
            continue;
        seen++;
        if (unfit(s, v, w, why))
            add_reason(&r, v->is.address, why);
        else if (better(s, v, best, w))
            best = v;
    }
    if (best)
        return best;
    end_alike(&r);
    if (!seen)
        sv_fail(s, SPR_E_CAPACITY, w->pf, "%s%s has no virtual functions: spr_sriov_set_vfs makes some",
                w->pf ? "card " : "this machine", w->pf ? w->pf : "");
    else
        sv_fail(s, SPR_E_CAPACITY, w->pf, "none of %d virtual functions fits:%s", seen, r.text);
    return NULL;
}
