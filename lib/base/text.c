/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Names of things: versions, error codes, resources; text hashing and matching. */
#include "base/base.h"

#define STR_(x) #x
#define STR(x)  STR_(x)

const char *spr_version_string(void) {
    return STR(SPR_VERSION_MAJOR) "." STR(SPR_VERSION_MINOR) "." STR(SPR_VERSION_PATCH);
}
int32_t spr_version_number(void) { return SPR_VERSION_MAJOR * 1000000 + SPR_VERSION_MINOR * 1000 + SPR_VERSION_PATCH; }
const char *spr_build_license(void) { return "MIT OR Apache-2.0"; }

const char *spr_error_text(int code) {
    switch (code) {
#define SPR_X(name, number, text)                                                                                      \
    case number:                                                                                                       \
        return text;
        SPR_ERROR_CODES(SPR_X)
#undef SPR_X
    }
    return "unknown code";
}

const char *spr_error_name(int code) {
    switch (code) {
#define SPR_X(name, number, text)                                                                                      \
    case number:                                                                                                       \
        return "SPR_" #name;
        SPR_ERROR_CODES(SPR_X)
#undef SPR_X
    }
    return "SPR_?";
}

static const struct {
    const char *name, *unit;
    int compressible;
} resources[] = {
    [SPR_CPU] = {"cpu", "cores", 1},
    [SPR_MEMORY] = {"memory", "bytes", 0},
    [SPR_NET_RX] = {"net_rx", "bit/s", 1},
    [SPR_NET_TX] = {"net_tx", "bit/s", 1},
    [SPR_DISK_READ] = {"disk_read", "byte/s", 1},
    [SPR_DISK_WRITE] = {"disk_write", "byte/s", 1},
};

int spr_resource_describe(int resource, struct spr_resource_info *out) {
    if (!out || resource < 0 || resource >= (int)SPR_ARRAY_LEN(resources))
        return SPR_E_ARG;
    struct spr_resource_info info = {sizeof info, resources[resource].name, resources[resource].unit,
                                     resources[resource].compressible, 0};
    return spr__out_copy(out, &info, sizeof info);
}

int spr_resource_find(const char *name) {
    for (int i = 0; name && i < (int)SPR_ARRAY_LEN(resources); i++)
        if (!strcmp(name, resources[i].name))
            return i;
    return SPR_E_NOT_FOUND;
}

uint64_t spr__hash_text(const char *text) {
    uint64_t h = UINT64_C(14695981039346656037);
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * UINT64_C(1099511628211);
    return h;
}

bool spr__glob(const char *pattern, const char *text) {
    const char *star = NULL, *from = NULL;
    while (*text) {
        if (*pattern == '*') {
            star = pattern++;
            from = text;
        } else if (*pattern == '?' || *pattern == *text) {
            pattern++, text++;
        } else if (star) {
            pattern = star + 1;
            text = ++from;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return !*pattern;
}

/* ---- map from text to index: open addressing, at most half full ---- */

static int textmap_grow(const spr_context *ctx, struct spr_textmap *m) {
    struct spr_textmap bigger = {.cap = m->cap ? m->cap * 2 : 16};
    if (!(bigger.slots = spr__alloc(ctx, bigger.cap, sizeof *bigger.slots)))
        return spr__nomem(ctx);
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i].key)
            spr__textmap_put(ctx, &bigger, m->slots[i].key, m->slots[i].value);
    spr__textmap_finish(ctx, m);
    *m = bigger;
    return SPR_OK;
}

int spr__textmap_put(const spr_context *ctx, struct spr_textmap *m, const char *key, int64_t value) {
    if ((m->count + 1) * 2 > m->cap) {
        int rc = textmap_grow(ctx, m);
        if (rc < 0)
            return rc;
    }
    uint64_t hash = spr__hash_text(key);
    size_t i = (size_t)hash & (m->cap - 1);
    for (; m->slots[i].key; i = (i + 1) & (m->cap - 1))
        if (m->slots[i].hash == hash && !strcmp(m->slots[i].key, key))
            return SPR_E_EXISTS;
    m->slots[i].key = key;
    m->slots[i].hash = hash;
    m->slots[i].value = value;
    m->count++;
    return SPR_OK;
}

int64_t spr__textmap_get(const struct spr_textmap *m, const char *key) {
    if (!m->cap || !key)
        return -1;
    uint64_t hash = spr__hash_text(key);
    for (size_t i = (size_t)hash & (m->cap - 1); m->slots[i].key; i = (i + 1) & (m->cap - 1))
        if (m->slots[i].hash == hash && !strcmp(m->slots[i].key, key))
            return m->slots[i].value;
    return -1;
}

void spr__textmap_finish(const spr_context *ctx, struct spr_textmap *m) {
    spr__free(ctx, m->slots, m->cap, sizeof *m->slots);
    memset(m, 0, sizeof *m);
}
