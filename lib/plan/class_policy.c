/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the class of a VM changes: method, quantile and size. The one place; doc/algorithms/plan.md §8 says why so mild.
 */
#include "plan/plan.h"

static const struct spr__class_policy policies[] = {
    [SPR_CLASS_STEADY] = {.predict = true, .dearer = 1, .larger = 1},
    [SPR_CLASS_DIURNAL] = {.predict = true, .dearer = 1, .larger = 1},
    [SPR_CLASS_BURST] = {.predict = true, .dearer = 1.1, .larger = 1},
    [SPR_CLASS_CHAOTIC] = {.predict = false, .dearer = 1.1, .larger = 1.05},
};

const struct spr__class_policy *spr__class_policy(int klass) {
    return &policies[klass >= SPR_CLASS_STEADY && klass <= SPR_CLASS_CHAOTIC ? klass : SPR_CLASS_STEADY];
}

/* A host's total is planned, so its VMs' policies count by what they want of resource i. */
struct spr__class_policy spr__class_of_host(const struct board *b, int32_t h, int32_t i) {
    const struct spr__fleet_placement *at = b->fleet->placement;
    struct spr__class_policy all = {.predict = true};
    double sum = 0;
    for (int32_t j = at->first[h]; j < at->first[h + 1]; j++) {
        int32_t v = at->vms[j], given = b->fleet->inventory->vms[v].klass;
        bool learnt = given < 0 && b->opts.class_count;
        const struct spr__class_policy *p = spr__class_policy(learnt ? b->opts.classes[v] : given);
        double wants = b->size_for[v * b->r + i];
        sum += wants;
        all.dearer += wants * p->dearer;
        all.larger += wants * p->larger;
    }
    all.dearer = sum > 0 ? all.dearer / sum : 1;
    all.larger = sum > 0 ? all.larger / sum : 1;
    return all;
}
