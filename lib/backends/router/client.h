/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the files of the router's client share. One conversation at a time: `asked` says what the next answers are to;
 * answers come in order. Everything happens in rc_drive, which every slot calls and which never waits.
 */
#ifndef SHARDPREDICT_ROUTER_CLIENT_H
#define SHARDPREDICT_ROUTER_CLIENT_H

#include <jansson.h>
#include <stdbool.h>

#include <shardpredict/backend-router.h>

enum { RC_TEXT = 240, RC_TICKETS = 64, RC_LINE_MOST = 1 << 24 };

/* ---- answers (answer.c): text to meaning, without any input or output ---- */

enum rc_asked { RC_NOTHING, RC_BEGIN, RC_TELL, RC_COMMIT, RC_REVERT, RC_SWITCHED, RC_STATS };
enum rc_meaning { RC_YES, RC_REFUSED, RC_NONSENSE };
struct rc_answer {
    uint64_t generation;
    bool switched;
    json_t *stats;      /* owned by who asked */
    char text[RC_TEXT]; /* why not, in plain ASCII */
};
/* `out` is set whole; `stats` only when RC_STATS was asked and it means RC_YES. */
enum rc_meaning rc_answer_read(const char *line, size_t length, enum rc_asked asked, struct rc_answer *out);
/* Counters of a service in an answer to "stats"; false when it is not there. */
bool rc_answer_counters(const json_t *stats, const char *service, struct spr_route_counters *out);

/* ---- the client ---- */

struct rc_buffer {
    char *at;
    size_t length, room;
};
struct rc_ticket {
    spr_ticket ticket;
    spr_routes *routes;
    int64_t deadline;
    bool ended;
    int32_t outcome, code;
    char text[RC_TEXT];
};
struct rc_job {         /* the publish that is being told */
    spr_routes *routes; /* NULL = none */
    spr_ticket ticket;  /* 0 = nobody waits for it any more, or ever did */
    bool committed, refused, is_again;
    unsigned lines, dropped; /* answers to come; how many of them, the first, may be refusals */
    uint64_t generation;
    int64_t due;
    char text[RC_TEXT];
};
struct rc_client {
    spr_context *ctx;
    struct spr_router_client_opts o;
    char path[108];
    int64_t retry_ns, retry_max_ns, answer_ns, counters_ns;
    int fd, epoll, ended; /* ended: an eventfd, set while completions wait */
    bool writes;          /* epoll looks for room to send */
    int64_t pause_ns, retry_at, answer_by, stats_at;
    struct rc_buffer in, out;
    size_t searched, sent; /* in: bytes without the end of a line; out: bytes that are gone */
    enum rc_asked asked;
    struct rc_job job;
    spr_routes *routes; /* in force */
    bool told;          /* by this connection */
    bool counted;       /* counters are wanted */
    json_t *stats;
    struct rc_ticket ticket[RC_TICKETS];
    unsigned ticket_count;
    spr_ticket last;
    int32_t why_code; /* of the connection that is not there */
    char why[RC_TEXT], said[RC_TEXT];
};

/* ---- the connection (link.c) ---- */

bool rc_buffer_room(spr_context *ctx, struct rc_buffer *b, size_t more);
void rc_buffer_free(spr_context *ctx, struct rc_buffer *b);
int rc_connect(struct rc_client *c, int64_t now);
void rc_disconnect(struct rc_client *c, int64_t now, int code, const char *why);
/* One line, sent when there is room. Takes the reference. Below 0: disconnected. */
int rc_say(struct rc_client *c, int64_t now, json_t *line);
void rc_send(struct rc_client *c, int64_t now);
/* What has come: each line to rc_heard. */
void rc_receive(struct rc_client *c, int64_t now);

/* ---- publishing (publish.c) ---- */

void rc_heard(struct rc_client *c, int64_t now, const char *line, size_t length);
/* The next thing to say, when nothing is asked. */
void rc_next(struct rc_client *c, int64_t now);
void rc_expire(struct rc_client *c, int64_t now);
/* The connection is gone: what was under way begins again with the next one. */
void rc_job_again(struct rc_client *c);
void rc_job_free(struct rc_client *c);
void rc_ticket_end(struct rc_client *c, struct rc_ticket *t, int32_t outcome, int32_t code, const char *text);
const char *rc_service(const struct rc_client *c, const struct spr_route *route);

#endif
