/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The simulator's router keeps the contract of routers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <shardpredict/backend-sim.h>

#include "router_contract.h"
#include "small_fleet.h"

static int64_t now_ns;
static struct spr_time now(struct router_stand *s) {
    (void)s;
    return (struct spr_time){now_ns, now_ns};
}
static void pass(struct router_stand *s, void *state) {
    (void)state;
    now_ns += 50000000;
    spr_sim_world()->advance(s->own, now(s));
}

int main(void) {
    struct router_stand s = {.name = "sim", .ops = spr_sim_router(), .now = now, .pass = pass, .patience_s = 1};
    assert_int_equal(spr_context_create(NULL, &s.ctx), SPR_OK);
    spr_fleet *fleet = small_fleet(s.ctx, 3, 1, 10);
    struct spr_env env = {sizeof env, s.ctx, NULL, 1};
    struct spr_world_config w = {.size = sizeof w, .fleet = fleet, .substep_s = 0.05};
    assert_int_equal(spr_sim_world()->open(&env, &w, &s.own), SPR_OK);
    s.config = s.own;
    int failed = router_contract(&s, NULL, 0);
    spr_sim_world()->close(s.own);
    spr_fleet_unref(fleet);
    spr_context_unref(s.ctx);
    return failed;
}
