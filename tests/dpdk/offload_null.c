/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The offload on a port whose driver has no rte_flow (net_null): it says so, there are no rules, and nothing is wrong.
 * Prints TAP. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "offload_rte.h"

static int number, wrong;

static void check(int good, const char *sentence) {
    printf("%s %d - %s\n", good ? "ok" : "not ok", ++number, sentence);
    wrong |= !good;
}

static int start_port(void) {
    struct rte_eth_conf conf;
    memset(&conf, 0, sizeof conf);
    struct rte_mempool *pool = rte_pktmbuf_pool_create("offload", 1023, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
    return pool && !rte_eth_dev_configure(0, 1, 1, &conf) &&
           !rte_eth_rx_queue_setup(0, 0, 64, SOCKET_ID_ANY, NULL, pool) &&
           !rte_eth_tx_queue_setup(0, 0, 64, SOCKET_ID_ANY, NULL) && !rte_eth_dev_start(0);
}

int main(int argc, char **argv) {
    char *eal[] = {argv[0],
                   "--no-huge",
                   "-m",
                   "64",
                   "--no-pci",
                   "--no-telemetry",
                   "--log-level=1",
                   "-l",
                   "0",
                   "--vdev=net_null0",
                   "--file-prefix=spr-offload",
                   NULL};
    (void)argc;
    if (rte_eal_init(11, eal) < 0 || !start_port()) {
        printf("1..0 # SKIP DPDK does not start here\n");
        return 0;
    }
    struct dp_offload_port port = {.port = 0, .queues = 1, .rss_types = RTE_ETH_RSS_IP};
    struct dp_offload_opts opts = {.services_most = 1, .flows_most = 4, .enter = 10};
    struct dp_offload_service s = {.destination = {10, 0, 0, 1}, .port = 80, .ip = 4, .protocol = 6, .primary_vf = 1};
    struct dp_offload_stats stats;
    struct dp_offload *o = dp_offload_create(dp_offload_rte(), &port, &opts);
    check(o != NULL, "an offload is made");
    check(o && dp_offload_apply(o, &s, 1, NULL, 0) == 1, "a driver without rte_flow is no error");
    if (o)
        dp_offload_stats(o, &stats);
    check(o && stats.unsupported && !stats.rules, "its statistics say that all goes through the CPU");
    check(port.why[0] != 0, "and why");
    printf("# %s\n", port.why);
    check(o && dp_offload_apply(o, &s, 1, NULL, 0) == 1, "it stays so");
    dp_offload_destroy(o);
    rte_eth_dev_stop(0);
    rte_eal_cleanup();
    printf("1..%d\n", number);
    return wrong;
}
