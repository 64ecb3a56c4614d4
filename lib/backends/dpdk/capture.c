/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Packets that the lcores put aside, into a pcap file (the classic format, microseconds). */
#include "router.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { RING = 4096, BURST = 64 };

struct pcap_head {
    uint32_t magic;
    uint16_t major, minor;
    uint32_t zone, sigfigs, snaplen, network;
};
struct pcap_record {
    uint32_t seconds, microseconds, captured, length;
};

static void finish(struct spr_dpdk *r) {
    struct rte_mbuf *m;
    atomic_store(&r->capture.on, 0);
    /* An lcore may be in the middle of a burst: its mbufs go back to the pool when the ring is looked at the next time.
     */
    while (r->capture.ring && !rte_ring_dequeue(r->capture.ring, (void **)&m))
        rte_pktmbuf_free(m);
    if (r->pcap)
        fclose(r->pcap);
    r->pcap = NULL;
}

static int aim(struct spr_dpdk *r, const char *service, const char *source) {
    struct dp_capture *c = &r->capture;
    const struct dp_conf_service *s = dp_config_find_service(&r->config, service);
    if (service && !s)
        return dp_say(r->ctx, SPR_E_NOT_FOUND, "there is no service '%s'", service);
    memset(c->source, 0, sizeof c->source);
    c->front = s ? s->front : 0;
    c->source_ip = 0;
    if (source)
        c->source_ip = inet_pton(AF_INET, source, c->source) == 1    ? 4
                       : inet_pton(AF_INET6, source, c->source) == 1 ? 6
                                                                     : 0;
    if (source && !c->source_ip)
        return dp_say(r->ctx, SPR_E_ARG, "'%s' is no IP address", source);
    return SPR_OK;
}

int spr_dpdk_capture(spr_dpdk *r, const char *file, const char *service, const char *source, uint64_t packets) {
    struct pcap_head head = {.magic = 0xa1b2c3d4, .major = 2, .minor = 4, .snaplen = 65535, .network = 1};
    char name[RTE_RING_NAMESIZE];
    if (!r)
        return SPR_E_ARG;
    finish(r);
    if (!file)
        return SPR_OK;
    int rc = aim(r, service, source);
    if (rc < 0)
        return rc;
    if (!r->capture.ring) {
        snprintf(name, sizeof name, "spr_p_%p", (void *)r);
        r->capture.ring = rte_ring_create(name, RING, (int)rte_socket_id(), RING_F_SC_DEQ);
        r->capture.pool = r->pool;
        if (!r->capture.ring)
            return dp_say(r->ctx, SPR_E_NOMEM, "no memory to capture");
    }
    FILE *f = fopen(file, "wbx");
    if (!f || fwrite(&head, sizeof head, 1, f) != 1) {
        rc = dp_say(r->ctx, errno == EEXIST ? SPR_E_EXISTS : SPR_E_IO, "%s: %s", file, strerror(errno));
        if (f)
            fclose(f);
        return rc;
    }
    r->pcap = f;
    r->capture_left = packets;
    atomic_store(&r->capture.on, 1);
    return SPR_OK;
}

static bool put(struct spr_dpdk *r, const struct rte_mbuf *m, const struct timespec *now) {
    struct pcap_record record = {.seconds = (uint32_t)now->tv_sec,
                                 .microseconds = (uint32_t)(now->tv_nsec / 1000),
                                 .captured = m->data_len,
                                 .length = m->pkt_len};
    return fwrite(&record, sizeof record, 1, r->pcap) == 1 &&
           fwrite(rte_pktmbuf_mtod(m, const void *), m->data_len, 1, r->pcap) == 1;
}

void dp_capture_step(struct spr_dpdk *r) {
    struct rte_mbuf *m[BURST];
    struct timespec now;
    if (!r->pcap)
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    unsigned n;
    bool good = true;
    while ((n = rte_ring_dequeue_burst(r->capture.ring, (void **)m, BURST, NULL)))
        for (unsigned i = 0; i < n; i++) {
            if (good && r->capture_left) {
                good = put(r, m[i], &now);
                r->capture_left--;
            }
            rte_pktmbuf_free(m[i]);
        }
    good = good && !fflush(r->pcap);
    if (!good) /* the disk is full: the capture ends, traffic does not */
        dp_say(r->ctx, SPR_E_IO, "the capture ended: %s", strerror(errno));
    if (!good || !r->capture_left)
        finish(r);
}
