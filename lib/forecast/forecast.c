/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The maker: checks at the door, hands over to the method's table, checks the answer. */
#include "forecast/forecast.h"

static const double default_levels[] = {.1, .25, .5, .75, .9, .95, .99};

struct spr_forecaster {
    spr_context *ctx;
    struct spr_forecaster_ops ops;
    void *state;
    double *levels;
    int32_t horizon, level_count;
    bool opened, fitted;
    int64_t series;     /* rows of the fitted panel */
    int64_t first_step; /* of the history */
    int64_t steps;      /* of the history, updates included */
    /* Only for a table without `update`: everything seen so far, [series][room], missing as NaN. */
    double *kept;
    uint8_t *kept_censored;
    int32_t *kept_resource; /* [series], or NULL */
    int64_t room;
};

static const struct spr_forecaster_ops *(*const builtin[])(void) = {
    spr_forecaster_seasonal_naive, spr_forecaster_holt_winters, spr_forecaster_mix,
    spr_forecaster_combination,    spr_forecaster_calibrated,
};

const struct spr_forecaster_ops *spr_forecaster_by_name(const char *name) {
    for (size_t i = 0; name && i < SPR_ARRAY_LEN(builtin); i++)
        if (!strcmp(builtin[i]()->name, name))
            return builtin[i]();
    return NULL;
}

/* ---- panels ---- */

int spr__panel_open(const spr_context *ctx, const char *what, const struct spr_panel *given, struct spr_panel *out) {
    if (!given)
        return spr__fail(ctx, SPR_E_ARG, "%s: a panel is required", what);
    int rc = spr__opts_copy(ctx, "spr_panel", given, out, sizeof *out);
    if (rc < 0)
        return rc;
    if (!out->data || out->series < 1 || out->steps < 1 || (out->dtype != SPR_F64 && out->dtype != SPR_F32))
        return spr__fail(ctx, SPR_E_ARG, "%s: the panel has no data, no series, no steps or an unknown dtype", what);
    if (out->series > INT64_MAX / 64 / out->steps)
        return spr__fail(ctx, SPR_E_ARG, "%s: %lld series x %lld steps is no panel", what, (long long)out->series,
                         (long long)out->steps);
    for (int64_t s = 0; s < out->series; s++)
        for (int64_t t = 0; t < out->steps; t++)
            if (fabs(spr__panel_value(out, s, t)) > SPR__VALUE_MAX)
                return spr__fail(ctx, SPR_E_ARG, "%s: series %lld, step %lld: infinite or beyond 1e150", what,
                                 (long long)s, (long long)t);
    return SPR_OK;
}

/* ---- create ---- */

/* A table may fail without a word; its caller still finds a record that names it. */
static int told(const spr_forecaster *f, const char *slot, int rc) {
    struct spr_error e = {.size = sizeof e};
    if (rc >= 0)
        return rc == SPR_AGAIN ? SPR_AGAIN : SPR_OK;
    if (rc <= SPR_ERROR_LAST_)
        rc = SPR_E_CALLBACK;
    if (spr_context_error(f->ctx, &e) < 0 || e.code != rc)
        spr__fail(f->ctx, rc, "forecaster '%s' failed in %s", f->ops.name, slot);
    return rc;
}

static int open_state(spr_forecaster *f, const struct spr_forecaster_opts *o) {
    struct spr_env env = {sizeof env, f->ctx, NULL, spr_context_seed(f->ctx)};
    struct spr_forecaster_env fenv = {sizeof fenv, &env, o->step_ns, f->horizon, f->level_count, f->levels, o->config};
    return told(f, "open", f->ops.open(&fenv, &f->state));
}

static int defaults(const spr_context *ctx, struct spr_forecaster_opts *o) {
    if (!o->step_ns)
        o->step_ns = INT64_C(300000000000);
    if (!o->horizon)
        o->horizon = 12;
    if (!o->level_count)
        o->level_count = (int32_t)SPR_ARRAY_LEN(default_levels), o->levels = default_levels;
    if (o->step_ns < 0 || o->horizon < 0 || o->horizon > 1 << 20 || o->level_count < 0 || o->level_count > 1 << 10 ||
        !o->levels)
        return spr__fail(ctx, SPR_E_ARG, "spr_forecaster_opts: step, horizon, or levels are out of range");
    return spr__levels_check(ctx, o->levels, o->level_count);
}

int spr_forecaster_create(spr_context *ctx, const struct spr_forecaster_ops *ops,
                          const struct spr_forecaster_opts *opts, spr_forecaster **out) {
    static const size_t required[] = {
        offsetof(struct spr_forecaster_ops, name), offsetof(struct spr_forecaster_ops, license),
        offsetof(struct spr_forecaster_ops, open), offsetof(struct spr_forecaster_ops, close),
        offsetof(struct spr_forecaster_ops, fit),  offsetof(struct spr_forecaster_ops, predict),
    };
    struct spr_forecaster_ops table;
    struct spr_forecaster_opts o;
    if (!ctx)
        return SPR_E_ARG;
    if (!out)
        return spr__fail(ctx, SPR_E_ARG, "spr_forecaster_create: no place for the result");
    int rc;
    if ((rc = spr__ops_copy(ctx, "spr_forecaster_ops", ops, &table, sizeof table, required, SPR_ARRAY_LEN(required))) <
            0 ||
        (rc = spr__opts_copy(ctx, "spr_forecaster_opts", opts, &o, sizeof o)) < 0 || (rc = defaults(ctx, &o)) < 0)
        return rc;
    spr_forecaster *f = spr__alloc(ctx, 1, sizeof *f);
    if (!f)
        return spr__nomem(ctx);
    f->ctx = spr_context_ref(ctx);
    f->ops = table;
    f->horizon = o.horizon, f->level_count = o.level_count;
    f->levels = spr__alloc(ctx, (size_t)o.level_count, sizeof *f->levels);
    if (!f->levels) {
        spr_forecaster_destroy(f);
        return spr__nomem(ctx);
    }
    memcpy(f->levels, o.levels, (size_t)o.level_count * sizeof *f->levels);
    if ((rc = open_state(f, &o)) < 0) {
        spr_forecaster_destroy(f);
        return rc;
    }
    f->opened = true;
    *out = f;
    return SPR_OK;
}

static void drop_kept(spr_forecaster *f) {
    spr__free(f->ctx, f->kept, (size_t)(f->series * f->room), sizeof *f->kept);
    spr__free(f->ctx, f->kept_censored, (size_t)(f->series * (f->room / 8)), 1);
    f->kept = NULL, f->kept_censored = NULL, f->room = 0;
}

static void drop_resources(spr_forecaster *f) {
    spr__free(f->ctx, f->kept_resource, (size_t)f->series, sizeof *f->kept_resource);
    f->kept_resource = NULL;
}

static int keep_resources(spr_forecaster *f, const struct spr_panel *p) {
    if (!p->resource)
        return SPR_OK;
    f->kept_resource = spr__alloc(f->ctx, (size_t)f->series, sizeof *f->kept_resource);
    if (!f->kept_resource)
        return spr__nomem(f->ctx);
    memcpy(f->kept_resource, p->resource, (size_t)f->series * sizeof *f->kept_resource);
    return SPR_OK;
}

void spr_forecaster_destroy(spr_forecaster *f) {
    if (!f)
        return;
    spr_context *ctx = f->ctx;
    if (f->opened)
        f->ops.close(f->state);
    drop_kept(f);
    drop_resources(f);
    spr__free(ctx, f->levels, (size_t)f->level_count, sizeof *f->levels);
    spr__free(ctx, f, 1, sizeof *f);
    spr_context_unref(ctx);
}

/* ---- history kept for tables that cannot update ---- */

static int make_room(spr_forecaster *f, int64_t steps) {
    if (steps <= f->room)
        return SPR_OK;
    int64_t room = SPR_MAX(steps + steps / 2, 64), old = f->room;
    room = (room + 7) / 8 * 8;
    double *kept = spr__alloc(f->ctx, (size_t)(f->series * room), sizeof *kept);
    uint8_t *censored = spr__alloc(f->ctx, (size_t)(f->series * (room / 8)), 1);
    if (!kept || !censored) {
        spr__free(f->ctx, kept, (size_t)(f->series * room), sizeof *kept);
        spr__free(f->ctx, censored, (size_t)(f->series * (room / 8)), 1);
        return spr__nomem(f->ctx);
    }
    for (int64_t s = 0; s < f->series && old; s++) {
        memcpy(kept + s * room, f->kept + s * old, (size_t)old * sizeof *kept);
        memcpy(censored + s * (room / 8), f->kept_censored + s * (old / 8), (size_t)(old / 8));
    }
    drop_kept(f);
    f->kept = kept, f->kept_censored = censored, f->room = room;
    return SPR_OK;
}

static void append(spr_forecaster *f, const struct spr_panel *p, int64_t at) {
    for (int64_t s = 0; s < f->series; s++)
        for (int64_t t = 0; t < p->steps; t++) {
            uint8_t *bits = f->kept_censored + s * (f->room / 8), mask = (uint8_t)(1u << ((at + t) & 7));
            f->kept[s * f->room + at + t] = spr__panel_value(p, s, t);
            bits[(at + t) >> 3] &= (uint8_t)~mask;
            if (p->censored && spr__bit(p->censored + s * p->censored_stride, t))
                bits[(at + t) >> 3] |= mask;
        }
}

static int refit(spr_forecaster *f, const struct spr_panel *steps) {
    int rc = make_room(f, f->steps + steps->steps);
    if (rc < 0)
        return rc;
    append(f, steps, f->steps);
    struct spr_panel all = {.size = sizeof all,
                            .data = f->kept,
                            .series = f->series,
                            .steps = f->steps + steps->steps,
                            .series_stride = f->room * (int64_t)sizeof(double),
                            .step_stride = sizeof(double),
                            .censored = f->kept_censored,
                            .censored_stride = f->room / 8,
                            .resource = f->kept_resource};
    do
        rc = told(f, "fit", f->ops.fit(f->state, &all, f->first_step, 0));
    while (rc == SPR_AGAIN);
    f->fitted = rc == SPR_OK;
    return rc;
}

/* ---- fit, update, predict ---- */

int spr_forecaster_fit(spr_forecaster *f, const struct spr_panel *history, int64_t first_step, int64_t budget) {
    struct spr_panel p;
    if (!f)
        return SPR_E_ARG;
    int rc = spr__panel_open(f->ctx, "spr_forecaster_fit", history, &p);
    if (rc < 0)
        return rc;
    if (budget < 0)
        return spr__fail(f->ctx, SPR_E_ARG, "spr_forecaster_fit: the budget is negative");
    f->fitted = false;
    rc = told(f, "fit", f->ops.fit(f->state, &p, first_step, budget));
    if (rc != SPR_OK)
        return rc;
    drop_kept(f);
    drop_resources(f);
    f->series = p.series, f->steps = p.steps, f->first_step = first_step;
    if (!f->ops.update) {
        if ((rc = make_room(f, p.steps)) < 0 || (rc = keep_resources(f, &p)) < 0)
            return rc;
        append(f, &p, 0);
    }
    f->fitted = true;
    return SPR_OK;
}

int spr_forecaster_update(spr_forecaster *f, const struct spr_panel *steps) {
    struct spr_panel p;
    if (!f)
        return SPR_E_ARG;
    if (!f->fitted)
        return spr__fail(f->ctx, SPR_E_STATE, "spr_forecaster_update: fit comes first");
    int rc = spr__panel_open(f->ctx, "spr_forecaster_update", steps, &p);
    if (rc < 0)
        return rc;
    if (p.series != f->series)
        return spr__fail(f->ctx, SPR_E_ARG, "spr_forecaster_update: %lld series were fitted, %lld came",
                         (long long)f->series, (long long)p.series);
    rc = f->ops.update ? told(f, "update", f->ops.update(f->state, &p)) : refit(f, &p);
    if (rc == SPR_OK)
        f->steps += p.steps;
    return rc;
}

static int check_now(const spr_forecaster *f, const double *now) {
    for (int64_t s = 0; now && s < f->series; s++)
        if (fabs(now[s]) > SPR__VALUE_MAX)
            return spr__fail(f->ctx, SPR_E_ARG, "spr_forecaster_predict: series %lld: `now` is not finite",
                             (long long)s);
    return SPR_OK;
}

int spr_forecaster_predict(spr_forecaster *f, const double *now, spr_forecast **out) {
    spr_forecast *made = NULL;
    if (!f)
        return SPR_E_ARG;
    if (!out)
        return spr__fail(f->ctx, SPR_E_ARG, "spr_forecaster_predict: no place for the result");
    if (!f->fitted)
        return spr__fail(f->ctx, SPR_E_STATE, "spr_forecaster_predict: fit comes first");
    int rc = check_now(f, now);
    if (rc < 0 || (rc = spr__forecast_new(f->ctx, f->series, f->horizon, f->level_count, f->levels,
                                          f->first_step + f->steps, &made)) < 0)
        return rc;
    spr__forecast_blank(made); /* what a method forgets to fill is found by the seal */
    struct spr_forecaster_output o = {sizeof o, f->series, made->points, made->quantiles};
    rc = told(f, "predict", f->ops.predict(f->state, now, &o));
    int64_t bad = rc == SPR_OK ? spr__forecast_seal(made) : -1;
    if (bad >= 0)
        rc = spr__fail(f->ctx, SPR_E_CALLBACK, "forecaster '%s': series %lld got a number that is not finite",
                       f->ops.name, (long long)bad);
    if (rc != SPR_OK) {
        spr_forecast_unref(made);
        return rc == SPR_AGAIN
                   ? spr__fail(f->ctx, SPR_E_CALLBACK, "forecaster '%s': predict cannot be resumed", f->ops.name)
                   : rc;
    }
    *out = made;
    return SPR_OK;
}

const double *spr__forecaster_without_model(const spr_forecaster *f) {
    return f->ops.predict == spr_forecaster_mix()->predict ? spr__mix_without_model(f->state) : NULL;
}
