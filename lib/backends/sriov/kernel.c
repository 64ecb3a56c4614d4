/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The real kernel: rtnetlink through libnl, files of sysfs, VFIO's groups. Everything returns 0 or a negative errno. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/sriov.h>

#include "sriov.h"

#define ANSWER_S 5 /* the kernel answers in the call; a driver that asks its card may take a while */

struct real {
    spr_context *ctx;
    struct nl_sock *socket;
};

/* libnl folds many errnos into few codes of its own; the way back is good enough for a text and a decision. */
static int errno_of(int nl) {
    switch (-nl) {
    case NLE_SUCCESS:
        return 0;
    case NLE_NOMEM:
        return -ENOMEM;
    case NLE_OPNOTSUPP:
        return -EOPNOTSUPP;
    case NLE_PERM:
        return -EPERM;
    case NLE_NOACCESS:
        return -EACCES;
    case NLE_NODEV:
    case NLE_OBJ_NOTFOUND:
        return -ENODEV;
    case NLE_BUSY:
        return -EBUSY;
    case NLE_EXIST:
        return -EEXIST;
    case NLE_INVAL:
        return -EINVAL;
    case NLE_RANGE:
        return -ERANGE;
    case NLE_AGAIN:
        return -ETIMEDOUT;
    case NLE_PROTO_MISMATCH:
        return -EPROTONOSUPPORT;
    default:
        return -EIO;
    }
}

static void real_close(void *state) {
    struct real *r = state;
    nl_socket_free(r->socket);
    spr_context_free(r->ctx, r, sizeof *r);
}

static int real_open(const struct spr_env *env, const void *config, void **state) {
    struct timeval limit = {.tv_sec = ANSWER_S};
    if (config)
        return -EINVAL;
    struct real *r = spr_context_alloc(env->context, sizeof *r);
    if (!r)
        return -ENOMEM;
    r->ctx = env->context;
    r->socket = nl_socket_alloc();
    int rc = r->socket ? errno_of(nl_connect(r->socket, NETLINK_ROUTE)) : -ENOMEM;
    if (rc >= 0 && setsockopt(nl_socket_get_fd(r->socket), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0)
        rc = -errno;
    if (rc < 0) {
        real_close(r);
        return rc;
    }
    *state = r;
    return 0;
}

static int real_write(void *state, const char *sysfs, const char *path, const char *text) {
    char whole[SV_PATH];
    (void)state;
    int n = snprintf(whole, sizeof whole, "%s/%s", sysfs, path), rc = 0;
    if (n < 0 || n >= (int)sizeof whole)
        return -ENAMETOOLONG;
    int fd = open(whole, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t k = write(fd, text, strlen(text)); /* one call: sysfs takes each write as a whole */
    if (k < 0)
        rc = -errno;
    else if ((size_t)k != strlen(text))
        rc = -EIO;
    if (close(fd) < 0 && rc >= 0)
        rc = -errno;
    return rc;
}

/* ---- reading a VF ---- */

/* Of VLAN and rates libnl keeps what is not 0: what it does not have is none, not unknown. */
static void read_vlan(struct rtnl_link_vf *vf, struct spr_sriov_settings *out) {
    nl_vf_vlans_t *vlans = NULL;
    out->known |= SPR_SRIOV_VLAN;
    if (rtnl_link_vf_get_vlans(vf, &vlans) < 0)
        return;
    if (vlans->size > 0 && vlans->vlans[0].vf_vlan) {
        out->vlan = (uint16_t)vlans->vlans[0].vf_vlan;
        out->vlan_qos = vlans->vlans[0].vf_vlan_qos;
        out->vlan_proto = vlans->vlans[0].vf_vlan_proto ? vlans->vlans[0].vf_vlan_proto : ETH_P_8021Q;
    }
    rtnl_link_vf_vlan_put(vlans);
}

static void read_rate(struct rtnl_link_vf *vf, struct spr_sriov_settings *out) {
    struct nl_vf_rate rate = {.api = RTNL_LINK_VF_RATE_API_UNSPEC};
    out->known |= SPR_SRIOV_RATE;
    if (rtnl_link_vf_get_rate(vf, &rate) < 0)
        return;
    out->min_mbps = rate.api == RTNL_LINK_VF_RATE_API_NEW ? rate.min_tx_rate : 0;
    out->max_mbps = rate.api == RTNL_LINK_VF_RATE_API_NEW ? rate.max_tx_rate : rate.rate;
}

/* The kernel says "on", "off", or all ones where the driver does not know. */
static void read_switch(int rc, uint32_t value, uint32_t bit, uint32_t *to, struct spr_sriov_settings *out) {
    if (rc < 0 || value > 1)
        return;
    *to = value;
    out->known |= bit;
}

static void read_vf(struct rtnl_link_vf *vf, struct spr_sriov_settings *out) {
    struct nl_addr *mac = NULL;
    uint32_t value = 0;
    out->vlan_proto = ETH_P_8021Q;
    if (!rtnl_link_vf_get_addr(vf, &mac) && mac && nl_addr_get_len(mac) >= sizeof out->mac) {
        memcpy(out->mac, nl_addr_get_binary_addr(mac), sizeof out->mac);
        out->known |= SPR_SRIOV_MAC;
    }
    read_vlan(vf, out);
    read_rate(vf, out);
    int rc = rtnl_link_vf_get_spoofchk(vf, &value);
    read_switch(rc, value, SPR_SRIOV_SPOOFCHK, &out->spoofchk, out);
    rc = rtnl_link_vf_get_trust(vf, &value);
    read_switch(rc, value, SPR_SRIOV_TRUST, &out->trust, out);
}

static int real_vf_get(void *state, const char *pf, uint32_t number, struct spr_sriov_settings *out) {
    struct real *r = state;
    struct rtnl_link *link = NULL;
    int rc = errno_of(rtnl_link_get_kernel(r->socket, 0, pf, &link));
    if (rc < 0)
        return rc;
    /* libnl looks into a list that a link without VFs does not have */
    struct rtnl_link_vf *vf = rtnl_link_has_vf_list(link) ? rtnl_link_vf_get(link, number) : NULL;
    if (vf) {
        read_vf(vf, out);
        rtnl_link_vf_put(vf);
    }
    rtnl_link_put(link);
    return vf ? 0 : -ENODEV;
}

/* ---- setting a VF ---- */

/*
 * One attribute a message: the kernel applies them one after the other and does not take back the first where the
 * second fails, and we want to say which one it was. rtnl_link_change would send them together.
 */
static int send_one(struct real *r, unsigned index, int type, const void *data, size_t bytes) {
    struct ifinfomsg info = {.ifi_family = AF_UNSPEC, .ifi_index = (int)index};
    struct nl_msg *m = nlmsg_alloc_simple(RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK);
    if (!m)
        return -ENOMEM;
    struct nlattr *list, *one;
    if (nlmsg_append(m, &info, sizeof info, NLMSG_ALIGNTO) < 0 || !(list = nla_nest_start(m, IFLA_VFINFO_LIST)) ||
        !(one = nla_nest_start(m, IFLA_VF_INFO)) || nla_put(m, type, (int)bytes, data) < 0) {
        nlmsg_free(m);
        return -ENOMEM;
    }
    nla_nest_end(m, one);
    nla_nest_end(m, list);
    return errno_of(nl_send_sync(r->socket, m)); /* frees the message */
}

/* Other tags than 802.1Q go in a list of their own. */
static int send_vlan(struct real *r, unsigned index, uint32_t vf, const struct spr_sriov_settings *w) {
    if (w->vlan_proto != ETH_P_8021AD || !w->vlan) {
        struct ifla_vf_vlan v = {.vf = vf, .vlan = w->vlan, .qos = w->vlan_qos};
        return send_one(r, index, IFLA_VF_VLAN, &v, sizeof v);
    }
    struct ifla_vf_vlan_info v = {.vf = vf, .vlan = w->vlan, .qos = w->vlan_qos, .vlan_proto = htons(ETH_P_8021AD)};
    char nested[NLA_HDRLEN + sizeof v] __attribute__((aligned(4)));
    struct nlattr head = {.nla_len = sizeof nested, .nla_type = IFLA_VF_VLAN_INFO};
    memcpy(nested, &head, sizeof head);
    memcpy(nested + NLA_HDRLEN, &v, sizeof v);
    return send_one(r, index, IFLA_VF_VLAN_LIST | NLA_F_NESTED, nested, sizeof nested);
}

/* Cards without a promised rate know only the older message. */
static int send_rate(struct real *r, unsigned index, uint32_t vf, const struct spr_sriov_settings *w) {
    struct ifla_vf_rate v = {.vf = vf, .min_tx_rate = w->min_mbps, .max_tx_rate = w->max_mbps};
    return send_one(r, index, IFLA_VF_RATE, &v, sizeof v);
}

static int real_vf_set(void *state, const char *pf, uint32_t vf, const struct spr_sriov_settings *w) {
    struct real *r = state;
    unsigned index = if_nametoindex(pf);
    int rc = index ? 0 : -errno;
    if (rc >= 0 && (w->known & SPR_SRIOV_MAC)) {
        struct ifla_vf_mac v = {.vf = vf};
        memcpy(v.mac, w->mac, sizeof w->mac);
        rc = send_one(r, index, IFLA_VF_MAC, &v, sizeof v);
    }
    if (rc >= 0 && (w->known & SPR_SRIOV_VLAN))
        rc = send_vlan(r, index, vf, w);
    if (rc >= 0 && (w->known & SPR_SRIOV_RATE))
        rc = send_rate(r, index, vf, w);
    if (rc >= 0 && (w->known & SPR_SRIOV_SPOOFCHK)) {
        struct ifla_vf_spoofchk v = {.vf = vf, .setting = w->spoofchk};
        rc = send_one(r, index, IFLA_VF_SPOOFCHK, &v, sizeof v);
    }
    if (rc >= 0 && (w->known & SPR_SRIOV_TRUST)) {
        struct ifla_vf_trust v = {.vf = vf, .setting = w->trust};
        rc = send_one(r, index, IFLA_VF_TRUST, &v, sizeof v);
    }
    return rc;
}

/* ---- who uses it ---- */

static int real_addresses(void *state, const char *netdev) {
    struct real *r = state;
    struct nl_cache *all = NULL;
    int index = (int)if_nametoindex(netdev), n = 0;
    if (!index)
        return -errno;
    int rc = errno_of(rtnl_addr_alloc_cache(r->socket, &all));
    if (rc < 0)
        return rc;
    for (struct nl_object *o = nl_cache_get_first(all); o; o = nl_cache_get_next(o)) {
        struct rtnl_addr *a = (struct rtnl_addr *)o;
        bool own =
            rtnl_addr_get_family(a) == AF_INET6 && rtnl_addr_get_scope(a) == 253; /* link-local: made by the kernel */
        n += rtnl_addr_get_ifindex(a) == index && !own;
    }
    nl_cache_free(all);
    return n;
}

static int real_group_free(void *state, int32_t group) {
    char path[32];
    (void)state;
    snprintf(path, sizeof path, "/dev/vfio/%d", (int)group);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno; /* no such group: nothing of it is bound to vfio */
    close(fd);
    return 0;
}

static const struct spr_sriov_kernel_ops real = {
    .size = sizeof real,
    .name = "linux",
    .license = "MIT OR Apache-2.0",
    .open = real_open,
    .close = real_close,
    .write = real_write,
    .vf_get = real_vf_get,
    .vf_set = real_vf_set,
    .addresses = real_addresses,
    .group_free = real_group_free,
};
const struct spr_sriov_kernel_ops *spr_sriov_kernel(void) { return &real; }
