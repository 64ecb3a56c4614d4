/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Any bytes as a plan that somebody wants explained, as text and as JSON. */
#include "fuzz.h"

#include <shardpredict/io.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[40];
    int fd = fuzz_file(data, size, path);
    spr_context *ctx = fuzz_context();
    for (int action = 0; action < 2; action++) {
        spr_output *text = NULL, *json = NULL;
        if (spr_output_create(ctx, "/dev/null", &text) < 0 || spr_output_create(ctx, "/dev/null", &json) < 0)
            abort();
        int rc = spr_plan_explain(ctx, path, action, text);
        fuzz_told(ctx, rc);
        if (rc != spr_plan_explain_json(ctx, path, action, json))
            abort(); /* what can be told can be told both ways */
        spr_output_discard(text);
        spr_output_discard(json);
    }
    fuzz_context_end(ctx);
    close(fd);
    return 0;
}
