/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * LSTM cells, written once and compiled for every vector width. A tile is LSTM_ROWS series times one vector of units;
 * the sums of its four gates stay in registers from the product to the new state, so no gate is ever written and read
 * again. All gates of a vector of units lie together in memory (lstm_pack), in the order in which the product walks.
 */
static void lstm_pack(int depth, int units, const float *w, float *packed) {
    for (int u = 0; u < units; u += W)
        for (int p = 0; p < depth; p++)
            for (int g = 0; g < 4; g++, packed += W)
                for (int i = 0; i < W; i++)
                    packed[i] = u + i < units ? w[((ptrdiff_t)p * 4 + g) * units + u + i] : 0.0f;
}

/* 2^t, at most 2^42: the product of three stays a number, and a gate of 2^-42 is shut. Relative error 1e-7. */
INLINE V gate_exp(V t) {
    t = MIN(ALL(42.0f), MAX(ALL(-120.0f), t));
    V r = FRACTION(t);
    V q = FMA(r, ALL(0x1.ec364cp-10f), ALL(0x1.268ee6p-7f));
    q = FMA(q, r, ALL(0x1.c9547ep-5f));
    q = FMA(q, r, ALL(0x1.ebd5a4p-3f));
    q = FMA(q, r, ALL(0x1.62e4f6p-1f));
    q = FMA(q, r, ALL(0x1.fffffep-1f));
    return SCALE(q, t);
}

/* New c and h of one row from the sums of its gates; two divisions for five functions. */
INLINE V lstm_cell(const V *z, V *c, V *trace, const bool keep) {
    const V one = ALL(1.0f), down = ALL(-0x1.715476p+0f), twice = ALL(-0x1.715476p+1f);
    V ei = ADD(one, gate_exp(MUL(z[0], down))), ef = ADD(one, gate_exp(MUL(z[1], down)));
    V eg = gate_exp(MUL(z[2], twice)), eo = ADD(one, gate_exp(MUL(z[3], down)));
    V g = SUB(one, eg); /* i = 1/ei, f = 1/ef, o = 1/eo, tanh = g/eg */
    eg = ADD(one, eg);
    V ig = MUL(ei, eg), all = DIV(one, MUL(ig, ef));
    V now = MUL(FMA(g, ef, MUL(*c, ig)), all);
    V et = gate_exp(MUL(now, twice)), t = SUB(one, et);
    et = ADD(one, et);
    V both = DIV(one, MUL(et, eo));
    if (keep) {
        trace[0] = MUL(all, MUL(ef, eg));
        trace[1] = MUL(all, ig);
        trace[2] = MUL(MUL(g, all), MUL(ei, ef));
        trace[3] = MUL(et, both);
        trace[4] = MUL(t, MUL(eo, both));
    }
    *c = now;
    return MUL(t, both);
}

/* `full` = a whole vector of units from u on, else n of them. */
INLINE void lstm_tile(const struct spr__lstm_step *s, const float *w, int r, int u, int n, const int rows,
                      const bool full, const bool keep) {
    V sum[LSTM_ROWS][4];
    const float *in[LSTM_ROWS / 3 + 1];
    const ptrdiff_t ld = s->ld_in, units = s->units;
    UNROLL for (int i = 0; i < rows; i += 3) in[i / 3] = s->in + (r + i) * ld;
    UNROLL for (int i = 0; i < rows; i++) UNROLL for (int g = 0; g < 4; g++) sum[i][g] = ALL(0.0f);
    for (int p = 0; p < s->depth; p++, w += 4 * W) {
        UNROLL for (int i = 0; i < rows; i++) {
            V x = ALL(in[i / 3][(i % 3) * ld]);
            UNROLL for (int g = 0; g < 4; g++) sum[i][g] = FMA(x, LOAD(w + g * W), sum[i][g]);
        }
        UNROLL for (int i = 0; i < rows; i += 3) in[i / 3]++;
    }
    UNROLL for (int i = 0; i < rows; i++) {
        const float *before = s->c_before + (r + i) * units + u;
        float *to_c = s->c + (r + i) * units + u, *to_h = s->h + (ptrdiff_t)(r + i) * s->ld_h + u;
        V trace[5], c = full ? LOAD(before) : LOADN(before, n), h = lstm_cell(sum[i], &c, trace, keep);
        if (full)
            STORE(to_c, c), STORE(to_h, h);
        else
            STOREN(to_c, n, c), STOREN(to_h, n, h);
        if (keep) {
            float *to = s->trace + (r + i) * 5 * units + u;
            UNROLL for (int k = 0; k < 5; k++) {
                if (full)
                    STORE(to + k * units, trace[k]);
                else
                    STOREN(to + k * units, n, trace[k]);
            }
        }
    }
}

INLINE void lstm_units(const struct spr__lstm_step *s, const float *w, int u, const bool full, const bool keep) {
    int r = 0, n = s->units - u;
    for (; r + LSTM_ROWS <= s->rows; r += LSTM_ROWS)
        lstm_tile(s, w, r, u, n, LSTM_ROWS, full, keep);
    for (; r + 2 <= s->rows; r += 2)
        lstm_tile(s, w, r, u, n, 2, full, keep);
    if (r < s->rows)
        lstm_tile(s, w, r, u, n, 1, full, keep);
}

/* Units outside, rows inside: the weights of a vector of units stay in the first cache over all rows. */
INLINE void lstm_all(const struct spr__lstm_step *s, const bool keep) {
    const float *w = s->packed;
    int u = 0;
    for (; u + W <= s->units; u += W, w += (ptrdiff_t)s->depth * 4 * W)
        lstm_units(s, w, u, true, keep);
    if (u < s->units)
        lstm_units(s, w, u, false, keep);
}
static void lstm_plainly(const struct spr__lstm_step *s) { lstm_all(s, false); }
static void lstm_traced(const struct spr__lstm_step *s) { lstm_all(s, true); }
static void lstm_step(const struct spr__lstm_step *s) { s->trace ? lstm_traced(s) : lstm_plainly(s); }

INLINE void lstm_back_part(const struct spr__lstm_back *b, ptrdiff_t r, ptrdiff_t u, const bool full) {
    const V one = ALL(1.0f);
    const ptrdiff_t n = b->units;
    const int part = (int)(n - u);
    const float *trace = b->trace + r * 5 * n + u;
    V k[5], gate[4];
    UNROLL for (int a = 0; a < 5; a++) k[a] = full ? LOAD(trace + a * n) : LOADN(trace + a * n, part);
    float *dcp = b->dc + r * n + u, *to = b->dgates + r * 4 * n + u;
    const float *dhp = b->dh + r * n + u, *cp = b->c_before + r * n + u;
    V dh = full ? LOAD(dhp) : LOADN(dhp, part), c = full ? LOAD(cp) : LOADN(cp, part);
    V dc = full ? LOAD(dcp) : LOADN(dcp, part), dho = MUL(dh, k[3]);
    dc = FMA(dho, FNMA(k[4], k[4], one), dc);
    V through = MUL(dc, k[0]), kept = MUL(dc, k[1]);
    gate[0] = MUL(MUL(through, k[2]), SUB(one, k[0]));
    gate[1] = MUL(MUL(kept, c), SUB(one, k[1]));
    gate[2] = MUL(through, FNMA(k[2], k[2], one));
    gate[3] = MUL(MUL(dho, k[4]), SUB(one, k[3]));
    UNROLL for (int g = 0; g < 4; g++) {
        if (full)
            STORE(to + g * n, gate[g]);
        else
            STOREN(to + g * n, part, gate[g]);
    }
    if (full)
        STORE(dcp, kept);
    else
        STOREN(dcp, part, kept);
}

static void lstm_back(const struct spr__lstm_back *b) {
    for (ptrdiff_t r = 0; r < b->rows; r++) {
        ptrdiff_t u = 0;
        for (; u + W <= b->units; u += W)
            lstm_back_part(b, r, u, true);
        if (u < b->units)
            lstm_back_part(b, r, u, false);
    }
}
