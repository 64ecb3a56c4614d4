/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The hosts: open, connect, find out that a connection is dead, wait before the next try, close. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "libvirt.h"

/* ---- connecting ---- */

static int64_t pause_ns(const struct lv_host *h) {
    double s = h->v->opts.retry_s;
    for (int i = 1; i < h->tries && s < h->v->opts.retry_max_s; i++)
        s *= 2;
    return (int64_t)((s < h->v->opts.retry_max_s ? s : h->v->opts.retry_max_s) * 1e9);
}

/*
 * What the close callback is given. It may be called after everything of ours is gone: taking it back asks the daemon,
 * and one that is dead does not answer. So it lives until both libvirt and the host have let go of it.
 */
struct lv_ear {
    pthread_mutex_t lock;
    atomic_int refs;
    struct lv_host *host; /* NULL: nobody listens any more */
};

static void closed(virConnectPtr conn, int reason, void *opaque) {
    static const char *const why[] = {"error", "the daemon closed it", "keepalive timeout", "closed"};
    struct lv_ear *ear = opaque;
    (void)conn;
    pthread_mutex_lock(&ear->lock);
    struct lv_host *h = ear->host;
    if (h) {
        pthread_mutex_lock(&h->v->lock);
        snprintf(h->why, sizeof h->why, "%s: connection lost (%s)", h->id,
                 reason >= 0 && reason < 4 ? why[reason] : "unknown reason");
        atomic_store(&h->lost, true);
        pthread_mutex_unlock(&h->v->lock);
    }
    pthread_mutex_unlock(&ear->lock);
}

static void unref_ear(void *opaque) {
    struct lv_ear *ear = opaque;
    if (atomic_fetch_sub(&ear->refs, 1) > 1)
        return;
    pthread_mutex_destroy(&ear->lock);
    lv_free(ear);
}

/* Without memory, or where there is no such callback, the next call that fails tells the same. */
static void listen_to(struct lv_host *h, virConnectPtr conn) {
    struct lv_ear *ear = lv_alloc(sizeof *ear);
    if (!ear)
        return;
    pthread_mutex_init(&ear->lock, NULL);
    atomic_init(&ear->refs, 2);
    ear->host = h;
    h->ear = ear; /* only who is connecting comes here */
    if (virConnectRegisterCloseCallback(conn, closed, ear, unref_ear) < 0)
        unref_ear(ear); /* libvirt's */
}

/*
 * What stands in the way on the road of ssh, in one line. libvirt hands on all that ssh has said: the first line of
 * that may be a frame of @, and none says what helps.
 */
static const char *ssh_refusal(const char *uri, const char *said) {
    static const char wrong_host[] = "the host's key is not the one known for it: compare it with the one on the host, "
                                     "then mend known_hosts (ssh-keygen -R)";
    static const char wrong_key[] = "the host does not take this key: add it to the user's authorized_keys there, or "
                                    "name another by ?keyfile=";
    static const struct {
        const char *says, *means;
    } known[] = {{"Host key verification failed", wrong_host},         /* the ssh program */
                 {"SSH HOST KEY VERIFICATION FAILED", wrong_host},     /* libssh, libssh2 */
                 {"Permission denied (", wrong_key},                   /* the ssh program; polkit has no list */
                 {"failed to authenticate: Access denied", wrong_key}, /* libssh */
                 {"rejected by the server", wrong_key}};               /* libssh2 */
    const char *scheme_end = strstr(uri, "://");
    for (size_t i = 0; scheme_end && i < sizeof known / sizeof *known; i++)
        if (strstr(said, known[i].says) && strstr(uri, "ssh") && strstr(uri, "ssh") < scheme_end)
            return known[i].means;
    return NULL;
}

/* Off the lock: it may take minutes. */
static virConnectPtr try_to_open(struct lv_host *h, int *code, char text[LV_TEXT]) {
    const struct spr_libvirt_opts *o = &h->v->opts;
    virResetLastError();
    virConnectPtr conn = o->read_only ? virConnectOpenReadOnly(h->uri) : virConnectOpen(h->uri);
    if (!conn) {
        const virError *e = virGetLastError();
        const char *said = e && e->message ? e->message : "libvirt does not say why";
        const char *refusal = ssh_refusal(h->uri, said);
        *code = lv_code_of_last_error();
        snprintf(text, LV_TEXT, "%s: cannot connect to %s: %s", h->id, h->uri, refusal ? refusal : said);
        text[strcspn(text, "\n")] = 0;
        return NULL;
    }
    if (o->keepalive_s > 0) /* a driver without it (test:///) says so and needs none */
        virConnectSetKeepAlive(conn, o->keepalive_s, (unsigned int)o->keepalive_count);
    listen_to(h, conn);
    return conn;
}

/* Called under the hosts' lock, which is left meanwhile. */
static void let_go(struct lv_host *h, virConnectPtr conn) {
    struct lv_ear *ear = h->ear;
    h->ear = NULL;
    pthread_mutex_unlock(&h->v->lock);
    if (ear) {
        pthread_mutex_lock(&ear->lock);
        ear->host = NULL;
        pthread_mutex_unlock(&ear->lock);
        /* Taken back, libvirt has let go of it (its test driver forgets to); else it does so with the connection. */
        if (virConnectUnregisterCloseCallback(conn, closed) == 0 && atomic_load(&ear->refs) > 1)
            unref_ear(ear);
        unref_ear(ear);
    }
    virConnectClose(conn);
    pthread_mutex_lock(&h->v->lock);
}

static void connect_now(struct lv_host *h) {
    char text[LV_TEXT] = "";
    int code = SPR_OK;
    h->connecting = true;
    atomic_store(&h->lost, false);
    pthread_mutex_unlock(&h->v->lock);
    virConnectPtr conn = try_to_open(h, &code, text);
    pthread_mutex_lock(&h->v->lock);
    h->connecting = false;
    h->conn = conn;
    if (conn) {
        h->tries = 0;
        h->epoch++;
    } else {
        h->tries++;
        h->why_code = code;
        memcpy(h->why, text, sizeof h->why);
        h->next_try_ns = lv_clock_ns() + pause_ns(h);
    }
    pthread_cond_broadcast(&h->connected);
}

virConnectPtr lv_host_connect(struct lv_host *h, int *code, char text[LV_TEXT]) {
    virConnectPtr conn = NULL;
    pthread_mutex_lock(&h->v->lock);
    while (h->connecting)
        pthread_cond_wait(&h->connected, &h->v->lock);
    if (h->conn && atomic_load(&h->lost)) {
        virConnectPtr dead = h->conn;
        h->conn = NULL;
        h->connecting = true; /* nobody else meanwhile */
        let_go(h, dead);
        h->connecting = false;
    }
    if (!h->conn && lv_clock_ns() >= h->next_try_ns)
        connect_now(h);
    if (h->conn && virConnectRef(h->conn) == 0)
        conn = h->conn;
    if (!conn) {
        *code = h->why_code ? h->why_code : SPR_E_IO;
        memcpy(text, h->why, LV_TEXT);
    }
    pthread_mutex_unlock(&h->v->lock);
    return conn;
}

bool lv_host_pauses(struct lv_host *h, int *code, char text[LV_TEXT]) {
    pthread_mutex_lock(&h->v->lock);
    bool pauses = !h->conn && !h->connecting && lv_clock_ns() < h->next_try_ns;
    if (pauses) {
        *code = h->why_code ? h->why_code : SPR_E_IO;
        memcpy(text, h->why, LV_TEXT);
    }
    pthread_mutex_unlock(&h->v->lock);
    return pauses;
}

void lv_host_lost(struct lv_host *h, virConnectPtr conn, const char *why) {
    pthread_mutex_lock(&h->v->lock);
    if (h->conn == conn && !atomic_exchange(&h->lost, true)) /* the close callback knows better */
        snprintf(h->why, sizeof h->why, "%s", why);
    pthread_mutex_unlock(&h->v->lock);
}

void lv_host_leave(struct lv_host *h) {
    pthread_mutex_lock(&h->v->lock);
    virConnectPtr conn = --h->users ? NULL : h->conn;
    if (conn) {
        h->conn = NULL;
        let_go(h, conn);
    }
    pthread_mutex_unlock(&h->v->lock);
}

int32_t lv_host_find(const struct spr_libvirt *v, const char *id) {
    for (size_t i = 0; id && i < v->host_count; i++)
        if (!strcmp(v->hosts[i].id, id))
            return (int32_t)i;
    return -1;
}

/* ---- references ---- */

struct spr_libvirt *lv_ref(struct spr_libvirt *v) {
    atomic_fetch_add(&v->refs, 1);
    return v;
}

static void host_free(struct lv_host *h) {
    if (h->source_free)
        h->source_free(h->source_state);
    if (h->driver_free)
        h->driver_free(h->driver_state);
    for (int i = 0; i < LV_LANES; i++)
        pthread_cond_destroy(&h->lane[i].wake);
    pthread_cond_destroy(&h->connected);
    lv_free(h->uri), lv_free(h->id), lv_free(h->rack), lv_free(h->zone);
}

void lv_unref(struct spr_libvirt *v) {
    if (atomic_fetch_sub(&v->refs, 1) > 1)
        return;
    for (size_t i = 0; i < v->host_count; i++)
        host_free(&v->hosts[i]);
    lv_free(v->hosts);
    lv_moves_free(v);
    pthread_cond_destroy(&v->ended);
    pthread_mutex_destroy(&v->lock);
    lv_free(v);
}

/* ---- open and close ---- */

static int refuse(spr_context *ctx, int code, const char *uri, const char *text) {
    struct spr_error e = {.size = sizeof e, .code = code, .text = text, .file = uri};
    return spr_context_fail(ctx, &e);
}

/* What stands between // and / or ? of a URI, without user and port; the whole URI where it names no host. */
static char *name_in(const char *uri) {
    const char *at = strstr(uri, "://"), *user, *end;
    char *name;
    if (!at || !at[3] || at[3] == '/' || at[3] == '?')
        return lv_strdup(uri);
    at += 3;
    user = strchr(at, '@');
    end = at + strcspn(at, "/?#");
    if (user && user < end)
        at = user + 1;
    end = at + (*at == '[' ? strcspn(at, "]") + 1 : strcspn(at, ":/?#"));
    if (end <= at || !(name = lv_strdup(at)))
        return lv_strdup(uri);
    name[end - at] = 0;
    return name;
}

static void cond_init(pthread_cond_t *c) {
    pthread_condattr_t how;
    pthread_condattr_init(&how);
    pthread_condattr_setclock(&how, CLOCK_MONOTONIC);
    pthread_cond_init(c, &how);
    pthread_condattr_destroy(&how);
}

static int host_init(spr_context *ctx, struct spr_libvirt *v, struct lv_host *h, const struct spr_libvirt_host *given) {
    struct spr_libvirt_host o;
    int rc = lv_opts_copy(given, &o, sizeof o);
    if (rc < 0)
        return refuse(ctx, rc, NULL, "spr_libvirt_open: a host's struct has no size or is newer than this library");
    h->v = v;
    cond_init(&h->connected);
    for (int i = 0; i < LV_LANES; i++)
        cond_init(&h->lane[i].wake);
    if (!o.uri || !strchr(o.uri, ':'))
        return refuse(ctx, SPR_E_ARG, o.uri, "spr_libvirt_open: not a libvirt URI, such as qemu+tls://hv1/system");
    if (!(o.net_bps >= 0 && o.cpu_overcommit >= 0 && (o.memory_kept >= 0 || o.memory_kept == SPR_NONE)))
        return refuse(ctx, SPR_E_ARG, o.uri, "spr_libvirt_open: a host's capacity is below 0 or no number");
    h->uri = lv_strdup(o.uri);
    h->id = o.id && *o.id ? lv_strdup(o.id) : name_in(o.uri);
    h->rack = lv_strdup(o.rack ? o.rack : "");
    h->zone = lv_strdup(o.zone ? o.zone : "");
    h->net_bps = o.net_bps;
    h->cpu_overcommit = o.cpu_overcommit > 0 ? o.cpu_overcommit : 1;
    h->memory_kept = o.memory_kept;
    if (!h->uri || !h->id || !h->rack || !h->zone)
        return refuse(ctx, SPR_E_NOMEM, o.uri, "spr_libvirt_open: out of memory");
    if (lv_host_find(v, h->id) != (int32_t)h->index)
        return refuse(ctx, SPR_E_ARG, o.uri, "spr_libvirt_open: two hosts of one name; give each an id");
    return SPR_OK;
}

static void fill_defaults(struct spr_libvirt_opts *o) {
    o->connect_s = o->connect_s > 0 ? o->connect_s : 10;
    o->call_s = o->call_s > 0 ? o->call_s : 5;
    o->retry_s = o->retry_s > 0 ? o->retry_s : 1;
    o->retry_max_s = o->retry_max_s > 0 ? o->retry_max_s : 60;
    o->keepalive_s = o->keepalive_s ? o->keepalive_s : 5;
    o->keepalive_count = o->keepalive_count > 0 ? o->keepalive_count : 3;
    o->hosts = NULL;
}

static int open_hosts(spr_context *ctx, struct spr_libvirt *v, const struct spr_libvirt_host *hosts, size_t count) {
    const char *at = (const char *)hosts;
    v->hosts = lv_alloc(count * sizeof *v->hosts);
    if (!v->hosts)
        return refuse(ctx, SPR_E_NOMEM, NULL, "spr_libvirt_open: out of memory");
    for (size_t i = 0; i < count; i++) {
        size_t stride;
        v->host_count = i + 1;
        v->hosts[i].index = i;
        int rc = host_init(ctx, v, &v->hosts[i], (const void *)at);
        if (rc < 0)
            return rc;
        memcpy(&stride, at, sizeof stride);
        at += stride;
    }
    return SPR_OK;
}

int spr_libvirt_open(spr_context *ctx, const struct spr_libvirt_opts *opts, spr_libvirt **out) {
    struct spr_libvirt_opts o;
    if (!ctx)
        return SPR_E_ARG;
    int rc = opts ? lv_opts_copy(opts, &o, sizeof o) : SPR_E_ARG;
    if (rc < 0)
        return refuse(ctx, rc, NULL, "spr_libvirt_open: options without a size or newer than this library");
    if (!out || !o.hosts || !o.host_count || o.host_count > INT32_MAX)
        return refuse(ctx, SPR_E_ARG, NULL, "spr_libvirt_open: hosts are required");
    const struct spr_libvirt_host *hosts = o.hosts;
    fill_defaults(&o);
    if (!o.host_uses_libvirt && lv_event_loop_start() < 0)
        return refuse(ctx, SPR_E_IO, NULL, "spr_libvirt_open: libvirt's event loop cannot be started");
    struct spr_libvirt *v = lv_alloc(sizeof *v);
    if (!v)
        return refuse(ctx, SPR_E_NOMEM, NULL, "spr_libvirt_open: out of memory");
    v->ctx = ctx;
    v->opts = o;
    atomic_init(&v->refs, 1);
    pthread_mutex_init(&v->lock, NULL);
    cond_init(&v->ended);
    if ((rc = open_hosts(ctx, v, hosts, o.host_count)) < 0) {
        lv_unref(v);
        return rc;
    }
    *out = v;
    return SPR_OK;
}

void spr_libvirt_close(spr_libvirt *v, double patience_s) {
    if (!v)
        return;
    int64_t until = lv_clock_ns() + (int64_t)((patience_s > 0 ? patience_s : 0) * 1e9);
    struct timespec t = {.tv_sec = (time_t)(until / 1000000000), .tv_nsec = (long)(until % 1000000000)};
    pthread_mutex_lock(&v->lock);
    atomic_store(&v->closing, true);
    for (size_t i = 0; i < v->host_count; i++)
        for (int k = 0; k < LV_LANES; k++)
            pthread_cond_broadcast(&v->hosts[i].lane[k].wake);
    while (v->threads && !pthread_cond_timedwait(&v->ended, &v->lock, &t))
        ;
    pthread_mutex_unlock(&v->lock);
    lv_unref(v);
}

int spr_libvirt_status(const spr_libvirt *given, size_t host, struct spr_libvirt_status *out) {
    spr_libvirt *v = (spr_libvirt *)(uintptr_t)given; /* the lock is not part of what it says */
    if (!v || host >= v->host_count || !out || out->size < sizeof *out)
        return SPR_E_ARG;
    struct lv_host *h = &v->hosts[host];
    int64_t now = lv_clock_ns();
    pthread_mutex_lock(&v->lock);
    out->id = h->id;
    out->uri = h->uri;
    out->connected = h->conn && !atomic_load(&h->lost);
    out->tries = h->tries;
    out->calls = h->calls;
    out->busy_s = 0;
    for (int i = 0; i < LV_LANES; i++) {
        double s = h->lane[i].running ? (double)(now - h->lane[i].running_since_ns) * 1e-9 : 0;
        out->busy_s = s > out->busy_s ? s : out->busy_s;
    }
    snprintf(out->text, sizeof out->text, "%s", out->connected ? "" : h->why);
    pthread_mutex_unlock(&v->lock);
    return SPR_OK;
}
