/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file shardpredict.h
 * @brief Everything the core offers, in the order in which data flows. Include this one.
 */
#ifndef SHARDPREDICT_H
#define SHARDPREDICT_H

#include <shardpredict/base.h>
#include <shardpredict/metrics.h>
#include <shardpredict/profile.h>
#include <shardpredict/forecast.h>
#include <shardpredict/fleet.h>
#include <shardpredict/plan.h>
#include <shardpredict/lifecycle.h>
#include <shardpredict/route.h>
#include <shardpredict/control.h>
#include <shardpredict/replay.h>

#endif
