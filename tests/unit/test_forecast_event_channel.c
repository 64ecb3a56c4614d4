/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Events as inputs of nets: what they are told, what they make of it, and that nothing else looks ahead. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "failing_alloc.h"
#include "forecast/train_lstm.h"

enum { DAY = 24, DAYS = 30, STEPS = DAY * DAYS, ROWS = 8, H = 6, LENGTH = 4, SALES = 7, NEXT = STEPS + 1, LEVELS = 3 };
#define STEP_NS INT64_C(3600000000000)
static const double levels[LEVELS] = {.1, .5, .9};

/* At hours that never come again; the last one begins a step after the history. */
static const int sale_steps[SALES] = {9 * DAY + 3,   13 * DAY + 17, 16 * DAY + 8, 19 * DAY + 21,
                                      23 * DAY + 11, 27 * DAY + 15, NEXT};
static double y[ROWS][STEPS];
static spr_context *shared;
static spr_calendar *sales, *holidays;
static spr_model *inside, *blind;

static spr_context *context(const struct spr_executor *e) {
    struct spr_context_opts o = {.size = sizeof o, .executor = e, .seed = 7};
    spr_context *ctx = NULL;
    assert_int_equal(spr_context_create(&o, &ctx), 0);
    return ctx;
}

/* `count` of the sales and one more at `also` (0 = none). */
static int make_sales(spr_context *ctx, int count, int also, spr_calendar **out) {
    spr_calendar_builder *b = NULL;
    struct spr_event e = {.size = sizeof e, .kind = "sale"};
    int rc = spr_calendar_builder_create(ctx, &b);
    e.start_ns = sale_steps[0] * STEP_NS, e.end_ns = e.start_ns + LENGTH * STEP_NS;
    if (rc == SPR_OK)
        rc = spr_calendar_builder_add(b, &e);
    for (int i = 1; i < count && rc >= 0; i++)
        rc = spr_calendar_builder_date(b, 0, sale_steps[i] * STEP_NS, 0);
    if (rc >= 0 && also)
        rc = spr_calendar_builder_date(b, 0, also * STEP_NS, 0);
    if (rc >= 0)
        rc = spr_calendar_builder_finish(b, out);
    if (rc < 0)
        spr_calendar_builder_destroy(b);
    return rc;
}

static double usual(int row, int t) { return (row + 1) * (10 + 4 * sin(6.283185307179586 * t / DAY)); }
static bool on_sale(int t) {
    for (int i = 0; i < SALES; i++)
        if (t >= sale_steps[i] && t < sale_steps[i] + LENGTH)
            return true;
    return false;
}
static void fill(void) {
    for (int r = 0; r < ROWS; r++)
        for (int t = 0; t < STEPS; t++)
            y[r][t] = usual(r, t) * (0.9 + 0.2 * spr__rand(3, (uint64_t)r, (uint64_t)t)) * (on_sale(t) ? 3 : 1);
}

static struct spr_panel panel_of(int from, int to) {
    return (struct spr_panel){.size = sizeof(struct spr_panel),
                              .data = y[0] + from,
                              .series = ROWS,
                              .steps = to - from,
                              .series_stride = STEPS * (int64_t)sizeof(double),
                              .step_stride = sizeof(double)};
}

struct wish {
    const spr_calendar *calendar;
    const int64_t *until;
    const spr_model *start;
    double effort;
    int32_t kind, events;
};

static int train(spr_context *ctx, const struct wish *w, spr_model **out) {
    struct spr_trainer_opts o = {.size = sizeof o,
                                 .step_ns = w->start ? 0 : STEP_NS,
                                 .horizon = w->start ? 0 : H,
                                 .kind = w->kind,
                                 .members = 1,
                                 .context = 10 * DAY,
                                 .effort = w->effort,
                                 .start = w->start,
                                 .events = w->events};
    struct spr_training_opts a = {.size = sizeof a, .calendar = w->calendar, .until = w->until};
    struct spr_panel p = panel_of(0, STEPS);
    spr_trainer *t = NULL;
    int rc = spr_trainer_create(ctx, &o, &t);
    if (rc == SPR_OK && (rc = spr_trainer_add(t, &p, &a)) == SPR_OK && (rc = spr_trainer_run(t, 0)) == SPR_OK)
        rc = spr_trainer_finish(t, out);
    spr_trainer_destroy(t);
    return rc;
}

static int make(spr_context *ctx, const spr_model *m, const spr_calendar *c, int carry, int until,
                spr_forecaster **out) {
    struct spr_model_opts config = {.size = sizeof config, .model = m, .carry = carry, .calendar = c};
    struct spr_forecaster_opts o = {sizeof o, STEP_NS, H, LEVELS, levels, &config};
    struct spr_panel p = panel_of(0, until);
    int rc = spr_forecaster_create(ctx, spr_forecaster_model(), &o, out);
    return rc == SPR_OK ? spr_forecaster_fit(*out, &p, 0, 0) : rc;
}

static int ask(spr_context *ctx, const spr_model *m, const spr_calendar *c, int until, spr_forecast **out) {
    spr_forecaster *f = NULL;
    int rc = make(ctx, m, c, 0, until, &f);
    if (rc == SPR_OK)
        rc = spr_forecaster_predict(f, NULL, out);
    spr_forecaster_destroy(f);
    return rc;
}
static spr_forecast *asked(const spr_model *m, const spr_calendar *c, int until) {
    spr_forecast *f = NULL;
    assert_int_equal(ask(shared, m, c, until, &f), SPR_OK);
    return f;
}

/* How far apart two answers are, relative to the series; both are dropped. */
static double apart(spr_forecast *a, spr_forecast *b) {
    double most = 0;
    for (int i = 0; i < ROWS * H * LEVELS; i++)
        most = fmax(most, fabs(spr_forecast_quantiles(a)[i] - spr_forecast_quantiles(b)[i]) /
                              (10 * (double)(i / (H * LEVELS) + 1)));
    spr_forecast_unref(a), spr_forecast_unref(b);
    return most;
}

static int train_both(void **state) {
    struct wish w = {.effort = .02, .kind = SPR_MODEL_LSTM, .events = SPR_EVENTS_INSIDE};
    (void)state;
    shared = context(NULL);
    fill();
    assert_int_equal(make_sales(shared, SALES, 0, &sales), SPR_OK);
    assert_int_equal(make_sales(shared, 1, 400 * DAY, &holidays), SPR_OK); /* nothing near the windows asked for */
    assert_int_equal(train(shared, &w, &blind), SPR_OK);
    w.calendar = sales;
    return train(shared, &w, &inside);
}
static int forget_both(void **state) {
    (void)state;
    spr_model_unref(inside), spr_model_unref(blind);
    spr_calendar_unref(sales), spr_calendar_unref(holidays);
    spr_context_unref(shared);
    return 0;
}

/* ---- what it is worth ---- */

/* Medians in the next sale as multiples of what is usual. */
static double factor(spr_forecast *f) {
    double sum = 0;
    for (int r = 0; r < ROWS; r++)
        for (int h = NEXT - STEPS; h < NEXT - STEPS + LENGTH; h++)
            sum += spr_forecast_quantiles(f)[(r * H + h) * LEVELS + 1] / usual(r, STEPS + h);
    spr_forecast_unref(f);
    return sum / (ROWS * LENGTH);
}

static void an_lstm_that_looks_at_the_calendar_foresees_a_sale(void **state) {
    struct spr_model_info info = {.size = sizeof info};
    (void)state;
    double without = factor(asked(blind, sales, STEPS)), with = factor(asked(inside, sales, STEPS));
    print_message("# median in the sale, times what is usual: %.2f without the channel, %.2f with it (truth 3)\n",
                  without, with);
    assert_true(without < 1.3);
    assert_true(with > 2.4 && with < 3.6);
    assert_int_equal(spr_model_describe(inside, &info), 0);
    assert_int_equal(info.kind, SPR_MODEL_LSTM);
    assert_int_equal(info.events, SPR_EVENTS_INSIDE);
    assert_non_null(strstr(info.text, "events"));
    assert_int_equal(spr_model_describe(blind, &info), 0);
    assert_int_equal(info.events, SPR_EVENTS_AROUND);
}

static void without_a_calendar_it_answers_as_if_there_were_no_events(void **state) {
    (void)state;
    assert_true(apart(asked(inside, NULL, STEPS), asked(inside, holidays, STEPS)) == 0);
    assert_true(factor(asked(inside, NULL, STEPS)) < 1.3);
    assert_true(apart(asked(blind, NULL, STEPS), asked(blind, sales, STEPS)) == 0); /* it does not look */
}

static void a_model_that_looks_itself_has_no_events_put_around_it(void **state) {
    struct spr_model_opts model = {.size = sizeof model, .model = inside, .calendar = sales};
    struct spr_events_opts events = {
        .size = sizeof events, .calendar = sales, .inner = spr_forecaster_model(), .inner_config = &model};
    struct spr_forecaster_opts o = {sizeof o, STEP_NS, H, LEVELS, levels, &events};
    spr_forecaster *f = NULL;
    (void)state;
    assert_int_equal(spr_forecaster_create(shared, spr_forecaster_events(), &o, &f), SPR_E_ARG);
    model.model = blind;
    assert_int_equal(spr_forecaster_create(shared, spr_forecaster_events(), &o, &f), SPR_OK);
    spr_forecaster_destroy(f);
}

/* ---- what it is told ---- */

static const struct spr__event_channel none = {.reach_ns = 3 * STEP_NS, .form = SPR__EVENT_FORM};
static struct spr__event_track track_of(const struct spr__event_channel *c) {
    struct spr__event_track t;
    assert_int_equal(spr__event_track_make(shared, sales, 0, STEP_NS, c, 0, STEPS + H, &t), SPR_OK);
    return t;
}

static void ramps_rise_before_an_event_and_fall_after_it(void **state) {
    const int at = sale_steps[2];
    const float want[][3] = {{0, 0, 0}, {0, 1.f / 3, 0}, {0, 2.f / 3, 0}, {0, 1, 0},       {1, 0, 0},       {1, 0, 0},
                             {1, 0, 0}, {1, 0, 0},       {0, 0, 1},       {0, 0, 2.f / 3}, {0, 0, 1.f / 3}, {0, 0, 0}};
    struct spr__event_track t = track_of(&none);
    float got[SPR__EVENT_NUMBERS];
    (void)state;
    for (int i = 0; i < 12; i++) {
        spr__event_numbers(&t, at - 4 + i, 1, got);
        for (int k = 0; k < 3; k++)
            assert_true(fabsf(got[k] - want[i][k]) < 1e-6f);
    }
    spr__event_numbers(&t, at - 4, 12, got);
    assert_true(fabsf(got[0] - 4.f / 12) < 1e-6f && fabsf(got[1] - 2.f / 12) < 1e-6f);
    spr__event_numbers(NULL, at, 1, got);
    assert_true(got[0] == 0 && got[1] == 0 && got[2] == 0 && got[3] == 0);
    spr__event_track_drop(shared, &t);
}

static const struct spr__window_spec spec = {.horizon = H,
                                             .context = 10 * DAY,
                                             .norm = 10 * DAY,
                                             .day = DAY,
                                             .shifts = 3,
                                             .stride = 1,
                                             .flags = SPR__WINDOW_EVENTS};

static void a_window_teaches_its_own_factor(void **state) {
    struct spr__event_track t = track_of(&none);
    static double clean[10 * DAY];
    static float lift[10 * DAY + H], scratch[10 * DAY];
    (void)state;
    memcpy(clean, y[2] + STEPS - spec.context, sizeof clean);
    assert_true(spr__event_take_out(&t, &spec, STEPS, clean, lift, scratch) > .3f);
    print_message("# factor of the window's two sales, drawn towards 1: %.2f\n", exp((double)lift[spec.context + 2]));
    assert_true(lift[spec.context + 2] > logf(2) && lift[spec.context + 2] < logf(3.2f));
    for (int i = 0; i < spec.context; i++)
        assert_true(fabs(clean[i] * exp((double)lift[i]) / y[2][STEPS - spec.context + i] - 1) < 1e-6);
    memcpy(clean, y[2] + STEPS - spec.context, sizeof clean);
    clean[7] = -1; /* a series that falls below 0 has no factors */
    assert_true(spr__event_take_out(&t, &spec, STEPS, clean, lift, scratch) == 0);
    assert_memory_equal(clean + 8, y[2] + STEPS - spec.context + 8, sizeof clean - 64);
    for (int i = 0; i < spec.context + H; i++)
        assert_true(lift[i] == 0);
    assert_true(spr__event_take_out(NULL, &spec, STEPS, clean, lift, scratch) == 0);
    spr__event_track_drop(shared, &t);
}

/* ---- slopes ---- */

enum { UNITS = 5, READ = 2 * DAY };
static const struct spr__encoder cells = {UNITS, READ, 1};

/* Sum of the last states, each times its own number. */
static double last_states(const float *weights, const float *sequence, float *gradient) {
    struct spr__lstm l;
    struct spr__lstm_run run;
    float h[UNITS];
    double sum = 0;
    int64_t origin = STEPS;
    struct spr__encoder_rows rows = {&cells, &spec, NULL, &sequence, &origin, READ, NULL, false};
    assert_int_equal(spr__lstm_make(shared, SPR_SIMD_PLAIN, spr__encoder_inputs(&cells, &spec), UNITS, true, &l), 0);
    assert_int_equal(spr__lstm_run_make(shared, &l, 1, READ, true, &run), 0);
    spr__lstm_load(&l, weights);
    spr__encoder_read(&rows, &l, &run, h, UNITS);
    for (int u = 0; u < UNITS; u++)
        sum += (u + 1) * (double)h[u], run.dh[u] = (float)(u + 1);
    if (gradient)
        spr__lstm_backward(&l, &run, NULL, gradient);
    spr__lstm_run_drop(shared, &l, &run);
    spr__lstm_drop(shared, &l);
    return sum;
}

static void slopes_by_the_encoders_event_weights_are_finite_differences(void **state) {
    const int values = spr__encoder_values(&cells, &spec), own = values - SPR__EVENT_NUMBERS, wide = 4 * UNITS;
    const size_t count = spr__encoder_weights(&cells, &spec);
    struct spr__event_track t = track_of(&none);
    struct spr__window w = {.origin = 28 * DAY, .resource = -1, .events = &t};
    static float memory[2 * 10 * DAY], sequence[READ * 8];
    float *weights = malloc(count * sizeof *weights), *g = calloc(count, sizeof *g);
    double most = 0;
    (void)state;
    spr__window_open(&w, &spec, spr__net_kernels_for(SPR_SIMD_PLAIN), y[1] + 18 * DAY, 1, memory);
    spr__encoder_sequence(&cells, &w, sequence);
    assert_true(sequence[(READ - 9) * values + own] == 1); /* the sale of that day */
    spr__lstm_start(spr__encoder_inputs(&cells, &spec), UNITS, 3, 1, weights);
    last_states(weights, sequence, g);
    for (int i = (1 + own) * wide; i < (1 + values - 1) * wide; i++) { /* nothing is declared: its weights are idle */
        const float kept = weights[i], step = .02f;
        weights[i] = kept + step;
        double up = last_states(weights, sequence, NULL);
        weights[i] = kept - step;
        double down = last_states(weights, sequence, NULL);
        weights[i] = kept, most = fmax(most, fabs((double)g[i]));
        if (!(fabs((up - down) / (2 * (double)step) - (double)g[i]) < 2e-3))
            fail_msg("weight %d: %g by differences, %g told", i, (up - down) / (2 * (double)step), (double)g[i]);
    }
    assert_true(most > .02);
    free(weights), free(g);
    spr__event_track_drop(shared, &t);
}

/* The head's own slopes by the weights of the events' features: a step uphill changes the loss by the square. */
static void slopes_by_the_heads_event_weights_are_finite_differences(void **state) {
    const struct spr__net_kernels *k = spr__net_kernels_for(SPR_SIMD_PLAIN);
    const int d = spr__window_features(&spec), s = spr__window_summaries(&spec), first = d - SPR__EVENT_FEATURES;
    const struct spr__qnet_shape shape = {s, d, 16, LEVELS, 1};
    struct spr__qnet_parts parts;
    struct spr__event_track t = track_of(&none);
    static float lift[10 * DAY + H], memory[2 * 10 * DAY], features[ROWS * H * 80], summaries[ROWS * 200];
    static double clean[10 * DAY];
    float base[ROWS * H], target[ROWS * H], weight[ROWS], level[LEVELS] = {.1f, .5f, .9f}, even[LEVELS] = {1, 1, 1};
    int32_t h[H] = {0, 1, 2, 3, 4, 5};
    assert_true(d <= 80 && s <= 200);
    spr__qnet_layout(&shape, &parts);
    (void)state;
    for (int r = 0; r < ROWS; r++) {
        struct spr__window w = {.origin = STEPS, .resource = -1, .events = &t, .lift = lift};
        memcpy(clean, y[r] + STEPS - spec.context, sizeof clean);
        w.learnt = spr__event_take_out(&t, &spec, STEPS, clean, lift, memory);
        spr__window_open(&w, &spec, k, clean, 1, memory);
        spr__window_summary(&w, summaries + r * s);
        spr__window_steps(&w, h, H, features + r * H * d, base + r * H);
        for (int i = 0; i < H; i++)
            target[r * H + i] = (float)(4 * spr__rand(1, 2, (uint64_t)(r * H + i)) - 2);
        weight[r] = 1;
    }
    assert_true(features[2 * d + first] == 1 && features[first] == 0 && features[first + 1] > 0); /* here, coming */
    float *wt = malloc(sizeof(float) * (size_t)parts.count), *g = malloc(sizeof(float) * (size_t)parts.count);
    float *moved = malloc(sizeof(float) * (size_t)parts.count), *other = malloc(sizeof(float) * (size_t)parts.count);
    float *room = malloc(sizeof(float) * spr__qnet_training_room(&shape, ROWS, H));
    struct spr__qnet_lesson lesson = {.kernels = k,
                                      .cases = ROWS,
                                      .steps = H,
                                      .summaries = summaries,
                                      .features = features,
                                      .base = base,
                                      .target = target,
                                      .weight = weight,
                                      .level_weight = even,
                                      .levels = level,
                                      .scale = 1};
    spr__qnet_init(&shape, 3, wt);
    spr__qnet_learn(&shape, wt, &lesson, room, g);
    double square = 0, loss[2];
    for (int way = 0; way < 2; way++) {
        memcpy(moved, wt, sizeof(float) * (size_t)parts.count);
        for (int part = 0; part < 2; part++) {
            const int64_t at = part ? parts.w6 : parts.w3, wide = part ? LEVELS : 16;
            for (int64_t i = at + first * wide; i < at + d * wide; i++) {
                moved[i] += (way ? 1e-4f : -1e-4f) * g[i];
                square += way ? (double)g[i] * (double)g[i] : 0;
            }
        }
        loss[way] = spr__qnet_learn(&shape, moved, &lesson, room, other);
    }
    assert_true(square > .1);
    assert_float_equal((loss[1] - loss[0]) / 2e-4, square, .03 * square);
    free(wt), free(g), free(moved), free(other), free(room);
    spr__event_track_drop(shared, &t);
}

/* ---- bits ---- */

static void backwards(void *user, size_t n, void (*fn)(void *arg, size_t i), void *arg) {
    (void)user;
    while (n--)
        fn(arg, n);
}

static void bits_do_not_depend_on_the_order_of_work(void **state) {
    struct spr_executor e = {sizeof e, backwards, 2, 0, NULL};
    const struct wish w = {.calendar = sales, .effort = .003, .kind = SPR_MODEL_LSTM, .events = SPR_EVENTS_INSIDE};
    spr_context *ctx[2] = {context(NULL), context(&e)};
    spr_model *m[2] = {NULL, NULL};
    spr_forecast *f[2] = {NULL, NULL};
    size_t n[2];
    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(train(ctx[i], &w, &m[i]), SPR_OK);
        assert_int_equal(ask(ctx[i], inside, sales, STEPS, &f[i]), SPR_OK);
        spr_model_bytes(m[i], &n[i]);
    }
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(spr_model_bytes(m[0], NULL), spr_model_bytes(m[1], NULL), n[0]);
    assert_true(apart(f[0], f[1]) == 0);
    for (int i = 0; i < 2; i++) {
        spr_model_unref(m[i]);
        spr_context_unref(ctx[i]);
    }
}

static void nothing_looks_ahead_but_the_calendar(void **state) {
    static int64_t until[ROWS];
    const struct wish w = {
        .calendar = sales, .until = until, .effort = .001, .kind = SPR_MODEL_LSTM, .events = SPR_EVENTS_INSIDE};
    spr_calendar *late = NULL;
    spr_model *m[2] = {NULL, NULL};
    size_t n[2];
    (void)state;
    assert_int_equal(make_sales(shared, SALES, STEPS + H + 4, &late), SPR_OK); /* past the horizon and the ramp */
    assert_true(apart(asked(inside, sales, STEPS), asked(inside, late, STEPS)) == 0);
    spr_calendar_unref(late);
    assert_int_equal(make_sales(shared, SALES - 1, 0, &late), SPR_OK); /* the one that comes is not told */
    assert_true(apart(asked(inside, sales, STEPS), asked(inside, late, STEPS)) > .5);
    spr_calendar_unref(late);
    for (int r = 0; r < ROWS; r++)
        until[r] = 25 * DAY - r;
    spr_forecast *before = asked(inside, sales, 24 * DAY);
    assert_int_equal(train(shared, &w, &m[0]), SPR_OK);
    for (int r = 0; r < ROWS; r++)
        for (int64_t t = 24 * DAY; t < STEPS; t++)
            y[r][t] = t < until[r] ? y[r][t] : 1e6;
    assert_int_equal(train(shared, &w, &m[1]), SPR_OK);
    assert_true(apart(before, asked(inside, sales, 24 * DAY)) == 0);
    fill();
    const void *a = spr_model_bytes(m[0], &n[0]), *b = spr_model_bytes(m[1], &n[1]);
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(a, b, n[0]);
    spr_model_unref(m[0]), spr_model_unref(m[1]);
}

/* Through the last day of the history, in which a sale begins and ends. */
static void a_carried_state_takes_events_along(void **state) {
    spr_forecaster *anew = NULL, *carry = NULL;
    const int first = 27 * DAY + 12;
    double worst = 0;
    (void)state;
    assert_int_equal(make(shared, inside, sales, 0, first, &anew), SPR_OK);
    assert_int_equal(make(shared, inside, sales, 1, first, &carry), SPR_OK);
    for (int t = first; t < first + 12; t++) {
        struct spr_panel p = panel_of(t, t + 1);
        spr_forecast *a = NULL, *b = NULL;
        assert_int_equal(spr_forecaster_predict(anew, NULL, &a), SPR_OK);
        assert_int_equal(spr_forecaster_predict(carry, NULL, &b), SPR_OK);
        double d = apart(a, b);
        assert_true(t == first ? d == 0 : d < .05);
        worst = fmax(worst, d);
        assert_int_equal(spr_forecaster_update(anew, &p), SPR_OK);
        assert_int_equal(spr_forecaster_update(carry, &p), SPR_OK);
    }
    print_message("# at most %.4f of the level apart\n", worst);
    assert_true(worst > 0);
    spr_forecaster_destroy(anew), spr_forecaster_destroy(carry);
}

/* ---- files ---- */

static void a_model_file_brings_the_channel_back(void **state) {
    size_t n;
    const void *bytes = spr_model_bytes(inside, &n);
    spr_model *again = NULL;
    (void)state;
    assert_int_equal(spr_model_open(shared, NULL, bytes, n, 1, &again), SPR_OK);
    assert_true(apart(asked(inside, sales, STEPS), asked(again, sales, STEPS)) == 0);
    spr_model_unref(again), again = NULL;
    for (size_t cut = 0; cut < n; cut += 1 + n / 97) {
        int rc = spr_model_open(shared, NULL, bytes, cut, 1, &again);
        assert_true(rc == (cut ? SPR_E_CORRUPT : SPR_E_FORMAT));
    }
    assert_null(again);
}

static void what_a_file_says_of_events_is_checked(void **state) {
    size_t n;
    const struct spr__event_channel *good = spr__model_section(inside, "EVNT", 0, &n);
    struct spr__event_channel c;
    (void)state;
    assert_int_equal(n, sizeof c);
    assert_int_equal(good->priors, 1);
    assert_true(good->prior[0].effect > logf(2.3f) && good->prior[0].effect < logf(3.6f));
    assert_int_equal(spr__event_channel_check(shared, "x", 0, good, n), SPR_OK);
    assert_int_equal(spr__event_channel_check(shared, "x", 0, good, n - 1), SPR_E_CORRUPT);
    assert_int_equal(spr__event_channel_check(shared, "x", 1, good, n), SPR_E_CORRUPT);
    c = *good, c.form++;
    assert_int_equal(spr__event_channel_check(shared, "x", 0, &c, n), SPR_E_TOO_NEW);
    c = *good, c.reach_ns = 0;
    assert_int_equal(spr__event_channel_check(shared, "x", 0, &c, n), SPR_E_CORRUPT);
    c = *good, c.priors = 0; /* what it learnt lies behind the end */
    assert_int_equal(spr__event_channel_check(shared, "x", 0, &c, n), SPR_E_CORRUPT);
    c = *good, c.priors = SPR__EVENT_PRIORS + 1;
    assert_int_equal(spr__event_channel_check(shared, "x", 0, &c, n), SPR_E_CORRUPT);
    c = *good, c.prior[0].effect = NAN;
    assert_int_equal(spr__event_channel_check(shared, "x", 0, &c, n), SPR_E_CORRUPT);
    c = *good, c.prior[0].lag_s = -1;
    assert_int_equal(spr__event_channel_check(shared, "x", 0, &c, n), SPR_E_CORRUPT);
}

/* Nets that look at events in a file that does not say what events are. */
static void a_channel_without_its_section_is_refused(void **state) {
    struct spr_model_info info = {.size = sizeof info};
    struct spr__section s[2] = {{{'G', 'L', 'O', 'B'}, 0, NULL, 0}, {{'L', 'S', 'T', 'M'}, 0, NULL, 0}};
    spr_model *m = NULL;
    spr_forecaster *f = NULL;
    (void)state;
    assert_int_equal(spr_model_describe(inside, &info), 0);
    s[0].data = spr__model_section(inside, "GLOB", 0, &s[0].size);
    s[1].data = spr__model_section(inside, "LSTM", 0, &s[1].size);
    assert_int_equal(spr__model_make(shared, &info, s, 2, &m), SPR_OK);
    assert_int_equal(make(shared, m, sales, 0, STEPS, &f), SPR_E_CORRUPT);
    spr_model_unref(m);
}

/* Stored before there was a channel. */
static void a_file_from_before_still_opens(void **state) {
    static _Alignas(64) unsigned char image[1 << 20];
    struct spr_model_info info = {.size = sizeof info};
    const char *root = getenv("SPR_SOURCE_ROOT");
    char path[1024];
    spr_model *m = NULL;
    (void)state;
    snprintf(path, sizeof path, "%s/tests/fuzz/corpus/model/trained.model", root ? root : "");
    FILE *in = root ? fopen(path, "rb") : NULL;
    if (!in) {
        print_message("the project's sources are not here: set SPR_SOURCE_ROOT\n");
        skip();
    }
    size_t n = fread(image, 1, sizeof image, in);
    fclose(in);
    assert_int_equal(spr_model_open(shared, NULL, image, n, 0, &m), SPR_OK);
    assert_int_equal(spr_model_describe(m, &info), 0);
    assert_int_equal(info.events, SPR_EVENTS_AROUND);
    spr_model_unref(m);
}

/* ---- odd ways ---- */

static void events_go_around_unless_somebody_wants_them_inside(void **state) {
    struct wish w = {.calendar = sales, .effort = 1e-3};
    const struct {
        int32_t kind, events, want;
    } all[] = {{SPR_MODEL_LSTM, SPR_EVENTS_AUTO, SPR_EVENTS_AROUND},
               {SPR_MODEL_LSTM, SPR_EVENTS_AROUND, SPR_EVENTS_AROUND},
               {SPR_MODEL_NET, SPR_EVENTS_INSIDE, SPR_EVENTS_INSIDE},
               {SPR_MODEL_HYBRID, SPR_EVENTS_INSIDE, SPR_EVENTS_AROUND}};
    (void)state;
    for (size_t i = 0; i < SPR_ARRAY_LEN(all); i++) {
        struct spr_model_info info = {.size = sizeof info};
        spr_model *m = NULL;
        w.kind = all[i].kind, w.events = all[i].events;
        assert_int_equal(train(shared, &w, &m), SPR_OK);
        assert_int_equal(spr_model_describe(m, &info), 0);
        assert_int_equal(info.events, all[i].want);
        spr_model_unref(m);
    }
    spr_model *m = NULL;
    w.events = 3;
    assert_int_equal(train(shared, &w, &m), SPR_E_ARG);
    w.events = -1;
    assert_int_equal(train(shared, &w, &m), SPR_E_ARG);
    assert_null(m);
}

static void training_goes_on_with_the_channel(void **state) {
    const struct wish w = {.calendar = sales, .start = inside, .effort = 1e-3};
    struct spr_model_info info = {.size = sizeof info};
    spr_model *m = NULL;
    (void)state;
    assert_int_equal(train(shared, &w, &m), SPR_OK);
    assert_int_equal(spr_model_describe(m, &info), 0);
    assert_int_equal(info.events, SPR_EVENTS_INSIDE);
    assert_true(apart(asked(inside, sales, STEPS), asked(m, sales, STEPS)) < .1);
    spr_model_unref(m);
}

static int train_and_ask(spr_context *ctx, void *arg) {
    struct wish w = {.effort = 1e-4, .kind = SPR_MODEL_LSTM, .events = SPR_EVENTS_INSIDE};
    spr_calendar *c = NULL;
    spr_model *m = NULL;
    spr_forecast *f = NULL;
    (void)arg;
    int rc = make_sales(ctx, SALES, 0, &c);
    w.calendar = c;
    if (rc == SPR_OK && (rc = train(ctx, &w, &m)) == SPR_OK)
        rc = ask(ctx, m, c, STEPS, &f);
    spr_forecast_unref(f);
    spr_model_unref(m);
    spr_calendar_unref(c);
    return rc;
}
static void every_allocation_may_fail(void **state) {
    (void)state;
    assert_true(failing_sweep(train_and_ask, NULL) > 60);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_lstm_that_looks_at_the_calendar_foresees_a_sale),
        cmocka_unit_test(without_a_calendar_it_answers_as_if_there_were_no_events),
        cmocka_unit_test(a_model_that_looks_itself_has_no_events_put_around_it),
        cmocka_unit_test(ramps_rise_before_an_event_and_fall_after_it),
        cmocka_unit_test(a_window_teaches_its_own_factor),
        cmocka_unit_test(slopes_by_the_encoders_event_weights_are_finite_differences),
        cmocka_unit_test(slopes_by_the_heads_event_weights_are_finite_differences),
        cmocka_unit_test(bits_do_not_depend_on_the_order_of_work),
        cmocka_unit_test(nothing_looks_ahead_but_the_calendar),
        cmocka_unit_test(a_carried_state_takes_events_along),
        cmocka_unit_test(a_model_file_brings_the_channel_back),
        cmocka_unit_test(what_a_file_says_of_events_is_checked),
        cmocka_unit_test(a_channel_without_its_section_is_refused),
        cmocka_unit_test(a_file_from_before_still_opens),
        cmocka_unit_test(events_go_around_unless_somebody_wants_them_inside),
        cmocka_unit_test(training_goes_on_with_the_channel),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("events inside nets", tests, train_both, forget_both);
}
