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
