/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Ports of EAL by name: as many queues as lcores, receive-side scaling where the device has it. */
#include "router.h"

#include <rte_ethdev.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { RING = 1024, POOL_CACHE = 256, EARLY_BURSTS = 1024 };

__attribute__((format(printf, 3, 4))) static int fail(struct dp_why *why, int code, const char *format, ...) {
    va_list list;
    va_start(list, format);
    vsnprintf(why->text, sizeof why->text, format, list);
    va_end(list);
    return code;
}

/*
 * af_packet's queues join the kernel's spreading one after the other when EAL finds the device: what came meanwhile
 * went to those that were there already. It lies in their rings still; on the wrong lcore a spilled flow is unknown and
 * would be cut at the primary. Lost like all that came before, it is sent again.
 */
static void forget_early(const struct spr_dpdk *r, const struct dp_port *p, const char *driver) {
    struct rte_mbuf *m[32];
    if (r->queues < 2 || strcmp(driver, "net_af_packet"))
        return;
    for (uint16_t q = 0; q < r->queues; q++) {
        uint16_t n;
        for (unsigned round = 0; round < EARLY_BURSTS && (n = rte_eth_rx_burst(p->id, q, m, 32)) > 0; round++)
            rte_pktmbuf_free_bulk(m, n);
    }
}

/* By both ports and addresses, so that a flow stays on its lcore; a device that cannot gets one queue or fails. */
static int configure(struct spr_dpdk *r, struct dp_port *p, const struct rte_eth_dev_info *info, struct dp_why *why) {
    struct rte_eth_conf conf = {0};
    uint64_t hash = RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP;
    if (info->max_rx_queues < r->queues || info->max_tx_queues < r->queues)
        return fail(why, SPR_E_UNSUPPORTED,
                    "port '%s' has %u receive and %u transmit queues, %u are asked for: give the device more "
                    "(af_packet: qpairs=) or the router fewer",
                    p->name, info->max_rx_queues, info->max_tx_queues, r->queues);
    if (r->queues > 1 && info->flow_type_rss_offloads & hash) {
        conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
        conf.rx_adv_conf.rss_conf.rss_hf = info->flow_type_rss_offloads & hash;
    }
    conf.intr_conf.rxq = p->interrupts;
    if (info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE)
        conf.txmode.offloads |= RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
    int rc = rte_eth_dev_configure(p->id, (uint16_t)r->queues, (uint16_t)r->queues, &conf);
    if (rc)
        return fail(why, SPR_E_IO, "port '%s': %s", p->name, rte_strerror(-rc));
    return SPR_OK;
}

static int start(struct spr_dpdk *r, struct dp_port *p, bool promiscuous, struct dp_why *why) {
    uint16_t rx = RING, tx = RING;
    int socket = rte_eth_dev_socket_id(p->id), rc = rte_eth_dev_adjust_nb_rx_tx_desc(p->id, &rx, &tx);
    for (uint16_t q = 0; q < r->queues && !rc; q++) {
        rc = rte_eth_rx_queue_setup(p->id, q, rx, (unsigned)socket, NULL, r->pool);
        if (!rc)
            rc = rte_eth_tx_queue_setup(p->id, q, tx, (unsigned)socket, NULL);
    }
    if (!rc)
        rc = rte_eth_dev_start(p->id);
    struct rte_ether_addr mac;
    if (!rc)
        rc = rte_eth_macaddr_get(p->id, &mac);
    if (rc)
        return fail(why, SPR_E_IO, "port '%s' cannot be started: %s", p->name, rte_strerror(-rc));
    memcpy(p->mac, mac.addr_bytes, 6);
    if (promiscuous) { /* a device without it (ring) takes everything anyway */
        rc = rte_eth_promiscuous_enable(p->id);
        if (rc && rc != -ENOTSUP)
            return fail(why, SPR_E_IO, "port '%s': promiscuous mode: %s", p->name, rte_strerror(-rc));
    }
    return SPR_OK;
}

static int set_up(struct spr_dpdk *r, struct dp_port *p, const struct rte_eth_dev_info *info, bool promiscuous,
                  struct dp_why *why) {
    int rc = configure(r, p, info, why);
    return rc < 0 ? rc : start(r, p, promiscuous, why);
}

static int open_one(struct spr_dpdk *r, const char *name, bool promiscuous, struct dp_why *why) {
    struct dp_port *p = &r->ports[r->port_count];
    struct rte_eth_dev_info info;
    if (!name || strlen(name) >= sizeof p->name)
        return fail(why, SPR_E_ARG, "port %u has no name", r->port_count);
    *p = (struct dp_port){0};
    memcpy(p->name, name, strlen(name));
    if (rte_eth_dev_get_port_by_name(name, &p->id))
        return fail(why, SPR_E_NOT_FOUND, "there is no device '%s': name it to EAL (--vdev=%s,...)", name, name);
    int rc = rte_eth_dev_info_get(p->id, &info);
    if (rc)
        return fail(why, SPR_E_IO, "port '%s': %s", name, rte_strerror(-rc));
    r->port_count++;
    p->interrupts = r->interrupts;
    rc = set_up(r, p, &info, promiscuous, why);
    if (rc == SPR_E_IO && p->interrupts) { /* some devices have too few vectors for it and refuse: then without */
        rte_eth_dev_stop(p->id);
        p->interrupts = false;
        rc = set_up(r, p, &info, promiscuous, why);
    }
    if (rc >= 0)
        forget_early(r, p, info.driver_name);
    return rc;
}

int dp_ports_open(struct spr_dpdk *r, const struct spr_dpdk_opts *o, struct dp_why *why) {
    char name[RTE_MEMPOOL_NAMESIZE];
    unsigned mbufs = (unsigned)o->port_count * r->queues * 2 * RING + r->queues * POOL_CACHE * 2 + 1024;
    snprintf(name, sizeof name, "spr_m_%p", (void *)r); /* names are EAL's, and EAL is one a process */
    r->pool = rte_pktmbuf_pool_create(name, mbufs, POOL_CACHE, 0, RTE_MBUF_DEFAULT_BUF_SIZE, (int)rte_socket_id());
    if (!r->pool)
        return fail(why, SPR_E_NOMEM, "no memory for %u packets: give EAL more (-m, hugepages)", mbufs);
    for (int32_t i = 0; i < o->port_count; i++) {
        int rc = open_one(r, o->ports[i], o->promiscuous, why);
        if (rc < 0)
            return rc;
    }
    for (unsigned i = 0; i < r->port_count; i++)
        r->ports[i].neighbour = r->passes && (i ^ 1) < r->port_count ? (uint16_t)(i ^ 1) : DP_PORT_PASS;
    return SPR_OK;
}

void dp_ports_close(struct spr_dpdk *r) {
    for (unsigned i = 0; i < r->port_count; i++)
        rte_eth_dev_stop(r->ports[i].id);
    r->port_count = 0;
    rte_mempool_free(r->pool);
    r->pool = NULL;
}
