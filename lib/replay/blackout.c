/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A source that fails every request for samples during a stretch of time: metrics cut off mid-run. */
#include "replay/replay.h"

static int open_silent(const struct spr_env *env, const void *config, void **state) {
    struct blackout *b = (struct blackout *)(uintptr_t)config;
    *state = b;
    return b->real.open(env, b->real_config, &b->state);
}

static void close_silent(void *state) {
    struct blackout *b = state;
    b->real.close(b->state);
}

static int submit(void *state, int verb, struct spr_time now, int64_t deadline, spr_ticket *out) {
    struct blackout *b = state;
    return b->real.submit(b->state, verb, now, deadline, out);
}

static int collect(void *state, struct spr_time now, struct spr_source_completion *out, size_t room, size_t *count) {
    struct blackout *b = state;
    int rc = b->real.collect(b->state, now, out, room, count);
    if (rc == SPR_OK && now.mono_ns > b->from_ns && now.mono_ns <= b->to_ns)
        for (size_t k = 0; k < *count; k++)
            if (!out[k].inventory) {
                out[k].outcome = SPR_FAILED;
                out[k].code = SPR_E_IO;
                out[k].text = "no metrics (blackout of the scenario)";
                out[k].usage_count = 0;
            }
    return rc;
}

static int cancel(void *state, spr_ticket ticket) {
    struct blackout *b = state;
    return b->real.async->cancel(b->state, ticket);
}

static const struct spr_async_ops waiting = {.size = sizeof waiting, .cancel = cancel};
static const struct spr_source_ops source = {
    .size = sizeof source,
    .name = "blackout",
    .license = "MIT OR Apache-2.0",
    .async = &waiting,
    .open = open_silent,
    .close = close_silent,
    .submit = submit,
    .collect = collect,
};
const struct spr_source_ops *spr__blackout_source(void) { return &source; }
