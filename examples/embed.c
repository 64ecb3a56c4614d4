/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* When will a VM need more than four cores? Build: cc embed.c $(pkg-config --cflags --libs shardpredict) */
#include <stdio.h>
#include <shardpredict.h>

int main(void) {
    double cores[14 * 24]; /* two weeks of hourly means: busy from nine to six, with some jitter */
    for (int t = 0; t < 14 * 24; t++)
        cores[t] = (t % 24 >= 9 && t % 24 < 18 ? 4.3 : 1.2) + 0.05 * (t * 7 % 11 - 5);
    struct spr_panel history = {.size = sizeof history, .data = cores, .series = 1, .steps = 14 * 24,
                                .series_stride = sizeof cores, .step_stride = sizeof *cores};

    spr_context *ctx = NULL;
    spr_forecaster *forecaster = NULL;
    spr_forecast *forecast = NULL;
    struct spr_forecaster_opts opts = SPR_FORECASTER_OPTS_INIT;
    opts.step_ns = INT64_C(3600000000000);
    opts.horizon = 24;
    if (spr_context_create(NULL, &ctx) < 0 ||
        spr_forecaster_create(ctx, spr_forecaster_holt_winters(), &opts, &forecaster) < 0 ||
        spr_forecaster_fit(forecaster, &history, 0, 0) < 0 || spr_forecaster_predict(forecaster, NULL, &forecast) < 0)
        return 1;

    struct spr_exceedance when[8];
    size_t count = 8;
    spr_forecast_windows(forecast, 0, 4.0, 0.5, when, sizeof *when, &count);
    for (size_t i = 0; i < count && i < 8; i++)
        printf("more than 4 cores from %d:00 to %d:00 tomorrow, probability %.2f, peak %.1f cores\n",
               (int)when[i].onset, (int)when[i].end, when[i].probability, when[i].peak);
    spr_forecast_unref(forecast);
    spr_forecaster_destroy(forecaster);
    spr_context_unref(ctx);
    return 0;
}
