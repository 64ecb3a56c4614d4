/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How an idle lcore waits; see idle.h. */
#include "idle.h"

#include "lcore.h"

#include <pthread.h>
#include <rte_ethdev.h>
#include <shardpredict/backend-dpdk.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* What only time brings (expiry of flows, a guest that has just come to a vhost port) waits no longer than this. */
enum { WAIT_MS = 10 };

/* ---- devices ---- */

static int enable(const struct dp_lcore *l, unsigned p) {
    return rte_eth_dev_rx_intr_enable(l->ports[p].id, (uint16_t)l->queue);
}

static void disable(const struct dp_lcore *l, unsigned ports) {
    while (ports--)
        rte_eth_dev_rx_intr_disable(l->ports[ports].id, (uint16_t)l->queue);
}

/*
 * Whether a driver can is known by trying. What it is asked first is the one question that it refuses without an error
 * in EAL's log; a driver may have the call and refuse it always.
 */
static bool add(const struct dp_lcore *l, unsigned p) {
    const struct dp_port *port = &l->ports[p];
    uint16_t queue = (uint16_t)l->queue;
    if (!port->interrupts || rte_eth_dev_rx_intr_disable(port->id, queue) ||
        rte_eth_dev_rx_intr_ctl_q(port->id, queue, l->idle.epoll, RTE_INTR_EVENT_ADD, NULL))
        return false;
    if (!enable(l, p) && !rte_eth_dev_rx_intr_disable(port->id, queue))
        return true;
    rte_eth_dev_rx_intr_ctl_q(port->id, queue, l->idle.epoll, RTE_INTR_EVENT_DEL, NULL);
    return false;
}

static void take_off(const struct dp_lcore *l, unsigned ports) {
    while (ports--)
        rte_eth_dev_rx_intr_ctl_q(l->ports[ports].id, (uint16_t)l->queue, l->idle.epoll, RTE_INTR_EVENT_DEL, NULL);
}

/* All or none: an lcore that slept for one port would leave the packets of another lying. */
static bool add_all(struct dp_lcore *l) {
    for (unsigned p = 0; p < l->port_count; p++)
        if (!add(l, p)) {
            l->idle.lacking = l->ports[p].name;
            take_off(l, p);
            return false;
        }
    return true;
}

/* ---- opening ---- */

static bool open_kernel(struct dp_idle *i) {
    i->epoll = epoll_create1(EPOLL_CLOEXEC);
    i->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    i->bell_event.epdata.event = EPOLLIN;
    if (i->epoll >= 0 && i->bell >= 0 && !rte_epoll_ctl(i->epoll, EPOLL_CTL_ADD, i->bell, &i->bell_event))
        return true;
    if (i->epoll >= 0)
        close(i->epoll);
    if (i->bell >= 0)
        close(i->bell);
    return false;
}

static void close_kernel(struct dp_idle *i) {
    rte_epoll_ctl(i->epoll, EPOLL_CTL_DEL, i->bell, &i->bell_event);
    close(i->bell);
    close(i->epoll);
}

void dp_idle_open(struct dp_lcore *l, bool sleeps, bool interrupts) {
    l->idle.way = sleeps ? SPR_DPDK_WAIT_NAP : SPR_DPDK_WAIT_POLL;
    if (!sleeps || !interrupts || !open_kernel(&l->idle))
        return;
    l->idle.open = add_all(l);
    if (l->idle.open)
        l->idle.way = SPR_DPDK_WAIT_INTERRUPT;
    else
        close_kernel(&l->idle);
}

void dp_idle_close(struct dp_lcore *l) {
    if (!l->idle.open)
        return;
    take_off(l, l->port_count);
    close_kernel(&l->idle);
    l->idle.open = false;
}

/* ---- waiting ---- */

/* Offline meanwhile, so that no snapshot waits for it. */
static void sleep_until_rung(struct dp_lcore *l) {
    struct rte_epoll_event e[DP_PORTS_MOST + 1];
    uint64_t rings;
    int devices = 0;
    rte_rcu_qsbr_thread_offline(l->rcu, l->queue);
    int n = rte_epoll_wait(l->idle.epoll, e, (int)l->port_count + 1, WAIT_MS);
    rte_rcu_qsbr_thread_online(l->rcu, l->queue);
    for (int i = 0; i < n; i++)
        if (e[i].fd != l->idle.bell)
            devices++;
        else if (read(l->idle.bell, &rings, sizeof rings) < 0)
            continue; /* rung for what was seen already */
    l->idle.waits++;
    l->idle.woken += devices > 0;
}

/* A device that no longer can, as after a reset: naps are slower and never wrong. */
static void give_up(struct dp_lcore *l, unsigned port) {
    l->idle.lacking = l->ports[port].name;
    l->idle.way = SPR_DPDK_WAIT_NAP;
}

/*
 * Nothing is lost between looking and sleeping: `asleep` is said and interrupts are on before the last look, so what
 * comes after it rings; the fence keeps the look from being older than that (vhost's switch is a plain store).
 */
unsigned dp_idle_wait(struct dp_lcore *l, const atomic_int *running) {
    unsigned on = 0, got = 0;
    atomic_store(&l->idle.asleep, 1);
    while (on < l->port_count && !enable(l, on))
        on++;
    atomic_thread_fence(memory_order_seq_cst);
    if (on < l->port_count)
        give_up(l, on);
    else if (!(got = dp_lcore_poll(l)) && atomic_load(running) && rte_ring_empty(l->commands))
        sleep_until_rung(l);
    atomic_store_explicit(&l->idle.asleep, 0, memory_order_relaxed);
    disable(l, on);
    return got;
}

void dp_idle_ring(struct dp_lcore *l) {
    const uint64_t one = 1;
    atomic_thread_fence(memory_order_seq_cst); /* what it is rung for is there before we look whether it sleeps */
    if (atomic_load_explicit(&l->idle.asleep, memory_order_relaxed) &&
        write(l->idle.bell, &one, sizeof one) != sizeof one)
        return; /* full: it rings already */
}

/* ---- processor time ---- */

static double seconds(clockid_t clock) {
    struct timespec t = {0};
    return clock_gettime(clock, &t) ? -1 : (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void dp_idle_begin(struct dp_lcore *l) {
    if (pthread_getcpuclockid(pthread_self(), &l->idle.clock))
        return;
    l->idle.from = seconds(l->idle.clock);
    atomic_store_explicit(&l->idle.runs, l->idle.from >= 0, memory_order_release);
}

void dp_idle_end(struct dp_lcore *l) {
    double used = dp_idle_cpu_s(l);
    atomic_store_explicit(&l->idle.runs, false, memory_order_relaxed);
    l->idle.used = used;
}

double dp_idle_cpu_s(struct dp_lcore *l) {
    if (!atomic_load_explicit(&l->idle.runs, memory_order_acquire))
        return l->idle.used;
    double now = seconds(l->idle.clock);
    return l->idle.used + (now > l->idle.from ? now - l->idle.from : 0);
}
