/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The squared distance between the last WINDOW steps and those of every past moment i is kept for each series. A new
 * step moves it along by one difference in and one out, d'(i) = d(i - 1) + (y - y_i)^2 - (y_W - y_(i-W))^2, so that a
 * step costs a pass over the history whatever the window's length. What is lost to rounding that way comes back every
 * ANEW steps, when all distances are summed afresh.
 *
 * From the nearest moments come three guesses of how far the series will move: to where it went then (right for loads
 * that return to a level), by what it changed then (right for loads that stay where they are), and to the mean of the
 * last steps (right for noise). How much to believe each is a small least-squares problem per series and step ahead.
 */
#include "forecast/analogue.h"

enum { WINDOW = 24, NEAREST = 15, LEAST = 4, RECENT = 12, ANEW = 256, WORKERS = 16, GUESSES = 3, SUMS = 9 };
#define SOFTEN 0.01             /* of the window's variance: nearer than that is as near as it gets */
#define RIDGE  (0.02 / GUESSES) /* of the guesses' squares: so firmly the first two are believed alike, at first */

struct spr__analogues {
    spr_context *ctx;
    int64_t rows, room, history, first, count; /* steps first .. first + count of every row's room are closed */
    int64_t fresh;                             /* steps since the distances were summed */
    int32_t steps;
    bool moved, learn;        /* something was closed since the last answer */
    int64_t seen, *slot_step; /* steps closed; [slot] whose guesses they are, -1 = nobody's; slot = step % steps */
    double *y, *d;            /* [row][room]; y holds one more, for the running step */
    double *asked;            /* [row] */
    double *guess;            /* [row][slot][step][GUESSES] */
    double *sums;             /* [row][step][SUMS]: products of the guesses (upper triangle), then with what came */
    double *mean, *variance;  /* [row][step] */
    double *scratch;          /* [WORKERS][room] */
    const double *in;         /* of the call under way */
    int64_t stride;
};

void spr__analogues_destroy(struct spr__analogues *a) {
    if (!a)
        return;
    size_t all = (size_t)a->rows * (size_t)a->room, cells = (size_t)a->rows * (size_t)a->steps, d = sizeof(double);
    spr__free(a->ctx, a->y, all, d);
    spr__free(a->ctx, a->d, all, d);
    spr__free(a->ctx, a->asked, (size_t)a->rows, d);
    spr__free(a->ctx, a->slot_step, (size_t)a->steps, sizeof *a->slot_step);
    spr__free(a->ctx, a->guess, cells * (size_t)a->steps * GUESSES, d);
    spr__free(a->ctx, a->sums, cells * SUMS, d);
    spr__free(a->ctx, a->mean, cells, d);
    spr__free(a->ctx, a->variance, cells, d);
    spr__free(a->ctx, a->scratch, WORKERS * (size_t)a->room, d);
    spr__free(a->ctx, a, 1, sizeof *a);
}

int spr__analogues_create(spr_context *ctx, int64_t rows, int32_t steps, int64_t history, struct spr__analogues **out) {
    struct spr__analogues *a = spr__alloc(ctx, 1, sizeof *a);
    if (!a)
        return spr__nomem(ctx);
    a->ctx = ctx;
    a->rows = rows;
    a->steps = steps;
    a->history = SPR_MAX(history, WINDOW + steps);
    a->room = a->history + a->history / 4 + 2;
    size_t all = (size_t)rows * (size_t)a->room, cells = (size_t)rows * (size_t)steps, d = sizeof(double);
    bool made = (a->y = spr__alloc(ctx, all, d)) && (a->d = spr__alloc(ctx, all, d)) &&
                (a->asked = spr__alloc(ctx, (size_t)rows, d)) &&
                (a->slot_step = spr__alloc(ctx, (size_t)steps, sizeof *a->slot_step)) &&
                (a->guess = spr__alloc(ctx, cells * (size_t)steps * GUESSES, d)) &&
                (a->sums = spr__alloc(ctx, cells * SUMS, d)) && (a->mean = spr__alloc(ctx, cells, d)) &&
                (a->variance = spr__alloc(ctx, cells, d)) &&
                (a->scratch = spr__alloc(ctx, WORKERS * (size_t)a->room, d));
    if (!made) {
        spr__analogues_destroy(a);
        return spr__nomem(ctx);
    }
    for (int32_t k = 0; k < steps; k++)
        a->slot_step[k] = -1;
    a->moved = true;
    *out = a;
    return SPR_OK;
}

/* Rows of one worker; the bits of a row do not depend on who does it. */
static int64_t part(const struct spr__analogues *a, size_t worker) { return a->rows * (int64_t)worker / WORKERS; }

/* ---- distances ---- */

/* Of the windows that end at `end` and at i; both lie WINDOW steps inside what is kept. */
static double distance(const double *y, int64_t end, int64_t i) {
    double sum = 0;
    for (int64_t k = 0; k < WINDOW; k++)
        sum += (y[end - k] - y[i - k]) * (y[end - k] - y[i - k]);
    return sum;
}

/* out[i] for the windows that end at `end`, whose value is y[end]; was[i - 1] belongs to end - 1. From the back, so
 * that `out` may be `was`. */
static void slide(const double *restrict y, const double *was, int64_t from, int64_t end, double *out) {
    const double in = y[end], left = y[end - WINDOW];
    for (int64_t i = end - 1; i > from; i--) {
        double a = in - y[i], b = left - y[i - WINDOW], d = was[i - 1] + a * a - b * b;
        out[i] = d > 0 ? d : 0;
    }
}

/* ---- guesses ---- */

/* The nearest moments, nearest first, ties newest first. */
static int nearest(const double *d, int64_t from, int64_t to, int64_t *index) {
    double best[NEAREST];
    int n = 0;
    for (int64_t i = to; i >= from; i--) {
        if (n == NEAREST && d[i] >= best[n - 1])
            continue;
        int at = n < NEAREST ? n++ : n - 1;
        for (; at > 0 && best[at - 1] > d[i]; at--) {
            best[at] = best[at - 1];
            index[at] = index[at - 1];
        }
        best[at] = d[i];
        index[at] = i;
    }
    return n;
}

static double mean_of(const double *y, int64_t end, int64_t n) {
    double mean = 0;
    for (int64_t k = 0; k < n; k++)
        mean += y[end - k] / (double)n;
    return mean;
}

static double window_variance(const double *y, int64_t end) {
    double mean = mean_of(y, end, WINDOW), sum = 0;
    for (int64_t k = 0; k < WINDOW; k++)
        sum += (y[end - k] - mean) * (y[end - k] - mean);
    return sum / WINDOW;
}

/* What followed the nearest moments, weighed by 1 / distance. */
static void follow(const struct spr__analogues *a, const double *y, int64_t end, const double *d, const int64_t *index,
                   int n, double *guess, double *variance) {
    double weight[NEAREST], weights = 0, soft = SOFTEN * window_variance(y, end), least = d[index[0]] / WINDOW + soft;
    for (int k = 0; k < n; k++) {
        double apart = d[index[k]] / WINDOW + soft;
        weight[k] = apart > 0 ? least / apart : 1;
        weights += weight[k];
    }
    for (int32_t j = 1; j < a->steps; j++) {
        double sum = 0, square = 0, off = 0;
        for (int k = 0; k < n; k++) {
            double apart = y[index[k] + j] - y[end], w = weight[k] / weights;
            sum += w * apart;
            square += w * apart * apart;
            off += w * (y[end] - y[index[k]]);
        }
        guess[j * GUESSES] = sum;
        guess[j * GUESSES + 1] = sum + off;
        variance[j] = square > sum * sum ? square - sum * sum : 0;
    }
}

/* Guesses of one row, whose running step shows `now`. */
static void look(struct spr__analogues *a, int64_t row, double now, double *scratch) {
    int64_t end = a->first + a->count, from = a->first + WINDOW, index[NEAREST];
    double *y = a->y + row * a->room, *variance = a->variance + row * a->steps;
    double *guess = a->guess + (row * a->steps + a->seen % a->steps) * a->steps * GUESSES;
    if (!a->moved && now == a->asked[row])
        return;
    a->asked[row] = now;
    y[end] = now;
    int n = 0;
    if (end - a->steps + 1 - from >= LEAST) {
        slide(y, a->d + row * a->room, from, end, scratch);
        n = nearest(scratch, from + 1, end - a->steps + 1, index);
    }
    memset(guess, 0, (size_t)(a->steps * GUESSES) * sizeof *guess);
    memset(variance, 0, (size_t)a->steps * sizeof *variance);
    if (n < LEAST)
        return;
    follow(a, y, end, scratch, index, n, guess, variance);
    double back = mean_of(y, end, RECENT) - now;
    for (int32_t j = 1; j < a->steps; j++)
        guess[j * GUESSES + 2] = back;
}

/* ---- belief ---- */

/* What came `off` the value then, where three guesses were made. */
static void believe(double *sums, const double *g, double off) {
    int at = 0;
    for (int i = 0; i < GUESSES; i++)
        for (int k = i; k < GUESSES; k++)
            sums[at++] += g[i] * g[k];
    for (int i = 0; i < GUESSES; i++)
        sums[at++] += g[i] * off;
}

/* Weights of the guesses: ridge regression towards half and half of the first two, by elimination. */
static void weigh(const double *sums, double *w) {
    static const double start[GUESSES] = {0.5, 0.5, 0};
    double m[GUESSES][GUESSES + 1], ridge = 0;
    int at = 0;
    for (int i = 0; i < GUESSES; i++)
        for (int k = i; k < GUESSES; k++)
            m[i][k] = m[k][i] = sums[at++];
    for (int i = 0; i < GUESSES; i++)
        ridge += RIDGE * m[i][i];
    for (int i = 0; i < GUESSES; i++) {
        m[i][i] += ridge;
        m[i][GUESSES] = sums[at++] + ridge * start[i];
        w[i] = start[i];
    }
    if (!(ridge > 0))
        return;
    for (int i = 0; i < GUESSES; i++) /* positive definite: no pivots needed */
        for (int k = i + 1; k < GUESSES; k++) {
            double f = m[k][i] / m[i][i];
            for (int c = i; c <= GUESSES; c++)
                m[k][c] -= f * m[i][c];
        }
    for (int i = GUESSES - 1; i >= 0; i--) {
        double v = m[i][GUESSES];
        for (int k = i + 1; k < GUESSES; k++)
            v -= m[i][k] * w[k];
        w[i] = v / m[i][i];
    }
    for (int i = 0; i < GUESSES; i++)
        w[i] = w[i] > 1.3 ? 1.3 : w[i] < -0.3 ? -0.3 : w[i];
}

/* ---- closing a step ---- */

static void learn_row(struct spr__analogues *a, int64_t row, double y, double *scratch) {
    const double *past = a->y + row * a->room + a->first + a->count;
    look(a, row, y, scratch);
    for (int32_t j = 1; j < a->steps; j++) {
        int64_t slot = (a->seen - j + a->steps) % a->steps;
        if (j <= a->count && a->slot_step[slot] == a->seen - j)
            believe(a->sums + (row * a->steps + j) * SUMS,
                    a->guess + ((row * a->steps + slot) * a->steps + j) * GUESSES, y - past[-j]);
    }
}

static void push_rows(void *arg, size_t worker) {
    struct spr__analogues *a = arg;
    int64_t end = a->first + a->count, from = a->first + WINDOW - 1;
    for (int64_t row = part(a, worker); row < part(a, worker + 1); row++) {
        double *y = a->y + row * a->room, *d = a->d + row * a->room, now = a->in[row * a->stride];
        if (a->learn)
            learn_row(a, row, now, a->scratch + (int64_t)worker * a->room);
        y[end] = now;
        if (a->count + 1 < WINDOW)
            continue;
        if (a->fresh == 0 || a->count <= WINDOW)
            for (int64_t i = from; i < end; i++)
                d[i] = distance(y, end, i);
        else
            slide(y, d, from, end, d), d[from] = distance(y, end, from);
        d[end] = 0;
    }
}

void spr__analogues_push(struct spr__analogues *a, const double *y, int64_t stride, bool learn) {
    if (a->first + a->count + 2 > a->room) { /* one place stays free for the running step */
        for (int64_t row = 0; row < a->rows; row++) {
            double *v = a->y + row * a->room, *d = a->d + row * a->room;
            memmove(v, v + a->first, (size_t)a->count * sizeof *v);
            memmove(d, d + a->first, (size_t)a->count * sizeof *d);
        }
        a->first = 0;
    }
    a->fresh = (a->fresh + 1) % ANEW;
    a->in = y;
    a->stride = stride;
    a->learn = learn;
    spr__parallel(a->ctx, WORKERS, push_rows, a);
    if (learn)
        a->slot_step[a->seen % a->steps] = a->seen;
    a->seen++;
    a->count++;
    if (a->count > a->history)
        a->first++, a->count--;
    a->moved = true;
}

/* ---- answers ---- */

static void say_rows(void *arg, size_t worker) {
    struct spr__analogues *a = arg;
    for (int64_t row = part(a, worker); row < part(a, worker + 1); row++) {
        double now = a->in[row * a->stride], *mean = a->mean + row * a->steps;
        const double *guess = a->guess + (row * a->steps + a->seen % a->steps) * a->steps * GUESSES;
        if (!a->moved && now == a->asked[row])
            continue;
        look(a, row, now, a->scratch + (int64_t)worker * a->room);
        mean[0] = now;
        for (int32_t j = 1; j < a->steps; j++) {
            double w[GUESSES];
            weigh(a->sums + (row * a->steps + j) * SUMS, w);
            mean[j] = now;
            for (int i = 0; i < GUESSES; i++)
                mean[j] += w[i] * guess[j * GUESSES + i];
        }
    }
}

void spr__analogues_say(struct spr__analogues *a, const double *now, int64_t stride, const double **mean,
                        const double **variance) {
    a->in = now;
    a->stride = stride;
    spr__parallel(a->ctx, WORKERS, say_rows, a);
    a->moved = false;
    *mean = a->mean;
    *variance = a->variance;
}
