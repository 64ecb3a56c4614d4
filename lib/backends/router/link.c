/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The connection: a socket that never blocks, behind one epoll fd that stays the same when the socket does not. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "client.h"

enum { FIRST_ROOM = 4096, READS = 64 };

/* ---- buffers ---- */

bool rc_buffer_room(spr_context *ctx, struct rc_buffer *b, size_t more) {
    if (b->room - b->length >= more)
        return true;
    size_t room = b->room ? b->room : FIRST_ROOM;
    while (room - b->length < more)
        room *= 2;
    char *grown = spr_context_alloc(ctx, room);
    if (!grown)
        return false;
    if (b->length)
        memcpy(grown, b->at, b->length);
    spr_context_free(ctx, b->at, b->room);
    b->at = grown;
    b->room = room;
    return true;
}

void rc_buffer_free(spr_context *ctx, struct rc_buffer *b) {
    spr_context_free(ctx, b->at, b->room);
    *b = (struct rc_buffer){0};
}

/* ---- coming and going ---- */

void rc_disconnect(struct rc_client *c, int64_t now, int code, const char *why) {
    if (c->fd >= 0)
        close(c->fd); /* epoll forgets it */
    c->fd = -1;
    c->writes = c->told = false;
    rc_buffer_free(c->ctx, &c->in);
    rc_buffer_free(c->ctx, &c->out);
    c->searched = c->sent = 0;
    c->asked = RC_NOTHING;
    c->why_code = code;
    snprintf(c->why, sizeof c->why, "%.100s: %.130s", c->path, why);
    c->pause_ns = c->pause_ns ? 2 * c->pause_ns : c->retry_ns;
    if (c->pause_ns > c->retry_max_ns)
        c->pause_ns = c->retry_max_ns;
    c->retry_at = now + c->pause_ns;
    rc_job_again(c);
}

/* What nobody but an administrator can change ends every publish that waits; a router that is away may come back. */
static void is_forbidden(struct rc_client *c, int64_t now, const char *why) {
    rc_disconnect(c, now, SPR_E_IO, why);
    for (unsigned i = 0; i < c->ticket_count; i++)
        if (!c->ticket[i].ended)
            rc_ticket_end(c, &c->ticket[i], SPR_FAILED, SPR_E_IO, c->why);
    rc_job_again(c);
}

static bool is_trusted(struct rc_client *c, int64_t now) {
    struct ucred peer = {0};
    socklen_t n = sizeof peer;
    char why[RC_TEXT];
    if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &peer, &n)) {
        is_forbidden(c, now, "cannot tell whose process listens there");
        return false;
    }
    if (!peer.uid || peer.uid == geteuid() || (c->o.peer_uid && peer.uid == c->o.peer_uid))
        return true;
    snprintf(why, sizeof why, "the process that listens there is user %u's, not ours: nothing is said to it",
             (unsigned)peer.uid);
    is_forbidden(c, now, why);
    return false;
}

int rc_connect(struct rc_client *c, int64_t now) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    struct epoll_event e = {.events = EPOLLIN};
    memcpy(to.sun_path, c->path, strlen(c->path));
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* A socket of this family connects at once or not at all. */
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) ||
        epoll_ctl(c->epoll, EPOLL_CTL_ADD, c->fd, &e)) {
        int error = errno;
        const char *why = error == ECONNREFUSED ? "connection refused: no router listens there"
                          : error == ENOENT     ? "there is no such socket: the router does not run"
                          : error == EAGAIN     ? "the router does not take connections at the moment"
                                                : strerror(error);
        if (error == EACCES || error == EPERM)
            is_forbidden(c, now, "permission denied: the socket hears its own user and root only");
        else
            rc_disconnect(c, now, SPR_E_IO, why);
        return SPR_E_IO;
    }
    return is_trusted(c, now) ? SPR_OK : SPR_E_IO;
}

/* ---- lines ---- */

static void look_for_room(struct rc_client *c, bool writes) {
    struct epoll_event e = {.events = EPOLLIN | (writes ? EPOLLOUT : 0)};
    if (writes != c->writes && !epoll_ctl(c->epoll, EPOLL_CTL_MOD, c->fd, &e))
        c->writes = writes;
}

struct sink {
    struct rc_client *c;
    bool failed;
};

/* jansson does not look at what comes back when it writes a key, so it is remembered here. */
static int into_buffer(const char *text, size_t n, void *data) {
    struct sink *to = data;
    struct rc_buffer *b = &to->c->out;
    to->failed = to->failed || !rc_buffer_room(to->c->ctx, b, n);
    if (to->failed)
        return -1;
    memcpy(b->at + b->length, text, n);
    b->length += n;
    return 0;
}

int rc_say(struct rc_client *c, int64_t now, json_t *line) {
    struct sink to = {c, !line};
    if (line && json_dump_callback(line, into_buffer, &to, JSON_COMPACT | JSON_REAL_PRECISION(17)))
        to.failed = true;
    into_buffer("\n", 1, &to);
    json_decref(line);
    if (to.failed)
        rc_disconnect(c, now, SPR_E_NOMEM, "out of memory, or a name that is no text");
    return to.failed ? SPR_E_NOMEM : SPR_OK;
}

void rc_send(struct rc_client *c, int64_t now) {
    while (c->fd >= 0 && c->sent < c->out.length) {
        ssize_t n = send(c->fd, c->out.at + c->sent, c->out.length - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            look_for_room(c, true);
            return;
        }
        if (n < 0) {
            rc_disconnect(c, now, SPR_E_IO, strerror(errno));
            return;
        }
        c->sent += (size_t)n;
        c->answer_by = now + c->answer_ns;
    }
    if (c->fd < 0)
        return;
    c->sent = c->out.length = 0;
    look_for_room(c, false);
}

static void hear_lines(struct rc_client *c, int64_t now) {
    size_t from = 0;
    char *end;
    while (c->fd >= 0 && (end = memchr(c->in.at + c->searched, '\n', c->in.length - c->searched))) {
        size_t stop = (size_t)(end - c->in.at);
        c->searched = stop + 1;
        rc_heard(c, now, c->in.at + from, stop - from);
        from = stop + 1;
    }
    if (c->fd < 0)
        return; /* and the buffer with it */
    c->in.length -= from;
    memmove(c->in.at, c->in.at + from, c->in.length);
    c->searched = c->in.length;
    if (c->in.length > RC_LINE_MOST)
        rc_disconnect(c, now, SPR_E_FORMAT, "what listens there is no router: a line without an end");
}

void rc_receive(struct rc_client *c, int64_t now) {
    for (int i = 0; i < READS && c->fd >= 0; i++) {
        if (!rc_buffer_room(c->ctx, &c->in, FIRST_ROOM)) {
            rc_disconnect(c, now, SPR_E_NOMEM, "out of memory");
            return;
        }
        ssize_t n = recv(c->fd, c->in.at + c->in.length, c->in.room - c->in.length, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            rc_disconnect(c, now, SPR_E_IO, n ? strerror(errno) : "the router ended the connection");
            return;
        }
        c->in.length += (size_t)n;
        hear_lines(c, now);
    }
}
