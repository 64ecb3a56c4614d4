/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file ops/async.h
 * @defgroup async The contract of everything that can wait
 * @brief submit with a deadline, a ticket, a pollable fd, collect, cancel. Source, store, driver and router share it.
 *
 * - `submit` copies what it needs and returns at once with a ticket, or fails and nothing happened.
 * - An accepted ticket completes exactly once: done, failed, timed out, cancelled or unknown.
 * - `cancel` is a request; the ticket may still end as done.
 * - Deadlines are monotonic; the backend reports SPR_TIMED_OUT once `now` has passed one.
 * - Completions appear only inside `collect`, which the library calls inside a step. It gives an array of `room`
 *   elements, zeroed, each with its own size in `size`: that is the stride, and what lies past it is not there.
 * - The fd is level triggered: readable while completions wait. A backend's thread wakes the controller with
 *   spr_notify, the only function of the library it may call.
 * - `close` cancels what is left; no callback follows it.
 * @{
 */
#ifndef SHARDPREDICT_OPS_ASYNC_H
#define SHARDPREDICT_OPS_ASYNC_H

#include <shardpredict/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The slots may be called from any thread, one at a time a state. */
#ifndef SPR_CAP_ANY_THREAD
#define SPR_CAP_ANY_THREAD (UINT64_C(1) << 0)
#endif

/** Names one accepted request of one backend; never 0, never used twice. */
typedef uint64_t spr_ticket;

/** How a ticket ended. */
enum spr_outcome {
    SPR_DONE = 0,      /**< it happened */
    SPR_FAILED = 1,    /**< it did not happen; `code` says why */
    SPR_TIMED_OUT = 2, /**< the deadline passed; it may still happen: observe */
    SPR_CANCELLED = 3, /**< it did not happen because it was cancelled */
    SPR_UNKNOWN = 4    /**< nobody knows: observe */
};

/** The waiting half of a table; every table that can wait points to one, which must live as long as the state. */
struct spr_async_ops {
    size_t size;                                          /**< sizeof this struct */
    int (*fd)(void *state);                               /**< optional; NULL or below 0 = none: step at next_deadline */
    int64_t (*next_deadline)(void *state);                /**< optional; monotonic ns when to collect anyway, INT64_MAX = never */
    int (*cancel)(void *state, spr_ticket ticket);        /**< required; SPR_E_NOT_FOUND when it ended already */
};

#ifdef __cplusplus
}
#endif
/** @} */
#endif
