/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The section "GLOB" of a model: what its members share. */
#include "forecast/member.h"

_Static_assert(sizeof(struct spr__global) % 8 == 0, "no padding at the end");

static bool numbers_ok(const double *v, int32_t n, double least, double most) {
    for (int32_t i = 0; i < n; i++)
        if (!(v[i] >= least && v[i] <= most))
            return false;
    return true;
}

int spr__global_check(const spr_context *ctx, const char *name, uint32_t index, const void *payload, size_t size) {
    const struct spr__global *g = payload;
    bool good = !index && size == sizeof *g && g->step_ns >= 1 && g->context >= 2 && g->context <= INT64_C(1) << 24 &&
                g->horizon >= 1 && g->horizon <= 1 << 20 && g->levels >= 1 && g->levels <= SPR__GLOBAL_LEVELS &&
                g->median >= 0 && g->median < g->levels && g->flags >= 0 && g->flags < 8 && g->naive_lag >= 0 &&
                g->naive_lag <= g->context && !g->reserved && numbers_ok(&g->naive_share, 1, 0, 1) &&
                numbers_ok(g->level, g->levels, 1e-9, 1 - 1e-9) && numbers_ok(g->factor, g->levels, .01, 100) &&
                numbers_ok(g->naive, g->levels, -1e6, 1e6) &&
                numbers_ok(g->unit, SPR__GLOBAL_RESOURCES, 0, SPR__VALUE_MAX);
    for (int32_t i = 1; good && i < g->levels; i++)
        good = g->level[i] > g->level[i - 1] && g->naive[i] >= g->naive[i - 1];
    for (int32_t r = 0; good && r < SPR__GLOBAL_RESOURCES; r++)
        good = numbers_ok(g->prior[r], g->levels, -SPR__VALUE_MAX, SPR__VALUE_MAX);
    return good ? SPR_OK : spr__fail_at(ctx, SPR_E_CORRUPT, name, 0, 0, "what the nets of the model share is damaged");
}
