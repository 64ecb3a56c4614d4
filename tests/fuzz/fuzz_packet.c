/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Any bytes as a frame: read, and made ready to leave in every way. The frame lies at the end of its memory, so that
 * one byte read too far is seen; what comes out of a tunnel's header can be read again, and is the packet that went in.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rewrite.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROOM = 128 };

static void broken(const char *what) {
    fprintf(stderr, "%s\n", what);
    abort();
}

static struct dp_path path_of(int action, uint8_t ip) {
    struct dp_path p = {.action = action,
                        .outer_ip = ip,
                        .inner_ip = ip,
                        .vni = 7,
                        .vlan = action == DP_ACT_L2 ? 9 : 0,
                        .destination_port = action == DP_ACT_DNAT ? 1234 : 0};
    memset(p.destination_mac, 2, 6);
    memset(p.inner_destination_mac, 4, 6);
    memset(p.destination, 10, 16);
    memset(p.source, 11, 16);
    return p;
}

/* The outer packet is well formed, and so is, without its tag, the frame inside. */
static void read_again(const struct dp_rewrite *w, const uint8_t *frame, uint32_t length,
                       const struct dp_packet *before) {
    struct dp_packet outer, inner;
    if (dp_parse(frame, length, &outer) != DP_PASS || outer.ip != w->outer_ip)
        broken("the outer packet cannot be read");
    if (w->action == DP_ACT_IPIP)
        return;
    if (dp_parse(frame + w->length, length - w->length, &inner) != DP_PASS || inner.kind != before->kind ||
        inner.source_port != before->source_port || memcmp(inner.source, before->source, 16) || inner.vlan)
        broken("the inner packet is another one");
}

static void leave(const uint8_t *data, size_t size, int action, uint8_t ip) {
    struct dp_path path = path_of(action, ip);
    struct dp_rewrite w;
    struct dp_packet p;
    const char *why = NULL;
    uint8_t *block = malloc(ROOM + size), *frame = block + ROOM;
    uint32_t length = (uint32_t)size;
    int32_t grow = 0;
    if (!block || dp_rewrite_make(&path, &w, &why))
        abort();
    memcpy(frame, data, size);
    if (dp_parse(frame, size, &p) == DP_PASS && p.ip && (action != DP_ACT_DNAT || p.ip == ip)) {
        enum dp_verdict v = dp_rewrite(&w, frame, &length, ROOM, &p, 99, &grow);
        if (grow > ROOM || length > size + ROOM || (v != DP_PASS && v != DP_REPLY && v < DP_DROP_RUNT))
            broken("more than there is room for");
        if (v == DP_PASS && w.length)
            read_again(&w, frame - grow, length, &p);
    }
    free(block);
}

/* The short way for plain TCP says what the long one says. */
static void compare(const uint8_t *data, size_t size) {
    struct dp_packet a, b;
    enum dp_verdict v = dp_parse(data, size, &a);
    if (v != dp_parse_any(data, size, &b) || (v == DP_PASS && memcmp(&a, &b, sizeof a)))
        broken("two readings of one frame");
}

static void answer(const uint8_t *data, size_t size) {
    struct dp_packet p;
    uint8_t *frame = malloc(size ? size : 1);
    uint32_t length = (uint32_t)size;
    memcpy(frame, data, size);
    if (dp_parse(frame, size, &p) == DP_PASS && p.kind == DP_KIND_TCP) {
        dp_rewrite_reset(frame, &length, &p);
        if (length > size || dp_parse(frame, length, &p) != DP_PASS || !(p.tcp_flags & DP_RST))
            broken("a reset that cannot be read");
    }
    free(frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 9000)
        return 0;
    for (int action = DP_ACT_PASS; action <= DP_ACT_DNAT; action++) {
        leave(data, size, action, 4);
        leave(data, size, action, 6);
    }
    answer(data, size);
    compare(data, size);
    return 0;
}
