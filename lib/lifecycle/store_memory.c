/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A journal that lives as long as its state: for tests, and as the shortest example of a store. */
#include "lifecycle/lifecycle.h"

struct memory {
    spr_context *ctx;
    uint8_t *bytes; /* length (a size_t) and data of each record */
    size_t used, cap;
    spr_ticket last, told; /* given out, reported by collect */
};

static int memory_open(const struct spr_env *env, const void *config, void **state) {
    (void)config;
    struct memory *m = spr_context_alloc(env->context, sizeof *m);
    if (!m)
        return spr__nomem(env->context);
    m->ctx = env->context;
    *state = m;
    return SPR_OK;
}

static void memory_close(void *state) {
    struct memory *m = state;
    spr__free(m->ctx, m->bytes, m->cap, 1);
    spr_context_free(m->ctx, m, sizeof *m);
}

static int memory_append(void *state, const void *record, size_t bytes, int64_t deadline, spr_ticket *out) {
    struct memory *m = state;
    (void)deadline;
    int rc = spr__reserve(m->ctx, (void **)&m->bytes, &m->cap, m->used + sizeof bytes + bytes, 1);
    if (rc < 0)
        return rc;
    memcpy(m->bytes + m->used, &bytes, sizeof bytes);
    memcpy(m->bytes + m->used + sizeof bytes, record, bytes);
    m->used += sizeof bytes + bytes;
    *out = ++m->last;
    return SPR_OK;
}

static int memory_collect(void *state, struct spr_time now, struct spr_store_completion *out, size_t room,
                          size_t *count) {
    struct memory *m = state;
    (void)now;
    for (*count = 0; *count < room && m->told < m->last; (*count)++)
        out[*count] = (struct spr_store_completion){sizeof *out, ++m->told, SPR_DONE, SPR_OK, NULL};
    return SPR_OK;
}

static int memory_read(void *state, int (*record)(void *user, const void *data, size_t bytes), void *user,
                       int64_t *torn) {
    struct memory *m = state;
    *torn = 0;
    for (size_t at = 0, bytes; at < m->used; at += sizeof bytes + bytes) {
        memcpy(&bytes, m->bytes + at, sizeof bytes);
        int rc = record(user, m->bytes + at + sizeof bytes, bytes);
        if (rc < 0)
            return rc;
    }
    return SPR_OK;
}

static int memory_cancel(void *state, spr_ticket ticket) {
    (void)state, (void)ticket;
    return SPR_E_NOT_FOUND; /* appended is appended */
}

static const struct spr_async_ops waiting = {.size = sizeof waiting, .cancel = memory_cancel};
static const struct spr_store_ops memory = {
    .size = sizeof memory,
    .name = "memory",
    .license = "MIT OR Apache-2.0",
    .async = &waiting,
    .open = memory_open,
    .close = memory_close,
    .append = memory_append,
    .collect = memory_collect,
    .read = memory_read,
};
const struct spr_store_ops *spr_store_memory(void) { return &memory; }
