/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a router says of itself: counters, OpenMetrics text, flows. Lcores write, this reads; nothing is locked. */
#include "router.h"

#include <arpa/inet.h>
#include <rte_cycles.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DUMP_SPINS = 2000000 };

/* ---- counters ---- */

static const struct {
    const char *name, *help;
} counters[] = {
#define DP_X(id, text, words) {text, words},
    DP_VERDICTS(DP_X) DP_EVENTS(DP_X)
#undef DP_X
};
enum { COUNTERS = DP_VERDICT_COUNT + DP_EVENT_COUNT };

int32_t spr_dpdk_counter_count(void) { return COUNTERS; }

const char *spr_dpdk_counter_name(int32_t counter, const char **help, int *is_verdict) {
    if (counter < 0 || counter >= COUNTERS)
        return NULL;
    if (help)
        *help = counters[counter].help;
    if (is_verdict)
        *is_verdict = counter < DP_VERDICT_COUNT;
    return counters[counter].name;
}

uint64_t spr_dpdk_counter(const spr_dpdk *r, int32_t counter) {
    uint64_t sum = 0;
    if (!r || counter < -2 || counter >= COUNTERS)
        return 0;
    for (unsigned q = 0; q < r->queues; q++) {
        const struct dp_counters *c = &r->lcores[q].worker.counters;
        sum += counter == -1                ? c->packets
               : counter == -2              ? c->bytes
               : counter < DP_VERDICT_COUNT ? c->verdict[counter]
                                            : c->event[counter - DP_VERDICT_COUNT];
    }
    return sum;
}

double spr_dpdk_busy(spr_dpdk *r) {
    if (!r)
        return 0;
    uint64_t busy = 0, now = rte_rdtsc();
    for (unsigned q = 0; q < r->queues; q++)
        busy += r->lcores[q].cycles_busy;
    double share =
        r->busy_at && now > r->busy_at ? (double)(busy - r->busy_cycles) / ((double)(now - r->busy_at) * r->queues) : 0;
    r->busy_cycles = busy;
    r->busy_at = now;
    return share;
}

double spr_dpdk_cpu(spr_dpdk *r) {
    if (!r)
        return 0;
    double used = 0;
    uint64_t now = rte_rdtsc(), last = r->cpu_at;
    for (unsigned q = 0; q < r->queues; q++)
        used += dp_idle_cpu_s(&r->lcores[q]);
    double passed_s = (double)(now - last) / ((double)r->cycles_per_ms * 1000);
    double share = last && now > last ? (used - r->cpu_s) / (passed_s * r->queues) : 0;
    r->cpu_s = used;
    r->cpu_at = now;
    return share;
}

int spr_dpdk_idle(const spr_dpdk *r, int32_t queue, struct spr_dpdk_idle *out) {
    if (!r || queue < 0 || (unsigned)queue >= r->queues || !out || out->size < sizeof out->size)
        return SPR_E_ARG;
    const struct dp_idle *i = &r->lcores[queue].idle;
    struct spr_dpdk_idle all = {
        .size = out->size, .way = i->way, .lacking = i->lacking, .waits = i->waits, .woken = i->woken};
    memcpy(out, &all, out->size < sizeof all ? out->size : sizeof all);
    return SPR_OK;
}

void dp_service_sum(const spr_dpdk *r, const struct dp_conf_service *s, struct spr_dpdk_service_stats *to) {
    for (unsigned q = 0; q < r->queues; q++) {
        const struct dp_service_counters *c = &r->lcores[q].worker.by_front[s->front];
        to->packets += c->packets;
        to->bytes += c->bytes;
        to->spilled_packets += c->spilled_packets;
        to->spilled_bytes += c->spilled_bytes;
        to->opened += c->opened;
        to->spilled += c->spilled;
        to->repeated += c->repeated;
        to->answered += c->answered;
        to->flows += c->flows;
    }
    to->share = dp_config_share(s);
    to->mode = s->spilling;
    for (uint32_t i = 0; i < r->watched; i++)
        if (r->watch[i].front == s->front)
            to->waiting = r->watch[i].waiting;
}

int spr_dpdk_service_stats(spr_dpdk *r, const char *service, struct spr_dpdk_service_stats *out) {
    if (!r || !out || out->size < sizeof out->size)
        return SPR_E_ARG;
    const struct dp_conf_service *s = dp_config_find_service(&r->config, service);
    if (!s)
        return dp_say(r->ctx, SPR_E_NOT_FOUND, "there is no service '%s'", service ? service : "");
    struct spr_dpdk_service_stats all = {.size = out->size};
    dp_service_sum(r, s, &all);
    memcpy(out, &all, out->size < sizeof all ? out->size : sizeof all);
    return SPR_OK;
}

/* ---- OpenMetrics ---- */

static void quote(FILE *f, const char *text) {
    for (; *text; text++)
        fprintf(f, *text == '"' || *text == '\\' ? "\\%c" : *text == '\n' ? "\\n" : "%c", *text);
}

static void metric_head(FILE *f, const char *name, const char *type, const char *help) {
    fprintf(f, "# TYPE shardpredict_router_%s %s\n# HELP shardpredict_router_%s %s\n", name, type, name, help);
}

static void write_services(FILE *f, spr_dpdk *r) {
    static const struct {
        const char *name, *help;
        size_t at;
    } columns[] = {
        {"service_packets", "packets received for a service", offsetof(struct spr_dpdk_service_stats, packets)},
        {"service_bytes", "bytes of them", offsetof(struct spr_dpdk_service_stats, bytes)},
        {"service_spilled_packets", "packets sent to shards", offsetof(struct spr_dpdk_service_stats, spilled_packets)},
        {"service_opened", "new flows", offsetof(struct spr_dpdk_service_stats, opened)},
        {"service_spilled", "new flows sent to shards", offsetof(struct spr_dpdk_service_stats, spilled)},
        {"service_syn_repeated", "SYNs sent again", offsetof(struct spr_dpdk_service_stats, repeated)},
    };
    for (size_t c = 0; c < sizeof columns / sizeof columns[0]; c++) {
        metric_head(f, columns[c].name, "counter", columns[c].help);
        for (uint32_t i = 0; i < r->config.service_count; i++) {
            struct spr_dpdk_service_stats s = {.size = sizeof s};
            uint64_t value;
            dp_service_sum(r, &r->config.services[i], &s);
            memcpy(&value, (const char *)&s + columns[c].at, sizeof value);
            fprintf(f, "shardpredict_router_%s_total{service=\"", columns[c].name);
            quote(f, r->config.services[i].name);
            fprintf(f, "\"} %llu\n", (unsigned long long)value);
        }
    }
    metric_head(f, "service_share", "gauge", "share of new flows that goes to shards");
    for (uint32_t i = 0; i < r->config.service_count; i++) {
        fprintf(f, "shardpredict_router_service_share{service=\"");
        quote(f, r->config.services[i].name);
        fprintf(f, "\"} %.6g\n", dp_config_share(&r->config.services[i]));
    }
    metric_head(f, "service_flows", "gauge", "spilled flows in the tables");
    for (uint32_t i = 0; i < r->config.service_count; i++) {
        struct spr_dpdk_service_stats s = {.size = sizeof s};
        dp_service_sum(r, &r->config.services[i], &s);
        fprintf(f, "shardpredict_router_service_flows{service=\"");
        quote(f, r->config.services[i].name);
        fprintf(f, "\"} %llu\n", (unsigned long long)s.flows);
    }
}

static void write_lcores(FILE *f, spr_dpdk *r) {
    static const char *const ways[] = {"poll", "nap", "interrupt"};
    metric_head(f, "lcore_idle", "gauge", "how an idle lcore waits");
    for (unsigned q = 0; q < r->queues; q++)
        fprintf(f, "shardpredict_router_lcore_idle{queue=\"%u\",way=\"%s\"} 1\n", q, ways[r->lcores[q].idle.way]);
    metric_head(f, "lcore_waits", "counter", "sleeps until an interrupt or their longest time");
    for (unsigned q = 0; q < r->queues; q++)
        fprintf(f, "shardpredict_router_lcore_waits_total{queue=\"%u\"} %llu\n", q,
                (unsigned long long)r->lcores[q].idle.waits);
    metric_head(f, "lcore_woken", "counter", "those that a device ended");
    for (unsigned q = 0; q < r->queues; q++)
        fprintf(f, "shardpredict_router_lcore_woken_total{queue=\"%u\"} %llu\n", q,
                (unsigned long long)r->lcores[q].idle.woken);
    metric_head(f, "lcore_cpu_seconds", "counter", "processor time that an lcore used");
    for (unsigned q = 0; q < r->queues; q++)
        fprintf(f, "shardpredict_router_lcore_cpu_seconds_total{queue=\"%u\"} %.6f\n", q, dp_idle_cpu_s(&r->lcores[q]));
}

static void write_all(FILE *f, spr_dpdk *r) {
    metric_head(f, "received_packets", "counter", "packets received");
    fprintf(f, "shardpredict_router_received_packets_total %llu\n", (unsigned long long)spr_dpdk_counter(r, -1));
    metric_head(f, "packets", "counter", "packets by what became of them: each in exactly one");
    for (int32_t i = 0; i < DP_VERDICT_COUNT; i++)
        fprintf(f, "shardpredict_router_packets_total{verdict=\"%s\"} %llu\n", counters[i].name,
                (unsigned long long)spr_dpdk_counter(r, i));
    for (int32_t i = DP_VERDICT_COUNT; i < COUNTERS; i++) {
        metric_head(f, counters[i].name, "counter", counters[i].help);
        fprintf(f, "shardpredict_router_%s_total %llu\n", counters[i].name, (unsigned long long)spr_dpdk_counter(r, i));
    }
    write_services(f, r);
    write_lcores(f, r);
    fprintf(f, "# EOF\n");
}

int spr_dpdk_metrics(spr_dpdk *r, char **out) {
    char *text = NULL;
    size_t length = 0;
    if (!r || !out)
        return SPR_E_ARG;
    FILE *f = open_memstream(&text, &length);
    if (!f)
        return dp_say(r->ctx, SPR_E_NOMEM, "out of memory");
    write_all(f, r);
    bool bad = ferror(f);
    if (fclose(f) || bad) {
        free(text);
        return dp_say(r->ctx, SPR_E_NOMEM, "out of memory");
    }
    *out = text;
    return SPR_OK;
}

void spr_dpdk_text_free(char *text) { free(text); }

/* ---- flows ---- */

static const char *service_of_front(const spr_dpdk *r, uint16_t front) {
    for (uint32_t i = 0; i < r->config.service_count; i++)
        if (r->config.services[i].front == front)
            return r->config.services[i].name;
    return NULL;
}

static int give(spr_dpdk *r, unsigned queue, const struct dp_dumped *d, const char *only, spr_dpdk_flow_fn fn,
                void *user) {
    const char *service = service_of_front(r, d->key.frontend), *backend = "primary";
    unsigned now = dp_now_ms(r) / DP_TICK_MS & 255;
    if (only && (!service || strcmp(service, only)))
        return SPR_OK;
    if (dp_flow_state(d->value) != DP_FLOW_LEARNED)
        backend = dp_config_backend_name(&r->config, (uint16_t)dp_flow_backend(d->value));
    struct spr_dpdk_flow f = {.size = sizeof f,
                              .service = service ? service : "?",
                              .backend = backend ? backend : "?",
                              .port = ntohs(d->key.port),
                              .queue = (int32_t)queue,
                              .closing = dp_flow_state(d->value) == DP_FLOW_CLOSING,
                              .quiet_s = ((now - dp_flow_age(d->value)) & 255) * (DP_TICK_MS / 1000.0)};
    inet_ntop(d->ip == 4 ? AF_INET : AF_INET6, d->key.source, f.source, sizeof f.source);
    return fn(user, &f);
}

/* Ask the lcore for the next piece. One that does not run (the host program does not poll) is asked to no avail. */
static int ask(spr_dpdk *r, struct dp_lcore *l, struct dp_dump *d) {
    void *answer = NULL;
    if (rte_ring_enqueue(l->commands, d))
        return dp_say(r->ctx, SPR_E_BUSY, "queue %u has not answered an earlier question", l->queue);
    dp_idle_ring(l);
    for (unsigned i = 0; i < DUMP_SPINS; i++) {
        if (!rte_ring_dequeue(l->answers, &answer))
            return SPR_OK;
        rte_delay_us_sleep(1);
    }
    /* It may still come: taken back if it was not looked at, else left to the lcore with its memory. */
    return dp_say(r->ctx, SPR_E_TIMEOUT, "queue %u does not answer: does its lcore poll?", l->queue);
}

int spr_dpdk_flows(spr_dpdk *r, const char *service, spr_dpdk_flow_fn fn, void *user) {
    if (!r || !fn)
        return SPR_E_ARG;
    int rc = SPR_OK;
    for (unsigned q = 0; q < r->queues && rc >= 0; q++) {
        struct dp_dump *d = &r->dump;
        *d = (struct dp_dump){.ip = 4};
        while (rc >= 0 && !d->over) {
            rc = ask(r, &r->lcores[q], d);
            for (unsigned i = 0; i < d->count && rc >= 0; i++)
                rc = give(r, q, &d->flow[i], service, fn, user);
        }
    }
    return rc < 0 ? rc : SPR_OK;
}
