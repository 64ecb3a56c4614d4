/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Reading a frame. RFC 791 (IPv4), RFC 8200 (IPv6 and its extension headers), RFC 9293 (TCP), RFC 768 (UDP), RFC 792
 * and RFC 4443 (ICMP errors), RFC 9000 and RFC 9369 (QUIC). Each length is held against the frame before it is used;
 * what is believed of a header is what the next hop would believe.
 */
#include "packet.h"

#include <string.h>

enum { ETHER = 14, IP4_LEAST = 20, IP6 = 40, TAGS_MOST = 2, EXTENSIONS_MOST = 8 };
enum { ETHERTYPE_IP4 = 0x0800, ETHERTYPE_IP6 = 0x86dd, ETHERTYPE_8021Q = 0x8100, ETHERTYPE_8021AD = 0x88a8 };
enum {
    P_HOPOPTS = 0,
    P_ICMP = 1,
    P_TCP = 6,
    P_UDP = 17,
    P_ROUTING = 43,
    P_FRAGMENT = 44,
    P_ICMP6 = 58,
    P_DSTOPTS = 60
};

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static uint16_t raw16(const uint8_t *p) {
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Sum over an IPv4 header, checksum included: 0xffff when it is right (RFC 1071). */
static bool sum_is_right(const uint8_t *ip, size_t length) {
    uint32_t sum = 0;
    for (size_t i = 0; i < length; i += 2)
        sum += get16(ip + i);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return sum == 0xffff;
}

/* ---- transport ---- */

/* QUIC's first packet, of a version whose layout we know; anything else is a packet of a flow that exists. */
static bool is_quic_initial(const uint8_t *p, size_t length) {
    if (length < 7 || (p[0] & 0xc0) != 0xc0)
        return false;
    uint32_t version = (uint32_t)get16(p + 1) << 16 | get16(p + 3);
    unsigned type = p[0] >> 4 & 3;
    return (version == 1 && type == 0) || (version == 0x6b3343cf && type == 1);
}

static enum dp_verdict transport(const uint8_t *p, size_t length, struct dp_packet *out) {
    if (out->protocol == P_TCP) {
        if (length < 20)
            return DP_DROP_RUNT;
        size_t header = (size_t)(p[12] >> 4) * 4;
        if (header < 20 || (header > length && !out->first_fragment))
            return DP_DROP_HEADER;
        out->kind = DP_KIND_TCP;
        out->tcp_flags = p[13];
    } else if (out->protocol == P_UDP) {
        if (length < 8)
            return DP_DROP_RUNT;
        uint16_t said = get16(p + 4);
        if (said < 8 || (said > length && !out->first_fragment))
            return DP_DROP_HEADER;
        out->kind = DP_KIND_UDP;
        out->quic_initial = is_quic_initial(p + 8, length - 8);
    } else
        return DP_PASS;
    out->source_port = raw16(p);
    out->destination_port = raw16(p + 2);
    return DP_PASS;
}

/* ---- what an ICMP error is about ---- */

/* The packet inside is one that the service sent: turned round it has the flow's key. Eight bytes of its payload are
 * enough. */
static void turn_round(const uint8_t *inner, size_t length, struct dp_packet *out) {
    size_t header, address = inner[0] >> 4 == 4 ? 4 : 16;
    const uint8_t *from;
    uint8_t protocol;
    if (address == 4) {
        header = (size_t)(inner[0] & 15) * 4;
        if (length < IP4_LEAST || header < IP4_LEAST || length < header + 4 || (get16(inner + 6) & 0x1fff))
            return;
        protocol = inner[9];
        from = inner + 12;
    } else {
        header = IP6;
        if (inner[0] >> 4 != 6 || length < IP6 + 4)
            return;
        protocol = inner[6];
        from = inner + 8;
    }
    if ((address == 4) != (out->ip == 4) || (protocol != P_TCP && protocol != P_UDP))
        return;
    memset(out->source, 0, 16);
    memset(out->destination, 0, 16);
    memcpy(out->destination, from, address);
    memcpy(out->source, from + address, address);
    out->destination_port = raw16(inner + header);
    out->source_port = raw16(inner + header + 2);
    out->protocol = protocol;
    out->kind = DP_KIND_ICMP_ERROR;
}

static void icmp(const uint8_t *p, size_t length, struct dp_packet *out) {
    static const uint8_t four[] = {3, 4, 5, 11, 12}; /* unreachable, quench, redirect, time exceeded, parameter */
    bool error = false;
    if (length < 8 + IP4_LEAST)
        return;
    for (size_t i = 0; i < sizeof four && out->protocol == P_ICMP; i++)
        error |= p[0] == four[i];
    if (out->protocol == P_ICMP6)
        error = p[0] < 128;
    if (error)
        turn_round(p + 8, length - 8, out);
}

static enum dp_verdict payload(const uint8_t *frame, size_t end, bool later, struct dp_packet *out) {
    const uint8_t *p = frame + out->l4;
    size_t length = end - out->l4;
    if (later) {
        out->kind = DP_KIND_FRAGMENT_LATER;
        return DP_PASS;
    }
    if (out->protocol == P_ICMP || out->protocol == P_ICMP6) {
        icmp(p, length, out);
        return DP_PASS;
    }
    return transport(p, length, out);
}

/* ---- network ---- */

static enum dp_verdict ip4(const uint8_t *frame, size_t length, struct dp_packet *out) {
    const uint8_t *ip = frame + out->l3;
    size_t there = length - out->l3;
    if (there < IP4_LEAST)
        return DP_DROP_RUNT;
    size_t header = (size_t)(ip[0] & 15) * 4, said = get16(ip + 2);
    if (ip[0] >> 4 != 4 || header < IP4_LEAST || said < header)
        return DP_DROP_HEADER;
    if (there < said)
        return DP_DROP_RUNT;
    if (!sum_is_right(ip, header))
        return DP_DROP_CHECKSUM;
    uint16_t part = get16(ip + 6);
    out->ip = 4;
    out->ip_length = (uint16_t)said;
    out->l4 = (uint16_t)(out->l3 + header);
    out->protocol = ip[9];
    out->ttl = ip[8];
    out->dont_fragment = part & 0x4000;
    memcpy(out->source, ip + 12, 4);
    memcpy(out->destination, ip + 16, 4);
    if (part & 0x3fff)
        out->fragment = raw16(ip + 4);
    out->first_fragment = (part & 0x3fff) == 0x2000;
    return payload(frame, out->l3 + said, part & 0x1fff, out);
}

/* Over the extension headers to the transport; what cannot be read past (ESP, unknown) is a protocol without ports. */
static enum dp_verdict ip6(const uint8_t *frame, size_t length, struct dp_packet *out) {
    const uint8_t *ip = frame + out->l3;
    if (length - out->l3 < IP6)
        return DP_DROP_RUNT;
    size_t end = out->l3 + IP6 + (size_t)get16(ip + 4), at = out->l3 + IP6;
    if (ip[0] >> 4 != 6)
        return DP_DROP_HEADER;
    if (end > length)
        return DP_DROP_RUNT;
    out->ip = 6;
    out->ip_length = (uint16_t)(end - out->l3 > 0xffff ? 0xffff : end - out->l3);
    out->ttl = ip[7];
    out->dont_fragment = true;
    memcpy(out->source, ip + 8, 16);
    memcpy(out->destination, ip + 24, 16);
    uint8_t next = ip[6];
    bool later = false;
    for (int i = 0; i < EXTENSIONS_MOST && !later; i++) {
        if (next != P_HOPOPTS && next != P_ROUTING && next != P_DSTOPTS && next != P_FRAGMENT)
            break;
        if (end - at < 8)
            return DP_DROP_RUNT;
        size_t size = next == P_FRAGMENT ? 8 : 8 + (size_t)frame[at + 1] * 8;
        if (next == P_FRAGMENT) {
            uint16_t part = get16(frame + at + 2);
            memcpy(&out->fragment, frame + at + 4, 4);
            later = part >> 3;
            out->first_fragment = !later && (part & 1);
        }
        next = frame[at];
        if (size > end - at)
            return DP_DROP_RUNT;
        at += size;
    }
    out->protocol = next;
    out->l4 = (uint16_t)at;
    return payload(frame, end, later, out);
}

/* ---- the frame ---- */

/* The short way for plain TCP; says the same as the long one (fuzz_packet compares them). */
static void plain_tcp(const uint8_t *frame, struct dp_packet *out) {
    const uint8_t *ip = frame + ETHER, *tcp = ip + IP4_LEAST;
    *out = (struct dp_packet){.source_port = raw16(tcp),
                              .destination_port = raw16(tcp + 2),
                              .l3 = ETHER,
                              .l4 = ETHER + IP4_LEAST,
                              .ip_length = get16(ip + 2),
                              .kind = DP_KIND_TCP,
                              .ip = 4,
                              .protocol = P_TCP,
                              .tcp_flags = tcp[13],
                              .dont_fragment = ip[6] & 0x40,
                              .ttl = ip[8]};
    memcpy(out->source, ip + 12, 4);
    memcpy(out->destination, ip + 16, 4);
}

enum dp_verdict dp_parse(const uint8_t *frame, size_t length, struct dp_packet *out) {
    if (!dp_is_plain_tcp(frame, length))
        return dp_parse_any(frame, length, out);
    plain_tcp(frame, out);
    return DP_PASS;
}

enum dp_verdict dp_parse_any(const uint8_t *frame, size_t length, struct dp_packet *out) {
    memset(out, 0, sizeof *out);
    if (length < ETHER)
        return DP_DROP_RUNT;
    size_t at = ETHER;
    uint16_t type = get16(frame + 12);
    for (int tags = 0; tags < TAGS_MOST && (type == ETHERTYPE_8021Q || type == ETHERTYPE_8021AD); tags++) {
        if (length < at + 4)
            return DP_DROP_RUNT;
        if (!tags)
            out->vlan = get16(frame + at) & 0xfff;
        type = get16(frame + at + 2);
        at += 4;
    }
    out->l3 = (uint16_t)at;
    if (type == ETHERTYPE_IP4)
        return ip4(frame, length, out);
    if (type == ETHERTYPE_IP6)
        return ip6(frame, length, out);
    return DP_PASS;
}
