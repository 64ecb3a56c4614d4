/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A bench to hold a lifecycle on: a small fleet, a fake world, a clock to turn, a ledger of what happened. */
#ifndef TESTS_UNIT_LIFECYCLE_BENCH_H
#define TESTS_UNIT_LIFECYCLE_BENCH_H

#include "fake_driver.h"
#include "lifecycle/lifecycle.h"

#define S_NS INT64_C(1000000000)

struct bench {
    spr_context *ctx;
    spr_fleet *fleet;
    spr_lifecycle *l;
    struct fake_world *w, own;
    struct spr_time now;
    struct spr_lifecycle_event ledger[512];
    int count;
    char said[48]; /* the driver's last words */
};

static inline void bench_event(void *user, const struct spr_lifecycle_event *e) {
    struct bench *b = user;
    if (e->text)
        snprintf(b->said, sizeof b->said, "%s", e->text);
    if (b->count < (int)SPR_ARRAY_LEN(b->ledger))
        b->ledger[b->count++] = *e;
}

/* Hosts h0..h3; VMs v0, v1 (replica) and big (headroom) on h0. `without`: one VM fewer. */
static inline int bench_fleet(spr_context *ctx, bool without, spr_fleet **out) {
    spr_fleet_builder *b = NULL;
    static const char *const hosts[] = {"h0", "h1", "h2", "h3"}, *const vms[] = {"v0", "big", "v1"};
    int rc = spr_fleet_builder_create(ctx, NULL, &b);
    for (int i = 0; rc >= 0 && i < 4; i++) {
        struct spr_host h = {.size = sizeof h, .id = hosts[i]};
        h.capacity.of[SPR_CPU] = 32;
        rc = spr_fleet_builder_host(b, &h, NULL);
    }
    for (int i = 0; rc >= 0 && i < 3 - without; i++) {
        struct spr_vm v = {.size = sizeof v, .id = vms[i], .spillable = 0.8};
        v.replica = i == 1 ? SPR_REPLICA_NEVER : SPR_REPLICA_TEMPLATE;
        rc = spr_fleet_builder_vm(b, &v, NULL);
    }
    if (rc < 0) {
        spr_fleet_builder_destroy(b);
        return rc;
    }
    return spr_fleet_builder_finish(b, (struct spr_time){0, 0}, out);
}

static inline int bench_start(struct bench *b, const struct spr_lifecycle_opts *more) {
    struct spr_lifecycle_opts o = {.size = sizeof o};
    if (more)
        o = *more;
    o.driver = &fake_driver;
    o.driver_config = b->w;
    o.event = bench_event;
    o.user = b;
    return spr_lifecycle_create(b->ctx, &o, &b->l);
}

static inline int bench_make(struct bench *b, spr_context *ctx, const struct spr_lifecycle_opts *more) {
    memset(b, 0, sizeof *b);
    b->ctx = ctx;
    b->w = &b->own;
    b->now = (struct spr_time){INT64_C(1700000000) * S_NS, 100 * S_NS};
    int rc = bench_fleet(ctx, false, &b->fleet);
    return rc < 0 ? rc : bench_start(b, more);
}

static inline void bench_stop(struct bench *b) {
    spr_lifecycle_destroy(b->l);
    spr_fleet_unref(b->fleet);
    b->l = NULL;
    b->fleet = NULL;
}

static inline int bench_step(struct bench *b, double seconds) {
    b->now.mono_ns += (int64_t)(seconds * 1e9);
    b->now.wall_ns += (int64_t)(seconds * 1e9);
    return spr_lifecycle_step(b->l, b->fleet, b->now);
}

static inline int bench_do(struct bench *b, int kind, uint64_t shard, int32_t vm, int32_t host, double cpu) {
    struct spr__shard *s = shard ? spr__shard_find(b->l, shard) : NULL;
    struct spr_action a = {.size = sizeof a, .id = 1, .kind = kind, .shard = shard, .vm = vm, .host = host};
    a.amounts.of[SPR_CPU] = cpu;
    a.precondition = s ? s->state : -1;
    a.because =
        kind == SPR_ACTION_ALLOCATE || kind == SPR_ACTION_GROW ? SPR_BECAUSE_EXPECTED_WORTH : SPR_BECAUSE_SURPLUS;
    return spr__lifecycle_take(b->l, b->fleet, &a, b->now);
}

#endif
