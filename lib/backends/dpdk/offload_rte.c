/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Rules of offload.h in rte_flow's words: a pattern, actions, a priority; asked first whether the card would, then
 * made. */
#include "offload_rte.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <rte_ethdev.h>
#include <rte_flow.h>

/* FIN, SYN, RST, ACK of TCP's flags. */
enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };

struct pattern {
    struct rte_flow_item item[4];
    struct rte_flow_item_ipv4 v4, v4_mask;
    struct rte_flow_item_ipv6 v6, v6_mask;
    struct rte_flow_item_tcp tcp, tcp_mask;
    struct rte_flow_item_udp udp, udp_mask;
};

struct actions {
    struct rte_flow_action action[4];
    struct rte_flow_action_set_mac mac;
    struct rte_flow_action_vf vf;
    struct rte_flow_action_rss rss;
    struct rte_flow_action_count count;
    uint16_t queue[DP_OFFLOAD_QUEUES];
};

static void match_address(const struct dp_offload_rule *r, struct pattern *p) {
    bool source = r->kind == DP_OFFLOAD_FLOW;
    if (r->ip == 4) {
        memcpy(&p->v4.hdr.dst_addr, r->destination, 4);
        memset(&p->v4_mask.hdr.dst_addr, 0xFF, 4);
        if (source) {
            memcpy(&p->v4.hdr.src_addr, r->source, 4);
            memset(&p->v4_mask.hdr.src_addr, 0xFF, 4);
        }
        p->item[1] = (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_IPV4, .spec = &p->v4, .mask = &p->v4_mask};
        return;
    }
    memcpy(p->v6.hdr.dst_addr, r->destination, 16);
    memset(p->v6_mask.hdr.dst_addr, 0xFF, 16);
    if (source) {
        memcpy(p->v6.hdr.src_addr, r->source, 16);
        memset(p->v6_mask.hdr.src_addr, 0xFF, 16);
    }
    p->item[1] = (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_IPV6, .spec = &p->v6, .mask = &p->v6_mask};
}

static void match_ports(const struct dp_offload_rule *r, struct pattern *p) {
    bool source = r->kind == DP_OFFLOAD_FLOW;
    if (r->protocol == 17) {
        p->udp.hdr.dst_port = r->destination_port;
        p->udp_mask.hdr.dst_port = 0xFFFF;
        p->udp.hdr.src_port = source ? r->source_port : 0;
        p->udp_mask.hdr.src_port = source ? 0xFFFF : 0;
        p->item[2] = (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_UDP, .spec = &p->udp, .mask = &p->udp_mask};
        return;
    }
    static const uint8_t set[] = {[DP_OFFLOAD_SYN] = SYN, [DP_OFFLOAD_FIN] = FIN, [DP_OFFLOAD_RST] = RST};
    static const uint8_t mask[] = {[DP_OFFLOAD_SYN] = SYN | ACK, [DP_OFFLOAD_FIN] = FIN, [DP_OFFLOAD_RST] = RST};
    p->tcp.hdr.dst_port = r->destination_port;
    p->tcp_mask.hdr.dst_port = 0xFFFF;
    p->tcp.hdr.src_port = source ? r->source_port : 0;
    p->tcp_mask.hdr.src_port = source ? 0xFFFF : 0;
    if (r->kind <= DP_OFFLOAD_RST) {
        p->tcp.hdr.tcp_flags = set[r->kind];
        p->tcp_mask.hdr.tcp_flags = mask[r->kind];
    }
    p->item[2] = (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_TCP, .spec = &p->tcp, .mask = &p->tcp_mask};
}

static void pattern_of(const struct dp_offload_rule *r, struct pattern *p) {
    memset(p, 0, sizeof *p);
    p->item[0].type = RTE_FLOW_ITEM_TYPE_ETH;
    match_address(r, p);
    match_ports(r, p);
    p->item[3].type = RTE_FLOW_ITEM_TYPE_END;
}

static void actions_of(const struct dp_offload_port *port, const struct dp_offload_rule *r, struct actions *a) {
    static const uint8_t none[6];
    int n = 0;
    memset(a, 0, sizeof *a);
    if (r->kind == DP_OFFLOAD_FLOW) /* how hot it is, only the card can say */
        a->action[n++] = (struct rte_flow_action){.type = RTE_FLOW_ACTION_TYPE_COUNT, .conf = &a->count};
    if (memcmp(r->mac, none, sizeof none)) {
        memcpy(a->mac.mac_addr, r->mac, sizeof r->mac);
        a->action[n++] = (struct rte_flow_action){.type = RTE_FLOW_ACTION_TYPE_SET_MAC_DST, .conf = &a->mac};
    }
    if (r->vf == DP_OFFLOAD_CPU) {
        for (uint16_t i = 0; i < port->queues; i++)
            a->queue[i] = i;
        a->rss.types = port->rss_types;
        a->rss.queue_num = port->queues;
        a->rss.queue = a->queue;
        a->action[n++] = (struct rte_flow_action){.type = RTE_FLOW_ACTION_TYPE_RSS, .conf = &a->rss};
    } else {
        a->vf.id = r->vf;
        a->action[n++] = (struct rte_flow_action){.type = RTE_FLOW_ACTION_TYPE_VF, .conf = &a->vf};
    }
    a->action[n].type = RTE_FLOW_ACTION_TYPE_END;
}

static uint32_t priority_of(const struct dp_offload_rule *r) {
    return r->kind == DP_OFFLOAD_SERVICE ? 2 : r->kind == DP_OFFLOAD_FLOW;
}

static int refused(struct dp_offload_port *port, int rc, const struct rte_flow_error *e) {
    snprintf(port->why, sizeof port->why, "%s", e->message ? e->message : rte_strerror(-rc));
    return rc < 0 ? rc : -EIO;
}

static int rte_create(void *state, const struct dp_offload_rule *rule, uint64_t *handle) {
    struct dp_offload_port *port = state;
    struct rte_flow_attr attr = {.priority = priority_of(rule), .ingress = 1};
    struct rte_flow_error e = {.message = NULL};
    struct pattern p;
    struct actions a;
    if (!port->queues || port->queues > DP_OFFLOAD_QUEUES || (rule->ip != 4 && rule->ip != 6) ||
        (rule->protocol != 6 && rule->protocol != 17))
        return -EINVAL;
    pattern_of(rule, &p);
    actions_of(port, rule, &a);
    int rc = rte_flow_validate(port->port, &attr, p.item, a.action, &e);
    if (rc < 0)
        return refused(port, rc, &e);
    struct rte_flow *flow = rte_flow_create(port->port, &attr, p.item, a.action, &e);
    if (!flow)
        return refused(port, -rte_errno, &e);
    *handle = (uint64_t)(uintptr_t)flow;
    return 0;
}

static int rte_destroy(void *state, uint64_t handle) {
    struct dp_offload_port *port = state;
    struct rte_flow_error e = {.message = NULL};
    int rc = rte_flow_destroy(port->port, (struct rte_flow *)(uintptr_t)handle, &e);
    return rc < 0 ? refused(port, rc, &e) : 0;
}

static int rte_query(void *state, uint64_t handle, uint64_t *packets) {
    struct dp_offload_port *port = state;
    struct rte_flow_action count[2] = {{.type = RTE_FLOW_ACTION_TYPE_COUNT}, {.type = RTE_FLOW_ACTION_TYPE_END}};
    struct rte_flow_query_count is = {.reset = 0};
    struct rte_flow_error e = {.message = NULL};
    int rc = rte_flow_query(port->port, (struct rte_flow *)(uintptr_t)handle, count, &is, &e);
    if (rc < 0)
        return refused(port, rc, &e);
    if (!is.hits_set)
        return -ENOTSUP;
    *packets = is.hits;
    return 0;
}

static const struct dp_offload_ops rte = {rte_create, rte_destroy, rte_query};
const struct dp_offload_ops *dp_offload_rte(void) { return &rte; }
