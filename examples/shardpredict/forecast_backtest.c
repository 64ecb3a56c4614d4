/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Rolling origins: a method beside the two forecasts that cost nothing, scored on what came. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "forecast_score.h"

#define DAY_S 86400
enum { RIVALS = 2, METHODS_SHOWN = RIVALS + 1 };
static const char *const rivals[RIVALS] = {"seasonal-naive", "last-value"};

struct row {
    const char *method;
    struct score score;
    double ms; /* of CPU a case */
};

/* A day where the histories hold two of them, else one step: scales and gaps are measured against it. */
static int64_t season_of(const struct forecast_job *job, const struct answers *cases) {
    int64_t step_s = spr_series_step_ns(job->series) / 1000000000, day = step_s > 0 ? DAY_S / step_s : 1;
    int64_t least = INT64_MAX;
    if (job->period >= 1)
        return llround(job->period);
    for (size_t i = 0; i < cases->count; i++) {
        int64_t seen = cases->items[i].origin;
        seen = job->history && job->history < seen ? job->history : seen;
        least = seen < least ? seen : least;
    }
    return day > 1 && least >= 2 * day ? day : 1;
}

static int ask(struct forecast_job *job, const struct truth *truth, struct answers *cases, const char *method,
               struct row *out) {
    double began = tool_cpu_s();
    job->method = method;
    out->method = method;
    answers_blank(cases);
    int rc = forecast_all(job, cases);
    out->ms = 1000 * (tool_cpu_s() - began) / (double)cases->count;
    if (!rc && !score_answers(truth, job, cases, &out->score)) {
        fprintf(stderr, "shardpredict: out of memory\n");
        rc = EXIT_FAILED;
    }
    return rc;
}

/* Whoever is scored on steps that he learnt from looks better than he is. */
static void warn_of_seen_steps(const struct forecast_job *job, const struct answers *cases) {
    int64_t first = series_first_step(job->series), newest = job->model_info.newest_step - first;
    size_t seen = 0;
    if (!job->model || job->model_info.newest_step <= 0)
        return;
    for (size_t i = 0; i < cases->count; i++)
        seen += cases->items[i].origin < newest;
    if (seen)
        fprintf(stderr,
                "shardpredict: warning: %s learnt from steps up to %lld; %zu of %zu origins lie before that: unless it "
                "was\ntrained with these --cases, its scores are too good\n",
                job->model_path, (long long)newest, seen, cases->count);
}

/* ---- what is printed ---- */

static void sentence(const struct row *rows, int count, char *text, size_t room) {
    const struct row *own = &rows[0], *best = NULL;
    for (int i = 1; i < count; i++)
        if (!best || rows[i].score.mwql < best->score.mwql)
            best = &rows[i];
    double ratio = own->score.mwql / best->score.mwql;
    snprintf(text, room,
             "%s loses %.4g on %zu cases (weighted quantile loss), %.1f %% %s than %s (%.4g), the better of the simple "
             "ones; %.1f %% of what came lies below its 0.95 quantile.",
             own->method, own->score.mwql, own->score.cases, 100 * fabs(1 - ratio), ratio <= 1 ? "less" : "MORE",
             best->method, best->score.mwql, 100 * own->score.cov95);
}

static void cell(double v) { isfinite(v) ? printf(" %9.4f", v) : printf(" %9s", "-"); }

static void print_table(const struct row *rows, int count, const struct forecast_job *job, int64_t season) {
    char text[512];
    sentence(rows, count, text, sizeof text);
    printf("%s\n\n%-22s %9s %9s %9s %9s %9s %9s %9s %9s %9s %9s %9s\n", text, "method", "MASE", "sMAPE", "WQL.5",
           "WQL.9", "WQL.95", "mWQL", "cov95", "cost_s", "AP90", "onset F1", "ms/case");
    for (int i = 0; i < count; i++) {
        const struct score *s = &rows[i].score;
        const double v[] = {s->mase,  s->smape,  s->wql[1], s->wql[2],   s->wql[4], s->mwql,
                            s->cov95, s->cost_s, s->ap90,   s->onset_f1, rows[i].ms};
        printf("%-22s", rows[i].method);
        for (size_t k = 0; k < sizeof v / sizeof v[0]; k++)
            cell(v[k]);
        putchar('\n');
    }
    printf("\n%zu cases (%zu with a scale), %zu points, horizon %d, season %lld; %.1f %% of the points are spikes.\n",
           rows->score.cases, rows->score.scaled, rows->score.points, (int)job->horizon, (long long)season,
           100 * rows->score.spikes);
}

static void json_number(const char *key, double v) {
    isfinite(v) ? printf(", \"%s\": %.9g", key, v) : printf(", \"%s\": null", key);
}

static void print_json(const struct row *rows, int count, const struct forecast_job *job, int64_t season) {
    static const char *const names[] = {"wql10", "wql50", "wql90", "wql91", "wql95", "wql99"};
    const struct score *own = &rows->score;
    char text[512];
    sentence(rows, count, text, sizeof text);
    printf("{\"schema\": 1, ");
    tool_json_text("verdict", text);
    printf(", \"cases\": %zu, \"scaled\": %zu, \"points\": %zu, \"horizon\": %d, \"season\": %lld, \"step_s\": %.9g",
           own->cases, own->scaled, own->points, (int)job->horizon, (long long)season,
           (double)spr_series_step_ns(job->series) * 1e-9);
    json_number("spikes", own->spikes);
    printf(", \"methods\": [");
    for (int i = 0; i < count; i++) {
        const struct score *s = &rows[i].score;
        printf("%s\n {", i ? "," : "");
        tool_json_text("method", rows[i].method);
        json_number("mase", s->mase);
        json_number("smape", s->smape);
        for (int k = 0; k < SCORE_LEVELS; k++)
            json_number(names[k], s->wql[k]);
        json_number("mwql", s->mwql);
        json_number("cov95", s->cov95);
        json_number("cost_s", s->cost_s);
        json_number("ap90", s->ap90);
        json_number("onset_f1", s->onset_f1);
        json_number("ms_per_case", rows[i].ms);
        printf("}");
    }
    printf("\n]}\n");
}

int forecast_backtest(struct forecast_job *job, struct answers *cases, bool json) {
    struct row rows[METHODS_SHOWN];
    int64_t season = season_of(job, cases);
    struct truth *truth = truth_make(job, cases, season);
    const char *method = job->method;
    int count = 0, rc = truth ? 0 : EXIT_FAILED;
    if (!rc)
        truth_drop_unscored(truth, cases);
    if (!rc && !cases->count) {
        fprintf(stderr, "shardpredict: no origin has values both before and after it: nothing can be scored\n");
        rc = EXIT_NOTHING;
    }
    if (!rc && method_asks_model(job, method))
        warn_of_seen_steps(job, cases);
    /* The simple ones first, so that the answers that stay are those of the method. */
    for (int i = 0; !rc && i < RIVALS; i++)
        if (strcmp(method, rivals[i]) != 0)
            rc = ask(job, truth, cases, rivals[i], &rows[++count]);
    if (!rc)
        rc = ask(job, truth, cases, method, &rows[0]);
    if (!rc)
        (json ? print_json : print_table)(rows, count + 1, job, season);
    truth_free(truth);
    return rc ? rc : fflush(stdout) ? EXIT_FAILED : EXIT_DONE;
}
