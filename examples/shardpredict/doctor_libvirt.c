/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A host under libvirt as the driver sees it, before a shard is put there: one observation, which changes nothing. */
#include <dlfcn.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include <shardpredict/backend-libvirt.h>
#include <shardpredict/ops/driver.h>

#include "doctor.h"

#define STR_(x) #x
#define STR(x)  STR_(x)
#define SONAME  "libshardpredict-libvirt.so." STR(SPR_ABI_VERSION)
#define WAIT_NS INT64_C(30000000000)

struct library {
    int (*open)(spr_context *, const struct spr_libvirt_opts *, spr_libvirt **);
    void (*close)(spr_libvirt *, double);
    int (*status)(const spr_libvirt *, size_t, struct spr_libvirt_status *);
    const struct spr_driver_ops *(*driver)(void);
};

/* dlsym gives a data pointer, hence the copy. */
static bool look_up(void *library, const char *name, void *out, size_t size) {
    void *found = library ? dlsym(library, name) : NULL;
    memcpy(out, &found, size);
    return found != NULL;
}

static struct spr_time now(void) {
    struct timespec w, m;
    clock_gettime(CLOCK_REALTIME, &w);
    clock_gettime(CLOCK_MONOTONIC, &m);
    return (struct spr_time){(int64_t)w.tv_sec * 1000000000 + w.tv_nsec, (int64_t)m.tv_sec * 1000000000 + m.tv_nsec};
}

static void observe(const struct spr_driver_ops *ops, void *state) {
    struct spr_driver_request q = {.size = sizeof q, .verb = SPR_DRIVER_OBSERVE};
    struct pollfd fd = {.fd = ops->async->fd(state), .events = POLLIN};
    int64_t end = now().mono_ns + WAIT_NS;
    spr_ticket ticket;
    size_t n = 0;
    if (ops->submit(state, &q, now(), end, &ticket) < 0)
        return;
    while (!n && now().mono_ns < end) {
        struct spr_driver_completion c = {.size = sizeof c};
        poll(&fd, 1, 100);
        if (ops->collect(state, now(), &c, 1, &n) < 0)
            return;
    }
}

static void say(const char *uri, const struct spr_driver_capabilities *c, const struct spr_libvirt_status *s,
                bool json) {
    const char *why = s->text[0] ? s->text : NULL;
    if (json) {
        printf("{\"schema\": 1, ");
        tool_json_text("uri", uri);
        printf(", \"connected\": %s, ", s->connected ? "true" : "false");
        tool_json_text("error", s->connected ? NULL : why ? why : "no answer");
        printf(", \"headroom\": %s, ", s->connected && c->headroom ? "true" : "false");
        tool_json_text("missing", s->connected ? c->missing : NULL);
        printf(", \"unkept\": [");
        for (int r = 0, n = 0; s->connected && r < 32; r++)
            if (c->unkept >> r & 1)
                printf("%s\"%s\"", n++ ? ", " : "", r == SPR_CPU ? "cpu" : r == SPR_NET_RX ? "net-rx" : "net-tx");
        printf("], ");
        tool_json_text("left_out", s->connected ? c->unkept_why : NULL);
        printf("}\n");
    } else if (!s->connected) {
        fprintf(stderr, "shardpredict doctor: %s: %s\n", uri, why ? why : "no answer");
    } else {
        printf("host        %s\n", uri);
        printf("missing     %s\n", c->missing ? c->missing : "nothing that is known of");
        if (c->unkept)
            printf("in plans    left out: %s\n", c->unkept_why);
        else
            printf("in plans    as any other\n");
    }
}

int doctor_libvirt(const char *uri, bool json) {
    struct library l;
    void *handle = dlopen(SONAME, RTLD_LAZY), *state = NULL;
    if (!look_up(handle, "spr_libvirt_open", &l.open, sizeof l.open) ||
        !look_up(handle, "spr_libvirt_close", &l.close, sizeof l.close) ||
        !look_up(handle, "spr_libvirt_status", &l.status, sizeof l.status) ||
        !look_up(handle, "spr_libvirt_driver", &l.driver, sizeof l.driver)) {
        fprintf(stderr,
                "shardpredict doctor: --libvirt needs the package libshardpredict-libvirt%s (%s cannot be opened)\n",
                STR(SPR_ABI_VERSION), SONAME);
        return EXIT_CANNOT;
    }
    struct spr_libvirt_host h = {.size = sizeof h, .uri = uri, .id = "host"};
    struct spr_libvirt_opts o = {.size = sizeof o, .hosts = &h, .host_count = 1};
    struct spr_libvirt_driver_opts d = {.size = sizeof d};
    struct spr_libvirt_status s = {.size = sizeof s};
    struct spr_driver_capabilities c = {.size = sizeof c};
    spr_context *ctx = tool_context(1, 1);
    if (!ctx)
        return EXIT_FAILED;
    struct spr_env env = {.size = sizeof env, .context = ctx};
    int rc = l.open(ctx, &o, &d.hosts), code = EXIT_FAILED;
    if (rc == SPR_OK)
        rc = l.driver()->open(&env, &d, &state);
    if (rc < 0) {
        code = tool_error(ctx, "doctor");
    } else {
        observe(l.driver(), state);
        l.status(d.hosts, 0, &s);
        l.driver()->capabilities(state, "host", &c);
        say(uri, &c, &s, json);
        code = !s.connected ? EXIT_FAILED : c.unkept ? EXIT_LIMITS : EXIT_DONE;
        l.driver()->close(state);
    }
    if (d.hosts)
        l.close(d.hosts, 5);
    tool_context_free(ctx);
    return code;
}
