/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Gauss-Newton with the damping of Marquardt 1963, inside a box, asked and told one point at a time. Squared one-step
 * errors are what it is made for: a handful of runs with slopes, where a simplex takes 150 without.
 */
#include "forecast/hw.h"

enum { LONGEST = 40 }; /* evaluations of a descent */
#define DAMPING_FIRST 1e-3
#define DAMPING_LAST  1e8
#define DAMPING_LEAST 1e-9
#define CURVE_LEAST   0.2
#define BENT_LEAST    0.5 /* of a straight step's promise, for a bent one */

void spr__hw_descent_begin(struct hw_descent *s, int32_t n, const double *from, double slack) {
    memset(s, 0, sizeof *s);
    memcpy(s->asked, from, (size_t)n * sizeof *from);
    s->slack = slack, s->damping = DAMPING_FIRST, s->f = INFINITY, s->curve = 1;
}

/* Solve a x = b for the dims that are free, by elimination; a is symmetric, its diagonal is damped and above zero. */
static void solve(double a[HW_DIMS][HW_DIMS], double *b, const bool *fixed, int32_t n, double *x) {
    for (int32_t k = 0; k < n; k++)
        for (int32_t i = k + 1; i < n && !fixed[k]; i++) {
            if (fixed[i])
                continue;
            double by = a[i][k] / a[k][k];
            for (int32_t j = k; j < n; j++)
                a[i][j] -= by * a[k][j];
            b[i] -= by * b[k];
        }
    for (int32_t k = n - 1; k >= 0; k--) {
        if (fixed[k])
            continue;
        double sum = b[k];
        for (int32_t j = k + 1; j < n; j++)
            sum -= fixed[j] ? 0 : a[k][j] * x[j];
        x[k] = sum / a[k][k];
    }
}

static double within(double v, const struct hw_dim *d) { return v < d->low ? d->low : v > d->high ? d->high : v; }

/*
 * Where a move leads. Errors depend on beta through alpha beta and on gamma through gamma (1 - alpha) almost linearly,
 * so that small alphas make a bent valley (alpha beta = constant) of what is straight in these products: the move is
 * made in them. Leaves in `move` what was really made of it.
 */
static void retract(const struct hw_descent *s, const struct hw_dim *dims, int32_t n, double *move, double *to) {
    bool moves = n > 0 && dims[0].id == HW_ALPHA; /* else alpha is given */
    double first = move[0], a = moves ? s->at[0] : 0, b = moves ? within(a + first, &dims[0]) : 0;
    for (int32_t d = moves; d < n; d++) /* alpha is at least what beta needs */
        if (moves && dims[d].id == HW_BETA)
            b = SPR_MIN(1, SPR_MAX(b, a * s->at[d] + a * move[d] + s->at[d] * first));
    for (int32_t d = 0; d < n; d++) {
        double at = s->at[d], was = 1, is = 1, turn = 0; /* products: at * was, to * is; is = was + turn (b - a) */
        if (moves && d == 0) {
            to[d] = b;
        } else {
            if (moves && dims[d].id == HW_BETA)
                was = a, is = b, turn = 1;
            if (moves && (dims[d].id == HW_GAMMA || dims[d].id == HW_GAMMA2))
                was = 1 - a, is = 1 - b, turn = -1;
            double product = at * was + was * move[d] + turn * at * first;
            to[d] = within(is > 0 ? product / is : at, &dims[d]);
        }
        move[d] = turn != 0 ? (was > 0 ? (to[d] * is - at * was - turn * at * (b - a)) / was : 0) : to[d] - at;
    }
}

static double promise(const struct hw_descent *s, int32_t n, const double *move) {
    double gain = 0;
    for (int32_t d = 0; d < n; d++) {
        gain += 2 * move[d] * s->grad[d];
        for (int32_t i = 0; i < n; i++)
            gain -= move[d] * move[i] * s->curve * s->hess[d][i];
    }
    return gain;
}

/* The box's own best point one dim at a time: slow, but each turn gains. For corners, where stopping at several walls
 * at once promises nothing. */
static void creep(const struct hw_descent *s, const struct hw_dim *dims, int32_t n, double *move, double *to) {
    memset(move, 0, (size_t)n * sizeof *move);
    for (int turn = 0; turn < 30; turn++)
        for (int32_t d = 0; d < n; d++) {
            double pull = s->grad[d];
            for (int32_t i = 0; i < n; i++)
                pull -= s->curve * s->hess[d][i] * move[i];
            double own = s->curve * s->hess[d][d] * (1 + s->damping);
            to[d] = within(s->at[d] + move[d] + (own > 0 ? pull / own : 0), &dims[d]);
            move[d] = to[d] - s->at[d];
        }
}

/* The damped step from the point that is best so far. What it would carry through a wall is stopped there and the rest
 * is solved for anew; what leans on a wall and is pushed against it stays. Returns the promised gain. */
static double step(const struct hw_descent *s, const struct hw_dim *dims, int32_t n, double *to) {
    double move[HW_DIMS] = {0}, most = 0;
    bool fixed[HW_DIMS] = {false};
    for (int32_t d = 0; d < n; d++) {
        most = SPR_MAX(most, s->hess[d][d]);
        fixed[d] = (s->at[d] <= dims[d].low && s->grad[d] <= 0) || (s->at[d] >= dims[d].high && s->grad[d] >= 0);
    }
    if (!(most > 0))
        return 0;
    for (bool again = true; again;) {
        double a[HW_DIMS][HW_DIMS], b[HW_DIMS];
        for (int32_t d = 0; d < n; d++) {
            b[d] = s->grad[d];
            for (int32_t i = 0; i < n; i++) {
                a[d][i] = s->curve * s->hess[d][i];
                b[d] -= fixed[i] ? a[d][i] * move[i] : 0;
            }
            a[d][d] += s->damping * s->hess[d][d] + 1e-12 * most;
        }
        solve(a, b, fixed, n, move);
        again = false;
        for (int32_t d = 0; d < n; d++) {
            double there = s->at[d] + move[d], wall = there < dims[d].low ? dims[d].low : dims[d].high;
            if (!fixed[d] && (there < dims[d].low || there > dims[d].high))
                move[d] = wall - s->at[d], fixed[d] = again = true;
        }
    }
    for (int32_t d = 0; d < n; d++)
        to[d] = within(s->at[d] + move[d], &dims[d]);
    double gain = promise(s, n, move), bent[HW_DIMS];
    if (!(gain > 0)) {
        creep(s, dims, n, move, to);
        gain = promise(s, n, move);
    }
    retract(s, dims, n, move, bent);
    double bent_gain = promise(s, n, move);
    if (bent_gain < BENT_LEAST * gain)
        return gain; /* walls are straight */
    memcpy(to, bent, (size_t)n * sizeof *to);
    return bent_gain;
}

static void take(struct hw_descent *s, const struct hw_dim *dims, int32_t n, const struct hw_told *told) {
    s->f = told->f;
    memcpy(s->at, s->asked, sizeof s->at);
    for (int32_t d = 0; d < n; d++) {
        s->grad[d] = told->grad[dims[d].id];
        for (int32_t i = 0; i < n; i++)
            s->hess[d][i] = told->hess[dims[d].id][dims[i].id];
    }
}

void spr__hw_descent_tell(struct hw_descent *s, const struct hw_dim *dims, int32_t n, const struct hw_told *told) {
    double gained = s->f - told->f; /* NaN and infinite errors gain nothing */
    bool first = s->evaluations++ == 0, better = first ? isfinite(told->f) : gained > 0;
    if (better) {
        double ratio = first ? 1 : gained / s->promised;
        s->damping *= ratio > 0.75 ? 0.1 : ratio > 0.25 ? 0.5 : 2;
        /* Errors that are not small bend the sum less or more than their slopes tell: the last gain tells how much. */
        s->curve = SPR_MIN(1, SPR_MAX(CURVE_LEAST, s->curve * SPR_MIN(2, SPR_MAX(0.5, 2 - ratio))));
        take(s, dims, n, told);
    } else {
        s->damping *= 16;
        s->curve = 1;
    }
    s->damping = SPR_MAX(s->damping, DAMPING_LEAST);
    if (isinf(s->f) || s->evaluations >= LONGEST || s->damping > DAMPING_LAST) {
        s->done = true;
        return;
    }
    s->promised = step(s, dims, n, s->asked);
    s->done = !(s->promised > s->slack * s->f);
}
