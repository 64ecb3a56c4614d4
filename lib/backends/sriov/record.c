/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Records of the journal: one line of text each, which has one way to be written (doc/backends/sriov.md). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "sriov.h"

static const char *const words[] = {
    [SV_CLAIM] = "claim", [SV_HOLD] = "hold",     [SV_DROP] = "drop",
    [SV_GONE] = "gone",   [SV_RESIZE] = "resize", [SV_RESIZED] = "resized",
};

static int format_claim(const struct sv_record *r, char out[SV_RECORD]) {
    const struct spr_sriov_settings *f = &r->former;
    return snprintf(out, SV_RECORD,
                    "1 claim %s shard=%016" PRIx64 " nic=%" PRId32 " flags=%" PRIu32 " pf=%s index=%" PRId32
                    " driver=%s "
                    "known=%" PRIu32 " mac=%02x:%02x:%02x:%02x:%02x:%02x vlan=%u qos=%" PRIu32 " proto=%04" PRIx32
                    " min=%" PRIu32 " max=%" PRIu32 " spoofchk=%" PRIu32 " trust=%" PRIu32,
                    r->address, r->shard, r->nic, r->flags, r->pf, r->index, r->driver[0] ? r->driver : "-", f->known,
                    f->mac[0], f->mac[1], f->mac[2], f->mac[3], f->mac[4], f->mac[5], (unsigned)f->vlan, f->vlan_qos,
                    f->vlan_proto, f->min_mbps, f->max_mbps, f->spoofchk, f->trust);
}

int sv_record_format(const struct sv_record *r, char out[SV_RECORD]) {
    switch (r->kind) {
    case SV_CLAIM:
        return format_claim(r, out);
    case SV_RESIZE:
        return snprintf(out, SV_RECORD, "1 resize %s from=%" PRId32 " to=%" PRId32, r->address, r->from, r->to);
    default:
        return snprintf(out, SV_RECORD, "1 %s %s", words[r->kind], r->address);
    }
}

static bool parse_claim(const char *text, struct sv_record *r) {
    struct spr_sriov_settings *f = &r->former;
    unsigned vlan;
    f->size = sizeof *f;
    int n = sscanf(text,
                   "1 claim %15s shard=%16" SCNx64 " nic=%9" SCNd32 " flags=%9" SCNu32 " pf=%15s index=%9" SCNd32
                   " driver=%31s known=%9" SCNu32 " mac=%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx vlan=%4u qos=%1" SCNu32
                   " proto=%4" SCNx32 " min=%9" SCNu32 " max=%9" SCNu32 " spoofchk=%1" SCNu32 " trust=%1" SCNu32,
                   r->address, &r->shard, &r->nic, &r->flags, r->pf, &r->index, r->driver, &f->known, &f->mac[0],
                   &f->mac[1], &f->mac[2], &f->mac[3], &f->mac[4], &f->mac[5], &vlan, &f->vlan_qos, &f->vlan_proto,
                   &f->min_mbps, &f->max_mbps, &f->spoofchk, &f->trust);
    if (n != 21 || !sv_address_ok(r->pf) || !sv_name_ok(r->driver) || !r->shard || r->nic < 0 || r->index < 0 ||
        r->index > 65535 || f->known > SPR_SRIOV_ALL || r->flags > 15 || vlan > 4095 || f->vlan_qos > 7 ||
        f->spoofchk > 1 || f->trust > 1)
        return false;
    f->vlan = (uint16_t)vlan;
    if (!strcmp(r->driver, "-"))
        r->driver[0] = 0;
    return true;
}

static bool parse_as(int kind, const char *text, struct sv_record *r) {
    char word[8];
    r->kind = kind;
    if (kind == SV_CLAIM)
        return parse_claim(text, r);
    if (kind == SV_RESIZE)
        return sscanf(text, "1 resize %15s from=%9" SCNd32 " to=%9" SCNd32, r->address, &r->from, &r->to) == 3 &&
               r->from >= 0 && r->to >= 0;
    return sscanf(text, "1 %7s %15s", word, r->address) == 2;
}

int sv_record_parse(const void *data, size_t bytes, struct sv_record *out) {
    char text[SV_RECORD], again[SV_RECORD], word[8];
    int version;
    if (!bytes || bytes >= sizeof text || memchr(data, 0, bytes))
        return SPR_E_FORMAT;
    memcpy(text, data, bytes);
    text[bytes] = 0;
    if (sscanf(text, "%3d %7s", &version, word) != 2)
        return SPR_E_FORMAT;
    if (version > 1)
        return SPR_E_TOO_NEW;
    for (int kind = SV_CLAIM; kind <= SV_RESIZED; kind++) {
        struct sv_record r = {.kind = 0};
        if (strcmp(word, words[kind]) || !parse_as(kind, text, &r) || !sv_address_ok(r.address))
            continue;
        int n = sv_record_format(&r, again);
        if (n != (int)bytes || memcmp(again, text, bytes)) /* signs, spaces, leading zeros, numbers too large */
            return SPR_E_FORMAT;
        *out = r;
        return SPR_OK;
    }
    return SPR_E_FORMAT;
}
