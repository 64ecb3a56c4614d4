/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Reading the panels of a trace: what a series shows at a step. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "forecast.h"

double panel_value(const struct spr_panel *p, int64_t row, int64_t step) {
    double v;
    memcpy(&v, (const char *)p->data + row * p->series_stride + step * p->step_stride, sizeof v);
    return v;
}

bool panel_has_values(const struct spr_panel *p, int64_t row) {
    for (int64_t t = 0; t < p->steps; t++)
        if (!isnan(panel_value(p, row, t)))
            return true;
    return false;
}

bool panel_copy(const struct spr_panel *mean, const struct spr_panel *most, int64_t row, int64_t first, int64_t steps,
                double *out) {
    bool any = false;
    for (int64_t t = 0; t < steps; t++) {
        int64_t at = first + t;
        double v = at >= 0 && at < mean->steps ? panel_value(mean, row, at) : NAN;
        if (isnan(v) && at >= 0 && at < most->steps)
            v = panel_value(most, row, at);
        any = any || !isnan(v);
        out[t] = v;
    }
    return any;
}

int64_t series_first_step(const spr_series *series) {
    int64_t origin = spr_series_origin_ns(series), step = spr_series_step_ns(series);
    return origin >= 0 ? origin / step : -((step - 1 - origin) / step);
}

int64_t series_grid_ns(const spr_series *series) {
    return spr_series_origin_ns(series) - series_first_step(series) * spr_series_step_ns(series);
}
