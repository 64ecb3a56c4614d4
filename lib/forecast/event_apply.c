/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Effects at work: which steps events touch, what they lift a series by, and quantiles with them. */
#include "forecast/event.h"

#define HALF 0.5 /* chance that what was seen once was the event's doing */

/* ---- touches ---- */

static const struct event_span *nearest(const struct event_span *s, size_t n, double reach, int64_t t) {
    const struct event_span *best = NULL;
    double middle = (double)t + 0.5, least = reach + 0.5;
    for (size_t i = 0; i < n; i++) {
        double far = fmax(fmax(s[i].start - middle, middle - s[i].end), 0);
        if (far < least || (far <= least && !best))
            least = far, best = &s[i];
    }
    return best;
}

double spr__event_most(const struct event_touch *touch, int64_t t, double lead, double lag) {
    double x = 0;
    for (size_t i = 0; i < touch->count; i++)
        x = fmax(x, spr__event_shape(&touch->spans[i], t, lead, lag));
    return x;
}

/* Room for one more; called once before the first too, so that readers find an array where no event is near. */
static int make_room(const struct spr_event_effects *e, struct event_touches *all) {
    size_t room = SPR_MAX(2 * all->room, 64);
    if (all->count < all->room)
        return SPR_OK;
    struct event_touch *more = spr__grow(e->ctx, all->items, all->room, room, sizeof *more);
    if (!more)
        return spr__nomem(e->ctx);
    all->items = more, all->room = room;
    return SPR_OK;
}

static int push(const struct spr_event_effects *e, struct event_touches *all, struct event_touch item, int64_t t,
                bool shaped) {
    int rc = make_room(e, all);
    if (rc < 0)
        return rc;
    item.shaped = shaped;
    for (int32_t i = 0; shaped && i < e->grid; i++)
        for (int32_t j = 0; j < e->grid; j++)
            item.x[i * EVENT_GRID + j] = (float)spr__event_most(&item, t, e->grid_steps[i], e->grid_steps[j]);
    all->items[all->count++] = item;
    return SPR_OK;
}

/* Spans of one kind, by start: the window of those near a step slides along. */
struct window {
    size_t first, last, end;
};

static int touch_step(const struct spr_event_effects *e, struct event_touches *all, struct window *w, size_t windows,
                      int64_t t, bool shaped) {
    double from = (double)t - e->reach, to = (double)t + e->reach + 1;
    for (size_t i = 0; i < windows; i++) {
        while (w[i].first < w[i].end && all->spans[w[i].first].end < from)
            w[i].first++;
        while (w[i].last < w[i].end && all->spans[w[i].last].start <= to)
            w[i].last++;
        if (w[i].last <= w[i].first)
            continue;
        struct event_touch item = {.spans = all->spans + w[i].first, .count = w[i].last - w[i].first};
        item.near = nearest(item.spans, item.count, e->reach, t);
        item.kind = item.spans->kind;
        int rc = item.near ? push(e, all, item, t, shaped) : SPR_OK;
        if (rc < 0)
            return rc;
    }
    return SPR_OK;
}

int spr__event_touches(const struct spr_event_effects *e, int64_t from, int64_t steps, bool shaped,
                       struct event_touches *out) {
    memset(out, 0, sizeof *out);
    out->steps = steps;
    int rc = spr__event_spans(e->calendar, e->origin_ns, e->step_ns, from, from + steps, e->reach, &out->spans,
                              &out->span_count);
    if (rc < 0)
        return rc;
    struct window *w = spr__alloc(e->ctx, (size_t)e->kinds + 1, sizeof *w);
    size_t windows = 0;
    out->first = spr__alloc(e->ctx, (size_t)steps + 1, sizeof *out->first);
    rc = !w || !out->first ? spr__nomem(e->ctx) : make_room(e, out);
    for (size_t i = 0; rc == SPR_OK && i < out->span_count; i++) {
        if (!i || out->spans[i].kind != out->spans[i - 1].kind)
            w[windows++] = (struct window){i, i, i};
        w[windows - 1].end = i + 1;
    }
    for (int64_t t = 0; rc == SPR_OK && t < steps; t++) {
        rc = touch_step(e, out, w, windows, from + t, shaped);
        out->first[t + 1] = out->count;
    }
    spr__free(e->ctx, w, (size_t)e->kinds + 1, sizeof *w);
    if (rc < 0)
        spr__event_touches_free(e->ctx, out);
    return rc;
}

void spr__event_touches_free(const spr_context *ctx, struct event_touches *t) {
    spr__event_spans_free(ctx, t->spans, t->span_count);
    spr__free(ctx, t->items, t->room, sizeof *t->items);
    spr__free(ctx, t->first, (size_t)t->steps + 1, sizeof *t->first);
    memset(t, 0, sizeof *t);
}

/* ---- lift ---- */

static bool nothing_known(const struct spr_event_effects *e, const struct event_belief *b, int32_t kind) {
    return !b->seen && !e->fleet[kind].seen && isnan(e->declared[kind]);
}

double spr__event_lift(const struct spr_event_effects *e, int64_t series, const struct event_touch *from,
                       const struct event_touch *to, int64_t t, bool sure) {
    double sum = 0;
    for (; from < to; from++) {
        const struct event_belief *b = &e->belief[series * e->kinds + from->kind];
        if ((b->certain || !sure) && !nothing_known(e, b, from->kind))
            sum += b->effect * spr__event_most(from, t, b->lead, b->lag);
    }
    return sum;
}

bool spr__event_touched(const struct spr_event_effects *e, int64_t series, const struct event_touch *from,
                        const struct event_touch *to, int64_t t) {
    for (; from < to; from++) {
        const struct event_belief *b = &e->belief[series * e->kinds + from->kind];
        if (!nothing_known(e, b, from->kind) && spr__event_most(from, t, b->lead, b->lag) > 0)
            return true;
    }
    return false;
}

int spr__event_class(const struct spr_event_effects *e, int64_t series, const struct event_touches *all, int64_t origin,
                     int64_t h) {
    const size_t *first = all->first;
    bool before = spr__event_touched(e, series, all->items, all->items + first[1], origin - 1);
    bool then = spr__event_touched(e, series, all->items + first[h + 1], all->items + first[h + 2], origin + h);
    return 2 * before + then;
}

/* ---- history without events ---- */

struct clean_job {
    const struct spr_event_effects *e;
    const struct spr_panel *panel;
    const struct event_touches *touches;
    int64_t first;
    double *out;
    bool running;
};

/* Is an event near the step that still goes on when the history ends? */
static bool under_way(const struct clean_job *job, const struct event_touch *from, const struct event_touch *to) {
    for (; from < to; from++)
        if (from->near->end + job->e->reach > (double)(job->first + job->panel->steps))
            return true;
    return false;
}

static void clean_row(void *arg, size_t s) {
    const struct clean_job *job = arg;
    int64_t steps = job->panel->steps;
    const struct event_touches *all = job->touches;
    for (int64_t t = 0; t < steps; t++) {
        const struct event_touch *from = all->items + all->first[t], *to = all->items + all->first[t + 1];
        double lift =
            spr__event_lift(job->e, (int64_t)s, from, to, job->first + t, job->running || under_way(job, from, to));
        double y = spr__panel_value(job->panel, (int64_t)s, t);
        job->out[(int64_t)s * steps + t] = lift < 0 || lift > 0 ? y / exp(lift) : y;
    }
}

int spr__event_clean(const struct spr_event_effects *e, const struct spr_panel *p, int64_t first, bool running,
                     double *out) {
    struct event_touches touches;
    int rc = spr__event_touches(e, first, p->steps, false, &touches);
    if (rc < 0)
        return rc;
    struct clean_job job = {e, p, &touches, first, out, running};
    spr__parallel(e->ctx, (size_t)p->series, clean_row, &job);
    spr__event_touches_free(e->ctx, &touches);
    return SPR_OK;
}

/* ---- quantiles ---- */

/* Value at a level of quantiles that rise: linear between them, flat past the outermost. */
static double at_level(const double *q, const double *levels, int32_t n, double level) {
    int32_t k = 0;
    while (k < n && levels[k] < level)
        k++;
    if (k == 0 || k == n)
        return q[k ? n - 1 : 0];
    return q[k - 1] + (q[k] - q[k - 1]) * (level - levels[k - 1]) / (levels[k] - levels[k - 1]);
}

/* Every quantile times the factor, and further from the middle by how uncertain the factor is: distances from the
 * median add as independent errors do. */
static void scale(const double *q, const double *levels, int32_t n, double effect, double sd, double *out) {
    double middle = at_level(q, levels, n, 0.5), factor = exp(effect);
    for (int32_t k = 0; k < n; k++) {
        double z = sd * spr__normal_quantile(levels[k]), off = q[k] - middle, more = fabs(middle) * (exp(z) - 1);
        double far = sqrt(off * off + more * more);
        out[k] = factor * (middle + (levels[k] < 0.5 ? -far : far));
        /* Demand that is never negative stays so. */
        if (out[k] < 0 && q[k] >= 0)
            out[k] = 0;
    }
}

/* Level at which a mixture of two sets of quantiles reaches v. */
static double mixture_level(const double *a, const double *b, const double *levels, int32_t n, double chance,
                            double v) {
    return (1 - chance) * (1 - spr__forecast_chance(a, levels, n, v)) +
           chance * (1 - spr__forecast_chance(b, levels, n, v));
}

/* Quantiles of: `with` by a chance, else `without`. Between the two quantiles of a level lies the mixture's. */
static void mix(const double *without, const double *with, const double *levels, int32_t n, double chance,
                double *out) {
    for (int32_t k = 0; k < n; k++) {
        double low = fmin(without[k], with[k]), high = fmax(without[k], with[k]);
        for (int i = 0; i < 60 && high - low > 1e-12 * fabs(high); i++) {
            double middle = 0.5 * (low + high);
            if (mixture_level(without, with, levels, n, chance, middle) < levels[k])
                low = middle;
            else
                high = middle;
        }
        out[k] = 0.5 * (low + high);
    }
}

/* What was seen once only widens: the median and what lies on its other side stay. */
static void widen(const double *before, const double *levels, int32_t n, bool upwards, double *q) {
    for (int32_t k = 0; k < n; k++)
        if (upwards ? levels[k] <= 0.5 : levels[k] >= 0.5)
            q[k] = before[k];
        else
            q[k] = upwards ? fmax(q[k], before[k]) : fmin(q[k], before[k]);
}

static void apply_one(const struct event_belief *b, double x, double confidence, const double *levels, int32_t n,
                      double *point, double *q, double *scratch) {
    double *with = scratch, *mixed = scratch + n, effect = b->effect * x;
    double chance = confidence * (b->certain ? 1 : HALF), before = at_level(q, levels, n, 0.5);
    scale(q, levels, n, effect, b->sd * x, with);
    if (chance < 1)
        mix(q, with, levels, n, chance, mixed);
    else
        memcpy(mixed, with, (size_t)n * sizeof *mixed);
    if (!b->certain)
        widen(q, levels, n, effect > 0, mixed);
    else if (chance < 1)
        *point += at_level(mixed, levels, n, 0.5) - before;
    else
        *point *= exp(effect);
    memcpy(q, mixed, (size_t)n * sizeof *q);
}

void spr__event_apply(const struct spr_event_effects *e, int64_t series, const struct event_touch *from,
                      const struct event_touch *to, int64_t t, const double *levels, int32_t count, double *point,
                      double *quantiles, double *scratch) {
    for (; from < to; from++) {
        const struct event_belief *b = &e->belief[series * e->kinds + from->kind];
        double x = spr__event_most(from, t, b->lead, b->lag);
        /* Once it has begun it is taken to take place. */
        if (x > 0 && !nothing_known(e, b, from->kind) && !e->below[series])
            apply_one(b, x, from->near->start <= (double)e->next ? 1 : from->near->confidence, levels, count, point,
                      quantiles, scratch);
    }
}
