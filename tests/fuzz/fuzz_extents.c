/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Any bytes as a qcow2 image: what is found lies in the file, rises, and is read once each. */
#include "fuzz.h"

#include <string.h>

#include "extents.h"

struct file {
    const uint8_t *data;
    size_t size;
};

static int read_at(void *from, uint64_t at, void *to, size_t bytes) {
    const struct file *f = from;
    if (at > f->size || bytes > f->size - at)
        abort();
    memcpy(to, f->data + at, bytes);
    return 0;
}

static void check_order(const struct lv_extents *e, uint64_t bytes) {
    struct lv_extents order = {0};
    size_t hot = 0;
    uint64_t sum = 0;
    if (lv_extents_order(e, bytes, &order, &hot) < 0)
        abort();
    for (size_t i = 0; i < order.count; i++) {
        const struct lv_extent *x = &order.of[i];
        if (!x->length || x->file > bytes || x->length > bytes - x->file ||
            (i && i != hot && x->file < order.of[i - 1].file + order.of[i - 1].length))
            abort();
        sum += x->length;
    }
    if (sum != bytes || hot > order.count)
        abort();
    lv_extents_clear(&order);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char why[LV_WHY] = "";
    struct file f = {data, size};
    struct lv_extents all = {0}, some = {0};
    int rc = lv_qcow2_map(read_at, &f, size, NULL, &all, why);
    if (rc < 0 && (!why[0] || all.of))
        abort();
    for (size_t i = 0; i < all.count; i++)
        if (all.of[i].file >= size || !all.of[i].bytes || (i && all.of[i].at < all.of[i - 1].at + all.of[i - 1].bytes))
            abort();
    if (rc == SPR_OK) {
        if (lv_qcow2_map(read_at, &f, size, &all, &some, why) < 0 || some.count != all.count)
            abort(); /* all of it asked for is all of it */
        check_order(&all, size);
    }
    lv_extents_clear(&all);
    lv_extents_clear(&some);
    return 0;
}
