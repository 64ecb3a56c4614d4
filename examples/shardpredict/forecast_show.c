/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Forecasts as CSV, JSON and pictures. CSV and JSON appear whole or not at all. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "forecast.h"

enum { DIGITS = 9, SHOWN = 20, PAST = 32, AHEAD = 20 };

static int commit(const struct forecast_job *job, spr_output *o) {
    return spr_output_commit(o) < 0 ? tool_error(job->ctx, "standard output") : EXIT_DONE;
}

/* ---- CSV ---- */

static void csv_text(spr_output *o, const char *text) {
    if (!strpbrk(text, ",\"\r\n")) {
        spr_output_text(o, text);
        return;
    }
    spr_output_text(o, "\"");
    for (const char *p = text; *p; p++)
        spr_output_text(o, *p == '"' ? "\"\"" : (char[]){*p, 0});
    spr_output_text(o, "\"");
}

static void csv_row(spr_output *o, const struct forecast_job *job, const struct answer *a, int32_t h) {
    char text[64];
    if (a->name) {
        csv_text(o, a->name);
        spr_output_text(o, ",");
    }
    csv_text(o, a->series);
    spr_output_text(o, ",");
    csv_text(o, a->metric);
    snprintf(text, sizeof text, ",%lld,%d,", (long long)a->origin, (int)h + 1);
    spr_output_text(o, text);
    spr_output_number(o, a->points[h], DIGITS);
    for (int32_t k = 0; k < job->level_count; k++) {
        spr_output_text(o, ",");
        spr_output_number(o, a->quantiles[h * job->level_count + k], DIGITS);
    }
    spr_output_text(o, "\n");
}

int show_csv(const struct forecast_job *job, const struct answers *all) {
    spr_output *o = NULL;
    if (spr_output_create(job->ctx, "-", &o) < 0)
        return tool_error(job->ctx, "standard output");
    spr_output_text(o, all->count && all->items[0].name ? "case,series,metric,origin,h,point"
                                                        : "series,metric,origin,h,point");
    for (int32_t k = 0; k < job->level_count; k++) {
        spr_output_text(o, ",q");
        spr_output_number(o, job->levels[k], DIGITS);
    }
    spr_output_text(o, "\n");
    for (size_t i = 0; i < all->count; i++)
        for (int32_t h = 0; h < job->horizon; h++)
            csv_row(o, job, &all->items[i], h);
    return commit(job, o);
}

/* ---- when ---- */

enum { WINDOWS_MAX = 64 };

/* Windows in which the answer passes --above; returns how many (0 when it is not asked). */
static size_t windows_of(const struct forecast_job *job, const struct answer *a, struct spr_exceedance *out) {
    spr_forecast *f = NULL;
    size_t n = WINDOWS_MAX;
    if (isnan(job->above) || spr_forecast_create(job->ctx, 1, job->horizon, job->level_count, job->levels, a->origin,
                                                 a->points, a->quantiles, &f) < 0)
        return 0;
    if (spr_forecast_windows(f, 0, job->above, job->probability, out, sizeof *out, &n) < 0)
        n = 0;
    spr_forecast_unref(f);
    return n < WINDOWS_MAX ? n : WINDOWS_MAX;
}

/* ---- JSON ---- */

static void json_text(spr_output *o, const char *text) {
    char code[8];
    spr_output_text(o, "\"");
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p == '"' || *p == '\\')
            snprintf(code, sizeof code, "\\%c", *p);
        else
            snprintf(code, sizeof code, *p < 0x20 ? "\\u%04x" : "%c", *p);
        spr_output_text(o, code);
    }
    spr_output_text(o, "\"");
}

static void json_key(spr_output *o, const char *key, const char *text) {
    spr_output_text(o, key);
    json_text(o, text);
}

static void json_numbers(spr_output *o, const double *v, size_t count, size_t stride) {
    spr_output_text(o, "[");
    for (size_t i = 0; i < count; i++) {
        spr_output_text(o, i ? "," : "");
        spr_output_number(o, v[i * stride], DIGITS);
    }
    spr_output_text(o, "]");
}

static void json_windows(spr_output *o, const struct forecast_job *job, const struct answer *a) {
    struct spr_exceedance w[WINDOWS_MAX];
    char text[96];
    if (isnan(job->above))
        return;
    spr_output_text(o, ", \"windows\": [");
    for (size_t i = 0, n = windows_of(job, a, w); i < n; i++) {
        snprintf(text, sizeof text, "%s{\"from\": %d, \"to\": %d, \"probability\": ", i ? ", " : "",
                 (int)w[i].onset + 1, (int)w[i].end);
        spr_output_text(o, text);
        spr_output_number(o, w[i].probability, DIGITS);
        spr_output_text(o, ", \"peak\": ");
        spr_output_number(o, w[i].peak, DIGITS);
        spr_output_text(o, "}");
    }
    spr_output_text(o, "]");
}

int show_json(const struct forecast_job *job, const struct answers *all) {
    spr_output *o = NULL;
    char text[64];
    size_t horizon = (size_t)job->horizon, levels = (size_t)job->level_count;
    if (spr_output_create(job->ctx, "-", &o) < 0)
        return tool_error(job->ctx, "standard output");
    spr_output_text(o, "{\"schema\": 1, \"levels\": ");
    json_numbers(o, job->levels, levels, 1);
    spr_output_text(o, ", \"forecasts\": [");
    for (size_t i = 0; i < all->count; i++) {
        const struct answer *a = &all->items[i];
        spr_output_text(o, i ? ",\n {" : "\n {");
        if (a->name) {
            json_key(o, "\"case\": ", a->name);
            spr_output_text(o, ", ");
        }
        json_key(o, "\"series\": ", a->series);
        json_key(o, ", \"metric\": ", a->metric);
        json_key(o, ", \"method\": ", a->method);
        snprintf(text, sizeof text, ", \"origin\": %lld, \"point\": ", (long long)a->origin);
        spr_output_text(o, text);
        json_numbers(o, a->points, horizon, 1);
        spr_output_text(o, ", \"quantiles\": ["); /* one list a level */
        for (size_t k = 0; k < levels; k++) {
            spr_output_text(o, k ? ", " : "");
            json_numbers(o, a->quantiles + k, horizon, levels);
        }
        spr_output_text(o, "]");
        json_windows(o, job, a);
        if (!isnan(job->above) && json_when(o, job, a) < 0) {
            spr_output_discard(o);
            return tool_error(job->ctx, "standard output");
        }
        spr_output_text(o, "}");
    }
    spr_output_text(o, "\n]}\n");
    return commit(job, o);
}

/* ---- pictures ---- */

static double at(const struct spr_panel *p, int64_t row, int64_t step) {
    double v = NAN;
    if (step >= 0 && step < p->steps)
        memcpy(&v, (const char *)p->data + row * p->series_stride + step * p->step_stride, sizeof v);
    return v;
}

/* Column i of `columns` is the largest of its values. */
static void shrink(const double *v, size_t count, size_t stride, double *out, size_t columns) {
    for (size_t i = 0; i < columns; i++) {
        size_t h = i * count / columns, end = (i + 1) * count / columns;
        for (out[i] = v[h * stride]; h < end; h++)
            out[i] = fmax(out[i], v[h * stride]);
    }
}

/* Past, point and highest quantile stand in one line, so that they share a scale; blanks part them. */
static void picture(const struct forecast_job *job, const struct answer *a, int name_width, bool ascii) {
    double columns[PAST + 2 * AHEAD + 2];
    char text[4 * (PAST + 2 * AHEAD + 2) + 1];
    size_t horizon = (size_t)job->horizon, levels = (size_t)job->level_count, peak = 0;
    size_t ahead = horizon < AHEAD ? horizon : AHEAD;
    const double *high = a->quantiles + levels - 1;
    for (int64_t i = 0; i < PAST; i++)
        columns[i] = at(&job->mean, a->row, a->origin - PAST + i);
    columns[PAST] = columns[PAST + 1 + ahead] = NAN;
    shrink(a->points, horizon, 1, columns + PAST + 1, ahead);
    shrink(high, horizon, levels, columns + PAST + 2 + ahead, ahead);
    for (size_t h = 1; h < horizon; h++)
        if (high[h * levels] > high[peak * levels])
            peak = h;
    int64_t count = PAST + 2 + 2 * (int64_t)ahead;
    tool_sparkline(columns, count, (int)count, ascii, text, sizeof text);
    bool colour = tool_colour(stdout);
    printf("%-*.*s %-10s %s%s%s  next %.4g, q%g at most %.4g at h=%zu (%s)", name_width, name_width, a->series,
           a->metric, colour ? "\033[36m" : "", text, colour ? "\033[0m" : "", a->points[0], job->levels[levels - 1],
           high[peak * levels], peak + 1, a->method);
    struct spr_exceedance w[WINDOWS_MAX];
    if (windows_of(job, a, w))
        printf("; above %.4g from h=%d to %d (%.0f %%)", job->above, (int)w[0].onset + 1, (int)w[0].end,
               100 * w[0].probability);
    putchar('\n');
}

int show_picture(const struct forecast_job *job, const struct answers *all) {
    int name_width = 8;
    for (size_t i = 0; i < all->count && i < SHOWN; i++) {
        int n = (int)strlen(all->items[i].series);
        name_width = n > name_width ? n : name_width;
    }
    name_width = name_width > 32 ? 32 : name_width;
    bool ascii = !tool_utf8();
    printf("The last %d steps, the next %d at their point, the same at their highest quantile.\n\n", PAST,
           (int)job->horizon);
    for (size_t i = 0; i < all->count && i < SHOWN; i++)
        picture(job, &all->items[i], name_width, ascii);
    if (all->count > SHOWN)
        printf("\n%zu more; send the output to a file or a pipe for all of them as CSV.\n", all->count - SHOWN);
    return fflush(stdout) ? EXIT_FAILED : EXIT_DONE;
}
