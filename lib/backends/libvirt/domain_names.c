/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Names, UUIDs and MAC addresses of shards: the same ones for the same shard, whoever makes them. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "domain.h"

#define PREFIX "spr-"

void lv_domain_name(uint64_t shard, const char *vm, char out[LV_NAME]) {
    int at = snprintf(out, LV_NAME, PREFIX "%016" PRIx64 "-", shard);
    size_t room = LV_NAME - 1 - (size_t)at, n = strlen(vm);
    if (n > room)
        for (n = room; n && ((unsigned char)vm[n] & 0xC0) == 0x80;)
            n--; /* not inside a character */
    for (size_t i = 0; i < n; i++)
        out[(size_t)at + i] = (unsigned char)vm[i] < ' ' || vm[i] == '/' || vm[i] == 0x7F ? '_' : vm[i];
    out[(size_t)at + n] = 0;
}

uint64_t lv_domain_name_id(const char *name) {
    uint64_t id = 0;
    if (!name || strncmp(name, PREFIX, sizeof PREFIX - 1))
        return 0;
    name += sizeof PREFIX - 1;
    for (int i = 0; i < 16; i++, name++) {
        int digit = *name >= '0' && *name <= '9' ? *name - '0' : *name >= 'a' && *name <= 'f' ? *name - 'a' + 10 : -1;
        if (digit < 0)
            return 0;
        id = id << 4 | (uint64_t)digit;
    }
    return *name == '-' ? id : 0;
}

uint64_t lv_mix(uint64_t z) {
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

void lv_uuid_derive(uint64_t shard, const char *vm_uuid, char out[LV_UUID]) {
    uint64_t h = UINT64_C(14695981039346656037);
    for (; vm_uuid && *vm_uuid; vm_uuid++)
        h = (h ^ (unsigned char)*vm_uuid) * UINT64_C(1099511628211);
    uint64_t a = lv_mix(h ^ lv_mix(shard + UINT64_C(0x9E3779B97F4A7C15))), b = lv_mix(a ^ lv_mix(shard ^ h));
    /* Version 8 (our own making) and the usual variant. */
    a = (a & ~UINT64_C(0xF000)) | UINT64_C(0x8000);
    b = (b & ~(UINT64_C(3) << 62)) | UINT64_C(2) << 62;
    snprintf(out, LV_UUID, "%08" PRIx64 "-%04" PRIx64 "-%04" PRIx64 "-%04" PRIx64 "-%012" PRIx64, a >> 32,
             a >> 16 & 0xFFFF, a & 0xFFFF, b >> 48, b & UINT64_C(0xFFFFFFFFFFFF));
}

static bool hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

bool lv_uuid_valid(const char *text) {
    if (!text || strlen(text) != LV_UUID - 1)
        return false;
    for (int i = 0; i < LV_UUID - 1; i++)
        if (i == 8 || i == 13 || i == 18 || i == 23 ? text[i] != '-' : !hex(text[i]))
            return false;
    return true;
}

void lv_mac_derive(uint64_t shard, uint32_t interface, uint32_t attempt, char out[LV_MAC]) {
    uint64_t h = lv_mix(lv_mix(shard + UINT64_C(0x9E3779B97F4A7C15)) ^ ((uint64_t)attempt << 32 | interface));
    snprintf(out, LV_MAC, "52:54:00:%02x:%02x:%02x", (unsigned)(h >> 16 & 0xFF), (unsigned)(h >> 8 & 0xFF),
             (unsigned)(h & 0xFF));
}

bool lv_mac_valid(const char *text) {
    if (!text || strlen(text) != LV_MAC - 1)
        return false;
    for (int i = 0; i < LV_MAC - 1; i++)
        if (i % 3 == 2 ? text[i] != ':' : !hex(text[i]))
            return false;
    char second = text[1]; /* the lowest bit of the first byte marks a multicast address */
    return !strchr("13579bBdDfF", second) && strcmp(text, "00:00:00:00:00:00");
}
