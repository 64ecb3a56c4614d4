/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The control socket: JSON lines, any number of requests a connection, answered in order. Nothing blocks: a client that
 * does not read is not read from, and one that sends junk gets an error a line. Only the same user and root are heard.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "router.h"

enum { CLIENTS_MOST = 64, REQUESTS_A_ROUND = 16, OUT_MOST = 1 << 24 };
#define SLOW_NS INT64_C(30000000000) /* a client with unread answers, and an open change, may be still for so long */
#define IDLE_NS INT64_C(10000000000) /* longer silent ones make room when all places are taken */

struct client {
    int fd;
    bool gone, ended, skipping; /* ended: says no more; skipping: the rest of a line that was too long */
    char *in, *out;
    size_t in_length, out_length, out_room, sent;
    int64_t moved_ns;
};
struct router_socket {
    struct router *router;
    int fd;
    char path[108];
    dev_t device;
    ino_t inode;
    struct client *clients[CLIENTS_MOST];
    size_t count;
};

/* ---- the file ---- */

static int address_of(const char *path, struct sockaddr_un *to, char why[ROUTER_WHY]) {
    memset(to, 0, sizeof *to);
    to->sun_family = AF_UNIX;
    if (!*path || strlen(path) >= sizeof to->sun_path) {
        snprintf(why, ROUTER_WHY, "the path of a socket has 1 to %zu bytes", sizeof to->sun_path - 1);
        return -1;
    }
    memcpy(to->sun_path, path, strlen(path));
    return 0;
}

int router_socket_probe(const char *path, char why[ROUTER_WHY]) {
    struct sockaddr_un to;
    struct stat st;
    if (address_of(path, &to, why))
        return -1;
    if (lstat(path, &st))
        return 0; /* bind says what is wrong with its folder */
    if (!S_ISSOCK(st.st_mode)) {
        snprintf(why, ROUTER_WHY, "there is a file that is no socket");
        return -1;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool dead = fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) && errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    if (!dead)
        snprintf(why, ROUTER_WHY, "another process listens there");
    return dead ? 0 : -1;
}

struct router_socket *router_socket_open(struct router *r, const char *path, char why[ROUTER_WHY]) {
    struct sockaddr_un to;
    struct stat st;
    if (router_socket_probe(path, why) || address_of(path, &to, why))
        return NULL;
    struct router_socket *s = calloc(1, sizeof *s);
    if (!s) {
        snprintf(why, ROUTER_WHY, "out of memory");
        return NULL;
    }
    s->router = r;
    snprintf(s->path, sizeof s->path, "%s", path);
    unlink(path); /* a dead process's: probed */
    s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t before = umask(0177); /* 0600 from the first moment on */
    bool bound = s->fd >= 0 && !bind(s->fd, (struct sockaddr *)&to, sizeof to);
    umask(before);
    if (bound && !stat(path, &st) && !listen(s->fd, CLIENTS_MOST)) {
        s->device = st.st_dev;
        s->inode = st.st_ino;
        return s;
    }
    snprintf(why, ROUTER_WHY, "%s", strerror(errno));
    if (bound)
        unlink(path);
    if (s->fd >= 0)
        close(s->fd);
    free(s);
    return NULL;
}

/* ---- clients ---- */

static void client_free(struct router_socket *s, struct client *c) {
    router_forget(s->router, c);
    close(c->fd);
    free(c->in);
    free(c->out);
    free(c);
}

static void say(void *user, json_t *line) {
    struct client *c = user;
    char *text = line ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
    size_t n = text ? strlen(text) : 0;
    json_decref(line);
    if (!text || c->out_length + n + 1 > OUT_MOST) {
        c->gone = true; /* an answer that cannot be given whole is not given in pieces */
        free(text);
        return;
    }
    if (c->out_length + n + 1 > c->out_room) {
        size_t room = 2 * (c->out_length + n + 1);
        char *grown = realloc(c->out, room);
        if (!grown) {
            c->gone = true;
            free(text);
            return;
        }
        c->out = grown;
        c->out_room = room;
    }
    memcpy(c->out + c->out_length, text, n);
    c->out[c->out_length + n] = '\n';
    c->out_length += n + 1;
    free(text);
}

static bool is_allowed(int fd) {
    struct ucred peer;
    socklen_t n = sizeof peer;
    return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) && (peer.uid == geteuid() || !peer.uid);
}

/* A place for one more: the longest silent client goes, when it has been silent for long and waits for nothing. */
static bool make_room(struct router_socket *s, int64_t now) {
    size_t oldest = 0;
    if (s->count < CLIENTS_MOST)
        return true;
    for (size_t i = 1; i < s->count; i++)
        if (s->clients[i]->moved_ns < s->clients[oldest]->moved_ns)
            oldest = i;
    if (now - s->clients[oldest]->moved_ns < IDLE_NS)
        return false;
    client_free(s, s->clients[oldest]);
    s->clients[oldest] = s->clients[--s->count];
    return true;
}

static void refuse(int fd, const char *line) {
    if (send(fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        errno = 0; /* it is gone already */
    close(fd);
}

static void accept_all(struct router_socket *s, int64_t now) {
    for (int i = 0; i < CLIENTS_MOST; i++) {
        int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
            return;
        if (!is_allowed(fd)) {
            refuse(fd, "{\"error\":\"this socket hears its own user and root only\"}\n");
            continue;
        }
        if (!make_room(s, now)) {
            refuse(fd, "{\"error\":\"too many clients\"}\n");
            continue;
        }
        struct client *c = calloc(1, sizeof *c);
        if (c)
            c->in = malloc(ROUTER_LINE_MOST + 1);
        if (!c || !c->in) {
            free(c);
            refuse(fd, "{\"error\":\"out of memory\"}\n");
            continue;
        }
        c->fd = fd;
        c->moved_ns = now;
        s->clients[s->count++] = c;
    }
}

static void one_line(struct router_socket *s, struct client *c, const char *line, size_t length) {
    struct router_request q;
    char why[ROUTER_WHY];
    if (router_request_parse(line, length, &q, why)) {
        say(c, router_error(why));
        return;
    }
    router_answer(s->router, c, &q, say, c);
    router_request_free(&q);
}

/* The next line, when it is there whole and nothing waits to be sent. */
static bool next_line(struct router_socket *s, struct client *c) {
    char *end = c->out_length || c->gone ? NULL : memchr(c->in, '\n', c->in_length);
    if (!end)
        return false;
    size_t length = (size_t)(end - c->in);
    if (!c->skipping)
        one_line(s, c, c->in, length);
    c->skipping = false;
    c->in_length -= length + 1;
    memmove(c->in, end + 1, c->in_length);
    return true;
}

/* What is longer than a line may be is said once and thrown away up to its end. */
static void bound_line(struct client *c) {
    if (memchr(c->in, '\n', c->in_length) || (!c->skipping && c->in_length <= ROUTER_LINE_MOST))
        return;
    if (!c->skipping)
        say(c, router_error("a line has at most 65536 bytes"));
    c->skipping = true;
    c->in_length = 0;
}

static void read_some(struct client *c, int64_t now) {
    ssize_t n = recv(c->fd, c->in + c->in_length, ROUTER_LINE_MOST + 1 - c->in_length, 0);
    if (n > 0) {
        c->in_length += (size_t)n;
        c->moved_ns = now;
    } else if (!n) {
        c->ended = true; /* what it asked is answered still */
    } else
        c->gone = errno != EAGAIN && errno != EINTR;
}

static void write_some(struct client *c, int64_t now) {
    while (c->sent < c->out_length) {
        ssize_t n = send(c->fd, c->out + c->sent, c->out_length - c->sent, MSG_NOSIGNAL);
        if (n < 0) {
            c->gone |= errno != EAGAIN && errno != EINTR;
            return;
        }
        c->sent += (size_t)n;
        c->moved_ns = now;
    }
    c->sent = c->out_length = 0;
    if (c->out_room > ROUTER_LINE_MOST) { /* a dump's room is not kept */
        free(c->out);
        c->out = NULL;
        c->out_room = 0;
    }
}

/* One client's turn: a few requests, so that others need not wait. Answers go out before more is read. */
static void serve(struct router_socket *s, struct client *c, short events, int64_t now) {
    if (events & (POLLIN | POLLHUP | POLLERR) && !c->ended && !c->out_length && c->in_length <= ROUTER_LINE_MOST)
        read_some(c, now);
    write_some(c, now);
    for (int n = 0; n < REQUESTS_A_ROUND && next_line(s, c); n++)
        write_some(c, now);
    bound_line(c);
    write_some(c, now);
    bool holds = s->router->holder == c;
    if ((c->out_length || holds) && now - c->moved_ns > SLOW_NS)
        c->gone = true;
    if (c->ended && !c->out_length && !memchr(c->in, '\n', c->in_length))
        c->gone = true;
}

static bool has_line(const struct client *c) { return !c->out_length && memchr(c->in, '\n', c->in_length); }

void router_socket_round(struct router_socket *s, int timeout_ms) {
    struct pollfd fds[CLIENTS_MOST + 1] = {{.fd = s->fd, .events = POLLIN}};
    size_t count = s->count;
    for (size_t i = 0; i < count; i++) {
        struct client *c = s->clients[i];
        fds[i + 1] = (struct pollfd){.fd = c->fd, .events = c->out_length ? POLLOUT : POLLIN};
        if (has_line(c))
            timeout_ms = 0;
    }
    if (poll(fds, count + 1, timeout_ms) < 0)
        return;
    int64_t now = router_now().mono_ns;
    for (size_t i = 0; i < count; i++)
        serve(s, s->clients[i], fds[i + 1].revents, now);
    for (size_t i = 0; i < s->count;)
        if (s->clients[i]->gone) {
            client_free(s, s->clients[i]);
            s->clients[i] = s->clients[--s->count];
        } else
            i++;
    if (fds[0].revents)
        accept_all(s, now);
}

void router_socket_close(struct router_socket *s) {
    struct stat st;
    if (!s)
        return;
    while (s->count)
        client_free(s, s->clients[--s->count]);
    close(s->fd);
    if (!lstat(s->path, &st) && st.st_dev == s->device && st.st_ino == s->inode)
        unlink(s->path);
    free(s);
}
