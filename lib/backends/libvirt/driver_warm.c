/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * WARM boots the guest until its probe answers, reads the base image ahead meanwhile, and leaves it as the request (or,
 * where it says nothing, the driver's options) says: stopped in memory, saved to a file, or running idle. Asked again
 * with another way, it changes to that. ACTIVATE wakes it and lifts its limits. What each of these took is measured
 * here, each under its own name: a guest that comes back from its saved image was restored, not booted.
 */
#include <math.h>
#include <string.h>

#include "driver.h"

static double since(int64_t ns) { return (double)(lv_clock_ns() - ns) * 1e-9; }

static double patience(const struct lv_act *a) { return fmax(0.2, fmin(1, 4 * a->d->o.probe_s)); }

/* It runs (1), or was made to (1), or the job has failed (below 0). What was done to it: a->woke. */
static int wake(struct lv_act *a, virConnectPtr conn) {
    int why = 0, state = lv_state(a->dom, &why);
    bool cold = !lv_runs(a->dom);
    if (state == VIR_DOMAIN_RUNNING || state == VIR_DOMAIN_BLOCKED)
        return 1;
    if (state == VIR_DOMAIN_PAUSED && why == VIR_DOMAIN_PAUSED_IOERROR) {
        lv_job_fail(&a->job, SPR_E_CAPACITY, "%s was stopped by an error of its disk: is pool '%s' full?", a->name,
                    a->d->o.pool);
        return SPR_E_CAPACITY;
    }
    if (lv_guard_ours(a, conn) < 0)
        return a->job.code;
    a->woke = !cold                                          ? LV_WOKE_RESUMED
              : virDomainHasManagedSaveImage(a->dom, 0) == 1 ? LV_WOKE_RESTORED
                                                             : LV_WOKE_BOOTED;
    if ((cold ? virDomainCreate(a->dom) : virDomainResume(a->dom)) == 0)
        return 1;
    lv_fail(a, cold ? "starting" : "resuming", a->name);
    return a->job.code;
}

/* Where its metadata keeps how long this way of waking took, or NULL. */
static double *of_shard(struct lv_act *a) {
    double *as[] = {[LV_WOKE_RESUMED] = &a->meta.resume_s,
                    [LV_WOKE_RESTORED] = &a->meta.restore_s,
                    [LV_WOKE_BOOTED] = &a->meta.boot_s,
                    [LV_WOKE_IDLE] = NULL};
    return as[a->woke];
}

/* From the wish to the first answer, under the name of what it was. */
static void measured(struct lv_act *a, double took) {
    struct lv_facts *f = &lv_here(a)->facts;
    double *as[] = {[LV_WOKE_RESUMED] = &f->resume_s,
                    [LV_WOKE_RESTORED] = &f->restore_s,
                    [LV_WOKE_BOOTED] = &f->boot_s,
                    [LV_WOKE_IDLE] = &f->idle_s};
    if (as[a->woke])
        lv_measured(a, as[a->woke], took);
    if (of_shard(a))
        *of_shard(a) = took;
}

/* Ready (1), not yet (0; the job comes back), or the job has failed. */
static int answers(struct lv_act *a, double pause_s) {
    char why[LV_WHY] = "";
    int rc = lv_probe(a->meta.probe, a->dom, patience(a), &a->job.cancelled, why);
    if (rc > 0)
        return 1;
    if (rc < 0) {
        lv_job_fail(&a->job, rc, "%s", why);
    } else if (!lv_runs(a->dom)) {
        lv_job_fail(&a->job, SPR_E_IO, "%s ended before it was ready", a->name);
    } else if (since(a->began_ns) > a->d->o.boot_s) {
        lv_job_fail(&a->job, SPR_E_TIMEOUT, "%s is not ready after %.0f s: %s", a->name, a->d->o.boot_s, why);
    } else {
        lv_job_again(&a->job, pause_s);
        return 0;
    }
    return a->job.code;
}

static bool not_there(struct lv_act *a) {
    if (a->dom)
        return false;
    lv_job_fail(&a->job, SPR_E_NOT_FOUND, "shard %llu is not there", (unsigned long long)a->shard);
    return true;
}

/* ---- warm ---- */

/* How it is to wait: as was asked for, else as the driver's options say. */
static int32_t wanted(const struct lv_act *a) {
    static const int32_t of[] = {[SPR_WARM_PAUSED] = SPR_LIBVIRT_WARM_PAUSED,
                                 [SPR_WARM_SAVED] = SPR_LIBVIRT_WARM_SAVED,
                                 [SPR_WARM_RUNNING] = SPR_LIBVIRT_WARM_RUNNING};
    return a->warm == SPR_WARM_ANY ? a->d->o.warm : of[a->warm];
}

/* Into its file. Whatever it did before, it comes back running. */
static void save(struct lv_act *a) {
    int64_t began = lv_clock_ns();
    if (virDomainManagedSave(a->dom, VIR_DOMAIN_SAVE_RUNNING) < 0) {
        lv_fail(a, "saving", a->name);
        return;
    }
    a->meta.save_s = since(began);
    lv_measured(a, &lv_here(a)->facts.save_s, a->meta.save_s);
}

/* It has a process (running or paused) and its limits are those of a guest that runs, or of one that runs idle. */
static int lay_down(struct lv_act *a, virConnectPtr conn) {
    struct spr_amounts all = lv_allowed(&a->meta);
    int32_t was = a->meta.warm, to = wanted(a);
    int rc = lv_guard_ours(a, conn);
    if (rc < 0)
        return rc;
    if (to == SPR_LIBVIRT_WARM_RUNNING)
        rc = lv_limit(a, conn, &all, LV_IDLE_SHARE);
    else if (was == SPR_LIBVIRT_WARM_RUNNING || a->woke == LV_WOKE_RESTORED) /* nor limits of long ago */
        rc = lv_limit(a, conn, &all, 1);
    if (rc < 0)
        return rc;
    a->meta.warm = to;
    if (to == SPR_LIBVIRT_WARM_PAUSED && lv_state(a->dom, NULL) != VIR_DOMAIN_PAUSED && virDomainSuspend(a->dom) < 0)
        lv_fail(a, "pausing", a->name);
    if (to == SPR_LIBVIRT_WARM_SAVED)
        save(a);
    return a->job.outcome == SPR_FAILED ? a->job.code : SPR_OK;
}

/* It answers, which is what counts; the last hundredth is how much of its image is near. */
static double warmness(const struct lv_act *a) { return 0.99 + 0.01 * lv_ahead_share(a); }

static void be_warm(struct lv_act *a, virConnectPtr conn) {
    struct lv_shard_meta *m = &a->meta;
    if (lay_down(a, conn) < 0)
        return;
    lv_hot_learn(a, conn);
    if (of_shard(a)) /* measured in an earlier turn */
        *of_shard(a) = a->booted_s;
    m->warmness = a->warmness = warmness(a);
    m->phase = LV_PHASE_WARM;
    a->held = lv_meta_piece(m, a->piece)->amounts;
    lv_piece_ready(a);
    lv_meta_save(a, conn);
}

static int begin_warm(struct lv_act *a, virConnectPtr conn, struct lv_piece *p) {
    bool fresh = a->meta.phase == LV_PHASE_ALLOCATED; /* started and stopped before its first instruction */
    if (a->meta.phase == LV_PHASE_RESERVED) {
        lv_job_fail(&a->job, SPR_E_STATE, "%s is reserved, but not allocated", a->name);
        return SPR_E_STATE;
    }
    a->began_ns = lv_clock_ns();
    a->meta.phase = p->phase = LV_PHASE_WARMING;
    int rc = lv_meta_save(a, conn);
    if (rc < 0 || (rc = wake(a, conn)) < 0)
        return rc;
    if (a->woke == LV_WOKE_RESUMED) /* one that was on its way before was stopped somewhere in its boot */
        a->woke = fresh ? LV_WOKE_BOOTED : LV_WOKE_NOT;
    return rc;
}

/* A growth of what is warm already: its limits were raised when it was asked for. */
static void grow_warm(struct lv_act *a, virConnectPtr conn, struct lv_piece *p) {
    a->held = p->amounts;
    lv_piece_ready(a);
    a->warmness = a->meta.warmness;
    lv_meta_save(a, conn);
}

/* Asked again: it is warm, but perhaps its time was up before the whole image was read. */
static void warm_on(struct lv_act *a, virConnectPtr conn) {
    a->began_ns = a->began_ns ? a->began_ns : lv_clock_ns();
    if (a->meta.warmness >= 1 || !lv_amounts_any(&a->meta.ready) || !lv_runs(a->dom))
        return;
    if (!lv_ahead_step(a, conn, a->d->o.probe_s) && since(a->began_ns) < a->d->o.boot_s) {
        lv_job_again(&a->job, a->d->o.probe_s);
        return;
    }
    a->meta.warmness = a->warmness = warmness(a);
    lv_meta_save(a, conn);
}

/* Does it wait like that already? What runs idle is known by what was written down. */
static bool waits_so(const struct lv_act *a, int32_t how) {
    int state = lv_state(a->dom, NULL);
    if (how == SPR_LIBVIRT_WARM_SAVED)
        return !lv_runs(a->dom) && virDomainHasManagedSaveImage(a->dom, 0) == 1;
    if (how == SPR_LIBVIRT_WARM_PAUSED)
        return state == VIR_DOMAIN_PAUSED;
    return state == VIR_DOMAIN_RUNNING && a->meta.warm == SPR_LIBVIRT_WARM_RUNNING;
}

/* What is ready is to wait in another way. Saved to paused, and whatever was killed, goes by way of an answer. */
static void wait_otherwise(struct lv_act *a, virConnectPtr conn) {
    int32_t how = wanted(a);
    a->held = a->meta.ready;
    if (!lv_amounts_any(&a->meta.ready) || a->meta.phase == LV_PHASE_SERVING || a->meta.phase == LV_PHASE_DRAINING) {
        lv_job_fail(&a->job, SPR_E_STATE, "shard %llu %s: there is nothing that could wait",
                    (unsigned long long)a->shard, a->meta.phase == LV_PHASE_SERVING ? "serves" : "is not warm");
        return;
    }
    bool there = a->step == 0 && waits_so(a, how);
    if (there && a->meta.warm == how)
        return;
    if (!there) {
        bool up = a->step == 0 && lv_runs(a->dom) && how != SPR_LIBVIRT_WARM_RUNNING;
        if (a->step == 0)
            a->began_ns = lv_clock_ns();
        if (!up && (wake(a, conn) < 0 || answers(a, a->d->o.probe_s) <= 0)) {
            a->step = 1;
            return;
        }
        if (!up)
            measured(a, since(a->began_ns));
        if (lay_down(a, conn) < 0)
            return;
    }
    a->meta.warm = how;
    lv_meta_save(a, conn);
}

void lv_warm(struct lv_act *a, virConnectPtr conn) {
    struct lv_piece *p = a->dom ? lv_meta_piece(&a->meta, a->piece) : NULL;
    a->warmness = a->meta.warmness;
    if (not_there(a))
        return;
    if (!p && (!a->piece || lv_window_has(&a->meta.ended, a->piece))) {
        if (!a->piece || (a->warm && a->meta.phase == LV_PHASE_WARM))
            wait_otherwise(a, conn);
        else
            warm_on(a, conn);
        return;
    }
    if (!p) {
        lv_job_fail(&a->job, SPR_E_NOT_FOUND, "shard %llu has no growth %llu", (unsigned long long)a->shard,
                    (unsigned long long)a->piece);
        return;
    }
    if (lv_amounts_any(&a->meta.ready)) {
        grow_warm(a, conn, p);
        return;
    }
    if (a->step == 0 && begin_warm(a, conn, p) < 0)
        return;
    if (a->step++ > 0 && wake(a, conn) < 0)
        return;
    bool read = lv_ahead_step(a, conn, a->d->o.probe_s);
    if (!(a->booted_s > 0)) {
        if (answers(a, a->d->o.probe_s) <= 0)
            return;
        a->booted_s = since(a->began_ns);
        measured(a, a->booted_s);
    }
    if (!read && since(a->began_ns) < a->d->o.boot_s)
        lv_job_again(&a->job, a->d->o.probe_s);
    else
        be_warm(a, conn);
}

/* ---- activate ---- */

static void serve(struct lv_act *a, virConnectPtr conn) {
    measured(a, since(a->began_ns));
    a->meta.phase = LV_PHASE_SERVING;
    a->warmness = a->meta.warmness;
    lv_meta_save(a, conn);
}

void lv_activate(struct lv_act *a, virConnectPtr conn) {
    struct spr_amounts all;
    if (not_there(a))
        return;
    bool runs = lv_state(a->dom, NULL) == VIR_DOMAIN_RUNNING;
    if (a->step == 0 && a->meta.phase == LV_PHASE_SERVING && runs)
        return; /* asked twice */
    if (!lv_amounts_any(&a->meta.ready)) {
        lv_job_fail(&a->job, SPR_E_STATE, "shard %llu has nothing that is warm", (unsigned long long)a->shard);
        return;
    }
    if (a->step == 0) {
        all = lv_allowed(&a->meta);
        a->began_ns = lv_clock_ns();
        if (wake(a, conn) < 0)
            return;
        a->step = 1;
        if (runs && a->meta.warm == SPR_LIBVIRT_WARM_RUNNING && a->meta.phase == LV_PHASE_WARM)
            a->woke = LV_WOKE_IDLE;
        /* a saved guest comes back with the limits of then, one that ran idle has a tenth */
        if (a->woke != LV_WOKE_RESUMED && lv_limit(a, conn, &all, 1) < 0)
            return;
    }
    if (answers(a, fmin(a->d->o.probe_s, 0.005 * (1 << (a->tries < 6 ? a->tries : 6)))) > 0)
        serve(a, conn);
    a->tries++;
}
