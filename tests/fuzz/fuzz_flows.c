/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Any bytes as a flow table that a process left behind. First byte: family and size; the rest lies over a table with
 * some flows in it, from the offset that the next two bytes say, once as it is and once with a head that is right. What
 * is taken must be whole: a walk and lookups agree, everything can be taken out, and then nothing is left.
 */
#include <stdlib.h>
#include <string.h>

#include "flow_inside.h"
#include "head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok) {
    if (!ok)
        abort();
}

static void take_all_out(struct dp_flow_table *t, enum dp_flow_family family) {
    uint32_t cursor = 0, value, slot;
    struct dp_key6 key;
    uint64_t count = 0, hash;
    while (dp_flow_next(t, &cursor, UINT32_MAX, &key, &value, &slot))
        count += slot != UINT32_MAX;
    check(count == dp_flow_count(t));
    for (cursor = 0; dp_flow_next(t, &cursor, 1, &key, &value, &slot);) {
        uint32_t found, where, source;
        if (slot == UINT32_MAX)
            continue;
        memcpy(&source, key.source, 4);
        uint64_t four = dp_key4(source, key.port, key.frontend);
        if (family == DP_FLOW_IP6)
            dp_flow_lookup6(t, &key, 1, &hash, &found, &where);
        else
            dp_flow_lookup4(t, &four, 1, &hash, &found, &where);
        check(found == value && where == slot);
        dp_flow_erase(t, slot);
    }
    check(dp_flow_count(t) == 0);
}

static void open_as(uint8_t *memory, size_t bytes, enum dp_flow_family family, unsigned log2) {
    struct dp_flow_table *t = NULL;
    const char *why = NULL;
    uint8_t *before = malloc(bytes);
    memcpy(before, memory, bytes);
    if (dp_flow_open(memory, bytes, family, log2, false, 0, &t, &why) < 0) {
        check(why && !t && !memcmp(before, memory, bytes));
    } else {
        take_all_out(t, family);
        for (size_t i = DP_FLOW_START; i < bytes; i++)
            check(!memory[i]);
        dp_flow_close(t);
    }
    memcpy(memory, before, bytes);
    free(before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 3)
        return 0;
    enum dp_flow_family family = data[0] & 1 ? DP_FLOW_IP6 : DP_FLOW_IP4;
    unsigned log2 = 1 + (data[0] >> 1 & 3);
    size_t bytes = dp_flow_bytes(family, log2), from = (data[1] | (size_t)data[2] << 8) % bytes;
    uint8_t *memory = aligned_alloc(128, (bytes + 127) / 128 * 128);
    struct dp_flow_table *t;
    const char *why;
    check(memory && !dp_flow_open(memory, bytes, family, log2, true, data[0] >> 3, &t, &why));
    for (uint32_t i = 1; i < 4u << log2; i++) { /* most of its room */
        struct dp_key6 k6 = {{0x20, 1, 0xd, 0xb8}, (uint16_t)i, 1, 0};
        uint64_t k4 = dp_key4(0x0a000001, (uint16_t)i, 1), hash;
        uint32_t value, slot;
        if (family == DP_FLOW_IP6) {
            dp_flow_lookup6(t, &k6, 1, &hash, &value, &slot);
            dp_flow_insert6(t, &k6, hash, i);
        } else {
            dp_flow_lookup4(t, &k4, 1, &hash, &value, &slot);
            dp_flow_insert4(t, k4, hash, i);
        }
    }
    dp_flow_close(t);
    size -= 3;
    memcpy(memory + from, data + 3, size < bytes - from ? size : bytes - from);
    open_as(memory, bytes, family, log2);
    dp_head_write(memory, DP_HEAD_FLOWS, DP_FLOW_VERSION, bytes, (uint64_t)family << 8 | log2, data[0] >> 3);
    open_as(memory, bytes, family, log2);
    free(memory);
    return 0;
}
