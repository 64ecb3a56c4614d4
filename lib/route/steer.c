/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The control law. Moved load x follows the share of new flows s as dx/dt = (s - x) / tau, tau the flows' lifetime.
 *
 * Feed-forward: what must have moved by `lead` is what the primary cannot give then; a model of x says how much harder
 * to push until it is there. Correction: a PI controller of the measured load with its integral time at tau, which
 * cancels the lag, and its gain so low against the delay that the loop's phase margin is above 60 degrees (the tuning
 * rule of Skogestad 2003, its gain capped at 1 because noise passes through it). It only ever adds.
 * doc/algorithms/steer.md.
 */
#include "route/route.h"

#include <shardpredict/route-steer.h>

#define PUSH_MOST  2.0  /* times the missing share: more would spill nearly everything for long flows */
#define CALM_PSI   0.10 /* share of waiting time that is usual */
#define QUEUE_UNIT 0.1  /* a queue twice as long as usual counts as 10 % too much load */
#define ERROR_MOST 0.5
#define GAIN_MOST  0.5 /* noise passes through it */
#define COLD       0.1 /* of the ramp, for shards that are cold */

struct law {
    double spill, moved, need, correction, error, ramp;
    int64_t at; /* mono ns of the last step */
    bool begun;
};

struct spr_steer {
    spr_context *ctx;
    struct spr_steer_opts opts;
    struct law *law;
};

/* ---- making ---- */

static bool within(double x, double least, double most) { return x >= least && x <= most; }

int spr_steer_create(spr_context *ctx, const struct spr_steer_opts *opts, spr_steer **out) {
    struct spr_steer_opts o;
    if (!ctx || !out)
        return SPR_E_ARG;
    int rc = spr__opts_copy(ctx, "spr_steer_opts", opts, &o, sizeof o);
    if (rc < 0)
        return rc;
    o.target = o.target == 0 ? 0.85 : o.target;
    o.high = o.high == 0 ? fmax(o.target, 0.95) : o.high;
    o.ramp_per_s = o.ramp_per_s == 0 ? 0.05 : o.ramp_per_s;
    o.fall_per_s = o.fall_per_s == 0 ? 1.0 / 1800 : o.fall_per_s;
    o.hysteresis = o.hysteresis == 0 ? 0.02 : o.hysteresis;
    o.gain = o.gain == 0 ? 1 : o.gain;
    if (!within(o.target, 0.01, 1) || !within(o.high, o.target, 2) || !within(o.ramp_per_s, 1e-6, 1e6) ||
        !within(o.fall_per_s, 1e-6, 1e6) || !within(o.hysteresis, 0, 1) || !within(o.delay_s, 0, 1e6) ||
        !within(o.gain, 0, 1000) || o.services < 1 || o.reserve < 0 || o.reserve > 1)
        return spr__fail(ctx, SPR_E_ARG, "spr_steer_opts: a share, a rate, services or reserve is out of range");
    spr_steer *s = spr__alloc(ctx, 1, sizeof *s);
    struct law *law = s ? spr__alloc(ctx, (size_t)o.services, sizeof *law) : NULL;
    if (!law) {
        spr__free(ctx, s, 1, sizeof *s);
        return spr__nomem(ctx);
    }
    s->ctx = spr_context_ref(ctx);
    s->opts = o;
    s->law = law;
    *out = s;
    return SPR_OK;
}

void spr_steer_destroy(spr_steer *s) {
    if (!s)
        return;
    spr_context *ctx = s->ctx;
    spr__free(ctx, s->law, (size_t)s->opts.services, sizeof *s->law);
    spr__free(ctx, s, 1, sizeof *s);
    spr_context_unref(ctx);
}

void spr_steer_reset(spr_steer *s, int32_t service) {
    if (s && service >= 0 && service < s->opts.services)
        memset(&s->law[service], 0, sizeof s->law[service]);
}

/* ---- the law ---- */

/* How much more of the load than now must be at shards when the prediction comes true, pushed by what flows lag. */
static double feed_forward(const spr_steer *s, struct law *l, const struct spr_steer_in *in, double dt) {
    l->need = in->demand > 0 && in->room >= 0 ? fmax(0, 1 - s->opts.target * in->room / in->demand) : 0;
    if (l->need <= l->moved)
        return l->need;
    double reach = 1 - exp(-fmax(in->lead_s > 0 ? in->lead_s : 0, dt) / in->flow_lifetime_s);
    return l->moved + (l->need - l->moved) * fmin(PUSH_MOST, 1 / fmax(reach, 1e-9));
}

/* The worst of what was measured, as load above `high` (positive) or below `target` (negative), else 0. */
static double error_of(const spr_steer *s, const struct spr_steer_in *in) {
    double load = -INFINITY;
    if (!isnan(in->use))
        load = in->use;
    if (!isnan(in->pressure))
        load = fmax(load, s->opts.target + (in->pressure > CALM_PSI ? s->opts.high - s->opts.target : 0) +
                              (in->pressure - CALM_PSI));
    if (!isnan(in->queue))
        load = fmax(load, s->opts.target + (in->queue > 2 ? s->opts.high - s->opts.target : 0) +
                              QUEUE_UNIT * (in->queue - 2));
    if (load == -INFINITY)
        return 0;
    double error = load > s->opts.high ? load - s->opts.high : load < s->opts.target ? load - s->opts.target : 0;
    return fmax(-ERROR_MOST, fmin(ERROR_MOST, error));
}

static double correct(const spr_steer *s, struct law *l, const struct spr_steer_in *in, double dt, double most) {
    double tau = in->flow_lifetime_s, error = error_of(s, in);
    double delay = dt + (s->opts.delay_s > 0 ? s->opts.delay_s : dt);
    double gain = s->opts.gain * fmin(GAIN_MOST, tau / (4 * delay));
    double next = l->correction + gain * (error - l->error) + gain * error * dt / tau;
    l->error = error;
    return fmax(0, fmin(most, next)); /* clamped where it acts: it does not wind up */
}

static void step(const spr_steer *s, struct law *l, const struct spr_steer_in *in, int64_t now) {
    double dt = l->begun ? (double)(now - l->at) * 1e-9 : 0, most = fmin(in->spill_at_most, in->carry);
    bool first = !l->begun; /* nothing to be gentle with: the data plane ramps by itself */
    l->at = now;
    l->begun = true;
    l->moved += (l->spill - l->moved) * (1 - exp(-dt / in->flow_lifetime_s));
    double want = feed_forward(s, l, in, dt);
    if (!s->opts.reserve)
        want = most;
    l->correction = correct(s, l, in, dt, most);
    want = fmin(most, want + l->correction);
    l->ramp = s->opts.ramp_per_s * (COLD + (1 - COLD) * in->warmness);
    if (want > l->spill + s->opts.hysteresis || (first && want > 0))
        l->spill = first ? want : fmin(want, l->spill + l->ramp * dt);
    else if (want < l->spill - s->opts.hysteresis || want == 0)
        l->spill = fmax(want, l->spill - s->opts.fall_per_s * dt);
    if (l->spill > most + s->opts.hysteresis || most == 0) /* what shards no longer carry stays at home at once */
        l->spill = most;
    l->spill = fmin(l->spill, in->spill_at_most);
}

static bool is_share(double x) { return x >= 0 && x <= 1; }

int spr_steer_step(spr_steer *s, struct spr_time now, const struct spr_steer_in *in, size_t count) {
    if (!s)
        return SPR_E_ARG;
    if (count && (!in || in->size < sizeof *in))
        return spr__fail(s->ctx, SPR_E_ARG, "spr_steer_step: the rows' size is not set");
    for (size_t k = 0; k < count; k++) {
        const struct spr_steer_in *i = (const struct spr_steer_in *)((const char *)in + k * in->size);
        bool fits = i->service >= 0 && i->service < s->opts.services;
        if (!fits || !(i->carry >= 0) || !is_share(i->warmness) || !is_share(i->spill_at_most) ||
            !(i->flow_lifetime_s > 0) || i->reserved ||
            (s->law[i->service].begun && now.mono_ns < s->law[i->service].at))
            return spr__fail(
                s->ctx, SPR_E_ARG,
                "spr_steer_step: service %d: carry, warmness, spill_at_most, flow_lifetime_s or the time is "
                "out of range",
                i->service);
    }
    for (size_t k = 0; k < count; k++) {
        const struct spr_steer_in *i = (const struct spr_steer_in *)((const char *)in + k * in->size);
        step(s, &s->law[i->service], i, now.mono_ns);
    }
    return SPR_OK;
}

int spr_steer_get(const spr_steer *s, int32_t service, struct spr_steer_out *out) {
    if (!s || !out || service < 0 || service >= s->opts.services)
        return SPR_E_ARG;
    const struct law *l = &s->law[service];
    struct spr_steer_out o = {sizeof o, l->spill, l->ramp, l->need, l->correction, l->moved};
    return spr__out_copy(out, &o, sizeof o);
}
