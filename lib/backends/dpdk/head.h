/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * First 64 bytes of memory that outlives the process: what it is, which version, how large, from which seed. Written
 * last when the memory is new, so that one that was never finished is not taken for one that is.
 */
#ifndef SPR_DPDK_HEAD_H
#define SPR_DPDK_HEAD_H

#include <stddef.h>
#include <stdint.h>

enum { DP_HEAD_BYTES = 64 };
enum dp_head_kind { DP_HEAD_REGION = 1, DP_HEAD_FLOWS };

struct dp_head {
    uint64_t magic;
    uint32_t kind, version; /* ::dp_head_kind; of the layout behind it */
    uint64_t bytes, layout; /* of everything; what the kind says about its inside */
    uint64_t seed, spare[2];
    uint64_t checksum; /* of all before */
};

/* The memory is not valid until dp_head_write. */
void dp_head_clear(void *memory);
void dp_head_write(void *memory, enum dp_head_kind kind, uint32_t version, uint64_t bytes, uint64_t layout,
                   uint64_t seed);
/* @return NULL when it is as asked for (*seed is set), else what is wrong with it */
const char *dp_head_check(const void *memory, enum dp_head_kind kind, uint32_t version, uint64_t bytes, uint64_t layout,
                          uint64_t *seed);

#endif
