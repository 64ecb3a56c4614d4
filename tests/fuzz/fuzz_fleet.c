/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Any bytes as a fleet around three VMs. */
#include "fuzz.h"

#include <shardpredict/io.h>

static const char rows[] =
    "time_s,vm,cpu_cores,memory_bytes\n0,web-1,1,1e9\n0,web-2,2,2e9\n0,db,1,5\n300,web-1,1.5,1e9\n300,db,2,7\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char trace_path[40], path[40];
    int trace_fd = fuzz_file(rows, sizeof rows - 1, trace_path), fd = fuzz_file(data, size, path);
    spr_context *ctx = fuzz_context();
    const char *files[] = {trace_path};
    struct spr_trace_opts opts = {.size = sizeof opts, .files = files, .file_count = 1};
    spr_trace *trace = NULL;
    spr_fleet *fleet = NULL;
    int rc = spr_trace_read(ctx, &opts, &trace);
    if (rc >= 0)
        rc = spr_fleet_read(ctx, path, trace, 0, 2, &fleet);
    fuzz_told(ctx, rc);
    spr_fleet_unref(fleet);
    spr_trace_destroy(trace);
    fuzz_context_end(ctx);
    close(trace_fd);
    close(fd);
    return 0;
}
