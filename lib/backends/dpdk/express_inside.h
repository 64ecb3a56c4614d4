/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What express*.c share. The loops over packets are one text, express_run.h, with the instructions of each level. */
#ifndef SPR_DPDK_EXPRESS_INSIDE_H
#define SPR_DPDK_EXPRESS_INSIDE_H

#include "express.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { ETHER = 14, IP4_LEAST = ETHER + 20 + 20, IP6_LEAST = ETHER + 40 + 20, P_TCP = 6 };

enum way {
    WAY_NONE,    /* no packet yet */
    WAY_PRIMARY, /* nothing of this service is spilled */
    WAY_SEEK,    /* flows are looked up */
    WAY_LONG,    /* no service of ours, or a way that is more than addresses */
};

/* Packets of one service, one after the other. */
struct run {
    enum way way;
    bool six;
    uint8_t stops; /* TCP flags that are not for us */
    uint16_t front;
    const struct dp_rewrite *primary;
    uint64_t want[5]; /* words of a frame of it, see fits4 and fits6 */
    uint64_t done;    /* bits of those that went to the primary */
    uint64_t bytes;
};

/* Segments to be looked up together. */
struct sought {
    unsigned count;
    uint8_t at[DP_BURST];
    union {
        uint64_t four[DP_BURST];
        struct dp_key6 six[DP_BURST];
    } key;
};

struct express {
    struct dp_worker *w;
    const struct dp_snapshot *s;
    struct dp_burst *b;
    uint64_t now_ms, rest;
    bool opens[2]; /* by family: one before in this burst may change the flow of one that follows */
    struct run run;
    struct sought four, six;
};

/* ---- what a frame looks like ---- */

INLINE uint64_t word(const uint8_t *p) {
    uint64_t w;
    memcpy(&w, p, 8);
    return w;
}
INLINE uint32_t get16(const uint8_t *p) { return (uint32_t)(p[0] << 8 | p[1]); }
INLINE uint64_t bytes8(uint8_t a, uint8_t b, uint8_t c, uint8_t d, uint8_t e, uint8_t f, uint8_t g, uint8_t h) {
    const uint8_t x[8] = {a, b, c, d, e, f, g, h};
    return word(x);
}

/*
 * The checksum of an IPv4 header of twenty bytes, from the words at 12, 20 and 28. It is right when the sum in ones'
 * complement is all ones: a multiple of 65535. 2^16 is 1 modulo 65535, so words add up as their halves do (RFC 1071
 * 2B). A multiple of an odd number is told by the inverse of that number modulo 2^64 (Granlund and Montgomery 1994,
 * section 9).
 */
INLINE bool sum_is_right(uint64_t a, uint64_t b, uint64_t c) {
    const uint64_t inverse = UINT64_C(0xfffefffefffeffff), most = UINT64_MAX / 65535;
    uint64_t sum = b, x = a & bytes8(0, 0, 255, 255, 255, 255, 255, 255),
             y = c & bytes8(255, 255, 255, 255, 255, 255, 0, 0);
    sum += x;
    sum += sum < x;
    sum += y;
    sum += sum < y;
    return sum * inverse <= most;
}

/* What differs from a frame of the run in its type, version and header length (12 to 14), fragment and protocol (20,
 * 21, 23), destination (30 to 33) and port (36, 37), or in flags that stop (47). */
INLINE bool differs4(const struct run *r, const uint8_t *f) {
    return ((word(f + 12) ^ r->want[0]) & bytes8(255, 255, 255, 0, 0, 0, 0, 0)) |
           ((word(f + 20) ^ r->want[1]) & bytes8(0x3f, 255, 0, 255, 0, 0, 0, 0)) |
           ((word(f + 28) ^ r->want[2]) & bytes8(0, 0, 255, 255, 255, 255, 0, 0)) |
           ((word(f + 36) ^ r->want[3]) & bytes8(255, 255, 0, 0, 0, 0, 0, 0)) | (f[47] & r->stops);
}

/* As differs4, over IPv6: type, version (12 to 14), TCP (20), destination (38 to 53), port (56, 57), flags (67). */
INLINE bool differs6(const struct run *r, const uint8_t *f) {
    return ((word(f + 12) ^ r->want[0]) & bytes8(255, 255, 0xf0, 0, 0, 0, 0, 0)) |
           ((word(f + 20) ^ r->want[1]) & bytes8(255, 0, 0, 0, 0, 0, 0, 0)) | (word(f + 38) ^ r->want[2]) |
           (word(f + 46) ^ r->want[3]) | ((word(f + 54) ^ r->want[4]) & bytes8(0, 0, 255, 255, 0, 0, 0, 0)) |
           (f[67] & r->stops);
}

/* Lengths that contradict each other, or a wrong checksum. The frame has the least of its kind. */
INLINE bool torn4(const uint8_t *f, uint32_t length) {
    uint32_t said = get16(f + 16), header = f[46] >> 2 & 0x3c;
    bool wrong = (header < 20) | (said < 20 + header) | (said > length - ETHER);
    return wrong || !sum_is_right(word(f + 12), word(f + 20), word(f + 28));
}
INLINE bool torn6(const uint8_t *f, uint32_t length) {
    uint32_t said = get16(f + 18), header = f[66] >> 2 & 0x3c;
    return (header < 20) | (said < header) | (said > length - ETHER - 40);
}

/* The packets from the ith on that are of the run go its way, or are put down. @return the first that does not */
unsigned dp_express_run_plain(struct express *e, unsigned i);
unsigned dp_express_run_avx2(struct express *e, unsigned i);

#endif
