/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The source's table. A request asks every host that can be asked and is answered when all of them answered, or when
 * the patience of spr_libvirt_opts.call_s is over: what comes later counts in the next round. A host that has not yet
 * answered an earlier round, or that waits before it is connected again, is not waited for at all.
 */
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "source.h"

/* ---- the fd ---- */

static void ring(struct lv_source *s) {
    if (!s->closed)
        lv_ring(s->fd, s->notifier);
}

/* ---- life ---- */

struct lv_source *lv_source_ref(struct lv_source *s) {
    atomic_fetch_add(&s->refs, 1);
    return s;
}

void lv_source_unref(struct lv_source *s) {
    if (!s || atomic_fetch_sub(&s->refs, 1) > 1)
        return;
    for (size_t i = 0; s->watch && i < s->hosts; i++)
        lv_watch_unref(s->watch[i]);
    lv_free(s->watch), lv_free(s->why), lv_free(s->why_code);
    pthread_mutex_destroy(&s->lock);
    lv_free(s);
}

static void disown(struct lv_source *s) {
    for (size_t i = 0; s->watch && i < s->hosts; i++)
        if (s->watch[i]) {
            pthread_mutex_lock(&s->watch[i]->lock);
            if (s->watch[i]->owner == s)
                s->watch[i]->owner = NULL;
            pthread_mutex_unlock(&s->watch[i]->lock);
        }
}

static void source_close(void *state) {
    struct lv_source *s = state;
    disown(s);
    pthread_mutex_lock(&s->lock);
    s->closed = true;
    while (s->first) {
        struct lv_ask *next = s->first->next;
        lv_free(s->first);
        s->first = next;
    }
    s->last = &s->first;
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    pthread_mutex_unlock(&s->lock);
    spr_fleet_unref(s->inventory);
    lv_free(s->known), lv_free(s->usage), lv_free(s->cell);
    lv_source_unref(s);
}

static int own_watches(struct lv_source *s) {
    s->hosts = s->v->host_count;
    s->watch = lv_alloc(s->hosts * sizeof *s->watch);
    s->why = lv_alloc(s->hosts * sizeof *s->why);
    s->why_code = lv_alloc(s->hosts * sizeof *s->why_code);
    if (!s->watch || !s->why || !s->why_code)
        return SPR_E_NOMEM;
    for (size_t i = 0; i < s->hosts; i++) {
        struct lv_watch *w = lv_watch_of(&s->v->hosts[i]);
        if (!w)
            return SPR_E_NOMEM;
        s->watch[i] = lv_watch_ref(w);
        pthread_mutex_lock(&w->lock);
        bool free_now = !w->owner;
        if (free_now)
            w->owner = s;
        pthread_mutex_unlock(&w->lock);
        if (!free_now)
            return SPR_E_STATE;
    }
    return SPR_OK;
}

static int fail(spr_context *ctx, int code, const char *text) {
    struct spr_error e = {.size = sizeof e, .code = code, .text = text};
    return spr_context_fail(ctx, &e);
}

static int source_open(const struct spr_env *env, const void *config, void **state) {
    if (!env)
        return SPR_E_ARG;
    if (!config)
        return fail(env->context, SPR_E_ARG, "libvirt source: its config is an open spr_libvirt");
    struct lv_source *s = lv_alloc(sizeof *s);
    if (!s)
        return fail(env->context, SPR_E_NOMEM, "libvirt source: out of memory");
    s->v = (struct spr_libvirt *)(uintptr_t)config;
    s->ctx = env->context;
    s->notifier = env->notifier;
    s->last = &s->first;
    atomic_init(&s->refs, 1);
    pthread_mutex_init(&s->lock, NULL);
    s->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = s->fd < 0 ? SPR_E_IO : own_watches(s);
    if (rc < 0) {
        source_close(s);
        return fail(env->context, rc,
                    rc == SPR_E_STATE   ? "libvirt source: these hosts have a source already"
                    : rc == SPR_E_NOMEM ? "libvirt source: out of memory"
                                        : "libvirt source: no file descriptor is left");
    }
    *state = s;
    return SPR_OK;
}

/* ---- asking ---- */

static void note_why(struct lv_source *s, size_t h, int code, const char *text) {
    snprintf(s->why[h], sizeof s->why[h], "%s", text);
    s->why_code[h] = code;
}

static void reply(struct lv_ask *ask, size_t h, enum lv_reply how) {
    ask->waiting -= ask->reply[h] == LV_WAITING;
    ask->waiting += how == LV_WAITING;
    ask->reply[h] = (unsigned char)how;
}

static bool somebody_waits(const struct lv_source *s, size_t h, int verb) {
    for (const struct lv_ask *a = s->first; a; a = a->next)
        if (a->verb == verb && a->reply[h] == LV_WAITING)
            return true;
    return false;
}

static void send_to(struct lv_source *s, struct lv_ask *ask, size_t h) {
    struct lv_watch *w = s->watch[h];
    int code = SPR_OK;
    char text[LV_TEXT];
    if (lv_host_pauses(w->host, &code, text)) {
        note_why(s, h, code, text);
        reply(ask, h, LV_FAILED);
        return;
    }
    pthread_mutex_lock(&w->lock);
    bool pending = w->pending[ask->verb];
    w->pending[ask->verb] = true;
    pthread_mutex_unlock(&w->lock);
    if (pending) { /* a call is under way: whose round is over is not waited for again */
        bool wait = somebody_waits(s, h, ask->verb);
        if (!wait && !s->why[h][0])
            snprintf(s->why[h], sizeof s->why[h], "%s: %s did not answer yet", w->host->id, w->host->uri);
        reply(ask, h, wait ? LV_WAITING : LV_FAILED);
        return;
    }
    int rc = lv_look(s, w, ask->verb);
    if (rc < 0) {
        snprintf(text, sizeof text, "%s: %s", w->host->id,
                 rc == SPR_E_NOMEM ? "out of memory, or no thread can be made" : "the hosts are being closed");
        note_why(s, h, rc, text);
        pthread_mutex_lock(&w->lock);
        w->pending[ask->verb] = false;
        pthread_mutex_unlock(&w->lock);
    }
    reply(ask, h, rc < 0 ? LV_FAILED : LV_WAITING);
}

static int64_t seconds(double s) { return (int64_t)(s * 1e9); }

static int source_submit(void *state, int verb, struct spr_time now, int64_t deadline, spr_ticket *out) {
    struct lv_source *s = state;
    const struct spr_libvirt_opts *o = &s->v->opts;
    if ((verb != SPR_SOURCE_INVENTORY && verb != SPR_SOURCE_SAMPLES) || !out)
        return fail(s->ctx, SPR_E_ARG, "libvirt source: asked for neither inventory nor samples");
    struct lv_ask *ask = lv_alloc(sizeof *ask + s->hosts);
    if (!ask)
        return fail(s->ctx, SPR_E_NOMEM, "libvirt source: out of memory");
    ask->verb = verb;
    ask->since = now;
    ask->deadline_mono_ns = deadline;
    /* An inventory may have to connect first, and reads the definition of each guest that it does not know. */
    ask->patience_mono_ns = now.mono_ns + seconds(o->call_s + (verb == SPR_SOURCE_INVENTORY ? o->connect_s : 0));
    pthread_mutex_lock(&s->lock);
    for (size_t h = 0; h < s->hosts; h++)
        send_to(s, ask, h);
    *out = ask->ticket = ++s->tickets;
    *s->last = ask;
    s->last = &ask->next;
    if (!ask->waiting)
        ring(s);
    pthread_mutex_unlock(&s->lock);
    return SPR_OK;
}

void lv_source_answered(struct lv_source *s, struct lv_watch *w, int verb, const struct lv_job *job) {
    size_t h = w->host->index;
    bool failed = job->outcome != SPR_DONE;
    pthread_mutex_lock(&s->lock);
    pthread_mutex_lock(&w->lock);
    w->pending[verb] = false;
    pthread_mutex_unlock(&w->lock);
    if (!s->closed)
        note_why(s, h, failed ? job->code : SPR_OK, failed ? job->text : "");
    for (struct lv_ask *a = s->first; a; a = a->next)
        if (a->verb == verb && a->reply[h] == LV_WAITING) {
            reply(a, h, failed ? LV_FAILED : LV_ANSWERED);
            if (!a->waiting)
                ring(s);
        }
    pthread_mutex_unlock(&s->lock);
}

/* ---- answering ---- */

/* A host that reads one definition after the other is at work, not silent. */
static bool still_working(const struct lv_source *s, const struct lv_ask *ask) {
    int64_t since = lv_clock_ns() - seconds(s->v->opts.call_s);
    bool works = false;
    for (size_t h = 0; h < s->hosts && ask->verb == SPR_SOURCE_INVENTORY && !works; h++)
        if (ask->reply[h] == LV_WAITING) {
            pthread_mutex_lock(&s->watch[h]->lock);
            works = s->watch[h]->progress_ns > since;
            pthread_mutex_unlock(&s->watch[h]->lock);
        }
    return works;
}

static bool over(const struct lv_source *s, struct lv_ask *ask, struct spr_time now) {
    if (ask->cancelled || !ask->waiting || now.mono_ns > ask->deadline_mono_ns)
        return true;
    if (now.mono_ns < ask->patience_mono_ns)
        return false;
    if (!still_working(s, ask))
        return true;
    ask->patience_mono_ns = now.mono_ns + seconds(s->v->opts.call_s);
    return false;
}

static struct lv_ask *take_one(struct lv_source *s, struct spr_time now) {
    struct lv_ask *ask = NULL;
    pthread_mutex_lock(&s->lock);
    for (struct lv_ask **link = &s->first; *link; link = &(*link)->next)
        if (over(s, *link, now)) {
            ask = *link;
            *link = ask->next;
            if (!ask->next)
                s->last = link;
            ask->next = NULL;
            break;
        }
    pthread_mutex_unlock(&s->lock);
    return ask;
}

/* The first host's reason; one that only kept silent is named with its URI. */
static void why_nobody(struct lv_source *s, const struct lv_ask *ask, struct spr_source_completion *c) {
    pthread_mutex_lock(&s->lock);
    const struct lv_host *h = s->watch[0]->host;
    bool silent = ask->reply[0] == LV_WAITING || !s->why[0][0];
    if (silent)
        snprintf(s->text, sizeof s->text, "%s: %s did not answer in time", h->id, h->uri);
    else if (strstr(s->why[0], h->uri))
        snprintf(s->text, sizeof s->text, "%s", s->why[0]);
    else
        snprintf(s->text, sizeof s->text, "%s (%s)", s->why[0], h->uri);
    c->code = silent || !s->why_code[0] ? SPR_E_TIMEOUT : s->why_code[0];
    pthread_mutex_unlock(&s->lock);
    c->outcome = SPR_FAILED;
    c->text = s->text;
}

static void say_samples(struct lv_source *s, const struct lv_ask *ask, struct spr_source_completion *c) {
    size_t count = 0, answered = 0;
    int rc = lv_usage_take(s, &count);
    for (size_t h = 0; h < s->hosts; h++)
        answered += ask->reply[h] == LV_ANSWERED;
    if (rc < 0) {
        c->outcome = SPR_FAILED, c->code = rc, c->text = "libvirt source: out of memory";
        return;
    }
    if (!answered && !count) {
        why_nobody(s, ask, c);
        return;
    }
    c->from = s->sampled ? s->sampled_at : ask->since;
    c->to = s->sampled_at = ask->since;
    s->sampled = true;
    c->usage = s->usage;
    c->usage_count = count;
}

/* False: some hosts are asked once more, it is not over yet. */
static bool say_inventory(struct lv_source *s, struct lv_ask *ask, struct spr_time now,
                          struct spr_source_completion *c) {
    struct spr_error e = {.size = sizeof e};
    int rc = lv_inventory_make(s, ask, now, &c->inventory);
    if (rc == SPR_AGAIN) {
        pthread_mutex_lock(&s->lock);
        ask->again = true;
        ask->patience_mono_ns = now.mono_ns + seconds(s->v->opts.call_s);
        for (size_t h = 0; h < s->hosts; h++)
            if (ask->reply[h] == LV_ANSWERED)
                send_to(s, ask, h);
        ask->next = s->first;
        s->first = ask;
        if (s->last == &s->first)
            s->last = &ask->next;
        pthread_mutex_unlock(&s->lock);
        return false;
    }
    if (rc == SPR_E_NOT_FOUND) {
        why_nobody(s, ask, c);
    } else if (rc < 0) {
        spr_context_error(s->ctx, &e);
        snprintf(s->text, sizeof s->text, "%s", e.text ? e.text : spr_error_text(rc));
        c->outcome = SPR_FAILED, c->code = rc, c->text = s->text;
    }
    return true;
}

static bool say(struct lv_source *s, struct lv_ask *ask, struct spr_time now, struct spr_source_completion *c) {
    memset(c, 0, sizeof *c);
    c->size = sizeof *c;
    c->ticket = ask->ticket;
    if (ask->cancelled) {
        c->outcome = SPR_CANCELLED, c->code = SPR_E_CANCELLED;
    } else if (ask->waiting && now.mono_ns > ask->deadline_mono_ns) {
        why_nobody(s, ask, c);
        c->outcome = SPR_TIMED_OUT, c->code = SPR_E_TIMEOUT;
    } else if (ask->verb == SPR_SOURCE_SAMPLES) {
        say_samples(s, ask, c);
    } else if (!say_inventory(s, ask, now, c)) {
        return false;
    }
    return true;
}

static int source_collect(void *state, struct spr_time now, struct spr_source_completion *out, size_t room,
                          size_t *count) {
    struct lv_source *s = state;
    bool samples = false;
    size_t n = 0, stride = room ? out->size : 0;
    while (n < room && !samples) { /* one answer's usage at a time */
        struct lv_ask *ask = take_one(s, now);
        if (!ask)
            break;
        struct spr_source_completion c;
        if (!say(s, ask, now, &c))
            continue;
        samples = ask->verb == SPR_SOURCE_SAMPLES;
        if (stride < offsetof(struct spr_source_completion, text)) { /* nobody could give it back */
            spr_fleet_unref(c.inventory);
            c.inventory = NULL;
        }
        c.size = stride < sizeof c ? stride : sizeof c; /* an older library's is shorter, a newer one's longer */
        memcpy((char *)out + n++ * stride, &c, c.size);
        lv_free(ask);
    }
    bool more = false;
    pthread_mutex_lock(&s->lock);
    lv_hush(s->fd);
    for (struct lv_ask *a = s->first; a && !more; a = a->next)
        more = over(s, a, now);
    if (more)
        ring(s);
    pthread_mutex_unlock(&s->lock);
    *count = n;
    return SPR_OK;
}

/* ---- waiting ---- */

static int source_fd(void *state) { return ((struct lv_source *)state)->fd; }

static int64_t source_next(void *state) {
    struct lv_source *s = state;
    int64_t next = INT64_MAX;
    pthread_mutex_lock(&s->lock);
    for (const struct lv_ask *a = s->first; a; a = a->next) {
        int64_t at = a->deadline_mono_ns < INT64_MAX ? a->deadline_mono_ns + 1 : INT64_MAX;
        at = a->patience_mono_ns < at ? a->patience_mono_ns : at;
        at = a->cancelled || !a->waiting ? 0 : at;
        next = at < next ? at : next;
    }
    pthread_mutex_unlock(&s->lock);
    return next;
}

static int source_cancel(void *state, spr_ticket ticket) {
    struct lv_source *s = state;
    int rc = SPR_E_NOT_FOUND;
    pthread_mutex_lock(&s->lock);
    for (struct lv_ask *a = s->first; a; a = a->next)
        if (a->ticket == ticket) {
            a->cancelled = a->waiting > 0; /* else it is done already, and will say so */
            rc = SPR_OK;
            ring(s);
        }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static const struct spr_async_ops waiting = {
    .size = sizeof waiting, .fd = source_fd, .next_deadline = source_next, .cancel = source_cancel};
static const struct spr_source_ops source = {
    .size = sizeof source,
    .name = "libvirt",
    .license = "MIT OR Apache-2.0",
    .async = &waiting,
    .open = source_open,
    .close = source_close,
    .submit = source_submit,
    .collect = source_collect,
};
const struct spr_source_ops *spr_libvirt_source(void) { return &source; }
