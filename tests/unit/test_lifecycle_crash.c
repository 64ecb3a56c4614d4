/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * kill -9 at random points. A child runs a lifecycle with a journal in a file against hosts in shared memory, and
 * kills itself at the n-th point: around every append, before and after every effect at the driver, before an
 * answer is seen. The parent recovers and compares hosts with books and with what was wanted.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "lifecycle_bench.h"

#define KILLS 50
#define IDS   32

/* What both processes see. */
struct shared {
    struct fake_world world;
    double wanted[IDS], before[IDS]; /* per shard: with and without the action under way */
    bool finished;
};
static struct shared *common;
static char path[96];

static void die(void) { kill(getpid(), SIGKILL); }

/* The file store, with a place to die before and after each record. */
static int dying_append(void *state, const void *record, size_t bytes, int64_t deadline, spr_ticket *out) {
    fake_crash_point(&common->world);
    int rc = spr_store_file()->append(state, record, bytes, deadline, out);
    fake_crash_point(&common->world);
    return rc;
}

static int start(struct bench *b, spr_context *ctx, bool dying) {
    struct spr_store_ops store = *spr_store_file();
    struct spr_store_file_opts file = {.size = sizeof file, .path = path};
    struct spr_lifecycle_opts o = {.size = sizeof o, .store = &store, .store_config = &file};
    if (dying)
        store.append = dying_append;
    memset(b, 0, sizeof *b);
    b->ctx = ctx;
    b->w = &common->world;
    b->now = (struct spr_time){INT64_C(1700000000) * S_NS, 100 * S_NS};
    int rc = bench_fleet(ctx, false, &b->fleet);
    return rc < 0 ? rc : bench_start(b, &o);
}

/* Wanted amounts are written down around the action, so that the parent knows both answers that are right. */
static void act(struct bench *b, uint64_t seed, uint64_t n) {
    uint64_t x = spr__rand64(seed, 1, n), y = spr__rand64(seed, 2, n);
    double amount = 0.25 * (double)(1 + x % 16);
    size_t pick = b->l->shard_count ? (size_t)(y >> 8) % b->l->shard_count : 0;
    const struct spr__shard *s = b->l->shard_count ? b->l->shards[pick] : NULL;
    if (b->l->next_id < IDS && (!s || (x >> 20 & 3) == 0)) {
        uint64_t id = b->l->next_id;
        common->wanted[id] = amount;
        bench_do(b, SPR_ACTION_ALLOCATE, 0, (int32_t)(y % 3), 1 + (int32_t)(x >> 30) % 3, amount);
        common->before[id] = amount;
    } else if (s) {
        uint64_t id = s->id;
        int kind = SPR_ACTION_GROW + (int)(x >> 24) % 3;
        double now = common->before[id];
        common->wanted[id] = kind == SPR_ACTION_GROW      ? now + amount
                             : kind == SPR_ACTION_RELEASE ? 0
                                                          : SPR_MAX(0, now - amount);
        int rc = bench_do(b, kind, id, 0, 1, amount);
        if (rc != 1)
            common->wanted[id] = now;
        common->before[id] = common->wanted[id];
    }
}

static void child(uint64_t seed) {
    spr_context *ctx = NULL;
    struct bench *b = calloc(1, sizeof *b);
    if (spr_context_create(NULL, &ctx) < 0 || start(b, ctx, true) < 0)
        _exit(2);
    bench_step(b, 0);
    for (uint64_t n = 0; n < 40; n++) {
        act(b, seed, n);
        for (int v = 0; v < SPR_DRIVER_VERB_END_; v++)
            common->world.delay_ns[v] = (int64_t)(spr__rand64(seed, 3, n * 16 + (uint64_t)v) % 4) * S_NS;
        common->world.late = spr__rand64(seed, 4, n) & 1;
        bench_step(b, 1);
    }
    common->finished = true;
    bench_stop(b);
    free(b);
    spr_context_unref(ctx);
    _exit(0);
}

/* Some of what the dead one had asked for happens all the same, some of it only later, some never. */
static void leave_calls_behind(uint64_t seed) {
    struct fake_world *w = &common->world;
    int32_t kept = 0;
    w->crash = NULL;
    for (int32_t i = 0; i < w->call_count; i++) {
        uint64_t fate = spr__rand64(seed, 5, (uint64_t)i) % 3;
        if (fate == 0)
            continue;
        w->calls[kept] = w->calls[i];
        w->calls[kept++].due = fate == 1 ? 0 : 110 * S_NS;
    }
    w->call_count = kept;
    memset(w->delay_ns, 0, sizeof w->delay_ns);
    w->late = false;
}

static void compare_with_what_was_wanted(const struct bench *b) {
    const struct fake_world *w = b->w;
    assert_int_equal(w->shard_count, b->l->shard_count); /* none leaked, none only in the books */
    for (int32_t i = 0; i < w->shard_count; i++) {
        const struct fake_shard *f = &w->shards[i];
        const struct spr__shard *s = spr__shard_find(b->l, f->id);
        assert_non_null(s);
        for (int32_t k = 0; k < i; k++)
            assert_true(w->shards[k].id != f->id);
        assert_int_equal(f->piece_count, 0);
        assert_int_equal(s->piece_count, 0);
        assert_true(fabs(s->ready.of[0] - f->ready[0]) < 1e-9);
        assert_true(fabs(f->ready[0] - common->wanted[f->id]) < 1e-9 ||
                    fabs(f->ready[0] - common->before[f->id]) < 1e-9); /* nothing doubled, nothing lost */
        assert_int_equal(f->fence, b->l->fence);
    }
}

static void recover(spr_context *ctx, uint64_t seed) {
    struct bench *b = calloc(1, sizeof *b);
    leave_calls_behind(seed);
    assert_int_equal(start(b, ctx, false), SPR_OK);
    for (int i = 0; i < 20; i++)
        assert_int_equal(bench_step(b, 30), SPR_OK);
    assert_int_equal(spr_lifecycle_ready(b->l), 1);
    compare_with_what_was_wanted(b);
    assert_int_equal(b->l->illegal, 0);
    /* And what is there can be given back to the last bit. */
    while (b->l->shard_count) {
        assert_int_equal(bench_do(b, SPR_ACTION_RELEASE, b->l->shards[0]->id, 0, 1, 0), 1);
        assert_int_equal(bench_step(b, 5), SPR_OK);
    }
    assert_int_equal(common->world.shard_count, 0);
    bench_stop(b);
    free(b);
}

/* One life that ends at point `at` (0: it ends by itself). Returns how many points it had. */
static int64_t one_life(spr_context *ctx, uint64_t seed, int64_t at) {
    int status = 0;
    memset(common, 0, sizeof *common);
    common->world.crash = die;
    common->world.crash_at = at;
    unlink(path);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        child(seed);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (at)
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && !common->finished);
    else
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0 && common->finished);
    int64_t points = common->world.steps;
    recover(ctx, seed ^ (uint64_t)at);
    return points;
}

static void no_crash_point_leaks_or_doubles_a_shard(void **state) {
    static spr_context *ctx; /* children that end by themselves can still reach it */
    char folder[] = "spr-crash-XXXXXX";
    (void)state;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/journal", folder);
    common = mmap(NULL, sizeof *common, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(common != MAP_FAILED);
    for (uint64_t i = 0; i < KILLS; i++) {
        uint64_t seed = 1000 + i % 5;
        static int64_t points[5];
        if (i < 5)
            points[i] = one_life(ctx, seed, 0);
        assert_true(points[i % 5] > 100);
        one_life(ctx, seed, 1 + (int64_t)(spr__rand64(77, 0, i) % (uint64_t)points[i % 5]));
    }
    munmap(common, sizeof *common);
    unlink(path);
    rmdir(folder);
    spr_context_unref(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_crash_point_leaks_or_doubles_a_shard)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
