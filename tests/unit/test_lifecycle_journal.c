/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Journals: what was written comes back, what was cut off is cut, what is damaged is refused, a full disk acts not. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>

#include "failing_alloc.h"
#include "lifecycle_bench.h"

static spr_context *ctx;
static char folder[64], path[96], other[96];

static int setup(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "%s", "spr-journal-XXXXXX");
    if (spr_context_create(NULL, &ctx) < 0 || !mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/journal", folder);
    snprintf(other, sizeof other, "%s/copy", folder);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    unlink(path);
    unlink(other);
    spr_context_unref(ctx);
    return rmdir(folder);
}

static int open_store(const char *where, void **state) {
    struct spr_store_file_opts o = {.size = sizeof o, .path = where};
    struct spr_env env = {.size = sizeof env, .context = ctx};
    return spr_store_file()->open(&env, &o, state);
}

static const char *error_text(void) {
    static struct spr_error e;
    e.size = sizeof e;
    return spr_context_error(ctx, &e) < 0 ? "" : e.text;
}

/* ---- what is read back ---- */

struct seen {
    int count;
    size_t bytes;
    uint64_t hash;
};

static int see(void *user, const void *data, size_t bytes) {
    struct seen *s = user;
    s->count++;
    s->bytes += bytes;
    s->hash = spr__mix64(s->hash ^ spr__crc32c(0, data, bytes));
    return SPR_OK;
}

static int add(void *store, const char *text) {
    spr_ticket t;
    return spr_store_file()->append(store, text, strlen(text), INT64_MAX, &t);
}

static size_t load(const char *from, uint8_t *to, size_t room) {
    FILE *f = fopen(from, "rb");
    assert_non_null(f);
    size_t n = fread(to, 1, room, f);
    fclose(f);
    return n;
}

static void save(const char *to, const uint8_t *from, size_t n) {
    FILE *f = fopen(to, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(from, 1, n, f), n);
    fclose(f);
}

static void what_was_appended_comes_back_in_order(void **state) {
    void *s = NULL;
    struct seen a = {0}, b = {0};
    int64_t torn = -1;
    (void)state;
    assert_int_equal(open_store(path, &s), SPR_OK);
    assert_int_equal(add(s, "one"), SPR_OK);
    assert_int_equal(add(s, ""), SPR_OK);
    struct spr_store_completion c[4] = {{.size = sizeof c[0]}};
    size_t n = 0;
    assert_int_equal(spr_store_file()->collect(s, (struct spr_time){0, 0}, c, 4, &n), SPR_OK);
    assert_int_equal(n, 2);
    assert_true(c[0].outcome == SPR_DONE && c[1].outcome == SPR_DONE && c[0].ticket < c[1].ticket);
    spr_store_file()->close(s);
    assert_int_equal(open_store(path, &s), SPR_OK);
    assert_int_equal(add(s, "three"), SPR_OK);
    assert_int_equal(spr_store_file()->read(s, see, &a, &torn), SPR_OK);
    see(&b, "one", 3), see(&b, "", 0), see(&b, "three", 5);
    assert_int_equal(torn, 0);
    assert_memory_equal(&a, &b, sizeof a);
    spr_store_file()->close(s);
}

static void a_memory_journal_does_the_same(void **state) {
    const struct spr_store_ops *m = spr_store_memory();
    struct spr_env env = {.size = sizeof env, .context = ctx};
    struct seen a = {0}, b = {0};
    void *s = NULL;
    spr_ticket t;
    int64_t torn = -1;
    (void)state;
    assert_int_equal(m->open(&env, NULL, &s), SPR_OK);
    assert_int_equal(m->append(s, "one", 3, 0, &t), SPR_OK);
    assert_int_equal(m->append(s, "three", 5, 0, &t), SPR_OK);
    assert_int_equal(m->read(s, see, &a, &torn), SPR_OK);
    see(&b, "one", 3), see(&b, "three", 5);
    assert_memory_equal(&a, &b, sizeof a);
    m->close(s);
}

static void two_cannot_write_the_same_journal(void **state) {
    void *a = NULL, *b = NULL;
    (void)state;
    assert_int_equal(open_store(path, &a), SPR_OK);
    assert_int_equal(open_store(path, &b), SPR_E_BUSY);
    spr_store_file()->close(a);
    assert_int_equal(open_store(path, &b), SPR_OK);
    spr_store_file()->close(b);
}

/* Whatever byte a crash stopped at: whole records stay, the rest goes, and one may go on behind it. */
static void a_torn_tail_is_cut_at_any_byte(void **state) {
    static const char *const texts[] = {"first", "the second record", "3",
                                        "and a fourth one, with a mark \xd3\xa5\x52\x43"};
    uint8_t whole[512];
    size_t ends[5] = {16}, n;
    void *s = NULL;
    (void)state;
    assert_int_equal(open_store(path, &s), SPR_OK);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(add(s, texts[i]), SPR_OK);
        ends[i + 1] = ends[i] + 12 + strlen(texts[i]);
    }
    spr_store_file()->close(s);
    n = load(path, whole, sizeof whole);
    assert_int_equal(n, ends[4]);
    for (size_t cut = 0; cut <= n; cut++) {
        int want = 0;
        while (want < 4 && ends[want + 1] <= cut)
            want++;
        struct seen seen = {0};
        int64_t torn = -1;
        save(other, whole, cut);
        assert_int_equal(open_store(other, &s), SPR_OK);
        assert_int_equal(spr_store_file()->read(s, see, &seen, &torn), SPR_OK);
        assert_int_equal(seen.count, want);
        assert_int_equal(torn, cut < 16 ? cut : cut - ends[want]);
        assert_int_equal(add(s, "after"), SPR_OK);
        spr_store_file()->close(s);
        assert_int_equal(open_store(other, &s), SPR_OK);
        assert_int_equal(spr_store_file()->read(s, see, &seen, &torn), SPR_OK);
        assert_int_equal(seen.count, 2 * want + 1);
        assert_int_equal(torn, 0);
        spr_store_file()->close(s);
    }
}

static void damage_in_the_middle_is_refused_with_its_place_and_changes_nothing(void **state) {
    uint8_t whole[512], after[512];
    void *s = NULL;
    (void)state;
    assert_int_equal(open_store(path, &s), SPR_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(add(s, "some record"), SPR_OK);
    spr_store_file()->close(s);
    size_t n = load(path, whole, sizeof whole);
    for (size_t at = 16; at < 16 + 2 * 23; at++) {
        char place[128];
        whole[at] ^= 0x10;
        save(other, whole, n);
        assert_int_equal(open_store(other, &s), SPR_E_CORRUPT);
        snprintf(place, sizeof place, "%s: byte %d:", other, at < 16 + 23 ? 16 : 39);
        assert_non_null(strstr(error_text(), place));
        assert_int_equal(load(other, after, sizeof after), n);
        assert_memory_equal(after, whole, n);
        whole[at] ^= 0x10;
    }
}

static void what_is_no_journal_is_left_alone(void **state) {
    static const uint8_t text[] = "Dear diary, today I was not a journal of this library.";
    uint8_t header[64];
    void *s = NULL;
    (void)state;
    save(other, text, sizeof text);
    assert_int_equal(open_store(other, &s), SPR_E_FORMAT);
    save(other, text, 5);
    assert_int_equal(open_store(other, &s), SPR_E_FORMAT);
    assert_int_equal(open_store(folder, &s), SPR_E_IO);
    assert_int_equal(open_store("", &s), SPR_E_ARG);
    assert_int_equal(open_store(path, &s), SPR_OK);
    spr_store_file()->close(s);
    size_t n = load(path, header, sizeof header);
    header[8] = 2; /* the next version, rightly summed */
    uint32_t crc = spr__crc32c(0, header, 12);
    for (int i = 0; i < 4; i++)
        header[12 + i] = (uint8_t)(crc >> (8 * i));
    save(other, header, n);
    assert_int_equal(open_store(other, &s), SPR_E_TOO_NEW);
    header[12] ^= 1;
    save(other, header, n);
    assert_int_equal(open_store(other, &s), SPR_E_CORRUPT);
}

/* ---- the lifecycle on a file ---- */

static int start(struct bench *b, struct fake_world *w, uint64_t fence) {
    struct spr_store_file_opts file = {.size = sizeof file, .path = path};
    struct spr_lifecycle_opts o = {.size = sizeof o, .store = spr_store_file(), .store_config = &file, .fence = fence};
    memset(b, 0, sizeof *b);
    b->ctx = ctx;
    b->w = w ? w : &b->own;
    b->now = (struct spr_time){INT64_C(1700000000) * S_NS, 100 * S_NS};
    int rc = bench_fleet(ctx, false, &b->fleet);
    rc = rc < 0 ? rc : bench_start(b, &o);
    if (rc < 0)
        bench_stop(b);
    return rc;
}

static void a_full_disk_means_the_action_is_not_done(void **state) {
    struct bench *b = calloc(1, sizeof *b);
    struct rlimit old, small;
    uint8_t file[8192];
    (void)state;
    assert_int_equal(start(b, NULL, 0), SPR_OK);
    assert_int_equal(bench_step(b, 0), SPR_OK);
    assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 0, 1, 2), 1);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    size_t before = load(path, file, sizeof file);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = before + 30; /* a record begins, and does not fit */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int64_t asked = b->w->asked[SPR_DRIVER_ALLOCATE] + b->w->asked[SPR_DRIVER_RESIZE] + b->w->asked[SPR_DRIVER_DRAIN];
    int alloc = bench_do(b, SPR_ACTION_ALLOCATE, 0, 0, 2, 2), grow = bench_do(b, SPR_ACTION_GROW, 1, 0, 1, 2);
    int shrink = bench_do(b, SPR_ACTION_SHRINK, 1, 0, 1, 1), step = bench_step(b, 5);
    size_t full = load(path, file, sizeof file);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_true(alloc == SPR_E_IO && grow == SPR_E_IO && shrink == SPR_E_IO && step == SPR_OK);
    assert_int_equal(full, before);
    assert_int_equal(asked,
                     b->w->asked[SPR_DRIVER_ALLOCATE] + b->w->asked[SPR_DRIVER_RESIZE] + b->w->asked[SPR_DRIVER_DRAIN]);
    assert_int_equal(b->l->shard_count, 1);
    assert_true(b->l->shards[0]->ready.of[0] == 2 && b->l->shards[0]->piece_count == 0);
    assert_int_equal(bench_do(b, SPR_ACTION_GROW, 1, 0, 1, 2), 1); /* and then there is room again */
    assert_int_equal(bench_step(b, 5), SPR_OK);
    assert_true(b->w->shards[0].ready[0] == 4);
    bench_stop(b);
    free(b);
}

static void a_restart_adopts_what_serves_and_goes_on_with_what_was_under_way(void **state) {
    struct bench *b = calloc(1, sizeof *b), *c = calloc(1, sizeof *c);
    (void)state;
    assert_int_equal(start(b, NULL, 0), SPR_OK);
    assert_int_equal(spr_lifecycle_ready(b->l), 0);
    assert_int_equal(bench_step(b, 0), SPR_OK);
    assert_int_equal(spr_lifecycle_ready(b->l), 1);
    assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 0, 1, 2), 1);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    b->w->delay_ns[SPR_DRIVER_WARM] = 600 * S_NS;
    assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, 2, 2, 3), 1);
    assert_int_equal(bench_do(b, SPR_ACTION_GROW, 1, 0, 1, 1), 1);
    assert_int_equal(bench_step(b, 1), SPR_OK);
    bench_stop(b);
    b->w->call_count = 0; /* whatever was under way is gone */
    b->w->delay_ns[SPR_DRIVER_WARM] = 0;
    assert_int_equal(start(c, b->w, 1), SPR_OK); /* the same fence may come back */
    spr_lifecycle_destroy(c->l);
    spr_fleet_unref(c->fleet);
    assert_int_equal(start(c, b->w, 0), SPR_OK);
    assert_int_equal(c->l->fence, 2);
    for (int i = 0; i < 4; i++)
        assert_int_equal(bench_step(c, 2), SPR_OK);
    assert_int_equal(c->l->shard_count, 2);
    assert_true(fake_find(c->w, 1)->ready[0] == 3 && fake_find(c->w, 2)->ready[0] == 3);
    assert_true(fake_find(c->w, 1)->active && fake_find(c->w, 2)->active && fake_find(c->w, 1)->fence == 2);
    assert_int_equal(c->l->next_id, 3);
    assert_int_equal(c->l->illegal, 0);
    bench_stop(c);
    assert_int_equal(start(c, b->w, 1), SPR_E_FENCED);
    free(b);
    free(c);
}

/* Recovery from every prefix of a journal, against hosts as they stood when its last byte was written. */
static void recovery_from_any_truncated_copy_agrees_with_the_hosts(void **state) {
    struct bench *b = calloc(1, sizeof *b), *c = calloc(1, sizeof *c);
    struct fake_world *w = calloc(1, sizeof *w);
    static uint8_t whole[16384];
    (void)state;
    assert_int_equal(start(b, NULL, 0), SPR_OK);
    assert_int_equal(bench_step(b, 0), SPR_OK);
    b->w->delay_ns[SPR_DRIVER_WARM] = 5 * S_NS;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(bench_do(b, SPR_ACTION_ALLOCATE, 0, i, 1 + i, 2 + i), 1);
        assert_int_equal(bench_step(b, 3), SPR_OK);
    }
    assert_int_equal(bench_do(b, SPR_ACTION_RELEASE, 1, 0, 1, 0), 1);
    assert_int_equal(bench_do(b, SPR_ACTION_GROW, 2, 0, 2, 1.5), 1);
    bench_stop(b);
    size_t n = load(path, whole, sizeof whole);
    for (size_t cut = n; cut-- > n - 500;) {
        save(path, whole, cut);
        *w = *b->w;
        w->call_count = 0;
        assert_int_equal(start(c, w, 0), SPR_OK);
        for (int i = 0; i < 12; i++)
            assert_int_equal(bench_step(c, 30), SPR_OK);
        assert_int_equal(c->l->shard_count, w->shard_count);
        for (size_t i = 0; i < c->l->shard_count; i++) {
            const struct spr__shard *s = c->l->shards[i];
            assert_non_null(fake_find(w, s->id));
            assert_true(fake_find(w, s->id)->ready[0] == s->ready.of[0] && !s->piece_count);
            assert_int_equal(fake_find(w, s->id)->piece_count, 0);
        }
        assert_int_equal(c->l->illegal, 0);
        bench_stop(c);
    }
    free(b);
    free(c);
    free(w);
}

/* ---- the tables of the documentation ---- */

static void read_table(FILE *f, int kind, int *rows) {
    char line[512], from[32], event[32];
    int used;
    while (fgets(line, sizeof line, f) && line[0] == '|') {
        if (sscanf(line, "| %31[a-z] | %31[a-z] | %n", from, event, &used) != 2)
            continue;
        int fs = -1, ev = -1;
        uint16_t to = 0;
        for (int s = 0; s < SPR_SHARD_STATE_COUNT_; s++)
            fs = strcmp(from, spr_shard_state_name(s)) ? fs : s;
        for (int e = 0; e < SPR__EVENT_COUNT; e++)
            ev = strcmp(event, spr__event_name(e)) ? ev : e;
        for (char *word = strtok(line + used, " ,|\n"); word; word = strtok(NULL, " ,|\n"))
            for (int s = 0; s < SPR_SHARD_STATE_COUNT_; s++)
                to |= (uint16_t)(strcmp(word, spr_shard_state_name(s)) ? 0 : 1u << s);
        bool found = false;
        for (size_t i = 0; i < spr__transition_count; i++) {
            const struct spr__transition *t = &spr__transitions[i];
            found |= t->kinds >> kind & 1 && t->from == fs && t->event == ev && t->to == to;
        }
        if (!found)
            fail_msg("doc/lifecycle.md: no such row in the code: kind %d, %s %s", kind, from, event);
        ++*rows;
    }
}

static void the_documented_tables_are_those_in_the_code(void **state) {
    const char *root = getenv("SPR_SOURCE_ROOT");
    char name[1024], line[512];
    int rows[2] = {0, 0}, kind = -1;
    (void)state;
    if (!root)
        skip();
    snprintf(name, sizeof name, "%s/doc/lifecycle.md", root);
    FILE *f = fopen(name, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        kind = !strcmp(line, "## Replica\n")    ? SPR_SHARD_REPLICA
               : !strcmp(line, "## Headroom\n") ? SPR_SHARD_HEADROOM
               : !strncmp(line, "## ", 3)       ? -1
                                                : kind;
        if (kind >= 0 && !strcmp(line, "|---|---|---|\n"))
            read_table(f, kind, &rows[kind]);
    }
    fclose(f);
    for (kind = 0; kind < 2; kind++) {
        int want = 0;
        for (size_t i = 0; i < spr__transition_count; i++)
            want += spr__transitions[i].kinds >> kind & 1;
        assert_int_equal(rows[kind], want);
    }
}

/* ---- memory ---- */

static int journal_life(spr_context *c, void *arg) {
    struct bench *b = arg;
    spr_context *mine = ctx;
    unlink(path);
    ctx = c;
    int rc = start(b, NULL, 0);
    if (rc >= 0) {
        bench_step(b, 0);
        for (int i = 0; i < 3 && !spr_lifecycle_ready(b->l); i++)
            bench_step(b, 5);
        rc = bench_do(b, SPR_ACTION_ALLOCATE, 0, 0, 1, 2);
        bench_step(b, 5);
        bench_stop(b);
    }
    int again = start(b, b->w, 0);
    if (again >= 0)
        bench_stop(b);
    ctx = mine;
    return SPR_MIN(rc, again);
}

static void every_allocation_may_fail(void **state) {
    struct bench *b = calloc(1, sizeof *b);
    (void)state;
    assert_true(failing_sweep(journal_life, b) > 30);
    free(b);
}

#define LIFE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        LIFE(what_was_appended_comes_back_in_order),
        LIFE(a_memory_journal_does_the_same),
        LIFE(two_cannot_write_the_same_journal),
        LIFE(a_torn_tail_is_cut_at_any_byte),
        LIFE(damage_in_the_middle_is_refused_with_its_place_and_changes_nothing),
        LIFE(what_is_no_journal_is_left_alone),
        LIFE(a_full_disk_means_the_action_is_not_done),
        LIFE(a_restart_adopts_what_serves_and_goes_on_with_what_was_under_way),
        LIFE(recovery_from_any_truncated_copy_agrees_with_the_hosts),
        cmocka_unit_test(the_documented_tables_are_those_in_the_code),
        LIFE(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
