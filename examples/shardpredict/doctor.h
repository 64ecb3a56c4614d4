/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What `doctor` finds out about hosts of shards. */
#ifndef SHARDPREDICT_DOCTOR_H
#define SHARDPREDICT_DOCTOR_H

#include "tool.h"

enum { DOCTOR_TEXT = 320 };
/* One thing that shards on a host need. */
struct doctor_line {
    const char *name;
    const char *state;      /* "there", "missing", "unknown" */
    const char *todo;       /* what to do where it is not there */
    char text[DOCTOR_TEXT]; /* what was seen, "" = nothing to say */
};
enum { DOCTOR_LINES = 32 };
/* This machine as a host of shards; how many lines (doctor_kernel.c). */
size_t doctor_kernel(struct doctor_line *out);
/* What the driver says of a host under libvirt; it only looks. An exit code; text or JSON on stdout (doctor_libvirt.c).
 */
int doctor_libvirt(const char *uri, bool json);

#endif
