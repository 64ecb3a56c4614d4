/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Any bytes as a trace in the tool's own form. */
#include "fuzz.h"

#include <shardpredict/io.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[40];
    int fd = fuzz_file(data, size, path);
    spr_context *ctx = fuzz_context();
    const char *files[] = {path};
    struct spr_trace_opts opts = {.size = sizeof opts, .files = files, .file_count = 1};
    spr_trace *trace = NULL;
    int rc = spr_trace_read(ctx, &opts, &trace);
    fuzz_told(ctx, rc);
    if ((rc >= 0) != (trace != NULL))
        abort();
    if (rc >= 0 && (spr_series_count(spr_trace_series(trace)) < 1 || spr_trace_end(trace) < 1))
        abort(); /* a trace without content is an error */
    spr_trace_destroy(trace);
    fuzz_context_end(ctx);
    close(fd);
    return 0;
}
