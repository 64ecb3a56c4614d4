/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Any bytes as XML from a host: a shard's metadata (what is read can be written and read again), an owner's wishes, and
 * a domain, of which a replica is made (it has nothing that is the primary's alone) and which is looked at for a
 * migration.
 */
#include "fuzz.h"

#include <string.h>

#include "domain.h"

#define UUID "11111111-2222-8333-8444-555555555555"

static void broken(const char *what, const char *text) {
    fprintf(stderr, "%s: %s\n", what, text);
    abort();
}

static void told(int rc, const char *why) {
    if (rc < 0 && !why[0])
        broken("no text", spr_error_text(rc));
}

static void as_metadata(const char *xml) {
    char why[LV_WHY] = "", *first = NULL, *second = NULL;
    struct lv_shard_meta m, again, copy;
    int rc = lv_meta_parse(xml, &m, why);
    told(rc, why);
    if (rc < 0)
        return;
    if (lv_meta_format(&m, &first, why) < 0)
        broken("read and not written", why);
    if (lv_meta_parse(first, &again, why) < 0)
        broken(why, first);
    if (lv_meta_format(&again, &second, why) < 0 || strcmp(first, second))
        broken(first, second ? second : why);
    if (lv_meta_copy(&m, &copy) == SPR_OK)
        lv_meta_clear(&copy);
    lv_meta_clear(&m);
    lv_meta_clear(&again);
    lv_free(first);
    lv_free(second);
}

static void as_wishes(const char *xml) {
    char why[LV_WHY] = "";
    struct lv_vm_meta m;
    int rc = lv_vm_meta_parse(xml, &m, why);
    told(rc, why);
    if (rc == SPR_OK)
        lv_vm_meta_clear(&m);
}

static void check_replica(const struct lv_domain *primary, const char *xml) {
    char why[LV_WHY];
    struct lv_domain d;
    struct lv_shard_meta back;
    if (lv_domain_read(xml, &d, why) < 0)
        broken(why, xml);
    if (strcmp(d.uuid, UUID) || lv_domain_name_id(d.name) != 0xab || d.id != -1 || d.tpm || d.vm_xml || !d.shard_xml)
        broken("identity", xml);
    for (size_t i = 0; i < d.nic_count; i++)
        for (size_t k = 0; k < primary->nic_count; k++)
            if (d.nic[i].target || (primary->nic[k].mac && !strcmp(d.nic[i].mac, primary->nic[k].mac)))
                broken("interface", xml);
    for (size_t i = 0; i < d.disk_count; i++)
        if (!d.disk[i].readonly && strcmp(d.disk[i].device, "floppy") &&
            (!d.disk[i].source || strcmp(d.disk[i].source, "/pool/overlay.qcow2")))
            broken("disk", xml);
    if (d.hostdev_count)
        broken("hostdev", xml);
    if (lv_meta_parse(d.shard_xml, &back, why) < 0)
        broken(why, xml);
    lv_meta_clear(&back);
    lv_domain_clear(&d);
}

static void derive(const struct lv_domain *primary, const char *xml) {
    static const char *const args[] = {"lab.ip=10.0.0.1/16", "quiet"};
    char why[LV_WHY] = "", vm[] = "web", *made = NULL;
    struct lv_derive_disk disk[4];
    struct lv_shard_meta meta = {.id = 0xab, .vm = vm, .phase = LV_PHASE_ALLOCATED};
    struct lv_derive how = {.meta = &meta,
                            .uuid = UUID,
                            .disks = disk,
                            .kernel_args = args,
                            .flags = LV_BANDWIDTH,
                            .seed_url = "http://10.0.0.1/"};
    how.amounts.of[SPR_CPU] = how.amounts.of[SPR_NET_RX] = 2.5;
    how.amounts.of[SPR_MEMORY] = 1e8;
    how.kernel_arg_count = primary->kernel ? 2 : 0;
    for (size_t i = 0; i < primary->disk_count && how.disk_count < 4; i++)
        if (primary->disk[i].target && !primary->disk[i].readonly)
            disk[how.disk_count++] =
                (struct lv_derive_disk){.target = primary->disk[i].target, .path = "/pool/overlay.qcow2"};
    int rc = lv_domain_derive(xml, &how, &made, why);
    told(rc, why);
    if (rc == SPR_OK)
        check_replica(primary, made);
    lv_free(made);
}

static void as_domain(const char *xml) {
    char why[LV_WHY] = "";
    struct lv_domain d;
    struct lv_obstacles o;
    static const char *const shared[] = {"/var/lib/libvirt/shared"};
    struct lv_headroom_target t = {.host = "hv2", .capabilities = xml, .shared = shared, .shared_count = 1};
    int rc = lv_domain_read(xml, &d, why);
    told(rc, why);
    if (rc < 0)
        return;
    derive(&d, xml);
    lv_domain_clear(&d);
    why[0] = 0;
    told(lv_headroom_check(xml, &t, &o, why), why); /* a domain is no capabilities */
    t.capabilities = NULL;
    if (lv_headroom_check(xml, &t, &o, why) == SPR_OK)
        lv_obstacles_clear(&o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *xml = malloc(size + 1);
    if (!xml)
        abort();
    memcpy(xml, data, size);
    xml[size] = 0;
    as_metadata(xml);
    as_wishes(xml);
    as_domain(xml);
    free(xml);
    return 0;
}
