/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Training windows: which, from whom, what they weigh. Window i depends on the seed and i only. */
#include "forecast/train.h"

enum {
    WORKERS = 16,
    TRIES = 24,
    JOINS = 8,
    DRAW_SERIES = 1,
    DRAW_ORIGIN,
    DRAW_MIX,
    DRAW_SHARE,
    DRAW_STEP,
    DRAWS = 512
};

struct drawing {
    const struct spr__train_data *data;
    const struct spr__train_plan *plan;
    const struct spr__train_setting *setting;
    struct spr__train_pool *pool;
    const struct spr__net_kernels *kernels;
    bool held;
    const struct spr__train_pool *like; /* windows of the tail only, in the numbers of this pool; NULL = without */
    uint64_t seed;
    size_t *row; /* series that windows can be drawn from, by resource */
    double *sum; /* draws up to and including it */
    size_t rows;
    double *a, *c;   /* [windows] spread against season, against the resource's level */
    double *context; /* [WORKERS][2 context + 2 horizon] */
    float *memory;   /* [WORKERS][floats of a window] */
};

/* ---- which ---- */

/* Origins lie in [first, last]. */
static int64_t first_origin(const struct drawing *d, const struct spr__train_series *s) {
    int64_t context = d->setting->spec.context;
    return d->like && !d->plan->tail_series ? SPR_MAX(context, s->n - d->plan->tail) : context;
}

static int64_t last_origin(const struct drawing *d, const struct spr__train_series *s) {
    int64_t last = s->n - d->setting->spec.horizon;
    if (d->plan->tail_series && (d->held ? s->witness : d->like && !s->witness))
        return -1;
    return d->held && !d->plan->tail_series ? last - d->plan->tail : last;
}

static size_t find_row(const struct drawing *d, double at) {
    size_t lo = 0, n = d->rows;
    while (n > 1) {
        size_t half = n / 2;
        if (d->sum[lo + half - 1] <= at)
            lo += half, n -= half;
        else
            n = half;
    }
    return lo;
}

static double roll(const struct drawing *d, size_t window, uint64_t what, uint64_t attempt) {
    return spr__rand(d->seed, window, what * DRAWS + attempt);
}

/* A window with few gaps, or the last one tried. */
static int64_t draw_origin(const struct drawing *d, const struct spr__train_series *s, size_t window, uint64_t what,
                           int64_t phase) {
    int64_t context = d->setting->spec.context, season = d->setting->spec.day, last = last_origin(d, s);
    int64_t first = first_origin(d, s), o = first;
    for (uint64_t attempt = 0; attempt < TRIES; attempt++) {
        o = first + (int64_t)(roll(d, window, what, attempt) * (double)(last - first + 1));
        if (phase >= 0 && season > 0) {
            int64_t off = (s->first_step + o - phase) % season;
            o -= off < 0 ? off + season : off;
            if (o < context)
                o += season;
            if (o > last)
                continue;
        }
        int64_t gaps = 0;
        for (int64_t t = o - context; t < o + d->setting->spec.horizon; t += 7)
            gaps += s->marks[t] & SPR__MARK_FILLED;
        if (gaps * 7 * 5 <= context)
            return o;
    }
    return o > last || o < context ? -1 : o;
}

/* ---- numbers ---- */

static double mean_apart(const double *y, int64_t n) {
    double mean = 0, sum = 0;
    for (int64_t t = 0; t < n; t++)
        mean += y[t];
    mean /= (double)n;
    for (int64_t t = 0; t < n; t++)
        sum += fabs(y[t] - mean);
    return sum / (double)n;
}

/* Where a second series joins: at the same time of day; a sum must live through the events that its first part does, so
 * the second one through the same or through none. */
static int64_t join_at(const struct drawing *d, size_t window, const struct spr__train_series *first, int64_t origin,
                       const struct spr__train_series *other) {
    const struct spr__window_spec *spec = &d->setting->spec;
    int64_t season = SPR_MAX(spec->day, 1), phase = (first->first_step + origin) % season,
            from = origin - spec->context;
    for (uint64_t k = 0; k < JOINS; k++) {
        int64_t o = draw_origin(d, other, window, DRAW_MIX + 8 + k, phase < 0 ? phase + season : phase);
        if (o < 0 || !(spec->flags & SPR__WINDOW_EVENTS) ||
            spr__event_track_agrees(first->events, first->first_step + from, other->events,
                                    other->first_step + o - spec->context, spec->context + spec->horizon))
            return o;
    }
    return -1;
}

/* Add a second series of the same resource and time of day, stretched to the first one's spread. Its gaps come along.
 */
static void mix_in(const struct drawing *d, size_t window, const struct spr__train_series *first, int64_t origin,
                   double *y, uint8_t *marks) {
    const struct spr__window_spec *spec = &d->setting->spec;
    int64_t span = spec->context + spec->horizon;
    const struct spr__train_series *other = NULL;
    for (uint64_t attempt = 1; attempt <= TRIES && !other; attempt++) {
        const struct spr__train_series *s =
            &d->data->series[d->row[find_row(d, roll(d, window, DRAW_MIX, attempt) * d->sum[d->rows - 1])]];
        other = s->resource == first->resource ? s : NULL;
    }
    if (!other)
        return;
    int64_t o = join_at(d, window, first, origin, other);
    if (o < 0)
        return;
    double share = .05 + .9 * roll(d, window, DRAW_SHARE, 1), mine = mean_apart(y, spec->context);
    const double *theirs = other->y + o - spec->context;
    double apart = mean_apart(theirs, spec->context);
    if (!(apart > 0) || !(mine > 0))
        return;
    for (int64_t t = 0; t < span; t++) {
        y[t] = share * y[t] + (1 - share) * (mine / apart) * theirs[t];
        marks[t] |= other->marks[o - spec->context + t];
    }
}

/* Steps of the horizon that are taken: all, or one drawn from each of `steps` equal parts. */
static void draw_steps(const struct drawing *d, size_t window, int32_t *h) {
    int32_t horizon = d->setting->spec.horizon, steps = d->setting->steps;
    for (int32_t i = 0; i < steps; i++) {
        double lo = (double)i * horizon / steps, hi = (double)(i + 1) * horizon / steps;
        h[i] = steps == horizon
                   ? i
                   : SPR_MIN((int32_t)(lo + (hi - lo) * roll(d, window, DRAW_STEP, (uint64_t)i)), horizon - 1);
    }
}

static float clipped(double z) { return (float)SPR_MIN(SPR_MAX(z, -100), 100); }

/* At random; for the tail evenly, as it has few windows to tell by. */
static const struct spr__train_series *draw_series(const struct drawing *d, size_t window) {
    double at = d->like ? ((double)window + .5) / (double)d->pool->windows : roll(d, window, DRAW_SERIES, 0);
    return &d->data->series[d->row[find_row(d, at * d->sum[d->rows - 1])]];
}

static void build(struct drawing *d, size_t window, double *y, uint8_t *marks, float *memory) {
    const struct spr__train_setting *g = d->setting;
    struct spr__train_pool *p = d->pool;
    int64_t context = g->spec.context, span = context + g->spec.horizon;
    const struct spr__train_series *s = draw_series(d, window);
    int64_t o = draw_origin(d, s, window, DRAW_ORIGIN, -1);
    memcpy(y, s->y + o - context, (size_t)span * sizeof *y);
    memcpy(marks, s->marks + o - context, (size_t)span);
    if (roll(d, window, DRAW_MIX, 0) < g->mixed)
        mix_in(d, window, s, o, y, marks);
    double unit = d->data->unit[spr__resource_row(s->resource)];
    struct spr__window w = {.origin = s->first_step + o, .resource = s->resource, .events = s->events};
    int32_t h[SPR__WINDOW_HORIZON_MAX];
    draw_steps(d, window, h);
    float *lift =
        g->spec.flags & SPR__WINDOW_EVENTS ? (float *)(y + span + (span + 7) / 8) : NULL; /* behind the marks */
    if (lift) {
        w.learnt = spr__event_take_out(s->events, &g->spec, w.origin, y, lift, memory), w.lift = lift;
        for (int64_t t = context; t < span; t++)
            y[t] /= exp((double)lift[t]);
    }
    spr__window_open(&w, &g->spec, d->kernels, y, unit, memory);
    spr__window_summary(&w, p->s + (int64_t)window * p->summaries);
    if (p->sequence) {
        size_t each = (size_t)(g->encoder.steps * spr__encoder_values(&g->encoder, &g->spec));
        spr__encoder_sequence(&g->encoder, &w, p->sequence + window * each);
        p->origin[window] = w.origin;
    }
    spr__window_steps(&w, h, g->steps, p->d + (int64_t)window * g->steps * p->features,
                      p->base + (int64_t)window * g->steps);
    for (int32_t i = 0; i < g->steps; i++) {
        int64_t at = (int64_t)window * g->steps + i;
        uint8_t mark = marks[context + h[i]];
        p->target[at] = mark & SPR__MARK_FILLED ? NAN : clipped((y[context + h[i]] - w.level) / w.spread);
        p->censored[at] = mark & SPR__MARK_CENSORED ? 1 : 0;
    }
    double season = w.season > 0 ? w.season : w.spread, level = w.mean_abs > 0 ? w.mean_abs : w.spread;
    d->a[window] =
        g->weight == SPR__WEIGHT_OWA ? 100 * w.spread / (18.2 * level) + w.spread / (2.43 * season) : w.spread / season;
    d->c[window] = w.spread / spr__train_unit(d->data, s);
}

static void build_many(void *arg, size_t worker) {
    struct drawing *d = arg;
    int64_t span = d->setting->spec.context + d->setting->spec.horizon;
    double *y = d->context + (int64_t)worker * 2 * span;
    float *memory = d->memory + worker * spr__window_floats(&d->setting->spec);
    for (int64_t i = (int64_t)worker; i < d->pool->windows; i += WORKERS)
        build(d, (size_t)i, y, (uint8_t *)(y + span), memory);
}

/* ---- weights and standardisation ---- */

static void weigh(struct drawing *d) {
    int64_t n = d->pool->windows;
    double a = 0, c = 0;
    for (int64_t i = 0; i < n; i++)
        a += d->a[i], c += d->c[i];
    a = a > 0 ? a / (double)n : 1, c = c > 0 ? c / (double)n : 1;
    for (int64_t i = 0; i < n; i++) {
        double w = 1;
        if (d->setting->weight == SPR__WEIGHT_MIX)
            w = 1 + SPR_MIN(d->a[i] / a, 10) + SPR_MIN(d->c[i] / c, 10);
        else if (d->setting->weight == SPR__WEIGHT_SIZE) /* a miss counts as large as it is, whose ever it is */
            w = SPR_MIN(d->c[i] / c, 10);
        else if (d->setting->weight == SPR__WEIGHT_OWA)
            w = SPR_MIN(d->a[i] / a, 10);
        d->pool->weight[i] = (float)w;
    }
}

struct columns {
    float *x;
    double *mean, *sd;
    int64_t rows;
    int32_t width;
};

/* sd + 0.05: columns that hardly vary are not blown up. */
static void standardise(void *arg, size_t j) {
    struct columns *c = arg;
    double sum = 0, square = 0;
    for (int64_t i = 0; i < c->rows; i++)
        sum += (double)c->x[i * c->width + (int64_t)j];
    double mean = sum / (double)c->rows;
    for (int64_t i = 0; i < c->rows; i++) {
        double v = (double)c->x[i * c->width + (int64_t)j] - mean;
        square += v * v;
    }
    c->mean[j] = mean, c->sd[j] = sqrt(square / (double)c->rows) + .05;
}

static void apply(const struct columns *c) {
    for (int64_t i = 0; i < c->rows; i++)
        for (int32_t j = 0; j < c->width; j++)
            c->x[i * c->width + j] = (float)(((double)c->x[i * c->width + j] - c->mean[j]) / c->sd[j]);
}

/* ---- making ---- */

static int list_rows(struct drawing *d) {
    double sum = 0;
    for (size_t i = 0; i < d->data->count; i++)
        if (d->data->series[i].draw > 0 &&
            last_origin(d, &d->data->series[i]) >= first_origin(d, &d->data->series[i])) {
            sum += d->data->series[i].draw;
            d->row[d->rows] = i, d->sum[d->rows++] = sum;
        }
    return d->rows ? SPR_OK : SPR_E_HISTORY;
}

/* Numbers of the encoder's sequences. */
static size_t sequence_floats(const struct spr__train_setting *s) {
    return s->encoder.units
               ? (size_t)s->windows * (size_t)(s->encoder.steps * spr__encoder_values(&s->encoder, &s->spec))
               : 0;
}

/* The encoder's state counts as summaries that need no scaling. */
static size_t scaled_summaries(const struct spr__train_pool *p) {
    return (size_t)(p->summaries + p->setting->encoder.units);
}

static int pool_alloc(spr_context *ctx, struct spr__train_pool *p) {
    size_t n = (size_t)p->windows, rows = n * (size_t)p->setting->steps;
    p->s = spr__alloc(ctx, n * (size_t)p->summaries, sizeof *p->s);
    p->d = spr__alloc(ctx, rows * (size_t)p->features, sizeof *p->d);
    p->base = spr__alloc(ctx, rows, sizeof *p->base);
    p->target = spr__alloc(ctx, rows, sizeof *p->target);
    p->censored = spr__alloc(ctx, rows, 1);
    p->weight = spr__alloc(ctx, n, sizeof *p->weight);
    p->s_mean = spr__alloc(ctx, scaled_summaries(p), sizeof(double));
    p->s_sd = spr__alloc(ctx, scaled_summaries(p), sizeof(double));
    p->d_mean = spr__alloc(ctx, (size_t)p->features, sizeof(double));
    p->d_sd = spr__alloc(ctx, (size_t)p->features, sizeof(double));
    if (sequence_floats(p->setting)) {
        p->sequence = spr__alloc(ctx, sequence_floats(p->setting), sizeof *p->sequence);
        p->origin = spr__alloc(ctx, n, sizeof *p->origin);
        if (!p->sequence || !p->origin)
            return spr__nomem(ctx);
    }
    return p->s && p->d && p->base && p->target && p->censored && p->weight && p->s_mean && p->s_sd && p->d_mean &&
                   p->d_sd
               ? SPR_OK
               : spr__nomem(ctx);
}

void spr__train_pool_drop(spr_context *ctx, struct spr__train_pool *p) {
    if (!p->setting)
        return;
    size_t n = (size_t)p->windows, rows = n * (size_t)p->setting->steps;
    spr__free(ctx, p->s, n * (size_t)p->summaries, sizeof *p->s);
    spr__free(ctx, p->d, rows * (size_t)p->features, sizeof *p->d);
    spr__free(ctx, p->base, rows, sizeof *p->base);
    spr__free(ctx, p->target, rows, sizeof *p->target);
    spr__free(ctx, p->censored, rows, 1);
    spr__free(ctx, p->weight, n, sizeof *p->weight);
    spr__free(ctx, p->sequence, sequence_floats(p->setting), sizeof *p->sequence);
    spr__free(ctx, p->origin, n, sizeof *p->origin);
    spr__free(ctx, p->s_mean, scaled_summaries(p), sizeof(double));
    spr__free(ctx, p->s_sd, scaled_summaries(p), sizeof(double));
    spr__free(ctx, p->d_mean, (size_t)p->features, sizeof(double));
    spr__free(ctx, p->d_sd, (size_t)p->features, sizeof(double));
    memset(p, 0, sizeof *p);
}

static void fill_pool(spr_context *ctx, struct drawing *d) {
    struct spr__train_pool *p = d->pool;
    spr__parallel(ctx, WORKERS, build_many, d);
    weigh(d);
    struct columns s = {p->s, p->s_mean, p->s_sd, p->windows, p->summaries};
    struct columns f = {p->d, p->d_mean, p->d_sd, p->windows * d->setting->steps, p->features};
    if (d->like) {
        memcpy(p->s_mean, d->like->s_mean, (size_t)p->summaries * sizeof(double));
        memcpy(p->s_sd, d->like->s_sd, (size_t)p->summaries * sizeof(double));
        memcpy(p->d_mean, d->like->d_mean, (size_t)p->features * sizeof(double));
        memcpy(p->d_sd, d->like->d_sd, (size_t)p->features * sizeof(double));
    } else {
        spr__parallel(ctx, (size_t)p->summaries, standardise, &s);
        spr__parallel(ctx, (size_t)p->features, standardise, &f);
    }
    for (size_t i = (size_t)p->summaries; i < scaled_summaries(p); i++)
        p->s_sd[i] = 1;
    apply(&s);
    apply(&f);
}

static int make(spr_context *ctx, const struct spr__train_data *data, const struct spr__train_plan *plan,
                const struct spr__train_setting *setting, bool held, const struct spr__train_pool *like, uint64_t seed,
                struct spr__train_pool *pool) {
    size_t span = (size_t)(setting->spec.context + setting->spec.horizon), n = (size_t)setting->windows;
    size_t each = spr__window_floats(&setting->spec);
    struct drawing d = {.data = data,
                        .plan = plan,
                        .setting = setting,
                        .pool = pool,
                        .held = held,
                        .like = like,
                        .seed = seed,
                        .kernels = spr__net_kernels_for(spr_context_simd(ctx))};
    *pool = (struct spr__train_pool){.setting = setting,
                                     .windows = setting->windows,
                                     .summaries = spr__window_summaries(&setting->spec),
                                     .features = spr__window_features(&setting->spec)};
    int rc = pool_alloc(ctx, pool);
    d.row = spr__alloc(ctx, data->count, sizeof *d.row);
    d.sum = spr__alloc(ctx, data->count, sizeof *d.sum);
    d.a = spr__alloc(ctx, n, sizeof *d.a);
    d.c = spr__alloc(ctx, n, sizeof *d.c);
    d.context = spr__alloc(ctx, WORKERS * 2 * span, sizeof *d.context);
    d.memory = spr__alloc(ctx, WORKERS * each, sizeof *d.memory);
    if (rc == SPR_OK && (!d.row || !d.sum || !d.a || !d.c || !d.context || !d.memory))
        rc = spr__nomem(ctx);
    if (rc == SPR_OK && (rc = list_rows(&d)) < 0 && !like)
        spr__fail(ctx, rc, "train: no series has the %zu steps that a window needs before its end", span);
    if (rc == SPR_OK)
        fill_pool(ctx, &d);
    spr__free(ctx, d.row, data->count, sizeof *d.row);
    spr__free(ctx, d.sum, data->count, sizeof *d.sum);
    spr__free(ctx, d.a, n, sizeof *d.a);
    spr__free(ctx, d.c, n, sizeof *d.c);
    spr__free(ctx, d.context, WORKERS * 2 * span, sizeof *d.context);
    spr__free(ctx, d.memory, WORKERS * each, sizeof *d.memory);
    if (rc < 0)
        spr__train_pool_drop(ctx, pool);
    return rc;
}

int spr__train_pool_make(spr_context *ctx, const struct spr__train_data *data, const struct spr__train_plan *plan,
                         const struct spr__train_setting *setting, bool held, uint64_t seed,
                         struct spr__train_pool *pool) {
    return make(ctx, data, plan, setting, held, NULL, seed, pool);
}

int spr__train_pool_tail(spr_context *ctx, const struct spr__train_data *data, const struct spr__train_plan *plan,
                         const struct spr__train_setting *setting, const struct spr__train_pool *like, uint64_t seed,
                         struct spr__train_pool *pool) {
    return make(ctx, data, plan, setting, false, like, seed, pool);
}
