/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Where the first fragment of a datagram went, by {source, destination, identification, protocol} (RFC 791, RFC 8200
 * 4.5), for one second: later fragments carry no ports. Of fixed size: the oldest is overwritten.
 */
#ifndef SPR_DPDK_FRAGMENTS_H
#define SPR_DPDK_FRAGMENTS_H

#include "packet.h"

struct dp_fragments;
struct dp_fragments *dp_fragments_new(uint64_t seed);
void dp_fragments_free(struct dp_fragments *f);
void dp_fragments_put(struct dp_fragments *f, const struct dp_packet *first, uint16_t backend, uint64_t now_ms);
bool dp_fragments_get(const struct dp_fragments *f, const struct dp_packet *later, uint64_t now_ms, uint16_t *backend);

#endif
