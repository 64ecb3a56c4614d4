/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Every packet ends in exactly one of these. A packet that is not forwarded has a reason with a name, and the sum of
 * all of them is the number of packets received: that is a test.
 */
#ifndef SPR_DPDK_COUNTERS_H
#define SPR_DPDK_COUNTERS_H

#include <stdint.h>

/* X(NAME, "name", "help") */
#define DP_VERDICTS(X)                                                                                                 \
    X(PRIMARY, "primary", "forwarded to the primary")                                                                  \
    X(SHARD, "shard", "forwarded to a shard")                                                                          \
    X(PASS, "pass", "no service of ours: passed on unchanged")                                                         \
    X(RETURN, "return", "answer of a server, translated back")                                                         \
    X(BOUNCE, "bounce", "unknown flow on a shard's host, sent to the primary once")                                    \
    X(REPLY, "reply", "answered by the router: packet too big, reset")                                                 \
    X(DROP_RUNT, "drop_runt", "shorter than its headers say")                                                          \
    X(DROP_HEADER, "drop_header", "a header that contradicts itself")                                                  \
    X(DROP_CHECKSUM, "drop_checksum", "checksum of the IPv4 header is wrong")                                          \
    X(DROP_TOO_BIG, "drop_too_big", "does not fit the tunnel and cannot be answered")                                  \
    X(DROP_NO_ROOM, "drop_no_room", "no space before the packet for another header")                                   \
    X(DROP_LOOP, "drop_loop", "has been bounced before")                                                               \
    X(DROP_DEAD, "drop_dead", "its shard is dead and its service's policy is to drop")                                 \
    X(DROP_NO_PRIMARY, "drop_no_primary", "its service has no primary that lives")                                     \
    X(DROP_NO_WAY, "drop_no_way", "no service of ours, and nowhere to pass it on to")                                  \
    X(DROP_TX, "drop_tx", "the port did not take it")
enum dp_verdict {
#define DP_X(name, text, help) DP_##name,
    DP_VERDICTS(DP_X)
#undef DP_X
        DP_VERDICT_COUNT
};

/* What happened besides: more than one may count for a packet. X(NAME, "name", "help") */
#define DP_EVENTS(X)                                                                                                   \
    X(SYN, "syn", "first segments of connections")                                                                     \
    X(SYN_SPILLED, "syn_spilled", "first segments sent to a shard")                                                    \
    X(SYN_REPEATED, "syn_repeated", "sent again: the first decision was repeated")                                     \
    X(FLOW_NEW, "flow_new", "flows entered into the table")                                                            \
    X(FLOW_END, "flow_end", "flows that ended by FIN or RST")                                                          \
    X(FLOW_IDLE, "flow_idle", "flows taken out after their idle time")                                                 \
    X(FLOW_DEADLINE, "flow_deadline", "flows taken out at the deadline of a drain")                                    \
    X(FLOW_MOVED, "flow_moved", "flows whose shard died, sent on by policy")                                           \
    X(FLOW_REUSED, "flow_reused", "a new connection with the addresses and ports of an older one")                     \
    X(TABLE_FULL, "table_full", "flows that found no place: sent to the primary")                                      \
    X(SERVICE_FULL, "service_full", "flows above their service's cap: sent to the primary")                            \
    X(LEARNED, "learned", "UDP flows seen in a learning window: stay with the primary")                                \
    X(FRAGMENT, "fragment", "fragments that followed their first one")                                                 \
    X(FRAGMENT_LOST, "fragment_lost", "fragments whose first one was not seen: sent to the primary")                   \
    X(ICMP_FLOW, "icmp_flow", "ICMP errors that followed the flow they are about")                                     \
    X(TOO_BIG, "too_big", "packets too big for the tunnel, answered")
enum dp_event {
#define DP_X(name, text, help) DP_EV_##name,
    DP_EVENTS(DP_X)
#undef DP_X
        DP_EVENT_COUNT
};

struct dp_counters {
    uint64_t packets, bytes; /* received */
    uint64_t verdict[DP_VERDICT_COUNT];
    uint64_t event[DP_EVENT_COUNT];
};
#endif
