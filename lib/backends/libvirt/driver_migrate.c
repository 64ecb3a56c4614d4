/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * MIGRATE: a running VM moves into its headroom shard. The job walks: target (is it ours, what is in the way), source
 * (its seat, the VM), target (the hold gives its memory free, the call begins), source (progress, abort), source (its
 * seat is given back), target (the hold goes, or comes back). What happened is read from the hosts, so that asking
 * again after a crash ends what was begun: a VM that runs on the target has arrived.
 */
#include <stdio.h>
#include <string.h>

#include "driver.h"

enum step { BEGIN, GO, FINISH, FOLLOW };

#define POLL_S       0.05
#define LOOK_AGAIN_S 0.5 /* for a host that cannot be asked what has become of a move */

static struct lv_host *source(const struct lv_act *a) { return &a->d->v->hosts[a->primary.host]; }

static void finish_run(struct lv_job *job, virConnectPtr conn);

static void back_to_target(struct lv_act *a, enum step step) {
    a->step = step;
    a->job.run = step == FINISH ? finish_run : lv_act_run;
    a->job.unconnected_too = step == FINISH;
    lv_job_move(&a->job, lv_target(a), LV_ACT);
}

/* ---- the hold ---- */

static int hold_down(struct lv_act *a, virConnectPtr conn) {
    a->hold_was_up = a->meta.holds_memory || lv_runs(a->dom);
    if (!lv_runs(a->dom))
        return SPR_OK;
    int rc = lv_guard_ours(a, conn);
    if (rc == SPR_OK && virDomainDestroy(a->dom) < 0) {
        lv_fail(a, "giving the memory free of", virDomainGetName(a->dom));
        rc = a->job.code;
    }
    return rc;
}

/* True: what was held is held again. */
static bool hold_up(struct lv_act *a, virConnectPtr conn) {
    if (!a->hold_was_up || !a->dom || lv_runs(a->dom))
        return true;
    return lv_guard_ours(a, conn) == SPR_OK && lv_start_paused(a->dom) == 0;
}

/* ---- on the source ---- */

static void watch_run(struct lv_job *job, virConnectPtr conn);

/* Its seat is the source's: the target's place in the job is lent to it for the call. */
static int with_seat(struct lv_act *a, virConnectPtr conn, bool take) {
    size_t target = a->target;
    int rc = SPR_OK;
    a->target = a->primary.host;
    if (take)
        rc = lv_seat_take(a, conn);
    else
        lv_seat_leave(a, conn);
    a->target = target;
    return rc;
}

static void source_run(struct lv_job *job, virConnectPtr conn) {
    struct lv_act *a = (struct lv_act *)job;
    if (with_seat(a, conn, true) != SPR_OK)
        return; /* it waits, or has failed */
    a->moving = virDomainLookupByUUIDString(conn, a->primary.uuid);
    if (!a->moving || !lv_runs(a->moving)) {
        lv_job_fail(job, SPR_E_STATE, "VM '%s' does not run there any more", a->vm);
        with_seat(a, conn, false);
        return;
    }
    back_to_target(a, GO);
}

static void leave_run(struct lv_job *job, virConnectPtr conn) {
    struct lv_act *a = (struct lv_act *)job;
    if (conn)
        with_seat(a, conn, false);
    back_to_target(a, FINISH);
}

static void watch_run(struct lv_job *job, virConnectPtr conn) {
    struct lv_act *a = (struct lv_act *)job;
    if (lv_move_is(a->d->v, a->move, false)) {
        job->run = leave_run;
        lv_job_move(job, source(a), LV_ACT);
        return;
    }
    if (lv_job_stops(job) || atomic_load(&a->move->stop)) {
        atomic_store(&a->move->stop, true);
        virDomainAbortJob(a->moving); /* too early or too late is no harm: the call's own end is waited for */
    } else if (conn) {
        lv_move_look(a);
    }
    lv_job_again(job, POLL_S);
}

/* ---- on the target ---- */

static bool can_begin(struct lv_act *a) {
    const char *home = source(a)->id;
    if (!a->dom)
        lv_job_fail(&a->job, SPR_E_NOT_FOUND, "shard %llu is not there, and VM '%s' is on %s",
                    (unsigned long long)a->shard, a->vm, home);
    else if (a->meta.kind != SPR_SHARD_HEADROOM)
        lv_job_fail(&a->job, SPR_E_STATE, "shard %llu is a replica: only headroom takes a VM in",
                    (unsigned long long)a->shard);
    else if (a->meta.phase < LV_PHASE_WARM)
        lv_job_fail(&a->job, SPR_E_STATE, "shard %llu is reserved, but not allocated", (unsigned long long)a->shard);
    else if (a->meta.vm_uuid[0] && strcmp(a->meta.vm_uuid, a->primary.uuid))
        lv_job_fail(&a->job, SPR_E_STATE, "VM '%s' was made anew since this shard was reserved (UUID %s, now %s)",
                    a->vm, a->meta.vm_uuid, a->primary.uuid);
    else if (a->primary.sleeps)
        lv_job_fail(&a->job, SPR_E_STATE, "VM '%s' does not run on %s: there is nothing to move live", a->vm, home);
    return a->job.outcome != SPR_FAILED;
}

static void arrived(struct lv_act *a, virConnectPtr conn) {
    if (!a->dom)
        return;
    if (a->meta.kind != SPR_SHARD_HEADROOM) {
        lv_job_fail(&a->job, SPR_E_STATE, "shard %llu is a replica", (unsigned long long)a->shard);
        return;
    }
    a->held = a->meta.ready;
    lv_remove(a, conn);
}

static void begin(struct lv_act *a, virConnectPtr conn) {
    if (a->primary.host == a->target && !a->primary.sleeps) {
        arrived(a, conn);
        return;
    }
    if (!can_begin(a) || lv_headroom_look(a, conn) < 0)
        return;
    if (virConnectRef(conn) < 0) {
        lv_fail(a, "keeping the connection", NULL);
        return;
    }
    a->there = conn;
    a->job.run = source_run;
    lv_job_move(&a->job, source(a), LV_ACT);
}

static void go(struct lv_act *a, virConnectPtr conn) {
    if (!a->dom) {
        lv_job_fail(&a->job, SPR_E_NOT_FOUND, "shard %llu went away", (unsigned long long)a->shard);
        return;
    }
    atomic_store(&lv_here(a)->lowering, a->shard);
    int rc = hold_down(a, conn);
    if (rc == SPR_OK && ((rc = lv_guard_ours(a, conn)) < 0 || (rc = lv_move_begin(a)) < 0))
        hold_up(a, conn);
    atomic_store(&lv_here(a)->lowering, 0);
    if (rc < 0)
        return;
    a->tries = 0;
    a->job.run = watch_run;
    a->job.ends_itself = true; /* cancelled or late: it is stopped, and the hold comes back */
    a->job.unconnected_too = true;
    lv_job_move(&a->job, source(a), LV_LOOK);
}

/* The call may have failed at our end only: the VM is where it runs. 1 or 0; -1: the host does not say. */
static int is_here(struct lv_act *a, virConnectPtr conn) {
    virDomainPtr dom = virDomainLookupByUUIDString(conn, a->primary.uuid);
    bool none = !dom && virGetLastErrorCode() == VIR_ERR_NO_DOMAIN;
    int state = dom ? lv_state(dom, NULL) : -1;
    bool here = state == VIR_DOMAIN_RUNNING || a->move->code == SPR_OK;
    if (dom && here)
        lv_move_measure(a, dom);
    if (dom)
        virDomainFree(dom);
    return here ? 1 : none || state >= 0 ? 0 : -1;
}

static void came_to_nothing(struct lv_act *a, virConnectPtr conn) {
    struct lv_move *m = a->move;
    if (!a->dom)
        a->hold_was_up = false; /* it was released meanwhile */
    bool asked = atomic_load(&m->stop), held = hold_up(a, conn);
    int code = asked ? SPR_E_CANCELLED : m->code;
    lv_job_fail(&a->job, code, "VM '%s' stays on %s: %s%s", a->vm, source(a)->id, m->text,
                held ? "" : "; and the hold's memory could not be taken again");
    if (asked)
        a->job.outcome = SPR_CANCELLED;
}

static void finish(struct lv_act *a, virConnectPtr conn) {
    if (a->moved_in)
        arrived(a, conn);
    else
        came_to_nothing(a, conn);
    if (!a->moved_in || virConnectIsAlive(conn) == 1) /* else what is left of the hold is looked at again */
        lv_move_end(a->d->v, a->move, a->moved_in ? SPR_OK : a->job.code, a->job.text);
}

/*
 * What became of it the target says, and nobody else: while that host cannot be asked it is not known, however the call
 * ended at this end, and it is asked again until the hosts are closed. Whoever waits is told when his time is up.
 */
static void finish_run(struct lv_job *job, virConnectPtr conn) {
    struct lv_act *a = (struct lv_act *)job;
    int here = conn ? is_here(a, conn) : -1;
    a->moved_in = here > 0;
    if (here >= 0)
        lv_act_run(job, conn);
    if (job->again)
        return;
    if (here < 0 || (job->outcome != SPR_DONE && virConnectIsAlive(conn) != 1)) {
        lv_job_again(job, LOOK_AGAIN_S);
        return;
    }
    if (!lv_move_is(a->d->v, a->move, true)) /* the hold is somebody else's now; the VM is where it is all the same */
        lv_move_end(a->d->v, a->move, a->moved_in ? SPR_OK : job->code, job->text);
}

/* Asked twice at once: the second answer is the first one's. */
static void follow(struct lv_act *a) {
    struct lv_move *m = a->move;
    if (!lv_move_is(a->d->v, m, true)) {
        lv_job_again(&a->job, POLL_S);
        return;
    }
    if (m->code < 0) {
        lv_job_fail(&a->job, m->code, "%s", m->text);
        if (m->code == SPR_E_CANCELLED)
            a->job.outcome = SPR_CANCELLED;
    }
}

void lv_migrate(struct lv_act *a, virConnectPtr conn) {
    switch (a->step) {
    case GO:
        go(a, conn);
        return;
    case FINISH:
        finish(a, conn);
        return;
    case FOLLOW:
        follow(a);
        return;
    default:
        break;
    }
    a->move = lv_move_of(a->d->v, a->shard);
    if (a->move) {
        a->step = FOLLOW;
        follow(a);
        return;
    }
    a->kind = SPR_SHARD_HEADROOM;
    if (!a->primary.xml)
        lv_find_primary(a);
    else
        begin(a, conn);
}

bool lv_migration_ends(struct lv_act *a) {
    struct lv_move *m = a->move ? a->move : lv_move_of(a->d->v, a->shard);
    if (!m)
        return false;
    a->move = m;
    if (!lv_move_is(a->d->v, m, true)) {
        atomic_store(&m->stop, true);
        lv_job_again(&a->job, POLL_S);
        return true;
    }
    return a->verb == SPR_DRIVER_ABORT;
}
