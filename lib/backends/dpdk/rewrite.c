/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Tunnels are a copy of a prebuilt header and three fields; checksums that change are changed by their difference (RFC
 * 1624). The outer header takes over the inner type of service with its ECN bits (RFC 6040, as a normal-mode ingress).
 */
#include "rewrite.h"

#include <string.h>

enum { ETHER = 14, TAG = 4, IP4 = 20, IP6 = 40, UDP = 8, VXLAN = 8, GENEVE = 8, TTL = 64 };
enum { P_IPIP = 4, P_TCP = 6, P_IP6 = 41, P_ICMP6 = 58, P_UDP = 17 };

enum { ECN = 3, MARK = 3 << 2 }; /* of the type of service */

static void put16(uint8_t *p, uint32_t v) {
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}
static uint32_t get16(const uint8_t *p) { return (uint32_t)(p[0] << 8 | p[1]); }
static uint32_t fold(uint64_t sum) {
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint32_t)sum;
}
static uint64_t sum_of(const uint8_t *p, size_t n) {
    uint64_t sum = 0;
    for (size_t i = 0; i + 1 < n; i += 2)
        sum += get16(p + i);
    return sum + (n & 1 ? (uint64_t)p[n - 1] << 8 : 0);
}

/* ---- making ---- */

static bool is_tunnel(int action) { return action == DP_ACT_VXLAN || action == DP_ACT_GENEVE || action == DP_ACT_IPIP; }

static const char *check(const struct dp_path *p) {
    static const uint8_t none[6];
    if (p->action < DP_ACT_PASS || p->action > DP_ACT_DNAT)
        return "no such action";
    if (p->vlan > 4094)
        return "VLAN numbers are 1 to 4094";
    if (p->action != DP_ACT_PASS && !memcmp(p->destination_mac, none, 6))
        return "it has no MAC address to send to";
    if (is_tunnel(p->action) && p->outer_ip != 4 && p->outer_ip != 6)
        return "a tunnel needs outer addresses";
    if ((p->action == DP_ACT_VXLAN || p->action == DP_ACT_GENEVE) && p->vni >> 24)
        return "a VNI has 24 bits";
    if ((p->action == DP_ACT_VXLAN || p->action == DP_ACT_GENEVE) && !memcmp(p->inner_destination_mac, none, 6))
        return "a tunnel of frames needs the inner MAC address of its end";
    if (p->action == DP_ACT_DNAT && p->inner_ip != 4 && p->inner_ip != 6)
        return "address translation needs an address";
    if (p->mtu && p->mtu < 576)
        return "the MTU is below 576";
    return NULL;
}

static uint8_t *put_ether(const struct dp_path *p, struct dp_rewrite *out) {
    uint8_t *h = out->header;
    memcpy(h, p->destination_mac, 6);
    memcpy(h + 6, p->source_mac, 6);
    h += 12;
    if (p->vlan) {
        put16(h, 0x8100);
        put16(h + 2, p->vlan);
        h += TAG;
    }
    put16(h, p->outer_ip == 4 ? 0x0800 : 0x86dd);
    return h + 2;
}

static uint8_t *put_ip(const struct dp_path *p, uint8_t protocol, uint8_t *h) {
    if (p->outer_ip == 4) {
        memset(h, 0, IP4);
        h[0] = 0x45;
        h[6] = 0x40; /* don't fragment: a tunnel that fragments loses half of what it carries */
        h[8] = TTL;
        h[9] = protocol;
        memcpy(h + 12, p->source, 4);
        memcpy(h + 16, p->destination, 4);
        return h + IP4;
    }
    memset(h, 0, IP6);
    h[0] = 0x60;
    h[6] = protocol;
    h[7] = TTL;
    memcpy(h + 8, p->source, 16);
    memcpy(h + 24, p->destination, 16);
    return h + IP6;
}

static uint8_t *put_udp(const struct dp_path *p, uint8_t *h) {
    memset(h, 0, UDP + VXLAN);
    put16(h + 2, p->action == DP_ACT_VXLAN ? 4789 : 6081);
    if (p->destination_port)
        memcpy(h + 2, &p->destination_port, 2);
    uint8_t *v = h + UDP; /* the UDP checksum stays 0: RFC 7348 section 5, RFC 6935 over IPv6 */
    if (p->action == DP_ACT_VXLAN)
        v[0] = 0x08;
    else
        put16(v + 2, 0x6558); /* Geneve: Ethernet inside */
    v[4] = (uint8_t)(p->vni >> 16);
    v[5] = (uint8_t)(p->vni >> 8);
    v[6] = (uint8_t)p->vni;
    return h + UDP + VXLAN;
}

static void make_tunnel(const struct dp_path *p, struct dp_rewrite *out, uint8_t inner) {
    uint8_t *h = put_ether(p, out);
    bool udp = p->action != DP_ACT_IPIP;
    out->l3 = (uint8_t)(h - out->header);
    h = put_ip(p, udp ? P_UDP : inner == 4 ? P_IPIP : P_IP6, h);
    out->l4 = (uint8_t)(h - out->header);
    if (udp)
        h = put_udp(p, h);
    out->length = (uint8_t)(h - out->header);
    if (p->outer_ip == 4)
        out->sum = (uint16_t)fold(sum_of(out->header + out->l3, IP4) - get16(out->header + out->l3));
    out->mtu = (uint16_t)((p->mtu ? p->mtu : 1500) - (out->length - out->l3) - (udp ? ETHER : 0));
    if (udp) {
        memcpy(out->mac, p->inner_destination_mac, 6);
        memcpy(out->mac + 6, p->inner_source_mac, 6);
    }
}

int dp_rewrite_make(const struct dp_path *path, struct dp_rewrite *out, const char **why) {
    struct dp_rewrite w = {.action = (uint8_t)path->action,
                           .port = path->port,
                           .vlan = path->vlan,
                           .outer_ip = path->outer_ip,
                           .inner_ip = path->inner_ip,
                           .mtu = path->mtu,
                           .target_port = path->destination_port};
    const char *wrong = check(path);
    if (wrong) {
        *why = wrong;
        return -1;
    }
    memcpy(w.mac, path->destination_mac, 6);
    memcpy(w.mac + 6, path->source_mac, 6);
    if (is_tunnel(path->action))
        make_tunnel(path, &w, 4);
    else if (path->action == DP_ACT_DNAT)
        memcpy(w.header, path->destination, 16);
    if (path->action == DP_ACT_L2 && !w.vlan && !w.mtu)
        w.quick = DP_QUICK_L2;
    else if (path->action == DP_ACT_VXLAN && w.outer_ip == 4 && w.length == DP_VXLAN_BYTES)
        w.quick = DP_QUICK_VXLAN;
    *out = w;
    return 0;
}

/* ---- answering: the packet is turned into the answer ---- */

static void swap(uint8_t *a, uint8_t *b, size_t n) {
    uint8_t keep[16];
    memcpy(keep, a, n);
    memcpy(a, b, n);
    memcpy(b, keep, n);
}

static void sum_ip4(uint8_t *ip) {
    put16(ip + 10, 0);
    put16(ip + 10, ~fold(sum_of(ip, IP4)));
}

/* TCP, UDP and ICMPv6 checksum with the pseudo header of the IP header at `ip`. */
static uint32_t sum_l4(const uint8_t *ip, uint8_t version, uint8_t protocol, const uint8_t *l4, size_t n) {
    uint64_t sum = version == 4 ? sum_of(ip + 12, 8) : sum_of(ip + 8, 32);
    return ~fold(sum + protocol + n + sum_of(l4, n)) & 0xffff;
}

enum { QUOTE6_MOST = 1280 - IP6 - 8 };

/* ICMP: destination unreachable, fragmentation needed and DF set, with the next hop's MTU (RFC 1191 section 4). */
static void too_big4(uint8_t *frame, uint32_t *length, const struct dp_packet *p, uint16_t mtu) {
    uint8_t *ip = frame + p->l3;
    uint32_t header = (uint32_t)(ip[0] & 15) * 4, quote = header + 8;
    memmove(ip + IP4 + 8, ip, quote); /* there is room: the packet was too big */
    uint8_t client[4], service[4];
    memcpy(client, ip + 12, 4);
    memcpy(service, ip + 16, 4);
    memset(ip, 0, IP4 + 8);
    ip[0] = 0x45;
    put16(ip + 2, IP4 + 8 + quote);
    ip[8] = TTL;
    ip[9] = 1;
    memcpy(ip + 12, service, 4); /* the service answers: the router has no address that the client knows */
    memcpy(ip + 16, client, 4);
    sum_ip4(ip);
    uint8_t *icmp = ip + IP4;
    icmp[0] = 3;
    icmp[1] = 4;
    put16(icmp + 6, mtu);
    put16(icmp + 2, ~fold(sum_of(icmp, 8 + quote)));
    *length = p->l3 + IP4 + 8 + quote;
}

/* ICMPv6: packet too big (RFC 4443 section 3.2): as much of the packet as fits 1280 bytes. */
static void too_big6(uint8_t *frame, uint32_t *length, const struct dp_packet *p, uint16_t mtu) {
    uint8_t *ip = frame + p->l3;
    uint32_t quote = p->ip_length < QUOTE6_MOST ? p->ip_length : QUOTE6_MOST;
    uint8_t client[16], service[16];
    if (quote > p->ip_length - (uint32_t)(IP6 + 8)) /* moved up inside the packet: no byte past its end */
        quote = p->ip_length - (uint32_t)(IP6 + 8);
    memcpy(client, ip + 8, 16);
    memcpy(service, ip + 24, 16);
    memmove(ip + IP6 + 8, ip, quote);
    memset(ip, 0, IP6 + 8);
    ip[0] = 0x60;
    put16(ip + 4, 8 + quote);
    ip[6] = 58;
    ip[7] = TTL;
    memcpy(ip + 8, service, 16);
    memcpy(ip + 24, client, 16);
    uint8_t *icmp = ip + IP6;
    icmp[0] = 2;
    put16(icmp + 6, mtu);
    put16(icmp + 2, sum_l4(ip, 6, 58, icmp, 8 + quote));
    *length = p->l3 + IP6 + 8 + quote;
}

static enum dp_verdict too_big(uint8_t *frame, uint32_t *length, const struct dp_packet *p, uint16_t mtu) {
    /* No error about an error, and none that its sender did not ask for (RFC 1122 3.2.2). */
    if (!p->dont_fragment || (p->kind != DP_KIND_TCP && p->kind != DP_KIND_UDP))
        return DP_DROP_TOO_BIG;
    swap(frame, frame + 6, 6);
    if (p->ip == 4)
        too_big4(frame, length, p, mtu);
    else
        too_big6(frame, length, p, mtu < 1280 ? 1280 : mtu);
    return DP_REPLY;
}

void dp_rewrite_reset(uint8_t *frame, uint32_t *length, const struct dp_packet *p) {
    uint8_t *ip = frame + p->l3, *tcp = frame + p->l4;
    uint32_t header = (uint32_t)(tcp[12] >> 4) * 4, payload = p->ip_length - (uint32_t)(p->l4 - p->l3) - header;
    bool ack = p->tcp_flags & 16;
    uint8_t answer[4];
    swap(frame, frame + 6, 6);
    if (p->ip == 4)
        swap(ip + 12, ip + 16, 4);
    else
        swap(ip + 8, ip + 24, 16);
    swap(tcp, tcp + 2, 2);
    if (ack) { /* RFC 9293 3.10.7.1: the acknowledged number, no ACK */
        memcpy(answer, tcp + 8, 4);
        memcpy(tcp + 4, answer, 4);
        memset(tcp + 8, 0, 4);
    } else {
        uint32_t next =
            (get16(tcp + 4) << 16 | get16(tcp + 6)) + payload + (p->tcp_flags & 2 ? 1 : 0) + (p->tcp_flags & 1 ? 1 : 0);
        memset(tcp + 4, 0, 4);
        put16(tcp + 8, next >> 16);
        put16(tcp + 10, next);
    }
    tcp[12] = 0x50;
    tcp[13] = ack ? 4 : 20;
    memset(tcp + 14, 0, 6);
    if (p->ip == 4) {
        put16(ip + 2, (uint32_t)(p->l4 - p->l3) + 20);
        ip[8] = TTL;
        put16(ip + 10, 0);
        put16(ip + 10, ~fold(sum_of(ip, (size_t)(p->l4 - p->l3))));
    } else {
        put16(ip + 4, (uint32_t)(p->l4 - p->l3) - IP6 + 20);
        ip[7] = TTL;
    }
    put16(tcp + 16, sum_l4(ip, p->ip, P_TCP, tcp, 20));
    *length = (uint32_t)p->l4 + 20;
}

/* ---- address translation ---- */

/* A checksum after `n` bytes changed from `was` to `is` (RFC 1624 equation 3). */
static void change(uint8_t *sum, const uint8_t *was, const uint8_t *is, size_t n) {
    uint64_t s = (~get16(sum) & 0xffff) + sum_of(is, n);
    for (size_t i = 0; i < n; i += 2)
        s += ~get16(was + i) & 0xffff;
    put16(sum, ~fold(s));
}

/* Where the checksum is that covers the addresses, NULL where there is none (or none was sent, or none is here). */
static uint8_t *sum_of_packet(const uint8_t *frame_ip, uint8_t *l4, const struct dp_packet *p) {
    if (p->kind == DP_KIND_TCP)
        return l4 + 16;
    if (p->kind == DP_KIND_UDP)
        return get16(l4 + 6) ? l4 + 6 : NULL;
    bool echo = p->kind == DP_KIND_OTHER && p->protocol == P_ICMP6 && p->ip == 6;
    return echo && p->ip_length >= l4 - frame_ip + 4 ? l4 + 2 : NULL;
}

/* Put an address and port into the packet (0: the port stays), with every checksum that covers them. */
static void translate(uint8_t *ip, uint8_t *l4, const struct dp_packet *p, bool source, const uint8_t *address,
                      uint16_t port) {
    uint8_t version = p->ip;
    size_t n = version == 4 ? 4 : 16;
    uint8_t *at = version == 4 ? ip + (source ? 12 : 16) : ip + (source ? 8 : 24);
    uint8_t *sum = sum_of_packet(ip, l4, p);
    if (version == 4)
        change(ip + 10, at, address, n);
    if (sum)
        change(sum, at, address, n);
    memcpy(at, address, n);
    if (port && (p->kind == DP_KIND_TCP || p->kind == DP_KIND_UDP)) {
        uint8_t *where = l4 + (source ? 0 : 2), is[2];
        memcpy(is, &port, 2);
        if (sum)
            change(sum, where, is, 2);
        memcpy(where, is, 2);
    }
    if (sum && p->kind == DP_KIND_UDP && !get16(sum))
        put16(sum, 0xffff);
}

/* An error about a translated flow: the packet inside was sent by the server, and so it must read. */
static void translate_error(uint8_t *ip, const struct dp_packet *p, uint8_t *icmp, const uint8_t *address,
                            uint16_t port) {
    size_t n = p->ip == 4 ? 4 : 16;
    uint8_t *inner = icmp + 8, *at = p->ip == 4 ? ip + 16 : ip + 24, *from = p->ip == 4 ? inner + 12 : inner + 8;
    uint8_t *l4 = inner + (p->ip == 4 ? (size_t)(inner[0] & 15) * 4 : IP6), is[2];
    if (p->ip == 4) { /* the inner header's checksum takes back what its address adds */
        change(ip + 10, at, address, n);
        change(inner + 10, from, address, n);
    } else {
        change(icmp + 2, at, address, n);
        change(icmp + 2, from, address, n);
    }
    memcpy(at, address, n);
    memcpy(from, address, n);
    if (port) {
        memcpy(is, &port, 2);
        change(icmp + 2, l4, is, 2);
        memcpy(l4, is, 2);
    }
}

static void dnat(const struct dp_rewrite *w, uint8_t *frame, const struct dp_packet *p) {
    uint8_t *ip = frame + p->l3, *l4 = frame + p->l4;
    if (p->kind == DP_KIND_ICMP_ERROR)
        translate_error(ip, p, l4, w->header, w->target_port);
    else
        translate(ip, l4, p, false, w->header, w->target_port);
    memcpy(frame, w->mac, 12);
}

void dp_rewrite_return(uint8_t *frame, const struct dp_packet *p, const uint8_t *source, uint16_t port) {
    if (p->kind == DP_KIND_TCP || p->kind == DP_KIND_UDP)
        translate(frame + p->l3, frame + p->l4, p, true, source, port);
}

/* ---- loops ---- */

static uint8_t tos_of(const uint8_t *ip, uint8_t version) {
    return version == 4 ? ip[1] : (uint8_t)(ip[0] << 4 | ip[1] >> 4);
}

bool dp_rewrite_is_marked(const uint8_t *frame, const struct dp_packet *p) {
    return (tos_of(frame + p->l3, p->ip) & ~ECN) == MARK;
}

bool dp_rewrite_mark(uint8_t *frame, const struct dp_packet *p) {
    uint8_t *ip = frame + p->l3, was[2] = {ip[0], ip[1]}, tos = MARK | (tos_of(ip, p->ip) & ECN);
    if (dp_rewrite_is_marked(frame, p))
        return false;
    if (p->ip == 4) {
        ip[1] = tos;
        change(ip + 10, was, ip, 2);
    } else {
        ip[0] = (uint8_t)((ip[0] & 0xf0) | tos >> 4);
        ip[1] = (uint8_t)(tos << 4 | (ip[1] & 0x0f));
    }
    return true;
}

/* ---- leaving ---- */

static enum dp_verdict tunnel(const struct dp_rewrite *w, uint8_t *frame, uint32_t *length, uint32_t room,
                              const struct dp_packet *p, uint16_t entropy, int32_t *grow) {
    bool frames = w->action != DP_ACT_IPIP;
    uint32_t kept = frames ? p->l3 - (uint32_t)ETHER : p->l3; /* tags do not travel, nor does the frame in IPIP */
    int32_t more = (int32_t)w->length - (int32_t)kept;
    if (more > 0 && room < (uint32_t)more)
        return DP_DROP_NO_ROOM;
    uint8_t *inner = frame + kept, *h = inner - w->length;
    uint32_t carried = p->ip_length + (frames ? ETHER : 0); /* padding of a short frame stays behind */
    uint8_t tos = tos_of(frame + p->l3, p->ip);
    if (frames) {
        memcpy(inner, w->mac, 12);
        put16(inner + 12, p->ip == 4 ? 0x0800 : 0x86dd);
    }
    memcpy(h, w->header, w->length);
    uint8_t *ip = h + w->l3;
    uint32_t payload = w->length - w->l4 + carried;
    uint32_t sum = w->sum;
    if (w->outer_ip == 4) {
        ip[1] = tos;
        put16(ip + 2, payload + IP4);
        if (!frames && p->ip == 6) {
            ip[9] = P_IP6;
            sum += P_IP6 - P_IPIP;
        }
        put16(ip + 10, ~fold(sum + 0x4500u + tos + payload + IP4));
    } else {
        ip[0] = (uint8_t)(0x60 | tos >> 4);
        ip[1] = (uint8_t)(tos << 4);
        put16(ip + 4, payload);
        if (!frames && p->ip == 6)
            ip[6] = P_IP6;
    }
    if (frames) { /* RFC 7348: a source port per flow, from the dynamic range */
        put16(h + w->l4, 0xc000u | (entropy & 0x3fff));
        put16(h + w->l4 + 4, payload);
    }
    *length = w->length + carried;
    *grow = more;
    return DP_PASS;
}

/* Set the tag of a frame that leaves without a tunnel. */
static enum dp_verdict tag(const struct dp_rewrite *w, uint8_t **frame, uint32_t *length, uint32_t room,
                           const struct dp_packet *p, int32_t *grow) {
    if (p->l3 > ETHER) {
        put16(*frame + ETHER, (get16(*frame + ETHER) & 0xf000) | w->vlan);
        return DP_PASS;
    }
    if (room < TAG)
        return DP_DROP_NO_ROOM;
    uint8_t *to = *frame - TAG;
    memmove(to, *frame, 12);
    put16(to + 12, 0x8100);
    put16(to + 14, w->vlan);
    *frame = to;
    *length += TAG;
    *grow = TAG;
    return DP_PASS;
}

enum dp_verdict dp_rewrite(const struct dp_rewrite *w, uint8_t *frame, uint32_t *length, uint32_t room,
                           const struct dp_packet *p, uint16_t entropy, int32_t *grow) {
    *grow = 0;
    if (w->mtu && p->ip_length > w->mtu)
        return too_big(frame, length, p, w->mtu);
    switch (w->action) {
    case DP_ACT_L2:
        memcpy(frame, w->mac, 12);
        break;
    case DP_ACT_DNAT:
        dnat(w, frame, p);
        break;
    case DP_ACT_PASS:
        break;
    default:
        return tunnel(w, frame, length, room, p, entropy, grow);
    }
    return w->vlan ? tag(w, &frame, length, room, p, grow) : DP_PASS;
}
