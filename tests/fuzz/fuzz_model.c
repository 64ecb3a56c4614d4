/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Any bytes as a model: first as they are, then with every sum put right, so that the fuzzer gets behind them. */
#include "fuzz.h"

#include <math.h>
#include <string.h>

static uint32_t sum_of(const uint8_t *p, size_t n) {
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int k = 0; k < 8; k++)
            crc = (crc >> 1) ^ (UINT32_C(0x82F63B78) & (0u - (crc & 1)));
    }
    return ~crc;
}

static void put_sum(uint8_t *to, const uint8_t *p, size_t n) {
    uint32_t crc = sum_of(p, n);
    memcpy(to, &crc, 4);
}

/* Offsets of doc/formats.md, "Model file". */
static void repair(uint8_t *m, size_t size) {
    uint32_t sections;
    uint64_t whole = size;
    if (size < 64)
        return;
    memcpy(m, "SPRMODEL", 8);
    memcpy(&sections, m + 12, 4);
    memcpy(m + 16, &whole, 8);
    for (uint32_t i = 0; i < sections && 64 + 32 * ((size_t)i + 1) <= size; i++) {
        uint8_t *e = m + 64 + 32 * (size_t)i;
        uint64_t at, n;
        memcpy(&at, e + 8, 8);
        memcpy(&n, e + 16, 8);
        if (at <= size && n <= size - at)
            put_sum(e + 24, m + at, (size_t)n);
    }
    if (sections <= (size - 64) / 32)
        put_sum(m + 24, m + 64, 32 * (size_t)sections);
    put_sum(m + 60, m, 60);
}

/* What was let in must answer, or say why not; the library itself refuses numbers that are not finite. */
static void ask(spr_context *ctx, const spr_model *m, const struct spr_model_info *info) {
    double y[2][40];
    struct spr_panel p = {.size = sizeof p,
                          .data = y,
                          .series = 2,
                          .steps = 40,
                          .series_stride = sizeof y[0],
                          .step_stride = sizeof y[0][0]};
    struct spr_model_opts config = {.size = sizeof config, .model = m};
    struct spr_forecaster_opts opts = {.size = sizeof opts,
                                       .step_ns = info->step_ns,
                                       .horizon = info->horizon > 2 ? 2 : info->horizon,
                                       .config = &config};
    spr_forecaster *f = NULL;
    spr_forecast *got = NULL;
    if (info->context > 4096)
        return; /* would only be slow */
    for (int t = 0; t < 40; t++)
        y[0][t] = t % 7, y[1][t] = NAN;
    int rc = spr_forecaster_create(ctx, spr_forecaster_model(), &opts, &f);
    if (rc >= 0 && (rc = spr_forecaster_fit(f, &p, 0, 0)) >= 0)
        rc = spr_forecaster_predict(f, NULL, &got);
    fuzz_told(ctx, rc);
    spr_forecast_unref(got);
    spr_forecaster_destroy(f);
}

static void use(spr_context *ctx, const uint8_t *image, size_t size, int copy) {
    struct spr_model_info info = {.size = sizeof info};
    spr_model *m = NULL;
    int rc = spr_model_open(ctx, "fuzz.model", image, size, copy, &m);
    fuzz_told(ctx, rc);
    if (rc < 0)
        return;
    if (spr_model_describe(m, &info) < 0 || info.horizon < 1 || info.level_count < 1 || strlen(info.text) > size)
        abort();
    ask(ctx, m, &info);
    spr_model_unref(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    spr_context *ctx = fuzz_context();
    uint8_t *image =
        aligned_alloc(64, (size / 64 + 1) * 64); /* what lies behind the input is the sanitizer's for copies */
    if (!image)
        abort();
    use(ctx, data, size, 1);
    memcpy(image, data, size);
    repair(image, size);
    use(ctx, image, size, 0);
    free(image);
    fuzz_context_end(ctx);
    return 0;
}
