/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a frame is: Ethernet (802.1Q, 802.1ad), IPv4 and IPv6, TCP, UDP, QUIC's first packet, ICMP errors, fragments.
 * Reads nothing past `length`, writes nothing into the frame. No DPDK here: unit tests and the fuzz target link it
 * alone.
 */
#ifndef SPR_DPDK_PACKET_H
#define SPR_DPDK_PACKET_H

#include "counters.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

enum dp_kind {
    DP_KIND_OTHER, /* not IP, or a protocol without ports: belongs to no service */
    DP_KIND_TCP,
    DP_KIND_UDP,
    DP_KIND_ICMP_ERROR,     /* source and destination are those of the flow it is about, as its client sends them */
    DP_KIND_FRAGMENT_LATER, /* IP fragment without ports */
};
enum { DP_FIN = 1, DP_SYN = 2, DP_RST = 4, DP_ACK = 16 };

/* Addresses are as on the wire (network order): IPv4 in the first four bytes, the rest zero. */
struct dp_packet {
    uint8_t source[16], destination[16];
    uint16_t source_port, destination_port; /* network order */
    uint16_t l3, l4;    /* offsets of the headers in the frame; of the outer ones in an ICMP error */
    uint16_t ip_length; /* IP header and payload */
    uint16_t vlan;      /* id of the outer tag, 0 = none */
    uint32_t fragment;  /* identification of the datagram (network order) when it is a fragment */
    uint8_t kind;       /* ::dp_kind */
    uint8_t ip;         /* 4, 6 or 0 */
    uint8_t protocol;   /* IPPROTO_*, of the inner packet in an ICMP error */
    uint8_t tcp_flags;
    bool first_fragment; /* with ports, more to come */
    bool dont_fragment;
    bool quic_initial; /* RFC 9000 17.2.2 and 9369: long header, Initial, a known version */
    uint8_t ttl;
};

/* Sum over twenty bytes, in the byte order of the machine: whether it is all ones is the same in both (RFC 1071 2B). */
static inline bool dp_sum20_is_right(const uint8_t *ip) {
    uint32_t w[5];
    memcpy(w, ip, sizeof w);
    uint64_t sum = (uint64_t)w[0] + w[1] + w[2] + w[3] + w[4];
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (sum & 0xffff) + (sum >> 16) == 0xffff;
}
/* What nearly every frame is: no tag, an IPv4 header of twenty bytes that is right, a whole TCP segment. */
static inline bool dp_is_plain_tcp(const uint8_t *frame, size_t length) {
    const uint8_t *ip = frame + 14;
    if (length < 54 || frame[12] != 8 || frame[13] != 0 || ip[0] != 0x45 || ip[9] != 6 || (ip[6] & 0x3f) || ip[7])
        return false;
    size_t said = (size_t)(ip[2] << 8 | ip[3]), header = (size_t)(ip[32] >> 4) * 4;
    return said <= length - 14 && said >= 20 + header && header >= 20 && dp_sum20_is_right(ip);
}

/* @return DP_PASS when the packet could be read (kind says what it is), else the reason DP_DROP_* */
enum dp_verdict dp_parse(const uint8_t *frame, size_t length, struct dp_packet *out);
/* The same without the short way for plain TCP over IPv4; for the test that holds them against each other. */
enum dp_verdict dp_parse_any(const uint8_t *frame, size_t length, struct dp_packet *out);

#endif
