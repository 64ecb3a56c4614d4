/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The card of offload.h behind DPDK's rte_flow. Control thread only: creating a rule takes a card up to milliseconds.
 */
#ifndef SPR_DPDK_OFFLOAD_RTE_H
#define SPR_DPDK_OFFLOAD_RTE_H

#include "offload.h"

#define DP_OFFLOAD_QUEUES 64

/* Zeroed but for the first three; lives as long as the offload. */
struct dp_offload_port {
    uint16_t port;      /* DPDK's number of it; started */
    uint16_t queues;    /* RX queues that the router polls, 0 .. queues - 1 */
    uint64_t rss_types; /* as the port was configured: what a rule sends to the CPU must meet its flow's own lcore */
    char why[128];      /* what the driver said when it last refused, "" = it did not */
};

/* `state` is a struct dp_offload_port. A driver without rte_flow answers -ENOSYS or -ENOTSUP, and the router goes on
 * without. */
const struct dp_offload_ops *dp_offload_rte(void);

#endif
