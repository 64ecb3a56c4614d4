/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The client against a router that the test plays itself: it listens, answers when told to, or says what no router
 * says. Time is the test's, so nothing here waits. Then the contract of routers, and every allocation failing once.
 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include <shardpredict/backend-router.h>

#include "router_contract.h"

#define S_NS INT64_C(1000000000)

/* ---- the router that is played ---- */

static char folder[64], path[80];
static int listener = -1, peer = -1;
static char heard[1 << 16]; /* what the client said and nobody has answered yet */
static size_t heard_length;
static char past[1 << 16]; /* all lines of this connection */
static int64_t now_ns = S_NS;
static const char *refuse, *refusal; /* a command, and what is said to it */
static int generation, unswitched;

static struct spr_time now(void) { return (struct spr_time){now_ns, now_ns}; }

static void hang_up(void) {
    if (peer >= 0)
        close(peer);
    peer = -1;
    heard_length = 0;
    past[0] = 0;
}

static void away(void) {
    hang_up();
    if (listener >= 0)
        close(listener);
    listener = -1;
    unlink(path);
}

static void there(void) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    memcpy(to.sun_path, path, strlen(path) + 1);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_true(listener >= 0 && !bind(listener, (struct sockaddr *)&to, sizeof to) && !listen(listener, 8));
}

static void put(const char *text, size_t n) { assert_int_equal(send(peer, text, n, MSG_NOSIGNAL), n); }
static void say(const char *text) { put(text, strlen(text)); }

static void hear(void) {
    if (peer < 0)
        peer = accept(listener, NULL, NULL);
    for (ssize_t n; peer >= 0; heard_length += (size_t)n)
        if ((n = recv(peer, heard + heard_length, sizeof heard - heard_length - 1, MSG_DONTWAIT)) <= 0)
            break;
    heard[heard_length] = 0;
}

static void answer_one(const char *line, size_t length) {
    char text[1024];
    json_t *q = json_loadb(line, length, 0, NULL);
    const char *cmd = json_string_value(json_object_get(q, "cmd"));
    if (!cmd)
        fail_msg("it said: %.*s", (int)length, line);
    assert_true(strlen(past) + length + 2 < sizeof past);
    strncat(past, line, length);
    strcat(past, "\n");
    if (refuse && !strcmp(cmd, refuse))
        snprintf(text, sizeof text, "{\"error\":\"%s\"}\n", refusal);
    else if (!strcmp(cmd, "commit"))
        snprintf(text, sizeof text, "{\"ok\":true,\"generation\":%d}\n", ++generation);
    else if (!strcmp(cmd, "switched"))
        snprintf(text, sizeof text, "{\"switched\":%s}\n", unswitched ? unswitched--, "false" : "true");
    else if (!strcmp(cmd, "stats"))
        snprintf(text, sizeof text,
                 "{\"services\":{\"web\":{\"packets\":7,\"bytes\":700,\"opened\":6,\"spilled\":5,\"repeated\":4,"
                 "\"flows\":3,\"waiting\":2}}}\n");
    else
        snprintf(text, sizeof text, "{\"ok\":true}\n");
    say(text);
    json_decref(q);
}

static void answer(void) {
    hear();
    for (char *end; peer >= 0 && (end = memchr(heard, '\n', heard_length));) {
        size_t n = (size_t)(end - heard);
        answer_one(heard, n);
        heard_length -= n + 1;
        memmove(heard, end + 1, heard_length);
    }
}

/* ---- the client ---- */

static spr_context *ctx;
static const char *backend(void *user, int32_t vm, uint64_t shard) {
    static const char *const names[] = {"web-1", "web-2"};
    (void)user, (void)vm;
    return shard >= 1 && shard <= 2 ? names[shard - 1] : NULL;
}
static struct spr_router_client_opts opts = {.size = sizeof opts, .path = path, .backend = backend};

static void *begin(void) {
    void *state = NULL;
    struct spr_env env = {sizeof env, ctx, NULL, 1};
    refuse = NULL;
    unswitched = generation = 0;
    away();
    assert_int_equal(spr_router_client()->open(&env, &opts, &state), SPR_OK);
    return state;
}

static void end(void *state) {
    spr_router_client()->close(state);
    away();
}

static spr_ticket publish(void *state, double spill, int64_t patience) {
    spr_routes *r = contract_routes(ctx, spill);
    spr_ticket t = 0;
    assert_int_equal(spr_router_client()->publish(state, r, now(), now_ns + patience, &t), SPR_OK);
    spr_routes_unref(r);
    return t;
}

static struct spr_router_completion collect(void *state) {
    struct spr_router_completion c = {.size = sizeof c, .outcome = -1};
    size_t n = 0;
    assert_int_equal(spr_router_client()->collect(state, now(), &c, 1, &n), SPR_OK);
    return c;
}

/* Rounds of both until a ticket ends; a limit of rounds, not of time. */
static struct spr_router_completion until_end(void *state) {
    struct spr_router_completion c = {.outcome = -1};
    for (int i = 0; i < 100 && c.outcome < 0; i++) {
        if (listener >= 0)
            answer();
        now_ns += S_NS / 1000;
        c = collect(state);
    }
    return c;
}

/* ---- tests ---- */

static void snapshot_is_one_change(void **unused) {
    (void)unused;
    void *state = begin();
    there();
    publish(state, 0.5, 10 * S_NS);
    unswitched = 2;
    assert_int_equal(until_end(state).outcome, SPR_DONE);
    assert_string_equal(past, "{\"cmd\":\"begin\"}\n"
                              "{\"cmd\":\"alive\",\"backend\":\"web-1\",\"alive\":true}\n"
                              "{\"cmd\":\"alive\",\"backend\":\"web-2\",\"alive\":true}\n"
                              "{\"cmd\":\"promote\",\"service\":\"web\"}\n"
                              "{\"cmd\":\"spill_set\",\"service\":\"web\",\"weights\":{\"web-1\":0.25,\"web-2\":0.25},"
                              "\"ramp_per_s\":0.0}\n"
                              "{\"cmd\":\"commit\"}\n"
                              "{\"cmd\":\"switched\",\"generation\":1}\n"
                              "{\"cmd\":\"switched\",\"generation\":1}\n"
                              "{\"cmd\":\"switched\",\"generation\":1}\n");
    past[0] = 0;
    publish(state, 0, 10 * S_NS); /* what is named no more spills no more */
    assert_int_equal(until_end(state).outcome, SPR_DONE);
    assert_non_null(strstr(past, "{\"cmd\":\"spill_set\",\"service\":\"web\",\"weights\":{},\"ramp_per_s\":0.0}\n"));
    end(state);
}

static void promotion_and_deaths_are_told(void **unused) {
    (void)unused;
    void *state = begin();
    struct spr_route_target targets[] = {{.size = sizeof targets[0], .shard = 1, .weight = 0.5},
                                         {.size = sizeof targets[0], .shard = 9, .weight = 0.25},
                                         {.size = sizeof targets[0], .shard = 2, .draining = 1, .dead = 1}};
    struct spr_route_service s = {.size = sizeof s,
                                  .route = {.size = sizeof s.route,
                                            .target_count = 2,
                                            .drain_count = 1,
                                            .spill = 0.75,
                                            .spill_at_most = 1,
                                            .ramp_per_s = 0.125,
                                            .promoted = 1,
                                            .id = "web"},
                                  .targets = targets};
    spr_routes *r = NULL;
    spr_ticket t = 0;
    there();
    assert_int_equal(spr_routes_from(ctx, &s, 1, NULL, &r), SPR_OK);
    assert_int_equal(spr_router_client()->publish(state, r, now(), INT64_MAX, &t), SPR_OK);
    spr_routes_unref(r);
    assert_int_equal(until_end(state).outcome, SPR_DONE);
    assert_non_null(strstr(past, "{\"cmd\":\"alive\",\"backend\":\"web-1\",\"alive\":true}\n"
                                 "{\"cmd\":\"alive\",\"backend\":\"web-2\",\"alive\":false}\n"
                                 "{\"cmd\":\"promote\",\"service\":\"web\",\"backend\":\"web-1\"}\n"
                                 "{\"cmd\":\"spill_set\",\"service\":\"web\",\"weights\":{\"web-1\":0.5},"
                                 "\"ramp_per_s\":0.125}\n"));
    past[0] = 0;
    publish(state, 0, 10 * S_NS);
    assert_int_equal(until_end(state).outcome, SPR_DONE);
    assert_non_null(strstr(past, "{\"cmd\":\"promote\",\"service\":\"web\"}\n"));
    end(state);
}

static void refusal_fails_with_the_routers_words(void **unused) {
    (void)unused;
    static const char *const commands[] = {"alive", "promote", "spill_set", "commit"};
    for (int i = 0; i < 4; i++) {
        void *state = begin();
        there();
        refuse = commands[i];
        refusal = "there is no \\u00e9 such thing";
        publish(state, 0.5, 10 * S_NS);
        struct spr_router_completion c = until_end(state);
        assert_int_equal(c.outcome, SPR_FAILED);
        assert_int_equal(c.code, SPR_E_STATE);
        assert_string_equal(c.text, "there is no ?? such thing");
        assert_non_null(strstr(past, "{\"cmd\":\"revert\"}"));
        assert_true(i == 3 || !strstr(past, "commit"));
        refuse = NULL; /* and the connection goes on */
        publish(state, 0.5, 10 * S_NS);
        assert_int_equal(until_end(state).outcome, SPR_DONE);
        end(state);
    }
}

static void another_connections_change_is_waited_for(void **unused) {
    (void)unused;
    void *state = begin();
    there();
    refuse = "begin";
    refusal = "another connection has a change open";
    publish(state, 0.5, S_NS / 20);
    struct spr_router_completion c = until_end(state);
    assert_int_equal(c.outcome, SPR_TIMED_OUT);
    assert_string_equal(c.text, refusal);
    publish(state, 0.5, 10 * S_NS);
    for (int i = 0; i < 50; i++, now_ns += S_NS / 1000) {
        answer();
        assert_int_equal(collect(state).outcome, -1);
    }
    refuse = NULL;
    assert_int_equal(until_end(state).outcome, SPR_DONE);
    end(state);
}

static void absent_router_is_waited_for_with_growing_pauses(void **unused) {
    (void)unused;
    void *state = begin();
    publish(state, 0.5, 60 * S_NS);
    int64_t tries[8];
    for (int i = 0; i < 8; i++) {
        tries[i] = spr_router_client()->async->next_deadline(state);
        assert_true(tries[i] > now_ns);
        now_ns = tries[i];
        assert_int_equal(collect(state).outcome, -1);
    }
    for (int i = 2; i < 8; i++)
        assert_true(tries[i] - tries[i - 1] ==
                    (2 * (tries[i - 1] - tries[i - 2]) < 5 * S_NS ? 2 * (tries[i - 1] - tries[i - 2]) : 5 * S_NS));
    there();
    now_ns = spr_router_client()->async->next_deadline(state);
    assert_int_equal(collect(state).outcome, -1);
    assert_int_equal(until_end(state).outcome, SPR_DONE);
    away(); /* and when it never comes back, the end says so */
    publish(state, 0.25, S_NS);
    now_ns += 2 * S_NS;
    struct spr_router_completion c = collect(state);
    assert_int_equal(c.outcome, SPR_TIMED_OUT);
    assert_int_equal(c.code, SPR_E_TIMEOUT);
    assert_non_null(strstr(c.text, path));
    assert_non_null(strstr(c.text, "ended the connection"));
    end(state);
}

static void nobody_listening_is_said(void **unused) {
    (void)unused;
    void *state = begin();
    there();
    close(listener); /* the file stays, as after a kill */
    listener = -1;
    publish(state, 0.5, S_NS);
    now_ns += 2 * S_NS;
    struct spr_router_completion c = collect(state);
    assert_int_equal(c.outcome, SPR_TIMED_OUT);
    assert_non_null(strstr(c.text, "connection refused: no router listens there"));
    end(state);
}

static void lost_connection_tells_all_again(void **unused) {
    (void)unused;
    void *state = begin();
    there();
    spr_ticket t = publish(state, 0.5, 60 * S_NS);
    answer(); /* begin */
    collect(state);
    hear(); /* the rest of the change, which is never answered */
    assert_non_null(strstr(heard, "spill_set"));
    hang_up();
    collect(state);
    now_ns += S_NS;
    collect(state);
    struct spr_router_completion c = until_end(state);
    assert_int_equal(c.outcome, SPR_DONE);
    assert_true(c.ticket == t);
    assert_int_equal(strncmp(past, "{\"cmd\":\"begin\"}\n", 16), 0);
    end(state);
}

static void router_that_was_started_anew_is_told_what_was_in_force(void **unused) {
    (void)unused;
    void *state = begin();
    there();
    publish(state, 0.5, 10 * S_NS);
    assert_int_equal(until_end(state).outcome, SPR_DONE);
    away();
    collect(state);
    there();
    for (int i = 0; i < 50; i++, now_ns += S_NS / 10) {
        answer();
        assert_int_equal(collect(state).outcome, -1); /* nobody asked: no completion */
    }
    assert_non_null(strstr(past, "\"weights\":{\"web-1\":0.25,\"web-2\":0.25}"));
    assert_non_null(strstr(past, "commit"));
    assert_ptr_equal(strstr(strstr(past, "begin") + 1, "begin"), NULL); /* once */
    end(state);
}

static void silent_router_is_given_up(void **unused) {
    (void)unused;
    void *state = begin();
    there();
    publish(state, 0.5, 60 * S_NS);
    hear();
    assert_true(peer >= 0);
    int64_t due = spr_router_client()->async->next_deadline(state);
    assert_true(due > now_ns && due <= now_ns + 5 * S_NS);
    now_ns = due;
    collect(state);
    char byte;
    assert_int_equal(recv(peer, &byte, 1, MSG_DONTWAIT), 0); /* it hung up */
    hang_up();
    now_ns += S_NS;
    collect(state);
    assert_int_equal(until_end(state).outcome, SPR_DONE);
    end(state);
}

static void junk_ends_the_connection_and_nothing_else(void **unused) {
    (void)unused;
    static const char *const junk[] = {
        "\n",     "{\n",       "[]\n",       "{\"ok\":1}\n", "{\"ok\":true\n", "\"ok\"\n",
        "\1\2\n", "{\"a\":\n", "HTTP/1.1\n", "{}\n",         "{\"error\":5}\n"};
    for (size_t i = 0; i < sizeof junk / sizeof junk[0]; i++) {
        void *state = begin();
        there();
        publish(state, 0.5, 60 * S_NS);
        hear();
        say(junk[i]);
        assert_int_equal(collect(state).outcome, -1);
        char byte;
        assert_int_equal(recv(peer, &byte, 1, MSG_DONTWAIT), 0);
        hang_up();
        now_ns += S_NS;
        collect(state);
        assert_int_equal(until_end(state).outcome, SPR_DONE);
        say("{\"error\":\"too many clients\"}\n"); /* unasked */
        collect(state);
        assert_int_equal(recv(peer, &byte, 1, MSG_DONTWAIT), 0);
        publish(state, 0.5, S_NS / 1000);
        now_ns += S_NS / 1000;
        assert_non_null(strstr(collect(state).text, "too many clients"));
        end(state);
    }
}

static void line_without_an_end_is_given_up(void **unused) {
    (void)unused;
    static char x[1 << 16];
    void *state = begin();
    there();
    publish(state, 0.5, 60 * S_NS);
    hear();
    memset(x, 'x', sizeof x);
    int rounds = 0;
    for (; rounds < 4096; rounds++) {
        if (send(peer, x, sizeof x, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && poll(&(struct pollfd){peer, POLLIN, 0}, 1, 0))
            break;
        assert_int_equal(collect(state).outcome, -1);
    }
    assert_true(rounds > 200 && rounds < 4096); /* 16 MiB and some */
    end(state);
}

static void who_does_not_read_keeps_nobody_waiting(void **unused) {
    (void)unused;
    void *state = begin();
    there();
    for (int i = 0; i < 64; i++)
        publish(state, 0.5, 60 * S_NS);
    spr_ticket more = 77;
    spr_routes *r = contract_routes(ctx, 0.5);
    assert_int_equal(spr_router_client()->publish(state, r, now(), INT64_MAX, &more), SPR_E_BUSY);
    assert_true(more == 77);
    spr_routes_unref(r);
    for (int i = 0; i < 64; i++)
        assert_int_equal(until_end(state).outcome, SPR_DONE);
    end(state);
}

static void only_what_is_not_told_yet_is_cancelled(void **unused) {
    (void)unused;
    void *state = begin();
    there();
    publish(state, 0.5, 60 * S_NS);
    spr_ticket second = publish(state, 0.25, 60 * S_NS);
    assert_int_equal(spr_router_client()->async->cancel(state, second), SPR_OK);
    struct spr_router_completion c = collect(state);
    assert_true(c.ticket == second && c.outcome == SPR_CANCELLED);
    assert_int_equal(until_end(state).outcome, SPR_DONE);
    assert_null(strstr(past, "0.125"));
    assert_int_equal(spr_router_client()->async->cancel(state, second), SPR_E_NOT_FOUND);
    end(state);
}

static void counters_are_the_newest_that_came(void **unused) {
    (void)unused;
    void *state = begin();
    there();
    publish(state, 0.5, 10 * S_NS);
    assert_int_equal(until_end(state).outcome, SPR_DONE);
    struct spr_route_counters c = {.size = sizeof c};
    size_t n = 1;
    assert_int_equal(spr_router_client()->counters(state, now(), &c, 1, &n), SPR_OK);
    assert_int_equal(n, 0); /* none came yet */
    answer();
    assert_int_equal(spr_router_client()->counters(state, now(), &c, 1, &n), SPR_OK);
    assert_int_equal(n, 1);
    assert_true(c.packets == 7 && c.bytes == 700 && c.flows == 6 && c.spilled == 5 && c.syn_again == 4 &&
                c.active == 3 && c.waiting == 2 && c.answer_s != c.answer_s);
    hang_up(); /* what was counted stays known */
    collect(state);
    assert_int_equal(spr_router_client()->counters(state, now(), &c, 1, &n), SPR_OK);
    assert_int_equal(n, 1);
    end(state);
}

/* A process of user 65534 listens: nothing is said to it, and the publish fails at once. */
static void strangers_socket_is_not_spoken_to(void **unused) {
    (void)unused;
    int ready[2], stop[2];
    char byte = 0;
    if (geteuid()) {
        print_message("needs root");
        skip();
    }
    away();
    assert_true(!pipe(ready) && !pipe(stop) && !chmod(folder, 0777));
    pid_t child = fork();
    if (!child) {
        struct sockaddr_un to = {.sun_family = AF_UNIX};
        memcpy(to.sun_path, path, strlen(path) + 1);
        int s = socket(AF_UNIX, SOCK_STREAM, 0);
        close(stop[1]);
        if (!setgid(65534) && !setuid(65534) && !bind(s, (struct sockaddr *)&to, sizeof to) && !listen(s, 1) &&
            write(ready[1], "x", 1) == 1 && read(stop[0], &byte, 1) >= 0) {
            int c = accept(s, NULL, NULL);
            _exit(recv(c, &byte, 1, 0) == 0 ? 0 : 1);
        }
        _exit(2);
    }
    close(ready[1]);
    close(stop[0]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    void *state = NULL;
    struct spr_env env = {sizeof env, ctx, NULL, 1};
    assert_int_equal(spr_router_client()->open(&env, &opts, &state), SPR_OK);
    publish(state, 0.5, 60 * S_NS);
    struct spr_router_completion c = collect(state);
    assert_int_equal(c.outcome, SPR_FAILED);
    assert_int_equal(c.code, SPR_E_IO);
    assert_non_null(strstr(c.text, "user 65534's, not ours"));
    close(stop[1]);
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0); /* it heard not a byte */
    close(ready[0]);
    end(state);
}

static void wrong_options_are_refused(void **unused) {
    (void)unused;
    struct {
        struct spr_router_client_opts o;
        uint64_t more;
    } newer = {.o = opts, .more = 1};
    struct spr_router_client_opts o;
    struct spr_env env = {sizeof env, ctx, NULL, 1};
    char name[200];
    void *state = &env;
    newer.o.size = sizeof newer;
    assert_int_equal(spr_router_client()->open(&env, &newer, &state), SPR_E_TOO_NEW);
    newer.more = 0;
    assert_int_equal(spr_router_client()->open(&env, &newer, &state), SPR_OK);
    spr_router_client()->close(state);
    state = &env;
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    for (int i = 0; i < 6; i++) {
        o = opts;
        if (i == 0)
            o.path = NULL;
        else if (i == 1)
            o.path = "";
        else if (i == 2)
            o.path = name;
        else if (i == 3)
            o.backend = NULL;
        else if (i == 4)
            o.answer_s = -1;
        else
            o.reserved = 1;
        assert_int_equal(spr_router_client()->open(&env, &o, &state), SPR_E_ARG);
        assert_ptr_equal(state, &env);
    }
}

/* ---- allocations ---- */

static int budget = -1, failed_one; /* allocations until one fails, -1 = none does */
static void *counted(size_t n) {
    if (budget >= 0 && !budget--) {
        failed_one = 1;
        return NULL;
    }
    return malloc(n);
}
static void *scarce_alloc(void *user, size_t n) { return (void)user, counted(n); }
static void *scarce_realloc(void *user, void *block, size_t before, size_t n) {
    (void)user, (void)before;
    void *p = counted(n);
    if (p && block) {
        memcpy(p, block, before < n ? before : n);
        free(block);
    }
    return p;
}
static void scarce_free(void *user, void *block, size_t n) { (void)user, (void)n, free(block); }

/* Each allocation fails once, the client's own and jansson's: then it did not open, or the publish comes through later.
 */
static void failing_allocations_are_survived(void **unused) {
    (void)unused;
    struct spr_allocator scarce = {
        .size = sizeof scarce, .alloc = scarce_alloc, .realloc = scarce_realloc, .free = scarce_free};
    struct spr_context_opts o = {.size = sizeof o, .allocator = &scarce};
    spr_context *theirs = ctx;
    int n = 0;
    for (failed_one = 1; failed_one && n < 2000; n++) {
        spr_context *mine = NULL;
        void *state = NULL;
        failed_one = 0;
        budget = -1;
        assert_int_equal(spr_context_create(&o, &mine), SPR_OK);
        struct spr_env env = {sizeof env, mine, NULL, 1};
        away();
        there();
        json_set_alloc_funcs(counted, free);
        spr_routes *r = contract_routes(theirs, 0.5);
        budget = n;
        int rc = spr_router_client()->open(&env, &opts, &state);
        if (rc < 0) {
            assert_int_equal(rc, SPR_E_NOMEM);
            assert_null(state);
        } else {
            spr_ticket t;
            int64_t limit = now_ns + 60 * S_NS;
            assert_int_equal(spr_router_client()->publish(state, r, now(), limit, &t), SPR_OK);
            struct spr_router_completion c = {.outcome = -1};
            for (int i = 0; i < 200 && c.outcome < 0; i++, now_ns += S_NS / 50) {
                int left = budget;
                budget = -1; /* the played router has all it needs */
                hear();
                if (peer >= 0 && poll(&(struct pollfd){peer, POLLRDHUP, 0}, 1, 0)) {
                    hang_up();
                    hear();
                }
                answer();
                budget = left;
                c = collect(state);
            }
            assert_int_equal(c.outcome, SPR_DONE);
            spr_router_client()->close(state);
        }
        budget = -1;
        spr_routes_unref(r);
        json_set_alloc_funcs(malloc, free);
        spr_context_unref(mine);
    }
    away();
    assert_true(n > 10 && n < 2000);
}

/* ---- the contract ---- */

static struct spr_time stand_now(struct router_stand *s) { return (void)s, now(); }
static void stand_pass(struct router_stand *s, void *state) {
    (void)s, (void)state;
    if (peer >= 0 && poll(&(struct pollfd){peer, POLLRDHUP, 0}, 1, 0))
        hang_up();
    answer();
    past[0] = 0;
    now_ns += S_NS / 1000;
}

int main(void) {
    snprintf(folder, sizeof folder, "/tmp/spr-client-XXXXXX");
    if (!mkdtemp(folder) || spr_context_create(NULL, &ctx) < 0)
        return 1;
    snprintf(path, sizeof path, "%s/control", folder);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(snapshot_is_one_change),
        cmocka_unit_test(promotion_and_deaths_are_told),
        cmocka_unit_test(refusal_fails_with_the_routers_words),
        cmocka_unit_test(another_connections_change_is_waited_for),
        cmocka_unit_test(absent_router_is_waited_for_with_growing_pauses),
        cmocka_unit_test(nobody_listening_is_said),
        cmocka_unit_test(lost_connection_tells_all_again),
        cmocka_unit_test(router_that_was_started_anew_is_told_what_was_in_force),
        cmocka_unit_test(silent_router_is_given_up),
        cmocka_unit_test(junk_ends_the_connection_and_nothing_else),
        cmocka_unit_test(line_without_an_end_is_given_up),
        cmocka_unit_test(who_does_not_read_keeps_nobody_waiting),
        cmocka_unit_test(only_what_is_not_told_yet_is_cancelled),
        cmocka_unit_test(counters_are_the_newest_that_came),
        cmocka_unit_test(strangers_socket_is_not_spoken_to),
        cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(failing_allocations_are_survived),
    };
    struct router_stand s = {.name = "client",
                             .ops = spr_router_client(),
                             .ctx = ctx,
                             .config = &opts,
                             .now = stand_now,
                             .pass = stand_pass,
                             .patience_s = 1};
    away();
    there();
    refuse = NULL;
    int failed = router_contract(&s, tests, sizeof tests / sizeof tests[0]);
    away();
    rmdir(folder);
    spr_context_unref(ctx);
    return failed;
}
