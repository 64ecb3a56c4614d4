/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The contract of drivers, kept by the simulated one. */
#include <shardpredict/backend-sim.h>

#include "conformance.h"
#include "small_fleet.h"

struct sim_stand {
    void *world;
    double at_s;
};

static int open_sim(struct stand *s, const char *owner, void **state) {
    struct spr_env env = {sizeof env, s->ctx, NULL, 1};
    (void)owner;
    return s->ops->open(&env, ((struct sim_stand *)s->own)->world, state);
}

static struct spr_time now(struct stand *s) { return at_s(((struct sim_stand *)s->own)->at_s); }

static void pass(struct stand *s, void *state) {
    struct sim_stand *w = s->own;
    (void)state;
    w->at_s += 10;
    spr_sim_world()->advance(w->world, at_s(w->at_s));
}

int main(void) {
    struct sim_stand w = {.at_s = 0};
    struct stand s = {.name = "sim",
                      .ops = spr_sim_driver(),
                      .vm = "vm00",
                      .host = "host01",
                      .other_host = "host00",
                      .patience_s = 3000,
                      .open = open_sim,
                      .now = now,
                      .pass = pass,
                      .own = &w};
    s.without[RULE_RESERVED_SEEN] = "it knows growths, not their steps: a reserved one is observed as allocating";
    s.without[RULE_FOREIGN] = "nobody else can put anything on a simulated host";
    s.without[RULE_HEADROOM] = "simulated VMs stay where they are, so nothing grows into a hold";
    s.without[RULE_FD] = "time passes only when it is told to: one steps at next_deadline";
    s.without[RULE_MEMORY] = "the fleet of this stand has CPU only";
    if (spr_context_create(NULL, &s.ctx) < 0)
        return 1;
    spr_fleet *fleet = small_fleet(s.ctx, 2, 2, 10);
    struct spr_env env = {sizeof env, s.ctx, NULL, 1};
    struct spr_world_config c = {
        .size = sizeof c, .fleet = fleet, .substep_s = 10, .allocate_s = {40, 40}, .warm_s = {20, 20}};
    if (!fleet || spr_sim_world()->open(&env, &c, &w.world) < 0)
        return 1;
    int failed = conform(&s);
    spr_sim_world()->close(w.world);
    spr_fleet_unref(fleet);
    spr_context_unref(s.ctx);
    return failed;
}
