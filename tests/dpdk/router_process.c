/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The client and a real router's process on null ports: the contract of routers, what the process says of the routes,
 * and its death. usage: router_process TOOL CONFIG
 */
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <shardpredict/backend-router.h>

#include "../unit/router_contract.h"

enum { PATIENCE_S = 60, CANNOT = 77 };

static const char *tool, *config;
static char folder[64], path[80];
static pid_t process = -1;
static int exit_code;
static spr_context *ctx;

static struct spr_time clocks(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    int64_t ns = t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
    return (struct spr_time){ns, ns};
}
static bool is_late(int64_t since) { return clocks().mono_ns - since > PATIENCE_S * INT64_C(1000000000); }
static void nap(void) { poll(NULL, 0, 10); }

/* ---- the process ---- */

static int dial(void) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    memcpy(to.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static void spawn(void) {
    process = fork();
    if (!process) {
        if (!freopen("/dev/null", "r", stdin) || !freopen("/dev/null", "w", stdout))
            _exit(1);
        execl(tool, tool, "router", "--config", config, "--ports", "null", "--control", path, (char *)NULL);
        _exit(1);
    }
}

static bool start(void) {
    spawn();
    for (int64_t since = clocks().mono_ns; !is_late(since); nap()) {
        int status = 0, fd = dial();
        if (fd >= 0) {
            close(fd);
            return true;
        }
        if (waitpid(process, &status, WNOHANG) == process) {
            exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
            process = -1;
            return false;
        }
    }
    return false;
}

static int stop(int number) {
    int status = -1;
    if (process > 0 && !kill(process, number))
        waitpid(process, &status, 0);
    process = -1;
    return status;
}

/* Its answer to one line, by a connection of our own. */
static const char *ask(const char *line) {
    static char text[1 << 16];
    size_t n = 0;
    int fd = dial();
    assert_true(fd >= 0 && write(fd, line, strlen(line)) == (ssize_t)strlen(line));
    for (ssize_t got;
         n < sizeof text - 1 && !memchr(text, '\n', n) && (got = read(fd, text + n, sizeof text - 1 - n)) > 0;)
        n += (size_t)got;
    text[n] = 0;
    close(fd);
    return text;
}

/* ---- the client ---- */

static const char *service(void *user, int32_t vm) {
    (void)user;
    return vm ? NULL : "web";
}
static const char *backend(void *user, int32_t vm, uint64_t shard) {
    static const char *const names[] = {"web-shard-1", "web-shard-2"};
    (void)vm;
    return user ? "nobody" : shard >= 1 && shard <= 2 ? names[shard - 1] : NULL;
}
static struct spr_router_client_opts opts = {
    .size = sizeof opts, .path = path, .service = service, .backend = backend, .counters_s = 0.02};

static void *open_client(void *user) {
    struct spr_router_client_opts o = opts;
    struct spr_env env = {sizeof env, ctx, NULL, 1};
    void *state = NULL;
    o.user = user;
    assert_int_equal(spr_router_client()->open(&env, &o, &state), SPR_OK);
    return state;
}

static void publish(void *state, double spill) {
    spr_ticket t;
    spr_routes *r = contract_routes(ctx, spill);
    struct spr_time now = clocks();
    assert_int_equal(spr_router_client()->publish(state, r, now, now.mono_ns + PATIENCE_S * INT64_C(1000000000), &t),
                     SPR_OK);
    spr_routes_unref(r);
}

/* Waits as a controller does: for the fd, or until the table's next deadline. */
static void wait_for(void *state) {
    const struct spr_async_ops *a = spr_router_client()->async;
    struct pollfd p = {.fd = a->fd(state), .events = POLLIN};
    int64_t due = a->next_deadline(state), now = clocks().mono_ns;
    poll(&p, 1, due <= now ? 0 : due - now > 20000000 ? 20 : (int)((due - now) / 1000000) + 1);
}

static struct spr_router_completion collect(void *state) {
    struct spr_router_completion c = {.size = sizeof c, .outcome = -1};
    size_t n = 0;
    assert_int_equal(spr_router_client()->collect(state, clocks(), &c, 1, &n), SPR_OK);
    return c;
}

static struct spr_router_completion until_end(void *state) {
    struct spr_router_completion c = {.outcome = -1};
    for (int64_t since = clocks().mono_ns; c.outcome < 0 && !is_late(since); wait_for(state))
        c = collect(state);
    return c;
}

/* ---- tests ---- */

static void process_does_what_was_published(void **unused) {
    (void)unused;
    void *state = open_client(NULL);
    publish(state, 0.5);
    assert_int_equal(until_end(state).outcome, SPR_DONE);
    assert_non_null(strstr(ask("{\"cmd\":\"services\"}\n"), "{\"web-shard-1\":0.25,\"web-shard-2\":0.25}"));
    publish(state, 0);
    assert_int_equal(until_end(state).outcome, SPR_DONE);
    assert_null(strstr(ask("{\"cmd\":\"services\"}\n"), "\"web-shard-2\":0.25"));
    spr_router_client()->close(state);
}

static void refused_change_leaves_what_was_there(void **unused) {
    (void)unused;
    void *state = open_client("x");
    char before[4096];
    snprintf(before, sizeof before, "%s", ask("{\"cmd\":\"services\"}\n"));
    publish(state, 0.5);
    struct spr_router_completion c = until_end(state);
    assert_int_equal(c.outcome, SPR_FAILED);
    assert_int_equal(c.code, SPR_E_STATE);
    assert_non_null(strstr(c.text, "nobody"));
    assert_string_equal(ask("{\"cmd\":\"services\"}\n"), before);
    assert_non_null(strstr(ask("{\"cmd\":\"begin\"}\n"), "true")); /* it left no change open */
    spr_router_client()->close(state);
}

static void killed_process_is_told_again(void **unused) {
    (void)unused;
    void *state = open_client(NULL);
    publish(state, 0.5);
    assert_int_equal(until_end(state).outcome, SPR_DONE);
    stop(SIGKILL);
    publish(state, 0.25); /* asked of nobody: it waits for the next process */
    for (int i = 0; i < 20; i++, nap())
        assert_int_equal(collect(state).outcome, -1);
    assert_true(start());
    assert_int_equal(until_end(state).outcome, SPR_DONE);
    assert_non_null(strstr(ask("{\"cmd\":\"services\"}\n"), "{\"web-shard-1\":0.125,\"web-shard-2\":0.125}"));
    stop(SIGTERM);
    assert_true(start()); /* and one that nobody publishes to spills again what was in force */
    bool told = false;
    for (int64_t since = clocks().mono_ns; !told && !is_late(since); wait_for(state)) {
        assert_int_equal(collect(state).outcome, -1);
        told = strstr(ask("{\"cmd\":\"services\"}\n"), "{\"web-shard-1\":0.125,\"web-shard-2\":0.125}") != NULL;
    }
    assert_true(told);
    spr_router_client()->close(state);
}

/* ---- the contract ---- */

static struct spr_time stand_now(struct router_stand *s) {
    (void)s;
    return clocks();
}
static void stand_pass(struct router_stand *s, void *state) {
    (void)s;
    wait_for(state);
}

int main(int argc, char **argv) {
    if (argc != 3 || spr_context_create(NULL, &ctx) < 0)
        return 2;
    tool = argv[1];
    config = argv[2];
    snprintf(folder, sizeof folder, "/tmp/spr-process-XXXXXX");
    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof path, "%s/control", folder);
    int failed = 1;
    if (start()) {
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(process_does_what_was_published),
            cmocka_unit_test(refused_change_leaves_what_was_there),
            cmocka_unit_test(killed_process_is_told_again),
        };
        struct router_stand s = {.name = "process",
                                 .ops = spr_router_client(),
                                 .ctx = ctx,
                                 .config = &opts,
                                 .now = stand_now,
                                 .pass = stand_pass,
                                 .patience_s = PATIENCE_S};
        failed = router_contract(&s, tests, sizeof tests / sizeof tests[0]);
        failed += stop(SIGTERM) != 0;
    } else if (exit_code == CANNOT) {
        puts("1..0 # SKIP the data plane is not built");
        failed = getenv("CI") != NULL;
    } else
        printf("Bail out! the router's process did not start (exit %d)\n", exit_code);
    stop(SIGKILL);
    unlink(path);
    rmdir(folder);
    spr_context_unref(ctx);
    return failed;
}
