/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The driver by hand, for tests: requests on standard input, one a line, what has become of each on standard output.
 *
 *   drive [OPTION=VALUE]... ID=URI...
 *   options: warm (paused, saved, running), owner, pool, probe, kernel-arg (several), lease, idle, boot, deadline, ttl,
 *   hold (0, 1), trial (0, 1), limit-net (on, off), seed-image, vf-network, partition
 *
 *   VERB SHARD PIECE FENCE VM HOST CPU MEMORY [NET-RX NET-TX [WARM]]    kind is a replica; headroom:VERB is about headroom
 *   observe FENCE | capabilities HOST
 *   arm N early|late        in the build that sees the driver's inside: the next request stops this process (SIGSTOP)
 * at the driver's Nth act, before the time since the last check is looked at, or after it
 *
 * Each answer is one line of JSON with the milliseconds that it took.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <shardpredict.h>
#include <shardpredict/backend-libvirt.h>

#ifdef DRIVE_INSIDE
#include "driver.h"

static atomic_int acts_left, stops_late;
static void stop_between(struct lv_act *a, bool late) {
    (void)a;
    if (late == atomic_load(&stops_late) && atomic_fetch_sub(&acts_left, 1) == 1)
        raise(SIGSTOP); /* of the whole process, wherever its threads are */
}
static void arm(int acts, const char *when) {
    atomic_store(&acts_left, acts);
    atomic_store(&stops_late, !strcmp(when, "late"));
    atomic_store(&lv_between, stop_between);
}
#else
static void arm(int acts, const char *when) { fprintf(stderr, "drive: cannot stop at act %d, %s\n", acts, when); }
#endif

static const char *kernel_args[32], *probe, *seed_image;
static double deadline_s = 240;
static size_t kernel_arg_count;

static struct spr_time now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (struct spr_time){0, t.tv_sec * INT64_C(1000000000) + t.tv_nsec};
}

static int identity(void *user, uint64_t shard, const char *vm, const char *host, struct spr_libvirt_identity *out) {
    (void)user, (void)shard, (void)vm, (void)host;
    out->kernel_args = kernel_args;
    out->probe = probe;
    out->seed_image = seed_image;
    return 0;
}

static void quoted(const char *text) {
    putchar('"');
    for (; text && *text; text++)
        if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else
            putchar(*text < ' ' && *text >= 0 ? ' ' : *text);
    putchar('"');
}

static void show_shard(const struct spr_observed_shard *o) {
    printf("{\"id\": %llu, \"fence\": %llu, \"state\": \"%s\", \"vm\": ", (unsigned long long)o->id,
           (unsigned long long)o->fence, spr_shard_state_name(o->state));
    quoted(o->vm);
    printf(", \"host\": ");
    quoted(o->host);
    printf(", \"ready\": %g, \"pending\": %g, \"draining\": %g, \"used\": %g, \"warmness\": %g}", o->ready.of[SPR_CPU],
           o->pending.of[SPR_CPU], o->draining.of[SPR_CPU], o->used.of[SPR_CPU], o->warmness);
}

static void show(const struct spr_driver_completion *c, double ms) {
    static const char *const outcome[] = {"done", "failed", "timed-out", "cancelled", "unknown"};
    printf("{\"outcome\": \"%s\", \"code\": %d, \"ms\": %.1f, \"warmness\": %g, \"held\": %g, \"text\": ",
           outcome[c->outcome], c->code, ms, c->warmness, c->amounts.of[SPR_CPU]);
    quoted(c->text);
    printf(", \"shards\": [");
    for (size_t i = 0; i < c->observed_count; i++) {
        printf("%s", i ? ", " : "");
        show_shard(&c->observed[i]);
    }
    printf("]}\n");
    fflush(stdout);
}

static void refused(int code) {
    printf("{\"outcome\": \"refused\", \"code\": %d, \"text\": \"%s\"}\n", code, spr_error_text(code));
    fflush(stdout);
}

static int verb_of(const char *name) {
    for (int v = 1; v < SPR_DRIVER_VERB_END_; v++)
        if (!strcmp(name, spr_driver_verb_name(v)))
            return v;
    return 0;
}

static void do_one(const struct spr_driver_ops *ops, void *state, const struct spr_driver_request *q) {
    struct spr_time began = now();
    spr_ticket ticket = 0;
    int rc = ops->submit(state, q, began, began.mono_ns + (int64_t)(deadline_s * 1e9), &ticket);
    if (rc < 0) {
        refused(rc);
        return;
    }
    for (;;) {
        struct spr_driver_completion c = {.size = sizeof c};
        struct pollfd p = {.fd = ops->async->fd(state), .events = POLLIN};
        size_t n = 0;
        rc = ops->collect(state, now(), &c, 1, &n);
        if (rc < 0 || (n && c.ticket == ticket)) {
            show(&c, (double)(now().mono_ns - began.mono_ns) * 1e-6);
            return;
        }
        if (!n)
            poll(&p, 1, 20);
    }
}

static void do_line(const struct spr_driver_ops *ops, void *state, char *line) {
    char verb[64] = "", vm[128] = "", host[256] = "", warm[16] = "";
    unsigned long long shard = 0, piece = 0, fence = 0;
    struct spr_driver_request q = {.size = sizeof q};
    struct spr_driver_capabilities c = {.size = sizeof c};
    int n = sscanf(line, "%63s %llu %llu %llu %127s %255s %lf %lf %lf %lf %15s", verb, &shard, &piece, &fence, vm, host,
                   &q.amounts.of[SPR_CPU], &q.amounts.of[SPR_MEMORY], &q.amounts.of[SPR_NET_RX],
                   &q.amounts.of[SPR_NET_TX], warm);
    if (sscanf(line, "capabilities %255s", host) == 1) {
        int rc = ops->capabilities(state, host, &c);
        printf("{\"code\": %d, \"allocate_s\": %g, \"warm_s\": %g, \"warm\": {", rc, c.allocate_s, c.warm_s);
        for (int s = 0, any = 0; s < SPR_WARM_STATE_END_; s++)
            if (c.warm_states >> s & 1)
                printf("%s\"%s\": [%g, %g, %g, %g]", any++ ? ", " : "", spr_warm_state_name(s), c.warm[s].resume_s,
                       c.warm[s].enter_s, c.warm[s].memory_held, c.warm[s].cpu_held);
        printf("}, \"missing\": ");
        quoted(c.missing);
        printf(", \"unkept\": %u, \"unkept_why\": ", c.unkept);
        quoted(c.unkept_why);
        printf("}\n");
        fflush(stdout);
        return;
    }
    int acts;
    if (sscanf(line, "arm %d %63s", &acts, verb) == 2) {
        arm(acts, verb);
        return;
    }
    for (int s = 0; s < SPR_WARM_STATE_END_; s++)
        if (!strcmp(warm, spr_warm_state_name(s)))
            q.warm = s;
    q.kind = strncmp(verb, "headroom:", 9) ? SPR_SHARD_REPLICA : SPR_SHARD_HEADROOM;
    q.verb = verb_of(q.kind == SPR_SHARD_HEADROOM ? verb + 9 : verb);
    if (q.verb == SPR_DRIVER_OBSERVE)
        q.fence = shard;
    else if (n < 6)
        fprintf(stderr, "drive: not understood: %s", line);
    else
        q.shard = shard, q.piece = piece, q.fence = fence, q.vm = vm, q.host = host;
    do_one(ops, state, &q);
}

static int option(struct spr_libvirt_driver_opts *d, const char *name, const char *value) {
    static const char *const warm[] = {"paused", "saved", "running"};
    for (int i = 0; !strcmp(name, "warm") && i < 3; i++)
        if (!strcmp(value, warm[i]))
            d->warm = i;
    if (!strcmp(name, "owner"))
        d->owner = value;
    else if (!strcmp(name, "pool"))
        d->pool = value;
    else if (!strcmp(name, "lease"))
        d->lease_s = atof(value);
    else if (!strcmp(name, "idle"))
        d->drain_idle_s = atof(value);
    else if (!strcmp(name, "boot"))
        d->boot_s = atof(value);
    else if (!strcmp(name, "prefetch"))
        d->prefetch_bytes_s = atof(value) > 0 ? atof(value) : SPR_NONE;
    else if (!strcmp(name, "deadline"))
        deadline_s = atof(value);
    else if (!strcmp(name, "ttl"))
        d->reserve_ttl_s = atof(value);
    else if (!strcmp(name, "hold"))
        d->hold_on_host = atoi(value);
    else if (!strcmp(name, "trial"))
        d->trial = atoi(value);
    else if (!strcmp(name, "limit-net"))
        d->limit_net = strcmp(value, "off") ? 0 : SPR_NONE;
    else if (!strcmp(name, "seed-image"))
        seed_image = value;
    else if (!strcmp(name, "vf-network"))
        d->vf_network = value;
    else if (!strcmp(name, "partition"))
        d->partition = value;
    else if (!strcmp(name, "probe"))
        probe = value;
    else if (!strcmp(name, "kernel-arg"))
        kernel_args[kernel_arg_count++] = value;
    else
        return strcmp(name, "warm") ? 0 : 1;
    return 1;
}

int main(int argc, char **argv) {
    struct spr_libvirt_host hosts[8];
    struct spr_libvirt_opts o = {.size = sizeof o, .hosts = hosts};
    struct spr_libvirt_driver_opts d = {.size = sizeof d, .identity = identity};
    const struct spr_driver_ops *ops = spr_libvirt_driver();
    spr_context *ctx = NULL;
    void *state = NULL;
    char line[1024];
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (!value)
            return 2;
        *value++ = 0;
        if (!option(&d, argv[i], value) && o.host_count < 8)
            hosts[o.host_count++] = (struct spr_libvirt_host){.size = sizeof hosts[0], .uri = value, .id = argv[i]};
    }
    if (spr_context_create(NULL, &ctx) < 0 || spr_libvirt_open(ctx, &o, &d.hosts) < 0)
        return 2;
    struct spr_env env = {.size = sizeof env, .context = ctx};
    if (ops->open(&env, &d, &state) < 0)
        return 2;
    while (fgets(line, sizeof line, stdin))
        do_line(ops, state, line);
    ops->close(state);
    spr_libvirt_close(d.hosts, 10);
    spr_context_unref(ctx);
    return 0;
}
