/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The recursion, written once and compiled for every vector width. The including file defines HW_NAME, HW_FOLLOW, the
 * vector type V of HW_W doubles and its operations. Every operation rounds as the plain one does and the order is
 * fixed, so all builds give the same bits (no fused multiply-add: the whole project is built with -ffp-contract=off).
 *
 * It is written in the form of error correction, which is the textbook's recursion with fewer operations in the chain
 * from one step to the next: level = base + alpha e, trend = drift + alpha beta e, season += gamma (1 - alpha) e.
 */
enum { NV = HW_LANES / HW_W };

#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

INLINE V season_get(const double *slots, size_t stride, const struct hw_tick *k) {
    V s = LOAD(slots + (size_t)k->at * stride);
    if (k->there > 0.0)
        s = ADD(MUL(s, ALL(k->here)), MUL(LOAD(slots + (size_t)k->next * stride), ALL(k->there)));
    return s;
}

INLINE void season_move(double *slots, size_t stride, const struct hw_tick *k, V used, V move) {
    double *at = slots + (size_t)k->at * stride;
    if (!(k->there > 0.0)) {
        STORE(at, ADD(used, move));
        return;
    }
    double *next = slots + (size_t)k->next * stride;
    STORE(at, ADD(LOAD(at), MUL(move, ALL(k->gain_here))));
    STORE(next, ADD(LOAD(next), MUL(move, ALL(k->gain_there))));
}

INLINE V at_least(V x, V low) { return PICK(ABOVE(x, low), x, low); }
INLINE V at_most(V x, V high) { return PICK(ABOVE(x, high), high, x); }

/* How far a multiplicative figure moves to what it should have been; not at all below a level of zero. */
INLINE V ratio_move(V gamma, V y, V level, V other, V used, MASK where) {
    V target = at_least(at_most(DIV(y, MUL(level, other)), ALL(HW_FIGURE_MAX)), ALL(HW_FIGURE_MIN));
    return PICK(BOTH(where, ABOVE(level, ALL(0.0))), MUL(gamma, SUB(target, used)), ALL(0.0));
}

/* Cut e at the bound; `shift` where the run on one side is long enough for a new level. */
INLINE V bounded(V e, V bound, V *run, MASK known, MASK *shift) {
    V zero = ALL(0.0), minus = SUB(zero, bound);
    MASK high = ABOVE(e, bound), low = ABOVE(minus, e);
    V count = PICK(high, ADD(at_least(*run, zero), ALL(1.0)), PICK(low, SUB(at_most(*run, zero), ALL(1.0)), zero));
    MASK above = ABOVE(count, ALL(HW_SHIFT_RUN - 0.5)), below = ABOVE(ALL(0.5 - HW_SHIFT_RUN), count);
    *shift = BOTH(known, EITHER(above, below));
    *run = PICK(known, PICK(*shift, zero, count), *run);
    return PICK(high, bound, PICK(low, minus, e));
}

INLINE void run(struct hw_pass *p, int cycles, bool traced, bool capped, bool mult, bool bound) {
    const struct hw_params *k = p->params;
    const size_t stride = p->season_stride;
    V level[NV], trend[NV], drift[NV], base[NV], sse[NV], alpha[NV], both[NV], phi[NV], g1[NV], g2[NV];
    for (int v = 0; v < NV; v++) {
        int o = v * HW_W;
        level[v] = LOAD(p->level + o), trend[v] = LOAD(p->trend + o), sse[v] = ALL(0.0);
        alpha[v] = LOAD(k->of[HW_ALPHA] + o), phi[v] = LOAD(k->of[HW_PHI] + o);
        both[v] = MUL(alpha[v], LOAD(k->of[HW_BETA] + o));
        V rest = SUB(ALL(1.0), alpha[v]);
        if (mult)
            rest = PICK(ABOVE(LOAD(k->mult + o), ALL(0.5)), ALL(1.0), rest);
        g1[v] = MUL(LOAD(k->of[HW_GAMMA] + o), rest), g2[v] = MUL(LOAD(k->of[HW_GAMMA2] + o), rest);
        drift[v] = MUL(phi[v], trend[v]);
        base[v] = ADD(level[v], drift[v]);
    }
    for (int64_t t = 0; t < p->steps; t++)
        for (int v = 0; v < NV; v++) {
            int o = v * HW_W;
            V zero = ALL(0.0), y = LOAD(p->x + t * HW_LANES + o), one = zero, two = zero, rest = y, expect = base[v];
            MASK known = VALID(y), times = known, shift = known;
            if (cycles > 0)
                one = season_get(p->season[0] + o, stride, p->ticks[0] + t), rest = SUB(rest, one);
            if (cycles > 1)
                two = season_get(p->season[1] + o, stride, p->ticks[1] + t), rest = SUB(rest, two);
            V by_one = one, by_two = two, by = one;
            if (mult) {
                times = ABOVE(LOAD(k->mult + o), ALL(0.5));
                by_one = at_least(one, ALL(HW_FIGURE_MIN));
                by_two = cycles > 1 ? at_least(two, ALL(HW_FIGURE_MIN)) : ALL(1.0);
                by = MUL(by_one, by_two);
                rest = PICK(times, DIV(y, by), rest);
            }
            if (capped || mult || bound) {
                expect = cycles > 0 ? ADD(expect, one) : expect;
                expect = cycles > 1 ? ADD(expect, two) : expect;
                if (mult)
                    expect = PICK(times, MUL(base[v], by), expect);
            }
            if (capped) /* a lower bound below the forecast tells nothing */
                known = BOTH(known, AT_MOST(expect, LOAD(p->cap + t * HW_LANES + o)));
            V e = SUB(rest, base[v]), error = e;
            if (mult)
                error = PICK(times, SUB(y, expect), e);
            if (bound) {
                V count = LOAD(p->run + o);
                error = bounded(error, LOAD(k->bound + o), &count, known, &shift);
                STORE(p->run + o, count);
                y = ADD(expect, error);
                e = mult ? PICK(times, DIV(error, by), error) : error;
            }
            error = PICK(known, error, zero);
            e = PICK(known, e, zero);
            V l = ADD(base[v], MUL(alpha[v], e));
            if (bound) /* the level goes where the observations are, trend and seasons wait */
                l = PICK(shift, rest, l), e = PICK(shift, zero, e);
            level[v] = PICK(known, l, level[v]);
            trend[v] = PICK(known, ADD(drift[v], MUL(both[v], e)), trend[v]);
            sse[v] = ADD(sse[v], MUL(error, error));
            drift[v] = MUL(phi[v], trend[v]);
            base[v] = ADD(level[v], drift[v]);
            if (cycles > 0) {
                V move = MUL(g1[v], e), move2 = MUL(g2[v], e);
                if (mult) {
                    MASK where = bound ? WITHOUT(BOTH(known, times), shift) : BOTH(known, times);
                    move = PICK(times, ratio_move(g1[v], y, l, by_two, one, where), move);
                    if (cycles > 1)
                        move2 = PICK(times, ratio_move(g2[v], y, l, by_one, two, where), move2);
                }
                season_move(p->season[0] + o, stride, p->ticks[0] + t, one, move);
                if (cycles > 1)
                    season_move(p->season[1] + o, stride, p->ticks[1] + t, two, move2);
            }
            if (traced && t >= p->trace_from) {
                double *to = p->trace + (t - p->trace_from) * 4 * HW_LANES + o;
                STORE(to, level[v]);
                STORE(to + HW_LANES, trend[v]);
                STORE(to + 2 * HW_LANES, one);
                STORE(to + 3 * HW_LANES, two);
            }
        }
    for (int v = 0; v < NV; v++) {
        STORE(p->level + v * HW_W, level[v]);
        STORE(p->trend + v * HW_W, trend[v]);
        STORE(p->sse + v * HW_W, sse[v]);
    }
}

/* Constants make a loop of their own for every case. */
INLINE void dispatch(struct hw_pass *p, bool traced, bool capped, bool mult, bool bound) {
    if (p->ticks[1])
        run(p, 2, traced, capped, mult, bound);
    else if (p->ticks[0])
        run(p, 1, traced, capped, mult, bound);
    else
        run(p, 0, traced, capped, false, bound);
}

/* The plain searches, which are nearly all the work, get loops of their own; rarer cases share one. */
void HW_NAME(struct hw_pass *p) {
    if (p->any_bound || p->cap)
        dispatch(p, p->trace != NULL, p->cap != NULL, p->any_mult, p->any_bound);
    else if (p->any_mult)
        p->trace ? dispatch(p, true, false, true, false) : dispatch(p, false, false, true, false);
    else
        p->trace ? dispatch(p, true, false, false, false) : dispatch(p, false, false, false, false);
}

/* ---- slopes ---- */

/* Is there a column for a parameter? Known while compiling. */
INLINE bool column(int d, int cycles, int trend) {
    return d == HW_ALPHA || (d == HW_BETA && trend > 0) || (d == HW_PHI && trend > 1) ||
           (d == HW_GAMMA && cycles > 0) || (d == HW_GAMMA2 && cycles > 1);
}

/* Per parameter: how base and drift change with it, and the sums that are told. */
struct columns {
    V base[HW_DIMS], drift[HW_DIMS], s[HW_DIMS], one[HW_DIMS], two[HW_DIMS], grad[HW_DIMS], hess[HW_DIMS][HW_DIMS];
};

/* The same for all columns: alpha, beta, phi, 1 - alpha, what a correction moves. */
struct gains {
    V alpha, beta, phi, left, gamma[HW_CYCLES], both, season[HW_CYCLES];
};

/* s is what the forecast of a step gains per parameter, so -s what its error does. */
INLINE void columns_sum(struct columns *c, double *const *to, const struct hw_tick *const *k, int cycles, int trended,
                        V e, MASK known) {
    const size_t wide = (size_t)HW_DIMS * HW_LANES;
    UNROLL
    for (int d = 0; d < HW_DIMS; d++) {
        if (!column(d, cycles, trended))
            continue;
        V sum = c->base[d];
        if (cycles > 0)
            c->one[d] = season_get(to[0] + d * HW_LANES, wide, k[0]), sum = ADD(sum, c->one[d]);
        if (cycles > 1)
            c->two[d] = season_get(to[1] + d * HW_LANES, wide, k[1]), sum = ADD(sum, c->two[d]);
        c->s[d] = PICK(known, sum, ALL(0.0));
        c->grad[d] = ADD(c->grad[d], MUL(c->s[d], e));
        UNROLL
        for (int i = 0; i <= d; i++)
            c->hess[d][i] = column(i, cycles, trended) ? ADD(c->hess[d][i], MUL(c->s[d], c->s[i])) : c->hess[d][i];
    }
}

/* A season's own correction gamma (1 - alpha) e, with respect to a parameter. */
INLINE V correction(const struct columns *c, const struct gains *g, int cycle, int d, V e) {
    V move = SUB(ALL(0.0), MUL(g->season[cycle], c->s[d]));
    if (d == (cycle ? HW_GAMMA2 : HW_GAMMA))
        return ADD(move, MUL(g->left, e));
    return d == HW_ALPHA ? SUB(move, MUL(g->gamma[cycle], e)) : move;
}

/* The recursion's lines, differentiated; `trend` is the one after the step. */
INLINE void columns_move(struct columns *c, const struct gains *g, double *const *to, const struct hw_tick *const *k,
                         int cycles, int trended, V e, V trend, MASK known) {
    const size_t wide = (size_t)HW_DIMS * HW_LANES;
    UNROLL
    for (int d = 0; d < HW_DIMS; d++) {
        if (!column(d, cycles, trended))
            continue;
        V moved = SUB(c->base[d], MUL(g->alpha, c->s[d]));
        if (d == HW_ALPHA)
            moved = ADD(moved, e);
        if (trended) {
            V along = SUB(c->drift[d], MUL(g->both, c->s[d]));
            if (d == HW_ALPHA || d == HW_BETA)
                along = ADD(along, MUL(d == HW_ALPHA ? g->beta : g->alpha, e));
            along = d == HW_PHI ? ADD(MUL(g->phi, along), trend) : MUL(g->phi, along);
            c->drift[d] = PICK(known, along, c->drift[d]);
            moved = ADD(moved, along);
        }
        c->base[d] = PICK(known, moved, c->base[d]);
        if (cycles > 0)
            season_move(to[0] + d * HW_LANES, wide, k[0], c->one[d], correction(c, g, 0, d, e));
        if (cycles > 1)
            season_move(to[1] + d * HW_LANES, wide, k[1], c->two[d], correction(c, g, 1, d, e));
    }
}

INLINE void columns_tell(const struct columns *c, struct hw_slopes *to, int o) {
    UNROLL
    for (int d = 0; d < HW_DIMS; d++) {
        STORE(to->grad[d] + o, c->grad[d]);
        UNROLL
        for (int i = 0; i <= d; i++) {
            STORE(to->hess[d][i] + o, c->hess[d][i]);
            STORE(to->hess[i][d] + o, c->hess[d][i]);
        }
    }
}

INLINE struct gains gains_of(const struct hw_params *k, int o) {
    struct gains g = {.alpha = LOAD(k->of[HW_ALPHA] + o),
                      .beta = LOAD(k->of[HW_BETA] + o),
                      .phi = LOAD(k->of[HW_PHI] + o),
                      .gamma = {LOAD(k->of[HW_GAMMA] + o), LOAD(k->of[HW_GAMMA2] + o)}};
    g.left = SUB(ALL(1.0), g.alpha), g.both = MUL(g.alpha, g.beta);
    g.season[0] = MUL(g.gamma[0], g.left), g.season[1] = MUL(g.gamma[1], g.left);
    return g;
}

/*
 * The additive recursion beside its derivatives by the parameters. One vector after another: the columns fill the time
 * in which the next step waits for this one.
 */
INLINE void slopes_at(struct hw_pass *p, struct hw_slopes *all, int o, int cycles, int trended) {
    const struct gains g = gains_of(p->params, o);
    const size_t stride = p->season_stride;
    const V zero = ALL(0.0);
    double *const to[HW_CYCLES] = {cycles > 0 ? all->season[0] + o : NULL, cycles > 1 ? all->season[1] + o : NULL};
    struct columns c;
    V level = LOAD(p->level + o), trend = LOAD(p->trend + o), drift = MUL(g.phi, trend), base = ADD(level, drift),
      sse = zero;
    UNROLL
    for (int d = 0; d < HW_DIMS; d++) {
        c.base[d] = c.drift[d] = c.grad[d] = zero;
        UNROLL
        for (int i = 0; i < HW_DIMS; i++)
            c.hess[d][i] = zero;
    }
    if (trended > 1)
        c.base[HW_PHI] = c.drift[HW_PHI] = trend;
    for (int64_t t = 0; t < p->steps; t++) {
        const struct hw_tick *k[HW_CYCLES] = {cycles > 0 ? p->ticks[0] + t : NULL, cycles > 1 ? p->ticks[1] + t : NULL};
        V rest = LOAD(p->x + t * HW_LANES + o), one = zero, two = zero;
        MASK known = VALID(rest);
        if (cycles > 0)
            one = season_get(p->season[0] + o, stride, k[0]), rest = SUB(rest, one);
        if (cycles > 1)
            two = season_get(p->season[1] + o, stride, k[1]), rest = SUB(rest, two);
        V e = PICK(known, SUB(rest, base), zero);
        columns_sum(&c, to, k, cycles, trended, e, known);
        level = PICK(known, ADD(base, MUL(g.alpha, e)), level);
        trend = PICK(known, ADD(drift, MUL(g.both, e)), trend);
        sse = ADD(sse, MUL(e, e));
        drift = MUL(g.phi, trend);
        base = ADD(level, drift);
        columns_move(&c, &g, to, k, cycles, trended, e, trend, known);
        if (cycles > 0)
            season_move(p->season[0] + o, stride, k[0], one, MUL(g.season[0], e));
        if (cycles > 1)
            season_move(p->season[1] + o, stride, k[1], two, MUL(g.season[1], e));
    }
    STORE(p->sse + o, sse);
    columns_tell(&c, all, o);
}

INLINE void slopes(struct hw_pass *p, struct hw_slopes *to, int cycles, int trended) {
    for (int o = 0; o < HW_LANES; o += HW_W)
        slopes_at(p, to, o, cycles, trended);
}

INLINE void slopes_of(struct hw_pass *p, struct hw_slopes *to, int trended) {
    if (p->ticks[1])
        slopes(p, to, 2, trended);
    else if (p->ticks[0])
        slopes(p, to, 1, trended);
    else
        slopes(p, to, 0, trended);
}

void HW_SLOPES(struct hw_pass *p, struct hw_slopes *to) {
    if (to->damped)
        slopes_of(p, to, 2);
    else if (to->trended)
        slopes_of(p, to, 1);
    else
        slopes_of(p, to, 0);
}

/* ---- quantiles, online ---- */

INLINE V absolute(V e) { return PICK(ABOVE(ALL(0.0), e), SUB(ALL(0.0), e), e); }

/* Move scale and offsets by one error; a scale of zero (a series that was constant) begins with the first error. */
INLINE void follow_error(const struct hw_follow *f, int o, V e, MASK known) {
    V zero = ALL(0.0), old = LOAD(f->rung.scale + o), size = absolute(e);
    MASK had = ABOVE(old, zero);
    V scale = ADD(old, MUL(ALL(HW_SCALE_RATE), SUB(at_most(size, MUL(ALL(HW_SCALE_JUMP), old)), old)));
    scale = PICK(had, scale, size);
    V grown = PICK(had, DIV(scale, old), ALL(1.0)), step = MUL(ALL(HW_OFFSET_RATE), scale);
    STORE(f->rung.scale + o, PICK(known, scale, old));
    for (int32_t k = 0; k < f->level_count; k++) {
        double *at = f->rung.offset + (size_t)k * HW_LANES + o;
        V was = LOAD(at), q = MUL(was, grown);
        V move = PICK(ABOVE(e, q), MUL(step, ALL(f->levels[k])), MUL(step, ALL(f->levels[k] - 1.0)));
        STORE(at, PICK(known, ADD(q, PICK(ABOVE(absolute(SUB(e, q)), zero), move, zero)), was));
    }
}

INLINE void follow(const struct hw_follow *f, bool mult) {
    for (int v = 0; v < NV; v++) {
        int o = v * HW_W;
        V y = LOAD(f->x + o), said = LOAD(f->rung.pending + o);
        MASK known = BOTH(VALID(y), VALID(said));
        if (f->cap)
            known = BOTH(known, AT_MOST(said, LOAD(f->cap + o)));
        follow_error(f, o, SUB(y, said), known);
        V next = ADD(LOAD(f->level + o), MUL(LOAD(f->rung.reach + o), LOAD(f->trend + o))), times = next;
        for (int c = 0; c < HW_CYCLES; c++)
            if (f->season[c]) {
                V s = season_get(f->season[c] + o, f->season_stride, &f->ticks[c]);
                next = ADD(next, s);
                times = MUL(times, at_least(s, ALL(HW_FIGURE_MIN)));
            }
        if (mult)
            next = PICK(ABOVE(LOAD(f->mult + o), ALL(0.5)), times, next);
        STORE(f->rung.pending + o, next);
    }
}

void HW_FOLLOW(const struct hw_follow *f) { f->any_mult ? follow(f, true) : follow(f, false); }
