/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What tests of the libvirt backend's XML share: fixtures, a shard, words in texts, failing memory. */
#ifndef TESTS_UNIT_LIBVIRT_TEXTS_H
#define TESTS_UNIT_LIBVIRT_TEXTS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "domain.h"

/* A file of tests/libvirt/fixtures; free it. */
static inline char *fixture(const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/tests/libvirt/fixtures/%s", getenv("SPR_SOURCE_ROOT"), name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *text = calloc(1, 1 << 18);
    assert_true(fread(text, 1, (1 << 18) - 1, f) > 100);
    fclose(f);
    return text;
}

/* How often `part` stands in `text`. */
static inline int times(const char *text, const char *part) {
    int n = 0;
    for (; (text = strstr(text, part)); text += strlen(part))
        n++;
    return n;
}
#define assert_has(text, part)                                                                                         \
    do {                                                                                                               \
        if (!strstr(text, part))                                                                                       \
            fail_msg("no '%s' in: %s", part, text);                                                                    \
    } while (0)
#define assert_lacks(text, part)                                                                                       \
    do {                                                                                                               \
        if (strstr(text, part))                                                                                        \
            fail_msg("'%s' in: %s", part, text);                                                                       \
    } while (0)

/* The n-th allocation of ours fails, n = 1, 2, ... until a run meets none. Returns how many there are. */
static inline long failing_lv_sweep(int (*job)(void *arg), void *arg) {
    for (long n = 0;; n++) {
        atomic_store(&lv_alloc_fail_after, n);
        int rc = job(arg);
        long left = atomic_exchange(&lv_alloc_fail_after, -1);
        if (rc == SPR_OK) {
            assert_true(left >= 0); /* none failed in silence */
            return n;
        }
        assert_int_equal(rc, SPR_E_NOMEM);
        assert_true(left < 0);
    }
}

/* A shard with something in every member. */
static inline struct lv_shard_meta full_shard(void) {
    struct lv_shard_meta m = {.id = 0xabcdef,
                              .fence = 7,
                              .last_drain = 3,
                              .kind = SPR_SHARD_REPLICA,
                              .phase = LV_PHASE_WARM,
                              .warm = SPR_LIBVIRT_WARM_SAVED,
                              .holds_memory = 1,
                              .expires_wall_ns = INT64_C(1700000000123456789),
                              .warmness = 0.875,
                              .boot_s = 3.7,
                              .resume_s = 0.004,
                              .piece_count = 2};
    strcpy(m.vm_uuid, "7eb22306-9a3e-4d3f-a15d-afc3969a988e");
    strcpy(m.own_uuid, "11111111-2222-8333-8444-555555555555");
    assert_int_equal(lv_meta_text(&m.vm, "web"), SPR_OK);
    assert_int_equal(lv_meta_text(&m.probe, "http://10.77.1.50/?a=1&b=2"), SPR_OK);
    assert_int_equal(lv_meta_text(&m.owner, "controller-1"), SPR_OK);
    m.ready.of[SPR_CPU] = 0.5;
    m.ready.of[SPR_MEMORY] = 96 << 20;
    m.draining.of[SPR_NET_TX] = 1e7 / 3;
    m.piece[0] = (struct lv_piece){.number = 9, .phase = LV_PHASE_WARMING};
    m.piece[0].amounts.of[SPR_CPU] = 0.1;
    m.piece[1] = (struct lv_piece){.number = 12, .phase = LV_PHASE_RESERVED};
    m.piece[1].amounts.of[SPR_RESOURCE_COUNTABLE + 2] = 1;
    for (uint64_t n = 1; n < 9; n++)
        if (n != 6)
            lv_window_add(&m.ended, n);
    assert_int_equal(lv_meta_add_artefact(&m, LV_ARTEFACT_OVERLAY, "/var/lib/libvirt/images/spr <1>.qcow2"), SPR_OK);
    assert_int_equal(lv_meta_add_artefact(&m, LV_ARTEFACT_VF, "0000:01:10.0"), SPR_OK);
    return m;
}

#define UUID "11111111-2222-8333-8444-555555555555"

/* Everything that a shard of one of the fixtures needs. */
struct made {
    struct lv_shard_meta meta;
    struct lv_derive how;
    struct lv_derive_disk disk[2];
};
static inline void prepare(struct made *m, const char *vm) {
    *m = (struct made){.meta = {.id = 0xab, .fence = 3, .phase = LV_PHASE_ALLOCATED}};
    assert_int_equal(lv_meta_text(&m->meta.vm, vm), SPR_OK);
    m->how = (struct lv_derive){.meta = &m->meta, .uuid = UUID, .disks = m->disk};
    m->how.amounts.of[SPR_CPU] = 0.5;
    m->how.amounts.of[SPR_MEMORY] = 96 << 20;
    m->disk[0] = (struct lv_derive_disk){.target = "vda", .path = "/pool/spr-ab-vda.qcow2"};
    m->disk[1] = (struct lv_derive_disk){.target = "vdb", .path = "/pool/spr-ab-vdb.qcow2"};
}
static inline char *derived(const char *xml, const struct lv_derive *how) {
    char why[LV_WHY], *out = NULL;
    int rc = lv_domain_derive(xml, how, &out, why);
    if (rc < 0)
        fail_msg("%d: %s", rc, why);
    return out;
}

#endif
