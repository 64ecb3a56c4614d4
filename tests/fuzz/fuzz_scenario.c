/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Any bytes as a scenario; $SPR_DATA/trace is a small trace in the tool's own form, so many of them get far. */
#include "fuzz.h"

#include <sys/stat.h>

#include <shardpredict/io.h>

static const char rows[] = "time_s,vm,cpu_cores,memory_bytes\n0,a,1,1e9\n0,b,2,2e9\n300,a,1.5,1e9\n300,b,,2e9\n"
                           "600,a,3,1e9\n600,b,2,2e9\n900,a,1,1e9\n900,b,1,1e9\n";

/* One folder a process: the trace must have a name that scenarios can say. */
static const char *data_dir(void) {
    static char folder[64];
    if (folder[0])
        return folder;
    char path[80];
    snprintf(folder, sizeof folder, "/tmp/spr-fuzz-%ld", (long)getpid());
    snprintf(path, sizeof path, "%s/trace", folder);
    mkdir(folder, 0700);
    FILE *f = fopen(path, "w");
    if (!f || fwrite(rows, 1, sizeof rows - 1, f) != sizeof rows - 1 || fclose(f) != 0)
        abort();
    return folder;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[40];
    int fd = fuzz_file(data, size, path);
    spr_context *ctx = fuzz_context();
    struct spr_scenario_opts opts = {.size = sizeof opts, .data_dir = data_dir(), .seed = 5};
    spr_scenario_file *file = NULL;
    fuzz_told(ctx, spr_scenario_read(ctx, path, &opts, &file));
    spr_scenario_file_destroy(file);
    fuzz_context_end(ctx);
    close(fd);
    return 0;
}
