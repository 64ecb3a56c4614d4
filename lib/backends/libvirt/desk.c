/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Tickets out, finished jobs in, one fd that is readable while any wait. */
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "libvirt.h"

struct lv_desk *lv_desk_open(spr_notifier *notifier) {
    struct lv_desk *d = lv_alloc(sizeof *d);
    if (!d)
        return NULL;
    d->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (d->fd < 0) {
        lv_free(d);
        return NULL;
    }
    pthread_mutex_init(&d->lock, NULL);
    atomic_init(&d->refs, 1);
    d->done_end = &d->done;
    d->notifier = notifier;
    return d;
}

static void unref(struct lv_desk *d) {
    if (atomic_fetch_sub(&d->refs, 1) > 1)
        return;
    pthread_mutex_destroy(&d->lock);
    lv_free(d);
}

void lv_ring(int fd, spr_notifier *notifier) {
    uint64_t one = 1;
    ssize_t n = write(fd, &one, sizeof one); /* full means readable, which is all that is wanted */
    (void)n;
    if (notifier)
        spr_notify(notifier);
}

void lv_hush(int fd) {
    uint64_t n;
    ssize_t got = read(fd, &n, sizeof n);
    (void)got;
}

static void unlink_open(struct lv_desk *d, struct lv_job *j) {
    *(j->newer ? &j->newer->older : &d->open) = j->older;
    if (j->older)
        j->older->newer = j->newer;
    j->newer = j->older = NULL;
}

void lv_desk_accept(struct lv_desk *d, struct lv_job *j, struct spr_time now, int64_t deadline_mono_ns) {
    int64_t clock = lv_clock_ns(), left = deadline_mono_ns - now.mono_ns;
    pthread_mutex_lock(&d->lock);
    j->desk = d;
    d->hosts = j->host ? j->host->v : d->hosts;
    j->ticket = ++d->last;
    j->deadline_mono_ns = deadline_mono_ns;
    j->deadline_ns = left > INT64_MAX - clock ? INT64_MAX : clock + left;
    j->newer = NULL;
    j->older = d->open;
    if (d->open)
        d->open->newer = j;
    d->open = j;
    atomic_fetch_add(&d->refs, 1);
    pthread_mutex_unlock(&d->lock);
}

void lv_desk_withdraw(struct lv_desk *d, struct lv_job *j) {
    pthread_mutex_lock(&d->lock);
    unlink_open(d, j);
    j->desk = NULL;
    pthread_mutex_unlock(&d->lock);
    unref(d);
}

void lv_job_destroy(struct lv_job *j) {
    if (j && j->destroy)
        j->destroy(j);
    else
        lv_free(j);
}

void lv_desk_done(struct lv_job *j) {
    struct lv_desk *d = j->desk;
    bool gone = true;
    if (d) {
        pthread_mutex_lock(&d->lock);
        gone = j->abandoned;
        if (!gone) {
            j->over = true;
            j->next = NULL;
            *d->done_end = j;
            d->done_end = &j->next;
            lv_ring(d->fd, d->notifier);
        }
        pthread_mutex_unlock(&d->lock);
    }
    if (gone)
        lv_job_destroy(j);
    if (d)
        unref(d);
}

/* Tickets are given up in the order in which they were given. */
static spr_ticket give_up_one(struct lv_desk *d, int64_t now) {
    struct lv_job *oldest = NULL;
    for (struct lv_job *j = d->open; j; j = j->older)
        if (!j->over && j->deadline_mono_ns < now)
            oldest = j;
    if (!oldest)
        return 0;
    unlink_open(d, oldest);
    oldest->abandoned = true;
    d->late_host = oldest->host;
    atomic_store(&oldest->cancelled, true);
    return oldest->ticket;
}

struct lv_job *lv_desk_take(struct lv_desk *d, struct spr_time now, spr_ticket *late) {
    pthread_mutex_lock(&d->lock);
    struct lv_job *j = d->done;
    *late = 0;
    if (j) {
        d->done = j->next;
        if (!d->done)
            d->done_end = &d->done;
        unlink_open(d, j);
    } else {
        lv_hush(d->fd);
        *late = give_up_one(d, now.mono_ns);
    }
    struct spr_libvirt *hosts = *late ? d->hosts : NULL;
    pthread_mutex_unlock(&d->lock);
    if (hosts)
        lv_lanes_wake(hosts);
    return j;
}

int lv_desk_cancel(struct lv_desk *d, spr_ticket ticket) {
    int rc = SPR_E_NOT_FOUND;
    pthread_mutex_lock(&d->lock);
    for (struct lv_job *j = d->open; j; j = j->older)
        if (j->ticket == ticket && !j->over) {
            atomic_store(&j->cancelled, true);
            rc = SPR_OK;
        }
    struct spr_libvirt *hosts = rc == SPR_OK ? d->hosts : NULL;
    pthread_mutex_unlock(&d->lock);
    if (hosts)
        lv_lanes_wake(hosts);
    return rc;
}

int64_t lv_desk_next(struct lv_desk *d) {
    int64_t next = INT64_MAX;
    pthread_mutex_lock(&d->lock);
    if (d->done)
        next = 0;
    for (struct lv_job *j = d->open; j; j = j->older)
        if (j->deadline_mono_ns < next)
            next = j->deadline_mono_ns < INT64_MAX ? j->deadline_mono_ns + 1 : INT64_MAX;
    pthread_mutex_unlock(&d->lock);
    return next;
}

void lv_desk_close(struct lv_desk *d) {
    if (!d)
        return;
    pthread_mutex_lock(&d->lock);
    struct lv_job *done = d->done;
    d->done = NULL;
    d->done_end = &d->done;
    while (d->open) {
        struct lv_job *j = d->open;
        unlink_open(d, j);
        atomic_store(&j->cancelled, true);
        j->abandoned = true;
    }
    close(d->fd);
    d->fd = -1;
    struct spr_libvirt *hosts = d->hosts;
    pthread_mutex_unlock(&d->lock);
    if (hosts)
        lv_lanes_wake(hosts);
    while (done) {
        struct lv_job *next = done->next;
        lv_job_destroy(done);
        done = next;
    }
    unref(d);
}
