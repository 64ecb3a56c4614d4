/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Any bytes as a file of cases for the verb forecast, over two series with two metrics. */
#include "fuzz.h"

/* Its complaints, thousands a second, go nowhere; the fuzzer's own still reach the terminal. */
#include "../../examples/shardpredict/forecast.h"
static FILE *nowhere;
#undef stderr
#define stderr nowhere
#include "../../examples/shardpredict/forecast_cases.c"

static spr_series *two_series(spr_context *ctx) {
    struct spr_metrics_opts opts = SPR_METRICS_OPTS_INIT;
    spr_metrics *m = NULL;
    spr_series *series = NULL;
    int64_t row;
    if (spr_metrics_create(ctx, &opts, &m) < 0)
        abort();
    for (int i = 0; i < 4; i++)
        if (spr_metrics_add(m, i % 2 ? "a" : "b", i < 2 ? "cpu_pct" : "mem_kb", i < 2 ? SPR_CPU : SPR_MEMORY, SPR_GAUGE,
                            1, &row) < 0 ||
            spr_metrics_push(m, row, 0, 1.5, 0) < 0)
            abort();
    if (spr_metrics_finish(m, &series) < 0)
        abort();
    spr_metrics_destroy(m);
    return series;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[40];
    int fd = fuzz_file(data, size, path);
    spr_context *ctx = fuzz_context();
    spr_series *series = two_series(ctx);
    struct answers answers = {0};
    if (!nowhere && !(nowhere = fopen("/dev/null", "w")))
        abort();
    if (!cases_read(path, series, 100, &answers))
        for (size_t i = 0; i < answers.count; i++)
            if (answers.items[i].row < 0 || answers.items[i].row > 3 || answers.items[i].origin < 0 ||
                answers.items[i].origin > 100)
                abort();
    answers_free(&answers);
    spr_series_unref(series);
    fuzz_context_end(ctx);
    close(fd);
    return 0;
}
