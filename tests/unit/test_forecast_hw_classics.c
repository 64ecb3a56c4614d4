/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Holt-Winters against stats::HoltWinters of R 4.2.2 on its classic series: the same squared errors and forecasts at
 * R's parameters, and a search that finds nothing worse. One series is made here; the classics need the data folder:
 * SPR_DATA, or ../shared/data beside the tree.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "forecast/hw.h"

static spr_context *ctx;
static int make_context(void **state) {
    (void)state;
    return spr_context_create(NULL, &ctx);
}
static int drop_context(void **state) {
    (void)state;
    spr_context_unref(ctx);
    return 0;
}

struct reference {
    char series[32], method[32];
    double alpha, beta, gamma, sse, forecast[24];
    int horizon;
};
struct classic {
    char name[32];
    double period, y[800];
    int n;
};

static FILE *open_data(const char *name) {
    const char *data = getenv("SPR_DATA"), *root = getenv("SPR_SOURCE_ROOT");
    char path[4096];
    if (data)
        snprintf(path, sizeof path, "%s/r_classics/%s", data, name);
    else
        snprintf(path, sizeof path, "%s/../shared/data/r_classics/%s", root ? root : ".", name);
    return fopen(path, "r");
}

static int read_references(struct reference *refs, int room) {
    char line[256], series[32], method[32], quantity[32];
    int n = 0, index;
    double value;
    FILE *f = open_data("reference_fits.csv");
    if (!f)
        return 0;
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%31[^,],%31[^,],%31[^,],%d,%lf", series, method, quantity, &index, &value) != 5)
            continue;
        if (!n || strcmp(refs[n - 1].series, series) || strcmp(refs[n - 1].method, method)) {
            assert_true(n < room);
            memset(&refs[n], 0, sizeof refs[n]);
            strcpy(refs[n].series, series);
            strcpy(refs[n++].method, method);
        }
        struct reference *r = &refs[n - 1];
        double *to = !strcmp(quantity, "alpha")   ? &r->alpha
                     : !strcmp(quantity, "beta")  ? &r->beta
                     : !strcmp(quantity, "gamma") ? &r->gamma
                     : !strcmp(quantity, "SSE")   ? &r->sse
                                                  : NULL;
        if (!strcmp(quantity, "forecast"))
            to = &r->forecast[index - 1], r->horizon = index;
        if (to)
            *to = value;
    }
    fclose(f);
    return n;
}

static int read_classics(struct classic *c, int room) {
    char line[256], name[32];
    int n = 0, t;
    double period, value;
    FILE *f = open_data("series.csv");
    if (!f)
        return 0;
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%31[^,],%lf,%d,%lf", name, &period, &t, &value) != 4 || !strcmp(name, "taylor"))
            continue;
        if (!n || strcmp(c[n - 1].name, name)) {
            assert_true(n < room);
            strcpy(c[n].name, name);
            c[n].period = period, c[n++].n = 0;
        }
        assert_true(c[n - 1].n < (int)SPR_ARRAY_LEN(c->y));
        c[n - 1].y[c[n - 1].n++] = value;
    }
    fclose(f);
    return n;
}

static double zero_is_none(double v) { return v == 0 ? SPR_NONE : v; }

/* Fit one series, at R's parameters or at the search's own; returns the squared errors and the forecast. */
static double fitted(const struct classic *c, const struct reference *r, bool theirs, double *forecast) {
    static const double levels[] = {0.5};
    bool times = !strcmp(r->method, "HoltWinters_multiplicative"), ses = !strcmp(r->method, "SES");
    bool seasonal = times || !strcmp(r->method, "HoltWinters_additive");
    struct spr_holt_winters_opts o = {.size = sizeof o,
                                      .period = seasonal ? c->period : SPR_NONE,
                                      .trend = ses ? SPR_HW_TREND_NONE : SPR_HW_TREND_ADDITIVE,
                                      .season = times ? SPR_HW_SEASON_MULTIPLICATIVE : SPR_HW_SEASON_ADDITIVE};
    if (theirs)
        o.alpha = zero_is_none(r->alpha), o.beta = zero_is_none(r->beta), o.gamma = zero_is_none(r->gamma);
    struct spr_env base = {sizeof base, ctx, NULL, 0};
    struct spr_forecaster_env env = {sizeof env, &base, 1, 24, 1, levels, &o};
    struct spr_panel p = {.size = sizeof p, .data = c->y, .series = 1, .steps = c->n, .step_stride = sizeof(double)};
    const struct spr_forecaster_ops *ops = spr_forecaster_holt_winters();
    double quantiles[24];
    struct spr_forecaster_output out = {sizeof out, 1, forecast, quantiles};
    void *state = NULL;
    assert_int_equal(ops->open(&env, &state), SPR_OK);
    assert_int_equal(ops->fit(state, &p, 0, 0), SPR_OK);
    assert_int_equal(ops->predict(state, NULL, &out), SPR_OK);
    const struct hw *hw = state;
    double sse = hw->sse[0];
    if (getenv("SPR_SHOW"))
        printf("# %s %s: alpha %.6f beta %.6f gamma %.6f SSE %.10g (R: %.6f %.6f %.6f %.10g)\n", r->series, r->method,
               spr__hw_row(hw, 0, HW_ALPHA)[0], spr__hw_row(hw, 0, HW_BETA)[0], spr__hw_row(hw, 0, HW_GAMMA)[0], sse,
               r->alpha, r->beta, r->gamma, r->sse);
    ops->close(state);
    return sse;
}

static void the_errors_and_forecasts_are_those_of_r_and_the_search_finds_nothing_worse(void **state) {
    (void)state;
    static struct reference refs[32];
    static struct classic classics[16];
    int references = read_references(refs, 32), series = read_classics(classics, 16), compared = 0;
    if (!references || !series) {
        print_message("the classic series of R are not here: set SPR_DATA\n");
        skip();
    }
    for (int i = 0; i < references; i++)
        for (int k = 0; k < series; k++) {
            const struct reference *r = &refs[i];
            double forecast[24];
            if (strcmp(r->series, classics[k].name))
                continue;
            double sse = fitted(&classics[k], r, true, forecast);
            assert_true(fabs(sse / r->sse - 1) < 1e-6);
            for (int h = 0; h < r->horizon; h++) /* R printed ten digits of parameters and forecasts */
                assert_true(fabs(forecast[h] - r->forecast[h]) < 1e-6 * fabs(r->forecast[h]));
            assert_true(fitted(&classics[k], r, false, forecast) <= r->sse * 1.00001);
            compared++;
        }
    assert_int_equal(compared, 20); /* 6 additive, 6 multiplicative, 4 without season, 4 SES */
}

/* Needs no data: a trend times two harmonics times noise from a generator that R can repeat, rounded to cents. The
 * references are what HoltWinters(ts(y, frequency = 12), seasonal = ...) of R 4.2.2 finds for it. */
static void a_series_made_here_gives_what_r_gave_for_it(void **state) {
    (void)state;
    static const struct reference refs[] = {
        {"made here",
         "HoltWinters_additive",
         0.05089462995,
         0,
         1,
         14653.20517,
         {434.6858619, 481.925349, 457.3460145, 481.0943325, 490.9663722, 473.6665383, 438.8653021, 373.0653788,
          278.9977967, 255.1409314, 299.5314223, 369.8245629},
         12},
        {"made here",
         "HoltWinters_multiplicative",
         0.1258825066,
         0,
         0.2161180515,
         8259.333613,
         {432.6558235, 474.679535, 484.1080237, 482.9823461, 486.4524032, 482.0942226, 440.9971241, 370.0251837,
          279.9396514, 243.4921866, 284.1994757, 372.3402026},
         12},
    };
    static struct classic c = {.name = "made here", .period = 12, .n = 144};
    double sum = 0, turn = 2 * 3.14159265358979323846;
    for (int t = 0, x = 12345; t < c.n; t++) {
        x = (x * 1103 + 12289) % 65536;
        double swing = 1 + 0.3 * sin(turn * t / 12) + 0.1 * cos(turn * t / 6);
        c.y[t] = rint(100 * (100 + 2.0 * t) * swing * (0.96 + 0.08 * x / 65536)) / 100;
        sum += c.y[t];
    }
    assert_float_equal(sum, 34872.45, 1e-6);
    for (size_t i = 0; i < SPR_ARRAY_LEN(refs); i++) {
        double forecast[24];
        assert_true(fabs(fitted(&c, &refs[i], true, forecast) / refs[i].sse - 1) < 1e-6);
        for (int h = 0; h < refs[i].horizon; h++)
            assert_true(fabs(forecast[h] - refs[i].forecast[h]) < 1e-6 * refs[i].forecast[h]);
        assert_true(fitted(&c, &refs[i], false, forecast) <= refs[i].sse * 1.0001);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_series_made_here_gives_what_r_gave_for_it),
        cmocka_unit_test(the_errors_and_forecasts_are_those_of_r_and_the_search_finds_nothing_worse),
    };
    return cmocka_run_group_tests(tests, make_context, drop_context);
}
