/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Probes against servers of this program's own: ready, not yet, never, somebody else's. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libvirt_texts.h"
#include "probe.h"

static char why[LV_WHY];

/* A server on a port of its own that gives every caller the same answer. */
struct server {
    int fd, port;
    const char *answer; /* NULL: it says nothing and keeps the connection; "" = it hangs up */
    size_t more;        /* bytes of body after the answer */
    atomic_int calls, over;
    char request[1024]; /* of the last caller */
    pthread_t thread;
};

static void put(int fd, const char *data, size_t bytes) {
    while (bytes) {
        ssize_t n = send(fd, data, bytes, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        data += n;
        bytes -= (size_t)n;
    }
}

static void serve_one(struct server *s, int fd) {
    static const char filler[4096];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    atomic_fetch_add(&s->calls, 1);
    if (!s->answer) { /* until the caller gives up */
        char c[512];
        while (!atomic_load(&s->over))
            if (poll(&p, 1, 20) > 0 && read(fd, c, sizeof c) <= 0)
                return;
        return;
    }
    if (poll(&p, 1, 20000) > 0) {
        ssize_t n = read(fd, s->request, sizeof s->request - 1);
        s->request[n > 0 ? n : 0] = 0;
    }
    put(fd, s->answer, strlen(s->answer));
    for (size_t sent = 0; sent < s->more; sent += sizeof filler)
        put(fd, filler, sizeof filler);
}

static void *serve(void *arg) {
    struct server *s = arg;
    struct pollfd p = {.fd = s->fd, .events = POLLIN};
    while (!atomic_load(&s->over)) {
        if (poll(&p, 1, 20) <= 0)
            continue;
        int fd = accept(s->fd, NULL, NULL);
        if (fd < 0)
            continue;
        serve_one(s, fd);
        close(fd);
    }
    return NULL;
}

static void listen_at(struct server *s) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(s->fd >= 0);
    assert_int_equal(bind(s->fd, (void *)&a, sizeof a), 0);
    assert_int_equal(listen(s->fd, 16), 0);
    assert_int_equal(getsockname(s->fd, (void *)&a, &n), 0);
    s->port = ntohs(a.sin_port);
}
static void begin(struct server *s) {
    listen_at(s);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}
static void end(struct server *s) {
    atomic_store(&s->over, 1);
    pthread_join(s->thread, NULL);
    close(s->fd);
}
static const char *at(const struct server *s, const char *scheme, const char *path) {
    static char url[200];
    snprintf(url, sizeof url, "%s127.0.0.1:%d%s", scheme, s->port, path);
    return url;
}
/* 20 s are for machines that have other work; nothing here needs them but what is meant to. */
static int try(const char *probe) { return lv_probe_try(probe, 20000, NULL, NULL, why); }

static void a_status_from_200_to_399_is_ready(void **state) {
    (void)state;
    static const struct {
        const char *answer;
        int code;
    } rows[] = {{"HTTP/1.0 200 OK\r\n\r\nhello", SPR_OK},
                {"HTTP/1.1 204 Nothing\r\nConnection: close\r\n\r\n", SPR_OK},
                {"HTTP/1.1 304 Same\r\nConnection: close\r\n\r\n", SPR_OK},
                {"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n", SPR_E_BUSY},
                {"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", SPR_E_BUSY},
                {"HTTP/1.1 503 Starting\r\nContent-Length: 0\r\n\r\n", SPR_E_BUSY},
                {"not HTTP at all\r\n", SPR_E_IO},
                {"", SPR_E_IO}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct server s = {.answer = rows[i].answer};
        double seconds = -1;
        begin(&s);
        int rc = lv_probe_try(at(&s, "http://", "/ready?x=1"), 20000, NULL, &seconds, why);
        end(&s);
        if (rc != rows[i].code)
            fail_msg("%d for %s: %s", rc, rows[i].answer, why);
        assert_true(rc == SPR_OK ? seconds >= 0 : seconds == -1);
        if (rc != SPR_OK)
            assert_has(why, "/ready?x=1");
        assert_int_equal(atomic_load(&s.calls), 1);
        assert_has(s.request, "GET /ready?x=1 HTTP/1.1");
        assert_has(s.request, "libshardpredict");
    }
}

static void nobody_is_sent_elsewhere(void **state) {
    (void)state;
    struct server other = {.answer = "HTTP/1.0 200 OK\r\n\r\n"};
    begin(&other);
    char answer[200];
    snprintf(answer, sizeof answer, "HTTP/1.0 302 There\r\nLocation: http://127.0.0.1:%d/\r\n\r\n", other.port);
    struct server s = {.answer = answer};
    begin(&s);
    assert_int_equal(try(at(&s, "http://", "/")), SPR_OK);
    /* nor through what the environment calls a proxy */
    char proxy[60];
    snprintf(proxy, sizeof proxy, "http://127.0.0.1:%d", other.port);
    setenv("http_proxy", proxy, 1);
    setenv("all_proxy", proxy, 1);
    assert_int_equal(try(at(&s, "http://", "/")), SPR_OK);
    unsetenv("http_proxy");
    unsetenv("all_proxy");
    end(&s);
    end(&other);
    assert_int_equal(atomic_load(&s.calls), 2);
    assert_int_equal(atomic_load(&other.calls), 0);
}

static void a_long_answer_is_not_read_to_its_end(void **state) {
    (void)state;
    struct server s = {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n", .more = 1 << 20};
    begin(&s);
    assert_int_equal(try(at(&s, "http://", "/")), SPR_OK);
    end(&s);
    s = (struct server){.answer = "HTTP/1.1 500 Oh\r\nContent-Length: 1000000000\r\n\r\n", .more = 1 << 20};
    begin(&s);
    assert_int_equal(try(at(&s, "http://", "/")), SPR_E_BUSY);
    end(&s);
}

static void silence_ends_at_the_time_limit(void **state) {
    (void)state;
    struct server s = {.answer = NULL};
    begin(&s);
    assert_int_equal(lv_probe_try(at(&s, "http://", "/"), 200, NULL, NULL, why), SPR_E_TIMEOUT);
    assert_has(why, "127.0.0.1");
    end(&s);
}

static void *stop_later(void *arg) {
    usleep(100000);
    atomic_store((atomic_bool *)arg, true);
    return NULL;
}

static void a_try_can_be_stopped(void **state) {
    (void)state;
    struct server s = {.answer = NULL};
    atomic_bool stop = false;
    pthread_t thread;
    begin(&s);
    assert_int_equal(pthread_create(&thread, NULL, stop_later, &stop), 0);
    assert_int_equal(lv_probe_try(at(&s, "http://", "/"), 60000, &stop, NULL, why), SPR_E_CANCELLED);
    pthread_join(thread, NULL);
    end(&s);
}

static void a_connection_is_enough_for_tcp(void **state) {
    (void)state;
    struct server s = {.answer = NULL};
    double seconds = -1;
    begin(&s);
    assert_int_equal(lv_probe_try(at(&s, "tcp://", ""), 20000, NULL, &seconds, why), SPR_OK);
    assert_true(seconds >= 0);
    end(&s);
    assert_int_equal(try(at(&s, "tcp://", "")), SPR_E_IO); /* nobody listens any more */
    assert_has(why, "tcp://127.0.0.1");
    assert_int_equal(try(at(&s, "http://", "/")), SPR_E_IO);
}

static void https_needs_a_server_that_speaks_it(void **state) {
    (void)state;
    struct server s = {.answer = "HTTP/1.0 200 OK\r\n\r\n"};
    begin(&s);
    assert_int_equal(try(at(&s, "https://", "/")), SPR_E_IO);
    end(&s);
}

static void what_is_no_probe_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *probe;
        int kind;
    } rows[] = {{NULL, LV_PROBE_NONE},
                {"", LV_PROBE_NONE},
                {"agent", LV_PROBE_AGENT},
                {"http://10.0.0.1/", LV_PROBE_HTTP},
                {"https://[::1]:8443/a?b", LV_PROBE_HTTP},
                {"tcp://10.0.0.1:22", LV_PROBE_TCP},
                {"tcp://[fe80::1]:22/", LV_PROBE_TCP},
                {"tcp://10.0.0.1", SPR_E_ARG},
                {"tcp://10.0.0.1:22/path", SPR_E_ARG},
                {"tcp://10.0.0.1:99999", SPR_E_ARG},
                {"tcp://:22", SPR_E_ARG},
                {"http://", SPR_E_ARG},
                {"http://user:secret@host/", SPR_E_ARG},
                {"file:///etc/passwd", SPR_E_ARG},
                {"gopher://host/", SPR_E_ARG},
                {"HTTP://host/", SPR_E_ARG},
                {"http://a b/", SPR_E_ARG},
                {"agents", SPR_E_ARG}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        why[0] = 0;
        int kind = lv_probe_kind(rows[i].probe, why);
        if (kind != rows[i].kind)
            fail_msg("%s: %d", rows[i].probe ? rows[i].probe : "NULL", kind);
        if (kind < 0) {
            assert_has(why, "probe");
            assert_int_equal(try(rows[i].probe), kind);
        }
    }
    assert_int_equal(try("agent"), SPR_E_UNSUPPORTED);
    assert_int_equal(try(NULL), SPR_E_UNSUPPORTED);
    assert_int_equal(lv_probe_try("tcp://127.0.0.1:1", 0, NULL, NULL, why), SPR_E_ARG);
}

static int job(void *arg) { return lv_probe_try(arg, 20000, NULL, NULL, why); }

static void every_allocation_may_fail(void **state) {
    (void)state;
    struct server s = {.answer = "HTTP/1.0 200 OK\r\n\r\n"};
    begin(&s);
    char url[200];
    snprintf(url, sizeof url, "%s", at(&s, "http://", "/"));
    assert_int_equal(failing_lv_sweep(job, url), 1);
    end(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_status_from_200_to_399_is_ready),
        cmocka_unit_test(nobody_is_sent_elsewhere),
        cmocka_unit_test(a_long_answer_is_not_read_to_its_end),
        cmocka_unit_test(silence_ends_at_the_time_limit),
        cmocka_unit_test(a_try_can_be_stopped),
        cmocka_unit_test(a_connection_is_enough_for_tcp),
        cmocka_unit_test(https_needs_a_server_that_speaks_it),
        cmocka_unit_test(what_is_no_probe_is_refused),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
