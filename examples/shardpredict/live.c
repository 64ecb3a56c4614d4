/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Live series from hosts under libvirt. The backend is opened by its soname, so the tool starts without it. */
#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <shardpredict/backend-libvirt.h>

#include "live.h"

#define STR_(x) #x
#define STR(x)  STR_(x)
#define SONAME  "libshardpredict-libvirt.so." STR(SPR_ABI_VERSION)

enum { RESOURCES = SPR_DISK_WRITE + 1, INVENTORY_EVERY = 5 };

/* ---- the library ---- */

struct backend {
    int (*open)(spr_context *, const struct spr_libvirt_opts *, spr_libvirt **);
    void (*close)(spr_libvirt *, double);
    int (*status)(const spr_libvirt *, size_t, struct spr_libvirt_status *);
    const struct spr_source_ops *(*source)(void);
};

/* dlsym gives a data pointer, hence the copy. */
static bool look_up(void *library, const char *name, void *out, size_t size) {
    void *found = dlsym(library, name);
    memcpy(out, &found, size);
    return found != NULL;
}

static int backend_open(const char *verb, struct backend *b) {
    void *l = dlopen(SONAME, RTLD_LAZY);
    if (l && look_up(l, "spr_libvirt_open", &b->open, sizeof b->open) &&
        look_up(l, "spr_libvirt_close", &b->close, sizeof b->close) &&
        look_up(l, "spr_libvirt_status", &b->status, sizeof b->status) &&
        look_up(l, "spr_libvirt_source", &b->source, sizeof b->source))
        return EXIT_DONE;
    fprintf(stderr,
            "shardpredict %s: --from libvirt: needs the package libshardpredict-libvirt%s (%s cannot be opened)\n",
            verb, STR(SPR_ABI_VERSION), SONAME);
    return EXIT_CANNOT;
}

/* ---- words ---- */

bool live_source_known(const char *verb, const char *from) {
    if (!strncmp(from, "libvirt:", 8) && strchr(from + 8, ':'))
        return true;
    tool_usage(verb, "--from: '%s' is not libvirt:URI, such as libvirt:qemu:///system", from);
    return false;
}

double live_seconds(const char *text) {
    static const struct {
        const char *unit;
        double s;
    } units[] = {{"", 1}, {"s", 1}, {"m", 60}, {"min", 60}, {"h", 3600}, {"ms", 0.001}};
    char *end;
    double v = strtod(text, &end);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (end > text && isfinite(v) && v > 0 && !strcmp(end, units[i].unit))
            return v * units[i].s;
    return -1;
}

/* ---- watching ---- */

static volatile sig_atomic_t interrupted;
static void on_interrupt(int number) { (void)number, interrupted = 1; }

static struct spr_time now(void) {
    struct timespec w, m;
    clock_gettime(CLOCK_REALTIME, &w);
    clock_gettime(CLOCK_MONOTONIC, &m);
    return (struct spr_time){(int64_t)w.tv_sec * 1000000000 + w.tv_nsec, (int64_t)m.tv_sec * 1000000000 + m.tv_nsec};
}

struct watch {
    spr_context *ctx;
    const struct live_request *q;
    struct backend lib;
    spr_libvirt *hosts;
    size_t host_count;
    const struct spr_source_ops *ops;
    void *source;
    spr_fleet *fleet;
    spr_metrics *metrics;
    bool *told; /* by host: that it cannot be reached */
    int64_t samples;
};

/* Until the answer is there, or Ctrl-C. */
static bool ask(struct watch *w, int verb, struct spr_source_completion *c) {
    spr_ticket ticket;
    size_t n = 0;
    struct pollfd fd = {.fd = w->ops->async->fd(w->source), .events = POLLIN};
    if (w->ops->submit(w->source, verb, now(), INT64_MAX, &ticket) < 0)
        return false;
    while (!n && !interrupted) {
        int64_t left = (w->ops->async->next_deadline(w->source) - now().mono_ns) / 1000000 + 1;
        poll(&fd, 1, left < 0 ? 0 : left > 200 ? 200 : (int)left);
        memset(c, 0, sizeof *c);
        c->size = sizeof *c;
        if (w->ops->collect(w->source, now(), c, 1, &n) < 0)
            return false;
        if (n && c->ticket != ticket)
            n = 0; /* of a round that Ctrl-C left behind */
    }
    return n == 1;
}

static void tell_unreachable(struct watch *w) {
    for (size_t i = 0; i < w->host_count; i++) {
        struct spr_host h = {.size = sizeof h};
        struct spr_libvirt_status s = {.size = sizeof s};
        if (spr_fleet_host(w->fleet, (int32_t)i, &h) < 0 || w->lib.status(w->hosts, i, &s) < 0)
            continue;
        if (h.state == SPR_HOST_UNREACHABLE && !w->told[i]) {
            tool_progress_end();
            fprintf(stderr, "shardpredict: warning: %s\n", s.text[0] ? s.text : s.uri);
        }
        w->told[i] = h.state == SPR_HOST_UNREACHABLE;
    }
}

static int take_inventory(struct watch *w) {
    struct spr_source_completion c;
    if (!ask(w, SPR_SOURCE_INVENTORY, &c))
        return interrupted ? EXIT_DONE : tool_error(w->ctx, w->q->verb);
    if (c.outcome != SPR_DONE) {
        tool_progress_end();
        fprintf(stderr, "shardpredict %s: %s\n", w->q->verb, c.text ? c.text : spr_error_text(c.code));
        return EXIT_FAILED;
    }
    spr_fleet_unref(w->fleet);
    w->fleet = c.inventory;
    tell_unreachable(w);
    return EXIT_DONE;
}

/* Demand is what it used, what its shards served and what it had to wait for. */
static int push(struct watch *w, const struct spr_usage *u, int64_t wall_ns) {
    struct spr_vm vm = {.size = sizeof vm};
    struct spr_resource_info info = {.size = sizeof info};
    int64_t row;
    bool known = u->flags & SPR_USAGE_STALL_KNOWN, bound = (u->flags & SPR_USAGE_THROTTLED) && !known;
    if (spr_fleet_vm(w->fleet, u->vm, &vm) < 0 || spr_resource_describe(u->resource, &info) < 0)
        return SPR_OK;
    int rc = spr_metrics_find(w->metrics, vm.id, info.name, &row);
    if (rc < 0)
        rc = spr_metrics_add(w->metrics, vm.id, info.name, u->resource, SPR_GAUGE, 0, &row);
    w->samples++;
    return rc < 0 ? rc
                  : spr_metrics_push(w->metrics, row, wall_ns, u->used + u->served + (known ? u->stalled : 0),
                                     bound ? SPR_SAMPLE_CENSORED : 0);
}

static int take_samples(struct watch *w, bool count) {
    struct spr_source_completion c;
    int rc = SPR_OK;
    if (!ask(w, SPR_SOURCE_SAMPLES, &c))
        return interrupted ? SPR_OK : SPR_E_IO;
    int64_t middle = c.from.wall_ns + (c.to.wall_ns - c.from.wall_ns) / 2;
    for (size_t i = 0; count && c.outcome == SPR_DONE && i < c.usage_count && rc >= 0; i++)
        rc = push(w, &c.usage[i], middle);
    return rc; /* nobody answered: missing is missing */
}

static void sleep_until(int64_t mono_ns) {
    int64_t left;
    while (!interrupted && (left = mono_ns - now().mono_ns) > 0) {
        int64_t slice = left < 100000000 ? left : 100000000;
        struct timespec t = {0, (long)slice};
        nanosleep(&t, NULL);
    }
}

static int rounds(struct watch *w) {
    int64_t step = (int64_t)(w->q->every_s * 1e9), total = (int64_t)ceil(w->q->for_s / w->q->every_s - 1e-9);
    struct spr_time start = now();
    struct spr_metrics_opts how = SPR_METRICS_OPTS_INIT;
    how.origin_ns = start.wall_ns;
    how.step_ns = step;
    if (spr_metrics_create(w->ctx, &how, &w->metrics) < 0 || take_samples(w, false) < 0)
        return tool_error(w->ctx, w->q->verb);
    for (int64_t k = 1; k <= total && !interrupted; k++) {
        char what[80];
        snprintf(what, sizeof what, "watching %d VMs on %d hosts", (int)spr_fleet_vm_count(w->fleet),
                 (int)spr_fleet_host_count(w->fleet));
        tool_progress(NULL, (double)(k - 1) / (double)total, what);
        sleep_until(start.mono_ns + k * step);
        if (interrupted)
            break;
        if (take_samples(w, true) < 0)
            return tool_error(w->ctx, w->q->verb);
        if (k % INVENTORY_EVERY == 0 && k < total && take_inventory(w))
            return EXIT_FAILED;
        while (k < total &&
               start.mono_ns + (k + 1) * step < now().mono_ns) /* too slow for this step: it stays missing */
            k++;
    }
    tool_progress_end();
    return EXIT_DONE;
}

static int open_hosts(struct watch *w) {
    struct spr_libvirt_host *h = calloc(w->host_count, sizeof *h);
    struct spr_env env = {.size = sizeof env, .context = w->ctx};
    struct spr_libvirt_opts o = {
        .size = sizeof o, .hosts = h, .host_count = w->host_count, .read_only = 1, .connect_s = 10, .call_s = 4};
    w->told = calloc(w->host_count, sizeof *w->told);
    int rc = h && w->told ? SPR_OK : SPR_E_NOMEM;
    for (size_t i = 0; i < w->host_count && rc == SPR_OK; i++) {
        h[i].size = sizeof h[i];
        h[i].uri = w->q->from[i] + strlen("libvirt:");
        if (w->host_count > 1)
            h[i].id = h[i].uri; /* whatever their names are, they differ where the URIs do */
    }
    if (rc == SPR_OK)
        rc = w->lib.open(w->ctx, &o, &w->hosts);
    free(h);
    if (rc == SPR_OK) {
        w->ops = w->lib.source();
        rc = w->ops->open(&env, w->hosts, &w->source);
    }
    return rc < 0 ? tool_error(w->ctx, w->q->verb) : EXIT_DONE;
}

static int watch_all(struct watch *w, spr_series **out) {
    int code = backend_open(w->q->verb, &w->lib);
    if (!code)
        code = open_hosts(w);
    if (!code)
        code = take_inventory(w);
    if (!code && w->fleet)
        code = rounds(w);
    if (code)
        return code;
    if (!w->samples) {
        fprintf(stderr, "shardpredict %s: %s: %s\n", w->q->verb, w->q->from[0] + strlen("libvirt:"),
                interrupted ? "interrupted before there were two answers"
                            : "no VM showed any figures (none runs, or the host has no statistics)");
        return EXIT_FAILED;
    }
    return spr_metrics_finish(w->metrics, out) < 0 ? tool_error(w->ctx, w->q->verb) : EXIT_DONE;
}

int live_watch(spr_context *ctx, const struct live_request *q, spr_series **out) {
    struct watch w = {.ctx = ctx, .q = q, .host_count = tool_count(q->from)};
    struct sigaction act = {.sa_handler = on_interrupt}, before;
    sigemptyset(&act.sa_mask);
    sigaction(SIGINT, &act, &before);
    int code = watch_all(&w, out);
    sigaction(SIGINT, &before, NULL);
    tool_progress_end();
    if (w.source)
        w.ops->close(w.source);
    if (w.hosts)
        w.lib.close(w.hosts, 1);
    spr_fleet_unref(w.fleet);
    spr_metrics_destroy(w.metrics);
    free(w.told);
    return code;
}
