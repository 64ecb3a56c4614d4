/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Plain C: what the others must equal. */
#include "flow_inside.h"

#define LEVEL(name) name##_plain
#define TARGET

static inline unsigned match(const struct dp_bucket *b, uint64_t key) {
    unsigned bits = 0;
    for (unsigned i = 0; i < DP_SLOTS; i++)
        bits |= (unsigned)(b->key[i] == key) << i;
    return bits;
}
static inline unsigned beside(const struct dp_beside *x, uint64_t high, uint32_t ports) {
    unsigned bits = 0;
    for (unsigned i = 0; i < DP_SLOTS; i++)
        bits |= (unsigned)(x->high[i] == high && x->ports[i] == ports) << i;
    return bits;
}
static inline uint32_t value_of(const struct dp_bucket *b, unsigned bits) {
    return b->value[__builtin_ctz(bits | 1u << DP_OVERFLOW)] & (0 - (uint32_t)(bits != 0));
}
#include "flow_lookup.h"
