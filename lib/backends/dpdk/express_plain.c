/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Plain C: what the other must equal. */
#include "express_inside.h"

#define LEVEL(name) name##_plain
#define TARGET

INLINE bool differs(const struct run *r, const uint8_t *f) { return differs4(r, f); }
#include "express_run.h"
