/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Where libxml2 finds no memory: a definition is whole, or it is none. */
#include <libxml/parser.h>
#include <libxml/xmlerror.h>

#include "libvirt_texts.h"

/*
 * libxml2's own memory: the n-th allocation fails. All blocks hang on a list: version 2.9 loses one itself where it
 * cannot make an output buffer, and that must not look like a leak of ours.
 */
struct block {
    struct block *next, **link;
    size_t bytes;
    max_align_t room[];
};
static struct block *blocks;
static size_t held;
static long fail_after = -1;

static void *xml_malloc(size_t bytes) {
    struct block *b = fail_after >= 0 && fail_after-- == 0 ? NULL : malloc(sizeof *b + bytes);
    if (!b)
        return NULL;
    *b = (struct block){.next = blocks, .link = &blocks, .bytes = bytes};
    if (blocks)
        blocks->link = &b->next;
    blocks = b;
    held += bytes;
    return b->room;
}
static void xml_free(void *at) {
    if (!at)
        return;
    struct block *b = (struct block *)(void *)((char *)at - offsetof(struct block, room));
    *b->link = b->next;
    if (b->next)
        b->next->link = b->link;
    held -= b->bytes;
    free(b);
}
static void *xml_realloc(void *at, size_t bytes) {
    void *more = xml_malloc(bytes);
    if (more && at) {
        size_t old = ((struct block *)(void *)((char *)at - offsetof(struct block, room)))->bytes;
        memcpy(more, at, old < bytes ? old : bytes);
        xml_free(at);
    }
    return more;
}
static char *xml_strdup(const char *text) {
    char *copy = xml_malloc(strlen(text) + 1);
    return copy ? strcpy(copy, text) : NULL;
}
static void silent(void *ctx, const char *format, ...) { (void)ctx, (void)format; }

static void an_allocation_of_libxml2_may_fail_too(void **state) {
    (void)state;
    char why[LV_WHY];
    static const char *const from[] = {"web-live.xml", "shop-live.xml"};
    xmlSetGenericErrorFunc(NULL, silent);
    for (int i = 0; i < 2; i++) {
        char *xml = fixture(from[i]);
        struct made m;
        prepare(&m, i ? "shop" : "web");
        m.how.disk_count = i ? 2 : 1;
        m.how.seed_url = "http://a/";
        char *good = derived(xml, &m.how);
        size_t before = held;
        long n = 0, failed = 0, left = -1;
        for (; left < 0; n++) {
            char *made = NULL;
            fail_after = n;
            int rc = lv_domain_derive(xml, &m.how, &made, why);
            left = fail_after;
            fail_after = -1;
            if (rc == SPR_OK)
                assert_string_equal(made, good); /* memory was a convenience only */
            else
                assert_int_equal(rc, SPR_E_NOMEM);
            failed += rc != SPR_OK;
            lv_free(made);
        }
        assert_true(failed > 100 && failed > n * 9 / 10);
        assert_true(held < before + 10000);
        lv_free(good);
        lv_meta_clear(&m.meta);
        free(xml);
    }
    xmlSetGenericErrorFunc(NULL, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_allocation_of_libxml2_may_fail_too),
    };
    xmlMemSetup(xml_free, xml_malloc, xml_realloc, xml_strdup);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
