/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file backend-sim.h
 * @brief In-memory hosts, VMs, shards and routes: deterministic, needs nothing; the reference for every ops table.
 *
 * The world is opened first; its state is the config of the other three.
 */
#ifndef SHARDPREDICT_BACKEND_SIM_H
#define SHARDPREDICT_BACKEND_SIM_H

#include <shardpredict/ops/driver.h>
#include <shardpredict/ops/router.h>
#include <shardpredict/ops/source.h>
#include <shardpredict/ops/world.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Physics: capacity shared max-min fair, flows that move slowly, shards that take time. */
SPR_API const struct spr_world_ops *spr_sim_world(void);
/** What the world lets be measured. Config: the world's state. */
SPR_API const struct spr_source_ops *spr_sim_source(void);
/** Shards with delays and injected failures. Config: the world's state. */
SPR_API const struct spr_driver_ops *spr_sim_driver(void);
/** Takes routes and steers new flows by them. Config: the world's state. */
SPR_API const struct spr_router_ops *spr_sim_router(void);

#ifdef __cplusplus
}
#endif
#endif
