/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The product: scores side by side, what they save against a named rival, and how sure that is. */
#include "replay/replay.h"

struct spr_verdict {
    spr_refcount refs;
    spr_context *ctx;
    struct spr_verdict_summary summary;
    struct spr_policy_score scores[SPR_POLICY_COUNT];
    double *buckets[SPR_POLICY_COUNT];
    int32_t count;
    size_t bucket_count;
    uint64_t seed;
};

static int32_t find(const spr_verdict *v, int32_t policy) {
    for (int32_t k = 0; k < v->count; k++)
        if (v->scores[k].policy == policy)
            return k;
    return -1;
}

static double ratio_of(double a, double b, double least) { return b > least ? a / b : NAN; }

static void judge(spr_verdict *v) {
    static const int32_t rivals[] = {SPR_POLICY_NONE, SPR_POLICY_STATIC_P95, SPR_POLICY_REACTIVE_TUNED};
    double none = v->scores[find(v, SPR_POLICY_NONE)].cost, oracle = v->scores[find(v, SPR_POLICY_ORACLE)].cost,
           rival = INFINITY;
    for (size_t k = 0; k < SPR_ARRAY_LEN(rivals); k++) {
        double cost = v->scores[find(v, rivals[k])].cost;
        if (cost < rival)
            rival = cost, v->summary.rival = rivals[k];
    }
    v->summary.has_room = rival - oracle >= 0.02 * (none - oracle);
    for (int32_t k = 0; k < v->count; k++) {
        struct spr_policy_score *s = &v->scores[k];
        s->saved = ratio_of(none - s->cost, none - oracle, 1e-9 * none);
        s->regret = fabs(rival - oracle) > 1e-9 * none ? (s->cost - oracle) / (rival - oracle) : NAN;
    }
}

int spr__verdict_create(const struct replay *p, const struct run *runs, size_t count, uint32_t asked,
                        const struct run *tuned, spr_verdict **out) {
    spr_verdict *v = spr__alloc(p->ctx, 1, sizeof *v);
    if (!v)
        return spr__nomem(p->ctx);
    spr__ref_init(&v->refs);
    v->ctx = spr_context_ref(p->ctx);
    v->bucket_count = runs[0].bucket_count;
    v->seed = p->scenario.seed;
    v->summary.size = sizeof v->summary;
    for (size_t k = 0; k < count; k++) {
        v->scores[k] = runs[k].score;
        v->scores[k].asked = asked >> runs[k].policy & 1;
        v->count++;
        v->summary.forecasts += runs[k].forecasts;
        if (!(v->buckets[k] = spr__alloc(p->ctx, v->bucket_count, sizeof(double)))) {
            spr_verdict_unref(v);
            return spr__nomem(p->ctx);
        }
        memcpy(v->buckets[k], runs[k].bucket, v->bucket_count * sizeof(double));
    }
    spr__bound(p, &v->summary.bound, &v->summary.unspillable_cost);
    v->summary.tuned_threshold = tuned->threshold;
    v->summary.tuned_hold_s = tuned->hold_s;
    v->summary.hours = (double)(p->scenario.score_end - p->scenario.score_first) * p->hours;
    judge(v);
    *out = v;
    return SPR_OK;
}

spr_verdict *spr_verdict_ref(spr_verdict *v) {
    if (v)
        spr__ref(&v->refs);
    return v;
}

void spr_verdict_unref(spr_verdict *v) {
    if (!v || !spr__unref(&v->refs))
        return;
    spr_context *ctx = v->ctx;
    for (int32_t k = 0; k < SPR_POLICY_COUNT; k++)
        spr__free(ctx, v->buckets[k], v->bucket_count, sizeof(double));
    spr__free(ctx, v, 1, sizeof *v);
    spr_context_unref(ctx);
}

int spr_verdict_summary(const spr_verdict *v, struct spr_verdict_summary *out) {
    return v && out ? spr__out_copy(out, &v->summary, sizeof v->summary) : SPR_E_ARG;
}

int32_t spr_verdict_count(const spr_verdict *v) { return v ? v->count : 0; }

int spr_verdict_score(const spr_verdict *v, int32_t index, struct spr_policy_score *out) {
    if (!v || !out || index < 0 || index >= v->count)
        return SPR_E_ARG;
    return spr__out_copy(out, &v->scores[index], sizeof v->scores[index]);
}

int spr_verdict_days(const spr_verdict *v, int32_t index, double *cost, size_t *count) {
    if (!v || !count || index < 0 || index >= v->count || (*count && !cost))
        return SPR_E_ARG;
    for (size_t k = 0; k < SPR_MIN(*count, v->bucket_count); k++)
        cost[k] = v->buckets[index][k];
    *count = v->bucket_count;
    return SPR_OK;
}

int spr_verdict_ratio(const spr_verdict *v, int32_t a, int32_t b, double *low, double *high) {
    enum { DRAWS = 1000 };
    if (!v || !low || !high || a < 0 || b < 0 || a >= v->count || b >= v->count)
        return SPR_E_ARG;
    double *ratio = spr__alloc(v->ctx, DRAWS, sizeof *ratio);
    if (!ratio)
        return spr__nomem(v->ctx);
    int64_t n = 0;
    for (uint64_t d = 0; d < DRAWS; d++) {
        double x = 0, y = 0;
        for (size_t k = 0; k < v->bucket_count; k++) {
            size_t pick = (size_t)(spr__rand(v->seed, d + 1, k) * (double)v->bucket_count);
            x += v->buckets[a][pick];
            y += v->buckets[b][pick];
        }
        if (y > 0)
            ratio[n++] = x / y;
    }
    if (n) {
        spr__sort(ratio, n);
        *low = spr__quantile_sorted(ratio, n, 0.05);
        *high = spr__quantile_sorted(ratio, n, 0.95);
    }
    spr__free(v->ctx, ratio, DRAWS, sizeof *ratio);
    return n ? SPR_OK : SPR_E_STATE;
}
