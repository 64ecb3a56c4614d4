/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A hold as the host sees it: a guest that takes memory and a share of CPU, and never runs. */
#include <string.h>

#include "derive.h"

static void put_machine(struct lv_edit *e, xmlNode *root, const struct lv_placeholder *how) {
    xmlNode *type = lv_xml_add(e, lv_xml_add(e, root, "os", NULL), "type", "hvm");
    lv_xml_set(e, type, "arch", how->arch);
    if (how->machine)
        lv_xml_set(e, type, "machine", how->machine);
    lv_xml_add(e, root, "on_poweroff", "destroy");
    lv_xml_add(e, root, "on_reboot", "destroy");
    lv_xml_add(e, root, "on_crash", "destroy");
}

/* As good as nothing: what libvirt would add by itself is said to be none. */
static void put_devices(struct lv_edit *e, xmlNode *root, const struct lv_placeholder *how) {
    xmlNode *devices = lv_xml_add(e, root, "devices", NULL);
    if (how->emulator)
        lv_xml_add(e, devices, "emulator", how->emulator);
    xmlNode *usb = lv_xml_add(e, devices, "controller", NULL);
    lv_xml_set(e, usb, "type", "usb");
    lv_xml_set(e, usb, "model", "none");
    lv_xml_set(e, lv_xml_add(e, devices, "memballoon", NULL), "model", "none");
}

static int build(struct lv_edit *e, xmlNode *root, const struct lv_placeholder *how, char why[LV_WHY]) {
    char name[LV_NAME];
    lv_domain_name(how->meta->id, how->meta->vm, name);
    lv_xml_set(e, root, "type", how->type);
    lv_xml_add(e, root, "name", name);
    lv_xml_add(e, root, "uuid", how->uuid);
    lv_xml_add(e, root, "description", "A hold made by libshardpredict: it never runs. It comes and goes by itself.");
    int rc = lv_put_metadata(e, root, how->meta, why);
    lv_put_memory(e, root, how->amounts.of[SPR_MEMORY], 0);
    if (how->allocated)
        lv_xml_set(e, lv_xml_add(e, lv_xml_add(e, root, "memoryBacking", NULL), "allocation", NULL), "mode",
                   "immediate");
    lv_put_cpu(e, root, how->amounts.of[SPR_CPU], 0);
    if (how->partition)
        lv_xml_add(e, lv_xml_add(e, root, "resource", NULL), "partition", how->partition);
    put_machine(e, root, how);
    put_devices(e, root, how);
    return rc;
}

int lv_domain_placeholder(const struct lv_placeholder *how, char **out, char why[LV_WHY]) {
    const char *const text[] = {how->type, how->arch, how->machine, how->emulator, how->partition};
    const char *wrong = lv_shard_wrong(how->meta, how->uuid, &how->amounts);
    if (!wrong && (!lv_type_known(how->type) || !how->arch))
        wrong = "its type is neither qemu nor kvm, or it has no architecture";
    for (size_t i = 0; i < sizeof text / sizeof *text; i++)
        if (!wrong && text[i] && (!*text[i] || !lv_xml_fits(text[i])))
            wrong = "a name or path cannot be written";
    if (wrong)
        return lv_why(why, SPR_E_ARG, "placeholder: %s", wrong);
    xmlInitParser();
    struct lv_edit e = {.doc = xmlNewDoc((const xmlChar *)"1.0")};
    xmlNode *root = e.doc ? xmlNewDocNode(e.doc, NULL, (const xmlChar *)"domain", NULL) : NULL;
    int rc = SPR_OK;
    char *made = NULL;
    if (root) {
        xmlDocSetRootElement(e.doc, root);
        rc = build(&e, root, how, why);
    }
    if (!root || e.nomem || (rc == SPR_OK && lv_xml_print(&e, root, &made) < 0))
        rc = lv_why(why, SPR_E_NOMEM, "placeholder: out of memory");
    xmlFreeDoc(e.doc);
    if (rc == SPR_OK)
        *out = made;
    return rc;
}
