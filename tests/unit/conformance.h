/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The contract of ops/driver.h and ops/async.h as one list of tests (conformance.c) that every driver must pass. A
 * driver comes to it through a stand: how it is opened, how time passes there, and which rules it keeps in a way of
 * its own; each such rule has a name and a reason, which the run prints, and its test asserts the driver's own way.
 */
#ifndef TESTS_UNIT_CONFORMANCE_H
#define TESTS_UNIT_CONFORMANCE_H

#include <stdbool.h>

#include <shardpredict.h>
#include <shardpredict/ops/driver.h>

/* Rules that a driver may keep in its own way. */
enum {
    RULE_RESERVED_SEEN, /* what is reserved and not allocated is observed as reserved, not as allocating */
    RULE_FOREIGN,       /* there may be things on a host that are not ours */
    RULE_HEADROOM,      /* holds of capacity are not the same as replicas */
    RULE_FD,            /* completions make an fd readable */
    RULE_MEMORY,        /* it holds memory as well as CPU */
    RULE_COUNT
};

struct stand {
    const char *name;
    const struct spr_driver_ops *ops;
    const char *vm, *host, *other_host; /* shards are on host; other_host is where the VM lives */
    spr_context *ctx;
    const char *without[RULE_COUNT]; /* why the rule is not this driver's; NULL = it keeps it */
    double patience_s;               /* the longest that a verb may take, in the stand's own time */
    int (*open)(struct stand *s, const char *owner, void **state); /* the driver; what is on the hosts stays */
    struct spr_time (*now)(struct stand *s);
    void (*pass)(struct stand *s, void *state);      /* let a little time pass, or wait for an answer */
    int (*plant)(struct stand *s, uint64_t shard);   /* a foreign thing with the name of that shard of the VM */
    bool (*stands)(struct stand *s, uint64_t shard); /* it is there, as it was */
    void (*uproot)(struct stand *s, uint64_t shard);
    void *own;
};

/* Runs the list; the exit code of a test program. */
int conform(struct stand *stand);

#endif
