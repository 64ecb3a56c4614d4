/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The contract of ops/router.h and ops/async.h as one list of tests (router_contract.c) that every router must pass. A
 * router comes to it through a stand: how it is opened and how time passes there. Each has VM 0 with the shards 1 and 2.
 */
#ifndef TESTS_UNIT_ROUTER_CONTRACT_H
#define TESTS_UNIT_ROUTER_CONTRACT_H

#include <stdbool.h>

#include <shardpredict.h>
#include <shardpredict/ops/router.h>

struct router_stand {
    const char *name;
    const struct spr_router_ops *ops;
    spr_context *ctx;
    const void *config;
    struct spr_time (*now)(struct router_stand *s);
    void (*pass)(struct router_stand *s, void *state); /* let a little time pass, or wait for an answer */
    double patience_s;                                 /* the longest that a publish may take */
    void *own;
};

struct CMUnitTest;
/* Runs the list and then the router's own tests (one plan a program); the exit code of a test program. */
int router_contract(struct router_stand *stand, const struct CMUnitTest *more, size_t count);
/* VM 0 spills so much to the shards 1 and 2, in equal parts; 0 = a snapshot of nothing. */
spr_routes *contract_routes(spr_context *ctx, double spill);

#endif
