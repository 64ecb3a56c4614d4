/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file backend-router.h
 * @ingroup route
 * @brief Steers a router that runs as a process of its own (`shardpredict router`), by its control socket.
 *
 * Nothing here waits: the socket does not block, connecting to it neither, and there is no thread. What is to be done is
 * done inside the slots; the table's fd and next_deadline say when to call `collect`.
 *
 * A router that is away is tried again, with growing pauses, and a publish waits for it until its deadline; the completion
 * says why it ended. After each new connection the routes in force are told again, so that a router which was started anew
 * spills what it spilled before. A publish is one change: all of it comes into force, or nothing.
 * @{
 */
#ifndef SHARDPREDICT_BACKEND_ROUTER_H
#define SHARDPREDICT_BACKEND_ROUTER_H

#include <shardpredict/ops/router.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Where the router is, and names for what a snapshot of routes speaks of. */
struct spr_router_client_opts {
    size_t size;                                                    /**< sizeof this struct, set by the caller */
    const char *path;                                               /**< its control socket; required, copied */
    const char *(*service)(void *user, int32_t vm);                 /**< service of a VM, NULL = it has none here; NULL: the route's id */
    const char *(*backend)(void *user, int32_t vm, uint64_t shard); /**< required; NULL = cannot be reached from there */
    void *user;                                                     /**< theirs */
    double retry_s;                                                 /**< pause after a failed connection, doubled each time; 0 = 0.05 */
    double retry_max_s;                                             /**< longest pause; 0 = 5 */
    double answer_s;                                                /**< a router that is silent for so long is given up and connected anew; 0 = 5 */
    double counters_s;                                              /**< counters are asked for so often once `counters` was called; 0 = 0.1 */
    uint32_t peer_uid;                                              /**< a user who may run the router besides our own and root; 0 = nobody */
    uint32_t reserved;                                              /**< must be 0 */
};
/**
 * Takes whole snapshots of routes. Config: struct spr_router_client_opts. A publish that the router refuses fails with
 * SPR_E_STATE and the router's words; one that may not speak to the socket, or finds somebody else's process behind it, with
 * SPR_E_IO.
 */
SPR_API const struct spr_router_ops *spr_router_client(void);

#ifdef __cplusplus
}
#endif
/** @} */
#endif
