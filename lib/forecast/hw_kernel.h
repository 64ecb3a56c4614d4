/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The recursion, written once and compiled for every vector width. The including file defines HW_NAME, the vector type
 * V of HW_W doubles and its operations. Every operation rounds as the plain one does and the order is fixed, so all
 * builds give the same bits (no fused multiply-add: the whole project is built with -ffp-contract=off).
 */
enum { NV = HW_LANES / HW_W };

#define INLINE static inline __attribute__((always_inline))

INLINE V season_get(const double *slots, const struct hw_tick *k) {
    V s = LOAD(slots + (size_t)k->at * HW_LANES);
    if (k->there > 0.0)
        s = ADD(MUL(s, ALL(k->here)), MUL(LOAD(slots + (size_t)k->next * HW_LANES), ALL(k->there)));
    return s;
}

/* `target` is what the season should have been; `used` what it was. */
INLINE void season_put(double *slots, const struct hw_tick *k, V gamma, V rest, V target, V used, MASK known) {
    double *at = slots + (size_t)k->at * HW_LANES;
    if (!(k->there > 0.0)) {
        STORE(at, PICK(known, ADD(MUL(gamma, target), MUL(rest, used)), LOAD(at)));
        return;
    }
    double *next = slots + (size_t)k->next * HW_LANES;
    V move = MUL(gamma, SUB(target, used));
    STORE(at, PICK(known, ADD(LOAD(at), MUL(move, ALL(k->gain_here))), LOAD(at)));
    STORE(next, PICK(known, ADD(LOAD(next), MUL(move, ALL(k->gain_there))), LOAD(next)));
}

INLINE void run(struct hw_pass *p, int cycles, bool traced, bool capped) {
    const struct hw_params *k = p->params;
    V level[NV], trend[NV], sse[NV];
    for (int v = 0; v < NV; v++)
        level[v] = LOAD(p->level + v * HW_W), trend[v] = LOAD(p->trend + v * HW_W), sse[v] = ALL(0.0);
    for (int64_t t = 0; t < p->steps; t++)
        for (int v = 0; v < NV; v++) {
            int o = v * HW_W;
            V y = LOAD(p->x + t * HW_LANES + o), drift = MUL(LOAD(k->of[HW_PHI] + o), trend[v]);
            V base = ADD(level[v], drift), rest = y, expect = base, one = ALL(0.0), two = ALL(0.0);
            MASK known = VALID(y);
            if (cycles > 0) {
                one = season_get(p->season[0] + o, p->ticks[0] + t);
                expect = ADD(expect, one), rest = SUB(rest, one);
            }
            if (cycles > 1) {
                two = season_get(p->season[1] + o, p->ticks[1] + t);
                expect = ADD(expect, two), rest = SUB(rest, two);
            }
            if (capped) /* a lower bound below the forecast tells nothing */
                known = BOTH(known, AT_MOST(expect, LOAD(p->cap + t * HW_LANES + o)));
            V error = SUB(y, expect);
            V l = ADD(MUL(LOAD(k->of[HW_ALPHA] + o), rest), MUL(LOAD(k->rest[HW_ALPHA] + o), base));
            V b = ADD(MUL(LOAD(k->of[HW_BETA] + o), SUB(l, level[v])), MUL(LOAD(k->rest[HW_BETA] + o), drift));
            if (cycles > 0)
                season_put(p->season[0] + o, p->ticks[0] + t, LOAD(k->of[HW_GAMMA] + o), LOAD(k->rest[HW_GAMMA] + o),
                           cycles > 1 ? SUB(SUB(y, l), two) : SUB(y, l), one, known);
            if (cycles > 1)
                season_put(p->season[1] + o, p->ticks[1] + t, LOAD(k->of[HW_GAMMA2] + o), LOAD(k->rest[HW_GAMMA2] + o),
                           SUB(SUB(y, l), one), two, known);
            level[v] = PICK(known, l, level[v]);
            trend[v] = PICK(known, b, trend[v]);
            sse[v] = PICK(known, ADD(sse[v], MUL(error, error)), sse[v]);
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
INLINE void dispatch(struct hw_pass *p, bool traced, bool capped) {
    if (p->ticks[1])
        run(p, 2, traced, capped);
    else if (p->ticks[0])
        run(p, 1, traced, capped);
    else
        run(p, 0, traced, capped);
}

void HW_NAME(struct hw_pass *p) {
    if (p->cap)
        p->trace ? dispatch(p, true, true) : dispatch(p, false, true);
    else
        p->trace ? dispatch(p, true, false) : dispatch(p, false, false);
}
