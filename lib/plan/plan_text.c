/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Reasons and kinds of action by name: one table each, in plan.h. And how a shard waits, in words. */
#include <math.h>
#include <stdio.h>

#include <shardpredict/plan.h>

const char *spr_because_code(int because) {
    switch (because) {
#define SPR_X(name, number, code, text)                                                                                \
    case number:                                                                                                       \
        return code;
        SPR_BECAUSES(SPR_X)
#undef SPR_X
    }
    return "unknown";
}

const char *spr_because_text(int because) {
    switch (because) {
#define SPR_X(name, number, code, text)                                                                                \
    case number:                                                                                                       \
        return text;
        SPR_BECAUSES(SPR_X)
#undef SPR_X
    }
    return "unknown reason";
}

const char *spr_action_kind_name(int kind) {
    switch (kind) {
#define SPR_X(name, number, text)                                                                                      \
    case number:                                                                                                       \
        return text;
        SPR_ACTION_KINDS(SPR_X)
#undef SPR_X
    }
    return "invalid";
}

/* "40 min": two figures are enough for people. */
static void put_duration(double s, char *text, size_t room) {
    static const struct {
        double of;
        const char *name;
    } unit[] = {{86400, "days"}, {3600, "h"}, {60, "min"}, {1, "s"}};
    size_t k = 0;
    while (k < 3 && s < (k == 2 ? 90 : 2 * unit[k].of))
        k++;
    double x = s / unit[k].of;
    snprintf(text, room, x >= 10 ? "%.0f %s" : "%.2g %s", x, unit[k].name);
}

int spr_plan_wait_text(const spr_plan *p, int32_t index, char *text, size_t room) {
    static const char *const kept[] = {[SPR_WARM_PAUSED] = "kept paused in memory: resumes",
                                       [SPR_WARM_SAVED] = "kept saved to disk: restores",
                                       [SPR_WARM_RUNNING] = "kept running idle: answers"};
    struct spr_action a = {.size = sizeof a};
    char back[32] = "a time that is not known yet", need[32];
    int rc = spr_plan_action(p, index, &a);
    if (rc < 0 || !text || !room)
        return SPR_E_ARG;
    text[0] = 0;
    if (a.kind == SPR_ACTION_WAIT && a.warm == SPR_WARM_ANY)
        snprintf(text, room, "waits no longer: needed soon");
    if (a.warm <= SPR_WARM_ANY || a.warm >= SPR_WARM_STATE_END_)
        return SPR_OK;
    if (a.resume_s > 0)
        put_duration(a.resume_s, back, sizeof back);
    put_duration(fmax(0, (double)(a.need_mono_ns - spr_fleet_time(spr_plan_fleet(p)).mono_ns) * 1e-9), need,
                 sizeof need);
    snprintf(text, room, "%s in %s, needed in %s", kept[a.warm], back, need);
    return SPR_OK;
}
