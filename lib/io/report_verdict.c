/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The verdict in one sentence: who was it, what did it cost, against whom, and how much of what was possible. */
#include "report.h"

int spr__view_make(const spr_verdict *v, struct spr__view *out) {
    struct spr__view w = {.sum = {.size = sizeof w.sum}};
    int rc = spr_verdict_summary(v, &w.sum);
    for (int32_t i = 0; rc >= 0 && i < spr_verdict_count(v) && w.count < SPR_POLICY_COUNT; i++) {
        w.score[w.count].size = sizeof w.score[0];
        rc = spr_verdict_score(v, i, &w.score[w.count++]);
    }
    if (rc >= 0)
        *out = w;
    return rc;
}

const struct spr_policy_score *spr__view_find(const struct spr__view *w, int policy) {
    for (int32_t i = 0; i < w->count; i++)
        if (w->score[i].policy == policy)
            return &w->score[i];
    return NULL;
}

int spr__view_hero(const struct spr__view *w) {
    const struct spr_policy_score *best = spr__view_find(w, SPR_POLICY_PREDICTIVE);
    if (best && best->asked)
        return SPR_POLICY_PREDICTIVE;
    best = NULL;
    for (int32_t i = 0; i < w->count; i++) {
        const struct spr_policy_score *s = &w->score[i];
        bool other = s->asked && s->policy != w->sum.rival && s->policy != SPR_POLICY_ORACLE;
        if (other && (!best || s->cost < best->cost))
            best = s;
    }
    return best ? best->policy : w->sum.rival;
}

struct text {
    char *at;
    size_t room, used;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n =
        vsnprintf(t->used < t->room ? t->at + t->used : NULL, t->used < t->room ? t->room - t->used : 0, format, args);
    va_end(args);
    t->used += n > 0 ? (size_t)n : 0;
}

/* A number with fixed decimals and a point. */
static const char *fixed(char *text, size_t room, double value, int decimals) {
    snprintf(text, room, "%.*f", decimals, value);
    for (char *p = text; *p; p++)
        if ((*p < '0' || *p > '9') && *p != '-') {
            char *rest = p;
            while (*rest && (*rest < '0' || *rest > '9'))
                rest++;
            *p = '.';
            memmove(p + 1, rest, strlen(rest) + 1);
            break;
        }
    return text;
}

/* "0.9 % less than", "as much as", "12 % more than"; the figures agree with the costs as printed. */
static void compare(struct text *t, double cost, double rival) {
    char a[40];
    double percent = rival > 0 ? 100 * (cost / rival - 1) : cost > 0 ? INFINITY : 0;
    double size = fabs(percent);
    if (size < 0.05)
        add(t, "as much as");
    else if (!isfinite(size))
        add(t, "more than");
    else
        add(t, "%s %% %s than", fixed(a, sizeof a, size, size < 9.95 ? 1 : 0), percent < 0 ? "less" : "more");
}

static void rival_clause(struct text *t, const struct spr__view *w, double cost) {
    char b[40];
    const struct spr_policy_score *rival = spr__view_find(w, w->sum.rival);
    add(t, ", ");
    compare(t, cost, rival->cost);
    add(t, " %s (%s)%s the cheapest rule that does not forecast", spr_policy_name(rival->policy),
        fixed(b, sizeof b, rival->cost, 1), rival->policy == SPR_POLICY_NONE ? ": doing nothing is" : ",");
}

/* How much of what was possible. */
static void saving_clause(struct text *t, const struct spr__view *w, const struct spr_policy_score *s) {
    char b[40];
    const struct spr_policy_score *none = spr__view_find(w, SPR_POLICY_NONE);
    if (isnan(s->saved))
        add(t, "; even perfect knowledge would save nothing here");
    else if (s->saved < 0 && none)
        add(t, "; it saves nothing: doing nothing costs %s", fixed(b, sizeof b, none->cost, 1));
    else
        add(t, "; it saves %s %% of what perfect knowledge would",
            fixed(b, sizeof b, 100 * s->saved, s->saved < 0.0995 ? 1 : 0));
    if (!w->sum.has_room && !isnan(s->saved))
        add(t, ", which leaves no room to do better than %s", spr_policy_name(w->sum.rival));
    add(t, ".");
}

int spr__view_sentence(const struct spr__view *w, char *text, size_t room) {
    struct text t = {text, room, 0};
    char b[40];
    const struct spr_policy_score *s = spr__view_find(w, spr__view_hero(w));
    const struct spr_policy_score *rival = spr__view_find(w, w->sum.rival);
    if (room)
        *text = 0;
    if (!s) {
        add(&t, "No policy ran.");
        return (int)t.used;
    }
    if (s->policy == w->sum.rival) {
        add(&t, "%s is the cheapest rule that does not forecast: it costs %s host-hours", spr_policy_name(s->policy),
            fixed(b, sizeof b, s->cost, 1));
    } else {
        add(&t, "%s costs %s host-hours", spr_policy_name(s->policy), fixed(b, sizeof b, s->cost, 1));
        if (rival)
            rival_clause(&t, w, s->cost);
    }
    saving_clause(&t, w, s);
    return (int)t.used;
}

int spr_verdict_sentence(const spr_verdict *v, char *text, size_t room) {
    struct spr__view w;
    if (!v || (!text && room))
        return SPR_E_ARG;
    int rc = spr__view_make(v, &w);
    return rc < 0 ? rc : spr__view_sentence(&w, text, room);
}
