/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A replica's interfaces: addresses of its own, virtual functions where it is given some, limits where asked. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "derive.h"

/* Does the primary, or an interface of the replica before this one, have this address? */
static bool taken(const struct derive *d, const xmlNode *nic, const char *mac) {
    for (const xmlNode *n = lv_xml_first(d->devices, "interface"); n; n = lv_xml_next(n, "interface")) {
        const char *old = lv_xml_attr(n, "primary-mac"), *now = lv_xml_attr(lv_xml_first(n, "mac"), "address");
        if ((old && !strcasecmp(old, mac)) || (n != nic && now && !strcasecmp(now, mac)))
            return true;
    }
    return false;
}

static void put_mac(struct derive *d, xmlNode *nic) {
    const struct lv_derive *how = d->how;
    const char *given = d->nic < how->mac_count ? how->macs[d->nic] : NULL;
    char mac[LV_MAC];
    if (given && (!lv_mac_valid(given) || taken(d, nic, given))) {
        lv_wrong(d, "interface %zu: '%s' is no address that it can have", d->nic, given);
        return;
    }
    for (uint32_t attempt = 0; !given; attempt++) {
        lv_mac_derive(how->meta->id, (uint32_t)d->nic, attempt, mac);
        if (!taken(d, nic, mac))
            break;
    }
    lv_xml_set(&d->e, lv_xml_need(&d->e, nic, "mac"), "address", given ? given : mac);
}

/* libvirt limits what goes through a device of the host's; what is passed through does not. */
bool lv_nic_limited(const struct derive *d, const xmlNode *nic) {
    const char *type = lv_xml_attr(nic, "type"), *network = lv_xml_attr(lv_xml_first(nic, "source"), "network");
    for (size_t i = 0; network && i < d->how->unlimited_count; i++)
        if (!strcmp(network, d->how->unlimited[i]))
            return false;
    return type && (!strcmp(type, "bridge") || !strcmp(type, "network") || !strcmp(type, "ethernet") ||
                    !strcmp(type, "direct"));
}

static void put_bandwidth(struct derive *d, xmlNode *nic) {
    static const struct {
        int resource;
        const char *name;
    } side[] = {{SPR_NET_RX, "inbound"}, {SPR_NET_TX, "outbound"}};
    lv_xml_drop_all(nic, "bandwidth");
    for (int i = 0; i < 2; i++) {
        double bits = d->how->amounts.of[side[i].resource];
        if (!(bits > 0))
            continue;
        uint64_t rate = lv_bandwidth(bits / (double)d->limited);
        xmlNode *n = lv_xml_add(&d->e, lv_xml_need(&d->e, nic, "bandwidth"), side[i].name, NULL);
        lv_xml_setf(&d->e, n, "average", "%llu", (unsigned long long)rate);
    }
}

void lv_derive_vf(struct derive *d, xmlNode *device, const char *what) {
    const char *const *vfs = d->how->vfs;
    unsigned domain, bus, slot, function;
    char end;
    if (d->vf >= d->how->vf_count) {
        lv_refuse(d, "%s: it is passed through, and no virtual function is given for it", what);
        return;
    }
    const char *vf = vfs[d->vf++];
    if (sscanf(vf, "%4x:%2x:%2x.%1x%c", &domain, &bus, &slot, &function, &end) != 4 || slot > 31 || function > 7) {
        lv_wrong(d, "virtual function '%s' is not an address such as 0000:01:10.0", vf);
        return;
    }
    lv_xml_drop_all(device, "source");
    lv_xml_set(&d->e, device, "managed", "yes");
    xmlNode *address = lv_xml_add(&d->e, lv_xml_add(&d->e, device, "source", NULL), "address", NULL);
    if (lv_xml_named(device, "interface"))
        lv_xml_set(&d->e, address, "type", "pci");
    lv_xml_setf(&d->e, address, "domain", "0x%04x", domain);
    lv_xml_setf(&d->e, address, "bus", "0x%02x", bus);
    lv_xml_setf(&d->e, address, "slot", "0x%02x", slot);
    lv_xml_setf(&d->e, address, "function", "0x%x", function);
}

/* libvirt takes a virtual function from the network's pool when the guest starts, and gives it back when it ends. VLAN
 * and port profile stay: they are set on whichever it is. */
static void take_from_pool(struct derive *d, xmlNode *nic) {
    static const char *const gone[] = {"source", "driver", "bandwidth", "model"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        lv_xml_drop_all(nic, gone[i]);
    lv_xml_unset(nic, "managed"); /* the network says it */
    lv_xml_set(&d->e, nic, "type", "network");
    lv_xml_set(&d->e, lv_xml_add(&d->e, nic, "source", NULL), "network", d->how->vf_network);
}

/* What stands for the primary's place in the network. */
static void forget_place(xmlNode *nic) {
    xmlNode *source = lv_xml_first(nic, "source"), *filter = lv_xml_first(nic, "filterref");
    xmlNode *port = lv_xml_at(nic, "virtualport", "parameters");
    lv_xml_drop_all(nic, "target"); /* the host's device */
    lv_xml_unset(source, "portid");
    if (lv_xml_is(nic, "type", "network"))
        lv_xml_unset(source, "bridge");
    lv_xml_unset(port, "interfaceid"); /* each interface has its own at the switch; libvirt makes one */
    lv_xml_unset(port, "instanceid");
    for (xmlNode *p = lv_xml_first(filter, "parameter"), *next; p; p = next) {
        next = lv_xml_next(p, "parameter");
        if (lv_xml_is(p, "name", "IP") || lv_xml_is(p, "name", "IPV6") || lv_xml_is(p, "name", "MAC"))
            lv_xml_drop(p); /* the primary's addresses; the filter learns the new ones */
    }
    for (xmlNode *b = lv_xml_at(nic, "bandwidth", "inbound"); b; b = NULL)
        lv_xml_unset(b, "floor"); /* a guarantee that the network gave to the primary */
    lv_xml_unset(lv_xml_first(nic, "backend"), "logFile");
}

void lv_derive_nic(struct derive *d, xmlNode *nic) {
    const char *type = lv_xml_attr(nic, "type");
    char what[64];
    snprintf(what, sizeof what, "interface %zu", d->nic);
    bool direct = type && !strcmp(type, "direct");
    bool limited = lv_nic_limited(d, nic);
    if (type && !strcmp(type, "hostdev") && d->how->vf_network && !d->how->vf_count)
        take_from_pool(d, nic);
    else if (type && !strcmp(type, "hostdev"))
        lv_derive_vf(d, nic, what);
    else if (!type || (strcmp(type, "bridge") && strcmp(type, "network") && strcmp(type, "user") &&
                       strcmp(type, "ethernet") && !direct))
        lv_refuse(d, "%s: type %.40s has one partner, and that is the primary", what, type ? type : "not said");
    else if (direct && lv_xml_is(lv_xml_first(nic, "source"), "mode", "passthrough"))
        lv_refuse(d, "%s: it takes a device of the host for itself (direct, passthrough)", what);
    else if (lv_xml_is(lv_xml_first(nic, "target"), "managed", "no") || lv_xml_first(nic, "portForward"))
        lv_refuse(d, "%s: a device or port was prepared for the primary", what);
    forget_place(nic);
    put_mac(d, nic);
    if (!limited)
        lv_xml_drop_all(nic, "bandwidth"); /* its start would fail */
    else if (d->how->flags & LV_BANDWIDTH)
        put_bandwidth(d, nic);
    d->nic++;
}
