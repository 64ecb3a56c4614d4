/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file version.h
 * @brief The one place that holds the version; the build, the soname and pkg-config read it from here.
 */
#ifndef SHARDPREDICT_VERSION_H
#define SHARDPREDICT_VERSION_H

#define SPR_VERSION_MAJOR 0 /**< raised when the ABI breaks (never after 1.0 without a new soname) */
#define SPR_VERSION_MINOR 1 /**< raised when something is added; before 1.0 the ABI may change with it */
#define SPR_VERSION_PATCH 0 /**< raised when something is repaired */
#define SPR_ABI_VERSION 0   /**< number in the soname: libshardpredict.so.0 */

#endif
