/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Functions of vectors and the optimiser, written once and compiled for every vector width. The including file defines
 * the vector type V of W floats and its operations. Polynomials are minimax fits of this project (Lawson's algorithm).
 */

/* exp: x = n log 2 + r, |r| <= log 2 / 2. */
INLINE V exp_v(V x) {
    x = MAX(ALL(-87.3f), x); /* the second one where it is NaN */
    V n = ROUND(MUL(x, ALL(0x1.715476p+0f)));
    V r = FNMA(n, ALL(0x1.62e430p-1f), x);
    r = FNMA(n, ALL(-0x1.05c610p-29f), r);
    V q = FMA(r, ALL(0x1.6a23d0p-10f), ALL(0x1.123a20p-7f));
    q = FMA(q, r, ALL(0x1.5558f2p-5f));
    q = FMA(q, r, ALL(0x1.555492p-3f));
    q = FMA(q, r, ALL(0x1.fffffcp-2f));
    q = FMA(MUL(q, r), r, r);
    q = POW2(ADD(q, ALL(1.0f)), n);
    return PICK(LESS(ALL(88.72283f), x), ALL(INFINITY), q);
}

/* artanh(s) / s for |s| <= 1/3, from s^2. */
INLINE V artanh_v(V ss) {
    V q = FMA(ss, ALL(0x1.1efb5ap-3f), ALL(0x1.1eb664p-3f));
    q = FMA(q, ss, ALL(0x1.99d266p-3f));
    q = FMA(q, ss, ALL(0x1.5555p-2f));
    return FMA(q, ss, ALL(1.0f));
}

INLINE V sigmoid_v(V x) {
    V e = exp_v(SUB(ALL(0.0f), ABS(x))), over = ADD(ALL(1.0f), e); /* e <= 1 whatever the sign: no digits are lost */
    return DIV(PICK(LESS(x, ALL(0.0f)), e, ALL(1.0f)), over);
}

INLINE V tanh_v(V x) {
    V y = ABS(x), e = exp_v(MUL(y, ALL(-2.0f))), far = DIV(SUB(ALL(1.0f), e), ADD(ALL(1.0f), e));
    V s = MUL(x, x);
    V q = FMA(s, ALL(-0x1.75e1c8p-8f), ALL(0x1.52269ap-6f));
    q = FMA(q, s, ALL(-0x1.b83c5ap-5f));
    q = FMA(q, s, ALL(0x1.110726p-3f));
    q = FMA(q, s, ALL(-0x1.555532p-2f));
    V near = FMA(MUL(q, s), y, y); /* near zero 1 - e has no digits left */
    return WITH_SIGN(PICK(LESS(y, ALL(0.625f)), near, far), x);
}

INLINE V softplus_v(V x) {
    V e = exp_v(SUB(ALL(0.0f), ABS(x))), s = DIV(e, ADD(e, ALL(2.0f))); /* log(1+e) = 2 artanh(e / (e+2)) */
    return FMA(ADD(s, s), artanh_v(MUL(s, s)), MAX(ALL(0.0f), x));
}

/* log(1 + y) where y is small, log(y') else: 2 artanh of ratios of what is left without the power of two. */
INLINE V asinh_v(V x) {
    V y = ABS(x), root = SQRT(FMA(y, y, ALL(1.0f)));
    MASK huge = LESS(ALL(1e9f), y), near = LESS(y, ALL(0.75f));
    V small = ADD(y, DIV(MUL(y, y), ADD(ALL(1.0f), root))); /* e^asinh - 1, at most 1 */
    V part, power = SPLIT(PICK(huge, y, ADD(y, root)), &part);
    power = ADD(power, PICK(huge, ALL(1.0f), ALL(0.0f)));
    V s = PICK(near, DIV(small, ADD(small, ALL(2.0f))), DIV(SUB(part, ALL(1.0f)), ADD(part, ALL(1.0f))));
    power = PICK(near, ALL(0.0f), power);
    V r = FMA(ADD(s, s), artanh_v(MUL(s, s)), MUL(power, ALL(0x1.62e430p-1f)));
    r = PICK(LESS(y, ALL(INFINITY)), r, y); /* infinite and missing ones stay what they are */
    return WITH_SIGN(r, x);
}

#define MAP(name)                                                                                                      \
    static void v##name(int64_t n, const float *x, float *y) {                                                         \
        int64_t i = 0;                                                                                                 \
        for (; i + W <= n; i += W)                                                                                     \
            STORE(y + i, name##_v(LOAD(x + i)));                                                                       \
        if (i < n)                                                                                                     \
            STOREN(y + i, (int)(n - i), name##_v(LOADN(x + i, (int)(n - i))));                                         \
    }
MAP(exp)
MAP(sigmoid)
MAP(tanh)
MAP(softplus)
MAP(asinh)

struct adam_vectors {
    V rest1, rest2, step, eps, decay, c1, c2;
};
INLINE V adam_v(const struct adam_vectors *k, V w, V g, V *m, V *v) {
    *m = FMA(k->rest1, SUB(g, *m), *m);
    *v = FMA(k->rest2, SUB(MUL(g, g), *v), *v);
    V move = DIV(MUL(k->c1, *m), ADD(SQRT(MUL(k->c2, *v)), k->eps));
    return FNMA(k->step, FMA(k->decay, w, move), w);
}

static void adam(int64_t n, float *w, const float *g, float *m, float *v, float step, float beta1, float beta2,
                 float eps, float decay, float c1, float c2) {
    const struct adam_vectors k = {ALL(1.0f - beta1), ALL(1.0f - beta2), ALL(step), ALL(eps),
                                   ALL(decay),        ALL(c1),           ALL(c2)};
    int64_t i = 0;
    for (; i + W <= n; i += W) {
        V mv = LOAD(m + i), vv = LOAD(v + i);
        STORE(w + i, adam_v(&k, LOAD(w + i), LOAD(g + i), &mv, &vv));
        STORE(m + i, mv);
        STORE(v + i, vv);
    }
    if (i < n) {
        int r = (int)(n - i);
        V mv = LOADN(m + i, r), vv = LOADN(v + i, r);
        STOREN(w + i, r, adam_v(&k, LOADN(w + i, r), LOADN(g + i, r), &mv, &vv));
        STOREN(m + i, r, mv);
        STOREN(v + i, r, vv);
    }
}
