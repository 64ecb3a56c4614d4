/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The value rule: what is it worth to hold a level r of one resource for a host, hour by hour?
 *
 * P_j(r) = chance that the host needs more than A + r in forecast step j (w_j long); holding it there gains
 * g_j = (price_unserved P_j - price_held) w_j. The worth of holding from j on, free to stop, is
 * V_j = g_j + max(0, V_{j+1}). A level is requested when V at readiness beats the price of the time until then
 * and every later start; it is kept while keeping beats the best later start; else it goes back. No thresholds,
 * no hold times. Step 0 is the running one, whose load is known.
 */
#include "fleet/fleet.h"
#include "plan/plan.h"

#define DECLARED_MOST 4 /* declared demands of one host that are weighed one by one; more count by their mean */

struct outlook {
    const double *quantiles, *levels; /* [step][level] */
    int32_t steps, level_count;
    double now, off, step_s, lead_s; /* load now; seconds of the running step that are over */
    double price_unserved, price_held;
    struct spr__class_policy policy; /* of the host's VMs; in the price already */
    struct {
        double from_s, to_s, amount, chance;
    } declared[DECLARED_MOST];
    int32_t declared_count;
    double declared_mean_amount; /* of those past the first few, weighed by confidence */
    double begun;                /* declared demand that has just begun and may not show in the load yet */
};

/* Chance that the forecast of step j passes x. Tails: below the lowest level almost sure, above the highest none. */
static double chance_above(const struct outlook *o, int32_t j, double x) {
    const double *q = &o->quantiles[(size_t)j * (size_t)o->level_count], *p = o->levels;
    int32_t last = o->level_count - 1, k = 0;
    if (j == 0)
        return o->now > x;
    if (x < q[0])
        return 1 - p[0] / 2;
    if (x >= q[last])
        return 0;
    while (x >= q[k + 1])
        k++;
    return 1 - (p[k] + (p[k + 1] - p[k]) * (x - q[k]) / (q[k + 1] - q[k]));
}

/* The same with declared demand on top: each one happens with its confidence, independently. */
static double chance_needed(const struct outlook *o, int32_t j, double x, double from_s, int32_t k) {
    while (k < o->declared_count && !(o->declared[k].from_s < from_s + o->step_s && o->declared[k].to_s > from_s))
        k++;
    if (k == o->declared_count)
        return chance_above(o, j, x - o->declared_mean_amount);
    double c = o->declared[k].chance;
    return c * chance_needed(o, j, x - o->declared[k].amount, from_s, k + 1) +
           (1 - c) * chance_needed(o, j, x, from_s, k + 1);
}

struct worth {
    bool request, keep;
    double at_ready; /* worth of holding from readiness on, seconds at the price of holding */
    double hold_s;   /* for how long it would be held from then on */
    double keep_s;   /* for how long it would be held from now on */
};

/* Both rules for capacity x (what is left of the host plus the level). */
static struct worth weigh(const struct outlook *o, double x) {
    struct worth w = {0};
    double price = o->price_unserved / o->price_held, v = 0, best_later = 0, length = 0;
    for (int32_t j = o->steps - 1; j >= 0; j--) {
        double from = fmax(0, j * o->step_s - o->off), to = (j + 1) * o->step_s - o->off;
        if (to <= from)
            continue;
        double gain = price * chance_needed(o, j, x, j * o->step_s - o->off, 0) - 1;
        length = v > 0 ? length : 0;               /* it stops where going on is worth nothing */
        if (to > o->lead_s && from <= o->lead_s) { /* the step in which the shard would become ready */
            v = gain * (to - o->lead_s) + fmax(0, v);
            w.at_ready = v;
            w.hold_s = length + to - o->lead_s;
            w.request = v > o->lead_s && v >= best_later;
            best_later = fmax(best_later, v);
            if (from < o->lead_s)
                length = v > 0 ? length + to - o->lead_s : 0, v = gain * (o->lead_s - from) + fmax(0, v);
            length += fmin(to, o->lead_s) - from;
        } else {
            v = gain * (to - from) + fmax(0, v);
            length += to - from;
            if (from > o->lead_s)
                best_later = fmax(best_later, v);
        }
    }
    w.keep_s = v > 0 ? length : 0;
    w.keep = v > 0 && v >= best_later - o->lead_s;
    return w;
}

/* Largest level in [0, top] for which the rule says yes; it says yes at 0 and less and less above. */
static double largest(const struct outlook *o, double left, double top, bool keep) {
    double low = 0, high = top;
    for (int i = 0; i < 14; i++) {
        double middle = 0.5 * (low + high);
        struct worth w = weigh(o, left + middle);
        if (keep ? w.keep : w.request)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* What to hold when `capacity` is there: request up to `up`, give back down to `down`. */
static void levels(const struct outlook *o, double capacity, double top, struct need *out) {
    if (top <= capacity)
        return;
    struct worth w = weigh(o, capacity);
    out->worth = w.at_ready / 3600;
    out->hold_h = w.hold_s / 3600;
    out->cost = o->lead_s / 3600;
    if (w.request)
        out->up = largest(o, capacity, top - capacity, false);
    if (w.keep)
        out->down = largest(o, capacity, top - capacity, true);
    out->up *= o->policy.larger;
    out->down *= o->policy.larger;
    /* Promise 4: nothing goes back that the present demand needs, whatever the forecast says. */
    out->down = fmax(fmax(out->down, o->now + o->begun - capacity), out->up);
}

static void add_declared(struct outlook *o, const struct board *b, int32_t h, int32_t i) {
    const spr_fleet *f = b->fleet;
    const struct spr__fleet_inventory *inv = f->inventory;
    const struct spr__fleet_placement *at = f->placement;
    for (int32_t k = 0; k < inv->declared_count; k++) {
        const struct spr_declared *d = &inv->declared[k];
        if (d->resource != inv->resource[i] || d->end_wall_ns <= f->time.wall_ns)
            continue;
        double amount = 0;
        for (int32_t j = at->first[h]; j < at->first[h + 1]; j++)
            if (spr__glob(d->match, inv->vms[at->vms[j]].id))
                amount += d->amount;
        if (amount <= 0)
            continue;
        double from = (double)(d->start_wall_ns - f->time.wall_ns) * 1e-9,
               to = (double)(d->end_wall_ns - f->time.wall_ns) * 1e-9;
        if (from <= 0) {
            /* It is in the load once the metrics have caught up; until then what stands for it is kept. */
            if (from > -(o->step_s + b->opts.control_s) && d->confidence * o->price_unserved > o->price_held)
                o->begun += amount;
            continue;
        }
        if (o->declared_count < DECLARED_MOST) {
            o->declared[o->declared_count].from_s = from;
            o->declared[o->declared_count].to_s = to;
            o->declared[o->declared_count].amount = amount;
            o->declared[o->declared_count++].chance = d->confidence;
        } else {
            o->declared_mean_amount += d->confidence * amount;
        }
    }
}

static struct outlook outlook_of(const struct board *b, const spr_forecast *f, int32_t h, int32_t i) {
    const struct spr_price *price = &b->opts.price[b->fleet->inventory->resource[i]];
    struct outlook o = {.steps = spr_forecast_horizon(f),
                        .level_count = spr_forecast_level_count(f),
                        .levels = spr_forecast_levels(f),
                        .step_s = b->opts.step_s,
                        .lead_s = b->opts.lead_s + b->opts.pre_s,
                        .now = b->load[h * b->r + i],
                        .price_unserved = price->unserved,
                        .price_held = price->held};
    o.policy = spr__class_of_host(b, h, i);
    o.price_unserved *= o.policy.dearer;
    o.quantiles = spr_forecast_quantiles(f) + ((int64_t)h * b->r + i) * o.steps * o.level_count;
    o.off = (double)(b->fleet->time.wall_ns - spr_forecast_first_step(f) * (int64_t)llround(o.step_s * 1e9)) * 1e-9;
    add_declared(&o, b, h, i);
    return o;
}

/* The most that is expected at all. */
static double top_of(const struct outlook *o) {
    double top = o->now + o->begun + o->declared_mean_amount;
    for (int32_t j = 1; j < o->steps; j++)
        top = fmax(top, o->quantiles[(size_t)(j + 1) * (size_t)o->level_count - 1] + o->declared_mean_amount);
    for (int32_t k = 0; k < o->declared_count; k++)
        top += o->declared[k].amount;
    return top;
}

/* No cascade: what the host lacks because of the shards it serves, those give back; it never asks for it elsewhere. */
static void weigh_guests(const struct outlook *o, const struct board *b, int32_t h, int32_t i, double top,
                         struct need *need) {
    double whole = b->capacity[h * b->r + i];
    need->left = spr__board_left(b, h, i);
    need->evict = 0;
    if (top <= need->left || need->left >= whole)
        return;
    struct need with_guests = {0};
    levels(o, need->left, top, &with_guests);
    if (with_guests.up - need->up > b->opts.change_at_least * whole)
        need->evict = with_guests.up - need->up;
}

void spr__need_guests(const struct board *b, const spr_forecast *f, int32_t h, int32_t i, struct need *need) {
    if (spr__board_left(b, h, i) == need->left)
        return;
    struct outlook o = outlook_of(b, f, h, i);
    weigh_guests(&o, b, h, i, need->forecast, need);
}

void spr__need_value(const struct board *b, const spr_forecast *f, int32_t h, int32_t i, struct need *out) {
    struct outlook o = outlook_of(b, f, h, i);
    double whole = b->capacity[h * b->r + i], top = top_of(&o);
    *out = (struct need){.because_up = o.declared_count ? SPR_BECAUSE_DECLARED : SPR_BECAUSE_EXPECTED_WORTH,
                         .quantile = 1 - o.price_held / o.price_unserved,
                         .threshold = whole,
                         .forecast = top};
    levels(&o, whole, top, out);
    weigh_guests(&o, b, h, i, top, out);
    out->because_down = out->down > 0 ? SPR_BECAUSE_NOT_WORTH : SPR_BECAUSE_NO_NEED;
}

void spr__need_outlook(const struct board *b, const spr_forecast *f, int32_t h, int32_t i, double level, double *keep_s,
                       double *most) {
    struct outlook o = outlook_of(b, f, h, i);
    double whole = b->capacity[h * b->r + i], wanted = 1 - o.price_held / o.price_unserved;
    int32_t at = 0;
    for (int32_t k = 1; k < o.level_count; k++)
        if (fabs(o.levels[k] - wanted) < fabs(o.levels[at] - wanted))
            at = k;
    *keep_s = weigh(&o, whole + level).keep_s;
    *most = o.now + o.begun - whole;
    for (int32_t j = 1; j < o.steps; j++)
        *most =
            fmax(*most, o.quantiles[(size_t)j * (size_t)o.level_count + (size_t)at] + o.declared_mean_amount - whole);
    for (int32_t k = 0; k < o.declared_count; k++)
        *most += o.declared[k].amount;
}

void spr__need_when(const struct board *b, const spr_forecast *f, int32_t h, int32_t i, double x, double from_s,
                    struct need_when *out) {
    struct outlook o = outlook_of(b, f, h, i);
    double pays = o.price_held / o.price_unserved;
    *out = (struct need_when){.onset_s = from_s};
    for (int32_t j = 0; j < o.steps; j++) {
        double from = fmax(from_s, j * o.step_s - o.off), to = (j + 1) * o.step_s - o.off;
        if (to <= from)
            continue;
        double p = chance_needed(&o, j, x, j * o.step_s - o.off, 0);
        out->onset_s = from;
        out->chance = fmax(out->chance, p); /* needed in one step, needed in its neighbours: chances do not add up */
        if (p > 0 && p >= pays)
            return;
        out->idle_s += (1 - out->chance) * (to - from);
        out->onset_s = to;
    }
}
