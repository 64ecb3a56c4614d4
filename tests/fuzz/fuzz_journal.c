/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Any bytes as a journal. First byte even: the rest is the file. Odd: the rest is a row of records (a length byte,
 * then so many bytes) handed over as if their checksums were right, so that the fuzzer gets behind them.
 */
#include "fuzz.h"

#include <string.h>

#include "../unit/fake_driver.h"

#include <shardpredict/lifecycle.h>
#include <shardpredict/ops/store.h>

struct records {
    const uint8_t *data;
    size_t size;
    spr_ticket last, told;
};

static int records_open(const struct spr_env *env, const void *config, void **state) {
    (void)env;
    *state = (void *)(uintptr_t)config;
    return 0;
}
static void records_close(void *state) { (void)state; }
static int records_append(void *state, const void *record, size_t bytes, int64_t deadline, spr_ticket *out) {
    struct records *r = state;
    (void)record, (void)bytes, (void)deadline;
    *out = ++r->last;
    return 0;
}
static int records_collect(void *state, struct spr_time now, struct spr_store_completion *out, size_t room,
                           size_t *count) {
    struct records *r = state;
    (void)now;
    for (*count = 0; *count < room && r->told < r->last; (*count)++)
        out[*count] = (struct spr_store_completion){sizeof *out, ++r->told, SPR_DONE, 0, NULL};
    return 0;
}
static int records_read(void *state, int (*record)(void *user, const void *data, size_t bytes), void *user,
                        int64_t *torn) {
    const struct records *r = state;
    *torn = 0;
    for (size_t at = 0; at < r->size;) {
        size_t n = r->data[at++];
        n = n < r->size - at ? n : r->size - at;
        int rc = record(user, r->data + at, n);
        if (rc < 0)
            return rc;
        at += n;
    }
    return 0;
}
static int records_cancel(void *state, spr_ticket ticket) {
    (void)state, (void)ticket;
    return SPR_E_NOT_FOUND;
}
static const struct spr_async_ops records_async = {.size = sizeof records_async, .cancel = records_cancel};
static const struct spr_store_ops records_store = {.size = sizeof records_store,
                                                   .name = "records",
                                                   .license = "MIT OR Apache-2.0",
                                                   .async = &records_async,
                                                   .open = records_open,
                                                   .close = records_close,
                                                   .append = records_append,
                                                   .collect = records_collect,
                                                   .read = records_read};

static spr_fleet *fleet_of(spr_context *ctx) {
    spr_fleet_builder *b = NULL;
    spr_fleet *f = NULL;
    struct spr_host hosts[] = {{.size = sizeof hosts[0], .id = "h0"}, {.size = sizeof hosts[0], .id = "h1"}};
    struct spr_vm vm = {.size = sizeof vm, .id = "v0"};
    if (spr_fleet_builder_create(ctx, NULL, &b) < 0 || spr_fleet_builder_host(b, &hosts[0], NULL) < 0 ||
        spr_fleet_builder_host(b, &hosts[1], NULL) < 0 || spr_fleet_builder_vm(b, &vm, NULL) < 0 ||
        spr_fleet_builder_finish(b, (struct spr_time){0, 0}, &f) < 0)
        abort();
    return f;
}

/* Whatever the journal says, recovery ends, and a host that holds nothing leaves nothing in the books. */
static void live(spr_context *ctx, spr_lifecycle *l) {
    spr_fleet *fleet = fleet_of(ctx);
    struct spr_time now = {1, 1};
    for (int i = 0; i < 8; i++, now.mono_ns += 400000000000)
        if (spr_lifecycle_step(l, fleet, now) < 0)
            abort();
    if (!spr_lifecycle_ready(l))
        abort();
    spr_fleet_unref(fleet);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct fake_world world;
    if (!size)
        return 0;
    char path[40];
    int fd = fuzz_file(data + 1, size - 1, path);
    spr_context *ctx = fuzz_context();
    struct records records = {data + 1, size - 1, 0, 0};
    struct spr_store_file_opts file = {.size = sizeof file, .path = path};
    struct spr_lifecycle_opts o = {.size = sizeof o, .driver = &fake_driver, .driver_config = &world};
    o.store = data[0] & 1 ? &records_store : spr_store_file();
    o.store_config = data[0] & 1 ? (const void *)&records : (const void *)&file;
    spr_lifecycle *l = NULL;
    memset(&world, 0, sizeof world);
    int rc = spr_lifecycle_create(ctx, &o, &l);
    fuzz_told(ctx, rc);
    if ((rc >= 0) != (l != NULL))
        abort();
    if (rc >= 0)
        live(ctx, l);
    spr_lifecycle_destroy(l);
    fuzz_context_end(ctx);
    close(fd);
    return 0;
}
