/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The inside of Holt-Winters. Series are laid out in blocks of HW_LANES; lane i of every array belongs to the i-th
 * series of the block, so that one vector instruction advances 4 or 8 of them. A lane without trend has phi = beta = 0,
 * a lane without season has gamma = 0 and seasons of zeros, a lane that bounds no residual has an infinite bound: one
 * recursion serves all kinds.
 */
#ifndef SPR_LIB_FORECAST_HW_H
#define SPR_LIB_FORECAST_HW_H

#include "forecast/forecast.h"

enum { HW_LANES = 16, HW_CYCLES = 2, HW_DIMS = 5 };
enum { HW_ALPHA, HW_BETA, HW_GAMMA, HW_GAMMA2, HW_PHI }; /* order of the dimensions of the search */

/* Multiplicative figures stay within these, so that no zero and no tiny level makes them run away. */
#define HW_FIGURE_MIN (1.0 / 1024)
#define HW_FIGURE_MAX 1024.0
/* So many bounded residuals in a row on one side are no outliers: the level has shifted. */
#define HW_SHIFT_RUN  6.0

/* Where step t falls in a season: slot `at`, and for a fractional period the share `there` of slot `next`. */
struct hw_tick {
    int32_t at, next;
    double here, there;           /* shares, sum 1 */
    double gain_here, gain_there; /* how much a correction moves each slot, so that the mix moves by all of it */
};
struct hw_cycle {
    double period;
    int32_t slots; /* 0 = no such season */
};
struct hw_tick spr__hw_tick(const struct hw_cycle *cycle, int64_t step);
static inline double spr__hw_season(const double *slots, size_t stride, struct hw_tick k) {
    double s = slots[(size_t)k.at * stride];
    return k.there > 0.0 ? s * k.here + slots[(size_t)k.next * stride] * k.there : s;
}

struct hw_params {
    double of[HW_DIMS][HW_LANES]; /* by HW_ALPHA ... */
    double mult[HW_LANES];        /* 1 = the seasons multiply, 0 = they add */
    double bound[HW_LANES];       /* largest residual that is believed; INFINITY = all */
};

/* One run over steps of a block. Level, trend, seasons and runs are taken and left; x is NaN where a step must not
 * count. */
struct hw_pass {
    const double *x;   /* [steps][lane] */
    const double *cap; /* [steps][lane] or NULL: a step counts only where the forecast is at most this */
    int64_t steps;
    const struct hw_tick *ticks[HW_CYCLES]; /* [steps]; NULL = no such season */
    const struct hw_params *params;
    bool any_mult, any_bound;  /* some lane multiplies, bounds */
    double *level, *trend;     /* [lane] */
    double *run;               /* [lane]: bounded residuals in a row, negative below; may be NULL without bounds */
    double *season[HW_CYCLES]; /* [slot * season_stride + lane] */
    size_t season_stride;
    double *sse;   /* [lane], out: squared one-step errors, of the bounded residuals where there is a bound */
    double *trace; /* [step - trace_from][4][lane] or NULL, out: level, trend after it, seasons used in it */
    int64_t trace_from;
};
typedef void spr__hw_kernel(struct hw_pass *pass);
spr__hw_kernel spr__hw_plain, spr__hw_avx2, spr__hw_avx512;
spr__hw_kernel *spr__hw_kernel_for(int simd);

/* The same run of lanes that add, bound nothing and are not censored, with the sums that the next point is found by. */
struct hw_slopes {
    bool trended, damped;                    /* some lane has a trend, a damped one */
    double *season[HW_CYCLES];               /* [slot][by HW_ALPHA ...][lane]: zeros when it begins */
    double grad[HW_DIMS][HW_LANES];          /* out: sum of errors times slopes of the forecasts */
    double hess[HW_DIMS][HW_DIMS][HW_LANES]; /* out: sum of products of slopes */
};
typedef void spr__hw_sloper(struct hw_pass *pass, struct hw_slopes *slopes);
spr__hw_sloper spr__hw_slopes_plain, spr__hw_slopes_avx2, spr__hw_slopes_avx512;
spr__hw_sloper *spr__hw_sloper_for(int simd);
spr__splitter *spr__hw_splitter_for(int simd);

/*
 * One rung of the quantiles, online: what was forecast for this step is compared with it, scale and offsets follow, and
 * the forecast for `h` steps on takes its place. Everything is [lane] unless it says otherwise.
 */
struct hw_rung {
    double *reach;   /* sum of the damped trend over h steps */
    double *scale;   /* mean absolute error, lately */
    double *offset;  /* [level][lane] */
    double *pending; /* the forecast for the step that has just come; NaN = none */
};
struct hw_follow {
    const double *x, *cap; /* cap may be NULL */
    const double *level, *trend, *mult;
    const double *season[HW_CYCLES]; /* [slot * season_stride + lane], NULL = no such season */
    size_t season_stride;
    struct hw_tick ticks[HW_CYCLES]; /* of the step that is forecast */
    const double *levels;
    int32_t level_count;
    bool any_mult;
    struct hw_rung rung;
};
typedef void spr__hw_follower(const struct hw_follow *f);
spr__hw_follower spr__hw_follow_plain, spr__hw_follow_avx2, spr__hw_follow_avx512;
spr__hw_follower *spr__hw_follower_for(int simd);
#define HW_SCALE_RATE  0.02 /* a scale forgets within 50 comparisons */
#define HW_OFFSET_RATE 0.05 /* an offset moves by at most this share of the scale */
#define HW_SCALE_JUMP  8.0  /* an error counts for at most so many scales */

/* ---- starting states ---- */

struct hw_shape {
    struct hw_cycle cycle[HW_CYCLES];
};
struct hw_start {
    int64_t from;    /* first step that is smoothed and counted */
    int32_t seasons; /* how many of the shape's seasons the history can start */
    double level, trend;
};
/*
 * Starting state of one lane as R's stats::HoltWinters has it; x is [steps] with `stride`, and seasons (same stride)
 * get the figures: distances, or ratios when they multiply. They come from the first two periods, or from all steps
 * before `until` where these are more. Whoever fits no trend forgets the slope. `work` is of 2 * steps doubles.
 */
struct hw_start spr__hw_begin(const struct hw_shape *shape, const double *x, size_t stride, int64_t steps, bool trend,
                              bool mult, int64_t until, const struct hw_tick *const *ticks, double *const *seasons,
                              double *work);

/* ---- search ---- */

struct hw_dim {
    int32_t id; /* HW_ALPHA ... */
    double low, high;
    double grid[3];
    int32_t grid_count;
};
/* Nelder and Mead 1965 inside a box, asked and told one point at a time. */
struct hw_simplex {
    int32_t stage, vertex, evaluations, restarts; /* a small one is not started anew */
    double slack;                                 /* done when values differ by less than this share */
    double at[HW_DIMS + 1][HW_DIMS], f[HW_DIMS + 1];
    double centre[HW_DIMS], asked[HW_DIMS], reflected[HW_DIMS], f_reflected;
};
/* Gauss-Newton inside a box with Marquardt's damping, asked and told likewise. */
struct hw_descent {
    int32_t evaluations;
    bool done;
    double slack, damping, curve,
        promised; /* share of the curvature that slopes tell; what the asked point should gain */
    double at[HW_DIMS], f, grad[HW_DIMS], hess[HW_DIMS][HW_DIMS], asked[HW_DIMS];
};
/* What a run tells of a lane: squared errors, and for a descent the sums of struct hw_slopes by HW_ALPHA ... */
struct hw_told {
    double f, grad[HW_DIMS], hess[HW_DIMS][HW_DIMS];
};
/* One lane's search: a coarse grid and a descent or a simplex from its best point, or only the latter from a known
 * point. */
struct hw_search {
    struct hw_dim dims[HW_DIMS];
    int32_t dim_count, grid_count, grid_at;
    bool slopes; /* descends */
    bool left_zero;
    double slack;
    double best[HW_DIMS], best_f;
    union {
        struct hw_simplex simplex;
        struct hw_descent descent;
    } by;
};
void spr__hw_search_begin(struct hw_search *s, const struct hw_dim *dims, int32_t count, const double *from,
                          double size, double slack, bool slopes);
/* Does what is asked next want slopes? */
bool spr__hw_search_slopes(const struct hw_search *s);
/* The next point in the order of the dims; false = done, the point is the best one. */
bool spr__hw_search_ask(const struct hw_search *s, double *point);
void spr__hw_search_tell(struct hw_search *s, const double *point, const struct hw_told *told);

/* ---- descent ---- */

void spr__hw_descent_begin(struct hw_descent *s, int32_t n, const double *from, double slack);
void spr__hw_descent_tell(struct hw_descent *s, const struct hw_dim *dims, int32_t n, const struct hw_told *told);

/* ---- Box-Cox ---- */

/* y to the power of lambda, or its logarithm; HW_PLAIN leaves it as it is. */
#define HW_PLAIN 1.0
double spr__hw_bend(double y, double lambda);
double spr__hw_unbend(double z, double lambda);
/* A bent series may be driven far by a straight line: its forecasts stay below so many times the largest value seen. A
 * value far below the least one seen does not count for all its logarithm: it counts for this share of the least. */
#define HW_BENT_REACH 16.0
#define HW_BENT_FLOOR 0.125
/* Which lambda a row can bear: what is asked for (NaN = choose), or HW_PLAIN where values are too low for it. */
double spr__hw_lambda(const struct spr_panel *p, int64_t row, double asked, double period, double *work);

/* ---- the fitted state ---- */

/* A kind is a trend and a way in which seasons act. */
struct hw_kind {
    int32_t trend; /* ::spr_hw_trend */
    bool mult;
    bool first_only; /* without the second season */
};
enum { HW_KINDS = 10 };

/* Rows of the state of a block, HW_LANES doubles each; params come first so that they can be read as struct hw_params.
 * Rungs follow: reach, scale, offset[level], pending[waiting]. */
enum {
    HW_ROW_LEVEL = HW_DIMS + 2,
    HW_ROW_TREND,
    HW_ROW_RUN,
    HW_ROW_LAMBDA,
    HW_ROW_LOW,
    HW_ROW_TOP,
    HW_ROW_KIND,
    HW_ROW_RUNGS
};

/* What a block needs between two slices of a fit; gone once it is fitted. */
struct hw_work {
    int32_t phase; /* kind being searched; kind_count = the last polish */
    bool begun, searching, chosen;
    struct hw_search search[HW_LANES];
    double found[HW_KINDS][HW_LANES][HW_DIMS]; /* best point of every kind, by HW_ALPHA ... */
    int32_t kind[HW_LANES];
    double bound[HW_LANES]; /* before the search, where residuals are always cut */
    int64_t runs;           /* over the history, so far */
};

struct hw {
    spr_context *ctx;
    spr__hw_kernel *kernel;
    spr__hw_sloper *sloper;
    spr__hw_follower *follower;
    spr__splitter *split;
    struct spr_holt_winters_opts opts;
    struct hw_shape shape;
    struct hw_kind kinds[HW_KINDS]; /* to try, the simplest first */
    int32_t kind_count;
    int32_t horizon, level_count;
    const double *levels;
    int32_t rungs[SPR__RUNGS_MAX], rung_count;
    int32_t rung_row[SPR__RUNGS_MAX]; /* row of a rung's reach in a block */
    int32_t rows;                     /* of a block */
    int64_t series, steps, fit_steps, block_count;
    bool warm, ready;          /* this fit began with the last one's parameters; a fit was finished */
    int64_t *runs_of;          /* [block]: runs over its history that the last fit took */
    double *state;             /* [block][row][lane] */
    double *season[HW_CYCLES]; /* [slot][block][lane]: a step of all series lies together */
    struct hw_work **work;     /* [block], NULL when fitted */
    uint8_t *done;             /* [block] */
    double *sse;               /* [block][lane] */
};

static inline double *spr__hw_row(const struct hw *hw, int64_t block, int32_t row) {
    return hw->state + (block * hw->rows + row) * HW_LANES;
}
static inline size_t spr__hw_stride(const struct hw *hw) { return (size_t)hw->block_count * HW_LANES; }
/* So many forecasts of a rung wait for their step at a time, issued every h / waiting steps. */
static inline int32_t spr__hw_waiting(int32_t h) { return h % 2 ? 1 : 2; }

/* One step of a row for a lane; rows past the last are missing. cap may be NULL. */
static inline void spr__hw_sample(const struct spr_panel *p, int64_t row, int64_t step, double *x, double *cap) {
    *x = row < p->series ? spr__panel_value(p, row, step) : NAN;
    if (cap)
        *cap = row < p->series && spr__panel_censored(p, row, step) ? *x : INFINITY;
}

/* Go on with a block for at most `runs` runs over the history (0 = no limit); SPR_AGAIN when they did not suffice. */
int spr__hw_fit_block(struct hw *hw, int64_t block, const struct spr_panel *history, const struct hw_tick *const *ticks,
                      int64_t runs);
int spr__hw_update(void *state, const struct spr_panel *steps);
int spr__hw_predict(void *state, const double *now, struct spr_forecaster_output *out);

/* ---- errors at longer horizons ---- */

/* One lane of a traced run, contiguous. */
struct hw_errors {
    const struct hw *hw;
    const double *x, *cap;                   /* [steps - from]; cap may be NULL */
    const double *level, *trend, *one, *two; /* [steps - from]: after a step; seasons used in it */
    double *spare;                           /* of steps - from + 8, for quantiles */
    int64_t steps, from;                     /* steps of the history, first traced step */
    int64_t first;                           /* first step whose error counts */
    double phi;
    bool mult, full; /* full: no gap from `first` on, nothing censored */
};
/* Errors at steps lo .. hi-1 of forecasts made `h` steps earlier, from one origin in `every`; returns how many. */
int64_t spr__hw_errors_at(const struct hw_errors *e, int32_t h, int64_t lo, int64_t hi, int64_t every, double *out);
/* Mean loss over all rungs of what lies at or after `cut`: pinball, with quantiles of the errors before it; mean
 * absolute error of everything when too little lies before. INFINITY when there is none. */
double spr__hw_errors_loss(const struct hw_errors *e, int64_t cut, double *work);
/* What the rungs of a lane begin with, written with a stride of HW_LANES from its place in the block's first rung row:
 * reach, scale, quantiles of the errors, waiting forecasts. */
void spr__hw_errors_rungs(const struct hw_errors *e, const struct hw_params *params, int lane, double sse, double level,
                          double *work, double *rows);

#endif
