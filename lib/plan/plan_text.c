/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Reasons and kinds of action by name: one table each, in plan.h. */
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
