/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file backend-dpdk.h
 * @ingroup route
 * @brief The data plane in process: the primary is the default and only spilled flows carry state.
 *
 * The host program owns EAL (rte_eal_init) and the ports' devices; it opens a router on them, describes services and
 * backends between spr_dpdk_begin and spr_dpdk_commit, and lets lcores run spr_dpdk_poll, by itself or with
 * spr_dpdk_start. A *backend* is what a packet is sent to: a primary or a shard.
 *
 * Threads: the calls below come from one thread at a time, the control thread, and never wait for a packet. Only
 * spr_dpdk_poll runs on lcores, one queue on one lcore. Texts are copied. Failures leave a record in the context.
 * @{
 */
#ifndef SHARDPREDICT_BACKEND_DPDK_H
#define SHARDPREDICT_BACKEND_DPDK_H

#include <shardpredict/ops/router.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A router. Opaque. */
typedef struct spr_dpdk spr_dpdk;

/** How a router is opened. */
struct spr_dpdk_opts {
    size_t size;              /**< sizeof this struct, set by the caller */
    const char *const *ports; /**< names of EAL's devices ("net_af_xdp0"), in the order that paths number them */
    int32_t port_count;       /**< 1..16 */
    int32_t queues;           /**< receive and transmit queues of each port = lcores, 0 = 1 */
    uint64_t flows;           /**< spilled flows that each queue can hold of IPv4 and of IPv6, 0 = 65536 */
    const char *region;       /**< directory for the flow tables (hugetlbfs, /dev/shm): they outlive the process; NULL: its own memory */
    const char *name;         /**< of the tables in `region`, NULL = "router" */
    uint64_t seed;            /**< of the hashes, 0 = from the kernel's random numbers */
    int32_t pass;             /**< frames of no service: 0 = on to the port's neighbour (0 and 1, 2 and 3), SPR_NONE = dropped and counted */
    int32_t promiscuous;      /**< 1: ports take every frame */
    int32_t sleep_us;         /**< longest sleep of an idle lcore, 0 = 100, SPR_NONE = never sleep */
    int32_t interrupts;       /**< idle lcores: 0 = wait for the devices' interrupts where all ports have them, SPR_NONE = only nap */
};
/** Open a router: ports are set up and started, nothing is forwarded yet. */
SPR_API int spr_dpdk_open(spr_context *ctx, const struct spr_dpdk_opts *opts, spr_dpdk **out);
/** Stop its lcores and ports, free it. Flow tables in a region stay. NULL is fine. */
SPR_API void spr_dpdk_close(spr_dpdk *r);

/** How a packet gets to a backend. */
enum spr_dpdk_action {
    SPR_DPDK_L2 = 0,     /**< MAC addresses only: same segment, direct server return */
    SPR_DPDK_VXLAN = 1,  /**< RFC 7348 */
    SPR_DPDK_GENEVE = 2, /**< RFC 8926 */
    SPR_DPDK_IPIP = 3,   /**< IP in IP: RFC 2003, RFC 2473 */
    SPR_DPDK_DNAT = 4,   /**< destination address and port; answers must come back through the router */
    SPR_DPDK_PASS = 5    /**< as it is */
};
/** A primary or a shard. Texts: "02:00:00:00:00:01", "192.0.2.1", "2001:db8::1"; NULL where the action needs none. */
struct spr_dpdk_backend {
    size_t size;                  /**< sizeof this struct, set by the caller */
    const char *name;             /**< unique among backends */
    int32_t action;               /**< ::spr_dpdk_action */
    int32_t port;                 /**< port it leaves by, from 0 */
    int32_t vlan;                 /**< tag of the (outer) frame, 0 = none */
    int32_t mtu;                  /**< of the outer network, bytes of an IP packet, 0 = 1500 for tunnels, unchecked else */
    const char *mac;              /**< next hop */
    const char *source_mac;       /**< NULL: the port's */
    const char *inner_mac;        /**< VXLAN, Geneve: of the server */
    const char *inner_source_mac; /**< VXLAN, Geneve: NULL: as source_mac */
    const char *address;          /**< end of the tunnel; DNAT: the server */
    const char *source_address;   /**< tunnels: ours */
    int32_t service_port;         /**< DNAT: the server's port, 0 = unchanged; VXLAN, Geneve: UDP port, 0 = the standard one */
    int32_t vni;                  /**< VXLAN, Geneve: 0..16777215 */
};
/** A service: an address, a protocol and a port. */
struct spr_dpdk_service {
    size_t size;           /**< sizeof this struct, set by the caller */
    const char *name;      /**< unique among services */
    const char *address;   /**< IPv4 or IPv6 */
    int32_t protocol;      /**< 6 = TCP, 17 = UDP */
    int32_t port;          /**< 1..65535 */
    const char *primary;   /**< name of a backend */
    int32_t on_dead;       /**< ::spr_dead_policy: what becomes of a dead shard's flows */
    int32_t quic;          /**< 1: UDP that opens flows by Initial packets only (RFC 9000) */
    int32_t pair;          /**< 1: one of two routers: unknown flows go by the pick table, hosts send them back */
    int32_t host;          /**< 1: this router stands on the shard's host: what it does not know goes to the primary once, marked by DSCP 3 */
    uint64_t flows_most;   /**< spilled flows per queue, 0 = as the table has room */
    double idle_s;         /**< until a silent flow is forgotten, 0 = 300 (TCP), 60 (UDP); at most 400 */
    double learn_s;        /**< UDP: for so long after spill starts, flows seen stay with the primary, 0 = 10 */
};
/** Begin a change. Changes are seen by nobody until commit. */
SPR_API int spr_dpdk_begin(spr_dpdk *r);
/** Add or change a backend. */
SPR_API int spr_dpdk_backend_set(spr_dpdk *r, const struct spr_dpdk_backend *backend);
/** Take a backend away; its flows go by its services' policy. @return SPR_E_BUSY while a service names it */
SPR_API int spr_dpdk_backend_remove(spr_dpdk *r, const char *name);
/** Add or change a service. */
SPR_API int spr_dpdk_service_set(spr_dpdk *r, const struct spr_dpdk_service *service);
/** Take a service away: its packets are of no service from then on. */
SPR_API int spr_dpdk_service_remove(spr_dpdk *r, const char *name);
/**
 * Spill: share of new flows per backend (each 0..1, sum at most 1; the rest is the primary's).
 * @param ramp_per_s the share moves towards this by at most so much a second, 0 = at once
 */
SPR_API int spr_dpdk_spill_set(spr_dpdk *r, const char *service, const char *const *backends, const double *weights,
                               size_t count, double ramp_per_s);
/**
 * What a spike may spill between two changes, without being asked: share of new flows per backend, at most (each 0..1, sum
 * at most 1). Whenever spr_dpdk_step sees a jump in the service's counters (route-spike.h: its latency, its false alarms),
 * so much is spilled that the primary gets no more new flows than before, until the alarm ends or a change asks for more.
 * Backends should be warm. `count` 0: nothing, as at first.
 */
SPR_API int spr_dpdk_spike_set(spr_dpdk *r, const char *service, const char *const *backends, const double *weights,
                               size_t count);
/** No new flows to a backend; the ones it has are taken out after `deadline_s`, 0 = never. */
SPR_API int spr_dpdk_drain(spr_dpdk *r, const char *backend, double deadline_s);
/** A backend is dead (0) or lives (1): its flows go by their service's policy from the commit on. */
SPR_API int spr_dpdk_alive(spr_dpdk *r, const char *backend, int alive);
/**
 * A service's primary is dead and a backend has its place: what would go to the primary goes there. NULL: the primary has its
 * place again. @return SPR_E_NOT_FOUND
 */
SPR_API int spr_dpdk_promote(spr_dpdk *r, const char *service, const char *backend);
/** Forget the change. */
SPR_API void spr_dpdk_revert(spr_dpdk *r);
/**
 * Check the change as a whole and put it in force. On failure nothing changed and the change is open still.
 * @param generation number of the state in force from now on
 */
SPR_API int spr_dpdk_commit(spr_dpdk *r, struct spr_time now, uint64_t *generation);
/** Have all lcores switched to this generation? 1, 0 or an error. Never waits. */
SPR_API int spr_dpdk_switched(spr_dpdk *r, uint64_t generation);
/** What time brings: ramps, drains' ends, spikes, services that need no table any more. Call it every 50 ms or so. */
SPR_API int spr_dpdk_step(spr_dpdk *r, struct spr_time now);

/** One round of a queue: receive, decide, send. @return packets received. On one lcore, always the same one. */
SPR_API int spr_dpdk_poll(spr_dpdk *r, int32_t queue);
/** Run spr_dpdk_poll on EAL's worker lcores, one a queue, sleeping while idle. */
SPR_API int spr_dpdk_start(spr_dpdk *r);
/** Stop what spr_dpdk_start began. */
SPR_API void spr_dpdk_stop(spr_dpdk *r);

/** Counters of a service; sums over lcores. */
struct spr_dpdk_service_stats {
    size_t size;               /**< sizeof this struct, set by the caller */
    uint64_t packets;          /**< received for it */
    uint64_t bytes;            /**< of them */
    uint64_t spilled_packets;  /**< sent to shards */
    uint64_t spilled_bytes;    /**< of them */
    uint64_t opened;           /**< new flows seen */
    uint64_t spilled;          /**< new flows sent to shards */
    uint64_t repeated;         /**< SYNs sent again */
    uint64_t answered;         /**< spilled connections whose first ACK came */
    uint64_t flows;            /**< spilled flows in the tables now */
    double share;              /**< share of new flows that goes to shards now */
    int32_t mode;              /**< 0 normal, 1 spill */
    int32_t reserved;          /**< 0 */
    uint64_t waiting;          /**< connections spilled in the last 4 s whose first ACK has not come */
};
/** Counters of a service. */
SPR_API int spr_dpdk_service_stats(spr_dpdk *r, const char *service, struct spr_dpdk_service_stats *out);
/** Number of a router's counters; the first verdicts of which each packet has exactly one. */
SPR_API int32_t spr_dpdk_counter_count(void);
/** Name of a counter and what it counts. @return NULL past the last */
SPR_API const char *spr_dpdk_counter_name(int32_t counter, const char **help, int *is_verdict);
/** Value of a counter, sum over lcores; -1 packets received, -2 bytes. */
SPR_API uint64_t spr_dpdk_counter(const spr_dpdk *r, int32_t counter);
/** All counters as OpenMetrics text. Free with spr_dpdk_text_free. */
SPR_API int spr_dpdk_metrics(spr_dpdk *r, char **out);
/** Free a text. NULL is fine. */
SPR_API void spr_dpdk_text_free(char *text);
/** Share of the time its lcores worked since the last call, 0..1. */
SPR_API double spr_dpdk_busy(spr_dpdk *r);
/** Share of a processor that each of its lcores used since the last call, 0..1, what idling costs included; those of spr_dpdk_start. */
SPR_API double spr_dpdk_cpu(spr_dpdk *r);
/** How an lcore waits that has had nothing to do for some milliseconds. */
enum spr_dpdk_way {
    SPR_DPDK_WAIT_POLL = 0,     /**< it does not: `sleep_us` is SPR_NONE */
    SPR_DPDK_WAIT_NAP = 1,      /**< naps of at most `sleep_us` */
    SPR_DPDK_WAIT_INTERRUPT = 2 /**< until a packet comes, 10 ms at a time */
};
/** How an lcore waits, and how often it did. */
struct spr_dpdk_idle {
    size_t size;         /**< sizeof this struct, set by the caller */
    int32_t way;         /**< ::spr_dpdk_way */
    int32_t reserved;    /**< 0 */
    const char *lacking; /**< the port without receive interrupts for which it naps; NULL: none, or they were not asked for */
    uint64_t waits;      /**< sleeps until an interrupt or their longest time */
    uint64_t woken;      /**< those that a device ended */
};
/** How a queue's lcore waits. */
SPR_API int spr_dpdk_idle(const spr_dpdk *r, int32_t queue, struct spr_dpdk_idle *out);

/** A flow of a dump. */
struct spr_dpdk_flow {
    size_t size;         /**< sizeof this struct as the library knows it */
    const char *service; /**< name, or "?" when it is gone */
    const char *backend; /**< name, "?" or, for flows learnt as the primary's, "primary" */
    char source[48];     /**< address as text */
    int32_t port;        /**< source port */
    int32_t queue;       /**< whose table it is in */
    int32_t closing;     /**< 1: FIN or RST was seen */
    int32_t reserved;    /**< 0 */
    double quiet_s;      /**< since its last packet, to 2 s */
};
/** Takes a flow; below 0 ends the dump with that code. */
typedef int (*spr_dpdk_flow_fn)(void *user, const struct spr_dpdk_flow *flow);
/**
 * Walk over the flows of a service (NULL: of all). The lcores are asked for a copy, piece by piece, and go on; flows that
 * come or go meanwhile may or may not be in it.
 */
SPR_API int spr_dpdk_flows(spr_dpdk *r, const char *service, spr_dpdk_flow_fn fn, void *user);
/**
 * Copy packets of a source address (NULL: all) of a service (NULL: all) into a pcap file until `packets` are written,
 * or spr_dpdk_capture(r, NULL, ...) ends it. As they came in; at most what an lcore's ring holds between two steps.
 */
SPR_API int spr_dpdk_capture(spr_dpdk *r, const char *file, const char *service, const char *source, uint64_t packets);

/** Names for what a snapshot of routes speaks of. */
struct spr_dpdk_names {
    size_t size;                                                             /**< sizeof this struct, set by the caller */
    spr_dpdk *router;                                                        /**< what it steers */
    const char *(*service)(void *user, int32_t vm);                          /**< service of a VM; NULL = it has none here */
    const char *(*backend)(void *user, int32_t vm, uint64_t shard);          /**< backend of a shard; NULL = cannot be reached from here */
    void *user;                                                              /**< theirs */
};
/** Takes whole snapshots of routes; a promoted shard has its primary's place as long as a snapshot says so. Config: struct spr_dpdk_names. Steps inside publish and collect. */
SPR_API const struct spr_router_ops *spr_dpdk_router(void);

#ifdef __cplusplus
}
#endif
/** @} */
#endif
