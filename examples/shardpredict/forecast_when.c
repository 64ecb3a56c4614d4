/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* When --above is passed: first passage per step, and windows with onset, end and peak. */
#include <math.h>
#include <stdlib.h>

#include "forecast.h"

enum { DIGITS = 9, WHEN_MAX = 64 };

static void number(spr_output *o, const char *key, double value) {
    spr_output_text(o, key);
    spr_output_number(o, value, DIGITS);
}

/* Steps count from 1 in files; `last` is the last step of a window, as in "windows". */
static void window(spr_output *o, const struct spr_when *w) {
    number(o, "{\"from\": ", w->from + 1);
    number(o, ", \"to\": ", w->to);
    number(o, ", \"probability\": ", w->probability);
    number(o, ", \"onset\": ", w->onset + 1);
    number(o, ", \"onset_low\": ", w->onset_low + 1);
    number(o, ", \"onset_high\": ", w->onset_high + 1);
    number(o, ", \"end\": ", w->end);
    number(o, ", \"peak\": ", w->peak);
    spr_output_text(o, "}");
}

int json_when(spr_output *o, const struct forecast_job *job, const struct answer *a) {
    struct spr_when_opts when = {.size = sizeof when, .threshold = job->above, .probability = job->probability};
    struct spr_when w[WHEN_MAX];
    size_t n = WHEN_MAX;
    double *first = malloc((size_t)job->horizon * sizeof *first);
    spr_forecast *f = NULL;
    int rc = !first ? SPR_E_NOMEM
                    : spr_forecast_create(job->ctx, 1, job->horizon, job->level_count, job->levels, a->origin,
                                          a->points, a->quantiles, &f);
    if (rc >= 0)
        rc = spr_forecast_first_passage(f, 0, &when, first);
    if (rc >= 0)
        rc = spr_forecast_when(f, 0, &when, w, sizeof *w, &n);
    if (rc >= 0) {
        spr_output_text(o, ", \"first_passage\": [");
        for (int32_t h = 0; h < job->horizon; h++)
            number(o, h ? "," : "", first[h]);
        spr_output_text(o, "], \"when\": [");
        for (size_t i = 0; i < n && i < WHEN_MAX; i++) {
            spr_output_text(o, i ? ", " : "");
            window(o, &w[i]);
        }
        spr_output_text(o, "]");
    }
    spr_forecast_unref(f);
    free(first);
    return rc;
}
