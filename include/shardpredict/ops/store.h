/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file ops/store.h
 * @ingroup lifecycle
 * @brief Where the journal lives: append-only records that survive a crash. (Sample history joins it later, at the end.)
 */
#ifndef SHARDPREDICT_OPS_STORE_H
#define SHARDPREDICT_OPS_STORE_H

#include <shardpredict/ops/async.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The end of an append. */
struct spr_store_completion {
    size_t size;       /**< sizeof this struct as the library knows it */
    spr_ticket ticket; /**< which one */
    int32_t outcome;   /**< ::spr_outcome */
    int32_t code;      /**< ::spr_error_code when it failed */
    const char *text;  /**< why, or NULL; lives until the next collect */
};
/** The table. */
struct spr_store_ops {
    size_t size;                       /**< sizeof this struct */
    const char *name;                  /**< "memory", "file"; required */
    const char *license;               /**< SPDX expression; required */
    uint64_t caps;                     /**< SPR_CAP_* */
    const struct spr_async_ops *async; /**< required */
    int (*open)(const struct spr_env *env, const void *config, void **state); /**< required */
    void (*close)(void *state);                                               /**< required */
    /** required; append one record (the store adds length and checksum); done means: survives the death of the process */
    int (*append)(void *state, const void *record, size_t bytes, int64_t deadline_mono_ns, spr_ticket *out);
    int (*collect)(void *state, struct spr_time now, struct spr_store_completion *out, size_t room, size_t *count); /**< required */
    /** required; hand every whole record to `record` in order; a torn tail is cut and its length reported in *torn */
    int (*read)(void *state, int (*record)(void *user, const void *data, size_t bytes), void *user, int64_t *torn);
};

#ifdef __cplusplus
}
#endif
#endif
