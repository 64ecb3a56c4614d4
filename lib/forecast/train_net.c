/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Minibatches. Each is cut into chunks of fixed size whose gradients are added in a fixed order, so that the bits do
 * not depend on how many threads work on them.
 */
#include "forecast/train_lstm.h"

enum { BATCH = 256, CHUNKS = 8, EACH = BATCH / CHUNKS, WARM_UP = 100 };
static const double peak_step = 3e-3, last_share = .01;

struct batch {
    const struct spr__train_pool *pool;
    struct spr__train_net *net;
    const struct spr__net_kernels *kernels;
    const float *levels, *level_weight;
    uint64_t seed;
    double loss[CHUNKS];
};

int32_t spr__median_of(const double *levels, int32_t count) {
    int32_t best = 0;
    for (int32_t j = 1; j < count; j++)
        if (fabs(levels[j] - .5) < fabs(levels[best] - .5))
            best = j;
    return best;
}

static size_t batch_floats(const struct spr__train_pool *p, const struct spr__qnet_shape *shape) {
    size_t rows = (size_t)(EACH * p->setting->steps);
    return (size_t)(EACH * shape->summaries) + rows * (size_t)p->features + 2 * rows + EACH + (rows + 3) / 4;
}

int spr__train_net_open(spr_context *ctx, const struct spr__train_pool *pool, const double *levels, int32_t level_count,
                        uint64_t seed, struct spr__train_net *net) {
    const struct spr__net_kernels *k = spr__net_kernels_for(spr_context_simd(ctx));
    const struct spr__encoder *e = &pool->setting->encoder;
    struct spr__qnet_parts parts;
    *net = (struct spr__train_net){.shape = {pool->summaries + e->units, pool->features, pool->setting->units,
                                             level_count, spr__median_of(levels, level_count)}};
    spr__qnet_layout(&net->shape, &parts);
    net->head = parts.count;
    net->count = net->head + (e->units ? (int64_t)spr__encoder_weights(e, &pool->setting->spec) : 0);
    net->room_each = spr__qnet_training_room(&net->shape, EACH, pool->setting->steps) +
                     batch_floats(pool, &net->shape) + spr__train_lstm_room(k, pool->setting, EACH);
    net->calendar_floats = e->units ? spr__encoder_calendar_floats(&pool->setting->spec) : 0;
    net->weights = spr__alloc(ctx, (size_t)net->count, sizeof(float));
    net->m = spr__alloc(ctx, (size_t)net->count, sizeof(float));
    net->v = spr__alloc(ctx, (size_t)net->count, sizeof(float));
    net->gradient = spr__alloc(ctx, CHUNKS * (size_t)net->count, sizeof(float));
    net->room = spr__alloc(ctx, CHUNKS * net->room_each, sizeof(float));
    if (net->calendar_floats)
        net->calendar = spr__alloc(ctx, net->calendar_floats, sizeof(float));
    if ((net->calendar_floats && !net->calendar) || !net->weights || !net->m || !net->v || !net->gradient ||
        !net->room) {
        spr__train_net_drop(ctx, net);
        return spr__nomem(ctx);
    }
    spr__qnet_init(&net->shape, seed, net->weights);
    if (e->units)
        spr__lstm_start(spr__encoder_inputs(e, &pool->setting->spec), e->units, seed, 6, net->weights + net->head);
    if (net->calendar)
        spr__encoder_calendar(&pool->setting->spec, net->calendar);
    return SPR_OK;
}

/* A finished member takes raw numbers; training goes on in those of the pool. The inverse of the folding. */
void spr__train_net_resume(const struct spr__train_pool *pool, const void *payload, struct spr__train_net *net) {
    memcpy(net->weights, (const char *)payload + SPR__QNET_AT, (size_t)net->count * sizeof(float));
    spr__qnet_unfold(&net->shape, net->weights, pool->s_mean, pool->s_sd, pool->d_mean, pool->d_sd);
}

void spr__train_net_drop(spr_context *ctx, struct spr__train_net *net) {
    spr__free(ctx, net->weights, (size_t)net->count, sizeof(float));
    spr__free(ctx, net->m, (size_t)net->count, sizeof(float));
    spr__free(ctx, net->v, (size_t)net->count, sizeof(float));
    spr__free(ctx, net->gradient, CHUNKS * (size_t)net->count, sizeof(float));
    spr__free(ctx, net->room, CHUNKS * net->room_each, sizeof(float));
    spr__free(ctx, net->calendar, net->calendar_floats, sizeof(float));
    memset(net, 0, sizeof *net);
}

/* Copy the drawn windows together and learn from them. */
static void learn_chunk(void *arg, size_t chunk) {
    struct batch *b = arg;
    const struct spr__train_pool *p = b->pool;
    struct spr__train_net *net = b->net;
    size_t steps = (size_t)p->setting->steps, ns = (size_t)net->shape.summaries, nd = (size_t)p->features;
    size_t own = (size_t)p->summaries, index[EACH];
    float *s = net->room + chunk * net->room_each, *d = s + EACH * ns, *base = d + EACH * steps * nd;
    float *target = base + EACH * steps, *weight = target + EACH * steps;
    uint8_t *censored = (uint8_t *)(weight + EACH);
    float *room = weight + EACH + (EACH * steps + 3) / 4;
    for (size_t i = 0; i < EACH; i++) {
        uint64_t at = (uint64_t)net->iteration * BATCH + chunk * EACH + i;
        size_t w = (size_t)(spr__rand(b->seed, 77, at) * (double)p->windows);
        index[i] = w;
        memcpy(s + i * ns, p->s + w * own, own * sizeof *s);
        memcpy(d + i * steps * nd, p->d + w * steps * nd, steps * nd * sizeof *d);
        memcpy(base + i * steps, p->base + w * steps, steps * sizeof *base);
        memcpy(target + i * steps, p->target + w * steps, steps * sizeof *target);
        memcpy(censored + i * steps, p->censored + w * steps, steps);
        weight[i] = p->weight[w];
    }
    float slope[EACH * SPR__ENCODER_UNITS_MAX], *gradient = net->gradient + chunk * (size_t)net->count;
    struct spr__train_lstm encoder;
    if (ns > own) {
        float *cells = room + spr__qnet_training_room(&net->shape, EACH, (int64_t)steps);
        spr__train_lstm_read(b->kernels, p, net->weights + net->head, net->calendar, index, EACH, cells, s + own, ns,
                             &encoder);
    }
    struct spr__qnet_lesson lesson = {.kernels = b->kernels,
                                      .cases = EACH,
                                      .steps = (int64_t)steps,
                                      .summaries = s,
                                      .features = d,
                                      .base = base,
                                      .target = target,
                                      .censored = censored,
                                      .weight = weight,
                                      .level_weight = b->level_weight,
                                      .levels = b->levels,
                                      .dropout = (float)p->setting->dropout,
                                      .seed = spr__rand64(b->seed, 78, (uint64_t)net->iteration),
                                      .first = (int64_t)(chunk * EACH),
                                      .last = (int32_t)(ns - own),
                                      .last_slope = ns > own ? slope : NULL,
                                      .scale = 1 / (float)(BATCH * steps)};
    b->loss[chunk] = spr__qnet_learn(&net->shape, net->weights, &lesson, room, gradient);
    if (ns > own) {
        memset(gradient + net->head, 0, (size_t)(net->count - net->head) * sizeof *gradient);
        spr__train_lstm_back(&encoder, slope, gradient + net->head);
    }
}

/* Sum of the chunks into the first one, shortened to length 1 where it is longer (Pascanu et al. 2013). */
static void gather(struct spr__train_net *net) {
    float *g = net->gradient;
    double square = 0;
    for (size_t c = 1; c < CHUNKS; c++)
        for (int64_t i = 0; i < net->count; i++)
            g[i] += g[(int64_t)c * net->count + i];
    for (int64_t i = 0; i < net->count; i++)
        square += (double)g[i] * (double)g[i];
    double norm = sqrt(square);
    if (norm > 1)
        for (int64_t i = 0; i < net->count; i++)
            g[i] *= (float)(1 / norm);
}

static double step_size(int64_t i, int64_t iterations) {
    int64_t warm = SPR_MIN(WARM_UP, iterations / 4 + 1);
    if (i < warm)
        return peak_step * (double)(i + 1) / (double)warm;
    double done = (double)(i - warm) / (double)SPR_MAX(1, iterations - warm);
    return peak_step * (last_share + (1 - last_share) * .5 * (1 + cos(3.14159265358979323846 * done)));
}

/* By the distance between a level's neighbours the sum over levels is the continuous ranked probability score by the
 * trapezoidal rule (Gneiting & Ranjan 2011), however close together some levels lie; alike, each level counts as one.
 */
static void weigh_levels(const double *levels, int32_t n, bool by_gap, float *weight) {
    for (int32_t j = 0; j < n; j++) {
        double above = j + 1 < n ? levels[j + 1] : 1, below = j ? levels[j - 1] : 0;
        weight[j] = (float)(by_gap ? (above - below) / 2 : 1.0 / n);
    }
}

void spr__train_net_step(spr_context *ctx, const struct spr__train_pool *pool, const double *levels, uint64_t seed,
                         struct spr__train_net *net) {
    float level[SPR__QNET_LEVELS_MAX], weight[SPR__QNET_LEVELS_MAX];
    int32_t n = net->shape.levels;
    for (int32_t j = 0; j < n; j++)
        level[j] = (float)levels[j];
    weigh_levels(levels, n, pool->setting->by_gap, weight);
    struct batch b = {.pool = pool,
                      .net = net,
                      .kernels = spr__net_kernels_for(spr_context_simd(ctx)),
                      .levels = level,
                      .level_weight = weight,
                      .seed = seed};
    spr__parallel(ctx, CHUNKS, learn_chunk, &b);
    gather(net);
    double t = (double)(net->iteration + 1), pace = pool->setting->pace > 0 ? pool->setting->pace : 1;
    double step = pace * step_size(net->iteration, pool->setting->iterations);
    b.kernels->adam(net->count, net->weights, net->gradient, net->m, net->v, (float)step, .9f, .999f, 1e-8f,
                    (float)pool->setting->decay, (float)(1 / (1 - pow(.9, t))), (float)(1 / (1 - pow(.999, t))));
    double loss = 0;
    for (size_t c = 0; c < CHUNKS; c++)
        loss += b.loss[c];
    net->loss = net->iteration ? .98 * net->loss + .02 * loss : loss;
    net->iteration++;
}
