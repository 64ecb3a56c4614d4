/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A mix of experts for totals of hosts, made to be asked at every control step: five cheap ways to say what the next
 * steps may bring and, where it is given, a trained model; weighed per series, step ahead and level by (recent pinball
 * loss)^-6. No parameters to fit, no randomness; doc/algorithms/mix.md tells where it comes from and what each expert
 * is worth.
 */
#include "forecast/mix.h"

#define MIX_WORTH 0.99 /* the mixture with the model counts where it loses at most so much of the one without */

/* ---- history ---- */

/* Columns kept: two weeks, the horizon, and some to slide in. */
static int64_t history_room(const struct mix *m) { return m->fortnight + m->horizon + m->fortnight / 4 + 16; }

static void push(struct mix *m, struct mix_row *r, double y) {
    if (r->first + r->count == m->room) {
        int64_t keep = m->fortnight + m->horizon, drop = r->count - keep;
        memmove(r->y, r->y + r->first + drop, (size_t)keep * sizeof *r->y);
        for (int k = 0; k < MIX_LOOKS; k++)
            memmove(r->look[k], r->look[k] + r->first + drop, (size_t)keep * sizeof *r->look[k]);
        r->first = 0;
        r->count = keep;
    }
    int64_t at = r->first + r->count++;
    r->y[at] = y;
    r->seen++;
    spr__mix_look(m, r, r->count - 1, y, &r->look[0][at], &r->look[1][at]);
}

/* Value i of the history (0 = oldest kept); before it, the oldest. */
static double value(const struct mix_row *r, int64_t i) { return r->y[r->first + (i < 0 ? 0 : i)]; }

/* What a moment looks like besides its value and the one before: the last hour, and the same time of past days, a
 * little ahead. */
void spr__mix_look(const struct mix *m, const struct mix_row *r, int64_t i, double y, double *hour, double *days) {
    double sum = y;
    int64_t n = 0;
    for (int64_t k = 1; k < MIX_HOUR; k++)
        sum += value(r, i - k);
    *hour = sum / MIX_HOUR;
    sum = 0;
    for (int64_t d = 1; d <= 7 && i + 2 - d * m->day >= 0; d++, n++)
        sum += value(r, i + 2 - d * m->day) + value(r, i + 1 - d * m->day);
    *days = n ? sum / (double)(2 * n) : 0;
}

/* ---- tables from the last week ---- */

static void quantiles_of(const struct mix *m, double *values, int64_t n, double *out) {
    spr__sort(values, n);
    for (int32_t k = 0; k < m->levels; k++)
        out[k] = spr__quantile_sorted(values, n, m->level[k]);
}

static int bin_of(const struct mix_row *r, double y) {
    int b = 0;
    while (b < MIX_BINS - 1 && y > r->edge[b])
        b++;
    return b;
}

static void tabulate(const struct mix *m, struct mix_row *r, double *scratch) {
    int64_t n = SPR_MIN(r->count, m->week), from = r->count - n;
    const double *y = r->y + r->first + from;
    memcpy(scratch, y, (size_t)n * sizeof *scratch);
    double scale = 0;
    for (int64_t i = 0; i < n; i++)
        scale += fabs(y[i]);
    r->scale = n ? scale / (double)n : 0;
    spr__sort(scratch, n);
    for (int b = 0; b < MIX_BINS - 1; b++)
        r->edge[b] = spr__quantile_sorted(scratch, n, (b + 1.0) / MIX_BINS);
    for (int64_t i = 0; i < n; i++)
        r->bin[i] = (uint8_t)bin_of(r, y[i]);
    for (int32_t j = 1; j <= m->horizon; j++) {
        int64_t c = 0;
        for (int64_t i = 0; i + j < n; i++)
            scratch[c++] = y[i + j] - y[i];
        if (!c) { /* nothing lies so far apart yet: as far as anything does */
            memcpy(&r->change[j * m->levels], &r->change[(j - 1) * m->levels], (size_t)m->levels * sizeof *r->change);
            memcpy(&r->after[j * MIX_BINS * m->levels], &r->after[(j - 1) * MIX_BINS * m->levels],
                   (size_t)(MIX_BINS * m->levels) * sizeof *r->after);
            continue;
        }
        quantiles_of(m, scratch, c, &r->change[j * m->levels]);
        for (int b = 0; b < MIX_BINS; b++) {
            c = 0;
            for (int64_t i = 0; i + j < n; i++)
                if (r->bin[i] == b)
                    scratch[c++] = y[i + j];
            if (c < 8) { /* too few to say anything of this bin: all of them */
                c = 0;
                for (int64_t i = 0; i + j < n; i++)
                    scratch[c++] = y[i + j];
            }
            quantiles_of(m, scratch, c, &r->after[(j * MIX_BINS + b) * m->levels]);
        }
    }
    r->tabulated = r->seen;
}

/* Young series learn fast: tables are made anew after a fourteenth of what was seen, at most a day. */
static bool tables_old(const struct mix *m, const struct mix_row *r) {
    int64_t every = r->seen / 14;
    every = every < 12 ? 12 : every > m->day ? m->day : every;
    return r->tabulated < 0 || r->seen - r->tabulated >= every;
}

/* ---- experts ---- */

/* Quantiles of the last n values, the running one included. */
static void recent(const struct mix *m, const struct mix_row *r, double y, int64_t n, double *out) {
    double window[MIX_SIX];
    n = SPR_MIN(n, r->count + 1);
    window[0] = y;
    for (int64_t k = 1; k < n; k++)
        window[k] = value(r, r->count - k);
    quantiles_of(m, window, n, out);
}

/* The moments of the last two weeks most like this one; nearest first, ties newest first. */
static int nearest(const struct mix *m, const struct mix_row *r, double y, int64_t *index) {
    double distance[MIX_NEAR], hour, days, before = value(r, r->count - 1);
    int64_t want = (r->seen + 1) / 6, from = SPR_MAX(1, r->count - m->fortnight);
    int most = want < 4 || want > MIX_NEAR ? MIX_NEAR : (int)want, n = 0;
    spr__mix_look(m, r, r->count, y, &hour, &days);
    for (int64_t i = r->count - m->horizon; i >= from; i--) {
        const int64_t k = r->first + i;
        double a = r->y[k] - y, b = 0.5 * (r->y[k - 1] - before), c = 0.5 * (r->look[0][k] - hour);
        double e = 0.5 * (r->look[1][k] - days), d = a * a + b * b + c * c + e * e;
        if (n == most && d >= distance[n - 1])
            continue;
        int at = n < most ? n++ : n - 1;
        for (; at > 0 && distance[at - 1] > d; at--) {
            distance[at] = distance[at - 1];
            index[at] = index[at - 1];
        }
        distance[at] = d;
        index[at] = i;
    }
    return n;
}

/* What every expert says of the steps after the running one, which shows y. */
static void consult(const struct mix *m, struct mix_row *r, double y) {
    int64_t index[MIX_NEAR];
    double hour[MIX_LEVELS], six[MIX_LEVELS], alike[MIX_NEAR];
    int32_t K = m->levels;
    size_t each = (size_t)(m->experts * K);
    int n = nearest(m, r, y, index), bin = bin_of(r, y);
    double *said = &r->said[(size_t)(r->seen % (m->horizon + 1)) * (size_t)m->said_each];
    recent(m, r, y, MIX_HOUR, hour);
    recent(m, r, y, MIX_SIX, six);
    for (int32_t j = 1; j <= m->horizon; j++) {
        double *e = said + (size_t)j * each;
        for (int32_t k = 0; k < K; k++) {
            e[MIX_LAST * K + k] = y + r->change[j * K + k];
            e[MIX_LAST_HOUR * K + k] = hour[k];
            e[MIX_LAST_SIX * K + k] = six[k];
            e[MIX_BIN * K + k] = r->after[(j * MIX_BINS + bin) * K + k];
        }
        for (int i = 0; i < n; i++)
            alike[i] = y + (index[i] + j < r->count ? value(r, index[i] + j) : y) - value(r, index[i]);
        if (n)
            quantiles_of(m, alike, n, &e[MIX_ALIKE * K]);
        else
            memcpy(&e[MIX_ALIKE * K], &e[MIX_LAST * K], (size_t)K * sizeof *e);
        if (m->model) /* the horizon counts the running step, which it is not asked about */
            memcpy(&e[MIX_MODEL * K], j < m->horizon ? &r->opinion[(j - 1) * K] : &e[MIX_LAST * K],
                   (size_t)K * sizeof *e);
    }
    r->consulted = r->seen;
    r->consulted_y = y;
}

/* ---- scores ---- */

/* Losses of what was said of the running step, were it to end at y; into `out`, which may be the losses themselves. */
static void score(const struct mix *m, const struct mix_row *r, double y, double *out) {
    int32_t K = m->levels, each = m->experts * K;
    for (int32_t j = 1; j <= m->horizon; j++) {
        const double *was = &r->loss[j * each];
        double *to = &out[j * each];
        if (r->seen - j < r->first_said) {
            memmove(to, was, (size_t)each * sizeof *to);
            continue;
        }
        const double *said =
            &r->said[(size_t)((r->seen - j) % (m->horizon + 1)) * (size_t)m->said_each + (size_t)j * (size_t)each];
        for (int32_t x = 0; x < each; x++)
            to[x] = was[x] * m->forget + (r->bound && said[x] > y ? 0 : spr__pinball(m->level[x % K], y, said[x]));
    }
}

/* What the first `experts` of them say together. */
static void mix_row(const struct mix *m, const struct mix_row *r, const double *loss, int32_t j, int experts,
                    double *out) {
    int32_t K = m->levels;
    const double *said =
        &r->said[(size_t)(r->seen % (m->horizon + 1)) * (size_t)m->said_each + (size_t)(j * m->experts * K)];
    for (int32_t k = 0; k < K; k++) {
        /* As shares of the best loss, so that no scale is too large or small; a series of zeros: every expert is right.
         */
        double best = INFINITY, weights = 0, sum = 0;
        for (int e = 0; e < experts; e++)
            best = fmin(best, loss[(j * m->experts + e) * K + k]);
        best += 1e-6 * r->scale;
        for (int e = 0; e < experts; e++) {
            double l = loss[(j * m->experts + e) * K + k] + 1e-6 * r->scale, w = l > 0 ? best / l : 1;
            w = w * w * w;
            w *= w;
            weights += w;
            sum += w * said[e * K + k];
        }
        out[k] = sum / weights;
        if (k && out[k] < out[k - 1])
            out[k] = out[k - 1];
    }
}

/* The mixture without the model, level by level the one with it where that has proved to be better. */
static void answer(const struct mix *m, const struct mix_row *r, const double *loss, int32_t j, double *plain,
                   double *out) {
    double with[MIX_LEVELS];
    mix_row(m, r, loss, j, MIX_CHEAP, out);
    if (!m->model)
        return;
    if (plain)
        memcpy(plain, out, (size_t)m->levels * sizeof *plain);
    mix_row(m, r, loss, j, MIX_MOST, with);
    for (int32_t k = 0; k < m->levels; k++) {
        out[k] = r->counts[j * m->levels + k] ? with[k] : out[k];
        if (k && out[k] < out[k - 1])
            out[k] = out[k - 1];
    }
}

/* ---- does the model earn its place? ---- */

static double *mixed_at(const struct mix *m, const struct mix_row *r, int64_t step, int32_t j, int with) {
    return &r->mixed[(((step % (m->horizon + 1)) * (m->horizon + 1) + j) * 2 + with) * m->levels];
}

/* The running step ends at y: score what both mixtures said of it, and note what they say from here. */
static void try_both(const struct mix *m, struct mix_row *r, double y) {
    int32_t K = m->levels;
    for (int32_t j = 1; j <= m->horizon; j++)
        for (int with = 0; with < 2; with++) {
            const double *said = mixed_at(m, r, r->seen - j + m->horizon + 1, j, with);
            double *loss = &r->mixed_loss[(j * 2 + with) * K];
            for (int32_t k = 0; k < K && r->seen - j >= r->first_mixed; k++)
                loss[k] = loss[k] * m->forget + (r->bound && said[k] > y ? 0 : spr__pinball(m->level[k], y, said[k]));
        }
    for (int32_t j = 1; j <= m->horizon; j++) {
        mix_row(m, r, r->loss, j, MIX_CHEAP, mixed_at(m, r, r->seen, j, 0));
        mix_row(m, r, r->loss, j, MIX_MOST, mixed_at(m, r, r->seen, j, 1));
    }
}

static void prove_kind(struct mix *m, int32_t kind, bool *counts) {
    int32_t K = m->levels;
    for (int32_t x = 0; x < (m->horizon + 1) * K; x++) {
        double sum[2] = {0, 0};
        for (int64_t i = 0; i < m->count; i++) {
            const struct mix_row *r = &m->rows[i];
            bool asked = r->kind == kind && r->seen - r->first_mixed >= MIX_PROOF + m->horizon && r->scale > 0;
            for (int with = 0; with < 2 && asked; with++)
                sum[with] += r->mixed_loss[(x / K * 2 + with) * K + x % K] / r->scale;
        }
        counts[x] = sum[0] > 0 && sum[1] <= MIX_WORTH * sum[0];
    }
}

/* One series is too few to tell in a day; all rows of a resource together, each in its own scale. A model may know
 * cores well and bytes badly. */
void spr__mix_prove(struct mix *m) {
    for (int32_t k = 0; k < m->kinds; k++)
        prove_kind(m, k, m->counts + k * (m->horizon + 1) * m->levels);
}

/* ---- slots ---- */

double spr__mix_raise(const struct mix *m, struct mix_row *r, double y) {
    double said[MIX_LEVELS];
    if (r->count >= m->day && r->seen >= m->day)
        y = fmax(y, value(r, r->count - m->day));
    if (r->tabulated < 0 || r->seen - 1 < r->first_said)
        return y;
    r->seen--; /* what was said of this step a step ago */
    answer(m, r, r->loss, 1, NULL, said);
    r->seen++;
    return fmax(y, said[m->median]);
}

double spr__mix_value(const struct mix_row *r, double y) {
    return !isnan(y) ? y : r->count ? value(r, r->count - 1) : 0;
}

bool spr__mix_must_consult(const struct mix_row *r, double y) {
    return r->consulted != r->seen || fabs(r->consulted_y - y) > 1e-9 * fabs(y);
}

/* Close the running step of one row at y. */
void spr__mix_step(struct mix *m, struct mix_row *r, double y, double *scratch) {
    y = spr__mix_value(r, y);
    if (spr__mix_must_consult(r, y))
        consult(m, r, y);
    score(m, r, y, r->loss);
    if (m->model)
        try_both(m, r, y);
    push(m, r, y);
    if (tables_old(m, r))
        tabulate(m, r, scratch);
}

/* Before the first forecast: the past is only remembered. */
void spr__mix_remember(struct mix *m, struct mix_row *r, double y) { push(m, r, spr__mix_value(r, y)); }

void spr__mix_begin(struct mix *m, struct mix_row *r, double *scratch) {
    tabulate(m, r, scratch);
    r->first_said = r->first_mixed = r->seen;
}

void spr__mix_level(const struct mix *m, struct mix_row *r) {
    int32_t K = m->levels;
    for (int32_t j = 1; j <= m->horizon; j++)
        for (int32_t k = 0; k < K; k++) {
            double *loss = &r->loss[j * m->experts * K + k], best = INFINITY;
            for (int e = 0; e < MIX_CHEAP; e++)
                best = fmin(best, loss[e * K]);
            loss[MIX_MODEL * K] = best;
        }
    memset(r->mixed_loss, 0, (size_t)(2 * (m->horizon + 1) * K) * sizeof *r->mixed_loss);
    r->first_mixed = r->seen; /* what was said of steps that it learnt from proves nothing */
}

/*
 * Quantiles [horizon][level] from the running step on. With `now` the running step is known: it is the first step of
 * the answer, and everything after it starts from there. Without, the last closed step is the newest there is.
 */
void spr__mix_ask(const struct mix *m, struct mix_row *r, double now, double *points, double *quantiles, double *plain,
                  double *scratch) {
    int32_t K = m->levels, first = 0;
    struct mix_row saved = *r;
    r->bound = false; /* what is seen now is a value */
    if (!isnan(now)) {
        if (spr__mix_must_consult(r, now))
            consult(m, r, now);
        saved = *r;
        score(m, r, now, scratch);
        for (int32_t k = 0; k < K; k++)
            quantiles[k] = now;
        if (plain)
            memcpy(plain, quantiles, (size_t)K * sizeof *plain);
        first = 1;
    } else { /* as if the last step were still running */
        r->seen--;
        memcpy(scratch, r->loss, (size_t)m->said_each * sizeof *scratch);
    }
    for (int32_t h = first; h < m->horizon; h++)
        answer(m, r, scratch, isnan(now) ? h + 1 : h, plain ? plain + h * K : NULL, &quantiles[h * K]);
    for (int32_t h = 0; h < m->horizon; h++)
        points[h] = quantiles[h * K + m->median];
    *r = saved;
}

int64_t spr__mix_room(const struct mix *m) { return history_room(m); }
