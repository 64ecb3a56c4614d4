/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Classes of VMs, learnt from the history that is taught; what the fleet says of a VM comes first. */
#include "control/control.h"
#include "plan/plan.h"

int spr__class_of(const spr_controller *c, int32_t vm) {
    int given = c->inventory->inventory->vms[vm].klass;
    return given >= 0 ? given : c->classes ? c->classes[vm] : -1;
}

bool spr__class_predicts(const spr_controller *c, int32_t vm) {
    return spr__class_policy(spr__class_of(c, vm))->predict;
}

void spr__classes_finish(spr_controller *c) {
    spr__free(c->ctx, c->classes, (size_t)c->vms, sizeof *c->classes);
    c->classes = NULL;
}

int spr__classes_start(spr_controller *c) {
    c->classes = spr__alloc(c->ctx, (size_t)c->vms, sizeof *c->classes);
    for (int32_t v = 0; c->classes && v < c->vms; v++)
        c->classes[v] = -1;
    return c->classes ? SPR_OK : spr__nomem(c->ctx);
}

void spr__classes_carry(spr_controller *c, const spr_controller *was) {
    for (int32_t v = 0; v < c->vms; v++) {
        int32_t o = spr_fleet_find_vm(was->inventory, c->inventory->inventory->vms[v].id);
        if (o >= 0)
            c->classes[v] = was->classes[o];
    }
}

#define DAYS_LEAST 3 /* a class asks whether days are alike; with fewer the policies cost PlanetLab 3 % */

/* The class of a VM is that of its CPU; without CPU that of its first resource. */
int spr__classes_learn(spr_controller *c, const spr_series *series, int64_t first, int64_t last) {
    const struct spr__fleet_inventory *inv = c->inventory->inventory;
    int32_t resource = inv->slot[SPR_CPU] >= 0 ? SPR_CPU : inv->resource[0];
    spr_profiler *p = NULL;
    spr_profile *said = NULL;
    if ((last - first) * c->step_ns < DAYS_LEAST * INT64_C(86400000000000))
        return SPR_OK;
    int rc = spr_profiler_create(c->ctx, NULL, &p);
    if (rc == SPR_OK)
        rc = spr_profiler_run(p, series, first, last, &said);
    for (int64_t k = 0; rc == SPR_OK && k < spr_profile_count(said); k++) {
        struct spr_profile_row row = {.size = sizeof row};
        int32_t v = spr_profile_get(said, k, &row) == SPR_OK && row.resource == resource
                        ? spr_fleet_find_vm(c->inventory, row.id)
                        : -1;
        if (v >= 0)
            c->classes[v] = row.klass;
    }
    spr_profile_unref(said);
    spr_profiler_destroy(p);
    return rc;
}
