/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Calendars: the builder, the product, its questions. */
#include <stdlib.h>

#include "forecast/event.h"

struct spr_calendar_builder {
    struct event_book book;
};

/* ---- the book ---- */

static int reserve(const spr_context *ctx, void *block, size_t *room, size_t need, size_t each) {
    void *p;
    memcpy(&p, block, sizeof p);
    if (need <= *room)
        return SPR_OK;
    size_t more = SPR_MAX(2 * *room, 8);
    if (!(p = spr__grow(ctx, p, *room, more, each)))
        return spr__nomem(ctx);
    memcpy(block, &p, sizeof p);
    *room = more;
    return SPR_OK;
}

static char *copy_text(const spr_context *ctx, const char *text) {
    char *p = spr__alloc(ctx, strlen(text) + 1, 1);
    if (p)
        memcpy(p, text, strlen(text));
    return p;
}

static void free_text(const spr_context *ctx, const char *text) {
    if (text)
        spr__free(ctx, (void *)(uintptr_t)text, strlen(text) + 1, 1);
}

static void book_free(struct event_book *b) {
    spr_context *ctx = b->ctx;
    for (size_t i = 0; i < b->count; i++) {
        struct event_row *r = &b->rows[i];
        free_text(ctx, r->event.name);
        spr__free(ctx, r->dates, r->date_room, sizeof *r->dates);
        spr__free(ctx, r->skips, r->skip_room, sizeof *r->skips);
    }
    for (size_t i = 0; i < b->zone_count; i++)
        spr__free(ctx, b->zones[i].rows, b->zones[i].count, sizeof *b->zones[i].rows);
    for (size_t i = 0; i < b->kind_count; i++)
        free_text(ctx, b->kinds[i]);
    spr__free(ctx, b->rows, b->room, sizeof *b->rows);
    spr__free(ctx, b->zones, b->zone_room, sizeof *b->zones);
    spr__free(ctx, b->kinds, b->kind_room, sizeof *b->kinds);
    spr_context_unref(ctx);
}

/* ---- the builder ---- */

int spr_calendar_builder_create(spr_context *ctx, spr_calendar_builder **out) {
    if (!ctx)
        return SPR_E_ARG;
    if (!out)
        return spr__fail(ctx, SPR_E_ARG, "spr_calendar_builder_create: no place for the result");
    spr_calendar_builder *b = spr__alloc(ctx, 1, sizeof *b);
    if (!b)
        return spr__nomem(ctx);
    b->book.ctx = spr_context_ref(ctx);
    *out = b;
    return SPR_OK;
}

void spr_calendar_builder_destroy(spr_calendar_builder *b) {
    if (!b)
        return;
    spr_context *ctx = spr_context_ref(b->book.ctx);
    book_free(&b->book);
    spr__free(ctx, b, 1, sizeof *b);
    spr_context_unref(ctx);
}

int spr_calendar_builder_zone(spr_calendar_builder *b, const struct spr_zone_offset *rows, size_t stride,
                              size_t count) {
    if (!b)
        return SPR_E_ARG;
    spr_context *ctx = b->book.ctx;
    if (!rows || !count || count > 1 << 20 || stride < sizeof *rows)
        return spr__fail(ctx, SPR_E_ARG, "spr_calendar_builder_zone: a zone needs rows and their stride");
    int rc = reserve(ctx, &b->book.zones, &b->book.zone_room, b->book.zone_count + 1, sizeof *b->book.zones);
    if (rc < 0)
        return rc;
    struct event_zone z = {spr__alloc(ctx, count, sizeof *z.rows), count};
    if (!z.rows)
        return spr__nomem(ctx);
    for (size_t i = 0; i < count && rc == SPR_OK; i++) {
        memcpy(&z.rows[i], (const char *)rows + i * stride, sizeof z.rows[i]);
        if (z.rows[i].offset_s <= -86400 || z.rows[i].offset_s >= 86400 || z.rows[i].reserved ||
            (i && z.rows[i].from_ns <= z.rows[i - 1].from_ns))
            rc = spr__fail(ctx, SPR_E_ARG, "zone row %zu: moments rise, offsets lie within a day", i + 1);
    }
    if (rc < 0) {
        spr__free(ctx, z.rows, count, sizeof *z.rows);
        return rc;
    }
    b->book.zones[b->book.zone_count++] = z;
    return (int)b->book.zone_count;
}

static const char *wrong_rule(const struct spr_event *e) {
    bool rule = e->repeat != SPR_EVENT_ONCE, monthly = e->repeat >= SPR_EVENT_MONTHLY;
    if (e->repeat < SPR_EVENT_ONCE || e->repeat > SPR_EVENT_YEARLY)
        return "no such way to come again";
    if (e->interval < 0 || e->interval > 100000 || e->count < 0 || e->count > 100000)
        return "interval and count: 0 to 100000";
    if (!rule && (e->interval || e->count || e->until_ns || e->weekdays || e->nth || e->month_day))
        return "an event that does not come again has no rule";
    if (e->weekdays > 127 || e->nth < -5 || e->nth > 5 || e->month_day < -31 || e->month_day > 31)
        return "weekdays, nth or month_day is out of range";
    if ((!monthly && (e->nth || e->month_day)) || (e->weekdays && e->month_day) || (e->nth && !e->weekdays))
        return "nth goes with weekdays, month_day without, both monthly and yearly only";
    return NULL;
}

static const char *wrong_event(const struct event_book *b, const struct spr_event *e) {
    if (!e->kind || !*e->kind)
        return "a kind is required";
    if (e->start_ns < 0 || e->end_ns <= e->start_ns || e->end_ns > EVENT_LATEST)
        return "it starts before 1970, ends at or before its start, or after 2199";
    if (e->until_ns < 0 || e->zone < 0 || (size_t)e->zone > b->zone_count)
        return "a negative end of the rule, or an unknown zone";
    if (!(e->confidence >= 0 && e->confidence <= 1))
        return "confidence: 0 to 1";
    if (!(e->amount >= 0 && e->amount <= 1e6))
        return "amount: a multiplier from 0 (unknown) to 1e6";
    return wrong_rule(e);
}

static int kind_of(struct event_book *b, const char *name) {
    for (size_t i = 0; i < b->kind_count; i++)
        if (!strcmp(b->kinds[i], name))
            return (int)i;
    int rc = reserve(b->ctx, &b->kinds, &b->kind_room, b->kind_count + 1, sizeof *b->kinds);
    if (rc < 0)
        return rc;
    if (!(b->kinds[b->kind_count] = copy_text(b->ctx, name)))
        return spr__nomem(b->ctx);
    return (int)b->kind_count++;
}

int spr_calendar_builder_add(spr_calendar_builder *b, const struct spr_event *event) {
    struct spr_event e;
    if (!b)
        return SPR_E_ARG;
    struct event_book *k = &b->book;
    if (!event)
        return spr__fail(k->ctx, SPR_E_ARG, "spr_calendar_builder_add: an event is required");
    int rc = spr__opts_copy(k->ctx, "spr_event", event, &e, sizeof e);
    if (rc < 0)
        return rc;
    const char *wrong = wrong_event(k, &e);
    if (wrong)
        return spr__fail(k->ctx, SPR_E_ARG, "event '%s': %s", e.kind && *e.kind ? e.kind : "?", wrong);
    if (k->count >= 1 << 20)
        return spr__fail(k->ctx, SPR_E_ARG, "a calendar has at most %d events", 1 << 20);
    if ((rc = reserve(k->ctx, &k->rows, &k->room, k->count + 1, sizeof *k->rows)) < 0 || (rc = kind_of(k, e.kind)) < 0)
        return rc;
    struct event_row *r = &k->rows[k->count];
    *r = (struct event_row){.event = e, .kind = rc};
    r->event.kind = k->kinds[rc];
    r->event.confidence = e.confidence > 0 ? e.confidence : 1;
    if (!(r->event.name = copy_text(k->ctx, e.name && *e.name ? e.name : e.kind)))
        return spr__nomem(k->ctx);
    if (e.count) {
        int64_t last = spr__event_last(k, r, e.count);
        r->event.until_ns = e.until_ns ? SPR_MIN(e.until_ns, last) : last;
    }
    return (int)k->count++;
}

static struct event_row *row_at(spr_calendar_builder *b, int32_t event) {
    return event < 0 || (size_t)event >= b->book.count ? NULL : &b->book.rows[event];
}

int spr_calendar_builder_date(spr_calendar_builder *b, int32_t event, int64_t start_ns, int64_t end_ns) {
    if (!b)
        return SPR_E_ARG;
    struct event_row *r = row_at(b, event);
    if (r && !end_ns && start_ns >= 0 && start_ns <= EVENT_LATEST)
        end_ns = start_ns + (r->event.end_ns - r->event.start_ns);
    if (!r || start_ns < 0 || end_ns <= start_ns || end_ns > EVENT_LATEST)
        return spr__fail(b->book.ctx, SPR_E_ARG, "spr_calendar_builder_date: no such event, or no such span");
    int rc = reserve(b->book.ctx, &r->dates, &r->date_room, r->date_count + 1, sizeof *r->dates);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < r->date_count; i++)
        if (r->dates[i].start == start_ns) { /* a date given twice is one; the last end counts */
            r->dates[i].end = end_ns;
            return SPR_OK;
        }
    r->dates[r->date_count++] = (struct event_date){start_ns, end_ns};
    return SPR_OK;
}

int spr_calendar_builder_skip(spr_calendar_builder *b, int32_t event, int64_t start_ns) {
    if (!b)
        return SPR_E_ARG;
    struct event_row *r = row_at(b, event);
    if (!r)
        return spr__fail(b->book.ctx, SPR_E_ARG, "spr_calendar_builder_skip: there is no event %d", (int)event);
    int rc = reserve(b->book.ctx, &r->skips, &r->skip_room, r->skip_count + 1, sizeof *r->skips);
    if (rc == SPR_OK)
        r->skips[r->skip_count++] = start_ns;
    return rc;
}

int spr_calendar_builder_finish(spr_calendar_builder *b, spr_calendar **out) {
    if (!b)
        return SPR_E_ARG;
    spr_context *ctx = b->book.ctx;
    if (!out)
        return spr__fail(ctx, SPR_E_ARG, "spr_calendar_builder_finish: no place for the result");
    spr_calendar *c = spr__alloc(ctx, 1, sizeof *c);
    if (!c)
        return spr__nomem(ctx);
    spr__ref_init(&c->refs);
    c->book = b->book; /* its reference on the context goes along */
    spr__free(ctx, b, 1, sizeof *b);
    *out = c;
    return SPR_OK;
}

/* ---- the product ---- */

spr_calendar *spr_calendar_ref(spr_calendar *c) {
    if (c)
        spr__ref(&c->refs);
    return c;
}

void spr_calendar_unref(spr_calendar *c) {
    if (!c || !spr__unref(&c->refs))
        return;
    spr_context *ctx = spr_context_ref(c->book.ctx);
    book_free(&c->book);
    spr__free(ctx, c, 1, sizeof *c);
    spr_context_unref(ctx);
}

int32_t spr_calendar_event_count(const spr_calendar *c) { return c ? (int32_t)c->book.count : 0; }
int32_t spr_calendar_kind_count(const spr_calendar *c) { return c ? (int32_t)c->book.kind_count : 0; }

const char *spr_calendar_kind(const spr_calendar *c, int32_t index) {
    return c && index >= 0 && (size_t)index < c->book.kind_count ? c->book.kinds[index] : NULL;
}

int spr_calendar_kind_find(const spr_calendar *c, const char *name) {
    for (size_t i = 0; c && name && i < c->book.kind_count; i++)
        if (!strcmp(c->book.kinds[i], name))
            return (int)i;
    return SPR_E_NOT_FOUND;
}

int spr_calendar_event(const spr_calendar *c, int32_t index, struct spr_event *out) {
    if (!c || !out || index < 0 || (size_t)index >= c->book.count)
        return SPR_E_ARG;
    return spr__out_copy(out, &c->book.rows[index].event, sizeof *out);
}

/* ---- occurrences ---- */

struct gather {
    const struct event_row *row;
    struct spr_occurrence *out;
    size_t room, found;
    int32_t event;
};

/* By start, then end, then event: no two are equal. */
static int compare(const struct spr_occurrence *a, const struct spr_occurrence *b) {
    if (a->start_ns != b->start_ns)
        return a->start_ns < b->start_ns ? -1 : 1;
    if (a->end_ns != b->end_ns)
        return a->end_ns < b->end_ns ? -1 : 1;
    return (a->event > b->event) - (a->event < b->event);
}

static int by_start(const void *a, const void *b) { return compare(a, b); }

static void take(void *arg, int64_t start, int64_t end) {
    struct gather *g = arg;
    struct spr_occurrence o = {start, end, g->event, g->row->kind, g->row->event.confidence, g->row->event.amount};
    if (g->found++ < g->room) {
        g->out[g->found - 1] = o;
        return;
    }
    if (!g->room)
        return;
    size_t last = 0; /* no room left: the latest goes */
    for (size_t i = 1; i < g->room; i++)
        if (compare(&g->out[i], &g->out[last]) > 0)
            last = i;
    if (compare(&o, &g->out[last]) < 0)
        g->out[last] = o;
}

/* Into contiguous room, sorted; returns how many there are. */
static size_t occurrences(const spr_calendar *c, int64_t from, int64_t to, struct spr_occurrence *out, size_t room) {
    struct gather g = {.out = out, .room = room};
    for (size_t i = 0; i < c->book.count && from < to; i++) {
        g.row = &c->book.rows[i], g.event = (int32_t)i;
        spr__event_walk(&c->book, g.row, from, to, take, &g);
    }
    if (room)
        qsort(out, SPR_MIN(room, g.found), sizeof *out, by_start);
    return g.found;
}

int spr_calendar_occurrences(const spr_calendar *c, int64_t from_ns, int64_t to_ns, struct spr_occurrence *out,
                             size_t stride, size_t *count) {
    if (!c)
        return SPR_E_ARG;
    if (!count || (*count && (!out || stride < sizeof *out)) || *count > 1 << 24)
        return spr__fail(c->book.ctx, SPR_E_ARG, "spr_calendar_occurrences: array, stride or count is wrong");
    size_t room = *count;
    struct spr_occurrence *found = room ? spr__alloc(c->book.ctx, room, sizeof *found) : NULL;
    if (room && !found)
        return spr__nomem(c->book.ctx);
    size_t n = occurrences(c, SPR_MAX(from_ns, 0), SPR_MIN(to_ns, EVENT_LATEST), found, room);
    for (size_t i = 0; i < n && i < room; i++)
        memcpy((char *)out + i * stride, &found[i], sizeof found[i]);
    spr__free(c->book.ctx, found, room, sizeof *found);
    *count = n;
    return SPR_OK;
}

/* ---- spans ---- */

static int by_kind(const void *x, const void *y) {
    const struct event_span *a = x, *b = y;
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    if (a->start < b->start || a->start > b->start)
        return a->start < b->start ? -1 : 1;
    if (a->end < b->end || a->end > b->end)
        return a->end < b->end ? -1 : 1;
    if (a->confidence < b->confidence || a->confidence > b->confidence)
        return a->confidence < b->confidence ? -1 : 1;
    return (a->amount > b->amount) - (a->amount < b->amount);
}

int spr__event_spans(const spr_calendar *c, int64_t origin_ns, int64_t step_ns, int64_t from, int64_t to, double reach,
                     struct event_span **spans, size_t *count) {
    const spr_context *ctx = c->book.ctx;
    double ahead = (double)origin_ns + ((double)to + reach + 1) * (double)step_ns;
    double back = (double)origin_ns + ((double)from - reach - 1) * (double)step_ns;
    *spans = NULL, *count = 0;
    if (back >= (double)EVENT_LATEST || ahead <= 0)
        return SPR_OK;
    int64_t first = back <= 0 ? 0 : (int64_t)back, last = SPR_MIN(ahead, (double)EVENT_LATEST);
    size_t n = occurrences(c, first, last, NULL, 0);
    if (!n)
        return SPR_OK;
    struct spr_occurrence *o = spr__alloc(ctx, n, sizeof *o);
    struct event_span *s = spr__alloc(ctx, n, sizeof *s);
    if (!o || !s) {
        spr__free(ctx, o, n, sizeof *o);
        spr__free(ctx, s, n, sizeof *s);
        return spr__nomem(ctx);
    }
    occurrences(c, first, last, o, n);
    for (size_t i = 0; i < n; i++)
        s[i] = (struct event_span){.start = (double)(o[i].start_ns - origin_ns) / (double)step_ns,
                                   .end = (double)(o[i].end_ns - origin_ns) / (double)step_ns,
                                   .confidence = o[i].confidence,
                                   .amount = o[i].amount,
                                   .id = o[i].start_ns,
                                   .kind = o[i].kind};
    qsort(s, n, sizeof *s, by_kind);
    spr__free(ctx, o, n, sizeof *o);
    *spans = s, *count = n;
    return SPR_OK;
}

void spr__event_spans_free(const spr_context *ctx, struct event_span *spans, size_t count) {
    spr__free(ctx, spans, count, sizeof *spans);
}

double spr__event_shape(const struct event_span *s, int64_t t, double lead, double lag) {
    double middle = (double)t + 0.5, shape = 0;
    double covered = fmin(s->end, (double)t + 1) - fmax(s->start, (double)t);
    if (middle >= s->start && middle < s->end)
        return 1;
    if (middle < s->start && lead > 0)
        shape = 1 - (s->start - middle) / lead;
    else if (middle >= s->end && lag > 0)
        shape = 1 - (middle - s->end) / lag;
    return fmax(0, fmax(shape, covered));
}
