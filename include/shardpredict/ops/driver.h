/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file ops/driver.h
 * @ingroup lifecycle
 * @brief What holds, warms and releases shards on hosts: a hypervisor, or the simulation.
 *
 * Every verb is idempotent by shard id and piece: asked twice, the second answer is the first one's. Numbers of pieces
 * rise and are never used twice, so a RESIZE whose piece is ready or was given back already is done at once; a RESIZE
 * of a piece that is pending makes it smaller; a RELEASE of a piece not heard of yet forbids it. A verb that
 * carries a fence lower than one seen before fails with SPR_E_FENCED. Nothing that is not ours is touched.
 */
#ifndef SHARDPREDICT_OPS_DRIVER_H
#define SHARDPREDICT_OPS_DRIVER_H

#include <shardpredict/fleet.h>
#include <shardpredict/ops/async.h>

#ifdef __cplusplus
extern "C" {
#endif

/** X-macro of the driver's verbs: name, number, text. */
#define SPR_DRIVER_VERBS(X)                                                                                            \
    X(OBSERVE, 1, "observe")                                                                                           \
    X(RESERVE, 2, "reserve")                                                                                           \
    X(ALLOCATE, 3, "allocate")                                                                                         \
    X(WARM, 4, "warm")                                                                                                 \
    X(ACTIVATE, 5, "activate")                                                                                         \
    X(DRAIN, 6, "drain")                                                                                               \
    X(RESIZE, 7, "resize")                                                                                             \
    X(MIGRATE, 8, "migrate")                                                                                           \
    X(PROMOTE, 9, "promote")                                                                                           \
    X(ABORT, 10, "abort")                                                                                              \
    X(RELEASE, 11, "release")                                                                                          \
    X(ADOPT, 12, "adopt")
/** Verbs of a driver. */
enum spr_driver_verb {
#define SPR_X(name, number, text) SPR_DRIVER_##name = number,
    SPR_DRIVER_VERBS(SPR_X)
#undef SPR_X
    SPR_DRIVER_VERB_END_ = 13 /**< not a verb */
};
/** Name of a verb, "invalid" for any other number. */
SPR_API const char *spr_driver_verb_name(int verb);

/** One request. Texts are read inside `submit` only. */
struct spr_driver_request {
    size_t size;                /**< sizeof this struct as the library knows it */
    int32_t verb;               /**< ::spr_driver_verb */
    int32_t kind;               /**< ::spr_shard_kind */
    uint64_t shard;             /**< shard id; 0 for OBSERVE (all shards) */
    uint64_t piece;             /**< ALLOCATE, WARM and RESIZE: which growth of the shard this is, from 1; WARM: 0 = what is ready shall wait as `warm` says; DRAIN: a number of its own; RELEASE: that pending growth, 0 = the whole shard */
    uint64_t fence;             /**< fencing number of the controller */
    const char *vm;             /**< VM it serves */
    const char *host;           /**< host it is on */
    struct spr_amounts amounts; /**< RESERVE, ALLOCATE, RESIZE: of this piece; DRAIN: how much less */
    int32_t warm;               /**< WARM: ::spr_warm_state that it is to wait in; asked again with another one, it changes to that. ANY = the driver's own */
    int32_t reserved;           /**< 0 */
};

/** A shard as the driver sees it. */
struct spr_observed_shard {
    size_t size;                /**< sizeof this struct */
    uint64_t id;                /**< shard id; 0 = something foreign inside our hold */
    uint64_t fence;             /**< fence of its last change */
    const char *vm;             /**< VM it serves; lives until the next collect */
    const char *host;           /**< host it is on */
    int32_t kind;               /**< ::spr_shard_kind */
    int32_t state;              /**< ::spr_shard_state; UNKNOWN where the host cannot be reached */
    struct spr_amounts ready;   /**< usable */
    struct spr_amounts pending; /**< on its way */
    struct spr_amounts draining;/**< until the last flows are gone */
    struct spr_amounts used;    /**< serving now */
    double warmness;            /**< 0..1 */
};

/** The end of a ticket. */
struct spr_driver_completion {
    size_t size;                /**< sizeof this struct as the library knows it */
    spr_ticket ticket;          /**< which one */
    int32_t outcome;            /**< ::spr_outcome */
    int32_t code;               /**< ::spr_error_code when it failed */
    double warmness;            /**< measured after WARM, 0..1 */
    struct spr_amounts amounts; /**< what is really held for the piece now */
    const struct spr_observed_shard *observed; /**< OBSERVE: what is there; lives until the next collect */
    size_t observed_count;      /**< how many */
    const char *text;           /**< why it failed, or NULL; lives until the next collect */
};

/** What a host can do. */
struct spr_driver_capabilities {
    size_t size;            /**< sizeof this struct, set by the caller; fields past it are not written */
    uint64_t verbs;         /**< bit v: verb v works there */
    int32_t replica;        /**< 1: replica shards */
    int32_t headroom;       /**< 1: headroom shards */
    double allocate_s;      /**< typical time to allocate, 0 = unknown */
    double warm_s;          /**< typical time to warm, 0 = unknown */
    const char *missing;    /**< what stands in the way of the rest, or NULL */
    uint32_t unkept;        /**< bit r: amounts of resource r cannot be kept there: a shard could use more than it was given */
    uint32_t reserved;      /**< 0 */
    const char *unkept_why; /**< what is missing for that and what to do, or NULL; lives until the next capabilities */
    uint32_t warm_states;   /**< bit s: a warm shard can wait there in ::spr_warm_state s; 0 = it cannot be told how */
    int32_t reserved2;      /**< 0 */
    struct spr_warm_cost warm[SPR_WARM_STATES_MAX]; /**< by ::spr_warm_state, where its bit is set */
};

/** The table. */
struct spr_driver_ops {
    size_t size;                       /**< sizeof this struct */
    const char *name;                  /**< "sim"; required */
    const char *license;               /**< SPDX expression; required */
    uint64_t caps;                     /**< SPR_CAP_* */
    const struct spr_async_ops *async; /**< required */
    int (*open)(const struct spr_env *env, const void *config, void **state); /**< required */
    void (*close)(void *state);                                               /**< required */
    int (*submit)(void *state, const struct spr_driver_request *request, struct spr_time now,
                  int64_t deadline_mono_ns, spr_ticket *out);                 /**< required */
    /** required; fill at most `room` completions (stride = their size member), set *count */
    int (*collect)(void *state, struct spr_time now, struct spr_driver_completion *out, size_t room, size_t *count);
    int (*capabilities)(void *state, const char *host, struct spr_driver_capabilities *out); /**< optional; NULL = all verbs */
};

#ifdef __cplusplus
}
#endif
#endif
