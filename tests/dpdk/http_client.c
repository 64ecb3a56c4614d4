/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Many connections to http_server, each of which must be answered by one server from its first answer to its last.
 *
 *   http_client ADDRESS PORT [connections=N] [at_once=N] [requests=N] [think_ms=N] [body=BYTES] [from=ADDRESS]
 * [sources=N]
 *
 * connections=0: no more than at_once, and requests until standard input ends. sources=N: from so many addresses, from
 * `from` upwards. Says what it saw as a line of JSON at the end, and whenever it reads a line.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { AT_ONCE = 4096, SERVERS = 8, EVENTS = 256, PATIENCE_MS = 30000 };
enum phase { FREE, CONNECTING, SENDING, WAITING, THINKING, ENDING };
enum error { E_CONNECT, E_RESET, E_END, E_SILENCE, E_JUNK, E_KINDS };
static const char *const error_names[E_KINDS] = {"connect", "reset", "end", "silence", "junk"};

struct connection {
    int fd;
    enum phase phase;
    long made, server; /* answers had; whose, 0 = nobody's yet */
    size_t sent, have;
    int64_t since; /* ms of the last progress */
    char answer[512];
};

static long total = 1000, at_once = 100, wanted = 1, think, body, sources = 1;
static uint32_t from;
static struct sockaddr_in target;
static struct connection list[AT_ONCE];
static struct {
    char name[32];
    long connections, errors;
} servers[SERVERS] = {{.name = "?"}};
static long opened, finished, answers, moved, errors[E_KINDS];
static bool over;
static int poll_fd;
static char *last, *more; /* requests: the one that ends the connection, the others */
static size_t last_size, more_size;

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void say(void) {
    printf("{\"opened\": %ld, \"finished\": %ld, \"answers\": %ld, \"moved\": %ld, \"errors\": {", opened, finished,
           answers, moved);
    for (int i = 0; i < E_KINDS; i++)
        printf("%s\"%s\": %ld", i ? ", " : "", error_names[i], errors[i]);
    printf("}, \"servers\": {");
    for (int i = 0; i < SERVERS && *servers[i].name; i++)
        printf("%s\"%s\": {\"connections\": %ld, \"errors\": %ld}", i ? ", " : "", servers[i].name,
               servers[i].connections, servers[i].errors);
    printf("}}\n");
    fflush(stdout);
}

static void leave(struct connection *c) {
    close(c->fd);
    c->phase = FREE;
    finished++;
}

static void fail(struct connection *c, enum error kind) {
    errors[kind]++;
    servers[c->server].errors++;
    leave(c);
}

static void watch(struct connection *c, uint32_t what) {
    struct epoll_event e = {.events = what, .data.ptr = c};
    epoll_ctl(poll_fd, EPOLL_CTL_MOD, c->fd, &e);
}

static bool is_last(const struct connection *c) { return over || (wanted && c->made + 1 >= wanted); }

static void send_request(struct connection *c) {
    const char *text = wanted && is_last(c) ? last : more;
    size_t size = wanted && is_last(c) ? last_size : more_size;
    ssize_t n = send(c->fd, text + c->sent, size - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN) {
        fail(c, errno == EPIPE || errno == ECONNRESET ? E_RESET : E_JUNK);
        return;
    }
    c->sent += n > 0 ? (size_t)n : 0;
    c->since = now();
    c->phase = c->sent < size ? SENDING : WAITING;
    watch(c, c->sent < size ? EPOLLOUT : EPOLLIN);
}

static void begin(struct connection *c) {
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(from + (uint32_t)(opened % sources))};
    int one = 1;
    *c = (struct connection){.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), .phase = CONNECTING};
    c->since = now();
    opened++;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    struct epoll_event e = {.events = EPOLLOUT, .data.ptr = c};
    if ((from && bind(c->fd, (struct sockaddr *)&own, sizeof own)) ||
        (connect(c->fd, (struct sockaddr *)&target, sizeof target) && errno != EINPROGRESS) ||
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &e)) {
        perror("http_client: connect");
        fail(c, E_CONNECT);
    }
}

/* Whose answer it is, and whether that is who answered before. */
static void note(struct connection *c, const char *who) {
    long s = 1;
    while (s < SERVERS - 1 && *servers[s].name && strcmp(servers[s].name, who))
        s++;
    if (!*servers[s].name)
        snprintf(servers[s].name, sizeof servers[s].name, "%s", who);
    if (c->server && c->server != s)
        moved++;
    if (!c->server)
        servers[s].connections++;
    c->server = s;
}

/* A whole answer is there? -1 where it cannot become one. */
static int whole(struct connection *c) {
    c->answer[c->have] = 0;
    char *end = strstr(c->answer, "\r\n\r\n"), *length = strstr(c->answer, "Content-Length: ");
    if (!end || !length)
        return c->have + 1 < sizeof c->answer ? 0 : -1;
    size_t size = strtoul(length + 16, NULL, 10), got = c->have - (size_t)(end + 4 - c->answer);
    if (got < size)
        return 0;
    if (got > size || strncmp(c->answer, "HTTP/1.1 200", 12))
        return -1;
    note(c, end + 4);
    return 1;
}

static void receive(struct connection *c) {
    ssize_t n = recv(c->fd, c->answer + c->have, sizeof c->answer - 1 - c->have, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (c->phase == ENDING && n == 0) {
        leave(c);
        return;
    }
    if (n <= 0 || c->phase != WAITING) {
        fail(c, n < 0 ? E_RESET : n == 0 ? E_END : E_JUNK);
        return;
    }
    c->have += (size_t)n;
    c->since = now();
    int done = whole(c);
    if (done < 0) {
        fail(c, E_JUNK);
        return;
    }
    if (!done)
        return;
    bool closing = wanted && is_last(c);
    answers++, c->made++, c->have = c->sent = 0;
    if (closing)
        c->phase = ENDING;
    else if (over)
        leave(c);
    else if (think)
        c->phase = THINKING;
    else
        send_request(c);
}

static void event(struct connection *c, uint32_t what) {
    int error = 0;
    socklen_t size = sizeof error;
    if (c->phase == CONNECTING) {
        if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size) || error)
            fail(c, E_CONNECT);
        else if (what & EPOLLOUT)
            send_request(c);
    } else if (c->phase == SENDING && !(what & (EPOLLERR | EPOLLHUP))) {
        send_request(c);
    } else if (c->phase != FREE) {
        receive(c);
    }
}

/* What no event brings: the next request after thinking, the end of patience, new connections. @return how many there
 * are */
static long tend(void) {
    int64_t t = now();
    long alive = 0;
    for (long i = 0; i < at_once; i++) {
        struct connection *c = &list[i];
        if (c->phase == THINKING && (over || t - c->since >= think)) {
            if (over && !wanted)
                leave(c);
            else
                send_request(c);
        } else if (c->phase != FREE && c->phase != THINKING && t - c->since > PATIENCE_MS)
            fail(c, E_SILENCE);
        if (c->phase == FREE && !over && opened < (total ? total : at_once))
            begin(c);
        alive += c->phase != FREE;
    }
    return alive;
}

static void listen_to_input(void) {
    char text[256];
    ssize_t n = read(0, text, sizeof text);
    if (n > 0)
        say();
    else if (n == 0)
        over = true;
}

static char *request(const char *address, const char *way, size_t *size) {
    char *text = malloc(512 + (size_t)body);
    if (!text)
        exit(1);
    int n = snprintf(text, 512, "POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: %ld\r\n%s\r\n", address, body, way);
    memset(text + n, 'x', (size_t)body);
    *size = (size_t)n + (size_t)body;
    return text;
}

static int options(int argc, char **argv) {
    const struct {
        const char *name;
        long *to, most;
    } known[] = {{"connections=", &total, 100000000}, {"at_once=", &at_once, AT_ONCE}, {"requests=", &wanted, 1000000},
                 {"think_ms=", &think, 10000},        {"body=", &body, 10000000},      {"sources=", &sources, 200}};
    struct in_addr a;
    for (int i = 3; i < argc; i++) {
        size_t k = 0;
        if (!strncmp(argv[i], "from=", 5) && inet_pton(AF_INET, argv[i] + 5, &a) == 1) {
            from = ntohl(a.s_addr);
            continue;
        }
        while (k < 6 && strncmp(argv[i], known[k].name, strlen(known[k].name)))
            k++;
        if (k == 6)
            return -1;
        *known[k].to = atol(argv[i] + strlen(known[k].name));
        if (*known[k].to < 0 || *known[k].to > known[k].most)
            return -1;
    }
    if (!total)
        wanted = 0;
    return 0;
}

int main(int argc, char **argv) {
    struct rlimit most = {AT_ONCE + 64, AT_ONCE + 64};
    struct epoll_event events[EVENTS], input = {.events = EPOLLIN, .data.ptr = NULL};
    target.sin_family = AF_INET;
    if (argc < 3 || inet_pton(AF_INET, argv[1], &target.sin_addr) != 1 || options(argc, argv)) {
        fprintf(stderr, "usage: http_client ADDRESS PORT [NAME=VALUE...], see its head\n");
        return 2;
    }
    target.sin_port = htons((uint16_t)atoi(argv[2]));
    setrlimit(RLIMIT_NOFILE, &most);
    last = request(argv[1], "Connection: close\r\n", &last_size);
    more = request(argv[1], "", &more_size);
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, 0, &input);
    int64_t started = now(), tended = 0;
    for (;;) {
        if (tended != now()) {
            tended = now();
            if (!tend() && (over || (total && opened >= total)))
                break;
        }
        int n = epoll_wait(poll_fd, events, EVENTS, 2);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr)
                event(events[i].data.ptr, events[i].events);
            else if (!over)
                listen_to_input();
        }
        if (over)
            epoll_ctl(poll_fd, EPOLL_CTL_DEL, 0, NULL);
    }
    fprintf(stderr, "%.3f\n", (double)(now() - started) / 1000);
    say();
    free(last);
    free(more);
    return 0;
}
