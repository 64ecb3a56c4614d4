/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * From losses to shares, per series and distance. Two layers: experts weigh by a power of their forgotten
 * losses, which wins on real series and promises nothing; two benchmarks insure it, with a bound
 * (doc/algorithms/combination.md).
 */
#include "forecast/combination.h"

#define SHARPNESS    10   /* a method that lost twice as much gets 1/1024 of the weight, after many rounds */
#define ROUNDS       4    /* half of that when so many rounds make the losses */
#define LEAST_WEIGHT 0.05 /* of all; below it a weight is nothing */
#define PREMIUM      0.01 /* share of each benchmark at the start */
#define RATE         0.25 /* step of the insurance */
#define UNHEARD      1.35 /* times the largest difference to a season ago, and it is a surprise */
#define VIEW         0.25 /* of a season: over so much the running mean of the differences goes */
#define TRUST        4 /* power of what the others lost to what the last value lost in a surprise, where it lost more */
#define STALE        20 /* times faster is forgotten what was learnt before a surprise */

void spr__combination_watch(const struct combination *c, struct combination_watch *w, double y, double before) {
    double d = y - before, view[COMBINATION_VIEWS];
    bool surprise = false;
    for (int k = 0; k < COMBINATION_VIEWS; k++)
        w->most[k] *= c->keep;
    if (isnan(d))
        return;
    w->mean += (d - w->mean) / fmax(1, VIEW * (double)c->season);
    view[0] = fabs(d), view[1] = fabs(w->mean);
    for (int k = 0; k < COMBINATION_VIEWS; k++)
        surprise = surprise || view[k] > UNHEARD * w->most[k];
    surprise = surprise && c->season > 1 && w->seen >= c->season && w->run < c->season;
    w->seen++, w->run = surprise ? w->run + 1 : 0;
    if (!surprise)
        w->last = w->others = 0;
    for (int k = 0; k < COMBINATION_VIEWS; k++) {
        w->peak[k] = fmax(w->peak[k], view[k]);
        if (!surprise)
            w->most[k] = fmax(w->most[k], w->peak[k]), w->peak[k] = 0;
    }
}

double spr__combination_alarm(const struct combination_watch *w) {
    double n = (double)w->run, trust = w->last > w->others ? pow(w->others / w->last, TRUST) : 1;
    return trust * n * n / (1 + n * n);
}

static double pinball(const struct combination *c, const double *q, double y, bool censored) {
    double sum = 0;
    for (int32_t k = 0; k < c->levels; k++) {
        double d = y - q[k];
        sum += d > 0 ? c->level[k] * d : censored ? 0 : (c->level[k] - 1) * d;
    }
    return sum / c->levels;
}

/* Loss of the mean of the experts by weight: less than the mean of their losses. `alarm` of it is the last value. */
static double pinball_mixed(const struct combination *c, const double *weight, const double *const *q,
                            const struct combination_outcome *o, double alarm) {
    double sum = 0;
    for (int32_t k = 0; k < c->levels; k++) {
        double mixed = 0;
        for (int32_t e = 0; e < c->experts; e++)
            mixed += q[e] && weight[e] > 0 ? weight[e] * q[e][k] : 0;
        if (alarm > 0)
            mixed += alarm * (q[COMBINATION_LAST][k] - mixed);
        double d = o->y - mixed;
        sum += d > 0 ? c->level[k] * d : o->censored ? 0 : (c->level[k] - 1) * d;
    }
    return sum / c->levels;
}

void spr__combination_outcome(struct combination *c, int64_t series, int32_t rung, const double *const *q,
                              const struct combination_outcome *o) {
    struct combination_cell *x = spr__combination_cell(c, series, rung);
    for (int32_t e = 0; e < c->experts; e++)
        x->round[e] += q[e] ? o->times * pinball(c, q[e], o->y, o->censored) : 0;
    x->round_mixed += o->times * pinball_mixed(c, x->weight, q, o, o->alarm);
    x->outcomes += o->times;
    if (o->alarm > 0) {
        struct combination_watch *w = &c->watch[series];
        w->last += o->times * pinball(c, q[COMBINATION_LAST], o->y, o->censored);
        w->others += o->times * pinball_mixed(c, x->weight, q, o, 0);
    }
}

/*
 * A power of the losses, the sharper the more rounds they come from: where few rounds are most of what was lost, who
 * lost little was lucky.
 */
static void weigh(const struct combination *c, struct combination_cell *x) {
    double least = INFINITY, rounds = INFINITY, sum = 0, kept = 0;
    for (int32_t e = 0; e < c->experts; e++) {
        if (c->expert[e].asked)
            least = fmin(least, x->loss[e]);
        if (c->expert[e].asked && x->square[e] > 0)
            rounds = fmin(rounds, x->loss[e] * x->loss[e] / x->square[e]);
    }
    double sharpness = rounds < INFINITY ? SHARPNESS * rounds / (rounds + ROUNDS) : SHARPNESS;
    for (int32_t e = 0; e < c->experts; e++) {
        double share = x->loss[e] > 0 ? least / x->loss[e] : 1;
        sum += x->weight[e] = c->expert[e].asked ? c->expert[e].prior * pow(share, sharpness) : 0;
    }
    for (int32_t e = 0; e < c->experts; e++)
        kept += x->weight[e] = x->weight[e] < LEAST_WEIGHT * sum ? 0 : x->weight[e];
    for (int32_t e = 0; e < c->experts; e++)
        x->weight[e] /= kept;
}

void spr__combination_begin(struct combination *c, int64_t series) {
    for (int32_t r = 0; r < c->rung_count; r++) {
        struct combination_cell *x = spr__combination_cell(c, series, r);
        memset(x, 0, sizeof *x);
        weigh(c, x);
    }
}

/* Losses of this round at one distance; neighbours lend theirs, the less the farther they are (in octaves / ln 2). */
static bool gather(const struct combination *c, int64_t series, int32_t rung, double *loss, double *mixed) {
    double n = 0;
    memset(loss, 0, COMBINATION_EXPERTS * sizeof *loss);
    *mixed = 0;
    for (int32_t r = 0; r < c->rung_count; r++) {
        const struct combination_cell *z = spr__combination_cell(c, series, r);
        double w = r < rung ? (double)c->rungs[r] / c->rungs[rung] : (double)c->rungs[rung] / c->rungs[r];
        n += w * z->outcomes;
        *mixed += w * z->round_mixed;
        for (int32_t e = 0; e < c->experts; e++)
            loss[e] += w * z->round[e];
    }
    for (int32_t e = 0; e < c->experts; e++)
        loss[e] /= n;
    *mixed /= n;
    return n > 0;
}

void spr__combination_round(struct combination *c, int64_t series) {
    double loss[COMBINATION_EXPERTS], mixed;
    for (int32_t r = 0; r < c->rung_count; r++) {
        struct combination_cell *x = spr__combination_cell(c, series, r);
        if (!gather(c, series, r, loss, &mixed))
            continue;
        for (int32_t g = 0; g < c->guards; g++) {
            double d = mixed - loss[g];
            x->most[g] = fmax(x->most[g], fabs(d));
            if (x->most[g] > 0)
                x->guard[g] += log1p(RATE * d / x->most[g]);
        }
        for (int32_t e = 0; e < c->experts; e++)
            x->loss[e] += loss[e], x->square[e] += loss[e] * loss[e];
    }
    for (int32_t r = 0; r < c->rung_count; r++) {
        struct combination_cell *x = spr__combination_cell(c, series, r);
        if (x->outcomes > 0)
            weigh(c, x);
        memset(x->round, 0, sizeof x->round);
        x->round_mixed = x->outcomes = 0;
    }
}

void spr__combination_forget(struct combination *c, int64_t series, double steps) {
    double alarm = c->guards ? spr__combination_alarm(&c->watch[series]) : 0;
    double keep = pow(c->keep, steps * (1 + alarm * STALE));
    for (int32_t r = 0; r < c->rung_count; r++) {
        struct combination_cell *x = spr__combination_cell(c, series, r);
        for (int32_t e = 0; e < c->experts; e++)
            x->loss[e] *= keep, x->square[e] *= keep * keep;
        for (int32_t g = 0; g < c->guards; g++)
            x->guard[g] *= keep;
    }
}

void spr__combination_shares(const struct combination *c, int64_t series, int32_t rung, double alarm, double *share) {
    const struct combination_cell *x = spr__combination_cell(c, series, rung);
    double wealth[COMBINATION_GUARDS] = {0}, sum = 1 - c->guards * PREMIUM, own = sum;
    for (int32_t g = 0; g < c->guards; g++)
        sum += wealth[g] = PREMIUM * exp(fmin(x->guard[g], 300));
    for (int32_t e = 0; e < c->experts; e++)
        share[e] = (own * (x->weight[e] * (1 - alarm) + (e == COMBINATION_LAST ? alarm : 0)) +
                    (e < c->guards ? wealth[e] : 0)) /
                   sum;
}
