/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * From verdict to bytes: where a backend stands and how a packet gets there. Headers are made once, when a backend is
 * described; a packet costs a copy and two or three fields (RFC 1624 where a checksum changes).
 */
#ifndef SPR_DPDK_REWRITE_H
#define SPR_DPDK_REWRITE_H

#include "packet.h"

enum dp_action {
    DP_ACT_PASS,   /* as it is, out of the port */
    DP_ACT_L2,     /* MAC addresses only: direct server return on one segment */
    DP_ACT_VXLAN,  /* RFC 7348, whole frame with inner MAC addresses set */
    DP_ACT_GENEVE, /* RFC 8926, as VXLAN */
    DP_ACT_IPIP,   /* RFC 2003, 2473, 4213: IP in IP */
    DP_ACT_DNAT,   /* destination address and port */
};

/* How a backend is reached, as the control side says it. Addresses in network order, 4 or 16 bytes. */
struct dp_path {
    int32_t action;                                        /* ::dp_action */
    uint16_t port;                                         /* port of the router it leaves by */
    uint16_t vlan;                                         /* tag on the outer frame, 0 = none */
    uint16_t mtu;                                          /* largest IP packet of the outer network, 0 = 1500 */
    uint8_t outer_ip;                                      /* 4 or 6: VXLAN, Geneve, IPIP */
    uint8_t inner_ip;                                      /* 4 or 6: DNAT */
    uint8_t source_mac[6], destination_mac[6];             /* outer frame */
    uint8_t inner_source_mac[6], inner_destination_mac[6]; /* VXLAN, Geneve */
    uint8_t source[16], destination[16];                   /* outer addresses; DNAT: destination */
    uint16_t destination_port; /* DNAT: network order, 0 = unchanged; else UDP, 0 = 4789/6081 */
    uint32_t vni;              /* 24 bits */
};

/* What the short way does itself. */
enum dp_quick { DP_QUICK_NONE, DP_QUICK_L2 /* no tag */, DP_QUICK_VXLAN /* over IPv4, no tag */ };
enum { DP_VXLAN_BYTES = 14 + 20 + 8 + 8 };

struct dp_rewrite {         /* two cache lines; made by dp_rewrite_make */
    uint8_t action, length; /* length: bytes put before the packet, inner Ethernet header not counted */
    uint8_t l3, l4;         /* offsets in `header` */
    uint8_t outer_ip, inner_ip;
    uint8_t quick; /* ::dp_quick */
    uint16_t port;
    uint16_t mtu;         /* largest IP packet that still fits once everything is added, 0 = any */
    uint16_t vlan;        /* L2 and DNAT: tag to set, 0 = as it is */
    uint16_t sum;         /* of the outer IPv4 header without length and type of service */
    uint16_t target_port; /* DNAT */
    uint8_t mac[12];      /* destination and source: of the inner frame of a tunnel, else of the frame */
    uint8_t header[94];   /* outer Ethernet to VXLAN; DNAT: the address */
} __attribute__((aligned(64)));

/* @return 0, or -1 and *why (a field that contradicts the action) */
int dp_rewrite_make(const struct dp_path *path, struct dp_rewrite *out, const char **why);

/*
 * Make the packet ready to leave. `frame` has `room` bytes before it. `entropy` chooses the UDP source port of a
 * tunnel.
 * @param grow  bytes added before the frame (negative: taken away)
 * @return DP_PASS, or DP_REPLY when the packet was too big and the frame now is the answer to its sender (ICMP
 *         fragmentation needed, RFC 1191; packet too big, RFC 8201; *length is its length), or DP_DROP_*
 */
enum dp_verdict dp_rewrite(const struct dp_rewrite *w, uint8_t *frame, uint32_t *length, uint32_t room,
                           const struct dp_packet *packet, uint16_t entropy, int32_t *grow);
static inline void dp_put16(uint8_t *p, uint32_t v) {
    uint16_t is = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap16((uint16_t)v) : (uint16_t)v;
    memcpy(p, &is, 2);
}
/*
 * DP_QUICK_VXLAN: an untagged frame whose IP packet of `ip_length` bytes fits, with DP_VXLAN_BYTES of room before it.
 * @return length of what leaves
 */
static inline uint32_t dp_rewrite_vxlan(const struct dp_rewrite *w, uint8_t *frame, uint32_t ip_length, uint8_t tos,
                                        uint16_t entropy) {
    uint8_t *h = frame - DP_VXLAN_BYTES;
    uint32_t udp = 8 + 8 + 14 + ip_length, sum = w->sum + 0x4500u + tos + udp + 20;
    memcpy(frame, w->mac, 12);
    memcpy(h, w->header, DP_VXLAN_BYTES);
    h[15] = tos;
    dp_put16(h + 16, udp + 20);
    dp_put16(h + 24, ~(sum + (sum << 16 | sum >> 16)) >> 16); /* both halves and their carry */
    dp_put16(h + 34, 0xc000 | (entropy & 0x3fff)); /* RFC 7348: a source port per flow, from the dynamic range */
    dp_put16(h + 38, udp);
    return DP_VXLAN_BYTES + 14 + ip_length;
}
/* The answer of a server behind DNAT: source set back to the service's. Frame and checksums in place. */
void dp_rewrite_return(uint8_t *frame, const struct dp_packet *packet, const uint8_t *source, uint16_t port);
/*
 * Loops: what a router on a shard's host sends to the primary says so in its own header, which every way there leaves
 * as it is, also a kernel that takes a tunnel apart. DSCP 3 is for local use (RFC 2474 6, pool 2); ECN stays.
 * @return false when it says so already
 */
bool dp_rewrite_mark(uint8_t *frame, const struct dp_packet *packet);
bool dp_rewrite_is_marked(const uint8_t *frame, const struct dp_packet *packet);
/* A reset in answer to a TCP segment (RFC 9293 3.10.7.1), in place. */
void dp_rewrite_reset(uint8_t *frame, uint32_t *length, const struct dp_packet *packet);

#endif
