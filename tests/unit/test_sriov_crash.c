/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The process dies, or the kernel says no, at every single step of taking, giving back and resizing. The next open
 * finds each VF either whole in its shard's hands or as it was before, and the record files of the journal say what
 * they must.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sys/wait.h>

#include "fake_vfs.h"
#include "sriov.h"

struct picture {
    struct spr_sriov_settings vf[2][8];
    char driver[6][64], wish[6][64];
};

static void device(int i, char out[16]) { fake_vf_address(i / 3, i % 3, out); }

static struct picture look_at(const struct fake_vfs *f) {
    struct picture p;
    char path[TREE_PATH], at[16];
    memset(&p, 0, sizeof p);
    memcpy(p.vf, f->vf, sizeof p.vf);
    for (int i = 0; i < 6; i++) {
        device(i, at);
        fake_driver(f, at, p.driver[i]);
        fake_first_line(fake_path(f, path, "bus/pci/devices/%s/driver_override", at), p.wish[i]);
    }
    return p;
}

static struct spr_sriov_want want(uint64_t shard, uint32_t flags) {
    return (struct spr_sriov_want){.size = sizeof(struct spr_sriov_want),
                                   .shard = shard,
                                   .flags = flags,
                                   .vlan = 100,
                                   .max_mbps = 200,
                                   .trust = 1,
                                   .spoofchk = SPR_NONE,
                                   .mac = {0x52, 0x54, 0, 0xaa, 0, 1}};
}

/* ---- what is done: 0 take, 1 give back, 2 resize ---- */

enum { TAKE, RELEASE, RESIZE };

static int job(spr_context *ctx, struct fake_vfs *f, int what, uint32_t flags) {
    spr_sriov *s = NULL;
    struct spr_sriov_want w = want(5, flags);
    struct spr_sriov_vf v = {.size = sizeof v};
    int rc = fake_vfs_open(ctx, f, &s);
    if (rc >= 0)
        rc = what == TAKE      ? spr_sriov_allocate(s, &w, &v)
             : what == RELEASE ? spr_sriov_release(s, 5, 0)
                               : spr_sriov_set_vfs(s, 1, 5);
    spr_sriov_close(s);
    return rc;
}

/* The tree of the run before serves again: that run ended with it as it was. */
static void begin_again(struct fake_vfs *f) {
    unlink(f->journal);
    f->step = f->fail_at = f->fail_until = f->die_before = f->die_after = 0;
}

/* In a child; returns its exit code. */
static int job_in_child(struct fake_vfs *f, int what, uint32_t flags) {
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        spr_context *ctx = NULL;
        int rc = spr_context_create(NULL, &ctx);
        _exit(rc < 0 || job(ctx, f, what, flags) < 0 ? 1 : 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void whole_or_as_before(struct fake_vfs *f, const struct picture *before, uint32_t flags) {
    spr_context *ctx = NULL;
    spr_sriov *s = NULL;
    struct spr_sriov_vf v = {.size = sizeof v};
    struct spr_sriov_facts facts = {.size = sizeof facts};
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    assert_int_equal(fake_vfs_open(ctx, f, &s), SPR_OK);
    assert_int_equal(spr_sriov_facts(s, &facts), SPR_OK);
    assert_int_equal(facts.stuck, 0);
    if (spr_sriov_find(s, 5, 0, &v) == SPR_OK) {
        assert_int_equal(facts.vfs_ours, 1);
        assert_int_equal(f->vf[0][0].vlan, 100);
        assert_int_equal(f->vf[0][0].trust, 1);
        assert_string_equal(v.driver, flags & SPR_SRIOV_HOST_DRIVER ? "igbvf" : "vfio-pci");
        assert_int_equal(spr_sriov_release(s, 5, 0), SPR_OK);
    }
    struct picture now = look_at(f);
    assert_memory_equal(&now, before, sizeof now);
    assert_int_equal(spr_sriov_facts(s, &facts), SPR_OK);
    assert_int_equal(facts.vfs_free, 6);
    spr_sriov_close(s);
    spr_context_unref(ctx);
}

/* Dies at step 1, 2, 3, ... until a run gets to its end. */
static void die_everywhere(int what, uint32_t flags, int least) {
    int n = 1;
    struct fake_vfs *f = fake_vfs_make();
    struct picture before = look_at(f);
    for (int ended = 0; !ended; n++)
        for (int after = 0; after < 2; after++) {
            begin_again(f);
            if (what == RELEASE)
                assert_int_equal(job_in_child(f, TAKE, flags), 0);
            f->step = 0;
            *(after ? &f->die_after : &f->die_before) = n;
            int code = job_in_child(f, what, flags);
            f->die_after = f->die_before = 0;
            ended = code == 0;
            assert_true(code == 0 || code == FAKE_DEAD);
            if (code == FAKE_DEAD)
                assert_int_equal(f->step, n);
            /* The one that puts things right dies too, at each of its steps, before it succeeds. */
            for (int again = 1; again < 12; again++) {
                spr_context *ctx = NULL;
                spr_sriov *s = NULL;
                int status;
                f->step = 0;
                pid_t child = fork();
                if (!child) {
                    f->die_after = again;
                    _exit(spr_context_create(NULL, &ctx) < 0 || fake_vfs_open(ctx, f, &s) < 0);
                }
                assert_int_equal(waitpid(child, &status, 0), child);
                f->die_after = 0;
                if (WEXITSTATUS(status) == 0)
                    break;
                assert_int_equal(WEXITSTATUS(status), FAKE_DEAD);
            }
            whole_or_as_before(f, &before, flags);
        }
    assert_true(n > least);
    fake_vfs_end(f);
}

static void test_sriov_crash__taking_dies_at_every_step(void **state) {
    (void)state;
    die_everywhere(TAKE, 0, 10);
    die_everywhere(TAKE, SPR_SRIOV_HOST_DRIVER, 9);
}
static void test_sriov_crash__giving_back_dies_at_every_step(void **state) {
    (void)state;
    die_everywhere(RELEASE, 0, 10);
    die_everywhere(RELEASE, SPR_SRIOV_HOST_DRIVER, 9);
}

static void test_sriov_crash__resizing_leaves_no_card_without(void **state) {
    (void)state;
    for (int after = 0; after < 2; after++)
        for (int n = 1; n <= 4; n++) {
            struct fake_vfs *f = fake_vfs_make();
            char path[TREE_PATH], number[64];
            *(after ? &f->die_after : &f->die_before) = n;
            assert_int_equal(job_in_child(f, RESIZE, 0), FAKE_DEAD);
            f->die_after = f->die_before = 0;
            spr_context *ctx = NULL;
            spr_sriov *s = NULL;
            struct spr_sriov_facts facts = {.size = sizeof facts};
            assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
            assert_int_equal(fake_vfs_open(ctx, f, &s), SPR_OK);
            fake_first_line(fake_path(f, path, "bus/pci/devices/0000:02:00.0/sriov_numvfs"), number);
            assert_true(atoi(number) == 3 || atoi(number) == 5);
            assert_int_equal(atoi(number), n == 1 || (n == 2 && !after) ? 3 : 5);
            assert_int_equal(spr_sriov_facts(s, &facts), SPR_OK);
            assert_int_equal(facts.vfs, 3 + atoi(number));
            spr_sriov_close(s);
            spr_context_unref(ctx);
            fake_vfs_end(f);
        }
}

/* The kernel, or the journal, says no at step n, and to everything after it for `more` steps. */
static void fail_everywhere(int what, int more) {
    spr_context *ctx = NULL;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    int n = 1;
    struct fake_vfs *f = fake_vfs_make();
    struct picture before = look_at(f);
    for (int done = 0; !done; n++) {
        begin_again(f);
        if (what == RELEASE)
            assert_int_equal(job(ctx, f, TAKE, 0), SPR_OK);
        f->step = 0;
        f->fail_at = n;
        f->fail_until = n + more;
        int rc = job(ctx, f, what, 0);
        done = f->step < n;
        f->fail_at = 0;
        assert_true(done ? rc == SPR_OK : rc < 0 || what == RELEASE || what == RESIZE);
        if (what != RESIZE) {
            whole_or_as_before(f, &before, 0);
        } else {
            assert_int_equal(job(ctx, f, RESIZE, 0), SPR_OK);
            assert_int_equal(fake_count(f, "0000:02:00.0", 0), 0);
            assert_int_equal(fake_count(f, "0000:02:00.0", 3), 0);
        }
    }
    assert_true(n > 4);
    fake_vfs_end(f);
    spr_context_unref(ctx);
}

static void test_sriov_crash__a_step_is_refused(void **state) {
    (void)state;
    for (int what = TAKE; what <= RESIZE; what++) {
        fail_everywhere(what, 0);
        fail_everywhere(what, 1);
        fail_everywhere(what, 1000);
    }
}

/* ---- the journal's records ---- */

static const char *const good[] = {
    "1 claim 0000:01:10.2 shard=00000000000000ab nic=1 flags=4 pf=0000:01:00.0 index=1 driver=igbvf known=31 "
    "mac=52:54:00:aa:00:01 vlan=100 qos=3 proto=8100 min=0 max=200 spoofchk=1 trust=0",
    "1 claim 10000:01:10.2 shard=ffffffffffffffff nic=0 flags=0 pf=10000:01:00.0 index=65535 driver=- known=0 "
    "mac=00:00:00:00:00:00 vlan=0 qos=0 proto=0000 min=0 max=0 spoofchk=0 trust=0",
    "1 hold 0000:01:10.2",
    "1 drop 0000:01:10.2",
    "1 gone 0000:01:10.2",
    "1 resize 0000:01:00.0 from=3 to=0",
    "1 resized 0000:01:00.0",
};

static void test_sriov_crash__records_have_one_way_to_be_written(void **state) {
    (void)state;
    char text[SV_RECORD];
    struct sv_record r;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        size_t n = strlen(good[i]);
        assert_int_equal(sv_record_parse(good[i], n, &r), SPR_OK);
        assert_int_equal(sv_record_format(&r, text), n);
        assert_string_equal(text, good[i]);
        for (size_t cut = 0; cut < n; cut++) /* no prefix is a record of the same meaning */
            if (sv_record_parse(good[i], cut, &r) == SPR_OK) {
                sv_record_format(&r, text);
                assert_int_equal(strlen(text), cut);
            }
        for (size_t at = 0; at < n; at++) { /* every byte counts */
            char other[SV_RECORD];
            memcpy(other, good[i], n);
            other[at] ^= 1;
            if (sv_record_parse(other, n, &r) == SPR_OK) {
                sv_record_format(&r, text);
                assert_memory_equal(text, other, n);
            }
        }
    }
    static const char *const bad[] = {"",
                                      "1",
                                      "1 hold",
                                      "1 hold 0000:01:10.9",
                                      "1 hold  0000:01:10.2",
                                      "1 hold 0000:01:10.2 ",
                                      "1 keep 0000:01:10.2",
                                      "0 hold 0000:01:10.2",
                                      "1 resize 0000:01:00.0 from=-1 to=2",
                                      "1 resize 0000:01:00.0 from=+1 to=2",
                                      "1 resize 0000:01:00.0 from=01 to=2",
                                      "1 hold ../../../etc/x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(sv_record_parse(bad[i], strlen(bad[i]), &r), SPR_E_FORMAT);
    assert_int_equal(sv_record_parse("2 hold 0000:01:10.2", 19, &r), SPR_E_TOO_NEW);
    assert_int_equal(sv_record_parse("1 hold 0000:01:10.2\0", 20, &r), SPR_E_FORMAT);
    char evil[SV_RECORD]; /* a driver's name becomes part of a path */
    snprintf(evil, sizeof evil, "%s", good[0]);
    memcpy(strstr(evil, "igbvf"), "../..", 5);
    assert_int_equal(sv_record_parse(evil, strlen(evil), &r), SPR_E_FORMAT);
}

/* A journal whose records do not follow from one another, or of a later version, is refused whole, and nothing is
 * touched. */
static void test_sriov_crash__refuses_a_journal_that_cannot_be(void **state) {
    (void)state;
    const struct {
        const char *record[3];
        int code;
    } journal[] = {
        {{good[2], NULL}, SPR_E_CORRUPT},
        {{good[3], NULL}, SPR_E_CORRUPT},
        {{"hello", NULL}, SPR_E_FORMAT},
        {{"2 hold 0000:01:10.2", NULL}, SPR_E_TOO_NEW},
        {{good[0], good[2]}, SPR_OK},
        {{good[0], good[2], good[2]}, SPR_E_CORRUPT},
        {{good[0], good[2], good[0]}, SPR_E_CORRUPT},
        {{good[4], good[6]}, SPR_OK},
    };
    for (size_t i = 0; i < sizeof journal / sizeof *journal; i++) {
        struct fake_vfs *f = fake_vfs_make();
        spr_context *ctx = NULL;
        spr_sriov *s = NULL;
        void *file = NULL;
        spr_ticket ticket;
        assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
        struct spr_env env = {.size = sizeof env, .context = ctx};
        struct spr_store_file_opts o = {.size = sizeof o, .path = f->journal};
        assert_int_equal(spr_store_file()->open(&env, &o, &file), SPR_OK);
        for (int k = 0; k < 3 && journal[i].record[k]; k++)
            assert_int_equal(
                spr_store_file()->append(file, journal[i].record[k], strlen(journal[i].record[k]), INT64_MAX, &ticket),
                SPR_OK);
        spr_store_file()->close(file);
        assert_int_equal(fake_vfs_open(ctx, f, &s), journal[i].code);
        if (journal[i].code < 0)
            assert_int_equal(f->step, 0);
        spr_sriov_close(s);
        spr_context_unref(ctx);
        fake_vfs_end(f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sriov_crash__taking_dies_at_every_step),
        cmocka_unit_test(test_sriov_crash__giving_back_dies_at_every_step),
        cmocka_unit_test(test_sriov_crash__resizing_leaves_no_card_without),
        cmocka_unit_test(test_sriov_crash__a_step_is_refused),
        cmocka_unit_test(test_sriov_crash__records_have_one_way_to_be_written),
        cmocka_unit_test(test_sriov_crash__refuses_a_journal_that_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
