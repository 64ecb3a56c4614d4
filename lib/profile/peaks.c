/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Peak windows: where in the week the top tenth of the values gathers. */
#include "profile/profile.h"

enum { HOURS = 24, DAYS = 7, RUNS_MAX = 64 };

struct week {
    double steps[DAYS][HOURS], peaks[DAYS][HOURS];
};

struct run {
    int days, from, hours; /* bits; first hour; length, may pass midnight */
    double steps, peaks;
};

static void count_week(const struct spr__trait *t, double threshold, struct week *w) {
    memset(w, 0, sizeof *w);
    for (int64_t i = 0; i < t->n; i++) {
        if (!isfinite(t->x[i]))
            continue;
        int64_t s = t->start_s + (int64_t)((double)i * t->step_s), day = s / 86400, second = s % 86400;
        if (second < 0)
            second += 86400, day--;
        int64_t weekday = ((day + 3) % DAYS + DAYS) % DAYS; /* 1970-01-01 was a Thursday */
        w->steps[weekday][second / 3600] += 1;
        w->peaks[weekday][second / 3600] += t->x[i] > threshold;
    }
}

static double share(const struct run *r) { return r->steps > 0 ? r->peaks / r->steps : 0; }

/* Hours of the week from Monday 0:00, around the end. */
static int wrap(int hour) { return (hour + DAYS * HOURS) % (DAYS * HOURS); }

/* An hour is hot when it and its neighbours hold clearly more peaks than the tenth that chance gives them. */
static void find_hot(const struct week *w, bool hot[DAYS * HOURS]) {
    const double *steps = &w->steps[0][0], *peaks = &w->peaks[0][0];
    for (int h = 0; h < DAYS * HOURS; h++) {
        int a = wrap(h - 1), b = wrap(h + 1);
        double all = steps[a] + 2 * steps[h] + steps[b], high = peaks[a] + 2 * peaks[h] + peaks[b];
        hot[h] = peaks[h] >= 2 && high >= 0.25 * all && peaks[h] >= 0.2 * steps[h];
    }
}

/* A run may pass midnight when it is short; a longer one is told day by day. */
static int find_runs(const struct week *w, struct run *runs) {
    const double *steps = &w->steps[0][0], *peaks = &w->peaks[0][0];
    bool hot[DAYS * HOURS];
    int count = 0;
    find_hot(w, hot);
    for (int h = 0; h < DAYS * HOURS && count < RUNS_MAX; h++) {
        if (!hot[h])
            continue;
        int back = 1, length = 1;
        while (back <= HOURS && hot[wrap(h - back)])
            back++;
        while (length <= HOURS && hot[wrap(h + length)])
            length++;
        bool whole = back + length - 1 <= HOURS / 2; /* the run around h */
        if (whole ? back > 1 : back > 1 && h % HOURS != 0)
            continue; /* not where a run begins */
        struct run r = {.days = 1 << (h / HOURS), .from = h % HOURS};
        for (int i = h; r.hours < length && (whole || r.from + r.hours < HOURS); i = wrap(i + 1)) {
            r.steps += steps[i], r.peaks += peaks[i];
            r.hours++;
        }
        runs[count++] = r;
    }
    return count;
}

/* Hours that two runs share, on a clock. */
static int overlap(const struct run *a, const struct run *b) {
    int n = 0;
    for (int i = 0; i < a->hours; i++)
        n += (a->from + i - b->from + HOURS) % HOURS < b->hours;
    return n;
}

/* The same hours on several days are one window. */
static int merge_runs(struct run *runs, int count) {
    int kept = 0;
    for (int i = 0; i < count; i++) {
        int at = -1;
        for (int k = 0; k < kept && at < 0; k++)
            if (2 * overlap(&runs[i], &runs[k]) >= SPR_MAX(runs[i].hours, runs[k].hours))
                at = k;
        if (at < 0) {
            runs[kept++] = runs[i];
            continue;
        }
        struct run *to = &runs[at];
        if (runs[i].peaks > to->peaks)
            to->from = runs[i].from, to->hours = runs[i].hours;
        to->days |= runs[i].days;
        to->steps += runs[i].steps, to->peaks += runs[i].peaks;
    }
    return kept;
}

void spr__peak_windows(const struct spr__trait *t, double threshold, struct spr_profile_row *row) {
    struct week w;
    struct run runs[RUNS_MAX];
    if (t->step_s > 3600 || (double)t->n * t->step_s < 2 * 86400)
        return; /* no hour of day to speak of */
    count_week(t, threshold, &w);
    int count = merge_runs(runs, find_runs(&w, runs));
    row->peak_window_count = 0;
    while (row->peak_window_count < SPR_PEAK_WINDOWS_MAX) {
        int best = -1;
        for (int i = 0; i < count; i++)
            if (runs[i].hours && (best < 0 || share(&runs[i]) > share(&runs[best])))
                best = i;
        if (best < 0)
            return;
        struct run *r = &runs[best];
        struct spr_peak_window *to = &row->peak_windows[row->peak_window_count++];
        int end = r->from + r->hours;
        *to = (struct spr_peak_window){.days = (uint8_t)r->days, .from_s = r->from * 3600, .probability = share(r)};
        to->to_s = (end > HOURS ? end - HOURS : end) * 3600;
        r->hours = 0;
    }
}
