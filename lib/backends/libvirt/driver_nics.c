/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A shard's interfaces on its host: the networks that they are in, virtual functions (SR-IOV) from a network's pool,
 * and how much may go through them. libvirt itself takes a virtual function from the pool when the guest starts and
 * gives it back when it ends; here is looked beforehand whether there is one, and afterwards whether it is back.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "xml.h"

void lv_nets_clear(struct lv_act *a) {
    for (size_t i = 0; i < a->pool_count; i++)
        lv_free(a->pool[i]);
    lv_free(a->pool);
    a->pool = NULL;
    a->pool_count = a->pool_cap = 0;
}

/* ---- before ---- */

/* Virtual functions of a network and how many of its ports are in use; false: it is no pool of them. */
static bool read_pool(const char *xml, size_t *all, size_t *used) {
    char why[LV_WHY];
    xmlDoc *doc = NULL;
    uint64_t ports = 0;
    if (lv_xml_open(xml, "network", &doc, why) < 0)
        return false;
    const xmlNode *root = xmlDocGetRootElement(doc), *forward = lv_xml_first(root, "forward");
    const char *connections = lv_xml_attr(root, "connections");
    bool is = lv_xml_is(forward, "mode", "hostdev");
    *all = lv_xml_count(forward, "address") + lv_xml_count(forward, "interface");
    *used = connections && lv_u64_read(connections, 10, &ports) ? (size_t)ports : 0;
    xmlFreeDoc(doc);
    return is;
}

bool lv_vfs_free(virConnectPtr conn, const char *network, size_t *all, size_t *left, char why[LV_WHY]) {
    virNetworkPtr net = virNetworkLookupByName(conn, network);
    size_t used = 0;
    *all = *left = 0;
    if (!net) {
        snprintf(why, LV_WHY, "network '%s': %s", network, virGetLastErrorMessage());
        return false;
    }
    char *xml = virNetworkIsActive(net) == 1 ? virNetworkGetXMLDesc(net, 0) : NULL;
    virNetworkFree(net);
    bool is = xml && read_pool(xml, all, &used);
    if (!xml)
        snprintf(why, LV_WHY, "network '%s' is not active: virsh net-start %s", network, network);
    else if (!is)
        snprintf(why, LV_WHY, "network '%s' is no pool of virtual functions (<forward mode='hostdev'>)", network);
    *left = *all > used ? *all - used : 0;
    free(xml);
    return is;
}

static int keep_pool(struct lv_act *a, const char *network) {
    if (lv_grow((void **)&a->pool, &a->pool_cap, a->pool_count + 1, sizeof *a->pool) < 0 ||
        !(a->pool[a->pool_count] = lv_strdup(network))) {
        lv_job_fail(&a->job, SPR_E_NOMEM, "out of memory");
        return SPR_E_NOMEM;
    }
    a->pool_count++;
    return SPR_OK;
}

/* The network that an interface will be in, NULL = in none. */
static const char *network_of(const struct lv_act *a, const struct lv_nic *nic) {
    if (nic->type && !strcmp(nic->type, "hostdev"))
        return a->primary.vf_network;
    return nic->type && !strcmp(nic->type, "network") ? nic->source : NULL;
}

static size_t interfaces_in(const struct lv_act *a, const struct lv_domain *d, const char *network) {
    size_t n = 0;
    for (size_t i = 0; i < d->nic_count; i++)
        n += network_of(a, &d->nic[i]) && !strcmp(network_of(a, &d->nic[i]), network);
    return n;
}

/* Enough of them, for all of the guest's interfaces in it. */
static int look_at_pool(struct lv_act *a, virConnectPtr conn, const struct lv_domain *d, const char *network) {
    size_t all = 0, left = 0, need = interfaces_in(a, d, network);
    char why[LV_WHY] = "";
    if (!lv_vfs_free(conn, network, &all, &left, why)) {
        lv_job_fail(&a->job, SPR_E_UNSUPPORTED, "no virtual function for VM '%s': %s", a->vm, why);
        return SPR_E_UNSUPPORTED;
    }
    if (left >= need)
        return keep_pool(a, network);
    lv_job_fail(&a->job, SPR_E_CAPACITY,
                "VM '%s' needs %zu virtual functions of network '%s', of whose %zu there are %zu free", a->vm, need,
                network, all, left);
    return SPR_E_CAPACITY;
}

/* An ordinary network of the primary's must be there too, and running; whether it is a pool is seen here. */
static int look_at_network(struct lv_act *a, virConnectPtr conn, const struct lv_domain *d, const char *network) {
    virNetworkPtr net = virNetworkLookupByName(conn, network);
    if (!net || virNetworkIsActive(net) != 1) {
        lv_job_fail(&a->job, SPR_E_NOT_FOUND, "network '%s', which VM '%s' is in, is not %s there", network, a->vm,
                    net ? "active" : "defined");
        if (net)
            virNetworkFree(net);
        return SPR_E_NOT_FOUND;
    }
    size_t all, used;
    char *xml = virNetworkGetXMLDesc(net, 0);
    bool is_pool = xml && read_pool(xml, &all, &used);
    free(xml);
    virNetworkFree(net);
    return is_pool ? look_at_pool(a, conn, d, network) : SPR_OK;
}

static int look_at_nics(struct lv_act *a, virConnectPtr conn, const struct lv_domain *d) {
    int rc = SPR_OK;
    for (size_t i = 0; i < d->nic_count && rc == SPR_OK; i++) {
        const char *network = network_of(a, &d->nic[i]);
        bool passed = d->nic[i].type && !strcmp(d->nic[i].type, "hostdev"), seen = false;
        for (size_t j = 0; network && j < i && !seen; j++)
            seen = network_of(a, &d->nic[j]) && !strcmp(network, network_of(a, &d->nic[j]));
        if (passed && !network) {
            rc = SPR_E_UNSUPPORTED;
            lv_job_fail(&a->job, rc,
                        "interface %zu of VM '%s' is a virtual function, and no network is named to take others from: "
                        "spr_libvirt_driver_opts.vf_network, or vf-network in the owner's metadata",
                        i, a->vm);
        } else if (network && !seen) {
            rc = passed ? look_at_pool(a, conn, d, network) : look_at_network(a, conn, d, network);
        }
    }
    return rc;
}

int lv_nets_look(struct lv_act *a, virConnectPtr conn) {
    struct lv_domain d = {0};
    char why[LV_WHY] = "";
    lv_nets_clear(a);
    if (a->kind != SPR_SHARD_REPLICA)
        return SPR_OK;
    int rc = lv_domain_read(a->primary.xml, &d, why);
    if (rc < 0)
        lv_job_fail(&a->job, rc, "%s", why);
    else
        rc = look_at_nics(a, conn, &d);
    lv_domain_clear(&d);
    if (rc == SPR_OK && a->pool_count && a->d->o.warm == SPR_LIBVIRT_WARM_SAVED) {
        rc = SPR_E_UNSUPPORTED;
        lv_job_fail(&a->job, rc, "VM '%s' has virtual functions, whose state no file can hold: it cannot wait saved",
                    a->vm);
    }
    return rc;
}

int lv_vfs_note(struct lv_act *a) {
    int rc = SPR_OK;
    for (size_t i = 0; i < a->pool_count && rc == SPR_OK; i++)
        rc = lv_meta_add_artefact(&a->meta, LV_ARTEFACT_VF, a->pool[i]);
    if (rc < 0)
        lv_job_fail(&a->job, rc, "out of memory");
    return rc;
}

/* ---- after ---- */

/* The port says whose it is. */
static bool port_is_ours(virNetworkPortPtr port, const char *uuid) {
    char why[LV_WHY], *xml = virNetworkPortGetXMLDesc(port, 0);
    xmlDoc *doc = NULL;
    bool ours = false;
    if (xml && lv_xml_open(xml, "networkport", &doc, why) == SPR_OK) {
        ours = !strcmp(lv_xml_text(lv_xml_at(xmlDocGetRootElement(doc), "owner", "uuid")), uuid);
        xmlFreeDoc(doc);
    }
    free(xml);
    return ours;
}

static int give_back(struct lv_act *a, virConnectPtr conn, const char *network, const char *uuid) {
    virNetworkPtr net = virNetworkLookupByName(conn, network);
    virNetworkPortPtr *ports = NULL;
    if (!net)
        return SPR_OK; /* with the network went its pool */
    int n = virNetworkListAllPorts(net, &ports, 0), rc = SPR_OK;
    for (int i = 0; i < n; i++) {
        if (rc == SPR_OK && port_is_ours(ports[i], uuid) && (rc = lv_guard_ours(a, conn)) == SPR_OK &&
            virNetworkPortDelete(ports[i], 0) < 0) {
            lv_fail(a, "giving a virtual function back to network", network);
            rc = a->job.code;
        }
        virNetworkPortFree(ports[i]);
    }
    if (n < 0 && !lv_unsupported()) {
        lv_fail(a, "asking who uses network", network);
        rc = a->job.code;
    }
    free(ports);
    virNetworkFree(net);
    return rc;
}

int lv_vfs_give_back(struct lv_act *a, virConnectPtr conn) {
    char uuid[VIR_UUID_STRING_BUFLEN];
    int rc = SPR_OK;
    for (size_t i = 0; i < a->meta.artefact_count && rc == SPR_OK; i++)
        if (a->meta.artefact[i].kind == LV_ARTEFACT_VF && virDomainGetUUIDString(a->dom, uuid) == 0)
            rc = give_back(a, conn, a->meta.artefact[i].what, uuid);
    return rc;
}

/* ---- how much ---- */

static bool is_limited(const struct lv_act *a, const struct lv_nic *nic) {
    static const char *const limited[] = {"bridge", "network", "ethernet", "direct"};
    for (size_t i = 0; i < a->meta.artefact_count; i++)
        if (a->meta.artefact[i].kind == LV_ARTEFACT_VF && nic->source && !strcmp(a->meta.artefact[i].what, nic->source))
            return false;
    for (size_t i = 0; nic->type && nic->mac && i < sizeof limited / sizeof *limited; i++)
        if (!strcmp(nic->type, limited[i]))
            return true;
    return false;
}

static int limit_nic(struct lv_act *a, virConnectPtr conn, const char *mac, const double bits[2]) {
    static const char *const name[] = {VIR_DOMAIN_BANDWIDTH_IN_AVERAGE, VIR_DOMAIN_BANDWIDTH_OUT_AVERAGE};
    virTypedParameterPtr p = NULL;
    int n = 0, room = 0, rc = lv_guard_ours(a, conn);
    for (int i = 0; i < 2; i++)
        if (bits[i] > 0)
            virTypedParamsAddUInt(&p, &n, &room, name[i], (unsigned)fmin((double)lv_bandwidth(bits[i]), 4e9));
    if (rc == SPR_OK && n && virDomainSetInterfaceParameters(a->dom, mac, p, n, lv_affect(a->dom)) < 0 &&
        !lv_means_failed(a)) {
        lv_fail(a, "limiting the network of", a->name);
        rc = a->job.code;
    }
    virTypedParamsFree(p, n);
    return rc;
}

int lv_limit_net(struct lv_act *a, virConnectPtr conn, const struct spr_amounts *to, double share) {
    struct lv_domain d = {0};
    char why[LV_WHY] = "", *xml = NULL;
    size_t limited = 0;
    if ((!(to->of[SPR_NET_RX] > 0) && !(to->of[SPR_NET_TX] > 0)) || lv_here(a)->facts.no_bandwidth ||
        a->d->o.limit_net == SPR_NONE)
        return SPR_OK;
    int rc = (xml = virDomainGetXMLDesc(a->dom, 0)) ? lv_domain_read(xml, &d, why) : lv_code_of_last_error();
    if (rc < 0)
        lv_job_fail(&a->job, rc, "reading the interfaces of %s: %s", a->name, xml ? why : virGetLastErrorMessage());
    free(xml);
    for (size_t i = 0; i < d.nic_count; i++)
        limited += is_limited(a, &d.nic[i]);
    for (size_t i = 0; i < d.nic_count && rc == SPR_OK; i++) {
        double each = share / (double)(limited ? limited : 1);
        if (is_limited(a, &d.nic[i]))
            rc = limit_nic(a, conn, d.nic[i].mac, (double[]){to->of[SPR_NET_RX] * each, to->of[SPR_NET_TX] * each});
    }
    lv_domain_clear(&d);
    return rc;
}
