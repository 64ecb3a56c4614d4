/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A web server that tells its name, for tests that must know who answered: http_server NAME ADDRESS PORT
 * Keeps connections alive, closes where asked to, reads and forgets bodies. One thread; ends by a signal.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS = 65536, HEAD = 1024, EVENTS = 256 };

struct connection {
    size_t have;       /* bytes of a head that is not whole yet */
    size_t body;       /* bytes of a body still to come */
    bool owes, closes; /* an answer after the body; the end after the answer */
    char head[HEAD];
};

static struct connection *connections[CONNECTIONS]; /* by descriptor */
static const char *name;

static int answer(int fd, const struct connection *c) {
    char text[256];
    int n = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n%s\r\n%s", strlen(name),
                     c->closes ? "Connection: close\r\n" : "", name);
    return send(fd, text, (size_t)n, MSG_NOSIGNAL) == n && !c->closes ? 0 : -1; /* so short that a socket takes it */
}

/* The head that is whole: what it asks for. */
static void read_head(struct connection *c) {
    const char *length = strcasestr(c->head, "\r\nContent-Length:"),
               *closes = strcasestr(c->head, "\r\nConnection: close");
    c->body = length ? strtoul(length + 17, NULL, 10) : 0;
    c->closes = closes != NULL;
    c->owes = true;
}

/* @return -1: the connection is over */
static int take(int fd, struct connection *c, const char *data, size_t n) {
    while (n || c->owes) {
        if (c->owes) {
            size_t part = c->body < n ? c->body : n;
            c->body -= part, data += part, n -= part;
            if (c->body)
                return 0;
            c->owes = false;
            if (answer(fd, c))
                return -1;
            continue;
        }
        if (c->have + 1 >= HEAD)
            return -1;
        c->head[c->have++] = *data++, n--;
        c->head[c->have] = 0;
        if (c->have >= 4 && !memcmp(c->head + c->have - 4, "\r\n\r\n", 4)) {
            read_head(c);
            c->have = 0;
        }
    }
    return 0;
}

static void serve(int fd) {
    char data[65536];
    ssize_t n = recv(fd, data, sizeof data, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0 && !take(fd, connections[fd], data, (size_t)n))
        return;
    free(connections[fd]);
    connections[fd] = NULL;
    close(fd);
}

static void welcome(int listener, int poll) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
        int one = 1;
        if (fd >= CONNECTIONS || !(connections[fd] = calloc(1, sizeof **connections))) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        epoll_ctl(poll, EPOLL_CTL_ADD, fd, &e);
    }
}

static int open_listener(const char *address, const char *port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    if (fd < 0 || inet_pton(AF_INET, address, &a.sin_addr) != 1)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    return bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 4096) ? -1 : fd;
}

int main(int argc, char **argv) {
    struct rlimit most = {CONNECTIONS, CONNECTIONS};
    if (argc != 4) {
        fprintf(stderr, "usage: http_server NAME ADDRESS PORT\n");
        return 2;
    }
    name = argv[1];
    setrlimit(RLIMIT_NOFILE, &most);
    int listener = open_listener(argv[2], argv[3]), poll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = listener}, events[EVENTS];
    if (listener < 0 || poll < 0 || epoll_ctl(poll, EPOLL_CTL_ADD, listener, &e)) {
        perror("http_server");
        return 1;
    }
    for (;;) {
        int n = epoll_wait(poll, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == listener)
                welcome(listener, poll);
            else
                serve(events[i].data.fd);
        }
    }
}
