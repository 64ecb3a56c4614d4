/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The loops of the short way, written once. The including file defines LEVEL(name), TARGET and
 *     differs(run, frame)   is this not a frame of IPv4 as the run's are?
 */
/* A whole segment of the run. */
TARGET INLINE bool fits(const struct run *r, const uint8_t *f, uint32_t length, bool six) {
    if (six)
        return length >= IP6_LEAST && !differs6(r, f) && !torn6(f, length);
    return length >= IP4_LEAST && !differs(r, f) && !torn4(f, length);
}

/* From packet i on as far as they go to the primary. */
TARGET INLINE unsigned straight(struct run *run, const struct dp_burst *b, unsigned i, bool six) {
    const struct run r = *run; /* so that nobody has to think that frames may change it */
    unsigned first = i;
    uint64_t bytes = 0;
    for (; i < b->count && fits(&r, b->frame[i], b->length[i], six); i++) {
        memcpy(b->frame[i], r.primary->mac, 12);
        bytes += b->length[i];
    }
    run->bytes += bytes;
    run->done |= i > first ? (UINT64_MAX >> (64 - (i - first))) << first : 0;
    return i;
}

TARGET INLINE void put_down(struct sought *f, unsigned count, const uint8_t *frame, unsigned i, uint16_t front,
                            bool six) {
    uint32_t source;
    uint16_t port;
    memcpy(&port, frame + (six ? 54 : 34), 2);
    if (six) {
        struct dp_key6 *k = &f->key.six[count];
        memcpy(k->source, frame + 22, 16);
        k->port = port;
        k->frontend = front;
        k->zero = 0;
    } else {
        memcpy(&source, frame + 26, 4);
        f->key.four[count] = dp_key4(source, port, front);
    }
    f->at[count] = (uint8_t)i;
}

/* From packet i on as far as their flows are to be looked up. */
TARGET INLINE unsigned collect(struct express *e, unsigned i, bool six) {
    const struct dp_burst *b = e->b;
    const struct run r = e->run; /* so that nobody has to think that frames may change it */
    struct sought *to = six ? &e->six : &e->four;
    unsigned first = i, count = to->count;
    for (; i < b->count && fits(&r, b->frame[i], b->length[i], six); i++, count++)
        put_down(to, count, b->frame[i], i, r.front, six);
    to->count = count;
    e->rest |= i > first ? (UINT64_MAX >> (64 - (i - first))) << first : 0; /* until it is found */
    return i;
}

TARGET unsigned LEVEL(dp_express_run)(struct express *e, unsigned i) {
    struct run *r = &e->run;
    if (r->way == WAY_PRIMARY)
        return r->six ? straight(r, e->b, i, true) : straight(r, e->b, i, false);
    if (r->way == WAY_SEEK && !e->opens[r->six])
        return r->six ? collect(e, i, true) : collect(e, i, false);
    return i;
}
