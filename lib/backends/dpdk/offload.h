/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the card does instead of the CPU: which rules it should have, and getting it there all or not at all. No DPDK
 * here; the card is behind a table (offload_rte.c has the real one), so that a mock can fail any call.
 *
 * Rules, lower number first where several match:
 *   1 SYN    TCP SYN without ACK of a spilling service -> CPU: it decides, also about a reused port of a hot flow
 *   1 END    TCP FIN and RST of a service with hot flows -> CPU: it sees them end
 *   2 FLOW   one hot spilled flow -> its shard's VF
 *   3 SERVICE  all of a service -> the primary's VF
 *
 * A card cannot tell a spilled flow without a rule from one of the primary: both look like SERVICE. So a service has
 * its SERVICE rule only while every spilled flow it has is carried by a FLOW rule and no new ones can begin (the first
 * ACK of a new one would go astray); while it spills, what no FLOW rule carries goes through the CPU. The caller
 * applies *before* it publishes a spill.
 */
#ifndef SPR_DPDK_OFFLOAD_H
#define SPR_DPDK_OFFLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dp_offload_kind { DP_OFFLOAD_SYN = 1, DP_OFFLOAD_FIN, DP_OFFLOAD_RST, DP_OFFLOAD_FLOW, DP_OFFLOAD_SERVICE };
#define DP_OFFLOAD_CPU 0xFFFFu /* `vf` of a rule: not to a VF */

/* Addresses and ports as on the wire; no padding: rules are compared as bytes. */
struct dp_offload_rule {
    uint8_t source[16], destination[16];
    uint16_t source_port, destination_port;
    uint8_t kind, ip, protocol, zero;
    /* up to here what it matches, from here where it goes */
    uint16_t vf;
    uint8_t mac[6]; /* destination address that the frame gets; all zero = as it is */
};
#define DP_OFFLOAD_MATCH offsetof(struct dp_offload_rule, vf)

/* The card. Each returns 0 or a negative errno; -ENOTSUP and -ENOSYS: this card never can. */
struct dp_offload_ops {
    int (*create)(void *state, const struct dp_offload_rule *rule, uint64_t *handle);
    int (*destroy)(void *state, uint64_t handle);
    int (*query)(void *state, uint64_t handle, uint64_t *packets); /* since its creation */
};

struct dp_offload_service {
    uint8_t destination[16];
    uint16_t port; /* network order */
    uint8_t ip, protocol;
    uint16_t primary_vf; /* DP_OFFLOAD_CPU = the primary is not behind a VF of this card */
    uint8_t primary_mac[6];
    bool spilling;    /* new flows may go to shards */
    uint64_t spilled; /* flows with an entry, handshakes that may become one included */
};
struct dp_offload_flow { /* a spilled flow that is established */
    uint32_t service;    /* index */
    uint8_t source[16];
    uint16_t source_port;
    uint16_t vf; /* its shard's */
    uint8_t mac[6];
    uint64_t packets; /* that the CPU forwarded since the last apply */
};

struct dp_offload_opts {
    uint32_t services_most, flows_most; /* room; flows_most is the number of FLOW rules that the card may have */
    uint64_t enter;                     /* packets between two applies that make a flow hot; at least 1 */
    uint64_t leave;                     /* packets below which a hot one is hot no more; at most enter */
    uint32_t margin;                    /* a newcomer must have margin % more packets than the hot one it replaces */
};
struct dp_offload_stats {
    uint32_t rules, flows, services;           /* in the card now */
    uint64_t applies, rollbacks, calls_failed; /* since the beginning */
    uint64_t packets;                          /* of FLOW rules, as far as asked */
    bool unsupported;                          /* the card cannot: all goes through the CPU */
    bool unsure;                               /* a rollback failed too: the next apply mends it */
};

struct dp_offload;

/* NULL: out of memory, or options that cannot be. `ops` and `state` must outlive it. */
struct dp_offload *dp_offload_create(const struct dp_offload_ops *ops, void *state, const struct dp_offload_opts *opts);
/* Rules that are left are destroyed first. NULL is fine. */
void dp_offload_destroy(struct dp_offload *o);

/*
 * Make the card's rules follow. All or nothing: when a call fails what was done is undone and the rules are those from
 * before.
 * @return 0; 1 = the card cannot do this, there are no rules and nothing is wrong; or a negative errno. After an error
 * a service that had a SERVICE rule still has it: do not begin to spill it, or call dp_offload_clear first.
 */
int dp_offload_apply(struct dp_offload *o, const struct dp_offload_service *service, uint32_t services,
                     const struct dp_offload_flow *flow, uint32_t flows);
/* No rules. @return 0, or a negative errno: some are left (SERVICE rules are tried first), the next call tries again */
int dp_offload_clear(struct dp_offload *o);
void dp_offload_stats(const struct dp_offload *o, struct dp_offload_stats *out);
/* Packets that the card forwarded for a flow in the last interval; the CPU does not see them, so they keep its entry
 * young. 0 = none. */
uint64_t dp_offload_carried(const struct dp_offload *o, const struct dp_offload_service *service,
                            const struct dp_offload_flow *flow);

#endif
