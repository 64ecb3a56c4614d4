/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Any bytes as a map, over a small trace that long and wide maps can fit. */
#include "fuzz.h"

#include <shardpredict/io.h>

static const char rows[] = "t,vm,cpu_pct,mem_kb,part\n0,a,12.5,1000,train\n0,b,,2000,train\n1,a,99.1,1100,test\n"
                           "1,b,3.25,2000,train\n5,a,0,1,train\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char trace_path[40], map_path[40];
    int trace_fd = fuzz_file(rows, sizeof rows - 1, trace_path), map_fd = fuzz_file(data, size, map_path);
    spr_context *ctx = fuzz_context();
    const char *files[] = {trace_path};
    struct spr_trace_opts opts = {.size = sizeof opts, .files = files, .file_count = 1, .map = map_path};
    spr_trace *trace = NULL;
    fuzz_told(ctx, spr_trace_read(ctx, &opts, &trace));
    spr_trace_destroy(trace);
    fuzz_context_end(ctx);
    close(trace_fd);
    close(map_fd);
    return 0;
}
