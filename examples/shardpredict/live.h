/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Watching real hosts: a source is polled for a while, what it says becomes series. */
#ifndef SHARDPREDICT_LIVE_H
#define SHARDPREDICT_LIVE_H

#include "tool.h"

struct live_request {
    const char *verb;      /* for messages */
    const char **from;     /* "libvirt:URI", NULL at the end */
    double for_s, every_s; /* how long, how often */
};

/* Is it "libvirt:..."? Says what is wrong with it on stderr where it is not. */
bool live_source_known(const char *verb, const char *from);
/* "30s", "5m", "1h", "90" -> seconds; below 0: none. */
double live_seconds(const char *text);
/* Watch, and close the series. EXIT_DONE, or an exit code after saying why. Ctrl-C ends it early with what is there. */
int live_watch(spr_context *ctx, const struct live_request *q, spr_series **out);

#endif
