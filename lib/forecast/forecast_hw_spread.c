/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How wrong forecasts made h steps before were, from one traced run over the history: the state after every step and
 * the season used in it are enough to rebuild each of those forecasts. Their quantiles become the forecast's, and the
 * losses of forecasts choose between kinds.
 */
#include "forecast/hw.h"

enum { ENOUGH = 8, COMPARED = 256 }; /* errors that make quantiles; that compare kinds */

/* From step t back to the newest visit of its phase that a forecast made h steps earlier had seen. */
static int64_t visit_back(const struct hw_errors *e, int32_t c, int32_t h) {
    if (!e->hw->shape.cycle[c].slots)
        return 0;
    double period = e->hw->shape.cycle[c].period;
    return SPR_MIN((int64_t)rint(floor((double)(h - 1) / period) * period), h - 1);
}

static double reach_of(double phi, int32_t h) {
    double damped = 0, power = phi;
    for (int32_t i = 0; i < h; i++, power *= phi)
        damped += power;
    return damped;
}

static double rebuilt(const struct hw_errors *e, int64_t origin, double reach, int64_t visit1, int64_t visit2) {
    double base = e->level[origin] + reach * e->trend[origin];
    if (e->mult)
        return base * SPR_MAX(e->one[visit1], HW_FIGURE_MIN) *
               (e->hw->shape.cycle[1].slots ? SPR_MAX(e->two[visit2], HW_FIGURE_MIN) : 1);
    return base + e->one[visit1] + e->two[visit2];
}

int64_t spr__hw_errors_at(const struct hw_errors *e, int32_t h, int64_t lo, int64_t hi, int64_t every, double *out) {
    double reach = reach_of(e->phi, h);
    int64_t n = 0, back1 = visit_back(e, 0, h), back2 = visit_back(e, 1, h);
    lo = SPR_MAX(lo, SPR_MAX(e->first, e->from) + h);
    if (e->full && !e->mult && every == 1 && lo < hi) { /* the same, all at once */
        const double *x = e->x + lo - e->from, *one = e->one + lo - e->from - back1,
                     *two = e->two + lo - e->from - back2;
        const double *level = e->level + lo - e->from - h, *trend = e->trend + lo - e->from - h;
        for (; n < hi - lo; n++)
            out[n] = x[n] - (level[n] + reach * trend[n] + one[n] + two[n]);
        return n;
    }
    for (int64_t t = lo - e->from; t < hi - e->from; t += every) {
        double forecast = rebuilt(e, t - h, reach, t - back1, t - back2);
        out[n] = e->x[t] - forecast; /* the next one overwrites what does not count */
        n += !isnan(e->x[t]) && !(e->cap && forecast > e->cap[t]);
    }
    return n;
}

/* ---- comparing kinds ---- */

static double mean_size(const double *v, int64_t n) {
    double sums[4] = {0}; /* four chains of additions, so that none waits for the other */
    int64_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int k = 0; k < 4; k++)
            sums[k] += fabs(v[i + k]);
    for (; i < n; i++)
        sums[0] += fabs(v[i]);
    return (sums[0] + sums[1] + sums[2] + sums[3]) / (double)n;
}

/* Pinball loss of errors against offsets, summed over the levels; scaled so that one level at 1/2 is half the size. */
static double pinball(const double *errors, int64_t n, const double *levels, const double *offsets, int32_t count) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        for (int32_t k = 0; k < count; k++) {
            double over = errors[i] - offsets[k];
            sum += over > 0 ? levels[k] * over : (levels[k] - 1) * over;
        }
    return sum / ((double)n * count);
}

double spr__hw_errors_loss(const struct hw_errors *e, int64_t cut, double *work) {
    double total = 0, *offsets = work + (e->steps - e->from);
    const double *levels = e->hw->levels;
    int32_t used = 0, count = e->hw->level_count;
    int64_t start = SPR_MAX(e->first, e->from), head = (1 + (cut - start) / COMPARED) | 1,
            tail = (1 + (e->steps - SPR_MAX(cut, start)) / COMPARED) | 1; /* odd: some series alternate */
    for (int32_t r = 0; r < e->hw->rung_count; r++) {
        int32_t h = e->hw->rungs[r];
        int64_t before = cut > start + h ? spr__hw_errors_at(e, h, start, cut, head, work) : 0;
        if (before < 4 * ENOUGH)
            before = 0;
        else
            spr__quantiles_by(e->hw->split, e->spare, work, before, levels, count, offsets);
        int64_t n = spr__hw_errors_at(e, h, before ? cut : start, e->steps, tail, work);
        if (n)
            total += before ? pinball(work, n, levels, offsets, count) : 0.5 * mean_size(work, n), used++;
    }
    return used ? total / used : INFINITY;
}

/* ---- quantiles ---- */

/* Standard deviation at h as a multiple of that at 1 (Hyndman, Koehler, Ord & Snyder 2008, table 6.1, class 1). */
static double growth(const struct hw_errors *e, const struct hw_params *p, int lane, int32_t h) {
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
    for (int64_t t = SPR_MAX(e->first, e->from); t < e->steps; t++)
        n += !isnan(e->x[t - e->from]);
    return n ? sqrt(sse / (double)n) * sqrt((double)(n + 3) / (double)n) : 0.25 * fabs(level);
}

/* Where errors are too few, the quantiles of the longest horizon that has enough are widened, or normal ones taken. */
static void guessed(const struct hw_errors *e, const struct hw_params *params, int lane, int32_t r, int32_t known,
                    double one, const double *rows, double *offsets) {
    const struct hw *hw = e->hw;
    double grown = growth(e, params, lane, hw->rungs[r]);
    double scale = known >= 0 ? grown / growth(e, params, lane, hw->rungs[known]) : grown * one;
    const double *from = known >= 0 ? rows + (hw->rung_row[known] - HW_ROW_RUNGS + 2) * HW_LANES + lane : NULL;
    for (int32_t k = 0; k < hw->level_count; k++)
        offsets[k] = scale * (from ? from[k * HW_LANES] : spr__normal_quantile(hw->levels[k]));
}

void spr__hw_errors_rungs(const struct hw_errors *e, const struct hw_params *params, int lane, double sse, double level,
                          double *work, double *rows) {
    const struct hw *hw = e->hw;
    double *offsets = work + (e->steps - e->from);
    int32_t known = -1; /* the longest horizon with enough errors */
    for (int32_t r = 0; r < hw->rung_count; r++) {
        int32_t h = hw->rungs[r];
        double *to = rows + (hw->rung_row[r] - HW_ROW_RUNGS) * HW_LANES + lane, size;
        int64_t n = spr__hw_errors_at(e, h, e->first, e->steps, 1, work);
        if (n >= ENOUGH) {
            known = r;
            size = mean_size(work, n);
            spr__quantiles_by(hw->split, e->spare, work, n, hw->levels, hw->level_count, offsets);
        } else {
            double one = one_step(e, sse, level);
            guessed(e, params, lane, r, known, one, rows, offsets);
            size = 0.8 * one * growth(e, params, lane, h);
        }
        to[0] = reach_of(e->phi, h);
        to[HW_LANES] = size;
        for (int32_t k = 0; k < hw->level_count; k++)
            to[(2 + k) * HW_LANES] = offsets[k];
        for (int32_t i = 0; i < spr__hw_waiting(h); i++)
            to[(2 + hw->level_count + i) * HW_LANES] = NAN;
    }
}
