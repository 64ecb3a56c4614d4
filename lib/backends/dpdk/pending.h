/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What was decided for a connection that is only a SYN so far: fingerprints with epochs of one second, remembered for
 * three. Touched by packets that open a flow and, while a service spills, by packets that no flow is known of. Of fixed
 * size: a flood overwrites the oldest and nothing else.
 */
#ifndef SPR_DPDK_PENDING_H
#define SPR_DPDK_PENDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dp_pending;
struct dp_pending *dp_pending_new(uint64_t seed);
void dp_pending_free(struct dp_pending *f);
/* Memory that outlives the process, zero or as an earlier filter of the same seed left it: used from now on. */
size_t dp_pending_bytes(void);
void dp_pending_use(struct dp_pending *f, void *memory);
/* Remember (or renew) the decision: a backend, 0 = the primary. */
void dp_pending_put(struct dp_pending *f, uint64_t hash, uint16_t backend, uint64_t now_ms);
bool dp_pending_get(const struct dp_pending *f, uint64_t hash, uint64_t now_ms, uint16_t *backend);
/* It will be asked: its line comes while other work is done. */
void dp_pending_prefetch(const struct dp_pending *f, uint64_t hash);

#endif
