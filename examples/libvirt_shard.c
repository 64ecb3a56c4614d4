/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One shard's whole life on real hosts: reserved, allocated, warmed, serving, drained, released.
 *
 *   libvirt_shard FROM TO VM --cpu 0.5 --mem 96M [--kernel-arg K=V]... --probe URL --serve 20s
 *                 [--warm paused|saved|running] [--pool NAME] [--journal FILE] [--kill-at STATE]
 *
 * FROM and TO are libvirt URIs; VM is a domain on FROM. A JSON line per state on stdout, reasons on stderr. What an
 * earlier run left (it was killed, or the machine was) is found on the hosts and removed first. The two hosts must be
 * this program's alone: shards of other VMs there are nobody's by its inventory, and given back.
 */
#include <curl/curl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <shardpredict.h>
#include <shardpredict/backend-libvirt.h>
#include <shardpredict/ops/planner.h>

struct app {
    const char *from, *to, *vm, *probe, *kill_at, *journal, *pool;
    const char *kernel_args[32];
    size_t kernel_arg_count;
    struct spr_amounts amounts;
    double serve_s;
    int32_t warm;
    spr_context *ctx;
    spr_libvirt *hosts;
    spr_lifecycle *life;
    spr_planner *planner;
    spr_fleet *inventory;
    struct spr_action want[16]; /* what the planner says next */
    size_t want_count;
    uint64_t own;  /* our shard, 0 = not yet */
    int applying;  /* the next new shard is ours */
    int state;     /* of our shard */
    int served;    /* it has been serving */
    char why[512]; /* the last warning */
};

static struct spr_time now(void) {
    struct timespec w, m;
    clock_gettime(CLOCK_REALTIME, &w);
    clock_gettime(CLOCK_MONOTONIC, &m);
    return (struct spr_time){w.tv_sec * INT64_C(1000000000) + w.tv_nsec, m.tv_sec * INT64_C(1000000000) + m.tv_nsec};
}

static int fails(struct app *a, const char *what) {
    struct spr_error e = {.size = sizeof e};
    const char *text = spr_context_error(a->ctx, &e) == SPR_OK ? e.text : "";
    fprintf(stderr, "libvirt_shard: %s: %s%s%s\n", what, e.file ? e.file : "", e.file ? ": " : "", text);
    return 1;
}

/* ---- what happens to shards ---- */

static void on_event(void *user, const struct spr_lifecycle_event *e) {
    struct app *a = user;
    const char *state = spr_shard_state_name(e->to);
    if (!e->shard) {
        fprintf(stderr, "libvirt_shard: something foreign uses capacity that is held for shards\n");
        return;
    }
    if (a->applying && !a->own && e->to == SPR_SHARD_PLANNED)
        a->own = e->shard;
    if (e->shard != a->own) { /* an earlier run's */
        if (e->to == SPR_SHARD_ADOPTED)
            printf("{\"found\": %llu}\n", (unsigned long long)e->shard);
        else if (e->to == SPR_SHARD_RELEASED)
            printf("{\"removed\": %llu}\n", (unsigned long long)e->shard);
        fflush(stdout);
        return;
    }
    a->state = e->to;
    a->served |= e->to == SPR_SHARD_SERVING;
    if (e->from == e->to || e->to == SPR_SHARD_PLANNED)
        return;
    printf("{\"state\": \"%s\"}\n", state);
    fflush(stdout);
    if (a->kill_at && !strcmp(a->kill_at, state))
        raise(SIGKILL); /* what a crash is like at this point */
}

static void on_log(void *user, const struct spr_log_record *r) {
    struct app *a = user;
    fprintf(stderr, "libvirt_shard: %s\n", r->text);
    snprintf(a->why, sizeof a->why, "%s", r->text);
}

static int on_identity(void *user, uint64_t shard, const char *vm, const char *host, struct spr_libvirt_identity *out) {
    struct app *a = user;
    (void)shard, (void)vm, (void)host;
    out->kernel_args = a->kernel_args; /* its last element is NULL */
    out->probe = a->probe;
    return 0;
}

/* ---- a planner that says what it is told ---- */

static int plan_open(const struct spr_env *env, const void *config, void **state) {
    (void)env;
    *state = (void *)(uintptr_t)config;
    return SPR_OK;
}
static void plan_close(void *state) { (void)state; }
static int plan_make(void *state, const struct spr_plan_input *in, const struct spr_plan_output *out) {
    const struct app *a = state;
    int rc = SPR_OK;
    (void)in;
    for (size_t i = 0; i < a->want_count && rc >= 0; i++)
        rc = out->action(out->sink, &a->want[i]);
    return rc;
}
static const struct spr_planner_ops told = {.size = sizeof told,
                                            .name = "told",
                                            .license = "MIT OR Apache-2.0",
                                            .open = plan_open,
                                            .close = plan_close,
                                            .plan = plan_make};

/* ---- fleet and plans ---- */

static int make_inventory(struct app *a) {
    spr_fleet_builder *b = NULL;
    struct spr_host h = {.size = sizeof h, .id = a->from, .capacity = a->amounts};
    struct spr_vm v = {
        .size = sizeof v, .id = a->vm, .replica = SPR_REPLICA_IMAGE, .spillable = 1, .flow_lifetime_s = 1};
    int rc = spr_fleet_builder_create(a->ctx, NULL, &b);
    if (rc < 0)
        return rc;
    spr_fleet_builder_use(b, SPR_CPU);
    spr_fleet_builder_use(b, SPR_MEMORY);
    rc = spr_fleet_builder_host(b, &h, NULL);
    h.id = a->to;
    if (rc >= 0)
        rc = spr_fleet_builder_host(b, &h, NULL);
    if (rc >= 0)
        rc = spr_fleet_builder_vm(b, &v, NULL);
    if (rc < 0) {
        spr_fleet_builder_destroy(b);
        return rc;
    }
    return spr_fleet_builder_finish(b, now(), &a->inventory);
}

/* Plan what a->want says over the fleet as it is, and take it. */
static int act(struct app *a, spr_fleet *fleet) {
    struct spr_plan_opts o = {.size = sizeof o, .room = 1};
    spr_plan *plan = NULL;
    int32_t taken = 0;
    int rc = spr_planner_run(a->planner, fleet, NULL, &o, &plan);
    if (rc >= 0)
        rc = spr_lifecycle_apply(a->life, plan, now(), &taken);
    spr_plan_unref(plan);
    return rc < 0 ? rc : taken;
}

static int fleet_now(struct app *a, spr_fleet **out) {
    spr_fleet_builder *b = NULL;
    int rc = spr_fleet_builder_create(a->ctx, a->inventory, &b);
    if (rc < 0)
        return rc;
    if ((rc = spr_lifecycle_fill(a->life, b)) < 0) {
        spr_fleet_builder_destroy(b);
        return rc;
    }
    return spr_fleet_builder_finish(b, now(), out);
}

/* Give back all shards, or all but none: returns how many there are, below 0 an error. */
static int release_all(struct app *a) {
    spr_fleet *fleet = NULL;
    int rc = fleet_now(a, &fleet), count = 0;
    a->want_count = 0;
    for (int32_t i = 0; rc >= 0 && i < spr_fleet_shard_count(fleet); i++, count++) {
        struct spr_shard s = {.size = sizeof s};
        if (spr_fleet_shard(fleet, i, &s) == SPR_OK && s.state != SPR_SHARD_DRAINING && a->want_count < 16)
            a->want[a->want_count++] = (struct spr_action){.size = sizeof(struct spr_action),
                                                           .kind = SPR_ACTION_RELEASE,
                                                           .vm = s.vm,
                                                           .host = s.host,
                                                           .shard = s.id,
                                                           .precondition = s.state,
                                                           .constraint_host = -1,
                                                           .because = SPR_BECAUSE_OPERATOR};
    }
    if (rc >= 0 && a->want_count)
        rc = act(a, fleet);
    spr_fleet_unref(fleet);
    return rc < 0 ? rc : count;
}

static int allocate(struct app *a) {
    spr_fleet *fleet = NULL;
    int rc = fleet_now(a, &fleet);
    a->want_count = 1;
    a->want[0] = (struct spr_action){.size = sizeof(struct spr_action),
                                     .kind = SPR_ACTION_ALLOCATE,
                                     .inverse = SPR_ACTION_RELEASE,
                                     .vm = 0,
                                     .host = 1,
                                     .amounts = a->amounts,
                                     .precondition = -1,
                                     .constraint_host = -1,
                                     .because = SPR_BECAUSE_OPERATOR};
    a->applying = 1;
    rc = rc < 0 ? rc : act(a, fleet);
    spr_fleet_unref(fleet);
    return rc;
}

/* ---- the loop ---- */

/* One step, then wait for the next thing to do, `most_s` at most. */
static int turn(struct app *a, double most_s) {
    struct pollfd p[4];
    int fds[4];
    size_t n = 4;
    int rc = spr_lifecycle_step(a->life, a->inventory, now());
    if (rc < 0)
        return rc;
    int64_t left = spr_lifecycle_next_deadline(a->life) - now().mono_ns;
    double ms = left < 0 ? 0 : (double)left / 1e6 < most_s * 1e3 ? (double)left / 1e6 + 1 : most_s * 1e3;
    spr_lifecycle_fds(a->life, fds, &n);
    for (size_t i = 0; i < n && i < 4; i++)
        p[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
    poll(p, n < 4 ? n : 4, (int)ms);
    return SPR_OK;
}

static size_t swallow(char *data, size_t size, size_t count, void *user) {
    (void)data, (void)user;
    return size * count;
}

static long http_get(const char *url) {
    CURL *c = curl_easy_init();
    long status = 0;
    if (!c)
        return 0;
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, 2000L);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, swallow);
    curl_easy_perform(c);
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(c);
    return status;
}

/* What an earlier run left goes first. */
static int clean(struct app *a) {
    int rc = SPR_OK, left = 1;
    while (rc >= 0 && !spr_lifecycle_ready(a->life))
        rc = turn(a, 0.2);
    while (rc >= 0 && left > 0) {
        rc = left = release_all(a);
        if (left > 0)
            rc = turn(a, 0.2);
    }
    return rc < 0 ? rc : SPR_OK;
}

static int live(struct app *a) {
    int rc = allocate(a);
    if (rc == 0) {
        fprintf(stderr, "libvirt_shard: the plan was not taken\n");
        return SPR_E_STATE;
    }
    while (rc >= 0 && a->state != SPR_SHARD_SERVING && a->state != SPR_SHARD_RELEASED)
        rc = turn(a, 0.2);
    if (rc >= 0 && a->state == SPR_SHARD_SERVING) {
        int64_t until = now().mono_ns + (int64_t)(a->serve_s * 1e9);
        if (!strncmp(a->probe, "http", 4))
            printf("{\"http\": %ld}\n", http_get(a->probe));
        fflush(stdout);
        while (rc >= 0 && a->state == SPR_SHARD_SERVING && now().mono_ns < until)
            rc = turn(a, 0.2);
    }
    while (rc >= 0 && a->state != SPR_SHARD_RELEASED)
        if ((rc = release_all(a)) >= 0)
            rc = turn(a, 0.2);
    return rc;
}

/* ---- beginning and end ---- */

static int usage(const char *wrong) {
    if (wrong)
        fprintf(stderr, "libvirt_shard: %s\n", wrong);
    fprintf(
        stderr,
        "usage: libvirt_shard FROM TO VM --cpu CORES --mem BYTES[K|M|G] [--kernel-arg K=V]... --probe URL --serve "
        "SECONDS[s] [--warm paused|saved|running] [--pool NAME] [--journal FILE] [--kill-at STATE]\n"
        "Gives back every shard that stands on FROM and TO when it begins, whoever made it: both hosts must be this "
        "program's alone.\n");
    return 2;
}

static int read_number(const char *text, const char *units, double *out) {
    static const double factor[] = {1024.0, 1048576.0, 1073741824.0};
    char *end;
    *out = strtod(text, &end);
    const char *unit = *end ? strchr("KMG", *end) : NULL;
    if (end == text || !(*out > 0))
        return -1;
    if (*end == 's' && !end[1] && *units == 's')
        return 0;
    if (unit && !end[1] && *units == 'B')
        *out *= factor[unit - "KMG"];
    return *end && !(unit && !end[1] && *units == 'B') ? -1 : 0;
}

static int read_option(struct app *a, const char *name, const char *value) {
    static const char *const warm[] = {"paused", "saved", "running"};
    if (!strcmp(name, "--cpu"))
        return read_number(value, "", &a->amounts.of[SPR_CPU]);
    if (!strcmp(name, "--mem"))
        return read_number(value, "B", &a->amounts.of[SPR_MEMORY]);
    if (!strcmp(name, "--serve"))
        return read_number(value, "s", &a->serve_s);
    if (!strcmp(name, "--probe"))
        return a->probe = value, 0;
    if (!strcmp(name, "--kill-at"))
        return a->kill_at = value, 0;
    if (!strcmp(name, "--journal"))
        return a->journal = value, 0;
    if (!strcmp(name, "--pool"))
        return a->pool = value, 0;
    if (!strcmp(name, "--kernel-arg") && a->kernel_arg_count < 31)
        return a->kernel_args[a->kernel_arg_count++] = value, 0;
    for (int i = 0; !strcmp(name, "--warm") && i < 3; i++)
        if (!strcmp(value, warm[i]))
            return a->warm = i, 0;
    return -1;
}

static int read_arguments(struct app *a, int argc, char **argv) {
    char text[160];
    if (argc < 4)
        return usage(NULL);
    a->from = argv[1], a->to = argv[2], a->vm = argv[3];
    for (int i = 4; i < argc; i += 2)
        if (i + 1 == argc || read_option(a, argv[i], argv[i + 1]) < 0) {
            snprintf(text, sizeof text, "%.60s %.60s is not understood", argv[i],
                     i + 1 < argc ? argv[i + 1] : "(nothing)");
            return usage(text);
        }
    if (!(a->amounts.of[SPR_CPU] > 0) || !(a->amounts.of[SPR_MEMORY] > 0) || !a->probe || !(a->serve_s > 0))
        return usage("--cpu, --mem, --probe and --serve are required");
    return 0;
}

static int start(struct app *a) {
    struct spr_libvirt_host h[2] = {{.size = sizeof h[0], .uri = a->from, .id = a->from},
                                    {.size = sizeof h[0], .uri = a->to, .id = a->to}};
    struct spr_libvirt_opts ho = {.size = sizeof ho, .hosts = h, .host_count = 2};
    struct spr_store_file_opts so = {.size = sizeof so, .path = a->journal};
    if (spr_libvirt_open(a->ctx, &ho, &a->hosts) < 0)
        return fails(a, "cannot open the hosts");
    struct spr_libvirt_driver_opts d = {.size = sizeof d,
                                        .hosts = a->hosts,
                                        .warm = a->warm,
                                        .pool = a->pool,
                                        .drain_idle_s = 1,
                                        .lease_s = 3,
                                        .identity = on_identity,
                                        .user = a};
    struct spr_lifecycle_opts l = {.size = sizeof l,
                                   .driver = spr_libvirt_driver(),
                                   .driver_config = &d,
                                   .store = a->journal ? spr_store_file() : NULL,
                                   .store_config = &so,
                                   .call_deadline_s = 180,
                                   /* whoever starts later wins, with a journal and without */
                                   .fence = (uint64_t)(now().wall_ns / 1000000),
                                   .reserve_first = 1,
                                   .event = on_event,
                                   .user = a};
    if (make_inventory(a) < 0)
        return fails(a, "cannot make the fleet");
    if (spr_planner_create(a->ctx, &told, a, &a->planner) < 0)
        return fails(a, "cannot make the planner");
    if (spr_lifecycle_create(a->ctx, &l, &a->life) < 0)
        return fails(a, "cannot make the lifecycle");
    return 0;
}

int main(int argc, char **argv) {
    struct app a = {.state = -1};
    struct spr_logger log = {.size = sizeof log, .log = on_log, .user = &a, .level = SPR_LOG_WARN};
    struct spr_context_opts co = SPR_CONTEXT_OPTS_INIT;
    int rc = read_arguments(&a, argc, argv);
    if (rc)
        return rc;
    co.logger = &log;
    if (spr_context_create(&co, &a.ctx) < 0)
        return 1;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    rc = start(&a);
    if (!rc && (clean(&a) < 0 || live(&a) < 0))
        rc = fails(&a, "stopped");
    if (!rc && !a.served) {
        fprintf(stderr, "libvirt_shard: VM %s got no shard: %s\n", a.vm, a.why);
        rc = 1;
    }
    spr_lifecycle_destroy(a.life);
    spr_planner_destroy(a.planner);
    spr_fleet_unref(a.inventory);
    spr_libvirt_close(a.hosts, 5);
    spr_context_unref(a.ctx);
    curl_global_cleanup();
    return rc;
}
