/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Products of small matrices, written once and compiled for every vector width. The including file defines the vector
 * type V of W floats, its operations, and GEMM_ROWS(nv): how many rows a tile of nv vectors may have so that its sums,
 * the vectors of B and one number of A fit the registers. A tile holds its part of C in registers over the whole of k;
 * each number of A is spread over a vector and meets nv vectors of B, so the loads never keep the multipliers waiting.
 */
#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum { GEMM_DEPTH = 128 }; /* of k at a time: the part of B that all rows meet stays in the first cache */

struct gemm_tile {
    const float *a, *b;
    float *c;
    ptrdiff_t lda, ldb, ldc;
    int k, last; /* numbers in the last vector */
    bool add;
};

/* A[i][p] lies at a[i * lda + p], transposed at a[p * lda + i]. `full` = the last vector is whole. */
INLINE void gemm_tile(const struct gemm_tile *t, const int rows, const int nv, const bool transposed, const bool full) {
    V sum[GEMM_ROWS_MAX][GEMM_NV];
    const float *b = t->b, *a[GEMM_ROWS_MAX / 3 + 1];
    const ptrdiff_t row = transposed ? 1 : t->lda, next = transposed ? t->lda : 1;
    UNROLL for (int i = 0; i < rows; i += 3) a[i / 3] =
        t->a + i * row; /* one register for three rows; the processor adds one or two strides itself */
    UNROLL for (int i = 0; i < rows; i++) UNROLL for (int v = 0; v < nv; v++) sum[i][v] = ALL(0.0f);
    for (int p = 0; p < t->k; p++, b += t->ldb) {
        V bv[GEMM_NV];
        UNROLL for (int v = 0; v < nv; v++) bv[v] = v < nv - 1 || full ? LOAD(b + v * W) : LOADN(b + v * W, t->last);
        UNROLL for (int i = 0; i < rows; i++) {
            V x = ALL(a[i / 3][(i % 3) * row]);
            UNROLL for (int v = 0; v < nv; v++) sum[i][v] = FMA(x, bv[v], sum[i][v]);
        }
        UNROLL for (int i = 0; i < rows; i += 3) a[i / 3] += next;
    }
    UNROLL for (int i = 0; i < rows; i++) UNROLL for (int v = 0; v < nv; v++) {
        float *c = t->c + i * t->ldc + v * W;
        if (v < nv - 1 || full)
            STORE(c, t->add ? ADD(LOAD(c), sum[i][v]) : sum[i][v]);
        else
            STOREN(c, t->last, t->add ? ADD(LOADN(c, t->last), sum[i][v]) : sum[i][v]);
    }
}

/* All rows of one strip of nv vectors. */
INLINE void gemm_strip(struct gemm_tile t, int m, const int nv, const bool transposed, const bool full) {
    const int rows = GEMM_ROWS(nv);
    const ptrdiff_t row = transposed ? 1 : t.lda;
    int i = 0;
    for (; i + rows <= m; i += rows, t.a += rows * row, t.c += rows * t.ldc)
        gemm_tile(&t, rows, nv, transposed, full);
    for (; i + 4 <= m; i += 4, t.a += 4 * row, t.c += 4 * t.ldc)
        gemm_tile(&t, 4, nv, transposed, full);
    for (; i < m; i++, t.a += row, t.c += t.ldc)
        gemm_tile(&t, 1, nv, transposed, full);
}

/* The number of vectors as a constant, so that each has code of its own. */
INLINE void gemm_strips(const struct gemm_tile *t, int m, int nv, const bool transposed, const bool full) {
    switch (nv) {
#if GEMM_NV >= 4
    case 4:
        gemm_strip(*t, m, 4, transposed, full);
        break;
    case 3:
        gemm_strip(*t, m, 3, transposed, full);
        break;
#endif
    case 2:
        gemm_strip(*t, m, 2, transposed, full);
        break;
    default:
        gemm_strip(*t, m, 1, transposed, full);
        break;
    }
}

INLINE void gemm_any(const struct gemm_tile *t, int m, int n, const bool transposed) {
    int nv = (n + W - 1) / W, last = n - (nv - 1) * W;
    struct gemm_tile u = *t;
    u.last = last;
    if (last == W)
        gemm_strips(&u, m, nv, transposed, true);
    else
        gemm_strips(&u, m, nv, transposed, false);
}
static void gemm_straight(const struct gemm_tile *t, int m, int n) { gemm_any(t, m, n, false); }
static void gemm_turned(const struct gemm_tile *t, int m, int n) { gemm_any(t, m, n, true); }

static void gemm_nothing(int m, int n, float beta, float *c, int ldc) {
    for (int i = 0; i < m && beta == 0.0f; i++)
        memset(c + (ptrdiff_t)i * ldc, 0, sizeof *c * (size_t)n);
}

static void gemm_nn(int m, int n, int k, const float *a, int lda, const float *b, int ldb, float beta, float *c,
                    int ldc) {
    if (k <= 0)
        gemm_nothing(m, n, beta, c, ldc);
    for (int p = 0; p < k; p += GEMM_DEPTH)
        for (int j = 0; j < n; j += GEMM_NV * W) {
            struct gemm_tile t = {a + p, b + (ptrdiff_t)p * ldb + j, c + j, lda, ldb, ldc, SPR_MIN(GEMM_DEPTH, k - p),
                                  0,     p > 0 || beta != 0.0f};
            gemm_straight(&t, m, SPR_MIN(GEMM_NV * W, n - j));
        }
}

static void gemm_nt(int m, int n, int k, const float *a, int lda, const float *b, int ldb, float beta, float *c,
                    int ldc) {
    float turned[GEMM_DEPTH * GEMM_NV * W]; /* B is small beside A: turning it costs one part in m */
    if (k <= 0)
        gemm_nothing(m, n, beta, c, ldc);
    for (int p = 0; p < k; p += GEMM_DEPTH)
        for (int j = 0; j < n; j += GEMM_NV * W) {
            int depth = SPR_MIN(GEMM_DEPTH, k - p), width = SPR_MIN(GEMM_NV * W, n - j);
            for (int v = 0; v < width; v++)
                for (int d = 0; d < depth; d++)
                    turned[d * GEMM_NV * W + v] = b[(ptrdiff_t)(j + v) * ldb + p + d];
            struct gemm_tile t = {a + p, turned, c + j, lda, GEMM_NV * W, ldc, depth, 0, p > 0 || beta != 0.0f};
            gemm_straight(&t, m, width);
        }
}

static void gemm_tn(int m, int n, int k, const float *a, int lda, const float *b, int ldb, float beta, float *c,
                    int ldc) {
    if (k <= 0)
        gemm_nothing(m, n, beta, c, ldc);
    for (int p = 0; p < k; p += GEMM_DEPTH)
        for (int j = 0; j < n; j += GEMM_NV * W) {
            struct gemm_tile t = {
                a + (ptrdiff_t)p * lda, b + (ptrdiff_t)p * ldb + j, c + j, lda, ldb, ldc, SPR_MIN(GEMM_DEPTH, k - p), 0,
                p > 0 || beta != 0.0f};
            gemm_turned(&t, m, SPR_MIN(GEMM_NV * W, n - j));
        }
}
