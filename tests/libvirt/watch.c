/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A client of the source for the tests: watch ID=URI... connects read-only, reads "inventory", "samples" or "status"
 * from standard input, and prints one JSON line for each, with the CPU seconds that the whole process has used,
 * libvirt's decoding included.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <shardpredict.h>
#include <shardpredict/backend-libvirt.h>

enum { HOSTS = 8, SHOWN = 8 };

static spr_fleet *fleet; /* the newest inventory: samples speak of its VMs */

static struct spr_time now(void) {
    struct timespec w, m;
    clock_gettime(CLOCK_REALTIME, &w);
    clock_gettime(CLOCK_MONOTONIC, &m);
    return (struct spr_time){(int64_t)w.tv_sec * 1000000000 + w.tv_nsec, (int64_t)m.tv_sec * 1000000000 + m.tv_nsec};
}

static double cpu_seconds(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

static void text(const char *name, const char *s) {
    printf(", \"%s\": \"", name);
    for (; s && *s; s++)
        printf(*s == '"' || *s == '\\' ? "\\%c" : (unsigned char)*s < ' ' ? " " : "%c", *s);
    printf("\"");
}

static void show_inventory(void) {
    struct spr_host h = {.size = sizeof h};
    struct spr_vm vm = {.size = sizeof vm};
    printf(", \"vms\": %d, \"hosts\": {", (int)spr_fleet_vm_count(fleet));
    for (int32_t i = 0; i < spr_fleet_host_count(fleet); i++)
        if (spr_fleet_host(fleet, i, &h) == SPR_OK)
            printf("%s\"%s\": %d", i ? ", " : "", h.id, h.state == SPR_HOST_UP);
    printf("}, \"at\": {");
    for (int32_t i = 0; i < spr_fleet_vm_count(fleet) && i < SHOWN; i++)
        if (spr_fleet_vm(fleet, i, &vm) == SPR_OK && spr_fleet_host(fleet, vm.host, &h) == SPR_OK)
            printf("%s\"%s\": \"%s\"", i ? ", " : "", vm.id, h.id);
    printf("}");
}

static void show_usage(const struct spr_source_completion *c) {
    struct spr_vm vm = {.size = sizeof vm};
    int comma = 0, odd = 0;
    for (size_t i = 0; i < c->usage_count; i++)
        odd += c->usage[i].resource == SPR_CPU && !(c->usage[i].used >= 0 && c->usage[i].used < 64);
    printf(", \"values\": %zu, \"odd\": %d, \"usage\": {", c->usage_count, odd);
    for (int resource = 0; resource < SPR_RESOURCE_COUNTABLE; resource++)
        for (size_t i = 0; i < c->usage_count; i++)
            if (c->usage[i].resource == resource && c->usage[i].vm < SHOWN &&
                spr_fleet_vm(fleet, c->usage[i].vm, &vm) == SPR_OK)
                printf("%s\"%s/%d\": %.9g", comma++ ? ", " : "", vm.id, resource, c->usage[i].used);
    printf("}");
}

static int ask(const struct spr_source_ops *ops, void *source, int verb) {
    spr_ticket ticket;
    struct spr_source_completion c = {.size = sizeof c};
    size_t n = 0;
    int code = ops->submit(source, verb, now(), now().mono_ns + INT64_C(60000000000), &ticket);
    while (code == SPR_OK && n == 0) {
        struct pollfd p = {.fd = ops->async->fd(source), .events = POLLIN};
        int64_t left = ops->async->next_deadline(source) - now().mono_ns;
        poll(&p, 1, left <= 0 ? 0 : left < INT64_C(1000000000) ? (int)(left / 1000000) + 1 : 1000);
        memset(&c, 0, sizeof c);
        c.size = sizeof c;
        code = ops->collect(source, now(), &c, 1, &n);
    }
    printf("{\"rc\": %d, \"outcome\": %d, \"code\": %d", code, c.outcome, c.code);
    text("text", c.text);
    if (c.inventory) {
        spr_fleet_unref(fleet);
        fleet = c.inventory;
        show_inventory();
    }
    if (verb == SPR_SOURCE_SAMPLES && c.outcome == SPR_DONE && fleet)
        show_usage(&c);
    printf(", \"cpu_s\": %.6f}\n", cpu_seconds());
    return code;
}

static void status(const spr_libvirt *v, size_t hosts) {
    struct spr_libvirt_status s = {.size = sizeof s};
    printf("{\"hosts\": {");
    for (size_t i = 0; i < hosts; i++)
        if (spr_libvirt_status(v, i, &s) == SPR_OK) {
            printf("%s\"%s\": {\"connected\": %d, \"tries\": %d", i ? ", " : "", s.id, s.connected, s.tries);
            text("text", s.text);
            printf("}");
        }
    printf("}, \"cpu_s\": %.6f}\n", cpu_seconds());
}

int main(int argc, char **argv) {
    static char names[HOSTS][64];
    struct spr_libvirt_host hosts[HOSTS] = {{0}};
    struct spr_libvirt_opts o = {.size = sizeof o,
                                 .hosts = hosts,
                                 .read_only = 1,
                                 .call_s = 1,
                                 .retry_s = 0.1,
                                 .retry_max_s = 0.5,
                                 .keepalive_s = 1,
                                 .keepalive_count = 3};
    for (int i = 1; i < argc && i <= HOSTS; i++) {
        snprintf(names[i - 1], sizeof names[0], "%.*s", (int)strcspn(argv[i], "="), argv[i]);
        hosts[i - 1] =
            (struct spr_libvirt_host){.size = sizeof hosts[0], .uri = strchr(argv[i], '=') + 1, .id = names[i - 1]};
        o.host_count = (size_t)i;
    }
    spr_context *ctx = NULL;
    spr_libvirt *v = NULL;
    void *source = NULL;
    const struct spr_source_ops *ops = spr_libvirt_source();
    if (spr_context_create(NULL, &ctx) != SPR_OK || spr_libvirt_open(ctx, &o, &v) != SPR_OK)
        return 1;
    struct spr_env env = {.size = sizeof env, .context = ctx};
    if (ops->open(&env, v, &source) != SPR_OK)
        return 1;
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        if (strcmp(line, "inventory\n") == 0)
            ask(ops, source, SPR_SOURCE_INVENTORY);
        else if (strcmp(line, "samples\n") == 0)
            ask(ops, source, SPR_SOURCE_SAMPLES);
        else
            status(v, o.host_count);
        fflush(stdout);
    }
    spr_fleet_unref(fleet);
    ops->close(source);
    spr_libvirt_close(v, 10);
    spr_context_unref(ctx);
    return 0;
}
