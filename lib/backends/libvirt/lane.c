/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A lane: one thread and one queue. Calls of libvirt can block for minutes, so every host has its own; the thread is
 * made with the first job and ends with the hosts. A job that must wait goes back into the queue and is due later.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "libvirt.h"

/* ---- what a job says of itself ---- */

void lv_job_again(struct lv_job *j, double pause_s) {
    j->again = true;
    j->due_ns = lv_clock_ns() + (int64_t)(pause_s * 1e9);
}

void lv_job_move(struct lv_job *j, struct lv_host *host, enum lv_lane_kind lane) {
    j->again = true;
    j->due_ns = 0;
    j->to = host;
    j->to_lane = lane;
}

bool lv_job_stops(const struct lv_job *j) {
    return atomic_load(&j->cancelled) || (j->host && atomic_load(&j->host->v->closing)) ||
           lv_clock_ns() > j->deadline_ns;
}

void lv_job_fail(struct lv_job *j, int code, const char *format, ...) {
    va_list args;
    int n = j->host ? snprintf(j->text, sizeof j->text, "%s: ", j->host->id) : 0;
    j->outcome = SPR_FAILED;
    j->code = code;
    if (n < 0 || (size_t)n >= sizeof j->text)
        return;
    va_start(args, format);
    vsnprintf(j->text + n, sizeof j->text - (size_t)n, format, args);
    va_end(args);
    j->text[strcspn(j->text, "\n")] = 0;
}

int lv_code_of_last_error(void) {
    const virError *e = virGetLastError();
    switch (e ? e->code : VIR_ERR_OK) {
    case VIR_ERR_NO_MEMORY:
        return SPR_E_NOMEM;
    case VIR_ERR_NO_DOMAIN:
    case VIR_ERR_NO_STORAGE_POOL:
    case VIR_ERR_NO_STORAGE_VOL:
    case VIR_ERR_NO_SECRET:
    case VIR_ERR_NO_DOMAIN_METADATA:
        return SPR_E_NOT_FOUND;
    case VIR_ERR_DOM_EXIST:
    case VIR_ERR_STORAGE_VOL_EXIST:
        return SPR_E_EXISTS;
    case VIR_ERR_NO_SUPPORT:
    case VIR_ERR_CONFIG_UNSUPPORTED:
    case VIR_ERR_ARGUMENT_UNSUPPORTED:
    case VIR_ERR_OPERATION_UNSUPPORTED:
        return SPR_E_UNSUPPORTED;
    case VIR_ERR_OPERATION_TIMEOUT:
    case VIR_ERR_AGENT_UNRESPONSIVE:
        return SPR_E_TIMEOUT;
    case VIR_ERR_OPERATION_ABORTED:
        return SPR_E_CANCELLED;
    case VIR_ERR_OPERATION_INVALID:
        return SPR_E_STATE;
    case VIR_ERR_RESOURCE_BUSY:
        return SPR_E_BUSY;
    case VIR_ERR_XML_ERROR:
    case VIR_ERR_XML_DETAIL:
    case VIR_ERR_XML_INVALID_SCHEMA:
        return SPR_E_FORMAT;
    default:
        return SPR_E_IO;
    }
}

void lv_job_fail_libvirt(struct lv_job *j, const char *what, const char *of) {
    const virError *e = virGetLastError();
    lv_job_fail(j, lv_code_of_last_error(), "%s%s%s: %s", what, of ? " " : "", of ? of : "",
                e && e->message ? e->message : "libvirt does not say why");
}

/* ---- the thread ---- */

static struct lv_job *next_due(struct lv_lane *lane, int64_t now, int64_t *earliest) {
    *earliest = INT64_MAX;
    for (struct lv_job **link = &lane->first; *link; link = &(*link)->next) {
        struct lv_job *j = *link;
        if (j->due_ns <= now || (atomic_load(&j->cancelled) && !j->ends_itself)) {
            *link = j->next;
            return j;
        }
        *earliest = j->due_ns < *earliest ? j->due_ns : *earliest;
    }
    return NULL;
}

static void append(struct lv_lane *lane, struct lv_job *j) {
    struct lv_job **link = &lane->first;
    while (*link)
        link = &(*link)->next;
    j->next = NULL;
    *link = j;
}

static void sleep_until(struct lv_lane *lane, pthread_mutex_t *lock, int64_t ns) {
    if (ns == INT64_MAX) {
        pthread_cond_wait(&lane->wake, lock);
        return;
    }
    struct timespec t = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    pthread_cond_timedwait(&lane->wake, lock, &t);
}

static void run(struct lv_host *host, struct lv_job *j) {
    j->again = false;
    if (atomic_load(&j->cancelled) && !j->ends_itself) {
        j->outcome = SPR_CANCELLED, j->code = SPR_E_CANCELLED;
        return;
    }
    int code = SPR_OK;
    virConnectPtr conn = lv_host_connect(host, &code, j->text);
    if (!conn) {
        j->outcome = SPR_FAILED, j->code = code;
        if (j->unconnected_too)
            j->run(j, NULL);
        return;
    }
    j->outcome = SPR_DONE, j->code = SPR_OK;
    j->text[0] = 0;
    virResetLastError();
    j->run(j, conn);
    if (!virConnectIsAlive(conn))
        lv_host_lost(host, conn, j->text[0] ? j->text : "the connection ended");
    virConnectClose(conn);
}

struct start {
    struct lv_host *host;
    struct lv_lane *lane;
};

static int put(struct lv_host *host, enum lv_lane_kind kind, struct lv_job *j);

/* Back into the queue that it asked for. False: it cannot be, and the job is over. Under the lock. */
static bool goes_on(struct lv_host *here, struct lv_lane *lane, struct lv_job *j) {
    struct lv_host *to = j->to;
    j->to = NULL;
    if (!j->again)
        return false;
    if (atomic_load(&here->v->closing) || (atomic_load(&j->cancelled) && !j->ends_itself)) {
        j->outcome = SPR_CANCELLED, j->code = SPR_E_CANCELLED;
        return false;
    }
    int rc = to ? put(to, (enum lv_lane_kind)j->to_lane, j) : SPR_OK;
    if (!to)
        append(lane, j);
    if (rc < 0)
        lv_job_fail(j, rc, "no thread can be made for it");
    return rc == SPR_OK;
}

static void end(struct lv_job *j) {
    if (j->leave)
        j->leave(j);
    lv_desk_done(j);
}

static void *lane_main(void *arg) {
    struct start s = *(struct start *)arg;
    struct spr_libvirt *v = s.host->v;
    struct lv_lane *lane = s.lane;
    int64_t earliest;
    lv_free(arg);
    pthread_mutex_lock(&v->lock);
    while (!atomic_load(&v->closing)) {
        struct lv_job *j = next_due(lane, lv_clock_ns(), &earliest);
        if (!j) {
            sleep_until(lane, &v->lock, earliest);
            continue;
        }
        lane->running = j;
        lane->running_since_ns = lv_clock_ns();
        pthread_mutex_unlock(&v->lock);
        run(s.host, j);
        pthread_mutex_lock(&v->lock);
        lane->running = NULL;
        s.host->calls++;
        if (goes_on(s.host, lane, j))
            continue;
        pthread_mutex_unlock(&v->lock);
        end(j);
        pthread_mutex_lock(&v->lock);
    }
    struct lv_job *left = lane->first;
    lane->first = NULL;
    pthread_mutex_unlock(&v->lock);
    while (left) {
        struct lv_job *next = left->next;
        left->outcome = SPR_CANCELLED, left->code = SPR_E_CANCELLED;
        end(left);
        left = next;
    }
    lv_host_leave(s.host);
    pthread_mutex_lock(&v->lock);
    v->threads--;
    pthread_cond_broadcast(&v->ended);
    pthread_mutex_unlock(&v->lock);
    lv_unref(v);
    return NULL;
}

static int start(struct lv_host *host, struct lv_lane *lane) {
    struct start *s = lv_alloc(sizeof *s);
    if (!s)
        return SPR_E_NOMEM;
    s->host = host;
    s->lane = lane;
    lv_ref(host->v);
    host->v->threads++;
    host->users++;
    int rc = lv_thread_start(lane_main, s);
    if (rc < 0) {
        host->v->threads--;
        host->users--;
        atomic_fetch_sub(&host->v->refs, 1); /* never the last: the caller has one */
        lv_free(s);
        return rc;
    }
    lane->started = true;
    return SPR_OK;
}

/* Under the lock. */
static int put(struct lv_host *host, enum lv_lane_kind kind, struct lv_job *j) {
    struct lv_lane *lane = &host->lane[kind];
    int rc = lane->started ? SPR_OK : start(host, lane);
    j->host = host;
    if (rc == SPR_OK) {
        append(lane, j);
        pthread_cond_signal(&lane->wake);
    }
    return rc;
}

int lv_lane_put(struct lv_host *host, enum lv_lane_kind kind, struct lv_job *j) {
    pthread_mutex_lock(&host->v->lock);
    j->host = host;
    int rc = atomic_load(&host->v->closing) ? SPR_E_STATE : put(host, kind, j);
    pthread_mutex_unlock(&host->v->lock);
    return rc;
}

void lv_lanes_wake(struct spr_libvirt *v) {
    pthread_mutex_lock(&v->lock);
    for (size_t i = 0; i < v->host_count; i++)
        for (int k = 0; k < LV_LANES; k++)
            pthread_cond_signal(&v->hosts[i].lane[k].wake);
    pthread_mutex_unlock(&v->lock);
}
