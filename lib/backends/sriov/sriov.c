/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The public face: checks what it is given, asks the others, copies answers out. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "sriov.h"

/* ---- errors and memory ---- */

static void say_into(char *text, size_t room, const char *format, va_list args) {
    if (vsnprintf(text, room, format, args) < 0)
        text[0] = 0;
}

int sv_fail(const struct spr_sriov *s, int code, const char *device, const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    say_into(text, sizeof text, format, args);
    va_end(args);
    struct spr_error e = {.size = sizeof e, .code = code, .text = text, .host = device};
    return spr_context_fail(s->ctx, &e);
}

void sv_warn(const struct spr_sriov *s, const char *device, const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    say_into(text, sizeof text, format, args);
    va_end(args);
    struct spr_log_record r = {
        .size = sizeof r, .level = SPR_LOG_WARN, .stage = "sriov", .subject = device, .text = text};
    spr_context_log(s->ctx, &r);
}

static int no_memory(const struct spr_sriov *s) {
    return sv_fail(s, SPR_E_NOMEM, NULL, "%s", spr_error_text(SPR_E_NOMEM));
}

int sv_reserve(const struct spr_sriov *s, void **array, size_t *room, size_t count, size_t element) {
    if (count < *room)
        return SPR_OK;
    size_t more = *room ? *room * 2 : 8;
    void *grown = spr_context_alloc(s->ctx, more * element);
    if (!grown)
        return no_memory(s);
    if (*array)
        memcpy(grown, *array, count * element);
    spr_context_free(s->ctx, *array, *room * element);
    *array = grown;
    *room = more;
    return SPR_OK;
}

const char *sv_errno(int error) {
    const char *text = strerrordesc_np(error);
    return text ? text : "system error";
}

void sv_text(char *out, size_t room, const char *text) {
    size_t n = strnlen(text, room - 1);
    memmove(out, text, n);
    out[n] = 0;
}

/* A caller's struct, older or newer than ours, in our layout. */
static int copy_in(const struct spr_sriov *s, const char *name, const void *given, void *out, size_t ours) {
    size_t theirs;
    memset(out, 0, ours);
    memcpy(out, &ours, sizeof ours);
    if (!given)
        return SPR_OK;
    memcpy(&theirs, given, sizeof theirs);
    if (theirs < sizeof theirs || theirs > 65536)
        return sv_fail(s, SPR_E_ARG, NULL, "%s: its size is not set", name);
    for (size_t i = ours; i < theirs; i++)
        if (((const unsigned char *)given)[i])
            return sv_fail(s, SPR_E_TOO_NEW, NULL, "%s uses a field that this library does not know", name);
    memcpy(out, given, theirs < ours ? theirs : ours);
    memcpy(out, &ours, sizeof ours);
    return SPR_OK;
}

/* An answer in the caller's layout, which may be older. */
static int copy_out(void *out, const void *ours, size_t bytes) {
    size_t theirs;
    if (!out)
        return SPR_E_ARG;
    memcpy(&theirs, out, sizeof theirs);
    if (theirs < sizeof theirs || theirs > 65536)
        return SPR_E_ARG;
    if (theirs > bytes)
        memset((unsigned char *)out + bytes, 0, theirs - bytes);
    memcpy(out, ours, theirs < bytes ? theirs : bytes);
    memcpy(out, &theirs, sizeof theirs);
    return SPR_OK;
}

/* ---- opening ---- */

static int open_kernel(struct spr_sriov *s, const struct spr_sriov_opts *o) {
    const struct spr_sriov_kernel_ops *k = o->kernel ? o->kernel : spr_sriov_kernel();
    struct spr_env env = {.size = sizeof env, .context = s->ctx};
    if (k->size > sizeof *k)
        return sv_fail(s, SPR_E_TOO_NEW, NULL, "spr_sriov_kernel_ops %s is newer than this library", k->name);
    if (k->size < sizeof *k || !k->name || !k->license || !k->open || !k->close || !k->write || !k->vf_get ||
        !k->vf_set || !k->addresses || !k->group_free)
        return sv_fail(s, SPR_E_ARG, NULL, "spr_sriov_kernel_ops lacks a slot");
    int rc = k->open(&env, o->kernel_config, &s->kernel_state);
    if (rc < 0)
        return sv_fail(s, SPR_E_IO, NULL, "the kernel cannot be spoken to (%s): %s", k->name, sv_errno(-rc));
    s->kernel = *k;
    s->kernel_open = true;
    return SPR_OK;
}

static int open_all(struct spr_sriov *s, const struct spr_sriov_opts *o) {
    int rc = open_kernel(s, o);
    if (rc >= 0)
        rc = sv_scan(s);
    if (rc >= 0)
        rc = sv_journal_open(s, o);
    if (rc >= 0)
        rc = sv_repair(s);
    if (rc >= 0)
        sv_judge(s);
    return rc;
}

int spr_sriov_open(spr_context *ctx, const struct spr_sriov_opts *opts, spr_sriov **out) {
    struct spr_sriov_opts o;
    if (!ctx || !out)
        return SPR_E_ARG;
    struct spr_sriov asking = {.ctx = ctx}; /* only to say why */
    int rc = copy_in(&asking, "spr_sriov_opts", opts, &o, sizeof o);
    if (rc < 0)
        return rc;
    if (!o.sysfs)
        o.sysfs = "/sys";
    if (strlen(o.sysfs) >= sizeof asking.sysfs || o.reserved || (o.journal && o.store))
        return sv_fail(
            &asking, SPR_E_ARG, NULL,
            "spr_sriov_opts: a path of sysfs that is too long, both a journal and a store, or reserved is not 0");
    spr_sriov *s = spr_context_alloc(ctx, sizeof *s);
    if (!s)
        return no_memory(&asking);
    s->ctx = spr_context_ref(ctx);
    sv_text(s->sysfs, sizeof s->sysfs, o.sysfs);
    rc = open_all(s, &o);
    if (rc < 0) {
        spr_sriov_close(s);
        return rc;
    }
    *out = s;
    return SPR_OK;
}

void spr_sriov_close(spr_sriov *s) {
    if (!s)
        return;
    spr_context *ctx = s->ctx;
    sv_journal_close(s);
    if (s->kernel_open)
        s->kernel.close(s->kernel_state);
    spr_context_free(ctx, s->pf, s->pf_room * sizeof *s->pf);
    spr_context_free(ctx, s->vf, s->vf_room * sizeof *s->vf);
    spr_context_free(ctx, s->claim, s->claim_room * sizeof *s->claim);
    spr_context_free(ctx, s, sizeof *s);
    spr_context_unref(ctx);
}

int spr_sriov_look(spr_sriov *s) {
    if (!s)
        return SPR_E_ARG;
    int rc = sv_scan(s);
    if (rc >= 0 && s->can_write)
        rc = sv_repair(s);
    if (rc >= 0)
        sv_judge(s);
    return rc;
}

/* ---- looking ---- */

int spr_sriov_facts(const spr_sriov *s, struct spr_sriov_facts *out) {
    if (!s || !out)
        return SPR_E_ARG;
    struct spr_sriov_facts f = {.size = sizeof f, .pfs = s->pfs, .vfs = s->vfs, .iommu_groups = s->iommu_groups};
    f.vfio_pci = s->vfio_pci;
    for (int32_t i = 0; i < s->pfs; i++)
        f.vfs_most += s->pf[i].vfs_most;
    for (int32_t i = 0; i < s->vfs; i++) {
        f.vfs_free += s->vf[i].is.state == SPR_SRIOV_FREE;
        f.vfs_ours += s->vf[i].is.state == SPR_SRIOV_OURS;
        f.stuck += s->vf[i].is.state == SPR_SRIOV_STUCK;
    }
    return copy_out(out, &f, sizeof f);
}

int spr_sriov_pf(const spr_sriov *s, int32_t pf, struct spr_sriov_pf *out) {
    if (!s || !out || pf < 0)
        return SPR_E_ARG;
    return pf < s->pfs ? copy_out(out, &s->pf[pf], sizeof s->pf[pf]) : SPR_E_NOT_FOUND;
}

int spr_sriov_vf(const spr_sriov *s, int32_t pf, int32_t vf, struct spr_sriov_vf *out) {
    if (!s || !out || pf < 0 || vf < 0)
        return SPR_E_ARG;
    for (int32_t i = 0; i < s->vfs; i++)
        if (s->vf[i].pf == pf && !vf--)
            return copy_out(out, &s->vf[i].is, sizeof s->vf[i].is);
    return SPR_E_NOT_FOUND;
}

static const struct sv_record *held(const spr_sriov *s, uint64_t shard, int32_t nic) {
    for (int32_t i = 0; i < s->claims; i++)
        if (s->claim[i].kind != SV_RESIZE && s->claim[i].shard == shard && s->claim[i].nic == nic)
            return &s->claim[i];
    return NULL;
}

int spr_sriov_find(const spr_sriov *s, uint64_t shard, int32_t nic, struct spr_sriov_vf *out) {
    if (!s || !out || !shard || nic < 0)
        return SPR_E_ARG;
    const struct sv_record *c = held(s, shard, nic);
    const struct sv_vf *v = c ? sv_vf_at(s, c->address) : NULL;
    return v && v->is.state == SPR_SRIOV_OURS ? copy_out(out, &v->is, sizeof v->is) : SPR_E_NOT_FOUND;
}

/* ---- changing ---- */

static int only_looking(const struct spr_sriov *s) {
    return sv_fail(s, SPR_E_STATE, NULL, "the virtual functions were opened without a journal: nothing can be changed");
}

static int check_want(const struct spr_sriov *s, const struct spr_sriov_want *w) {
    const char *wrong = NULL;
    if (!w->shard || w->nic < 0)
        wrong = "shard must not be 0, nic not below 0";
    else if (w->flags > 15 || (w->flags & SPR_SRIOV_HOST_DRIVER && w->flags & SPR_SRIOV_MANAGED))
        wrong = "flags that do not exist or contradict each other";
    else if (w->vlan < -1 || w->vlan > 4094 || w->vlan_qos < 0 || w->vlan_qos > 7 ||
             (w->vlan_proto && w->vlan_proto != 0x8100 && w->vlan_proto != 0x88a8))
        wrong = "a VLAN is 1..4094 with priority 0..7 and protocol 0x8100 or 0x88a8";
    else if (w->min_mbps < -1 || w->max_mbps < -1 || (w->max_mbps > 0 && w->min_mbps > w->max_mbps))
        wrong = "rates are not below 0, the promised one not above the limit";
    else if (w->spoofchk < -1 || w->spoofchk > 1 || w->trust < -1 || w->trust > 1 || w->reserved)
        wrong = "spoofchk and trust are 0, 1 or SPR_NONE, reserved is 0";
    else if (w->mac[0] & 1)
        wrong = "a MAC address of one interface has an even first byte";
    return wrong ? sv_fail(s, SPR_E_ARG, NULL, "spr_sriov_want: %s", wrong) : SPR_OK;
}

int spr_sriov_allocate(spr_sriov *s, const struct spr_sriov_want *want, struct spr_sriov_vf *out) {
    struct spr_sriov_want w;
    if (!s || !want || !out || out->size < sizeof out->size || out->size > 65536) /* before anything is taken */
        return SPR_E_ARG;
    int rc = copy_in(s, "spr_sriov_want", want, &w, sizeof w);
    if (rc >= 0)
        rc = check_want(s, &w);
    if (rc < 0)
        return rc;
    if (!s->can_write)
        return only_looking(s);
    if (held(s, w.shard, w.nic))
        return sv_fail(s, SPR_E_EXISTS, held(s, w.shard, w.nic)->address,
                       "shard %llu has %s as its interface %d already", (unsigned long long)w.shard,
                       held(s, w.shard, w.nic)->address, (int)w.nic);
    if ((rc = sv_scan(s)) < 0)
        return rc;
    sv_judge(s);
    struct sv_vf *v = sv_choose(s, &w);
    if (!v)
        return SPR_E_CAPACITY;
    rc = sv_take(s, v, &w);
    sv_judge(s);
    return rc < 0 ? rc : copy_out(out, &v->is, sizeof v->is);
}

int spr_sriov_release(spr_sriov *s, uint64_t shard, int32_t nic) {
    char address[SPR_SRIOV_ADDRESS];
    if (!s || !shard || nic < 0)
        return SPR_E_ARG;
    if (!s->can_write)
        return only_looking(s);
    const struct sv_record *c = held(s, shard, nic);
    if (!c)
        return sv_fail(s, SPR_E_NOT_FOUND, NULL, "shard %llu has no interface %d here", (unsigned long long)shard,
                       (int)nic);
    sv_text(address, sizeof address, c->address);
    int rc = sv_scan(s);
    if (rc < 0)
        return rc;
    rc = sv_give_back(s, address);
    sv_judge(s);
    return rc;
}

int spr_sriov_set_vfs(spr_sriov *s, int32_t pf, int32_t vfs) {
    if (!s || pf < 0 || vfs < 0)
        return SPR_E_ARG;
    if (!s->can_write)
        return only_looking(s);
    int rc = sv_scan(s);
    if (rc < 0)
        return rc;
    sv_judge(s);
    if (pf >= s->pfs)
        return sv_fail(s, SPR_E_NOT_FOUND, NULL, "there is no card %d", (int)pf);
    const struct spr_sriov_pf *p = &s->pf[pf];
    if (vfs > p->vfs_most || vfs > SV_VFS_MOST)
        return sv_fail(s, SPR_E_CAPACITY, p->address, "%s: it can have %d virtual functions, not %d", p->address,
                       (int)p->vfs_most, (int)vfs);
    for (int32_t i = 0; i < s->vfs; i++)
        if (s->vf[i].pf == pf && s->vf[i].is.state != SPR_SRIOV_FREE)
            return sv_fail(s, SPR_E_BUSY, s->vf[i].is.address, "%s: its virtual function %s is used: %s", p->address,
                           s->vf[i].is.address, s->vf[i].is.why[0] ? s->vf[i].is.why : "a shard has it");
    if (p->vfs == vfs)
        return SPR_OK;
    rc = sv_resize(s, p, vfs);
    int scanned = sv_scan(s);
    if (scanned >= 0)
        sv_judge(s);
    return rc < 0 ? rc : scanned;
}

/* ---- for libvirt ---- */

int spr_sriov_interface_xml(const struct spr_sriov_vf *vf, int32_t managed, char *out, size_t room) {
    unsigned domain, bus, slot, function;
    char vlan[64] = "", mac[64] = "", text[512];
    static const uint8_t none[6];
    if (!vf || !out || !room || vf->size < sizeof *vf || !sv_address_ok(vf->address) ||
        sscanf(vf->address, "%x:%x:%x.%x", &domain, &bus, &slot, &function) != 4)
        return SPR_E_ARG;
    const struct spr_sriov_settings *f = &vf->settings;
    if (memcmp(f->mac, none, sizeof none))
        snprintf(mac, sizeof mac, "  <mac address='%02x:%02x:%02x:%02x:%02x:%02x'/>\n", f->mac[0], f->mac[1], f->mac[2],
                 f->mac[3], f->mac[4], f->mac[5]);
    if (f->vlan)
        snprintf(vlan, sizeof vlan, "  <vlan>\n    <tag id='%u'/>\n  </vlan>\n", (unsigned)f->vlan);
    int n = snprintf(text, sizeof text,
                     "<interface type='hostdev' managed='%s'>\n%s  <source>\n    <address type='pci' domain='0x%04x' "
                     "bus='0x%02x' slot='0x%02x' function='0x%x'/>\n  </source>\n%s</interface>\n",
                     managed ? "yes" : "no", mac, domain, bus, slot, function, vlan);
    if (n < 0 || (size_t)n >= room)
        return SPR_E_CAPACITY;
    memcpy(out, text, (size_t)n + 1);
    return n;
}
