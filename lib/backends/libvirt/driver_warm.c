/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * WARM boots the guest until its probe answers, reads the base image ahead meanwhile, and leaves it as the options say:
 * stopped in memory, saved to a file, or running idle. ACTIVATE wakes it and lifts its limits. What each of these took
 * is measured here.
 */
#include <math.h>
#include <string.h>

#include "driver.h"

static double since(int64_t ns) { return (double)(lv_clock_ns() - ns) * 1e-9; }

static double patience(const struct lv_act *a) { return fmax(0.2, fmin(1, 4 * a->d->o.probe_s)); }

/* It runs (1), or was made to (1), or the job has failed (below 0). *cold: it had no process. */
static int wake(struct lv_act *a, virConnectPtr conn, bool *cold) {
    int why = 0, state = lv_state(a->dom, &why);
    *cold = !lv_runs(a->dom);
    if (state == VIR_DOMAIN_RUNNING || state == VIR_DOMAIN_BLOCKED)
        return 1;
    if (state == VIR_DOMAIN_PAUSED && why == VIR_DOMAIN_PAUSED_IOERROR) {
        lv_job_fail(&a->job, SPR_E_CAPACITY, "%s was stopped by an error of its disk: is pool '%s' full?", a->name,
                    a->d->o.pool);
        return SPR_E_CAPACITY;
    }
    if (lv_guard_ours(a, conn) < 0)
        return a->job.code;
    if ((*cold ? virDomainCreate(a->dom) : virDomainResume(a->dom)) == 0)
        return 1;
    lv_fail(a, *cold ? "starting" : "resuming", a->name);
    return a->job.code;
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

static int lay_down(struct lv_act *a, virConnectPtr conn) {
    struct spr_amounts all = lv_allowed(&a->meta);
    int64_t began = lv_clock_ns();
    int rc = lv_guard_ours(a, conn);
    if (rc < 0)
        return rc;
    a->meta.warm = a->d->o.warm;
    if (a->meta.warm == SPR_LIBVIRT_WARM_RUNNING)
        return lv_limit(a, conn, &all, LV_IDLE_SHARE);
    if (a->meta.warm == SPR_LIBVIRT_WARM_PAUSED && virDomainSuspend(a->dom) < 0)
        lv_fail(a, "pausing", a->name);
    if (a->meta.warm == SPR_LIBVIRT_WARM_SAVED) {
        if (virDomainManagedSave(a->dom, 0) < 0) {
            lv_fail(a, "saving", a->name);
        } else {
            a->meta.save_s = since(began);
            lv_measured(a, &lv_here(a)->facts.save_s, a->meta.save_s);
        }
    }
    return a->job.outcome == SPR_FAILED ? a->job.code : SPR_OK;
}

/* It answers, which is what counts; the last hundredth is how much of its image is near. */
static double warmness(const struct lv_act *a) { return 0.99 + 0.01 * lv_ahead_share(a); }

static void be_warm(struct lv_act *a, virConnectPtr conn) {
    struct lv_shard_meta *m = &a->meta;
    if (lay_down(a, conn) < 0)
        return;
    m->boot_s = a->booted_s;
    m->warmness = a->warmness = warmness(a);
    m->phase = LV_PHASE_WARM;
    a->held = lv_meta_piece(m, a->piece)->amounts;
    lv_piece_ready(a);
    lv_meta_save(a, conn);
}

static int begin_warm(struct lv_act *a, virConnectPtr conn, struct lv_piece *p) {
    bool cold;
    if (a->meta.phase == LV_PHASE_RESERVED) {
        lv_job_fail(&a->job, SPR_E_STATE, "%s is reserved, but not allocated", a->name);
        return SPR_E_STATE;
    }
    a->began_ns = lv_clock_ns();
    a->meta.phase = p->phase = LV_PHASE_WARMING;
    int rc = lv_meta_save(a, conn);
    return rc < 0 ? rc : wake(a, conn, &cold);
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

void lv_warm(struct lv_act *a, virConnectPtr conn) {
    struct lv_piece *p = a->dom ? lv_meta_piece(&a->meta, a->piece) : NULL;
    bool cold;
    a->warmness = a->meta.warmness;
    if (not_there(a))
        return;
    if (!p && lv_window_has(&a->meta.ended, a->piece)) {
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
    if (a->step++ > 0 && wake(a, conn, &cold) < 0)
        return;
    bool read = lv_ahead_step(a, conn, a->d->o.probe_s);
    if (!(a->booted_s > 0)) {
        if (answers(a, a->d->o.probe_s) <= 0)
            return;
        a->booted_s = since(a->began_ns);
        lv_measured(a, &lv_here(a)->facts.boot_s, a->booted_s);
    }
    if (!read && since(a->began_ns) < a->d->o.boot_s)
        lv_job_again(&a->job, a->d->o.probe_s);
    else
        be_warm(a, conn);
}

/* ---- activate ---- */

static void serve(struct lv_act *a, virConnectPtr conn) {
    struct lv_facts *f = &lv_here(a)->facts;
    double took = since(a->began_ns);
    if (a->step == 2) { /* it had no process */
        a->meta.restore_s = took;
        lv_measured(a, &f->restore_s, took);
    } else if (a->step == 1) {
        a->meta.resume_s = took;
        lv_measured(a, &f->resume_s, took);
    }
    a->meta.phase = LV_PHASE_SERVING;
    a->warmness = a->meta.warmness;
    lv_meta_save(a, conn);
}

void lv_activate(struct lv_act *a, virConnectPtr conn) {
    struct spr_amounts all;
    bool cold = false;
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
        if (wake(a, conn, &cold) < 0)
            return;
        a->step = cold ? 2 : runs ? 3 : 1;
        /* a saved guest comes back with the limits of then, one that ran idle has a tenth */
        if (a->step > 1 && lv_limit(a, conn, &all, 1) < 0)
            return;
    }
    if (answers(a, fmin(a->d->o.probe_s, 0.005 * (1 << (a->tries < 6 ? a->tries : 6)))) > 0)
        serve(a, conn);
    a->tries++;
}
