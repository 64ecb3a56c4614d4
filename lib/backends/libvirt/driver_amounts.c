/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a shard may use: its limits on the host, RESIZE, DRAIN, and ADOPT, which changes whose it is. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "xml.h"

/* ---- limits ---- */

bool lv_unsupported(void) {
    const virError *e = virGetLastError();
    switch (e ? e->code : VIR_ERR_OK) {
    case VIR_ERR_NO_SUPPORT:
    case VIR_ERR_ARGUMENT_UNSUPPORTED:
    case VIR_ERR_OPERATION_UNSUPPORTED:
    case VIR_ERR_CONFIG_UNSUPPORTED:
        return true;
    case VIR_ERR_INVALID_ARG: /* how drivers refuse flags that they do not know */
        return e->message && strstr(e->message, "unsupported flags");
    default:
        return false;
    }
}

/* More vcpus than now are added; fewer are never taken away (guests and QEMU lose them badly): the quota does that. */
static int set_vcpus(struct lv_act *a, virConnectPtr conn, uint32_t want, int *have) {
    unsigned int live = lv_runs(a->dom) ? VIR_DOMAIN_AFFECT_LIVE : VIR_DOMAIN_AFFECT_CONFIG;
    int most = virDomainGetVcpusFlags(a->dom, live | VIR_DOMAIN_VCPU_MAXIMUM);
    *have = virDomainGetVcpusFlags(a->dom, live);
    if (*have < 1 || most < 1) {
        lv_fail(a, "asking for the vcpus of", a->name);
        return a->job.code;
    }
    int to = want < (uint32_t)most ? (int)want : most;
    if (to <= *have)
        return SPR_OK;
    int rc = lv_guard_ours(a, conn);
    if (rc == SPR_OK && virDomainSetVcpusFlags(a->dom, (unsigned int)to, lv_affect(a->dom)) < 0) {
        lv_fail(a, "adding vcpus to", a->name);
        rc = a->job.code;
    }
    *have = rc == SPR_OK ? to : *have;
    return rc;
}

static int set_quota(struct lv_act *a, virConnectPtr conn, double cores, int vcpus) {
    virTypedParameterPtr p = NULL;
    int n = 0, room = 0;
    double quota = cores / vcpus * 1e5;
    virTypedParamsAddULLong(&p, &n, &room, VIR_DOMAIN_SCHEDULER_VCPU_PERIOD, 100000);
    virTypedParamsAddLLong(&p, &n, &room, VIR_DOMAIN_SCHEDULER_VCPU_QUOTA, quota < 1000 ? 1000 : llround(quota));
    int rc = n == 2 ? lv_guard_ours(a, conn) : SPR_E_NOMEM;
    if (n != 2)
        lv_job_fail(&a->job, rc, "out of memory");
    if (rc == SPR_OK && virDomainSetSchedulerParametersFlags(a->dom, p, n, lv_affect(a->dom)) < 0) {
        bool cannot = lv_unsupported();
        pthread_mutex_lock(&a->d->lock);
        lv_here(a)->facts.no_quota |= cannot;
        pthread_mutex_unlock(&a->d->lock);
        if (!cannot) {
            lv_fail(a, "limiting the CPU of", a->name);
            rc = a->job.code;
        }
    }
    virTypedParamsFree(p, n);
    return rc;
}

static int set_memory(struct lv_act *a, virConnectPtr conn, double bytes) {
    unsigned long most = virDomainGetMaxMemory(a->dom);
    double kib = fmin(ceil(bytes / 1024), most ? (double)most : 1e15);
    unsigned int where[] = {lv_runs(a->dom) ? VIR_DOMAIN_AFFECT_LIVE : VIR_DOMAIN_AFFECT_CONFIG,
                            VIR_DOMAIN_AFFECT_CONFIG};
    int rc = lv_guard_ours(a, conn);
    for (int i = 0; i < 2 && rc == SPR_OK; i++) /* one by one: not every hypervisor takes both at once */
        if (virDomainSetMemoryFlags(a->dom, (unsigned long)kib, where[i]) < 0 && !lv_unsupported()) {
            lv_fail(a, "setting the memory of", a->name);
            rc = a->job.code;
        }
    return rc;
}

int lv_limit(struct lv_act *a, virConnectPtr conn, const struct spr_amounts *to, double share) {
    struct lv_cpu cpu;
    int rc = SPR_OK, vcpus = 1;
    if (to->of[SPR_CPU] > 0) {
        lv_cpu_split(to->of[SPR_CPU], &cpu);
        rc = set_vcpus(a, conn, cpu.vcpus, &vcpus);
        if (rc == SPR_OK)
            rc = set_quota(a, conn, fmin(to->of[SPR_CPU], vcpus) * share, vcpus);
    }
    if (rc == SPR_OK && to->of[SPR_MEMORY] > 0)
        rc = set_memory(a, conn, to->of[SPR_MEMORY]);
    return rc == SPR_OK ? lv_limit_net(a, conn, to, share) : rc;
}

int lv_limit_now(struct lv_act *a, virConnectPtr conn) {
    struct spr_amounts all = lv_allowed(&a->meta);
    bool idle = a->meta.phase == LV_PHASE_WARM && a->meta.warm == SPR_LIBVIRT_WARM_RUNNING;
    return lv_limit(a, conn, &all, idle ? LV_IDLE_SHARE : 1);
}

/* ---- growing and shrinking ---- */

void lv_piece_ready(struct lv_act *a) {
    struct lv_piece *p = lv_meta_piece(&a->meta, a->piece);
    if (!p)
        return;
    lv_amounts_add(&a->meta.ready, &p->amounts, 1);
    lv_meta_end_piece(&a->meta, a->piece);
}

static bool is_made(const struct lv_act *a) {
    return a->meta.kind == SPR_SHARD_REPLICA && a->meta.phase != LV_PHASE_RESERVED;
}

static int apply(struct lv_act *a, virConnectPtr conn) {
    struct spr_amounts now = lv_allowed(&a->meta);
    if (a->meta.kind == SPR_SHARD_HEADROOM)
        return lv_amounts_any(&now) ? lv_hold_resize(a, conn) : SPR_OK;
    return is_made(a) ? lv_limit_now(a, conn) : SPR_OK;
}

static void shrink_piece(struct lv_act *a, virConnectPtr conn, struct lv_piece *p) {
    for (int r = 0; r < SPR_RESOURCES_MAX; r++)
        p->amounts.of[r] = fmin(p->amounts.of[r], a->amounts.of[r]);
    a->held = p->amounts;
    if (apply(a, conn) == SPR_OK)
        lv_meta_save(a, conn);
}

void lv_resize(struct lv_act *a, virConnectPtr conn) {
    struct lv_piece *p = a->dom ? lv_meta_piece(&a->meta, a->piece) : NULL;
    if (!a->dom) {
        lv_job_fail(&a->job, SPR_E_NOT_FOUND, "shard %llu is not there", (unsigned long long)a->shard);
        return;
    }
    if (p)
        shrink_piece(a, conn, p);
    if (p || lv_window_has(&a->meta.ended, a->piece)) {
        if (a->job.outcome != SPR_FAILED)
            lv_hold_up(a, conn);
        return;
    }
    if (lv_piece_add(a, a->meta.phase == LV_PHASE_RESERVED ? LV_PHASE_RESERVED : LV_PHASE_ALLOCATED) < 0)
        return;
    struct spr_amounts all = lv_allowed(&a->meta);
    if (lv_fits_host(a, conn, &all) < 0 || apply(a, conn) < 0)
        return;
    a->held = a->amounts;
    a->warmness = a->meta.warmness;
    if (a->meta.kind == SPR_SHARD_HEADROOM && a->meta.phase != LV_PHASE_RESERVED)
        lv_piece_ready(a); /* there is nothing to warm */
    lv_meta_save(a, conn);
}

/* ---- draining ---- */

/* Packets of all its interfaces. Broadcasts of its neighbours reach everybody: what only arrives counts by the many. */
static int packets(struct lv_act *a, uint64_t *sent, uint64_t *got) {
    struct lv_domain d = {0};
    char why[LV_WHY] = "", *xml = virDomainGetXMLDesc(a->dom, 0);
    int rc = xml ? lv_domain_read(xml, &d, why) : lv_code_of_last_error();
    free(xml);
    *sent = *got = 0;
    for (size_t i = 0; rc == SPR_OK && i < d.nic_count; i++) {
        virDomainInterfaceStatsStruct s;
        const char *device = d.nic[i].target ? d.nic[i].target : d.nic[i].mac;
        if (!device || virDomainInterfaceStats(a->dom, device, &s, sizeof s) < 0)
            continue; /* a passed-through one: the host cannot see its packets */
        *sent += s.tx_packets > 0 ? (uint64_t)s.tx_packets : 0;
        *got += s.rx_packets > 0 ? (uint64_t)s.rx_packets : 0;
    }
    lv_domain_clear(&d);
    return rc;
}

#define NOISE 10 /* packets a second that only arrive */

/* Has anything moved since the last turn? */
static bool moves(struct lv_act *a, double seconds) {
    uint64_t sent = 0, got = 0;
    if (packets(a, &sent, &got) < 0)
        return false;
    bool first = a->tries++ == 0;
    bool moved = first || sent != a->moved || (double)(got - a->arrived) > NOISE * seconds + NOISE;
    a->moved = sent;
    a->arrived = got;
    return moved;
}

static bool could_serve(struct lv_act *a) { return lv_state(a->dom, NULL) == VIR_DOMAIN_RUNNING; }

static void drained(struct lv_act *a, virConnectPtr conn) {
    memset(&a->meta.draining, 0, sizeof a->meta.draining);
    lv_meta_save(a, conn);
}

/* The whole shard goes: it keeps what its last flows need, less from time to time while they do not end. */
static void wait_for_flows(struct lv_act *a, virConnectPtr conn) {
    int64_t now = lv_clock_ns();
    double idle = a->d->o.drain_idle_s, pause = fmin(idle / 5, 1);
    if (a->meta.kind == SPR_SHARD_HEADROOM || !could_serve(a)) {
        drained(a, conn);
        return;
    }
    if (moves(a, pause) || !a->idle_ns)
        a->idle_ns = now;
    if ((double)(now - a->idle_ns) >= idle * 1e9) {
        drained(a, conn);
        return;
    }
    if (!a->step_ns)
        a->step_ns = now, a->lowered = 1;
    if ((double)(now - a->step_ns) >= 2 * idle * 1e9 && a->lowered > 0.3) {
        a->lowered -= 0.25;
        a->step_ns = now;
        struct spr_amounts less = a->meta.draining;
        less.of[SPR_MEMORY] = 0; /* its last flows need all of that */
        if (lv_limit(a, conn, &less, a->lowered) < 0)
            return;
    }
    lv_job_again(&a->job, pause);
}

static int begin_drain(struct lv_act *a, virConnectPtr conn) {
    struct lv_shard_meta *m = &a->meta;
    for (int r = 0; r < SPR_RESOURCES_MAX; r++) {
        double less = fmin(m->ready.of[r], a->amounts.of[r]);
        if (m->ready.of[r] - less <= 1e-9 * m->ready.of[r])
            less = m->ready.of[r];
        m->ready.of[r] -= less;
        m->draining.of[r] += less;
    }
    m->last_drain = a->piece > m->last_drain ? a->piece : m->last_drain;
    if (!lv_amounts_any(&m->ready)) {
        m->phase = LV_PHASE_DRAINING;
        return lv_meta_save(a, conn);
    }
    /* Where only part of it goes nobody's flow ends: they all go on with less. */
    memset(&m->draining, 0, sizeof m->draining);
    int rc = apply(a, conn);
    return rc == SPR_OK ? lv_meta_save(a, conn) : rc;
}

void lv_drain(struct lv_act *a, virConnectPtr conn) {
    bool again = a->step > 0 || (a->dom && a->piece && a->piece <= a->meta.last_drain);
    if (!a->dom) {
        lv_job_fail(&a->job, SPR_E_NOT_FOUND, "shard %llu is not there", (unsigned long long)a->shard);
        return;
    }
    if (!again && begin_drain(a, conn) < 0)
        return;
    a->step = 1;
    if (lv_amounts_any(&a->meta.draining))
        wait_for_flows(a, conn);
}

/* ---- whose it is ---- */

void lv_adopt(struct lv_act *a, virConnectPtr conn) {
    if (!a->dom) {
        lv_job_fail(&a->job, SPR_E_NOT_FOUND, "shard %llu is not there", (unsigned long long)a->shard);
        return;
    }
    if (a->step == 0 && lv_meta_save(a, conn) < 0) /* with our fence and name */
        return;
    a->step = 1;
    /* Its drain ended with the controller that had it under way, and nobody else would see its flows end. */
    if (a->meta.phase == LV_PHASE_DRAINING && lv_amounts_any(&a->meta.draining))
        wait_for_flows(a, conn);
}
