/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What runs on a host's `look` lane: the bulk statistics in one call, the definitions of guests that are new or
 * changed, what the host says of itself, and the callbacks of libvirt's events (on libvirt's thread, not on ours).
 */
#include <libxml/parser.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "source.h"

struct look {
    struct lv_job job; /* first */
    struct lv_source *source;
    struct lv_watch *watch;
    int32_t verb;
    bool counted; /* the statistics are taken, definitions remain */
    virDomainStatsRecordPtr *records;
    int record_count, next;
};

enum { SLICE_NS = 500000000, LINKS_MOST = 64, CELLS_MOST = 1024 };

/* ---- events ---- */

static void changed(struct lv_watch *w, virDomainPtr dom, bool job) {
    unsigned char uuid[LV_UUID_BYTES];
    if (virDomainGetUUID(dom, uuid) < 0)
        return;
    pthread_mutex_lock(&w->lock);
    struct lv_guest *g = lv_watch_find(w, uuid, false);
    if (g && !job)
        g->stale = true;
    ++*(job ? &w->facts.jobs_ended : &w->facts.events);
    pthread_mutex_unlock(&w->lock);
}

static int on_lifecycle(virConnectPtr conn, virDomainPtr dom, int event, int detail, void *watch) {
    (void)conn, (void)detail;
    if (event != VIR_DOMAIN_EVENT_SUSPENDED && event != VIR_DOMAIN_EVENT_RESUMED) /* the definition stays */
        changed(watch, dom, false);
    return 0;
}

static void on_metadata(virConnectPtr conn, virDomainPtr dom, int type, const char *ns, void *watch) {
    (void)conn, (void)type, (void)ns;
    changed(watch, dom, false);
}

static void on_job(virConnectPtr conn, virDomainPtr dom, virTypedParameterPtr params, int count, void *watch) {
    (void)conn, (void)params, (void)count;
    changed(watch, dom, true);
}

static void let_watch_go(void *watch) { lv_watch_unref(watch); }

static void listen_to(struct lv_watch *w, virConnectPtr conn, int id, virConnectDomainEventGenericCallback callback) {
    /* Where a host has no such event its guests are looked at again with each connection only. */
    if (virConnectDomainEventRegisterAny(conn, NULL, id, callback, lv_watch_ref(w), let_watch_go) < 0)
        lv_watch_unref(w);
}

/* A new connection: what happened while there was none is not told by any event. */
static void begin_anew(struct lv_watch *w, virConnectPtr conn) {
    listen_to(w, conn, VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle));
    listen_to(w, conn, VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(on_metadata));
    listen_to(w, conn, VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, VIR_DOMAIN_EVENT_CALLBACK(on_job));
    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < w->guest_count; i++)
        w->guest[i]->stale = true;
    pthread_mutex_unlock(&w->lock);
}

/* ---- what the host says of itself ---- */

/* "1000" in <link state='up' speed='1000'/>, Mbit/s; 0 = down or not said. */
static double link_mbit(const char *xml) {
    xmlDoc *doc =
        xmlReadMemory(xml, (int)strlen(xml), NULL, NULL, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    double mbit = 0;
    for (xmlNode *c = doc ? xmlDocGetRootElement(doc)->children : NULL; c; c = c->next)
        for (xmlNode *l = xmlStrEqual(c->name, (const xmlChar *)"capability") ? c->children : NULL; l; l = l->next) {
            xmlChar *state =
                xmlStrEqual(l->name, (const xmlChar *)"link") ? xmlGetProp(l, (const xmlChar *)"state") : NULL;
            xmlChar *speed =
                state && xmlStrEqual(state, (const xmlChar *)"up") ? xmlGetProp(l, (const xmlChar *)"speed") : NULL;
            double value = 0;
            if (speed && lv_number_read((const char *)speed, &value) && value > 0 && value < 1e7)
                mbit += value;
            xmlFree(state), xmlFree(speed);
        }
    xmlFreeDoc(doc);
    return mbit;
}

static bool made_by_software(const char *name) {
    static const char *const kinds[] = {"net_vnet",  "net_tap", "net_veth",   "net_lo_",
                                        "net_virbr", "net_br",  "net_macvtap"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strncmp(name, kinds[i], strlen(kinds[i])))
            return true;
    return false;
}

static double link_speeds(virConnectPtr conn) {
    virNodeDevicePtr *devices = NULL;
    double sum = 0;
    int n = virConnectListAllNodeDevices(conn, &devices, VIR_CONNECT_LIST_NODE_DEVICES_CAP_NET), asked = 0;
    for (int i = 0; i < n; i++) {
        const char *name = virNodeDeviceGetName(devices[i]);
        if (name && !made_by_software(name) && asked < LINKS_MOST) {
            asked++;
            const char *parent = virNodeDeviceGetParent(devices[i]);
            char *xml = parent && strcmp(parent, "computer") != 0 ? virNodeDeviceGetXMLDesc(devices[i], 0) : NULL;
            sum += xml ? link_mbit(xml) * 1e6 : 0;
            free(xml);
        }
        virNodeDeviceFree(devices[i]);
    }
    free(devices);
    return sum;
}

/* All that the host's processors did, s: busy and in all. */
static bool processor_time(virConnectPtr conn, double *busy) {
    virNodeCPUStats stats[16];
    int n = 0;
    *busy = 0;
    if (virNodeGetCPUStats(conn, VIR_NODE_CPU_STATS_ALL_CPUS, NULL, &n, 0) < 0 || n <= 0 || n > 16 ||
        virNodeGetCPUStats(conn, VIR_NODE_CPU_STATS_ALL_CPUS, stats, &n, 0) < 0)
        return false;
    for (int i = 0; i < n; i++)
        if (!strcmp(stats[i].field, VIR_NODE_CPU_STATS_KERNEL) || !strcmp(stats[i].field, VIR_NODE_CPU_STATS_USER))
            *busy += (double)stats[i].value * 1e-9;
    return true;
}

static int ask_host(struct look *l, virConnectPtr conn) {
    struct lv_watch *w = l->watch;
    virNodeInfo node;
    unsigned long long cell[CELLS_MOST];
    if (virNodeGetInfo(conn, &node) < 0) {
        lv_job_fail_libvirt(&l->job, "asking what the host has", NULL);
        return l->job.code;
    }
    double link = l->job.host->net_bps > 0 ? 0 : link_speeds(conn);
    double free_bytes = (double)virNodeGetFreeMemory(conn);
    int cells = virNodeGetCellsFreeMemory(conn, cell, 0, CELLS_MOST);
    pthread_mutex_lock(&w->lock);
    struct spr_libvirt_facts *f = &w->facts;
    f->cores = node.cpus;
    f->memory = (double)node.memory * 1024;
    f->memory_free = free_bytes;
    f->link_bps = link;
    f->cells = cells > 0 ? cells : 0;
    for (int i = 0; i < SPR_LIBVIRT_CELLS; i++)
        f->cell_free[i] = i < cells ? (double)cell[i] : 0;
    pthread_mutex_unlock(&w->lock);
    return SPR_OK;
}

/* With every answer: two calls more, whatever the number of guests. */
static void ask_load(struct lv_watch *w, virConnectPtr conn, int64_t now_ns) {
    double busy;
    bool known = processor_time(conn, &busy);
    unsigned long long bytes = virNodeGetFreeMemory(conn);
    pthread_mutex_lock(&w->lock);
    double s = (double)(now_ns - w->busy_at_ns) * 1e-9;
    if (known && w->busy_at_ns && s > 1e-3 && busy >= w->busy_s)
        w->facts.cores_busy = (busy - w->busy_s) / s;
    w->busy_at_ns = known ? now_ns : 0;
    w->busy_s = busy;
    if (bytes)
        w->facts.memory_free = (double)bytes;
    pthread_mutex_unlock(&w->lock);
}

/* ---- statistics ---- */

static int take_record(struct lv_watch *w, virDomainStatsRecordPtr rec, int64_t now_ns, int64_t wall) {
    unsigned char uuid[LV_UUID_BYTES];
    if (virDomainGetUUID(rec->dom, uuid) < 0)
        return SPR_OK;
    unsigned int id = virDomainGetID(rec->dom);
    struct lv_guest *g = lv_watch_find(w, uuid, true);
    if (!g || lv_record_decode(rec->params, rec->nparams, &w->record) < 0)
        return SPR_E_NOMEM;
    const struct lv_record *r = &w->record;
    if (g->round == w->round && g->id >= 0)
        return SPR_OK; /* one UUID twice in an answer: no daemon does that, and it must not count twice */
    g->round = w->round;
    bool runs = id != (unsigned int)-1;
    if (runs) {
        w->facts.guests_running++;
        w->facts.cores_promised += r->vcpus;
        w->facts.memory_promised += r->has_memory_most ? (double)r->memory_most * 1024 : 0;
    }
    w->facts.shards += g->detail && g->detail->shard;
    int rc = lv_guest_take(g, r, runs ? (int32_t)(id & INT32_MAX) : -1, now_ns, wall);
    w->facts.guests_mute += runs && g->mute;
    return rc;
}

static int count_all(struct look *l, virConnectPtr conn) {
    struct lv_watch *w = l->watch;
    unsigned int groups = VIR_DOMAIN_STATS_STATE | VIR_DOMAIN_STATS_CPU_TOTAL | VIR_DOMAIN_STATS_BALLOON |
                          VIR_DOMAIN_STATS_VCPU | VIR_DOMAIN_STATS_INTERFACE | VIR_DOMAIN_STATS_BLOCK;
    int64_t before = lv_clock_ns();
    l->record_count = virConnectGetAllDomainStats(conn, groups, &l->records, VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT);
    if (l->record_count < 0) {
        l->record_count = 0;
        lv_job_fail_libvirt(&l->job, "asking for the statistics of all guests", NULL);
        return l->job.code;
    }
    int64_t after = lv_clock_ns(), now_ns = before + (after - before) / 2, wall = lv_wall_ns();
    int rc = SPR_OK;
    pthread_mutex_lock(&w->lock);
    w->round++;
    w->progress_ns = after;
    w->facts.guests = l->record_count;
    w->facts.guests_running = w->facts.guests_mute = w->facts.shards = 0;
    w->facts.cores_promised = w->facts.memory_promised = 0;
    for (int i = 0; i < l->record_count && rc == SPR_OK; i++)
        rc = take_record(w, l->records[i], now_ns, wall);
    if (rc == SPR_OK)
        lv_watch_sweep(w);
    pthread_mutex_unlock(&w->lock);
    if (rc < 0)
        lv_job_fail(&l->job, rc, "out of memory for its statistics");
    else
        ask_load(w, conn, now_ns);
    return rc;
}

/* ---- definitions ---- */

static bool is_stale(struct lv_watch *w, const unsigned char *uuid) {
    pthread_mutex_lock(&w->lock);
    struct lv_guest *g = lv_watch_find(w, uuid, false);
    bool stale = g && g->stale;
    if (stale)
        g->stale = false; /* before it is read: an event meanwhile makes it so again */
    pthread_mutex_unlock(&w->lock);
    return stale;
}

static int read_one(struct look *l, virDomainPtr dom, const unsigned char *uuid) {
    struct lv_watch *w = l->watch;
    const char *name = virDomainGetName(dom);
    char *xml = virDomainGetXMLDesc(dom, 0);
    struct lv_detail *d = xml ? lv_detail_read(name ? name : "", xml, l->job.host->v->opts.vm != NULL) : NULL;
    bool no_memory = xml && !d, gone = !xml && lv_code_of_last_error() == SPR_E_NOT_FOUND;
    free(xml);
    pthread_mutex_lock(&w->lock);
    w->progress_ns = lv_clock_ns();
    struct lv_guest *g = lv_watch_find(w, uuid, false);
    if (g && d) {
        struct lv_detail *old = g->detail;
        g->detail = d;
        d = old;
    } else if (g && !gone) {
        g->stale = true;
    }
    pthread_mutex_unlock(&w->lock);
    lv_detail_unref(d);
    if (no_memory)
        lv_job_fail(&l->job, SPR_E_NOMEM, "out of memory for the definition of %s", name ? name : "a guest");
    return no_memory ? SPR_E_NOMEM : SPR_OK;
}

/* In slices, so that statistics asked for meanwhile need not wait. SPR_OK when through. */
static int read_stale(struct look *l, virConnectPtr conn) {
    int64_t until = lv_clock_ns() + SLICE_NS;
    for (; l->next < l->record_count; l->next++) {
        unsigned char uuid[LV_UUID_BYTES];
        virDomainPtr dom = l->records[l->next]->dom;
        if (virDomainGetUUID(dom, uuid) < 0 || !is_stale(l->watch, uuid))
            continue;
        int rc = read_one(l, dom, uuid);
        if (rc < 0)
            return rc;
        if (virConnectIsAlive(conn) != 1) {
            lv_job_fail(&l->job, SPR_E_IO, "the connection ended while definitions were read");
            return SPR_E_IO;
        }
        if (lv_job_stops(&l->job))
            return SPR_E_CANCELLED;
        if (lv_clock_ns() > until && l->next + 1 < l->record_count) {
            l->next++;
            return SPR_AGAIN;
        }
    }
    return SPR_OK;
}

/* ---- the job ---- */

static int look_once(struct look *l, virConnectPtr conn) {
    struct lv_watch *w = l->watch;
    int rc = SPR_OK;
    pthread_mutex_lock(&l->job.host->v->lock);
    uint64_t epoch = l->job.host->epoch;
    pthread_mutex_unlock(&l->job.host->v->lock);
    if (epoch != w->epoch) {
        w->epoch = epoch;
        begin_anew(w, conn);
    }
    if (!l->counted) {
        if ((l->verb == SPR_SOURCE_INVENTORY && (rc = ask_host(l, conn)) < 0) || (rc = count_all(l, conn)) < 0)
            return rc;
        l->counted = true;
    }
    /* Samples are for now: what is left of the definitions is read after the next ones, or by the next inventory. */
    rc = read_stale(l, conn);
    if (rc == SPR_AGAIN && l->verb == SPR_SOURCE_SAMPLES)
        rc = SPR_OK;
    if (rc == SPR_OK && l->verb == SPR_SOURCE_INVENTORY) {
        pthread_mutex_lock(&w->lock);
        w->listed = true;
        pthread_mutex_unlock(&w->lock);
    }
    return rc;
}

static void run(struct lv_job *job, virConnectPtr conn) {
    struct look *l = (struct look *)(void *)job;
    if (look_once(l, conn) == SPR_AGAIN)
        lv_job_again(job, 0);
}

static void forget(struct look *l) {
    if (l->records)
        virDomainStatsRecordListFree(l->records);
    lv_watch_unref(l->watch);
    lv_source_unref(l->source);
    lv_free(l);
}

/* The lane is done with it, however it ended: no desk, so this is where its end is told. */
static void ended(struct lv_job *job) {
    struct look *l = (struct look *)(void *)job;
    lv_source_answered(l->source, l->watch, l->verb, job);
    forget(l);
}

int lv_look(struct lv_source *s, struct lv_watch *w, int verb) {
    struct look *l = lv_alloc(sizeof *l);
    if (!l)
        return SPR_E_NOMEM;
    l->job.run = run;
    l->job.destroy = ended;
    l->job.deadline_ns = INT64_MAX;
    l->verb = verb;
    l->source = lv_source_ref(s);
    l->watch = lv_watch_ref(w);
    int rc = lv_lane_put(w->host, LV_LOOK, &l->job);
    if (rc < 0)
        forget(l);
    return rc;
}
