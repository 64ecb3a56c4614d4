/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "head.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#define DP_MAGIC UINT64_C(0x3130776f6c667073) /* "spflow01" */

static_assert(sizeof(struct dp_head) == DP_HEAD_BYTES, "the head is one cache line");

/* FNV-1a over words, mixed: finds what is torn or foreign. Nobody is kept from making a right one. */
static uint64_t checksum(const struct dp_head *h) {
    uint64_t words[offsetof(struct dp_head, checksum) / 8], sum = UINT64_C(0xcbf29ce484222325);
    memcpy(words, h, sizeof words);
    for (size_t i = 0; i < sizeof words / 8; i++) {
        sum = (sum ^ words[i]) * UINT64_C(0x100000001b3);
        sum ^= sum >> 29;
    }
    return sum;
}

void dp_head_clear(void *memory) {
    memset(memory, 0, sizeof(struct dp_head));
    atomic_signal_fence(memory_order_seq_cst);
}

void dp_head_write(void *memory, enum dp_head_kind kind, uint32_t version, uint64_t bytes, uint64_t layout,
                   uint64_t seed) {
    struct dp_head h = {
        .magic = DP_MAGIC, .kind = kind, .version = version, .bytes = bytes, .layout = layout, .seed = seed};
    h.checksum = checksum(&h);
    atomic_signal_fence(
        memory_order_seq_cst); /* a killed process has done its stores in order: the compiler must too */
    memcpy((char *)memory + 8, (const char *)&h + 8, sizeof h - 8);
    atomic_signal_fence(memory_order_seq_cst);
    memcpy(memory, &h, 8);
}

const char *dp_head_check(const void *memory, enum dp_head_kind kind, uint32_t version, uint64_t bytes, uint64_t layout,
                          uint64_t *seed) {
    struct dp_head h;
    memcpy(&h, memory, sizeof h);
    if (h.magic != DP_MAGIC)
        return "no header of ours: never finished, or another program's";
    if (h.checksum != checksum(&h))
        return "its header is damaged";
    if (h.kind != (uint32_t)kind)
        return "it holds something else";
    if (h.version != version)
        return "another version of this program made it";
    if (h.bytes != bytes)
        return "its size is another";
    if (h.layout != layout)
        return "it is laid out otherwise";
    *seed = h.seed;
    return NULL;
}
