/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Any bytes as an iCalendar file; what was read answers for two years. */
#include "fuzz.h"

#include <shardpredict/io.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[40];
    int fd = fuzz_file(data, size, path);
    spr_context *ctx = fuzz_context();
    spr_calendar *c = NULL;
    struct spr_occurrence found[64];
    size_t n = 64;
    int rc = spr_calendar_read(ctx, path, &c);
    fuzz_told(ctx, rc);
    if (rc >= 0 && spr_calendar_occurrences(c, INT64_C(1704067200000000000), INT64_C(1767225600000000000), found,
                                            sizeof *found, &n) >= 0)
        for (size_t i = 0; i < n && i < 64; i++)
            if (found[i].end_ns <= found[i].start_ns || (i && found[i].start_ns < found[i - 1].start_ns))
                abort();
    spr_calendar_unref(c);
    fuzz_context_end(ctx);
    close(fd);
    return 0;
}
