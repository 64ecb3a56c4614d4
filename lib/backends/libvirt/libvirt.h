/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the files of this backend share: hosts, lanes (a thread and a queue each), jobs and the desk where finished jobs
 * wait for `collect`.
 *
 * A job is made on the caller's thread, runs on a lane's thread, and is handed back through the desk; nobody touches it
 * on two threads at once, but for `cancelled`. Memory that lanes see comes from lv_alloc (malloc), because the
 * context's hooks need not be thread-safe. Each open spr_libvirt has one reference a lane's thread, so that one that
 * libvirt does not give back may outlive the close.
 */
#ifndef SPR_LIBVIRT_H
#define SPR_LIBVIRT_H

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <shardpredict/backend-libvirt.h>

#define LV_TEXT 320 /* bytes of an error text, as in spr_libvirt_status */

/* ---- memory (memory.c) ---- */

/* Zeroed; NULL when there is none. In the tests' build (LV_INSIDE) the nth one can be made to fail. */
void *lv_alloc(size_t bytes);
char *lv_strdup(const char *text); /* NULL for NULL */
void lv_free(void *block);
extern atomic_long lv_alloc_fail_after; /* below 0: never; in the tests' build only */
/* Room for `need` elements of `each` bytes; grows by doubling. SPR_OK or SPR_E_NOMEM, then everything is as it was. */
int lv_grow(void **block, size_t *cap, size_t need, size_t each);

/* ---- options and time (memory.c) ---- */

/* A struct of another age into ours (`known` bytes): SPR_OK, SPR_E_ARG (no size), SPR_E_TOO_NEW (bytes we do not know).
 */
int lv_opts_copy(const void *given, void *out, size_t known);
int64_t lv_wall_ns(void);  /* this machine's wall clock */
int64_t lv_clock_ns(void); /* this machine's monotonic clock; deadlines of callers are turned into it */

/* ---- lanes and jobs (lane.c) ---- */

struct lv_host;
struct lv_desk;
struct lv_move;

enum lv_lane_kind { LV_LOOK, LV_ACT, LV_LANES };

struct lv_job {
    struct lv_job *next;                                 /* in its lane, then at the desk */
    struct lv_job *newer, *older;                        /* all open ones of a desk */
    struct lv_host *host;                                /* set by lv_lane_put */
    struct lv_desk *desk;                                /* where it goes when it is over; NULL = it is destroyed */
    void (*run)(struct lv_job *job, virConnectPtr conn); /* on the lane's thread */
    void (*leave)(struct lv_job *job);   /* on a lane's thread, when it is over: lets go of what is libvirt's */
    void (*destroy)(struct lv_job *job); /* on any thread: frees what hangs on it and itself; NULL = lv_free */
    spr_ticket ticket;
    int64_t deadline_mono_ns;    /* the caller's clock */
    int64_t deadline_ns, due_ns; /* ours: do not begin before due */
    int32_t outcome, code;       /* ::spr_outcome, ::spr_error_code */
    bool again;                  /* run set it: back into the queue until due */
    struct lv_host *to;          /* run set it: into that host's lane instead */
    int32_t to_lane;             /* ::lv_lane_kind */
    bool unconnected_too;  /* run is called as well when there is no connection: NULL, and code and text say why */
    bool ends_itself;      /* run is called when it is cancelled, too: it has to stop something first */
    bool over;             /* at the desk */
    bool abandoned;        /* the caller was told that its time is up */
    atomic_bool cancelled; /* run looks at it between steps that can be given up */
    char text[LV_TEXT];
};

/* Inside run: come back after `pause_s`; the lane is free meanwhile. */
void lv_job_again(struct lv_job *job, double pause_s);
/* Inside run: go on in another lane, perhaps of another host. */
void lv_job_move(struct lv_job *job, struct lv_host *host, enum lv_lane_kind lane);
/* Inside run: it failed. Text is "HOST: ..." */
void lv_job_fail(struct lv_job *job, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same with what libvirt says of its last error on this thread and the code that follows from it. */
void lv_job_fail_libvirt(struct lv_job *job, const char *what, const char *of);
/* Code of libvirt's last error on this thread as ours. */
int lv_code_of_last_error(void);
/* True when the job should stop at the next safe point: cancelled, closing or past its deadline. */
bool lv_job_stops(const struct lv_job *job);

struct lv_lane {
    pthread_cond_t wake;
    bool started;
    struct lv_job *first, *running;
    int64_t running_since_ns;
};

/* Queue a job. SPR_OK, SPR_E_NOMEM (no thread), SPR_E_STATE (closing); on failure the job is still the caller's. */
int lv_lane_put(struct lv_host *host, enum lv_lane_kind kind, struct lv_job *job);
/* Jobs were cancelled: lanes that sleep until one is due look again. Not under a desk's lock. */
void lv_lanes_wake(struct spr_libvirt *v);

/* ---- the desk (desk.c) ---- */

/* An eventfd becomes readable and the controller is woken; it is no longer readable. */
void lv_ring(int fd, spr_notifier *notifier);
void lv_hush(int fd);

struct lv_desk {
    pthread_mutex_t lock;
    atomic_int refs;                        /* its owner's and one for each job under way */
    struct lv_job *open, *done, **done_end; /* open: accepted, not yet collected */
    spr_ticket last;
    const struct lv_host *late_host; /* where the ticket was that lv_desk_take found late; the caller's thread only */
    int fd;                          /* eventfd: readable while done is not empty */
    spr_notifier *notifier;
    struct spr_libvirt *hosts; /* of the jobs that it accepted */
};
/* NULL: no memory or no fd. */
struct lv_desk *lv_desk_open(spr_notifier *notifier);
/* Give the job a ticket and its deadlines. */
void lv_desk_accept(struct lv_desk *desk, struct lv_job *job, struct spr_time now, int64_t deadline_mono_ns);
/* Take it back: it could not be queued. */
void lv_desk_withdraw(struct lv_desk *desk, struct lv_job *job);
/* On a lane's thread (or the caller's): the job is over and no longer the caller's. */
void lv_desk_done(struct lv_job *job);
/*
 * The next one that is over; it belongs to who takes it (lv_job_destroy). NULL: none is, but *late may name a ticket
 * whose deadline has passed at `now`: its job stays with its lane and is told to stop. 0 = none of that either.
 */
struct lv_job *lv_desk_take(struct lv_desk *desk, struct spr_time now, spr_ticket *late);
/* Ask for it to be given up. SPR_OK, or SPR_E_NOT_FOUND when it ended already. */
int lv_desk_cancel(struct lv_desk *desk, spr_ticket ticket);
/* Earliest deadline of what is open, INT64_MAX = none; 0 when something waits to be collected. */
int64_t lv_desk_next(struct lv_desk *desk);
/* Cancel all; jobs still on lanes are destroyed when they come back. Nobody is notified afterwards. */
void lv_desk_close(struct lv_desk *desk);
void lv_job_destroy(struct lv_job *job);

/* ---- hosts (hosts.c) ---- */

struct lv_host {
    struct spr_libvirt *v;
    size_t index;
    char *uri, *id, *rack, *zone;
    double net_bps, cpu_overcommit, memory_kept;
    struct lv_lane lane[LV_LANES];
    /* the connection; all below under v->lock */
    virConnectPtr conn;
    struct lv_ear *ear; /* hears of its end; NULL = nobody does */
    int users;          /* lanes whose threads run */
    bool connecting;
    atomic_bool lost; /* the close callback was called */
    int32_t tries;
    int64_t next_try_ns, calls;
    uint64_t epoch;    /* grows with every new connection: what was learnt from events must be asked anew */
    char why[LV_TEXT]; /* the last failed try or end */
    int why_code;
    pthread_cond_t connected;
    /* the source's and the driver's own matter, made by them, freed with the host */
    void *source_state, *driver_state;
    void (*source_free)(void *), (*driver_free)(void *);
};

struct spr_libvirt {
    spr_context *ctx; /* the caller's thread only */
    pthread_mutex_t lock;
    pthread_cond_t ended;
    size_t threads; /* running lanes */
    atomic_int refs;
    atomic_bool closing;          /* set under the lock */
    struct spr_libvirt_opts opts; /* newest layout, defaults filled in, no pointers but vm and user */
    struct lv_host *hosts;
    size_t host_count;
    struct lv_move *moves; /* the newest migration of each VM; under the lock */
};

/* Index of the host of that name, or -1. */
int32_t lv_host_find(const struct spr_libvirt *v, const char *id);
/*
 * A connection with a reference of its own (virConnectClose gives it back), made when there is none. NULL: *code and
 * text say why; within the pause after a failed try at once.
 */
virConnectPtr lv_host_connect(struct lv_host *host, int *code, char text[LV_TEXT]);
/* It cannot be connected and is not tried again yet: *code and text say why. */
bool lv_host_pauses(struct lv_host *host, int *code, char text[LV_TEXT]);
/* A lane's thread is over: the last one of a host closes the connection, which may block. */
void lv_host_leave(struct lv_host *host);
/* The connection is of no use any more. */
void lv_host_lost(struct lv_host *host, virConnectPtr conn, const char *why);
struct spr_libvirt *lv_ref(struct spr_libvirt *v);
void lv_unref(struct spr_libvirt *v);

void lv_moves_free(struct spr_libvirt *v); /* what is known of migrations (driver_move.c) */

/* ---- libvirt as a whole (event_loop.c) ---- */

/* A detached thread that takes no signals. SPR_OK or SPR_E_NOMEM. */
int lv_thread_start(void *(*run)(void *), void *arg);
/* Once a process: virInitialize, the event loop on a thread of its own, a silent error handler. */
int lv_event_loop_start(void);

#endif
