/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Where the data of a qcow2 image lies, and in which order an image is read ahead. Knows nothing of libvirt. */
#ifndef SPR_LIBVIRT_EXTENTS_H
#define SPR_LIBVIRT_EXTENTS_H

#include "fields.h"

/* As the guest sees it, and in the file: of compressed clusters `length` is less than `bytes`. */
struct lv_extent {
    uint64_t at, bytes, file, length;
};
struct lv_extents {
    struct lv_extent *of;
    size_t count, cap;
};
void lv_extents_clear(struct lv_extents *e);

#define LV_EXTENTS_MOST   16384       /* in one list */
#define LV_QCOW2_L1_MOST  65536       /* entries: 32 TiB with clusters of 64 KiB */
#define LV_QCOW2_READ_MAX (64u << 20) /* bytes of tables that are read of one image */

/* All of `bytes` at `at`, or below 0. */
typedef int lv_read_at(void *from, uint64_t at, void *to, size_t bytes);
/*
 * The data that an image of version 2 or 3 holds itself (not what is under it, nor zeros), by place in the guest; with
 * `only` (sorted by `at`) the clusters that lie in it. The file may be anything.
 * @return SPR_OK, SPR_E_FORMAT, SPR_E_UNSUPPORTED (too large, extended entries, data elsewhere), SPR_E_IO, SPR_E_NOMEM
 */
int lv_qcow2_map(lv_read_at *read, void *from, uint64_t file_bytes, const struct lv_extents *only,
                 struct lv_extents *out, char why[LV_WHY]);
/*
 * A file of that length in the order in which it is read: what is hot, by place in the file, then what is between. Each
 * byte once; `*hot_count` are hot. `hot` may be NULL. SPR_OK or SPR_E_NOMEM.
 */
int lv_extents_order(const struct lv_extents *hot, uint64_t file_bytes, struct lv_extents *out, size_t *hot_count);

#endif
