/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A whole controller for tests, lifecycle, journal and real driver: it keeps as many shards of a VM on a host as it is
 * told to, whatever happens there, and says what it sees.
 *
 *   controller FROM=URI TO=URI vm=NAME probe=URL journal=FILE [cpu=0.5] [mib=96] [deadline=SECONDS]
 *
 * FROM has the VM. Standard input: a line with 0 or 1, how many are wanted. Standard output, a line of JSON each:
 * {"shard": ID, "from": STATE, "to": STATE, "because": TEXT}, {"why": TEXT} for what the log says.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <shardpredict.h>
#include <shardpredict/backend-libvirt.h>
#include <shardpredict/ops/planner.h>

static struct spr_action want[8]; /* what the planner says next */
static size_t want_count;
static const char *probe;

static struct spr_time now(void) {
    struct timespec w, m;
    clock_gettime(CLOCK_REALTIME, &w);
    clock_gettime(CLOCK_MONOTONIC, &m);
    return (struct spr_time){w.tv_sec * INT64_C(1000000000) + w.tv_nsec, m.tv_sec * INT64_C(1000000000) + m.tv_nsec};
}

static void on_event(void *user, const struct spr_lifecycle_event *e) {
    (void)user;
    if (e->from != e->to)
        printf("{\"shard\": %" PRIu64 ", \"from\": \"%s\", \"to\": \"%s\", \"because\": \"%s\"}\n", e->shard,
               spr_shard_state_name(e->from), spr_shard_state_name(e->to), spr_because_text(e->because));
}

static void on_log(void *user, const struct spr_log_record *r) {
    (void)user;
    printf("{\"why\": \"");
    for (const char *c = r->text; *c; c++)
        printf(*c == '"' || *c == '\\' ? "\\%c" : "%c", *c >= 0 && *c < ' ' ? ' ' : *c);
    printf("\"}\n");
}

static int identity(void *user, uint64_t shard, const char *vm, const char *host, struct spr_libvirt_identity *out) {
    (void)user, (void)shard, (void)vm, (void)host;
    out->probe = probe;
    return 0;
}

/* ---- a planner that says what it is told ---- */

static int plan_open(const struct spr_env *env, const void *config, void **state) {
    (void)env, (void)config;
    *state = want;
    return SPR_OK;
}
static void plan_close(void *state) { (void)state; }
static int plan_make(void *state, const struct spr_plan_input *in, const struct spr_plan_output *out) {
    int rc = SPR_OK;
    (void)state, (void)in;
    for (size_t i = 0; i < want_count && rc >= 0; i++)
        rc = out->action(out->sink, &want[i]);
    return rc;
}
static const struct spr_planner_ops told = {.size = sizeof told,
                                            .name = "told",
                                            .license = "MIT OR Apache-2.0",
                                            .open = plan_open,
                                            .close = plan_close,
                                            .plan = plan_make};

/* ---- fleet and plans ---- */

static spr_fleet *inventory(spr_context *ctx, const char *const ids[2], const char *vm, struct spr_amounts amounts) {
    spr_fleet_builder *b = NULL;
    spr_fleet *out = NULL;
    struct spr_host h = {.size = sizeof h, .capacity = amounts};
    struct spr_vm v = {.size = sizeof v, .id = vm, .replica = SPR_REPLICA_IMAGE, .spillable = 1, .flow_lifetime_s = 1};
    if (spr_fleet_builder_create(ctx, NULL, &b) < 0)
        return NULL;
    spr_fleet_builder_use(b, SPR_CPU);
    spr_fleet_builder_use(b, SPR_MEMORY);
    for (int i = 0; i < 2; i++) {
        h.id = ids[i];
        if (spr_fleet_builder_host(b, &h, NULL) < 0)
            return NULL;
    }
    if (spr_fleet_builder_vm(b, &v, NULL) < 0 || spr_fleet_builder_finish(b, now(), &out) < 0)
        return NULL;
    return out;
}

/* What is missing is allocated, what is too much is released; what is on its way is left to it. */
static int steer(spr_context *ctx, spr_lifecycle *l, spr_planner *p, const spr_fleet *begin, struct spr_amounts amounts,
                 int wanted) {
    spr_fleet_builder *b = NULL;
    spr_fleet *fleet = NULL;
    spr_plan *plan = NULL;
    struct spr_plan_opts o = {.size = sizeof o, .room = 1};
    int rc = spr_fleet_builder_create(ctx, begin, &b);
    if (rc < 0 || (rc = spr_lifecycle_fill(l, b)) < 0 || (rc = spr_fleet_builder_finish(b, now(), &fleet)) < 0)
        return rc;
    int32_t count = spr_fleet_shard_count(fleet), taken = 0;
    want_count = 0;
    for (int32_t i = wanted; i < count && want_count < 8; i++) {
        struct spr_shard s = {.size = sizeof s};
        if (spr_fleet_shard(fleet, i, &s) == SPR_OK && s.state != SPR_SHARD_DRAINING)
            want[want_count++] = (struct spr_action){.size = sizeof want[0],
                                                     .kind = SPR_ACTION_RELEASE,
                                                     .vm = s.vm,
                                                     .host = s.host,
                                                     .shard = s.id,
                                                     .precondition = s.state,
                                                     .constraint_host = -1,
                                                     .because = SPR_BECAUSE_OPERATOR};
    }
    if (count < wanted)
        want[want_count++] = (struct spr_action){.size = sizeof want[0],
                                                 .kind = SPR_ACTION_ALLOCATE,
                                                 .inverse = SPR_ACTION_RELEASE,
                                                 .host = 1,
                                                 .amounts = amounts,
                                                 .precondition = -1,
                                                 .constraint_host = -1,
                                                 .because = SPR_BECAUSE_OPERATOR};
    if (want_count && (rc = spr_planner_run(p, fleet, NULL, &o, &plan)) >= 0)
        rc = spr_lifecycle_apply(l, plan, now(), &taken);
    spr_plan_unref(plan);
    spr_fleet_unref(fleet);
    return rc == SPR_E_BUSY ? SPR_OK : rc;
}

/* Until standard input ends. Everything is looked at and steered once in 0.3 s. */
static int run(spr_context *ctx, spr_lifecycle *l, spr_planner *p, const spr_fleet *fleet, struct spr_amounts amounts) {
    int wanted = -1, rc = SPR_OK;
    int64_t steered_ns = 0;
    while (rc >= 0) {
        struct pollfd in[4] = {{.fd = 0, .events = POLLIN}};
        int fds[3];
        size_t n = 3;
        rc = spr_lifecycle_step(l, fleet, now());
        if (rc >= 0 && spr_lifecycle_ready(l) && wanted >= 0 && now().mono_ns - steered_ns > 300000000) {
            steered_ns = now().mono_ns;
            spr_lifecycle_observe(l, now());
            rc = steer(ctx, l, p, fleet, amounts, wanted);
        }
        fflush(stdout);
        spr_lifecycle_fds(l, fds, &n);
        for (size_t i = 0; i < n && i < 3; i++)
            in[i + 1] = (struct pollfd){.fd = fds[i], .events = POLLIN};
        poll(in, 1 + (n < 3 ? n : 3), 50);
        if (in[0].revents) {
            char text[16];
            ssize_t got = read(0, text, sizeof text - 1);
            if (got <= 0)
                return SPR_OK;
            text[got] = 0;
            wanted = atoi(text);
        }
    }
    return rc;
}

int main(int argc, char **argv) {
    struct spr_libvirt_host h[2] = {{.size = sizeof h[0]}, {.size = sizeof h[0]}};
    struct spr_libvirt_opts ho = {.size = sizeof ho, .hosts = h, .retry_max_s = 1, .keepalive_s = 1, .call_s = 2};
    struct spr_store_file_opts so = {.size = sizeof so};
    struct spr_libvirt_driver_opts d = {.size = sizeof d, .drain_idle_s = 0.3, .lease_s = 1, .identity = identity};
    struct spr_lifecycle_opts l = {.size = sizeof l, .call_deadline_s = 30, .reserve_first = 1, .retries = 1};
    struct spr_logger log = {.size = sizeof log, .log = on_log, .level = SPR_LOG_WARN};
    struct spr_context_opts co = SPR_CONTEXT_OPTS_INIT;
    struct spr_amounts amounts = {{[SPR_CPU] = 0.5, [SPR_MEMORY] = 96 << 20}};
    const char *vm = NULL;
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (!value)
            return 2;
        *value++ = 0;
        if (!strcmp(argv[i], "vm"))
            vm = value;
        else if (!strcmp(argv[i], "probe"))
            probe = value;
        else if (!strcmp(argv[i], "journal"))
            so.path = value;
        else if (!strcmp(argv[i], "cpu"))
            amounts.of[SPR_CPU] = atof(value);
        else if (!strcmp(argv[i], "mib"))
            amounts.of[SPR_MEMORY] = atof(value) * 0x1p20;
        else if (!strcmp(argv[i], "deadline"))
            l.call_deadline_s = atof(value);
        else if (ho.host_count < 2)
            h[ho.host_count].id = argv[i], h[ho.host_count++].uri = value;
    }
    spr_context *ctx = NULL;
    spr_lifecycle *life = NULL;
    spr_planner *planner = NULL;
    co.logger = &log;
    if (ho.host_count < 2 || !vm || !so.path || spr_context_create(&co, &ctx) < 0 ||
        spr_libvirt_open(ctx, &ho, &d.hosts) < 0)
        return 2;
    l.driver = spr_libvirt_driver(), l.driver_config = &d;
    l.store = spr_store_file(), l.store_config = &so;
    l.event = on_event;
    spr_fleet *fleet = inventory(ctx, (const char *const[]){h[0].id, h[1].id}, vm, amounts);
    int rc = !fleet || spr_planner_create(ctx, &told, NULL, &planner) < 0 || spr_lifecycle_create(ctx, &l, &life) < 0;
    if (!rc)
        rc = run(ctx, life, planner, fleet, amounts) < 0;
    spr_lifecycle_destroy(life);
    spr_planner_destroy(planner);
    spr_fleet_unref(fleet);
    spr_libvirt_close(d.hosts, 5);
    spr_context_unref(ctx);
    return rc;
}
