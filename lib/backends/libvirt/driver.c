/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The driver's table. Everything here runs on the caller's thread: it makes jobs, hands back what has become of them,
 * and remembers which shards were seen where, so that those of a host that does not answer are unknown, not gone.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "driver.h"

struct known {
    uint64_t id, fence;
    char *vm;
    size_t host;
    int32_t kind;
    struct spr_amounts ready, pending, draining;
};

struct driver {
    spr_context *ctx;
    struct lv_driver *d;
    struct lv_desk *desk;
    uint64_t fence; /* highest that was asked with */
    struct known *known;
    size_t known_count, known_cap;
    struct lv_gather *gathers;           /* open observations */
    struct lv_job *told;                 /* collected, their texts are still lent out */
    struct spr_observed_shard *observed; /* likewise */
    size_t observed_cap;
    char missing[6 * LV_TEXT], unkept_why[3 * LV_TEXT];
    char late[2 * LV_TEXT]; /* why the last ticket had no answer in time, likewise */
};

/* ---- the shared half ---- */

struct lv_driver *lv_driver_ref(struct lv_driver *d) {
    atomic_fetch_add(&d->refs, 1);
    return d;
}

void lv_driver_unref(struct lv_driver *d) {
    if (!d || atomic_fetch_sub(&d->refs, 1) > 1)
        return;
    for (size_t i = 0; d->host && i < d->v->host_count; i++) {
        lv_free(d->host[i].use);
        lv_hot_free(&d->host[i]);
    }
    for (size_t i = 0; i < d->home_count; i++)
        lv_free(d->homes[i].vm);
    lv_free(d->homes);
    lv_gone_free(d);
    lv_free(d->host);
    lv_free((char *)(uintptr_t)d->o.owner);
    lv_free((char *)(uintptr_t)d->o.pool);
    lv_free((char *)(uintptr_t)d->o.template_xml);
    lv_free((char *)(uintptr_t)d->o.shared);
    lv_free((char *)(uintptr_t)d->o.vf_network);
    lv_free((char *)(uintptr_t)d->o.partition);
    pthread_mutex_destroy(&d->lock);
    if (d->v)
        lv_unref(d->v);
    lv_free(d);
}

/* What it may be called in a lock's description: nothing that XML would change, and no blanks. */
static char *owner_name(const char *given) {
    char host[256] = "", text[LV_TEXT / 2];
    gethostname(host, sizeof host - 1);
    if (given && *given)
        snprintf(text, sizeof text, "%s", given);
    else
        snprintf(text, sizeof text, "%.120s:%ld", host, (long)getpid());
    for (char *c = text; *c; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
              strchr("._:@/+-", *c)))
            *c = '_';
    return lv_strdup(text);
}

static int refuse(spr_context *ctx, int code, const char *text) {
    struct spr_error e = {.size = sizeof e, .code = code, .text = text};
    return spr_context_fail(ctx, &e);
}

static int fill_defaults(spr_context *ctx, struct spr_libvirt_driver_opts *o) {
    struct {
        double *of, usual;
    } d[] = {{&o->probe_s, 0.25},      {&o->boot_s, 120}, {&o->prefetch_bytes_s, 50e6}, {&o->drain_idle_s, 5},
             {&o->reserve_ttl_s, 900}, {&o->lease_s, 30}, {&o->downtime_s, 0.3}};
    if (o->prefetch_bytes_s == SPR_NONE)
        d[2].usual = 0, o->prefetch_bytes_s = 0;
    for (size_t i = 0; i < sizeof d / sizeof *d; i++) {
        if (!(*d[i].of >= 0 && *d[i].of < 1e12))
            return refuse(ctx, SPR_E_ARG, "spr_libvirt_driver_opts: a duration or budget is below 0 or no number");
        *d[i].of = *d[i].of > 0 ? *d[i].of : d[i].usual;
    }
    if (!(o->migrate_bytes_s >= 0) || o->warm < SPR_LIBVIRT_WARM_PAUSED || o->warm > SPR_LIBVIRT_WARM_RUNNING)
        return refuse(ctx, SPR_E_ARG, "spr_libvirt_driver_opts: migrate_bytes_s or warm is out of range");
    if ((o->limit_net && o->limit_net != SPR_NONE) || o->trial < 0 || o->trial > 1)
        return refuse(ctx, SPR_E_ARG, "spr_libvirt_driver_opts: limit_net is 0 or SPR_NONE, trial 0 or 1");
    if (o->partition && (*o->partition != '/' || !o->partition[1]))
        return refuse(ctx, SPR_E_ARG, "spr_libvirt_driver_opts.partition: a path such as /machine/shards is required");
    if (o->vf_network && !*o->vf_network)
        return refuse(ctx, SPR_E_ARG, "spr_libvirt_driver_opts.vf_network: the name of a network, or NULL");
    if (o->lease_s < 1)
        return refuse(ctx, SPR_E_ARG, "spr_libvirt_driver_opts.lease_s: must be 1 s or more");
    return SPR_OK;
}

static int copy_texts(struct lv_driver *d) {
    struct spr_libvirt_driver_opts *o = &d->o;
    const char *owner = o->owner, *pool = o->pool && *o->pool ? o->pool : "default", *template = o->template_xml;
    const char *shared = o->shared, *vf_network = o->vf_network, *partition = o->partition;
    o->owner = owner_name(owner);
    o->pool = lv_strdup(pool);
    o->template_xml = lv_strdup(template);
    o->shared = lv_strdup(shared);
    o->vf_network = lv_strdup(vf_network);
    o->partition = lv_strdup(partition);
    return o->owner && o->pool && (!template || o->template_xml) && (!shared || o->shared) &&
                   (!vf_network || o->vf_network) && (!partition || o->partition)
               ? SPR_OK
               : SPR_E_NOMEM;
}

static struct lv_driver *shared_new(const struct spr_libvirt_driver_opts *o) {
    struct lv_driver *d = lv_alloc(sizeof *d);
    struct timespec t;
    if (!d)
        return NULL;
    atomic_init(&d->refs, 1);
    pthread_mutex_init(&d->lock, NULL);
    d->o = *o;
    d->v = lv_ref(o->hosts);
    clock_gettime(CLOCK_REALTIME, &t);
    d->salt = (uint64_t)t.tv_sec * UINT64_C(1000000007) ^ (uint64_t)t.tv_nsec << 20 ^ (uint64_t)getpid() << 48 ^
              (uint64_t)(uintptr_t)d;
    d->host = lv_alloc(d->v->host_count * sizeof *d->host);
    if (copy_texts(d) < 0 || !d->host) {
        lv_driver_unref(d);
        return NULL;
    }
    return d;
}

static int driver_open(const struct spr_env *env, const void *config, void **state) {
    struct spr_libvirt_driver_opts o;
    int rc = config ? lv_opts_copy(config, &o, sizeof o) : SPR_E_ARG;
    if (!env)
        return SPR_E_ARG;
    if (rc < 0)
        return refuse(env->context, rc, "spr_libvirt_driver: options without a size or newer than this library");
    if (!o.hosts)
        return refuse(env->context, SPR_E_ARG, "spr_libvirt_driver_opts.hosts: open hosts are required");
    if (o.hosts->opts.read_only)
        return refuse(env->context, SPR_E_ARG, "spr_libvirt_driver_opts.hosts: they are open for reading only");
    if ((rc = fill_defaults(env->context, &o)) < 0)
        return rc;
    struct driver *s = lv_alloc(sizeof *s);
    if (s) {
        s->ctx = env->context;
        s->d = shared_new(&o);
        s->desk = s->d ? lv_desk_open(env->notifier) : NULL;
    }
    if (!s || !s->desk) {
        if (s)
            lv_driver_unref(s->d);
        lv_free(s);
        return refuse(env->context, SPR_E_NOMEM, "spr_libvirt_driver: out of memory");
    }
    *state = s;
    return SPR_OK;
}

static void forget_told(struct driver *s) {
    while (s->told) {
        struct lv_job *next = s->told->next;
        lv_job_destroy(s->told);
        s->told = next;
    }
}

static void driver_close(void *state) {
    struct driver *s = state;
    lv_desk_close(s->desk);
    forget_told(s);
    while (s->gathers) {
        struct lv_gather *next = s->gathers->next;
        lv_gather_close(s->gathers);
        lv_gather_unref(s->gathers);
        s->gathers = next;
    }
    for (size_t i = 0; i < s->known_count; i++)
        lv_free(s->known[i].vm);
    lv_free(s->known);
    lv_free(s->observed);
    lv_driver_unref(s->d);
    lv_free(s);
}

/* ---- what was seen where ---- */

static void known_drop(struct driver *s, size_t i) {
    lv_free(s->known[i].vm);
    s->known[i] = s->known[--s->known_count];
}

static struct known *known_find(struct driver *s, uint64_t id) {
    for (size_t i = 0; i < s->known_count; i++)
        if (s->known[i].id == id)
            return &s->known[i];
    return NULL;
}

/* Without memory it is not remembered: should its host go away, it is missed until the host is back. */
static struct known *known_need(struct driver *s, uint64_t id, const char *vm, size_t host, int32_t kind) {
    struct known *k = known_find(s, id);
    if (k || lv_grow((void **)&s->known, &s->known_cap, s->known_count + 1, sizeof *s->known) < 0)
        return k;
    char *name = lv_strdup(vm);
    if (!name)
        return NULL;
    k = &s->known[s->known_count++];
    *k = (struct known){.id = id, .vm = name, .host = host, .kind = kind};
    return k;
}

/* ---- submit ---- */

static int copy_identity(struct lv_act *a, const struct spr_libvirt_identity *given) {
    struct spr_libvirt_identity i;
    int rc = lv_opts_copy(given, &i, sizeof i);
    size_t n = 0;
    if (rc < 0)
        return rc;
    while (i.kernel_args && i.kernel_args[n])
        n++;
    a->kernel_args = lv_alloc((n + 1) * sizeof *a->kernel_args);
    bool ok = a->kernel_args != NULL;
    for (; ok && a->kernel_arg_count < n; a->kernel_arg_count += ok)
        ok = (a->kernel_args[a->kernel_arg_count] = lv_strdup(i.kernel_args[a->kernel_arg_count])) != NULL;
    a->seed_url = lv_strdup(i.seed_url);
    a->seed_image = lv_strdup(i.seed_image);
    a->mac = lv_strdup(i.mac);
    a->probe = lv_strdup(i.probe);
    return ok && (!i.seed_url || a->seed_url) && (!i.seed_image || a->seed_image) && (!i.mac || a->mac) &&
                   (!i.probe || a->probe)
               ? SPR_OK
               : SPR_E_NOMEM;
}

static int ask_identity(struct driver *s, struct lv_act *a, const struct spr_driver_request *q) {
    const struct spr_libvirt_driver_opts *o = &s->d->o;
    struct spr_libvirt_identity id = {.size = sizeof id};
    if (!o->identity || q->verb != SPR_DRIVER_ALLOCATE || q->kind != SPR_SHARD_REPLICA)
        return SPR_OK;
    int rc = o->identity(o->user, q->shard, q->vm, q->host, &id);
    return rc < 0 ? rc : copy_identity(a, &id);
}

static struct lv_act *act_new(struct driver *s, const struct spr_driver_request *q, size_t host, int *code) {
    struct lv_act *a = lv_act_new(s->d, q->verb, q->shard, q->vm, host, q->fence);
    *code = SPR_E_NOMEM;
    if (!a)
        return NULL;
    a->kind = q->kind;
    a->piece = q->piece;
    a->amounts = q->amounts;
    a->warm = q->warm;
    a->first = !known_find(s, q->shard);
    if ((*code = ask_identity(s, a, q)) == SPR_OK)
        return a;
    lv_act_destroy(&a->job);
    return NULL;
}

/* A request that can never be: it ends at once, and says why. */
static int answer(struct driver *s, struct spr_time now, int64_t deadline, int code, const char *text,
                  spr_ticket *out) {
    struct lv_job *j = lv_alloc(sizeof *j);
    if (!j)
        return SPR_E_NOMEM;
    lv_desk_accept(s->desk, j, now, deadline);
    *out = j->ticket;
    lv_job_fail(j, code, "%s", text);
    lv_desk_done(j);
    return SPR_OK;
}

static int observe(struct driver *s, struct spr_time now, int64_t deadline, spr_ticket *out) {
    struct lv_gather *g = NULL;
    int rc = lv_observe(s->d, s->desk, s->fence, now, deadline, &g);
    if (rc < 0)
        return rc;
    *out = g->job.ticket;
    g->next = s->gathers;
    s->gathers = g;
    return SPR_OK;
}

static const char *wrong(const struct spr_driver_request *q) {
    if (!q->shard || !q->vm || !*q->vm || !q->host || !*q->host)
        return "a request needs a shard, its VM and its host";
    if (q->warm < SPR_WARM_ANY || q->warm >= SPR_WARM_STATE_END_)
        return "a warm shard cannot wait like that";
    for (int r = 0; r < SPR_RESOURCES_MAX; r++)
        if (!(q->amounts.of[r] >= 0) || isinf(q->amounts.of[r]))
            return "an amount is below 0 or no number";
    return NULL;
}

static int driver_submit(void *state, const struct spr_driver_request *given, struct spr_time now, int64_t deadline,
                         spr_ticket *out) {
    struct driver *s = state;
    struct spr_driver_request q;
    int rc = lv_opts_copy(given, &q, sizeof q);
    if (rc < 0)
        return rc;
    if (q.verb < SPR_DRIVER_OBSERVE || q.verb >= SPR_DRIVER_VERB_END_)
        return SPR_E_ARG;
    if (q.fence < s->fence)
        return SPR_E_FENCED;
    s->fence = q.fence;
    if (q.verb == SPR_DRIVER_OBSERVE)
        return observe(s, now, deadline, out);
    char text[LV_TEXT];
    int32_t host = q.host ? lv_host_find(s->d->v, q.host) : -1;
    if (wrong(&q))
        return answer(s, now, deadline, SPR_E_ARG, wrong(&q), out);
    snprintf(text, sizeof text, "%s: no host of that name is open", q.host);
    if (host < 0)
        return answer(s, now, deadline, SPR_E_NOT_FOUND, text, out);
    snprintf(text, sizeof text, "%s: %s is not done by this driver", q.host, spr_driver_verb_name(q.verb));
    if (!lv_verbs[q.verb])
        return answer(s, now, deadline, SPR_E_UNSUPPORTED, text, out);
    struct lv_act *a = act_new(s, &q, (size_t)host, &rc);
    if (!a)
        return rc;
    lv_desk_accept(s->desk, &a->job, now, deadline);
    *out = a->job.ticket;
    rc = lv_lane_put(&s->d->v->hosts[host], LV_ACT, &a->job);
    if (rc < 0) {
        lv_desk_withdraw(s->desk, &a->job);
        lv_act_destroy(&a->job);
        return rc;
    }
    if (q.verb == SPR_DRIVER_RESERVE || q.verb == SPR_DRIVER_ALLOCATE)
        known_need(s, q.shard, q.vm, (size_t)host, q.kind);
    return SPR_OK;
}

/* ---- collect ---- */

static struct spr_observed_shard *put_observed(struct driver *s, size_t at) {
    if (lv_grow((void **)&s->observed, &s->observed_cap, at + 1, sizeof *s->observed) < 0)
        return NULL;
    memset(&s->observed[at], 0, sizeof s->observed[at]);
    s->observed[at].size = sizeof s->observed[at];
    return &s->observed[at];
}

static void learn(struct driver *s, const struct lv_gather *g) {
    for (size_t i = s->known_count; i-- > 0;)
        if (g->answered[s->known[i].host])
            known_drop(s, i);
    for (size_t i = 0; i < g->seen_count; i++) {
        const struct lv_seen *e = &g->seen[i];
        struct known *k = e->id ? known_need(s, e->id, e->vm, e->host, e->kind) : NULL;
        if (!k)
            continue;
        k->fence = e->fence;
        k->ready = e->ready, k->pending = e->pending, k->draining = e->draining;
    }
}

static int tell_seen(struct driver *s, const struct lv_gather *g, size_t *n) {
    for (size_t i = 0; i < g->seen_count; i++) {
        const struct lv_seen *e = &g->seen[i];
        struct spr_observed_shard *o = put_observed(s, *n);
        if (!o)
            return SPR_E_NOMEM;
        ++*n;
        o->id = e->id, o->fence = e->fence;
        o->vm = e->vm ? e->vm : "", o->host = s->d->v->hosts[e->host].id;
        o->kind = e->kind, o->state = e->state;
        o->ready = e->ready, o->pending = e->pending, o->draining = e->draining, o->used = e->used;
        o->warmness = e->warmness;
    }
    return SPR_OK;
}

static int tell_unknown(struct driver *s, const struct lv_gather *g, size_t *n) {
    for (size_t i = 0; i < s->known_count; i++) {
        const struct known *k = &s->known[i];
        if (g->answered[k->host])
            continue;
        struct spr_observed_shard *o = put_observed(s, *n);
        if (!o)
            return SPR_E_NOMEM;
        ++*n;
        o->id = k->id, o->fence = k->fence;
        o->vm = k->vm, o->host = s->d->v->hosts[k->host].id;
        o->kind = k->kind, o->state = SPR_SHARD_UNKNOWN;
        o->ready = k->ready, o->pending = k->pending, o->draining = k->draining;
    }
    return SPR_OK;
}

/* No memory to say what is there is not the same as nothing. */
static void tell_gather(struct driver *s, struct lv_gather *g, struct spr_driver_completion *c) {
    size_t n = 0;
    if (!g->nomem)
        learn(s, g);
    if (g->nomem || tell_seen(s, g, &n) < 0 || tell_unknown(s, g, &n) < 0) {
        c->outcome = SPR_FAILED;
        c->code = SPR_E_NOMEM;
        c->text = spr_error_text(SPR_E_NOMEM);
        return;
    }
    c->observed = s->observed;
    c->observed_count = n;
}

static void tell_act(struct driver *s, const struct lv_act *a, struct spr_driver_completion *c) {
    bool makes = a->verb == SPR_DRIVER_RESERVE || a->verb == SPR_DRIVER_ALLOCATE;
    bool whole = a->verb == SPR_DRIVER_RELEASE && !a->piece;
    c->warmness = a->warmness;
    c->amounts = a->held;
    if (makes && c->outcome == SPR_DONE)
        known_need(s, a->shard, a->vm, a->target, a->kind);
    /* What was refused is not there; it must not be missed on a host that does not answer later. */
    struct known *k = known_find(s, a->shard);
    if (k && ((whole && c->outcome == SPR_DONE) || (makes && a->first && c->outcome == SPR_FAILED)))
        known_drop(s, (size_t)(k - s->known));
}

static void tell(struct driver *s, struct lv_job *j, struct spr_driver_completion *c) {
    c->ticket = j->ticket;
    c->outcome = j->outcome;
    c->code = j->outcome == SPR_DONE ? SPR_OK : j->code;
    c->text = j->outcome == SPR_DONE || !j->text[0] ? NULL : j->text;
    if (j->destroy == lv_act_destroy)
        tell_act(s, (struct lv_act *)j, c);
    else if (j->destroy && j->outcome == SPR_DONE)
        tell_gather(s, (struct lv_gather *)j, c);
}

/* Observations whose hosts have had their time; those that are over are let go of. */
static void close_gathers(struct driver *s, struct spr_time now) {
    for (struct lv_gather **link = &s->gathers, *g; (g = *link);) {
        if (now.mono_ns >= g->due_mono_ns)
            lv_gather_close(g);
        pthread_mutex_lock(&g->lock);
        bool ended = g->ended;
        pthread_mutex_unlock(&g->lock);
        if (ended) {
            *link = g->next;
            lv_gather_unref(g);
        } else {
            link = &g->next;
        }
    }
}

/* A ticket without an answer: what its host is known to be at. One text a collect; others say the bare fact. */
static const char *late_why(struct driver *s, bool *told) {
    struct spr_libvirt_status t = {.size = sizeof t};
    const struct lv_host *host = s->desk->late_host;
    if (*told || !host || spr_libvirt_status(s->d->v, host->index, &t) < 0)
        return "no answer by the deadline";
    *told = true;
    snprintf(s->late, sizeof s->late, "%s: no answer by the deadline; libvirt has been busy there for %.0f s%s%s", t.id,
             t.busy_s, t.text[0] ? ": " : "", t.text);
    return s->late;
}

static int driver_collect(void *state, struct spr_time now, struct spr_driver_completion *out, size_t room,
                          size_t *count) {
    struct driver *s = state;
    size_t n = 0, stride = room ? out->size : 0;
    bool looked = false, told = false;
    forget_told(s);
    close_gathers(s, now);
    while (n < room && !looked) {
        spr_ticket late = 0;
        struct lv_job *j = lv_desk_take(s->desk, now, &late);
        if (!j && !late)
            break;
        struct spr_driver_completion c = {
            .size = sizeof c, .ticket = late, .outcome = SPR_TIMED_OUT, .code = SPR_E_TIMEOUT};
        if (!j)
            c.text = late_why(s, &told);
        if (j) {
            tell(s, j, &c);
            looked = c.observed != NULL; /* one picture at a time: the next collect has the next one */
            j->next = s->told;
            s->told = j;
        }
        c.size = stride < sizeof c ? stride : sizeof c;
        memcpy((char *)out + n * stride, &c, c.size);
        n++;
    }
    *count = n;
    return SPR_OK;
}

/* ---- waiting ---- */

static int driver_fd(void *state) { return ((struct driver *)state)->desk->fd; }

static int64_t driver_next(void *state) {
    struct driver *s = state;
    int64_t next = lv_desk_next(s->desk);
    for (const struct lv_gather *g = s->gathers; g; g = g->next)
        next = g->due_mono_ns < next ? g->due_mono_ns : next;
    return next;
}

static int driver_cancel(void *state, spr_ticket ticket) {
    return lv_desk_cancel(((struct driver *)state)->desk, ticket);
}

/* ---- what a host can do ---- */

static void add_missing(char *text, size_t room, const char *what, const char *why) {
    size_t n = strlen(text);
    snprintf(text + n, room - n, "%s%s%s%s", n ? "; " : "", what, why && *why ? ": " : "", why ? why : "");
}

/* How shards wait on a host, by what was measured there; what never was is no slower than a boot. */
static void tell_warm(const struct lv_facts *f, struct spr_driver_capabilities *out) {
    double paused = f->resume_s > 0 ? f->resume_s : f->boot_s, saved = f->restore_s > 0 ? f->restore_s : f->boot_s;
    double idle = f->idle_s > 0 ? f->idle_s : f->boot_s;
    out->warm_states = 1u << SPR_WARM_PAUSED | 1u << SPR_WARM_SAVED | 1u << SPR_WARM_RUNNING;
    out->warm[SPR_WARM_PAUSED] = (struct spr_warm_cost){.resume_s = paused, .memory_held = 1};
    out->warm[SPR_WARM_SAVED] = (struct spr_warm_cost){.resume_s = saved, .enter_s = f->save_s};
    out->warm[SPR_WARM_RUNNING] = (struct spr_warm_cost){.resume_s = idle, .memory_held = 1, .cpu_held = LV_IDLE_SHARE};
}

static void tell_means(struct driver *s, int32_t i, struct spr_driver_capabilities *out);

static int driver_capabilities(void *state, const char *host, struct spr_driver_capabilities *out) {
    struct driver *s = state;
    int32_t i = host ? lv_host_find(s->d->v, host) : -1;
    struct spr_driver_capabilities all = {0};
    if (!out || out->size < offsetof(struct spr_driver_capabilities, unkept) || i < 0)
        return SPR_E_NOT_FOUND;
    tell_means(s, i, &all);
    all.size = out->size < sizeof all ? out->size : sizeof all; /* an older caller's is shorter */
    size_t given = out->size;
    memcpy(out, &all, all.size);
    out->size = given;
    return SPR_OK;
}

static void tell_means(struct driver *s, int32_t i, struct spr_driver_capabilities *out) {
    struct lv_facts f;
    pthread_mutex_lock(&s->d->lock);
    f = s->d->host[i].facts;
    pthread_mutex_unlock(&s->d->lock);
    char *m = s->missing;
    m[0] = 0;
    if (!f.looked)
        add_missing(m, sizeof s->missing, "nothing is known of this host before it was observed once", NULL);
    if (f.no_secrets)
        add_missing(m, sizeof s->missing, "no secrets: only fences in the metadata keep two controllers apart", NULL);
    if (f.no_pool)
        add_missing(m, sizeof s->missing, "no overlays, so only VMs without disks can have replicas", f.pool_why);
    out->unkept = lv_means_lack(s->d, &f, s->unkept_why, sizeof s->unkept_why);
    out->unkept_why = out->unkept ? s->unkept_why : NULL;
    if (out->unkept)
        add_missing(m, sizeof s->missing, s->unkept_why, NULL);
    if (f.unsure[0])
        add_missing(m, sizeof s->missing, "what can be limited there is not known", f.unsure);
    if (f.no_migration)
        add_missing(m, sizeof s->missing, "no live migration", NULL);
    if (f.vf_why[0])
        add_missing(m, sizeof s->missing, "no virtual functions", f.vf_why);
    out->verbs = 0;
    for (int v = 0; v < SPR_DRIVER_VERB_END_; v++)
        if (lv_verbs[v] || v == SPR_DRIVER_OBSERVE)
            out->verbs |= UINT64_C(1) << v;
    out->replica = 1;
    out->headroom = !f.no_migration;
    out->allocate_s = f.allocate_s;
    out->warm_s = f.boot_s + (s->d->o.warm == SPR_LIBVIRT_WARM_SAVED ? f.save_s : 0);
    out->missing = m[0] ? m : NULL;
    tell_warm(&f, out);
}

static const struct spr_async_ops waiting = {
    .size = sizeof waiting,
    .fd = driver_fd,
    .next_deadline = driver_next,
    .cancel = driver_cancel,
};
static const struct spr_driver_ops driver = {
    .size = sizeof driver,
    .name = "libvirt",
    .license = "MIT OR Apache-2.0",
    .async = &waiting,
    .open = driver_open,
    .close = driver_close,
    .submit = driver_submit,
    .collect = driver_collect,
    .capabilities = driver_capabilities,
};
const struct spr_driver_ops *spr_libvirt_driver(void) { return &driver; }
