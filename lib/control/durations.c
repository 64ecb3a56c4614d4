/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the driver can do and how long it takes there: the lead that plans count with, and how shards may wait warm. */
#include "control/control.h"
#include "lifecycle/lifecycle.h"

#define SLOW 1.5 /* times the usual duration: what one in twenty may take */

/* Allocate and warm on the slowest host, as its driver has measured them; 0 = it has not. */
static double usual_lead(const struct spr_driver_capabilities *d) {
    bool known = d->allocate_s > 0 && d->warm_s > 0 && isfinite(d->allocate_s) && isfinite(d->warm_s);
    return known ? d->allocate_s + d->warm_s : 0;
}

/*
 * What growths took here counts, once there are enough of them; before that what the operator said, and where nothing
 * was said, what the driver has measured (a controller that has just started beside hosts that are known).
 */
static void learn_lead(spr_controller *c, double usual) {
    double measured = spr_lifecycle_lead_s(c->lifecycle, 0.95);
    if (measured > 0)
        c->plan_opts.lead_s = measured;
    else if (!c->lead_given && usual > 0)
        c->plan_opts.lead_s = SLOW * usual;
}

static struct spr_warm_host warm_of(const struct spr_driver_capabilities *d) {
    struct spr_warm_host w = {.size = sizeof w, .states = d->replica ? d->warm_states : 0, .ready_s = usual_lead(d)};
    w.states &= (1u << SPR_WARM_STATE_END_) - 1 - (1u << SPR_WARM_ANY); /* a newer driver may know others */
    memcpy(w.of, d->warm, sizeof w.of);
    return w;
}

int spr__durations_learn(spr_controller *c) {
    double usual = 0;
    bool any = false;
    c->plan_opts.warm = NULL;
    c->plan_opts.warm_count = 0;
    if (!c->lifecycle)
        return SPR_OK;
    int rc = spr__reserve(c->ctx, (void **)&c->warm, &c->warm_room, (size_t)c->hosts, sizeof *c->warm);
    if (rc < 0)
        return rc;
    for (int32_t h = 0; h < c->hosts; h++) {
        struct spr_driver_capabilities d = spr__capabilities(c->lifecycle, c->inventory->inventory->hosts[h].id);
        usual = SPR_MAX(usual, usual_lead(&d));
        c->warm[h] = warm_of(&d);
        any |= c->warm[h].states != 0;
    }
    learn_lead(c, usual);
    if (any) {
        c->plan_opts.warm = c->warm;
        c->plan_opts.warm_count = c->hosts;
    }
    return SPR_OK;
}
