/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The one place that knows how structs of different ages meet. */
#include "base/base.h"

static size_t size_of(const void *sized) {
    size_t size;
    memcpy(&size, sized, sizeof size);
    return size;
}

/* Bytes past what we know must be zero: a caller that sets them relies on something we lack. */
static bool rest_is_zero(const void *given, size_t known) {
    const unsigned char *p = given;
    for (size_t i = known, n = size_of(given); i < n; i++)
        if (p[i])
            return false;
    return true;
}

int spr__opts_copy(const spr_context *ctx, const char *what, const void *given, void *newest, size_t newest_size) {
    memset(newest, 0, newest_size);
    if (!given) {
        memcpy(newest, &newest_size, sizeof newest_size);
        return SPR_OK;
    }
    size_t size = size_of(given);
    if (size < sizeof size || size > 1u << 16)
        return spr__fail(ctx, SPR_E_ARG, "%s: its size member says %zu; set it to sizeof the struct", what, size);
    if (size > newest_size && !rest_is_zero(given, newest_size))
        return spr__fail(ctx, SPR_E_TOO_NEW, "%s: uses fields that this library (%s) does not know", what,
                         spr_version_string());
    memcpy(newest, given, SPR_MIN(size, newest_size));
    memcpy(newest, &newest_size, sizeof newest_size);
    return SPR_OK;
}

int spr__ops_copy(const spr_context *ctx, const char *what, const void *given, void *newest, size_t newest_size,
                  const size_t *required, size_t required_count) {
    if (!given)
        return spr__fail(ctx, SPR_E_ARG, "%s: a table is required", what);
    int rc = spr__opts_copy(ctx, what, given, newest, newest_size);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < required_count; i++) {
        void *slot;
        memcpy(&slot, (const char *)newest + required[i], sizeof slot);
        if (!slot)
            return spr__fail(ctx, SPR_E_ARG, "%s: the required slot at byte %zu is NULL", what, required[i]);
    }
    return SPR_OK;
}

int spr__out_copy(void *out, const void *newest, size_t newest_size) {
    size_t size = size_of(out);
    if (size < sizeof size || size > 1u << 16)
        return SPR_E_ARG;
    size_t n = SPR_MIN(size, newest_size);
    memcpy((char *)out + sizeof size, (const char *)newest + sizeof size, n - sizeof size);
    if (size > newest_size)
        memset((char *)out + newest_size, 0, size - newest_size);
    return SPR_OK;
}
