/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The inside of Holt-Winters. Series are laid out in blocks of HW_LANES; lane i of every array belongs to the i-th
 * series of the block, so that one vector instruction advances 4 or 8 of them. A lane without trend has phi = beta = 0,
 * a lane without season has gamma = 0 and seasons of zeros: one recursion serves all kinds.
 */
#ifndef SPR_LIB_FORECAST_HW_H
#define SPR_LIB_FORECAST_HW_H

#include "forecast/forecast.h"

enum { HW_LANES = 16, HW_CYCLES = 2, HW_DIMS = 5 };
enum { HW_ALPHA, HW_BETA, HW_GAMMA, HW_GAMMA2, HW_PHI }; /* order of the dimensions of the search */

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
    double of[HW_DIMS][HW_LANES];   /* by HW_ALPHA ... */
    double rest[HW_DIMS][HW_LANES]; /* 1 - of */
};

/* One run over steps of a block. Level, trend and season are taken and left; x is NaN where a step must not count. */
struct hw_pass {
    const double *x;   /* [steps][lane] */
    const double *cap; /* [steps][lane] or NULL: a step counts only where the forecast is at most this */
    int64_t steps;
    const struct hw_tick *ticks[HW_CYCLES]; /* [steps]; NULL = no such season */
    const struct hw_params *params;
    double *level, *trend;     /* [lane] */
    double *season[HW_CYCLES]; /* [slot][lane] */
    double *sse;               /* [lane], out: squared one-step errors */
    double *trace; /* [step - trace_from][4][lane] or NULL, out: level, trend after it, seasons used in it */
    int64_t trace_from;
};
typedef void spr__hw_kernel(struct hw_pass *pass);
spr__hw_kernel spr__hw_plain, spr__hw_avx2, spr__hw_avx512;
spr__hw_kernel *spr__hw_kernel_for(int simd);

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
 * get the figures. Whoever fits no trend forgets the slope. `work` is of 2 * steps doubles.
 */
struct hw_start spr__hw_begin(const struct hw_shape *shape, const double *x, size_t stride, int64_t steps, bool trend,
                              const struct hw_tick *const *ticks, double *const *seasons, double *work);

/* ---- search ---- */

struct hw_dim {
    int32_t id; /* HW_ALPHA ... */
    double low, high;
    double grid[3];
    int32_t grid_count;
};
/* Nelder and Mead 1965 inside a box, asked and told one point at a time. */
struct hw_simplex {
    int32_t stage, vertex, evaluations, restarts;
    double at[HW_DIMS + 1][HW_DIMS], f[HW_DIMS + 1];
    double centre[HW_DIMS], asked[HW_DIMS], reflected[HW_DIMS], f_reflected;
};
void spr__hw_simplex_begin(struct hw_simplex *s, const struct hw_dim *dims, int32_t count, const double *from);
bool spr__hw_simplex_done(const struct hw_simplex *s);
void spr__hw_simplex_tell(struct hw_simplex *s, const struct hw_dim *dims, int32_t count, double f);

struct hw_search {
    struct hw_dim dims[HW_DIMS];
    int32_t dim_count, grid_count, grid_at;
    double best[HW_LANES][HW_DIMS], best_f[HW_LANES];
    struct hw_simplex simplex[HW_LANES];
};
void spr__hw_search_begin(struct hw_search *s, const struct hw_dim *dims, int32_t count);
/* The next point of every lane in the order of the dims; false = all lanes are done. */
bool spr__hw_search_ask(const struct hw_search *s, double (*points)[HW_DIMS]);
void spr__hw_search_tell(struct hw_search *s, double (*points)[HW_DIMS], const double *f);

/* ---- the fitted state ---- */

enum { HW_KINDS = 3 };

struct hw_block {
    bool fitted;
    int32_t kind;   /* the kind being searched, index into hw->kinds */
    bool searching; /* search holds work in progress */
    struct hw_search search;
    double found[HW_KINDS][HW_LANES][HW_DIMS]; /* best point of every kind */
    struct hw_params params;
    double level[HW_LANES], trend[HW_LANES], sse[HW_LANES];
    double *season[HW_CYCLES]; /* [slot][lane] */
};

struct hw {
    spr_context *ctx;
    spr__hw_kernel *kernel;
    struct spr_holt_winters_opts opts;
    struct hw_shape shape;
    int32_t kinds[HW_KINDS], kind_count; /* ::spr_hw_trend to try, the simplest first */
    int32_t horizon, level_count;
    const double *levels;
    int32_t rungs[SPR__RUNGS_MAX], rung_count;
    int64_t series, steps, fit_steps;
    struct hw_block *blocks;
    int64_t block_count;
    double *offsets; /* [series][rung][level]: quantiles of the error at that horizon */
};

/* One step of a row for a lane; rows past the last are missing. cap may be NULL. */
static inline void spr__hw_sample(const struct spr_panel *p, int64_t row, int64_t step, double *x, double *cap) {
    *x = row < p->series ? spr__panel_value(p, row, step) : NAN;
    if (cap)
        *cap = row < p->series && spr__panel_censored(p, row, step) ? *x : INFINITY;
}

/* Go on with a block for at most `runs` runs over the history (0 = no limit); SPR_AGAIN when they did not suffice. */
int spr__hw_fit_block(struct hw *hw, int64_t block, const struct spr_panel *history, const struct hw_tick *const *ticks,
                      int64_t runs);

/* ---- errors at longer horizons ---- */

struct hw_errors {
    const struct hw *hw;
    const double *x, *cap, *trace; /* [steps][lane], the same or NULL, [steps - from][4][lane] */
    int64_t steps, from;           /* steps of the history, first traced step */
    int32_t lane;
    int64_t first; /* first step whose error counts */
    double phi;
};
/* Errors of forecasts made `h` steps earlier, from one origin in `every`; returns how many. */
int64_t spr__hw_errors_at(const struct hw_errors *e, int32_t h, int64_t every, double *out);
/* Mean absolute error over all rungs; INFINITY when there is none. */
double spr__hw_errors_mean(const struct hw_errors *e, double *work);
/* Fill [rung][level] with quantiles of the errors; params of the lane tell how spread grows where data is thin. */
void spr__hw_errors_quantiles(const struct hw_errors *e, const struct hw_params *params, double sse, double level,
                              double *work, double *offsets);

#endif
