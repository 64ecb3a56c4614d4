/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Taking a VF and giving it back, step by step. The order is what makes a crash harmless: the journal first; then the
 * host driver goes, so that nobody sees the settings change; then the settings, through the card; then the new driver.
 * Giving back walks the same road backwards and can begin anywhere on it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sriov.h"

#define MODE (SPR_SRIOV_HOST_DRIVER | SPR_SRIOV_MANAGED) /* neither: vfio-pci */

/* ---- single steps ---- */

static int write_file(struct spr_sriov *s, const char *device, const char *what, const char *path, const char *text) {
    int rc = s->kernel.write(s->kernel_state, s->sysfs, path, text);
    return rc < 0 ? sv_fail(s, rc == -EBUSY ? SPR_E_BUSY : SPR_E_IO, device, "%s: %s: writing \"%s\" to %s: %s", device,
                            what, text[0] == '\n' ? "" : text, path, sv_errno(-rc))
                  : SPR_OK;
}

static int unbind(struct spr_sriov *s, struct sv_vf *v) {
    char path[SV_PATH];
    if (!v->is.driver[0])
        return SPR_OK;
    snprintf(path, sizeof path, "bus/pci/drivers/%s/unbind", v->is.driver);
    int rc = write_file(s, v->is.address, "taking its driver away", path, v->is.address);
    sv_scan_vf(s, v);
    return rc;
}

static int set_override(struct spr_sriov *s, struct sv_vf *v, const char *driver) {
    char path[SV_PATH];
    snprintf(path, sizeof path, "bus/pci/devices/%s/driver_override", v->is.address);
    return write_file(s, v->is.address, "choosing its driver", path, driver[0] ? driver : "\n");
}

/* To a driver by name, or to whichever the kernel (or driver_override) chooses. */
static int bind(struct spr_sriov *s, struct sv_vf *v, const char *driver, bool by_name) {
    char path[SV_PATH] = "bus/pci/drivers_probe";
    if (by_name)
        snprintf(path, sizeof path, "bus/pci/drivers/%s/bind", driver);
    int rc = write_file(s, v->is.address, "binding it", path, v->is.address);
    sv_scan_vf(s, v);
    if (rc >= 0 && (driver[0] ? strcmp(v->is.driver, driver) != 0 : !v->is.driver[0]))
        rc = sv_fail(s, SPR_E_IO, v->is.address, "%s: %s did not take it, the kernel's log says why", v->is.address,
                     driver[0] ? driver : "its driver");
    return rc;
}

static uint32_t different(const struct spr_sriov_settings *now, const struct spr_sriov_settings *want) {
    uint32_t d = 0;
    if (memcmp(now->mac, want->mac, sizeof now->mac))
        d |= SPR_SRIOV_MAC;
    if (now->vlan != want->vlan ||
        (want->vlan && (now->vlan_qos != want->vlan_qos || now->vlan_proto != want->vlan_proto)))
        d |= SPR_SRIOV_VLAN;
    if (now->min_mbps != want->min_mbps || now->max_mbps != want->max_mbps)
        d |= SPR_SRIOV_RATE;
    if (now->spoofchk != want->spoofchk)
        d |= SPR_SRIOV_SPOOFCHK;
    if (now->trust != want->trust)
        d |= SPR_SRIOV_TRUST;
    return d & want->known & now->known;
}

static int set(struct spr_sriov *s, struct sv_vf *v, const struct spr_sriov_settings *want) {
    static const struct {
        uint32_t bit;
        const char *name;
    } each[] = {{SPR_SRIOV_MAC, "MAC address"},
                {SPR_SRIOV_VLAN, "VLAN"},
                {SPR_SRIOV_RATE, "rates"},
                {SPR_SRIOV_SPOOFCHK, "spoof check"},
                {SPR_SRIOV_TRUST, "trust"}};
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        struct spr_sriov_settings one = *want;
        one.known &= each[i].bit;
        if (!one.known)
            continue;
        int rc = s->kernel.vf_set(s->kernel_state, v->is.pf_netdev, (uint32_t)v->is.index, &one);
        if (rc < 0) {
            bool refused = rc == -EOPNOTSUPP || rc == -EPROTONOSUPPORT || rc == -EINVAL || rc == -ERANGE;
            return sv_fail(s, refused ? SPR_E_UNSUPPORTED : SPR_E_IO, v->is.address,
                           "%s: its card %s refuses the %s: %s", v->is.address, v->is.pf_netdev, each[i].name,
                           sv_errno(-rc));
        }
    }
    return SPR_OK;
}

/* ---- taking ---- */

/* What it shall be: the wishes, and what it is where nothing is wished. */
static void wanted(const struct spr_sriov_want *w, struct spr_sriov_settings *want) {
    static const uint8_t none[6];
    uint32_t known = 0;
    if (memcmp(w->mac, none, sizeof none)) {
        memcpy(want->mac, w->mac, sizeof want->mac);
        known |= SPR_SRIOV_MAC;
    }
    if (w->vlan) {
        want->vlan = w->vlan > 0 ? (uint16_t)w->vlan : 0;
        want->vlan_qos = w->vlan > 0 ? (uint32_t)w->vlan_qos : 0;
        want->vlan_proto = w->vlan > 0 && w->vlan_proto ? (uint32_t)w->vlan_proto : 0x8100;
        known |= SPR_SRIOV_VLAN;
    }
    if (w->min_mbps || w->max_mbps) {
        if (w->min_mbps)
            want->min_mbps = w->min_mbps > 0 ? (uint32_t)w->min_mbps : 0;
        if (w->max_mbps)
            want->max_mbps = w->max_mbps > 0 ? (uint32_t)w->max_mbps : 0;
        known |= SPR_SRIOV_RATE;
    }
    if (w->spoofchk) {
        want->spoofchk = w->spoofchk > 0;
        known |= SPR_SRIOV_SPOOFCHK;
    }
    if (w->trust) {
        want->trust = w->trust > 0;
        known |= SPR_SRIOV_TRUST;
    }
    want->known = known;
}

static int take_steps(struct spr_sriov *s, struct sv_vf *v, const struct spr_sriov_want *w, const char *former_driver) {
    struct spr_sriov_settings want = v->is.settings;
    char why[SPR_SRIOV_WHY];
    wanted(w, &want);
    if (sv_host_uses(s, v, why)) /* between the choice and now */
        return sv_fail(s, SPR_E_BUSY, v->is.address, "%s: %s", v->is.address, why);
    int rc = unbind(s, v);
    if (rc >= 0)
        rc = set(s, v, &want);
    if (rc >= 0 && (w->flags & SPR_SRIOV_HOST_DRIVER))
        rc = bind(s, v, former_driver, former_driver[0] != 0);
    else if (rc >= 0 && !(w->flags & MODE)) {
        rc = set_override(s, v, "vfio-pci");
        if (rc >= 0)
            rc = bind(s, v, "vfio-pci", false);
    }
    return rc;
}

int sv_take(struct spr_sriov *s, struct sv_vf *v, const struct spr_sriov_want *w) {
    struct sv_record claim = {.kind = SV_CLAIM, .shard = w->shard, .nic = w->nic, .flags = w->flags};
    char former[SPR_SRIOV_NAME];
    sv_scan_vf(s, v);
    sv_text(former, sizeof former, v->is.driver);
    sv_text(claim.address, sizeof claim.address, v->is.address);
    sv_text(claim.pf, sizeof claim.pf, v->is.pf_address);
    sv_text(claim.driver, sizeof claim.driver, former);
    claim.index = v->is.index;
    claim.former = v->is.settings;
    int rc = sv_journal(s, &claim);
    if (rc < 0)
        return rc;
    rc = take_steps(s, v, w, former);
    if (rc >= 0)
        rc = sv_journal_note(s, SV_HOLD, v->is.address);
    if (rc >= 0)
        return SPR_OK;
    /* Undo; the error that is told is the one that made us. */
    struct spr_error e = {.size = sizeof e};
    char text[512] = "", device[SPR_SRIOV_ADDRESS];
    if (spr_context_error(s->ctx, &e) >= 0 && e.text)
        sv_text(text, sizeof text, e.text);
    sv_text(device, sizeof device, v->is.address);
    bool undone = sv_give_back(s, device) >= 0;
    return sv_fail(s, rc, device, "%s%s", text, undone ? "" : " (and it could not be put back: it is stuck)");
}

/* ---- giving back ---- */

/* Is anything of it still ours to undo? Not where somebody bound another driver, or where we had not begun or had
 * finished. */
static bool ours_to_undo(const struct sv_record *c, const struct sv_vf *v) {
    if (!v->is.driver[0])
        return true; /* between two drivers */
    if (!strcmp(v->is.driver, "vfio-pci"))
        return !(c->flags & SPR_SRIOV_HOST_DRIVER);
    if (sv_is_passthrough(v->is.driver))
        return false;
    if (!(c->flags & MODE)) /* the host driver is the first and the last thing on our road, or somebody else's doing */
        return v->override[0] && !strcmp(v->override, "vfio-pci");
    return different(&v->is.settings, &c->former) || strcmp(v->is.driver, c->driver) != 0;
}

/* Somebody works with it: then it waits. */
static bool in_use(struct spr_sriov *s, const struct sv_vf *v, char why[SPR_SRIOV_WHY]) {
    why[0] = 0;
    if (v->is.driver[0] && sv_is_passthrough(v->is.driver)) {
        int rc = v->is.iommu_group < 0 ? 0 : s->kernel.group_free(s->kernel_state, v->is.iommu_group);
        if (rc < 0)
            snprintf(why, SPR_SRIOV_WHY,
                     rc == -EBUSY ? "a guest or data plane still has it open (VFIO group %d)"
                                  : "its VFIO group %d cannot be looked at",
                     (int)v->is.iommu_group);
        return rc < 0;
    }
    return sv_host_uses(s, v, why);
}

static int undo(struct spr_sriov *s, struct sv_vf *v, const struct sv_record *c) {
    char why[SPR_SRIOV_WHY];
    if (!ours_to_undo(c, v))
        return SPR_OK;
    if (in_use(s, v, why))
        return sv_fail(s, SPR_E_BUSY, v->is.address, "%s: %s", v->is.address, why);
    int rc = unbind(s, v);
    if (rc >= 0 && v->is.driver[0])
        rc = sv_fail(s, SPR_E_IO, v->is.address, "%s: it stays bound to %s", v->is.address, v->is.driver);
    struct spr_sriov_settings back = c->former;
    back.known = different(&v->is.settings, &c->former);
    if (rc >= 0)
        rc = set(s, v, &back);
    if (rc >= 0 && v->override[0])
        rc = set_override(s, v, "");
    if (rc >= 0 && c->driver[0])
        rc = bind(s, v, c->driver, true);
    return rc;
}

static void remember_why(const struct spr_sriov *s, const char *address) {
    struct sv_record *c = sv_claim_of(s, address);
    struct spr_error e = {.size = sizeof e};
    if (c && spr_context_error(s->ctx, &e) >= 0 && e.text)
        sv_text(c->why, sizeof c->why, e.text);
}

int sv_give_back(struct spr_sriov *s, const char *address) {
    struct sv_record c = *sv_claim_of(s, address); /* a copy: the table may move */
    struct sv_vf *v = sv_vf_at(s, address);
    int rc = c.kind == SV_DROP ? SPR_OK : sv_journal_note(s, SV_DROP, address);
    if (rc >= 0 && v) {
        sv_scan_vf(s, v);
        rc = undo(s, v, &c);
        sv_scan_vf(s, v);
    } else if (rc >= 0) {
        sv_warn(s, address, "its card has no such virtual function any more: there is nothing to give back");
    }
    if (rc >= 0)
        rc = sv_journal_note(s, SV_GONE, address);
    if (rc < 0)
        remember_why(s, address);
    return rc;
}

/* ---- number of VFs ---- */

static int write_count(struct spr_sriov *s, const char *pf, int32_t n) {
    char path[SV_PATH], text[16];
    snprintf(path, sizeof path, "bus/pci/devices/%s/sriov_numvfs", pf);
    snprintf(text, sizeof text, "%d", (int)n);
    return write_file(s, pf, "changing its number of virtual functions", path, text);
}

int sv_resize(struct spr_sriov *s, const struct spr_sriov_pf *pf, int32_t vfs) {
    struct sv_record r = {.kind = SV_RESIZE, .to = vfs};
    int64_t from;
    if (!sv_number(s, &from, "bus/pci/devices/%s/sriov_numvfs", pf->address) || from < 0 || from > INT32_MAX)
        return sv_fail(s, SPR_E_IO, pf->address, "%s: its sriov_numvfs cannot be read", pf->address);
    r.from = (int32_t)from;
    sv_text(r.address, sizeof r.address, pf->address);
    int rc = sv_journal(s, &r);
    if (rc < 0)
        return rc;
    if (r.from)
        rc = write_count(s, r.address, 0);
    if (rc >= 0 && vfs)
        rc = write_count(s, r.address, vfs);
    if (rc < 0) { /* as before; what cannot be is put right by the next look */
        struct spr_error e = {.size = sizeof e};
        char text[512] = "";
        if (spr_context_error(s->ctx, &e) >= 0 && e.text)
            sv_text(text, sizeof text, e.text);
        int64_t now = -1;
        sv_number(s, &now, "bus/pci/devices/%s/sriov_numvfs", r.address);
        if (now == r.from || write_count(s, r.address, r.from) >= 0)
            sv_journal_note(s, SV_RESIZED, r.address);
        return sv_fail(s, rc, r.address, "%s", text);
    }
    return sv_journal_note(s, SV_RESIZED, r.address);
}

/* Nobody had an answer: a card that was left without gets what it was to have, or else what it had. */
static int repair_resize(struct spr_sriov *s, const struct sv_record *r) {
    int64_t now = 0;
    char pf[SPR_SRIOV_ADDRESS];
    int32_t from = r->from, to = r->to;
    sv_text(pf, sizeof pf, r->address);
    bool left_without = sv_number(s, &now, "bus/pci/devices/%s/sriov_numvfs", pf) && !now && to;
    if (left_without && write_count(s, pf, to) < 0 && (!from || write_count(s, pf, from) < 0)) {
        sv_warn(s, pf, "it was left without virtual functions and does not take them back; the next look tries again");
        return SPR_OK;
    }
    return sv_journal_note(s, SV_RESIZED, pf);
}

/* ---- putting right ---- */

static bool lost(const struct spr_sriov *s, const struct sv_record *c) {
    const struct sv_vf *v = sv_vf_at(s, c->address);
    if (!v)
        return true;
    return !(c->flags & MODE) &&
           strcmp(v->is.driver, "vfio-pci"); /* the machine was started anew, or somebody took it */
}

static int repair_claim(struct spr_sriov *s, struct sv_record *c) {
    char address[SPR_SRIOV_ADDRESS];
    sv_text(address, sizeof address, c->address);
    if (c->kind == SV_HOLD && !lost(s, c))
        return SPR_OK;
    if (c->kind == SV_HOLD)
        sv_warn(s, address, "it is not as shard %llu was given it (the machine was started anew?): taken back",
                (unsigned long long)c->shard);
    int rc = sv_give_back(s, address);
    if (rc >= 0 || rc == SPR_E_NOMEM)
        return rc;
    c = sv_claim_of(s, address);
    sv_warn(s, address, "%s", c && c->why[0] ? c->why : "it could not be put right");
    return SPR_OK;
}

int sv_repair(struct spr_sriov *s) {
    bool resized = false;
    int rc = SPR_OK;
    for (int32_t i = s->claims - 1; rc >= 0 && i >= 0;
         i--) /* from the end: a row that goes moves only those behind it */
        if (s->claim[i].kind == SV_RESIZE) {
            rc = repair_resize(s, &s->claim[i]);
            resized = true;
        }
    if (rc >= 0 && resized)
        rc = sv_scan(s);
    for (int32_t i = s->claims - 1; rc >= 0 && i >= 0; i--)
        if (s->claim[i].kind != SV_RESIZE)
            rc = repair_claim(s, &s->claim[i]);
    return rc;
}
