/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How wrong forecasts made h steps before were, from one traced run over the history: the state after every step and
 * the season used in it are enough to rebuild each of those forecasts. Their quantiles become the forecast's.
 */
#include "forecast/hw.h"

enum { ENOUGH = 8, COMPARED = 1024 }; /* least errors that make quantiles; origins that compare kinds of trend */

static double traced(const struct hw_errors *e, int64_t t, int field) {
    return e->trace[((t - e->from) * 4 + field) * HW_LANES + e->lane];
}

/* From step t back to the newest visit of its phase that a forecast made h steps earlier had seen. */
static int64_t visit_back(const struct hw_errors *e, int32_t c, int32_t h) {
    if (!e->hw->shape.cycle[c].slots)
        return 0;
    double period = e->hw->shape.cycle[c].period;
    return SPR_MIN((int64_t)rint(floor((double)(h - 1) / period) * period), h - 1);
}

int64_t spr__hw_errors_at(const struct hw_errors *e, int32_t h, int64_t every, double *out) {
    double damped = 0, power = e->phi;
    int64_t n = 0, back1 = visit_back(e, 0, h), back2 = visit_back(e, 1, h);
    for (int32_t i = 0; i < h; i++, power *= e->phi)
        damped += power;
    for (int64_t origin = SPR_MAX(e->first, e->from); origin + h < e->steps; origin += every) {
        int64_t t = origin + h;
        double y = e->x[t * HW_LANES + e->lane];
        double forecast =
            traced(e, origin, 0) + damped * traced(e, origin, 1) + traced(e, t - back1, 2) + traced(e, t - back2, 3);
        if (!isnan(y) && !(e->cap && forecast > e->cap[t * HW_LANES + e->lane]))
            out[n++] = y - forecast;
    }
    return n;
}

double spr__hw_errors_mean(const struct hw_errors *e, double *work) {
    double total = 0;
    int32_t used = 0;
    int64_t every = 1 + (e->steps - SPR_MAX(e->first, e->from)) / COMPARED;
    for (int32_t r = 0; r < e->hw->rung_count; r++) {
        int64_t n = spr__hw_errors_at(e, e->hw->rungs[r], every, work);
        double sum = 0;
        for (int64_t i = 0; i < n; i++)
            sum += fabs(work[i]);
        if (n)
            total += sum / (double)n, used++;
    }
    return used ? total / used : INFINITY;
}

/* Standard deviation at h as a multiple of that at 1 (Hyndman, Koehler, Ord & Snyder 2008, table 6.1, class 1). */
static double growth(const struct hw_errors *e, const struct hw_params *p, int32_t h) {
    int lane = e->lane;
    double alpha = p->of[HW_ALPHA][lane], sum = 1, damped = 0, power = p->of[HW_PHI][lane];
    for (int32_t j = 1; j < h; j++, power *= p->of[HW_PHI][lane]) {
        damped += power;
        double c = alpha * (1 + p->of[HW_BETA][lane] * damped);
        for (int32_t k = 0; k < HW_CYCLES; k++) {
            double period = e->hw->shape.cycle[k].period;
            if (e->hw->shape.cycle[k].slots && fmod((double)j + 0.5, period) < 1.0)
                c += p->of[HW_GAMMA + k][lane] * (1 - alpha);
        }
        sum += c * c;
    }
    return sqrt(sum);
}

/* Root of the mean squared one-step error, or a guess from the level where no step was ever forecast. */
static double one_step(const struct hw_errors *e, double sse, double level) {
    int64_t n = 0;
    for (int64_t t = e->first; t < e->steps; t++)
        n += !isnan(e->x[t * HW_LANES + e->lane]);
    return n ? sqrt(sse / (double)n) * sqrt((double)(n + 3) / (double)n) : 0.25 * fabs(level);
}

void spr__hw_errors_quantiles(const struct hw_errors *e, const struct hw_params *params, double sse, double level,
                              double *work, double *offsets) {
    const struct hw *hw = e->hw;
    int32_t known = -1; /* the longest horizon with enough errors */
    for (int32_t r = 0; r < hw->rung_count; r++) {
        double *to = offsets + r * hw->level_count;
        int64_t n = spr__hw_errors_at(e, hw->rungs[r], 1, work);
        if (n >= ENOUGH) {
            known = r;
            spr__quantiles(work, n, hw->levels, hw->level_count, to);
            continue;
        }
        double grown = growth(e, params, hw->rungs[r]);
        double scale = known >= 0 ? grown / growth(e, params, hw->rungs[known]) : grown * one_step(e, sse, level);
        for (int32_t k = 0; k < hw->level_count; k++)
            to[k] = scale * (known >= 0 ? offsets[known * hw->level_count + k] : spr__normal_quantile(hw->levels[k]));
    }
}
