/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Several requests to the driver at once, for tests: one a line on standard input, a line of JSON for each that has
 * ended, with the name that it was given.
 *
 *   move [OPTION=VALUE]... ID=URI...
 *   options: owner, lease (s), hold (0, 1), rate (byte/s of a migration), shared (folders), probe, kernel-arg (several)
 *
 *   NAME VERB KIND SHARD PIECE FENCE VM HOST CPU MEMORY SECONDS      KIND: headroom, replica; it may take SECONDS
 *   NAME progress VM                                                 the newest migration of the VM
 */
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <shardpredict.h>
#include <shardpredict/backend-libvirt.h>

static const struct spr_driver_ops *ops;
static void *state;
static spr_libvirt *hosts;
static struct {
    spr_ticket ticket;
    char name[64];
} open_ones[64];
static const char *kernel_args[16], *probe;
static size_t kernel_arg_count;

static int identity(void *user, uint64_t shard, const char *vm, const char *host, struct spr_libvirt_identity *out) {
    (void)user, (void)shard, (void)vm, (void)host;
    out->kernel_args = kernel_args;
    out->probe = probe;
    return 0;
}

static struct spr_time now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (struct spr_time){0, t.tv_sec * INT64_C(1000000000) + t.tv_nsec};
}

static void quoted(const char *text) {
    putchar('"');
    for (; text && *text; text++)
        printf(*text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
    putchar('"');
}

static void show(const struct spr_driver_completion *c) {
    static const char *const outcome[] = {"done", "failed", "timed-out", "cancelled", "unknown"};
    for (size_t i = 0; i < 64; i++)
        if (open_ones[i].ticket == c->ticket) {
            printf("{\"name\": \"%s\", \"outcome\": \"%s\", \"code\": %d, \"text\": ", open_ones[i].name,
                   outcome[c->outcome], c->code);
            open_ones[i].ticket = 0;
        }
    quoted(c->text);
    printf(", \"shards\": [");
    for (size_t i = 0; i < c->observed_count; i++) {
        const struct spr_observed_shard *o = &c->observed[i];
        printf("%s{\"id\": %llu, \"state\": \"%s\", \"host\": \"%s\", \"ready\": %.0f, \"vm\": ", i ? ", " : "",
               (unsigned long long)o->id, spr_shard_state_name(o->state), o->host, o->ready.of[SPR_MEMORY]);
        quoted(o->vm);
        printf("}");
    }
    printf("]}\n");
    fflush(stdout);
}

static void progress(const char *name, const char *vm) {
    struct spr_libvirt_migration m = {.size = sizeof m};
    int rc = spr_libvirt_migration(hosts, vm, &m);
    printf("{\"name\": \"%s\", \"rc\": %d", name, rc);
    if (rc == SPR_OK) {
        printf(", \"from\": \"%s\", \"to\": \"%s\", \"running\": %d, \"code\": %d, \"share\": %g, \"left\": %.0f, "
               "\"all\": %.0f, \"took\": %g, \"downtime\": %g, \"measured\": %d, \"text\": ",
               m.from, m.to, m.running, m.code, m.share, m.bytes_left, m.bytes_all, m.took_s, m.downtime_s, m.measured);
        quoted(m.text);
    }
    printf("}\n");
    fflush(stdout);
}

static void begin(const char *name, struct spr_driver_request *q, const char *verb, double seconds) {
    struct spr_time t = now();
    spr_ticket ticket = 0;
    for (int v = 1; v < SPR_DRIVER_VERB_END_; v++)
        if (!strcmp(verb, spr_driver_verb_name(v)))
            q->verb = v;
    int rc = ops->submit(state, q, t, t.mono_ns + (int64_t)(seconds * 1e9), &ticket);
    if (rc < 0) {
        printf("{\"name\": \"%s\", \"outcome\": \"refused\", \"code\": %d, \"text\": \"\"}\n", name, rc);
        fflush(stdout);
        return;
    }
    size_t i = 0;
    while (open_ones[i].ticket)
        i++;
    open_ones[i].ticket = ticket;
    snprintf(open_ones[i].name, sizeof open_ones[i].name, "%s", name);
}

static void do_line(const char *line) {
    char name[64], verb[64], kind[64], vm[128], host[256];
    unsigned long long shard, piece, fence;
    double seconds;
    struct spr_driver_request q = {.size = sizeof q};
    if (sscanf(line, "%63s %63s %63s %llu %llu %llu %127s %255s %lf %lf %lf", name, verb, kind, &shard, &piece, &fence,
               vm, host, &q.amounts.of[SPR_CPU], &q.amounts.of[SPR_MEMORY], &seconds) == 11) {
        q.kind = strcmp(kind, "replica") ? SPR_SHARD_HEADROOM : SPR_SHARD_REPLICA;
        q.shard = shard, q.piece = piece, q.fence = fence, q.vm = vm, q.host = host;
        begin(name, &q, verb, seconds);
    } else if (sscanf(line, "%63s progress %127s", name, vm) == 2) {
        progress(name, vm);
    } else {
        fprintf(stderr, "move: not understood: %s\n", line);
    }
}

static bool option(struct spr_libvirt_driver_opts *d, const char *name, const char *value) {
    if (!strcmp(name, "owner"))
        d->owner = value;
    else if (!strcmp(name, "lease"))
        d->lease_s = atof(value);
    else if (!strcmp(name, "hold"))
        d->hold_on_host = atoi(value);
    else if (!strcmp(name, "rate"))
        d->migrate_bytes_s = atof(value);
    else if (!strcmp(name, "shared"))
        d->shared = value;
    else if (!strcmp(name, "probe"))
        probe = value;
    else if (!strcmp(name, "kernel-arg"))
        kernel_args[kernel_arg_count++] = value;
    else
        return false;
    return true;
}

static void serve(void) {
    char line[4096];
    size_t have = 0;
    for (;;) {
        struct pollfd p[] = {{.fd = 0, .events = POLLIN}, {.fd = ops->async->fd(state), .events = POLLIN}};
        struct spr_driver_completion c = {.size = sizeof c};
        size_t n = 0;
        while (ops->collect(state, now(), &c, 1, &n) >= 0 && n)
            show(&c);
        poll(p, 2, 20);
        if (!p[0].revents)
            continue;
        ssize_t got = read(0, line + have, sizeof line - 1 - have);
        if (got <= 0)
            return;
        have += (size_t)got;
        line[have] = 0;
        for (char *end; (end = strchr(line, '\n'));) {
            *end = 0;
            do_line(line);
            have -= (size_t)(end + 1 - line);
            memmove(line, end + 1, have + 1);
        }
    }
}

int main(int argc, char **argv) {
    struct spr_libvirt_host of[8];
    struct spr_libvirt_opts o = {.size = sizeof o, .hosts = of, .retry_max_s = 1, .keepalive_s = 1};
    struct spr_libvirt_driver_opts d = {.size = sizeof d, .identity = identity};
    spr_context *ctx = NULL;
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (!value)
            return 2;
        *value++ = 0;
        if (!option(&d, argv[i], value) && o.host_count < 8)
            of[o.host_count++] = (struct spr_libvirt_host){.size = sizeof of[0], .uri = value, .id = argv[i]};
    }
    if (spr_context_create(NULL, &ctx) < 0 || spr_libvirt_open(ctx, &o, &hosts) < 0)
        return 2;
    struct spr_env env = {.size = sizeof env, .context = ctx};
    ops = spr_libvirt_driver();
    d.hosts = hosts;
    if (ops->open(&env, &d, &state) < 0)
        return 2;
    serve();
    ops->close(state);
    spr_libvirt_close(hosts, 10);
    spr_context_unref(ctx);
    return 0;
}
