/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Scores of answers against what came. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "forecast_score.h"

const double score_levels[SCORE_LEVELS] = {.1, .5, .9, 10.0 / 11, .95, .99};
enum { GROUPS_MOST = 256 };
enum { Q50 = 1, Q90 = 2, RESERVE = 3, Q95 = 4, Q99 = 5 };
#define SCALE_LEAST   .001 /* of the mean level: a series that stands still has no scale */
#define MISSING_COSTS 10   /* a unit too few costs ten times a unit too many */

/* A case and what is known of it besides its answer. */
struct one {
    double *y;    /* [horizon] what came, NaN = missing */
    double scale; /* mean distance to a season before, over the history */
    double threshold;
    bool scored, scaled;
    int64_t group; /* cases of one metric are pooled */
};
struct truth {
    struct one *items;
    size_t count;
    int32_t horizon;
    int64_t step_s;
    double *y;
    int64_t groups;
    const char *metrics[GROUPS_MOST]; /* of the groups; texts of the cases */
};

/* ---- histories ---- */

/* A missing value is the one a season earlier, else the one before, else the first known one. */
static bool close_gaps(double *y, int64_t n, int64_t season) {
    int64_t first = 0;
    for (int64_t t = 1; t < n; t++)
        if (isnan(y[t]))
            y[t] = t >= season && !isnan(y[t - season]) ? y[t - season] : y[t - 1];
    while (first < n && isnan(y[first]))
        first++;
    for (int64_t t = 0; first < n && t < first; t++)
        y[t] = y[first];
    return first < n;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(double *y, int64_t n, double p) {
    qsort(y, (size_t)n, sizeof *y, by_value);
    double at = p * (double)(n - 1);
    int64_t i = (int64_t)at;
    return i >= n - 1 ? y[n - 1] : y[i] + (at - (double)i) * (y[i + 1] - y[i]);
}

static void measure(struct one *c, double *y, int64_t n, int64_t season) {
    double sum = 0, level = 0;
    int64_t m = season < n ? season : 1;
    for (int64_t t = m; t < n; t++)
        sum += fabs(y[t] - y[t - m]);
    for (int64_t t = 0; t < n; t++)
        level += fabs(y[t]);
    c->scale = n > m ? sum / (double)(n - m) : 0;
    c->scaled = c->scale > SCALE_LEAST * level / (double)n;
    c->threshold = quantile(y, n, .9);
}

/* Cases of one metric are pooled: only they share a unit. */
static int64_t group_of(struct truth *t, const char *metric) {
    int64_t g = 0;
    while (g < t->groups && strcmp(t->metrics[g], metric) != 0)
        g++;
    if (g == t->groups && g < GROUPS_MOST)
        t->metrics[t->groups++] = metric;
    return g < GROUPS_MOST ? g : GROUPS_MOST - 1;
}

static void take_case(struct truth *t, const struct forecast_job *job, const struct answers *cases, size_t i,
                      int64_t season, double *room) {
    const struct answer *a = &cases->items[i];
    struct one *c = &t->items[i];
    int64_t seen = job->history && job->history < a->origin ? job->history : a->origin;
    c->y = t->y + i * (size_t)t->horizon;
    c->group = group_of(t, a->metric);
    bool target = panel_copy(&job->mean, &job->most, a->row, a->origin, t->horizon, c->y);
    panel_copy(&job->mean, &job->most, a->row, 0, a->origin, room);
    c->scored = target && a->origin > 1 && close_gaps(room, a->origin, season);
    if (c->scored)
        measure(c, room + a->origin - seen, seen, season);
}

struct truth *truth_make(const struct forecast_job *job, const struct answers *cases, int64_t season) {
    struct truth *t = calloc(1, sizeof *t);
    double *room = malloc(((size_t)spr_series_steps(job->series) + 1) * sizeof *room);
    if (t && room) {
        t->horizon = job->horizon;
        t->step_s = spr_series_step_ns(job->series) / 1000000000;
        t->items = calloc(cases->count + 1, sizeof *t->items);
        t->y = malloc((cases->count * (size_t)job->horizon + 1) * sizeof *t->y);
    }
    if (!t || !room || !t->items || !t->y) {
        fprintf(stderr, "shardpredict: out of memory\n");
        truth_free(t);
        t = NULL;
    }
    for (size_t i = 0; t && i < cases->count; i++)
        take_case(t, job, cases, i, season, room);
    if (t)
        t->count = cases->count;
    free(room);
    return t;
}

void truth_free(struct truth *t) {
    if (!t)
        return;
    free(t->items), free(t->y), free(t);
}

void truth_drop_unscored(struct truth *t, struct answers *cases) {
    size_t kept = 0;
    for (size_t i = 0; i < t->count; i++) {
        if (!t->items[i].scored) {
            answer_free(&cases->items[i]);
            continue;
        }
        t->items[kept] = t->items[i];
        cases->items[kept++] = cases->items[i];
    }
    t->count = cases->count = kept;
}

/* ---- spikes: where is a point above the history's 0.9 quantile ---- */

/* Chance of passing the threshold: linear between the levels, flat beyond them, ties broken by the median. */
static double chance(const double *q, double threshold, double scale) {
    double p = .95, low = q[0];
    for (int k = 0; k + 1 < SCORE_LEVELS; k++) {
        double high = q[k + 1] > low ? q[k + 1] : low;
        if (threshold >= low) {
            double share = (threshold - low) / fmax(high - low, 1e-12);
            p = 1 - score_levels[k] - (score_levels[k + 1] - score_levels[k]) * fmin(share, 1);
        }
        low = high;
    }
    if (threshold >= low)
        p = .005;
    return p + 1e-5 * tanh((q[Q50] - threshold) / scale);
}

struct ranked {
    double chance;
    bool spike;
};
static int by_chance(const void *a, const void *b) {
    double x = ((const struct ranked *)a)->chance, y = ((const struct ranked *)b)->chance;
    return (x < y) - (x > y);
}

/* Area under the steps of the precision-recall curve; points of equal chance are one step. */
static double average_precision(struct ranked *r, size_t n) {
    double area = 0, hits = 0, all = 0;
    for (size_t i = 0; i < n; i++)
        all += r[i].spike;
    qsort(r, n, sizeof *r, by_chance);
    for (size_t i = 0; i < n;) {
        double before = hits, at = r[i].chance;
        for (; i < n && !(r[i].chance < at); i++)
            hits += r[i].spike;
        area += (hits - before) / all * hits / (double)i;
    }
    return all > 0 ? area : NAN;
}

/* Onsets of events: runs of steps, runs no further apart than `gap` are one, shorter ones than `least` are none. */
static int onsets(const bool *on, int32_t n, int32_t gap, int32_t least, int32_t *out) {
    int count = 0;
    for (int32_t t = 0; t < n;) {
        if (!on[t]) {
            t++;
            continue;
        }
        int32_t first = t, last = t;
        for (t++; t < n && t - last <= gap + 1; t++)
            last = on[t] ? t : last;
        t = last + 1;
        if (last - first + 1 >= least)
            out[count++] = first;
    }
    return count;
}

struct matches {
    double events, alarms, matched;
};

/* Each event takes the nearest alarm that is free, in the order of time. */
static void match(const int32_t *events, int n, int32_t *alarms, int m, int32_t within, struct matches *out) {
    out->events += n, out->alarms += m;
    for (int i = 0; i < n && m; i++) {
        int best = 0;
        for (int k = 1; k < m; k++)
            if (abs(alarms[k] - events[i]) < abs(alarms[best] - events[i]))
                best = k;
        if (abs(alarms[best] - events[i]) > within)
            continue;
        out->matched++;
        memmove(alarms + best, alarms + best + 1, (size_t)(--m - best) * sizeof *alarms);
    }
}

/* ---- all scores ---- */

struct sums {
    double pinball[SCORE_LEVELS], level;
};
struct tally {
    const struct truth *t;
    struct sums *groups;
    struct ranked *ranked;
    bool *on, *alarm;
    int32_t *events, *alarms;
    struct matches matches;
    double covered, scaled_error, scaled_cost, percent;
    struct score *out;
};

static double pinball(double level, double y, double q) { return y >= q ? level * (y - q) : (level - 1) * (y - q); }

static void score_spikes(struct tally *w, const struct one *c, const struct answer *a) {
    /* One hour, at least two steps; under half an hour a step single points are noise. */
    int64_t step_s = w->t->step_s > 0 ? w->t->step_s : 1;
    bool fine = step_s < 1800;
    int32_t within = (int32_t)fmax(2, floor(3600.0 / (double)step_s)), gap = fine ? 2 : 0, least = fine ? 2 : 1;
    double scale = c->scaled ? c->scale : 1;
    for (int32_t h = 0; h < w->t->horizon; h++) {
        const double *q = a->quantiles + h * SCORE_LEVELS;
        bool there = !isnan(c->y[h]);
        w->on[h] = there && c->y[h] > c->threshold;
        w->alarm[h] = there && q[Q90] > c->threshold;
        if (there)
            w->ranked[w->out->points++] = (struct ranked){chance(q, c->threshold, scale), w->on[h]};
        w->out->spikes += w->on[h];
    }
    int n = onsets(w->on, w->t->horizon, gap, least, w->events);
    int m = onsets(w->alarm, w->t->horizon, gap, least, w->alarms);
    match(w->events, n, w->alarms, m, within, &w->matches);
}

static void score_case(struct tally *w, const struct one *c, const struct answer *a) {
    struct sums *g = &w->groups[c->group];
    double error = 0, cost = 0, percent = 0, n = 0;
    for (int32_t h = 0; h < w->t->horizon; h++) {
        const double *q = a->quantiles + h * SCORE_LEVELS;
        double y = c->y[h], f = a->points[h], size = fabs(y) + fabs(f);
        if (isnan(y))
            continue;
        n++;
        error += fabs(y - f);
        percent += size > 0 ? 200 * fabs(y - f) / size : 0;
        cost += y > q[RESERVE] ? MISSING_COSTS * (y - q[RESERVE]) : q[RESERVE] - y;
        w->covered += y <= q[Q95];
        g->level += fabs(y);
        for (int k = 0; k < SCORE_LEVELS; k++)
            g->pinball[k] += pinball(score_levels[k], y, q[k]);
    }
    w->out->cases++;
    w->percent += percent / n;
    if (c->scaled) {
        w->out->scaled++;
        w->scaled_error += error / n / c->scale;
        w->scaled_cost += cost / n / c->scale;
    }
}

static void summarise(struct tally *w) {
    struct score *s = w->out;
    double groups = 0;
    for (int64_t g = 0; g < w->t->groups; g++) {
        if (!(w->groups[g].level > 0))
            continue;
        groups++;
        for (int k = 0; k < SCORE_LEVELS; k++)
            s->wql[k] += 2 * w->groups[g].pinball[k] / w->groups[g].level;
    }
    for (int k = 0; k < SCORE_LEVELS; k++) {
        s->wql[k] /= groups;
        s->mwql += s->wql[k] / SCORE_LEVELS;
    }
    s->mase = w->scaled_error / (double)s->scaled;
    s->cost_s = w->scaled_cost / (double)s->scaled;
    s->smape = w->percent / (double)s->cases;
    s->cov95 = w->covered / (double)s->points;
    s->spikes /= (double)s->points;
    s->ap90 = average_precision(w->ranked, s->points);
    double both = w->matches.events + w->matches.alarms;
    s->onset_f1 = both > 0 ? 2 * w->matches.matched / both : NAN;
}

/* Nine digits, as the CSV has them: measured loads repeat values, and a forecast that prints as the very value must
 * count as having met it. */
static double as_printed(double v) {
    double magnitude = fabs(v);
    if (!(magnitude > 1e-12 && magnitude < 1e22))
        return magnitude > 1e-12 ? v : 0;
    int k = 8 - (int)floor(log10(magnitude));
    double unit = pow(10, abs(k));
    return k >= 0 ? nearbyint(v * unit) / unit : nearbyint(v / unit) * unit;
}

static void round_answer(const struct forecast_job *job, struct answer *a) {
    for (int32_t h = 0; h < job->horizon; h++)
        a->points[h] = as_printed(a->points[h]);
    for (int32_t i = 0; i < job->horizon * job->level_count; i++)
        a->quantiles[i] = as_printed(a->quantiles[i]);
}

bool score_answers(const struct truth *t, const struct forecast_job *job, struct answers *answers, struct score *out) {
    size_t horizon = (size_t)job->horizon;
    struct tally w = {.t = t, .out = out};
    memset(out, 0, sizeof *out);
    w.groups = calloc((size_t)t->groups + 1, sizeof *w.groups);
    w.ranked = malloc((t->count * horizon + 1) * sizeof *w.ranked);
    w.on = malloc(2 * horizon * sizeof *w.on);
    w.events = malloc(2 * horizon * sizeof *w.events);
    bool ok = w.groups && w.ranked && w.on && w.events;
    w.alarm = ok ? w.on + horizon : NULL;
    w.alarms = ok ? w.events + horizon : NULL;
    for (size_t i = 0; ok && i < t->count; i++) {
        round_answer(job, &answers->items[i]);
        score_case(&w, &t->items[i], &answers->items[i]);
        score_spikes(&w, &t->items[i], &answers->items[i]);
    }
    if (ok)
        summarise(&w);
    free(w.groups), free(w.ranked), free(w.on), free(w.events);
    return ok;
}
