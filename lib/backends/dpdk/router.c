/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Opening, changing and stepping a router: the control thread's side. */
#include "router.h"

#include "pending.h"

#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { IDLE_ROUNDS = 256, IDLE_NAPS = 64, SLEEP_US = 100, COMMANDS = 4, BEYOND_MS = 4000 };

uint64_t dp_now_ms(const struct spr_dpdk *r) { return rte_rdtsc() / r->cycles_per_ms; }

int dp_say(spr_context *ctx, int code, const char *format, ...) {
    char text[256];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    return spr_context_fail(ctx, &(struct spr_error){.size = sizeof(struct spr_error), .code = code, .text = text});
}

int dp_fail(struct spr_dpdk *r, int code, const struct dp_why *why) { return dp_say(r->ctx, code, "%s", why->text); }

/* ---- snapshots ---- */

/* Free what no lcore can see any more; wait only when there is no room to remember another one. */
static void reclaim(struct spr_dpdk *r, bool wait) {
    unsigned kept = 0;
    for (unsigned i = 0; i < r->retired_count; i++) {
        struct dp_retired *old = &r->retired[i];
        if (rte_rcu_qsbr_check(r->rcu, old->token, wait && !i) == 1)
            dp_snapshot_free(old->snapshot);
        else
            r->retired[kept++] = *old;
    }
    r->retired_count = kept;
}

static void swap_in(struct spr_dpdk *r, struct dp_snapshot *s) {
    struct dp_snapshot *old = atomic_exchange_explicit(&r->snapshot, s, memory_order_acq_rel);
    reclaim(r, r->retired_count == DP_RETIRED_MOST);
    if (old)
        r->retired[r->retired_count++] = (struct dp_retired){.snapshot = old, .token = rte_rcu_qsbr_start(r->rcu)};
    for (unsigned q = 0; q < r->queues; q++)
        dp_idle_ring(&r->lcores[q]);
}

int dp_router_publish(struct spr_dpdk *r, const struct dp_config *c) {
    struct dp_snapshot *s = NULL;
    struct dp_why why;
    int rc = dp_config_snapshot(c, r->directory, r->generation + 1, &s, &why);
    if (rc < 0)
        return dp_fail(r, rc, &why);
    r->generation++;
    swap_in(r, s);
    return SPR_OK;
}

/* ---- opening ---- */

static int make_lcores(struct spr_dpdk *r, uint64_t seed, struct dp_why *why) {
    size_t bytes = rte_rcu_qsbr_get_memsize(r->queues);
    r->rcu = aligned_alloc(64, (bytes + 63) / 64 * 64);
    r->lcores = aligned_alloc(64, r->queues * sizeof *r->lcores);
    if (!r->rcu || !r->lcores || rte_rcu_qsbr_init(r->rcu, r->queues)) {
        free(r->lcores);
        r->lcores = NULL;
        snprintf(why->text, sizeof why->text, "no memory for %u lcores", r->queues);
        return SPR_E_NOMEM;
    }
    memset(r->lcores, 0, r->queues * sizeof *r->lcores);
    for (unsigned q = 0; q < r->queues; q++) {
        struct dp_lcore *l = &r->lcores[q];
        char name[RTE_RING_NAMESIZE];
        l->snapshot = &r->snapshot;
        l->rcu = r->rcu;
        l->ports = r->ports;
        l->port_count = r->port_count;
        l->queue = q;
        l->cycles_per_ms = r->cycles_per_ms;
        l->capture = &r->capture;
        snprintf(name, sizeof name, "spr_c%u_%p", q, (void *)r);
        l->commands = rte_ring_create(name, COMMANDS, (int)rte_socket_id(), RING_F_SP_ENQ | RING_F_SC_DEQ);
        snprintf(name, sizeof name, "spr_a%u_%p", q, (void *)r);
        l->answers = rte_ring_create(name, COMMANDS, (int)rte_socket_id(), RING_F_SP_ENQ | RING_F_SC_DEQ);
        if (!l->commands || !l->answers ||
            dp_worker_init(&l->worker, r->tables[q].flow[0], r->tables[q].flow[1], seed)) {
            snprintf(why->text, sizeof why->text, "no memory for an lcore");
            return SPR_E_NOMEM;
        }
        dp_pending_use(l->worker.pending, r->tables[q].pending);
        dp_worker_recount(&l->worker);
        dp_idle_open(l, r->sleep_us != 0, r->interrupts);
    }
    return SPR_OK;
}

static int open_all(struct spr_dpdk *r, const struct spr_dpdk_opts *o, uint64_t seed) {
    struct dp_why why = {"out of memory"}; /* of who says nothing else */
    int rc = dp_ports_open(r, o, &why);
    if (rc >= 0)
        rc = dp_tables_open(r, o, seed, &why);
    if (rc >= 0)
        rc = make_lcores(r, r->directory->seed, &why);
    if (rc >= 0)
        rc = dp_config_copy(&(struct dp_config){0}, &r->config);
    if (rc < 0)
        return dp_fail(r, rc, &why);
    rc = dp_router_publish(r, &r->config);
    for (unsigned q = 0; q < r->queues && rc >= 0; q++)
        rte_rcu_qsbr_thread_register(r->rcu, q);
    return rc;
}

static int check(spr_context *ctx, const struct spr_dpdk_opts *o) {
    if (o->port_count < 1 || o->port_count > DP_PORTS_MOST || !o->ports)
        return dp_say(ctx, SPR_E_ARG, "spr_dpdk_open: 1 to %d ports", DP_PORTS_MOST);
    if (o->queues < 0 || o->queues > DP_QUEUES_MOST)
        return dp_say(ctx, SPR_E_ARG, "spr_dpdk_open: 1 to %d queues", DP_QUEUES_MOST);
    if (o->flows > UINT64_C(1) << 31)
        return dp_say(ctx, SPR_E_ARG, "spr_dpdk_open: at most 2^31 flows a queue");
    return SPR_OK;
}

int spr_dpdk_open(spr_context *ctx, const struct spr_dpdk_opts *opts, spr_dpdk **out) {
    struct spr_dpdk_opts o;
    if (!ctx)
        return SPR_E_ARG;
    if (!opts || !out)
        return dp_say(ctx, SPR_E_ARG, "spr_dpdk_open: options and a place for the router are required");
    int rc = dp_opts_copy(opts, &o, sizeof o);
    if (rc < 0)
        return dp_say(ctx, rc, "spr_dpdk_open: the options are of another library");
    rc = check(ctx, &o);
    if (rc < 0)
        return rc;
    spr_dpdk *r = calloc(1, sizeof *r);
    if (!r)
        return dp_say(ctx, SPR_E_NOMEM, "out of memory");
    uint64_t seed = o.seed;
    if (!seed && getrandom(&seed, sizeof seed, 0) != sizeof seed) {
        free(r);
        return dp_say(ctx, SPR_E_IO, "spr_dpdk_open: the kernel gives no random numbers: give a seed");
    }
    r->ctx = spr_context_ref(ctx);
    r->queues = o.queues ? (unsigned)o.queues : 1;
    r->passes = o.pass != SPR_NONE;
    r->sleep_us = o.sleep_us == SPR_NONE ? 0 : o.sleep_us ? o.sleep_us : SLEEP_US;
    r->interrupts = r->sleep_us && o.interrupts != SPR_NONE;
    r->cycles_per_ms = rte_get_tsc_hz() / 1000;
    rc = open_all(r, &o, seed);
    if (rc < 0) {
        spr_dpdk_close(r);
        return rc;
    }
    r->stepped_ms = dp_now_ms(r);
    *out = r;
    return SPR_OK;
}

void spr_dpdk_close(spr_dpdk *r) {
    if (!r)
        return;
    spr_dpdk_stop(r);
    spr_dpdk_capture(r, NULL, NULL, NULL, 0);
    for (unsigned q = 0; r->lcores && q < r->queues; q++) {
        dp_idle_close(&r->lcores[q]);
        dp_worker_fini(&r->lcores[q].worker);
        rte_ring_free(r->lcores[q].commands);
        rte_ring_free(r->lcores[q].answers);
    }
    rte_ring_free(r->capture.ring);
    dp_ports_close(r);
    for (unsigned i = 0; i < r->retired_count; i++)
        dp_snapshot_free(r->retired[i].snapshot);
    dp_snapshot_free(atomic_load(&r->snapshot));
    dp_spike_close(r);
    dp_tables_close(r);
    dp_config_free(&r->config);
    dp_config_free(&r->draft);
    free(r->lcores);
    free(r->rcu);
    spr_context_unref(r->ctx);
    free(r);
}

/* ---- changing ---- */

int spr_dpdk_begin(spr_dpdk *r) {
    if (!r)
        return SPR_E_ARG;
    if (r->open)
        return dp_say(r->ctx, SPR_E_BUSY, "a change is open: commit or revert it first");
    int rc = dp_config_copy(&r->config, &r->draft);
    if (rc < 0)
        return dp_say(r->ctx, rc, "out of memory");
    r->open = true;
    return SPR_OK;
}

void spr_dpdk_revert(spr_dpdk *r) {
    if (!r || !r->open)
        return;
    dp_config_free(&r->draft);
    r->open = false;
}

static int opened(spr_dpdk *r) {
    return r->open ? SPR_OK : dp_say(r->ctx, SPR_E_ARG, "no change is open: spr_dpdk_begin first");
}

/* What every change does: it must be open, its text must be right, its error is the context's. */
#define CHANGE(call)                                                                                                   \
    do {                                                                                                               \
        struct dp_why why = {""};                                                                                      \
        int rc = opened(r);                                                                                            \
        if (rc < 0)                                                                                                    \
            return rc;                                                                                                 \
        rc = call;                                                                                                     \
        return rc < 0 ? dp_fail(r, rc, &why) : SPR_OK;                                                                 \
    } while (0)

int spr_dpdk_backend_set(spr_dpdk *r, const struct spr_dpdk_backend *backend) {
    struct spr_dpdk_backend b;
    uint8_t mac[DP_PORTS_MOST][6];
    if (!r || !backend || dp_opts_copy(backend, &b, sizeof b) < 0)
        return SPR_E_ARG;
    for (unsigned i = 0; i < r->port_count; i++)
        memcpy(mac[i], r->ports[i].mac, 6);
    CHANGE(dp_config_backend(&r->draft, r->directory, &b, (const uint8_t(*)[6])mac, (int32_t)r->port_count, &why));
}

int spr_dpdk_service_set(spr_dpdk *r, const struct spr_dpdk_service *service) {
    struct spr_dpdk_service s;
    if (!r || !service || dp_opts_copy(service, &s, sizeof s) < 0)
        return SPR_E_ARG;
    CHANGE(dp_config_service(&r->draft, r->directory, &s, &why));
}

int spr_dpdk_backend_remove(spr_dpdk *r, const char *name) {
    if (!r)
        return SPR_E_ARG;
    CHANGE(dp_config_backend_remove(&r->draft, name, &why));
}

int spr_dpdk_service_remove(spr_dpdk *r, const char *name) {
    if (!r)
        return SPR_E_ARG;
    CHANGE(dp_config_service_remove(&r->draft, name, &why));
}

int spr_dpdk_spill_set(spr_dpdk *r, const char *service, const char *const *backends, const double *weights,
                       size_t count, double ramp_per_s) {
    if (!r || (count && (!backends || !weights)))
        return SPR_E_ARG;
    CHANGE(dp_config_spill(&r->draft, service, backends, weights, count, ramp_per_s, &why));
}

int spr_dpdk_spike_set(spr_dpdk *r, const char *service, const char *const *backends, const double *weights,
                       size_t count) {
    if (!r || (count && (!backends || !weights)))
        return SPR_E_ARG;
    CHANGE(dp_config_spike(&r->draft, service, backends, weights, count, &why));
}

int spr_dpdk_drain(spr_dpdk *r, const char *backend, double deadline_s) {
    if (!r)
        return SPR_E_ARG;
    CHANGE(dp_config_drain(&r->draft, backend, deadline_s, dp_now_ms(r), &why));
}

int spr_dpdk_alive(spr_dpdk *r, const char *backend, int alive) {
    if (!r)
        return SPR_E_ARG;
    CHANGE(dp_config_alive(&r->draft, backend, alive != 0, &why));
}

int spr_dpdk_promote(spr_dpdk *r, const char *service, const char *backend) {
    if (!r || !service)
        return SPR_E_ARG;
    CHANGE(dp_config_promote(&r->draft, service, backend, &why));
}

int spr_dpdk_commit(spr_dpdk *r, struct spr_time now, uint64_t *generation) {
    (void)now; /* lcores go by the processor's clock, and so do deadlines that they read */
    if (!r)
        return SPR_E_ARG;
    int rc = opened(r);
    if (rc < 0)
        return rc;
    if ((rc = dp_spike_room(r, r->draft.service_count)) < 0)
        return rc;
    dp_spike_carry(r, &r->draft);
    dp_config_ramp(&r->draft, 0, dp_now_ms(r));
    rc = dp_router_publish(r, &r->draft);
    if (rc < 0)
        return rc;
    dp_config_settle(&r->draft, r->directory);
    dp_config_free(&r->config);
    r->config = r->draft;
    r->draft = (struct dp_config){0};
    r->open = r->stale = false;
    if (generation)
        *generation = r->generation;
    return SPR_OK;
}

int spr_dpdk_switched(spr_dpdk *r, uint64_t generation) {
    if (!r || generation > r->generation)
        return SPR_E_ARG;
    for (unsigned q = 0; q < r->queues; q++)
        if (atomic_load_explicit(&r->lcores[q].seen, memory_order_acquire) < generation)
            return 0;
    return 1;
}

/* ---- time ---- */

static uint64_t flows_of(const struct spr_dpdk *r, uint16_t front) {
    uint64_t n = 0;
    for (unsigned q = 0; q < r->queues; q++)
        n += r->lcores[q].worker.by_front[front].flows;
    return n;
}

/* But for those that a spike may use. */
static void forget_targets(struct dp_conf_service *s) {
    uint16_t kept = 0;
    for (uint16_t k = 0; k < s->target_count; k++)
        if (s->targets[k].most > 0)
            s->targets[kept++] = s->targets[k];
    s->target_count = kept;
}

/* A service whose shards have no share and no flows left needs no table: its packets go straight on again. */
static bool settle(struct spr_dpdk *r, uint64_t now_ms) {
    bool changed = false;
    for (uint32_t i = 0; i < r->config.service_count; i++) {
        struct dp_conf_service *s = &r->config.services[i];
        bool quiet = s->spilling && !(dp_config_share(s) > 0);
        for (uint16_t k = 0; k < s->target_count && quiet; k++)
            quiet = !(s->targets[k].goal > 0);
        if (!quiet || flows_of(r, s->front) || now_ms < s->learn_until_ms + BEYOND_MS)
            continue;
        s->spilling = false;
        forget_targets(s);
        changed = true;
    }
    return changed;
}

int spr_dpdk_step(spr_dpdk *r, struct spr_time now) {
    if (!r)
        return SPR_E_ARG;
    uint64_t now_ms = dp_now_ms(r);
    bool changed = dp_config_ramp(&r->config, (double)(now_ms - r->stepped_ms) / 1000, now_ms);
    if (r->open) /* what is being changed goes on where the ramps are when it comes into force */
        dp_config_ramp(&r->draft, (double)(now_ms - r->stepped_ms) / 1000, now_ms);
    r->stepped_ms = now_ms;
    if (dp_spike_step(r, now)) {
        dp_config_ramp(&r->config, 0, now_ms); /* one that did not spill begins to */
        changed = true;
    }
    changed |= settle(r, now_ms);
    dp_capture_step(r);
    reclaim(r, false);
    r->stale |= changed;
    if (!r->stale)
        return SPR_OK;
    int rc = dp_router_publish(r, &r->config);
    r->stale = rc < 0; /* the next step tries again, also where nothing moves any more */
    return rc;
}

/* ---- lcores ---- */

int spr_dpdk_poll(spr_dpdk *r, int32_t queue) {
    if (!r || queue < 0 || (unsigned)queue >= r->queues)
        return SPR_E_ARG;
    struct dp_lcore *l = &r->lcores[queue];
    if (!l->rounds) /* the first time on this lcore: from now on snapshots wait for it */
        rte_rcu_qsbr_thread_online(r->rcu, (unsigned)queue);
    return (int)dp_lcore_poll(l);
}

struct place {
    spr_dpdk *router;
    int32_t queue;
};

/* Naps get longer while nothing comes, up to the limit; who sleeps is offline, so that no snapshot waits for it. */
static void nap(const struct spr_dpdk *r, const struct dp_lcore *l, unsigned us) {
    rte_rcu_qsbr_thread_offline(r->rcu, l->queue);
    usleep(us < (unsigned)r->sleep_us ? us : (unsigned)r->sleep_us);
    rte_rcu_qsbr_thread_online(r->rcu, l->queue);
}

/* Polls, then naps for some milliseconds, then waits for an interrupt or naps on. */
static int run(void *arg) {
    struct dp_lcore *l = arg;
    struct spr_dpdk *r = (struct spr_dpdk *)(void *)((char *)l->snapshot - offsetof(struct spr_dpdk, snapshot));
    unsigned idle = 0;
    dp_idle_begin(l);
    rte_rcu_qsbr_thread_online(r->rcu, l->queue);
    while (atomic_load_explicit(&r->running, memory_order_relaxed)) {
        if (dp_lcore_poll(l)) {
            idle = 0;
            continue;
        }
        if (++idle < IDLE_ROUNDS || !r->sleep_us) {
            rte_pause();
            continue;
        }
        if (idle < IDLE_ROUNDS + IDLE_NAPS || l->idle.way != SPR_DPDK_WAIT_INTERRUPT)
            nap(r, l, (idle - IDLE_ROUNDS) / 16 + 1);
        else
            idle = dp_idle_wait(l, &r->running) ? 0 : IDLE_ROUNDS + IDLE_NAPS;
    }
    rte_rcu_qsbr_thread_offline(r->rcu, l->queue);
    dp_idle_end(l);
    return 0;
}

int spr_dpdk_start(spr_dpdk *r) {
    unsigned lcore, q = 0;
    if (!r)
        return SPR_E_ARG;
    if (atomic_load(&r->running))
        return dp_say(r->ctx, SPR_E_BUSY, "the router runs already");
    if (rte_lcore_count() - 1 < r->queues)
        return dp_say(r->ctx, SPR_E_CAPACITY, "EAL has %u worker lcores, %u queues need as many: -l",
                      rte_lcore_count() - 1, r->queues);
    atomic_store(&r->running, 1);
    RTE_LCORE_FOREACH_WORKER(lcore) {
        if (q == r->queues)
            break;
        int rc = rte_eal_remote_launch(run, &r->lcores[q], lcore);
        if (rc) {
            spr_dpdk_stop(r);
            return dp_say(r->ctx, SPR_E_BUSY, "lcore %u: %s", lcore, rte_strerror(-rc));
        }
        q++;
    }
    return SPR_OK;
}

void spr_dpdk_stop(spr_dpdk *r) {
    if (!r || !atomic_exchange(&r->running, 0))
        return;
    for (unsigned q = 0; q < r->queues; q++)
        dp_idle_ring(&r->lcores[q]);
    rte_eal_mp_wait_lcore();
}
