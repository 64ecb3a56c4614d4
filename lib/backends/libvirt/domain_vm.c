/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a VM's owner wrote into its definition: may it be replicated, how much may spill, where. */
#include <stddef.h>
#include <string.h>

#include "fields.h"

#define VERSION 1

static const struct lv_name replicas[] = {
    {"never", SPR_REPLICA_NEVER}, {"template", SPR_REPLICA_TEMPLATE}, {"image", SPR_REPLICA_IMAGE}, {NULL, 0}};

static const struct lv_name yes_no[] = {{"no", 0}, {"yes", 1}, {NULL, 0}};

#define AT(member)      offsetof(struct lv_vm_meta, member)
#define AMOUNT(side, r) (AT(side) + (r) * sizeof(double))
static const struct lv_field fields[] = {
    {"replica", LV_F_NAMED, false, AT(replica), replicas},
    {"spillable", LV_F_SHARE, false, AT(spillable), NULL},
    {"flow-lifetime", LV_F_SECONDS, false, AT(flow_lifetime_s), NULL},
    {"group", LV_F_TEXT, false, AT(group), NULL},
    {"affinity", LV_F_TEXT, false, AT(affinity), NULL},
    {"anti-affinity", LV_F_TEXT, false, AT(anti_affinity), NULL},
    {"hosts", LV_F_TEXT, false, AT(hosts_allowed), NULL},
    {"template", LV_F_TEXT, false, AT(template_name), NULL},
    {"vf-network", LV_F_TEXT, false, AT(vf_network), NULL},
    {"priority", LV_F_I32, false, AT(priority), NULL},
    {"shards-at-most", LV_F_I32, false, AT(shards_at_most), NULL},
    {"min-cpu", LV_F_AMOUNT, false, AMOUNT(min, SPR_CPU), NULL},
    {"min-memory", LV_F_AMOUNT, false, AMOUNT(min, SPR_MEMORY), NULL},
    {"min-net-rx", LV_F_AMOUNT, false, AMOUNT(min, SPR_NET_RX), NULL},
    {"min-net-tx", LV_F_AMOUNT, false, AMOUNT(min, SPR_NET_TX), NULL},
    {"max-cpu", LV_F_AMOUNT, false, AMOUNT(max, SPR_CPU), NULL},
    {"max-memory", LV_F_AMOUNT, false, AMOUNT(max, SPR_MEMORY), NULL},
    {"max-net-rx", LV_F_AMOUNT, false, AMOUNT(max, SPR_NET_RX), NULL},
    {"max-net-tx", LV_F_AMOUNT, false, AMOUNT(max, SPR_NET_TX), NULL},
    {"name", LV_F_TEXT, false, AT(name), NULL},
    {"promoted", LV_F_ID, false, AT(promoted), NULL},
    {"was", LV_F_UUID, false, AT(was), NULL},
    {"autostart", LV_F_NAMED, false, AT(autostart), yes_no},
};

void lv_vm_meta_clear(struct lv_vm_meta *m) {
    lv_free(m->group);
    lv_free(m->affinity);
    lv_free(m->anti_affinity);
    lv_free(m->hosts_allowed);
    lv_free(m->template_name);
    lv_free(m->vf_network);
    lv_free(m->name);
    memset(m, 0, sizeof *m);
}

static int sensible(const struct lv_vm_meta *m, char why[LV_WHY]) {
    for (int r = 0; r < SPR_RESOURCES_MAX; r++)
        if (m->max.of[r] > 0 && m->min.of[r] > m->max.of[r])
            return lv_why(why, SPR_E_FORMAT, "vm: a min- amount is above its max- amount");
    if (m->shards_at_most < 0)
        return lv_why(why, SPR_E_FORMAT, "vm: attribute shards-at-most: a number from 0");
    return SPR_OK;
}

int lv_vm_meta_parse(const char *xml, struct lv_vm_meta *out, char why[LV_WHY]) {
    xmlDoc *doc;
    struct lv_vm_meta m = {0};
    int rc = lv_xml_open(xml, "vm", &doc, why);
    if (rc < 0)
        return rc;
    xmlNode *root = xmlDocGetRootElement(doc);
    if (root->ns && strcmp((const char *)root->ns->href, LV_VM_URN))
        rc = lv_why(why, SPR_E_FORMAT, "vm: namespace '%.80s' is not ours", (const char *)root->ns->href);
    if (rc == SPR_OK)
        rc = lv_version_check(root, "vm", VERSION, why);
    lv_xml_unset(root, "version");
    if (rc == SPR_OK)
        rc = lv_fields_read(root, "vm", fields, sizeof fields / sizeof *fields, &m, NULL, why);
    if (rc == SPR_OK && root->children)
        rc = lv_why(why, SPR_E_FORMAT, "vm: it has attributes only, and something stands inside");
    if (rc == SPR_OK)
        rc = sensible(&m, why);
    xmlFreeDoc(doc);
    if (rc == SPR_OK)
        *out = m;
    else
        lv_vm_meta_clear(&m);
    return rc;
}

void lv_vm_meta_apply(const struct lv_vm_meta *m, struct spr_vm *vm) {
    vm->replica = m->replica;
    vm->spillable = m->spillable;
    vm->flow_lifetime_s = m->flow_lifetime_s;
    vm->group = m->group;
    vm->affinity = m->affinity;
    vm->anti_affinity = m->anti_affinity;
    vm->hosts_allowed = m->hosts_allowed;
    vm->min = m->min;
    vm->max = m->max;
    vm->priority = m->priority;
    vm->shards_at_most = m->shards_at_most;
}
