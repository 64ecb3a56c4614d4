/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Minibatches. Each is cut into chunks of fixed size whose gradients are added in a fixed order, so that the bits do
 * not depend on how many threads work on them.
 */
#include "forecast/train_lstm.h"

enum { BATCH = 256, CHUNKS = 8, EACH = BATCH / CHUNKS, WARM_UP = 100 };
_Static_assert(SPR__TRAIN_WATCHED % BATCH == 0, "the windows of the tail are whole minibatches");
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
                                             level_count, spr__median_of(levels, level_count)},
                                   .schedule = {pool->setting->iterations, pool->setting->iterations, 0}};
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

/* Where the windows of a chunk lie in its part of the room; what training needs comes behind them. */
struct chunk {
    float *s, *d, *base, *target, *weight, *room;
    uint8_t *censored;
    size_t ns;  /* summaries with the encoder's states, ... */
    size_t own; /* ... and those before them */
};

static struct chunk place_chunk(const struct spr__train_pool *p, const struct spr__train_net *net, size_t chunk) {
    size_t steps = (size_t)p->setting->steps;
    struct chunk c = {.ns = (size_t)net->shape.summaries, .own = (size_t)p->summaries};
    c.s = net->room + chunk * net->room_each, c.d = c.s + EACH * c.ns;
    c.base = c.d + EACH * steps * (size_t)p->features;
    c.target = c.base + EACH * steps, c.weight = c.target + EACH * steps;
    c.censored = (uint8_t *)(c.weight + EACH);
    c.room = c.weight + EACH + (EACH * steps + 3) / 4;
    return c;
}

/* Copy windows together, read what the encoder makes of them. */
static struct spr__qnet_lesson lesson_of(const struct batch *b, const struct chunk *c, const size_t *index,
                                         struct spr__train_lstm *encoder) {
    const struct spr__train_pool *p = b->pool;
    struct spr__train_net *net = b->net;
    size_t steps = (size_t)p->setting->steps, nd = (size_t)p->features;
    for (size_t i = 0; i < EACH; i++) {
        size_t w = index[i];
        memcpy(c->s + i * c->ns, p->s + w * c->own, c->own * sizeof *c->s);
        memcpy(c->d + i * steps * nd, p->d + w * steps * nd, steps * nd * sizeof *c->d);
        memcpy(c->base + i * steps, p->base + w * steps, steps * sizeof *c->base);
        memcpy(c->target + i * steps, p->target + w * steps, steps * sizeof *c->target);
        memcpy(c->censored + i * steps, p->censored + w * steps, steps);
        c->weight[i] = p->weight[w];
    }
    if (c->ns > c->own) {
        float *cells = c->room + spr__qnet_training_room(&net->shape, EACH, (int64_t)steps);
        spr__train_lstm_read(b->kernels, p, net->weights + net->head, net->calendar, index, EACH, cells, c->s + c->own,
                             c->ns, encoder);
    }
    return (struct spr__qnet_lesson){.kernels = b->kernels,
                                     .cases = EACH,
                                     .steps = (int64_t)steps,
                                     .summaries = c->s,
                                     .features = c->d,
                                     .base = c->base,
                                     .target = c->target,
                                     .censored = c->censored,
                                     .weight = c->weight,
                                     .level_weight = b->level_weight,
                                     .levels = b->levels,
                                     .scale = 1 / (float)(BATCH * steps)};
}

static void learn_chunk(void *arg, size_t at) {
    struct batch *b = arg;
    struct spr__train_net *net = b->net;
    const struct chunk c = place_chunk(b->pool, net, at);
    size_t index[EACH];
    for (size_t i = 0; i < EACH; i++) {
        uint64_t draw = (uint64_t)net->iteration * BATCH + at * EACH + i;
        index[i] = (size_t)(spr__rand(b->seed, 77, draw) * (double)b->pool->windows);
    }
    float slope[EACH * SPR__ENCODER_UNITS_MAX], *gradient = net->gradient + at * (size_t)net->count;
    struct spr__train_lstm encoder;
    struct spr__qnet_lesson lesson = lesson_of(b, &c, index, &encoder);
    lesson.dropout = (float)b->pool->setting->dropout;
    lesson.seed = spr__rand64(b->seed, 78, (uint64_t)net->iteration);
    lesson.first = (int64_t)(at * EACH);
    lesson.last = (int32_t)(c.ns - c.own), lesson.last_slope = c.ns > c.own ? slope : NULL;
    b->loss[at] = spr__qnet_learn(&net->shape, net->weights, &lesson, c.room, gradient);
    if (c.ns > c.own) {
        memset(gradient + net->head, 0, (size_t)(net->count - net->head) * sizeof *gradient);
        spr__train_lstm_back(&encoder, slope, gradient + net->head);
    }
}

/* Every CHUNKS-th block of windows. */
static void watch_chunk(void *arg, size_t at) {
    struct batch *b = arg;
    const struct chunk c = place_chunk(b->pool, b->net, at);
    size_t index[EACH];
    struct spr__train_lstm encoder;
    b->loss[at] = 0;
    for (int64_t from = (int64_t)at * EACH; from + EACH <= b->pool->windows; from += BATCH) {
        for (size_t i = 0; i < EACH; i++)
            index[i] = (size_t)from + i;
        struct spr__qnet_lesson lesson = lesson_of(b, &c, index, &encoder);
        b->loss[at] += spr__qnet_loss(&b->net->shape, b->net->weights, &lesson, c.room);
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

int64_t spr__train_warm_up(int64_t iterations) { return SPR_MIN(WARM_UP, iterations / 4 + 1); }

/* Along the whole schedule's cosine; from where it is left, down another one that is shorter. */
static double step_size(int64_t i, const struct spr__train_schedule *s) {
    if (i >= s->leave && s->leave < s->whole) {
        double from = step_size(s->leave, &(struct spr__train_schedule){s->whole, s->whole, 0}),
               to = peak_step * last_share;
        double done = (double)(i - s->leave + 1) / (double)s->rest;
        return to + (from - to) * .5 * (1 + cos(3.14159265358979323846 * done));
    }
    int64_t warm = spr__train_warm_up(s->whole);
    if (i < warm)
        return peak_step * (double)(i + 1) / (double)warm;
    double done = (double)(i - warm) / (double)SPR_MAX(1, s->whole - warm);
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

struct levels {
    float level[SPR__QNET_LEVELS_MAX], weight[SPR__QNET_LEVELS_MAX];
};

static struct batch batch_of(spr_context *ctx, const struct spr__train_pool *pool, const double *levels, uint64_t seed,
                             struct spr__train_net *net, struct levels *l) {
    for (int32_t j = 0; j < net->shape.levels; j++)
        l->level[j] = (float)levels[j];
    weigh_levels(levels, net->shape.levels, pool->setting->by_gap, l->weight);
    return (struct batch){.pool = pool,
                          .net = net,
                          .kernels = spr__net_kernels_for(spr_context_simd(ctx)),
                          .levels = l->level,
                          .level_weight = l->weight,
                          .seed = seed};
}

void spr__train_net_step(spr_context *ctx, const struct spr__train_pool *pool, const double *levels, uint64_t seed,
                         struct spr__train_net *net) {
    struct levels l;
    struct batch b = batch_of(ctx, pool, levels, seed, net, &l);
    spr__parallel(ctx, CHUNKS, learn_chunk, &b);
    gather(net);
    double t = (double)(net->iteration + 1), pace = pool->setting->pace > 0 ? pool->setting->pace : 1;
    double step = pace * step_size(net->iteration, &net->schedule);
    b.kernels->adam(net->count, net->weights, net->gradient, net->m, net->v, (float)step, .9f, .999f, 1e-8f,
                    (float)pool->setting->decay, (float)(1 / (1 - pow(.9, t))), (float)(1 / (1 - pow(.999, t))));
    double loss = 0;
    for (size_t c = 0; c < CHUNKS; c++)
        loss += b.loss[c];
    net->loss = net->iteration ? .98 * net->loss + .02 * loss : loss;
    net->iteration++;
}

double spr__train_net_watch(spr_context *ctx, const struct spr__train_pool *pool, const double *levels,
                            struct spr__train_net *net) {
    struct levels l;
    struct batch b = batch_of(ctx, pool, levels, 0, net, &l);
    double loss = 0;
    spr__parallel(ctx, CHUNKS, watch_chunk, &b);
    for (size_t c = 0; c < CHUNKS; c++)
        loss += b.loss[c];
    return loss * BATCH / (double)pool->windows;
}
