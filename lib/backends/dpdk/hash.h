/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Keyed hash of flows: rounds of AES over the key (CRC is linear: a secret start value would not keep chosen ports
 * from colliding). The plain C version makes the same bits as the instructions.
 */
#ifndef SPR_DPDK_HASH_H
#define SPR_DPDK_HASH_H

#include <stddef.h>
#include <stdint.h>

struct dp_hash_key {
    _Alignas(16) uint8_t round[4][16];
};
/* Key from a seed; the router takes the seed from the kernel's random numbers, tests give one. */
void dp_hash_key_make(struct dp_hash_key *key, uint64_t seed);
/* Hash of an 8-byte key. */
uint64_t dp_hash8(const struct dp_hash_key *key, uint64_t value);
/* Hash of n 8-byte keys; the way the pipeline takes. */
void dp_hash8_many(const struct dp_hash_key *key, const uint64_t *values, uint64_t *hashes, unsigned n);
/* Hash of any number of bytes (IPv6 keys: 24). */
uint64_t dp_hash_bytes(const struct dp_hash_key *key, const void *bytes, size_t n);
/* Hash of n keys of 24 bytes, one after the other. */
void dp_hash24_many(const struct dp_hash_key *key, const void *keys, uint64_t *hashes, unsigned n);
/* Instructions used: tests force some. @return the level before, -1 when this CPU has no such level */
enum { DP_HASH_BEST, DP_HASH_PLAIN, DP_HASH_AES, DP_HASH_VAES };
int dp_hash_force(int level);

#endif
