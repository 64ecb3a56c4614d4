/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A flow table whose process is gone. First all of it is looked at and nothing is touched, then it is made whole. */
#include "flow_inside.h"

static bool same(struct dp_words a, struct dp_words b) {
    return a.key == b.key && a.high == b.high && a.ports == b.ports;
}

static const char *look(const struct dp_flow_table *t, uint32_t bucket) {
    struct dp_bucket *b = dp_bucket_at(t, bucket);
    for (unsigned i = 0; i < DP_SLOTS; i++) {
        if (!b->value[i])
            continue;
        struct dp_words w = dp_flow_words(t, b, i);
        uint64_t hash = dp_flow_hash(t, w);
        if (dp_first(t, hash) != bucket && dp_other(t, hash) != bucket)
            return "a flow stands in a bucket that is not its own";
        if (t->family == DP_FLOW_IP4 ? !w.key : !w.ports)
            return "a flow has no key";
        for (unsigned j = 0; j < i; j++)
            if (b->value[j] && same(w, dp_flow_words(t, b, j)))
                return "a flow stands in a bucket twice";
    }
    return NULL;
}

static bool is_in(const struct dp_flow_table *t, struct dp_bucket *b, struct dp_words w) {
    for (unsigned i = 0; i < DP_SLOTS; i++)
        if (b->value[i] && same(w, dp_flow_words(t, b, i)))
            return true;
    return false;
}

const char *dp_flow_recover(struct dp_flow_table *t) {
    for (uint32_t bucket = 0; bucket <= t->mask; bucket++) {
        const char *why = look(t, bucket);
        if (why)
            return why;
    }
    for (uint32_t bucket = 0; bucket <= t->mask; bucket++) {
        struct dp_bucket *b = dp_bucket_at(t, bucket);
        b->value[DP_OVERFLOW] = 0;
        t->hints[bucket] = 0;
        if (t->family == DP_FLOW_IP6)
            dp_beside_of(b)->ports[DP_SLOTS] = 0;
        for (unsigned i = 0; i < DP_SLOTS; i++)
            if (!b->value[i]) /* was on its way in or out */
                dp_flow_clear(t, b, i);
    }
    t->count = 0;
    for (uint32_t bucket = 0; bucket <= t->mask; bucket++) {
        struct dp_bucket *b = dp_bucket_at(t, bucket);
        for (unsigned i = 0; i < DP_SLOTS; i++) {
            struct dp_words w = dp_flow_words(t, b, i);
            uint64_t hash = b->value[i] ? dp_flow_hash(t, w) : bucket;
            struct dp_bucket *first = dp_bucket_at(t, dp_first(t, hash));
            if (first != b && is_in(t, first, w))
                dp_flow_clear(t, b, i); /* it was moving, and both copies are whole */
            else if (first != b) {
                first->value[DP_OVERFLOW]++;
                t->hints[dp_first(t, hash)] |= dp_hint(hash);
            }
            t->count += b->value[i] != 0;
        }
    }
    return NULL;
}
