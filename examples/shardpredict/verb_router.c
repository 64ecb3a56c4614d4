/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The data plane as a process of its own: configuration in, lcores on, steps and the control socket until a signal. */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "router.h"
#include "tool.h"

enum { STEP_MS = 25 };

static volatile sig_atomic_t ended;
static void end(int number) {
    (void)number;
    ended = 1;
}

static void catch_signals(void) {
    struct sigaction stop = {.sa_handler = end}, none = {.sa_handler = SIG_IGN};
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGPIPE, &none, NULL);
}

static int failed(const char *subject, const char *why) {
    fprintf(stderr, "shardpredict router: %s%s%s\n", subject ? subject : "", subject ? ": " : "", why);
    return EXIT_FAILED;
}

/* Who started it can wait for this line: from now on packets go their way and the socket answers. */
static void say_ready(const struct router *r, const char *control, int json) {
    size_t services = json_object_size(json_object_get(r->now, "services"));
    if (json) {
        json_t *line = json_pack("{s:s, s:i, s:i, s:i}", "control", control, "ports", (int)r->device_count, "services",
                                 (int)services, "pid", (int)getpid());
        json_dumpf(line, stdout, JSON_COMPACT);
        json_decref(line);
        putchar('\n');
    } else {
        printf("routing: %zu service%s over %d port%s, control socket %s\n", services, services == 1 ? "" : "s",
               r->device_count, r->device_count == 1 ? "" : "s", control);
    }
    fflush(stdout);
}

static int forward(struct router *r, const char *control, int json) {
    char why[ROUTER_WHY] = "";
    int rc = r->door.start(r->plane);
    if (rc < 0)
        return tool_error(r->ctx, "router");
    struct router_socket *s = router_socket_open(r, control, why);
    if (!s)
        return failed(control, why);
    say_ready(r, control, json);
    int64_t due = router_now().mono_ns;
    while (!ended) {
        struct spr_time now = router_now();
        if (now.mono_ns >= due) {
            due = now.mono_ns + STEP_MS * INT64_C(1000000);
            if (r->door.step(r->plane, now) < 0)
                tool_error(r->ctx, "router"); /* what was in force stays so */
        }
        int64_t left = (due - router_now().mono_ns) / 1000000 + 1;
        router_socket_round(s, left > STEP_MS ? STEP_MS : left < 0 ? 0 : (int)left);
    }
    router_socket_close(s);
    return EXIT_DONE;
}

static int on_ports(struct router *r, const json_t *config, const char *control, const char *file, int as_json) {
    struct router_settings settings = {.opts = {.size = sizeof settings.opts}};
    const char *names[ROUTER_PORTS_MOST];
    char why[ROUTER_WHY] = "";
    router_fill(json_object_get(config, "settings"), &router_settings_fields, &settings);
    if (router_eal_start(&r->door, &settings, r->devices, r->device_count, why))
        return failed(file, why);
    for (int i = 0; i < r->device_count; i++)
        names[i] = r->devices[i].name;
    settings.opts.ports = names;
    settings.opts.port_count = r->device_count;
    r->started_ns = router_now().mono_ns;
    int code = EXIT_FAILED;
    if (r->door.open(r->ctx, &settings.opts, &r->plane) < 0) {
        tool_error(r->ctx, "router");
    } else {
        code = router_apply(r, config, why) < 0 ? failed(file, why) : forward(r, control, as_json);
        r->door.close(r->plane);
        json_decref(r->now);
    }
    router_eal_end(&r->door, r->devices, r->device_count);
    return code;
}

static int with_config(spr_context *ctx, const char *file, const char *control, const char **ports, int as_json) {
    struct router r = {.ctx = ctx};
    struct router_device devices[ROUTER_PORTS_MOST];
    char why[ROUTER_WHY] = "";
    int code;
    json_t *config = router_config_read(ctx, file);
    if (!config)
        return tool_error(ctx, file);
    r.devices = devices;
    r.device_count = router_devices(config, (const char *const *)ports, devices, why);
    if (r.device_count < 0)
        code = failed(file, why);
    else if (!control)
        code = tool_usage("router", "--control PATH is required");
    else if (router_socket_probe(control, why))
        code = failed(control, why);
    else if (!(code = router_door_open(&r.door)))
        code = on_ports(&r, config, control, file, as_json);
    json_decref(config);
    return code;
}

static int run(const char *config, const char *control, const char **ports, int json) {
    if (!config)
        return tool_usage("router", "--config FILE is required");
    catch_signals();
    spr_context *ctx = tool_context(0, 1);
    if (!ctx)
        return EXIT_FAILED;
    int rc = with_config(ctx, config, control, ports, json);
    tool_context_free(ctx);
    return rc;
}

int verb_router(int argc, const char **argv) {
    static const char about[] = "Runs the data plane as a process: packets of services go to their primaries, new "
                                "flows spill to shards by the\n"
                                "shares that the control socket is told. Needs the package libshardpredict-dpdk0, and "
                                "no DPDK for anything else.";
    static const char epilogue[] =
        "--ports null or ring puts such a device in the place of each port of the file; else give one --ports a port, "
        "as\n"
        "TYPE or TYPE,OPTION=VALUE,... (af_xdp, af_packet, pcap, ring, null, memif, vhost), or a device's PCI "
        "address.\n"
        "SIGTERM and SIGINT end it. The socket speaks JSON lines (doc/schema/router.json) to this user and root only:\n"
        "  echo '{\"cmd\":\"stats\"}' | socat - UNIX-CONNECT:PATH";
    char *config = NULL, *control = NULL, **ports = NULL; /* popt's, ours to free */
    int json = 0;
    struct poptOption table[] = {
        {"config", 'c', POPT_ARG_STRING, &config, 0, "configuration (YAML; examples/router.yaml); required", "FILE"},
        {"ports", 'p', POPT_ARG_ARGV, &ports, 0, "ports instead of the file's; may be repeated", "PORT"},
        {"control", 's', POPT_ARG_STRING, &control, 0, "where the control socket appears; required", "PATH"},
        {"json", 'j', POPT_ARG_NONE, &json, 0, "the line that says it is ready, as JSON", NULL},
        POPT_TABLEEND,
    };
    int rc = tool_options("router", about, epilogue, table, argc, argv, NULL);
    if (rc < 0)
        rc = run(config, control, (const char **)(uintptr_t)ports, json);
    for (char **port = ports; port && *port; port++)
        free(*port);
    free(ports);
    free(control);
    free(config);
    return rc;
}
