/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * golden ACTION IN.pcap OUT.pcap: every frame of IN through dp_parse and one fixed dp_rewrite, into OUT; one line a
 * frame says what became of it. test_golden.py writes IN and what OUT must be with another implementation of the
 * protocols. ACTION: l2 l2-vlan vxlan vxlan6 geneve ipip ipip6 dnat dnat6 return reset parse; vxlan-NNN: with an outer
 * MTU of NNN
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rewrite.h"

enum { ROOM = 128, MOST = 65536 };

static const uint8_t mac_of_port[6] = {2, 0, 0, 0, 0, 1}, mac_of_next[6] = {2, 0, 0, 0, 0, 2},
                     mac_of_server[6] = {2, 0, 0, 0, 0, 3};

static int die(const char *what) {
    fprintf(stderr, "golden: %s\n", what);
    return 2;
}

static struct dp_path path_of(const char *action) {
    static const struct {
        const char *name;
        int action;
        uint8_t outer, inner;
    } known[] = {{"l2", DP_ACT_L2, 0, 0},        {"l2-vlan", DP_ACT_L2, 0, 0},    {"vxlan", DP_ACT_VXLAN, 4, 0},
                 {"vxlan6", DP_ACT_VXLAN, 6, 0}, {"geneve", DP_ACT_GENEVE, 4, 0}, {"ipip", DP_ACT_IPIP, 4, 0},
                 {"ipip6", DP_ACT_IPIP, 6, 0},   {"dnat", DP_ACT_DNAT, 0, 4},     {"dnat6", DP_ACT_DNAT, 0, 6}};
    struct dp_path p = {.action = DP_ACT_PASS, .vni = 4242, .mtu = 0};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (!strncmp(action, known[i].name, strcspn(action, "-")) &&
            strcspn(action, "-") == strcspn(known[i].name, "-")) {
            p.action = known[i].action;
            p.outer_ip = known[i].outer;
            p.inner_ip = known[i].inner;
        }
    const char *mtu = strchr(action, '-');
    if (mtu && atoi(mtu + 1) > 0)
        p.mtu = (uint16_t)atoi(mtu + 1);
    if (!strcmp(action, "l2-vlan"))
        p.vlan = 77;
    memcpy(p.source_mac, mac_of_port, 6);
    memcpy(p.destination_mac, mac_of_next, 6);
    memcpy(p.inner_source_mac, mac_of_port, 6);
    memcpy(p.inner_destination_mac, mac_of_server, 6);
    bool six = p.outer_ip == 6 || p.inner_ip == 6;
    inet_pton(six ? AF_INET6 : AF_INET, six ? "2001:db8:ffff::1" : "198.51.100.1", p.source);
    inet_pton(six ? AF_INET6 : AF_INET, six ? "2001:db8:ffff::2" : "198.51.100.2", p.destination);
    if (p.action == DP_ACT_DNAT)
        p.destination_port = htons(8080);
    return p;
}

/* @return verdict; *at is where the frame begins then */
static enum dp_verdict treat(const char *action, const struct dp_rewrite *w, uint8_t *frame, uint32_t *length,
                             int32_t *grow) {
    struct dp_packet p;
    enum dp_verdict v = dp_parse(frame, *length, &p);
    *grow = 0;
    if (v != DP_PASS)
        return v;
    if (!strcmp(action, "parse")) {
        printf("kind %d ip %d protocol %d ports %d %d flags %d fragment %u first %d quic %d vlan %d ", p.kind, p.ip,
               p.protocol, ntohs(p.source_port), ntohs(p.destination_port), p.tcp_flags, p.fragment != 0,
               p.first_fragment, p.quic_initial, p.vlan);
        return DP_PASS;
    }
    if (!strcmp(action, "reset")) {
        dp_rewrite_reset(frame, length, &p);
        return DP_REPLY;
    }
    if (!strcmp(action, "return")) {
        uint8_t service[16] = {192, 0, 2, 80};
        dp_rewrite_return(frame, &p, service, htons(80));
        return DP_RETURN;
    }
    if (!strcmp(action, "mark"))
        return dp_rewrite_mark(frame, &p) ? DP_BOUNCE : DP_DROP_LOOP;
    return dp_rewrite(w, frame, length, ROOM, &p, 0x1234, grow);
}

int main(int argc, char **argv) {
    struct dp_rewrite w;
    const char *why = NULL;
    uint8_t head[24], record[16];
    if (argc != 4)
        return die("golden ACTION IN.pcap OUT.pcap");
    FILE *in = fopen(argv[2], "rb"), *out = fopen(argv[3], "wb");
    struct dp_path path = path_of(argv[1]);
    if (dp_rewrite_make(&path, &w, &why))
        return die(why);
    if (!in || !out || fread(head, sizeof head, 1, in) != 1 || fwrite(head, sizeof head, 1, out) != 1)
        return die("cannot read or write");
    while (fread(record, sizeof record, 1, in) == 1) {
        uint32_t length;
        int32_t grow;
        memcpy(&length, record + 8, 4);
        /* Exactly as long as the frame, at the end of its memory: a byte too far is an error for the sanitizer. */
        uint8_t *block = length <= MOST ? malloc(ROOM + length) : NULL;
        if (!block || fread(block + ROOM, 1, length, in) != length)
            return die("torn file");
        enum dp_verdict v = treat(argv[1], &w, block + ROOM, &length, &grow);
        printf("verdict %d grow %d\n", v, grow);
        memcpy(record + 8, &length, 4);
        memcpy(record + 12, &length, 4);
        if (fwrite(record, sizeof record, 1, out) != 1 || fwrite(block + ROOM - grow, 1, length, out) != length)
            return die("cannot write");
        free(block);
    }
    return fclose(in) | fclose(out);
}
