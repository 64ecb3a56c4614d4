/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The short way of a burst. Nearly every packet is a whole TCP segment that opens and ends nothing, of the service of
 * the packet before it. What such a frame looks like is compared in a few words; then it goes to the primary (its
 * service has nothing spilled: no flow table is touched), where its flow is known to live, or to the primary because no
 * flow is known. All else takes the long way, decide.c, which would have decided the same.
 */
#ifndef SPR_DPDK_EXPRESS_H
#define SPR_DPDK_EXPRESS_H

#include "decide.h"

/* @return bits of the packets that have to go the long way; b->whole is set when none has and all went one way */
uint64_t dp_express(struct dp_worker *w, const struct dp_snapshot *s, struct dp_burst *b, uint64_t now_ms);
/* Instructions used: tests force them. 0 = best this CPU has, 1 = plain C, 2 = AVX2. @return 0 or -1 */
int dp_express_force(int level);

#endif
