/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Bounded search, asked and told: a coarse grid, then from its best point a descent where slopes are told, else
 * Nelder-Mead inside the box, started anew once around what it found (a simplex that was pressed flat against a wall
 * gets its volume back). Where a good point is known already, a descent from it or a small simplex around it is all.
 * Every lane of a block is at its own place in its own search; what lanes share is the run over the data that answers
 * them all.
 */
#include "forecast/hw.h"

#define ZERO_NEAR 1e-3
#define ZERO_AWAY 0.01

enum { ASK_VERTEX, ASK_REFLECTED, ASK_EXPANDED, ASK_OUTSIDE, ASK_INSIDE, ASK_SHRUNK, DONE };

static double clamp(double v, const struct hw_dim *d) { return v < d->low ? d->low : v > d->high ? d->high : v; }

static bool simplex_done(const struct hw_simplex *s) { return s->stage == DONE; }

static void spread_out(struct hw_simplex *s, const struct hw_dim *dims, int32_t n, const double *from, double size) {
    for (int32_t v = 0; v <= n; v++)
        for (int32_t d = 0; d < n; d++) {
            double width = (dims[d].high - dims[d].low) * size;
            s->at[v][d] = from[d];
            if (v == d + 1)
                s->at[v][d] = from[d] + width > dims[d].high ? from[d] - width : from[d] + width;
        }
    s->stage = ASK_VERTEX, s->vertex = 0;
    memcpy(s->asked, s->at[0], sizeof s->asked);
}

static void simplex_begin(struct hw_simplex *s, const struct hw_dim *dims, int32_t n, const double *from, double size) {
    double slack = s->slack;
    memset(s, 0, sizeof *s);
    s->slack = slack;
    spread_out(s, dims, n, from, size);
}

static void order(struct hw_simplex *s, int32_t n) {
    for (int32_t i = 1; i <= n; i++)
        for (int32_t k = i; k > 0 && s->f[k] < s->f[k - 1]; k--) {
            double f = s->f[k], at[HW_DIMS];
            memcpy(at, s->at[k], sizeof at);
            s->f[k] = s->f[k - 1], s->f[k - 1] = f;
            memcpy(s->at[k], s->at[k - 1], sizeof at);
            memcpy(s->at[k - 1], at, sizeof at);
        }
}

/* centre + by * (centre - worst) */
static void ask_along(struct hw_simplex *s, const struct hw_dim *dims, int32_t n, double by, int32_t stage) {
    for (int32_t d = 0; d < n; d++)
        s->asked[d] = clamp(s->centre[d] + by * (s->centre[d] - s->at[n][d]), &dims[d]);
    s->stage = stage;
}

static bool converged(const struct hw_simplex *s, const struct hw_dim *dims, int32_t n) {
    double widest = 0;
    for (int32_t v = 1; v <= n; v++)
        for (int32_t d = 0; d < n; d++)
            widest = SPR_MAX(widest, fabs(s->at[v][d] - s->at[0][d]) / (dims[d].high - dims[d].low));
    return (s->f[n] - s->f[0] <= s->slack * fabs(s->f[0]) && widest < 0.05) || widest < 1e-5;
}

static void next_round(struct hw_simplex *s, const struct hw_dim *dims, int32_t n) {
    order(s, n);
    if (s->evaluations >= 50 + 40 * n || converged(s, dims, n)) {
        if (s->restarts++ || s->evaluations >= 50 + 40 * n) {
            s->stage = DONE;
            return;
        }
        double best[HW_DIMS];
        memcpy(best, s->at[0], sizeof best);
        spread_out(s, dims, n, best, 0.03);
        return;
    }
    for (int32_t d = 0; d < n; d++) {
        s->centre[d] = 0;
        for (int32_t v = 0; v < n; v++)
            s->centre[d] += s->at[v][d] / (double)n;
    }
    ask_along(s, dims, n, 1.0, ASK_REFLECTED);
}

static void replace_worst(struct hw_simplex *s, const struct hw_dim *dims, int32_t n, const double *at, double f) {
    memcpy(s->at[n], at, sizeof s->at[n]);
    s->f[n] = f;
    next_round(s, dims, n);
}

static void shrink(struct hw_simplex *s, int32_t n) {
    for (int32_t v = 1; v <= n; v++)
        for (int32_t d = 0; d < n; d++)
            s->at[v][d] = s->at[0][d] + 0.5 * (s->at[v][d] - s->at[0][d]);
    s->stage = ASK_SHRUNK, s->vertex = 1;
    memcpy(s->asked, s->at[1], sizeof s->asked);
}

static void simplex_tell(struct hw_simplex *s, const struct hw_dim *dims, int32_t n, double f) {
    s->evaluations++;
    switch (s->stage) {
    case ASK_VERTEX:
    case ASK_SHRUNK:
        s->f[s->vertex] = f;
        if (s->vertex++ < n)
            memcpy(s->asked, s->at[s->vertex], sizeof s->asked);
        else
            next_round(s, dims, n);
        return;
    case ASK_REFLECTED:
        memcpy(s->reflected, s->asked, sizeof s->reflected);
        s->f_reflected = f;
        if (f < s->f[0])
            ask_along(s, dims, n, 2.0, ASK_EXPANDED);
        else if (f < s->f[n - 1])
            replace_worst(s, dims, n, s->asked, f);
        else
            ask_along(s, dims, n, f < s->f[n] ? 0.5 : -0.5, f < s->f[n] ? ASK_OUTSIDE : ASK_INSIDE);
        return;
    case ASK_EXPANDED:
        if (f < s->f_reflected)
            replace_worst(s, dims, n, s->asked, f);
        else
            replace_worst(s, dims, n, s->reflected, s->f_reflected);
        return;
    case ASK_OUTSIDE:
    case ASK_INSIDE:
        if (f < SPR_MIN(s->f[n], s->stage == ASK_OUTSIDE ? s->f_reflected : s->f[n]))
            replace_worst(s, dims, n, s->asked, f);
        else
            shrink(s, n);
        return;
    default:
        return;
    }
}

/* ---- grid, then descent or simplex ---- */

static void begin_near(struct hw_search *s, const double *from, double size, double slack) {
    if (s->slopes) {
        spr__hw_descent_begin(&s->by.descent, s->dim_count, from, slack);
    } else {
        s->by.simplex.slack = slack;
        simplex_begin(&s->by.simplex, s->dims, s->dim_count, from, size);
    }
}

void spr__hw_search_begin(struct hw_search *s, const struct hw_dim *dims, int32_t count, const double *from,
                          double size, double slack, bool slopes) {
    memset(s, 0, sizeof *s);
    memcpy(s->dims, dims, (size_t)count * sizeof *dims);
    s->dim_count = count;
    s->best_f = INFINITY;
    s->slopes = slopes;
    s->slack = slack;
    s->grid_count = 1;
    for (int32_t d = 0; d < count && !from; d++)
        s->grid_count *= dims[d].grid_count;
    if (from && count) {
        s->grid_at = 1;
        memcpy(s->best, from, (size_t)count * sizeof *from);
        begin_near(s, from, size, slack);
        if (!slopes)
            s->by.simplex.restarts = 1;
    }
}

static void grid_point(const struct hw_search *s, double *point) {
    for (int32_t d = 0, rest = s->grid_at; d < s->dim_count; d++) {
        point[d] = s->dims[d].grid[rest % s->dims[d].grid_count];
        rest /= s->dims[d].grid_count;
    }
}

static bool done(const struct hw_search *s) {
    return !s->dim_count || (s->slopes ? s->by.descent.done : simplex_done(&s->by.simplex));
}

bool spr__hw_search_slopes(const struct hw_search *s) { return s->grid_at >= s->grid_count && s->slopes && !done(s); }

bool spr__hw_search_ask(const struct hw_search *s, double *point) {
    if (s->grid_at < s->grid_count) {
        grid_point(s, point);
        return true;
    }
    const double *asked = s->slopes ? s->by.descent.asked : s->by.simplex.asked;
    memcpy(point, done(s) ? s->best : asked, sizeof s->best);
    return !done(s);
}

/* Near an alpha of zero there is often a second valley, where the trend does what the level should: a descent that ends
 * there begins once more, without a trend. */
static void leave_zero(struct hw_search *s) {
    double from[HW_DIMS];
    if (!s->by.descent.done || s->left_zero || s->dims[0].id != HW_ALPHA || s->best[0] > ZERO_NEAR)
        return;
    s->left_zero = true;
    memcpy(from, s->best, sizeof from);
    from[0] = ZERO_AWAY;
    for (int32_t d = 1; d < s->dim_count; d++)
        if (s->dims[d].id == HW_BETA)
            from[d] = 0;
    spr__hw_descent_begin(&s->by.descent, s->dim_count, from, s->slack);
}

void spr__hw_search_tell(struct hw_search *s, const double *point, const struct hw_told *told) {
    bool grid = s->grid_at < s->grid_count;
    double value = isfinite(told->f) ? told->f : INFINITY;
    if (value < s->best_f || (grid && s->grid_at == 0)) {
        s->best_f = value;
        memcpy(s->best, point, sizeof s->best);
    }
    if (grid && ++s->grid_at == s->grid_count && s->dim_count)
        begin_near(s, s->best, 0.2, s->slack);
    else if (!grid && s->slopes) {
        spr__hw_descent_tell(&s->by.descent, s->dims, s->dim_count, told);
        leave_zero(s);
    } else if (!grid)
        simplex_tell(&s->by.simplex, s->dims, s->dim_count, value);
}
